"""What the venue and the clock tell of orders, and of prices."""

from __future__ import annotations

from tests.reference.book import unrealized_pnl
from tests.reference.inputs import is_empty, is_sound
from tests.reference.machines import is_busy, next_life
from tests.reference.numbers import DoesNotFit, rescale
from tests.reference.state import STOP, TARGET, Order, Slot, State
from tests.reference.step import Refused, Step
from tests.reference.words import NEVER_NS, NO_SLOT, SCALE_MAX, Code, Fact, Field, Life

_ANOMALY_OF = {
    Fact.REJECTED: Code.VENUE_REJECTED,
    Fact.DENIED: Code.GATEWAY_DENIED,
    Fact.IN_DOUBT: Code.ORDER_IN_DOUBT,
}


def report(step: Step) -> None:
    """An execution report that is no fill."""
    state, report_ = step.state, step.input
    if not is_sound(report_.client_order_id):
        raise Refused(Code.INVALID_EVENT, Field.CLIENT_ORDER_ID)
    if not is_sound(report_.venue_order_id):
        raise Refused(Code.INVALID_EVENT, Field.VENUE_ORDER_ID)
    if not report_.client_order_id and not report_.venue_order_id:
        raise Refused(Code.INVALID_EVENT, Field.CLIENT_ORDER_ID)
    if not Fact.NONE < report_.order_fact < Fact.TRADED:
        raise Refused(Code.INVALID_EVENT, Field.ORDER_FACT)
    found = state.find_order(venue_order_id=report_.venue_order_id, client_order_id=report_.client_order_id)
    if found is None:
        raise Refused(Code.UNRESOLVED_SLOT, Field.CLIENT_ORDER_ID)
    slot_index, ordinal = found
    order = state.slots[slot_index].order(ordinal)
    assert order is not None
    fact = Fact(report_.order_fact)
    life = next_life(order.life, fact)
    if life is None or (order.is_done and fact != Fact.ACKNOWLEDGED):
        raise Refused(Code.ILLEGAL_TRANSITION, Field.ORDER_FACT, fact, slot_index)

    with step.watching(slot_index):
        order.life = life
        _learn(order, fact, report_.now_ns)
        learn_venue_order_id(state, order, report_.venue_order_id)
        if fact in _ANOMALY_OF:
            step.flag(_ANOMALY_OF[fact], slot_index, order.client_order_id)
        if fact != Fact.CANCEL_REJECTED:
            step.watch_protection(slot_index)
        elif ordinal in (STOP, TARGET) and not state.slots[slot_index].may_hold_something:
            step.flag(Code.PROTECTION_LEFT, slot_index, order.client_order_id)


def _learn(order: Order, fact: Fact, now_ns: int) -> None:
    """When it was sent; whether a cancel is pending; how sure we are."""
    if fact == Fact.SUBMITTING or (order.submitted_at_ns == 0 and fact != Fact.DENIED):
        order.submitted_at_ns = now_ns
    if fact == Fact.SUBMITTING:
        return
    if fact == Fact.CANCEL_REJECTED or order.has_ended:
        order.cancel_pending = 0
    order.in_doubt = int(fact == Fact.IN_DOUBT)
    if order.in_doubt:
        order.is_stalled = 1


def learn_venue_order_id(state: State, order: Order, venue_order_id: bytes) -> None:
    """Unless it has one, or another order goes by it."""
    if venue_order_id and not order.venue_order_id and state.find_order(venue_order_id=venue_order_id) is None:
        order.venue_order_id = venue_order_id


# --- marks -----------------------------------------------------------------------------------------------------------


def mark_price(step: Step) -> None:
    state, mark = step.state, step.input
    if is_empty(mark.symbol):
        raise Refused(Code.INVALID_EVENT, Field.SYMBOL)
    if mark.price_scale > SCALE_MAX:
        raise Refused(Code.INVALID_EVENT, Field.PRICE_SCALE)
    if mark.price <= 0:
        raise Refused(Code.INVALID_EVENT, Field.PRICE, mark.price)
    marks: dict[int, int] = {}
    for slot_index, slot in enumerate(state.slots):
        if slot.symbol != mark.symbol or not is_busy(slot):
            continue
        try:
            marks[slot_index], _ = rescale(mark.price, mark.price_scale, slot.price_scale)
            unrealized_pnl(slot, slot.book, state.config.amount_scale, marks[slot_index])
        except DoesNotFit:
            raise Refused(Code.OVERFLOW, Field.PRICE, mark.price, slot_index) from None

    for slot_index, price in marks.items():
        with step.watching(slot_index):
            state.slots[slot_index].mark = price


# --- time ------------------------------------------------------------------------------------------------------------


def tick(step: Step) -> None:
    """Nothing is sent again: a person decides, or a late fact does."""
    state = step.state
    for slot_index, slot in enumerate(state.slots):
        for order in _orders_with_deadlines(slot):
            deadline_ns = _deadline_ns(order, state.config.ack_timeout_ns)
            if deadline_ns != NEVER_NS and step.input.now_ns >= deadline_ns:
                with step.watching(slot_index):
                    order.is_stalled = 1
                    step.flag(Code.ORDER_STALLED, slot_index, order.client_order_id)
    step.slot_index = NO_SLOT


def next_deadline_ns(state: State) -> int:
    """When the kernel wants a TICK."""
    deadlines_ns = (
        _deadline_ns(order, state.config.ack_timeout_ns)
        for slot in state.slots
        for order in _orders_with_deadlines(slot)
    )
    return min(deadlines_ns, default=NEVER_NS)


def _orders_with_deadlines(slot: Slot) -> list[Order]:
    """The entry, the last exit and the protective orders of an open trade, while sent and unanswered."""
    if not is_busy(slot):
        return []
    orders = [slot.entry, slot.last_exit, *slot.protectives.values()]
    return [order for order in orders if order and order.life == Life.SENT and not order.is_stalled and order.is_live]


def _deadline_ns(order: Order, timeout_ns: int) -> int:
    return min(NEVER_NS, order.submitted_at_ns + timeout_ns)
