"""The platform as one thing: start everything side by side, keep it running, stop it in reverse order.

    NATS ----streams provisioned----> kernel, governance, venue gateway, reconciler, policy
    PostgreSQL ----database made----> persistence
    the venue, when it is one of our simulators: a process beside them

Runs in the process that holds the platform's lock, in its main thread: children are tied to the life of the thread
that made them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from kestrel_cli.platform import buses, probes, servers
from kestrel_cli.platform.config import PlatformOptions, write_config
from kestrel_cli.platform.layout import (
    HOST,
    NATS,
    PAPER_VENUE,
    POSTGRES,
    TWS_SIM,
    TWS_SIM_CONTROL,
    Endpoints,
    Layout,
    write_whole,
)
from kestrel_cli.platform.processes import (
    ManagedProcess,
    Phase,
    ProcessSpec,
    record_children,
    stop_leftovers,
)
from kestrel_cli.platform.venues import CURRENCY, WALLET
from kestrel_domain.numbers import Number

READY_TIMEOUT_S = 90.0
_FAILURES_BEFORE_READY_MAX = 3
_BOUND_LOGS_EVERY_S = 10.0
_STOP_ORDER = (
    ("policy",),
    ("governance", "reconciler"),
    ("venue-gateway", "kernel"),
    ("persistence",),
    (PAPER_VENUE, TWS_SIM),
    (POSTGRES, NATS),
)
_MODULES = {
    "kernel": "kestrel_kernel",
    "governance": "kestrel_governance",
    "venue-gateway": "kestrel_venue_gateway",
    "reconciler": "kestrel_reconciler",
    "persistence": "kestrel_persistence",
    "policy": "kestrel_policy",
}


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One line of the table."""

    name: str
    phase: str
    note: str
    pid: int
    port: int
    restarts: int
    ready_after_s: float | None


@dataclass(frozen=True, slots=True)
class PlatformState:
    """What the supervisor tells everybody, in ``state.json`` and on the screen."""

    overall: str  # starting, ready, stopping, stopped, failed
    pid: int
    started_at_s: float
    ready_after_s: float | None
    processes: tuple[ProcessState, ...]
    problem: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, stored: dict[str, object]) -> PlatformState | None:
        """None when the file holds nothing of the kind."""
        try:
            processes = tuple(ProcessState(**p) for p in stored["processes"])  # type: ignore[attr-defined]
            return cls(**{**stored, "processes": processes})  # type: ignore[arg-type]
        except (KeyError, TypeError):
            return None


class PlatformSupervisor:
    """Runs the platform until it is told to stop."""

    def __init__(
        self,
        layout: Layout,
        endpoints: Endpoints,
        options: PlatformOptions,
        *,
        observe: Callable[[PlatformState], None] = lambda state: None,
        handle_signals: bool = True,
    ) -> None:
        self._layout = layout
        self._endpoints = endpoints
        self._options = options
        self._observe = observe
        self._handle_signals = handle_signals
        self._began = time.monotonic()
        self._started_at_s = time.time()
        self._ready_after_s: float | None = None
        self._overall = "starting"
        self._problem = ""
        self._tails: dict[str, list[str]] = {}
        self._stop_asked = asyncio.Event()
        self._stop_count = 0
        self._processes = {spec.name: ManagedProcess(spec, self._changed) for spec in self._specs()}

    def state(self) -> PlatformState:
        return PlatformState(
            overall=self._overall,
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            ready_after_s=self._ready_after_s,
            processes=tuple(
                ProcessState(
                    name=p.name,
                    phase=p.phase.value,
                    note=p.note,
                    pid=p.pid if p.phase not in (Phase.WAITING, Phase.STOPPED) else 0,
                    port=self._endpoints.ports[p.name],
                    restarts=p.restarts,
                    ready_after_s=p.ready_after_s,
                )
                for p in self._processes.values()
            ),
            problem=self._problem,
        )

    async def run(self, ready: asyncio.Event | None = None) -> bool:
        """Start, watch, stop. True when it became ready and was stopped in good order."""
        if self._handle_signals:
            self._install_signals()  # before anything that takes time: who holds the lock may be told to stop
        self._prepare()
        tasks = [asyncio.create_task(p.run(self._dependencies(p)), name=p.name) for p in self._processes.values()]
        housekeeping = asyncio.create_task(self._bound_logs())
        try:
            if await self._become_ready():
                if ready is not None:
                    ready.set()
                await self._stop_asked.wait()
        finally:
            if ready is not None:
                ready.set()
            housekeeping.cancel()
            await self._stop_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, housekeeping, return_exceptions=True)
            self._overall = "failed" if self._problem else "stopped"
            self._changed()
            self._layout.children.unlink(missing_ok=True)
        return not self._problem

    def ask_to_stop(self) -> None:
        """Once: stop in good order. Twice: kill what is left."""
        self._stop_count += 1
        self._stop_asked.set()
        if self._stop_count > 1:
            for process in self._processes.values():
                process.kill()

    def log_tails(self) -> dict[str, list[str]]:
        """The last lines of those that kept the platform from starting, as they were when the start was given up."""
        return self._tails

    def _prepare(self) -> None:
        from kestrel_chassis import identity

        buses.quiet_libraries()
        stop_leftovers(self._layout.children)
        identity.create_laptop_secrets(self._layout.secrets)
        write_config(self._layout, self._endpoints, self._options)
        self._options.venue.save(self._layout)
        self._endpoints.save(self._layout.endpoints)
        self._changed()

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask_to_stop)

    async def _become_ready(self) -> bool:
        """Wait until everything is ready, or something gives up, or somebody asks to stop."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._stop_asked.is_set():
            if all(p.phase is Phase.READY for p in self._processes.values()):
                self._ready_after_s = time.monotonic() - self._began
                self._overall = "ready"
                self._changed()
                return True
            for process in self._processes.values():
                if process.failures_before_ready >= _FAILURES_BEFORE_READY_MAX:
                    failing = [p for p in self._processes.values() if p.failures_before_ready]
                    return self._give_up(f"{process.name} does not start: {process.note}", failing)
            if time.monotonic() > deadline:
                late = [p for p in self._processes.values() if p.phase is not Phase.READY]
                told = ", ".join(f"{p.name} ({p.note or p.phase})" for p in late)
                return self._give_up(f"not ready after {READY_TIMEOUT_S:.0f} s: {told}", [p for p in late if p.pid])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._stop_asked.wait()
        return False

    def _give_up(self, problem: str, because_of: list[ManagedProcess]) -> bool:
        self._problem = problem
        self._tails = {process.name: process.log_tail() for process in because_of}
        return False

    async def _stop_all(self) -> None:
        self._overall = "stopping"
        self._changed()
        for process in self._processes.values():
            process.restart_no_more()
        for group in _STOP_ORDER:
            await asyncio.gather(*(self._processes[name].stop() for name in group if name in self._processes))

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_BOUND_LOGS_EVERY_S)
            for process in self._processes.values():
                process.bound_log()

    def _changed(self) -> None:
        if not hasattr(self, "_processes"):
            return
        state = self.state()
        with contextlib.suppress(OSError):
            write_whole(self._layout.state, state.to_json())
            record_children(self._layout.children, list(self._processes.values()))
        self._observe(state)

    def _dependencies(self, process: ManagedProcess) -> list[ManagedProcess]:
        return [self._processes[name] for name in process.spec.after]

    def _specs(self) -> list[ProcessSpec]:
        layout, endpoints = self._layout, self._endpoints
        specs = [
            ProcessSpec(
                name=NATS,
                command=lambda: servers.nats_command(layout, endpoints),
                probe=lambda: probes.nats(endpoints),
                complete=lambda: buses.provision_streams(layout),
                log=layout.log(NATS),
            ),
            ProcessSpec(
                name=POSTGRES,
                command=lambda: servers.postgres_command(layout, endpoints),
                prepare=lambda: asyncio.to_thread(servers.initialize_postgres, layout),
                probe=lambda: probes.postgres(endpoints),
                complete=lambda: probes.create_database(layout, endpoints),
                log=layout.log(POSTGRES),
                user=servers.postgres_system_user,
                # "Fast" shutdown: running transactions are rolled back, nobody is waited for.
                stop_signal=signal.SIGINT,
                orphan_signal=signal.SIGQUIT,
            ),
        ]
        if self._options.venue.process:
            specs.append(self._venue_spec())
        for name in ("kernel", "governance", "venue-gateway", "reconciler", "persistence", "policy"):
            probe = probes.ServiceProbe(layout, endpoints, name)
            specs.append(self._python_spec(name, (NATS,), probe))
        return specs

    def _venue_spec(self) -> ProcessSpec:
        name = self._options.venue.process
        control = TWS_SIM_CONTROL if name == TWS_SIM else name
        command = simulator_command(self._layout, self._endpoints, self._options)
        return ProcessSpec(
            name=name,
            command=lambda: command,
            probe=lambda: probes.simulator(self._endpoints.address(control)),
            log=self._layout.log(name),
        )

    def _python_spec(self, name: str, after: tuple[str, ...], probe: Callable[[], probes.Probing]) -> ProcessSpec:
        python = self._options.venue.gateway_interpreter() if name == "venue-gateway" else sys.executable
        command = [python, "-m", _MODULES[name], "--config", str(self._layout.config)]
        return ProcessSpec(name=name, command=lambda: command, probe=probe, log=self._layout.log(name), after=after)


def simulator_command(layout: Layout, endpoints: Endpoints, options: PlatformOptions) -> list[str]:
    """A simulated venue is a broker, not one of our services: it has its own options and none of our settings."""
    venue, manners = options.venue, options.manners
    if venue.process == TWS_SIM:
        module, data, ports = "kestrel_simulators.tws", layout.tws_sim, endpoints.ports
        where = ["--port", str(ports[TWS_SIM]), "--admin-port", str(ports[TWS_SIM_CONTROL])]
    else:
        module, data = "kestrel_simulators.paper", layout.paper
        where = ["--port", str(endpoints.ports[PAPER_VENUE])]
    return [
        sys.executable, "-m", module, "--data", str(data), "--host", HOST, *where,
        "--mode", manners.mode, "--seed", str(manners.seed),
        "--delay-scale", str(Number(manners.delay_scale_permille, 3)),
        "--account", f"{venue.account}={WALLET}:{CURRENCY}",
    ]  # fmt: skip
