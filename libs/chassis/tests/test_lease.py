"""A lease has one holder, and passes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.lease import Lease
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from kestrel_testkit.servers import NatsServer

pytestmark = pytest.mark.integration


async def test_a_released_lease_passes_on_with_a_higher_epoch(bus: Bus) -> None:
    first, second = Lease(bus, "kernel.0", "one"), Lease(bus, "kernel.0", "two")
    first_epoch = await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    assert await first.holder() == "one"
    assert first.held
    assert not second.held

    await first.release()
    second_epoch = await waiting
    assert second.held
    assert not first.held
    assert second_epoch > first_epoch == first.epoch
    assert not first.lost.is_set()
    await second.release()
    assert await second.holder() == ""


async def test_a_lease_given_back_late_leaves_that_of_another_alone_in_a_bucket_that_counts_anew(bus: Bus) -> None:
    late, heir = Lease(bus, "kernel.0", "late"), Lease(bus, "kernel.0", "heir")
    await late.acquire()
    await provision_afresh(bus)  # somebody made the buckets anew
    await heir.acquire()
    assert heir.epoch == late.epoch
    await late.release()
    assert await late.holder() == "heir"
    await heir.release()


async def test_the_lease_of_a_dead_holder_expires_and_passes_on(bus: Bus) -> None:
    dead = Lease(bus, "kernel.0", "dead")
    first_epoch = await dead.acquire()
    assert dead._renewal is not None
    dead._renewal.cancel()  # the process is gone: nobody renews
    heir = Lease(bus, "kernel.0", "heir")
    async with asyncio.timeout(45):
        assert await heir.acquire() > first_epoch
    assert not dead.held  # by its own clock, without having been told
    await heir.release()


async def test_a_holder_that_is_cut_off_stops_by_its_own_clock_before_the_lease_ends(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    lease = Lease(bus, "gateway.PAPER-1", "one")
    await lease.acquire()
    own_nats_server.process.suspend()
    cut_off_s = time.monotonic()
    held_until_s = [lease._deadline_s]  # looked at, because this process may be told of it late

    def lost() -> bool:
        held_until_s.append(lease._deadline_s)
        return lease.lost.is_set()

    await eventually(lost, "the holder stops")
    assert max(held_until_s) < cut_off_s + lease._ttl_s * 0.75
    assert not lease.held
    own_nats_server.process.resume()
    await eventually(lambda: bus.connected, "the connection is back")
    await lease.release()
    assert await lease.holder() == ""  # nobody has to wait for what it can still give back
    await bus.close()


async def test_a_holder_whose_lease_was_taken_is_told(bus: Bus) -> None:
    lease = Lease(bus, "kernel.0", "one")
    await lease.acquire()
    bucket, of_the_thief = bus.bucket("leases"), b'{"owner": "thief"}'
    await bucket.put("kernel.0", of_the_thief)
    await eventually(lease.lost.is_set, "the holder notices at its next renewal")
    assert not lease.held
    await bucket.put("kernel.0", of_the_thief)  # anew: it may have run out while the holder noticed
    await lease.release()
    found = await bucket.get("kernel.0")
    assert found is not None  # and does not delete what is not its own


async def test_a_lease_is_renewed_for_as_long_as_it_is_held(bus: Bus) -> None:
    lease = Lease(bus, "kernel.0", "one")
    epoch = await lease.acquire()
    bucket = bus.bucket("leases")

    async def renewed() -> bool:
        found = await bucket.get("kernel.0")
        return found is not None and found[1] > epoch

    await eventually(renewed, "the key has a new revision")
    assert lease.held
    assert lease.epoch == epoch
    await lease.release()
