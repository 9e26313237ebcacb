"""A session with the paper venue.

The venue answers a known client order id with the order as it is, whatever is sent under it again; a fenced one it
refuses for ever. Errors it answers with (bad argument, failed precondition) are answers: the order is not there. A
broken connection or a missed deadline is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import cast

import grpc
from google.protobuf.message import DecodeError

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from kestrel_venue_gateway.core.traits import STRONG, VenueState
from kestrel_venue_gateway.core.truth import Portfolio

_REFUSAL_METADATA_KEY = "kestrel-refusal-bin"
_ANSWERS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION})
"""Codes by which the venue itself says no. All others may mean that nobody spoke."""

_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
    # Two sessions must not share one connection: each is a login of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


class PaperVenue:
    """Implements ``Venue`` for one account."""

    name = "paper"
    traits = STRONG
    # Each request finds out for itself; between two, nothing is known.
    state = VenueState()

    def __init__(self, address: str, account: str, *, request_timeout_s: float) -> None:
        self._account = account
        self._timeout_s = request_timeout_s
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = paper_pb2_grpc.PaperVenueServiceStub(self._channel)

    async def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        request = _order_request(command)
        if not await self._is_ready():
            return SendResult(Outcome.NOT_SENT, reason=_silence("the paper venue cannot be reached"))
        try:
            response = await self._stub.PlaceOrder(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            outcome = Outcome.REJECTED if error.code() in _ANSWERS else Outcome.UNKNOWN
            return SendResult(outcome, reason=_reason(error))
        return _answer(response.order)

    async def send_bracket(self, commands: Sequence[journal_pb2.VenueCommand]) -> list[SendResult]:
        """One message, taken whole or not at all; so an error is the answer to each of its orders."""
        request = paper_pb2.PlaceBracketRequest(orders=map(_order_request, commands))
        if not await self._is_ready():
            return [
                SendResult(Outcome.NOT_SENT, reason=_silence("the paper venue cannot be reached")) for _ in commands
            ]
        try:
            response = await self._stub.PlaceBracket(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            outcome = Outcome.REJECTED if error.code() in _ANSWERS else Outcome.UNKNOWN
            return [SendResult(outcome, reason=_reason(error)) for _ in commands]
        return [_answer(order) for order in response.orders]

    async def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        request = paper_pb2.CancelOrderRequest(account=self._account, client_order_id=command.client_order_id)
        try:
            response = await self._stub.CancelOrder(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            answered = error.code() in _ANSWERS or error.code() is grpc.StatusCode.NOT_FOUND
            return SendResult(Outcome.REJECTED if answered else Outcome.UNKNOWN, reason=_reason(error))
        # Also when it was too late: the event stream says so, or has said what ended the order.
        return SendResult(Outcome.ACCEPTED, response.order.venue_order_id)

    async def ask(self, client_order_id: str, *, fence: bool) -> AskResult:
        request = paper_pb2.GetOrderRequest(account=self._account, client_order_id=client_order_id, fence=fence)
        try:
            response = await self._stub.GetOrder(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            absent = error.code() is grpc.StatusCode.NOT_FOUND
            return AskResult(Presence.ABSENT if absent else Presence.UNKNOWN, reason=_reason(error))
        order = response.order
        presence = Presence.REJECTED if order.status == "REJECTED" else Presence.FOUND
        return AskResult(presence, order.venue_order_id, _refusal_of(order), order.received_at_ns)

    async def portfolio(self) -> Portfolio:
        request = paper_pb2.GetPortfolioRequest(account=self._account)
        try:
            response = await self._stub.GetPortfolio(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        return Portfolio(
            as_of_ns=response.as_of_ns,
            event_sequence=response.event_sequence,
            positions=list(response.positions),
            open_orders=[_truth_order(order) for order in response.open_orders],
            balance=response.balance if response.HasField("balance") else None,
        )

    async def events(self, after_sequence: int, known: KnownFacts) -> AsyncGenerator[VenueEvent, None]:
        request = paper_pb2.StreamEventsRequest(account=self._account, after_sequence=after_sequence)
        call = self._stub.StreamEvents(request)
        try:
            async for response in call:
                yield _event(response)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        finally:
            call.cancel()
        raise Unavailable("the paper venue ended its event stream", reason="VENUE_DISCONNECTED")

    async def bars(self, after_sequence: int) -> AsyncGenerator[venue_pb2.Bar, None]:
        call = self._stub.StreamBars(paper_pb2.StreamBarsRequest(after_sequence=after_sequence))
        try:
            async for response in call:
                bar = venue_pb2.Bar()
                bar.CopyFrom(response.bar)
                bar.venue_sequence = response.sequence
                yield bar
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        finally:
            call.cancel()
        raise Unavailable("the paper venue ended its market data", reason="VENUE_DISCONNECTED")

    async def close(self) -> None:
        await self._channel.close(None)

    async def _is_ready(self) -> bool:
        """Whether there is a connection. Without one, nothing that is asked of the channel can have left."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return True
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True


def _order_request(command: journal_pb2.VenueCommand) -> paper_pb2.PlaceOrderRequest:
    request = paper_pb2.PlaceOrderRequest(
        account=command.account,
        client_order_id=command.client_order_id,
        symbol=command.instrument.symbol,
        side=command.side,
        order_qty=command.order_qty,
        order_type=command.order_type,
        time_in_force=command.time_in_force,
        reduce_only=command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
    )
    # The entry itself is none of the group: what it fills is what the others are for.
    if command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
        request.group = command.group
    if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE:
        request.parent_client_order_id = command.group
    if command.HasField("price"):
        request.price.CopyFrom(command.price)
    return request


def _answer(order: paper_pb2.PaperOrder) -> SendResult:
    outcome = Outcome.REJECTED if order.status == "REJECTED" else Outcome.ACCEPTED
    return SendResult(outcome, order.venue_order_id, _refusal_of(order), order.received_at_ns)


def _event(response: paper_pb2.StreamEventsResponse) -> VenueEvent:
    match response.WhichOneof("event"):
        case "order":
            return VenueEvent(response.sequence, response.time_ns, response.order)
        case "fill":
            return VenueEvent(response.sequence, response.time_ns, response.fill)
        case "balance":
            return VenueEvent(response.sequence, response.time_ns, response.balance)
    raise RemoteProtocolError(f"event {response.sequence} of the paper venue says nothing", reason="EVENT_EMPTY")


def _truth_order(order: paper_pb2.PaperOrder) -> venue_pb2.TruthOrder:
    return venue_pb2.TruthOrder(
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=order.symbol,
        side=order.side,
        order_qty=order.order_qty,
        cum_qty=order.cum_qty,
    )


def _refusal_of(order: paper_pb2.PaperOrder) -> common_pb2.Refusal | None:
    return order.reason if order.HasField("reason") else None


def _reason(error: grpc.aio.AioRpcError) -> common_pb2.Refusal:
    """The refusal that the venue sent along, or its status and sentence."""
    metadata = cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ())
    for key, value in metadata:
        if key == _REFUSAL_METADATA_KEY and isinstance(value, bytes):
            try:
                return common_pb2.Refusal.FromString(value)
            except DecodeError:
                break
    return common_pb2.Refusal(reason=error.code().name, message=error.details() or "no details")


def _silence(message: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(reason="VENUE_UNREACHABLE", message=message)


def _failure(error: grpc.aio.AioRpcError) -> Unavailable | RemoteProtocolError:
    reason = _reason(error)
    if error.code() in _ANSWERS:
        return RemoteProtocolError(
            reason.message, reason=reason.reason, field=reason.field, value=reason.value, rule=reason.rule
        )
    return Unavailable(f"the paper venue did not answer: {reason.message}", reason=reason.reason)
