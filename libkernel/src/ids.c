/* Identifiers: reading them, finding what they name, and the two windows that make inputs idempotent. */
#include "internal.h"

__extension__ typedef unsigned __int128 product_t;

/* --------------------------------------------------------------------------------------------------- text -- */

/* Sixteen bytes at a time; GCC and clang turn this into what the machine has. */
typedef signed char bytes_t __attribute__((vector_size(16)));

static inline bytes_t load(const char *text)
{
    bytes_t bytes;
    memcpy(&bytes, text, sizeof bytes);
    return bytes;
}

/* Not 0 where a byte is neither NUL nor printable. As signed numbers, 0x80 and above are negative. */
static inline bytes_t unprintable(bytes_t bytes)
{
    return ((bytes < 0x21) ^ (bytes == 0)) | (bytes == 0x7f);
}

/* Not 0 where a NUL is followed by something else; reads one byte beyond sixteen. */
static inline bytes_t resumed(const char *text)
{
    return (load(text) == 0) & load(text + 1);
}

static inline bool is_any(bytes_t bytes)
{
    uint64_t words[2];
    memcpy(words, &bytes, sizeof words);
    return (words[0] | words[1]) != 0;
}

static inline uint64_t word_at(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

/* Each pair of words by a multiplication of its own, so that they run side by side. */
static inline uint64_t hash_pair(const char *text, uint64_t salt)
{
    product_t product = (product_t)(word_at(text) ^ salt) * (word_at(text + 8) ^ 0xe7037ed1a0b428db);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_half(const char *text, uint64_t salt)
{
    return hash_pair(text, salt) + hash_pair(text + 16, ~salt);
}

#define HALF 32u
#define LOWER_SALT 0x9e3779b97f4a7c15u
#define UPPER_SALT 0xd1b54a32d192ed03u
_Static_assert(LK_ID_BYTES == 2 * HALF && LK_SYMBOL_BYTES == HALF, "ids are looked at in halves");

/* Sixteen bytes of a text that has more: bad where they are, or where the text goes on after its end. */
static inline bytes_t bad_but_last(const char *text)
{
    return unprintable(load(text)) | resumed(text);
}

static inline bytes_t bad_half(const char *text)
{
    return bad_but_last(text) | unprintable(load(text + 16)) | resumed(text + 15);
}

uint64_t lk_hash_symbol(const lk_symbol_t *symbol)
{
    return hash_half(symbol->text, LOWER_SALT);
}

/* A sound id has an upper half only if that begins with a character. Of an unsound one any hash will do: hashes find
 * candidates, and whole ids are compared. */
static inline bool has_upper(const lk_id_t *id)
{
    return id->text[HALF] != '\0';
}

uint64_t lk_hash_id(const lk_id_t *id)
{
    uint64_t hash = hash_half(id->text, LOWER_SALT);
    return has_upper(id) ? hash + hash_half(id->text + HALF, UPPER_SALT) : hash;
}

/* Most ids end in their lower half, and those that nobody stated at once. */
bool lk_id_is_sound(const lk_id_t *id)
{
    const char *upper = id->text + HALF;
    bytes_t bad = has_upper(id) ? bad_half(upper) | resumed(upper - 16) : load(upper) | load(upper + 16);
    bad |= lk_id_is_empty(id) ? load(id->text) | load(id->text + 16) : bad_half(id->text);
    return !is_any(bad);
}

bool lk_symbol_is_sound(const lk_symbol_t *symbol)
{
    return !is_any(bad_half(symbol->text));
}

bool lk_currency_is_sound(const lk_currency_t *currency)
{
    lk_symbol_t symbol = {{0}};
    memcpy(symbol.text, currency->text, sizeof currency->text);
    return lk_symbol_is_sound(&symbol);
}

/* ------------------------------------------------------------------------------------------------- index -- */

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)hash | 1u; /* 0 is an empty place */
}

static uint32_t home_of(const lk_index_t *index, uint32_t tag)
{
    return tag >> 1 & index->mask;
}

static void index_clear(lk_index_t *index)
{
    memset(index->places, 0, ((size_t)index->mask + 1) * sizeof *index->places);
}

static void index_add(lk_index_t *index, uint64_t hash, uint32_t value)
{
    uint32_t tag = tag_of(hash);
    uint32_t at = home_of(index, tag);
    while (index->places[at].tag != 0)
        at = (at + 1) & index->mask; /* at most half full: it ends */
    index->places[at] = (lk_place_t){tag, value};
}

/* The place at or after `at` with this tag, or an empty one. */
static const lk_place_t *index_next(const lk_index_t *index, uint32_t tag, uint32_t *at)
{
    while (index->places[*at].tag != 0 && index->places[*at].tag != tag)
        *at = (*at + 1) & index->mask;
    const lk_place_t *place = &index->places[*at];
    *at = (*at + 1) & index->mask;
    return place;
}

/* Take one out and move up what it had pushed aside. */
static void index_remove(lk_index_t *index, uint64_t hash, uint32_t value)
{
    uint32_t tag = tag_of(hash);
    uint32_t hole = home_of(index, tag);
    while (index->places[hole].tag != tag || index->places[hole].value != value) {
        LK_ASSERT(index->places[hole].tag != 0);
        hole = (hole + 1) & index->mask;
    }
    for (uint32_t at = (hole + 1) & index->mask; index->places[at].tag != 0; at = (at + 1) & index->mask) {
        uint32_t home = home_of(index, index->places[at].tag);
        if (((at - home) & index->mask) < ((at - hole) & index->mask)) continue;
        index->places[hole] = index->places[at];
        hole = at;
    }
    index->places[hole].tag = 0;
}

/* ------------------------------------------------------------------------------------------------ orders -- */

_Static_assert(LK_ORDERS_PER_SLOT * 2 <= 16, "a place and which of its ids");
static uint32_t order_value(uint32_t slot_index, uint32_t place, bool is_venue_id)
{
    return slot_index * 16 + place * 2 + (is_venue_id ? 1u : 0u);
}

bool lk_find_order_by(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash, bool is_venue_id,
                      uint32_t *slot_index, uint32_t *place)
{
    const lk_index_t *index = &kernel->order_index;
    uint32_t tag = tag_of(hash);
    uint32_t at = home_of(index, tag);
    const lk_place_t *found = NULL;
    while ((found = index_next(index, tag, &at))->tag != 0) {
        const lk_order_t *order = lk_slot_order_at(&kernel->slots[found->value / 16], found->value % 16 / 2);
        if ((found->value & 1u) != (is_venue_id ? 1u : 0u)) continue;
        if (!lk_id_equal(is_venue_id ? &order->venue_order_id : &order->client_order_id, id)) continue;
        *slot_index = found->value / 16;
        *place = found->value % 16 / 2;
        return true;
    }
    return false;
}

bool lk_find_order(const lk_kernel_t *kernel, const lk_id_t *id, bool is_venue_id, uint32_t *slot_index,
                   uint32_t *place)
{
    if (lk_id_is_empty(id)) return false;
    return lk_find_order_by(kernel, id, lk_hash_id(id), is_venue_id, slot_index, place);
}

bool lk_find_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id, uint32_t *slot_index)
{
    const lk_index_t *index = &kernel->trade_index;
    uint32_t tag = tag_of(lk_hash_id(trade_id));
    uint32_t at = home_of(index, tag);
    const lk_place_t *found = NULL;
    while ((found = index_next(index, tag, &at))->tag != 0) {
        if (!lk_id_equal(&kernel->slots[found->value].trade_id, trade_id)) continue;
        *slot_index = found->value;
        return true;
    }
    return false;
}

static void index_order_id(lk_kernel_t *kernel, const lk_id_t *id, uint32_t value)
{
    if (!lk_id_is_empty(id)) index_add(&kernel->order_index, lk_hash_id(id), value);
}

static void unindex_order_id(lk_kernel_t *kernel, const lk_id_t *id, uint32_t value)
{
    if (!lk_id_is_empty(id)) index_remove(&kernel->order_index, lk_hash_id(id), value);
}

void lk_index_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place)
{
    const lk_order_t *order = lk_slot_order_at(&kernel->slots[slot_index], place);
    index_order_id(kernel, &order->client_order_id, order_value(slot_index, place, false));
    index_order_id(kernel, &order->venue_order_id, order_value(slot_index, place, true));
}

void lk_unindex_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place)
{
    const lk_order_t *order = lk_slot_order_at(&kernel->slots[slot_index], place);
    unindex_order_id(kernel, &order->client_order_id, order_value(slot_index, place, false));
    unindex_order_id(kernel, &order->venue_order_id, order_value(slot_index, place, true));
}

void lk_index_trade(lk_kernel_t *kernel, uint32_t slot_index)
{
    const lk_slot_t *slot = &kernel->slots[slot_index];
    index_add(&kernel->trade_index, lk_hash_id(&slot->trade_id), slot_index);
    kernel->symbol_hashes[slot_index] = lk_hash_symbol(&slot->symbol);
}

void lk_unindex_slot(lk_kernel_t *kernel, uint32_t slot_index)
{
    lk_slot_t *slot = &kernel->slots[slot_index];
    if (slot->trade_sequence == 0) return;
    for (uint32_t place = 0; place < LK_ORDERS_PER_SLOT; place++)
        lk_unindex_order(kernel, slot_index, place); /* one that is not in use has no ids */
    index_remove(&kernel->trade_index, lk_hash_id(&slot->trade_id), slot_index);
    kernel->symbol_hashes[slot_index] = 0;
}

void lk_learn_venue_order_id(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place, const lk_id_t *venue_order_id)
{
    uint32_t other_slot = 0;
    uint32_t other_place = 0;
    lk_order_t *order = lk_slot_order(&kernel->slots[slot_index], place);
    LK_ASSERT(!lk_id_is_empty(venue_order_id));
    if (!lk_id_is_empty(&order->venue_order_id)) return;
    if (lk_find_order(kernel, venue_order_id, true, &other_slot, &other_place)) return; /* another order goes by it */
    order->venue_order_id = *venue_order_id;
    index_order_id(kernel, venue_order_id, order_value(slot_index, place, true));
}

/* ------------------------------------------------------------------------------------------------ window -- */
/* Numbers of the last window_count ids, chained by hash from the newest to the oldest. What leaves the window is never
 * taken out: a chain ends where its numbers get too old, and only then are their places taken again. */

static lk_link_t *link_of(const lk_window_t *window, uint64_t number)
{
    return &window->links[(number - 1) & window->link_mask];
}

static uint64_t *newest_of(const lk_window_t *window, uint64_t hash)
{
    return &window->newest[hash & window->chain_mask];
}

/* The filter has a word for each of four generations of numbers, a generation being half of what the window holds. What
 * is in the window is of this generation or the two before it; the next one's words are cleared while this one fills.
 */
static uint64_t *filter_of(const lk_window_t *window, uint64_t hash)
{
    return &window->filter[(hash >> 48 & window->filter_mask) * LK_GENERATIONS];
}

static uint64_t filter_bits(uint64_t hash)
{
    return UINT64_C(1) << (hash >> 42 & 63) | UINT64_C(1) << (hash >> 36 & 63);
}

static uint64_t generation_of(const lk_window_t *window, uint64_t number)
{
    return number >> window->generation_bits;
}

static void filter_add(lk_window_t *window, uint64_t hash)
{
    uint64_t generation = generation_of(window, window->count);
    uint64_t cleared = window->count & window->filter_mask;
    window->filter[cleared * LK_GENERATIONS + (generation + 1) % LK_GENERATIONS] = 0;
    filter_of(window, hash)[generation % LK_GENERATIONS] |= filter_bits(hash);
}

/* False: it is not in the window, which nearly always is so, and known without following a chain. */
static bool filter_has(const lk_window_t *window, uint64_t hash)
{
    const uint64_t *words = filter_of(window, hash);
    uint64_t generation = generation_of(window, window->count);
    uint64_t bits = filter_bits(hash);
    uint64_t seen = words[generation % LK_GENERATIONS] | words[(generation - 1) % LK_GENERATIONS] |
                    words[(generation - 2) % LK_GENERATIONS];
    return (seen & bits) == bits;
}

static void window_add(lk_window_t *window, uint64_t hash)
{
    uint64_t *newest = newest_of(window, hash);
    window->count++;
    filter_add(window, hash);
    *link_of(window, window->count) = (lk_link_t){hash, *newest};
    *newest = window->count;
}

/* The newest number at or before `number` in its chain, with this hash and in the window; 0: none. */
static uint64_t window_next(const lk_window_t *window, uint64_t hash, uint64_t number)
{
    while (number != 0 && window->count - number <= window->link_mask) {
        const lk_link_t *link = link_of(window, number);
        if (link->hash == hash) return number;
        number = link->previous;
    }
    return 0;
}

/* The newest number with this hash; 0: none. */
static uint64_t window_first(const lk_window_t *window, uint64_t hash)
{
    return filter_has(window, hash) ? window_next(window, hash, *newest_of(window, hash)) : 0;
}

/* Empty, as after `count` ids that nobody remembers. */
static void window_clear(lk_window_t *window, uint64_t count)
{
    memset(window->filter, 0, (window->filter_mask + 1) * LK_GENERATIONS * sizeof *window->filter);
    memset(window->newest, 0, (window->chain_mask + 1) * sizeof *window->newest);
    window->count = count;
}

/* ----------------------------------------------------------------------------------------------- windows -- */

static inline lk_chain_t take_pair(lk_chain_t chain, uint64_t x, uint64_t y)
{
    product_t p = (product_t)(chain.a ^ x) * LK_CHAIN_FACTOR_A;
    product_t q = (product_t)(chain.b ^ y) * LK_CHAIN_FACTOR_B;
    return (lk_chain_t){(uint64_t)p ^ (uint64_t)(q >> 64), (uint64_t)q ^ (uint64_t)(p >> 64)};
}

/* The words of a record, pair by pair: see lk_kernel_digest. */
static inline lk_chain_t take_in(lk_chain_t chain, const void *record, size_t size)
{
    const char *bytes = record;
    size_t at = 0;
    for (; at + 16 <= size; at += 16)
        chain = take_pair(chain, word_at(bytes + at), word_at(bytes + at + 8));
    return at == size ? chain : take_pair(chain, word_at(bytes + at), 0);
}
_Static_assert(sizeof(lk_id_t) % 8 == 0 && sizeof(lk_execution_t) % 8 == 0, "records are whole words");

void lk_execution_changed(lk_kernel_t *kernel, const lk_execution_t *execution)
{
    lk_chain_t *chain = &kernel->ledger.execution_chain;
    *chain = take_in(*chain, execution, sizeof *execution);
}

static uint32_t ring_place(const lk_kernel_t *kernel, uint64_t number)
{
    return (uint32_t)((number - 1) & (kernel->config.window_count - 1));
}

bool lk_window_has_event(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash)
{
    const lk_window_t *window = &kernel->event_window;
    uint64_t number = window_first(window, hash);
    for (; number != 0; number = window_next(window, hash, link_of(window, number)->previous)) {
        if (lk_id_equal(&kernel->event_ids[ring_place(kernel, number)], id)) return true;
    }
    return false;
}

void lk_window_add_event(lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash)
{
    kernel->ledger.event_count++;
    kernel->event_ids[ring_place(kernel, kernel->ledger.event_count)] = *id;
    window_add(&kernel->event_window, hash);
    kernel->ledger.event_chain = take_in(kernel->ledger.event_chain, id, sizeof *id);
}

lk_execution_t *lk_window_find_execution(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash)
{
    const lk_window_t *window = &kernel->execution_window;
    uint64_t number = window_first(window, hash);
    for (; number != 0; number = window_next(window, hash, link_of(window, number)->previous)) {
        lk_execution_t *execution = &kernel->executions[ring_place(kernel, number)];
        if (lk_id_equal(&execution->execution_id, id)) return execution;
    }
    return NULL;
}

lk_execution_t *lk_window_execution(const lk_kernel_t *kernel, uint64_t number)
{
    LK_ASSERT(number >= 1 && number <= kernel->ledger.execution_count);
    LK_ASSERT(kernel->ledger.execution_count - number < kernel->config.window_count);
    return &kernel->executions[ring_place(kernel, number)];
}

void lk_window_add_execution(lk_kernel_t *kernel, const lk_execution_t *execution, uint64_t hash)
{
    kernel->ledger.execution_count++;
    LK_ASSERT(execution->number == kernel->ledger.execution_count);
    lk_copy(&kernel->executions[ring_place(kernel, execution->number)], execution, sizeof *execution);
    window_add(&kernel->execution_window, hash);
    lk_chain_t *chain = &kernel->ledger.execution_chain;
    *chain = take_in(*chain, execution, sizeof *execution);
}

/* ----------------------------------------------------------------------------------------------- rebuild -- */

static uint64_t first_kept(const lk_kernel_t *kernel, uint64_t count)
{
    return count < kernel->config.window_count ? 1 : count - kernel->config.window_count + 1;
}

static void rebuild_windows(lk_kernel_t *kernel)
{
    uint64_t event = first_kept(kernel, kernel->ledger.event_count);
    uint64_t execution = first_kept(kernel, kernel->ledger.execution_count);
    window_clear(&kernel->event_window, event - 1);
    window_clear(&kernel->execution_window, execution - 1);
    for (; event <= kernel->ledger.event_count; event++)
        window_add(&kernel->event_window, lk_hash_id(&kernel->event_ids[ring_place(kernel, event)]));
    for (; execution <= kernel->ledger.execution_count; execution++) {
        const lk_execution_t *kept = &kernel->executions[ring_place(kernel, execution)];
        window_add(&kernel->execution_window, lk_hash_id(&kept->execution_id));
    }
}

static void rebuild_slot(lk_kernel_t *kernel, uint32_t slot_index)
{
    const lk_slot_t *slot = &kernel->slots[slot_index];
    lk_stage_t stage = lk_slot_stage(slot);
    lk_set_add(kernel->dirty_slots, slot_index);
    kernel->symbol_hashes[slot_index] = 0;
    kernel->told[slot_index] = (lk_told_t){(uint8_t)stage, (uint8_t)lk_slot_lifecycle(slot, stage)};
    if (stage == LK_STAGE_IDLE) return;
    if (stage != LK_STAGE_TERMINAL_WRITTEN) lk_set_add(kernel->busy_slots, slot_index);
    lk_index_trade(kernel, slot_index);
    for (uint32_t place = 0; place < LK_ORDERS_PER_SLOT; place++)
        lk_index_order(kernel, slot_index, place);
}

void lk_rebuild_indexes(lk_kernel_t *kernel)
{
    rebuild_windows(kernel);
    index_clear(&kernel->order_index);
    index_clear(&kernel->trade_index);
    memset(kernel->busy_slots, 0, sizeof kernel->busy_slots);
    for (uint32_t i = 0; i < kernel->config.slot_count; i++)
        rebuild_slot(kernel, i);
}
