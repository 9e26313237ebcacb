"""What comes out of a kernel: answers, what followed from them, and views. All of it is read from the library's bytes
when somebody asks; see ``records``. Names and meanings are those of ``lk/lk.h``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple, overload

from kestrel_libkernel import bindings
from kestrel_libkernel._ffi import lib
from kestrel_libkernel.bindings import DIGEST_BYTES, EVENT_BYTES, INDEX_BYTES, OUTCOME_BYTES
from kestrel_libkernel.layout import Layout, places
from kestrel_libkernel.model import (
    CapitalSource,
    Code,
    CommandKind,
    EventKind,
    FeeStatus,
    Freeze,
    Instrument,
    LedgerCause,
    LedgerStatus,
    Life,
    Lifecycle,
    OrderType,
    PnlSource,
    Severity,
    Side,
    Stage,
    TimeInForce,
)
from kestrel_libkernel.records import Record, nested, record

CONVICTION_SCALE: int = lib.LK_CONVICTION_SCALE
RATIO_SCALE: int = lib.LK_RATIO_SCALE

CODES = tuple(Code)
_RULES = tuple(bindings.code_text(code) for code in Code)
_FIELDS = tuple(bindings.field_name(field) for field in range(lib.LK_FIELD_COUNT))
EVENT_IS_EXIT: int = lib.LK_EVENT_IS_EXIT
EVENT_ROUTED_BY_STAGE: int = lib.LK_EVENT_ROUTED_BY_STAGE
EVENT_HAS_PRICE: int = lib.LK_EVENT_HAS_PRICE
EVENT_FEE_PREDICTED: int = lib.LK_EVENT_FEE_PREDICTED
EVENT_BUSTED: int = lib.LK_EVENT_BUSTED
"""Bits of an event's ``flags``."""
_PRICE = {"price": EVENT_HAS_PRICE}

ACCEPTED_AT = places("lk_outcome_t")["accepted"].offset
_ACCOUNT_CHANGED_AT = places("lk_outcome_t")["account_changed"].offset
CODE_AT = places("lk_outcome_t")["code"].offset + (0 if sys.byteorder == "little" else 3)
_TRADE_ID = slice(
    places("lk_outcome_t")["trade_id"].offset,
    places("lk_outcome_t")["trade_id"].offset + places("lk_outcome_t")["trade_id"].size,
)
_CHANGED_SLOTS_AT = places("lk_outcome_t")["changed_slots"].offset
_CHANGED_SLOTS = Struct(f"={places('lk_outcome_t')['changed_slots'].size // 8}Q")

_INDEX_END = Layout.of("lkpy_answer_t", ["end"]).format
_INDEX_ACCEPTED_AT = places("lkpy_answer_t")["accepted"].offset
_INDEX_CODE_AT = places("lkpy_answer_t")["code"].offset + (0 if sys.byteorder == "little" else 1)
assert places("lk_event_t")["kind"].offset == 0, "the kind of an event is its first byte"
assert len(CODES) <= 256, "a code is read from its lowest byte"


# --- what followed ---------------------------------------------------------------------------------------------------


@record("lk_event_t", renamed={"kind": "command"}, optional=_PRICE)
class Command(Record):
    """What the kernel wants the gateway to do. Prices and quantities at the scales it states."""

    __slots__ = ()

    kind: CommandKind
    slot_index: int
    trade_id: str
    client_order_id: str
    venue_order_id: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    leverage: int
    qty: int
    open_qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    expires_at_ns: int


@record("lk_event_t", renamed={"requested_qty": "qty"})
class Transition(Record):
    """A slot moved. When only the lifecycle did, both stages are the same."""

    __slots__ = ()

    slot_index: int
    trade_id: str
    from_stage: Stage
    to_stage: Stage
    from_lifecycle: Lifecycle
    to_lifecycle: Lifecycle
    requested_qty: int
    filled_qty: int
    qty_scale: int


@record(
    "lk_event_t",
    optional=_PRICE,
    flags={
        "is_exit": EVENT_IS_EXIT,
        "fee_is_predicted": EVENT_FEE_PREDICTED,
        "routed_by_stage": EVENT_ROUTED_BY_STAGE,
        "is_busted": EVENT_BUSTED,
    },
)
class BookedFill(Record):
    """A fill as booked; with ``is_busted``, the same figures taken back."""

    __slots__ = ()

    slot_index: int
    execution_id: str
    client_order_id: str
    venue_order_id: str
    trade_id: str
    side: Side
    is_exit: bool
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    fee: int
    fee_is_predicted: bool
    realized_pnl: int
    routed_by_stage: bool
    is_busted: bool


@record("lk_event_t", renamed={"text": "code"}, words={"text": _RULES})
class Anomaly(Record):
    """Something that should not have happened, or a thing worth a record."""

    __slots__ = ()

    code: Code
    severity: Severity
    slot_index: int | None
    trade_id: str
    client_order_id: str
    execution_id: str
    text: str


@record("lk_event_t", flags={"is_exit": EVENT_IS_EXIT})
class Settled(Record):
    """What a settlement added to a trade."""

    __slots__ = ()

    slot_index: int | None
    execution_id: str
    client_order_id: str
    trade_id: str
    is_exit: bool
    realized_pnl: int
    fee: int


# --- answers ---------------------------------------------------------------------------------------------------------


@record("lk_outcome_t", renamed={"rule": "code"}, words={"field": _FIELDS, "rule": _RULES})
class Outcome(Record):
    """The answer to an input. A refusal names the field and, for numbers, the value; ``rule`` is a sentence."""

    __slots__ = ()

    accepted: bool
    code: Code
    severity: Severity
    field: str
    value: int
    rule: str
    slot_index: int | None
    trade_id: str


class Result(NamedTuple):
    """The outcome of one input and everything that followed, in order within each kind.

    A tuple, because nothing in Python is made faster and nothing is read faster than a tuple's fields: what everyone
    asks of an answer first lies in it, the rest is read from ``raw``.
    """

    accepted: bool
    code: Code
    raw: bytes
    """An ``lk_outcome_t`` with its events behind it."""

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.raw[:OUTCOME_BYTES])

    @property
    def trade_id(self) -> str:
        """Of the outcome."""
        return self.raw[_TRADE_ID].rstrip(b"\0").decode("ascii")

    @property
    def account_changed(self) -> bool:
        """The account's view may differ from before."""
        return self.raw[_ACCOUNT_CHANGED_AT] == 1

    @property
    def event_count(self) -> int:
        return (len(self.raw) - OUTCOME_BYTES) // EVENT_BYTES

    @property
    def events(self) -> list[Event]:
        """All that followed, in the library's order."""
        return [_EVENTS[raw[0]](raw) for raw in self.raw_events]

    @property
    def raw_events(self) -> list[bytes]:
        """The same as bytes: the first of each is its ``EventKind``."""
        raw = self.raw
        return [raw[at : at + EVENT_BYTES] for at in range(OUTCOME_BYTES, len(raw), EVENT_BYTES)]

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(map(Command, self._events(EventKind.COMMAND)))

    @property
    def transitions(self) -> tuple[Transition, ...]:
        return tuple(map(Transition, self._events(EventKind.TRANSITION)))

    @property
    def fills(self) -> tuple[BookedFill, ...]:
        return tuple(map(BookedFill, self._events(EventKind.FILL_BOOKED)))

    @property
    def anomalies(self) -> tuple[Anomaly, ...]:
        return tuple(map(Anomaly, self._events(EventKind.ANOMALY)))

    @property
    def settlements(self) -> tuple[Settled, ...]:
        return tuple(map(Settled, self._events(EventKind.SETTLED)))

    @property
    def changed_slots(self) -> tuple[int, ...]:
        """The slots whose view may differ from before."""
        places: list[int] = []
        base = 0
        for word in _CHANGED_SLOTS.unpack_from(self.raw, _CHANGED_SLOTS_AT):
            while word:
                lowest = word & -word
                places.append(base + lowest.bit_length() - 1)
                word ^= lowest
            base += 64
        return tuple(places)

    def _events(self, kind: EventKind) -> list[bytes]:
        raw = self.raw
        if kind not in raw[OUTCOME_BYTES::EVENT_BYTES]:  # the first bytes of all: mostly, there is none of the kind
            return []
        return [raw[at : at + EVENT_BYTES] for at in range(OUTCOME_BYTES, len(raw), EVENT_BYTES) if raw[at] == kind]

    def __repr__(self) -> str:
        shown = ("outcome", "commands", "transitions", "fills", "anomalies", "settlements", "changed_slots")
        return f"Result({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


Event = Command | Transition | BookedFill | Anomaly | Settled
_EVENTS: tuple[Any, ...] = (None, Command, Transition, BookedFill, Anomaly, Settled)
"""By ``EventKind``."""

_new = tuple.__new__


def result_of(raw: bytes) -> Result:
    """The result in these bytes. ``Result(...)`` would take a third longer, for the same."""
    return _new(Result, (raw[ACCEPTED_AT] == 1, CODES[raw[CODE_AT]], raw))


class Batch(Sequence[Result]):
    """The results of many inputs, in their order; each is cut out of the batch's bytes when it is asked for.

    ``accepted`` and ``codes`` answer the first question for all of them, without making a single result.
    """

    __slots__ = ("_crossings",)

    def __init__(self, crossings: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        """Of each crossing: the answers, their index, the digests."""
        self._crossings = crossings

    @property
    def accepted(self) -> list[bool]:
        return list(map(bool, self._column(_INDEX_ACCEPTED_AT)))

    @property
    def codes(self) -> list[Code]:
        return list(map(CODES.__getitem__, self._column(_INDEX_CODE_AT)))

    def _column(self, at: int) -> bytes:
        """One byte of every place of the index."""
        return b"".join([index[at::INDEX_BYTES] for _, index, _ in self._crossings])

    @property
    def digests(self) -> list[bytes]:
        """Of the state after each input; empty unless they were asked for."""
        return [
            digests[at : at + DIGEST_BYTES]
            for _, _, digests in self._crossings
            for at in range(0, len(digests), DIGEST_BYTES)
        ]

    def __len__(self) -> int:
        return sum(len(index) for _, index, _ in self._crossings) // INDEX_BYTES

    def __iter__(self) -> Iterator[Result]:
        for answers, index, _ in self._crossings:
            begin = 0
            for (end,) in _INDEX_END.iter_unpack(index):
                yield result_of(answers[begin:end])
                begin = end

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> list[Result]: ...
    def __getitem__(self, place: int | slice) -> Result | list[Result]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if place < 0:
            place += len(self)
        for answers, index, _ in self._crossings:
            count = len(index) // INDEX_BYTES
            if 0 <= place < count:
                begin = _INDEX_END.unpack_from(index, (place - 1) * INDEX_BYTES)[0] if place else 0
                return result_of(answers[begin : _INDEX_END.unpack_from(index, place * INDEX_BYTES)[0]])
            place -= count
        raise IndexError("a batch has no such result")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


# --- views -----------------------------------------------------------------------------------------------------------


@record("lk_order_view_t")
class OrderView(Record):
    """One order. ``average_price`` is at the price scale plus four."""

    __slots__ = ()

    life: Life
    is_filled: bool
    in_doubt: bool
    cancel_pending: bool
    is_stalled: bool
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    order_qty: int
    cum_qty: int
    price: int | None
    average_price: int | None
    submitted_at_ns: int
    client_order_id: str
    venue_order_id: str


@record("lk_slot_view_t")
class SlotView(Record):
    """One slot: the trade in it, or the last one that was. ``entry_price`` is at the price scale plus four."""

    __slots__ = ()

    slot_index: int
    stage: Stage
    lifecycle: Lifecycle
    is_free: bool
    is_adopted: bool
    is_bracket: bool
    trade_id: str
    trade_sequence: int
    strategy: str
    symbol: str
    currency: str
    instrument_version: int
    price_scale: int
    qty_scale: int
    tick_units: int
    lot_units: int
    multiplier: int
    qty: int
    entry_qty: int
    exit_qty: int
    entry_price: int | None
    realized_pnl: int
    unrealized_pnl: int
    fees: int
    predicted_fees: int
    conviction: int | None
    """Open quantity at its entry price, divided by capital; at ``CONVICTION_SCALE``."""
    mark: int | None
    stop_price: int | None
    target_price: int | None
    reference_price: int | None
    leverage: int
    active_leg_index: int
    exit_order_count: int
    pnl_source: PnlSource
    realized_skipped_no_price: bool
    entry_basis_missing: bool
    is_overfilled: bool
    has_anomaly: bool
    requested_at_ns: int
    opened_at_ns: int
    closed_at_ns: int
    expires_at_ns: int

    @property
    def instrument(self) -> Instrument:
        return Instrument(
            self.symbol, self.price_scale, self.qty_scale, self.tick_units, self.lot_units, self.multiplier,
            self.instrument_version, self.currency,
        )  # fmt: skip

    @property
    def exit_leg_bps(self) -> tuple[int, ...]:
        return tuple(leg for leg in _LEGS.unpack(_legs(self.raw)) if leg)

    @property
    def entry(self) -> OrderView | None:
        return _order(_entry(self.raw))

    @property
    def exit(self) -> OrderView | None:
        """The exit order at work, or the last one."""
        return _order(_exit(self.raw))

    @property
    def stop(self) -> OrderView | None:
        """Of a bracket."""
        return _order(_stop(self.raw))

    @property
    def target(self) -> OrderView | None:
        """Of a bracket that has one."""
        return _order(_target(self.raw))


_legs, _entry, _exit, _stop, _target = (
    nested("lk_slot_view_t", field) for field in ("exit_leg_bps", "entry", "exit", "stop", "target")
)
_LEGS = Struct(f"={lib.LK_EXIT_LEGS_MAX}H")


_LIFE_AT = places("lk_order_view_t")["life"].offset


def _order(raw: bytes) -> OrderView | None:
    return OrderView(raw) if raw[_LIFE_AT] else None


@record("lk_fee_view_t")
class FeeView(Record):
    """How far the published fee rate of one liquidity holds (K17). Ratio and deviation at ``RATIO_SCALE``."""

    __slots__ = ()

    rate: int
    ratio: int
    deviation: int
    sample_count: int
    refused_count: int
    status: FeeStatus


@record("lk_account_view_t", renamed={"freeze": "freeze_flags"})
class AccountView(Record):
    """The account, whole. Amounts at ``amount_scale``."""

    __slots__ = ()

    account: str
    currency: str
    amount_scale: int
    event_sequence: int
    now_ns: int
    next_deadline_ns: int | None
    slot_count: int
    open_slot_count: int
    capital: int
    capital_source: CapitalSource
    equity: int
    realized_pnl: int
    unrealized_pnl: int
    fees: int
    predicted_fees: int
    funding: int
    foreign: int
    wallet: int
    available: int
    ledger_status: LedgerStatus
    ledger_cause: LedgerCause
    ledger_delta: int
    freeze: Freeze
    gross_exposure: int
    working_exposure: int
    trade_count: int
    execution_count: int
    fills_routed_by_stage_count: int
    anomaly_count: int
    foreign_count: int

    @property
    def maker_fee(self) -> FeeView:
        return FeeView(_maker_fee(self.raw))

    @property
    def taker_fee(self) -> FeeView:
        return FeeView(_taker_fee(self.raw))

    @property
    def entries_frozen(self) -> bool:
        return bool(self.freeze)


_maker_fee, _taker_fee = (nested("lk_account_view_t", field) for field in ("maker_fee", "taker_fee"))
