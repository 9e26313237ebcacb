# ruff: noqa: N802  (gRPC method names are those of the contract)
"""PolicyService, as operators use it."""

from __future__ import annotations

from typing import Any

import grpc

from kestrel.admin.v1 import policy_pb2, policy_pb2_grpc
from kestrel_chassis.admin import caller
from kestrel_domain.errors import InvalidRequest
from kestrel_policy.shell.service import PolicyService

SIGNALS_LISTED_DEFAULT, SIGNALS_LISTED_MAX = 100, 5000
Context = grpc.aio.ServicerContext[Any, Any]


class PolicyServicer(policy_pb2_grpc.PolicyServiceServicer):
    """Signals by hand, and the latest signals."""

    def __init__(self, service: PolicyService) -> None:
        self._service = service

    async def SubmitSignal(
        self, request: policy_pb2.SubmitSignalRequest, context: Context
    ) -> policy_pb2.SubmitSignalResponse:
        if not request.HasField("signal"):
            raise InvalidRequest.of("signal", "", "is required")
        decision = await self._service.submit(
            request.request_id, request.account, request.signal, caller(context), bracket=request.bracket
        )
        return policy_pb2.SubmitSignalResponse(
            signal_id=decision.signal.signal_id, intent_id=decision.intent_id, reason=decision.reason
        )

    async def ListSignals(
        self, request: policy_pb2.ListSignalsRequest, context: Context
    ) -> policy_pb2.ListSignalsResponse:
        limit = request.limit or SIGNALS_LISTED_DEFAULT
        if limit > SIGNALS_LISTED_MAX:
            raise InvalidRequest.of("limit", limit, f"at most {SIGNALS_LISTED_MAX}")
        return policy_pb2.ListSignalsResponse(signals=self._service.state.latest_signals(limit))
