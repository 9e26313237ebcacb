"""The database of the simulated world: rows by their key, and, in one transaction with them, how far it has read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kestrel_persistence.core.chain import Head
from kestrel_persistence.core.record import Record, Row
from kestrel_testkit.world import Message


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream is stored, and where its chain then stands."""

    sequence: int = 0
    head: Head = field(default_factory=Head)


_BEGINNING = Position()


class Database:
    """What is committed. As with the real one, a row that is there stays, and a transaction knows where it begins."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], Row] = {}
        self.positions: dict[str, Position] = {}

    def position(self, stream: str) -> Position:
        return self.positions.get(stream, _BEGINNING)

    def commit(self, stream: str, rows: Iterable[Row], before: Position, after: Position) -> bool:
        """All of it, or nothing when somebody else has stored further since ``before`` was read."""
        if self.position(stream) != before:
            return False
        for row in rows:
            value = row.values.get
            self.rows.setdefault((row.table, value("stream"), value("sequence"), value("position")), row)
        self.positions[stream] = after
        return True


def record_of(message: Message) -> Record:
    """A stored message, as persistence reads it."""
    return Record(message.stream, message.subject, message.sequence, message.time_ns, message.data, message.traceparent)
