"""The service as a process: killed in mid-run, frozen, doubled."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis.bus import Bus
from kestrel_domain import subjects

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

INPUT_COUNT = 300


async def feed(inbox: Any, messages: Any, count: int = INPUT_COUNT, start: int = 0) -> None:
    """A stream of inputs with trades, marks and garbage among them."""
    for number in range(start, count):
        if number % 50 == 0:
            intent = messages.intent(f"trade-{number}")
            intent.instrument.symbol = f"S{number}"  # one trade at a time in a symbol
            await inbox.put(messages.entry(intent, expires_at_ns=2**62))
        elif number % 37 == 0:
            await inbox.put(b"\xff garbage", door="venue")
        else:
            await inbox.put(messages.mark(f"m-{number}", f"{150 + number % 9}.25"))


async def every_input_once(bus: Bus, journal: Any) -> bool:
    last = (await bus.stream_state(subjects.INBOX)).last_sequence
    return bool(await journal.inputs() == list(range(1, last + 1)))


def commands_of(entries: list[journal_pb2.JournalEntry]) -> list[str]:
    return [command.client_order_id for entry in entries for command in entry.commands]


async def test_after_a_kill_in_mid_run_every_input_is_journaled_exactly_once(
    process: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    first = process("first")
    feeding = asyncio.create_task(feed(inbox, messages, INPUT_COUNT // 2))

    async def under_way() -> bool:
        return (await bus.stream_state("JOURNAL_0")).last_sequence > 60

    await until(under_way, "the kernel is at work")
    first.kill()
    await feeding
    await feed(inbox, messages, start=INPUT_COUNT // 2)  # what only the second can journal
    process("second")

    async def complete() -> bool:
        return await every_input_once(bus, journal)

    await until(complete, "every input is in the journal once", timeout_s=60.0)
    assert len(await journal.epochs()) >= 2  # more where a busy machine let a lease run out
    commands = commands_of(await journal.entries())
    assert len(commands) == len(set(commands)) == 6
    await journal.replayed()
    garbage_count = len([number for number in range(INPUT_COUNT) if number % 37 == 0 and number % 50 != 0])

    async def all_parked() -> bool:
        return (await bus.stream_state(subjects.PARKED)).messages >= garbage_count

    await until(all_parked, "what could not be used is parked")
    assert len({message.message_id async for message in bus.read(subjects.PARKED)}) == garbage_count


async def test_two_instances_write_one_history_even_when_the_owner_was_frozen(
    process: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    instances = {name: process(name) for name in ("left", "right")}

    async def owned() -> bool:
        return len(await journal.epochs()) >= 1

    await until(owned, "one of them owns the partition")
    await feed(inbox, messages, 40)

    async def complete() -> bool:
        return await every_input_once(bus, journal)

    await until(complete, "the owner took all of it")
    entries = await journal.entries()
    before = len(await journal.epochs())
    owner = [entry for entry in entries if entry.HasField("epoch_started")][-1].epoch_started.owner
    instances[owner].signal(signal.SIGSTOP)
    await feed(inbox, messages, 30)

    async def taken_over() -> bool:
        return len(await journal.epochs()) > before

    await until(taken_over, "the other took over", timeout_s=60.0)
    instances[owner].signal(signal.SIGCONT)
    await feed(inbox, messages, 30)
    await until(complete, "every input is in the journal once", timeout_s=60.0)
    await journal.replayed()
    writers = [entry.epoch for entry in await journal.entries()]
    assert writers == sorted(writers)


async def test_an_orderly_stop_leaves_a_snapshot_and_gives_the_lease_back(
    process: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    first = process("first")
    await feed(inbox, messages, 20)

    async def complete() -> bool:
        return await every_input_once(bus, journal)

    await until(complete, "all was taken")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    before = len(await journal.epochs())
    process("second")

    async def again() -> bool:
        return len(await journal.epochs()) > before

    await until(again, "the next owner began")
    log = first.log.read_bytes()
    assert b"snapshot.saved" in log
    assert b"lease.released" in log
