/* instructions SINGLE|BATCH|DIGEST TRADES: the life cycle of bench/bench.c, for counting instructions.
 *
 * A trade is ten inputs: enter, sent, acknowledged, two fills; exit, sent, acknowledged, two fills. One kernel of 8
 * slots takes TRADES of them, one after the other. SINGLE applies them one by one, BATCH in tens, DIGEST takes a digest
 * after each. Prints how many inputs it applied and the digest at the end.
 */
#include "lk/lk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 10u

typedef struct {
    lk_kernel_t *kernel;
    lk_event_t *events;
    uint32_t event_capacity;
    uint64_t input_count;
} world_t;

static void require(int is_true)
{
    if (is_true) return;
    (void)fputs("instructions: an input was refused\n", stderr);
    exit(1);
}

static void name(char *text, const char *prefix, uint64_t number)
{
    (void)snprintf(text, LK_ID_BYTES, "%s%llu", prefix, (unsigned long long)number);
}

static lk_input_t *step(lk_input_t *input, uint64_t index, lk_input_kind_t kind, uint64_t trade, const char *order)
{
    input->kind = (uint8_t)kind;
    input->now_ns = (int64_t)index + 1;
    input->sequence = index + 1;
    name(input->event_id.text, "event-", index);
    name(input->client_order_id.text, order, trade);
    return input;
}

static void enter(lk_input_t *input, uint64_t index, uint64_t trade)
{
    step(input, index, LK_INPUT_ENTER, trade, "entry-");
    name(input->trade_id.text, "trade-", trade);
    memcpy(input->symbol.text, "AAPL", 4);
    input->side = LK_SIDE_BUY;
    input->order_type = LK_ORDER_TYPE_MARKET;
    input->time_in_force = LK_TIME_IN_FORCE_DAY;
    input->qty.units = 100;
    input->price_scale = 4;
    input->tick_units = 100;
    input->lot_units = input->multiplier = 1;
    input->leverage = 1;
}

static void fill(lk_input_t *input, uint64_t index, uint64_t trade, const char *order, lk_side_t side, int64_t price)
{
    step(input, index, LK_INPUT_FILL, trade, order);
    name(input->execution_id.text, "execution-", index);
    input->side = (uint8_t)side;
    input->qty.units = 50;
    input->price.units = price;
    input->price_scale = 4;
    input->flags = LK_HAS_PRICE;
}

static void make_trade(lk_input_t inputs[STEPS], uint64_t trade)
{
    uint64_t at = trade * STEPS;
    memset(inputs, 0, STEPS * sizeof *inputs);
    enter(&inputs[0], at, trade);
    step(&inputs[1], at + 1, LK_INPUT_ORDER, trade, "entry-")->order_fact = LK_FACT_SUBMITTING;
    step(&inputs[2], at + 2, LK_INPUT_ORDER, trade, "entry-")->order_fact = LK_FACT_ACKNOWLEDGED;
    fill(&inputs[3], at + 3, trade, "entry-", LK_SIDE_BUY, 1900000);
    fill(&inputs[4], at + 4, trade, "entry-", LK_SIDE_BUY, 1900100);
    name(step(&inputs[5], at + 5, LK_INPUT_EXIT, trade, "exit-")->trade_id.text, "trade-", trade);
    step(&inputs[6], at + 6, LK_INPUT_ORDER, trade, "exit-")->order_fact = LK_FACT_SUBMITTING;
    step(&inputs[7], at + 7, LK_INPUT_ORDER, trade, "exit-")->order_fact = LK_FACT_ACKNOWLEDGED;
    fill(&inputs[8], at + 8, trade, "exit-", LK_SIDE_SELL, 1910000);
    fill(&inputs[9], at + 9, trade, "exit-", LK_SIDE_SELL, 1910100);
}

/* These two are what is counted: the tool asks callgrind for their instructions, and what they call. */
void lk_count_single(world_t *world, const lk_input_t inputs[STEPS], int takes_digest);
void lk_count_batch(world_t *world, const lk_input_t inputs[STEPS]);

__attribute__((noinline)) void lk_count_single(world_t *world, const lk_input_t inputs[STEPS], int takes_digest)
{
    uint8_t digest[LK_DIGEST_BYTES];
    lk_outcome_t outcome;
    for (uint32_t i = 0; i < STEPS; i++) {
        lk_status_t status = lk_kernel_apply(world->kernel, &inputs[i], &outcome, world->events, world->event_capacity);
        require(status == LK_STATUS_OK && outcome.accepted);
        if (takes_digest) require(lk_kernel_digest(world->kernel, digest) == LK_STATUS_OK);
    }
}

__attribute__((noinline)) void lk_count_batch(world_t *world, const lk_input_t inputs[STEPS])
{
    lk_outcome_t outcomes[STEPS];
    size_t applied_count = 0;
    size_t event_count = 0;
    lk_status_t status = lk_kernel_apply_batch(world->kernel, inputs, STEPS, outcomes, world->events,
                                               world->event_capacity, &applied_count, &event_count);
    require(status == LK_STATUS_OK && applied_count == STEPS && outcomes[STEPS - 1].accepted);
}

static world_t world_of(void)
{
    world_t world = {0};
    lk_config_t config;
    memset(&config, 0, sizeof config);
    config.abi_version = LK_ABI_VERSION;
    config.slot_count = 8;
    config.window_count = LK_WINDOW_DEFAULT;
    config.leverage_max = 1;
    config.amount_scale = 8;
    config.taker_fee_rate = 50000;
    config.ack_timeout_ns = 60000000000;
    config.seed_capital.units = 100000000000000;
    memcpy(config.account.text, "BENCH", 5);
    memcpy(config.currency.text, "USD", 3);
    require(lk_kernel_create(&config, &world.kernel) == LK_STATUS_OK);
    world.event_capacity = 2 * lk_kernel_event_capacity(world.kernel);
    world.events = calloc(world.event_capacity, sizeof *world.events);
    require(world.events != NULL);
    return world;
}

int main(int argument_count, char **arguments)
{
    lk_input_t inputs[STEPS];
    uint8_t digest[LK_DIGEST_BYTES];
    if (argument_count != 3) return 2;
    const char *way = arguments[1];
    uint64_t trade_count = strtoull(arguments[2], NULL, 10);
    world_t world = world_of();
    for (uint64_t trade = 0; trade < trade_count; trade++) {
        make_trade(inputs, trade);
        if (strcmp(way, "BATCH") == 0)
            lk_count_batch(&world, inputs);
        else
            lk_count_single(&world, inputs, strcmp(way, "DIGEST") == 0);
        world.input_count += STEPS;
    }
    require(lk_kernel_digest(world.kernel, digest) == LK_STATUS_OK);
    (void)printf("%llu ", (unsigned long long)world.input_count);
    for (size_t i = 0; i < sizeof digest; i++)
        (void)printf("%02x", digest[i]);
    (void)puts("");
    lk_kernel_destroy(world.kernel);
    free(world.events);
    return 0;
}
