/* What the venue and the clock tell of orders and prices, and how it is found (K03, K07, K08, K11, T09). */
#include "harness.h"

static lk_input_t order_input(bench_t *bench, const char *client_order_id, const char *venue_order_id,
                              lk_order_fact_t fact)
{
    lk_input_t input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of(client_order_id);
    input.venue_order_id = id_of(venue_order_id);
    input.order_fact = (uint8_t)fact;
    return input;
}

static void check_refused_field(bench_t *bench, const lk_input_t *input, lk_field_t field)
{
    digest_t before = digest_of(bench);
    CHECK(apply(bench, input) == LK_CODE_INVALID_EVENT);
    CHECK(bench->outcome.field == (uint32_t)field);
    CHECK(same_digest(before, digest_of(bench)));
}

static void test_unsound_ids_are_refused_with_the_field_named(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = order_input(bench, "with blank", "", LK_FACT_ACKNOWLEDGED);
    check_refused_field(bench, &input, LK_FIELD_CLIENT_ORDER_ID);
    input = order_input(bench, "entry", "with blank", LK_FACT_ACKNOWLEDGED);
    check_refused_field(bench, &input, LK_FIELD_VENUE_ORDER_ID);
    input = order_input(bench, "", "", LK_FACT_ACKNOWLEDGED);
    check_refused_field(bench, &input, LK_FIELD_CLIENT_ORDER_ID);
    input = order_input(bench, "entry", "", LK_FACT_NONE);
    check_refused_field(bench, &input, LK_FIELD_ORDER_FACT);
    input = fill_input(bench, "with blank", "e1", LK_SIDE_BUY, 1, 1000);
    check_refused_field(bench, &input, LK_FIELD_CLIENT_ORDER_ID);
    input = fill_input(bench, "entry", "with blank", LK_SIDE_BUY, 1, 1000);
    check_refused_field(bench, &input, LK_FIELD_EXECUTION_ID);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    input.venue_order_id = id_of("with blank");
    check_refused_field(bench, &input, LK_FIELD_VENUE_ORDER_ID);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    input.liquidity = LK_LIQUIDITY_COUNT;
    check_refused_field(bench, &input, LK_FIELD_LIQUIDITY);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000);
    input.price_scale = 19;
    check_refused_field(bench, &input, LK_FIELD_PRICE_SCALE);
    input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of("with blank");
    check_refused_field(bench, &input, LK_FIELD_EXECUTION_ID);
    bench_free(bench);
}

/* The venue's id is learned from the first fact that has both, and found by itself from then on. */
static void test_order_is_found_by_the_venue_s_id_before_ours_K07(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    enter_in(bench, "BTC-USDT", "other", "other-entry");
    lk_input_t input = order_input(bench, "entry", "v-1", LK_FACT_ACKNOWLEDGED);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = order_input(bench, "", "v-1", LK_FACT_ACKNOWLEDGED);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).entry.life == LK_LIFE_WORKING);
    input = fill_input(bench, "other-entry", "e1", LK_SIDE_BUY, 4, 1000);
    input.venue_order_id = id_of("v-1"); /* two that disagree: theirs is the truth of the venue */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).entry_qty.units == 4);
    CHECK(slot_of(bench, 1).entry_qty.units == 0);
    lk_id_t id = id_of("v-1");
    CHECK(lk_kernel_find_order(bench->kernel, &id) == 0);
    id = id_of("other-entry");
    CHECK(lk_kernel_find_order(bench->kernel, &id) == 1);
    id = id_of("stranger");
    CHECK(lk_kernel_find_order(bench->kernel, &id) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(bench->kernel, NULL) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(NULL, &id) == LK_NO_SLOT);
    id = id_of("other");
    CHECK(lk_kernel_find_trade(bench->kernel, &id) == 1);
    id = id_of("stranger");
    CHECK(lk_kernel_find_trade(bench->kernel, &id) == LK_NO_SLOT);
    id = id_of("");
    CHECK(lk_kernel_find_trade(bench->kernel, &id) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(bench->kernel, NULL) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(NULL, &id) == LK_NO_SLOT);
    bench_free(bench);
}

static lk_code_t mark_at(bench_t *bench, const char *symbol, int64_t price, uint8_t scale)
{
    lk_input_t input = input_of(bench, LK_INPUT_MARK_PRICE);
    input.symbol = symbol_of(symbol);
    input.price.units = price;
    input.price_scale = scale;
    return apply(bench, &input);
}

static void test_mark_values_its_symbol_only_and_is_rounded_down_to_the_scale_K08(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    enter_in(bench, "BTC-USDT", "other", "other-entry");
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    fill(bench, "other-entry", "e2", LK_SIDE_BUY, 10, 1000);
    CHECK(mark_at(bench, "FET-USDT", 110099, 6) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).mark.units == 1100);
    CHECK(!slot_of(bench, 1).has_mark);
    CHECK(slot_of(bench, 0).unrealized_pnl.units == 10000000); /* 10 x 0.01 */
    CHECK(mark_at(bench, "TRX-USDT", 1, 0) == LK_CODE_OK);     /* nobody is concerned */
    CHECK(bench->outcome.event_count == 0);
    CHECK(mark_at(bench, "FET-USDT", INT64_MAX, 0) == LK_CODE_OVERFLOW);
    bench_free(bench);
}

static lk_code_t tick(bench_t *bench, int64_t now_ns)
{
    lk_input_t input = input_of(bench, LK_INPUT_TICK);
    input.now_ns = now_ns;
    return apply(bench, &input);
}

static void test_sent_exit_without_answer_is_stalled_too_T09(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    report(bench, "exit", LK_FACT_SUBMITTING);
    int64_t deadline_ns = lk_kernel_next_deadline_ns(bench->kernel);
    CHECK(deadline_ns == (int64_t)bench->step + 60000000000);
    CHECK(account_of(bench).next_deadline_ns == deadline_ns);
    tick(bench, deadline_ns);
    CHECK(anomaly_count(bench, LK_CODE_ORDER_STALLED) == 1);
    CHECK(slot_of(bench, 0).exit.is_stalled);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_EXIT_SENT);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_MANAGED); /* the position is managed all the same */
    CHECK(lk_kernel_next_deadline_ns(NULL) == LK_NEVER_NS);
    bench_free(bench);
}

static void test_deadline_beyond_the_end_of_time_never_comes_T09(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = order_input(bench, "entry", "", LK_FACT_SUBMITTING);
    input.now_ns = INT64_MAX - 5;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    bench_free(bench);
}

/* An exit sent again under the same id waits anew; a stalled one keeps waiting for a person. */
static void test_exit_sent_again_waits_anew_T09(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "trade", "exit");
    report(bench, "exit", LK_FACT_SUBMITTING);
    int64_t first_ns = lk_kernel_next_deadline_ns(bench->kernel);
    report(bench, "exit", LK_FACT_SUBMITTING);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == first_ns + 1);
    bench_free(bench);
}

static void test_views_refuse_what_is_not_there(void)
{
    bench_t *bench = bench_new(1);
    lk_slot_view_t slot;
    lk_account_view_t account;
    CHECK(lk_kernel_slot(NULL, 0, &slot) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_slot(bench->kernel, 0, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_slot(bench->kernel, 1, &slot) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_account(NULL, &account) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_account(bench->kernel, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_code_severity(LK_CODE_COUNT) == LK_SEVERITY_NONE);
    CHECK(strcmp(lk_ledger_status_name(LK_LEDGER_ERROR), "ERROR") == 0);
    CHECK(strcmp(lk_ledger_cause_name(LK_LEDGER_CAUSE_FUNDING), "FUNDING") == 0);
    CHECK(strcmp(lk_fee_status_name(LK_FEE_STATUS_DEVIATING), "DEVIATING") == 0);
    CHECK(strcmp(lk_requirement_name(LK_REQUIREMENT_STATED), "STATED") == 0);
    CHECK(strcmp(lk_requirement_name(LK_REQUIREMENT_COUNT), "?") == 0);
    bench_free(bench);
}

static void test_working_exposure_is_at_the_limit_else_the_reference_else_the_mark(void)
{
    bench_t *bench = bench_new(3);
    lk_input_t input = enter_input(bench, "a", "entry-a", LK_SIDE_BUY, 10);
    input.flags = LK_HAS_REFERENCE;
    input.reference_price.units = 2000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(account_of(bench).working_exposure.units == 2 * (int64_t)UNIT);
    input.trade_id = id_of("b");
    input.client_order_id = id_of("entry-b");
    input.event_id = id_of("b");
    input.symbol = symbol_of("BTC-USDT");
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.flags |= LK_HAS_PRICE;
    input.price.units = 3000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(account_of(bench).working_exposure.units == 5 * (int64_t)UNIT);
    enter_in(bench, "TRX-USDT", "c", "entry-c");
    CHECK(account_of(bench).working_exposure.units == 5 * (int64_t)UNIT);
    CHECK(mark_at(bench, "TRX-USDT", 1000, 4) == LK_CODE_OK);
    CHECK(account_of(bench).working_exposure.units == 6 * (int64_t)UNIT);
    bench_free(bench);
}

/* A fact about the machine that the comments promise: always true, before and after every input. */
static void test_slot_that_no_input_could_make_is_not_sound(void)
{
    bench_t *bench = bench_new(1);
    const lk_slot_t empty = bench->kernel->slots[0];
    lk_slot_t slot = empty;
    CHECK(lk_slot_is_sound(&slot));
    slot.entry.life = LK_LIFE_SENT;
    CHECK(!lk_slot_is_sound(&slot));
    slot = empty;
    slot.book.entry_qty = 1;
    CHECK(!lk_slot_is_sound(&slot));
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    const lk_slot_t sound = bench->kernel->slots[0];
    CHECK(lk_slot_is_sound(&sound));
#define UNSOUND(change)                                                                                                \
    do {                                                                                                               \
        slot = sound;                                                                                                  \
        slot.change;                                                                                                   \
        CHECK(!lk_slot_is_sound(&slot));                                                                               \
    } while (0)
    UNSOUND(entry.life = LK_LIFE_NONE);
    UNSOUND(entry.life = LK_LIFE_COUNT);
    UNSOUND(entry.cum_qty = -1);
    UNSOUND(entry.priced_qty = -1);
    UNSOUND(entry.priced_qty = 1);
    UNSOUND(entry.cum_notional = -1);
    UNSOUND(entry.order_qty = 0);
    UNSOUND(exit_count = 1; slot.exits[0].cum_qty = 1);
    UNSOUND(book.entry_qty = -1);
    UNSOUND(book.exit_qty = -1);
    UNSOUND(book.entry_unpriced_qty = -1);
    UNSOUND(book.entry_unpriced_qty = 1);
    UNSOUND(book.skipped_count = -1);
    UNSOUND(book.entry_notional = -1);
    UNSOUND(book.exit_notional = -1);
    UNSOUND(book.skipped_qty = -1);
    UNSOUND(book.skipped_qty = 1);
    UNSOUND(qty_scale = 18);
    bench_free(bench);
}

int main(void)
{
    RUN(test_unsound_ids_are_refused_with_the_field_named);
    RUN(test_order_is_found_by_the_venue_s_id_before_ours_K07);
    RUN(test_mark_values_its_symbol_only_and_is_rounded_down_to_the_scale_K08);
    RUN(test_sent_exit_without_answer_is_stalled_too_T09);
    RUN(test_deadline_beyond_the_end_of_time_never_comes_T09);
    RUN(test_exit_sent_again_waits_anew_T09);
    RUN(test_views_refuse_what_is_not_there);
    RUN(test_working_exposure_is_at_the_limit_else_the_reference_else_the_mark);
    RUN(test_slot_that_no_input_could_make_is_not_sound);
    return 0;
}
