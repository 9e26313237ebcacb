"""`kill -9` of every process once, in mid-run: after the restart nothing is lost and nothing doubled.

Orders go in while the victim dies and comes back. At the end of each case the venue's own ledger, the journal and the
database are compared, and every chain is recomputed.
"""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.integration.platform import SYMBOLS, RunningPlatform

VICTIMS = (
    "kernel", "governance", "venue-gateway", "reconciler", "persistence", "policy", "paper", "nats", "postgres",
)  # fmt: skip
INTENTS_PER_CASE = 12

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("platform-crashes"), pytest.mark.timeout(240)]


@pytest.mark.parametrize("victim", VICTIMS)
async def test_kill_9_in_mid_run_loses_nothing_and_doubles_nothing_P10(platform: RunningPlatform, victim: str) -> None:
    day = VICTIMS.index(victim)
    async with platform.desk() as desk, platform.bus() as bus:
        await platform.publish_bars(desk, day)
        await platform.grant_mandate(desk)
        symbols = itertools.cycle(SYMBOLS)
        for number in range(INTENTS_PER_CASE):
            if number == INTENTS_PER_CASE // 3:
                platform.kill(victim)
            await platform.propose(bus, f"{victim}-{number}", next(symbols))
            await asyncio.sleep(0.05)
        await platform.until_ready()
        await platform.until_decided(bus, desk, [f"{victim}-{number}" for number in range(INTENTS_PER_CASE)])
        await platform.leave_everything(desk)
    await platform.until_stored()

    comparison, venue = await platform.compare_books()
    assert comparison.clean, comparison.findings
    assert len(venue.orders) >= 2 * (day + 1), "orders went to the venue in every case"
    audit = await platform.audit()
    assert audit.verified, [chain for chain in audit.chains if not chain.verified]
