/* The state behind lk.h, and what the source files promise each other.
 *
 * Everything in lk_slot_t, lk_ledger_t, lk_execution_t and the event ids is state: fixed layout, no padding, hashed and
 * saved as it lies in memory. Everything else in lk_kernel_t follows from it and is rebuilt on restore.
 */
#ifndef LK_INTERNAL_H
#define LK_INTERNAL_H

#include "blake2b.h"
#include "lk/lk.h"
#include "numbers.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digests and saved states are little endian");

/* On in production: a broken invariant stops the partition, loudly. */
#define LK_ASSERT(condition) ((condition) ? (void)0 : lk_assert_failed(#condition, __func__, __LINE__))
__attribute__((noreturn, cold)) void lk_assert_failed(const char *condition, const char *function, int line);

/* For a short way that is taken often: written out with all that it calls, which would take a tenth of its time. (Long
 * ones become slower by it.) */
#define LK_FLATTEN __attribute__((flatten))

/* Clear and copy structs, in pieces that a compiler writes out as plain moves. For a whole struct gcc makes a string
 * instruction (rep stos, rep movs), whose start alone takes longer than all of these moves. */
static inline void lk_clear(void *at, size_t size)
{
    uint8_t *bytes = at;
    size_t done = 0;
    for (; done + 64 <= size; done += 64)
        memset(bytes + done, 0, 64);
    memset(bytes + done, 0, size - done);
}
static inline void lk_copy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *written = to;
    const uint8_t *read = from;
    size_t done = 0;
    for (; done + 64 <= size; done += 64)
        memcpy(written + done, read + done, 64);
    memcpy(written + done, read + done, size - done);
}

#define LK_ENTRY_ORDINAL 0u               /* exit orders of a trade are 1, 2, ... */
#define LK_NO_ORDER UINT32_MAX            /* a fill that belongs to no order of ours (a person's, or the venue's own) */
#define LK_STOP_ORDINAL (UINT32_MAX - 2u) /* the protective orders of a bracket: this, and the next the target */
#define LK_PROTECTIVES_MAX 2u
#define LK_ORDERS_PER_SLOT (1u + LK_SLOT_EXITS_MAX + LK_PROTECTIVES_MAX)
#define LK_STOP_PLACE (1u + LK_SLOT_EXITS_MAX)

/* One order: life, pending request and certainty are machines of their own; status is computed. */
typedef struct {
    lk_id_t client_order_id; /* ours, chosen and journaled before sending; empty for an adopted position */
    lk_id_t venue_order_id;  /* theirs, from the first fact that has it */
    int64_t order_qty;       /* asked for, at qty_scale, like all quantities of a slot */
    int64_t cum_qty;         /* filled so far */
    int64_t priced_qty;      /* of cum_qty, the part with a price */
    int64_t cum_notional;    /* of priced_qty */
    int64_t price;           /* its limit, if has_price */
    int64_t submitted_at_ns; /* when it was last SENT; 0 before */
    uint8_t life;            /* lk_life_t */
    uint8_t is_done;         /* once everything was filled; a bust does not put the order back to work */
    uint8_t in_doubt;        /* an answer was lost: it may be at the venue */
    uint8_t is_stalled;      /* unanswered for too long, or in doubt: a person was called */
    uint8_t cancel_pending;  /* a CANCEL was commanded and not answered yet */
    uint8_t side;            /* lk_side_t */
    uint8_t order_type;      /* lk_order_type_t */
    uint8_t time_in_force;   /* lk_time_in_force_t */
    uint8_t has_price;       /* 1: price is its limit */
    uint8_t is_leg;          /* sized by the exit legs: filling it moves on to the next */
    uint8_t reserved[6];     /* 0 */
} lk_order_t;

/* What was traded, as cumulative facts. All amounts at amount_scale.
 *
 *   realized = direction x (exit_notional - entry_notional + open_cost + skipped_cost) + venue_realized
 *
 * so a trade that is flat, with every fill priced, has realized exactly proceeds - cost.
 */
typedef struct {
    int64_t entry_qty;            /* filled by entries */
    int64_t exit_qty;             /* filled by exits */
    int64_t entry_unpriced_qty;   /* of entry_qty: its basis is missing */
    int64_t entry_notional;       /* of entry fills that had a price */
    int64_t exit_notional;        /* of exit fills that were booked at a price */
    int64_t open_cost;            /* of what is open, signed like entry_qty - exit_qty */
    int64_t skipped_cost;         /* of what was closed without a figure */
    int64_t venue_realized;       /* the venue's figures for skipped fills */
    int64_t skipped_count;        /* skipped fills that wait for the venue's figure */
    int64_t skipped_qty;          /* of exit_qty: closed without a figure, whether the venue's has come or not */
    int64_t surplus_unpriced_qty; /* beyond flat, from exits without a figure: it has no cost */
    int64_t fees;                 /* paid is positive; predictions included */
    int64_t predicted_fees;       /* of fees */
} lk_book_t;

/* One slot: the trade in it, or the last one that was. */
typedef struct {
    lk_id_t trade_id;
    lk_id_t strategy;
    lk_symbol_t symbol;
    lk_currency_t currency;  /* what it is paid in */
    int64_t tick_units;      /* of price, at price_scale */
    int64_t lot_units;       /* of quantity, at qty_scale */
    int64_t multiplier;      /* units of the underlying in one contract */
    int64_t stop_price;      /* 0 unless has_stop_price */
    int64_t target_price;    /* 0 unless has_target_price */
    int64_t reference_price; /* what the decision was taken at; 0 unless has_reference_price */
    int64_t requested_at_ns;
    int64_t expires_at_ns;   /* 0: does not lapse */
    uint64_t trade_sequence; /* 0: never used, and then all of the slot is 0 */
    uint32_t leverage;       /* the venue's */
    uint32_t instrument_version;
    lk_book_t book;            /* what was traded */
    int64_t mark;              /* 0: none */
    int64_t opened_at_ns;      /* first entry fill; 0 before */
    int64_t closed_at_ns;      /* 0: not over */
    uint64_t close_sequence;   /* which of the free slots has been free longest; 0: not free, or never used */
    uint32_t active_leg_index; /* the exit leg that comes next, from 0 */
    uint32_t exit_count;       /* exit orders so far */
    uint16_t exit_leg_bps[LK_EXIT_LEGS_MAX]; /* each leg's share of what remains then, in 1/10000 */
    uint8_t price_scale;                     /* of prices of this slot */
    uint8_t qty_scale;                       /* of quantities of this slot */
    uint8_t has_stop_price;
    uint8_t has_target_price;
    uint8_t has_reference_price;
    uint8_t is_adopted;    /* 1: taken over from the venue, not entered */
    uint8_t is_overfilled; /* 1: more was filled than ordered, or than was open */
    uint8_t has_anomaly;   /* 1: a WARNING or worse was flagged on this trade */
    uint8_t pnl_source;    /* lk_pnl_source_t */
    uint8_t is_bracket;    /* 1: its protective orders were placed with its entry */
    uint8_t is_bare;       /* 1: PROTECTION_LOST was flagged, and it still is */
    uint8_t reserved[5];   /* 0 */
    lk_order_t entry;
    lk_order_t exits[LK_SLOT_EXITS_MAX];        /* exit order n is exits[(n - 1) % LK_SLOT_EXITS_MAX]; not in use: 0 */
    lk_order_t protectives[LK_PROTECTIVES_MAX]; /* of a bracket: the stop, then the target; not in use: 0 */
} lk_slot_t;

/* One execution, kept for duplicates, settlements, busts and the ledger's watermark. */
typedef struct {
    lk_id_t execution_id;
    uint64_t number;         /* executions of the account, from 1 */
    uint64_t trade_sequence; /* of the trade it belongs to */
    int64_t qty;             /* at the slot's qty_scale */
    int64_t price;           /* at the slot's price_scale; 0 without */
    int64_t notional;        /* price x qty x multiplier; 0 without a price */
    int64_t skipped_cost;    /* what it put into the book's skipped_cost */
    int64_t realized;        /* what it booked */
    int64_t fee;             /* paid is positive; settled, or predicted */
    int64_t venue_realized;  /* what a settlement added */
    uint32_t slot_index;
    uint32_t ordinal; /* of its order: 0 the entry, n exit order n, UINT32_MAX - 2 the stop of a bracket, UINT32_MAX - 1
                         its target, UINT32_MAX none of ours */
    uint8_t is_exit;
    uint8_t has_price;
    uint8_t is_skipped; /* 1: it has no figure of its own: no price, or an exit of a trade whose basis is missing */
    uint8_t is_settled; /* the venue's realized pnl has come */
    uint8_t is_busted;  /* 1: taken back */
    uint8_t fee_is_predicted; /* 1: the venue has not stated the fee */
    uint8_t side;             /* lk_side_t, the order's */
    uint8_t liquidity;        /* as the venue stated it: which calibration its settled fee is a sample of */
} lk_execution_t;

/* What a window has ever held, in 128 bits: see lk_kernel_digest. */
typedef struct {
    uint64_t a;
    uint64_t b;
} lk_chain_t;

/* How far one published fee rate holds: settled fees against what the rate makes of the same executions. */
typedef struct {
    int64_t settled_sum;    /* of samples, as absolute amounts; halved together with the next when one would not fit */
    int64_t published_sum;  /* what the rate makes of the same executions */
    int64_t ratio;          /* settled_sum / published_sum at LK_RATIO_SCALE; 0 before the first sample */
    uint64_t sample_count;  /* settled fees that were taken */
    uint64_t refused_count; /* settled fees that were too far off */
    uint64_t is_last_refused; /* 1: the last settled fee was too far off to be a sample */
} lk_calibration_t;
_Static_assert(sizeof(lk_calibration_t) == 48, "no padding");

/* The account. */
typedef struct {
    lk_chain_t event_chain;         /* of event ids, as they are accepted */
    lk_chain_t execution_chain;     /* of executions, as they are booked and changed */
    uint64_t event_sequence;        /* of the last accepted input */
    int64_t now_ns;                 /* of the last accepted input */
    uint64_t trade_count;           /* trades so far */
    uint64_t close_count;           /* trades that became over so far, each time they did */
    uint64_t event_count;           /* event ids accepted */
    uint64_t execution_count;       /* executions booked */
    uint64_t anchored_count;        /* executions up to this number are in the wallet */
    uint64_t unseen_count;          /* executions that the wallet holds and we were not told of: late, or not ours */
    uint64_t awaited_count;         /* of those, how many of the next executions are taken to be */
    uint64_t venue_sequence;        /* of the last accepted BALANCE that had one */
    uint64_t routed_by_stage_count; /* fills without identity */
    uint64_t anomaly_count;         /* ANOMALY events so far */
    int64_t wallet;                 /* at the anchor */
    int64_t available;              /* as last stated */
    int64_t bridge;           /* what we booked and the wallet does not hold: realized - fees + funding + foreign */
    int64_t bridge_predicted; /* of the fees in it, those the venue has not stated, as absolute amounts */
    int64_t bridge_skipped;   /* executions in it whose realized pnl is unknown */
    int64_t realized;         /* of all trades, gross of fees */
    int64_t fees;             /* of all trades; predictions included */
    int64_t predicted_fees;   /* of them, those the venue has not stated */
    int64_t funding;          /* received is positive */
    int64_t foreign;          /* what others did to the wallet, as far as it was stated */
    uint64_t foreign_count;   /* FOREIGN inputs */
    int64_t ledger_delta;     /* wallet - what was expected, at the last comparison */
    int64_t next_funding_ns;  /* when funding is paid next; 0: not computed yet; LK_NEVER_NS: never */
    lk_calibration_t calibrations[2]; /* maker, taker */
    uint8_t has_anchor;               /* 1: a BALANCE was accepted */
    uint8_t is_bridged;               /* 1: something was booked since the anchor, or its frame did not hold all */
    uint8_t ledger_status;            /* lk_ledger_status_t */
    uint8_t ledger_cause;             /* lk_ledger_cause_t */
    uint8_t freeze_flags;             /* LK_FREEZE_... */
    uint8_t has_awaited;              /* since the anchor, an execution was taken to be in the wallet already */
    uint8_t is_funding_due; /* since the anchor: a funding time passed with a position open, and no FUNDING came */
    uint8_t has_foreign;    /* since the anchor: foreign activity without an amount */
} lk_ledger_t;

/* What an id names: tag -> a number. Open addressing, at most half full; candidates are compared by the caller. */
typedef struct {
    uint32_t tag; /* of the id's hash; 0: empty */
    uint32_t value;
} lk_place_t;
typedef struct {
    lk_place_t *places;
    uint32_t mask;
} lk_index_t;

#define LK_GENERATIONS 4u

/* The ids that a ring holds, by hash; see ids.c. Numbers count from 1. */
typedef struct {
    uint64_t hash;
    uint64_t previous; /* the number before it in its chain; 0: none */
} lk_link_t;
typedef struct {
    uint64_t *filter; /* by hash, then generation: bits of the hashes in it; what has not all its bits is not there */
    uint64_t *newest; /* by hash: the last number of the chain; 0: none */
    lk_link_t *links; /* by number */
    uint64_t filter_mask;
    uint64_t chain_mask;
    uint64_t link_mask;
    uint32_t generation_bits;
    uint64_t count;
} lk_window_t;

/* Where a slot was, as transitions last told. */
typedef struct {
    uint8_t stage;
    uint8_t lifecycle;
} lk_told_t;

struct lk_kernel {
    lk_config_t config;
    lk_ledger_t ledger;
    lk_slot_t *slots;
    lk_id_t *event_ids;                  /* a ring: event n is at n % window_count */
    lk_execution_t *executions;          /* a ring likewise: execution number n is at (n - 1) % window_count */
    uint64_t busy_slots[LK_SLOT_WORDS];  /* slots that are not free */
    uint64_t dirty_slots[LK_SLOT_WORDS]; /* slots whose slot_digests are out of date */
    uint64_t symbol_hashes[LK_SLOTS_MAX];
    lk_told_t told[LK_SLOTS_MAX];
    lk_window_t event_window;
    lk_window_t execution_window;
    lk_index_t order_index; /* client and venue order ids -> slot x 16 + place x 2 + is_venue_id */
    lk_index_t trade_index;
    uint8_t config_digest[LK_DIGEST_BYTES];
    uint8_t (*slot_digests)[LK_DIGEST_BYTES];
    uint32_t event_capacity; /* what one input needs room for */
    size_t slot_bytes;
    size_t total_bytes;
};

/* One call of apply: the kernel, the input, and where the answer goes. */
typedef struct {
    lk_kernel_t *kernel;
    const lk_input_t *input;
    lk_outcome_t *outcome;
    lk_event_t *events;
    uint32_t event_count;
    uint64_t event_hash; /* of the input's event id */
} lk_call_t;

/* A slot's two views, before an input: what transitions are told from. */
typedef struct {
    uint32_t slot_index;
    lk_stage_t stage;
    lk_lifecycle_t lifecycle;
} lk_before_t;

/* Sets of slots. */
_Static_assert(LK_SLOT_WORDS * 64 == LK_SLOTS_MAX, "one bit each");
static inline bool lk_set_has(const uint64_t set[LK_SLOT_WORDS], uint32_t slot_index)
{
    return set[slot_index / 64] >> slot_index % 64 & 1u;
}
static inline void lk_set_add(uint64_t set[LK_SLOT_WORDS], uint32_t slot_index)
{
    set[slot_index / 64] |= UINT64_C(1) << slot_index % 64;
}
static inline void lk_set_remove(uint64_t set[LK_SLOT_WORDS], uint32_t slot_index)
{
    set[slot_index / 64] &= ~(UINT64_C(1) << slot_index % 64);
}
/* The first slot of the set from `from` on; LK_NO_SLOT: none. */
static inline uint32_t lk_set_next(const uint64_t set[LK_SLOT_WORDS], uint32_t from)
{
    for (uint32_t word = from / 64; word < LK_SLOT_WORDS; word++) {
        uint64_t left = set[word];
        if (word == from / 64) left &= UINT64_MAX << from % 64;
        if (left != 0) return word * 64 + (uint32_t)__builtin_ctzll(left);
    }
    return LK_NO_SLOT;
}
#define LK_FOR_EACH_IN(set, i) for (uint32_t i = lk_set_next(set, 0); i != LK_NO_SLOT; i = lk_set_next(set, i + 1))

/* ids.c */
/* Printable without blanks, then only NUL. */
bool lk_id_is_sound(const lk_id_t *id);
bool lk_symbol_is_sound(const lk_symbol_t *symbol);
bool lk_currency_is_sound(const lk_currency_t *currency);
static inline bool lk_id_is_empty(const lk_id_t *id)
{
    return id->text[0] == '\0';
}
static inline bool lk_id_equal(const lk_id_t *a, const lk_id_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
uint64_t lk_hash_id(const lk_id_t *id);
uint64_t lk_hash_symbol(const lk_symbol_t *symbol);
bool lk_window_has_event(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash);
void lk_window_add_event(lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash);
lk_execution_t *lk_window_find_execution(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash);
lk_execution_t *lk_window_execution(const lk_kernel_t *kernel, uint64_t number);
void lk_window_add_execution(lk_kernel_t *kernel, const lk_execution_t *execution, uint64_t hash);
/* After an execution in the window was changed: the chain takes in what it is now. */
void lk_execution_changed(lk_kernel_t *kernel, const lk_execution_t *execution);
bool lk_find_order(const lk_kernel_t *kernel, const lk_id_t *id, bool is_venue_id, uint32_t *slot_index,
                   uint32_t *place);
bool lk_find_order_by(const lk_kernel_t *kernel, const lk_id_t *id, uint64_t hash, bool is_venue_id,
                      uint32_t *slot_index, uint32_t *place);
bool lk_find_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id, uint32_t *slot_index);
void lk_index_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place);
void lk_index_trade(lk_kernel_t *kernel, uint32_t slot_index);
void lk_unindex_order(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place);
void lk_unindex_slot(lk_kernel_t *kernel, uint32_t slot_index);
/* Unless the order has one, or another order goes by it. The id is not empty. */
void lk_learn_venue_order_id(lk_kernel_t *kernel, uint32_t slot_index, uint32_t place, const lk_id_t *venue_order_id);
void lk_rebuild_indexes(lk_kernel_t *kernel);

/* machines.c */
lk_life_t lk_life_after(lk_life_t life, lk_order_fact_t fact);
bool lk_life_has_ended(lk_life_t life);
lk_stage_t lk_slot_stage(const lk_slot_t *slot);
lk_lifecycle_t lk_slot_lifecycle(const lk_slot_t *slot, lk_stage_t stage); /* stage: its own */

/* slot.c */
static inline bool lk_order_is_live(const lk_order_t *order)
{
    return order->life >= LK_LIFE_REQUESTED && order->life <= LK_LIFE_WORKING && !order->is_done;
}
static inline int64_t lk_slot_open_qty(const lk_slot_t *slot)
{
    return slot->book.entry_qty - slot->book.exit_qty; /* in the trade's direction; negative: closed too much */
}
/* Exit orders that are remembered: the first places of exits[]. */
static inline uint32_t lk_slot_exits_kept(const lk_slot_t *slot)
{
    return slot->exit_count < LK_SLOT_EXITS_MAX ? slot->exit_count : LK_SLOT_EXITS_MAX;
}
static inline int lk_slot_direction(const lk_slot_t *slot)
{
    return slot->entry.side == LK_SIDE_BUY ? 1 : -1;
}
/* Place 0 is the entry, place 1 + (n - 1) % LK_SLOT_EXITS_MAX exit order n, the last two the protective orders. */
static inline const lk_order_t *lk_slot_order_at(const lk_slot_t *slot, uint32_t place)
{
    LK_ASSERT(place < LK_ORDERS_PER_SLOT);
    if (place == 0) return &slot->entry;
    return place < LK_STOP_PLACE ? &slot->exits[place - 1] : &slot->protectives[place - LK_STOP_PLACE];
}
static inline lk_order_t *lk_slot_order(lk_slot_t *slot, uint32_t place)
{
    return (lk_order_t *)lk_slot_order_at(slot, place);
}

/* NULL: none yet. */
static inline const lk_order_t *lk_slot_last_exit(const lk_slot_t *slot)
{
    return slot->exit_count == 0 ? NULL : &slot->exits[(slot->exit_count - 1) % LK_SLOT_EXITS_MAX];
}

/* LK_NO_ORDER: forgotten, or none. */
static inline uint32_t lk_slot_place_of(const lk_slot_t *slot, uint32_t ordinal)
{
    if (ordinal == LK_ENTRY_ORDINAL) return 0;
    if (ordinal >= LK_STOP_ORDINAL && ordinal != LK_NO_ORDER) return LK_STOP_PLACE + (ordinal - LK_STOP_ORDINAL);
    if (ordinal == LK_NO_ORDER || slot->exit_count - ordinal >= LK_SLOT_EXITS_MAX) return LK_NO_ORDER;
    return 1 + (ordinal - 1) % LK_SLOT_EXITS_MAX;
}

static inline uint32_t lk_slot_ordinal_of(const lk_slot_t *slot, uint32_t place)
{
    LK_ASSERT(place < LK_ORDERS_PER_SLOT);
    if (place == 0) return LK_ENTRY_ORDINAL;
    if (place >= LK_STOP_PLACE) return LK_STOP_ORDINAL + (place - LK_STOP_PLACE);
    LK_ASSERT(slot->exit_count > 0);
    uint32_t last_place = 1 + (slot->exit_count - 1) % LK_SLOT_EXITS_MAX;
    return slot->exit_count - (last_place + LK_SLOT_EXITS_MAX - place) % LK_SLOT_EXITS_MAX;
}
static inline bool lk_slot_exit_is_at_work(const lk_slot_t *slot)
{
    const lk_order_t *exit = lk_slot_last_exit(slot);
    return exit != NULL && lk_order_is_live(exit);
}
/* A protective order is at work. */
static inline bool lk_slot_is_protected(const lk_slot_t *slot)
{
    return slot->is_bracket && (lk_order_is_live(&slot->protectives[0]) || lk_order_is_live(&slot->protectives[1]));
}
/* Nothing is open of it, and nothing can be any more: but for what comes late. */
static inline bool lk_slot_is_spent(const lk_slot_t *slot)
{
    return lk_slot_open_qty(slot) <= 0 && !lk_order_is_live(&slot->entry);
}
bool lk_slot_notional(const lk_slot_t *slot, uint32_t amount_scale, int64_t price, int64_t qty, int64_t *notional);
/* Of a book of the slot's, at a mark (0: none). */
bool lk_slot_unrealized(const lk_slot_t *slot, const lk_book_t *book, int64_t mark, uint32_t amount_scale,
                        int64_t *unrealized);
/* Always true, before and after every input: of a slot, and of the parts of it that an input changes. */
bool lk_order_is_sound(const lk_order_t *order);
bool lk_book_is_sound(const lk_book_t *book);
bool lk_slot_is_sound(const lk_slot_t *slot);

/* book.c */
bool lk_book_realized(const lk_book_t *book, int direction, int64_t *realized);
bool lk_book_add(lk_book_t *book, int direction, lk_execution_t *execution);
bool lk_book_remove(lk_book_t *book, int direction, const lk_execution_t *execution);

/* call.c */
/* An event with these ids (NULL: none) and the slot's trade; figures are 0. */
lk_event_t *lk_emit(lk_call_t *call, lk_event_kind_t kind, uint32_t slot_index, const lk_id_t *client_order_id,
                    const lk_id_t *venue_order_id, const lk_id_t *execution_id);
void lk_emit_anomaly(lk_call_t *call, lk_code_t code, uint32_t slot_index, const lk_id_t *order_id,
                     const lk_id_t *execution_id);
void lk_emit_cancel(lk_call_t *call, uint32_t slot_index, uint32_t place);
/* While something may still be bought, getting out means first: no more of it. */
void lk_cancel_entry_rest(lk_call_t *call, uint32_t slot_index);
lk_before_t lk_before(lk_call_t *call, uint32_t slot_index);
void lk_after(lk_call_t *call, lk_before_t before);
void lk_emit_transition(lk_call_t *call, uint32_t slot_index, lk_stage_t from_stage, lk_stage_t to_stage,
                        lk_lifecycle_t from_lifecycle, lk_lifecycle_t to_lifecycle);
/* An answer of no: nothing has changed, and nothing may after it. */
lk_code_t lk_refuse(lk_call_t *call, lk_code_t code, lk_field_t field, int64_t value);
lk_code_t lk_refuse_at(lk_call_t *call, lk_code_t code, lk_field_t field, int64_t value, uint32_t slot_index);

/* protection.c: the protective orders of a bracket; of another trade they do nothing. */
void lk_cancel_protection(lk_call_t *call, uint32_t slot_index);
/* After what may have ended the trade, or its protection. */
void lk_watch_protection(lk_call_t *call, uint32_t slot_index);

/* requests.c, facts.c, fills.c, ledger.c: one function per input kind. Each returns the outcome's code. */
lk_code_t lk_apply_enter(lk_call_t *call);
lk_code_t lk_apply_exit(lk_call_t *call);
lk_code_t lk_apply_cancel(lk_call_t *call);
lk_code_t lk_apply_flatten(lk_call_t *call);
lk_code_t lk_apply_cancel_working_entries(lk_call_t *call);
lk_code_t lk_apply_freeze(lk_call_t *call);
lk_code_t lk_apply_unfreeze(lk_call_t *call);
lk_code_t lk_apply_adopt(lk_call_t *call);
lk_code_t lk_apply_mark_price(lk_call_t *call);
lk_code_t lk_apply_tick(lk_call_t *call);
lk_code_t lk_apply_order(lk_call_t *call);
lk_code_t lk_apply_fill(lk_call_t *call);
lk_code_t lk_apply_bust(lk_call_t *call);
lk_code_t lk_apply_correction(lk_call_t *call);
lk_code_t lk_apply_settlement(lk_call_t *call);
lk_code_t lk_apply_balance(lk_call_t *call);
lk_code_t lk_apply_funding(lk_call_t *call);
lk_code_t lk_apply_foreign(lk_call_t *call);

/* fees.c */
/* notional x the published rate. */
int64_t lk_fee_publish(const lk_config_t *config, uint8_t liquidity, int64_t notional);
/* The same, as calibrated: what a fill is charged until the venue says. */
bool lk_fee_predict(const lk_config_t *config, const lk_ledger_t *ledger, uint8_t liquidity, int64_t notional,
                    int64_t *fee);
/* Take the execution's fee, settled just now, as a sample. False: refused, it is too far off. */
bool lk_fee_learn(const lk_config_t *config, lk_ledger_t *ledger, const lk_execution_t *execution);
bool lk_fee_is_sound(const lk_ledger_t *ledger);
void lk_fee_view(const lk_config_t *config, const lk_ledger_t *ledger, uint8_t liquidity, lk_fee_view_t *view);

/* facts.c */
/* By which id an input names an order of ours: the venue's, else ours. */
typedef enum { LK_BY_NONE, LK_BY_VENUE_ID, LK_BY_CLIENT_ID } lk_by_t;
lk_by_t lk_find_named_order(const lk_kernel_t *kernel, const lk_input_t *input, uint32_t *slot_index, uint32_t *place);
/* Which of the two is no id. The one that the order was found by is: it equals one that we hold. */
lk_field_t lk_bad_order_id(const lk_input_t *input, lk_by_t by);

/* What executions change of the ledger: found first, put back when all of it fits. */
typedef struct {
    int64_t bridge;
    int64_t bridge_predicted;
    int64_t bridge_skipped;
    int64_t realized;
    int64_t fees;
    int64_t predicted_fees;
    uint8_t is_bridged;
} lk_sums_t;

/* ledger.c: `bridges` says whether the venue's wallet, as last stated, does not contain it yet. */
bool lk_ledger_book(lk_sums_t *sums, bool bridges, int64_t realized, int64_t fee);
bool lk_ledger_predict(lk_sums_t *sums, bool bridges, int64_t fee_change, int64_t bridge_change);
lk_sums_t lk_ledger_sums(const lk_ledger_t *ledger);
void lk_ledger_put_sums(lk_ledger_t *ledger, const lk_sums_t *sums);
/* The time, before anything else of an input: did a funding time pass while a position was open? */
void lk_ledger_pass_time(lk_kernel_t *kernel, int64_t now_ns);
bool lk_ledger_is_sound(const lk_ledger_t *ledger);
/* What is published: the wallet at the anchor (or the seed) and what we booked since, kept within 64 bits. */
int64_t lk_ledger_capital(const lk_kernel_t *kernel);
/* Whether the next execution bridges; not when the wallet is taken to hold it already. */
bool lk_ledger_bridges_next(const lk_ledger_t *ledger);
/* It was booked, and does not bridge. */
void lk_ledger_take_awaited(lk_ledger_t *ledger, uint64_t number);

#endif
