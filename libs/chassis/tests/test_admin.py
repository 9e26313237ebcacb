"""The admin port: who may call, what errors look like from outside, health without a credential."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kestrel.admin.v1 import governance_pb2, governance_pb2_grpc, status_pb2, status_pb2_grpc
from kestrel_chassis import identity, telemetry
from kestrel_chassis.admin import AdminServer, caller, channel, error_from_rpc, operator, sync_channel
from kestrel_chassis.identity import Operator, Role
from kestrel_chassis.messages import LimitReached
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.spanfile import read_spans
from kestrel_chassis.status import ServiceStatus
from kestrel_domain.errors import (
    InvalidRequest,
    InvariantBroken,
    KestrelError,
    OutcomeUnknown,
    Refused,
    RemoteProtocolError,
    Unavailable,
)
from kestrel_testkit.fixtures import eventually

pytestmark = pytest.mark.integration

ROLES = {
    method.name: Role.APPROVER for method in governance_pb2.DESCRIPTOR.services_by_name["GovernanceService"].methods
} | {"Kill": Role.RISK_OFFICER, "ListPending": Role.VIEWER}


class Governance(governance_pb2_grpc.GovernanceServiceServicer):
    """Answers, or raises what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.seen: list[Any] = []

    async def ListPending(self, request: Any, context: Any) -> Any:
        self.seen.append((caller(context), operator()))
        if self.error is not None:
            raise self.error
        return governance_pb2.ListPendingResponse()

    async def Kill(self, request: Any, context: Any) -> Any:
        return governance_pb2.KillResponse()


class Port:
    """A running admin port and clients of it."""

    def __init__(self, secrets: Path, status: ServiceStatus, server: AdminServer, governance: Governance) -> None:
        self.secrets, self.status, self.server, self.governance = secrets, status, server, governance
        self.broken: list[InvariantBroken] = []
        server.on_broken = self.broken.append

    def channel(self, credential: str) -> grpc.aio.Channel:
        return channel(f"127.0.0.1:{self.server.port}", self.secrets / "ca.pem", credential)

    def credential(self, name: str) -> str:
        return (self.secrets / "operators" / f"{name}.credential").read_text()

    async def call(self, credential: str, method: str = "ListPending") -> Any:
        async with self.channel(credential) as open_channel:
            stub = governance_pb2_grpc.GovernanceServiceStub(open_channel)
            request = getattr(governance_pb2, f"{method}Request")()
            return await getattr(stub, method)(request)


@pytest.fixture
async def port(secrets: Path) -> AsyncIterator[Port]:
    settings = ServiceSettings(service="governance", secrets_dir=secrets)
    status = ServiceStatus(settings)
    server, governance = AdminServer(settings, status), Governance()
    server.add(governance_pb2_grpc.add_GovernanceServiceServicer_to_server, governance, ROLES)
    await server.start()
    yield Port(secrets, status, server, governance)
    await server.stop(0)


async def refusal(call: Callable[[], Awaitable[Any]]) -> tuple[grpc.StatusCode, KestrelError]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call()
    return failed.value.code(), error_from_rpc(failed.value)


async def test_a_caller_is_who_the_credential_says(port: Port) -> None:
    await port.call(port.credential("trader"))
    actor, who = port.governance.seen[0]
    assert (actor.id, actor.kind) == ("trader", "operator")
    assert actor.origin.startswith("ipv4:127.0.0.1")
    assert Role.RISK_OFFICER not in who.roles


async def test_a_call_made_inside_a_span_belongs_to_its_trace(port: Port, tmp_path: Path) -> None:
    telemetry.configure(ServiceSettings(service="test", data_dir=tmp_path))
    parent = telemetry.new_traceparent()
    with telemetry.span("operator.ask", parent):
        await port.call(port.credential("trader"))
    telemetry.shutdown()
    names = [record["name"] for record in read_spans(tmp_path / "spans", telemetry.trace_id_of(parent))]
    assert names == ["operator.ask", "admin.ListPending"]


async def test_without_a_credential_nothing_is_answered(port: Port) -> None:
    code, error = await refusal(lambda: port.call(""))
    assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_MISSING")
    assert port.governance.seen == []


async def test_an_expired_or_forged_credential_is_refused(port: Port) -> None:
    key = (port.secrets / "operator-private.pem").read_bytes()
    expired = identity.issue(key, Operator("trader", frozenset(Role), time.time_ns() - 1))
    code, error = await refusal(lambda: port.call(expired))
    assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")
    code, error = await refusal(lambda: port.call("v4.public.forged"))
    assert (code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert port.governance.seen == []


async def test_a_role_that_is_missing_is_named(port: Port) -> None:
    code, error = await refusal(lambda: port.call(port.credential("trader"), "Kill"))
    assert (code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
    assert error.rule == "Kill needs risk_officer"
    assert error.value == "approver, operator, viewer"
    await port.call(port.credential("risk"), "Kill")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (InvalidRequest.of("qty", "-1", "above 0"), grpc.StatusCode.INVALID_ARGUMENT),
        (Refused("no", reason="BUDGET", field="notional", value="9", rule="<= 5"), grpc.StatusCode.FAILED_PRECONDITION),
        (LimitReached("full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("not now"), grpc.StatusCode.UNAVAILABLE),
        (OutcomeUnknown("who knows"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (InvariantBroken("never"), grpc.StatusCode.INTERNAL),
    ],
)
async def test_an_error_arrives_with_class_reason_field_value_and_rule(
    port: Port, raised: KestrelError, code: grpc.StatusCode
) -> None:
    port.governance.error = raised
    found_code, found = await refusal(lambda: port.call(port.credential("trader")))
    assert found_code == code
    assert type(found) is type(raised)
    assert found.refusal() == raised.refusal()
    assert bool(port.broken) == isinstance(raised, InvariantBroken)


async def test_a_bug_in_a_handler_is_a_broken_invariant_and_tells_no_details(port: Port) -> None:
    port.governance.error = KeyError("secret detail")
    code, found = await refusal(lambda: port.call(port.credential("trader")))
    assert code == grpc.StatusCode.INTERNAL
    assert isinstance(found, InvariantBroken)
    assert "secret detail" not in str(found)
    assert port.broken


async def test_a_fault_of_a_venue_is_unavailable_to_the_caller(port: Port) -> None:
    port.governance.error = RemoteProtocolError("the venue lies")
    code, found = await refusal(lambda: port.call(port.credential("trader")))
    assert (code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "REMOTE_PROTOCOL")


async def test_a_server_that_is_not_there_is_unavailable(secrets: Path) -> None:
    async with channel("127.0.0.1:1", secrets / "ca.pem", "x") as nobody:
        stub = governance_pb2_grpc.GovernanceServiceStub(nobody)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.ListPending(governance_pb2.ListPendingRequest())
    found = error_from_rpc(failed.value)
    assert isinstance(found, Unavailable)
    assert found.reason == "GRPC_UNAVAILABLE"


async def test_status_says_what_the_service_waits_for(port: Port) -> None:
    port.status.block("lease", "waits for the lease of partition 0")
    async with port.channel(port.credential("trader")) as open_channel:
        answer = await status_pb2_grpc.StatusServiceStub(open_channel).GetStatus(status_pb2.GetStatusRequest())
    assert (answer.service, answer.ready, list(answer.reasons)) == (
        "governance",
        False,
        ["waits for the lease of partition 0"],
    )
    assert answer.resident_bytes > 0


async def test_health_needs_no_credential_and_follows_readiness(port: Port) -> None:
    async with port.channel("") as open_channel:
        stub = health_pb2_grpc.HealthStub(open_channel)

        async def health() -> Any:
            return (await stub.Check(health_pb2.HealthCheckRequest())).status

        async def is_not_serving() -> bool:
            return bool(await health() == health_pb2.HealthCheckResponse.NOT_SERVING)

        assert await health() == health_pb2.HealthCheckResponse.SERVING
        port.status.block("connection", "is not connected to the bus")
        await eventually(is_not_serving, "health says so")
        port.status.unblock("connection")

        async def is_serving() -> bool:
            return not await is_not_serving()

        await eventually(is_serving, "and takes it back")


async def test_reflection_lists_the_services_to_viewers_alone(port: Port) -> None:
    async def names(credential: str) -> list[str]:
        async with port.channel(credential) as open_channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(open_channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            return [
                service.name
                async for answer in stub.ServerReflectionInfo(iter([request]))
                for service in answer.list_services_response.service
            ]

    async def read_without_a_credential() -> None:
        # Nothing is written: a refusal that meets our own write is INTERNAL, by the client library's own account.
        async with port.channel("") as open_channel:
            await reflection_pb2_grpc.ServerReflectionStub(open_channel).ServerReflectionInfo().read()

    assert "kestrel.admin.v1.GovernanceService" in await names(port.credential("trader"))
    code, _ = await refusal(read_without_a_credential)
    assert code == grpc.StatusCode.UNAUTHENTICATED


async def test_the_command_lines_channel_works_without_asyncio(port: Port) -> None:
    import asyncio

    def call() -> Any:
        with sync_channel(
            f"127.0.0.1:{port.server.port}", port.secrets / "ca.pem", port.credential("trader") + "\n"
        ) as open_channel:
            return governance_pb2_grpc.GovernanceServiceStub(open_channel).ListPending(
                governance_pb2.ListPendingRequest()
            )

    assert await asyncio.to_thread(call) == governance_pb2.ListPendingResponse()


async def test_a_method_without_a_role_and_missing_secrets_are_refused_at_start(secrets: Path, tmp_path: Path) -> None:
    settings = ServiceSettings(service="governance", secrets_dir=tmp_path)
    server = AdminServer(settings, ServiceStatus(settings))
    add = governance_pb2_grpc.add_GovernanceServiceServicer_to_server
    with pytest.raises(InvariantBroken, match="Kill"):
        server.add(add, Governance(), {name: role for name, role in ROLES.items() if name != "Kill"})
    with pytest.raises(Refused, match=r"operator-public\.pem"):
        await server.start()


async def test_probes_may_ask_for_health_without_tls_on_a_port_of_their_own(secrets: Path) -> None:
    from kestrel_testkit.servers import free_port

    settings = ServiceSettings(service="kernel", secrets_dir=secrets, health_port=free_port())
    server = AdminServer(settings, ServiceStatus(settings))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.health_port}") as probe:
        answer = await health_pb2_grpc.HealthStub(probe).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(0)
