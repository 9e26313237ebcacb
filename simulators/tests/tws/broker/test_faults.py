"""Each spoken fault does what its name says, so many times as it was asked to, and never changes what is true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.faults import SOCKET_FAULTS, SPOKEN_FAULTS, Fault, Faults, request_name
from simulators.tests.tws.broker.floor import ACCOUNT, APPLE, order

EXECUTIONS = requests.ReqExecutions(9, 0, "", "", "", "", "", "")
ACK = ["open 3 Submitted", "status 3 Submitted 0/10"]
FILL = ["exec 3 BOT 10@100.00"] + ["open 3 Filled", "status 3 Filled 10/10"] * 2


def truth(floor: Any) -> tuple[str, str]:
    """Position and cash: what faults in telling must not touch."""
    ledger = floor.ledger()
    return str(Number.of(ledger.positions[0].qty)), str(Number.of(ledger.cash))


def test_the_faults_are_those_of_the_contract_and_each_belongs_to_one_side() -> None:
    names = {name.removeprefix("FAULT_") for name in tws_pb2.Fault.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert {fault.name for fault in Fault} == names
    assert all(fault.value == tws_pb2.Fault.Value(f"FAULT_{fault.name}") for fault in Fault)
    assert set(Fault) == SOCKET_FAULTS | SPOKEN_FAULTS
    assert not SOCKET_FAULTS & SPOKEN_FAULTS


def test_a_fault_happens_as_often_as_it_was_set_to_and_is_listed_with_its_count() -> None:
    faults = Faults()
    faults.arm(tws_pb2.SetFaultRequest(fault=tws_pb2.FAULT_REJECT_201, count=2))
    taken = [faults.take(Fault.REJECT_201) is not None for _ in range(4)]
    assert taken == [True, True, False, False]
    assert [armed.message().happened_count for armed in faults] == [2]
    faults.arm(tws_pb2.SetFaultRequest(fault=tws_pb2.FAULT_REJECT_201))
    assert all(faults.take(Fault.REJECT_201) for _ in range(100))


def test_a_fault_with_a_filter_spares_what_does_not_fit() -> None:
    faults = Faults()
    faults.arm(tws_pb2.SetFaultRequest(fault=tws_pb2.FAULT_REJECT_201, order_type="LMT", request="PLACE_ORDER"))
    assert faults.take(Fault.REJECT_201, order_type="MKT", request="PLACE_ORDER") is None
    assert faults.take(Fault.REJECT_201, order_type="LMT", request="MODIFY_ORDER") is None
    assert faults.take(Fault.SWALLOW_ACK, order_type="LMT", request="PLACE_ORDER") is None
    assert faults.take(Fault.REJECT_201, order_type="LMT", request="PLACE_ORDER") is not None


def test_faults_are_cleared_one_by_one_or_all_at_once(floor: Any) -> None:
    for fault in (Fault.REJECT_201, Fault.SWALLOW_ACK, Fault.STALE_PRICES):
        floor.fault(fault)
    floor.control(tws_pb2.ClearFaultsRequest(fault=tws_pb2.FAULT_SWALLOW_ACK))
    assert [armed.setting.fault for armed in floor.broker.list_faults()] == [
        tws_pb2.FAULT_REJECT_201,
        tws_pb2.FAULT_STALE_PRICES,
    ]
    floor.control(tws_pb2.ClearFaultsRequest())
    assert floor.broker.list_faults() == []


def test_faults_of_the_socket_and_unknown_ones_are_not_the_brokers(floor: Any) -> None:
    for number in (tws_pb2.FAULT_BYTE_WISE, 0, 4711):
        with pytest.raises(InvalidRequest):
            floor.control(tws_pb2.SetFaultRequest(fault=number))


def test_requests_are_named_in_upper_snake_case() -> None:
    assert request_name(requests.ReqPositions()) == "REQ_POSITIONS"
    assert request_name(EXECUTIONS) == "REQ_EXECUTIONS"


def test_a_swallowed_acknowledgement_leaves_a_working_order_that_is_found_by_asking_T09(floor: Any) -> None:
    floor.fault(Fault.SWALLOW_ACK, count=1)
    assert floor.place(3, order("BUY", "10", "LMT", limit="95.00")) == []
    assert floor.ask(requests.ReqOpenOrders()) == [*ACK, "OpenOrderEnd"]
    assert floor.price("94.00")[0] == "exec 3 BOT 10@94.00"
    assert floor.place(4, order("BUY", "10", "LMT", limit="90.00")) == [
        "open 4 Submitted",
        "status 4 Submitted 0/10",
    ]


def test_a_swallowed_fill_is_found_by_asking_and_comes_later_by_itself_T10(floor: Any) -> None:
    floor.ask(requests.ReqPositions())
    floor.fault(Fault.SWALLOW_FILL_THEN_REPLAY, count=1, delay_ms=5000)
    assert floor.place(3, order("BUY", "10")) == [*ACK, "position 10 at 100.1000"]
    floor.wait(4999)
    assert floor.ask(EXECUTIONS)[:2] == ["exec 3 BOT 10@100.00", "ExecDetailsEnd"]
    assert floor.wait(1) == [*FILL, "fee 1.00"]
    assert truth(floor) == ("10", "998999.00")


def test_a_swallowed_fill_does_not_come_later_to_another_connection(floor: Any) -> None:
    floor.fault(Fault.SWALLOW_FILL_THEN_REPLAY, count=1, delay_ms=5000)
    floor.place(3, order("BUY", "10"))
    floor.disconnect()
    floor.connect()
    assert floor.wait(10_000) == []
    assert floor.ask(EXECUTIONS)[0] == "exec 3 BOT 10@100.00"


def test_duplicated_statuses_come_three_times(floor: Any) -> None:
    floor.fault(Fault.DUPLICATE_STATUS)
    said = floor.place(3, order("BUY", "10"))
    assert said.count("status 3 Submitted 0/10") == 3
    assert said.count("status 3 Filled 10/10") == 3
    assert said.count("exec 3 BOT 10@100.00") == 1


def test_reordered_statuses_come_last_first_and_executions_stay_where_they_are(floor: Any) -> None:
    floor.fault(Fault.REORDER_STATUS, count=1)
    said = floor.place(3, order("BUY", "10"))
    assert said == [
        "status 3 Filled 10/10", "open 3 Filled", "exec 3 BOT 10@100.00", "status 3 Filled 10/10", "open 3 Filled",
        "status 3 Submitted 0/10", "open 3 Submitted", "fee 1.00",
    ]  # fmt: skip


def test_a_fill_may_come_before_the_acknowledgement(floor: Any) -> None:
    floor.fault(Fault.FILL_BEFORE_ACK)
    assert floor.place(3, order("BUY", "10")) == [*FILL, "fee 1.00"]
    assert floor.place(4, order("BUY", "10", "LMT", limit="95.00")) == [
        "open 4 Submitted",
        "status 4 Submitted 0/10",
    ]


def test_without_order_status_there_are_executions_and_commissions_only(floor: Any) -> None:
    floor.fault(Fault.NO_ORDER_STATUS, count=1)
    assert floor.place(3, order("BUY", "10")) == ["exec 3 BOT 10@100.00", "fee 1.00"]
    assert floor.ask(requests.ReqCompletedOrders(False)) == ["completed k3 Filled 10", "CompletedOrderEnd"]


def test_a_cancel_may_meet_a_fill(floor: Any) -> None:
    floor.fault(Fault.PARTIAL_THEN_CANCEL_RACE, count=1)
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    said = floor.cancel(3)
    assert said[:4] == [
        "status 3 PendingCancel 0/10", "exec 3 BOT 5@95.00", "open 3 PendingCancel", "status 3 PendingCancel 5/10",
    ]  # fmt: skip
    assert "status 3 Cancelled 5/10" in said
    assert truth(floor)[0] == "5"


def test_a_cancel_may_come_too_late_for_the_last_lot(floor: Any) -> None:
    floor.fault(Fault.PARTIAL_THEN_CANCEL_RACE, count=1)
    floor.place(3, order("BUY", "1", "LMT", limit="95.00"))
    said = floor.cancel(3)
    assert said[1] == "exec 3 BOT 1@95.00"
    assert said[-1] == "error 3 10148"
    assert floor.ledger().orders[0].status == "Filled"


@pytest.mark.parametrize(("qty", "executed"), [("10", "5"), ("1", "1")])
def test_an_execution_may_follow_cancelled(floor: Any, qty: str, executed: str) -> None:
    floor.fault(Fault.EXECUTION_AFTER_CANCELED, count=1, delay_ms=300)
    floor.place(3, order("BUY", qty, "LMT", limit="95.00"))
    assert floor.cancel(3) == [
        f"status 3 PendingCancel 0/{qty}", f"status 3 Cancelled 0/{qty}", "error 3 202",
    ]  # fmt: skip
    assert floor.wait(300)[0] == f"exec 3 BOT {executed}@95.00"
    assert truth(floor)[0] == executed
    assert floor.price("80.00") == []


def test_a_rejection_by_fault_looks_like_any_other_and_only_so_often(floor: Any) -> None:
    floor.fault(Fault.REJECT_201, count=1, request="PLACE_ORDER")
    assert floor.place(3, order("BUY", "10")) == ["error 3 201", "open 3 Inactive", "status 3 Inactive 0/10"]
    assert floor.place(4, order("BUY", "10"))[0] == "open 4 Submitted"


def test_a_modification_may_be_rejected_while_its_order_lives(floor: Any) -> None:
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    floor.fault(Fault.REJECT_201, count=1, request="MODIFY_ORDER")
    assert floor.place(3, order("BUY", "10", "LMT", limit="96.00")) == ["error 3 201"]
    assert floor.ask(requests.ReqOpenOrders())[0] == "open 3 Submitted"


def test_a_late_status_may_step_backwards(floor: Any) -> None:
    floor.fault(Fault.LATE_BACKWARD_STATUS, count=1, delay_ms=50)
    assert floor.place(3, order("BUY", "10")) == [*ACK, *FILL, "fee 1.00"]
    assert floor.wait(50) == ["status 3 Submitted 0/10"]
    assert floor.ledger().orders[0].status == "Filled"


def test_a_commission_may_never_come_also_not_when_asked(floor: Any) -> None:
    floor.fault(Fault.COMMISSION_NEVER, count=1)
    assert floor.place(3, order("BUY", "10")) == [*ACK, *FILL]
    assert floor.ask(EXECUTIONS) == ["exec 3 BOT 10@100.00", "ExecDetailsEnd"]
    assert truth(floor) == ("10", "998999.00")


def test_a_commission_may_come_late(floor: Any) -> None:
    floor.fault(Fault.COMMISSION_LATE, count=1)
    assert floor.place(3, order("BUY", "10")) == [*ACK, *FILL]
    assert floor.wait(9_999) == []
    assert floor.wait(1) == ["fee 1.00"]


def test_a_commission_may_first_be_minus_one(floor: Any) -> None:
    floor.fault(Fault.COMMISSION_MINUS_ONE, count=1, delay_ms=700)
    assert floor.place(3, order("BUY", "10"))[-1] == "fee -1.0"
    assert floor.wait(700) == ["fee 1.00"]


def test_with_stale_prices_ticks_stop_and_matching_goes_on(floor: Any) -> None:
    floor.ask(requests.ReqMktData(1, APPLE))
    floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    floor.fault(Fault.STALE_PRICES)
    assert floor.price("95.00")[0] == "exec 3 BOT 10@95.00"
    assert floor.replies(replies.TickPrice) == []


def test_a_wrong_position_is_a_lot_too_large_and_only_said(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    floor.fault(Fault.WRONG_POSITION, count=1)
    assert floor.ask(requests.ReqPositions())[0] == "position 11 at 100.1000"
    assert floor.ask(requests.ReqPositions())[0] == "position 10 at 100.1000"


@pytest.mark.parametrize(
    "request_",
    [
        requests.ReqPositions(),
        requests.ReqOpenOrders(),
        requests.ReqAllOpenOrders(),
        requests.ReqCompletedOrders(False),
        requests.ReqAccountUpdates(True, ACCOUNT),
        requests.ReqAccountUpdatesMulti(4, ACCOUNT, "", False),
        requests.ReqAccountSummary(5, "All", "NetLiquidation"),
        EXECUTIONS,
    ],
)
def test_the_end_of_an_answer_may_never_come_for_one_kind_of_request(floor: Any, request_: Any) -> None:
    with_end = floor.ask(request_)
    assert with_end[-1].endswith("End")
    floor.fault(Fault.NO_END_MARKER, request=request_name(request_))
    assert floor.ask(request_) == with_end[:-1]
    assert floor.ask(requests.ReqContractDetails(8, APPLE, False, "", ""))[-1] == "ContractDetailsEnd"


def test_an_execution_may_be_timed_in_a_zone_that_nobody_knows(floor: Any) -> None:
    floor.fault(Fault.UNKNOWN_TIME_ZONE, count=1)
    floor.place(3, order("BUY", "10"))
    assert floor.replies(replies.ExecDetails)[0].time.endswith(" Mars/Olympus_Mons")
    floor.ask(EXECUTIONS)
    assert floor.replies(replies.ExecDetails)[0].time.endswith(" US/Eastern")


def test_a_modification_may_become_a_second_live_order_with_the_same_reference(floor: Any) -> None:
    terms = order("BUY", "10", "LMT", limit="95.00", order_ref="twin")
    floor.place(3, terms)
    floor.fault(Fault.SECOND_PERM_ID, count=1)
    assert floor.place(3, replace(terms, lmt_price=Number.parse("94.00"))) == ACK
    orders = floor.ledger().orders
    assert [(each.order_ref, each.order_id, each.status) for each in orders] == [("twin", 3, "Submitted")] * 2
    assert len({each.perm_id for each in orders}) == 2
    floor.cancel(3)
    assert [each.status for each in floor.ledger().orders] == ["Submitted", "Cancelled"]
    assert floor.price("90.00")[0] == "exec 3 BOT 10@90.00"


def test_ids_may_start_again_for_the_next_connection(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    floor.place(4, order("BUY", "10", "LMT", limit="95.00"))
    floor.fault(Fault.NEXT_ID_ROLLBACK, count=1)
    floor.disconnect()
    floor.connect()
    assert floor.replies(replies.NextValidId)[0].order_id == 1
    assert floor.place(3, order("SELL", "10", order_ref="other"))[0] == "open 3 Submitted"
    floor.disconnect()
    floor.connect()
    assert floor.replies(replies.NextValidId)[0].order_id == 4


@pytest.mark.parametrize(("fault", "code"), [(Fault.WARNING_399, 399), (Fault.TIF_10349, 10349)])
def test_a_warning_changes_nothing(floor: Any, fault: Fault, code: int) -> None:
    floor.fault(fault, count=1)
    said = floor.place(3, order("BUY", "10", "LMT", limit="95.00"))
    assert said == [*ACK, f"error 3 {code}"]
    assert floor.price("95.00")[0] == "exec 3 BOT 10@95.00"


def test_a_vanished_order_arrived_and_was_never_heard_of_again(floor: Any) -> None:
    floor.fault(Fault.VANISHED_ORDER, count=1)
    assert floor.place(3, order("BUY", "10", order_ref="gone")) == []
    assert floor.ask(requests.ReqAllOpenOrders()) == ["OpenOrderEnd"]
    assert floor.ask(EXECUTIONS) == ["ExecDetailsEnd"]
    ledger = floor.ledger()
    assert list(ledger.orders) == []
    assert [(each.order_ref, each.order_count) for each in ledger.arrivals] == [("gone", 1)]


def test_orders_of_other_people_are_spared(floor: Any) -> None:
    floor.fault(Fault.REJECT_201)
    floor.control(
        tws_pb2.PlaceManualOrderRequest(
            account=ACCOUNT, symbol="AAPL", side=1, order_qty=Number(5, 0).message(), order_type="MKT"
        )
    )
    assert floor.ledger().orders[0].status == "Filled"
