/* Every refusal names what is wrong and leaves the digest as it was (K01, K10, K11, K20). */
#include "harness.h"

typedef void (*spoil_t)(lk_input_t *input);

static void check_refused(bench_t *bench, const lk_input_t *input, lk_code_t code, lk_field_t field)
{
    digest_t before = digest_of(bench);
    CHECK(apply(bench, input) == code);
    CHECK(bench->outcome.field == (uint32_t)field);
    CHECK(bench->outcome.severity == lk_code_severity((uint32_t)code));
    CHECK(bench->outcome.event_count == 0);
    CHECK(lk_set_next(bench->outcome.changed_slots, 0) == LK_NO_SLOT);
    CHECK(!bench->outcome.account_changed);
    CHECK(same_digest(before, digest_of(bench)));
}

#define SPOIL(name, statement)                                                                                         \
    static void name(lk_input_t *input)                                                                                \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

SPOIL(no_event_id, memset(&input->event_id, 0, sizeof input->event_id))
SPOIL(blank_in_event_id, input->event_id.text[2] = ' ')
SPOIL(text_after_the_end, input->event_id.text[60] = 'x')
SPOIL(no_trade_id, memset(&input->trade_id, 0, sizeof input->trade_id))
SPOIL(no_order_id, memset(&input->client_order_id, 0, sizeof input->client_order_id))
SPOIL(control_in_strategy, input->strategy.text[0] = '\n')
SPOIL(no_symbol, memset(&input->symbol, 0, sizeof input->symbol))
SPOIL(accent_in_currency, input->currency.text[0] = (char)0xc3)
SPOIL(scale_above_account, input->price_scale = 9)
SPOIL(scales_together_above_account, input->qty_scale = 5)
SPOIL(no_tick, input->tick_units = 0)
SPOIL(no_lot, input->lot_units = -1)
SPOIL(no_multiplier, input->multiplier = 0)
SPOIL(no_side, input->side = LK_SIDE_NONE)
SPOIL(side_out_of_range, input->side = 3)
SPOIL(no_order_type, input->order_type = LK_ORDER_TYPE_NONE)
SPOIL(order_type_out_of_range, input->order_type = 77)
SPOIL(no_time_in_force, input->time_in_force = LK_TIME_IN_FORCE_NONE)
SPOIL(no_qty, input->qty.units = 0)
SPOIL(negative_qty, input->qty.units = -1)
SPOIL(not_whole_lots, input->lot_units = 3)
SPOIL(market_with_price, input->flags |= LK_HAS_PRICE)
SPOIL(limit_without_price, input->order_type = LK_ORDER_TYPE_LIMIT)
SPOIL(limit_off_tick, input->order_type = LK_ORDER_TYPE_LIMIT; input->flags |= LK_HAS_PRICE; input->tick_units = 100;
      input->price.units = 101)
SPOIL(negative_stop, input->flags |= LK_HAS_STOP; input->stop_price.units = -1)
SPOIL(negative_target, input->flags |= LK_HAS_TARGET)
SPOIL(negative_reference, input->flags |= LK_HAS_REFERENCE)
SPOIL(no_leverage, input->leverage = 0)
SPOIL(too_much_leverage, input->leverage = 4)
SPOIL(negative_expiry, input->expires_at_ns = -1)
SPOIL(leg_above_whole, input->exit_leg_bps[0] = 10001)
SPOIL(gap_between_legs, input->exit_leg_bps[2] = 5000)
SPOIL(unknown_flag, input->flags |= 0x100)

static const struct {
    spoil_t spoil;
    lk_field_t field;
} BAD_ENTRIES[] = {
    {no_event_id, LK_FIELD_EVENT_ID},
    {blank_in_event_id, LK_FIELD_EVENT_ID},
    {text_after_the_end, LK_FIELD_EVENT_ID},
    {no_trade_id, LK_FIELD_TRADE_ID},
    {no_order_id, LK_FIELD_CLIENT_ORDER_ID},
    {control_in_strategy, LK_FIELD_STRATEGY},
    {no_symbol, LK_FIELD_SYMBOL},
    {accent_in_currency, LK_FIELD_CURRENCY},
    {scale_above_account, LK_FIELD_PRICE_SCALE},
    {scales_together_above_account, LK_FIELD_QTY_SCALE},
    {no_tick, LK_FIELD_TICK_UNITS},
    {no_lot, LK_FIELD_LOT_UNITS},
    {no_multiplier, LK_FIELD_MULTIPLIER},
    {no_side, LK_FIELD_SIDE},
    {side_out_of_range, LK_FIELD_SIDE},
    {no_order_type, LK_FIELD_ORDER_TYPE},
    {order_type_out_of_range, LK_FIELD_ORDER_TYPE},
    {no_time_in_force, LK_FIELD_TIME_IN_FORCE},
    {no_qty, LK_FIELD_QTY},
    {negative_qty, LK_FIELD_QTY},
    {not_whole_lots, LK_FIELD_QTY},
    {market_with_price, LK_FIELD_PRICE},
    {limit_without_price, LK_FIELD_PRICE},
    {limit_off_tick, LK_FIELD_PRICE},
    {negative_stop, LK_FIELD_STOP_PRICE},
    {negative_target, LK_FIELD_TARGET_PRICE},
    {negative_reference, LK_FIELD_REFERENCE_PRICE},
    {no_leverage, LK_FIELD_LEVERAGE},
    {too_much_leverage, LK_FIELD_LEVERAGE},
    {negative_expiry, LK_FIELD_EXPIRES_AT_NS},
    {leg_above_whole, LK_FIELD_EXIT_LEG_BPS},
    {gap_between_legs, LK_FIELD_EXIT_LEG_BPS},
    {unknown_flag, LK_FIELD_FLAGS},
};

static void test_malformed_entry_is_refused_with_the_field_named_K20(void)
{
    bench_t *bench = bench_new(2);
    for (uint32_t i = 0; i < sizeof BAD_ENTRIES / sizeof *BAD_ENTRIES; i++) {
        lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
        BAD_ENTRIES[i].spoil(&input);
        check_refused(bench, &input, LK_CODE_INVALID_INTENT, BAD_ENTRIES[i].field);
    }
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    bench_free(bench);
}

static void test_overflowing_entry_is_refused_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, INT64_MAX);
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_QTY);
    CHECK(bench->outcome.value == INT64_MAX);
    input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000000000);
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.price.units = 1000000000000;
    input.flags |= LK_HAS_PRICE;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_QTY);
    bench_free(bench);
}

static void test_entry_that_has_no_place_is_refused_K02(void)
{
    bench_t *bench = bench_new(1);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    lk_input_t input = enter_input(bench, "trade", "entry-2", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_TRADE_ID);
    input = enter_input(bench, "trade-2", "entry", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID);
    input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_NONE);
    input.expires_at_ns = input.now_ns;
    check_refused(bench, &input, LK_CODE_ENTRY_EXPIRED, LK_FIELD_EXPIRES_AT_NS);
    bench_free(bench);
}

static void test_second_trade_in_a_symbol_is_refused_until_the_first_is_over_X10(void)
{
    bench_t *bench = bench_new(3);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_SELL, 10);
    check_refused(bench, &input, LK_CODE_SYMBOL_BUSY, LK_FIELD_SYMBOL);
    CHECK(bench->outcome.slot_index == 0);
    CHECK(enter_in(bench, "BTC-USDT", "trade-3", "entry-3") == LK_CODE_OK);
    lk_input_t adopt = enter_input(bench, "trade-4", "", LK_SIDE_BUY, 10);
    adopt.kind = LK_INPUT_ADOPT;
    adopt.price.units = 1000;
    check_refused(bench, &adopt, LK_CODE_SYMBOL_BUSY, LK_FIELD_SYMBOL);
    report(bench, "entry", LK_FACT_CANCELED);
    input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_SELL, 10);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bench_free(bench);
}

static void test_further_attempt_of_a_trade_that_is_over_takes_its_slot_X08(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    report(bench, "entry", LK_FACT_EXPIRED);
    CHECK(enter(bench, "trade", "entry-again", LK_SIDE_BUY, 10) == LK_CODE_OK);
    CHECK(bench->outcome.slot_index == 0);
    lk_input_t input = enter_input(bench, "trade", "entry-3", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_TRADE_ID);
    bench_free(bench);
}

static void test_duplicate_event_changes_nothing_K10(void)
{
    bench_t *bench = bench_new(2);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    check_refused(bench, &input, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EVENT_ID);
    lk_input_t traded = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000);
    CHECK(apply(bench, &traded) == LK_CODE_OK);
    check_refused(bench, &traded, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EVENT_ID);
    traded.event_id = id_of("told-again");
    check_refused(bench, &traded, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID);
    bench_free(bench);
}

static void test_windows_are_bounded_and_forget_the_oldest_first_K10(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 1000000);
    lk_input_t first = fill_input(bench, "entry", "first", LK_SIDE_BUY, 1, 1000);
    CHECK(apply(bench, &first) == LK_CODE_OK);
    for (uint64_t i = 0; i < 63; i++) {
        lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 1, 1000);
        input.execution_id = numbered("e", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    first.now_ns = (int64_t)bench->step;
    check_refused(bench, &first, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EVENT_ID);
    CHECK(fill(bench, "entry", "one-more", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    first.now_ns = (int64_t)bench->step;
    CHECK(apply(bench, &first) == LK_CODE_OK); /* out of both windows: the header says how large they are */
    bench_free(bench);
}

static void test_what_matches_no_slot_mutates_nothing_K11(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "stranger", "e1", LK_SIDE_BUY, 4, 1000);
    input.symbol = symbol_of("FET-USDT"); /* an identity that is not ours is never routed by stage */
    check_refused(bench, &input, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID);
    CHECK(bench->outcome.severity == LK_SEVERITY_WARNING);
    CHECK(bench->outcome.slot_index == LK_NO_SLOT);
    input = fill_input(bench, "", "e1", LK_SIDE_BUY, 4, 1000);
    check_refused(bench, &input, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID);
    input = input_of(bench, LK_INPUT_ORDER);
    input.venue_order_id = id_of("stranger");
    input.order_fact = LK_FACT_CANCELED;
    check_refused(bench, &input, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID);
    input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("stranger");
    input.client_order_id = id_of("exit");
    check_refused(bench, &input, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_TRADE_ID);
    input = input_of(bench, LK_INPUT_CANCEL);
    input.client_order_id = id_of("stranger");
    check_refused(bench, &input, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_CLIENT_ORDER_ID);
    input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of("stranger");
    input.flags = LK_HAS_AMOUNT;
    check_refused(bench, &input, LK_CODE_UNKNOWN_EXECUTION, LK_FIELD_EXECUTION_ID);
    input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of("stranger");
    check_refused(bench, &input, LK_CODE_UNKNOWN_EXECUTION, LK_FIELD_EXECUTION_ID);
    bench_free(bench);
}

static void test_malformed_facts_are_refused(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "entry", "", LK_SIDE_BUY, 4, 1000);
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_EXECUTION_ID);
    input = fill_input(bench, "entry", "e1", LK_SIDE_NONE, 4, 1000);
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_SIDE);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 0, 1000);
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_QTY);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 4, -1);
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000);
    input.qty_scale = 1; /* 0.4 of a whole unit */
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_QTY);
    input.qty_scale = 200;
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_QTY_SCALE);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, INT64_MAX, INT64_MAX);
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_PRICE);
    input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of("entry");
    input.order_fact = LK_FACT_TRADED;
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_ORDER_FACT);
    input = input_of(bench, LK_INPUT_MARK_PRICE);
    input.symbol = symbol_of("FET-USDT");
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE);
    input = input_of(bench, LK_INPUT_FUNDING);
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_AMOUNT);
    bench_free(bench);
}

static void test_balance_without_a_wallet_or_out_of_order_is_dropped_K16(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = input_of(bench, LK_INPUT_BALANCE);
    check_refused(bench, &input, LK_CODE_BALANCE_WITHOUT_WALLET, LK_FIELD_AMOUNT);
    input.amount.units = -5;
    check_refused(bench, &input, LK_CODE_BALANCE_WITHOUT_WALLET, LK_FIELD_AMOUNT);
    input.amount.units = 5;
    input.venue_sequence = 7;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = input_of(bench, LK_INPUT_BALANCE);
    input.amount.units = 4;
    input.venue_sequence = 7;
    check_refused(bench, &input, LK_CODE_BALANCE_STALE, LK_FIELD_VENUE_SEQUENCE);
    bench_free(bench);
}

static void test_requests_that_come_too_late_are_refused(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    lk_input_t input = input_of(bench, LK_INPUT_CANCEL);
    input.client_order_id = id_of("entry");
    check_refused(bench, &input, LK_CODE_NO_WORKING_ORDER, LK_FIELD_CLIENT_ORDER_ID);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 1000);
    input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit-2");
    check_refused(bench, &input, LK_CODE_NO_OPEN_POSITION, LK_FIELD_TRADE_ID);
    input = input_of(bench, LK_INPUT_FREEZE);
    input.now_ns = 1;
    check_refused(bench, &input, LK_CODE_TIME_REVERSED, LK_FIELD_NOW_NS);
    bench_free(bench);
}

static void test_calls_that_break_the_contract_are_told(void)
{
    bench_t *bench = bench_new(1);
    lk_kernel_t *kernel = NULL;
    lk_config_t config = config_of(1);
    lk_input_t input = input_of(bench, LK_INPUT_NONE);
    size_t size = 0;
    CHECK(lk_kernel_apply(bench->kernel, &input, &bench->outcome, bench->events, bench->event_capacity) ==
          LK_STATUS_INVALID_ARGUMENT);
    input.kind = LK_INPUT_COUNT;
    CHECK(lk_kernel_apply(bench->kernel, &input, &bench->outcome, bench->events, bench->event_capacity) ==
          LK_STATUS_INVALID_ARGUMENT);
    input.kind = LK_INPUT_TICK;
    CHECK(lk_kernel_apply(bench->kernel, &input, &bench->outcome, bench->events, bench->event_capacity - 1) ==
          LK_STATUS_BUFFER_TOO_SMALL);
    CHECK(lk_kernel_apply(NULL, &input, &bench->outcome, bench->events, bench->event_capacity) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_slot(bench->kernel, 1, &(lk_slot_view_t){0}) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save(bench->kernel, (uint8_t[1]){0}, 1, &size) == LK_STATUS_BUFFER_TOO_SMALL);
    CHECK(size > 1);
    config.slot_count = LK_SLOTS_MAX + 1;
    CHECK(lk_kernel_create(&config, &kernel) == LK_STATUS_INVALID_CONFIG);
    config = config_of(1);
    config.window_count = 100;
    CHECK(lk_kernel_create(&config, &kernel) == LK_STATUS_INVALID_CONFIG);
    config = config_of(1);
    config.abi_version++;
    CHECK(lk_kernel_create(&config, &kernel) == LK_STATUS_INVALID_CONFIG);
    CHECK(lk_kernel_create(NULL, &kernel) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(kernel == NULL);
    lk_kernel_destroy(NULL);
    bench_free(bench);
}

int main(void)
{
    RUN(test_malformed_entry_is_refused_with_the_field_named_K20);
    RUN(test_overflowing_entry_is_refused_K20);
    RUN(test_entry_that_has_no_place_is_refused_K02);
    RUN(test_second_trade_in_a_symbol_is_refused_until_the_first_is_over_X10);
    RUN(test_further_attempt_of_a_trade_that_is_over_takes_its_slot_X08);
    RUN(test_duplicate_event_changes_nothing_K10);
    RUN(test_windows_are_bounded_and_forget_the_oldest_first_K10);
    RUN(test_what_matches_no_slot_mutates_nothing_K11);
    RUN(test_malformed_facts_are_refused);
    RUN(test_balance_without_a_wallet_or_out_of_order_is_dropped_K16);
    RUN(test_requests_that_come_too_late_are_refused);
    RUN(test_calls_that_break_the_contract_are_told);
    return 0;
}
