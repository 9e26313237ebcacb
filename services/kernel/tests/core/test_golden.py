"""The golden replay of K22, through the contracts: FET short, entry 195,259 + 7,017 @ 0.1878."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number

BUY, SELL = common_pb2.SIDE_BUY, common_pb2.SIDE_SELL


def number(message: common_pb2.Decimal) -> Number:
    return Number.of(message)


def short_fet(desk: Any, messages: Any, leverage: int = 1) -> str:
    """Enter; the exit's client order id."""
    instrument = common_pb2.Instrument(
        symbol="FET-USDT",
        version=1,
        currency="USD",
        price_scale=4,
        qty_scale=0,
        tick_units=1,
        lot_units=1,
        multiplier=1,
    )
    intent = messages.intent("fet-1", instrument=instrument, side=SELL, leverage=leverage)
    intent.order_qty.CopyFrom(Number(202_276, 0).message())
    for field in ("stop_price", "target_price", "reference_price"):
        intent.ClearField(field)
    desk.put(messages.entry(intent))
    entry_id = messages.entry_order_id("fet-1")
    for number_of_fill, qty in enumerate(("195259", "7017")):
        desk.put(fill(messages, f"in-{number_of_fill}", entry_id, SELL, qty, "0.1878"))
    commands = desk.put(messages.exit("fet-1")).commands
    assert number(commands[0].order_qty) == Number(202_276, 0)
    return str(commands[0].client_order_id)


def fill(messages: Any, execution_id: str, order_id: str, side: Any, qty: str, price: str) -> Any:
    message = messages.fill(execution_id, order_id, side, qty, price, "0")
    message.venue.fill.symbol = "FET-USDT"
    return message


def realized(entry: journal_pb2.JournalEntry) -> Number:
    return number(entry.slots[0].realized_pnl)


def test_the_clean_exit_realizes_242_7312_K22(desk: Any, messages: Any) -> None:
    exit_id = short_fet(desk, messages)
    desk.put(fill(messages, "out-1", exit_id, BUY, "26007", "0.1866"))
    last = desk.put(fill(messages, "out-2", exit_id, BUY, "176269", "0.1866"))
    assert realized(last) == Number.parse("242.7312")
    assert last.account_after.open_slot_count == 0


@pytest.mark.parametrize("leverage", [1, 3])
def test_leverage_never_enters_the_result_K04_K22(desk: Any, messages: Any, leverage: int) -> None:
    exit_id = short_fet(desk, messages, leverage)
    last = desk.put(fill(messages, "out-1", exit_id, BUY, "202276", "0.1866"))
    assert realized(last) == Number.parse("242.7312")


def test_a_leg_without_a_price_books_zero_until_the_venue_settles_it_K09_K22(desk: Any, messages: Any) -> None:
    exit_id = short_fet(desk, messages)
    poisoned = desk.put(fill(messages, "out-1", exit_id, BUY, "26007", ""))
    assert realized(poisoned) == Number(0, 0)
    assert poisoned.slots[0].realized_skipped_no_price
    settlement = venue_pb2.Settlement(execution_id="out-1", realized_pnl=Number(164, 0).message())
    settled = desk.put(messages.report("settled-1", settlement=settlement))
    assert number(settled.settlements[0].realized_pnl) == Number(164, 0)
    assert realized(settled) == Number(164, 0)
    assert not settled.slots[0].realized_skipped_no_price
