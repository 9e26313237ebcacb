"""What a venue says, as reports for the kernel.

A report's id follows from the venue's own identity of the fact, never from when or how we heard it: an
acknowledgement read from an answer, from the event stream or from a question has one id, so the kernel learns it once.

Three things are kept away from the kernel: orders that are somebody else's on a shared account (X11), account
frames without a wallet (K16), and events that make no sense (parked, with the reason). A price is the true one or
none: an event that gives zero has said nothing (K08).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import derived_id
from kestrel_domain.numbers import Number

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
class VenueEvent:
    """One event of one account. Later is greater: by the venue's own numbers, or else by the connector's count."""

    sequence: int
    time_ns: int
    fact: Fact
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


def hear(event: VenueEvent, *, account: str, venue: str, our_symbols: Collection[str]) -> Heard:
    """One venue event, judged. Never raises on what a venue may send."""
    attribution = attribute(event.fact, our_symbols)
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
    return Heard(report=report, attribution=attribution)


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
    else:
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
    return order_report(account, venue, fact, cause=str(event.sequence), venue_time_ns=event.time_ns)


def _identity(venue: str, account: str, kind: str, own: str, event: VenueEvent) -> str:
    """The venue's execution id where the fact has one, else its number in the venue's own stream."""
    return derived_id("venue-fact", venue, account, kind, own or f"#{event.sequence}")


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
    order_id = "" if isinstance(event.fact, venue_pb2.Balance | venue_pb2.Funding) else event.fact.client_order_id
    return audit_pb2.Alert(
        alert_id=derived_id("alert", "FOREIGN_ACTIVITY", venue, account, event.sequence),
        severity=common_pb2.SEVERITY_WARNING,
        service=SERVICE,
        reason="FOREIGN_ACTIVITY",
        account=account,
        message=f"an order of somebody else traded on {account} at {venue}: {order_id}",
        subject_id=order_id,
    )
