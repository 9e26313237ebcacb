/* The tables of stages and lifecycles against the kernel itself (K03, T08): a search through everything that can happen
 * to one slot, breadth first, that ends when it finds nothing new. What it saw must be what the tables say: no move
 * that they forbid, and each move that they allow.
 *
 * States are told apart by what a table could depend on; quantities are small, and a trade has at most two exits, and
 * few executions. Brackets have a search of their own, with a stop and one exit: a table
 * asks no more than whether a protective order is at work.
 */
#include "harness.h"

#define STATES_MAX 10000u
#define ORDER_QTY 2

typedef struct {
    uint8_t *saved;
    size_t size;
    uint64_t step;
} state_t;

/* All that the search knows. */
typedef struct {
    bench_t *bench;
    state_t *states;
    uint64_t *keys; /* open addressing; 0: empty */
    uint32_t state_count;
    uint32_t exits_max;
    uint32_t executions_max;
    bool is_of_brackets;
    bool stages[LK_STAGE_COUNT][LK_STAGE_COUNT];
    bool lifecycles[LK_LIFECYCLE_COUNT][LK_LIFECYCLE_COUNT];
} search_t;

static const lk_slot_t *slot_in(const search_t *search)
{
    return &search->bench->kernel->slots[0];
}

/* ------------------------------------------------------------------------------------------------ states -- */

static uint64_t mix(uint64_t key, uint64_t value)
{
    return (key ^ value) * UINT64_C(0x100000001b3) + 1;
}

/* One, or more than one: a table can tell no more of a quantity. */
static int64_t capped(int64_t qty)
{
    return qty > 2 ? 2 : qty < -1 ? -1 : qty;
}

/* Lives that ended alike are alike: refused, or gone. */
static uint8_t kind_of_life(uint8_t life)
{
    if (life == LK_LIFE_DENIED) return LK_LIFE_REJECTED;
    return life == LK_LIFE_EXPIRED ? LK_LIFE_CANCELED : life;
}

static uint64_t mix_order(uint64_t key, const lk_order_t *order)
{
    bool is_live = lk_order_is_live(order);
    key = mix(key, kind_of_life(order->life));
    key = mix(key, is_live);
    key = mix(key, is_live && order->is_stalled);
    key = mix(key, is_live ? (uint64_t)capped(order->order_qty - order->cum_qty) : 0);
    return mix(key, is_live && order->cum_qty > 0);
}

/* Of a protective order a table asks only whether it is at work. */
static uint64_t mix_protective(uint64_t key, const lk_order_t *order)
{
    return mix(key, lk_order_is_live(order));
}

/* What a table could depend on: lives, what is filled and open in kind, and the views themselves. */
static uint64_t key_of(const search_t *search)
{
    const lk_slot_t *slot = slot_in(search);
    const lk_order_t *exit = lk_slot_last_exit(slot);
    int64_t open_qty = lk_slot_open_qty(slot);
    uint64_t key = mix_order(UINT64_C(0xcbf29ce484222325), &slot->entry);
    if (exit != NULL) key = mix_order(key, exit);
    for (uint32_t i = 0; slot->is_bracket && i < LK_PROTECTIVES_MAX; i++)
        key = mix_protective(key, &slot->protectives[i]);
    key = mix(key, slot->trade_sequence != 0);
    key = mix(key, slot->exit_count);
    key = mix(key, (uint64_t)capped(open_qty));
    key = mix(key, slot->book.entry_qty > 0);
    key = mix(key, slot->book.exit_qty > 0);
    return key == 0 ? 1 : key;
}

static bool is_new(search_t *search, uint64_t key)
{
    uint32_t mask = 4 * STATES_MAX - 1;
    uint32_t place = (uint32_t)(key % mask);
    while (search->keys[place] != 0) {
        if (search->keys[place] == key) return false;
        place = (place + 1) % mask;
    }
    search->keys[place] = key;
    return true;
}

static void keep_if_new(search_t *search)
{
    if (!is_new(search, key_of(search))) return;
    CHECK(search->state_count < STATES_MAX);
    state_t *state = &search->states[search->state_count++];
    state->step = search->bench->step;
    CHECK(lk_kernel_save_size(search->bench->kernel, &state->size) == LK_STATUS_OK);
    state->saved = malloc(state->size);
    CHECK(state->saved != NULL);
    CHECK(lk_kernel_save(search->bench->kernel, state->saved, state->size, &state->size) == LK_STATUS_OK);
}

static void go_to(search_t *search, uint32_t index)
{
    const state_t *state = &search->states[index];
    CHECK(lk_kernel_restore(search->bench->kernel, state->saved, state->size) == LK_STATUS_OK);
    search->bench->step = state->step;
}

/* ------------------------------------------------------------------------------------------------- moves -- */

/* Notes the moves that an input told of, and what they make of the slot. */
static void look(search_t *search, const lk_input_t *input)
{
    bench_t *bench = search->bench;
    if (apply(bench, input) != LK_CODE_OK) return;
    for (uint32_t i = 0; i < bench->outcome.event_count; i++) {
        const lk_event_t *event = &bench->events[i];
        if (event->kind != LK_EVENT_TRANSITION) continue;
        if (event->from_stage != event->to_stage) search->stages[event->from_stage][event->to_stage] = true;
        if (event->from_lifecycle != event->to_lifecycle) {
            search->lifecycles[event->from_lifecycle][event->to_lifecycle] = true;
        }
    }
    keep_if_new(search);
}

static void try_enter(search_t *search, uint32_t state)
{
    go_to(search, state);
    lk_input_t input = enter_input(search->bench, "", "", LK_SIDE_BUY, ORDER_QTY);
    input.trade_id = numbered("trade-", search->bench->step);
    input.client_order_id = numbered("entry-", search->bench->step);
    if (search->is_of_brackets) make_bracket(&input, 900, 0);
    look(search, &input);
    if (search->is_of_brackets) return;
    go_to(search, state);
    input = enter_input(search->bench, "", "", LK_SIDE_NONE, ORDER_QTY);
    input.kind = LK_INPUT_ADOPT;
    input.trade_id = numbered("trade-", search->bench->step);
    input.price.units = 1000;
    look(search, &input);
}

static void try_leave(search_t *search, uint32_t state, int64_t qty)
{
    go_to(search, state);
    if (slot_in(search)->exit_count >= search->exits_max) return;
    lk_input_t input = input_of(search->bench, LK_INPUT_EXIT);
    input.trade_id = slot_in(search)->trade_id;
    input.client_order_id = numbered("exit-", search->bench->step);
    input.qty.units = qty;
    input.flags = LK_HAS_QTY;
    look(search, &input);
}

static void try_facts(search_t *search, uint32_t state, uint32_t place)
{
    for (uint8_t fact = LK_FACT_SUBMITTING; fact < LK_FACT_TRADED; fact++) {
        go_to(search, state);
        lk_input_t input = input_of(search->bench, LK_INPUT_ORDER);
        input.client_order_id = lk_slot_order(&search->bench->kernel->slots[0], place)->client_order_id;
        input.order_fact = fact;
        look(search, &input);
    }
}

static void try_fill(search_t *search, uint32_t state, uint32_t place, int64_t qty)
{
    go_to(search, state);
    const lk_slot_t *slot = slot_in(search);
    if (search->bench->kernel->ledger.execution_count >= search->executions_max) return;
    if (slot->book.entry_qty + slot->book.exit_qty > 3 * ORDER_QTY) return;
    const lk_order_t *order = lk_slot_order(&search->bench->kernel->slots[0], place);
    lk_input_t input = fill_input(search->bench, "", "", (lk_side_t)order->side, qty, 1000);
    input.client_order_id = order->client_order_id;
    input.execution_id = numbered("execution-", search->bench->step);
    look(search, &input);
}

/* Of a person's order, or the venue's own: without identity. */
static void try_nameless_fill(search_t *search, uint32_t state, lk_side_t side)
{
    go_to(search, state);
    if (search->bench->kernel->ledger.execution_count >= search->executions_max) return;
    lk_input_t input = fill_input(search->bench, "", "", side, 1, 1000);
    input.execution_id = numbered("execution-", search->bench->step);
    input.symbol = symbol_of("FET-USDT");
    look(search, &input);
}

static void try_execution(search_t *search, uint32_t state, uint64_t number)
{
    for (int64_t qty = 0; qty <= 3; qty++) {
        go_to(search, state);
        lk_input_t input = input_of(search->bench, qty == 0 ? LK_INPUT_BUST : LK_INPUT_CORRECTION);
        input.execution_id = lk_window_execution(search->bench->kernel, number)->execution_id;
        input.qty.units = qty;
        look(search, &input);
    }
}

static void try_order(search_t *search, uint32_t state, uint32_t place)
{
    try_facts(search, state, place);
    for (int64_t qty = 1; qty <= 3; qty++)
        try_fill(search, state, place, qty);
}

static void try_orders(search_t *search, uint32_t state)
{
    go_to(search, state);
    uint32_t exit_count = slot_in(search)->exit_count;
    bool is_used = slot_in(search)->trade_sequence != 0;
    bool has_entry = is_used && !lk_id_is_empty(&slot_in(search)->entry.client_order_id);
    bool is_bracket = slot_in(search)->is_bracket;
    for (uint32_t place = has_entry ? 0 : 1; place <= exit_count; place++)
        try_order(search, state, place);
    for (uint32_t place = LK_STOP_PLACE; is_bracket && place < LK_ORDERS_PER_SLOT; place++)
        try_order(search, state, place);
}

static void try_time(search_t *search, uint32_t state)
{
    go_to(search, state);
    lk_input_t input = input_of(search->bench, LK_INPUT_TICK);
    input.now_ns += 60000000000;
    search->bench->step = (uint64_t)input.now_ns;
    look(search, &input);
}

static void try_everything(search_t *search, uint32_t state)
{
    try_enter(search, state);
    try_leave(search, state, 1);
    try_leave(search, state, ORDER_QTY);
    try_orders(search, state);
    try_nameless_fill(search, state, LK_SIDE_BUY);
    try_nameless_fill(search, state, LK_SIDE_SELL);
    try_time(search, state);
    go_to(search, state);
    uint64_t count = search->bench->kernel->ledger.execution_count;
    for (uint64_t number = 1; number <= count; number++)
        try_execution(search, state, number);
}

static bool check_stage(const search_t *search, uint32_t from, uint32_t to)
{
    bool is_allowed = lk_stage_may_follow(from, to) != 0;
    if (search->stages[from][to] == is_allowed) return true;
    (void)fprintf(stderr, "stage %s -> %s is %s\n", lk_stage_name(from), lk_stage_name(to),
                  is_allowed ? "in the table and never happened" : "not in the table and happened");
    return false;
}

static bool check_lifecycle(const search_t *search, uint32_t from, uint32_t to)
{
    bool is_allowed = lk_lifecycle_may_follow(from, to) != 0;
    if (search->lifecycles[from][to] == is_allowed) return true;
    (void)fprintf(stderr, "lifecycle %s -> %s is %s\n", lk_lifecycle_name(from), lk_lifecycle_name(to),
                  is_allowed ? "in the table and never happened" : "not in the table and happened");
    return false;
}

static void check_tables(const search_t *search)
{
    bool is_right = true;
    for (uint32_t from = 0; from <= LK_STAGE_COUNT; from++) {
        for (uint32_t to = 0; to <= LK_STAGE_COUNT; to++) {
            if (from < LK_STAGE_COUNT && to < LK_STAGE_COUNT)
                is_right &= check_stage(search, from, to);
            else
                CHECK(lk_stage_may_follow(from, to) == 0);
        }
    }
    for (uint32_t from = 0; from <= LK_LIFECYCLE_COUNT; from++) {
        for (uint32_t to = 0; to <= LK_LIFECYCLE_COUNT; to++) {
            if (from < LK_LIFECYCLE_COUNT && to < LK_LIFECYCLE_COUNT)
                is_right &= check_lifecycle(search, from, to);
            else
                CHECK(lk_lifecycle_may_follow(from, to) == 0);
        }
    }
    CHECK(is_right); /* each that is not was told */
}

static void search_all(search_t *found, bool is_of_brackets)
{
    lk_config_t config = config_of(1);
    config.window_count = LK_WINDOW_MIN;
    search_t search;
    memset(&search, 0, sizeof search);
    search.is_of_brackets = is_of_brackets;
    search.exits_max = is_of_brackets ? 1 : 2;
    search.executions_max = is_of_brackets ? 3 : 4;
    search.bench = bench_with(&config);
    search.states = calloc(STATES_MAX, sizeof *search.states);
    search.keys = calloc(4 * STATES_MAX, sizeof *search.keys);
    CHECK(search.states != NULL && search.keys != NULL);
    keep_if_new(&search);
    for (uint32_t i = 0; i < search.state_count; i++)
        try_everything(&search, i);
    CHECK(search.state_count > 1000);
    for (uint32_t i = 0; i < search.state_count; i++)
        free(search.states[i].saved);
    free(search.states);
    free(search.keys);
    bench_free(search.bench);
    for (uint32_t from = 0; from < LK_STAGE_COUNT; from++) {
        for (uint32_t to = 0; to < LK_STAGE_COUNT; to++)
            found->stages[from][to] |= search.stages[from][to];
    }
    for (uint32_t from = 0; from < LK_LIFECYCLE_COUNT; from++) {
        for (uint32_t to = 0; to < LK_LIFECYCLE_COUNT; to++)
            found->lifecycles[from][to] |= search.lifecycles[from][to];
    }
}

static void test_moves_of_a_slot_are_exactly_those_of_the_tables_K03_T08(void)
{
    search_t found;
    memset(&found, 0, sizeof found);
    search_all(&found, false);
    search_all(&found, true);
    check_tables(&found);
}

int main(void)
{
    RUN(test_moves_of_a_slot_are_exactly_those_of_the_tables_K03_T08);
    return 0;
}
