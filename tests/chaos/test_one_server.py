"""Rows of the table for which one server is enough: disks, limits, corruption, permissions, certificates, consumers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter, read_journal
from kestrel_chassis.messages import LimitReached
from kestrel_cli.demo import collect
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken
from kestrel_testkit.fixtures import Database, connect, eventually, provision_afresh
from tests.chaos import services
from tests.chaos.conftest import Measure
from tests.chaos.load import entries
from tests.chaos.servers import BreakableServer, can_mount_small_disks, small_disk

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(120)]

DISK_BYTES = 24 << 20
INVARIANT_BROKEN = 3
"""The exit code of a service that found one of its invariants false."""


def intent(number: int, body: bytes = b"x") -> Publish:
    return Publish("intent.PAPER-1", body, f"m-{number}")


@pytest.fixture
def small_disk_server(tmp_path: Path) -> Iterator[BreakableServer]:
    """A server whose store is on a disk of a few megabytes; on the usual one where no mount is allowed."""
    store = tmp_path / "nats" / "kestrel"
    possible = can_mount_small_disks(tmp_path / "probe")
    found = (
        BreakableServer(tmp_path / "nats", wrap=small_disk(store, DISK_BYTES))
        if possible
        else BreakableServer(tmp_path / "nats")
    )
    found.process.start()
    yield found
    found.process.kill()


# --- disk, limits, corruption --------------------------------------------------------------------------------------


async def test_nats_18_full_store_is_told_apart_from_a_missing_leader_and_reading_goes_on(tmp_path: Path) -> None:
    server = BreakableServer(tmp_path / "nats", max_file_store_bytes=4 << 20)
    server.process.start()
    try:
        bus = await connect(server.url, tmp_path)
        await bus.api("STREAM.CREATE.SMALL", {"name": "SMALL", "subjects": ["small"], "discard": "new"})
        stored = 0
        with pytest.raises(LimitReached, match="10023"):
            for number in range(100):
                await bus.publish(Publish("small", b"x" * 100_000, f"m-{number}"))
                stored += 1
        assert [message.sequence async for message in bus.read("SMALL")] == list(range(1, stored + 1))
        waiting = asyncio.create_task(bus.publish_until_stored(Publish("small", b"x" * 100_000, "waits for room")))
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        await bus.api("STREAM.PURGE.SMALL", {"keep": 1})
        async with asyncio.timeout(10):
            assert (await waiting).sequence == stored + 1
        await bus.close()
    finally:
        server.process.kill()


async def test_nats_24_flipped_byte_in_a_stored_block_stops_every_reader_of_the_journal(
    server: BreakableServer, tmp_path: Path, measure: Measure
) -> None:
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    await JournalWriter(bus, 0, 0, b"").append(entries(200))
    await bus.close()
    server.process.stop()
    block = journal_blocks(server.store)[0]
    flip_a_byte(block, block.stat().st_size // 2)
    server.process.start()
    bus = await connect(server.url, tmp_path)
    with pytest.raises(InvariantBroken):
        await read_from(bus, 200)
    measure(entries=200, detected=True)
    await bus.close()


async def test_nats_04_journal_that_lost_its_unsynced_tail_stops_persistence_which_had_seen_it(
    server: BreakableServer, postgres: Database, secrets: Path, tmp_path: Path, measure: Measure
) -> None:
    """What a power cut does to a server without always-sync: its newest blocks end earlier than what was acknowledged.

    The chain of what is left is whole, so the chain cannot tell; the database, which remembers a position, can.
    """
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    await JournalWriter(bus, 0, 0, b"").append(entries(200))
    recorder = services.persistence(tmp_path, server.url, secrets, postgres.dsn)
    recorder.start()
    try:
        await stored_up_to(postgres, 200)
        recorder.send_signal(signal.SIGTERM)
        assert await recorder.ended() == 0
        await bus.close()
        server.process.kill()
        forget_the_tail(server.store)
        server.process.start()
        bus = await connect(server.url, tmp_path)
        left = [record.sequence async for record in read_journal(bus, 0)]
        assert left == list(range(1, len(left) + 1))
        assert 0 < len(left) < 200
        recorder.start()
        assert await recorder.ended() == INVARIANT_BROKEN
        assert f"JOURNAL_0 ends at {len(left)}, but the database holds it up to 200" in recorder.said()
    finally:
        recorder.end()
    measure(entries=200, left=len(left), detected=True)
    await bus.close()


async def stored_up_to(database: Database, sequence: int) -> None:
    async def stored() -> bool:
        try:
            return (await collect.stream_positions(database.dsn)).get("JOURNAL_0", 0) >= sequence
        except asyncpg.PostgresError:  # the tables are not made yet
            return False

    await eventually(stored, "persistence has the journal", timeout_s=30)


def forget_the_tail(store: Path) -> None:
    block = journal_blocks(store)[-1]
    with block.open("r+b") as file:
        file.truncate(block.stat().st_size * 3 // 4)
    for index in block.parent.glob("index.db"):
        index.unlink()


async def read_from(bus: Bus, sequence: int) -> None:
    """Read the journal as somebody who knows that it reached this sequence."""
    seen = 0
    async for record in read_journal(bus, 0):
        seen = record.sequence
    if seen < sequence:
        raise InvariantBroken(f"the journal ends at {seen}; it reached {sequence}")


def journal_blocks(store: Path) -> list[Path]:
    return sorted(store.glob("**/streams/JOURNAL_0/msgs/*.blk"))


def flip_a_byte(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x01]))
