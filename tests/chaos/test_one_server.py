"""Rows of the table for which one server is enough: disks, limits, corruption, permissions, certificates, consumers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel_chassis import bus as bus_module
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import JournalWriter, read_journal
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import LimitReached
from kestrel_chassis.service import EXIT_PUT_OUT
from kestrel_cli.demo import collect
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken, KestrelError, OutcomeUnknown, Unavailable
from kestrel_testkit.fixtures import Database, connect, eventually, provision_afresh
from tests.chaos import certificates, services
from tests.chaos.conftest import Measure
from tests.chaos.load import entries
from tests.chaos.servers import BreakableServer, SmallDisk, flip_a_byte

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(240)]

DISK_BYTES, BALLAST_BYTES, MESSAGE_BYTES = 24 << 20, 12 << 20, 100_000
INVARIANT_BROKEN = 3
"""The exit code of a service that found one of its invariants false."""


def intent(number: int, body: bytes = b"x") -> Publish:
    return Publish("intent.PAPER-1", body, f"m-{number}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "nats" / "kestrel", DISK_BYTES)
    yield disk
    disk.close()


# --- disk, limits, corruption --------------------------------------------------------------------------------------


async def test_nats_18_full_store_is_told_apart_from_a_missing_leader_and_reading_goes_on(
    tmp_path: Path, measure: Measure
) -> None:
    server = BreakableServer(tmp_path / "nats", max_file_store_bytes=4 << 20)
    server.process.start()
    try:
        bus = await connect(server.url, tmp_path)
        await bus.api("STREAM.CREATE.SMALL", {"name": "SMALL", "subjects": ["small"], "discard": "new"})
        acknowledged, failure = await publish_until_refused(bus, timeout_s=60.0)
        stored = len(acknowledged)
        assert isinstance(failure, LimitReached)
        assert "10023" in str(failure)
        assert [message.sequence async for message in bus.read("SMALL")] == list(range(1, stored + 1))
        waiting = asyncio.create_task(bus.publish_until_stored(Publish("small", b"x" * 100_000, "waits for room")))
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        began_s = time.monotonic()
        await bus.api("STREAM.PURGE.SMALL", {"keep": 1})
        async with asyncio.timeout(60):
            assert (await waiting).sequence == stored + 1
        measure(acknowledged=stored, lost=0, doubled=0, healthy_again_s=round(time.monotonic() - began_s, 2))
        await bus.close()
    finally:
        server.process.kill()


async def test_nats_24_flipped_byte_in_a_stored_block_stops_every_reader_of_the_journal(
    server: BreakableServer, tmp_path: Path, measure: Measure
) -> None:
    """The server leaves the damaged entry out and goes on behind it: the next one does not follow what was read."""
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    await JournalWriter(bus, 0, 0, b"").append(entries(200))
    await bus.close()
    server.process.stop()
    flip_in_the_middle(server.store)
    server.process.start()
    bus = await connect(server.url, tmp_path)
    with pytest.raises(InvariantBroken, match=r"entry \d+ is missing, \d+ follows"):
        assert [record async for record in read_journal(bus, 0)]
    measure(entries=200, detected=True)
    await bus.close()


async def test_nats_24_journal_that_the_server_cut_off_at_the_damage_halts_the_kernel_that_remembers_more(
    server: BreakableServer, secrets: Path, tmp_path: Path, measure: Measure
) -> None:
    """A server that was killed has no index of its blocks, and ends the stream before the damage it finds in them.

    What is left is whole in itself; the kernel's snapshot knows that there was more.
    """
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    kernel = services.kernel(tmp_path, server.url, secrets)
    kernel.start()
    try:
        await kernel.until_ready()
        await bus.publish_all([Publish("inbox.0.PAPER-1.venue", b"\xff", f"garbage-{number}") for number in range(60)])

        async def journaled() -> bool:
            return (await bus.stream_state("JOURNAL_0")).last_sequence > 60

        await eventually(journaled, "every input is journaled", timeout_s=60)
        kernel.send_signal(signal.SIGTERM)
        assert await kernel.ended() == 0
        await bus.close()
        server.process.kill()
        forget_the_index(flip_in_the_middle(server.store))
        server.process.start()
        bus = await connect(server.url, tmp_path)
        left = [record.sequence async for record in read_journal(bus, 0)]
        assert 0 < len(left) < 60
        kernel.start()

        async def halted() -> bool:
            alerts = [audit_pb2.Alert.FromString(message.data).reason async for message in bus.read("ALERTS")]
            return "PARTITION_HALTED" in alerts

        await eventually(halted, "the alert is out", timeout_s=60)
        assert "JOURNAL_LOST_ENTRIES" in kernel.said()
        await kernel.until_not_ready()
        assert (await bus.stream_state("JOURNAL_0")).last_sequence == len(left), "nothing is written behind the cut"
    finally:
        kernel.end()
    measure(entries=61, left=len(left), detected=True)
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


@pytest.mark.parametrize("persistence", ["runs on", "is started again"])
async def test_nats_04_journal_that_lost_its_tail_and_was_written_on_stops_persistence_at_once(
    server: BreakableServer, postgres: Database, secrets: Path, tmp_path: Path, measure: Measure, persistence: str
) -> None:
    """An owner that remembers nothing writes on from the journal's new end, past what the database has stored."""
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    await JournalWriter(bus, 0, 0, b"").append(entries(200))
    recorder = services.persistence(tmp_path, server.url, secrets, postgres.dsn)
    recorder.start()
    try:
        await stored_up_to(postgres, 200)
        if persistence == "is started again":
            recorder.send_signal(signal.SIGTERM)
            assert await recorder.ended() == 0
        await bus.close()
        server.process.kill()
        forget_the_tail(server.store)
        server.process.start()
        bus = await connect(server.url, tmp_path)
        *_, last = [record async for record in read_journal(bus, 0)]
        assert last.sequence < 200
        writer = JournalWriter(bus, 0, last.sequence, last.hash)
        await writer.append(entries(250 - last.sequence, last.hash, start=last.sequence + 1, owner=2))
        if persistence == "is started again":
            recorder.start()
        assert await recorder.ended() == INVARIANT_BROKEN
        assert "stream JOURNAL_0 " in recorder.said()
        assert (await collect.stream_positions(postgres.dsn))["JOURNAL_0"] == 200, "nothing of the other history"
    finally:
        recorder.end()
    measure(entries=200, left=last.sequence, detected=True)
    await bus.close()


async def stored_up_to(database: Database, sequence: int) -> None:
    async def stored() -> bool:
        try:
            return (await collect.stream_positions(database.dsn)).get("JOURNAL_0", 0) >= sequence
        except asyncpg.PostgresError:  # the tables are not made yet
            return False

    await eventually(stored, "persistence has the journal", timeout_s=60)


def forget_the_tail(store: Path) -> None:
    block = journal_blocks(store)[-1]
    with block.open("r+b") as file:
        file.truncate(block.stat().st_size * 3 // 4)
    forget_the_index(block)


def flip_in_the_middle(store: Path) -> Path:
    block = journal_blocks(store)[0]
    flip_a_byte(block, block.stat().st_size // 2)
    return block


def forget_the_index(block: Path) -> None:
    for index in block.parent.glob("index.db"):
        index.unlink()


@pytest.mark.needs_mount
async def test_nats_17_full_disk_freezes_the_stream_until_a_restart_and_loses_nothing_acknowledged(
    small_disk: SmallDisk, tmp_path: Path, measure: Measure
) -> None:
    small_disk.path("ballast").write_bytes(b"x" * BALLAST_BYTES)
    server = BreakableServer(tmp_path / "nats", wrap=small_disk.wrapped)
    server.process.start()
    try:
        bus = await connect(server.url, tmp_path)
        await bus.api("STREAM.CREATE.SMALL", {"name": "SMALL", "subjects": ["small"], "discard": "new"})
        acknowledged: list[str] = []
        for _ in range(6):  # a machine that is merely busy may leave a publish without an answer, too
            more, failure = await publish_until_refused(bus, first=len(acknowledged) + 1)
            acknowledged += more
            assert isinstance(failure, OutcomeUnknown | Unavailable)
            assert not isinstance(failure, LimitReached), "a full disk is no limit anybody set"
            if server.health() == 503:
                break
        await eventually(lambda: server.health() == 503, "the plain health page says so: that is the one to scrape")
        small_disk.path("ballast").unlink()
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await bus.publish(Publish("small", b"", "after room was made"), timeout=1.0)
        await bus.close()
        server.process.kill()
        began_s = time.monotonic()
        server.process.start()
        bus = await connect(server.url, tmp_path)
        kept = [message.message_id async for message in bus.read("SMALL")]
        assert [each for each in kept if each in set(acknowledged)] == acknowledged
        assert len(kept) == len(set(kept)), "what was unknown is there once or not at all"
        await bus.publish(Publish("small", b"", "after the restart"))
        again_s = time.monotonic() - began_s
        measure(acknowledged=len(acknowledged), lost=0, doubled=0, healthy_again_s=round(again_s, 2))
        await bus.close()
    finally:
        server.process.kill()


async def publish_until_refused(
    bus: Bus, *, first: int = 1, timeout_s: float = 3.0
) -> tuple[list[str], KestrelError | None]:
    acknowledged: list[str] = []
    for number in range(first, first + 2 * DISK_BYTES // MESSAGE_BYTES):
        try:
            await bus.publish(Publish("small", b"x" * MESSAGE_BYTES, f"m-{number}"), timeout=timeout_s)
        except KestrelError as error:
            return acknowledged, error
        acknowledged.append(f"m-{number}")
    return acknowledged, None


async def test_nats_25_permission_that_is_revoked_at_run_time_is_an_unknown_outcome_an_error_and_not_ready(
    server: BreakableServer, secrets: Path, tmp_path: Path, measure: Measure
) -> None:
    server.configure(authorization(allow='">"'))
    server.reload()
    login = {"nats_user": "kestrel", "nats_password": "word"}
    admin = await connect(server.url, tmp_path, nats_user="admin", nats_password="word")
    await provision_afresh(admin)
    bus = await connect(server.url, tmp_path, **login)
    kernel = services.kernel(tmp_path, server.url, secrets, common=login)
    kernel.start()
    try:
        await kernel.until_ready()
        await bus.publish(intent(1))
        server.configure(authorization(allow='"_INBOX.>"'))
        server.reload()

        async def refused() -> bool:
            with contextlib.suppress(OutcomeUnknown, Unavailable):
                await bus.publish(intent(2), timeout=0.3)
            return telemetry.figures().get("bus.errors", 0) > 0

        await eventually(refused, "the violation is heard")
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await bus.publish(intent(3), timeout=0.3)
        await kernel.until_not_ready()
        await eventually(lambda: "permissions violation" in kernel.said(), "the log says why", timeout_s=60)
        began_s = time.monotonic()
        server.configure(authorization(allow='">"'))
        server.reload()
        await kernel.until_ready()
        again_s = time.monotonic() - began_s
        await bus.publish_until_stored(intent(2))
        stored = [message.message_id async for message in bus.read("INTENTS")]
        assert stored == ["m-1", "m-2"], "what was refused is there once, when it is sent again, or not at all"
        measure(lost=0, doubled=0, healthy_again_s=round(again_s, 2))
    finally:
        kernel.end()
        await bus.close()
        await admin.close()


async def test_nats_25_service_whose_login_is_taken_away_ends_and_started_again_waits_until_it_is_let_in(
    server: BreakableServer, secrets: Path, tmp_path: Path, measure: Measure
) -> None:
    """The library gives such a connection up for good. A service that stayed would be there, and deaf, for ever."""
    server.configure(authorization(allow='">"'))
    server.reload()
    admin = await connect(server.url, tmp_path, nats_user="admin", nats_password="word")
    await provision_afresh(admin)
    login = {"nats_user": "kestrel", "nats_password": "word"}
    kernel = services.kernel(tmp_path, server.url, secrets, common=login)
    kernel.start()
    try:
        await kernel.until_ready()
        server.configure(authorization(allow='">"', password="another"))
        server.reload()
        assert await kernel.ended() == EXIT_PUT_OUT
        kernel.start()  # as whoever watches over it does
        await eventually(lambda: "bus.connect_failed" in kernel.said(), "it asks to be let in", timeout_s=60)
        server.configure(authorization(allow='">"'))
        began_s = time.monotonic()
        server.reload()
        await kernel.until_ready()
        measure(lost=0, doubled=0, healthy_again_s=round(time.monotonic() - began_s, 2))
    finally:
        kernel.end()
        await admin.close()


def authorization(allow: str, password: str = "word") -> str:
    permissions = f"permissions {{ publish: {{ allow: {allow} }} }}"
    return (
        'authorization {\n  users: [\n    { user: "admin", password: "word" }\n'
        f'    {{ user: "kestrel", password: "{password}", {permissions} }}\n  ]\n}}\n'
    )


async def test_nats_27_owner_whose_event_loop_stalls_is_no_owner_when_it_wakes_up(
    bus: Bus,
) -> None:
    """No callback can run while the loop stands still, so the answer must not depend on one having run."""
    lease = Lease(bus, "kernel.0", "stalled", ttl_s=6.0)
    await lease.acquire()
    assert lease.held
    time.sleep(3.6)  # noqa: ASYNC251  # the stall itself
    assert not lease.held, "known before anything else could run"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await lease.lost.wait()
    await asyncio.wait_for(lease.lost.wait(), 30)
    await lease.release()


async def test_nats_26_expired_certificate_keeps_clients_out_until_renewed_files_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: Measure
) -> None:
    monkeypatch.setattr(bus_module, "_CONNECT_ATTEMPT_S", 1.0)
    authority = certificates.Authority(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    authority.issue(expires_in_s=3600)
    server = BreakableServer(tmp_path / "nats", extra=authority.server_block(), scheme="tls")
    server.process.start()
    try:
        bus = await connect(server.url, tmp_path)
        await bus.api("INFO")
        authority.issue(expires_in_s=-5)
        server.reload()
        await eventually(lambda: "Reloaded" in server.process.log_tail(), "the server has the expired certificate")
        await bus.api("INFO")  # what is connected stays connected
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await connect(server.url, tmp_path)
        waiting = asyncio.create_task(connect(server.url, tmp_path))
        began_s = time.monotonic()
        authority.issue(expires_in_s=3600)
        server.reload()
        newcomer = await waiting
        await newcomer.api("INFO")
        measure(healthy_again_s=round(time.monotonic() - began_s, 2))
        await newcomer.close()
        await bus.close()
    finally:
        server.process.kill()


async def test_nats_26_connection_that_is_lost_while_the_certificate_is_expired_comes_back_with_the_renewed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: Measure
) -> None:
    authority = certificates.Authority(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    authority.issue(expires_in_s=3600)
    server = BreakableServer(tmp_path / "nats", extra=authority.server_block(), scheme="tls")
    server.process.start()
    try:
        bus = await connect(server.url, tmp_path)
        server.process.kill()
        authority.issue(expires_in_s=-5)
        errors = telemetry.figures().get("bus.errors", 0)
        server.process.start()
        await eventually(lambda: telemetry.figures().get("bus.errors", 0) >= errors + 3, "it tries", timeout_s=60)
        assert not bus.connected
        began_s = time.monotonic()
        authority.issue(expires_in_s=3600)
        server.reload()
        await eventually(lambda: bus.connected, "it is connected again", timeout_s=60)
        await bus.api("INFO")
        measure(healthy_again_s=round(time.monotonic() - began_s, 2))
        await bus.close()
    finally:
        server.process.kill()


def journal_blocks(store: Path) -> list[Path]:
    return sorted(store.glob("**/streams/JOURNAL_0/msgs/*.blk"))
