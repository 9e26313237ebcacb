"""From nothing to the present: the newest valid snapshot, then the journal, every entry checked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence

from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import BATCH_ENTRIES_MAX
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken
from kestrel_kernel.core import alerts, replay
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell import reading_ahead

log = telemetry.logger()

REPUBLISHED_ENTRIES = BATCH_ENTRIES_MAX
"""The newest entries, whose alerts may not have left the process that wrote them: one commit group, at its largest."""

_ALERTS_LOOKED_BACK = 4 * REPUBLISHED_ENTRIES


async def recover(
    bus: Bus, partition: int, partition_count: int, snapshots: Sequence[state_pb2.PartitionSnapshot]
) -> tuple[Partition, list[effects.Publish]]:
    """The partition as the journal has it now, and those alerts of its newest entries that were never published.

    Raises ``InvariantBroken`` when the journal does not hold, or does not belong to its own snapshots.
    """
    state = _newest_restorable(partition, partition_count, snapshots)
    stream = await bus.stream_state(subjects.journal_stream(partition))
    if state.journal_sequence > stream.last_sequence:
        raise InvariantBroken(
            f"partition {partition}: a snapshot stands at entry {state.journal_sequence} and the journal ends at "
            f"{stream.last_sequence}: the journal lost entries, or is another one",
            reason="JOURNAL_LOST_ENTRIES",
        )
    restored_sequence = state.journal_sequence
    start = max(1, min(restored_sequence, stream.last_sequence - REPUBLISHED_ENTRIES + 1))
    pending: list[effects.Publish] = []
    journal = reading_ahead.read(bus, subjects.journal_stream(partition), start, stream.last_sequence)
    async with contextlib.aclosing(journal):
        async for entries in journal:
            for sequence, data in entries:
                if sequence == restored_sequence:
                    _require_same_entry(state, data)
                if sequence > restored_sequence:
                    entry = replay.fold(state, sequence, data)
                else:
                    entry = journal_pb2.JournalEntry.FromString(data)
                if sequence > stream.last_sequence - REPUBLISHED_ENTRIES:
                    pending += alerts.of_entry(entry, sequence)
            await asyncio.sleep(0)  # the lease is renewed by the same loop
    log.info(
        "journal.replayed",
        partition=partition,
        from_sequence=restored_sequence,
        journal_sequence=state.journal_sequence,
        inbox_sequence=state.inbox_sequence,
    )
    return state, await _unpublished(bus, pending)


async def _unpublished(bus: Bus, pending: Sequence[effects.Publish]) -> list[effects.Publish]:
    """Those that the alert stream's tail does not hold: its own memory of ids is only minutes long."""
    if not pending:
        return []
    last = (await bus.stream_state(subjects.ALERTS)).last_sequence
    start = max(1, last - _ALERTS_LOOKED_BACK + 1)
    known = {message.message_id async for message in bus.read(subjects.ALERTS, start_sequence=start)}
    return [alert for alert in pending if alert.message_id not in known]


def _newest_restorable(
    partition: int, partition_count: int, snapshots: Sequence[state_pb2.PartitionSnapshot]
) -> Partition:
    for snapshot in snapshots:
        try:
            return Partition.restored(snapshot, partition_count)
        except InvalidRequest as error:
            log.warning("snapshot.refused", partition=partition, reason=error.reason, message=str(error))
    return Partition(partition, partition_count)


def _require_same_entry(state: Partition, data: bytes) -> None:
    if hashlib.sha256(data).digest() != state.journal_hash:
        raise InvariantBroken(
            f"partition {state.partition}: the snapshot belongs to another journal: entry {state.journal_sequence} "
            "has another hash",
            reason="SNAPSHOT_OF_ANOTHER_JOURNAL",
        )
