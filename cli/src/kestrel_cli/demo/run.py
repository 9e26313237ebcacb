"""``kestrel demo``: a platform of its own, the story, the proof, the report."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from rich.markup import escape

from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_cli import output
from kestrel_cli.demo import collect, counts, figures, follow, prices, report
from kestrel_cli.demo.by_hand import LIFETIME_S
from kestrel_cli.demo.desk import Desk, said
from kestrel_cli.demo.events import Totals
from kestrel_cli.demo.prices import DailyBar
from kestrel_cli.demo.scenario import Pace, Scenario
from kestrel_cli.demo.screen import Screen
from kestrel_cli.demo.stage import Stage, Story, is_busy
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_cli.platform import buses, servers
from kestrel_cli.platform.config import PlatformOptions, VenueManners
from kestrel_cli.platform.layout import Endpoints, Layout
from kestrel_cli.platform.lock import PlatformLock, holder_of
from kestrel_cli.platform.ports import claimed_ports
from kestrel_cli.platform.processes import stop_leftovers
from kestrel_cli.platform.running import failure
from kestrel_cli.platform.supervisor import PlatformState, PlatformSupervisor
from kestrel_cli.platform.venues import LIBRARIES, VenueChoice, VenueKind, chosen

MODE = "realistic"
DELAY_SCALE_PERMILLE = 150
"""Delays of 10 to 30 s become 1.5 to 4.5 s, so that they fit into the demo."""

PARTITIONS = 1
DAY_PACE_S, WARM_UP_DAY_S = 0.28, 0.02
TRADING_WITHIN_S = 40.0
"""How long the days after the warm-up may take in all: more days go by faster."""

BAR_SHARE, BAR_DAYS_WITHIN_S, BAR_DAY_S_MIN, BAR_DAYS_MAX = 0.6, 30.0, 0.17, 400
"""Of a venue that tells prices and no days: the part of a market day that a bar covers, how long all days may take with
those of the warm-up, how short one may be, and how many fit into a demo then."""

_STRATEGY_SETTINGS = {"fast_days": 10, "slow_days": 30, "volatility_days": 30, "holding_days_max": 25}
_WARM_UP_DAYS = 31
_REST_WITHIN_S = 20.0
_STORY_WITHIN_S = 120.0
_COMPARE_WITHIN_S, _COMPARE_EVERY_S = 12.0, 3.0
_POLL_S = 0.2
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user may choose."""

    data: Path | None = None
    seed: int = 7
    days: int = 140
    out: Path = Path("var/demo")
    json: bool = False
    venue: VenueKind = VenueKind.TWS_SIM
    library: str = LIBRARIES[0]


@dataclass(slots=True)
class _Run:
    """One demo: its platform and what was learned."""

    options: DemoOptions
    bars: Sequence[DailyBar]
    layout: Layout
    endpoints: Endpoints
    venue: VenueChoice
    pace: Pace
    began: float = field(default_factory=time.monotonic)
    totals: Totals = field(default_factory=Totals)
    result: report.Result | None = None


def run_demo(options: DemoOptions) -> int:
    """Run it; the exit code. Raises CommandFailed for bad data, or when the platform does not start."""
    bars = prices.last_days(prices.read_bars(options.data) if options.data else prices.bundled_bars(), options.days)
    pace = pace_of(options.venue, len({bar.day for bar in bars}))
    layout = Layout((options.out / "platform").resolve())
    holder = holder_of(layout.lock)
    if holder is not None:
        raise CommandFailed(
            f"another demo runs in {layout.root} (pid {holder.pid})",
            next_step="wait for it, stop it with Ctrl-C, or choose another folder with --out",
        )
    stop_leftovers(layout.children)
    shutil.rmtree(layout.root, ignore_errors=True)
    layout.create()
    symbols = sorted({bar.symbol for bar in bars})
    venue = chosen(layout, kind=options.venue, library=options.library, symbols=symbols)
    with PlatformLock(layout.lock) as lock:
        if not lock.acquire():
            raise CommandFailed(f"another demo has just begun in {layout.root}", next_step="choose another --out")
        with claimed_ports(None) as endpoints:
            return asyncio.run(_demonstrate(_Run(options, bars, layout, endpoints, venue, pace)))


async def _demonstrate(run: _Run) -> int:
    manners = VenueManners(MODE, run.options.seed, DELAY_SCALE_PERMILLE)
    platform = PlatformOptions(manners, _settings(run.pace), run.venue)
    with Screen(run.totals, quiet=run.options.json) as screen:
        screen.say(f"PAPER, no real money moves: {run.venue.told}, account {run.venue.account}")
        supervisor = PlatformSupervisor(
            run.layout, run.endpoints, platform, observe=_StartTeller(screen), handle_signals=False
        )
        ready = asyncio.Event()
        keeper = asyncio.create_task(supervisor.run(ready))
        opening = asyncio.create_task(_open_market(run))
        story = asyncio.create_task(_when_ready(run, screen, supervisor, ready))
        _stop_on_signals(story, supervisor)
        try:
            await story
        except asyncio.CancelledError:
            screen.say("[yellow]interrupted: stopping everything in good order[/]")
            return _INTERRUPTED
        except CommandFailed:
            raise
        except Exception as error:
            raise _failed(run, error) from error
        finally:
            opening.cancel()
            screen.totals.stage = "stopping"
            supervisor.ask_to_stop()
            started_well = await keeper
        if not started_well:
            raise failure(supervisor.state().problem, supervisor.log_tails(), run.layout)
    return _conclude(run)


def pace_of(venue: VenueKind, day_count: int) -> Pace:
    """How fast so many days go by. Raises CommandFailed for more than fit."""
    day_s = min(DAY_PACE_S, TRADING_WITHIN_S / max(day_count - _WARM_UP_DAYS, 1))
    if venue is VenueKind.PAPER:
        return Pace(WARM_UP_DAY_S, day_s)
    if day_count > BAR_DAYS_MAX:
        raise CommandFailed(
            f"{day_count} days do not fit into a demo at this venue, where a day takes at least {BAR_DAY_S_MIN} s",
            next_step=f"choose --days {BAR_DAYS_MAX} or fewer, or --venue paper",
            code=USAGE,
        )
    day_s = max(min(DAY_PACE_S, BAR_DAYS_WITHIN_S / day_count), BAR_DAY_S_MIN)
    return Pace(day_s, day_s, round(BAR_SHARE * day_s, 3))


def _settings(pace: Pace) -> dict[str, dict[str, Any]]:
    """What the demo tells the services beyond the usual, by section."""
    policy = {"momentum": _STRATEGY_SETTINGS, "manual_intent_lifetime_s": LIFETIME_S}
    if not pace.bar_interval_s:
        return {"policy": policy}
    return {"policy": policy, "venue-gateway": {"ibkr_bar_interval_s": pace.bar_interval_s}}


async def _open_market(run: _Run) -> None:
    """Publish the first day as soon as the venue listens: what has no price yet has no contract there either."""
    first_day = min(bar.day for bar in run.bars)
    desk = Desk(run.layout, run.endpoints, run.venue)
    try:
        for bar in run.bars:
            if bar.day == first_day:
                await desk.publish(bar.message(), wait_for_venue=True)
    except grpc.aio.AioRpcError:
        pass  # the supervisor says what is wrong with the venue, and the story publishes the day again
    finally:
        await desk.close()


async def _when_ready(run: _Run, screen: Screen, supervisor: PlatformSupervisor, ready: asyncio.Event) -> None:
    """The demo proper, once the platform is ready; returns at once when it did not start."""
    await ready.wait()
    if supervisor.state().overall != "ready":
        return
    screen.say(f"ready after {supervisor.state().ready_after_s:.1f} s; logs are in {run.layout.logs}")
    desk = Desk(run.layout, run.endpoints, run.venue)
    try:
        async with buses.connected_bus(run.layout) as bus:
            following = asyncio.create_task(follow.follow(bus, screen, PARTITIONS))
            try:
                scenario = _scenario(run, bus, desk, screen)
                async with asyncio.timeout(_STORY_WITHIN_S):
                    await scenario.run()
                screen.totals.stage = "coming to rest"
                last_run = await _compare(desk)
                at_rest = await _come_to_rest(run, bus, desk)
                screen.totals.stage = "proving"
                run.result = await _prove(run, bus, desk, scenario.story, last_run, at_rest=at_rest)
                screen.say("[green]three books compared, chains recomputed[/]")
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    finally:
        await desk.close()


def _failed(run: _Run, error: Exception) -> CommandFailed:
    """What the demo was at, what went wrong, and where to look."""
    what = said(error) if isinstance(error, grpc.aio.AioRpcError) else str(error) or type(error).__name__
    return CommandFailed(
        f"the demo failed while {run.totals.stage}: {what}",
        next_step=f"look at {run.layout.logs}; the data is still there: kestrel up --data-dir {run.layout.root}",
    )


def _scenario(run: _Run, bus: Any, desk: Desk, screen: Screen) -> Scenario:
    day_count = len({bar.day for bar in run.bars})
    if day_count <= _WARM_UP_DAYS:
        screen.say(f"[yellow]too few days ({day_count}): the strategy needs {_WARM_UP_DAYS} before it trades[/]")
    screen.say(f"{day_count} days of {len({bar.symbol for bar in run.bars})} symbols, venue seed {run.options.seed}")
    return Scenario(Stage(desk, screen, run.options.seed), bus, run.bars, _WARM_UP_DAYS, run.pace)


async def _come_to_rest(run: _Run, bus: Any, desk: Desk) -> bool:
    """Wait until all inputs are journaled and all streams are in the database. False when the bound is reached."""
    dsn = servers.database_url(run.layout, run.endpoints)
    deadline = time.monotonic() + _REST_WITHIN_S
    while time.monotonic() < deadline:
        if await desk.has_journaled_all(bus) and not any(is_busy(slot) for slot in await desk.open_slots()):
            behind = await _behind(bus, await collect.stream_positions(dsn))
            if not behind:
                return True
        await asyncio.sleep(_POLL_S)
    return False


async def _compare(desk: Desk) -> Any:
    """The last comparison. What is only suspected is asked again: a wallet may be told a moment after its fills."""
    deadline = time.monotonic() + _COMPARE_WITHIN_S
    while True:
        run = await desk.compare_now()
        if run.verdict != reconcile_pb2.RUN_VERDICT_SUSPECTED or time.monotonic() > deadline:
            return run
        await asyncio.sleep(_COMPARE_EVERY_S)


async def _behind(bus: Any, positions: dict[str, int]) -> list[str]:
    """Streams of which the database does not have everything."""
    behind = []
    for stream, position in positions.items():
        if (await bus.stream_state(stream)).last_sequence > position:
            behind.append(stream)
    return behind


async def _prove(run: _Run, bus: Any, desk: Desk, story: Story, last_run: Any, *, at_rest: bool) -> report.Result:
    """Compare the three books, verify the chains, measure."""
    ledger = await desk.ledger()
    journal = await collect.read_journal(bus, PARTITIONS, run.venue.account)
    database = await collect.read_database(servers.database_url(run.layout, run.endpoints), run.venue.account)
    audit = await desk.verify()
    venue_book = collect.read_venue(ledger)
    comparison = counts.compare(venue_book, journal.book, database.book)
    problems = [*story.problems, *database.problems]
    if not venue_book.orders:
        problems.append("nothing was ordered: there was nothing to lose")
    if not at_rest:
        problems.append(f"not at rest within {_REST_WITHIN_S:.0f} s")
    return report.Result(
        comparison=comparison,
        chain_verified=audit.verified,
        chains=[output.plain(chain) for chain in audit.chains],
        story=story,
        journal=journal,
        database=database,
        latencies=[figures.latency(hop, database.latencies_ns.get(hop, [])) for hop, _ in collect.LATENCY_HOPS],
        venue_orders=len(venue_book.orders),
        venue_fills=len(venue_book.fills),
        repeated_requests=collect.repeated_requests(ledger),
        last_run=output.enum_name(reconcile_pb2.RunVerdict, last_run.verdict),
        options={
            "venue": run.venue.kind.value,
            "library": run.venue.library if run.venue.kind is not VenueKind.PAPER else "",
            "told": run.venue.told,
            "account": run.venue.account,
            "mode": MODE,
            "seed": run.options.seed,
            "days": run.options.days,
            "data": str(run.options.data) if run.options.data else "bundled",
            "delay_scale_permille": DELAY_SCALE_PERMILLE,
        },
        elapsed_s=time.monotonic() - run.began,
        at_rest=at_rest and story.flat,
        problems=problems,
    )


def _conclude(run: _Run) -> int:
    """Write the report and say how it went; the exit code."""
    result = run.result
    if result is None:
        raise CommandFailed("the demo ended before its proof", next_step=f"logs are in {run.layout.logs}")
    json_path, html_path = report.write_report(result, run.options.out)
    if run.options.json:
        output.print_json(report.to_object(result))
        return 0 if result.good else 1
    screen = output.console()
    screen.print(_verdict_table(result))
    for problem in (*result.comparison.findings, *result.problems):
        screen.print(f"[yellow]![/] {escape(problem)}", soft_wrap=True)
    screen.print(f"report   {escape(str(html_path))}\nfigures  {escape(str(json_path))}", soft_wrap=True)
    screen.print(f"logs     {escape(str(run.layout.logs))}", soft_wrap=True)
    return 0 if result.good else 1


def _verdict_table(result: report.Result) -> Any:
    comparison = result.comparison
    counted = (
        ("orders lost", comparison.orders_lost),
        ("orders doubled", comparison.orders_doubled),
        ("fills lost", comparison.fills_lost),
        ("fills doubled", comparison.fills_doubled),
    )
    rows = [(name, f"[green]{count}[/]" if not count else f"[bold red]{count}[/]") for name, count in counted]
    rows.append(("chain", "[green]verified[/]" if result.chain_verified else "[bold red]broken[/]"))
    rows.append(("orders / fills at the venue", f"{result.venue_orders} / {result.venue_fills}"))
    rows.append(("venue", escape(result.options["told"])))
    rows.append(("last reconciliation", output.word(result.last_run)))
    rows.append(("took", f"{result.elapsed_s:.0f} s"))
    return output.table("Kestrel, a demonstration", ("", ""), rows)


class _StartTeller:
    """Says once that each process is ready, and every trouble."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._phases: dict[str, str] = {}

    def __call__(self, state: PlatformState) -> None:
        for process in state.processes:
            if self._phases.get(process.name) == process.phase:
                continue
            self._phases[process.name] = process.phase
            if process.phase == "ready":
                self._screen.say(f"[green]●[/] {process.name} is ready")
            elif process.phase in ("restarting", "not ready"):
                self._screen.say(f"[yellow]◐[/] {process.name}: {process.phase} {escape(process.note)}")


def _stop_on_signals(story: asyncio.Task[None], supervisor: PlatformSupervisor) -> None:
    """Ctrl-C ends the story, which stops everything; once more kills what is left."""

    def stop() -> None:
        if story.cancelling():
            supervisor.ask_to_stop()
            supervisor.ask_to_stop()
        story.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop)
