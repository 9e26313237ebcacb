# ruff: noqa: N802  (gRPC method names are those of the contract)
"""The admin door of the simulated gateway: what tests, the demo and its operator may do.

There is no authentication: it listens on loopback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc
from kestrel_domain.errors import KestrelError
from kestrel_simulators.rpc import OPTIONS, Context, abort, bind
from kestrel_simulators.tws.server import TwsProcess


class ControlServicer(tws_pb2_grpc.TwsSimulatorControlServiceServicer):
    """Turns calls into records of the broker, and what is of the socket into deeds of the server."""

    def __init__(self, process: TwsProcess) -> None:
        self._process = process

    async def _answered(self, context: Context, work: Callable[[], Awaitable[Any]]) -> Any:
        """Errors of ours become answers of gRPC's; an error of nobody's ends the process."""
        try:
            return await work()
        except KestrelError as error:
            await abort(context, error)
        except Exception:
            self._process.failed.set()
            raise

    async def _recorded(self, request: Message, context: Context) -> Any:
        return await self._answered(context, lambda: self._process.control(request))

    async def OpenAccount(self, request: tws_pb2.OpenAccountRequest, context: Context) -> tws_pb2.OpenAccountResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def PublishBar(self, request: tws_pb2.PublishBarRequest, context: Context) -> tws_pb2.PublishBarResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def PublishQuote(
        self, request: tws_pb2.PublishQuoteRequest, context: Context
    ) -> tws_pb2.PublishQuoteResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def SetMode(self, request: tws_pb2.SetModeRequest, context: Context) -> tws_pb2.SetModeResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def SetMarketHours(
        self, request: tws_pb2.SetMarketHoursRequest, context: Context
    ) -> tws_pb2.SetMarketHoursResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def InduceDrift(self, request: tws_pb2.InduceDriftRequest, context: Context) -> tws_pb2.InduceDriftResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def PlaceManualOrder(
        self, request: tws_pb2.PlaceManualOrderRequest, context: Context
    ) -> tws_pb2.PlaceManualOrderResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def CancelOrderByHand(
        self, request: tws_pb2.CancelOrderByHandRequest, context: Context
    ) -> tws_pb2.CancelOrderByHandResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def BustExecution(
        self, request: tws_pb2.BustExecutionRequest, context: Context
    ) -> tws_pb2.BustExecutionResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def CorrectExecution(
        self, request: tws_pb2.CorrectExecutionRequest, context: Context
    ) -> tws_pb2.CorrectExecutionResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def SetConnectivity(
        self, request: tws_pb2.SetConnectivityRequest, context: Context
    ) -> tws_pb2.SetConnectivityResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def ResetDay(self, request: tws_pb2.ResetDayRequest, context: Context) -> tws_pb2.ResetDayResponse:
        return await self._recorded(request, context)  # type: ignore[no-any-return]

    async def SetFault(self, request: tws_pb2.SetFaultRequest, context: Context) -> tws_pb2.SetFaultResponse:
        async def work() -> Message:
            if self._process.set_fault(request):
                return tws_pb2.SetFaultResponse()
            return await self._process.control(request)

        return await self._answered(context, work)  # type: ignore[no-any-return]

    async def ClearFaults(self, request: tws_pb2.ClearFaultsRequest, context: Context) -> tws_pb2.ClearFaultsResponse:
        async def work() -> Message:
            self._process.faults.clear(request.fault)
            return await self._process.control(request)

        return await self._answered(context, work)  # type: ignore[no-any-return]

    async def ListFaults(self, request: tws_pb2.ListFaultsRequest, context: Context) -> tws_pb2.ListFaultsResponse:
        spoken = self._process.broker.list_faults()
        of_the_socket = [armed.message() for armed in self._process.faults]
        return tws_pb2.ListFaultsResponse(faults=[*spoken, *of_the_socket])

    async def DropConnections(
        self, request: tws_pb2.DropConnectionsRequest, context: Context
    ) -> tws_pb2.DropConnectionsResponse:
        one = [request.client_id] if request.HasField("client_id") else list(self._process.connections)
        return tws_pb2.DropConnectionsResponse(connection_count=self._process.drop(one, abruptly=request.abruptly))

    async def GetLedger(self, request: tws_pb2.GetLedgerRequest, context: Context) -> tws_pb2.GetLedgerResponse:
        async def work() -> Message:
            return await self._process.settled(self._process.broker.ledger(request))

        return await self._answered(context, work)  # type: ignore[no-any-return]


async def start_admin(process: TwsProcess, host: str, port: int) -> tuple[grpc.aio.Server, int]:
    """Serve the admin door; returns the server and the port it got. Raises ``Unavailable`` when the port is taken."""
    server = grpc.aio.server(options=OPTIONS)
    tws_pb2_grpc.add_TwsSimulatorControlServiceServicer_to_server(ControlServicer(process), server)
    bound = bind(server, host, port, "admin-port")
    await server.start()
    return server, bound
