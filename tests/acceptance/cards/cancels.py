"""C: cancels. They only take risk away, and they race with fills."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, Need, Stand

CANCELED = venue_pb2.ORDER_FACT_CANCELED


@card(
    "C01",
    "A working order is canceled",
    given="a far limit working",
    when="it is canceled",
    then="told as canceled, once; no working order is left; no fill",
)
async def cancel_working(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    assert (await stand.cancel(order)).outcome is Outcome.ACCEPTED
    await stand.until_fact(order, CANCELED)
    portfolio = await stand.portfolio()
    assert order.client_order_id not in {found.client_order_id for found in portfolio.open_orders or ()}
    assert not stand.fills(order)


@card(
    "C02",
    "A filled order cannot be canceled",
    given="10 bought and filled",
    when="that order is canceled",
    then="the position stays; the order is not told as canceled",
    needs=(Need.TRADES, Need.PRICES),
)
async def cancel_filled(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.cancel(order)
    await stand.until_position(10)
    assert CANCELED not in stand.facts(order)


@card(
    "C03",
    "An order that never was cannot be canceled",
    given="an id the venue never saw",
    when="it is canceled",
    then="refused, as soon as the venue can know; never accepted",
)
async def cancel_unknown(stand: Stand) -> None:
    order = stand.order(BUY, 10)

    async def refused() -> bool:
        answer = await stand.cancel(order)
        assert answer.outcome is not Outcome.ACCEPTED
        return answer.outcome is Outcome.REJECTED

    await stand.until(refused, "the cancel is refused; the gateway asks again while it is not known")


@card(
    "C04",
    "Canceled twice is canceled once",
    given="a far limit working",
    when="it is canceled twice",
    then="told as canceled once",
)
async def cancel_twice(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    await stand.cancel(order)
    await stand.cancel(order)
    await stand.until_fact(order, CANCELED)
    await stand.portfolio()
    assert stand.facts(order).count(CANCELED) == 1


@card(
    "C05",
    "A fill is faster than a cancel",
    given="a limit working, and a fill that meets the cancel",
    when="it is canceled",
    then="what was filled counts, the rest is canceled",
    needs=(Need.FAULTS,),
)
async def partial_then_cancel(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    await stand.broker.fault("PARTIAL_THEN_CANCEL_RACE")
    await stand.cancel(order)
    await stand.until_fact(order, CANCELED)
    await stand.until(lambda: bool(stand.fills(order)), "the part is told")
    filled = stand.cum_qty(order)
    assert Number.zero() < filled < Number(10, 0)
    await stand.until_position(filled.at(0).units)


@card(
    "C06",
    "An execution after the cancel counts",
    given="a limit working, and an execution that comes after Cancelled",
    when="it is canceled",
    then="the late fill is told; position and fills agree",
    needs=(Need.FAULTS,),
)
async def execution_after_canceled(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    await stand.broker.fault("EXECUTION_AFTER_CANCELED")
    await stand.cancel(order)
    await stand.until_fact(order, CANCELED)
    await stand.until(lambda: bool(stand.fills(order)), "the late execution is told")
    await stand.until_position(stand.cum_qty(order).at(0).units)


@card(
    "C07",
    "The venue cancels on its own",
    given="a far limit working",
    when="the venue cancels it",
    then="told as canceled, without our asking",
    needs=(Need.BACK_OFFICE,),
)
async def venue_cancels(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    await stand.broker.cancel_by_hand(order.client_order_id)
    await stand.until_fact(order, CANCELED)


@card(
    "C08",
    "A cancel by a new connection works",
    given="a far limit working, sent by a connection that is gone",
    when="the next connection cancels it",
    then="told as canceled",
)
async def cancel_after_reopening(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    await stand.reopen()
    await stand.until_accepted_cancel(order)
    await stand.until_fact(order, CANCELED)
