"""The whole platform as a user starts it: how long until ready, what it costs at rest, how much memory.

Worse is: more seconds, more processor time, more memory. No answer is computed: the hash is of which processes ran.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bench import running
from bench.figures import result_hash, rounded
from kestrel_cli.platform.layout import Layout

_START_TIMEOUT_S = 120
_SETTLE_S = 8.0
"""After the last order of a start (truths, first checkpoints) and before "at rest"."""

START_LIMIT_S, IDLE_LIMIT_PERCENT, MEMORY_LIMIT_MIB = 10.0, 5.0, 150.0
Figures = dict[str, Any]


def measure(*, quick: bool) -> Figures:
    """First start, second start on the same data, then a time at rest: some 50 s; quick, some 25 s."""
    window_s = 5.0 if quick else 20.0
    with running.temporary_folder("platform") as folder:
        try:
            first_s = _up(folder)
            _kestrel("down", folder)
            second_s = _up(folder)
            time.sleep(_SETTLE_S)
            found = running.processes(Layout(folder))
            percent = _percent_of_a_core(found, window_s)
            memory = {name: _memory_mib(name, process) for name, process in found.items()}
        finally:
            _kestrel("down", folder)
    biggest = max(figures["resident_mib"] for figures in memory.values())
    return {
        "start_first_s": rounded(first_s, 3),
        "start_again_s": rounded(second_s, 3),
        "idle_window_s": window_s,
        "idle_percent_of_a_core": rounded(sum(percent.values()), 3),
        "idle_percent_by_process": {name: rounded(value, 3) for name, value in percent.items()},
        "memory_by_process": memory,
        "resident_mib_biggest": biggest,
        "must_hold": {
            f"start below {START_LIMIT_S:.0f} s": max(first_s, second_s) < START_LIMIT_S,
            f"idle below {IDLE_LIMIT_PERCENT:.0f} % of a core": sum(percent.values()) < IDLE_LIMIT_PERCENT,
            f"each process below {MEMORY_LIMIT_MIB:.0f} MiB": biggest < MEMORY_LIMIT_MIB,
        },
        "result": result_hash(sorted(found)),
    }


def _up(folder: Path) -> float:
    """Seconds of ``kestrel up --detach``, as who typed it waits for it."""
    began_s = time.monotonic()
    _kestrel("up", folder, "--detach", "--mode", "instant")
    return time.monotonic() - began_s


def _kestrel(command: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kestrel_cli", command, "--data-dir", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=_START_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kestrel {command}: exit code {done.returncode}: {(done.stderr or done.stdout)[-800:]}")


def _percent_of_a_core(found: dict[str, psutil.Process], window_s: float) -> dict[str, float]:
    before, began_s = running.cpu_seconds(found), time.monotonic()
    time.sleep(window_s)
    after, lasted_s = running.cpu_seconds(found), time.monotonic() - began_s
    return {name: max(0.0, after[name] - before[name]) / lasted_s * 100 for name in found}


def _memory_mib(name: str, process: psutil.Process) -> dict[str, float]:
    """Resident, of the biggest process of the family; and unique, of all of it: PostgreSQL's processes share most."""
    resident, unique = [], []
    for each in running.family(name, process):
        try:
            memory = each.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        resident.append(memory.rss / 2**20)
        unique.append(memory.uss / 2**20)
    return {"resident_mib": round(max(resident, default=0.0), 1), "unique_mib": round(sum(unique), 1)}
