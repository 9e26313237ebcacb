"""One tenure: from taking the lease to losing it. Fold, complete what a crash left, then handle what comes.

Everything that changes state happens under one lock, and its effects are stored before the lock is released: the
state in memory is never ahead of the streams by more than the work in hand. Whatever ends a tenure (a lost lease, a
broken connection, another instance's decision), the next one begins with a fresh fold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, Unavailable
from kestrel_domain.timestamps import SECOND_NS
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Answer, Authority, Effect
from kestrel_governance.shell.flags import FlagStore
from kestrel_governance.shell.fold import (
    Positions,
    account_of,
    fold,
    learn_bar,
    learn_bead,
    learn_journal_entry,
)
from kestrel_governance.shell.performer import Performer

_LINGER_S = 0.02
"""How long what becomes of tokens may wait for what follows it, so that an intent does not wait for each word of it.
What the kernel journals does not linger: whoever leaves a symbol and enters it again at once would find it busy."""


_SWARM_S = 0.05
"""How long changes may gather before the next deadline is looked for."""


class TenureOver(Exception):
    """The tenure has to end and the next one fold again."""


class Tenure:
    """The active instance. ``is_held`` says whether the lease still is."""

    def __init__(
        self,
        bus: Bus,
        authority: Authority,
        parking: ParkingLane,
        *,
        partitions: int,
        is_held: Callable[[], bool],
    ) -> None:
        self.authority = authority
        self.flags = FlagStore(bus.bucket(subjects.FLAGS_BUCKET))
        self.connection_broke = asyncio.Event()
        self._bus = bus
        self._parking = parking
        self._partitions = partitions
        self._is_held = is_held
        self._performer = Performer(bus, self.flags)
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()

    async def begin(self) -> Positions:
        """Fold, then complete and decide what was left undone."""
        with telemetry.replaying():
            positions = await fold(self._bus, self.authority, self._parking, self._partitions)
        flags = await self.flags.read()
        if flags is None:
            raise Unavailable("the kill flags cannot be read; nothing is decided before they can")
        async with self.deciding():
            await self._performer.perform(self.authority.recover(now_ns=time.time_ns(), flags=flags))
        telemetry.logger().info("tenure.begun", positions=positions.next_sequence)
        return positions

    async def run(self, positions: Positions) -> None:
        """Handle what comes until something ends the tenure."""
        after = positions.next_sequence
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intents(after[subjects.INTENTS]))
            tasks.create_task(self._beads(after[subjects.BEADS]))
            for partition in range(self._partitions):
                stream = subjects.journal_stream(partition)
                tasks.create_task(self._journal(stream, after[stream]))
            tasks.create_task(self._market(after[subjects.MARKET]))
            tasks.create_task(self._deadlines())
            tasks.create_task(self._connection())

    # -- what people ask --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[None]:
        """One decision at a time, and only while the lease is ours."""
        async with self._lock:
            if not self._is_held():
                raise Unavailable("this instance no longer holds the lease; ask again", reason="STANDBY")
            yield
            self._changed.set()
            telemetry.gauge("intents.pending", sum(1 for _ in self.authority.state.pending()))

    async def answer(self, ask: Callable[[authority_pb2.KillFlags | None, int], Answer]) -> Answer:
        """Ask the core with the flags and the time as they are now, and store what follows."""
        async with self.deciding():
            flags = await self.flags.read()
            answer = ask(flags, time.time_ns())
            await self._performer.perform(answer.effects)
            return answer

    async def rearm(
        self, scope: authority_pb2.KillScope.ValueType, target: str, reason: str, actor: common_pb2.Actor
    ) -> tuple[bool, authority_pb2.KillFlags]:
        """``(completed, flags)``. Raises ``Refused`` when the rule says no."""
        async with self.deciding():
            now_ns = time.time_ns()
            intention = self.authority.rearm_intention(scope, target, reason, actor, now_ns)
            current = await self.flags.read() or kill.unreadable(now_ns)
            kill.rearmed(current, scope, target, actor, now_ns)  # refuses before anything is written
            await self._performer.perform([intention])
            completed, touched = False, [authority_pb2.KillFlag()]

            def change(flags: authority_pb2.KillFlags) -> authority_pb2.KillFlags:
                nonlocal completed, touched
                changed, completed, touched = kill.rearmed(flags, scope, target, actor, now_ns)
                return changed

            flags = await self.flags.change(change)
            await self._performer.perform(self.authority.rearm_effects(touched))
            return completed, flags

    async def perform(self, effects: Sequence[Effect]) -> None:
        """Store effects that no state follows from."""
        async with self.deciding():
            await self._performer.perform(effects)

    # -- what comes by the bus --------------------------------------------------------------------------------------

    async def _intents(self, start_sequence: int) -> None:
        async for batch in self._batches(subjects.INTENTS, start_sequence):
            for message in batch:
                await self._take_intent(message)

    async def _take_intent(self, message: StoredMessage) -> None:
        with telemetry.span("intent.decide", message.traceparent) as span:
            span.set("trading.account.id", account_of(message.subject))
            try:
                await self._decide(message, span.traceparent)
            except InvalidRequest as error:
                span.fail(error.reason, str(error))
                await self._parking.park(message, error)

    async def _decide(self, message: StoredMessage, traceparent: str) -> None:
        async with self.deciding():
            reading = asyncio.create_task(self.flags.read())
            try:
                await self._bus.written()
                record = self.authority.learn_intent(
                    message.data,
                    account=account_of(message.subject),
                    received_at_ns=message.time_ns,
                    traceparent=traceparent or message.traceparent,
                )
                telemetry.count("intents.received")
                if record is not None:
                    weighed = self.authority.weigh(record, now_ns=time.time_ns())
                    await self._performer.perform(self.authority.decide(record, weighed, await reading))
            finally:
                reading.cancel()  # nothing, unless there was nothing to decide

    async def _beads(self, start_sequence: int) -> None:
        await self._learn(subjects.BEADS, start_sequence, learn_bead, subject="bead.token.*", linger_s=_LINGER_S)

    async def _journal(self, stream: str, start_sequence: int) -> None:
        await self._learn(stream, start_sequence, learn_journal_entry)

    async def _learn(
        self,
        stream: str,
        start_sequence: int,
        learn: Callable[[Authority, StoredMessage], None],
        *,
        subject: str | None = None,
        linger_s: float = 0.0,
    ) -> None:
        """Facts, as many at a time as have come: capital stays reserved until they are learned, so late is safe."""
        async for batch in self._batches(stream, start_sequence, subject, linger_s=linger_s):
            async with self.deciding():
                for message in batch:
                    learn(self.authority, message)

    async def _market(self, start_sequence: int) -> None:
        async for batch in self._batches(subjects.MARKET, start_sequence):
            for message in batch:
                learn_bar(self.authority, message)

    async def _batches(
        self, stream: str, start_sequence: int, subject: str | None = None, *, linger_s: float = 0.0
    ) -> AsyncIterator[list[StoredMessage]]:
        """What is stored from now on. Unacknowledged: the position is in memory, and a break means a new fold."""
        loop = PullLoop(
            self._bus,
            stream,
            subjects=[subject] if subject else None,
            start_sequence=start_sequence,
            ack="none",
            ordered=True,  # a lost delivery ends the tenure; the next one folds it
            linger_s=linger_s,
        )
        try:
            async for batch in loop.batches():
                yield batch
        finally:
            await loop.stop()
        raise TenureOver(f"reading {stream} was stopped")

    async def _deadlines(self) -> None:
        """Tick when the next deadline is due, or look again when something changed.

        Changes come in swarms, and each look walks all open intents; deadlines are minutes away.
        """
        while True:
            self._changed.clear()
            deadline_ns = self.authority.next_deadline_ns()
            wait_s = None if deadline_ns is None else max(0.0, (deadline_ns - time.time_ns()) / SECOND_NS)
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
                await asyncio.sleep(_SWARM_S)
            except TimeoutError:
                async with self.deciding():
                    await self._performer.perform(self.authority.tick(now_ns=time.time_ns()))

    async def _connection(self) -> None:
        """What was on its way when a connection broke is lost to an unacknowledged reader: fold again."""
        await self.connection_broke.wait()
        raise TenureOver("the connection broke")
