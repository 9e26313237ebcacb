"""A simulator's memory: an append-only file of its inputs, synced before anybody is answered.

The file is a sequence of frames. One frame holds the records of one group commit, and a frame is written only
after the one before it is durable. So a frame that does not check can be the last one only (the machine stopped
while it was written, and nobody was answered): it is cut off. Anywhere else it is corruption, and the file is
refused.

    frame  := "KSPL" length:u32 crc32:u32 payload
    record := kind:u8 time_ns:i64 length:u32 body          (a payload is one or more records)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kestrel_domain.errors import InvariantBroken, Unavailable

_MARK = b"KSPL"
_FRAME = struct.Struct(">4sII")
_RECORD = struct.Struct(">BqI")
RECORD_BYTES_MAX = 1 << 20
FRAME_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that changed the simulator: what kind, when, and the request's bytes."""

    kind: int
    time_ns: int
    body: bytes

    def encoded(self) -> bytes:
        return _RECORD.pack(self.kind, self.time_ns, len(self.body)) + self.body


def frame(payload: bytes) -> bytes:
    return _FRAME.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


def frames(data: bytes, name: str) -> tuple[list[bytes], int]:
    """Payloads of all whole frames, and how many bytes they take. Raises ``InvariantBroken`` on corruption."""
    payloads: list[bytes] = []
    offset = 0
    while offset < len(data):
        payload = _frame_at(data, offset)
        if payload is None:
            _check_torn(data, offset, name)
            break
        payloads.append(payload)
        offset += _FRAME.size + len(payload)
    return payloads, offset


def _frame_at(data: bytes, offset: int) -> bytes | None:
    if len(data) - offset < _FRAME.size:
        return None
    mark, length, checksum = _FRAME.unpack_from(data, offset)
    payload = data[offset + _FRAME.size : offset + _FRAME.size + length]
    if mark != _MARK or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return payload


def _check_torn(data: bytes, offset: int, name: str) -> None:
    """A frame that does not check is torn only if no whole frame follows it."""
    at = data.find(_MARK, offset + 1)
    while at >= 0:
        if _frame_at(data, at) is not None:
            raise InvariantBroken(
                f"{name} is corrupted at byte {offset}, and a whole frame follows at byte {at}: restore it from a copy",
                reason="LOG_CORRUPTED",
                field=name,
                value=offset,
                rule="only the last frame may be incomplete",
            )
        at = data.find(_MARK, at + 1)


def records(payload: bytes, name: str) -> Iterator[Record]:
    offset = 0
    while offset < len(payload):
        kind, time_ns, length = _RECORD.unpack_from(payload, offset)
        offset += _RECORD.size
        if offset + length > len(payload):
            raise InvariantBroken(f"{name}: a record reaches beyond its frame", reason="LOG_CORRUPTED", field=name)
        yield Record(kind, time_ns, payload[offset : offset + length])
        offset += length


class DurableLog:
    """The open file. One process may have it; ``append`` is answered by ``durable``."""

    def __init__(self, path: Path, on_durable: Callable[[object], None]) -> None:
        """Opens or creates the file. ``on_durable`` is called after each sync with the mark taken before it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock()
        self._on_durable = on_durable
        self._pending: list[bytes] = []
        self._appended = self._durable = 0
        self._wake = asyncio.Event()
        self._advanced = asyncio.Condition()
        self._mark: object = None
        self._is_broken = False
        self._writing: asyncio.Future[None] | None = None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Unavailable(
                f"{self._path} belongs to another running simulator; stop that one, or choose another --data",
                reason="LOG_IN_USE",
                field="data",
                value=self._path,
            ) from None

    def replay(self) -> Iterator[Record]:
        """Everything remembered, in order; a torn last frame is cut off first."""
        data = self._path.read_bytes()
        payloads, whole_bytes = frames(data, str(self._path))
        if whole_bytes < len(data):
            os.ftruncate(self._file, whole_bytes)
        os.fsync(self._file)
        _sync_directory(self._path.parent)
        del data
        for payload in payloads:
            yield from records(payload, str(self._path))

    def append(self, record: Record, mark: object) -> int:
        """Queue a record; returns its position for ``durable``. ``mark`` says what is true once it is durable."""
        assert len(record.body) <= RECORD_BYTES_MAX
        self._pending.append(record.encoded())
        self._mark = mark
        self._appended += 1
        self._wake.set()
        return self._appended

    @property
    def position(self) -> int:
        return self._appended

    async def durable(self, position: int) -> None:
        """Waits until everything up to a position is on disk."""
        if self._durable >= position:
            return
        async with self._advanced:
            await self._advanced.wait_for(lambda: self._durable >= position)

    async def run(self) -> None:
        """Write and sync what is queued, group by group. An error of the disk ends it, and with it the venue."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                await self._commit()

    async def _commit(self) -> None:
        pending, self._pending = self._pending, []
        position, mark = self._appended, self._mark
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, frame(b"".join(pending)))
        try:
            await asyncio.shield(self._writing)  # a write cannot be called back; ``close`` waits for it
        except OSError as error:
            # Part of the frame may be there. Nothing may follow it, or a torn end would become a broken middle.
            self._is_broken = True
            raise Unavailable(
                f"{self._path} cannot be written: {error.strerror}; nothing more was answered",
                reason="LOG_UNWRITABLE",
                field="data",
                value=self._path,
                rule="a disk with room that can be synced",
            ) from error
        self._durable = position
        self._on_durable(mark)
        async with self._advanced:
            self._advanced.notify_all()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)

    async def close(self) -> None:
        """After ``run`` has ended: what is queued becomes durable, unless the disk failed, and the file is closed."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
            self._is_broken = self._is_broken or self._writing.exception() is not None
        while self._pending and not self._is_broken:
            await self._commit()
        os.close(self._file)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
