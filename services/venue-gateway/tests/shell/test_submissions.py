"""Lanes: commands of one trade in order, trades side by side, and nothing waits for what is in doubt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import Unavailable
from kestrel_venue_gateway.core.admission import FlagsRead
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import (
    AskResult,
    Commission,
    Outcome,
    Presence,
    SendResult,
    SpendResult,
)
from kestrel_venue_gateway.core.traits import VenueState
from kestrel_venue_gateway.shell.pacing import Pauses
from kestrel_venue_gateway.shell.submissions import Figures, Submissions


class LedgerStandIn:
    """Keeps reports in memory; flags are clear and every mark is won."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.facts: list[tuple[str, int]] = []

    async def read_flags(self) -> FlagsRead:
        return FlagsRead(True, b"", self._now_ns)

    async def spend(self, key: str, identity: str) -> SpendResult:
        return SpendResult.WON

    async def record(self, report: venue_pb2.VenueReport, traceparent: str = "") -> None:
        self.facts.append((report.order.client_order_id, report.order.fact))

    async def audit(self, bead: Any, traceparent: str = "") -> None:
        return None

    async def alert(self, alert: Any, traceparent: str = "") -> None:
        return None


class MeetingLedger(LedgerStandIn):
    """A read of the flags ends only when a write has begun, and the other way round."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(now_ns)
        self._reading, self._writing = asyncio.Event(), asyncio.Event()

    async def read_flags(self) -> FlagsRead:
        await self._meet(self._reading, self._writing)
        return await super().read_flags()

    async def spend(self, key: str, identity: str) -> SpendResult:
        await self._meet(self._writing, self._reading)
        return await super().spend(key, identity)

    async def record(self, report: venue_pb2.VenueReport, traceparent: str = "") -> None:
        if report.order.fact == venue_pb2.ORDER_FACT_SUBMITTING:
            await self._meet(self._writing, self._reading)
        await super().record(report, traceparent)

    async def _meet(self, mine: asyncio.Event, other: asyncio.Event) -> None:
        mine.set()
        await other.wait()
        other.clear()


class VenueStandIn:
    """Answers each order when its gate is opened, or never; asks are silent until told otherwise."""

    name = "paper"
    state = VenueState()

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.lost: set[str] = set()
        self.presence = Presence.UNKNOWN

    async def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        self.sent.append(command.client_order_id)
        if command.client_order_id in self.gates:
            await self.gates[command.client_order_id].wait()
        return SendResult(Outcome.UNKNOWN if command.client_order_id in self.lost else Outcome.ACCEPTED)

    async def ask(self, client_order_id: str, *, fence: bool) -> AskResult:
        return AskResult(self.presence)


class BookStandIn:
    """Holds an answer to what it is told to."""

    def __init__(self) -> None:
        self.known = KnownFacts()
        self.settled: set[str] = set()

    def is_settled(self, identity: str) -> bool:
        return identity in self.settled


class Bench:
    """Submissions over stand-ins."""

    def __init__(self, desk: Any) -> None:
        self.ledger, self.venue = LedgerStandIn(desk.now_ns), VenueStandIn()
        self.may_send = True
        ledger: Any = self.ledger
        venue: Any = self.venue
        book: Any = BookStandIn()
        self.book, pauses = book, Pauses(0.001, 0.002)
        self.submissions = Submissions(desk.gate, ledger, venue, pauses, lambda: self.may_send, Figures(), book)

    async def until(self, check: Any) -> None:
        async with asyncio.timeout(30):
            while not check():  # noqa: ASYNC110  (what is looked at knows no event)
                await asyncio.sleep(0)


@pytest.fixture
def bench(desk: Any) -> Bench:
    return Bench(desk)


def commission(command: journal_pb2.VenueCommand, number: int) -> Commission:
    return Commission(command, f"JOURNAL_0:{number}:0")


async def test_slow_order_of_one_trade_does_not_hold_up_another(desk: Any, bench: Bench) -> None:
    slow, quick = desk.entry(desk.intent("slow")), desk.entry(desk.intent("quick"))
    bench.venue.gates[slow.client_order_id] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(slow, 1), group)
        bench.submissions.begin(commission(quick, 2), group)
        await bench.until(lambda: (quick.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED) in bench.ledger.facts)
        bench.venue.gates[slow.client_order_id].set()


async def test_exit_waits_for_the_entry_of_its_own_trade(desk: Any, bench: Bench) -> None:
    entry, leave = desk.entry(), desk.exit()
    bench.venue.gates[entry.client_order_id] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(entry, 1), group)
        bench.submissions.begin(commission(leave, 2), group)
        await bench.until(lambda: bench.venue.sent)
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.venue.sent == [entry.client_order_id]
        bench.venue.gates[entry.client_order_id].set()
    assert bench.venue.sent == [entry.client_order_id, leave.client_order_id]


async def test_entry_in_doubt_lets_the_exit_of_its_own_trade_pass(desk: Any, bench: Bench) -> None:
    entry, leave = desk.entry(), desk.exit()
    bench.venue.lost.add(entry.client_order_id)
    async with asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(entry, 1), group)
        bench.submissions.begin(commission(leave, 2), group)
        await bench.until(lambda: (leave.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED) in bench.ledger.facts)
        assert bench.submissions.figures.orders_in_doubt == 1
        bench.venue.presence = Presence.FOUND
    assert bench.ledger.facts[-1] == (entry.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    assert bench.submissions.figures.orders_in_doubt == 0
    assert bench.venue.sent.count(entry.client_order_id) == 1


async def test_nothing_is_sent_once_the_login_is_somebody_elses(desk: Any, bench: Bench) -> None:
    bench.may_send = False
    with pytest.raises(ExceptionGroup) as lost:
        async with asyncio.TaskGroup() as group:
            bench.submissions.begin(commission(desk.entry(), 1), group)
    assert lost.group_contains(Unavailable, match="lease")
    assert bench.venue.sent == []


async def test_settling_waits_for_what_can_finish_and_not_for_what_is_in_doubt(desk: Any, bench: Bench) -> None:
    doubtful, plain = desk.entry(desk.intent("doubtful")), desk.entry(desk.intent("plain"))
    bench.venue.lost.add(doubtful.client_order_id)
    async with asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(doubtful, 1), group)
        bench.submissions.begin(commission(plain, 2), group)
        await bench.submissions.settle(10)
        assert (plain.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED) in bench.ledger.facts
        bench.venue.presence = Presence.FOUND


async def test_doubt_that_the_journal_settled_is_asked_about_no_more(desk: Any, bench: Bench) -> None:
    entry = desk.entry()
    bench.venue.lost.add(entry.client_order_id)
    async with asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(entry, 1), group)
        await bench.until(lambda: bench.submissions.figures.orders_in_doubt == 1)
        bench.book.settled.add(commission(entry, 1).identity)
    assert bench.submissions.figures.orders_in_doubt == 0
    assert (entry.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED) not in bench.ledger.facts


async def test_looks_at_the_flags_go_beside_the_spend_and_beside_submitting(desk: Any, bench: Bench) -> None:
    meeting: Any = MeetingLedger(desk.now_ns)
    bench.submissions._ledger = meeting
    command = desk.entry()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        bench.submissions.begin(commission(command, 1), group)
    facts = [venue_pb2.ORDER_FACT_SUBMITTING, venue_pb2.ORDER_FACT_ACKNOWLEDGED]
    assert meeting.facts == [(command.client_order_id, fact) for fact in facts]
