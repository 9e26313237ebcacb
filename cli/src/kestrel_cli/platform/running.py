"""``kestrel up``: hold the lock, run the supervisor, show what happens; in the foreground or on its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from rich.live import Live
from rich.markup import escape

from kestrel_cli import output
from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.config import PlatformOptions, environment_of
from kestrel_cli.platform.layout import DEFAULT_PORT_BASE, Endpoints, Layout, read_json
from kestrel_cli.platform.lock import PlatformLock, holder_of
from kestrel_cli.platform.ports import claimed_ports
from kestrel_cli.platform.supervisor import READY_TIMEOUT_S, PlatformState, PlatformSupervisor
from kestrel_cli.platform.table import money_banner, process_table
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice, VenueKind

_DETACHED_TIMEOUT_S = READY_TIMEOUT_S + 30.0
_POLL_S = 0.1
_VENUE_TIMEOUT_S = 5.0
_LAST_LINES = 12


def run_in_foreground(
    layout: Layout, options: PlatformOptions, port_base: int | None, shown_dir: Path, *, json: bool = False
) -> None:
    """Run until Ctrl-C or SIGTERM, showing a table while starting. Raises CommandFailed when it does not start."""
    layout.create()
    with PlatformLock(layout.lock) as lock:
        if not lock.acquire():
            say_who_runs(layout, shown_dir, json=json)
            return
        require_venue(options.venue)
        live = Live(console=output.console(), refresh_per_second=8, transient=False)
        terminal = sys.stdout.isatty() and not json
        with claimed_ports(port_base, previous=Endpoints.load(layout.endpoints)) as endpoints:
            told = _Teller(layout, endpoints, options.venue, live if terminal else None, json=json)
            supervisor = PlatformSupervisor(layout, endpoints, options, observe=told)
            with live if terminal else _Nothing():
                good = asyncio.run(supervisor.run())
        if not good:
            raise failure(supervisor.state().problem, supervisor.log_tails(), layout, options.venue)
        if not json:
            output.console().print("[green]✓[/] everything is stopped")


def run_detached(
    layout: Layout, options: PlatformOptions, port_base: int | None, shown_dir: Path, *, json: bool = False
) -> None:
    """Start a supervisor of its own session and come back when the platform is ready."""
    if holder_of(layout.lock) is not None:
        say_who_runs(layout, shown_dir, json=json)
        return
    require_venue(options.venue)
    layout.create()
    layout.state.unlink(missing_ok=True)
    manners = options.manners
    command = [
        sys.executable, "-m", "kestrel_cli", "up", "--data-dir", str(layout.root),
        "--mode", manners.mode, "--seed", str(manners.seed), *venue_arguments(options.venue),
        *(["--port-base", str(port_base)] if port_base is not None else []),
    ]  # fmt: skip
    with layout.log("supervisor").open("ab") as log:
        said_before_bytes = log.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=os.getcwd()
        )
    state = _follow(layout, child, quiet=json)
    if state is None or state.overall != "ready":
        raise CommandFailed(
            f"Kestrel did not start: {_last_words(layout.log('supervisor'), since_bytes=said_before_bytes)}",
            next_step=f"{_ask_the_venue(options.venue)}look at {layout.logs}, then run `kestrel up` again",
        )
    endpoints = Endpoints.load(layout.endpoints)
    assert endpoints is not None, "written before anything starts"
    announce(layout, endpoints, options.venue, state, json=json)
    if not json:
        output.console().print("[dim]stop it: kestrel down[/]")


def venue_arguments(venue: VenueChoice) -> list[str]:
    """The same choice as options of ``kestrel up``."""
    said = ["--venue", venue.kind.value, "--account", venue.account]
    if venue.kind is VenueKind.PAPER:
        return said
    for symbol in venue.symbols:
        said += ["--symbol", symbol]
    where = ["--host", venue.host, "--port", str(venue.port)] if venue.kind is VenueKind.IBKR else []
    return [*said, "--library", venue.library, *where]


def require_venue(venue: VenueChoice) -> None:
    """A real TWS or Gateway is started by somebody else: it has to listen before the platform is worth starting.

    Raises CommandFailed. Once the platform runs it lives through every outage of the venue.
    """
    if venue.kind is not VenueKind.IBKR:
        return
    try:
        socket.create_connection((venue.host, venue.port), timeout=_VENUE_TIMEOUT_S).close()
    except OSError as error:
        raise CommandFailed(
            f"nothing answers at {venue.host}:{venue.port}: {error.strerror or error}",
            next_step="start TWS or IB Gateway, log in as the paper user, enable its socket API: docs/venues/ibkr.md",
        ) from error


def announce(
    layout: Layout, endpoints: Endpoints, venue: VenueChoice, state: PlatformState, *, json: bool = False
) -> None:
    """Whose money moves, and where everything is."""
    if json:
        output.print_json(
            {
                "state": state.overall,
                "pid": state.pid,
                "ready_after_s": state.ready_after_s,
                "environment": environment_of(layout),
                "venue": {"name": venue.name, "account": venue.account, "told": venue.told},
                "data_dir": str(layout.root),
                "configuration": str(layout.config),
                "logs": str(layout.logs),
                "ports": endpoints.ports,
            }
        )
        return
    screen = output.console()
    screen.print(
        f"\n[bold green]Kestrel is ready[/] after {state.ready_after_s or 0:.1f} s  ·  "
        + money_banner({environment_of(layout).upper()})
    )
    for name, value in (
        ("venue", f"{venue.told}, account {venue.account}"),
        ("data", layout.root),
        ("configuration", layout.config),
        ("credentials", layout.secrets / "operators"),
        ("logs", layout.logs),
        ("NATS", endpoints.nats_url),
        ("PostgreSQL", f"{endpoints.address('postgres')}, database kestrel, password in {layout.secrets}"),
    ):
        screen.print(f"  [dim]{name:<14}[/]{escape(str(value))}", soft_wrap=True)
    if endpoints.base != DEFAULT_PORT_BASE:
        screen.print(
            f"  [dim]{'ports':<14}[/]from {endpoints.base} on, instead of {DEFAULT_PORT_BASE};"
            " commands find them by themselves"
        )
    screen.print("  [dim]next[/]          kestrel status  ·  kestrel inbox  ·  kestrel --help\n")


def say_who_runs(layout: Layout, shown_dir: Path, *, json: bool = False) -> None:
    """A second ``up`` changes nothing; it says who runs and how to look at it."""
    holder = holder_of(layout.lock)
    if json:
        output.print_json(
            {"state": "already running", "pid": holder.pid if holder else 0, "data_dir": str(layout.root)}
        )
        return
    state = PlatformState.from_json(read_json(layout.state))
    since = f", since {output.moment(int(state.started_at_s * 1e9))}" if state else ""
    where = "" if str(shown_dir) == "var/kestrel" else f" --data-dir {shown_dir}"
    screen = output.console()
    pid = holder.pid if holder else "?"
    screen.print(
        f"[cyan]●[/] Kestrel already runs in {escape(str(shown_dir))} (pid {pid}{since}); nothing was started."
    )
    screen.print(f"  [dim]→ look at it: kestrel status{where}   stop it: kestrel down{where}[/]", soft_wrap=True)


def failure(
    problem: str, tails: dict[str, list[str]], layout: Layout, venue: VenueChoice = OUR_PAPER_VENUE
) -> CommandFailed:
    """What kept the platform from starting, with the last words of those that failed."""
    lines = [problem or "Kestrel did not start"]
    for name, tail in tails.items():
        lines += [f"--- the end of {layout.log(name)}", *tail]
    return CommandFailed(
        "\n".join(lines),
        next_step=f"{_ask_the_venue(venue)}logs are in {layout.logs}; fix the cause and run `kestrel up` again",
    )


def _ask_the_venue(venue: VenueChoice) -> str:
    """A real venue may say no for reasons of its own; its checklist names them."""
    if venue.kind is not VenueKind.IBKR:
        return ""
    where = f"--host {venue.host} --port {venue.port} --account {venue.account} --library {venue.library}"
    return f"ask the venue: kestrel venue check ibkr {where}; "


class _Teller:
    """Shows the supervisor's state: a live table on a terminal, one line per change elsewhere."""

    def __init__(
        self, layout: Layout, endpoints: Endpoints, venue: VenueChoice, live: Live | None, *, json: bool
    ) -> None:
        self._json = json
        self._venue = venue
        self._layout = layout
        self._endpoints = endpoints
        self._live = live
        self._announced = False
        self._phases: dict[str, str] = {}

    def __call__(self, state: PlatformState) -> None:
        if self._live is not None:
            self._live.update(process_table(state))
        elif not self._json:
            self._print_changes(state)
        if state.overall == "ready" and not self._announced:
            self._announced = True
            if self._live is not None:
                self._live.refresh()
            announce(self._layout, self._endpoints, self._venue, state, json=self._json)

    def _print_changes(self, state: PlatformState) -> None:
        for process in state.processes:
            if self._phases.get(process.name) != process.phase:
                self._phases[process.name] = process.phase
                note = f" ({process.note})" if process.note else ""
                print(f"{time.strftime('%H:%M:%S')} {process.name:<14} {process.phase}{note}", flush=True)


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *details: object) -> None:
        return None


def _follow(layout: Layout, child: subprocess.Popen[bytes], *, quiet: bool) -> PlatformState | None:
    """Show the starting platform's own state file until it is ready, has failed, or took too long."""
    deadline = time.monotonic() + _DETACHED_TIMEOUT_S
    state = None
    screen = output.console()
    with Live(console=screen, refresh_per_second=8) if screen.is_terminal and not quiet else _Nothing() as live:
        while time.monotonic() < deadline:
            found = PlatformState.from_json(read_json(layout.state))
            if found is not None and found.pid == child.pid:
                state = found
                if live is not None:
                    live.update(process_table(state))
            if child.poll() is not None or (state is not None and state.overall == "ready"):
                break
            time.sleep(_POLL_S)
    return state if child.poll() is None else None


def _last_words(log: Path, *, since_bytes: int) -> str:
    """Its complaint, whole, with the ends of other logs that are in it; without one, the end of what it wrote."""
    lines = log.read_bytes()[since_bytes:].decode(errors="replace").splitlines()
    complaints = [number for number, line in enumerate(lines) if line.startswith(output.COMPLAINT)]
    said = lines[complaints[-1] :] if complaints else lines[-_LAST_LINES:]
    words = "\n".join(line for line in said if not line.startswith(output.NEXT_STEP))
    return words.removeprefix(output.COMPLAINT).strip() or "it said nothing"
