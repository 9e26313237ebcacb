"""Our own services as processes, beside a server that breaks."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import free_port

ACCOUNT = {"account": "PAPER-1", "venue": "paper", "max_slots": 8, "seed_wallet": "1000000.00"}


@dataclass
class ServiceProcess:
    """One service. ``settings`` go into its own section."""

    module: str
    folder: Path
    nats_url: str
    secrets: Path
    settings: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.section = self.module.removeprefix("kestrel_").replace("_", "-")
        self.health_port = free_port()
        self.log = self.folder / f"{self.section}.log"
        self.config = self.folder / f"{self.section}.yaml"
        common = {
            "nats_url": self.nats_url,
            "secrets_dir": str(self.secrets),
            "data_dir": str(self.folder),
            "journal_max_bytes": 64 << 20,
            "health_port": self.health_port,
            **self.common,
        }
        self.config.write_text(yaml.safe_dump({"common": common, self.section: self.settings}))

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        process = self.process
        assert process is not None
        await eventually(lambda: process.poll() is not None, f"{self.section} ends", timeout_s=60)
        return int(process.returncode)

    async def _says(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> bool:
        """As a probe of a container asks. No answer says nothing."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health_port}") as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == status)

    async def is_ready(self) -> bool:
        return await self._says(health_pb2.HealthCheckResponse.SERVING)

    async def is_not_ready(self) -> bool:
        return await self._says(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def until_ready(self) -> None:
        await eventually(self.is_ready, f"{self.section} is ready", timeout_s=60)

    async def until_not_ready(self, *, timeout_s: float = 60.0) -> None:
        await eventually(self.is_not_ready, f"{self.section} says that it is not ready", timeout_s=timeout_s)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(timeout=60)


def kernel(folder: Path, nats_url: str, secrets: Path, **changes: Any) -> ServiceProcess:
    return ServiceProcess("kestrel_kernel", folder, nats_url, secrets, {"accounts": [ACCOUNT]}, **changes)


def persistence(folder: Path, nats_url: str, secrets: Path, dsn: str) -> ServiceProcess:
    return ServiceProcess("kestrel_persistence", folder, nats_url, secrets, {"dsn": dsn})
