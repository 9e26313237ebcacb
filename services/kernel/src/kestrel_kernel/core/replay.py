"""State = fold(journal). Every entry is checked on the way: its place, its chain, and what the kernel makes of it."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from kestrel.kernel.v1 import journal_pb2
from kestrel_domain.errors import InvariantBroken
from kestrel_kernel.core.partition import PARKED, Partition


def fold(partition: Partition, journal_sequence: int, data: bytes) -> journal_pb2.JournalEntry:
    """Apply one stored entry to the state before it, and return it.

    Raises ``InvariantBroken`` when an entry is missing, when the chain of hashes is broken, or when the kernel does
    not come to the digest, the outcome and the commands that were journaled. The partition is then worth nothing.
    """
    if journal_sequence != partition.journal_sequence + 1:
        raise _broken(f"entry {journal_sequence} follows entry {partition.journal_sequence}", reason="JOURNAL_GAP")
    try:
        entry = journal_pb2.JournalEntry.FromString(data)
    except DecodeError as error:
        raise _broken(f"entry {journal_sequence} is unparsable", reason="JOURNAL_DAMAGED") from error
    if entry.previous_hash != partition.journal_hash:
        message = f"entry {journal_sequence} follows another entry than the one stored before it"
        raise _broken(message, reason="JOURNAL_CHAIN_BROKEN")
    if entry.HasField("epoch_started"):
        partition.begin_epoch(entry)
    elif entry.outcome.code == PARKED:
        partition.skip(entry)
    elif field := partition.apply_again(entry):
        message = f"entry {journal_sequence}: its {field} is not what the kernel computes from its input"
        raise _broken(message, reason="REPLAY_DIFFERS")
    partition.confirm(data)
    return entry


def _broken(message: str, *, reason: str) -> InvariantBroken:
    return InvariantBroken(f"journal: {message}", reason=reason)
