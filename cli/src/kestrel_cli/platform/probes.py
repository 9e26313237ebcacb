"""How to know that a process works, and what has to be made in it before others may use it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kestrel.admin.v1 import status_pb2, status_pb2_grpc
from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import HOST, NATS, POSTGRES, Endpoints, Layout
from kestrel_cli.platform.processes import ProbeUnanswered

Probing = Coroutine[Any, Any, str]

_TIMEOUT_S = 2.0
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
PROBING_OPERATOR = "trader"


async def nats(endpoints: Endpoints) -> str:
    """A NATS server greets whoever connects."""
    greeting = await _greeting(endpoints.ports[NATS], b"")
    return "" if greeting.startswith(b"I") else "no greeting"


async def postgres(endpoints: Endpoints) -> str:
    """A PostgreSQL server answers the question whether it speaks TLS with one letter."""
    answer = await _greeting(endpoints.ports[POSTGRES], _SSL_REQUEST)
    return "" if answer in (b"N", b"S") else "no answer to a connection"


async def simulator(address: str) -> str:
    """A simulated venue is ready when its gRPC server answers."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await channel.channel_ready()
        except TimeoutError as error:
            raise ProbeUnanswered("no connection") from error
    return ""


class ServiceProbe:
    """gRPC health of one service; when it does not serve, its own reasons."""

    def __init__(self, layout: Layout, endpoints: Endpoints, name: str) -> None:
        self._layout = layout
        self._address = endpoints.address(name)
        self._channel: grpc.aio.Channel | None = None

    async def __call__(self) -> str:
        channel = self._connected()
        try:
            request = health_pb2.HealthCheckRequest()
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=_TIMEOUT_S)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return ""
            status = await status_pb2_grpc.StatusServiceStub(channel).GetStatus(
                status_pb2.GetStatusRequest(), timeout=_TIMEOUT_S
            )
            return "; ".join(status.reasons) or "not serving yet"
        except grpc.aio.AioRpcError as error:
            with contextlib.suppress(Exception):
                await channel.close(grace=None)
            self._channel = None
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ProbeUnanswered("no answer yet") from error
            return f"{error.code().name}: {error.details()}"

    def _connected(self) -> grpc.aio.Channel:
        if self._channel is None:
            from kestrel_chassis import admin

            credential = self._layout.credential(PROBING_OPERATOR).read_text().strip()
            self._channel = admin.channel(self._address, self._layout.secrets / "ca.pem", credential)
        return self._channel


async def create_database(layout: Layout, endpoints: Endpoints) -> None:
    import asyncpg

    connection = await asyncpg.connect(servers.database_url(layout, endpoints, "postgres"), timeout=_TIMEOUT_S)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", servers.DATABASE):
            await connection.execute(f'CREATE DATABASE "{servers.DATABASE}"')
    finally:
        await connection.close()


async def _greeting(port: int, question: bytes) -> bytes:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(question)
                return await reader.read(1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise ProbeUnanswered("no connection yet") from error
