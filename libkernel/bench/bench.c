/* Nanoseconds per input: whole trades (enter, sent, acknowledged, two fills, exit, sent, acknowledged, two fills), each
 * input alone and in batches, without digest; then one digest after each input. Prints JSON and a hash of the result.
 * Worse is: more nanoseconds, or another hash (the hash changes with the ABI or with the rules, never with the speed).
 */
#include "lk/lk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRADE_COUNT 2000u /* 12 MB of inputs */
#define STEPS 10u
#define INPUT_COUNT (TRADE_COUNT * STEPS)
#define BATCH 256u
#define REPEATS 15u

/* Processor time: other programs on the machine do not count. */
static int64_t clock_ns(void)
{
    return (int64_t)clock() * (1000000000 / CLOCKS_PER_SEC);
}

static void name(char *text, const char *prefix, uint32_t number)
{
    (void)snprintf(text, LK_ID_BYTES, "%s%u", prefix, number);
}

static lk_input_t *step(lk_input_t *inputs, uint32_t index, lk_input_kind_t kind, uint32_t trade, const char *order)
{
    lk_input_t *input = &inputs[index];
    input->kind = (uint8_t)kind;
    input->now_ns = (int64_t)index + 1;
    input->sequence = (uint64_t)index + 1;
    name(input->event_id.text, "event-", index);
    name(input->client_order_id.text, order, trade);
    return input;
}

static void fact(lk_input_t *inputs, uint32_t index, uint32_t trade, const char *order, lk_order_fact_t learned)
{
    step(inputs, index, LK_INPUT_ORDER, trade, order)->order_fact = (uint8_t)learned;
}

static void fill(lk_input_t *inputs, uint32_t index, uint32_t trade, const char *order, lk_side_t side, int64_t price)
{
    lk_input_t *input = step(inputs, index, LK_INPUT_FILL, trade, order);
    name(input->execution_id.text, "execution-", index);
    input->side = (uint8_t)side;
    input->qty.units = 50;
    input->price.units = price;
    input->price_scale = 4;
    input->flags = LK_HAS_QTY | LK_HAS_PRICE;
}

static void trade_inputs(lk_input_t *inputs, uint32_t trade)
{
    uint32_t at = trade * STEPS;
    lk_input_t *enter = step(inputs, at, LK_INPUT_ENTER, trade, "entry-");
    name(enter->trade_id.text, "trade-", trade);
    memcpy(enter->symbol.text, "AAPL", 4);
    enter->side = LK_SIDE_BUY;
    enter->order_type = LK_ORDER_TYPE_MARKET;
    enter->time_in_force = LK_TIME_IN_FORCE_DAY;
    enter->flags = LK_HAS_QTY;
    enter->qty.units = 100;
    enter->price_scale = 4;
    enter->tick_units = 100;
    enter->lot_units = enter->multiplier = 1;
    enter->leverage = 1;
    fact(inputs, at + 1, trade, "entry-", LK_FACT_SUBMITTING);
    fact(inputs, at + 2, trade, "entry-", LK_FACT_ACKNOWLEDGED);
    fill(inputs, at + 3, trade, "entry-", LK_SIDE_BUY, 1900000);
    fill(inputs, at + 4, trade, "entry-", LK_SIDE_BUY, 1900100);
    lk_input_t *leave = step(inputs, at + 5, LK_INPUT_EXIT, trade, "exit-");
    name(leave->trade_id.text, "trade-", trade);
    fact(inputs, at + 6, trade, "exit-", LK_FACT_SUBMITTING);
    fact(inputs, at + 7, trade, "exit-", LK_FACT_ACKNOWLEDGED);
    fill(inputs, at + 8, trade, "exit-", LK_SIDE_SELL, 1910000);
    fill(inputs, at + 9, trade, "exit-", LK_SIDE_SELL, 1910100);
}

static lk_kernel_t *make_kernel(void)
{
    lk_kernel_t *kernel = NULL;
    lk_config_t config;
    memset(&config, 0, sizeof config);
    config.abi_version = LK_ABI_VERSION;
    config.slot_count = 8;
    config.window_count = LK_WINDOW_DEFAULT;
    config.leverage_max = 1;
    config.amount_scale = 8;
    config.taker_fee_rate = 50000;
    config.ack_timeout_ns = 60000000000;
    memcpy(config.account.text, "BENCH", 5);
    memcpy(config.currency.text, "USD", 3);
    if (lk_kernel_create(&config, &kernel) != LK_STATUS_OK) exit(1);
    return kernel;
}

static void require(int is_true)
{
    if (!is_true) {
        (void)fputs("bench: an input was refused\n", stderr);
        exit(1);
    }
}

static void run_single(lk_kernel_t *kernel, const lk_input_t *inputs, lk_outcome_t *outcomes, lk_event_t *events)
{
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        lk_status_t status = lk_kernel_apply(kernel, &inputs[i], outcomes, events, 8 * LK_EVENTS_PER_SLOT);
        require(status == LK_STATUS_OK && outcomes->accepted);
    }
}

static void run_batch(lk_kernel_t *kernel, const lk_input_t *inputs, lk_outcome_t *outcomes, lk_event_t *events)
{
    size_t applied = 0;
    size_t event_count = 0;
    for (size_t done = 0; done < INPUT_COUNT; done += applied) {
        size_t count = INPUT_COUNT - done < BATCH ? INPUT_COUNT - done : BATCH;
        require(lk_kernel_apply_batch(kernel, inputs + done, count, outcomes, events, 4 * 8 * LK_EVENTS_PER_SLOT,
                                      &applied, &event_count) == LK_STATUS_OK);
    }
}

static void run_digest(lk_kernel_t *kernel, const lk_input_t *inputs, lk_outcome_t *outcomes, lk_event_t *events)
{
    uint8_t digest[LK_DIGEST_BYTES];
    for (uint32_t i = 0; i < INPUT_COUNT; i++) {
        lk_status_t status = lk_kernel_apply(kernel, &inputs[i], outcomes, events, 8 * LK_EVENTS_PER_SLOT);
        require(status == LK_STATUS_OK && lk_kernel_digest(kernel, digest) == LK_STATUS_OK);
    }
}

typedef void (*run_t)(lk_kernel_t *kernel, const lk_input_t *inputs, lk_outcome_t *outcomes, lk_event_t *events);

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The median of the repeats, in nanoseconds per input. */
static double measure(run_t run, const lk_input_t *inputs, uint8_t digest[LK_DIGEST_BYTES])
{
    double times[REPEATS];
    lk_outcome_t *outcomes = calloc(BATCH, sizeof *outcomes);
    lk_event_t *events = calloc(4 * 8 * LK_EVENTS_PER_SLOT, sizeof *events);
    require(outcomes != NULL && events != NULL);
    for (uint32_t i = 0; i < REPEATS; i++) {
        lk_kernel_t *kernel = make_kernel();
        int64_t start_ns = clock_ns();
        run(kernel, inputs, outcomes, events);
        times[i] = (double)(clock_ns() - start_ns) / INPUT_COUNT;
        require(lk_kernel_digest(kernel, digest) == LK_STATUS_OK);
        lk_kernel_destroy(kernel);
    }
    free(outcomes);
    free(events);
    qsort(times, REPEATS, sizeof *times, compare);
    return times[REPEATS / 2];
}

int main(void)
{
    uint8_t digest[LK_DIGEST_BYTES];
    size_t slot_bytes = 0;
    size_t total_bytes = 0;
    lk_input_t *inputs = calloc(INPUT_COUNT, sizeof *inputs);
    require(inputs != NULL);
    for (uint32_t trade = 0; trade < TRADE_COUNT; trade++)
        trade_inputs(inputs, trade);
    double single_ns = measure(run_single, inputs, digest);
    double batch_ns = measure(run_batch, inputs, digest);
    double digest_ns = measure(run_digest, inputs, digest);
    lk_kernel_t *kernel = make_kernel();
    require(lk_kernel_memory(kernel, &slot_bytes, &total_bytes) == LK_STATUS_OK);
    lk_kernel_destroy(kernel);
    (void)printf("{\"c_single_ns\": %.1f, \"c_batch_ns\": %.1f, \"c_single_with_digest_ns\": %.1f, ", single_ns,
                 batch_ns, digest_ns);
    (void)printf("\"state_bytes_per_slot\": %zu, \"state_bytes_total\": %zu, \"result\": \"", slot_bytes, total_bytes);
    for (uint32_t i = 0; i < LK_DIGEST_BYTES; i++)
        (void)printf("%02x", digest[i]);
    (void)printf("\"}\n");
    free(inputs);
    return 0;
}
