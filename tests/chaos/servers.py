"""NATS servers that are made to be broken: routes through proxies, small disks, other settings.

The configuration is the platform's own (`nats_config_text`), with what a row of the table needs added to it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kestrel_chassis.bus import Bus
from kestrel_chassis.nats_config import MAX_FILE_STORE_BYTES, nats_config_text
from kestrel_domain.errors import KestrelError
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import START_TIMEOUT_S, ServerProcess, free_port, nats_server_path
from tests.chaos.proxy import Proxy, Wires

_BALLAST, _BALLAST_CHUNK_BYTES = "ballast", 4096


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


class BreakableServer:
    """One always-sync server. ``configure`` may change the text of its configuration before each start."""

    def __init__(
        self,
        folder: Path,
        name: str = "kestrel",
        *,
        extra: str = "",
        max_file_store_bytes: int = MAX_FILE_STORE_BYTES,
        wrap: Callable[[list[str]], list[str]] = lambda command: command,
        scheme: str = "nats",
    ) -> None:
        self.name = name
        self.port, self.monitoring_port = free_ports(2)
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.store = folder / name
        self.config = folder / f"{name}.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._text = nats_config_text(
            store_dir=self.store,
            port=self.port,
            monitoring_port=self.monitoring_port,
            server_name=name,
            max_file_store_bytes=max_file_store_bytes,
        )
        self.configure(extra)
        self.process = ServerProcess(
            wrap([nats_server_path(), "-c", str(self.config)]), folder, name, lambda: self.health() == 200
        )

    def configure(self, extra: str = "", *, change: Callable[[str], str] = lambda text: text) -> None:
        """Write the configuration anew; a running server reads it at `reload`."""
        self.config.write_text(change(self._text) + extra)

    def reload(self) -> None:
        """Have a running server read its configuration, and wait until it has: it puts out whom it no longer knows."""
        loaded_before = self._loaded_at()
        self.process.send_signal(signal.SIGHUP)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self._loaded_at() == loaded_before:
            assert time.monotonic() < deadline_s, f"{self.name} did not reload:\n{self.process.log_tail()}"
            time.sleep(0.02)

    def _loaded_at(self) -> str:
        with urllib.request.urlopen(self._page("varz"), timeout=START_TIMEOUT_S) as answer:
            return str(json.load(answer)["config_load_time"])

    @property
    def is_running(self) -> bool:
        try:
            return bool(self.process.pid)
        except AssertionError:
            return False

    def health(self, query: str = "") -> int:
        """The status of the health page; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self._page(f"healthz{query}"), timeout=1.0) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def hears(self, subject: str) -> bool:
        """Whether some client listens to a subject that contains this."""
        try:
            with urllib.request.urlopen(self._page("connz?subs=1"), timeout=1.0) as answer:
                return subject in answer.read().decode()
        except OSError:
            return False

    def _page(self, path: str) -> str:
        return f"http://127.0.0.1:{self.monitoring_port}/{path}"


class Routes:
    """The routes between some servers, each direction of each pair through a proxy of its own."""

    def __init__(self, server_count: int) -> None:
        self._wires = Wires()
        self._ports = free_ports(server_count)
        servers = range(server_count)
        self._routes = {(a, b): Proxy(self._wires, self._ports[b]) for a in servers for b in servers if a != b}
        self._gossiped = [Proxy(self._wires, port) for port in self._ports]

    def block(self, index: int) -> str:
        """The part of one server's configuration that is about the cluster."""
        routes = [f"nats://127.0.0.1:{proxy.port}" for (a, _), proxy in self._routes.items() if a == index]
        return (
            f'cluster {{\n  name: "kestrel"\n  listen: "127.0.0.1:{self._ports[index]}"\n'
            f'  advertise: "127.0.0.1:{self._gossiped[index].port}"\n  no_advertise: true\n'
            f"  routes: {json.dumps(routes)}\n}}\n"
        )

    def start(self) -> None:
        for proxy in (*self._routes.values(), *self._gossiped):
            proxy.start()

    def isolate(self, index: int) -> None:
        """Cut every route of one server; its clients stay connected to it."""
        for (a, b), proxy in self._routes.items():
            if index in (a, b):
                proxy.cut()
        for proxy in self._gossiped:
            proxy.cut()

    def mend(self) -> None:
        for proxy in (*self._routes.values(), *self._gossiped):
            proxy.mend()

    def close(self) -> None:
        self._wires.close()


class BreakableCluster:
    """Three servers whose routes can be cut."""

    def __init__(self, folder: Path) -> None:
        self._routes = Routes(3)
        self.servers = [BreakableServer(folder, f"node{index}", extra=self._routes.block(index)) for index in range(3)]
        self.url = ",".join(server.url for server in self.servers)

    def start(self) -> None:
        self._routes.start()
        self.restore()

    def restore(self) -> None:
        """Everything runs, nothing is frozen, no route is cut."""
        self.mend()
        for server in self.servers:
            if server.is_running:
                server.process.resume()
            else:
                server.process.launch()
        for server in self.servers:
            server.process.wait_ready()

    def stop(self) -> None:
        for server in self.servers:
            server.process.kill()
        self._routes.close()

    def isolate(self, index: int) -> None:
        """Cut one server off from the others; its clients stay connected to it."""
        self._routes.isolate(index)

    def mend(self) -> None:
        self._routes.mend()

    def number_of(self, name: str) -> int:
        return next(index for index, server in enumerate(self.servers) if server.name == name)

    async def leader(self, bus: Bus, stream: str) -> int:
        """Which server leads a stream, once one does."""
        found: list[int] = []

        async def led() -> bool:
            try:
                name = (await bus.api(f"STREAM.INFO.{stream}", timeout=1.0))["cluster"].get("leader", "")
            except KestrelError:
                return False
            found[:] = [self.number_of(name)] if name else []
            return bool(found)

        await eventually(led, f"{stream} has a leader", timeout_s=60.0)
        return found[0]

    async def until_current(self, bus: Bus, streams: Sequence[str], *, timeout_s: float = 60.0) -> None:
        """Each stream has three replicas, and all of them have everything."""

        async def current() -> bool:
            try:
                infos = [await bus.api(f"STREAM.INFO.{stream}", timeout=1.0) for stream in streams]
            except KestrelError:
                return False
            return all(_is_current(info) for info in infos)

        await eventually(current, "every replica is current", timeout_s=timeout_s)


def _is_current(info: dict[str, Any]) -> bool:
    replicas = info["cluster"].get("replicas", [])
    return len(replicas) == 2 and all(each.get("current") and not each.get("offline") for each in replicas)


class SmallDisk:
    """A memory disk of a few megabytes, mounted on a folder in a mount namespace of its own.

    Only what runs ``wrapped`` sees it. It leaves nothing behind: it ends with the process that holds it. Root may have
    one where the container lets it; everybody may where users may have namespaces of their own.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._as_user = os.geteuid() != 0
        self._hold(size_bytes)
        if not self.is_mounted and not self._as_user:
            self.close()
            self._as_user = True
            self._hold(size_bytes)

    def _hold(self, size_bytes: int) -> None:
        script = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && echo mounted && exec sleep 36000'
        namespaces = ["--mount", *(["--user", "--map-root-user"] if self._as_user else [])]
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", script, str(self._folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        self.is_mounted = self._holder.stdout.readline().strip() == "mounted"

    def wrapped(self, command: list[str]) -> list[str]:
        """The command as one that sees the disk."""
        namespaces = ["--mount", *(["--user", "--preserve-credentials"] if self._as_user else [])]
        return [shutil.which("nsenter") or "nsenter", *namespaces, "-t", str(self._holder.pid), *command]

    def path(self, name: str) -> Path:
        """A file on the disk, as this process can reach it."""
        return Path(f"/proc/{self._holder.pid}/root") / self._folder.relative_to("/") / name

    def fill(self) -> None:
        """Until not one more block fits."""
        with self.path(_BALLAST).open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * _BALLAST_CHUNK_BYTES)

    def make_room(self) -> None:
        self.path(_BALLAST).unlink()

    def close(self) -> str:
        """What the machine said, if it did not let us."""
        self._holder.kill()
        return self._holder.communicate(timeout=10)[1].strip()


@functools.cache
def why_no_mount() -> str:
    """Why this machine lets us have no mount namespace of our own; empty if it does."""
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    folder = Path(tempfile.mkdtemp(prefix="kestrel-mount-"))
    disk = SmallDisk(folder, 1 << 20)
    said = disk.close()
    folder.rmdir()
    return "" if disk.is_mounted else said or "unshare failed"


def can_mount() -> bool:
    return not why_no_mount()


def flip_a_byte(path: Path, offset: int) -> None:
    """One bit of the byte at an offset."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x01]))
