"""A seeded driver that breaks a running platform, one thing after the other, while orders go in.

After each round it waits until everything is ready again, leaves every trade, and compares the three books and every
chain. A round is one blow. Where the time would not suffice for every blow in a round of its own, several come in one,
at moments of their own, and at most one of them at the NATS servers: what two of three can do is promised, and what one
of them can do is not. The seed decides order, moments and lengths; it does not decide what the machine makes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from kestrel_chassis.bus import Bus
from kestrel_chassis.consumers import CONSUMER_NOT_FOUND
from kestrel_cli.demo.desk import Desk
from kestrel_cli.platform.layout import PAPER_VENUE, POSTGRES, SERVICES
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError, Refused, Unavailable
from tests.chaos.servers import flip_a_byte
from tests.chaos.three_nodes import NODE_ON_SMALL_DISK, NODES, ThreeNodes
from tests.integration.platform import SYMBOLS, patiently

INTENTS_PER_ROUND = 10
BLOWS_PER_ROUND_MAX = 4
READY_TIMEOUT_S, REST_TIMEOUT_S, LEADERS_TIMEOUT_S = 90.0, 120.0, 60.0
_FREEZE_S = (0.5, 12.0)
_CUT_S = (2.0, 10.0)
_INTENT_EVERY_S = 0.1
_REPLAYED_MAX = 60
_DAMAGED = ("JOURNAL_0", "INBOX", "BEADS", "KV_spent")
_FORBIDDEN = ("journal.>", "inbox.>", "bead.>", "$KV.leases.>", "$KV.spent.>", "$JS.API.>")


Case = tuple[str, str]
"""A victim, and the blow that it gets."""


@dataclass(slots=True)
class CaseResult:
    """What one blow cost. ``lost`` and ``doubled`` count orders and fills over the whole run so far."""

    victim: str
    blow: str
    beside: list[str] = field(default_factory=list)
    """Other blows of the same round."""

    lost: int = 0
    doubled: int = 0
    chain_intact: bool = False
    healthy_after_s: float = 0.0
    orders: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self.chain_intact and not (self.lost or self.doubled or self.findings)


class Driver:
    """One run on one platform."""

    def __init__(self, nodes: ThreeNodes, seed: int, tell: Callable[[str, CaseResult], None]) -> None:
        """``tell`` hears of each blow when its round is over, and how far the run has come."""
        self._nodes = nodes
        self._platform = nodes.platform
        self._chance = random.Random(seed)
        self._tell = tell
        self._symbols: Iterator[str] = itertools.cycle(SYMBOLS)
        self._number = 0

    async def run(self, minutes: float, only: str = "") -> tuple[list[CaseResult], list[Case]]:
        """Each blow once, in an order of the seed's; what came of it, and what the time did not suffice for.

        ``only``: the blows whose names hold it.
        """
        waiting = [(victim, blow) for victim, blow in self.cases() if only in f"{blow} of {victim}"]
        begun_s, blow_count, results = time.monotonic(), len(waiting), list[CaseResult]()
        for round_count in itertools.count():
            spent_s = time.monotonic() - begun_s
            left_s = 60 * minutes - spent_s
            if not waiting or left_s < 0:
                return results, waiting
            cases = next_round(waiting, blows_per_round(len(waiting), left_s, spent_s, round_count))
            waiting = [case for case in waiting if case not in cases]
            for result in await self._round(cases):
                results.append(result)
                self._tell(f"{len(results)} of {blow_count}, {time.monotonic() - begun_s:.0f} s", result)
        raise AssertionError

    def cases(self) -> list[Case]:
        """Every kind of blow once before any comes again, so that a short run has seen each kind."""
        cases = self._all_cases()
        self._chance.shuffle(cases)
        turns: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
        turn_of = {case: next(turns[case[1]]) for case in cases}
        return sorted(cases, key=lambda case: turn_of[case])

    def _all_cases(self) -> list[Case]:
        processes = (*SERVICES, PAPER_VENUE, POSTGRES, *NODES)
        return [
            *((process, blow) for process in processes for blow in ("kill -9", "freeze", "SIGTERM")),
            *((node, blow) for node in NODES for blow in ("cut off", "flipped byte")),
            *([(NODE_ON_SMALL_DISK, "full disk")] if self._nodes.small_disk else []),
            ("services", "permission revoked"),
            ("every door", "garbage"),
            ("INBOX", "replay of old messages"),
            ("consumers", "deletion"),
        ]

    async def _round(self, cases: Sequence[Case]) -> list[CaseResult]:
        """One count for all of them: a finding is every one's."""
        results = [
            CaseResult(victim, blow, [f"{other} of {who}" for who, other in cases if (who, other) != (victim, blow)])
            for victim, blow in cases
        ]
        count = CaseResult("", "")
        try:
            async with self._platform.desk() as desk, self._platform.bus() as bus:
                first = self._number + 1
                for result, healthy_after_s in zip(results, await self._under_load(desk, bus, cases), strict=True):
                    result.healthy_after_s = healthy_after_s
                proposed = [f"chaos-{number}" for number in range(first, self._number + 1)]
                await self._platform.until_decided(bus, desk, proposed, REST_TIMEOUT_S)
                await self._platform.leave_everything(desk, REST_TIMEOUT_S)
            await _while_leaders_change(lambda: self._platform.until_stored(REST_TIMEOUT_S))
            await _while_leaders_change(lambda: self._count(count))
        except (AssertionError, KestrelError, OSError, TimeoutError) as error:
            count.findings.append(f"{type(error).__name__}: {error}")
        for result in results:
            result.lost, result.doubled, result.chain_intact = count.lost, count.doubled, count.chain_intact
            result.orders, result.findings = count.orders, list(count.findings)
        return results

    async def _under_load(self, desk: Desk, bus: Bus, cases: Sequence[Case]) -> list[float]:
        """Orders go in while it happens.

        For each blow: how long after its end everybody was ready and everything sent was journaled and in the database.
        """
        await self._platform.publish_bars(desk, self._number)
        await self._platform.grant_mandate(desk)
        moments = dict(zip(self._chance.sample(range(1, INTENTS_PER_ROUND), len(cases)), cases, strict=True))
        striking: dict[Case, asyncio.Task[float]] = {}
        try:
            for number in range(INTENTS_PER_ROUND):
                if number in moments:
                    striking[moments[number]] = asyncio.create_task(self._strike(bus, *moments[number]))
                self._number += 1
                await self._platform.propose(bus, f"chaos-{self._number}", next(self._symbols))
                await asyncio.sleep(_INTENT_EVERY_S)
        finally:
            if striking:
                await asyncio.wait(striking.values())  # what was broken is whole again
        over_s = [striking[case].result() for case in cases]
        await self._platform.until_ready(READY_TIMEOUT_S)
        await _while_leaders_change(lambda: self._platform.until_stored(REST_TIMEOUT_S))
        healthy_s = time.monotonic()
        return [round(healthy_s - each_s, 1) for each_s in over_s]

    async def _strike(self, bus: Bus, victim: str, blow: str) -> float:
        """The moment it was over."""
        match blow:
            case "kill -9":
                self._signal(victim, signal.SIGKILL)
            case "SIGTERM":
                self._signal(victim, signal.SIGTERM)
            case "freeze":
                await self._freeze(self._platform.pid_of(victim), self._chance.uniform(*_FREEZE_S))
            case "cut off":
                await self._cut_off(victim)
            case "flipped byte":
                self._flip_a_byte(victim)
            case "full disk":
                await self._fill_the_disk(victim)
            case "permission revoked":
                await self._revoke(self._chance.choice(_FORBIDDEN))
            case "garbage":
                await self._publish_garbage(bus)
            case "replay of old messages":
                await self._replay(bus)
            case "deletion":
                await self._delete_consumers(bus)
            case _:
                raise AssertionError(f"no such blow: {blow}")
        return time.monotonic()

    def _signal(self, victim: str, number: signal.Signals) -> None:
        os.kill(self._platform.pid_of(victim), number)

    async def _freeze(self, pid: int, for_s: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _cut_off(self, node: str) -> None:
        """No route leads to it; its clients stay with it."""
        self._nodes.isolate(node)
        try:
            await asyncio.sleep(self._chance.uniform(*_CUT_S))
        finally:
            self._nodes.mend()

    def _flip_a_byte(self, node: str) -> None:
        """One bit of a stored block, and the server has to read what is on its disk."""
        stream = self._chance.choice(_DAMAGED)
        blocks = [
            path for path in self._nodes.store(node).glob(f"**/streams/{stream}/msgs/*.blk") if path.stat().st_size
        ]
        assert blocks, f"{node} has nothing of {stream} on its disk"
        block = self._chance.choice(sorted(blocks))
        flip_a_byte(block, self._chance.randrange(block.stat().st_size))
        self._signal(node, signal.SIGKILL)

    async def _fill_the_disk(self, node: str) -> None:
        """A person makes room and starts the server again: its streams stay frozen until then."""
        disk = self._nodes.small_disk
        assert disk is not None
        await asyncio.to_thread(disk.fill)
        try:
            await asyncio.sleep(self._chance.uniform(*_CUT_S))
        finally:
            disk.make_room()
        self._signal(node, signal.SIGKILL)

    async def _revoke(self, subject: str) -> None:
        """Nobody may publish there for a while."""
        self._nodes.forbid(subject)
        self._reload_nodes()
        try:
            await asyncio.sleep(self._chance.uniform(*_CUT_S))
        finally:
            self._nodes.forbid()
            self._reload_nodes()

    def _reload_nodes(self) -> None:
        for node in NODES:
            self._signal(node, signal.SIGHUP)

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
            await _while_leaders_change(partial(self._delete_consumer, bus, stream))

    async def _delete_consumer(self, bus: Bus, stream: str) -> None:
        """Another one where it was a replay's that is over by now."""
        while names := sorted((await bus.api(f"CONSUMER.NAMES.{stream}")).get("consumers") or []):
            try:
                await bus.api(f"CONSUMER.DELETE.{stream}.{self._chance.choice(names)}")
                return
            except Refused as error:
                if error.reason != CONSUMER_NOT_FOUND:
                    raise

    async def _count(self, result: CaseResult) -> None:
        comparison, venue = await self._platform.compare_books()
        audit = await patiently(self._platform.audit)
        result.findings.clear()
        result.lost = comparison.orders_lost + comparison.fills_lost
        result.doubled = comparison.orders_doubled + comparison.fills_doubled
        result.chain_intact = bool(audit.verified)
        result.orders = len(venue.orders)
        result.findings += comparison.findings
        result.findings += [
            f"{chain.name}: {chain.problem} at {chain.first_bad_sequence}, the database has {chain.database_count}, "
            f"the stream {chain.stream_count}"
            for chain in audit.chains
            if not chain.verified
        ]


def blows_per_round(waiting: int, left_s: float, spent_s: float, round_count: int) -> int:
    """As many as it takes to be through in time, when rounds go on as long as they did; one while none was measured."""
    if not round_count:
        return 1
    rounds_left = max(1.0, left_s * round_count / spent_s)
    return min(BLOWS_PER_ROUND_MAX, math.ceil(waiting / rounds_left))


def next_round(waiting: Sequence[Case], count: int) -> list[Case]:
    """The first of those that wait, and up to ``count - 1`` more that can do their worst beside it."""
    cases = list(waiting[:1])
    for case in waiting[1:]:
        is_other_victim = case[0] not in {victim for victim, _ in cases}
        if len(cases) < count and is_other_victim and not (_is_of_servers(case) and any(map(_is_of_servers, cases))):
            cases.append(case)
    return cases


def _is_of_servers(case: Case) -> bool:
    return case[0] in NODES or case[1] == "permission revoked"


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
