"""The platform with three NATS servers instead of one: `python -m tests.chaos.three_nodes FOLDER`, SIGTERM ends it.

Everything else is the supervisor of `kestrel up`: the same services, configuration file and restarts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

from kestrel_chassis.nats_config import nats_config_text
from kestrel_cli.platform import buses, probes, servers
from kestrel_cli.platform.config import PlatformOptions, VenueManners
from kestrel_cli.platform.layout import HOST, NATS, PORT_OFFSETS, Endpoints, Layout, read_json, write_whole
from kestrel_cli.platform.processes import ProcessSpec
from kestrel_cli.platform.supervisor import PlatformSupervisor
from tests.chaos.servers import free_ports
from tests.integration.platform import RunningPlatform

NODES = (NATS, "nats-1", "nats-2")
_START_TIMEOUT_S, _STOP_TIMEOUT_S = 120.0, 60.0


class ThreeNodeSupervisor(PlatformSupervisor):
    """`kestrel up` with three servers, any of which may die."""

    def _specs(self) -> list[ProcessSpec]:
        first, *rest = super()._specs()
        assert first.name == NATS
        others = [self._node_spec(name) for name in NODES[1:]]
        command = nats_command(self._layout, self._endpoints, NATS)
        return [dataclasses.replace(first, command=lambda: command), *others, *rest]

    def _node_spec(self, name: str) -> ProcessSpec:
        layout, endpoints = self._layout, self._endpoints
        seen_as_nats = Endpoints({**endpoints.ports, NATS: endpoints.ports[name]})
        return ProcessSpec(
            name=name,
            command=lambda: nats_command(layout, endpoints, name),
            probe=lambda: probes.nats(seen_as_nats),
            log=layout.log(name),
        )

    async def _stop_all(self) -> None:
        await super()._stop_all()
        await asyncio.gather(*(self._processes[name].stop() for name in NODES[1:]))


def nats_command(layout: Layout, endpoints: Endpoints, name: str) -> list[str]:
    config = layout.nats / f"{name}.conf"
    text = nats_config_text(
        store_dir=layout.nats / name,
        port=endpoints.ports[name],
        server_name=name,
        cluster_port=endpoints.ports[f"{name}-routes"],
        routes=[f"nats://{HOST}:{endpoints.ports[f'{node}-routes']}" for node in NODES],
    )
    login = f'user: "{servers.NATS_USER}", password: "{servers.password(layout, "nats")}"'
    write_whole(config, f"{text}authorization {{ {login} }}\n")
    return [str(servers.nats_program()), "-c", str(config)]


def run(folder: Path) -> bool:
    """Until SIGTERM; True when it started and ended in good order."""
    layout = Layout(folder)
    layout.create()
    names = [*PORT_OFFSETS, *NODES[1:], *(f"{node}-routes" for node in NODES)]
    endpoints = Endpoints(dict(zip(names, free_ports(len(names)), strict=True)))
    urls = ",".join(f"nats://{endpoints.address(node)}" for node in NODES)
    options = PlatformOptions(
        VenueManners(mode="instant", seed=7), overrides={"common": {"nats_url": urls, "replicas": len(NODES)}}
    )
    return asyncio.run(ThreeNodeSupervisor(layout, endpoints, options).run())


def start(folder: Path) -> tuple[RunningPlatform, subprocess.Popen[bytes]]:
    """A running platform in a process of its own."""
    layout = Layout(folder)
    layout.create()
    with layout.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.three_nodes", str(folder)], stdout=log, stderr=log
        )
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while read_json(layout.state).get("overall") != "ready":
        if process.poll() is not None or time.monotonic() > deadline_s:
            stop(process)
            raise RuntimeError(f"the platform did not start: {read_json(layout.state).get('problem', '')}")
        time.sleep(0.1)
    endpoints = Endpoints.load(layout.endpoints)
    assert endpoints is not None
    return RunningPlatform(layout, endpoints), process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    buses.quiet_libraries()
    sys.exit(0 if run(Path(sys.argv[1])) else 1)
