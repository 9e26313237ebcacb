"""The gateway's service as it is started in production, on a real bus, against a simulated TWS; by either library."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import tokens
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_testkit.servers import free_port

from .conftest import ACCOUNT, Admin, TwsProcess, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_ROOT = Path(__file__).parents[4]
_PYTHONS = {"ib_insync": sys.executable, "ib_async": str(_ROOT / ".venv-ib-async" / "bin" / "python")}


def _shell_world() -> ModuleType:
    """The kernel's stand-in of the tests of the shell, for an account of ours."""
    spec = importlib.util.spec_from_file_location(
        "kestrel_shell_world", Path(__file__).parents[1] / "shell/conftest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ACCOUNT = ACCOUNT  # type: ignore[attr-defined]
    return module


class World:
    """A bus with a kernel's stand-in, a broker, and a gateway between them that can be killed."""

    def __init__(self, library: str, config: Path, kernel: Any, desk: Any, admin: Admin) -> None:
        self._command = [_PYTHONS[library], "-m", "kestrel_venue_gateway", "--config", str(config)]
        self._log = config.with_name("gateway.log")
        self.kernel, self.desk, self.admin = kernel, desk, admin
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, stdout=log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    async def enter(self, name: str, **changes: Any) -> Any:
        """An entry with a token, as governance and the kernel would have it."""
        self.desk.now_ns = time.time_ns()
        intent = self.desk.intent(name)
        for field, value in changes.items():
            getattr(intent, field).CopyFrom(value) if hasattr(value, "CopyFrom") else setattr(intent, field, value)
        command = self.desk.entry(intent)
        await self.kernel.command(command)
        return command

    async def settled(self, command: Any, *facts: int) -> None:
        """Wait until the order has one of these facts."""
        await eventually(
            lambda: set(facts) & set(self.kernel.facts(command.client_order_id)),
            f"{command.client_order_id} settles: {self.kernel.facts(command.client_order_id)}",
        )

    async def assert_books_agree(self) -> None:
        """Each of our executions that counts at the broker was told once, and no other; each order arrived once."""

        async def agree() -> bool:
            executions = (await self.admin.ledger()).executions
            theirs = sorted((row.execution_id, Number.of(row.qty).decimal()) for row in executions)
            ours = sorted((fill.execution_id, Number.of(fill.last_qty).decimal()) for fill in self.kernel.fills())
            return theirs == ours

        await eventually(agree, "the books agree")
        assert all(row.order_count == 1 for row in (await self.admin.ledger()).arrivals)


@pytest.fixture(params=["ib_insync", "ib_async"])
async def world(
    request: pytest.FixtureRequest, desk: Any, bus: Any, nats_server: Any, secrets: Path, tmp_path: Path
) -> AsyncIterator[World]:
    shell = _shell_world()
    tws = TwsProcess(tmp_path / "tws")
    admin = Admin(tws)
    await admin.bar("100")
    desk.account, desk.venue = ACCOUNT, "ibkr"
    desk.command_life_ns = 5 * MINUTE_NS  # its commands outlive a slow machine's start
    desk.key = tokens.SigningKey((secrets / "token-private.pem").read_bytes())
    admin_port = free_port()
    settings = {
        "common": {
            "nats_url": nats_server.url,
            "nats_user": bus.settings.nats_user,
            "nats_password": bus.settings.nats_password,
            "journal_max_bytes": bus.settings.journal_max_bytes,
            "secrets_dir": str(secrets),
            "data_dir": str(tmp_path / "data"),
        },
        "venue-gateway": {
            "venue": "ibkr",
            "accounts": [ACCOUNT],
            "ibkr_port": tws.port,
            "ibkr_library": request.param,
            "ibkr_connect_timeout_s": 2.0,
            "ibkr_absence_grace_s": 0.3,
            "admin_port": admin_port,
            "truth_interval_s": 600.0,
            "pause_s_min": 0.05,
            "pause_s_max": 0.5,
        },
    }
    config = tmp_path / "kestrel.yaml"
    config.write_text(yaml.safe_dump(settings))
    kernel = shell.KernelStandIn(bus)
    running = asyncio.create_task(kernel.run())
    found = World(request.param, config, kernel, desk, admin)
    yield found
    found.stop()
    print(config.with_name("gateway.log").read_text())  # shown when the test failed
    await kernel.stop()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await admin.close()
    tws.close()


async def test_service_trades_survives_kill_9_and_reports_everything_once(world: World) -> None:
    """Inside the production event loop: an entry, an exit, and a death with one order at work and one on its way."""
    await _connected(world)
    first = await world.enter("intent-1")
    await eventually(lambda: world.kernel.fills(first.client_order_id), "the entry is filled")
    await world.kernel.command(world.desk.exit("intent-1"))
    await eventually(lambda: len(world.kernel.fills()) == 2, "the exit is filled")

    resting = await world.enter("intent-2", price=Number.parse("90.0000").message())
    await world.settled(resting, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    await world.admin.fault("SWALLOW_ACK")
    doubtful = await world.enter("intent-3")
    await world.settled(doubtful, venue_pb2.ORDER_FACT_SUBMITTING)
    world.kill()
    await world.admin.bar("89")  # fills what rests, while nobody is there
    await world.admin.bar("100")
    world.start()
    await eventually(lambda: world.kernel.fills(resting.client_order_id), "the fill is found")
    arrived = doubtful.client_order_id in {row.order_ref for row in (await world.admin.ledger()).arrivals}
    if arrived:
        await world.settled(doubtful, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    else:  # it died between the mark and the socket: in doubt, and a person's matter
        await world.settled(doubtful, venue_pb2.ORDER_FACT_IN_DOUBT, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    await world.assert_books_agree()


async def _connected(world: World) -> None:
    """Until the account's balance was told, nothing is known of the account, and an entry would be refused."""
    await eventually(
        lambda: [report for report in world.kernel.reports if report.WhichOneof("body") == "balance"],
        "the account is known",
    )
    assert world.desk.gate.environment == common_pb2.ENVIRONMENT_PAPER
