/* Every refusal names what is wrong and leaves the digest as it was (K01, K10, K11, K20). */
#include "harness.h"

typedef void (*spoil_t)(lk_input_t *input);

static bool is_seen[LK_INPUT_COUNT][LK_CODE_COUNT]; /* the refusals that were shown to change nothing */

static void check_refused(bench_t *bench, const lk_input_t *input, lk_code_t code, lk_field_t field)
{
    is_seen[input->kind][code] = true;
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
SPOIL(unknown_flag, input->flags |= 0x200)

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

/* ------------------------------------------------------------------------------------- every kind, every code -- */

/* A trade in FET that is partly filled, with the rest of its entry at work; a second slot is free. */
static bench_t *working_bench(void)
{
    lk_config_t config = fee_config();
    bench_t *bench = bench_with(&config);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    CHECK(report(bench, "entry", LK_FACT_ACKNOWLEDGED) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000) == LK_CODE_OK);
    CHECK(balance(bench, (int64_t)1000000 * UNIT) == LK_CODE_OK);
    return bench;
}

/* An input of this kind that the bench above accepts. */
static lk_input_t sound_input(bench_t *bench, lk_input_kind_t kind)
{
    lk_input_t input = input_of(bench, kind);
    switch (kind) {
    case LK_INPUT_ENTER:
    case LK_INPUT_ADOPT:
        input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
        input.kind = (uint8_t)kind;
        input.symbol = symbol_of("BTC-USDT");
        input.flags = 0;
        input.price.units = 1000;
        break;
    case LK_INPUT_EXIT:
        input.trade_id = id_of("trade");
        input.client_order_id = id_of("exit");
        break;
    case LK_INPUT_CANCEL:
        input.client_order_id = id_of("entry");
        break;
    case LK_INPUT_MARK_PRICE:
        input.symbol = symbol_of("FET-USDT");
        input.price.units = 1100;
        input.price_scale = 4;
        break;
    case LK_INPUT_ORDER:
        input.client_order_id = id_of("entry");
        input.order_fact = LK_FACT_CANCELED;
        break;
    case LK_INPUT_FILL:
        input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 2, 1000);
        break;
    case LK_INPUT_BUST:
    case LK_INPUT_CORRECTION:
        input.execution_id = id_of("e1");
        input.qty.units = 3;
        break;
    case LK_INPUT_SETTLEMENT:
        input.execution_id = id_of("e1");
        input.flags = LK_HAS_FEE;
        break;
    case LK_INPUT_BALANCE:
    case LK_INPUT_FUNDING:
        input.amount.units = (int64_t)1000000 * UNIT;
        break;
    case LK_INPUT_FLATTEN:
        input.client_order_id = id_of("flatten");
        break;
    default: /* TICK, CANCEL_WORKING_ENTRIES, FREEZE, UNFREEZE and FOREIGN need nothing more */
        break;
    }
    return input;
}

static bool is_request_kind(lk_input_kind_t kind)
{
    return kind == LK_INPUT_ENTER || kind == LK_INPUT_EXIT || kind == LK_INPUT_CANCEL || kind == LK_INPUT_FLATTEN ||
           kind == LK_INPUT_CANCEL_WORKING_ENTRIES || kind == LK_INPUT_FREEZE || kind == LK_INPUT_UNFREEZE ||
           kind == LK_INPUT_ADOPT;
}

static void check_common_refusals(lk_input_kind_t kind)
{
    bench_t *bench = working_bench();
    lk_code_t malformed = is_request_kind(kind) ? LK_CODE_INVALID_INTENT : LK_CODE_INVALID_EVENT;
    lk_input_t sound = sound_input(bench, kind);
    lk_input_t input = sound;
    input.flags |= 0x200;
    check_refused(bench, &input, malformed, LK_FIELD_FLAGS);
    input = sound;
    input.now_ns = 1;
    check_refused(bench, &input, LK_CODE_TIME_REVERSED, LK_FIELD_NOW_NS);
    if (lk_input_reads(kind, LK_FIELD_EVENT_ID) == LK_REQUIREMENT_REQUIRED) {
        input = sound;
        memset(&input.event_id, 0, sizeof input.event_id);
        check_refused(bench, &input, malformed, LK_FIELD_EVENT_ID);
        CHECK(apply(bench, &sound) == LK_CODE_OK);
        check_refused(bench, &sound, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EVENT_ID);
    } else {
        CHECK(apply(bench, &sound) == LK_CODE_OK);
    }
    bench_free(bench);
}

static void test_what_is_asked_of_every_input_is_refused_of_each_kind_K01_K10(void)
{
    for (uint32_t kind = LK_INPUT_NONE + 1; kind < LK_INPUT_COUNT; kind++)
        check_common_refusals((lk_input_kind_t)kind);
}

/* The bytes of a field. EXIT_LEG_BPS and scales have sizes of their own. */
static void *field_of(lk_input_t *input, lk_field_t field, size_t *size)
{
#define PLACE(name, member)                                                                                            \
    case LK_FIELD_##name:                                                                                              \
        *size = sizeof input->member;                                                                                  \
        return &input->member;
    switch (field) {
        PLACE(EVENT_ID, event_id)
        PLACE(TRADE_ID, trade_id)
        PLACE(CLIENT_ORDER_ID, client_order_id)
        PLACE(VENUE_ORDER_ID, venue_order_id)
        PLACE(EXECUTION_ID, execution_id)
        PLACE(SYMBOL, symbol)
        PLACE(STRATEGY, strategy)
        PLACE(CURRENCY, currency)
        PLACE(SIDE, side)
        PLACE(ORDER_TYPE, order_type)
        PLACE(TIME_IN_FORCE, time_in_force)
        PLACE(ORDER_FACT, order_fact)
        PLACE(LIQUIDITY, liquidity)
        PLACE(PRICE_SCALE, price_scale)
        PLACE(QTY_SCALE, qty_scale)
        PLACE(FLAGS, flags)
        PLACE(LEVERAGE, leverage)
        PLACE(QTY, qty)
        PLACE(PRICE, price)
        PLACE(STOP_PRICE, stop_price)
        PLACE(TARGET_PRICE, target_price)
        PLACE(REFERENCE_PRICE, reference_price)
        PLACE(AMOUNT, amount)
        PLACE(AVAILABLE, available)
        PLACE(FEE, fee)
        PLACE(EXPIRES_AT_NS, expires_at_ns)
        PLACE(NOW_NS, now_ns)
        PLACE(TICK_UNITS, tick_units)
        PLACE(LOT_UNITS, lot_units)
        PLACE(MULTIPLIER, multiplier)
        PLACE(EXIT_LEG_BPS, exit_leg_bps)
        PLACE(EXECUTION_WATERMARK, execution_watermark)
        PLACE(VENUE_SEQUENCE, venue_sequence)
        PLACE(SEQUENCE, sequence)
        PLACE(INSTRUMENT_VERSION, instrument_version)
    default:
        *size = 0;
        return NULL;
    }
#undef PLACE
}

/* The flag that says a field is stated; 0: there is none. */
static uint32_t flag_of(lk_field_t field)
{
    switch (field) {
    case LK_FIELD_QTY:
        return LK_HAS_QTY;
    case LK_FIELD_PRICE:
        return LK_HAS_PRICE;
    case LK_FIELD_STOP_PRICE:
        return LK_HAS_STOP;
    case LK_FIELD_TARGET_PRICE:
        return LK_HAS_TARGET;
    case LK_FIELD_REFERENCE_PRICE:
        return LK_HAS_REFERENCE;
    case LK_FIELD_FEE:
        return LK_HAS_FEE;
    case LK_FIELD_AMOUNT:
        return LK_HAS_AMOUNT;
    case LK_FIELD_AVAILABLE:
        return LK_HAS_AVAILABLE;
    default:
        return 0;
    }
}

/* Same answer, same events, same digest as the input without the garbage? */
static void check_ignored(lk_input_kind_t kind, const lk_input_t *garbled)
{
    bench_t *plain = working_bench();
    bench_t *other = working_bench();
    lk_input_t input = sound_input(plain, kind);
    CHECK(apply(plain, &input) == LK_CODE_OK);
    CHECK(apply(other, garbled) == LK_CODE_OK);
    CHECK(memcmp(&plain->outcome, &other->outcome, sizeof plain->outcome) == 0);
    CHECK(memcmp(plain->events, other->events, plain->outcome.event_count * sizeof *plain->events) == 0);
    CHECK(same_digest(digest_of(plain), digest_of(other)));
    bench_free(plain);
    bench_free(other);
}

static void check_field(lk_input_kind_t kind, lk_field_t field)
{
    uint32_t requirement = lk_input_reads(kind, field);
    size_t size = 0;
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, kind);
    void *place = field_of(&input, field, &size);
    CHECK(place != NULL);
    bool is_stated = (input.flags & flag_of(field)) != 0;
    bool may_be_zero = field == LK_FIELD_PRICE_SCALE || field == LK_FIELD_QTY_SCALE;
    if (requirement == LK_REQUIREMENT_REQUIRED && !may_be_zero) {
        memset(place, 0, size);
        digest_t before = digest_of(bench);
        CHECK(apply(bench, &input) != LK_CODE_OK);
        CHECK(bench->outcome.field == (uint32_t)field);
        CHECK(same_digest(before, digest_of(bench)));
    }
    if (requirement == LK_REQUIREMENT_NONE || (requirement == LK_REQUIREMENT_STATED && !is_stated)) {
        memset(place, 0xa7, size);
        if (requirement == LK_REQUIREMENT_NONE) input.flags |= flag_of(field);
        check_ignored(kind, &input);
    }
    bench_free(bench);
}

static void test_each_kind_reads_the_fields_of_the_list_and_no_other_K01(void)
{
    for (uint32_t kind = LK_INPUT_NONE + 1; kind < LK_INPUT_COUNT; kind++) {
        for (uint32_t field = LK_FIELD_NONE + 1; field < LK_FIELD_COUNT; field++)
            check_field((lk_input_kind_t)kind, (lk_field_t)field);
    }
    CHECK(lk_input_reads(LK_INPUT_COUNT, LK_FIELD_QTY) == LK_REQUIREMENT_NONE);
    CHECK(lk_input_reads(LK_INPUT_FILL, LK_FIELD_COUNT) == LK_REQUIREMENT_NONE);
}

static void test_numbers_below_the_finest_are_refused_in_an_entry_K20(void)
{
    lk_config_t config = config_of(1);
    config.amount_scale = 12;
    bench_t *bench = bench_with(&config);
    lk_input_t sound = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    sound.price_scale = 12;
    sound.order_type = LK_ORDER_TYPE_LIMIT;
    sound.flags = LK_HAS_PRICE | LK_HAS_STOP | LK_HAS_TARGET | LK_HAS_REFERENCE;
    sound.price.units = sound.stop_price.units = sound.target_price.units = sound.reference_price.units = 10000;
    lk_input_t input = sound;
    input.price.units = 9999; /* 0.000000009999 */
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_PRICE);
    CHECK(bench->outcome.value == 9999);
    input = sound;
    input.stop_price.units = 9999;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_STOP_PRICE);
    input = sound;
    input.target_price.units = 9999;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_TARGET_PRICE);
    input = sound;
    input.reference_price.units = 9999;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_REFERENCE_PRICE);
    input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 999);
    input.now_ns = sound.now_ns;
    input.price_scale = 0;
    input.qty_scale = 11;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_QTY);
    CHECK(apply(bench, &sound) == LK_CODE_OK); /* exactly 10^-8 */
    bench_free(bench);
}

static void test_entry_without_capital_is_refused_and_the_exit_is_not_X10_K20(void)
{
    lk_config_t config = config_of(2);
    config.seed_capital.units = 0;
    bench_t *bench = bench_with(&config);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_NO_CAPITAL, LK_FIELD_NONE);
    CHECK(bench->outcome.value == 0);
    CHECK(balance(bench, 5) == LK_CODE_OK);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    fill_with_fee(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000, LK_LIQUIDITY_NONE, 6); /* capital: -1 */
    CHECK(account_of(bench).capital.units == -1);
    input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    input.symbol = symbol_of("BTC-USDT");
    check_refused(bench, &input, LK_CODE_NO_CAPITAL, LK_FIELD_NONE);
    CHECK(bench->outcome.value == -1);
    CHECK(!slot_of(bench, 0).has_conviction);
    CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    bench_free(bench);
}

static void test_frozen_account_refuses_entries_K14(void)
{
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, LK_INPUT_FREEZE);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = sound_input(bench, LK_INPUT_ENTER);
    check_refused(bench, &input, LK_CODE_ENTRY_FROZEN, LK_FIELD_NONE);
    input = sound_input(bench, LK_INPUT_EXIT);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    bench_free(bench);
}

static void test_single_slot_takes_one_trade_whatever_the_symbol_K02(void)
{
    bench_t *bench = bench_new(1);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    lk_input_t input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    input.symbol = symbol_of("BTC-USDT");
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_NONE);
    input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_NONE); /* also in the same symbol */
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    input = enter_input(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10);
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_NONE);
    leave(bench, "trade", "exit");
    fill(bench, "exit", "x1", LK_SIDE_SELL, 10, 1000);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_OK);
    CHECK(bench->outcome.slot_index == 0);
    bench_free(bench);
}

static void test_adoption_is_refused_by_name_when_it_has_no_place_X13(void)
{
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, LK_INPUT_ADOPT);
    input.price.units = 0;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_PRICE);
    input.price.units = INT64_MAX;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_QTY);
    input.price.units = 1000;
    input.qty.units = INT64_MIN;
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_QTY);
    input.qty.units = 10;
    input.trade_id = id_of("trade");
    check_refused(bench, &input, LK_CODE_SLOT_BUSY, LK_FIELD_TRADE_ID);
    input = sound_input(bench, LK_INPUT_ADOPT);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = sound_input(bench, LK_INPUT_ADOPT);
    input.trade_id = id_of("trade-3");
    check_refused(bench, &input, LK_CODE_ORPHAN_POSITION, LK_FIELD_QTY);
    CHECK(bench->outcome.value == 10);
    bench_free(bench);
}

static void test_executions_that_are_gone_or_over_are_refused(void)
{
    lk_config_t config = config_of(1);
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 6, 1000);
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("e2");
    CHECK(apply(bench, &bust) == LK_CODE_OK);
    bust.event_id = id_of("again");
    check_refused(bench, &bust, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID);
    lk_input_t correction = input_of(bench, LK_INPUT_CORRECTION);
    correction.execution_id = id_of("e2");
    correction.qty.units = 1;
    check_refused(bench, &correction, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID);
    correction.execution_id = id_of("stranger");
    check_refused(bench, &correction, LK_CODE_UNKNOWN_EXECUTION, LK_FIELD_EXECUTION_ID);
    correction.execution_id = id_of("e1");
    correction.liquidity = LK_LIQUIDITY_COUNT;
    check_refused(bench, &correction, LK_CODE_INVALID_EVENT, LK_FIELD_LIQUIDITY);
    correction.liquidity = 0;
    correction.qty_scale = 19;
    check_refused(bench, &correction, LK_CODE_INVALID_EVENT, LK_FIELD_QTY_SCALE);
    correction.qty_scale = 0;
    correction.price_scale = 19;
    check_refused(bench, &correction, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE_SCALE);
    correction.price_scale = 0;
    correction.flags = LK_HAS_PRICE;
    check_refused(bench, &correction, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE);
    correction.price.units = INT64_MAX;
    check_refused(bench, &correction, LK_CODE_OVERFLOW, LK_FIELD_PRICE);
    correction.flags = 0;
    correction.qty.units = 0;
    check_refused(bench, &correction, LK_CODE_INVALID_EVENT, LK_FIELD_QTY);
    lk_input_t settlement = input_of(bench, LK_INPUT_SETTLEMENT);
    settlement.execution_id = id_of("e2");
    settlement.flags = LK_HAS_FEE;
    check_refused(bench, &settlement, LK_CODE_DUPLICATE_EVENT, LK_FIELD_EXECUTION_ID);
    settlement.execution_id = id_of("e1");
    settlement.flags = 0;
    check_refused(bench, &settlement, LK_CODE_INVALID_EVENT, LK_FIELD_AMOUNT);
    settlement.flags = LK_HAS_FEE;
    settlement.fee.units = INT64_MIN;
    check_refused(bench, &settlement, LK_CODE_OVERFLOW, LK_FIELD_FEE);
    leave(bench, "trade", "exit");
    report(bench, "entry", LK_FACT_CANCELED);
    fill(bench, "exit", "x1", LK_SIDE_SELL, 4, 1000);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_OK);
    bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("e1"); /* its trade has left the slot */
    check_refused(bench, &bust, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_EXECUTION_ID);
    correction = input_of(bench, LK_INPUT_CORRECTION);
    correction.execution_id = id_of("e1");
    correction.qty.units = 1;
    check_refused(bench, &correction, LK_CODE_UNRESOLVED_SLOT, LK_FIELD_EXECUTION_ID);
    bench_free(bench);
}

static void test_fact_without_a_place_in_the_table_is_refused_K03(void)
{
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, LK_INPUT_ORDER);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = sound_input(bench, LK_INPUT_ORDER); /* canceled twice */
    check_refused(bench, &input, LK_CODE_ILLEGAL_TRANSITION, LK_FIELD_ORDER_FACT);
    CHECK(bench->outcome.value == LK_FACT_CANCELED);
    CHECK(bench->outcome.slot_index == 0);
    bench_free(bench);
}

static void test_scopes_and_roots_that_are_malformed_are_refused(void)
{
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, LK_INPUT_FLATTEN);
    input.strategy.text[0] = ' ';
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_STRATEGY);
    input = sound_input(bench, LK_INPUT_FLATTEN);
    input.symbol.text[0] = '\t';
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_SYMBOL);
    input = sound_input(bench, LK_INPUT_FLATTEN);
    memset(input.client_order_id.text, 'r', 61);
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_CLIENT_ORDER_ID);
    input = sound_input(bench, LK_INPUT_CANCEL_WORKING_ENTRIES);
    input.strategy.text[3] = 'x';
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_STRATEGY);
    input = sound_input(bench, LK_INPUT_CANCEL_WORKING_ENTRIES);
    input.symbol.text[0] = '\t';
    check_refused(bench, &input, LK_CODE_INVALID_INTENT, LK_FIELD_SYMBOL);
    input = sound_input(bench, LK_INPUT_FUNDING);
    input.symbol.text[0] = '\t';
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_SYMBOL);
    input = sound_input(bench, LK_INPUT_FOREIGN);
    input.symbol.text[0] = '\t';
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_SYMBOL);
    input = sound_input(bench, LK_INPUT_EXIT);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = sound_input(bench, LK_INPUT_EXIT);
    input.client_order_id = id_of("exit-2");
    check_refused(bench, &input, LK_CODE_EXIT_PENDING, LK_FIELD_TRADE_ID);
    bench_free(bench);
}

/* Each figure that would not fit, in the kinds that book one. */
static void test_figures_that_would_not_fit_are_refused_K20(void)
{
    bench_t *bench = working_bench();
    lk_input_t input = sound_input(bench, LK_INPUT_MARK_PRICE);
    input.price.units = INT64_MAX;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_PRICE);
    input.price_scale = 19;
    check_refused(bench, &input, LK_CODE_INVALID_EVENT, LK_FIELD_PRICE_SCALE);
    input = sound_input(bench, LK_INPUT_FUNDING);
    input.amount.units = -INT64_MAX;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = sound_input(bench, LK_INPUT_FUNDING);
    input.amount.units = -2;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT);
    input = sound_input(bench, LK_INPUT_FOREIGN);
    input.flags = LK_HAS_AMOUNT;
    input.amount.units = -2;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT);
    input = sound_input(bench, LK_INPUT_BALANCE);
    input.amount.units = INT64_MAX;
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_AMOUNT);
    input = sound_input(bench, LK_INPUT_ENTER);
    check_refused(bench, &input, LK_CODE_NO_CAPITAL, LK_FIELD_NONE);
    bench_free(bench);
}

static void test_bust_that_would_not_fit_is_refused_K20(void)
{
    bench_t *bench = bench_new(1);
    int64_t large = INT64_C(1) << 62;
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill_with_fee(bench, "entry", "e1", LK_SIDE_BUY, 1, 1000, LK_LIQUIDITY_NONE, large);
    fill_with_fee(bench, "entry", "e2", LK_SIDE_BUY, 1, 1000, LK_LIQUIDITY_NONE, -INT64_MAX);
    fill_with_fee(bench, "entry", "e3", LK_SIDE_BUY, 1, 1000, LK_LIQUIDITY_NONE, 10 - large);
    lk_input_t input = input_of(bench, LK_INPUT_BUST);
    input.execution_id = id_of("e1");
    check_refused(bench, &input, LK_CODE_OVERFLOW, LK_FIELD_EXECUTION_ID);
    bench_free(bench);
}

/* The refusals of each kind beside those asked of every input, as a list. */
static const struct {
    lk_input_kind_t kind;
    lk_code_t code;
} REFUSALS[] = {
    {LK_INPUT_ENTER, LK_CODE_INVALID_INTENT},
    {LK_INPUT_ENTER, LK_CODE_SLOT_BUSY},
    {LK_INPUT_ENTER, LK_CODE_SYMBOL_BUSY},
    {LK_INPUT_ENTER, LK_CODE_ENTRY_FROZEN},
    {LK_INPUT_ENTER, LK_CODE_NO_CAPITAL},
    {LK_INPUT_ENTER, LK_CODE_ENTRY_EXPIRED},
    {LK_INPUT_ENTER, LK_CODE_OVERFLOW},
    {LK_INPUT_EXIT, LK_CODE_INVALID_INTENT},
    {LK_INPUT_EXIT, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_EXIT, LK_CODE_NO_OPEN_POSITION},
    {LK_INPUT_EXIT, LK_CODE_EXIT_PENDING},
    {LK_INPUT_CANCEL, LK_CODE_INVALID_INTENT},
    {LK_INPUT_CANCEL, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_CANCEL, LK_CODE_NO_WORKING_ORDER},
    {LK_INPUT_MARK_PRICE, LK_CODE_INVALID_EVENT},
    {LK_INPUT_MARK_PRICE, LK_CODE_OVERFLOW},
    {LK_INPUT_TICK, LK_CODE_INVALID_EVENT},
    {LK_INPUT_ORDER, LK_CODE_INVALID_EVENT},
    {LK_INPUT_ORDER, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_ORDER, LK_CODE_ILLEGAL_TRANSITION},
    {LK_INPUT_FILL, LK_CODE_INVALID_EVENT},
    {LK_INPUT_FILL, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_FILL, LK_CODE_OVERFLOW},
    {LK_INPUT_BUST, LK_CODE_INVALID_EVENT},
    {LK_INPUT_BUST, LK_CODE_UNKNOWN_EXECUTION},
    {LK_INPUT_BUST, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_BUST, LK_CODE_OVERFLOW},
    {LK_INPUT_CORRECTION, LK_CODE_INVALID_EVENT},
    {LK_INPUT_CORRECTION, LK_CODE_UNKNOWN_EXECUTION},
    {LK_INPUT_CORRECTION, LK_CODE_UNRESOLVED_SLOT},
    {LK_INPUT_CORRECTION, LK_CODE_OVERFLOW},
    {LK_INPUT_SETTLEMENT, LK_CODE_INVALID_EVENT},
    {LK_INPUT_SETTLEMENT, LK_CODE_UNKNOWN_EXECUTION},
    {LK_INPUT_SETTLEMENT, LK_CODE_OVERFLOW},
    {LK_INPUT_BALANCE, LK_CODE_INVALID_EVENT},
    {LK_INPUT_BALANCE, LK_CODE_BALANCE_WITHOUT_WALLET},
    {LK_INPUT_BALANCE, LK_CODE_BALANCE_STALE},
    {LK_INPUT_BALANCE, LK_CODE_OVERFLOW},
    {LK_INPUT_FUNDING, LK_CODE_INVALID_EVENT},
    {LK_INPUT_FUNDING, LK_CODE_OVERFLOW},
    {LK_INPUT_FLATTEN, LK_CODE_INVALID_INTENT},
    {LK_INPUT_CANCEL_WORKING_ENTRIES, LK_CODE_INVALID_INTENT},
    {LK_INPUT_FREEZE, LK_CODE_INVALID_INTENT},
    {LK_INPUT_UNFREEZE, LK_CODE_INVALID_INTENT},
    {LK_INPUT_ADOPT, LK_CODE_INVALID_INTENT},
    {LK_INPUT_ADOPT, LK_CODE_SLOT_BUSY},
    {LK_INPUT_ADOPT, LK_CODE_SYMBOL_BUSY},
    {LK_INPUT_ADOPT, LK_CODE_ORPHAN_POSITION},
    {LK_INPUT_ADOPT, LK_CODE_OVERFLOW},
    {LK_INPUT_FOREIGN, LK_CODE_INVALID_EVENT},
    {LK_INPUT_FOREIGN, LK_CODE_OVERFLOW},
};

static bool is_listed(lk_input_kind_t kind, lk_code_t code)
{
    bool has_event_id = lk_input_reads(kind, LK_FIELD_EVENT_ID) == LK_REQUIREMENT_REQUIRED;
    if (code == LK_CODE_TIME_REVERSED) return true;
    if (code == LK_CODE_DUPLICATE_EVENT) return has_event_id;
    for (uint32_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        if (REFUSALS[i].kind == kind && REFUSALS[i].code == code) return true;
    }
    return false;
}

/* Last of all: the tests above have shown each refusal of each kind to leave the digest, and no other has come up. */
static void test_every_refusal_of_every_kind_was_shown_to_change_nothing_K01(void)
{
    for (uint32_t kind = LK_INPUT_NONE + 1; kind < LK_INPUT_COUNT; kind++) {
        for (uint32_t code = LK_CODE_OK + 1; code < LK_CODE_COUNT; code++) {
            bool is_expected = is_listed((lk_input_kind_t)kind, (lk_code_t)code);
            if (is_seen[kind][code] == is_expected) continue;
            (void)fprintf(stderr, "%s, %s: %s\n", lk_input_name(kind), lk_code_name(code),
                          is_expected ? "listed and not shown" : "shown and not listed");
            CHECK(is_seen[kind][code] == is_expected);
        }
    }
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
    RUN(test_what_is_asked_of_every_input_is_refused_of_each_kind_K01_K10);
    RUN(test_each_kind_reads_the_fields_of_the_list_and_no_other_K01);
    RUN(test_numbers_below_the_finest_are_refused_in_an_entry_K20);
    RUN(test_entry_without_capital_is_refused_and_the_exit_is_not_X10_K20);
    RUN(test_frozen_account_refuses_entries_K14);
    RUN(test_single_slot_takes_one_trade_whatever_the_symbol_K02);
    RUN(test_adoption_is_refused_by_name_when_it_has_no_place_X13);
    RUN(test_executions_that_are_gone_or_over_are_refused);
    RUN(test_fact_without_a_place_in_the_table_is_refused_K03);
    RUN(test_scopes_and_roots_that_are_malformed_are_refused);
    RUN(test_figures_that_would_not_fit_are_refused_K20);
    RUN(test_bust_that_would_not_fit_is_refused_K20);
    RUN(test_calls_that_break_the_contract_are_told);
    RUN(test_every_refusal_of_every_kind_was_shown_to_change_nothing_K01);
    return 0;
}
