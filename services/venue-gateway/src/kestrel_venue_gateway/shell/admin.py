# ruff: noqa: N802  (gRPC method names are those of the contract)
"""What operators see of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from kestrel.admin.v1 import venue_gateway_pb2, venue_gateway_pb2_grpc
from kestrel_venue_gateway.shell.session import AccountSession


class VenueGatewayServicer(venue_gateway_pb2_grpc.VenueGatewayServiceServicer):
    """Answers from what the sessions know; changes nothing."""

    def __init__(self, environment: str, sessions: Sequence[AccountSession]) -> None:
        self._environment = environment
        self._sessions = sessions

    async def ListSessions(
        self,
        request: venue_gateway_pb2.ListSessionsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> venue_gateway_pb2.ListSessionsResponse:
        return venue_gateway_pb2.ListSessionsResponse(sessions=[self._session(session) for session in self._sessions])

    def _session(self, session: AccountSession) -> venue_gateway_pb2.VenueSession:
        return venue_gateway_pb2.VenueSession(
            venue=session.venue.name,
            account=session.account,
            connected=session.connected,
            environment=self._environment,
            connected_at_ns=session.connected_at_ns,
            orders_sent=session.figures.orders_sent,
            orders_refused=session.figures.orders_refused,
            orders_in_doubt=session.figures.orders_in_doubt,
            reports_published=session.report_count,
            degraded=session.venue.state.no_entry,
        )
