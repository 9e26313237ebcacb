/* What went wrong elsewhere, and what it cost: each defect as a test that its old behavior fails. */
#include "harness.h"

#define WALLET ((int64_t)1000000 * UNIT)

static bench_t *fet_short(uint32_t leverage)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "fet", "entry", LK_SIDE_SELL, 202276);
    input.leverage = leverage;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_SELL, 195259, 1878) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e2", LK_SIDE_SELL, 7017, 1878) == LK_CODE_OK);
    return bench;
}

/* A maker entry fills, the list of open orders no longer has it, the list of fills lags: read as a cancel, the slot was
 * freed and the next scan entered again. */
static void test_fill_that_a_rest_snapshot_lags_behind_leaves_no_room_for_a_second_entry_K02_X10(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 10);
    report(bench, "entry", LK_FACT_ACKNOWLEDGED);
    report(bench, "entry", LK_FACT_ACKNOWLEDGED);
    CHECK(enter(bench, "again", "entry-2", LK_SIDE_SELL, 10) == LK_CODE_SYMBOL_BUSY); /* at work */
    fill(bench, "entry", "e1", LK_SIDE_SELL, 10, 1000);
    CHECK(report(bench, "entry", LK_FACT_CANCELED) == LK_CODE_ILLEGAL_TRANSITION); /* all of it has traded */
    CHECK(slot_of(bench, 0).qty.units == -10);
    CHECK(enter(bench, "again", "entry-2", LK_SIDE_SELL, 10) == LK_CODE_SYMBOL_BUSY);
    CHECK(account_of(bench).open_slot_count == 1);
    bench_free(bench);
}

/* The same, the wrong cancel first: the fill that follows brings the trade back before anybody can enter twice. */
static void test_fill_after_a_misread_cancel_takes_the_symbol_back_K03_X10(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 10);
    report(bench, "entry", LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).is_free);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 10, 1000);
    CHECK(anomaly_count(bench, LK_CODE_LATE_FILL) == 1);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_OPEN);
    CHECK(enter(bench, "again", "entry-2", LK_SIDE_SELL, 10) == LK_CODE_SYMBOL_BUSY);
    bench_free(bench);
}

/* The settle baseline was empty after each restart, so that what a trade had realized was settled once more. */
static void test_pnl_carried_over_a_restart_is_not_settled_again_K12_K21(void)
{
    bench_t *bench = fet_short(1);
    leave(bench, "fet", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    int64_t realized = account_of(bench).realized_pnl.units;
    CHECK(realized == 3120840000);
    restart(bench);
    CHECK(account_of(bench).realized_pnl.units == realized);
    CHECK(account_of(bench).capital.units == WALLET + realized);
    fill(bench, "exit", "x2", LK_SIDE_BUY, 176269, 1866);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->realized_pnl.units == 21152280000); /* the increment */
    CHECK(account_of(bench).realized_pnl.units == 24273120000);
    CHECK(fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866) == LK_CODE_DUPLICATE_EVENT); /* told again at the start */
    bench_free(bench);
}

/* A position adopted at the start brings its size and basis, and no PnL. */
static void test_adopted_position_settles_only_what_comes_after_K12(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t adopt = enter_input(bench, "fet", "", LK_SIDE_NONE, -176269);
    adopt.kind = LK_INPUT_ADOPT;
    adopt.price.units = 1878;
    CHECK(apply(bench, &adopt) == LK_CODE_OK);
    CHECK(account_of(bench).realized_pnl.units == 0);
    CHECK(account_of(bench).capital.units == WALLET);
    CHECK(leave(bench, "fet", "exit") == LK_CODE_OK);
    fill(bench, "exit", "x1", LK_SIDE_BUY, 176269, 1866);
    CHECK(account_of(bench).realized_pnl.units == 21152280000);
    bench_free(bench);
}

/* Frames about positions only carry no balance, and were folded as a balance of nothing. */
static void test_zero_wallet_frame_moves_no_anchor_and_no_available_K16(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t frame = input_of(bench, LK_INPUT_BALANCE);
    frame.amount.units = WALLET;
    frame.available.units = WALLET / 2;
    frame.flags = LK_HAS_AVAILABLE;
    CHECK(apply(bench, &frame) == LK_CODE_OK);
    digest_t before = digest_of(bench);
    frame = input_of(bench, LK_INPUT_BALANCE);
    frame.flags = LK_HAS_AVAILABLE;
    CHECK(apply(bench, &frame) == LK_CODE_BALANCE_WITHOUT_WALLET);
    CHECK(same_digest(before, digest_of(bench)));
    CHECK(account_of(bench).available.units == WALLET / 2);
    CHECK(account_of(bench).capital.units == WALLET);
    CHECK(account_of(bench).freeze_flags == 0);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    bench_free(bench);
}

/* Another system's fills came by the same stream: folded, they left a difference that stayed. */
static void test_fill_of_another_system_is_nobody_s_here_K11_X11(void)
{
    bench_t *bench = fet_short(1);
    balance(bench, WALLET);
    digest_t before = digest_of(bench);
    lk_input_t input = fill_input(bench, "stranger", "s1", LK_SIDE_BUY, 500, 1866);
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_UNRESOLVED_SLOT);
    CHECK(same_digest(before, digest_of(bench)));
    CHECK(slot_of(bench, 0).qty.units == -202276);
    input = input_of(bench, LK_INPUT_FOREIGN);
    input.symbol = symbol_of("BTC-USDT");
    input.amount.units = -250 * (int64_t)UNIT;
    input.flags = LK_HAS_AMOUNT;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    balance(bench, WALLET - 250 * (int64_t)UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    CHECK(account_of(bench).realized_pnl.units == 0);
    CHECK(account_of(bench).freeze_flags == 0);
    bench_free(bench);
}

/* The protective bound of a market order, 22 % off, was booked as the fill's price: -3,214.47 on this leg, times three.
 */
static void test_fill_without_a_true_price_books_nothing_until_the_venue_says_K08_K09_K22(void)
{
    bench_t *bench = fet_short(3);
    lk_input_t asked = input_of(bench, LK_INPUT_EXIT);
    asked.trade_id = id_of("fet");
    asked.client_order_id = id_of("exit");
    asked.order_type = LK_ORDER_TYPE_LIMIT;
    asked.price.units = 2290; /* the bound is the order's */
    asked.price_scale = 4;
    asked.flags = LK_HAS_PRICE;
    CHECK(apply(bench, &asked) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->price.units == 2290);
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 0);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->realized_pnl.units == 0);
    CHECK((event_of(bench, LK_EVENT_FILL_BOOKED, 0)->flags & LK_EVENT_HAS_PRICE) == 0);
    CHECK(!slot_of(bench, 0).exit.has_average_price);
    CHECK(slot_of(bench, 0).realized_skipped_no_price);
    CHECK(settle(bench, "x1", (int64_t)164 * UNIT) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)164 * UNIT);
    CHECK(slot_of(bench, 0).pnl_source == LK_PNL_SOURCE_EXCHANGE);
    CHECK(account_of(bench).capital.units == WALLET + (int64_t)164 * UNIT);
    bench_free(bench);
}

/* The venue may say that it realized exactly nothing: that is a figure too. */
static void test_settlement_of_nothing_is_the_venue_s_figure_too_K09(void)
{
    bench_t *bench = fet_short(1);
    leave(bench, "fet", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 0);
    CHECK(settle(bench, "x1", 0) == LK_CODE_OK);
    CHECK(!slot_of(bench, 0).realized_skipped_no_price);
    CHECK(slot_of(bench, 0).pnl_source == LK_PNL_SOURCE_EXCHANGE);
    bench_free(bench);
}

/* A mark stood in for a missing entry price, and PnL was counted from it. */
static void test_mark_never_stands_in_for_a_missing_basis_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 0);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = symbol_of("FET-USDT");
    mark.price.units = 5000;
    mark.price_scale = 4;
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).entry_basis_missing);
    CHECK(!slot_of(bench, 0).has_entry_price && !slot_of(bench, 0).has_conviction);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 0);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 6000);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0);
    CHECK(slot_of(bench, 0).realized_skipped_no_price);
    bench_free(bench);
}

/* Quantity is the venue's already: multiplied by leverage, each leg was three times itself. */
static void test_leverage_inflates_neither_realized_nor_unrealized_pnl_K04_K22(void)
{
    for (uint32_t leverage = 1; leverage <= 3; leverage++) {
        bench_t *bench = fet_short(leverage);
        lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
        mark.symbol = symbol_of("FET-USDT");
        mark.price.units = 1866;
        mark.price_scale = 4;
        CHECK(apply(bench, &mark) == LK_CODE_OK);
        CHECK(slot_of(bench, 0).leverage == leverage);
        CHECK(slot_of(bench, 0).unrealized_pnl.units == 24273120000);
        leave(bench, "fet", "exit");
        fill(bench, "exit", "x1", LK_SIDE_BUY, 202276, 1866);
        CHECK(account_of(bench).realized_pnl.units == 24273120000);
        bench_free(bench);
    }
}

/* A fill while an exit was at work was taken for the exit's, whoever's order it was. */
static void test_late_entry_fill_while_an_exit_works_extends_the_entry_K07(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 6, 1000);
    leave(bench, "trade", "exit"); /* takes back the entry's rest, and leaves 6 */
    fill(bench, "exit", "x1", LK_SIDE_SELL, 2, 1100);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_EXIT_WORKING);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 4, 1200);
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(view.stage == LK_STAGE_EXIT_WORKING);
    CHECK(view.entry_qty.units == 10 && view.exit_qty.units == 2 && view.qty.units == 8);
    CHECK(view.entry_price.units == 10800000); /* (6 x 0.10 + 4 x 0.12) / 10 = 0.108 */
    CHECK(view.exit.cum_qty.units == 2);
    CHECK(!view.is_overfilled);
    bench_free(bench);
}

/* More positions at the venue than slots: the rest was neither traded nor reported. */
static void test_position_without_a_slot_is_an_orphan_by_name_and_never_traded_X13(void)
{
    bench_t *bench = fet_short(1);
    digest_t before = digest_of(bench);
    lk_input_t adopt = enter_input(bench, "orphan", "", LK_SIDE_NONE, -777);
    adopt.kind = LK_INPUT_ADOPT;
    adopt.symbol = symbol_of("ALGO-USDT");
    adopt.price.units = 1878;
    CHECK(apply(bench, &adopt) == LK_CODE_ORPHAN_POSITION);
    CHECK(bench->outcome.severity == LK_SEVERITY_CRITICAL);
    CHECK(bench->outcome.field == LK_FIELD_QTY && bench->outcome.value == -777);
    CHECK(bench->outcome.slot_index == LK_NO_SLOT);
    CHECK(same_digest(before, digest_of(bench)));
    lk_input_t flatten = input_of(bench, LK_INPUT_FLATTEN);
    flatten.client_order_id = id_of("flatten");
    CHECK(apply(bench, &flatten) == LK_CODE_OK);
    for (uint32_t i = 0; event_of(bench, LK_EVENT_COMMAND, i) != NULL; i++) {
        CHECK(strcmp(event_of(bench, LK_EVENT_COMMAND, i)->trade_id.text, "fet") == 0);
    }
    bench_free(bench);
}

static lk_input_t entry_in_legs(bench_t *bench)
{
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    input.exit_leg_bps[0] = 2500;
    input.exit_leg_bps[1] = 5000;
    input.exit_leg_bps[2] = 10000;
    return input;
}

static int64_t leg_asked(const bench_t *bench)
{
    return event_of(bench, LK_EVENT_COMMAND, 0)->qty.units;
}

/* The position was rebuilt at each step with its leg at 0: every leg took the first's share and a rest was stranded. */
static void test_leg_index_survives_refusals_and_restarts_K19_K21(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = entry_in_legs(bench);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 1000);
    leave(bench, "trade", "exit-1");
    CHECK(leg_asked(bench) == 250);
    fill(bench, "exit-1", "x1", LK_SIDE_SELL, 250, 1100);
    CHECK(slot_of(bench, 0).active_leg_index == 1);
    restart(bench);
    CHECK(slot_of(bench, 0).active_leg_index == 1);
    leave(bench, "trade", "exit-2");
    CHECK(leg_asked(bench) == 375);
    report(bench, "exit-2", LK_FACT_REJECTED); /* the leg is still to come */
    CHECK(slot_of(bench, 0).active_leg_index == 1);
    leave(bench, "trade", "exit-3");
    CHECK(leg_asked(bench) == 375);
    fill(bench, "exit-3", "x3", LK_SIDE_SELL, 375, 1100);
    restart(bench);
    leave(bench, "trade", "exit-4");
    CHECK(leg_asked(bench) == 375); /* the last takes all that remains */
    fill(bench, "exit-4", "x4", LK_SIDE_SELL, 375, 1100);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_TERMINAL_WRITTEN);
    CHECK(slot_of(bench, 0).qty.units == 0);
    bench_free(bench);
}

/* One fill with an odd fee, taken as a sample, bent every prediction after it. */
static void test_one_odd_fee_does_not_poison_the_predictions_K17(void)
{
    bench_t *bench = fee_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    fill_with_fee(bench, "entry", "odd", LK_SIDE_BUY, 10, 1000, LK_LIQUIDITY_TAKER, 20000); /* a maker's fee, told as a
                                                                                             taker's: 60 % off */
    CHECK(account_of(bench).taker_fee.refused_count == 1);
    CHECK(account_of(bench).taker_fee.ratio == 100000000);
    fill(bench, "entry", "next", LK_SIDE_BUY, 10, 1000);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->fee.units == 50000);
    bench_free(bench);
}

/* Published capital knew no fees between two frames. */
static void test_capital_is_not_blind_to_fees_between_frames_K13(void)
{
    bench_t *bench = fee_bench();
    balance(bench, WALLET);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10000);
    CHECK(account_of(bench).capital.units == WALLET - 50000000);
    bench_free(bench);
}

/* Seeded with a constant, the first frame of the venue looked like a loss, and every start was frozen. */
static void test_first_frame_anchors_and_freezes_nothing_whatever_the_seed_was_K13(void)
{
    bench_t *bench = fee_bench();
    balance(bench, WALLET / 4);
    CHECK(account_of(bench).freeze_flags == 0);
    CHECK(account_of(bench).capital.units == WALLET / 4);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_NONE);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    bench_free(bench);
}

/* A size that was no number refused to close, and left the position standing. */
static void test_malformed_exit_neither_strands_nor_overshoots_the_position_K19_K20(void)
{
    static const int64_t SIZES[] = {0, -1, INT64_MIN, INT64_MAX, 202277};
    for (uint32_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        bench_t *bench = fet_short(1);
        lk_input_t asked = input_of(bench, LK_INPUT_EXIT);
        asked.trade_id = id_of("fet");
        asked.client_order_id = id_of("exit");
        asked.qty.units = SIZES[i];
        asked.qty_scale = i == 3 ? 255 : 0;
        asked.flags = LK_HAS_QTY;
        CHECK(apply(bench, &asked) == LK_CODE_OK);
        CHECK(leg_asked(bench) == 202276);
        CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1);
        bench_free(bench);
    }
}

int main(void)
{
    RUN(test_fill_that_a_rest_snapshot_lags_behind_leaves_no_room_for_a_second_entry_K02_X10);
    RUN(test_fill_after_a_misread_cancel_takes_the_symbol_back_K03_X10);
    RUN(test_pnl_carried_over_a_restart_is_not_settled_again_K12_K21);
    RUN(test_adopted_position_settles_only_what_comes_after_K12);
    RUN(test_zero_wallet_frame_moves_no_anchor_and_no_available_K16);
    RUN(test_fill_of_another_system_is_nobody_s_here_K11_X11);
    RUN(test_fill_without_a_true_price_books_nothing_until_the_venue_says_K08_K09_K22);
    RUN(test_settlement_of_nothing_is_the_venue_s_figure_too_K09);
    RUN(test_mark_never_stands_in_for_a_missing_basis_K08);
    RUN(test_leverage_inflates_neither_realized_nor_unrealized_pnl_K04_K22);
    RUN(test_late_entry_fill_while_an_exit_works_extends_the_entry_K07);
    RUN(test_position_without_a_slot_is_an_orphan_by_name_and_never_traded_X13);
    RUN(test_leg_index_survives_refusals_and_restarts_K19_K21);
    RUN(test_one_odd_fee_does_not_poison_the_predictions_K17);
    RUN(test_capital_is_not_blind_to_fees_between_frames_K13);
    RUN(test_first_frame_anchors_and_freezes_nothing_whatever_the_seed_was_K13);
    RUN(test_malformed_exit_neither_strands_nor_overshoots_the_position_K19_K20);
    return 0;
}
