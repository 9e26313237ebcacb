"""Rows of the table that need three servers: kills, freezes, cut routes, upgrades, with work under way."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter, OwnershipLost
from kestrel_chassis.lease import Lease
from kestrel_domain.effects import Publish
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_testkit.fixtures import connect, eventually
from tests.chaos.conftest import Measure
from tests.chaos.load import Load, entries, journal_entries, read_while_leaders_change
from tests.chaos.servers import BreakableCluster

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(180)]

JOURNAL = "JOURNAL_0"
LED = (JOURNAL, "INTENTS")


async def test_nats_02_kill_9_of_the_leader_under_load_loses_nothing_that_was_acknowledged(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure
) -> None:
    load = Load(broken_bus)
    await load.start()
    killed = await cluster.leader(broken_bus, JOURNAL)
    began_s = time.monotonic()
    cluster.servers[killed].process.kill()
    await load.progress(100)
    again_s = time.monotonic() - began_s
    outcome = await load.outcome()
    measure(**outcome.figures(), healthy_again_s=round(again_s, 2))
    assert outcome.clean, outcome


async def test_nats_05_frozen_leader_leaves_publishes_unknown_and_the_history_exact(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure
) -> None:
    load = Load(broken_bus)
    await load.start()
    frozen = cluster.servers[await cluster.leader(broken_bus, JOURNAL)]
    began_s = time.monotonic()
    frozen.process.suspend()
    await load.progress(100)
    again_s = time.monotonic() - began_s
    frozen.process.resume()
    await load.progress(100)
    outcome = await load.outcome()
    measure(**outcome.figures(), healthy_again_s=round(again_s, 2))
    assert outcome.clean, outcome


@pytest.mark.parametrize(
    ("number", "farewell"), [(signal.SIGUSR2, "lame duck"), (signal.SIGTERM, "terminate")], ids=["lame-duck", "sigterm"]
)
async def test_nats_01_graceful_end_of_the_leader_is_a_short_pause(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure, number: signal.Signals, farewell: str
) -> None:
    load = Load(broken_bus)
    await load.start()
    leading = await cluster.leader(broken_bus, JOURNAL)
    leader = cluster.servers[leading]
    began_s = time.monotonic()
    leader.process.send_signal(number)

    async def another_leads() -> bool:  # before that the old one may have stored as much as is waited for
        return await cluster.leader(broken_bus, JOURNAL) != leading

    await eventually(another_leads, "another server leads", timeout_s=60)
    await load.progress(100)
    again_s = time.monotonic() - began_s
    outcome = await load.outcome()
    measure(**outcome.figures(), signal=farewell, healthy_again_s=round(again_s, 2))
    leader.process.kill()
    assert outcome.clean, outcome


async def test_nats_03_kill_9_of_all_servers_delays_and_loses_nothing(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure
) -> None:
    load = Load(broken_bus)
    await load.start()
    for server in cluster.servers:
        server.process.kill()
    with pytest.raises((Unavailable, OutcomeUnknown)):
        await broken_bus.publish(Publish("inbox.0.PAPER-1.entry", b"order", "while-all-are-dead"), timeout=0.5)
    began_s = time.monotonic()
    await asyncio.to_thread(cluster.restore)
    await load.progress(100)
    again_s = time.monotonic() - began_s
    outcome = await load.outcome()
    measure(**outcome.figures(), healthy_again_s=round(again_s, 2))
    assert outcome.clean, outcome
    assert await read_while_leaders_change(lambda: _inputs(broken_bus)) == [], "nothing is sent later"


async def _inputs(bus: Bus) -> list[str]:
    return [message.message_id async for message in bus.read("INBOX")]


async def test_nats_12_lease_without_quorum_ends_by_the_holders_own_clock_and_nobody_takes_it(
    cluster: BreakableCluster, broken_bus: Bus, tmp_path: Path, measure: Measure
) -> None:
    holder, heir = Lease(broken_bus, "kernel.0", "holder"), Lease(broken_bus, "kernel.0", "heir")
    first_epoch = await holder.acquire()
    for server in cluster.servers[1:]:
        server.process.kill()
    began_s = time.monotonic()
    waiting = asyncio.create_task(heir.acquire())
    held_until_s = [holder._deadline_s]  # looked at, because this process may be told of it late

    def stopped() -> bool:
        held_until_s.append(holder._deadline_s)
        return holder.lost.is_set()

    await eventually(stopped, "the holder stops", timeout_s=60)
    ended_s = max(held_until_s) - began_s
    assert ended_s < holder._ttl_s
    assert not holder.held
    done, _ = await asyncio.wait({waiting}, timeout=holder._ttl_s * 0.7)
    assert not done, "nobody takes over without a quorum"
    restored_s = time.monotonic()
    await asyncio.to_thread(cluster.restore)
    async with asyncio.timeout(60):
        assert await waiting > first_epoch
    again_s = time.monotonic() - restored_s
    measure(holder_stopped_after_s=round(ended_s, 2), ttl_s=holder._ttl_s, healthy_again_s=round(again_s, 2))
    await heir.release()


async def test_nats_22_leader_cut_off_from_the_others_takes_no_write_and_its_writer_ends(
    cluster: BreakableCluster, broken_bus: Bus, tmp_path: Path, measure: Measure
) -> None:
    """The worst place for a cut: the old owner sits with the old leader, the new owner with the other two."""
    leader = await cluster.leader(broken_bus, JOURNAL)
    majority_url = ",".join(server.url for index, server in enumerate(cluster.servers) if index != leader)
    minority = await connect(cluster.servers[leader].url, tmp_path, replicas=3)
    majority = await connect(majority_url, tmp_path, replicas=3)
    stale = JournalWriter(minority, 0, 0, b"")
    await stale.append(entries(3, owner=1))

    began_s = time.monotonic()
    cluster.isolate(leader)
    left_alone = asyncio.create_task(stale.append(entries(3, stale.last_hash, start=4, owner=1)))
    lonely = asyncio.create_task(minority.publish(Publish("intent.PAPER-1", b"x", "minority"), timeout=4))
    fresh = JournalWriter(majority, 0, stale.last_sequence, stale.last_hash)
    await fresh.append(entries(2, fresh.last_hash, start=4, owner=2))
    taken_over_s = time.monotonic() - began_s
    with pytest.raises((Unavailable, OutcomeUnknown)):
        await lonely
    assert not left_alone.done(), "what no quorum has is not acknowledged"

    cluster.mend()
    with pytest.raises(OwnershipLost):
        async with asyncio.timeout(60):
            await left_alone
    await fresh.append(entries(2, fresh.last_hash, start=6, owner=2))
    assert [entry.epoch for entry in await journal_entries(majority)] == [1, 1, 1, 2, 2, 2, 2]
    measure(lost=0, doubled=0, chain_intact=True, healthy_again_s=round(taken_over_s, 2))
    await minority.close()
    await majority.close()


async def test_nats_23_follower_that_was_away_holds_up_nobody_and_catches_up(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure
) -> None:
    count = 20_000
    await cluster.until_current(broken_bus, LED)
    leader = await cluster.leader(broken_bus, "INTENTS")
    follower = cluster.servers[(leader + 1) % 3]
    follower.process.kill()
    await eventually(lambda: broken_bus.connected, "the client is with another server")
    stored = await broken_bus.publish_all_until_stored(
        [Publish("intent.PAPER-1", b"x" * 200, f"m-{number}") for number in range(count)]
    )
    assert len({ack.sequence for ack in stored}) == count
    assert not await _is_current(cluster, broken_bus), "the lag can be seen"
    began_s = time.monotonic()
    await asyncio.to_thread(follower.process.start)
    await cluster.until_current(broken_bus, ["INTENTS"])
    measure(messages_behind=count, healthy_again_s=round(time.monotonic() - began_s, 2), lost=0, doubled=0)


async def _is_current(cluster: BreakableCluster, bus: Bus) -> bool:
    try:
        await cluster.until_current(bus, ["INTENTS"], timeout_s=0.2)
    except AssertionError:
        return False
    return True


async def test_nats_28_rolling_upgrade_under_load_pauses_and_loses_nothing(
    cluster: BreakableCluster, broken_bus: Bus, measure: Measure
) -> None:
    load = Load(broken_bus)
    await load.start()
    for server in cluster.servers:
        server.process.send_signal(signal.SIGUSR2)
        await load.progress(60)
        await asyncio.to_thread(server.process.stop)  # it takes its time, and the load goes on
        await asyncio.to_thread(server.process.start)
        await cluster.until_current(broken_bus, LED)
    outcome = await load.outcome()
    measure(**outcome.figures())
    assert outcome.clean, outcome
