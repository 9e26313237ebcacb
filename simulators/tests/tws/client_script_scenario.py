"""One unmodified client library trades against the simulator: every scenario once, a JSON line for each.

    client_script_scenario.py ib_insync|ib_async HOST PORT ADMIN_PORT [scenario ...]

Written against what both libraries offer; the first argument chooses. A line is ``{"scenario": name, "error": ""}``,
or the traceback of what was not as it should be.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

asyncio.set_event_loop(asyncio.new_event_loop())  # ib_insync asks for one while it is imported
library: Any = importlib.import_module(sys.argv[1])

from kestrel.common.v1 import common_pb2  # noqa: E402
from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc  # noqa: E402
from kestrel.venue.v1 import venue_pb2  # noqa: E402
from kestrel_domain.numbers import Number  # noqa: E402
from kestrel_domain.timestamps import DAY_NS  # noqa: E402

ACCOUNT = "DU1234567"
TIMEOUT_S = 40.0
SCENARIOS: dict[str, Callable[[World], Awaitable[None]]] = {}


def scenario(function: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
    SCENARIOS[function.__name__] = function
    return function


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


class Complaints(logging.Handler):
    """What the library's decoder could not make sense of. It would only write it to its log and go on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Client:
    """One connection of the library, and every error message it was told."""

    def __init__(self, client_id: int) -> None:
        self.ib = library.IB()
        self.client_id = client_id
        self.errors: list[tuple[int, int, str]] = []
        self.ib.errorEvent += lambda req_id, code, text, *_: self.errors.append((req_id, code, text))

    def codes(self, req_id: int | None = None) -> list[int]:
        return [code for each, code, _ in self.errors if req_id is None or each == req_id]


class World:
    """The simulator's admin door, a market of its own for each scenario, and the clients of it."""

    ids = itertools.count(100)
    symbols = itertools.count(1)

    def __init__(self, control: Any, host: str, port: int) -> None:
        self.control = control
        self.where = (host, port)
        self.symbol = f"S{next(self.symbols):02}"
        self.instrument = common_pb2.Instrument(
            symbol=self.symbol, version=1, currency="USD", price_scale=2, qty_scale=0, tick_units=1, lot_units=1,
            multiplier=1,
        )  # fmt: skip
        self.contract = library.Stock(self.symbol, "SMART", "USD")
        self._clients: list[Client] = []

    async def connect(self, client_id: int | None = None, **more: Any) -> Client:
        client = Client(next(self.ids) if client_id is None else client_id)
        self._clients.append(client)
        await client.ib.connectAsync(*self.where, client.client_id, timeout=TIMEOUT_S, **more)
        assert client.ib.wrapper.clientId == client.client_id
        return client

    async def quote(self, bid: str, ask: str) -> None:
        request = tws_pb2.PublishQuoteRequest(instrument=self.instrument, bid=decimal(bid), ask=decimal(ask))
        await self.control.PublishQuote(request)

    async def bar(self, day: int, *prices: str) -> None:
        open_, high, low, close = map(decimal, prices)
        bar = venue_pb2.Bar(
            venue="tws", instrument=self.instrument, open=open_, high=high, low=low, close=close,
            volume=decimal("1000"), start_ns=day * DAY_NS, interval_ns=DAY_NS,
        )  # fmt: skip
        await self.control.PublishBar(tws_pb2.PublishBarRequest(bar=bar))

    async def fault(self, name: str, **more: Any) -> None:
        await self.control.SetFault(tws_pb2.SetFaultRequest(fault=tws_pb2.Fault.Value(f"FAULT_{name}"), **more))

    async def ledger_order(self, order_ref: str) -> Any:
        ledger = await self.control.GetLedger(tws_pb2.GetLedgerRequest(account=ACCOUNT))
        (found,) = [order for order in ledger.orders if order.order_ref == order_ref]
        return found

    def order(self, kind: str, action: str, qty: float, *prices: float, **more: Any) -> Any:
        """``MarketOrder`` and its like, with what every order should say."""
        order = getattr(library, kind)(action, qty, *prices)
        for name, value in ({"account": ACCOUNT, "tif": "DAY"} | more).items():
            setattr(order, name, value)
        return order

    def reference(self, name: str) -> str:
        return f"{self.symbol}-{name}"

    def close(self) -> None:
        for client in self._clients:
            client.ib.disconnect()


async def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    while not (result := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"never came: {what}"
        await asyncio.sleep(0.01)
    return result


async def in_time(answer: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(answer, TIMEOUT_S)


async def filled(trade: Any) -> None:
    """Every share is executed and paid for."""
    order = trade.order

    def is_done() -> bool:
        total = sum(fill.execution.shares for fill in trade.fills)
        return total == order.totalQuantity and all(fill.commissionReport.execId for fill in trade.fills)

    await until(is_done, f"{order.orderRef} filled with commissions")


async def has_status(trade: Any, *statuses: str) -> None:
    await until(lambda: trade.orderStatus.status in statuses, f"{trade.order.orderRef} {statuses}, not {trade}")


# The session and the account


@scenario
async def accounts(world: World) -> None:
    client = await world.connect()
    ib = client.ib
    assert ib.client.serverVersion() == 176
    assert ib.managedAccounts() == [ACCOUNT]
    assert {2104, 2106, 2158} <= set(client.codes(-1))
    values = {(value.tag, value.currency): value.value for value in ib.accountValues(ACCOUNT)}
    for tag in ("NetLiquidation", "TotalCashValue", "AvailableFunds", "BuyingPower", "MaintMarginReq"):
        assert float(values[tag, "USD"]) >= 0
    assert values["AccountReady", ""] == "true"
    summary = await in_time(ib.accountSummaryAsync(ACCOUNT))
    assert {"NetLiquidation", "Cushion"} <= {value.tag for value in summary}
    assert abs((await in_time(ib.reqCurrentTimeAsync())).timestamp()) > 1_000_000_000


@scenario
async def client_id_in_use(world: World) -> None:
    client = await world.connect()
    second = Client(client.client_id)
    connecting = asyncio.ensure_future(second.ib.connectAsync(*world.where, client.client_id, timeout=TIMEOUT_S))
    await until(lambda: 326 in second.codes(-1), "326")
    connecting.cancel()
    await asyncio.wait([connecting])
    assert not second.ib.isConnected()
    assert await in_time(client.ib.reqCurrentTimeAsync())


# Contracts and prices


@scenario
async def contract_details(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    (details,) = await in_time(client.ib.reqContractDetailsAsync(world.contract))
    contract = details.contract
    assert (contract.symbol, contract.secType, contract.currency) == (world.symbol, "STK", "USD")
    assert (contract.exchange, contract.primaryExchange) == ("SMART", "NASDAQ")
    assert contract.conId > 0
    assert details.minTick == 0.01
    assert details.timeZoneId
    assert details.liquidHours
    await in_time(client.ib.qualifyContractsAsync(world.contract))
    assert world.contract.conId == contract.conId
    assert not await in_time(client.ib.reqContractDetailsAsync(library.Stock("NOBODY", "SMART", "USD")))
    assert 200 in client.codes()
    samples = await in_time(client.ib.reqMatchingSymbolsAsync(world.symbol))
    assert [sample.contract.conId for sample in samples] == [contract.conId]
    rule = await in_time(client.ib.reqMarketRuleAsync(int(details.marketRuleIds.split(",")[0])))
    assert rule[0].increment == 0.01


@scenario
async def prices(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    await in_time(client.ib.qualifyContractsAsync(world.contract))
    (ticker,) = await in_time(client.ib.reqTickersAsync(world.contract))
    assert (ticker.bid, ticker.ask) == (99.99, 100.01)
    live = client.ib.reqMktData(world.contract)
    await until(lambda: live.bid == 99.99, "the first tick")
    await world.quote("101.00", "101.02")
    await until(lambda: (live.bid, live.ask) == (101.0, 101.02), "the next tick")
    client.ib.cancelMktData(world.contract)


@scenario
async def history(world: World) -> None:
    for day in (20_000, 20_001):
        await world.bar(day, "100.00", "102.00", "99.00", "101.00")
    client = await world.connect()
    bars = await in_time(
        client.ib.reqHistoricalDataAsync(
            world.contract, "", "2 D", "1 day", "TRADES", useRTH=True, formatDate=1, keepUpToDate=False
        )
    )
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in bars] == [(100.0, 102.0, 99.0, 101.0)] * 2


# Orders


@scenario
async def market_order(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    await in_time(client.ib.qualifyContractsAsync(world.contract))
    order = world.order("MarketOrder", "BUY", 10, orderRef=world.reference("buy"))
    trade = client.ib.placeOrder(world.contract, order)
    await filled(trade)
    await has_status(trade, "Filled")
    (fill,) = trade.fills
    assert (fill.execution.price, fill.execution.side, fill.execution.acctNumber) == (100.01, "BOT", ACCOUNT)
    assert fill.execution.orderRef == order.orderRef
    assert fill.execution.permId == trade.order.permId > 0
    assert (fill.commissionReport.commission, fill.commissionReport.currency) == (1.0, "USD")
    positions = client.ib.positions
    (position,) = await until(
        lambda: [each for each in positions(ACCOUNT) if each.contract.symbol == world.symbol], "the position"
    )
    assert (position.position, position.avgCost) == (10.0, 100.11)
    (item,) = await until(
        lambda: [each for each in client.ib.portfolio() if each.contract.symbol == world.symbol], "the portfolio"
    )
    assert (item.position, item.averageCost) == (10.0, 100.11)
    trade = client.ib.placeOrder(
        world.contract, world.order("MarketOrder", "SELL", 10, orderRef=world.reference("sell"))
    )
    await filled(trade)
    assert round(trade.fills[0].commissionReport.realizedPNL, 6) == round(999.9 - 1 - 1001.1, 6)
    await until(lambda: world.symbol not in {each.contract.symbol for each in positions(ACCOUNT)}, "a flat position")


@scenario
async def limit_order(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    order = world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference("limit"))
    trade = client.ib.placeOrder(world.contract, order)
    await has_status(trade, "Submitted")
    perm_id = trade.order.permId
    order.lmtPrice, order.totalQuantity = 96.5, 20
    assert client.ib.placeOrder(world.contract, order) is trade
    opened = await in_time(client.ib.reqOpenOrdersAsync())
    # What is heard while the answer is on its way is in the list twice.
    assert {(each.order.lmtPrice, each.order.permId) for each in opened} == {(96.5, perm_id)}
    kept = await world.ledger_order(order.orderRef)
    assert (str(Number.of(kept.price)), str(Number.of(kept.order_qty))) in {("96.50", "20"), ("96.5", "20")}
    client.ib.cancelOrder(order)
    await has_status(trade, "Cancelled")
    await until(lambda: 202 in client.codes(order.orderId), "202")
    assert trade.orderStatus.filled == 0
    client.ib.cancelOrder(library.Order(orderId=order.orderId + 1000))
    await until(lambda: 10147 in client.codes(order.orderId + 1000), "10147")


@scenario
async def stop_orders(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    stop = client.ib.placeOrder(
        world.contract, world.order("StopOrder", "SELL", 5, 98.0, orderRef=world.reference("stop"))
    )
    trail = client.ib.placeOrder(world.contract, trailing_order(world, "SELL", 5, 1.5))
    stop_limit = client.ib.placeOrder(
        world.contract, world.order("StopLimitOrder", "BUY", 5, 103.0, 102.0, orderRef=world.reference("stop-limit"))
    )
    for trade in (stop, trail, stop_limit):
        await has_status(trade, "PreSubmitted", "Submitted")
    await world.quote("102.10", "102.12")
    await filled(stop_limit)
    assert stop_limit.fills[0].execution.price <= 103.0
    await world.quote("100.50", "100.52")
    await filled(trail)
    assert not stop.fills
    await world.quote("97.50", "97.52")
    await filled(stop)
    assert stop.fills[0].execution.price == 97.5


def trailing_order(world: World, action: str, qty: float, amount: float) -> Any:
    order = library.Order(action=action, totalQuantity=qty, orderType="TRAIL", auxPrice=amount)
    order.account, order.tif, order.orderRef = ACCOUNT, "DAY", world.reference("trail")
    return order


@scenario
async def bracket(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    parts = client.ib.bracketOrder("BUY", 10, 99.0, 105.0, 95.0, account=ACCOUNT, tif="GTC")
    names = ("parent", "target", "stop")
    for part, name in zip(parts, names, strict=True):
        part.orderRef = world.reference(name)
    parent, target, stop = (client.ib.placeOrder(world.contract, part) for part in parts)
    await has_status(parent, "Submitted")
    for child in (target, stop):
        await has_status(child, "PreSubmitted")
    await world.quote("98.98", "99.00")
    await filled(parent)
    await has_status(target, "Submitted")
    await world.quote("105.00", "105.02")
    await filled(target)
    await has_status(stop, "Cancelled")
    assert target.fills[0].execution.price == 105.0


@scenario
async def what_if(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    order = world.order("LimitOrder", "BUY", 100, 99.0, orderRef=world.reference("what-if"))
    state = await in_time(client.ib.whatIfOrderAsync(world.contract, order))
    assert 0 < float(state.initMarginChange) < 1e300
    assert 0 < float(state.commission) < 1e300
    assert world.symbol not in {trade.contract.symbol for trade in await in_time(client.ib.reqAllOpenOrdersAsync())}


@scenario
async def rejection(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    await world.fault("REJECT_201", count=1, order_type="LMT")
    order = world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference("rejected"))
    trade = client.ib.placeOrder(world.contract, order)
    await has_status(trade, "Inactive")
    assert 201 in client.codes(order.orderId)
    done = await in_time(client.ib.reqCompletedOrdersAsync(False))
    assert order.orderRef in {each.order.orderRef for each in done}


@scenario
async def open_and_completed_orders(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    resting = client.ib.placeOrder(
        world.contract, world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference("resting"))
    )
    done = client.ib.placeOrder(world.contract, world.order("MarketOrder", "BUY", 10, orderRef=world.reference("done")))
    await filled(done)
    await has_status(resting, "Submitted")
    for ask in (client.ib.reqOpenOrdersAsync, client.ib.reqAllOpenOrdersAsync):
        orders = {trade.order.orderRef: trade for trade in await in_time(ask())}
        assert orders[resting.order.orderRef].orderStatus.remaining == 10
        assert done.order.orderRef not in orders
    completed = {trade.order.orderRef: trade for trade in await in_time(client.ib.reqCompletedOrdersAsync(False))}
    assert completed[done.order.orderRef].order.filledQuantity == 10
    assert completed[done.order.orderRef].order.permId == done.order.permId
    assert resting.order.orderRef not in completed
    client.ib.cancelOrder(resting.order)
    await has_status(resting, "Cancelled")


@scenario
async def executions(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    trades = [
        client.ib.placeOrder(world.contract, world.order("MarketOrder", side, 10, orderRef=world.reference(side)))
        for side in ("BUY", "SELL")
    ]
    for trade in trades:
        await filled(trade)
    every = await in_time(client.ib.reqExecutionsAsync(library.ExecutionFilter(symbol=world.symbol)))
    assert [fill.execution.side for fill in every] == ["BOT", "SLD"]
    assert {fill.execution.execId for fill in every} == {fill.execution.execId for t in trades for fill in t.fills}
    sold = await in_time(client.ib.reqExecutionsAsync(library.ExecutionFilter(symbol=world.symbol, side="SELL")))
    assert [fill.execution.side for fill in sold] == ["SLD"]


@scenario
async def profit_and_loss(world: World) -> None:
    await world.quote("100.00", "100.00")
    client = await world.connect()
    await in_time(client.ib.qualifyContractsAsync(world.contract))
    trade = client.ib.placeOrder(world.contract, world.order("MarketOrder", "BUY", 10, orderRef=world.reference("buy")))
    await filled(trade)
    whole = client.ib.reqPnL(ACCOUNT)
    single = client.ib.reqPnLSingle(ACCOUNT, "", world.contract.conId)
    await until(lambda: single.position == 10, "the position")
    await world.quote("110.00", "110.00")
    await until(lambda: round(single.unrealizedPnL, 2) == 99.0, f"profit of one position: {single}")
    await until(lambda: whole.unrealizedPnL == whole.unrealizedPnL, "profit of the account")
    client.ib.cancelPnL(ACCOUNT)
    client.ib.cancelPnLSingle(ACCOUNT, "", world.contract.conId)


@scenario
async def global_cancel(world: World) -> None:
    await world.quote("99.99", "100.01")
    client, other = await world.connect(), await world.connect()
    trades = [
        each.ib.placeOrder(
            world.contract, world.order("LimitOrder", "BUY", 1, price, orderRef=world.reference(f"{price}"))
        )
        for each, price in ((client, 90.0), (client, 91.0), (other, 92.0))
    ]
    for trade in trades:
        await has_status(trade, "Submitted")
    client.ib.reqGlobalCancel()
    for trade in trades:
        await has_status(trade, "Cancelled")


@scenario
async def two_clients(world: World) -> None:
    await world.quote("99.99", "100.01")
    first, second = await world.connect(), await world.connect()
    order = world.order("LimitOrder", "BUY", 1, 90.0, orderRef=world.reference("first"))
    trade = first.ib.placeOrder(world.contract, order)
    await has_status(trade, "Submitted")
    assert not [each for each in second.ib.openTrades() if each.order.orderRef == order.orderRef]
    assert order.orderRef not in {each.order.orderRef for each in await in_time(second.ib.reqOpenOrdersAsync())}
    copies = {each.order.orderRef: each for each in await in_time(second.ib.reqAllOpenOrdersAsync())}
    assert copies[order.orderRef].order.clientId == first.client_id
    second.ib.cancelOrder(library.Order(orderId=order.orderId))
    await until(lambda: 10147 in second.codes(order.orderId), "10147 for an order of another client")
    assert trade.orderStatus.status == "Submitted"
    await world.quote("89.98", "90.00")
    await filled(trade)
    await until(
        lambda: world.symbol in {each.contract.symbol for each in second.ib.positions(ACCOUNT)}, "everybody's position"
    )
    first.ib.placeOrder(world.contract, world.order("MarketOrder", "SELL", 1, orderRef=world.reference("flat")))
    await until(
        lambda: world.symbol not in {each.contract.symbol for each in second.ib.positions(ACCOUNT)}, "a flat position"
    )


@scenario
async def order_by_hand(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    request = tws_pb2.PlaceManualOrderRequest(
        account=ACCOUNT, symbol=world.symbol, side=common_pb2.SIDE_BUY, order_qty=decimal("3"), order_type="LMT",
        price=decimal("90.00"),
    )  # fmt: skip
    placed = await world.control.PlaceManualOrder(request)
    copies = {each.order.permId: each for each in await in_time(client.ib.reqAllOpenOrdersAsync())}
    assert copies[placed.perm_id].order.orderId <= 0
    assert copies[placed.perm_id].order.totalQuantity == 3
    await world.control.CancelOrderByHand(tws_pb2.CancelOrderByHandRequest(perm_id=placed.perm_id))
    done = {each.order.permId: each for each in await in_time(client.ib.reqCompletedOrdersAsync(False))}
    assert done[placed.perm_id].orderStatus.status == "Cancelled"


# Interruptions


@scenario
async def fill_while_away(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    order = world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference("away"))
    trade = client.ib.placeOrder(world.contract, order)
    await has_status(trade, "Submitted")
    client.ib.disconnect()
    await world.quote("94.98", "95.00")
    again = await world.connect(client.client_id)
    (fill,) = [each for each in again.ib.fills() if each.execution.orderRef == order.orderRef]
    assert (fill.execution.shares, fill.execution.price) == (10.0, 95.0)
    (completed,) = [
        each for each in await in_time(again.ib.reqCompletedOrdersAsync(False)) if each.order.orderRef == order.orderRef
    ]
    assert completed.order.filledQuantity == 10
    assert again.ib.client.getReqId() > order.orderId


@scenario
async def lost_link(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    order = world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference("link"))
    trade = client.ib.placeOrder(world.contract, order)
    await has_status(trade, "Submitted")
    await world.control.SetConnectivity(tws_pb2.SetConnectivityRequest(connectivity=tws_pb2.CONNECTIVITY_LOST))
    await until(lambda: 1100 in client.codes(-1), "1100")
    assert client.ib.isConnected()
    await world.quote("94.98", "95.00")
    kept = await world.ledger_order(order.orderRef)
    assert (kept.status, trade.fills) == ("Filled", [])
    await world.control.SetConnectivity(tws_pb2.SetConnectivityRequest(connectivity=tws_pb2.CONNECTIVITY_RESTORED))
    await until(lambda: 1102 in client.codes(-1), "1102")
    await filled(trade)


@scenario
async def dropped_connection(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect()
    lost: list[int] = []
    client.ib.disconnectedEvent += lambda: lost.append(1)
    for abruptly in (False, True):
        await world.fault("DROP_AFTER_ACK", count=1, order_type="LMT")
        order = world.order("LimitOrder", "BUY", 10, 95.0, orderRef=world.reference(f"dropped-{abruptly}"))
        trade = client.ib.placeOrder(world.contract, order)
        await until(lambda: lost, "the end of the connection")
        assert trade.order.permId > 0
        client = await world.connect(client.client_id)
        assert order.orderRef in {each.order.orderRef for each in client.ib.openTrades()}
        lost.clear()
        client.ib.disconnectedEvent += lambda: lost.append(1)
        drop = tws_pb2.DropConnectionsRequest(client_id=client.client_id, abruptly=abruptly)
        assert (await world.control.DropConnections(drop)).connection_count == 1
        await until(lambda: lost, "the end of the connection")
        client = await world.connect(client.client_id)
        lost.clear()
        client.ib.disconnectedEvent += lambda: lost.append(1)
    client.ib.reqGlobalCancel()


@scenario
async def byte_by_byte(world: World) -> None:
    await world.quote("99.99", "100.01")
    await world.fault("BYTE_WISE")
    client = await world.connect()
    trade = client.ib.placeOrder(world.contract, world.order("MarketOrder", "BUY", 1, orderRef=world.reference("slow")))
    await filled(trade)


# Killed between these two


KEPT = ("KEPT-resting", "KEPT-filled")


async def before_restart(world: World) -> None:
    await world.quote("99.99", "100.01")
    client = await world.connect(71)
    resting, done = KEPT
    trade = client.ib.placeOrder(
        world.contract, world.order("LimitOrder", "BUY", 10, 95.0, tif="GTC", orderRef=resting)
    )
    await has_status(trade, "Submitted")
    trade = client.ib.placeOrder(world.contract, world.order("MarketOrder", "BUY", 10, tif="GTC", orderRef=done))
    await filled(trade)


async def after_restart(world: World) -> None:
    client = await world.connect(71)
    resting, done = KEPT
    (trade,) = [each for each in client.ib.openTrades() if each.order.orderRef == resting]
    assert (trade.orderStatus.status, trade.orderStatus.remaining) == ("Submitted", 10.0)
    (fill,) = [each for each in client.ib.fills() if each.execution.orderRef == done]
    await until(lambda: fill.commissionReport.execId, "the commission")
    assert (fill.execution.shares, fill.commissionReport.commission) == (10.0, 1.0)
    (position,) = client.ib.positions(ACCOUNT)
    assert (position.position, position.avgCost) == (10.0, 100.11)
    assert client.ib.client.getReqId() > trade.order.orderId
    client.ib.cancelOrder(trade.order)
    await has_status(trade, "Cancelled")


BY_NAME = SCENARIOS | {"before_restart": before_restart, "after_restart": after_restart}


async def main() -> None:
    asyncio.set_event_loop(asyncio.get_running_loop())
    host, port, admin_port, *names = sys.argv[2:]
    complaints = Complaints()
    logging.getLogger(f"{sys.argv[1]}.Decoder").addHandler(complaints)
    async with grpc.aio.insecure_channel(f"{host}:{admin_port}") as channel:
        control = tws_pb2_grpc.TwsSimulatorControlServiceStub(channel)
        for name in names or list(SCENARIOS):
            world = World(control, host, int(port))
            error = ""
            try:
                await BY_NAME[name](world)
            except Exception:
                error = traceback.format_exc()
            world.close()
            if complaints.texts:
                error += "the decoder complained:\n" + "\n".join(complaints.texts)
                complaints.texts.clear()
            await control.ClearFaults(tws_pb2.ClearFaultsRequest())
            print(json.dumps({"scenario": name, "error": error}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
