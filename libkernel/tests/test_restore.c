/* Saved states that are intact, and yet are no state of this kernel: each thing that restore looks at, wrong alone. */
#include "harness.h"

#define HEADER_BYTES (40u + sizeof(lk_config_t)) /* magic, version, slots, size, ids, executions; configuration */
#define EVENT_COUNT_AT 24u
#define EXECUTION_COUNT_AT 32u

/* A kernel in mid-trade, as bytes that can be changed; and one to restore them into. */
typedef struct {
    bench_t *bench;
    bench_t *target;
    digest_t before; /* of the target */
    uint8_t *data;
    size_t size;
    lk_ledger_t ledger;
    lk_slot_t slot;
    lk_execution_t execution;
} saved_t;

static size_t ledger_at(void)
{
    return HEADER_BYTES;
}

static size_t slot_at(uint32_t index)
{
    return ledger_at() + sizeof(lk_ledger_t) + index * sizeof(lk_slot_t);
}

static size_t execution_at(const saved_t *saved)
{
    return slot_at(2) + saved->ledger.event_count * sizeof(lk_id_t);
}

static saved_t saved_new(void)
{
    saved_t saved;
    memset(&saved, 0, sizeof saved);
    saved.bench = bench_new(2);
    saved.target = bench_new(2);
    enter(saved.bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(saved.bench, "entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(saved.bench, "trade", "exit");
    fill(saved.bench, "exit", "x1", LK_SIDE_SELL, 4, 1010);
    saved.before = digest_of(saved.target);
    CHECK(lk_kernel_save_size(saved.bench->kernel, &saved.size) == LK_STATUS_OK);
    saved.data = malloc(saved.size);
    CHECK(saved.data != NULL);
    CHECK(lk_kernel_save(saved.bench->kernel, saved.data, saved.size, &saved.size) == LK_STATUS_OK);
    memcpy(&saved.ledger, saved.data + ledger_at(), sizeof saved.ledger);
    memcpy(&saved.slot, saved.data + slot_at(0), sizeof saved.slot);
    memcpy(&saved.execution, saved.data + execution_at(&saved), sizeof saved.execution);
    CHECK(saved.execution.number == 1 &&
          saved.slot.trade_sequence == 1); /* the layout is as this file takes it to be */
    return saved;
}

static void saved_free(saved_t *saved)
{
    bench_free(saved->bench);
    bench_free(saved->target);
    free(saved->data);
}

static lk_status_t restore_now(saved_t *saved)
{
    lk_blake2b(saved->data, saved->size - LK_DIGEST_BYTES, saved->data + saved->size - LK_DIGEST_BYTES);
    return lk_kernel_restore(saved->target->kernel, saved->data, saved->size);
}

/* Put `part` at `at` for one restore, which must refuse it and change nothing. */
static void must_refuse(saved_t *saved, const char *what, size_t at, const void *part, size_t size, lk_status_t status)
{
    uint8_t kept[2 * sizeof(lk_slot_t)];
    CHECK(size <= sizeof kept);
    memcpy(kept, saved->data + at, size);
    memcpy(saved->data + at, part, size);
    lk_status_t answer = restore_now(saved);
    if (answer != status) (void)fprintf(stderr, "%s: %s\n", what, lk_status_name((uint32_t)answer));
    CHECK(answer == status);
    CHECK(same_digest(saved->before, digest_of(saved->target)));
    memcpy(saved->data + at, kept, size);
}

#define REFUSED_SLOT(field, value)                                                                                     \
    do {                                                                                                               \
        lk_slot_t slot = saved.slot;                                                                                   \
        slot.field = (value);                                                                                          \
        must_refuse(&saved, #field, slot_at(0), &slot, sizeof slot, LK_STATUS_INVALID_STATE);                          \
    } while (0)

static void test_slot_that_no_kernel_could_have_is_refused_K21(void)
{
    saved_t saved = saved_new();
    REFUSED_SLOT(trade_sequence, 2);
    REFUSED_SLOT(trade_sequence, 0); /* never used, and not empty */
    REFUSED_SLOT(close_sequence, 1);
    REFUSED_SLOT(entry.side, LK_SIDE_NONE);
    REFUSED_SLOT(tick_units, 0);
    REFUSED_SLOT(lot_units, 0);
    REFUSED_SLOT(multiplier, 0);
    REFUSED_SLOT(price_scale, 9); /* finer than amounts */
    REFUSED_SLOT(active_leg_index, LK_EXIT_LEGS_MAX);
    REFUSED_SLOT(entry.life, LK_LIFE_NONE);
    REFUSED_SLOT(entry.life, LK_LIFE_COUNT);
    REFUSED_SLOT(entry.cum_qty, -1);
    REFUSED_SLOT(entry.priced_qty, -1);
    REFUSED_SLOT(entry.priced_qty, 11);
    REFUSED_SLOT(entry.cum_notional, -1);
    REFUSED_SLOT(entry.order_qty, 0);
    REFUSED_SLOT(exits[0].life, LK_LIFE_NONE); /* with fills */
    REFUSED_SLOT(exits[1].life, LK_LIFE_SENT); /* behind those in use */
    REFUSED_SLOT(book.entry_qty, -1);
    REFUSED_SLOT(book.exit_qty, -1);
    REFUSED_SLOT(book.entry_unpriced_qty, -1);
    REFUSED_SLOT(book.entry_unpriced_qty, 11);
    REFUSED_SLOT(book.skipped_count, -1);
    REFUSED_SLOT(book.entry_notional, -1);
    REFUSED_SLOT(book.exit_notional, -1);
    REFUSED_SLOT(book.skipped_qty, -1);
    REFUSED_SLOT(book.skipped_qty, 5);
    REFUSED_SLOT(book.venue_realized, INT64_MAX); /* realized would not fit */
    REFUSED_SLOT(mark, INT64_MAX);                /* nor unrealized */
    lk_slot_t finer = saved.slot;
    finer.price_scale = 8; /* as fine as amounts, and quantities come on top */
    finer.qty_scale = 1;
    must_refuse(&saved, "scales", slot_at(0), &finer, sizeof finer, LK_STATUS_INVALID_STATE);
    const uint8_t something = 1;
    must_refuse(&saved, "an unused slot", slot_at(1), &something, 1, LK_STATUS_INVALID_STATE);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    CHECK(same_digest(digest_of(saved.bench), digest_of(saved.target)));
    saved_free(&saved);
}

#define REFUSED_EXECUTION(field, value)                                                                                \
    do {                                                                                                               \
        lk_execution_t execution = saved.execution;                                                                    \
        execution.field = (value);                                                                                     \
        must_refuse(&saved, #field, execution_at(&saved), &execution, sizeof execution, LK_STATUS_INVALID_STATE);      \
    } while (0)

static void test_execution_that_no_kernel_could_have_is_refused_K21(void)
{
    saved_t saved = saved_new();
    REFUSED_EXECUTION(number, 0);
    REFUSED_EXECUTION(number, 2); /* where 1 belongs */
    REFUSED_EXECUTION(number, 65);
    REFUSED_EXECUTION(slot_index, 2);
    REFUSED_EXECUTION(trade_sequence, 0);
    REFUSED_EXECUTION(trade_sequence, 2);
    REFUSED_EXECUTION(qty, 0);
    REFUSED_EXECUTION(notional, -1);
    saved_free(&saved);
}

/* What a BUST would take out of a trade must be in it: found by fuzzing, where it stopped the process later. */
static void test_execution_that_its_trade_or_order_does_not_hold_is_refused_K21(void)
{
    saved_t saved = saved_new(); /* e1: 10 of the entry's 10 at 0.10; x1: 4 of the exit's 10 */
    REFUSED_EXECUTION(qty, 11);
    REFUSED_EXECUTION(notional, saved.execution.notional + 1);
    REFUSED_EXECUTION(is_skipped, 1);
    REFUSED_EXECUTION(has_price, 0);
    REFUSED_EXECUTION(is_exit, 1);
    REFUSED_EXECUTION(ordinal, 1);
    REFUSED_SLOT(entry.cum_qty, 9);
    REFUSED_SLOT(entry.priced_qty, 9);
    REFUSED_SLOT(entry.cum_notional, saved.slot.entry.cum_notional - 1);
    REFUSED_SLOT(exits[0].cum_qty, 3);
    REFUSED_SLOT(book.entry_qty, 9);
    REFUSED_SLOT(book.exit_qty, 3);
    REFUSED_SLOT(book.entry_unpriced_qty, 1);
    REFUSED_SLOT(book.skipped_qty, 1);
    REFUSED_SLOT(book.entry_notional, saved.slot.book.entry_notional - 1);
    REFUSED_SLOT(book.exit_notional, saved.slot.book.exit_notional - 1);
    saved.execution.qty = 11; /* one that was taken back already is in no sum */
    saved.execution.is_busted = 1;
    memcpy(saved.data + execution_at(&saved), &saved.execution, sizeof saved.execution);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    saved_free(&saved);
}

/* An order that a slot says it has is there, filled or not: found by fuzzing, where a fill of it stopped the process.
 */
static void test_order_in_use_without_a_life_is_refused_K21(void)
{
    saved_t saved = saved_new();
    fill(saved.bench, "exit", "x2", LK_SIDE_SELL, 1, 1010);
    report(saved.bench, "exit", LK_FACT_ACKNOWLEDGED);
    report(saved.bench, "exit", LK_FACT_CANCELED);
    CHECK(leave(saved.bench, "trade", "second-exit") == LK_CODE_OK);
    free(saved.data);
    CHECK(lk_kernel_save_size(saved.bench->kernel, &saved.size) == LK_STATUS_OK);
    saved.data = malloc(saved.size);
    CHECK(saved.data != NULL);
    CHECK(lk_kernel_save(saved.bench->kernel, saved.data, saved.size, &saved.size) == LK_STATUS_OK);
    memcpy(&saved.slot, saved.data + slot_at(0), sizeof saved.slot);
    CHECK(saved.slot.exit_count == 2 && saved.slot.exits[1].cum_qty == 0);
    REFUSED_SLOT(exits[1].life, LK_LIFE_NONE);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    saved_free(&saved);
}

/* The same of fills without a price, which wait for the venue's figure until it has come. */
static void test_fill_that_waits_for_a_figure_is_counted_in_its_trade_K21(void)
{
    saved_t saved = saved_new();
    fill(saved.bench, "exit", "x2", LK_SIDE_SELL, 1, 0);
    free(saved.data);
    CHECK(lk_kernel_save_size(saved.bench->kernel, &saved.size) == LK_STATUS_OK);
    saved.data = malloc(saved.size);
    CHECK(saved.data != NULL);
    CHECK(lk_kernel_save(saved.bench->kernel, saved.data, saved.size, &saved.size) == LK_STATUS_OK);
    memcpy(&saved.slot, saved.data + slot_at(0), sizeof saved.slot);
    CHECK(saved.slot.book.skipped_count == 1 && saved.slot.book.skipped_qty == 1);
    REFUSED_SLOT(book.skipped_count, 0);
    REFUSED_SLOT(book.skipped_count, 2);
    REFUSED_SLOT(book.skipped_qty, 0);
    REFUSED_SLOT(exits[0].priced_qty, 5);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    saved_free(&saved);
}

/* Execution 1 where 65 belongs: out of the window of 64. */
static void test_execution_out_of_the_window_is_refused_K21(void)
{
    saved_t saved = saved_new();
    lk_input_t input = enter_input(saved.bench, "long", "long-entry", LK_SIDE_BUY, 1000);
    input.symbol = symbol_of("BTC");
    CHECK(apply(saved.bench, &input) == LK_CODE_OK);
    for (uint32_t i = 0; i < 64; i++) {
        input = fill_input(saved.bench, "long-entry", "", LK_SIDE_BUY, 1, 1000);
        input.execution_id = numbered("more-", i);
        CHECK(apply(saved.bench, &input) == LK_CODE_OK);
    }
    free(saved.data);
    CHECK(lk_kernel_save_size(saved.bench->kernel, &saved.size) == LK_STATUS_OK);
    saved.data = malloc(saved.size);
    CHECK(saved.data != NULL);
    CHECK(lk_kernel_save(saved.bench->kernel, saved.data, saved.size, &saved.size) == LK_STATUS_OK);
    size_t at = slot_at(2) + 64 * sizeof(lk_id_t);
    memcpy(&saved.execution, saved.data + at, sizeof saved.execution);
    CHECK(saved.execution.number == 65);
    saved.execution.number = 1;
    must_refuse(&saved, "number", at, &saved.execution, sizeof saved.execution, LK_STATUS_INVALID_STATE);
    at += sizeof saved.execution;
    memcpy(&saved.execution, saved.data + at, sizeof saved.execution);
    CHECK(saved.execution.number == 66);
    saved.execution.number = 2; /* the first that is out */
    must_refuse(&saved, "number", at, &saved.execution, sizeof saved.execution, LK_STATUS_INVALID_STATE);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    saved_free(&saved);
}

static void test_header_that_does_not_fit_its_body_is_refused_K21(void)
{
    saved_t saved = saved_new();
    uint64_t count = 65; /* more than the window */
    must_refuse(&saved, "event_count", EVENT_COUNT_AT, &count, sizeof count, LK_STATUS_INVALID_STATE);
    must_refuse(&saved, "execution_count", EXECUTION_COUNT_AT, &count, sizeof count, LK_STATUS_INVALID_STATE);
    count = 3; /* more than there are bytes for */
    must_refuse(&saved, "execution_count", EXECUTION_COUNT_AT, &count, sizeof count, LK_STATUS_INVALID_SIZE);
    lk_config_t config = config_of(2);
    config.leverage_max = 5;
    must_refuse(&saved, "config", HEADER_BYTES - sizeof config, &config, sizeof config, LK_STATUS_INVALID_STATE);
    lk_ledger_t ledger = saved.ledger;
    ledger.event_count++;
    must_refuse(&saved, "ledger", ledger_at(), &ledger, sizeof ledger, LK_STATUS_INVALID_STATE);
    ledger = saved.ledger;
    ledger.execution_count++;
    must_refuse(&saved, "ledger", ledger_at(), &ledger, sizeof ledger, LK_STATUS_INVALID_STATE);
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    saved_free(&saved);
}

/* What was indexed before is not found after, in whatever place of an index it was. */
static void test_restore_forgets_what_was_there_before_K21(void)
{
    saved_t saved = saved_new();
    lk_index_t *indexes[] = {&saved.target->kernel->order_index, &saved.target->kernel->trade_index};
    const uint32_t expected[] = {2, 1}; /* entry and exit; one trade */
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t place = 0; place <= indexes[i]->mask; place++)
            indexes[i]->places[place] = (lk_place_t){1, 0};
    }
    CHECK(restore_now(&saved) == LK_STATUS_OK);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t used_count = 0;
        for (uint32_t place = 0; place <= indexes[i]->mask; place++)
            used_count += indexes[i]->places[place].tag != 0;
        CHECK(used_count == expected[i]);
    }
    saved_free(&saved);
}

/* A slot that was never used is sound when nothing is in it, and only then. */
static void test_unused_slot_is_sound_when_it_is_empty(void)
{
    lk_slot_t slot;
    memset(&slot, 0, sizeof slot);
    CHECK(lk_slot_is_sound(&slot));
    slot.book.entry_qty = 1;
    CHECK(!lk_slot_is_sound(&slot));
    slot.book.entry_qty = 0;
    slot.entry.life = LK_LIFE_SENT;
    CHECK(!lk_slot_is_sound(&slot));
}

int main(void)
{
    RUN(test_slot_that_no_kernel_could_have_is_refused_K21);
    RUN(test_execution_that_no_kernel_could_have_is_refused_K21);
    RUN(test_execution_that_its_trade_or_order_does_not_hold_is_refused_K21);
    RUN(test_order_in_use_without_a_life_is_refused_K21);
    RUN(test_fill_that_waits_for_a_figure_is_counted_in_its_trade_K21);
    RUN(test_execution_out_of_the_window_is_refused_K21);
    RUN(test_header_that_does_not_fit_its_body_is_refused_K21);
    RUN(test_restore_forgets_what_was_there_before_K21);
    RUN(test_unused_slot_is_sound_when_it_is_empty);
    return 0;
}
