"""Schedules that broke others, played against us: each says what must hold. The README says which is which.

A scenario is a function of a stage. It arms faults, does something, lets it run, and asserts; the referee checks every
invariant at every step besides.
"""

from __future__ import annotations

from collections.abc import Callable

from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects, subjects
from kestrel_simulators.matching.books import Event
from kestrel_simulators.matching.chance import Fate
from tests.simulation.nodes import ACCOUNT, SECOND_ACCOUNT
from tests.simulation.referee import JOURNAL
from tests.simulation.stage import Stage

Play = Callable[[Stage], None]

SCENARIOS: dict[str, Play] = {}
IN_TWO_PARTITIONS: set[str] = set()
"""Those that need a second account, in a partition of its own."""


def scenario(play: Play) -> Play:
    SCENARIOS[play.__name__] = play
    return play


def in_two_partitions(play: Play) -> Play:
    IN_TWO_PARTITIONS.add(play.__name__)
    return play


# --- restarts --------------------------------------------------------------------------------------------------------


@scenario
def a_restart_in_mid_position_books_nothing_new(stage: Stage) -> None:
    stage.hold("trade")
    booked = dict(stage.books.fills)
    for _ in range(3):
        stage.crash()
        stage.let_pass(30)
    assert stage.books.fills == booked
    assert stage.qty("trade") == stage.venue_qty() == 10
    assert stage.open_break_count == 0


@scenario
def a_position_is_still_managed_after_a_crash_of_everything(stage: Stage) -> None:
    stage.hold("trade")
    stage.crash()
    stage.leave("trade")
    stage.until(lambda: stage.qty("trade") == 0 and stage.is_quiet())
    assert stage.venue_qty() == 0


@scenario
def restarts_send_nothing_twice(stage: Stage) -> None:
    order = stage.enter("trade", away_percent=2)
    for _ in range(6):
        stage.steps(120)
        stage.crash()
    stage.until(lambda: stage.is_over("trade") or stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_OPEN)
    assert len(stage.venue_account().orders) == stage.sent(order) <= 1
    assert bool(stage.sent(order)) != stage.is_over("trade")  # it may have died with the token spent, and nothing sent


@scenario
def a_working_order_survives_a_restart_beside_books_that_differ(stage: Stage) -> None:
    order = stage.enter("trade", away_percent=2)
    stage.until(lambda: stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_OPEN)
    stage.drift("ZZZ", 7)
    stage.crash()
    stage.let_pass(60)
    assert stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_OPEN
    stage.cancel_order(order)
    stage.until(lambda: stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_CANCELED)


# --- fills -----------------------------------------------------------------------------------------------------------


@scenario
def partial_fills_are_counted_once_across_a_restart(stage: Stage) -> None:
    stage.fates = [Fate.PARTIAL]
    stage.enter("trade")
    stage.until(lambda: stage.qty("trade") == 5)
    stage.arm("acknowledgement lost", 20)
    for stream in list(stage.bus.streams):
        stage.bus.forget_ids(stream)
    stage.crash()
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    assert sorted(fill.last_qty.units for fill in stage.books.fills.values()) == [5, 5]


@scenario
def a_fill_reported_again_after_a_reconnection_is_booked_once(stage: Stage) -> None:
    stage.hold("trade")
    message = next(one for one in stage.bus.read(subjects.INBOX) if b"x" in one.data and one.subject.endswith(".venue"))
    for stored in list(stage.bus.read(subjects.INBOX, start_sequence=message.sequence)):
        stage.bus.forget_ids(subjects.INBOX)
        stage.publish(effects.Publish(stored.subject, stored.data, stored.message_id, stored.traceparent))
    stage.until(stage.is_quiet)
    assert stage.qty("trade") == stage.venue_qty() == 10
    assert len(stage.books.fills) == 1


@scenario
def a_fill_may_outrun_its_acknowledgement(stage: Stage) -> None:
    stage.take_down("gateway")
    order = stage.enter("trade")
    stage.steps(300)
    stage.bring_up("gateway")
    stage.until(lambda: stage.order(order) is not None)
    events = stage.venue_account().events
    facts = [event.fact for event in events]
    acknowledged = next(place for place, fact in enumerate(facts) if isinstance(fact, venue_pb2.OrderReport))
    facts.append(facts.pop(acknowledged))
    events[:] = [
        Event(place, event.time_ns, fact) for place, (event, fact) in enumerate(zip(events, facts, strict=True), 1)
    ]
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    assert stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_FILLED


@scenario
def fills_during_a_disconnection_arrive_once_afterwards(stage: Stage) -> None:
    stage.arm("venue silent", 60)
    order = stage.enter("trade")
    stage.until(lambda: stage.order(order) is not None)
    stage.steps(150)
    assert stage.qty("trade") == 0
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    assert len(stage.books.fills) == 1


@scenario
def a_partial_fill_that_races_a_cancel_is_held_and_can_be_left(stage: Stage) -> None:
    stage.fates = [Fate.PARTIAL]
    order = stage.enter("trade")
    stage.until(lambda: stage.order(order) is not None)
    stage.cancel_order(order)
    stage.until(lambda: stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_CANCELED and stage.is_quiet())
    assert stage.qty("trade") == stage.venue_qty() == 5
    stage.leave("trade")
    stage.until(lambda: stage.qty("trade") == 0 and stage.is_quiet())
    assert stage.venue_qty() == 0


@scenario
def a_fill_that_is_taken_back_is_counted_out_again(stage: Stage) -> None:
    stage.hold("trade")
    stage.bust_a_fill()
    stage.until(lambda: stage.qty("trade") == 0 and stage.is_quiet())
    assert stage.venue_qty() == 0
    assert not stage.books.fills
    stage.until(lambda: stage.alerts()["FILL_BUSTED"] == 1)


@scenario
def a_corrected_fill_takes_the_place_of_the_first(stage: Stage) -> None:
    stage.hold("trade")
    before = stage.slot("trade").entry_price.units
    stage.correct_a_fill()
    stage.until(lambda: stage.counters_of_referee()["correction booked"] == 1 and stage.is_quiet())
    assert stage.qty("trade") == stage.venue_qty() == 10
    assert stage.slot("trade").entry_price.units != before
    stage.leave("trade")
    stage.until(lambda: stage.is_over("trade") and stage.is_quiet())


# --- doubt -----------------------------------------------------------------------------------------------------------


@scenario
def an_order_lost_on_the_way_is_asked_about_and_never_sent_again(stage: Stage) -> None:
    stage.arm("send lost on the way")
    order = stage.enter("trade")
    stage.until(lambda: stage.counters["order provably absent"] > 0)
    stage.until(lambda: stage.is_over("trade") and stage.is_quiet())
    assert stage.sent(order) == 1
    assert stage.order(order) is None
    assert not stage.qty("trade")


@scenario
def a_question_without_an_answer_is_asked_again(stage: Stage) -> None:
    stage.arm("answer lost on the way back")
    stage.arm("venue does not answer", 8)
    stage.arm("venue silent", 100)
    order = stage.enter("trade")
    stage.until(lambda: stage.counters["order found after doubt"] > 0)
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    assert stage.sent(order) == 1


@scenario
def a_silent_submission_stays_in_doubt_and_holds_its_place(stage: Stage) -> None:
    stage.arm("answer lost on the way back")
    stage.arm("venue does not answer", 10_000)
    stage.arm("venue silent", 10_000)
    stage.enter("trade")
    stage.until(lambda: stage.slot("trade").entry.in_doubt)
    stage.let_pass(120)
    assert stage.slot("trade").entry.in_doubt
    stage.enter("second")
    stage.until(lambda: bool(stage.decisions("second")))
    assert "SYMBOL_BUSY" in stage.decisions("second")[0]
    stage.armed.clear()
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())


@scenario
def an_accepted_order_is_found_after_an_outage(stage: Stage) -> None:
    stage.arm("answer lost on the way back")
    stage.arm("venue does not answer", 40)
    stage.arm("venue silent", 40)
    order = stage.enter("trade")
    stage.until(lambda: stage.order(order) is not None)
    stage.crash("gateway", "kernel")
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    assert stage.sent(order) == 1
    assert stage.venue_qty() == 10


@scenario
def a_cancel_lost_in_flight_does_not_free_the_slot(stage: Stage) -> None:
    order = stage.enter("trade", away_percent=2)
    stage.until(lambda: stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_OPEN)
    stage.arm("cancel lost", 10_000)
    stage.cancel_order(order)
    stage.until(lambda: stage.counters["cancel lost"] > 1)
    stage.steps(200)
    assert stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_OPEN
    stage.enter("second")
    stage.until(lambda: bool(stage.decisions("second")))
    assert "SYMBOL_BUSY" in stage.decisions("second")[0]
    stage.armed.clear()
    stage.until(lambda: stage.slot("trade").entry.life == state_pb2.ORDER_LIFE_CANCELED)


@scenario
def an_order_that_nobody_could_send_ends_unsent_and_is_told_to_people(stage: Stage) -> None:
    stage.take_down("gateway")
    order = stage.enter("trade")
    stage.until(lambda: "trade" in stage.books.slots)
    stage.let_pass(11 * 60)
    stage.until(lambda: stage.alerts()["TOKEN_EXPIRED"] == 1)
    stage.bring_up("gateway")
    stage.until(lambda: stage.is_over("trade") and stage.is_quiet())
    assert stage.sent(order) == 0


# --- twice -----------------------------------------------------------------------------------------------------------


@scenario
def the_same_intent_twice_is_one_order(stage: Stage) -> None:
    order = stage.enter("trade")
    intent = stage._proposed["trade"]
    again = effects.publish(subjects.intent(ACCOUNT), intent, "trade-1")
    stage.publish_again(again)
    stage.until(lambda: stage.qty("trade") == 10 and stage.is_quiet())
    stage.publish_again(again)
    stage.crash("governance", "gateway")
    stage.steps(600)
    assert stage.sent(order) == 1
    assert stage.qty("trade") == stage.venue_qty() == 10


@scenario
def two_orders_by_one_client_order_id_are_one(stage: Stage) -> None:
    """The network delivers a request twice."""
    stage.arm("send arrives late")
    order = stage.enter("trade")
    stage.until(lambda: bool(stage._late))
    stage._late.append((stage._late[0][0] + 1, stage._late[0][1]))
    stage.until(lambda: not stage._late)
    stage.steps(600)
    assert stage.sent(order) == 1
    assert stage.venue_qty() == stage.qty("trade") in (0, 10)  # it may have been fenced before it arrived


@scenario
def an_older_attempt_is_denied_once_a_later_one_was_authorized(stage: Stage) -> None:
    """Two attempts of one intent wait for a person; the later one is answered first."""
    stage.take_down("governance")
    stage.arm("send lost on the way")
    older = stage.enter("trade", strategy="manual")
    later = stage.enter("trade", strategy="manual", attempt=2)
    stage.bring_up("governance")
    stage.until(lambda: stage.sent(later) == 1 and stage.is_over("trade"))
    stage.until(lambda: any("ATTEMPT_SUPERSEDED" in reason for reason in stage.decisions("trade")))
    stage.steps(300)
    assert stage.sent(older) == 0
    assert stage.venue_qty() == 0


# --- fees, strategies, partitions ------------------------------------------------------------------------------------


@scenario
def a_fee_that_is_told_late_takes_the_place_of_the_predicted_one(stage: Stage) -> None:
    stage.arm("fee told late", 2)
    stage.enter("trade")
    stage.until(lambda: stage.qty("trade") == 10)
    stage.leave("trade")
    stage.until(lambda: stage.is_over("trade") and stage.counters_of_referee()["settlement booked"] == 2)
    stage.until(stage.is_quiet)
    stage.referee.check_books()


@scenario
def a_day_is_judged_once_whoever_dies(stage: Stage) -> None:
    for percent in (0, 1, 0, 1, 2, 1):
        stage.pass_days(percent)
        stage.bus.forget_ids(subjects.BEADS)
        stage.bus.forget_ids(subjects.INTENTS)
        stage.crash("policy", "kernel")
    stage.until(lambda: len(stage.signals("AAA")) == 6)
    intents = list(stage.bus.read(subjects.INTENTS))
    assert len({intent.message_id for intent in intents}) == len(intents) > 0


@scenario
def bars_that_come_too_late_open_nothing(stage: Stage) -> None:
    """A feed, or its reader, was dead for minutes: what it would have bought then has another price now."""
    stage.take_down("policy")
    stage.pass_days(0, 1, 0, 1, 2, 1)
    stage.let_pass(120)
    stage.bring_up("policy")
    stage.until(lambda: len(stage.signals("AAA")) == 6)
    assert {signal.action for signal in stage.signals("AAA")} == {signal_pb2.SIGNAL_ACTION_HOLD}
    assert "s old" in stage.signals("AAA")[-1].reason
    assert not stage.bus.last_sequence(subjects.INTENTS)


@scenario
@in_two_partitions
def a_partition_without_its_kernel_holds_up_no_other_one(stage: Stage) -> None:
    stage.take_down("kernel")
    stage.enter("first")
    stage.enter("second", account=SECOND_ACCOUNT)
    stage.until(lambda: stage.qty("second") == 10)
    assert "first" not in stage.referee.slots()
    stage.bring_up("kernel")
    stage.until(lambda: stage.qty("first") == 10 and stage.is_quiet())


@scenario
@in_two_partitions
def one_accounts_trade_does_not_keep_another_account_out_of_the_symbol(stage: Stage) -> None:
    stage.hold("first")
    stage.enter("second", account=SECOND_ACCOUNT)
    stage.until(lambda: stage.qty("second") == 10 and stage.is_quiet())
    stage.leave("first")
    stage.until(lambda: stage.is_over("first") and stage.is_quiet())
    assert stage.qty("second") == 10


# --- books that differ -----------------------------------------------------------------------------------------------


@scenario
def a_position_query_that_fails_never_reads_as_flat(stage: Stage) -> None:
    stage.hold("trade")
    stage.arm("truth failed", 200)
    for _ in range(5):
        stage.crash("reconciler")
        stage.let_pass(60)
    assert stage.counters["truth failed"] > 0
    assert stage.qty("trade") == 10
    assert stage.open_break_count == 0
    completeness = {venue_pb2.BrokerTruth.FromString(one.data).completeness for one in stage.bus.read(subjects.TRUTH)}
    assert venue_pb2.COMPLETENESS_FAILED in completeness


@scenario
def a_position_closed_by_hand_is_found_and_not_repaired(stage: Stage) -> None:
    stage.hold("trade")
    stage.somebody_sells("AAA", 10)
    stage.until(lambda: stage.open_break_count > 0)
    assert stage.qty("trade") == 10
    assert stage.venue_qty() == 0
    assert len(stage.referee.commands) == 1


@scenario
def a_liquidation_at_the_venue_is_found_in_the_same_session(stage: Stage) -> None:
    stage.hold("trade")
    stage.drift("AAA", -10)
    stage.until(lambda: stage.open_break_count > 0)
    stage.until(lambda: any(reason.startswith("DRIFT_POSITION") for reason in stage.alerts()))
    assert len(stage.referee.commands) == 1


@scenario
def a_position_nobody_ordered_makes_no_order_and_no_fill(stage: Stage) -> None:
    stage.steps(50)
    stage.drift("ZZZ", 7)
    stage.until(lambda: stage.open_break_count > 0)
    stage.let_pass(120)
    entries = (journal_pb2.JournalEntry.FromString(one.data) for one in stage.bus.read(JOURNAL))
    assert not any(entry.fills or entry.commands or entry.slots for entry in entries)


@scenario
def a_break_stays_open_until_a_person_resolves_it(stage: Stage) -> None:
    """Not when somebody looked again, not at a restart, and not when the books agree by themselves."""
    stage.steps(50)
    stage.drift("ZZZ", 7)
    stage.until(lambda: stage.open_break_count > 0)
    for _ in range(2):
        stage.crash("reconciler")
        stage.let_pass(120)
        assert stage.open_break_count > 0
    stage.drift("ZZZ", -7)
    stage.let_pass(400)
    assert stage.open_break_count > 0


# --- the kill switch -------------------------------------------------------------------------------------------------


@scenario
def a_kill_flag_that_cannot_be_read_stops_entries_and_no_exit(stage: Stage) -> None:
    stage.hold("trade")
    stage.arm("flags unreachable", 10_000)
    order = stage.enter("second", "BBB")
    stage.until(lambda: stage.is_over("second") and stage.is_quiet())
    assert stage.sent(order) == 0
    assert stage.order(order) is None
    stage.leave("trade")
    stage.until(lambda: stage.qty("trade") == 0 and stage.is_quiet())
    assert stage.venue_qty() == 0
