/* A tiny harness: checks that name the line, a kernel with a buffer for its answers, and inputs in one line each. */
#ifndef LK_TESTS_HARNESS_H
#define LK_TESTS_HARNESS_H

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                      \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define RUN(test)                                                                                                      \
    do {                                                                                                               \
        test();                                                                                                        \
        (void)printf("ok %s\n", #test);                                                                                \
    } while (0)

#define UNIT 100000000 /* 1.00 at amount_scale 8 */

/* A kernel under test. Each input gets the next time, sequence and event id. */
typedef struct {
    lk_kernel_t *kernel;
    lk_outcome_t outcome;
    lk_event_t *events; /* exactly as many as the kernel asks for, so that a sanitizer sees one too many */
    uint32_t event_capacity;
    uint64_t step;
} bench_t;

static inline lk_id_t id_of(const char *text)
{
    lk_id_t id;
    memset(&id, 0, sizeof id);
    CHECK(strlen(text) <= sizeof id.text);
    memcpy(id.text, text, strlen(text));
    return id;
}

static inline lk_id_t numbered(const char *prefix, uint64_t number)
{
    char text[LK_ID_BYTES + 1];
    (void)snprintf(text, sizeof text, "%s%llu", prefix, (unsigned long long)number);
    return id_of(text);
}

static inline lk_symbol_t symbol_of(const char *text)
{
    lk_symbol_t symbol;
    memset(&symbol, 0, sizeof symbol);
    memcpy(symbol.text, text, strlen(text));
    return symbol;
}

static inline lk_config_t config_of(uint32_t slot_count)
{
    lk_config_t config;
    memset(&config, 0, sizeof config);
    config.abi_version = LK_ABI_VERSION;
    config.slot_count = slot_count;
    config.window_count = 64;
    config.leverage_max = 3;
    config.amount_scale = 8;
    config.ack_timeout_ns = 60000000000;
    config.seed_capital.units = 100000000000000;
    config.account = id_of("TEST-1");
    memcpy(config.currency.text, "USD", 3);
    return config;
}

static inline bench_t *bench_with(const lk_config_t *config)
{
    bench_t *bench = calloc(1, sizeof *bench);
    CHECK(bench != NULL);
    CHECK(lk_kernel_create(config, &bench->kernel) == LK_STATUS_OK);
    bench->event_capacity = lk_kernel_event_capacity(bench->kernel);
    bench->events = calloc(bench->event_capacity, sizeof *bench->events);
    CHECK(bench->events != NULL);
    return bench;
}

static inline bench_t *bench_new(uint32_t slot_count)
{
    lk_config_t config = config_of(slot_count);
    return bench_with(&config);
}

/* Fees of 5 and 2 basis points, and a ledger that knows its tolerances. */
static inline lk_config_t fee_config(void)
{
    lk_config_t config = config_of(2);
    config.taker_fee_rate = 50000;
    config.maker_fee_rate = 20000;
    config.ledger_tolerance.units = 100;
    config.ledger_error_tolerance.units = UNIT;
    return config;
}

static inline bench_t *fee_bench(void)
{
    lk_config_t config = fee_config();
    return bench_with(&config);
}

static inline void bench_free(bench_t *bench)
{
    lk_kernel_destroy(bench->kernel);
    free(bench->events);
    free(bench);
}

static inline lk_input_t input_of(bench_t *bench, lk_input_kind_t kind)
{
    lk_input_t input;
    memset(&input, 0, sizeof input);
    bench->step++;
    input.kind = (uint8_t)kind;
    input.now_ns = (int64_t)bench->step;
    input.sequence = bench->step;
    input.event_id = numbered("event-", bench->step);
    return input;
}

static inline lk_code_t apply(bench_t *bench, const lk_input_t *input)
{
    CHECK(lk_kernel_apply(bench->kernel, input, &bench->outcome, bench->events, bench->event_capacity) == LK_STATUS_OK);
    CHECK(bench->outcome.accepted == (bench->outcome.code == LK_CODE_OK));
    return (lk_code_t)bench->outcome.code;
}

static inline lk_input_t enter_input(bench_t *bench, const char *trade_id, const char *order_id, lk_side_t side,
                                     int64_t qty)
{
    lk_input_t input = input_of(bench, LK_INPUT_ENTER);
    input.trade_id = id_of(trade_id);
    input.client_order_id = id_of(order_id);
    input.symbol = symbol_of("FET-USDT");
    input.side = (uint8_t)side;
    input.order_type = LK_ORDER_TYPE_MARKET;
    input.time_in_force = LK_TIME_IN_FORCE_DAY;
    input.flags = LK_HAS_QTY;
    input.qty.units = qty;
    input.price_scale = 4;
    input.tick_units = 1;
    input.lot_units = 1;
    input.multiplier = 1;
    input.leverage = 1;
    return input;
}

/* With a stop and a target that stand at the venue; a target of 0: none. */
static inline void make_bracket(lk_input_t *input, int64_t stop, int64_t target)
{
    input->flags |= LK_BRACKET | LK_HAS_STOP | (target > 0 ? LK_HAS_TARGET : 0u);
    input->stop_price.units = stop;
    input->target_price.units = target;
}

static inline lk_code_t enter(bench_t *bench, const char *trade_id, const char *order_id, lk_side_t side, int64_t qty)
{
    lk_input_t input = enter_input(bench, trade_id, order_id, side, qty);
    return apply(bench, &input);
}

static inline lk_code_t enter_in(bench_t *bench, const char *symbol, const char *trade_id, const char *order_id)
{
    lk_input_t input = enter_input(bench, trade_id, order_id, LK_SIDE_BUY, 10);
    input.symbol = symbol_of(symbol);
    return apply(bench, &input);
}

static inline lk_code_t leave(bench_t *bench, const char *trade_id, const char *order_id)
{
    lk_input_t input = input_of(bench, LK_INPUT_EXIT);
    input.trade_id = id_of(trade_id);
    input.client_order_id = id_of(order_id);
    return apply(bench, &input);
}

static inline lk_code_t cancel(bench_t *bench, const char *order_id)
{
    lk_input_t input = input_of(bench, LK_INPUT_CANCEL);
    input.client_order_id = id_of(order_id);
    return apply(bench, &input);
}

static inline lk_code_t report(bench_t *bench, const char *order_id, lk_order_fact_t fact)
{
    lk_input_t input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of(order_id);
    input.order_fact = (uint8_t)fact;
    return apply(bench, &input);
}

/* price 0: the venue gave none. */
static inline lk_input_t fill_input(bench_t *bench, const char *order_id, const char *execution_id, lk_side_t side,
                                    int64_t qty, int64_t price)
{
    lk_input_t input = input_of(bench, LK_INPUT_FILL);
    input.client_order_id = id_of(order_id);
    input.execution_id = id_of(execution_id);
    input.side = (uint8_t)side;
    input.qty.units = qty;
    input.price.units = price;
    input.price_scale = 4;
    input.flags = LK_HAS_QTY | (price != 0 ? LK_HAS_PRICE : 0u);
    return input;
}

static inline lk_code_t fill(bench_t *bench, const char *order_id, const char *execution_id, lk_side_t side,
                             int64_t qty, int64_t price)
{
    lk_input_t input = fill_input(bench, order_id, execution_id, side, qty, price);
    return apply(bench, &input);
}

static inline lk_code_t settle(bench_t *bench, const char *execution_id, int64_t realized)
{
    lk_input_t input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of(execution_id);
    input.amount.units = realized;
    input.flags = LK_HAS_AMOUNT;
    return apply(bench, &input);
}

static inline lk_code_t balance(bench_t *bench, int64_t wallet)
{
    lk_input_t input = input_of(bench, LK_INPUT_BALANCE);
    input.amount.units = wallet;
    return apply(bench, &input);
}

/* A fill whose fee the venue states. */
static inline lk_code_t fill_with_fee(bench_t *bench, const char *order_id, const char *execution_id, lk_side_t side,
                                      int64_t qty, int64_t price, lk_liquidity_t liquidity, int64_t fee)
{
    lk_input_t input = fill_input(bench, order_id, execution_id, side, qty, price);
    input.liquidity = (uint8_t)liquidity;
    input.fee.units = fee;
    input.flags |= LK_HAS_FEE;
    return apply(bench, &input);
}

static inline lk_code_t settle_fee(bench_t *bench, const char *execution_id, int64_t fee)
{
    lk_input_t input = input_of(bench, LK_INPUT_SETTLEMENT);
    input.execution_id = id_of(execution_id);
    input.fee.units = fee;
    input.flags = LK_HAS_FEE;
    return apply(bench, &input);
}

static inline lk_slot_view_t slot_of(const bench_t *bench, uint32_t slot_index)
{
    lk_slot_view_t view;
    CHECK(lk_kernel_slot(bench->kernel, slot_index, &view) == LK_STATUS_OK);
    return view;
}

static inline lk_account_view_t account_of(const bench_t *bench)
{
    lk_account_view_t view;
    CHECK(lk_kernel_account(bench->kernel, &view) == LK_STATUS_OK);
    return view;
}

typedef struct {
    uint8_t bytes[LK_DIGEST_BYTES];
} digest_t;

static inline digest_t digest_of(const bench_t *bench)
{
    digest_t digest;
    CHECK(lk_kernel_digest(bench->kernel, digest.bytes) == LK_STATUS_OK);
    return digest;
}

static inline bool same_digest(digest_t a, digest_t b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Save, destroy, create anew, restore: a restart of the process. */
static inline void restart(bench_t *bench)
{
    size_t size = 0;
    digest_t before = digest_of(bench);
    lk_config_t config = bench->kernel->config;
    CHECK(lk_kernel_save_size(bench->kernel, &size) == LK_STATUS_OK);
    uint8_t *saved = malloc(size);
    CHECK(saved != NULL);
    CHECK(lk_kernel_save(bench->kernel, saved, size, &size) == LK_STATUS_OK);
    lk_kernel_destroy(bench->kernel);
    CHECK(lk_kernel_create(&config, &bench->kernel) == LK_STATUS_OK);
    CHECK(lk_kernel_restore(bench->kernel, saved, size) == LK_STATUS_OK);
    free(saved);
    CHECK(same_digest(before, digest_of(bench)));
}

/* How many anomalies with this code the last input caused. */
static inline uint32_t anomaly_count(const bench_t *bench, lk_code_t code)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bench->outcome.event_count; i++) {
        count += bench->events[i].kind == LK_EVENT_ANOMALY && bench->events[i].code == (uint32_t)code;
    }
    return count;
}

/* The n-th event of a kind that the last input caused; NULL: there are fewer. */
static inline const lk_event_t *event_of(const bench_t *bench, lk_event_kind_t kind, uint32_t n)
{
    for (uint32_t i = 0; i < bench->outcome.event_count; i++) {
        if (bench->events[i].kind == kind && n-- == 0) return &bench->events[i];
    }
    return NULL;
}

#endif
