"""A message that the consumer left out is read from the stream before the next one is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_reconciler.shell.follow import Follow


class StreamOf:
    """A stream that still holds some sequences."""

    def __init__(self, *sequences: int) -> None:
        self.on_connection: list[Callable[[bool], None]] = []
        self._sequences = sequences

    async def get_message(self, stream: str, sequence: int) -> StoredMessage | None:
        return _message(sequence) if sequence in self._sequences else None


def _message(sequence: int) -> StoredMessage:
    return StoredMessage("JOURNAL_0", "journal.0.A", sequence, 0, b"")


async def _taken(stream: StreamOf, *delivered: int) -> list[int]:
    seen: list[int] = []

    async def handle(message: StoredMessage) -> None:
        seen.append(message.sequence)

    follow = Follow(cast(Bus, stream), "JOURNAL_0", handle)
    for sequence in delivered:
        await follow._take(_message(sequence))
    return seen


async def test_messages_lost_on_the_way_are_read_from_the_stream_in_order() -> None:
    assert await _taken(StreamOf(1, 2, 3, 4, 5), 1, 4, 5) == [1, 2, 3, 4, 5]


async def test_what_the_stream_itself_has_dropped_is_not_waited_for() -> None:
    assert await _taken(StreamOf(1, 9), 1, 9) == [1, 9]


async def test_a_message_that_comes_again_is_used_once() -> None:
    assert await _taken(StreamOf(1, 2), 1, 2, 1, 2) == [1, 2]
