/* Identifiers: hashing, the indexes, and the two windows that make inputs idempotent. */
#include "internal.h"

__extension__ typedef unsigned __int128 product_t;

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    product_t product = (product_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t lk_hash_bytes(const char *text, size_t size)
{
    uint64_t hash = 0x9e3779b97f4a7c15;
    LK_ASSERT(size % 16 == 0);
    for (size_t i = 0; i < size; i += 16) {
        uint64_t words[2];
        memcpy(words, text + i, sizeof words);
        hash = fold(words[0] ^ hash, words[1] ^ 0xe7037ed1a0b428db);
    }
    return hash == 0 ? 1 : hash;
}

bool lk_text_is_sound(const char *text, size_t size)
{
    unsigned bad = 0; /* without branches, so that the compiler can look at 16 bytes at a time */
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bad |= (unsigned)(c != 0) & ((unsigned)(c < 0x21) | (unsigned)(c > 0x7e));
    }
    for (size_t i = 0; i + 1 < size; i++)
        bad |= (unsigned)(text[i] == 0) & (unsigned)(text[i + 1] != 0);
    return bad == 0;
}

/* ------------------------------------------------------------------------------------------------- index -- */

void lk_index_clear(lk_index_t *index)
{
    memset(index->hashes, 0, ((size_t)index->mask + 1) * sizeof *index->hashes);
}

void lk_index_add(lk_index_t *index, uint64_t hash, uint32_t value)
{
    uint32_t place = (uint32_t)hash & index->mask;
    while (index->hashes[place] != 0)
        place = (place + 1) & index->mask; /* at most half full: it ends */
    index->hashes[place] = hash;
    index->values[place] = value;
}

bool lk_index_next(const lk_index_t *index, uint64_t hash, uint32_t *place, uint32_t *value)
{
    for (uint32_t at = *place; index->hashes[at] != 0; at = (at + 1) & index->mask) {
        if (index->hashes[at] != hash) continue;
        *place = (at + 1) & index->mask;
        *value = index->values[at];
        return true;
    }
    return false;
}

/* Take one out and move up what it had pushed aside. */
void lk_index_remove(lk_index_t *index, uint64_t hash, uint32_t value)
{
    uint32_t hole = (uint32_t)hash & index->mask;
    while (index->hashes[hole] != hash || index->values[hole] != value) {
        LK_ASSERT(index->hashes[hole] != 0);
        hole = (hole + 1) & index->mask;
    }
    for (uint32_t at = (hole + 1) & index->mask; index->hashes[at] != 0; at = (at + 1) & index->mask) {
        uint32_t home = (uint32_t)index->hashes[at] & index->mask;
        if (((at - home) & index->mask) < ((at - hole) & index->mask)) continue;
        index->hashes[hole] = index->hashes[at];
        index->values[hole] = index->values[at];
        hole = at;
    }
    index->hashes[hole] = 0;
}

/* ------------------------------------------------------------------------------------------------ orders -- */

static const lk_order_t *order_at(const lk_slot_t *slot, uint32_t place)
{
    return place == 0 ? &slot->entry : &slot->exits[place - 1];
}

static uint32_t order_value(uint32_t slot_index, uint32_t place, bool is_venue_id)
{
    return slot_index * 16 + place * 2 + (is_venue_id ? 1u : 0u);
}

bool lk_find_order(const lk_kernel_t *kernel, const lk_id_t *id, bool is_venue_id, uint32_t *slot_index,
                   uint32_t *place)
{
    if (lk_id_is_empty(id)) return false;
    uint64_t hash = lk_hash_id(id);
    uint32_t value = 0;
    for (uint32_t at = (uint32_t)hash & kernel->order_index.mask;
         lk_index_next(&kernel->order_index, hash, &at, &value);) {
        const lk_order_t *order = order_at(&kernel->slots[value / 16], value % 16 / 2);
        if ((value & 1u) != (is_venue_id ? 1u : 0u)) continue;
        if (!lk_id_equal(is_venue_id ? &order->venue_order_id : &order->client_order_id, id)) continue;
        *slot_index = value / 16;
        *place = value % 16 / 2;
        return true;
    }
    return false;
}

bool lk_find_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id, uint32_t *slot_index)
{
    uint64_t hash = lk_hash_id(trade_id);
    for (uint32_t at = (uint32_t)hash & kernel->trade_index.mask;
         lk_index_next(&kernel->trade_index, hash, &at, slot_index);) {
        if (lk_id_equal(&kernel->slots[*slot_index].trade_id, trade_id)) return true;
    }
    return false;
}

void lk_index_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place)
{
    const lk_order_t *order = order_at(&kernel->slots[slot_index], place);
    if (!lk_id_is_empty(&order->client_order_id)) {
        lk_index_add(&kernel->order_index, lk_hash_id(&order->client_order_id), order_value(slot_index, place, false));
    }
    if (!lk_id_is_empty(&order->venue_order_id)) {
        lk_index_add(&kernel->order_index, lk_hash_id(&order->venue_order_id), order_value(slot_index, place, true));
    }
}

void lk_unindex_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place)
{
    const lk_order_t *order = order_at(&kernel->slots[slot_index], place);
    if (!lk_id_is_empty(&order->client_order_id)) {
        lk_index_remove(&kernel->order_index, lk_hash_id(&order->client_order_id),
                        order_value(slot_index, place, false));
    }
    if (!lk_id_is_empty(&order->venue_order_id)) {
        lk_index_remove(&kernel->order_index, lk_hash_id(&order->venue_order_id), order_value(slot_index, place, true));
    }
}

void lk_index_trade(lk_kernel_t *kernel, uint32_t slot_index)
{
    const lk_slot_t *slot = &kernel->slots[slot_index];
    lk_index_add(&kernel->trade_index, lk_hash_id(&slot->trade_id), slot_index);
    kernel->symbol_hashes[slot_index] = lk_hash_bytes(slot->symbol.text, sizeof slot->symbol.text);
}

void lk_unindex_slot(lk_kernel_t *kernel, uint32_t slot_index)
{
    lk_slot_t *slot = &kernel->slots[slot_index];
    if (slot->trade_sequence == 0) return;
    for (uint32_t place = 0; place < LK_ORDERS_PER_SLOT; place++)
        lk_unindex_order(kernel, slot_index, place);
    lk_index_remove(&kernel->trade_index, lk_hash_id(&slot->trade_id), slot_index);
    kernel->symbol_hashes[slot_index] = 0;
}

void lk_learn_venue_order_id(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place, const lk_id_t *venue_order_id)
{
    uint32_t other_slot = 0;
    uint32_t other_place = 0;
    lk_order_t *order = lk_slot_order(&kernel->slots[slot_index], place);
    if (lk_id_is_empty(venue_order_id) || !lk_id_is_empty(&order->venue_order_id)) return;
    if (lk_find_order(kernel, venue_order_id, true, &other_slot, &other_place)) return; /* another order goes by it */
    lk_unindex_order(kernel, slot_index, place);
    order->venue_order_id = *venue_order_id;
    lk_index_order(kernel, slot_index, place);
}

/* ----------------------------------------------------------------------------------------------- windows -- */

static uint32_t ring_place(const lk_kernel_t *kernel, uint64_t number)
{
    return (uint32_t)(number & (kernel->config.window_count - 1));
}

/* The words of a record, pair by pair: see lk_kernel_digest. */
static void take_in(lk_chain_t *chain, const void *record, size_t size)
{
    const uint8_t *bytes = record;
    LK_ASSERT(size % sizeof(uint64_t) == 0);
    for (size_t at = 0; at < size; at += 2 * sizeof(uint64_t)) {
        uint64_t pair[2] = {0, 0};
        memcpy(pair, bytes + at, size - at < sizeof pair ? size - at : sizeof pair);
        product_t p = (product_t)(chain->a ^ pair[0]) * LK_CHAIN_FACTOR_A;
        product_t q = (product_t)(chain->b ^ pair[1]) * LK_CHAIN_FACTOR_B;
        chain->a = (uint64_t)p ^ (uint64_t)(q >> 64);
        chain->b = (uint64_t)q ^ (uint64_t)(p >> 64);
    }
}

void lk_execution_changed(lk_kernel_t *kernel, const lk_execution_t *execution)
{
    take_in(&kernel->ledger.execution_chain, execution, sizeof *execution);
}

bool lk_window_has_event(const lk_kernel_t *kernel, const lk_id_t *id)
{
    uint64_t hash = lk_hash_id(id);
    uint32_t value = 0;
    for (uint32_t at = (uint32_t)hash & kernel->event_index.mask;
         lk_index_next(&kernel->event_index, hash, &at, &value);) {
        if (lk_id_equal(&kernel->event_ids[value], id)) return true;
    }
    return false;
}

void lk_window_add_event(lk_kernel_t *kernel, const lk_id_t *id)
{
    uint32_t place = ring_place(kernel, kernel->ledger.event_count);
    if (kernel->ledger.event_count >= kernel->config.window_count) {
        lk_index_remove(&kernel->event_index, lk_hash_id(&kernel->event_ids[place]), place);
    }
    kernel->event_ids[place] = *id;
    kernel->ledger.event_count++;
    take_in(&kernel->ledger.event_chain, id, sizeof *id);
    lk_index_add(&kernel->event_index, lk_hash_id(id), place);
}

lk_execution_t *lk_window_find_execution(const lk_kernel_t *kernel, const lk_id_t *id)
{
    uint64_t hash = lk_hash_id(id);
    uint32_t value = 0;
    for (uint32_t at = (uint32_t)hash & kernel->execution_index.mask;
         lk_index_next(&kernel->execution_index, hash, &at, &value);) {
        if (lk_id_equal(&kernel->executions[value].execution_id, id)) return &kernel->executions[value];
    }
    return NULL;
}

lk_execution_t *lk_window_execution(const lk_kernel_t *kernel, uint64_t number)
{
    LK_ASSERT(number >= 1 && number <= kernel->ledger.execution_count);
    LK_ASSERT(kernel->ledger.execution_count - number < kernel->config.window_count);
    return &kernel->executions[ring_place(kernel, number - 1)];
}

void lk_window_add_execution(lk_kernel_t *kernel, const lk_execution_t *execution)
{
    uint32_t place = ring_place(kernel, kernel->ledger.execution_count);
    LK_ASSERT(execution->number == kernel->ledger.execution_count + 1);
    if (kernel->ledger.execution_count >= kernel->config.window_count) {
        lk_index_remove(&kernel->execution_index, lk_hash_id(&kernel->executions[place].execution_id), place);
    }
    kernel->executions[place] = *execution;
    kernel->ledger.execution_count++;
    take_in(&kernel->ledger.execution_chain, execution, sizeof *execution);
    lk_index_add(&kernel->execution_index, lk_hash_id(&execution->execution_id), place);
}

/* What follows from slots and rings alone. */
void lk_rebuild_indexes(lk_kernel_t *kernel)
{
    uint64_t window_count = kernel->config.window_count;
    uint64_t event_count = kernel->ledger.event_count < window_count ? kernel->ledger.event_count : window_count;
    uint64_t execution_count =
        kernel->ledger.execution_count < window_count ? kernel->ledger.execution_count : window_count;

    lk_index_clear(&kernel->event_index);
    lk_index_clear(&kernel->execution_index);
    lk_index_clear(&kernel->order_index);
    lk_index_clear(&kernel->trade_index);
    for (uint32_t i = 0; i < event_count; i++)
        lk_index_add(&kernel->event_index, lk_hash_id(&kernel->event_ids[i]), i);
    for (uint32_t i = 0; i < execution_count; i++) {
        lk_index_add(&kernel->execution_index, lk_hash_id(&kernel->executions[i].execution_id), i);
    }
    memset(kernel->busy_slots, 0, sizeof kernel->busy_slots);
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        lk_stage_t stage = lk_slot_stage(&kernel->slots[i]);
        kernel->symbol_hashes[i] = 0;
        lk_set_add(kernel->dirty_slots, i);
        if (stage == LK_STAGE_IDLE) continue;
        if (stage != LK_STAGE_TERMINAL_WRITTEN) lk_set_add(kernel->busy_slots, i);
        lk_index_trade(kernel, i);
        for (uint32_t place = 0; place < LK_ORDERS_PER_SLOT; place++)
            lk_index_order(kernel, i, place);
    }
}
