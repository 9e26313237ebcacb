"""gRPC: kestrel.admin.v1.ReconcilerService."""
# ruff: noqa: N802 - the methods have the contract's names

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kestrel.admin.v1 import reconciler_pb2, reconciler_pb2_grpc
from kestrel_chassis.admin import caller
from kestrel_chassis.requests import AnsweredRequests
from kestrel_domain.errors import InvalidRequest
from kestrel_reconciler.shell.watch import Watch

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000


class ReconcilerApi(reconciler_pb2_grpc.ReconcilerServiceServicer):
    """Answers while this instance is the active one; ``active`` raises Unavailable when it is not."""

    def __init__(self, active: Callable[[], Watch], requests: AnsweredRequests) -> None:
        self._active = active
        self._requests = requests

    async def ListBreaks(
        self, request: reconciler_pb2.ListBreaksRequest, context: Context
    ) -> reconciler_pb2.ListBreaksResponse:
        return reconciler_pb2.ListBreaksResponse(breaks=self._active().breaks(request.account, everything=request.all))

    async def ListRuns(
        self, request: reconciler_pb2.ListRunsRequest, context: Context
    ) -> reconciler_pb2.ListRunsResponse:
        if request.limit > LIMIT_MAX:
            raise InvalidRequest.of("limit", request.limit, f"at most {LIMIT_MAX}")
        runs = self._active().runs(request.account, request.limit or LIMIT_DEFAULT)
        return reconciler_pb2.ListRunsResponse(runs=runs)

    async def RunNow(self, request: reconciler_pb2.RunNowRequest, context: Context) -> reconciler_pb2.RunNowResponse:
        async def run() -> reconciler_pb2.RunNowResponse:
            return reconciler_pb2.RunNowResponse(run=await self._active().run_now(request.account))

        return await self._requests.once(caller(context).id, "RunNow", request, run)

    async def Resolve(self, request: reconciler_pb2.ResolveRequest, context: Context) -> reconciler_pb2.ResolveResponse:
        actor = caller(context)

        async def resolve() -> reconciler_pb2.ResolveResponse:
            resolved = await self._active().resolve(request.break_id, request.kind, request.notes, actor)
            return reconciler_pb2.ResolveResponse(resolved_break=resolved)

        return await self._requests.once(actor.id, "Resolve", request, resolve)
