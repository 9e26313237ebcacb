"""The paper venue's core: requests and time in, answers out. Pure; a log of its requests is its whole memory.

Every request that may change something is a record with a time. ``apply`` is the only way to change the venue,
in service and in replay alike, so both come to the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from google.protobuf.message import Message

from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, InvariantBroken, Refused
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Bar, Chance, Costs, Instrument, Life, MatchingEngine
from kestrel_simulators.paper import wire


class Kind(IntEnum):
    """What a record is. Numbers are written to disk and never reused."""

    ADVANCE = 1
    PLACE_ORDER = 2
    CANCEL_ORDER = 3
    FENCE_ORDER = 4
    PUBLISH_BAR = 5
    OPEN_ACCOUNT = 6
    INDUCE_DRIFT = 7
    SET_MODE = 8
    PLACE_BRACKET = 9


REQUESTS: dict[Kind, type[Message] | None] = {
    Kind.ADVANCE: None,
    Kind.PLACE_ORDER: paper_pb2.PlaceOrderRequest,
    Kind.CANCEL_ORDER: paper_pb2.CancelOrderRequest,
    Kind.FENCE_ORDER: paper_pb2.GetOrderRequest,
    Kind.PUBLISH_BAR: paper_pb2.PublishBarRequest,
    Kind.OPEN_ACCOUNT: paper_pb2.OpenAccountRequest,
    Kind.INDUCE_DRIFT: paper_pb2.InduceDriftRequest,
    Kind.SET_MODE: paper_pb2.SetModeRequest,
    Kind.PLACE_BRACKET: paper_pb2.PlaceBracketRequest,
}


BRACKET_ORDERS_MAX = 3
"""An entry, a stop and a target."""


class NotFound(Refused):
    """The venue never saw the order."""

    reason = "ORDER_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Mark:
    """How much has been said: the last event of each account, and the last bar."""

    events: dict[str, int]
    bars: int


@dataclass(slots=True)
class PaperVenue:
    """The engine, and what it does not remember: all bars, in their order."""

    engine: MatchingEngine = field(default_factory=MatchingEngine)
    bars: list[venue_pb2.Bar] = field(default_factory=list)
    _bar_places: dict[tuple[str, int, int], int] = field(default_factory=dict)

    # ── Changing it ────────────────────────────────────────────────────────────────────────────────────

    def apply(self, kind: Kind, request: Any, now_ns: int) -> Any:
        """Do what one record says. Raises and changes nothing when it is refused."""
        handlers: dict[Kind, Callable[[Any, int], Any]] = {
            Kind.ADVANCE: lambda _, now: self.engine.advance(now),
            Kind.PLACE_ORDER: self._place_order,
            Kind.CANCEL_ORDER: self._cancel_order,
            Kind.FENCE_ORDER: self._fence_order,
            Kind.PUBLISH_BAR: self._publish_bar,
            Kind.OPEN_ACCOUNT: self._open_account,
            Kind.INDUCE_DRIFT: self._induce_drift,
            Kind.SET_MODE: self._set_mode,
            Kind.PLACE_BRACKET: self._place_bracket,
        }
        return handlers[kind](request, now_ns)

    def replay(self, kind_number: int, body: bytes, time_ns: int) -> None:
        """Do again what a record of the log says; it succeeded once, so anything else is a broken log."""
        try:
            kind = Kind(kind_number)
            request_type = REQUESTS[kind]
            self.apply(kind, request_type.FromString(body) if request_type else None, time_ns)
        except (ValueError, Refused, AssertionError) as error:
            raise InvariantBroken(
                f"the log holds a record that cannot be applied: kind {kind_number} at {time_ns}: {error}",
                reason="LOG_CORRUPTED",
            ) from error

    def _place_order(self, request: paper_pb2.PlaceOrderRequest, now_ns: int) -> paper_pb2.PlaceOrderResponse:
        order = self.engine.place(wire.new_order(request), now_ns=now_ns)
        return paper_pb2.PlaceOrderResponse(order=wire.paper_order(order))

    def _place_bracket(self, request: paper_pb2.PlaceBracketRequest, now_ns: int) -> paper_pb2.PlaceBracketResponse:
        if not 2 <= len(request.orders) <= BRACKET_ORDERS_MAX:
            rule = f"an entry and 1 to {BRACKET_ORDERS_MAX - 1} orders that protect it"
            raise InvalidRequest.of("orders", len(request.orders), rule)
        orders = self.engine.place_bracket([wire.new_order(order) for order in request.orders], now_ns=now_ns)
        return paper_pb2.PlaceBracketResponse(orders=[wire.paper_order(order) for order in orders])

    def _cancel_order(self, request: paper_pb2.CancelOrderRequest, now_ns: int) -> paper_pb2.CancelOrderResponse:
        order = self.engine.cancel(request.account, request.client_order_id, now_ns=now_ns)
        if order is None:
            raise _order_unknown(request.client_order_id)
        return paper_pb2.CancelOrderResponse(order=wire.paper_order(order))

    def _fence_order(self, request: paper_pb2.GetOrderRequest, now_ns: int) -> None:
        self.engine.fence(request.account, request.client_order_id, now_ns=now_ns)

    def _publish_bar(self, request: paper_pb2.PublishBarRequest, now_ns: int) -> paper_pb2.PublishBarResponse:
        message = request.bar
        instrument = Instrument.of(message.instrument, "bar.instrument")
        bar = Bar.of(instrument, message)
        key = (instrument.symbol, message.start_ns, message.interval_ns)
        known = self._bar_places.get(key)
        if known is not None:
            self._check_same_bar(self.bars[known - 1], message)
            return paper_pb2.PublishBarResponse(sequence=known)
        self.engine.on_bar(instrument, bar, now_ns=now_ns)
        self.bars.append(venue_pb2.Bar.FromString(message.SerializeToString()))
        self._bar_places[key] = len(self.bars)
        return paper_pb2.PublishBarResponse(sequence=len(self.bars))

    @staticmethod
    def _check_same_bar(known: venue_pb2.Bar, bar: venue_pb2.Bar) -> None:
        for name in ("open", "high", "low", "close", "volume"):
            if Number.of(getattr(known, name)) != Number.of(getattr(bar, name)):
                value = Number.of(getattr(bar, name))
                rule = f"the bar of this start was published with {Number.of(getattr(known, name))}, and bars are final"
                raise InvalidRequest.of(f"bar.{name}", value, rule, reason="BAR_CHANGED")

    def _open_account(self, request: paper_pb2.OpenAccountRequest, now_ns: int) -> paper_pb2.OpenAccountResponse:
        if not request.HasField("wallet"):
            raise InvalidRequest.of("wallet", "", "is required")
        self.engine.open_account(request.account, Number.of(request.wallet), request.currency, now_ns=now_ns)
        return paper_pb2.OpenAccountResponse()

    def _induce_drift(self, request: paper_pb2.InduceDriftRequest, now_ns: int) -> paper_pb2.InduceDriftResponse:
        position = self.engine.drift(request.account, request.symbol, Number.of(request.qty), now_ns=now_ns)
        market = self.engine.market(request.symbol)
        return paper_pb2.InduceDriftResponse(position=wire.truth_position(market, position))

    def _set_mode(self, request: paper_pb2.SetModeRequest, now_ns: int) -> paper_pb2.SetModeResponse:
        chance = Chance(wire.mode_of(request.mode), request.seed, request.delay_scale_permille)
        costs = self.engine.costs
        if request.HasField("costs"):
            given = request.costs
            costs = Costs(given.taker_fee_ppm, given.maker_fee_ppm, given.slippage_ppm_max)
        self.engine.set_manners(chance, costs, now_ns=now_ns)
        return paper_pb2.SetModeResponse()

    # ── Reading it ─────────────────────────────────────────────────────────────────────────────────────

    def mark(self) -> Mark:
        return Mark({name: account.last_sequence for name, account in self.engine.accounts.items()}, len(self.bars))

    def get_order(self, request: paper_pb2.GetOrderRequest) -> paper_pb2.GetOrderResponse:
        order = self.engine.account(request.account).orders.get(request.client_order_id)
        if order is None:
            raise _order_unknown(request.client_order_id)
        return paper_pb2.GetOrderResponse(order=wire.paper_order(order))

    def needs_fence(self, request: paper_pb2.GetOrderRequest) -> bool:
        account = self.engine.account(request.account)
        known = request.client_order_id in account.orders or request.client_order_id in account.fenced
        return request.fence and not known

    def get_portfolio(self, request: paper_pb2.GetPortfolioRequest, now_ns: int) -> paper_pb2.GetPortfolioResponse:
        account = self.engine.account(request.account)
        return paper_pb2.GetPortfolioResponse(
            positions=[
                wire.truth_position(self.engine.market(symbol), position)
                for symbol, position in sorted(account.positions.items())
                if position.qty_units
            ],
            open_orders=[wire.paper_order(order) for order in account.orders.values() if order.life is Life.WORKING],
            balance=account.balance(account.last_sequence),
            event_sequence=account.last_sequence,
            as_of_ns=now_ns,
        )

    def get_ledger(self, request: paper_pb2.GetLedgerRequest) -> paper_pb2.GetLedgerResponse:
        return wire.ledger(self.engine.account(request.account))


def _order_unknown(client_order_id: str) -> NotFound:
    return NotFound(f"the venue has no order {client_order_id!r}", field="client_order_id", value=client_order_id)
