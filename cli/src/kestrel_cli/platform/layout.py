"""Where everything of a platform is: one data directory, one set of ports."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kestrel_cli.errors import CommandFailed

SERVICES = ("kernel", "governance", "venue-gateway", "reconciler", "persistence", "policy")
PAPER_VENUE, TWS_SIM, TWS_SIM_CONTROL, NATS, POSTGRES = "paper", "tws-sim", "tws-sim-control", "nats", "postgres"
PORT_OFFSETS = {
    "kernel": 1,
    "governance": 2,
    "venue-gateway": 3,
    "reconciler": 4,
    "persistence": 5,
    "policy": 6,
    PAPER_VENUE: 10,
    TWS_SIM: 11,
    TWS_SIM_CONTROL: 12,
    NATS: 22,
    "nats-monitoring": 23,
    POSTGRES: 32,
}
DEFAULT_PORT_BASE = 7800
_PORT_BASE_STEP = 100
_PORT_BASES_TRIED = 40
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one platform, below its data directory."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def children(self) -> Path:
        return self.root / "children.json"

    @property
    def config(self) -> Path:
        return self.root / "kestrel.yaml"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def paper(self) -> Path:
        return self.root / "paper"

    @property
    def tws_sim(self) -> Path:
        return self.root / "tws-sim"

    @property
    def venue(self) -> Path:
        return self.root / "venue.json"

    @property
    def services(self) -> Path:
        return self.root / "services"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def credential(self, operator: str) -> Path:
        return self.secrets / "operators" / f"{operator}.credential"

    def create(self) -> None:
        for folder in (self.root, self.logs, self.nats, self.paper, self.services):
            folder.mkdir(parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The ports of one platform, all on the loopback address."""

    ports: dict[str, int]

    def address(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    @property
    def nats_url(self) -> str:
        return f"nats://{self.address(NATS)}"

    def save(self, path: Path) -> None:
        write_whole(path, json.dumps({**asdict(self), "nats_url": self.nats_url}, indent=2))

    @classmethod
    def load(cls, path: Path) -> Endpoints | None:
        """What was written by the last `kestrel up`; None when there is nothing usable."""
        stored = read_json(path)
        ports = stored.get("ports", {})
        return cls(ports) if isinstance(ports, dict) and PORT_OFFSETS.keys() <= ports.keys() else None


def choose_ports(base: int | None, *, previous: Endpoints | None = None) -> Endpoints:
    """Ports for a platform: those asked for, or last time's, or the first free set at or above the default.

    Raises CommandFailed when the ports asked for are taken, naming the port.
    """
    if base is not None:
        wanted = ports_from(base)
        taken = taken_ports(wanted)
        if taken:
            name, port = next(iter(taken.items()))
            raise CommandFailed(
                f"port {port} (for {name}) is taken by another program{owner_of(port)}",
                next_step=f"stop that program, or choose other ports: kestrel up --port-base {base + _PORT_BASE_STEP}",
            )
        return Endpoints(wanted)
    if previous is not None and not taken_ports(previous.ports):
        return previous
    for step in range(_PORT_BASES_TRIED):
        wanted = ports_from(DEFAULT_PORT_BASE + step * _PORT_BASE_STEP)
        if not taken_ports(wanted):
            return Endpoints(wanted)
    raise CommandFailed("no free set of ports was found", next_step="choose one with --port-base")


def ports_from(base: int) -> dict[str, int]:
    return {name: base + offset for name, offset in PORT_OFFSETS.items()}


def taken_ports(ports: dict[str, int]) -> dict[str, int]:
    """Those of the named ports that something listens on already."""
    return {name: port for name, port in ports.items() if not is_free(port)}


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def owner_of(port: int) -> str:
    """``: name (pid 12)`` of who listens on a port, or nothing when the system will not say."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return f": {psutil.Process(connection.pid).name()} (pid {connection.pid})" if connection.pid else ""
    except (psutil.Error, OSError):
        return ""
    return ""


def write_whole(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file in one step, so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when the file is missing or is not one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
