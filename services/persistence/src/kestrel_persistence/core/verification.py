"""Verification of one chain: the database's copy and the stream's, entry by entry, side by side.

Both copies are walked in the order of the stream. Each must form an unbroken chain by itself, the two must hold the
same bytes, and at each signed checkpoint the chain must have had exactly the root that was signed. The first thing
that is wrong is named with its place; the walk goes on only to count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kestrel_persistence.core.chain import Head, Link, bead_link, journal_link
from kestrel_persistence.core.checkpoint import Checkpoint, is_genuine
from kestrel_persistence.core.merkle import Frontier
from kestrel_persistence.core.record import Record
from kestrel_persistence.core.rows import is_journal


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as the database holds it. ``chain_sequence`` and ``previous_hash`` are kept for beads only."""

    record: Record
    entry_hash: bytes
    previous_hash: bytes | None = None
    chain_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. Verified when there is no problem."""

    name: str
    database: Head
    stream: Head
    first_bad_sequence: int = 0
    problem: str = ""

    @property
    def verified(self) -> bool:
        return not self.problem


class ChainVerification:
    """Feed both copies in stream order with ``take``, then ask for the ``verdict``."""

    def __init__(self, stream: str, checkpoints: Iterable[Checkpoint], public: Ed25519PublicKey) -> None:
        self._stream_name = stream
        self._checkpoints = sorted((c for c in checkpoints if c.chain == stream), key=lambda c: c.length)
        self._due = list(reversed(self._checkpoints))
        self._public = public
        self._database = Head()
        self._stream = Head()
        self._frontier = Frontier()
        self._first_bad_sequence = 0
        self._problem = ""

    def take(self, stored: StoredEntry | None, record: Record | None) -> None:
        """One place of the stream: what the database holds of it, and what the stream holds of it."""
        assert stored is not None or record is not None
        if stored is not None:
            self._walk_database(stored)
        if record is not None:
            self._walk_stream(record)
        if stored is None and record is not None:
            self._found(record.sequence, "missing in the database")
        elif stored is not None and record is None:
            self._found(stored.record.sequence, "missing in the stream")
        elif stored is not None and record is not None:
            self._compare(stored.record, record)

    def verdict(self) -> Verdict:
        """The end of the walk: a checkpoint beyond the end means that the tail was cut off."""
        for checkpoint in self._due:
            place = f"{self._database.length} entries, but a checkpoint over {checkpoint.length} was signed"
            self._found(0, f"the database's chain was cut: it has {place}")
        return Verdict(self._stream_name, self._database, self._stream, self._first_bad_sequence, self._problem)

    def _walk_database(self, stored: StoredEntry) -> None:
        link, problem = self._link(self._database, stored.record)
        sequence = stored.record.sequence
        if problem:
            self._found(sequence, f"database: {problem}")
        if stored.chain_sequence is not None and stored.chain_sequence != link.sequence:
            self._found(sequence, f"database: entry {link.sequence} of the chain is numbered {stored.chain_sequence}")
        if stored.previous_hash is not None and stored.previous_hash != link.previous_hash:
            self._found(sequence, "database: the entry does not follow the one before it")
        if stored.entry_hash != link.entry_hash:
            self._found(sequence, "database: the stored hash is not the hash of the stored bytes in this place")
        self._database = Head(link.sequence, link.entry_hash)
        self._frontier.append(link.entry_hash)
        while self._due and self._due[-1].length == link.sequence:
            self._check(self._due.pop(), link, sequence)

    def _check(self, checkpoint: Checkpoint, link: Link, sequence: int) -> None:
        if not is_genuine(checkpoint, self._public):
            self._found(sequence, f"the checkpoint over {checkpoint.length} entries is not signed by our key")
        elif checkpoint.root != self._frontier.root() or checkpoint.head != link.entry_hash:
            text = f"the first {checkpoint.length} entries are not those that were signed: history was rewritten"
            self._found(sequence, f"database: {text}")

    def _walk_stream(self, record: Record) -> None:
        link, problem = self._link(self._stream, record)
        if problem:
            self._found(record.sequence, f"stream: {problem}")
        self._stream = Head(link.sequence, link.entry_hash)

    def _link(self, head: Head, record: Record) -> tuple[Link, str]:
        return journal_link(head, record) if is_journal(self._stream_name) else (bead_link(head, record), "")

    def _compare(self, stored: Record, record: Record) -> None:
        differing = [
            field
            for field in ("subject", "time_ns", "data")
            if getattr(stored, field) != getattr(record, field)
            and not (field == "subject" and is_journal(self._stream_name))  # the journal's table keeps no subject
        ]
        if differing:
            names = ", ".join("bytes" if field == "data" else field for field in differing)
            self._found(record.sequence, f"database and stream hold different {names}")

    def _found(self, sequence: int, problem: str) -> None:
        if not self._problem:
            self._first_bad_sequence, self._problem = sequence, problem
