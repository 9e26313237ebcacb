"""Tasks of a service and their end.

running --- SIGTERM, SIGINT, a broken invariant, a task that may not fail ---> stopping ---> stopped
stopping: readiness off, stop hooks (pulls end), tasks end by themselves or are canceled, bounded
a second signal: cancel everything at once
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kestrel_chassis import telemetry
from kestrel_domain.errors import InvariantBroken

_RESTART_MIN_S = 0.5
_RESTART_MAX_S = 30.0
_CANCEL_TIMEOUT_S = 5.0
STEADY_AFTER_S = 10.0
"""Who runs so long without a failure has come back."""
UNSTEADY_FAILURES = 3
"""So many without having come back in between are no accident any more."""
STOP_GRACE_S = 20.0
"""How long tasks may take to finish what they have in hand."""
IDLE_GRACE_S = 1.0
"""How long tasks get that have nothing in hand."""


@dataclass(slots=True)
class _Entry:
    name: str
    factory: Callable[[], Coroutine[Any, Any, None]]
    restart: bool
    failure_count: int = 0
    """Since it last ran for long enough."""


class Supervisor:
    """Runs coroutines, restarts those that may be, and stops everything in order."""

    def __init__(self, *, grace_s: float = STOP_GRACE_S, idle_grace_s: float = IDLE_GRACE_S) -> None:
        self._grace_s = grace_s
        self._idle_grace_s = idle_grace_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self._abort = asyncio.Event()
        self.stopping = asyncio.Event()
        """Set once the end has begun; long tasks may look at it."""
        self.busy: Callable[[], bool] = lambda: False
        """Whether somebody has work in hand that must be finished. Set by the service."""
        self.on_restart: Callable[[str, Exception], None] = lambda task, error: None
        self.on_unsteady: Callable[[str, Exception], None] = lambda task, error: None
        """A task fails again and again: its service is up, and does not do what it is there for."""
        self.on_steady: Callable[[str], None] = lambda task: None
        """And no longer."""
        self.exit_code = 0

    def add(
        self,
        name: str,
        coroutine_factory: Callable[[], Coroutine[Any, Any, None]],
        *,
        restart: bool,
        background: bool = False,
    ) -> None:
        """Run it now. If it fails: ``restart`` tries again with a growing pause, otherwise the service stops.

        A task that returns is finished, and not run again. ``InvariantBroken`` always stops the service. A
        ``background`` task never has anything in hand: at the end it is canceled at once, the others are given time.
        """
        task = asyncio.create_task(self._supervise(_Entry(name, coroutine_factory, restart)), name=name)
        tasks = self._background if background else self._tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def on_stop(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Called, in order of addition, when the end begins."""
        self._hooks.append(hook)

    def stop(self, exit_code: int = 0) -> None:
        """Begin the end. The first exit code that is not 0 counts."""
        self.exit_code = self.exit_code or exit_code
        self.stopping.set()

    async def run(self) -> int:
        """Until somebody stops it; the exit code. SIGTERM and SIGINT are its own until then."""
        self.take_signals()
        loop = asyncio.get_running_loop()
        try:
            await self.stopping.wait()
            await self._end()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                with contextlib.suppress(NotImplementedError, RuntimeError):
                    loop.remove_signal_handler(number)
        return self.exit_code

    def take_signals(self) -> None:
        """The first SIGTERM or SIGINT stops in order, the second at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # only in the main thread
                loop.add_signal_handler(number, self._signaled, number)

    def _signaled(self, number: signal.Signals) -> None:
        if self.stopping.is_set():
            telemetry.logger().warning("service.aborted", signal=number.name)
            self.exit_code = self.exit_code or 1
            self._abort.set()
        else:
            telemetry.logger().info("service.stopping", signal=number.name)
            self.stop()

    async def _supervise(self, entry: _Entry) -> None:
        pause_s = _RESTART_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            started_s = loop.time()
            steady = loop.call_later(STEADY_AFTER_S, self._tell_steady, entry)
            try:
                await entry.factory()
                self._tell_steady(entry)
                if not self.stopping.is_set():
                    telemetry.logger().info("task.finished", task=entry.name)
                return
            except InvariantBroken as error:
                telemetry.logger().critical("task.invariant_broken", task=entry.name, error=str(error))
                self.stop(exit_code=3)
                return
            except Exception as error:
                telemetry.count("tasks.failed")
                telemetry.logger().exception("task.failed", task=entry.name, error=repr(error))
                if self.stopping.is_set():
                    return
                if not entry.restart:
                    self.stop(exit_code=1)
                    return
                self._tell_failed(entry, error)
            finally:
                steady.cancel()
            if loop.time() - started_s > 2 * _RESTART_MAX_S:
                pause_s = _RESTART_MIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.stopping.wait()
                return
            pause_s = min(_RESTART_MAX_S, pause_s * 2)

    def _tell_failed(self, entry: _Entry, error: Exception) -> None:
        entry.failure_count += 1
        with contextlib.suppress(Exception):  # an error that cannot be told must not end who is to be started again
            self.on_restart(entry.name, error)
        if entry.failure_count >= UNSTEADY_FAILURES:
            self.on_unsteady(entry.name, error)

    def _tell_steady(self, entry: _Entry) -> None:
        if entry.failure_count >= UNSTEADY_FAILURES:
            self.on_steady(entry.name)
        entry.failure_count = 0

    async def _end(self) -> None:
        abort = asyncio.create_task(self._abort.wait())
        try:
            ordered = asyncio.create_task(self._end_in_order())
            await asyncio.wait({ordered, abort}, return_when=asyncio.FIRST_COMPLETED)
            if not ordered.done():
                ordered.cancel()
                await asyncio.gather(ordered, return_exceptions=True)
        finally:
            abort.cancel()
        await self._cancel_rest()

    async def _end_in_order(self) -> None:
        for hook in self._hooks:
            try:
                async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                    await hook()
            except Exception as error:
                telemetry.logger().error("stop_hook.failed", error=repr(error))
        loop = asyncio.get_running_loop()
        started_s = last_busy_s = loop.time()
        while self._tasks and loop.time() - started_s < self._grace_s:
            if self.busy():
                last_busy_s = loop.time()
            if loop.time() - last_busy_s > self._idle_grace_s:
                return
            await asyncio.wait(set(self._tasks), timeout=0.05)

    async def _cancel_rest(self) -> None:
        rest = self._tasks | self._background
        for task in rest:
            task.cancel()
        if rest:
            _, left = await asyncio.wait(rest, timeout=_CANCEL_TIMEOUT_S)
            for task in left:
                telemetry.logger().error("task.stuck", task=task.get_name())
