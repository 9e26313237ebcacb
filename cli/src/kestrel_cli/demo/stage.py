"""What every act of the demo stands on: the people's calls, the screen, what happened so far, and ways to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import grpc
from rich.markup import escape

from kestrel.authority.v1 import authority_pb2
from kestrel_cli import output
from kestrel_cli.commands.books import is_working
from kestrel_cli.demo.desk import TRADER, Desk, said
from kestrel_cli.demo.screen import Screen
from kestrel_domain.identifiers import derived_id

STRATEGY = "momentum"
_WAIT_S, _WAIT_AFTER_MARKET_S = 30.0, 8.0
_FLAT_WITHIN_S, _JUDGED_WITHIN_S = 6.0, 3.0
_POLL_S = 0.1


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
    expired: list[str] = field(default_factory=list)
    drift: dict[str, str] = field(default_factory=dict)
    kill: dict[str, str] = field(default_factory=dict)
    flat: bool = False


@dataclass(slots=True)
class Stage:
    """One demo while it runs. Whoever holds ``market`` stops the next day from coming."""

    desk: Desk
    screen: Screen
    seed: int
    story: Story = field(default_factory=Story)
    market: asyncio.Lock = field(default_factory=asyncio.Lock)
    market_over: bool = False
    market_time_ns: int = 0
    traded_today: Sequence[str] = ()
    reserved: set[str] = field(default_factory=set)
    """Symbols that another act is busy with."""

    def request_id(self, step: str) -> str:
        """The same for the same seed and step, so that two runs ask for the same."""
        return derived_id("demo", self.seed, step)

    def say(self, text: str, kind: str = "person") -> None:
        self.screen.say(escape(text), kind)

    def refusal(self, what: str, why: str) -> None:
        """Somebody was told no, as it should be."""
        self.story.refused.append(f"{what}: {why}")
        self.screen.say(f"{escape(what)} → [red]refused[/] {escape(why)}", "person")

    async def must_be_refused(self, what: str, call: Awaitable[Any]) -> None:
        """A permission would be a problem for the report."""
        try:
            decision = await call
        except grpc.aio.AioRpcError as error:
            self.refusal(what, said(error))
            return
        verdict = output.enum_name(authority_pb2.Verdict, decision.verdict)
        if decision.verdict == authority_pb2.VERDICT_APPROVED:
            self.story.problems.append(f"{what}: it was {verdict}")
        else:
            self.refusal(what, verdict)

    async def within(self, ask: Callable[[], Awaitable[Any]], wait_s: float = _WAIT_S) -> Any:
        """Ask until there is an answer; None after the bound, which is shorter once the market is over."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            found = await ask()
            if found is not None:
                return found
            await asyncio.sleep(_POLL_S)
            if self.market_over:
                deadline = min(deadline, time.monotonic() + _WAIT_AFTER_MARKET_S)
        return None

    async def until(self, ask: Callable[[], Awaitable[Any]], what: str) -> Any:
        """The same for what has to happen: None is a problem for the report."""
        found = await self.within(ask)
        if found is None:
            self.story.problems.append(f"within {_WAIT_S:.0f} s it did not happen that {what}")
        return found

    async def first_decision(self, intent_id: str) -> Any:
        """Governance's, which may be that a person has to decide."""

        async def newest() -> Any:
            return self.screen.totals.decisions.get(intent_id)

        return await self.until(newest, f"governance decides intent {intent_id[:10]}")

    async def final_decision(self, intent_id: str) -> Any:
        """Somebody's, or that the intent expired; None: it still waits."""

        async def newest() -> Any:
            found = self.screen.totals.decisions.get(intent_id)
            return None if found is None or found.verdict == authority_pb2.VERDICT_PENDING else found

        return await self.within(newest)

    async def strategy_has_decided(self) -> None:
        """Wait, within bounds, until the strategy has judged the market's day in every symbol."""

        async def has_decided() -> bool | None:
            times_ns = self.screen.totals.decided_until_ns
            last_ns = [times_ns.get(f"{STRATEGY} {symbol}", 0) for symbol in self.traded_today]
            return all(each >= self.market_time_ns for each in last_ns) or None

        await self.within(has_decided, _JUDGED_WITHIN_S)

    async def busy_symbols(self) -> set[str]:
        """Where a trade is open or an order at work, where an intent waits, and where another act is at work."""
        slots, pending = await asyncio.gather(self.desk.open_slots(), self.desk.pending())
        taken = {slot.instrument.symbol for slot in slots if is_busy(slot)}
        return taken | {each.intent.instrument.symbol for each in pending} | self.reserved

    async def make_room(self, symbol: str, wait_s: float = _FLAT_WITHIN_S) -> bool:
        """The trader leaves a trade, so that its symbol is free for something else. False: it took too long.

        An entry that was at work when we looked is left as soon as it fills.
        """
        left: set[str] = set()

        async def is_flat() -> bool | None:
            slots = [slot for slot in await self.desk.open_slots() if slot.instrument.symbol == symbol]
            for slot in slots:
                if slot.qty.units and not is_working(slot.exit) and slot.trade_id not in left:
                    left.add(slot.trade_id)
                    self.say(f"{TRADER} leaves {symbol} to make room")
                    await self.desk.exit(slot.trade_id, "demo: to make room")
            return None if any(is_busy(slot) for slot in slots) else True

        return bool(await self.within(is_flat, wait_s))


def is_busy(slot: Any) -> bool:
    """Whether a slot holds a position or an order at work."""
    return bool(slot.qty.units) or is_working(slot.entry) or is_working(slot.exit)
