"""vnpy's order management: ``OmsEngine``'s handlers called directly, building the objects as a gateway has to.

It keeps the last order and every trade that was pushed, the active orders, and a holding per contract. It checks no
transition, removes no duplicate, and computes neither profit nor fees nor a balance: gateways push those.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from vnpy.event import Event, EventEngine
from vnpy.trader.constant import Direction, Exchange, Product, Status
from vnpy.trader.engine import OmsEngine
from vnpy.trader.event import EVENT_CONTRACT, EVENT_ORDER, EVENT_TRADE
from vnpy.trader.object import ContractData, OrderData, TradeData

from bench.peers import trades
from bench.peers.serve import serve
from bench.stopwatch import Stopwatch

_GATEWAY, _SYMBOL, _EXCHANGE = "SIM", "AAPL", Exchange.SMART
_STEPS = (
    (Direction.LONG, tuple(units / 10**trades.PRICE_SCALE for units in trades.ENTRY_PRICES)),
    (Direction.SHORT, tuple(units / 10**trades.PRICE_SCALE for units in trades.EXIT_PRICES)),
)
_HALF, _WHOLE = trades.FILL_QTY, trades.ORDER_QTY


def _direct(trade_count: int) -> dict[str, Any]:
    engine = OmsEngine(None, EventEngine())
    engine.process_contract_event(Event(EVENT_CONTRACT, _contract()))
    with Stopwatch() as stopwatch:
        for number in range(trade_count):
            for direction, prices in _STEPS:
                _live(engine, f"{direction.name}-{number}", direction, prices)
    return {**stopwatch.per(trade_count * trades.EVENTS_PER_TRADE), **_books(engine, trade_count)}


def _live(engine: Any, order_id: str, direction: Any, prices: tuple[float, ...]) -> None:
    """One order's life; a fill comes as an order update and a trade, as gateways push it."""
    on_order, on_trade = engine.process_order_event, engine.process_trade_event
    price = prices[0]
    on_order(Event(EVENT_ORDER, _order(order_id, direction, price, Status.SUBMITTING, 0)))
    on_order(Event(EVENT_ORDER, _order(order_id, direction, price, Status.NOTTRADED, 0)))
    on_order(Event(EVENT_ORDER, _order(order_id, direction, price, Status.PARTTRADED, _HALF)))
    on_trade(Event(EVENT_TRADE, _trade(order_id, f"{order_id}-1", direction, prices[0])))
    on_order(Event(EVENT_ORDER, _order(order_id, direction, price, Status.ALLTRADED, _WHOLE)))
    on_trade(Event(EVENT_TRADE, _trade(order_id, f"{order_id}-2", direction, prices[1])))


def _contract() -> Any:
    return ContractData(
        gateway_name=_GATEWAY, symbol=_SYMBOL, exchange=_EXCHANGE, name=_SYMBOL, product=Product.EQUITY,
        size=1, pricetick=0.01,
    )  # fmt: skip


def _order(order_id: str, direction: Any, price: float, status: Any, traded: int) -> Any:
    return OrderData(
        gateway_name=_GATEWAY, symbol=_SYMBOL, exchange=_EXCHANGE, orderid=order_id, direction=direction,
        price=price, volume=_WHOLE, traded=traded, status=status,
    )  # fmt: skip


def _trade(order_id: str, trade_id: str, direction: Any, price: float) -> Any:
    return TradeData(
        gateway_name=_GATEWAY, symbol=_SYMBOL, exchange=_EXCHANGE, orderid=order_id, tradeid=trade_id,
        direction=direction, price=price, volume=_HALF,
    )  # fmt: skip


def _books(engine: Any, trade_count: int) -> dict[str, Any]:
    """It books no profit, so we add up the trades it stored; the position being flat, that is what they earned."""
    assert not engine.active_orders, "vnpy holds orders that are over"
    assert len(engine.orders) == 2 * trade_count, "vnpy lost orders"
    stored = engine.trades.values()
    sign = {Direction.LONG: -1, Direction.SHORT: 1}
    assert sum(sign[each.direction] * each.volume for each in stored) == 0, "vnpy's trades do not end flat"
    earned = sum(sign[each.direction] * round(each.price * 10**trades.PRICE_SCALE) * each.volume for each in stored)
    realized = earned * trades.PRICE_TO_AMOUNT
    return {"orders": len(engine.orders), "fills": len(engine.trades), "realized_pnl": realized}


if __name__ == "__main__":
    serve({"vnpy": importlib.metadata.version("vnpy")}, {"direct": _direct})
