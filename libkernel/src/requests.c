/* What people and policies ask for: enter, exit, cancel, flatten, freeze, adopt. */
#include "internal.h"

#define BPS 10000u
#define FLATTEN_ROOT_LENGTH_MAX 60u  /* leaves room for "-255" */
#define BRACKET_ENTRY_LENGTH_MAX 62u /* leaves room for "-S" */

static bool is_stated(const lk_input_t *input, uint32_t flag)
{
    return (input->flags & flag) != 0;
}

/* ------------------------------------------------------------------------------------------------- enter -- */

static bool text_is_id(const lk_id_t *id)
{
    return !lk_id_is_empty(id) && lk_id_is_sound(id);
}

/* The first field of an instrument that is wrong, or NONE. */
static lk_field_t bad_instrument_field(const lk_input_t *input, uint32_t amount_scale)
{
    bool symbol_is_sound = lk_symbol_is_sound(&input->symbol);
    if (input->symbol.text[0] == '\0' || !symbol_is_sound) return LK_FIELD_SYMBOL;
    if (!lk_currency_is_sound(&input->currency)) return LK_FIELD_CURRENCY;
    if (input->price_scale > amount_scale) return LK_FIELD_PRICE_SCALE;
    if ((uint32_t)input->price_scale + input->qty_scale > amount_scale) return LK_FIELD_QTY_SCALE;
    if (input->tick_units <= 0) return LK_FIELD_TICK_UNITS;
    if (input->lot_units <= 0) return LK_FIELD_LOT_UNITS;
    if (input->multiplier <= 0) return LK_FIELD_MULTIPLIER;
    return LK_FIELD_NONE;
}

/* Below 10^-LK_FINEST_SCALE, in absolute terms: no sane quote or quantity, whatever the scale allows (K20). */
static bool is_below_finest(int64_t units, uint32_t scale)
{
    return scale > LK_FINEST_SCALE && units < lk_power_of_ten(scale - LK_FINEST_SCALE);
}

/* Whether a price that is there can be one. */
static bool is_price(const lk_input_t *input, lk_price_t price)
{
    return price.units > 0 && !is_below_finest(price.units, input->price_scale);
}

static lk_field_t bad_price_field(const lk_input_t *input)
{
    bool needs_price = input->order_type != LK_ORDER_TYPE_MARKET;
    if (is_stated(input, LK_HAS_PRICE) != needs_price) return LK_FIELD_PRICE;
    bool is_on_tick = !needs_price || input->price.units % input->tick_units == 0;
    if (needs_price && (!is_price(input, input->price) || !is_on_tick)) return LK_FIELD_PRICE;
    if (is_stated(input, LK_HAS_STOP) && !is_price(input, input->stop_price)) return LK_FIELD_STOP_PRICE;
    if (is_stated(input, LK_HAS_TARGET) && !is_price(input, input->target_price)) return LK_FIELD_TARGET_PRICE;
    if (is_stated(input, LK_HAS_REFERENCE) && !is_price(input, input->reference_price)) return LK_FIELD_REFERENCE_PRICE;
    return LK_FIELD_NONE;
}

static bool legs_are_sound(const uint16_t legs[LK_EXIT_LEGS_MAX])
{
    for (uint32_t i = 0; i < LK_EXIT_LEGS_MAX; i++) {
        if (legs[i] > BPS) return false;
        if (i > 0 && legs[i - 1] == 0 && legs[i] != 0) return false;
    }
    return true;
}

/* Where a trade in this direction is later: up for one that buys. */
static bool comes_before(uint8_t side, lk_price_t first, lk_price_t second)
{
    return side == LK_SIDE_BUY ? first.units < second.units : first.units > second.units;
}

/* The protective orders are orders: on tick, and the stop loses where the target wins. */
static lk_field_t bad_bracket_field(const lk_input_t *input)
{
    bool has_price = is_stated(input, LK_HAS_PRICE);
    bool has_target = is_stated(input, LK_HAS_TARGET);
    lk_price_t stop = input->stop_price;
    lk_price_t target = input->target_price;
    if (input->client_order_id.text[BRACKET_ENTRY_LENGTH_MAX] != '\0') return LK_FIELD_CLIENT_ORDER_ID;
    if (!is_stated(input, LK_HAS_STOP) || stop.units % input->tick_units != 0) return LK_FIELD_STOP_PRICE;
    if (has_price && !comes_before(input->side, stop, input->price)) return LK_FIELD_STOP_PRICE;
    if (has_target && target.units % input->tick_units != 0) return LK_FIELD_TARGET_PRICE;
    if (has_target && !comes_before(input->side, has_price ? input->price : stop, target)) return LK_FIELD_TARGET_PRICE;
    return input->exit_leg_bps[0] == 0 ? LK_FIELD_NONE : LK_FIELD_EXIT_LEG_BPS;
}

/* The first field that could never be right, in the order of the manual. */
static lk_field_t bad_enter_field(const lk_input_t *input, const lk_config_t *config)
{
    if (!text_is_id(&input->trade_id)) return LK_FIELD_TRADE_ID;
    if (!text_is_id(&input->client_order_id)) return LK_FIELD_CLIENT_ORDER_ID;
    if (!lk_id_is_sound(&input->strategy)) return LK_FIELD_STRATEGY;
    lk_field_t field = bad_instrument_field(input, config->amount_scale);
    if (field != LK_FIELD_NONE) return field;
    if (input->side != LK_SIDE_BUY && input->side != LK_SIDE_SELL) return LK_FIELD_SIDE;
    if (input->order_type == LK_ORDER_TYPE_NONE || input->order_type >= LK_ORDER_TYPE_COUNT) return LK_FIELD_ORDER_TYPE;
    if (input->time_in_force == LK_TIME_IN_FORCE_NONE || input->time_in_force >= LK_TIME_IN_FORCE_COUNT) {
        return LK_FIELD_TIME_IN_FORCE;
    }
    bool is_too_fine = is_below_finest(input->qty.units, input->qty_scale);
    if (input->qty.units <= 0 || input->qty.units % input->lot_units != 0 || is_too_fine) return LK_FIELD_QTY;
    field = bad_price_field(input);
    if (field != LK_FIELD_NONE) return field;
    if (input->leverage < 1 || input->leverage > config->leverage_max) return LK_FIELD_LEVERAGE;
    if (input->expires_at_ns < 0) return LK_FIELD_EXPIRES_AT_NS;
    if (!legs_are_sound(input->exit_leg_bps)) return LK_FIELD_EXIT_LEG_BPS;
    return is_stated(input, LK_BRACKET) ? bad_bracket_field(input) : LK_FIELD_NONE;
}

static int64_t field_value(const lk_input_t *input, lk_field_t field)
{
    switch (field) {
    case LK_FIELD_SIDE:
        return input->side;
    case LK_FIELD_ORDER_TYPE:
        return input->order_type;
    case LK_FIELD_TIME_IN_FORCE:
        return input->time_in_force;
    case LK_FIELD_PRICE_SCALE:
        return input->price_scale;
    case LK_FIELD_QTY_SCALE:
        return input->qty_scale;
    case LK_FIELD_LEVERAGE:
        return input->leverage;
    case LK_FIELD_QTY:
        return input->qty.units;
    case LK_FIELD_PRICE:
        return input->price.units;
    case LK_FIELD_STOP_PRICE:
        return input->stop_price.units;
    case LK_FIELD_TARGET_PRICE:
        return input->target_price.units;
    case LK_FIELD_REFERENCE_PRICE:
        return input->reference_price.units;
    case LK_FIELD_EXPIRES_AT_NS:
        return input->expires_at_ns;
    case LK_FIELD_TICK_UNITS:
        return input->tick_units;
    case LK_FIELD_LOT_UNITS:
        return input->lot_units;
    case LK_FIELD_MULTIPLIER:
        return input->multiplier;
    default:
        return 0;
    }
}

/* Never used before used, then the one that has been free longest, so that late facts find their trade. */
static uint32_t free_slot(const lk_kernel_t *kernel)
{
    uint32_t found = LK_NO_SLOT;
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        if (lk_set_has(kernel->busy_slots, i) || kernel->slots[i].close_sequence >= oldest) continue;
        found = i;
        oldest = kernel->slots[i].close_sequence;
    }
    return found;
}

/* A slot whose trade is not over and in this symbol, or LK_NO_SLOT. */
static uint32_t slot_in_symbol(const lk_kernel_t *kernel, const lk_symbol_t *symbol)
{
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (memcmp(&kernel->slots[i].symbol, symbol, sizeof *symbol) == 0) return i;
    }
    return LK_NO_SLOT;
}

/* Where a new trade may go: its own slot if this is a further attempt of it, else (LK_NO_SLOT) a free one. LK_CODE_OK,
 * or the code of the refusal, with the field it is about and the slot in the way. */
static lk_code_t find_place(const lk_kernel_t *kernel, const lk_input_t *input, uint32_t own_slot, uint32_t *slot_index,
                            lk_field_t *field)
{
    uint32_t place = own_slot == LK_NO_SLOT ? free_slot(kernel) : own_slot;
    *slot_index = LK_NO_SLOT;
    *field = LK_FIELD_NONE;
    if (place == LK_NO_SLOT) return LK_CODE_SLOT_BUSY;
    *slot_index = slot_in_symbol(kernel, &input->symbol);
    *field = LK_FIELD_SYMBOL;
    if (*slot_index != LK_NO_SLOT) return LK_CODE_SYMBOL_BUSY;
    *slot_index = place;
    return LK_CODE_OK;
}

/* The slot that holds a trade, over or not; or LK_NO_SLOT. */
static uint32_t slot_of_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id)
{
    uint32_t slot_index = 0;
    return lk_find_trade(kernel, trade_id, &slot_index) ? slot_index : LK_NO_SLOT;
}

static bool is_open(const lk_kernel_t *kernel, uint32_t slot_index)
{
    return slot_index != LK_NO_SLOT && lk_set_has(kernel->busy_slots, slot_index);
}

/* The largest notional it may come to, at the dearest price that it states. */
static bool notional_fits(const lk_slot_t *slot, uint32_t amount_scale)
{
    int64_t dearest = slot->entry.price > 0 ? slot->entry.price : 1;
    int64_t notional = 0;
    if (slot->reference_price > dearest) dearest = slot->reference_price;
    if (slot->stop_price > dearest) dearest = slot->stop_price;
    if (slot->target_price > dearest) dearest = slot->target_price;
    return lk_slot_notional(slot, amount_scale, dearest, slot->entry.order_qty, &notional);
}

static void set_instrument(lk_slot_t *slot, const lk_input_t *input)
{
    slot->symbol = input->symbol;
    slot->currency = input->currency;
    slot->price_scale = input->price_scale;
    slot->qty_scale = input->qty_scale;
    slot->tick_units = input->tick_units;
    slot->lot_units = input->lot_units;
    slot->multiplier = input->multiplier;
    slot->instrument_version = input->instrument_version;
}

/* "<the entry's id>-S", of an id that leaves room for it. */
static lk_id_t protective_id(const lk_id_t *entry_id, char letter)
{
    lk_id_t id = *entry_id;
    uint32_t length = 0;
    LK_ASSERT(id.text[BRACKET_ENTRY_LENGTH_MAX] == '\0');
    while (length < BRACKET_ENTRY_LENGTH_MAX && id.text[length] != '\0')
        length++;
    id.text[length] = '-';
    id.text[length + 1] = letter;
    return id;
}

/* One protective order, for all of the entry. */
static void set_protective(const lk_slot_t *slot, lk_order_t *order, char letter, lk_order_type_t order_type,
                           int64_t price)
{
    order->client_order_id = protective_id(&slot->entry.client_order_id, letter);
    order->order_qty = slot->entry.order_qty;
    order->price = price;
    order->has_price = 1;
    order->life = LK_LIFE_REQUESTED;
    order->side = slot->entry.side == LK_SIDE_BUY ? LK_SIDE_SELL : LK_SIDE_BUY;
    order->order_type = (uint8_t)order_type;
    order->time_in_force = LK_TIME_IN_FORCE_GTC;
}

static void set_protectives(lk_slot_t *slot)
{
    lk_clear(slot->protectives, sizeof slot->protectives);
    set_protective(slot, &slot->protectives[0], 'S', LK_ORDER_TYPE_STOP, slot->stop_price);
    if (!slot->has_target_price) return;
    set_protective(slot, &slot->protectives[1], 'T', LK_ORDER_TYPE_LIMIT, slot->target_price);
}

/* But for the exits, of which there are none yet, and without a bracket the protective orders. */
static void slot_from_enter(const lk_input_t *input, lk_slot_t *slot)
{
    lk_clear(slot, offsetof(lk_slot_t, exits));
    set_instrument(slot, input);
    slot->trade_id = input->trade_id;
    slot->strategy = input->strategy;
    slot->is_bracket = is_stated(input, LK_BRACKET);
    slot->has_stop_price = is_stated(input, LK_HAS_STOP);
    slot->has_target_price = is_stated(input, LK_HAS_TARGET);
    slot->has_reference_price = is_stated(input, LK_HAS_REFERENCE);
    slot->stop_price = slot->has_stop_price ? input->stop_price.units : 0;
    slot->target_price = slot->has_target_price ? input->target_price.units : 0;
    slot->reference_price = slot->has_reference_price ? input->reference_price.units : 0;
    slot->requested_at_ns = input->now_ns;
    slot->expires_at_ns = input->expires_at_ns;
    slot->leverage = input->leverage;
    slot->pnl_source = LK_PNL_SOURCE_KERNEL_ESTIMATE;
    memcpy(slot->exit_leg_bps, input->exit_leg_bps, sizeof slot->exit_leg_bps);
    slot->entry.client_order_id = input->client_order_id;
    slot->entry.order_qty = input->qty.units;
    slot->entry.has_price = is_stated(input, LK_HAS_PRICE);
    slot->entry.price = slot->entry.has_price ? input->price.units : 0;
    slot->entry.life = LK_LIFE_REQUESTED;
    slot->entry.side = input->side;
    slot->entry.order_type = input->order_type;
    slot->entry.time_in_force = input->time_in_force;
    if (slot->is_bracket) set_protectives(slot);
}

/* Put a trade into a free slot, and tell of the one that was there. */
static lk_before_t take_slot(lk_call_t *call, uint32_t slot_index, const lk_slot_t *content)
{
    lk_kernel_t *kernel = call->kernel;
    lk_slot_t *slot = &kernel->slots[slot_index];
    lk_before_t before = lk_before(call, slot_index);
    if (before.stage != LK_STAGE_IDLE) {
        lk_emit_transition(call, slot_index, before.stage, LK_STAGE_IDLE, before.lifecycle, LK_LIFECYCLE_NONE);
    }
    lk_unindex_slot(kernel, slot_index);
    for (uint32_t i = 0; i < lk_slot_exits_kept(slot); i++) /* others are 0 already */
        lk_clear(&slot->exits[i], sizeof slot->exits[i]);
    if (slot->is_bracket) lk_clear(slot->protectives, sizeof slot->protectives);
    lk_copy(slot, content, offsetof(lk_slot_t, exits));
    if (slot->is_bracket) lk_copy(slot->protectives, content->protectives, sizeof slot->protectives);
    slot->trade_sequence = ++kernel->ledger.trade_count;
    lk_index_trade(kernel, slot_index);
    lk_index_order(kernel, slot_index, 0);
    for (uint32_t place = LK_STOP_PLACE; slot->is_bracket && place < LK_ORDERS_PER_SLOT; place++)
        lk_index_order(kernel, slot_index, place);
    LK_ASSERT(lk_slot_is_sound(slot));
    return (lk_before_t){slot_index, LK_STAGE_IDLE, LK_LIFECYCLE_NONE};
}

static void emit_submit(lk_call_t *call, uint32_t slot_index, lk_command_t command, const lk_order_t *order)
{
    const lk_slot_t *slot = &call->kernel->slots[slot_index];
    lk_event_t *event = lk_emit(call, LK_EVENT_COMMAND, slot_index, &order->client_order_id, NULL, NULL);
    bool is_exit = command != LK_COMMAND_SUBMIT_ENTRY;
    event->command = (uint8_t)command;
    event->side = order->side;
    event->order_type = order->order_type;
    event->time_in_force = order->time_in_force;
    event->leverage = slot->leverage;
    event->qty.units = order->order_qty;
    event->price.units = order->price;
    event->flags = (uint8_t)((order->has_price ? LK_EVENT_HAS_PRICE : 0u) | (is_exit ? LK_EVENT_IS_EXIT : 0u));
    event->open_qty.units = is_exit ? lk_slot_open_qty(slot) : 0;
    event->expires_at_ns = is_exit ? 0 : slot->expires_at_ns;
}

static bool order_id_is_taken(const lk_kernel_t *kernel, const lk_id_t *client_order_id)
{
    uint32_t slot_index = 0;
    uint32_t place = 0;
    return lk_find_order(kernel, client_order_id, false, &slot_index, &place);
}

static bool protective_id_is_taken(const lk_kernel_t *kernel, const lk_input_t *input)
{
    lk_id_t stop_id = protective_id(&input->client_order_id, 'S');
    lk_id_t target_id = protective_id(&input->client_order_id, 'T');
    return order_id_is_taken(kernel, &stop_id) ||
           (is_stated(input, LK_HAS_TARGET) && order_id_is_taken(kernel, &target_id));
}

lk_code_t lk_apply_enter(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    uint32_t slot_index = 0;

    lk_field_t field = bad_enter_field(input, &kernel->config);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_INTENT, field, field_value(input, field));
    uint32_t own_slot = slot_of_trade(kernel, &input->trade_id);
    if (is_open(kernel, own_slot)) return lk_refuse_at(call, LK_CODE_SLOT_BUSY, LK_FIELD_TRADE_ID, 0, own_slot);
    bool is_bracket = is_stated(input, LK_BRACKET);
    bool is_taken =
        order_id_is_taken(kernel, &input->client_order_id) || (is_bracket && protective_id_is_taken(kernel, input));
    if (is_taken) return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0);
    if (kernel->ledger.freeze_flags != 0) return lk_refuse(call, LK_CODE_ENTRY_FROZEN, LK_FIELD_NONE, 0);
    int64_t capital = lk_ledger_capital(kernel);
    if (capital <= 0) return lk_refuse(call, LK_CODE_NO_CAPITAL, LK_FIELD_NONE, capital);
    if (input->expires_at_ns != 0 && input->now_ns >= input->expires_at_ns) {
        return lk_refuse(call, LK_CODE_ENTRY_EXPIRED, LK_FIELD_EXPIRES_AT_NS, input->expires_at_ns);
    }
    lk_code_t code = find_place(kernel, input, own_slot, &slot_index, &field);
    if (code != LK_CODE_OK) return lk_refuse_at(call, code, field, 0, slot_index);
    lk_slot_t content;
    slot_from_enter(input, &content);
    if (!notional_fits(&content, kernel->config.amount_scale)) {
        return lk_refuse(call, LK_CODE_OVERFLOW, LK_FIELD_QTY, input->qty.units);
    }

    lk_before_t before = take_slot(call, slot_index, &content);
    emit_submit(call, slot_index, LK_COMMAND_SUBMIT_ENTRY, &kernel->slots[slot_index].entry);
    if (is_bracket) emit_submit(call, slot_index, LK_COMMAND_SUBMIT_PROTECTIVE, &content.protectives[0]);
    if (is_bracket && content.has_target_price) {
        emit_submit(call, slot_index, LK_COMMAND_SUBMIT_PROTECTIVE, &content.protectives[1]);
    }
    lk_after(call, before);
    return LK_CODE_OK;
}

/* -------------------------------------------------------------------------------------------------- exit -- */

/* The next leg's share of what remains, in whole lots; the last leg listed takes all of it (K19). */
static int64_t leg_qty(const lk_slot_t *slot, int64_t remaining_qty)
{
    uint32_t leg = slot->active_leg_index;
    bool is_last = leg + 1 >= LK_EXIT_LEGS_MAX || slot->exit_leg_bps[leg + 1] == 0;
    if (is_last) return remaining_qty;
    int64_t qty = (int64_t)((lk_wide_t)remaining_qty * slot->exit_leg_bps[leg] / BPS);
    qty -= qty % slot->lot_units;
    return qty > 0 ? qty : remaining_qty;
}

/* What an exit is for: never more than remains; a malformed size is the whole of it. Of a bracket it always is the
 * whole: a part would leave protective orders that are for more than is open. */
static int64_t exit_qty(lk_call_t *call, const lk_slot_t *slot, int64_t remaining_qty, bool *is_repaired)
{
    const lk_input_t *input = call->input;
    int64_t qty = 0;
    bool is_exact = false;
    *is_repaired = false;
    if (!is_stated(input, LK_HAS_QTY)) return leg_qty(slot, remaining_qty);
    bool is_sound = input->qty_scale <= LK_SCALE_MAX && input->qty.units > 0 &&
                    lk_rescale(input->qty.units, input->qty_scale, slot->qty_scale, LK_ROUND_DOWN, &qty, &is_exact) &&
                    is_exact && qty <= remaining_qty && (qty % slot->lot_units == 0 || qty == remaining_qty) &&
                    (!slot->is_bracket || qty == remaining_qty);
    *is_repaired = !is_sound;
    return is_sound ? qty : remaining_qty;
}

/* The exit's limit; false: malformed, so it goes to market. */
static bool exit_price(const lk_input_t *input, const lk_slot_t *slot, int64_t *price)
{
    bool is_exact = false;
    *price = 0;
    return is_stated(input, LK_HAS_PRICE) && input->price_scale <= LK_SCALE_MAX && input->price.units > 0 &&
           lk_rescale(input->price.units, input->price_scale, slot->price_scale, LK_ROUND_DOWN, price, &is_exact) &&
           is_exact && *price % slot->tick_units == 0;
}

static lk_order_t *add_exit(lk_call_t *call, uint32_t slot_index, const lk_id_t *client_order_id, int64_t qty)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    uint32_t place = 1 + slot->exit_count % LK_SLOT_EXITS_MAX;
    lk_order_t *order = lk_slot_order(slot, place);
    if (order->life != LK_LIFE_NONE) lk_unindex_order(call->kernel, slot_index, place);
    lk_clear(order, sizeof *order);
    order->client_order_id = *client_order_id;
    order->order_qty = qty;
    order->life = LK_LIFE_REQUESTED;
    order->side = slot->entry.side == LK_SIDE_BUY ? LK_SIDE_SELL : LK_SIDE_BUY;
    order->order_type = LK_ORDER_TYPE_MARKET;
    order->time_in_force = LK_TIME_IN_FORCE_DAY;
    slot->exit_count++;
    LK_ASSERT(lk_order_is_sound(order));
    lk_index_order(call->kernel, slot_index, place);
    return order;
}

static void set_exit_terms(lk_call_t *call, uint32_t slot_index, lk_order_t *order)
{
    const lk_input_t *input = call->input;
    const lk_slot_t *slot = &call->kernel->slots[slot_index];
    bool is_limit = input->order_type > LK_ORDER_TYPE_MARKET && input->order_type < LK_ORDER_TYPE_COUNT;
    bool has_tif = input->time_in_force > LK_TIME_IN_FORCE_NONE && input->time_in_force < LK_TIME_IN_FORCE_COUNT;
    int64_t price = 0;
    if (has_tif) order->time_in_force = input->time_in_force;
    if (!is_limit && input->order_type < LK_ORDER_TYPE_COUNT) return;
    if (is_limit && exit_price(input, slot, &price)) {
        order->order_type = input->order_type;
        order->has_price = 1;
        order->price = price;
        return;
    }
    lk_emit_anomaly(call, LK_CODE_EXIT_PRICE_REPAIRED, slot_index, &order->client_order_id, NULL);
}

LK_FLATTEN lk_code_t lk_apply_exit(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    uint32_t slot_index = 0;
    bool is_repaired = false;

    if (!text_is_id(&input->trade_id)) return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_TRADE_ID, 0);
    if (!text_is_id(&input->client_order_id)) {
        return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0);
    }
    if (!lk_find_trade(kernel, &input->trade_id, &slot_index)) {
        return lk_refuse(call, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_TRADE_ID, 0);
    }
    lk_slot_t *slot = &kernel->slots[slot_index];
    int64_t remaining_qty = lk_slot_open_qty(slot);
    bool can_cancel = lk_order_is_live(&slot->entry) && !slot->entry.cancel_pending;
    if (remaining_qty <= 0 && !can_cancel) {
        return lk_refuse_at(call, LK_CODE_NO_OPEN_POSITION, LK_FIELD_TRADE_ID, remaining_qty, slot_index);
    }
    if (lk_slot_exit_is_at_work(slot))
        return lk_refuse_at(call, LK_CODE_EXIT_PENDING, LK_FIELD_TRADE_ID, 0, slot_index);
    if (order_id_is_taken(kernel, &input->client_order_id)) {
        return lk_refuse_at(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0, slot_index);
    }

    lk_before_t before = lk_before(call, slot_index);
    lk_cancel_entry_rest(call, slot_index);
    if (remaining_qty > 0) {
        int64_t qty = exit_qty(call, slot, remaining_qty, &is_repaired);
        lk_order_t *order = add_exit(call, slot_index, &input->client_order_id, qty);
        order->is_leg = !is_stated(input, LK_HAS_QTY);
        set_exit_terms(call, slot_index, order);
        if (is_repaired) {
            lk_emit_anomaly(call, LK_CODE_EXIT_SIZE_REPAIRED, slot_index, &order->client_order_id, NULL);
        }
        emit_submit(call, slot_index, LK_COMMAND_SUBMIT_EXIT, order);
        lk_cancel_protection(call, slot_index); /* after it: were it before, nothing would stand there for a moment */
    }
    lk_after(call, before);
    return LK_CODE_OK;
}

/* ----------------------------------------------------------------------------------------------- control -- */

lk_code_t lk_apply_cancel(lk_call_t *call)
{
    uint32_t slot_index = 0;
    uint32_t place = 0;
    const lk_id_t *id = &call->input->client_order_id;

    if (!text_is_id(id)) return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0);
    if (!lk_find_order(call->kernel, id, false, &slot_index, &place)) {
        return lk_refuse(call, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID, 0);
    }
    if (!lk_order_is_live(lk_slot_order(&call->kernel->slots[slot_index], place))) {
        return lk_refuse_at(call, LK_CODE_NO_WORKING_ORDER, LK_FIELD_CLIENT_ORDER_ID, 0, slot_index);
    }

    lk_before_t before = lk_before(call, slot_index);
    lk_emit_cancel(call, slot_index, place); /* also when one is pending: a cancel asked for twice does no harm */
    lk_after(call, before);
    return LK_CODE_OK;
}

static lk_field_t bad_scope_field(const lk_input_t *input)
{
    if (!lk_id_is_sound(&input->strategy)) return LK_FIELD_STRATEGY;
    return lk_symbol_is_sound(&input->symbol) ? LK_FIELD_NONE : LK_FIELD_SYMBOL;
}

/* Of a busy slot. */
static bool is_in_scope(const lk_kernel_t *kernel, uint32_t slot_index, const lk_input_t *input)
{
    const lk_slot_t *slot = &kernel->slots[slot_index];
    if (!lk_id_is_empty(&input->strategy) && !lk_id_equal(&input->strategy, &slot->strategy)) return false;
    return input->symbol.text[0] == '\0' || memcmp(&input->symbol, &slot->symbol, sizeof slot->symbol) == 0;
}

static lk_id_t flatten_order_id(const lk_id_t *root, uint32_t slot_index)
{
    lk_id_t id = *root;
    size_t length = 0;
    while (length < FLATTEN_ROOT_LENGTH_MAX && id.text[length] != '\0')
        length++;
    id.text[length++] = '-';
    if (slot_index >= 100) id.text[length++] = (char)('0' + slot_index / 100);
    id.text[length++] = (char)('0' + slot_index / 10 % 10);
    id.text[length] = (char)('0' + slot_index % 10);
    return id;
}

/* Out of one trade: no more of the entry; the rest of a resting exit is taken back; else what is open goes to market.
 */
static void flatten_slot(lk_call_t *call, uint32_t slot_index)
{
    lk_slot_t *slot = &call->kernel->slots[slot_index];
    int64_t open_qty = lk_slot_open_qty(slot);
    lk_before_t before = lk_before(call, slot_index);
    lk_cancel_entry_rest(call, slot_index);
    if (lk_slot_exit_is_at_work(slot)) {
        const lk_order_t *exit = lk_slot_last_exit(slot);
        bool is_resting = exit->order_type != LK_ORDER_TYPE_MARKET && !exit->cancel_pending;
        if (is_resting) lk_emit_cancel(call, slot_index, lk_slot_place_of(slot, slot->exit_count));
    } else if (open_qty > 0) {
        lk_id_t id = flatten_order_id(&call->input->client_order_id, slot_index);
        emit_submit(call, slot_index, LK_COMMAND_SUBMIT_EXIT, add_exit(call, slot_index, &id, open_qty));
    }
    bool is_needed = open_qty <= 0 && !lk_slot_is_spent(slot); /* the entry may still fill, before its cancel comes */
    if (!is_needed) lk_cancel_protection(call, slot_index);
    lk_after(call, before);
}

lk_code_t lk_apply_flatten(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    bool is_too_long = input->client_order_id.text[FLATTEN_ROOT_LENGTH_MAX] != '\0';
    if (!text_is_id(&input->client_order_id) || is_too_long) {
        return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0);
    }
    lk_field_t field = bad_scope_field(input);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_INTENT, field, 0);
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        lk_id_t id = flatten_order_id(&input->client_order_id, i);
        if (order_id_is_taken(kernel, &id)) return lk_refuse(call, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID, 0);
    }

    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (is_in_scope(kernel, i, input)) flatten_slot(call, i);
    }
    call->outcome->slot_index = LK_NO_SLOT;
    return LK_CODE_OK;
}

lk_code_t lk_apply_cancel_working_entries(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    lk_field_t field = bad_scope_field(call->input);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_INTENT, field, 0);

    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (!is_in_scope(kernel, i, call->input) || !lk_order_is_live(&kernel->slots[i].entry)) continue;
        lk_before_t before = lk_before(call, i);
        lk_emit_cancel(call, i, 0);
        lk_after(call, before);
    }
    call->outcome->slot_index = LK_NO_SLOT;
    return LK_CODE_OK;
}

lk_code_t lk_apply_freeze(lk_call_t *call)
{
    call->kernel->ledger.freeze_flags |= LK_FREEZE_OPERATOR;
    return LK_CODE_OK;
}

lk_code_t lk_apply_unfreeze(lk_call_t *call)
{
    call->kernel->ledger.freeze_flags &= (uint8_t)~LK_FREEZE_OPERATOR;
    return LK_CODE_OK;
}

/* ------------------------------------------------------------------------------------------------- adopt -- */

static lk_field_t bad_adopt_field(const lk_input_t *input, const lk_config_t *config)
{
    if (!text_is_id(&input->trade_id)) return LK_FIELD_TRADE_ID;
    if (!lk_id_is_sound(&input->strategy)) return LK_FIELD_STRATEGY;
    lk_field_t field = bad_instrument_field(input, config->amount_scale);
    if (field != LK_FIELD_NONE) return field;
    if (input->qty.units == 0 || input->qty.units == INT64_MIN) return LK_FIELD_QTY;
    return input->price.units > 0 ? LK_FIELD_NONE : LK_FIELD_PRICE;
}

/* A position that stands at the venue: an entry without an order of ours, wholly filled. It books nothing (K12). */
static void slot_from_adopt(const lk_input_t *input, lk_slot_t *slot)
{
    lk_clear(slot, offsetof(lk_slot_t, exits));
    set_instrument(slot, input);
    slot->trade_id = input->trade_id;
    slot->strategy = input->strategy;
    slot->requested_at_ns = input->now_ns;
    slot->opened_at_ns = input->now_ns;
    slot->leverage = input->leverage < 1 ? 1 : input->leverage;
    slot->pnl_source = LK_PNL_SOURCE_KERNEL_ESTIMATE;
    slot->is_adopted = 1;
    slot->entry.side = input->qty.units > 0 ? LK_SIDE_BUY : LK_SIDE_SELL;
    slot->entry.order_qty = input->qty.units > 0 ? input->qty.units : -input->qty.units;
    slot->entry.cum_qty = slot->entry.order_qty;
    slot->entry.priced_qty = slot->entry.order_qty;
    slot->entry.order_type = LK_ORDER_TYPE_MARKET;
    slot->entry.time_in_force = LK_TIME_IN_FORCE_DAY;
    slot->entry.life = LK_LIFE_WORKING;
    slot->entry.is_done = 1;
    slot->book.entry_qty = slot->entry.order_qty;
}

lk_code_t lk_apply_adopt(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    uint32_t slot_index = 0;

    lk_field_t field = bad_adopt_field(input, &kernel->config);
    if (field != LK_FIELD_NONE) return lk_refuse(call, LK_CODE_INVALID_INTENT, field, field_value(input, field));
    uint32_t own_slot = slot_of_trade(kernel, &input->trade_id);
    if (is_open(kernel, own_slot)) return lk_refuse_at(call, LK_CODE_SLOT_BUSY, LK_FIELD_TRADE_ID, 0, own_slot);
    lk_code_t code = find_place(kernel, input, own_slot, &slot_index, &field);
    if (code == LK_CODE_SLOT_BUSY) return lk_refuse(call, LK_CODE_ORPHAN_POSITION, LK_FIELD_QTY, input->qty.units);
    if (code != LK_CODE_OK) return lk_refuse_at(call, code, field, 0, slot_index);
    lk_slot_t content;
    slot_from_adopt(input, &content);
    lk_book_t *book = &content.book;
    if (!lk_slot_notional(&content, kernel->config.amount_scale, input->price.units, book->entry_qty,
                          &book->entry_notional)) {
        return lk_refuse(call, LK_CODE_OVERFLOW, LK_FIELD_QTY, input->qty.units);
    }
    book->open_cost = book->entry_notional;
    content.entry.cum_notional = book->entry_notional;

    lk_before_t before = take_slot(call, slot_index, &content);
    lk_after(call, before);
    return LK_CODE_OK;
}
