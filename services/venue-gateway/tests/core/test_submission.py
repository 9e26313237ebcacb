"""The submission procedure, killed between any two steps, twice, under every answer a venue may give or lose.

The world below keeps what is durable: marks, reports, beads, alerts, and the venue with its own memory (one order
per id; a fenced id never). A process is one run of the generator; it may die before an effect, or after the effect
and before its result is known. The next process starts from what is durable, and runs a command only while no
report settles it, as the account's book does.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers, tokens
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_venue_gateway.core import submission
from kestrel_venue_gateway.core.admission import FlagsRead, Gate
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
    Record,
    Send,
    SendResult,
    Spend,
    SpendResult,
    Together,
    Wait,
)
from kestrel_venue_gateway.core.traits import VenueState

SUBMITTING, ACKNOWLEDGED, REJECTED, DENIED, IN_DOUBT, CANCEL_REJECTED = (
    venue_pb2.ORDER_FACT_SUBMITTING,
    venue_pb2.ORDER_FACT_ACKNOWLEDGED,
    venue_pb2.ORDER_FACT_REJECTED,
    venue_pb2.ORDER_FACT_DENIED,
    venue_pb2.ORDER_FACT_IN_DOUBT,
    venue_pb2.ORDER_FACT_CANCEL_REJECTED,
)
SETTLING = {ACKNOWLEDGED, REJECTED, DENIED}


class ProcessDied(Exception):
    """The process ended between two steps."""


@dataclass
class SimulatedVenue:
    """One order per id, fences, and a wire that loses things."""

    # What happens to the next sends: accepted, rejected, lost_before, lost_after, late, unreachable.
    wire: list[str] = field(default_factory=list)
    silent_asks: int = 0
    orders: dict[str, str] = field(default_factory=dict)
    fenced: set[str] = field(default_factory=set)
    arrivals: dict[str, int] = field(default_factory=dict)
    in_flight: list[str] = field(default_factory=list)
    state: VenueState = field(default_factory=VenueState)

    def place(self, order_id: str, status: str = "WORKING") -> str:
        self.arrivals[order_id] = self.arrivals.get(order_id, 0) + 1
        if order_id in self.fenced:
            return "REJECTED"
        return self.orders.setdefault(order_id, status)

    def send(self, order_id: str) -> SendResult:
        fate = self.wire.pop(0) if self.wire else "accepted"
        if fate == "unreachable":
            return SendResult(Outcome.NOT_SENT)
        if fate == "lost_before":
            return SendResult(Outcome.UNKNOWN)
        if fate == "late":
            self.in_flight.append(order_id)
            return SendResult(Outcome.UNKNOWN)
        status = self.place(order_id, "REJECTED" if fate.startswith("rejected") else "WORKING")
        if fate.endswith("lost_after"):
            return SendResult(Outcome.UNKNOWN)
        return SendResult(Outcome.REJECTED if status == "REJECTED" else Outcome.ACCEPTED, f"v-{order_id}")

    def ask(self, order_id: str, *, fence: bool) -> AskResult:
        if self.silent_asks:
            self.silent_asks -= 1
            return AskResult(Presence.UNKNOWN)
        if order_id in self.orders:
            rejected = self.orders[order_id] == "REJECTED"
            return AskResult(Presence.REJECTED if rejected else Presence.FOUND, f"v-{order_id}")
        if fence:
            self.fenced.add(order_id)
        return AskResult(Presence.ABSENT)

    def deliver_late(self) -> None:
        """What was still under way arrives now, the worst moment."""
        for order_id in self.in_flight:
            self.place(order_id)
        self.in_flight.clear()


@dataclass
class World:
    """Everything that outlives a process."""

    now_ns: int
    venue: SimulatedVenue = field(default_factory=SimulatedVenue)
    flags: bytes = b""
    flags_reachable: bool = True
    spends_to_fail: int = 0
    marks: dict[str, str] = field(default_factory=dict)
    reports: list[venue_pb2.VenueReport] = field(default_factory=list)
    beads: dict[str, Any] = field(default_factory=dict)
    alerts: dict[str, Any] = field(default_factory=dict)
    waits: int = 0
    # How effects come that go side by side.
    order: Callable[[int], Iterable[int]] = range
    on_effect: Callable[[Effect], None] = lambda effect: None

    def steps(self, gate: Gate, commission: Commission) -> submission.Procedure:
        """One thing at a time, so that a process may die between any two."""
        return submission.one_by_one(submission.procedure(gate, commission), self.order)

    def run(self, desk: Any, commission: Commission, *, die_at: int = -1, after: bool = False) -> int:
        """One process: performs effects until the end or until it dies. Returns how many there were."""
        steps, result, count = self.steps(desk.gate, commission), None, 0
        while True:
            try:
                effect = steps.send(result)
            except StopIteration:
                return count
            self.on_effect(effect)
            if count == die_at and not after:
                raise ProcessDied
            result = self.perform(effect)
            if count == die_at:
                raise ProcessDied
            count += 1

    def perform(self, effect: Effect) -> Any:
        match effect:
            case ReadKillFlags():
                return FlagsRead(self.flags_reachable, self.flags, self.now_ns)
            case ReadVenueState():
                return self.venue.state
            case Spend(key, identity):
                return self.spend(key, identity)
            case ReadSpend(key, identity):
                holder = self.marks.get(key)
                return SpendResult.WON if holder is None else self.whose(holder, identity)
            case Record(report):
                self.check_order_of_reports(report)
                self.reports.append(report)
            case Audit(bead):
                self.beads[bead.bead_id] = bead
            case RaiseAlert(alert):
                self.alerts[alert.alert_id] = alert
            case Send(command):
                assert SUBMITTING in self.facts(command), "sent before it was recorded"
                return self.venue.send(command.client_order_id)
            case Ask(order_id, fence):
                return self.venue.ask(order_id, fence=fence)
            case Cancel(command):
                if self.venue.silent_asks:
                    self.venue.silent_asks -= 1
                    return SendResult(Outcome.UNKNOWN)
                known = command.client_order_id in self.venue.orders
                return SendResult(Outcome.ACCEPTED if known else Outcome.REJECTED)
            case Wait():
                self.waits += 1
        return None

    def spend(self, key: str, identity: str) -> SpendResult:
        if self.spends_to_fail:
            self.spends_to_fail -= 1
            return SpendResult.UNKNOWN
        holder = self.marks.get(key)
        if holder is not None:
            return self.whose(holder, identity)
        self.marks[key] = identity
        return SpendResult.WON

    @staticmethod
    def whose(holder: str, identity: str) -> SpendResult:
        return SpendResult.OURS if holder == identity else SpendResult.TAKEN

    def facts(self, command: journal_pb2.VenueCommand) -> list[int]:
        return [report.order.fact for report in self.reports if report.order.client_order_id == command.client_order_id]

    def is_settled(self, command: journal_pb2.VenueCommand) -> bool:
        return bool(SETTLING & set(self.facts(command)))

    def token_kinds(self) -> set[int]:
        return {bead.token.kind for bead in self.beads.values()}

    def alert_reasons(self) -> set[str]:
        return {alert.reason for alert in self.alerts.values()}

    def check_order_of_reports(self, report: venue_pb2.VenueReport) -> None:
        if report.order.fact == DENIED:
            assert report.order.client_order_id not in self.venue.orders, "denied, and yet at the venue"


def commission_of(command: journal_pb2.VenueCommand, identity: str = "JOURNAL_0:17:0") -> Commission:
    return Commission(command, identity, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")


def check_truth(world: World, command: journal_pb2.VenueCommand) -> None:
    """What the reports say in the end is what the venue holds, also after the last late packet came in."""
    world.venue.deliver_late()
    facts, status = world.facts(command), world.venue.orders.get(command.client_order_id)
    settled = [fact for fact in facts if fact in SETTLING]
    expected = {"WORKING": {ACKNOWLEDGED}, "REJECTED": {REJECTED}, None: {DENIED}}[status]
    assert set(settled) == expected, (status, facts)
    if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
        assert world.venue.arrivals.get(command.client_order_id, 0) <= 1, "an entry was sent twice"
        assert world.token_kinds(), "a token's end left no bead"
        if status is not None:
            assert authority_pb2.TOKEN_EVENT_KIND_USED in world.token_kinds()
    else:
        assert status is not None, "an exit was given up"


# --- without crashes -------------------------------------------------------------------------------------------


def test_entry_goes_spend_flags_submitting_send_bead_answer_in_this_order(desk: Any) -> None:
    world = World(desk.now_ns)
    effects: list[str] = []
    world.on_effect = lambda effect: effects.append(type(effect).__name__)
    command = desk.entry()
    world.run(desk, commission_of(command))
    first, second = ["ReadKillFlags", "Spend", "ReadVenueState"], ["ReadKillFlags", "Record", "ReadVenueState"]
    assert effects == [*first, *second, "Send", "Audit", "Record"]
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]
    (bead,) = world.beads.values()
    assert bead.token.kind == authority_pb2.TOKEN_EVENT_KIND_USED
    assert bead.token.expires_at_ns == desk.claims(desk.intent()).expires_at_ns


def test_second_look_goes_beside_submitting_and_begins_only_behind_the_spend_T07(desk: Any) -> None:
    world = World(desk.now_ns)
    steps = submission.procedure(desk.gate, commission_of(desk.entry()))
    together: list[list[type]] = []
    effect = next(steps)
    with contextlib.suppress(StopIteration):
        while True:
            if isinstance(effect, Together):
                together.append([type(each) for each in effect.effects])
                effect = steps.send(tuple(map(world.perform, effect.effects)))
            else:
                effect = steps.send(world.perform(effect))
    assert together == [[ReadKillFlags, Spend], [ReadKillFlags, Record]]


def test_exit_never_looks_at_kill_flags_T07(desk: Any) -> None:
    world = World(desk.now_ns, flags_reachable=False)
    effects: list[str] = []
    world.on_effect = lambda effect: effects.append(type(effect).__name__)
    command = desk.exit()
    world.run(desk, commission_of(command))
    assert effects == ["Spend", "Record", "Send", "Record"]
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]


def test_order_without_token_is_denied_and_never_sent_ORDER_WITHOUT_TOKEN_T02(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    command.token = ""
    world.run(desk, commission_of(command))
    assert (world.facts(command), world.venue.arrivals) == ([DENIED], {})
    assert list(world.marks.values()) == [commission_of(command).identity], "the use is closed before the slot is freed"
    assert world.reports[0].order.reason.reason == "TOKEN_MISSING"
    assert world.token_kinds() == {authority_pb2.TOKEN_EVENT_KIND_REJECTED}


def test_run_that_was_frozen_before_its_spend_cannot_send_what_another_run_denied_T03(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    frozen = world.steps(desk.gate, commission_of(command))
    spend = next(frozen)
    while not isinstance(spend, Spend):
        spend = frozen.send(world.perform(spend))
    assert isinstance(spend, Spend), "frozen with all its checks passed"
    world.flags_reachable = False
    world.run(desk, commission_of(command))
    assert world.facts(command) == [DENIED]
    world.flags_reachable = True
    result = world.perform(spend)
    with contextlib.suppress(StopIteration):
        for _ in range(20):
            result = world.perform(frozen.send(result))
    assert frozen.gi_frame is None, "it came to its end"
    assert world.venue.arrivals == {}


def test_expired_token_is_denied_with_an_expired_bead_TOKEN_EXPIRED_T04(desk: Any) -> None:
    world, command = World(desk.now_ns + 5 * MINUTE_NS), desk.entry()
    command.expires_at_ns = world.now_ns + MINUTE_NS
    world.run(desk, commission_of(command))
    assert world.reports[0].order.reason.reason == "TOKEN_EXPIRED"
    assert world.token_kinds() == {authority_pb2.TOKEN_EVENT_KIND_EXPIRED}


def test_token_spent_by_another_command_is_a_replay_TOKEN_REPLAY_T03(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    world.run(desk, commission_of(command))
    again = Commission(command, "JOURNAL_0:99:0", repeats_an_id=True)
    world.run(desk, again)
    assert world.venue.arrivals == {command.client_order_id: 1}
    # The id is the first order's, which lives: a DENIED under it would be a lie.
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]
    assert "TOKEN_REPLAY" in world.alert_reasons()
    assert authority_pb2.TOKEN_EVENT_KIND_REJECTED in world.token_kinds()


def test_token_spent_elsewhere_denies_the_order_nobody_else_reports_on_TOKEN_REPLAY_T03(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    world.marks[identifiers.token_id("intent-1", 1)] = "JOURNAL_9:1:0"
    world.run(desk, commission_of(command))
    assert world.facts(command) == [DENIED]
    assert world.reports[0].order.reason.reason == "TOKEN_REPLAY"
    assert world.venue.arrivals == {}


def test_replay_is_called_a_replay_also_when_its_papers_have_run_out_meanwhile_TOKEN_REPLAY_T03(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    world.run(desk, commission_of(command))
    world.now_ns += 60 * MINUTE_NS
    world.run(desk, Commission(command, "JOURNAL_0:99:0", repeats_an_id=True))
    assert "TOKEN_REPLAY" in world.alert_reasons()
    assert world.facts(command) == [SUBMITTING, ACKNOWLEDGED]


def test_kill_between_the_two_checks_stops_the_entry_KILL_ENTRY_ATTEMPT_T07(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    flag = authority_pb2.KillFlag(scope=authority_pb2.KILL_SCOPE_GLOBAL, level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES)

    def kill_at_spend(effect: Effect) -> None:
        if isinstance(effect, Spend):
            world.flags = authority_pb2.KillFlags(flags=[flag]).SerializeToString()

    world.on_effect = kill_at_spend
    world.run(desk, commission_of(command))
    assert (world.facts(command), world.venue.arrivals) == ([SUBMITTING, DENIED], {})
    assert world.reports[-1].order.reason.reason == "KILL_ACTIVE"


def test_kill_store_lost_between_the_two_checks_stops_the_entry_T07(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()

    def lose_store(effect: Effect) -> None:
        world.flags_reachable = world.flags_reachable and not isinstance(effect, Spend)

    world.on_effect = lose_store
    world.run(desk, commission_of(command))
    assert world.reports[-1].order.reason.reason == "KILL_STATE_UNKNOWN"
    assert world.venue.arrivals == {}


def test_entry_rejected_by_the_venue_is_reported_and_not_tried_again_T10(desk: Any) -> None:
    world, command = World(desk.now_ns, SimulatedVenue(wire=["rejected"])), desk.entry()
    world.run(desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, REJECTED]
    assert world.alert_reasons() == set(), "the kernel alerts, from its journal"
    assert world.venue.arrivals == {command.client_order_id: 1}


def test_entry_that_certainly_never_left_burns_its_token(desk: Any) -> None:
    world, command = World(desk.now_ns, SimulatedVenue(wire=["unreachable"])), desk.entry()
    world.run(desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, DENIED]
    assert world.reports[-1].order.reason.reason == "TOKEN_BURNED"
    assert world.token_kinds() == {authority_pb2.TOKEN_EVENT_KIND_USED}


def test_entry_with_a_lost_answer_is_in_doubt_and_asked_about_never_sent_again_IBKR_TIMEOUT_T09(desk: Any) -> None:
    world, command = World(desk.now_ns, SimulatedVenue(wire=["lost_after"], silent_asks=3)), desk.entry()
    world.run(desk, commission_of(command))
    assert world.facts(command) == [SUBMITTING, IN_DOUBT, ACKNOWLEDGED]
    assert world.waits == 3
    assert not world.alert_reasons(), "the kernel tells of a doubt; nobody is told twice"
    (doubt,) = [report for report in world.reports if report.order.fact == IN_DOUBT]
    assert doubt.order.reason.message, "the kernel's alert says why in our words"
    assert world.venue.arrivals == {command.client_order_id: 1}


def test_exit_with_lost_requests_is_sent_under_the_same_id_until_the_venue_has_it(desk: Any) -> None:
    venue = SimulatedVenue(wire=["unreachable", "lost_before", "late", "lost_before"], silent_asks=2)
    world, command = World(desk.now_ns, venue), desk.exit()
    world.run(desk, commission_of(command))
    check_truth(world, command)
    assert list(venue.orders) == [command.client_order_id]


def test_exit_refused_by_its_warrant_is_denied_and_somebody_is_told(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.exit(quantity="11")
    world.run(desk, commission_of(command))
    assert world.facts(command) == [DENIED]
    assert world.alert_reasons() == {"EXIT_REFUSED"}
    assert world.reports[0].order.reason.reason == "EXIT_ABOVE_OPEN"


def test_exit_sent_by_another_command_is_refused(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.exit()
    world.run(desk, commission_of(command))
    world.run(desk, Commission(command, "JOURNAL_0:99:0", repeats_an_id=True))
    assert world.venue.arrivals == {command.client_order_id: 1}
    assert world.alert_reasons() == {"EXIT_REFUSED"}


def test_exit_waits_for_a_store_that_does_not_answer_and_is_never_dropped(desk: Any) -> None:
    world, command = World(desk.now_ns, spends_to_fail=3), desk.exit()
    world.run(desk, commission_of(command))
    check_truth(world, command)


def test_entry_is_not_sent_when_the_store_of_spent_tokens_does_not_answer(desk: Any) -> None:
    world, command = World(desk.now_ns, spends_to_fail=1), desk.entry()
    world.run(desk, commission_of(command))
    assert world.reports[-1].order.reason.reason == "SPEND_UNKNOWN"
    assert world.venue.arrivals == {}


def test_cancel_of_a_known_order_leaves_the_rest_to_the_event_stream(desk: Any) -> None:
    world, entry = World(desk.now_ns), desk.entry()
    world.run(desk, commission_of(entry))
    world.run(desk, commission_of(desk.cancel(entry.client_order_id), "JOURNAL_0:18:0"))
    assert world.facts(entry) == [SUBMITTING, ACKNOWLEDGED]


def test_cancel_of_an_unknown_order_is_cancel_rejected(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.cancel("ks" + "x" * 26)
    world.run(desk, commission_of(command))
    assert world.facts(command) == [CANCEL_REJECTED]


def test_cancel_that_the_venue_does_not_answer_is_repeated_and_somebody_is_told_SCN_03(desk: Any) -> None:
    world, command = World(desk.now_ns, SimulatedVenue(silent_asks=3)), desk.cancel("ks" + "x" * 26)
    world.run(desk, commission_of(command))
    assert (world.waits, world.facts(command)) == (3, [CANCEL_REJECTED])
    assert world.alert_reasons() == {"CANCEL_UNCONFIRMED"}


def test_cancel_for_another_account_is_refused_without_asking_the_venue(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.cancel("ks" + "x" * 26)
    command.account = "PAPER-2"
    world.run(desk, commission_of(command))
    assert world.reports[0].order.reason.reason == "COMMAND_MISMATCH"


def test_command_of_an_unknown_kind_is_denied(desk: Any) -> None:
    world, command = World(desk.now_ns), desk.entry()
    command.kind = 99
    world.run(desk, commission_of(command))
    assert world.reports[0].order.reason.reason == "COMMAND_INVALID"


# --- with crashes ----------------------------------------------------------------------------------------------

WIRES = [
    ["accepted"],
    ["rejected"],
    ["lost_before"],
    ["lost_after"],
    ["rejected_lost_after"],
    ["late"],
    ["unreachable"],
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


def store_fails_once(world: World) -> None:
    world.spends_to_fail = 1


def backwards(count: int) -> range:
    return range(count - 1, -1, -1)


def world_for(desk: Any, wire: list[str], silent_asks: int, kind: str) -> World:
    order = backwards if kind == "entry, backwards" else range
    return World(desk.now_ns, SimulatedVenue(wire=list(wire), silent_asks=silent_asks), order=order)


@pytest.fixture
def remembered_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of runs over one command: its signatures are checked once."""
    for name in ("read_token", "read_warrant"):
        monkeypatch.setattr(tokens, name, functools.cache(getattr(tokens, name)))


@pytest.mark.usefixtures("remembered_signatures")
@pytest.mark.parametrize("meanwhile", [calm, killed, hours_passed, packets_arrived, store_fails_once])
@pytest.mark.parametrize("silent_asks", [0, 1])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire[0])
@pytest.mark.parametrize("kind", ["entry", "entry, backwards", "exit"])
def test_death_at_any_two_points_loses_nothing_doubles_nothing_and_reports_the_truth(
    desk: Any, kind: str, wire: list[str], silent_asks: int, meanwhile: Callable[[World], None]
) -> None:
    command = desk.exit() if kind == "exit" else desk.entry()
    commission = commission_of(command)
    twice = meanwhile in (calm, packets_arrived) and kind != "entry, backwards"
    step_count = world_for(desk, wire, silent_asks, kind).run(desk, commission)
    for first in range(2 * step_count):
        for second in range(-1, 12) if twice else (-1,):
            world = world_for(desk, wire, silent_asks, kind)
            for point in (first, second):
                if point < 0 or world.is_settled(command):
                    continue
                try:
                    world.run(desk, commission, die_at=point // 2, after=bool(point % 2))
                except ProcessDied:
                    meanwhile(world)
            if not world.is_settled(command):
                world.run(desk, commission)
            check_truth(world, command)
