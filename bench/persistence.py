"""Rows a second through the persistence service's own writer, beside the least that writes the same rows.

The writer takes journal messages: it parses them, makes rows, copies these into temporary tables and moves them with
``ON CONFLICT DO NOTHING``, all in one transaction with the stream's position. The floor gets the same rows ready made,
and does only the copying and the moving, in transactions of the same size, on the same server, into the same tables.
Worse is: fewer rows a second, a smaller share of the floor, or another hash.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from bench import core, lifecycles, running
from bench.figures import median, percentile, ratio, result_hash, rounded
from bench.progress import tell
from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import Endpoints, Layout
from kestrel_cli.platform.ports import claimed_ports
from kestrel_cli.platform.processes import launched
from kestrel_domain import subjects
from kestrel_domain.errors import KestrelError
from kestrel_persistence.config import PersistenceSettings
from kestrel_persistence.core.chain import Head
from kestrel_persistence.core.plan import plan
from kestrel_persistence.core.record import Record, Row, tables_of
from kestrel_persistence.shell.database import Database

_BATCH: int = PersistenceSettings.model_fields["batch_messages"].default
_TRADES, _QUICK_TRADES = 800, 100
_ROUNDS, _QUICK_ROUNDS = 3, 1
_START_TIMEOUT_S = 30.0

Figures = dict[str, Any]
Batches = list[list[Record]]
Tables = list[dict[str, list[Row]]]


def measure(*, quick: bool) -> Figures:
    """On a PostgreSQL server of its own, set up as the platform's is (fsync on): some 40 s; quick, some 10 s."""
    with running.temporary_folder("persistence") as folder, claimed_ports(None) as endpoints:
        return uvloop.run(_measure(folder, endpoints, quick=quick))


async def _measure(folder: Path, endpoints: Endpoints, *, quick: bool) -> Figures:
    batches = _batches(_QUICK_TRADES if quick else _TRADES)
    ready_made = [tables_of(plan(batch, Head(), {}).rows) for batch in batches]
    row_count = sum(len(rows) for tables in ready_made for rows in tables.values())
    writer, floor, planning, commits_ms = [], [], [], []
    result = ""
    async with _server(folder, endpoints) as new_database:
        for number in range(_QUICK_ROUNDS if quick else _ROUNDS):
            tell(f"persistence: round {number + 1}, {row_count:,} rows through the writer and through the floor")
            lasted_s, each_ms, result = await _through_the_writer(await new_database(f"writer_{number}"), batches)
            writer.append(row_count / lasted_s)
            commits_ms += each_ms
            planning.append(_planning_s(batches) / lasted_s)
            lasted_s, floor_result = await _through_the_floor(await new_database(f"floor_{number}"), ready_made)
            floor.append(row_count / lasted_s)
            assert result == floor_result, "the writer and the floor stored different rows"
    messages = sum(map(len, batches))
    return {
        "persistence_rows_per_s": rounded(median(writer)),
        "persistence_messages_per_s": rounded(median(writer) * messages / row_count),
        "floor_rows_per_s": rounded(median(floor)),
        "persistence_over_floor": ratio(median(writer), median(floor)),
        "batch_p50_ms": rounded(percentile(commits_ms, 0.5)),
        "batch_p99_ms": rounded(percentile(commits_ms, 0.99)),
        "planning_share": rounded(median(planning), 3),
        "messages_per_batch": _BATCH,
        "messages": messages,
        "rows": row_count,
        "tables": len({table for tables in ready_made for table in tables}),
        "rounds": len(writer),
        "result": result,
    }


def _batches(trade_count: int) -> Batches:
    """The journal of so many trades, cut as the service cuts it."""
    stream, subject = subjects.journal_stream(lifecycles.PARTITION), subjects.journal(0, lifecycles.ACCOUNT)
    records = [
        Record(stream, subject, step.journal_sequence, core.START_NS, step.data, lifecycles.TRACEPARENT)
        for step in core.journaled(lifecycles.trades(trade_count))[1:]
    ]
    return [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]


def _planning_s(batches: Batches) -> float:
    """How long the making of rows takes by itself."""
    began_s = time.perf_counter()
    for batch in batches:
        plan(batch, Head(), {})
    return time.perf_counter() - began_s


async def _through_the_writer(dsn: str, batches: Batches) -> tuple[float, list[float], str]:
    database = Database(dsn)
    await database.open()
    stream = batches[0][0].stream
    await database.position(stream)
    each_ms = []
    began_s = time.perf_counter()
    for batch in batches:
        batch_began_s = time.perf_counter()
        await database.store(stream, batch, _never_parked)
        each_ms.append((time.perf_counter() - batch_began_s) * 1000)
    lasted_s = time.perf_counter() - began_s
    await database.close()
    return lasted_s, each_ms, await _stored(dsn, stream)


async def _never_parked(record: Record, error: KestrelError) -> None:
    raise AssertionError(f"message {record.sequence} was not usable: {error}")


async def _through_the_floor(dsn: str, ready_made: Tables) -> tuple[float, str]:
    database = Database(dsn)
    await database.open()  # migrates, and learns the tables' columns
    shapes = database.tables
    await database.close()
    values = [
        {table: [shapes[table].values(row) for row in rows] for table, rows in each.items()} for each in ready_made
    ]
    connection = await asyncpg.connect(dsn)
    try:
        began_s = time.perf_counter()
        for tables in values:
            async with connection.transaction():
                for table, records in tables.items():
                    shape = shapes[table]
                    columns = ", ".join(shape.columns)
                    await connection.execute(
                        f"CREATE TEMPORARY TABLE IF NOT EXISTS {shape.stage} ON COMMIT DELETE ROWS AS"
                        f" SELECT {columns} FROM {table} WITH NO DATA"
                    )
                    await connection.copy_records_to_table(shape.stage, records=records, columns=shape.columns)
                    await connection.execute(
                        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {shape.stage}"
                        f" ON CONFLICT ({', '.join(shape.key)}) DO NOTHING"
                    )
        lasted_s = time.perf_counter() - began_s
    finally:
        await connection.close()
    stream = next(iter(next(iter(ready_made[0].values())))).values["stream"]
    return lasted_s, await _stored(dsn, str(stream))


async def _stored(dsn: str, stream: str) -> str:
    """A hash over how many rows each table has and over everything that was booked as a fill."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND column_name = 'sequence' AND table_name <> 'stream_positions' AND table_name NOT LIKE 'v\\_%'"
            " ORDER BY table_name"
        )
        parts = []
        for (table,) in tables:
            count = await connection.fetchval(f'SELECT count(*) FROM "{table}" WHERE stream = $1', stream)
            parts.append(f"{table}: {count}")
        fills = await connection.fetch(
            "SELECT sequence, execution_id, last_qty, last_price, fee, realized_pnl FROM fills"
            " ORDER BY sequence, position"
        )
    finally:
        await connection.close()
    return result_hash([*parts, *(str(tuple(fill)) for fill in fills)])


@asynccontextmanager
async def _server(folder: Path, endpoints: Endpoints) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """PostgreSQL with the platform's own settings; gives the function that makes a database and returns its address."""
    layout = Layout(folder)
    layout.create()
    servers.initialize_postgres(layout)
    user = servers.postgres_system_user()
    command = launched(servers.postgres_command(layout, endpoints), user=user, orphan_signal=signal.SIGQUIT)
    with layout.log("postgres").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd="/")  # noqa: ASYNC220

    async def new_database(name: str) -> str:
        connection = await asyncpg.connect(servers.database_url(layout, endpoints, "postgres"))
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        return servers.database_url(layout, endpoints, name)

    try:
        await _answering(servers.database_url(layout, endpoints, "postgres"))
        yield new_database
    finally:
        running.stop(child)


async def _answering(dsn: str) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            await (await asyncpg.connect(dsn, timeout=5)).close()
            return
        except (OSError, asyncpg.PostgresError) as error:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"PostgreSQL did not start within {_START_TIMEOUT_S:.0f} s: {error}") from error
        await asyncio.sleep(0.1)
