"""What breaks around the gateway: the bus, its twin, its own clock. Nothing is lost, nothing is doubled."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects

pytestmark = pytest.mark.integration

ACKNOWLEDGED, DENIED = venue_pb2.ORDER_FACT_ACKNOWLEDGED, venue_pb2.ORDER_FACT_DENIED
LEASE = "gateway-paper-PAPER-1"


def entries(world: Any, first: int, count: int) -> list[Any]:
    return [
        world.desk.entry(world.desk.intent(f"trade-{number}", quantity="1")) for number in range(first, first + count)
    ]


async def issue(world: Any, commands: list[Any]) -> None:
    for command in commands:
        await world.kernel.command(command)


async def check_books(world: Any, commands: list[Any], wait_until: Any) -> set[str]:
    """Waits until all are settled; compares what the venue saw with what was reported. The acknowledged ids."""
    for command in commands:
        await world.settled(command, ACKNOWLEDGED, DENIED)
    ledger = await world.paper.ledger()
    await wait_until(lambda: len(world.kernel.fills()) >= len(ledger.fills), "all fills arrive")
    facts = {command.client_order_id: set(world.kernel.facts(command.client_order_id)) for command in commands}
    acknowledged = {order_id for order_id, found in facts.items() if ACKNOWLEDGED in found}
    assert not any({ACKNOWLEDGED, DENIED} <= found for found in facts.values()), "acknowledged and denied"
    assert {order.client_order_id for order in ledger.orders} == acknowledged
    assert all(arrival.request_count == 1 for arrival in ledger.arrivals)
    executions = sorted(fill.execution_id for fill in world.kernel.fills())
    assert executions == sorted(fill.execution_id for fill in ledger.fills)
    return acknowledged


async def test_bus_killed_in_mid_run_delays_and_loses_nothing(own_world: Any, wait_until: Any) -> None:
    world, server = own_world
    world.gateway()
    await world.paper.bar(1, "100.00")
    before = entries(world, 0, 8)
    await issue(world, before)
    await wait_until(lambda: len(world.kernel.reports) > 6, "the gateway is in the middle of it")
    server.process.kill()
    server.process.start()
    after = entries(world, 8, 8)
    await issue(world, after)
    await check_books(world, before + after, wait_until)
    assert {command.client_order_id for command in after} & {fill.client_order_id for fill in world.kernel.fills()}


async def test_of_two_gateways_one_works_and_the_other_takes_over(world: Any, wait_until: Any) -> None:
    first, _ = world.gateway(), world.gateway()
    await world.paper.bar(1, "100.00")
    early = entries(world, 0, 6)
    await issue(world, early)
    assert len(await check_books(world, early, wait_until)) == 6
    holder = await world.bus.bucket(subjects.LEASES_BUCKET).get(LEASE)
    assert holder is not None
    (leading,) = [gateway for gateway in world.gateways if f"-{gateway.process.pid}".encode() in holder[0]]
    leading.kill()
    late = entries(world, 6, 6)
    await issue(world, late)
    assert len(await check_books(world, early + late, wait_until)) == 12
    assert first in world.gateways


async def test_frozen_gateway_that_wakes_up_after_its_lease_sends_nothing_SCN_22(world: Any, wait_until: Any) -> None:
    frozen = world.gateway()
    await world.paper.bar(1, "100.00")
    early = entries(world, 0, 2)
    await issue(world, early)
    await check_books(world, early, wait_until)
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        world.gateway()
        late = entries(world, 2, 6)
        await issue(world, late)
        assert len(await check_books(world, early + late, wait_until)) == 8
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    more = entries(world, 8, 4)
    await issue(world, more)
    assert len(await check_books(world, early + late + more, wait_until)) == 12


async def test_venue_killed_in_mid_run_delays_and_loses_nothing(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    before = entries(world, 0, 6)
    await issue(world, before)
    await wait_until(lambda: len(world.kernel.reports) > 4, "the gateway is in the middle of it")
    world.paper.kill()
    world.paper.restart()
    after = entries(world, 6, 6)
    await issue(world, after)
    await check_books(world, before + after, wait_until)
