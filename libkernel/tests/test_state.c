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

/* A saved state, and its size. */
typedef struct {
    uint8_t *data;
    size_t size;
} saved_t;

static saved_t save(const bench_t *bench)
{
    saved_t saved = {NULL, 0};
    size_t written = 0;
    CHECK(lk_kernel_save_size(bench->kernel, &saved.size) == LK_STATUS_OK);
    saved.data = malloc(saved.size);
    CHECK(saved.data != NULL);
    CHECK(lk_kernel_save(bench->kernel, saved.data, saved.size, &written) == LK_STATUS_OK);
    CHECK(written == saved.size);
    return saved;
}

static lk_status_t restore(bench_t *bench, const saved_t *saved)
{
    return lk_kernel_restore(bench->kernel, saved->data, saved->size);
}

/* A kernel with the same configuration, from the other's saved state. */
static bench_t *restored_from(const bench_t *bench)
{
    bench_t *other = bench_with(&bench->kernel->config);
    saved_t saved = save(bench);
    CHECK(restore(other, &saved) == LK_STATUS_OK);
    other->step = bench->step;
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    free(saved.data);
    return other;
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
        if (i % 97 == 0) bench_free(restored_from(bench));
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

/* ------------------------------------------------------------------------------------------------- digest -- */

/* A chain as the manual tells it, word by word. */
static lk_chain_t chain_of(lk_chain_t chain, const uint64_t *words, size_t count)
{
    __extension__ typedef unsigned __int128 wide_t;
    for (size_t i = 0; i < count; i += 2) {
        wide_t p = (wide_t)(chain.a ^ words[i]) * LK_CHAIN_FACTOR_A;
        wide_t q = (wide_t)(chain.b ^ (i + 1 < count ? words[i + 1] : 0)) * LK_CHAIN_FACTOR_B;
        chain.a = (uint64_t)p ^ (uint64_t)(q >> 64);
        chain.b = (uint64_t)q ^ (uint64_t)(p >> 64);
    }
    return chain;
}

/* The words were computed by another implementation, from the manual alone. */
static void test_the_event_chain_takes_in_each_accepted_id_K10_K21(void)
{
    bench_t *bench = bench_new(1);
    const lk_chain_t *chain = &bench->kernel->ledger.event_chain;
    CHECK(chain->a == LK_CHAIN_START_A && chain->b == LK_CHAIN_START_B);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(chain->a == 0x3ca5a48bcfe6b342u && chain->b == 0xe6e03ee2cca9d639u);
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) != LK_CODE_OK); /* event-2 was not accepted */
    bench->step = 1;
    report(bench, "entry", LK_FACT_SUBMITTING);
    CHECK(chain->a == 0x7c5f6051259977e4u && chain->b == 0x9293d1eb45ea6e84u);
    report(bench, "entry", LK_FACT_ACKNOWLEDGED);
    CHECK(chain->a == 0x157b8ad8d9605675u && chain->b == 0x607f9a4a30d48d8fu);
    bench_free(bench);
}

static lk_chain_t chain_after(lk_chain_t chain, const lk_execution_t *execution)
{
    uint64_t words[sizeof *execution / 8];
    memcpy(words, execution, sizeof words);
    return chain_of(chain, words, sizeof words / 8);
}

static void test_the_execution_chain_takes_in_what_is_booked_and_what_it_becomes_K21(void)
{
    bench_t *bench = bench_new(1);
    const lk_ledger_t *ledger = &bench->kernel->ledger;
    lk_chain_t chain = {LK_CHAIN_START_A, LK_CHAIN_START_B};
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(memcmp(&chain, &ledger->execution_chain, sizeof chain) == 0);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    chain = chain_after(chain, &bench->kernel->executions[0]);
    CHECK(memcmp(&chain, &ledger->execution_chain, sizeof chain) == 0);
    settle(bench, "e1", 5);
    chain = chain_after(chain, &bench->kernel->executions[0]);
    CHECK(memcmp(&chain, &ledger->execution_chain, sizeof chain) == 0);
    lk_input_t bust = input_of(bench, LK_INPUT_BUST);
    bust.execution_id = id_of("e1");
    CHECK(apply(bench, &bust) == LK_CODE_OK);
    chain = chain_after(chain, &bench->kernel->executions[0]);
    CHECK(memcmp(&chain, &ledger->execution_chain, sizeof chain) == 0);
    bench_free(bench);
}

/* The digest as the manual tells it, from nothing kept. */
static digest_t digest_from_scratch(const bench_t *bench)
{
    const lk_kernel_t *kernel = bench->kernel;
    digest_t part;
    lk_blake2b_t hash;
    lk_blake2b_begin(&hash);
    lk_blake2b(&kernel->config, sizeof kernel->config, part.bytes);
    lk_blake2b_add(&hash, part.bytes, sizeof part.bytes);
    lk_blake2b_add(&hash, &kernel->ledger, sizeof kernel->ledger);
    for (uint32_t i = 0; i < kernel->config.slot_count; i++) {
        const lk_slot_t *slot = &kernel->slots[i];
        uint32_t exit_count = slot->exit_count < LK_SLOT_EXITS_MAX ? slot->exit_count : LK_SLOT_EXITS_MAX;
        memset(&part, 0, sizeof part);
        if (slot->trade_sequence != 0) {
            lk_blake2b(slot, offsetof(lk_slot_t, exits) + exit_count * sizeof(lk_order_t), part.bytes);
        }
        lk_blake2b_add(&hash, part.bytes, sizeof part.bytes);
    }
    lk_blake2b_end(&hash, part.bytes);
    return part;
}

/* --------------------------------------------------------------------------------------- save and restore -- */

enum { TRADE_STEPS = 18 };

/* One step of a trade that has everything: parts, a lost answer, legs, a fill without price, a bust, a late fill. */
static void trade_step(bench_t *bench, uint32_t step)
{
    lk_input_t input;
    switch (step) {
    case 0:
        input = enter_input(bench, "trade", "entry", LK_SIDE_SELL, 100);
        input.exit_leg_bps[0] = 4000;
        input.exit_leg_bps[1] = 10000;
        CHECK(apply(bench, &input) == LK_CODE_OK);
        break;
    case 1:
        CHECK(report(bench, "entry", LK_FACT_SUBMITTING) == LK_CODE_OK);
        break;
    case 2:
        CHECK(report(bench, "entry", LK_FACT_IN_DOUBT) == LK_CODE_OK);
        break;
    case 3:
        input = fill_input(bench, "entry", "e1", LK_SIDE_SELL, 60, 1000);
        input.venue_order_id = id_of("venue-1");
        CHECK(apply(bench, &input) == LK_CODE_OK);
        break;
    case 4:
        CHECK(fill(bench, "entry", "e2", LK_SIDE_SELL, 40, 1010) == LK_CODE_OK);
        break;
    case 5:
        CHECK(balance(bench, 100000000000000) == LK_CODE_OK);
        break;
    case 6:
        CHECK(leave(bench, "trade", "exit-1") == LK_CODE_OK);
        break;
    case 7:
        CHECK(report(bench, "exit-1", LK_FACT_ACKNOWLEDGED) == LK_CODE_OK);
        break;
    case 8:
        CHECK(fill(bench, "exit-1", "x1", LK_SIDE_BUY, 40, 0) == LK_CODE_OK);
        break;
    case 9:
        CHECK(settle(bench, "x1", 12345) == LK_CODE_OK);
        break;
    case 10:
        CHECK(leave(bench, "trade", "exit-2") == LK_CODE_OK);
        break;
    case 11:
        CHECK(report(bench, "exit-2", LK_FACT_REJECTED) == LK_CODE_OK);
        break;
    case 12:
        CHECK(leave(bench, "trade", "exit-3") == LK_CODE_OK);
        break;
    case 13:
        CHECK(fill(bench, "exit-3", "x2", LK_SIDE_BUY, 60, 990) == LK_CODE_OK);
        break;
    case 14:
        CHECK(fill(bench, "entry", "late", LK_SIDE_SELL, 5, 1000) == LK_CODE_OK);
        break;
    case 15:
        input = input_of(bench, LK_INPUT_BUST);
        input.execution_id = id_of("late");
        CHECK(apply(bench, &input) == LK_CODE_OK);
        break;
    case 16:
        CHECK(fill(bench, "exit-3", "x2", LK_SIDE_BUY, 60, 990) == LK_CODE_DUPLICATE_EVENT);
        break;
    default:
        CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 7) == LK_CODE_OK);
        break;
    }
}

static bool same_views(const bench_t *a, const bench_t *b)
{
    lk_account_view_t account_a = account_of(a);
    lk_account_view_t account_b = account_of(b);
    if (memcmp(&account_a, &account_b, sizeof account_a) != 0) return false;
    for (uint32_t i = 0; i < a->kernel->config.slot_count; i++) {
        lk_slot_view_t slot_a = slot_of(a, i);
        lk_slot_view_t slot_b = slot_of(b, i);
        if (memcmp(&slot_a, &slot_b, sizeof slot_a) != 0) return false;
    }
    return true;
}

/* Whoever goes on from a saved state goes on as if nothing had been. */
static void save_at_every_point(uint32_t slot_count)
{
    for (uint32_t point = 0; point <= TRADE_STEPS; point++) {
        bench_t *bench = bench_new(slot_count);
        for (uint32_t step = 0; step < point; step++)
            trade_step(bench, step);
        bench_t *other = restored_from(bench);
        CHECK(same_views(bench, other));
        for (uint32_t step = point; step < TRADE_STEPS; step++) {
            trade_step(bench, step);
            trade_step(other, step);
            CHECK(same_digest(digest_of(bench), digest_of(other)));
            CHECK(same_digest(digest_of(bench), digest_from_scratch(bench)));
            CHECK(memcmp(&bench->outcome, &other->outcome, sizeof bench->outcome) == 0);
        }
        CHECK(same_views(bench, other));
        bench_free(bench);
        bench_free(other);
    }
}

static void test_a_trade_saved_at_every_point_goes_on_alike_K12_K15_K21(void)
{
    save_at_every_point(1);
    save_at_every_point(16);
    save_at_every_point(LK_SLOTS_MAX);
}

static void test_the_account_is_stamped_with_the_input_it_stands_after_K15(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_account_view_t before = account_of(bench);
    CHECK(before.event_sequence == 1);
    CHECK(leave(bench, "other", "exit") == LK_CODE_UNRESOLVED_SLOT);
    lk_account_view_t refused = account_of(bench);
    CHECK(memcmp(&before, &refused, sizeof before) == 0);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    CHECK(account_of(bench).event_sequence == 3);
    CHECK(before.event_sequence == 1); /* a copy: who holds it is not disturbed */
    bench_free(bench);
}

static void test_a_restored_window_knows_the_same_ids_and_forgets_the_same_K10_K21(void)
{
    bench_t *bench = bench_new(1);
    uint32_t window_count = bench->kernel->config.window_count;
    lk_input_t first = input_of(bench, LK_INPUT_FREEZE);
    CHECK(apply(bench, &first) == LK_CODE_OK);
    for (uint32_t i = 0; i < window_count - 1; i++) {
        lk_input_t input = input_of(bench, LK_INPUT_FREEZE);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    first.now_ns = (int64_t)bench->step;
    bench_t *other = restored_from(bench);
    CHECK(apply(other, &first) == LK_CODE_DUPLICATE_EVENT);
    lk_input_t last = input_of(other, LK_INPUT_FREEZE);
    CHECK(apply(other, &last) == LK_CODE_OK);
    first.now_ns = last.now_ns;
    CHECK(apply(other, &last) == LK_CODE_DUPLICATE_EVENT);
    CHECK(apply(other, &first) == LK_CODE_OK); /* beyond the window */
    CHECK(apply(bench, &last) == LK_CODE_OK);
    CHECK(apply(bench, &first) == LK_CODE_OK);
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    bench_free(bench);
    bench_free(other);
}

/* Each `stride`-th byte, and every byte of header and ledger. */
static void damage(uint32_t slot_count, size_t stride)
{
    bench_t *bench = bench_new(slot_count);
    bench_t *other = bench_new(slot_count);
    for (uint32_t step = 0; step < 9; step++)
        trade_step(bench, step);
    enter(other, "another", "order", LK_SIDE_SELL, 1);
    saved_t saved = save(bench);
    digest_t before = digest_of(other);
    for (size_t i = 0; i < saved.size; i += i < 512 && stride < 100 ? 1 : stride) {
        saved.data[i] ^= 0x40;
        CHECK(restore(other, &saved) != LK_STATUS_OK);
        CHECK(same_digest(before, digest_from_scratch(other)));
        saved.data[i] ^= 0x40;
    }
    CHECK(same_digest(before, digest_of(other)));
    CHECK(restore(other, &saved) == LK_STATUS_OK);
    CHECK(same_digest(digest_of(bench), digest_of(other)));
    free(saved.data);
    bench_free(bench);
    bench_free(other);
}

static void test_a_damaged_byte_anywhere_is_refused_and_changes_nothing_K21(void)
{
    damage(1, 1);
    damage(16, 1);
    damage(LK_SLOTS_MAX, 4999);
}

static void test_foreign_and_cut_states_are_refused_each_by_its_name_K21(void)
{
    bench_t *bench = bench_new(2);
    bench_t *other = bench_new(2);
    bench_t *larger = bench_new(3);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    saved_t saved = save(bench);
    digest_t before = digest_of(other);
    saved.data[8]++;
    CHECK(restore(other, &saved) == LK_STATUS_INVALID_VERSION);
    saved.data[8]--;
    saved.data[0]++;
    CHECK(restore(other, &saved) == LK_STATUS_INVALID_VERSION);
    saved.data[0]--;
    for (size_t size = 0; size < saved.size; size++)
        CHECK(lk_kernel_restore(other->kernel, saved.data, size) == LK_STATUS_INVALID_SIZE);
    CHECK(lk_kernel_restore(other->kernel, NULL, 0) == LK_STATUS_INVALID_ARGUMENT);
    CHECK(lk_kernel_restore(NULL, saved.data, saved.size) == LK_STATUS_INVALID_ARGUMENT);
    saved.data[saved.size - 40]++;
    CHECK(restore(other, &saved) == LK_STATUS_INVALID_CHECKSUM);
    saved.data[saved.size - 40]--;
    CHECK(restore(larger, &saved) == LK_STATUS_INVALID_STATE);
    CHECK(same_digest(before, digest_of(other)));
    free(saved.data);
    bench_free(bench);
    bench_free(other);
    bench_free(larger);
}

/* Where things lie in a saved state of one slot. */
enum {
    LEDGER_AT = 40 + sizeof(lk_config_t),
    SLOT_AT = LEDGER_AT + sizeof(lk_ledger_t),
    IDS_AT = SLOT_AT + sizeof(lk_slot_t),
};

/* Intact bytes, but no state: the checksum is made to fit what was changed. */
static lk_status_t restore_with(const bench_t *bench, size_t at, const void *value, size_t size)
{
    bench_t *other = bench_with(&bench->kernel->config);
    saved_t saved = save(bench);
    digest_t before = digest_of(other);
    memcpy(saved.data + at, value, size);
    lk_blake2b(saved.data, saved.size - LK_DIGEST_BYTES, saved.data + saved.size - LK_DIGEST_BYTES);
    lk_status_t status = restore(other, &saved);
    if (status != LK_STATUS_OK) CHECK(same_digest(before, digest_of(other)));
    free(saved.data);
    bench_free(other);
    return status;
}

static void test_intact_bytes_that_are_no_sound_state_are_refused_K21(void)
{
    typedef struct {
        size_t at;
        size_t size;
        uint64_t value;
    } change_t;
#define OF_SLOT(field) SLOT_AT + offsetof(lk_slot_t, field), sizeof(((lk_slot_t *)0)->field)
#define OF_LEDGER(field) LEDGER_AT + offsetof(lk_ledger_t, field), sizeof(((lk_ledger_t *)0)->field)
    static const change_t CHANGES[] = {
        {OF_LEDGER(event_count), 2},
        {OF_LEDGER(execution_count), 7},
        {OF_LEDGER(anchored_count), 9},
        {OF_LEDGER(trade_count), 0},
        {OF_SLOT(trade_sequence), 0},
        {OF_SLOT(trade_sequence), 9},
        {OF_SLOT(close_sequence), 9},
        {OF_SLOT(tick_units), 0},
        {OF_SLOT(lot_units), 0},
        {OF_SLOT(multiplier), 0},
        {OF_SLOT(price_scale), 12},
        {OF_SLOT(active_leg_index), LK_EXIT_LEGS_MAX},
        {OF_SLOT(exit_count), 0},
        {OF_SLOT(entry.side), 0},
        {OF_SLOT(entry.life), LK_LIFE_NONE},
        {OF_SLOT(entry.life), LK_LIFE_COUNT},
        {OF_SLOT(entry.cum_qty), UINT64_MAX},
        {OF_SLOT(exits[0].life), LK_LIFE_COUNT},
        {OF_SLOT(exits[1].life), LK_LIFE_SENT},
        {OF_SLOT(exits[3].order_qty), 1},
        {OF_SLOT(book.entry_qty), UINT64_MAX},
        {OF_SLOT(book.entry_unpriced_qty), 1000},
        {OF_SLOT(book.venue_realized), INT64_MAX},
        {OF_SLOT(mark), INT64_MAX},
    };
    bench_t *bench = bench_new(1);
    for (uint32_t step = 0; step < 9; step++)
        trade_step(bench, step);
    fill(bench, "exit-1", "x9", LK_SIDE_BUY, 1, 900);
    uint64_t none = 0;
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        lk_status_t status = restore_with(bench, CHANGES[i].at, &CHANGES[i].value, CHANGES[i].size);
        if (status != LK_STATUS_INVALID_STATE) (void)fprintf(stderr, "change %zu: status %u\n", i, (unsigned)status);
        CHECK(status == LK_STATUS_INVALID_STATE);
    }
    size_t execution_at = IDS_AT + bench->kernel->ledger.event_count * sizeof(lk_id_t);
    uint32_t far_slot = 1;
    uint64_t next_number = 2;
    CHECK(restore_with(bench, execution_at + offsetof(lk_execution_t, qty), &none, 8) == LK_STATUS_INVALID_STATE);
    CHECK(restore_with(bench, execution_at + offsetof(lk_execution_t, number), &none, 8) == LK_STATUS_INVALID_STATE);
    CHECK(restore_with(bench, execution_at + offsetof(lk_execution_t, number), &next_number, 8) ==
          LK_STATUS_INVALID_STATE);
    CHECK(restore_with(bench, execution_at + offsetof(lk_execution_t, trade_sequence), &none, 8) ==
          LK_STATUS_INVALID_STATE);
    CHECK(restore_with(bench, execution_at + offsetof(lk_execution_t, slot_index), &far_slot, 4) ==
          LK_STATUS_INVALID_STATE);
    CHECK(restore_with(bench, SLOT_AT, "x", 1) == LK_STATUS_OK); /* another trade's name: a state like any other */
    bench_free(bench);
}

/* --------------------------------------------------------------------------------------------- many slots -- */

static void test_all_slots_trade_at_once_and_are_flattened_by_one_input_K02(void)
{
    bench_t *bench = bench_new(LK_SLOTS_MAX);
    CHECK(bench->event_capacity == LK_EVENTS_MAX);
    for (uint32_t i = 0; i < LK_SLOTS_MAX; i++) {
        lk_id_t symbol = numbered("S", i);
        lk_id_t trade = numbered("trade-", i);
        lk_id_t order = numbered("entry-", i);
        CHECK(enter_in(bench, symbol.text, trade.text, order.text) == LK_CODE_OK);
        CHECK(bench->outcome.slot_index == i);
        CHECK(lk_set_next(bench->outcome.changed_slots, 0) == i);
        CHECK(lk_set_next(bench->outcome.changed_slots, i + 1) == LK_NO_SLOT);
        CHECK(fill(bench, order.text, numbered("e", i).text, LK_SIDE_BUY, 5, 1000) == LK_CODE_OK);
    }
    CHECK(enter_in(bench, "MORE", "one-too-many", "order") == LK_CODE_SLOT_BUSY);
    CHECK(account_of(bench).open_slot_count == LK_SLOTS_MAX);
    lk_input_t flatten = input_of(bench, LK_INPUT_FLATTEN);
    flatten.client_order_id = id_of("flat");
    CHECK(apply(bench, &flatten) == LK_CODE_OK);
    for (uint32_t word = 0; word < LK_SLOT_WORDS; word++)
        CHECK(bench->outcome.changed_slots[word] == UINT64_MAX);
    static const char *const ROOTED[] = {"flat-00", "flat-07", "flat-99", "flat-100", "flat-255"};
    static const uint32_t SLOTS[] = {0, 7, 99, 100, 255};
    for (uint32_t i = 0; i < 5; i++) {
        lk_id_t id = id_of(ROOTED[i]);
        CHECK(lk_kernel_find_order(bench->kernel, &id) == SLOTS[i]);
    }
    bench_free(restored_from(bench));
    bench_free(bench);
}

/* All that one fill can cause at once has room in a kernel of one slot. */
static void test_the_fullest_fill_fits_the_smallest_kernel(void)
{
    lk_config_t config = config_of(1);
    bench_t *bench = bench_with(&config);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 10, 0);
    leave(bench, "trade", "exit-1");
    report(bench, "exit-1", LK_FACT_CANCELED);
    leave(bench, "trade", "exit-2");
    lk_input_t input = fill_input(bench, "exit-1", "x1", LK_SIDE_BUY, 11, 100001);
    input.price_scale = 5;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_LATE_FILL) == 1);
    CHECK(anomaly_count(bench, LK_CODE_SIDE_MISMATCH) == 1);
    CHECK(anomaly_count(bench, LK_CODE_PRICE_ROUNDED) == 1);
    CHECK(anomaly_count(bench, LK_CODE_FILL_WITHOUT_PRICE) == 1);
    CHECK(anomaly_count(bench, LK_CODE_OVERFILL) == 1);
    CHECK(anomaly_count(bench, LK_CODE_EXIT_EXCEEDS_POSITION) == 1);
    CHECK(bench->outcome.event_count > 6);
    CHECK(bench->outcome.event_count <= lk_kernel_event_capacity(bench->kernel));
    CHECK(lk_kernel_event_capacity(NULL) == 0);
    bench_free(bench);
}

static void test_restored_in_mid_position_only_the_increment_settles_K12_K22(void)
{
    bench_t *bench = bench_new(2);
    enter(bench, "fet", "entry", LK_SIDE_SELL, 202276);
    fill(bench, "entry", "e1", LK_SIDE_SELL, 202276, 1878);
    leave(bench, "fet", "exit");
    fill(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    lk_input_t again = fill_input(bench, "exit", "x1", LK_SIDE_BUY, 26007, 1866);
    lk_input_t rest = fill_input(bench, "exit", "x2", LK_SIDE_BUY, 176269, 1866);

    bench_t *restored = restored_from(bench);
    CHECK(account_of(restored).realized_pnl.units == 3120840000);
    CHECK(apply(restored, &again) == LK_CODE_DUPLICATE_EVENT);
    CHECK(apply(restored, &rest) == LK_CODE_OK);
    CHECK(event_of(restored, LK_EVENT_FILL_BOOKED, 0)->realized_pnl.units == 21152280000);
    CHECK(account_of(restored).realized_pnl.units == 24273120000);
    apply(bench, &again);
    apply(bench, &rest);
    CHECK(same_digest(digest_of(bench), digest_of(restored)));
    bench_free(bench);
    bench_free(restored);
}

int main(void)
{
    RUN(test_hash_is_blake2b_256);
    RUN(test_random_inputs_keep_every_promise_K03_K21);
    RUN(test_batch_is_the_same_as_one_by_one);
    RUN(test_the_event_chain_takes_in_each_accepted_id_K10_K21);
    RUN(test_the_execution_chain_takes_in_what_is_booked_and_what_it_becomes_K21);
    RUN(test_a_trade_saved_at_every_point_goes_on_alike_K12_K15_K21);
    RUN(test_the_account_is_stamped_with_the_input_it_stands_after_K15);
    RUN(test_a_restored_window_knows_the_same_ids_and_forgets_the_same_K10_K21);
    RUN(test_a_damaged_byte_anywhere_is_refused_and_changes_nothing_K21);
    RUN(test_foreign_and_cut_states_are_refused_each_by_its_name_K21);
    RUN(test_intact_bytes_that_are_no_sound_state_are_refused_K21);
    RUN(test_all_slots_trade_at_once_and_are_flattened_by_one_input_K02);
    RUN(test_the_fullest_fill_fits_the_smallest_kernel);
    RUN(test_restored_in_mid_position_only_the_increment_settles_K12_K22);
    return 0;
}
