/* The machines, as tables, and the two views of a slot that are computed from them. */
#include "internal.h"

/* Row: where the order is. Column: what was learned. An empty cell is a refusal: ILLEGAL_TRANSITION. */
static const uint8_t NEXT_LIFE[LK_LIFE_COUNT][LK_FACT_COUNT] = {
    [LK_LIFE_REQUESTED] =
        {
            [LK_FACT_SUBMITTING] = LK_LIFE_SENT,
            [LK_FACT_ACKNOWLEDGED] = LK_LIFE_ACKED, /* outran the record of sending */
            [LK_FACT_REJECTED] = LK_LIFE_REJECTED,
            [LK_FACT_DENIED] = LK_LIFE_DENIED,
            [LK_FACT_CANCELED] = LK_LIFE_CANCELED,
            [LK_FACT_EXPIRED] = LK_LIFE_EXPIRED,
            [LK_FACT_CANCEL_REJECTED] = LK_LIFE_REQUESTED,
            [LK_FACT_IN_DOUBT] = LK_LIFE_SENT,
            [LK_FACT_TRADED] = LK_LIFE_ACKED,
        },
    [LK_LIFE_SENT] =
        {
            [LK_FACT_SUBMITTING] = LK_LIFE_SENT, /* an exit, sent again under the same id */
            [LK_FACT_ACKNOWLEDGED] = LK_LIFE_ACKED,
            [LK_FACT_REJECTED] = LK_LIFE_REJECTED,
            [LK_FACT_DENIED] = LK_LIFE_DENIED, /* proven never to have left */
            [LK_FACT_CANCELED] = LK_LIFE_CANCELED,
            [LK_FACT_EXPIRED] = LK_LIFE_EXPIRED,
            [LK_FACT_CANCEL_REJECTED] = LK_LIFE_SENT,
            [LK_FACT_IN_DOUBT] = LK_LIFE_SENT,
            [LK_FACT_TRADED] = LK_LIFE_ACKED, /* a fill may outrun its acknowledgement */
        },
    [LK_LIFE_ACKED] =
        {
            [LK_FACT_ACKNOWLEDGED] = LK_LIFE_WORKING,
            [LK_FACT_REJECTED] = LK_LIFE_REJECTED, /* some venues acknowledge first */
            [LK_FACT_CANCELED] = LK_LIFE_CANCELED,
            [LK_FACT_EXPIRED] = LK_LIFE_EXPIRED,
            [LK_FACT_CANCEL_REJECTED] = LK_LIFE_WORKING, /* so it is in the book */
            [LK_FACT_IN_DOUBT] = LK_LIFE_ACKED,
            [LK_FACT_TRADED] = LK_LIFE_ACKED,
        },
    [LK_LIFE_WORKING] =
        {
            [LK_FACT_ACKNOWLEDGED] = LK_LIFE_WORKING,
            [LK_FACT_REJECTED] = LK_LIFE_REJECTED,
            [LK_FACT_CANCELED] = LK_LIFE_CANCELED,
            [LK_FACT_EXPIRED] = LK_LIFE_EXPIRED,
            [LK_FACT_CANCEL_REJECTED] = LK_LIFE_WORKING,
            [LK_FACT_IN_DOUBT] = LK_LIFE_WORKING,
            [LK_FACT_TRADED] = LK_LIFE_WORKING,
        },
    [LK_LIFE_CANCELED] = {[LK_FACT_TRADED] = LK_LIFE_CANCELED},
    [LK_LIFE_REJECTED] = {[LK_FACT_TRADED] = LK_LIFE_REJECTED},
    [LK_LIFE_DENIED] = {[LK_FACT_TRADED] = LK_LIFE_DENIED},
    [LK_LIFE_EXPIRED] = {[LK_FACT_TRADED] = LK_LIFE_EXPIRED},
};

#define TO(stage) (1u << LK_STAGE_##stage)
#define TO_POSITION (TO(PARTIAL_FILL) | TO(POSITION_OPEN) | TO(POSITION_PARTIALLY_CLOSED))
#define TO_END (TO(POSITION_CLOSED) | TO(ORDER_REJECTED) | TO(TERMINAL_WRITTEN))
/* It was over, and a late fill, a bust or a correction brings the trade back. */
#define TO_LIFE_AGAIN (TO(POSITION_OPEN) | TO(POSITION_PARTIALLY_CLOSED) | TO(EXIT_REJECTED))
/* Busts: the venue takes back what made the stage, so an older one shows again. */
#define TO_ENTRY_AGAIN (TO(ENTRY_ACKED) | TO(ENTRY_WORKING))

/* Where a trade may be when its exit order has ended. */
#define AFTER_EXIT (TO_POSITION | TO_ENTRY_AGAIN | TO(EXIT_REJECTED) | TO_END)

/* A busted entry fills again, or more of it, and the exit that was refused before is still the last one. */
#define AFTER_BUST (TO(EXIT_REJECTED))

/* A test searches through everything that can happen to a slot and finds these moves, each of them, and no other. */
static const uint32_t STAGES_AFTER[LK_STAGE_COUNT] = {
    [LK_STAGE_IDLE] = TO(ENTRY_REQUESTED) | TO(POSITION_OPEN) /* adopted */,
    [LK_STAGE_ENTRY_REQUESTED] =
        TO(ENTRY_SENT) | TO(ENTRY_ACKED) | TO_POSITION /* left in part: a stop's fill outran the entry's */ | TO_END,
    [LK_STAGE_ENTRY_SENT] = TO(ENTRY_ACKED) | TO_POSITION | TO_END,
    [LK_STAGE_ENTRY_ACKED] = TO(ENTRY_WORKING) | TO_POSITION | TO_END | AFTER_BUST,
    [LK_STAGE_ENTRY_WORKING] = TO_POSITION | TO_END | AFTER_BUST,
    [LK_STAGE_PARTIAL_FILL] = TO_ENTRY_AGAIN | TO(POSITION_OPEN) | TO(EXIT_REQUESTED) | TO(POSITION_PARTIALLY_CLOSED),
    [LK_STAGE_POSITION_OPEN] = TO(EXIT_REQUESTED) | TO(POSITION_PARTIALLY_CLOSED) | TO_END,
    [LK_STAGE_EXIT_REQUESTED] = TO(EXIT_SENT) | TO(EXIT_ACKED) | TO(EXIT_WORKING) | AFTER_EXIT,
    [LK_STAGE_EXIT_SENT] = TO(EXIT_ACKED) | TO(EXIT_WORKING) | AFTER_EXIT,
    [LK_STAGE_EXIT_ACKED] = TO(EXIT_WORKING) | AFTER_EXIT,
    [LK_STAGE_EXIT_WORKING] = TO(EXIT_ACKED) | AFTER_EXIT, /* back: its only fill was busted */
    [LK_STAGE_POSITION_PARTIALLY_CLOSED] = TO(ENTRY_REQUESTED) | TO(ENTRY_SENT) | TO_ENTRY_AGAIN | TO(PARTIAL_FILL) |
                                           TO(POSITION_OPEN) | TO(EXIT_REQUESTED) | TO_END | AFTER_BUST,
    [LK_STAGE_EXIT_REJECTED] = TO(EXIT_REQUESTED) | TO_ENTRY_AGAIN | TO(POSITION_PARTIALLY_CLOSED) | TO_END,
    /* Passed at once, or, of a bracket, while protective orders are being taken back. */
    [LK_STAGE_POSITION_CLOSED] = TO(TERMINAL_WRITTEN) | TO_LIFE_AGAIN,
    [LK_STAGE_ORDER_REJECTED] = TO(TERMINAL_WRITTEN) | TO_LIFE_AGAIN,
    [LK_STAGE_TERMINAL_WRITTEN] = TO(IDLE) /* the slot is taken again */ | TO_LIFE_AGAIN,
};

#define LIFECYCLE(name) (1u << LK_LIFECYCLE_##name)

static const uint32_t LIFECYCLES_AFTER[LK_LIFECYCLE_COUNT] = {
    [LK_LIFECYCLE_NONE] = LIFECYCLE(SUBMITTED) | LIFECYCLE(FILLED) /* adopted */,
    [LK_LIFECYCLE_SUBMITTED] = LIFECYCLE(FILLED) | LIFECYCLE(CANCELED) | LIFECYCLE(REJECTED) | LIFECYCLE(STALLED) |
                               LIFECYCLE(MANAGED) /* a stop's fill outran the entry's */,
    [LK_LIFECYCLE_STALLED] = LIFECYCLE(FILLED) | LIFECYCLE(CANCELED) | LIFECYCLE(REJECTED) | LIFECYCLE(MANAGED),
    [LK_LIFECYCLE_FILLED] = LIFECYCLE(MANAGED) | LIFECYCLE(CLOSED) | LIFECYCLE(SUBMITTED) | LIFECYCLE(STALLED) |
                            LIFECYCLE(CANCELED) | LIFECYCLE(REJECTED) /* the last four: busted */,
    [LK_LIFECYCLE_MANAGED] = LIFECYCLE(CLOSED) | LIFECYCLE(CANCELED) | LIFECYCLE(REJECTED) | LIFECYCLE(FILLED) |
                             LIFECYCLE(SUBMITTED) | LIFECYCLE(STALLED) /* all but the first: busted */,
    /* A later trade takes the slot; or a late fill, a bust or a correction. */
    [LK_LIFECYCLE_CLOSED] = LIFECYCLE(NONE) | LIFECYCLE(MANAGED) | LIFECYCLE(FILLED),
    [LK_LIFECYCLE_CANCELED] = LIFECYCLE(NONE) | LIFECYCLE(FILLED) | LIFECYCLE(MANAGED),
    [LK_LIFECYCLE_REJECTED] = LIFECYCLE(NONE) | LIFECYCLE(FILLED) | LIFECYCLE(MANAGED),
};

lk_life_t lk_life_after(lk_life_t life, lk_order_fact_t fact)
{
    LK_ASSERT(life < LK_LIFE_COUNT);
    LK_ASSERT(fact < LK_FACT_COUNT);
    return (lk_life_t)NEXT_LIFE[life][fact];
}

bool lk_life_has_ended(lk_life_t life)
{
    return life >= LK_LIFE_CANCELED;
}

uint32_t lk_next_life(uint32_t life, uint32_t fact)
{
    return life < LK_LIFE_COUNT && fact < LK_FACT_COUNT ? NEXT_LIFE[life][fact] : 0u;
}

uint32_t lk_stage_may_follow(uint32_t from_stage, uint32_t to_stage)
{
    if (from_stage >= LK_STAGE_COUNT || to_stage >= LK_STAGE_COUNT) return 0;
    return STAGES_AFTER[from_stage] >> to_stage & 1u;
}

uint32_t lk_lifecycle_may_follow(uint32_t from_lifecycle, uint32_t to_lifecycle)
{
    if (from_lifecycle >= LK_LIFECYCLE_COUNT || to_lifecycle >= LK_LIFECYCLE_COUNT) return 0;
    return LIFECYCLES_AFTER[from_lifecycle] >> to_lifecycle & 1u;
}

/* ------------------------------------------------------------------------------------------------- views -- */

static lk_stage_t stage_of_life(lk_life_t life, lk_stage_t requested)
{
    LK_ASSERT(life >= LK_LIFE_REQUESTED && life <= LK_LIFE_WORKING);
    return (lk_stage_t)((unsigned)requested + ((unsigned)life - LK_LIFE_REQUESTED)); /* same order in both lists */
}

static bool exit_was_refused(const lk_order_t *exit)
{
    return exit != NULL && (exit->life == LK_LIFE_REJECTED || exit->life == LK_LIFE_DENIED);
}

static lk_lifecycle_t ended_lifecycle(const lk_slot_t *slot)
{
    if (slot->book.entry_qty > 0) return LK_LIFECYCLE_CLOSED; /* and as much was left: nothing is open */
    bool was_refused = slot->entry.life == LK_LIFE_REJECTED || slot->entry.life == LK_LIFE_DENIED;
    return was_refused ? LK_LIFECYCLE_REJECTED : LK_LIFECYCLE_CANCELED;
}

/* It is over but for protective orders that the venue has not taken back yet: the last stage before the end. */
static lk_stage_t closing_stage(const lk_slot_t *slot)
{
    return ended_lifecycle(slot) == LK_LIFECYCLE_REJECTED ? LK_STAGE_ORDER_REJECTED : LK_STAGE_POSITION_CLOSED;
}

/* K03, by precedence: over; not yet filled; leaving; refused an exit; left in part; still entering; in. */
lk_stage_t lk_slot_stage(const lk_slot_t *slot)
{
    const lk_order_t *exit = lk_slot_last_exit(slot);
    bool entry_is_live = lk_order_is_live(&slot->entry);
    bool exit_is_live = exit != NULL && lk_order_is_live(exit);
    int64_t open_qty = lk_slot_open_qty(slot);

    if (slot->trade_sequence == 0) return LK_STAGE_IDLE;
    if (open_qty == 0 && !entry_is_live && !exit_is_live) {
        return lk_slot_is_protected(slot) ? closing_stage(slot) : LK_STAGE_TERMINAL_WRITTEN;
    }
    if (exit_is_live) {
        return exit->cum_qty > 0 ? LK_STAGE_EXIT_WORKING
                                 : stage_of_life((lk_life_t)exit->life, LK_STAGE_EXIT_REQUESTED);
    }
    if (slot->book.entry_qty == 0 && slot->book.exit_qty == 0) {
        return stage_of_life((lk_life_t)slot->entry.life, LK_STAGE_ENTRY_REQUESTED);
    }
    if (open_qty != 0 && exit_was_refused(exit)) return LK_STAGE_EXIT_REJECTED;
    if (slot->book.exit_qty > 0) return LK_STAGE_POSITION_PARTIALLY_CLOSED;
    return entry_is_live ? LK_STAGE_PARTIAL_FILL : LK_STAGE_POSITION_OPEN;
}

/* T08. */
lk_lifecycle_t lk_slot_lifecycle(const lk_slot_t *slot, lk_stage_t stage)
{
    if (stage == LK_STAGE_IDLE) return LK_LIFECYCLE_NONE;
    bool is_over = stage == LK_STAGE_TERMINAL_WRITTEN || stage == LK_STAGE_POSITION_CLOSED;
    if (is_over || stage == LK_STAGE_ORDER_REJECTED) return ended_lifecycle(slot);
    if (slot->exit_count > 0 || slot->book.exit_qty > 0) return LK_LIFECYCLE_MANAGED;
    if (slot->book.entry_qty > 0) return LK_LIFECYCLE_FILLED;
    return slot->entry.is_stalled ? LK_LIFECYCLE_STALLED : LK_LIFECYCLE_SUBMITTED;
}
