"""What a kernel remembers: facts only. Stage, lifecycle, prices and sums are computed from them (``views.py``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast

from tests.reference.inputs import Config
from tests.reference.numbers import clamp
from tests.reference.words import CHAIN_START, EXIT_LEGS_MAX, NO_ORDER, SLOT_EXITS_MAX, Life, Liquidity, OrderType, Side

ENTRY = 0
"""The ordinal of a trade's entry; its exit orders are 1, 2, ..."""
STOP, TARGET = NO_ORDER - 2, NO_ORDER - 1
"""The protective orders of a bracket."""


_Record = TypeVar("_Record")


@cache
def _values_of(kind: Any) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*kind.__dataclass_fields__)


def copied(record: _Record) -> _Record:
    """A copy of a dataclass, one level deep; ``copy.copy`` takes six times as long."""
    kind: Any = type(record)
    return cast("_Record", kind(*_values_of(kind)(record)))


@dataclass(slots=True)
class Order:
    """One order. Its life, a pending cancel and our certainty are machines of their own."""

    client_order_id: bytes = b""
    venue_order_id: bytes = b""
    order_qty: int = 0
    cum_qty: int = 0
    priced_qty: int = 0
    cum_notional: int = 0
    price: int = 0
    submitted_at_ns: int = 0
    life: int = Life.NONE
    is_done: int = 0
    in_doubt: int = 0
    is_stalled: int = 0
    cancel_pending: int = 0
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    has_price: int = 0
    is_leg: int = 0

    @property
    def is_live(self) -> bool:
        """It may still trade, and not only late."""
        return Life.REQUESTED <= self.life <= Life.WORKING and not self.is_done

    @property
    def has_ended(self) -> bool:
        return self.life >= Life.CANCELED

    @property
    def leaves_qty(self) -> int:
        return self.order_qty - self.cum_qty

    @property
    def is_resting(self) -> bool:
        return self.order_type != OrderType.MARKET and not self.cancel_pending


@dataclass(slots=True)
class Book:
    """What was traded, as cumulative facts; amounts at the account's scale. The rules are in ``book.py``."""

    entry_qty: int = 0
    exit_qty: int = 0
    entry_unpriced_qty: int = 0
    entry_notional: int = 0
    exit_notional: int = 0
    open_cost: int = 0
    skipped_cost: int = 0
    venue_realized: int = 0
    skipped_count: int = 0
    skipped_qty: int = 0
    surplus_unpriced_qty: int = 0
    fees: int = 0
    predicted_fees: int = 0

    @property
    def open_qty(self) -> int:
        """In the trade's direction; negative when more was closed than was open."""
        return self.entry_qty - self.exit_qty


@dataclass(slots=True)
class Slot:
    """One place for one trade: the trade in it, or the last one that was."""

    trade_id: bytes = b""
    strategy: bytes = b""
    symbol: bytes = b""
    currency: bytes = b""
    entry: Order = field(default_factory=Order)
    exits: dict[int, Order] = field(default_factory=dict)
    """By ordinal; only the newest SLOT_EXITS_MAX are kept."""
    protectives: dict[int, Order] = field(default_factory=dict)
    """By ordinal: STOP, and TARGET if there is one."""
    book: Book = field(default_factory=Book)
    tick_units: int = 0
    lot_units: int = 0
    multiplier: int = 0
    mark: int = 0
    stop_price: int = 0
    target_price: int = 0
    reference_price: int = 0
    requested_at_ns: int = 0
    opened_at_ns: int = 0
    closed_at_ns: int = 0
    expires_at_ns: int = 0
    trade_sequence: int = 0
    close_sequence: int = 0
    leverage: int = 0
    instrument_version: int = 0
    active_leg_index: int = 0
    exit_count: int = 0
    exit_leg_bps: tuple[int, ...] = (0,) * EXIT_LEGS_MAX
    price_scale: int = 0
    qty_scale: int = 0
    has_stop_price: int = 0
    has_target_price: int = 0
    has_reference_price: int = 0
    is_adopted: int = 0
    is_overfilled: int = 0
    has_anomaly: int = 0
    pnl_source: int = 0
    is_bracket: int = 0
    is_bare: int = 0

    @property
    def direction(self) -> int:
        return 1 if self.entry.side == Side.BUY else -1

    @property
    def last_exit(self) -> Order | None:
        return self.exits.get(self.exit_count)

    @property
    def live_exit(self) -> Order | None:
        """The exit order at work."""
        order = self.last_exit
        return order if order is not None and order.is_live else None

    def order(self, ordinal: int) -> Order | None:
        """None: it belongs to no order of ours, or to one that is forgotten."""
        return self.entry if ordinal == ENTRY else self.exits.get(ordinal) or self.protectives.get(ordinal)

    def orders(self) -> list[tuple[int, Order]]:
        return [(ENTRY, self.entry), *self.exits.items(), *self.protectives.items()]

    @property
    def live_protectives(self) -> dict[int, Order]:
        return {ordinal: order for ordinal, order in self.protectives.items() if order.is_live}

    @property
    def may_hold_something(self) -> bool:
        """Something is open, or the entry may still open it."""
        return self.book.open_qty > 0 or self.entry.is_live

    def add_exit(self, order: Order) -> int:
        self.exit_count += 1
        self.exits[self.exit_count] = order
        self.exits.pop(self.exit_count - SLOT_EXITS_MAX, None)
        return self.exit_count


@dataclass(slots=True)
class Execution:
    """One fill, kept for duplicates, settlements, busts and the comparison with the wallet."""

    execution_id: bytes = b""
    number: int = 0
    trade_sequence: int = 0
    qty: int = 0
    price: int = 0
    notional: int = 0
    skipped_cost: int = 0
    realized: int = 0
    fee: int = 0
    venue_realized: int = 0
    slot_index: int = 0
    ordinal: int = NO_ORDER
    is_exit: int = 0
    has_price: int = 0
    is_skipped: int = 0
    is_settled: int = 0
    is_busted: int = 0
    fee_is_predicted: int = 0
    side: int = 0
    liquidity: int = 0

    @property
    def predicted_fee(self) -> int:
        return self.fee if self.fee_is_predicted else 0

    @property
    def can_be_repaired(self) -> bool:
        """An exit that was booked without a figure: the venue's figure is what it realized."""
        return bool(self.is_exit and self.is_skipped)

    @property
    def waits_for_figure(self) -> bool:
        return self.can_be_repaired and not self.is_settled and not self.is_busted


class Chain(NamedTuple):
    """What a window has ever held, in 128 bits; see ``digest.py``."""

    a: int = CHAIN_START[0]
    b: int = CHAIN_START[1]


@dataclass(slots=True, frozen=True)
class Calibration:
    """How far one published fee rate holds: sums of settled fees and of what the rate makes of the same executions."""

    settled_sum: int = 0
    published_sum: int = 0
    ratio: int = 0
    sample_count: int = 0
    refused_count: int = 0
    is_last_refused: int = 0


NO_CHAIN = Chain()
UNCALIBRATED = Calibration()


@dataclass(slots=True)
class Ledger:
    """The account."""

    event_chain: Chain = NO_CHAIN
    execution_chain: Chain = NO_CHAIN
    event_sequence: int = 0
    now_ns: int = 0
    trade_count: int = 0
    close_count: int = 0
    event_count: int = 0
    execution_count: int = 0
    anchored_count: int = 0
    unseen_count: int = 0
    awaited_count: int = 0
    venue_sequence: int = 0
    routed_by_stage_count: int = 0
    anomaly_count: int = 0
    wallet: int = 0
    available: int = 0
    bridge: int = 0
    bridge_predicted: int = 0
    bridge_skipped: int = 0
    realized: int = 0
    fees: int = 0
    predicted_fees: int = 0
    funding: int = 0
    foreign: int = 0
    foreign_count: int = 0
    ledger_delta: int = 0
    next_funding_ns: int = 0
    maker: Calibration = UNCALIBRATED
    taker: Calibration = UNCALIBRATED
    has_anchor: int = 0
    is_bridged: int = 0
    ledger_status: int = 0
    ledger_cause: int = 0
    freeze_flags: int = 0
    has_awaited: int = 0
    is_funding_due: int = 0
    has_foreign: int = 0

    def calibration(self, liquidity: int) -> Calibration:
        """A liquidity that nobody stated counts as TAKER."""
        return self.maker if liquidity == Liquidity.MAKER else self.taker


@dataclass(slots=True)
class State:
    """A kernel's memory, whole. Busy slots and digests follow from it."""

    config: Config
    slots: list[Slot]
    ledger: Ledger = field(default_factory=Ledger)
    events: dict[bytes, None] = field(default_factory=dict)
    """Accepted event ids, oldest first; at most window_count."""
    executions: dict[bytes, Execution] = field(default_factory=dict)
    """By execution id, oldest first; at most window_count."""

    @property
    def capital(self) -> int:
        """What entries may stand on: the wallet as last stated (before: the seed) and what we booked since."""
        base = self.ledger.wallet if self.ledger.has_anchor else self.config.seed_capital
        return clamp(base + self.ledger.bridge)

    def execution_by_number(self, number: int) -> Execution:
        return next(one for one in reversed(self.executions.values()) if one.number == number)

    def find_order(self, *, venue_order_id: bytes = b"", client_order_id: bytes = b"") -> tuple[int, int] | None:
        """Slot index and ordinal of the order with this venue order id, else with this client order id."""
        for slot_index, slot in enumerate(self.slots):
            for ordinal, order in slot.orders():
                if venue_order_id and order.venue_order_id == venue_order_id:
                    return slot_index, ordinal
        for slot_index, slot in enumerate(self.slots):
            for ordinal, order in slot.orders():
                if client_order_id and order.client_order_id == client_order_id:
                    return slot_index, ordinal
        return None

    def find_trade(self, trade_id: bytes) -> int | None:
        for slot_index, slot in enumerate(self.slots):
            if slot.trade_sequence and slot.trade_id == trade_id:
                return slot_index
        return None
