"""What people ask of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.trace import Hop
from kestrel_persistence.shell.database import Connection, Database

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000


def bounded(limit: int) -> int:
    """0 means the usual number; more than the most is refused by name."""
    if limit > LIMIT_MAX:
        raise InvalidRequest.of("limit", limit, f"at most {LIMIT_MAX}")
    return limit or LIMIT_DEFAULT


async def beads(database: Database, account: str, kind: str, limit: int) -> Sequence[asyncpg.Record]:
    """Newest first; an empty account or kind means all."""
    async with database.connection() as connection:
        return await connection.fetch(
            "SELECT sequence, chain_sequence, chain_hash, body FROM beads"
            " WHERE ($1 = '' OR account = $1) AND ($2 = '' OR kind = $2) ORDER BY sequence DESC LIMIT $3",
            account,
            kind,
            bounded(limit),
        )


async def bodies(database: Database, table: str, limit: int) -> list[bytes]:
    """The stored bytes of the newest rows of ``alerts`` or ``parked_messages``."""
    assert table in ("alerts", "parked_messages")
    async with database.connection() as connection:
        lines = await connection.fetch(
            f"SELECT body FROM {table} ORDER BY sequence DESC LIMIT $1",  # noqa: S608 - one of two names
            bounded(limit),
        )
    return [line["body"] for line in lines]


async def row_counts(database: Database) -> dict[str, int]:
    """Rows by table, in one statement, so that they are of one moment."""
    names = sorted(set(database.tables) - {"schema_versions", "stream_positions"})
    async with database.connection() as connection:
        parts = [f"SELECT '{name}' AS name, count(*) AS rows FROM {name}" for name in names]  # noqa: S608
        lines = await connection.fetch(" UNION ALL ".join(parts))
    return {line["name"]: line["rows"] for line in lines}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a trace is about: an intent, and the order of it, if it became one."""

    intent_id: str
    client_order_id: str
    trace_id: str


async def find(database: Database, asked: str) -> Subject:
    """The one order or intent whose client order id, intent (trade) id or trace id begins with ``asked``.

    Raises InvalidRequest when there is none, or more than one.
    """
    if len(asked) < 4:
        raise InvalidRequest.of("id", asked, "at least 4 characters of a client order id, intent id or trace id")
    pattern = asked.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
    async with database.connection() as connection:
        orders = await connection.fetch(
            "SELECT DISTINCT client_order_id, trade_id, is_exit, trace_id, client_order_id LIKE $1 AS named FROM orders"
            " WHERE client_order_id LIKE $1 OR trade_id LIKE $1 OR trace_id LIKE $1 LIMIT 100",
            pattern,
        )
        intents = await connection.fetch(
            "SELECT DISTINCT intent_id, trace_id FROM intents WHERE intent_id LIKE $1 OR trace_id LIKE $1 LIMIT 100",
            pattern,
        )
    named = [line for line in orders if line["named"]]
    if len({line["client_order_id"] for line in named}) > 1:
        raise _several(asked, [line["client_order_id"] for line in named])
    if named:
        return Subject(named[0]["trade_id"], named[0]["client_order_id"], named[0]["trace_id"] or "")
    trades = {line["trade_id"] for line in orders} | {line["intent_id"] for line in intents}
    if len(trades) > 1:
        raise _several(asked, sorted(trades))
    if not trades:
        raise InvalidRequest.of("id", asked, "no order, intent or trace begins with it", reason="NOT_FOUND")
    entry = next((line for line in orders if not line["is_exit"]), orders[0] if orders else None)
    trace_id = (entry["trace_id"] if entry else intents[0]["trace_id"]) or ""
    return Subject(trades.pop(), entry["client_order_id"] if entry else "", trace_id)


def _several(asked: str, found: Sequence[str]) -> InvalidRequest:
    return InvalidRequest.of(
        "id", asked, "several begin with it: " + ", ".join(found[:5]) + "; give more of it", reason="AMBIGUOUS"
    )


# Each line: rank, service, event, time, detail, stream, sequence. $1 is the intent (trade) id, $2 the client order id.
# What leads to an entry is part of the way of an entry order only; an exit begins with its request.
_WAY_IN = """
SELECT 0, 'policy', 'signal.created', s.created_at_ns, concat_ws(' ', s.action, s.side, s.symbol), s.stream, s.sequence
  FROM signals s JOIN intents i USING (signal_id) WHERE i.intent_id = $1 AND s.created_at_ns IS NOT NULL
UNION ALL
SELECT 1, 'policy', 'intent.created', created_at_ns, concat_ws(' ', side, order_qty, symbol), stream, sequence
  FROM intents WHERE intent_id = $1 AND created_at_ns IS NOT NULL
UNION ALL
SELECT 2, 'bus', 'intent.stored', time_ns, '', stream, sequence FROM intents WHERE intent_id = $1
UNION ALL
SELECT 3, 'governance', 'intent.decided', COALESCE(decided_at_ns, time_ns),
       concat_ws(' ', verdict, 'by', COALESCE(decided_by, mandate_id)), stream, sequence
  FROM decisions WHERE intent_id = $1
UNION ALL
SELECT 4, 'governance', 'token.issued', time_ns, '', stream, sequence
  FROM token_events WHERE intent_id = $1 AND kind = 'ISSUED'
UNION ALL
SELECT 5, 'bus', 'authorization.stored', time_ns, '', stream, sequence
  FROM inbox_messages WHERE trade_id = $1 AND door = 'entry'
UNION ALL
SELECT 9, 'venue-gateway', 'token.' || lower(kind), time_ns, COALESCE(message, reason, ''), stream, sequence
  FROM token_events WHERE intent_id = $1 AND kind <> 'ISSUED'
"""

_WAY_OUT = """
SELECT 0, 'bus', 'exit.requested', i.time_ns, '', i.stream, i.sequence
  FROM orders o JOIN journal_entries j USING (stream, sequence)
  JOIN inbox_messages i ON i.sequence = j.input_sequence AND i.stream = 'INBOX'
 WHERE o.client_order_id = $2 AND o.trade_id = $1
"""

_ORDER = """
SELECT 6, 'kernel', 'order.journaled', time_ns, concat_ws(' ', side, order_qty, symbol, order_type), stream, sequence
  FROM orders WHERE client_order_id = $2 AND trade_id = $1
UNION ALL
SELECT 7, 'venue-gateway', 'order.' || lower(fact), COALESCE(received_at_ns, inbox_time_ns, time_ns),
       COALESCE(message, reason, ''), 'INBOX', COALESCE(inbox_sequence, 0)
  FROM order_events WHERE client_order_id = $2
UNION ALL
SELECT 8, 'kernel', 'order.' || lower(fact) || '.journaled', time_ns, '', stream, sequence
  FROM order_events WHERE client_order_id = $2
UNION ALL
SELECT 10, 'venue', 'fill.executed', venue_time_ns, concat_ws(' ', side, last_qty, '@', last_price), 'INBOX',
       COALESCE(inbox_sequence, 0) FROM fills WHERE client_order_id = $2 AND venue_time_ns IS NOT NULL
UNION ALL
SELECT 11, 'venue-gateway', 'fill.received', received_at_ns, '', 'INBOX', COALESCE(inbox_sequence, 0)
  FROM fills WHERE client_order_id = $2 AND received_at_ns IS NOT NULL
UNION ALL
SELECT 12, 'bus', 'fill.stored', inbox_time_ns, '', 'INBOX', COALESCE(inbox_sequence, 0)
  FROM fills WHERE client_order_id = $2 AND inbox_time_ns IS NOT NULL
UNION ALL
SELECT 13, 'kernel', 'fill.journaled', time_ns, concat_ws(' ', 'execution', execution_id), stream, sequence
  FROM fills WHERE client_order_id = $2
UNION ALL
SELECT 14, 'persistence', 'row.stored', (extract(epoch FROM recorded_at) * 1000000)::bigint * 1000,
       kind, stream, sequence
  FROM (SELECT recorded_at, stream, sequence, 'fills' AS kind FROM fills WHERE client_order_id = $2
        UNION ALL
        SELECT recorded_at, stream, sequence, 'orders' FROM orders WHERE client_order_id = $2) AS r
UNION ALL
SELECT * FROM (
  SELECT 15, 'reconciler', 'run.' || lower(verdict), started_at_ns, concat_ws(' ', 'run', run_id), stream, sequence
    FROM recon_runs
   WHERE account = (SELECT account FROM orders WHERE client_order_id = $2 LIMIT 1)
     AND journal_sequence >= (SELECT max(sequence) FROM fills WHERE client_order_id = $2)
   ORDER BY sequence LIMIT 1) AS n
"""


async def hops(database: Database, subject: Subject) -> list[Hop]:
    """Every place where the order was seen, in no order."""
    async with database.connection() as connection:
        if not subject.client_order_id:
            return await _hops(connection, _WAY_IN, subject.intent_id)
        # What protects a trade went in with its entry.
        by_exit = await connection.fetchval(
            "SELECT is_exit AND NOT is_protective FROM orders WHERE client_order_id = $1 LIMIT 1",
            subject.client_order_id,
        )
        way = _WAY_OUT if by_exit else _WAY_IN
        return await _hops(connection, f"{way} UNION ALL {_ORDER}", subject.intent_id, subject.client_order_id)


async def _hops(connection: Connection, query: str, *values: str) -> list[Hop]:
    return [Hop(*line.values()) for line in await connection.fetch(query, *values)]
