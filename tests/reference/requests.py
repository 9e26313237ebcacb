"""What people and policies ask for: enter, exit, cancel, flatten, freeze, adopt."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reference.book import notional
from tests.reference.inputs import Event, Input, is_empty, is_id, is_sound
from tests.reference.machines import is_busy, lifecycle_of, stage_of
from tests.reference.numbers import DoesNotFit, rescale
from tests.reference.state import ENTRY, STOP, TARGET, Book, Order, Slot, State
from tests.reference.step import Refused, Step
from tests.reference.words import (
    BASIS_POINTS,
    BRACKET,
    BRACKET_ENTRY_LENGTH_MAX,
    EVENT_HAS_PRICE,
    EXIT_LEGS_MAX,
    FINEST_SCALE,
    FLATTEN_ROOT_LENGTH_MAX,
    FREEZE_OPERATOR,
    HAS_PRICE,
    HAS_QTY,
    HAS_REFERENCE,
    HAS_STOP,
    HAS_TARGET,
    INT64_MIN,
    IS_EXIT,
    NO_SLOT,
    SCALE_MAX,
    Code,
    CommandKind,
    EventKind,
    Field,
    Life,
    Lifecycle,
    OrderType,
    PnlSource,
    Side,
    Stage,
    TimeInForce,
)

# --- enter, adopt ----------------------------------------------------------------------------------------------------


def enter(step: Step) -> None:
    state, wish = step.state, step.input
    _require_no_bad_field(_bad_enter_fields(wish, state.config.leverage_max, state.config.amount_scale), wish)
    _require_trade_is_not_open(state, wish.trade_id)
    content = _slot_from_enter(wish)
    if any(state.find_order(client_order_id=order.client_order_id) for _, order in content.orders()):
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID)
    if state.ledger.freeze_flags:
        raise Refused(Code.ENTRY_FROZEN)
    if state.capital <= 0:
        raise Refused(Code.NO_CAPITAL, Field.NONE, state.capital)
    if wish.expires_at_ns != 0 and wish.now_ns >= wish.expires_at_ns:
        raise Refused(Code.ENTRY_EXPIRED, Field.EXPIRES_AT_NS, wish.expires_at_ns)
    slot_index = _place_for(state, wish, without=Refused(Code.SLOT_BUSY))
    dearest = max(1, content.entry.price, content.reference_price, content.stop_price, content.target_price)
    try:
        notional(content, state.config.amount_scale, dearest, wish.qty)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.QTY, wish.qty) from None

    before = _take_slot(step, slot_index, content)
    _submit(step, slot_index, CommandKind.SUBMIT_ENTRY, content.entry)
    for order in content.protectives.values():
        _submit(step, slot_index, CommandKind.SUBMIT_PROTECTIVE, order)
    step.settle(slot_index, before, was_busy=False)


def adopt(step: Step) -> None:
    """A position that stands at the venue: an entry without an order of ours, wholly filled. It books nothing."""
    state, wish = step.state, step.input
    _require_no_bad_field(_bad_adopt_fields(wish, state.config.amount_scale), wish)
    _require_trade_is_not_open(state, wish.trade_id)
    slot_index = _place_for(state, wish, without=Refused(Code.ORPHAN_POSITION, Field.QTY, wish.qty))
    content = _slot_from_adopt(wish)
    try:
        cost = notional(content, state.config.amount_scale, wish.price, content.entry.order_qty)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.QTY, wish.qty) from None

    content.book = Book(entry_qty=content.entry.order_qty, entry_notional=cost, open_cost=cost)
    content.entry.cum_notional = cost
    step.settle(slot_index, _take_slot(step, slot_index, content), was_busy=False)


def _require_no_bad_field(fields: Iterator[Field], wish: Input) -> None:
    """Refuse for the first of them."""
    for field in fields:
        raise Refused(Code.INVALID_INTENT, field, _number(wish, field))


def _number(wish: Input, field: Field) -> int:
    """The field's number, for the outcome; 0 for a text or a list."""
    value = getattr(wish, field.name.lower())
    return value if isinstance(value, int) else 0


def _bad_enter_fields(wish: Input, leverage_max: int, amount_scale: int) -> Iterator[Field]:
    """In the order of refusal, which is part of the contract."""
    if not is_id(wish.trade_id):
        yield Field.TRADE_ID
    if not is_id(wish.client_order_id):
        yield Field.CLIENT_ORDER_ID
    if not is_sound(wish.strategy):
        yield Field.STRATEGY
    yield from _bad_instrument_fields(wish, amount_scale)
    if wish.side not in (Side.BUY, Side.SELL):
        yield Field.SIDE
    if not OrderType.NONE < wish.order_type <= OrderType.STOP_LIMIT:
        yield Field.ORDER_TYPE
    if not TimeInForce.NONE < wish.time_in_force <= TimeInForce.GTD:
        yield Field.TIME_IN_FORCE
    if wish.qty % wish.lot_units or not _is_positive(wish.qty, wish.qty_scale):
        yield Field.QTY
    needs_price = wish.order_type != OrderType.MARKET
    is_on_tick = wish.price % wish.tick_units == 0 and _is_positive(wish.price, wish.price_scale)
    if wish.states(HAS_PRICE) != needs_price or (needs_price and not is_on_tick):
        yield Field.PRICE
    if wish.states(HAS_STOP) and not _is_positive(wish.stop_price, wish.price_scale):
        yield Field.STOP_PRICE
    if wish.states(HAS_TARGET) and not _is_positive(wish.target_price, wish.price_scale):
        yield Field.TARGET_PRICE
    if wish.states(HAS_REFERENCE) and not _is_positive(wish.reference_price, wish.price_scale):
        yield Field.REFERENCE_PRICE
    if not 1 <= wish.leverage <= leverage_max:
        yield Field.LEVERAGE
    if wish.expires_at_ns < 0:
        yield Field.EXPIRES_AT_NS
    if not _legs_are_sound(wish.exit_leg_bps):
        yield Field.EXIT_LEG_BPS
    if wish.states(BRACKET):
        yield from _bad_bracket_fields(wish)


def _bad_bracket_fields(wish: Input) -> Iterator[Field]:
    """A stop that loses, a price, a target that wins: in this order, seen in the trade's direction; and no legs."""
    up = 1 if wish.side == Side.BUY else -1
    stop, target, price = up * wish.stop_price, up * wish.target_price, up * wish.price
    if len(wish.client_order_id) > BRACKET_ENTRY_LENGTH_MAX:
        yield Field.CLIENT_ORDER_ID
    if not wish.states(HAS_STOP) or stop % wish.tick_units or (wish.states(HAS_PRICE) and stop >= price):
        yield Field.STOP_PRICE
    floor = price if wish.states(HAS_PRICE) else stop
    if wish.states(HAS_TARGET) and (target % wish.tick_units or target <= floor):
        yield Field.TARGET_PRICE
    if any(wish.exit_leg_bps):
        yield Field.EXIT_LEG_BPS


def _is_positive(units: int, scale: int) -> bool:
    """And not below 10^-8, whatever the scale allows."""
    return units > 0 and units * 10**FINEST_SCALE >= 10**scale


def _bad_adopt_fields(wish: Input, amount_scale: int) -> Iterator[Field]:
    if not is_id(wish.trade_id):
        yield Field.TRADE_ID
    if not is_sound(wish.strategy):
        yield Field.STRATEGY
    yield from _bad_instrument_fields(wish, amount_scale)
    if wish.qty in (0, INT64_MIN):
        yield Field.QTY
    if wish.price <= 0:
        yield Field.PRICE


def _bad_instrument_fields(wish: Input, amount_scale: int) -> Iterator[Field]:
    if not is_id(wish.symbol):
        yield Field.SYMBOL
    if not is_sound(wish.currency):
        yield Field.CURRENCY
    if wish.price_scale > amount_scale:
        yield Field.PRICE_SCALE
    if wish.price_scale + wish.qty_scale > amount_scale:
        yield Field.QTY_SCALE
    if wish.tick_units <= 0:
        yield Field.TICK_UNITS
    if wish.lot_units <= 0:
        yield Field.LOT_UNITS
    if wish.multiplier <= 0:
        yield Field.MULTIPLIER


def _legs_are_sound(legs: tuple[int, ...]) -> bool:
    """Each at most the whole; none after the first that is 0."""
    count = legs.index(0) if 0 in legs else len(legs)
    return max(legs) <= BASIS_POINTS and not any(legs[count:])


def _require_trade_is_not_open(state: State, trade_id: bytes) -> None:
    slot_index = state.find_trade(trade_id)
    if slot_index is not None and is_busy(state.slots[slot_index]):
        raise Refused(Code.SLOT_BUSY, Field.TRADE_ID, 0, slot_index)


def _place_for(state: State, wish: Input, *, without: Refused) -> int:
    """The slot that the trade had, if this is a further attempt of it; else the one that has been free longest."""
    free = [index for index, slot in enumerate(state.slots) if not is_busy(slot)]
    place = state.find_trade(wish.trade_id)
    if place is None and not free:
        raise without
    for slot_index, slot in enumerate(state.slots):
        if slot.symbol == wish.symbol and slot_index not in free:
            raise Refused(Code.SYMBOL_BUSY, Field.SYMBOL, 0, slot_index)
    return place if place is not None else min(free, key=lambda index: state.slots[index].close_sequence)


def _instrument_of(wish: Input) -> Slot:
    return Slot(
        trade_id=wish.trade_id,
        strategy=wish.strategy,
        symbol=wish.symbol,
        currency=wish.currency,
        price_scale=wish.price_scale,
        qty_scale=wish.qty_scale,
        tick_units=wish.tick_units,
        lot_units=wish.lot_units,
        multiplier=wish.multiplier,
        instrument_version=wish.instrument_version,
        requested_at_ns=wish.now_ns,
        pnl_source=PnlSource.KERNEL_ESTIMATE,
    )


def _slot_from_enter(wish: Input) -> Slot:
    slot = _instrument_of(wish)
    slot.has_stop_price = int(wish.states(HAS_STOP))
    slot.has_target_price = int(wish.states(HAS_TARGET))
    slot.has_reference_price = int(wish.states(HAS_REFERENCE))
    slot.stop_price = wish.stop_price if slot.has_stop_price else 0
    slot.target_price = wish.target_price if slot.has_target_price else 0
    slot.reference_price = wish.reference_price if slot.has_reference_price else 0
    slot.expires_at_ns = wish.expires_at_ns
    slot.leverage = wish.leverage
    slot.exit_leg_bps = wish.exit_leg_bps
    slot.entry = Order(
        client_order_id=wish.client_order_id,
        order_qty=wish.qty,
        price=wish.price if wish.states(HAS_PRICE) else 0,
        has_price=int(wish.states(HAS_PRICE)),
        life=Life.REQUESTED,
        side=wish.side,
        order_type=wish.order_type,
        time_in_force=wish.time_in_force,
    )
    if wish.states(BRACKET):
        slot.is_bracket = 1
        slot.protectives[STOP] = _protective(slot.entry, b"-S", OrderType.STOP, slot.stop_price)
        if slot.has_target_price:
            slot.protectives[TARGET] = _protective(slot.entry, b"-T", OrderType.LIMIT, slot.target_price)
    return slot


def _protective(entry: Order, suffix: bytes, order_type: OrderType, price: int) -> Order:
    """For all of the entry, against it, until canceled."""
    return Order(
        client_order_id=entry.client_order_id + suffix,
        order_qty=entry.order_qty,
        price=price,
        has_price=1,
        life=Life.REQUESTED,
        side=Side.SELL if entry.side == Side.BUY else Side.BUY,
        order_type=order_type,
        time_in_force=TimeInForce.GTC,
    )


def _slot_from_adopt(wish: Input) -> Slot:
    slot = _instrument_of(wish)
    slot.opened_at_ns = wish.now_ns
    slot.leverage = max(1, wish.leverage)
    slot.is_adopted = 1
    slot.entry = Order(
        order_qty=abs(wish.qty),
        cum_qty=abs(wish.qty),
        priced_qty=abs(wish.qty),
        life=Life.WORKING,
        is_done=1,
        side=Side.BUY if wish.qty > 0 else Side.SELL,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
    )
    return slot


def _take_slot(step: Step, slot_index: int, content: Slot) -> tuple[Stage, Lifecycle]:
    """Put a trade into a free slot, and tell of the one that was there."""
    state = step.state
    stage = stage_of(state.slots[slot_index])
    empty = (Stage.IDLE, Lifecycle.NONE)
    step.move(slot_index, (stage, lifecycle_of(state.slots[slot_index], stage)), empty)
    step.slot_index = slot_index
    state.ledger.trade_count += 1
    content.trade_sequence = state.ledger.trade_count
    state.slots[slot_index] = content
    return empty


def _submit(step: Step, slot_index: int, command: CommandKind, order: Order) -> None:
    slot = step.state.slots[slot_index]
    is_exit = command != CommandKind.SUBMIT_ENTRY
    event = Event(
        EventKind.COMMAND,
        command=command,
        client_order_id=order.client_order_id,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        leverage=slot.leverage,
        qty=order.order_qty,
        price=order.price,
        flags=(EVENT_HAS_PRICE if order.has_price else 0) | (IS_EXIT if is_exit else 0),
        open_qty=slot.book.open_qty if is_exit else 0,
        expires_at_ns=0 if is_exit else slot.expires_at_ns,
    )
    step.emit(event, slot_index)


# --- exit ------------------------------------------------------------------------------------------------------------


def exit_trade(step: Step) -> None:
    state, wish = step.state, step.input
    if not is_id(wish.trade_id):
        raise Refused(Code.INVALID_INTENT, Field.TRADE_ID)
    if not is_id(wish.client_order_id):
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID)
    slot_index = state.find_trade(wish.trade_id)
    if slot_index is None:
        raise Refused(Code.UNRESOLVED_SLOT, Field.TRADE_ID)
    slot = state.slots[slot_index]
    remaining_qty = slot.book.open_qty
    if remaining_qty <= 0 and (not slot.entry.is_live or slot.entry.cancel_pending):
        raise Refused(Code.NO_OPEN_POSITION, Field.TRADE_ID, remaining_qty, slot_index)
    if slot.live_exit is not None:
        raise Refused(Code.EXIT_PENDING, Field.TRADE_ID, 0, slot_index)
    if state.find_order(client_order_id=wish.client_order_id) is not None:
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID, 0, slot_index)

    with step.watching(slot_index):
        step.cancel_entry_rest(slot_index)
        if remaining_qty > 0:
            _send_exit(step, slot_index, remaining_qty)


def _send_exit(step: Step, slot_index: int, remaining_qty: int) -> None:
    wish, slot = step.input, step.state.slots[slot_index]
    qty, is_repaired = _exit_qty(wish, slot, remaining_qty)
    order = _new_exit(slot, wish.client_order_id, qty)
    order.is_leg = int(not wish.states(HAS_QTY))
    if TimeInForce.NONE < wish.time_in_force <= TimeInForce.GTD:
        order.time_in_force = wish.time_in_force
    if wish.order_type not in (OrderType.NONE, OrderType.MARKET):
        price = _exit_price(wish, slot)
        if price is None:
            step.flag(Code.EXIT_PRICE_REPAIRED, slot_index, order.client_order_id)
        else:
            order.order_type, order.has_price, order.price = wish.order_type, 1, price
    if is_repaired:
        step.flag(Code.EXIT_SIZE_REPAIRED, slot_index, order.client_order_id)
    _submit(step, slot_index, CommandKind.SUBMIT_EXIT, order)
    step.cancel_protectives(slot_index)


def _exit_qty(wish: Input, slot: Slot, remaining_qty: int) -> tuple[int, bool]:
    """Never more than remains; what is malformed is repaired to the whole of it."""
    if not wish.states(HAS_QTY):
        return _leg_qty(slot, remaining_qty), False
    if wish.qty_scale <= SCALE_MAX and wish.qty > 0:
        try:
            qty, is_exact = rescale(wish.qty, wish.qty_scale, slot.qty_scale)
        except DoesNotFit:
            return remaining_qty, True
        is_part = qty < remaining_qty and qty % slot.lot_units == 0 and not slot.is_bracket
        if is_exact and (qty == remaining_qty or is_part):
            return qty, False
    return remaining_qty, True


def _leg_qty(slot: Slot, remaining_qty: int) -> int:
    """The next leg's share of what remains, in whole lots; the last leg listed takes all of it."""
    leg = slot.active_leg_index
    if leg + 1 >= EXIT_LEGS_MAX or slot.exit_leg_bps[leg + 1] == 0:
        return remaining_qty
    qty = remaining_qty * slot.exit_leg_bps[leg] // BASIS_POINTS
    return (qty - qty % slot.lot_units) or remaining_qty


def _exit_price(wish: Input, slot: Slot) -> int | None:
    """The exit's limit; None: malformed, so it goes to market."""
    is_limit = OrderType.MARKET < wish.order_type <= OrderType.STOP_LIMIT
    if not is_limit or not wish.states(HAS_PRICE) or wish.price_scale > SCALE_MAX or wish.price <= 0:
        return None
    try:
        price, is_exact = rescale(wish.price, wish.price_scale, slot.price_scale)
    except DoesNotFit:
        return None
    return price if is_exact and price % slot.tick_units == 0 else None


def _new_exit(slot: Slot, client_order_id: bytes, qty: int) -> Order:
    """A market order against the trade, until it is told otherwise."""
    order = Order(
        client_order_id=client_order_id,
        order_qty=qty,
        life=Life.REQUESTED,
        side=Side.SELL if slot.entry.side == Side.BUY else Side.BUY,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
    )
    slot.add_exit(order)
    return order


# --- control ---------------------------------------------------------------------------------------------------------


def cancel(step: Step) -> None:
    state, order_id = step.state, step.input.client_order_id
    if not is_id(order_id):
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID)
    found = state.find_order(client_order_id=order_id)
    if found is None:
        raise Refused(Code.UNRESOLVED_SLOT, Field.CLIENT_ORDER_ID)
    slot_index, ordinal = found
    order = state.slots[slot_index].order(ordinal)
    assert order is not None
    if not order.is_live:
        raise Refused(Code.NO_WORKING_ORDER, Field.CLIENT_ORDER_ID, 0, slot_index)

    with step.watching(slot_index):
        step.cancel(slot_index, ordinal, order)


def flatten(step: Step) -> None:
    state, wish = step.state, step.input
    root = wish.client_order_id
    if not is_id(root) or len(root) > FLATTEN_ROOT_LENGTH_MAX:
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID)
    _require_sound_scope(wish)
    if any(state.find_order(client_order_id=_flatten_id(root, index)) for index in range(len(state.slots))):
        raise Refused(Code.INVALID_INTENT, Field.CLIENT_ORDER_ID)

    for slot_index in _scope(state, wish):
        with step.watching(slot_index):
            _flatten_slot(step, slot_index, root)
    step.slot_index = NO_SLOT


def _flatten_id(root: bytes, slot_index: int) -> bytes:
    return b"%s-%02d" % (root, slot_index)


def _flatten_slot(step: Step, slot_index: int, root: bytes) -> None:
    """No more of the entry; the rest of a resting exit is taken back; without one, what is open goes to market."""
    slot = step.state.slots[slot_index]
    live_exit, open_qty = slot.live_exit, slot.book.open_qty
    step.cancel_entry_rest(slot_index)
    if live_exit is None and open_qty > 0:
        order = _new_exit(slot, _flatten_id(root, slot_index), open_qty)
        _submit(step, slot_index, CommandKind.SUBMIT_EXIT, order)
    elif live_exit is not None and live_exit.is_resting:
        step.cancel(slot_index, slot.exit_count, live_exit)
    if open_qty > 0 or not slot.entry.is_live:
        step.cancel_protectives(slot_index)


def cancel_working_entries(step: Step) -> None:
    _require_sound_scope(step.input)

    for slot_index in _scope(step.state, step.input):
        entry = step.state.slots[slot_index].entry
        if entry.is_live:
            with step.watching(slot_index):
                step.cancel(slot_index, ENTRY, entry)
    step.slot_index = NO_SLOT


def _require_sound_scope(wish: Input) -> None:
    if not is_sound(wish.strategy):
        raise Refused(Code.INVALID_INTENT, Field.STRATEGY)
    if not is_sound(wish.symbol):
        raise Refused(Code.INVALID_INTENT, Field.SYMBOL)


def _scope(state: State, wish: Input) -> list[int]:
    """Slots with an open trade of the strategy and in the symbol; empty means any."""
    return [
        index
        for index, slot in enumerate(state.slots)
        if is_busy(slot)
        and (is_empty(wish.strategy) or slot.strategy == wish.strategy)
        and (is_empty(wish.symbol) or slot.symbol == wish.symbol)
    ]


def freeze(step: Step) -> None:
    step.state.ledger.freeze_flags |= FREEZE_OPERATOR


def unfreeze(step: Step) -> None:
    step.state.ledger.freeze_flags &= ~FREEZE_OPERATOR
