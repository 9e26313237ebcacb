"""Rows of the table about the whole platform: every service, PostgreSQL, three servers, orders under way."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

import pytest

from kestrel_cli.platform.layout import SERVICES
from tests.chaos.conftest import Measure
from tests.integration.platform import SYMBOLS, RunningPlatform, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("chaos"),
    pytest.mark.timeout(240),
]

INTENTS_PER_SERVICE = 6


async def test_nats_29_sigterm_of_every_service_under_load_loses_and_doubles_nothing(
    platform: RunningPlatform, measure: Measure
) -> None:
    async with platform.desk() as desk, platform.bus() as bus:
        await platform.publish_bars(desk, 0)
        await platform.grant_mandate(desk)
        symbols = itertools.cycle(SYMBOLS)
        for service in SERVICES:
            ended = platform.pid_of(service)
            for number in range(INTENTS_PER_SERVICE):
                if number == 2:
                    os.kill(ended, signal.SIGTERM)
                await platform.propose(bus, f"{service}-{number}", next(symbols))
                await asyncio.sleep(0.05)

            async def replaced(service: str = service, ended: int = ended) -> bool:
                return platform.pid_of(service) != ended and await platform.is_ready(service)

            await until(replaced, 120, f"another {service} to be ready")
            assert "service.stopped" in platform.layout.log(service).read_text(), "it ended in order"
        await platform.until_ready()
        proposed = [f"{service}-{number}" for service in SERVICES for number in range(INTENTS_PER_SERVICE)]
        await platform.until_decided(bus, desk, proposed)
        await platform.leave_everything(desk)
    await platform.until_stored()
    comparison, venue = await platform.compare_books()
    audit = await platform.audit()
    measure(
        orders=len(venue.orders),
        lost=comparison.orders_lost + comparison.fills_lost,
        doubled=comparison.orders_doubled + comparison.fills_doubled,
        chain_intact=audit.verified,
    )
    assert comparison.clean, comparison.findings
    assert audit.verified
