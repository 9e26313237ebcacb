/* Who is who when identities meet: hashes that collide, ids of two kinds with one text, orders told by the venue's id
 * alone (K07, K10). Whole ids are compared, so a hash that two of them share must never be seen outside.
 */
#include "harness.h"

/* An index keeps 31 bits of a hash: two ids that share them, found by looking for them. */
static void find_collision(lk_id_t *one, lk_id_t *other)
{
    enum { COUNT = 1 << 18 };
    uint32_t *seen = calloc(COUNT, sizeof *seen);
    CHECK(seen != NULL);
    for (uint32_t i = 1;; i++) {
        CHECK(i < 1u << 24);
        *other = numbered("id-", i);
        uint32_t tag = (uint32_t)lk_hash_id(other) | 1u;
        uint32_t *place = &seen[tag >> 1 & (COUNT - 1)];
        if (*place != 0) {
            *one = numbered("id-", *place);
            if (((uint32_t)lk_hash_id(one) | 1u) == tag) break;
        }
        *place = i;
    }
    free(seen);
}

static void test_ids_that_share_a_hash_in_the_index_stay_apart_K07(void)
{
    bench_t *bench = bench_new(2);
    lk_id_t one;
    lk_id_t other;
    find_collision(&one, &other);
    CHECK(!lk_id_equal(&one, &other));
    for (uint32_t i = 0; i < 2; i++) {
        lk_input_t input = enter_input(bench, "", "", LK_SIDE_BUY, 10);
        input.symbol = symbol_of(i == 0 ? "AAA" : "BBB");
        input.trade_id = i == 0 ? one : other;
        input.client_order_id = i == 0 ? one : other;
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    CHECK(lk_kernel_find_trade(bench->kernel, &one) == 0);
    CHECK(lk_kernel_find_trade(bench->kernel, &other) == 1);
    CHECK(lk_kernel_find_order(bench->kernel, &one) == 0);
    CHECK(lk_kernel_find_order(bench->kernel, &other) == 1);
    lk_input_t input = input_of(bench, LK_INPUT_ORDER); /* the first is over, and its slot is taken again */
    input.client_order_id = one;
    input.order_fact = LK_FACT_REJECTED;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(enter_in(bench, "CCC", "third", "third-entry") == LK_CODE_OK);
    CHECK(lk_kernel_find_trade(bench->kernel, &one) == LK_NO_SLOT);
    CHECK(lk_kernel_find_trade(bench->kernel, &other) == 1);
    CHECK(lk_kernel_find_order(bench->kernel, &other) == 1);
    bench_free(bench);
}

/* The second of the two is taken out while the first stays before it. */
static void test_later_of_two_that_share_a_hash_can_go_first_K07(void)
{
    bench_t *bench = bench_new(2);
    lk_id_t one;
    lk_id_t other;
    find_collision(&one, &other);
    lk_input_t input = enter_input(bench, "", "", LK_SIDE_BUY, 10);
    input.symbol = symbol_of("AAA");
    input.trade_id = one;
    input.client_order_id = one;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input.event_id = id_of("again");
    input.symbol = symbol_of("BBB");
    input.trade_id = other;
    input.client_order_id = other;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = other;
    input.order_fact = LK_FACT_REJECTED;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(enter_in(bench, "CCC", "third", "third-entry") == LK_CODE_OK);
    CHECK(lk_kernel_find_trade(bench->kernel, &one) == 0);
    CHECK(lk_kernel_find_trade(bench->kernel, &other) == LK_NO_SLOT);
    bench_free(bench);
}

/* An index has room for what is in the slots and not for all that ever was: who leaves is taken out of it. */
static void test_indexes_hold_only_what_is_in_the_slots_however_many_there_were_K07(void)
{
    bench_t *bench = bench_new(1);
    for (uint32_t i = 0; i < 500; i++) {
        lk_input_t input = enter_input(bench, "", "", LK_SIDE_BUY, 10);
        input.trade_id = numbered("trade-", i);
        input.client_order_id = numbered("order-", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        input = input_of(bench, LK_INPUT_ORDER);
        input.client_order_id = numbered("order-", i);
        input.venue_order_id = numbered("venue-", i);
        input.order_fact = LK_FACT_REJECTED;
        CHECK(apply(bench, &input) == LK_CODE_OK);
        CHECK(lk_kernel_find_order(bench->kernel, &input.venue_order_id) == 0);
    }
    lk_index_t *indexes[] = {&bench->kernel->order_index, &bench->kernel->trade_index};
    const uint32_t expected[] = {2, 1}; /* the last order by both its ids; the last trade */
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t used_count = 0;
        for (uint32_t place = 0; place <= indexes[i]->mask; place++)
            used_count += indexes[i]->places[place].tag != 0;
        CHECK(used_count == expected[i]);
    }
    bench_free(bench);
}

/* A window keeps 64 bits: such a collision is not found by looking, so the same hash is stated for another id. */
static void test_windows_compare_whole_ids_K10(void)
{
    bench_t *bench = bench_new(1);
    lk_id_t other = id_of("other");
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 5, 1000);
    lk_id_t event = numbered("event-", 1);
    lk_id_t execution = id_of("e1");
    CHECK(lk_window_has_event(bench->kernel, &event, lk_hash_id(&event)));
    CHECK(!lk_window_has_event(bench->kernel, &other, lk_hash_id(&event)));
    CHECK(lk_window_find_execution(bench->kernel, &execution, lk_hash_id(&execution)) != NULL);
    CHECK(lk_window_find_execution(bench->kernel, &other, lk_hash_id(&execution)) == NULL);
    bench_free(bench);
}

static void test_mark_is_for_the_symbol_and_not_for_its_hash(void)
{
    bench_t *bench = bench_new(1);
    lk_symbol_t other = symbol_of("OTHER");
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    bench->kernel->symbol_hashes[0] = lk_hash_symbol(&other);
    lk_input_t input = input_of(bench, LK_INPUT_MARK_PRICE);
    input.symbol = other;
    input.price.units = 1000;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(!slot_of(bench, 0).has_mark);
    bench_free(bench);
}

/* Printable without blanks, then only NUL: at every place of every text, each kind of damage. */
static void test_text_is_unsound_wherever_the_damage_is_K20(void)
{
    static const char DAMAGE[] = {'\0', '\x01', ' ', '\x7f', (char)0x80, (char)0xff};
    for (size_t length = 1; length <= LK_ID_BYTES; length++) {
        lk_id_t sound;
        memset(&sound, 0, sizeof sound);
        memset(sound.text, '~', length);
        CHECK(lk_id_is_sound(&sound));
        for (size_t at = 0; at < length; at++) {
            for (size_t i = 0; i < sizeof DAMAGE; i++) {
                lk_id_t id = sound;
                id.text[at] = DAMAGE[i];
                bool only_shorter = DAMAGE[i] == '\0' && at == length - 1;
                CHECK(lk_id_is_sound(&id) == only_shorter);
            }
        }
        for (size_t at = length + 1; at < LK_ID_BYTES; at++) { /* behind the end */
            lk_id_t id = sound;
            id.text[at] = '!';
            CHECK(!lk_id_is_sound(&id));
        }
    }
}

/* ---------------------------------------------------------------------------------------- the venue's ids -- */

static lk_code_t acknowledge(bench_t *bench, const char *order_id, const char *venue_order_id)
{
    lk_input_t input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of(order_id);
    input.venue_order_id = id_of(venue_order_id);
    input.order_fact = LK_FACT_ACKNOWLEDGED;
    return apply(bench, &input);
}

static void test_facts_and_fills_find_their_order_by_the_venue_s_id_alone_K07(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    CHECK(acknowledge(bench, "entry", "venue-1") == LK_CODE_OK);
    CHECK(acknowledge(bench, "", "venue-1") == LK_CODE_OK);
    CHECK(slot_of(bench, 0).entry.life == LK_LIFE_WORKING);
    lk_input_t input = fill_input(bench, "", "e1", LK_SIDE_BUY, 4, 1000);
    input.venue_order_id = id_of("venue-1");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_ROUTED_BY_STAGE) == 0);
    CHECK(slot_of(bench, 0).entry.cum_qty.units == 4);
    bench_free(bench);
}

static void test_first_venue_id_of_an_order_stays_and_belongs_to_no_other_K07(void)
{
    bench_t *bench = bench_new(2);
    lk_id_t first = id_of("venue-1");
    enter_in(bench, "AAA", "one", "one-entry");
    enter_in(bench, "BBB", "two", "two-entry");
    CHECK(acknowledge(bench, "one-entry", "venue-1") == LK_CODE_OK);
    CHECK(acknowledge(bench, "one-entry", "venue-9") == LK_CODE_OK);
    CHECK(lk_id_equal(&bench->kernel->slots[0].entry.venue_order_id, &first));
    lk_input_t input = fill_input(bench, "two-entry", "e1", LK_SIDE_BUY, 1, 1000);
    input.venue_order_id = id_of("venue-2");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(lk_kernel_find_order(bench->kernel, &input.venue_order_id) == 1);
    lk_learn_venue_order_id(bench->kernel, 1, 0, &first); /* it has one */
    CHECK(lk_kernel_find_order(bench->kernel, &first) == 0);
    leave(bench, "two", "two-exit");
    lk_learn_venue_order_id(bench->kernel, 1, 1, &first); /* it has none, but this one is taken */
    CHECK(lk_id_is_empty(&bench->kernel->slots[1].exits[0].venue_order_id));
    bench_free(bench);
}

/* The same text as our id of one order and the venue's of another: each is found as what it was stated to be. */
static void test_our_ids_and_the_venue_s_are_two_name_spaces_K07(void)
{
    bench_t *bench = bench_new(2);
    enter_in(bench, "AAA", "one", "same");
    enter_in(bench, "BBB", "two", "two-entry");
    CHECK(acknowledge(bench, "two-entry", "same") == LK_CODE_OK);
    CHECK(fill(bench, "same", "e1", LK_SIDE_BUY, 1, 1000) == LK_CODE_OK);
    CHECK(bench->outcome.slot_index == 0);
    lk_input_t input = fill_input(bench, "", "e2", LK_SIDE_BUY, 1, 1000);
    input.venue_order_id = id_of("same");
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(bench->outcome.slot_index == 1);
    bench_free(bench);
}

static void test_ids_of_full_length_find_what_they_name_K07_K10(void)
{
    static const char ORDER[] = "an-order-id-that-is-as-long-as-an-id-may-be-which-is-64-bytes-...";
    static const char VENUE[] = "the-venue-s-order-id-is-as-long-as-an-id-may-be-too-64-bytes-....";
    static const char EXECUTION[] = "an-execution-id-that-is-as-long-as-an-id-may-be-which-is-64-bytes";
    bench_t *bench = bench_new(1);
    lk_input_t input = enter_input(bench, "trade", "", LK_SIDE_BUY, 10);
    memcpy(input.client_order_id.text, ORDER, LK_ID_BYTES);
    memcpy(input.event_id.text, ORDER, LK_ID_BYTES);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(apply(bench, &input) == LK_CODE_DUPLICATE_EVENT);
    input = input_of(bench, LK_INPUT_ORDER);
    memcpy(input.client_order_id.text, ORDER, LK_ID_BYTES);
    memcpy(input.venue_order_id.text, VENUE, LK_ID_BYTES);
    input.order_fact = LK_FACT_ACKNOWLEDGED;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input = fill_input(bench, "", "", LK_SIDE_BUY, 4, 1000);
    memcpy(input.venue_order_id.text, VENUE, LK_ID_BYTES);
    memcpy(input.execution_id.text, EXECUTION, LK_ID_BYTES);
    CHECK(apply(bench, &input) == LK_CODE_OK);
    input.event_id = id_of("another");
    CHECK(apply(bench, &input) == LK_CODE_DUPLICATE_EVENT);
    input.execution_id.text[LK_ID_BYTES - 1] ^= 1; /* another, from its last byte on */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(slot_of(bench, 0).entry.cum_qty.units == 8);
    bench_free(bench);
}

/* The venue's figure for a trade whose slot another has taken: the account's, and no order of the other's. */
static void test_settlement_of_a_trade_that_is_gone_names_no_order_of_the_next_K09(void)
{
    bench_t *bench = bench_new(1);
    lk_id_t none = id_of("");
    enter(bench, "first", "first-entry", LK_SIDE_BUY, 10);
    fill(bench, "first-entry", "e1", LK_SIDE_BUY, 10, 1000);
    leave(bench, "first", "first-exit");
    fill(bench, "first-exit", "x1", LK_SIDE_SELL, 10, 0);
    enter(bench, "second", "second-entry", LK_SIDE_BUY, 10);
    fill(bench, "second-entry", "e2", LK_SIDE_BUY, 10, 1000);
    CHECK(leave(bench, "second", "second-exit") == LK_CODE_OK);
    CHECK(settle(bench, "x1", 500) == LK_CODE_OK);
    const lk_event_t *event = event_of(bench, LK_EVENT_SETTLED, 0);
    CHECK(event != NULL && event->slot_index == LK_NO_SLOT && event->realized_pnl.units == 500);
    CHECK(lk_id_equal(&event->client_order_id, &none));
    CHECK(account_of(bench).realized_pnl.units == 500);
    CHECK(slot_of(bench, 0).realized_pnl.units == 0);
    bench_free(bench);
}

/* ------------------------------------------------------------------------------------- an order forgotten -- */

/* A slot remembers four exit orders; a bust of a fill of the fifth last still moves the trade. */
static void test_bust_of_a_forgotten_order_s_fill_moves_the_trade_all_the_same_K07(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 100);
    fill(bench, "entry", "e1", LK_SIDE_BUY, 100, 1000);
    for (uint32_t i = 0; i < 6; i++) {
        lk_input_t input = input_of(bench, LK_INPUT_EXIT);
        input.trade_id = id_of("trade");
        input.client_order_id = numbered("exit-", i);
        input.flags = LK_HAS_QTY;
        input.qty.units = 10;
        CHECK(apply(bench, &input) == LK_CODE_OK);
        input = fill_input(bench, "", "", LK_SIDE_SELL, 10, 1010);
        input.client_order_id = numbered("exit-", i);
        input.execution_id = numbered("x-", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
    }
    CHECK(slot_of(bench, 0).qty.units == 40);
    for (uint32_t i = 0; i < 6; i++) {
        lk_id_t id = numbered("exit-", i);
        CHECK(lk_kernel_find_order(bench->kernel, &id) == (i < 2 ? LK_NO_SLOT : 0));
        CHECK(lk_window_execution(bench->kernel, 2 + i)->ordinal == i + 1);
    }
    uint32_t used_count = 0;
    for (uint32_t place = 0; place <= bench->kernel->order_index.mask; place++)
        used_count += bench->kernel->order_index.places[place].tag != 0;
    CHECK(used_count == 1 + LK_SLOT_EXITS_MAX);
    for (uint32_t i = 0; i < 6; i++) {
        lk_input_t input = input_of(bench, LK_INPUT_BUST);
        input.execution_id = numbered("x-", i);
        CHECK(apply(bench, &input) == LK_CODE_OK);
        CHECK(slot_of(bench, 0).qty.units == 50 + 10 * (int64_t)i);
        CHECK(slot_of(bench, 0).exit.cum_qty.units == (i == 5 ? 0 : 10)); /* only its own order's counts go back */
    }
    bench_free(bench);
}

/* ---------------------------------------------------------------------------- times and prices at the edge -- */

static void test_order_sent_at_the_end_of_time_has_no_deadline_T09(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = input_of(bench, LK_INPUT_ORDER);
    input.client_order_id = id_of("entry");
    input.order_fact = LK_FACT_SUBMITTING;
    input.now_ns = INT64_MAX - 1;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(lk_kernel_next_deadline_ns(bench->kernel) == LK_NEVER_NS);
    bench_free(bench);
}

static void test_fill_price_finer_than_the_instrument_s_is_rounded_against_us_K20(void)
{
    bench_t *bench = bench_new(2);
    lk_input_t input;
    enter_in(bench, "AAA", "long", "long-entry");
    input = fill_input(bench, "long-entry", "e1", LK_SIDE_BUY, 10, 100001);
    input.price_scale = 6; /* 0.100001, and the instrument has four decimals */
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(anomaly_count(bench, LK_CODE_PRICE_ROUNDED) == 1);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->price.units == 1001); /* dearer to buy */
    leave(bench, "long", "long-exit");
    input = fill_input(bench, "long-exit", "x1", LK_SIDE_SELL, 10, 100099);
    input.price_scale = 6;
    CHECK(apply(bench, &input) == LK_CODE_OK);
    CHECK(event_of(bench, LK_EVENT_FILL_BOOKED, 0)->price.units == 1000); /* cheaper to sell */
    bench_free(bench);
}

/* Beyond 64 bits as below: away from what is exact, to the side that was asked for. */
static void test_divisions_round_alike_however_wide_the_dividend_is_K20(void)
{
    lk_wide_t wide = (lk_wide_t)INT64_MAX * 10;
    CHECK(lk_divide_down(-7, 2) == -4 && lk_divide_down(7, 2) == 3 && lk_divide_down(-8, 2) == -4);
    CHECK(lk_divide_up(-7, 2) == -3 && lk_divide_up(7, 2) == 4 && lk_divide_up(8, 2) == 4);
    CHECK(lk_divide_down(wide + 5, 10) == INT64_MAX && lk_divide_down(-wide, 10) == -(lk_wide_t)INT64_MAX);
    CHECK(lk_divide_down(-wide - 5, 10) == -(lk_wide_t)INT64_MAX - 1);
    CHECK(lk_divide_up(wide + 5, 10) == (lk_wide_t)INT64_MAX + 1 && lk_divide_up(wide, 10) == INT64_MAX);
    CHECK(lk_divide_up(-wide - 5, 10) == -(lk_wide_t)INT64_MAX);
}

static void test_fill_with_a_venue_id_alone_that_nobody_knows_belongs_to_nothing_K07(void)
{
    bench_t *bench = bench_new(1);
    enter(bench, "trade", "entry", LK_SIDE_BUY, 10);
    lk_input_t input = fill_input(bench, "", "x1", LK_SIDE_BUY, 10, 1000);
    input.venue_order_id = id_of("venue-unknown");
    CHECK(apply(bench, &input) == LK_CODE_UNRESOLVED_SLOT);
    bench_free(bench);
}

int main(void)
{
    RUN(test_divisions_round_alike_however_wide_the_dividend_is_K20);
    RUN(test_fill_with_a_venue_id_alone_that_nobody_knows_belongs_to_nothing_K07);
    RUN(test_ids_that_share_a_hash_in_the_index_stay_apart_K07);
    RUN(test_later_of_two_that_share_a_hash_can_go_first_K07);
    RUN(test_indexes_hold_only_what_is_in_the_slots_however_many_there_were_K07);
    RUN(test_windows_compare_whole_ids_K10);
    RUN(test_mark_is_for_the_symbol_and_not_for_its_hash);
    RUN(test_text_is_unsound_wherever_the_damage_is_K20);
    RUN(test_facts_and_fills_find_their_order_by_the_venue_s_id_alone_K07);
    RUN(test_first_venue_id_of_an_order_stays_and_belongs_to_no_other_K07);
    RUN(test_our_ids_and_the_venue_s_are_two_name_spaces_K07);
    RUN(test_ids_of_full_length_find_what_they_name_K07_K10);
    RUN(test_settlement_of_a_trade_that_is_gone_names_no_order_of_the_next_K09);
    RUN(test_bust_of_a_forgotten_order_s_fill_moves_the_trade_all_the_same_K07);
    RUN(test_order_sent_at_the_end_of_time_has_no_deadline_T09);
    RUN(test_fill_price_finer_than_the_instrument_s_is_rounded_against_us_K20);
    return 0;
}
