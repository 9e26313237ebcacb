"""One session over a venue that does not number what it says and repeats all of it: told once, whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import effects, subjects
from kestrel_domain.errors import Unavailable
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import Alarm, Fact, VenueEvent
from kestrel_venue_gateway.core.traits import WEAK, VenueState
from kestrel_venue_gateway.core.truth import Portfolio
from kestrel_venue_gateway.shell.session import AccountSession

pytestmark = pytest.mark.integration

OURS = "ks" + "a" * 26
ACCOUNT = "DU1"


class RepeatingVenue:
    """Says everything from the beginning whenever somebody connects, and breaks off when it is told to."""

    name = "ibkr"
    traits = WEAK
    state = VenueState()

    def __init__(self, facts: list[tuple[str, Fact | Alarm]]) -> None:
        self.facts = facts
        self.connections = 0
        self.known_at_start: list[KnownFacts] = []
        self.breaks_off = asyncio.Event()
        self._count = 0

    async def events(self, after_sequence: int, known: KnownFacts) -> AsyncGenerator[VenueEvent, None]:
        self.connections += 1
        self.known_at_start.append(known)
        self._count = after_sequence
        told = 0
        while True:
            while told < len(self.facts):
                key, fact = self.facts[told]
                told, self._count = told + 1, self._count + 1
                yield VenueEvent(self._count, 1, fact, key)
            try:
                async with asyncio.timeout(0.01):
                    await self.breaks_off.wait()
            except TimeoutError:
                continue
            self.breaks_off.clear()
            raise Unavailable("the connection is gone")

    async def portfolio(self) -> Portfolio:
        return Portfolio(time.time_ns(), self._count, [], [], venue_pb2.Balance())

    async def close(self) -> None:
        return None


def fill(execution_id: str) -> venue_pb2.Fill:
    return venue_pb2.Fill(
        execution_id=execution_id,
        client_order_id=OURS,
        symbol="AAPL",
        side=common_pb2.SIDE_BUY,
        last_qty=Number.parse("1").message(),
        last_price=Number.parse("100").message(),
    )


def fee(execution_id: str) -> venue_pb2.Settlement:
    return venue_pb2.Settlement(
        execution_id=execution_id, client_order_id=OURS, symbol="AAPL", fee=Number.parse("1.00").message()
    )


def acknowledged() -> venue_pb2.OrderReport:
    return venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_ACKNOWLEDGED, client_order_id=OURS, symbol="AAPL")


def corrected(execution_id: str, by: str) -> venue_pb2.FillBust:
    return venue_pb2.FillBust(execution_id=execution_id, client_order_id=OURS, corrected=fill(by))


@pytest.fixture
def open_session(bus: Any, live_desk: Any) -> Any:
    def make(venue: RepeatingVenue, **changes: Any) -> AccountSession:
        settings = VenueGatewaySettings(
            venue="ibkr", accounts=[ACCOUNT], pause_s_min=0.01, pause_s_max=0.05, truth_quiet_s=0.01, **changes
        )
        scripted: Any = venue
        key = live_desk.key.verifying_key()
        return AccountSession(settings, bus, scripted, key, ParkingLane(bus, "venue-gateway"), ACCOUNT)

    return make


async def stored(bus: Any) -> list[venue_pb2.VenueReport]:
    return [inbox_pb2.InboxMessage.FromString(message.data).venue async for message in bus.read(subjects.INBOX)]


async def alerts(bus: Any) -> list[str]:
    return [audit_pb2.Alert.FromString(message.data).reason async for message in bus.read(subjects.ALERTS)]


async def run_until(session: AccountSession, wait_until: Any, check: Any, what: str) -> None:
    running = asyncio.create_task(session.run())
    try:
        await wait_until(check, what)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def everything() -> list[tuple[str, Fact]]:
    return [
        ("ack", acknowledged()),
        ("x.01", fill("x.01")),
        ("fee x.01", fee("x.01")),
        ("x.02", corrected("x.01", "x.02")),
        ("fee x.02", fee("x.02")),
    ]


async def test_what_the_venue_repeats_after_a_reconnect_or_a_restart_is_told_once(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    venue = RepeatingVenue(everything())
    first = open_session(venue)

    async def told_twice() -> bool:
        if venue.connections == 1 and len(await stored(bus)) == 5:
            venue.breaks_off.set()
        truth = await bus.last_message(subjects.TRUTH)
        return truth is not None and venue_pb2.BrokerTruth.FromString(truth.data).execution_watermark >= 10

    await run_until(first, wait_until, told_twice, "all of it over a second connection")
    venue.facts.append(("y.01", fill("y.01")))
    second = open_session(venue)

    async def heard_the_new_one() -> bool:
        return len(await stored(bus)) >= 6 and second.report_count > 0

    await run_until(second, wait_until, heard_the_new_one, "the new fill")
    assert (first.report_count, second.report_count) == (5, 1)
    bodies = [report.WhichOneof("body") for report in await stored(bus)]
    assert bodies == ["order", "fill", "settlement", "bust", "settlement", "fill"]
    assert [report.settlement.execution_id for report in await stored(bus)][4] == "x.01", "as the kernel booked it"


async def test_what_only_the_journal_holds_is_known_too(bus: Any, open_session: Any, wait_until: Any) -> None:
    report = venue_pb2.VenueReport(venue="ibkr", account=ACCOUNT, report_id="r", fill=fill("x.01"), venue_watermark=7)
    report.received_at_ns = time.time_ns()
    entry = journal_pb2.JournalEntry(
        account=ACCOUNT, door="venue", input=inbox_pb2.InboxMessage(venue=report).SerializeToString()
    )
    await bus.publish(effects.publish(subjects.journal(0, ACCOUNT), entry, "j-1"))
    venue = RepeatingVenue([("x.01", fill("x.01")), ("y.01", fill("y.01"))])

    async def heard() -> bool:
        return len(await stored(bus)) == 1

    await run_until(open_session(venue), wait_until, heard, "the other fill alone")
    (found,) = await stored(bus)
    assert (found.fill.execution_id, found.venue_watermark) == ("y.01", 9)
    assert venue.known_at_start[0].knows_execution("x.01")


async def test_truth_of_a_degraded_venue_is_partial_and_says_why(bus: Any, open_session: Any, wait_until: Any) -> None:
    venue = RepeatingVenue(everything())
    venue.state = VenueState(degraded=common_pb2.Refusal(reason="IBKR_1100", message="cut off from its servers"))
    session = open_session(venue)

    async def newest() -> Any:
        message = await bus.last_message(subjects.TRUTH)
        return message and venue_pb2.BrokerTruth.FromString(message.data)

    async def truth_after_all_events() -> bool:
        truth = await newest()
        return truth is not None and truth.execution_watermark == 5

    await run_until(session, wait_until, truth_after_all_events, "a truth")
    truth = await newest()
    assert (truth.completeness, truth.error.reason) == (venue_pb2.COMPLETENESS_PARTIAL, "IBKR_1100")


async def test_fee_that_never_comes_is_told_to_people_once(bus: Any, open_session: Any, wait_until: Any) -> None:
    venue = RepeatingVenue([("x.01", fill("x.01"))])

    async def told_of_another() -> bool:
        count = (await alerts(bus)).count("FEE_OVERDUE")
        if count == len(venue.facts) == 1:
            venue.facts.append(("y.01", fill("y.01")))
        return count == 2

    await run_until(open_session(venue, fee_wait_s=0.1), wait_until, told_of_another, "an alert of each")
    assert await alerts(bus) == ["FEE_OVERDUE"] * 2
    assert telemetry.figures()["alerts.raised"] == 2, "the first fee was missing all the while"


async def test_alarm_of_a_connector_is_told_to_people_once_also_after_a_restart_ORDER_WITHOUT_TOKEN(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    alarm = Alarm("ORDER_WITHOUT_TOKEN", "the venue has an order that no journal of ours commanded", OURS)
    other = Alarm("ORDER_WITHOUT_TOKEN", "and another", OURS[:-1] + "b")

    async def heard() -> bool:
        return len(await stored(bus)) == count

    ends = ("x.01", fill("x.01")), ("y.01", fill("y.01"))
    for count, facts in ((1, [("a", alarm), ("a2", alarm), ends[0]]), (2, [("a", alarm), ("b", other), ends[1]])):
        session = open_session(RepeatingVenue(facts))
        await run_until(session, wait_until, heard, "what comes behind the alarms")
        assert await alerts(bus) == ["ORDER_WITHOUT_TOKEN"] * count
        assert telemetry.figures()["alerts.raised"] == count


async def test_event_without_a_key_is_parked_and_those_behind_it_pass_P11(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    venue = RepeatingVenue([("", fill("x.01")), ("y.01", fill("y.01"))])

    async def heard() -> bool:
        return len(await stored(bus)) == 1

    await run_until(open_session(venue), wait_until, heard, "the fill behind it")
    assert (await stored(bus))[0].fill.execution_id == "y.01"
    assert "VENUE_EVENT_PARKED" in await alerts(bus)
