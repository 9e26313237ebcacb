"""One platform per folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil

from kestrel_cli.platform.lock import PlatformLock, holder_of, same_process


def test_the_lock_says_who_holds_it_and_a_second_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder_of(path) is None
    with PlatformLock(path) as lock:
        assert lock.acquire()
        assert not PlatformLock(path).acquire()
        holder = holder_of(path)
        assert holder is not None
        assert holder.pid == os.getpid()
        process = holder.process()
        assert process is not None
        assert process.pid == os.getpid()
    assert holder_of(path) is None


def test_a_file_left_behind_by_a_killed_holder_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "started_s": 0}))
    assert holder_of(path) is None
    with PlatformLock(path) as lock:
        assert lock.acquire()


def test_a_process_is_recognized_by_pid_and_start_never_by_pid_alone() -> None:
    me = psutil.Process()
    assert same_process(me.pid, me.create_time()) is not None
    assert same_process(me.pid, me.create_time() - 100) is None
    assert same_process(2**22 + 1, 0.0) is None
