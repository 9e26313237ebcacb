/* What is asked for, and what becomes of it: terms of exits, scopes, and the record of an entry (K01, K19, K20, K23).
 */
#include "harness.h"

/* A trade of 1,000 in FET, in lots of 10 and ticks of 5. */
static bench_t *open_bench(void)
{
    bench_t *bench = bench_new(3);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    input.lot_units = 10;
    input.tick_units = 5;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 1000) == LK_CODE_OK);
    return bench;
}

static lk_input_t exit_input(bench_t *bench)
{
    lk_input_t input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit");
    input.price_scale = 4;
    return input;
}

static const lk_event_t *command_of(const bench_t *bench, uint32_t n)
{
    const lk_event_t *event = event_of(bench, LK_EVENT_COMMAND, n);
    CHECK(event != NULL);
    return event;
}

static void test_exit_has_the_terms_that_were_asked_K01(void)
{
    bench_t *bench = open_bench();
    lk_input_t input = exit_input(bench);
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.time_in_force = LK_TIME_IN_FORCE_GTC;
    input.flags = LK_HAS_PRICE | LK_HAS_QTY;
    input.price.units = 11050;
    input.price_scale = 5; /* 0.1105, told more finely */
    input.qty.units = 2500;
    input.qty_scale = 1;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    const lk_event_t *command = command_of(bench, 0);
    CHECK(command->command == LK_COMMAND_SUBMIT_EXIT);
    CHECK(command->order_type == LK_ORDER_TYPE_LIMIT && command->time_in_force == LK_TIME_IN_FORCE_GTC);
    CHECK(command->price.units == 1105 && command->price_scale == 4);
    CHECK(command->qty.units == 250 && command->open_qty.units == 1000);
    CHECK(bench->outcome.event_count == 2); /* the command and the transition: nothing was repaired */
    bench_free(bench);
}

static void test_exit_without_terms_goes_to_market_for_the_day_K01(void)
{
    bench_t *bench = open_bench();
    lk_input_t input = exit_input(bench);
    input.time_in_force = LK_TIME_IN_FORCE_COUNT; /* malformed: the default */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(command_of(bench, 0)->order_type == LK_ORDER_TYPE_MARKET);
    CHECK(command_of(bench, 0)->time_in_force == LK_TIME_IN_FORCE_DAY);
    CHECK((command_of(bench, 0)->flags & LK_EVENT_HAS_PRICE) == 0);
    bench_free(bench);
}

typedef void (*spoil_t)(lk_input_t *input);

#define SPOIL(name, statement)                                                                                         \
    static void name(lk_input_t *input)                                                                                \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

SPOIL(no_price, input->flags = 0)
SPOIL(zero_price, input->price.units = 0)
SPOIL(price_off_tick, input->price.units = 1101)
SPOIL(price_too_fine, input->price.units = 10551; input->price_scale = 5)
SPOIL(price_below_the_scale, input->price.units = 1; input->price_scale = 18)
SPOIL(price_scale_out_of_range, input->price_scale = 19)
SPOIL(price_that_does_not_fit, input->price.units = INT64_MAX; input->price_scale = 0)
SPOIL(type_out_of_range, input->order_type = LK_ORDER_TYPE_COUNT)

static void test_malformed_exit_price_goes_to_market_and_is_flagged_K20(void)
{
    static const spoil_t SPOILS[] = {
        no_price,
        zero_price,
        price_off_tick,
        price_too_fine,
        price_below_the_scale,
        price_scale_out_of_range,
        price_that_does_not_fit,
        type_out_of_range,
    };
    for (uint32_t i = 0; i < sizeof SPOILS / sizeof *SPOILS; i++) {
        bench_t *bench = open_bench();
        lk_input_t input = exit_input(bench);
        input.order_type = LK_ORDER_TYPE_LIMIT;
        input.flags = LK_HAS_PRICE;
        input.price.units = 1100;
        SPOILS[i](&input);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        CHECK(command_of(bench, 0)->order_type == LK_ORDER_TYPE_MARKET);
        CHECK(command_of(bench, 0)->qty.units == 1000);
        CHECK(anomaly_count(bench, LK_CODE_EXIT_PRICE_REPAIRED) == 1);
        bench_free(bench);
    }
}

static int64_t exit_qty_for(int64_t qty, uint8_t scale, bool *is_repaired)
{
    bench_t *bench = open_bench();
    lk_input_t input = exit_input(bench);
    input.flags = LK_HAS_QTY;
    input.qty.units = qty;
    input.qty_scale = scale;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    int64_t asked = command_of(bench, 0)->qty.units;
    *is_repaired = anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 1;
    bench_free(bench);
    return asked;
}

static void test_exit_size_is_used_if_it_is_whole_lots_or_all_that_remains_K19(void)
{
    bool is_repaired = false;
    CHECK(exit_qty_for(10, 0, &is_repaired) == 10 && !is_repaired);
    CHECK(exit_qty_for(1000, 0, &is_repaired) == 1000 && !is_repaired);
    CHECK(exit_qty_for(15, 0, &is_repaired) == 1000 && is_repaired);   /* half a lot */
    CHECK(exit_qty_for(105, 1, &is_repaired) == 1000 && is_repaired);  /* 10.5: finer than the instrument */
    CHECK(exit_qty_for(1001, 0, &is_repaired) == 1000 && is_repaired); /* never above what remains */
    CHECK(exit_qty_for(INT64_MAX, 0, &is_repaired) == 1000 && is_repaired);
    CHECK(exit_qty_for(10, 19, &is_repaired) == 1000 && is_repaired);
}

static void test_odd_lot_that_remains_can_be_left_whole_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    input.lot_units = 10;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 15, 1000); /* the venue's doing */
    input = exit_input(bench);
    input.flags = LK_HAS_QTY;
    input.qty.units = 15;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(command_of(bench, 0)->command == LK_COMMAND_CANCEL); /* first of all no more of the entry */
    CHECK(command_of(bench, 1)->qty.units == 15);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_SIZE_REPAIRED) == 0);
    bench_free(bench);
}

static void test_leg_smaller_than_a_lot_is_the_whole_remainder_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    input.lot_units = 100;
    input.exit_leg_bps[0] = 500; /* 5 %: half a lot */
    input.exit_leg_bps[1] = 10000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 1000);
    leave(bench, "trade", "exit");
    CHECK(command_of(bench, 0)->qty.units == 1000);
    bench_free(bench);
}

static void test_all_eight_legs_are_walked_and_the_last_takes_all_K19(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000);
    for (uint32_t i = 0; i < LK_EXIT_LEGS_MAX; i++)
        input.exit_leg_bps[i] = 1000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 1000, 1000);
    for (uint32_t i = 0; i < LK_EXIT_LEGS_MAX; i++) {
        CHECK(slot_of(bench, 0).active_leg_index == i);
        lk_input_t exit_leg = exit_input(bench);
        exit_leg.client_order_id = numbered("exit-", i);
        CHECK(apply(bench, &exit_leg) == LK_CODE_OK);
        int64_t open_qty = slot_of(bench, 0).qty.units;
        int64_t qty = command_of(bench, 0)->qty.units;
        CHECK(qty == (i + 1 == LK_EXIT_LEGS_MAX ? open_qty : open_qty / 10));
        lk_input_t traded = fill_input(bench, "", "", LK_SIDE_SELL, qty, 1000);
        traded.client_order_id = numbered("exit-", i);
        traded.execution_id = numbered("x", i);
        CHECK(apply(bench, &traded) == LK_CODE_OK);
    }
    CHECK(slot_of(bench, 0).stage == LK_STAGE_TERMINAL_WRITTEN);
    CHECK(slot_of(bench, 0).active_leg_index == LK_EXIT_LEGS_MAX - 1);
    bench_free(bench);
}

static void test_exit_needs_an_order_id_of_its_own_K01(void)
{
    bench_t *bench = open_bench();
    lk_input_t input = exit_input(bench);
    input.client_order_id = id_of("entry");
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT);
    CHECK(bench->outcome.field == LK_FIELD_CLIENT_ORDER_ID);
    CHECK(bench->outcome.slot_index == 0);
    input.client_order_id = id_of("with blank");
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT);
    CHECK(bench->outcome.field == LK_FIELD_CLIENT_ORDER_ID);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------------ scopes -- */

/* Entries at work in three symbols, for two strategies. */
static bench_t *three_entries(void)
{
    static const char *const SYMBOLS[] = {"FET-USDT", "BTC-USDT", "TRX-USDT"};
    bench_t *bench = bench_new(3);
    for (uint32_t i = 0; i < 3; i++) {
        lk_input_t input = enter_input(bench, "", "", LK_SIDE_BUY, 10);
        input.trade_id = numbered("trade-", i);
        input.client_order_id = numbered("entry-", i);
        input.symbol = symbol_of(SYMBOLS[i]);
        input.strategy = id_of(i == 2 ? "other" : "momentum");
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    return bench;
}

static uint32_t commands_for(bench_t *bench, lk_input_kind_t kind, const char *strategy, const char *symbol)
{
    uint32_t count = 0;
    lk_input_t input = input_of(bench, kind);
    input.client_order_id = numbered("flatten-", bench->step);
    input.strategy = id_of(strategy);
    input.symbol = symbol_of(symbol);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    while (event_of(bench, LK_EVENT_COMMAND, count) != NULL)
        count++;
    return count;
}

static void test_scope_is_strategy_and_symbol_and_empty_means_all_K01(void)
{
    static const lk_input_kind_t KINDS[] = {LK_INPUT_CANCEL_WORKING_ENTRIES, LK_INPUT_FLATTEN};
    for (uint32_t i = 0; i < 2; i++) {
        static const struct {
            const char *strategy;
            const char *symbol;
            uint32_t count;
        } SCOPES[] = {
            {"", "", 3}, {"momentum", "", 2}, {"", "TRX-USDT", 1}, {"momentum", "TRX-USDT", 0}, {"nobody", "", 0},
        };
        for (uint32_t n = 0; n < sizeof SCOPES / sizeof *SCOPES; n++) {
            bench_t *bench = three_entries();
            CHECK(commands_for(bench, KINDS[i], SCOPES[n].strategy, SCOPES[n].symbol) == SCOPES[n].count);
            bench_free(bench);
        }
    }
}

static void test_only_entries_at_work_are_canceled_K01(void)
{
    bench_t *bench = three_entries();
    fill(bench, "entry-0", "e0", LK_SIDE_BUY, 10, 1000);
    report(bench, "entry-1", LK_FACT_REJECTED);
    CHECK(commands_for(bench, LK_INPUT_CANCEL_WORKING_ENTRIES, "", "") == 1);
    CHECK(strcmp(command_of(bench, 0)->client_order_id.text, "entry-2") == 0);
    bench_free(bench);
}

static void test_flattening_takes_back_a_resting_exit_once_and_leaves_a_market_exit_alone(void)
{
    bench_t *bench = open_bench();
    lk_input_t input = exit_input(bench);
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.flags = LK_HAS_PRICE;
    input.price.units = 1100;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(commands_for(bench, LK_INPUT_FLATTEN, "", "") == 1);
    CHECK(command_of(bench, 0)->command == LK_COMMAND_CANCEL);
    CHECK(commands_for(bench, LK_INPUT_FLATTEN, "", "") == 0); /* it is on its way */
    report(bench, "exit", LK_FACT_CANCELED);
    CHECK(commands_for(bench, LK_INPUT_FLATTEN, "", "") == 1);
    CHECK(command_of(bench, 0)->command == LK_COMMAND_SUBMIT_EXIT);
    CHECK(command_of(bench, 0)->order_type == LK_ORDER_TYPE_MARKET);
    CHECK(commands_for(bench, LK_INPUT_FLATTEN, "", "") == 0); /* a market exit is at work */
    bench_free(bench);
}

static void test_root_of_sixty_characters_names_each_exit_and_is_used_once(void)
{
    bench_t *bench = open_bench();
    lk_input_t input = input_of(bench, LK_INPUT_FLATTEN);
    memset(input.client_order_id.text, 'r', 60);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    const char *name = command_of(bench, 0)->client_order_id.text;
    CHECK(name[59] == 'r' && strcmp(name + 60, "-00") == 0);
    lk_input_t again = input_of(bench, LK_INPUT_FLATTEN);
    again.client_order_id = input.client_order_id;
    CHECK(apply(bench, &again) == LK_CODE_INVALID_INTENT);
    CHECK(bench->outcome.field == LK_FIELD_CLIENT_ORDER_ID);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------------------- entry -- */

/* Everything about a trade can be read back from its slot: decision, sizes, leverage, instrument, fees, provenance. */
static void test_slot_keeps_every_parameter_of_its_entry_K23(void)
{
    bench_t *bench = fee_bench();
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_SELL, 400);
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.time_in_force = LK_TIME_IN_FORCE_GTD;
    input.flags = LK_HAS_PRICE | LK_HAS_STOP | LK_HAS_TARGET | LK_HAS_REFERENCE;
    input.price.units = 1005;
    input.stop_price.units = 1203;
    input.target_price.units = 901;
    input.reference_price.units = 1001;
    input.leverage = 3;
    input.instrument_version = 7;
    input.tick_units = 5;
    input.lot_units = 20;
    input.multiplier = 2;
    input.qty_scale = 1;
    input.expires_at_ns = INT64_MAX;
    input.exit_leg_bps[0] = 3333;
    input.exit_leg_bps[1] = 10000;
    input.strategy = id_of("momentum");
    memcpy(input.currency.text, "USDT", 4);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 40, 1005); /* at scale 0: 400 */
    lk_slot_view_t view = slot_of(bench, 0);
    CHECK(memcmp(&view.trade_id, &input.trade_id, sizeof view.trade_id) == 0);
    CHECK(memcmp(&view.strategy, &input.strategy, sizeof view.strategy) == 0);
    CHECK(memcmp(&view.symbol, &input.symbol, sizeof view.symbol) == 0);
    CHECK(memcmp(&view.currency, &input.currency, sizeof view.currency) == 0);
    CHECK(memcmp(&view.entry.client_order_id, &input.client_order_id, sizeof input.client_order_id) == 0);
    CHECK(view.entry.side == LK_SIDE_SELL && view.entry.order_type == LK_ORDER_TYPE_LIMIT);
    CHECK(view.entry.time_in_force == LK_TIME_IN_FORCE_GTD);
    CHECK(view.entry.has_price && view.entry.price.units == 1005 && view.entry.order_qty.units == 400);
    CHECK(view.has_stop_price && view.stop_price.units == 1203);
    CHECK(view.has_target_price && view.target_price.units == 901);
    CHECK(view.has_reference_price && view.reference_price.units == 1001);
    CHECK(view.leverage == 3 && view.instrument_version == 7);
    CHECK(view.price_scale == 4 && view.qty_scale == 1);
    CHECK(view.tick_units == 5 && view.lot_units == 20 && view.multiplier == 2);
    CHECK(memcmp(view.exit_leg_bps, input.exit_leg_bps, sizeof view.exit_leg_bps) == 0);
    CHECK(view.requested_at_ns == input.now_ns && view.expires_at_ns == INT64_MAX);
    CHECK(view.qty.units == -400 && view.entry_price.units == 10050000);
    CHECK(view.fees.units == 402000 && view.predicted_fees.units == 402000); /* 40 x 2 x 0.1005 x 0.0005 */
    CHECK(view.pnl_source == LK_PNL_SOURCE_KERNEL_ESTIMATE && view.trade_sequence == 1);
    restart(bench);
    lk_slot_view_t again = slot_of(bench, 0);
    CHECK(memcmp(&view, &again, sizeof view) == 0);
    bench_free(bench);
}

static void test_entry_is_measured_at_the_dearest_price_it_states_K20(void)
{
    static const uint32_t FLAGS[] = {LK_HAS_STOP, LK_HAS_TARGET, LK_HAS_REFERENCE};
    for (uint32_t i = 0; i < 3; i++) {
        bench_t *bench = bench_new(1);
        lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 1000000);
        int64_t dear = INT64_MAX / 1000000;
        input.flags = FLAGS[i];
        input.stop_price.units = input.target_price.units = input.reference_price.units = dear;
        CHECK(apply(bench, &input) == LK_CODE_OVERFLOW);
        CHECK(bench->outcome.field == LK_FIELD_QTY);
        input.flags = 0; /* not stated: not read */
        CHECK(apply(bench, &input) == LK_CODE_OK);
        bench_free(bench);
    }
}

static void test_entry_that_has_not_lapsed_yet_is_taken(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    input.expires_at_ns = input.now_ns + 1;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(command_of(bench, 0)->expires_at_ns == input.now_ns + 1);
    bench_free(bench);
}

static void test_texts_that_are_unsound_are_refused_with_the_field_named_K20(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t sound = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = sound;
    input.trade_id = id_of("with blank");
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT && bench->outcome.field == LK_FIELD_TRADE_ID);
    input = sound;
    input.symbol = symbol_of("with blank");
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT && bench->outcome.field == LK_FIELD_SYMBOL);
    input = sound;
    input.time_in_force = LK_TIME_IN_FORCE_COUNT;
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT && bench->outcome.field == LK_FIELD_TIME_IN_FORCE);
    input = sound;
    input.kind = LK_INPUT_ADOPT;
    input.price.units = 1000;
    input.strategy = id_of("with blank");
    CHECK(apply(bench, &input) == LK_CODE_INVALID_INTENT && bench->outcome.field == LK_FIELD_STRATEGY);
    bench_free(bench);
}

int main(void)
{
    RUN(test_exit_has_the_terms_that_were_asked_K01);
    RUN(test_exit_without_terms_goes_to_market_for_the_day_K01);
    RUN(test_malformed_exit_price_goes_to_market_and_is_flagged_K20);
    RUN(test_exit_size_is_used_if_it_is_whole_lots_or_all_that_remains_K19);
    RUN(test_odd_lot_that_remains_can_be_left_whole_K19);
    RUN(test_leg_smaller_than_a_lot_is_the_whole_remainder_K19);
    RUN(test_all_eight_legs_are_walked_and_the_last_takes_all_K19);
    RUN(test_exit_needs_an_order_id_of_its_own_K01);
    RUN(test_scope_is_strategy_and_symbol_and_empty_means_all_K01);
    RUN(test_only_entries_at_work_are_canceled_K01);
    RUN(test_flattening_takes_back_a_resting_exit_once_and_leaves_a_market_exit_alone);
    RUN(test_root_of_sixty_characters_names_each_exit_and_is_used_once);
    RUN(test_slot_keeps_every_parameter_of_its_entry_K23);
    RUN(test_entry_is_measured_at_the_dearest_price_it_states_K20);
    RUN(test_entry_that_has_not_lapsed_yet_is_taken);
    RUN(test_texts_that_are_unsound_are_refused_with_the_field_named_K20);
    return 0;
}
