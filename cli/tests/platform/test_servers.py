"""What is made on the machine itself: once, whoever misses it at the same moment."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

_MAKER = """
import sys
from pathlib import Path
from kestrel_cli.platform.servers import make_once

made = Path(sys.argv[1])

def exists():
    found = made.exists()
    print("found" if found else "missing", flush=True)
    return found

def make():
    print("making", flush=True)
    sys.stdin.readline()
    with made.open("a") as file:
        file.write("made\\n")

make_once(exists, make, lock=made.parent)
"""


@pytest.mark.integration
def test_what_two_processes_miss_at_the_same_moment_is_made_once(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def maker() -> subprocess.Popen[str]:
        process = running.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", _MAKER, str(made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        running.callback(process.kill)
        return process

    with ExitStack() as running:
        first = maker()
        assert first.stdout is not None
        assert [first.stdout.readline().strip() for _ in range(3)] == ["missing", "missing", "making"]
        second = maker()
        assert second.stdout is not None
        assert second.stdout.readline() == "missing\n"
        first.communicate("\n")
        rest, _ = second.communicate("\n")
    assert rest == "found\n"
    assert made.read_text() == "made\n"
