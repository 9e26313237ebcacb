"""What an instance says that owns nothing, or no longer: never what could be read as nothing being open."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kestrel.admin.v1 import kernel_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.streams import LEASE_TTL_S
from kestrel_domain.effects import Publish
from kestrel_domain.errors import Unavailable
from kestrel_kernel.shell.admin import KernelAdmin

pytestmark = pytest.mark.integration

CONTEXT: Any = None


async def owned(kernel: Any, until: Any) -> Any:
    async def is_owner() -> bool:
        return bool(kernel.served.owned)

    await until(is_owner, "the partition is owned")
    return kernel


async def test_whoever_slept_through_its_lease_shows_nothing_when_it_wakes_up(
    start_kernel: Any, bus: Bus, until: Any
) -> None:
    kernel = await owned(start_kernel(), until)
    admin = KernelAdmin(bus, [kernel.served])
    assert (await admin.ListAccounts(kernel_pb2.ListAccountsRequest(), CONTEXT)).accounts
    time.sleep(LEASE_TTL_S / 2 + 0.1)  # noqa: ASYNC251 - the process stands still, and with it who watches the lease
    with pytest.raises(Unavailable, match="stands by"):
        await admin.ListSlots(kernel_pb2.ListSlotsRequest(), CONTEXT)
    answer = await admin.ListAccounts(kernel_pb2.ListAccountsRequest(), CONTEXT)
    assert not answer.accounts
    assert [each.owned for each in answer.partitions] == [False]


async def test_whoever_halted_does_not_ask_to_be_asked_again(start_kernel: Any, bus: Bus, until: Any) -> None:
    await bus.publish(Publish("journal.0._", b"\xff\xff\xff", "garbage-1"))
    kernel = start_kernel()

    async def halted() -> bool:
        return bool(kernel.served.halted)

    await until(halted, "the partition halted")
    with pytest.raises(Unavailable, match="a person has to look") as caught:
        await KernelAdmin(bus, [kernel.served]).ListSlots(kernel_pb2.ListSlotsRequest(), CONTEXT)
    assert caught.value.reason == "PARTITION_HALTED"


async def test_figures_of_a_partition_end_with_its_ownership(start_kernel: Any, until: Any) -> None:
    first = await owned(start_kernel(), until)

    async def reads() -> bool:
        return {"partition.0.epoch", "partition.0.lag"} <= set(telemetry.figures())

    await until(reads, "it says which epoch it writes, and how far behind it is")
    await first.stop()
    assert not [name for name in telemetry.figures() if name.startswith("partition.")]


async def test_whoever_stands_by_says_so_in_its_figures_until_it_owns(start_kernel: Any, until: Any) -> None:
    first = await owned(start_kernel(), until)
    second = start_kernel(instance="second")

    async def stands_by() -> bool:
        return bool(second.status.ready) and telemetry.figures().get("partition.0.standing_by") == 1

    await until(stands_by, "the second is ready because it stands by, and says so")
    await first.stop()
    await owned(second, until)
    assert "partition.0.standing_by" not in telemetry.figures()
