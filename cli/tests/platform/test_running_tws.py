"""The platform with a simulated TWS as its venue: up, status, feed, the checklist, and the venue killed under it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kestrel_cli.platform.layout import read_json
from kestrel_cli.platform.lock import holder_of

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("platform"), pytest.mark.timeout(480)]

DEADLINE_S = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that PostgreSQL's own user may walk through, also when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="kestrel-tws-"))
    yield path
    holder = holder_of(path / "lock")
    process = holder.process() if holder else None
    if process is not None:
        process.terminate()
        process.wait(DEADLINE_S)
    shutil.rmtree(path, ignore_errors=True)


def _kestrel(folder: Path, *arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kestrel_cli", *arguments, "--data-dir", str(folder)],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"it did not happen within {DEADLINE_S:.0f} s that {what}")


def _is_connected(folder: Path) -> bool:
    """The one session there is. A gateway that gives no answer in time shows none."""
    sessions = json.loads(_kestrel(folder, "status", "--json"))["sessions"]
    return [(each["venue"], each["account"]) for each in sessions if each["connected"]] == [("ibkr", "DU1234567")]


def test_a_platform_trades_at_a_simulated_tws_and_outlives_it_C10(folder: Path) -> None:
    started = _kestrel(folder, "up", "--detach", "--venue", "tws-sim", "--symbol", "AAPL", "--mode", "instant")
    assert "PAPER" in started
    assert "a simulated TWS, through ib_insync, account DU1234567" in started

    assert "1 days are at the venue" in _kestrel(folder, "feed", "--days", "1", "--pace", "0")
    _until(lambda: _is_connected(folder), "the session is connected")
    status = json.loads(_kestrel(folder, "status", "--json"))
    assert (status["environment"], status["venue"]["account"]) == ("paper", "DU1234567")

    checked = json.loads(_kestrel(folder, "venue", "check", "ibkr", "--json"))
    assert checked["good"], checked

    assert "belongs to account DU1234567" in _kestrel(folder, "up", "--account", "DU7654321", expect=2)

    children = read_json(folder / "children.json")
    os.kill(children["tws-sim"]["pid"], signal.SIGKILL)
    _until(lambda: read_json(folder / "children.json")["tws-sim"]["pid"] != children["tws-sim"]["pid"], "it is started")
    _until(lambda: _is_connected(folder), "the session is connected again")
    assert json.loads(_kestrel(folder, "recon", "now", "--json"))["run"]["verdict"] != "BROKEN"
    _kestrel(folder, "down")
