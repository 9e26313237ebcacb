"""The same trades for the kernel, for the reference and for the minimum; what each of them made of them, to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kestrel_libkernel as lk
from bench import minimal, reference
from bench.figures import result_hash
from bench.minimal import Minimal
from bench.peers import trades
from bench.reference import BUY, ENTER, EXIT, FILL, ORDER, SELL, Reference
from bench.stopwatch import Stopwatch
from kestrel_libkernel import bench as library_bench

INPUTS_PER_TRADE = 10
SYMBOL = "AAPL"


# --- the reference ---------------------------------------------------------------------------------------------------


def new_reference() -> Reference:
    return Reference(slot_count=library_bench.CONFIG.slot_count, fee_rate=trades.FEE_RATE)


def reference_inputs(trade_count: int) -> list[tuple[Any, ...]]:
    return [value for number in range(trade_count) for value in _reference_trade(number)]


def _reference_trade(number: int) -> list[tuple[Any, ...]]:
    first = number * INPUTS_PER_TRADE + 1
    trade, entry, leaving = f"trade-{number}", f"entry-{number}", f"exit-{number}"
    heads = [(place, place, f"event-{place}") for place in range(first, first + INPUTS_PER_TRADE)]

    def fill(place: int, order: str, side: int, price: int) -> tuple[Any, ...]:
        return (FILL, *heads[place], order, f"execution-{first + place}", side, trades.FILL_QTY, price)

    return [
        (ENTER, *heads[0], trade, entry, SYMBOL, BUY, trades.ORDER_QTY, trades.PRICE_SCALE, 0, 1, 1),
        (ORDER, *heads[1], entry, reference.SUBMITTING),
        (ORDER, *heads[2], entry, reference.ACKNOWLEDGED),
        fill(3, entry, BUY, trades.ENTRY_PRICES[0]),
        fill(4, entry, BUY, trades.ENTRY_PRICES[1]),
        (EXIT, *heads[5], trade, leaving),
        (ORDER, *heads[6], leaving, reference.SUBMITTING),
        (ORDER, *heads[7], leaving, reference.ACKNOWLEDGED),
        fill(8, leaving, SELL, trades.EXIT_PRICES[0]),
        fill(9, leaving, SELL, trades.EXIT_PRICES[1]),
    ]


def reference_ns(inputs: list[tuple[Any, ...]]) -> float:
    """Nanoseconds of processor time per input."""
    account = new_reference()
    apply = account.apply
    with Stopwatch() as stopwatch:
        for value in inputs:
            apply(value)
    assert account.sequence == len(inputs), "the reference refused an input"
    return stopwatch.cpu_ns / len(inputs)


# --- the minimum -----------------------------------------------------------------------------------------------------


def minimal_ns(trade_count: int) -> float:
    """Nanoseconds of processor time per input; its books must be right as well."""
    account = Minimal()
    calls = [call for number in range(trade_count) for call in _minimal_trade(account, number)]
    accepted = 0
    with Stopwatch() as stopwatch:
        for function, arguments in calls:
            accepted += function(*arguments)
    assert accepted == len(calls), "the minimum refused an input"
    expected = (trade_count * trades.REALIZED_PER_TRADE, trade_count * trades.FEES_PER_TRADE)
    assert (account.realized, account.fees) == expected, "the minimum has other books"
    return stopwatch.cpu_ns / len(calls)


def _minimal_trade(account: Minimal, number: int) -> Iterator[tuple[Callable[..., bool], tuple[Any, ...]]]:
    for kind, _, _, event_id, *rest in _reference_trade(number):
        if kind == ENTER:
            yield account.enter, (event_id, rest[0], rest[1], 1, rest[4])
        elif kind == EXIT:
            yield account.exit, (event_id, *rest)
        elif kind == FILL:
            yield account.fill, (event_id, rest[0], rest[1], rest[3], rest[4])
        else:
            fact = minimal.SUBMITTING if rest[1] == reference.SUBMITTING else minimal.ACKNOWLEDGE
            yield account.order, (event_id, rest[0], fact)


# --- what happened ---------------------------------------------------------------------------------------------------


def reference_story(trade_count: int) -> list[str]:
    """Each event the reference answers with, then its books."""
    account = new_reference()
    told = []
    for value in reference_inputs(trade_count):
        accepted, code, slot_index, events = account.apply(value)
        assert accepted, f"the reference refused {value}: {code}"
        told += [f"{code} in slot {slot_index}", *sorted(map(str, events))]
    return [*told, f"realized {account.realized}, fees {account.fees}"]


def kernel_story(trade_count: int) -> list[str]:
    """The same from the kernel, in the same words."""
    told = []
    with lk.Kernel(library_bench.CONFIG) as kernel:
        for number in range(trade_count):
            for value in library_bench.trade_inputs(number, number * INPUTS_PER_TRADE + 1):
                result = kernel.apply(value)
                told += [f"{result.outcome.code.name} in slot {result.outcome.slot_index}", *sorted(_events(result))]
        account = kernel.account()
    return [*told, f"realized {account.realized_pnl}, fees {account.fees}"]


def _events(result: lk.Result) -> Iterator[str]:
    assert not result.anomalies, "the kernel flagged a trade that goes well"
    for command in result.commands:
        yield str((
            "COMMAND", command.kind.name, command.slot_index, command.trade_id, command.client_order_id,
            int(command.side), command.qty, command.open_qty,
        ))  # fmt: skip
    for moved in result.transitions:
        yield str((
            "TRANSITION", moved.slot_index, moved.trade_id, moved.from_stage.name, moved.to_stage.name,
            moved.from_lifecycle.name, moved.to_lifecycle.name, moved.requested_qty, moved.filled_qty,
        ))  # fmt: skip
    for fill in result.fills:
        yield str((
            "FILL", fill.slot_index, fill.execution_id, fill.client_order_id, fill.trade_id, int(fill.side),
            fill.is_exit, fill.qty, fill.price, fill.fee, fill.realized_pnl,
        ))  # fmt: skip


def story_hashes(trade_count: int) -> dict[str, str]:
    """One hash for each; they must be equal, or the reference does other work."""
    return {
        "kernel": result_hash(kernel_story(trade_count)),
        "reference": result_hash(reference_story(trade_count)),
    }
