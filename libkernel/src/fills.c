/* Executions: booked, taken back, restated, settled. Here money moves.
 *
 * Each function works on copies of the book, the order and the ledger, and puts them back when nothing can fail any
 * more.
 */
#include "internal.h"

typedef struct {
    uint32_t slot_index;
    uint32_t place; /* LK_NO_ORDER: it belongs to the trade, but to no order of ours */
    bool is_exit;
    bool is_by_stage;
} route_t;

/* What a fill changes of its order. */
typedef struct {
    int64_t cum_qty;
    int64_t priced_qty;
    int64_t cum_notional;
} counts_t;

static const lk_order_t NO_ORDER = {.life = LK_LIFE_NONE};

/* What a fill changes, before it does. */
typedef struct {
    lk_book_t book;
    lk_sums_t sums;
    counts_t counts;
    const lk_order_t *order; /* as it still is; NO_ORDER: none of ours */
    lk_execution_t execution;
    bool price_was_rounded;
    bool fee_was_refused; /* as a sample; it is booked */
} change_t;

/* ----------------------------------------------------------------------------------------------- routing -- */

/* Without any identity: the single busy slot of the symbol; its side says whether it enters or leaves. */
static bool route_by_stage(const lk_kernel_t *kernel, const lk_input_t *input, route_t *route)
{
    uint32_t found = LK_NO_SLOT;
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (memcmp(&kernel->slots[i].symbol, &input->symbol, sizeof input->symbol) != 0) continue;
        if (found != LK_NO_SLOT) return false; /* ambiguous */
        found = i;
    }
    if (found == LK_NO_SLOT) return false;
    const lk_slot_t *slot = &kernel->slots[found];
    const lk_order_t *exit = lk_slot_last_exit(slot);
    bool exit_is_live = exit != NULL && lk_order_is_live(exit);
    route->slot_index = found;
    route->is_by_stage = true;
    route->is_exit = input->side != slot->entry.side;
    if (route->is_exit && !exit_is_live && lk_slot_open_qty(slot) <= 0) return false; /* there is nothing to leave */
    route->place = !route->is_exit ? 0 : exit_is_live ? lk_slot_place_of(slot, slot->exit_count) : LK_NO_ORDER;
    return true;
}

/* An order was found already, or the stage decides. */
static bool route_fill(const lk_kernel_t *kernel, const lk_input_t *input, lk_by_t by, route_t *route)
{
    route->is_exit = route->place != 0;
    route->is_by_stage = false;
    if (by != LK_BY_NONE) return true;
    if (!lk_id_is_empty(&input->venue_order_id) || !lk_id_is_empty(&input->client_order_id)) return false;
    return input->symbol.text[0] != '\0' && route_by_stage(kernel, input, route);
}

/* ----------------------------------------------------------------------------------------------- figures -- */

/* The input's quantity and price in the slot's scales, and what they come to. OK, or what is wrong with `field`. */
static lk_code_t read_figures(lk_call_t *call, const lk_slot_t *slot, uint8_t side, change_t *change, lk_field_t *field)
{
    const lk_input_t *input = call->input;
    const lk_config_t *config = &call->kernel->config;
    lk_execution_t *execution = &change->execution;
    lk_rounding_t rounding = side == LK_SIDE_BUY ? LK_ROUND_UP : LK_ROUND_DOWN;
    bool is_exact = false;

    *field = LK_FIELD_QTY;
    if (!lk_rescale(input->qty.units, input->qty_scale, slot->qty_scale, LK_ROUND_DOWN, &execution->qty, &is_exact)) {
        return LK_CODE_OVERFLOW;
    }
    if (!is_exact) return LK_CODE_INVALID_EVENT;
    *field = LK_FIELD_PRICE;
    execution->has_price = (input->flags & LK_HAS_PRICE) != 0;
    if (execution->has_price) {
        if (!lk_rescale(input->price.units, input->price_scale, slot->price_scale, rounding, &execution->price,
                        &is_exact)) {
            return LK_CODE_OVERFLOW;
        }
        change->price_was_rounded = !is_exact;
        if (!lk_slot_notional(slot, config->amount_scale, execution->price, execution->qty, &execution->notional)) {
            return LK_CODE_OVERFLOW;
        }
    }
    *field = LK_FIELD_FEE;
    execution->fee_is_predicted = (input->flags & LK_HAS_FEE) == 0;
    execution->fee = input->fee.units;
    if (!execution->fee_is_predicted) return LK_CODE_OK;
    bool fits =
        lk_fee_predict(config, &call->kernel->ledger, execution->liquidity, execution->notional, &execution->fee);
    return fits ? LK_CODE_OK : LK_CODE_OVERFLOW;
}

static int64_t magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

/* The venue's fee for an execution, known for the first time. */
static void learn_fee(lk_kernel_t *kernel, change_t *change, const lk_execution_t *execution)
{
    change->fee_was_refused = !lk_fee_learn(&kernel->config, &kernel->ledger, execution);
}

/* Fold the execution into the copies. */
static bool fold(const lk_kernel_t *kernel, change_t *change, bool bridges)
{
    const lk_slot_t *slot = &kernel->slots[change->execution.slot_index];
    int64_t unrealized = 0;
    lk_execution_t *execution = &change->execution;
    lk_book_t *book = &change->book;
    int64_t predicted_fee = execution->fee_is_predicted ? execution->fee : 0;
    if (execution->fee == INT64_MIN || !lk_book_add(book, lk_slot_direction(slot), execution)) return false;
    if (!lk_slot_unrealized(slot, book, slot->mark, kernel->config.amount_scale, &unrealized)) return false;
    if (!lk_add(book->fees, execution->fee, &book->fees)) return false;
    if (!lk_add(book->predicted_fees, predicted_fee, &book->predicted_fees)) return false;
    if (execution->is_exit && execution->is_skipped && bridges) change->sums.bridge_skipped++;
    return lk_ledger_predict(&change->sums, bridges, predicted_fee, magnitude(predicted_fee)) &&
           lk_ledger_book(&change->sums, bridges, execution->realized, execution->fee);
}

/* The order's own counts; without an order nothing. */
static bool count_on_order(counts_t *counts, const lk_execution_t *execution)
{
    if (!lk_add(counts->cum_qty, execution->qty, &counts->cum_qty)) return false;
    if (!execution->has_price) return true;
    counts->priced_qty += execution->qty; /* <= cum_qty: it fits */
    return lk_add(counts->cum_notional, execution->notional, &counts->cum_notional);
}

static void uncount_on_order(counts_t *counts, const lk_execution_t *execution)
{
    counts->cum_qty -= execution->qty;
    if (!execution->has_price) return;
    counts->priced_qty -= execution->qty;
    counts->cum_notional -= execution->notional;
}

static void learn_traded(lk_slot_t *slot, lk_order_t *order)
{
    order->life = (uint8_t)lk_life_after((lk_life_t)order->life, LK_FACT_TRADED);
    LK_ASSERT(order->life != LK_LIFE_NONE);
    order->in_doubt = 0;
    order->is_stalled = 0;
    if (order->cum_qty < order->order_qty || order->is_done) return;
    order->is_done = 1;
    order->cancel_pending = 0;
    if (order->is_leg && slot->active_leg_index + 1 < LK_EXIT_LEGS_MAX) slot->active_leg_index++;
}

/* ------------------------------------------------------------------------------------------------ events -- */

static lk_event_t *emit_booked(lk_call_t *call, const lk_execution_t *execution, const lk_order_t *order,
                               const lk_id_t *venue_order_id)
{
    lk_event_t *event = lk_emit(call, LK_EVENT_FILL_BOOKED, execution->slot_index, &order->client_order_id,
                                venue_order_id, &execution->execution_id);
    event->flags =
        (uint8_t)((execution->is_exit ? LK_EVENT_IS_EXIT : 0u) | (execution->has_price ? LK_EVENT_HAS_PRICE : 0u) |
                  (execution->fee_is_predicted ? LK_EVENT_FEE_PREDICTED : 0u));
    event->side = execution->side;
    event->qty.units = execution->qty;
    event->price.units = execution->price;
    event->fee.units = execution->fee;
    event->realized_pnl.units = execution->realized;
    return event;
}

/* An exit at work that could close more than is open, since the position is smaller than when it was sized. */
static void hold_exit_to_position(lk_call_t *call, uint32_t slot_index)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    const lk_order_t *exit = lk_slot_last_exit(slot);
    if (exit == NULL || !lk_order_is_live(exit) || exit->cancel_pending) return;
    int64_t open_qty = lk_slot_open_qty(slot);
    if (exit->order_qty - exit->cum_qty <= (open_qty > 0 ? open_qty : 0)) return;
    lk_emit_anomaly(call, LK_CODE_EXIT_EXCEEDS_POSITION, slot_index, &exit->client_order_id, NULL);
    lk_emit_cancel(call, slot_index, lk_slot_place_of(slot, slot->exit_count));
}

static bool is_overfilled(const lk_slot_t *slot, const lk_order_t *order)
{
    return lk_slot_open_qty(slot) < 0 || (order->life != LK_LIFE_NONE && order->cum_qty > order->order_qty);
}

static void flag_fee(lk_call_t *call, const change_t *change, uint32_t slot_index, const lk_execution_t *execution)
{
    if (!change->fee_was_refused) return;
    lk_emit_anomaly(call, LK_CODE_FEE_SAMPLE_REFUSED, slot_index, &change->order->client_order_id,
                    &execution->execution_id);
}

static void flag_fill(lk_call_t *call, const change_t *change, const route_t *route, bool was_late)
{
    lk_slot_t *slot = &call->kernel->slots[route->slot_index];
    const lk_execution_t *execution = &change->execution;
    const lk_id_t *order_id = &change->order->client_order_id;
    const lk_id_t *id = &execution->execution_id;
    uint32_t at = route->slot_index;

    if (route->is_by_stage) lk_emit_anomaly(call, LK_CODE_ROUTED_BY_STAGE, at, order_id, id);
    if (was_late) lk_emit_anomaly(call, LK_CODE_LATE_FILL, at, order_id, id);
    if (execution->side != call->input->side) lk_emit_anomaly(call, LK_CODE_SIDE_MISMATCH, at, order_id, id);
    if (change->price_was_rounded) lk_emit_anomaly(call, LK_CODE_PRICE_ROUNDED, at, order_id, id);
    if (execution->is_skipped) {
        lk_code_t code = execution->is_exit ? LK_CODE_FILL_WITHOUT_PRICE : LK_CODE_ENTRY_BASIS_MISSING;
        lk_emit_anomaly(call, code, at, order_id, id);
    }
    flag_fee(call, change, at, execution);
    if (is_overfilled(slot, change->order)) {
        slot->is_overfilled = 1;
        lk_emit_anomaly(call, LK_CODE_OVERFILL, at, order_id, id);
    }
}

/* -------------------------------------------------------------------------------------------------- fill -- */

static lk_field_t bad_fill_field(const lk_input_t *input, lk_by_t by)
{
    bool has_id = !lk_id_is_empty(&input->execution_id) && lk_id_is_sound(&input->execution_id);
    if (!has_id) return LK_FIELD_EXECUTION_ID;
    lk_field_t field = lk_bad_order_id(input, by);
    if (field != LK_FIELD_NONE) return field;
    if (input->side != LK_SIDE_BUY && input->side != LK_SIDE_SELL) return LK_FIELD_SIDE;
    if (input->liquidity >= LK_LIQUIDITY_COUNT) return LK_FIELD_LIQUIDITY;
    if (input->price_scale > LK_SCALE_MAX) return LK_FIELD_PRICE_SCALE;
    if (input->qty_scale > LK_SCALE_MAX) return LK_FIELD_QTY_SCALE;
    if (input->qty.units <= 0) return LK_FIELD_QTY;
    return (input->flags & LK_HAS_PRICE) != 0 && input->price.units <= 0 ? LK_FIELD_PRICE : LK_FIELD_NONE;
}

static int64_t fill_value(const lk_input_t *input, lk_field_t field)
{
    if (field == LK_FIELD_QTY) return input->qty.units;
    if (field == LK_FIELD_PRICE) return input->price.units;
    return field == LK_FIELD_SIDE ? input->side : 0;
}

static uint8_t opposite(uint8_t side)
{
    return side == LK_SIDE_BUY ? LK_SIDE_SELL : LK_SIDE_BUY;
}

static void prepare(const lk_kernel_t *kernel, const route_t *route, const lk_id_t *execution_id, change_t *change)
{
    lk_slot_t *slot = &kernel->slots[route->slot_index];
    lk_clear(&change->execution, sizeof change->execution);
    change->order = route->place == LK_NO_ORDER ? &NO_ORDER : lk_slot_order(slot, route->place);
    change->counts = (counts_t){change->order->cum_qty, change->order->priced_qty, change->order->cum_notional};
    lk_copy(&change->book, &slot->book, sizeof change->book);
    change->sums = lk_ledger_sums(&kernel->ledger);
    change->price_was_rounded = false;
    change->fee_was_refused = false;
    change->execution.execution_id = *execution_id;
    change->execution.number = kernel->ledger.execution_count + 1;
    change->execution.trade_sequence = slot->trade_sequence;
    change->execution.slot_index = route->slot_index;
    change->execution.ordinal = route->place == LK_NO_ORDER ? LK_NO_ORDER : lk_slot_ordinal_of(slot, route->place);
    change->execution.is_exit = route->is_exit;
    change->execution.side = route->is_exit ? opposite(slot->entry.side) : slot->entry.side;
}

static void put_back(lk_kernel_t *kernel, const route_t *route, const change_t *change)
{
    lk_slot_t *slot = &kernel->slots[route->slot_index];
    lk_copy(&slot->book, &change->book, sizeof slot->book);
    lk_ledger_put_sums(&kernel->ledger, &change->sums);
    LK_ASSERT(lk_book_is_sound(&slot->book));
    if (route->place == LK_NO_ORDER) return;
    lk_order_t *order = lk_slot_order(slot, route->place);
    order->cum_qty = change->counts.cum_qty;
    order->priced_qty = change->counts.priced_qty;
    order->cum_notional = change->counts.cum_notional;
    LK_ASSERT(lk_order_is_sound(order));
}

lk_code_t lk_apply_fill(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    route_t route = {0};
    change_t change;

    lk_by_t by = lk_find_named_order(kernel, input, &route.slot_index, &route.place);
    lk_field_t field = bad_fill_field(input, by);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_EVENT, field, fill_value(input, field));
    uint64_t execution_hash = lk_hash_id(&input->execution_id);
    if (lk_window_find_execution(kernel, &input->execution_id, execution_hash) != NULL) {
        return lk_refuse(call, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID, 0);
    }
    if (!route_fill(kernel, input, by, &route)) {
        return lk_refuse(call, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID, 0);
    }
    lk_slot_t *slot = &kernel->slots[route.slot_index];
    prepare(kernel, &route, &input->execution_id, &change);
    change.execution.liquidity = input->liquidity;
    bool bridges = lk_ledger_bridges_next(&kernel->ledger);
    lk_code_t code = read_figures(call, slot, change.execution.side, &change, &field);
    if (code != LK_CODE_OK) return lk_refuse_at(call, code, field, fill_value(input, field), route.slot_index);
    if (!count_on_order(&change.counts, &change.execution) || !fold(kernel, &change, bridges)) {
        return lk_refuse_at(call, LK_CODE_OVERFLOW, LK_FIELD_QTY, input->qty.units, route.slot_index);
    }

    lk_before_t before = lk_before(call, route.slot_index);
    bool was_late = before.stage == LK_STAGE_TERMINAL_WRITTEN || lk_life_has_ended((lk_life_t)change.order->life);
    put_back(kernel, &route, &change);
    if (!bridges) lk_ledger_take_awaited(&kernel->ledger, change.execution.number);
    if (!change.execution.fee_is_predicted) learn_fee(kernel, &change, &change.execution);
    if (route.place != LK_NO_ORDER) learn_traded(slot, lk_slot_order(slot, route.place));
    if (route.is_by_stage) kernel->ledger.routed_by_stage_count++;
    if (!route.is_exit && slot->opened_at_ns == 0) slot->opened_at_ns = input->now_ns;
    if (!lk_id_is_empty(&input->venue_order_id)) { /* so it was not routed by stage, and there is an order */
        lk_learn_venue_order_id(kernel, route.slot_index, route.place, &input->venue_order_id);
    }
    lk_window_add_execution(kernel, &change.execution, execution_hash);
    const lk_id_t *known_id = &change.order->venue_order_id;
    const lk_id_t *venue_order_id = lk_id_is_empty(known_id) ? &input->venue_order_id : known_id;
    lk_event_t *booked = emit_booked(call, &change.execution, change.order, venue_order_id);
    if (route.is_by_stage) booked->flags |= LK_EVENT_ROUTED_BY_STAGE;
    flag_fill(call, &change, &route, was_late);
    bool is_protective = route.place != LK_NO_ORDER && route.place >= LK_STOP_PLACE;
    if (is_protective) lk_cancel_entry_rest(call, route.slot_index);
    hold_exit_to_position(call, route.slot_index);
    lk_watch_protection(call, route.slot_index);
    lk_after(call, before);
    return LK_CODE_OK;
}

/* --------------------------------------------------------------------------------------- bust, correction -- */

/* The execution of an id, and the trade it belongs to, if its slot still holds it. */
static lk_code_t find_execution(lk_call_t *call, lk_execution_t **execution)
{
    const lk_id_t *id = &call->input->execution_id;
    if (lk_id_is_empty(id) || !lk_id_is_sound(id)) return LK_CODE_INVALID_EVENT;
    *execution = lk_window_find_execution(call->kernel, id, lk_hash_id(id));
    return *execution == NULL ? LK_CODE_UNKNOWN_EXECUTION : LK_CODE_OK;
}

static bool trade_is_there(const lk_kernel_t *kernel, const lk_execution_t *execution)
{
    return kernel->slots[execution->slot_index].trade_sequence == execution->trade_sequence;
}

static route_t route_of(const lk_kernel_t *kernel, const lk_execution_t *execution)
{
    const lk_slot_t *slot = &kernel->slots[execution->slot_index];
    return (route_t){execution->slot_index, lk_slot_place_of(slot, execution->ordinal), execution->is_exit != 0, false};
}

/* Take an execution out of the copies; *realized is by how much the book's realized pnl changes. */
static bool unfold(const lk_kernel_t *kernel, change_t *change, const lk_execution_t *execution, int64_t *realized)
{
    const lk_slot_t *slot = &kernel->slots[execution->slot_index];
    int direction = lk_slot_direction(slot);
    lk_book_t *book = &change->book;
    int64_t before = 0;
    int64_t after = 0;
    int64_t unrealized = 0;
    int64_t predicted_fee = execution->fee_is_predicted ? execution->fee : 0;
    if (!lk_book_realized(book, direction, &before)) return false;
    if (!lk_book_remove(book, direction, execution)) return false;
    if (!lk_book_realized(book, direction, &after)) return false;
    if (!lk_slot_unrealized(slot, book, slot->mark, kernel->config.amount_scale, &unrealized)) return false;
    if (!lk_subtract(after, before, realized)) return false;
    if (!lk_subtract(book->fees, execution->fee, &book->fees)) return false;
    if (!lk_subtract(book->predicted_fees, predicted_fee, &book->predicted_fees)) return false;
    uncount_on_order(&change->counts, execution);
    bool was_bridged = execution->number > kernel->ledger.anchored_count;
    if (was_bridged && execution->is_exit && execution->is_skipped && !execution->is_settled) {
        change->sums.bridge_skipped--;
    }
    /* The venue takes it back now, so its wallet will change by it: it bridges, whenever the fill itself was anchored.
     */
    return lk_ledger_predict(&change->sums, was_bridged, -predicted_fee, -magnitude(predicted_fee)) &&
           lk_ledger_book(&change->sums, true, *realized, -execution->fee);
}

static void emit_unbooked(lk_call_t *call, const lk_execution_t *execution, const lk_order_t *order, int64_t realized)
{
    lk_event_t *event = emit_booked(call, execution, order, &order->venue_order_id);
    event->flags |= LK_EVENT_BUSTED;
    event->fee.units = -execution->fee;
    event->realized_pnl.units = realized;
}

static lk_code_t check_execution(lk_call_t *call, lk_execution_t **execution)
{
    lk_code_t code = find_execution(call, execution);
    if (code != LK_CODE_OK) return code;
    if ((*execution)->is_busted) return LK_CODE_DUPLICATE_EVENT;
    return trade_is_there(call->kernel, *execution) ? LK_CODE_OK : LK_CODE_UNRESOLVED_SLOT;
}

lk_code_t lk_apply_bust(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    lk_execution_t *execution = NULL;
    change_t change;
    int64_t realized = 0;
    int64_t realized_sum = 0; /* what stays booked of it, for the watermark's sum */

    lk_code_t code = check_execution(call, &execution);
    if (code != LK_CODE_OK) return lk_refuse(call, code, LK_FIELD_EXECUTION_ID, 0);
    route_t route = route_of(kernel, execution);
    prepare(kernel, &route, &execution->execution_id, &change);
    if (!unfold(kernel, &change, execution, &realized) || !lk_add(execution->realized, realized, &realized_sum)) {
        return lk_refuse_at(call, LK_CODE_OVERFLOW, LK_FIELD_EXECUTION_ID, 0, route.slot_index);
    }

    lk_before_t before = lk_before(call, route.slot_index);
    put_back(kernel, &route, &change);
    emit_unbooked(call, execution, change.order, realized);
    execution->is_busted = 1;
    execution->realized = realized_sum;
    execution->fee = 0;
    execution->fee_is_predicted = 0;
    lk_execution_changed(kernel, execution);
    lk_emit_anomaly(call, LK_CODE_FILL_BUSTED, route.slot_index, &change.order->client_order_id,
                    &execution->execution_id);
    hold_exit_to_position(call, route.slot_index);
    lk_watch_protection(call, route.slot_index);
    lk_after(call, before);
    return LK_CODE_OK;
}

static lk_field_t bad_correction_field(const lk_input_t *input)
{
    if (input->price_scale > LK_SCALE_MAX) return LK_FIELD_PRICE_SCALE;
    if (input->qty_scale > LK_SCALE_MAX) return LK_FIELD_QTY_SCALE;
    if (input->liquidity >= LK_LIQUIDITY_COUNT) return LK_FIELD_LIQUIDITY;
    if (input->qty.units <= 0) return LK_FIELD_QTY;
    return (input->flags & LK_HAS_PRICE) != 0 && input->price.units <= 0 ? LK_FIELD_PRICE : LK_FIELD_NONE;
}

/* Bust and book again, in one: the execution keeps its id and its number. */
lk_code_t lk_apply_correction(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    lk_execution_t *execution = NULL;
    change_t change;
    int64_t realized = 0;
    int64_t realized_sum = 0;

    lk_code_t code = check_execution(call, &execution);
    if (code != LK_CODE_OK) return lk_refuse(call, code, LK_FIELD_EXECUTION_ID, 0);
    lk_field_t field = bad_correction_field(input);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_EVENT, field, fill_value(input, field));
    route_t route = route_of(kernel, execution);
    lk_slot_t *slot = &kernel->slots[route.slot_index];
    prepare(kernel, &route, &execution->execution_id, &change);
    change.execution.number = execution->number;
    change.execution.side = execution->side;
    change.execution.liquidity = input->liquidity != LK_LIQUIDITY_NONE ? input->liquidity : execution->liquidity;
    code = read_figures(call, slot, execution->side, &change, &field);
    if (code != LK_CODE_OK) return lk_refuse_at(call, code, field, fill_value(input, field), route.slot_index);
    if (!unfold(kernel, &change, execution, &realized) || !count_on_order(&change.counts, &change.execution) ||
        !fold(kernel, &change, true) || !lk_add(execution->realized, realized, &realized_sum) ||
        !lk_add(realized_sum, change.execution.realized, &realized_sum)) {
        return lk_refuse_at(call, LK_CODE_OVERFLOW, LK_FIELD_QTY, input->qty.units, route.slot_index);
    }
    bool is_first_fee = execution->fee_is_predicted && !change.execution.fee_is_predicted;

    lk_before_t before = lk_before(call, route.slot_index);
    put_back(kernel, &route, &change);
    if (is_first_fee) learn_fee(kernel, &change, &change.execution);
    emit_unbooked(call, execution, change.order, realized);
    emit_booked(call, &change.execution, change.order, &change.order->venue_order_id);
    change.execution.realized = realized_sum;
    *execution = change.execution;
    lk_execution_changed(kernel, execution);
    lk_emit_anomaly(call, LK_CODE_FILL_CORRECTED, route.slot_index, &change.order->client_order_id,
                    &execution->execution_id);
    flag_fee(call, &change, route.slot_index, execution);
    hold_exit_to_position(call, route.slot_index);
    lk_watch_protection(call, route.slot_index);
    lk_after(call, before);
    return LK_CODE_OK;
}

/* -------------------------------------------------------------------------------------------- settlement -- */

/* The venue's realized pnl of a skipped fill repairs the trade, once (K09); of another it is only compared. */
static bool settle_realized(change_t *change, lk_execution_t *execution, bool bridges, int64_t *added)
{
    int64_t amount = execution->venue_realized;
    int direction = execution->side == LK_SIDE_BUY ? -1 : 1; /* of the trade that this exit left */
    int64_t figure = 0;
    *added = 0;
    execution->is_settled = 1;
    if (!execution->is_exit || !execution->is_skipped) return true;
    *added = amount;
    change->book.skipped_count--;
    if (bridges) change->sums.bridge_skipped--;
    return lk_add(change->book.venue_realized, amount, &change->book.venue_realized) &&
           lk_book_realized(&change->book, direction, &figure) && lk_ledger_book(&change->sums, bridges, amount, 0);
}

/* The settled fee replaces what was booked (K17). */
static bool settle_fee(change_t *change, lk_execution_t *execution, bool bridges, int64_t fee, int64_t *added)
{
    int64_t predicted_fee = execution->fee_is_predicted ? execution->fee : 0;
    if (fee == INT64_MIN || !lk_subtract(fee, execution->fee, added)) return false;
    if (!lk_add(change->book.fees, *added, &change->book.fees)) return false;
    if (!lk_subtract(change->book.predicted_fees, predicted_fee, &change->book.predicted_fees)) return false;
    execution->fee = fee;
    execution->fee_is_predicted = 0;
    return lk_ledger_predict(&change->sums, bridges, -predicted_fee, -magnitude(predicted_fee)) &&
           lk_ledger_book(&change->sums, bridges, 0, *added);
}

/* Not repaired, but the venue sees it otherwise. */
static bool settlement_differs(const lk_kernel_t *kernel, const lk_execution_t *execution)
{
    lk_wide_t difference = (lk_wide_t)execution->venue_realized - execution->realized;
    bool was_repaired = execution->is_exit && execution->is_skipped;
    if (difference < 0) difference = -difference;
    return !was_repaired && difference > kernel->config.settlement_tolerance.units;
}

static void emit_settled(lk_call_t *call, const lk_execution_t *execution, const lk_order_t *order, bool is_there,
                         int64_t realized, int64_t fee)
{
    lk_event_t *event = lk_emit(call, LK_EVENT_SETTLED, is_there ? execution->slot_index : LK_NO_SLOT,
                                &order->client_order_id, NULL, &execution->execution_id);
    event->flags = execution->is_exit ? LK_EVENT_IS_EXIT : 0;
    event->side = execution->side;
    event->realized_pnl.units = realized;
    event->fee.units = fee;
}

static lk_field_t bad_settlement_field(const lk_input_t *input, const lk_execution_t *execution)
{
    bool has_amount = (input->flags & LK_HAS_AMOUNT) != 0;
    if (!has_amount && (input->flags & LK_HAS_FEE) == 0) return LK_FIELD_AMOUNT;
    return has_amount && execution->is_settled ? LK_FIELD_EXECUTION_ID : LK_FIELD_NONE;
}

lk_code_t lk_apply_settlement(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    lk_execution_t *found = NULL;
    change_t change;
    int64_t realized = 0;
    int64_t fee = 0;

    lk_code_t code = find_execution(call, &found);
    if (code != LK_CODE_OK) return lk_refuse(call, code, LK_FIELD_EXECUTION_ID, 0);
    bool has_amount = (input->flags & LK_HAS_AMOUNT) != 0;
    lk_field_t field = bad_settlement_field(input, found);
    if (field == LK_FIELD_EXECUTION_ID || found->is_busted) {
        return lk_refuse(call, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID, 0);
    }
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_EVENT, field, 0);
    bool is_there = trade_is_there(kernel, found); /* else only the account learns of it */
    bool bridges = found->number > kernel->ledger.anchored_count;
    route_t route = route_of(kernel, found);
    if (!is_there) route.place = LK_NO_ORDER;
    prepare(kernel, &route, &found->execution_id, &change);
    if (!is_there) change.book = (lk_book_t){.skipped_count = 1};
    lk_execution_t execution = *found;
    bool is_first_fee = execution.fee_is_predicted && (input->flags & LK_HAS_FEE) != 0;
    if (has_amount) execution.venue_realized = input->amount.units;
    if ((has_amount && !settle_realized(&change, &execution, bridges, &realized)) ||
        ((input->flags & LK_HAS_FEE) != 0 && !settle_fee(&change, &execution, bridges, input->fee.units, &fee))) {
        return lk_refuse(call, LK_CODE_OVERFLOW, has_amount ? LK_FIELD_AMOUNT : LK_FIELD_FEE, input->amount.units);
    }

    *found = execution;
    if (is_first_fee) learn_fee(kernel, &change, found);
    if (!is_there) {
        lk_ledger_put_sums(&kernel->ledger, &change.sums);
        lk_execution_changed(kernel, found);
        emit_settled(call, found, change.order, false, realized, fee);
        flag_fee(call, &change, LK_NO_SLOT, found);
        return LK_CODE_OK;
    }
    lk_before_t before = lk_before(call, route.slot_index);
    put_back(kernel, &route, &change);
    lk_execution_changed(kernel, found);
    if (has_amount && found->is_exit && found->is_skipped) {
        kernel->slots[route.slot_index].pnl_source = LK_PNL_SOURCE_EXCHANGE;
    }
    emit_settled(call, found, change.order, true, realized, fee);
    if (has_amount && settlement_differs(kernel, found)) {
        lk_emit_anomaly(call, LK_CODE_SETTLEMENT_DIFFERS, route.slot_index, &change.order->client_order_id,
                        &found->execution_id);
    }
    flag_fee(call, &change, route.slot_index, found);
    lk_after(call, before);
    return LK_CODE_OK;
}
