"""Was anything lost, was anything doubled? Three independent books compared.

Pure. The venue's book is what the broker says it saw; the journal's is what we decided and booked; the database's is
what was kept. An order or a fill has to be in all three, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX
from kestrel_domain.numbers import Number

BOOKS = ("venue", "journal", "database")


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order as one book has it. ``trade_id`` is empty where the book does not know trades (the venue)."""

    client_order_id: str
    trade_id: str = ""
    is_exit: bool = False
    order_qty: Number | None = None


@dataclass(frozen=True, slots=True)
class FillRow:
    """A fill as one book has it."""

    execution_id: str
    client_order_id: str
    last_qty: Number


@dataclass(frozen=True, slots=True)
class Book:
    """One book's orders and fills, exactly as often as it has them."""

    orders: tuple[OrderRow, ...] = ()
    fills: tuple[FillRow, ...] = ()
    denied: frozenset[str] = frozenset()
    """Client order ids that our own gateway refused before sending: they must never have existed at the venue."""


@dataclass(slots=True)
class Comparison:
    """The four counts, and a sentence for each thing that was found."""

    orders_lost: int = 0
    orders_doubled: int = 0
    fills_lost: int = 0
    fills_doubled: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.orders_lost or self.orders_doubled or self.fills_lost or self.fills_doubled)


def compare(venue: Book, journal: Book, database: Book) -> Comparison:
    """Compare the three books of one account that is at rest."""
    result = Comparison()
    _compare_orders(venue, journal, database, result)
    _compare_fills(venue, journal, database, result)
    return result


def _compare_orders(venue: Book, journal: Book, database: Book, result: Comparison) -> None:
    at_venue = [row for row in venue.orders if row.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)]
    ids = {
        "venue": {row.client_order_id for row in at_venue},
        "journal": {row.client_order_id for row in journal.orders},
        "database": {row.client_order_id for row in database.orders},
    }
    for order_id in sorted(set().union(*ids.values())):
        should_be = {"venue": order_id not in journal.denied, "journal": True, "database": True}
        wrong = [book for book in BOOKS if (order_id in ids[book]) != should_be[book]]
        if wrong:
            result.orders_lost += 1
            said = ", ".join(f"{book}: {'yes' if order_id in ids[book] else 'no'}" for book in BOOKS)
            denied = " (denied before sending)" if order_id in journal.denied else ""
            result.findings.append(f"order {order_id}{denied} is not where it should be: {said}")
    for book, rows in zip(BOOKS, (at_venue, journal.orders, database.orders), strict=True):
        for order_id, count in _repeated(row.client_order_id for row in rows):
            result.orders_doubled += count - 1
            result.findings.append(f"order {order_id} is {count} times in the {book}'s book")
    _compare_entries_by_trade(ids["venue"], journal, result)


def _compare_entries_by_trade(at_venue: set[str], journal: Book, result: Comparison) -> None:
    """One trade is opened by one order: a second one at the venue, under another id, is a doubled position."""
    entries = {row.client_order_id: row.trade_id for row in journal.orders if not row.is_exit and row.trade_id}
    for trade_id, count in _repeated(trade for order_id, trade in entries.items() if order_id in at_venue):
        result.orders_doubled += count - 1
        result.findings.append(f"trade {trade_id} was opened by {count} orders at the venue")


def _compare_fills(venue: Book, journal: Book, database: Book, result: Comparison) -> None:
    books = dict(zip(BOOKS, (venue.fills, journal.fills, database.fills), strict=True))
    found = {book: {row.execution_id: row for row in rows} for book, rows in books.items()}
    for execution_id in sorted(set().union(*found.values())):
        rows = {book: found[book].get(execution_id) for book in BOOKS}
        missing = [book for book, row in rows.items() if row is None]
        quantities = {row.last_qty for row in rows.values() if row is not None}
        orders = {row.client_order_id for row in rows.values() if row is not None}
        if missing:
            result.fills_lost += 1
            result.findings.append(f"fill {execution_id} is missing in the book of the {' and the '.join(missing)}")
        elif len(quantities) > 1 or len(orders) > 1:
            result.fills_lost += 1
            said = ", ".join(f"{b}: {r.last_qty} of {r.client_order_id}" for b, r in rows.items() if r is not None)
            result.findings.append(f"fill {execution_id} differs between the books: {said}")
    for book, book_rows in books.items():
        for execution_id, count in _repeated(row.execution_id for row in book_rows):
            result.fills_doubled += count - 1
            result.findings.append(f"fill {execution_id} is {count} times in the {book}'s book")


def _repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    return [(name, count) for name, count in sorted(Counter(names).items()) if count > 1]
