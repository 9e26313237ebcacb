# ruff: noqa: N802  (gRPC method names are those of the contract)
"""The paper venue's shell: gRPC, the clock and the log around the pure core.

Nothing is answered or streamed before the log holds it. Reads wait for what they have read, too: an answer that
a crash could take back would be a lie.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_domain.timestamps import SECOND_NS
from kestrel_simulators.log import RECORD_BYTES_MAX, DurableLog, Record
from kestrel_simulators.paper import wire
from kestrel_simulators.paper.venue import REQUESTS, Kind, Mark, NotFound, PaperVenue
from kestrel_simulators.rpc import OPTIONS, REFUSAL_METADATA_KEY, Context, abort, bind

__all__ = ["REFUSAL_METADATA_KEY", "VenueProcess", "start_server"]

LOG_NAME = "paper.log"
STREAM_BATCH = 512


class VenueProcess:
    """The venue, its log and its clock: what the two gRPC services share."""

    def __init__(self, data_dir: Path) -> None:
        """Opens the log and replays it. Raises when the log is in use or corrupted."""
        self.venue = PaperVenue()
        self._log = DurableLog(data_dir / LOG_NAME, self._on_durable)
        self._now_ns = 0
        self.record_count = 0
        for record in self._log.replay():
            self.venue.replay(record.kind, record.body, record.time_ns)
            self._now_ns = record.time_ns
            self.record_count += 1
        self._visible = self.venue.mark()
        self._changed = asyncio.Event()
        self._rescheduled = asyncio.Event()
        self.failed = asyncio.Event()

    def now_ns(self) -> int:
        """The time, never going back, also not over a restart."""
        self._now_ns = max(self._now_ns, time.time_ns())
        return self._now_ns

    async def change(self, kind: Kind, request: Message | None) -> Any:
        """Apply a request and wait until it is durable. A refused one leaves no record."""
        if request is not None and request.ByteSize() > RECORD_BYTES_MAX:
            raise InvalidRequest.of("request", f"{request.ByteSize()} bytes", f"at most {RECORD_BYTES_MAX} bytes")
        self._advance_if_due()
        answer, position = self._apply(kind, request)
        await self._log.durable(position)
        return answer

    async def settled(self, answer: Message) -> Message:
        """An answer read from memory, once everything it may have seen is durable."""
        await self._log.durable(self._log.position)
        return answer

    def _apply(self, kind: Kind, request: Message | None) -> tuple[Any, int]:
        now_ns = self.now_ns()
        answer = self.venue.apply(kind, request, now_ns)
        body = request.SerializeToString() if request is not None else b""
        position = self._log.append(Record(kind, now_ns, body), self.venue.mark())
        self._rescheduled.set()
        return answer, position

    def _advance_if_due(self) -> None:
        """What is due happens before anything else does, and is a record of its own."""
        due_ns = self.venue.engine.next_deadline_ns()
        if due_ns is not None and due_ns <= self.now_ns():
            self._apply(Kind.ADVANCE, None)

    def _on_durable(self, mark: object) -> None:
        assert isinstance(mark, Mark)
        self._visible = mark
        self._changed.set()
        self._changed = asyncio.Event()

    async def events(self, account_name: str, after_sequence: int) -> AsyncIterator[paper_pb2.StreamEventsResponse]:
        """Everything said about an account after a sequence, for ever."""
        account = self.venue.engine.account(account_name)
        _check_start("after_sequence", after_sequence, account.last_sequence)
        while True:
            changed = self._changed
            visible = self._visible.events.get(account_name, 0)
            for event in account.events[after_sequence : min(visible, after_sequence + STREAM_BATCH)]:
                yield wire.stream_event(event)
                after_sequence = event.sequence
            if after_sequence >= self._visible.events.get(account_name, 0):
                await changed.wait()

    async def bars(self, after_sequence: int) -> AsyncIterator[paper_pb2.StreamBarsResponse]:
        """All bars after a sequence, for ever."""
        _check_start("after_sequence", after_sequence, len(self.venue.bars))
        while True:
            changed = self._changed
            for bar in self.venue.bars[after_sequence : min(self._visible.bars, after_sequence + STREAM_BATCH)]:
                after_sequence += 1
                yield paper_pb2.StreamBarsResponse(sequence=after_sequence, bar=bar)
            if after_sequence >= self._visible.bars:
                await changed.wait()

    async def run_log(self) -> None:
        """Writes the log for ever; when the disk fails, so does the venue."""
        try:
            await self._log.run()
        except Exception:
            self.failed.set()
            raise

    async def run_clock(self) -> None:
        """Wakes up when something is due, and only then."""
        while True:
            self._rescheduled.clear()
            self._advance_if_due()
            due_ns = self.venue.engine.next_deadline_ns()
            wait_s = None if due_ns is None else max(0, due_ns - self.now_ns()) / SECOND_NS
            try:
                async with asyncio.timeout(wait_s):  # wait_for may lose a cancellation
                    await self._rescheduled.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        await self._log.close()


def _check_start(field: str, value: int, last: int) -> None:
    """A position beyond the end means that the caller's memory and ours are not of the same venue."""
    if not 0 <= value <= last:
        rule = f"0 to {last}, the last sequence there is"
        raise InvalidRequest.of(field, value, rule, reason="SEQUENCE_UNKNOWN")


async def _abort(context: Context, error: KestrelError) -> NoReturn:
    await abort(context, error, grpc.StatusCode.NOT_FOUND if isinstance(error, NotFound) else None)


class _Servicer:
    """Turns errors of ours into answers of gRPC's, and errors of nobody's into the end of the process."""

    def __init__(self, process: VenueProcess) -> None:
        self._process = process

    async def _answered(self, context: Context, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except KestrelError as error:
            return await _abort(context, error)
        except Exception:
            self._process.failed.set()
            raise

    async def _changed(self, context: Context, kind: Kind, request: Message) -> Any:
        assert REQUESTS[kind] is type(request)
        return await self._answered(context, lambda: self._process.change(kind, request))


class PaperVenueServicer(_Servicer, paper_pb2_grpc.PaperVenueServiceServicer):
    """What the gateway sees."""

    async def PlaceOrder(self, request: paper_pb2.PlaceOrderRequest, context: Context) -> paper_pb2.PlaceOrderResponse:
        return await self._changed(context, Kind.PLACE_ORDER, request)  # type: ignore[no-any-return]

    async def PlaceBracket(
        self, request: paper_pb2.PlaceBracketRequest, context: Context
    ) -> paper_pb2.PlaceBracketResponse:
        return await self._changed(context, Kind.PLACE_BRACKET, request)  # type: ignore[no-any-return]

    async def CancelOrder(
        self, request: paper_pb2.CancelOrderRequest, context: Context
    ) -> paper_pb2.CancelOrderResponse:
        return await self._changed(context, Kind.CANCEL_ORDER, request)  # type: ignore[no-any-return]

    async def GetOrder(self, request: paper_pb2.GetOrderRequest, context: Context) -> paper_pb2.GetOrderResponse:
        async def answer() -> Any:
            if self._process.venue.needs_fence(request):
                await self._process.change(Kind.FENCE_ORDER, request)
            return await self._process.settled(self._process.venue.get_order(request))

        return await self._answered(context, answer)  # type: ignore[no-any-return]

    async def GetPortfolio(
        self, request: paper_pb2.GetPortfolioRequest, context: Context
    ) -> paper_pb2.GetPortfolioResponse:
        async def answer() -> Any:
            return await self._process.settled(self._process.venue.get_portfolio(request, self._process.now_ns()))

        return await self._answered(context, answer)  # type: ignore[no-any-return]

    async def StreamEvents(
        self, request: paper_pb2.StreamEventsRequest, context: Context
    ) -> AsyncIterator[paper_pb2.StreamEventsResponse]:
        try:
            async for event in self._process.events(request.account, request.after_sequence):
                yield event
        except KestrelError as error:
            await _abort(context, error)

    async def StreamBars(
        self, request: paper_pb2.StreamBarsRequest, context: Context
    ) -> AsyncIterator[paper_pb2.StreamBarsResponse]:
        try:
            async for bar in self._process.bars(request.after_sequence):
                yield bar
        except KestrelError as error:
            await _abort(context, error)


class PaperVenueControlServicer(_Servicer, paper_pb2_grpc.PaperVenueControlServiceServicer):
    """What tests, the demo and the simulator's operator see."""

    async def PublishBar(self, request: paper_pb2.PublishBarRequest, context: Context) -> paper_pb2.PublishBarResponse:
        return await self._changed(context, Kind.PUBLISH_BAR, request)  # type: ignore[no-any-return]

    async def OpenAccount(
        self, request: paper_pb2.OpenAccountRequest, context: Context
    ) -> paper_pb2.OpenAccountResponse:
        return await self._changed(context, Kind.OPEN_ACCOUNT, request)  # type: ignore[no-any-return]

    async def InduceDrift(
        self, request: paper_pb2.InduceDriftRequest, context: Context
    ) -> paper_pb2.InduceDriftResponse:
        return await self._changed(context, Kind.INDUCE_DRIFT, request)  # type: ignore[no-any-return]

    async def SetMode(self, request: paper_pb2.SetModeRequest, context: Context) -> paper_pb2.SetModeResponse:
        return await self._changed(context, Kind.SET_MODE, request)  # type: ignore[no-any-return]

    async def GetLedger(self, request: paper_pb2.GetLedgerRequest, context: Context) -> paper_pb2.GetLedgerResponse:
        async def answer() -> Any:
            return await self._process.settled(self._process.venue.get_ledger(request))

        return await self._answered(context, answer)  # type: ignore[no-any-return]


async def start_server(process: VenueProcess, host: str, port: int) -> tuple[grpc.aio.Server, int]:
    """Serve both services; returns the server and the port it got. Raises ``Unavailable`` when the port is taken."""
    server = grpc.aio.server(options=OPTIONS)
    paper_pb2_grpc.add_PaperVenueServiceServicer_to_server(PaperVenueServicer(process), server)
    paper_pb2_grpc.add_PaperVenueControlServiceServicer_to_server(PaperVenueControlServicer(process), server)
    bound = bind(server, host, port, "port")
    await server.start()
    return server, bound
