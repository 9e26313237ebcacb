"""State = fold(journal). Every entry is checked on the way: its place, its chain, and what the kernel makes of it."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from kestrel.kernel.v1 import journal_pb2
from kestrel_domain.errors import InvariantBroken
from kestrel_kernel.core.partition import PARKED, Partition, Repetition


def fold(partition: Partition, journal_sequence: int, data: bytes) -> journal_pb2.JournalEntry:
    """Apply one stored entry to the state before it, and return it.

    Raises ``InvariantBroken`` when an entry is missing, when the chain of hashes is broken, or when the kernel does
    not come to the digest, the outcome and the commands that were journaled. The partition is then worth nothing.
    """
    _require(
        journal_sequence == partition.journal_sequence + 1,
        "JOURNAL_GAP",
        f"entry {journal_sequence} follows entry {partition.journal_sequence}",
    )
    try:
        entry = journal_pb2.JournalEntry.FromString(data)
    except DecodeError as error:
        raise InvariantBroken(f"journal entry {journal_sequence} is unparsable", reason="JOURNAL_DAMAGED") from error
    _require(
        entry.previous_hash == partition.journal_hash,
        "JOURNAL_CHAIN_BROKEN",
        f"entry {journal_sequence} follows another entry than the one stored before it",
    )
    if entry.HasField("epoch_started"):
        partition.begin_epoch(entry)
        partition.confirm(data)
    elif entry.outcome.code == PARKED:
        partition.skip(entry)
        partition.confirm(data)
    else:
        _apply_again(partition, journal_sequence, entry)
        partition.confirm(data)
    return entry


def _apply_again(partition: Partition, journal_sequence: int, entry: journal_pb2.JournalEntry) -> None:
    again = partition.apply_again(entry)
    for field in Repetition._fields:
        _require(
            getattr(again, field) == getattr(entry, field),
            "REPLAY_DIFFERS",
            f"entry {journal_sequence}: its {field} is not what the kernel computes from its input",
        )


def _require(holds: bool, reason: str, message: str) -> None:
    if not holds:
        raise InvariantBroken(message, reason=reason)
