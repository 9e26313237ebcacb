"""Between the paper venue's contract and the matching engine's values."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Account, Event, Market, Mode, NewOrder, Order, Position

_MODES = {
    paper_pb2.MATCHING_MODE_INSTANT: Mode.INSTANT,
    paper_pb2.MATCHING_MODE_REALISTIC: Mode.REALISTIC,
    paper_pb2.MATCHING_MODE_ADVERSARIAL: Mode.ADVERSARIAL,
}
_MODE_NUMBERS = {mode: number for number, mode in _MODES.items()}


def mode_of(number: paper_pb2.MatchingMode.ValueType) -> Mode:
    if number not in _MODES:
        raise InvalidRequest.of("mode", number, "MATCHING_MODE_INSTANT, _REALISTIC or _ADVERSARIAL")
    return _MODES[number]


def mode_number(mode: Mode) -> paper_pb2.MatchingMode.ValueType:
    return _MODE_NUMBERS[mode]


def new_order(request: paper_pb2.PlaceOrderRequest) -> NewOrder:
    """The order a request asks for. A STOP without a stop price takes ``price`` as its trigger."""
    if not request.HasField("order_qty"):
        raise InvalidRequest.of("order_qty", "", "is required")
    price = Number.of(request.price) if request.HasField("price") else None
    stop_price = Number.of(request.stop_price) if request.HasField("stop_price") else None
    if request.order_type == common_pb2.ORDER_TYPE_STOP and stop_price is None:
        price, stop_price = None, price
    return NewOrder(
        account=request.account,
        client_order_id=request.client_order_id,
        symbol=request.symbol,
        side=request.side,
        order_qty=Number.of(request.order_qty),
        order_type=request.order_type,
        time_in_force=request.time_in_force,
        price=price,
        stop_price=stop_price,
        reduce_only=request.reduce_only,
        parent_id=request.parent_client_order_id,
        group=request.group,
    )


def paper_order(order: Order) -> paper_pb2.PaperOrder:
    request = order.request
    message = paper_pb2.PaperOrder(
        account=request.account,
        client_order_id=request.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=request.symbol,
        side=request.side,
        order_qty=request.order_qty.message(),
        order_type=request.order_type,
        time_in_force=request.time_in_force,
        cum_qty=common_pb2.Decimal(units=order.cum_qty_units, scale=order.qty_scale),
        status=order.life.value,
        reason=order.reason,
        received_at_ns=order.received_at_ns,
        reduce_only=request.reduce_only,
        parent_client_order_id=request.parent_id,
        group=request.group,
    )
    if request.price is not None:
        message.price.CopyFrom(request.price.message())
    if request.stop_price is not None:
        message.stop_price.CopyFrom(request.stop_price.message())
    return message


def truth_position(market: Market, position: Position) -> venue_pb2.TruthPosition:
    instrument = market.instrument
    message = venue_pb2.TruthPosition(
        symbol=instrument.symbol,
        qty=common_pb2.Decimal(units=position.qty_units, scale=instrument.qty_scale),
    )
    if position.qty_units:
        average = instrument.average_price(position.basis_units, abs(position.qty_units))
        message.average_price.CopyFrom(average.message())
    return message


def stream_event(event: Event) -> paper_pb2.StreamEventsResponse:
    message = paper_pb2.StreamEventsResponse(sequence=event.sequence, time_ns=event.time_ns)
    fact = event.fact
    if isinstance(fact, venue_pb2.OrderReport):
        message.order.CopyFrom(fact)
    elif isinstance(fact, venue_pb2.Fill):
        message.fill.CopyFrom(fact)
    else:
        message.balance.CopyFrom(fact)
    return message


def ledger(account: Account) -> paper_pb2.GetLedgerResponse:
    return paper_pb2.GetLedgerResponse(
        orders=[paper_order(order) for order in account.orders.values()],
        fills=account.fills,
        arrivals=[
            paper_pb2.Arrival(client_order_id=key, request_count=count) for key, count in account.arrivals.items()
        ],
    )
