"""NautilusTrader's execution engine: ``ExecutionEngine.process`` on events built beforehand; no database, no network.

A *calculated* account keeps its balance and margins from the fills: order machine, position and ledger, as our kernel
has them. A *reported* account leaves the ledger to the venue. NETTING holds one position per instrument, as venues net;
HEDGING one per trade. Logging is bypassed and a quote is in the cache, so that no path of errors is measured.
"""

from __future__ import annotations

import importlib.metadata
from decimal import Decimal
from functools import partial
from typing import Any

from nautilus_trader.accounting.factory import AccountFactory
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import MessageBus, TestClock, init_logging
from nautilus_trader.common.enums import LogLevel
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.config import ExecEngineConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.client import ExecutionClient
from nautilus_trader.execution.engine import ExecutionEngine
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, CurrencyType, LiquiditySide, OmsType, OrderSide, OrderType
from nautilus_trader.model.events import AccountState, OrderAccepted, OrderFilled, OrderSubmitted
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientId,
    InstrumentId,
    PositionId,
    StrategyId,
    Symbol,
    TradeId,
    TraderId,
    Venue,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import AccountBalance, Currency, Money, Price, Quantity
from nautilus_trader.portfolio.portfolio import Portfolio

from bench.peers import trades
from bench.peers.serve import serve
from bench.stopwatch import Stopwatch

_TRADER, _STRATEGY = TraderId("TESTER-001"), StrategyId("S-001")
_CALCULATED, _REPORTED = "CALCULATED", "REPORTED"
"""Two venues: that the account of a venue is calculated is said once, for the whole process."""
_CASH = 100_000_000
_HALF, _WHOLE = Quantity.from_int(trades.FILL_QTY), Quantity.from_int(trades.ORDER_QTY)


def _price(units: int) -> Any:
    return Price.from_str(trades.decimal(units, trades.PRICE_SCALE))


def _money(units: int) -> Any:
    return Money(Decimal(trades.decimal(units, trades.AMOUNT_SCALE)), USDT)


def _instrument(venue: str) -> Any:
    """Settled in a currency of eight decimals, so that fees come out as ours do; margined, so that it keeps margins."""
    share = Currency(code="AAPL", precision=0, iso4217=0, name="AAPL", currency_type=CurrencyType.CRYPTO)
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol("AAPL/USDT"), Venue(venue)), raw_symbol=Symbol("AAPL"),
        base_currency=share, quote_currency=USDT, price_precision=trades.PRICE_SCALE, size_precision=0,
        price_increment=_price(100), size_increment=Quantity.from_int(1),
        margin_init=Decimal("0.03"), margin_maint=Decimal("0.03"),
        maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"), ts_event=0, ts_init=0,
    )  # fmt: skip


_STEPS = (
    (OrderSide.BUY, tuple((_price(units), _money(trades.fee(units))) for units in trades.ENTRY_PRICES)),
    (OrderSide.SELL, tuple((_price(units), _money(trades.fee(units))) for units in trades.EXIT_PRICES)),
)


class _NoClient(ExecutionClient):  # type: ignore[misc]
    """An account to execute for; nothing is ever sent."""


class _Engine:
    """The engine with all it needs to run."""

    def __init__(self, oms_type: Any, venue: str) -> None:
        self.oms_type, self.venue = oms_type, venue
        self.instrument = _instrument(venue)
        self.account_id = AccountId(f"{venue}-001")
        clock = TestClock()
        bus = MessageBus(trader_id=_TRADER, clock=clock)
        self.cache = Cache(database=None)
        self.cache.add_instrument(self.instrument)
        bid, ask, size = _price(trades.ENTRY_PRICES[0]), _price(trades.EXIT_PRICES[0]), Quantity.from_int(1_000_000)
        self.cache.add_quote_tick(QuoteTick(self.instrument.id, bid, ask, size, size, 0, 0))
        self.portfolio = Portfolio(msgbus=bus, cache=self.cache, clock=clock)
        self.engine = ExecutionEngine(msgbus=bus, cache=self.cache, clock=clock, config=ExecEngineConfig(debug=False))
        client = _NoClient(
            client_id=ClientId(venue), venue=Venue(venue), oms_type=oms_type, account_type=AccountType.MARGIN,
            base_currency=USDT, msgbus=bus, cache=self.cache, clock=clock,
        )  # fmt: skip
        client._set_account_id(self.account_id)
        self.engine.register_client(client)
        self.portfolio.update_account(_opening(self.account_id, is_reported=venue == _REPORTED))
        self.engine.start()
        client._set_connected()
        self.orders = OrderFactory(trader_id=_TRADER, strategy_id=_STRATEGY, clock=clock)
        self.account = self.cache.account(self.account_id)
        assert self.account.calculate_account_state == (venue == _CALCULATED), "not the kind of account asked for"


def _opening(account_id: Any, *, is_reported: bool) -> Any:
    cash = Money(_CASH, USDT)
    return AccountState(
        account_id=account_id, account_type=AccountType.MARGIN, base_currency=USDT, reported=is_reported,
        balances=[AccountBalance(cash, Money(0, USDT), cash)], margins=[], info={},
        event_id=UUID4(), ts_event=0, ts_init=0,
    )  # fmt: skip


def _run(trade_count: int, *, oms_type: Any, venue: str) -> dict[str, Any]:
    engine = _Engine(oms_type, venue)
    events = [event for number in range(trade_count) for event in _trade(engine, number)]
    process = engine.engine.process
    with Stopwatch() as stopwatch:
        for event in events:
            process(event)
    return {**stopwatch.per(len(events)), **_books(engine, trade_count)}


def _trade(engine: _Engine, number: int) -> list[Any]:
    position_id = PositionId(f"P-{number}") if engine.oms_type == OmsType.HEDGING else None
    return [
        event
        for place, (side, fills) in enumerate(_STEPS)
        for event in _life(engine, 2 * number + place + 1, side, fills, position_id)
    ]


def _life(engine: _Engine, number: int, side: Any, fills: tuple[tuple[Any, Any], ...], position_id: Any) -> list[Any]:
    """The four events of one order, which the engine's cache is told of here: outside the clock, in its favor."""
    order = engine.orders.limit(engine.instrument.id, side, _WHOLE, fills[0][0])
    engine.cache.add_order(order, None)
    common = {
        "trader_id": _TRADER, "strategy_id": _STRATEGY, "instrument_id": engine.instrument.id,
        "client_order_id": order.client_order_id, "account_id": engine.account_id,
        "ts_event": number, "ts_init": number,
    }  # fmt: skip
    venue_order_id = VenueOrderId(str(number))
    return [
        OrderSubmitted(**common, event_id=UUID4()),
        OrderAccepted(**common, venue_order_id=venue_order_id, event_id=UUID4()),
        *(
            OrderFilled(
                **common, venue_order_id=venue_order_id, trade_id=TradeId(f"{number}-{place}"),
                position_id=position_id, order_side=side, order_type=OrderType.LIMIT, last_qty=_HALF, last_px=price,
                currency=USDT, commission=commission, liquidity_side=LiquiditySide.TAKER, event_id=UUID4(),
            )
            for place, (price, commission) in enumerate(fills, start=1)
        ),
    ]  # fmt: skip


def _books(engine: _Engine, trade_count: int) -> dict[str, Any]:
    """Commissions from the orders; profit less fees from the account where it is calculated, else from positions."""
    orders = engine.cache.orders_closed()
    assert len(orders) == 2 * trade_count, "NautilusTrader has orders that are not over"
    assert engine.cache.positions_open_count() == 0, "NautilusTrader does not end flat"
    scale = 10**trades.AMOUNT_SCALE
    fees = sum(int(sum(each.as_decimal() for each in order.commissions()) * scale) for order in orders)
    if engine.venue == _CALCULATED:
        earned = int((engine.account.balance_total(USDT).as_decimal() - _CASH) * scale)
    else:
        positions = [*engine.cache.positions(), *engine.cache.position_snapshots()]  # netting keeps one, and its past
        earned = int(sum(each.realized_pnl.as_decimal() for each in positions) * scale)
    return {"orders": len(orders), "fills": 2 * len(orders), "fees": fees, "realized_pnl": earned + fees}


def _rows() -> dict[str, Any]:
    return {
        f"{oms_type.name}_{venue}".lower(): partial(_run, oms_type=oms_type, venue=venue)
        for oms_type in (OmsType.NETTING, OmsType.HEDGING)
        for venue in (_CALCULATED, _REPORTED)
    }


if __name__ == "__main__":
    guard = init_logging(level_stdout=LogLevel.ERROR, bypass=True)
    AccountFactory.register_calculated_account(_CALCULATED)
    serve({"nautilus_trader": importlib.metadata.version("nautilus_trader")}, _rows())
