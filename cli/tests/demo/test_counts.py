"""The four counts: clean books give zeros, and each planted fault is found and counted as what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_cli.demo.counts import Book, Comparison, FillRow, OrderRow, compare
from kestrel_domain.numbers import Number

ENTRY, EXIT = OrderRow("ks-entry", "trade-1"), OrderRow("ks-exit", "trade-1", is_exit=True)
FILLS = (
    FillRow("x1", "ks-entry", Number(70, 0)),
    FillRow("x2", "ks-entry", Number(30, 0)),
    FillRow("x3", "ks-exit", Number(100, 0)),
)
WHOLE = Book((ENTRY, EXIT), FILLS)
AT_VENUE = Book((OrderRow("ks-entry"), OrderRow("ks-exit")), FILLS)


def _counts(comparison: Comparison) -> tuple[int, int, int, int]:
    return (
        comparison.orders_lost,
        comparison.orders_doubled,
        comparison.fills_lost,
        comparison.fills_doubled,
    )


def test_three_whole_books_agree() -> None:
    comparison = compare(AT_VENUE, WHOLE, WHOLE)
    assert comparison.clean
    assert comparison.findings == []


@pytest.mark.parametrize("book", [0, 1, 2])
def test_an_order_missing_in_one_book_is_lost(book: int) -> None:
    books = [AT_VENUE, WHOLE, WHOLE]
    books[book] = replace(books[book], orders=books[book].orders[1:])
    comparison = compare(*books)
    assert _counts(comparison) == (1, 0, 0, 0)
    assert "ks-entry" in comparison.findings[0]


@pytest.mark.parametrize("book", [0, 1, 2])
def test_a_fill_missing_in_one_book_is_lost(book: int) -> None:
    books = [AT_VENUE, WHOLE, WHOLE]
    books[book] = replace(books[book], fills=books[book].fills[1:])
    comparison = compare(*books)
    assert _counts(comparison) == (0, 0, 1, 0)
    assert ("venue", "journal", "database")[book] in comparison.findings[0]


@pytest.mark.parametrize("book", [0, 1, 2])
def test_an_order_twice_in_one_book_is_doubled(book: int) -> None:
    books = [AT_VENUE, WHOLE, WHOLE]
    books[book] = replace(books[book], orders=(*books[book].orders, books[book].orders[1]))
    assert _counts(compare(*books)) == (0, 1, 0, 0)


@pytest.mark.parametrize("book", [0, 1, 2])
def test_a_fill_twice_in_one_book_is_doubled(book: int) -> None:
    books = [AT_VENUE, WHOLE, WHOLE]
    books[book] = replace(books[book], fills=(*books[book].fills, books[book].fills[0]))
    assert _counts(compare(*books)) == (0, 0, 0, 1)


def test_a_fill_with_another_quantity_is_a_lost_one() -> None:
    wrong = replace(FILLS[0], last_qty=Number(69, 0))
    assert _counts(compare(AT_VENUE, WHOLE, replace(WHOLE, fills=(wrong, *FILLS[1:])))) == (0, 0, 1, 0)


def test_the_same_quantity_at_another_scale_is_the_same() -> None:
    same = replace(FILLS[0], last_qty=Number(7000, 2))
    assert compare(AT_VENUE, WHOLE, replace(WHOLE, fills=(same, *FILLS[1:]))).clean


def test_a_second_entry_order_for_one_trade_is_a_doubled_position() -> None:
    again = OrderRow("ks-entry-again", "trade-1")
    ours = replace(WHOLE, orders=(*WHOLE.orders, again))
    theirs = replace(AT_VENUE, orders=(*AT_VENUE.orders, OrderRow("ks-entry-again")))
    assert _counts(compare(theirs, ours, ours)) == (0, 1, 0, 0)


def test_an_order_denied_before_sending_must_not_be_at_the_venue_INV_T2_GATE_1() -> None:
    denied = OrderRow("ks-denied", "trade-2")
    ours = replace(WHOLE, orders=(*WHOLE.orders, denied), denied=frozenset({"ks-denied"}))
    assert compare(AT_VENUE, ours, ours).clean
    theirs = replace(AT_VENUE, orders=(*AT_VENUE.orders, OrderRow("ks-denied")))
    assert _counts(compare(theirs, ours, ours)) == (1, 0, 0, 0)


def test_an_order_at_the_venue_that_nobody_journaled_is_found_and_a_foreign_one_is_not_ours_X11() -> None:
    theirs = replace(AT_VENUE, orders=(*AT_VENUE.orders, OrderRow("ks-unknown"), OrderRow("somebody-else")))
    assert _counts(compare(theirs, WHOLE, WHOLE)) == (1, 0, 0, 0)


def test_empty_books_are_clean() -> None:
    assert compare(Book(), Book(), Book()).clean


@given(st.data())
def test_whatever_one_fault_is_planted_the_books_are_not_clean(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    orders = tuple(OrderRow(f"ks{i}", f"t{i}") for i in range(count))
    fills = tuple(FillRow(f"x{i}", f"ks{i}", Number(i + 1, 0)) for i in range(count))
    books = [Book(orders, fills)] * 3
    assert compare(*books).clean
    book, kind = data.draw(st.integers(0, 2)), data.draw(st.sampled_from(["orders", "fills"]))
    rows = list(getattr(books[book], kind))
    place = data.draw(st.integers(0, count - 1))
    if data.draw(st.booleans()):
        rows.append(rows[place])
    else:
        del rows[place]
    books[book] = replace(books[book], **{kind: tuple(rows)})
    assert not compare(*books).clean
