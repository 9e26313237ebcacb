"""Hash chains: what makes a changed, missing, added or moved entry visible.

The bead chain is made here, over stored bytes, in stream order:

    entry_hash = SHA-256( "kestrel/bead-entry/v1" 0x00
                          u16 length, stream name     u64 chain sequence (1, 2, ...)    u64 stream sequence
                          u64 time_ns                 previous entry hash (32 bytes)    u16 length, subject
                          SHA-256 of the stored bytes )

Integers are big-endian; the first entry's previous hash is 32 zero bytes. Length prefixes keep one field from
posing as another, the domain string keeps the hash from meaning anything else. The journal needs no second chain:
each entry carries the SHA-256 of the stored bytes of the entry before it, and its own hash is that of its bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from kestrel.kernel.v1 import journal_pb2
from kestrel_persistence.core.record import Record

BEAD_DOMAIN = b"kestrel/bead-entry/v1\x00"
GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain reaches: its number of entries and the hash of the last."""

    length: int = 0
    entry_hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Link:
    """One entry's place in a chain."""

    sequence: int
    previous_hash: bytes
    entry_hash: bytes

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.entry_hash)


def bead_link(head: Head, record: Record) -> Link:
    """The link that the next bead of the stream gets."""
    sequence = head.length + 1
    digest = hashlib.sha256(BEAD_DOMAIN)
    digest.update(_sized(record.stream.encode()))
    digest.update(struct.pack(">QQQ", sequence, record.sequence, record.time_ns))
    digest.update(head.entry_hash)
    digest.update(_sized(record.subject.encode()))
    digest.update(hashlib.sha256(record.data).digest())
    return Link(sequence, head.entry_hash, digest.digest())


def journal_link(head: Head, record: Record) -> tuple[Link, str]:
    """The link of the next journal entry, and what is wrong with it: empty when it continues the chain."""
    link = Link(head.length + 1, head.entry_hash, hashlib.sha256(record.data).digest())
    try:
        said = journal_pb2.JournalEntry.FromString(record.data).previous_hash
    except DecodeError:
        return link, "the stored bytes are no journal entry"
    expected = b"" if head.length == 0 else head.entry_hash
    if said != expected:
        return link, f"previous hash is {_short(said)}, the entry before hashes to {_short(expected)}"
    return link, ""


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _short(digest: bytes) -> str:
    return digest.hex()[:16] or "empty"
