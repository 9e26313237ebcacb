"""The real lease, on the world's time: its tasks run when their process does, and its bucket forgets by itself.

A process has an event loop of its own, which stands still while the process is frozen: when it wakes up, its timers are
late, and its lease has to find that out by its own clock.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from kestrel_chassis import lease as chassis
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import KeyExists, WrongSequence
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_domain.timestamps import SECOND_NS
from tests.simulation.referee import require

if TYPE_CHECKING:
    from tests.simulation.world import World

TTL_S = 5
"""A world lives through a few minutes; a real lease takes longer."""


class WorldLoop(asyncio.BaseEventLoop):
    """The library's loop without a selector: ``turn`` runs what is due, and never waits."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time_s: Callable[[], float]) -> None:
        super().__init__()
        self._time_s = time_s
        self._work: list[asyncio.Task[Any]] = []

    def time(self) -> float:
        return self._time_s()

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Takes its first step at the next turn."""
        return self.create_task(work)

    def create_task(self, work: Any, **named: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        task = super().create_task(work, **named)
        self._work = [*(one for one in self._work if not one.done()), task]
        return task

    def has_work(self) -> bool:
        """Something is due."""
        return bool(self._ready) or bool(self._scheduled and self._scheduled[0].when() <= self.time())

    def turn(self) -> None:
        """Everything that is due, and what follows from it."""
        while self._scheduled and self._scheduled[0].when() <= self.time():
            self._ready.append(heapq.heappop(self._scheduled))
        if not self._ready:
            return
        asyncio._set_running_loop(self)
        try:
            with capture_logs():
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
        finally:
            asyncio._set_running_loop(None)

    def end(self) -> None:
        """The process is gone: what waits is never told."""
        for task in self._work:
            task.cancel()
        self.turn()
        self.close()


@dataclass
class LeaseStore:
    """The bucket of leases: a key is forgotten ``TTL_S`` after it was written. Its answers may be lost."""

    world: World
    keys: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)
    leases: dict[str, list[Lease]] = field(default_factory=dict)
    anew_at_ns: int = -(10**18)
    _revision: int = 0

    def bucket(self, _: str) -> LeaseStore:
        return self

    async def create(self, key: str, value: bytes, *, timeout: float = 0.0) -> int:  # noqa: ASYNC109 - as the real one
        self._maybe_unreachable()
        if await self._found(key) is not None:
            raise KeyExists(key)
        if self.world.fault("epochs count anew", 0.1):  # somebody made the bucket anew; what was in it is gone
            self._revision, self.anew_at_ns = 0, self.world.true_ns
            self.keys.clear()
        return self._write(key, value)

    async def update(self, key: str, value: bytes, revision: int, *, timeout: float = 0.0) -> int:  # noqa: ASYNC109 - as the real one
        self._maybe_unreachable()
        found = await self._found(key)
        if found is None or found[1] != revision:
            raise WrongSequence(key)
        return self._write(key, value)

    async def get(self, key: str, *, timeout: float = 0.0) -> tuple[bytes, int] | None:  # noqa: ASYNC109 - as the real one
        self._maybe_unreachable()
        return await self._found(key)

    async def delete(self, key: str, revision: int, *, timeout: float = 0.0) -> None:  # noqa: ASYNC109 - as the real one
        self._maybe_unreachable()
        found = await self._found(key)
        if found is None or found[1] != revision:
            raise WrongSequence(key)
        del self.keys[key]

    def _maybe_unreachable(self) -> None:
        if self.world.fault("leases unreachable", 0.03):
            raise Unavailable("no answer, and nothing was done")

    async def _found(self, key: str) -> tuple[bytes, int] | None:
        value, revision, until_ns = self.keys.get(key, (b"", 0, 0))
        return (value, revision) if until_ns > self.world.true_ns else None

    def _write(self, key: str, value: bytes) -> int:
        self._revision += 1
        self.keys[key] = value, self._revision, self.world.true_ns + TTL_S * SECOND_NS
        if self.world.fault("answer about a lease lost", 0.03):
            raise OutcomeUnknown("it may have been written")
        return self._revision


class WorldTime:
    """While it is entered, leases read the world's clock. Set by hand: patching as a test does was a twentieth of all
    time."""

    def __init__(self, time_s: Callable[[], float]) -> None:
        self._clock = SimpleNamespace(monotonic=time_s)
        self._real: Any = None

    def __enter__(self) -> None:
        self._real, vars(chassis)["time"] = vars(chassis)["time"], self._clock

    def __exit__(self, *_: object) -> None:
        vars(chassis)["time"] = self._real


class OwnerLease:
    """A process's lease, and the loop that keeps it. While the process does not run, nothing is renewed."""

    def __init__(self, world: World, store: LeaseStore, name: str) -> None:
        self._world, self._store, self._name = world, store, name
        self._loop = WorldLoop(self._time_s)
        self._time = WorldTime(self._time_s)
        self._lease = self._new()

    def acquire(self) -> Iterator[None]:
        """Wait for it; at each ``yield`` somebody else may run."""
        with self._time:
            task = self._loop.begin(self._lease.acquire())
        while True:
            self.turn()
            if task.done():
                task.result()
                self._world.reached("lease acquired")
                return
            yield

    def acquire_again(self) -> Iterator[None]:
        """Give it back and take it once more, for a later epoch."""
        self.release()
        self._forget()  # a lease is acquired once: the old one is never held again
        self._lease = self._new()
        yield from self.acquire()

    def release(self) -> None:
        with self._time:
            self._loop.begin(self._lease.release())
        self.turn()

    def end(self) -> None:
        with self._time:
            self._loop.end()
        self._forget()

    def turn(self) -> None:
        if self._loop.has_work():
            with self._time:
                self._loop.turn()

    @property
    def epoch(self) -> int:
        return self._lease.epoch

    def is_held(self) -> bool:
        """By its own clock, and whatever its loop has found out; and never by two at once."""
        self.turn()
        with self._time:
            held = self._lease.held
            others = [one for one in self._store.leases[self._name] if one is not self._lease and one.held]
        if held:
            is_anew = self._world.true_ns - self._store.anew_at_ns <= TTL_S * SECOND_NS
            require(is_anew or not others, f"two hold the lease {self._name}")
            self._world.reached("lease checked")
        else:
            self._world.reached("lease ended by its own clock")
        return held

    def _new(self) -> Lease:
        lease = Lease(self._store, self._name, f"sim-{self._world.next_session()}", TTL_S)  # type: ignore[arg-type]
        self._store.leases.setdefault(self._name, []).append(lease)
        return lease

    def _forget(self) -> None:
        known = self._store.leases[self._name]
        if self._lease in known:
            known.remove(self._lease)

    def _time_s(self) -> float:
        return self._world.true_ns / SECOND_NS
