"""The submission procedure at a venue that proves nothing, killed between any two steps, twice.

The venue below does not fence, makes a second order of a second message under one id, and forgets what it refused to
hear. So the invariants are: nothing is ever there twice, nothing is denied that is there or may still come, and what
nobody can know is in doubt, told of, and ended by a person or by the venue's own word.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import tokens
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_venue_gateway.core import submission
from kestrel_venue_gateway.core.admission import FlagsRead, Gate
from kestrel_venue_gateway.core.known import ORDER_GIVEN_UP, KnownFacts
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
    Send,
    SendResult,
    Spend,
    SpendResult,
    Wait,
    whose_mark,
)
from kestrel_venue_gateway.core.traits import WEAK, VenueState

SUBMITTING, ACKNOWLEDGED, REJECTED, DENIED, CANCELED, IN_DOUBT, CANCEL_REJECTED = (
    venue_pb2.ORDER_FACT_SUBMITTING,
    venue_pb2.ORDER_FACT_ACKNOWLEDGED,
    venue_pb2.ORDER_FACT_REJECTED,
    venue_pb2.ORDER_FACT_DENIED,
    venue_pb2.ORDER_FACT_CANCELED,
    venue_pb2.ORDER_FACT_IN_DOUBT,
    venue_pb2.ORDER_FACT_CANCEL_REJECTED,
)
SETTLING = {ACKNOWLEDGED, REJECTED, DENIED, CANCELED}
CUT_OFF = common_pb2.Refusal(reason="NO_CONNECTION", message="no connection")
WAITS_MAX = 4
"""A process that has waited so often would wait for ever."""


class ProcessDied(Exception):
    """The process ended between two steps."""


class StillWaiting(Exception):
    """It goes on for ever; the test does not."""


@dataclass
class UnprovenVenue:
    """Every message that arrives is an order of its own, and what is not there is simply not there."""

    # What happens to the next sends: accepted, rejected, lost_before, lost_after, late, unreachable.
    wire: list[str] = field(default_factory=list)
    silent_asks: int = 0
    arrivals: list[str] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)
    canceled: set[str] = field(default_factory=set)
    in_flight: list[str] = field(default_factory=list)
    state: VenueState = field(default_factory=VenueState)

    def send(self, order_id: str) -> SendResult:
        fate = self.wire.pop(0) if self.wire else "accepted"
        if fate == "unreachable":
            return SendResult(Outcome.NOT_SENT)
        if fate == "lost_before":
            return SendResult(Outcome.UNKNOWN)
        if fate == "late":
            self.in_flight.append(order_id)
            return SendResult(Outcome.UNKNOWN)
        self.arrivals.append(order_id)
        if fate.startswith("rejected"):
            self.rejected.add(order_id)
        if fate.endswith("lost_after"):
            return SendResult(Outcome.UNKNOWN)
        return SendResult(Outcome.REJECTED if order_id in self.rejected else Outcome.ACCEPTED, f"v-{order_id}")

    def ask(self, order_id: str) -> AskResult:
        if self.silent_asks:
            self.silent_asks -= 1
            return AskResult(Presence.UNKNOWN)
        if order_id in self.rejected:
            return AskResult(Presence.REJECTED)
        return AskResult(Presence.FOUND if order_id in self.arrivals else Presence.ABSENT, f"v-{order_id}")

    def cancel(self, order_id: str) -> SendResult:
        if self.silent_asks:
            self.silent_asks -= 1
            return SendResult(Outcome.UNKNOWN)
        if order_id not in self.arrivals or order_id in self.rejected:
            return SendResult(Outcome.REJECTED, reason=common_pb2.Refusal(reason="NOT_FOUND", message="no such order"))
        self.canceled.add(order_id)
        return SendResult(Outcome.ACCEPTED)

    def deliver_late(self) -> None:
        """What was still under way arrives now, the worst moment."""
        self.arrivals += self.in_flight
        self.in_flight.clear()


@dataclass
class World:
    """Everything that outlives a process, and what a person or the venue does while one waits."""

    now_ns: int
    venue: UnprovenVenue = field(default_factory=UnprovenVenue)
    flags: bytes = b""
    spends_to_lose: int = 0
    marks: dict[str, str] = field(default_factory=dict)
    reports: list[venue_pb2.VenueReport] = field(default_factory=list)
    known: KnownFacts = field(default_factory=KnownFacts)
    beads: dict[str, Any] = field(default_factory=dict)
    alerts: dict[str, Any] = field(default_factory=dict)
    run_count: int = 0
    # How effects come that go side by side.
    order: Callable[[int], Iterable[int]] = range
    on_effect: Callable[[Effect], None] = lambda effect: None
    on_wait: Callable[[], None] = lambda: None

    def gate(self, desk: Any) -> Gate:
        """Each process is a run of its own."""
        self.run_count += 1
        gate: Gate = desk.gate
        return replace(gate, traits=WEAK, run=f"run-{self.run_count}")

    def steps(self, gate: Gate, commission: Commission) -> submission.Procedure:
        """One thing at a time, so that a process may die between any two."""
        return submission.one_by_one(submission.procedure(gate, commission), self.order)

    def run(self, desk: Any, commission: Commission, *, die_at: int = -1, after: bool = False) -> int:
        """One process: performs effects until the end, until it dies, or until it would wait for ever."""
        steps, result, count, waits = self.steps(self.gate(desk), commission), None, 0, 0
        while True:
            try:
                effect = steps.send(result)
            except StopIteration:
                return count
            self.on_effect(effect)
            if count == die_at and not after:
                raise ProcessDied
            waits += isinstance(effect, Wait)
            if waits > WAITS_MAX:
                raise StillWaiting
            result = self.perform(effect, commission)
            if count == die_at:
                raise ProcessDied
            count += 1

    def perform(self, effect: Effect, commission: Commission) -> Any:
        match effect:
            case ReadKillFlags():
                return FlagsRead(True, self.flags, self.now_ns)
            case ReadVenueState():
                return self.venue.state
            case Recall(client_order_id):
                return self.known.order(client_order_id)
            case Spend(key, identity):
                return self.spend(key, identity)
            case ReadSpend(key, identity):
                return whose_mark(self.marks[key], identity) if key in self.marks else SpendResult.WON
            case Record(report):
                self.reports.append(report)
                self.known.learn_ahead(report)
            case Audit(bead):
                self.beads[bead.bead_id] = bead
            case RaiseAlert(alert):
                self.alerts[alert.alert_id] = alert
            case Send(command):
                assert SUBMITTING in self.facts(command), "sent before it was recorded"
                return self.venue.send(command.client_order_id)
            case Ask(order_id, fence):
                assert not fence, "this venue has no fences"
                return self.venue.ask(order_id)
            case Cancel(command):
                return self.venue.cancel(command.client_order_id)
            case Wait():
                self.on_wait()
                return self.is_settled(commission.command)
        return None

    def spend(self, key: str, identity: str) -> SpendResult:
        was_there = key in self.marks
        holder = self.marks.setdefault(key, identity)
        if self.spends_to_lose:
            self.spends_to_lose -= 1
            return SpendResult.UNKNOWN  # and yet it was made
        return whose_mark(holder, identity) if was_there else SpendResult.WON

    def facts(self, command: journal_pb2.VenueCommand) -> list[int]:
        return [report.order.fact for report in self.reports if report.order.client_order_id == command.client_order_id]

    def is_settled(self, command: journal_pb2.VenueCommand) -> bool:
        if command.kind == journal_pb2.COMMAND_KIND_CANCEL:
            return bool({DENIED, CANCELED, REJECTED, CANCEL_REJECTED} & set(self.facts(command)))
        return bool(SETTLING & set(self.facts(command)))

    def alert_reasons(self) -> set[str]:
        return {alert.reason for alert in self.alerts.values()}


def commission_of(command: journal_pb2.VenueCommand, number: int = 17, **about: Any) -> Commission:
    return Commission(command, f"JOURNAL_0:{number}:0", **about)


def run_out(world: World, desk: Any, commission: Commission) -> bool:
    """Run it until nothing more happens. False: it is in doubt, and waits."""
    try:
        world.run(desk, commission)
    except StillWaiting:
        return False
    return True


def check_truth(world: World, command: journal_pb2.VenueCommand) -> None:
    """Nothing twice, nothing denied that is there; and what is not settled is in doubt, and somebody knows."""
    facts, order_id = set(world.facts(command)), command.client_order_id
    there = world.venue.arrivals.count(order_id)
    assert there + world.venue.in_flight.count(order_id) <= 1, "one order, twice at the venue"
    if facts & {DENIED, CANCELED}:
        assert there + world.venue.in_flight.count(order_id) == 0, "called absent, and it is there or comes"
    if ACKNOWLEDGED in facts:
        assert there, "called acknowledged, and the venue has never seen it"
    if not facts & SETTLING:
        assert IN_DOUBT in facts, "neither settled nor in doubt"
        assert "ORDER_IN_DOUBT" not in world.alert_reasons(), "the kernel tells of a doubt; nobody is told twice"
        assert not there or world.venue.silent_asks, "in doubt, and the venue would have told"
    if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
        assert world.beads, "a token's end left no bead"


# --- entries ---------------------------------------------------------------------------------------------------


def test_entry_in_doubt_and_nowhere_to_be_found_stays_in_doubt_IBKR_TIMEOUT_T09(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["lost_before"])), desk.entry()
    assert not run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, IN_DOUBT]
    assert world.reports[-1].order.reason.message.startswith("the venue does not know the order")
    assert not world.alert_reasons()
    (bead,) = world.beads.values()
    assert bead.token.kind == authority_pb2.TOKEN_EVENT_KIND_USED, "the token is used, whatever became of the order"


def test_entry_in_doubt_is_found_by_its_identity_when_it_arrives_late(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["late"])), desk.entry()
    world.on_wait = world.venue.deliver_late
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, IN_DOUBT, ACKNOWLEDGED]


def test_entry_in_doubt_ends_when_the_journal_has_its_answer_from_the_event_stream(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["lost_after"], silent_asks=100)), desk.entry()

    def acknowledge() -> None:
        world.reports.append(
            venue_pb2.VenueReport(
                order=venue_pb2.OrderReport(fact=ACKNOWLEDGED, client_order_id=command.client_order_id)
            )
        )

    world.on_wait = acknowledge
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, IN_DOUBT, ACKNOWLEDGED]
    assert world.venue.arrivals == [command.client_order_id]


def test_entry_that_certainly_never_left_is_burned_also_here(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["unreachable"])), desk.entry()
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, DENIED]
    assert world.reports[-1].order.reason.reason == "TOKEN_BURNED"


@pytest.mark.parametrize("state", [VenueState(degraded=CUT_OFF), VenueState(cut_off=CUT_OFF)])
def test_entry_is_denied_with_the_reason_while_the_venue_is_degraded(desk: Any, state: VenueState) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(state=state)), desk.entry()
    assert run_out(world, desk, commission_of(command))
    assert (world.facts(command), world.venue.arrivals) == ([DENIED], [])
    assert world.reports[0].order.reason.reason == "VENUE_DEGRADED"
    assert "no connection" in world.reports[0].order.reason.message


def test_venue_that_degrades_between_the_two_checks_stops_the_entry(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()

    def degrade_at_spend(effect: Effect) -> None:
        if isinstance(effect, Spend):
            world.venue.state = VenueState(degraded=CUT_OFF)

    world.on_effect = degrade_at_spend
    assert run_out(world, desk, commission_of(command))
    assert (world.facts(command), world.venue.arrivals) == ([DENIED], [])


# --- exits -----------------------------------------------------------------------------------------------------


def test_exit_in_doubt_is_asked_about_and_never_sent_again(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["lost_before"])), desk.exit()
    for _ in range(3):
        assert not run_out(world, desk, commission_of(command))
    assert world.venue.arrivals == []
    assert set(world.facts(command)) == {SUBMITTING, IN_DOUBT}
    assert not world.alert_reasons()


def test_exit_that_certainly_never_left_is_sent_again_also_by_a_later_process(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["unreachable", "unreachable"])), desk.exit()

    def die() -> None:
        if world.run_count == 1:
            raise ProcessDied

    world.on_wait = die
    with pytest.raises(ProcessDied):
        world.run(desk, commission_of(command))
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command)[-1] == ACKNOWLEDGED
    assert world.venue.arrivals == [command.client_order_id]
    assert world.alert_reasons() == {"EXIT_NOT_SENT"}


def test_exit_waits_unmarked_for_the_connection_and_goes_out_when_it_is_back(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(state=VenueState(cut_off=CUT_OFF))), desk.exit()
    assert not run_out(world, desk, commission_of(command))
    assert (world.marks, world.reports) == ({}, [])
    assert world.alert_reasons() == {"EXIT_NOT_SENT"}
    world.venue.state = VenueState()
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]


def test_exit_goes_out_while_the_venue_is_only_degraded_T07(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(state=VenueState(degraded=CUT_OFF))), desk.exit()
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]


def test_exit_whose_mark_was_made_without_an_answer_goes_out_all_the_same(desk: Any) -> None:
    world, command = World(desk.now_ns, spends_to_lose=1), desk.exit()
    assert run_out(world, desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]


def test_run_that_was_frozen_after_an_unsent_attempt_does_not_send_beside_its_successor(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["unreachable"])), desk.exit()
    commission = commission_of(command)
    frozen = submission.procedure(world.gate(desk), commission)
    effect: Effect = next(frozen)
    while not isinstance(effect, Wait):
        effect = frozen.send(world.perform(effect, commission))
    assert run_out(world, desk, commission)
    assert world.venue.arrivals == [command.client_order_id]
    effect = frozen.send(False)
    for _ in range(20):
        assert not isinstance(effect, Send), "the successor's attempt is not ours"
        try:
            effect = frozen.send(world.perform(effect, commission))
        except StopIteration:
            break
    check_truth(world, command)


def test_exit_without_a_warrant_is_denied_and_somebody_is_told(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.exit(quantity="11")
    assert run_out(world, desk, commission_of(command))
    assert (world.facts(command), world.alert_reasons()) == ([DENIED], {"EXIT_REFUSED"})
    again = World(desk.now_ns)
    assert run_out(again, desk, commission_of(desk.exit(), repeats_an_id=True))
    assert again.venue.arrivals == [command.client_order_id]


# --- cancels, and what a person decides -------------------------------------------------------------------------


def person(desk: Any, order: journal_pb2.VenueCommand) -> Commission:
    of_exit = order.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
    return commission_of(desk.cancel(order.client_order_id), 40, by_person=True, of_exit=of_exit)


def machine(desk: Any, order: journal_pb2.VenueCommand) -> Commission:
    return replace(person(desk, order), by_person=False)


@pytest.mark.parametrize("kind", ["entry", "exit"])
def test_person_who_cancels_what_is_in_doubt_and_nowhere_ends_the_doubt(desk: Any, kind: str) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["lost_before"])), getattr(desk, kind)()
    assert not run_out(world, desk, commission_of(command))
    assert run_out(world, desk, person(desk, command))
    assert world.facts(command)[-1] == CANCELED
    assert world.reports[-1].order.reason.reason == ORDER_GIVEN_UP
    assert run_out(world, desk, commission_of(command)), "who asked for it stops asking"
    if kind == "exit":
        another = desk.exit(input_sequence=8)
        assert run_out(world, desk, commission_of(another, 50))
        assert world.venue.arrivals == [another.client_order_id]


def test_person_is_not_believed_while_the_venue_does_not_answer(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["lost_before"])), desk.entry()
    assert not run_out(world, desk, commission_of(command))
    world.venue.silent_asks = 100
    assert not run_out(world, desk, person(desk, command))
    assert CANCELED not in world.facts(command)
    assert "CANCEL_UNCONFIRMED" in world.alert_reasons()


def test_machines_cancel_of_what_is_nowhere_is_repeated_until_it_turns_up(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["late"])), desk.entry()
    assert not run_out(world, desk, commission_of(command))
    assert not run_out(world, desk, machine(desk, command))
    assert CANCELED not in world.facts(command)
    assert "CANCEL_UNCONFIRMED" in world.alert_reasons()
    world.on_wait = world.venue.deliver_late
    assert run_out(world, desk, machine(desk, command))
    assert world.venue.canceled == {command.client_order_id}


def test_cancel_that_overtook_its_order_by_a_moment_is_asked_for_again(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["late"])), desk.entry()
    assert not run_out(world, desk, commission_of(command))

    def arrive_before_the_question(effect: Effect) -> None:
        if isinstance(effect, Ask):
            world.venue.deliver_late()

    world.on_effect = arrive_before_the_question
    assert run_out(world, desk, machine(desk, command))
    assert world.venue.canceled == {command.client_order_id}


def test_cancel_of_what_was_rejected_is_rejected_too(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["rejected"])), desk.entry()
    assert run_out(world, desk, commission_of(command))
    assert run_out(world, desk, machine(desk, command))
    assert world.facts(command)[-1] == CANCEL_REJECTED
    assert world.alert_reasons() == set()


def test_cancel_closes_an_exit_that_waits_for_the_connection(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(state=VenueState(cut_off=CUT_OFF))), desk.exit()
    assert not run_out(world, desk, commission_of(command))
    assert run_out(world, desk, machine(desk, command))
    assert world.facts(command) == [CANCELED]
    assert world.reports[0].order.reason.reason == "CANCELED_UNSENT"
    world.venue.state = VenueState()
    world.reports.clear()  # the answer is on its way, and the exit's process looks again
    assert run_out(world, desk, commission_of(command))
    assert (world.facts(command), world.venue.arrivals) == ([CANCELED], [])


def test_cancel_closes_an_exit_between_two_attempts(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(wire=["unreachable"] * 10)), desk.exit()
    assert not run_out(world, desk, commission_of(command))
    assert run_out(world, desk, machine(desk, command))
    assert world.facts(command)[-1] == CANCELED
    assert run_out(world, desk, commission_of(command))
    assert world.venue.arrivals == []


def test_cancel_in_place_of_one_that_died_after_its_mark_finishes_what_that_one_began(desk: Any) -> None:
    world, command = World(desk.now_ns, UnprovenVenue(state=VenueState(cut_off=CUT_OFF))), desk.exit()
    assert not run_out(world, desk, commission_of(command))
    first = machine(desk, command)
    with pytest.raises(ProcessDied):
        world.run(desk, first, die_at=0, after=True)
    assert list(world.marks) == [f"{command.client_order_id}.1"]
    assert run_out(world, desk, replace(first, identity="JOURNAL_0:41:0", marks_as=first.identity))
    assert world.facts(command) == [CANCELED]
    assert world.reports[0].order.reason.reason == "CANCELED_UNSENT"


# --- with crashes ----------------------------------------------------------------------------------------------

WIRES = [
    ["accepted"],
    ["rejected"],
    ["lost_before"],
    ["lost_after"],
    ["rejected_lost_after"],
    ["late"],
    ["unreachable"],
    ["unreachable", "lost_after"],
]


def calm(world: World) -> None:
    """Nothing happened while the process was away."""


def killed(world: World) -> None:
    flag = authority_pb2.KillFlag(scope=authority_pb2.KILL_SCOPE_GLOBAL)
    world.flags = authority_pb2.KillFlags(flags=[flag]).SerializeToString()


def hours_passed(world: World) -> None:
    world.now_ns += 180 * MINUTE_NS


def packets_arrived(world: World) -> None:
    world.venue.deliver_late()


def mark_unanswered(world: World) -> None:
    world.spends_to_lose = 1


@pytest.fixture
def remembered_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of runs over one command: its signatures are checked once."""
    for name in ("read_token", "read_warrant"):
        monkeypatch.setattr(tokens, name, functools.cache(getattr(tokens, name)))


def run_with_deaths(
    world: World, desk: Any, commission: Commission, points: tuple[int, ...], meanwhile: Callable[[World], None]
) -> None:
    """Die at each point, twice as many of which there are as steps; then run it out."""
    for point in points:
        if point < 0 or world.is_settled(commission.command):
            continue
        try:
            world.run(desk, commission, die_at=point // 2, after=bool(point % 2))
        except ProcessDied:
            meanwhile(world)
        except StillWaiting:
            pass
    if not world.is_settled(commission.command):
        run_out(world, desk, commission)


@pytest.mark.usefixtures("remembered_signatures")
@pytest.mark.parametrize("meanwhile", [calm, killed, hours_passed, packets_arrived, mark_unanswered])
@pytest.mark.parametrize("silent_asks", [0, 1])
@pytest.mark.parametrize("wire", WIRES, ids="-".join)
@pytest.mark.parametrize("kind", ["entry", "entry, backwards", "exit"])
def test_death_at_any_two_points_doubles_nothing_and_claims_nothing_that_nobody_knows(
    desk: Any, kind: str, wire: list[str], silent_asks: int, meanwhile: Callable[[World], None]
) -> None:
    command = desk.exit() if kind == "exit" else desk.entry()
    order = (lambda count: range(count - 1, -1, -1)) if kind == "entry, backwards" else range
    twice = meanwhile is packets_arrived and not silent_asks and kind != "entry, backwards"
    for first in range(22):
        for second in range(-1, 12) if twice else (-1,):
            world = World(desk.now_ns, UnprovenVenue(wire=list(wire), silent_asks=silent_asks), order=order)
            run_with_deaths(world, desk, commission_of(command), (first, second), meanwhile)
            check_truth(world, command)
            world.venue.deliver_late()
            if not world.is_settled(command):
                run_out(world, desk, commission_of(command))
            check_truth(world, command)


@pytest.mark.usefixtures("remembered_signatures")
@pytest.mark.parametrize("wire", WIRES, ids="-".join)
@pytest.mark.parametrize("kind", ["entry", "exit"])
@pytest.mark.parametrize("order_dies_at", [-1, 7, 10])
def test_death_of_a_persons_cancel_at_any_two_points_frees_nothing_that_is_there(
    desk: Any, kind: str, wire: list[str], order_dies_at: int
) -> None:
    command = desk.entry() if kind == "entry" else desk.exit()
    for first in range(12):
        for second in (-1, 2, 5):
            world = World(desk.now_ns, UnprovenVenue(wire=list(wire)))
            run_with_deaths(world, desk, commission_of(command), (order_dies_at,), calm)
            world.venue.deliver_late()
            run_with_deaths(world, desk, person(desk, command), (first, second), calm)
            if not world.is_settled(command):
                run_out(world, desk, commission_of(command))
            assert world.is_settled(command), "a person decided, and the doubt goes on"
            check_truth(world, command)
