"""The demo's story: what people do while the market moves. Every act goes through the call that a human would use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import grpc
from rich.markup import escape

from kestrel.admin.v1 import governance_pb2, reconciler_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_cli import output
from kestrel_cli.commands.books import is_working
from kestrel_cli.commands.lookup import request_id
from kestrel_cli.commands.signals import MANUAL_STRATEGY, Direction, make_signal
from kestrel_cli.demo.by_hand import STEPS, SignalByHand
from kestrel_cli.demo.desk import ADMIN, CALL_TIMEOUT_S, RISK, TRADER, said
from kestrel_cli.demo.prices import DailyBar
from kestrel_cli.demo.stage import STRATEGY, Stage, is_busy
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

TROUBLE_AT = 0.25
"""When the broker's books go wrong, as a share of the days that are traded after the warm-up."""

_BEHIND_S_MAX, _FASTEST = 10.0, 0.6
"""What is later than this is not caught up with; and how short a day becomes, as a share of its length, to catch up."""

_DRIFT_QTY = 37
_ROOM_WITHIN_S = 15.0
"""Nobody waits for it meanwhile, and an entry on its way has to fill before it can be left."""

_CLOSE_WITHIN_S = 25.0
_POLL_S = 0.25
_ASK_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast market days go by. Who holds the market back holds it back only for a while: later days catch up.

    ``bar_interval_s`` is of a venue that tells prices and no days: the gateway makes bars of them by the clock, so a
    market day has to last at least that long. 0: bars keep their own days.
    """

    warm_up_day_s: float
    day_s: float
    bar_interval_s: float = 0.0

    def of(self, *, trading: bool) -> float:
        """Seconds of one day, in the warm-up or after it."""
        return self.day_s if trading else self.warm_up_day_s

    def decided_as_of_ns(self, start_ns: int) -> int:
        """The least market time at which a strategy that has seen this bar has decided."""
        if not self.bar_interval_s:
            return start_ns
        return time.time_ns() - int(self.bar_interval_s * SECOND_NS)


class Scenario:
    """Runs the market and the people side by side."""

    def __init__(self, stage: Stage, bus: Bus, bars: Sequence[DailyBar], warm_up_days: int, pace: Pace) -> None:
        self._stage = stage
        self._bus = bus
        self._desk = stage.desk
        self._screen = stage.screen
        self._days = group_by_day(bars)
        self._warm_up_days = min(warm_up_days, len(self._days))
        self._pace = pace
        self.story = stage.story

    async def run(self) -> None:
        """Mandate, market days with people acting in between, then everything closed."""
        mandate = await self._grant_mandate()
        acts: list[asyncio.Task[None]] = []
        try:
            await self._market_days(acts)
            self._screen.totals.stage = "closing"
            await asyncio.gather(*acts)
        finally:
            for act in acts:
                act.cancel()
            await asyncio.gather(*acts, return_exceptions=True)
        await self._revoke_mandate(mandate)
        await self._close_everything()

    async def _market_days(self, acts: list[asyncio.Task[None]]) -> None:
        """Day after day; what people do on a day begins with it and goes on beside the market."""
        plan, planned = self._plan(), time.monotonic()
        self._screen.totals.day_count = len(self._days)
        for index, (day, bars) in enumerate(self._days):
            trading = index >= self._warm_up_days
            self._screen.totals.stage = "trading" if trading else "warming up the strategy"
            began = time.monotonic()
            day_s = self._pace.of(trading=trading)
            planned = max(planned, began - _BEHIND_S_MAX) + day_s
            await self._publish(day, bars, index)
            for act in plan.pop(index, ()):
                acts.append(asyncio.create_task(self._safely(act)))
            await asyncio.sleep(max(planned, began + _FASTEST * day_s) - time.monotonic())
        self._stage.market_over = True

    def _plan(self) -> dict[int, list[Callable[[], Awaitable[None]]]]:
        """What people do on which day."""
        trading = len(self._days) - self._warm_up_days
        by_hand = [(share, SignalByHand(self._stage, step).signal_by_hand) for step, (share, _) in enumerate(STEPS)]
        plan: dict[int, list[Callable[[], Awaitable[None]]]] = {}
        for share, act in (*by_hand, (TROUBLE_AT, self._trouble)):
            day = min(self._warm_up_days + round(share * trading), len(self._days) - 1)
            plan.setdefault(day, []).append(act)
        return plan

    async def _publish(self, day: date, bars: Sequence[DailyBar], index: int) -> None:
        async with self._stage.market:
            self.story.published.append((time.time_ns(), day))
            for bar in bars:
                message = bar.message()
                await self._desk.publish(message)
                self._stage.market_time_ns = self._pace.decided_as_of_ns(message.start_ns)
                self.story.bar_count += 1
            self._stage.traded_today = [bar.symbol for bar in bars]
        self._screen.totals.day, self._screen.totals.day_index = day.isoformat(), index + 1

    async def _grant_mandate(self) -> str:
        now_ns = time.time_ns()
        mandate = authority_pb2.Mandate(
            strategy=STRATEGY,
            account=self._desk.account,
            max_order_notional=Number.parse("200000").message(),
            max_total_notional=Number.parse("50000000").message(),
            max_order_count=1000,
            environment=common_pb2.ENVIRONMENT_PAPER,
            not_before_ns=now_ns,
            expires_at_ns=now_ns + 3600 * SECOND_NS,
            reason="demo: the strategy may trade by itself for an hour",
        )
        answer = await self._desk.stub("governance", RISK).GrantMandate(
            governance_pb2.GrantMandateRequest(request_id=self._stage.request_id("mandate"), mandate=mandate),
            timeout=CALL_TIMEOUT_S,
        )
        self._stage.say(f"{RISK} grants {STRATEGY} a mandate for an hour")
        return str(answer.mandate.mandate_id)

    async def _revoke_mandate(self, mandate_id: str) -> None:
        await self._desk.stub("governance", RISK).RevokeMandate(
            governance_pb2.RevokeMandateRequest(
                request_id=request_id(), mandate_id=mandate_id, reason="demo: the day is over"
            ),
            timeout=CALL_TIMEOUT_S,
        )
        self._stage.say(f"{RISK} revokes the mandate: no new entries")

    async def _trouble(self) -> None:
        """The broker's books go wrong in one symbol.

        Entries in it are killed, the drift is found, put right and resolved by a person, and two people re-arm.
        """
        symbol = await self._symbol_for_trouble()
        self._stage.reserved.add(symbol)
        await self._kill(symbol)
        if await self._stage.make_room(symbol, _ROOM_WITHIN_S):
            await self._denied_while_killed(symbol)
            await self._drift(symbol)
        else:
            self._stage.say(f"{symbol} is still open: there will be no drift to find")
        await self._rearm(symbol)
        self._stage.reserved.discard(symbol)

    async def _symbol_for_trouble(self) -> str:
        """The last that is free, else the last: exits pass while it is killed."""
        busy, symbols = await self._stage.busy_symbols(), sorted(self._stage.traded_today, reverse=True)
        return str(next((symbol for symbol in symbols if symbol not in busy), symbols[0]))

    async def _drift(self, symbol: str) -> None:
        """A position moves behind everybody's back: found, alerted, put right at the broker, resolved by a person."""
        await self._desk.move(symbol, _DRIFT_QTY)
        induced_ns = time.time_ns()
        self._stage.say(f"the broker's back office books {_DRIFT_QTY} {symbol} that nobody ordered", "recon")
        await self._desk.compare_now()
        found = await self._stage.until(lambda: self._find_break(symbol), f"reconciliation finds the drift in {symbol}")
        detected_ns = time.time_ns()
        await self._desk.move(symbol, -_DRIFT_QTY)
        self._stage.say("the broker takes it back", "recon")
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
        self._stage.say(f"{TRADER} kills entries in {symbol}; exits would still pass", "kill")

    async def _denied_while_killed(self, symbol: str) -> None:
        """A signal in a killed symbol must come to nothing (INV-KILL-BLOCKS-ENTRY-1)."""
        signal = make_signal(Direction.BUY, symbol, "demo: must be denied", confidence=0.6)
        request = self._stage.request_id(f"killed {symbol}")
        answer = await self._desk.submit_signal(signal, TRADER, request=request)
        if not answer.intent_id:
            self._stage.say(f"{TRADER} signals buy {symbol}; no intent: {answer.reason}")
            return
        decision = await self._stage.first_decision(answer.intent_id)
        if decision is None:
            return
        if decision.verdict == authority_pb2.VERDICT_DENIED:
            self._stage.refusal(f"{TRADER} signals buy {symbol} while it is killed", decision.reason)
        else:
            verdict = output.enum_name(authority_pb2.Verdict, decision.verdict)
            self.story.problems.append(f"an intent in {symbol}, which is killed, was {verdict}")

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
        self._stage.say(f"{RISK} proposes, {ADMIN} completes: {symbol} is armed again", "kill")

    async def _same_person_cannot_complete(self, call: Any, symbol: str) -> None:
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._stage.refusal(f"{RISK} tries to re-arm {symbol} alone", said(error))
            return
        if answer.completed:
            self.story.problems.append(f"one person alone re-armed {symbol}")
        else:
            self._stage.refusal(f"{RISK} tries to re-arm {symbol} alone", "it still waits for a second person")

    async def _close_everything(self) -> None:
        """Ask every open trade to exit, and cancel what still works, until nothing is left. Bounded."""
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        asked: dict[str, float] = {}
        while time.monotonic() < deadline:
            is_whole = await self._desk.has_journaled_all(self._bus)
            slots = [slot for slot in await self._desk.open_slots() if is_busy(slot)]
            if is_whole and not slots:
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
                self._stage.say(f"{TRADER} leaves {slot.instrument.symbol}, {Number.of(slot.qty)} open")
                await self._desk.exit(slot.trade_id, "demo: the day is over")
            elif is_working(slot.entry):
                await self._desk.cancel(slot.entry.client_order_id, "demo: the day is over")
        except grpc.aio.AioRpcError as error:
            self._screen.say(f"exit of {slot.instrument.symbol}: {escape(said(error))}", "order")

    async def _safely(self, act: Callable[[], Awaitable[None]]) -> None:
        """One act that fails is a problem for the report, and does not end the demo."""
        try:
            await act()
        except grpc.aio.AioRpcError as error:
            name = getattr(act, "__name__", "act").strip("_").replace("_", " ")
            self.story.problems.append(f"{name}: {said(error)}")
            self._screen.say(f"[red]{escape(name)}: {escape(said(error))}[/]", "person")


def group_by_day(bars: Sequence[DailyBar]) -> list[tuple[date, list[DailyBar]]]:
    """The bars of each day, in order of day and symbol."""
    days: dict[date, list[DailyBar]] = {}
    for bar in sorted(bars):
        days.setdefault(bar.day, []).append(bar)
    return list(days.items())


assert MANUAL_STRATEGY != STRATEGY, "a mandate for the strategy must not cover signals by hand"
