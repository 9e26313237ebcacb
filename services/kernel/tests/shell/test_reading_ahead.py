"""A long journal comes from a process of its own: whole, in order, whatever happens to that process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import Any

import psutil
import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter
from kestrel_domain import effects
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell import reading_ahead, recovery

STREAM = "JOURNAL_0"


async def _fill_stream(bus: Bus, count: int, size: int) -> list[bytes]:
    entries = [number.to_bytes(4, "big") * (size // 4) for number in range(count)]
    await bus.publish_all([effects.Publish("journal.0.X", data, f"x-{n}", "") for n, data in enumerate(entries)])
    return entries


async def _read(bus: Bus, last_sequence: int, *, start_sequence: int = 1) -> list[reading_ahead.Entry]:
    found: list[reading_ahead.Entry] = []
    async for entries in reading_ahead.read(bus, STREAM, start_sequence, last_sequence):
        found += entries
    return found


def _readers() -> list[psutil.Process]:
    """Those that are alive: one that was killed may be there for a while, until it is waited for."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if reading_ahead.__name__ in child.cmdline():
                found.append(child)
    return found


@pytest.mark.integration
@pytest.mark.parametrize("long", [10, 10_000], ids=["by another process", "here"])
async def test_every_entry_comes_once_and_in_order(bus: Bus, monkeypatch: pytest.MonkeyPatch, long: int) -> None:
    monkeypatch.setattr(reading_ahead, "LONG", long)
    stored = await _fill_stream(bus, 700, 1000)
    found = await _read(bus, 600, start_sequence=3)
    assert [entry.sequence for entry in found] == list(range(3, 701))
    assert [entry.data for entry in found] == stored[2:]
    assert not _readers()


@pytest.mark.integration
async def test_when_the_other_process_is_killed_the_rest_is_read_here(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_ahead, "LONG", 10)
    stored = await _fill_stream(bus, 2_000, 1000)  # more than the pipe holds, so the other is not through
    found: list[reading_ahead.Entry] = []
    killed: set[int] = set()
    async for entries in reading_ahead.read(bus, STREAM, 1, len(stored)):
        for reader in _readers():
            with contextlib.suppress(psutil.NoSuchProcess):
                reader.kill()
                killed.add(reader.pid)
        found += entries
    assert len(killed) == 1
    assert [entry.sequence for entry in found] == list(range(1, len(stored) + 1))
    assert [entry.data for entry in found] == stored


@pytest.mark.integration
async def test_a_reading_that_is_given_up_leaves_no_process_behind(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "LONG", 10)
    await _fill_stream(bus, 2_000, 1000)
    reading = reading_ahead.read(bus, STREAM, 1, 2_000)
    await anext(reading)
    assert len(_readers()) == 1
    await reading.aclose()
    assert not _readers()


@pytest.mark.integration
async def test_the_other_process_writes_all_of_it_and_ends_in_order(bus: Bus) -> None:
    stored = await _fill_stream(bus, 700, 1000)
    request = {"settings": bus.settings.model_dump(mode="json"), "stream": STREAM, "range": [1, len(stored)]}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", reading_ahead.__name__, stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request).encode() + b"\n")
    async with asyncio.timeout(60):
        brought = await child.stdout.read()
        assert await child.wait() == 0
    assert len(brought) > sum(map(len, stored))
    assert brought.endswith(stored[-1])


@pytest.mark.integration
async def test_the_other_process_ends_with_its_parent(bus: Bus) -> None:
    settings = bus.settings.model_dump(mode="json") | {"nats_url": "nats://127.0.0.1:1"}  # nobody: it would try on
    request = {"settings": settings, "stream": STREAM, "range": [1, 2]}
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", reading_ahead.__name__)
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.close()
    try:
        async with asyncio.timeout(60):
            await child.wait()
    finally:
        if child.returncode is None:
            os.kill(child.pid, signal.SIGKILL)


@pytest.mark.integration
async def test_a_partition_recovers_to_the_same_state_whoever_reads_its_journal_K21(
    bus: Bus, messages: Any, configuration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(0, 1)
    steps = [partition.start_epoch(1, "test", [configuration])]
    inbox = [messages.entry(expires_at_ns=2**62)]
    inbox += [messages.mark(f"m-{number}", f"{150 + number % 7}.00") for number in range(300)]
    for sequence, message in enumerate(inbox, start=1):
        subject = f"inbox.0.PAPER-1.{message.WhichOneof('body')}"
        steps.append(partition.apply(subject, sequence, sequence, message.SerializeToString()))
    await JournalWriter(bus, 0, 0, b"").append([step.publish() for step in steps])
    monkeypatch.setattr(reading_ahead, "LONG", 10)
    recovered, _ = await recovery.recover(bus, 0, 1, [])
    assert recovered.journal_hash == partition.journal_hash
    assert recovered.digest("PAPER-1") == partition.digest("PAPER-1")
    recovered.close()
    partition.close()


def test_entries_that_come_in_pieces_are_put_together() -> None:
    entries = [reading_ahead.Entry(number, bytes([number]) * number) for number in range(1, 9)]
    wire = b"".join(reading_ahead._HEAD.pack(entry.sequence, len(entry.data)) + entry.data for entry in entries)
    for size in range(1, len(wire) + 1):
        found, rest = [], b""
        for at in range(0, len(wire), size):
            some, rest = reading_ahead._taken(rest + wire[at : at + size])
            found += some
        assert (found, rest) == (entries, b"")
