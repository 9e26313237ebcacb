"""M: money. Fees, corrections, and a wallet that moves by what was earned and paid, not by what was bought."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, SELL, Need, Stand


@card(
    "M01",
    "Buying moves the wallet by the fee alone",
    given="a flat symbol",
    when="10 are bought at 100",
    then="the wallet is less by the fee, not by 1000",
    needs=(Need.TRADES, Need.PRICES),
)
async def buying_costs_the_fee(stand: Stand) -> None:
    before = await stand.wallet()
    order = await stand.filled(stand.order(BUY, 10))
    fee = await stand.fee_of(order)
    await stand.until_wallet(before - fee)


@card(
    "M02",
    "A round trip moves the wallet by profit and fees",
    given="10 bought at 100",
    when="10 are sold at 110",
    then="the wallet is more by 100 less both fees",
    needs=(Need.TRADES, Need.PRICES),
)
async def round_trip_profit(stand: Stand) -> None:
    before = await stand.wallet()
    bought = await stand.filled(stand.order(BUY, 10))
    await stand.behind.price(stand.symbol, "110.00")
    sold = await stand.filled(stand.order(SELL, 10, is_exit=True))
    fees = await stand.fee_of(bought) + await stand.fee_of(sold)
    profit = stand.notional(sold) - stand.notional(bought)
    await stand.until_wallet(before + profit - fees)


@card(
    "M03",
    "A fee that comes late is told once",
    given="a venue whose commission reports take a second",
    when="10 are bought",
    then="the fill is told; its fee follows, once",
    needs=(Need.FAULTS,),
)
async def late_commission(stand: Stand) -> None:
    await stand.broker.fault("COMMISSION_LATE", delay_ms=1_000)
    order = await stand.filled(stand.order(BUY, 10))
    assert await stand.fee_of(order) > Number.zero()
    assert stand.fee_count(order) == 1


@card(
    "M04",
    "A fee that never comes holds nothing up",
    given="a venue that sends no commission report",
    when="10 are bought and sold",
    then="both fills are told; their fees are not known, not zero",
    needs=(Need.FAULTS,),
)
async def commission_never(stand: Stand) -> None:
    await stand.broker.fault("COMMISSION_NEVER", count=0)
    orders = [
        await stand.filled(stand.order(BUY, 10)),
        await stand.filled(stand.order(SELL, 10, is_exit=True)),
    ]
    await stand.broker.heal()
    await stand.fee_of(await stand.filled(stand.order(BUY, 1)))  # by now theirs would have been told, too
    for order in orders:
        assert stand.fee_count(order) == 0


@card(
    "M05",
    "A commission of minus one is no commission",
    given="a venue that says -1 first and the true figure later",
    when="10 are bought",
    then="one fee, the true one",
    needs=(Need.FAULTS,),
)
async def commission_minus_one(stand: Stand) -> None:
    await stand.broker.fault("COMMISSION_MINUS_ONE", delay_ms=500)
    order = await stand.filled(stand.order(BUY, 10))
    assert await stand.fee_of(order) > Number.zero()
    assert stand.fee_count(order) == 1


@card(
    "M06",
    "A correction restates an execution",
    given="10 bought at 100",
    when="the venue corrects the execution to 9 at 99.50",
    then="the first execution is taken back and the second stands in its place; no new fill",
    needs=(Need.BACK_OFFICE,),
)
async def correction(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.fee_of(order)
    fill = stand.fills(order)[0]
    await stand.broker.correct(fill.execution_id, qty=9, price="99.50")
    await stand.until(lambda: bool(stand.of_kind(venue_pb2.FillBust)), "the correction is told")
    bust = stand.of_kind(venue_pb2.FillBust)[0]
    assert bust.execution_id == fill.execution_id
    assert Number.of(bust.corrected.last_qty) == Number(9, 0)
    assert Number.of(bust.corrected.last_price) == Number.parse("99.50")
    assert len(stand.fills(order)) == 1
    await stand.until_position(9)


@card(
    "M07",
    "A bust takes an execution back",
    given="10 bought",
    when="the venue busts the execution",
    then="told as taken back; the position is flat",
    needs=(Need.BACK_OFFICE,),
)
async def bust(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.fee_of(order)
    fill = stand.fills(order)[0]
    await stand.broker.bust(fill.execution_id)
    await stand.until(lambda: bool(stand.of_kind(venue_pb2.FillBust)), "the bust is told")
    told = stand.of_kind(venue_pb2.FillBust)[0]
    assert told.execution_id == fill.execution_id
    assert not told.HasField("corrected")
    await stand.until_position(0)


@card(
    "M08",
    "A correction while we were away",
    given="10 bought, and nobody connected",
    when="the execution is corrected to 8, and the gateway comes back",
    then="told as a correction, once; no new fill",
    needs=(Need.BACK_OFFICE,),
)
async def correction_while_away(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.fee_of(order)
    fill = stand.fills(order)[0]
    await stand.close()
    await stand.broker.correct(fill.execution_id, qty=8, price="100.00")
    await stand.open()
    await stand.until(lambda: bool(stand.of_kind(venue_pb2.FillBust)), "the correction is told")
    assert len(stand.fills(order)) == 1
    await stand.until_position(8)


@card(
    "M09",
    "A wrong position is told as the venue tells it",
    given="10 bought, and a venue that reports one too many",
    when="the portfolio is asked for",
    then="11, as the venue says; the fills say 10: it is the reconciler's to notice",
    needs=(Need.FAULTS,),
)
async def wrong_position(stand: Stand) -> None:
    order = await stand.filled(stand.order(BUY, 10))
    await stand.until_position(10)
    await stand.broker.fault("WRONG_POSITION", count=0)
    await stand.until_position(11)
    assert stand.cum_qty(order) == Number(10, 0)
