"""gRPC: kestrel.admin.v1.PersistenceService."""
# ruff: noqa: N802 - the methods have the contract's names

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from kestrel.admin.v1 import persistence_pb2, persistence_pb2_grpc
from kestrel.audit.v1 import audit_pb2
from kestrel_persistence.core.trace import in_order
from kestrel_persistence.core.verification import Verdict
from kestrel_persistence.shell import queries
from kestrel_persistence.shell.audit import Audit
from kestrel_persistence.shell.database import Database

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


class PersistenceApi(persistence_pb2_grpc.PersistenceServiceServicer):
    """Reads of the database, and verification. Errors travel as the chassis maps them."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def ListBeads(
        self, request: persistence_pb2.ListBeadsRequest, context: Context
    ) -> persistence_pb2.ListBeadsResponse:
        lines = await queries.beads(self._database, request.account, request.kind, request.limit)
        found = []
        for line in lines:
            found.append(
                persistence_pb2.StoredBead(
                    bead=_bead(line["body"]),
                    chain_sequence=line["chain_sequence"],
                    chain_hash=line["chain_hash"],
                    stream_sequence=line["sequence"],
                )
            )
        return persistence_pb2.ListBeadsResponse(beads=found)

    async def VerifyAudit(
        self, request: persistence_pb2.VerifyAuditRequest, context: Context
    ) -> persistence_pb2.VerifyAuditResponse:
        verdicts = await self._audit.verify()
        return persistence_pb2.VerifyAuditResponse(
            verified=all(verdict.verified for verdict in verdicts), chains=[_chain(verdict) for verdict in verdicts]
        )

    async def GetTrace(
        self, request: persistence_pb2.GetTraceRequest, context: Context
    ) -> persistence_pb2.GetTraceResponse:
        subject = await queries.find(self._database, request.id)
        ordered = in_order(await queries.hops(self._database, subject))
        return persistence_pb2.GetTraceResponse(
            trace_id=subject.trace_id,
            intent_id=subject.intent_id,
            client_order_id=subject.client_order_id,
            hops=[
                persistence_pb2.TraceHop(
                    service=hop.service,
                    event=hop.event,
                    at_ns=hop.at_ns,
                    elapsed_ns=elapsed_ns,
                    detail=hop.detail,
                    stream=hop.stream,
                    sequence=hop.sequence,
                )
                for hop, elapsed_ns in ordered
            ],
        )

    async def CountRows(
        self, request: persistence_pb2.CountRowsRequest, context: Context
    ) -> persistence_pb2.CountRowsResponse:
        return persistence_pb2.CountRowsResponse(rows=await queries.row_counts(self._database))

    async def ListParked(
        self, request: persistence_pb2.ListParkedRequest, context: Context
    ) -> persistence_pb2.ListParkedResponse:
        stored = await queries.bodies(self._database, "parked_messages", request.limit)
        return persistence_pb2.ListParkedResponse(parked=[audit_pb2.ParkedMessage.FromString(body) for body in stored])

    async def ListAlerts(
        self, request: persistence_pb2.ListAlertsRequest, context: Context
    ) -> persistence_pb2.ListAlertsResponse:
        stored = await queries.bodies(self._database, "alerts", request.limit)
        return persistence_pb2.ListAlertsResponse(alerts=[audit_pb2.Alert.FromString(body) for body in stored])


def _bead(body: bytes) -> audit_pb2.Bead:
    """Empty for bytes that are no bead: its place in the chain is shown all the same."""
    try:
        return audit_pb2.Bead.FromString(body)
    except DecodeError:
        return audit_pb2.Bead()


def _chain(verdict: Verdict) -> persistence_pb2.ChainVerdict:
    return persistence_pb2.ChainVerdict(
        name=verdict.name,
        verified=verdict.verified,
        database_count=verdict.database.length,
        stream_count=verdict.stream.length,
        database_head=verdict.database.entry_hash if verdict.database.length else b"",
        stream_head=verdict.stream.entry_hash if verdict.stream.length else b"",
        first_bad_sequence=verdict.first_bad_sequence,
        problem=verdict.problem,
    )
