"""A simulated venue as a process: started, killed, and started again on the ports and the folder it had."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import free_port

HOST = "127.0.0.1"


@dataclass
class VenueProcess:
    """``module`` is run with ``--data`` and the named ports; it is up when all of them can be connected to."""

    module: str
    folder: Path
    ports: dict[str, int]
    options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None)

    async def start(self) -> None:
        assert self._process is None
        self._process = self._spawned()
        await eventually(self._listens, f"{self.module} listens", timeout_s=60.0)

    async def start_again(self) -> None:
        """Where somebody killed it and left it so."""
        if self._process is None:
            await self.start()

    def _spawned(self) -> subprocess.Popen[bytes]:
        ports = [text for name, port in self.ports.items() for text in (f"--{name}", str(port))]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, "--data", str(self.folder), *ports, *self.options],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """kill -9, by its id."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.to_thread(process.wait, 60.0)

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = self.folder.parent / f"{self.folder.name}.log"
            raise AssertionError(f"{self.module} ended at once: {log.read_text()[-2000:]}")
        return all(_is_open(port) for port in self.ports.values())


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(10.0)
        return probe.connect_ex((HOST, port)) == 0


def free_ports(*names: str) -> dict[str, int]:
    return {name: free_port() for name in names}
