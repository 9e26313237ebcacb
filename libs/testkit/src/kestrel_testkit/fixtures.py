"""Fixtures of the real world.

``nats_server``, ``nats_cluster``, ``postgres_server`` live as long as the test session (of one worker); ``bus``,
``cluster_bus`` and ``postgres`` are fresh for each test. A test that kills or freezes a server starts one of its own
(``own_nats_server``).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from kestrel_chassis import identity, streams, telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.errors import KestrelError
from kestrel_testkit.auditor import Auditor, build_auditor
from kestrel_testkit.servers import (
    NatsCluster,
    NatsServer,
    PostgresServer,
    start_nats,
    start_nats_cluster,
    start_postgres,
)

CONNECT_TIMEOUT_S = 60.0
_DATABASE_NUMBERS = itertools.count(1)


class CheckSettings(ServiceSettings):
    """Settings of the tests themselves."""

    service: str = "test"


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database."""

    dsn: str


# ---------------------------------------------------------------------- NATS


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One always-sync server for the session; ``.url``."""
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.process.stop()


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Three always-sync servers for the session; ``.url`` lists all of them."""
    cluster = start_nats_cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server for one test, to be killed, frozen and started again through ``.process``."""
    server = start_nats(tmp_path / "nats")
    yield server
    server.process.stop()


@pytest.fixture
async def bus(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Bus]:
    """A connection to a server with fresh, empty streams."""
    found = await connect(nats_server.url, tmp_path)
    await provision_afresh(found)
    yield found
    await found.close()


@pytest.fixture
async def cluster_bus(nats_cluster: NatsCluster, tmp_path: Path) -> AsyncIterator[Bus]:
    """The same on three servers, every stream with three replicas."""
    found = await connect(nats_cluster.url, tmp_path, replicas=3)
    await provision_afresh(found)
    yield found
    await found.close()


@pytest.fixture(params=["one server", "three servers"])
def any_bus(request: pytest.FixtureRequest) -> Bus:
    """``bus``, then ``cluster_bus``: for what has to hold on both, because they answer races differently."""
    found: Bus = request.getfixturevalue("bus" if request.param == "one server" else "cluster_bus")
    return found


@pytest.fixture(autouse=True)
def _fresh_figures() -> None:
    telemetry.reset_figures()


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    """A test that sets logs up does so for itself: what they were written to may be closed when the next one logs."""
    yield
    structlog.reset_defaults()
    for handler in logging.getLogger().handlers[:]:
        if type(handler) is logging.StreamHandler:  # ours, and none of those that pytest listens with
            logging.getLogger().removeHandler(handler)


async def connect(url: str, data_dir: Path, **changes: object) -> Bus:
    """A connection within a bound. ``changes``: other fields of the settings."""
    settings = CheckSettings.model_validate(
        {"nats_url": url, "data_dir": data_dir, "journal_max_bytes": 64 << 20, **changes}
    )
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        return await Bus.connect(settings)


async def provision_afresh(bus: Bus) -> None:
    """Delete every stream there is, and make those of this version. Repeats while a cluster still elects leaders."""

    async def settled() -> bool:
        try:
            for name in (await bus.api("STREAM.NAMES")).get("streams") or []:
                await bus.api(f"STREAM.DELETE.{name}")
            await streams.provision(bus)
        except KestrelError:
            return False
        return True

    await eventually(settled, "the streams are provisioned", timeout_s=60.0)


async def eventually(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str, *, timeout_s: float = 45.0
) -> None:
    """Look until it is so, within a bound. ``what`` is the sentence of the failure."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert loop.time() < deadline_s, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.02)


# ---------------------------------------------------------------------- PostgreSQL, secrets, the auditor


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL 18 for the session."""
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh database; ``.dsn``."""
    name = f"test_{os.getpid()}_{next(_DATABASE_NUMBERS)}"
    yield Database(postgres_server.create_database(name))
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    """The auditor's program. Compiling it takes longer than its tests: they are of one group, ``auditor``."""
    return build_auditor(tmp_path_factory.mktemp("auditor"))


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the secrets of a laptop."""
    folder = tmp_path_factory.mktemp("secrets")
    identity.create_laptop_secrets(folder)
    return folder
