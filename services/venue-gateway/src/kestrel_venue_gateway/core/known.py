"""What was told already of what a venue said: a fold over our own reports.

A venue that does not number its events tells everything again after each reconnect, and the other half not at all. Its
connector asks for all of it and yields what is not known here; so a fact is told once, whatever the venue repeats.

What was told is remembered for ``KEPT_NS`` after it was last heard of, longer than a venue repeats it; an order in
doubt is remembered for ever. One order with one execution takes 1.4 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS

KEPT_NS = 8 * DAY_NS
"""Interactive Brokers repeats executions of the day; its desktop application, when told to, those of seven days."""

ORDER_GIVEN_UP = "ORDER_GIVEN_UP"
"""Why an order is called canceled that a person gave up and the venue never spoke of."""

_ENDS = frozenset(
    {
        venue_pb2.ORDER_FACT_REJECTED,
        venue_pb2.ORDER_FACT_DENIED,
        venue_pb2.ORDER_FACT_CANCELED,
        venue_pb2.ORDER_FACT_EXPIRED,
    }
)
_ANSWERS = _ENDS | {venue_pb2.ORDER_FACT_ACKNOWLEDGED}

_LEARNED = frozenset({"order", "fill", "bust", "settlement", "balance", "foreign"})


@dataclass(slots=True)
class KnownExecution:
    """One execution that was reported, under each of the ids that it has had."""

    # The id that the kernel books it by, for ever: the first one.
    booked_as: str
    # The id of its newest correction, or the first one.
    now_called: str
    heard_at_ns: int
    client_order_id: str = ""
    is_ours: bool = True
    is_busted: bool = False
    # What the venue charged, once it has said so, with the fill or after it.
    fee: common_pb2.Decimal | None = None


@dataclass(slots=True)
class KnownOrder:
    """One order that was reported."""

    heard_at_ns: int = 0
    venue_order_id: str = ""
    has_traded: bool = False
    was_given_up: bool = False
    # What we asked for; the venue may have made it smaller since.
    order_qty: Number | None = None
    # The set of facts that were told, as bits.
    facts: int = 0

    def knows(self, fact: int) -> bool:
        return bool(self.facts >> fact & 1)

    @property
    def was_commanded(self) -> bool:
        """A gateway set out to send it. What the venue alone has told is no proof of that."""
        return self.knows(venue_pb2.ORDER_FACT_SUBMITTING) or self.knows(venue_pb2.ORDER_FACT_IN_DOUBT)

    @property
    def is_in_doubt(self) -> bool:
        """It may be at the venue, and nothing that the venue said proves or disproves it."""
        return self.was_commanded and not self.is_answered

    @property
    def is_answered(self) -> bool:
        """What became of it when it was sent is known."""
        return self.has_traded or any(self.knows(fact) for fact in _ANSWERS)

    @property
    def was_refused(self) -> bool:
        """It never worked and never will: nothing that belongs to it can be at work either."""
        return not self.has_traded and self.knows(venue_pb2.ORDER_FACT_REJECTED)

    @property
    def is_at_venue(self) -> bool:
        """The venue took it, whatever became of it since."""
        return self.has_traded or self.knows(venue_pb2.ORDER_FACT_ACKNOWLEDGED)

    @property
    def is_over(self) -> bool:
        """The venue said that it ended, and not because a person gave it up."""
        return self.has_ended and not self.was_given_up

    @property
    def may_be_working(self) -> bool:
        """It was commanded, and nothing says that it traded or ended: it may rest at the venue for weeks."""
        return self.was_commanded and not self.has_traded and not self.has_ended

    @property
    def has_ended(self) -> bool:
        return any(self.knows(fact) for fact in _ENDS)


@dataclass(slots=True)
class KnownFacts:
    """The fold. ``learn`` each report that the journal brings, ``learn_ahead`` what it does not hold yet."""

    _orders: dict[str, KnownOrder] = field(default_factory=dict)
    _executions: dict[str, KnownExecution] = field(default_factory=dict)
    _client_order_id_of: dict[str, str] = field(default_factory=dict)
    _balance: venue_pb2.Balance | None = None
    _swept_at_ns: int = 0
    _heard_at_ns: int = 0
    # Reports that were learned when they were stored, and that the journal has not brought yet.
    _ahead: set[str] = field(default_factory=set)

    # --- questions ---------------------------------------------------------------------------------------------

    def knows_execution(self, execution_id: str) -> bool:
        """It was told: as a fill, as what a correction put in its place, as one taken back, or as somebody else's."""
        return execution_id in self._executions

    def execution(self, execution_id: str) -> KnownExecution | None:
        return self._executions.get(execution_id)

    def booked_as(self, execution_id: str) -> str:
        """The id that the kernel books an execution by, whatever a correction has made of it since."""
        known = self._executions.get(execution_id)
        return known.booked_as if known is not None else execution_id

    def knows_fee(self, execution_id: str) -> bool:
        """What the venue charged for it, as it now is, was told."""
        known = self._executions.get(execution_id)
        return known is not None and known.fee is not None

    def executions_without_fee(self) -> Sequence[KnownExecution]:
        """Executions of ours that count and whose fee the venue has not said, oldest first."""
        return [
            known
            for execution_id, known in self._executions.items()
            if execution_id == known.booked_as and known.is_ours and not known.is_busted and known.fee is None
        ]

    def knows_order_fact(self, client_order_id: str, fact: int) -> bool:
        """This fact (``venue_pb2.OrderFact``) was told about the order."""
        order = self._orders.get(client_order_id)
        return order is not None and order.knows(fact)

    def order(self, client_order_id: str) -> KnownOrder | None:
        return self._orders.get(client_order_id)

    def orders_in_doubt(self) -> Sequence[str]:
        """Orders that may be at the venue without a word from it, oldest first, by client order id."""
        return [client_order_id for client_order_id, order in self._orders.items() if order.is_in_doubt]

    def client_order_id_of(self, venue_order_id: str) -> str:
        """Our id of an order that the venue names; empty when nothing was told under that name."""
        return self._client_order_id_of.get(venue_order_id, "")

    @property
    def balance(self) -> venue_pb2.Balance | None:
        """The balance that was told last."""
        return self._balance

    # --- learning ----------------------------------------------------------------------------------------------

    def learn_command(self, client_order_id: str, order_qty: Number) -> None:
        """The journal commanded an order, under this id and for so much."""
        self._orders.setdefault(client_order_id, KnownOrder(self._heard_at_ns)).order_qty = order_qty

    def learn_ahead(self, report: venue_pb2.VenueReport) -> None:
        """One report that is stored in INBOX; the journal will bring it again."""
        if report.WhichOneof("body") in _LEARNED and report.report_id not in self._ahead:
            self._ahead.add(report.report_id)
            self._learn(report)

    def learn(self, report: venue_pb2.VenueReport) -> None:
        """One report out of the journal."""
        if report.report_id in self._ahead:
            self._ahead.remove(report.report_id)
        else:
            self._learn(report)

    def _learn(self, report: venue_pb2.VenueReport) -> None:
        heard_at_ns = report.received_at_ns
        self._heard_at_ns = max(self._heard_at_ns, heard_at_ns)
        match report.WhichOneof("body"):
            case "order":
                self._learn_order(report.order, heard_at_ns)
            case "fill":
                self._learn_fill(report.fill, heard_at_ns)
            case "bust":
                self._learn_bust(report.bust, heard_at_ns)
            case "settlement":
                self._learn_settlement(report.settlement)
            case "balance":
                self._balance = report.balance
            case "foreign" if report.foreign.execution_id:
                self._execution(report.foreign.execution_id, heard_at_ns).is_ours = False
        self._forget(heard_at_ns)

    def _learn_order(self, told: venue_pb2.OrderReport, heard_at_ns: int) -> None:
        order = self._order(told.client_order_id, told.venue_order_id, heard_at_ns)
        if order is None:
            return
        order.facts |= 1 << told.fact
        if told.fact == venue_pb2.ORDER_FACT_CANCELED and told.reason.reason == ORDER_GIVEN_UP:
            order.was_given_up = True

    def _learn_fill(self, fill: venue_pb2.Fill, heard_at_ns: int) -> None:
        known = self._execution(fill.execution_id, heard_at_ns)
        known.client_order_id = fill.client_order_id
        if fill.HasField("fee") and fill.execution_id == known.now_called:
            known.fee = _copy(fill.fee)
        order = self._order(fill.client_order_id, fill.venue_order_id, heard_at_ns)
        if order is not None:
            order.has_traded = True

    def _learn_bust(self, bust: venue_pb2.FillBust, heard_at_ns: int) -> None:
        """What is older than what is known comes from a gateway that was frozen in the middle of telling it."""
        known = self._execution(bust.execution_id, heard_at_ns)
        if not bust.HasField("corrected"):
            known.is_busted = True
        if known.is_busted or self._is_old(bust):
            return
        known.heard_at_ns, known.fee = heard_at_ns, None
        known.now_called = bust.corrected.execution_id or known.now_called
        self._executions[known.now_called] = known
        self._learn_fill(bust.corrected, heard_at_ns)

    def _is_old(self, bust: venue_pb2.FillBust) -> bool:
        """A correction under a name of its own that was learned before."""
        by = bust.corrected.execution_id
        return by != bust.execution_id and by in self._executions

    def _learn_settlement(self, settlement: venue_pb2.Settlement) -> None:
        known = self._executions.get(settlement.execution_id)
        if known is not None and settlement.HasField("fee"):
            known.fee = _copy(settlement.fee)

    def _execution(self, execution_id: str, heard_at_ns: int) -> KnownExecution:
        known = self._executions.get(execution_id)
        if known is None:
            known = self._executions[execution_id] = KnownExecution(execution_id, execution_id, heard_at_ns)
        return known

    def _order(self, client_order_id: str, venue_order_id: str, heard_at_ns: int) -> KnownOrder | None:
        if not client_order_id:
            return None
        order = self._orders.setdefault(client_order_id, KnownOrder())
        order.heard_at_ns = max(order.heard_at_ns, heard_at_ns)
        if venue_order_id:
            order.venue_order_id = venue_order_id
            self._client_order_id_of[venue_order_id] = client_order_id
        return order

    def _forget(self, heard_at_ns: int) -> None:
        """Let go of what is too old; at most once for each hundredth of the time that things are kept."""
        if heard_at_ns < self._swept_at_ns + KEPT_NS // 100:
            return
        self._swept_at_ns = heard_at_ns
        oldest_ns = heard_at_ns - KEPT_NS
        for execution_id, known in list(self._executions.items()):
            if known.heard_at_ns < oldest_ns:
                del self._executions[execution_id]
        for client_order_id, order in list(self._orders.items()):
            if order.heard_at_ns < oldest_ns and not order.may_be_working:
                del self._orders[client_order_id]
                self._client_order_id_of.pop(order.venue_order_id, None)


def _copy(amount: common_pb2.Decimal) -> common_pb2.Decimal:
    """A part of a message keeps all of it in memory."""
    return common_pb2.Decimal(units=amount.units, scale=amount.scale)
