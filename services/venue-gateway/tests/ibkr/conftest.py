"""The world around a connector: a simulated TWS as a process, and books kept as gateway and kernel keep them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import KestrelError
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_testkit.servers import free_port
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import Outcome, Presence, SendResult
from kestrel_venue_gateway.ibkr.venue import IbkrVenue

DEADLINE_S = 90.0
ACCOUNT = "DU1234567"
LIBRARY = os.environ.get("KESTREL_TEST_IBKR_LIBRARY", "ib_insync")
"""Which client library the tests use. Each has an environment of its own; ``test_libraries`` runs the other one."""


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


def number(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


class TwsProcess:
    """The simulated TWS, by its command line."""

    def __init__(self, folder: Path, accounts: Sequence[str] = ()) -> None:
        self._folder, self._accounts = folder, accounts
        self.port, self.admin_port = free_port(), free_port()  # killed, it comes back to the same
        self._bars = 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "kestrel_simulators.tws", "--data", str(self._folder), "--mode", "instant"]
        command += ["--port", str(self.port), "--admin-port", str(self.admin_port), "--commission-delay-ms", "20"]
        for account in self._accounts:
            command += ["--account", account]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline() + self.process.stdout.readline()
        assert f":{self.port}" in said, said
        assert f":{self.admin_port}" in said, said

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self._start()

    def close(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number_: signal.Signals) -> None:
        self.process.send_signal(number_)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Admin:
    """The simulator's admin door, for one test's event loop."""

    def __init__(self, tws: TwsProcess) -> None:
        self.tws = tws
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{tws.admin_port}")
        self.stub = tws_pb2_grpc.TwsSimulatorControlServiceStub(self._channel)

    async def bar(self, price: str, symbol: str = "AAPL") -> None:
        self.tws._bars += 1
        value = Number.parse(price).at(4).message()
        bar = venue_pb2.Bar(
            venue="ibkr",
            instrument=instrument(symbol),
            open=value,
            high=value,
            low=value,
            close=value,
            volume=number("1000000"),
            start_ns=self.tws._bars * MINUTE_NS,
            interval_ns=MINUTE_NS,
        )
        await self.stub.PublishBar(tws_pb2.PublishBarRequest(bar=bar), timeout=60, wait_for_ready=True)

    async def fault(self, name: str, count: int = 1, **more: Any) -> None:
        fault = tws_pb2.Fault.Value(f"FAULT_{name}")
        await self.stub.SetFault(
            tws_pb2.SetFaultRequest(fault=fault, count=count, **more), timeout=60, wait_for_ready=True
        )

    async def happened(self) -> dict[str, int]:
        """How often each armed fault has happened."""
        armed = await self.stub.ListFaults(tws_pb2.ListFaultsRequest(), timeout=60, wait_for_ready=True)
        name = tws_pb2.Fault.Name
        return {name(row.setting.fault).removeprefix("FAULT_"): row.happened_count for row in armed.faults}

    async def clear(self) -> None:
        await self.stub.ClearFaults(tws_pb2.ClearFaultsRequest(), timeout=60, wait_for_ready=True)

    async def connectivity(self, name: str) -> None:
        value = tws_pb2.Connectivity.Value(f"CONNECTIVITY_{name}")
        await self.stub.SetConnectivity(
            tws_pb2.SetConnectivityRequest(connectivity=value), timeout=60, wait_for_ready=True
        )

    async def drop(self, *, abruptly: bool = False) -> None:
        await self.stub.DropConnections(
            tws_pb2.DropConnectionsRequest(abruptly=abruptly), timeout=60, wait_for_ready=True
        )

    async def ledger(self) -> tws_pb2.GetLedgerResponse:
        request = tws_pb2.GetLedgerRequest(account=ACCOUNT)
        found: tws_pb2.GetLedgerResponse = await self.stub.GetLedger(request, timeout=60, wait_for_ready=True)
        return found

    async def close(self) -> None:
        await self._channel.close(None)


def instrument(symbol: str = "AAPL") -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
    )


class Books:
    """What the gateway's session and the kernel do with a venue's events: store once, book once, reconnect."""

    def __init__(self, settings: VenueGatewaySettings) -> None:
        self.settings = settings
        self.stored: list[venue_pb2.VenueReport] = []
        self.errors: list[KestrelError] = []
        self.connections = 0
        self._ids: set[str] = set()
        self._orders: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self.known = KnownFacts()
        for report in self.stored:
            self.known.learn(report)
        self.venue = IbkrVenue(self.settings, ACCOUNT)
        self._following = asyncio.create_task(self._follow())

    async def die(self) -> None:
        """As ``kill -9`` of the gateway: what was not stored is lost. A new life begins from what was."""
        await self._end()
        self._begin()

    async def close(self) -> None:
        await self._end()

    async def _end(self) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.venue.close()

    async def _follow(self) -> None:
        while True:
            self.connections += 1
            events = self.venue.events(len(self.stored), self.known)
            try:
                async for event in events:
                    self._store(event)
            except KestrelError as error:
                self.errors.append(error)
            finally:
                await events.aclose()
            await asyncio.sleep(0.05)

    def _store(self, event: reports.VenueEvent) -> None:
        heard = reports.hear(event, account=ACCOUNT, venue="ibkr", our_symbols=("AAPL",), known=self.known)
        assert heard.malformed is None, heard.malformed
        report = heard.report
        if report is None or report.report_id in self._ids:
            return
        report.received_at_ns = time.time_ns()
        self._ids.add(report.report_id)
        self.stored.append(report)
        self.known.learn(report)

    # --- orders ------------------------------------------------------------------------------------------------

    def command(self, client_order_id: str, **changes: Any) -> journal_pb2.VenueCommand:
        self._orders.add(client_order_id)
        values: dict[str, Any] = {
            "kind": journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
            "client_order_id": client_order_id,
            "account": ACCOUNT,
            "venue": "ibkr",
            "instrument": instrument(),
            "side": common_pb2.SIDE_BUY,
            "order_qty": number("10"),
            "order_type": common_pb2.ORDER_TYPE_MARKET,
            "time_in_force": common_pb2.TIME_IN_FORCE_DAY,
        }
        return journal_pb2.VenueCommand(**{**values, **changes})

    async def send(self, client_order_id: str, **changes: Any) -> SendResult:
        """As the submission procedure does: SUBMITTING is stored, it is sent once, and while in doubt, asked about."""
        command = self.command(client_order_id, **changes)
        self._submitting(command)
        answer = await self.venue.send(command)
        if answer.outcome is not Outcome.UNKNOWN:
            return answer
        return await self.resolve(client_order_id)

    async def sent(self, client_order_id: str, **changes: Any) -> SendResult:
        """The same; what certainly did not leave, as the gateway was silent for a moment, is tried again."""

        async def left() -> SendResult | None:
            answer = await self.send(client_order_id, **changes)
            return answer if answer.outcome is not Outcome.NOT_SENT else None

        answer: SendResult = await eventually(left, f"{client_order_id} leaves")
        return answer

    async def resolve(self, client_order_id: str) -> SendResult:
        """Ask until the venue has spoken of it, or has told everything else. The latter leaves it in doubt: UNKNOWN."""

        async def speak() -> SendResult | None:
            found = await self.venue.ask(client_order_id, fence=False)
            if found.presence is Presence.UNKNOWN:
                return None
            return SendResult(_OUTCOMES[found.presence], found.venue_order_id, found.reason)

        resolved: SendResult = await eventually(speak, f"{client_order_id} is resolved")
        return resolved

    async def cancel(self, client_order_id: str) -> SendResult:
        command = self.command(client_order_id, kind=journal_pb2.COMMAND_KIND_CANCEL)

        async def confirmed() -> SendResult | None:
            answer = await self.venue.cancel(command)
            return answer if answer.outcome is not Outcome.UNKNOWN else None

        answer: SendResult = await eventually(confirmed, f"the cancel of {client_order_id} is answered")
        return answer

    def _submitting(self, command: journal_pb2.VenueCommand) -> None:
        order = venue_pb2.OrderReport(
            fact=venue_pb2.ORDER_FACT_SUBMITTING, client_order_id=command.client_order_id, symbol="AAPL"
        )
        report = reports.order_report(ACCOUNT, "ibkr", order)
        report.received_at_ns = time.time_ns()
        self.stored.append(report)
        self.known.learn(report)

    # --- what is booked ----------------------------------------------------------------------------------------

    def facts(self, client_order_id: str) -> list[str]:
        found = [report.order for report in self.stored if report.order.client_order_id == client_order_id]
        return [venue_pb2.OrderFact.Name(order.fact).removeprefix("ORDER_FACT_") for order in found]

    @property
    def booked(self) -> dict[str, tuple[str, Number, Number]]:
        """By stem of the execution id: whose order, quantity and price, as a kernel would have them."""
        by_id: dict[str, tuple[str, Number, Number]] = {}
        for report in self.stored:
            match report.WhichOneof("body"):
                case "fill":
                    fill = report.fill
                    assert fill.execution_id not in by_id, "booked twice"
                    by_id[fill.execution_id] = _row(fill)
                case "bust":
                    assert report.bust.execution_id in by_id, "restated without being there"
                    del by_id[report.bust.execution_id]
                    if report.bust.HasField("corrected"):
                        by_id[report.bust.execution_id] = _row(report.bust.corrected)
        rows = {execution_id.rpartition(".")[0]: row for execution_id, row in by_id.items()}
        assert len(rows) == len(by_id), "one execution under two ids"
        return {stem: row for stem, row in rows.items() if row[0] in self._orders}

    def fees(self) -> dict[str, Number]:
        """By stem: the last fee that was told."""
        settled = [report.settlement for report in self.stored if report.settlement.client_order_id in self._orders]
        return {row.execution_id.rpartition(".")[0]: Number.of(row.fee) for row in settled}

    def cum_qty(self, client_order_id: str) -> Number:
        rows = [qty for ref, qty, _ in self.booked.values() if ref == client_order_id]
        return sum(rows, start=Number(0, 0))

    async def matches(self, admin: Admin) -> bool:
        """Every execution of ours that counts at the broker is booked, as it is, and no other is."""
        return self.booked == _at_the_broker(await admin.ledger(), self._orders)

    async def assert_nothing_lost_nothing_doubled(self, admin: Admin) -> None:
        await eventually(lambda: self.matches(admin), "our books are the broker's")
        arrivals = (await admin.ledger()).arrivals
        assert {row.order_ref: row.order_count for row in arrivals if row.order_count > 1} == {}

    async def settle(self, admin: Admin, client_order_id: str, **changes: Any) -> str:
        """Get an order to the venue. What did not leave is tried again; one that stays in doubt gives way to another.

        Returns the id of the order that is there. One in doubt must not be: it fell into a breaking connection.
        """
        while True:
            answer = await self.send(client_order_id, **changes)
            assert answer.outcome is not Outcome.REJECTED, answer
            if answer.outcome is Outcome.ACCEPTED:
                return client_order_id
            if answer.outcome is Outcome.UNKNOWN:
                assert client_order_id not in {row.order_ref for row in (await admin.ledger()).arrivals}
                client_order_id += "x"

    async def lose_connection(self, admin: Admin) -> None:
        """Drop it, and wait until that was noticed: what is sent in between may be lost, and is in doubt then."""
        count = self.connections
        await admin.drop()
        await eventually(lambda: self.connections > count, "the connection was lost")

    async def ready(self) -> None:
        await eventually(lambda: self.venue.state.no_entry is None, "the connector is ready")


_OUTCOMES = {
    Presence.FOUND: Outcome.ACCEPTED,
    Presence.REJECTED: Outcome.REJECTED,
    Presence.ABSENT: Outcome.UNKNOWN,
}


def _row(fill: venue_pb2.Fill) -> tuple[str, Number, Number]:
    return fill.client_order_id, Number.of(fill.last_qty), Number.of(fill.last_price)


def _at_the_broker(ledger: tws_pb2.GetLedgerResponse, ours: set[str]) -> dict[str, tuple[str, Number, Number]]:
    return {
        row.execution_id.rpartition(".")[0]: (row.order_ref, Number.of(row.qty), Number.of(row.price))
        for row in ledger.executions
        if row.is_current and row.order_ref in ours and row.qty.units
    }


@pytest.fixture(scope="module")
def tws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwsProcess]:
    """One broker for the tests of a module: each test has orders of its own."""
    process = TwsProcess(tmp_path_factory.mktemp("tws"))
    yield process
    if process.process.poll() is None:
        process.close()


@pytest.fixture
async def admin(tws: TwsProcess) -> AsyncIterator[Admin]:
    door = Admin(tws)
    await door.clear()
    await door.bar("100")
    yield door
    await door.clear()
    await door.close()


def _pace(timeout_s: float, heartbeat_s: float) -> dict[str, Any]:
    return {"ibkr_connect_timeout_s": 2 * heartbeat_s, "ibkr_heartbeat_s": heartbeat_s, "request_timeout_s": timeout_s}


PATIENT = _pace(30.0, 30.0)
"""For what ends by an answer: how long that takes on a busy machine is no concern of the test."""
STEADY = _pace(1.0, 30.0)
"""For what ends by a silence, on a connection that is not to end by one."""
BRISK = _pace(1.0, 1.0)
"""For connections that end by a silence; a busy machine may be silent, too, so the test has to bear one more end."""


def connector_settings(tws: TwsProcess, **changes: Any) -> VenueGatewaySettings:
    values: dict[str, Any] = {
        "venue": "ibkr",
        "accounts": [ACCOUNT],
        "ibkr_port": tws.port,
        "ibkr_library": LIBRARY,
        "ibkr_absence_grace_s": 0.3,
        **PATIENT,
    }
    return VenueGatewaySettings(**{**values, **changes})


@pytest.fixture
async def books(request: pytest.FixtureRequest, tws: TwsProcess, admin: Admin) -> AsyncIterator[Books]:
    """Patient ones, unless the test asks for another pace."""
    kept = Books(connector_settings(tws, **getattr(request, "param", PATIENT)))
    yield kept
    await kept.close()


@pytest.fixture
def ref(request: pytest.FixtureRequest) -> str:
    """A client order id of this test's own."""
    return f"ks{abs(hash((request.node.nodeid, time.time_ns()))):x}"[:30]
