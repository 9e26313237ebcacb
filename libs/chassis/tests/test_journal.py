"""One history, whatever the writers believe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis import journal
from kestrel_chassis.bus import Bus, PubAck
from kestrel_chassis.journal import JournalWriter, OwnershipLost, entry_hash, read_journal
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken, KestrelError, OutcomeUnknown, Unavailable
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from kestrel_testkit.servers import NatsServer

pytestmark = pytest.mark.integration


def entries(count: int, previous: bytes = b"", *, start: int = 1, owner: int = 1) -> list[Publish]:
    """Chained entries of one owner (epoch)."""
    made = []
    for number in range(start, start + count):
        entry = journal_pb2.JournalEntry(
            partition=0, account="PAPER-1", epoch=owner, input_sequence=number, previous_hash=previous
        )
        body = entry.SerializeToString()
        made.append(Publish("journal.0.PAPER-1", body, f"j-0-{owner}-{number}"))
        previous = entry_hash(body)
    return made


async def test_entries_are_appended_chained_and_read_back(bus: Bus) -> None:
    writer = JournalWriter(bus, 0, 0, b"")
    first = entries(300)
    assert await writer.append(first) == list(range(1, 301))
    assert await writer.append(entries(5, writer.last_hash, start=301)) == [301, 302, 303, 304, 305]
    assert await writer.append([]) == []

    records = [record async for record in read_journal(bus, 0)]
    assert [record.entry.input_sequence for record in records] == list(range(1, 306))
    assert records[-1].hash == writer.last_hash
    assert [record.sequence async for record in read_journal(bus, 0, 304)] == [304, 305]


async def test_entries_that_do_not_chain_are_not_written(bus: Bus) -> None:
    writer = JournalWriter(bus, 0, 0, b"")
    with pytest.raises(InvariantBroken):
        await writer.append([entries(1)[0], entries(1, b"x" * 32, start=2)[0]])
    assert (await bus.stream_state("JOURNAL_0")).messages == 0


async def test_a_broken_chain_or_foreign_bytes_stop_the_reader(bus: Bus) -> None:
    await bus.publish_all([*entries(1), Publish("journal.0.PAPER-1", entries(1, start=2)[0].body, "loose")])
    with pytest.raises(InvariantBroken, match="hash"):
        [record async for record in read_journal(bus, 0)]

    await provision_afresh(bus)
    await bus.publish(Publish("journal.0.PAPER-1", b"\xff\xff", "noise"))
    with pytest.raises(InvariantBroken, match="parsed"):
        [record async for record in read_journal(bus, 0)]


async def test_a_stale_owner_is_refused_and_there_is_exactly_one_history(any_bus: Bus) -> None:
    bus = any_bus
    stale = JournalWriter(bus, 0, 0, b"")
    await stale.append(entries(3, owner=1))
    fresh = JournalWriter(bus, 0, stale.last_sequence, stale.last_hash)
    await fresh.append(entries(2, fresh.last_hash, start=4, owner=2))

    with pytest.raises(OwnershipLost):
        await stale.append(entries(4, stale.last_hash, start=4, owner=1))
    with pytest.raises(OwnershipLost):  # and it stays finished
        await stale.append(entries(1, stale.last_hash, start=4, owner=1))
    await fresh.append(entries(2, fresh.last_hash, start=6, owner=2))

    assert [record.entry.epoch async for record in read_journal(bus, 0)] == [1, 1, 1, 2, 2, 2, 2]


async def test_two_writers_at_once_leave_one_unbroken_chain(any_bus: Bus) -> None:
    bus = any_bus
    writers = {1: JournalWriter(bus, 0, 0, b""), 2: JournalWriter(bus, 0, 0, b"")}

    async def write(owner: int) -> int:
        writer = writers[owner]
        for start in range(1, 100, 7):
            try:
                await writer.append(entries(7, writer.last_hash, start=start, owner=owner))
            except OwnershipLost:
                return start
        return 0

    lost = await asyncio.gather(write(1), write(2))
    epochs = [record.entry.epoch async for record in read_journal(bus, 0)]

    assert sorted(bool(start) for start in lost) == [False, True]
    winner = 1 if lost[0] == 0 else 2
    assert len([epoch for epoch in epochs if epoch == winner]) == 105
    assert len(set(epochs)) == 1


async def test_an_append_whose_answers_were_lost_is_found_in_the_journal(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    writer = JournalWriter(bus, 0, 0, b"")
    wanted = entries(20)
    # Stored by an attempt of ours whose answers never came: the writer still believes in an empty journal.
    for offset, entry in enumerate(wanted[:12]):
        await bus.publish(entry, expected_last_sequence=offset)

    assert await writer.append(wanted) == list(range(1, 21))
    assert len([record async for record in read_journal(bus, 0)]) == 20
    await bus.close()


async def test_an_id_that_is_stored_with_other_bytes_ends_the_writer(any_bus: Bus) -> None:
    """Three servers know the id and answer "stored" before they look at sequences: the bytes have to be compared."""
    wanted = entries(1)
    await any_bus.publish(Publish(wanted[0].subject, b"something else", wanted[0].message_id))
    with pytest.raises(OwnershipLost):
        await JournalWriter(any_bus, 0, 0, b"").append(wanted)


async def test_an_append_survives_a_killed_and_a_frozen_server(own_nats_server: NatsServer, tmp_path: Path) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    writer = JournalWriter(bus, 0, 0, b"")

    async def write() -> None:
        for start in range(1, 2001, 50):
            await writer.append(entries(50, writer.last_hash, start=start))

    writing = asyncio.create_task(write())
    await eventually(lambda: writer.last_sequence >= 300, "300 entries are committed")
    own_nats_server.process.kill()
    own_nats_server.process.start()
    await eventually(lambda: writer.last_sequence >= 900, "900 entries are committed")
    own_nats_server.process.suspend()
    await asyncio.sleep(0.3)
    own_nats_server.process.resume()
    await writing

    inputs = [record.entry.input_sequence async for record in read_journal(bus, 0)]
    assert inputs == list(range(1, 2001))
    await bus.close()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_to_writes_and_answers_the_history_is_exact(
    bus: Bus, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write may be lost before it is stored, lose its answer afterwards, or arrive late, after its repetition."""
    chance = random.Random(seed)
    monkeypatch.setattr(journal, "_RESOLVE_PAUSE_S", 0.005)
    send, publish_atomic = bus.send, bus.publish_atomic
    late: list[Callable[[], Awaitable[object]]] = []

    async def perform(write: Callable[[], Awaitable[PubAck]]) -> PubAck:
        fate = chance.choice(["good", "good", "refused", "lost", "unanswered", "late"])
        if fate == "refused":
            raise Unavailable("not sent")
        if fate == "late":
            late.append(write)
        if fate in ("lost", "late"):
            raise OutcomeUnknown("nobody knows")
        ack = await write()
        while late:
            with pytest.raises(KestrelError):  # it comes too late: the place is taken
                await late.pop()()
        if fate == "unanswered":
            raise OutcomeUnknown("nobody knows")
        return ack

    async def faulty_send(entry: Publish, *, expected_last_sequence: int) -> asyncio.Future[PubAck]:
        async def write() -> PubAck:
            return await (await send(entry, expected_last_sequence=expected_last_sequence))

        future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        future.set_result(await perform(write))
        return future

    async def faulty_atomic(batch: Sequence[Publish], *, expected_last_sequence: int) -> PubAck:
        return await perform(lambda: publish_atomic(batch, expected_last_sequence=expected_last_sequence))

    monkeypatch.setattr(bus, "send", faulty_send)
    monkeypatch.setattr(bus, "publish_atomic", faulty_atomic)
    writer, wanted = JournalWriter(bus, 0, 0, b""), 0
    while wanted < 120:
        count = chance.choice([1, 1, 2, 5, 20])
        await writer.append(entries(count, writer.last_hash, start=wanted + 1))
        wanted += count

    assert [record.entry.input_sequence async for record in read_journal(bus, 0)] == list(range(1, wanted + 1))


async def test_an_append_that_cannot_be_resolved_ends_the_writer(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RESOLVE_TIMEOUT_S", 0.5)
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    writer = JournalWriter(bus, 0, 0, b"")
    own_nats_server.process.kill()
    await eventually(lambda: not bus.connected, "the client notices")
    with pytest.raises(OutcomeUnknown):
        await writer.append(entries(1))
    with pytest.raises(OwnershipLost):
        await writer.append(entries(1))
    await bus.close()


async def test_a_journal_whose_beginning_is_missing_is_not_read_from_the_middle(bus: Bus) -> None:
    with pytest.raises(InvariantBroken, match="missing"):
        [record async for record in read_journal(bus, 0, 5)]
