"""What the faults of the socket make of replies, before any socket is there."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.numbers import Number
from kestrel_simulators.tws import replies, wire
from kestrel_simulators.tws.delivery import ANNOUNCED_BYTES, BY_ITSELF, UNKNOWN_MESSAGE_ID, Cause, Delivery
from kestrel_simulators.tws.faults import Faults
from kestrel_simulators.tws.replies import Reply, encode
from kestrel_simulators.tws.terms import Contract, Order

ONE = Number(1, 0)
CONTRACT = Contract(1, "AAPL", "STK", exchange="SMART", currency="USD")
OPENED = replies.OpenOrder(4, CONTRACT, Order("BUY", ONE, "LMT"), replies.OrderState("Submitted"), 7, 19)
STATUS = replies.OrderStatus(4, "Submitted", ONE, ONE, ONE, 19, 0, ONE, 7)
FILL = replies.ExecDetails(-1, 4, CONTRACT, "a.01.01", "", "DU1", "NASDAQ", "BOT", ONE, ONE, 19, 7, 0, ONE, ONE, "K1")
PLACED = Cause("PLACE_ORDER", "LMT")


class Desk:
    def __init__(self) -> None:
        self.faults = Faults()
        self.delivery = Delivery(self.faults, {19: "LMT", 20: "STP"}.__getitem__)

    def arm(self, name: str, count: int = 1, **more: Any) -> None:
        number = tws_pb2.Fault.Value(f"FAULT_{name}")
        self.faults.arm(tws_pb2.SetFaultRequest(fault=number, count=count, **more))

    def sent(self, *said: Reply, cause: Cause = PLACED) -> bytes:
        return b"".join(self.delivery.plan(list(said), cause).chunks)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def framed(*said: Reply) -> bytes:
    return b"".join(wire.frame(encode(reply)) for reply in said)


def test_without_faults_replies_travel_as_they_are(desk: Desk) -> None:
    plan = desk.delivery.plan([OPENED, STATUS], PLACED)
    assert (b"".join(plan.chunks), plan.delay_ms, plan.is_byte_wise, plan.ends) == (
        framed(OPENED, STATUS),
        0,
        False,
        False,
    )


def test_a_malformed_frame_keeps_its_length_and_loses_its_sense(desk: Desk, library: Any) -> None:
    desk.arm("MALFORMED_FRAME")
    first, second = wire.FrameReader().receive(desk.sent(OPENED, STATUS))
    assert second == encode(STATUS)
    calls, complaints = library.hears(first)
    assert calls == []
    assert complaints
    assert desk.sent(OPENED) == framed(OPENED)


def test_an_oversized_frame_swallows_what_follows(desk: Desk) -> None:
    desk.arm("OVERSIZED_FRAME")
    assert desk.sent(STATUS) == ANNOUNCED_BYTES.to_bytes(4, "big") + framed(STATUS)


def test_a_truncated_frame_is_the_last_thing_on_a_connection(desk: Desk) -> None:
    desk.arm("TRUNCATED_FRAME")
    plan = desk.delivery.plan([OPENED, STATUS], PLACED)
    whole = framed(OPENED)
    assert (b"".join(plan.chunks), plan.ends) == (whole[: len(whole) // 2], True)


def test_an_unknown_message_comes_before_the_known_one(desk: Desk, library: Any) -> None:
    desk.arm("UNKNOWN_MESSAGE")
    unknown, known = wire.FrameReader().receive(desk.sent(STATUS))
    assert wire.split(unknown)[0] == str(UNKNOWN_MESSAGE_ID)
    assert known == encode(STATUS)
    assert library.hears(unknown)[0] == []


def test_a_connection_drops_after_the_acknowledgement_and_says_nothing_more(desk: Desk) -> None:
    desk.arm("DROP_AFTER_ACK", order_type="LMT")
    plan = desk.delivery.plan([OPENED, STATUS], PLACED)
    assert (b"".join(plan.chunks), plan.ends) == (framed(OPENED), True)


@pytest.mark.parametrize("cause", [Cause("REQ_OPEN_ORDERS"), BY_ITSELF, Cause("CANCEL_ORDER")])
def test_what_is_no_answer_to_an_order_is_no_acknowledgement(desk: Desk, cause: Cause) -> None:
    desk.arm("DROP_AFTER_ACK")
    assert not desk.delivery.plan([OPENED, STATUS], cause).ends


def test_a_connection_drops_after_a_live_execution_and_not_after_one_that_was_asked_for(desk: Desk) -> None:
    desk.arm("DROP_AFTER_FILL")
    asked = replies.ExecDetails(5, 4, CONTRACT, "a", "", "DU1", "X", "BOT", ONE, ONE, 19, 7, 0, ONE, ONE, "")
    assert not desk.delivery.plan([asked], Cause("REQ_EXECUTIONS")).ends
    plan = desk.delivery.plan([FILL, STATUS], BY_ITSELF)
    assert (b"".join(plan.chunks), plan.ends) == (framed(FILL), True)


def test_a_fault_of_one_order_type_leaves_the_others_alone(desk: Desk) -> None:
    desk.arm("DROP_AFTER_FILL", order_type="STP")
    assert not desk.delivery.plan([FILL], BY_ITSELF).ends
    stop = replies.ExecDetails(-1, 5, CONTRACT, "b", "", "DU1", "X", "SLD", ONE, ONE, 20, 7, 0, ONE, ONE, "")
    assert desk.delivery.plan([stop], BY_ITSELF).ends


def test_a_fault_of_one_request_leaves_the_others_alone(desk: Desk) -> None:
    desk.arm("DELAY_REPLIES", count=0, request="REQ_POSITIONS", delay_ms=500)
    assert desk.delivery.plan([replies.PositionEnd()], Cause("REQ_POSITIONS")).delay_ms == 500
    assert desk.delivery.plan([STATUS], PLACED).delay_ms == 0


def test_delays_last_10_to_30_seconds_by_themselves_and_can_be_scaled(desk: Desk) -> None:
    desk.arm("DELAY_REPLIES", count=0)
    delays = {desk.delivery.plan([STATUS], PLACED).delay_ms for _ in range(100)}
    assert min(delays) >= 10_000
    assert max(delays) <= 30_000
    assert len(delays) > 50
    desk.delivery.delay_scale_permille = 10
    assert 100 <= desk.delivery.plan([STATUS], PLACED).delay_ms <= 300


def test_a_fault_happens_as_often_as_it_was_set(desk: Desk) -> None:
    desk.arm("BYTE_WISE", count=2)
    assert [desk.delivery.plan([STATUS], PLACED).is_byte_wise for _ in range(3)] == [True, True, False]
