"""Where everything of a platform is: one data directory, one set of ports."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    def base(self) -> int:
        """What the ports of the set are counted from."""
        return self.ports["kernel"] - PORT_OFFSETS["kernel"]

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


def ports_from(base: int) -> dict[str, int]:
    """A set of ports. The base itself is none of them: holding it claims the set (ports.py)."""
    return {name: base + offset for name, offset in PORT_OFFSETS.items()}


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
