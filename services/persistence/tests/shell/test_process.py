"""The process itself: killed in mid-run, and a database that goes away under load. Nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import persistence_samples as samples
import pytest
import yaml

from kestrel.admin.v1 import persistence_pb2, persistence_pb2_grpc
from kestrel_chassis.admin import channel
from kestrel_chassis.bus import Bus
from kestrel_domain.effects import Publish
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import PostgresServer, free_port, start_postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MESSAGE_COUNT = 1_500


class Process:
    """``python -m kestrel_persistence``, on the test's bus."""

    def __init__(self, bus: Bus, dsn: str, secrets: Path, folder: Path) -> None:
        self.port = free_port()
        self.ca_path = secrets / "ca.pem"
        self.credential = (secrets / "operators" / "trader.credential").read_text().strip()
        self._config = folder / "kestrel.yaml"
        self._log = folder / "persistence.log"
        settings = {
            "common": {
                "nats_url": bus.settings.nats_url,
                "journal_max_bytes": bus.settings.journal_max_bytes,
                "secrets_dir": str(secrets),
                "data_dir": str(folder / "data"),
            },
            "persistence": {
                "dsn": dsn,
                "admin_port": self.port,
                "batch_messages": 50,
                "checkpoint_seconds": 0.2,
                "database_alert_seconds": 0.1,
                "database_probe_seconds": 0.2,
            },
        }
        self._config.write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kestrel_persistence", "--config", str(self._config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(60)
        self._process = None
        return code

    def close(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)

    def log(self) -> str:
        return self._log.read_text()[-4000:]

    async def verify(self) -> persistence_pb2.VerifyAuditResponse:
        async with channel(f"127.0.0.1:{self.port}", self.ca_path, self.credential) as open_channel:
            stub = persistence_pb2_grpc.PersistenceServiceStub(open_channel)
            return await stub.VerifyAudit(persistence_pb2.VerifyAuditRequest(), wait_for_ready=True, timeout=60)


@pytest.fixture
def process(bus: Bus, postgres: SimpleNamespace, secrets: Path, tmp_path: Path) -> Iterator[Process]:
    found = Process(bus, postgres.dsn, secrets, tmp_path)
    yield found
    found.close()


@pytest.fixture
async def own_database() -> AsyncIterator[PostgresServer]:
    server = start_postgres()
    yield server
    server.stop()


async def stored_beads(dsn: str) -> int:
    """How many, or -1 while the database cannot say."""
    try:
        connection = await asyncpg.connect(dsn, timeout=2)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return -1
    try:
        return int(await connection.fetchval("SELECT count(*) FROM beads"))
    except asyncpg.PostgresError:
        return -1
    finally:
        await connection.close()


def run_beads(first: int, last: int) -> list[Publish]:
    return [
        Publish(
            "bead.run.PAPER-1",
            samples.bead(f"bead-{n}", run=samples.run()).SerializeToString(),
            f"bead-{n}",
            samples.TRACEPARENT,
        )
        for n in range(first, last + 1)
    ]


async def test_killed_in_mid_run_it_loses_nothing_and_stores_nothing_twice(
    bus: Bus, postgres: SimpleNamespace, process: Process
) -> None:
    await bus.publish_all_until_stored(run_beads(1, MESSAGE_COUNT))
    process.start()
    seen = 0
    for _ in range(3):
        goal = seen + 200

        async def progressed(goal: int = goal) -> bool:
            return await stored_beads(postgres.dsn) >= min(goal, MESSAGE_COUNT)

        await eventually(progressed, f"{goal} beads are stored: {process.log()}", timeout_s=90)
        process.end(signal.SIGKILL)
        seen = await stored_beads(postgres.dsn)
        process.start()

    async def complete() -> bool:
        return await stored_beads(postgres.dsn) == MESSAGE_COUNT

    await eventually(complete, "every bead is stored once", timeout_s=90)
    answer = await process.verify()
    assert answer.verified, answer
    assert answer.chains[0].database_count == MESSAGE_COUNT
    assert process.end(signal.SIGTERM) == 0, process.log()


async def test_a_database_that_goes_away_under_load_is_waited_for_and_nothing_is_lost(
    bus: Bus, own_database: PostgresServer, secrets: Path, tmp_path: Path
) -> None:
    dsn = own_database.create_database("goes_away")
    process = Process(bus, dsn, secrets, tmp_path)
    try:
        await bus.publish_all_until_stored(run_beads(1, 200))
        process.start()

        async def begun() -> bool:
            return await stored_beads(dsn) > 0

        await eventually(begun, "the first beads are stored", timeout_s=90)
        own_database.process.stop(signal.SIGINT)
        await bus.publish_all_until_stored(run_beads(201, 800))

        async def alarmed() -> bool:
            return await bus.last_message("ALERTS", "alert.critical.persistence") is not None

        await eventually(alarmed, "an alert says that the database is away", timeout_s=60)
        own_database.process.start()

        async def complete() -> bool:
            return await stored_beads(dsn) == 800

        await eventually(complete, "every bead is stored once", timeout_s=90)
        answer = await process.verify()
        assert answer.verified, answer
    finally:
        process.close()


async def test_a_database_that_is_asked_to_end_is_let_go_and_nothing_is_lost(
    bus: Bus, own_database: PostgresServer, secrets: Path, tmp_path: Path
) -> None:
    """PostgreSQL waits for its clients after SIGTERM: one that stays would keep it from ending, and others out."""
    dsn = own_database.create_database("is_let_go")
    process = Process(bus, dsn, secrets, tmp_path)
    try:
        await bus.publish_all_until_stored(run_beads(1, 200))
        process.start()

        async def stored() -> bool:
            return await stored_beads(dsn) == 200

        await eventually(stored, "the first beads are stored", timeout_s=90)
        own_database.process.send_signal(signal.SIGTERM)
        await bus.publish_all_until_stored(run_beads(201, 400))

        def ended() -> bool:
            return "database system is shut down" in own_database.process.log_tail()

        await eventually(ended, "the database has ended in order", timeout_s=90)
        own_database.process.stop()
        own_database.process.start()

        async def complete() -> bool:
            return await stored_beads(dsn) == 400

        await eventually(complete, "every bead is stored once", timeout_s=90)
        answer = await process.verify()
        assert answer.verified, answer
    finally:
        process.close()


async def test_it_waits_for_a_database_that_is_not_there_yet_and_stops_when_told(
    bus: Bus, secrets: Path, tmp_path: Path
) -> None:
    process = Process(bus, f"postgresql://postgres@127.0.0.1:{free_port()}/none", secrets, tmp_path)
    try:
        process.start()

        async def alarmed() -> bool:
            return await bus.last_message("ALERTS", "alert.critical.persistence") is not None

        await eventually(alarmed, "an alert says that the database is away", timeout_s=90)
        assert process.end(signal.SIGTERM) == 0, process.log()
        await asyncio.sleep(0)
    finally:
        process.close()
