/* A kernel's life, and the one door through which inputs come. */
#include "internal.h"

#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------ create -- */

static bool config_is_sound(const lk_config_t *config)
{
    uint32_t window_count = config->window_count;
    bool is_power_of_two = window_count != 0 && (window_count & (window_count - 1)) == 0;
    int64_t rate_max = lk_power_of_ten(LK_RATE_SCALE);
    return config->abi_version == LK_ABI_VERSION && config->slot_count >= 1 && config->slot_count <= LK_SLOTS_MAX &&
           is_power_of_two && window_count >= LK_WINDOW_MIN && window_count <= LK_WINDOW_MAX &&
           config->leverage_max >= 1 && config->amount_scale <= 12 && config->reserved == 0 &&
           config->maker_fee_rate > -rate_max && config->maker_fee_rate < rate_max &&
           config->taker_fee_rate > -rate_max && config->taker_fee_rate < rate_max && config->ack_timeout_ns > 0 &&
           config->funding_interval_ns >= 0 && config->seed_capital.units >= 0 && config->ledger_tolerance.units >= 0 &&
           config->ledger_error_tolerance.units >= config->ledger_tolerance.units &&
           config->settlement_tolerance.units >= 0 && !lk_id_is_empty(&config->account) &&
           lk_id_is_sound(&config->account) && config->currency.text[0] != '\0' &&
           lk_currency_is_sound(&config->currency);
}

static void *take(lk_kernel_t *kernel, size_t count, size_t size)
{
    kernel->total_bytes += count * size;
    return calloc(count, size);
}

static bool take_index(lk_kernel_t *kernel, lk_index_t *index, uint32_t entry_count)
{
    uint32_t place_count = 16;
    while (place_count < entry_count * 2)
        place_count *= 2; /* at most half full */
    index->mask = place_count - 1;
    index->places = take(kernel, place_count, sizeof *index->places);
    return index->places != NULL;
}

static bool take_window(lk_kernel_t *kernel, lk_window_t *window)
{
    uint32_t link_count = kernel->config.window_count;
    uint32_t chain_count = link_count / 4;  /* the filter keeps most from being followed */
    uint32_t filter_count = link_count / 4; /* two ids for each word: few are found there by chance */
    window->generation_bits = (uint32_t)__builtin_ctz(link_count) - 1;
    window->filter_mask = filter_count - 1;
    window->link_mask = link_count - 1;
    window->chain_mask = chain_count - 1;
    window->filter = take(kernel, (size_t)filter_count * LK_GENERATIONS, sizeof *window->filter);
    window->links = take(kernel, link_count, sizeof *window->links);
    window->newest = take(kernel, chain_count, sizeof *window->newest);
    return window->filter != NULL && window->links != NULL && window->newest != NULL;
}

static bool take_memory(lk_kernel_t *kernel)
{
    uint32_t slot_count = kernel->config.slot_count;
    uint32_t window_count = kernel->config.window_count;
    kernel->slots = take(kernel, slot_count, sizeof *kernel->slots);
    kernel->slot_digests = take(kernel, slot_count, sizeof *kernel->slot_digests);
    bool has_orders = take_index(kernel, &kernel->order_index, slot_count * LK_ORDERS_PER_SLOT * 2);
    bool has_trades = take_index(kernel, &kernel->trade_index, slot_count);
    kernel->slot_bytes = kernel->total_bytes / slot_count;
    kernel->event_ids = take(kernel, window_count, sizeof *kernel->event_ids);
    kernel->executions = take(kernel, window_count, sizeof *kernel->executions);
    bool has_events = take_window(kernel, &kernel->event_window);
    bool has_executions = take_window(kernel, &kernel->execution_window);
    return kernel->slots != NULL && kernel->slot_digests != NULL && kernel->event_ids != NULL &&
           kernel->executions != NULL && has_orders && has_trades && has_events && has_executions;
}

lk_status_t lk_kernel_create(const lk_config_t *config, lk_kernel_t **kernel)
{
    if (config == NULL || kernel == NULL) return LK_STATUS_INVALID_ARGUMENT;
    if (!config_is_sound(config)) return LK_STATUS_INVALID_CONFIG;
    lk_kernel_t *made = calloc(1, sizeof *made);
    if (made == NULL) return LK_STATUS_OUT_OF_MEMORY;
    made->total_bytes = sizeof *made;
    made->config = *config;
    made->event_capacity = LK_EVENTS_PER_SLOT * config->slot_count;
    if (!take_memory(made)) {
        lk_kernel_destroy(made);
        return LK_STATUS_OUT_OF_MEMORY;
    }
    made->ledger.event_chain = (lk_chain_t){LK_CHAIN_START_A, LK_CHAIN_START_B};
    made->ledger.execution_chain = made->ledger.event_chain;
    lk_blake2b(&made->config, sizeof made->config, made->config_digest);
    lk_rebuild_indexes(made);
    *kernel = made;
    return LK_STATUS_OK;
}

static void free_window(lk_window_t *window)
{
    free(window->filter);
    free(window->links);
    free(window->newest);
}

void lk_kernel_destroy(lk_kernel_t *kernel)
{
    if (kernel == NULL) return;
    free_window(&kernel->event_window);
    free_window(&kernel->execution_window);
    free(kernel->order_index.places);
    free(kernel->trade_index.places);
    free(kernel->slots);
    free(kernel->slot_digests);
    free(kernel->event_ids);
    free(kernel->executions);
    free(kernel);
}

lk_status_t lk_kernel_memory(const lk_kernel_t *kernel, size_t *slot_bytes, size_t *total_bytes)
{
    if (kernel == NULL || slot_bytes == NULL || total_bytes == NULL) return LK_STATUS_INVALID_ARGUMENT;
    *slot_bytes = kernel->slot_bytes;
    *total_bytes = kernel->total_bytes;
    return LK_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------- apply -- */

static bool needs_event_id(const lk_input_t *input)
{
    return input->kind != LK_INPUT_TICK && input->kind != LK_INPUT_MARK_PRICE;
}

static bool is_request(const lk_input_t *input)
{
    switch (input->kind) {
    case LK_INPUT_ENTER:
    case LK_INPUT_EXIT:
    case LK_INPUT_CANCEL:
    case LK_INPUT_FLATTEN:
    case LK_INPUT_CANCEL_WORKING_ENTRIES:
    case LK_INPUT_FREEZE:
    case LK_INPUT_UNFREEZE:
    case LK_INPUT_ADOPT:
        return true;
    default:
        return false;
    }
}

static lk_code_t malformed(lk_call_t *call, lk_field_t field, int64_t value)
{
    return lk_refuse(call, is_request(call->input) ? LK_CODE_INVALID_INTENT : LK_CODE_INVALID_EVENT, field, value);
}

/* What is asked of every input, before its own rules. */
static lk_code_t check_common(lk_call_t *call)
{
    const lk_input_t *input = call->input;
    bool must_have_id = needs_event_id(input);

    if (must_have_id) {
        bool is_id = !lk_id_is_empty(&input->event_id) && lk_id_is_sound(&input->event_id);
        if (!is_id) return malformed(call, LK_FIELD_EVENT_ID, 0);
        call->event_hash = lk_hash_id(&input->event_id);
    }
    if ((input->flags & ~LK_FLAGS_ALL) != 0) return malformed(call, LK_FIELD_FLAGS, input->flags);
    if (must_have_id && lk_window_has_event(call->kernel, &input->event_id, call->event_hash)) {
        return lk_refuse(call, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EVENT_ID, 0);
    }
    if (input->now_ns < call->kernel->ledger.now_ns) {
        return lk_refuse(call, LK_CODE_TIME_REVERSED, LK_FIELD_NOW_NS, input->now_ns);
    }
    return LK_CODE_OK;
}

static lk_code_t apply_kind(lk_call_t *call)
{
    switch (call->input->kind) {
    case LK_INPUT_ENTER:
        return lk_apply_enter(call);
    case LK_INPUT_EXIT:
        return lk_apply_exit(call);
    case LK_INPUT_CANCEL:
        return lk_apply_cancel(call);
    case LK_INPUT_MARK_PRICE:
        return lk_apply_mark_price(call);
    case LK_INPUT_TICK:
        return lk_apply_tick(call);
    case LK_INPUT_ORDER:
        return lk_apply_order(call);
    case LK_INPUT_FILL:
        return lk_apply_fill(call);
    case LK_INPUT_BUST:
        return lk_apply_bust(call);
    case LK_INPUT_CORRECTION:
        return lk_apply_correction(call);
    case LK_INPUT_SETTLEMENT:
        return lk_apply_settlement(call);
    case LK_INPUT_BALANCE:
        return lk_apply_balance(call);
    case LK_INPUT_FUNDING:
        return lk_apply_funding(call);
    case LK_INPUT_FLATTEN:
        return lk_apply_flatten(call);
    case LK_INPUT_CANCEL_WORKING_ENTRIES:
        return lk_apply_cancel_working_entries(call);
    case LK_INPUT_FREEZE:
        return lk_apply_freeze(call);
    case LK_INPUT_UNFREEZE:
        return lk_apply_unfreeze(call);
    case LK_INPUT_ADOPT:
        return lk_apply_adopt(call);
    case LK_INPUT_FOREIGN:
        return lk_apply_foreign(call);
    default:
        LK_ASSERT(false);
        return LK_CODE_INVALID_EVENT;
    }
}

/* The kind is known and there is room for the events. */
static void apply_one(lk_kernel_t *kernel, const lk_input_t *input, lk_outcome_t *outcome, lk_event_t *events)
{
    lk_call_t call = {kernel, input, outcome, events, 0, 0};
    lk_clear(outcome, sizeof *outcome);
    outcome->slot_index = LK_NO_SLOT;
    int64_t next_funding_ns = kernel->ledger.next_funding_ns;
    uint8_t is_funding_due = kernel->ledger.is_funding_due;

    lk_code_t code = check_common(&call);
    bool time_passes = next_funding_ns != LK_NEVER_NS && input->now_ns >= next_funding_ns;
    if (code == LK_CODE_OK && time_passes) lk_ledger_pass_time(kernel, input->now_ns);
    if (code == LK_CODE_OK) code = apply_kind(&call);
    outcome->code = (uint32_t)code;
    outcome->severity = (uint8_t)lk_code_severity(outcome->code);
    outcome->event_count = call.event_count;
    if (code != LK_CODE_OK) {
        LK_ASSERT(call.event_count == 0);
        LK_ASSERT(lk_set_next(outcome->changed_slots, 0) == LK_NO_SLOT);
        kernel->ledger.next_funding_ns = next_funding_ns; /* a refused input is no clock either */
        kernel->ledger.is_funding_due = is_funding_due;
        return;
    }
    outcome->accepted = 1;
    outcome->account_changed = 1;
    kernel->ledger.now_ns = input->now_ns;
    kernel->ledger.event_sequence = input->sequence;
    if (needs_event_id(input)) lk_window_add_event(kernel, &input->event_id, call.event_hash);
}

static bool kind_is_known(const lk_input_t *input)
{
    return input->kind > LK_INPUT_NONE && input->kind < LK_INPUT_COUNT;
}

uint32_t lk_kernel_event_capacity(const lk_kernel_t *kernel)
{
    return kernel == NULL ? 0 : kernel->event_capacity;
}

lk_status_t lk_kernel_apply(lk_kernel_t *kernel, const lk_input_t *input, lk_outcome_t *outcome, lk_event_t *events,
                            size_t event_capacity)
{
    if (kernel == NULL || input == NULL || outcome == NULL || events == NULL) return LK_STATUS_INVALID_ARGUMENT;
    if (!kind_is_known(input)) return LK_STATUS_INVALID_ARGUMENT;
    if (event_capacity < kernel->event_capacity) return LK_STATUS_BUFFER_TOO_SMALL;
    apply_one(kernel, input, outcome, events);
    return LK_STATUS_OK;
}

lk_status_t lk_kernel_apply_batch(lk_kernel_t *kernel, const lk_input_t *inputs, size_t input_count,
                                  lk_outcome_t *outcomes, lk_event_t *events, size_t event_capacity,
                                  size_t *applied_count, size_t *event_count)
{
    if (kernel == NULL || inputs == NULL || outcomes == NULL || events == NULL) return LK_STATUS_INVALID_ARGUMENT;
    if (applied_count == NULL || event_count == NULL) return LK_STATUS_INVALID_ARGUMENT;
    size_t needed_count = kernel->event_capacity;
    if (event_capacity < needed_count) return LK_STATUS_BUFFER_TOO_SMALL;
    *applied_count = 0;
    *event_count = 0;
    for (size_t i = 0; i < input_count && event_capacity - *event_count >= needed_count; i++) {
        if (!kind_is_known(&inputs[i])) return LK_STATUS_INVALID_ARGUMENT;
        apply_one(kernel, &inputs[i], &outcomes[i], events + *event_count);
        outcomes[i].event_first = (uint32_t)*event_count;
        *event_count += outcomes[i].event_count;
        *applied_count = i + 1;
    }
    return LK_STATUS_OK;
}
