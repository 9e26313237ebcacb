"""A desk at the matching engine: short words for what tests do all day."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, SECOND_NS
from kestrel_simulators.matching import (
    AMOUNT_SCALE,
    Account,
    Bar,
    Chance,
    Costs,
    Instrument,
    MatchingEngine,
    Mode,
    NewOrder,
    Order,
)

STOCK = Instrument("AAPL", 1, "USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1)
FREE = Costs(0, 0, 0)


@dataclass
class Desk:
    """One engine, one account, one stock; prices in dollars, times in seconds."""

    engine: MatchingEngine
    instrument: Instrument = STOCK
    now_s: int = 0
    days: int = 0
    _ids: int = field(default=0)

    def __post_init__(self) -> None:
        self.engine.open_account("A", Number.parse("1000000.00"), "USD", now_ns=self.now_ns)

    @property
    def now_ns(self) -> int:
        return self.now_s * SECOND_NS

    @property
    def account(self) -> Account:
        return self.engine.accounts["A"]

    def units(self, dollars: float) -> int:
        return round(dollars * 10**self.instrument.price_scale)

    def bar(self, open_: float, high: float, low: float, close: float, *, interval_ns: int = DAY_NS) -> None:
        """The next bar; each is a day after the last, unless it is an intraday one."""
        self.days += 1
        self.now_s += 1
        prices = [self.units(price) for price in (open_, high, low, close)]
        bar = Bar(*prices, start_ns=self.days * DAY_NS, interval_ns=interval_ns)
        self.engine.advance(self.now_ns)
        self.engine.on_bar(self.instrument, bar, now_ns=self.now_ns)

    def flat_bar(self, price: float) -> None:
        self.bar(price, price, price, price)

    def order(self, side: str, qty: int, kind: str = "MARKET", tif: str = "DAY", **more: Any) -> Order:
        """Place an order; ``limit`` and ``stop`` are dollars."""
        self._ids += 1
        self.now_s += 1
        scale = self.instrument.price_scale
        prices = {
            "price": Number(self.units(more["limit"]), scale) if "limit" in more else None,
            "stop_price": Number(self.units(more["stop"]), scale) if "stop" in more else None,
        }
        request = NewOrder(
            "A",
            more.get("key", f"order-{self._ids}"),
            more.get("symbol", self.instrument.symbol),
            common_pb2.Side.Value(f"SIDE_{side}"),
            Number(qty, self.instrument.qty_scale),
            common_pb2.OrderType.Value(f"ORDER_TYPE_{kind}"),
            common_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{tif}"),
            reduce_only=more.get("reduce_only", False),
            parent_id=more.get("parent", ""),
            group=more.get("group", ""),
            **prices,
        )
        self.engine.advance(self.now_ns)
        return self.engine.place(request, now_ns=self.now_ns)

    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        self.engine.advance(self.now_ns)

    def facts(self, key: str) -> list[str]:
        """What was said about one order: fact names, and ``qty@price`` for fills."""
        said = []
        for event in self.account.events:
            fact = event.fact
            if isinstance(fact, venue_pb2.OrderReport) and fact.client_order_id == key:
                said.append(venue_pb2.OrderFact.Name(fact.fact).removeprefix("ORDER_FACT_"))
            elif isinstance(fact, venue_pb2.Fill) and fact.client_order_id == key:
                said.append(f"{Number.of(fact.last_qty)}@{Number.of(fact.last_price)}")
        return said

    @property
    def position(self) -> int:
        position = self.account.positions.get(self.instrument.symbol)
        return position.qty_units if position else 0

    @property
    def wallet(self) -> str:
        return str(Number(self.account.wallet_units, AMOUNT_SCALE))


@pytest.fixture
def make_desk() -> Any:
    def make(mode: Mode = Mode.INSTANT, *, seed: int = 7, costs: Costs = FREE, **more: Any) -> Desk:
        return Desk(MatchingEngine(Chance(mode, seed), costs), **more)

    return make


@pytest.fixture
def desk(make_desk: Any) -> Desk:
    """An instant venue without costs, after one bar at 100.00."""
    made: Desk = make_desk()
    made.flat_bar(100)
    return made
