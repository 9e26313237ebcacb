/* The last units of 64 bits that no other test comes to, and what is not asked twice (K14, K17, K20). Where inputs
 * alone would take 2^63 units to get there, the state is put there by hand.
 */
#include "harness.h"

static void must_refuse(bench_t *bench, const lk_input_t *input, lk_code_t code)
{
    digest_t before = digest_of(bench);
    CHECK(apply(bench, input) == code);
    CHECK(same_digest(before, digest_of(bench)));
}

static void test_entry_of_more_contracts_than_fit_is_refused_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, INT64_MAX);
    input.multiplier = 2;
    must_refuse(bench, &input, LK_CODE_OVERFLOW);
    bench_free(bench);
}

static void test_exit_size_that_does_not_fit_the_instrument_s_scale_is_repaired_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    input.qty_scale = 2;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit");
    input.flags = LK_HAS_QTY;
    input.qty.units = INT64_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1);
    CHECK(slot_of(bench, 0).exit.order_qty.units == 1000);
    bench_free(bench);
}

static void test_without_an_interval_the_end_of_time_makes_no_funding_due_K14(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    lk_input_t input = input_of(bench, LK_INPUT_TICK);
    input.now_ns = INT64_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(!bench->kernel->ledger.is_funding_due);
    bench_free(bench);
}

static void test_calibration_s_sums_are_halved_when_only_the_published_one_is_full_K17(void)
{
    lk_config_t config = config_of(1);
    config.taker_fee_rate = 50000;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_calibration_t *calibrations = bench->kernel->ledger.calibrations;
    for (uint32_t i = 0; i < 2; i++)
        calibrations[i] =
            (lk_calibration_t){.settled_sum = INT64_MAX / 2, .published_sum = INT64_MAX, .sample_count = 1};
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    input.liquidity = LK_LIQUIDITY_TAKER;
    input.flags |= LK_HAS_FEE;
    input.fee.units = 50000; /* as published */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bool is_halved = false;
    for (uint32_t i = 0; i < 2; i++) {
        if (calibrations[i].sample_count != 2) continue;
        is_halved = calibrations[i].published_sum == (int64_t)(((lk_wide_t)INT64_MAX + 50000) / 2);
        CHECK(calibrations[i].settled_sum == (INT64_MAX / 2 + 50000) / 2);
    }
    CHECK(is_halved);
    bench_free(bench);
}

static void test_calibration_s_sum_may_be_as_large_as_it_can_K17(void)
{
    lk_config_t config = config_of(1);
    config.taker_fee_rate = 50000;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_calibration_t *taker = &bench->kernel->ledger.calibrations[1];
    taker->settled_sum = taker->published_sum = INT64_MAX - 50000;
    taker->sample_count = 1;
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    input.liquidity = LK_LIQUIDITY_TAKER;
    input.flags |= LK_HAS_FEE;
    input.fee.units = 50000; /* as published */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(taker->settled_sum == INT64_MAX && taker->published_sum == INT64_MAX);
    bench_free(bench);
}

static void test_ratio_exactly_as_far_off_as_it_may_be_is_ok_K17(void)
{
    lk_config_t config = config_of(1);
    config.taker_fee_rate = 50000;
    bench_t *bench = bench_with(&config);
    lk_calibration_t *taker = &bench->kernel->ledger.calibrations[1];
    const int64_t one = 100000000;
    taker->sample_count = 1;
    for (int side = -1; side <= 1; side += 2) {
        taker->ratio = one + side * (one * LK_FEE_DEVIATION_BPS / 10000);
        CHECK(account_of(bench).taker_fee.status == LK_FEE_STATUS_OK);
        taker->ratio += side;
        CHECK(account_of(bench).taker_fee.status == LK_FEE_STATUS_DEVIATING);
    }
    bench_free(bench);
}

/* Eighteen decimals are read as exactly as four. */
static void test_finest_scale_is_read_K20(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 9);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 9000000000000000000, 100000000000000000);
    input.qty_scale = LK_SCALE_MAX;
    input.price_scale = LK_SCALE_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).qty.units == 9);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->price.units == 1000);
    input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit");
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.flags = LK_HAS_QTY | LK_HAS_PRICE;
    input.qty.units = 2000000000000000000;
    input.qty_scale = LK_SCALE_MAX;
    input.price.units = 110000000000000000;
    input.price_scale = LK_SCALE_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).exit.order_qty.units == 2);
    CHECK(slot_of(bench, 0).exit.price.units == 1100);
    bench_free(bench);
}

/* A long of 10 at 0.10; 4 left at 0.11, 3 left without a price. */
static bench_t *bench_with_exits(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 4, 1100);
    fill(bench, "exit", "x2", LK_SIDE_SELL, 3, 0);
    return bench;
}

static void test_settlement_that_the_trade_s_realized_cannot_hold_is_refused_K20(void)
{
    bench_t *bench = bench_with_exits();
    lk_input_t input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of("x2");
    input.amount.units = INT64_MAX; /* fits alone, and not beside what x1 realized */
    input.flags = LK_HAS_AMOUNT;
    must_refuse(bench, &input, LK_CODE_OVERFLOW);
    CHECK(settle(bench, "x2", 5) == LK_CODE_OK);
    bench_free(bench);
}

static void set_realized(bench_t *bench, uint64_t number, int64_t realized)
{
    lk_window_execution(bench->kernel, number)->realized = realized;
}

static void test_bust_whose_remainder_does_not_fit_is_refused_K20(void)
{
    bench_t *bench = bench_with_exits();
    lk_input_t input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of("x1"); /* takes back what it realized */
    set_realized(bench, 2, INT64_MIN);
    must_refuse(bench, &input, LK_CODE_OVERFLOW);
    set_realized(bench, 2, 4000000);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bench_free(bench);
}

static void test_correction_whose_sum_does_not_fit_is_refused_K20(void)
{
    bench_t *bench = bench_with_exits();
    lk_input_t input = fill_input(bench, "", "x1", LK_SIDE_SELL, 4, 1200);
    input.kind = LK_INPUT_CORRECTION;
    set_realized(bench, 2, INT64_MIN); /* less what the old one realized */
    must_refuse(bench, &input, LK_CODE_OVERFLOW);
    set_realized(bench, 2, INT64_MAX); /* and with what the new one does */
    must_refuse(bench, &input, LK_CODE_OVERFLOW);
    set_realized(bench, 2, 4000000);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bench_free(bench);
}

/* ---------------------------------------------------------------------------------------- the least there is -- */

static void test_trade_of_one_unit_is_a_trade_K03(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_POSITION_OPEN);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = symbol_of("FET-USDT");
    mark.price_scale = 4;
    mark.price.units = 1;
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == -9990000); /* 0.0001 - 0.1 */
    leave(bench, "trade", "exit");
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 1, 1001) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_CLOSED);
    CHECK(slot_of(bench, 0).realized_pnl.units == 10000);
    bench_free(bench);
}

static void test_one_unit_without_a_price_is_a_missing_basis_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 2);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).has_entry_price && !slot_of(bench, 0).entry_basis_missing);
    CHECK(fill(bench, "entry", "e2", LK_SIDE_BUY, 1, 0) == LK_CODE_OK);
    CHECK(!slot_of(bench, 0).has_entry_price && slot_of(bench, 0).entry_basis_missing);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = symbol_of("FET-USDT");
    mark.price_scale = 4;
    mark.price.units = 1; /* and the least mark there is */
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 0);
    leave(bench, "trade", "exit");
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 1, 1100) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).realized_skipped_no_price);
    bench_free(bench);
}

static void test_one_unit_of_capital_is_capital_X10(void)
{
    lk_config_t config = config_of(1);
    config.seed_capital.units = 1;
    bench_t *bench = bench_with(&config);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 1) == LK_CODE_OK);
    bench_free(bench);
}

static void test_exit_legs_have_no_gap_however_small_what_follows_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    input.exit_leg_bps[0] = 5000;
    input.exit_leg_bps[2] = 1;
    must_refuse(bench, &input, LK_CODE_INVALID_INTENT);
    CHECK(bench->outcome.field == LK_FIELD_EXIT_LEG_BPS);
    input.exit_leg_bps[1] = 10001;
    must_refuse(bench, &input, LK_CODE_INVALID_INTENT);
    input.exit_leg_bps[0] = 0; /* nor at the beginning */
    input.exit_leg_bps[1] = 5000;
    input.exit_leg_bps[2] = 0;
    must_refuse(bench, &input, LK_CODE_INVALID_INTENT);
    input.exit_leg_bps[0] = 5000;
    input.exit_leg_bps[1] = 0;
    input.order_type = LK_ORDER_TYPE_COUNT;
    must_refuse(bench, &input, LK_CODE_INVALID_INTENT);
    CHECK(bench->outcome.field == LK_FIELD_ORDER_TYPE);
    input.order_type = LK_ORDER_TYPE_MARKET;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(slot_of(bench, 0).exit.order_qty.units == 10); /* the only leg is the last: it takes all */
    bench_free(bench);
}

static void test_one_unit_left_too_much_without_a_price_has_no_value_K08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 2, 0) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).qty.units == -1);
    lk_input_t mark = input_of(bench, LK_INPUT_MARK_PRICE);
    mark.symbol = symbol_of("FET-USDT");
    mark.price_scale = 4;
    mark.price.units = 1000;
    CHECK(apply(bench, &mark) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 0);
    bench_free(bench);
}

static void test_exit_s_last_unit_is_held_to_a_position_of_none_K19(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 2);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e2", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(fill(bench, "exit", "x1", LK_SIDE_SELL, 1, 1000) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_EXCEEDS_POSITION) == 0); /* one is open, and one is asked for */
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("e2");
    CHECK(apply(bench, &bust) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_EXCEEDS_POSITION) == 1); /* none is, and one still is */
    bench_free(bench);
}

/* A refusal about a text, or about nothing in particular, states no number. */
static void test_refused_text_has_no_value_K01(void)
{
    bench_t *bench = bench_new(1);
    uint32_t refused_count = 0;
    for (uint32_t kind = LK_INPUT_NONE + 1; kind < LK_INPUT_COUNT; kind++) {
        for (uint32_t filled = 0; filled < 4; filled++) { /* ids that are there, and name nothing */
            lk_input_t input = input_of(bench, (lk_input_kind_t)kind);
            if (filled > 0) input.trade_id = id_of("no-such-trade");
            if (filled > 1) input.client_order_id = id_of("no-such-order");
            if (filled > 2) input.execution_id = id_of("no-such-execution");
            if (apply(bench, &input) == LK_CODE_OK) continue;
            refused_count++;
            if (bench->outcome.field <= LK_FIELD_CURRENCY) CHECK(bench->outcome.value == 0);
        }
    }
    CHECK(refused_count > LK_INPUT_COUNT);
    bench_free(bench);
}

int main(void)
{
    RUN(test_entry_of_more_contracts_than_fit_is_refused_K20);
    RUN(test_exit_size_that_does_not_fit_the_instrument_s_scale_is_repaired_K20);
    RUN(test_without_an_interval_the_end_of_time_makes_no_funding_due_K14);
    RUN(test_calibration_s_sums_are_halved_when_only_the_published_one_is_full_K17);
    RUN(test_calibration_s_sum_may_be_as_large_as_it_can_K17);
    RUN(test_ratio_exactly_as_far_off_as_it_may_be_is_ok_K17);
    RUN(test_finest_scale_is_read_K20);
    RUN(test_settlement_that_the_trade_s_realized_cannot_hold_is_refused_K20);
    RUN(test_bust_whose_remainder_does_not_fit_is_refused_K20);
    RUN(test_correction_whose_sum_does_not_fit_is_refused_K20);
    RUN(test_trade_of_one_unit_is_a_trade_K03);
    RUN(test_one_unit_without_a_price_is_a_missing_basis_K08);
    RUN(test_one_unit_of_capital_is_capital_X10);
    RUN(test_one_unit_left_too_much_without_a_price_has_no_value_K08);
    RUN(test_exit_legs_have_no_gap_however_small_what_follows_K19);
    RUN(test_exit_s_last_unit_is_held_to_a_position_of_none_K19);
    RUN(test_refused_text_has_no_value_K01);
    return 0;
}
