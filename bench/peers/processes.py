"""The peers' own interpreter, and each peer as a process in it. Without a network there are none, and we say why."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_STAMP = ".venv-bench/.ready"
_INSTALL_TIMEOUT_S = 300
_REASON_LENGTH = 300
_ANSWER_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5


class Unavailable(Exception):
    """A peer cannot be measured here; the message says why, for the report."""


def install() -> Path:
    """The interpreter of .venv-bench, made by the Makefile if it is not there. Raises ``Unavailable``."""
    make = shutil.which("make")
    if make is None:
        raise Unavailable("not installed: there is no make")
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    try:
        done = subprocess.run(
            [make, "--silent", "-C", str(_ROOT), _STAMP], capture_output=True, text=True, check=False,
            timeout=_INSTALL_TIMEOUT_S, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not installed: it took more than {_INSTALL_TIMEOUT_S} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout or f"make ended with {done.returncode}").split())
        raise Unavailable(f"not installed: {said[:_REASON_LENGTH]}")
    return _ROOT / ".venv-bench" / "bin" / "python"


class Peer:
    """One peer, waiting for rounds. Raises ``Unavailable`` when it does not start or does not answer."""

    def __init__(self, python: Path, module: str) -> None:
        self._module = module
        self._home = tempfile.TemporaryDirectory(prefix="kestrel-bench-")  # vnpy keeps files in the user's home
        self._errors = (Path(self._home.name) / "stderr").open("w+")
        self._process = subprocess.Popen(
            [str(python), "-m", module], cwd=self._home.name, stderr=self._errors,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "HOME": self._home.name, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        self._greeting: dict[str, Any] | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def versions(self) -> dict[str, str]:
        """What is measured; waits until it has been imported."""
        if self._greeting is None:
            self._greeting = self._answer()
        versions: dict[str, str] = self._greeting["versions"]
        return versions

    def round(self, row: str, trade_count: int) -> dict[str, Any]:
        """One round: ``ns`` and ``wall_ns`` per event, and the books it ended in."""
        assert self.versions, "a peer says who it is before it is asked anything"
        assert self._process.stdin is not None, "it was started with a pipe"
        with contextlib.suppress(BrokenPipeError):  # it has ended; the answer that is missing will say why
            self._process.stdin.write(json.dumps({"row": row, "trades": trade_count}).encode() + b"\n")
        return self._answer()

    def close(self) -> None:
        """End of input is what ends it; a peer that does not listen is killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._home.cleanup()

    def _answer(self) -> dict[str, Any]:
        """One line; it comes whole, since the peer writes it at once and nothing else after it."""
        assert self._process.stdout is not None, "it was started with a pipe"
        readable, _, _ = select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT_S)
        if not readable:
            raise Unavailable(f"{self._module} gave no answer within {_ANSWER_TIMEOUT_S:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable(f"{self._module} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().split("\n")
        return next((line.strip() for line in reversed(said) if line.strip()), "without a word")
