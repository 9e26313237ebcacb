"""The world around a gateway: the real bus, the paper venue as a process, and a kernel reduced to its journal."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.consume import PullLoop
from kestrel_domain import effects, subjects, tokens
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MINUTE_NS
from kestrel_testkit import fixtures
from kestrel_testkit.servers import free_port
from kestrel_venue_gateway.config import VenueGatewaySettings

DEADLINE_S = 60.0
ACCOUNT = "PAPER-1"


async def eventually(check: Callable[[], Any], what: str) -> Any:
    """Poll until the check gives something true. A bounded wait, never a guess."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"did not happen in {DEADLINE_S:.0f} s: {what}")


class PaperProcess:
    """The paper venue, by its command line, with its control service."""

    def __init__(self, folder: Path, *, mode: str = "instant") -> None:
        self._folder, self._mode = folder, mode
        self.port = free_port()  # and not one of the process's choice: killed, it comes back to the same
        self._start()
        channel = grpc.aio.insecure_channel(self.address)
        self.control = paper_pb2_grpc.PaperVenueControlServiceStub(channel)
        self.orders = paper_pb2_grpc.PaperVenueServiceStub(channel)
        self._channel = channel

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _start(self) -> None:
        command = [sys.executable, "-m", "kestrel_simulators.paper", "--data", str(self._folder)]
        command += ["--port", str(self.port), "--mode", self._mode, "--seed", "3", "--delay-scale", "0.01"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "listening on" in line, line

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self._start()

    async def close(self) -> None:
        await self._channel.close(None)
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    async def bar(self, day: int, price: str, symbol: str = "AAPL") -> None:
        instrument = common_pb2.Instrument(
            symbol=symbol, version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
        )
        value = Number.parse(price).at(4).message()
        bar = venue_pb2.Bar(
            venue="paper",
            instrument=instrument,
            open=value,
            high=value,
            low=value,
            close=value,
            volume=Number.parse("100000").message(),
            start_ns=day * DAY_NS,
            interval_ns=DAY_NS,
        )
        await self.control.PublishBar(paper_pb2.PublishBarRequest(bar=bar), timeout=60, wait_for_ready=True)

    async def ledger(self) -> paper_pb2.GetLedgerResponse:
        response: paper_pb2.GetLedgerResponse = await self.control.GetLedger(
            paper_pb2.GetLedgerRequest(account=ACCOUNT), timeout=60, wait_for_ready=True
        )
        return response


class KernelStandIn:
    """The kernel as the gateway sees it: commands appear in a journal, and reports come back into it."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self._sequence = 0
        self._open: dict[str, Number] = {}
        self._trade_of: dict[str, str] = {}
        self.reports: list[venue_pb2.VenueReport] = []
        self.traces: dict[str, str] = {}
        self._loop: PullLoop | None = None
        self._lock = asyncio.Lock()

    async def command(self, *commands: journal_pb2.VenueCommand, traceparent: str = "") -> int:
        for command in commands:
            self._trade_of[command.client_order_id] = command.trade_id
        return await self._append(commands=commands, door="entry", traceparent=traceparent)

    async def run(self) -> None:
        """Journal every venue report, with what it filled and what is open after it."""
        self._loop = PullLoop(
            self._bus, subjects.INBOX, durable="stand-in", subjects=[f"inbox.0.{ACCOUNT}.venue"], ack_wait_s=2
        )
        seen: set[str] = set()
        async for batch in self._loop.batches():
            for message in batch:
                report = inbox_pb2.InboxMessage.FromString(message.data).venue
                if report.report_id not in seen:
                    seen.add(report.report_id)
                    self.reports.append(report)
                    self.traces[report.report_id] = message.traceparent
                    await self._journal(message.data, report)
                await self._loop.ack(message)

    async def stop(self) -> None:
        if self._loop is not None:
            await self._loop.stop()

    def facts(self, client_order_id: str) -> list[int]:
        return [report.order.fact for report in self.reports if report.order.client_order_id == client_order_id]

    def fills(self, client_order_id: str = "") -> list[venue_pb2.Fill]:
        return [
            report.fill
            for report in self.reports
            if report.WhichOneof("body") == "fill" and client_order_id in ("", report.fill.client_order_id)
        ]

    async def _journal(self, data: bytes, report: venue_pb2.VenueReport) -> None:
        fields: dict[str, Any] = {}
        if report.WhichOneof("body") == "fill":
            fill = report.fill
            trade_id = self._trade_of.get(fill.client_order_id, "")
            signed = Number.of(fill.last_qty) if fill.side == common_pb2.SIDE_BUY else -Number.of(fill.last_qty)
            self._open[trade_id] = self._open.get(trade_id, Number.zero()) + signed
            fields["fills"] = [
                journal_pb2.BookedFill(
                    execution_id=fill.execution_id,
                    client_order_id=fill.client_order_id,
                    last_qty=fill.last_qty,
                    trade_id=trade_id,
                )
            ]
            fields["slots"] = [
                state_pb2.SlotSnapshot(
                    trade_id=trade_id,
                    stage=state_pb2.SLOT_STAGE_POSITION_OPEN,
                    qty=self._open[trade_id].message(),
                    instrument=common_pb2.Instrument(symbol=fill.symbol),
                )
            ]
        await self._append(door="venue", input=data, **fields)

    async def _append(self, **fields: Any) -> int:
        async with self._lock:
            self._sequence += 1
            entry = journal_pb2.JournalEntry(account=ACCOUNT, **fields)
            effect = effects.publish(
                subjects.journal(0, ACCOUNT), entry, f"test-{self._sequence}", traceparent=entry.traceparent
            )
            return int((await self._bus.publish_until_stored(effect)).sequence)


class GatewayProcess:
    """The gateway as it is started in production."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._config.parent / "gateway.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "kestrel_venue_gateway", "--config", str(self._config)], stderr=log
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


async def all_messages(bus: Any, stream: str, kind: Any) -> list[Any]:
    return [kind.FromString(message.data) async for message in bus.read(stream)]


class World:
    """One test's world; ``desk`` signs with the key that the gateway was given."""

    def __init__(self, desk: Any, bus: Any, paper: PaperProcess, kernel: KernelStandIn, config: Path) -> None:
        self.desk, self.bus, self.paper, self.kernel, self.config = desk, bus, paper, kernel, config
        self.gateways: list[GatewayProcess] = []

    def gateway(self) -> GatewayProcess:
        """One more of them; a second one takes another admin port."""
        config = self.config
        if self.gateways:
            document = yaml.safe_load(config.read_text())
            document["venue-gateway"]["admin_port"] = 0
            config = config.with_name(f"kestrel-{len(self.gateways)}.yaml")
            config.write_text(yaml.safe_dump(document))
        process = GatewayProcess(config)
        self.gateways.append(process)
        return process

    def close(self) -> None:
        for gateway in self.gateways:
            if gateway.process.poll() is None:
                gateway.stop()

    async def beads(self) -> list[audit_pb2.Bead]:
        return await all_messages(self.bus, subjects.BEADS, audit_pb2.Bead)

    async def alerts(self) -> list[audit_pb2.Alert]:
        return await all_messages(self.bus, subjects.ALERTS, audit_pb2.Alert)

    async def has_read_the_journal(self) -> None:
        """The gateway has: it answers a command behind everything that is there now."""
        never = self.desk.cancel("ks" + "z" * 26, "never-was")
        await self.kernel.command(never)
        await self.settled(never, venue_pb2.ORDER_FACT_CANCEL_REJECTED)

    async def settled(self, command: journal_pb2.VenueCommand, *facts: int) -> list[int]:
        """Waits until the order has one of these facts; all its facts."""
        await eventually(
            lambda: set(facts) & set(self.kernel.facts(command.client_order_id)),
            f"{command.client_order_id} settles; facts so far {self.kernel.facts(command.client_order_id)}",
        )
        return self.kernel.facts(command.client_order_id)


@pytest.fixture
def live_desk(desk: Any, secrets: Path) -> Any:
    """The desk, with governance's key of this world and today's date; its commands outlive a slow machine's start."""
    desk.key = tokens.SigningKey((secrets / "token-private.pem").read_bytes())
    desk.now_ns = time.time_ns()
    desk.command_life_ns = 5 * MINUTE_NS
    return desk


@asynccontextmanager
async def open_world(desk: Any, bus: Any, url: str, secrets: Path, folder: Path) -> AsyncIterator[World]:
    paper = PaperProcess(folder / "paper")
    config = folder / "kestrel.yaml"
    admin_port = free_port()
    settings = {
        "common": {
            "nats_url": url,
            "nats_user": bus.settings.nats_user,
            "nats_password": bus.settings.nats_password,
            "journal_max_bytes": bus.settings.journal_max_bytes,
            "secrets_dir": str(secrets),
            "data_dir": str(folder / "data"),
        },
        "venue-gateway": {
            "paper_address": paper.address,
            "admin_port": admin_port,
            "truth_interval_s": 600.0,
            "pause_s_min": 0.05,
        },
    }
    config.write_text(yaml.safe_dump(settings))
    kernel = KernelStandIn(bus)
    running = asyncio.create_task(kernel.run())
    world = World(desk, bus, paper, kernel, config)
    try:
        yield world
    finally:
        world.close()
        await kernel.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await paper.close()


@pytest.fixture
async def world(live_desk: Any, bus: Any, nats_server: Any, secrets: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(live_desk, bus, nats_server.url, secrets, tmp_path) as found:
        yield found


@pytest.fixture
async def own_world(
    live_desk: Any, own_nats_server: Any, secrets: Path, tmp_path: Path
) -> AsyncIterator[tuple[World, Any]]:
    """A world on a server that may be killed."""
    bus = await fixtures.connect(own_nats_server.url, tmp_path)
    await fixtures.provision_afresh(bus)
    async with open_world(live_desk, bus, own_nats_server.url, secrets, tmp_path) as found:
        yield found, own_nats_server
    await bus.close()


@pytest.fixture
def gateway_settings(world: World) -> VenueGatewaySettings:
    document = yaml.safe_load(world.config.read_text())
    return VenueGatewaySettings.model_validate({**document["common"], **document["venue-gateway"]})


@pytest.fixture
def wait_until() -> Any:
    return eventually
