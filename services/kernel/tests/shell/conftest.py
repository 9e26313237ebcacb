"""A kernel in this process, a kernel as a process of its own, and a venue that answers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import read_journal
from kestrel_chassis.parking import ParkingLane
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_chassis.status import ServiceStatus
from kestrel_domain import effects
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.core import replay
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell.alert_queue import AlertQueue
from kestrel_kernel.shell.owner import PartitionOwner
from kestrel_kernel.shell.patient_parking import PatientParking
from kestrel_kernel.shell.served import ServedPartition
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_kernel.shell.tenure import OwnerParts

ACCOUNT_SETTINGS = {
    "account": "PAPER-1",
    "venue": "paper",
    "max_slots": 8,
    "seed_wallet": "1000000.00",
    "taker_fee_rate": "0.0005",
    "submitted_ttl_s": 60,
}


IDLE_GRACE_S = 5.0
"""Longer than a supervisor's: what an orderly stop leaves behind is looked at, however slow the machine is."""


@dataclass
class Inbox:
    """Puts messages into the inbox, each once."""

    bus: Bus
    count: int = 0

    async def put(self, message: inbox_pb2.InboxMessage | bytes, *, door: str = "", account: str = "PAPER-1") -> int:
        self.count += 1
        data = message if isinstance(message, bytes) else message.SerializeToString()
        body = door or (message.WhichOneof("body") if not isinstance(message, bytes) else "")
        effect = effects.Publish(f"inbox.0.{account}.{body}", data, f"test-{self.count}")
        return (await self.bus.publish_until_stored(effect)).sequence


@dataclass
class Journal:
    """The stored journal, read and checked from the beginning each time."""

    bus: Bus

    async def entries(self) -> list[journal_pb2.JournalEntry]:
        return [record.entry async for record in read_journal(self.bus, 0)]

    async def inputs(self) -> list[int]:
        return [entry.input_sequence for entry in await self.entries() if not entry.HasField("epoch_started")]

    async def epochs(self) -> list[int]:
        return [entry.epoch for entry in await self.entries() if entry.HasField("epoch_started")]

    async def replayed(self) -> Partition:
        """Every digest, hash and outcome checked by computing it again."""
        partition = Partition(0, 1)
        async for record in read_journal(self.bus, 0):
            replay.fold(partition, record.sequence, record.data)
        return partition

    async def holds(self, condition: Callable[[list[journal_pb2.JournalEntry]], bool]) -> bool:
        return condition(await self.entries())


@dataclass
class FakeGateway:
    """Answers every command as a venue would: acknowledged, then filled in two parts."""

    inbox: Inbox
    journal: Journal
    messages: Any
    answered: set[str] = field(default_factory=set)

    async def answer(self) -> None:
        """Answer the commands that were not answered yet."""
        for entry in await self.journal.entries():
            for command in entry.commands:
                if command.client_order_id not in self.answered and command.kind != journal_pb2.COMMAND_KIND_CANCEL:
                    self.answered.add(command.client_order_id)
                    await self._fill(command)

    async def _fill(self, command: journal_pb2.VenueCommand) -> None:
        order_id, messages = command.client_order_id, self.messages
        await self.inbox.put(messages.order(f"s-{order_id}", venue_pb2.ORDER_FACT_SUBMITTING, order_id))
        await self.inbox.put(
            messages.order(f"a-{order_id}", venue_pb2.ORDER_FACT_ACKNOWLEDGED, order_id, f"V{order_id}")
        )
        first = command.order_qty.units * 2 // 5
        for part, qty in enumerate((first, command.order_qty.units - first)):
            await self.inbox.put(
                messages.fill(f"x-{order_id}-{part}", order_id, command.side, str(qty), "150.30", "1.5")
            )


@pytest.fixture
def settings(bus: Bus, nats_server: Any, secrets: Path, tmp_path: Path) -> KernelSettings:
    return KernelSettings.model_validate(
        {
            "nats_url": nats_server.url,
            "secrets_dir": secrets,
            "data_dir": tmp_path,
            "journal_max_bytes": 64 << 20,
            "instance": "in-process",
            "accounts": [ACCOUNT_SETTINGS],
            "snapshot_every_entries": 50,
        }
    )


@pytest.fixture
def inbox(bus: Bus) -> Inbox:
    return Inbox(bus)


@pytest.fixture
def journal(bus: Bus) -> Journal:
    return Journal(bus)


@pytest.fixture
def gateway(inbox: Inbox, journal: Journal, messages: Any) -> FakeGateway:
    return FakeGateway(inbox, journal, messages)


@dataclass
class RunningKernel:
    """One owner in this process."""

    settings: KernelSettings
    bus: Bus
    served: ServedPartition = field(default_factory=lambda: ServedPartition(0))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = ServiceStatus(self.settings)
        self.snapshots = PartitionSnapshots(SnapshotStore(self.bus), 0)
        alert_queue = AlertQueue(self.bus)
        self.parking = PatientParking(ParkingLane(self.bus, "kernel"))
        parts = OwnerParts(self.settings, self.bus, self.parking, self.snapshots, alert_queue, self.served)
        self.owner = PartitionOwner(parts, self.status, self.stopping)
        self.tasks = [asyncio.create_task(self.owner.run()), asyncio.create_task(alert_queue.run())]

    async def stop(self) -> None:
        """As the supervisor does."""
        self.stopping.set()
        await self.bus.stop_pulls()
        while not self.tasks[0].done():
            await asyncio.wait({self.tasks[0]}, timeout=IDLE_GRACE_S)
            if not self.bus.batches_in_hand:  # it waits for a lease, or for nothing
                break
        self.parking.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def start_kernel(bus: Bus, settings: KernelSettings) -> AsyncIterator[Callable[..., RunningKernel]]:
    """Start owners in this process; ``changes`` are settings."""
    running: list[RunningKernel] = []

    def start(**changes: object) -> RunningKernel:
        kernel = RunningKernel(settings.model_copy(update=changes), bus)
        running.append(kernel)
        return kernel

    yield start
    for kernel in running:
        await kernel.stop()


@dataclass
class KernelProcess:
    """The service as it really runs."""

    instance: str
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "KESTREL_KERNEL__INSTANCE": self.instance}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kestrel_kernel", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=60)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


@pytest.fixture
def process(settings: KernelSettings, tmp_path: Path) -> Iterator[Callable[[str], KernelProcess]]:
    """Start kernel processes that share one configuration."""
    config = tmp_path / "kestrel.yaml"
    common = {
        "nats_url": settings.nats_url,
        "secrets_dir": str(settings.secrets_dir),
        "data_dir": str(tmp_path),
        "journal_max_bytes": settings.journal_max_bytes,
    }
    kernel = {"accounts": [ACCOUNT_SETTINGS], "snapshot_every_entries": 50}
    config.write_text(yaml.safe_dump({"common": common, "kernel": kernel}))
    started: list[KernelProcess] = []

    def start(instance: str) -> KernelProcess:
        found = KernelProcess(instance, config, tmp_path / f"{instance}.log")
        found.start()
        started.append(found)
        return found

    yield start
    for each in started:
        each.end()


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Look until it is so, within a bound. While nobody can be asked (an election, say), it is not so yet."""

    async def is_so(condition: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await condition()
        except (Unavailable, OutcomeUnknown):
            return False

    async def look(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60.0) -> None:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not await is_so(condition):
            assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s} s: {what}"
            await asyncio.sleep(0.05)

    return look
