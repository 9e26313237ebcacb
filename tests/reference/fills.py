"""Executions: booked, taken back, restated, settled. Here money moves.

Figures are folded into copies of the book, the order and the ledger; a figure that does not fit leaves all as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference import book as books
from tests.reference import fees
from tests.reference import ledger as ledgers
from tests.reference.digest import chain_execution
from tests.reference.inputs import Event, Input, is_empty, is_id, is_sound
from tests.reference.machines import is_busy, next_life
from tests.reference.numbers import DoesNotFit, fits, rescale
from tests.reference.orders import learn_venue_order_id
from tests.reference.state import ENTRY, Book, Execution, Ledger, Order, Slot, State, copied
from tests.reference.step import Refused, Step
from tests.reference.words import (
    BUSTED,
    EVENT_HAS_PRICE,
    EXIT_LEGS_MAX,
    FEE_PREDICTED,
    HAS_AMOUNT,
    HAS_FEE,
    HAS_PRICE,
    INT64_MIN,
    IS_EXIT,
    NO_ORDER,
    NO_SLOT,
    ROUTED_BY_STAGE,
    SCALE_MAX,
    Code,
    EventKind,
    Fact,
    Field,
    Liquidity,
    PnlSource,
    Side,
    Stage,
)


@dataclass(slots=True)
class Route:
    """Where an execution belongs. NO_ORDER: to the trade, but to no order of ours that is remembered."""

    slot_index: int
    ordinal: int
    is_exit: bool
    is_by_stage: bool = False


@dataclass(slots=True)
class Change:
    """The copies that an execution is folded into, and whether its settled fee was refused as a sample."""

    slot: Slot
    book: Book
    order: Order | None
    ledger: Ledger
    fee_was_refused: bool = False

    @classmethod
    def of(cls, state: State, route: Route) -> Change:
        slot = state.slots[route.slot_index]
        order = slot.order(route.ordinal)
        return cls(slot, copied(slot.book), copied(order) if order is not None else None, copied(state.ledger))

    def put_back(self, state: State, route: Route) -> None:
        self.slot.book, state.ledger = self.book, self.ledger
        if self.order is None:
            return
        if route.ordinal == ENTRY:
            self.slot.entry = self.order
        elif route.ordinal in self.slot.protectives:
            self.slot.protectives[route.ordinal] = self.order
        else:
            self.slot.exits[route.ordinal] = self.order

    @property
    def order_id(self) -> bytes:
        return self.order.client_order_id if self.order is not None else b""


# --- fill ------------------------------------------------------------------------------------------------------------


def fill(step: Step) -> None:
    state, report = step.state, step.input
    _require_fill_is_sound(report)
    if report.execution_id in state.executions:
        raise Refused(Code.DUPLICATE_EVENT, Field.EXECUTION_ID)
    route = _route(state, report)
    if route is None:
        raise Refused(Code.UNRESOLVED_SLOT, Field.CLIENT_ORDER_ID)
    slot = state.slots[route.slot_index]
    change = Change.of(state, route)
    execution = _new_execution(state, route, report.execution_id)
    bridges = ledgers.takes(change.ledger, execution.number)
    execution.liquidity = report.liquidity
    price_was_rounded = _read_figures(state, slot, report, execution, route.slot_index)
    try:
        _count(change.order, execution)
        _fold(state, change, execution, bridges=bridges)
        _learn_fee(state, change, execution, is_first=not execution.fee_is_predicted)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.QTY, report.qty, route.slot_index) from None

    with step.watching(route.slot_index) as before:
        was_late = before[0] == Stage.TERMINAL_WRITTEN or (change.order is not None and change.order.has_ended)
        _learn_traded(slot, change.order)
        change.put_back(state, route)
        state.ledger.routed_by_stage_count += route.is_by_stage
        if not route.is_exit and slot.opened_at_ns == 0:
            slot.opened_at_ns = report.now_ns
        booked = _tell_booked(step, route, execution, change.order)
        booked.venue_order_id = booked.venue_order_id or report.venue_order_id
        if change.order is not None:
            learn_venue_order_id(state, change.order, report.venue_order_id)
        _remember(state, execution)
        _flag_fill(step, route, change, execution, was_late=was_late, price_was_rounded=price_was_rounded)
        if route.ordinal in slot.protectives:
            step.cancel_entry_rest(route.slot_index)
        _hold_exit_to_position(step, route.slot_index)
        step.watch_protection(route.slot_index)


def _require_fill_is_sound(report: Input) -> None:
    if not is_id(report.execution_id):
        raise Refused(Code.INVALID_EVENT, Field.EXECUTION_ID)
    if not is_sound(report.client_order_id):
        raise Refused(Code.INVALID_EVENT, Field.CLIENT_ORDER_ID)
    if not is_sound(report.venue_order_id):
        raise Refused(Code.INVALID_EVENT, Field.VENUE_ORDER_ID)
    if report.side not in (Side.BUY, Side.SELL):
        raise Refused(Code.INVALID_EVENT, Field.SIDE, report.side)
    if report.liquidity > Liquidity.TAKER:
        raise Refused(Code.INVALID_EVENT, Field.LIQUIDITY)
    _require_figures_are_sound(report)


def _require_figures_are_sound(report: Input) -> None:
    if report.price_scale > SCALE_MAX:
        raise Refused(Code.INVALID_EVENT, Field.PRICE_SCALE)
    if report.qty_scale > SCALE_MAX:
        raise Refused(Code.INVALID_EVENT, Field.QTY_SCALE)
    if report.qty <= 0:
        raise Refused(Code.INVALID_EVENT, Field.QTY, report.qty)
    if report.states(HAS_PRICE) and report.price <= 0:
        raise Refused(Code.INVALID_EVENT, Field.PRICE, report.price)


def _route(state: State, report: Input) -> Route | None:
    """By venue order id, else by client order id; only a fill without either by the stage of its symbol's one trade."""
    if report.venue_order_id or report.client_order_id:
        found = state.find_order(venue_order_id=report.venue_order_id, client_order_id=report.client_order_id)
        return None if found is None else Route(*found, is_exit=found[1] != ENTRY)
    if is_empty(report.symbol):
        return None
    candidates = [index for index, slot in enumerate(state.slots) if slot.symbol == report.symbol and is_busy(slot)]
    return _route_by_stage(state, report, candidates[0]) if len(candidates) == 1 else None


def _route_by_stage(state: State, report: Input, slot_index: int) -> Route | None:
    """Its side says whether it enters or leaves; what leaves needs an exit at work, or something to leave."""
    slot = state.slots[slot_index]
    if report.side == slot.entry.side:
        return Route(slot_index, ENTRY, is_exit=False, is_by_stage=True)
    if slot.live_exit is not None:
        return Route(slot_index, slot.exit_count, is_exit=True, is_by_stage=True)
    if slot.book.open_qty > 0:
        return Route(slot_index, NO_ORDER, is_exit=True, is_by_stage=True)
    return None


def _new_execution(state: State, route: Route, execution_id: bytes) -> Execution:
    """Its side is its order's, whatever the report says."""
    slot = state.slots[route.slot_index]
    entry_side = slot.entry.side
    exit_side = Side.SELL if entry_side == Side.BUY else Side.BUY
    return Execution(
        execution_id=execution_id,
        number=state.ledger.execution_count + 1,
        trade_sequence=slot.trade_sequence,
        slot_index=route.slot_index,
        ordinal=route.ordinal,
        is_exit=int(route.is_exit),
        side=exit_side if route.is_exit else entry_side,
    )


def _read_figures(state: State, slot: Slot, report: Input, execution: Execution, slot_index: int) -> bool:
    """Quantity, price, notional and fee in the trade's scales; returns whether the price was rounded (against us)."""
    config, was_rounded = state.config, False
    try:
        execution.qty, is_exact = rescale(report.qty, report.qty_scale, slot.qty_scale)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.QTY, report.qty, slot_index) from None
    if not is_exact:
        raise Refused(Code.INVALID_EVENT, Field.QTY, report.qty, slot_index)
    execution.has_price = int(report.states(HAS_PRICE))
    if execution.has_price:
        is_buy = execution.side == Side.BUY
        try:
            execution.price, is_exact = rescale(report.price, report.price_scale, slot.price_scale, up=is_buy)
            execution.notional = books.notional(slot, config.amount_scale, execution.price, execution.qty)
        except DoesNotFit:
            raise Refused(Code.OVERFLOW, Field.PRICE, report.price, slot_index) from None
        was_rounded = not is_exact
    execution.fee_is_predicted = int(not report.states(HAS_FEE))
    execution.fee = report.fee
    if execution.fee_is_predicted:
        try:
            execution.fee = fees.predicted(config, state.ledger, execution.liquidity, execution.notional)
        except DoesNotFit:
            raise Refused(Code.OVERFLOW, Field.FEE, 0, slot_index) from None
    return was_rounded


def _count(order: Order | None, execution: Execution) -> None:
    if order is None:
        return
    order.cum_qty = fits(order.cum_qty + execution.qty)
    if execution.has_price:
        order.priced_qty += execution.qty
        order.cum_notional = fits(order.cum_notional + execution.notional)


def _uncount(order: Order | None, execution: Execution) -> None:
    if order is None:
        return
    order.cum_qty -= execution.qty
    if execution.has_price:
        order.priced_qty -= execution.qty
        order.cum_notional -= execution.notional


def _fold(state: State, change: Change, execution: Execution, *, bridges: bool) -> None:
    slot, book, ledger = change.slot, change.book, change.ledger
    if execution.fee == INT64_MIN:
        raise DoesNotFit
    books.add(book, slot.direction, execution)
    books.unrealized_pnl(slot, book, state.config.amount_scale, slot.mark)
    book.fees = fits(book.fees + execution.fee)
    book.predicted_fees = fits(book.predicted_fees + execution.predicted_fee)
    ledger.bridge_skipped += bridges and execution.can_be_repaired
    ledgers.predict(ledger, execution.predicted_fee, abs(execution.predicted_fee), bridges=bridges)
    ledgers.book(ledger, execution.realized, execution.fee, bridges=bridges)


def _learn_fee(state: State, change: Change, execution: Execution, *, is_first: bool) -> None:
    """The venue's own fee, once for each execution, is a sample of how far the published rate holds."""
    if is_first:
        change.fee_was_refused = not fees.learn(state.config, change.ledger, execution)


def _flag_fee(step: Step, change: Change, slot_index: int, execution_id: bytes) -> None:
    if change.fee_was_refused:
        step.flag(Code.FEE_SAMPLE_REFUSED, slot_index, change.order_id, execution_id)


def _learn_traded(slot: Slot, order: Order | None) -> None:
    if order is None:
        return
    life = next_life(order.life, Fact.TRADED)
    assert life is not None
    order.life, order.in_doubt, order.is_stalled = life, 0, 0
    if order.leaves_qty > 0 or order.is_done:
        return
    order.is_done, order.cancel_pending = 1, 0
    if order.is_leg and slot.active_leg_index + 1 < EXIT_LEGS_MAX:
        slot.active_leg_index += 1


def _remember(state: State, execution: Execution) -> None:
    """The newest window_count are kept."""
    state.executions[execution.execution_id] = execution
    state.ledger.execution_count += 1
    chain_execution(state, execution)
    if len(state.executions) > state.config.window_count:
        del state.executions[next(iter(state.executions))]


def _tell_booked(step: Step, route: Route, execution: Execution, order: Order | None) -> Event:
    event = Event(
        EventKind.FILL_BOOKED,
        flags=(IS_EXIT if execution.is_exit else 0)
        | (EVENT_HAS_PRICE if execution.has_price else 0)
        | (FEE_PREDICTED if execution.fee_is_predicted else 0)
        | (ROUTED_BY_STAGE if route.is_by_stage else 0),
        side=execution.side,
        qty=execution.qty,
        price=execution.price,
        fee=execution.fee,
        realized_pnl=execution.realized,
        execution_id=execution.execution_id,
        client_order_id=order.client_order_id if order is not None else b"",
        venue_order_id=order.venue_order_id if order is not None else b"",
    )
    return step.emit(event, route.slot_index)


def _flag_fill(
    step: Step, route: Route, change: Change, execution: Execution, *, was_late: bool, price_was_rounded: bool
) -> None:
    """Whatever the venue did is folded; what it should not have done is flagged."""
    order = change.order
    is_overfilled = change.book.open_qty < 0 or (order is not None and order.leaves_qty < 0)
    without_price = Code.FILL_WITHOUT_PRICE if execution.is_exit else Code.ENTRY_BASIS_MISSING
    flags = {
        Code.ROUTED_BY_STAGE: route.is_by_stage,
        Code.LATE_FILL: was_late,
        Code.SIDE_MISMATCH: execution.side != step.input.side,
        Code.PRICE_ROUNDED: price_was_rounded,
        without_price: bool(execution.is_skipped),
        Code.FEE_SAMPLE_REFUSED: change.fee_was_refused,
        Code.OVERFILL: is_overfilled,
    }
    for code, is_raised in flags.items():
        if is_raised:
            step.flag(code, route.slot_index, change.order_id, execution.execution_id)
    if is_overfilled:
        change.slot.is_overfilled = 1


def _hold_exit_to_position(step: Step, slot_index: int) -> None:
    """An exit at work that could close more than is open, since the position is smaller than when it was sized."""
    slot = step.state.slots[slot_index]
    live_exit = slot.live_exit
    if live_exit is None or live_exit.cancel_pending or live_exit.leaves_qty <= max(0, slot.book.open_qty):
        return
    step.flag(Code.EXIT_EXCEEDS_POSITION, slot_index, live_exit.client_order_id)
    step.cancel(slot_index, slot.exit_count, live_exit)


# --- bust, correction ------------------------------------------------------------------------------------------------


def bust(step: Step) -> None:
    """The venue takes an execution back: out of the book, out of its order; a done order does not go back to work."""
    state = step.state
    execution = _reversible_execution(step)
    route = _route_of(state, execution)
    change = Change.of(state, route)
    try:
        realized = _unfold(state, change, execution)
        kept = fits(execution.realized + realized)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.EXECUTION_ID, 0, route.slot_index) from None

    with step.watching(route.slot_index):
        change.put_back(state, route)
        _tell_unbooked(step, route, execution, change.order, realized)
        execution.is_busted = 1
        execution.realized = kept
        execution.fee = execution.fee_is_predicted = 0
        chain_execution(state, execution)
        step.flag(Code.FILL_BUSTED, route.slot_index, change.order_id, execution.execution_id)
        _hold_exit_to_position(step, route.slot_index)
        step.watch_protection(route.slot_index)


def correction(step: Step) -> None:
    """Bust and book again, in one: the execution keeps its id and its number."""
    state, report = step.state, step.input
    old = _reversible_execution(step)
    if report.liquidity > Liquidity.TAKER:
        raise Refused(Code.INVALID_EVENT, Field.LIQUIDITY)
    _require_figures_are_sound(report)
    route = _route_of(state, old)
    change = Change.of(state, route)
    new = _new_execution(state, route, old.execution_id)
    new.number, new.side, new.liquidity = old.number, old.side, report.liquidity or old.liquidity
    _read_figures(state, change.slot, report, new, route.slot_index)
    try:
        realized = _unfold(state, change, old)
        _count(change.order, new)
        _fold(state, change, new, bridges=True)
        kept = fits(fits(old.realized + realized) + new.realized)
        _learn_fee(state, change, new, is_first=bool(old.fee_is_predicted and not new.fee_is_predicted))
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.QTY, report.qty, route.slot_index) from None

    with step.watching(route.slot_index):
        change.put_back(state, route)
        _tell_unbooked(step, route, old, change.order, realized)
        _tell_booked(step, route, new, change.order)
        new.realized = kept
        state.executions[new.execution_id] = new
        chain_execution(state, new)
        step.flag(Code.FILL_CORRECTED, route.slot_index, change.order_id, new.execution_id)
        _flag_fee(step, change, route.slot_index, new.execution_id)
        _hold_exit_to_position(step, route.slot_index)
        step.watch_protection(route.slot_index)


def _known_execution(step: Step) -> Execution:
    execution_id = step.input.execution_id
    if not is_id(execution_id):
        raise Refused(Code.INVALID_EVENT, Field.EXECUTION_ID)
    execution = step.state.executions.get(execution_id)
    if execution is None:
        raise Refused(Code.UNKNOWN_EXECUTION, Field.EXECUTION_ID)
    return execution


def _reversible_execution(step: Step) -> Execution:
    execution = _known_execution(step)
    if execution.is_busted:
        raise Refused(Code.DUPLICATE_EVENT, Field.EXECUTION_ID)
    if not _trade_is_there(step.state, execution):
        raise Refused(Code.UNRESOLVED_SLOT, Field.EXECUTION_ID)
    return execution


def _trade_is_there(state: State, execution: Execution) -> bool:
    """Its slot still holds the trade it belongs to."""
    return state.slots[execution.slot_index].trade_sequence == execution.trade_sequence


def _route_of(state: State, execution: Execution) -> Route:
    """An exit order that the slot has forgotten is no order any more."""
    order = state.slots[execution.slot_index].order(execution.ordinal)
    ordinal = execution.ordinal if order is not None else NO_ORDER
    return Route(execution.slot_index, ordinal, is_exit=bool(execution.is_exit))


def _unfold(state: State, change: Change, execution: Execution) -> int:
    """Out of the copies; returns by how much realized pnl changes. The wallet will change by it too: it bridges."""
    slot, book, ledger = change.slot, change.book, change.ledger
    before = books.realized_pnl(book, slot.direction)
    books.remove(book, slot.direction, execution)
    realized = fits(books.realized_pnl(book, slot.direction) - before)
    books.unrealized_pnl(slot, book, state.config.amount_scale, slot.mark)
    book.fees = fits(book.fees - execution.fee)
    book.predicted_fees = fits(book.predicted_fees - execution.predicted_fee)
    _uncount(change.order, execution)
    was_bridged = execution.number > ledger.anchored_count
    ledger.bridge_skipped -= was_bridged and execution.waits_for_figure
    ledgers.predict(ledger, -execution.predicted_fee, -abs(execution.predicted_fee), bridges=was_bridged)
    ledgers.book(ledger, realized, -execution.fee, bridges=True)
    return realized


def _tell_unbooked(step: Step, route: Route, execution: Execution, order: Order | None, realized: int) -> None:
    event = _tell_booked(step, route, execution, order)
    event.flags |= BUSTED
    event.fee, event.realized_pnl = -execution.fee, realized


# --- settlement ------------------------------------------------------------------------------------------------------


def settlement(step: Step) -> None:
    """The venue's profit repairs a fill without a figure, once; another's is only compared. Its fee replaces ours."""
    state, report = step.state, step.input
    execution = _known_execution(step)
    has_amount, has_fee = report.states(HAS_AMOUNT), report.states(HAS_FEE)
    if execution.is_busted or (has_amount and execution.is_settled):
        raise Refused(Code.DUPLICATE_EVENT, Field.EXECUTION_ID)
    if not has_amount and not has_fee:
        raise Refused(Code.INVALID_EVENT, Field.AMOUNT)
    is_there = _trade_is_there(state, execution)
    route = _route_of(state, execution) if is_there else Route(NO_SLOT, NO_ORDER, is_exit=bool(execution.is_exit))
    change = Change.of(state, route) if is_there else Change(Slot(), Book(), None, copied(state.ledger))
    settled = copied(execution)
    bridges = execution.number > state.ledger.anchored_count
    try:
        realized = _settle_realized(change, settled, report.amount, bridges=bridges) if has_amount else 0
        fee = _settle_fee(change, settled, report.fee, bridges=bridges) if has_fee else 0
        _learn_fee(state, change, settled, is_first=bool(has_fee and execution.fee_is_predicted))
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.AMOUNT if has_amount else Field.FEE, report.amount) from None

    state.executions[settled.execution_id] = settled
    if not is_there:  # only the account learns of it
        state.ledger = change.ledger
        chain_execution(state, settled)
        _tell_settled(step, route, settled, None, realized, fee)
        _flag_fee(step, change, NO_SLOT, settled.execution_id)
        return
    with step.watching(route.slot_index):
        change.put_back(state, route)
        chain_execution(state, settled)
        if has_amount and settled.can_be_repaired:
            change.slot.pnl_source = PnlSource.EXCHANGE
        _tell_settled(step, route, settled, change.order, realized, fee)
        difference = abs(settled.venue_realized - settled.realized)
        if has_amount and not settled.can_be_repaired and difference > state.config.settlement_tolerance:
            step.flag(Code.SETTLEMENT_DIFFERS, route.slot_index, change.order_id, settled.execution_id)
        _flag_fee(step, change, route.slot_index, settled.execution_id)


def _settle_realized(change: Change, settled: Execution, amount: int, *, bridges: bool) -> int:
    """Returns what it adds to realized pnl."""
    settled.is_settled, settled.venue_realized = 1, amount
    if not settled.can_be_repaired:
        return 0
    change.book.skipped_count -= 1
    change.ledger.bridge_skipped -= bridges
    change.book.venue_realized = fits(change.book.venue_realized + amount)
    books.realized_pnl(change.book, change.slot.direction)
    ledgers.book(change.ledger, amount, 0, bridges=bridges)
    return amount


def _settle_fee(change: Change, settled: Execution, fee: int, *, bridges: bool) -> int:
    """Returns what it adds to the fees booked."""
    if fee == INT64_MIN:
        raise DoesNotFit
    predicted_fee = settled.predicted_fee
    added = fits(fee - settled.fee)
    change.book.fees = fits(change.book.fees + added)
    change.book.predicted_fees = fits(change.book.predicted_fees - predicted_fee)
    settled.fee, settled.fee_is_predicted = fee, 0
    ledgers.predict(change.ledger, -predicted_fee, -abs(predicted_fee), bridges=bridges)
    ledgers.book(change.ledger, 0, added, bridges=bridges)
    return added


def _tell_settled(step: Step, route: Route, execution: Execution, order: Order | None, realized: int, fee: int) -> None:
    event = Event(
        EventKind.SETTLED,
        flags=IS_EXIT if execution.is_exit else 0,
        execution_id=execution.execution_id,
        client_order_id=order.client_order_id if order is not None else b"",
        side=execution.side,
        realized_pnl=realized,
        fee=fee,
    )
    step.emit(event, route.slot_index)
