"""Whatever is asked of the broker, in whatever order, with whatever faults: its books are right.

Steps are drawn at random; after each one the books are compared with what they must be, and at the end a second
broker is given the same calls and has to say the same, reply by reply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MILLISECOND_NS
from kestrel_simulators.matching import AMOUNT_SCALE
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.faults import SPOKEN_FAULTS
from simulators.tests.tws.broker.floor import ACCOUNT, Floor, decimal, order

CLIENTS = (0, 7, 8)
FAULTS = sorted(SPOKEN_FAULTS, key=lambda fault: fault.name)
KINDS = ("MKT", "LMT", "STP", "STP LMT", "TRAIL")
MODES = (paper_pb2.MATCHING_MODE_INSTANT, paper_pb2.MATCHING_MODE_REALISTIC, paper_pb2.MATCHING_MODE_ADVERSARIAL)
QUESTIONS = (
    requests.ReqPositions(),
    requests.ReqOpenOrders(),
    requests.ReqAllOpenOrders(),
    requests.ReqCompletedOrders(False),
    requests.ReqAccountUpdates(True, ACCOUNT),
    requests.ReqAutoOpenOrders(True),
    requests.ReqExecutions(9, 0, "", "", "", "", "", ""),
    requests.ReqPnl(10, ACCOUNT, ""),
)


def cents(number: int) -> str:
    return str(Number(number, 2))


def digits(number: int, *bases: int) -> list[int]:
    """Independent small numbers out of a large one."""
    drawn = []
    for base in bases:
        number, digit = divmod(number, base)
        drawn.append(digit)
    return drawn


def priced(number: int, side: str, kind: str, **more: Any) -> Any:
    """An order whose numbers all come from one."""
    qty, limit, stop, trail, tif = digits(number, 40, 2_000, 2_000, 500, 3)
    prices: dict[str, Any] = {}
    if kind in ("LMT", "STP LMT"):
        prices["limit"] = cents(9_000 + limit)
    if kind in ("STP", "STP LMT"):
        prices["stop"] = cents(9_000 + stop)
    if kind == "TRAIL":
        prices["trail"] = cents(1 + trail)
    return order(side, str(1 + qty), kind, tif=("DAY", "GTC", "")[tif], **prices, **more)


def place(floor: Floor, number: int, client_id: int) -> None:
    kind, side, group, kind_of_group, parent, held, rest = digits(number, 5, 2, 4, 4, 3, 4, 10**12)
    next_id = floor.broker.desk.next_order_id(client_id)
    more: dict[str, Any] = {"order_ref": f"r{number}", "transmit": held != 0}
    if group < 2:
        more |= {"oca_group": f"G{group}", "oca_type": kind_of_group}
    if parent == 0 and next_id > 1:
        more["parent_id"] = next_id - 1
    floor.place(next_id, priced(rest, ("BUY", "SELL")[side], KINDS[kind], **more), client_id)


def some_order(floor: Floor, number: int, client_id: int) -> Any:
    """One of a client's orders, most often a live one."""
    desk = floor.broker.desk
    every = desk.orders if number % 4 == 0 else desk.live
    mine = [each for each in every.values() if each.client_id == client_id]
    return mine[number // 4 % len(mine)] if mine else None


def modify(floor: Floor, number: int, client_id: int) -> None:
    known = some_order(floor, number, client_id)
    if known is not None:
        group = {"oca_group": known.terms.oca_group, "oca_type": known.terms.oca_type}
        terms = priced(
            number // 7, known.terms.action, known.terms.order_type, order_ref=known.terms.order_ref, **group
        )
        floor.place(known.order_id, terms, client_id)


def cancel(floor: Floor, number: int, client_id: int) -> None:
    known = some_order(floor, number, client_id)
    floor.cancel(known.order_id if known is not None else number, client_id)


def bar(floor: Floor, number: int, client_id: int) -> None:
    low, high = 9_000 + number % 900, 10_000 + number // 900 % 900
    open_, close = digits(number // 10**6, high - low + 1, high - low + 1)
    floor.bar(cents(low + open_), cents(high), cents(low), cents(low + close))


def quote(floor: Floor, number: int, client_id: int) -> None:
    floor.price(cents(9_000 + number * 11 % 2_000))


def wait(floor: Floor, number: int, client_id: int) -> None:
    floor.wait(number % 40_000)


def come_or_go(floor: Floor, number: int, client_id: int) -> None:
    if client_id in floor.broker.audience.connections:
        floor.disconnect(client_id)
    else:
        floor.connect(client_id)


def ask(floor: Floor, number: int, client_id: int) -> None:
    floor.ask(QUESTIONS[number % len(QUESTIONS)], client_id)


def set_fault(floor: Floor, number: int, client_id: int) -> None:
    floor.fault(FAULTS[number % len(FAULTS)], count=1 + number // 1000 % 3, delay_ms=number // 50 % 2 * 500)


def by_hand(floor: Floor, number: int, client_id: int) -> None:
    floor.control(
        tws_pb2.PlaceManualOrderRequest(
            account=ACCOUNT, symbol="AAPL", side=1 + number % 2, order_qty=Number(1 + number // 2 % 9, 0).message(),
            order_type="MKT" if number % 3 else "LMT", price=decimal(cents(9_500)), client_id=client_id,
        )
    )  # fmt: skip


def revise(floor: Floor, number: int, client_id: int) -> None:
    executions = floor.broker.desk.executions
    if not executions:
        return
    execution = executions[number % len(executions)]
    qty = None if number % 3 == 0 else Number(number % (execution.qty_units + 1), 0)
    record = tws_pb2.CorrectExecutionRequest(
        execution_id=execution.execution_id, price=decimal(cents(9_000 + number % 999))
    )
    if qty is not None:
        record.qty.CopyFrom(qty.message())
    floor.control(record)


def link(floor: Floor, number: int, client_id: int) -> None:
    floor.control(tws_pb2.SetConnectivityRequest(connectivity=1 + number % 3))


def hours(floor: Floor, number: int, client_id: int) -> None:
    floor.control(tws_pb2.SetMarketHoursRequest(hours=1 + number % 3))


def global_cancel(floor: Floor, number: int, client_id: int) -> None:
    floor.ask(requests.ReqGlobalCancel(), client_id)


def restart(floor: Floor, number: int, client_id: int) -> None:
    floor.call("restart")


def reset(floor: Floor, number: int, client_id: int) -> None:
    floor.now_ns += DAY_NS
    floor.control(tws_pb2.ResetDayRequest(roll_back_ids=number % 2 == 0))


Step = Callable[[Floor, int, int], None]
STEPS: tuple[Step, ...] = (
    *[place] * 10, *[modify] * 5, *[cancel] * 4, *[quote] * 5, *[set_fault] * 4, bar, bar, wait, wait,
    come_or_go, ask, ask, by_hand, revise, link, hours, global_cancel, restart, reset,
)  # fmt: skip


# ── What must be true ────────────────────────────────────────────────────────────────────────────────────


def check_books(floor: Floor) -> None:
    desk = floor.broker.desk
    for live in desk.orders.values():
        current = [each for each in live.executions if each.is_current]
        assert sum(each.qty_units for each in current) == live.filled_units <= live.qty_units
        assert live.remaining_units >= 0
    ledger = floor.ledger()
    current = [each for each in ledger.executions if each.is_current]
    signed = sum(each.qty.units if each.side == 1 else -each.qty.units for each in current)
    assert sum(each.qty.units for each in ledger.positions) == signed
    cash = Number(1_000_000, 0).at(AMOUNT_SCALE)
    for each in current:
        notional = (Number.of(each.price) * each.qty.units).at(AMOUNT_SCALE)
        cash = cash - notional if each.side == 1 else cash + notional
        cash = cash - Number.of(each.commission)
    assert Number.of(ledger.cash) == cash


def check_listeners(floor: Floor, connected_before: set[int]) -> None:
    """Nobody hears what is not for them: live facts about orders go to who placed them."""
    connected = connected_before | set(floor.broker.audience.connections)
    name, args, _ = floor.calls[-1]
    is_answer = name == "handle" and isinstance(args[1], requests.ReqAllOpenOrders | requests.ReqExecutions)
    for each in floor.last:
        assert each.client_id in connected
        reply = each.reply
        if isinstance(reply, replies.ExecDetails) and reply.req_id != -1:
            assert each.client_id == args[0]
        elif isinstance(reply, replies.OpenOrder | replies.OrderStatus | replies.ExecDetails) and not is_answer:
            assert reply.client_id == each.client_id
            if reply.order_id <= 0:
                assert floor.broker.audience.connections[0].sees_manual_orders


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mode=st.sampled_from(MODES),
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 10**18), st.sampled_from(CLIENTS)), min_size=5, max_size=40
    ),
)
def test_any_sequence_leaves_right_books_and_can_be_replayed_T10_X11(mode: int, steps: list[Any]) -> None:
    floor = Floor()
    floor.control(tws_pb2.OpenAccountRequest(account=ACCOUNT, wallet=decimal("1000000.00"), currency="USD"))
    floor.control(tws_pb2.SetModeRequest(mode=mode, seed=3, delay_scale_permille=1000, commission_delay_ms=100))
    floor.price("100.00")
    for client_id in CLIENTS:
        floor.connect(client_id)
    for step, number, client_id in steps:
        connected = set(floor.broker.audience.connections)
        floor.now_ns += MILLISECOND_NS
        try:
            if step in (place, modify, cancel, ask) and client_id not in connected:
                floor.connect(client_id)
            step(floor, number, client_id)
        except (Refused, InvalidRequest):
            assert step in (by_hand, revise, come_or_go)
        else:
            check_listeners(floor, connected)
        check_books(floor)
    twin = floor.replayed()
    assert twin.every == floor.every
    assert twin.ledger() == floor.ledger()
    assert twin.broker.next_deadline_ns() == floor.broker.next_deadline_ns()
