"""The policy: one decision per bar and account, and what has to be published for it.

    bar ──► reading ──► judgement ──► signal bead ──► intent (ENTER) or exit request (EXIT) or nothing (HOLD)

Ids follow from strategy, account, symbol and the start of the bar, so a bar decided twice is decided once. A bar
whose signal is known already is not judged again: only what is missing of its consequences is added.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, derived_id, partition_of
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_policy.core import momentum, sizing
from kestrel_policy.core.book import LIVE_ORDERS, Book
from kestrel_policy.core.history import Bar, History
from kestrel_policy.core.momentum import Reading
from kestrel_policy.core.parameters import Momentum, Plan

SIGNALS_MAX = 10_000
_ENTER, _EXIT, _HOLD = (
    signal_pb2.SIGNAL_ACTION_ENTER,
    signal_pb2.SIGNAL_ACTION_EXIT,
    signal_pb2.SIGNAL_ACTION_HOLD,
)


class ExitCause(Enum):
    """Why a trade is left; the name begins the reason and is part of the exit's id."""

    STOP = "STOP"
    TARGET = "TARGET"
    REVERSAL = "REVERSAL"
    HOLDING_TIME = "HOLDING_TIME"
    OPERATOR = "OPERATOR"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decision is given besides the state: the time, who decides where, and a trace begun for it."""

    now_ns: int
    # When the bar was stored on the bus: how old its price is.
    stored_at_ns: int
    origin: str
    traceparent: str
    partitions: int = 1
    # The book holds everything the journal held when the decision began. If not, nothing is opened.
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and what has to be published for it, in this order."""

    signal: signal_pb2.Signal
    effects: tuple[Publish, ...]
    intent_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """A way in that can be taken."""

    side: common_pb2.Side.ValueType
    qty: Number
    stop: Number
    target: Number | None


@dataclass(slots=True)
class PolicyState:
    """Everything remembered; a fold of MARKET, INTENTS, BEADS and JOURNAL."""

    plans: tuple[Plan, ...]
    histories: dict[str, History] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    signals: OrderedDict[str, signal_pb2.Signal] = field(default_factory=OrderedDict)
    # By signal: who gave it by hand, and so is the proposer of what follows from it.
    people: dict[str, common_pb2.Actor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for plan in self.plans:
            self.books.setdefault(plan.account, Book(plan.account))

    def plans_of(self, symbol: str) -> list[Plan]:
        return [plan for plan in self.plans if plan.trades(symbol)]

    def learn_bar(self, bar: Bar) -> None:
        self.histories.setdefault(bar.instrument.symbol, History()).add(bar)

    def is_decided(self, bar: Bar) -> bool:
        """Some account's signal for the bar is known."""
        symbol = bar.instrument.symbol
        return any(signal_id(plan, symbol, bar.start_ns) in self.signals for plan in self.plans_of(symbol))

    def learn_signal(self, signal: signal_pb2.Signal, actor: common_pb2.Actor) -> None:
        """A signal is on the bus; its bar is decided. ``actor`` is the one its bead names."""
        self.signals[signal.signal_id] = signal
        if actor.kind == "operator":
            self.people[signal.signal_id] = actor
        while len(self.signals) > SIGNALS_MAX:
            forgotten, _ = self.signals.popitem(last=False)
            self.people.pop(forgotten, None)

    def latest_signals(self, limit: int) -> list[signal_pb2.Signal]:
        """Newest first."""
        return list(self.signals.values())[: -limit - 1 : -1]


# ── Bars ─────────────────────────────────────────────────────────────────────────────────────────────────


def decide_bar(state: PolicyState, plan: Plan, bar: Bar, moment: Moment) -> Decision:
    """Decide one bar for one account. Changes the state as if all effects had happened."""
    state.learn_bar(bar)
    book = state.books[plan.account]
    reading = momentum.read(_seen(state, bar, plan.momentum), plan.momentum)
    known = state.signals.get(signal_id(plan, bar.instrument.symbol, bar.start_ns))
    signal = known or _judged(plan, book, bar, reading, moment)
    strategy = _actor(plan.strategy, moment)
    bead = () if known else (_signal_bead(plan.account, signal, strategy, moment),)
    state.learn_signal(signal, strategy)
    if signal.action == _ENTER:
        intent, key = _entry_effect(plan, book, bar, reading, signal, moment)
        return Decision(signal, (*bead, *intent), key, signal.reason)
    if signal.action == _EXIT:
        return Decision(signal, (*bead, *_exit_effect(plan, book, bar, reading, moment)), reason=signal.reason)
    return Decision(signal, bead, reason=signal.reason)


def signal_id(plan: Plan, symbol: str, start_ns: int) -> str:
    return derived_id("signal", plan.strategy, plan.account, symbol, start_ns)


def intent_id(strategy: str, account: str, symbol: str, cause: str | int) -> str:
    return derived_id("intent", strategy, account, symbol, cause)


def _entry_effect(
    plan: Plan, book: Book, bar: Bar, reading: Reading | None, signal: signal_pb2.Signal, moment: Moment
) -> tuple[tuple[Publish, ...], str]:
    """The intent that an ENTER asks for and its id; nothing when it was proposed before or is no longer possible."""
    key = intent_id(plan.strategy, plan.account, signal.symbol, bar.start_ns)
    entry, _ = _entry(plan, book, bar, reading, signal.side, moment)
    if entry is None or key in book.intent_ids:
        return (), ""
    proposer = _actor(plan.strategy, moment)
    return (_propose(plan, book, bar, entry, signal, key, plan.intent_lifetime_ns, proposer, moment),), key


def _exit_effect(plan: Plan, book: Book, bar: Bar, reading: Reading | None, moment: Moment) -> tuple[Publish, ...]:
    """The request that an EXIT asks for; nothing when one is on its way or the trade is over."""
    slot = book.trade_on(bar.instrument.symbol)
    cause = _exit_cause(plan, book, slot, bar, reading) if slot is not None else None
    if slot is None or cause is None or book.is_leaving(slot):
        return ()
    return (_leave(plan, book, slot, cause, bar.start_ns, _actor(plan.strategy, moment), moment),)


def _seen(state: PolicyState, bar: Bar, parameters: Momentum) -> list[Bar]:
    return state.histories[bar.instrument.symbol].until(bar.start_ns, parameters.warm_up_bars)


def _judged(plan: Plan, book: Book, bar: Bar, reading: Reading | None, moment: Moment) -> signal_pb2.Signal:
    """ENTER, EXIT or HOLD, with the reason in words."""
    action, side, reason = _judgement(plan, book, bar, reading, moment)
    return signal_pb2.Signal(
        signal_id=signal_id(plan, bar.instrument.symbol, bar.start_ns),
        strategy=plan.strategy,
        symbol=bar.instrument.symbol,
        action=action,
        side=side,
        confidence=reading.confidence if reading is not None else 0.0,
        reference_price=bar.close.message(),
        factors=reading.factors(plan.momentum) if reading is not None else [],
        market_time_ns=bar.start_ns,
        created_at_ns=moment.now_ns,
        reason=reason,
    )


def _judgement(
    plan: Plan, book: Book, bar: Bar, reading: Reading | None, moment: Moment
) -> tuple[signal_pb2.SignalAction.ValueType, common_pb2.Side.ValueType, str]:
    none = common_pb2.SIDE_UNSPECIFIED
    slot = book.trade_on(bar.instrument.symbol)
    if slot is not None:
        cause = _exit_cause(plan, book, slot, bar, reading)
        if cause is None:
            return _HOLD, none, f"trade {slot.trade_id} is open, and nothing speaks against it"
        if book.is_leaving(slot):
            return _HOLD, none, f"{cause.value}: an exit of trade {slot.trade_id} is at work already"
        return _EXIT, none, f"{cause.value}: trade {slot.trade_id} is left"
    if reading is None:
        return _HOLD, none, f"warming up: {plan.momentum.warm_up_bars} bars with movement are needed"
    side = _direction(plan.momentum, reading)
    if side is None:
        return _HOLD, none, f"no trend: score {reading.score:+.2f}, entry from {plan.momentum.entry_score:.2f}"
    if book.is_pausing(plan.strategy, bar.instrument.symbol, bar.start_ns, plan.refusal_pause_days):
        return (
            _HOLD,
            none,
            f"no entry: the last intent was refused, and is not repeated for {plan.refusal_pause_days} days",
        )
    entry, reason = _entry(plan, book, bar, reading, side, moment)
    if entry is None:
        return _HOLD, none, f"no entry: {reason}"
    return _ENTER, side, f"trend score {reading.score:+.2f}; {reason}"


def _direction(parameters: Momentum, reading: Reading) -> common_pb2.Side.ValueType | None:
    """Where the trend points, if it is one."""
    if not reading.agrees or abs(reading.score) < parameters.entry_score:
        return None
    if reading.score > 0:
        return common_pb2.SIDE_BUY
    return None if parameters.long_only else common_pb2.SIDE_SELL


# ── Entries ──────────────────────────────────────────────────────────────────────────────────────────────


def _entry(
    plan: Plan,
    book: Book,
    bar: Bar,
    reading: Reading | None,
    side: common_pb2.Side.ValueType,
    moment: Moment,
) -> tuple[EntryPlan | None, str]:
    """The way in, or why there is none: one list of refusals, then the size."""
    waiting = book.waiting(moment.now_ns)
    capital = book.capital()
    open_count = sum(1 for _ in book.open_trades())
    if reading is None:
        return None, f"warming up: {plan.momentum.warm_up_bars} bars with movement are needed"
    if not moment.is_current:
        return None, "the journal could not be read to its end in time"
    if moment.now_ns - moment.stored_at_ns > plan.bar_age_ns_max:
        return None, f"the bar is {(moment.now_ns - moment.stored_at_ns) // 1_000_000_000} s old"
    if capital is None or book.snapshot is None:
        return None, "the account's capital is not known yet"
    if book.snapshot.entries_frozen:
        return None, f"entries are frozen: {book.snapshot.freeze_reason}"
    if book.trade_on(bar.instrument.symbol) is not None:
        return None, "a trade is open"
    if any(proposal.symbol == bar.instrument.symbol for proposal in waiting.values()):
        return None, "an intent is waiting"
    if book.snapshot.max_slots and open_count + len(waiting) >= book.snapshot.max_slots:
        return None, f"all {book.snapshot.max_slots} slots are taken or spoken for"
    stop, target = _protection(plan.momentum, bar, reading, side)
    if stop is None:
        return None, "the stop would be at or below zero"
    sized = sizing.size(
        plan.sizing, bar.instrument, capital=capital, exposure=book.exposure(moment.now_ns), price=bar.close, stop=stop
    )
    if not sized.qty:
        return None, f"quantity {sized.reason}"
    return EntryPlan(side, sized.qty, stop, target), f"quantity {sized.reason}"


def _protection(
    parameters: Momentum, bar: Bar, reading: Reading, side: common_pb2.Side.ValueType
) -> tuple[Number | None, Number | None]:
    """Stop and target at multiples of the average true range, the stop rounded away to a tick."""
    tick, scale = bar.instrument.tick_units, bar.instrument.price_scale
    sign = 1 if side == common_pb2.SIDE_BUY else -1
    stop_units = bar.close_units - sign * (reading.range_units * parameters.stop_range_permille // 1000)
    stop_units = stop_units // tick * tick if sign > 0 else -(-stop_units // tick) * tick
    target_units = bar.close_units + sign * (reading.range_units * parameters.target_range_permille // 1000)
    target_units = target_units // tick * tick
    has_target = parameters.target_range_permille > 0 and target_units > 0
    return (
        Number(stop_units, scale) if stop_units > 0 else None,
        Number(target_units, scale) if has_target else None,
    )


def _propose(
    plan: Plan,
    book: Book,
    bar: Bar,
    entry: EntryPlan,
    signal: signal_pb2.Signal,
    key: str,
    lifetime_ns: int,
    proposer: common_pb2.Actor,
    moment: Moment,
) -> Publish:
    """The intent of an entry, as a message; the book knows of it from here on."""
    intent = intent_pb2.Intent(
        intent_id=key,
        account=plan.account,
        venue=plan.venue,
        environment=plan.environment,
        instrument=bar.instrument,
        side=entry.side,
        order_qty=entry.qty.message(),
        order_type=common_pb2.ORDER_TYPE_MARKET,
        time_in_force=common_pb2.TIME_IN_FORCE_DAY,
        stop_price=entry.stop.message(),
        reference_price=bar.close.message(),
        leverage=plan.leverage,
        strategy=signal.strategy,
        signal=signal,
        attempt=1,
        anchor=common_pb2.StateAnchor(hash=book.state_hash(signal.symbol, bar.start_ns), as_of_ns=moment.now_ns),
        proposer=proposer,
        created_at_ns=moment.now_ns,
        expires_at_ns=moment.now_ns + lifetime_ns,
        bracket=plan.bracket,
    )
    if entry.target is not None:
        intent.target_price.CopyFrom(entry.target.message())
    book.learn_intent(intent)
    return effects.publish(subjects.intent(plan.account), intent, key, traceparent=moment.traceparent)


# ── Exits ────────────────────────────────────────────────────────────────────────────────────────────────


def _exit_cause(
    plan: Plan, book: Book, slot: state_pb2.SlotSnapshot, bar: Bar, reading: Reading | None
) -> ExitCause | None:
    """Why an open trade should be left now, the most urgent cause first; None: it should not, or is not ours."""
    origin = book.origins.get(slot.trade_id)
    if not plan.watches(slot.strategy) or slot.qty.units == 0:
        return None
    if origin is not None and bar.start_ns <= origin.market_time_ns:
        return None
    is_long = slot.qty.units > 0
    if not held_at_venue(slot, slot.stop) and _touched(slot, "stop_price", bar, below=is_long):
        return ExitCause.STOP
    if not held_at_venue(slot, slot.target) and _touched(slot, "target_price", bar, below=not is_long):
        return ExitCause.TARGET
    if slot.strategy == plan.strategy and reading is not None:
        toward = reading.score if is_long else -reading.score
        if toward < plan.momentum.exit_score:
            return ExitCause.REVERSAL
    if origin is not None and plan.momentum.holding_days_max:
        held_days = (bar.start_ns - origin.market_time_ns) // DAY_NS
        if held_days >= plan.momentum.holding_days_max:
            return ExitCause.HOLDING_TIME
    return None


def held_at_venue(slot: state_pb2.SlotSnapshot, order: state_pb2.OrderView) -> bool:
    """The venue watches this price for us. It does not while the entry may still fill: then it holds the order back."""
    is_entered = slot.entry.life not in LIVE_ORDERS
    return is_entered and order.life == state_pb2.ORDER_LIFE_OPEN and not order.in_doubt and not order.cancel_pending


def _touched(slot: state_pb2.SlotSnapshot, name: str, bar: Bar, *, below: bool) -> bool:
    if not slot.HasField(name):  # type: ignore[arg-type]
        return False
    level: Number = Number.of(getattr(slot, name))
    scale = bar.instrument.price_scale
    return Number(bar.low_units, scale) <= level if below else Number(bar.high_units, scale) >= level


def _leave(
    plan: Plan,
    book: Book,
    slot: state_pb2.SlotSnapshot,
    cause: ExitCause,
    occasion: str | int,
    requested_by: common_pb2.Actor,
    moment: Moment,
) -> Publish:
    """The request to leave a trade, all of it, at the market. It travels in the trade's own trace."""
    request_id = derived_id("exit", slot.trade_id, cause.value, occasion)
    request = intent_pb2.ExitRequest(
        request_id=request_id,
        account=plan.account,
        trade_id=slot.trade_id,
        order_type=common_pb2.ORDER_TYPE_MARKET,
        reason=cause.value,
        requested_by=requested_by,
        requested_at_ns=moment.now_ns,
    )
    origin = book.origins.get(slot.trade_id)
    traceparent = origin.traceparent if origin is not None and origin.traceparent else moment.traceparent
    book.learn_exit_sent(slot.trade_id, request_id)
    subject = subjects.inbox(partition_of(plan.account, moment.partitions), plan.account, "exit")
    return effects.publish(subject, inbox_pb2.InboxMessage(exit=request), request_id, traceparent=traceparent)


# ── Signals by hand ──────────────────────────────────────────────────────────────────────────────────────


def decide_manual(
    state: PolicyState,
    request_id: str,
    account: str,
    given: signal_pb2.Signal,
    caller: common_pb2.Actor,
    moment: Moment,
    *,
    bracket: bool = False,
) -> Decision:
    """A person's signal: sized, protected and proposed like the strategy's own, under a manual strategy's name.

    The caller is the proposer of what follows, so that somebody else has to approve it. The signal that is kept says
    what was decided: HOLD, with the reason, where what was asked for cannot be done. The same request id again, from
    the same person, changes nothing. Raises ``InvalidRequest`` for what could never be a signal.
    """
    checked_id("request_id", request_id)
    request = derived_id("by-hand", caller.id, request_id)
    plan = _plan_of(state.plans, account)
    plan = replace(plan, bracket=plan.bracket or bracket)
    strategy = _manual_strategy(plan, given)
    bar = _last_bar(state, given.symbol)
    book = state.books[account]
    reading = momentum.read(_seen(state, bar, plan.momentum), plan.momentum)
    key = derived_id("signal", strategy, account, request)
    signal = state.signals.get(key)
    bead: tuple[Publish, ...] = ()
    if signal is None:
        signal = signal_pb2.Signal()
        signal.CopyFrom(given)
        signal.signal_id, signal.strategy = key, strategy
        signal.market_time_ns, signal.created_at_ns = bar.start_ns, moment.now_ns
        signal.reference_price.CopyFrom(bar.close.message())
        signal.action, reason = _manual_judgement(plan, book, bar, reading, given, moment)
        signal.reason = f"{given.reason}; {reason}" if given.reason else reason
        bead = (_signal_bead(account, signal, caller, moment),)
        state.learn_signal(signal, caller)
    person = state.people.get(key, caller)
    consequence, proposed = _manual_effect(plan, book, bar, reading, signal, request, person, moment)
    return Decision(signal, (*bead, *consequence), proposed, signal.reason)


def _manual_judgement(
    plan: Plan, book: Book, bar: Bar, reading: Reading | None, given: signal_pb2.Signal, moment: Moment
) -> tuple[signal_pb2.SignalAction.ValueType, str]:
    """What was asked for if it can be done, else HOLD; and the reason in words."""
    if given.action == _HOLD:
        return _HOLD, "HOLD by hand"
    if given.action == _ENTER:
        entry, reason = _entry(plan, book, bar, reading, given.side, moment)
        return (_HOLD, f"no entry: {reason}") if entry is None else (_ENTER, reason)
    slot = book.trade_on(given.symbol)
    if slot is None:
        return _HOLD, f"no trade is open on {given.symbol}"
    if book.is_leaving(slot):
        return _HOLD, f"an exit of trade {slot.trade_id} is at work already"
    return _EXIT, f"trade {slot.trade_id} is left"


def _manual_effect(
    plan: Plan,
    book: Book,
    bar: Bar,
    reading: Reading | None,
    signal: signal_pb2.Signal,
    request: str,
    person: common_pb2.Actor,
    moment: Moment,
) -> tuple[tuple[Publish, ...], str]:
    """What follows from a signal by hand and has not happened yet, and the id of its intent."""
    key = intent_id(signal.strategy, plan.account, signal.symbol, request)
    if signal.action == _ENTER and key in book.intent_ids:
        return (), key
    if signal.action == _HOLD or moment.now_ns >= signal.created_at_ns + plan.manual_intent_lifetime_ns:
        return (), ""
    if signal.action == _ENTER:
        entry, _ = _entry(plan, book, bar, reading, signal.side, moment)
        if entry is None:
            return (), ""
        return (_propose(plan, book, bar, entry, signal, key, plan.manual_intent_lifetime_ns, person, moment),), key
    slot = book.trade_on(signal.symbol)
    # Only the trade that was open then: a later one was not meant.
    if slot is None or slot.opened_at_ns > signal.created_at_ns or book.is_leaving(slot):
        return (), ""
    return (_leave(plan, book, slot, ExitCause.OPERATOR, request, person, moment),), ""


def _plan_of(plans: Iterable[Plan], account: str) -> Plan:
    known = {plan.account: plan for plan in plans}
    if account not in known:
        raise InvalidRequest.of("account", account, "one of " + ", ".join(sorted(known)))
    return known[account]


def _manual_strategy(plan: Plan, given: signal_pb2.Signal) -> str:
    """The name a signal by hand goes under. Never an automatic strategy's: that name may have a mandate."""
    strategy = given.strategy or min(plan.manual_strategies, default="")
    if strategy not in plan.manual_strategies:
        rule = "for a signal by hand, one of " + ", ".join(sorted(plan.manual_strategies))
        raise InvalidRequest.of("signal.strategy", strategy, rule)
    if given.action not in (_ENTER, _EXIT, _HOLD):
        raise InvalidRequest.of("signal.action", given.action, "ENTER, EXIT or HOLD")
    if given.action == _ENTER and given.side not in (common_pb2.SIDE_BUY, common_pb2.SIDE_SELL):
        raise InvalidRequest.of("signal.side", given.side, "SIDE_BUY (long) or SIDE_SELL (short), to enter")
    if not 0.0 <= given.confidence <= 1.0:
        raise InvalidRequest.of("signal.confidence", given.confidence, "0 to 1")
    return strategy


def _last_bar(state: PolicyState, symbol: str) -> Bar:
    history = state.histories.get(symbol)
    if history is None or not history.bars:
        rule = "a symbol with market data: " + (", ".join(sorted(state.histories)) or "none yet")
        raise InvalidRequest.of("signal.symbol", symbol, rule)
    return history.bars[-1]


# ── Small parts ──────────────────────────────────────────────────────────────────────────────────────────


def _actor(strategy: str, moment: Moment) -> common_pb2.Actor:
    return common_pb2.Actor(id=f"policy/{strategy}", kind="strategy", origin=moment.origin)


def _signal_bead(account: str, signal: signal_pb2.Signal, actor: common_pb2.Actor, moment: Moment) -> Publish:
    bead = audit_pb2.Bead(
        bead_id=signal.signal_id,
        account=account,
        created_at_ns=moment.now_ns,
        actor=actor,
        signal=signal,
    )
    return effects.bead(bead, traceparent=moment.traceparent)
