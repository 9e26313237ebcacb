"""Both client libraries, each in the environment it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PYTHONS = {"ib_insync": sys.executable, "ib_async": str(ROOT / ".venv-ib-async" / "bin" / "python")}


class LibraryCodec:
    """The codec of an unmodified library, in a process of its own (the two cannot share an environment)."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [PYTHONS[name], str(HERE / "client_script_codec.py"), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def sends(self, method: str, *args: Any, version: int = 176) -> list[bytes]:
        """What the library puts on the socket."""
        return [bytes.fromhex(text) for text in self._ask({"send": method, "args": args, "version": version})]

    def hears(self, *payloads: bytes, version: int = 176) -> tuple[list[Any], list[str]]:
        """The calls that the library's decoder makes, and its complaints."""
        answer = self._ask({"decode": [payload.hex() for payload in payloads], "version": version})
        return answer["calls"], answer["complaints"]

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self.name} died of {question}"
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module", params=sorted(PYTHONS))
def library(request: Any) -> Iterator[LibraryCodec]:
    codec = LibraryCodec(request.param)
    yield codec
    codec.close()
