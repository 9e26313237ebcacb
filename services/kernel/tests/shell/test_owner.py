"""The owner loop against a real NATS server."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell import patient_parking, tenure

pytestmark = pytest.mark.integration


async def stored(bus: Bus, stream: str) -> list[Any]:
    return [message async for message in bus.read(stream)]


async def alerts_of(bus: Bus) -> list[audit_pb2.Alert]:
    return [audit_pb2.Alert.FromString(message.data) for message in await stored(bus, subjects.ALERTS)]


async def test_a_trade_goes_from_entry_to_flat_over_the_bus(
    start_kernel: Any, inbox: Any, journal: Any, gateway: Any, messages: Any, until: Any
) -> None:
    kernel = start_kernel()
    await inbox.put(messages.entry(expires_at_ns=2**62))

    async def opened() -> bool:
        await gateway.answer()
        slots = kernel.served.slots.get("PAPER-1", {})
        return any(slot.qty.units == 100 for slot in slots.values())

    await until(opened, "the position is open")
    await inbox.put(messages.exit())

    async def flat() -> bool:
        await gateway.answer()
        account = kernel.served.accounts["PAPER-1"]
        return account.open_slot_count == 0 and account.execution_count == 4

    await until(flat, "the trade is flat")
    slots = kernel.served.slots["PAPER-1"].values()
    assert any(slot.lifecycle == state_pb2.LIFECYCLE_CLOSED for slot in slots)
    inbox_state = await inbox.bus.stream_state(subjects.INBOX)
    assert await journal.inputs() == list(range(1, inbox_state.last_sequence + 1))
    replayed = await journal.replayed()
    assert replayed.account("PAPER-1") == kernel.served.accounts["PAPER-1"]


async def test_garbage_and_wrong_doors_are_parked_and_nothing_behind_waits_P11(
    start_kernel: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    kernel = start_kernel()
    await inbox.put(b"\xff\x00garbage", door="entry")
    await inbox.put(messages.entry(), door="exit")
    await inbox.put(messages.tick(), account="NOBODY")
    await inbox.put(b"x" * 600_000, door="venue")
    last = await inbox.put(messages.entry(expires_at_ns=2**62))

    async def taken() -> bool:
        return kernel.served.inbox_sequence >= last

    await until(taken, "the entry behind the garbage was taken")
    assert kernel.served.slots["PAPER-1"][0].trade_id == "trade-1"

    async def all_parked() -> bool:
        return len(await stored(bus, subjects.PARKED)) == 4

    await until(all_parked, "the lane has what it had no time for before")
    parked = [audit_pb2.ParkedMessage.FromString(each.data) for each in await stored(bus, subjects.PARKED)]
    assert sorted(each.sequence for each in parked) == [1, 2, 3, 4]
    assert all(each.reason.rule and each.service == "kernel" for each in parked)
    outcomes = [entry.outcome.code for entry in await journal.entries() if not entry.HasField("epoch_started")]
    assert outcomes == ["PARKED"] * 4 + ["OK"]
    await journal.replayed()


async def test_an_unanswered_order_stalls_by_a_tick_of_the_kernels_own_T09(
    start_kernel: Any, settings: Any, bus: Bus, inbox: Any, messages: Any, until: Any
) -> None:
    accounts = (settings.accounts[0].model_copy(update={"submitted_ttl_s": 1}),)
    kernel = start_kernel(accounts=accounts)
    await inbox.put(messages.entry(expires_at_ns=2**62))
    await inbox.put(messages.order("sub-1", venue_pb2.ORDER_FACT_SUBMITTING, messages.entry_order_id()))

    async def stalled() -> bool:
        slot = kernel.served.slots.get("PAPER-1", {}).get(0)
        return slot is not None and slot.lifecycle == state_pb2.LIFECYCLE_STALLED

    await until(stalled, "the order is stalled")

    async def alerted() -> bool:
        return "ORDER_STALLED" in [alert.reason for alert in await alerts_of(bus)]

    await until(alerted, "the alert is out")
    ticks = [each for each in await stored(bus, subjects.INBOX) if each.subject.endswith(".tick")]
    assert 1 <= len(ticks) <= 3


async def test_an_idle_kernel_writes_nothing(
    start_kernel: Any, bus: Bus, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, look_count = Partition.next_deadline_ns, 0

    def counted(partition: Partition) -> tuple[int, str] | None:
        nonlocal look_count
        look_count += 1
        return look(partition)

    monkeypatch.setattr(tenure, "_TICK_WAIT_S_MAX", 0.01)
    monkeypatch.setattr(Partition, "next_deadline_ns", counted)
    kernel = start_kernel()

    async def has_looked_for_something_to_do() -> bool:
        return bool(kernel.served.owned) and look_count >= 5

    await until(has_looked_for_something_to_do, "the partition is owned, and idle")
    assert (await bus.stream_state(subjects.INBOX)).last_sequence == 0
    assert (await bus.stream_state("JOURNAL_0")).last_sequence == 1


async def test_a_snapshot_is_used_and_a_damaged_one_is_passed_over_K21(
    start_kernel: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    first = start_kernel()
    await inbox.put(messages.entry(expires_at_ns=2**62))
    last = 0
    for number in range(120):
        last = await inbox.put(messages.mark(f"m-{number}", f"{150 + number % 7}.00"))

    async def taken() -> bool:
        return first.served.inbox_sequence >= last

    await until(taken, "all marks were taken")
    await first.stop()
    snapshots = await first.snapshots.load()
    assert snapshots
    assert snapshots[0].journal_sequence == (await bus.stream_state("JOURNAL_0")).last_sequence

    second = start_kernel()

    async def owned() -> bool:
        return bool(second.served.owned)

    await until(owned, "the second owner began")
    assert second.served.inbox_sequence == last
    await second.stop()
    for place in ("a", "b"):
        await SnapshotStore(bus).save(f"kernel-0-{place}", b"damaged" * 10)
    third = start_kernel()

    async def owned_again() -> bool:
        return bool(third.served.owned)

    await until(owned_again, "the third owner began from the journal alone")
    assert third.served.inbox_sequence == last
    assert third.served.accounts == {"PAPER-1": (await journal.replayed()).account("PAPER-1")}


async def test_a_foreign_write_ends_the_tenure_and_the_next_one_replays_it(
    start_kernel: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    kernel = start_kernel()

    async def owned() -> bool:
        return bool(kernel.served.owned)

    await until(owned, "the partition is owned")
    partition = await journal.replayed()
    step = partition.start_epoch(60, "stranger", [])
    await bus.publish(step.publish())
    last = await inbox.put(messages.entry(expires_at_ns=2**62))

    async def taken() -> bool:
        return kernel.served.owned and kernel.served.inbox_sequence >= last

    await until(taken, "a new tenure took the input")
    epochs = await journal.epochs()
    assert 60 in epochs[1:-1]
    assert epochs == sorted(set(epochs))
    assert await journal.inputs() == [last]
    await journal.replayed()


async def test_a_changed_account_halts_its_partition_loudly(
    start_kernel: Any, settings: Any, bus: Bus, until: Any
) -> None:
    first = start_kernel()

    async def owned() -> bool:
        return bool(first.served.owned)

    await until(owned, "the partition is owned")
    await first.stop()
    second = start_kernel(accounts=(settings.accounts[0].model_copy(update={"max_slots": 3}),))

    async def halted() -> bool:
        found = [alert for alert in await alerts_of(bus) if alert.reason == "PARTITION_HALTED"]
        return bool(found) and "max_slots" in found[0].message

    await until(halted, "the alert says which figure differs")
    assert not second.status.ready
    assert not second.served.owned


async def test_a_damaged_journal_halts_its_partition_loudly(start_kernel: Any, bus: Bus, until: Any) -> None:
    await bus.publish(Publish("journal.0._", b"\xff\xff\xff", "garbage-1"))
    kernel = start_kernel()

    async def halted() -> bool:
        return "PARTITION_HALTED" in [alert.reason for alert in await alerts_of(bus)]

    await until(halted, "the alert is out")
    assert not kernel.served.owned
    assert (await bus.stream_state("JOURNAL_0")).last_sequence == 1


async def test_an_alert_that_a_crash_swallowed_is_published_at_the_next_start_and_only_once(
    start_kernel: Any, bus: Bus, inbox: Any, messages: Any, until: Any
) -> None:
    first = start_kernel()
    first.tasks[1].cancel()  # the process that will die publishes no alerts
    await inbox.put(messages.entry(expires_at_ns=2**62))
    last = await inbox.put(messages.order("rej-1", venue_pb2.ORDER_FACT_REJECTED, messages.entry_order_id()))

    async def taken() -> bool:
        return first.served.inbox_sequence >= last

    await until(taken, "the rejection is journaled")
    await first.stop()
    assert "VENUE_REJECTED" not in [alert.reason for alert in await alerts_of(bus)]
    for _ in range(2):
        kernel = start_kernel()
        epoch = kernel.served

        async def told(epoch: Any = epoch) -> bool:
            found = await alerts_of(bus)
            of_epoch = [alert for alert in found if alert.subject_id == f"journal-0-epoch-{epoch.epoch}"]
            return bool(of_epoch) and "VENUE_REJECTED" in [alert.reason for alert in found]

        await until(told, "the new epoch is told, and with it what was left")
        await kernel.stop()
    found = await alerts_of(bus)
    assert [alert.reason for alert in found].count("VENUE_REJECTED") == 1
    epochs = [alert.subject_id for alert in found if alert.reason == "EPOCH_STARTED"]
    assert len(epochs) == len(set(epochs)) >= 3


async def test_inputs_that_left_the_inbox_unread_are_a_critical_alert_and_trading_goes_on(
    start_kernel: Any, bus: Bus, inbox: Any, messages: Any, until: Any
) -> None:
    first = start_kernel()

    async def owned() -> bool:
        return bool(first.served.owned)

    await until(owned, "the partition is owned")
    await first.stop()
    await inbox.put(messages.tick())
    await bus.api("STREAM.PURGE.INBOX")
    second = start_kernel()
    last = await inbox.put(messages.entry(expires_at_ns=2**62))

    async def taken() -> bool:
        return second.served.inbox_sequence >= last

    await until(taken, "the entry was taken")

    async def told() -> bool:
        return "INBOX_GAP" in [alert.reason for alert in await alerts_of(bus)]

    await until(told, "the gap is told")


async def test_a_parking_lane_that_takes_nothing_holds_up_nothing_P11(
    start_kernel: Any, bus: Bus, inbox: Any, messages: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_parking, "PARKING_WAIT_S", 0.1)
    await bus.api("STREAM.DELETE.PARKED")
    kernel = start_kernel()
    for number in range(50):
        await inbox.put(b"garbage %d" % number, door="venue")
    last = await inbox.put(messages.entry(expires_at_ns=2**62))

    async def taken() -> bool:
        return kernel.served.inbox_sequence >= last

    await until(taken, "the entry behind the garbage was taken")
