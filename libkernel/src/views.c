/* Views: copies of what is known, and what follows from it, computed when asked. */
#include "internal.h"

/* notional / qty at price_scale + 4, half to even; the notional is exact, so this is the only rounding. */
static bool average_price(const lk_slot_t *slot, uint32_t amount_scale, int64_t notional, int64_t qty, int64_t *average)
{
    uint32_t scale = (uint32_t)slot->price_scale + slot->qty_scale;
    lk_wide_t dividend = (lk_wide_t)notional * lk_power_of_ten(LK_AVERAGE_PRICE_EXTRA_SCALE);
    lk_wide_t divisor = (lk_wide_t)qty * slot->multiplier * lk_power_of_ten(amount_scale - scale);
    return lk_narrow(lk_divide_half_even(dividend, divisor), average); /* divisor <= notional of price 1: it fits */
}

static void view_order(const lk_slot_t *slot, uint32_t amount_scale, const lk_order_t *order, lk_order_view_t *view)
{
    memset(view, 0, sizeof *view);
    view->life = order->life;
    view->is_filled = order->is_done || order->cum_qty >= order->order_qty;
    view->in_doubt = order->in_doubt;
    view->cancel_pending = order->cancel_pending;
    view->side = order->side;
    view->order_type = order->order_type;
    view->time_in_force = order->time_in_force;
    view->has_price = order->has_price;
    view->is_stalled = order->is_stalled;
    view->order_qty.units = order->order_qty;
    view->cum_qty.units = order->cum_qty;
    view->price.units = order->price;
    view->submitted_at_ns = order->submitted_at_ns;
    view->client_order_id = order->client_order_id;
    view->venue_order_id = order->venue_order_id;
    if (order->priced_qty == 0) return;
    view->has_average_price =
        average_price(slot, amount_scale, order->cum_notional, order->priced_qty, &view->average_price.units);
}

static void view_figures(const lk_slot_t *slot, uint32_t amount_scale, lk_slot_view_t *view)
{
    const lk_book_t *book = &slot->book;
    int64_t priced_qty = book->entry_qty - book->entry_unpriced_qty;
    bool has_realized = lk_book_realized(book, lk_slot_direction(slot), &view->realized_pnl.units);
    bool has_unrealized = lk_slot_unrealized(slot, book, slot->mark, amount_scale, &view->unrealized_pnl.units);
    LK_ASSERT(has_realized); /* every change was checked before it was made */
    LK_ASSERT(has_unrealized);
    view->qty.units = lk_slot_open_qty(slot) * lk_slot_direction(slot);
    view->entry_qty.units = book->entry_qty;
    view->exit_qty.units = book->exit_qty;
    view->fees.units = book->fees;
    view->predicted_fees.units = book->predicted_fees;
    view->realized_skipped_no_price = book->skipped_count > 0;
    view->entry_basis_missing = book->entry_unpriced_qty > 0;
    if (priced_qty == 0 || view->entry_basis_missing) return;
    view->has_entry_price =
        average_price(slot, amount_scale, book->entry_notional, priced_qty, &view->entry_price.units);
}

static void view_terms(const lk_slot_t *slot, lk_slot_view_t *view)
{
    view->has_mark = slot->mark != 0;
    view->has_stop_price = slot->has_stop_price;
    view->has_target_price = slot->has_target_price;
    view->has_reference_price = slot->has_reference_price;
    view->mark.units = slot->mark;
    view->stop_price.units = slot->stop_price;
    view->target_price.units = slot->target_price;
    view->reference_price.units = slot->reference_price;
    view->price_scale = slot->price_scale;
    view->qty_scale = slot->qty_scale;
    view->leverage = slot->leverage;
    view->instrument_version = slot->instrument_version;
    view->tick_units = slot->tick_units;
    view->lot_units = slot->lot_units;
    view->multiplier = slot->multiplier;
    view->requested_at_ns = slot->requested_at_ns;
    view->opened_at_ns = slot->opened_at_ns;
    view->closed_at_ns = slot->closed_at_ns;
    view->expires_at_ns = slot->expires_at_ns;
    view->trade_id = slot->trade_id;
    view->strategy = slot->strategy;
    view->symbol = slot->symbol;
    view->currency = slot->currency;
    memcpy(view->exit_leg_bps, slot->exit_leg_bps, sizeof view->exit_leg_bps);
}

/* Open quantity at the entry price, over capital (K05). Derived here, where it is shown, and nowhere else. */
static void view_conviction(const lk_kernel_t *kernel, const lk_slot_t *slot, lk_slot_view_t *view)
{
    const lk_book_t *book = &slot->book;
    int64_t open_qty = lk_slot_open_qty(slot);
    if (open_qty <= 0 || !view->has_entry_price) return;
    lk_wide_t product = (lk_wide_t)book->entry_notional * open_qty;
    int64_t notional = (int64_t)lk_divide_half_even(product, book->entry_qty); /* <= entry_notional: it fits */
    lk_status_t status = lk_conviction_of(notional, lk_ledger_capital(kernel), &view->conviction);
    view->has_conviction = status == LK_STATUS_OK;
}

lk_status_t lk_kernel_slot(const lk_kernel_t *kernel, uint32_t slot_index, lk_slot_view_t *view)
{
    if (kernel == NULL || view == NULL || slot_index >= kernel->config.slot_count) return LK_STATUS_INVALID_ARGUMENT;
    const lk_slot_t *slot = &kernel->slots[slot_index];
    const lk_order_t *exit = lk_slot_last_exit(slot);
    memset(view, 0, sizeof *view);
    view->slot_index = slot_index;
    view->stage = (uint8_t)lk_slot_stage(slot);
    view->lifecycle = (uint8_t)lk_slot_lifecycle(slot, (lk_stage_t)view->stage);
    view->is_free = !lk_set_has(kernel->busy_slots, slot_index);
    if (slot->trade_sequence == 0) return LK_STATUS_OK;
    view->is_adopted = slot->is_adopted;
    view->pnl_source = slot->pnl_source;
    view->is_overfilled = slot->is_overfilled;
    view->has_anomaly = slot->has_anomaly;
    view->is_bracket = slot->is_bracket;
    view->active_leg_index = slot->active_leg_index;
    view->exit_order_count = slot->exit_count;
    view->trade_sequence = slot->trade_sequence;
    view_terms(slot, view);
    view_figures(slot, kernel->config.amount_scale, view);
    view_conviction(kernel, slot, view);
    view_order(slot, kernel->config.amount_scale, &slot->entry, &view->entry);
    if (exit != NULL) view_order(slot, kernel->config.amount_scale, exit, &view->exit);
    if (slot->is_bracket) view_order(slot, kernel->config.amount_scale, &slot->protectives[0], &view->stop);
    bool has_target = slot->is_bracket && slot->has_target_price;
    if (has_target) view_order(slot, kernel->config.amount_scale, &slot->protectives[1], &view->target);
    return LK_STATUS_OK;
}

/* --------------------------------------------------------------------------------------------- account -- */

/* A sum for people to look at, kept within 64 bits: it decides nothing. */
static int64_t clamp(lk_wide_t value)
{
    if (value > INT64_MAX) return INT64_MAX;
    return value < INT64_MIN ? INT64_MIN : (int64_t)value;
}

static lk_wide_t absolute(lk_wide_t value)
{
    return value < 0 ? -value : value;
}

/* |position| at its mark, else at what it cost. */
static lk_wide_t exposure(const lk_slot_t *slot, uint32_t amount_scale)
{
    int64_t value = 0;
    bool is_marked =
        slot->mark != 0 && lk_slot_notional(slot, amount_scale, slot->mark, lk_slot_open_qty(slot), &value);
    return absolute(is_marked ? value : slot->book.open_cost);
}

/* What the entry may still add: at its limit, else where it was decided, else at the mark. */
static lk_wide_t working_exposure(const lk_slot_t *slot, uint32_t amount_scale)
{
    const lk_order_t *entry = &slot->entry;
    int64_t value = 0;
    if (!lk_order_is_live(entry) || entry->cum_qty >= entry->order_qty) return 0;
    int64_t price = entry->has_price ? entry->price : slot->has_reference_price ? slot->reference_price : slot->mark;
    bool fits = lk_slot_notional(slot, amount_scale, price, entry->order_qty - entry->cum_qty, &value);
    return fits ? value : INT64_MAX;
}

static uint8_t capital_source(const lk_ledger_t *ledger)
{
    if (!ledger->has_anchor) return LK_CAPITAL_SOURCE_SEED;
    return ledger->is_bridged ? LK_CAPITAL_SOURCE_K_BRIDGED : LK_CAPITAL_SOURCE_E_ANCHORED;
}

static void view_sums(const lk_kernel_t *kernel, lk_account_view_t *view)
{
    uint32_t amount_scale = kernel->config.amount_scale;
    lk_wide_t unrealized_sum = 0;
    lk_wide_t gross_sum = 0;
    lk_wide_t working_sum = 0;
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        const lk_slot_t *slot = &kernel->slots[i];
        int64_t unrealized = 0;
        if (lk_slot_unrealized(slot, &slot->book, slot->mark, amount_scale, &unrealized)) unrealized_sum += unrealized;
        gross_sum += exposure(slot, amount_scale);
        working_sum += working_exposure(slot, amount_scale);
        view->open_slot_count++;
    }
    const lk_ledger_t *ledger = &kernel->ledger;
    int64_t base = ledger->has_anchor ? ledger->wallet : kernel->config.seed_capital.units;
    view->unrealized_pnl.units = clamp(unrealized_sum);
    view->gross_exposure.units = clamp(gross_sum);
    view->working_exposure.units = clamp(working_sum);
    view->capital.units = lk_ledger_capital(kernel);
    view->equity.units = clamp((lk_wide_t)base + ledger->bridge + unrealized_sum);
}

lk_status_t lk_kernel_account(const lk_kernel_t *kernel, lk_account_view_t *view)
{
    if (kernel == NULL || view == NULL) return LK_STATUS_INVALID_ARGUMENT;
    const lk_ledger_t *ledger = &kernel->ledger;
    memset(view, 0, sizeof *view);
    view->event_sequence = ledger->event_sequence;
    view->now_ns = ledger->now_ns;
    view->next_deadline_ns = lk_kernel_next_deadline_ns(kernel);
    view->slot_count = kernel->config.slot_count;
    view->amount_scale = kernel->config.amount_scale;
    view->capital_source = capital_source(ledger);
    view->ledger_status = ledger->ledger_status;
    view->ledger_cause = ledger->ledger_cause;
    view->freeze_flags = ledger->freeze_flags;
    view->realized_pnl.units = ledger->realized;
    view->fees.units = ledger->fees;
    view->predicted_fees.units = ledger->predicted_fees;
    view->funding.units = ledger->funding;
    view->foreign.units = ledger->foreign;
    view->wallet.units = ledger->wallet;
    view->available.units = ledger->available;
    view->ledger_delta.units = ledger->ledger_delta;
    view->trade_count = ledger->trade_count;
    view->execution_count = ledger->execution_count;
    view->fills_routed_by_stage_count = ledger->routed_by_stage_count;
    view->anomaly_count = ledger->anomaly_count;
    view->foreign_count = ledger->foreign_count;
    lk_fee_view(&kernel->config, ledger, LK_LIQUIDITY_MAKER, &view->maker_fee);
    lk_fee_view(&kernel->config, ledger, LK_LIQUIDITY_TAKER, &view->taker_fee);
    view->account = kernel->config.account;
    view->currency = kernel->config.currency;
    view_sums(kernel, view);
    return LK_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------- finds -- */

uint32_t lk_kernel_find_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id)
{
    uint32_t slot_index = 0;
    if (kernel == NULL || trade_id == NULL || lk_id_is_empty(trade_id)) return LK_NO_SLOT;
    return lk_find_trade(kernel, trade_id, &slot_index) ? slot_index : LK_NO_SLOT;
}

uint32_t lk_kernel_find_order(const lk_kernel_t *kernel, const lk_id_t *order_id)
{
    uint32_t slot_index = 0;
    uint32_t place = 0;
    if (kernel == NULL || order_id == NULL) return LK_NO_SLOT;
    bool is_found = lk_find_order(kernel, order_id, false, &slot_index, &place) ||
                    lk_find_order(kernel, order_id, true, &slot_index, &place);
    return is_found ? slot_index : LK_NO_SLOT;
}
