/* The state as bytes: digest, save, restore.
 *
 * Saved form, little endian:
 *   header   magic, save version, total size, counts, configuration, chains
 *   ledger, slots, event ids in use, executions in use (as they lie in their rings)
 *   checksum BLAKE2b-256 of all before it
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
    uint8_t event_chain[LK_DIGEST_BYTES];
    uint8_t execution_chain[LK_DIGEST_BYTES];
} header_t;
_Static_assert(sizeof(header_t) == 40 + sizeof(lk_config_t) + 64, "no padding");

/* ------------------------------------------------------------------------------------------------ digest -- */

static void digest_slot(lk_kernel_t *kernel, uint32_t slot_index)
{
    lk_blake2b_t hash;
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, &kernel->slots[slot_index], sizeof kernel->slots[slot_index]);
    lk_blake2b_end(&hash, kernel->slot_digests[slot_index]);
}

lk_status_t lk_kernel_digest(lk_kernel_t *kernel, uint8_t digest[LK_DIGEST_BYTES])
{
    lk_blake2b_t hash;
    if (kernel == NULL || digest == NULL) return LK_STATUS_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        if (kernel->dirty_slots >> i & 1u) digest_slot(kernel, i);
    }
    kernel->dirty_slots = 0;
    lk_absorb_events(kernel);
    lk_absorb_executions(kernel);
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, kernel->config_digest, sizeof kernel->config_digest);
    lk_blake2b_add(&hash, &kernel->ledger, sizeof kernel->ledger);
    lk_blake2b_add(&hash, kernel->event_chain, sizeof kernel->event_chain);
    lk_blake2b_add(&hash, kernel->execution_chain, sizeof kernel->execution_chain);
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

static void checksum(const uint8_t *data, size_t size, uint8_t sum[LK_DIGEST_BYTES])
{
    lk_blake2b_t hash;
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, data, size);
    lk_blake2b_end(&hash, sum);
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
    memcpy(header.event_chain, kernel->event_chain, sizeof header.event_chain);
    memcpy(header.execution_chain, kernel->execution_chain, sizeof header.execution_chain);
    return header;
}

lk_status_t lk_kernel_save(lk_kernel_t *kernel, uint8_t *data, size_t capacity, size_t *size)
{
    if (kernel == NULL || data == NULL) return LK_STATUS_INVALID_ARGUMENT;
    lk_status_t status = lk_kernel_save_size(kernel, size);
    if (status != LK_STATUS_OK) return status;
    if (capacity < *size) return LK_STATUS_BUFFER_TOO_SMALL;
    lk_absorb_events(kernel);
    lk_absorb_executions(kernel);
    header_t header = header_of(kernel, *size);
    uint8_t *at = write(data, &header, sizeof header);
    at = write(at, &kernel->ledger, sizeof kernel->ledger);
    at = write(at, kernel->slots, header.slot_count * sizeof *kernel->slots);
    at = write(at, kernel->event_ids, header.event_count * sizeof *kernel->event_ids);
    at = write(at, kernel->executions, header.execution_count * sizeof *kernel->executions);
    checksum(data, (size_t)(at - data), at);
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
    checksum(data, size - LK_DIGEST_BYTES, sum);
    if (memcmp(sum, data + size - LK_DIGEST_BYTES, sizeof sum) != 0) return LK_STATUS_INVALID_CHECKSUM;
    return LK_STATUS_OK;
}

static bool slot_can_be(const lk_slot_t *slot, uint64_t trade_count)
{
    int64_t figure = 0;
    bool is_direction =
        slot->trade_sequence == 0 || slot->entry.side == LK_SIDE_BUY || slot->entry.side == LK_SIDE_SELL;
    return slot->trade_sequence <= trade_count && is_direction && lk_slot_is_sound(slot) &&
           lk_book_realized(&slot->book, lk_slot_direction(slot), &figure);
}

static size_t body_offset_of_executions(const header_t *header)
{
    return sizeof(lk_ledger_t) + header->slot_count * sizeof(lk_slot_t) + header->event_count * sizeof(lk_id_t);
}

static bool executions_can_be(const header_t *header, const uint8_t *at)
{
    lk_execution_t execution;
    for (uint64_t i = 0; i < header->execution_count; i++) {
        memcpy(&execution, at + i * sizeof execution, sizeof execution);
        if (execution.slot_index >= header->slot_count || execution.qty <= 0 || execution.notional < 0) return false;
    }
    return true;
}

/* The checksum says that the bytes are as saved; this, that what was saved is a state of this kernel. */
static bool state_can_be(const lk_kernel_t *kernel, const header_t *header, const uint8_t *body)
{
    lk_ledger_t ledger;
    lk_slot_t slot;
    if (memcmp(&header->config, &kernel->config, sizeof kernel->config) != 0) return false;
    memcpy(&ledger, body, sizeof ledger);
    if (header->event_count != in_use(kernel, ledger.event_count)) return false;
    if (header->execution_count != in_use(kernel, ledger.execution_count)) return false;
    for (uint32_t i = 0; i < header->slot_count; i++) {
        memcpy(&slot, body + sizeof ledger + i * sizeof slot, sizeof slot);
        if (!slot_can_be(&slot, ledger.trade_count)) return false;
    }
    return executions_can_be(header, body + body_offset_of_executions(header));
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
    memcpy(kernel->event_chain, header.event_chain, sizeof kernel->event_chain);
    memcpy(kernel->execution_chain, header.execution_chain, sizeof kernel->execution_chain);
    kernel->event_absorbed = kernel->ledger.event_count;
    kernel->execution_absorbed = kernel->ledger.execution_count;
    lk_rebuild_indexes(kernel);
    return LK_STATUS_OK;
}
