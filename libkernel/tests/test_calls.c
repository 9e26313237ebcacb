/* What a caller may get wrong: each argument, each field of the configuration, each view. Statuses, never a crash. */
#include "harness.h"

/* ------------------------------------------------------------------------------------------------- config -- */

static lk_status_t create_with(const lk_config_t *config)
{
    lk_kernel_t *kernel = NULL;
    lk_status_t status = lk_kernel_create(config, &kernel);
    CHECK((status == LK_STATUS_OK) == (kernel != NULL));
    lk_kernel_destroy(kernel);
    return status;
}

#define REFUSED_CONFIG(field, value)                                                                                   \
    do {                                                                                                               \
        lk_config_t config = config_of(2);                                                                             \
        config.field = (value);                                                                                        \
        CHECK(create_with(&config) == LK_STATUS_INVALID_CONFIG);                                                       \
    } while (0)

#define TAKEN_CONFIG(field, value)                                                                                     \
    do {                                                                                                               \
        lk_config_t config = config_of(2);                                                                             \
        config.field = (value);                                                                                        \
        CHECK(create_with(&config) == LK_STATUS_OK);                                                                   \
    } while (0)

static void test_each_field_of_the_configuration_has_its_range(void)
{
    const int64_t one = 100000000; /* a fee rate of 1 */
    REFUSED_CONFIG(abi_version, LK_ABI_VERSION - 1);
    REFUSED_CONFIG(slot_count, 0);
    TAKEN_CONFIG(slot_count, 1);
    TAKEN_CONFIG(slot_count, LK_SLOTS_MAX);
    REFUSED_CONFIG(slot_count, LK_SLOTS_MAX + 1);
    REFUSED_CONFIG(window_count, 0);
    REFUSED_CONFIG(window_count, LK_WINDOW_MIN / 2);
    TAKEN_CONFIG(window_count, LK_WINDOW_MIN);
    REFUSED_CONFIG(window_count, LK_WINDOW_MIN + 1);
    TAKEN_CONFIG(window_count, LK_WINDOW_MAX);
    REFUSED_CONFIG(window_count, LK_WINDOW_MAX * 2);
    REFUSED_CONFIG(leverage_max, 0);
    TAKEN_CONFIG(leverage_max, 1);
    TAKEN_CONFIG(amount_scale, 12);
    REFUSED_CONFIG(amount_scale, 13);
    REFUSED_CONFIG(reserved, 1);
    TAKEN_CONFIG(maker_fee_rate, 1 - one);
    REFUSED_CONFIG(maker_fee_rate, -one);
    TAKEN_CONFIG(maker_fee_rate, one - 1);
    REFUSED_CONFIG(maker_fee_rate, one);
    TAKEN_CONFIG(taker_fee_rate, 1 - one);
    REFUSED_CONFIG(taker_fee_rate, -one);
    TAKEN_CONFIG(taker_fee_rate, one - 1);
    REFUSED_CONFIG(taker_fee_rate, one);
    REFUSED_CONFIG(ack_timeout_ns, 0);
    TAKEN_CONFIG(ack_timeout_ns, 1);
    REFUSED_CONFIG(funding_interval_ns, -1);
    REFUSED_CONFIG(seed_capital.units, -1);
    TAKEN_CONFIG(seed_capital.units, 0);
    REFUSED_CONFIG(ledger_tolerance.units, -1);
    REFUSED_CONFIG(ledger_tolerance.units, 1); /* and none for an error */
    REFUSED_CONFIG(settlement_tolerance.units, -1);
    REFUSED_CONFIG(account.text[0], '\0');
    REFUSED_CONFIG(account.text[2], ' ');
    REFUSED_CONFIG(currency.text[0], '\0');
    REFUSED_CONFIG(currency.text[LK_CURRENCY_BYTES - 1], 'x');
}

/* ---------------------------------------------------------------------------------------------------- NULL -- */

static void test_null_arguments_are_told(void)
{
    bench_t *bench = bench_new(1);
    lk_config_t config = config_of(1);
    lk_input_t input = input_of(bench, LK_INPUT_TICK);
    lk_slot_view_t slot;
    lk_account_view_t account;
    uint8_t bytes[LK_DIGEST_BYTES];
    size_t size = 0;
    lk_kernel_t *kernel = bench->kernel;
    CHECK(lk_kernel_create(&config, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply(kernel, NULL, &bench->outcome, bench->events, bench->event_capacity) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply(kernel, &input, NULL, bench->events, bench->event_capacity) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply(kernel, &input, &bench->outcome, NULL, bench->event_capacity) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_event_capacity(NULL) == 0);
    CHECK(lk_kernel_slot(NULL, 0, &slot) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_slot(kernel, 0, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_account(NULL, &account) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_account(kernel, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_next_deadline_ns(NULL) == LK_NEVER_NS);
    CHECK(lk_kernel_digest(NULL, bytes) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_digest(kernel, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save_size(NULL, &size) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save_size(kernel, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save(NULL, bytes, sizeof bytes, &size) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save(kernel, NULL, 0, &size) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_save(kernel, bytes, sizeof bytes, NULL) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_restore(NULL, bytes, sizeof bytes) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_restore(kernel, NULL, 0) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_memory(NULL, &size, &size) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_memory(kernel, NULL, &size) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_memory(kernel, &size, NULL) == LK_STATUS_INVALID_ARGUMENT);
    bench_free(bench);
}

static void test_memory_is_told_for_a_slot_and_in_all(void)
{
    bench_t *one = bench_new(1);
    bench_t *two = bench_new(2);
    size_t slot_bytes = 0;
    size_t one_bytes = 0;
    size_t two_bytes = 0;
    CHECK(lk_kernel_memory(one->kernel, &slot_bytes, &one_bytes) == LK_STATUS_OK);
    CHECK(slot_bytes >= sizeof(lk_slot_t) + LK_DIGEST_BYTES && slot_bytes < one_bytes);
    CHECK(lk_kernel_memory(two->kernel, &slot_bytes, &two_bytes) == LK_STATUS_OK);
    CHECK(slot_bytes >= sizeof(lk_slot_t) + LK_DIGEST_BYTES && 2 * slot_bytes < two_bytes);
    CHECK(two_bytes >= one_bytes + sizeof(lk_slot_t) + LK_DIGEST_BYTES);
    bench_free(one);
    bench_free(two);
}

/* --------------------------------------------------------------------------------------------------- batch -- */

static void test_batch_that_breaks_the_contract_is_told(void)
{
    bench_t *bench = bench_new(1);
    lk_input_t inputs[3] = {input_of(bench, LK_INPUT_TICK), input_of(bench, LK_INPUT_NONE),
                            input_of(bench, LK_INPUT_TICK)};
    lk_outcome_t outcomes[3];
    lk_event_t *events = bench->events;
    size_t capacity = bench->event_capacity;
    size_t applied = 9;
    size_t count = 9;
    lk_kernel_t *kernel = bench->kernel;
    CHECK(lk_kernel_apply_batch(NULL, inputs, 3, outcomes, events, capacity, &applied, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, NULL, 3, outcomes, events, capacity, &applied, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, NULL, events, capacity, &applied, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, outcomes, NULL, capacity, &applied, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, outcomes, events, capacity, NULL, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, outcomes, events, capacity, &applied, NULL) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, outcomes, events, capacity - 1, &applied, &count) ==
          LK_STATUS_BUFFER_TOO_SMALL);
    CHECK(applied == 9 && count == 9);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 0, outcomes, events, capacity, &applied, &count) == LK_STATUS_OK);
    CHECK(applied == 0 && count == 0);
    CHECK(account_of(bench).event_sequence == 0);
    CHECK(lk_kernel_apply_batch(kernel, inputs, 3, outcomes, events, capacity, &applied, &count) ==
          LK_STATUS_INVALID_ARGUMENT);
    CHECK(applied == 1 && count == 0); /* it stopped at the kind that does not exist */
    CHECK(account_of(bench).event_sequence == inputs[0].sequence);
    bench_free(bench);
}

/* ----------------------------------------------------------------------------------------- finds and names -- */

static void test_trades_and_orders_are_found_by_any_of_their_ids_K07(void)
{
    bench_t *bench = bench_new(2);
    lk_id_t none = id_of("");
    lk_id_t entry = id_of("entry");
    lk_id_t venue = id_of("venue-1");
    lk_id_t trade = id_of("trade");
    lk_id_t other = id_of("other");
    lk_input_t input;
    enter_in(bench, "AAA", "first", "first-entry");
    enter_in(bench, "BBB", "trade", "entry");
    input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = entry;
    input.venue_order_id = venue;
    input.order_fact = LK_FACT_ACKNOWLEDGED;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(lk_kernel_find_trade(bench->kernel, &trade) == 1);
    CHECK(lk_kernel_find_trade(bench->kernel, &other) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(bench->kernel, &none) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(NULL, &trade) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(bench->kernel, NULL) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(bench->kernel, &entry) == 1);
    CHECK(lk_kernel_find_order(bench->kernel, &venue) == 1);
    CHECK(lk_kernel_find_order(bench->kernel, &other) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(bench->kernel, &none) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(NULL, &entry) == LK_NO_SLOT);
    CHECK(lk_kernel_find_order(bench->kernel, NULL) == LK_NO_SLOT);
    bench_free(bench);
}

static void test_names_end_with_their_lists(void)
{
    CHECK(strcmp(lk_code_name(LK_CODE_COUNT), "?") == 0);
    CHECK(lk_code_severity(LK_CODE_COUNT) == LK_SEVERITY_NONE);
    CHECK(lk_code_severity(LK_CODE_OK) == LK_SEVERITY_INFO);
    CHECK(lk_code_severity(LK_CODE_COUNT - 1) == LK_SEVERITY_CRITICAL);
    CHECK(lk_abi_version() == LK_ABI_VERSION);
}

static void test_tables_are_empty_beyond_their_lists_K03(void)
{
    for (uint32_t i = 0; i < 64; i++) {
        CHECK(lk_next_life(LK_LIFE_COUNT + i, LK_FACT_ACKNOWLEDGED) == LK_LIFE_NONE);
        CHECK(lk_next_life(LK_LIFE_SENT, LK_FACT_COUNT + i) == LK_LIFE_NONE);
        CHECK(lk_stage_may_follow(LK_STAGE_COUNT + i, LK_STAGE_IDLE) == 0);
        CHECK(lk_stage_may_follow(LK_STAGE_IDLE, LK_STAGE_COUNT + i) == 0);
        CHECK(lk_lifecycle_may_follow(LK_LIFECYCLE_COUNT + i, LK_LIFECYCLE_FILLED) == 0);
        CHECK(lk_lifecycle_may_follow(LK_LIFECYCLE_NONE, LK_LIFECYCLE_COUNT + i) == 0);
    }
}

static void test_powers_of_ten_are_those_K20(void)
{
    int64_t power = 1;
    for (uint32_t exponent = 0; exponent <= LK_SCALE_MAX; exponent++) {
        CHECK(lk_power_of_ten(exponent) == power);
        if (exponent < LK_SCALE_MAX) power *= 10;
    }
}

int main(void)
{
    RUN(test_each_field_of_the_configuration_has_its_range);
    RUN(test_null_arguments_are_told);
    RUN(test_memory_is_told_for_a_slot_and_in_all);
    RUN(test_batch_that_breaks_the_contract_is_told);
    RUN(test_trades_and_orders_are_found_by_any_of_their_ids_K07);
    RUN(test_names_end_with_their_lists);
    RUN(test_tables_are_empty_beyond_their_lists_K03);
    RUN(test_powers_of_ten_are_those_K20);
    return 0;
}
