"""The machines, as tables, and the two views of a slot that are computed from its facts."""

from __future__ import annotations

from tests.reference.state import Order, Slot
from tests.reference.words import Fact, Life, Lifecycle, Stage

_ENDS: dict[int, int] = {
    Fact.REJECTED: Life.REJECTED,
    Fact.CANCELED: Life.CANCELED,
    Fact.EXPIRED: Life.EXPIRED,
}
NEXT_LIFE: dict[int, dict[int, int]] = {
    Life.REQUESTED: {
        **_ENDS,
        Fact.DENIED: Life.DENIED,
        Fact.SUBMITTING: Life.SENT,
        Fact.ACKNOWLEDGED: Life.ACKED,
        Fact.CANCEL_REJECTED: Life.REQUESTED,
        Fact.IN_DOUBT: Life.SENT,
        Fact.TRADED: Life.ACKED,
    },
    Life.SENT: {
        **_ENDS,
        Fact.DENIED: Life.DENIED,
        Fact.SUBMITTING: Life.SENT,
        Fact.ACKNOWLEDGED: Life.ACKED,
        Fact.CANCEL_REJECTED: Life.SENT,
        Fact.IN_DOUBT: Life.SENT,
        Fact.TRADED: Life.ACKED,
    },
    Life.ACKED: {
        **_ENDS,
        Fact.ACKNOWLEDGED: Life.WORKING,
        Fact.CANCEL_REJECTED: Life.WORKING,
        Fact.IN_DOUBT: Life.ACKED,
        Fact.TRADED: Life.ACKED,
    },
    Life.WORKING: {
        **_ENDS,
        Fact.ACKNOWLEDGED: Life.WORKING,
        Fact.CANCEL_REJECTED: Life.WORKING,
        Fact.IN_DOUBT: Life.WORKING,
        Fact.TRADED: Life.WORKING,
    },
    Life.CANCELED: {Fact.TRADED: Life.CANCELED},
    Life.REJECTED: {Fact.TRADED: Life.REJECTED},
    Life.DENIED: {Fact.TRADED: Life.DENIED},
    Life.EXPIRED: {Fact.TRADED: Life.EXPIRED},
}
"""Where an order is, what was learned: where it goes. What is not here is an ILLEGAL_TRANSITION."""

ENTRY_STAGE = {
    Life.REQUESTED: Stage.ENTRY_REQUESTED,
    Life.SENT: Stage.ENTRY_SENT,
    Life.ACKED: Stage.ENTRY_ACKED,
    Life.WORKING: Stage.ENTRY_WORKING,
}
EXIT_STAGE = {
    Life.REQUESTED: Stage.EXIT_REQUESTED,
    Life.SENT: Stage.EXIT_SENT,
    Life.ACKED: Stage.EXIT_ACKED,
    Life.WORKING: Stage.EXIT_WORKING,
}
REFUSED_LIVES = {Life.REJECTED, Life.DENIED}


def next_life(life: int, fact: int) -> int | None:
    """None: the fact is refused."""
    return NEXT_LIFE[life].get(fact)


def was_refused(order: Order | None) -> bool:
    return order is not None and order.life in REFUSED_LIVES


def stage_of(slot: Slot) -> Stage:
    """By precedence: over; leaving; not yet filled; refused an exit; left in part; still entering; in."""
    book, live_exit = slot.book, slot.live_exit
    if slot.trade_sequence == 0:
        return Stage.IDLE
    if not is_busy(slot):
        return Stage.TERMINAL_WRITTEN
    if not _is_unfinished(slot):  # only protective orders are left, and are being taken back
        return Stage.ORDER_REJECTED if not _has_traded(slot) and was_refused(slot.entry) else Stage.POSITION_CLOSED
    if live_exit is not None:
        return Stage.EXIT_WORKING if live_exit.cum_qty > 0 else EXIT_STAGE[Life(live_exit.life)]
    if book.entry_qty == 0 and book.exit_qty == 0:
        return ENTRY_STAGE[Life(slot.entry.life)]
    if book.open_qty != 0 and was_refused(slot.last_exit):
        return Stage.EXIT_REJECTED
    if book.exit_qty > 0:
        return Stage.POSITION_PARTIALLY_CLOSED
    return Stage.PARTIAL_FILL if slot.entry.is_live else Stage.POSITION_OPEN


def lifecycle_of(slot: Slot, stage: Stage) -> Lifecycle:
    if stage == Stage.IDLE:
        return Lifecycle.NONE
    if stage in (Stage.POSITION_CLOSED, Stage.ORDER_REJECTED, Stage.TERMINAL_WRITTEN):
        if _has_traded(slot):
            return Lifecycle.CLOSED
        return Lifecycle.REJECTED if was_refused(slot.entry) else Lifecycle.CANCELED
    if slot.exit_count > 0 or slot.book.exit_qty > 0:
        return Lifecycle.MANAGED
    if slot.book.entry_qty > 0:
        return Lifecycle.FILLED
    return Lifecycle.STALLED if slot.entry.is_stalled else Lifecycle.SUBMITTED


def is_busy(slot: Slot) -> bool:
    """It holds a trade that is not over: something is open, or may still come."""
    return slot.trade_sequence != 0 and (_is_unfinished(slot) or bool(slot.live_protectives))


def _is_unfinished(slot: Slot) -> bool:
    return slot.book.entry_qty != slot.book.exit_qty or slot.entry.is_live or slot.live_exit is not None


def _has_traded(slot: Slot) -> bool:
    return slot.book.entry_qty > 0 or slot.book.exit_qty > 0
