"""O: orders and their lives."""

from __future__ import annotations

import asyncio

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, GTC, SELL, Need, Stand


@card(
    "O01",
    "Market buy",
    given="a flat symbol with a price",
    when="10 are bought at the market",
    then="accepted; fills of 10 in all with true prices; the position is 10",
    needs=(Need.TRADES,),
)
async def market_buy(stand: Stand) -> None:
    before = await stand.position()
    order = await stand.filled(stand.order(BUY, 10))
    assert all(fill.HasField("last_price") and fill.side == BUY for fill in stand.fills(order))
    await stand.until_position((before + Number(10, 0)).at(0).units)
    await stand.filled(stand.order(SELL, 10, is_exit=True))


@card(
    "O02",
    "Round trip",
    given="10 bought",
    when="10 are sold at the market",
    then="both are filled; the position is what it was",
    needs=(Need.TRADES,),
)
async def round_trip(stand: Stand) -> None:
    before = await stand.position()
    await stand.filled(stand.order(BUY, 10))
    await stand.filled(stand.order(SELL, 10, is_exit=True))
    await stand.until_position(before.at(0).units)


@card(
    "O03",
    "A limit far away works",
    given="a symbol with a price",
    when="a buy limit far below it is sent",
    then="accepted, told as acknowledged, and one of the working orders in the truth, under our id",
)
async def far_limit_works(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_fact(order, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    await stand.until_working(order)
    await stand.cancel(order)
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)


@card(
    "O04",
    "A limit that the market meets is filled at it or better",
    given="a symbol at 100",
    when="a buy limit at 105 is sent",
    then="filled at 105 or less",
    needs=(Need.TRADES, Need.PRICES),
)
async def marketable_limit(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10, limit="105.00"))
    assert all(Number.of(fill.last_price) <= Number.parse("105.00") for fill in stand.fills(order))


@card(
    "O05",
    "A resting limit is filled when the market comes",
    given="a buy limit at 95 working, the market at 100",
    when="the market moves to 94",
    then="filled at 95 or less",
    needs=(Need.TRADES, Need.PRICES),
)
async def resting_limit(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="95.00"))
    assert not stand.fills(order)
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(order)
    assert all(Number.of(fill.last_price) <= Number.parse("95.00") for fill in stand.fills(order))


@card(
    "O06",
    "A stop sleeps until it is touched",
    given="10 held and a sell stop at 90, the market at 100",
    when="the market moves to 95, then to 89",
    then="nothing at 95; sold at 89 or so; the position is flat",
    needs=(Need.TRADES, Need.PRICES),
)
async def stop_order(stand: Stand) -> None:
    await stand.filled(stand.order(BUY, 10))
    stop = await stand.accepted(stand.order(SELL, 10, stop="90.00", is_exit=True, time_in_force=GTC))
    await stand.behind.price(stand.symbol, "95.00")
    await stand.until_working(stop)
    assert not stand.fills(stop)
    await stand.behind.price(stand.symbol, "89.00")
    await stand.until_filled(stop)
    await stand.until_position(0)


@card(
    "O07",
    "Selling short",
    given="a flat symbol",
    when="10 are sold, then bought back",
    then="the position is -10, then 0",
    needs=(Need.TRADES, Need.PRICES),
)
async def short_sale(stand: Stand) -> None:
    await stand.filled(stand.order(SELL, 10))
    await stand.until_position(-10)
    await stand.filled(stand.order(BUY, 10, is_exit=True))
    await stand.until_position(0)


@card(
    "O08",
    "A price off the tick is refused",
    given="an instrument with a tick of 0.01",
    when="a limit of 99.9950 is sent",
    then="rejected with a reason; no order, no fill",
    needs=(Need.PRICES,),
)
async def off_tick(stand: Stand) -> None:
    result = await stand.send(stand.order(BUY, 10, limit="99.9950"))
    assert result.outcome in (Outcome.REJECTED, Outcome.NOT_SENT), result
    assert result.reason is not None


@card(
    "O09",
    "An unknown symbol is refused",
    given="a symbol the venue does not have",
    when="an order for it is sent",
    then="rejected with a reason; nothing is in doubt",
    needs=(Need.PRICES,),
)
async def unknown_symbol(stand: Stand) -> None:
    result = await stand.send(stand.order(BUY, 10, symbol="NOSUCH"))
    assert result.outcome in (Outcome.REJECTED, Outcome.NOT_SENT), result
    assert result.reason is not None


@card(
    "O10",
    "A rejection is an answer (T10)",
    given="a venue that refuses the next order",
    when="an order is sent",
    then="rejected with the venue's own reason; told once; asked about, it is rejected still",
    needs=(Need.FAULTS,),
)
async def rejection(stand: Stand) -> None:
    await stand.broker.fault("REJECT_201")
    order = stand.order(BUY, 10, limit="99.00")
    result = await stand.sent_at_last(order)
    assert result.outcome is Outcome.REJECTED, result
    assert result.reason is not None
    assert result.reason.message
    assert (await stand.found(order)).presence.value == "rejected"


@card(
    "O11",
    "One id is one order",
    given="an order that was accepted",
    when="the same command is sent again",
    then="the venue has one order",
)
async def one_id_is_one_order(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    await stand.send(order)
    portfolio = await stand.portfolio()
    working = [found for found in portfolio.open_orders or () if found.client_order_id == order.client_order_id]
    assert len(working) == 1, working
    await stand.cancel(order)
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)


@card(
    "O12",
    "Two orders of one symbol are told apart",
    given="a symbol with a price",
    when="buys of 3 and 4 are sent at the same moment",
    then="3 are filled for the one and 4 for the other",
    needs=(Need.TRADES, Need.PRICES),
)
async def two_at_once(stand: Stand) -> None:
    three, four = stand.order(BUY, 3), stand.order(BUY, 4)
    await asyncio.gather(stand.accepted(three), stand.accepted(four))
    await stand.until_filled(three)
    await stand.until_filled(four)
    assert stand.cum_qty(three) == Number(3, 0)
    assert stand.cum_qty(four) == Number(4, 0)
    await stand.until_position(7)


@card(
    "O13",
    "Twenty orders in a row",
    given="a symbol with a price",
    when="twenty buys of one are sent together",
    then="each is filled once, whatever the venue's limits on messages are",
    needs=(Need.TRADES, Need.PRICES),
)
async def twenty_orders(stand: Stand) -> None:
    orders = [stand.order(BUY, 1) for _ in range(20)]
    await asyncio.gather(*(stand.accepted(order) for order in orders))
    for order in orders:
        await stand.until_filled(order)
    await stand.until_position(20)


@card(
    "O14",
    "Good till canceled is kept",
    given="a symbol with a price",
    when="a far limit is sent as good till canceled",
    then="accepted and working",
)
async def good_till_canceled(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00", time_in_force=GTC))
    await stand.until_working(order)
    await stand.cancel(order)
    await stand.until_fact(order, venue_pb2.ORDER_FACT_CANCELED)


@card(
    "O15",
    "An order in parts is one order (FILL_PARTIAL)",
    given="a venue that fills in parts",
    when="100 are bought",
    then="several fills, 100 in all, one position of 100",
    needs=(Need.TRADES, Need.FAULTS),
)
async def partial_fills(stand: Stand) -> None:
    order = stand.order(BUY, 100)
    await stand.broker.fill_in_parts(order)
    await stand.accepted(order)
    await stand.behind.price(stand.symbol, "100.50")
    await stand.until_filled(order)
    assert len(stand.fills(order)) > 1
    assert stand.cum_qty(order) == Number(100, 0)
    await stand.until_position(100)


@card(
    "O16",
    "A warning is no rejection",
    given="a venue that warns about the next order (399)",
    when="a far limit is sent",
    then="accepted and working; no end is told",
    needs=(Need.FAULTS,),
)
async def warning_399(stand: Stand) -> None:
    await _stays_alive_after(stand, "WARNING_399")


@card(
    "O17",
    "A changed time in force is no rejection",
    given="a venue that says it changed the time in force (10349)",
    when="a far limit is sent",
    then="accepted and working; no end is told",
    needs=(Need.FAULTS,),
)
async def time_in_force_10349(stand: Stand) -> None:
    await _stays_alive_after(stand, "TIF_10349")


async def _stays_alive_after(stand: Stand, fault: str) -> None:
    await stand.broker.fault(fault)
    order = await stand.accepted(stand.order(BUY, 10, limit="90.00"))
    await stand.until_working(order)
    assert venue_pb2.ORDER_FACT_REJECTED not in stand.facts(order)
    assert venue_pb2.ORDER_FACT_CANCELED not in stand.facts(order)
    await stand.behind.price(stand.symbol, "89.00")
    await stand.until_filled(order)


@card(
    "O18",
    "A fill may come before its acknowledgement",
    given="a venue that tells executions first",
    when="10 are bought",
    then="the fill is ours, once, whole",
    needs=(Need.FAULTS,),
)
async def fill_before_ack(stand: Stand) -> None:
    await _filled_under(stand, "FILL_BEFORE_ACK")


@card(
    "O19",
    "Statuses told three times are told once",
    given="a venue that repeats itself",
    when="10 are bought",
    then="one fill of 10",
    needs=(Need.FAULTS,),
)
async def duplicate_status(stand: Stand) -> None:
    await _filled_under(stand, "DUPLICATE_STATUS")


@card(
    "O20",
    "Statuses out of order do not matter",
    given="a venue that tells the last status first",
    when="10 are bought",
    then="one fill of 10, and the order is over",
    needs=(Need.FAULTS,),
)
async def reordered_status(stand: Stand) -> None:
    await _filled_under(stand, "REORDER_STATUS")


@card(
    "O21",
    "Executions alone say enough",
    given="a venue that sends no order status at all",
    when="10 are bought",
    then="accepted and filled, by executions",
    needs=(Need.FAULTS,),
)
async def no_order_status(stand: Stand) -> None:
    await _filled_under(stand, "NO_ORDER_STATUS")


@card(
    "O22",
    "A late status of before changes nothing",
    given="a venue that says Submitted after Filled",
    when="10 are bought",
    then="filled, and it stays so",
    needs=(Need.FAULTS,),
)
async def late_backward_status(stand: Stand) -> None:
    order = await _filled_under(stand, "LATE_BACKWARD_STATUS")
    portfolio = await stand.portfolio()
    assert order not in {found.client_order_id for found in portfolio.open_orders or ()}


async def _filled_under(stand: Stand, fault: str) -> str:
    await stand.broker.fault(fault)
    order = await stand.filled(stand.order(BUY, 10))
    assert stand.cum_qty(order) == Number(10, 0)
    await stand.until_position(10)
    return order.client_order_id


@card(
    "O23",
    "An order outside trading hours waits",
    given="a closed market",
    when="10 are bought at the market, then it opens",
    then="accepted while it is closed; filled when it opens; never told as rejected",
    needs=(Need.BACK_OFFICE,),
)
async def outside_hours(stand: Stand) -> None:
    await stand.broker.hours(stand.symbol, "CLOSED")
    order = await stand.accepted(stand.order(BUY, 10))
    assert not stand.fills(order)
    await stand.broker.hours(stand.symbol, "ALWAYS")
    await stand.behind.price(stand.symbol, "100.00")
    await stand.until_filled(order)
    assert venue_pb2.ORDER_FACT_REJECTED not in stand.facts(order)


@card(
    "O24",
    "Prices that stand still do not stop orders",
    given="a venue whose price feed is stale",
    when="10 are bought",
    then="filled all the same",
    needs=(Need.FAULTS,),
)
async def stale_prices(stand: Stand) -> None:
    await stand.broker.fault("STALE_PRICES", count=0)
    await stand.behind.price(stand.symbol, "101.00")
    await stand.filled(stand.order(BUY, 10))
