"""One JSON file per area, with where and on what it was measured, and the same as a table on the terminal."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import kestrel_libkernel as lk
from kestrel_cli.platform import servers

_PACKAGES = ("nats-py", "uvloop", "asyncpg", "protobuf", "grpcio", "cffi")
_PROGRAM_TIMEOUT_S = 10
_PERCENTILES = {
    "count": "count",
    "p50_ms": "p50",
    "p90_ms": "p90",
    "p99_ms": "p99",
    "p999_ms": "p99.9",
    "max_ms": "greatest",
}
Figures = dict[str, Any]


def surroundings() -> Figures:
    """Hardware, commit, versions, time, and how busy the machine was before anything was measured."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "hardware": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "memory_mib": psutil.virtual_memory().total >> 20,
            "system": f"{platform.system()} {platform.release()}",
            "load_average_before": load_average(),
        },
        "versions": {
            "python": platform.python_version(),
            "libkernel": f"{lk.VERSION} (ABI {lk.ABI_VERSION})",
            "nats-server": _said([str(servers.nats_program()), "--version"]),
            "postgres": _said([str(servers.postgres_program("postgres")), "--version"]),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def load_average() -> list[float]:
    """Over 1, 5 and 15 minutes; our own work counts."""
    return [round(load, 2) for load in os.getloadavg()]


def write(area: str, figures: Figures, about: Figures, out: Path) -> Path:
    """Write ``<out>/<area>.json`` in one step; its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{area}.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"area": area, **figures, "about": about}, indent=2) + "\n")
    temporary.replace(path)
    return path


def show(area: str, figures: Figures, path: Path) -> None:
    """Plain figures in one table, times with their percentiles in another."""
    console = Console()
    plain = Table("figure", "value", title=f"{area}  ({path})", title_justify="left")
    times = Table("time in ms", *_PERCENTILES.values(), title=f"{area}, times", title_justify="left")
    for name, value in flattened(figures):
        if isinstance(value, Mapping):
            times.add_row(name, *(f"{value[key]:,}" for key in _PERCENTILES))
        else:
            plain.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
    for table in (plain, times):
        if table.row_count:
            console.print(table)


def flattened(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"a": {"b": 1}}`` as ``("a.b", 1)``; a set of percentiles stays together."""
    for name, value in figures.items():
        if isinstance(value, Mapping) and value.keys() != _PERCENTILES.keys():
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _commit() -> str:
    commit = _said(["git", "rev-parse", "HEAD"])
    changed = _said(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{commit} with local changes" if commit and changed else commit


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _said(command: list[str]) -> str:
    """What a program says about itself; empty when it cannot be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
