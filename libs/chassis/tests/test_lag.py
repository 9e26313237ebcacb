"""How far behind its readers are, in the figures: of those there are, the furthest; of none, nothing."""

from __future__ import annotations

import pytest

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_domain.effects import Publish

pytestmark = pytest.mark.integration

FIGURE = "consumer.lag.INBOX"


async def publish(bus: Bus, partition: int, count: int) -> None:
    subject = f"inbox.{partition}.PAPER-1.venue"
    await bus.publish_all([Publish(subject, b"%d" % n, f"id-{partition}-{n}") for n in range(count)])


def reader(bus: Bus, partition: int) -> PullLoop:
    return PullLoop(bus, "INBOX", subjects=[f"inbox.{partition}.>"], ack="none", batch=4)


async def test_a_reader_says_how_far_behind_it_is_before_it_has_read_anything(bus: Bus) -> None:
    await publish(bus, 0, 40)
    loop = reader(bus, 0)
    await loop.start()
    assert telemetry.figures()[FIGURE] == 40
    await loop.stop()
    assert FIGURE not in telemetry.figures()


async def test_a_reader_that_has_everything_does_not_hide_one_that_has_not(bus: Bus) -> None:
    await publish(bus, 0, 40)
    await publish(bus, 1, 1)
    behind, current = reader(bus, 0), reader(bus, 1)
    await behind.start()
    async for batch in current.batches():
        assert batch[-1].pending == 0
        break
    assert telemetry.figures()[FIGURE] == 40
    await behind.stop()
    assert telemetry.figures()[FIGURE] == 0
    await current.stop()
