"""The kernel's step in plain Python, on integers, in its fast form: what a careful team would run without a C library.

For the inputs that are measured it does what the kernel does and answers what the kernel answers, event by event (each
run compares them): bounded slots, the table of an order's life, stage and lifecycle as views, both windows against
repeats, routing by order id, overfill, average cost with the rest on the last part, realized profit, predicted fees.
Inputs are tuples made beforehand, events are tuples. In its favor it does less where it does not show: ids are not
checked letter by letter, sums not for 64 bits; no ledger comparison, no busts, no digest, no snapshot, no views.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

ENTER, EXIT, ORDER, FILL = range(4)
BUY, SELL = 1, 2
SUBMITTING, ACKNOWLEDGED, TRADED = range(3)
REQUESTED, SENT, ACKED = range(1, 4)

NONE, SUBMITTED, FILLED, MANAGED, CLOSED = "NONE", "SUBMITTED", "FILLED", "MANAGED", "CLOSED"
IDLE, ENTRY_REQUESTED, PARTIAL_FILL, POSITION_OPEN = "IDLE", "ENTRY_REQUESTED", "PARTIAL_FILL", "POSITION_OPEN"
EXIT_REQUESTED, EXIT_WORKING = "EXIT_REQUESTED", "EXIT_WORKING"
POSITION_CLOSED, TERMINAL_WRITTEN = "POSITION_CLOSED", "TERMINAL_WRITTEN"
ENTRY_STAGES = {REQUESTED: ENTRY_REQUESTED, SENT: "ENTRY_SENT", ACKED: "ENTRY_ACKED"}
EXIT_STAGES = {REQUESTED: EXIT_REQUESTED, SENT: "EXIT_SENT", ACKED: "EXIT_ACKED"}

# Row: where the order is. Column: what was learned. A missing cell is a refusal.
NEXT_LIFE = {
    (REQUESTED, SUBMITTING): SENT,
    (REQUESTED, ACKNOWLEDGED): ACKED,
    (REQUESTED, TRADED): ACKED,
    (SENT, SUBMITTING): SENT,
    (SENT, ACKNOWLEDGED): ACKED,
    (SENT, TRADED): ACKED,
    (ACKED, TRADED): ACKED,
}

Tuple = tuple[Any, ...]
Answer = tuple[bool, str, int, tuple[Tuple, ...]]
"""Accepted, code, slot index (-1: none), events."""

_WINDOW = 1024
_RATE_ONE = 10**8


class Order:
    """One order, entry or exit of the trade in its slot."""

    __slots__ = ("cum_notional", "cum_qty", "fees", "is_exit", "life", "order_id", "order_qty", "side", "slot")

    def __init__(self, slot: Slot, order_id: str, side: int, order_qty: int, is_exit: bool) -> None:
        self.slot, self.order_id, self.side, self.order_qty, self.is_exit = slot, order_id, side, order_qty, is_exit
        self.life = REQUESTED
        self.cum_qty = self.cum_notional = self.fees = 0


class Slot:
    """The place of one trade at a time, and the facts of it."""

    __slots__ = (
        "cost", "entry", "exit", "index", "lifecycle", "price_to_amount", "qty", "realized", "stage", "symbol",
        "trade_id",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.trade_id = self.symbol = ""
        self.stage, self.lifecycle = IDLE, NONE
        self.entry: Order | None = None
        self.exit: Order | None = None
        self.qty = self.cost = self.realized = 0
        self.price_to_amount = 1

    def moved(self) -> tuple[Tuple, ...]:
        """Compute stage and lifecycle from the facts; what changed, as transitions."""
        entry, leaving = self.entry, self.exit
        assert entry is not None, "a trade has an entry"
        qty, filled = entry.order_qty, entry.cum_qty
        if leaving is not None:
            if self.qty == 0:
                return self._closed(qty, filled)
            stage, lifecycle = EXIT_WORKING if leaving.cum_qty else EXIT_STAGES[leaving.life], MANAGED
        elif filled:
            stage, lifecycle = POSITION_OPEN if filled == qty else PARTIAL_FILL, FILLED
        else:
            stage, lifecycle = ENTRY_STAGES[entry.life], SUBMITTED
        if stage == self.stage:
            return ()
        event = ("TRANSITION", self.index, self.trade_id, self.stage, stage, self.lifecycle, lifecycle, qty, filled)
        self.stage, self.lifecycle = stage, lifecycle
        return (event,)

    def _closed(self, qty: int, filled: int) -> tuple[Tuple, ...]:
        index, trade_id, stage, lifecycle = self.index, self.trade_id, self.stage, self.lifecycle
        self.stage, self.lifecycle = TERMINAL_WRITTEN, CLOSED
        return (
            ("TRANSITION", index, trade_id, stage, POSITION_CLOSED, lifecycle, CLOSED, qty, filled),
            ("TRANSITION", index, trade_id, POSITION_CLOSED, TERMINAL_WRITTEN, CLOSED, CLOSED, qty, filled),
        )


class Reference:
    """One account."""

    __slots__ = (
        "amount_scale", "event_place", "event_ring", "events", "execution_place", "execution_ring", "executions",
        "fee_rate", "fees", "free", "leverage_cap", "now_ns", "orders", "realized", "sequence", "slots", "symbols",
        "trades",
    )  # fmt: skip

    def __init__(self, *, slot_count: int, fee_rate: int, amount_scale: int = 8, leverage_cap: int = 1) -> None:
        self.fee_rate, self.amount_scale, self.leverage_cap = fee_rate, amount_scale, leverage_cap
        self.realized = self.fees = self.now_ns = self.sequence = 0
        self.slots = [Slot(index) for index in range(slot_count)]
        self.free = deque(self.slots)
        self.trades: dict[str, Slot] = {}
        self.orders: dict[str, Order] = {}
        self.symbols: dict[str, Slot] = {}
        self.events: set[str] = set()
        self.event_ring = [""] * _WINDOW
        self.event_place = 0
        self.executions: dict[str, Tuple] = {}
        self.execution_ring = [""] * _WINDOW
        self.execution_place = 0

    def apply(self, value: Tuple) -> Answer:
        """One input: kind, now_ns, sequence, event id, and what the kind needs. A refusal changes nothing."""
        event_id = value[3]
        if event_id in self.events:
            return False, "DUPLICATE_EVENT", -1, ()
        if value[1] < self.now_ns:
            return False, "TIME_REVERSED", -1, ()
        answer = _RULES[value[0]](self, value)
        if not answer[0]:
            return answer
        self.now_ns, self.sequence = value[1], value[2]
        place = self.event_place
        self.events.discard(self.event_ring[place])
        self.events.add(event_id)
        self.event_ring[place] = event_id
        self.event_place = (place + 1) % _WINDOW
        return answer


def _enter(account: Reference, value: Tuple) -> Answer:
    _, _, _, _, trade_id, order_id, symbol, side, qty, price_scale, qty_scale, lot, leverage = value
    if qty <= 0 or qty % lot or side not in (BUY, SELL) or not 1 <= leverage <= account.leverage_cap:
        return False, "INVALID_INTENT", -1, ()
    if trade_id in account.trades or order_id in account.orders or not account.free:
        return False, "SLOT_BUSY", -1, ()
    if symbol in account.symbols:
        return False, "SYMBOL_BUSY", -1, ()

    slot = account.free.popleft()
    forgotten = _forget(account, slot) if slot.entry is not None else ()
    slot.trade_id, slot.symbol, slot.stage, slot.lifecycle = trade_id, symbol, IDLE, NONE
    slot.qty = slot.cost = slot.realized = 0
    slot.price_to_amount = 10 ** (account.amount_scale - price_scale - qty_scale)
    slot.exit = None
    slot.entry = account.orders[order_id] = Order(slot, order_id, side, qty, False)
    account.trades[trade_id] = account.symbols[symbol] = slot
    command = ("COMMAND", "SUBMIT_ENTRY", slot.index, trade_id, order_id, side, qty, 0)
    return True, "OK", slot.index, (*forgotten, *slot.moved(), command)


def _forget(account: Reference, slot: Slot) -> tuple[Tuple, ...]:
    """The trade that was over and stayed readable here."""
    entry, leaving = slot.entry, slot.exit
    assert entry is not None, "a used slot had an entry"
    del account.orders[entry.order_id]
    if leaving is not None:
        del account.orders[leaving.order_id]
    del account.trades[slot.trade_id]
    qty, filled = entry.order_qty, entry.cum_qty
    return (("TRANSITION", slot.index, slot.trade_id, slot.stage, IDLE, slot.lifecycle, NONE, qty, filled),)


def _exit(account: Reference, value: Tuple) -> Answer:
    _, _, _, _, trade_id, order_id = value
    slot = account.trades.get(trade_id)
    if slot is None:
        return False, "UNRESOLVED_SLOT", -1, ()
    if slot.qty == 0:
        return False, "NO_OPEN_POSITION", slot.index, ()
    if order_id in account.orders:
        return False, "INVALID_INTENT", slot.index, ()
    if slot.exit is not None:
        return False, "EXIT_PENDING", slot.index, ()

    side, qty = (SELL, slot.qty) if slot.qty > 0 else (BUY, -slot.qty)
    slot.exit = account.orders[order_id] = Order(slot, order_id, side, qty, True)
    command = ("COMMAND", "SUBMIT_EXIT", slot.index, trade_id, order_id, side, qty, qty)
    return True, "OK", slot.index, (command, *slot.moved())


def _order(account: Reference, value: Tuple) -> Answer:
    _, _, _, _, order_id, fact = value
    order = account.orders.get(order_id)
    if order is None:
        return False, "UNRESOLVED_SLOT", -1, ()
    life = NEXT_LIFE.get((order.life, fact))
    if life is None:
        return False, "ILLEGAL_TRANSITION", order.slot.index, ()

    order.life = life
    return True, "OK", order.slot.index, order.slot.moved()


def _fill(account: Reference, value: Tuple) -> Answer:
    _, _, _, _, order_id, execution_id, side, qty, price = value
    order = account.orders.get(order_id)
    if order is None:
        return False, "UNRESOLVED_SLOT", -1, ()
    slot = order.slot
    if execution_id in account.executions:
        return False, "DUPLICATE_EVENT", slot.index, ()
    life = NEXT_LIFE.get((order.life, TRADED))
    if life is None or qty <= 0 or price <= 0 or side != order.side:
        return False, "INVALID_EVENT", slot.index, ()
    if order.cum_qty + qty > order.order_qty:
        return False, "OVERFILL", slot.index, ()

    notional = qty * price
    order.life = life
    order.cum_qty += qty
    order.cum_notional += notional
    realized = _book(slot, qty if side == BUY else -qty, notional)
    fee = -(-notional * slot.price_to_amount * account.fee_rate // _RATE_ONE)
    order.fees += fee
    account.realized += realized
    account.fees += fee
    place = account.execution_place
    account.executions.pop(account.execution_ring[place], None)
    account.executions[execution_id] = (order, qty, price, fee, realized)
    account.execution_ring[place] = execution_id
    account.execution_place = (place + 1) % _WINDOW
    booked = ("FILL", slot.index, execution_id, order_id, slot.trade_id, side, order.is_exit, qty, price, fee, realized)
    moved = slot.moved()
    if slot.stage == TERMINAL_WRITTEN:
        account.free.append(slot)
        del account.symbols[slot.symbol]
    return True, "OK", slot.index, (booked, *moved)


def _book(slot: Slot, signed_qty: int, notional: int) -> int:
    """Move the position; what was realized. A part of the cost is rounded against us, the last part takes the rest."""
    qty = slot.qty
    if qty == 0 or (qty > 0) == (signed_qty > 0):
        slot.qty = qty + signed_qty
        slot.cost += notional
        return 0
    if qty > 0:
        part = -(-slot.cost * -signed_qty // qty)
        realized = (notional - part) * slot.price_to_amount
    else:
        part = slot.cost * signed_qty // -qty
        realized = (part - notional) * slot.price_to_amount
    slot.qty = qty + signed_qty
    slot.cost -= part
    slot.realized += realized
    return realized


_RULES: tuple[Callable[[Reference, Tuple], Answer], ...] = (_enter, _exit, _order, _fill)
