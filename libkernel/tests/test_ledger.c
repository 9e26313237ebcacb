/* The account: capital and its anchor, the bridge, the comparison with the venue's wallet and its causes (K13 to K18,
 * X11). */
#include "harness.h"

#define WALLET ((int64_t)1000000 * UNIT)
#define INTERVAL_NS 1000000

static void test_wallet_is_compared_before_it_becomes_the_anchor_K13_K14(void)
{
    bench_t *bench = fee_bench();
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_SEED);
    balance(bench, (int64_t)1000000 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_NONE);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_E_ANCHORED);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10000);
    input.fee.units = 7 * UNIT;
    input.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);
    CHECK(account_of(bench).capital.units == (int64_t)999993 * UNIT);
    balance(bench, (int64_t)999993 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    CHECK(account_of(bench).ledger_delta.units == 0);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 1000, 10100); /* + 10, fee predicted 0.505 */
    balance(bench, (int64_t)1000003 * UNIT - 60000000);   /* it was 0.6 */
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_FEE);
    CHECK(account_of(bench).ledger_delta.units == -9500000);
    bench_free(bench);
}

static void test_unexplained_difference_freezes_entries_until_the_books_agree_K14(void)
{
    bench_t *bench = fee_bench();
    balance(bench, (int64_t)1000000 * UNIT);
    balance(bench, (int64_t)1000000 * UNIT + UNIT / 2);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING);
    CHECK(anomaly_count(bench, LK_CODE_LEDGER_WARNING) == 1);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    balance(bench, (int64_t)999000 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_ERROR);
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_UNEXPLAINED);
    CHECK(account_of(bench).freeze_flags == LK_FREEZE_LEDGER);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_ENTRY_FROZEN);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    lk_input_t unfreeze = input_of(bench, LK_INPUT_UNFREEZE);
    CHECK(apply(bench, &unfreeze) == LK_CODE_OK);
    CHECK(account_of(bench).freeze_flags == LK_FREEZE_LEDGER);
    balance(bench, account_of(bench).capital.units + UNIT / 2);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING); /* better, and not yet good enough */
    CHECK(account_of(bench).freeze_flags == LK_FREEZE_LEDGER);
    balance(bench, account_of(bench).capital.units);
    CHECK(account_of(bench).freeze_flags == 0);
    CHECK(anomaly_count(bench, LK_CODE_LEDGER_RESTORED) == 1);
    bench_free(bench);
}

static void test_unsettled_fill_is_named_as_the_cause_K14(void)
{
    bench_t *bench = fee_bench();
    balance(bench, (int64_t)1000000 * UNIT);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 1000);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 1000, 10000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 1000, 0);
    balance(bench, (int64_t)1000100 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING);
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    CHECK(settle(bench, "x1", (int64_t)100 * UNIT) == LK_CODE_OK); /* its trade is over, and its money in the wallet */
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)100 * UNIT);
    CHECK(account_of(bench).capital.units == (int64_t)1000100 * UNIT);
    bench_free(bench);
}

static void test_watermark_says_which_fills_the_wallet_holds_K14(void)
{
    bench_t *bench = fee_bench();
    balance(bench, (int64_t)1000000 * UNIT);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 100);
    for (uint64_t i = 1; i <= 3; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 10, 10000);
        input.execution_id = numbered("e", i);
        input.fee.units = (int64_t)i * UNIT;
        input.flags |= LK_HAS_FEE;
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    lk_input_t frame = input_of(bench, LK_INPUT_BALANCE);
    frame.amount.units = (int64_t)999999 * UNIT; /* knows of the first only */
    frame.execution_watermark = 1;
    CHECK(apply(bench, &frame) == LK_CODE_OK);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    CHECK(account_of(bench).capital.units == (int64_t)999994 * UNIT);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);
    frame = input_of(bench, LK_INPUT_BALANCE);
    frame.amount.units = (int64_t)999990 * UNIT; /* knows of a fourth that we have not seen */
    frame.execution_watermark = 4;
    CHECK(apply(bench, &frame) == LK_CODE_OK);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING);
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    lk_input_t late = fill_input(bench, "entry", "e4", LK_SIDE_BUY, 10, 10000);
    late.fee.units = 4 * UNIT;
    late.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &late) == LK_CODE_OK);
    CHECK(account_of(bench).capital.units == (int64_t)999990 * UNIT); /* it was in the wallet already */
    balance(bench, (int64_t)999990 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    bench_free(bench);
}

static lk_code_t balance_at(bench_t *bench, int64_t wallet, uint64_t watermark)
{
    lk_input_t frame = input_of(bench, LK_INPUT_BALANCE);
    frame.amount.units = wallet;
    frame.execution_watermark = watermark;
    return apply(bench, &frame);
}

static void test_execution_that_is_not_ours_clouds_one_comparison_and_no_more_K14(void)
{
    bench_t *bench = fee_bench();
    int64_t wallet = (int64_t)1000000 * UNIT;
    balance_at(bench, wallet, 40); /* the account had 40 before us */
    enter(bench, "trade", "entry", LK_SIDE_BUY, 100);
    balance_at(bench, wallet -= 5 * UNIT, 41); /* somebody else traded on the account, and paid 5 */
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING);
    for (uint64_t i = 1; i <= 3; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 10, 10000);
        input.execution_id = numbered("e", i);
        input.fee.units = 7 * UNIT;
        input.flags |= LK_HAS_FEE;
        CHECK(apply(bench, &input) == LK_CODE_OK);
        balance_at(bench, wallet -= 7 * UNIT, i + 41);
        CHECK(account_of(bench).ledger_status == (i == 1 ? LK_LEDGER_WARNING : LK_LEDGER_OK));
        CHECK(account_of(bench).capital.units == wallet);
    }
    balance_at(bench, wallet -= 7 * UNIT, 44);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_ERROR);
    bench_free(bench);
}

static void test_funding_has_its_own_line_K18(void)
{
    bench_t *bench = fee_bench();
    balance(bench, (int64_t)1000000 * UNIT);
    lk_input_t funding = input_of(bench, LK_INPUT_FUNDING);
    funding.amount.units = -3 * UNIT;
    CHECK(apply(bench, &funding) == LK_CODE_OK);
    CHECK(account_of(bench).funding.units == -3 * UNIT);
    CHECK(account_of(bench).realized_pnl.units == 0);
    CHECK(account_of(bench).capital.units == (int64_t)999997 * UNIT);
    balance(bench, (int64_t)999997 * UNIT);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    bench_free(bench);
}

static lk_code_t fund(bench_t *bench, int64_t amount)
{
    lk_input_t input = input_of(bench, LK_INPUT_FUNDING);
    input.amount.units = amount;
    return apply(bench, &input);
}

static lk_input_t foreign_input(bench_t *bench, uint32_t flags, int64_t amount, int64_t fee)
{
    lk_input_t input = input_of(bench, LK_INPUT_FOREIGN);
    input.symbol = symbol_of("BTC-USDT");
    input.flags = flags;
    input.amount.units = amount;
    input.fee.units = fee;
    return input;
}

static lk_code_t foreign(bench_t *bench, uint32_t flags, int64_t amount, int64_t fee)
{
    lk_input_t input = foreign_input(bench, flags, amount, fee);
    return apply(bench, &input);
}

/* From here on inputs come at this time and later. */
static void move_time(bench_t *bench, int64_t now_ns)
{
    bench->step = (uint64_t)now_ns;
}

static bench_t *funded_bench(void)
{
    lk_config_t config = fee_config();
    config.funding_interval_ns = INTERVAL_NS;
    bench_t *bench = bench_with(&config);
    CHECK(balance(bench, WALLET) == LK_CODE_OK);
    return bench;
}

/* A position of 10, with a fee of nothing, so that only what a test does can make a difference. */
static void open_position(bench_t *bench)
{
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    CHECK(fill_with_fee(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000, LK_LIQUIDITY_NONE, 0) == LK_CODE_OK);
}

static void close_position(bench_t *bench)
{
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    CHECK(fill_with_fee(bench, "exit", "x1", LK_SIDE_SELL, 10, 1000, LK_LIQUIDITY_NONE, 0) == LK_CODE_OK);
}

static void check_status(const bench_t *bench, lk_ledger_status_t status, lk_ledger_cause_t cause)
{
    CHECK(account_of(bench).ledger_status == status);
    CHECK(account_of(bench).ledger_cause == cause);
}

static void test_funding_that_was_due_and_not_told_is_the_cause_K14(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    move_time(bench, INTERVAL_NS - 1);
    balance(bench, WALLET - 50 * (int64_t)UNIT); /* its time is reached by this very frame */
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FUNDING);
    CHECK(account_of(bench).freeze_flags == 0);
    CHECK(anomaly_count(bench, LK_CODE_LEDGER_WARNING) == 1);
    balance(bench, WALLET - 90 * (int64_t)UNIT); /* it explains one comparison */
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    balance(bench, WALLET - 90 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    move_time(bench, 2 * INTERVAL_NS);
    balance(bench, WALLET - 95 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FUNDING);
    bench_free(bench);
}

static void test_funding_that_was_told_excuses_nothing_more_K14_K18(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    move_time(bench, INTERVAL_NS);
    CHECK(fund(bench, -5 * (int64_t)UNIT) == LK_CODE_OK);
    balance(bench, WALLET - 5 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    move_time(bench, 2 * INTERVAL_NS);
    CHECK(fund(bench, -5 * (int64_t)UNIT) == LK_CODE_OK);
    balance(bench, WALLET - 50 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_funding_is_due_only_for_a_position_held_at_its_time_K14(void)
{
    bench_t *bench = funded_bench();
    move_time(bench, INTERVAL_NS);
    open_position(bench); /* after the time */
    balance(bench, WALLET - 50 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    close_position(bench); /* before the next */
    move_time(bench, 2 * INTERVAL_NS);
    balance(bench, WALLET - 99 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_position_closed_by_the_first_input_after_the_time_was_held_K14(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    move_time(bench, INTERVAL_NS + 5);
    fill_with_fee(bench, "exit", "x1", LK_SIDE_SELL, 10, 1000, LK_LIQUIDITY_NONE, 0);
    CHECK(slot_of(bench, 0).is_free);
    balance(bench, WALLET - 50 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FUNDING);
    bench_free(bench);
}

static void test_without_an_interval_funding_is_never_due_K14(void)
{
    bench_t *bench = fee_bench();
    balance(bench, WALLET);
    open_position(bench);
    move_time(bench, INT64_MAX / 2);
    balance(bench, WALLET - 50 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    move_time(bench, INT64_MAX - 1); /* not even at the end of time */
    balance(bench, WALLET - 99 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_refused_input_does_not_move_the_funding_clock_K14(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    digest_t before = digest_of(bench);
    move_time(bench, 5 * INTERVAL_NS);
    CHECK(leave(bench, "stranger", "exit") == LK_CODE_UNRESOLVED_SLOT);
    CHECK(same_digest(before, digest_of(bench)));
    move_time(bench, INTERVAL_NS / 2);
    balance(bench, WALLET - 50 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_funding_clock_ends_where_time_does(void)
{
    bench_t *bench = funded_bench();
    lk_input_t input = input_of(bench, LK_INPUT_TICK);
    open_position(bench);
    input.now_ns = INT64_MAX - 1; /* the next multiple would not fit */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input.now_ns = INT64_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bench_free(bench);
}

static void test_foreign_amount_and_fee_are_bridged_exactly_and_into_no_trade_K14_X11(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    CHECK(foreign(bench, LK_HAS_AMOUNT | LK_HAS_FEE, -700 * (int64_t)UNIT, 3 * UNIT) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FOREIGN_ACTIVITY) == 1);
    CHECK(anomaly_count(bench, LK_CODE_FOREIGN_IN_SYMBOL) == 0);
    lk_account_view_t view = account_of(bench);
    CHECK(view.foreign.units == -703 * (int64_t)UNIT);
    CHECK(view.foreign_count == 1);
    CHECK(view.capital.units == WALLET - 703 * (int64_t)UNIT);
    CHECK(view.capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);
    CHECK(view.realized_pnl.units == 0 && view.fees.units == 0);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0 && slot_of(bench, 0).fees.units == 0); /* X05: its feedback too */
    balance(bench, WALLET - 703 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    CHECK(account_of(bench).ledger_delta.units == 0);
    balance(bench, WALLET - 900 * (int64_t)UNIT); /* an exact one excuses nothing */
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_foreign_activity_without_an_amount_explains_one_comparison_K14_X11(void)
{
    bench_t *bench = funded_bench();
    CHECK(foreign(bench, LK_HAS_FEE, 0, UNIT) == LK_CODE_OK);
    CHECK(account_of(bench).foreign.units == -UNIT);
    balance(bench, WALLET - 700 * (int64_t)UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FOREIGN_ACTIVITY);
    CHECK(account_of(bench).ledger_delta.units == -699 * (int64_t)UNIT);
    CHECK(account_of(bench).freeze_flags == 0);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    balance(bench, WALLET);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

static void test_foreign_activity_in_the_symbol_of_an_open_trade_is_flagged_on_it_X11(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    lk_input_t input = foreign_input(bench, LK_HAS_AMOUNT, 0, 0);
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FOREIGN_ACTIVITY) == 1);
    CHECK(anomaly_count(bench, LK_CODE_FOREIGN_IN_SYMBOL) == 1);
    CHECK(bench->outcome.slot_index == 0);
    CHECK(slot_of(bench, 0).has_anomaly);
    CHECK(slot_of(bench, 0).qty.units == 10);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_E_ANCHORED); /* nothing was bridged */
    close_position(bench);
    input = foreign_input(bench, 0, 0, 0);
    input.symbol = symbol_of("FET-USDT");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FOREIGN_IN_SYMBOL) == 0);
    memset(&input, 0, sizeof input);
    input = foreign_input(bench, 0, 0, 0);
    memset(&input.symbol, 0, sizeof input.symbol); /* unattributable to a symbol */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(account_of(bench).foreign_count == 3);
    bench_free(bench);
}

static void test_foreign_figures_that_do_not_fit_are_refused_K20(void)
{
    bench_t *bench = funded_bench();
    digest_t before = digest_of(bench);
    CHECK(foreign(bench, LK_HAS_AMOUNT | LK_HAS_FEE, INT64_MIN, 1) == LK_CODE_OVERFLOW);
    CHECK(bench->outcome.field == LK_FIELD_AMOUNT);
    CHECK(foreign(bench, LK_HAS_FEE, 0, INT64_MIN) == LK_CODE_OVERFLOW);
    CHECK(bench->outcome.field == LK_FIELD_FEE);
    CHECK(bench->outcome.value == INT64_MIN);
    CHECK(same_digest(before, digest_of(bench)));
    CHECK(foreign(bench, LK_HAS_AMOUNT, INT64_MAX, 0) == LK_CODE_OK);
    before = digest_of(bench);
    CHECK(foreign(bench, LK_HAS_AMOUNT, 1, 0) == LK_CODE_OVERFLOW);
    CHECK(same_digest(before, digest_of(bench)));
    CHECK(account_of(bench).capital.units == INT64_MAX); /* shown, kept within 64 bits */
    bench_free(bench);
}

/* Everything at once: a position over a funding time, foreign activity, an exit without a price, a predicted fee. */
static bench_t *riddle(void)
{
    bench_t *bench = funded_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10000); /* its fee is predicted: 0.5 */
    leave(bench, "trade", "exit");
    fill_with_fee(bench, "exit", "x1", LK_SIDE_SELL, 500, 0, LK_LIQUIDITY_NONE, 0);
    move_time(bench, INTERVAL_NS);
    foreign(bench, 0, 0, 0);
    return bench;
}

static void test_causes_are_named_in_the_order_of_the_manual_K14(void)
{
    int64_t expected = WALLET - UNIT / 2;
    bench_t *bench = riddle();
    balance(bench, expected + 100);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    bench_free(bench);
    bench = riddle();
    balance(bench, expected + 101);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_FEE);
    bench_free(bench);
    bench = riddle();
    balance(bench, expected + UNIT / 2 + 101);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FUNDING);
    bench_free(bench);
    bench = riddle();
    fund(bench, UNIT);
    balance(bench, expected + 3 * UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_FOREIGN_ACTIVITY);
    balance(bench, expected + 5 * UNIT);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
    bench = funded_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10000);
    leave(bench, "trade", "exit");
    fill_with_fee(bench, "exit", "x1", LK_SIDE_SELL, 500, 0, LK_LIQUIDITY_NONE, 0);
    balance(bench, expected + 3 * UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    balance(bench, expected + 4 * UNIT);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_UNEXPLAINED); /* exactly at the tolerance */
    balance(bench, expected + 5 * UNIT + 1);
    check_status(bench, LK_LEDGER_ERROR, LK_LEDGER_CAUSE_UNEXPLAINED);
    bench_free(bench);
}

/* What a frame does not hold yet stays in the bridge: predicted fees, fills without a figure, and repaired ones. */
static void test_bridge_keeps_what_a_frame_does_not_hold_yet_K13_K14(void)
{
    bench_t *bench = funded_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 40);
    lk_input_t rebate = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 40, 1000);
    rebate.fee.units = -100;
    rebate.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &rebate) == LK_CODE_OK);
    CHECK(balance_at(bench, WALLET + 100, 0) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 0);    /* waits for its figure */
    fill(bench, "exit", "x2", LK_SIDE_SELL, 10, 0);    /* gets it at once */
    fill(bench, "exit", "x3", LK_SIDE_SELL, 10, 2000); /* +1.00, its fee predicted: 0.001 */
    CHECK(settle(bench, "x2", 7 * UNIT) == LK_CODE_OK);
    CHECK(balance_at(bench, WALLET + 100, 1) == LK_CODE_OK); /* the same wallet: none of the three is in it */
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    CHECK(account_of(bench).capital.units == WALLET + 100 + 8 * UNIT - 100000);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);
    CHECK(balance_at(bench, WALLET + 100 + 13 * UNIT, 0) == LK_CODE_OK);
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_UNSETTLED_FILLS); /* x1 is still dark */
    bench_free(bench);
}

static void test_frame_older_than_the_last_or_than_the_window_is_stale_K14(void)
{
    lk_config_t config = fee_config();
    config.window_count = LK_WINDOW_MIN;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    for (uint64_t i = 1; i <= LK_WINDOW_MIN + 1; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 10, 1000);
        input.execution_id = numbered("e", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    CHECK(balance_at(bench, WALLET, 0) == LK_CODE_OK);
    CHECK(balance_at(bench, WALLET, 3) == LK_CODE_BALANCE_STALE); /* the anchor holds all seventeen */
    CHECK(bench->outcome.field == LK_FIELD_EXECUTION_WATERMARK);
    bench_free(bench);
    bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    balance(bench, WALLET);
    for (uint64_t i = 1; i <= LK_WINDOW_MIN + 2; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 10, 1000);
        input.execution_id = numbered("e", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    CHECK(balance_at(bench, WALLET, 1) == LK_CODE_BALANCE_STALE); /* seventeen after it, and a window of sixteen */
    CHECK(balance_at(bench, WALLET, 2) == LK_CODE_OK);
    bench_free(bench);
}

/* A dark exit fill that the wallet holds already waits for its figure without clouding what comes after. */
static void test_awaited_fill_without_a_figure_is_not_bridged_K14(void)
{
    bench_t *bench = funded_bench();
    open_position(bench);
    leave(bench, "trade", "exit");
    CHECK(balance_at(bench, WALLET + 3 * UNIT, 2) == LK_CODE_OK); /* knows of the exit's fill before we do */
    check_status(bench, LK_LEDGER_WARNING, LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    fill_with_fee(bench, "exit", "x1", LK_SIDE_SELL, 10, 0, LK_LIQUIDITY_NONE, 0);
    CHECK(account_of(bench).capital.units == WALLET + 3 * UNIT);
    CHECK(settle(bench, "x1", 3 * UNIT) == LK_CODE_OK);
    CHECK(account_of(bench).capital.units == WALLET + 3 * UNIT); /* in the wallet since the frame */
    CHECK(balance_at(bench, WALLET + 3 * UNIT, 2) == LK_CODE_OK);
    check_status(bench, LK_LEDGER_OK, LK_LEDGER_CAUSE_NONE);
    bench_free(bench);
}

static void test_figures_after_a_frame_that_do_not_fit_are_refused_K20(void)
{
    bench_t *bench = funded_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 40);
    for (uint64_t i = 1; i <= 3; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 10, 1000);
        input.execution_id = numbered("e", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    lk_execution_t *last = lk_window_execution(bench->kernel, 3);
    last->realized = INT64_MIN; /* no inputs lead here; the sums are checked all the same */
    CHECK(balance_at(bench, WALLET, 2) == LK_CODE_OVERFLOW);
    last->realized = INT64_MIN + 50000;
    CHECK(balance_at(bench, WALLET, 1) == LK_CODE_OVERFLOW);
    for (uint64_t number = 2; number <= 3; number++) { /* nothing in all, and fees beyond measure */
        lk_window_execution(bench->kernel, number)->realized = INT64_MAX;
        lk_window_execution(bench->kernel, number)->fee = INT64_MAX;
    }
    CHECK(balance_at(bench, WALLET, 1) == LK_CODE_OVERFLOW);
    bench_free(bench);
}

static void test_capital_between_anchors_is_bridged_net_of_fees_K13(void)
{
    bench_t *bench = funded_bench();
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 1000) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 1000, 11000);
    int64_t fees = 50000000 + 55000000;
    CHECK(account_of(bench).fees.units == fees);
    CHECK(account_of(bench).capital.units == WALLET + 100 * (int64_t)UNIT - fees);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);
    balance(bench, WALLET + 99 * (int64_t)UNIT);
    CHECK(account_of(bench).capital.units == WALLET + 99 * (int64_t)UNIT); /* the anchor snaps to the wallet, exactly */
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_E_ANCHORED);
    bench_free(bench);
}

typedef void (*damage_t)(lk_ledger_t *ledger);

#define DAMAGE(name, statement)                                                                                        \
    static void name(lk_ledger_t *ledger)                                                                              \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

DAMAGE(anchored_beyond_what_is_booked, ledger->anchored_count = ledger->execution_count + 1)
DAMAGE(time_before_time, ledger->now_ns = -1)
DAMAGE(funding_before_time, ledger->next_funding_ns = -1)
DAMAGE(unknown_status, ledger->ledger_status = LK_LEDGER_COUNT)
DAMAGE(unknown_cause, ledger->ledger_cause = LK_LEDGER_CAUSE_COUNT)
DAMAGE(unknown_freeze, ledger->freeze_flags = 4)
DAMAGE(anchor_without_wallet, ledger->has_anchor = 1; ledger->wallet = 0)
DAMAGE(negative_settled_sum, ledger->calibrations[0].settled_sum = -1)
DAMAGE(negative_published_sum, ledger->calibrations[1].published_sum = -1)
DAMAGE(samples_of_less_than_nothing, ledger->calibrations[1].sample_count = 1;
       ledger->calibrations[1].published_sum = -1)
DAMAGE(negative_ratio, ledger->calibrations[0].ratio = -1)
DAMAGE(samples_of_nothing, ledger->calibrations[1].sample_count = 1)
DAMAGE(sum_without_samples, ledger->calibrations[0].published_sum = 1)
DAMAGE(ratio_without_samples, ledger->calibrations[0].ratio = 1)
DAMAGE(refused_twice_as_last, ledger->calibrations[0].is_last_refused = 2)

static void test_ledger_that_no_kernel_could_have_is_not_sound_K21(void)
{
    static const damage_t DAMAGES[] = {
        samples_of_less_than_nothing,
        anchored_beyond_what_is_booked,
        time_before_time,
        funding_before_time,
        unknown_status,
        unknown_cause,
        unknown_freeze,
        anchor_without_wallet,
        negative_settled_sum,
        negative_published_sum,
        negative_ratio,
        samples_of_nothing,
        sum_without_samples,
        ratio_without_samples,
        refused_twice_as_last,
    };
    bench_t *bench = funded_bench();
    open_position(bench);
    CHECK(lk_ledger_is_sound(&bench->kernel->ledger));
    for (uint32_t i = 0; i < sizeof DAMAGES / sizeof *DAMAGES; i++) {
        lk_ledger_t ledger = bench->kernel->ledger;
        DAMAGES[i](&ledger);
        CHECK(!lk_ledger_is_sound(&ledger));
    }
    bench_free(bench);
}

static void test_account_is_one_snapshot_stamped_with_the_sequence_K15(void)
{
    bench_t *bench = funded_bench();
    lk_account_view_t first = account_of(bench);
    CHECK(first.event_sequence == bench->step);
    CHECK(leave(bench, "stranger", "exit") == LK_CODE_UNRESOLVED_SLOT);
    lk_account_view_t second = account_of(bench);
    CHECK(memcmp(&first, &second, sizeof first) == 0); /* a refused input replaces nothing */
    CHECK(fund(bench, UNIT) == LK_CODE_OK);
    CHECK(account_of(bench).event_sequence == bench->step);
    CHECK(first.capital.units == WALLET); /* who holds the old one holds all of it */
    bench_free(bench);
}

int main(void)
{
    RUN(test_wallet_is_compared_before_it_becomes_the_anchor_K13_K14);
    RUN(test_unexplained_difference_freezes_entries_until_the_books_agree_K14);
    RUN(test_unsettled_fill_is_named_as_the_cause_K14);
    RUN(test_watermark_says_which_fills_the_wallet_holds_K14);
    RUN(test_execution_that_is_not_ours_clouds_one_comparison_and_no_more_K14);
    RUN(test_funding_has_its_own_line_K18);
    RUN(test_funding_that_was_due_and_not_told_is_the_cause_K14);
    RUN(test_funding_that_was_told_excuses_nothing_more_K14_K18);
    RUN(test_funding_is_due_only_for_a_position_held_at_its_time_K14);
    RUN(test_position_closed_by_the_first_input_after_the_time_was_held_K14);
    RUN(test_without_an_interval_funding_is_never_due_K14);
    RUN(test_refused_input_does_not_move_the_funding_clock_K14);
    RUN(test_funding_clock_ends_where_time_does);
    RUN(test_foreign_amount_and_fee_are_bridged_exactly_and_into_no_trade_K14_X11);
    RUN(test_foreign_activity_without_an_amount_explains_one_comparison_K14_X11);
    RUN(test_foreign_activity_in_the_symbol_of_an_open_trade_is_flagged_on_it_X11);
    RUN(test_foreign_figures_that_do_not_fit_are_refused_K20);
    RUN(test_causes_are_named_in_the_order_of_the_manual_K14);
    RUN(test_bridge_keeps_what_a_frame_does_not_hold_yet_K13_K14);
    RUN(test_frame_older_than_the_last_or_than_the_window_is_stale_K14);
    RUN(test_awaited_fill_without_a_figure_is_not_bridged_K14);
    RUN(test_figures_after_a_frame_that_do_not_fit_are_refused_K20);
    RUN(test_capital_between_anchors_is_bridged_net_of_fees_K13);
    RUN(test_ledger_that_no_kernel_could_have_is_not_sound_K21);
    RUN(test_account_is_one_snapshot_stamped_with_the_sequence_K15);
    return 0;
}
