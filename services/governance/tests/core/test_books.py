"""What the journal says an account holds, and what it is worth."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_governance.core.books import AccountBook, NotComputable, entry_is_working, slot_exposure, slot_is_open
from kestrel_governance.core.money import Exact

Desk = Any


def decimal(units: int, scale: int = 0) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=scale)


def slot(**fields: Any) -> state_pb2.SlotSnapshot:
    instrument = common_pb2.Instrument(symbol="AAPL", price_scale=4, multiplier=1)
    return state_pb2.SlotSnapshot(trade_id="t-1", instrument=instrument, **fields)


@pytest.mark.parametrize(
    ("prices", "worth"),
    [
        ({"mark": decimal(110), "entry_price": decimal(100)}, 1100),
        ({"entry_price": decimal(100), "reference_price": decimal(90)}, 1000),
        ({"reference_price": decimal(90)}, 900),
    ],
)
def test_a_position_is_worth_its_mark_else_its_entry_else_its_reference(prices: Any, worth: int) -> None:
    assert slot_exposure(slot(qty=decimal(-10), **prices), {}) == worth


def test_a_multiplier_multiplies() -> None:
    held = slot(qty=decimal(10), mark=decimal(5))
    held.instrument.multiplier = 50
    assert slot_exposure(held, {}) == 2500


@pytest.mark.parametrize(
    ("fields", "working"),
    [
        ({"entry": state_pb2.OrderView(life=state_pb2.ORDER_LIFE_PENDING_NEW)}, True),
        ({"entry": state_pb2.OrderView(life=state_pb2.ORDER_LIFE_OPEN)}, True),
        ({"entry": state_pb2.OrderView(life=state_pb2.ORDER_LIFE_REJECTED, in_doubt=True)}, True),
        ({"stage": state_pb2.SLOT_STAGE_ENTRY_SENT}, True),
        ({"entry": state_pb2.OrderView(life=state_pb2.ORDER_LIFE_CANCELED)}, False),
        ({"entry": state_pb2.OrderView(life=state_pb2.ORDER_LIFE_FILLED)}, False),
        ({}, False),
    ],
)
def test_an_entry_works_while_anything_says_it_may_still_fill(fields: Any, working: bool) -> None:
    assert entry_is_working(slot(**fields)) is working
    assert slot_is_open(slot(**fields)) is working
    assert slot_is_open(slot(qty=decimal(1), **fields))


def test_a_working_market_entry_without_any_price_cannot_be_counted() -> None:
    unknown = slot(entry=state_pb2.OrderView(life=state_pb2.ORDER_LIFE_OPEN, order_qty=decimal(5)))
    with pytest.raises(NotComputable, match="no price is known for AAPL"):
        slot_exposure(unknown, {})
    assert slot_exposure(unknown, {"t-1": Exact(700)}) == 700


def test_a_book_keeps_the_newest_snapshots() -> None:
    book = AccountBook()
    first, second = slot(slot_index=2, qty=decimal(1)), slot(slot_index=2, qty=decimal(0))
    book.learn(journal_pb2.JournalEntry(slots=[first], state_digest=b"a", input_time_ns=5))
    assert [one.qty.units for one in book.open_slots()] == [1]
    book.learn(journal_pb2.JournalEntry(slots=[second], state_digest=b"b", input_time_ns=3))
    assert book.open_slots() == []
    assert (book.state_digest, book.as_of_ns) == (b"b", 5)


def test_equity_and_available_of_an_unknown_account_are_not_computable() -> None:
    with pytest.raises(NotComputable):
        AccountBook().equity()
    with pytest.raises(NotComputable):
        AccountBook().available()
    silent = AccountBook()
    silent.learn(journal_pb2.JournalEntry(account_after=state_pb2.AccountSnapshot(wallet=decimal(5))))
    with pytest.raises(NotComputable, match="neither equity nor wallet"):
        silent.equity()


def test_a_trade_that_is_over_keeps_its_symbol_while_what_protected_it_works_at_the_venue_T01() -> None:
    over = slot(stage=state_pb2.SLOT_STAGE_POSITION_CLOSED)
    assert not slot_is_open(over)
    over.stop.life = state_pb2.ORDER_LIFE_OPEN
    assert slot_is_open(over)
    assert slot_exposure(over, {}) == 0
