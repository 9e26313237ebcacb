"""The process on a real bus: it sees, says so, remembers, and touches nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import reconciler_samples as samples
import yaml

from kestrel.admin.v1 import reconciler_pb2, reconciler_pb2_grpc
from kestrel.audit.v1 import audit_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.admin import channel, error_from_rpc
from kestrel_chassis.bus import Bus
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken
from kestrel_reconciler.core.reconciliation import AskTruth
from kestrel_reconciler.shell.outlet import Outlet, checked
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


class Process:
    """``python -m kestrel_reconciler``, on the test's bus."""

    def __init__(self, bus: Bus, secrets: Path, folder: Path, *, patience_s: float = 20.0) -> None:
        self.port = free_port()
        self._secrets = secrets
        self._channels: list[grpc.aio.Channel] = []
        self._config = folder / "kestrel.yaml"
        self._log = folder / "reconciler.log"
        settings = {
            "common": {
                "nats_url": bus.settings.nats_url,
                "journal_max_bytes": bus.settings.journal_max_bytes,
                "secrets_dir": str(secrets),
                "data_dir": str(folder / "data"),
            },
            "reconciler": {"admin_port": self.port, "confirm_after_seconds": 0.5, "truth_patience_seconds": patience_s},
        }
        self._config.write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "kestrel_reconciler", "--config", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(60)
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)

    def log(self) -> str:
        return self._log.read_text()[-4000:]

    def stub(self, operator: str = "risk") -> reconciler_pb2_grpc.ReconcilerServiceAsyncStub:
        credential = (self._secrets / "operators" / f"{operator}.credential").read_text().strip()
        opened = channel(f"127.0.0.1:{self.port}", self._secrets / "ca.pem", credential)
        self._channels.append(opened)  # a stub does not keep its channel alive
        return reconciler_pb2_grpc.ReconcilerServiceStub(opened)  # type: ignore[return-value]


class Gateway:
    """Answers every question with the truth as it stands."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.truth = samples.truth()
        self.count = 0

    async def publish(self, request_id: str = "") -> None:
        self.count += 1
        found = venue_pb2.BrokerTruth()
        found.CopyFrom(self.truth)
        found.as_of_ns = time.time_ns()
        found.request_id = request_id
        subject = subjects.truth(samples.VENUE, samples.ACCOUNT)
        await self._bus.publish_until_stored(
            Publish(subject, found.SerializeToString(), f"truth-{self.count}-{time.time_ns()}")
        )


@pytest.fixture
async def gateway(bus: Bus) -> Gateway:
    found = Gateway(bus)

    async def handle(_: str, data: bytes) -> None:
        await found.publish(data.decode())

    await bus.subscribe_core(subjects.truth_request(samples.VENUE, samples.ACCOUNT), handle)
    return found


@pytest.fixture
def process(bus: Bus, secrets: Path, tmp_path: Path) -> Iterator[Process]:
    found = Process(bus, secrets, tmp_path)
    yield found
    found.close()


@pytest.fixture
def impatient_process(bus: Bus, secrets: Path, tmp_path: Path) -> Iterator[Process]:
    """For whose questions nobody answers."""
    found = Process(bus, secrets, tmp_path, patience_s=2.0)
    yield found
    found.close()


async def journal(bus: Bus, entry: object, number: int) -> None:
    body = entry.SerializeToString()  # type: ignore[attr-defined]
    await bus.publish_until_stored(Publish(f"journal.0.{samples.ACCOUNT}", body, f"j-{number}", samples.TRACEPARENT))


async def beads(bus: Bus, kind: str) -> list[audit_pb2.Bead]:
    return [
        audit_pb2.Bead.FromString(message.data)
        async for message in bus.read("BEADS", subject=f"bead.{kind}.{samples.ACCOUNT}")
    ]


def not_active(error: grpc.aio.AioRpcError) -> bool:
    """False, so that one looks again, for the one answer that may change by itself; anything else is raised."""
    if error_from_rpc(error).reason == "NOT_ACTIVE":
        return False
    raise error


async def test_a_drift_is_found_alerted_remembered_through_a_kill_and_resolved_by_a_person(
    bus: Bus, gateway: Gateway, process: Process
) -> None:
    now_ns = time.time_ns()
    await journal(bus, samples.bought(100, time_ns=now_ns, capital=100), 1)
    gateway.truth = samples.truth({"AAPL": 100}, wallet=100)
    process.start()

    async def matched() -> bool:
        found = await beads(bus, "run")
        return bool(found) and found[-1].run.verdict == reconcile_pb2.RUN_VERDICT_MATCHED

    await eventually(matched, f"the books match: {process.log()}", timeout_s=60)
    gateway.truth = samples.truth({"AAPL": 70}, wallet=100)
    await gateway.publish()

    async def drifted() -> bool:
        return len(await beads(bus, "drift")) == 1

    await eventually(drifted, "the drift is a break", timeout_s=60)
    (bead,) = await beads(bus, "drift")
    assert (bead.drift.machine_state, bead.drift.broker_state) == ("BUY 100 AAPL", "BUY 70 AAPL")

    async def alerted() -> bool:
        return await bus.last_message("ALERTS", "alert.critical.reconciler") is not None

    await eventually(alerted, "people are told", timeout_s=60)
    alert = await bus.last_message("ALERTS", "alert.critical.reconciler")
    assert alert is not None
    assert audit_pb2.Alert.FromString(alert.data).subject_id == bead.drift.break_id

    process.end(signal.SIGKILL)
    process.start()
    stub = process.stub()

    async def remembered() -> bool:
        try:
            answer = await stub.ListBreaks(reconciler_pb2.ListBreaksRequest(), wait_for_ready=True, timeout=60)
        except grpc.aio.AioRpcError as error:
            return not_active(error)
        return [one.break_id for one in answer.breaks] == [bead.drift.break_id]

    await eventually(remembered, f"the break is open after the restart: {process.log()}", timeout_s=60)

    run = await stub.RunNow(reconciler_pb2.RunNowRequest(request_id="run-1", account=samples.ACCOUNT), timeout=90)
    assert run.run.verdict == reconcile_pb2.RUN_VERDICT_BROKEN
    assert list(run.run.break_ids) == [bead.drift.break_id]
    request = reconciler_pb2.ResolveRequest(
        request_id="resolve-1",
        break_id=bead.drift.break_id,
        kind=reconcile_pb2.RESOLUTION_KIND_BROKER_CORRECTED,
        notes="the broker booked a manual sale back",
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await process.stub("trader").Resolve(request, timeout=60)
    assert error_from_rpc(refused.value).reason == "ROLE_MISSING"

    gateway.truth = samples.truth({"AAPL": 100}, wallet=100)
    answer = await stub.Resolve(request, timeout=60)
    assert answer.resolved_break.resolution.resolved_by.id == "risk"
    again = await stub.Resolve(request, timeout=60)
    assert again == answer
    (resolution,) = await beads(bus, "resolution")
    assert resolution.resolution.resolution.notes == request.notes
    await eventually(matched, "the books match again", timeout_s=60)

    assert len(await beads(bus, "drift")) == 1
    state = await bus.stream_state("INBOX")
    assert state.last_sequence == 0, "the reconciler wrote to an inbox"
    assert process.end(signal.SIGTERM) == 0, process.log()


async def test_a_gateway_that_does_not_answer_is_indeterminate_and_not_flat(
    bus: Bus, impatient_process: Process
) -> None:
    process = impatient_process
    await journal(bus, samples.bought(100, time_ns=time.time_ns()), 1)
    process.start()

    async def indeterminate() -> bool:
        found = await beads(bus, "run")
        return bool(found) and found[-1].run.verdict == reconcile_pb2.RUN_VERDICT_INDETERMINATE

    await eventually(indeterminate, f"nothing is proven: {process.log()}", timeout_s=60)
    assert await beads(bus, "drift") == []


async def test_what_cannot_be_read_is_parked_and_what_follows_is_used_P11(
    bus: Bus, gateway: Gateway, process: Process
) -> None:
    await bus.publish_until_stored(Publish(f"journal.0.{samples.ACCOUNT}", b"\xff\xff", "j-0"))
    await bus.publish_until_stored(Publish(f"truth.{samples.VENUE}.{samples.ACCOUNT}", b"\xff", "t-0"))
    await bus.publish_until_stored(Publish("truth.paper.OTHER", samples.truth({"AAPL": 1}).SerializeToString(), "t-1"))
    await journal(bus, samples.bought(100, time_ns=time.time_ns()), 1)
    gateway.truth = samples.truth({"AAPL": 100})
    process.start()

    async def parked() -> bool:
        return (await bus.stream_state("PARKED")).last_sequence == 3

    await eventually(parked, f"the three are parked: {process.log()}", timeout_s=60)

    async def matched() -> bool:
        found = await beads(bus, "run")
        return bool(found) and found[-1].run.verdict == reconcile_pb2.RUN_VERDICT_MATCHED

    await eventually(matched, "the books match", timeout_s=60)


async def test_only_one_instance_is_active_and_the_other_takes_over(
    bus: Bus, gateway: Gateway, secrets: Path, tmp_path: Path
) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    first, second = (Process(bus, secrets, folder) for folder in folders)
    await journal(bus, samples.bought(100, time_ns=time.time_ns()), 1)
    gateway.truth = samples.truth({"AAPL": 100})
    try:
        first.start()

        async def is_active(process: Process) -> bool:
            try:
                await process.stub().ListBreaks(reconciler_pb2.ListBreaksRequest(), wait_for_ready=True, timeout=60)
            except grpc.aio.AioRpcError as error:
                return not_active(error)
            return True

        await eventually(lambda: is_active(first), "the first is active", timeout_s=60)
        second.start()
        with pytest.raises(grpc.aio.AioRpcError) as passive:
            await second.stub().ListBreaks(reconciler_pb2.ListBreaksRequest(), wait_for_ready=True, timeout=60)
        assert error_from_rpc(passive.value).reason == "NOT_ACTIVE"
        assert first.end(signal.SIGTERM) == 0, first.log()
        await eventually(lambda: is_active(second), "the second has taken over", timeout_s=60)
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    "subject", ["inbox.0.PAPER-1.exit", "inbox.0.PAPER-1.adopt", "journal.0.PAPER-1", "bead.token.A", "intent.A"]
)
def test_the_only_way_out_lets_nothing_through_that_corrects_INV_RECONCILE_READONLY_1(subject: str) -> None:
    with pytest.raises(InvariantBroken, match="it reads"):
        checked(Publish(subject, b"", "x"))


async def test_a_question_goes_to_the_gateway_and_is_stored_nowhere(bus: Bus) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(_: str, data: bytes) -> None:
        asked.put_nowait(data)

    await bus.subscribe_core(subjects.truth_request("paper", "PAPER-1"), handle)
    await Outlet(bus).perform([AskTruth("paper", "PAPER-1", "request-1")])
    assert await asyncio.wait_for(asked.get(), 40) == b"request-1"
