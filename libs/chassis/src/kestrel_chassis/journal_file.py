"""An exported journal: a file of records that anyone can check, in C with ``lk-replay`` or in Python.

The format is one page at the top of ``libkernel/replay/export_file.h``: a start, then records, each with a check that
covers the file up to it. This module writes and reads records, and knows of their content only where its fields lie:
what an ``lk_config_t`` or an ``lk_input_t`` means is libkernel's to say.

    with writing(path) as file:
        writer = JournalFileWriter(file, header)
        writer.write(record) ...; writer.finish()

    for record in JournalFileReader(file): ...      Header first; the trailer is checked, and not yielded

A reader refuses a file that was cut or damaged with ``JournalFileDamaged``, which names the entry where it breaks. It
believes no size, and no record is larger than 64 MiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NoReturn

from kestrel_domain.errors import InvalidRequest

MAGIC = b"KJOURNAL"
FORMAT_VERSION = 1
PAYLOAD_BYTES_MAX = 64 << 20
HASH_BYTES = 32
NO_HASH = bytes(HASH_BYTES)

_HAS_ENTRIES, _WAS_VERIFIED = 1, 2
_SEQUENCE_MAX = 2**64 - 1
_START = Struct("<8sII")
_RECORD = Struct("<II")
_HEADER = Struct("<6IQq32s64s64s16s")
_SEQUENCE = Struct("<Q")
_STATE = Struct("<Q32s64s")
_ENTRY = Struct("<QQq32s32s64s")
_INPUT = Struct("<32sII")
_TRAILER = Struct("<4Q32s")


class RecordKind(IntEnum):
    """What a record is. The last four but one are journal entries."""

    HEADER = 1
    ACCOUNT = 2
    STATE = 3
    EPOCH = 4
    INPUT = 5
    PARKED = 6
    OMITTED = 7
    TRAILER = 8


_ENTRY_KINDS = frozenset({RecordKind.EPOCH, RecordKind.INPUT, RecordKind.PARKED, RecordKind.OMITTED})


class JournalFileDamaged(InvalidRequest):
    """The file was cut, damaged, or is of another version; the message names the entry where it breaks."""

    reason = "JOURNAL_FILE_DAMAGED"


@dataclass(frozen=True, slots=True)
class Header:
    """Of which journal the file is, and how it was made."""

    abi_version: int
    save_version: int
    """Of the form of libkernel's state, and so of its digests."""
    config_bytes: int
    input_bytes: int
    partition: int
    stream: str
    first_sequence: int = 1
    previous_hash: bytes = NO_HASH
    exported_at_ns: int = 0
    account: str = ""
    """Only this account's entries; empty: all."""
    libkernel_version: str = ""
    has_entries: bool = True
    """The entries' stored bytes are in the file."""
    was_verified: bool = False
    """Whoever wrote it checked chain, digests and outcomes meanwhile."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """How an account is set up, by the entry with this sequence: its ``lk_config_t``."""

    sequence: int
    config: bytes


@dataclass(frozen=True, slots=True)
class StateRecord:
    """An account as it was after this sequence, the one before the file's first entry."""

    sequence: int
    digest: bytes
    account: str
    saved: bytes


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """One journal entry. What a kind does not have is empty."""

    kind: RecordKind
    sequence: int
    hash: bytes
    previous_hash: bytes = NO_HASH
    input_sequence: int = 0
    input_time_ns: int = 0
    account: str = ""
    epoch: int = 0
    digest: bytes = NO_HASH
    code: int = 0
    accepted: bool = False
    input: bytes = b""
    stored: bytes = b""


@dataclass(slots=True)
class Totals:
    """What the trailer says of a file."""

    entry_count: int = 0
    input_count: int = 0
    account_count: int = 0
    last_sequence: int = 0
    last_hash: bytes = NO_HASH


Record = AccountRecord | StateRecord | EntryRecord


class _Counting:
    """Counts records as they pass, for both sides of the trailer."""

    def __init__(self, header: Header) -> None:
        self.totals = Totals(last_sequence=header.first_sequence - 1, last_hash=header.previous_hash)
        self._accounts: set[bytes] = set()

    def add(self, record: Record) -> None:
        if isinstance(record, AccountRecord):
            self._accounts.add(record.config)
            self.totals.account_count = len(self._accounts)
        elif isinstance(record, EntryRecord):
            self.totals.entry_count += 1
            self.totals.input_count += record.kind is RecordKind.INPUT
            self.totals.last_sequence, self.totals.last_hash = record.sequence, record.hash


# --- writing ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file that appears under its name whole, or not at all. ``FileExistsError`` unless it may be replaced."""
    if path.exists() and not replace:
        raise FileExistsError(f"{path} exists")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # fails when somebody else made the file meanwhile
    finally:
        temporary.unlink(missing_ok=True)


class JournalFileWriter:
    """Writes records in order. The file is whole after ``finish``."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self._header = header
        self._counting = _Counting(header)
        start = _START.pack(MAGIC, FORMAT_VERSION, 0)
        self._check = _blake2b(start)
        self._file.write(start)
        self._put(RecordKind.HEADER, _header_bytes(header))

    def write(self, record: Record) -> None:
        """The next record. An entry follows the one before it without a gap."""
        if isinstance(record, EntryRecord):
            assert record.sequence == self._counting.totals.last_sequence + 1, "entries follow each other"
        self._counting.add(record)
        self._put(*_packed(record, has_entries=self._header.has_entries))

    def finish(self) -> Totals:
        totals = self._counting.totals
        counts = (totals.entry_count, totals.input_count, totals.account_count, totals.last_sequence)
        self._put(RecordKind.TRAILER, _TRAILER.pack(*counts, totals.last_hash))
        return totals

    def _put(self, kind: RecordKind, payload: bytes) -> None:
        head = _RECORD.pack(kind, len(payload))
        self._check = _blake2b(self._check + head + payload)
        self._file.write(head + payload + self._check)


def _header_bytes(header: Header) -> bytes:
    flags = header.has_entries * _HAS_ENTRIES | header.was_verified * _WAS_VERIFIED
    return _HEADER.pack(
        header.abi_version, header.config_bytes, header.input_bytes, header.partition, flags, header.save_version,
        header.first_sequence, header.exported_at_ns, header.previous_hash, header.stream.encode(),
        header.account.encode(), header.libkernel_version.encode(),
    )  # fmt: skip


def _packed(record: Record, *, has_entries: bool) -> tuple[RecordKind, bytes]:
    if isinstance(record, AccountRecord):
        return RecordKind.ACCOUNT, _SEQUENCE.pack(record.sequence) + record.config
    if isinstance(record, StateRecord):
        head = _STATE.pack(record.sequence, record.digest, record.account.encode())
        return RecordKind.STATE, head + record.saved
    own = b""
    if record.kind is RecordKind.EPOCH:
        own = _SEQUENCE.pack(record.epoch)
    if record.kind is RecordKind.INPUT:
        own = _INPUT.pack(record.digest, record.code, record.accepted) + record.input
    is_omitted = record.kind is RecordKind.OMITTED
    head = _ENTRY.pack(
        record.sequence, record.input_sequence, record.input_time_ns, record.hash, record.previous_hash,
        b"" if is_omitted else record.account.encode(),
    )  # fmt: skip
    return record.kind, head + own + (record.stored if has_entries and not is_omitted else b"")


# --- reading ---------------------------------------------------------------------------------------------------------


class JournalFileReader:
    """Reads records in order, each checked. ``header`` is there from the beginning, ``totals`` is whole at the end."""

    def __init__(self, file: BinaryIO, name: str = "") -> None:
        self._file = file
        self._name = name or str(getattr(file, "name", "journal file"))
        self._offset = 0
        self._record_offset = 0
        self._place = "header"
        self._check = b""
        self._begin()
        kind, payload = self._next()
        if kind is not RecordKind.HEADER:
            self._refuse("record", kind.name, "the first must be the HEADER")
        self.header = self._header(payload)
        self._counting = _Counting(self.header)
        self._next_sequence = self.header.first_sequence

    @property
    def totals(self) -> Totals:
        return self._counting.totals

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    def __iter__(self) -> Iterator[Record]:
        while True:
            self._place = f"entry {self._next_sequence}"
            kind, payload = self._next()
            if kind is RecordKind.TRAILER:
                self._place = f"trailer, after entry {self._next_sequence - 1}"
                self._end(payload)
                return
            record = self._record(kind, payload)
            self._counting.add(record)
            yield record

    # --- inside ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        start = self._read(_START.size)
        magic, version, reserved = _START.unpack(start)
        if magic != MAGIC:
            self._refuse("magic", magic, f"the file must begin with {MAGIC.decode()}")
        if version != FORMAT_VERSION:
            self._refuse("format version", version, f"this program reads version {FORMAT_VERSION}")
        if reserved:
            self._refuse("reserved", reserved, "must be 0")
        self._check = _blake2b(start)

    def _next(self) -> tuple[RecordKind, bytes]:
        self._record_offset = self._offset
        head = self._read(_RECORD.size)
        number, size = _RECORD.unpack(head)
        if number not in RecordKind.__members__.values():
            self._refuse("kind", number, "must be one of the records of the format")
        if size > PAYLOAD_BYTES_MAX:
            self._refuse("size", size, "a record may have at most 64 MiB")
        payload, stated = self._read(size), self._read(HASH_BYTES)
        check = _blake2b(self._check + head + payload)
        if check != stated:
            if number == RecordKind.TRAILER:
                self._place = f"trailer, after entry {self._next_sequence - 1}"
            self._refuse("check", stated.hex(), "must be what the bytes up to it come to: they were changed")
        self._check = check
        return RecordKind(number), payload

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._offset += len(data)
        if len(data) != size:
            self._refuse("file", self._offset, "the file ends in the middle of a record")
        return data

    def _header(self, payload: bytes) -> Header:
        if len(payload) != _HEADER.size:
            self._refuse("size", len(payload), "must be that of a record of this kind")
        (
            abi_version, config_bytes, input_bytes, partition, flags, save_version, first, exported_at_ns,
            previous,
            stream, account, version,
        ) = _HEADER.unpack(payload)  # fmt: skip
        if flags & ~(_HAS_ENTRIES | _WAS_VERIFIED):
            self._refuse("flags", flags, "only those of the format may be set")
        if not 1 <= first < _SEQUENCE_MAX:
            self._refuse("first sequence", first, "must be 1 or more")
        if (first == 1) != (previous == NO_HASH):
            self._refuse("previous hash", previous.hex(), "must be 0 before entry 1, and only there")
        return Header(
            abi_version=abi_version,
            save_version=save_version,
            config_bytes=config_bytes,
            input_bytes=input_bytes,
            partition=partition,
            stream=self._text("stream", stream),
            first_sequence=first,
            previous_hash=previous,
            exported_at_ns=exported_at_ns,
            account=self._text("account", account),
            libkernel_version=self._text("version", version),
            has_entries=bool(flags & _HAS_ENTRIES),
            was_verified=bool(flags & _WAS_VERIFIED),
        )

    def _record(self, kind: RecordKind, payload: bytes) -> Record:
        if kind in _ENTRY_KINDS:
            return self._entry(kind, payload)
        if kind is RecordKind.ACCOUNT:
            if len(payload) != _SEQUENCE.size + self.header.config_bytes:
                self._refuse("size", len(payload), "must be that of a record of this kind")
            (sequence,) = _SEQUENCE.unpack_from(payload)
            if sequence >= self._next_sequence:
                self._refuse("sequence", sequence, "an account must be set up by an entry before")
            return AccountRecord(sequence, payload[_SEQUENCE.size :])
        if kind is not RecordKind.STATE:
            self._refuse("record", kind.name, "there must be one header")
        return self._state(payload)

    def _state(self, payload: bytes) -> StateRecord:
        if len(payload) < _STATE.size:
            self._refuse("size", len(payload), "a record of this kind must be larger")
        sequence, digest, account = _STATE.unpack_from(payload)
        if sequence + 1 != self.header.first_sequence or self.totals.entry_count:
            self._refuse("sequence", sequence, "a state must be that before the first entry")
        return StateRecord(sequence, digest, self._text("account", account, required=True), payload[_STATE.size :])

    def _entry(self, kind: RecordKind, payload: bytes) -> EntryRecord:
        own_size = {RecordKind.EPOCH: _SEQUENCE.size, RecordKind.INPUT: _INPUT.size + self.header.input_bytes}
        end = _ENTRY.size + own_size.get(kind, 0)
        if len(payload) < end:
            self._refuse("size", len(payload), "a record of this kind must be larger")
        sequence, input_sequence, input_time_ns, entry_hash, previous_hash, account = _ENTRY.unpack_from(payload)
        if sequence != self._next_sequence or sequence == _SEQUENCE_MAX:
            self._refuse("sequence", sequence, "entries must follow each other without a gap")
        is_omitted = kind is RecordKind.OMITTED
        if (len(payload) > end) != (self.header.has_entries and not is_omitted):
            self._refuse("stored entry", len(payload) - end, "must be there if the header says so, and only then")
        if is_omitted and account.strip(b"\0"):
            self._refuse("account", account, "must be empty if omitted")
        epoch, digest, code, accepted, packed = 0, NO_HASH, 0, 0, b""
        if kind is RecordKind.EPOCH:
            (epoch,) = _SEQUENCE.unpack_from(payload, _ENTRY.size)
        elif kind is RecordKind.INPUT:
            digest, code, accepted = _INPUT.unpack_from(payload, _ENTRY.size)
            packed = payload[_ENTRY.size + _INPUT.size : end]
        if accepted > 1:
            self._refuse("accepted", accepted, "must be 0 or 1")
        self._next_sequence += 1
        return EntryRecord(
            kind=kind,
            sequence=sequence,
            hash=entry_hash,
            previous_hash=previous_hash,
            input_sequence=input_sequence,
            input_time_ns=input_time_ns,
            account=self._text("account", account, required=not is_omitted),
            epoch=epoch,
            digest=digest,
            code=code,
            accepted=bool(accepted),
            input=packed,
            stored=payload[end:],
        )

    def _end(self, payload: bytes) -> None:
        if len(payload) != _TRAILER.size:
            self._refuse("size", len(payload), "must be that of a record of this kind")
        stated = Totals(*_TRAILER.unpack(payload))
        for name in ("entry_count", "input_count", "account_count", "last_sequence", "last_hash"):
            if getattr(stated, name) != getattr(self.totals, name):
                self._refuse(name.replace("_", " "), getattr(stated, name), "must be that of the file")
        if self._file.read(1):
            self._refuse("file", self._offset, "must end with its trailer")

    def _text(self, field: str, data: bytes, *, required: bool = False) -> str:
        text = data.rstrip(b"\0")
        if any(not 0x21 <= byte <= 0x7E for byte in text) or (required and not text):
            self._refuse(field, data, "must be printable and without blanks")
        return text.decode("ascii")

    def _refuse(self, field: str, value: object, rule: str) -> NoReturn:
        where = "" if self._place == "header" else f" (record at byte {self._record_offset})"
        raise JournalFileDamaged(
            f"{self._name}: {self._place}{where}: {field} {str(value)[:80]}: {rule}",
            field=field,
            value=value,
            rule=rule,
        )


def _blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()
