# ruff: noqa: N802 - gRPC names the methods
"""GovernanceService: what operators ask over gRPC. Who asks is taken from the credential, never from the request.

A `request_id` seen before, from the same person for the same call, gets the first answer. Across a restart the same
holds by what the requests mean: an intent is decided once, a mandate's id follows from its request, a flag that is
raised stays raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from kestrel.admin.v1 import governance_pb2, governance_pb2_grpc
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.admin import caller
from kestrel_chassis.bus import Bus
from kestrel_chassis.identity import Role
from kestrel_chassis.requests import AnsweredRequests
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, Refused, Unavailable
from kestrel_domain.identifiers import checked_id
from kestrel_governance.core import kill, proposal
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.shell.flags import FlagStore
from kestrel_governance.shell.killswitch import KillSwitch
from kestrel_governance.shell.tenure import Tenure

ROLES: dict[str, Role] = {
    "ListPending": Role.VIEWER,
    "Approve": Role.APPROVER,
    "Pass": Role.APPROVER,
    "Propose": Role.OPERATOR,
    "GrantMandate": Role.RISK_OFFICER,
    "RevokeMandate": Role.RISK_OFFICER,
    "ListMandates": Role.VIEWER,
    "Kill": Role.OPERATOR,
    "Rearm": Role.RISK_OFFICER,
    "ListKillFlags": Role.VIEWER,
}

Context = grpc.aio.ServicerContext[Any, Any]


class GovernanceServicer(governance_pb2_grpc.GovernanceServiceServicer):
    """Calls that decide go to the tenure, which is None while another instance is active. Kill works always."""

    def __init__(
        self, bus: Bus, limits: RiskLimits, tenure: Callable[[], Tenure | None], requests: AnsweredRequests
    ) -> None:
        self._bus = bus
        self._flags = FlagStore(bus.bucket(subjects.FLAGS_BUCKET))
        self._kill_switch = KillSwitch(bus, self._flags, limits.accounts, bus.settings.partitions)
        self._tenure = tenure
        self._requests = requests

    async def ListPending(
        self, request: governance_pb2.ListPendingRequest, context: Context
    ) -> governance_pb2.ListPendingResponse:
        tenure = self._active()
        async with tenure.deciding():
            flags = await tenure.flags.read()
            pending = tenure.authority.pending(request.account, now_ns=time.time_ns(), flags=flags)
        if not pending:
            _require_known(request.account, tenure.authority.limits)
        return governance_pb2.ListPendingResponse(pending=pending)

    async def Approve(self, request: governance_pb2.ApproveRequest, context: Context) -> governance_pb2.ApproveResponse:
        actor = caller(context)

        async def approve() -> governance_pb2.ApproveResponse:
            answer = await self._active().answer(
                lambda flags, now_ns: self._active().authority.approve(
                    request.intent_id,
                    evidence_sha256=request.evidence_sha256,
                    reason=request.reason,
                    actor=actor,
                    request_id=request.request_id,
                    now_ns=now_ns,
                    flags=flags,
                )
            )
            _raise(answer.refusal)
            return governance_pb2.ApproveResponse(decision=answer.decision)

        return await self._requests.once(actor.id, "Approve", request, approve)

    async def Pass(self, request: governance_pb2.PassRequest, context: Context) -> governance_pb2.PassResponse:
        actor = caller(context)

        async def pass_() -> governance_pb2.PassResponse:
            answer = await self._active().answer(
                lambda _, now_ns: self._active().authority.pass_(
                    request.intent_id,
                    reason=request.reason,
                    actor=actor,
                    request_id=request.request_id,
                    now_ns=now_ns,
                )
            )
            _raise(answer.refusal)
            return governance_pb2.PassResponse(decision=answer.decision)

        return await self._requests.once(actor.id, "Pass", request, pass_)

    async def Propose(self, request: governance_pb2.ProposeRequest, context: Context) -> governance_pb2.ProposeResponse:
        actor, tenure = caller(context), self._active()
        with telemetry.span("intent.propose") as span:
            publish = proposal.completed(
                request.intent,
                actor=actor,
                book=tenure.authority.state.books.get(request.intent.account),
                limits=tenure.authority.limits,
                now_ns=time.time_ns(),
                traceparent=span.traceparent or telemetry.new_traceparent(),
            )
            ack = await self._bus.publish(publish)
        intent_id = publish.message_id.rpartition("-")[0]
        return governance_pb2.ProposeResponse(intent_id=intent_id, stream_sequence=ack.sequence)

    async def GrantMandate(
        self, request: governance_pb2.GrantMandateRequest, context: Context
    ) -> governance_pb2.GrantMandateResponse:
        actor = caller(context)
        if not request.mandate.mandate_id:
            checked_id("request_id", request.request_id)

        async def grant() -> governance_pb2.GrantMandateResponse:
            answer = await self._active().answer(
                lambda _, now_ns: self._active().authority.grant_mandate(
                    request.mandate, actor=actor, request_id=request.request_id, now_ns=now_ns
                )
            )
            return governance_pb2.GrantMandateResponse(mandate=answer.mandate)

        return await self._requests.once(actor.id, "GrantMandate", request, grant)

    async def RevokeMandate(
        self, request: governance_pb2.RevokeMandateRequest, context: Context
    ) -> governance_pb2.RevokeMandateResponse:
        actor = caller(context)

        async def revoke() -> governance_pb2.RevokeMandateResponse:
            answer = await self._active().answer(
                lambda _, now_ns: self._active().authority.revoke_mandate(
                    request.mandate_id,
                    reason=request.reason,
                    actor=actor,
                    request_id=request.request_id,
                    now_ns=now_ns,
                )
            )
            _raise(answer.refusal)
            return governance_pb2.RevokeMandateResponse(mandate=answer.mandate)

        return await self._requests.once(actor.id, "RevokeMandate", request, revoke)

    async def ListMandates(
        self, request: governance_pb2.ListMandatesRequest, context: Context
    ) -> governance_pb2.ListMandatesResponse:
        tenure = self._active()
        async with tenure.deciding():
            uses = tenure.authority.mandate_uses(all_of_them=request.all, now_ns=time.time_ns())
        return governance_pb2.ListMandatesResponse(mandates=uses)

    async def Kill(self, request: governance_pb2.KillRequest, context: Context) -> governance_pb2.KillResponse:
        actor = caller(context)

        async def raise_flag() -> governance_pb2.KillResponse:
            flag = authority_pb2.KillFlag(
                scope=request.scope,
                target=request.target,
                level=request.level,
                reason=request.reason,
                set_by=actor,
                set_at_ns=time.time_ns(),
            )
            return governance_pb2.KillResponse(flags=_active(await self._kill_switch.kill(flag)))

        return await self._requests.once(actor.id, "Kill", request, raise_flag)

    async def Rearm(self, request: governance_pb2.RearmRequest, context: Context) -> governance_pb2.RearmResponse:
        actor = caller(context)

        async def rearm() -> governance_pb2.RearmResponse:
            tenure = self._active()
            try:
                completed, flags = await tenure.rearm(request.scope, request.target, request.reason, actor)
            except Refused as error:
                now_ns = time.time_ns()
                bead = tenure.authority.refuse("REARM", request.target, error.refusal(), actor=actor, now_ns=now_ns)
                await tenure.perform([bead])
                raise
            return governance_pb2.RearmResponse(completed=completed, flags=flags.flags)

        return await self._requests.once(actor.id, "Rearm", request, rearm)

    async def ListKillFlags(
        self, request: governance_pb2.ListKillFlagsRequest, context: Context
    ) -> governance_pb2.ListKillFlagsResponse:
        return governance_pb2.ListKillFlagsResponse(flags=_active(await self._flags.read()))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _active(self) -> Tenure:
        tenure = self._tenure()
        if tenure is None:
            raise Unavailable("this instance stands by, or is still reading the streams; ask again", reason="STANDBY")
        return tenure


def _require_known(account: str, limits: RiskLimits) -> None:
    """Whoever mistypes an account should not hear that nothing waits for it."""
    if account and account not in limits.accounts:
        raise InvalidRequest.of("account", account, "one of " + ", ".join(sorted(limits.accounts)))


def _active(flags: authority_pb2.KillFlags | None) -> list[authority_pb2.KillFlag]:
    if flags is None:
        raise Unavailable("the kill flags cannot be read; entries count as killed", reason="FLAGS_UNREADABLE")
    now_ns = time.time_ns()
    return [flag for flag in flags.flags if kill.is_active(flag, now_ns)]


def _raise(refusal: common_pb2.Refusal | None) -> None:
    if refusal is not None:
        raise Refused(
            refusal.message, reason=refusal.reason, field=refusal.field, value=refusal.value, rule=refusal.rule
        )
