"""One platform per data directory: an exclusive file lock that the kernel of the system lets go of with its holder.

The file says who holds it. What is written there by somebody who is gone means nothing: only the lock counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from kestrel_cli.platform.layout import read_json

_SAME_START_S = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs the platform. ``started_s`` is the process's own start, which tells a pid from its next owner."""

    pid: int
    started_s: float

    def process(self) -> psutil.Process | None:
        return same_process(self.pid, self.started_s)


class PlatformLock:
    """Held for as long as the platform runs; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock. False when somebody else holds it; a file left behind is no obstacle."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "started_s": psutil.Process().create_time()}).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> PlatformLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _locked(descriptor: int) -> bool:
    """Try for half a second: somebody who only asks who holds the lock holds it for an instant himself."""
    for _ in range(10):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock now; None when nobody does."""
    if not path.exists():
        return None
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _written_holder(path)
    finally:
        os.close(descriptor)
    return None


def same_process(pid: int, started_s: float) -> psutil.Process | None:
    """The process with this pid, if it is still the one that started then; never recognized by name."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - started_s) > _SAME_START_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def _written_holder(path: Path) -> Holder:
    """The holder writes its name right after locking; give it a moment."""
    for _ in range(20):
        stored = read_json(path)
        if "pid" in stored:
            return Holder(int(stored["pid"]), float(stored.get("started_s", 0)))
        time.sleep(0.05)
    return Holder(0, 0.0)
