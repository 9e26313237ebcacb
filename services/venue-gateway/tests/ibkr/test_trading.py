"""The connector against a simulated TWS, a process of its own: orders and faults. Nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import KestrelError, RemoteProtocolError
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import Outcome, Presence
from kestrel_venue_gateway.ibkr.venue import IbkrVenue

from .conftest import ACCOUNT, BRISK, STEADY, Admin, Books, TwsProcess, connector_settings, eventually, number

pytestmark = pytest.mark.integration
steady = pytest.mark.parametrize("books", [STEADY], indirect=True, ids=["steady"])
brisk = pytest.mark.parametrize("books", [BRISK], indirect=True, ids=["brisk"])

LIMIT = {"order_type": common_pb2.ORDER_TYPE_LIMIT, "price": number("90")}


async def test_market_order_is_filled_settled_and_moves_the_wallet_by_its_fee_K13(
    books: Books, admin: Admin, ref: str
) -> None:
    await books.ready()
    answer = await books.send(ref)
    assert answer.outcome is Outcome.ACCEPTED
    assert int(answer.venue_order_id) > 0
    await books.assert_nothing_lost_nothing_doubled(admin)
    assert books.cum_qty(ref) == Number(10, 0)
    await eventually(books.fees, "the fee is told")
    assert books.facts(ref) == ["SUBMITTING", "ACKNOWLEDGED"]
    balances = [report.balance for report in books.stored if report.WhichOneof("body") == "balance"]
    assert abs(Number.of(balances[-1].wallet) - Number(1_000_000, 0)) < Number(100, 0)


async def test_limit_order_rests_is_in_the_truth_and_is_canceled(books: Books, admin: Admin, ref: str) -> None:
    assert (await books.send(ref, **LIMIT)).outcome is Outcome.ACCEPTED
    truth = await books.venue.portfolio()
    assert truth.open_orders is not None
    assert [order.client_order_id for order in truth.open_orders if order.client_order_id == ref] == [ref]
    assert (await books.cancel(ref)).outcome is Outcome.ACCEPTED
    await eventually(lambda: "CANCELED" in books.facts(ref), "it is canceled")
    await books.assert_nothing_lost_nothing_doubled(admin)
    truth = await books.venue.portfolio()
    assert not [order for order in truth.open_orders or () if order.client_order_id == ref]


async def test_stop_order_waits_for_its_price(books: Books, admin: Admin, ref: str) -> None:
    answer = await books.send(ref, order_type=common_pb2.ORDER_TYPE_STOP, price=number("105"))
    assert answer.outcome is Outcome.ACCEPTED
    await admin.bar("106")
    await eventually(lambda: books.cum_qty(ref) == Number(10, 0), "the stop is filled")
    await books.assert_nothing_lost_nothing_doubled(admin)


async def test_what_the_venue_cannot_be_told_is_certainly_not_sent(books: Books, admin: Admin, ref: str) -> None:
    await books.ready()
    for changes in (
        {"price": number("90.001"), "order_type": common_pb2.ORDER_TYPE_LIMIT},
        {"order_qty": number("0.5")},
        {"account": "DU7"},
        {"order_type": common_pb2.ORDER_TYPE_STOP_LIMIT},
        {"instrument": common_pb2.Instrument(symbol="NOWHERE", currency="USD")},
    ):
        answer = await books.venue.send(books.command(ref, **changes))
        assert answer.outcome is Outcome.NOT_SENT
        assert answer.reason is not None
    await books.venue.portfolio()  # an answer from behind everything that was written
    assert not [row for row in (await admin.ledger()).arrivals if row.order_ref == ref]


async def test_same_order_again_is_reported_and_not_sent(books: Books, admin: Admin, ref: str) -> None:
    first, second = await books.send(ref), await books.send(ref)
    assert first.outcome is Outcome.ACCEPTED
    assert first.venue_order_id == second.venue_order_id
    await books.die()
    assert (await books.send(ref)).venue_order_id == first.venue_order_id
    await books.assert_nothing_lost_nothing_doubled(admin)


async def test_order_that_never_was_is_absent_and_its_cancel_is_refused(books: Books, ref: str) -> None:
    await books.ready()

    async def is_absent() -> bool:
        return (await books.venue.ask(ref, fence=True)).presence is Presence.ABSENT

    await eventually(is_absent, "the grace time is over")
    assert (await books.cancel(ref)).outcome is Outcome.REJECTED


# --- faults -------------------------------------------------------------------------------------------------------

_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("SWALLOW_ACK", {}),
    ("SWALLOW_FILL_THEN_REPLAY", {"delay_ms": 300}),
    ("DELAY_REPLIES", {"delay_ms": 1500}),
    ("DELAY_REPLIES", {"delay_ms": 1500, "request": "PLACE_ORDER"}),
    ("DROP_ON_REQUEST", {"request": "CANCEL_ORDER"}),
    ("DROP_ON_REQUEST", {"request": "REQ_CONTRACT_DETAILS"}),
    ("DROP_ON_REQUEST", {"request": "REQ_EXECUTIONS"}),
    ("DROP_AFTER_ACK", {}),
    ("DROP_AFTER_FILL", {}),
    ("DUPLICATE_STATUS", {"count": 0}),
    ("REORDER_STATUS", {"count": 0}),
    ("FILL_BEFORE_ACK", {}),
    ("NO_ORDER_STATUS", {}),
    ("LATE_BACKWARD_STATUS", {}),
    ("EXECUTION_AFTER_CANCELED", {}),
    ("PARTIAL_THEN_CANCEL_RACE", {}),
    ("COMMISSION_LATE", {"delay_ms": 300}),
    ("COMMISSION_MINUS_ONE", {"delay_ms": 300}),
    ("WRONG_POSITION", {}),
    ("NO_END_MARKER", {"request": "REQ_ALL_OPEN_ORDERS"}),
    ("NO_END_MARKER", {"request": "REQ_COMPLETED_ORDERS"}),
    ("NO_END_MARKER", {"request": "REQ_EXECUTIONS"}),
    ("NO_END_MARKER", {"request": "REQ_POSITIONS"}),
    ("UNKNOWN_TIME_ZONE", {"count": 0}),
    ("MALFORMED_FRAME", {}),
    ("MALFORMED_FRAME", {"request": "PLACE_ORDER"}),
    ("OVERSIZED_FRAME", {}),
    ("OVERSIZED_FRAME", {"request": "PLACE_ORDER"}),
    ("TRUNCATED_FRAME", {}),
    ("TRUNCATED_FRAME", {"request": "PLACE_ORDER"}),
    ("UNKNOWN_MESSAGE", {}),
    ("UNKNOWN_MESSAGE", {"request": "PLACE_ORDER"}),
    ("BYTE_WISE", {"count": 0}),
    ("CLIENT_ID_IN_USE", {}),
    ("NEXT_ID_ROLLBACK", {}),
    ("WARNING_399", {}),
    ("TIF_10349", {}),
    ("HALF_DEAD", {}),
]


def _words(more: dict[str, Any]) -> list[str]:
    return [value for value in more.values() if isinstance(value, str)]


_AT_A_RECONNECT = {"CLIENT_ID_IN_USE", "NEXT_ID_ROLLBACK", "HALF_DEAD", "WRONG_POSITION"}


@brisk
@pytest.mark.parametrize(
    ("fault", "more"), _FAULTS, ids=[f"{name}-{more.get('request', '')}" for name, more in _FAULTS]
)
async def test_orders_under_a_fault_lose_and_double_nothing(
    books: Books, admin: Admin, ref: str, fault: str, more: dict[str, Any]
) -> None:
    """An order that is filled, one that is canceled, a third behind a reconnect, and a second reconnect."""
    await books.ready()
    await admin.fault(fault, **more)
    filled = await books.settle(admin, f"{ref}a")
    canceled = await books.settle(admin, f"{ref}b", **LIMIT)
    await books.cancel(canceled)
    if fault in _AT_A_RECONNECT or "REQ_" in more.get("request", ""):
        await books.lose_connection(admin)
        await books.settle(admin, f"{ref}c")
    await books.lose_connection(admin)
    await books.assert_nothing_lost_nothing_doubled(admin)
    assert books.cum_qty(filled) == Number(10, 0)

    def is_over() -> bool:
        return "CANCELED" in books.facts(canceled) or books.cum_qty(canceled) == Number(10, 0)

    await eventually(is_over, f"{canceled} comes to its end")
    await eventually(lambda: set(books.fees()) == set(books.booked), "every fee is told")
    await books.ready()
    assert (await admin.happened())[fault] >= 1, "the fault was never met"


async def test_rejection_is_told_in_the_venues_words_and_not_tried_again_T10_IBKR_REJECTION(
    books: Books, admin: Admin, ref: str
) -> None:
    await books.ready()
    await admin.fault("REJECT_201")
    answer = await books.send(ref)
    assert answer.outcome is Outcome.REJECTED
    assert answer.reason is not None
    assert answer.reason.reason == "IBKR_201"
    await books.die()
    assert (await books.send(ref)).outcome is Outcome.REJECTED
    await books.assert_nothing_lost_nothing_doubled(admin)
    assert books.facts(ref).count("REJECTED") == 1
    assert books.cum_qty(ref) == Number(0, 0)


@steady
async def test_vanished_order_stays_in_doubt_and_is_never_sent_again_T09_IBKR_TIMEOUT(
    books: Books, admin: Admin, ref: str
) -> None:
    await books.ready()
    await admin.fault("VANISHED_ORDER")
    answer = await books.sent(ref)
    assert answer.outcome is Outcome.UNKNOWN
    assert (await books.sent(ref)).outcome is Outcome.UNKNOWN
    await books.lose_connection(admin)
    await books.ready()
    assert (await books.sent(ref)).outcome is Outcome.UNKNOWN
    assert books.known.orders_in_doubt() == [ref]
    assert [row.order_count for row in (await admin.ledger()).arrivals if row.order_ref == ref] in ([], [1])
    assert books.facts(ref) == ["SUBMITTING"] * len(books.facts(ref))


@steady
async def test_gateway_without_its_servers_sends_no_order_and_loses_nothing_of_what_happens_meanwhile(
    books: Books, admin: Admin, ref: str
) -> None:
    resting = await books.settle(admin, f"{ref}a", **LIMIT)
    await admin.connectivity("LOST")
    await eventually(lambda: books.venue.state.degraded is not None, "the connector knows")
    assert (await books.venue.send(books.command(f"{ref}b"))).outcome is Outcome.NOT_SENT
    await admin.bar("89")  # fills the resting order; nobody is told
    await admin.connectivity("RESTORED")
    await books.ready()
    await eventually(lambda: books.cum_qty(resting) == Number(10, 0), "the fill is found")
    await books.assert_nothing_lost_nothing_doubled(admin)
    # The lost link ends no connection. At this pace a busy machine may: by a question that takes a second.
    assert {error.reason for error in books.errors} <= {"IBKR_UNANSWERED"}


async def test_correction_and_bust_replace_what_was_booked_also_behind_a_crash(
    books: Books, admin: Admin, ref: str
) -> None:
    first, second = await books.settle(admin, f"{ref}a"), await books.settle(admin, f"{ref}b")
    await books.assert_nothing_lost_nothing_doubled(admin)
    ids = {
        row.order_ref: row.execution_id for row in (await admin.ledger()).executions if row.order_ref.startswith(ref)
    }
    request = tws_pb2.CorrectExecutionRequest(execution_id=ids[first], qty=number("7"), price=number("99.5"))
    await admin.stub.CorrectExecution(request, timeout=60, wait_for_ready=True)
    await eventually(lambda: books.cum_qty(first) == Number(7, 0), "the correction is booked")
    await books.die()  # and hears of the bust only by asking
    await admin.stub.BustExecution(
        tws_pb2.BustExecutionRequest(execution_id=ids[second]), timeout=60, wait_for_ready=True
    )
    await eventually(lambda: books.cum_qty(second) == Number(0, 0), "the bust is booked")
    await books.assert_nothing_lost_nothing_doubled(admin)
    await books.lose_connection(admin)
    await books.ready()
    await books.assert_nothing_lost_nothing_doubled(admin)


async def test_orders_of_others_are_told_as_theirs_and_never_booked_as_ours_X11(
    books: Books, admin: Admin, ref: str
) -> None:
    await books.settle(admin, ref)
    for client_id, name in ((0, ""), (9, "somebody"), (9, "")):
        request = tws_pb2.PlaceManualOrderRequest(
            account=ACCOUNT, symbol="AAPL", side=common_pb2.SIDE_BUY, order_qty=number("3"), order_type="MKT",
            client_id=client_id, order_ref=name,
        )  # fmt: skip
        await admin.stub.PlaceManualOrder(request, timeout=60, wait_for_ready=True)
    await books.lose_connection(admin)  # other clients' executions are only told to who asks

    def foreign() -> list[Any]:
        return [report for report in books.stored if report.WhichOneof("body") == "foreign"]

    await eventually(lambda: len(foreign()) >= 3, "all three are heard of")
    assert len({report.foreign.execution_id for report in foreign()}) == len(foreign())
    assert all(report.fill.client_order_id.startswith("ks") for report in books.stored if report.HasField("fill"))
    await books.assert_nothing_lost_nothing_doubled(admin)


async def test_commission_that_never_comes_leaves_the_fill_booked_and_named(
    books: Books, admin: Admin, ref: str
) -> None:
    await books.ready()
    await admin.fault("COMMISSION_NEVER")
    first, second = await books.settle(admin, f"{ref}a"), await books.settle(admin, f"{ref}b")
    await books.assert_nothing_lost_nothing_doubled(admin)

    def without_fee() -> set[str]:
        return {known.client_order_id for known in books.known.executions_without_fee()} & {first, second}

    await eventually(
        lambda: without_fee() == {first}, "the second one's fee is told, and the first one's not before it"
    )


@steady
async def test_nightly_restart_with_order_ids_issued_anew_confuses_no_order(
    books: Books, admin: Admin, ref: str
) -> None:
    before = await books.settle(admin, f"{ref}a")
    count = books.connections
    await admin.stub.ResetDay(tws_pb2.ResetDayRequest(roll_back_ids=True), timeout=60, wait_for_ready=True)
    await eventually(lambda: books.connections > count, "the connection was lost")
    after = await books.settle(admin, f"{ref}b")
    await eventually(lambda: books.cum_qty(after) == Number(10, 0), "the new order is filled")
    assert books.cum_qty(before) == Number(10, 0)
    assert (await books.venue.ask(after, fence=False)).presence is Presence.FOUND
    arrivals = (await admin.ledger()).arrivals
    assert not [row for row in arrivals if row.order_count > 1]


@steady
async def test_malformed_frame_is_named_and_the_connection_replaced(books: Books, admin: Admin, ref: str) -> None:
    await books.ready()
    await admin.fault("MALFORMED_FRAME")
    await books.settle(admin, ref)
    await eventually(lambda: books.connections > 1, "the connection was replaced")
    await books.assert_nothing_lost_nothing_doubled(admin)
    assert "IBKR_UNREADABLE" in {error.reason for error in books.errors}


async def test_a_list_of_which_a_part_cannot_be_read_is_no_list(books: Books, admin: Admin, ref: str) -> None:
    """The end marker comes in one go with the position that nobody could read: the rest is not all there is."""
    await books.settle(admin, ref)
    await admin.fault("MALFORMED_FRAME", request="REQ_POSITIONS")
    positions = None
    with contextlib.suppress(KestrelError):
        positions = (await books.venue.portfolio()).positions
    assert positions is None or [position.symbol for position in positions] == ["AAPL"]
    assert (await admin.happened())["MALFORMED_FRAME"] >= 1
    await books.ready()
    assert "IBKR_UNREADABLE" in {error.reason for error in books.errors}


async def test_bars_come_by_a_connection_of_their_own(tws: TwsProcess, admin: Admin) -> None:
    market = IbkrVenue(connector_settings(tws, ibkr_symbols=["AAPL", "NOWHERE"], ibkr_bar_interval_s=1.0), ACCOUNT)
    bars = market.bars(0)

    async def move() -> None:
        while True:
            for price in ("101", "103", "102"):
                await admin.bar(price)
                await asyncio.sleep(0.1)

    moving = asyncio.create_task(move())
    try:
        async with asyncio.timeout(60):
            first, second = await anext(bars), await anext(bars)
    finally:
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await bars.aclose()
        await market.close()
    assert first.instrument.symbol == "AAPL"
    assert Number.of(first.low) >= Number(100, 0)
    assert Number.of(first.high) <= Number(103, 0)
    assert second.venue_sequence > first.venue_sequence


async def test_live_account_is_refused_while_nothing_opens_the_gate_C10(tmp_path: Path) -> None:
    """The account of the settings, and any other account that the login reaches."""
    live = "U7654321"
    process = TwsProcess(tmp_path, accounts=[f"{ACCOUNT}=1000.00:USD", f"{live}=1000.00:USD"])
    try:
        for account in (live, ACCOUNT):
            settings = connector_settings(process, accounts=[account], live_confirmation="yes")
            venue = IbkrVenue(settings, account)
            with pytest.raises(RemoteProtocolError) as refused:
                await anext(venue.events(0, KnownFacts()))
            assert refused.value.reason == "ACCOUNT_ENVIRONMENT"
            assert venue.state.cut_off is not None
            await venue.close()
    finally:
        process.close()
