"""Servers that rows share, what is long, and where measured figures go."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from kestrel_chassis.bus import Bus
from kestrel_testkit.fixtures import connect, provision_afresh
from tests.chaos.servers import BreakableCluster, BreakableServer, can_mount
from tests.chaos.table import LONG_TESTS
from tests.integration.platform import RunningPlatform

LONG_VARIABLE, FIGURES_VARIABLE = "KESTREL_CHAOS_LONG", "KESTREL_CHAOS_FIGURES"

Measure = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_mount: needs a mount namespace, which some containers do not give")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long rows to `make chaos`, which says so by a variable of the environment."""
    left_out = [item for item in items if not _runs_here(item)]
    if left_out and not config.option.collectonly:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _runs_here(item: pytest.Item) -> bool:
    if item.name.partition("[")[0] in LONG_TESTS and not os.environ.get(LONG_VARIABLE):
        return False
    return not item.get_closest_marker("needs_mount") or can_mount()


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


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    """The whole platform, as `kestrel up` starts it."""
    folder = Path(tempfile.mkdtemp(prefix="kestrel-chaos-"))
    running = RunningPlatform.start(folder, "--mode", "instant", "--seed", "6")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)
