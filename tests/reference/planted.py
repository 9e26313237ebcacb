"""Twins of the reference with one small bug each. Comparing a twin with the library must find every one of them.

Several are defects that cost others money: a fee rounded the wrong way, a late entry fill taken for an exit, a limit
taken for a fill price, profit settled twice after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from tests.reference import book as books
from tests.reference import fees, fills, ledger, orders, requests, step
from tests.reference.digest import chain_execution
from tests.reference.inputs import Input
from tests.reference.kernel import RULES, Kernel
from tests.reference.machines import NEXT_LIFE, is_busy
from tests.reference.numbers import divide_down
from tests.reference.state import ENTRY, Book, Execution, Ledger, Order, Slot, State, copied
from tests.reference.step import Refused, Step
from tests.reference.words import HAS_PRICE, NEVER_NS, Code, Fact, Field, InputKind, Life, Side

Plant = Callable[[], AbstractContextManager[None]]
PLANTS: dict[str, Plant] = {}


def plant(function: Callable[[], Iterator[None]]) -> Plant:
    """Register a bug under its function's name."""
    manager: Plant = contextmanager(function)
    PLANTS[function.__name__] = manager
    return manager


def _replacing(owner: Any, name: str, change: Callable[[Any], Any]) -> AbstractContextManager[Any]:
    """While it lasts, a function is what ``change`` makes of it."""
    return patch.object(owner, name, change(getattr(owner, name)))


@plant
def a_predicted_fee_is_rounded_down() -> Iterator[None]:
    with patch.object(fees, "divide_up", divide_down):
        yield


@plant
def a_late_entry_fill_is_taken_for_an_exit() -> Iterator[None]:
    def change(route_of: Callable[[State, Input], fills.Route | None]) -> Any:
        def route(state: State, report: Input) -> fills.Route | None:
            found = route_of(state, report)
            if found is not None and found.ordinal == ENTRY and state.slots[found.slot_index].live_exit is not None:
                return fills.Route(found.slot_index, state.slots[found.slot_index].exit_count, is_exit=True)
            return found

        return route

    with _replacing(fills, "_route", change):
        yield


@plant
def the_entry_price_is_that_of_the_last_fill() -> Iterator[None]:
    def change(add: Callable[[Book, int, Execution], None]) -> Any:
        def add_last(book: Book, direction: int, execution: Execution) -> None:
            add(book, direction, execution)
            if not execution.is_exit and not execution.is_skipped:
                book.entry_notional = execution.notional // execution.qty * book.entry_qty

        return add_last

    with _replacing(books, "add", change):
        yield


@plant
def the_window_of_events_is_one_short() -> Iterator[None]:
    def change(remember: Callable[[Kernel, Input], None]) -> Any:
        def remember_less(kernel: Kernel, value: Input) -> None:
            remember(kernel, value)
            if len(kernel.state.events) == kernel.state.config.window_count:
                del kernel.state.events[next(iter(kernel.state.events))]

        return remember_less

    with _replacing(Kernel, "_remember", change):
        yield


@plant
def the_window_of_executions_is_one_long() -> Iterator[None]:
    def remember(state: State, execution: Execution) -> None:
        state.executions[execution.execution_id] = execution
        state.ledger.execution_count += 1
        chain_execution(state, execution)
        if len(state.executions) > state.config.window_count + 1:
            del state.executions[next(iter(state.executions))]

    with patch.object(fills, "_remember", remember):
        yield


@plant
def the_next_exit_leg_is_never_reached() -> Iterator[None]:
    def change(learn: Callable[[Slot, Order | None], None]) -> Any:
        def learn_less(slot: Slot, order: Order | None) -> None:
            leg = slot.active_leg_index
            learn(slot, order)
            slot.active_leg_index = leg

        return learn_less

    with _replacing(fills, "_learn_traded", change):
        yield


@plant
def the_cost_of_a_skipped_fill_is_dropped() -> Iterator[None]:
    def change(add: Callable[[Book, int, Execution], None]) -> Any:
        def add_without(book: Book, direction: int, execution: Execution) -> None:
            add(book, direction, execution)
            book.skipped_cost -= execution.skipped_cost

        return add_without

    with _replacing(books, "add", change):
        yield


@plant
def a_freeze_blocks_exits_too() -> Iterator[None]:
    def exit_unless_frozen(step_: Step) -> None:
        if step_.state.ledger.freeze_flags:
            raise Refused(Code.ENTRY_FROZEN)
        requests.exit_trade(step_)

    with patch.dict(RULES, {InputKind.EXIT: exit_unless_frozen}):
        yield


@plant
def the_ledger_delta_has_the_wrong_sign() -> Iterator[None]:
    def change(anchor: Callable[..., None]) -> Any:
        def anchor_negated(ledger_: Ledger, *arguments: Any) -> None:
            ledger_.ledger_delta = -ledger_.ledger_delta
            anchor(ledger_, *arguments)

        return anchor_negated

    with _replacing(ledger, "_anchor", change):
        yield


@plant
def a_bust_leaves_the_order_counted() -> Iterator[None]:
    with patch.object(fills, "_uncount", lambda order, execution: None):
        yield


@plant
def a_settlement_can_come_twice() -> Iterator[None]:
    def settle_again(step_: Step) -> None:
        execution = step_.state.executions.get(step_.input.execution_id)
        if execution is not None and not execution.is_busted:
            execution.is_settled = 0
        fills.settlement(step_)

    with patch.dict(RULES, {InputKind.SETTLEMENT: settle_again}):
        yield


@plant
def a_late_fill_brings_a_canceled_order_back_to_work() -> Iterator[None]:
    with patch.dict(NEXT_LIFE[Life.CANCELED], {Fact.TRADED: Life.WORKING}):
        yield


@plant
def a_fill_of_an_unknown_order_falls_back_to_slot_0() -> Iterator[None]:
    def change(route_of: Callable[[State, Input], fills.Route | None]) -> Any:
        def route(state: State, report: Input) -> fills.Route | None:
            found = route_of(state, report)
            if found is None and state.slots[0].trade_sequence:
                return fills.Route(0, ENTRY, is_exit=False)
            return found

        return route

    with _replacing(fills, "_route", change):
        yield


@plant
def the_limit_stands_in_for_a_missing_fill_price() -> Iterator[None]:
    def change(read: Callable[..., bool]) -> Any:
        def read_figures(state: State, slot: Slot, report: Input, execution: Execution, slot_index: int) -> bool:
            order = slot.order(execution.ordinal)
            if not report.states(HAS_PRICE) and order is not None and order.has_price:
                report = copied(report)
                report.flags |= HAS_PRICE
                report.price, report.price_scale = order.price, slot.price_scale
            return read(state, slot, report, execution, slot_index)

        return read_figures

    with _replacing(fills, "_read_figures", change):
        yield


@plant
def a_frame_without_a_wallet_is_folded() -> Iterator[None]:
    with patch.object(ledger, "_require_wallet", lambda frame: None):
        yield


@plant
def leverage_inflates_the_profit() -> Iterator[None]:
    def change(add: Callable[[Book, int, Execution], None]) -> Any:
        def fold(state: State, change_: fills.Change, execution: Execution, *, bridges: bool) -> None:
            add(state, change_, execution, bridges=bridges)  # type: ignore[arg-type,call-arg]
            if execution.is_exit:
                change_.ledger.realized += execution.realized * (change_.slot.leverage - 1)

        return fold

    with _replacing(fills, "_fold", change):
        yield


@plant
def an_adopted_position_books_its_past() -> Iterator[None]:
    def adopt(step_: Step) -> None:
        requests.adopt(step_)
        step_.state.ledger.realized += 1

    with patch.dict(RULES, {InputKind.ADOPT: adopt}):
        yield


@plant
def funding_is_taken_for_profit() -> Iterator[None]:
    def funding(step_: Step) -> None:
        ledger.funding(step_)
        step_.state.ledger.realized += step_.input.amount

    with patch.dict(RULES, {InputKind.FUNDING: funding}):
        yield


@plant
def a_refused_fee_sample_is_learned_all_the_same() -> Iterator[None]:
    with patch.object(fees, "FEE_GUARD_BPS", 10**6):
        yield


@plant
def an_order_stalls_one_nanosecond_late() -> Iterator[None]:
    def deadline_ns(order: Order, timeout_ns: int) -> int:
        return min(NEVER_NS, order.submitted_at_ns + timeout_ns + 1)

    with patch.object(orders, "_deadline_ns", deadline_ns):
        yield


@plant
def a_price_too_fine_is_rounded_in_our_favor() -> Iterator[None]:
    def change(rescale: Callable[..., tuple[int, bool]]) -> Any:
        def rescale_down(units: int, from_scale: int, to_scale: int, *, up: bool = False) -> tuple[int, bool]:
            return rescale(units, from_scale, to_scale, up=False)

        return rescale_down

    with _replacing(fills, "rescale", change):
        yield


@plant
def an_exit_may_be_larger_than_the_position() -> Iterator[None]:
    def change(read: Callable[..., tuple[int, bool]]) -> Any:
        def exit_qty(wish: Input, slot: Slot, remaining_qty: int) -> tuple[int, bool]:
            qty, is_repaired = read(wish, slot, remaining_qty)
            if is_repaired and remaining_qty < wish.qty < 2**62 and wish.qty_scale == slot.qty_scale:
                return wish.qty, False
            return qty, is_repaired

        return exit_qty

    with _replacing(requests, "_exit_qty", change):
        yield


@plant
def two_trades_may_share_a_symbol() -> Iterator[None]:
    def place_for(state: State, wish: Input, *, without: Refused) -> int:
        free = [index for index, slot in enumerate(state.slots) if not is_busy(slot)]
        place = state.find_trade(wish.trade_id)
        if place is None and not free:
            raise without
        return place if place is not None else min(free, key=lambda index: state.slots[index].close_sequence)

    with patch.object(requests, "_place_for", place_for):
        yield


@plant
def a_slot_is_reused_at_once_and_late_fills_lose_their_trade() -> Iterator[None]:
    def change(settle: Callable[..., None]) -> Any:
        def settle_first(self: Step, slot_index: int, before: Any, *, was_busy: bool) -> None:
            settle(self, slot_index, before, was_busy=was_busy)
            slot = self.state.slots[slot_index]
            slot.close_sequence = min(slot.close_sequence, 1)

        return settle_first

    with _replacing(step.Step, "settle", change):
        yield


@plant
def a_side_mismatch_is_refused() -> Iterator[None]:
    def fill(step_: Step) -> None:
        report = step_.input
        route = fills._route(step_.state, report)
        if route is not None and not route.is_by_stage and report.side in (Side.BUY, Side.SELL):
            entry_side = step_.state.slots[route.slot_index].entry.side
            if (report.side == entry_side) == route.is_exit:
                raise Refused(Code.INVALID_EVENT, Field.SIDE, report.side)
        fills.fill(step_)

    with patch.dict(RULES, {InputKind.FILL: fill}):
        yield


@plant
def a_stop_outlives_its_trade() -> Iterator[None]:
    def watch(self: Step, slot_index: int) -> None:
        """Nothing is taken back."""

    with patch.object(step.Step, "watch_protection", watch):
        yield


@plant
def a_bracket_is_left_in_part_under_its_whole_stop() -> Iterator[None]:
    def change(read: Callable[..., tuple[int, bool]]) -> Any:
        def exit_qty(wish: Input, slot: Slot, remaining_qty: int) -> tuple[int, bool]:
            plain = copied(slot)
            plain.is_bracket = 0
            return read(wish, plain, remaining_qty)

        return exit_qty

    with _replacing(requests, "_exit_qty", change):
        yield


@plant
def the_stop_of_a_short_trade_stands_below_it() -> Iterator[None]:
    def change(bad: Callable[[Input], Iterator[Field]]) -> Any:
        def bad_fields(wish: Input) -> Iterator[Field]:
            long = copied(wish)
            long.side = Side.BUY
            yield from bad(long)

        return bad_fields

    with _replacing(requests, "_bad_bracket_fields", change):
        yield


@plant
def a_fill_of_a_stop_is_booked_at_its_trigger() -> Iterator[None]:
    def change(read: Callable[..., bool]) -> Any:
        def read_figures(state: State, slot: Slot, report: Input, execution: Execution, slot_index: int) -> bool:
            stop = slot.protectives.get(execution.ordinal)
            if stop is not None and report.states(HAS_PRICE):
                report = copied(report)
                report.price, report.price_scale = stop.price, slot.price_scale
            return read(state, slot, report, execution, slot_index)

        return read_figures

    with _replacing(fills, "_read_figures", change):
        yield
