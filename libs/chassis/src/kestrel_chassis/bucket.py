"""A key-value bucket on raw JetStream, in the usual layout (stream ``KV_<name>``, subjects ``$KV.<name>.<key>``).

Reads go to the leader (``allow_direct`` is false). A read never decides anything: ``create`` and ``update`` do, and of
any number of writers one wins. A cluster also refuses a conditional write while another one on the key is under way
(10164); that is told apart from a lost race by looking again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from kestrel_chassis.messages import (
    EXPECTED_LAST_SUBJECT_SEQUENCE_HEADER,
    KeyExists,
    StoredMessage,
    WrongSequence,
)
from kestrel_domain.errors import Unavailable

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

_OPERATION_HEADER = "KV-Operation"
_LOOK_AGAIN_S = 0.05


class Bucket:
    """Keys and values. A revision is the stream sequence of the key's last write: it only grows."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self.name = name
        self._stream = f"KV_{name}"

    async def get(self, key: str, *, timeout: float = 5.0) -> tuple[bytes, int] | None:  # noqa: ASYNC109
        """``(value, revision)``, or None if the key is not there. Raises ``Unavailable``."""
        message = await self._last(key, timeout)
        return None if message is None or _is_marker(message) else (message.data, message.sequence)

    async def create(self, key: str, value: bytes, *, timeout: float = 5.0) -> int:  # noqa: ASYNC109
        """Write a key that must not be there; its revision. Raises ``KeyExists``, ``Unavailable``,
        ``OutcomeUnknown`` (read the key: is the value mine?)."""
        deadline_s = time.monotonic() + timeout
        expected = 0
        while True:
            try:
                return await self._write(key, value, expected, {}, deadline_s)
            except WrongSequence as error:
                found = await self._last(key, _left(deadline_s))
                if found is not None and not _is_marker(found):
                    raise KeyExists(f"{self.name}/{key} exists", field=key, value=str(found.sequence)) from error
                expected = found.sequence if found is not None else 0
                await self._look_again(key, deadline_s)

    async def update(self, key: str, value: bytes, revision: int, *, timeout: float = 5.0) -> int:  # noqa: ASYNC109
        """Write over exactly this revision; the new one. Raises ``WrongSequence`` if it has moved, ``Unavailable``,
        ``OutcomeUnknown``."""
        return await self._conditional(key, value, revision, {}, timeout)

    async def put(self, key: str, value: bytes, *, timeout: float = 5.0) -> int:  # noqa: ASYNC109
        """Write whatever was there: the last writer wins. For nothing that is decided by it."""
        return await self._write(key, value, None, {}, time.monotonic() + timeout)

    async def delete(self, key: str, revision: int | None = None, *, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Take the key away, if given only at this revision (else ``WrongSequence``)."""
        marker = {_OPERATION_HEADER: "DEL"}
        if revision is None:
            await self._write(key, b"", None, marker, time.monotonic() + timeout)
        else:
            await self._conditional(key, b"", revision, marker, timeout)

    async def keys(self) -> list[str]:
        """The keys that are there, sorted. For small buckets."""
        prefix = self._subject("")
        info = await self._bus.api(f"STREAM.INFO.{self._stream}", {"subjects_filter": prefix + ">"})
        names = sorted(subject.removeprefix(prefix) for subject in info["state"].get("subjects") or {})
        return [name for name in names if await self.get(name) is not None]

    async def _conditional(self, key: str, value: bytes, revision: int, headers: dict[str, str], wait_s: float) -> int:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                return await self._write(key, value, revision, headers, deadline_s)
            except WrongSequence:
                found = await self._last(key, _left(deadline_s))
                if (found.sequence if found is not None else 0) != revision:
                    raise
                await self._look_again(key, deadline_s)

    async def _write(
        self, key: str, value: bytes, revision: int | None, headers: dict[str, str], deadline_s: float
    ) -> int:
        headers = dict(headers)
        if revision is not None:
            headers[EXPECTED_LAST_SUBJECT_SEQUENCE_HEADER] = str(revision)
        ack = await self._bus.publish_raw(self._subject(key), value, headers, timeout_s=_left(deadline_s))
        return ack.sequence

    async def _last(self, key: str, wait_s: float) -> StoredMessage | None:
        return await self._bus.last_message(self._stream, self._subject(key), timeout=wait_s)

    async def _look_again(self, key: str, deadline_s: float) -> None:
        if time.monotonic() + _LOOK_AGAIN_S >= deadline_s:
            raise Unavailable(f"{self.name}/{key}: other writes were under way all the time", reason="CONTENDED")
        await asyncio.sleep(_LOOK_AGAIN_S)

    def _subject(self, key: str) -> str:
        return f"$KV.{self.name}.{key}"


def _left(deadline_s: float) -> float:
    return max(0.05, deadline_s - time.monotonic())


def _is_marker(message: StoredMessage) -> bool:
    return _OPERATION_HEADER in message.headers or "Nats-Marker-Reason" in message.headers
