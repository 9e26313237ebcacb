"""``kestrel-sim-paper``: start the paper venue."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import grpc

from kestrel.paper.v1 import paper_pb2
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import AMOUNT_SCALE, Chance, Costs, Mode
from kestrel_simulators.paper import wire
from kestrel_simulators.paper.server import VenueProcess, start_server
from kestrel_simulators.paper.venue import Kind
from kestrel_simulators.stopping import until_stopped

STOP_GRACE_S = 0.5

EXAMPLES = """
examples:
  kestrel-sim-paper --data var/paper
      a venue with realistic manners on 127.0.0.1:7810, and account PAPER-1 with 1,000,000.00 USD
  kestrel-sim-paper --data var/paper --mode adversarial --seed 11
      the same memory, worse manners from now on
  kestrel-sim-paper --data /tmp/paper --mode instant --port 0 --account A=50000.00:EUR --account B=1000:USD
      any free port (it is printed), and two accounts of your own

Everything the venue did is in DATA/paper.log; started again on the same folder, it goes on where it was.
Options that were not given keep what the log says.
"""


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. Returns 0, or 2 for an option or a folder that cannot be used."""
    options = _parser().parse_args(argv)
    try:
        return asyncio.run(_run(options))
    except KestrelError as error:
        print(f"kestrel-sim-paper: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


async def _run(options: argparse.Namespace) -> int:
    accounts = [_account_request(text) for text in options.account or ["PAPER-1=1000000.00:USD"]]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    process = VenueProcess(options.data)
    tasks = [asyncio.create_task(process.run_log())]
    server: grpc.aio.Server | None = None
    try:
        await _apply_manners(process, options)
        for account in accounts:
            await process.change(Kind.OPEN_ACCOUNT, account)
        tasks.append(asyncio.create_task(process.run_clock()))
        server, port = await start_server(process, options.host, options.port)
        print(_banner(process, options, port), flush=True)
        await until_stopped("the paper venue", stop, process.failed, tasks)
    finally:
        if server is not None:
            await server.stop(STOP_GRACE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.close()
    return 0


async def _apply_manners(process: VenueProcess, options: argparse.Namespace) -> None:
    """What the options ask for, as a record; nothing when it is so already."""
    engine = process.venue.engine
    chance, costs = engine.chance, engine.costs
    if not process.record_count:
        chance = Chance(Mode.REALISTIC, seed=7)
    wanted = Chance(
        Mode.parse(options.mode) if options.mode is not None else chance.mode,
        options.seed if options.seed is not None else chance.seed,
        _permille(options.delay_scale) if options.delay_scale is not None else chance.delay_scale_permille,
    )
    wanted_costs = Costs(
        _ppm("taker-fee-bps", options.taker_fee_bps, costs.taker_fee_ppm),
        _ppm("maker-fee-bps", options.maker_fee_bps, costs.maker_fee_ppm),
        _ppm("slippage-bps", options.slippage_bps, costs.slippage_ppm_max),
    )
    if process.record_count and (wanted, wanted_costs) == (engine.chance, engine.costs):
        return
    request = paper_pb2.SetModeRequest(
        mode=wire.mode_number(wanted.mode),
        seed=wanted.seed,
        delay_scale_permille=wanted.delay_scale_permille,
        costs=paper_pb2.TradingCosts(
            taker_fee_ppm=wanted_costs.taker_fee_ppm,
            maker_fee_ppm=wanted_costs.maker_fee_ppm,
            slippage_ppm_max=wanted_costs.slippage_ppm_max,
        ),
    )
    await process.change(Kind.SET_MODE, request)


def _permille(text: str) -> int:
    return Number.parse(text, scale=3, field="delay-scale").units


def _ppm(field: str, text: str | None, default: int) -> int:
    return default if text is None else Number.parse(text, scale=2, field=field).units


def _account_request(text: str) -> paper_pb2.OpenAccountRequest:
    name, equals, rest = text.partition("=")
    wallet, colon, currency = rest.partition(":")
    if not equals or not colon:
        raise InvalidRequest.of("account", text, "NAME=WALLET:CURRENCY, such as PAPER-1=1000000.00:USD")
    number = Number.parse(wallet, scale=AMOUNT_SCALE, field="account wallet")
    return paper_pb2.OpenAccountRequest(account=name, wallet=number.message(), currency=currency)


def _banner(process: VenueProcess, options: argparse.Namespace, port: int) -> str:
    chance = process.venue.engine.chance
    manners = f"{chance.mode.value}, seed {chance.seed}, delays x {Number(chance.delay_scale_permille, 3)}"
    accounts = ", ".join(process.venue.engine.accounts)
    return (
        f"paper venue listening on {options.host}:{port}\n"
        f"  manners   {manners}\n"
        f"  memory    {options.data} ({process.record_count} records replayed)\n"
        f"  accounts  {accounts}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kestrel-sim-paper",
        description="A broker for paper money, in a process of its own, that survives kill -9.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the venue's memory; made when missing")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=7810, help="port; 0: any free one (default %(default)s)")
    parser.add_argument("--mode", help="instant, realistic or adversarial (a new venue: realistic)")
    parser.add_argument("--seed", type=int, help="of chance (a new venue: 7)")
    parser.add_argument("--delay-scale", help="multiplies the delays of 10 to 30 s, such as 0.05 (a new venue: 1.0)")
    parser.add_argument("--taker-fee-bps", help="in hundredths of a percent (a new venue: 5.00)")
    parser.add_argument("--maker-fee-bps", help="in hundredths of a percent (a new venue: 2.00)")
    parser.add_argument("--slippage-bps", help="the most a taker's price slips (a new venue: 2.00)")
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME=WALLET:CURRENCY",
        help="account to open, repeatable (default PAPER-1=1000000.00:USD)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
