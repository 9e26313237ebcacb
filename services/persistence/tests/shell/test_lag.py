"""How far the database is behind the streams, in the figures: from the first moment, and while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace

import persistence_samples as samples
import pytest

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import Unavailable
from kestrel_chassis.parking import ParkingLane
from kestrel_domain.effects import Publish
from kestrel_persistence.core.record import Record
from kestrel_persistence.shell.database import Database, Park, Position
from kestrel_persistence.shell.follower import Follower, Outage
from kestrel_testkit.fixtures import eventually

pytestmark = pytest.mark.integration

FIGURE = "lag.BEADS"


class Faulty(Database):
    """A real one, which can be away for whoever stores."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.is_away = True

    async def store(self, stream: str, records: Sequence[Record], park: Park) -> Position:
        if self.is_away:
            raise Unavailable("the database is away")
        return await super().store(stream, records, park)


async def publish(bus: Bus, first: int, last: int) -> None:
    for number in range(first, last + 1):
        body = samples.bead(f"bead-{number}", run=samples.run()).SerializeToString()
        await bus.publish_until_stored(Publish("bead.run.PAPER-1", body, f"bead-{number}"))


def told(lag: int) -> bool:
    return telemetry.figures().get(FIGURE) == lag


async def test_what_is_not_stored_is_in_the_figures_until_it_is(bus: Bus, postgres: SimpleNamespace) -> None:
    await publish(bus, 1, 7)
    database = Faulty(postgres.dsn)
    outage = Outage(bus, "persistence", time.time_ns, lambda _: None, grace_s=3600)
    parking = ParkingLane(bus, "persistence")
    follower = Follower("BEADS", bus, database, parking, outage, batch=5, batch_bytes=1 << 20, stored=lambda *_: None)
    task = asyncio.create_task(follower.run())
    await eventually(lambda: told(7), "it knows of seven before it has stored one", timeout_s=60)
    database.is_away = False
    await eventually(lambda: told(0), "all are stored", timeout_s=60)
    assert (await database.position("BEADS")).sequence == 7

    database.is_away = True
    await publish(bus, 8, 9)
    await eventually(lambda: told(2) or told(1), "the last word is not that all is well", timeout_s=60)
    database.is_away = False
    await eventually(lambda: told(0), "all are stored again", timeout_s=60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await follower.stop()
    await database.close()
