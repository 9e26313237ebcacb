"""A seeded driver that breaks a running platform, one thing after the other, while orders go in.

After each blow it waits until everything is ready again, leaves every trade, and compares the three books and every
chain. The seed decides order, moments and lengths; it does not decide what the machine makes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from kestrel_chassis.bus import Bus
from kestrel_cli.demo.desk import Desk
from kestrel_cli.platform.layout import PAPER_VENUE, POSTGRES, SERVICES
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError, Unavailable
from tests.chaos.three_nodes import NODES
from tests.integration.platform import SYMBOLS, RunningPlatform, patiently

INTENTS_PER_CASE = 10
READY_TIMEOUT_S, REST_TIMEOUT_S, LEADERS_TIMEOUT_S = 90.0, 120.0, 60.0
_FREEZE_S = (0.5, 12.0)
_INTENT_EVERY_S = 0.1
_REPLAYED_MAX = 60


@dataclass(slots=True)
class CaseResult:
    """What one blow cost. ``lost`` and ``doubled`` count orders and fills over the whole run so far."""

    victim: str
    blow: str
    lost: int = 0
    doubled: int = 0
    chain_intact: bool = False
    healthy_after_s: float = 0.0
    orders: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self.chain_intact and not (self.lost or self.doubled or self.findings)


Blow = Callable[[], Awaitable[None]]


class Driver:
    """One run on one platform."""

    def __init__(self, platform: RunningPlatform, seed: int, tell: Callable[[CaseResult], None]) -> None:
        self._platform = platform
        self._chance = random.Random(seed)
        self._tell = tell
        self._symbols: Iterator[str] = itertools.cycle(SYMBOLS)
        self._number = 0

    async def run(self, minutes: float) -> list[CaseResult]:
        """Each blow once, in an order of the seed's, for no longer than that."""
        deadline_s = time.monotonic() + 60 * minutes
        results: list[CaseResult] = []
        cases = self._cases()
        self._chance.shuffle(cases)
        for victim, blow in cases:
            if time.monotonic() > deadline_s:
                break
            result = await self._case(victim, blow)
            results.append(result)
            self._tell(result)
        return results

    def _cases(self) -> list[tuple[str, str]]:
        processes = (*SERVICES, PAPER_VENUE, POSTGRES, *NODES)
        signals = [(process, blow) for process in processes for blow in ("kill -9", "freeze", "SIGTERM")]
        return [*signals, ("INBOX", "garbage"), ("INBOX", "replay of old messages"), ("consumers", "delete")]

    async def _case(self, victim: str, blow: str) -> CaseResult:
        result = CaseResult(victim, blow)
        try:
            async with self._platform.desk() as desk, self._platform.bus() as bus:
                result.healthy_after_s = await self._under_load(desk, bus, victim, blow)
                await self._platform.leave_everything(desk, REST_TIMEOUT_S)
            await _while_leaders_change(lambda: self._platform.until_stored(REST_TIMEOUT_S))
            await _while_leaders_change(lambda: self._count(result))
        except (AssertionError, KestrelError, OSError, TimeoutError) as error:
            result.findings.append(f"{type(error).__name__}: {error}")
        return result

    async def _under_load(self, desk: Desk, bus: Bus, victim: str, blow: str) -> float:
        """Orders go in while it happens. How long after the blow every service said again that it is ready."""
        await self._platform.publish_bars(desk, self._number)
        await self._platform.grant_mandate(desk)
        moment = self._chance.randrange(1, INTENTS_PER_CASE)
        striking: asyncio.Task[float] | None = None
        for number in range(INTENTS_PER_CASE):
            if number == moment:
                striking = asyncio.create_task(self._strike_and_heal(bus, victim, blow))
            self._number += 1
            await self._platform.propose(bus, f"chaos-{self._number}", next(self._symbols))
            await asyncio.sleep(_INTENT_EVERY_S)
        assert striking is not None
        return await striking

    async def _strike_and_heal(self, bus: Bus, victim: str, blow: str) -> float:
        await self._strike(bus, victim, blow)
        began_s = time.monotonic()
        await self._platform.until_ready(READY_TIMEOUT_S)
        return round(time.monotonic() - began_s, 1)

    async def _strike(self, bus: Bus, victim: str, blow: str) -> None:
        if blow == "freeze":
            await self._freeze(self._platform.pid_of(victim), self._chance.uniform(*_FREEZE_S))
        elif blow == "kill -9":
            os.kill(self._platform.pid_of(victim), signal.SIGKILL)
        elif blow == "SIGTERM":
            os.kill(self._platform.pid_of(victim), signal.SIGTERM)
        elif blow == "garbage":
            await self._publish_garbage(bus)
        elif blow == "delete":
            await self._delete_consumers(bus)
        else:
            await self._replay(bus)

    async def _freeze(self, pid: int, for_s: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _publish_garbage(self, bus: Bus) -> None:
        """Bytes that mean nothing, at every door there is."""
        doors = [
            f"inbox.0.PAPER-1.{door}" for door in ("entry", "exit", "venue", "mark", "control", "tick", "nonsense")
        ]
        for number, subject in enumerate([*doors, "intent.PAPER-1", "truth.paper.PAPER-1"]):
            body = self._chance.randbytes(self._chance.randrange(1, 400))
            await bus.publish_until_stored(Publish(subject, body, f"garbage-{self._number}-{number}"))

    async def _replay(self, bus: Bus) -> None:
        """The newest inputs once more under new ids: what a publisher does whose window of duplicates is over."""
        last = (await bus.stream_state("INBOX")).last_sequence
        old = [message async for message in bus.read("INBOX", start_sequence=max(1, last - _REPLAYED_MAX))]
        for message in old:
            again = Publish(message.subject, message.data, f"replayed-{message.sequence}")
            await bus.publish_until_stored(again)

    async def _delete_consumers(self, bus: Bus) -> None:
        """One of each stream that services read."""
        for stream in ("INBOX", "INTENTS", "JOURNAL_0", "BEADS", "TRUTH", "MARKET"):
            names = sorted((await bus.api(f"CONSUMER.NAMES.{stream}")).get("consumers") or [])
            if names:
                await bus.api(f"CONSUMER.DELETE.{stream}.{self._chance.choice(names)}")

    async def _count(self, result: CaseResult) -> None:
        comparison, venue = await self._platform.compare_books()
        audit = await patiently(self._platform.audit)
        result.findings.clear()
        result.lost = comparison.orders_lost + comparison.fills_lost
        result.doubled = comparison.orders_doubled + comparison.fills_doubled
        result.chain_intact = bool(audit.verified)
        result.orders = len(venue.orders)
        result.findings += comparison.findings
        result.findings += [str(chain) for chain in audit.chains if not chain.verified]


async def _while_leaders_change(look: Callable[[], Awaitable[None]]) -> None:
    """Look, and once more while streams elect their leaders: reading is not what is being tested."""
    deadline_s = time.monotonic() + LEADERS_TIMEOUT_S
    while True:
        try:
            return await look()
        except Unavailable:
            if time.monotonic() > deadline_s:
                raise
        await asyncio.sleep(0.5)
