"""The recovery of one kernel partition from a journal of a million entries, with a snapshot and without.

The journal is written by the kernel service's own core and writer, in groups; then a new owner recovers, as it does
before it serves: every entry is read from the NATS server, held to the chain of hashes, applied, and its outcome,
commands and digest compared. Worse is: more seconds, more seconds for each time of only reading, or another hash.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bench import core, lifecycles, running
from bench.figures import ratio, result_hash, rounded
from bench.progress import tell
from bench.service import Settings, recovered
from kestrel_chassis import streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_domain import subjects
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.core.partition import Step
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_testkit.servers import start_nats

_TRADES, _QUICK_TRADES = 100_000, 500
_TRADES_PER_GROUP = 100
_STORING_S_MAX = 150.0
"""What is stored by then has to do: the area ends within six minutes, and tells how many entries there were."""
_TELL_EVERY_S = 10.0
_JOURNAL_BYTES_MAX = 4 << 30
_SNAPSHOT_EVERY: int = KernelSettings.model_fields["snapshot_every_entries"].default

Figures = dict[str, Any]


def measure(*, quick: bool) -> Figures:
    """On an always-sync server of its own: some five minutes; quick, some ten seconds."""
    with running.temporary_folder("recovery") as folder:
        return uvloop.run(_measure(folder, _QUICK_TRADES if quick else _TRADES))


async def _measure(folder: Path, trade_count: int) -> Figures:
    server = start_nats(folder / "nats")
    settings = Settings.model_validate({"nats_url": server.url, "journal_max_bytes": _JOURNAL_BYTES_MAX})
    try:
        bus = await Bus.connect(settings)
        try:
            await streams.provision(bus)
            stored_s = await _store_journal(bus, trade_count)
            tell("recovery: reading alone")
            began_s = time.perf_counter()
            count = bytes_ = 0
            async for message in bus.read(subjects.journal_stream(lifecycles.PARTITION)):
                count += 1
                bytes_ += len(message.data)
            reading_s = time.perf_counter() - began_s
            tell(f"recovery: {count:,} entries, with the snapshot and without")
            found, digest = await recovered(bus)
        finally:
            await bus.close()
    finally:
        server.process.stop()
    return {
        **found,
        "recovery_full_s_per_million_entries": rounded(found["recovery_full_s"] / count * 1e6),
        "recovery_full_over_reading": ratio(found["recovery_full_s"], reading_s),
        "reading_alone_s": rounded(reading_s),
        "journal_mib": rounded(bytes_ / 2**20),
        "entries_stored_per_s": rounded(count / stored_s),
        "result": result_hash([digest]),
    }


async def _store_journal(bus: Bus, trade_count: int) -> float:
    """Seconds it took. The newest snapshot is as old as it may become. On a slow machine it is a shorter journal."""
    partition, first = core.new_partition()
    writer = JournalWriter(bus, lifecycles.PARTITION, 0, b"")
    snapshots = PartitionSnapshots(SnapshotStore(bus), lifecycles.PARTITION)
    await writer.append([first.publish()])
    began_s = time.perf_counter()
    behind_snapshot = _SNAPSHOT_EVERY // lifecycles.INPUTS_PER_TRADE
    snapshot_at = max(1, trade_count - behind_snapshot)
    told_s = began_s
    done = 0
    while done < trade_count:
        stop = min(trade_count, done + _TRADES_PER_GROUP)
        stop = min(stop, snapshot_at) if done < snapshot_at else stop
        if stop < snapshot_at and time.perf_counter() - began_s > _STORING_S_MAX:
            snapshot_at, trade_count = stop, stop + behind_snapshot
        steps = list(_apply(partition, done, stop))
        await writer.append([step.publish() for step in steps])
        if stop == snapshot_at:
            await snapshots.save(partition, saved_at_ns=core.START_NS)
        done = stop
        if time.perf_counter() - told_s > _TELL_EVERY_S or done == trade_count:
            told_s = time.perf_counter()
            tell(f"recovery: {done * lifecycles.INPUTS_PER_TRADE:,} entries stored")
    partition.close()
    return time.perf_counter() - began_s


def _apply(partition: Any, first: int, stop: int) -> Iterator[Step]:
    sequence = first * lifecycles.INPUTS_PER_TRADE
    for each in lifecycles.trades(stop - first, first=first):
        sequence += 1
        now_ns = core.START_NS + sequence * 1_000_000
        yield partition.apply(each.subject, sequence, now_ns, each.data, "", recorded_at_ns=now_ns)
