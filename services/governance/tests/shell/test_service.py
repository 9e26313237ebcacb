"""The real service over a real NATS server: processes, gRPC, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.admin.v1 import governance_pb2, governance_pb2_grpc, status_pb2, status_pb2_grpc
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_chassis.admin import channel, error_from_rpc
from kestrel_domain import effects as domain_effects
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.tokens import VerifyingKey, read_token
from kestrel_testkit.fixtures import connect, provision_afresh
from kestrel_testkit.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Desk = Any
Bus = Any


class Governance:
    """Governance processes on free ports, and operators who call them."""

    def __init__(self, folder: Path, nats_url: str, secrets: Path) -> None:
        self.folder, self.nats_url, self.secrets = folder, nats_url, secrets
        self.processes: list[asyncio.subprocess.Process] = []
        self.ports: list[int] = []

    async def start(self) -> int:
        """One more instance; its number."""
        port = free_port()
        number = len(self.processes)
        config = self.folder / f"governance-{number}.yaml"
        config.write_text(
            f"common:\n  nats_url: {self.nats_url}\n  secrets_dir: {self.secrets}\n  data_dir: {self.folder}\n"
            f"  journal_max_bytes: {64 << 20}\n"
            f"governance:\n  instance: governance-{number}\n  admin_port: {port}\n"
            "  risk:\n    order_rate_count_max: 1000\n    open_position_count_max: 1000\n"
        )
        with (self.folder / f"governance-{number}.log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kestrel_governance", "--config", str(config), stderr=log, stdout=log
            )
        self.processes.append(process)
        self.ports.append(port)
        return number

    async def ready(self, number: int) -> None:
        """It holds the lease and has read the streams."""

        async def is_ready() -> bool:
            status = await self._status(number)
            return status is not None and status.ready

        await until(is_ready, f"governance {number} is ready", log=lambda: self.log(number))

    async def listens(self, number: int) -> None:
        """It answers calls, if only to say that it stands by."""

        async def answers() -> bool:
            return await self._status(number) is not None

        await until(answers, f"governance {number} listens", log=lambda: self.log(number))

    async def _status(self, number: int) -> Any:
        assert self.processes[number].returncode is None, self.log(number)
        async with self.calls("trader", status_pb2_grpc.StatusServiceStub, number) as stub:
            try:
                return await stub.GetStatus(status_pb2.GetStatusRequest(), timeout=10)
            except grpc.aio.AioRpcError:
                return None

    @contextlib.asynccontextmanager
    async def calls(self, operator: str, stub_of: Any, number: int = 0) -> AsyncIterator[Any]:
        credential = (self.secrets / "operators" / f"{operator}.credential").read_text()
        async with channel(f"localhost:{self.ports[number]}", self.secrets / "ca.pem", credential) as opened:
            yield stub_of(opened)

    async def call(self, operator: str, method: str, request: Any, number: int = 0) -> Any:
        async with self.calls(operator, governance_pb2_grpc.GovernanceServiceStub, number) as stub:
            return await getattr(stub, method)(request, timeout=60)

    async def refused(self, operator: str, method: str, request: Any, number: int = 0) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(operator, method, request, number)
        return error_from_rpc(caught.value).reason

    def log(self, number: int) -> str:
        return (self.folder / f"governance-{number}.log").read_text()[-2000:]

    async def stop(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def until(
    holds: Callable[[], Awaitable[bool]], what: str, *, log: Callable[[], str] = str, bound_s: float = 90.0
) -> None:
    """Look again and again, for a bounded time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + bound_s
    while not await holds():
        assert loop.time() < deadline_s, f"never came true: {what}\n{log()}"
        await asyncio.sleep(0.05)


async def stored(bus: Bus, stream: str, subject: str) -> list[Any]:
    return [message async for message in bus.read(stream, subject=subject)]


@pytest.fixture
async def governance(tmp_path: Path, nats_server: Any, bus: Bus, secrets: Path) -> AsyncIterator[Governance]:
    made = Governance(tmp_path, nats_server.url, secrets)
    yield made
    await made.stop()


@pytest.fixture
def now_desk(desk: Desk) -> Desk:
    """The desk at the time of the machine, as the service sees it."""
    import time

    desk.now_ns = time.time_ns()
    return desk


async def open_account(bus: Bus, desk: Desk) -> None:
    await bus.publish(Publish("market.paper.AAPL", desk.bar().SerializeToString(), "bar-1"))
    body = desk.healthy_entry(max_slots="1000").SerializeToString()
    await bus.publish(Publish("journal.0.PAPER-1", body, "j-0-1"))


async def send(bus: Bus, desk: Desk, intent_id: str, **changes: Any) -> bytes:
    body: bytes = desk.intent(intent_id, **changes).SerializeToString()
    await bus.publish_until_stored(Publish("intent.PAPER-1", body, f"{intent_id}-1"))
    return body


async def pending(governance: Governance, intent_id: str) -> Any:
    found: list[Any] = []

    async def waits() -> bool:
        try:
            answer = await governance.call("trader", "ListPending", governance_pb2.ListPendingRequest())
        except grpc.aio.AioRpcError as error:
            if error_from_rpc(error).reason != "STANDBY":
                raise
            return False  # it is reading the streams
        found[:] = [one for one in answer.pending if one.intent.intent_id == intent_id]
        return bool(found)

    await until(waits, f"{intent_id} waits for a person")
    return found[0]


async def test_an_intent_waits_is_approved_over_grpc_and_arrives_exactly_once_INV_T2_TOKEN_1(
    governance: Governance, bus: Bus, now_desk: Desk, secrets: Path
) -> None:
    await open_account(bus, now_desk)
    await governance.ready(await governance.start())
    body = await send(bus, now_desk, "i-1")
    shown = await pending(governance, "i-1")
    assert shown.checks
    assert await stored(bus, subjects.INBOX, "inbox.*.*.entry") == []

    request = governance_pb2.ApproveRequest(
        request_id="r-1", intent_id="i-1", evidence_sha256=shown.evidence_sha256, reason="good setup"
    )
    answers = await asyncio.gather(*(governance.call("trader", "Approve", request) for _ in range(3)))
    again = await governance.call(
        "trader",
        "Approve",
        governance_pb2.ApproveRequest(request_id="r-2", intent_id="i-1", evidence_sha256=shown.evidence_sha256),
    )
    assert {answer.decision.decision_id for answer in (*answers, again)} == {answers[0].decision.decision_id}
    assert answers[0].decision.decided_by.id == "trader"
    assert answers[0].decision.decided_by.origin

    [entry] = await stored(bus, subjects.INBOX, "inbox.*.*.entry")
    permission = inbox_pb2.InboxMessage.FromString(entry.data).entry
    public = VerifyingKey((secrets / "token-public.pem").read_bytes())
    claims = read_token(public, permission.token, stored_intent=body)
    assert (claims.intent_id, claims.approver) == ("i-1", "trader")
    assert entry.message_id == "i-1-1"
    beads = await stored(bus, subjects.BEADS, "bead.*.PAPER-1")
    assert [message.subject.split(".")[1] for message in beads] == ["decision", "decision", "token"]


async def test_a_person_proposes_another_approves_and_never_the_same_P09(
    governance: Governance, bus: Bus, now_desk: Desk
) -> None:
    await open_account(bus, now_desk)
    await governance.ready(await governance.start())
    asked = now_desk.intent("")
    for name in ("intent_id", "anchor", "proposer", "strategy", "venue"):
        asked.ClearField(name)
    asked.created_at_ns = asked.expires_at_ns = 0
    proposed = await governance.call("trader", "Propose", governance_pb2.ProposeRequest(intent=asked))
    shown = await pending(governance, proposed.intent_id)
    assert (shown.intent.proposer.id, shown.intent.proposer.kind) == ("trader", "operator")

    def approval(request_id: str) -> Any:
        return governance_pb2.ApproveRequest(
            request_id=request_id, intent_id=proposed.intent_id, evidence_sha256=shown.evidence_sha256
        )

    assert await governance.refused("trader", "Approve", approval("r-1")) == "FOUR_EYES"
    answer = await governance.call("risk", "Approve", approval("r-2"))
    assert answer.decision.verdict == authority_pb2.VERDICT_APPROVED
    [refusal] = await stored(bus, subjects.BEADS, "bead.operator.*")
    assert audit_pb2.Bead.FromString(refusal.data).actor.id == "trader"

    asked.order_qty.units = -1
    assert (
        await governance.refused("trader", "Propose", governance_pb2.ProposeRequest(intent=asked)) == "INVALID_INTENT"
    )
    grant = governance_pb2.GrantMandateRequest(request_id="m", mandate=now_desk.mandate())
    assert await governance.refused("trader", "GrantMandate", grant) == "ROLE_MISSING"


async def test_a_kill_over_grpc_stops_entries_and_two_people_rearm_INV_KILL_BLOCKS_ENTRY_1(
    governance: Governance, bus: Bus, now_desk: Desk
) -> None:
    await open_account(bus, now_desk)
    await governance.ready(await governance.start())
    scope = authority_pb2.KILL_SCOPE_STRATEGY
    raised = await governance.call(
        "trader",
        "Kill",
        governance_pb2.KillRequest(
            request_id="k", scope=scope, target="momentum", level=authority_pb2.KILL_LEVEL_FLATTEN, reason="drill"
        ),
    )
    assert [flag.target for flag in raised.flags] == ["momentum"]
    assert len(await stored(bus, subjects.INBOX, "inbox.0.PAPER-1.control")) == 2

    await send(bus, now_desk, "i-1")

    async def denied() -> bool:
        return bool(await stored(bus, subjects.BEADS, "bead.decision.PAPER-1"))

    await until(denied, "the intent is decided")
    [bead] = await stored(bus, subjects.BEADS, "bead.decision.PAPER-1")
    decision = audit_pb2.Bead.FromString(bead.data).decision
    assert (decision.verdict, decision.reason) == (authority_pb2.VERDICT_DENIED, "KILL_ACTIVE")

    def rearm(request_id: str) -> Any:
        return governance_pb2.RearmRequest(request_id=request_id, scope=scope, target="momentum", reason="fixed")

    assert not (await governance.call("risk", "Rearm", rearm("a"))).completed
    assert await governance.refused("risk", "Rearm", rearm("b")) == "FOUR_EYES"
    lowered = await governance.call("admin", "Rearm", rearm("c"))
    assert lowered.completed
    assert list(lowered.flags) == []
    assert await governance.refused("admin", "Rearm", rearm("d")) == "FLAG_UNKNOWN"
    kills = [
        audit_pb2.Bead.FromString(message.data).kill for message in await stored(bus, subjects.BEADS, "bead.kill.*")
    ]
    assert [(flag.rearm_proposed_by.id, flag.rearmed_by.id) for flag in kills] == [
        ("", ""),
        ("risk", ""),
        ("risk", "admin"),
    ]
    await send(bus, now_desk, "i-2")
    await pending(governance, "i-2")


async def test_what_cannot_be_read_is_parked_and_nothing_behind_it_waits_P11(
    governance: Governance, bus: Bus, now_desk: Desk
) -> None:
    await open_account(bus, now_desk)
    await governance.ready(await governance.start())
    await bus.publish(Publish("intent.PAPER-1", b"\xff\xfe garbage", "bad-1"))
    await bus.publish(Publish("intent.OTHER", now_desk.intent("i-0").SerializeToString(), "bad-2"))
    await send(bus, now_desk, "i-1")
    await pending(governance, "i-1")
    parked = [
        audit_pb2.ParkedMessage.FromString(message.data)
        for message in await stored(bus, subjects.PARKED, "parked.governance")
    ]
    assert [(one.sequence, one.reason.field) for one in parked] == [(1, "intent"), (2, "account")]
    assert parked[0].body == b"\xff\xfe garbage"


async def test_kill_9_in_mid_run_loses_nothing_and_doubles_nothing(
    governance: Governance, bus: Bus, now_desk: Desk
) -> None:
    count, few = 60, common_pb2.Decimal(units=30)
    await open_account(bus, now_desk)
    mandate = now_desk.mandate(max_total_notional=None, max_order_count=1000, symbols=[])
    mandate.granted_by.CopyFrom(now_desk.bob)
    bead = audit_pb2.Bead(bead_id="m", account="PAPER-1", created_at_ns=now_desk.now_ns, mandate=mandate)
    await bus.publish(domain_effects.bead(bead))
    await governance.ready(await governance.start())
    await governance.start()

    async def offer() -> None:
        for number in range(count):
            await send(bus, now_desk, f"i-{number}", order_qty=few, instrument__symbol=f"S{number}")

    async def entries(at_least: int) -> bool:
        return len(await stored(bus, subjects.INBOX, "inbox.*.*.entry")) >= at_least

    offering = asyncio.create_task(offer())
    await until(lambda: entries(5), "some intents are authorized")
    os.kill(governance.processes[0].pid, signal.SIGKILL)
    await offering
    await governance.processes[0].wait()
    await governance.ready(1)
    await until(lambda: entries(count), "all are authorized", log=lambda: governance.log(1))

    async def all_issued() -> bool:
        return len(await stored(bus, subjects.BEADS, "bead.token.PAPER-1")) >= count

    await until(all_issued, "every token has its bead")
    ids = [message.message_id for message in await stored(bus, subjects.INBOX, "inbox.*.*.entry")]
    assert sorted(ids) == sorted(f"i-{number}-1" for number in range(count))
    decisions = [
        audit_pb2.Bead.FromString(message.data).decision
        for message in await stored(bus, subjects.BEADS, "bead.decision.PAPER-1")
    ]
    assert len({decision.decision_id for decision in decisions}) == len(decisions) == count
    tokens = await stored(bus, subjects.BEADS, "bead.token.PAPER-1")
    assert len({message.message_id for message in tokens}) == len(tokens) == count
    answer = await governance.call("trader", "ListMandates", governance_pb2.ListMandatesRequest(all=True), 1)
    assert answer.mandates[0].order_count == count


async def test_an_orderly_stop_hands_over_to_the_instance_that_stands_by(
    governance: Governance, bus: Bus, now_desk: Desk
) -> None:
    await open_account(bus, now_desk)
    await governance.ready(await governance.start())
    second = await governance.start()
    await governance.listens(second)
    await send(bus, now_desk, "i-1")
    shown = await pending(governance, "i-1")
    assert await governance.refused("trader", "ListPending", governance_pb2.ListPendingRequest(), second) == "STANDBY"
    kill = governance_pb2.KillRequest(
        request_id="k",
        scope=authority_pb2.KILL_SCOPE_SYMBOL,
        target="IBM",
        level=authority_pb2.KILL_LEVEL_CANCEL_WORKING,
        reason="a kill switch works on any instance",
    )
    assert len((await governance.call("trader", "Kill", kill, second)).flags) == 1
    assert len(await stored(bus, subjects.INBOX, "inbox.0.PAPER-1.control")) == 1
    governance.processes[0].send_signal(signal.SIGTERM)
    assert await governance.processes[0].wait() == 0
    await governance.ready(second)
    assert len(await stored(bus, subjects.INBOX, "inbox.0.PAPER-1.control")) == 1
    answer = await governance.call("trader", "ListPending", governance_pb2.ListPendingRequest(), second)
    assert [one.evidence_sha256 for one in answer.pending] == [shown.evidence_sha256]


async def test_a_bus_that_is_killed_and_comes_back_is_folded_again_and_nothing_is_lost(
    tmp_path: Path, own_nats_server: Any, now_desk: Desk, secrets: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    governance = Governance(tmp_path, own_nats_server.url, secrets)
    try:
        await open_account(bus, now_desk)
        await governance.ready(await governance.start())
        await send(bus, now_desk, "i-1")
        shown = await pending(governance, "i-1")
        own_nats_server.process.kill()
        own_nats_server.process.start()
        await until(lambda: _connected(bus), "the test is connected again")
        await send(bus, now_desk, "i-2", order_qty=common_pb2.Decimal(units=50))
        await governance.ready(0)
        await pending(governance, "i-2")
        again = await pending(governance, "i-1")
        assert again.evidence_sha256 == shown.evidence_sha256
        approval = governance_pb2.ApproveRequest(request_id="r", intent_id="i-1", evidence_sha256=shown.evidence_sha256)
        answer = await governance.call("trader", "Approve", approval)
        assert answer.decision.verdict == authority_pb2.VERDICT_APPROVED
        assert len(await stored(bus, subjects.INBOX, "inbox.*.*.entry")) == 1
    finally:
        await governance.stop()
        await bus.close()


async def _connected(bus: Bus) -> bool:
    return bool(bus.connected)
