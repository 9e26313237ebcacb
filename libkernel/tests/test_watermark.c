/* A frame whose wallet does not hold our last executions yet: what each kind of them leaves in the bridge (K13, K14),
 * and which frames come too late to be compared. And what a fill or a fact may not look like.
 */
#include "harness.h"

#define WALLET 1000000000000 /* 10,000 at amount scale 8 */

static bench_t *watched_bench(void)
{
    lk_config_t config = config_of(1);
    config.window_count = LK_WINDOW_MIN;
    config.taker_fee_rate = 50000;  /* 5 basis points */
    config.maker_fee_rate = -20000; /* a rebate of 2 */
    return bench_with(&config);
}

static lk_code_t frame(bench_t *bench, int64_t wallet, uint64_t watermark)
{
    lk_input_t input = input_of(bench, LK_INPUT_BALANCE);
    input.amount.units = wallet;
    input.execution_watermark = watermark;
    return apply(bench, &input);
}

static lk_code_t exit_fill(bench_t *bench, const char *execution_id, int64_t qty, int64_t price,
                           lk_liquidity_t liquidity)
{
    lk_input_t input = fill_input(bench, "exit", execution_id, LK_SIDE_SELL, qty, price);
    input.liquidity = (uint8_t)liquidity;
    return apply(bench, &input);
}

/* Behind the watermark: an unpriced fill that is settled, one that is not, a rebate that is predicted, a taken-back
 * fill without a price, and a predicted fee that was stated since. */
static void test_frame_that_lags_leaves_exactly_what_it_does_not_hold_in_the_bridge_K13_K14(void)
{
    bench_t *bench = watched_bench();
    const int64_t entry_fee = 50000;       /* 10 x 0.1 at 5 basis points */
    const int64_t rebate = -2200;          /* 1 x 0.11 at -2, rounded towards plus infinity */
    const int64_t gain = 1000000;          /* 1 x (0.11 - 0.10) */
    const int64_t settled = 700;           /* what the venue says x1 realized */
    const int64_t waiting_realized = -300; /* and x2, later */
    CHECK(frame(bench, WALLET, 0) == LK_CODE_OK);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(exit_fill(bench, "x1", 3, 0, LK_LIQUIDITY_TAKER) == LK_CODE_OK);
    CHECK(exit_fill(bench, "x2", 2, 0, LK_LIQUIDITY_TAKER) == LK_CODE_OK);
    CHECK(exit_fill(bench, "x3", 1, 1100, LK_LIQUIDITY_MAKER) == LK_CODE_OK);
    CHECK(exit_fill(bench, "x4", 1, 0, LK_LIQUIDITY_TAKER) == LK_CODE_OK);
    CHECK(settle(bench, "x1", settled) == LK_CODE_OK);
    CHECK(settle(bench, "x3", gain + 1) == LK_CODE_OK); /* of a fill that was booked: compared, never booked again */
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("x4");
    CHECK(apply(bench, &bust) == LK_CODE_OK);

    CHECK(frame(bench, WALLET - entry_fee, 1) == LK_CODE_OK);
    CHECK(account_of(bench).ledger_status == LK_LEDGER_OK);
    CHECK(account_of(bench).ledger_delta.units == 0);
    CHECK(account_of(bench).capital.units == WALLET - entry_fee + settled + gain - rebate);
    CHECK(account_of(bench).capital_source == LK_CAPITAL_SOURCE_K_BRIDGED);

    int64_t wallet = WALLET - entry_fee + settled + gain - rebate + waiting_realized;
    CHECK(frame(bench, wallet, 5) == LK_CODE_OK); /* it knows what x2 realized; we do not yet */
    CHECK(account_of(bench).ledger_delta.units == waiting_realized);
    CHECK(account_of(bench).ledger_status ==
          LK_LEDGER_OK); /* the rebate was a prediction: more is tolerated than this */
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_FEE);
    CHECK(account_of(bench).capital.units == wallet);
    CHECK(settle(bench, "x2", waiting_realized) == LK_CODE_OK);
    CHECK(account_of(bench).capital.units == wallet); /* it was in the wallet already */
    bench_free(bench);
}

static void test_unsettled_fill_behind_the_watermark_excuses_nothing_before_it_K14(void)
{
    bench_t *bench = watched_bench();
    CHECK(frame(bench, WALLET, 0) == LK_CODE_OK);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    input.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(exit_fill(bench, "x1", 3, 0, LK_LIQUIDITY_TAKER) == LK_CODE_OK);
    CHECK(frame(bench, WALLET + 5, 1) == LK_CODE_OK); /* without x1, so x1 is not why */
    CHECK(account_of(bench).ledger_status == LK_LEDGER_ERROR);
    CHECK(frame(bench, WALLET + 9, 2) == LK_CODE_OK); /* with it, so it may be */
    CHECK(account_of(bench).ledger_status == LK_LEDGER_WARNING);
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    bench_free(bench);
}

/* Up to the fees we only predicted, and the tolerance on top of them, a difference is the fees'. */
static void test_predicted_fees_and_the_tolerance_add_up_K14_K17(void)
{
    static const int64_t BEYOND[] = {50100, 50101}; /* predicted 50,000, tolerance 100 */
    for (uint32_t i = 0; i < 2; i++) {
        lk_config_t config = config_of(1);
        config.taker_fee_rate = 50000;
        config.ledger_tolerance.units = 100;
        config.ledger_error_tolerance.units = 1000000;
        bench_t *bench = bench_with(&config);
        CHECK(frame(bench, WALLET, 0) == LK_CODE_OK);
        enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
        CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
        CHECK(frame(bench, WALLET - 50000 - BEYOND[i], 0) == LK_CODE_OK);
        CHECK(account_of(bench).ledger_delta.units == -BEYOND[i]);
        CHECK(account_of(bench).ledger_status == (i == 0 ? LK_LEDGER_OK : LK_LEDGER_WARNING));
        CHECK(account_of(bench).ledger_cause == (i == 0 ? LK_LEDGER_CAUSE_FEE : LK_LEDGER_CAUSE_UNEXPLAINED));
        bench_free(bench);
    }
}

/* One fill waits before the watermark; what comes after it, waiting or not, is not in the comparison. */
static void test_unsettled_fill_before_the_watermark_is_the_cause_whatever_follows_K14(void)
{
    bench_t *bench = watched_bench();
    CHECK(frame(bench, WALLET, 0) == LK_CODE_OK);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    input.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    leave(bench, "trade", "exit");
    CHECK(exit_fill(bench, "x1", 3, 0, LK_LIQUIDITY_TAKER) == LK_CODE_OK);
    input = fill_input(bench, "exit", "x2", LK_SIDE_SELL, 1, 1000);
    input.flags |= LK_HAS_FEE;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(frame(bench, WALLET + 5, 2) == LK_CODE_OK); /* holds x1, and not x2 */
    CHECK(account_of(bench).ledger_cause == LK_LEDGER_CAUSE_UNSETTLED_FILLS);
    bench_free(bench);
}

static void test_frame_older_than_the_last_or_than_the_window_is_stale_K13(void)
{
    bench_t *bench = watched_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 100);
    for (uint32_t i = 0; i < 18; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 1, 1000);
        input.execution_id = numbered("e-", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    digest_t before = digest_of(bench);
    CHECK(frame(bench, WALLET, 1) == LK_CODE_BALANCE_STALE); /* 17 after it, and 16 are kept */
    CHECK(bench->outcome.field == LK_FIELD_EXECUTION_WATERMARK && bench->outcome.value == 1);
    CHECK(same_digest(before, digest_of(bench)));
    CHECK(frame(bench, WALLET, 2) == LK_CODE_OK); /* the first: a place to begin */
    CHECK(frame(bench, WALLET, 17) == LK_CODE_OK);
    CHECK(frame(bench, WALLET, 16) == LK_CODE_BALANCE_STALE);
    CHECK(frame(bench, WALLET, 18) == LK_CODE_OK);
    bench_free(bench);
}

/* The wallet held more executions than we knew of; then it holds fewer of them: that riddle is over. */
static void test_unseen_executions_that_are_seen_are_awaited_no_longer_K14(void)
{
    bench_t *bench = watched_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(frame(bench, WALLET, 3) == LK_CODE_OK); /* three before us */
    CHECK(frame(bench, WALLET, 5) == LK_CODE_OK); /* two that are late, or not ours */
    CHECK(bench->kernel->ledger.awaited_count == 2);
    CHECK(frame(bench, WALLET, 4) == LK_CODE_OK); /* the venue thinks again */
    CHECK(bench->kernel->ledger.awaited_count == 0);
    CHECK(frame(bench, WALLET, 4) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
    CHECK(account_of(bench).capital.units == WALLET - 50000); /* so this one is not in the wallet */
    bench_free(bench);
}

static void test_funding_is_not_due_for_what_is_over_or_not_yet_filled_K14(void)
{
    lk_config_t config = config_of(2);
    config.funding_interval_ns = 1000;
    bench_t *bench = bench_with(&config);
    CHECK(frame(bench, WALLET, 0) == LK_CODE_OK);
    enter_in(bench, "AAA", "waiting", "waiting-entry"); /* a slot is busy, and holds nothing */
    lk_input_t tick = input_of(bench, LK_INPUT_TICK);
    tick.now_ns = 5000;
    CHECK(apply(bench, &tick) == LK_CODE_OK);
    CHECK(!bench->kernel->ledger.is_funding_due);
    CHECK(bench->kernel->ledger.next_funding_ns == 6000);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------ what a fact may not look like -- */

static void must_refuse(bench_t *bench, const lk_input_t *input, lk_code_t code, lk_field_t field)
{
    digest_t before = digest_of(bench);
    CHECK(apply(bench, input) == code);
    CHECK(bench->outcome.field == (uint32_t)field);
    CHECK(same_digest(before, digest_of(bench)));
}

static void test_unsound_ids_of_facts_are_refused_with_the_field_named(void)
{
    bench_t *bench = watched_bench();
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t sound = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    lk_input_t input = sound;
    input.execution_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_EXECUTION_ID);
    input = sound;
    input.client_order_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_CLIENT_ORDER_ID);
    input = sound;
    input.venue_order_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_VENUE_ORDER_ID);
    input = sound;
    input.liquidity = LK_LIQUIDITY_COUNT;
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_LIQUIDITY);
    input = sound;
    input.price_scale = LK_SCALE_MAX + 1;
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE_SCALE);
    input = sound;
    input.price.units = -5;
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE);
    CHECK(bench->outcome.value == -5);
    input.price.units = 0; /* stated, and none */
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE);
    input = sound;
    input.qty.units = -7;
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_QTY);
    CHECK(bench->outcome.value == -7);
    input = sound;
    input.side = LK_SIDE_COUNT;
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_SIDE);
    CHECK(bench->outcome.value == LK_SIDE_COUNT);
    input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_EXECUTION_ID);
    input = input_of(bench, LK_INPUT_ORDER);
    input.order_fact = LK_FACT_ACKNOWLEDGED;
    input.client_order_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_CLIENT_ORDER_ID);
    input.client_order_id = id_of("entry");
    input.venue_order_id = id_of("with blank");
    must_refuse(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_VENUE_ORDER_ID);
    CHECK(apply(bench, &sound) == LK_CODE_OK);
    bench_free(bench);
}

static void test_exposure_of_a_market_entry_is_taken_at_its_reference_K23(void)
{
    bench_t *bench = watched_bench();
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    input.flags |= LK_HAS_REFERENCE;
    input.reference_price.units = 1500;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(account_of(bench).working_exposure.units == 150000000); /* 10 x 0.15 */
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000) == LK_CODE_OK);
    CHECK(account_of(bench).working_exposure.units == 90000000);
    CHECK(account_of(bench).gross_exposure.units == 40000000);
    bench_free(bench);
}

int main(void)
{
    RUN(test_frame_that_lags_leaves_exactly_what_it_does_not_hold_in_the_bridge_K13_K14);
    RUN(test_unsettled_fill_behind_the_watermark_excuses_nothing_before_it_K14);
    RUN(test_predicted_fees_and_the_tolerance_add_up_K14_K17);
    RUN(test_unsettled_fill_before_the_watermark_is_the_cause_whatever_follows_K14);
    RUN(test_frame_older_than_the_last_or_than_the_window_is_stale_K13);
    RUN(test_unseen_executions_that_are_seen_are_awaited_no_longer_K14);
    RUN(test_funding_is_not_due_for_what_is_over_or_not_yet_filled_K14);
    RUN(test_unsound_ids_of_facts_are_refused_with_the_field_named);
    RUN(test_exposure_of_a_market_entry_is_taken_at_its_reference_K23);
    return 0;
}
