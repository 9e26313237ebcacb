"""The kernel service as a process: how fast it journals an INBOX that is full, beside only reading the same messages.

The floor reads INBOX the way the service does (its own consumer, batches of 256, one acknowledgement a batch) and does
nothing with it. The second floor also stores one message of the journal's size per input, in groups as the service.
Then the service is killed, and what its successor does first is measured: recovery with its snapshots, and without.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from bench import lifecycles, running
from bench.figures import median, ratio, rounded
from kestrel_chassis import identity, settings, streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_chassis.streams import StreamDefinition
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_kernel.shell import recovery
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_testkit.servers import start_nats, start_nats_cluster

_TRADES, _QUICK_TRADES = 4_000, 150
_FLOOR_COUNT = 20_000
_BATCH = 256
_ROUNDS = 3
_TIMEOUT_S = 120.0
Figures = dict[str, Any]


class Settings(settings.ServiceSettings):
    """Only the address counts."""

    service: str = "bench"


async def measure(*, quick: bool, servers: int = 1) -> Figures:
    """On always-sync servers of its own: some minute. A million entries are another area's (``bench.recovery``)."""
    inputs = lifecycles.trades(_QUICK_TRADES if quick else _TRADES)
    floor_count = min(len(inputs), _FLOOR_COUNT)
    with running.temporary_folder("service") as folder, _nats(folder, servers) as url:
        common = {"nats_url": url, "data_dir": str(folder / "data"), "replicas": servers}
        bus = await Bus.connect(Settings.model_validate(common))
        try:
            await streams.provision(bus)
            publishes = [Publish(each.subject, each.data, each.message_id, "") for each in inputs]
            await bus.publish_all(publishes, timeout=_TIMEOUT_S)
            service_s, memory = await _service(bus, folder, common, len(inputs))
            recovery, _ = await recovered(bus)
            entry_bytes = await _entry_bytes(bus)
            reading = [await _consume(bus, floor_count) for _ in range(_ROUNDS)]
            storing = [await _consume(bus, floor_count, store_bytes=entry_bytes) for _ in range(_ROUNDS)]
        finally:
            await bus.close()
    return {
        "kernel_service_inputs_per_s": rounded(service_s),
        "bare_consumption_per_s": rounded(median(reading)),
        "bare_consumption_and_journal_per_s": rounded(median(storing)),
        "kernel_service_over_bare_consumption": ratio(service_s, median(reading)),
        "kernel_service_over_consumption_and_journal": ratio(service_s, median(storing)),
        "journal_entry_bytes": entry_bytes,
        "inputs": len(inputs),
        **recovery,
        **memory,
    }


@contextmanager
def _nats(folder: Path, servers: int) -> Iterator[str]:
    if servers == 1:
        server = start_nats(folder / "nats")
        try:
            yield server.url
        finally:
            server.process.stop()
    else:
        cluster = start_nats_cluster(folder / "nats")
        try:
            yield cluster.url
        finally:
            cluster.stop()


async def recovered(bus: Bus) -> tuple[Figures, bytes]:
    """What a new owner does before it writes: from the snapshots that a killed one left, and from nothing; and the
    digest of the state that both came to."""
    number = lifecycles.PARTITION
    began_s = time.perf_counter()
    snapshots = await PartitionSnapshots(SnapshotStore(bus), number).load()
    fast, _ = await recovery.recover(bus, number, 1, snapshots)
    snapshot_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    slow, _ = await recovery.recover(bus, number, 1, [])
    full_s = time.perf_counter() - began_s
    assert fast.journal_hash == slow.journal_hash, "both stand at the journal's end"
    digest = slow.digest(lifecycles.ACCOUNT)
    assert fast.digest(lifecycles.ACCOUNT) == digest, "one journal, one state"
    figures = {
        "recovery_snapshot_s": rounded(snapshot_s),
        "recovery_full_s": rounded(full_s),
        "recovery_entries": slow.journal_sequence,
        "recovery_entries_behind_snapshot": slow.journal_sequence
        - max((s.journal_sequence for s in snapshots), default=0),
        "recovery_full_entries_per_s": rounded(slow.journal_sequence / full_s),
        "recovery_full_s_per_million_entries": rounded(full_s / slow.journal_sequence * 1e6),
    }
    return figures, digest


async def _service(bus: Bus, folder: Path, common: dict[str, Any], count: int) -> tuple[float, Figures]:
    """Inputs a second from the first journaled input to the last, by the server's clock; and what closed trades cost in
    memory."""
    identity.create_laptop_secrets(folder / "secrets")
    config = folder / "kernel.yaml"
    config.write_text(yaml.safe_dump({"common": {**common, "secrets_dir": str(folder / "secrets")}}))
    with (folder / "kernel.log").open("wb") as log:
        command = [sys.executable, "-m", "kestrel_kernel", "--config", str(config)]
        child = running.started(command, log)
    stream = subjects.journal_stream(lifecycles.PARTITION)
    resident: list[tuple[int, float]] = []
    try:
        deadline_s = time.monotonic() + _TIMEOUT_S
        while (done := (await bus.stream_state(stream)).last_sequence) < count + 1:
            resident.append((done, psutil.Process(child.pid).memory_info().rss / 2**20))
            if child.poll() is not None or time.monotonic() > deadline_s:
                words = (folder / "kernel.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"the kernel service did not journal {count} inputs:\n{words}")
            await asyncio.sleep(0.1)
        first, last = await bus.get_message(stream, 2), await bus.get_message(stream, count + 1)
    finally:
        child.kill()  # as a crash would: the newest snapshot is behind the journal
        child.wait()
    assert first is not None, "entry 1 is the epoch, entry 2 the first input"
    assert last is not None, "it was just counted"
    return (count - 1) / ((last.time_ns - first.time_ns) / 1e9), _growth(resident, count)


def _growth(resident: list[tuple[int, float]], count: int) -> Figures:
    """Resident memory after a quarter of the inputs, when every cache and buffer has been used, and near the end."""
    warm = [mib for done, mib in resident if done >= count // 4]
    if not warm:
        return {}
    return {"kernel_service_mib_at_a_quarter": rounded(warm[0]), "kernel_service_mib_at_the_end": rounded(warm[-1])}


async def _entry_bytes(bus: Bus) -> int:
    stream = subjects.journal_stream(lifecycles.PARTITION)
    sizes = [len(message.data) async for message in bus.read(stream, start_sequence=2, stop_sequence=501)]
    return sum(sizes) // len(sizes)


async def _consume(bus: Bus, count: int, *, store_bytes: int = 0) -> float:
    """Messages a second."""
    position = 0
    if store_bytes:
        definition = StreamDefinition("BENCH", ("bench.>",), "bench", 1, 256 << 20, allow_atomic=True)
        await bus.api(f"STREAM.CREATE.{definition.name}", definition.config())
    loop = PullLoop(bus, subjects.INBOX, subjects=[f"inbox.{lifecycles.PARTITION}.>"], ack="all", batch=_BATCH)
    await loop.start()
    taken = 0
    began_s = time.perf_counter()
    async for batch in loop.batches():
        if store_bytes:
            entries = [Publish("bench.0", b"\0" * store_bytes, f"b-{message.sequence}", "") for message in batch]
            await bus.publish_atomic(entries, expected_last_sequence=position)
            position += len(entries)
        await loop.ack_all(batch[-1])
        taken += len(batch)
        if taken >= count:
            break
    lasted_s = time.perf_counter() - began_s
    await loop.stop()
    if store_bytes:
        await bus.api("STREAM.DELETE.BENCH")
    return taken / lasted_s
