"""F: others on the same account (X11)."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX
from kestrel_domain.numbers import Number
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, SELL, Need, Stand


@card(
    "F01",
    "A trade typed in by hand is not ours",
    given="a flat symbol",
    when="somebody buys 5 by hand",
    then="the truth shows 5; no fill of an order of ours is told",
    needs=(Need.BACK_OFFICE,),
)
async def trade_by_hand(stand: Stand) -> None:
    await stand.broker.trade_by_hand(stand.symbol, BUY, 5, order_ref="")
    await stand.until_position(5)
    assert not [fill for fill in stand.of_kind(venue_pb2.Fill) if fill.client_order_id in stand.sent]


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
