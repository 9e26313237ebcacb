"""Signals by hand: the trader proposes, somebody else decides, and one is left to expire.

Each begins on its own market day, and asks for the same thing in each run with one seed. Where the market or the risk
checks say no, which they may, another symbol is tried.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc

from kestrel.admin.v1 import governance_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel_cli import output
from kestrel_cli.clients import refusal_of
from kestrel_cli.commands.signals import Direction, make_signal
from kestrel_cli.demo.desk import RISK, TRADER, said
from kestrel_cli.demo.stage import Stage

STEPS: tuple[tuple[float, str], ...] = (
    (0.03, "approve"),
    (0.08, "pass"),
    (0.13, "leave"),
    (0.35, "approve"),
)
"""When, as a share of the days that are traded, and what comes of the signal."""

LIFETIME_S = 12
"""How long a signal by hand waits for somebody in the demo."""

_TRIES, _TRIES_AFTER_MARKET, _LOOKS = 20, 3, 3
_NO_ROOM_S = 1.0


class SignalByHand:
    """One of ``STEPS``."""

    def __init__(self, stage: Stage, step: int) -> None:
        self._stage = stage
        self._step = step
        self._what = STEPS[step][1]
        self._direction = Direction.BUY if step % 2 == 0 else Direction.SELL
        self._asked: Counter[str] = Counter()

    async def signal_by_hand(self) -> None:
        """Propose until something waits and is decided as meant. What does not allow it is said, and is no failure."""
        for number in range(_TRIES):
            if self._stage.market_over and number >= _TRIES_AFTER_MARKET:
                break
            pending = await self._proposed()
            if pending is None:
                await asyncio.sleep(_NO_ROOM_S)
                continue
            if self._step == 0:
                await self._must_fail(pending)
            if await self._decided(pending):
                return
        self._stage.say(f"nothing came of signal {self._step + 1} by hand: there was no room for it")

    # -- the trader -------------------------------------------------------------------------------------------------

    async def _proposed(self) -> governance_pb2.PendingIntent | None:
        """A signal, while the market stands still, in a symbol that is free; None: not this time."""
        stage = self._stage
        async with stage.market:
            await stage.strategy_has_decided()
            symbol = await self._free_symbol()
            if symbol is None:
                return None
            signal = make_signal(self._direction, symbol, "demo: my own view", confidence=0.6)
            self._asked[symbol] += 1
            request = stage.request_id(f"signal {self._step} {symbol} {self._asked[symbol]}")
            answer = await stage.desk.submit_signal(signal, TRADER, request=request)
        told = f"{TRADER} signals {self._direction.value} {symbol}"
        if not answer.intent_id:
            stage.say(f"{told}; no intent: {answer.reason}")
            return None
        decision = await stage.first_decision(answer.intent_id)
        if decision is None:
            return None
        if decision.verdict != authority_pb2.VERDICT_PENDING:
            stage.say(f"{told}: {output.enum_name(authority_pb2.Verdict, decision.verdict)}: {decision.reason}")
            return None
        stage.say(f"{told}: intent {answer.intent_id[:10]} waits for somebody else")
        return await self._waiting(answer.intent_id)

    async def _free_symbol(self) -> str | None:
        """The first that is free, beginning with this step's; when none is, the trader leaves a trade first.

        One that was asked for in vain comes after the others.
        """
        symbols = sorted(self._stage.traded_today)
        first = (self._stage.seed + self._step) % len(symbols)
        ordered = [*symbols[first:], *symbols[:first]]
        busy = await self._stage.busy_symbols()
        ordered.sort(key=lambda symbol: self._asked[symbol])
        free = next((symbol for symbol in ordered if symbol not in busy), None)
        if free is not None:
            return free
        leave = next((symbol for symbol in ordered if symbol not in self._stage.reserved), None)
        return leave if leave is not None and await self._stage.make_room(leave) else None

    # -- somebody else ----------------------------------------------------------------------------------------------

    async def _decided(self, pending: governance_pb2.PendingIntent) -> bool:
        """Whether it came to what was meant."""
        if self._what == "approve":
            return await self._approved(pending)
        if self._what == "pass":
            return await self._passed(pending)
        return await self._left(pending)

    async def _approved(self, pending: governance_pb2.PendingIntent) -> bool:
        """Look and say yes; look again when the evidence has changed meanwhile."""
        stage, symbol, intent_id = self._stage, pending.intent.instrument.symbol, pending.intent.intent_id
        shown: governance_pb2.PendingIntent | None = pending
        for _ in range(_LOOKS):
            if shown is None:
                return False
            try:
                decision = await stage.desk.approve(
                    intent_id, shown.evidence_sha256, RISK, "demo: the evidence is right"
                )
            except grpc.aio.AioRpcError as error:
                stage.refusal(f"{RISK} approves {symbol}", said(error))
                refusal = refusal_of(error)
                if refusal is None or refusal.reason != "EVIDENCE_CHANGED":
                    return False
                shown = await self._waiting(intent_id)
                continue
            stage.story.approved_by_hand.append(intent_id)
            stage.say(f"{RISK} looks at {symbol}: {output.enum_name(authority_pb2.Verdict, decision.verdict)}")
            return True
        return False

    async def _passed(self, pending: governance_pb2.PendingIntent) -> bool:
        stage, symbol, intent_id = self._stage, pending.intent.instrument.symbol, pending.intent.intent_id
        try:
            await stage.desk.pass_on(intent_id, RISK, "demo: not convinced")
        except grpc.aio.AioRpcError as error:
            stage.refusal(f"{RISK} passes on {symbol}", said(error))
            return False
        stage.story.passed.append(intent_id)
        stage.say(f"{RISK} passes on {symbol}")
        return True

    async def _left(self, pending: governance_pb2.PendingIntent) -> bool:
        """Nobody answers, until governance lets it expire."""
        stage, symbol, intent_id = self._stage, pending.intent.instrument.symbol, pending.intent.intent_id
        stage.say(f"nobody answers for {symbol}: it will expire in {LIFETIME_S} s")
        stage.story.left_waiting.append(intent_id)
        decision = await stage.final_decision(intent_id)
        if decision is not None and decision.verdict == authority_pb2.VERDICT_EXPIRED:
            stage.story.left_waiting.remove(intent_id)
            stage.story.expired.append(intent_id)
        return True

    async def _must_fail(self, pending: governance_pb2.PendingIntent) -> None:
        """Approving something else than what was shown, and approving one's own, must both be refused."""
        stage, intent_id = self._stage, pending.intent.intent_id
        wrong = bytes(reversed(pending.evidence_sha256))
        await stage.must_be_refused(
            f"{RISK} approves with the hash of other evidence",
            stage.desk.approve(intent_id, wrong, RISK, "demo: must be refused"),
        )
        await stage.must_be_refused(
            f"{TRADER} approves his own proposal",
            stage.desk.approve(intent_id, pending.evidence_sha256, TRADER, "demo: must be refused"),
        )

    async def _waiting(self, intent_id: str) -> governance_pb2.PendingIntent | None:
        pending: list[Any] = await self._stage.desk.pending()
        return next((each for each in pending if each.intent.intent_id == intent_id), None)
