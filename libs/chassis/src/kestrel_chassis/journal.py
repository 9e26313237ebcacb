"""The journal of a partition: appended by one writer, read and verified by anyone.

Each write says which sequence it expects to be last. That check, made by the server, is the fence: whoever is not the
newest writer is refused, whatever he believes about his lease.

Only one write is under way at a time: one entry, or several as one atomic batch. A chain of pipelined entries, each
expecting its own predicted sequence, would *not* fence: when a new owner has written exactly k entries, a stale owner's
entry k + 1 expects just the sequence the new owner reached, and is stored, without those before it.

A write whose outcome is unknown is resolved by reading the tail and comparing ids and bytes:

    tail is ours up to k         entries up to k are committed; the rest is sent again, same ids, same expectations
    tail is as before            nothing committed; sent again, same ids, same expectations
    tail holds anything else     somebody else owns the partition: ``OwnershipLost``

The read only chooses what to try: a stale read costs one more refusal, never a second history.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage, WrongSequence
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken, KestrelError, OutcomeUnknown, Refused, Unavailable

RESOLVE_TIMEOUT_S = 60.0
"""How long an append may stay unresolved before the caller has to give the partition up."""
_RESOLVE_PAUSE_S = 0.2
BATCH_ENTRIES_MAX = 256
"""Entries of one atomic batch; the server takes up to 1000."""
ONE_BY_ONE_MAX = 8
"""On a single server a batch is staged on disk, some 10 ms whatever its size: a few entries are faster singly."""
_PREVIOUS_HASH = journal_pb2.JournalEntry(previous_hash=bytes(32)).SerializeToString()[:-32]
"""Tag and length of the field, as they stand in front of a hash."""
_RESOLVED_BY_READING = frozenset({WrongSequence.reason, "JETSTREAM_10176", "JETSTREAM_10201"})
"""Somebody wrote, perhaps we; a batch that lost a part on the way; one whose ids are stored already."""


class OwnershipLost(Refused):
    """Somebody else wrote to the journal: this writer is finished, and says nothing more."""

    reason = "OWNERSHIP_LOST"


def entry_hash(stored_entry: bytes) -> bytes:
    """SHA-256 of the stored bytes: the next entry's ``previous_hash``."""
    return hashlib.sha256(stored_entry).digest()


class JournalWriter:
    """Appends to one partition. ``last_sequence`` and ``last_hash`` are where a full replay ended (0 and b"" if empty).

    After any exception from ``append`` the writer is finished; a new one starts from a new replay.
    """

    def __init__(self, bus: Bus, partition: int, last_sequence: int, last_hash: bytes) -> None:
        self._bus = bus
        self.stream = subjects.journal_stream(partition)
        self.last_sequence = last_sequence
        self.last_hash = last_hash
        self._finished = False
        self._one_by_one_max = ONE_BY_ONE_MAX if bus.settings.replicas == 1 else 1

    async def append(self, entries: Sequence[Publish]) -> list[int]:
        """Commit serialized ``JournalEntry`` messages in order; their sequences. All of them are stored on return.

        Raises ``OwnershipLost``, ``OutcomeUnknown`` (unresolved for a minute) or ``InvariantBroken`` (the entries do
        not chain: each must carry the hash of the one before).
        """
        if self._finished:
            raise OwnershipLost(f"{self.stream}: this writer has ended", field="stream", value=self.stream)
        self._check_chain(entries)
        first = self.last_sequence + 1
        self._finished = True  # until proven otherwise
        step = BATCH_ENTRIES_MAX if len(entries) > self._one_by_one_max else 1
        for start in range(0, len(entries), step):
            await self._commit(entries[start : start + step])
        self._finished = False
        return list(range(first, first + len(entries)))

    def _check_chain(self, entries: Sequence[Publish]) -> None:
        expected = self.last_hash
        for entry in entries:
            if not _carries(entry.body, expected):
                raise InvariantBroken(f"{self.stream}: entry {entry.message_id} does not carry the hash before it")
            expected = entry_hash(entry.body)

    async def _commit(self, entries: Sequence[Publish]) -> None:
        """One write, until it is certain."""
        deadline_s = time.monotonic() + RESOLVE_TIMEOUT_S
        remaining = list(entries)
        while remaining:
            failure = await self._send(remaining)
            if failure is None:
                self._advance(remaining, len(remaining))
                return
            telemetry.count("journal.resolutions")
            telemetry.logger().warning(
                "journal.append_unresolved", stream=self.stream, last_sequence=self.last_sequence, error=str(failure)
            )
            committed = await self._committed_count(remaining, failure, deadline_s)
            self._advance(remaining, committed)
            remaining = remaining[committed:]

    async def _send(self, entries: Sequence[Publish]) -> KestrelError | None:
        """One attempt. None if every entry is where it should be, else why that is not known."""
        try:
            if len(entries) == 1:
                ack = await (await self._bus.send(entries[0], expected_last_sequence=self.last_sequence))
            else:
                ack = await self._bus.publish_atomic(entries, expected_last_sequence=self.last_sequence)
        except KestrelError as error:
            return error
        if ack.duplicate or ack.sequence != self.last_sequence + len(entries):  # known by id: compare the bytes, too
            return WrongSequence(f"{self.stream}: {entries[-1].message_id} is stored at {ack.sequence}")
        return None

    async def _committed_count(self, entries: Sequence[Publish], failure: KestrelError, deadline_s: float) -> int:
        """How many of the entries the journal holds, directly after ours. Raises ``OwnershipLost`` at anything else."""
        if isinstance(failure, Refused) and failure.reason not in _RESOLVED_BY_READING:
            raise failure
        while True:
            try:
                committed = await self._compare_tail(entries)
                if committed or not isinstance(failure, WrongSequence) or time.monotonic() >= deadline_s:
                    break
                # Refused, and yet the tail looks as before: a stale read, or an earlier attempt still under way.
                failure = OutcomeUnknown(str(failure))
            except Unavailable as error:
                if time.monotonic() >= deadline_s:
                    raise OutcomeUnknown(f"{self.stream}: the tail cannot be read: {error}") from error
            await asyncio.sleep(_RESOLVE_PAUSE_S)
        if time.monotonic() >= deadline_s and committed < len(entries):
            raise OutcomeUnknown(f"{self.stream}: an append is unresolved for {RESOLVE_TIMEOUT_S:.0f} s: {failure}")
        if not committed:
            await asyncio.sleep(_RESOLVE_PAUSE_S)
        return committed

    async def _compare_tail(self, entries: Sequence[Publish]) -> int:
        tail = (await self._bus.stream_state(self.stream)).last_sequence
        committed = tail - self.last_sequence
        for offset in range(min(max(committed, 0), len(entries))):
            stored = await self._bus.get_message(self.stream, self.last_sequence + offset + 1)
            if stored is None or not _is_same(stored, entries[offset]):
                raise self._lost(self.last_sequence + offset + 1)
        if committed > len(entries):
            raise self._lost(self.last_sequence + len(entries) + 1)
        if committed < 0:
            raise Unavailable(f"{self.stream} is read up to {tail}, before our own entry {self.last_sequence}")
        return committed

    def _lost(self, sequence: int) -> OwnershipLost:
        telemetry.count("journal.ownership_lost")
        return OwnershipLost(
            f"{self.stream}: entry {sequence} was written by somebody else", field="sequence", value=sequence
        )

    def _advance(self, entries: Sequence[Publish], count: int) -> None:
        if count:
            self.last_sequence += count
            self.last_hash = entry_hash(entries[count - 1].body)


def _carries(body: bytes, previous_hash: bytes) -> bool:
    """Whether an entry names this hash as the one before it: looked for as it lies in the bytes, which is quick."""
    if previous_hash and _PREVIOUS_HASH + previous_hash in body:
        return True
    return journal_pb2.JournalEntry.FromString(body).previous_hash == previous_hash


def _is_same(stored: StoredMessage, entry: Publish) -> bool:
    return stored.message_id == entry.message_id and stored.data == entry.body


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One verified entry. ``hash`` is what the next entry has to carry."""

    sequence: int
    time_ns: int
    entry: journal_pb2.JournalEntry
    data: bytes
    hash: bytes
    message_id: str
    traceparent: str


async def read_journal(
    bus: Bus, partition: int, from_sequence: int = 1, *, previous_hash: bytes | None = None
) -> AsyncIterator[JournalRecord]:
    """The entries from a sequence to the present end, each checked for its place, its form and its hash.

    ``previous_hash``: of the entry before ``from_sequence``, if the caller has it; else it is read.
    Raises ``InvariantBroken`` at a gap, a broken chain or bytes that are no entry.
    """
    stream = subjects.journal_stream(partition)
    if previous_hash is None:
        previous_hash = await _hash_before(bus, stream, from_sequence)
    expected_sequence = from_sequence
    async for message in bus.read(stream, start_sequence=from_sequence):
        if message.sequence != expected_sequence:
            raise InvariantBroken(f"{stream}: entry {expected_sequence} is missing, {message.sequence} follows")
        record = verified(stream, message, previous_hash)
        previous_hash, expected_sequence = record.hash, expected_sequence + 1
        yield record


def verified(stream: str, message: StoredMessage, previous_hash: bytes) -> JournalRecord:
    """One stored message as a record. Raises ``InvariantBroken``."""
    try:
        entry = journal_pb2.JournalEntry.FromString(message.data)
    except DecodeError as error:
        raise InvariantBroken(f"{stream}: entry {message.sequence} cannot be parsed") from error
    if entry.previous_hash != previous_hash:
        raise InvariantBroken(f"{stream}: entry {message.sequence} does not carry the hash of the one before it")
    return JournalRecord(
        sequence=message.sequence,
        time_ns=message.time_ns,
        entry=entry,
        data=message.data,
        hash=entry_hash(message.data),
        message_id=message.message_id,
        traceparent=entry.traceparent or message.traceparent,
    )


async def _hash_before(bus: Bus, stream: str, sequence: int) -> bytes:
    if sequence <= 1:
        return b""
    message = await bus.get_message(stream, sequence - 1)
    if message is None:
        raise InvariantBroken(f"{stream}: entry {sequence - 1} is missing")
    return entry_hash(message.data)
