"""Brackets through the submission procedure, killed between any two steps, at venues that prove absence or do not.

What is durable here is what the journal and the venue keep: marks, reports, alerts, orders. The fold of them is the
account's own book, so a restart finds what a restart of the service finds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import tokens
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core import submission
from kestrel_venue_gateway.core.admission import FlagsRead
from kestrel_venue_gateway.core.book import AccountBook
from kestrel_venue_gateway.core.submission import (
    Ask,
    AskResult,
    Audit,
    Cancel,
    Commission,
    Effect,
    Outcome,
    Presence,
    RaiseAlert,
    ReadKillFlags,
    ReadSpend,
    ReadVenueState,
    Recall,
    Record,
    SendBracket,
    SendResult,
    Spend,
    SpendResult,
    Wait,
    whose_mark,
)
from kestrel_venue_gateway.core.traits import STRONG, WEAK, Traits, VenueState

SUBMITTING, ACKNOWLEDGED, REJECTED, DENIED, IN_DOUBT, CANCELED = (
    venue_pb2.ORDER_FACT_SUBMITTING,
    venue_pb2.ORDER_FACT_ACKNOWLEDGED,
    venue_pb2.ORDER_FACT_REJECTED,
    venue_pb2.ORDER_FACT_DENIED,
    venue_pb2.ORDER_FACT_IN_DOUBT,
    venue_pb2.ORDER_FACT_CANCELED,
)


class ProcessDied(Exception):
    """The process ended between two steps."""


class StillWaiting(Exception):
    """Nothing ends this doubt but the venue or a person."""


@dataclass
class BracketVenue:
    """Takes brackets: whole, or as the wire wants it."""

    # What happens to the bracket on its way: accepted, rejected, lost_before, lost_after, late, unreachable,
    # stop_rejected, stop_lost (a venue that takes messages one by one).
    wire: str = "accepted"
    traits: Traits = STRONG
    orders: dict[str, str] = field(default_factory=dict)
    fenced: set[str] = field(default_factory=set)
    in_flight: list[list[str]] = field(default_factory=list)
    sends: int = 0

    def send(self, ids: list[str]) -> tuple[SendResult, ...]:
        self.sends += 1
        assert self.sends == 1, "a bracket was sent twice"
        if self.wire == "unreachable":
            return tuple(SendResult(Outcome.NOT_SENT) for _ in ids)
        if self.wire == "late":
            self.in_flight.append(ids)
        elif self.wire != "lost_before":
            self.place(ids)
        if self.wire in ("lost_before", "lost_after", "late"):
            return tuple(SendResult(Outcome.UNKNOWN) for _ in ids)
        return tuple(map(self._answer, ids))

    def place(self, ids: list[str]) -> None:
        if self.fenced & set(ids):
            return
        for order_id in ids:
            is_stop = order_id.endswith("-S")
            if is_stop and self.wire == "stop_lost":
                continue
            is_rejected = self.wire == "rejected" or (is_stop and self.wire == "stop_rejected")
            self.orders[order_id] = "REJECTED" if is_rejected else "WORKING"

    def _answer(self, order_id: str) -> SendResult:
        status = self.orders.get(order_id)
        if status is None:
            return SendResult(Outcome.UNKNOWN)
        return SendResult(Outcome.REJECTED if status == "REJECTED" else Outcome.ACCEPTED, f"v-{order_id}")

    def ask(self, order_id: str, *, fence: bool) -> AskResult:
        status = self.orders.get(order_id)
        if status is not None:
            return AskResult(Presence.REJECTED if status == "REJECTED" else Presence.FOUND, f"v-{order_id}")
        if fence:
            self.fenced.add(order_id)
        return AskResult(Presence.ABSENT)

    def deliver_late(self) -> None:
        for ids in self.in_flight:
            self.place(ids)
        self.in_flight.clear()


@dataclass
class World:
    """Everything that outlives a process: the journal with the bracket, what was reported since, and the venue."""

    desk: Any
    venue: BracketVenue
    commands: list[journal_pb2.VenueCommand]
    marks: dict[str, str] = field(default_factory=dict)
    reports: list[venue_pb2.VenueReport] = field(default_factory=list)
    alerts: set[str] = field(default_factory=set)
    book: AccountBook = field(init=False)
    effects: list[str] = field(default_factory=list)
    _count: int = 0
    _die_at: int = -1

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: the journal is folded again, and holds all that was reported."""
        self.book = AccountBook(self.desk.account, self.desk.venue, 0)
        self.begun = self.book.apply(1, self.entry(commands=self.commands))
        for sequence, report in enumerate(self.reports, 2):
            body = inbox_pb2.InboxMessage(venue=report).SerializeToString()
            self.book.apply(sequence, self.entry(door="venue", input=body, input_sequence=sequence))

    def entry(self, **values: Any) -> journal_pb2.JournalEntry:
        return journal_pb2.JournalEntry(account=self.desk.account, **values)

    def live(self, die_at: int = -1) -> None:
        """One process: everything unsettled, one after the other, until the end or until it dies."""
        self._count, self._die_at = 0, die_at
        for commission in self.book.unsettled:
            self.run(commission)

    def run(self, commission: Commission) -> None:
        gate = replace(self.desk.gate, traits=self.venue.traits)
        steps, result = submission.one_by_one(submission.procedure(gate, commission)), None
        try:
            while True:
                effect = steps.send(result)
                self.effects.append(type(effect).__name__)
                self._maybe_die(before=True)
                result = self.perform(effect)
                self._maybe_die(before=False)
        except (StopIteration, StillWaiting):
            return

    def _maybe_die(self, *, before: bool) -> None:
        self._count += 1
        if self._count - 1 == self._die_at:
            raise ProcessDied

    def perform(self, effect: Effect) -> Any:
        match effect:
            case ReadKillFlags():
                return FlagsRead(True, b"", self.desk.now_ns)
            case ReadVenueState():
                return VenueState()
            case Recall(order_id):
                return self.book.known.order(order_id)
            case Spend(key, identity):
                if key in self.marks:
                    return whose_mark(self.marks[key], identity)
                self.marks[key] = identity
                return SpendResult.WON
            case ReadSpend(key, identity):
                return whose_mark(self.marks[key], identity) if key in self.marks else SpendResult.WON
            case Record(report):
                if report.order.fact == DENIED:
                    assert report.order.client_order_id not in self.venue.orders, "denied, and yet at the venue"
                if report.report_id not in {each.report_id for each in self.reports}:
                    self.reports.append(report)
                self.book.known.learn_ahead(report)
            case Audit():
                pass
            case RaiseAlert(alert):
                self.alerts.add(alert.reason)
            case SendBracket(commands):
                ids = [command.client_order_id for command in commands]
                for order_id in ids:
                    assert SUBMITTING in self.facts(order_id), "sent before it was recorded"
                assert self.marks, "sent before the token was spent"
                return self.venue.send(ids)
            case Ask(order_id, fence):
                return self.venue.ask(order_id, fence=fence)
            case Cancel(command):
                known = command.client_order_id in self.venue.orders
                return SendResult(Outcome.ACCEPTED if known else Outcome.REJECTED)
            case Wait():
                raise StillWaiting
        return None

    def facts(self, order_id: str) -> list[int]:
        return [report.order.fact for report in self.reports if report.order.client_order_id == order_id]


def world_of(desk: Any, wire: str = "accepted", traits: Traits = STRONG) -> World:
    entry, protective = desk.bracket()
    return World(desk, BracketVenue(wire, traits), [entry, *protective])


def check_truth(world: World) -> None:
    """What was reported of each of the three is what the venue has, and at most one alert asks a person."""
    world.venue.deliver_late()
    for command in world.commands:
        order_id = command.client_order_id
        facts, status = set(world.facts(order_id)), world.venue.orders.get(order_id)
        assert len(facts & {ACKNOWLEDGED, REJECTED, DENIED}) <= 1, facts
        if status is not None:
            assert DENIED not in facts
        if world.venue.traits is STRONG:
            expected = {"WORKING": ACKNOWLEDGED, "REJECTED": REJECTED, None: DENIED}[status]
            assert expected in facts, (order_id, status, facts)
        elif not facts & {ACKNOWLEDGED, REJECTED, DENIED}:
            assert IN_DOUBT in facts


def test_bracket_is_one_act_one_token_all_recorded_then_sent_in_one_go_T01(desk: Any) -> None:
    world = world_of(desk)
    world.live()
    assert world.effects == [
        *("ReadKillFlags", "Spend", "ReadVenueState", "ReadKillFlags", "Record", "Record", "Record", "ReadVenueState"),
        *("SendBracket", "Audit", "Record", "Record", "Record", "Recall", "Recall"),
    ]
    assert len(world.marks) == 1
    assert [world.facts(command.client_order_id) for command in world.commands] == [[SUBMITTING, ACKNOWLEDGED]] * 3
    assert world.alerts == set()


WIRES = ["accepted", "rejected", "lost_before", "lost_after", "late", "unreachable", "stop_rejected", "stop_lost"]


@pytest.fixture
def remembered_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "read_token", functools.cache(tokens.read_token))


def calm(world: World) -> None:
    """Nothing happened while the process was away."""


def packets_arrived(world: World) -> None:
    world.venue.deliver_late()


@pytest.mark.usefixtures("remembered_signatures")
@pytest.mark.parametrize("traits", [STRONG, WEAK], ids=["strong", "weak"])
@pytest.mark.parametrize("meanwhile", [calm, packets_arrived])
@pytest.mark.parametrize("wire", WIRES)
def test_death_at_any_two_points_sends_a_bracket_once_and_reports_the_truth_of_each_order_T01(
    desk: Any, wire: str, meanwhile: Callable[[World], None], traits: Traits
) -> None:
    whole = world_of(desk, wire, traits)
    whole.live()
    check_truth(whole)
    twice = meanwhile is packets_arrived and wire in ("lost_before", "late", "stop_lost")
    for first in range(len(whole.effects) * 2):
        for second in range(-1, 12) if twice else (-1, 4):
            world = world_of(desk, wire, traits)
            for point in (first, second):
                try:
                    world.live(point) if point >= 0 else None
                except ProcessDied:
                    meanwhile(world)
                    world.restart()
            world.live()
            check_truth(world)


def test_entry_that_is_there_without_its_stop_raises_the_alarm_and_sends_nothing_T01(desk: Any) -> None:
    world = world_of(desk, "stop_lost", WEAK)
    world.live()
    assert "PROTECTION_LOST" in world.alerts
    assert world.facts(world.commands[1].client_order_id) == [SUBMITTING, IN_DOUBT]
    assert world.venue.sends == 1


def test_entry_that_is_there_without_its_stop_is_told_to_the_kernel_where_absence_is_a_proof_T01(desk: Any) -> None:
    world = world_of(desk, "stop_lost", STRONG)
    world.live()
    assert world.facts(world.commands[1].client_order_id)[-1] == DENIED
    assert world.facts(world.commands[0].client_order_id)[-1] == ACKNOWLEDGED


def test_protective_order_never_goes_out_alone_T01(desk: Any) -> None:
    world = world_of(desk)
    world.commands = world.commands[1:]
    world.restart()
    world.live()
    assert world.venue.sends == 0
    assert [world.facts(command.client_order_id) for command in world.commands] == [[DENIED], [DENIED]]


def test_protective_orders_of_an_entry_that_was_denied_are_denied_without_a_question_T01(desk: Any) -> None:
    world = world_of(desk, traits=WEAK)
    world.commands[1].price.units += 100
    world.restart()
    world.live()
    assert [world.facts(command.client_order_id) for command in world.commands] == [[DENIED]] * 3
    assert "Ask" not in world.effects


def test_person_who_gives_up_an_entry_gives_up_what_would_have_protected_it_T01(desk: Any) -> None:
    world = world_of(desk, "lost_before", WEAK)
    world.live()
    entry = world.commands[0]
    report = next(report for report in world.reports if report.order.client_order_id == entry.client_order_id)
    given_up = venue_pb2.VenueReport()
    given_up.CopyFrom(report)
    given_up.report_id, given_up.order.fact = "given-up", CANCELED
    given_up.order.reason.reason = "ORDER_GIVEN_UP"
    world.reports.append(given_up)
    world.restart()
    cancels = [desk.cancel(command.client_order_id) for command in world.commands[1:]]
    for commission in world.book.apply(99, world.entry(commands=cancels)):
        world.run(commission)
    assert [world.facts(command.client_order_id)[-1] for command in world.commands] == [CANCELED] * 3


def test_protective_orders_keep_no_exit_out_and_their_fills_count_against_the_warrant_T01(desk: Any) -> None:
    world = world_of(desk)
    world.live()
    way_out = desk.exit()
    way_out.group = world.commands[0].client_order_id
    [commission] = world.book.apply(50, world.entry(commands=[way_out]))
    assert commission.committed_qty == Number(0, 0)
    assert commission.command.group == way_out.group
    stop_id = world.commands[1].client_order_id
    fill = journal_pb2.BookedFill(client_order_id=stop_id, execution_id="x", last_qty=Number(4, 0).message())
    [second] = world.book.apply(51, world.entry(fills=[fill], commands=[desk.exit(input_sequence=51)]))
    assert second.committed_qty == Number(14, 0)


def test_exit_joins_no_group_of_another_trade_T01(desk: Any) -> None:
    world = world_of(desk)
    way_out = desk.exit()
    way_out.group = "K-of-somebody-else"
    [commission] = world.book.apply(50, world.entry(commands=[way_out]))
    assert commission.command.group == ""
