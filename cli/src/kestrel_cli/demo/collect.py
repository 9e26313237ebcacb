"""Reading the three books back once everything is at rest: the venue's ledger, the journal, the database.

Each is read from its own source and none through another's service: the simulated venue by its control API, the journal
from NATS with its hash chain checked on the way, the database by SQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg
from google.protobuf.message import DecodeError

from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_cli.demo.counts import Book, FillRow, OrderRow
from kestrel_domain.numbers import Number

VenueLedger = paper_pb2.GetLedgerResponse | tws_pb2.GetLedgerResponse

_SUBMITS = (journal_pb2.COMMAND_KIND_SUBMIT_ENTRY, journal_pb2.COMMAND_KIND_SUBMIT_EXIT)

LATENCY_HOPS: tuple[tuple[str, str], ...] = (
    (
        "signal computed → intent stored",
        "SELECT time_ns - signal_created_at_ns FROM intents WHERE signal_created_at_ns > 0",
    ),
    (
        "intent stored → authorized by mandate",
        "SELECT m.time_ns - i.time_ns FROM intents i JOIN inbox_messages m ON m.trade_id = i.intent_id"
        " AND m.door = 'entry' JOIN decisions d ON d.intent_id = i.intent_id AND d.verdict = 'APPROVED'"
        " AND coalesce(d.mandate_id, '') <> ''",
    ),
    ("inbox → journal", "SELECT time_ns - input_time_ns FROM journal_entries WHERE input_time_ns > 0"),
    (
        "order journaled → being sent",
        "SELECT e.inbox_time_ns - o.time_ns FROM orders o JOIN order_events e USING (account, client_order_id)"
        " WHERE e.fact = 'SUBMITTING'",
    ),
    (
        "being sent → venue answered",
        "SELECT a.received_at_ns - s.inbox_time_ns FROM order_events s JOIN order_events a"
        " USING (account, client_order_id) WHERE s.fact = 'SUBMITTING' AND a.fact IN ('ACKNOWLEDGED', 'REJECTED')"
        " AND a.received_at_ns > 0",
    ),
    ("venue filled → received", "SELECT received_at_ns - venue_time_ns FROM fills WHERE venue_time_ns > 0"),
    ("fill received → journaled", "SELECT time_ns - received_at_ns FROM fills WHERE received_at_ns > 0"),
    (
        "journaled → row in the database",
        "SELECT (extract(epoch FROM recorded_at) * 1000000000)::bigint - time_ns FROM journal_entries",
    ),
    (
        "signal computed → venue answered (by mandate)",
        "SELECT a.received_at_ns - i.signal_created_at_ns FROM intents i JOIN orders o ON o.trade_id = i.intent_id"
        " AND NOT o.is_exit JOIN order_events a ON a.client_order_id = o.client_order_id"
        " AND a.fact IN ('ACKNOWLEDGED', 'REJECTED') JOIN decisions d ON d.intent_id = i.intent_id"
        " AND d.verdict = 'APPROVED' AND coalesce(d.mandate_id, '') <> ''"
        " WHERE i.signal_created_at_ns > 0 AND a.received_at_ns > 0",
    ),
)
"""Each hop's name, and the query that gives its times in nanoseconds, one row for each time it was gone."""

_GROUPS: tuple[tuple[str, str], ...] = (
    ("signals", "SELECT action, count(*) FROM signals GROUP BY 1"),
    ("decisions", "SELECT verdict, count(*) FROM decisions GROUP BY 1"),
    (
        "approvals",
        "SELECT CASE WHEN coalesce(mandate_id, '') <> '' THEN 'by_mandate' ELSE 'by_person' END, count(*)"
        " FROM decisions WHERE verdict = 'APPROVED' GROUP BY 1",
    ),
    (
        "orders",
        "SELECT CASE WHEN is_protective THEN 'protective' WHEN is_exit THEN 'exits_by_warrant' ELSE 'entries' END,"
        " count(*) FROM orders GROUP BY 1",
    ),
    ("orders_by_end", "SELECT status, count(*) FROM v_orders GROUP BY 1"),
    ("tokens", "SELECT kind, count(*) FROM token_events GROUP BY 1"),
    ("reconciliation_runs", "SELECT verdict, count(*) FROM recon_runs GROUP BY 1"),
    ("breaks", "SELECT kind, count(DISTINCT break_id) FROM breaks WHERE event = 'drift' GROUP BY 1"),
    (
        "breaks_resolved",
        "SELECT resolution, count(DISTINCT break_id) FROM breaks WHERE event = 'resolution' GROUP BY 1",
    ),
    ("alerts", "SELECT reason, count(*) FROM alerts GROUP BY 1"),
    ("beads", "SELECT kind, count(*) FROM beads GROUP BY 1"),
    ("anomalies", "SELECT code, count(*) FROM anomalies GROUP BY 1"),
    ("parked", "SELECT reason, count(*) FROM parked_messages GROUP BY 1"),
    ("kernel_refusals", "SELECT code, count(*) FROM journal_entries WHERE NOT accepted GROUP BY 1"),
    (
        "refusals",
        "SELECT c.reason, count(*) FROM risk_checks c WHERE c.verdict IN ('BLOCK', 'INDETERMINATE') GROUP BY 1",
    ),
)
_SINGLES: tuple[tuple[str, str], ...] = (
    ("intents", "SELECT count(DISTINCT intent_id) FROM intents"),
    ("fills", "SELECT count(*) FROM fills"),
    (
        "orders_filled_in_part_first",
        "SELECT count(DISTINCT o.client_order_id) FROM orders o JOIN fills f USING (account, client_order_id)"
        " WHERE f.last_qty < o.order_qty",
    ),
    ("rejects", "SELECT count(DISTINCT client_order_id) FROM order_events WHERE fact = 'REJECTED'"),
    ("denied_by_gateway", "SELECT count(DISTINCT client_order_id) FROM order_events WHERE fact = 'DENIED'"),
    ("trades_closed", "SELECT count(*) FROM v_trades WHERE lifecycle = 'CLOSED'"),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """The account after one journal entry."""

    time_ns: int
    equity: Decimal
    exposure: Decimal


@dataclass(slots=True)
class JournalReading:
    """What the journal says, read back from its first entry."""

    book: Book
    moments: list[Moment] = field(default_factory=list)
    entry_count: int = 0
    state_digest: str = ""


@dataclass(slots=True)
class DatabaseReading:
    """What the database holds."""

    book: Book
    groups: dict[str, dict[str, int]]
    singles: dict[str, int]
    rows: dict[str, int]
    latencies_ns: dict[str, list[int]]
    trades: list[dict[str, Any]]
    problems: list[str]


def read_venue(ledger: VenueLedger) -> Book:
    """The venue's own book. At Interactive Brokers our order id travels as the order's reference."""
    if isinstance(ledger, tws_pb2.GetLedgerResponse):
        told = tuple(OrderRow(each.order_ref, order_qty=Number.of(each.order_qty)) for each in ledger.orders)
        current = [each for each in ledger.executions if each.is_current and each.qty.units]
        return Book(told, tuple(FillRow(e.execution_id, e.order_ref, Number.of(e.qty)) for e in current))
    orders = tuple(OrderRow(each.client_order_id, order_qty=Number.of(each.order_qty)) for each in ledger.orders)
    fills = tuple(FillRow(f.execution_id, f.client_order_id, Number.of(f.last_qty)) for f in ledger.fills)
    return Book(orders, fills)


def repeated_requests(ledger: VenueLedger) -> int:
    """How many requests for orders the venue got beyond the first of each id."""
    if isinstance(ledger, tws_pb2.GetLedgerResponse):
        return sum(max(each.order_count - 1, 0) for each in ledger.arrivals)
    arrivals = Counter({each.client_order_id: each.request_count for each in ledger.arrivals})
    return sum(count - 1 for count in arrivals.values() if count > 1)


async def read_journal(bus: Any, partitions: int, account: str) -> JournalReading:
    """The journal's book, from the first entry on, each hash checked. Raises InvariantBroken at a broken one."""
    from kestrel_chassis import journal

    orders: list[OrderRow] = []
    fills: list[FillRow] = []
    denied: set[str] = set()
    reading = JournalReading(Book())
    for partition in range(partitions):
        async for record in journal.read_journal(bus, partition):
            reading.entry_count += 1
            entry = record.entry
            if entry.account != account:
                continue
            orders += orders_of(entry)
            fills += [FillRow(f.execution_id, f.client_order_id, Number.of(f.last_qty)) for f in entry.fills]
            denied |= denied_by(entry)
            if entry.HasField("account_after"):
                after = entry.account_after
                moment = Moment(record.time_ns, _decimal(after.equity), _decimal(after.gross_exposure))
                reading.moments.append(moment)
            reading.state_digest = entry.state_digest.hex() or reading.state_digest
    reading.book = Book(tuple(orders), tuple(fills), frozenset(denied))
    return reading


def orders_of(entry: journal_pb2.JournalEntry) -> list[OrderRow]:
    """The orders one entry told the gateway to send."""
    return [
        OrderRow(
            command.client_order_id,
            command.trade_id,
            command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
            Number.of(command.order_qty),
        )
        for command in entry.commands
        if command.kind in _SUBMITS
    ]


def denied_by(entry: journal_pb2.JournalEntry) -> set[str]:
    """The order that this entry's input says our gateway refused before sending, if it says so."""
    if entry.door != "venue":
        return set()
    try:
        message = inbox_pb2.InboxMessage.FromString(entry.input)
    except DecodeError:
        return set()
    order = message.venue.order
    return {order.client_order_id} if order.fact == venue_pb2.ORDER_FACT_DENIED else set()


async def read_database(dsn: str, account: str) -> DatabaseReading:
    """The database's book, its figures and its times. A query that fails is named in ``problems``, not hidden."""
    connection = await asyncpg.connect(dsn)
    try:
        orders = await connection.fetch(
            "SELECT client_order_id, trade_id, is_exit, order_qty FROM orders WHERE account = $1", account
        )
        fills = await connection.fetch(
            "SELECT execution_id, client_order_id, last_qty FROM fills WHERE account = $1", account
        )
        book = Book(
            tuple(OrderRow(r[0], r[1], r[2], _number(r[3])) for r in orders),
            tuple(FillRow(r[0], r[1] or "", _number(r[2])) for r in fills),
        )
        reading = DatabaseReading(book, {}, {}, {}, {}, [], [])
        for name, query in _GROUPS:
            found = await _ask(connection, name, query, reading)
            reading.groups[name] = {str(key or "-"): int(count) for key, count in found}
        for name, query in _SINGLES:
            found = await _ask(connection, name, query, reading)
            reading.singles[name] = int(found[0][0]) if found else 0
        for name, query in LATENCY_HOPS:
            found = await _ask(connection, name, query, reading)
            reading.latencies_ns[name] = [int(row[0]) for row in found if row[0] is not None]
        reading.rows = await _count_rows(connection)
        reading.trades = [dict(row) for row in await _ask(connection, "trades", _TRADES, reading)]
    finally:
        await connection.close()
    return reading


_TRADES = (
    "SELECT trade_id, symbol, lifecycle, entry_qty, entry_price, exit_price, realized_pnl, fees FROM v_trades"
    " WHERE symbol IS NOT NULL ORDER BY last_changed_at_ns"
)


async def stream_positions(dsn: str) -> dict[str, int]:
    """How far each stream has been stored."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT stream, sequence FROM stream_positions")
    finally:
        await connection.close()
    return {row[0]: int(row[1]) for row in rows}


async def _ask(connection: Any, name: str, query: str, reading: DatabaseReading) -> Sequence[Any]:
    try:
        rows: Sequence[Any] = await connection.fetch(query)
    except asyncpg.PostgresError as error:
        reading.problems.append(f"{name}: {error}")
        return []
    return rows


async def _count_rows(connection: Any) -> dict[str, int]:
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
    )
    counts = {}
    for (table,) in tables:
        quoted = '"' + table.replace('"', '""') + '"'
        counts[table] = int(await connection.fetchval(f"SELECT count(*) FROM {quoted}"))  # noqa: S608 - our own tables
    return counts


def _decimal(message: Any) -> Decimal:
    return Number.of(message).decimal()


def _number(value: Decimal | None) -> Number:
    return Number.parse(format(value, "f")) if value is not None else Number(0, 0)
