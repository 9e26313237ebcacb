"""Supervision of one child: readiness, restart, stop within a bound, no orphans."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import psutil
import pytest

from kestrel_cli.platform import processes
from kestrel_cli.platform.processes import ManagedProcess, Phase, ProbeUnanswered, ProcessSpec

DEADLINE_S = 60.0


async def _ready() -> str:
    return ""


def _process(
    tmp_path: Path, code: str, *, probe: Callable[[], Awaitable[str]] = _ready, stop_timeout_s: float = 5.0
) -> ManagedProcess:
    spec = ProcessSpec(
        name="child",
        command=lambda: [sys.executable, "-c", code],
        probe=probe,
        log=tmp_path / "child.log",
        stop_timeout_s=stop_timeout_s,
    )
    return ManagedProcess(spec, lambda: None)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


async def test_a_child_becomes_ready_and_stops_by_its_signal(tmp_path: Path) -> None:
    child = _process(tmp_path, "import time; print('hello', flush=True); time.sleep(60)")
    running = asyncio.create_task(child.run([]))
    await _until(lambda: child.phase is Phase.READY)
    await _until(lambda: "hello" in child.log_tail())
    await child.stop()
    await running
    assert child.phase is Phase.STOPPED
    assert not psutil.pid_exists(child.pid)


async def test_a_child_that_is_killed_is_started_again_P10(tmp_path: Path) -> None:
    child = _process(tmp_path, "import time; time.sleep(60)")
    running = asyncio.create_task(child.run([]))
    await _until(lambda: child.phase is Phase.READY)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await _until(lambda: child.phase is Phase.READY and child.pid != first)
    assert child.restarts == 1
    await child.stop()
    await running


async def test_a_child_that_ends_at_once_is_counted_and_its_last_words_kept(tmp_path: Path) -> None:
    async def not_yet() -> str:
        return "not yet"

    child = _process(tmp_path, "import sys; sys.exit('no such setting')", probe=not_yet)
    running = asyncio.create_task(child.run([]))
    await _until(lambda: child.failures_before_ready >= 2)
    assert child.log_tail() in (["no such setting"], [])
    child.restart_no_more()
    await child.stop()
    await running
    assert "no such setting" in child.spec.log.read_text()


async def test_a_child_that_ignores_its_signal_is_killed_within_the_bound(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = _process(tmp_path, code, stop_timeout_s=0.2)
    running = asyncio.create_task(child.run([]))
    await _until(lambda: "deaf" in child.log_tail())
    await child.stop()
    await running
    assert "was killed" in child.note


async def test_a_child_waits_for_what_it_depends_on(tmp_path: Path) -> None:
    was_first_ready: list[bool] = []

    async def look_at_first() -> str:
        was_first_ready.append(first.ready.is_set())
        return ""

    first = _process(tmp_path, "import time; time.sleep(60)")
    second = _process(tmp_path, "import time; time.sleep(60)", probe=look_at_first)
    tasks = [asyncio.create_task(second.run([first]))]
    await _until(lambda: second.phase is Phase.READY or second.note == "for child")
    tasks.append(asyncio.create_task(first.run([])))
    await _until(lambda: second.phase is Phase.READY)
    assert was_first_ready[0]
    await asyncio.gather(first.stop(), second.stop())
    await asyncio.gather(*tasks)


async def test_a_child_that_no_longer_answers_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROBES_UNANSWERED_MAX", 2)
    monkeypatch.setattr(processes, "_PROBE_EVERY_S", {})
    answers = iter([""])

    async def once() -> str:
        try:
            return next(answers)
        except StopIteration:
            raise ProbeUnanswered("silence") from None

    child = _process(tmp_path, "import time; time.sleep(60)", probe=once)
    running = asyncio.create_task(child.run([]))
    await _until(lambda: child.restarts >= 1)
    child.restart_no_more()
    await child.stop()
    await running


async def test_children_start_beside_the_threads_of_grpc(tmp_path: Path) -> None:
    """A fork that ran Python code beside them aborted about once in a hundred times."""
    child = _process(tmp_path, "")

    async def ask_nobody() -> None:
        while True:
            async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(channel.channel_ready(), 0.02)

    asking = [asyncio.create_task(ask_nobody()) for _ in range(4)]
    try:
        codes = {await (await child._spawn()).wait() for _ in range(40)}
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    assert codes == {0}


def test_a_log_is_kept_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    child = _process(tmp_path, "")
    child.spec.log.write_text("0123456789abcdef")
    child.bound_log()
    assert child.spec.log.read_text() == ""
    assert child.spec.log.with_name("child.log.1").read_text() == "6789abcdef"


def test_leftovers_are_stopped_by_pid_and_start_and_strangers_are_not(tmp_path: Path) -> None:
    leftover = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        children = {
            "kernel": {"pid": leftover.pid, "started_s": psutil.Process(leftover.pid).create_time()},
            "policy": {"pid": stranger.pid, "started_s": 1.0},
        }
        path = tmp_path / "children.json"
        path.write_text(json.dumps(children))
        assert processes.stop_leftovers(path) == [f"kernel (pid {leftover.pid})"]
        leftover.wait(DEADLINE_S)
        assert stranger.poll() is None
        assert not path.exists()
        assert processes.stop_leftovers(path) == []
    finally:
        for process in (leftover, stranger):
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child's life to its parent's")
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, str(tmp_path / "child.log")], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    child = psutil.Process(int(supervisor.stdout.readline()))
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    try:
        child.wait(DEADLINE_S)
    except psutil.TimeoutExpired:
        assert child.status() == psutil.STATUS_ZOMBIE, "dead, and merely not collected by this system's first process"


_SUPERVISOR = """
import asyncio, pathlib, sys
from kestrel_cli.platform.processes import ManagedProcess, ProcessSpec

async def ready():
    return ""

async def main():
    spec = ProcessSpec(
        "child", lambda: [sys.executable, "-c", "import time; time.sleep(60)"], ready, pathlib.Path(sys.argv[1])
    )
    child = ManagedProcess(spec, lambda: None)
    running = asyncio.create_task(child.run([]))
    await child.ready.wait()
    print(child.pid, flush=True)
    await running

asyncio.run(main())
"""
