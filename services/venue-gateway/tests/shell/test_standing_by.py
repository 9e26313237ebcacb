"""What a gateway says of a login that somebody else holds: it stands by, which is not the same as no connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kestrel_chassis import telemetry
from kestrel_chassis.lease import Lease
from kestrel_chassis.parking import ParkingLane
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.shell.paper import PaperVenue
from kestrel_venue_gateway.shell.session import AccountSession

pytestmark = pytest.mark.integration

FIGURE = "session.standing_by.paper.PAPER-1"


async def test_who_stands_by_says_so_in_its_figures_until_it_holds_the_login(
    bus: Any, live_desk: Any, wait_until: Any
) -> None:
    settings = VenueGatewaySettings(pause_s_min=0.01, pause_s_max=0.05)
    nobody = PaperVenue("127.0.0.1:1", "PAPER-1", request_timeout_s=0.1)
    parking = ParkingLane(bus, "venue-gateway")
    session = AccountSession(settings, bus, nobody, live_desk.key.verifying_key(), parking, "PAPER-1")
    other = Lease(bus, "gateway-paper-PAPER-1", "the other one")
    await other.acquire()
    running = asyncio.create_task(session.run())
    try:
        await wait_until(lambda: telemetry.figures().get(FIGURE) == 1, "it stands by, and says so")
        await other.release()
        await wait_until(lambda: session.active, "it holds the login")
        assert FIGURE not in telemetry.figures()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await nobody.close()
