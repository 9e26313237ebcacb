"""What the venue remembers: orders, positions and accounts. Facts only; status and averages are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_simulators.matching.chance import Fortune
from kestrel_simulators.matching.money import AMOUNT_SCALE, Instrument

Fact = venue_pb2.OrderReport | venue_pb2.Fill | venue_pb2.Balance


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order, as asked. Numbers are as they came; the engine checks them against the instrument."""

    account: str
    client_order_id: str
    symbol: str
    side: common_pb2.Side.ValueType
    order_qty: Number
    order_type: common_pb2.OrderType.ValueType
    time_in_force: common_pb2.TimeInForce.ValueType
    price: Number | None = None
    stop_price: Number | None = None
    reduce_only: bool = False
    # The order it protects, by client order id: it sleeps until that one has ended, and is as large as its fills.
    parent_id: str = ""
    # Orders of one group share what they are for: a fill of one takes as much of the others, in the same moment.
    group: str = ""
    # What its fortune is drawn from, where the client order id is the venue's own and says nothing; empty: the id.
    lot_key: str = ""


class Life(Enum):
    """Where an order is in its life."""

    WORKING = "WORKING"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


@dataclass(slots=True)
class Order:
    """An order as the venue keeps it. Prices and quantities are units of the instrument's scales."""

    request: NewOrder
    venue_order_id: str
    received_at_ns: int
    fortune: Fortune
    life: Life = Life.WORKING
    reason: common_pb2.Refusal | None = None
    order_qty_units: int = 0
    qty_scale: int = 0
    price_units: int | None = None
    stop_units: int | None = None
    cum_qty_units: int = 0
    fill_count: int = 0
    # A stop order that woke up; what it does next follows from its limit price, if it has one.
    triggered: bool = False
    # Not matched before this moment (a delayed order).
    active_at_ns: int = 0
    # Not matched again at this price sequence (the rest of a partial fill waits for another price, or for time).
    held_at_price: int = -1
    # A child whose parent may still fill; and the most that it may fill, once that is known.
    asleep: bool = False
    cap_units: int | None = None
    # What others of its group have filled since it was placed.
    taken_units: int = 0
    # The day of the market's calendar in which a DAY order was placed.
    day: int = 0
    cancel_refused: bool = False

    @property
    def leaves_units(self) -> int:
        return self.order_qty_units - self.cum_qty_units

    @property
    def room_units(self) -> int:
        """What it may still fill: of a child, no more than its parent did; and less what its group has taken."""
        most = self.order_qty_units if self.cap_units is None else min(self.order_qty_units, self.cap_units)
        return max(0, most - self.taken_units - self.cum_qty_units)

    @property
    def is_buy(self) -> bool:
        return self.request.side == common_pb2.SIDE_BUY


@dataclass(slots=True)
class Position:
    """Signed quantity, and what it cost: the average price is computed from both."""

    qty_units: int = 0
    basis_units: int = 0
    """Sum of price x quantity of what is open, in amount units; never negative."""

    def book(self, instrument: Instrument, signed_qty_units: int, price_units: int) -> int:
        """Book one execution. Returns the realized profit or loss in amount units; roundings go against it."""
        closing = min(abs(signed_qty_units), abs(self.qty_units)) if self._opposes(signed_qty_units) else 0
        realized = self._close(instrument, closing, price_units) if closing else 0
        opening = abs(signed_qty_units) - closing
        if opening:
            buys = signed_qty_units > 0
            notional = instrument.notional_up if buys else instrument.notional_down
            self.basis_units += notional(price_units, opening)
            self.qty_units += opening if buys else -opening
        return realized

    def _opposes(self, signed_qty_units: int) -> bool:
        return self.qty_units * signed_qty_units < 0

    def _close(self, instrument: Instrument, qty_units: int, price_units: int) -> int:
        held = abs(self.qty_units)
        released = self.basis_units * qty_units // held
        is_long = self.qty_units > 0
        if is_long:
            released = -(-self.basis_units * qty_units // held)
            realized = instrument.notional_down(price_units, qty_units) - released
        else:
            realized = released - instrument.notional_up(price_units, qty_units)
        self.basis_units -= released
        self.qty_units += -qty_units if is_long else qty_units
        return realized


@dataclass(frozen=True, slots=True)
class Event:
    """One thing the venue said about an account. Sequences begin at 1 and have no gaps."""

    sequence: int
    time_ns: int
    fact: Fact


@dataclass(slots=True)
class Account:
    """One account's money, positions, orders and everything said about it."""

    name: str
    currency: str
    start_wallet_units: int
    wallet_units: int
    realized_units: int = 0
    fee_units: int = 0
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    # Client order ids that were asked for, fenced, and can never become orders.
    fenced: set[str] = field(default_factory=set)
    # How many requests each client order id had.
    arrivals: dict[str, int] = field(default_factory=dict)
    # Children by their parent, and members by their group; client order ids, as they arrived.
    children: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    fills: list[venue_pb2.Fill] = field(default_factory=list)
    # Hears every event in the middle of matching, and may cancel or amend other orders at once (one cancels all).
    listener: Callable[[Event], None] | None = None

    @property
    def last_sequence(self) -> int:
        return len(self.events)

    def say(self, now_ns: int, fact: Fact) -> None:
        """Add to what was said."""
        event = Event(len(self.events) + 1, now_ns, fact)
        self.events.append(event)
        if isinstance(fact, venue_pb2.Fill):
            self.fills.append(fact)
        if self.listener is not None:
            self.listener(event)

    def balance(self, sequence: int) -> venue_pb2.Balance:
        """The money as of an event sequence. Available is what positions, at cost, leave of the wallet."""
        committed = sum(position.basis_units for position in self.positions.values())
        return venue_pb2.Balance(
            wallet=common_pb2.Decimal(units=self.wallet_units, scale=AMOUNT_SCALE),
            available=common_pb2.Decimal(units=max(0, self.wallet_units - committed), scale=AMOUNT_SCALE),
            currency=self.currency,
            venue_sequence=sequence,
            execution_watermark=len(self.fills),
        )
