/* The state as bytes: digest, save, restore.
 *
 * Both are described in the manual (lk_kernel_digest, lk_kernel_save). What a digest leaves out, because it is not in
 * use, is 0: so equal digests mean equal states, and restore refuses anything else.
 */
#include "internal.h"

#define MAGIC 0x6c656e72656b6c6bull /* "klkernel" */

typedef struct {
    uint64_t magic;
    uint32_t save_version;
    uint32_t slot_count;
    uint64_t total_size;
    uint64_t event_count; /* ids in use */
    uint64_t execution_count;
    lk_config_t config;
} header_t;
_Static_assert(sizeof(header_t) == 40 + sizeof(lk_config_t), "no padding");

/* ------------------------------------------------------------------------------------------------ digest -- */

/* Up to the exit orders in use; the protective orders of a bracket are hashed after them. */
static size_t used_bytes(const lk_slot_t *slot)
{
    size_t size = offsetof(lk_slot_t, exits) + lk_slot_exits_kept(slot) * sizeof slot->exits[0];
    return slot->trade_sequence == 0 ? 0 : size;
}

static void digest_slot(lk_kernel_t *kernel, uint32_t slot_index)
{
    const lk_slot_t *slot = &kernel->slots[slot_index];
    uint8_t *digest = kernel->slot_digests[slot_index];
    lk_blake2b_t hash;
    if (used_bytes(slot) == 0) {
        memset(digest, 0, LK_DIGEST_BYTES);
        return;
    }
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, slot, used_bytes(slot));
    if (slot->is_bracket) lk_blake2b_add(&hash, slot->protectives, sizeof slot->protectives);
    lk_blake2b_end(&hash, digest);
}

lk_status_t lk_kernel_digest(lk_kernel_t *kernel, uint8_t digest[LK_DIGEST_BYTES])
{
    lk_blake2b_t hash;
    if (kernel == NULL || digest == NULL) return LK_STATUS_INVALID_ARGUMENT;
    LK_FOR_EACH_IN (kernel->dirty_slots, i) {
        digest_slot(kernel, i);
    }
    memset(kernel->dirty_slots, 0, sizeof kernel->dirty_slots);
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, kernel->config_digest, sizeof kernel->config_digest);
    lk_blake2b_add(&hash, &kernel->ledger, sizeof kernel->ledger);
    lk_blake2b_add(&hash, kernel->slot_digests, kernel->config.slot_count * sizeof *kernel->slot_digests);
    lk_blake2b_end(&hash, digest);
    return LK_STATUS_OK;
}

/* -------------------------------------------------------------------------------------------------- save -- */

static uint64_t in_use(const lk_kernel_t *kernel, uint64_t count)
{
    return count < kernel->config.window_count ? count : kernel->config.window_count;
}

static size_t size_of(uint64_t slot_count, uint64_t event_count, uint64_t execution_count)
{
    return sizeof(header_t) + sizeof(lk_ledger_t) + slot_count * sizeof(lk_slot_t) + event_count * sizeof(lk_id_t) +
           execution_count * sizeof(lk_execution_t) + LK_DIGEST_BYTES;
}

lk_status_t lk_kernel_save_size(const lk_kernel_t *kernel, size_t *size)
{
    if (kernel == NULL || size == NULL) return LK_STATUS_INVALID_ARGUMENT;
    *size = size_of(kernel->config.slot_count, in_use(kernel, kernel->ledger.event_count),
                    in_use(kernel, kernel->ledger.execution_count));
    return LK_STATUS_OK;
}

static uint8_t *write(uint8_t *at, const void *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static header_t header_of(const lk_kernel_t *kernel, size_t size)
{
    header_t header;
    memset(&header, 0, sizeof header);
    header.magic = MAGIC;
    header.save_version = LK_SAVE_VERSION;
    header.slot_count = kernel->config.slot_count;
    header.total_size = size;
    header.event_count = in_use(kernel, kernel->ledger.event_count);
    header.execution_count = in_use(kernel, kernel->ledger.execution_count);
    header.config = kernel->config;
    return header;
}

lk_status_t lk_kernel_save(lk_kernel_t *kernel, uint8_t *data, size_t capacity, size_t *size)
{
    if (kernel == NULL || data == NULL) return LK_STATUS_INVALID_ARGUMENT;
    lk_status_t status = lk_kernel_save_size(kernel, size);
    if (status != LK_STATUS_OK) return status;
    if (capacity < *size) return LK_STATUS_BUFFER_TOO_SMALL;
    header_t header = header_of(kernel, *size);
    uint8_t *at = write(data, &header, sizeof header);
    at = write(at, &kernel->ledger, sizeof kernel->ledger);
    at = write(at, kernel->slots, header.slot_count * sizeof *kernel->slots);
    at = write(at, kernel->event_ids, header.event_count * sizeof *kernel->event_ids);
    at = write(at, kernel->executions, header.execution_count * sizeof *kernel->executions);
    lk_blake2b(data, (size_t)(at - data), at);
    LK_ASSERT((size_t)(at - data) + LK_DIGEST_BYTES == *size);
    return LK_STATUS_OK;
}

/* ----------------------------------------------------------------------------------------------- restore -- */

static lk_status_t check_frame(const uint8_t *data, size_t size, header_t *header)
{
    uint8_t sum[LK_DIGEST_BYTES];
    if (size < sizeof *header + LK_DIGEST_BYTES) return LK_STATUS_INVALID_SIZE;
    memcpy(header, data, sizeof *header);
    if (header->magic != MAGIC || header->save_version != LK_SAVE_VERSION) return LK_STATUS_INVALID_VERSION;
    if (header->total_size != size) return LK_STATUS_INVALID_SIZE;
    lk_blake2b(data, size - LK_DIGEST_BYTES, sum);
    if (memcmp(sum, data + size - LK_DIGEST_BYTES, sizeof sum) != 0) return LK_STATUS_INVALID_CHECKSUM;
    return LK_STATUS_OK;
}

static bool is_zero(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum |= bytes[i];
    return sum == 0;
}

/* What every trade was found to have when its slot was taken. */
static bool terms_can_be(const lk_slot_t *slot, const lk_config_t *config)
{
    bool is_direction = slot->entry.side == LK_SIDE_BUY || slot->entry.side == LK_SIDE_SELL;
    return is_direction && slot->tick_units > 0 && slot->lot_units > 0 && slot->multiplier > 0 &&
           (uint32_t)slot->price_scale + slot->qty_scale <= config->amount_scale &&
           slot->active_leg_index < LK_EXIT_LEGS_MAX;
}

/* What is not in use of them is 0. That what is in use is sound, lk_slot_is_sound says. */
static bool protectives_can_be(const lk_slot_t *slot)
{
    uint32_t used = !slot->is_bracket ? 0 : slot->has_target_price ? 2 : 1;
    return slot->is_bracket <= slot->has_stop_price &&
           is_zero(slot->protectives + used, (LK_PROTECTIVES_MAX - used) * sizeof slot->protectives[0]);
}

static bool slot_can_be(const lk_slot_t *slot, const lk_ledger_t *ledger, const lk_config_t *config)
{
    int64_t figure = 0;
    size_t used = used_bytes(slot);
    if (!is_zero((const uint8_t *)slot + used, offsetof(lk_slot_t, protectives) - used)) return false;
    if (!protectives_can_be(slot)) return false;
    if (used == 0) return true;
    return slot->trade_sequence <= ledger->trade_count && slot->close_sequence <= ledger->close_count &&
           terms_can_be(slot, config) && lk_slot_is_sound(slot) &&
           lk_book_realized(&slot->book, lk_slot_direction(slot), &figure) &&
           lk_slot_unrealized(slot, &slot->book, slot->mark, config->amount_scale, &figure);
}

static bool slots_can_be(const lk_kernel_t *kernel, const lk_ledger_t *ledger, const uint8_t *at)
{
    lk_slot_t slot;
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        memcpy(&slot, at + i * sizeof slot, sizeof slot);
        if (!slot_can_be(&slot, ledger, &kernel->config)) return false;
    }
    return true;
}

/* Execution n is where n belongs in the ring, and the ring holds the last ones. */
static bool executions_can_be(const lk_kernel_t *kernel, const lk_ledger_t *ledger, const uint8_t *at)
{
    lk_execution_t execution;
    uint64_t window_count = kernel->config.window_count;
    for (uint64_t i = 0; i < in_use(kernel, ledger->execution_count); i++) {
        memcpy(&execution, at + i * sizeof execution, sizeof execution);
        bool is_recent = execution.number >= 1 && execution.number <= ledger->execution_count &&
                         ledger->execution_count - execution.number < window_count;
        if (!is_recent || (execution.number - 1) % window_count != i) return false;
        if (execution.slot_index >= kernel->config.slot_count) return false;
        if (execution.trade_sequence == 0 || execution.trade_sequence > ledger->trade_count) return false;
        if (execution.qty <= 0 || execution.notional < 0) return false;
    }
    return true;
}

/* What the executions of the window gave to a sum: those with a figure, and those without. */
typedef struct {
    lk_wide_t figured_qty;
    lk_wide_t other_qty;
    lk_wide_t notional;
} given_t;

static void give(given_t *given, const lk_execution_t *execution, bool has_figure)
{
    if (has_figure) {
        given->figured_qty += execution->qty;
        given->notional += execution->notional;
    } else {
        given->other_qty += execution->qty;
    }
}

static bool holds(const given_t *given, int64_t qty, int64_t other_qty, int64_t notional)
{
    return given->figured_qty <= qty - other_qty && given->other_qty <= other_qty && given->notional <= notional;
}

/* A BUST takes out of a trade what an execution gave to it: so it must be in there, and in its order. Executions that
 * have left the window may have given more. */
static bool slot_holds_executions(const lk_slot_t *slot, uint32_t slot_index, const uint8_t *at, uint64_t count)
{
    given_t entry = {0};
    given_t exit = {0};
    given_t orders[LK_ORDERS_PER_SLOT] = {{0}};
    int64_t waiting_count = 0;
    lk_execution_t execution;
    for (uint64_t i = 0; i < count; i++) {
        memcpy(&execution, at + i * sizeof execution, sizeof execution);
        bool is_here = execution.slot_index == slot_index && execution.trade_sequence == slot->trade_sequence;
        if (!is_here || execution.is_busted) continue;
        uint32_t place = lk_slot_place_of(slot, execution.ordinal);
        give(execution.is_exit ? &exit : &entry, &execution, !execution.is_skipped);
        if (place != LK_NO_ORDER) give(&orders[place], &execution, execution.has_price);
        if (execution.is_exit && execution.is_skipped && !execution.is_settled) waiting_count++;
    }
    const lk_book_t *book = &slot->book;
    for (uint32_t place = 0; place < LK_ORDERS_PER_SLOT; place++) {
        const lk_order_t *order = lk_slot_order_at(slot, place); /* not in use: 0, and nothing was given to it */
        if (!holds(&orders[place], order->cum_qty, order->cum_qty - order->priced_qty, order->cum_notional))
            return false;
    }
    return holds(&entry, book->entry_qty, book->entry_unpriced_qty, book->entry_notional) &&
           holds(&exit, book->exit_qty, book->skipped_qty, book->exit_notional) && waiting_count <= book->skipped_count;
}

static bool slots_hold_executions(const lk_kernel_t *kernel, const uint8_t *slots, const uint8_t *executions,
                                  uint64_t execution_count)
{
    lk_slot_t slot;
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        memcpy(&slot, slots + i * sizeof slot, sizeof slot);
        if (slot.trade_sequence == 0) continue;
        if (!slot_holds_executions(&slot, i, executions, execution_count)) return false;
    }
    return true;
}

/* The checksum says that the bytes are as saved; this, that what was saved is a state of this kernel. */
static bool state_can_be(const lk_kernel_t *kernel, const header_t *header, const uint8_t *body)
{
    lk_ledger_t ledger;
    size_t slots_size = header->slot_count * sizeof(lk_slot_t);
    size_t ids_size = header->event_count * sizeof(lk_id_t);
    memcpy(&ledger, body, sizeof ledger);
    if (memcmp(&header->config, &kernel->config, sizeof kernel->config) != 0) return false;
    if (header->event_count != in_use(kernel, ledger.event_count)) return false;
    if (header->execution_count != in_use(kernel, ledger.execution_count)) return false;
    if (!lk_ledger_is_sound(&ledger)) return false;
    body += sizeof ledger;
    const uint8_t *executions = body + slots_size + ids_size;
    return slots_can_be(kernel, &ledger, body) && executions_can_be(kernel, &ledger, executions) &&
           slots_hold_executions(kernel, body, executions, header->execution_count);
}

static const uint8_t *read(const uint8_t *at, void *data, size_t size)
{
    memcpy(data, at, size);
    return at + size;
}

lk_status_t lk_kernel_restore(lk_kernel_t *kernel, const uint8_t *data, size_t size)
{
    header_t header;
    if (kernel == NULL || data == NULL) return LK_STATUS_INVALID_ARGUMENT;
    lk_status_t status = check_frame(data, size, &header);
    if (status != LK_STATUS_OK) return status;
    bool counts_fit = header.slot_count == kernel->config.slot_count &&
                      header.event_count <= kernel->config.window_count &&
                      header.execution_count <= kernel->config.window_count;
    if (!counts_fit) return LK_STATUS_INVALID_STATE;
    if (size != size_of(header.slot_count, header.event_count, header.execution_count)) return LK_STATUS_INVALID_SIZE;
    const uint8_t *at = data + sizeof header;
    if (!state_can_be(kernel, &header, at)) return LK_STATUS_INVALID_STATE;

    at = read(at, &kernel->ledger, sizeof kernel->ledger);
    at = read(at, kernel->slots, header.slot_count * sizeof *kernel->slots);
    memset(kernel->event_ids, 0, kernel->config.window_count * sizeof *kernel->event_ids);
    memset(kernel->executions, 0, kernel->config.window_count * sizeof *kernel->executions);
    at = read(at, kernel->event_ids, header.event_count * sizeof *kernel->event_ids);
    at = read(at, kernel->executions, header.execution_count * sizeof *kernel->executions);
    LK_ASSERT(at == data + size - LK_DIGEST_BYTES);
    lk_rebuild_indexes(kernel);
    return LK_STATUS_OK;
}
