"""Decisions: when to enter, when to leave, and that nothing is done twice."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, SECOND_NS
from kestrel_domain.tokens import TOKEN_LIFETIME_NS
from kestrel_policy.core.policy import decide_manual

ENTER, EXIT, HOLD = signal_pb2.SIGNAL_ACTION_ENTER, signal_pb2.SIGNAL_ACTION_EXIT, signal_pb2.SIGNAL_ACTION_HOLD


def rising(bars: Any, days: int, *, start: int = 1, level: float = 100.0) -> list[Any]:
    """A clear trend upwards, with some movement in it."""
    return [
        bars.one(day, level * 1.01 ** (day - start) * (1.004 if day % 2 else 1.0)) for day in range(start, start + days)
    ]


def warm(world: Any, bars: Any) -> Any:
    """A world in which the next rising bar enters; returns the entering decision."""
    decisions = world.run(rising(bars, 16))
    assert decisions[-1].signal.action == ENTER, decisions[-1].reason
    return decisions[-1]


# ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────


def test_every_bar_leaves_a_signal_also_hold_X01(world: Any, bars: Any) -> None:
    shown = bars.wandering(120)
    decisions = world.run(shown)
    assert len(world.beads) == 120
    assert [bead.signal.market_time_ns for bead in world.beads] == [bar.start_ns for bar in shown]
    assert all(bead.signal.reason and bead.signal.action for bead in world.beads)
    assert {decision.signal.action for decision in decisions} == {ENTER, EXIT, HOLD}
    assert all(decision.effects[0].subject == "bead.signal.PAPER-1" for decision in decisions), "the signal goes first"


def test_a_decision_uses_no_bar_after_its_own_X01(make_world: Any, bars: Any) -> None:
    """All bars in memory at once, as after a restart, or one by one as they come: the same decisions."""
    shown = bars.wandering(150)
    one_by_one = make_world()
    expected = [decision.signal.SerializeToString() for decision in one_by_one.run(shown)]
    all_known = make_world()
    for bar in shown:
        all_known.state.learn_bar(bars.checked(bar))
    assert [all_known.show(bar).signal.SerializeToString() for bar in shown] == expected


def test_another_future_leads_to_the_same_past_X01(make_world: Any, bars: Any) -> None:
    shown = bars.wandering(150)
    changed = shown[:100] + bars.wandering(150, seed=99)[100:]
    first, second = make_world().run(shown), make_world().run(changed)
    assert [d.signal for d in first[:100]] == [d.signal for d in second[:100]]


def test_real_prices_lead_to_trades_of_both_kinds_and_every_cause_of_exit(make_world: Any, apple: Any) -> None:
    world = make_world()
    world.plan = replace(
        world.plan, momentum=replace(world.plan.momentum, fast_days=20, slow_days=60, holding_days_max=20)
    )
    world.restart()
    world.run(apple[:1500])
    sides = Counter(intent.side for intent in world.intents)
    causes = Counter(request.reason for _, request in world.exits)
    assert sides[common_pb2.SIDE_BUY] > 5
    assert sides[common_pb2.SIDE_SELL] > 5
    assert set(causes) == {"STOP", "TARGET", "REVERSAL", "HOLDING_TIME"}
    assert len(world.intents) - len(world.exits) in (0, 1)


# ── Entries ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_intent_says_everything_that_has_to_be_approved(world: Any, bars: Any) -> None:
    decision = warm(world, bars)
    intent = world.intents[0]
    assert decision.intent_id == intent.intent_id == checked_id("intent_id", intent.intent_id)
    assert (intent.account, intent.venue, intent.environment) == ("PAPER-1", "paper", common_pb2.ENVIRONMENT_PAPER)
    assert (intent.strategy, intent.side, intent.attempt, intent.leverage) == ("momentum", common_pb2.SIDE_BUY, 1, 1)
    assert intent.signal == decision.signal
    assert intent.proposer.id == "policy/momentum"
    price, stop, target = (Number.of(n) for n in (intent.reference_price, intent.stop_price, intent.target_price))
    assert stop < price < target
    assert not stop.units % 100
    assert not target.units % 100
    assert (price - stop) * Number.of(intent.order_qty) <= Number.parse("5000")  # 0.5 % of 1,000,000
    assert intent.expires_at_ns == intent.created_at_ns + 240 * SECOND_NS
    assert intent.anchor.as_of_ns == intent.created_at_ns
    assert len(intent.anchor.hash) == 64
    assert world.published[-1].traceparent == world.published[-2].traceparent, "one trace from the signal on"


def test_the_anchor_names_the_state_bar_and_journal(make_world: Any, bars: Any) -> None:
    hashes = []
    for extra in (0, 0, 1):
        world = make_world()
        for _ in range(extra):
            world.enter(None)
        warm(world, bars)
        hashes.append(world.intents[0].anchor.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_falling_price_is_sold_short_unless_long_only(make_world: Any, bars: Any) -> None:
    falling = [bars.one(day, 200 * 0.99**day * (1.004 if day % 2 else 1.0)) for day in range(1, 30)]
    world = make_world()
    world.run(falling[:16])
    intent = world.intents[0]
    assert intent.side == common_pb2.SIDE_SELL
    assert Number.of(intent.target_price) < Number.of(intent.reference_price) < Number.of(intent.stop_price)
    long_only = make_world()
    long_only.plan = replace(long_only.plan, momentum=replace(long_only.plan.momentum, long_only=True))
    long_only.restart()
    long_only.run(falling)
    assert not long_only.intents


def test_one_trade_per_symbol_at_most(world: Any, bars: Any) -> None:
    warm(world, bars)
    decisions = world.run(rising(bars, 5, start=17, level=100 * 1.01**16))
    assert {decision.signal.action for decision in decisions} == {HOLD}
    assert "is open" in decisions[0].reason
    assert len(world.intents) == 1


def test_a_waiting_intent_suppresses_a_second_until_it_is_dead(make_world: Any, bars: Any) -> None:
    world = make_world(approves=False)
    world.plan = replace(world.plan, refusal_pause_days=0)
    world.restart()
    warm(world, bars)
    later = rising(bars, 12, start=17, level=100 * 1.01**16)
    assert world.show(later[0]).reason.endswith("an intent is waiting")
    world.now_ns = world.intents[0].expires_at_ns + TOKEN_LIFETIME_NS - 5 * SECOND_NS
    assert world.show(later[1]).reason.endswith("an intent is waiting"), "its token may still be under way"
    world.now_ns += 5 * SECOND_NS
    assert world.show(later[2]).signal.action == ENTER
    for number, verdict in enumerate(
        (authority_pb2.VERDICT_DENIED, authority_pb2.VERDICT_PASSED, authority_pb2.VERDICT_EXPIRED), 3
    ):
        world.refuse(world.intents[-1].intent_id, verdict)
        assert world.show(later[number]).signal.action == ENTER
    world.enter(world.intents[-1], accepted=False)
    assert world.show(later[6]).signal.action == ENTER, "the kernel's refusal ends it, too"
    world.restart()
    assert world.show(later[7]).reason.endswith("an intent is waiting")


def test_nothing_is_proposed_in_a_symbol_that_somebody_elses_trade_or_intent_is_in(make_world: Any, bars: Any) -> None:
    """The venue nets per symbol. Whose trade it is does not matter, nor whether a bar or a person asks."""
    shown = rising(bars, 18)
    donor = make_world(approves=False)
    warm(donor, bars)
    foreign = donor.intents[0]
    foreign.intent_id, foreign.strategy = "somebody-elses", "other"
    waiting = make_world()
    waiting.intents.append(foreign)
    waiting.restart()
    assert waiting.run(shown[:16])[-1].reason == "no entry: an intent is waiting"
    assert waiting.submit().reason == "no entry: an intent is waiting"
    waiting.enter(foreign)
    assert waiting.show(shown[16]).reason == "trade somebody-elses is open, and nothing speaks against it"
    assert waiting.submit("r2").reason == "no entry: a trade is open"
    assert [intent.intent_id for intent in waiting.intents] == ["somebody-elses"]
    assert waiting.submit("out", action=EXIT).signal.action == EXIT, "leaving is always possible"


def test_what_was_refused_is_not_proposed_again_before_its_pause_is_over(make_world: Any, bars: Any) -> None:
    world = make_world(approves=False)
    warm(world, bars)
    world.refuse(world.intents[0].intent_id)
    later = rising(bars, 7, start=17, level=100 * 1.01**16)
    held = world.run(later[:3])
    world.restart()
    held += world.run(later[3:5])
    assert {decision.signal.action for decision in held} == {HOLD}
    assert "not repeated for 5 days" in held[-1].reason
    assert world.submit().intent_id, "a person does not have to wait"
    world.refuse(world.intents[-1].intent_id)
    assert world.show(later[5]).signal.action == ENTER


def test_entries_wait_for_capital_for_slots_for_fresh_bars_and_for_the_journal(make_world: Any, bars: Any) -> None:
    shown = rising(bars, 16)
    stale = make_world()
    stale.run(shown[:-1])
    assert "61 s old" in stale.show(shown[-1], age_s=61).reason
    blind = make_world()
    blind.journal.clear()
    blind.restart()
    assert "capital is not known" in blind.run(shown)[-1].reason
    frozen = make_world()
    frozen.journal[0].account_after.entries_frozen = True
    frozen.journal[0].account_after.freeze_reason = "drill"
    frozen.restart()
    assert "frozen: drill" in frozen.run(shown)[-1].reason
    full = make_world(max_slots=1)
    full.run(rising(bars, 16))
    others = [bars.one(day, bar.close.units / 10_000, symbol="IBM") for day, bar in enumerate(shown, 1)]
    assert "slots are taken" in full.run(others)[-1].reason


def test_a_journal_that_could_not_be_read_stops_entries_and_no_exits(world: Any, bars: Any) -> None:
    real = world.moment
    world.moment = lambda **more: replace(real(**more), is_current=False)
    decisions = world.run(rising(bars, 16))
    assert "journal could not be read" in decisions[-1].reason
    world.moment = real
    world.show(bars.one(17, 118))
    assert world.intents
    world.moment = lambda **more: replace(real(**more), is_current=False)
    assert world.show(bars.one(18, 60)).signal.action == EXIT


# ── Exits ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_touched_stop_leaves_the_trade_in_the_trades_own_trace(world: Any, bars: Any) -> None:
    warm(world, bars)
    stop = Number.of(world.intents[0].stop_price)
    decision = world.show(bars.one(17, 110, low=float(stop.decimal())))
    assert decision.signal.action == EXIT
    assert decision.reason.startswith("STOP")
    ((_, request),) = world.exits
    assert (request.trade_id, request.reason) == (world.intents[0].intent_id, "STOP")
    assert request.order_type == common_pb2.ORDER_TYPE_MARKET
    assert not request.HasField("order_qty"), "all that is left"
    assert world.published[-1].traceparent == "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_of_stop_and_target_in_one_bar_the_stop_is_believed(world: Any, bars: Any) -> None:
    warm(world, bars)
    world.show(bars.one(17, 110, high=1000, low=1))
    assert world.exits[0][1].reason == "STOP"


def test_a_trade_is_left_after_the_holding_time(make_world: Any, bars: Any) -> None:
    world = make_world()
    world.plan = replace(world.plan, momentum=replace(world.plan.momentum, target_range_permille=0))
    world.restart()
    warm(world, bars)
    entered = world.intents[0].signal.market_time_ns // DAY_NS
    world.run(rising(bars, 30, start=17, level=100 * 1.01**16))
    assert world.exits[0][1].reason == "HOLDING_TIME"
    left = next(bead.signal for bead in world.beads if bead.signal.action == EXIT)
    assert left.market_time_ns // DAY_NS == entered + 25


def test_an_exit_is_asked_for_once_and_again_only_when_it_is_dead_and_the_trade_is_not(
    make_world: Any, bars: Any
) -> None:
    world = make_world(executes=False)
    warm(world, bars)
    trade = world.intents[0].intent_id
    assert world.show(bars.one(17, 60)).signal.action == EXIT
    assert "at work already" in world.show(bars.one(18, 59)).reason, "in the inbox"
    world.restart()
    assert "at work already" in world.show(bars.one(19, 59)).reason, "in the inbox, found again after a restart"
    world.exit_life(trade, state_pb2.ORDER_LIFE_OPEN, sequence=world.exits[0][0])
    assert "at work already" in world.show(bars.one(20, 59)).reason, "at the venue"
    world.exit_life(trade, state_pb2.ORDER_LIFE_REJECTED)
    assert world.show(bars.one(21, 59)).signal.action == EXIT
    assert len(world.exits) == 2
    assert world.exits[0][1].request_id != world.exits[1][1].request_id


def test_an_exit_in_doubt_is_not_asked_for_again(make_world: Any, bars: Any) -> None:
    world = make_world(executes=False)
    warm(world, bars)
    world.show(bars.one(17, 60))
    slot = next(iter(world.slots.values()))
    slot.exit.in_doubt = True
    world.exit_life(slot.trade_id, state_pb2.ORDER_LIFE_UNSPECIFIED, sequence=world.exits[0][0])
    assert "at work already" in world.show(bars.one(18, 59)).reason


def test_the_bar_that_opened_a_trade_does_not_close_it(world: Any, bars: Any) -> None:
    warm(world, bars)
    world.state.signals.clear()  # as if the same bar had to be judged again
    decision = world.show(world.market[-1], stored=True)
    assert decision.signal.action == HOLD
    assert not world.exits


def test_a_trade_of_somebody_else_is_left_alone(world: Any, bars: Any) -> None:
    warm(world, bars)
    slot = next(iter(world.slots.values()))
    slot.strategy = "other"
    world.exit_life(slot.trade_id, state_pb2.ORDER_LIFE_UNSPECIFIED)
    assert world.show(bars.one(17, 10)).signal.action == HOLD


# ── Twice is once ────────────────────────────────────────────────────────────────────────────────────────


def test_a_bar_again_changes_nothing(world: Any, bars: Any) -> None:
    world.run(bars.wandering(80))
    count = len(world.published)
    for bar in list(world.market):
        assert world.show(bar, stored=True).effects == ()
    world.restart()
    for bar in list(world.market):
        assert world.show(bar, stored=True).effects == ()
    assert len(world.published) == count


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 2**32))
def test_crashes_between_any_two_steps_lose_and_double_nothing(seed: int, crashes: int) -> None:
    """Killed after any effect and started again, the policy has published exactly what an undisturbed one has."""
    from_conftest = _words()
    shown = from_conftest.wandering(90, seed=seed)
    calm = from_conftest.World()
    calm.run(shown)
    world, chance = from_conftest.World(), random.Random(crashes)
    for bar in shown:
        world.market.append(bar)
        world.crash_after = chance.choice([-1, -1, 0, 1, 2])
        while True:
            try:
                world.show(bar, stored=True)
                break
            except from_conftest.Crash:
                world.restart()
                world.crash_after = chance.choice([-1, -1, 0, 1, 2])
    ids = [effect.message_id for effect in world.published]
    assert len(set(ids)) == len(ids)
    assert ids == [effect.message_id for effect in calm.published]
    assert [_order_of(intent) for intent in world.intents] == [_order_of(intent) for intent in calm.intents]


def _order_of(intent: Any) -> tuple[Any, ...]:
    return (intent.intent_id, intent.side, intent.order_qty.units, intent.stop_price.units, intent.target_price.units)


_known: dict[str, Any] = {}


def _words() -> Any:
    return _known["words"]


@pytest.fixture(autouse=True)
def _remember(make_world: Any, bars: Any) -> None:
    """Hypothesis cannot take function-scoped fixtures; these are constants in effect."""

    class Words:
        World = make_world
        wandering = staticmethod(bars.wandering)
        Crash = bars.crash

    _known["words"] = Words


# ── Signals by hand ──────────────────────────────────────────────────────────────────────────────────────


def test_a_signal_by_hand_is_sized_and_proposed_like_the_strategys_own_under_another_name(
    make_world: Any, bars: Any
) -> None:
    world = make_world(approves=False)
    world.run(bars.wandering(40)[:16])
    world.intents.clear()
    world.restart()
    decision = world.submit(reason="I like it", confidence=0.9)
    (intent,) = world.intents
    assert decision.intent_id == intent.intent_id
    assert intent.strategy == "manual"
    assert intent.signal.confidence == 0.9
    assert intent.HasField("stop_price")
    assert intent.expires_at_ns - intent.created_at_ns == 900 * SECOND_NS
    assert world.beads[-1].signal.reason.startswith("I like it; quantity")
    again = world.submit(reason="I like it", confidence=0.9)
    assert (again.intent_id, again.effects) == (decision.intent_id, ())
    world.restart()
    assert world.submit().intent_id == decision.intent_id, "also after a restart"
    assert world.submit("r2").reason == "no entry: an intent is waiting"


def test_a_trade_by_hand_is_protected_and_not_reversed(make_world: Any, bars: Any) -> None:
    world = make_world()
    world.plan = replace(world.plan, momentum=replace(world.plan.momentum, entry_score=99.0))
    world.restart()
    world.run(rising(bars, 16))
    world.submit(side=common_pb2.SIDE_SELL)
    assert [intent.strategy for intent in world.intents] == ["manual"]
    held = world.run(rising(bars, 2, start=17, level=100 * 1.01**16))
    assert {decision.signal.action for decision in held} == {HOLD}, "against the trend, and left alone"
    world.show(bars.one(19, 200))
    assert world.exits[-1][1].reason == "STOP"


def test_a_signal_by_hand_is_completed_when_it_is_sent_again_after_a_crash(make_world: Any, bars: Any) -> None:
    world = make_world(approves=False)
    world.plan = replace(world.plan, momentum=replace(world.plan.momentum, entry_score=99.0))
    world.restart()
    world.run(rising(bars, 16))
    world.crash_after = 1
    with pytest.raises(bars.crash):
        world.submit("r1")
    assert not world.intents
    world.crash_after = -1
    world.restart()
    assert world.submit("r1").intent_id == world.intents[0].intent_id
    assert [effect.subject for effect in world.published[-2:]] == ["bead.signal.PAPER-1", "intent.PAPER-1"]
    world.now_ns += 900 * SECOND_NS
    world.state.books["PAPER-1"].intent_ids.clear()
    assert world.submit("r1").effects == (), "what is older than its intent would be is over"


def test_who_gives_a_signal_by_hand_is_its_proposer_also_when_it_is_completed_later(make_world: Any, bars: Any) -> None:
    """Governance never lets the proposer approve, so the person must not hide behind a strategy's name."""
    world = make_world(approves=False)
    world.plan = replace(world.plan, momentum=replace(world.plan.momentum, entry_score=99.0))
    world.restart()
    world.run(rising(bars, 16))
    world.crash_after = 1
    with pytest.raises(bars.crash):
        world.submit("r1", origin="first call")
    world.crash_after = -1
    world.restart()
    world.submit("r1", origin="second call")
    (intent,) = world.intents
    assert (intent.proposer.id, intent.proposer.kind, intent.proposer.origin) == ("trader", "operator", "first call")
    assert world.beads[-1].actor == intent.proposer
    somebody_elses = world.submit("r1", by="risk")
    assert somebody_elses.signal.signal_id != intent.signal.signal_id, (
        "another person's request of that name is another"
    )
    assert somebody_elses.reason == "no entry: an intent is waiting"


def test_an_exit_by_hand_sent_again_does_not_leave_a_later_trade(make_world: Any, bars: Any) -> None:
    world = make_world()
    warm(world, bars)
    world.submit("out", action=EXIT)
    world.show(bars.one(17, 119))
    slot = next(iter(world.slots.values()))
    slot.opened_at_ns = world.now_ns
    world.exit_life(slot.trade_id, state_pb2.ORDER_LIFE_UNSPECIFIED)
    assert world.submit("out", action=EXIT).effects == ()


def test_an_exit_by_hand_leaves_the_trade(world: Any, bars: Any) -> None:
    assert warm(world, bars)
    decision = world.submit("out", action=EXIT)
    assert "is left" in decision.reason
    assert world.exits[0][1].reason == "OPERATOR"
    assert (world.exits[0][1].requested_by.id, world.exits[0][1].requested_by.kind) == ("trader", "operator")
    assert "no trade is open" in world.submit("out-again", action=EXIT).reason
    assert world.submit("hold", action=HOLD).reason == "HOLD by hand"


@pytest.mark.parametrize(
    "request_id,given_signal,field",
    [
        ("a b", {}, "request_id"),
        ("r", {"strategy": "momentum"}, "signal.strategy"),
        ("r", {"action": 0}, "signal.action"),
        ("r", {"side": 0}, "signal.side"),
        ("r", {"confidence": 1.5}, "signal.confidence"),
        ("r", {"confidence": float("nan")}, "signal.confidence"),
        ("r", {"symbol": "NOPE"}, "signal.symbol"),
    ],
)
def test_a_bad_signal_by_hand_is_refused_by_field(
    world: Any, bars: Any, request_id: str, given_signal: dict[str, Any], field: str
) -> None:
    world.run(rising(bars, 3))
    with pytest.raises(InvalidRequest) as caught:
        world.submit(request_id, **given_signal)
    assert caught.value.field == field
    assert len(world.beads) == 3


def test_an_account_that_is_not_ours_is_refused(world: Any, bars: Any) -> None:
    world.run(rising(bars, 3))
    world.plan = replace(world.plan, account="OTHER")
    with pytest.raises(InvalidRequest, match="PAPER-1"):
        world.submit()


def test_the_latest_signals_come_newest_first(world: Any, bars: Any) -> None:
    world.run(rising(bars, 5))
    days = [signal.market_time_ns // DAY_NS for signal in world.state.latest_signals(3)]
    assert days == [5, 4, 3]
    assert len(world.state.latest_signals(100)) == 5


# ── Brackets ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_strategy_that_brackets_has_the_venue_hold_its_stop_and_target_T01(make_world: Any, bars: Any) -> None:
    world = make_world()
    assert not warm(world, bars).intent_id or not world.intents[0].bracket
    world = make_world()
    world.plan = replace(world.plan, bracket=True)
    world.restart()
    warm(world, bars)
    assert world.intents[0].bracket
    assert world.intents[0].HasField("stop_price")


@pytest.mark.parametrize(
    ("entry_life", "stop_life", "in_doubt", "action"),
    [
        (state_pb2.ORDER_LIFE_FILLED, state_pb2.ORDER_LIFE_OPEN, False, HOLD),
        # The venue holds nothing yet for an entry that may still fill, and nothing any more where the stop is gone.
        (state_pb2.ORDER_LIFE_OPEN, state_pb2.ORDER_LIFE_OPEN, False, EXIT),
        (state_pb2.ORDER_LIFE_FILLED, state_pb2.ORDER_LIFE_REJECTED, False, EXIT),
        (state_pb2.ORDER_LIFE_FILLED, state_pb2.ORDER_LIFE_OPEN, True, EXIT),
    ],
)
def test_a_stop_that_the_venue_holds_is_the_venues_to_watch_and_any_other_is_ours_T01(
    world: Any, bars: Any, entry_life: Any, stop_life: Any, in_doubt: bool, action: Any
) -> None:
    warm(world, bars)
    intent = world.intents[0]
    slot = next(slot for slot in world.slots.values() if slot.trade_id == intent.intent_id)
    slot.entry.life = entry_life
    slot.stop.life, slot.stop.in_doubt = stop_life, in_doubt
    world.exit_life(intent.intent_id, state_pb2.ORDER_LIFE_UNSPECIFIED)
    decision = world.show(bars.one(17, 116, low=float(Number.of(intent.stop_price).decimal())))
    assert decision.signal.action == action


def test_a_signal_by_hand_may_ask_for_a_bracket_T01(make_world: Any, bars: Any) -> None:
    world = make_world(approves=False)
    world.plan = replace(world.plan, momentum=replace(world.plan.momentum, entry_score=99.0))
    world.restart()
    world.run(rising(bars, 16))
    given = signal_pb2.Signal(symbol="AAPL", action=signal_pb2.SIGNAL_ACTION_ENTER, side=common_pb2.SIDE_BUY)
    caller = common_pb2.Actor(id="trader", kind="operator")
    decision = decide_manual(world.state, "r9", world.plan.account, given, caller, world.moment(), bracket=True)
    assert decision.intent_id
    world.perform(decision)
    assert world.intents[-1].bracket
