"""R: what is true after a break, whoever broke."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome, Presence
from tests.acceptance.card import card
from tests.acceptance.stand import BUY, GTC, SELL, Need, Stand


@card(
    "R01",
    "A working order survives the venue's process",
    given="a far limit working",
    when="the venue's process is killed and started again",
    then="the order is working, under our id; nothing is told twice",
    needs=(Need.PROCESS,),
)
async def venue_killed_with_working_order(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(order)
    await stand.behind.kill()
    await stand.behind.start()
    await stand.until_working(order)
    assert stand.facts(order).count(venue_pb2.ORDER_FACT_ACKNOWLEDGED) <= 1


@card(
    "R02",
    "A new gateway finds what the old one left",
    given="10 held and a far limit working",
    when="the gateway dies and another one knows what the journal knows",
    then="position and working order are there; no fill is told again",
    needs=(Need.TRADES, Need.PRICES),
)
async def gateway_dies(stand: Stand) -> None:
    bought = await stand.filled(stand.order(BUY, 10))
    working = await stand.accepted(stand.order(BUY, 10, limit="1.00"))
    await stand.until_working(working)
    await stand.reopen()
    await stand.until_position(10)
    await stand.until_working(working)
    assert stand.cum_qty(bought) == Number(10, 0)


@card(
    "R03",
    "A fill while we were away is told",
    given="a limit at 95 working, and nobody connected",
    when="the market moves to 94, and the gateway comes back",
    then="the fill is told once",
    needs=(Need.TRADES, Need.PRICES),
)
async def fill_while_away(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="95.00"))
    await stand.until_working(order)
    await stand.close()
    await stand.behind.price(stand.symbol, "94.00")
    await stand.open()
    await stand.until_filled(order)
    await stand.until_position(10)


@card(
    "R04",
    "Several fills while we were away",
    given="limits at 98, 97 and 96 working, and nobody connected",
    when="the market falls to 90, and the gateway comes back",
    then="all are told, each once",
    needs=(Need.TRADES, Need.PRICES),
)
async def fills_while_away(stand: Stand) -> None:
    limits = ("98.00", "97.00", "96.00")
    orders = [await stand.accepted(stand.order(BUY, 5, limit=limit, time_in_force=GTC)) for limit in limits]
    for order in orders:
        await stand.until_working(order)
    await stand.close()
    for price in ("97.50", "96.50", "90.00"):
        await stand.behind.price(stand.symbol, price)
    await stand.open()
    for order in orders:
        await stand.until_filled(order)
        assert stand.cum_qty(order) == Number(5, 0)
    await stand.until_position(15)


@card(
    "R05",
    "What is known is not told again",
    given="10 bought and sold, and everything about it known",
    when="the gateway dies twice and comes back",
    then="no fill and no end is told again",
    needs=(Need.TRADES, Need.PRICES),
)
async def nothing_twice(stand: Stand) -> None:
    await stand.filled(stand.order(BUY, 10))
    await stand.filled(stand.order(SELL, 10, is_exit=True))
    await stand.until_position(0)
    told = len(stand.of_kind(venue_pb2.Fill))
    await stand.reopen()
    await stand.reopen()
    assert len(stand.of_kind(venue_pb2.Fill)) == told


@card(
    "R06",
    "The venue dies with a market order under way",
    given="a market order that is filled at once",
    when="the venue's process is killed right after it was sent, and started again",
    then="filled once, or never there; the position says the same as the fills",
    needs=(Need.PROCESS, Need.TRADES),
)
async def venue_killed_under_way(stand: Stand) -> None:
    order = stand.order(BUY, 10)
    result = await stand.sent_at_last(order)
    await stand.behind.kill()
    await stand.behind.start()
    if result.outcome is Outcome.ACCEPTED:
        await stand.until_filled(order)

    async def agree() -> bool:
        return await stand.position() == stand.cum_qty(order)

    await stand.until(agree, "the position is what the fills say")


@card(
    "R07",
    "Every connection is cut",
    given="a limit at 95 working",
    when="the connections are reset, and the market moves to 94",
    then="the gateway comes back by itself and tells the fill once",
    needs=(Need.BACK_OFFICE,),
)
async def connections_cut(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="95.00"))
    await stand.until_working(order)
    await stand.broker.drop_connections(abruptly=True)
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(order)


@card(
    "R08",
    "The venue loses its own link",
    given="a limit at 95 working",
    when="1100, the market moves to 94, then 1102",
    then="no entry is sent in between; afterwards the fill is told once and entries go out again",
    needs=(Need.BACK_OFFICE,),
)
async def link_lost_and_restored(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="95.00"))
    await stand.until_working(order)
    await stand.broker.connectivity("LOST")
    await stand.until(lambda: stand.venue.state.no_entry is not None, "the gateway knows that the link is lost")
    assert (await stand.send(stand.order(BUY, 1))).outcome is Outcome.NOT_SENT
    await stand.behind.price(stand.symbol, "94.00")
    await stand.broker.connectivity("RESTORED")
    await stand.until(lambda: stand.venue.state.no_entry is None, "the gateway is reconciled")
    await stand.until_filled(order)
    await stand.filled(stand.order(BUY, 1))


@card(
    "R09",
    "The link comes back without its prices",
    given="a limit at 95 working",
    when="1100, then 1101",
    then="reconciled; orders and prices flow again",
    needs=(Need.BACK_OFFICE,),
)
async def link_restored_without_prices(stand: Stand) -> None:
    order = await stand.accepted(stand.order(BUY, 10, limit="95.00"))
    await stand.until_working(order)
    await stand.broker.connectivity("LOST")
    await stand.until(lambda: stand.venue.state.no_entry is not None, "the gateway knows that the link is lost")
    await stand.broker.connectivity("RESTORED_DATA_LOST")
    await stand.until(lambda: stand.venue.state.no_entry is None, "the gateway is reconciled")
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(order)


@card(
    "R10",
    "Order ids that go back do not mix orders up",
    given="an order under id n, then the nightly restart, after which the ids begin again",
    when="another order is sent",
    then="both orders keep their own fills",
    needs=(Need.BACK_OFFICE,),
)
async def ids_roll_back(stand: Stand) -> None:
    first = await stand.filled(stand.order(BUY, 3))
    await stand.broker.reset_day(roll_back_ids=True)
    await stand.portfolio()
    await stand.until(lambda: stand.venue.state.no_entry is None, "the gateway is reconciled")
    second = await stand.filled(stand.order(BUY, 4))
    assert stand.cum_qty(first) == Number(3, 0)
    assert stand.cum_qty(second) == Number(4, 0)


@card(
    "R11",
    "A client id that is still taken",
    given="a venue that says our client id is in use",
    when="the connection is cut",
    then="the gateway tries again with the same id until it is let in",
    needs=(Need.FAULTS,),
)
async def client_id_in_use(stand: Stand) -> None:
    await stand.broker.fault("CLIENT_ID_IN_USE", count=2)
    await stand.broker.drop_connections()
    await stand.filled_at_last(stand.order(BUY, 10))


@card(
    "R12",
    "A frame whose fields make no sense",
    given="a venue that sends such a frame after the next order",
    when="10 are bought",
    then="no crash; the fill is told once",
    needs=(Need.FAULTS,),
)
async def malformed_frame(stand: Stand) -> None:
    await _survives(stand, "MALFORMED_FRAME", request="PLACE_ORDER")


@card(
    "R13",
    "A frame larger than anyone would send",
    given="a venue that announces such a frame after the next order",
    when="10 are bought",
    then="the connection is given up and made anew; the fill is told once",
    needs=(Need.FAULTS,),
)
async def oversized_frame(stand: Stand) -> None:
    await _survives(stand, "OVERSIZED_FRAME", request="PLACE_ORDER")


@card(
    "R14",
    "Half a frame, then nothing",
    given="a venue that breaks off in the middle of a frame",
    when="10 are bought",
    then="the connection is made anew; the fill is told once",
    needs=(Need.FAULTS,),
)
async def truncated_frame(stand: Stand) -> None:
    await _survives(stand, "TRUNCATED_FRAME", request="PLACE_ORDER")


@card(
    "R15",
    "A message nobody knows",
    given="a venue that sends a message of an unknown id",
    when="10 are bought",
    then="the fill is told once",
    needs=(Need.FAULTS,),
)
async def unknown_message(stand: Stand) -> None:
    await _survives(stand, "UNKNOWN_MESSAGE", request="PLACE_ORDER")


@card(
    "R16",
    "One byte at a time",
    given="a venue whose answers arrive byte by byte",
    when="10 are bought",
    then="the fill is told once",
    needs=(Need.FAULTS,),
)
async def byte_wise(stand: Stand) -> None:
    await _survives(stand, "BYTE_WISE", request="PLACE_ORDER")


@card(
    "R17",
    "An execution with a time in a zone nobody knows",
    given="a venue that writes such a time",
    when="10 are bought",
    then="the fill is told once",
    needs=(Need.FAULTS,),
)
async def unknown_time_zone(stand: Stand) -> None:
    await _survives(stand, "UNKNOWN_TIME_ZONE")


async def _survives(stand: Stand, fault: str, *, request: str = "") -> None:
    """``request``: whose answer meets a fault of the socket, which else meets whatever is said next."""
    await stand.broker.fault(fault, request=request)
    order = stand.order(BUY, 10)
    result = await stand.sent_at_last(order)
    assert result.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN), result
    assert (await stand.found(order)).presence is Presence.FOUND
    await stand.until_filled(order)
    assert stand.cum_qty(order) == Number(10, 0)
    await stand.until_position(10)


@card(
    "R18",
    "The nightly restart",
    given="10 held",
    when="the venue restarts for the night and forgets the day's executions",
    then="the position is there; nothing is told again; orders go out again",
    needs=(Need.BACK_OFFICE,),
)
async def nightly_restart(stand: Stand) -> None:
    await stand.filled(stand.order(BUY, 10))
    await stand.broker.reset_day(roll_back_ids=False)
    await stand.until_position(10)
    await stand.filled_at_last(stand.order(SELL, 10, is_exit=True))
    await stand.until_position(0)
