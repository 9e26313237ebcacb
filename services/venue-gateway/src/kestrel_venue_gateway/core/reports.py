"""What a venue says, as reports for the kernel.

A report's id follows from the venue's own identity of the fact, never from when or how we heard it: an
acknowledgement read from an answer, from the event stream or from a question has one id, so the kernel learns it once.

Three things are kept away from the kernel: orders that are somebody else's on a shared account (X11), account
frames without a wallet (K16), and events that make no sense (parked, with the reason). A price is the true one or
none: an event that gives zero has said nothing (K08).

A venue that does not number its events repeats them: what ``KnownFacts`` knows is not told again, and an execution
goes by the id that it was booked by, whatever corrections have made of it since.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import derived_id
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.known import KnownExecution, KnownFacts

SERVICE = "venue-gateway"

Fact = (
    venue_pb2.OrderReport
    | venue_pb2.Fill
    | venue_pb2.FillBust
    | venue_pb2.Settlement
    | venue_pb2.Balance
    | venue_pb2.Funding
)

_ONCE_PER_ORDER = frozenset(
    {
        venue_pb2.ORDER_FACT_SUBMITTING,
        venue_pb2.ORDER_FACT_ACKNOWLEDGED,
        venue_pb2.ORDER_FACT_REJECTED,
        venue_pb2.ORDER_FACT_CANCELED,
        venue_pb2.ORDER_FACT_EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a connector found, that a person should know, and that is no fact about an order.

    One of a reason, a subject and a cause is one alarm, however often it is found, also after a restart.
    """

    reason: str
    message: str
    subject_id: str = ""
    cause: str = ""
    severity: common_pb2.Severity.ValueType = common_pb2.SEVERITY_CRITICAL


@dataclass(frozen=True, slots=True)
class VenueEvent:
    """One event of one account. Later is greater: by the venue's own numbers, or else by the connector's count."""

    sequence: int
    time_ns: int
    fact: Fact | Alarm
    # Where the venue does not number: what makes this fact this fact, the same whenever and however it is heard.
    key: str = ""


class Attribution(Enum):
    """Whose order an event is about (X11)."""

    OURS = "ours"
    FOREIGN = "foreign"
    UNATTRIBUTABLE = "unattributable"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one event came to. ``report`` is for the kernel; without one, ``dropped`` says why."""

    report: venue_pb2.VenueReport | None = None
    dropped: str = ""
    attribution: Attribution = Attribution.OURS
    alert: audit_pb2.Alert | None = None
    malformed: common_pb2.Refusal | None = None


def hear(
    event: VenueEvent, *, account: str, venue: str, our_symbols: Collection[str], known: KnownFacts | None = None
) -> Heard:
    """One venue event, judged. Never raises on what a venue may send.

    ``known``: what was told already, where the venue does not number its events.
    """
    if isinstance(event.fact, Alarm):
        return Heard(dropped="alarm", alert=_alarm_alert(event.fact, account=account, venue=venue))
    attribution = attribute(event.fact, our_symbols)
    came_back: audit_pb2.Alert | None = None
    if known is not None:
        if not event.key:
            no = InvalidRequest.of("key", "", "an event without a number has a key")
            return Heard(dropped="malformed", attribution=attribution, malformed=no.refusal())
        came_back = _came_back_alert(event, known, account=account, venue=venue)
        if was_told(event.fact, known):
            return Heard(dropped="told_before", attribution=attribution, alert=came_back)
        event = replace(event, fact=_as_booked(event.fact, known))
    if attribution is Attribution.FOREIGN:
        report = _foreign_report(event, account=account, venue=venue)
        alert = _foreign_alert(event, account=account, venue=venue)
        return Heard(report, dropped="" if report else "foreign", attribution=attribution, alert=alert)
    if isinstance(event.fact, venue_pb2.Balance) and event.fact.wallet.units == 0:
        return Heard(dropped="balance_without_wallet")
    try:
        report = _report(event, account=account, venue=venue)
    except InvalidRequest as error:
        return Heard(dropped="malformed", attribution=attribution, malformed=error.refusal())
    return Heard(report=report, attribution=attribution, alert=came_back)


def was_told(fact: Fact, known: KnownFacts) -> bool:
    """The kernel knows it, or something that came after it and leaves no room for it."""
    if isinstance(fact, venue_pb2.OrderReport):
        return _order_fact_was_told(fact, known)
    if isinstance(fact, venue_pb2.Fill):
        return known.knows_execution(fact.execution_id)
    if isinstance(fact, venue_pb2.FillBust):
        before = known.execution(fact.execution_id)
        if not fact.HasField("corrected"):
            return before is not None and before.is_busted
        return fact.corrected.execution_id != fact.execution_id and known.knows_execution(fact.corrected.execution_id)
    if isinstance(fact, venue_pb2.Settlement):
        before = known.execution(fact.execution_id)
        return before is not None and fact.HasField("fee") and before.fee == fact.fee
    return False


def _order_fact_was_told(fact: venue_pb2.OrderReport, known: KnownFacts) -> bool:
    order = known.order(fact.client_order_id or known.client_order_id_of(fact.venue_order_id))
    if order is None or fact.fact not in _ONCE_PER_ORDER:
        return False
    # An acknowledgement that comes after the end is an old one; but one of an order that we denied is news.
    is_old = fact.fact == venue_pb2.ORDER_FACT_ACKNOWLEDGED and order.has_ended
    return order.knows(fact.fact) or (is_old and not order.knows(venue_pb2.ORDER_FACT_DENIED))


def _as_booked(fact: Fact, known: KnownFacts) -> Fact:
    """A later word about an execution, under the id that the kernel has it by."""
    if not isinstance(fact, venue_pb2.FillBust | venue_pb2.Settlement):
        return fact
    booked_as = known.booked_as(fact.execution_id)
    if booked_as == fact.execution_id:
        return fact
    renamed = type(fact)()
    renamed.CopyFrom(fact)  # type: ignore[arg-type]  # of the same type
    renamed.execution_id = booked_as
    return renamed


def attribute(fact: Fact, our_symbols: Collection[str]) -> Attribution:
    """Our prefix is ours; another id is foreign; no id: whether we ever ordered that symbol."""
    if isinstance(fact, venue_pb2.Balance | venue_pb2.Funding):
        return Attribution.OURS
    if fact.client_order_id:
        ours = fact.client_order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX)
        return Attribution.OURS if ours else Attribution.FOREIGN
    symbol = fact.corrected.symbol if isinstance(fact, venue_pb2.FillBust) else fact.symbol
    return Attribution.OURS if symbol in our_symbols else Attribution.UNATTRIBUTABLE


def order_report(
    account: str,
    venue: str,
    order: venue_pb2.OrderReport,
    *,
    cause: str = "",
    venue_time_ns: int = 0,
) -> venue_pb2.VenueReport:
    """A report about an order. ``cause`` tells apart facts that one order may have more than once."""
    cause = "" if order.fact in _ONCE_PER_ORDER else cause
    fact = venue_pb2.OrderFact.Name(order.fact)
    order_id = order.client_order_id or order.venue_order_id
    return venue_pb2.VenueReport(
        report_id=derived_id("order-report", venue, account, fact, order_id, cause),
        account=account,
        venue=venue,
        venue_time_ns=venue_time_ns,
        order=order,
    )


def mark_report(account: str, bar: venue_pb2.Bar) -> venue_pb2.VenueReport:
    """A price to value an open position at: the close of a bar."""
    return venue_pb2.VenueReport(
        report_id=derived_id("mark", bar.venue, account, bar.instrument.symbol, bar.venue_sequence),
        account=account,
        venue=bar.venue,
        venue_time_ns=bar.start_ns + bar.interval_ns,
        mark=venue_pb2.Mark(symbol=bar.instrument.symbol, price=bar.close),
    )


def client_order_id_of(report: venue_pb2.VenueReport) -> str:
    """The order a report is about; empty for balances, marks and funding."""
    match report.WhichOneof("body"):
        case "order":
            return report.order.client_order_id
        case "fill":
            return report.fill.client_order_id
        case "bust":
            return report.bust.client_order_id
        case "settlement":
            return report.settlement.client_order_id
    return ""


# --- one event, one report -------------------------------------------------------------------------------------


def _report(event: VenueEvent, *, account: str, venue: str) -> venue_pb2.VenueReport:
    fact = event.fact
    report = venue_pb2.VenueReport(account=account, venue=venue, venue_time_ns=event.time_ns)
    if isinstance(fact, venue_pb2.OrderReport):
        return _order_event_report(event, fact, account=account, venue=venue)
    if isinstance(fact, venue_pb2.Fill):
        report.report_id = _identity(venue, account, "fill", fact.execution_id, event)
        report.fill.CopyFrom(_sound_fill(fact))
    elif isinstance(fact, venue_pb2.FillBust):
        report.report_id = _identity(venue, account, "bust", "", event)
        report.bust.CopyFrom(fact)
        if fact.HasField("corrected"):
            report.bust.corrected.CopyFrom(_sound_fill(fact.corrected))
    elif isinstance(fact, venue_pb2.Settlement):
        report.report_id = _identity(venue, account, "settlement", "", event)
        report.settlement.CopyFrom(fact)
    elif isinstance(fact, venue_pb2.Balance):
        report.report_id = _identity(venue, account, "balance", "", event)
        report.balance.CopyFrom(fact)
    elif isinstance(fact, venue_pb2.Funding):
        report.report_id = _identity(venue, account, "funding", "", event)
        report.funding.CopyFrom(fact)
    return report


def _order_event_report(
    event: VenueEvent, fact: venue_pb2.OrderReport, *, account: str, venue: str
) -> venue_pb2.VenueReport:
    if fact.fact not in venue_pb2.OrderFact.values() or fact.fact == venue_pb2.ORDER_FACT_UNSPECIFIED:
        raise InvalidRequest.of("order.fact", fact.fact, "a fact of the contract")
    if not fact.client_order_id and not fact.venue_order_id:
        raise InvalidRequest.of("order.client_order_id", "", "an order has an identity")
    return order_report(account, venue, fact, cause=event.key or str(event.sequence), venue_time_ns=event.time_ns)


def _identity(venue: str, account: str, kind: str, own: str, event: VenueEvent) -> str:
    """The venue's execution id where the fact has one, else its key, else its number in the venue's own stream."""
    return derived_id("venue-fact", venue, account, kind, own or event.key or f"#{event.sequence}")


def _sound_fill(fill: venue_pb2.Fill) -> venue_pb2.Fill:
    """Refuses a fill that cannot be booked; takes away a price that is none."""
    if Number.of(fill.last_qty).units <= 0:
        raise InvalidRequest.of("fill.last_qty", Number.of(fill.last_qty), "above zero")
    if fill.side not in (common_pb2.SIDE_BUY, common_pb2.SIDE_SELL):
        raise InvalidRequest.of("fill.side", fill.side, "BUY or SELL")
    if not fill.HasField("last_price") or Number.of(fill.last_price):
        return fill
    sound = venue_pb2.Fill()
    sound.CopyFrom(fill)
    sound.ClearField("last_price")
    return sound


def _foreign_report(event: VenueEvent, *, account: str, venue: str) -> venue_pb2.VenueReport | None:
    """What the kernel is told of somebody else's trade: that the wallet moved for a reason that is not ours (K14).

    Nothing of it is booked, and no figure is guessed: what a fill did to the wallet, the venue does not say. An order
    that has not traded moves nothing.
    """
    fact = event.fact
    if not isinstance(fact, venue_pb2.Fill | venue_pb2.FillBust | venue_pb2.Settlement):
        return None
    symbol = fact.corrected.symbol if isinstance(fact, venue_pb2.FillBust) else fact.symbol
    foreign = venue_pb2.ForeignActivity(client_order_id=fact.client_order_id, execution_id=fact.execution_id)
    with suppress(InvalidRequest):
        foreign.symbol = identifiers.checked_symbol("foreign.symbol", symbol)
    own = fact.execution_id if isinstance(fact, venue_pb2.Fill) else ""
    return venue_pb2.VenueReport(
        report_id=_identity(venue, account, "foreign", own, event),
        account=account,
        venue=venue,
        venue_time_ns=event.time_ns,
        foreign=foreign,
    )


def _foreign_alert(event: VenueEvent, *, account: str, venue: str) -> audit_pb2.Alert:
    about_none = venue_pb2.Balance | venue_pb2.Funding | Alarm
    order_id = "" if isinstance(event.fact, about_none) else event.fact.client_order_id
    return audit_pb2.Alert(
        alert_id=derived_id("alert", "FOREIGN_ACTIVITY", venue, account, event.key or event.sequence),
        severity=common_pb2.SEVERITY_WARNING,
        service=SERVICE,
        reason="FOREIGN_ACTIVITY",
        account=account,
        message=f"an order of somebody else traded on {account} at {venue}: {order_id}",
        subject_id=order_id,
    )


# --- what a person has to hear of ------------------------------------------------------------------------------


def _came_back_alert(event: VenueEvent, known: KnownFacts, *, account: str, venue: str) -> audit_pb2.Alert | None:
    """An order that a person gave up is there after all."""
    fact = event.fact
    if not isinstance(fact, venue_pb2.Fill | venue_pb2.OrderReport):
        return None
    if isinstance(fact, venue_pb2.OrderReport) and fact.fact != venue_pb2.ORDER_FACT_ACKNOWLEDGED:
        return None
    order = known.order(fact.client_order_id)
    if order is None or not order.was_given_up:
        return None
    return audit_pb2.Alert(
        alert_id=derived_id("alert", "ORDER_CAME_BACK", venue, account, fact.client_order_id),
        severity=common_pb2.SEVERITY_CRITICAL,
        service=SERVICE,
        reason="ORDER_CAME_BACK",
        account=account,
        message=f"an order that was given up is at {venue}: {fact.client_order_id}",
        subject_id=fact.client_order_id,
    )


def _alarm_alert(alarm: Alarm, *, account: str, venue: str) -> audit_pb2.Alert:
    return audit_pb2.Alert(
        alert_id=derived_id("alert", alarm.reason, venue, account, alarm.subject_id, alarm.cause),
        severity=alarm.severity,
        service=SERVICE,
        reason=alarm.reason,
        account=account,
        message=alarm.message,
        subject_id=alarm.subject_id,
    )


def fees_overdue(known: KnownFacts, *, now_ns: int, wait_ns: int) -> Sequence[KnownExecution]:
    """Executions that have waited too long for the venue's word on what they cost."""
    return [execution for execution in known.executions_without_fee() if execution.heard_at_ns + wait_ns <= now_ns]


def fee_alert(execution: KnownExecution, *, account: str, venue: str) -> audit_pb2.Alert:
    return audit_pb2.Alert(
        alert_id=derived_id("alert", "FEE_OVERDUE", venue, account, execution.now_called),
        severity=common_pb2.SEVERITY_WARNING,
        service=SERVICE,
        reason="FEE_OVERDUE",
        account=account,
        message=f"{venue} has not said what execution {execution.now_called} cost; the predicted fee stays booked",
        subject_id=execution.client_order_id,
    )
