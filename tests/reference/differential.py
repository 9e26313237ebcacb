"""The library and the reference, given the same inputs: every answer, view, digest and saved state compared."""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from random import Random

from tests.reference import digest as states
from tests.reference import subject as library
from tests.reference.book import realized_pnl
from tests.reference.generate import World, config_of
from tests.reference.inputs import Answer, Config, Event, Input, Outcome
from tests.reference.kernel import Kernel
from tests.reference.layout import Layout
from tests.reference.reach import corners
from tests.reference.state import Slot
from tests.reference.subject import Subject
from tests.reference.words import (
    NO_SLOT,
    Code,
    CommandKind,
    EventKind,
    Fact,
    InputKind,
    LedgerCause,
    LedgerStatus,
    Life,
    Lifecycle,
    Liquidity,
    OrderType,
    Side,
    Stage,
    TimeInForce,
)
from tests.reference.words import Field as InputField

SEQUENCE_LENGTH = 500
"""Inputs of one seed, over both its accounts."""


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
        self._count(value, answer)
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
        self.reached.update(["restart", *corners(self.reference.state)])
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

    def _count(self, value: Input, answer: Answer) -> None:
        kind, reached = InputKind(value.kind).name, self.reached
        reached[f"{kind} {Code(answer.outcome.code).name}"] += 1
        for event in answer.events:
            if event.kind == EventKind.ANOMALY:
                reached[f"anomaly {Code(event.code).name}"] += 1
            elif event.kind == EventKind.TRANSITION:
                _require_may_follow(event)
                reached[f"stage {Stage(event.to_stage).name}"] += 1
                reached[f"lifecycle {Lifecycle(event.to_lifecycle).name}"] += 1
            elif event.kind == EventKind.COMMAND:
                reached[f"command {CommandKind(event.command).name}"] += 1
            else:
                reached[f"event {EventKind(event.kind).name}"] += 1
        if value.kind == InputKind.BALANCE and answer.outcome.accepted:
            ledger = self.reference.state.ledger
            status, cause = LedgerStatus(ledger.ledger_status).name, LedgerCause(ledger.ledger_cause).name
            reached[f"ledger {status} {cause}"] += 1


def _require_exact_profit(slot: Slot) -> None:
    """A trade that is flat, with a figure for every fill, has realized exactly proceeds less cost (K04, K06)."""
    book = slot.book
    if book.open_qty == 0 and book.entry_unpriced_qty == 0 and book.skipped_qty == 0:
        realized, exact = (
            realized_pnl(book, slot.direction),
            slot.direction * (book.exit_notional - book.entry_notional),
        )
        if realized != exact:
            raise Difference(f"trade {slot.trade_id!r} realized {realized}, not {exact}")


def _require_may_follow(event: Event) -> None:
    """Which stage and lifecycle may follow which are tables of the library."""
    is_stage = library.stage_may_follow(event.from_stage, event.to_stage) or event.from_stage == event.to_stage
    is_lifecycle = (
        library.lifecycle_may_follow(event.from_lifecycle, event.to_lifecycle)
        or event.from_lifecycle == event.to_lifecycle
    )
    if not is_stage or not is_lifecycle:
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


# --- sequences -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done to one of the two accounts: an input, or a restart."""

    account: int
    value: Input | None


@dataclass(slots=True)
class Sequence:
    """What was done under one seed, as far as it came, and what came of it."""

    seed: int
    acts: list[Act] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    difference: str = ""
    summary: str = ""


def run_seed(seed: int, length: int = SEQUENCE_LENGTH, tell: Callable[[Act], None] | None = None) -> Sequence:
    """Two accounts, interleaved, with restarts, compared step by step; ``tell`` hears of each act before it is done."""
    random = Random(f"sequence {seed}")
    digest_every = random.choice([1, 5, 5, 20])
    pairs = [Pair(config_of(2 * seed + account), digest_every) for account in range(2)]
    worlds = [World(2 * seed + account, pair.config) for account, pair in enumerate(pairs)]
    sequence = Sequence(seed)
    restarts = random.choice([0, 0.01, 0.03, 0.1])
    try:
        for _ in range(length):
            account = int(random.random() < 0.4)
            is_restart = random.random() < restarts
            value = None if is_restart else worlds[account].next(pairs[account].reference.state)
            sequence.acts.append(Act(account, value))
            if tell is not None:
                tell(sequence.acts[-1])
            _perform(pairs[account], value)
        _finish(pairs)
    except Exception as error:
        sequence.difference = _tell_failure(error)
    for pair in pairs:
        sequence.reached += pair.reached
    sequence.summary = hashlib.sha256(b"".join(pair.subject.digest() for pair in pairs)).hexdigest()
    return sequence


def replay_acts(acts: list[Act], seed: int) -> str:
    """Do the same again, all digests compared; returns the difference, if there is one."""
    pairs = [Pair(config_of(2 * seed + account)) for account in range(2)]
    try:
        for act in acts:
            _perform(pairs[act.account], act.value)
        _finish(pairs)
    except Exception as error:
        return _tell_failure(error)
    return ""


def _tell_failure(error: Exception) -> str:
    """Anything but a difference is a bug of the reference, or a status that no input may cause."""
    return str(error) if isinstance(error, Difference) else traceback.format_exc()


def _perform(pair: Pair, value: Input | None) -> None:
    if value is None:
        pair.restart()
    else:
        pair.apply(value)


def _finish(pairs: list[Pair]) -> None:
    for pair in pairs:
        pair.compare_all()
        pair.replay()
        pair.reached.update(corners(pair.reference.state))


def shrink(sequence: Sequence) -> list[Act]:
    """The acts that still show a difference when all others are left out (delta debugging)."""
    acts = list(sequence.acts)
    size = max(1, len(acts) // 2)
    while size >= 1:
        at = 0
        while at < len(acts):
            fewer = acts[:at] + acts[at + size :]
            if replay_acts(fewer, sequence.seed):
                acts = fewer
            else:
                at += size
        size //= 2
    return acts


# --- for people ------------------------------------------------------------------------------------------------------

_ENUMS = {
    "order_fact": Fact,
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "liquidity": Liquidity,
    "life": Life,
    "code": Code,
    "field": InputField,
}


def tell_act(act: Act) -> str:
    """One line; only what is not empty."""
    if act.value is None:
        return f"account {act.account}  restart"
    parts = []
    for one in fields(Input)[1:]:
        value = getattr(act.value, one.name)
        if value not in (0, b"", (0,) * 8):
            parts.append(f"{one.name}={_tell(one.name, value)}")
    return f"account {act.account}  {InputKind(act.value.kind).name} {' '.join(parts)}"


def _tell(name: str, value: object) -> str:
    enum = _ENUMS.get(name)
    if enum is not None and isinstance(value, int) and value in enum.__members__.values():
        return str(enum(value).name)
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def trace(sequence: Sequence) -> str:
    """A failed sequence, shrunk, and how to see it again."""
    acts = shrink(sequence)
    return "\n".join(
        [
            f"seed {sequence.seed}: the reference and the library differ",
            *(f"  {index + 1:>3}  {tell_act(act)}" for index, act in enumerate(acts)),
            replay_acts(acts, sequence.seed),
            f"again: python -m tests.reference --seed {sequence.seed} --inputs 1",
        ]
    )
