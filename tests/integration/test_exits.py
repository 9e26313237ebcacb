"""Entries need permission, exits need none."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.platform import RunningPlatform, run_kestrel, until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("platform-exits"), pytest.mark.timeout(240)]


async def open_trade(platform: RunningPlatform, intent_id: str, symbol: str) -> None:
    async with platform.desk() as desk, platform.bus() as bus:
        await platform.publish_bars(desk, 0)
        await platform.grant_mandate(desk)
        await platform.propose(bus, intent_id, symbol)

        async def is_open() -> bool:
            return any(slot.trade_id == intent_id and slot.qty.units for slot in await desk.open_slots())

        await until(is_open, 90, f"{intent_id} to be open")


async def test_an_exit_stands_on_its_warrant_while_governance_is_stopped_T07(platform: RunningPlatform) -> None:
    await open_trade(platform, "exit-without-governance", "IBM")
    governance = platform.pid_of("governance")
    os.kill(governance, signal.SIGSTOP)
    try:
        async with platform.desk() as desk:
            await platform.leave_everything(desk, within_s=90)
    finally:
        os.kill(governance, signal.SIGCONT)
    await platform.until_ready()


async def test_a_kill_flag_stops_entries_and_lets_exits_pass_INV_KILL_BLOCKS_ENTRY_1(platform: RunningPlatform) -> None:
    await open_trade(platform, "exit-while-killed", "MSFT")
    folder = str(platform.layout.root)
    run_kestrel("kill", "--reason", "test", "--data-dir", folder)
    async with platform.desk() as desk, platform.bus() as bus:
        before = len((await desk.ledger()).orders)
        await platform.propose(bus, "entry-while-killed", "AAPL")

        async def denied() -> bool:
            beads = platform.command("beads", "--kind", "decision")
            return any("entry-while-killed" in str(bead) and "DENIED" in str(bead) for bead in _rows(beads))

        await until(denied, 90, "the entry to be denied", pause_s=0.5)
        await platform.leave_everything(desk, within_s=90)
        orders = (await desk.ledger()).orders
    assert len(orders) == before + 1, "the exit went out and the entry did not"
    run_kestrel("rearm", "--reason", "test is over", "--as", "risk", "--data-dir", folder)
    assert await kill_flags(platform), "one person alone does not re-arm"
    run_kestrel("rearm", "--reason", "test is over", "--as", "admin", "--data-dir", folder)
    assert not await kill_flags(platform)


async def kill_flags(platform: RunningPlatform) -> list[object]:
    """As `kestrel status` shows them, once governance has said."""
    shown: list[list[object]] = []

    async def said() -> bool:
        flags = platform.command("status")["kill_flags"]
        shown[:] = [flags] if flags is not None else []
        return bool(shown)

    await until(said, 90, "governance to say which flags there are", pause_s=0.5)
    return shown[0]


def _rows(answer: object) -> list[object]:
    if isinstance(answer, dict):
        return list(next(iter(answer.values())))
    assert isinstance(answer, list)
    return answer
