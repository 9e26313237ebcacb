"""One supervised child process: start, watch, restart with back-off, stop within a bound.

    WAITING --dependencies ready--> STARTING --probe says ready--> READY
    any of them --it ends by itself--> RESTARTING --back-off over--> STARTING
    any of them --stop()--> STOPPING --> STOPPED

A child lives no longer than its supervisor: on Linux the system kills it (launch.py asks for that), elsewhere the next
start finds it by pid and start time in the children's file and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from kestrel_cli.platform.layout import read_json, write_whole
from kestrel_cli.platform.lock import same_process

LOG_BYTES_MAX = 16 * 1024 * 1024
_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.25, 8.0
_STEADY_AFTER_S = 30.0
_PROBE_EVERY_STARTING_S, _PROBE_EVERY_UNREADY_S, _PROBE_EVERY_READY_S = 0.1, 0.5, 5.0
_PROBES_UNANSWERED_MAX = 24
_LEFTOVER_STOP_S = 5.0
_LAUNCHER = Path(__file__).with_name("launch.py")
_START_MARK = "--- started by kestrel up"


class Phase(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "not ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


_PROBE_EVERY_S = {Phase.READY: _PROBE_EVERY_READY_S, Phase.UNREADY: _PROBE_EVERY_UNREADY_S}


class ProbeUnanswered(Exception):
    """The process did not answer at all; one that answers "not ready" is alive."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run and how to know that it works.

    ``probe`` returns why it is not ready, or "" when it is; it raises ProbeUnanswered when there was no answer.
    ``prepare`` runs before each start, ``complete`` after the first successful probe of each start and before
    anything that depends on the process begins.
    """

    name: str
    command: Callable[[], list[str]]
    probe: Callable[[], Awaitable[str]]
    log: Path
    after: tuple[str, ...] = ()
    prepare: Callable[[], Awaitable[None]] | None = None
    complete: Callable[[], Awaitable[None]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    user: Callable[[], str | None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 10.0


class ManagedProcess:
    """A child process under supervision."""

    def __init__(self, spec: ProcessSpec, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.note = ""
        self.pid = 0
        self.started_s = 0.0
        self.restarts = 0
        self.failures_before_ready = 0
        self.ready_after_s: float | None = None
        self.ready = asyncio.Event()
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def name(self) -> str:
        return self.spec.name

    async def run(self, dependencies: list[ManagedProcess]) -> None:
        """Keep it running until ``stop``."""
        self._set(Phase.WAITING, "for " + " and ".join(d.name for d in dependencies) if dependencies else "")
        for dependency in dependencies:
            await dependency.ready.wait()
        backoff_s = _BACKOFF_FIRST_S
        while not self._stopping:
            began = time.monotonic()
            problem = await self._run_once()
            if self._stopping:
                return
            self.restarts += 1
            backoff_s = _BACKOFF_FIRST_S if time.monotonic() - began > _STEADY_AFTER_S else backoff_s
            self._set(Phase.RESTARTING, problem)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    def restart_no_more(self) -> None:
        """From now on an end is an end."""
        self._stopping = True

    async def stop(self) -> None:
        """End it: its own stop signal first, then, when the time is over, kill."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            self._set(Phase.STOPPING)
            process.send_signal(self.spec.stop_signal)
            try:
                async with asyncio.timeout(self.spec.stop_timeout_s):
                    await process.wait()
            except TimeoutError:
                self.note = f"did not stop within {self.spec.stop_timeout_s:.0f} s and was killed"
                self.kill()
                await process.wait()
        self.ready.clear()
        self._set(Phase.STOPPED, self.note if "killed" in self.note else "")

    def kill(self) -> None:
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def bound_log(self) -> None:
        """Keep the log within its bound: the newest part moves to ``<name>.log.1``, and it begins again."""
        with contextlib.suppress(OSError):
            if self.spec.log.stat().st_size <= LOG_BYTES_MAX:
                return
            previous = self.spec.log.with_name(self.spec.log.name + ".1")
            previous.write_bytes(self.spec.log.read_bytes()[-LOG_BYTES_MAX:])
            os.truncate(self.spec.log, 0)

    def log_tail(self, line_count: int = 12) -> list[str]:
        """The end of what its last start wrote, or the start before when that one has written nothing yet."""
        with contextlib.suppress(OSError):
            starts = self.spec.log.read_text(errors="replace").split(_START_MARK)
            for written in reversed(starts[-2:]):
                if lines := written.splitlines()[1:]:
                    return lines[-line_count:]
        return []

    async def _run_once(self) -> str:
        """Start it and wait for its end. Returns how it ended."""
        began = time.monotonic()
        self._set(Phase.STARTING)
        try:
            if self.spec.prepare is not None:
                await self.spec.prepare()
            self._process = await self._spawn()
        except Exception as error:
            self.failures_before_ready += 1
            return f"could not start: {error}"
        self._set(Phase.STARTING)
        prober = asyncio.create_task(self._probe(began))
        try:
            code = await self._process.wait()
        finally:
            prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await prober
        if not self.ready.is_set():
            self.failures_before_ready += 1
        self.ready.clear()
        return f"ended with {describe_exit(code)}"

    async def _spawn(self) -> asyncio.subprocess.Process:
        log = os.open(self.spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        user = self.spec.user() if self.spec.user else None
        os.write(log, f"{_START_MARK} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        try:
            process = await asyncio.create_subprocess_exec(
                *launched(self.spec.command(), user=user, orphan_signal=self.spec.orphan_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/" if user else None,
                env={**os.environ, **self.spec.environment},
                start_new_session=True,
            )
        finally:
            os.close(log)
        self.pid = process.pid
        with contextlib.suppress(psutil.Error):
            self.started_s = psutil.Process(process.pid).create_time()
        return process

    async def _probe(self, began: float) -> None:
        """Ask again and again; a process that stops answering altogether is ended, and so restarted."""
        unanswered = 0
        while True:
            try:
                reason = await self.spec.probe()
                if not reason and not self.ready.is_set() and self.spec.complete is not None:
                    await self.spec.complete()
                unanswered = 0
            except ProbeUnanswered as error:
                reason = str(error) or "no answer"
                unanswered += self.ready.is_set()
            except Exception as error:
                reason = str(error)[:200] or type(error).__name__
            self._learn(reason, time.monotonic() - began)
            if unanswered >= _PROBES_UNANSWERED_MAX:
                self.note = f"gave no answer {unanswered} times and was killed"
                if self._process is not None:
                    self._process.kill()
                return
            await asyncio.sleep(_PROBE_EVERY_S.get(self.phase, _PROBE_EVERY_STARTING_S))

    def _learn(self, reason: str, since_s: float) -> None:
        if self._stopping:
            return
        if not reason and self.phase is not Phase.READY:
            if self.ready_after_s is None:
                self.ready_after_s = since_s
            self.failures_before_ready = 0
            self.ready.set()
            self._set(Phase.READY)
        elif reason:
            self._set(Phase.UNREADY if self.ready.is_set() else Phase.STARTING, reason)

    def _set(self, phase: Phase, note: str = "") -> None:
        if (phase, note) != (self.phase, self.note):
            self.phase, self.note = phase, note
            self._changed()


def stop_leftovers(path: Path) -> list[str]:
    """Stop the processes of a supervisor that died without them. Returns what was stopped, for people."""
    stopped = []
    waiting: list[psutil.Process] = []
    for name, entry in read_json(path).items():
        process = same_process(int(entry["pid"]), float(entry["started_s"]))
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT if name == "postgres" else signal.SIGTERM)
                waiting.append(process)
            stopped.append(f"{name} (pid {entry['pid']})")
    _, alive = psutil.wait_procs(waiting, timeout=_LEFTOVER_STOP_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=_LEFTOVER_STOP_S)
    path.unlink(missing_ok=True)
    return stopped


def launched(command: list[str], *, user: str | None, orphan_signal: signal.Signals) -> list[str]:
    """The command line that runs a command as that user, outside all of our groups, and no longer than we live."""
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [*launcher, str(os.getpid()), str(int(orphan_signal)), user or "", *command]


def record_children(path: Path, processes: list[ManagedProcess]) -> None:
    """Write down who our children are, for the next start, should this supervisor be killed."""
    children = {p.name: {"pid": p.pid, "started_s": p.started_s} for p in processes if p.pid}
    write_whole(path, json.dumps(children, indent=2))


def describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
