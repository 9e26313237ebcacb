"""One account in the library and in the reference, side by side: all that can be seen of both is compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from tests.reference import digest as states
from tests.reference import reach
from tests.reference import subject as library
from tests.reference.book import realized_pnl
from tests.reference.inputs import Answer, Config, Event, Input, Outcome
from tests.reference.kernel import Kernel
from tests.reference.layout import Layout
from tests.reference.state import Slot
from tests.reference.subject import Subject
from tests.reference.words import NO_SLOT, EventKind


class Difference(Exception):
    """Where the two disagree, for people to read."""


@dataclass(slots=True)
class Pair:
    """A library's kernel and a reference's, of one account."""

    config: Config
    digest_every: int = 1
    reached: Counter[str] = field(default_factory=Counter)
    given: list[Input] = field(default_factory=list)
    told_realized: int = 0
    told_fees: int = 0
    subject: Subject = field(init=False)
    spare: Subject = field(init=False)
    reference: Kernel = field(init=False)

    def __post_init__(self) -> None:
        self.subject, self.spare = Subject(self.config), Subject(self.config)
        self.reference = Kernel(self.config)

    def apply(self, value: Input) -> Outcome:
        """Give the input to both, and compare."""
        self.given.append(value)
        before = self.subject.digest()
        answer = self.reference.apply(value)
        self._require_booked_is_told(answer)
        outcome, events = self.subject.apply(value)
        _require_same("outcome", library.OUTCOME, [answer.outcome], outcome)
        _require_same("event", library.EVENT, answer.events, events)
        if answer.outcome.accepted:
            self._compare_views(answer)
        elif self.subject.digest() != before:
            raise Difference("the library refused an input, and changed")
        _require_transitions_are_tabled(answer.events)
        reach.count(self.reached, value, answer, self.reference.state)
        return answer.outcome

    def _require_booked_is_told(self, answer: Answer) -> None:
        """The account's profit and fees are what events told of, once each; nothing else moves them (K12)."""
        for event in answer.events:
            if event.kind in (EventKind.FILL_BOOKED, EventKind.SETTLED):
                self.told_realized += event.realized_pnl
                self.told_fees += event.fee
        ledger = self.reference.state.ledger
        if (self.told_realized, self.told_fees) != (ledger.realized, ledger.fees):
            raise Difference(f"told {self.told_realized}, {self.told_fees}; booked {ledger.realized}, {ledger.fees}")

    def _compare_views(self, answer: Answer) -> None:
        for slot_index in range(self.config.slot_count):
            if answer.outcome.changed_slots[slot_index // 64] >> slot_index % 64 & 1:
                _require_exact_profit(self.reference.state.slots[slot_index])
                _require_same("slot", library.SLOT, [self.reference.slot(slot_index)], self.subject.slot(slot_index))
        _require_same("account", library.ACCOUNT, [self.reference.account()], self.subject.account())
        if len(self.given) % self.digest_every == 0:
            self.compare_digests()

    def compare_digests(self) -> None:
        if self.reference.digest() != self.subject.digest():
            raise Difference(self._state_difference())

    def restart(self) -> None:
        """Save both, compare, and go on in fresh kernels, or in one that was used before."""
        saved = self.subject.save()
        if saved != states.save(self.reference.state):
            raise Difference("saved states differ\n" + self._state_difference())
        self.reached.update(["restart", *reach.corners(self.reference.state)])
        fresh = Subject(self.config) if len(self.given) % 2 else self.spare
        fresh.restore(saved)
        self.subject, self.spare = fresh, self.subject
        self.reference.state = states.restore(saved, self.config)
        self.compare_digests()

    def replay(self) -> None:
        """All inputs from zero, as one batch, come to the same state."""
        fresh = Subject(self.config)
        fresh.apply_all(self.given)
        if fresh.digest() != self.subject.digest():
            raise Difference("a replay from zero came to another digest")

    def compare_all(self) -> None:
        for slot_index in range(self.config.slot_count):
            _require_same("slot", library.SLOT, [self.reference.slot(slot_index)], self.subject.slot(slot_index))
        self.compare_digests()
        self._compare_finds()

    def _compare_finds(self) -> None:
        """Each trade and order is found where it is, and nothing that is not there."""
        state = self.reference.state
        orders = [order for slot in state.slots for _, order in slot.orders()]
        order_ids = {order_id for order in orders for order_id in (order.client_order_id, order.venue_order_id)}
        for order_id in [*order_ids, b"nosuchone", b""]:
            found = state.find_order(client_order_id=order_id) or state.find_order(venue_order_id=order_id)
            if self.subject.find_order(order_id) != (found[0] if found else NO_SLOT):
                raise Difference(f"order {order_id!r} is at {found}, the library finds it elsewhere")
        for trade_id in [*{slot.trade_id for slot in state.slots}, b"nosuchone"]:
            place = state.find_trade(trade_id)
            if self.subject.find_trade(trade_id) != (NO_SLOT if place is None else place):
                raise Difference(f"trade {trade_id!r} is at {place}, the library finds it elsewhere")

    def _state_difference(self) -> str:
        theirs = states.restore(self.subject.save(), self.config)
        lines = ["digests differ"]
        for name in ("ledger", "events", "executions"):
            lines += _differing_fields(name, getattr(self.reference.state, name), getattr(theirs, name))
        for index, (ours, other) in enumerate(zip(self.reference.state.slots, theirs.slots, strict=True)):
            lines += _differing_fields(f"slot {index}", ours, other)
        return "\n".join(lines)


def _require_exact_profit(slot: Slot) -> None:
    """Flat, with a figure for every fill: exactly proceeds less cost. Entered or left without any figure: what the
    venue said, and nothing of our own (K04, K06, K08)."""
    book, realized = slot.book, realized_pnl(slot.book, slot.direction)
    exact = realized
    if book.entry_unpriced_qty == book.entry_qty or book.skipped_qty == book.exit_qty:
        exact = book.venue_realized
    elif book.open_qty == 0 and book.entry_unpriced_qty == 0 and book.skipped_qty == 0:
        exact = slot.direction * (book.exit_notional - book.entry_notional)
    if realized != exact:
        raise Difference(f"trade {slot.trade_id!r} realized {realized}, not {exact}: {book}")


def _require_transitions_are_tabled(events: list[Event]) -> None:
    """Which stage and which lifecycle may follow which are tables of the library (K03)."""
    for event in events:
        if event.kind != EventKind.TRANSITION:
            continue
        stages, lifecycles = (event.from_stage, event.to_stage), (event.from_lifecycle, event.to_lifecycle)
        is_tabled = (len(set(stages)) == 1 or library.stage_may_follow(*stages)) and (
            len(set(lifecycles)) == 1 or library.lifecycle_may_follow(*lifecycles)
        )
        if not is_tabled:
            raise Difference(f"no table has the transition {event}")


def _require_same(what: str, layout: Layout, ours: Iterable[object], theirs: bytes) -> None:
    records = list(ours)
    packed = b"".join([layout.pack(one) for one in records])
    if packed == theirs:
        return
    lines = [f"{what}: the reference has {len(records)}, the library {len(theirs) // layout.size}"]
    for at in range(0, max(len(packed), len(theirs)), layout.size):
        mine, other = packed[at : at + layout.size], theirs[at : at + layout.size]
        left = layout.unpack(mine) if mine else {}
        right = layout.unpack(other) if other else {}
        for name in layout.names:
            if left.get(name) != right.get(name):
                index = at // layout.size
                lines.append(f"  {what} {index}.{name}: reference {left.get(name)}, library {right.get(name)}")
    raise Difference("\n".join(lines))


def _differing_fields(name: str, ours: object, theirs: object) -> list[str]:
    if ours == theirs:
        return []
    if not hasattr(ours, "__dataclass_fields__"):
        return [f"  {name}: reference {ours}, library {theirs}"]
    lines: list[str] = []
    for one in fields(ours):  # type: ignore[arg-type]
        lines += _differing_fields(f"{name}.{one.name}", getattr(ours, one.name), getattr(theirs, one.name))
    return lines
