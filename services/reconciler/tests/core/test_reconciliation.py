"""From suspicion to break to resolution; and what a reconciler may never do."""

from __future__ import annotations

import typing

import pytest
import reconciler_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from reconciler_samples import World

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_reconciler.core import reconciliation as r
from kestrel_reconciler.core.reconciliation import Reconciliation, Rules

MATCHED, SUSPECTED, BROKEN, INDETERMINATE = (
    reconcile_pb2.RUN_VERDICT_MATCHED,
    reconcile_pb2.RUN_VERDICT_SUSPECTED,
    reconcile_pb2.RUN_VERDICT_BROKEN,
    reconcile_pb2.RUN_VERDICT_INDETERMINATE,
)
ADA = common_pb2.Actor(id="ada", kind="operator", origin="127.0.0.1")


def beads(world: World, kind: str) -> list[audit_pb2.Bead]:
    return [
        audit_pb2.Bead.FromString(one.body)
        for one in world.effects
        if isinstance(one, Publish) and one.subject.startswith(f"bead.{kind}.")
    ]


def alerts(world: World) -> list[audit_pb2.Alert]:
    return [
        audit_pb2.Alert.FromString(one.body)
        for one in world.effects
        if isinstance(one, Publish) and one.subject.startswith("alert.")
    ]


def verdicts(world: World) -> list[int]:
    return [run.verdict for run in world.account.runs]


def drifted() -> World:
    """The broker lost 30 of our 100."""
    world = World()
    world.journal(samples.bought(100))
    world.answer = samples.truth({"AAPL": 70})
    return world


def test_agreeing_books_match() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.answer = samples.truth({"AAPL": 100})
    world.run_until(10)
    assert verdicts(world)
    assert set(verdicts(world)) == {MATCHED}
    assert alerts(world) == []


def test_a_drift_is_suspected_first_and_a_break_on_the_next_truth() -> None:
    world = drifted()
    world.run_until(10)
    assert verdicts(world)[:2] == [SUSPECTED, BROKEN]


def test_a_drift_is_alerted_within_sixty_seconds_INV_RECONCILE_ALERT_1() -> None:
    world = drifted()
    world.run_until(60)
    (alert,) = alerts(world)
    assert (alert.reason, alert.severity) == ("DRIFT_POSITION_SIZE", common_pb2.SEVERITY_CRITICAL)
    assert alert.raised_at_ns - samples.T0 <= 60 * SECOND_NS


def test_a_drift_leaves_a_bead_with_both_states_INV_RECONCILE_AUDIT_1() -> None:
    world = drifted()
    world.run_until(30)
    (bead,) = beads(world, "drift")
    assert (bead.drift.machine_state, bead.drift.broker_state) == ("BUY 100 AAPL", "BUY 70 AAPL")
    assert bead.drift.severity == common_pb2.SEVERITY_CRITICAL
    assert bead.drift.opened_by_run_id == next(run for run in world.account.runs if run.verdict == BROKEN).run_id
    assert bead.actor.kind == "service"


def test_a_break_is_opened_and_alerted_once_however_long_it_lasts() -> None:
    world = drifted()
    world.run_until(14 * 60)
    assert (len(beads(world, "drift")), len(alerts(world))) == (1, 1)


def test_a_fill_under_way_is_no_break() -> None:
    world = World()
    world.answer = samples.truth({"AAPL": 100})  # the broker knows of the fill, the kernel not yet
    world.publish()
    world.run_until(1)
    world.journal(samples.bought(100))
    world.run_until(60)
    assert verdicts(world)[0] == SUSPECTED
    assert set(verdicts(world)[1:]) == {MATCHED}
    assert (beads(world, "drift"), alerts(world)) == ([], [])


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_busy_account_whose_books_are_right_never_has_a_break(seed: int, count: int) -> None:
    """Fills come at any time; the broker is always ahead of the journal by those under way."""
    import random

    chance = random.Random(seed)
    world = World()
    broker = machine = 0
    under_way: list[int] = []
    for second in range(count):
        if chance.random() < 0.6:
            broker += 10
            under_way.append(10)
            world.inbox_sequence += 1
        if under_way and chance.random() < 0.7:
            machine += under_way.pop(0)
            world.journal(
                samples.entry(
                    input_sequence=world.inbox_sequence - len(under_way),
                    time_ns=world.now_ns,
                    slots=[samples.slot("AAPL", machine)],
                    fills=[samples.fill(10)],
                )
            )
        world.answer = samples.truth({"AAPL": broker} if broker else {})
        world.run_until(second * 0.4)  # at most 16 s: less than confirm_at_last
    assert beads(world, "drift") == []


def test_a_difference_that_never_rests_is_a_break_at_last() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.inbox_sequence = 10**9  # the journal never reaches what the inbox holds: the kernel stands still
    for second in range(0, 61, 5):
        world.answer = samples.truth({"AAPL": 100 + second + 1})
        world.run_until(second)
    assert BROKEN in verdicts(world)
    assert alerts(world)[0].raised_at_ns - samples.T0 <= 60 * SECOND_NS


def test_one_truth_seen_twice_proves_nothing() -> None:
    world = drifted()
    world.answer = None  # the gateway is silent after this one
    world.publish(samples.truth({"AAPL": 70}))
    world.run_until(300)
    assert beads(world, "drift") == []
    assert verdicts(world)[0] == SUSPECTED


@pytest.mark.parametrize("completeness", [venue_pb2.COMPLETENESS_FAILED, venue_pb2.COMPLETENESS_PARTIAL])
def test_a_truth_that_failed_is_indeterminate_and_never_an_empty_account(
    completeness: venue_pb2.Completeness.ValueType,
) -> None:
    world = World()
    world.journal(samples.bought(100))
    world.answer = samples.truth(completeness=completeness)
    world.run_until(120)
    assert set(verdicts(world)) == {INDETERMINATE}
    assert r.STALE_BROKER_TRUTH in world.account.runs[-1].reasons
    assert beads(world, "drift") == []
    assert [one.reason for one in alerts(world)] == ["STALE_BROKER_TRUTH"]


def test_one_truth_that_failed_among_good_ones_is_no_alert() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.answer = samples.truth(completeness=venue_pb2.COMPLETENESS_PARTIAL)
    world.run_until(5)
    world.answer = samples.truth({"AAPL": 100})
    world.run_until(120)
    assert (verdicts(world)[0], verdicts(world)[-1]) == (INDETERMINATE, MATCHED)
    assert alerts(world) == []


def test_a_truth_that_is_too_old_is_indeterminate() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.publish(samples.truth({"AAPL": 100}))
    world.answer = None
    world.run_until(11 * 60)
    assert verdicts(world)[0] == MATCHED
    assert verdicts(world)[-1] == INDETERMINATE


def test_an_account_the_broker_never_spoke_of_is_indeterminate() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.answer = None
    world.run_until(20)
    assert set(verdicts(world)) == {INDETERMINATE}
    assert world.account.runs[-1].reasons == [r.NO_BROKER_TRUTH]


def test_a_silent_broker_neither_confirms_nor_clears_a_suspicion() -> None:
    world = drifted()
    world.run_until(1)
    assert verdicts(world) == [SUSPECTED]
    world.answer = samples.truth(completeness=venue_pb2.COMPLETENESS_FAILED)
    world.run_until(12)
    assert world.account.suspicions
    world.answer = samples.truth({"AAPL": 70})
    world.run_until(20)
    assert verdicts(world)[-1] == BROKEN


def test_a_break_that_goes_away_by_itself_stays_open_until_a_person_says_how() -> None:
    world = drifted()
    world.run_until(30)
    world.answer = samples.truth({"AAPL": 100})
    world.run_until(60)
    world.account.want_run(world.now_ns)
    world.run_until(80)
    assert verdicts(world)[-1] == MATCHED
    assert len(world.account.breaks(everything=False)) == 1


def test_an_unresolved_break_is_escalated_after_fifteen_minutes_and_once_T11() -> None:
    world = drifted()
    world.run_until(40 * 60)
    first, second = alerts(world)
    assert (second.reason, second.severity) == ("BREAK_UNRESOLVED", common_pb2.SEVERITY_CRITICAL)
    assert 15 * MINUTE_NS <= second.raised_at_ns - first.raised_at_ns < 16 * MINUTE_NS
    assert [bool(bead.drift.escalated_at_ns) for bead in beads(world, "drift")] == [False, True]


def test_a_resolution_leaves_a_bead_with_who_how_and_why_INV_RECONCILE_AUDIT_2() -> None:
    world = drifted()
    world.run_until(30)
    world.answer = samples.truth({"AAPL": 100})
    (found,) = world.account.breaks(everything=False)
    kind = reconcile_pb2.RESOLUTION_KIND_BROKER_CORRECTED
    resolved, effects = world.account.resolve(found.break_id, kind, "called the broker", ADA, world.now_ns)
    (effect,) = effects
    assert isinstance(effect, Publish)
    bead = audit_pb2.Bead.FromString(effect.body)
    assert bead.resolution.break_id == found.break_id
    assert (bead.resolution.resolution.resolved_by.id, bead.resolution.resolution.notes) == ("ada", "called the broker")
    assert (bead.actor.id, resolved.resolution.kind) == ("ada", kind)
    assert world.account.breaks(everything=False) == []
    world.run_until(60)
    assert verdicts(world)[-1] == MATCHED


@pytest.mark.parametrize(
    "break_id, kind, notes, actor, error",
    [
        ("nothing", 3, "notes", ADA, InvalidRequest),
        ("", 0, "notes", ADA, InvalidRequest),
        ("", 99, "notes", ADA, InvalidRequest),
        ("", 3, "  ", ADA, InvalidRequest),
        ("", 3, "x" * 3000, ADA, InvalidRequest),
        ("", 3, "notes", common_pb2.Actor(id="policy", kind="service"), Refused),
        ("", 3, "notes", common_pb2.Actor(kind="operator"), Refused),
    ],
)
def test_only_a_person_resolves_and_says_how_and_why_INV_RECONCILE_READONLY_1(
    break_id: str, kind: int, notes: str, actor: common_pb2.Actor, error: type[Exception]
) -> None:
    world = drifted()
    world.run_until(30)
    (found,) = world.account.breaks(everything=False)
    with pytest.raises(error):
        world.account.resolve(break_id or found.break_id, kind, notes, actor, world.now_ns)  # type: ignore[arg-type]
    assert world.account.breaks(everything=False) == [found]


def test_the_same_resolution_again_is_the_first_answer_and_another_one_is_refused() -> None:
    world = drifted()
    world.run_until(30)
    (found,) = world.account.breaks(everything=False)
    kind = reconcile_pb2.RESOLUTION_KIND_MACHINE_CORRECTED
    first, _ = world.account.resolve(found.break_id, kind, "done", ADA, world.now_ns)
    again, effects = world.account.resolve(found.break_id, kind, "done", ADA, world.now_ns + 5)
    assert (again, effects) == (first, [])
    with pytest.raises(Refused, match="was resolved by ada"):
        world.account.resolve(found.break_id, kind, "otherwise", ADA, world.now_ns)


def test_a_break_resolved_while_the_books_still_differ_opens_again_under_a_new_id() -> None:
    world = drifted()
    world.run_until(30)
    (found,) = world.account.breaks(everything=False)
    kind = reconcile_pb2.RESOLUTION_KIND_BROKER_CORRECTED
    world.account.resolve(found.break_id, kind, "I think", ADA, world.now_ns)
    world.run_until(90)
    (second,) = world.account.breaks(everything=False)
    assert second.break_id != found.break_id


def test_an_acknowledged_difference_is_not_reported_again_until_it_changes() -> None:
    world = drifted()
    world.run_until(30)
    (found,) = world.account.breaks(everything=False)
    kind = reconcile_pb2.RESOLUTION_KIND_ACKNOWLEDGED
    world.account.resolve(found.break_id, kind, "a manual sale, ours", ADA, world.now_ns)
    world.run_until(11 * 60)
    assert world.account.breaks(everything=False) == []
    world.answer = samples.truth({"AAPL": 60})
    world.run_until(20 * 60)
    assert len(world.account.breaks(everything=False)) == 1


def test_a_restart_keeps_open_breaks_and_says_nothing_twice() -> None:
    world = drifted()
    world.run_until(16 * 60)
    again = Reconciliation(samples.ACCOUNT, Rules())
    for bead in beads(world, "drift"):
        again.take_drift(bead.drift)
    assert again.breaks(everything=False) == world.account.breaks(everything=False)
    assert again.missing_alerts({alert.alert_id for alert in alerts(world)}) == []


def test_a_restart_raises_the_alert_that_a_crash_kept_from_being_raised() -> None:
    world = drifted()
    world.run_until(30)
    again = Reconciliation(samples.ACCOUNT, Rules())
    again.take_drift(beads(world, "drift")[0].drift)
    (missing,) = again.missing_alerts(set())
    assert isinstance(missing, Publish)
    assert audit_pb2.Alert.FromString(missing.body).alert_id == alerts(world)[0].alert_id


def test_a_kernel_that_disagrees_with_its_own_fills_is_a_break_at_once() -> None:
    world = World()
    world.journal(samples.entry(slots=[samples.slot("AAPL", 90)], fills=[samples.fill(100)]))
    world.answer = samples.truth({"AAPL": 90})
    world.run_until(1)
    assert [found.kind for found in world.account.breaks(everything=False)] == [reconcile_pb2.BREAK_KIND_LEDGER]


def test_breaks_are_listed_by_severity_then_symbol_R04() -> None:
    world = World()
    world.journal(samples.bought(100, "IBM", capital=1))
    world.answer = samples.truth({"IBM": 1, "AAPL": 5}, wallet=99)
    world.run_until(30)
    assert [found.symbol for found in world.account.breaks(everything=True)] == ["AAPL", "IBM", ""]


def test_at_most_twelve_runs_take_place_in_any_minute_and_the_last_wish_is_granted_T11() -> None:
    world = World()
    started: list[int] = []
    for tenth in range(1800):
        world.run_until(tenth / 10)
        world.journal(samples.bought(0))
        world.account.want_run(world.now_ns)
        world.publish()
    started = [run.started_at_ns for run in world.account.runs]
    for first in started:
        assert sum(first <= one < first + MINUTE_NS for one in started) <= 12
    last_wish_ns = world.now_ns
    world.run_until(200)
    assert world.account.runs[-1].started_at_ns >= last_wish_ns


def test_a_quiet_account_is_compared_every_five_minutes_T11() -> None:
    world = World()
    world.publish()
    world.run_until(31 * 60)
    assert {run.trigger for run in world.account.runs} == {reconcile_pb2.RUN_TRIGGER_PERIODIC}
    assert len(world.questions) == 7


@pytest.mark.parametrize(
    "fact",
    [venue_pb2.ORDER_FACT_REJECTED, venue_pb2.ORDER_FACT_CANCELED, venue_pb2.ORDER_FACT_EXPIRED],
)
def test_a_reject_a_cancel_and_a_fill_each_ask_for_a_run_T11(fact: venue_pb2.OrderFact.ValueType) -> None:
    for entry in (
        samples.entry(report=venue_pb2.VenueReport(venue="paper", order=venue_pb2.OrderReport(fact=fact))),
        samples.bought(0),
    ):
        world = World()
        world.publish()
        world.run_until(20)
        count = len(world.account.runs)
        world.journal(entry)
        world.run_until(21)
        assert [run.trigger for run in world.account.runs][count:] == [reconcile_pb2.RUN_TRIGGER_EVENT]


def test_an_acknowledgement_or_a_mark_asks_for_no_run() -> None:
    world = World()
    world.publish()
    world.run_until(20)
    count = len(world.account.runs)
    ack = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    world.journal(samples.entry(report=venue_pb2.VenueReport(venue="paper", order=ack)))
    world.run_until(60)
    assert len(world.account.runs) == count


def test_a_run_that_says_nothing_new_leaves_no_bead_but_one_in_twenty_does() -> None:
    world = World()
    world.publish()
    world.run_until(60 * 60 * 5)
    assert len(world.account.runs) >= 60
    assert len(beads(world, "run")) == 1 + (len(world.account.runs) - 1) // 20


def test_a_run_on_demand_always_leaves_a_bead() -> None:
    world = World()
    world.run_until(20)
    count = len(beads(world, "run"))
    world.account.want_run(world.now_ns)
    world.run_until(30)
    assert len(beads(world, "run")) == count + 1
    assert world.account.runs[-1].trigger == reconcile_pb2.RUN_TRIGGER_ON_DEMAND


def test_the_run_after_a_fill_carries_the_orders_trace_P04() -> None:
    world = World()
    world.journal(samples.bought(100))
    world.answer = samples.truth({"AAPL": 100})
    world.run_until(3)
    first = next(one for one in world.effects if isinstance(one, Publish) and one.subject.startswith("bead.run."))
    assert first.traceparent == samples.TRACEPARENT


def test_there_is_no_effect_with_which_to_correct_a_book_INV_RECONCILE_READONLY_1() -> None:
    assert set(typing.get_args(r.Effect)) == {Publish, r.AskTruth}
    world = drifted()
    world.run_until(20 * 60)
    (found,) = world.account.breaks(everything=False)
    kind = reconcile_pb2.RESOLUTION_KIND_MACHINE_CORRECTED
    world.effects += world.account.resolve(found.break_id, kind, "done", ADA, world.now_ns)[1]
    published = {one.subject.split(".")[0] for one in world.effects if isinstance(one, Publish)}
    assert published == {"bead", "alert"}
