"""Follows one stream into the database.

The position lives in the database, in the transaction that stores the rows; the consumer only wakes us. So a database
that was restored from an older copy, or built anew, is filled from the stream by itself, and what the consumer
may have skipped is read from the stream before anything behind it is stored.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvariantBroken, KestrelError, OutcomeUnknown, Unavailable
from kestrel_domain.identifiers import derived_id
from kestrel_persistence.core.record import Record
from kestrel_persistence.core.rows import is_journal
from kestrel_persistence.shell.database import Database, Position

log = telemetry.logger()

T = TypeVar("T")

PULL_BATCH = 512
"""Part of the durable consumer's configuration, so not a setting: the server keeps what it was made with."""
LINGER_S = 0.05
"""No order waits for a row: fewer and larger transactions leave the processor to those for whom one does."""
PAUSE_S = 0.5
LINKS_MAX = 32
"""A span of a batch is linked to at most so many of the traces in it."""

_CHAINS = {subjects.BEADS: "beads"}
"""Chains beside the journals, and the tables that keep their entries."""

NEVER_PARKED = (subjects.PARKED, subjects.ALERTS)
"""Parking writes to these, so what is unusable in them is recorded in the database and logged, and not parked again."""


class Outage:
    """What all followers know of the database: whether it answers, since when it does not, and who was told.

    Begins as if the database were away: nobody has reached it yet. ``changed`` hears why it is away, or an empty text.
    """

    def __init__(
        self, bus: Bus, service: str, clock_ns: Callable[[], int], changed: Callable[[str], None], *, grace_s: float
    ) -> None:
        self._bus = bus
        self._service = service
        self._clock_ns = clock_ns
        self._changed = changed
        self._grace_s = grace_s
        self._since_ns = 0
        self._telling: asyncio.Task[None] | None = None
        changed("has not reached its database yet")

    def begun(self, error: KestrelError) -> None:
        """One outage, and one alert when it lasts, however many followers meet it."""
        telemetry.count("database.failures", 1)
        if self._since_ns:
            return
        self._since_ns = self._clock_ns()
        log.warning("database.lost", reason=error.reason, message=str(error))
        self._changed(str(error))
        self._telling = asyncio.create_task(self._tell(error, self._since_ns))

    def ended(self) -> None:
        """The database has answered."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._since_ns:
            seconds = (self._clock_ns() - self._since_ns) / 1e9
            self._since_ns = 0
            log.info("database.found", outage_seconds=round(seconds, 3))
        self._changed("")

    async def _tell(self, error: KestrelError, since_ns: int) -> None:
        await asyncio.sleep(self._grace_s)  # a restart, or a platform that starts, is nobody's concern
        alert = audit_pb2.Alert(
            alert_id=derived_id("database-outage", self._service, since_ns),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=self._service,
            reason="DATABASE_UNAVAILABLE",
            message=f"{error}. Nothing is lost: the streams keep what is not stored yet.",
            raised_at_ns=since_ns,
        )
        await self._bus.publish_until_stored(effects.alert(alert))


class Follower:
    """One stream, one task. ``stored`` is called after each commit with the stream and its new position."""

    def __init__(
        self,
        stream: str,
        bus: Bus,
        database: Database,
        parking: ParkingLane,
        outage: Outage,
        *,
        batch: int,
        batch_bytes: int,
        stored: Callable[[str, Position], None],
    ) -> None:
        self.stream = stream
        self.position = Position()
        self._bus = bus
        self._database = database
        self._parking = parking
        self._outage = outage
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._stored = stored
        self._end = 0
        """How far the stream goes, as last heard."""
        self._messages: dict[int, StoredMessage] = {}
        self._loop: PullLoop | None = None

    async def run(self) -> None:
        """Catch up from the stream, then follow it until cancelled."""
        self.position = await self._insist(lambda: self._database.position(self.stream))
        await self._check_identity()
        await self._catch_up()
        self._loop = PullLoop(
            self._bus,
            self.stream,
            durable=f"persistence-{self.stream}",
            subjects=None,
            ack="all",
            batch=PULL_BATCH,
            linger_s=LINGER_S,
        )
        await self._loop.start()
        self._hear_of(self.position.sequence + self._loop.lag)  # whatever else it numbers, it has dropped
        async for messages in self._loop.batches():
            self._hear_of(messages[-1].sequence + self._loop.lag)
            await self._take(messages)
            await self._loop.ack_all(messages[-1])

    async def stop(self) -> None:
        if self._loop is not None:
            await self._loop.stop()

    async def _check_identity(self) -> None:
        """A stream that is shorter than what we stored of it is another stream; mixing two would corrupt the record.

        So is a chain that holds something else where we stopped: it lost its end, and somebody wrote on from there.
        """
        state = await self._bus.stream_state(self.stream)
        self._hear_of(state.last_sequence)
        if state.last_sequence < self.position.sequence:
            raise InvariantBroken(
                f"stream {self.stream} ends at {state.last_sequence}, but the database holds it up to "
                f"{self.position.sequence}: this database belongs to other streams. Point `dsn` to its own database.",
                reason="STREAM_REPLACED",
            )
        if self.stream in _CHAINS or is_journal(self.stream):
            await self._check_last_entry()

    async def _check_last_entry(self) -> None:
        sequence = self.position.sequence
        stored = await self._insist(lambda: self._stored_body(sequence))
        if stored is None:  # nothing yet, or recorded raw
            return
        held = await self._bus.get_message(self.stream, sequence)
        if held is None or held.data != stored:
            raise InvariantBroken(
                f"stream {self.stream} holds {'nothing' if held is None else 'another entry'} at {sequence}, which the "
                "database has stored: the stream lost its end and was written on. Nothing more is stored from it.",
                reason="STREAM_REPLACED",
            )

    async def _stored_body(self, sequence: int) -> bytes | None:
        table = _CHAINS.get(self.stream, "journal_entries")
        async with self._database.connection() as connection:
            body: bytes | None = await connection.fetchval(
                f"SELECT body FROM {table} WHERE stream = $1 AND sequence = $2",  # noqa: S608 - our names
                self.stream,
                sequence,
            )
        return body

    async def _catch_up(self, *, stop_sequence: int | None = None) -> None:
        """Store what the stream holds from the position on. What the reading skipped is read once more."""
        while True:
            start = self.position.sequence + 1
            try:
                messages = self._bus.read(self.stream, start_sequence=start, stop_sequence=stop_sequence)
                async for chunk in self._chunks(messages):
                    await self._check_whole(chunk)
                    await self._store(chunk)
                return
            except Unavailable as error:
                telemetry.count("reads.repeated", 1)
                log.warning("stream.read_again", stream=self.stream, reason=error.reason, error=str(error))
                await asyncio.sleep(PAUSE_S)

    async def _chunks(self, messages: AsyncIterator[StoredMessage]) -> AsyncIterator[list[StoredMessage]]:
        chunk: list[StoredMessage] = []
        size = 0
        async for message in messages:
            chunk.append(message)
            size += len(message.data)
            if len(chunk) >= self._batch or size >= self._batch_bytes:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    async def _check_whole(self, messages: Sequence[StoredMessage]) -> None:
        """Raises Unavailable when the reading skipped a message that the stream still holds.

        A gap is right where the stream dropped old messages by age or number; it is wrong where a delivery was lost.
        """
        expected = self.position.sequence + 1
        for message in messages:
            if message.sequence != expected:
                for edge in {expected, message.sequence - 1}:
                    if await self._bus.get_message(self.stream, edge) is not None:
                        raise Unavailable(f"message {edge} of {self.stream} was skipped", reason="DELIVERY_LOST")
            expected = message.sequence + 1

    async def _take(self, messages: Sequence[StoredMessage]) -> None:
        """Store what the consumer brought; when it skipped something, all of it is read from the stream instead.

        What comes although we have it is a redelivery, or a stream that lost its end and is being filled again.
        """
        fresh = [message for message in messages if message.sequence > self.position.sequence]
        if len(fresh) < len(messages):
            await self._check_identity()
        expected = range(self.position.sequence + 1, self.position.sequence + 1 + len(fresh))
        if [message.sequence for message in fresh] != list(expected):
            await self._catch_up(stop_sequence=max(message.sequence for message in fresh))
            return
        for start in range(0, len(fresh), self._batch):
            await self._store(fresh[start : start + self._batch])

    async def _store(self, messages: Sequence[StoredMessage]) -> None:
        records = [record_of(message) for message in messages]
        self._messages = {message.sequence: message for message in messages}
        causes = list(dict.fromkeys(record.traceparent for record in records if record.traceparent))[:LINKS_MAX]
        with telemetry.span("rows.store", links=causes) as span:
            span.set("messaging.destination.name", self.stream)
            span.set("messaging.batch.message_count", len(records))
            self.position = await self._insist(lambda: self._database.store(self.stream, records, self._park))
        self._messages = {}
        telemetry.count("messages.stored", len(messages))
        self._show_lag()
        self._stored(self.stream, self.position)

    def _hear_of(self, end: int) -> None:
        self._end = end
        self._show_lag()

    def _show_lag(self) -> None:
        """What is known of and not stored; while the database is away, too."""
        telemetry.gauge(f"lag.{self.stream}", max(0, self._end - self.position.sequence))

    async def _park(self, record: Record, error: KestrelError) -> None:
        telemetry.count("messages.unusable", 1)
        log.warning("message.unusable", stream=record.stream, sequence=record.sequence, reason=error.reason)
        if record.stream not in NEVER_PARKED:
            await self._parking.park(self._messages[record.sequence], error)

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Try until the database answers; the pause grows to 5 s and is jittered."""
        pause = 0.1
        while True:
            try:
                result = await act()
            except (Unavailable, OutcomeUnknown) as error:
                self._outage.begun(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads load, guards nothing
                pause = min(pause * 2, 5.0)
            else:
                self._outage.ended()
                return result


def record_of(message: StoredMessage) -> Record:
    return Record(
        message.stream, message.subject, message.sequence, message.time_ns, message.data, message.traceparent or ""
    )
