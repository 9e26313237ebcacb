"""A platform for measuring: a supervisor of its own, wide limits, stopped by process id whatever happens.

``python -m bench.running FOLDER SERVERS`` is that supervisor; ``running_platform`` starts it and ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from kestrel_cli.platform.config import PlatformOptions, VenueManners, configuration
from kestrel_cli.platform.layout import NATS, POSTGRES, Endpoints, Layout, read_json
from kestrel_cli.platform.lock import PlatformLock
from kestrel_cli.platform.ports import claimed_ports
from kestrel_cli.platform.processes import launched
from kestrel_cli.platform.supervisor import PlatformState, PlatformSupervisor
from kestrel_testkit.servers import start_nats_cluster

SLOT_COUNT = 64
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 45.0
_WIDE_LIMITS = {"order_rate_count_max": 100_000, "open_position_count_max": SLOT_COUNT}
"""The laptop's limits would refuse the orders whose latency is measured."""

SUPERVISOR = "supervisor"
_CLUSTER = "cluster.json"
"""In the platform's folder: process ids of the three NATS servers, when it runs on three."""


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Gone afterwards. Below the system's own: PostgreSQL's user must be able to walk into it."""
    folder = Path(tempfile.mkdtemp(prefix=f"kestrel-bench-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_platform(folder: Path, *, servers: int = 1) -> Iterator[tuple[Layout, Endpoints]]:
    """A ready platform, venue mode instant, on one NATS server or three. Raises RuntimeError with the supervisor's
    last words."""
    layout = Layout(folder)
    layout.create()
    with layout.log(SUPERVISOR).open("ab") as log:
        child = started([sys.executable, "-m", "bench.running", str(folder), str(servers)], log)
    try:
        _wait_ready(layout, child)
        endpoints = Endpoints.load(layout.endpoints)
        assert endpoints is not None, "written before anything starts"
        yield layout, endpoints
    finally:
        stop(child)


def _wait_ready(layout: Layout, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        state = PlatformState.from_json(read_json(layout.state))
        if state is not None and state.overall == "ready":
            return
        time.sleep(0.1)
    raise RuntimeError(f"the platform did not start:\n{layout.log(SUPERVISOR).read_text(errors='replace')[-2000:]}")


def started(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process in a session of its own: Ctrl-C reaches us alone, and we stop the rest in good order; at worst it dies
    with us."""
    whole = launched(command, user=None, orphan_signal=signal.SIGTERM)
    return subprocess.Popen(whole, stdout=log, stderr=log, start_new_session=True)


def stop(child: subprocess.Popen[bytes]) -> None:
    """In good order, or at once when that takes too long."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def processes(layout: Layout) -> dict[str, psutil.Process]:
    """Every process of a running platform by its name, its supervisor among them."""
    children: dict[str, Any] = json.loads(layout.children.read_text())
    pids = {name: int(child["pid"]) for name, child in children.items()}
    state = PlatformState.from_json(read_json(layout.state))
    if state is not None:
        pids[SUPERVISOR] = state.pid
    cluster = layout.root / _CLUSTER
    if cluster.exists():
        del pids[NATS]  # it runs, and nobody talks to it
        pids |= json.loads(cluster.read_text())
    return {name: psutil.Process(pid) for name, pid in pids.items()}


def cpu_seconds(found: dict[str, psutil.Process]) -> dict[str, float]:
    """Processor time each process has used so far; PostgreSQL's with its workers."""
    return {name: sum(map(_cpu_s, family(name, process))) for name, process in found.items()}


def family(name: str, process: psutil.Process) -> list[psutil.Process]:
    """A process, and those it is made of: PostgreSQL serves each connection by a process of its own."""
    return [process, *process.children(recursive=True)] if name == POSTGRES else [process]


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


async def _supervise(folder: Path, endpoints: Endpoints, common: dict[str, Any]) -> bool:
    layout = Layout(folder)
    account = configuration(layout, endpoints)["kernel"]["accounts"][0]
    overrides: dict[str, dict[str, Any]] = {
        "common": common,
        "kernel": {"accounts": [{**account, "max_slots": SLOT_COUNT}]},
        "governance": {"risk": _WIDE_LIMITS},
    }
    options = PlatformOptions(VenueManners("instant"), overrides)
    return await PlatformSupervisor(layout, endpoints, options).run()


@contextmanager
def _cluster(folder: Path) -> Iterator[dict[str, Any]]:
    """Three servers beside the platform's own, which stays idle; the settings that lead everybody to them."""
    cluster = start_nats_cluster(folder / "cluster")
    try:
        pids = {f"{NATS}-{number}": server.process.pid for number, server in enumerate(cluster.servers, start=1)}
        (folder / _CLUSTER).write_text(json.dumps(pids))
        yield {"nats_url": cluster.url, "nats_user": "", "nats_password": "", "replicas": 3}
    finally:
        cluster.stop()


def _main(folder: Path, server_count: int) -> int:
    layout = Layout(folder)
    with PlatformLock(layout.lock) as lock:
        if not lock.acquire():
            print(f"another platform runs in {folder}", file=sys.stderr)
            return 1
        with contextlib.ExitStack() as opened:
            common = opened.enter_context(_cluster(folder)) if server_count == 3 else {}
            endpoints = opened.enter_context(claimed_ports(None))
            return 0 if asyncio.run(_supervise(folder, endpoints, common)) else 1


if __name__ == "__main__":
    assert os.path.isdir(sys.argv[1]), "the folder is made by who starts this"
    raise SystemExit(_main(Path(sys.argv[1]), int(sys.argv[2])))
