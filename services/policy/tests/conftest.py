"""A small world for the policy: streams as lists, and a kernel that does at once what it is asked."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, SECOND_NS
from kestrel_policy.core.history import checked_bar
from kestrel_policy.core.parameters import Momentum, Plan
from kestrel_policy.core.policy import Decision, Moment, PolicyState, decide_bar, decide_manual

QUICK = Momentum(fast_days=5, slow_days=15, volatility_days=15, range_days=5, holding_days_max=25)
PLAN = Plan(momentum=QUICK)


class Crash(Exception):
    """The process is gone; what was published stays."""


def bar_message(
    day: int, close: float, *, symbol: str = "AAPL", open_: float = 0, high: float = 0, low: float = 0
) -> Any:
    def price(dollars: float) -> common_pb2.Decimal:
        return common_pb2.Decimal(units=round(dollars * 100) * 100, scale=4)

    instrument = common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
    )
    open_ = open_ or close
    return venue_pb2.Bar(
        venue="paper", instrument=instrument, open=price(open_), high=price(high or max(open_, close) * 1.01),
        low=price(low or min(open_, close) * 0.99), close=price(close), start_ns=day * DAY_NS, interval_ns=DAY_NS,
    )  # fmt: skip


def wandering(days: int, *, seed: int = 7, symbol: str = "AAPL", drift: float = 0.0) -> list[venue_pb2.Bar]:
    """Bars of a price that wanders in trends that turn, as prices do."""
    chance = random.Random(f"{seed}{symbol}")
    price, bars = 100.0, []
    for day in range(1, days + 1):
        trend = drift + 0.008 * math.sin(day / 17 + seed)
        open_ = price * math.exp(chance.gauss(0, 0.004))
        price = max(5.0, price * math.exp(trend + chance.gauss(0, 0.015)))
        high, low = max(open_, price) * (1 + chance.random() / 80), min(open_, price) * (1 - chance.random() / 80)
        bars.append(bar_message(day, price, symbol=symbol, open_=open_, high=high, low=low))
    return bars


@dataclass
class World:
    """Streams that never forget, and never remove a duplicate: the policy must not need it."""

    plan: Plan = PLAN
    max_slots: int = 8
    approves: bool = True
    executes: bool = True
    market: list[venue_pb2.Bar] = field(default_factory=list)
    intents: list[intent_pb2.Intent] = field(default_factory=list)
    beads: list[audit_pb2.Bead] = field(default_factory=list)
    exits: list[tuple[int, intent_pb2.ExitRequest]] = field(default_factory=list)
    journal: list[journal_pb2.JournalEntry] = field(default_factory=list)
    published: list[Publish] = field(default_factory=list)
    slots: dict[int, state_pb2.SlotSnapshot] = field(default_factory=dict)
    inputs: int = 0
    now_ns: int = 1000 * SECOND_NS
    crash_after: int = -1
    state: PolicyState = field(init=False)

    def __post_init__(self) -> None:
        self.enter(None)
        self.restart()

    # ── The policy's process ────────────────────────────────────────────────────────────────────────────

    def restart(self) -> None:
        """A new process: everything from the streams."""
        self.state = PolicyState((self.plan,))
        book = self.state.books[self.plan.account]
        for intent in self.intents:
            book.learn_intent(intent)
        for bead in self.beads:
            if bead.HasField("signal"):
                self.state.learn_signal(bead.signal, bead.actor)
            else:
                book.learn_decision(bead.decision)
        for sequence, entry in enumerate(self.journal, 1):
            book.learn_entry(entry, sequence)
        for sequence, request in self.exits:
            if sequence > book.input_sequence:
                book.learn_exit_sent(request.trade_id, request.request_id)
        for bar in self.market:
            self.state.learn_bar(checked_bar(bar))

    def show(self, bar: venue_pb2.Bar, *, stored: bool = False, age_s: int = 0) -> Decision:
        """One bar arrives (or, ``stored``, again)."""
        if not stored:
            self.market.append(bar)
        self.now_ns += SECOND_NS
        moment = self.moment(age_s=age_s)
        decision = decide_bar(self.state, self.plan, checked_bar(bar), moment)
        self.perform(decision)
        return decision

    def run(self, bars: list[venue_pb2.Bar]) -> list[Decision]:
        return [self.show(bar) for bar in bars]

    def submit(self, request_id: str = "r1", *, by: str = "trader", origin: str = "", **signal: Any) -> Decision:
        self.now_ns += SECOND_NS
        given = signal_pb2.Signal(**({"symbol": "AAPL", "action": signal_pb2.SIGNAL_ACTION_ENTER, "side": 1} | signal))
        caller = common_pb2.Actor(id=by, kind="operator", origin=origin)
        decision = decide_manual(self.state, request_id, self.plan.account, given, caller, self.moment())
        self.perform(decision)
        return decision

    def moment(self, *, age_s: int = 0) -> Moment:
        return Moment(self.now_ns, self.now_ns - age_s * SECOND_NS, "test", f"00-{self.now_ns:032x}-{1:016x}-01")

    def perform(self, decision: Decision) -> None:
        for effect in decision.effects:
            if self.crash_after == 0:
                raise Crash
            self.crash_after -= 1
            self.published.append(effect)
            self.store(effect)
        if self.crash_after == 0:
            raise Crash

    def store(self, effect: Publish) -> None:
        if effect.subject.startswith("bead.signal."):
            self.beads.append(audit_pb2.Bead.FromString(effect.body))
        elif effect.subject.startswith("intent."):
            self.intents.append(intent_pb2.Intent.FromString(effect.body))
            if self.approves:
                self.enter(self.intents[-1])
        else:
            assert effect.subject == f"inbox.0.{self.plan.account}.exit"
            self.inputs += 1
            self.exits.append((self.inputs, inbox_pb2.InboxMessage.FromString(effect.body).exit))
            if self.executes:
                self.leave(self.exits[-1][1], self.inputs)

    # ── The kernel ─────────────────────────────────────────────────────────────────────────────────────

    def enter(self, intent: intent_pb2.Intent | None, *, accepted: bool = True) -> None:
        """Journal an entry (None: only a balance, so that capital is known)."""
        self.inputs += 1
        message = inbox_pb2.InboxMessage()
        changed = []
        if intent is not None:
            message.entry.intent = intent.SerializeToString()
            if accepted:
                changed = [self._slot_of(intent)]
        else:
            message.venue.report_id = "balance"
        self._record("entry" if intent is not None else "venue", message, changed, self.inputs, accepted=accepted)

    def _slot_of(self, intent: intent_pb2.Intent) -> state_pb2.SlotSnapshot:
        index = next(n for n in range(1000) if n not in self.slots)
        sign = 1 if intent.side == common_pb2.SIDE_BUY else -1
        slot = state_pb2.SlotSnapshot(
            slot_index=index,
            stage=state_pb2.SLOT_STAGE_POSITION_OPEN,
            trade_id=intent.intent_id,
            strategy=intent.strategy,
            instrument=intent.instrument,
            qty=common_pb2.Decimal(units=sign * intent.order_qty.units, scale=intent.order_qty.scale),
            entry_price=intent.reference_price,
            stop_price=intent.stop_price,
        )
        if intent.HasField("target_price"):
            slot.target_price.CopyFrom(intent.target_price)
        self.slots[index] = slot
        return slot

    def leave(self, request: intent_pb2.ExitRequest, sequence: int) -> None:
        """Journal an exit: the trade is flat at once."""
        slot = next((slot for slot in self.slots.values() if slot.trade_id == request.trade_id), None)
        changed = []
        if slot is not None:
            del self.slots[slot.slot_index]
            slot.stage = state_pb2.SLOT_STAGE_IDLE
            slot.qty.units = 0
            changed = [slot]
        self._record("exit", inbox_pb2.InboxMessage(exit=request), changed, sequence, accepted=slot is not None)

    def exit_life(self, trade_id: str, life: Any, sequence: int | None = None) -> None:
        """Journal what became of a trade's exit order at the venue."""
        slot = next(slot for slot in self.slots.values() if slot.trade_id == trade_id)
        slot.exit.life = life
        self.inputs += 1
        message = inbox_pb2.InboxMessage()
        if sequence is not None:
            message.exit.CopyFrom(next(request for at, request in self.exits if at == sequence))
            self._record("exit", message, [slot], sequence)
        else:
            message.venue.report_id = "x"
            self._record("venue", message, [slot], self.inputs)

    def _record(self, door: str, message: Any, slots: list[Any], sequence: int, *, accepted: bool = True) -> None:
        gross = Number.zero()
        for slot in self.slots.values():
            gross += Number.of(slot.entry_price) * abs(Number.of(slot.qty))
        entry = journal_pb2.JournalEntry(
            account=self.plan.account,
            input_sequence=sequence,
            door=door,
            input=message.SerializeToString(),
            outcome=journal_pb2.Outcome(accepted=accepted),
            slots=slots,
            account_after=state_pb2.AccountSnapshot(
                account=self.plan.account,
                capital=common_pb2.Decimal(units=100_000_000, scale=2),
                gross_exposure=gross.message(),
                max_slots=self.max_slots,
            ),
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01" if door == "entry" else "",
        )
        self.journal.append(entry)
        if hasattr(self, "state"):
            self.state.books[self.plan.account].learn_entry(entry, len(self.journal))

    def refuse(self, intent_id: str, verdict: Any = authority_pb2.VERDICT_DENIED) -> None:
        decision = authority_pb2.Decision(intent_id=intent_id, verdict=verdict)
        self.beads.append(audit_pb2.Bead(decision=decision))
        self.state.books[self.plan.account].learn_decision(decision)


@pytest.fixture
def make_world() -> Any:
    return World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def bars() -> Any:
    """``wandering`` and ``one`` for bars, ``QUICK`` and ``PLAN`` for settings."""

    class Words:
        wandering = staticmethod(wandering)
        one = staticmethod(bar_message)
        checked = staticmethod(checked_bar)
        quick, plan, crash = QUICK, PLAN, Crash

    return Words


@pytest.fixture(scope="session")
def apple() -> list[venue_pb2.Bar]:
    """Real daily bars, split included."""
    from bokeh_sampledata.stocks import AAPL

    columns = (AAPL[name] for name in ("open", "high", "low", "close"))
    return [
        bar_message(day, close, open_=open_, high=high, low=low)
        for day, (open_, high, low, close) in enumerate(zip(*columns, strict=True), 1)
    ]
