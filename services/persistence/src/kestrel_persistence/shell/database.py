"""PostgreSQL: one transaction per batch, and what its errors mean.

A batch is copied into its tables (a few rows are inserted), in one transaction with the stream's position. What was
stored before is filtered by that position under a row lock, so a redelivery, a second instance and a lost answer to a
commit are all harmless. Should rows be there all the same, the transaction fails, and the batch goes again by temporary
tables, from which it is moved with ``ON CONFLICT DO NOTHING``.

Errors are of two kinds. *The row is at fault* (a NUL in a text, a number out of range): the batch is halved until the
one message is found, which is parked with the database's own words and recorded raw. *The database is at fault*
(down, full, restarting): ``Unavailable`` or ``OutcomeUnknown``, and the same batch is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import asyncpg

from kestrel_domain.errors import InvalidRequest, KestrelError, Unavailable
from kestrel_persistence.core import copy_text
from kestrel_persistence.core.chain import GENESIS, Head
from kestrel_persistence.core.plan import plan
from kestrel_persistence.core.record import Record, Row, Value, tables_of
from kestrel_persistence.core.rows import printable
from kestrel_persistence.shell.migrations import migrate

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

ACQUIRE_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
FEW_ROWS = 8
"""Up to here an INSERT a table is quicker than a COPY."""
PIECE = 125
"""Messages whose rows are made while the database takes the rows of those before."""
TURN = 4
"""Messages whose rows are made before the event loop has its turn: the database waits for the next COPY meanwhile."""
Park = Callable[[Record, KestrelError], Awaitable[None]]

DATABASE_REFUSED = "DATABASE_REFUSED"
ROW_FAULTS = (
    asyncpg.exceptions.DataError,  # class 22: the value is none of the type's
    asyncpg.exceptions.IntegrityConstraintViolationError,  # class 23
    asyncpg.exceptions.ProgramLimitExceededError,  # class 54: too long for an index
    ValueError,  # asyncpg's own refusal to encode a value; its DataError is one
    OverflowError,
)
DATABASE_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True)
class Table:
    """A table's columns as the database has them, but for ``recorded_at``, which it sets itself."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @property
    def stage(self) -> str:
        return f"stage_{self.name}"

    @cached_property
    def creation(self) -> str:
        """Of the temporary twin, which empties itself at the end of the transaction."""
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self.stage} ON COMMIT DELETE ROWS AS"  # noqa: S608 - our names
            f" SELECT {', '.join(self.columns)} FROM {self.name} WITH NO DATA"
        )

    @cached_property
    def move(self) -> str:
        """From the stage into the table, and the stage is empty again."""
        columns = ", ".join(self.columns)
        return (
            f"INSERT INTO {self.name} ({columns}) SELECT {columns} FROM {self.stage}"  # noqa: S608 - our names
            f" ON CONFLICT ({', '.join(self.key)}) DO NOTHING; TRUNCATE {self.stage}"
        )

    @cached_property
    def insertion(self) -> str:
        """Of one row."""
        places = ", ".join(f"${place}" for place in range(1, len(self.columns) + 1))
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({places})"  # noqa: S608 - our names
            f" ON CONFLICT ({', '.join(self.key)}) DO NOTHING"
        )

    def values(self, row: Row) -> tuple[Value, ...]:
        """In the order of the columns. Raises AssertionError when the row has a column that the table has not."""
        values = row.values
        if len(values) == len(self.columns):
            with contextlib.suppress(KeyError):
                return self._all(values)
        unknown = values.keys() - set(self.columns)
        assert not unknown, f"table {self.name} has no column {', '.join(sorted(unknown))}"
        return tuple(map(values.get, self.columns))

    @cached_property
    def _all(self) -> Callable[[Mapping[str, Value]], tuple[Value, ...]]:
        return itemgetter(*self.columns)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has been stored, and where its chain stands."""

    sequence: int = 0
    head: Head = Head()  # noqa: RUF009 - frozen


_Put = Callable[[Connection, Table, Sequence[Row]], Awaitable[None]]


class Database:
    """The pool, the schema, and storing. Opens connections only as they are needed."""

    def __init__(self, dsn: str, *, connections_max: int = 6) -> None:
        self._dsn = dsn
        self._connections_max = connections_max
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self.tables: dict[str, Table] = {}

    async def open(self) -> None:
        """Connect, migrate, learn the tables. Raises Unavailable; may be called again."""
        async with self._opening:
            if self._pool is not None:
                return
            try:
                pool = await asyncpg.create_pool(
                    self._dsn, min_size=0, max_size=self._connections_max, timeout=5, command_timeout=30
                )
                async with pool.acquire() as connection:
                    await migrate(connection)  # type: ignore[arg-type]
                    self.tables = await _tables(connection)  # type: ignore[arg-type]
            except DATABASE_FAULTS as error:
                raise unavailable(error) from error
            self._pool = pool

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection of the pool; whatever is the database's fault inside becomes Unavailable."""
        await self.open()
        pool = self._pool  # there may be none, or another one, before the connection is given back
        assert pool is not None
        try:
            # Not acquire's own time-out: asyncpg's may lose a cancellation that comes together with the connection.
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                connection = await pool.acquire()
            try:
                yield connection  # type: ignore[misc]
            finally:
                await pool.release(connection)
        except ROW_FAULTS:
            raise
        except DATABASE_FAULTS as error:
            raise unavailable(error) from error

    async def position(self, stream: str) -> Position:
        async with self.connection() as connection:
            return await self._position(connection, stream)

    async def store(self, stream: str, records: Sequence[Record], park: Park) -> Position:
        """Store a batch in stream order and return the new position. Raises Unavailable: nothing of it is certain.

        ``park`` is awaited for each message that cannot be used, before the transaction that records it raw commits.
        """
        return await self._store(stream, records, park, {})

    async def _store(
        self, stream: str, records: Sequence[Record], park: Park, refused: Mapping[int, KestrelError]
    ) -> Position:
        try:
            try:
                return await self._commit(stream, records, park, refused, self._copy)
            except asyncpg.UniqueViolationError:
                return await self._commit(stream, records, park, refused, self._move)
        except ROW_FAULTS as error:
            if len(records) > 1:
                half = len(records) // 2
                await self._store(stream, records[:half], park, refused)
                return await self._store(stream, records[half:], park, refused)
            sequence = records[0].sequence
            if sequence in refused:
                raise
            return await self._store(stream, records, park, {sequence: refusal(stream, error)})

    async def _commit(
        self,
        stream: str,
        records: Sequence[Record],
        park: Park,
        refused: Mapping[int, KestrelError],
        put: _Put,
    ) -> Position:
        async with self.connection() as connection, connection.transaction():
            position = await self._position(connection, stream, lock=True)
            fresh = [record for record in records if record.sequence > position.sequence]
            if not fresh:
                return position
            head, unusable = await self._write(connection, fresh, position.head, refused, put)
            for record, error in unusable:
                await park(record, error)
            after = Position(fresh[-1].sequence, head)
            await connection.execute(
                "UPDATE stream_positions SET sequence = $2, chain_length = $3, chain_head = $4,"
                " updated_at = clock_timestamp() WHERE stream = $1 AND sequence < $2",
                stream,
                after.sequence,
                after.head.length,
                after.head.entry_hash,
            )
            return after

    async def _write(
        self,
        connection: Connection,
        records: Sequence[Record],
        head: Head,
        refused: Mapping[int, KestrelError],
        put: _Put,
    ) -> tuple[Head, list[tuple[Record, KestrelError]]]:
        """Plan and write in pieces: while the database takes one piece, the next rows are made."""
        unusable: list[tuple[Record, KestrelError]] = []
        writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        writing.set_result(None)
        try:
            for start in range(0, len(records), PIECE):
                rows: list[Row] = []
                for few in range(start, min(start + PIECE, len(records)), TURN):
                    planned = plan(records[few : min(few + TURN, start + PIECE)], head, refused)
                    head = planned.head
                    rows += planned.rows
                    unusable += planned.unusable
                    await asyncio.sleep(0)
                await writing
                writing = asyncio.ensure_future(self._put(connection, rows, put))
        finally:
            await writing
        return head, unusable

    async def _put(self, connection: Connection, rows: Sequence[Row], put: _Put) -> None:
        for table, some in tables_of(rows).items():
            shape = self.tables[table]
            if len(some) <= FEW_ROWS:
                await connection.executemany(shape.insertion, map(shape.values, some))
            else:
                await put(connection, shape, some)

    async def stage(self, connection: Connection, table: str, rows: Sequence[Row]) -> None:
        """Copy rows into the table's temporary twin."""
        shape = self.tables[table]
        await connection.execute(shape.creation)
        await self._copy(connection, shape, rows, shape.stage)

    async def _copy(self, connection: Connection, shape: Table, rows: Sequence[Row], into: str = "") -> None:
        """Into the table itself, unless stated. A row that is there already is an error."""
        lines = memoryview(copy_text.lines(map(shape.values, rows)))  # bytes would be taken for the name of a file
        await connection.copy_to_table(
            into or shape.name,
            source=lines,  # type: ignore[arg-type]  # any buffer will do
            columns=shape.columns,
        )

    async def _move(self, connection: Connection, shape: Table, rows: Sequence[Row]) -> None:
        """By a temporary table. A row that is there already stays."""
        await self.stage(connection, shape.name, rows)
        await connection.execute(shape.move)

    async def _position(self, connection: Connection, stream: str, *, lock: bool = False) -> Position:
        query = "SELECT sequence, chain_length, chain_head FROM stream_positions WHERE stream = $1"
        line = await connection.fetchrow(query + (" FOR UPDATE" if lock else ""), stream)
        if line is None:
            await connection.execute(
                "INSERT INTO stream_positions (stream, sequence) VALUES ($1, 0) ON CONFLICT DO NOTHING", stream
            )
            return await self._position(connection, stream, lock=lock)
        return Position(line["sequence"], Head(line["chain_length"], line["chain_head"] or GENESIS))


def refusal(stream: str, error: BaseException) -> InvalidRequest:
    """The database's own words, as the reason why a message was parked."""
    words = printable(str(error)) or type(error).__name__
    code = getattr(error, "sqlstate", None) or type(error).__name__
    return InvalidRequest(
        f"the database refused a row of {stream}: {words}",
        reason=DATABASE_REFUSED,
        field="row",
        value=code,
        rule=words[:500],
    )


def unavailable(error: BaseException) -> Unavailable:
    words = printable(str(error)) or type(error).__name__
    return Unavailable(f"the database did not answer as it should: {words}", reason="DATABASE_UNAVAILABLE")


async def _tables(connection: Connection) -> dict[str, Table]:
    columns = await connection.fetch(
        "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS columns"
        " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND column_name <> 'recorded_at'"
        " GROUP BY table_name"
    )
    keys: dict[str, Any] = {
        line["table_name"]: line["columns"]
        for line in await connection.fetch(
            "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS columns"
            " FROM information_schema.table_constraints JOIN information_schema.key_column_usage"
            " USING (constraint_schema, constraint_name, table_name)"
            " WHERE constraint_type = 'PRIMARY KEY' AND constraint_schema = current_schema() GROUP BY table_name"
        )
    }
    return {
        line["table_name"]: Table(line["table_name"], tuple(line["columns"]), tuple(keys.get(line["table_name"], ())))
        for line in columns
    }
