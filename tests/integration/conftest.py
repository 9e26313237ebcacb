"""One platform for all tests of a module: starting it takes longer than most of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.platform import RunningPlatform


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    # Not pytest's own folder: that one is closed to the system user PostgreSQL runs as when tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="kestrel-platform-"))
    running = RunningPlatform.start(folder, "--mode", "instant", "--seed", "5")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)
