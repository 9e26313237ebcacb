"""Every named fault of the TWS simulator at every step of an order's life, and what came of it.

    python -m tests.acceptance.matrix --library ib_insync --out one.json       (in .venv)
    python -m tests.acceptance.matrix --library ib_async --out two.json        (in .venv-ib-async)
    python -m tests.acceptance.matrix --write docs/venues/ibkr.md one.json two.json

In each cell the fault happens to the order, the cancel or the connection that the step is about. After it the venue's
own ledger is held against what was heard: 0 lost, 0 doubled. Or the cell says FAILED.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from kestrel.kernel.v1 import journal_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from tests.acceptance.places import TwsPlace
from tests.acceptance.run import be_quiet
from tests.acceptance.stand import BUY, MARKET, SELL, Stand

BEGIN, END = "<!-- fault matrix: made by tests/acceptance/matrix.py -->", "<!-- end of the fault matrix -->"
NOTHING_TO_MEET = "–"
"""The word of a cell that is not run, as nothing happens at its step that its fault could happen to."""
IN_DOUBT_AFTER_S = 8.0
CELL_TIMEOUT_S = 150.0
FAULTS = [found.name.removeprefix("FAULT_") for found in tws_pb2.Fault.DESCRIPTOR.values if found.number]
_DELAY_MS = 4_000
"""Longer than the gateway waits for one answer here (3 s)."""

_LASTING = {
    "DELAY_REPLIES", "COMMISSION_NEVER", "STALE_PRICES", "WRONG_POSITION", "HALF_DEAD", "NO_END_MARKER",
    "UNKNOWN_TIME_ZONE",
}  # fmt: skip
_ON_CONNECT = {"CLIENT_ID_IN_USE", "NEXT_ID_ROLLBACK", "HALF_DEAD", "NO_END_MARKER", "WRONG_POSITION"}
"""Only a new connection meets them, or what it asks first."""
_SHUTS_OUT = {"HALF_DEAD", "NO_END_MARKER"}
"""While they last the gateway is not reconciled, and an order is not sent."""

# What a fault may happen to. Those of the first three name the request whose answer they are tied to.
_OF_ANY_ANSWER = {
    "DELAY_REPLIES", "DROP_ON_REQUEST", "MALFORMED_FRAME", "OVERSIZED_FRAME", "TRUNCATED_FRAME", "UNKNOWN_MESSAGE",
    "BYTE_WISE",
}  # fmt: skip
_OF_NEW_ORDERS = {
    "SWALLOW_ACK", "DROP_AFTER_ACK", "FILL_BEFORE_ACK", "NO_ORDER_STATUS", "REJECT_201", "WARNING_399", "TIF_10349",
    "VANISHED_ORDER",
}  # fmt: skip
_OF_CANCELS = {"PARTIAL_THEN_CANCEL_RACE", "EXECUTION_AFTER_CANCELED"}
_OF_CHANGES = {"SECOND_PERM_ID"}
"""No order is changed here, ever."""
_OF_FILLS = {
    "SWALLOW_FILL_THEN_REPLAY", "DROP_AFTER_FILL", "FILL_BEFORE_ACK", "LATE_BACKWARD_STATUS", "COMMISSION_NEVER",
    "COMMISSION_LATE", "COMMISSION_MINUS_ONE", "UNKNOWN_TIME_ZONE",
}  # fmt: skip
_OF_STATUSES = {"DUPLICATE_STATUS", "REORDER_STATUS"}
"""Of these there are several when an order fills at once."""


def can_happen(fault: str, step: str) -> bool:
    """Whether there is anything at this step that the fault could happen to."""
    if fault in _OF_CHANGES:
        return False
    if step == "cancel":
        return fault not in _OF_NEW_ORDERS | _OF_FILLS | {"DUPLICATE_STATUS"}
    return fault not in _OF_CANCELS


async def _switch_on(stand: Stand, fault: str, request: str) -> None:
    """``request``: what the step is about, which a fault of an answer waits for.

    Returns when what only a new connection meets has happened: what is sent then, is sent into it.
    """
    of_request = "REQ_ALL_OPEN_ORDERS" if fault == "NO_END_MARKER" else ""
    if fault in _OF_ANY_ANSWER | _OF_NEW_ORDERS | _OF_CANCELS:
        of_request = request
    if fault == "WRONG_POSITION":
        await stand.filled(stand.order(BUY, 10))
    await stand.broker.fault(fault, count=0 if fault in _LASTING else 1, delay_ms=_DELAY_MS, request=of_request)
    if fault == "STALE_PRICES":
        await stand.behind.price(stand.symbol, "101.00")
    if fault in _ON_CONNECT:
        await stand.broker.drop_connections()

        async def is_met() -> bool:
            return not await stand.broker.faults_never_met()

        await stand.until(is_met, "a new connection meets the fault")


# --- the steps of an order's life ----------------------------------------------------------------------------------


async def entry(stand: Stand, fault: str) -> str:
    """A market order goes out while the fault is on."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(BUY, 10)
    return await _outcome(stand, order, await _sent(stand, fault, order))


async def bracket(stand: Stand, fault: str) -> str:
    """An entry goes out with its stop and its target while the fault is on; it meets the first word about them."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    commands = stand.bracket(stop="95.00", target="105.00")
    send = stand.send_bracket if fault in _SHUTS_OUT else stand.bracket_sent_at_last
    results = await send(commands)
    words = [await _outcome(stand, command, result) for command, result in zip(commands, results, strict=True)]
    return bracket_word(words)


async def exit_(stand: Stand, fault: str) -> str:
    """The way out of a position, while the fault is on."""
    await stand.fee_of(await stand.filled(stand.order(BUY, 10)))
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = stand.order(SELL, 10, is_exit=True)
    return await _outcome(stand, order, await _sent(stand, fault, order))


async def cancel(stand: Stand, fault: str) -> str:
    """A working order is canceled while the fault is on."""
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    await _switch_on(stand, fault, "CANCEL_ORDER")
    if fault in _ON_CONNECT - {"HALF_DEAD"}:
        await stand.found(order)  # a cancel needs its number, which comes with the list, also where that has no end
    first = await stand.cancel(order)
    await stand.broker.heal()
    if first.outcome is not Outcome.ACCEPTED:
        await stand.until_accepted_cancel(order)  # a cancel may be asked for again: it only takes risk away
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)

    async def agree() -> bool:
        return await stand.position() == _bought(stand)

    await stand.until(agree, "the position is what the fills say, however late they are")
    word = "canceled" if not stand.fills(order) else "part filled, rest canceled"
    return word if first.outcome is Outcome.ACCEPTED else f"asked again, {word}"


async def venue_killed(stand: Stand, fault: str) -> str:
    """The venue's process is killed right after an order went out under the fault."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = _order_to_kill(stand, fault)
    result = await _sent(stand, fault, order)
    await stand.broker.faults_never_met()  # counts them: faults of the socket die with their process
    await stand.behind.kill()
    await stand.behind.start()
    return await _outcome(stand, order, result)


async def gateway_killed(stand: Stand, fault: str) -> str:
    """The gateway dies right after an order went out under the fault, and the next one knows what the journal knows."""
    await _switch_on(stand, fault, "PLACE_ORDER")
    order = _order_to_kill(stand, fault)
    result = await _sent(stand, fault, order)
    await stand.broker.heal()
    await stand.reopen()
    return await _outcome(stand, order, result)


STEPS: dict[str, Callable[[Stand, str], Awaitable[str]]] = {
    "entry": entry,
    "bracket": bracket,
    "cancel": cancel,
    "exit": exit_,
    "venue killed": venue_killed,
    "gateway killed": gateway_killed,
}


def _order_to_kill(stand: Stand, fault: str) -> journal_pb2.VenueCommand:
    """One that goes on working meanwhile; one that fills at once where the fault is about fills."""
    return stand.order(BUY, 10, limit="" if fault in _OF_FILLS | _OF_STATUSES else "90.00")


async def _sent(stand: Stand, fault: str, order: journal_pb2.VenueCommand) -> SendResult:
    """Sent; again, while it certainly did not leave, unless it is the fault that keeps it."""
    send = stand.send if fault in _SHUTS_OUT else stand.sent_at_last
    return await send(order)


def _bought(stand: Stand) -> Number:
    """What the fills that were heard make of the position."""
    total = Number.zero()
    for fill in stand.of_kind(venue_pb2.Fill):
        if fill.symbol == stand.symbol:
            total += Number.of(fill.last_qty) if fill.side == BUY else -Number.of(fill.last_qty)
    return total


# --- what came of it ------------------------------------------------------------------------------------------------


async def _outcome(stand: Stand, order: journal_pb2.VenueCommand, result: SendResult) -> str:
    """Where the order is: at the venue, or certainly not there, or in doubt, of which a person is told."""
    await stand.broker.heal()
    match result.outcome:
        case Outcome.ACCEPTED:
            return await _at_venue(stand, order)
        case Outcome.REJECTED:
            return "rejected"
        case Outcome.NOT_SENT:
            assert order.client_order_id not in (await stand.behind.ledger()).arrivals, "it was sent"
            return "not sent"
    found = await _asked(stand, order)
    match found.presence:
        case Presence.FOUND:
            return f"in doubt, found, {await _at_venue(stand, order)}"
        case Presence.REJECTED:
            return "in doubt, found, rejected"
    assert order.client_order_id not in (await stand.behind.ledger()).orders, "it is there, and asking does not find it"
    assert order.client_order_id in stand.memory.known.orders_in_doubt(), "nobody would be told of the doubt"
    return "in doubt: a person"


async def _at_venue(stand: Stand, order: journal_pb2.VenueCommand) -> str:
    """What became of an order that the venue took, once. What belongs to an entry that was refused ends with it."""
    assert (await stand.behind.ledger()).arrivals[order.client_order_id] == 1
    if order.order_type == MARKET:
        await stand.until_filled(order)
        assert stand.cum_qty(order) == Number.of(order.order_qty)
        return "filled"

    def is_canceled() -> bool:
        return venue_pb2.ORDER_FACT_CANCELED in stand.facts(order)

    async def is_told() -> bool:
        portfolio = await stand.portfolio()
        return is_canceled() or order.client_order_id in {
            found.client_order_id for found in portfolio.open_orders or ()
        }

    await stand.until(is_told, "the order is working, or its end was said")
    return "canceled" if is_canceled() else "working"


async def _asked(stand: Stand, order: journal_pb2.VenueCommand) -> AskResult:
    """What a doubt comes to by asking; the gateway would go on asking, and a person is told of it at once.

    Over when the venue speaks of the order, or has answered for everything that it has and does not know it; or, for
    some seconds, says of it what settles nothing.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + IN_DOUBT_AFTER_S
    while True:
        answer = await stand.venue.ask(order.client_order_id, fence=stand.venue.traits.fences)
        if answer.presence is not Presence.UNKNOWN:
            return answer
        await stand.until_reconciled()
        if loop.time() > deadline_s:
            return answer
        await asyncio.sleep(0.2)


def bracket_word(words: Sequence[str]) -> str:
    """What came of an entry, its stop and its target, in one word where they came to one thing."""
    ends = [word.removeprefix("in doubt, found, ") for word in words]
    doubt = "in doubt, found, " if ends != list(words) else ""
    if ends == ["filled", "working", "working"]:
        return f"{doubt}filled, protected"
    if len(set(words)) == 1:
        return f"all three {words[0]}"
    return "; ".join(f"{name} {word}" for name, word in zip(("entry", "stop", "target"), words, strict=True))


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
                    word = await cell(place, fault, step) if can_happen(fault, step) else NOTHING_TO_MEET
                    table.setdefault(fault, {})[step] = word
                    print(f"{library}  {fault:<26} {step:<15} {word}", file=sys.stderr, flush=True)
        finally:
            await place.close()
    return table


async def cell(place: TwsPlace, fault: str, step: str) -> str:
    stand = await place.stand()
    try:
        async with asyncio.timeout(CELL_TIMEOUT_S):
            await stand.open()
            await stand.until_reconciled()  # or the fault would meet the first round of questions
            word = await STEPS[step](stand, fault)
            await stand.adds_up()
            await stand.met_its_faults()
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
    cell_count = sum(
        word != NOTHING_TO_MEET for table in tables.values() for row in table.values() for word in row.values()
    )
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
