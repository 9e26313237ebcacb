"""The whole platform as processes: up, status, a second up, a killed service, Ctrl-C, and up again after a crash."""

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

import psutil
import pytest

from kestrel_chassis.folders import let_others_pass
from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import read_json
from kestrel_cli.platform.lock import holder_of

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("platform")]

DEADLINE_S = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that PostgreSQL's own user may walk through, also when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="kestrel-"))
    yield path
    holder = holder_of(path / "lock")
    process = holder.process() if holder else None
    if process is not None:
        process.kill()
    shutil.rmtree(path, ignore_errors=True)


def _kestrel(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kestrel_cli", *arguments], capture_output=True, text=True, timeout=180, check=False
    )


def _until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"it did not happen within {DEADLINE_S:.0f} s that {what}")


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _state_of(folder: Path, name: str) -> dict[str, Any]:
    state = read_json(folder / "state.json")
    found: dict[str, Any] = next(each for each in state["processes"] if each["name"] == name)
    return found


def test_what_does_not_start_is_told_in_its_own_words(folder: Path) -> None:
    where = ("--data-dir", str(folder))
    (folder / "postgres").mkdir(mode=0o700)
    (folder / "postgres" / "PG_VERSION").write_text("18\n")  # all that is left of a data directory
    user = servers.postgres_system_user()
    if user is not None:
        shutil.chown(folder / "postgres", user)
        let_others_pass(folder)

    failed = _kestrel("up", "--detach", "--mode", "instant", *where)
    assert failed.returncode == 1
    for said in ("postgres does not start: ended with exit code", "the end of", "postgres.log", "postgresql.conf"):
        assert said in failed.stderr
    assert failed.stderr.count("✗") == failed.stderr.count("→") == 1


@pytest.mark.timeout(480)
def test_up_status_second_up_crash_of_a_service_and_ctrl_c_P08(folder: Path) -> None:
    where = ("--data-dir", str(folder))
    (folder / "lock").write_text('{"pid": 1, "started_s": 0}')  # left behind by somebody who was killed

    started = _kestrel("up", "--detach", "--mode", "instant", "--seed", "3", *where)
    assert started.returncode == 0, started.stdout + started.stderr
    for said in ("Kestrel is ready", "credentials", "logs", "NATS", "PostgreSQL"):
        assert said in started.stdout

    def status_when_ready() -> Any:
        shown = _kestrel("status", "--json", *where)
        assert shown.returncode == 0, shown.stderr
        status = json.loads(shown.stdout)
        has_answers = all(service["ready"] for service in status["services"]) and status["kill_flags"] is not None
        return status if has_answers else None

    status = _until(status_when_ready, "every service is ready, or again: one whose lease ran out waits for it")
    assert len(status["services"]) == 6
    assert status["kill_flags"] == []

    again = json.loads(_kestrel("up", "--json", *where).stdout)
    assert (again["state"], again["pid"]) == ("already running", status["pid"])
    second = _kestrel("up", *where)
    assert second.returncode == 0
    assert "already runs" in second.stdout
    assert str(status["pid"]) in second.stdout

    base = json.loads((folder / "endpoints.json").read_text())["ports"]["kernel"] - 1
    with tempfile.TemporaryDirectory() as other:
        refused = _kestrel("up", "--port-base", str(base), "--data-dir", other)
    assert refused.returncode == 1
    assert "is taken" in refused.stderr
    assert "--port-base" in refused.stderr

    os.kill(_state_of(folder, "policy")["pid"], signal.SIGKILL)
    _until(lambda: _state_of(folder, "policy")["restarts"] == 1, "policy is restarted")
    _until(lambda: _state_of(folder, "policy")["phase"] == "ready", "policy is ready again")

    children = [psutil.Process(each["pid"]) for each in read_json(folder / "children.json").values()]
    os.kill(status["pid"], signal.SIGINT)
    _until(lambda: holder_of(folder / "lock") is None, "Ctrl-C stops everything")
    assert not [child for child in children if _lives(child)]
    assert _kestrel("inbox", *where).returncode == 3

    foreground = subprocess.Popen(
        [sys.executable, "-m", "kestrel_cli", "up", *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _until(lambda: read_json(folder / "state.json").get("pid") == foreground.pid, "it starts again, on the same data")
    down = _kestrel("down", "--json", *where)
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout)["state"] == "stopped"
    out, err = foreground.communicate(timeout=DEADLINE_S)
    assert foreground.returncode == 0, out + err
    assert "everything is stopped" in out
