"""Snapshots of a partition: two places, used in turn, so that a damaged one leaves the one before it."""

from __future__ import annotations

from kestrel.kernel.v1 import state_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_domain.errors import InvalidRequest
from kestrel_kernel.core.partition import Partition, decode_snapshot, encode_snapshot

log = telemetry.logger()

_PLACES = ("a", "b")


class PartitionSnapshots:
    """Saves and loads one partition's snapshots."""

    def __init__(self, store: SnapshotStore, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._next_place = 0

    async def save(self, partition: Partition, *, saved_at_ns: int) -> None:
        """Write over the older of the two."""
        name = self._name(_PLACES[self._next_place])
        await self._store.save(name, encode_snapshot(partition.save(saved_at_ns=saved_at_ns)))
        self._next_place = 1 - self._next_place
        log.info("snapshot.saved", partition=self._partition, journal_sequence=partition.journal_sequence)

    async def load(self) -> list[state_pb2.PartitionSnapshot]:
        """What is intact, newest first. What is damaged is reported and left out: the journal is the truth."""
        found: dict[int, state_pb2.PartitionSnapshot] = {}
        for index, place in enumerate(_PLACES):
            data = await self._store.load(self._name(place))
            if data is None:
                continue
            try:
                found[index] = decode_snapshot(data)
            except InvalidRequest as error:
                log.warning("snapshot.refused", partition=self._partition, place=place, reason=error.reason)
        newest_first = sorted(found, key=lambda each: found[each].journal_sequence, reverse=True)
        self._next_place = 1 - newest_first[0] if newest_first else 0
        return [found[index] for index in newest_first]

    def _name(self, place: str) -> str:
        return f"kernel-{self._partition}-{place}"
