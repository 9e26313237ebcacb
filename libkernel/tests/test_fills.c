/* Money: fills, basis, pnl, settlements, busts, legs and adoption (K04 to K22). */
#include "harness.h"

static bench_t *open_fet_short(void)
{
    bench_t *bench = bench_new(2);
    CHECK(enter(bench, "fet", "entry", LK_SIDE_SELL, 202276) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_SELL, 195259, 1878) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e2", LK_SIDE_SELL, 7017, 1878) == LK_CODE_OK);
    CHECK(leave(bench, "fet", "exit") == LK_CODE_OK);
    return bench;
}

static void test_clean_exit_realizes_to_the_unit_K22(void)
{
    bench_t *bench = open_fet_short();
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->realized_pnl.units == 3120840000); /* 26,007 x 0.0012 */
    fill(bench, "exit", "x2", LK_SIDE_BUY, 176269, 1866);
    CHECK(slot_of(bench, 0).realized_pnl.units == 24273120000); /* 242.7312 */
    CHECK(slot_of(bench, 0).pnl_source == LK_PNL_SOURCE_KERNEL_ESTIMATE);
    CHECK(account_of(bench).realized_pnl.units == 24273120000);
    bench_free(bench);
}

static void test_price_less_leg_books_zero_until_it_is_settled_K08_K09_K22(void)
{
    bench_t *bench = open_fet_short();
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 0);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.qty.units == -176269);
    CHECK(view.realized_pnl.units == 0);
    CHECK(view.realized_skipped_no_price);
    CHECK(anomaly_count(bench, LK_CODE_FILL_WITHOUT_PRICE) == 1);
    CHECK(settle(bench, "x1", (int64_t)164 * UNIT) == LK_CODE_OK);
    view = slot_of(bench, 0);
    CHECK(view.realized_pnl.units == (int64_t)164 * UNIT);
    CHECK(view.pnl_source == LK_PNL_SOURCE_EXCHANGE);
    CHECK(!view.realized_skipped_no_price);
    CHECK(event_of(bench, LK_EVENT_SETTLED, 0)->realized_pnl.units == (int64_t)164 * UNIT);
    CHECK(account_of(bench).capital.units == (int64_t)1000164 * UNIT);
    CHECK(settle(bench, "x1", (int64_t)164 * UNIT) == LK_CODE_DUPLICATE_EVENT); /* once */
    fill(bench, "exit", "x2", LK_SIDE_BUY, 176269, 1866);
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)164 * UNIT + 21152280000);
    bench_free(bench);
}

static void test_settlement_of_a_priced_leg_is_compared_and_never_booked_again_K09(void)
{
    bench_t *bench = open_fet_short();
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    CHECK(settle(bench, "x1", 3120840000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_SETTLEMENT_DIFFERS) == 0);
    fill(bench, "exit", "x2", LK_SIDE_BUY, 10, 1866);
    CHECK(settle(bench, "x2", 1) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_SETTLEMENT_DIFFERS) == 1);
    CHECK(slot_of(bench, 0).realized_pnl.units == 3120840000 + 1200000);
    CHECK(slot_of(bench, 0).pnl_source == LK_PNL_SOURCE_KERNEL_ESTIMATE);
    bench_free(bench);
}

static void test_entry_price_is_volume_weighted_over_all_entry_fills_K06(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 300);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 200, 1001);
    CHECK(slot_of(bench, 0).entry_price.units == 10006667); /* 0.100066666.. at scale 8 */
    CHECK(slot_of(bench, 0).entry.average_price.units == 10006667);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 1, 1000);
    CHECK(slot_of(bench, 0).realized_pnl.units == -6667); /* 0.00006666.. lost, rounded against us */
    fill(bench, "exit", "x2", LK_SIDE_SELL, 299, 1000);
    CHECK(slot_of(bench, 0).realized_pnl.units == -2000000); /* the whole trade is exact: 200 x 0.0001 */
    bench_free(bench);
}

static void test_late_entry_fill_while_leaving_extends_the_entry_K07(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 200);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    leave(bench, "trade", "exit");
    const lk_event_t *rest = event_of(bench, LK_EVENT_COMMAND, 0);
    CHECK(rest->command == LK_COMMAND_CANCEL && strcmp(rest->client_order_id.text, "entry") == 0);
    const lk_event_t *submit = event_of(bench, LK_EVENT_COMMAND, 1);
    CHECK(submit->command == LK_COMMAND_SUBMIT_EXIT && submit->qty.units == 100 && submit->open_qty.units == 100);
    fill(bench, "exit", "x1", LK_SIDE_SELL, 40, 1100);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 50, 1060);
    CHECK(!(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->flags & LK_EVENT_IS_EXIT));
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.stage == LK_STAGE_EXIT_WORKING);
    CHECK(view.entry_qty.units == 150 && view.exit_qty.units == 40 && view.qty.units == 110);
    fill(bench, "exit", "x2", LK_SIDE_SELL, 60, 1100);
    report(bench, "entry", LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_PARTIALLY_CLOSED);
    leave(bench, "trade", "exit-2");
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 50);
    fill(bench, "exit-2", "x3", LK_SIDE_SELL, 50, 1100);
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)(150 * 1100 - 100 * 1000 - 50 * 1060) * 10000);
    bench_free(bench);
}

static void test_fill_after_cancel_is_counted_flagged_and_found_in_its_free_slot_K03(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    report(bench, "entry", LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).is_free);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_LATE_FILL) == 1);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.stage == LK_STAGE_POSITION_OPEN && view.entry.life == LK_LIFE_CANCELED && !view.is_free);
    CHECK(view.has_anomaly);
    CHECK(enter_in(bench, "BTC-USDT", "trade-2", "entry-2") == LK_CODE_OK);
    CHECK(bench->outcome.slot_index == 1);
    bench_free(bench);
}

static void test_overfill_is_folded_and_flagged_K03(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 12, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    CHECK(slot_of(bench, 0).is_overfilled && slot_of(bench, 0).qty.units == 12);
    leave(bench, "trade", "exit");
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 15, 1100) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.qty.units == -3 && !view.is_free);
    CHECK(view.realized_pnl.units == (int64_t)12 * 100 * 10000); /* what was closed, not what was too much */
    CHECK(leave(bench, "trade", "exit-2") == LK_CODE_NO_OPEN_POSITION);
    bench_free(bench);
}

static void test_exit_that_could_close_too_much_is_held_to_the_position(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    report(bench, "exit", LK_FACT_CANCELED);
    leave(bench, "trade", "exit-2");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 4, 1000); /* late, of the canceled one */
    CHECK(anomaly_count(bench, LK_CODE_LATE_FILL) == 1);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_EXCEEDS_POSITION) == 1);
    const lk_event_t *command = event_of(bench, LK_EVENT_COMMAND, 0);
    CHECK(command->command == LK_COMMAND_CANCEL && strcmp(command->client_order_id.text, "exit-2") == 0);
    bench_free(bench);
}

static void test_fill_without_identity_is_routed_by_stage_and_counted_K07(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "", "e1", LK_SIDE_BUY, 10, 1000);
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_ROUTED_BY_STAGE) == 1);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->flags & LK_EVENT_ROUTED_BY_STAGE);
    CHECK(account_of(bench).fills_routed_by_stage_count == 1);
    input = fill_input(bench, "", "x1", LK_SIDE_SELL, 4, 1000); /* nobody of ours left: still a fact */
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).qty.units == 6);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x2", LK_SIDE_SELL, 6, 1000);
    enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    fill(bench, "exit", "x3", LK_SIDE_SELL, 1, 1000); /* too late and too much: the first trade is open again */
    input = fill_input(bench, "", "e2", LK_SIDE_BUY, 10, 1000); /* two slots of one symbol: whose is it? */
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_UNRESOLVED_SLOT);
    bench_free(bench);
}

static void test_leverage_changes_no_pnl_K04(void)
{
    int64_t realized[2];
    for (uint32_t i = 0; i < 2; i++) {
        bench_t *bench = bench_new(1);
        lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_SELL, 1000);
        input.leverage = i == 0 ? 1 : 3;
        CHECK(apply(bench, &input) == LK_CODE_OK);
        CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->leverage == input.leverage);
        fill(bench, "entry", "e1", LK_SIDE_SELL, 1000, 1878);
        leave(bench, "trade", "exit");
        fill(bench, "exit", "x1", LK_SIDE_BUY, 1000, 1866);
        realized[i] = slot_of(bench, 0).realized_pnl.units;
        bench_free(bench);
    }
    CHECK(realized[0] == 120000000 && realized[1] == realized[0]);
}

static void test_mark_values_a_position_and_never_becomes_its_basis_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 100);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = symbol_of("FET-USDT");
    mark.price.units = 990;
    mark.price_scale = 4;
    mark.flags = LK_HAS_PRICE;
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 60, 0);
    CHECK(anomaly_count(bench, LK_CODE_ENTRY_BASIS_MISSING) == 1);
    CHECK(slot_of(bench, 0).entry_basis_missing && !slot_of(bench, 0).has_entry_price);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 0);
    lk_input_t correction = input_of(bench, LK_INPUT_CORRECTION); /* the venue finds its price */
    correction.execution_id = id_of("e1");
    correction.qty.units = 60;
    correction.price.units = 1000;
    correction.price_scale = 4;
    correction.flags = LK_HAS_QTY | LK_HAS_PRICE;
    CHECK(apply(bench, &correction) == LK_CODE_OK);
    CHECK(!slot_of(bench, 0).entry_basis_missing);
    CHECK(slot_of(bench, 0).entry_price.units == 10000000);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == (int64_t)60 * 10 * 10000); /* a short gains as the mark falls */
    CHECK(account_of(bench).equity.units == account_of(bench).capital.units + (int64_t)60 * 10 * 10000);
    bench_free(bench);
}

static void test_bust_takes_a_fill_back(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 1100);
    CHECK(slot_of(bench, 0).is_free);
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("x1");
    CHECK(apply(bench, &bust) == LK_CODE_OK);
    const lk_event_t *event = event_of(bench, LK_EVENT_FILL_BOOKED, 0);
    CHECK((event->flags & LK_EVENT_BUSTED) && event->realized_pnl.units == -10000000);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.qty.units == 10 && view.realized_pnl.units == 0 && !view.is_free);
    CHECK(view.stage == LK_STAGE_POSITION_OPEN);
    bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("x1");
    CHECK(apply(bench, &bust) == LK_CODE_DUPLICATE_EVENT);
    CHECK(leave(bench, "trade", "exit-2") == LK_CODE_OK);
    fill(bench, "exit-2", "x2", LK_SIDE_SELL, 10, 1050);
    CHECK(slot_of(bench, 0).realized_pnl.units == 5000000);
    CHECK(account_of(bench).realized_pnl.units == 5000000);
    bench_free(bench);
}

static lk_code_t bust_of(bench_t *bench, const char *execution_id)
{
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of(execution_id);
    return apply(bench, &bust);
}

/* All of the entry had traded, so it is over at the venue, whatever is taken back: nothing may wait for it. */
static void test_an_order_that_was_filled_stays_filled_after_a_bust(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    CHECK(bust_of(bench, "e1") == LK_CODE_OK);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.qty.units == 0 && view.entry.cum_qty.units == 0);
    CHECK(view.entry.is_filled && view.stage == LK_STAGE_TERMINAL_WRITTEN && view.is_free);
    bench_free(bench);
}

/* Bought at 10 and 12, a half of a half left without a price, then the dearer purchase is taken back: the exit had
 * taken its cost at 11, and that is averaged again with the rest. It used to be booked as a profit. */
static void test_bust_of_an_entry_books_nothing_for_a_skipped_exit_K08_K09(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 200);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 100, 1200);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 50, 0);
    CHECK(bust_of(bench, "e2") == LK_CODE_OK);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0);
    fill(bench, "exit", "x2", LK_SIDE_SELL, 50, 1300);
    CHECK(slot_of(bench, 0).realized_pnl.units == 50 * 300 * 10000);
    CHECK(slot_of(bench, 0).qty.units == 0);
    CHECK(bust_of(bench, "x1") == LK_CODE_OK); /* the skipped exit itself, later */
    CHECK(slot_of(bench, 0).realized_pnl.units == 50 * 300 * 10000);
    CHECK(!slot_of(bench, 0).realized_skipped_no_price);
    bench_free(bench);
}

/* Beyond flat: what is left over is taken to be the part without a figure. */
static void test_bust_beyond_flat_keeps_what_was_realized_with_figures_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 20);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 10, 1000);
    fill(bench, "entry", "e2", LK_SIDE_SELL, 10, 1000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 15, 900);
    fill(bench, "exit", "x2", LK_SIDE_BUY, 5, 0);
    CHECK(slot_of(bench, 0).realized_pnl.units == 15 * 100 * 10000);
    CHECK(bust_of(bench, "e2") == LK_CODE_OK); /* 10 sold, 15 bought at a price and 5 without: 10 too many */
    CHECK(slot_of(bench, 0).qty.units == 10);
    CHECK(slot_of(bench, 0).realized_pnl.units == 10 * 100 * 10000);
    bench_free(bench);
}

/* Three faults at once: what an exit without a price sold beyond flat has no cost, and the entry that closes it used to
 * book its whole notional as a loss. */
static void test_entry_that_closes_a_surplus_without_a_price_books_nothing_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 5, 10000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 0);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = slot_of(bench, 0).symbol;
    mark.price.units = 100;
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).mark.units != 0);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 0);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 2, 10000);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0);
    fill(bench, "entry", "e3", LK_SIDE_BUY, 3, 10000);
    CHECK(slot_of(bench, 0).qty.units == 0 && slot_of(bench, 0).realized_pnl.units == 0);
    bench_free(bench);
}

/* More without a figure than there is to close: nothing is matched, and nothing booked. */
static void test_bust_with_fewer_figures_than_closed_books_nothing_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 5, 1000);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 5, 0);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 6, 1100); /* skipped: the basis is missing */
    fill(bench, "exit", "x2", LK_SIDE_SELL, 4, 1100);
    CHECK(bust_of(bench, "x2") == LK_CODE_OK);
    CHECK(slot_of(bench, 0).qty.units == 4);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0);
    bench_free(bench);
}

/* What does not divide: one left open, one too many, and the whole trade is exact all the same. */
static void test_bust_averages_what_does_not_divide_and_the_whole_trade_is_exact_K04(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 5);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 2, 1001);
    fill(bench, "entry", "e3", LK_SIDE_BUY, 1, 1004);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 2, 1100);
    CHECK(bust_of(bench, "e3") ==
          LK_CODE_OK); /* one is open: cost 3002 / 3, rounded down; 2 of 3 are closed, rounded up */
    CHECK(slot_of(bench, 0).qty.units == 1);
    CHECK(slot_of(bench, 0).realized_pnl.units == 22000000 - 20013334);
    fill(bench, "exit", "x2", LK_SIDE_SELL, 1, 1101);
    CHECK(slot_of(bench, 0).realized_pnl.units == 33010000 - 30020000);
    CHECK(bust_of(bench, "e1") ==
          LK_CODE_OK); /* one too many: proceeds 3301 / 3 of it, rounded up; the rest are 2 of 3 */
    CHECK(slot_of(bench, 0).qty.units == -1);
    CHECK(slot_of(bench, 0).realized_pnl.units == 22006666 - 20020000);
    fill(bench, "entry", "e4", LK_SIDE_BUY, 1, 1002);
    CHECK(slot_of(bench, 0).qty.units == 0);
    CHECK(slot_of(bench, 0).realized_pnl.units == 33010000 - 30040000);
    bench_free(bench);
}

/* Each exit order for itself has room; together what is beyond flat would not fit. */
static void test_surplus_that_would_not_fit_is_refused_and_changes_nothing_K20(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 10000);
    leave(bench, "trade", "exit");
    report(bench, "exit", LK_FACT_CANCELED);
    leave(bench, "trade", "exit-2");
    fill(bench, "exit", "x1", LK_SIDE_SELL, INT64_MAX, 0);
    CHECK(slot_of(bench, 0).qty.units == -(INT64_MAX - 10));
    digest_t before = digest_of(bench);
    CHECK(fill(bench, "exit-2", "x2", LK_SIDE_SELL, 11, 0) == LK_CODE_OVERFLOW);
    CHECK(same_digest(before, digest_of(bench)));
    bench_free(bench);
}

/* With a figure is closed first: the cost of a surplus does not go to its part without one. */
static void test_surplus_with_a_price_is_closed_before_one_without_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 20);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 3, 0);
    fill(bench, "exit", "x2", LK_SIDE_SELL, 12, 1100); /* 7 of it close, 5 go beyond flat at 11 */
    fill(bench, "exit", "x3", LK_SIDE_SELL, 2, 0);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 6, 1050); /* 5 at 11 against 10.50, and one against nothing */
    CHECK(slot_of(bench, 0).realized_pnl.units == (7 * 100 + 5 * 50) * 10000);
    fill(bench, "entry", "e3", LK_SIDE_BUY, 1, 1050);
    CHECK(slot_of(bench, 0).qty.units == 0);
    CHECK(slot_of(bench, 0).realized_pnl.units == (7 * 100 + 5 * 50) * 10000);
    bench_free(bench);
}

static void test_exit_legs_are_shares_of_what_remains_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 100);
    input.exit_leg_bps[0] = 5000;
    input.exit_leg_bps[1] = 3333;
    input.exit_leg_bps[2] = 10000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    leave(bench, "trade", "exit-1");
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 50);
    fill(bench, "exit-1", "x1", LK_SIDE_SELL, 50, 1000);
    CHECK(slot_of(bench, 0).active_leg_index == 1);
    leave(bench, "trade", "exit-2");
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 16);
    fill(bench, "exit-2", "x2", LK_SIDE_SELL, 16, 1000);
    leave(bench, "trade", "exit-3");
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 34);
    bench_free(bench);
}

static lk_code_t leave_with_qty(bench_t *bench, const char *order_id, int64_t qty)
{
    lk_input_t input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of(order_id);
    input.qty.units = qty;
    input.flags = LK_HAS_QTY;
    return apply(bench, &input);
}

static void test_malformed_exit_size_is_the_whole_remainder_K19_K20(void)
{
    static const int64_t MALFORMED[] = {0, -5, 101, INT64_MIN, INT64_MAX};
    bench_t *bench = bench_new(1);
    char order_id[8] = "exit-0";
    enter(bench, "trade", "entry", LK_SIDE_BUY, 100);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    for (uint32_t i = 0; i < sizeof MALFORMED / sizeof *MALFORMED; i++) {
        order_id[5] = (char)('0' + i);
        CHECK(leave_with_qty(bench, order_id, MALFORMED[i]) == LK_CODE_OK);
        const lk_event_t *command = event_of(bench, LK_EVENT_COMMAND, 0);
        CHECK(command->qty.units == 100 && command->open_qty.units == 100);
        CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1);
        report(bench, order_id, LK_FACT_DENIED);
    }
    CHECK(leave_with_qty(bench, "exit-x", 40) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 40);
    CHECK(leave(bench, "trade", "exit-y") == LK_CODE_EXIT_PENDING);
    bench_free(bench);
}

static void test_flatten_leaves_every_trade_in_scope(void)
{
    bench_t *bench = bench_new(4);
    enter(bench, "t0", "entry-0", LK_SIDE_BUY, 10);
    fill(bench, "entry-0", "e0", LK_SIDE_BUY, 10, 1000);
    enter_in(bench, "BTC-USDT", "t1", "entry-1");
    lk_input_t short_entry = enter_input(bench, "t2", "entry-2", LK_SIDE_SELL, 10);
    short_entry.symbol = symbol_of("ETH-USDT");
    apply(bench, &short_entry);
    fill(bench, "entry-2", "e2", LK_SIDE_SELL, 4, 1000);
    lk_input_t input = input_of(bench, LK_INPUT_FLATTEN);
    input.client_order_id = id_of("root");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(strcmp(event_of(bench, LK_EVENT_COMMAND, 0)->client_order_id.text, "root-00") == 0);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->qty.units == 10);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 1)->command == LK_COMMAND_CANCEL);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 2)->command == LK_COMMAND_CANCEL);
    CHECK(strcmp(event_of(bench, LK_EVENT_COMMAND, 3)->client_order_id.text, "root-02") == 0);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 3)->side == LK_SIDE_BUY);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 3)->qty.units == 4);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 4) == NULL);
    CHECK(bench->outcome.changed_slots[0] == 7);
    bench_free(bench);
}

static void test_frozen_account_takes_no_entry_and_every_exit_K14_K20(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    lk_input_t freeze = input_of(bench, LK_INPUT_FREEZE);
    CHECK(apply(bench, &freeze) == LK_CODE_OK);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_ENTRY_FROZEN);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    lk_input_t unfreeze = input_of(bench, LK_INPUT_UNFREEZE);
    CHECK(apply(bench, &unfreeze) == LK_CODE_OK);
    CHECK(enter_in(bench, "BTC-USDT", "trade-2", "entry-2") == LK_CODE_OK);
    bench_free(bench);
}

static void test_adopted_position_books_only_what_comes_after_K12(void)
{
    bench_t *bench = bench_new(2);
    lk_input_t input = input_of(bench, LK_INPUT_ADOPT);
    input.trade_id = id_of("adopted");
    input.symbol = symbol_of("FET-USDT");
    input.price_scale = 4;
    input.tick_units = input.lot_units = input.multiplier = 1;
    input.qty.units = -202276;
    input.price.units = 1878;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.stage == LK_STAGE_POSITION_OPEN && view.qty.units == -202276 && view.is_adopted);
    CHECK(view.entry_price.units == 18780000);
    CHECK(account_of(bench).realized_pnl.units == 0);
    CHECK(leave(bench, "adopted", "exit") == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->side == LK_SIDE_BUY);
    fill(bench, "exit", "x1", LK_SIDE_BUY, 202276, 1866);
    CHECK(account_of(bench).realized_pnl.units == 24273120000);
    bench_free(bench);
}

int main(void)
{
    RUN(test_clean_exit_realizes_to_the_unit_K22);
    RUN(test_price_less_leg_books_zero_until_it_is_settled_K08_K09_K22);
    RUN(test_settlement_of_a_priced_leg_is_compared_and_never_booked_again_K09);
    RUN(test_entry_price_is_volume_weighted_over_all_entry_fills_K06);
    RUN(test_late_entry_fill_while_leaving_extends_the_entry_K07);
    RUN(test_fill_after_cancel_is_counted_flagged_and_found_in_its_free_slot_K03);
    RUN(test_overfill_is_folded_and_flagged_K03);
    RUN(test_exit_that_could_close_too_much_is_held_to_the_position);
    RUN(test_fill_without_identity_is_routed_by_stage_and_counted_K07);
    RUN(test_leverage_changes_no_pnl_K04);
    RUN(test_mark_values_a_position_and_never_becomes_its_basis_K08);
    RUN(test_bust_takes_a_fill_back);
    RUN(test_an_order_that_was_filled_stays_filled_after_a_bust);
    RUN(test_bust_of_an_entry_books_nothing_for_a_skipped_exit_K08_K09);
    RUN(test_bust_beyond_flat_keeps_what_was_realized_with_figures_K08);
    RUN(test_entry_that_closes_a_surplus_without_a_price_books_nothing_K08);
    RUN(test_bust_with_fewer_figures_than_closed_books_nothing_K08);
    RUN(test_bust_averages_what_does_not_divide_and_the_whole_trade_is_exact_K04);
    RUN(test_surplus_that_would_not_fit_is_refused_and_changes_nothing_K20);
    RUN(test_surplus_with_a_price_is_closed_before_one_without_K08);
    RUN(test_exit_legs_are_shares_of_what_remains_K19);
    RUN(test_malformed_exit_size_is_the_whole_remainder_K19_K20);
    RUN(test_flatten_leaves_every_trade_in_scope);
    RUN(test_frozen_account_takes_no_entry_and_every_exit_K14_K20);
    RUN(test_adopted_position_books_only_what_comes_after_K12);
    return 0;
}
