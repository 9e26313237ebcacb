"""One input on its way through a kernel: what it changes, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.reference.inputs import Event, Input
from tests.reference.machines import is_busy, lifecycle_of, stage_of
from tests.reference.state import ENTRY, STOP, Order, Slot, State
from tests.reference.words import (
    IS_EXIT,
    NO_SLOT,
    SEVERITY,
    Code,
    CommandKind,
    EventKind,
    Field,
    Life,
    Lifecycle,
    Severity,
    Stage,
)


class Refused(Exception):
    """A rule said no. Raised before anything has changed."""

    def __init__(self, code: Code, field: Field = Field.NONE, value: int = 0, slot_index: int = NO_SLOT) -> None:
        super().__init__(code, field, value, slot_index)
        self.code, self.field, self.value, self.slot_index = code, field, value, slot_index


class Step:
    """The state, the input, and the answer as far as it has come."""

    def __init__(self, state: State, value: Input) -> None:
        self.state = state
        self.input = value
        self.events: list[Event] = []
        self.changed_slots: set[int] = set()
        self.slot_index = NO_SLOT
        self.trade_id = b""

    def emit(self, event: Event, slot_index: int) -> Event:
        event.slot_index = slot_index
        if slot_index != NO_SLOT:
            slot = self.state.slots[slot_index]
            event.trade_id, event.price_scale, event.qty_scale = slot.trade_id, slot.price_scale, slot.qty_scale
        self.events.append(event)
        return event

    def flag(self, code: Code, slot_index: int = NO_SLOT, order_id: bytes = b"", execution_id: bytes = b"") -> None:
        """Record an anomaly; one of WARNING or more opens a break on its trade."""
        severity = SEVERITY[code]
        event = Event(
            EventKind.ANOMALY, code=code, severity=severity, client_order_id=order_id, execution_id=execution_id
        )
        self.emit(event, slot_index)
        self.state.ledger.anomaly_count += 1
        if slot_index != NO_SLOT and severity >= Severity.WARNING:
            self.state.slots[slot_index].has_anomaly = 1

    def cancel(self, slot_index: int, ordinal: int, order: Order) -> None:
        order.cancel_pending = 1
        event = Event(
            EventKind.COMMAND,
            command=CommandKind.CANCEL,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            qty=order.order_qty,
            filled_qty=order.cum_qty,
            flags=0 if ordinal == ENTRY else IS_EXIT,
        )
        self.emit(event, slot_index)

    def cancel_entry_rest(self, slot_index: int) -> None:
        """While something may still be bought, getting out means first: no more of it."""
        entry = self.state.slots[slot_index].entry
        if entry.is_live and not entry.cancel_pending:
            self.cancel(slot_index, ENTRY, entry)

    def cancel_protectives(self, slot_index: int) -> None:
        """Those at work, unless that was commanded before."""
        for ordinal, order in self.state.slots[slot_index].live_protectives.items():
            if not order.cancel_pending:
                self.cancel(slot_index, ordinal, order)

    def watch_protection(self, slot_index: int) -> None:
        """A protective order never outlives its trade; and a trade that lost its stop is told of, once."""
        slot = self.state.slots[slot_index]
        if not slot.is_bracket:
            return
        if not slot.may_hold_something:
            self.cancel_protectives(slot_index)
        stop = slot.protectives[STOP]
        is_open, was_bare = slot.book.open_qty > 0, slot.is_bare
        is_stop_refused = stop.life in (Life.REJECTED, Life.EXPIRED)
        is_needed = is_open or (slot.entry.is_live and is_stop_refused)
        slot.is_bare = int(is_needed and not stop.is_live and slot.live_exit is None)
        if slot.is_bare > was_bare:
            self.flag(Code.PROTECTION_LOST, slot_index, stop.client_order_id)

    def move(self, slot_index: int, before: tuple[Stage, Lifecycle], after: tuple[Stage, Lifecycle]) -> None:
        """Tell of a transition, if there was one."""
        if before == after:
            return
        slot = self.state.slots[slot_index]
        event = Event(
            EventKind.TRANSITION,
            from_stage=before[0],
            to_stage=after[0],
            from_lifecycle=before[1],
            to_lifecycle=after[1],
            qty=slot.entry.order_qty,
            filled_qty=slot.book.entry_qty,
        )
        self.emit(event, slot_index)

    @contextmanager
    def watching(self, slot_index: int) -> Iterator[tuple[Stage, Lifecycle]]:
        """While the slot is changed: afterwards tell where it has come to, and keep what follows from it."""
        self.slot_index = slot_index
        before = _view(self.state.slots[slot_index])
        yield before
        self.settle(slot_index, before, was_busy=before[0] not in (Stage.IDLE, Stage.TERMINAL_WRITTEN))

    def settle(self, slot_index: int, before: tuple[Stage, Lifecycle], *, was_busy: bool) -> None:
        slot = self.state.slots[slot_index]
        after = _view(slot)
        stage, lifecycle = after
        self.changed_slots.add(slot_index)
        self.trade_id = slot.trade_id
        if was_busy and stage == Stage.TERMINAL_WRITTEN:
            closing = _CLOSING_STAGE.get(lifecycle)
            if closing is not None and closing != before[0]:
                self.move(slot_index, before, (closing, lifecycle))
                before = closing, lifecycle
            self.state.ledger.close_count += 1
            slot.close_sequence = self.state.ledger.close_count
            slot.closed_at_ns = self.input.now_ns
        elif not was_busy and is_busy(slot):
            slot.close_sequence = slot.closed_at_ns = 0
        self.move(slot_index, before, after)


_CLOSING_STAGE = {Lifecycle.CLOSED: Stage.POSITION_CLOSED, Lifecycle.REJECTED: Stage.ORDER_REJECTED}
"""What a trade passes on its way to TERMINAL_WRITTEN; none when it was canceled before a fill."""


def _view(slot: Slot) -> tuple[Stage, Lifecycle]:
    stage = stage_of(slot)
    return stage, lifecycle_of(slot, stage)
