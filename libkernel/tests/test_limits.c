/* Where 64 bits end: each sum that an execution moves is brought to its limit, one at a time, and the input that would
 * pass it is refused as OVERFLOW, with the slot and the ledger as they were (K20).
 */
#include "harness.h"

/* A trade of 20 with 10 filled at 0.10, 2 left at 0.20 (+2 x 0.10) and 3 left at 0.05 (-3 x 0.05), fees predicted; the
 * exit of 9 has 4 still to fill. Its last fill of 1 had no price. */
static bench_t *busy_bench(void)
{
    bench_t *bench = fee_bench();
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 20) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    lk_input_t input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit");
    input.flags = LK_HAS_QTY;
    input.qty.units = 9;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(fill(bench, "exit", "gain", LK_SIDE_SELL, 2, 2000) == LK_CODE_OK);
    CHECK(fill(bench, "exit", "loss", LK_SIDE_SELL, 3, 500) == LK_CODE_OK);
    CHECK(fill(bench, "exit", "dark", LK_SIDE_SELL, 1, 0) == LK_CODE_OK);
    return bench;
}

typedef void (*poke_t)(lk_kernel_t *kernel);

#define POKE(name, place, value)                                                                                       \
    static void name(lk_kernel_t *kernel)                                                                              \
    {                                                                                                                  \
        kernel->place = (value);                                                                                       \
    }
#define MARK_OF(qty) (INT64_MAX / ((qty) * INT64_C(10000))) /* the highest at which this quantity can be valued */

POKE(nothing, slots[0].reserved[0], 0)
POKE(entry_qty_max, slots[0].book.entry_qty, INT64_MAX)
POKE(entry_notional_max, slots[0].book.entry_notional, INT64_MAX)
POKE(exit_notional_max, slots[0].book.exit_notional, INT64_MAX - 1000000000)
POKE(open_cost_max, slots[0].book.open_cost, INT64_MAX - 5000000)
POKE(skipped_cost_max, slots[0].book.skipped_cost, INT64_MAX)
POKE(venue_realized_max, slots[0].book.venue_realized, INT64_MAX - 5000000)
POKE(venue_realized_min, slots[0].book.venue_realized, INT64_MIN + 1)
POKE(book_fees_max, slots[0].book.fees, INT64_MAX)
POKE(book_fees_min, slots[0].book.fees, INT64_MIN)
POKE(book_predicted_max, slots[0].book.predicted_fees, INT64_MAX)
POKE(book_predicted_min, slots[0].book.predicted_fees, INT64_MIN)
POKE(entry_cum_max, slots[0].entry.cum_qty, INT64_MAX)
POKE(entry_cum_notional_max, slots[0].entry.cum_notional, INT64_MAX)
POKE(exit_cum_max, slots[0].exits[0].cum_qty, INT64_MAX)
POKE(mark_for_what_is_open, slots[0].mark, MARK_OF(4))
POKE(ledger_realized_max, ledger.realized, INT64_MAX)
POKE(ledger_realized_min, ledger.realized, INT64_MIN)
POKE(ledger_fees_max, ledger.fees, INT64_MAX)
POKE(ledger_fees_min, ledger.fees, INT64_MIN)
POKE(ledger_predicted_max, ledger.predicted_fees, INT64_MAX)
POKE(ledger_predicted_min, ledger.predicted_fees, INT64_MIN)
POKE(bridge_max, ledger.bridge, INT64_MAX)
POKE(bridge_min, ledger.bridge, INT64_MIN)
POKE(bridge_predicted_max, ledger.bridge_predicted, INT64_MAX)
POKE(bridge_predicted_min, ledger.bridge_predicted, INT64_MIN)

POKE(executed_min, executions[1].realized, INT64_MIN)
POKE(executed_max, executions[1].realized, INT64_MAX)
POKE(open_cost_min, slots[0].book.open_cost, -INT64_MAX)

static void everything_sold(lk_kernel_t *kernel)
{
    kernel->slots[0].book.entry_qty = INT64_MAX;
    kernel->slots[0].book.exit_qty = INT64_MAX;
}

static void realized_beyond(lk_kernel_t *kernel)
{
    kernel->slots[0].book.exit_notional = INT64_MAX;
    kernel->slots[0].book.open_cost = INT64_MAX;
}

/* What is open costs nearly nothing to the left, and after the bust what it did cost: a swing of more than 64 bits. */
static void cost_swings(lk_kernel_t *kernel)
{
    kernel->slots[0].book.open_cost = -INT64_MAX;
    kernel->slots[0].book.venue_realized = 500000000;
}

static void check_overflow(poke_t poke, const lk_input_t *input, bench_t *bench)
{
    poke(bench->kernel);
    lk_slot_t slot = bench->kernel->slots[0];
    lk_ledger_t ledger = bench->kernel->ledger;
    CHECK(apply(bench, input) == LK_CODE_OVERFLOW);
    CHECK(bench->outcome.event_count == 0);
    CHECK(memcmp(&slot, &bench->kernel->slots[0], sizeof slot) == 0);
    CHECK(memcmp(&ledger, &bench->kernel->ledger, sizeof ledger) == 0);
    bench_free(bench);
}

static void check_accepted(bench_t *bench, const lk_input_t *input)
{
    CHECK(apply(bench, input) == LK_CODE_OK);
    bench_free(bench);
}

/* ----------------------------------------------------------------------------------------------- fills -- */

static void check_entry_fill(poke_t poke)
{
    bench_t *bench = busy_bench();
    lk_input_t input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 1, 1000);
    check_overflow(poke, &input, bench);
}

static void check_exit_fill(poke_t poke, int64_t price)
{
    bench_t *bench = busy_bench();
    lk_input_t input = fill_input(bench, "exit", "x2", LK_SIDE_SELL, 1, price);
    check_overflow(poke, &input, bench);
}

static void test_entry_fill_that_would_pass_a_limit_is_refused_K20(void)
{
    static const poke_t POKES[] = {
        entry_qty_max, entry_notional_max,     open_cost_max,   book_fees_max,        book_predicted_max,
        entry_cum_max, entry_cum_notional_max, ledger_fees_max, ledger_predicted_max, bridge_predicted_max,
        bridge_min,    mark_for_what_is_open,  realized_beyond,
    };
    bench_t *bench = busy_bench();
    lk_input_t input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 1, 1000);
    check_accepted(bench, &input); /* nothing else is wrong with it */
    for (uint32_t i = 0; i < sizeof POKES / sizeof *POKES; i++)
        check_entry_fill(POKES[i]);
}

static void test_exit_fill_that_would_pass_a_limit_is_refused_K20(void)
{
    static const poke_t POKES[] = {ledger_realized_max, bridge_max, everything_sold, venue_realized_max};
    bench_t *bench = busy_bench();
    lk_input_t input = fill_input(bench, "exit", "x2", LK_SIDE_SELL, 1, 5000);
    check_accepted(bench, &input);
    for (uint32_t i = 0; i < sizeof POKES / sizeof *POKES; i++)
        check_exit_fill(POKES[i], 5000);
    check_exit_fill(exit_notional_max, 900000);
    check_exit_fill(skipped_cost_max, 0);
}

static void test_fill_whose_own_figures_do_not_fit_is_refused_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    input.qty_scale = 1;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, INT64_MAX, 0);
    check_overflow(nothing, &input, bench); /* its quantity, at the instrument's scale */
    bench = busy_bench();
    input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 1, INT64_MAX);
    input.price_scale = 0;
    check_overflow(nothing, &input, bench); /* its price */
    bench = busy_bench();
    input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 1, 1000);
    input.fee.units = INT64_MIN;
    input.flags |= LK_HAS_FEE;
    check_overflow(nothing, &input, bench); /* a fee that has no opposite */
}

static void test_quantities_that_do_not_fit_the_instrument_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, INT64_MAX);
    input.multiplier = 2;
    CHECK(apply(bench, &input) == LK_CODE_OVERFLOW);
    input.qty.units = 10;
    input.qty_scale = 1;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    lk_input_t asked = input_of(bench, LK_INPUT_EXIT);
    asked.trade_id = id_of("trade");
    asked.client_order_id = id_of("exit");
    asked.flags = LK_HAS_QTY;
    asked.qty.units = INT64_MAX; /* at scale 0: not to be had at scale 1 */
    CHECK(apply(bench, &asked) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1);
    bench_free(bench);
}

static void test_prediction_that_does_not_fit_is_refused_K17_K20(void)
{
    lk_config_t config = fee_config();
    config.taker_fee_rate = 99999999;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, INT64_C(1000000000000));
    fill_with_fee(bench, "entry", "s1", LK_SIDE_BUY, 10, 1000, LK_LIQUIDITY_TAKER, 110000000);
    CHECK(account_of(bench).taker_fee.sample_count == 1);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, INT64_C(900000000000), 1000);
    CHECK(apply(bench, &input) == LK_CODE_OVERFLOW);
    CHECK(bench->outcome.field == LK_FIELD_FEE);
    bench_free(bench);
}

/* ---------------------------------------------------------------------------------- busts and corrections -- */

static lk_input_t about(bench_t *bench, lk_input_kind_t kind, const char *execution_id)
{
    lk_input_t input = input_of(bench, kind);
    input.execution_id = id_of(execution_id);
    input.qty.units = 2;
    input.price.units = 2000;
    input.price_scale = 4;
    input.flags = LK_HAS_PRICE;
    return input;
}

static void check_bust(const char *execution_id, poke_t poke)
{
    bench_t *bench = busy_bench();
    lk_input_t input = about(bench, LK_INPUT_BUST, execution_id);
    check_overflow(poke, &input, bench);
    bench = busy_bench();
    input = about(bench, LK_INPUT_CORRECTION, execution_id);
    check_overflow(poke, &input, bench);
}

static void test_bust_or_correction_that_would_pass_a_limit_is_refused_K20(void)
{
    static const poke_t POKES[] = {
        realized_beyond, cost_swings,          book_fees_min,        book_predicted_min,
        ledger_fees_min, ledger_predicted_min, bridge_predicted_min,
    };
    bench_t *bench = busy_bench();
    lk_input_t input = about(bench, LK_INPUT_BUST, "gain");
    check_accepted(bench, &input);
    bench = busy_bench();
    input = about(bench, LK_INPUT_CORRECTION, "gain");
    check_accepted(bench, &input);
    for (uint32_t i = 0; i < sizeof POKES / sizeof *POKES; i++)
        check_bust("gain", POKES[i]);
    check_bust("loss", venue_realized_max); /* without it, what is realized would be too much */
    check_bust("loss", mark_for_what_is_open);
    check_bust("gain", ledger_realized_min);
    check_bust("gain", bridge_min);
    check_bust("gain", executed_min);
}

static void test_settled_figure_that_cannot_be_taken_back_is_refused_K20(void)
{
    bench_t *bench = busy_bench();
    CHECK(settle(bench, "dark", 1000) == LK_CODE_OK);
    lk_input_t input = about(bench, LK_INPUT_BUST, "dark");
    check_overflow(venue_realized_min, &input, bench);
}

static void test_correction_whose_own_figures_do_not_fit_is_refused_K20(void)
{
    bench_t *bench = busy_bench();
    lk_input_t input = about(bench, LK_INPUT_CORRECTION, "gain");
    input.qty.units = 4;
    check_overflow(exit_cum_max, &input, bench);
    bench = busy_bench();
    input = about(bench, LK_INPUT_CORRECTION, "gain");
    input.price.units = 9000; /* more than was booked at first */
    check_overflow(executed_max, &input, bench);
    bench = busy_bench();
    input = about(bench, LK_INPUT_CORRECTION, "gain");
    input.fee.units = INT64_MIN;
    input.flags |= LK_HAS_FEE;
    check_overflow(nothing, &input, bench);
}

/* -------------------------------------------------------------------------------------------- settlement -- */

static void check_settlement(const char *execution_id, uint32_t flags, int64_t amount, int64_t fee, poke_t poke)
{
    bench_t *bench = busy_bench();
    lk_input_t input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of(execution_id);
    input.flags = flags;
    input.amount.units = amount;
    input.fee.units = fee;
    check_overflow(poke, &input, bench);
}

static void test_settlement_that_would_pass_a_limit_is_refused_K20(void)
{
    static const poke_t FEE_MAX[] = {book_fees_max, ledger_fees_max, bridge_min};
    static const poke_t FEE_MIN[] = {book_predicted_min, ledger_predicted_min, bridge_predicted_min};
    check_settlement("dark", LK_HAS_AMOUNT, 6000000, 0, venue_realized_max);
    check_settlement("dark", LK_HAS_AMOUNT, 1, 0, venue_realized_max);
    check_settlement("dark", LK_HAS_AMOUNT, 1, 0, ledger_realized_max);
    check_settlement("dark", LK_HAS_AMOUNT, 1, 0, bridge_max);
    check_settlement("dark", LK_HAS_AMOUNT | LK_HAS_FEE, 1, INT64_MIN, nothing);
    check_settlement("gain", LK_HAS_FEE, 0, INT64_MIN, nothing);
    for (uint32_t i = 0; i < 3; i++)
        check_settlement("gain", LK_HAS_FEE, 0, 1000000, FEE_MAX[i]);
    for (uint32_t i = 0; i < 3; i++)
        check_settlement("gain", LK_HAS_FEE, 0, 1, FEE_MIN[i]);
}

static void test_fee_too_far_from_the_one_before_is_refused_K20(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill_with_fee(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000, LK_LIQUIDITY_NONE, -2);
    lk_input_t input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of("e1");
    input.flags = LK_HAS_FEE;
    input.fee.units = INT64_MAX;
    check_overflow(nothing, &input, bench);
}

/* --------------------------------------------------------------------------------------------- the rest -- */

static void test_marks_and_frames_that_do_not_fit_are_refused_K20(void)
{
    bench_t *bench = busy_bench();
    lk_input_t input = input_of(bench, LK_INPUT_MARK_PRICE);
    input.symbol = symbol_of("FET-USDT");
    input.price.units = INT64_MAX;
    check_overflow(nothing, &input, bench); /* not even at the slot's scale */
    bench = busy_bench();
    input = input_of(bench, LK_INPUT_MARK_PRICE);
    input.symbol = symbol_of("FET-USDT");
    input.price.units = 1000;
    input.price_scale = 4;
    check_overflow(open_cost_min, &input, bench);
    bench = busy_bench();
    input = input_of(bench, LK_INPUT_FUNDING);
    input.amount.units = 1;
    check_overflow(bridge_max, &input, bench);
}

static void test_views_of_what_is_too_much_are_kept_within_64_bits(void)
{
    bench_t *bench = busy_bench();
    bench->kernel->slots[0].mark = INT64_MAX; /* no input can say so */
    lk_account_view_t view = account_of(bench);
    CHECK(view.unrealized_pnl.units == 0);
    CHECK(view.working_exposure.units == INT64_MAX);
    CHECK(view.gross_exposure.units == bench->kernel->slots[0].book.open_cost);
    bench->kernel->ledger.wallet = -2; /* nor so */
    bench->kernel->ledger.has_anchor = 1;
    bench->kernel->ledger.bridge = INT64_MIN;
    CHECK(account_of(bench).capital.units == INT64_MIN);
    CHECK(account_of(bench).equity.units == INT64_MIN);
    bench_free(bench);
}

int main(void)
{
    RUN(test_entry_fill_that_would_pass_a_limit_is_refused_K20);
    RUN(test_exit_fill_that_would_pass_a_limit_is_refused_K20);
    RUN(test_fill_whose_own_figures_do_not_fit_is_refused_K20);
    RUN(test_quantities_that_do_not_fit_the_instrument_K20);
    RUN(test_prediction_that_does_not_fit_is_refused_K17_K20);
    RUN(test_bust_or_correction_that_would_pass_a_limit_is_refused_K20);
    RUN(test_settled_figure_that_cannot_be_taken_back_is_refused_K20);
    RUN(test_correction_whose_own_figures_do_not_fit_is_refused_K20);
    RUN(test_settlement_that_would_pass_a_limit_is_refused_K20);
    RUN(test_fee_too_far_from_the_one_before_is_refused_K20);
    RUN(test_marks_and_frames_that_do_not_fit_are_refused_K20);
    RUN(test_views_of_what_is_too_much_are_kept_within_64_bits);
    return 0;
}
