"""Money to the unit: average cost with commissions and multiplier, realized profit, corrections, busts, drift."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import AMOUNT_SCALE, Instrument
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.money import Booking, Commission, Holding, amount
from simulators.tests.tws.broker.floor import ACCOUNT, decimal, order

SHARE = Instrument("AAPL", 1, "USD", price_scale=2, qty_scale=0, tick_units=1, lot_units=1, multiplier=1)
FUTURE = Instrument("ES", 1, "USD", price_scale=2, qty_scale=0, tick_units=25, lot_units=1, multiplier=50)
DOLLAR = 10**AMOUNT_SCALE


# ── Holdings ─────────────────────────────────────────────────────────────────────────────────────────────


def test_average_cost_contains_commission_and_multiplier() -> None:
    share, future = Holding(SHARE), Holding(FUTURE)
    share.book(Booking(10, 100_00, 1 * DOLLAR))
    future.book(Booking(2, 5000_00, 4 * DOLLAR))
    assert str(share.average_cost) == "100.10000000"
    assert str(future.average_cost) == "250002.00000000"


def test_average_cost_of_a_short_position_is_less_by_the_commission() -> None:
    holding = Holding(SHARE)
    holding.book(Booking(-10, 100_00, 1 * DOLLAR))
    assert str(holding.average_cost) == "99.90000000"
    assert holding.cash_units == 999 * DOLLAR
    assert holding.market_value_units(101_00) == -1010 * DOLLAR
    assert holding.unrealized_units(101_00) == -11 * DOLLAR


def test_closing_realizes_what_was_brought_less_both_commissions_and_opening_realizes_nothing() -> None:
    holding = Holding(SHARE)
    assert holding.book(Booking(10, 100_00, 1 * DOLLAR)) is None
    assert holding.book(Booking(-4, 110_00, 1 * DOLLAR)) == 40 * DOLLAR - 40_000_000 - 1 * DOLLAR
    assert str(holding.average_cost) == "100.10000000"
    assert holding.book(Booking(0, 100_00)) is None


def test_an_execution_that_crosses_closes_and_opens_and_shares_its_commission() -> None:
    holding = Holding(SHARE)
    holding.book(Booking(10, 100_00, 1 * DOLLAR))
    realized = holding.book(Booking(-20, 110_00, 2 * DOLLAR))
    assert realized == 100 * DOLLAR - 1 * DOLLAR - 1 * DOLLAR
    assert holding.qty_units == -10
    assert str(holding.average_cost) == "109.90000000"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 100_000), st.integers(0, 10**9))))
def test_cash_and_cost_and_profit_always_add_up(bookings: list[tuple[int, int, int]]) -> None:
    """Cash is what was paid, to the unit; realized profit is cash plus the cost of what is open."""
    holding = Holding.fold(SHARE, [Booking(*each) for each in bookings])
    assert holding.qty_units == sum(qty for qty, _, _ in bookings)
    paid = sum(qty * price * DOLLAR // 100 + commission for qty, price, commission in bookings)
    assert holding.cash_units == -paid
    cost = holding.cost_units if holding.qty_units >= 0 else -holding.cost_units
    assert holding.realized_units == holding.cash_units + cost
    if holding.qty_units:
        exact = Fraction(holding.cost_units, abs(holding.qty_units) * DOLLAR)
        assert abs(Fraction(holding.average_cost.decimal()) - exact) <= Fraction(1, 10**8)


@pytest.mark.parametrize(
    ("qty", "notional", "expected"),
    [(10, "1000", "1.00"), (1000, "100000", "5.00"), (1, "50", "0.50"), (3, "900", "1.00")],
)
def test_commission_is_by_quantity_with_a_minimum_and_at_most_a_part_of_the_notional(
    qty: int, notional: str, expected: str
) -> None:
    units = Number.parse(notional).at(AMOUNT_SCALE).units
    assert str(amount(Commission().of_order(SHARE, qty, units))) == expected


def test_amounts_are_written_with_two_decimals_or_as_many_as_they_need() -> None:
    assert str(amount(123_45000000)) == "123.45"
    assert str(amount(100_00000001)) == "100.00000001"
    assert str(amount(-5 * DOLLAR)) == "-5.00"


# ── Commissions of orders ────────────────────────────────────────────────────────────────────────────────


def test_an_order_in_parts_pays_its_minimum_once(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    desk = floor.broker.desk
    live = desk.order_of(7, 3)
    for _ in range(2):
        floor.broker.engine.execute(ACCOUNT, live.key, Number(5, 0), now_ns=floor.now_ns)
    assert [each.commission_units for each in live.executions] == [1 * DOLLAR, 0]


def test_costs_can_be_set_and_bad_ones_are_refused(floor: Any) -> None:
    def mode(**more: Any) -> tws_pb2.SetModeRequest:
        return tws_pb2.SetModeRequest(mode=1, seed=1, **more)

    dear = tws_pb2.Commission(per_unit=decimal("1.00"), minimum=decimal("0"), notional_ppm_max=1_000_000)
    floor.control(mode(commission=dear, commission_delay_ms=0, slippage_ppm_max=0))
    assert floor.place(3, order("BUY", "10"))[-1] == "fee 10.00"
    negative = tws_pb2.Commission(per_unit=decimal("-1"), minimum=decimal("0"))
    greedy = tws_pb2.Commission(per_unit=decimal("1"), minimum=decimal("0"), notional_ppm_max=1_000_001)
    for bad in (mode(commission=negative), mode(commission=greedy), tws_pb2.SetModeRequest()):
        with pytest.raises(InvalidRequest):
            floor.control(bad)
    assert floor.place(4, order("BUY", "10"))[-1] == "fee 10.00"


# ── Corrections and busts ────────────────────────────────────────────────────────────────────────────────


def bought(floor: Any) -> str:
    floor.ask(requests.ReqPositions())
    floor.place(3, order("BUY", "10"))
    return str(floor.replies(replies.ExecDetails)[0].exec_id)


def test_a_correction_is_the_same_execution_with_the_next_revision_and_restates_the_books(floor: Any) -> None:
    execution_id = bought(floor)
    said = floor.control(
        tws_pb2.CorrectExecutionRequest(execution_id=execution_id, qty=decimal("6"), price=decimal("99.50"))
    )
    assert said == ["exec 3 BOT 6@99.50", "fee 1.00", "position 6 at 99.6667"]
    corrected = floor.replies(replies.ExecDetails)[0].exec_id
    assert (execution_id[-3:], corrected[-3:]) == (".01", ".02")
    assert corrected[:-3] == execution_id[:-3]
    assert floor.cash == "999402.00"
    ledger = floor.ledger()
    assert [each.is_current for each in ledger.executions] == [False, True]
    assert Number.of(ledger.orders[0].cum_qty) == Number(6, 0)


def test_an_execution_that_is_busted_gives_back_its_money_and_its_commission(floor: Any) -> None:
    execution_id = bought(floor)
    said = floor.control(tws_pb2.BustExecutionRequest(execution_id=execution_id))
    assert said == ["exec 3 BOT 0@100.00", "fee 0.00", "position 0 at 0.0000"]
    assert floor.cash == "1000000.00"
    assert floor.ask(requests.ReqPositions()) == ["PositionEnd"]
    assert floor.price("100.00") == []


def test_a_correction_in_the_past_changes_the_profit_of_what_came_after_it(floor: Any) -> None:
    execution_id = bought(floor)
    floor.place(4, order("SELL", "10"))
    assert floor.ledger().positions[0].realized_pnl.units == -200
    floor.control(tws_pb2.CorrectExecutionRequest(execution_id=execution_id, price=decimal("90.00")))
    assert str(Number.of(floor.ledger().positions[0].realized_pnl)) == "98.00"
    assert floor.cash == "1000098.00"


def test_every_revision_is_among_the_executions_of_the_day(floor: Any) -> None:
    execution_id = bought(floor)
    floor.control(tws_pb2.CorrectExecutionRequest(execution_id=execution_id, qty=decimal("6")))
    said = floor.ask(requests.ReqExecutions(9, 0, "", "", "", "", "", ""))
    assert said[:3] == ["exec 3 BOT 10@100.00", "exec 3 BOT 6@100.00", "ExecDetailsEnd"]


def test_corrections_that_cannot_be_are_refused_and_change_nothing(floor: Any) -> None:
    execution_id = bought(floor)
    for bad in (
        tws_pb2.CorrectExecutionRequest(execution_id=execution_id, qty=decimal("11")),
        tws_pb2.CorrectExecutionRequest(execution_id=execution_id, qty=decimal("-1")),
        tws_pb2.CorrectExecutionRequest(execution_id=execution_id, price=decimal("0")),
    ):
        with pytest.raises(InvalidRequest):
            floor.control(bad)
    with pytest.raises(Refused):
        floor.control(tws_pb2.BustExecutionRequest(execution_id="0.0.0.1"))
    assert len(floor.ledger().executions) == 1
    assert floor.cash == "998999.00"


# ── Drift ────────────────────────────────────────────────────────────────────────────────────────────────


def drift(qty: str, symbol: str = "AAPL", account: str = ACCOUNT) -> tws_pb2.InduceDriftRequest:
    return tws_pb2.InduceDriftRequest(account=account, symbol=symbol, qty=decimal(qty))


def test_a_drift_moves_the_position_and_no_money(floor: Any) -> None:
    bought(floor)
    assert floor.control(drift("-3")) == ["position 7 at 100.1000"]
    assert floor.cash == "998999.00"


def test_a_drift_survives_a_correction(floor: Any) -> None:
    execution_id = bought(floor)
    floor.control(drift("-3"))
    floor.control(tws_pb2.CorrectExecutionRequest(execution_id=execution_id, qty=decimal("6")))
    assert floor.ledger().positions[0].qty.units == 3


def test_a_drift_of_nothing_or_of_what_is_not_there_is_refused(floor: Any) -> None:
    with pytest.raises(InvalidRequest):
        floor.control(drift("0"))
    for bad in (drift("1", symbol="NOPE"), drift("1", account="DU9")):
        with pytest.raises(Refused):
            floor.control(bad)
    with pytest.raises(Refused):
        floor.broker.ledger(tws_pb2.GetLedgerRequest(account="DU9"))
