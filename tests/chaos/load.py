"""Work under way while something breaks, and the count afterwards: lost, doubled, chain intact, longest silence."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter, entry_hash, read_journal
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken, Unavailable
from kestrel_testkit.fixtures import eventually

_PACE_S = 0.004
_ENTRIES_AT_ONCE = 5
_LEADERS_TIMEOUT_S = 60.0

T = TypeVar("T")


def entries(count: int, previous: bytes = b"", *, start: int = 1, owner: int = 1) -> list[Publish]:
    """Chained journal entries of one owner (epoch)."""
    made = []
    for number in range(start, start + count):
        entry = journal_pb2.JournalEntry(
            partition=0, account="PAPER-1", epoch=owner, input_sequence=number, previous_hash=previous
        )
        body = entry.SerializeToString()
        made.append(Publish("journal.0.PAPER-1", body, f"j-0-{owner}-{number}"))
        previous = entry_hash(body)
    return made


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a failure. ``stored`` counts what was acknowledged to us; a silence is one writer's."""

    stored: int
    lost: int
    doubled: int
    chain_intact: bool
    longest_silence_s: float

    @property
    def clean(self) -> bool:
        return self.chain_intact and not (self.lost or self.doubled)

    def figures(self) -> dict[str, object]:
        return {**asdict(self), "longest_silence_s": round(self.longest_silence_s, 2)}


class Load:
    """Two writers: chained entries into a journal, and messages with ids of their own into INTENTS."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._acked: dict[str, int] = {}
        self._journaled = 0
        self._last_s: dict[str, float] = {}
        self._longest_silence_s = 0.0

    @property
    def stored(self) -> int:
        return self._journaled + len(self._acked)

    async def start(self) -> None:
        """Under way when this returns."""
        self._tasks = [asyncio.create_task(self._journal()), asyncio.create_task(self._publish())]
        await self.progress(100)
        self._longest_silence_s = 0.0

    async def progress(self, count: int, *, timeout_s: float = 90.0) -> None:
        """Wait until so much more is stored, by either writer and by both."""
        wanted = (self._journaled + count // 2, len(self._acked) + count // 2)

        def enough() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return self._journaled >= wanted[0] and len(self._acked) >= wanted[1]

        await eventually(enough, f"{count} more are stored", timeout_s=timeout_s)

    async def outcome(self) -> Outcome:
        """Stop writing and count what is there."""
        self._stopping.set()
        async with asyncio.timeout(90):
            await asyncio.gather(*self._tasks)
        stored = await read_while_leaders_change(self._intents)
        places = set(stored)
        times = Counter(identity for identity, _ in stored)
        lost = sum(1 for pair in self._acked.items() if pair not in places)
        inputs, chain_intact = await self._read_journal()
        missing = len(set(range(1, self._journaled + 1)) - set(inputs))
        doubled = sum(count - 1 for count in times.values()) + len(inputs) - len(set(inputs))
        return Outcome(self.stored, lost + missing, doubled, chain_intact, self._longest_silence_s)

    async def _intents(self) -> list[tuple[str, int]]:
        return [(message.message_id, message.sequence) async for message in self._bus.read("INTENTS")]

    async def _read_journal(self) -> tuple[list[int], bool]:
        try:
            return [entry.input_sequence for entry in await journal_entries(self._bus)], True
        except InvariantBroken:
            return [], False

    async def _journal(self) -> None:
        writer = JournalWriter(self._bus, 0, 0, b"")
        while not self._stopping.is_set():
            await writer.append(entries(_ENTRIES_AT_ONCE, writer.last_hash, start=self._journaled + 1))
            self._journaled += _ENTRIES_AT_ONCE
            self._note("journal")
            await asyncio.sleep(_PACE_S)

    async def _publish(self) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            identity = f"load-{number}"
            ack = await self._bus.publish_until_stored(Publish("intent.PAPER-1", b"%d" % number, identity))
            self._acked[identity] = ack.sequence
            self._note("intents")
            await asyncio.sleep(_PACE_S)

    def _note(self, writer: str) -> None:
        now_s = time.monotonic()
        silence_s = now_s - self._last_s.get(writer, now_s)
        self._longest_silence_s = max(self._longest_silence_s, silence_s)
        self._last_s[writer] = now_s


async def journal_entries(bus: Bus) -> list[journal_pb2.JournalEntry]:
    """The whole journal, every hash checked. Raises ``InvariantBroken``."""

    async def read() -> list[journal_pb2.JournalEntry]:
        return [record.entry async for record in read_journal(bus, 0)]

    return await read_while_leaders_change(read)


async def read_while_leaders_change(read: Callable[[], Awaitable[list[T]]]) -> list[T]:
    """Once more, within a bound, while streams elect their leaders: reading is not what is being tested."""
    deadline_s = time.monotonic() + _LEADERS_TIMEOUT_S
    while True:
        try:
            return await read()
        except Unavailable:
            if time.monotonic() > deadline_s:
                raise
        await asyncio.sleep(0.2)
