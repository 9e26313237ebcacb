"""Streams that go away, and replicas that fall behind, while a service runs.

The server tells of a deletion by an advisory, but it may lose it: the advisory leaves through the queue of the very
stream that ends. So every service looks for itself, too. All that notice the same deletion, by either way, raise one
alert: its identity is the stream and when it was made. Of a replica that stays behind no server tells at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from kestrel_chassis import alerts, streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.status import ServiceStatus
from kestrel_chassis.streams import Sight
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError

_LOOK_TIMEOUT_S = 3.0
_TELL_TIMEOUT_S = 3.0
_BLOCKER = "streams"

STREAM_DELETED = "STREAM_DELETED"
REPLICA_BEHIND = "REPLICA_BEHIND"
BEHIND_S = 60.0
"""A server that is restarted, and catches up, is nobody's concern; one that stays away for so long is."""
_AGAIN_S = 3600
"""How often people are told of the same server; all services count these from the same moment."""


class StreamWatch:
    """The streams this service was started on. ``created`` says when each was made, as the server writes it."""

    def __init__(
        self,
        bus: Bus,
        service: str,
        created: Mapping[str, str],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._service = service
        self._created = dict(created)
        self._monotonic_s = monotonic_s
        self._time_s = time_s
        self._untold: dict[str, Publish] = {}
        """Alerts that are not stored yet, by their ids."""
        self._gone: set[str] = set()
        self._behind_since_s: dict[str, float] = {}
        self._told_in_hour: dict[str, int] = {}

    async def look(self, status: ServiceStatus) -> None:
        """One look at every stream: not ready while one is gone, and alerts about what is wrong."""
        sights = await self._look_at_all()
        for stream, sight in sights.items():
            self._note_existence(stream, sight)
        if sights:
            self._note_replicas({name: sight.behind for name, sight in sights.items() if sight is not None})
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

    async def _look_at_all(self) -> dict[str, Sight | None]:
        """What was found, by stream; those that gave no answer are not in it: no answer is no deletion."""
        names = tuple(self._created)
        answers = await asyncio.gather(
            *(streams.sight(self._bus, name, timeout_s=_LOOK_TIMEOUT_S) for name in names), return_exceptions=True
        )
        found: dict[str, Sight | None] = {}
        for name, answer in zip(names, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[name] = answer
            elif not isinstance(answer, KestrelError):
                raise answer
        return found

    def _note_existence(self, stream: str, sight: Sight | None) -> None:
        is_another = sight is None or sight.created != self._created[stream]
        if is_another and stream not in self._gone:
            self._add(self.deleted(stream))
        if sight is None:
            self._gone.add(stream)
        else:
            self._gone.discard(stream)
            self._created[stream] = sight.created

    def _note_replicas(self, behind: Mapping[str, frozenset[str]]) -> None:
        now_s, hour = self._monotonic_s(), int(self._time_s() // _AGAIN_S)
        servers = frozenset[str]().union(*behind.values())
        self._behind_since_s = {server: self._behind_since_s.get(server, now_s) for server in servers}
        for server, since_s in self._behind_since_s.items():
            if now_s - since_s >= BEHIND_S and self._told_in_hour.get(server) != hour:
                self._told_in_hour[server] = hour
                self._add(self._lags(server, sorted(name for name, some in behind.items() if server in some), hour))

    def _lags(self, server: str, names: list[str], hour: int) -> Publish:
        return alerts.alert(
            self._service,
            REPLICA_BEHIND,
            f"server {server} has been away or behind for {BEHIND_S:.0f} s with {len(names)} streams, {names[0]} among "
            "them: until it has caught up, one more failure may stop everything",
            cause=(server, hour),
            subject_id=server,
            of_all_services=True,
        )

    def _add(self, effect: Publish) -> None:
        self._untold[effect.message_id] = effect

    async def _tell(self) -> None:
        """Once each, and again at the next look as long as it is not stored: the stream of alerts may be the one."""
        for identity, effect in list(self._untold.items()):
            try:
                await self._bus.publish(effect, timeout=_TELL_TIMEOUT_S)
            except KestrelError:
                continue
            del self._untold[identity]
