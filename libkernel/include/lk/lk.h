/* clang-format off */
/* libkernel: the state of one trading account, as a deterministic machine.
 *
 * This header is the manual. A kernel holds one account: a fixed number of slots, each one trade from request to
 * terminal, and the account's ledger. It is fed one input at a time (a wish, a fact from the venue, or the time) and
 * answers with an outcome and the events that followed. The same inputs give the same outputs and the same digest,
 * on any build. It does no I/O, reads no clock, takes no memory after create, uses no floating point, has no globals.
 *
 * Numbers     Every amount, price and quantity is an int64 count of units at a decimal scale: prices and quantities of
 *             an input at the scales the input states, amounts (money) at the account's amount_scale. Nothing
 *             saturates, nothing wraps: what does not fit is refused as OVERFLOW. Because price_scale + qty_scale may
 *             not exceed amount_scale, price x quantity is always an exact amount. Of an entry, a price or quantity
 *             below 10^-8 is refused with its field named, whatever its scale.
 * Rounding    happens in three places, each against us: a predicted fee (up), the cost of a part of a position (so that
 *             the realized part is smaller; the last part takes the rest, so a whole trade is exact), and a fill price
 *             finer than the instrument's price_scale (of a FILL flagged PRICE_ROUNDED). Ratios and averages that are
 *             only shown are rounded half to even.
 * Identifiers are 1 to 64 printable characters without blanks, padded with NUL to 64 bytes; empty means: none. Symbols
 *             likewise, to 32.
 * Time        UTC nanoseconds since the epoch, in now_ns; it never goes back.
 * Refusals    An input that a rule refuses is a normal result: status LK_OK, outcome.accepted = 0, a code, the field.
 *             A refused input changes nothing: the digest stays. What the venue did is never refused because we would
 *             not have allowed it: a fill after a cancel, an overfill or a bust is folded and flagged by an ANOMALY.
 *             An exit is never suppressed because of a malformed size or price: those are repaired, and flagged.
 * Idempotency Accepted event ids are kept in a window of config.window_count (1024 unless told otherwise), and
 *             executions, by execution id, in another of the same size. A repeat within it changes nothing and is
 *             answered DUPLICATE_EVENT. Whole ids are compared, not hashes.
 * Threads     One at a time per kernel. Kernels share nothing.
 * Assertions  A broken promise of ours stops the process (LK_ASSERT stays on in production).
 *
 * Slots       ENTER takes the free slot that has been free longest; a further attempt of a trade that is over takes the
 *             slot the trade had. A slot is free when its stage is IDLE or TERMINAL_WRITTEN; a trade that is over stays
 *             readable in its slot until another takes it, so a fill that comes late still finds its order and a
 *             settlement its trade. Taking a used slot reports TERMINAL_WRITTEN -> IDLE for the old trade, then
 *             IDLE -> ENTRY_REQUESTED for the new one. When no slot is free, ENTER is SLOT_BUSY and ADOPT is
 *             ORPHAN_POSITION: nothing is displaced, and a person decides about the orphan.
 * Netting     Venues net what an account holds of a symbol and realize at its average cost, so two trades in one symbol
 *             could neither be told apart nor be left one by one. ENTER and ADOPT are refused as SYMBOL_BUSY while
 *             another trade in the symbol is not over.
 * Routing     A fill belongs to the order with its venue order id, else with its client order id. Only a fill without
 *             any identity is routed by the stage of the single open slot of its symbol; that is counted and flagged
 *             ROUTED_BY_STAGE. What matches nothing is UNRESOLVED_SLOT and mutates nothing.
 * PnL         is leverage-free: realized = direction x (proceeds - cost of what was closed). The entry price shown is
 *             the volume-weighted mean of all entry fills; what is open is carried at average cost, so that a whole
 *             trade realizes exactly proceeds - cost, in whatever order its fills arrived. A fill without a price
 *             reduces the position, books nothing and sets realized_skipped_no_price, until a SETTLEMENT brings the
 *             venue's figure. A SETTLEMENT of a fill that was booked is compared, never booked again. After a BUST or a
 *             CORRECTION all costs are averaged anew; what was closed without a figure still realizes nothing.
 * Leverage    of a slot is the venue's, an integer. Conviction ("our leverage") is shown, never kept: what is open at
 *             the entry price, divided by capital. lk_conviction_to_leverage is the map the venue's leverage is set by.
 *
 * Brackets    An ENTER with LK_BRACKET is placed as one: SUBMIT_ENTRY, then a SUBMIT_PROTECTIVE for the stop ("<entry
 *             id>-S", a STOP), then one for the target if it is stated ("<entry id>-T", a LIMIT), each for the entry's
 *             quantity, GTC, on the other side. They are to be sent together, in a group of which the venue fills no
 *             more than is open: so the protective orders never stand in an exit's way, and none of them turns a
 *             position over. What does slip through is an OVERFILL. They live as every order does; their fills are exit
 *             fills, at which the entry's rest is canceled. EXIT and FLATTEN submit one exit for all that is open
 *             (another size is repaired), then cancel the protective orders at work. When the entry is dead and nothing
 *             is open, those still at work are canceled; until they are dead, the slot stays taken, in stage
 *             POSITION_CLOSED (ORDER_REJECTED if the entry was refused). A protective order that the venue ends for
 *             less than its quantity is CANCELED. When something is open and neither the stop nor an exit is at work,
 *             or the stop is REJECTED or EXPIRED while the entry is at work, that is flagged PROTECTION_LOST, once, and
 *             again when it comes to be so anew. Nothing is done by itself. A CANCEL_REJECTED of a protective order
 *             whose trade is over is PROTECTION_LEFT.
 *
 * Fees        A fill whose fee is not stated is charged a prediction at once. published = notional x rate / 10^8,
 *             rounded up (towards plus infinity, so a rebate shrinks); rate is maker_fee_rate for liquidity MAKER, else
 *             taker_fee_rate. predicted = published while the liquidity's calibration has no sample, else
 *             published x ratio / 10^8, rounded up once more. A fee the venue states (with the FILL, by a SETTLEMENT or
 *             a CORRECTION) is settled: it replaces the prediction exactly. Predictions booked before stay as they are.
 * Calibration of the published rates, one for MAKER and one for TAKER. A settled fee is a sample when the execution's
 *             liquidity was stated, its published fee is not 0, it was not busted, and the venue had settled no fee for
 *             it before: the FILL's own, the first of SETTLEMENTs, or a CORRECTION's if the fee was predicted until
 *             then. A sample with |settled - published| x 10000 > LK_FEE_GUARD_BPS x |published| is refused: counted,
 *             flagged FEE_SAMPLE_REFUSED, and the calibration's sums stay; the fee is booked all the same, it is the
 *             venue's fact. Any other sample adds |settled| and |published| to two sums; if a sum would pass INT64_MAX,
 *             both are halved after the addition, towards zero. ratio = settled sum x 10^8 / published sum, half to
 *             even; it serves the predictions after it. Status: NONE (the published rate is 0: there is nothing to
 *             calibrate), UNCALIBRATED (no sample accepted, none refused), DEVIATING (the last sample was refused, or
 *             the ratio is more than LK_FEE_DEVIATION_BPS off 1), else OK.
 *
 * Capital     Until the first BALANCE: seed_capital + bridge (source SEED). Then: the wallet as last stated + bridge
 *             (E_ANCHORED while the bridge has nothing in it, else K_BRIDGED). The bridge is what we booked and that
 *             wallet does not hold yet: realized - fees + funding + foreign. ENTER needs capital > 0 (NO_CAPITAL).
 * Ledger      Each BALANCE is compared first, then it becomes the anchor: ledger_delta = wallet - (last wallet + bridge
 *             of what this wallet holds). The first one has nothing to compare with. Status and cause, the first that
 *             holds, with delta = |ledger_delta|, tolerance = ledger_tolerance:
 *                1. delta <= tolerance                             OK       NONE
 *                2. delta <= tolerance + |fees in the comparison
 *                   that are predictions|                          OK       FEE
 *                3. funding is due                                 WARNING  FUNDING
 *                4. a FOREIGN without amount came since the anchor WARNING  FOREIGN_ACTIVITY
 *                5. a fill waits for the venue's figure, or the
 *                   wallet holds executions we do not know         WARNING  UNSETTLED_FILLS
 *                6. delta <= ledger_error_tolerance                WARNING  UNEXPLAINED
 *                7. else                                           ERROR    UNEXPLAINED
 *             WARNING and ERROR are flagged; ERROR sets LK_FREEZE_LEDGER: no entries, exits as ever. It lifts by itself
 *             with the next comparison that is OK, which says LEDGER_RESTORED. What is told after the frame that holds
 *             it (a FUNDING, say) is in capital twice until the next frame.
 * Funding     times are the multiples of funding_interval_ns. Funding is due when one has passed (now_ns reached it)
 *             while a slot held a position, as of before the input that brought the time, until a FUNDING comes or the
 *             next accepted BALANCE, which is compared with it and clears it. Multiples before the first accepted
 *             input do not count.
 */
/* clang-format on */
#ifndef LK_LK_H
#define LK_LK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LK_API __attribute__((visibility("default"), warn_unused_result))
#define LK_API_VOID __attribute__((visibility("default")))
#else
#define LK_API
#define LK_API_VOID
#endif

/* Changes whenever a struct, an enum value or a function of this header does. Compare with lk_abi_version(). */
#define LK_ABI_VERSION 3u
/* Changes whenever the saved form does. */
#define LK_SAVE_VERSION 3u

#define LK_ID_BYTES 64
#define LK_SYMBOL_BYTES 32
#define LK_CURRENCY_BYTES 16
#define LK_DIGEST_BYTES 32
#define LK_SLOTS_MAX 256u
#define LK_SLOT_WORDS 4 /* a set of slots: bit i % 64 of word i / 64 is slot i */
#define LK_EXIT_LEGS_MAX 8u
#define LK_SLOT_EXITS_MAX 4u /* exit orders a slot remembers by identity: the last and the three before it */
#define LK_WINDOW_MIN 16u
#define LK_WINDOW_DEFAULT 1024u
#define LK_WINDOW_MAX 65536u
/* The most events one input can cause, for each slot of the kernel: a fill that is late, mismatched, rounded, without a
 * basis, too much, and takes back an exit's rest and two protective orders. FLATTEN over all slots needs fewer for
 * each. */
#define LK_EVENTS_PER_SLOT 14u
#define LK_EVENTS_MAX (LK_EVENTS_PER_SLOT * LK_SLOTS_MAX) /* enough for any kernel; see lk_kernel_event_capacity */
/* See lk_kernel_digest. */
#define LK_CHAIN_START_A 0x243f6a8885a308d3u
#define LK_CHAIN_START_B 0x13198a2e03707344u
#define LK_CHAIN_FACTOR_A 0x9e3779b97f4a7c15u
#define LK_CHAIN_FACTOR_B 0xe7037ed1a0b428dbu
#define LK_RATE_SCALE 8                /* fee rates: 5 basis points are 50000 */
#define LK_AVERAGE_PRICE_EXTRA_SCALE 4 /* averages are shown at price_scale + 4, rounded half to even */
#define LK_RATIO_SCALE 8               /* ratio and deviation of a fee calibration; 100000000 is one */
#define LK_CONVICTION_SCALE 8          /* 50000000 is 0.5 */
#define LK_CONVICTION_MIN 50000000     /* 0.5: leverage 1 */
#define LK_CONVICTION_MAX 900000000    /* 9.0: the venue's cap */
#define LK_FEE_GUARD_BPS 1500u         /* a settled fee further off the published one is no sample */
#define LK_FEE_DEVIATION_BPS 500u      /* a calibration further off 1 is DEVIATING */
#define LK_FINEST_SCALE 8u             /* an entry's price or quantity below 10^-8 is refused */
#define LK_NO_SLOT UINT32_MAX
#define LK_NEVER_NS INT64_MAX /* no deadline */

/* ---------------------------------------------------------------------------------------------------- lists -- */
/* Each enum, its names and the tests come from one list. Values are stable; new ones are appended. */

#define LK_STATUSES(X) /* what a call returns */                                                                       \
    X(OK)                                                                                                              \
    X(INVALID_ARGUMENT) /* a NULL, or a count or kind out of range */                                                  \
    X(INVALID_CONFIG)                                                                                                  \
    X(BUFFER_TOO_SMALL)                                                                                                \
    X(OUT_OF_MEMORY)                                                                                                   \
    X(INVALID_VERSION)  /* restore: another save version */                                                            \
    X(INVALID_SIZE)     /* restore: cut short, or too long */                                                          \
    X(INVALID_CHECKSUM) /* restore: damaged */                                                                         \
    X(INVALID_STATE)    /* restore: intact bytes that are not a sound state of a kernel with this configuration */

#define LK_INPUT_KINDS(X)                                                                                              \
    X(NONE)                                                                                                            \
    X(ENTER)                  /* open a trade */                                                                       \
    X(EXIT)                   /* leave a trade, in part or whole */                                                    \
    X(CANCEL)                 /* cancel one order */                                                                   \
    X(MARK_PRICE)             /* value open positions of a symbol */                                                   \
    X(TICK)                   /* time passed */                                                                        \
    X(ORDER)                  /* something learned about an order: order_fact */                                       \
    X(FILL)                   /* one execution */                                                                      \
    X(BUST)                   /* the venue takes an execution back */                                                  \
    X(CORRECTION)             /* the venue restates an execution */                                                    \
    X(SETTLEMENT)             /* the venue's own realized pnl and/or fee of an execution */                            \
    X(BALANCE)                /* the account as the venue states it */                                                 \
    X(FUNDING)                /* a funding payment; positive is received */                                            \
    X(FLATTEN)                /* leave everything, or what matches strategy and symbol */                              \
    X(CANCEL_WORKING_ENTRIES) /* cancel entries still at work, all or what matches */                                  \
    X(FREEZE)                 /* no new entries until UNFREEZE */                                                      \
    X(UNFREEZE)               /* lifts FREEZE, never the ledger's own freeze */                                        \
    X(ADOPT)                  /* take a position that the venue holds into a slot */                                   \
    X(FOREIGN)                /* someone else's activity on this account, attributed */

#define LK_ORDER_FACTS(X)                                                                                              \
    X(NONE)                                                                                                            \
    X(SUBMITTING)                                                                                                      \
    X(ACKNOWLEDGED)                                                                                                    \
    X(REJECTED)                                                                                                        \
    X(DENIED)                                                                                                          \
    X(CANCELED)                                                                                                        \
    X(EXPIRED)                                                                                                         \
    X(CANCEL_REJECTED)                                                                                                 \
    X(IN_DOUBT)                                                                                                        \
    X(TRADED) /* learned from a FILL; never sent as an order fact */

/* The life of one order. See the table NEXT_LIFE in src/machines.c.
 *
 *                SUBMITTING        ACKNOWLEDGED or TRADED     ACKNOWLEDGED again
 *   REQUESTED -----------> SENT --------------------> ACKED ------------------> WORKING
 *       `---- DENIED, REJECTED, CANCELED, EXPIRED: the end, from each of them (DENIED: before ACKED only)
 *
 * A fill may outrun the acknowledgement, and may come after the end: it is counted, the life stays.
 */
#define LK_LIVES(X)                                                                                                    \
    X(NONE)                                                                                                            \
    X(REQUESTED) /* decided and journaled */                                                                           \
    X(SENT)      /* may exist at the venue */                                                                          \
    X(ACKED)     /* the venue knows it */                                                                              \
    X(WORKING)   /* the venue said so again: it rests in the book */                                                   \
    X(CANCELED)                                                                                                        \
    X(REJECTED) /* by the venue */                                                                                     \
    X(DENIED)   /* by the gateway, before it was sent */                                                               \
    X(EXPIRED)

#define LK_STAGES(X) /* K03; same order as kestrel.kernel.v1.SlotStage, from 1 */                                      \
    X(NONE)                                                                                                            \
    X(IDLE)                                                                                                            \
    X(ENTRY_REQUESTED)                                                                                                 \
    X(ENTRY_SENT)                                                                                                      \
    X(ENTRY_ACKED)                                                                                                     \
    X(ENTRY_WORKING)                                                                                                   \
    X(PARTIAL_FILL)                                                                                                    \
    X(POSITION_OPEN)                                                                                                   \
    X(EXIT_REQUESTED)                                                                                                  \
    X(EXIT_SENT)                                                                                                       \
    X(EXIT_ACKED)                                                                                                      \
    X(EXIT_WORKING)                                                                                                    \
    X(POSITION_PARTIALLY_CLOSED)                                                                                       \
    X(POSITION_CLOSED)                                                                                                 \
    X(ORDER_REJECTED)                                                                                                  \
    X(EXIT_REJECTED)                                                                                                   \
    X(TERMINAL_WRITTEN)

#define LK_LIFECYCLES(X) /* T08; same order as kestrel.kernel.v1.Lifecycle; the kernel begins at SUBMITTED */          \
    X(NONE)                                                                                                            \
    X(PROPOSED)                                                                                                        \
    X(APPROVED)                                                                                                        \
    X(SUBMITTED)                                                                                                       \
    X(FILLED)                                                                                                          \
    X(MANAGED)                                                                                                         \
    X(CLOSED)                                                                                                          \
    X(CANCELED)                                                                                                        \
    X(REJECTED)                                                                                                        \
    X(EXPIRED)                                                                                                         \
    X(STALLED)

#define LK_SEVERITIES(X) X(NONE) X(INFO) X(WARNING) X(CRITICAL)
#define LK_SIDES(X) X(NONE) X(BUY) X(SELL)
#define LK_ORDER_TYPES(X) X(NONE) X(MARKET) X(LIMIT) X(STOP) X(STOP_LIMIT)
#define LK_TIMES_IN_FORCE(X) X(NONE) X(DAY) X(GTC) X(IOC) X(FOK) X(GTD)
#define LK_LIQUIDITIES(X) X(NONE) X(MAKER) X(TAKER)
#define LK_EVENT_KINDS(X) X(NONE) X(COMMAND) X(TRANSITION) X(FILL_BOOKED) X(ANOMALY) X(SETTLED)
#define LK_COMMANDS(X) X(NONE) X(SUBMIT_ENTRY) X(SUBMIT_EXIT) X(CANCEL) X(SUBMIT_PROTECTIVE)
#define LK_PNL_SOURCES(X) X(NONE) X(KERNEL_ESTIMATE) X(EXCHANGE)
#define LK_CAPITAL_SOURCES(X) X(NONE) X(SEED) X(E_ANCHORED) X(K_BRIDGED)
#define LK_LEDGER_STATUSES(X) X(NONE) X(OK) X(WARNING) X(ERROR)
#define LK_FEE_STATUSES(X) X(NONE) X(UNCALIBRATED) X(OK) X(DEVIATING)
#define LK_LEDGER_CAUSES(X) X(NONE) X(FEE) X(FUNDING) X(FOREIGN_ACTIVITY) X(UNSETTLED_FILLS) X(UNEXPLAINED)

/* Diagnostic codes, of outcomes and of anomalies: name, severity, what it means. */
#define LK_CODES(X)                                                                                                    \
    X(OK, INFO, "done")                                                                                                \
    X(DUPLICATE_EVENT, INFO, "an event or execution with this id was applied before")                                  \
    X(INVALID_INTENT, WARNING, "the request could never be right; the field says where")                               \
    X(INVALID_EVENT, WARNING, "the fact is malformed; the field says where")                                           \
    X(UNRESOLVED_SLOT, WARNING, "no slot has this order, trade or symbol")                                             \
    X(NO_OPEN_POSITION, WARNING, "the trade has nothing open to leave")                                                \
    X(SLOT_BUSY, WARNING, "no slot is free, or the trade is in one already")                                           \
    X(ILLEGAL_TRANSITION, WARNING, "the order's life has no entry for this fact")                                      \
    X(ENTRY_FROZEN, WARNING, "entries are frozen on this account")                                                     \
    X(OVERFLOW, WARNING, "a figure would not fit 64 bits")                                                             \
    X(EXIT_PENDING, INFO, "an exit order of this trade is at work already")                                            \
    X(ENTRY_EXPIRED, WARNING, "the entry's permission had expired")                                                    \
    X(NO_WORKING_ORDER, INFO, "the order is not at work, so there is nothing to cancel")                               \
    X(UNKNOWN_EXECUTION, WARNING, "no execution with this id in the window")                                           \
    X(BALANCE_WITHOUT_WALLET, INFO, "a frame without a positive wallet is dropped")                                    \
    X(BALANCE_STALE, INFO, "an older account frame than the last one")                                                 \
    X(TIME_REVERSED, WARNING, "now_ns is before the last input's")                                                     \
    X(ROUTED_BY_STAGE, INFO, "a fill without identity was routed by the slot's stage")                                 \
    X(LATE_FILL, WARNING, "a fill after the order's end was counted")                                                  \
    X(OVERFILL, CRITICAL, "more was filled than ordered, or than was open")                                            \
    X(FILL_WITHOUT_PRICE, WARNING, "an exit fill had no price, or its entry had none: nothing was booked for it")      \
    X(ENTRY_BASIS_MISSING, WARNING, "an entry fill had no price; no mark stands in for it")                            \
    X(PRICE_ROUNDED, INFO, "a fill price finer than the instrument's was rounded against us")                          \
    X(SIDE_MISMATCH, CRITICAL, "the fill's side is not its order's; the order's side was used")                        \
    X(EXIT_SIZE_REPAIRED, INFO, "the asked size was malformed or above what remains; what remains is used")            \
    X(EXIT_PRICE_REPAIRED, WARNING, "the exit's limit was malformed; it goes to market")                               \
    X(EXIT_EXCEEDS_POSITION, WARNING, "an exit at work could close more than is open; its rest is canceled")           \
    X(ORDER_STALLED, CRITICAL, "sent, and unanswered for too long; a person decides")                                  \
    X(ORDER_IN_DOUBT, CRITICAL, "the answer was lost; it may be at the venue")                                         \
    X(FILL_BUSTED, CRITICAL, "the venue took an execution back")                                                       \
    X(FILL_CORRECTED, CRITICAL, "the venue restated an execution")                                                     \
    X(SETTLEMENT_DIFFERS, WARNING, "the venue's realized pnl differs from the estimate; the estimate stays")           \
    X(LEDGER_WARNING, WARNING, "our ledger and the venue's wallet differ a little, or cannot be compared yet")         \
    X(LEDGER_ERROR, CRITICAL, "our ledger and the venue's wallet differ; entries are frozen")                          \
    X(LEDGER_RESTORED, INFO, "our ledger and the venue's wallet agree again")                                          \
    X(VENUE_REJECTED, WARNING, "the venue refused an order")                                                           \
    X(GATEWAY_DENIED, WARNING, "the gateway refused an order before sending it")                                       \
    X(SYMBOL_BUSY, WARNING, "another trade in this symbol is open: the venue would net the two")                       \
    X(NO_CAPITAL, WARNING, "the account's capital is not positive, so nothing may be entered")                         \
    X(ORPHAN_POSITION, CRITICAL, "no slot is free for a position the venue holds; a person decides")                   \
    X(FEE_SAMPLE_REFUSED, WARNING, "a settled fee too far off the published rate; booked, but no sample")              \
    X(FOREIGN_ACTIVITY, INFO, "someone else traded on this account")                                                   \
    X(FOREIGN_IN_SYMBOL, WARNING, "someone else traded the symbol of an open trade: the venue nets the two")           \
    X(PROTECTION_LOST, CRITICAL, "a bracket's stop is gone while its trade needs it, and no exit is at work")          \
    X(PROTECTION_LEFT, CRITICAL, "a bracket's protective order outlives its trade: its cancel was refused")

/* What a kind makes of a field. */
#define LK_REQUIREMENTS(X)                                                                                             \
    X(NONE)     /* ignored */                                                                                          \
    X(REQUIRED) /* must be there and sound */                                                                          \
    X(OPTIONAL) /* empty or 0: none, or the default that the manual names */                                           \
    X(STATED)   /* read when the LK_HAS_ flag of that field is set */

/* Fields that a refusal can name. */
#define LK_FIELDS(X)                                                                                                   \
    X(NONE)                                                                                                            \
    X(EVENT_ID)                                                                                                        \
    X(TRADE_ID)                                                                                                        \
    X(CLIENT_ORDER_ID)                                                                                                 \
    X(VENUE_ORDER_ID)                                                                                                  \
    X(EXECUTION_ID)                                                                                                    \
    X(SYMBOL)                                                                                                          \
    X(STRATEGY)                                                                                                        \
    X(CURRENCY)                                                                                                        \
    X(SIDE)                                                                                                            \
    X(ORDER_TYPE)                                                                                                      \
    X(TIME_IN_FORCE)                                                                                                   \
    X(ORDER_FACT)                                                                                                      \
    X(LIQUIDITY)                                                                                                       \
    X(PRICE_SCALE)                                                                                                     \
    X(QTY_SCALE)                                                                                                       \
    X(FLAGS)                                                                                                           \
    X(LEVERAGE)                                                                                                        \
    X(QTY)                                                                                                             \
    X(PRICE)                                                                                                           \
    X(STOP_PRICE)                                                                                                      \
    X(TARGET_PRICE)                                                                                                    \
    X(REFERENCE_PRICE)                                                                                                 \
    X(AMOUNT)                                                                                                          \
    X(AVAILABLE)                                                                                                       \
    X(FEE)                                                                                                             \
    X(EXPIRES_AT_NS)                                                                                                   \
    X(NOW_NS)                                                                                                          \
    X(TICK_UNITS)                                                                                                      \
    X(LOT_UNITS)                                                                                                       \
    X(MULTIPLIER)                                                                                                      \
    X(EXIT_LEG_BPS)                                                                                                    \
    X(EXECUTION_WATERMARK)                                                                                             \
    X(VENUE_SEQUENCE)                                                                                                  \
    X(SEQUENCE)                                                                                                        \
    X(INSTRUMENT_VERSION)

#define LK_X(name) LK_STATUS_##name,
typedef enum { LK_STATUSES(LK_X) LK_STATUS_COUNT } lk_status_t;
#undef LK_X
#define LK_X(name) LK_INPUT_##name,
typedef enum { LK_INPUT_KINDS(LK_X) LK_INPUT_COUNT } lk_input_kind_t;
#undef LK_X
#define LK_X(name) LK_FACT_##name,
typedef enum { LK_ORDER_FACTS(LK_X) LK_FACT_COUNT } lk_order_fact_t;
#undef LK_X
#define LK_X(name) LK_LIFE_##name,
typedef enum { LK_LIVES(LK_X) LK_LIFE_COUNT } lk_life_t;
#undef LK_X
#define LK_X(name) LK_STAGE_##name,
typedef enum { LK_STAGES(LK_X) LK_STAGE_COUNT } lk_stage_t;
#undef LK_X
#define LK_X(name) LK_LIFECYCLE_##name,
typedef enum { LK_LIFECYCLES(LK_X) LK_LIFECYCLE_COUNT } lk_lifecycle_t;
#undef LK_X
#define LK_X(name) LK_SEVERITY_##name,
typedef enum { LK_SEVERITIES(LK_X) LK_SEVERITY_COUNT } lk_severity_t;
#undef LK_X
#define LK_X(name) LK_SIDE_##name,
typedef enum { LK_SIDES(LK_X) LK_SIDE_COUNT } lk_side_t;
#undef LK_X
#define LK_X(name) LK_ORDER_TYPE_##name,
typedef enum { LK_ORDER_TYPES(LK_X) LK_ORDER_TYPE_COUNT } lk_order_type_t;
#undef LK_X
#define LK_X(name) LK_TIME_IN_FORCE_##name,
typedef enum { LK_TIMES_IN_FORCE(LK_X) LK_TIME_IN_FORCE_COUNT } lk_time_in_force_t;
#undef LK_X
#define LK_X(name) LK_LIQUIDITY_##name,
typedef enum { LK_LIQUIDITIES(LK_X) LK_LIQUIDITY_COUNT } lk_liquidity_t;
#undef LK_X
#define LK_X(name) LK_EVENT_##name,
typedef enum { LK_EVENT_KINDS(LK_X) LK_EVENT_COUNT } lk_event_kind_t;
#undef LK_X
#define LK_X(name) LK_COMMAND_##name,
typedef enum { LK_COMMANDS(LK_X) LK_COMMAND_COUNT } lk_command_t;
#undef LK_X
#define LK_X(name) LK_PNL_SOURCE_##name,
typedef enum { LK_PNL_SOURCES(LK_X) LK_PNL_SOURCE_COUNT } lk_pnl_source_t;
#undef LK_X
#define LK_X(name) LK_CAPITAL_SOURCE_##name,
typedef enum { LK_CAPITAL_SOURCES(LK_X) LK_CAPITAL_SOURCE_COUNT } lk_capital_source_t;
#undef LK_X
#define LK_X(name) LK_LEDGER_##name,
typedef enum { LK_LEDGER_STATUSES(LK_X) LK_LEDGER_COUNT } lk_ledger_status_t;
#undef LK_X
#define LK_X(name) LK_LEDGER_CAUSE_##name,
typedef enum { LK_LEDGER_CAUSES(LK_X) LK_LEDGER_CAUSE_COUNT } lk_ledger_cause_t;
#undef LK_X
#define LK_X(name) LK_FEE_STATUS_##name,
typedef enum { LK_FEE_STATUSES(LK_X) LK_FEE_STATUS_COUNT } lk_fee_status_t;
#undef LK_X
#define LK_X(name) LK_REQUIREMENT_##name,
typedef enum { LK_REQUIREMENTS(LK_X) LK_REQUIREMENT_COUNT } lk_requirement_t;
#undef LK_X
#define LK_X(name, severity, text) LK_CODE_##name,
typedef enum { LK_CODES(LK_X) LK_CODE_COUNT } lk_code_t;
#undef LK_X
#define LK_X(name) LK_FIELD_##name,
typedef enum { LK_FIELDS(LK_X) LK_FIELD_COUNT } lk_field_t;
#undef LK_X

/* ---------------------------------------------------------------------------------------------------- words -- */

typedef struct {
    char text[LK_ID_BYTES];
} lk_id_t;
typedef struct {
    char text[LK_SYMBOL_BYTES];
} lk_symbol_t;
typedef struct {
    char text[LK_CURRENCY_BYTES];
} lk_currency_t;
/* One struct per meaning, so that the compiler refuses to add a price to a quantity. */
typedef struct {
    int64_t units;
} lk_price_t; /* 10^-price_scale quote per base */
typedef struct {
    int64_t units;
} lk_qty_t; /* 10^-qty_scale base */
typedef struct {
    int64_t units;
} lk_amount_t; /* 10^-amount_scale of the account's currency, signed */
typedef struct {
    int64_t units;
} lk_average_price_t; /* 10^-(price_scale + 4) */

typedef struct lk_kernel lk_kernel_t; /* opaque; made by lk_kernel_create, freed by lk_kernel_destroy */

/* --------------------------------------------------------------------------------------------------- config -- */

/* All that shapes a kernel's answers beside its inputs. It is part of the state: saved, and in the digest. */
typedef struct {
    uint32_t abi_version;   /* LK_ABI_VERSION */
    uint32_t slot_count;    /* 1 to LK_SLOTS_MAX */
    uint32_t window_count;  /* event ids and executions kept; a power of two, LK_WINDOW_MIN to LK_WINDOW_MAX */
    uint32_t leverage_max;  /* 1 or more: the venue's cap; a higher request is refused */
    uint32_t amount_scale;  /* 0 to 12 */
    uint32_t reserved;      /* 0 */
    int64_t maker_fee_rate; /* 10^-LK_RATE_SCALE of notional; may be negative (a rebate) */
    int64_t taker_fee_rate;
    int64_t ack_timeout_ns;             /* SENT without an answer this long is STALLED; > 0 */
    int64_t funding_interval_ns;        /* funding is paid at its multiples, UTC; 0: never */
    lk_amount_t seed_capital;           /* published until the first BALANCE; >= 0 */
    lk_amount_t ledger_tolerance;       /* |K - E| up to this is OK */
    lk_amount_t ledger_error_tolerance; /* above ledger_tolerance and up to this: WARNING; above: ERROR */
    lk_amount_t settlement_tolerance;   /* |estimate - venue's realized| above this is SETTLEMENT_DIFFERS */
    lk_id_t account;
    lk_currency_t currency;
} lk_config_t;

/* ---------------------------------------------------------------------------------------------------- input -- */

#define LK_HAS_QTY 0x01u       /* qty is stated (EXIT; elsewhere qty is required) */
#define LK_HAS_PRICE 0x02u     /* price is stated */
#define LK_HAS_STOP 0x04u      /* stop_price is stated */
#define LK_HAS_TARGET 0x08u    /* target_price is stated */
#define LK_HAS_REFERENCE 0x10u /* reference_price is stated */
#define LK_HAS_FEE 0x20u       /* fee is stated */
#define LK_HAS_AMOUNT 0x40u    /* amount is stated (SETTLEMENT; elsewhere amount is required) */
#define LK_HAS_AVAILABLE 0x80u /* available is stated */
#define LK_BRACKET 0x100u      /* ENTER: stop and target are orders, placed at the venue with the entry */
#define LK_FLAGS_ALL 0x1FFu

/* clang-format off */
/* One input, flat: each kind reads the fields it names and ignores the others; LK_INPUT_FIELDS below is the same list
 * for programs. All kinds need now_ns; all but TICK and MARK_PRICE an event_id, the idempotency key, unique over all
 * kinds; sequence is stamped on the account. Flags outside LK_FLAGS_ALL are refused; of the others a kind reads those
 * of the fields it names.
 *
 * ENTER        event_id, trade_id, client_order_id, symbol, side, order_type, time_in_force, qty > 0 in whole lots,
 *              price in whole ticks (all but MARKET orders, and only those) [HAS_PRICE], stop, target, reference price
 *              [flags], leverage, expires_at_ns (0: does not lapse), instrument (version, scales, tick, lot,
 *              multiplier, currency), strategy, exit_leg_bps. BRACKET: client_order_id of at most 62 characters, stop
 *              stated, stop and target in whole ticks, each on its side of the price (MARKET: of each other), no legs
 * EXIT         trade_id, client_order_id (of the exit order to be sent), qty [HAS_QTY; else the next leg],
 *              order_type (NONE: MARKET), time_in_force (NONE: DAY), price [HAS_PRICE]
 * CANCEL       client_order_id
 * MARK_PRICE   symbol, price
 * TICK         nothing more
 * ORDER        order_fact, client_order_id and/or venue_order_id
 * FILL         execution_id, client_order_id and/or venue_order_id (or, without both, symbol), side, qty > 0, price
 *              [HAS_PRICE; without: the venue gave none], fee [HAS_FEE; positive is paid], liquidity
 * BUST         execution_id
 * CORRECTION   execution_id, and qty, price [HAS_PRICE], fee [HAS_FEE] as restated, liquidity (NONE: as before)
 * SETTLEMENT   execution_id, amount [HAS_AMOUNT] the venue's realized pnl, fee [HAS_FEE]; at least one of the two
 * BALANCE      amount = wallet, available [HAS_AVAILABLE], venue_sequence (0: none), execution_watermark (0: all
 *              executions before this frame in the order of inputs are in the wallet; n: how many executions of the
 *              account it holds. Fewer than we know of: the last ones are still to come. More: some came before us, are
 *              late, or not ours; a new one of those makes a difference a WARNING, once)
 * FUNDING      amount, not 0; symbol (empty: the account's)
 * FLATTEN      client_order_id = the root of the exits' ids, at most 60 characters: slot 7 gets "<root>-07",
 *              slot 123 "<root>-123";
 *              strategy, symbol (empty: all)
 * CANCEL_WORKING_ENTRIES   strategy, symbol (empty: all)
 * FREEZE, UNFREEZE         nothing more
 * ADOPT        trade_id, symbol, instrument, qty signed (negative is short), price = average price, leverage (0: 1),
 *              strategy
 * FOREIGN      activity on this account that is not ours. symbol (empty: not known); amount [HAS_AMOUNT] by which it
 *              changed the wallet before fees, may be 0; fee [HAS_FEE]. What is stated goes into the bridge and the
 *              account's own line (foreign = amount - fee), exactly, and into no trade. Without an amount a difference
 *              at the next BALANCE is a WARNING with the cause FOREIGN_ACTIVITY.
 */
/* clang-format on */
typedef struct {
    uint8_t kind;          /* lk_input_kind_t */
    uint8_t order_fact;    /* lk_order_fact_t */
    uint8_t side;          /* lk_side_t: what the order does: a short trade enters with SELL */
    uint8_t order_type;    /* lk_order_type_t */
    uint8_t time_in_force; /* lk_time_in_force_t */
    uint8_t liquidity;     /* lk_liquidity_t; NONE is charged as TAKER */
    uint8_t price_scale;   /* of every price in this input; ENTER, ADOPT: also the instrument's */
    uint8_t qty_scale;     /* of qty; ENTER, ADOPT: also the instrument's */
    uint32_t flags;        /* LK_HAS_... */
    uint32_t leverage;
    int64_t now_ns;    /* the kernel's time: never before the last input's */
    uint64_t sequence; /* of the input in its journal; stamped on the account as event_sequence */
    lk_qty_t qty;
    lk_price_t price;
    lk_amount_t fee;
    lk_amount_t amount;
    lk_id_t event_id;
    lk_id_t client_order_id;
    lk_id_t venue_order_id;
    lk_id_t execution_id;
    lk_id_t trade_id;
    lk_id_t strategy;
    lk_symbol_t symbol;
    lk_currency_t currency;
    lk_amount_t available;
    lk_price_t stop_price;
    lk_price_t target_price;
    lk_price_t reference_price; /* what the decision was taken at; never a fill price */
    int64_t expires_at_ns;
    uint64_t venue_sequence;
    uint64_t execution_watermark;
    int64_t tick_units;
    int64_t lot_units;
    int64_t multiplier;
    uint32_t instrument_version;
    uint32_t reserved;                       /* 0 */
    uint16_t exit_leg_bps[LK_EXIT_LEGS_MAX]; /* each leg's share of what remains then, in 1/10000; the last
                                                listed takes all; all 0: one leg */
} lk_input_t;

/* Which kind reads which field: kind, field, requirement. What is not listed is ignored. See lk_input_reads(). */
#define LK_INPUT_FIELDS(X)                                                                                             \
    X(ENTER, NOW_NS, REQUIRED)                                                                                         \
    X(ENTER, SEQUENCE, OPTIONAL)                                                                                       \
    X(ENTER, FLAGS, OPTIONAL)                                                                                          \
    X(ENTER, EVENT_ID, REQUIRED)                                                                                       \
    X(ENTER, TRADE_ID, REQUIRED)                                                                                       \
    X(ENTER, CLIENT_ORDER_ID, REQUIRED)                                                                                \
    X(ENTER, STRATEGY, OPTIONAL)                                                                                       \
    X(ENTER, SYMBOL, REQUIRED)                                                                                         \
    X(ENTER, CURRENCY, OPTIONAL)                                                                                       \
    X(ENTER, INSTRUMENT_VERSION, OPTIONAL)                                                                             \
    X(ENTER, PRICE_SCALE, REQUIRED)                                                                                    \
    X(ENTER, QTY_SCALE, REQUIRED)                                                                                      \
    X(ENTER, TICK_UNITS, REQUIRED)                                                                                     \
    X(ENTER, LOT_UNITS, REQUIRED)                                                                                      \
    X(ENTER, MULTIPLIER, REQUIRED)                                                                                     \
    X(ENTER, SIDE, REQUIRED)                                                                                           \
    X(ENTER, ORDER_TYPE, REQUIRED)                                                                                     \
    X(ENTER, TIME_IN_FORCE, REQUIRED)                                                                                  \
    X(ENTER, QTY, REQUIRED)                                                                                            \
    X(ENTER, PRICE, STATED)                                                                                            \
    X(ENTER, STOP_PRICE, STATED)                                                                                       \
    X(ENTER, TARGET_PRICE, STATED)                                                                                     \
    X(ENTER, REFERENCE_PRICE, STATED)                                                                                  \
    X(ENTER, LEVERAGE, REQUIRED)                                                                                       \
    X(ENTER, EXPIRES_AT_NS, OPTIONAL)                                                                                  \
    X(ENTER, EXIT_LEG_BPS, OPTIONAL)                                                                                   \
    X(EXIT, NOW_NS, REQUIRED)                                                                                          \
    X(EXIT, SEQUENCE, OPTIONAL)                                                                                        \
    X(EXIT, FLAGS, OPTIONAL)                                                                                           \
    X(EXIT, EVENT_ID, REQUIRED)                                                                                        \
    X(EXIT, TRADE_ID, REQUIRED)                                                                                        \
    X(EXIT, CLIENT_ORDER_ID, REQUIRED)                                                                                 \
    X(EXIT, ORDER_TYPE, OPTIONAL)                                                                                      \
    X(EXIT, TIME_IN_FORCE, OPTIONAL)                                                                                   \
    X(EXIT, QTY, STATED)                                                                                               \
    X(EXIT, QTY_SCALE, OPTIONAL)                                                                                       \
    X(EXIT, PRICE, STATED)                                                                                             \
    X(EXIT, PRICE_SCALE, OPTIONAL)                                                                                     \
    X(CANCEL, NOW_NS, REQUIRED)                                                                                        \
    X(CANCEL, SEQUENCE, OPTIONAL)                                                                                      \
    X(CANCEL, FLAGS, OPTIONAL)                                                                                         \
    X(CANCEL, EVENT_ID, REQUIRED)                                                                                      \
    X(CANCEL, CLIENT_ORDER_ID, REQUIRED)                                                                               \
    X(MARK_PRICE, NOW_NS, REQUIRED)                                                                                    \
    X(MARK_PRICE, SEQUENCE, OPTIONAL)                                                                                  \
    X(MARK_PRICE, FLAGS, OPTIONAL)                                                                                     \
    X(MARK_PRICE, SYMBOL, REQUIRED)                                                                                    \
    X(MARK_PRICE, PRICE, REQUIRED)                                                                                     \
    X(MARK_PRICE, PRICE_SCALE, REQUIRED)                                                                               \
    X(TICK, NOW_NS, REQUIRED)                                                                                          \
    X(TICK, SEQUENCE, OPTIONAL)                                                                                        \
    X(TICK, FLAGS, OPTIONAL)                                                                                           \
    X(ORDER, NOW_NS, REQUIRED)                                                                                         \
    X(ORDER, SEQUENCE, OPTIONAL)                                                                                       \
    X(ORDER, FLAGS, OPTIONAL)                                                                                          \
    X(ORDER, EVENT_ID, REQUIRED)                                                                                       \
    X(ORDER, ORDER_FACT, REQUIRED)                                                                                     \
    X(ORDER, CLIENT_ORDER_ID, OPTIONAL)                                                                                \
    X(ORDER, VENUE_ORDER_ID, OPTIONAL)                                                                                 \
    X(FILL, NOW_NS, REQUIRED)                                                                                          \
    X(FILL, SEQUENCE, OPTIONAL)                                                                                        \
    X(FILL, FLAGS, OPTIONAL)                                                                                           \
    X(FILL, EVENT_ID, REQUIRED)                                                                                        \
    X(FILL, EXECUTION_ID, REQUIRED)                                                                                    \
    X(FILL, CLIENT_ORDER_ID, OPTIONAL)                                                                                 \
    X(FILL, VENUE_ORDER_ID, OPTIONAL)                                                                                  \
    X(FILL, SYMBOL, OPTIONAL)                                                                                          \
    X(FILL, SIDE, REQUIRED)                                                                                            \
    X(FILL, LIQUIDITY, OPTIONAL)                                                                                       \
    X(FILL, QTY, REQUIRED)                                                                                             \
    X(FILL, QTY_SCALE, REQUIRED)                                                                                       \
    X(FILL, PRICE, STATED)                                                                                             \
    X(FILL, PRICE_SCALE, REQUIRED)                                                                                     \
    X(FILL, FEE, STATED)                                                                                               \
    X(BUST, NOW_NS, REQUIRED)                                                                                          \
    X(BUST, SEQUENCE, OPTIONAL)                                                                                        \
    X(BUST, FLAGS, OPTIONAL)                                                                                           \
    X(BUST, EVENT_ID, REQUIRED)                                                                                        \
    X(BUST, EXECUTION_ID, REQUIRED)                                                                                    \
    X(CORRECTION, NOW_NS, REQUIRED)                                                                                    \
    X(CORRECTION, SEQUENCE, OPTIONAL)                                                                                  \
    X(CORRECTION, FLAGS, OPTIONAL)                                                                                     \
    X(CORRECTION, EVENT_ID, REQUIRED)                                                                                  \
    X(CORRECTION, EXECUTION_ID, REQUIRED)                                                                              \
    X(CORRECTION, LIQUIDITY, OPTIONAL)                                                                                 \
    X(CORRECTION, QTY, REQUIRED)                                                                                       \
    X(CORRECTION, QTY_SCALE, REQUIRED)                                                                                 \
    X(CORRECTION, PRICE, STATED)                                                                                       \
    X(CORRECTION, PRICE_SCALE, REQUIRED)                                                                               \
    X(CORRECTION, FEE, STATED)                                                                                         \
    X(SETTLEMENT, NOW_NS, REQUIRED)                                                                                    \
    X(SETTLEMENT, SEQUENCE, OPTIONAL)                                                                                  \
    X(SETTLEMENT, FLAGS, OPTIONAL)                                                                                     \
    X(SETTLEMENT, EVENT_ID, REQUIRED)                                                                                  \
    X(SETTLEMENT, EXECUTION_ID, REQUIRED)                                                                              \
    X(SETTLEMENT, AMOUNT, STATED)                                                                                      \
    X(SETTLEMENT, FEE, STATED)                                                                                         \
    X(BALANCE, NOW_NS, REQUIRED)                                                                                       \
    X(BALANCE, SEQUENCE, OPTIONAL)                                                                                     \
    X(BALANCE, FLAGS, OPTIONAL)                                                                                        \
    X(BALANCE, EVENT_ID, REQUIRED)                                                                                     \
    X(BALANCE, AMOUNT, REQUIRED)                                                                                       \
    X(BALANCE, AVAILABLE, STATED)                                                                                      \
    X(BALANCE, VENUE_SEQUENCE, OPTIONAL)                                                                               \
    X(BALANCE, EXECUTION_WATERMARK, OPTIONAL)                                                                          \
    X(FUNDING, NOW_NS, REQUIRED)                                                                                       \
    X(FUNDING, SEQUENCE, OPTIONAL)                                                                                     \
    X(FUNDING, FLAGS, OPTIONAL)                                                                                        \
    X(FUNDING, EVENT_ID, REQUIRED)                                                                                     \
    X(FUNDING, AMOUNT, REQUIRED)                                                                                       \
    X(FUNDING, SYMBOL, OPTIONAL)                                                                                       \
    X(FLATTEN, NOW_NS, REQUIRED)                                                                                       \
    X(FLATTEN, SEQUENCE, OPTIONAL)                                                                                     \
    X(FLATTEN, FLAGS, OPTIONAL)                                                                                        \
    X(FLATTEN, EVENT_ID, REQUIRED)                                                                                     \
    X(FLATTEN, CLIENT_ORDER_ID, REQUIRED)                                                                              \
    X(FLATTEN, STRATEGY, OPTIONAL)                                                                                     \
    X(FLATTEN, SYMBOL, OPTIONAL)                                                                                       \
    X(CANCEL_WORKING_ENTRIES, NOW_NS, REQUIRED)                                                                        \
    X(CANCEL_WORKING_ENTRIES, SEQUENCE, OPTIONAL)                                                                      \
    X(CANCEL_WORKING_ENTRIES, FLAGS, OPTIONAL)                                                                         \
    X(CANCEL_WORKING_ENTRIES, EVENT_ID, REQUIRED)                                                                      \
    X(CANCEL_WORKING_ENTRIES, STRATEGY, OPTIONAL)                                                                      \
    X(CANCEL_WORKING_ENTRIES, SYMBOL, OPTIONAL)                                                                        \
    X(FREEZE, NOW_NS, REQUIRED)                                                                                        \
    X(FREEZE, SEQUENCE, OPTIONAL)                                                                                      \
    X(FREEZE, FLAGS, OPTIONAL)                                                                                         \
    X(FREEZE, EVENT_ID, REQUIRED)                                                                                      \
    X(UNFREEZE, NOW_NS, REQUIRED)                                                                                      \
    X(UNFREEZE, SEQUENCE, OPTIONAL)                                                                                    \
    X(UNFREEZE, FLAGS, OPTIONAL)                                                                                       \
    X(UNFREEZE, EVENT_ID, REQUIRED)                                                                                    \
    X(ADOPT, NOW_NS, REQUIRED)                                                                                         \
    X(ADOPT, SEQUENCE, OPTIONAL)                                                                                       \
    X(ADOPT, FLAGS, OPTIONAL)                                                                                          \
    X(ADOPT, EVENT_ID, REQUIRED)                                                                                       \
    X(ADOPT, TRADE_ID, REQUIRED)                                                                                       \
    X(ADOPT, STRATEGY, OPTIONAL)                                                                                       \
    X(ADOPT, SYMBOL, REQUIRED)                                                                                         \
    X(ADOPT, CURRENCY, OPTIONAL)                                                                                       \
    X(ADOPT, INSTRUMENT_VERSION, OPTIONAL)                                                                             \
    X(ADOPT, PRICE_SCALE, REQUIRED)                                                                                    \
    X(ADOPT, QTY_SCALE, REQUIRED)                                                                                      \
    X(ADOPT, TICK_UNITS, REQUIRED)                                                                                     \
    X(ADOPT, LOT_UNITS, REQUIRED)                                                                                      \
    X(ADOPT, MULTIPLIER, REQUIRED)                                                                                     \
    X(ADOPT, QTY, REQUIRED)                                                                                            \
    X(ADOPT, PRICE, REQUIRED)                                                                                          \
    X(ADOPT, LEVERAGE, OPTIONAL)                                                                                       \
    X(FOREIGN, NOW_NS, REQUIRED)                                                                                       \
    X(FOREIGN, SEQUENCE, OPTIONAL)                                                                                     \
    X(FOREIGN, FLAGS, OPTIONAL)                                                                                        \
    X(FOREIGN, EVENT_ID, REQUIRED)                                                                                     \
    X(FOREIGN, SYMBOL, OPTIONAL)                                                                                       \
    X(FOREIGN, AMOUNT, STATED)                                                                                         \
    X(FOREIGN, FEE, STATED)

/* --------------------------------------------------------------------------------------------------- output -- */

/* The answer to an input (K01). */
typedef struct {
    uint8_t accepted;        /* 1: applied; 0: refused, and nothing has changed */
    uint8_t severity;        /* lk_severity_t */
    uint8_t account_changed; /* 1: the account view may differ from before */
    uint8_t reserved;        /* 0 */
    uint32_t code;           /* lk_code_t */
    uint32_t field;          /* lk_field_t that a refusal is about, else NONE */
    uint32_t slot_index;     /* or LK_NO_SLOT */
    uint32_t event_first;    /* index of this input's first event in the events buffer */
    uint32_t event_count;
    int64_t value; /* the refused number, where docs/concepts/kernel.md names one for the refusal; else 0 */
    uint64_t changed_slots[LK_SLOT_WORDS]; /* the slots whose view may differ from before; conviction, which
                                               follows the account's capital, aside */
    lk_id_t trade_id; /* of the slot concerned; of inputs that concern several, of the one touched last; else empty */
} lk_outcome_t;

#define LK_EVENT_IS_EXIT 0x01u         /* FILL_BOOKED, SETTLED, COMMAND: of an exit order */
#define LK_EVENT_ROUTED_BY_STAGE 0x02u /* FILL_BOOKED */
#define LK_EVENT_HAS_PRICE 0x04u       /* price is stated */
#define LK_EVENT_FEE_PREDICTED 0x08u   /* FILL_BOOKED: fee is our prediction */
#define LK_EVENT_BUSTED 0x10u          /* FILL_BOOKED: the fill was taken back: figures are those reversed, negated */

/* clang-format off */
/* One thing that followed from an input. What a kind does not name is 0.
 *
 * COMMAND      command, client_order_id, venue_order_id (where known), trade_id, side, order_type, time_in_force,
 *              leverage, qty = order qty, price [HAS_PRICE] (of a STOP its trigger), open_qty (SUBMIT_EXIT: what is open
 *              of the trade, unsigned), expires_at_ns (SUBMIT_ENTRY). CANCEL: no leverage and no price, but filled_qty =
 *              cum qty. IS_EXIT: of an exit order, or a protective one
 * TRANSITION   trade_id, from_stage, to_stage, from_lifecycle, to_lifecycle, qty = requested qty, filled_qty (of the
 *              entry order). When only the lifecycle moved, from_stage == to_stage.
 * FILL_BOOKED  execution_id, client_order_id, venue_order_id, trade_id, side, qty = last qty, price [HAS_PRICE], fee as
 *              booked, realized_pnl that this fill booked, flags
 * ANOMALY      code, severity, trade_id, client_order_id, execution_id, where known
 * SETTLED      execution_id, client_order_id, trade_id, realized_pnl and fee added by the settlement
 */
/* clang-format on */
typedef struct {
    uint8_t kind; /* lk_event_kind_t */
    uint8_t command;
    uint8_t severity;
    uint8_t flags; /* LK_EVENT_... */
    uint8_t from_stage;
    uint8_t to_stage;
    uint8_t from_lifecycle;
    uint8_t to_lifecycle;
    uint8_t side;
    uint8_t order_type;
    uint8_t time_in_force;
    uint8_t price_scale; /* of price */
    uint8_t qty_scale;   /* of qty, filled_qty, open_qty */
    uint8_t reserved[3]; /* 0 */
    uint32_t code;
    uint32_t slot_index; /* or LK_NO_SLOT */
    uint32_t leverage;
    uint32_t reserved_2; /* 0 */
    lk_qty_t qty;
    lk_qty_t filled_qty;
    lk_qty_t open_qty;
    lk_price_t price;
    lk_amount_t fee;
    lk_amount_t realized_pnl;
    int64_t expires_at_ns;
    lk_id_t trade_id;
    lk_id_t client_order_id;
    lk_id_t venue_order_id;
    lk_id_t execution_id;
} lk_event_t;

/* ---------------------------------------------------------------------------------------------------- views -- */

/* One order. Facts; is_filled and average_price are computed. */
typedef struct {
    uint8_t life;      /* lk_life_t; NONE: there is no such order */
    uint8_t is_filled; /* nothing is left of it; once so, it stays so: a bust does not put an order back to work */
    uint8_t in_doubt;
    uint8_t cancel_pending;
    uint8_t side;
    uint8_t order_type;
    uint8_t time_in_force;
    uint8_t has_price;
    uint8_t has_average_price; /* 0 before the first priced fill */
    uint8_t is_stalled;
    uint8_t reserved[6];
    lk_qty_t order_qty;
    lk_qty_t cum_qty;
    lk_price_t price;
    lk_average_price_t average_price;
    int64_t submitted_at_ns; /* when it was SENT; 0 before */
    lk_id_t client_order_id;
    lk_id_t venue_order_id;
} lk_order_view_t;

/* One slot, whole: the trade in it, or the last one that was. */
typedef struct {
    uint32_t slot_index;
    uint8_t stage;     /* lk_stage_t */
    uint8_t lifecycle; /* lk_lifecycle_t */
    uint8_t is_free;   /* an ENTER may take it */
    uint8_t is_adopted;
    uint8_t pnl_source; /* lk_pnl_source_t */
    uint8_t realized_skipped_no_price;
    uint8_t entry_basis_missing;
    uint8_t has_entry_price;
    uint8_t has_mark;
    uint8_t has_stop_price;
    uint8_t has_target_price;
    uint8_t has_reference_price;
    uint8_t price_scale; /* of prices; averages at 4 more */
    uint8_t qty_scale;
    uint8_t is_overfilled;
    uint8_t has_anomaly; /* a fact was flagged on this trade: a break is open */
    uint32_t leverage;
    uint32_t instrument_version;
    uint32_t active_leg_index; /* the exit leg that comes next, from 0 */
    uint32_t exit_order_count; /* exit orders so far */
    uint8_t has_conviction;    /* 1: something is open, its entry price is known, and capital is positive */
    uint8_t is_bracket;
    uint8_t reserved[2];
    int64_t tick_units;
    int64_t lot_units;
    int64_t multiplier;
    lk_qty_t qty;       /* signed position: negative is short */
    lk_qty_t entry_qty; /* filled by the entry */
    lk_qty_t exit_qty;  /* filled by exits */
    lk_average_price_t entry_price;
    lk_amount_t realized_pnl; /* gross of fees */
    lk_amount_t unrealized_pnl;
    lk_amount_t fees;           /* paid is positive; predictions included */
    lk_amount_t predicted_fees; /* of it, not yet stated by the venue */
    int64_t conviction;         /* 10^-LK_CONVICTION_SCALE: open qty x entry price / capital */
    lk_price_t mark;
    lk_price_t stop_price;
    lk_price_t target_price;
    lk_price_t reference_price;
    int64_t requested_at_ns;
    int64_t opened_at_ns; /* first entry fill; 0 before */
    int64_t closed_at_ns; /* terminal; 0 before */
    int64_t expires_at_ns;
    uint64_t trade_sequence; /* trades of this account, counted from 1; 0: the slot was never used */
    uint16_t exit_leg_bps[LK_EXIT_LEGS_MAX];
    lk_id_t trade_id;
    lk_id_t strategy;
    lk_symbol_t symbol;
    lk_currency_t currency;
    lk_order_view_t entry;
    lk_order_view_t exit;   /* the exit order at work, or the last one */
    lk_order_view_t stop;   /* of a bracket; else 0 */
    lk_order_view_t target; /* of a bracket that has one; else 0 */
} lk_slot_view_t;

/* How far the published fee rate of one liquidity holds (K17). */
typedef struct {
    int64_t rate;      /* published: 10^-LK_RATE_SCALE of notional */
    int64_t ratio;     /* 10^-LK_RATIO_SCALE: settled / published over the samples; one while there is none */
    int64_t deviation; /* 10^-LK_RATIO_SCALE: ratio - 1 */
    uint64_t sample_count;
    uint64_t refused_count;
    uint8_t status; /* lk_fee_status_t */
    uint8_t reserved[7];
} lk_fee_view_t;

#define LK_FREEZE_OPERATOR 0x01u
#define LK_FREEZE_LEDGER 0x02u

/* The account, whole (K15). */
typedef struct {
    uint64_t event_sequence; /* of the last accepted input */
    int64_t now_ns;
    int64_t next_deadline_ns; /* send a TICK then; LK_NEVER_NS: none */
    uint32_t slot_count;
    uint32_t open_slot_count; /* slots that are not free */
    uint32_t amount_scale;
    uint8_t capital_source; /* lk_capital_source_t */
    uint8_t ledger_status;  /* lk_ledger_status_t */
    uint8_t ledger_cause;   /* lk_ledger_cause_t */
    uint8_t freeze_flags;   /* LK_FREEZE_...; not 0: no entries */
    lk_amount_t capital;    /* wallet at the last anchor + what we booked since */
    lk_amount_t equity;     /* capital + unrealized */
    lk_amount_t realized_pnl;
    lk_amount_t unrealized_pnl;
    lk_amount_t fees;
    lk_amount_t predicted_fees; /* of fees: not yet stated by the venue */
    lk_amount_t funding;
    lk_amount_t foreign; /* what others did to the wallet, net of their fees, as far as it was stated */
    lk_amount_t wallet;  /* as the venue last said */
    lk_amount_t available;
    lk_amount_t ledger_delta;     /* wallet - what we expected, at the last comparison */
    lk_amount_t gross_exposure;   /* sum of |position| at its mark, else at its cost */
    lk_amount_t working_exposure; /* what working entries may still add, at limit, reference or mark */
    uint64_t trade_count;
    uint64_t execution_count; /* executions booked; compare BALANCE.execution_watermark */
    uint64_t fills_routed_by_stage_count;
    uint64_t anomaly_count;
    uint64_t foreign_count; /* FOREIGN inputs */
    lk_fee_view_t maker_fee;
    lk_fee_view_t taker_fee;
    lk_id_t account;
    lk_currency_t currency;
} lk_account_view_t;

#define LK_STATIC_SIZE(type, size) _Static_assert(sizeof(type) == (size), "the ABI: sizeof " #type)
#define LK_STATIC_OFFSET(type, field, at) _Static_assert(offsetof(type, field) == (at), "the ABI: " #type "." #field)

/* ------------------------------------------------------------------------------------------------ functions -- */
/* Common to all: a pointer is the caller's memory unless it says otherwise, is never kept, and may be reused at once; a
 * kernel is used by one thread at a time; a function that takes it const changes nothing. Statuses that are not named
 * do not occur. Who ignores a status is told by the compiler.
 */
/* clang-format off */

/* LK_ABI_VERSION of the library at run time. */
LK_API uint32_t lk_abi_version(void);
/* The library's version, "major.minor.patch". Static memory. */
LK_API const char *lk_version(void);

/* Names, for people and logs, without prefix ("ENTRY_SENT"); "?" when out of range. Static memory. */
LK_API const char *lk_status_name(uint32_t status);
LK_API const char *lk_input_name(uint32_t kind);
LK_API const char *lk_fact_name(uint32_t fact);
LK_API const char *lk_life_name(uint32_t life);
LK_API const char *lk_stage_name(uint32_t stage);
LK_API const char *lk_lifecycle_name(uint32_t lifecycle);
LK_API const char *lk_code_name(uint32_t code);
LK_API const char *lk_code_text(uint32_t code); /* what it means, in a few words */
LK_API uint32_t lk_code_severity(uint32_t code);
LK_API const char *lk_field_name(uint32_t field);
LK_API const char *lk_ledger_status_name(uint32_t status);
LK_API const char *lk_ledger_cause_name(uint32_t cause);
LK_API const char *lk_fee_status_name(uint32_t status);
LK_API const char *lk_requirement_name(uint32_t requirement);

/* What inputs of this kind make of a field: lk_requirement_t, from LK_INPUT_FIELDS. Out of range: NONE. */
LK_API uint32_t lk_input_reads(uint32_t kind, uint32_t field);

/* The venue leverage for a conviction (10^-LK_CONVICTION_SCALE): linear from LK_CONVICTION_MIN..LK_CONVICTION_MAX to
 * 1..leverage_max, rounded half to even, clamped outside. Pure. leverage_max 0: 0, there is no such leverage (K05). */
LK_API uint32_t lk_conviction_to_leverage(int64_t conviction, uint32_t leverage_max);

/* *conviction = notional / capital at LK_CONVICTION_SCALE, rounded half to even; both in the same units. Pure.
 * OK                written
 * INVALID_ARGUMENT  NULL, notional < 0, capital <= 0, or the quotient does not fit; *conviction is as it was */
LK_API lk_status_t lk_conviction_of(int64_t notional, int64_t capital, int64_t *conviction);

/* The tables, for documentation and tests. NEXT_LIFE: 0 (NONE) is an empty cell: ILLEGAL_TRANSITION. Out of range: 0.
 */
LK_API uint32_t lk_next_life(uint32_t life, uint32_t fact);
LK_API uint32_t lk_stage_may_follow(uint32_t from_stage, uint32_t to_stage);
LK_API uint32_t lk_lifecycle_may_follow(uint32_t from_lifecycle, uint32_t to_lifecycle);

/* Make a kernel; takes all the memory it will ever use. *config is copied. *kernel is the caller's to destroy; unless the
 * status is LK_STATUS_OK it is as it was.
 * OK                made: all slots IDLE, no anchor, capital = seed_capital, time 0
 * INVALID_ARGUMENT  a NULL
 * INVALID_CONFIG    a field out of its range, or another ABI
 * OUT_OF_MEMORY     nothing is held */
LK_API lk_status_t lk_kernel_create(const lk_config_t *config, lk_kernel_t **kernel);

/* Free it, and all that it holds. NULL is allowed. The pointer is dead from then on. */
LK_API_VOID void lk_kernel_destroy(lk_kernel_t *kernel);

/* How many events' room one input needs: LK_EVENTS_PER_SLOT for each slot of this kernel; 0 for NULL. */
LK_API uint32_t lk_kernel_event_capacity(const lk_kernel_t *kernel);

/* Apply one input: *outcome is the answer, events[0 .. outcome->event_count) what followed, in order; the places after
 * them are not touched. Reads no clock: now is input->now_ns. Unless the status is LK_STATUS_OK and outcome->accepted is
 * 1, the kernel has not changed, nor have its views, its digest or what save would write.
 * OK                applied, or refused by a rule: see outcome
 * INVALID_ARGUMENT  a NULL, or kind out of range; *outcome is not written
 * BUFFER_TOO_SMALL  event_capacity < lk_kernel_event_capacity(kernel); *outcome is not written */
LK_API lk_status_t lk_kernel_apply(lk_kernel_t *kernel, const lk_input_t *input, lk_outcome_t *outcome,
                                   lk_event_t *events, size_t event_capacity);

/* Apply inputs in order, until all are applied, or fewer than lk_kernel_event_capacity places are left in events (call
 * again with the rest). outcomes has room for input_count. *applied_count inputs were taken and have their outcomes;
 * outcomes[i].event_first says where the events of input i begin, *event_count how many there are of all. The result is
 * that of as many single calls.
 * OK                as many as fit were applied; refused ones count
 * INVALID_ARGUMENT  a NULL, or the kind of inputs[*applied_count] is out of range: those before it were applied
 * BUFFER_TOO_SMALL  event_capacity < lk_kernel_event_capacity(kernel): none was applied */
LK_API lk_status_t lk_kernel_apply_batch(lk_kernel_t *kernel, const lk_input_t *inputs, size_t input_count,
                                         lk_outcome_t *outcomes, lk_event_t *events, size_t event_capacity,
                                         size_t *applied_count, size_t *event_count);

/* One slot, whole, as a copy computed when asked: the trade in it or the last one that was; all 0 but for slot_index,
 * stage IDLE and is_free when it was never used. Prices and quantities at the view's scales, amounts at the account's.
 * OK                written
 * INVALID_ARGUMENT  a NULL, or slot_index >= slot_count; *view is as it was */
LK_API lk_status_t lk_kernel_slot(const lk_kernel_t *kernel, uint32_t slot_index, lk_slot_view_t *view);

/* The account, whole, as a copy computed when asked: one snapshot, stamped with the sequence of the last accepted input
 * (K15). Costs a look at each slot that is not free.
 * OK                written
 * INVALID_ARGUMENT  a NULL; *view is as it was */
LK_API lk_status_t lk_kernel_account(const lk_kernel_t *kernel, lk_account_view_t *view);

/* When the kernel wants a TICK: the earliest time at which an order would be STALLED; LK_NEVER_NS: never, or NULL. A TICK
 * before it does no harm, one after it is as good. */
LK_API int64_t lk_kernel_next_deadline_ns(const lk_kernel_t *kernel);

/* The slot whose trade it is (over or not), or that has an order with this id (ours first, then the venue's; of the exits
 * the last LK_SLOT_EXITS_MAX, and the protective orders). LK_NO_SLOT: none, an empty id, or a NULL. */
LK_API uint32_t lk_kernel_find_trade(const lk_kernel_t *kernel, const lk_id_t *trade_id);
LK_API uint32_t lk_kernel_find_order(const lk_kernel_t *kernel, const lk_id_t *order_id);

/* A fingerprint of the whole state. Two kernels that were given the same inputs have the same digest; refused inputs
 * leave it as it was. Kept up incrementally: slots that did not change are not hashed again (which is why the kernel is
 * not const here; nothing that can be asked of it changes).
 * OK                32 bytes written
 * INVALID_ARGUMENT  a NULL
 *
 *   digest      = BLAKE2b-256(config digest || ledger || digest of slot 0 || ... || digest of the last slot)
 *   config      BLAKE2b-256 of the bytes of lk_config_t
 *   ledger      the bytes of lk_ledger_t (src/internal.h; every struct of the state is tabled in
 *               docs/concepts/kernel.md: little endian, fixed layout, no padding that is not 0)
 *   slot        BLAKE2b-256 of the bytes of lk_slot_t up to the exit orders in use, of which the first min(exit_count,
 *               LK_SLOT_EXITS_MAX) count, followed by both protectives if is_bracket. A slot that was never used: 32
 *               bytes 0, not hashed.
 *
 * BLAKE2b-256 is RFC 7693 with 32 bytes of output, without key, salt or personalization. The idempotency windows are in
 * it through two chains in the ledger, each a pair of 64-bit words (a, b) that starts as (LK_CHAIN_START_A, _B).
 * event_chain takes in each accepted event id, when it is accepted: its 64 bytes. execution_chain takes in each
 * lk_execution_t when it is booked, and again, whole and as it then is, each time a BUST, CORRECTION or SETTLEMENT has
 * changed it: its bytes. To take in a record, read it as little-endian 64-bit words (an odd number of them is completed
 * by a word 0); then, for each two words (x, y) in order, with p and q the full 128-bit products:
 *
 *   p = (a XOR x) * LK_CHAIN_FACTOR_A        a' = low 64 bits of p XOR high 64 bits of q
 *   q = (b XOR y) * LK_CHAIN_FACTOR_B        b' = low 64 bits of q XOR high 64 bits of p
 *
 * A chain tells divergence; it is no defense against a forger, who must be kept out by the journal's own hash chain. */
LK_API lk_status_t lk_kernel_digest(lk_kernel_t *kernel, uint8_t digest[LK_DIGEST_BYTES]);

/* The whole state as bytes, little endian: a header (magic 0x6c656e72656b6c6b, LK_SAVE_VERSION and slot_count as 32
 * bits each, size of it all, event ids and executions in use as 64 bits each, lk_config_t), the ledger, all slots, the
 * event ids and the executions in use as they lie in their rings (event n, from 0, and execution n + 1 at n %
 * window_count), and BLAKE2b-256 of all that. *size is what save would write now.
 * OK                *size written
 * INVALID_ARGUMENT  a NULL */
LK_API lk_status_t lk_kernel_save_size(const lk_kernel_t *kernel, size_t *size);

/* Write it: data[0 .. *size).
 * OK                written
 * INVALID_ARGUMENT  a NULL
 * BUFFER_TOO_SMALL  capacity < *size, which is what is needed; data was not touched */
LK_API lk_status_t lk_kernel_save(lk_kernel_t *kernel, uint8_t *data, size_t capacity, size_t *size);

/* Replace the state by a saved one, of a kernel with the same configuration. It goes on as the one that was saved would
 * have: same answers, same digests. data may have any alignment. Unless the status is LK_STATUS_OK nothing has changed.
 * OK                restored
 * INVALID_ARGUMENT  a NULL
 * INVALID_SIZE      cut short, or too long
 * INVALID_VERSION   not a saved state, or one of another LK_SAVE_VERSION
 * INVALID_CHECKSUM  damaged
 * INVALID_STATE     intact bytes that no kernel with this configuration would have saved */
LK_API lk_status_t lk_kernel_restore(lk_kernel_t *kernel, const uint8_t *data, size_t size);

/* Bytes of memory that a kernel holds for each slot, and in all. For benchmarks and capacity planning.
 * OK                both written
 * INVALID_ARGUMENT  a NULL */
LK_API lk_status_t lk_kernel_memory(const lk_kernel_t *kernel, size_t *slot_bytes, size_t *total_bytes);
/* clang-format on */

#ifdef __cplusplus
}
#endif

#endif
