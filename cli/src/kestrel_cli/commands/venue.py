"""Venues before they are traded at: is there one, is it ours to use, does it answer everything that will be asked?"""

from __future__ import annotations

import json as json_format
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from kestrel_cli import options, output
from kestrel_cli.commands.lifecycle import Library
from kestrel_cli.errors import REFUSED, USAGE, CommandFailed
from kestrel_cli.platform.layout import HOST, TWS_SIM, Endpoints, Layout
from kestrel_cli.platform.venues import GATEWAY_PAPER_PORT, VenueChoice, VenueKind

venue_app = typer.Typer(no_args_is_help=True, help="Venues before they are traded at.")
_MODULE = "kestrel_venue_gateway.ibkr.check"
_END_TIMEOUT_S = 10.0


class Checked(StrEnum):
    """The venues that have a checklist."""

    IBKR = "ibkr"


def register(app: typer.Typer) -> None:
    app.add_typer(venue_app, name="venue")


@venue_app.command("check")
def check(
    venue: Annotated[Checked, typer.Argument(help="Which venue.")],
    host: Annotated[str, typer.Option("--host", help="Where TWS or IB Gateway runs.")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Its API's port.")] = 0,
    account: Annotated[str, typer.Option("--account", help="The account; the login's only one when not given.")] = "",
    library: Annotated[Library | None, typer.Option("--library", help="What speaks to TWS.")] = None,
    symbol: Annotated[str, typer.Option("--symbol", help="Asked about, and traded with --trade.")] = "AAPL",
    client_id: Annotated[int, typer.Option("--client-id", min=1, help="Not the gateway's own.")] = 79,
    trade: Annotated[
        bool, typer.Option("--trade", help="Buy one share and sell it, at the market. Paper accounts only.")
    ] = False,
    yes: options.Yes = False,
    json: options.Json = False,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Ask a TWS or IB Gateway everything that Kestrel will ask of it. Reads only, unless told to trade one share.

    Where it is and whose account: as said here, else as the platform in the data directory was told, else
    127.0.0.1:4002. Exit code 0 when nothing failed.

    [dim]Examples:[/]
      kestrel venue check ibkr
      kestrel venue check ibkr --port 7497 --account DU1234567 --library ib_async
      kestrel venue check ibkr --trade --symbol IBM
    """
    choice = _choice(data_dir, host=host, port=port, account=account, library=library.value if library else "")
    if trade and not yes:
        _ask_before_trading(choice, symbol, can_ask=not json)
    command = [
        choice.gateway_interpreter(), "-m", _MODULE, "--host", choice.host, "--port", str(choice.port),
        "--library", choice.library, "--symbol", symbol, "--client-id", str(client_id),
        *(["--account", choice.account] if choice.account else []), *(["--trade"] if trade else []),
    ]  # fmt: skip
    lines = _show_progress(_lines(command), quiet=json)
    failed = [line for line in lines if line["verdict"] == "FAIL"]
    if json:
        output.print_json({"venue": venue.value, "good": not failed, "checks": lines})
    else:
        _show(choice, lines)
    if failed:
        raise typer.Exit(REFUSED)


def _ask_before_trading(choice: VenueChoice, symbol: str, *, can_ask: bool) -> None:
    if not can_ask:
        raise CommandFailed("--trade asks first, and --json leaves no room for it", next_step="add --yes", code=USAGE)
    where = f"{choice.host}:{choice.port}"
    typer.confirm(f"Buy one share of {symbol} at {where} on a paper account, and sell it?", abort=True)


def _choice(data_dir: Path, *, host: str, port: int, account: str, library: str) -> VenueChoice:
    """Where to look: what was said, before what the platform there was told, before the usual."""
    layout = Layout(data_dir.resolve())
    known = VenueChoice.load(layout)
    if known is None or known.kind is VenueKind.PAPER or host or port:
        known = VenueChoice(VenueKind.IBKR, "", host=HOST, port=GATEWAY_PAPER_PORT)
    endpoints = Endpoints.load(layout.endpoints)
    if known.kind is VenueKind.TWS_SIM and endpoints is not None:
        known = VenueChoice(VenueKind.IBKR, known.account, known.library, port=endpoints.ports[TWS_SIM])
    return VenueChoice(
        VenueKind.IBKR,
        account or known.account,
        library or known.library,
        host=host or known.host,
        port=port or known.port,
    )


def _lines(command: list[str]) -> Iterator[dict[str, Any]]:
    """The checklist's lines, as they come. Raises CommandFailed when it ends without its last one."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    count = 0
    try:
        assert process.stdout is not None
        for text in process.stdout:
            count += 1
            yield json_format.loads(text)
        _, complaints = process.communicate(timeout=_END_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    if process.returncode not in (0, 1) or not count:
        said = complaints.strip().splitlines()[-1:] or ["it said nothing"]
        raise CommandFailed(f"the check itself broke: {said[0]}", next_step=f"run it alone: {' '.join(command)}")


def _show_progress(lines: Iterator[dict[str, Any]], *, quiet: bool) -> list[dict[str, Any]]:
    if quiet or not sys.stderr.isatty():
        return list(lines)
    found = []
    with output.console(stderr=True).status("connecting") as status:
        for line in lines:
            found.append(line)
            status.update(f"after: {line['name']}")
    return found


def _show(choice: VenueChoice, lines: list[dict[str, Any]]) -> None:
    rows = [
        (output.word(line["verdict"]), line["name"], escape(line["said"]), f"{line['took_ms']} ms") for line in lines
    ]
    title = f"Interactive Brokers at {choice.host}:{choice.port}"
    screen = output.console()
    screen.print(output.table(title, ("", "question", "note", "took"), rows, right=("took",)))
    count = {verdict: sum(1 for line in lines if line["verdict"] == verdict) for verdict in ("PASS", "FAIL", "SKIP")}
    screen.print(
        f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} not asked"
        "  ·  [dim]settings and outages: docs/venues/ibkr.md[/]"
    )
