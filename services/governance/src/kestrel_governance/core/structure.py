"""Structural checks: is this intent well formed, for an account of ours, on a sane instrument?

All of them run and all findings are reported, each with field, value and rule. None of them needs the state of
the account; whether the trade is wise is `risk.py`'s question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, checked_symbol
from kestrel_domain.numbers import INT64_MAX, SCALE_MAX, Number
from kestrel_governance.core import money
from kestrel_governance.core.limits import RiskLimits

_ENTRY_TYPES = (common_pb2.ORDER_TYPE_MARKET, common_pb2.ORDER_TYPE_LIMIT)
_TIMES_IN_FORCE = (
    common_pb2.TIME_IN_FORCE_DAY,
    common_pb2.TIME_IN_FORCE_GTC,
    common_pb2.TIME_IN_FORCE_IOC,
    common_pb2.TIME_IN_FORCE_FOK,
)
EXIT_LEGS_MAX = 8
"""As many as libkernel keeps (K19)."""
_BPS = 10_000
_PROPOSER_KINDS = ("operator", "service", "strategy")

Finding = InvalidRequest
Checks = Iterator[Finding | None]


def parse(stored: bytes) -> intent_pb2.Intent:
    """The intent in these bytes. Raises ``InvalidRequest`` when there is none that could even be answered."""
    intent = intent_pb2.Intent()
    try:
        intent.ParseFromString(stored)
    except Exception as error:  # protobuf raises one of several types, depending on its implementation
        raise InvalidRequest.of("intent", stored[:32].hex(), "a serialized kestrel.intent.v1.Intent") from error
    checked_id("intent_id", intent.intent_id)
    checked_id("account", intent.account)
    if intent.attempt < 1:
        raise InvalidRequest.of("attempt", intent.attempt, "1 or more")
    return intent


def findings(intent: intent_pb2.Intent, limits: RiskLimits, *, now_ns: int) -> list[Finding]:
    """Everything wrong with the intent's form, in the order of its fields. Empty: it is well formed."""
    rules = (_where, _instrument, _order, _prices, _bracket, _provenance, _times)
    return [found for rule in rules for found in rule(intent, limits, now_ns) if found is not None]


def _where(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    rule = limits.accounts.get(intent.account)
    if rule is None:
        yield _wrong("account", intent.account, "one of " + ", ".join(sorted(limits.accounts)))
    elif intent.venue != rule.venue:
        yield _wrong("venue", intent.venue, f"{rule.venue}, where account {rule.account} trades")
    if intent.environment != limits.environment:
        yield _wrong("environment", _name(common_pb2.Environment, intent.environment), "the platform's own")


def _instrument(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    instrument = intent.instrument
    yield _refusal_of(lambda: checked_symbol("instrument.symbol", instrument.symbol))
    rule = limits.accounts.get(intent.account)
    if rule is not None and instrument.currency != rule.currency:
        yield _wrong("instrument.currency", instrument.currency, f"{rule.currency}, the account's")
    for name in ("price_scale", "qty_scale"):
        scale = getattr(instrument, name)
        yield _unless(0 <= scale <= SCALE_MAX, f"instrument.{name}", scale, f"0 to {SCALE_MAX}")
    for name in ("tick_units", "lot_units", "multiplier"):
        units = getattr(instrument, name)
        yield _unless(units > 0, f"instrument.{name}", units, "above 0")


def _order(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    side, order_type, time_in_force = intent.side, intent.order_type, intent.time_in_force
    known_side = side in (common_pb2.SIDE_BUY, common_pb2.SIDE_SELL)
    yield _unless(known_side, "side", _name(common_pb2.Side, side), "BUY or SELL")
    yield _step(intent, "order_qty", intent.instrument.qty_scale, intent.instrument.lot_units, "lot")
    type_name = _name(common_pb2.OrderType, order_type)
    yield _unless(order_type in _ENTRY_TYPES, "order_type", type_name, "MARKET or LIMIT for an entry")
    force_name = _name(common_pb2.TimeInForce, time_in_force)
    yield _unless(time_in_force in _TIMES_IN_FORCE, "time_in_force", force_name, "DAY, GTC, IOC or FOK")
    legs = list(intent.exit_leg_bps)
    whole = len(legs) <= EXIT_LEGS_MAX and all(1 <= leg <= _BPS for leg in legs)
    yield _unless(whole, "exit_leg_bps", legs, f"at most {EXIT_LEGS_MAX} legs of 1 to {_BPS} each")
    within = 1 <= intent.leverage <= limits.venue_leverage_max
    yield _unless(within, "leverage", intent.leverage, f"1 to {limits.venue_leverage_max}")


def _prices(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    scale, tick = intent.instrument.price_scale, intent.instrument.tick_units
    limit_order = intent.order_type == common_pb2.ORDER_TYPE_LIMIT
    if intent.HasField("price") != limit_order:
        shown = money.text(money.read(intent.price, "price")) if _readable(intent.price) else "?"
        yield _wrong("price", shown if intent.HasField("price") else "", "set for a limit order, and only for one")
    for name in ("price", "stop_price", "target_price"):
        if intent.HasField(name):
            yield _step(intent, name, scale, tick, "tick")
    yield _step(intent, "reference_price", scale, 1, "price unit")


def _bracket(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    """What the venue shall hold with the entry has to make sense before there is a fill."""
    if not intent.bracket:
        return
    rule = limits.accounts.get(intent.account)
    if rule is not None:
        yield _unless(
            rule.brackets, "bracket", True, f"false: {rule.venue} cannot hold orders together with their entry"
        )
    yield _unless(intent.HasField("stop_price"), "stop_price", "", "is required for a bracket")
    legs = list(intent.exit_leg_bps)
    yield _unless(not legs, "exit_leg_bps", legs, "empty for a bracket: its target is for all of it")
    is_limit = intent.order_type == common_pb2.ORDER_TYPE_LIMIT
    entry_field = "price" if is_limit else "reference_price"
    is_buy = intent.side == common_pb2.SIDE_BUY
    yield _beside(intent, "stop_price", entry_field, is_below=is_buy)
    yield _beside(intent, "target_price", entry_field, is_below=not is_buy)


def _beside(intent: intent_pb2.Intent, field: str, entry_field: str, *, is_below: bool) -> Finding | None:
    """A price that has to lie on one side of where the trade begins."""

    def check() -> None:
        if not intent.HasField(field) or not intent.HasField(entry_field):  # type: ignore[arg-type]
            return
        price, entry = (money.read(getattr(intent, name), name) for name in (field, entry_field))
        if not (price < entry if is_below else price > entry):
            raise _wrong(field, price, f"{'below' if is_below else 'above'} {entry_field}, {entry}, for a bracket")

    return _refusal_of(check)


def _provenance(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    yield _unless(bool(intent.strategy), "strategy", "", "is required")
    if intent.strategy:
        yield _refusal_of(lambda: checked_id("strategy", intent.strategy))
    yield _unless(bool(intent.proposer.id), "proposer.id", "", "is required")
    kind = intent.proposer.kind
    yield _unless(kind in _PROPOSER_KINDS, "proposer.kind", kind, "one of " + ", ".join(_PROPOSER_KINDS))
    yield _unless(bool(intent.anchor.hash), "anchor.hash", "", "is required")
    latest = now_ns + limits.clock_skew_ns_max
    as_of = intent.anchor.as_of_ns
    yield _unless(0 < as_of <= latest, "anchor.as_of_ns", as_of, "a time that has been")


def _times(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> Checks:
    created, expires = intent.created_at_ns, intent.expires_at_ns
    yield _unless(0 < created <= now_ns + limits.clock_skew_ns_max, "created_at_ns", created, "a time that has been")
    yield _unless(expires > created, "expires_at_ns", expires, "after created_at_ns")
    lifetime = limits.intent_lifetime_ns_max
    yield _unless(expires - created <= lifetime, "expires_at_ns", expires, f"at most {lifetime} ns after created_at_ns")


def _step(intent: intent_pb2.Intent, field: str, scale: int, step_units: int, step_name: str) -> Finding | None:
    """A number that must be set, above 0, exact at the instrument's scale and a multiple of its step."""

    def check() -> None:
        if not intent.HasField(field):  # type: ignore[arg-type]
            raise _wrong(field, "", "is required")
        number: Number = money.read(getattr(intent, field), field)
        if number.units <= 0:
            raise _wrong(field, number, "above 0")
        if not 0 <= scale <= SCALE_MAX or step_units <= 0:
            return  # the instrument itself was refused already
        units, lost = divmod(number.units * 10**scale, 10**number.scale)
        if lost:
            raise _wrong(field, number, f"at most {scale} decimals")
        if units > INT64_MAX:
            raise _wrong(field, number, f"must fit a signed 64-bit integer at scale {scale}")
        if units % step_units:
            raise _wrong(field, number, f"a multiple of the {step_name}, {Number(step_units, scale)}")

    return _refusal_of(check)


def _refusal_of(check: Callable[[], object]) -> Finding | None:
    try:
        check()
    except InvalidRequest as error:
        return error
    return None


def _unless(holds: bool, field: str, value: object, rule: str) -> Finding | None:
    return None if holds else _wrong(field, value, rule)


def _wrong(field: str, value: object, rule: str) -> Finding:
    return InvalidRequest.of(field, value, rule, reason="INVALID_INTENT")


def _readable(message: common_pb2.Decimal) -> bool:
    return 0 <= message.scale <= SCALE_MAX


def _name(enum: object, value: int) -> str:
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined]
    except ValueError:
        return str(value)
