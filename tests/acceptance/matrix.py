"""Every named fault of the TWS simulator at every step of an order's life, and what came of it.

    python -m tests.acceptance.matrix --library ib_insync --out one.json       (in .venv)
    python -m tests.acceptance.matrix --library ib_async --out two.json        (in .venv-ib-async)
    python -m tests.acceptance.matrix --write docs/venues/ibkr.md one.json two.json

After each cell the venue's own ledger is held against what was heard: 0 lost, 0 doubled, or the cell says FAILED.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from kestrel.kernel.v1 import journal_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome, Presence, SendResult
from tests.acceptance.places import TwsPlace
from tests.acceptance.run import be_quiet
from tests.acceptance.stand import BUY, SELL, Stand

BEGIN, END = "<!-- fault matrix: made by tests/acceptance/matrix.py -->", "<!-- end of the fault matrix -->"
IN_DOUBT_AFTER_S = 8.0
CELL_TIMEOUT_S = 90.0
FAULTS = [found.name.removeprefix("FAULT_") for found in tws_pb2.Fault.DESCRIPTOR.values if found.number]
_DELAY_MS = 3_000
"""Longer than the gateway waits for one answer here (2 s)."""

_LASTING = {"DELAY_REPLIES", "COMMISSION_NEVER", "STALE_PRICES", "WRONG_POSITION", "HALF_DEAD", "NO_END_MARKER"}
_ON_CONNECT = {"CLIENT_ID_IN_USE", "NEXT_ID_ROLLBACK", "HALF_DEAD"}
"""Only a new connection meets them."""


async def _switch_on(stand: Stand, fault: str, request: str) -> None:
    """``request``: what a fault of the socket waits for; lists that never end are those a reconnect asks for."""
    of_request = {"DROP_ON_REQUEST": request, "NO_END_MARKER": "REQ_OPEN_ORDERS"}
    await stand.broker.fault(
        fault, count=0 if fault in _LASTING else 1, delay_ms=_DELAY_MS, request=of_request.get(fault, "")
    )
    if fault in _ON_CONNECT:
        await stand.broker.drop_connections()


# --- the steps of an order's life ----------------------------------------------------------------------------------


async def entry(stand: Stand, fault: str) -> str:
    """A market order goes out while the fault is on."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(BUY, 10)
    return await _filled_or_known(stand, order, await stand.send(order))


async def exit_(stand: Stand, fault: str) -> str:
    """The way out of a position, while the fault is on."""
    await stand.filled(stand.order(BUY, 10))
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(SELL, 10, is_exit=True)
    return await _filled_or_known(stand, order, await stand.send(order))


async def cancel(stand: Stand, fault: str) -> str:
    """A working order is canceled while the fault is on."""
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    await _switch_on(stand, fault, "CANCEL_ORDER")
    first = await stand.cancel(order)
    await stand.broker.heal()
    if first.outcome is not Outcome.ACCEPTED:
        await stand.until_accepted_cancel(order)  # a cancel may be asked for again: it only takes risk away
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)

    async def agree() -> bool:
        return await stand.position() == stand.cum_qty(order)

    await stand.until(agree, "the position is what the fills say, however late they are")
    return "canceled" if not stand.fills(order) else "part filled, rest canceled"


async def venue_killed(stand: Stand, fault: str) -> str:
    """The venue's process is killed right after an order went out under the fault."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(BUY, 10, limit="90.00")
    result = await stand.send(order)
    await stand.behind.kill()
    await stand.behind.start()
    return await _working_or_known(stand, order, result)


async def gateway_killed(stand: Stand, fault: str) -> str:
    """The gateway dies right after an order went out under the fault, and the next one knows what the journal knows."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(BUY, 10, limit="90.00")
    result = await stand.send(order)
    await stand.broker.heal()
    await stand.reopen()
    return await _working_or_known(stand, order, result)


STEPS: dict[str, Callable[[Stand, str], Awaitable[str]]] = {
    "entry": entry,
    "cancel": cancel,
    "exit": exit_,
    "venue killed": venue_killed,
    "gateway killed": gateway_killed,
}


async def _filled_or_known(stand: Stand, order: journal_pb2.VenueCommand, result: SendResult) -> str:
    word = await _resolved(stand, order, result)
    if word in ("accepted", "found"):
        await stand.until_filled(order)
        assert stand.cum_qty(order) == Number(10, 0)
        return "filled" if word == "accepted" else "in doubt, found, filled"
    return word


async def _working_or_known(stand: Stand, order: journal_pb2.VenueCommand, result: SendResult) -> str:
    word = await _resolved(stand, order, result)
    if word in ("accepted", "found"):
        await stand.until_working(order)
        return "working" if word == "accepted" else "in doubt, found, working"
    return word


async def _resolved(stand: Stand, order: journal_pb2.VenueCommand, result: SendResult) -> str:
    """What a doubt comes to by asking, within some seconds; the gateway would go on asking and alert a person."""
    await stand.broker.heal()
    match result.outcome:
        case Outcome.ACCEPTED:
            return "accepted"
        case Outcome.REJECTED:
            return "rejected"
        case Outcome.NOT_SENT:
            return "not sent"
    found: list[Presence] = []

    async def answered() -> bool:
        answer = await stand.venue.ask(order.client_order_id, fence=stand.venue.traits.fences)
        found.append(answer.presence)
        return answer.presence in (Presence.FOUND, Presence.REJECTED)

    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + IN_DOUBT_AFTER_S
    while loop.time() < deadline_s:
        if await answered():
            return "found" if found[-1] is Presence.FOUND else "in doubt, found, rejected"
        await asyncio.sleep(0.2)
    ledger = await stand.behind.ledger()
    assert order.client_order_id not in ledger.orders, "it is there, and asking does not find it"
    return "in doubt: a person"


# --- running and writing ---------------------------------------------------------------------------------------------


async def run(library: str, faults: list[str], steps: list[str]) -> dict[str, dict[str, str]]:
    """Cells by fault and step."""
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="kestrel-matrix-") as folder:
        place = TwsPlace(Path(folder) / "tws", "ib_async" if library == "ib_async" else "ib_insync")
        await place.open()
        try:
            for fault in faults:
                for step in steps:
                    word = await _cell(place, fault, step)
                    table.setdefault(fault, {})[step] = word
                    print(f"{library}  {fault:<26} {step:<15} {word}", file=sys.stderr, flush=True)
        finally:
            await place.close()
    return table


async def _cell(place: TwsPlace, fault: str, step: str) -> str:
    stand = await place.stand()
    try:
        async with asyncio.timeout(CELL_TIMEOUT_S):
            await stand.open()
            word = await STEPS[step](stand, fault)
            await stand.adds_up()
            return word
    except Exception:
        return f"FAILED: {traceback.format_exc(limit=-3)}"
    finally:
        await stand.close()


def page(tables: dict[str, dict[str, dict[str, str]]]) -> str:
    """The table for people; where both libraries came to the same, it is said once."""
    libraries = list(tables)
    lines = ["| fault | " + " | ".join(STEPS) + " |", "|---" * (len(STEPS) + 1) + "|"]
    for fault in FAULTS:
        cells = []
        for step in STEPS:
            words = [tables[library].get(fault, {}).get(step, "not run").partition("\n")[0] for library in libraries]
            cells.append(words[0] if len(set(words)) == 1 else "; ".join(map(_of_library, libraries, words)))
        lines.append(f"| `{fault}` | " + " | ".join(cells) + " |")
    failed = sum(
        word.startswith("FAILED") for table in tables.values() for row in table.values() for word in row.values()
    )
    cell_count = sum(len(row) for table in tables.values() for row in table.values())
    head = f"{cell_count} cells on {' and '.join(libraries)}; lost or doubled: {failed}."
    return "\n".join([head, "", *lines])


def _of_library(library: str, word: str) -> str:
    return f"{library}: {word}"


def _write(document: Path, files: list[Path]) -> None:
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for file in files:
        tables |= json.loads(file.read_text())
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{page(tables)}\n\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.matrix", description=__doc__)
    parser.add_argument("--library", choices=["ib_insync", "ib_async"], default="ib_insync")
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--out", type=Path, help="where the cells go, as JSON")
    parser.add_argument("--write", type=Path, help="put the table into this document, from the files that follow")
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    if options.write:
        _write(options.write, options.files)
        return 0
    be_quiet()
    table = asyncio.run(run(options.library, options.faults.split(","), options.steps.split(",")))
    if options.out:
        options.out.write_text(json.dumps({options.library: table}, indent=1))
    return int(any(word.startswith("FAILED") for row in table.values() for word in row.values()))


if __name__ == "__main__":
    sys.exit(main())
