"""What can be seen of a kernel: copies of what is known, and what follows from it, computed when asked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from tests.reference import book as books
from tests.reference import fees
from tests.reference.machines import is_busy, lifecycle_of, stage_of
from tests.reference.numbers import DoesNotFit, clamp, divide_half_even, fits
from tests.reference.orders import next_deadline_ns
from tests.reference.state import STOP, TARGET, Order, Slot, State
from tests.reference.words import (
    AVERAGE_PRICE_EXTRA_SCALE,
    EXIT_LEGS_MAX,
    INT64_MAX,
    RATIO_SCALE,
    CapitalSource,
    Life,
    Liquidity,
)


@dataclass(slots=True)
class OrderView:
    """One order; ``life`` NONE: there is none."""

    life: int = 0
    is_filled: int = 0
    in_doubt: int = 0
    cancel_pending: int = 0
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    has_price: int = 0
    has_average_price: int = 0
    is_stalled: int = 0
    order_qty: int = 0
    cum_qty: int = 0
    price: int = 0
    average_price: int = 0
    submitted_at_ns: int = 0
    client_order_id: bytes = b""
    venue_order_id: bytes = b""


@dataclass(slots=True)
class SlotView:
    """One slot, whole: the trade in it, or the last one that was."""

    slot_index: int
    stage: int = 0
    lifecycle: int = 0
    is_free: int = 0
    is_adopted: int = 0
    pnl_source: int = 0
    realized_skipped_no_price: int = 0
    entry_basis_missing: int = 0
    has_entry_price: int = 0
    has_mark: int = 0
    has_stop_price: int = 0
    has_target_price: int = 0
    has_reference_price: int = 0
    price_scale: int = 0
    qty_scale: int = 0
    is_overfilled: int = 0
    has_anomaly: int = 0
    leverage: int = 0
    instrument_version: int = 0
    active_leg_index: int = 0
    exit_order_count: int = 0
    tick_units: int = 0
    lot_units: int = 0
    multiplier: int = 0
    qty: int = 0
    entry_qty: int = 0
    exit_qty: int = 0
    entry_price: int = 0
    realized_pnl: int = 0
    unrealized_pnl: int = 0
    fees: int = 0
    predicted_fees: int = 0
    has_conviction: int = 0
    conviction: int = 0
    mark: int = 0
    stop_price: int = 0
    target_price: int = 0
    reference_price: int = 0
    requested_at_ns: int = 0
    opened_at_ns: int = 0
    closed_at_ns: int = 0
    expires_at_ns: int = 0
    trade_sequence: int = 0
    exit_leg_bps: tuple[int, ...] = (0,) * EXIT_LEGS_MAX
    trade_id: bytes = b""
    strategy: bytes = b""
    symbol: bytes = b""
    currency: bytes = b""
    entry: OrderView = field(default_factory=OrderView)
    exit: OrderView = field(default_factory=OrderView)
    is_bracket: int = 0
    stop: OrderView = field(default_factory=OrderView)
    target: OrderView = field(default_factory=OrderView)


@dataclass(slots=True)
class FeeView:
    """How far the published fee rate of one liquidity holds."""

    rate: int
    ratio: int
    deviation: int
    sample_count: int
    refused_count: int
    status: int


@dataclass(slots=True)
class AccountView:
    """The account, whole."""

    event_sequence: int
    now_ns: int
    next_deadline_ns: int
    slot_count: int
    open_slot_count: int
    amount_scale: int
    capital_source: int
    ledger_status: int
    ledger_cause: int
    freeze_flags: int
    capital: int
    equity: int
    realized_pnl: int
    unrealized_pnl: int
    fees: int
    predicted_fees: int
    funding: int
    foreign: int
    wallet: int
    available: int
    ledger_delta: int
    gross_exposure: int
    working_exposure: int
    trade_count: int
    execution_count: int
    fills_routed_by_stage_count: int
    anomaly_count: int
    foreign_count: int
    maker_fee: FeeView
    taker_fee: FeeView
    account: bytes
    currency: bytes


_COPIED = [
    "is_adopted",
    "pnl_source",
    "is_overfilled",
    "has_anomaly",
    "is_bracket",
    "active_leg_index",
    "trade_sequence",
    "has_stop_price",
    "has_target_price",
    "has_reference_price",
    "mark",
    "stop_price",
    "target_price",
    "reference_price",
    "price_scale",
    "qty_scale",
    "leverage",
    "instrument_version",
    "tick_units",
    "lot_units",
    "multiplier",
    "requested_at_ns",
    "opened_at_ns",
    "closed_at_ns",
    "expires_at_ns",
    "trade_id",
    "strategy",
    "symbol",
    "currency",
    "exit_leg_bps",
]
"""Facts that a slot's view shows as they are."""


def slot_view(state: State, slot_index: int) -> SlotView:
    slot, amount_scale = state.slots[slot_index], state.config.amount_scale
    stage = stage_of(slot)
    view = SlotView(slot_index, stage, lifecycle_of(slot, stage), is_free=int(not is_busy(slot)))
    if slot.trade_sequence == 0:
        return view
    for name in _COPIED:
        setattr(view, name, getattr(slot, name))
    view.exit_order_count = slot.exit_count
    view.has_mark = int(slot.mark != 0)
    _show_figures(view, slot, amount_scale)
    _show_conviction(view, slot, state.capital)
    view.entry = _order_view(slot, slot.entry, amount_scale)
    if slot.last_exit is not None:
        view.exit = _order_view(slot, slot.last_exit, amount_scale)
    none = Order()
    view.stop = _order_view(slot, slot.protectives.get(STOP, none), amount_scale)
    view.target = _order_view(slot, slot.protectives.get(TARGET, none), amount_scale)
    return view


def _show_figures(view: SlotView, slot: Slot, amount_scale: int) -> None:
    book = slot.book
    view.qty = book.open_qty * slot.direction
    view.entry_qty, view.exit_qty = book.entry_qty, book.exit_qty
    view.realized_pnl = books.realized_pnl(book, slot.direction)
    view.unrealized_pnl = books.unrealized_pnl(slot, book, amount_scale, slot.mark)
    view.fees, view.predicted_fees = book.fees, book.predicted_fees
    view.realized_skipped_no_price = int(book.skipped_count > 0)
    view.entry_basis_missing = int(book.entry_unpriced_qty > 0)
    if book.entry_qty > 0 and not view.entry_basis_missing:
        view.has_entry_price, view.entry_price = _average(slot, amount_scale, book.entry_notional, book.entry_qty)


def _show_conviction(view: SlotView, slot: Slot, capital: int) -> None:
    """What is open at the entry price, over capital."""
    book = slot.book
    if not view.has_entry_price or book.open_qty <= 0:
        return
    notional = divide_half_even(book.entry_notional * book.open_qty, book.entry_qty)
    conviction = fees.conviction_of(notional, capital)
    if conviction is not None:
        view.conviction, view.has_conviction = conviction, 1


def _order_view(slot: Slot, order: Order, amount_scale: int) -> OrderView:
    view = OrderView(
        life=order.life,
        is_filled=int(order.life != Life.NONE and (bool(order.is_done) or order.leaves_qty <= 0)),
        in_doubt=order.in_doubt,
        cancel_pending=order.cancel_pending,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        has_price=order.has_price,
        is_stalled=order.is_stalled,
        order_qty=order.order_qty,
        cum_qty=order.cum_qty,
        price=order.price,
        submitted_at_ns=order.submitted_at_ns,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
    )
    if order.priced_qty > 0:
        average = _average(slot, amount_scale, order.cum_notional, order.priced_qty)
        view.has_average_price, view.average_price = average
    return view


def _average(slot: Slot, amount_scale: int, notional: int, qty: int) -> tuple[int, int]:
    """Whether there is one, and the average price at four digits more than prices, rounded half to even."""
    units = qty * slot.multiplier * 10 ** (amount_scale - slot.price_scale - slot.qty_scale)
    try:
        return 1, fits(divide_half_even(notional * 10**AVERAGE_PRICE_EXTRA_SCALE, units))
    except DoesNotFit:
        return 0, 0


def account_view(state: State) -> AccountView:
    config, ledger = state.config, state.ledger
    open_slots = [slot for slot in state.slots if is_busy(slot)]
    unrealized = sum(books.unrealized_pnl(slot, slot.book, config.amount_scale, slot.mark) for slot in open_slots)
    base = ledger.wallet if ledger.has_anchor else config.seed_capital
    return AccountView(
        event_sequence=ledger.event_sequence,
        now_ns=ledger.now_ns,
        next_deadline_ns=next_deadline_ns(state),
        slot_count=config.slot_count,
        open_slot_count=len(open_slots),
        amount_scale=config.amount_scale,
        capital_source=_capital_source(state),
        ledger_status=ledger.ledger_status,
        ledger_cause=ledger.ledger_cause,
        freeze_flags=ledger.freeze_flags,
        capital=state.capital,
        equity=clamp(base + ledger.bridge + unrealized),
        realized_pnl=ledger.realized,
        unrealized_pnl=clamp(unrealized),
        fees=ledger.fees,
        predicted_fees=ledger.predicted_fees,
        funding=ledger.funding,
        foreign=ledger.foreign,
        wallet=ledger.wallet,
        available=ledger.available,
        ledger_delta=ledger.ledger_delta,
        gross_exposure=clamp(sum(_exposure(slot, config.amount_scale) for slot in open_slots)),
        working_exposure=clamp(sum(_working_exposure(slot, config.amount_scale) for slot in open_slots)),
        trade_count=ledger.trade_count,
        execution_count=ledger.execution_count,
        fills_routed_by_stage_count=ledger.routed_by_stage_count,
        anomaly_count=ledger.anomaly_count,
        foreign_count=ledger.foreign_count,
        maker_fee=_fee_view(state, Liquidity.MAKER),
        taker_fee=_fee_view(state, Liquidity.TAKER),
        account=config.account,
        currency=config.currency,
    )


def _fee_view(state: State, liquidity: Liquidity) -> FeeView:
    calibration = state.ledger.calibration(liquidity)
    rate, one = fees.published_rate(state.config, liquidity), 10**RATIO_SCALE
    ratio = calibration.ratio if calibration.sample_count else one
    counts = calibration.sample_count, calibration.refused_count
    return FeeView(rate, ratio, ratio - one, *counts, fees.status(calibration, rate, ratio))


def _capital_source(state: State) -> CapitalSource:
    if not state.ledger.has_anchor:
        return CapitalSource.SEED
    return CapitalSource.K_BRIDGED if state.ledger.is_bridged else CapitalSource.E_ANCHORED


def _exposure(slot: Slot, amount_scale: int) -> int:
    """What is open at its mark, else at what it cost."""
    if slot.mark != 0:
        with suppress(DoesNotFit):
            return abs(books.notional(slot, amount_scale, slot.mark, slot.book.open_qty))
    return abs(slot.book.open_cost)


def _working_exposure(slot: Slot, amount_scale: int) -> int:
    """What the entry may still add: at its limit, else where it was decided, else at the mark."""
    entry = slot.entry
    if not entry.is_live or entry.leaves_qty <= 0:
        return 0
    price = entry.price if entry.has_price else slot.reference_price if slot.has_reference_price else slot.mark
    try:
        return books.notional(slot, amount_scale, price, entry.leaves_qty)
    except DoesNotFit:
        return INT64_MAX
