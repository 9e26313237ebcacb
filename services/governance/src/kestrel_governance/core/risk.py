"""Risk checks: may this well-formed entry be added to what the account already holds?

Every check runs, every result is reported, then one decision is taken. A check that lacks an input, or whose figures
do not fit, is INDETERMINATE, and that blocks an entry just as BLOCK does. Exits never come here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_governance.core import evidence, kill, money, reasons
from kestrel_governance.core.books import AccountBook, NotComputable, slot_exposure, working_exposure
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.core.money import Exact

PASS, WARN = authority_pb2.CHECK_VERDICT_PASS, authority_pb2.CHECK_VERDICT_WARN
BLOCK, INDETERMINATE = authority_pb2.CHECK_VERDICT_BLOCK, authority_pb2.CHECK_VERDICT_INDETERMINATE
RiskCheck = authority_pb2.RiskCheck
INVALID_INTENT = "INVALID_INTENT"
"""The intent is not well formed: then this is all that is reported of it, and no risk is looked at."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Capital held by an authorized intent that no slot shows yet."""

    intent_id: str
    symbol: str
    notional: Exact
    leverage: int


@dataclass(frozen=True, slots=True)
class Recent:
    """An entry asked for, or authorized, a moment ago."""

    intent_id: str
    attempt: int
    account: str
    symbol: str
    side: int
    order_qty: Exact
    at_ns: int
    authorized: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the checks may look at. ``flags`` None: they cannot be read. ``book`` None: nothing journaled yet.

    ``market``: the newest bar the venue gave for the instrument. ``newest_authorized_attempt``: of this very intent,
    0 for none.
    """

    now_ns: int
    flags: authority_pb2.KillFlags | None
    book: AccountBook | None
    reservations: Sequence[Reservation] = ()
    recent: Sequence[Recent] = ()
    notional_of_entry: Mapping[str, Exact] | None = None
    market: venue_pb2.Bar | None = None
    newest_authorized_attempt: int = 0


@dataclass(frozen=True)
class Case:
    """One intent held against the facts and the limits. What several checks ask for is worked out once."""

    intent: intent_pb2.Intent
    facts: Facts
    limits: RiskLimits

    @property
    def book(self) -> AccountBook:
        if self.facts.book is None:
            raise NotComputable("nothing has been journaled for this account yet")
        return self.facts.book

    @cached_property
    def open_slots(self) -> list[state_pb2.SlotSnapshot]:
        return self.book.open_slots()

    @cached_property
    def notional(self) -> Exact:
        return evidence.notional(self.intent, self.limits.price_collar_ratio_max)

    @cached_property
    def equity(self) -> Exact:
        equity = self.book.equity()
        if equity <= 0:
            raise NotComputable(f"equity is {money.text(equity)}, and a share of it means nothing")
        return equity

    @cached_property
    def exposure_by_symbol(self) -> dict[str, Exact]:
        """Projected gross exposure: open slots, reservations and this order."""
        notionals = self.facts.notional_of_entry or {}
        exposure = defaultdict(lambda: money.ZERO, {self.intent.instrument.symbol: self.notional})
        for slot in self.open_slots:
            exposure[slot.instrument.symbol] += slot_exposure(slot, notionals)
        for reservation in self.facts.reservations:
            exposure[reservation.symbol] += reservation.notional
        return exposure

    @cached_property
    def exposure(self) -> Exact:
        return sum(self.exposure_by_symbol.values(), money.ZERO)


def evaluate(intent: intent_pb2.Intent, facts: Facts, limits: RiskLimits) -> list[RiskCheck]:
    """All checks in their fixed order."""
    case = Case(intent, facts, limits)
    return [_guarded(reason, check, case) for reason, check in _CHECKS]


def with_flags(
    checks: Sequence[RiskCheck],
    intent: intent_pb2.Intent,
    flags: authority_pb2.KillFlags | None,
    limits: RiskLimits,
    now_ns: int,
) -> list[RiskCheck]:
    """The same checks held against these kill flags: no other check looks at them."""
    case = Case(intent, Facts(now_ns, flags, None), limits)
    killed = _guarded("KILL_ACTIVE", _kill_active, case)
    return [killed if check.reason == "KILL_ACTIVE" else check for check in checks]


def blocks(checks: Iterable[RiskCheck]) -> list[RiskCheck]:
    """Those that stop an entry."""
    return [check for check in checks if check.verdict not in (PASS, WARN)]


def result(reason: str, verdict: int, value: object, limit: object, message: str) -> RiskCheck:
    return RiskCheck(
        reason=reason,
        verdict=verdict,  # type: ignore[arg-type]  # an enum value, kept as int above
        value=money.text(value),
        limit=money.text(limit),
        message=message,
        runbook=reasons.runbook(reason),
    )


def invalid(finding: InvalidRequest) -> RiskCheck:
    """A structural finding in the form of a check: its field and value, and the rule as the limit."""
    return result(INVALID_INTENT, BLOCK, f"{finding.field}={finding.value[:120]}", finding.rule, str(finding))


def _guarded(reason: str, check: Callable[[Case], RiskCheck], case: Case) -> RiskCheck:
    try:
        return check(case)
    except NotComputable as error:
        return result(reason, INDETERMINATE, "", "", str(error))
    except InvalidRequest as error:
        return result(reason, INDETERMINATE, error.value, error.rule, str(error))


def _at_most(case: Case, reason: str, value: Exact, limit: Exact, what: str) -> RiskCheck:
    """PASS, WARN from four fifths of the limit, BLOCK above it."""
    shown, most = money.text(value), money.text(limit)
    near = value >= limit * money.exact(case.limits.warn_ratio)
    verdict = BLOCK if value > limit else WARN if near else PASS
    return result(reason, verdict, shown, most, f"{what}: {shown} of at most {most}")


def _kill_active(case: Case) -> RiskCheck:
    flags = case.facts.flags
    if flags is None:
        raise NotComputable("the kill flags cannot be read, which counts as killed")
    active = kill.covering(flags, case.intent, case.facts.now_ns)
    if not active:
        return result("KILL_ACTIVE", PASS, "none", "none", "no kill flag covers this intent")
    names = ", ".join(kill.name(flag) for flag in active)
    why = "; ".join(f"{flag.reason} ({flag.set_by.id})" for flag in active)
    return result("KILL_ACTIVE", BLOCK, names, "none", f"killed: {names}: {why}")


def _state_stale(case: Case) -> RiskCheck:
    age_ns = case.facts.now_ns - case.intent.anchor.as_of_ns
    limit_ns = case.limits.anchor_age_ns_max
    message = f"the state behind the decision is {age_ns // SECOND_NS} s old, at most {limit_ns // SECOND_NS} s"
    value, limit = f"{age_ns // SECOND_NS} s", f"{limit_ns // SECOND_NS} s"
    if age_ns > limit_ns:
        return result("STATE_CONFLICT", BLOCK, value, limit, message)
    near = age_ns >= limit_ns * money.exact(case.limits.warn_ratio)
    return result("STATE_STALE", WARN if near else PASS, value, limit, message)


def _attempt_superseded(case: Case) -> RiskCheck:
    """A later attempt is made when this one was given up. Its trade may be over: this one is not wanted any more."""
    attempt, newest = case.intent.attempt, case.facts.newest_authorized_attempt
    if attempt < newest:
        message = f"attempt {newest} of this intent was authorized already"
        return result("ATTEMPT_SUPERSEDED", BLOCK, attempt, "", message)
    return result("ATTEMPT_SUPERSEDED", PASS, attempt, "", "no later attempt of this intent was authorized")


def _account_frozen(case: Case) -> RiskCheck:
    account = case.book.account
    if account is None:
        raise NotComputable("no snapshot of the account has been journaled yet")
    if account.entries_frozen:
        return result("ACCOUNT_FROZEN", BLOCK, "frozen", "open", f"entries are frozen: {account.freeze_reason}")
    return result("ACCOUNT_FROZEN", PASS, "open", "open", "entries are not frozen")


def _capital_unknown(case: Case) -> RiskCheck:
    equity, account = case.book.equity(), case.book.account
    if equity <= 0:
        return result("CAPITAL_UNKNOWN", BLOCK, equity, "above 0", f"equity is {money.text(equity)}")
    if account is not None and account.capital_source == state_pb2.CAPITAL_SOURCE_SEED:
        message = "capital is the configured seed; the venue has not confirmed it yet"
        return result("CAPITAL_UNKNOWN", WARN, equity, "above 0", message)
    return result("CAPITAL_UNKNOWN", PASS, equity, "above 0", f"equity is {money.text(equity)}")


def _min_size(case: Case) -> RiskCheck:
    quantity, least = evidence.quantity(case.intent), case.limits.order_qty_min
    verdict = BLOCK if quantity < money.exact(least) else PASS
    return result("MIN_SIZE", verdict, quantity, least, f"quantity {money.text(quantity)}, at least {least}")


def _max_size(case: Case) -> RiskCheck:
    most = money.exact(case.limits.order_qty_max)
    return _at_most(case, "MAX_SIZE", evidence.quantity(case.intent), most, "quantity")


def _order_notional(case: Case) -> RiskCheck:
    cap = money.exact(case.limits.order_notional_max)
    if case.notional > cap:  # a verdict that needs no equity
        return _at_most(case, "ORDER_NOTIONAL", case.notional, cap, "order notional")
    share = case.equity * money.exact(case.limits.order_notional_ratio_max)
    return _at_most(case, "ORDER_NOTIONAL", case.notional, min(cap, share), "order notional")


def _price_collar(case: Case) -> RiskCheck:
    collar = money.exact(case.limits.price_collar_ratio_max)
    if case.intent.order_type == common_pb2.ORDER_TYPE_MARKET:
        return result("PRICE_COLLAR", PASS, "market", collar, "a market order; it is counted at the whole collar")
    limit = money.of(case.intent.price)
    reference = money.of(case.intent.reference_price)
    return _at_most(case, "PRICE_COLLAR", abs(limit / reference - 1), collar, "limit price away from reference")


def _reference_price(case: Case) -> RiskCheck:
    """Everything is counted at the intent's own reference, so it is held against what the market says."""
    bar, most = case.facts.market, money.exact(case.limits.reference_deviation_ratio_max)
    if bar is None or bar.close.units <= 0:
        if case.limits.environment == common_pb2.ENVIRONMENT_LIVE:
            raise NotComputable("no market price is known to hold the reference price against")
        return result(
            "REFERENCE_PRICE", WARN, "unknown", most, "no market price is known to hold the reference against"
        )
    if bar.instrument != case.intent.instrument:
        message = "the intent's instrument (scales, tick, lot, multiplier) is not the venue's newest version of it"
        return result("REFERENCE_PRICE", BLOCK, case.intent.instrument.version, bar.instrument.version, message)
    close = money.exact(money.read(bar.close, "bar.close"))
    away = abs(money.of(case.intent.reference_price) / close - 1)
    return _at_most(case, "REFERENCE_PRICE", away, most, f"reference price away from the market's {money.text(close)}")


def _duplicate(case: Case) -> RiskCheck:
    intent, now_ns, window_ns = case.intent, case.facts.now_ns, case.limits.duplicate_window_ns
    same = [
        other.intent_id
        for other in case.facts.recent
        if other.intent_id != intent.intent_id
        and (other.account, other.symbol, other.side) == (intent.account, intent.instrument.symbol, intent.side)
        and other.order_qty == evidence.quantity(intent)
        and now_ns - other.at_ns < window_ns
    ]
    window = f"{Number(window_ns, 9).decimal().normalize():f} s"
    if same:
        message = f"same account, symbol, side and quantity as {same[-1]}, less than {window} ago"
        return result("DUPLICATE", BLOCK, same[-1], window, message)
    return result("DUPLICATE", PASS, "none", window, f"nothing like it within {window}")


def _rate_order(case: Case) -> RiskCheck:
    intent, since_ns = case.intent, case.facts.now_ns - case.limits.order_rate_window_ns
    count = 1 + sum(
        other.authorized and other.account == intent.account and other.at_ns > since_ns for other in case.facts.recent
    )
    most = case.limits.order_rate_count_max
    return _at_most(case, "RATE_ORDER", Exact(count), Exact(most), "entries in the window, with this one")


def _open_positions(case: Case) -> RiskCheck:
    most = case.limits.open_position_count_max
    if case.book.account is not None and case.book.account.max_slots:
        most = min(most, case.book.account.max_slots)
    count = len(case.open_slots) + len(case.facts.reservations) + 1
    return _at_most(case, "OPEN_POSITIONS", Exact(count), Exact(most), "open trades, with this one")


def _symbol_busy(case: Case) -> RiskCheck:
    """The venue nets what an account holds of a symbol, so a second trade in it could not be told from the first."""
    symbol = case.intent.instrument.symbol
    trades = [slot.trade_id for slot in case.open_slots if slot.instrument.symbol == symbol]
    trades += [each.intent_id for each in case.facts.reservations if each.symbol == symbol]
    if trades:
        return result("SYMBOL_BUSY", BLOCK, trades[0], "none", f"trade {trades[0]} in {symbol} is not over")
    return result("SYMBOL_BUSY", PASS, "none", "none", f"no other trade in {symbol}")


def _stop_required(case: Case) -> RiskCheck:
    intent, farthest = case.intent, money.exact(case.limits.stop_distance_ratio_max)
    if not intent.HasField("stop_price"):
        verdict = BLOCK if case.limits.stop_required else PASS
        return result("STOP_REQUIRED", verdict, "none", "a stop", "the intent has no stop")
    reference, stop = (money.of(price) for price in (intent.reference_price, intent.stop_price))
    distance = (reference - stop if intent.side == common_pb2.SIDE_BUY else stop - reference) / reference
    if distance <= 0:
        message = f"the stop at {money.text(stop)} is not on the losing side of {money.text(reference)}"
        return result("STOP_REQUIRED", BLOCK, distance, farthest, message)
    if distance > farthest:
        return result("STOP_REQUIRED", BLOCK, distance, farthest, "the stop is too far from the reference price")
    return result("STOP_REQUIRED", PASS, distance, farthest, "the stop is on the losing side and near enough")


def _risk_per_trade(case: Case) -> RiskCheck:
    risk = evidence.risk_at_stop(case.intent)
    if risk is None:
        if not case.limits.stop_required:
            return result("RISK_PER_TRADE", PASS, "no stop", "", "stops are not required, and there is none")
        raise NotComputable("without a stop the trade's risk has no bound")
    limit = case.equity * money.exact(case.limits.risk_per_trade_ratio_max)
    return _at_most(case, "RISK_PER_TRADE", risk, limit, "loss at the stop")


def _buying_power(case: Case) -> RiskCheck:
    notionals = case.facts.notional_of_entry or {}
    working = (working_exposure(slot, notionals) / (slot.leverage or 1) for slot in case.open_slots)
    reserved = (one.notional / (one.leverage or 1) for one in case.facts.reservations)
    margin = case.notional / case.intent.leverage + sum(working, sum(reserved, money.ZERO))
    usable = case.book.available() * (1 - money.exact(case.limits.buying_power_buffer_ratio))
    return _at_most(case, "BUYING_POWER", margin, usable, "margin of this order and of what is reserved")


def _total_exposure(case: Case) -> RiskCheck:
    limit = case.equity * money.exact(case.limits.total_exposure_ratio_max)
    return _at_most(case, "TOTAL_EXPOSURE", case.exposure, limit, "projected gross exposure")


def _leverage(case: Case) -> RiskCheck:
    projected = case.exposure / case.equity
    return _at_most(
        case, "LEVERAGE", projected, money.exact(case.limits.leverage_max), "projected exposure over equity"
    )


def _symbol_exposure(case: Case) -> RiskCheck:
    symbol = case.intent.instrument.symbol
    limit = case.equity * money.exact(case.limits.symbol_exposure_ratio_max)
    return _at_most(case, "SYMBOL_EXPOSURE", case.exposure_by_symbol[symbol], limit, f"projected exposure in {symbol}")


_CHECKS: tuple[tuple[str, Callable[[Case], RiskCheck]], ...] = (
    ("KILL_ACTIVE", _kill_active),
    ("ATTEMPT_SUPERSEDED", _attempt_superseded),
    ("STATE_STALE", _state_stale),
    ("ACCOUNT_FROZEN", _account_frozen),
    ("CAPITAL_UNKNOWN", _capital_unknown),
    ("MIN_SIZE", _min_size),
    ("MAX_SIZE", _max_size),
    ("ORDER_NOTIONAL", _order_notional),
    ("PRICE_COLLAR", _price_collar),
    ("REFERENCE_PRICE", _reference_price),
    ("DUPLICATE", _duplicate),
    ("RATE_ORDER", _rate_order),
    ("OPEN_POSITIONS", _open_positions),
    ("SYMBOL_BUSY", _symbol_busy),
    ("STOP_REQUIRED", _stop_required),
    ("RISK_PER_TRADE", _risk_per_trade),
    ("BUYING_POWER", _buying_power),
    ("TOTAL_EXPOSURE", _total_exposure),
    ("LEVERAGE", _leverage),
    ("SYMBOL_EXPOSURE", _symbol_exposure),
)
