"""From contract messages to libkernel's inputs.

One inbox message is one input. Everything malformed is an ``InvalidRequest`` that names the field, the value and the
rule; nothing is guessed, with two exceptions, each leaving a note in the journal:

* an exit is never suppressed (K20): a malformed size means "all that is left", a malformed price means "at market";
* a fill is real money: a fee that cannot be used (another currency) is left out, so that the kernel predicts it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, checked_symbol, derived_id
from kestrel_kernel.core import scaling

INPUT_BYTES_MAX = 256 * 1024
"""A journal entry holds its input and what followed, and has to stay below the bus's limit of 1 MiB."""

EXIT_LEGS_MAX = 8
_BPS = 10_000

_TEXT = re.compile(r"[!-~]{1,64}\Z")
_Listed = TypeVar("_Listed", bound=IntEnum)


class Stamp(NamedTuple):
    """Where an input stands: the kernel's time, its place in INBOX, and its entry's place in the journal."""

    now_ns: int
    input_sequence: int
    journal_sequence: int


@dataclass(frozen=True, slots=True)
class Trade:
    """What the service remembers of a trade and libkernel has no use for."""

    trade_id: str
    exit_warrant: str
    intent: bytes = b""
    traceparent: str = ""


class Translated(NamedTuple):
    """One input for libkernel; the trade it would open; why it was asked; what had to be repaired."""

    value: lk.Input | lk.Prepared
    trade: Trade | None = None
    token: str = ""
    reason: str = ""
    notes: tuple[journal_pb2.Anomaly, ...] = ()


def parse(data: bytes) -> inbox_pb2.InboxMessage:
    """The message in the bytes. Raises ``InvalidRequest`` when there is none, or no body that we know."""
    if len(data) > INPUT_BYTES_MAX:
        raise InvalidRequest.of("message", f"{len(data)} bytes", f"at most {INPUT_BYTES_MAX} bytes")
    message = _parsed(inbox_pb2.InboxMessage(), data, "message", "kestrel.kernel.v1.InboxMessage")
    if message.WhichOneof("body") is None:
        raise InvalidRequest.of("body", "", "one of entry, exit, venue, tick, control, adopt")
    return message


def translate(
    message: inbox_pb2.InboxMessage, door: str, configuration: state_pb2.AccountConfiguration, stamp: Stamp
) -> Translated:
    """What libkernel is to apply. Raises ``InvalidRequest``, also when the message came by the wrong door."""
    body = message.WhichOneof("body") or ""
    if body != door:
        raise InvalidRequest.of("body", body, f"the door {door!r} takes {door!r} only", reason="WRONG_DOOR")
    translator = _TRANSLATORS[body]
    return translator(getattr(message, body), configuration, stamp)


def trade_id_of(data: bytes) -> str:
    """The trade a message is about, as far as it can be read at all; else empty."""
    try:
        message = parse(data)
    except InvalidRequest:
        return ""
    match message.WhichOneof("body"):
        case "entry":
            try:
                return intent_pb2.Intent.FromString(message.entry.intent).intent_id[: identifiers.ID_LENGTH_MAX]
            except DecodeError:
                return ""
        case "exit":
            return message.exit.trade_id[: identifiers.ID_LENGTH_MAX]
        case "adopt":
            return message.adopt.adoption_id[: identifiers.ID_LENGTH_MAX]
        case _:
            return ""


# --- requests --------------------------------------------------------------------------------------------------------


def _entry(
    authorized: intent_pb2.AuthorizedIntent, configuration: state_pb2.AccountConfiguration, stamp: Stamp
) -> Translated:
    if not authorized.token:
        raise InvalidRequest.of("entry.token", "", "is required: nothing is entered without permission")
    if not authorized.exit_warrant:
        raise InvalidRequest.of("entry.exit_warrant", "", "is required: nothing is entered without a way out")
    if authorized.expires_at_ns <= 0:
        raise InvalidRequest.of("entry.expires_at_ns", authorized.expires_at_ns, "is required, and absolute")
    intent = _parsed(intent_pb2.Intent(), authorized.intent, "entry.intent", "kestrel.intent.v1.Intent")
    checked_id("intent.intent_id", intent.intent_id)
    _same("intent.account", intent.account, configuration.account)
    _same("intent.venue", intent.venue, configuration.venue)
    _same("intent.environment", intent.environment, configuration.environment)
    if intent.attempt < 1:
        raise InvalidRequest.of("intent.attempt", intent.attempt, "1 or more")
    instrument = _instrument("intent.instrument", intent.instrument, configuration)
    token_id = identifiers.token_id(intent.intent_id, intent.attempt)
    value = lk.Enter(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=token_id,
        trade_id=intent.intent_id,
        client_order_id=identifiers.entry_client_order_id(token_id),
        instrument=instrument,
        side=_one_of(lk.Side, "intent.side", intent.side),
        order_type=_one_of(lk.OrderType, "intent.order_type", intent.order_type),
        time_in_force=_one_of(lk.TimeInForce, "intent.time_in_force", intent.time_in_force),
        qty=_required(intent, "intent", "order_qty", instrument.qty_scale),
        price=_optional(intent, "intent", "price", instrument.price_scale),
        stop_price=_optional(intent, "intent", "stop_price", instrument.price_scale),
        target_price=_optional(intent, "intent", "target_price", instrument.price_scale),
        reference_price=_optional(intent, "intent", "reference_price", instrument.price_scale),
        leverage=max(1, intent.leverage),
        expires_at_ns=authorized.expires_at_ns,
        strategy=_text("intent.strategy", intent.strategy, required=False),
        exit_leg_bps=_exit_legs(intent.exit_leg_bps),
        bracket=intent.bracket,
    )
    trade = Trade(intent.intent_id, authorized.exit_warrant, authorized.intent)
    return Translated(value, trade=trade, token=authorized.token)


def _exit_legs(legs: Sequence[int]) -> Sequence[int]:
    """Each leg's share of what remains then (K19)."""
    if len(legs) > EXIT_LEGS_MAX or any(not 1 <= leg <= _BPS for leg in legs):
        rule = f"at most {EXIT_LEGS_MAX} legs of 1 to {_BPS} each"
        raise InvalidRequest.of("intent.exit_leg_bps", list(legs)[: EXIT_LEGS_MAX + 1], rule)
    return legs


def _exit(request: intent_pb2.ExitRequest, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    checked_id("exit.request_id", request.request_id)
    checked_id("exit.trade_id", request.trade_id)
    _same("exit.account", request.account, configuration.account)
    order_type, price, notes = _exit_price(request)
    qty = _exit_qty(request)
    value = lk.Exit(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=derived_id("exit", request.request_id),
        trade_id=request.trade_id,
        client_order_id=identifiers.exit_client_order_id(request.trade_id, stamp.input_sequence),
        qty=None if qty is None else qty[0],
        qty_scale=0 if qty is None else qty[1],
        order_type=order_type,
        price=None if price is None else price[0],
        price_scale=0 if price is None else price[1],
    )
    return Translated(value, reason=request.reason, notes=notes)


def _exit_qty(request: intent_pb2.ExitRequest) -> tuple[int, int] | None:
    """Units and scale; 0 units for a malformed size, which libkernel repairs to all that is left (K19)."""
    if not request.HasField("order_qty"):
        return None
    try:
        qty = scaling.shortest("exit.order_qty", request.order_qty)
    except InvalidRequest:
        return 0, 0
    return max(0, qty.units), qty.scale


def _exit_price(
    request: intent_pb2.ExitRequest,
) -> tuple[lk.OrderType, tuple[int, int] | None, tuple[journal_pb2.Anomaly, ...]]:
    if request.order_type in (common_pb2.ORDER_TYPE_UNSPECIFIED, common_pb2.ORDER_TYPE_MARKET):
        return lk.OrderType.MARKET, None, ()
    try:
        price = scaling.shortest("exit.price", request.price)
    except InvalidRequest:
        price = scaling.Units(0, 0)
    if request.order_type == common_pb2.ORDER_TYPE_LIMIT and price.units > 0:
        return lk.OrderType.LIMIT, (price.units, price.scale), ()
    note = _note("EXIT_PRICE_REPAIRED", "the exit's order type or price could not be used; it leaves at market")
    return lk.OrderType.MARKET, None, (note,)


def _control(control: inbox_pb2.Control, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    checked_id("control.request_id", control.request_id)
    _same("control.account", control.account, configuration.account)
    now_ns, sequence = stamp.now_ns, stamp.journal_sequence
    event_id = derived_id("control", control.request_id)
    strategy = _text("control.strategy", control.strategy, required=False)
    symbol = checked_symbol("control.symbol", control.symbol) if control.symbol else ""
    value: lk.Input
    match control.action:
        case inbox_pb2.CONTROL_ACTION_CANCEL_ORDER:
            client_order_id = _text("control.client_order_id", control.client_order_id)
            value = lk.Cancel(now_ns=now_ns, sequence=sequence, event_id=event_id, client_order_id=client_order_id)
        case inbox_pb2.CONTROL_ACTION_CANCEL_WORKING_ENTRIES:
            value = lk.CancelWorkingEntries(
                now_ns=now_ns, sequence=sequence, event_id=event_id, strategy=strategy, symbol=symbol
            )
        case inbox_pb2.CONTROL_ACTION_FLATTEN:
            root = identifiers.exit_client_order_id("flatten-" + configuration.account, stamp.input_sequence)
            value = lk.Flatten(
                now_ns=now_ns,
                sequence=sequence,
                event_id=event_id,
                client_order_id_root=root,
                strategy=strategy,
                symbol=symbol,
            )
        case inbox_pb2.CONTROL_ACTION_FREEZE_ENTRIES:
            value = lk.FreezeEntries(now_ns=now_ns, sequence=sequence, event_id=event_id)
        case inbox_pb2.CONTROL_ACTION_UNFREEZE_ENTRIES:
            value = lk.UnfreezeEntries(now_ns=now_ns, sequence=sequence, event_id=event_id)
        case _:
            raise InvalidRequest.of("control.action", control.action, "one of the named actions")
    return Translated(value, reason=control.reason)


def _adopt(adoption: inbox_pb2.Adoption, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    checked_id("adopt.adoption_id", adoption.adoption_id)
    _same("adopt.account", adoption.account, configuration.account)
    _same("adopt.venue", adoption.venue, configuration.venue)
    if not adoption.approved_by.id:
        raise InvalidRequest.of("adopt.approved_by", "", "is required: a person approves an adoption")
    if not adoption.exit_warrant:
        raise InvalidRequest.of("adopt.exit_warrant", "", "is required: a position needs a way out")
    instrument = _instrument("adopt.instrument", adoption.instrument, configuration)
    value = lk.Adopt(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=derived_id("adopt", adoption.adoption_id),
        trade_id=adoption.adoption_id,
        instrument=instrument,
        qty=_required(adoption, "adopt", "qty", instrument.qty_scale),
        price=_required(adoption, "adopt", "average_price", instrument.price_scale),
        leverage=max(1, adoption.leverage),
        strategy=_text("adopt.strategy", adoption.strategy, required=False),
    )
    return Translated(value, trade=Trade(adoption.adoption_id, adoption.exit_warrant))


def _tick(tick: inbox_pb2.Tick, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    _same("tick.account", tick.account, configuration.account)
    return Translated(lk.Tick(now_ns=stamp.now_ns, sequence=stamp.journal_sequence))


# --- facts from the venue --------------------------------------------------------------------------------------------


def _venue(report: venue_pb2.VenueReport, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    _text("venue.report_id", report.report_id)
    _same("venue.account", report.account, configuration.account)
    _same("venue.venue", report.venue, configuration.venue)
    match report.WhichOneof("body"):
        case "order":
            return _order(report, stamp)
        case "fill":
            return _fill(report, configuration, stamp)
        case "bust":
            return _bust(report, configuration, stamp)
        case "settlement":
            return _settlement(report, stamp)
        case "balance":
            return _balance(report, configuration, stamp)
        case "mark":
            return _mark(report, stamp)
        case "funding":
            return _funding(report, stamp)
        case "foreign":
            return _foreign(report, stamp)
        case _:
            known = "order, fill, bust, settlement, balance, mark, funding, foreign"
            raise InvalidRequest.of("venue.body", "", f"one of {known}")


def _order(report: venue_pb2.VenueReport, stamp: Stamp) -> Translated:
    order = report.order
    value = lk.OrderReport(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        fact=_one_of(lk.Fact, "order.fact", order.fact, last=lk.Fact.IN_DOUBT),
        client_order_id=_text("order.client_order_id", order.client_order_id, required=not order.venue_order_id),
        venue_order_id=_text("order.venue_order_id", order.venue_order_id, required=False),
    )
    return Translated(value, reason=order.reason.message)


def _fill(report: venue_pb2.VenueReport, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    fill = report.fill
    qty = _required_shortest(fill, "fill", "last_qty")
    price = scaling.shortest("fill.last_price", fill.last_price) if fill.HasField("last_price") else None
    fee, notes = _fee(fill, configuration)
    value = lk.Fill(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        execution_id=_text("fill.execution_id", fill.execution_id),
        client_order_id=_text("fill.client_order_id", fill.client_order_id, required=False),
        venue_order_id=_text("fill.venue_order_id", fill.venue_order_id, required=False),
        symbol=checked_symbol("fill.symbol", fill.symbol) if fill.symbol else "",
        side=_one_of(lk.Side, "fill.side", fill.side),
        qty=qty.units,
        qty_scale=qty.scale,
        price=None if price is None else price.units,
        price_scale=0 if price is None else price.scale,
        fee=fee,
        liquidity=_one_of(lk.Liquidity, "fill.liquidity", fill.liquidity, zero=True),
    )
    return Translated(value, notes=notes)


def _fee(
    fill: venue_pb2.Fill, configuration: state_pb2.AccountConfiguration
) -> tuple[int | None, tuple[journal_pb2.Anomaly, ...]]:
    """The fee as the venue charged it, or None with a note why it could not be used."""
    if not fill.HasField("fee"):
        return None, ()
    if fill.fee_currency not in ("", configuration.currency):
        text = f"the fee is in {fill.fee_currency[:16]!r}, the account in {configuration.currency}; a fee is predicted"
        return None, (_note("FEE_CURRENCY", text, fill.execution_id),)
    try:
        return scaling.amount_rounded_up("fill.fee", fill.fee), ()
    except InvalidRequest as error:
        return None, (_note("FEE_UNUSABLE", f"{error}; a fee is predicted", fill.execution_id),)


def _bust(report: venue_pb2.VenueReport, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    bust = report.bust
    execution_id = _text("bust.execution_id", bust.execution_id)
    if not bust.HasField("corrected"):
        value: lk.Input = lk.Bust(
            now_ns=stamp.now_ns,
            sequence=stamp.journal_sequence,
            event_id=report.report_id,
            execution_id=execution_id,
        )
        return Translated(value)
    corrected = bust.corrected
    qty = _required_shortest(corrected, "bust.corrected", "last_qty")
    has_price = corrected.HasField("last_price")
    price = scaling.shortest("bust.corrected.last_price", corrected.last_price) if has_price else None
    fee, notes = _fee(corrected, configuration)
    value = lk.Correction(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        execution_id=execution_id,
        qty=qty.units,
        qty_scale=qty.scale,
        price=None if price is None else price.units,
        price_scale=0 if price is None else price.scale,
        fee=fee,
        liquidity=_one_of(lk.Liquidity, "bust.corrected.liquidity", corrected.liquidity, zero=True),
    )
    return Translated(value, notes=notes)


def _settlement(report: venue_pb2.VenueReport, stamp: Stamp) -> Translated:
    settlement = report.settlement
    has_pnl, has_fee = settlement.HasField("realized_pnl"), settlement.HasField("fee")
    if not has_pnl and not has_fee:
        raise InvalidRequest.of("settlement.realized_pnl", "", "a settlement states a realized pnl, a fee, or both")
    value = lk.Settlement(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        execution_id=_text("settlement.execution_id", settlement.execution_id),
        realized_pnl=scaling.amount("settlement.realized_pnl", settlement.realized_pnl) if has_pnl else None,
        fee=scaling.amount_rounded_up("settlement.fee", settlement.fee) if has_fee else None,
    )
    return Translated(value)


def _balance(report: venue_pb2.VenueReport, configuration: state_pb2.AccountConfiguration, stamp: Stamp) -> Translated:
    balance = report.balance
    if not balance.HasField("wallet"):
        raise InvalidRequest.of("balance.wallet", "", "is required")
    if balance.currency:
        _same("balance.currency", balance.currency, configuration.currency)
    value = lk.Balance(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        wallet=scaling.amount("balance.wallet", balance.wallet),
        available=scaling.amount("balance.available", balance.available) if balance.HasField("available") else None,
        venue_sequence=_not_negative("balance.venue_sequence", balance.venue_sequence),
        execution_watermark=_not_negative("balance.execution_watermark", balance.execution_watermark),
    )
    return Translated(value)


def _mark(report: venue_pb2.VenueReport, stamp: Stamp) -> Translated:
    price = _required_shortest(report.mark, "mark", "price")
    value = lk.MarkPrice(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        symbol=checked_symbol("mark.symbol", report.mark.symbol),
        price=price.units,
        price_scale=price.scale,
    )
    return Translated(value)


def _funding(report: venue_pb2.VenueReport, stamp: Stamp) -> Translated:
    funding = report.funding
    if not funding.HasField("amount"):
        raise InvalidRequest.of("funding.amount", "", "is required")
    value = lk.Funding(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        amount=scaling.amount("funding.amount", funding.amount),
        symbol=checked_symbol("funding.symbol", funding.symbol) if funding.symbol else "",
    )
    return Translated(value)


def _foreign(report: venue_pb2.VenueReport, stamp: Stamp) -> Translated:
    foreign = report.foreign
    has_amount, has_fee = foreign.HasField("amount"), foreign.HasField("fee")
    value = lk.Foreign(
        now_ns=stamp.now_ns,
        sequence=stamp.journal_sequence,
        event_id=report.report_id,
        symbol=checked_symbol("foreign.symbol", foreign.symbol) if foreign.symbol else "",
        amount=scaling.amount("foreign.amount", foreign.amount) if has_amount else None,
        fee=scaling.amount_rounded_up("foreign.fee", foreign.fee) if has_fee else None,
    )
    return Translated(value)


# --- fields ----------------------------------------------------------------------------------------------------------

_TRANSLATORS: dict[str, Callable[..., Translated]] = {
    "entry": _entry,
    "exit": _exit,
    "venue": _venue,
    "tick": _tick,
    "control": _control,
    "adopt": _adopt,
}

_Parsed = TypeVar("_Parsed", bound=Message)


def _parsed(message: _Parsed, data: bytes, field: str, kind: str) -> _Parsed:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidRequest.of(field, f"{len(data)} bytes", f"a serialized {kind}", reason="UNPARSABLE") from error
    return message


def _same(field: str, value: object, expected: object) -> None:
    if value != expected:
        raise InvalidRequest.of(field, value, f"must be {expected}, the account's")


def _text(field: str, value: str, *, required: bool = True) -> str:
    if not value and not required:
        return ""
    if not _TEXT.match(value):
        raise InvalidRequest.of(field, value, "1 to 64 printable characters without blanks")
    return value


def _one_of(
    listed: type[_Listed], field: str, value: int, *, zero: bool = False, last: _Listed | None = None
) -> _Listed:
    """A member of one of libkernel's lists, whose values are the contracts' own."""
    members: tuple[_Listed, ...] = _members(listed)
    top = len(members) - 1 if last is None else last
    if not (0 if zero else 1) <= value <= top:
        names = ", ".join(member.name for member in members if (zero or member) and member <= top)
        raise InvalidRequest.of(field, value, f"one of {names}")
    return members[value]


@cache
def _members(listed: type[_Listed]) -> tuple[_Listed, ...]:
    return tuple(listed)


def _required(message: Message, prefix: str, field: str, scale: int) -> int:
    if not message.HasField(field):
        raise InvalidRequest.of(f"{prefix}.{field}", "", "is required")
    return scaling.units_at(f"{prefix}.{field}", getattr(message, field), scale)


def _required_shortest(message: Message, prefix: str, field: str) -> scaling.Units:
    if not message.HasField(field):
        raise InvalidRequest.of(f"{prefix}.{field}", "", "is required")
    return scaling.shortest(f"{prefix}.{field}", getattr(message, field))


def _optional(message: Message, prefix: str, field: str, scale: int) -> int | None:
    return _required(message, prefix, field, scale) if message.HasField(field) else None


def _not_negative(field: str, value: int) -> int:
    if value < 0:
        raise InvalidRequest.of(field, value, "0 or more")
    return value


def _instrument(
    field: str, instrument: common_pb2.Instrument, configuration: state_pb2.AccountConfiguration
) -> lk.Instrument:
    checked_symbol(f"{field}.symbol", instrument.symbol)
    _same(f"{field}.currency", instrument.currency, configuration.currency)
    for name in ("price_scale", "qty_scale"):
        if not 0 <= getattr(instrument, name) <= scaling.AMOUNT_SCALE:
            raise InvalidRequest.of(f"{field}.{name}", getattr(instrument, name), f"0 to {scaling.AMOUNT_SCALE}")
    return lk.Instrument(
        symbol=instrument.symbol,
        price_scale=instrument.price_scale,
        qty_scale=instrument.qty_scale,
        tick_units=instrument.tick_units,
        lot_units=instrument.lot_units,
        multiplier=instrument.multiplier,
        version=instrument.version,
        currency=instrument.currency,
    )


def _note(code: str, message: str, execution_id: str = "") -> journal_pb2.Anomaly:
    return journal_pb2.Anomaly(
        code=code, severity=common_pb2.SEVERITY_WARNING, message=message, execution_id=execution_id[:64]
    )
