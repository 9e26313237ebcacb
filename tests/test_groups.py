"""How the tests themselves are run: one group on one worker, and the long ones first."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

_ROOT = Path(__file__).parents[1]
_SUITE = """
import os, pathlib
import pytest

GROUPS = [pytest.param(f"{name}-{number}", marks=pytest.mark.xdist_group(name)) for number in range(4) for name in "ab"]

def test_short():
    pass

@pytest.mark.integration
def test_with_a_server():
    pass

@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", GROUPS)
def test_of_a_group(which):
    pathlib.Path(f"{which}.worker").write_text(os.environ.get("PYTEST_XDIST_WORKER", ""))

@pytest.mark.timeout(900)
def test_long():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A few tests below this repository's own conftest.py."""
    shutil.copy(_ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = integration: real servers\n")
    (tmp_path / "test_few.py").write_text(_SUITE)
    return tmp_path


def _pytest(suite: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=suite,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_tests_of_a_group_run_on_one_worker(suite: Path) -> None:
    said = _pytest(suite, "-n", "2", "--dist", "loadgroup", "-v")

    workers = {name: {path.read_text() for path in suite.glob(f"{name}-*.worker")} for name in "ab"}
    assert [len(found) for found in workers.values()] == [1, 1], said
    assert workers["a"] != workers["b"], "and two groups run side by side"


def test_long_ones_come_first(suite: Path) -> None:
    listed = [line.split("::")[1] for line in _pytest(suite, "--collect-only", "-q").splitlines() if "::" in line]

    first = [name.partition("[")[0] for name in listed]
    assert first == ["test_long", *["test_of_a_group"] * 8, "test_with_a_server", "test_short"]
