"""Market data for a simulated venue: it has only the prices it is given."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kestrel_cli import clients, options, output
from kestrel_cli.errors import CommandFailed


def register(app: typer.Typer) -> None:
    app.command("feed")(feed)


def feed(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="CSV or Parquet: date,symbol,open,high,low,close,volume. Else the bundled prices."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="Only the last so many days.")] = 90,
    pace: Annotated[float, typer.Option("--pace", min=0.0, help="Seconds from one day to the next.")] = 0.2,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Send daily bars to the simulated venue, one market day after the other. Strategies and orders follow them.

    The same bars again change nothing. Ctrl-C stops between two bars.

    [dim]Examples:[/]
      kestrel feed --days 120 --pace 0
      kestrel feed --data bars.csv --pace 1
    """
    from kestrel_cli.back_doors import back_door
    from kestrel_cli.demo import prices
    from kestrel_cli.demo.scenario import group_by_day

    bars = prices.last_days(prices.read_bars(data) if data else prices.bundled_bars(), days)
    market_days = group_by_day(bars)
    with clients.connect(data_dir, operator) as platform, _progress(quiet=json) as progress:
        door = back_door(platform.venue)
        venue = platform.back_door(door)
        task = progress.add_task("market days", total=len(market_days))
        for day, bars_of_day in market_days:
            began = time.monotonic()
            for bar in bars_of_day:
                try:
                    venue.PublishBar(door.publish(bar.message()), timeout=clients.TIMEOUT_S)
                except grpc.RpcError as error:
                    raise _refused(error, f"{bar.symbol} {bar.day}") from error
            progress.update(task, advance=1, description=f"{day:%Y-%m-%d}")
            time.sleep(max(0.0, pace - (time.monotonic() - began)))
    if json:
        output.print_json({"bars": len(bars), "days": len(market_days), "symbols": sorted({b.symbol for b in bars})})
        return
    output.console().print(f"[green]✓[/] {len(bars)} bars of {len(market_days)} days are at the venue")


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=output.console(stderr=True), transient=True, disable=quiet)


def _refused(error: grpc.RpcError, what: str) -> CommandFailed:
    refusal = clients.refusal_of(error)
    said = refusal.message if refusal is not None else error.details()
    return CommandFailed(f"the venue did not take {what}: {said}", next_step="kestrel status")
