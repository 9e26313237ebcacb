/* What an input costs, in nanoseconds of processor time: medians over repeats, as JSON.
 *
 *   c_single_ns, c_batch_ns    whole trades (enter, sent, acknowledged, two fills, exit, sent, acknowledged, two
 * fills), each input by a call of its own, and in batches c_*_digest_ns              the same with a digest after each
 * input, or after each batch c_ns_by_kind               inputs of one kind after another, on eight kernels of eight
 * slots c_ns_after_inputs          single again, after so many inputs: a long history costs nothing floor_ns what any
 * kernel with these structs would cost: read an input, write an outcome and an event replay_inputs_per_s        input
 * and digest, compared with the digests of a first run state                      save and restore of full kernels:
 * nanoseconds, and bytes
 *
 * Worse is: more nanoseconds, or another `result` (it changes with the ABI or with the rules, never with the speed).
 */
#define _POSIX_C_SOURCE 199309L

#include "lk/lk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOTS 8u
#define STEPS 10u
#define TRADE_COUNT 400u /* more than the windows remember, so that the same inputs can be given again and again */
#define INPUT_COUNT (TRADE_COUNT * STEPS)
#define BATCH 256u
#define EVENT_CAPACITY                                                                                                 \
    (BATCH * 4u) /* about two events follow from an input; SLOTS x LK_EVENTS_PER_SLOT is the least                     \
                  */
#define REPEATS 51u

/* Processor time: other programs on the machine do not count. */
static int64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void require(int is_true, const char *what)
{
    if (is_true) return;
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static void *take(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    require(memory != NULL, "no memory");
    return memory;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, compare);
    return times[count / 2];
}

/* ------------------------------------------------------------------------------------------------ inputs -- */

static void name(char *text, const char *prefix, uint32_t number)
{
    char buffer[LK_ID_BYTES];
    int length = snprintf(buffer, sizeof buffer, "%s%u", prefix, number);
    memcpy(text, buffer, (size_t)length);
}

/* All at one moment, so that they can be given again. */
static lk_input_t input_of(lk_input_kind_t kind, uint32_t number)
{
    lk_input_t input;
    memset(&input, 0, sizeof input);
    input.kind = (uint8_t)kind;
    input.now_ns = 1;
    input.sequence = number + 1;
    name(input.event_id.text, "event-", number);
    return input;
}

static lk_input_t enter_input(uint32_t number, uint32_t trade, uint32_t symbol)
{
    lk_input_t input = input_of(LK_INPUT_ENTER, number);
    name(input.trade_id.text, "trade-", trade);
    name(input.client_order_id.text, "entry-", trade);
    name(input.symbol.text, "SYMBOL-", symbol);
    input.side = LK_SIDE_BUY;
    input.order_type = LK_ORDER_TYPE_MARKET;
    input.time_in_force = LK_TIME_IN_FORCE_DAY;
    input.flags = LK_HAS_QTY;
    input.qty.units = 100;
    input.price_scale = 4;
    input.tick_units = 100;
    input.lot_units = input.multiplier = 1;
    input.leverage = 1;
    return input;
}

static lk_input_t exit_input(uint32_t number, uint32_t trade)
{
    lk_input_t input = input_of(LK_INPUT_EXIT, number);
    name(input.trade_id.text, "trade-", trade);
    name(input.client_order_id.text, "exit-", trade);
    return input;
}

static lk_input_t fact_input(uint32_t number, uint32_t trade, const char *order, lk_order_fact_t fact)
{
    lk_input_t input = input_of(LK_INPUT_ORDER, number);
    name(input.client_order_id.text, order, trade);
    input.order_fact = (uint8_t)fact;
    return input;
}

static lk_input_t fill_input(uint32_t number, uint32_t trade, const char *order, lk_side_t side, int64_t price)
{
    lk_input_t input = input_of(LK_INPUT_FILL, number);
    name(input.client_order_id.text, order, trade);
    name(input.execution_id.text, "execution-", number);
    input.side = (uint8_t)side;
    input.qty.units = 50;
    input.price.units = price;
    input.price_scale = 4;
    input.flags = LK_HAS_QTY | LK_HAS_PRICE;
    return input;
}

static lk_input_t mark_input(uint32_t number, uint32_t symbol, int64_t price)
{
    lk_input_t input = input_of(LK_INPUT_MARK_PRICE, number);
    name(input.symbol.text, "SYMBOL-", symbol);
    input.price.units = price;
    input.price_scale = 4;
    return input;
}

static lk_input_t balance_input(uint32_t number)
{
    lk_input_t input = input_of(LK_INPUT_BALANCE, number);
    input.amount.units = 100000000000000;
    return input;
}

/* One step of a trade's life. */
static lk_input_t step_input(uint32_t number, uint32_t trade, uint32_t symbol, uint32_t step)
{
    switch (step) {
    case 0:
        return enter_input(number, trade, symbol);
    case 1:
        return fact_input(number, trade, "entry-", LK_FACT_SUBMITTING);
    case 2:
        return fact_input(number, trade, "entry-", LK_FACT_ACKNOWLEDGED);
    case 3:
        return fill_input(number, trade, "entry-", LK_SIDE_BUY, 1900000);
    case 4:
        return fill_input(number, trade, "entry-", LK_SIDE_BUY, 1900100);
    case 5:
        return exit_input(number, trade);
    case 6:
        return fact_input(number, trade, "exit-", LK_FACT_SUBMITTING);
    case 7:
        return fact_input(number, trade, "exit-", LK_FACT_ACKNOWLEDGED);
    case 8:
        return fill_input(number, trade, "exit-", LK_SIDE_SELL, 1910000);
    default:
        return fill_input(number, trade, "exit-", LK_SIDE_SELL, 1910100);
    }
}

static lk_input_t *make_inputs(void)
{
    lk_input_t *inputs = take(INPUT_COUNT, sizeof *inputs);
    for (uint32_t i = 0; i < INPUT_COUNT; i++)
        inputs[i] = step_input(i, i / STEPS, 0, i % STEPS);
    return inputs;
}

static lk_kernel_t *make_kernel(uint32_t slot_count)
{
    lk_kernel_t *kernel = NULL;
    lk_config_t config;
    memset(&config, 0, sizeof config);
    config.abi_version = LK_ABI_VERSION;
    config.slot_count = slot_count;
    config.window_count = LK_WINDOW_DEFAULT;
    config.leverage_max = 1;
    config.amount_scale = 8;
    config.taker_fee_rate = 50000;
    config.ack_timeout_ns = 60000000000;
    config.seed_capital.units = 100000000000000;
    memcpy(config.account.text, "BENCH", 5);
    memcpy(config.currency.text, "USD", 3);
    require(lk_kernel_create(&config, &kernel) == LK_STATUS_OK, "no kernel");
    return kernel;
}

/* ------------------------------------------------------------------------------------------------ trades -- */

/* What a run needs beside its inputs. */
typedef struct {
    lk_kernel_t *kernel;
    lk_outcome_t *outcomes;
    lk_event_t *events;
    uint8_t (*digests)[LK_DIGEST_BYTES]; /* after each input */
} run_t;

typedef void (*runner_t)(run_t *run, const lk_input_t *inputs);

static void apply(lk_kernel_t *kernel, const lk_input_t *input, run_t *run)
{
    lk_status_t status = lk_kernel_apply(kernel, input, run->outcomes, run->events, LK_EVENTS_MAX);
    require(status == LK_STATUS_OK && run->outcomes->accepted, "an input was refused");
}

static void run_single(run_t *run, const lk_input_t *inputs)
{
    for (uint32_t i = 0; i < INPUT_COUNT; i++)
        apply(run->kernel, &inputs[i], run);
}

static size_t apply_batch(run_t *run, const lk_input_t *inputs, size_t done)
{
    size_t applied = 0;
    size_t event_count = 0;
    size_t count = INPUT_COUNT - done < BATCH ? INPUT_COUNT - done : BATCH;
    lk_status_t status = lk_kernel_apply_batch(run->kernel, inputs + done, count, run->outcomes, run->events,
                                               EVENT_CAPACITY, &applied, &event_count);
    require(status == LK_STATUS_OK && run->outcomes[applied - 1].accepted, "a batch was refused");
    return applied;
}

static void run_batch(run_t *run, const lk_input_t *inputs)
{
    for (size_t done = 0; done < INPUT_COUNT;)
        done += apply_batch(run, inputs, done);
}

static void run_single_digest(run_t *run, const lk_input_t *inputs)
{
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        apply(run->kernel, &inputs[i], run);
        require(lk_kernel_digest(run->kernel, run->digests[i]) == LK_STATUS_OK, "no digest");
    }
}

static void run_batch_digest(run_t *run, const lk_input_t *inputs)
{
    for (size_t done = 0; done < INPUT_COUNT;) {
        done += apply_batch(run, inputs, done);
        require(lk_kernel_digest(run->kernel, run->digests[0]) == LK_STATUS_OK, "no digest");
    }
}

static void run_replay(run_t *run, const lk_input_t *inputs)
{
    uint8_t digest[LK_DIGEST_BYTES];
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        apply(run->kernel, &inputs[i], run);
        require(lk_kernel_digest(run->kernel, digest) == LK_STATUS_OK, "no digest");
        require(memcmp(digest, run->digests[i], sizeof digest) == 0, "a replay differs");
    }
}

/* In pieces, as the library does it: of whole structs compilers make slow string instructions. */
static inline void copy(void *to, const void *from, size_t size)
{
    size_t done = 0;
    for (; done + 64 <= size; done += 64)
        memcpy((char *)to + done, (const char *)from + done, 64);
    memcpy((char *)to + done, (const char *)from + done, size - done);
}

/* What is read and written at the least. */
static void run_floor(run_t *run, const lk_input_t *inputs)
{
    static const lk_outcome_t OUTCOME;
    static const lk_event_t EVENT;
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        lk_input_t input;
        copy(&input, &inputs[i], sizeof input);
        copy(run->outcomes, &OUTCOME, sizeof OUTCOME);
        copy(run->events, &EVENT, sizeof EVENT);
        run->outcomes[0].code = input.kind;
        run->events[0].trade_id = input.trade_id;
        __asm__ volatile("" : : "r"(run->outcomes), "r"(run->events), "r"(&input) : "memory"); /* somebody reads them */
    }
}

static double measure(runner_t runner, run_t *run, const lk_input_t *inputs)
{
    double times[REPEATS];
    for (uint32_t i = 0; i < REPEATS; i++) {
        run->kernel = make_kernel(SLOTS);
        run_single(run, inputs); /* fills the windows, and warms */
        int64_t start_ns = clock_ns();
        runner(run, inputs);
        times[i] = (double)(clock_ns() - start_ns) / INPUT_COUNT;
        lk_kernel_destroy(run->kernel);
    }
    return median(times, REPEATS);
}

static void print_trades(run_t *run, const lk_input_t *inputs)
{
    (void)printf("  \"floor_ns\": %.1f,\n", measure(run_floor, run, inputs));
    (void)printf("  \"c_single_ns\": %.1f,\n", measure(run_single, run, inputs));
    (void)printf("  \"c_batch_ns\": %.1f,\n", measure(run_batch, run, inputs));
    (void)printf("  \"c_batch_digest_ns\": %.1f,\n", measure(run_batch_digest, run, inputs));
    (void)printf("  \"c_single_digest_ns\": %.1f,\n", measure(run_single_digest, run, inputs));
    (void)printf("  \"replay_inputs_per_s\": %.0f,\n", 1e9 / measure(run_replay, run, inputs));
    (void)printf("  \"result\": \"");
    for (uint32_t i = 0; i < LK_DIGEST_BYTES; i++)
        (void)printf("%02x", run->digests[INPUT_COUNT - 1][i]);
    (void)printf("\",\n");
}

/* ------------------------------------------------------------------------------------------------ history -- */

static void print_history(run_t *run, const lk_input_t *inputs)
{
    static const uint64_t LENGTHS[] = {1000, 100000, 10000000};
    uint64_t done = 0;
    run->kernel = make_kernel(SLOTS);
    (void)printf("  \"c_ns_after_inputs\": {");
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        double times[REPEATS];
        for (; done < LENGTHS[i]; done += INPUT_COUNT)
            run_single(run, inputs);
        for (uint32_t repeat = 0; repeat < REPEATS; repeat++, done += INPUT_COUNT) {
            int64_t start_ns = clock_ns();
            run_single(run, inputs);
            times[repeat] = (double)(clock_ns() - start_ns) / INPUT_COUNT;
        }
        (void)printf("%s\"%llu\": %.1f", i == 0 ? "" : ", ", (unsigned long long)LENGTHS[i], median(times, REPEATS));
    }
    (void)printf("},\n");
    lk_kernel_destroy(run->kernel);
}

/* ------------------------------------------------------------------------------------------------ by kind -- */

#define PHASES (STEPS + 2u) /* the steps of a trade; after the entry is filled, a mark and a balance */
#define ROUNDS 1000u

static lk_input_t phase_input(uint32_t number, uint32_t trade, uint32_t symbol, uint32_t phase)
{
    if (phase == 5) return mark_input(number, symbol, 1905000 + trade % 100);
    if (phase == 6) return balance_input(number);
    return step_input(number, trade, symbol, phase < 5 ? phase : phase - 2);
}

/* Nanoseconds per input of each phase: the same step of a trade in each slot. */
static void measure_round(uint32_t round, run_t *run, lk_input_t *inputs, double *times)
{
    for (uint32_t phase = 0; phase < PHASES; phase++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            inputs[slot] = phase_input((round * PHASES + phase) * SLOTS + slot, round * SLOTS + slot, slot, phase);
        int64_t start_ns = clock_ns();
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            apply(run->kernel, &inputs[slot], run);
        times[phase * ROUNDS + round] = (double)(clock_ns() - start_ns) / SLOTS;
    }
}

/* What the clock itself takes, as nanoseconds per input. */
static double clock_cost(double *times)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        int64_t start_ns = clock_ns();
        times[i] = (double)(clock_ns() - start_ns) / SLOTS;
    }
    return median(times, ROUNDS);
}

static void print_kinds(run_t *run)
{
    lk_input_t *inputs = take(SLOTS, sizeof *inputs);
    double *times = take((size_t)PHASES * ROUNDS, sizeof *times);
    double of_phase[PHASES];
    double cost = clock_cost(times);
    run->kernel = make_kernel(SLOTS);
    for (uint32_t round = 0; round < ROUNDS; round++)
        measure_round(round, run, inputs, times);
    for (uint32_t phase = 0; phase < PHASES; phase++)
        of_phase[phase] = median(times + (size_t)phase * ROUNDS, ROUNDS) - cost;
    double fact = (of_phase[1] + of_phase[2] + of_phase[8] + of_phase[9]) / 4;
    double fill = (of_phase[3] + of_phase[4] + of_phase[10] + of_phase[11]) / 4;
    (void)printf("  \"c_ns_by_kind\": {\"enter\": %.1f, \"order\": %.1f, \"fill\": %.1f, ", of_phase[0], fact, fill);
    (void)printf("\"exit\": %.1f, \"mark_price\": %.1f, \"balance\": %.1f},\n", of_phase[7], of_phase[5], of_phase[6]);
    lk_kernel_destroy(run->kernel);
    free(inputs);
    free(times);
}

/* -------------------------------------------------------------------------------------------------- state -- */

/* A trade in every slot, and the windows as full as they get. */
static lk_kernel_t *full_kernel(uint32_t slot_count, run_t *run)
{
    lk_kernel_t *kernel = make_kernel(slot_count);
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        lk_input_t input = step_input(i, i / STEPS, 0, i % STEPS);
        apply(kernel, &input, run);
    }
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        lk_input_t input = enter_input(INPUT_COUNT + slot, TRADE_COUNT + slot, slot);
        apply(kernel, &input, run);
    }
    return kernel;
}

static void print_state(run_t *run, uint32_t slot_count)
{
    double save_times[REPEATS];
    double restore_times[REPEATS];
    size_t size = 0;
    lk_kernel_t *kernel = full_kernel(slot_count, run);
    require(lk_kernel_save_size(kernel, &size) == LK_STATUS_OK, "no size");
    uint8_t *data = take(size, 1);
    for (uint32_t i = 0; i < REPEATS; i++) {
        int64_t start_ns = clock_ns();
        require(lk_kernel_save(kernel, data, size, &size) == LK_STATUS_OK, "not saved");
        save_times[i] = (double)(clock_ns() - start_ns);
        start_ns = clock_ns();
        require(lk_kernel_restore(kernel, data, size) == LK_STATUS_OK, "not restored");
        restore_times[i] = (double)(clock_ns() - start_ns);
    }
    (void)printf("\"%u\": {\"save_ns\": %.0f, \"restore_ns\": %.0f, \"bytes\": %zu}", slot_count,
                 median(save_times, REPEATS), median(restore_times, REPEATS), size);
    free(data);
    lk_kernel_destroy(kernel);
}

static void print_states(run_t *run)
{
    size_t slot_bytes = 0;
    size_t total_bytes = 0;
    (void)printf("  \"state\": {");
    print_state(run, 1);
    (void)printf(", ");
    print_state(run, 16);
    (void)printf(", ");
    print_state(run, LK_SLOTS_MAX);
    (void)printf("},\n");
    lk_kernel_t *kernel = make_kernel(SLOTS);
    require(lk_kernel_memory(kernel, &slot_bytes, &total_bytes) == LK_STATUS_OK, "no memory told");
    (void)printf("  \"state_bytes_per_slot\": %zu,\n  \"state_bytes_total\": %zu\n", slot_bytes, total_bytes);
    lk_kernel_destroy(kernel);
}

int main(void)
{
    lk_input_t *inputs = make_inputs();
    run_t run = {NULL, take(BATCH, sizeof(lk_outcome_t)), take(LK_EVENTS_MAX, sizeof(lk_event_t)),
                 take(INPUT_COUNT, LK_DIGEST_BYTES)};
    (void)printf("{\n");
    print_trades(&run, inputs);
    print_history(&run, inputs);
    print_kinds(&run);
    print_states(&run);
    (void)printf("}\n");
    free(run.outcomes);
    free(run.events);
    free(run.digests);
    free(inputs);
    return 0;
}
