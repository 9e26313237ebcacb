"""Where cards are run: the paper venue, the TWS simulator with either library, and a real TWS or IB Gateway."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import grpc

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_simulators.matching.chance import Chance, Fate, Mode, draw
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.shell.paper import PaperVenue
from kestrel_venue_gateway.shell.venue import Venue
from tests.acceptance.processes import HOST, VenueProcess, free_ports
from tests.acceptance.stand import FIRST_PRICE, PRICE_SCALE, Ledger, LedgerExecution, Memory, Need, Stand, instrument

WALLET = Number.parse("1000000.00")
_FIRST_DAY = 20_000
CLIENT_ID = 71


class Place(Protocol):
    """A venue that is up, and stands at it: one after another."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def offers(self) -> frozenset[Need]:
        """What cards may ask of it."""

    async def open(self) -> None:
        """Start what has to be started."""

    async def stand(self) -> Stand:
        """A new connection to it, with a symbol of its own that has a price where that can be arranged."""

    async def close(self) -> None:
        """Stop what was started."""


# --- paper -------------------------------------------------------------------------------------------------------


@dataclass
class PaperPlace:
    """The paper venue."""

    folder: Path
    name: str = "paper"
    offers: frozenset[Need] = frozenset({Need.TRADES, Need.PRICES, Need.PROCESS})
    account: str = "PAPER-1"
    _symbols: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _memory: Memory = field(default_factory=Memory)

    async def open(self) -> None:
        self._process = VenueProcess("kestrel_simulators.paper", self.folder, free_ports("port"), ("--mode", "instant"))
        await self._process.start()
        self._back_door = PaperBackDoor(self._process, self.account)
        await self._back_door.open_account()

    async def stand(self) -> Stand:
        symbol = f"AC{next(self._symbols):03}"
        await self._process.start_again()
        await self._back_door.price(symbol, FIRST_PRICE)
        address = f"{HOST}:{self._process.ports['port']}"
        return Stand(
            self.name,
            self.account,
            lambda account: PaperVenue(address, account, request_timeout_s=5.0),
            symbol,
            self._back_door,
            memory=self._memory,
        )

    async def close(self) -> None:
        await self._back_door.close()
        await self._process.stop()


class _Prices:
    """Bars of one day each, so that every price is a new one."""

    def __init__(self) -> None:
        self._days: dict[str, Iterator[int]] = {}

    def bar(self, venue: str, symbol: str, price: str) -> venue_pb2.Bar:
        day = next(self._days.setdefault(symbol, itertools.count(_FIRST_DAY)))
        at = Number.parse(price, scale=PRICE_SCALE).message()
        return venue_pb2.Bar(
            venue=venue, instrument=instrument(symbol), open=at, high=at, low=at, close=at,
            volume=common_pb2.Decimal(units=1000), start_ns=day * DAY_NS, interval_ns=DAY_NS,
        )  # fmt: skip


class PaperBackDoor:
    """What the paper venue lets be done to it: prices, kills, drift. The rest no card asks of it."""

    def __init__(self, process: VenueProcess, account: str) -> None:
        self._process, self._account = process, account
        self._prices = _Prices()
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{process.ports['port']}")
        self._control = paper_pb2_grpc.PaperVenueControlServiceStub(self._channel)

    async def open_account(self) -> None:
        request = paper_pb2.OpenAccountRequest(account=self._account, wallet=WALLET.message(), currency="USD")
        await self._control.OpenAccount(request, wait_for_ready=True, timeout=30.0)

    async def price(self, symbol: str, price: str) -> None:
        bar = self._prices.bar("paper", symbol, price)
        await self._control.PublishBar(paper_pb2.PublishBarRequest(bar=bar), wait_for_ready=True, timeout=30.0)

    async def drift(self, symbol: str, qty: int) -> None:
        request = paper_pb2.InduceDriftRequest(account=self._account, symbol=symbol, qty=common_pb2.Decimal(units=qty))
        await self._control.InduceDrift(request, wait_for_ready=True, timeout=30.0)

    async def kill(self) -> None:
        await self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    async def heal(self) -> None:
        """There is nothing to heal."""

    async def ledger(self) -> Ledger:
        request = paper_pb2.GetLedgerRequest(account=self._account)
        books = await self._control.GetLedger(request, wait_for_ready=True, timeout=30.0)
        return Ledger(
            frozenset(order.client_order_id for order in books.orders),
            {arrival.client_order_id: arrival.request_count for arrival in books.arrivals},
            [
                LedgerExecution(
                    fill.execution_id, fill.client_order_id, Number.of(fill.last_qty), Number.of(fill.last_price)
                )
                for fill in books.fills
            ],
        )

    async def close(self) -> None:
        await self._channel.close(None)


# --- Interactive Brokers -----------------------------------------------------------------------------------------


@dataclass
class TwsPlace:
    """The simulator that speaks TWS's protocol, through the connector and one of the two libraries."""

    folder: Path
    library: Literal["ib_insync", "ib_async"] = "ib_insync"
    account: str = "DU1234567"
    offers: frozenset[Need] = frozenset(Need)
    _symbols: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _memory: Memory = field(default_factory=Memory)

    @property
    def name(self) -> str:
        return f"tws, {self.library}"

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self._process.ports["port"]

    async def fill_books(self, symbol: str, *, open_count: int, execution_count: int) -> None:
        """So many working orders and executions of today, as if our client had sent them in an earlier life."""
        await self._back_door.fill_books(symbol, open_count, execution_count)

    async def open(self) -> None:
        ports = free_ports("port", "admin-port")
        self._process = VenueProcess("kestrel_simulators.tws", self.folder, ports, ("--mode", "instant"))
        await self._process.start()
        self._back_door = TwsBackDoor(self._process, self.account)
        await self._back_door.open_account()

    async def stand(self) -> Stand:
        symbol = f"AC{next(self._symbols):03}"
        await self._process.start_again()
        await self._back_door.begin()
        await self._back_door.price(symbol, FIRST_PRICE)
        port = self.port

        def connect(account: str) -> Venue:
            return _ibkr_venue(self.library, account, HOST, port, symbol)

        return Stand(self.name, self.account, connect, symbol, self._back_door, self._back_door, memory=self._memory)

    async def close(self) -> None:
        await self._back_door.close()
        await self._process.stop()


@dataclass
class RealPlace:
    """A real TWS or IB Gateway. Without ``trades``, only cards that send no order are run."""

    host: str
    port: int
    account: str
    symbol: str
    library: Literal["ib_insync", "ib_async"] = "ib_insync"
    trades: bool = False
    name: str = "ibkr"

    @property
    def offers(self) -> frozenset[Need]:
        return frozenset({Need.TRADES}) if self.trades else frozenset()

    async def open(self) -> None:
        """Nothing of ours is to be started."""

    async def stand(self) -> Stand:
        def connect(account: str) -> Venue:
            return _ibkr_venue(self.library, account, self.host, self.port, self.symbol)

        return Stand(self.name, self.account, connect, self.symbol)

    async def close(self) -> None:
        """Nothing of ours is to be stopped."""


def _ibkr_venue(library: str, account: str, host: str, port: int, symbol: str) -> Venue:
    """A connector for one account, with short pauses: a card waits for reconnects. Imported when it is its turn."""
    from kestrel_venue_gateway.ibkr.venue import IbkrVenue

    settings = VenueGatewaySettings.model_validate(
        {
            "venue": "ibkr",
            "accounts": [account],
            "ibkr_host": host,
            "ibkr_port": port,
            "ibkr_client_id": CLIENT_ID,
            "ibkr_library": library,
            "ibkr_symbols": [symbol],
            "ibkr_connect_timeout_s": 5.0,
            "ibkr_heartbeat_s": 1.0,
            "ibkr_absence_grace_s": 1.0,
            "request_timeout_s": 3.0,
            "pause_s_min": 0.05,
            "pause_s_max": 0.5,
        }
    )
    return IbkrVenue(settings, account)


class TwsBackDoor:
    """What the TWS simulator lets be done to it."""

    def __init__(self, process: VenueProcess, account: str) -> None:
        self._process, self._account = process, account
        self._prices = _Prices()
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{process.ports['admin-port']}")
        self._control = tws_pb2_grpc.TwsSimulatorControlServiceStub(self._channel)
        self._happened: Counter[str] = Counter()

    async def begin(self) -> None:
        """For a new card: nothing lasts of what was done for one before, also where that failed half way."""
        await self.heal()
        await self.connectivity("RESTORED")
        self._happened.clear()

    async def open_account(self) -> None:
        await self._ask(
            self._control.OpenAccount,
            tws_pb2.OpenAccountRequest(account=self._account, wallet=WALLET.message(), currency="USD"),
        )

    async def price(self, symbol: str, price: str) -> None:
        bar = self._prices.bar("ibkr", symbol, price)
        await self._ask(self._control.PublishBar, tws_pb2.PublishBarRequest(bar=bar))

    async def fault(
        self, name: str, *, count: int = 1, delay_ms: int = 0, request: str = "", order_type: str = ""
    ) -> None:
        fault = tws_pb2.Fault.Value(f"FAULT_{name}")
        setting = tws_pb2.SetFaultRequest(
            fault=fault, count=count, delay_ms=delay_ms, request=request, order_type=order_type
        )
        await self._ask(self._control.SetFault, setting)

    async def faults_never_met(self) -> list[str]:
        await self._count_faults()
        return [name for name, count in self._happened.items() if not count]

    async def _count_faults(self) -> None:
        """Before they are cleared, and with them how often they happened."""
        armed = await self._ask(self._control.ListFaults, tws_pb2.ListFaultsRequest())
        for row in armed.faults:
            self._happened[tws_pb2.Fault.Name(row.setting.fault)] += row.happened_count

    async def heal(self) -> None:
        await self._count_faults()
        await self._ask(self._control.ClearFaults, tws_pb2.ClearFaultsRequest())
        await self._ask(self._control.SetMode, tws_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_INSTANT, seed=1))

    async def trade_by_hand(
        self, symbol: str, side: common_pb2.Side.ValueType, qty: int, *, order_ref: str = ""
    ) -> None:
        request = tws_pb2.PlaceManualOrderRequest(
            account=self._account, symbol=symbol, side=side, order_qty=common_pb2.Decimal(units=qty),
            order_type="MKT", client_id=9 if order_ref else 0, order_ref=order_ref,
        )  # fmt: skip
        await self._ask(self._control.PlaceManualOrder, request)

    async def fill_books(self, symbol: str, open_count: int, execution_count: int) -> None:
        for number in range(open_count + execution_count):
            is_open = number < open_count
            request = tws_pb2.PlaceManualOrderRequest(
                account=self._account, symbol=symbol, side=common_pb2.SIDE_BUY if number % 2 else common_pb2.SIDE_SELL,
                order_qty=common_pb2.Decimal(units=1), order_type="LMT" if is_open else "MKT",
                client_id=CLIENT_ID, order_ref=f"{CLIENT_ORDER_ID_PREFIX}books{number}",
            )  # fmt: skip
            if is_open:
                limit = "1.00" if number % 2 else "9000.00"
                request.price.CopyFrom(Number.parse(limit, scale=PRICE_SCALE).message())
            await self._ask(self._control.PlaceManualOrder, request)

    async def cancel_by_hand(self, client_order_id: str) -> None:
        books = await self._books()
        perm_id = next(order.perm_id for order in books.orders if order.order_ref == client_order_id)
        await self._ask(self._control.CancelOrderByHand, tws_pb2.CancelOrderByHandRequest(perm_id=perm_id))

    async def bust(self, execution_id: str) -> None:
        await self._ask(self._control.BustExecution, tws_pb2.BustExecutionRequest(execution_id=execution_id))

    async def correct(self, execution_id: str, *, qty: int, price: str) -> None:
        request = tws_pb2.CorrectExecutionRequest(
            execution_id=execution_id,
            qty=common_pb2.Decimal(units=qty),
            price=Number.parse(price, scale=PRICE_SCALE).message(),
        )
        await self._ask(self._control.CorrectExecution, request)

    async def drop_connections(self, *, abruptly: bool = False) -> None:
        await self._ask(self._control.DropConnections, tws_pb2.DropConnectionsRequest(abruptly=abruptly))

    async def connectivity(self, name: str) -> None:
        connectivity = tws_pb2.Connectivity.Value(f"CONNECTIVITY_{name}")
        await self._ask(self._control.SetConnectivity, tws_pb2.SetConnectivityRequest(connectivity=connectivity))

    async def reset_day(self, *, roll_back_ids: bool) -> None:
        await self._ask(self._control.ResetDay, tws_pb2.ResetDayRequest(roll_back_ids=roll_back_ids))

    async def fill_in_parts(self, command: journal_pb2.VenueCommand) -> None:
        mode = tws_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_ADVERSARIAL, seed=1)
        await self._ask(self._control.SetMode, mode)
        chance = Chance(Mode.ADVERSARIAL, seed=1)
        command.client_order_id = next(
            name
            for name in (f"{command.client_order_id}{number}" for number in range(1000))
            if draw(chance, name).fate is Fate.PARTIAL
        )

    async def hours(self, symbol: str, name: str) -> None:
        hours = tws_pb2.MarketHours.Value(f"MARKET_HOURS_{name}")
        await self._ask(self._control.SetMarketHours, tws_pb2.SetMarketHoursRequest(symbol=symbol, hours=hours))

    async def drift(self, symbol: str, qty: int) -> None:
        request = tws_pb2.InduceDriftRequest(account=self._account, symbol=symbol, qty=common_pb2.Decimal(units=qty))
        await self._ask(self._control.InduceDrift, request)

    async def kill(self) -> None:
        await self._process.kill()

    async def start(self) -> None:
        await self._process.start()

    async def ledger(self) -> Ledger:
        books = await self._books()
        return Ledger(
            frozenset(order.order_ref for order in books.orders),
            {arrival.order_ref: arrival.order_count for arrival in books.arrivals},
            [
                LedgerExecution(
                    execution.execution_id, execution.order_ref, Number.of(execution.qty), Number.of(execution.price)
                )
                for execution in books.executions
                if execution.is_current and execution.qty.units
            ],
        )

    async def close(self) -> None:
        await self._channel.close(None)

    async def _books(self) -> tws_pb2.GetLedgerResponse:
        answer: tws_pb2.GetLedgerResponse = await self._ask(
            self._control.GetLedger, tws_pb2.GetLedgerRequest(account=self._account)
        )
        return answer

    async def _ask(self, method: Any, request: Any) -> Any:
        return await method(request, wait_for_ready=True, timeout=30.0)
