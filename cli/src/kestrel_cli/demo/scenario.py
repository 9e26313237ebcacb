"""The demo's story: what people do while the market moves. Every act goes through the call that a human would use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import grpc
from rich.markup import escape

from kestrel.admin.v1 import governance_pb2, reconciler_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_cli import output
from kestrel_cli.commands.books import is_working
from kestrel_cli.commands.lookup import request_id
from kestrel_cli.commands.signals import MANUAL_STRATEGY, Direction, make_signal
from kestrel_cli.demo.desk import ADMIN, CALL_TIMEOUT_S, RISK, TRADER, Desk, said
from kestrel_cli.demo.prices import DailyBar
from kestrel_cli.demo.screen import Screen
from kestrel_cli.platform.config import ACCOUNT
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS

STRATEGY = "momentum"
WARM_UP_PACE_S = 0.02
BY_HAND_AT, TROUBLE_AT = 0.03, 0.25
"""When people begin to act, as a share of the days that are traded after the warm-up."""

BY_HAND = ("approve", "pass", "approve", "leave")
"""What comes of each signal by hand."""

_DRIFT_QTY = 37
_WAIT_S, _WAIT_AFTER_MARKET_S = 30.0, 8.0
_CLOSE_WITHIN_S = 25.0
_POLL_S = 0.25
_ASK_AGAIN_S = 2.0

Say = Callable[[str, str], None]


@dataclass(slots=True)
class Story:
    """What happened, for the report."""

    published: list[tuple[int, date]] = field(default_factory=list)
    bar_count: int = 0
    refused: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    approved_by_hand: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    left_waiting: list[str] = field(default_factory=list)
    drift: dict[str, str] = field(default_factory=dict)
    kill: dict[str, str] = field(default_factory=dict)
    flat: bool = False


class Scenario:
    """Runs the market and the people side by side."""

    def __init__(self, desk: Desk, screen: Screen, bars: Sequence[DailyBar], warm_up_days: int, pace_s: float) -> None:
        self._desk = desk
        self._screen = screen
        self._days = group_by_day(bars)
        self._warm_up_days = min(warm_up_days, len(self._days))
        self._pace_s = pace_s
        self._symbols = sorted({bar.symbol for bar in bars})
        self._market_over = False
        self.story = Story()

    async def run(self) -> None:
        """Mandate, market days with people acting in between, then everything closed."""
        mandate = await self._grant_mandate()
        acts: list[asyncio.Task[None]] = []
        plan = self._plan()
        self._screen.totals.day_count = len(self._days)
        for index, (day, bars) in enumerate(self._days):
            trading = index >= self._warm_up_days
            self._screen.totals.stage = "trading" if trading else "warming up the strategy"
            began = time.monotonic()
            await self._publish(day, bars, index)
            for act in plan.pop(index, ()):
                acts.append(asyncio.create_task(self._safely(act)))
            rest_s = (self._pace_s if trading else WARM_UP_PACE_S) - (time.monotonic() - began)
            await asyncio.sleep(max(rest_s, 0))
        self._market_over = True
        self._screen.totals.stage = "closing"
        await asyncio.gather(*acts)
        await self._revoke_mandate(mandate)
        await self._close_everything()

    def _plan(self) -> dict[int, list[Callable[[], Awaitable[None]]]]:
        """What people do on which day."""
        trading = len(self._days) - self._warm_up_days
        plan: dict[int, list[Callable[[], Awaitable[None]]]] = {}
        for share, act in ((BY_HAND_AT, self._signals_by_hand), (TROUBLE_AT, self._trouble)):
            day = min(self._warm_up_days + round(share * trading), len(self._days) - 1)
            plan.setdefault(day, []).append(act)
        return plan

    async def _publish(self, day: date, bars: Sequence[DailyBar], index: int) -> None:
        self.story.published.append((time.time_ns(), day))
        for bar in bars:
            await self._desk.market.PublishBar(paper_pb2.PublishBarRequest(bar=bar.message()), timeout=CALL_TIMEOUT_S)
            self.story.bar_count += 1
        self._screen.totals.day, self._screen.totals.day_index = day.isoformat(), index + 1

    async def _grant_mandate(self) -> str:
        now_ns = time.time_ns()
        mandate = authority_pb2.Mandate(
            strategy=STRATEGY,
            account=ACCOUNT,
            max_order_notional=Number.parse("200000").message(),
            max_total_notional=Number.parse("50000000").message(),
            max_order_count=1000,
            environment=common_pb2.ENVIRONMENT_PAPER,
            not_before_ns=now_ns,
            expires_at_ns=now_ns + 3600 * SECOND_NS,
            reason="demo: the strategy may trade by itself for an hour",
        )
        answer = await self._desk.stub("governance", RISK).GrantMandate(
            governance_pb2.GrantMandateRequest(request_id=request_id(), mandate=mandate), timeout=CALL_TIMEOUT_S
        )
        self._say(f"{RISK} grants {STRATEGY} a mandate for an hour")
        return str(answer.mandate.mandate_id)

    async def _revoke_mandate(self, mandate_id: str) -> None:
        await self._desk.stub("governance", RISK).RevokeMandate(
            governance_pb2.RevokeMandateRequest(
                request_id=request_id(), mandate_id=mandate_id, reason="demo: the day is over"
            ),
            timeout=CALL_TIMEOUT_S,
        )
        self._say(f"{RISK} revokes the mandate: no new entries")

    async def _signals_by_hand(self) -> None:
        """Signals that wait for a person, one after the other, each in a symbol that is flat."""
        direction = Direction.BUY
        for what in BY_HAND:
            symbol = await self._until(self._a_flat_symbol, "a symbol is flat for a signal by hand")
            if symbol is None or self._market_over:
                return
            answer = await self._desk.submit_signal(make_signal(direction, symbol, "demo: my own view", confidence=0.6))
            if not answer.intent_id:
                self._say(f"{TRADER} signals {direction.value} {symbol}; no intent: {answer.reason}")
                continue
            self._say(f"{TRADER} signals {direction.value} {symbol}: intent {answer.intent_id[:10]} waits for a person")
            pending = await self._until(
                lambda intent_id=answer.intent_id: self._waiting(intent_id),  # type: ignore[misc]
                f"the signal in {symbol} waits for a person",
            )
            if pending is not None:
                await self._decide(pending, what, first=what == BY_HAND[0] and not self.story.approved_by_hand)
            direction = Direction.SELL if direction is Direction.BUY else Direction.BUY

    async def _decide(self, pending: governance_pb2.PendingIntent, what: str, *, first: bool) -> None:
        intent_id, symbol = pending.intent.intent_id, pending.intent.instrument.symbol
        if first:
            await self._must_fail(pending)
        if what == "approve":
            decision = await self._desk.approve(intent_id, pending.evidence_sha256, RISK, "demo: the evidence is right")
            self.story.approved_by_hand.append(intent_id)
            self._say(f"{RISK} looks at {symbol}: {output.enum_name(authority_pb2.Verdict, decision.verdict)}")
        elif what == "pass":
            await self._desk.pass_on(intent_id, RISK, "demo: not convinced")
            self.story.passed.append(intent_id)
            self._say(f"{RISK} passes on {symbol}")
        else:
            self.story.left_waiting.append(intent_id)
            self._say(f"nobody answers for {symbol}: it will expire")

    async def _waiting(self, intent_id: str) -> governance_pb2.PendingIntent | None:
        return next((each for each in await self._desk.pending() if each.intent.intent_id == intent_id), None)

    async def _must_fail(self, pending: governance_pb2.PendingIntent) -> None:
        """Approving something else than what was shown, and approving one's own, must both be refused."""
        wrong = bytes(reversed(pending.evidence_sha256))
        await self._refused(
            f"{RISK} approves with the hash of other evidence",
            self._desk.approve(pending.intent.intent_id, wrong, RISK, "demo: must be refused"),
        )
        if pending.intent.proposer.id == TRADER:
            await self._refused(
                f"{TRADER} approves his own proposal",
                self._desk.approve(pending.intent.intent_id, pending.evidence_sha256, TRADER, "demo: must be refused"),
            )

    async def _trouble(self) -> None:
        """The broker's books go wrong in one symbol.

        Entries in it are killed, the drift is found, put right and resolved by a person, and two people re-arm.
        """
        symbol = await self._until(self._a_flat_symbol, "some symbol is flat")
        if symbol is None:
            return
        await self._kill(symbol)
        await self._denied_while_killed(symbol)
        if symbol not in self._taken_symbols(await self._desk.open_slots()):
            await self._drift(symbol)
        await self._rearm(symbol)

    async def _drift(self, symbol: str) -> None:
        """A position moves behind everybody's back: found, alerted, put right at the broker, resolved by a person."""
        await self._move(symbol, _DRIFT_QTY)
        induced_ns = time.time_ns()
        self._say(f"the broker's back office books {_DRIFT_QTY} {symbol} that nobody ordered", "recon")
        await self._desk.compare_now()
        found = await self._until(lambda: self._find_break(symbol), f"reconciliation finds the drift in {symbol}")
        detected_ns = time.time_ns()
        await self._move(symbol, -_DRIFT_QTY)
        self._say("the broker takes it back", "recon")
        if found is None:
            return
        await self._desk.compare_now()
        answer = await self._desk.stub("reconciler", RISK).Resolve(
            reconciler_pb2.ResolveRequest(
                request_id=request_id(),
                break_id=found.break_id,
                kind=reconcile_pb2.RESOLUTION_KIND_BROKER_CORRECTED,
                notes="demo: booked by mistake and taken back by the broker",
            ),
            timeout=CALL_TIMEOUT_S,
        )
        self.story.drift = {
            "symbol": symbol,
            "qty": str(_DRIFT_QTY),
            "break_id": found.break_id,
            "detected_after_ms": str((detected_ns - induced_ns) // 1_000_000),
            "resolved_by": answer.resolved_break.resolution.resolved_by.id,
        }

    async def _find_break(self, symbol: str) -> Any:
        return next((each for each in await self._desk.open_breaks() if each.symbol == symbol), None)

    async def _move(self, symbol: str, qty: int) -> None:
        await self._desk.market.InduceDrift(
            paper_pb2.InduceDriftRequest(account=ACCOUNT, symbol=symbol, qty=common_pb2.Decimal(units=qty)),
            timeout=CALL_TIMEOUT_S,
        )

    async def _kill(self, symbol: str) -> None:
        await self._desk.stub("governance", TRADER).Kill(
            governance_pb2.KillRequest(
                request_id=request_id(),
                scope=authority_pb2.KILL_SCOPE_SYMBOL,
                target=symbol,
                level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
                reason="demo: the broker's confirmations look odd",
            ),
            timeout=CALL_TIMEOUT_S,
        )
        self._say(f"{TRADER} kills entries in {symbol}; exits would still pass", "kill")

    async def _denied_while_killed(self, symbol: str) -> None:
        """A signal in a killed symbol must come to nothing (INV-KILL-BLOCKS-ENTRY-1)."""
        signal = make_signal(Direction.BUY, symbol, "demo: must be denied", confidence=0.6)
        answer = await self._desk.submit_signal(signal)
        if not answer.intent_id:
            return
        denied = await self._until(lambda: self._not_pending(answer.intent_id), f"{symbol} is denied while killed")
        if denied:
            self._refusal(f"{TRADER} signals buy {symbol} while it is killed", "denied by the kill flag")

    async def _not_pending(self, intent_id: str) -> bool | None:
        """True once governance has answered and nothing waits; None while it has not, or when it does wait."""
        await asyncio.sleep(_POLL_S)
        waiting = {each.intent.intent_id for each in await self._desk.pending()}
        return None if intent_id in waiting else True

    async def _rearm(self, symbol: str) -> None:
        """One person cannot; two can."""
        rearm = governance_pb2.RearmRequest(
            request_id=request_id(),
            scope=authority_pb2.KILL_SCOPE_SYMBOL,
            target=symbol,
            reason="demo: the broker's books are right again",
        )
        await self._desk.stub("governance", RISK).Rearm(rearm, timeout=CALL_TIMEOUT_S)
        rearm.request_id = request_id()
        again = self._desk.stub("governance", RISK).Rearm(rearm, timeout=CALL_TIMEOUT_S)
        await self._same_person_cannot_complete(again, symbol)
        rearm.request_id = request_id()
        answer = await self._desk.stub("governance", ADMIN).Rearm(rearm, timeout=CALL_TIMEOUT_S)
        self.story.kill = {"symbol": symbol, "rearmed": str(answer.completed).lower()}
        self._say(f"{RISK} proposes, {ADMIN} completes: {symbol} is armed again", "kill")

    async def _same_person_cannot_complete(self, call: Any, symbol: str) -> None:
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._refusal(f"{RISK} tries to re-arm {symbol} alone", said(error))
            return
        if answer.completed:
            self.story.problems.append(f"one person alone re-armed {symbol}")
        else:
            self._refusal(f"{RISK} tries to re-arm {symbol} alone", "it still waits for a second person")

    async def _close_everything(self) -> None:
        """Ask every open trade to exit, and cancel what still works, until nothing is left. Bounded."""
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        asked: dict[str, float] = {}
        while time.monotonic() < deadline:
            slots = [slot for slot in await self._desk.open_slots() if is_busy(slot)]
            if not slots and not await self._desk.lag():
                self.story.flat = True
                return
            for slot in slots:
                if time.monotonic() - asked.get(slot.trade_id, 0.0) > _ASK_AGAIN_S:
                    asked[slot.trade_id] = time.monotonic()
                    await self._close(slot)
            await asyncio.sleep(_POLL_S)
        left = ", ".join(f"{s.instrument.symbol} {Number.of(s.qty)}" for s in await self._desk.open_slots())
        self.story.problems.append(f"not flat after {_CLOSE_WITHIN_S:.0f} s: {left}")

    async def _close(self, slot: Any) -> None:
        try:
            if slot.qty.units and not is_working(slot.exit):
                self._say(f"{TRADER} leaves {slot.instrument.symbol}, {Number.of(slot.qty)} open")
                await self._desk.exit(slot.trade_id, "demo: the day is over")
            elif is_working(slot.entry):
                await self._desk.cancel(slot.entry.client_order_id, "demo: the day is over")
        except grpc.aio.AioRpcError as error:
            self._screen.say(f"exit of {slot.instrument.symbol}: {escape(said(error))}", "order")

    async def _refused(self, what: str, call: Awaitable[Any]) -> None:
        try:
            decision = await call
        except grpc.aio.AioRpcError as error:
            self._refusal(what, said(error))
            return
        verdict = output.enum_name(authority_pb2.Verdict, decision.verdict)
        if decision.verdict == authority_pb2.VERDICT_APPROVED:
            self.story.problems.append(f"{what}: it was {verdict}")
        else:
            self._refusal(what, verdict)

    def _refusal(self, what: str, why: str) -> None:
        self.story.refused.append(f"{what}: {why}")
        self._screen.say(f"{escape(what)} → [red]refused[/] {escape(why)}", "person")

    async def _until(self, ask: Callable[[], Awaitable[Any]], what: str) -> Any:
        """Ask until there is an answer; after the bound, None, and a problem for the report."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            found = await ask()
            if found is not None:
                return found
            await asyncio.sleep(_POLL_S)
            if self._market_over:
                deadline = min(deadline, time.monotonic() + _WAIT_AFTER_MARKET_S)
        self.story.problems.append(f"within {_WAIT_S:.0f} s it did not happen that {what}")
        return None

    async def _safely(self, act: Callable[[], Awaitable[None]]) -> None:
        """One act that fails is a problem for the report, and does not end the demo."""
        try:
            await act()
        except grpc.aio.AioRpcError as error:
            name = getattr(act, "__name__", "act").strip("_").replace("_", " ")
            self.story.problems.append(f"{name}: {said(error)}")
            self._screen.say(f"[red]{escape(name)}: {escape(said(error))}[/]", "person")

    async def _a_flat_symbol(self) -> str | None:
        """The last symbol without a trade, and without an intent that waits."""
        taken = self._taken_symbols(await self._desk.open_slots())
        taken |= {each.intent.instrument.symbol for each in await self._desk.pending()}
        return next((symbol for symbol in reversed(self._symbols) if symbol not in taken), None)

    def _taken_symbols(self, slots: Sequence[Any]) -> set[str]:
        return {slot.instrument.symbol for slot in slots if is_busy(slot)}

    def _say(self, text: str, kind: str = "person") -> None:
        self._screen.say(escape(text), kind)


def group_by_day(bars: Sequence[DailyBar]) -> list[tuple[date, list[DailyBar]]]:
    """The bars of each day, in order of day and symbol."""
    days: dict[date, list[DailyBar]] = {}
    for bar in sorted(bars):
        days.setdefault(bar.day, []).append(bar)
    return list(days.items())


def is_busy(slot: Any) -> bool:
    """Whether a slot holds a position or an order at work."""
    return bool(slot.qty.units) or is_working(slot.entry) or is_working(slot.exit)


assert MANUAL_STRATEGY != STRATEGY, "a mandate for the strategy must not cover signals by hand"
