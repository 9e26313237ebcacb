"""NATS servers that are made to be broken: routes through proxies, small disks, other settings.

The configuration is the platform's own (`nats_config_text`), with what a row of the table needs added to it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kestrel_chassis.bus import Bus
from kestrel_chassis.nats_config import MAX_FILE_STORE_BYTES, nats_config_text
from kestrel_domain.errors import KestrelError
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import ServerFailed, ServerProcess, nats_server_path
from tests.chaos.proxy import Proxy, Wires


def free_ports(count: int) -> list[int]:
    """Ports that differ from each other; asked for one by one, one may come twice."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


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
        self.process.send_signal(signal.SIGHUP)

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


class BreakableCluster:
    """Three servers whose routes all run through proxies, one for each direction of each pair."""

    def __init__(self, folder: Path) -> None:
        self.wires = Wires()
        cluster_ports = free_ports(3)
        self._routes = {
            (a, b): Proxy(self.wires, cluster_ports[b]) for a in range(3) for b in range(3) if a != b
        }  # from, to
        self._gossiped = [Proxy(self.wires, port) for port in cluster_ports]
        self.servers = [
            BreakableServer(folder, f"node{index}", extra=self._cluster_block(index, cluster_ports[index]))
            for index in range(3)
        ]
        self.url = ",".join(server.url for server in self.servers)

    def _cluster_block(self, index: int, cluster_port: int) -> str:
        routes = [f"nats://127.0.0.1:{proxy.port}" for (a, _), proxy in self._routes.items() if a == index]
        return (
            f'cluster {{\n  name: "kestrel"\n  listen: "127.0.0.1:{cluster_port}"\n'
            f'  advertise: "127.0.0.1:{self._gossiped[index].port}"\n  no_advertise: true\n'
            f"  routes: {json.dumps(routes)}\n}}\n"
        )

    def start(self) -> None:
        for proxy in (*self._routes.values(), *self._gossiped):
            proxy.start()
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
        self.wires.close()

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

        await eventually(led, f"{stream} has a leader", timeout_s=30.0)
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


def small_disk(folder: Path, size_bytes: int) -> Callable[[list[str]], list[str]]:
    """Run a server with a memory disk of that size mounted on a folder, seen by that server alone.

    Needs neither root nor a mount that somebody has to undo: the mount lives in a namespace that ends with the server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unshare = [shutil.which("unshare") or "/usr/bin/unshare", "--mount"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    script = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && exec "$@"'

    def wrap(command: list[str]) -> list[str]:
        return [*unshare, "sh", "-c", script, str(folder), *command]

    return wrap


def can_mount_small_disks(folder: Path) -> bool:
    """Whether this machine lets us have a mount namespace of our own."""
    command = small_disk(folder, 1 << 20)(["true"])
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def seen_by(server: BreakableServer, path: Path) -> Path:
    """A path as that server sees it, from outside its namespace."""
    return Path(f"/proc/{server.process.pid}/root") / path.relative_to("/")


__all__ = [
    "BreakableCluster",
    "BreakableServer",
    "ServerFailed",
    "can_mount_small_disks",
    "seen_by",
    "small_disk",
]
