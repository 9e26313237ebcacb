"""Two of the three books of an account, folded from the journal.

*Machine*: what the kernel believes, from its snapshots. *Ledger*: what its booked fills add up to, summed here by a
rule of our own, so that a fault of the kernel's arithmetic cannot hide in both. The third book, the broker's, arrives
whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from google.protobuf.message import DecodeError

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number

WORKING = (state_pb2.ORDER_LIFE_PENDING_NEW, state_pb2.ORDER_LIFE_OPEN)
EVENTFUL_FACTS = (
    venue_pb2.ORDER_FACT_REJECTED,
    venue_pb2.ORDER_FACT_DENIED,
    venue_pb2.ORDER_FACT_CANCELED,
    venue_pb2.ORDER_FACT_EXPIRED,
    venue_pb2.ORDER_FACT_IN_DOUBT,
)


@dataclass(slots=True)
class Holding:
    """One symbol in the ledger: signed quantity, and what it cost where every fill had a price."""

    qty: Number = field(default_factory=Number.zero)
    cost: Fraction | None = field(default_factory=Fraction)
    """Signed quantity times average price; None while the position holds a fill without a price."""

    def book(self, signed_qty: Number, price: Number | None) -> None:
        """Average cost: adding moves the average, reducing keeps it, crossing zero starts anew."""
        before, after = exact(self.qty), exact(self.qty) + exact(signed_qty)
        self.qty = self.qty + signed_qty
        if after == 0:
            self.cost = Fraction()
        elif before == 0 or before * after < 0:
            self.cost = None if price is None else after * exact(price)
        elif abs(after) < abs(before):
            self.cost = None if self.cost is None else self.cost * after / before
        else:
            added = None if price is None else exact(signed_qty) * exact(price)
            self.cost = None if self.cost is None or added is None else self.cost + added

    @property
    def average_price(self) -> Fraction | None:
        return self.cost / exact(self.qty) if self.qty and self.cost is not None else None


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order that the kernel believes to be at work."""

    client_order_id: str
    symbol: str
    side: common_pb2.Side.ValueType
    order_qty: Number
    cum_qty: Number
    in_doubt: bool
    acknowledged: bool


@dataclass(slots=True)
class Books:
    """One account's machine and ledger books, at one journal sequence: no message can be between the two."""

    account: str
    journal_sequence: int = 0
    input_sequence: int = 0
    venue: str = ""
    slots: dict[int, state_pb2.SlotSnapshot] = field(default_factory=dict)
    snapshot: state_pb2.AccountSnapshot | None = None
    ledger: dict[str, Holding] = field(default_factory=dict)
    last_change_ns: dict[str, int] = field(default_factory=dict)
    """By symbol: when an input that moved its position, or one of its orders, was stored."""

    def take(self, sequence: int, entry: journal_pb2.JournalEntry) -> bool:
        """Fold one entry; whether it calls for a comparison (a fill, a reject, a cancel, an anomaly).

        An entry that was folded before changes nothing.
        """
        if sequence <= self.journal_sequence:
            return False
        message = _input(entry)
        self.journal_sequence = sequence
        self.input_sequence = max(self.input_sequence, entry.input_sequence)
        for slot in entry.slots:
            self._replace(slot, entry.input_time_ns)
        if entry.HasField("account_after"):
            self.snapshot = entry.account_after
        for fill in entry.fills:
            self._book(fill, entry.input_time_ns)
        if message is not None and entry.outcome.accepted and message.WhichOneof("body") == "adopt":
            self._adopt(message.adopt)
        self._learn_venue(entry, message)
        return bool(entry.fills) or bool(entry.anomalies) or _is_eventful(message)

    def positions(self) -> dict[str, Number]:
        """Machine truth: signed quantity by symbol, over all slots, without the flat ones."""
        found: dict[str, Number] = {}
        for slot in self.slots.values():
            if slot.HasField("qty") and slot.qty.units:
                symbol = slot.instrument.symbol
                found[symbol] = found.get(symbol, Number.zero()) + Number.of(slot.qty)
        return {symbol: qty for symbol, qty in found.items() if qty}

    def free_slot_count(self) -> int | None:
        """How many trades the kernel could still take; None: it has not said."""
        if self.snapshot is None:
            return None
        return max(0, self.snapshot.max_slots - self.snapshot.open_slot_count)

    def ledger_positions(self) -> dict[str, Number]:
        """Ledger scope: what our own fills add up to, without the flat ones."""
        return {symbol: holding.qty for symbol, holding in self.ledger.items() if holding.qty}

    def working_orders(self) -> dict[str, WorkingOrder]:
        found = {}
        for slot in self.slots.values():
            for order in _orders(slot):
                if order.client_order_id and order.life in WORKING:
                    found[order.client_order_id] = WorkingOrder(
                        order.client_order_id,
                        slot.instrument.symbol,
                        order.side,
                        Number.of(order.order_qty),
                        Number.of(order.cum_qty),
                        order.in_doubt,
                        order.life == state_pb2.ORDER_LIFE_OPEN,
                    )
        return found

    def tick_price(self, symbol: str) -> Fraction:
        """The instrument's price step as the slots know it; 0 when they do not."""
        for slot in self.slots.values():
            if slot.instrument.symbol == symbol:
                return Fraction(slot.instrument.tick_units, 10**slot.instrument.price_scale)
        return Fraction()

    def _replace(self, slot: state_pb2.SlotSnapshot, time_ns: int) -> None:
        before = self.slots.get(slot.slot_index)
        self.slots[slot.slot_index] = slot
        if _facts(before) == _facts(slot):
            return
        for changed in (before, slot):
            if changed is not None and changed.instrument.symbol:
                self.last_change_ns[changed.instrument.symbol] = time_ns

    def _book(self, fill: journal_pb2.BookedFill, time_ns: int) -> None:
        qty = Number.of(fill.last_qty)
        signed_qty = qty if (fill.side == common_pb2.SIDE_BUY) != fill.is_busted else -qty
        price = Number.of(fill.last_price) if fill.HasField("last_price") else None
        holding = self.ledger.setdefault(fill.symbol, Holding())
        holding.book(signed_qty, price)
        if fill.is_busted and holding.qty:
            holding.cost = None  # what the others cost by themselves is not known any more
        self.last_change_ns[fill.symbol] = time_ns

    def _adopt(self, adoption: inbox_pb2.Adoption) -> None:
        """A position that a person approved to take over belongs to our scope from then on."""
        price = Number.of(adoption.average_price) if adoption.HasField("average_price") else None
        self.ledger.setdefault(adoption.instrument.symbol, Holding()).book(Number.of(adoption.qty), price)

    def _learn_venue(self, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None) -> None:
        if message is not None and message.WhichOneof("body") == "venue" and message.venue.venue:
            self.venue = message.venue.venue
        for command in entry.commands:
            self.venue = command.venue or self.venue


def _orders(slot: state_pb2.SlotSnapshot) -> tuple[state_pb2.OrderView, ...]:
    """All that a trade may have at the broker; what protects it too."""
    return slot.entry, slot.exit, slot.stop, slot.target


def _facts(slot: state_pb2.SlotSnapshot | None) -> tuple[object, ...]:
    """What of a slot the broker could know too; a new mark is no change."""
    if slot is None:
        return ()
    orders = [(o.client_order_id, o.life, o.cum_qty.units, o.cum_qty.scale) for o in _orders(slot)]
    return (slot.instrument.symbol, slot.qty.units, slot.qty.scale, orders)


def _input(entry: journal_pb2.JournalEntry) -> inbox_pb2.InboxMessage | None:
    try:
        return inbox_pb2.InboxMessage.FromString(entry.input) if entry.input else None
    except DecodeError:
        return None


def _is_eventful(message: inbox_pb2.InboxMessage | None) -> bool:
    if message is None or message.WhichOneof("body") != "venue":
        return False
    report = message.venue
    return report.WhichOneof("body") == "order" and report.order.fact in EVENTFUL_FACTS


def exact(number: Number) -> Fraction:
    """For products and quotients that no Number could hold."""
    return Fraction(number.units, 10**number.scale)
