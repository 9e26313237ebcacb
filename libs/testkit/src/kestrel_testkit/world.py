"""The simulated bus: streams, consumers' cursors and buckets in memory, with the rules of the real one.

It keeps what the real bus keeps when processes die, and nothing else: a simulated service that crashes loses its
memory and finds this. Messages are stored under the real subjects, de-duplicated by message id, refused when an
expected sequence is wrong. No clock and no chance: the scheduler passes the time in and decides who runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken

T = TypeVar("T")


class WrongSequence(Exception):
    """The stream (or the key) is not where the writer believed it to be."""


class KeyExists(Exception):
    """Somebody created the key first."""


class Message(NamedTuple):
    """One stored message."""

    stream: str
    subject: str
    sequence: int
    time_ns: int
    data: bytes
    message_id: str
    traceparent: str


@dataclass(slots=True)
class SimulatedStream:
    """One stream: messages in order, and the ids that were seen. Nothing is ever deleted."""

    name: str
    messages: list[Message] = field(default_factory=list)
    sequence_by_id: dict[str, int] = field(default_factory=dict)


_STREAM_BY_TOKEN = {
    "intent": subjects.INTENTS,
    "inbox": subjects.INBOX,
    "truth": subjects.TRUTH,
    "bead": subjects.BEADS,
    "alert": subjects.ALERTS,
    "parked": subjects.PARKED,
    "market": subjects.MARKET,
}


@lru_cache(maxsize=4096)  # as many subjects as accounts, doors and symbols
def stream_of(subject: str) -> str:
    """The stream that a subject belongs to."""
    first, _, rest = subject.partition(".")
    if first == "journal":
        return subjects.journal_stream(int(rest.partition(".")[0]))
    return _STREAM_BY_TOKEN[first]


class SimulatedBus:
    """Streams and buckets. ``forget_ids`` plays a de-duplication window that has passed."""

    def __init__(self) -> None:
        self.streams: dict[str, SimulatedStream] = {}
        self.buckets: dict[str, dict[str, tuple[bytes, int]]] = {}
        self._revision = 0

    def publish(self, effect: Publish, *, now_ns: int, expected_last_sequence: int | None = None) -> tuple[int, bool]:
        """``(sequence, duplicate)``. A known message id is answered with the first sequence and stores nothing."""
        stream = self._stream(stream_of(effect.subject))
        known = stream.sequence_by_id.get(effect.message_id)
        if known is not None:
            return known, True
        last = len(stream.messages)
        if expected_last_sequence is not None and expected_last_sequence != last:
            raise WrongSequence(f"{stream.name}: expected {expected_last_sequence}, is {last}")
        time_ns = max(now_ns, stream.messages[-1].time_ns if stream.messages else 0)
        message = Message(
            stream.name, effect.subject, last + 1, time_ns, effect.body, effect.message_id, effect.traceparent
        )
        stream.messages.append(message)
        stream.sequence_by_id[effect.message_id] = message.sequence
        return message.sequence, False

    def read(self, stream: str, *, start_sequence: int = 1, prefix: str = "") -> Iterator[Message]:
        """Stored messages from a sequence on, of subjects that begin with ``prefix``."""
        messages = self._stream(stream).messages[start_sequence - 1 :]
        return iter([message for message in messages if message.subject.startswith(prefix)] if prefix else messages)

    def stored(self, stream: str) -> list[Message]:
        """All of a stream, in order; not to be changed."""
        return (self.streams.get(stream) or self._stream(stream)).messages

    def last_sequence(self, stream: str) -> int:
        return len(self._stream(stream).messages)

    def forget_ids(self, stream: str) -> None:
        """The de-duplication window has passed: an old id would be stored again."""
        self._stream(stream).sequence_by_id.clear()

    def get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        return self.buckets.get(bucket, {}).get(key)

    def create(self, bucket: str, key: str, value: bytes) -> int:
        """One winner, for ever."""
        keys = self.buckets.setdefault(bucket, {})
        if key in keys:
            raise KeyExists(f"{bucket}/{key}")
        self._revision += 1
        keys[key] = (value, self._revision)
        return self._revision

    def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Compare and set; ``revision`` 0 creates."""
        found = self.get(bucket, key)
        if (found[1] if found else 0) != revision:
            raise WrongSequence(f"{bucket}/{key}: expected revision {revision}, found {found and found[1]}")
        self._revision += 1
        self.buckets.setdefault(bucket, {})[key] = (value, self._revision)
        return self._revision

    def _stream(self, name: str) -> SimulatedStream:
        if name not in self.streams:
            if not name.isupper() and not name.startswith("JOURNAL_"):
                raise InvariantBroken(f"no stream called {name}")
            self.streams[name] = SimulatedStream(name)
        return self.streams[name]


class SimulatedDisk:
    """Named byte strings that outlive their writers, written whole or torn; ``SnapshotStore`` is the real one."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def save(self, name: str, data: bytes) -> None:
        self.files[name] = data

    async def load(self, name: str) -> bytes | None:
        return self.files.get(name)


@dataclass(frozen=True, slots=True)
class StreamState:
    """As much of a stream's state as recovery asks for."""

    last_sequence: int


class ShellBus:
    """The simulated bus as asynchronous code reads it; nothing here ever waits."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus

    async def stream_state(self, stream: str) -> StreamState:
        return StreamState(self._bus.last_sequence(stream))

    async def read(
        self, stream: str, *, start_sequence: int = 1, stop_sequence: int | None = None, subject: str = ""
    ) -> AsyncIterator[Message]:
        """Up to ``stop_sequence``, if it is given. A ``subject`` is whole, or ends in ``*`` for any last word."""
        prefix = subject.removesuffix("*")
        for message in self._bus.read(stream, start_sequence=start_sequence, prefix=prefix):
            if stop_sequence is not None and message.sequence > stop_sequence:
                return
            if subject in ("", message.subject) or subject.endswith("*"):
                yield message


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous code that waits for nobody: what it awaits is there already."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
