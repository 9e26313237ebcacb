"""Verification: every chain from the database and from the streams, and every row from the stored bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kestrel_chassis.bus import Bus
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_persistence.core.chain import Head
from kestrel_persistence.core.checkpoint import Checkpoint
from kestrel_persistence.core.plan import plan, tables_of_stream
from kestrel_persistence.core.record import Record, tables_of
from kestrel_persistence.core.rows import is_journal
from kestrel_persistence.core.verification import ChainVerification, StoredEntry, Verdict
from kestrel_persistence.shell.checkpoints import CheckpointFile
from kestrel_persistence.shell.database import DATABASE_REFUSED, ROW_FAULTS, Connection, Database, Table
from kestrel_persistence.shell.follower import record_of

READ_AT_ONCE = 500
UNUSABLE = "unusable_messages"
SUPERSEDED = (subjects.TRUTH, subjects.MARKET)
"""Streams that keep the last so many messages of each subject: what lies between those is in the database only."""

T = TypeVar("T")

_JOURNAL_ENTRIES = """
SELECT sequence, time_ns, '' AS subject, body, entry_hash FROM journal_entries
 WHERE stream = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4
"""
_BEADS = """
SELECT sequence, time_ns, subject, body, chain_hash AS entry_hash, previous_hash, chain_sequence FROM beads
 WHERE stream = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4
"""


class Audit:
    """Reads both stores and says whether they are whole, and agree."""

    def __init__(
        self, database: Database, bus: Bus, file: CheckpointFile, public: Ed25519PublicKey, streams: Sequence[str]
    ) -> None:
        self._database = database
        self._bus = bus
        self._file = file
        self._public = public
        self._streams = streams

    async def verify(self, *, patience_seconds: float = 5.0) -> list[Verdict]:
        """A verdict per chain, then one per stream for its rows (``rows:INTENTS``).

        What is in a stream and not stored yet is no fault: verification waits for it for a while, then looks at
        what has been stored.
        """
        verdicts = []
        ends = {stream: await self._settled(stream, patience_seconds) for stream in self._streams}
        checkpoints, problem = await self._settled_checkpoints(patience_seconds)
        if problem:
            verdicts.append(Verdict("checkpoints", Head(), Head(), 0, problem))
        for stream in self._streams:
            if stream == subjects.BEADS or is_journal(stream):
                verdicts.append(await self._chain(stream, ends[stream], checkpoints))
        for stream in self._streams:
            verdicts.append(await self._rows(stream, ends[stream]))
        return verdicts

    async def _settled(self, stream: str, patience_seconds: float) -> int:
        """How far the stream has been stored; first gives persistence a moment to reach the present end."""
        wanted = (await self._bus.stream_state(stream)).last_sequence
        async with asyncio.timeout(patience_seconds + 60):
            for _ in range(max(1, int(patience_seconds / 0.1))):
                position = await self._database.position(stream)
                if position.sequence >= wanted:
                    break
                await asyncio.sleep(0.1)
        return position.sequence

    async def _settled_checkpoints(self, patience_seconds: float) -> tuple[list[Checkpoint], str]:
        """A checkpoint is written to the file, and then to the database, so only a difference that lasts is one."""
        checkpoints, problem = await self._checkpoints()
        for _ in range(int(patience_seconds / 0.1)):
            if not problem:
                break
            await asyncio.sleep(0.1)
            checkpoints, problem = await self._checkpoints()
        return checkpoints, problem

    async def _checkpoints(self) -> tuple[list[Checkpoint], str]:
        """Those of the file and those of the database; they must be the same."""
        async with self._database.connection() as connection:
            lines = await connection.fetch("SELECT * FROM checkpoints ORDER BY chain, chain_length")
        inside = {
            Checkpoint(
                line["chain"],
                line["chain_length"],
                line["chain_head"],
                line["merkle_root"],
                line["signed_at_ns"],
                line["key_id"],
                line["signature"],
            )
            for line in lines
        }
        try:
            outside = set(self._file.read())
        except InvalidRequest as error:
            return list(inside), f"the checkpoint file is damaged: {error}"
        problem = ""
        for one in sorted(inside ^ outside, key=lambda c: (c.chain, c.length)):
            here, there = ("database", "file") if one in inside else ("file", "database")
            problem = f"the checkpoint of {one.chain} over {one.length} entries is in the {here} and not in the {there}"
            break
        return list(inside | outside), problem

    async def _chain(self, stream: str, end: int, checkpoints: Iterable[Checkpoint]) -> Verdict:
        """Walk both copies side by side, in constant memory.

        Both grow meanwhile, and the database after the stream: so first it is asked how far it goes, now that the
        checkpoints are known, and then the stream for as much.
        """
        end = max(end, await self._last_stored(stream))
        verification = ChainVerification(stream, checkpoints, self._public)
        stored = _Ahead(self._entries(stream, end))
        streamed = _Ahead(self._stream(stream, end))
        left, right = await stored.take(), await streamed.take()
        while left is not None or right is not None:
            if right is None or (left is not None and left.record.sequence < right.sequence):
                verification.take(left, None)
                left = await stored.take()
            elif left is None or right.sequence < left.record.sequence:
                verification.take(None, right)
                right = await streamed.take()
            else:
                verification.take(left, right)
                left, right = await stored.take(), await streamed.take()
        return verification.verdict()

    async def _last_stored(self, stream: str) -> int:
        """The last row, also one that somebody wrote past us."""
        table = "journal_entries" if is_journal(stream) else "beads"
        async with self._database.connection() as connection:
            query = f"SELECT max(sequence) FROM {table} WHERE stream = $1"  # noqa: S608 - our names
            return await connection.fetchval(query, stream) or 0

    async def _entries(self, stream: str, end: int) -> AsyncIterator[StoredEntry]:
        journal = is_journal(stream)
        query = _JOURNAL_ENTRIES if journal else _BEADS
        after = 0
        while True:
            async with self._database.connection() as connection:
                lines = await connection.fetch(query, stream, after, end, READ_AT_ONCE)
            for line in lines:
                record = Record(stream, line["subject"], line["sequence"], line["time_ns"], line["body"])
                if journal:
                    yield StoredEntry(record, line["entry_hash"])
                else:
                    yield StoredEntry(record, line["entry_hash"], line["previous_hash"], line["chain_sequence"])
                after = record.sequence
            if len(lines) < READ_AT_ONCE:
                return

    async def _stream(self, stream: str, end: int) -> AsyncIterator[Record]:
        if end:
            async for message in self._bus.read(stream, start_sequence=1, stop_sequence=end):
                yield record_of(message)

    async def _rows(self, stream: str, end: int) -> Verdict:
        """Compute every row again from the stream's bytes and compare it with what the tables hold."""
        head, counted, after = Head(), 0, 0
        bad, problem = 0, ""
        async for records in self._batches(stream, end):
            head, bad, problem = await self._compare(stream, records, head, after)
            counted, after = counted + len(records), records[-1].sequence
            if problem:
                break
        if not problem:
            bad, problem = await self._beyond(stream)
        seen = Head(counted, b"")  # rows are compared, not chained
        return Verdict(f"rows:{stream}", seen, seen, bad, problem)

    async def _batches(self, stream: str, end: int) -> AsyncIterator[list[Record]]:
        batch: list[Record] = []
        async for record in self._stream(stream, end):
            batch.append(record)
            if len(batch) >= READ_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _compare(self, stream: str, records: Sequence[Record], head: Head, after: int) -> tuple[Head, int, str]:
        """The head after these records, and the first row that is wrong, if there is one."""
        scope = [record.sequence for record in records]
        if stream not in SUPERSEDED:
            scope = list(range(after + 1 if after else scope[0], scope[-1] + 1))
        async with self._database.connection() as connection, connection.transaction():
            refused = await self._refused(connection, stream, scope)
            for sequence in refused:
                if await self._is_taken(connection, records, head, sequence):
                    return head, sequence, "recorded as refused by the database, which takes it"
            planned = plan(records, head, refused)
            expected = tables_of(planned.rows)
            for table in (*tables_of_stream(stream), UNUSABLE):
                await self._database.stage(connection, table, expected.get(table, []))
                query = _differing(self._database.tables[table])
                differing = await connection.fetchrow(query, stream, scope)
                if differing is not None:
                    problem = f"table {table}: a row is {differing['kind']}; the stored bytes say otherwise"
                    return planned.head, differing["sequence"], problem
        return planned.head, 0, ""

    async def _refused(self, connection: Connection, stream: str, scope: Sequence[int]) -> dict[int, KestrelError]:
        """What the database is said to have refused. What cannot be read shows by itself."""
        query = (
            "SELECT sequence, reason, message FROM unusable_messages"
            " WHERE stream = $1 AND sequence = ANY($2) AND reason = $3"
        )
        lines = await connection.fetch(query, stream, scope, DATABASE_REFUSED)
        return {line["sequence"]: InvalidRequest(line["message"], reason=line["reason"]) for line in lines}

    async def _is_taken(self, connection: Connection, records: Sequence[Record], head: Head, sequence: int) -> bool:
        """Whether the database takes the rows of a message that it is said to have refused."""
        rows = [row for row in plan(records, head, {}).rows if row.values["sequence"] == sequence]
        try:
            for table, some in tables_of(rows).items():
                async with connection.transaction():  # a savepoint: a refusal ends only this
                    await self._database.stage(connection, table, some)
                    await connection.execute(f"TRUNCATE {self._database.tables[table].stage}")
        except ROW_FAULTS:
            return False
        return bool(rows)

    async def _beyond(self, stream: str) -> tuple[int, str]:
        """Rows that nobody has stored yet: somebody wrote them past us."""
        async with self._database.connection() as connection:
            for table in (*tables_of_stream(stream), UNUSABLE):
                last = await connection.fetchval(
                    f"SELECT max(sequence) FROM {table} WHERE stream = $1",  # noqa: S608 - our names
                    stream,
                )
                if last and last > (await self._database.position(stream)).sequence:
                    return last, f"table {table}: a row is beyond the end of what was stored"
        return 0, ""


def _differing(shape: Table) -> str:
    """The first row that is in the table and not in its stage, or the other way round."""
    columns = ", ".join(shape.columns)
    held = f"SELECT {columns} FROM {shape.name} WHERE stream = $1 AND sequence = ANY($2)"  # noqa: S608
    right = f"SELECT {columns} FROM {shape.stage}"  # noqa: S608 - our names
    return (
        f"SELECT sequence, kind FROM ("  # noqa: S608
        f"(SELECT sequence, 'missing or changed' AS kind FROM ({right} EXCEPT {held}) AS a)"
        f" UNION ALL (SELECT sequence, 'changed or added' FROM ({held} EXCEPT {right}) AS b)"
        f") AS c ORDER BY sequence LIMIT 1"
    )


class _Ahead(Generic[T]):
    """One step of an asynchronous iterator at a time; None at the end."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source

    async def take(self) -> T | None:
        return await anext(self._source, None)
