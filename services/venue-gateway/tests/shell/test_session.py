"""One session over a scripted venue: what it hears, where it goes on after a restart, what it never passes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import effects, subjects
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import Fact, VenueEvent
from kestrel_venue_gateway.core.traits import STRONG, VenueState
from kestrel_venue_gateway.core.truth import Portfolio
from kestrel_venue_gateway.shell import journal
from kestrel_venue_gateway.shell import session as session_module
from kestrel_venue_gateway.shell.session import AccountSession

pytestmark = pytest.mark.integration

OURS = "ks" + "a" * 26


class ScriptedVenue:
    """Says what the script says from where it is asked, then nothing more."""

    name = "paper"
    traits = STRONG
    state = VenueState()

    def __init__(self, facts: list[Fact]) -> None:
        self.facts = facts
        self.asked_after: list[int] = []
        self.error: Exception | None = None

    async def events(self, after_sequence: int, known: KnownFacts) -> AsyncGenerator[VenueEvent, None]:
        self.asked_after.append(after_sequence)
        if self.error is not None:
            raise self.error
        for sequence, fact in enumerate(self.facts, start=1):
            if sequence > after_sequence:
                yield VenueEvent(sequence, sequence, fact)
        await asyncio.Event().wait()

    async def portfolio(self) -> Portfolio:
        return Portfolio(1, len(self.facts), [], [], venue_pb2.Balance())

    async def close(self) -> None:
        return None


def fill(execution_id: str, client_order_id: str = OURS, quantity: str = "1") -> venue_pb2.Fill:
    return venue_pb2.Fill(
        execution_id=execution_id,
        client_order_id=client_order_id,
        symbol="AAPL",
        side=common_pb2.SIDE_BUY,
        last_qty=Number.parse(quantity).message(),
        last_price=Number.parse("100").message(),
    )


def balance(wallet: str) -> venue_pb2.Balance:
    return venue_pb2.Balance(wallet=Number.parse(wallet).message(), currency="USD")


@pytest.fixture
def open_session(bus: Any, live_desk: Any) -> Any:
    settings = VenueGatewaySettings(pause_s_min=0.01, pause_s_max=0.05)

    def make(venue: ScriptedVenue) -> AccountSession:
        scripted: Any = venue
        key = live_desk.key.verifying_key()
        return AccountSession(settings, bus, scripted, key, ParkingLane(bus, "venue-gateway"), "PAPER-1")

    return make


async def stored(bus: Any) -> list[venue_pb2.VenueReport]:
    return [inbox_pb2.InboxMessage.FromString(message.data).venue async for message in bus.read(subjects.INBOX)]


async def run_until(session: AccountSession, wait_until: Any, check: Any, what: str) -> None:
    running = asyncio.create_task(session.run())
    try:
        await wait_until(check, what)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_only_what_is_ours_and_sound_reaches_the_kernel_and_the_rest_is_kept_X11_K16_P11(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    facts = [fill("x1"), fill("x2", "web-7"), balance("0"), fill("x4", quantity="0"), fill("x5"), balance("10")]
    session = open_session(ScriptedVenue(facts))

    async def all_heard() -> bool:
        return len(await stored(bus)) == 4

    await run_until(session, wait_until, all_heard, "four reports")
    reports = await stored(bus)
    assert [report.WhichOneof("body") for report in reports] == ["fill", "foreign", "fill", "balance"]
    assert [report.fill.execution_id for report in reports] == ["x1", "", "x5", ""]
    assert reports[-1].venue_watermark == 6
    parked = [audit_pb2.ParkedMessage.FromString(message.data) async for message in bus.read(subjects.PARKED)]
    assert [message.reason.field for message in parked] == ["fill.last_qty"]
    assert venue_pb2.Fill.FromString(parked[0].body).execution_id == "x4"
    alerts = {audit_pb2.Alert.FromString(message.data).reason async for message in bus.read(subjects.ALERTS)}
    assert alerts == {"FOREIGN_ACTIVITY", "VENUE_EVENT_PARKED"}


async def test_restarted_session_goes_on_behind_the_last_stored_event(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    venue = ScriptedVenue([fill("x1"), fill("x2")])

    async def count_is(count: int) -> bool:
        return len(await stored(bus)) == count

    await run_until(open_session(venue), wait_until, lambda: count_is(2), "two reports")
    venue.facts.append(fill("x3"))
    await run_until(open_session(venue), wait_until, lambda: count_is(3), "one more")
    assert venue.asked_after == [0, 2]


async def test_place_in_the_venues_stream_survives_an_inbox_that_forgot_it(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    venue = ScriptedVenue([fill("x1"), fill("x2"), fill("x3")])
    report = venue_pb2.VenueReport(venue="paper", account="PAPER-1", report_id="r", fill=fill("x2"), venue_watermark=2)
    entry = journal_pb2.JournalEntry(
        account="PAPER-1", door="venue", input=inbox_pb2.InboxMessage(venue=report).SerializeToString()
    )
    await bus.publish(effects.publish(subjects.journal(0, "PAPER-1"), entry, "j-1"))

    async def heard() -> bool:
        return len(await stored(bus)) == 1

    await run_until(open_session(venue), wait_until, heard, "the third fill alone")
    assert venue.asked_after == [2]


async def test_truth_waits_for_its_facts_to_be_stored(
    bus: Any, open_session: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_CATCH_UP_TIMEOUT_S", 60.0)  # as long as a busy machine takes to store them
    session = open_session(ScriptedVenue([fill("x1"), balance("10")]))

    async def truths() -> bool:
        return await bus.last_message(subjects.TRUTH) is not None

    await run_until(session, wait_until, truths, "a truth")
    newest = await bus.last_message(subjects.TRUTH)
    truth = venue_pb2.BrokerTruth.FromString(newest.data)
    assert truth.completeness == venue_pb2.COMPLETENESS_SNAPSHOT
    assert truth.execution_watermark == 2
    inbox = await bus.last_message(subjects.INBOX)
    assert inbox.time_ns <= newest.time_ns


async def test_request_for_truth_is_answered_by_the_session_that_holds_the_login_alone(
    bus: Any, open_session: Any, wait_until: Any
) -> None:
    session = open_session(ScriptedVenue([]))
    session.ask_for_truth("asked-too-early")

    async def answered() -> bool:
        if session.active and not asked:
            asked.append("now")
            session.ask_for_truth("asked-now")
        return "asked-now" in await request_ids()

    async def request_ids() -> list[str]:
        messages = [message async for message in bus.read(subjects.TRUTH)]
        return [venue_pb2.BrokerTruth.FromString(message.data).request_id for message in messages]

    asked: list[str] = []
    await run_until(session, wait_until, answered, "the request is answered")
    assert "asked-too-early" not in await request_ids()


@pytest.mark.parametrize(
    ("error", "reason"), [(RemoteProtocolError("forgot"), "VENUE_PROTOCOL"), (Unavailable("away"), None)]
)
async def test_venue_that_breaks_off_is_asked_again_and_one_that_contradicts_us_is_alerted(
    bus: Any, open_session: Any, wait_until: Any, error: Exception, reason: str | None
) -> None:
    venue = ScriptedVenue([fill("x1")])
    venue.error = error
    await run_until(open_session(venue), wait_until, lambda: len(venue.asked_after) >= 3, "three attempts")
    alerts = {audit_pb2.Alert.FromString(message.data).reason async for message in bus.read(subjects.ALERTS)}
    assert alerts == ({reason} if reason else set())


async def test_journal_entry_that_makes_no_sense_is_parked_and_the_next_command_is_carried_out_P11(
    bus: Any, open_session: Any, live_desk: Any, wait_until: Any
) -> None:
    bad = effects.Publish(subjects.journal(0, "PAPER-1"), b"\xff\xff\xff", "bad")
    await bus.publish(bad)
    command = live_desk.entry()
    command.token = ""
    entry = journal_pb2.JournalEntry(account="PAPER-1", commands=[command])
    await bus.publish(effects.publish(subjects.journal(0, "PAPER-1"), entry, "good"))

    async def denied() -> bool:
        return [report.order.fact for report in await stored(bus)] == [venue_pb2.ORDER_FACT_DENIED]

    await run_until(open_session(ScriptedVenue([])), wait_until, denied, "the next command is answered")
    parked = [audit_pb2.ParkedMessage.FromString(message.data) async for message in bus.read(subjects.PARKED)]
    assert [(message.stream, message.sequence) for message in parked] == [("JOURNAL_0", 1)]


class ReadingNoted:
    """Notes behind which sequence the journal was read, each time it was read to its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read_behind: list[int] = []
        self._read_to_end = journal.read_to_end
        monkeypatch.setattr(journal, "read_to_end", self)

    async def __call__(self, bus: Any, stream: str, after_sequence: int) -> AsyncGenerator[StoredMessage, None]:
        async for message in self._read_to_end(bus, stream, after_sequence):
            yield message
        self.read_behind.append(after_sequence)


async def test_who_stands_by_has_the_journal_folded_when_the_login_becomes_free(
    bus: Any, open_session: Any, live_desk: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = ReadingNoted(monkeypatch)
    other = Lease(bus, "gateway-paper-PAPER-1", "the other one")
    await other.acquire()
    session = open_session(ScriptedVenue([]))
    running = asyncio.create_task(session.run())
    try:
        await wait_until(lambda: session.standing_by, "it stands by")
        command = live_desk.entry()
        command.token = ""
        entry = journal_pb2.JournalEntry(account="PAPER-1", commands=[command])
        await bus.publish(effects.publish(subjects.journal(0, "PAPER-1"), entry, "one"))
        await wait_until(lambda: 1 in reading.read_behind, "it has read what was written meanwhile")
        assert await stored(bus) == []

        reading.read_behind.clear()
        await other.release()

        async def denied() -> bool:
            return [report.order.fact for report in await stored(bus)] == [venue_pb2.ORDER_FACT_DENIED]

        await wait_until(denied, "the command is taken up")
        assert set(reading.read_behind) == {1}, "nothing was read again"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff\xff\xff", journal_pb2.JournalEntry(account="PAPER-1", door="venue", input=b"\xff").SerializeToString()],
    ids=["entry", "input"],
)
async def test_what_makes_no_sense_is_parked_by_who_holds_the_login_not_by_who_stands_by_P11(
    bus: Any, open_session: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch, nonsense: bytes
) -> None:
    reading = ReadingNoted(monkeypatch)
    await bus.publish(effects.publish(subjects.journal(0, "PAPER-1"), journal_pb2.JournalEntry(), "sound"))
    other = Lease(bus, "gateway-paper-PAPER-1", "the other one")
    await other.acquire()
    session = open_session(ScriptedVenue([]))
    running = asyncio.create_task(session.run())
    try:
        await wait_until(lambda: 1 in reading.read_behind, "it reads ahead")
        await bus.publish(effects.Publish(subjects.journal(0, "PAPER-1"), nonsense, "bad"))
        await wait_until(lambda: telemetry.figures().get("sessions.reading_ahead_given_up"), "it has met the nonsense")
        assert (await bus.stream_state(subjects.PARKED)).messages == 0
        await other.release()

        async def parked() -> bool:
            return (await bus.stream_state(subjects.PARKED)).messages == 1

        await wait_until(parked, "the nonsense is parked")
        found = [audit_pb2.ParkedMessage.FromString(message.data) async for message in bus.read(subjects.PARKED)]
        assert [(message.stream, message.sequence) for message in found] == [("JOURNAL_0", 2)]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_journal_message_lost_on_the_way_is_read_before_those_behind_it(
    bus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LeakyLoop(PullLoop):
        """Loses the second message of the stream, as a connection that breaks does."""

        async def batches(self) -> Any:
            async for batch in super().batches():
                yield [message for message in batch if message.sequence != 2]

    for number in range(1, 5):
        entry = journal_pb2.JournalEntry(account="PAPER-1", epoch=number)
        await bus.publish(effects.publish(subjects.journal(0, "PAPER-1"), entry, f"j-{number}"))
    monkeypatch.setattr(journal, "PullLoop", LeakyLoop)
    seen = []
    async for message in journal.follow(bus, "JOURNAL_0", 0):
        seen.append(message.sequence)
        if len(seen) == 4:
            break
    assert seen == [1, 2, 3, 4]
