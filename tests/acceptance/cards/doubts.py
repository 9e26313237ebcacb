"""D: lost answers. Not knowing is a state, and nothing is ever sent again to end it."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome, Presence
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, Need, Stand


@card(
    "D01",
    "An acknowledgement that is lost is found by asking",
    given="a venue that says nothing about the next order",
    when="a far limit is sent, and asked about",
    then="not known at first, or accepted; then found under our id, and working",
    needs=(Need.FAULTS,),
)
async def swallowed_ack(stand: Stand) -> None:
    await stand.broker.fault("SWALLOW_ACK")
    order = stand.order(BUY, 10, limit="90.00")
    result = await stand.sent_at_last(order)
    assert result.outcome in (Outcome.UNKNOWN, Outcome.ACCEPTED), result
    assert (await stand.found(order)).presence is Presence.FOUND
    await stand.until_working(order)


@card(
    "D02",
    "The connection breaks as the order is sent",
    given="a connection that drops instead of handling the order",
    when="an order is sent",
    then="not known, never accepted; asked about later, it is not found, and that is no proof where ids are not fenced",
    needs=(Need.FAULTS,),
)
async def dropped_on_request(stand: Stand) -> None:
    await stand.broker.fault("DROP_ON_REQUEST", request="PLACE_ORDER")
    order = stand.order(BUY, 10, limit="90.00")
    result = await stand.sent_at_last(order)
    assert result.outcome is Outcome.UNKNOWN, result
    await stand.nowhere(order)
    assert not stand.fills(order)


@card(
    "D03",
    "The connection breaks after the acknowledgement",
    given="a connection that drops once the order is acknowledged",
    when="a far limit is sent",
    then="found under our id by the next connection; one order at the venue",
    needs=(Need.FAULTS,),
)
async def dropped_after_ack(stand: Stand) -> None:
    await stand.broker.fault("DROP_AFTER_ACK")
    order = stand.order(BUY, 10, limit="90.00")
    await stand.sent_at_last(order)
    assert (await stand.found(order)).presence is Presence.FOUND
    await stand.until_working(order)


@card(
    "D04",
    "The connection breaks after the fill",
    given="a connection that drops once the execution is told",
    when="10 are bought",
    then="the fill is told once, by whichever connection",
    needs=(Need.FAULTS,),
)
async def dropped_after_fill(stand: Stand) -> None:
    await stand.broker.fault("DROP_AFTER_FILL")
    order = stand.order(BUY, 10)
    await stand.sent_at_last(order)
    await stand.until_filled(order)
    assert stand.cum_qty(order) == Number(10, 0)
    await stand.until_position(10)


@card(
    "D05",
    "An answer that takes long is waited for by asking (IBKR_TIMEOUT)",
    given="a venue whose answer to an order takes longer than our patience, and so does all behind it",
    when="a far limit is sent",
    then="not known; when the venue is itself again, found and working",
    needs=(Need.FAULTS,),
)
async def delayed_replies(stand: Stand) -> None:
    await stand.broker.fault("DELAY_REPLIES", count=0, delay_ms=4_000, request="PLACE_ORDER")
    order = stand.order(BUY, 10, limit="90.00")
    result = await stand.sent_at_last(order)
    assert result.outcome in (Outcome.UNKNOWN, Outcome.ACCEPTED), result  # accepted: a new connection has asked
    await stand.broker.heal()
    assert (await stand.found(order)).presence is Presence.FOUND
    await stand.until_working(order)


@card(
    "D06",
    "A venue that accepts connections and never answers",
    given="a half-dead venue",
    when="the portfolio is asked for and an order is sent",
    then="an error and not sent, or not known; never an empty portfolio; all is well once it lives again",
    needs=(Need.FAULTS,),
)
async def half_dead(stand: Stand) -> None:
    await stand.broker.fault("HALF_DEAD", count=0)
    await stand.broker.drop_connections()

    async def is_half_dead() -> bool:
        return not await stand.broker.faults_never_met()

    await stand.until(is_half_dead, "the connection that lived is gone, and the next one is half dead")
    try:
        portfolio = await stand.venue.portfolio()
    except (Unavailable, RemoteProtocolError):
        portfolio = None
    assert portfolio is None or portfolio.positions is None, "silence is never an empty answer"
    result = await stand.send(stand.order(BUY, 10, limit="90.00"))
    assert result.outcome in (Outcome.NOT_SENT, Outcome.UNKNOWN), result
    await stand.broker.heal()
    await stand.portfolio()


@card(
    "D07",
    "An id that never was is not found",
    given="an id the venue never saw",
    when="it is asked about",
    then="absent, and never found; where nothing can be proved, after a while in which it is not known",
)
async def never_sent(stand: Stand) -> None:
    order = stand.order()
    if stand.venue.traits.fences:
        answer = await stand.venue.ask(order.client_order_id, fence=True)
        assert answer.presence is Presence.ABSENT, "proved by the first answer"
    await stand.nowhere(order)


@card(
    "D08",
    "A filled order is found",
    given="10 bought and filled",
    when="the order is asked about",
    then="found",
    needs=(Need.TRADES, Need.PRICES),
)
async def ask_for_filled(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    assert (await stand.found(order)).presence is Presence.FOUND


@card(
    "D09",
    "A canceled order is found",
    given="a limit sent and canceled",
    when="it is asked about, by the same connection and by the next",
    then="found both times",
)
async def ask_for_canceled(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    await stand.cancel(order)
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)
    assert (await stand.found(order)).presence is Presence.FOUND
    await stand.reopen()
    assert (await stand.found(order)).presence is Presence.FOUND


@card(
    "D10",
    "A list that never ends is not an empty list",
    given="10 held, and a venue that never ends its list of positions",
    when="the portfolio is asked for",
    then="an error, or a part that is missing; never flat",
    needs=(Need.FAULTS,),
)
async def no_end_marker(stand: Stand) -> None:
    await stand.filled(stand.order(BUY, 10))
    await stand.until_position(10)
    await stand.broker.fault("NO_END_MARKER", count=0, request="REQ_POSITIONS")
    for _ in range(2):
        try:
            portfolio = await stand.venue.portfolio()
        except (Unavailable, RemoteProtocolError):
            continue
        held = portfolio.positions
        assert held is None or [found.qty.units for found in held if found.symbol == stand.symbol] == [10]
    await stand.broker.heal()
    await stand.until_position(10)


@card(
    "D11",
    "An order that vanished stays in doubt",
    given="a venue that forgets the next order without a word",
    when="an order is sent, and asked about by this connection and the next",
    then="never accepted, never found; nothing is sent again",
    needs=(Need.FAULTS,),
)
async def vanished_order(stand: Stand) -> None:
    await stand.broker.fault("VANISHED_ORDER")
    order = stand.order(BUY, 10, limit="90.00")
    assert (await stand.sent_at_last(order)).outcome is Outcome.UNKNOWN
    await stand.nowhere(order)
    await stand.reopen()
    await stand.nowhere(order)


@card(
    "D12",
    "A fill that is kept back is told later",
    given="a venue that tells executions late",
    when="10 are bought",
    then="the fill is told once",
    needs=(Need.FAULTS,),
)
async def swallowed_fill(stand: Stand) -> None:
    await stand.broker.fault("SWALLOW_FILL_THEN_REPLAY", delay_ms=2_000)
    order = stand.order(BUY, 10)
    await stand.sent_at_last(order)
    await stand.until_filled(order)
    assert stand.cum_qty(order) == Number(10, 0)
