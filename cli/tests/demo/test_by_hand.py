"""Signals by hand in the demo: the same for one seed, and a busy or unwilling market is no failure."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from kestrel.admin.v1 import governance_pb2, policy_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_cli.demo import by_hand
from kestrel_cli.demo.by_hand import STEPS, SignalByHand
from kestrel_cli.demo.desk import RISK, TRADER
from kestrel_cli.demo.events import Totals
from kestrel_cli.demo.screen import Screen
from kestrel_cli.demo.stage import STRATEGY, Stage

SYMBOLS = ["AAPL", "GOOG", "IBM"]


class _Refused(grpc.aio.AioRpcError):
    def __init__(self, reason: str) -> None:
        refusal = common_pb2.Refusal(reason=reason, message="no").SerializeToString()
        trailing = grpc.aio.Metadata(("kestrel-refusal-bin", refusal))
        super().__init__(grpc.StatusCode.FAILED_PRECONDITION, grpc.aio.Metadata(), trailing, "no")


class DeskStandIn:
    """A platform small enough to say yes and no on request."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.slots: list[state_pb2.SlotSnapshot] = []
        self.waiting: dict[str, governance_pb2.PendingIntent] = {}
        self.requests: list[tuple[str, str]] = []
        self.exits: list[str] = []
        self.evidence = bytes(range(32))
        self.evidence_changes = 0
        self.first_verdicts: list[Any] = []

    async def open_slots(self) -> list[Any]:
        return self.slots

    async def pending(self) -> list[Any]:
        return list(self.waiting.values())

    async def exit(self, trade_id: str, reason: str) -> None:
        self.exits.append(trade_id)
        self.slots = [slot for slot in self.slots if slot.trade_id != trade_id]

    async def submit_signal(self, signal: Any, operator: str, *, request: str) -> policy_pb2.SubmitSignalResponse:
        self.requests.append((signal.symbol, request))
        verdict = self.first_verdicts.pop(0) if self.first_verdicts else authority_pb2.VERDICT_PENDING
        intent_id = f"i-{request}"
        self._decide(intent_id, verdict)
        if verdict == authority_pb2.VERDICT_PENDING:
            intent = intent_pb2.Intent(intent_id=intent_id, proposer=common_pb2.Actor(id=operator))
            intent.instrument.symbol = signal.symbol
            self.waiting[intent_id] = governance_pb2.PendingIntent(intent=intent, evidence_sha256=self.evidence)
        return policy_pb2.SubmitSignalResponse(intent_id=intent_id)

    async def approve(self, intent_id: str, evidence: bytes, operator: str, reason: str) -> Any:
        if operator == self.waiting[intent_id].intent.proposer.id:
            raise _Refused("FOUR_EYES")
        if evidence != self.evidence or self.evidence_changes:
            self.evidence_changes -= self.evidence_changes > 0
            raise _Refused("EVIDENCE_CHANGED")
        return self._decide(intent_id, authority_pb2.VERDICT_APPROVED)

    async def pass_on(self, intent_id: str, operator: str, reason: str) -> Any:
        return self._decide(intent_id, authority_pb2.VERDICT_PASSED)

    def _decide(self, intent_id: str, verdict: Any) -> authority_pb2.Decision:
        self.waiting.pop(intent_id, None)
        self.totals.decisions[intent_id] = authority_pb2.Decision(intent_id=intent_id, verdict=verdict)
        return self.totals.decisions[intent_id]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(by_hand, "_NO_ROOM_S", 0.0)
    return new_stage(7)


def new_stage(seed: int) -> Stage:
    totals = Totals()
    made = Stage(DeskStandIn(totals), Screen(totals, quiet=True), seed, traded_today=SYMBOLS)  # type: ignore[arg-type]
    totals.decided_until_ns.update({f"{STRATEGY} {symbol}": 1 for symbol in SYMBOLS})
    made.market_time_ns = 1
    return made


def step_of(what: str) -> int:
    return next(step for step, (_, meant) in enumerate(STEPS) if meant == what)


def open_in(*symbols: str) -> list[state_pb2.SlotSnapshot]:
    return [
        state_pb2.SlotSnapshot(
            trade_id=f"t-{symbol}", qty=common_pb2.Decimal(units=5), instrument=common_pb2.Instrument(symbol=symbol)
        )
        for symbol in symbols
    ]


async def test_one_seed_asks_for_the_same_under_the_same_ids_and_another_for_others() -> None:
    asked = []
    for seed in (7, 7, 8):
        stage = new_stage(seed)
        for what in ("approve", "pass"):
            await SignalByHand(stage, step_of(what)).signal_by_hand()
        asked.append(stage.desk.requests)  # type: ignore[attr-defined]
    assert asked[0] == asked[1]
    assert not {request for _, request in asked[0]} & {request for _, request in asked[2]}


async def test_the_trader_may_not_approve_his_own_and_somebody_else_does(stage: Stage) -> None:
    await SignalByHand(stage, 0).signal_by_hand()
    assert len(stage.story.approved_by_hand) == 1
    told = "\n".join(stage.story.refused)
    assert f"{TRADER} approves his own proposal: FOUR_EYES" in told
    assert f"{RISK} approves with the hash of other evidence" in told
    assert stage.story.problems == []


async def test_a_busy_symbol_is_passed_over_and_when_all_are_the_trader_leaves_one(stage: Stage) -> None:
    desk: Any = stage.desk
    first = SYMBOLS[(stage.seed + step_of("pass")) % 3]
    desk.slots = open_in(first)
    await SignalByHand(stage, step_of("pass")).signal_by_hand()
    assert desk.exits == []
    assert desk.requests[0][0] != first
    desk.slots = open_in(*SYMBOLS)
    await SignalByHand(stage, step_of("pass")).signal_by_hand()
    assert desk.exits == [f"t-{first}"]
    assert desk.requests[1][0] == first
    assert len(stage.story.passed) == 2
    assert stage.story.problems == []


async def test_a_denial_is_no_failure_but_a_reason_to_try_again_under_another_id(stage: Stage) -> None:
    desk: Any = stage.desk
    desk.first_verdicts = [authority_pb2.VERDICT_DENIED]
    await SignalByHand(stage, step_of("pass")).signal_by_hand()
    assert len({request for _, request in desk.requests}) == 2
    assert len(stage.story.passed) == 1
    assert stage.story.problems == []


async def test_evidence_that_changed_is_looked_at_again(stage: Stage) -> None:
    desk: Any = stage.desk
    desk.evidence_changes = 1
    step = len(STEPS) - 1
    assert STEPS[step][1] == "approve"
    await SignalByHand(stage, step).signal_by_hand()
    assert len(stage.story.approved_by_hand) == 1
    assert "EVIDENCE_CHANGED" in stage.story.refused[0]
    assert stage.story.problems == []


async def test_what_nobody_answers_is_told_as_expired_once_governance_says_so(stage: Stage) -> None:
    desk: Any = stage.desk
    say = stage.screen.say

    def expire_once_it_waits(text: str, kind: str = "demo") -> None:
        say(text, kind)
        if "will expire" in text:
            desk._decide(next(iter(desk.waiting)), authority_pb2.VERDICT_EXPIRED)

    stage.screen.say = expire_once_it_waits  # type: ignore[method-assign]
    await SignalByHand(stage, step_of("leave")).signal_by_hand()
    assert (len(stage.story.expired), stage.story.left_waiting) == (1, [])


async def test_where_nothing_is_possible_after_the_market_the_demo_goes_on(stage: Stage) -> None:
    stage.market_over = True
    stage.reserved.update(SYMBOLS)
    await SignalByHand(stage, 0).signal_by_hand()
    assert stage.story.problems == []
    assert stage.story.approved_by_hand == []


async def test_an_entry_that_was_still_at_work_is_left_once_it_fills_and_asked_for_once(stage: Stage) -> None:
    """It came in a moment before its symbol was wanted: whoever looked once for something to leave waited in vain."""
    desk: Any = stage.desk
    (filled,) = open_in("IBM")
    at_work = state_pb2.SlotSnapshot(
        trade_id=filled.trade_id,
        instrument=filled.instrument,
        entry=state_pb2.OrderView(life=state_pb2.ORDER_LIFE_OPEN),
    )
    seen = iter([[at_work], [at_work], [filled], [filled], []])

    async def open_slots() -> list[Any]:
        return next(seen)

    desk.open_slots = open_slots
    desk.slots = []
    assert await stage.make_room("IBM")
    assert desk.exits == [filled.trade_id]
