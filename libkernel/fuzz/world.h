/* A kernel that is watched: after each input, everything that must always hold is checked.
 *
 *   refused       nothing has changed: same digest, no event
 *   sound         each slot; each transition begins where the slot was and is one that the tables allow
 *   changed       only slots that the outcome names have another view (but for conviction, which follows capital)
 *   sums          the account is the sum of what its events booked and of its slots
 *   position      is the sum of its fills
 *   restored      a kernel that is saved and restored has the same digest, and is used from then on
 */
#ifndef LK_FUZZ_WORLD_H
#define LK_FUZZ_WORLD_H

#include "decode.h"
#include "internal.h"

#include <stdlib.h>

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                      \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

typedef struct {
    uint8_t bytes[LK_DIGEST_BYTES];
} digest_t;

typedef struct {
    lk_config_t config;
    lk_kernel_t *kernel;
    lk_event_t *events; /* exactly as many as the kernel asks for, so that a sanitizer sees one too many */
    uint32_t event_capacity;
    lk_outcome_t outcome;
    uint64_t input_count;
    digest_t digest;
    lk_account_view_t account;
    lk_slot_view_t slots[SLOTS_MAX];
    int64_t positions[SLOTS_MAX];
    lk_wide_t realized;
    lk_wide_t fees;
} world_t;

static inline void look(world_t *world)
{
    REQUIRE(lk_kernel_digest(world->kernel, world->digest.bytes) == LK_STATUS_OK);
    REQUIRE(lk_kernel_account(world->kernel, &world->account) == LK_STATUS_OK);
    for (uint32_t i = 0; i < world->config.slot_count; i++) {
        REQUIRE(lk_kernel_slot(world->kernel, i, &world->slots[i]) == LK_STATUS_OK);
    }
}

static inline world_t *world_new(const lk_config_t *config)
{
    world_t *world = calloc(1, sizeof *world);
    REQUIRE(world != NULL);
    REQUIRE(config->slot_count <= SLOTS_MAX);
    world->config = *config;
    REQUIRE(lk_kernel_create(config, &world->kernel) == LK_STATUS_OK);
    world->event_capacity = lk_kernel_event_capacity(world->kernel);
    world->events = calloc(world->event_capacity, sizeof *world->events);
    REQUIRE(world->events != NULL);
    look(world);
    return world;
}

static inline void world_free(world_t *world)
{
    lk_kernel_destroy(world->kernel);
    free(world->events);
    free(world);
}

/* The bytes are the caller's to free. */
static inline uint8_t *save(lk_kernel_t *kernel, size_t *size)
{
    REQUIRE(lk_kernel_save_size(kernel, size) == LK_STATUS_OK);
    uint8_t *data = malloc(*size);
    REQUIRE(data != NULL);
    REQUIRE(lk_kernel_save(kernel, data, *size, size) == LK_STATUS_OK);
    return data;
}

/* Go on with a kernel that has only what was saved. */
static inline void world_restart(world_t *world)
{
    lk_kernel_t *fresh = NULL;
    size_t size = 0;
    uint8_t *data = save(world->kernel, &size);
    digest_t before = world->digest;
    REQUIRE(lk_kernel_create(&world->config, &fresh) == LK_STATUS_OK);
    REQUIRE(lk_kernel_restore(fresh, data, size) == LK_STATUS_OK);
    free(data);
    lk_kernel_destroy(world->kernel);
    world->kernel = fresh;
    look(world);
    REQUIRE(memcmp(&before, &world->digest, sizeof before) == 0);
}

static inline void follow_transition(world_t *world, const lk_event_t *event, lk_slot_view_t *seen)
{
    REQUIRE(event->from_stage == seen->stage);
    REQUIRE(event->from_lifecycle == seen->lifecycle);
    REQUIRE(event->from_stage != event->to_stage || event->from_lifecycle != event->to_lifecycle);
    REQUIRE(event->from_stage == event->to_stage || lk_stage_may_follow(event->from_stage, event->to_stage));
    REQUIRE(event->from_lifecycle == event->to_lifecycle ||
            lk_lifecycle_may_follow(event->from_lifecycle, event->to_lifecycle));
    if (event->to_stage == LK_STAGE_IDLE) world->positions[event->slot_index] = 0;
    seen->stage = event->to_stage;
    seen->lifecycle = event->to_lifecycle;
}

static inline void follow_event(world_t *world, const lk_event_t *event, lk_slot_view_t *before)
{
    bool is_booked = event->kind == LK_EVENT_FILL_BOOKED;
    REQUIRE(event->kind > LK_EVENT_NONE && event->kind < LK_EVENT_COUNT);
    REQUIRE(event->slot_index < world->config.slot_count || event->slot_index == LK_NO_SLOT);
    if (event->kind == LK_EVENT_TRANSITION) follow_transition(world, event, &before[event->slot_index]);
    if (is_booked || event->kind == LK_EVENT_SETTLED) {
        world->realized += event->realized_pnl.units;
        world->fees += event->fee.units;
    }
    if (!is_booked) return;
    bool adds = (event->side == LK_SIDE_BUY) != ((event->flags & LK_EVENT_BUSTED) != 0);
    world->positions[event->slot_index] += adds ? event->qty.units : -event->qty.units;
}

static inline int64_t clamp_sum(lk_wide_t value)
{
    return value > INT64_MAX ? INT64_MAX : value < INT64_MIN ? INT64_MIN : (int64_t)value;
}

/* Conviction is a share of the account's capital, so any change of that changes it. */
static inline bool is_same_but_for_capital(const lk_slot_view_t *view, const lk_slot_view_t *before)
{
    lk_slot_view_t same = *before;
    same.has_conviction = view->has_conviction;
    same.conviction = view->conviction;
    return memcmp(view, &same, sizeof same) == 0;
}

static inline void check_slot(const world_t *world, uint32_t i, const lk_slot_view_t *told,
                              const lk_slot_view_t *before)
{
    const lk_slot_view_t *view = &world->slots[i];
    bool is_over = view->stage == LK_STAGE_IDLE || view->stage == LK_STAGE_TERMINAL_WRITTEN;
    REQUIRE(lk_slot_is_sound(&world->kernel->slots[i]));
    REQUIRE(view->stage == told->stage);
    REQUIRE(view->lifecycle == told->lifecycle);
    REQUIRE(view->is_free == is_over);
    REQUIRE(view->qty.units == world->positions[i]);
    REQUIRE(!view->is_free || view->qty.units == 0);
    REQUIRE(!view->is_free || !lk_slot_is_protected(&world->kernel->slots[i]));
    if (!lk_set_has(world->outcome.changed_slots, i)) REQUIRE(is_same_but_for_capital(view, before));
}

static inline void check_account(const world_t *world)
{
    const lk_account_view_t *account = &world->account;
    lk_wide_t unrealized = 0;
    uint32_t open_count = 0;
    for (uint32_t i = 0; i < world->config.slot_count; i++) {
        if (world->slots[i].is_free) continue;
        unrealized += world->slots[i].unrealized_pnl.units;
        open_count++;
    }
    REQUIRE(account->open_slot_count == open_count);
    REQUIRE(account->unrealized_pnl.units == clamp_sum(unrealized));
    REQUIRE(account->realized_pnl.units == world->realized);
    REQUIRE(account->fees.units == world->fees);
    if (account->capital_source == LK_CAPITAL_SOURCE_SEED) {
        lk_wide_t capital = (lk_wide_t)world->config.seed_capital.units + account->realized_pnl.units -
                            account->fees.units + account->funding.units + account->foreign.units;
        REQUIRE(account->capital.units == clamp_sum(capital));
    }
}

static inline void check_refused(const world_t *world, const digest_t *before)
{
    REQUIRE(world->outcome.event_count == 0);
    REQUIRE(memcmp(before, &world->digest, sizeof *before) == 0);
}

static inline void world_apply(world_t *world, const lk_input_t *input)
{
    lk_slot_view_t before[SLOTS_MAX];
    lk_slot_view_t told[SLOTS_MAX];
    digest_t digest = world->digest;
    memcpy(before, world->slots, sizeof before);
    memcpy(told, world->slots, sizeof told);
    world->input_count++;
    lk_status_t status = lk_kernel_apply(world->kernel, input, &world->outcome, world->events, world->event_capacity);
    REQUIRE((status == LK_STATUS_OK) == (input->kind > LK_INPUT_NONE && input->kind < LK_INPUT_COUNT));
    if (status != LK_STATUS_OK) return;
    REQUIRE(world->outcome.accepted == (world->outcome.code == LK_CODE_OK));
    for (uint32_t i = 0; i < world->outcome.event_count; i++)
        follow_event(world, &world->events[i], told);
    look(world);
    if (!world->outcome.accepted) {
        check_refused(world, &digest);
        return;
    }
    if (input->kind == LK_INPUT_ADOPT) world->positions[world->outcome.slot_index] = input->qty.units;
    for (uint32_t i = 0; i < world->config.slot_count; i++)
        check_slot(world, i, &told[i], &before[i]);
    check_account(world);
}

static inline moment_t world_moment(const world_t *world)
{
    return (moment_t){world->input_count, world->account.now_ns, world->account.capital.units,
                      world->account.execution_count};
}

/* One record: an input, or a restart. */
static inline void world_take(world_t *world, const record_t *record)
{
    if (record->kind >= LK_INPUT_COUNT) {
        world_restart(world);
        return;
    }
    moment_t moment = world_moment(world);
    lk_input_t input = decode_input(record, &moment);
    world_apply(world, &input);
}

/* All records of data, at most `limit`. */
static inline void world_take_all(world_t *world, const uint8_t *data, size_t size, size_t limit)
{
    record_t record;
    for (size_t i = 0; i < limit && size >= sizeof record; i++) {
        memcpy(&record, data, sizeof record);
        data += sizeof record;
        size -= sizeof record;
        world_take(world, &record);
    }
}

#endif
