"""Both client libraries, each in the environment it needs, and the simulator as a process."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.tws.v1 import tws_pb2_grpc

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


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"tws-codec-{name}")) for name in sorted(PYTHONS)],
)
def library(request: Any) -> Iterator[LibraryCodec]:
    codec = LibraryCodec(request.param)
    yield codec
    codec.close()


class SimulatorUnderTest:
    """One folder, and at most one process on it."""

    DEADLINE_S = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None
        self.port = self.admin_port = 0

    def start(self, *options: str, python: Sequence[str] = ("-m", "kestrel_simulators.tws")) -> SimulatorUnderTest:
        command = [sys.executable, *python, "--data", str(self.folder)]
        command += ["--port", "0", "--admin-port", "0", *options]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        self.port, self.admin_port = self._read_port(), self._read_port()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.admin_port}")
        self.control = tws_pb2_grpc.TwsSimulatorControlServiceStub(self._channel)
        return self

    def _read_port(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r":(\d+)$", line.strip())
        assert match is not None, f"no address in {line!r}; {self.errors()}"
        return int(match.group(1))

    def errors(self) -> str:
        """What the process wrote to its standard error."""
        return (self.folder / "stderr").read_text()

    def kill(self) -> int:
        return self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> int:
        return self._end(number)

    def _end(self, number: int) -> int:
        assert self.process is not None
        if self._channel is not None:
            self._channel.close()
        process, self.process = self.process, None
        process.send_signal(number)
        code = process.wait(self.DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def run(self, library: str, *scenarios: str) -> dict[str, str]:
        """Let a library trade; its scenarios, each with what was wrong, if anything."""
        command = [PYTHONS[library], str(HERE / "client_script_scenario.py"), library]
        command += ["127.0.0.1", str(self.port), str(self.admin_port), *scenarios]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-3000:]}"
        return {line["scenario"]: line["error"] for line in lines}


@pytest.fixture(scope="module")
def make_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Simulators, each on a folder of its own; whatever still runs at the end is killed."""
    made: list[SimulatorUnderTest] = []

    def make() -> SimulatorUnderTest:
        made.append(SimulatorUnderTest(tmp_path_factory.mktemp("tws")))
        return made[-1]

    yield make
    for simulator in made:
        if simulator.process is not None:
            with contextlib.suppress(ProcessLookupError):
                simulator.kill()
