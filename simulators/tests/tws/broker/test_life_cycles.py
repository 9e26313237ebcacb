"""The lives of orders, each as the list of what is said about it, in the order in which it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, SECOND_NS
from kestrel_simulators.matching import Chance, Fate, Mode, draw
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.terms import Contract
from simulators.tests.tws.broker.floor import ACCOUNT, APPLE, order

FILL = ["exec {id} {side} {qty}@{price}"] + ["open {id} Filled", "status {id} Filled {qty}/{qty}"] * 2


def filled(order_id: int, side: str, qty: str, price: str, *fee: str) -> list[str]:
    """What is said about a fill of everything, positions and accounts not being subscribed."""
    said = [text.format(id=order_id, side=side, qty=qty, price=price) for text in FILL]
    return [*said, *(fee or ["fee 1.00"])]


def key_with(fate: Fate, mode: Mode, seed: int = 7) -> str:
    """An order reference that this fate falls to."""
    return next(key for key in (f"r{n}" for n in range(10_000)) if draw(Chance(mode, seed), key).fate is fate)


# ── Simple orders ────────────────────────────────────────────────────────────────────────────────────────


def test_a_market_order_is_acknowledged_executed_and_said_to_be_filled_twice_T15(floor: Any) -> None:
    said = floor.place(3, order("BUY", "10"))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/10", *filled(3, "BOT", "10", "100.00")]


def test_after_a_fill_subscribers_hear_of_the_position_and_then_of_the_portfolio(floor: Any) -> None:
    floor.ask(requests.ReqPositions())
    floor.ask(requests.ReqAccountUpdates(True, ACCOUNT))
    said = floor.place(3, order("BUY", "10"))
    assert said[-3:] == ["fee 1.00", "position 10 at 100.1000", "portfolio 10"]
    cash = {each.key: each.value for each in floor.replies(replies.AccountValue)}
    assert cash["TotalCashValue"] == "998999.00"


def test_a_commission_report_has_its_own_delay(make_floor: Any) -> None:
    floor = make_floor(commission_delay_ms=100)
    assert "fee 1.00" not in floor.place(3, order("BUY", "10"))
    assert floor.wait(99) == []
    assert floor.wait(1) == ["fee 1.00"]


def test_a_limit_order_rests_and_is_filled_when_the_price_comes(floor: Any) -> None:
    said = floor.place(3, order("BUY", "10", "LMT", limit="95.0"))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/10"]
    assert floor.price("96.00") == []
    assert floor.price("94.00") == filled(3, "BOT", "10", "94.00")


def test_a_partial_fill_stays_submitted_until_the_rest_is_filled(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    reference = key_with(Fate.PARTIAL, Mode.REALISTIC)
    said = floor.place(3, order("BUY", "100", order_ref=reference))
    first = floor.replies(replies.ExecDetails)[0].shares
    assert said[2:5] == [f"exec 3 BOT {first}@100.00", "open 3 Submitted", f"status 3 Submitted {first}/100"]
    said = floor.price("101.00")
    assert said[0] == f"exec 3 BOT {Number(100, 0) - first}@101.00"
    assert said[2] == "status 3 Filled 100/100"
    assert floor.replies(replies.ExecDetails)[0].cum_qty == Number(100, 0)


def test_a_cancel_is_pending_then_confirmed_by_a_status_and_202_in_either_order(floor: Any) -> None:
    orders_of_confirmation = set()
    for order_id in (3, 4):
        floor.place(order_id, order("BUY", "10", "LMT", limit="95.0"))
        said = floor.cancel(order_id)
        assert said[0] == f"status {order_id} PendingCancel 0/10"
        assert sorted(said[1:]) == [f"error {order_id} 202", f"status {order_id} Cancelled 0/10"]
        orders_of_confirmation.add(said[1].split()[0])
    assert orders_of_confirmation == {"status", "error"}


def test_a_stop_waits_as_presubmitted_and_fills_from_there(floor: Any) -> None:
    said = floor.place(3, order("SELL", "10", "STP", stop="90.00"))
    assert said == ["open 3 PreSubmitted", "status 3 PreSubmitted 0/10"]
    assert floor.price("89.00") == filled(3, "SLD", "10", "89.00")


def test_a_stop_limit_order_is_submitted_when_it_wakes_up(floor: Any) -> None:
    floor.place(3, order("SELL", "10", "STP LMT", limit="95.00", stop="90.00"))
    assert floor.price("89.00") == ["open 3 Submitted", "status 3 Submitted 0/10"]
    assert floor.price("96.00") == filled(3, "SLD", "10", "96.00")


def test_a_trailing_stop_follows_the_price_up_and_never_down(floor: Any) -> None:
    floor.place(3, order("SELL", "10", "TRAIL", trail="5.00"))
    stops = []
    for price in ("110.00", "107.00", "112.00"):
        assert floor.price(price) == []
        stops.append(str(floor.broker.desk.live[1_900_000_001].stop_price))
    assert stops == ["105.00", "105.00", "107.00"]
    assert floor.price("106.50") == filled(3, "SLD", "10", "106.50")


def test_a_trailing_stop_may_be_a_percentage(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "TRAIL", trailing_percent=Number.parse("2.5")))
    floor.price("80.00")
    assert str(floor.broker.desk.live[1_900_000_001].stop_price) == "82.00"
    assert floor.price("82.50")[0] == "exec 3 BOT 10@82.50"


def test_a_trailing_stop_may_begin_where_it_is_told_to(floor: Any) -> None:
    floor.place(3, order("SELL", "10", "TRAIL", trail="5.00", trail_stop_price=Number.parse("97.00")))
    assert floor.replies(replies.OpenOrder)[0].order.trail_stop_price == Number.parse("97.00")


def test_a_modified_trailing_stop_stays_where_it_is_unless_how_it_follows_is_changed(floor: Any) -> None:
    floor.place(3, order("SELL", "10", "TRAIL", trail="5.00"))
    floor.price("110.00")
    floor.price("107.00")
    floor.place(3, order("SELL", "12", "TRAIL", trail="5.00"))
    live = floor.broker.desk.order_of(7, 3)
    assert (str(live.stop_price), live.remaining_units) == ("105.00", 12)
    floor.place(3, order("SELL", "12", "TRAIL", trail="4.00"))
    assert str(live.stop_price) == "103.00"
    assert floor.price("103.00")[0] == "exec 3 SLD 12@103.00"


def test_what_an_immediate_order_cannot_get_at_once_is_canceled_by_the_broker(floor: Any) -> None:
    said = floor.place(3, order("BUY", "10", "LMT", limit="95.00", tif="IOC"))
    assert sorted(said[2:]) == ["error 3 202", "status 3 Cancelled 0/10"]


def test_an_order_for_the_day_ends_with_it(floor: Any) -> None:
    floor.bar("100.00", "100.00", "100.00", "100.00")
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    said = floor.bar("100.00", "100.00", "99.00", "100.00")
    assert sorted(said) == ["error 3 202", "status 3 Cancelled 0/10"]


def test_a_rejection_is_201_then_inactive_and_is_listed_as_canceled(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_ADVERSARIAL)
    reference = key_with(Fate.REJECT, Mode.ADVERSARIAL)
    said = floor.place(3, order("BUY", "10", order_ref=reference))
    assert said == ["error 3 201", "open 3 Inactive", "status 3 Inactive 0/10"]
    said = floor.ask(requests.ReqCompletedOrders(False))
    assert said == [f"completed {reference} Cancelled 0", "CompletedOrderEnd"]
    assert floor.replies(replies.CompletedOrder)[0].completed_status.startswith("Rejected")


def test_an_order_that_would_bind_more_than_there_is_is_rejected(floor: Any) -> None:
    said = floor.place(3, order("BUY", "40001"))
    assert said == ["error 3 201", "open 3 Inactive", "status 3 Inactive 0/40001"]
    assert floor.place(4, order("BUY", "39000"))[0] == "open 4 Submitted"
    assert floor.place(5, order("SELL", "39000"))[0] == "open 5 Submitted"


@pytest.mark.parametrize("mode", [Mode.INSTANT, Mode.REALISTIC, Mode.ADVERSARIAL])
def test_what_falls_to_an_order_follows_from_the_seed_and_its_reference_T15(make_floor: Any, mode: Mode) -> None:
    modes = {Mode.INSTANT: 1, Mode.REALISTIC: 2, Mode.ADVERSARIAL: 3}
    floor = make_floor(mode=modes[mode], seed=11)
    for number in range(60):
        floor.place(3 + number, order("BUY" if number % 2 else "SELL", "100", order_ref=f"n{number}"))
        fate = draw(Chance(mode, 11), f"n{number}").fate
        status, cum_qty = floor.ledger().orders[number].status, floor.ledger().orders[number].cum_qty.units
        expected = {Fate.FILL: "Filled", Fate.PARTIAL: "Submitted", Fate.DELAY: "Submitted", Fate.REJECT: "Inactive"}
        assert status == expected[fate]
        assert (0 < cum_qty < 100) == (fate is Fate.PARTIAL)


# ── Modifying ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_id_again_modifies_a_live_order(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    said = floor.place(3, order("BUY", "12", "LMT", limit="94.00"))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/12"]
    written = floor.replies(replies.OpenOrder)[0]
    assert (str(written.order.lmt_price), written.perm_id) == ("94.00", 1_900_000_001)
    assert floor.price("94.50") == []
    assert floor.price("94.00")[0] == "exec 3 BOT 12@94.00"


def test_a_modification_may_trade_at_once(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    said = floor.place(3, order("BUY", "10", "LMT", limit="101.00"))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/10", *filled(3, "BOT", "10", "100.00")]


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (order("SELL", "10", "LMT", limit="95.00"), 105),
        (order("BUY", "10", "STP", stop="105.00"), 329),
        (order("BUY", "10", "LMT", limit="95.001"), 110),
        (order("BUY", "10", "LMT", limit="95.00", parent_id=99), 135),
        (order("BUY", "10", "LMT"), 321),
    ],
)
def test_a_modification_that_is_refused_leaves_the_order_alive(floor: Any, terms: Any, code: int) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    assert floor.place(3, terms) == [f"error 3 {code}"]
    assert floor.price("95.00")[0] == "exec 3 BOT 10@95.00"


def test_an_order_cannot_be_made_smaller_than_what_is_filled(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    terms = order("BUY", "100", "LMT", limit="100.00", order_ref=key_with(Fate.PARTIAL, Mode.REALISTIC))
    floor.place(3, terms)
    part = floor.replies(replies.ExecDetails)[0].shares
    assert floor.place(3, replace(terms, total_quantity=part)) == ["error 3 201"]


def test_a_modification_that_comes_after_the_fill_is_104(floor: Any) -> None:
    terms = order("BUY", "10", "LMT", limit="100.00", order_ref="late")
    floor.place(3, terms)
    assert floor.place(3, replace(terms, lmt_price=Number.parse("99.00"))) == ["error 3 104"]
    assert [arrival.order_count for arrival in floor.ledger().arrivals] == [1]


def test_a_number_used_before_is_a_duplicate_whatever_became_of_it(floor: Any) -> None:
    floor.place(5, order("BUY", "10"))
    assert floor.place(5, order("SELL", "10")) == ["error 5 103"]
    assert floor.place(4, order("SELL", "10")) == ["error 4 103"]


# ── What is refused at once ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (order("BUY", "10", "LMT", limit="95.001"), 110),
        (order("BUY", "10", "STP", stop="95.001"), 110),
        (order("BUY", "10", "LMT"), 321),
        (order("BUY", "10", "LMT", limit="-1"), 321),
        (order("BUY", "10", "TRAIL", trailing_percent=Number.parse("100")), 321),
        (order("BUY", "-10"), 321),
        (order("HOLD", "10"), 321),
        (order("BUY", "0"), 434),
        (order("BUY", "0.5"), 10243),
        (order("BUY", "10", "MOC"), 387),
        (order("BUY", "10", "MKT", tif="GTX"), 111),
        (order("BUY", "10", "STP", stop="105.00", tif="FOK"), 111),
        (order("BUY", "10", account="DU7654321"), 321),
        (order("BUY", "10", parent_id=77), 135),
    ],
)
def test_an_order_that_cannot_be_is_an_error_and_nothing_else(floor: Any, terms: Any, code: int) -> None:
    assert floor.place(3, terms) == [f"error 3 {code}"]
    assert list(floor.ledger().orders) == []


def test_an_unknown_contract_is_200(floor: Any) -> None:
    assert floor.place(3, order("BUY", "1"), contract=Contract(symbol="NOPE", sec_type="STK")) == ["error 3 200"]
    assert floor.place(4, order("BUY", "1"), contract=replace(APPLE, currency="EUR")) == ["error 4 200"]


def test_with_two_accounts_an_order_has_to_name_one(floor: Any) -> None:
    floor.control(tws_pb2.OpenAccountRequest(account="DU2", wallet=Number(1, 0).message(), currency="USD"))
    assert floor.place(3, order("BUY", "1")) == ["error 3 435"]
    assert floor.place(4, order("BUY", "1", account=ACCOUNT))[0] == "open 4 Submitted"


def test_cancels_of_what_is_not_there_or_over_say_so(floor: Any) -> None:
    assert floor.cancel(9) == ["error 9 10147"]
    floor.place(3, order("BUY", "1"))
    assert floor.cancel(3) == ["error 3 10148"]
    assert "Filled" in floor.replies(replies.Error)[0].text
    floor.place(4, order("BUY", "90000"))
    assert floor.cancel(4) == ["error 4 161"]


def test_a_what_if_is_answered_by_an_open_order_with_margins_and_nothing_is_placed(floor: Any) -> None:
    assert floor.place(3, order("BUY", "100", what_if=True)) == ["open 3 PreSubmitted"]
    answer = floor.replies(replies.OpenOrder)[0]
    assert answer.order.what_if
    assert str(answer.state.init_margin_change) == "2500.00"
    assert str(answer.state.equity_with_loan_after) == "999999.00"
    assert str(answer.state.commission) == "1.00"
    assert list(floor.ledger().orders) == []
    assert floor.place(3, order("BUY", "100"))[0] == "open 3 Submitted"
    assert floor.place(4, order("BUY", "0.5", what_if=True)) == ["error 4 10243"]


# ── Brackets and groups ──────────────────────────────────────────────────────────────────────────────────


def bracket(floor: Any, parent: Any = None) -> list[str]:
    """Parent 3, target 4, stop 5: transmitted with the last of them."""
    parent = parent or order("BUY", "10", "LMT", limit="95.00")
    assert floor.place(3, replace(parent, transmit=False)) == []
    assert floor.place(4, order("SELL", "10", "LMT", limit="105.00", parent_id=3, transmit=False)) == []
    said: list[str] = floor.place(5, order("SELL", "10", "STP", stop="90.00", parent_id=3))
    return said


def test_a_bracket_is_held_until_it_is_transmitted_and_its_children_wait_for_their_parent(floor: Any) -> None:
    said = bracket(floor)
    assert said == [
        "open 3 Submitted", "status 3 Submitted 0/10",
        "open 4 PreSubmitted", "status 4 PreSubmitted 0/10",
        "open 5 PreSubmitted", "status 5 PreSubmitted 0/10",
    ]  # fmt: skip
    assert {each.why_held for each in floor.replies(replies.OrderStatus)} == {"", "child"}
    assert floor.price("106.00") == []
    said = floor.price("94.00")
    assert said == [*filled(3, "BOT", "10", "94.00"), "open 4 Submitted", "status 4 Submitted 0/10",
                    "open 5 PreSubmitted", "status 5 PreSubmitted 0/10"]  # fmt: skip


def test_of_a_bracket_one_child_cancels_the_other(floor: Any) -> None:
    bracket(floor)
    floor.price("94.00")
    said = floor.price("106.00")
    assert said[:6] == filled(4, "SLD", "10", "106.00", "fee 1.00 realized 118.00")
    assert sorted(said[6:]) == ["error 5 202", "status 5 Cancelled 0/10"]
    assert floor.ledger().positions[0].qty.units == 0


def test_in_a_bar_that_touches_both_children_only_the_stop_is_executed(floor: Any) -> None:
    bracket(floor)
    floor.price("94.00")
    said = floor.bar("94.00", "120.00", "80.00", "100.00")
    assert said[0] == "exec 5 SLD 10@90.00"
    assert [text for text in said if text.startswith("exec 4")] == []
    assert floor.ledger().positions[0].qty.units == 0


def test_children_of_a_parent_that_is_canceled_end_with_it(floor: Any) -> None:
    bracket(floor)
    said = floor.cancel(3)
    assert {"status 3 Cancelled 0/10", "status 4 Cancelled 0/10", "status 5 Cancelled 0/10"} <= set(said)
    assert floor.broker.desk.live == {}


def test_what_was_filled_of_a_canceled_parent_stays_protected(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    parent = order("BUY", "10", "LMT", limit="100.00", order_ref=key_with(Fate.PARTIAL, Mode.REALISTIC))
    bracket(floor, parent)
    part = floor.broker.desk.order_of(7, 3).filled_units
    assert 0 < part < 10
    said = floor.cancel(3)
    assert f"status 4 Submitted 0/{part}" in said
    assert f"status 5 PreSubmitted 0/{part}" in said


def test_a_child_of_a_parent_that_is_filled_goes_to_the_market_at_once(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    assert floor.place(4, order("SELL", "10", "STP", stop="90.00", parent_id=3))[0] == "open 4 PreSubmitted"
    assert floor.price("89.00")[0] == "exec 4 SLD 10@89.00"


def test_a_child_of_a_parent_that_is_canceled_is_rejected(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    floor.cancel(3)
    said = floor.place(4, order("SELL", "10", "STP", stop="90.00", parent_id=3))
    assert said == ["error 4 201", "open 4 Inactive", "status 4 Inactive 0/10"]


def grouped(floor: Any, kind: int, first: str, other: str) -> None:
    floor.place(3, order("BUY", first, "LMT", limit="95.00", oca_group="G", oca_type=kind))
    floor.place(4, order("BUY", other, "LMT", limit="90.00", oca_group="G", oca_type=kind))


def test_in_a_group_of_type_1_any_fill_cancels_the_rest(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    reference = key_with(Fate.PARTIAL, Mode.REALISTIC)
    floor.place(3, order("BUY", "10", "LMT", limit="95.00", oca_group="G", oca_type=1, order_ref=reference))
    floor.place(4, order("BUY", "10", "LMT", limit="90.00", oca_group="G", oca_type=1))
    said = floor.price("95.00")
    assert said[1] == "open 3 Submitted"
    assert "status 4 Cancelled 0/10" in said


@pytest.mark.parametrize("kind", [2, 3])
def test_in_a_group_of_type_2_or_3_a_fill_reduces_the_rest_by_the_same_part(make_floor: Any, kind: int) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    reference = key_with(Fate.PARTIAL, Mode.REALISTIC)
    floor.place(3, order("BUY", "100", "LMT", limit="95.00", oca_group="G", oca_type=kind, order_ref=reference))
    floor.place(4, order("BUY", "200", "LMT", limit="90.00", oca_group="G", oca_type=kind))
    floor.price("95.00")
    part = floor.broker.desk.order_of(7, 3).filled_units
    assert floor.lines()[-1] == f"status 4 Submitted 0/{2 * (100 - part)}"
    said = floor.price("94.99")
    assert "status 4 Cancelled 0/" + str(2 * (100 - part)) in said


def test_a_group_holds_within_one_price(floor: Any) -> None:
    grouped(floor, 1, "10", "10")
    said = floor.price("80.00")
    assert [text for text in said if text.startswith("exec")] == ["exec 3 BOT 10@80.00"]


# ── Everybody's orders ───────────────────────────────────────────────────────────────────────────────────


def test_a_global_cancel_hits_everything_also_what_was_typed_in_by_hand(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    bracket_floor = order("BUY", "10", "LMT", limit="95.00", transmit=False)
    floor.place(4, bracket_floor)
    floor.control(
        tws_pb2.PlaceManualOrderRequest(
            account=ACCOUNT, symbol="AAPL", side=1, order_qty=Number(5, 0).message(), order_type="LMT",
            price=Number.parse("90.00").message(),
        )
    )  # fmt: skip
    floor.ask(requests.ReqGlobalCancel())
    assert [each.status for each in floor.ledger().orders] == ["Cancelled", "ApiPending", "Cancelled"]


# ── Hours ────────────────────────────────────────────────────────────────────────────────────────────────


def test_outside_market_hours_an_order_waits_with_399_and_is_sent_when_the_market_opens(floor: Any) -> None:
    floor.control(tws_pb2.SetMarketHoursRequest(hours=tws_pb2.MARKET_HOURS_REGULAR))
    floor.now_ns += 8 * 3600 * SECOND_NS  # six in the evening
    said = floor.place(3, order("BUY", "10"))
    assert said == ["open 3 PreSubmitted", "status 3 PreSubmitted 0/10", "error 3 399"]
    assert "09:30:00 US/Eastern" in floor.replies(replies.Error)[0].text
    opens_ns = floor.broker.next_deadline_ns()
    assert (opens_ns - floor.now_ns) // SECOND_NS in range(15 * 3600, 16 * 3600)
    floor.now_ns = opens_ns
    said = floor.wait(0)
    assert said == ["open 3 Submitted", "status 3 Submitted 0/10", *filled(3, "BOT", "10", "100.00")]


def test_an_order_that_waits_for_the_market_can_be_modified_and_canceled(floor: Any) -> None:
    floor.control(tws_pb2.SetMarketHoursRequest(symbol="AAPL", hours=tws_pb2.MARKET_HOURS_CLOSED))
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    assert floor.broker.next_deadline_ns() is None
    assert floor.place(3, order("BUY", "12", "LMT", limit="95.00"))[1] == "status 3 PreSubmitted 0/12"
    assert floor.cancel(3)[0] == "status 3 PendingCancel 0/12"
    assert floor.control(tws_pb2.SetMarketHoursRequest(hours=tws_pb2.MARKET_HOURS_ALWAYS)) == []


def test_a_delayed_order_works_and_is_filled_later_T15(make_floor: Any) -> None:
    floor = make_floor(mode=paper_pb2.MATCHING_MODE_REALISTIC)
    reference = key_with(Fate.DELAY, Mode.REALISTIC)
    said = floor.place(3, order("BUY", "10", order_ref=reference))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/10"]
    assert 10 * SECOND_NS <= floor.broker.next_deadline_ns() - floor.now_ns <= 30 * SECOND_NS
    assert floor.wait(30_000)[0] == "exec 3 BOT 10@100.00"


def test_the_reset_of_the_day_drops_everybody_and_ends_orders_for_the_day(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    floor.place(4, order("BUY", "10", "LMT", limit="95.00", tif="GTC"))
    floor.control(tws_pb2.ResetDayRequest())
    assert floor.last == []
    assert floor.broker.audience.connections == {}
    floor.now_ns += DAY_NS
    assert floor.connect()[1] == "NextValidId"
    assert floor.replies(replies.NextValidId)[0].order_id == 5
    assert floor.ask(requests.ReqOpenOrders()) == ["open 4 Submitted", "status 4 Submitted 0/10", "OpenOrderEnd"]


def test_the_reset_of_the_day_ends_a_bracket_and_what_was_never_transmitted(floor: Any) -> None:
    bracket(floor)
    floor.place(6, order("BUY", "10", transmit=False))
    floor.control(tws_pb2.ResetDayRequest())
    assert floor.broker.desk.live == {}
    assert {each.status for each in floor.ledger().orders} == {"Cancelled"}


def test_a_held_order_can_be_modified_and_is_sent_when_it_is_transmitted(floor: Any) -> None:
    assert floor.place(3, order("BUY", "10", "LMT", limit="95.00", transmit=False)) == []
    assert floor.place(3, order("BUY", "11", "LMT", limit="95.00", transmit=False)) == []
    said = floor.place(3, order("BUY", "12", "LMT", limit="95.00"))
    assert said == ["open 3 Submitted", "status 3 Submitted 0/12"]


def test_after_a_reset_that_rolls_back_the_same_ids_are_given_to_other_orders(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    floor.control(tws_pb2.ResetDayRequest(roll_back_ids=True))
    floor.connect()
    assert floor.replies(replies.NextValidId)[0].order_id == 1
    assert floor.place(3, order("SELL", "10"))[0] == "open 3 Submitted"
    assert len(floor.ledger().orders) == 2
