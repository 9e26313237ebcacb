/* Every cell of the life table, through the kernel and not only in the table (K03, T08, T09). */
#include "harness.h"

/* The table once more, by hand: rows NONE REQUESTED SENT ACKED WORKING CANCELED REJECTED DENIED EXPIRED; columns
 * NONE SUBMITTING ACKNOWLEDGED REJECTED DENIED CANCELED EXPIRED CANCEL_REJECTED IN_DOUBT TRADED. A dot is a refusal. */
static const char *const EXPECTED[LK_LIFE_COUNT] = {
    "..........", /* NONE */
    ".SARDCXQSA", /* REQUESTED: Q stays requested */
    ".SARDCXSSA", /* SENT */
    "..WR.CXWAA", /* ACKED */
    "..WR.CXWWW", /* WORKING */
    ".........C", /* CANCELED */
    ".........R", /* REJECTED */
    ".........D", /* DENIED */
    ".........X", /* EXPIRED */
};
static const char LETTERS[] = ".QSAWCRDX";

static lk_life_t expected_life(lk_life_t life, lk_order_fact_t fact)
{
    const char *found = strchr(LETTERS, EXPECTED[life][fact]);
    return (lk_life_t)(found - LETTERS);
}

/* Facts that bring a new order to a life. */
static void bring_to(bench_t *bench, const char *order_id, lk_life_t life)
{
    if (life >= LK_LIFE_SENT && life <= LK_LIFE_WORKING)
        CHECK(report(bench, order_id, LK_FACT_SUBMITTING) == LK_CODE_OK);
    if (life == LK_LIFE_ACKED || life == LK_LIFE_WORKING) {
        CHECK(report(bench, order_id, LK_FACT_ACKNOWLEDGED) == LK_CODE_OK);
    }
    if (life == LK_LIFE_WORKING) CHECK(report(bench, order_id, LK_FACT_ACKNOWLEDGED) == LK_CODE_OK);
    if (life == LK_LIFE_CANCELED) CHECK(report(bench, order_id, LK_FACT_CANCELED) == LK_CODE_OK);
    if (life == LK_LIFE_REJECTED) CHECK(report(bench, order_id, LK_FACT_REJECTED) == LK_CODE_OK);
    if (life == LK_LIFE_DENIED) CHECK(report(bench, order_id, LK_FACT_DENIED) == LK_CODE_OK);
    if (life == LK_LIFE_EXPIRED) CHECK(report(bench, order_id, LK_FACT_EXPIRED) == LK_CODE_OK);
}

static lk_code_t learn(bench_t *bench, const char *order_id, lk_order_fact_t fact, lk_side_t side)
{
    if (fact == LK_FACT_TRADED) return fill(bench, order_id, "traded", side, 1, 1000);
    return report(bench, order_id, fact);
}

static void check_cell(bool is_exit, lk_life_t life, lk_order_fact_t fact)
{
    bench_t *bench = bench_new(1);
    const char *order_id = is_exit ? "exit" : "entry";
    CHECK(enter(bench, "trade", "entry", LK_SIDE_BUY, 10) == LK_CODE_OK);
    if (is_exit) {
        CHECK(fill(bench, "entry", "opened", LK_SIDE_BUY, 10, 1000) == LK_CODE_OK);
        CHECK(leave(bench, "trade", "exit") == LK_CODE_OK);
    }
    bring_to(bench, order_id, life);
    lk_slot_view_t before = slot_of(bench, 0);
    CHECK((is_exit ? before.exit.life : before.entry.life) == life);
    digest_t digest = digest_of(bench);
    lk_code_t code = learn(bench, order_id, fact, is_exit ? LK_SIDE_SELL : LK_SIDE_BUY);
    lk_slot_view_t after = slot_of(bench, 0);
    lk_life_t expected = expected_life(life, fact);
    CHECK(code == (expected == LK_LIFE_NONE ? LK_CODE_ILLEGAL_TRANSITION : LK_CODE_OK));
    CHECK((is_exit ? after.exit.life : after.entry.life) == (expected == LK_LIFE_NONE ? life : expected));
    CHECK(same_digest(digest, digest_of(bench)) == (expected == LK_LIFE_NONE));
    if (expected == LK_LIFE_NONE) CHECK(bench->outcome.field == LK_FIELD_ORDER_FACT);
    bench_free(bench);
}

static void test_table_is_as_drawn_K03(void)
{
    for (uint32_t life = 0; life < LK_LIFE_COUNT; life++) {
        for (uint32_t fact = 0; fact < LK_FACT_COUNT; fact++) {
            CHECK(lk_next_life(life, fact) == expected_life((lk_life_t)life, (lk_order_fact_t)fact));
        }
    }
    CHECK(lk_next_life(LK_LIFE_COUNT, 1) == 0);
    CHECK(lk_next_life(1, LK_FACT_COUNT) == 0);
}

static void test_every_cell_holds_in_the_kernel_for_entries_and_exits_K03(void)
{
    for (uint32_t life = LK_LIFE_REQUESTED; life < LK_LIFE_COUNT; life++) {
        for (uint32_t fact = LK_FACT_SUBMITTING; fact < LK_FACT_COUNT; fact++) {
            check_cell(false, (lk_life_t)life, (lk_order_fact_t)fact);
            check_cell(true, (lk_life_t)life, (lk_order_fact_t)fact);
        }
    }
}

static void check_move(const bench_t *bench, uint32_t n, lk_stage_t from, lk_stage_t to, lk_lifecycle_t lifecycle)
{
    const lk_event_t *event = event_of(bench, LK_EVENT_TRANSITION, n);
    CHECK(event != NULL);
    CHECK(event->from_stage == from);
    CHECK(event->to_stage == to);
    CHECK(event->to_lifecycle == lifecycle);
}

static void test_stages_of_a_whole_trade_are_told_in_order_K03_T08(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    check_move(bench, 0, LK_STAGE_IDLE, LK_STAGE_ENTRY_REQUESTED, LK_LIFECYCLE_SUBMITTED);
    report(bench, "entry", LK_FACT_SUBMITTING);
    check_move(bench, 0, LK_STAGE_ENTRY_REQUESTED, LK_STAGE_ENTRY_SENT, LK_LIFECYCLE_SUBMITTED);
    report(bench, "entry", LK_FACT_ACKNOWLEDGED);
    check_move(bench, 0, LK_STAGE_ENTRY_SENT, LK_STAGE_ENTRY_ACKED, LK_LIFECYCLE_SUBMITTED);
    report(bench, "entry", LK_FACT_ACKNOWLEDGED);
    check_move(bench, 0, LK_STAGE_ENTRY_ACKED, LK_STAGE_ENTRY_WORKING, LK_LIFECYCLE_SUBMITTED);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 4, 1000);
    check_move(bench, 0, LK_STAGE_ENTRY_WORKING, LK_STAGE_PARTIAL_FILL, LK_LIFECYCLE_FILLED);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->qty.units == 10);
    CHECK(event_of(bench, LK_EVENT_TRANSITION, 0)->filled_qty.units == 4);
    fill(bench, "entry", "e2", LK_SIDE_BUY, 6, 1000);
    check_move(bench, 0, LK_STAGE_PARTIAL_FILL, LK_STAGE_POSITION_OPEN, LK_LIFECYCLE_FILLED);
    leave(bench, "trade", "exit");
    check_move(bench, 0, LK_STAGE_POSITION_OPEN, LK_STAGE_EXIT_REQUESTED, LK_LIFECYCLE_MANAGED);
    report(bench, "exit", LK_FACT_SUBMITTING);
    check_move(bench, 0, LK_STAGE_EXIT_REQUESTED, LK_STAGE_EXIT_SENT, LK_LIFECYCLE_MANAGED);
    report(bench, "exit", LK_FACT_ACKNOWLEDGED);
    check_move(bench, 0, LK_STAGE_EXIT_SENT, LK_STAGE_EXIT_ACKED, LK_LIFECYCLE_MANAGED);
    fill(bench, "exit", "x1", LK_SIDE_SELL, 3, 1100);
    check_move(bench, 0, LK_STAGE_EXIT_ACKED, LK_STAGE_EXIT_WORKING, LK_LIFECYCLE_MANAGED);
    report(bench, "exit", LK_FACT_CANCELED);
    check_move(bench, 0, LK_STAGE_EXIT_WORKING, LK_STAGE_POSITION_PARTIALLY_CLOSED, LK_LIFECYCLE_MANAGED);
    leave(bench, "trade", "exit-2");
    report(bench, "exit-2", LK_FACT_REJECTED);
    check_move(bench, 0, LK_STAGE_EXIT_REQUESTED, LK_STAGE_EXIT_REJECTED, LK_LIFECYCLE_MANAGED);
    leave(bench, "trade", "exit-3");
    fill(bench, "exit-3", "x2", LK_SIDE_SELL, 7, 1100);
    check_move(bench, 0, LK_STAGE_EXIT_REQUESTED, LK_STAGE_POSITION_CLOSED, LK_LIFECYCLE_CLOSED);
    check_move(bench, 1, LK_STAGE_POSITION_CLOSED, LK_STAGE_TERMINAL_WRITTEN, LK_LIFECYCLE_CLOSED);
    CHECK(slot_of(bench, 0).is_free);
    CHECK(slot_of(bench, 0).realized_pnl.units == (int64_t)1000 * 10000); /* 10 x (0.11 - 0.10) = 0.1 at scale 8 */
    enter(bench, "trade-2", "entry-2", LK_SIDE_SELL, 5);
    check_move(bench, 0, LK_STAGE_TERMINAL_WRITTEN, LK_STAGE_IDLE, LK_LIFECYCLE_NONE);
    check_move(bench, 1, LK_STAGE_IDLE, LK_STAGE_ENTRY_REQUESTED, LK_LIFECYCLE_SUBMITTED);
    bench_free(bench);
}

static void test_denied_entry_frees_its_slot_K02(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    report(bench, "entry", LK_FACT_DENIED);
    check_move(bench, 0, LK_STAGE_ENTRY_REQUESTED, LK_STAGE_ORDER_REJECTED, LK_LIFECYCLE_REJECTED);
    check_move(bench, 1, LK_STAGE_ORDER_REJECTED, LK_STAGE_TERMINAL_WRITTEN, LK_LIFECYCLE_REJECTED);
    CHECK(anomaly_count(bench, LK_CODE_GATEWAY_DENIED) == 1);
    CHECK(strcmp(slot_of(bench, 0).trade_id.text, "trade") == 0); /* still readable */
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_OK);
    report(bench, "entry-2", LK_FACT_CANCELED);
    check_move(bench, 0, LK_STAGE_ENTRY_REQUESTED, LK_STAGE_TERMINAL_WRITTEN, LK_LIFECYCLE_CANCELED);
    bench_free(bench);
}

static lk_code_t tick(bench_t *bench, int64_t now_ns)
{
    lk_input_t input = input_of(bench, LK_INPUT_TICK);
    input.now_ns = now_ns;
    return apply(bench, &input);
}

static void test_sent_entry_without_answer_is_stalled_after_the_timeout_T09(void)
{
    bench_t *bench = bench_new(2);
    int64_t timeout_ns = 60000000000;
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    report(bench, "entry", LK_FACT_SUBMITTING);
    int64_t sent_ns = (int64_t)bench->step;
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == sent_ns + timeout_ns);
    tick(bench, sent_ns + timeout_ns - 1);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_SUBMITTED);
    tick(bench, sent_ns + timeout_ns);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_STALLED);
    CHECK(slot_of(bench, 0).stage == LK_STAGE_ENTRY_SENT);
    CHECK(anomaly_count(bench, LK_CODE_ORDER_STALLED) == 1);
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0) == NULL); /* nothing is sent again */
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    tick(bench, sent_ns + 2 * timeout_ns);
    CHECK(bench->outcome.event_count == 0);
    lk_input_t late = fill_input(bench, "entry", "late", LK_SIDE_BUY, 10, 1000);
    late.now_ns = sent_ns + 3 * timeout_ns;
    CHECK(apply(bench, &late) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_FILLED);
    bench_free(bench);
}

static void test_lost_answer_is_in_doubt_and_holds_its_slot(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    report(bench, "entry", LK_FACT_SUBMITTING);
    report(bench, "entry", LK_FACT_IN_DOUBT);
    CHECK(slot_of(bench, 0).entry.in_doubt);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_STALLED);
    CHECK(anomaly_count(bench, LK_CODE_ORDER_IN_DOUBT) == 1);
    CHECK(enter(bench, "trade-2", "entry-2", LK_SIDE_BUY, 10) == LK_CODE_SLOT_BUSY);
    CHECK(cancel(bench, "entry") == LK_CODE_OK); /* a person decides */
    CHECK(event_of(bench, LK_EVENT_COMMAND, 0)->command == LK_COMMAND_CANCEL);
    report(bench, "entry", LK_FACT_CANCELED);
    CHECK(slot_of(bench, 0).lifecycle == LK_LIFECYCLE_CANCELED);
    CHECK(slot_of(bench, 0).is_free);
    bench_free(bench);
}

static void test_names_come_from_the_lists(void)
{
    CHECK(strcmp(lk_stage_name(LK_STAGE_POSITION_PARTIALLY_CLOSED), "POSITION_PARTIALLY_CLOSED") == 0);
    CHECK(strcmp(lk_lifecycle_name(LK_LIFECYCLE_STALLED), "STALLED") == 0);
    CHECK(strcmp(lk_code_name(LK_CODE_UNRESOLVED_SLOT), "UNRESOLVED_SLOT") == 0);
    CHECK(lk_code_severity(LK_CODE_UNRESOLVED_SLOT) == LK_SEVERITY_WARNING);
    CHECK(strcmp(lk_field_name(LK_FIELD_QTY), "QTY") == 0);
    CHECK(strcmp(lk_status_name(LK_STATUS_INVALID_CHECKSUM), "INVALID_CHECKSUM") == 0);
    CHECK(strcmp(lk_input_name(LK_INPUT_FILL), "FILL") == 0);
    CHECK(strcmp(lk_fact_name(LK_FACT_IN_DOUBT), "IN_DOUBT") == 0);
    CHECK(strcmp(lk_life_name(LK_LIFE_SENT), "SENT") == 0);
    CHECK(strcmp(lk_code_name(LK_CODE_COUNT), "?") == 0);
    CHECK(strlen(lk_code_text(LK_CODE_OVERFLOW)) > 0);
    CHECK(lk_abi_version() == LK_ABI_VERSION);
    CHECK(strlen(lk_version()) > 0);
}

int main(void)
{
    RUN(test_table_is_as_drawn_K03);
    RUN(test_every_cell_holds_in_the_kernel_for_entries_and_exits_K03);
    RUN(test_stages_of_a_whole_trade_are_told_in_order_K03_T08);
    RUN(test_denied_entry_frees_its_slot_K02);
    RUN(test_sent_entry_without_answer_is_stalled_after_the_timeout_T09);
    RUN(test_lost_answer_is_in_doubt_and_holds_its_slot);
    RUN(test_names_come_from_the_lists);
    return 0;
}
