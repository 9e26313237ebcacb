"""F: others on the same account (X11)."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX, derived_id
from kestrel_domain.numbers import Number
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, SELL, Need, Stand


@card(
    "F01",
    "A trade typed in by hand is not ours",
    given="a flat symbol",
    when="somebody buys 5 by hand",
    then="the truth shows 5; the trade is told, and not as a fill of an order of ours",
    needs=(Need.BACK_OFFICE,),
)
async def trade_by_hand(stand: Stand) -> None:
    await stand.broker.trade_by_hand(stand.symbol, BUY, 5, order_ref="")
    await stand.until_position(5)
    await stand.reopen()  # what was typed in is told to who asks
    told = stand.of_kind(venue_pb2.Fill)
    assert told
    assert not [fill for fill in told if fill.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)]


@card(
    "F02",
    "A trade of another program is not ours",
    given="10 of ours held",
    when="another client sells 10 under its own reference",
    then="the truth is flat; our order keeps its 10; theirs is told as theirs or not at all",
    needs=(Need.BACK_OFFICE,),
)
async def trade_of_another_client(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.broker.trade_by_hand(stand.symbol, SELL, 10, order_ref="theirs-1")
    await stand.until_position(0)
    await stand.reopen()  # what another client does is told to who asks
    assert stand.cum_qty(order) == Number(10, 0)
    theirs = [fill for fill in stand.of_kind(venue_pb2.Fill) if fill.client_order_id not in stand.sent]
    assert not [fill for fill in theirs if fill.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)]


@card(
    "F03",
    "Others' trades do not spoil the wallet of ours",
    given="10 of ours held",
    when="somebody else buys 5 and sells 5 by hand, and we sell 10",
    then="our own fills and fees are what they are; the truth is flat",
    needs=(Need.BACK_OFFICE,),
)
async def others_beside_us(stand: Stand) -> None:
    bought = await stand.filled(stand.order(BUY, 10))
    await stand.broker.trade_by_hand(stand.symbol, BUY, 5, order_ref="")
    await stand.broker.trade_by_hand(stand.symbol, SELL, 5, order_ref="")
    sold = await stand.filled(stand.order(SELL, 10, is_exit=True))
    await stand.until_position(0)
    assert stand.cum_qty(bought) == stand.cum_qty(sold) == Number(10, 0)


@card(
    "F04",
    "An order under our name that nobody commanded is told aloud",
    given="a flat symbol",
    when="somebody else's program buys 5 under a reference that looks like ours",
    then="people are told ORDER_WITHOUT_TOKEN, once",
    needs=(Need.BACK_OFFICE,),
)
async def order_without_token(stand: Stand) -> None:
    name = CLIENT_ORDER_ID_PREFIX + derived_id("acceptance", stand.symbol, "nobody's")
    await stand.broker.trade_by_hand(stand.symbol, BUY, 5, order_ref=name)
    await stand.until_alerted("ORDER_WITHOUT_TOKEN", name)
    await stand.reopen()
    await stand.until_position(5)
    assert len({alert.alert_id for alert in stand.alerts if alert.reason == "ORDER_WITHOUT_TOKEN"}) == 1


@card(
    "F05",
    "Shares that somebody books in move no wallet",
    given="10 of ours held",
    when="the back office books 37 more in, and takes them back after we have sold",
    then="the wallet is what our trades and fees make of it, throughout",
    needs=(Need.BACK_OFFICE,),
)
async def shares_booked_in(stand: Stand) -> None:
    before = await stand.wallet()
    bought = await stand.filled(stand.order(BUY, 10))
    await stand.behind.drift(stand.symbol, 37)
    await stand.until_position(47)
    await stand.until_wallet(before - await stand.fee_of(bought))
    sold = await stand.filled(stand.order(SELL, 10, is_exit=True))
    await stand.behind.drift(stand.symbol, -37)
    fees = await stand.fee_of(bought) + await stand.fee_of(sold)
    await stand.until_wallet(before + stand.notional(sold) - stand.notional(bought) - fees)
