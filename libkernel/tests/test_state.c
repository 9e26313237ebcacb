/* Digest, save and restore; and random inputs, through which what must always hold is watched (K03, K21). */
#include "harness.h"

/* RFC 7693: BLAKE2b-256 of "", of "abc", and of 300 bytes 0 1 2 ... (checked against another implementation). */
static void test_hash_is_blake2b_256(void)
{
    static const uint8_t EMPTY[4] = {0x0e, 0x57, 0x51, 0xc0};
    static const uint8_t ABC[4] = {0xbd, 0xdd, 0x81, 0x3c};
    static const uint8_t LONG[4] = {0x3a, 0x48, 0x6e, 0x3f};
    uint8_t data[300];
    uint8_t digest[32];
    lk_blake2b_t hash;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    lk_blake2b_begin(&hash);
    lk_blake2b_end(&hash, digest);
    CHECK(memcmp(digest, EMPTY, sizeof EMPTY) == 0);
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, "abc", 3);
    lk_blake2b_end(&hash, digest);
    CHECK(memcmp(digest, ABC, sizeof ABC) == 0);
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, data, 127);
    lk_blake2b_add(&hash, data + 127, 173);
    lk_blake2b_end(&hash, digest);
    CHECK(memcmp(digest, LONG, sizeof LONG) == 0);
}

/* --------------------------------------------------------------------------------------- random inputs -- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t below(uint64_t *state, uint64_t bound)
{
    return next_random(state) % bound;
}

static lk_input_t random_enter(bench_t *bench, uint64_t *state)
{
    lk_input_t input = enter_input(bench, "", "", below(state, 2) ? LK_SIDE_BUY : LK_SIDE_SELL, 0);
    input.trade_id = numbered("trade-", bench->step);
    input.client_order_id = numbered("order-", bench->step);
    input.symbol = symbol_of(below(state, 2) ? "AAA" : "BBB");
    input.qty.units = (int64_t)below(state, 50) + 1;
    input.exit_leg_bps[0] = below(state, 2) ? 5000 : 0;
    input.exit_leg_bps[1] = input.exit_leg_bps[0] ? 10000 : 0;
    return input;
}

/* Mostly an order that is in a slot; else any number that an order may have had. */
static lk_id_t random_order(const bench_t *bench, uint64_t *state)
{
    lk_slot_view_t view = slot_of(bench, (uint32_t)below(state, 3));
    if (below(state, 10) == 0)
        return numbered("order-", bench->step - below(state, bench->step < 60 ? bench->step : 60));
    return view.exit.life != LK_LIFE_NONE && below(state, 2) ? view.exit.client_order_id : view.entry.client_order_id;
}

static lk_input_t random_fill(bench_t *bench, uint64_t *state)
{
    lk_input_t input = fill_input(bench, "", "", below(state, 2) ? LK_SIDE_BUY : LK_SIDE_SELL, 1, 0);
    lk_slot_view_t view = slot_of(bench, (uint32_t)below(state, 3));
    bool is_exit = view.exit.life != LK_LIFE_NONE && below(state, 2);
    input.execution_id = numbered("execution-", below(state, 40) == 0 ? bench->step - 1 : bench->step);
    input.client_order_id = below(state, 8) == 0 ? random_order(bench, state)
                            : is_exit            ? view.exit.client_order_id
                                                 : view.entry.client_order_id;
    if (below(state, 20) == 0) memset(&input.client_order_id, 0, sizeof input.client_order_id);
    input.symbol = symbol_of(below(state, 2) ? "AAA" : "BBB");
    input.qty.units = (int64_t)below(state, 30) + 1;
    input.price.units = (int64_t)below(state, 2000) + 1;
    if (below(state, 10) != 0) input.flags |= LK_HAS_PRICE;
    if (below(state, 3) == 0) input.flags |= LK_HAS_FEE;
    input.fee.units = (int64_t)below(state, 100000);
    return input;
}

static lk_input_t random_about_execution(bench_t *bench, uint64_t *state, lk_input_kind_t kind)
{
    lk_input_t input = input_of(bench, kind);
    input.execution_id = numbered("execution-", bench->step - below(state, bench->step < 20 ? bench->step : 20));
    input.qty.units = (int64_t)below(state, 30) + 1;
    input.price.units = (int64_t)below(state, 2000) + 1;
    input.price_scale = 4;
    input.flags = LK_HAS_QTY | LK_HAS_PRICE | LK_HAS_AMOUNT;
    input.amount.units = (int64_t)below(state, 1000000);
    return input;
}

static lk_input_t random_input(bench_t *bench, uint64_t *state)
{
    lk_input_t input;
    switch (below(state, 26)) {
    case 0:
    case 1:
        return random_enter(bench, state);
    case 2:
    case 3:
    case 4:
        input = input_of(bench, LK_INPUT_EXIT);
        input.trade_id = slot_of(bench, (uint32_t)below(state, 3)).trade_id;
        input.client_order_id = numbered("order-", bench->step);
        return input;
    case 5:
    case 6:
    case 7:
    case 8:
        input = input_of(bench, LK_INPUT_ORDER);
        input.client_order_id = random_order(bench, state);
        input.order_fact = (uint8_t)below(state, LK_FACT_COUNT);
        return input;
    case 9:
        input = input_of(bench, LK_INPUT_CANCEL);
        input.client_order_id = random_order(bench, state);
        return input;
    case 10:
        return random_about_execution(bench, state, LK_INPUT_BUST);
    case 11:
        return random_about_execution(bench, state, LK_INPUT_CORRECTION);
    case 12:
        return random_about_execution(bench, state, LK_INPUT_SETTLEMENT);
    case 13:
        input = input_of(bench, below(state, 30) == 0 ? LK_INPUT_FLATTEN : LK_INPUT_TICK);
        input.client_order_id = numbered("order-", bench->step);
        return input;
    case 14:
        input = input_of(bench, LK_INPUT_MARK_PRICE);
        input.symbol = symbol_of(below(state, 2) ? "AAA" : "BBB");
        input.price.units = (int64_t)below(state, 2000) + 1;
        input.price_scale = 4;
        return input;
    case 15:
        input = input_of(bench, below(state, 2) ? LK_INPUT_BALANCE : LK_INPUT_FUNDING);
        input.amount.units = account_of(bench).capital.units / (below(state, 10) ? 1 : 2);
        return input;
    case 16:
        input = input_of(bench, below(state, 2) ? LK_INPUT_FREEZE : LK_INPUT_UNFREEZE);
        return input;
    default:
        return random_fill(bench, state);
    }
}

/* -------------------------------------------------------------------------------------- what always holds -- */

typedef struct {
    uint8_t stage[LK_SLOTS_MAX];
    uint8_t lifecycle[LK_SLOTS_MAX];
} seen_t;

/* Each transition begins where the slot was, and is one that the tables allow. */
static void check_transitions(const bench_t *bench, seen_t *seen)
{
    for (uint32_t i = 0; i < bench->outcome.event_count; i++) {
        const lk_event_t *event = &bench->events[i];
        if (event->kind != LK_EVENT_TRANSITION) continue;
        bool stage_moved = event->from_stage != event->to_stage;
        bool lifecycle_moved = event->from_lifecycle != event->to_lifecycle;
        CHECK(stage_moved || lifecycle_moved);
        CHECK(event->from_stage == seen->stage[event->slot_index]);
        CHECK(event->from_lifecycle == seen->lifecycle[event->slot_index]);
        if (stage_moved && !lk_stage_may_follow(event->from_stage, event->to_stage)) {
            (void)fprintf(stderr, "%s -> %s\n", lk_stage_name(event->from_stage), lk_stage_name(event->to_stage));
            exit(1);
        }
        if (lifecycle_moved && !lk_lifecycle_may_follow(event->from_lifecycle, event->to_lifecycle)) {
            (void)fprintf(stderr, "%s -> %s\n", lk_lifecycle_name(event->from_lifecycle),
                          lk_lifecycle_name(event->to_lifecycle));
            exit(1);
        }
        seen->stage[event->slot_index] = event->to_stage;
        seen->lifecycle[event->slot_index] = event->to_lifecycle;
    }
}

/* The views of slots say what the transitions told; what is free is over; the account is the sum of what it booked. */
static void check_views(const bench_t *bench, const seen_t *seen)
{
    for (uint32_t i = 0; i < 3; i++) {
        lk_slot_view_t view = slot_of(bench, i);
        CHECK(view.stage == seen->stage[i]);
        CHECK(view.lifecycle == seen->lifecycle[i]);
        CHECK(view.is_free == (view.stage == LK_STAGE_IDLE || view.stage == LK_STAGE_TERMINAL_WRITTEN));
        CHECK(view.qty.units ==
              (view.entry.side == LK_SIDE_BUY ? 1 : -1) * (view.entry_qty.units - view.exit_qty.units));
        if (view.is_free) CHECK(view.qty.units == 0);
    }
}

static int64_t booked_by(const bench_t *bench)
{
    int64_t realized = 0;
    for (uint32_t i = 0; i < bench->outcome.event_count; i++)
        realized += bench->events[i].realized_pnl.units;
    return realized;
}

static void check_restored_alike(const bench_t *bench, const lk_config_t *config)
{
    bench_t *other = bench_with(config);
    size_t size = 0;
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *data = malloc(size);
    CHECK(data != NULL);
    CHECK(lk_kernel_save(bench->kernel, data, size, &size) == LK_STATUS_OK);
    CHECK(lk_kernel_restore(other->kernel, data, size) == LK_STATUS_OK);
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    free(data);
    bench_free(other);
}

static void run_random(uint64_t seed, uint32_t step_count)
{
    lk_config_t config = config_of(3);
    config.taker_fee_rate = 50000;
    bench_t *bench = bench_with(&config);
    bench_t *twin = bench_with(&config); /* takes its digest at the end only */
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    int64_t realized = 0;
    seen_t seen;
    memset(&seen, 0, sizeof seen);
    for (uint32_t i = 0; i < 3; i++)
        seen.stage[i] = LK_STAGE_IDLE;
    for (uint32_t i = 0; i < step_count; i++) {
        digest_t before = digest_of(bench);
        lk_input_t input = random_input(bench, &state);
        lk_code_t code = apply(bench, &input);
        CHECK(code == apply(twin, &input));
        CHECK(same_digest(before, digest_of(bench)) == (code != LK_CODE_OK));
        check_transitions(bench, &seen);
        check_views(bench, &seen);
        realized += booked_by(bench);
        CHECK(account_of(bench).realized_pnl.units == realized);
        if (i % 97 == 0) check_restored_alike(bench, &config);
    }
    CHECK(same_digest(digest_of(bench), digest_of(twin)));
    bench_free(bench);
    bench_free(twin);
}

static void test_random_inputs_keep_every_promise_K03_K21(void)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        run_random(seed, 1500);
}

static void test_batch_is_the_same_as_one_by_one(void)
{
    enum { COUNT = 500 };
    bench_t *single = bench_new(3);
    bench_t *batch = bench_new(3);
    lk_input_t *inputs = calloc(COUNT, sizeof *inputs);
    lk_outcome_t *outcomes = calloc(COUNT, sizeof *outcomes);
    uint32_t capacity = lk_kernel_event_capacity(batch->kernel);
    lk_event_t *events = calloc(2 * capacity, sizeof *events);
    uint64_t state = 4711;
    size_t applied_sum = 0;
    CHECK(inputs != NULL && outcomes != NULL && events != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        inputs[i] = random_input(single, &state);
        apply(single, &inputs[i]);
    }
    while (applied_sum < COUNT) {
        size_t applied = 0;
        size_t event_count = 0;
        CHECK(lk_kernel_apply_batch(batch->kernel, inputs + applied_sum, COUNT - applied_sum, outcomes, events,
                                    2 * capacity, &applied, &event_count) == LK_STATUS_OK);
        CHECK(applied > 0);
        CHECK(event_count == outcomes[applied - 1].event_first + outcomes[applied - 1].event_count);
        applied_sum += applied;
    }
    CHECK(same_digest(digest_of(single), digest_of(batch)));
    free(inputs);
    free(outcomes);
    free(events);
    bench_free(single);
    bench_free(batch);
}

/* --------------------------------------------------------------------------------------- save and restore -- */

static void test_damaged_or_foreign_states_are_refused_and_change_nothing_K21(void)
{
    bench_t *bench = bench_new(2);
    bench_t *other = bench_new(2);
    bench_t *larger = bench_new(3);
    size_t size = 0;
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *data = malloc(size);
    CHECK(data != NULL);
    CHECK(lk_kernel_save(bench->kernel, data, size, &size) == LK_STATUS_OK);
    enter(other, "another", "order", LK_SIDE_SELL, 1);
    digest_t before = digest_of(other);

    for (size_t i = 0; i < size; i++) { /* every byte */
        data[i] ^= 0x40;
        CHECK(lk_kernel_restore(other->kernel, data, size) != LK_STATUS_OK);
        data[i] ^= 0x40;
    }
    data[8]++;
    CHECK(lk_kernel_restore(other->kernel, data, size) == LK_STATUS_INVALID_VERSION);
    data[8]--;
    CHECK(lk_kernel_restore(other->kernel, data, size - 1) == LK_STATUS_INVALID_SIZE);
    CHECK(lk_kernel_restore(other->kernel, data, 10) == LK_STATUS_INVALID_SIZE);
    CHECK(lk_kernel_restore(other->kernel, NULL, 0) == LK_STATUS_INVALID_ARGUMENT);
    data[size - 40]++;
    CHECK(lk_kernel_restore(other->kernel, data, size) == LK_STATUS_INVALID_CHECKSUM);
    data[size - 40]--;
    CHECK(lk_kernel_restore(larger->kernel, data, size) == LK_STATUS_INVALID_STATE);
    CHECK(same_digest(before, digest_of(other)));
    CHECK(lk_kernel_restore(other->kernel, data, size) == LK_STATUS_OK);
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    free(data);
    bench_free(bench);
    bench_free(other);
    bench_free(larger);
}

static void test_restored_in_mid_position_only_the_increment_settles_K12_K22(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "fet", "entry", LK_SIDE_SELL, 202276);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 202276, 1878);
    leave(bench, "fet", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    size_t size = 0;
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *data = malloc(size);
    CHECK(data != NULL);
    CHECK(lk_kernel_save(bench->kernel, data, size, &size) == LK_STATUS_OK);
    lk_input_t again = fill_input(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    lk_input_t rest = fill_input(bench, "exit", "x2", LK_SIDE_BUY, 176269, 1866);

    bench_t *restored = bench_new(2);
    CHECK(lk_kernel_restore(restored->kernel, data, size) == LK_STATUS_OK);
    CHECK(account_of(restored).realized_pnl.units == 3120840000);
    CHECK(apply(restored, &again) == LK_CODE_DUPLICATE_EVENT);
    CHECK(apply(restored, &rest) == LK_CODE_OK);
    CHECK(event_of(restored, LK_EVENT_FILL_BOOKED, 0)->realized_pnl.units == 21152280000);
    CHECK(account_of(restored).realized_pnl.units == 24273120000);
    apply(bench, &again);
    apply(bench, &rest);
    CHECK(same_digest(digest_of(bench), digest_of(restored)));
    free(data);
    bench_free(bench);
    bench_free(restored);
}

int main(void)
{
    RUN(test_hash_is_blake2b_256);
    RUN(test_random_inputs_keep_every_promise_K03_K21);
    RUN(test_batch_is_the_same_as_one_by_one);
    RUN(test_damaged_or_foreign_states_are_refused_and_change_nothing_K21);
    RUN(test_restored_in_mid_position_only_the_increment_settles_K12_K22);
    return 0;
}
