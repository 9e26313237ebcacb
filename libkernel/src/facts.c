/* What the venue and the clock tell of orders and prices. */
#include "internal.h"

lk_by_t lk_find_named_order(const lk_kernel_t *kernel, const lk_input_t *input, uint32_t *slot_index, uint32_t *place)
{
    if (lk_find_order(kernel, &input->venue_order_id, true, slot_index, place)) return LK_BY_VENUE_ID;
    return lk_find_order(kernel, &input->client_order_id, false, slot_index, place) ? LK_BY_CLIENT_ID : LK_BY_NONE;
}

lk_field_t lk_bad_order_id(const lk_input_t *input, lk_by_t by)
{
    if (by != LK_BY_CLIENT_ID && !lk_id_is_sound(&input->client_order_id)) return LK_FIELD_CLIENT_ORDER_ID;
    return by == LK_BY_VENUE_ID || lk_id_is_sound(&input->venue_order_id) ? LK_FIELD_NONE : LK_FIELD_VENUE_ORDER_ID;
}

/* ------------------------------------------------------------------------------------------------- order -- */

static lk_field_t bad_order_field(const lk_input_t *input, lk_by_t by)
{
    lk_field_t field = lk_bad_order_id(input, by);
    if (field != LK_FIELD_NONE) return field;
    bool has_id = !lk_id_is_empty(&input->client_order_id) || !lk_id_is_empty(&input->venue_order_id);
    if (!has_id) return LK_FIELD_CLIENT_ORDER_ID;
    bool is_fact = input->order_fact > LK_FACT_NONE && input->order_fact < LK_FACT_TRADED;
    return is_fact ? LK_FIELD_NONE : LK_FIELD_ORDER_FACT;
}

/* Certainty and pending request are machines of their own, beside the life. */
static void learn_fact(lk_order_t *order, lk_order_fact_t fact, int64_t now_ns)
{
    bool is_sending = fact == LK_FACT_SUBMITTING || order->submitted_at_ns == 0;
    if (is_sending && fact != LK_FACT_DENIED) order->submitted_at_ns = now_ns;
    if (fact == LK_FACT_SUBMITTING) return;
    if (fact == LK_FACT_CANCEL_REJECTED || lk_life_has_ended((lk_life_t)order->life)) order->cancel_pending = 0;
    order->in_doubt = fact == LK_FACT_IN_DOUBT;
    if (fact == LK_FACT_IN_DOUBT) order->is_stalled = 1;
}

static lk_code_t anomaly_of(lk_order_fact_t fact)
{
    switch (fact) {
    case LK_FACT_REJECTED:
        return LK_CODE_VENUE_REJECTED;
    case LK_FACT_DENIED:
        return LK_CODE_GATEWAY_DENIED;
    case LK_FACT_IN_DOUBT:
        return LK_CODE_ORDER_IN_DOUBT;
    default:
        return LK_CODE_OK;
    }
}

/* A cancel that was refused is not sent again by itself: a person is called if the order should be gone. */
static void follow_protection(lk_call_t *call, uint32_t slot_index, uint32_t place)
{
    const lk_slot_t *slot = &call->kernel->slots[slot_index];
    bool was_refused = call->input->order_fact == LK_FACT_CANCEL_REJECTED;
    if (!was_refused) lk_watch_protection(call, slot_index);
    if (!was_refused || place < LK_STOP_PLACE || !lk_slot_is_spent(slot)) return;
    lk_emit_anomaly(call, LK_CODE_PROTECTION_LEFT, slot_index, &lk_slot_order_at(slot, place)->client_order_id, NULL);
}

LK_FLATTEN lk_code_t lk_apply_order(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    lk_order_fact_t fact = (lk_order_fact_t)input->order_fact;
    uint32_t slot_index = 0;
    uint32_t place = 0;

    lk_by_t by = lk_find_named_order(kernel, input, &slot_index, &place);
    lk_field_t field = bad_order_field(input, by);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_EVENT, field, 0);
    if (by == LK_BY_NONE) return lk_refuse(call, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID, 0);
    lk_order_t *order = lk_slot_order(&kernel->slots[slot_index], place);
    lk_life_t life = lk_life_after((lk_life_t)order->life, fact);
    bool is_too_late = order->is_done && fact != LK_FACT_ACKNOWLEDGED; /* all of it has traded: nothing can end it */
    if (life == LK_LIFE_NONE || is_too_late) {
        return lk_refuse_at(call, LK_CODE_ILLEGAL_TRANSITION, LK_FIELD_ORDER_FACT, (int64_t)fact, slot_index);
    }

    lk_before_t before = lk_before(call, slot_index);
    order->life = (uint8_t)life;
    learn_fact(order, fact, input->now_ns);
    if (!lk_id_is_empty(&input->venue_order_id)) {
        lk_learn_venue_order_id(kernel, slot_index, place, &input->venue_order_id);
    }
    LK_ASSERT(lk_order_is_sound(order));
    lk_code_t anomaly = anomaly_of(fact);
    if (anomaly != LK_CODE_OK) lk_emit_anomaly(call, anomaly, slot_index, &order->client_order_id, NULL);
    follow_protection(call, slot_index, place);
    lk_after(call, before);
    return LK_CODE_OK;
}

/* -------------------------------------------------------------------------------------------------- mark -- */

static bool has_symbol(const lk_kernel_t *kernel, uint32_t slot_index, uint64_t symbol_hash, const lk_symbol_t *symbol)
{
    return kernel->symbol_hashes[slot_index] == symbol_hash &&
           memcmp(symbol, &kernel->slots[slot_index].symbol, sizeof *symbol) == 0;
}

/* The mark in the slot's scale, if the slot can be valued at it. */
static bool read_mark(const lk_kernel_t *kernel, const lk_slot_t *slot, const lk_input_t *input, int64_t *mark)
{
    bool is_exact = false;
    int64_t value = 0;
    if (!lk_rescale(input->price.units, input->price_scale, slot->price_scale, LK_ROUND_DOWN, mark, &is_exact)) {
        return false;
    }
    return lk_slot_unrealized(slot, &slot->book, *mark, kernel->config.amount_scale, &value);
}

lk_code_t lk_apply_mark_price(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    uint64_t symbol_hash = lk_hash_symbol(&input->symbol);
    int64_t mark = 0;

    if (input->symbol.text[0] == '\0') return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_SYMBOL, 0);
    if (input->price_scale > LK_SCALE_MAX) return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE_SCALE, 0);
    if (input->price.units <= 0) {
        return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE, input->price.units);
    }
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (!has_symbol(kernel, i, symbol_hash, &input->symbol)) continue;
        if (!read_mark(kernel, &kernel->slots[i], input, &mark)) {
            return lk_refuse_at(call, LK_CODE_OVERFLOW, LK_FIELD_PRICE, input->price.units, i);
        }
    }

    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (!has_symbol(kernel, i, symbol_hash, &input->symbol)) continue;
        lk_before_t before = lk_before(call, i);
        bool is_read = read_mark(kernel, &kernel->slots[i], input, &mark);
        LK_ASSERT(is_read);
        kernel->slots[i].mark = mark;
        lk_after(call, before);
    }
    return LK_CODE_OK;
}

/* -------------------------------------------------------------------------------------------------- tick -- */

/* When this order is to be called stalled: sent, and unanswered (T09). */
static int64_t order_deadline_ns(const lk_order_t *order, int64_t timeout_ns)
{
    int64_t deadline_ns = 0;
    bool is_waiting = order->life == LK_LIFE_SENT && !order->is_stalled; /* so nothing has traded */
    if (!is_waiting || !lk_add(order->submitted_at_ns, timeout_ns, &deadline_ns)) return LK_NEVER_NS;
    return deadline_ns;
}

int64_t lk_kernel_next_deadline_ns(const lk_kernel_t *kernel)
{
    int64_t earliest_ns = LK_NEVER_NS;
    if (kernel == NULL) return LK_NEVER_NS;
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        const lk_slot_t *slot = &kernel->slots[i];
        const lk_order_t *exit = lk_slot_last_exit(slot);
        int64_t entry_ns = order_deadline_ns(&slot->entry, kernel->config.ack_timeout_ns);
        int64_t exit_ns = exit == NULL ? LK_NEVER_NS : order_deadline_ns(exit, kernel->config.ack_timeout_ns);
        if (entry_ns < earliest_ns) earliest_ns = entry_ns;
        if (exit_ns < earliest_ns) earliest_ns = exit_ns;
        for (uint32_t n = 0; slot->is_bracket && n < LK_PROTECTIVES_MAX; n++) {
            int64_t protective_ns = order_deadline_ns(&slot->protectives[n], kernel->config.ack_timeout_ns);
            if (protective_ns < earliest_ns) earliest_ns = protective_ns;
        }
    }
    return earliest_ns;
}

static void stall_if_due(lk_call_t *call, uint32_t slot_index, uint32_t place)
{
    lk_order_t *order = lk_slot_order(&call->kernel->slots[slot_index], place);
    int64_t deadline_ns = order_deadline_ns(order, call->kernel->config.ack_timeout_ns);
    if (deadline_ns == LK_NEVER_NS || call->input->now_ns < deadline_ns) return;
    lk_before_t before = lk_before(call, slot_index);
    order->is_stalled = 1; /* nothing is sent again: a person decides, or a late fact does */
    lk_emit_anomaly(call, LK_CODE_ORDER_STALLED, slot_index, &order->client_order_id, NULL);
    lk_after(call, before);
}

lk_code_t lk_apply_tick(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        lk_slot_t *slot = &kernel->slots[i];
        stall_if_due(call, i, 0);
        if (slot->exit_count > 0) stall_if_due(call, i, lk_slot_place_of(slot, slot->exit_count));
        for (uint32_t place = LK_STOP_PLACE; slot->is_bracket && place < LK_ORDERS_PER_SLOT; place++)
            stall_if_due(call, i, place);
    }
    call->outcome->slot_index = LK_NO_SLOT;
    return LK_CODE_OK;
}
