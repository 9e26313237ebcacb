"""The platform with three NATS servers instead of one: `python -m tests.chaos.three_nodes FOLDER`, SIGTERM ends it.

Everything else is the supervisor of `kestrel up`: the same services, configuration file and restarts. What can be
broken from outside (routes, a small disk) belongs to the process that starts it; it says so in `three-nodes.json`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kestrel_chassis.nats_config import nats_config_text
from kestrel_cli.platform import buses, probes, servers
from kestrel_cli.platform.config import PlatformOptions, VenueManners
from kestrel_cli.platform.layout import NATS, PORT_OFFSETS, Endpoints, Layout, read_json, write_whole
from kestrel_cli.platform.processes import ProcessSpec
from kestrel_cli.platform.supervisor import PlatformSupervisor
from tests.chaos.servers import Routes, SmallDisk, can_mount, free_ports
from tests.integration.platform import RunningPlatform

NODES = (NATS, "nats-1", "nats-2")
NODE_ON_SMALL_DISK = NODES[-1]
_DISK_BYTES = 256 << 20
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 120.0, 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outside:
    """What the supervisor is told by whoever breaks things: ports, and each server's cluster block and wrapping."""

    ports: dict[str, int]
    clusters: dict[str, str]
    wrapping: dict[str, list[str]]

    @classmethod
    def load(cls, folder: Path) -> Outside:
        return cls(**read_json(_outside_path(folder)))

    def save(self, folder: Path) -> None:
        write_whole(_outside_path(folder), json.dumps(dataclasses.asdict(self)))


class ThreeNodeSupervisor(PlatformSupervisor):
    """`kestrel up` with three servers, any of which may die."""

    def __init__(self, layout: Layout, endpoints: Endpoints, options: PlatformOptions, outside: Outside) -> None:
        self._outside = outside
        super().__init__(layout, endpoints, options)

    def _specs(self) -> list[ProcessSpec]:
        first, *rest = super()._specs()
        assert first.name == NATS
        others = [self._node_spec(name) for name in NODES[1:]]
        return [dataclasses.replace(first, command=lambda: self._node_command(NATS)), *others, *rest]

    def _node_spec(self, name: str) -> ProcessSpec:
        layout, endpoints = self._layout, self._endpoints
        seen_as_nats = Endpoints({**endpoints.ports, NATS: endpoints.ports[name]})
        return ProcessSpec(
            name=name,
            command=lambda: self._node_command(name),
            probe=lambda: probes.nats(seen_as_nats),
            log=layout.log(name),
        )

    def _node_command(self, name: str) -> list[str]:
        write_node_config(self._layout, self._outside, name)
        command = [str(servers.nats_program()), "-c", str(node_config(self._layout, name))]
        return [*self._outside.wrapping.get(name, []), *command]

    async def _stop_all(self) -> None:
        await super()._stop_all()
        await asyncio.gather(*(self._processes[name].stop() for name in NODES[1:]))


def node_config(layout: Layout, name: str) -> Path:
    return layout.nats / f"{name}.conf"


def write_node_config(layout: Layout, outside: Outside, name: str, *, may_not_publish: Sequence[str] = ()) -> None:
    """One server's configuration file; services may publish everything but what is named."""
    text = nats_config_text(store_dir=layout.nats / name, port=outside.ports[name], server_name=name)
    login = f'user: "{servers.NATS_USER}", password: "{servers.password(layout, "nats")}"'
    permissions = f"permissions: {{ publish: {{ deny: {json.dumps(list(may_not_publish))} }} }}"
    user = f"{login}, {permissions}" if may_not_publish else login
    write_whole(
        node_config(layout, name), f"{text}{outside.clusters[name]}authorization {{ users: [ {{ {user} }} ] }}\n"
    )


def run(folder: Path) -> bool:
    """Until SIGTERM; True when it started and ended in good order."""
    layout, outside = Layout(folder), Outside.load(folder)
    endpoints = Endpoints(outside.ports)
    urls = ",".join(f"nats://{endpoints.address(node)}" for node in NODES)
    options = PlatformOptions(
        VenueManners(mode="instant", seed=7), overrides={"common": {"nats_url": urls, "replicas": len(NODES)}}
    )
    return asyncio.run(ThreeNodeSupervisor(layout, endpoints, options, outside).run())


class ThreeNodes:
    """A running platform in a process of its own, and what can be broken about it from outside."""

    def __init__(self, folder: Path) -> None:
        layout = Layout(folder)
        layout.create()
        self._routes = Routes(len(NODES))
        self._routes.start()
        self.small_disk = SmallDisk(layout.nats / NODE_ON_SMALL_DISK, _DISK_BYTES) if can_mount() else None
        names = [*PORT_OFFSETS, *NODES[1:]]
        self._outside = Outside(
            ports=dict(zip(names, free_ports(len(names)), strict=True)),
            clusters={node: self._routes.block(index) for index, node in enumerate(NODES)},
            wrapping={NODE_ON_SMALL_DISK: self.small_disk.wrapped([])} if self.small_disk else {},
        )
        self._outside.save(folder)
        self.platform = RunningPlatform(layout, Endpoints(self._outside.ports))
        with layout.log("supervisor").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.three_nodes", str(folder)], stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        layout = self.platform.layout
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while read_json(layout.state).get("overall") != "ready":
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the platform did not start: {read_json(layout.state).get('problem', '')}")
            time.sleep(0.1)

    def isolate(self, node: str) -> None:
        self._routes.isolate(NODES.index(node))

    def mend(self) -> None:
        self._routes.mend()

    def forbid(self, *subjects: str) -> None:
        """Services may publish there no more; with nothing, everywhere again. Servers read it at SIGHUP."""
        for node in NODES:
            write_node_config(self.platform.layout, self._outside, node, may_not_publish=subjects)

    def store(self, node: str) -> Path:
        """Where a server keeps its streams, as this process can reach it."""
        if self.small_disk is not None and node == NODE_ON_SMALL_DISK:
            return self.small_disk.path(".")
        return self.platform.layout.nats / node

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._routes.close()
        if self.small_disk is not None:
            self.small_disk.close()


def _outside_path(folder: Path) -> Path:
    return folder / "three-nodes.json"


if __name__ == "__main__":
    buses.quiet_libraries()
    sys.exit(0 if run(Path(sys.argv[1])) else 1)
