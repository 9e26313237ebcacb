"""Snapshots in the object store, in its usual layout: chunks under ``C.<id>``, a description under ``M.<name>``.

A snapshot is only a faster start: it counts when its digest is right, and a missing one costs a longer replay.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain import subjects
from kestrel_domain.errors import KestrelError

CHUNK_BYTES = 128 * 1024
_STREAM = f"OBJ_{subjects.SNAPSHOTS_BUCKET}"
_PREFIX = f"$O.{subjects.SNAPSHOTS_BUCKET}"


class SnapshotStore:
    """Named byte strings of some MiB; the newest of each name is kept."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def save(self, name: str, data: bytes) -> None:
        """Store under a name, in place of what was there. Raises ``Unavailable`` or ``OutcomeUnknown``; the old one is
        then still whole."""
        before = await self._description(name)
        chunk_id = secrets.token_hex(11)
        for start in range(0, len(data), CHUNK_BYTES):
            await self._bus.publish_raw(
                f"{_PREFIX}.C.{chunk_id}", data[start : start + CHUNK_BYTES], {}, timeout_s=10.0
            )
        description = {
            "name": name,
            "bucket": subjects.SNAPSHOTS_BUCKET,
            "nuid": chunk_id,
            "size": len(data),
            "mtime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "chunks": -(-len(data) // CHUNK_BYTES),
            "digest": _digest(data),
            "options": {"max_chunk_size": CHUNK_BYTES},
        }
        await self._bus.publish_raw(
            _description_subject(name), json.dumps(description).encode(), {"Nats-Rollup": "sub"}, timeout_s=10.0
        )
        if before is not None:
            await self._drop_chunks(str(before["nuid"]))

    async def load(self, name: str) -> bytes | None:
        """The bytes, or None if there are none, or they are not what was saved (logged and counted)."""
        description = await self._description(name)
        if description is None:
            return None
        subject = f"{_PREFIX}.C.{description['nuid']}"
        data = b"".join([message.data async for message in self._bus.read(_STREAM, subject=subject)])
        if len(data) != description["size"] or _digest(data) != description["digest"]:
            telemetry.count("snapshots.invalid")
            telemetry.logger().error("snapshot.refused", snapshot=name, size=len(data))
            return None
        return data

    async def _description(self, name: str) -> dict[str, object] | None:
        message = await self._bus.last_message(_STREAM, _description_subject(name))
        if message is None:
            return None
        try:
            description: dict[str, object] = json.loads(message.data)
        except ValueError:
            return None
        return None if description.get("deleted") else description

    async def _drop_chunks(self, chunk_id: str) -> None:
        try:
            await self._bus.api(f"STREAM.PURGE.{_STREAM}", {"filter": f"{_PREFIX}.C.{chunk_id}"})
        except KestrelError as error:
            telemetry.logger().warning("snapshot.kept", chunk_id=chunk_id, error=str(error))


def _digest(data: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()


def _description_subject(name: str) -> str:
    return f"{_PREFIX}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
