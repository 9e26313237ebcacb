"""Servers that rows share, what is long, and where measured figures go."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from kestrel_chassis.bus import Bus
from kestrel_testkit.fixtures import connect, provision_afresh
from tests.chaos.servers import BreakableCluster, BreakableServer

LONG_VARIABLE, FIGURES_VARIABLE = "KESTREL_CHAOS_LONG", "KESTREL_CHAOS_FIGURES"

Measure = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos_long: only `make chaos` runs it, because it takes long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long rows to `make chaos`, which says so by a variable of the environment."""
    if os.environ.get(LONG_VARIABLE):
        return
    long = [item for item in items if item.get_closest_marker("chaos_long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Note what was measured, for the table of `make chaos`."""

    def note(**figures: object) -> None:
        path = os.environ.get(FIGURES_VARIABLE)
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"test": request.node.nodeid, "figures": figures}) + "\n")

    return note


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BreakableCluster]:
    cluster = BreakableCluster(tmp_path_factory.mktemp("breakable"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(shared_cluster: BreakableCluster) -> Iterator[BreakableCluster]:
    """Three healthy servers; what a test breaks is whole again after it."""
    shared_cluster.restore()
    yield shared_cluster
    shared_cluster.restore()


@pytest.fixture
async def broken_bus(cluster: BreakableCluster, tmp_path: Path) -> AsyncIterator[Bus]:
    """A connection to the servers that will break, with fresh streams of three replicas."""
    bus = await connect(cluster.url, tmp_path, replicas=3)
    await provision_afresh(bus)
    yield bus
    cluster.restore()
    await bus.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BreakableServer]:
    """One server of one test."""
    found = BreakableServer(tmp_path / "nats")
    found.process.start()
    yield found
    found.process.kill()
