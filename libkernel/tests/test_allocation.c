/* After create, no memory is taken or given back: every kind of input, views, finds, digest, save, restore, batch.
 *
 * Linked with --wrap=malloc,calloc,realloc,free: every call from libkernel (and from this file) comes by here.
 */
#include "harness.h"

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);

static uint64_t allocator_calls;
static int64_t blocks_taken;     /* and not given back */
static uint64_t calloc_fails_at; /* the n-th calloc from now returns NULL; 0: none does */

void *__wrap_malloc(size_t size)
{
    allocator_calls++;
    blocks_taken++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocator_calls++;
    if (calloc_fails_at != 0 && --calloc_fails_at == 0) return NULL;
    blocks_taken++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocator_calls++;
    return __real_realloc(memory, size);
}

void __wrap_free(void *memory)
{
    allocator_calls++;
    if (memory != NULL) blocks_taken--;
    __real_free(memory);
}

/* --------------------------------------------------------------------------------------------- every input -- */

static lk_input_t about_execution(bench_t *bench, lk_input_kind_t kind, const char *execution_id)
{
    lk_input_t input = fill_input(bench, "", execution_id, LK_SIDE_BUY, 3, 1010);
    input.kind = (uint8_t)kind;
    input.flags |= LK_HAS_AMOUNT | LK_HAS_FEE;
    input.amount.units = 5;
    return input;
}

static lk_input_t of_kind(bench_t *bench, lk_input_kind_t kind)
{
    lk_input_t input = input_of(bench, kind);
    input.client_order_id = numbered("order-", bench->step);
    input.symbol = symbol_of("FET-USDT");
    input.amount.units = 100000000;
    input.price.units = 1020;
    input.price_scale = 4;
    input.flags = LK_HAS_AMOUNT;
    return input;
}

static void must(bench_t *bench, const lk_input_t *input, uint64_t *seen_kinds)
{
    CHECK(apply(bench, input) == LK_CODE_OK);
    *seen_kinds |= UINT64_C(1) << input->kind;
}

static void enter_and_fill(bench_t *bench, uint64_t *seen_kinds)
{
    lk_input_t input = enter_input(bench, "trade", "entry", LK_SIDE_BUY, 10);
    input.order_type = LK_ORDER_TYPE_LIMIT;
    input.price.units = 1000;
    input.flags |= LK_HAS_PRICE;
    must(bench, &input, seen_kinds);
    input = of_kind(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of("entry");
    input.venue_order_id = id_of("venue-entry");
    input.order_fact = LK_FACT_SUBMITTING;
    must(bench, &input, seen_kinds);
    input = fill_input(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000);
    must(bench, &input, seen_kinds);
    input = fill_input(bench, "entry", "e2", LK_SIDE_BUY, 3, 0); /* without a price */
    must(bench, &input, seen_kinds);
    input = about_execution(bench, LK_INPUT_BUST, "e2");
    must(bench, &input, seen_kinds);
    input = about_execution(bench, LK_INPUT_CORRECTION, "e1");
    must(bench, &input, seen_kinds);
}

static void leave_and_settle(bench_t *bench, uint64_t *seen_kinds)
{
    lk_input_t input = of_kind(bench, LK_INPUT_EXIT);
    input.trade_id = id_of("trade");
    input.client_order_id = id_of("exit");
    input.flags = 0;
    must(bench, &input, seen_kinds);
    input = fill_input(bench, "exit", "x1", LK_SIDE_SELL, 1, 0);
    must(bench, &input, seen_kinds);
    input = about_execution(bench, LK_INPUT_SETTLEMENT, "x1");
    must(bench, &input, seen_kinds);
    input = of_kind(bench, LK_INPUT_CANCEL);
    input.client_order_id = id_of("exit");
    must(bench, &input, seen_kinds);
}

static void adopt(bench_t *bench, uint64_t *seen_kinds)
{
    lk_input_t input = enter_input(bench, "orphan", "", LK_SIDE_NONE, -5);
    input.kind = LK_INPUT_ADOPT;
    input.symbol = symbol_of("AAPL");
    input.price.units = 100;
    must(bench, &input, seen_kinds);
}

/* Once through every kind, each accepted. */
static void apply_every_kind(bench_t *bench)
{
    static const lk_input_kind_t PLAIN[] = {
        LK_INPUT_MARK_PRICE, LK_INPUT_TICK,     LK_INPUT_BALANCE, LK_INPUT_FUNDING,
        LK_INPUT_FREEZE,     LK_INPUT_UNFREEZE, LK_INPUT_FOREIGN, LK_INPUT_CANCEL_WORKING_ENTRIES,
        LK_INPUT_FLATTEN,
    };
    uint64_t seen_kinds = 0;
    enter_and_fill(bench, &seen_kinds);
    leave_and_settle(bench, &seen_kinds);
    adopt(bench, &seen_kinds);
    for (size_t i = 0; i < sizeof PLAIN / sizeof *PLAIN; i++) {
        lk_input_t input = of_kind(bench, PLAIN[i]);
        must(bench, &input, &seen_kinds);
    }
    CHECK(seen_kinds == (UINT64_C(1) << LK_INPUT_COUNT) - 2); /* all but NONE */
}

/* Many trades, so that slots are taken again and the windows go round. */
static void trade_until_windows_wrap(bench_t *bench)
{
    for (uint32_t i = 0; i < 200; i++) {
        lk_input_t input = enter_input(bench, "", "", LK_SIDE_BUY, 10);
        input.symbol = symbol_of("BTC");
        input.trade_id = numbered("t", i);
        input.client_order_id = numbered("o", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        input = fill_input(bench, "", "", LK_SIDE_BUY, 10, 1000);
        input.client_order_id = numbered("o", i);
        input.execution_id = numbered("in", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        input = input_of(bench, LK_INPUT_EXIT);
        input.trade_id = numbered("t", i);
        input.client_order_id = numbered("x", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        input = fill_input(bench, "", "", LK_SIDE_SELL, 10, 1001);
        input.client_order_id = numbered("x", i);
        input.execution_id = numbered("out", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
}

static void read_everything(bench_t *bench)
{
    size_t slot_bytes = 0;
    size_t total_bytes = 0;
    lk_id_t id = id_of("none");
    (void)account_of(bench);
    (void)slot_of(bench, 0);
    (void)digest_of(bench);
    CHECK(lk_kernel_find_order(bench->kernel, &id) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(bench->kernel, &id) == LK_NO_SLOT);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    CHECK(lk_kernel_memory(bench->kernel, &slot_bytes, &total_bytes) == LK_STATUS_OK);
}

static void test_after_create_nothing_takes_or_frees_memory(void)
{
    static uint8_t saved[1 << 20];
    bench_t *bench = bench_new(4);
    size_t size = 0;
    size_t applied_count = 0;
    size_t event_count = 0;
    lk_outcome_t outcomes[2];
    uint64_t before = allocator_calls;
    CHECK(before > 0); /* it is watched: bench_new took some */

    apply_every_kind(bench);
    trade_until_windows_wrap(bench);
    read_everything(bench);
    CHECK(lk_kernel_save(bench->kernel, saved, sizeof saved, &size) == LK_STATUS_OK);
    CHECK(lk_kernel_restore(bench->kernel, saved, size) == LK_STATUS_OK);
    saved[size / 2] ^= 1;
    CHECK(lk_kernel_restore(bench->kernel, saved, size) == LK_STATUS_INVALID_CHECKSUM);
    lk_input_t inputs[2] = {of_kind(bench, LK_INPUT_TICK), of_kind(bench, LK_INPUT_CANCEL)}; /* the second is refused */
    CHECK(lk_kernel_apply_batch(bench->kernel, inputs, 2, outcomes, bench->events, bench->event_capacity,
                                &applied_count, &event_count) == LK_STATUS_OK);
    read_everything(bench);
    CHECK(allocator_calls == before);
    bench_free(bench);
    CHECK(allocator_calls > before);
    CHECK(blocks_taken == 0);
}

/* Every place where create takes memory may find none: then it says so, and leaves nothing behind. */
static void test_create_without_memory_says_so_and_leaks_nothing(void)
{
    lk_config_t config = config_of(2);
    uint64_t failed_count = 0;
    lk_status_t status = LK_STATUS_OUT_OF_MEMORY;
    while (status != LK_STATUS_OK) {
        lk_kernel_t *kernel = NULL;
        CHECK(failed_count < 100);
        calloc_fails_at = failed_count + 1;
        status = lk_kernel_create(&config, &kernel);
        CHECK(status == (kernel == NULL ? LK_STATUS_OUT_OF_MEMORY : LK_STATUS_OK));
        lk_kernel_destroy(kernel);
        CHECK(blocks_taken == 0);
        failed_count += status != LK_STATUS_OK;
    }
    calloc_fails_at = 0;
    CHECK(failed_count ==
          13); /* the kernel; slots, their digests, two rings; two indexes; two windows of three arrays each */
}

int main(void)
{
    RUN(test_after_create_nothing_takes_or_frees_memory);
    RUN(test_create_without_memory_says_so_and_leaks_nothing);
    return 0;
}
