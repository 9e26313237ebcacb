"""A message that the consumer left out is read from the stream before the next one is used."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from nats.aio.msg import Msg

from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.pull import Pull
from kestrel_domain.effects import Publish
from kestrel_reconciler.shell.follow import Follow


class StreamOf:
    """A stream that still holds some sequences."""

    def __init__(self, *sequences: int) -> None:
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


@pytest.mark.integration
async def test_a_truth_that_does_not_reach_us_is_read_before_the_newer_ones(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, lost = Pull._received, []

    async def leaky(pull: Pull, message: Msg) -> None:
        if message.data == b"3" and not lost:
            lost.append(message.reply)
            return
        await received(pull, message)

    monkeypatch.setattr(Pull, "_received", leaky)
    seen: list[bytes] = []
    complete = asyncio.Event()

    async def handle(message: StoredMessage) -> None:
        seen.append(message.data)
        if len(seen) == 6:
            complete.set()

    follow = Follow(bus, "TRUTH", handle)
    running = asyncio.create_task(follow.run())
    await bus.publish_all([Publish("truth.paper.PAPER-1", b"%d" % number, f"t-{number}") for number in range(6)])
    async with asyncio.timeout(60):
        await complete.wait()
    await follow.stop()
    await running
    assert lost
    assert seen == [b"%d" % number for number in range(6)]
