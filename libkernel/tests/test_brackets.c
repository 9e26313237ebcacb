/* Brackets: a stop and a target that stand at the venue beside their entry (T01). */
#include "harness.h"

#define STOP "entry-S"
#define TARGET "entry-T"

/* The bracket of nearly every test here: 10 at market, stop 900, target 1200. */
static bench_t *bracketed(lk_side_t side)
{
    bench_t *bench = bench_new(2);
    lk_input_t input = enter_input(bench, "trade", "entry", side, 10);
    make_bracket(&input, side == LK_SIDE_BUY ? 900 : 1200, side == LK_SIDE_BUY ? 1200 : 900);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    return bench;
}

/* And all of it filled. */
static bench_t *opened(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    return bench;
}

static void check_command(const bench_t *bench, uint32_t n, lk_command_t command, const char *order_id)
{
    const lk_event_t *event = event_of(bench, LK_EVENT_COMMAND, n);
    CHECK(event != NULL);
    CHECK(event->command == command);
    CHECK(strcmp(event->client_order_id.text, order_id) == 0);
}

static void check_no_command(const bench_t *bench, uint32_t n)
{
    CHECK(event_of(bench, LK_EVENT_COMMAND, n) == NULL);
}

static lk_code_t bust(bench_t *bench, const char *execution_id)
{
    lk_input_t input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of(execution_id);
    return apply(bench, &input);
}

static lk_code_t flatten(bench_t *bench, const char *root)
{
    lk_input_t input = input_of(bench, LK_INPUT_FLATTEN);
    input.client_order_id = id_of(root);
    return apply(bench, &input);
}

/* ------------------------------------------------------------------------------------------------- enter -- */

static void check_protective(const lk_event_t *event, const lk_order_view_t *view, lk_order_type_t order_type,
                             int64_t price)
{
    CHECK(event->command == LK_COMMAND_SUBMIT_PROTECTIVE);
    CHECK(event->side == LK_SIDE_SELL);
    CHECK(event->order_type == order_type);
    CHECK(event->time_in_force == LK_TIME_IN_FORCE_GTC);
    CHECK(event->qty.units == 10);
    CHECK(event->price.units == price);
    CHECK(event->flags == (LK_EVENT_IS_EXIT | LK_EVENT_HAS_PRICE));
    CHECK(event->open_qty.units == 0);
    CHECK(event->expires_at_ns == 0);
    CHECK(event->leverage == 1);
    CHECK(view->life == LK_LIFE_REQUESTED);
    CHECK(view->side == LK_SIDE_SELL);
    CHECK(view->order_type == order_type);
    CHECK(view->time_in_force == LK_TIME_IN_FORCE_GTC);
    CHECK(view->order_qty.units == 10);
    CHECK(view->has_price);
    CHECK(view->price.units == price);
    CHECK(memcmp(&view->client_order_id, &event->client_order_id, sizeof view->client_order_id) == 0);
}

static void test_entry_stop_and_target_are_submitted_together_T01(void)
{
    bench_t *bench = bench_new(2);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    make_bracket(&input, 900, 1200);
    input.expires_at_ns = 5000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_SUBMIT_ENTRY, "entry");
    check_command(bench, 1, LK_COMMAND_SUBMIT_PROTECTIVE, STOP);
    check_command(bench, 2, LK_COMMAND_SUBMIT_PROTECTIVE, TARGET);
    check_no_command(bench, 3);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->flags == 0);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->expires_at_ns == 5000);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.is_bracket);
    check_protective(event_of(bench, LK_EVENT_COMMAND, 1), &view.stop, LK_ORDER_TYPE_STOP, 900);
    check_protective(event_of(bench, LK_EVENT_COMMAND, 2), &view.target, LK_ORDER_TYPE_LIMIT, 1200);
    CHECK(view.exit_order_count == 0);
    CHECK(view.exit.life == LK_LIFE_NONE);
    CHECK(view.stage == LK_STAGE_ENTRY_REQUESTED);
    lk_id_t id = id_of(STOP);
    CHECK(lk_kernel_find_order(bench->kernel, &id) == 0);
    restart(bench);
    CHECK(lk_kernel_find_order(bench->kernel, &id) == 0);
    bench_free(bench);
}

static void test_short_bracket_is_protected_by_buying_T01(void)
{
    bench_t *bench = bracketed(LK_SIDE_SELL);
    CHECK(slot_of(bench, 0).stop.side == LK_SIDE_BUY);
    CHECK(slot_of(bench, 0).stop.price.units == 1200);
    CHECK(slot_of(bench, 0).target.side == LK_SIDE_BUY);
    CHECK(slot_of(bench, 0).target.price.units == 900);
    bench_free(bench);
}

static void test_bracket_without_a_target_has_a_stop_alone_T01(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    make_bracket(&input, 900, 0);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    check_command(bench, 1, LK_COMMAND_SUBMIT_PROTECTIVE, STOP);
    check_no_command(bench, 2);
    CHECK(slot_of(bench, 0).target.life == LK_LIFE_NONE);
    CHECK(slot_of(bench, 0).target.client_order_id.text[0] == '\0');
    restart(bench);
    bench_free(bench);
}

static void test_stop_and_target_of_an_entry_that_is_no_bracket_are_no_orders_T01(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    make_bracket(&input, 900, 1200);
    input.flags &= ~LK_BRACKET;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    check_no_command(bench, 1);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(!view.is_bracket);
    CHECK(view.stop.life == LK_LIFE_NONE);
    CHECK(view.target.life == LK_LIFE_NONE);
    CHECK(view.stop_price.units == 900);
    bench_free(bench);
}

/* -------------------------------------------------------------------------------------------- refusals -- */

/* An entry at 1000, or at market, with these prices. */
static lk_input_t wish(bench_t *bench, lk_side_t side, int64_t price, int64_t stop, int64_t target)
{
    lk_input_t input = enter_input(bench, "trade", "entry", side, 10);
    make_bracket(&input, stop, target);
    if (price > 0) {
        input.order_type = LK_ORDER_TYPE_LIMIT;
        input.flags |= LK_HAS_PRICE;
        input.price.units = price;
    }
    return input;
}

static void check_wish(const lk_input_t *stated, lk_field_t field, int64_t value)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = *stated;
    digest_t before = digest_of(bench);
    CHECK(apply(bench, &input) == (field == LK_FIELD_NONE ? LK_CODE_OK : LK_CODE_INVALID_INTENT));
    CHECK(bench->outcome.field == field);
    CHECK(bench->outcome.value == value);
    CHECK(same_digest(before, digest_of(bench)) == (field != LK_FIELD_NONE));
    bench_free(bench);
}

static void test_stop_and_target_stand_on_their_sides_of_the_price_T01(void)
{
    static const struct {
        lk_side_t side;
        int64_t price, stop, target;
        lk_field_t field;
    } CASES[] = {
        {LK_SIDE_BUY, 1000, 999, 1001, LK_FIELD_NONE},        {LK_SIDE_BUY, 1000, 1000, 1001, LK_FIELD_STOP_PRICE},
        {LK_SIDE_BUY, 1000, 1001, 1002, LK_FIELD_STOP_PRICE}, {LK_SIDE_BUY, 1000, 999, 1000, LK_FIELD_TARGET_PRICE},
        {LK_SIDE_SELL, 1000, 1001, 999, LK_FIELD_NONE},       {LK_SIDE_SELL, 1000, 1000, 999, LK_FIELD_STOP_PRICE},
        {LK_SIDE_SELL, 1000, 999, 998, LK_FIELD_STOP_PRICE},  {LK_SIDE_SELL, 1000, 1001, 1000, LK_FIELD_TARGET_PRICE},
        {LK_SIDE_BUY, 0, 999, 1000, LK_FIELD_NONE},           {LK_SIDE_BUY, 0, 1000, 1000, LK_FIELD_TARGET_PRICE},
        {LK_SIDE_BUY, 0, 1001, 1000, LK_FIELD_TARGET_PRICE},  {LK_SIDE_SELL, 0, 1000, 999, LK_FIELD_NONE},
        {LK_SIDE_SELL, 0, 1000, 1000, LK_FIELD_TARGET_PRICE}, {LK_SIDE_BUY, 1000, 999, 0, LK_FIELD_NONE},
    };
    bench_t *bench = bench_new(1);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        lk_input_t input = wish(bench, CASES[i].side, CASES[i].price, CASES[i].stop, CASES[i].target);
        int64_t value = CASES[i].field == LK_FIELD_STOP_PRICE     ? CASES[i].stop
                        : CASES[i].field == LK_FIELD_TARGET_PRICE ? CASES[i].target
                                                                  : 0;
        check_wish(&input, CASES[i].field, value);
    }
    bench_free(bench);
}

static void test_bracket_needs_a_stop_and_both_prices_on_tick_T01(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = wish(bench, LK_SIDE_BUY, 1000, 900, 1200);
    input.flags &= ~LK_HAS_STOP;
    check_wish(&input, LK_FIELD_STOP_PRICE, 900);
    input = wish(bench, LK_SIDE_BUY, 1000, 901, 1200);
    input.tick_units = 5;
    check_wish(&input, LK_FIELD_STOP_PRICE, 901);
    input = wish(bench, LK_SIDE_BUY, 1000, 900, 1201);
    input.tick_units = 5;
    check_wish(&input, LK_FIELD_TARGET_PRICE, 1201);
    input.flags &= ~LK_BRACKET; /* which is no order then */
    check_wish(&input, LK_FIELD_NONE, 0);
    bench_free(bench);
}

static void test_bracket_has_no_exit_legs_T01_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = wish(bench, LK_SIDE_BUY, 1000, 900, 1200);
    input.exit_leg_bps[0] = 1;
    check_wish(&input, LK_FIELD_EXIT_LEG_BPS, 0);
    bench_free(bench);
}

static void test_entry_id_of_a_bracket_leaves_room_for_the_others_T01(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = wish(bench, LK_SIDE_BUY, 1000, 900, 1200);
    memset(input.client_order_id.text, 'x', 63);
    check_wish(&input, LK_FIELD_CLIENT_ORDER_ID, 0);
    input.client_order_id.text[62] = '\0';
    CHECK(apply(bench, &input) == LK_CODE_OK);
    lk_id_t stop_id = slot_of(bench, 0).stop.client_order_id;
    CHECK(memcmp(stop_id.text + 60, "xx-S", 4) == 0); /* all 64 */
    CHECK(lk_kernel_find_order(bench->kernel, &stop_id) == 0);
    bench_free(bench);
}

static void check_taken(const char *order_id, int64_t target, bool is_taken)
{
    bench_t *bench = bench_new(2);
    CHECK(enter_in(bench, "OTHER", "other", order_id) == LK_CODE_OK);
    lk_input_t input = wish(bench, LK_SIDE_BUY, 1000, 900, target);
    CHECK(apply(bench, &input) == (is_taken ? LK_CODE_INVALID_INTENT : LK_CODE_OK));
    CHECK(bench->outcome.field == (is_taken ? LK_FIELD_CLIENT_ORDER_ID : LK_FIELD_NONE));
    bench_free(bench);
}

static void test_ids_of_a_bracket_must_all_be_new_T01(void)
{
    check_taken("entry", 1200, true);
    check_taken(STOP, 1200, true);
    check_taken(TARGET, 1200, true);
    check_taken(TARGET, 0, false);
    check_taken("entry-U", 1200, false);
}

/* -------------------------------------------------------------------------------------------------- fills -- */

static void test_fill_of_the_target_leaves_the_trade_and_takes_back_the_stop_T01(void)
{
    bench_t *bench = opened();
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_OPEN);
    report(bench, STOP, LK_FACT_ACKNOWLEDGED);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_OPEN); /* at work, but nobody is leaving */
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_FILLED);
    CHECK(fill(bench, TARGET, "x1", LK_SIDE_SELL, 10, 1200) == LK_CODE_OK);
    const lk_event_t *booked = event_of(bench, LK_EVENT_FILL_BOOKED, 0);
    CHECK(booked->flags & LK_EVENT_IS_EXIT);
    CHECK(booked->realized_pnl.units == (int64_t)10 * 200 * 10000);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->flags == LK_EVENT_IS_EXIT);
    check_no_command(bench, 1);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.target.is_filled);
    CHECK(view.stop.cancel_pending);
    CHECK(view.stage == LK_STAGE_POSITION_CLOSED); /* a stop must not outlive its trade */
    CHECK(view.lifecycle == LK_LIFECYCLE_CLOSED);
    CHECK(!view.is_free);
    CHECK(view.closed_at_ns == 0);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 1) == LK_CODE_SYMBOL_BUSY);
    restart(bench);
    CHECK(report(bench, STOP, LK_FACT_CANCELED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->from_stage == LK_STAGE_POSITION_CLOSED);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->to_stage == LK_STAGE_TERMINAL_WRITTEN);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 1) == NULL);
    CHECK(slot_of(bench, 0).is_free);
    CHECK(slot_of(bench, 0).closed_at_ns == (int64_t)bench->step);
    bench_free(bench);
}

static void test_part_of_the_stop_takes_nothing_back_T01(void)
{
    bench_t *bench = opened();
    CHECK(fill(bench, STOP, "x1", LK_SIDE_SELL, 4, 890) == LK_CODE_OK);
    check_no_command(bench, 0);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_PARTIALLY_CLOSED);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_MANAGED);
    CHECK(fill(bench, STOP, "x2", LK_SIDE_SELL, 6, 890) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, TARGET);
    bench_free(bench);
}

static void test_stop_that_fires_while_the_entry_is_at_work_ends_the_entry_T01(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 6, 1000);
    CHECK(fill(bench, STOP, "x1", LK_SIDE_SELL, 4, 890) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, "entry");
    check_no_command(bench, 1);
    CHECK(fill(bench, STOP, "x2", LK_SIDE_SELL, 2, 890) == LK_CODE_OK);
    check_no_command(bench, 0); /* it is pending; and stop and target are needed as long as the entry may fill */
    CHECK(fill(bench, "entry", "e2", LK_SIDE_BUY, 4, 1000) == LK_CODE_OK);
    check_no_command(bench, 0);
    CHECK(slot_of(bench, 0).qty.units == 4);
    bench_free(bench);
}

static void test_both_protective_orders_fill_and_it_is_an_overfill_T01_K08(void)
{
    bench_t *bench = opened();
    fill(bench, STOP, "x1", LK_SIDE_SELL, 10, 890);
    CHECK(fill(bench, TARGET, "x2", LK_SIDE_SELL, 10, 1200) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    check_no_command(bench, 0);
    CHECK(slot_of(bench, 0).qty.units == -10);
    CHECK(slot_of(bench, 0).is_overfilled);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0);
    bench_free(bench);
}

static void test_stop_that_fills_before_its_entry_is_told_is_folded_T01_K08(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(fill(bench, STOP, "x1", LK_SIDE_SELL, 10, 890) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    check_command(bench, 0, LK_COMMAND_CANCEL, "entry"); /* at work still, as far as we know */
    check_no_command(bench, 1);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_PARTIALLY_CLOSED);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, TARGET);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_CLOSED);
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)-10 * 110 * 10000);
    bench_free(bench);
}

static void test_busted_stop_opens_the_trade_again_and_it_is_bare_T01(void)
{
    bench_t *bench = opened();
    fill(bench, STOP, "x1", LK_SIDE_SELL, 10, 890);
    report(bench, TARGET, LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).is_free);
    CHECK(bust(bench, "x1") == LK_CODE_OK);
    CHECK(slot_of(bench, 0).qty.units == 10);
    CHECK(slot_of(bench, 0).stop.cum_qty.units == 0);
    CHECK(slot_of(bench, 0).stop.is_filled); /* and not put back to work */
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1);
    bench_free(bench);
}

static void test_busted_entry_takes_the_protective_orders_back_T01(void)
{
    bench_t *bench = opened();
    CHECK(bust(bench, "e1") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    check_command(bench, 1, LK_COMMAND_CANCEL, TARGET);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_CLOSED);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_CANCELED);
    bench_free(bench);
}

static void test_corrected_entry_takes_the_protective_orders_back_when_nothing_is_left_T01(void)
{
    bench_t *bench = opened();
    fill(bench, STOP, "x1", LK_SIDE_SELL, 4, 890);
    lk_input_t input = input_of(bench, LK_INPUT_CORRECTION);
    input.execution_id = id_of("e1");
    input.qty.units = 4;
    input.price.units = 1000;
    input.price_scale = 4;
    input.flags = LK_HAS_PRICE;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    check_command(bench, 1, LK_COMMAND_CANCEL, TARGET);
    bench_free(bench);
}

static void test_executions_of_protective_orders_are_settled_and_busted_after_a_restart_K09(void)
{
    bench_t *bench = opened();
    CHECK(fill(bench, STOP, "x1", LK_SIDE_SELL, 3, 0) == LK_CODE_OK);
    CHECK(fill(bench, TARGET, "x2", LK_SIDE_SELL, 3, 1200) == LK_CODE_OK);
    restart(bench);
    CHECK(settle(bench, "x1", 700) == LK_CODE_OK);
    CHECK(strcmp(event_of(bench, LK_EVENT_SETTLED, 0)->client_order_id.text, STOP) == 0);
    CHECK(bust(bench, "x2") == LK_CODE_OK);
    CHECK(slot_of(bench, 0).target.cum_qty.units == 0);
    CHECK(slot_of(bench, 0).stop.cum_qty.units == 3);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------ end of entry -- */

static void test_entry_canceled_unfilled_takes_the_protective_orders_along_T01(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(report(bench, "entry", LK_FACT_CANCELED) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    check_command(bench, 1, LK_COMMAND_CANCEL, TARGET);
    check_no_command(bench, 2);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_CLOSED);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_CANCELED);
    CHECK(report(bench, STOP, LK_FACT_CANCELED) == LK_CODE_OK);
    check_no_command(bench, 0); /* one is pending */
    CHECK(!slot_of(bench, 0).is_free);
    CHECK(report(bench, TARGET, LK_FACT_CANCELED) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).is_free);
    bench_free(bench);
}

static void test_refused_entry_takes_the_protective_orders_along_T01(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    report(bench, "entry", LK_FACT_REJECTED);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_ORDER_REJECTED);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_REJECTED);
    report(bench, STOP, LK_FACT_DENIED);
    report(bench, TARGET, LK_FACT_DENIED);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->from_stage == LK_STAGE_ORDER_REJECTED);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->to_stage == LK_STAGE_TERMINAL_WRITTEN);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0);
    CHECK(slot_of(bench, 0).is_free);
    bench_free(bench);
}

static void test_late_fill_of_a_canceled_entry_is_bare_T01_K08(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    report(bench, "entry", LK_FACT_CANCELED);
    report(bench, STOP, LK_FACT_CANCELED);
    report(bench, TARGET, LK_FACT_CANCELED);
    CHECK(fill(bench, "entry", "late", LK_SIDE_BUY, 3, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_LATE_FILL) == 1);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1);
    bench_free(bench);
}

static void test_slot_of_a_bracket_is_taken_by_a_trade_without_one_T01(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    make_bracket(&input, 900, 1200);
    apply(bench, &input);
    report(bench, "entry", LK_FACT_CANCELED);
    report(bench, STOP, LK_FACT_CANCELED);
    report(bench, TARGET, LK_FACT_CANCELED);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_OK);
    check_no_command(bench, 1);
    CHECK(!slot_of(bench, 0).is_bracket);
    CHECK(slot_of(bench, 0).stop.life == LK_LIFE_NONE);
    lk_id_t id = id_of(STOP);
    CHECK(lk_kernel_find_order(bench->kernel, &id) == LK_NO_SLOT);
    restart(bench); /* and nothing of them is left in the state */
    report(bench, "entry-2", LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_TERMINAL_WRITTEN);
    bench_free(bench);
}

/* --------------------------------------------------------------------------------------------------- exit -- */

static void test_exit_of_a_bracket_goes_first_and_takes_the_protective_orders_back_T01(void)
{
    bench_t *bench = opened();
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_SUBMIT_EXIT, "exit");
    check_command(bench, 1, LK_COMMAND_CANCEL, STOP);
    check_command(bench, 2, LK_COMMAND_CANCEL, TARGET);
    check_no_command(bench, 3);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 10);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_EXIT_REQUESTED);
    report(bench, STOP, LK_FACT_CANCELED);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0); /* the exit is at work */
    report(bench, TARGET, LK_FACT_CANCELED);
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 1100) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).is_free);
    bench_free(bench);
}

static void test_protective_order_whose_cancel_is_pending_is_not_canceled_again_T01(void)
{
    bench_t *bench = opened();
    cancel(bench, TARGET);
    check_command(bench, 0, LK_COMMAND_CANCEL, TARGET);
    leave(bench, "trade", "exit");
    check_command(bench, 1, LK_COMMAND_CANCEL, STOP);
    check_no_command(bench, 2);
    bench_free(bench);
}

static lk_code_t leave_in_part(bench_t *bench, const char *order_id, int64_t qty)
{
    lk_input_t input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of(order_id);
    input.qty.units = qty;
    input.flags = LK_HAS_QTY;
    return apply(bench, &input);
}

static void test_exit_of_a_part_of_a_bracket_is_repaired_to_the_whole_T01_K20(void)
{
    bench_t *bench = opened();
    CHECK(leave_in_part(bench, "exit", 4) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 10);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1);
    bench_free(bench);
    bench = opened();
    CHECK(leave_in_part(bench, "exit", 10) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 0);
    bench_free(bench);
}

static void test_exit_before_the_first_fill_leaves_the_stop_until_the_entry_is_dead_T01(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, "entry");
    check_no_command(bench, 1); /* the entry may still fill */
    CHECK(report(bench, "entry", LK_FACT_CANCELED) == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    bench_free(bench);
}

static void test_stop_that_fills_beside_an_exit_is_an_overfill_and_no_more_T01(void)
{
    bench_t *bench = opened();
    leave(bench, "trade", "exit");
    CHECK(fill(bench, STOP, "x1", LK_SIDE_SELL, 10, 890) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_EXCEEDS_POSITION) == 1);
    check_command(bench, 0, LK_COMMAND_CANCEL, "exit");
    check_no_command(bench, 1); /* the target's is pending */
    CHECK(fill(bench, "exit", "x2", LK_SIDE_SELL, 10, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    CHECK(slot_of(bench, 0).qty.units == -10);
    bench_free(bench);
}

static void test_refused_exit_leaves_a_bracket_bare_T01(void)
{
    bench_t *bench = opened();
    leave(bench, "trade", "exit");
    report(bench, STOP, LK_FACT_CANCELED);
    CHECK(report(bench, "exit", LK_FACT_REJECTED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1);
    CHECK(leave(bench, "trade", "exit-2") == LK_CODE_OK);
    report(bench, "exit-2", LK_FACT_ACKNOWLEDGED); /* covered again */
    CHECK(report(bench, "exit-2", LK_FACT_CANCELED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1); /* and anew */
    bench_free(bench);
}

static void test_flatten_leaves_a_bracket_whole_T01_K18(void)
{
    bench_t *bench = opened();
    CHECK(flatten(bench, "flat") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_SUBMIT_EXIT, "flat-00");
    check_command(bench, 1, LK_COMMAND_CANCEL, STOP);
    check_command(bench, 2, LK_COMMAND_CANCEL, TARGET);
    CHECK(report(bench, STOP, LK_FACT_CANCEL_REJECTED) == LK_CODE_OK);
    CHECK(flatten(bench, "flat-2") == LK_CODE_OK); /* an exit is at work: only what is not pending */
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    check_no_command(bench, 1);
    bench_free(bench);
}

static void test_flatten_before_the_first_fill_leaves_the_stop_until_the_entry_is_dead_T01_K18(void)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(flatten(bench, "flat") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, "entry");
    check_no_command(bench, 1);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------- lost and left -- */

static void check_lost_while_entering(lk_order_fact_t fact, uint32_t expected)
{
    bench_t *bench = bracketed(LK_SIDE_BUY);
    CHECK(report(bench, STOP, fact) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == expected);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1 - expected); /* told once */
    bench_free(bench);
}

static void test_stop_that_ends_while_the_entry_is_at_work_is_lost_unless_it_was_taken_back_T01(void)
{
    check_lost_while_entering(LK_FACT_REJECTED, 1);
    check_lost_while_entering(LK_FACT_EXPIRED, 1);
    check_lost_while_entering(LK_FACT_DENIED, 0); /* with the entry, perhaps: so not before it fills */
    check_lost_while_entering(LK_FACT_CANCELED, 0);
}

static void test_stop_that_ends_while_the_trade_is_open_is_lost_T01(void)
{
    bench_t *bench = opened();
    CHECK(report(bench, TARGET, LK_FACT_REJECTED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_VENUE_REJECTED) == 1);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0); /* a target protects nothing */
    CHECK(report(bench, STOP, LK_FACT_CANCELED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 1);
    CHECK(strcmp(event_of(bench, LK_EVENT_ANOMALY, 0)->client_order_id.text, STOP) == 0);
    CHECK(event_of(bench, LK_EVENT_ANOMALY, 0)->severity == LK_SEVERITY_CRITICAL);
    check_no_command(bench, 0); /* a person decides */
    CHECK(slot_of(bench, 0).has_anomaly);
    restart(bench);
    CHECK(report(bench, "entry", LK_FACT_ACKNOWLEDGED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LOST) == 0); /* told */
    bench_free(bench);
}

static void test_refused_cancel_of_a_protective_order_is_told_and_not_sent_again_T01(void)
{
    bench_t *bench = opened();
    CHECK(report(bench, STOP, LK_FACT_CANCEL_REJECTED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LEFT) == 0); /* its trade is open */
    CHECK(fill(bench, TARGET, "x1", LK_SIDE_SELL, 10, 1200) == LK_CODE_OK);
    CHECK(report(bench, STOP, LK_FACT_CANCEL_REJECTED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LEFT) == 1);
    CHECK(strcmp(event_of(bench, LK_EVENT_ANOMALY, 0)->client_order_id.text, STOP) == 0);
    check_no_command(bench, 0);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_NO_OPEN_POSITION);
    CHECK(flatten(bench, "flat") == LK_CODE_OK);
    check_command(bench, 0, LK_COMMAND_CANCEL, STOP);
    check_no_command(bench, 1);
    bench_free(bench);
}

static void test_refused_cancel_of_an_exit_leaves_no_protective_order_T01(void)
{
    bench_t *bench = opened();
    leave(bench, "trade", "exit");
    fill(bench, STOP, "x1", LK_SIDE_SELL, 10, 890);
    report(bench, TARGET, LK_FACT_CANCEL_REJECTED);
    CHECK(report(bench, "exit", LK_FACT_CANCEL_REJECTED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PROTECTION_LEFT) == 0);
    check_no_command(bench, 0);
    bench_free(bench);
}

static void test_sent_protective_order_without_answer_is_stalled_after_the_timeout_T09(void)
{
    bench_t *bench = opened();
    int64_t timeout_ns = 60000000000;
    report(bench, STOP, LK_FACT_SUBMITTING);
    int64_t stop_ns = (int64_t)bench->step;
    report(bench, TARGET, LK_FACT_SUBMITTING);
    int64_t target_ns = (int64_t)bench->step;
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == stop_ns + timeout_ns);
    lk_input_t tick = input_of(bench, LK_INPUT_TICK);
    tick.now_ns = stop_ns + timeout_ns;
    CHECK(apply(bench, &tick) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_ORDER_STALLED) == 1);
    CHECK(slot_of(bench, 0).stop.is_stalled);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == target_ns + timeout_ns);
    tick.now_ns = target_ns + timeout_ns;
    CHECK(apply(bench, &tick) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).target.is_stalled);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------------ restore -- */

/* Which saved states of a bracket can be: change one thing in the slot, as somebody would who damages a save. */
static lk_status_t restored(bench_t *bench, void (*change)(lk_slot_t *slot))
{
    lk_slot_t *slot = &bench->kernel->slots[0];
    lk_slot_t kept = *slot;
    lk_kernel_t *fresh = NULL;
    size_t size = 0;
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *saved = malloc(size);
    CHECK(saved != NULL);
    change(slot);
    CHECK(lk_kernel_save(bench->kernel, saved, size, &size) == LK_STATUS_OK);
    *slot = kept;
    CHECK(lk_kernel_create(&bench->kernel->config, &fresh) == LK_STATUS_OK);
    lk_status_t status = lk_kernel_restore(fresh, saved, size);
    lk_kernel_destroy(fresh);
    free(saved);
    return status;
}

static void keep(lk_slot_t *slot)
{
    (void)slot;
}
static void lose_stop(lk_slot_t *slot)
{
    slot->protectives[0].life = LK_LIFE_NONE;
}
static void lose_target(lk_slot_t *slot)
{
    slot->protectives[1].order_qty = 0;
}
static void be_no_bracket(lk_slot_t *slot)
{
    slot->is_bracket = 0;
}
static void have_no_target(lk_slot_t *slot)
{
    slot->has_target_price = 0;
}
static void have_no_stop(lk_slot_t *slot)
{
    slot->has_stop_price = 0;
}
static void count_too_little(lk_slot_t *slot)
{
    slot->protectives[1].cum_qty = 2;
    slot->protectives[1].priced_qty = 2;
}

static void test_saved_bracket_that_cannot_be_is_refused_K21(void)
{
    bench_t *bench = opened();
    CHECK(fill(bench, TARGET, "x1", LK_SIDE_SELL, 3, 1200) == LK_CODE_OK);
    CHECK(restored(bench, keep) == LK_STATUS_OK);
    CHECK(restored(bench, lose_stop) == LK_STATUS_INVALID_STATE);
    CHECK(restored(bench, lose_target) == LK_STATUS_INVALID_STATE);
    CHECK(restored(bench, be_no_bracket) == LK_STATUS_INVALID_STATE);
    CHECK(restored(bench, have_no_target) == LK_STATUS_INVALID_STATE);
    CHECK(restored(bench, have_no_stop) == LK_STATUS_INVALID_STATE);
    CHECK(restored(bench, count_too_little) == LK_STATUS_INVALID_STATE);
    bench_free(bench);
}

static void test_digest_tells_protective_orders_apart_K21(void)
{
    bench_t *bench = opened();
    digest_t before = digest_of(bench);
    report(bench, TARGET, LK_FACT_ACKNOWLEDGED);
    CHECK(!same_digest(before, digest_of(bench)));
    lk_slot_t *slot = &bench->kernel->slots[0];
    before = digest_of(bench);
    slot->protectives[1].submitted_at_ns++; /* nothing else of the state */
    lk_set_add(bench->kernel->dirty_slots, 0);
    CHECK(!same_digest(before, digest_of(bench)));
    bench_free(bench);
}

int main(void)
{
    RUN(test_entry_stop_and_target_are_submitted_together_T01);
    RUN(test_short_bracket_is_protected_by_buying_T01);
    RUN(test_bracket_without_a_target_has_a_stop_alone_T01);
    RUN(test_stop_and_target_of_an_entry_that_is_no_bracket_are_no_orders_T01);
    RUN(test_stop_and_target_stand_on_their_sides_of_the_price_T01);
    RUN(test_bracket_needs_a_stop_and_both_prices_on_tick_T01);
    RUN(test_bracket_has_no_exit_legs_T01_K19);
    RUN(test_entry_id_of_a_bracket_leaves_room_for_the_others_T01);
    RUN(test_ids_of_a_bracket_must_all_be_new_T01);
    RUN(test_fill_of_the_target_leaves_the_trade_and_takes_back_the_stop_T01);
    RUN(test_part_of_the_stop_takes_nothing_back_T01);
    RUN(test_stop_that_fires_while_the_entry_is_at_work_ends_the_entry_T01);
    RUN(test_both_protective_orders_fill_and_it_is_an_overfill_T01_K08);
    RUN(test_stop_that_fills_before_its_entry_is_told_is_folded_T01_K08);
    RUN(test_busted_stop_opens_the_trade_again_and_it_is_bare_T01);
    RUN(test_busted_entry_takes_the_protective_orders_back_T01);
    RUN(test_corrected_entry_takes_the_protective_orders_back_when_nothing_is_left_T01);
    RUN(test_executions_of_protective_orders_are_settled_and_busted_after_a_restart_K09);
    RUN(test_entry_canceled_unfilled_takes_the_protective_orders_along_T01);
    RUN(test_refused_entry_takes_the_protective_orders_along_T01);
    RUN(test_late_fill_of_a_canceled_entry_is_bare_T01_K08);
    RUN(test_slot_of_a_bracket_is_taken_by_a_trade_without_one_T01);
    RUN(test_exit_of_a_bracket_goes_first_and_takes_the_protective_orders_back_T01);
    RUN(test_protective_order_whose_cancel_is_pending_is_not_canceled_again_T01);
    RUN(test_exit_of_a_part_of_a_bracket_is_repaired_to_the_whole_T01_K20);
    RUN(test_exit_before_the_first_fill_leaves_the_stop_until_the_entry_is_dead_T01);
    RUN(test_stop_that_fills_beside_an_exit_is_an_overfill_and_no_more_T01);
    RUN(test_refused_exit_leaves_a_bracket_bare_T01);
    RUN(test_flatten_leaves_a_bracket_whole_T01_K18);
    RUN(test_flatten_before_the_first_fill_leaves_the_stop_until_the_entry_is_dead_T01_K18);
    RUN(test_stop_that_ends_while_the_entry_is_at_work_is_lost_unless_it_was_taken_back_T01);
    RUN(test_stop_that_ends_while_the_trade_is_open_is_lost_T01);
    RUN(test_refused_cancel_of_a_protective_order_is_told_and_not_sent_again_T01);
    RUN(test_refused_cancel_of_an_exit_leaves_no_protective_order_T01);
    RUN(test_sent_protective_order_without_answer_is_stalled_after_the_timeout_T09);
    RUN(test_saved_bracket_that_cannot_be_is_refused_K21);
    RUN(test_digest_tells_protective_orders_apart_K21);
    return 0;
}
