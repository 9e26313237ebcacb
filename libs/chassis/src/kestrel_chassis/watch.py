"""Streams that go away while a service runs.

The server tells of a deletion by an advisory, but it may lose it: the advisory leaves through the queue of the very
stream that ends. So every service looks for itself, too. All that notice the same deletion, by either way, raise one
alert: its identity is the stream and when it was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from kestrel_chassis import alerts, streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.status import ServiceStatus
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError

_LOOK_TIMEOUT_S = 3.0
_TELL_TIMEOUT_S = 3.0
_BLOCKER = "streams"

STREAM_DELETED = "STREAM_DELETED"


class StreamWatch:
    """The streams this service was started on. ``created`` says when each was made, as the server writes it."""

    def __init__(self, bus: Bus, service: str, created: Mapping[str, str]) -> None:
        self._bus = bus
        self._service = service
        self._created = dict(created)
        self._untold: dict[tuple[str, str], Publish] = {}
        """Alerts that are not stored yet, by stream and when it was made."""
        self._gone: set[str] = set()

    async def look(self, status: ServiceStatus) -> None:
        """One look at every stream: not ready while one is gone, and an alert for each that went. Raises nothing."""
        answers = await asyncio.gather(*(self._created_now(stream) for stream in self._created), return_exceptions=True)
        for stream, answer in zip(tuple(self._created), answers, strict=True):
            if not isinstance(answer, BaseException):
                self._note(stream, answer)
            elif not isinstance(answer, KestrelError):
                raise answer
        if self._gone:
            status.block(_BLOCKER, f"finds no stream {', '.join(sorted(self._gone))}: somebody deleted it")
        else:
            status.unblock(_BLOCKER)
        await self._tell()

    def watches(self, stream: str) -> bool:
        return stream in self._created

    def deleted(self, stream: str) -> Publish:
        """The alert about the deletion of a stream that is watched."""
        return alerts.alert(
            self._service,
            STREAM_DELETED,
            f"stream {stream} was deleted",
            severity=alerts.CRITICAL,
            cause=(stream, self._created[stream]),
            subject_id=stream,
            of_all_services=True,
        )

    async def _created_now(self, stream: str) -> str | None:
        return await streams.created(self._bus, stream, timeout_s=_LOOK_TIMEOUT_S)

    def _note(self, stream: str, created: str | None) -> None:
        known = self._created[stream]
        if created != known and stream not in self._gone:
            self._untold[stream, known] = self.deleted(stream)
        if created is None:
            self._gone.add(stream)
        else:
            self._gone.discard(stream)
            self._created[stream] = created

    async def _tell(self) -> None:
        """Once each, and again at the next look as long as it is not stored: the stream of alerts may be the one."""
        for key, effect in list(self._untold.items()):
            try:
                await self._bus.publish(effect, timeout=_TELL_TIMEOUT_S)
            except KestrelError:
                continue
            del self._untold[key]
