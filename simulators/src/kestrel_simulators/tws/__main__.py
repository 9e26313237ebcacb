"""``kestrel-sim-tws``: start a broker that speaks the socket protocol of TWS and IB Gateway."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import grpc

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_simulators.matching import AMOUNT_SCALE, Chance, Costs, Mode
from kestrel_simulators.paper.wire import mode_number
from kestrel_simulators.stopping import until_stopped
from kestrel_simulators.tws.admin import start_admin
from kestrel_simulators.tws.money import Commission
from kestrel_simulators.tws.server import LOG_NAME, MESSAGES_PER_S, TwsProcess, start_server

STOP_GRACE_S = 0.5
PORT_MAX = 65535
DELAY_MS_MAX = 86_400_000
ACCOUNT = "DU1234567=1000000.00:USD"

EXAMPLES = """
examples:
  kestrel-sim-tws --data var/tws
      realistic manners on 127.0.0.1:4002, where a paper IB Gateway would listen, and account DU1234567
      with 1,000,000.00 USD; the admin door is on 127.0.0.1:7811
  kestrel-sim-tws --data var/tws --mode adversarial --seed 11 --delay-scale 0.05
      the same memory, worse manners from now on, and delays of 10 to 30 s shortened to a twentieth
  kestrel-sim-tws --data /tmp/tws --mode instant --port 0 --admin-port 0 --account DU7=50000.00:EUR
      any free ports (they are printed), and an account of your own

There are no contracts until the admin door (kestrel.tws.v1.TwsSimulatorControlService) was told a price of one.
Everything the broker was told is in DATA/tws.log; started again on the same folder, it goes on where it was.
Options that were not given keep what the log says.
"""


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. Returns 0, or 2 for an option, a port or a folder that cannot be used."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    try:
        return asyncio.run(_run(options))
    except KestrelError as error:
        print(f"kestrel-sim-tws: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


async def _run(options: argparse.Namespace) -> int:
    accounts = [_account_request(text) for text in options.account or [ACCOUNT]]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    process = _opened(options)
    tasks = [asyncio.create_task(process.run_log())]
    server: asyncio.Server | None = None
    admin: grpc.aio.Server | None = None
    try:
        await _apply_manners(process, options)
        for account in accounts:
            if account.account not in process.broker.desk.ledgers:
                await process.control(account)
        tasks += [asyncio.create_task(process.run_clock()), asyncio.create_task(process.run_watch())]
        server, port = await start_server(process, options.host, options.port)
        admin, admin_port = await start_admin(process, options.host, options.admin_port)
        print(_banner(process, options, port, admin_port), flush=True)
        await until_stopped("the simulated gateway", stop, process.failed, tasks)
    finally:
        if server is not None:
            server.close()
        if admin is not None:
            await admin.stop(STOP_GRACE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.close()
    return 0


def _opened(options: argparse.Namespace) -> TwsProcess:
    try:
        return TwsProcess(options.data, messages_per_s=options.messages_per_s)
    except OSError as error:
        raise InvalidRequest.of("data", options.data, f"a folder that can be written ({error.strerror})") from error


async def _apply_manners(process: TwsProcess, options: argparse.Namespace) -> None:
    """What the options ask for, as a record; nothing when it is so already."""
    engine, desk = process.broker.engine, process.broker.desk
    chance = engine.chance if process.record_count else Chance(Mode.REALISTIC, seed=7)
    wanted = Chance(
        Mode.parse(options.mode) if options.mode is not None else chance.mode,
        options.seed if options.seed is not None else chance.seed,
        _permille(options.delay_scale) if options.delay_scale is not None else chance.delay_scale_permille,
    )
    costs = Costs(0, 0, _ppm("slippage-bps", options.slippage_bps, engine.costs.slippage_ppm_max))
    commission, delay_ns = _commission(options, desk.commission), desk.commission_delay_ns
    if options.commission_delay_ms is not None:
        delay_ns = options.commission_delay_ms * MILLISECOND_NS
    now = (engine.chance, engine.costs, desk.commission, desk.commission_delay_ns)
    if process.record_count and (wanted, costs, commission, delay_ns) == now:
        return
    request = tws_pb2.SetModeRequest(
        mode=mode_number(wanted.mode),
        seed=wanted.seed,
        delay_scale_permille=wanted.delay_scale_permille,
        slippage_ppm_max=costs.slippage_ppm_max,
        commission=tws_pb2.Commission(
            per_unit=Number(commission.per_unit_units, AMOUNT_SCALE).message(),
            minimum=Number(commission.minimum_units, AMOUNT_SCALE).message(),
            notional_ppm_max=commission.notional_ppm_max,
        ),
        commission_delay_ms=delay_ns // MILLISECOND_NS,
    )
    await process.control(request)


def _permille(text: str) -> int:
    return Number.parse(text, scale=3, field="delay-scale").units


def _ppm(field: str, text: str | None, default: int) -> int:
    return default if text is None else Number.parse(text, scale=2, field=field).units


def _commission(options: argparse.Namespace, now: Commission) -> Commission:
    """The options on top of what holds now."""
    return Commission(
        _amount("commission-per-unit", options.commission_per_unit, now.per_unit_units),
        _amount("commission-minimum", options.commission_minimum, now.minimum_units),
        _ppm("commission-bps-max", options.commission_bps_max, now.notional_ppm_max),
    )


def _amount(field: str, text: str | None, default: int) -> int:
    return default if text is None else Number.parse(text, scale=AMOUNT_SCALE, field=field).units


def _account_request(text: str) -> tws_pb2.OpenAccountRequest:
    name, equals, rest = text.partition("=")
    wallet, colon, currency = rest.partition(":")
    if not equals or not colon:
        raise InvalidRequest.of("account", text, "NAME=WALLET:CURRENCY, such as DU1234567=1000000.00:USD")
    number = Number.parse(wallet, scale=AMOUNT_SCALE, field="account wallet")
    return tws_pb2.OpenAccountRequest(account=name, wallet=number.message(), currency=currency)


def _banner(process: TwsProcess, options: argparse.Namespace, port: int, admin_port: int) -> str:
    chance = process.broker.engine.chance
    manners = f"{chance.mode.value}, seed {chance.seed}, delays x {Number(chance.delay_scale_permille, 3)}"
    return (
        f"TWS simulator listening on {options.host}:{port}\n"
        f"  admin     {options.host}:{admin_port}\n"
        f"  manners   {manners}\n"
        f"  memory    {options.data / LOG_NAME} ({process.record_count} records)\n"
        f"  accounts  {', '.join(process.broker.desk.ledgers)}"
    )


def _whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _milliseconds(text: str) -> int:
    number = _whole(text)
    if number > DELAY_MS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a day, {DELAY_MS_MAX}")
    return number


def _port(text: str) -> int:
    number = _whole(text)
    if number > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {PORT_MAX}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kestrel-sim-tws",
        description="A broker for paper money that speaks the socket protocol of TWS and IB Gateway (version 176).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the broker's memory; made when missing")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=4002, help="for clients; 0: any free one (default %(default)s)")
    parser.add_argument(
        "--admin-port",
        "--control-port",
        type=_port,
        default=7811,
        help="of the admin door; 0: any (default %(default)s)",
    )
    parser.add_argument("--mode", help="instant, realistic or adversarial (a new broker: realistic)")
    parser.add_argument("--seed", type=_whole, help="of chance (a new broker: 7)")
    parser.add_argument("--delay-scale", help="multiplies the delays of 10 to 30 s, such as 0.05 (a new broker: 1.0)")
    parser.add_argument("--slippage-bps", help="the most a taker's price slips (a new broker: 0)")
    parser.add_argument("--commission-per-unit", help="of each execution (a new broker: 0.005)")
    parser.add_argument("--commission-minimum", help="of an order (a new broker: 1.00)")
    parser.add_argument("--commission-bps-max", help="at most this part of the notional (a new broker: 100.00)")
    parser.add_argument("--commission-delay-ms", type=_milliseconds, help="after its execution (a new broker: 100)")
    parser.add_argument(
        "--messages-per-s",
        type=_whole,
        default=MESSAGES_PER_S,
        help="what a client may send; more is refused with 100, then cut off; 0: no limit (default %(default)s)",
    )
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME=WALLET:CURRENCY",
        help=f"account to open, repeatable (default {ACCOUNT})",
    )
    levels = ("debug", "info", "warning", "error")
    parser.add_argument(
        "--log-level", choices=levels, default="warning", help="on standard error (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
