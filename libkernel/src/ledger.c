/* The account: our own ledger (K), the venue's facts (E), and the comparison of the two (K13, K14).
 *
 *   capital = wallet at the last anchor + bridge
 *   bridge  = realized - fees + funding + foreign that this wallet does not hold yet
 */
#include "internal.h"

lk_sums_t lk_ledger_sums(const lk_ledger_t *ledger)
{
    return (lk_sums_t){.bridge = ledger->bridge,
                       .bridge_predicted = ledger->bridge_predicted,
                       .bridge_skipped = ledger->bridge_skipped,
                       .realized = ledger->realized,
                       .fees = ledger->fees,
                       .predicted_fees = ledger->predicted_fees,
                       .is_bridged = ledger->is_bridged};
}

void lk_ledger_put_sums(lk_ledger_t *ledger, const lk_sums_t *sums)
{
    ledger->bridge = sums->bridge;
    ledger->bridge_predicted = sums->bridge_predicted;
    ledger->bridge_skipped = sums->bridge_skipped;
    ledger->realized = sums->realized;
    ledger->fees = sums->fees;
    ledger->predicted_fees = sums->predicted_fees;
    ledger->is_bridged = sums->is_bridged;
}

bool lk_ledger_book(lk_sums_t *sums, bool bridges, int64_t realized, int64_t fee)
{
    if (!lk_add(sums->realized, realized, &sums->realized)) return false;
    if (!lk_add(sums->fees, fee, &sums->fees)) return false;
    if (!bridges || (realized == 0 && fee == 0)) return true;
    sums->is_bridged = 1;
    return lk_add(sums->bridge, realized, &sums->bridge) && lk_subtract(sums->bridge, fee, &sums->bridge);
}

bool lk_ledger_predict(lk_sums_t *sums, bool bridges, int64_t fee_change, int64_t bridge_change)
{
    if (!lk_add(sums->predicted_fees, fee_change, &sums->predicted_fees)) return false;
    return !bridges || lk_add(sums->bridge_predicted, bridge_change, &sums->bridge_predicted);
}

bool lk_ledger_bridges_next(const lk_ledger_t *ledger)
{
    return ledger->awaited_count == 0;
}

void lk_ledger_take_awaited(lk_ledger_t *ledger, uint64_t number)
{
    LK_ASSERT(number > ledger->anchored_count);
    ledger->awaited_count--;
    ledger->has_awaited = 1;
    ledger->anchored_count = number;
}

int64_t lk_ledger_capital(const lk_kernel_t *kernel)
{
    const lk_ledger_t *ledger = &kernel->ledger;
    int64_t base = ledger->has_anchor ? ledger->wallet : kernel->config.seed_capital.units;
    int64_t capital = 0;
    if (lk_add(base, ledger->bridge, &capital)) return capital;
    return base < 0 ? INT64_MIN : INT64_MAX;
}

/* Always true of a ledger, before and after every input. */
bool lk_ledger_is_sound(const lk_ledger_t *ledger)
{
    return ledger->anchored_count <= ledger->execution_count && ledger->now_ns >= 0 && ledger->next_funding_ns >= 0 &&
           ledger->ledger_status < LK_LEDGER_COUNT && ledger->ledger_cause < LK_LEDGER_CAUSE_COUNT &&
           (ledger->freeze_flags & ~(LK_FREEZE_OPERATOR | LK_FREEZE_LEDGER)) == 0 &&
           (ledger->has_anchor == 0 || ledger->wallet > 0) && lk_fee_is_sound(ledger);
}

/* --------------------------------------------------------------------------------------- funding, foreign -- */

static bool holds_position(const lk_kernel_t *kernel)
{
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (lk_slot_open_qty(&kernel->slots[i]) != 0) return true;
    }
    return false;
}

/* The first multiple of the interval after now. */
static int64_t funding_after(int64_t now_ns, int64_t interval_ns)
{
    int64_t next_ns = 0;
    if (interval_ns == 0) return LK_NEVER_NS;
    return lk_multiply(now_ns / interval_ns + 1, interval_ns, &next_ns) ? next_ns : LK_NEVER_NS;
}

void lk_ledger_pass_time(lk_kernel_t *kernel, int64_t now_ns)
{
    lk_ledger_t *ledger = &kernel->ledger;
    if (holds_position(kernel)) ledger->is_funding_due = 1; /* not at the first input of all: nothing is held yet */
    ledger->next_funding_ns = funding_after(now_ns, kernel->config.funding_interval_ns);
}

lk_code_t lk_apply_funding(lk_call_t *call)
{
    lk_ledger_t ledger;
    int64_t amount = call->input->amount.units;
    lk_copy(&ledger, &call->kernel->ledger, sizeof ledger);
    if (amount == 0) return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_AMOUNT, amount);
    if (!lk_symbol_is_sound(&call->input->symbol)) {
        return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_SYMBOL, 0);
    }
    if (!lk_add(ledger.funding, amount, &ledger.funding) || !lk_add(ledger.bridge, amount, &ledger.bridge)) {
        return lk_refuse(call, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT, amount);
    }

    ledger.is_bridged = 1;
    ledger.is_funding_due = 0;
    lk_copy(&call->kernel->ledger, &ledger, sizeof ledger);
    return LK_CODE_OK;
}

/* The venue nets what others do in the symbol with our trade in it. */
static void flag_foreign(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_symbol_t *symbol = &call->input->symbol;
    lk_emit_anomaly(call, LK_CODE_FOREIGN_ACTIVITY, LK_NO_SLOT, NULL, NULL);
    if (symbol->text[0] == '\0') return;
    LK_FOR_EACH_IN (kernel->busy_slots, i) {
        if (memcmp(&kernel->slots[i].symbol, symbol, sizeof *symbol) != 0) continue;
        lk_before_t before = lk_before(call, i);
        lk_emit_anomaly(call, LK_CODE_FOREIGN_IN_SYMBOL, i, NULL, NULL);
        lk_after(call, before);
    }
}

/* Someone else's activity (X11): what is stated of it is bridged exactly, the rest is named at the next comparison. */
lk_code_t lk_apply_foreign(lk_call_t *call)
{
    const lk_input_t *input = call->input;
    lk_ledger_t ledger;
    lk_copy(&ledger, &call->kernel->ledger, sizeof ledger);
    bool has_amount = (input->flags & LK_HAS_AMOUNT) != 0;
    bool has_fee = (input->flags & LK_HAS_FEE) != 0;
    int64_t amount = has_amount ? input->amount.units : 0;
    int64_t fee = has_fee ? input->fee.units : 0;
    int64_t effect = 0;

    if (!lk_symbol_is_sound(&input->symbol)) {
        return lk_refuse(call, LK_CODE_INVALID_EVENT, LK_FIELD_SYMBOL, 0);
    }
    if (!lk_subtract(amount, fee, &effect) || !lk_add(ledger.foreign, effect, &ledger.foreign) ||
        !lk_add(ledger.bridge, effect, &ledger.bridge)) {
        lk_field_t field = has_amount ? LK_FIELD_AMOUNT : LK_FIELD_FEE;
        return lk_refuse(call, LK_CODE_OVERFLOW, field, has_amount ? amount : fee);
    }

    ledger.foreign_count++;
    if (effect != 0) ledger.is_bridged = 1;
    if (!has_amount) ledger.has_foreign = 1;
    lk_copy(&call->kernel->ledger, &ledger, sizeof ledger);
    flag_foreign(call);
    return LK_CODE_OK;
}

/* ----------------------------------------------------------------------------------------------- balance -- */

/* What we booked of executions that the frame's wallet does not hold yet. */
typedef struct {
    int64_t bridge;
    int64_t predicted;
    int64_t skipped_count;
} remainder_t;

static bool sum_after(const lk_kernel_t *kernel, uint64_t watermark, remainder_t *rest)
{
    *rest = (remainder_t){0};
    for (uint64_t number = watermark + 1; number <= kernel->ledger.execution_count; number++) {
        const lk_execution_t *execution = lk_window_execution(kernel, number);
        bool was_repaired = execution->is_exit && execution->is_skipped && execution->is_settled;
        lk_wide_t effect = (lk_wide_t)execution->realized - execution->fee;
        int64_t effect_units = 0;
        if (was_repaired) effect += execution->venue_realized;
        if (!lk_narrow(effect, &effect_units) || !lk_add(rest->bridge, effect_units, &rest->bridge)) return false;
        int64_t predicted_fee = execution->fee_is_predicted ? execution->fee : 0;
        if (!lk_add(rest->predicted, predicted_fee < 0 ? -predicted_fee : predicted_fee, &rest->predicted))
            return false;
        bool is_waiting = execution->is_exit && execution->is_skipped && !execution->is_settled;
        if (is_waiting && !execution->is_busted) rest->skipped_count++;
    }
    return true;
}

/* How many of our executions the frame's wallet holds. A wallet that knows of more than we do holds some that are late
 * or not ours: the next ones are taken to be those, and until that is settled a difference is no error. */
static uint64_t included_count(lk_ledger_t *ledger, uint64_t watermark, bool *has_unseen)
{
    uint64_t count = ledger->execution_count;
    uint64_t unseen_count = watermark > count ? watermark - count : 0;
    uint64_t included = watermark == 0 || watermark > count ? count : watermark;
    *has_unseen = ledger->has_awaited != 0;
    ledger->has_awaited = 0;
    if (watermark == 0 || unseen_count == ledger->unseen_count) return included;
    if (!ledger->has_anchor) { /* what was before us is no riddle */
        ledger->unseen_count = unseen_count;
        return included;
    }
    *has_unseen = true;
    ledger->awaited_count =
        unseen_count > ledger->unseen_count ? ledger->awaited_count + (unseen_count - ledger->unseen_count) : 0;
    ledger->unseen_count = unseen_count;
    return included;
}

/* What is known to have moved the wallet by an amount that is not known, in the manual's order. */
static uint8_t cause_of_difference(const lk_ledger_t *ledger, const remainder_t *rest, bool has_unseen_fills)
{
    if (ledger->is_funding_due) return LK_LEDGER_CAUSE_FUNDING;
    if (ledger->has_foreign) return LK_LEDGER_CAUSE_FOREIGN_ACTIVITY;
    bool has_unsettled = ledger->bridge_skipped > rest->skipped_count || has_unseen_fills;
    return has_unsettled ? LK_LEDGER_CAUSE_UNSETTLED_FILLS : LK_LEDGER_CAUSE_UNEXPLAINED;
}

/* Compare first: what did we expect the wallet to be, and why might it differ? */
static void classify(lk_ledger_t *ledger, const lk_config_t *config, const remainder_t *rest, bool has_unseen_fills)
{
    lk_wide_t delta = ledger->ledger_delta < 0 ? -(lk_wide_t)ledger->ledger_delta : ledger->ledger_delta;
    lk_wide_t predicted = (lk_wide_t)ledger->bridge_predicted - rest->predicted;
    bool is_error = delta > config->ledger_error_tolerance.units;

    ledger->ledger_status = LK_LEDGER_OK;
    ledger->ledger_cause = LK_LEDGER_CAUSE_NONE;
    if (delta <= config->ledger_tolerance.units) return;
    ledger->ledger_cause = LK_LEDGER_CAUSE_FEE;
    if (delta <= predicted + config->ledger_tolerance.units) return;
    ledger->ledger_cause = cause_of_difference(ledger, rest, has_unseen_fills);
    bool is_explained = ledger->ledger_cause != LK_LEDGER_CAUSE_UNEXPLAINED;
    ledger->ledger_status = is_explained || !is_error ? LK_LEDGER_WARNING : LK_LEDGER_ERROR;
}

/* ERROR freezes entries, never exits, and lifts by itself. */
static void tell_ledger_status(lk_call_t *call)
{
    lk_ledger_t *ledger = &call->kernel->ledger;
    bool was_frozen = (ledger->freeze_flags & LK_FREEZE_LEDGER) != 0;
    bool is_error = ledger->ledger_status == LK_LEDGER_ERROR;
    if (is_error) ledger->freeze_flags |= LK_FREEZE_LEDGER;
    if (ledger->ledger_status == LK_LEDGER_OK) ledger->freeze_flags &= (uint8_t)~LK_FREEZE_LEDGER;
    if (is_error) lk_emit_anomaly(call, LK_CODE_LEDGER_ERROR, LK_NO_SLOT, NULL, NULL);
    if (ledger->ledger_status == LK_LEDGER_WARNING) {
        lk_emit_anomaly(call, LK_CODE_LEDGER_WARNING, LK_NO_SLOT, NULL, NULL);
    }
    if (was_frozen && ledger->ledger_status == LK_LEDGER_OK) {
        lk_emit_anomaly(call, LK_CODE_LEDGER_RESTORED, LK_NO_SLOT, NULL, NULL);
    }
}

/* The wallet as the venue states it becomes what capital stands on (K13). */
static void anchor(lk_ledger_t *ledger, const lk_input_t *input, uint64_t watermark, const remainder_t *rest)
{
    ledger->wallet = input->amount.units;
    if ((input->flags & LK_HAS_AVAILABLE) != 0) ledger->available = input->available.units;
    ledger->bridge = rest->bridge;
    ledger->bridge_predicted = rest->predicted;
    ledger->bridge_skipped = rest->skipped_count;
    ledger->is_bridged = rest->bridge != 0;
    ledger->anchored_count = watermark;
    ledger->has_anchor = 1;
    ledger->is_funding_due = 0;
    ledger->has_foreign = 0;
    if (input->venue_sequence != 0) ledger->venue_sequence = input->venue_sequence;
}

lk_code_t lk_apply_balance(lk_call_t *call)
{
    lk_kernel_t *kernel = call->kernel;
    const lk_input_t *input = call->input;
    lk_ledger_t ledger;
    lk_copy(&ledger, &kernel->ledger, sizeof ledger);
    uint64_t count = ledger.execution_count;
    bool has_unseen_fills = false;
    uint64_t watermark = included_count(&ledger, input->execution_watermark, &has_unseen_fills);
    bool is_older = input->venue_sequence != 0 && input->venue_sequence <= ledger.venue_sequence;
    bool is_beyond_window = watermark < count && count - watermark > kernel->config.window_count;
    remainder_t rest = {0};

    if (input->amount.units <= 0) {
        return lk_refuse(call, LK_CODE_BALANCE_WITHOUT_WALLET, LK_FIELD_AMOUNT, input->amount.units);
    }
    if (is_older) {
        return lk_refuse(call, LK_CODE_BALANCE_STALE, LK_FIELD_VENUE_SEQUENCE, (int64_t)input->venue_sequence);
    }
    if (is_beyond_window || (ledger.has_anchor && watermark < ledger.anchored_count)) {
        return lk_refuse(call, LK_CODE_BALANCE_STALE, LK_FIELD_EXECUTION_WATERMARK, (int64_t)watermark);
    }
    lk_wide_t expected = 0;
    if (!sum_after(kernel, watermark, &rest)) return lk_refuse(call, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT, 0);
    expected = (lk_wide_t)ledger.wallet + ledger.bridge - rest.bridge;
    if (!lk_narrow(input->amount.units - expected, &ledger.ledger_delta)) {
        return lk_refuse(call, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT, input->amount.units);
    }

    bool is_compared = ledger.has_anchor != 0;
    if (is_compared)
        classify(&ledger, &kernel->config, &rest, has_unseen_fills);
    else
        ledger.ledger_delta = 0; /* nothing to compare yet */
    anchor(&ledger, input, watermark, &rest);
    lk_copy(&kernel->ledger, &ledger, sizeof ledger);
    if (is_compared) tell_ledger_status(call);
    return LK_CODE_OK;
}
