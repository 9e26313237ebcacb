"""Following the journal: what a consumer may do to us, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from kestrel_chassis.messages import ConsumerLost, DeliveryGap, StoredMessage
from kestrel_domain.errors import Unavailable
from kestrel_venue_gateway.shell import journal

STREAM = "JOURNAL_0"
Script = tuple[list[Exception], list[int], Exception | None]


class ScriptedLoop:
    """Plays what each new consumer does: errors while it is made, then messages, then how it ends."""

    scripts: ClassVar[list[Script]] = []
    made_from: ClassVar[list[int]] = []

    def __init__(self, bus: Any, stream: str, *, start_sequence: int, **options: Any) -> None:
        assert options["ordered"], "a lost delivery must not pass unseen"
        self.stream = stream
        self.made_from.append(start_sequence)
        self._refusals, self._sequences, self._end = self.scripts.pop(0)

    async def start(self) -> None:
        if self._refusals:
            raise self._refusals.pop(0)

    async def batches(self) -> AsyncIterator[list[StoredMessage]]:
        for sequence in self._sequences:
            yield [StoredMessage(STREAM, "journal.0.A", sequence, 1, b"")]
        if self._end is not None:
            raise self._end

    async def stop(self) -> None: ...


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedLoop]:
    monkeypatch.setattr(journal, "PullLoop", ScriptedLoop)
    monkeypatch.setattr(journal, "_PAUSE_S", 0.001)
    monkeypatch.setattr(ScriptedLoop, "made_from", [])
    return ScriptedLoop


async def followed(after_sequence: int) -> list[int]:
    bus: Any = None
    return [message.sequence async for message in journal.follow(bus, STREAM, after_sequence)]


async def test_a_lost_delivery_or_consumer_is_followed_by_a_new_one_behind_our_position(
    scripted: type[ScriptedLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts: list[Script] = [
        ([], [4, 5], DeliveryGap("7 came, 6 was due")),
        ([], [6], ConsumerLost("gone")),
        ([], [7], None),
    ]
    monkeypatch.setattr(scripted, "scripts", scripts)
    assert await followed(3) == [4, 5, 6, 7]
    assert scripted.made_from == [4, 6, 7]


async def test_while_no_consumer_can_be_made_it_waits(
    scripted: type[ScriptedLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals: list[Exception] = [Unavailable("an election"), Unavailable("an election"), DeliveryGap("disorder")]
    monkeypatch.setattr(scripted, "scripts", [(refusals, [], None), ([], [4], None)])
    assert await followed(3) == [4]
    assert scripted.made_from == [4, 4]
