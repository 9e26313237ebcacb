"""The least that plain Python needs for the same trades: what one writes before anything has gone wrong.

Orders and their lives, each event and each execution once, the overfill check, a position at average cost, realized
profit and predicted fees; it answers yes or no. No slots, no stages, no windows (it remembers every id, for ever), no
events to act on, no ledger against a wallet. ``bench/reference.py`` does the kernel's step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

REQUESTED, SENT, ACKNOWLEDGED, PARTIAL, FILLED = range(5)
SUBMITTING, ACKNOWLEDGE, FILL = range(3)

_NEXT = {
    (REQUESTED, SUBMITTING): SENT,
    (SENT, ACKNOWLEDGE): ACKNOWLEDGED,
    (ACKNOWLEDGED, FILL): PARTIAL,
    (PARTIAL, FILL): PARTIAL,
}
_PRICE_TO_AMOUNT = 10**4
"""Prices have 4 decimals and amounts 8."""
_FEE_RATE, _FEE_RATE_ONE = 50_000, 10**8


@dataclass(slots=True)
class Order:
    """One order, entry or exit of its trade."""

    trade: Trade
    side: int
    qty: int
    life: int = REQUESTED
    filled: int = 0


@dataclass(slots=True)
class Trade:
    """One position: its quantity and what was paid for it, at 4 decimals."""

    qty: int = 0
    cost: int = 0


@dataclass(slots=True)
class Minimal:
    """One account."""

    realized: int = 0
    fees: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    trades: dict[str, Trade] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    executions: set[str] = field(default_factory=set)

    def enter(self, event_id: str, trade_id: str, order_id: str, side: int, qty: int) -> bool:
        if event_id in self.events or trade_id in self.trades or order_id in self.orders or qty <= 0:
            return False
        self.events.add(event_id)
        trade = self.trades[trade_id] = Trade()
        self.orders[order_id] = Order(trade, side, qty)
        return True

    def exit(self, event_id: str, trade_id: str, order_id: str) -> bool:
        trade = self.trades.get(trade_id)
        if event_id in self.events or trade is None or not trade.qty or order_id in self.orders:
            return False
        self.events.add(event_id)
        self.orders[order_id] = Order(trade, -1 if trade.qty > 0 else 1, abs(trade.qty))
        return True

    def order(self, event_id: str, order_id: str, fact: int) -> bool:
        order = self.orders.get(order_id)
        if event_id in self.events or order is None:
            return False
        life = _NEXT.get((order.life, fact))
        if life is None:
            return False
        self.events.add(event_id)
        order.life = life
        return True

    def fill(self, event_id: str, order_id: str, execution_id: str, qty: int, price: int) -> bool:
        order = self.orders.get(order_id)
        if event_id in self.events or execution_id in self.executions or order is None:
            return False
        life = _NEXT.get((order.life, FILL))
        if life is None or order.filled + qty > order.qty:
            return False
        self.events.add(event_id)
        self.executions.add(execution_id)
        order.filled += qty
        order.life = FILLED if order.filled == order.qty else life
        self._book(order.trade, order.side * qty, price)
        self.fees += qty * price * _PRICE_TO_AMOUNT * _FEE_RATE // _FEE_RATE_ONE
        return True

    def _book(self, trade: Trade, signed: int, price: int) -> None:
        if trade.qty == 0 or (trade.qty > 0) == (signed > 0):
            trade.cost += signed * price
        else:
            part = trade.cost * -signed // trade.qty
            self.realized += (-signed * price - part) * _PRICE_TO_AMOUNT
            trade.cost -= part
        trade.qty += signed
