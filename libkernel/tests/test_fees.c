/* Fees: predicted at once, settled by the venue, calibrated by what was settled (K17); conviction and leverage (K05).
 */
#include "harness.h"

#define PUBLISHED 50000 /* 5 basis points of 1.00: 10 at 0.1 */

/* An open trade with room for many entry fills of 10 at 0.1, each 1.00 of notional. */
static bench_t *open_trade(const lk_config_t *config)
{
    bench_t *bench = bench_with(config);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 1000000) == LK_CODE_OK);
    return bench;
}

static bench_t *open_fee_trade(void)
{
    lk_config_t config = fee_config();
    return open_trade(&config);
}

static lk_code_t charged(bench_t *bench, const char *execution_id, lk_liquidity_t liquidity, int64_t fee)
{
    return fill_with_fee(bench, "entry", execution_id, LK_SIDE_BUY, 10, 1000, liquidity, fee);
}

/* What a fill of 1.00 would be charged now. */
static int64_t predicted(bench_t *bench, const char *execution_id, lk_liquidity_t liquidity)
{
    lk_input_t input = fill_input(bench, "entry", execution_id, LK_SIDE_BUY, 10, 1000);
    input.liquidity = (uint8_t)liquidity;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    const lk_event_t *booked = event_of(bench, LK_EVENT_FILL_BOOKED, 0);
    CHECK(booked->flags & LK_EVENT_FEE_PREDICTED);
    return booked->fee.units;
}

static lk_fee_view_t maker_of(const bench_t *bench)
{
    return account_of(bench).maker_fee;
}

static lk_fee_view_t taker_of(const bench_t *bench)
{
    return account_of(bench).taker_fee;
}

static void test_settled_fee_replaces_the_predicted_one_K17(void)
{
    bench_t *bench = fee_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 10001);
    CHECK(slot_of(bench, 0).fees.units == 50005000); /* 1,000.1 x 0.0005 = 0.50005 */
    CHECK(slot_of(bench, 0).predicted_fees.units == 50005000);
    lk_input_t settlement = input_of(bench, LK_INPUT_SETTLEMENT);
    settlement.execution_id = id_of("e1");
    settlement.fee.units = 40000000;
    settlement.flags = LK_HAS_FEE;
    CHECK(apply(bench, &settlement) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).fees.units == 40000000);
    CHECK(slot_of(bench, 0).predicted_fees.units == 0);
    CHECK(account_of(bench).fees.units == 40000000);
    CHECK(account_of(bench).capital.units == (int64_t)1000000 * UNIT - 40000000);
    bench_free(bench);
}

static void test_prediction_is_rounded_against_us_K17(void)
{
    lk_config_t config = fee_config();
    config.taker_fee_rate = 12345;
    config.maker_fee_rate = -12345;
    bench_t *bench = open_trade(&config);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1, 1);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).fees.units == 2); /* 10,000 x 0.00012345 = 1.2345 */
    input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 1, 1);
    input.liquidity = LK_LIQUIDITY_MAKER;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->fee.units == -1); /* a rebate shrinks */
    bench_free(bench);
}

static void test_prediction_is_exact_where_the_product_needs_more_than_64_bits_K17(void)
{
    lk_config_t config = fee_config();
    bench_t *bench = bench_with(&config);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10000000000) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10000000000, 50001) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).fees.units == 2500050000000000); /* 50,001,000,000 x 0.0005 */
    bench_free(bench);
}

static void test_settled_fees_calibrate_the_predictions_after_them_K17(void)
{
    bench_t *bench = open_fee_trade();
    CHECK(taker_of(bench).rate == 50000);
    CHECK(taker_of(bench).ratio == 100000000);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_UNCALIBRATED);
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_TAKER) == PUBLISHED);
    CHECK(charged(bench, "s1", LK_LIQUIDITY_TAKER, PUBLISHED * 104 / 100) == LK_CODE_OK);
    CHECK(bench->outcome.event_count > 0 && anomaly_count(bench, LK_CODE_FEE_SAMPLE_REFUSED) == 0);
    CHECK(taker_of(bench).ratio == 104000000);
    CHECK(taker_of(bench).deviation == 4000000);
    CHECK(taker_of(bench).sample_count == 1);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_OK);
    CHECK(predicted(bench, "p2", LK_LIQUIDITY_TAKER) == PUBLISHED * 104 / 100);
    CHECK(predicted(bench, "p3", LK_LIQUIDITY_NONE) == PUBLISHED * 104 / 100); /* charged as a taker */
    CHECK(predicted(bench, "p4", LK_LIQUIDITY_MAKER) == 20000);                /* a rate of its own */
    CHECK(charged(bench, "s2", LK_LIQUIDITY_TAKER, PUBLISHED * 110 / 100) == LK_CODE_OK);
    CHECK(taker_of(bench).ratio == 107000000);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_DEVIATING); /* more than 5 % off */
    CHECK(maker_of(bench).status == LK_FEE_STATUS_UNCALIBRATED);
    bench_free(bench);
}

static void test_calibrated_prediction_is_rounded_once_more_against_us_K17(void)
{
    bench_t *bench = open_fee_trade();
    charged(bench, "s1", LK_LIQUIDITY_TAKER, 50001);
    charged(bench, "s2", LK_LIQUIDITY_TAKER, 50000);
    charged(bench, "s3", LK_LIQUIDITY_TAKER, 50000);
    CHECK(taker_of(bench).ratio == 100000667); /* 150,001 / 150,000, half to even */
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_TAKER) == 50001);
    bench_free(bench);
}

static void test_sample_over_fifteen_percent_off_is_booked_and_poisons_nothing_K17(void)
{
    bench_t *bench = open_fee_trade();
    CHECK(charged(bench, "s1", LK_LIQUIDITY_TAKER, PUBLISHED) == LK_CODE_OK);
    int64_t fees = account_of(bench).fees.units;
    CHECK(charged(bench, "s2", LK_LIQUIDITY_TAKER, PUBLISHED * 115 / 100 + 1) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FEE_SAMPLE_REFUSED) == 1);
    CHECK(account_of(bench).fees.units == fees + PUBLISHED * 115 / 100 + 1); /* the venue's fact */
    CHECK(slot_of(bench, 0).has_anomaly);
    CHECK(taker_of(bench).ratio == 100000000);
    CHECK(taker_of(bench).sample_count == 1);
    CHECK(taker_of(bench).refused_count == 1);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_DEVIATING);
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_TAKER) == PUBLISHED);
    CHECK(charged(bench, "s3", LK_LIQUIDITY_TAKER, PUBLISHED * 85 / 100 - 1) == LK_CODE_OK);
    CHECK(taker_of(bench).refused_count == 2);
    CHECK(charged(bench, "s4", LK_LIQUIDITY_TAKER, -PUBLISHED) == LK_CODE_OK); /* a rebate where a fee was due */
    CHECK(taker_of(bench).refused_count == 3);
    CHECK(charged(bench, "s5", LK_LIQUIDITY_TAKER, 0) == LK_CODE_OK);
    CHECK(taker_of(bench).refused_count == 4);
    CHECK(charged(bench, "s6", LK_LIQUIDITY_TAKER, PUBLISHED) == LK_CODE_OK);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_OK); /* the last sample fits again */
    bench_free(bench);
}

static void test_sample_exactly_fifteen_percent_off_is_taken_K17(void)
{
    bench_t *bench = open_fee_trade();
    charged(bench, "s1", LK_LIQUIDITY_TAKER, PUBLISHED * 115 / 100);
    CHECK(taker_of(bench).sample_count == 1);
    charged(bench, "s2", LK_LIQUIDITY_TAKER, PUBLISHED * 85 / 100);
    CHECK(taker_of(bench).sample_count == 2);
    CHECK(taker_of(bench).ratio == 100000000);
    bench_free(bench);
}

static void test_execution_is_a_sample_once_K17(void)
{
    bench_t *bench = open_fee_trade();
    predicted(bench, "p1", LK_LIQUIDITY_MAKER);
    CHECK(settle_fee(bench, "p1", 20400) == LK_CODE_OK);
    CHECK(maker_of(bench).sample_count == 1);
    CHECK(maker_of(bench).ratio == 102000000);
    CHECK(settle_fee(bench, "p1", 21000) == LK_CODE_OK); /* restated: booked, and no sample */
    CHECK(maker_of(bench).sample_count == 1);
    CHECK(maker_of(bench).ratio == 102000000);
    charged(bench, "s1", LK_LIQUIDITY_MAKER, 20000);
    CHECK(settle_fee(bench, "s1", 20001) == LK_CODE_OK);
    CHECK(maker_of(bench).sample_count == 2);
    CHECK(settle_fee(bench, "s1", 90000) == LK_CODE_OK); /* not refused as a sample either */
    CHECK(maker_of(bench).refused_count == 0);
    bench_free(bench);
}

static lk_input_t correction_of(bench_t *bench, const char *execution_id, int64_t qty, int64_t fee)
{
    lk_input_t input = input_of(bench, LK_INPUT_CORRECTION);
    input.execution_id = id_of(execution_id);
    input.qty.units = qty;
    input.price.units = 1000;
    input.price_scale = 4;
    input.fee.units = fee;
    input.flags = LK_HAS_PRICE | (fee != 0 ? LK_HAS_FEE : 0u);
    return input;
}

static void test_correction_keeps_the_liquidity_and_is_a_sample_if_the_fee_was_predicted_K17(void)
{
    bench_t *bench = open_fee_trade();
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_MAKER) == 20000);
    lk_input_t input = correction_of(bench, "p1", 20, 0);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 1)->fee.units == 40000); /* a maker's still */
    CHECK(maker_of(bench).sample_count == 0);
    input = correction_of(bench, "p1", 20, 41000);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(maker_of(bench).sample_count == 1);
    CHECK(maker_of(bench).ratio == 102500000);
    input = correction_of(bench, "p1", 20, 40000);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(maker_of(bench).sample_count == 1);
    predicted(bench, "p2", LK_LIQUIDITY_MAKER);
    input = correction_of(bench, "p2", 10, PUBLISHED);
    input.liquidity = LK_LIQUIDITY_TAKER; /* restated too */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(taker_of(bench).sample_count == 1);
    predicted(bench, "p3", LK_LIQUIDITY_TAKER);
    input = correction_of(bench, "p3", 10, 2 * PUBLISHED);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FEE_SAMPLE_REFUSED) == 1);
    bench_free(bench);
}

static void test_what_has_no_published_fee_is_no_sample_K17(void)
{
    lk_config_t config = fee_config();
    config.maker_fee_rate = 0;
    bench_t *bench = open_trade(&config);
    charged(bench, "s1", LK_LIQUIDITY_NONE, 3 * PUBLISHED); /* nobody said which rate it was charged by */
    charged(bench, "s2", LK_LIQUIDITY_MAKER, PUBLISHED);
    CHECK(fill_with_fee(bench, "entry", "s3", LK_SIDE_BUY, 10, 0, LK_LIQUIDITY_TAKER, PUBLISHED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FEE_SAMPLE_REFUSED) == 0);
    CHECK(taker_of(bench).sample_count + taker_of(bench).refused_count == 0);
    CHECK(maker_of(bench).sample_count + maker_of(bench).refused_count == 0);
    CHECK(maker_of(bench).status == LK_FEE_STATUS_NONE);
    bench_free(bench);
}

static void test_fee_settled_after_its_trade_left_the_slot_is_a_sample_still_K17(void)
{
    lk_config_t config = fee_config();
    config.slot_count = 1;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 20);
    predicted(bench, "p1", LK_LIQUIDITY_TAKER);
    predicted(bench, "p2", LK_LIQUIDITY_TAKER);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 20, 1000);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_OK);
    CHECK(settle_fee(bench, "p1", 2 * PUBLISHED) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_FEE_SAMPLE_REFUSED) == 1);
    CHECK(bench->outcome.slot_index == LK_NO_SLOT);
    CHECK(!slot_of(bench, 0).has_anomaly); /* it was another's */
    CHECK(settle_fee(bench, "p2", PUBLISHED) == LK_CODE_OK);
    CHECK(taker_of(bench).sample_count == 1);
    bench_free(bench);
}

static void test_rebates_are_calibrated_by_their_size_K17(void)
{
    lk_config_t config = fee_config();
    config.maker_fee_rate = -10000;
    bench_t *bench = open_trade(&config);
    CHECK(charged(bench, "s1", LK_LIQUIDITY_MAKER, -9000) == LK_CODE_OK);
    CHECK(maker_of(bench).ratio == 90000000);
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_MAKER) == -9000);
    bench_free(bench);
}

static void test_edges_of_rounding_deviation_and_sums_are_where_the_manual_puts_them_K17(void)
{
    lk_config_t config = fee_config();
    config.maker_fee_rate = 1;
    CHECK(lk_fee_publish(&config, LK_LIQUIDITY_MAKER, 1) == 1); /* the least remainder is rounded up too */
    CHECK(lk_fee_publish(&config, LK_LIQUIDITY_MAKER, 100000000) == 1);
    bench_t *bench = open_fee_trade();
    charged(bench, "s1", LK_LIQUIDITY_TAKER, PUBLISHED * 105 / 100);
    CHECK(taker_of(bench).deviation == 5000000);
    CHECK(taker_of(bench).status == LK_FEE_STATUS_OK); /* exactly 5 % */
    lk_calibration_t *calibration = &bench->kernel->ledger.calibrations[1];
    calibration->settled_sum = INT64_MAX - PUBLISHED;
    calibration->published_sum = INT64_MAX - PUBLISHED;
    charged(bench, "s2", LK_LIQUIDITY_TAKER, PUBLISHED);
    CHECK(calibration->settled_sum == INT64_MAX); /* it fits: nothing is halved */
    CHECK(calibration->published_sum == INT64_MAX);
    bench_free(bench);
}

static void test_sums_are_halved_together_when_one_would_not_fit_K17(void)
{
    lk_config_t config = fee_config();
    lk_ledger_t ledger;
    lk_execution_t execution;
    memset(&ledger, 0, sizeof ledger);
    memset(&execution, 0, sizeof execution);
    execution.liquidity = LK_LIQUIDITY_TAKER;
    execution.notional = INT64_MAX;
    execution.fee = INT64_MAX / 2000;
    ledger.calibrations[1].settled_sum = INT64_MAX;
    ledger.calibrations[1].published_sum = INT64_MAX - 10;
    CHECK(lk_fee_learn(&config, &ledger, &execution));
    CHECK(ledger.calibrations[1].settled_sum == (int64_t)(((lk_wide_t)INT64_MAX + INT64_MAX / 2000) / 2));
    CHECK(ledger.calibrations[1].ratio == 100000000);
    ledger.calibrations[1].settled_sum = 0;
    ledger.calibrations[1].published_sum = INT64_MAX; /* the other may be the one that does not fit */
    CHECK(lk_fee_learn(&config, &ledger, &execution));
    CHECK(ledger.calibrations[1].settled_sum == INT64_MAX / 4000);
    execution.fee = INT64_MAX;
    CHECK(!lk_fee_learn(&config, &ledger, &execution));
    CHECK(ledger.calibrations[1].refused_count == 1);
}

static void test_calibration_survives_a_restart_K17_K21(void)
{
    bench_t *bench = open_fee_trade();
    bench_t *other = fee_bench();
    size_t size = 0;
    charged(bench, "s1", LK_LIQUIDITY_TAKER, PUBLISHED * 103 / 100);
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *saved = malloc(size);
    CHECK(saved != NULL);
    CHECK(lk_kernel_save(bench->kernel, saved, size, &size) == LK_STATUS_OK);
    CHECK(lk_kernel_restore(other->kernel, saved, size) == LK_STATUS_OK);
    free(saved);
    other->step = bench->step;
    CHECK(taker_of(other).ratio == 103000000);
    CHECK(predicted(bench, "p1", LK_LIQUIDITY_TAKER) == predicted(other, "p1", LK_LIQUIDITY_TAKER));
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    bench_free(bench);
    bench_free(other);
}

static void test_conviction_maps_linearly_to_leverage_half_to_even_and_clamped_K05(void)
{
    static const struct {
        int64_t conviction;
        uint32_t leverage_max;
        uint32_t leverage;
    } CASES[] = {
        {INT64_MIN, 3, 1},    {0, 3, 1},
        {50000000, 3, 1},     {262499999, 3, 1},
        {262500000, 3, 2},                       /* 1.5: to the even 2 */
        {475000000, 3, 2},    {687500000, 3, 2}, /* 2.5: to the even 2 */
        {687500001, 3, 3},    {900000000, 3, 3},
        {INT64_MAX, 3, 3},    {475000000, 1, 1},
        {475000000, 4, 2}, /* 2.5 */
        {475000000, 125, 63}, {899999999, UINT32_MAX, 4294967290},
        {475000000, 0, 0},
    };
    for (uint32_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        CHECK(lk_conviction_to_leverage(CASES[i].conviction, CASES[i].leverage_max) == CASES[i].leverage);
    }
    uint32_t last = 1;
    for (int64_t conviction = 0; conviction <= 1000000000; conviction += 1234567) {
        uint32_t leverage = lk_conviction_to_leverage(conviction, 20);
        CHECK(leverage >= last && leverage <= 20);
        last = leverage;
    }
}

static void test_conviction_is_notional_over_capital_K05(void)
{
    int64_t conviction = 77;
    CHECK(lk_conviction_of(300, 200, &conviction) == LK_STATUS_OK);
    CHECK(conviction == 150000000);
    CHECK(lk_conviction_of(1, 3, &conviction) == LK_STATUS_OK);
    CHECK(conviction == 33333333);
    CHECK(lk_conviction_of(0, 1, &conviction) == LK_STATUS_OK);
    CHECK(conviction == 0);
    conviction = 77;
    CHECK(lk_conviction_of(1, 0, &conviction) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_conviction_of(-1, 1, &conviction) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_conviction_of(INT64_MAX, 1, &conviction) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_conviction_of(1, 1, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(conviction == 77);
}

static void test_slot_shows_conviction_from_what_is_open_at_the_entry_price_K05(void)
{
    lk_config_t config = config_of(1);
    config.seed_capital.units = 200 * (int64_t)UNIT;
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_SELL, 3000);
    CHECK(!slot_of(bench, 0).has_conviction);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 2000, 1000);
    fill(bench, "entry", "e2", LK_SIDE_SELL, 1000, 4000); /* 600 at a mean of 0.2 */
    CHECK(slot_of(bench, 0).has_conviction);
    CHECK(slot_of(bench, 0).conviction == 300000000); /* 3.0 */
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 1500, 2000);
    CHECK(slot_of(bench, 0).conviction == 150000000);
    CHECK(slot_of(bench, 0).leverage == 1); /* the venue's is another thing */
    fill(bench, "exit", "x2", LK_SIDE_BUY, 1500, 2000);
    CHECK(!slot_of(bench, 0).has_conviction);
    CHECK(slot_of(bench, 0).conviction == 0);
    bench_free(bench);
}

int main(void)
{
    RUN(test_settled_fee_replaces_the_predicted_one_K17);
    RUN(test_prediction_is_rounded_against_us_K17);
    RUN(test_prediction_is_exact_where_the_product_needs_more_than_64_bits_K17);
    RUN(test_settled_fees_calibrate_the_predictions_after_them_K17);
    RUN(test_calibrated_prediction_is_rounded_once_more_against_us_K17);
    RUN(test_sample_over_fifteen_percent_off_is_booked_and_poisons_nothing_K17);
    RUN(test_sample_exactly_fifteen_percent_off_is_taken_K17);
    RUN(test_execution_is_a_sample_once_K17);
    RUN(test_correction_keeps_the_liquidity_and_is_a_sample_if_the_fee_was_predicted_K17);
    RUN(test_what_has_no_published_fee_is_no_sample_K17);
    RUN(test_fee_settled_after_its_trade_left_the_slot_is_a_sample_still_K17);
    RUN(test_rebates_are_calibrated_by_their_size_K17);
    RUN(test_edges_of_rounding_deviation_and_sums_are_where_the_manual_puts_them_K17);
    RUN(test_sums_are_halved_together_when_one_would_not_fit_K17);
    RUN(test_calibration_survives_a_restart_K17_K21);
    RUN(test_conviction_maps_linearly_to_leverage_half_to_even_and_clamped_K05);
    RUN(test_conviction_is_notional_over_capital_K05);
    RUN(test_slot_shows_conviction_from_what_is_open_at_the_entry_price_K05);
    return 0;
}
