"""Running the platform: up, down, status; the demo; benchmarks."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from kestrel.admin.v1 import governance_pb2, status_pb2, venue_gateway_pb2
from kestrel.common.v1 import common_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.commands.authority import kill_flags_table
from kestrel_cli.errors import CommandFailed, not_running
from kestrel_cli.platform.config import PlatformOptions, VenueManners, environment_of
from kestrel_cli.platform.layout import DEFAULT_PORT_BASE, SERVICES, Endpoints, Layout, read_json
from kestrel_cli.platform.lock import Holder, holder_of
from kestrel_cli.platform.supervisor import PlatformState
from kestrel_cli.platform.table import light, money_banner
from kestrel_cli.platform.venues import VenueChoice, VenueKind, chosen
from kestrel_domain.timestamps import SECOND_NS

STOP_TIMEOUT_S = 40.0
_STATUS_TIMEOUT_S = 3.0
_FIGURES_SHOWN = 4
_PLUMBING = ("admin.", "bus.")
_STANDING_BY = "standing_by"
_FLAGS_UNREADABLE = "FLAGS_UNREADABLE"
_MEBIBYTE = 1024 * 1024


class Mode(StrEnum):
    """How well a simulated venue behaves (T15)."""

    REALISTIC = "realistic"
    INSTANT = "instant"
    ADVERSARIAL = "adversarial"


class DemoVenue(StrEnum):
    """The venues whose prices a demo can make."""

    PAPER = "paper"
    TWS_SIM = "tws-sim"


class Library(StrEnum):
    """Which client library speaks to TWS."""

    IB_INSYNC = "ib_insync"
    IB_ASYNC = "ib_async"


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(demo)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def up(
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Come back when it is ready; it goes on running.")
    ] = False,
    venue: Annotated[
        VenueKind | None, typer.Option("--venue", help="Where orders go; as last time in this directory, else paper.")
    ] = None,
    account: Annotated[
        str, typer.Option("--account", help="The account there. Interactive Brokers: a paper account, DU… or DF….")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="Where TWS or IB Gateway runs; 127.0.0.1.")] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Its API's port: 4002 is Gateway's for paper, 7497 TWS's.")
    ] = 0,
    library: Annotated[
        Library | None, typer.Option("--library", help="What speaks to TWS; as last time, else ib_insync.")
    ] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option("--symbol", help="Take prices of it, as SYMBOL or SYMBOL:EXCHANGE:CURRENCY; repeatable."),
    ] = None,
    mode: Annotated[Mode, typer.Option("--mode", help="How well a simulated venue behaves.")] = Mode.REALISTIC,
    seed: Annotated[int, typer.Option("--seed", min=0, help="A simulated venue's chance.")] = 1,
    port_base: Annotated[
        int | None,
        typer.Option(
            "--port-base", min=1024, max=65_000, help=f"Ports from here on; {DEFAULT_PORT_BASE} or the next free."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Start the whole platform on this machine: NATS, PostgreSQL, six services, and the venue unless it is a real one.

    Venues: paper, our own; tws-sim, a simulated Interactive Brokers, spoken to in TWS's own protocol; ibkr, a TWS or IB
    Gateway that you started and logged in with a paper user. Ctrl-C stops it in good order; a second Ctrl-C at once.

    [dim]Examples:[/]
      kestrel up
      kestrel up --detach --mode instant --seed 7
      kestrel up --venue tws-sim --symbol AAPL --data-dir var/tws
      kestrel up --venue ibkr --port 7497 --account DU1234567 --symbol AAPL --data-dir var/ibkr
    """
    from kestrel_cli.platform import running

    layout = Layout(data_dir.resolve())
    choice = chosen(
        layout,
        kind=venue,
        account=account,
        host=host,
        port=port,
        library=library.value if library else "",
        symbols=symbol or (),
    )
    wanted = PlatformOptions(VenueManners(mode=mode.value, seed=seed), venue=choice)
    if detach:
        running.run_detached(layout, wanted, port_base, data_dir, json=json)
    else:
        running.run_in_foreground(layout, wanted, port_base, data_dir, json=json)


def down(
    force: Annotated[bool, typer.Option("--force", help="Kill it when it does not stop in time.")] = False,
    json: options.Json = False,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Stop the platform in good order, from anywhere.

    [dim]Example:[/]
      kestrel down
    """
    layout = Layout(data_dir.resolve())
    holder = holder_of(layout.lock)
    if holder is None and json:
        output.print_json({"state": "not running", "data_dir": str(layout.root)})
        return
    if holder is None:
        output.console().print(f"[dim]Kestrel does not run in {escape(str(data_dir))}; nothing to stop.[/]")
        return
    process = holder.process()
    if process is None:
        raise CommandFailed(
            f"something holds {layout.lock}, and it is not the process written there (pid {holder.pid})",
            next_step=f"find it: lsof {layout.lock}",
        )
    process.send_signal(signal.SIGTERM)
    with output.console(stderr=True).status("stopping in reverse order"):
        stopped = _wait_until_stopped(layout, STOP_TIMEOUT_S)
    if not stopped and force:
        process.kill()
        stopped = _wait_until_stopped(layout, STOP_TIMEOUT_S)
    if not stopped:
        raise CommandFailed(
            f"Kestrel (pid {holder.pid}) did not stop within {STOP_TIMEOUT_S:.0f} s",
            next_step="look at its logs, or end it at once: kestrel down --force",
        )
    if json:
        output.print_json({"state": "stopped", "pid": holder.pid, "data_dir": str(layout.root)})
    else:
        output.console().print("[green]✓[/] Kestrel is down")


def status(
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Every process: is it ready, since when, how much memory, how far behind; and what is killed.

    [dim]Examples:[/]
      kestrel status
      kestrel status --json | jq '.services[] | select(.ready | not)'
    """
    layout = Layout(data_dir.resolve())
    holder = holder_of(layout.lock)
    endpoints = Endpoints.load(layout.endpoints)
    if holder is None or endpoints is None:
        raise not_running(data_dir)
    state = PlatformState.from_json(read_json(layout.state))
    with clients.connect(data_dir, operator) as platform:
        services = {name: _ask_status(platform, name) for name in SERVICES}
        kill, sessions = _ask_flags(platform), _ask_sessions(platform)
    if json:
        output.print_json(_status_object(layout, holder, state, services, kill, sessions))
        return
    _show_status(layout, holder, state, services, kill, sessions)


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Your own daily bars, CSV or Parquet: date,symbol,open,high,low,close,volume."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The venue's chance: the same seed, the same venue.")] = 7,
    days: Annotated[int, typer.Option("--days", min=1, max=2_000, help="The last so many trading days.")] = 140,
    out: Annotated[Path, typer.Option("--out", help="Where the report goes.")] = Path("var/demo"),
    venue: Annotated[DemoVenue, typer.Option("--venue", help="Where orders go.")] = DemoVenue.TWS_SIM,
    library: Annotated[Library, typer.Option("--library", help="What speaks to TWS.")] = Library.IB_INSYNC,
    json: options.Json = False,
) -> None:
    """Watch decisions on real prices become approved, tokened, executed, reconciled and stored; ends by itself.

    The venue is a simulated TWS of Interactive Brokers, spoken to by a client library that knows no difference.
    Leaves report.json and report.html. Exit code 0 only when nothing was lost or doubled and the chain is verified.

    [dim]Examples:[/]
      kestrel demo
      kestrel demo --seed 11 --days 120
      kestrel demo --library ib_async
      kestrel demo --venue paper
      kestrel demo --data my-bars.csv --out var/mine
    """
    from kestrel_cli.demo.run import DemoOptions, run_demo

    chosen_venue = VenueKind(venue.value)
    raise typer.Exit(run_demo(DemoOptions(data, seed, days, out, json=json, venue=chosen_venue, library=library.value)))


def bench(context: typer.Context) -> None:
    """Benchmarks, one JSON file per area in var/bench/. Options go through to `python -m bench`.

    [dim]Example:[/]
      kestrel bench
    """
    if importlib.util.find_spec("bench") is None and not Path("bench").is_dir():
        raise CommandFailed("there is no bench/ here", next_step="run it in the repository's own folder")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "bench", *context.args], check=False).returncode)


def _wait_until_stopped(layout: Layout, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if holder_of(layout.lock) is None:
            return True
        time.sleep(0.1)
    return False


def _ask_status(platform: clients.Platform, service: str) -> status_pb2.GetStatusResponse | None:
    import grpc

    try:
        answer: status_pb2.GetStatusResponse = platform.status_stub(service).GetStatus(
            status_pb2.GetStatusRequest(), timeout=_STATUS_TIMEOUT_S
        )
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return None
        raise
    return answer


@dataclass(frozen=True, slots=True)
class KillState:
    """The kill flags; None and why when they are not known, which does not mean that entries are blocked."""

    flags: Any
    problem: str = ""


def _ask_flags(platform: clients.Platform) -> KillState:
    import grpc

    try:
        answer = platform.stub("governance").ListKillFlags(
            governance_pb2.ListKillFlagsRequest(), timeout=_STATUS_TIMEOUT_S
        )
    except grpc.RpcError as error:
        return KillState(None, flags_problem(clients.refusal_of(error)))
    return KillState(answer.flags)


def flags_problem(refusal: common_pb2.Refusal | None) -> str:
    """Only governance itself knows that entries are blocked; who hears nothing from it knows nothing."""
    if refusal is not None and refusal.reason == _FLAGS_UNREADABLE:
        return "kill flags cannot be read: entries are blocked"
    return "kill flags are not known: governance does not say"


def _ask_sessions(platform: clients.Platform) -> list[Any]:
    """The gateway's sessions, as far as it answers; ``status`` shows elsewhere that it does not."""
    import grpc

    try:
        answer = platform.stub("venue-gateway").ListSessions(
            venue_gateway_pb2.ListSessionsRequest(), timeout=_STATUS_TIMEOUT_S
        )
    except grpc.RpcError:
        return []
    return list(answer.sessions)


def _environments(services: dict[str, Any], sessions: list[Any], layout: Layout) -> set[str]:
    """What every service and session says it trades, in capitals; what was configured, while nobody answers."""
    said = {answer.environment.upper() for answer in services.values() if answer}
    said |= {session.environment.upper() for session in sessions}
    return said or {environment_of(layout).upper()}


def _status_object(
    layout: Layout,
    holder: Holder,
    state: PlatformState | None,
    services: dict[str, Any],
    kill: KillState,
    sessions: list[Any],
) -> dict[str, Any]:
    choice = VenueChoice.load(layout)
    return {
        "data_dir": str(layout.root),
        "environment": "/".join(sorted(_environments(services, sessions, layout))).lower(),
        "venue": {"name": choice.name, "account": choice.account, "told": choice.told} if choice else None,
        "sessions": [output.plain(session) for session in sessions],
        "pid": holder.pid,
        "state": overall(state, services),
        "processes": [
            {"name": p.name, "is": p.phase, "pid": p.pid, "port": p.port, "restarts": p.restarts, "note": p.note}
            for p in (state.processes if state else ())
        ],
        "services": [
            output.plain(answer) if answer else {"service": name, "ready": False, "reasons": ["does not answer"]}
            for name, answer in services.items()
        ],
        "kill_flags": None if kill.flags is None else [output.plain(flag) for flag in kill.flags],
    }


def _show_status(
    layout: Layout,
    holder: Holder,
    state: PlatformState | None,
    services: dict[str, Any],
    kill: KillState,
    sessions: list[Any],
) -> None:
    screen = output.console()
    screen.print(
        f"{money_banner(_environments(services, sessions, layout))}  ·  {output.word(overall(state, services))}"
        f"  ·  supervisor pid {holder.pid}  ·  {escape(str(layout.root))}"
    )
    waiting = _standing_by(services["venue-gateway"])
    screen.print(_venue_line(VenueChoice.load(layout), sessions, waiting), soft_wrap=True)
    if kill.problem:
        screen.print(f"[bold red]■ {kill.problem}[/]")
    elif kill.flags:
        screen.print("[bold white on red] KILLED [/]")
        screen.print(kill_flags_table(kill.flags))
    processes = {p.name: p for p in state.processes} if state else {}
    rows = [_service_row(name, answer, processes.get(name)) for name, answer in services.items()]
    rows += [_server_row(p) for p in processes.values() if p.name not in services]
    columns = ("", "process", "up since", "memory", "lag", "restarts", "figures", "note")
    screen.print(output.table("Processes", columns, rows, right=("memory", "lag", "restarts")))
    screen.print(f"[dim]logs {escape(str(layout.logs))}  ·  endpoints {escape(str(layout.endpoints))}[/]")


def overall(state: PlatformState | None, services: Mapping[str, status_pb2.GetStatusResponse | None]) -> str:
    """What the supervisor says of the whole; it was ready once, which is no word on those that are not now."""
    if state is None:
        return "unknown"
    is_whole = all(answer is not None and answer.ready for answer in services.values())
    is_whole = is_whole and all(process.phase == "ready" for process in state.processes)
    return "not ready" if state.overall == "ready" and not is_whole else state.overall


def _venue_line(choice: VenueChoice | None, sessions: list[Any], waiting: Collection[str] = ()) -> str:
    """Where orders go, and whether anybody is logged in there."""
    told = escape(choice.told) if choice else "not known"
    said = [f"{escape(session.account)} {_session_word(session, waiting)}" for session in sessions]
    return f"venue: {told}  ·  account {', '.join(said) or '[yellow]the gateway does not say[/]'}"


def _session_word(session: Any, waiting: Collection[str]) -> str:
    if f"session.{_STANDING_BY}.{session.venue}.{session.account}" in waiting:
        return "[yellow]stands by for whoever holds the login[/]"
    if not session.connected:
        return "[red]not connected[/]"
    if session.HasField("degraded"):
        return f"[yellow]connected, takes no entries: {escape(session.degraded.message)}[/]"
    return "[green]connected[/]"


def _service_row(name: str, answer: status_pb2.GetStatusResponse | None, process: Any) -> tuple[str, ...]:
    restarts = str(process.restarts) if process else ""
    if answer is None:
        return "[red]●[/]", name, "", "", "", restarts, "", "[red]does not answer[/]"
    figures = dict(answer.figures)
    telling = (k for k in sorted(figures) if figures[k] and not _is_lag(k) and not k.startswith(_PLUMBING))
    shown = [(key, figures[key]) for key in telling][:_FIGURES_SHOWN]
    return (
        "[green]●[/]" if answer.ready else "[yellow]◐[/]",
        name,
        output.moment(answer.started_at_ns),
        f"{answer.resident_bytes / _MEBIBYTE:.0f} MiB",
        _lag(figures),
        restarts,
        "[dim]" + escape("  ".join(f"{key} {value}" for key, value in shown)) + "[/]",
        "[yellow]" + escape("; ".join(_note(answer))) + "[/]",
    )


def _note(answer: status_pb2.GetStatusResponse) -> list[str]:
    """Who stands by for another instance may be ready, and yet serves nothing."""
    if not answer.ready:
        return list(answer.reasons)
    return ["stands by: another instance has the lease"] if _standing_by(answer) else []


def _standing_by(answer: status_pb2.GetStatusResponse | None) -> list[str]:
    return [name for name in sorted(answer.figures) if _STANDING_BY in name.split(".")] if answer else []


def _is_lag(name: str) -> bool:
    return "lag" in name.split(".")


def _lag(figures: Mapping[str, int]) -> str:
    """How far it is behind where it is furthest; who reads nothing has no such figure, and 0 would be a claim."""
    lags = [value for name, value in figures.items() if _is_lag(name)]
    if not lags:
        return "-"
    return f"[yellow]{max(lags)}[/]" if max(lags) else "0"


def _server_row(process: Any) -> tuple[str, ...]:
    import psutil

    memory, since = "", ""
    try:
        running = psutil.Process(process.pid)
        memory = f"{running.memory_info().rss / _MEBIBYTE:.0f} MiB"
        since = output.moment(int(running.create_time() * SECOND_NS))
    except psutil.Error:
        pass
    return light(process.phase), process.name, since, memory, "", str(process.restarts), "", escape(process.note)
