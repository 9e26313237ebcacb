"""B: brackets. An entry goes out with what protects it, and the venue holds that together."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome, Presence
from tests.acceptance.card import card
from tests.acceptance.stand import Need, Stand

CANCELED, REJECTED = venue_pb2.ORDER_FACT_CANCELED, venue_pb2.ORDER_FACT_REJECTED


@card(
    "B01",
    "A bracket leaves at its target",
    given="a bracket bought at the market, its stop at 95 and its target at 105",
    when="the market moves to 106",
    then="sold at 105 or more; the stop is canceled; the position is flat",
    needs=(Need.TRADES, Need.PRICES),
)
async def leaves_at_target(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    await stand.until_working(stop)
    await stand.until_working(target)
    await stand.behind.price(stand.symbol, "106.00")
    await stand.until_filled(target)
    assert all(Number.of(fill.last_price) >= Number.parse("105.00") for fill in stand.fills(target))
    await stand.until_fact(stop, CANCELED)
    await stand.until_position(0)


@card(
    "B02",
    "A bracket leaves at its stop",
    given="a bracket bought at the market, its stop at 95 and its target at 105",
    when="the market moves to 94",
    then="sold by the stop; the target is canceled; the position is flat",
    needs=(Need.TRADES, Need.PRICES),
)
async def leaves_at_stop(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(stop)
    await stand.until_fact(target, CANCELED)
    assert not stand.fills(target)
    await stand.until_position(0)


@card(
    "B03",
    "What protects an entry sleeps while the entry works",
    given="a bracket with a limit of 90, its stop at 85",
    when="the market moves to 84 above an hour's lows only after the entry was canceled",
    then="nothing is sold; the stop ends with its entry, canceled",
    needs=(Need.TRADES, Need.PRICES),
)
async def ends_with_its_entry(stand: Stand) -> None:
    entry, stop = commands = stand.bracket(limit="90.00", stop="85.00")
    await stand.accepted_bracket(commands)
    await stand.until_working(entry)
    await stand.until_accepted_cancel(entry)
    await stand.until_fact(entry, CANCELED)
    await stand.until_fact(stop, CANCELED)
    await stand.behind.price(stand.symbol, "84.00")
    assert not stand.fills(stop)
    await stand.until_position(0)


@card(
    "B04",
    "An exit is not kept out by what protects the position",
    given="10 held by a bracket, its stop at 95 and its target at 105",
    when="all of it is sold at the market",
    then="sold once; stop and target are canceled; the position is flat, whatever the market does then",
    needs=(Need.TRADES, Need.PRICES),
)
async def exit_while_protected(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    await stand.until_working(stop)
    await stand.filled(stand.way_out(entry))
    await stand.until_fact(stop, CANCELED)
    await stand.until_fact(target, CANCELED)
    await stand.behind.price(stand.symbol, "90.00")
    await stand.behind.price(stand.symbol, "110.00")
    assert not stand.fills(stop)
    assert not stand.fills(target)
    await stand.until_position(0)


@card(
    "B05",
    "An exit after the stop takes nothing twice",
    given="a bracket whose stop has sold everything",
    when="an exit of the same trade arrives late, and is taken or refused",
    then="the stop sold once; its target is canceled",
    needs=(Need.TRADES, Need.PRICES),
)
async def exit_after_the_stop(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    late = await stand.accepted(stand.way_out(entry, limit="150.00"))
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(stop)
    await stand.until_fact(target, CANCELED)
    await stand.until_fact(late, CANCELED)
    assert not stand.fills(late)
    await stand.until_position(0)


@card(
    "B06",
    "Of a bracket that is not sent whole, nothing is",
    given="a bracket whose stop lies between two ticks",
    when="it is sent",
    then="certainly not sent, or refused, all of it; no order is at the venue",
)
async def nothing_of_a_wrong_one(stand: Stand) -> None:
    commands = stand.bracket(limit="1.00", stop="0.50", target="2.00")
    commands[1].price.units += 1
    results = await stand.send_bracket(commands)
    outcomes = {result.outcome for result in results}
    if outcomes != {Outcome.NOT_SENT}:
        assert results[1].outcome is Outcome.REJECTED, results
        await stand.until_accepted_cancel(commands[0])
        await stand.until_fact(commands[0], CANCELED)
    portfolio = await stand.portfolio()
    ours = {command.client_order_id for command in commands}
    assert not ours & {found.client_order_id for found in portfolio.open_orders or ()}


@card(
    "B07",
    "A protective order that the venue refuses is told, and the entry works on",
    given="a venue that refuses the next stop",
    when="a bracket with a far limit is sent",
    then="the entry is accepted; the stop is refused, in the venue's words; nothing is sent again",
    needs=(Need.FAULTS,),
)
async def protective_refused(stand: Stand) -> None:
    await stand.broker.fault("REJECT_201", order_type="STP")
    entry, stop = commands = stand.bracket(limit="90.00", stop="85.00")
    results = await stand.send_bracket(commands)
    assert results[0].outcome is Outcome.ACCEPTED, results
    assert results[1].outcome is Outcome.REJECTED, results
    await stand.until_fact(stop, REJECTED)
    await stand.until_working(entry)
    await stand.until_accepted_cancel(entry)


@card(
    "B08",
    "The connection breaks while a bracket is written",
    given="a connection that drops at the next order",
    when="a bracket is sent",
    then="not known; asked about by identity, no order of it is at work; nothing is sent again",
    needs=(Need.FAULTS,),
)
async def dropped_within(stand: Stand) -> None:
    await stand.broker.fault("DROP_ON_REQUEST", request="PLACE_ORDER")
    commands = stand.bracket(limit="90.00", stop="85.00", target="99.00")
    results = await stand.send_bracket(commands)
    assert Outcome.ACCEPTED not in {result.outcome for result in results}, results
    await stand.broker.heal()
    for command in commands:
        await stand.nowhere(command)
        assert not stand.fills(command)


@card(
    "B09",
    "A bracket whose answers are lost is found order by order",
    given="a venue that says nothing about the next orders",
    when="a bracket with a far limit is sent, and each of its orders is asked about",
    then="found under each id; one order at the venue under each",
    needs=(Need.FAULTS,),
)
async def answers_lost(stand: Stand) -> None:
    await stand.broker.fault("SWALLOW_ACK", count=3)
    commands = stand.bracket(limit="90.00", stop="85.00", target="99.00")
    await stand.send_bracket(commands)
    for command in commands:
        assert (await stand.found(command)).presence is Presence.FOUND
    await stand.until_accepted_cancel(commands[0])
    for command in commands:
        await stand.until_fact(command, CANCELED)


@card(
    "B10",
    "The venue dies with a bracket at work",
    given="10 held by a bracket; the venue killed and started",
    when="the market moves to its stop",
    then="the stop was kept and sells, once; the target is canceled; the position is flat",
    needs=(Need.TRADES, Need.PRICES, Need.PROCESS),
)
async def venue_dies(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    await stand.behind.kill()
    await stand.behind.start()
    await stand.until_working(stop)
    await stand.behind.price(stand.symbol, "94.00")
    await stand.until_filled(stop)
    await stand.until_fact(target, CANCELED)
    await stand.until_position(0)


@card(
    "B11",
    "The gateway dies with a bracket at work",
    given="10 held by a bracket; the gateway gone, and the market at its target meanwhile",
    when="another gateway begins with what the journal knows",
    then="the target's fill and the stop's end are told, each once",
    needs=(Need.TRADES, Need.PRICES),
)
async def gateway_dies(stand: Stand) -> None:
    entry, stop, target = commands = stand.bracket(stop="95.00", target="105.00")
    await stand.accepted_bracket(commands)
    await stand.until_filled(entry)
    await stand.close()
    await stand.behind.price(stand.symbol, "106.00")
    await stand.open()
    await stand.until_filled(target)
    await stand.until_fact(stop, CANCELED)
    await stand.until_position(0)


@card(
    "B12",
    "Of a partly filled entry, what was filled is protected",
    given="a bracket whose entry is filled in part and then canceled",
    when="the market moves to its stop",
    then="the stop sells what was filled, and the rest of it is called canceled; the position is flat",
    needs=(Need.TRADES, Need.PRICES, Need.FAULTS),
)
async def partly_filled(stand: Stand) -> None:
    await stand.broker.fault("PARTIAL_THEN_CANCEL_RACE")
    entry, stop = commands = stand.bracket(limit="90.00", stop="85.00")
    await stand.accepted_bracket(commands)
    await stand.until_working(entry)
    await stand.until_accepted_cancel(entry)
    await stand.until_fact(entry, CANCELED)
    filled = stand.cum_qty(entry)
    assert Number.zero() < filled < Number(10, 0)
    await stand.until_working(stop)
    await stand.behind.price(stand.symbol, "84.00")
    await stand.until(lambda: stand.cum_qty(stop) == filled, "the stop sells what was filled")
    await stand.until_fact(stop, CANCELED)
    await stand.until_position(0)
