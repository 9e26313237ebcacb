"""What we know already of what a venue has said: a fold over our own reports.

A venue that does not number its events tells everything again after each reconnect, and the other half not at all. Its
connector asks for all of it and yields what is not known here; so a fact is told once, whatever the venue repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kestrel.venue.v1 import venue_pb2

_ENDS = frozenset(
    {
        venue_pb2.ORDER_FACT_REJECTED,
        venue_pb2.ORDER_FACT_DENIED,
        venue_pb2.ORDER_FACT_CANCELED,
        venue_pb2.ORDER_FACT_EXPIRED,
    }
)
_ANSWERS = _ENDS | {venue_pb2.ORDER_FACT_ACKNOWLEDGED}


@dataclass(slots=True)
class KnownExecution:
    """One execution that was reported. ``fill`` is as it was told last."""

    fill: venue_pb2.Fill
    received_at_ns: int
    # The execution that took its place, when the venue restated it; empty otherwise.
    corrected_by: str = ""
    is_busted: bool = False
    # The venue has said what it charged, with the fill or after it.
    has_fee: bool = False


@dataclass(slots=True)
class KnownOrder:
    """One order that was reported."""

    venue_order_id: str = ""
    facts: set[int] = field(default_factory=set)
    executions: list[str] = field(default_factory=list)
    received_at_ns: int = 0

    @property
    def is_in_doubt(self) -> bool:
        """It may be at the venue, and nothing that the venue said proves or disproves it."""
        return venue_pb2.ORDER_FACT_SUBMITTING in self.facts and not (self.facts & _ANSWERS or self.executions)

    @property
    def has_ended(self) -> bool:
        return bool(self.facts & _ENDS)


@dataclass(slots=True)
class KnownFacts:
    """The fold. ``learn`` each report of the account, in any order, any number of times."""

    _orders: dict[str, KnownOrder] = field(default_factory=dict)
    _executions: dict[str, KnownExecution] = field(default_factory=dict)
    _client_order_id_of: dict[str, str] = field(default_factory=dict)
    _balance: venue_pb2.Balance | None = None

    # --- questions ---------------------------------------------------------------------------------------------

    def knows_execution(self, execution_id: str) -> bool:
        """It was told: as a fill, as what a correction put in its place, or as one that was taken back."""
        return execution_id in self._executions

    def execution(self, execution_id: str) -> KnownExecution | None:
        return self._executions.get(execution_id)

    def knows_fee(self, execution_id: str) -> bool:
        """What the venue charged for it was told, with the fill or after it."""
        known = self._executions.get(execution_id)
        return known is not None and known.has_fee

    def executions_without_fee(self) -> Sequence[str]:
        """Executions that count and whose fee the venue has not said, oldest first."""
        return [
            execution_id
            for execution_id, known in self._executions.items()
            if not (known.has_fee or known.is_busted or known.corrected_by)
        ]

    def knows_order_fact(self, client_order_id: str, fact: int) -> bool:
        """This fact (``venue_pb2.OrderFact``) was told about the order."""
        order = self._orders.get(client_order_id)
        return order is not None and fact in order.facts

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

    def learn(self, report: venue_pb2.VenueReport) -> None:
        """One report that is stored."""
        match report.WhichOneof("body"):
            case "order":
                self._learn_order(report)
            case "fill":
                self._learn_fill(report.fill, report.received_at_ns)
            case "bust":
                self._learn_bust(report)
            case "settlement":
                self._learn_settlement(report.settlement)
            case "balance":
                self._balance = report.balance
            case "foreign" if report.foreign.execution_id:
                # Somebody else's trade is told once, too.
                foreign = venue_pb2.Fill(execution_id=report.foreign.execution_id)
                self._execution(foreign, report.received_at_ns).has_fee = True

    def _learn_order(self, report: venue_pb2.VenueReport) -> None:
        order = self._order(report.order.client_order_id, report.order.venue_order_id, report.received_at_ns)
        if order is not None:
            order.facts.add(report.order.fact)

    def _learn_fill(self, fill: venue_pb2.Fill, received_at_ns: int) -> None:
        known = self._execution(fill, received_at_ns)
        known.has_fee = known.has_fee or fill.HasField("fee")
        order = self._order(fill.client_order_id, fill.venue_order_id, received_at_ns)
        if order is not None and fill.execution_id not in order.executions:
            order.executions.append(fill.execution_id)

    def _learn_bust(self, report: venue_pb2.VenueReport) -> None:
        bust = report.bust
        taken_back = venue_pb2.Fill(execution_id=bust.execution_id, client_order_id=bust.client_order_id)
        known = self._execution(taken_back, report.received_at_ns)
        if not bust.HasField("corrected"):
            known.is_busted = True
        elif bust.corrected.execution_id != bust.execution_id:
            known.corrected_by = bust.corrected.execution_id
            self._learn_fill(bust.corrected, report.received_at_ns)
        else:
            known.fill = bust.corrected

    def _learn_settlement(self, settlement: venue_pb2.Settlement) -> None:
        known = self._executions.get(settlement.execution_id)
        if known is not None:
            known.has_fee = known.has_fee or settlement.HasField("fee")

    def _execution(self, fill: venue_pb2.Fill, received_at_ns: int) -> KnownExecution:
        return self._executions.setdefault(fill.execution_id, KnownExecution(fill, received_at_ns))

    def _order(self, client_order_id: str, venue_order_id: str, received_at_ns: int) -> KnownOrder | None:
        if not client_order_id:
            return None
        order = self._orders.setdefault(client_order_id, KnownOrder())
        order.received_at_ns = max(order.received_at_ns, received_at_ns)
        if venue_order_id:
            order.venue_order_id = venue_order_id
            self._client_order_id_of[venue_order_id] = client_order_id
        return order
