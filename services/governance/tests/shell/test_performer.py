"""What goes side by side while effects are performed, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from kestrel_chassis.bus import PubAck
from kestrel_domain.effects import Publish
from kestrel_governance.shell.performer import Performer


class BusStandIn:
    """Stores a message once it is allowed to, and writes down what happened in which order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.sent, self.allowed = asyncio.Event(), asyncio.Event()

    async def publish_until_stored(self, effect: Publish) -> PubAck:
        self.happened.append(f"{effect.message_id} sent")
        self.sent.set()
        await self.allowed.wait()
        self.happened.append(f"{effect.message_id} stored")
        return PubAck("BEADS", 1)

    async def written(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


def effect(name: str) -> Publish:
    return Publish("bead.token.PAPER-1", b"", name, "")


@pytest.fixture
def bus() -> BusStandIn:
    return BusStandIn()


@pytest.fixture
def performer(bus: BusStandIn) -> Performer:
    stand_in: Any = bus
    flags: Any = None
    return Performer(stand_in, flags)


async def test_next_effect_is_made_while_one_is_being_stored_and_sent_only_when_it_is(
    bus: BusStandIn, performer: Performer
) -> None:
    def effects() -> Iterator[Publish]:
        yield effect("first")
        bus.happened.append("second made")
        bus.allowed.set()
        yield effect("second")

    async with asyncio.timeout(30):
        await performer.perform(effects())
    assert bus.happened == ["first sent", "second made", "first stored", "second sent", "second stored"]


async def test_effect_that_cannot_be_made_ends_the_performing_and_what_is_being_stored(
    bus: BusStandIn, performer: Performer
) -> None:
    def effects() -> Iterator[Publish]:
        yield effect("first")
        raise ValueError("no key")

    with pytest.raises(ValueError, match="no key"):
        await performer.perform(effects())
    bus.allowed.set()
    await asyncio.sleep(0)
    assert bus.happened == ["first sent"]


async def test_performing_that_is_canceled_sends_nothing_more(bus: BusStandIn, performer: Performer) -> None:
    performing = asyncio.create_task(performer.perform([effect("first"), effect("second")]))
    async with asyncio.timeout(30):
        await bus.sent.wait()
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    bus.allowed.set()
    await asyncio.sleep(0)
    assert bus.happened == ["first sent"]
