"""From an intent to the venue and back, hop by hop, on the running platform; beside the floor on the same NATS server.

The floor of an entry is what must be durable before the venue may hear of it, and nothing else: five publishes (intent,
decision, authorization, journal entry, SUBMITTING) and one create of a key (the token's spend), one after the other,
with the same bytes and the same client. Worse is: a greater ratio to it, or another hash.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from bench import persistence, running, service
from bench.figures import milliseconds, percentile, ratio, result_hash, rounded
from bench.progress import tell
from bench.trail import ENTRY_FLOOR, ENTRY_HOPS, EXIT_HOPS, Trail, Trails, between, hops, learn_everything
from kestrel.admin.v1 import governance_pb2
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.streams import StreamDefinition
from kestrel_cli.demo import collect, prices
from kestrel_cli.demo.desk import Desk
from kestrel_cli.platform import servers
from kestrel_cli.platform.buses import connected_bus, quiet_libraries
from kestrel_cli.platform.config import ACCOUNT, VENUE
from kestrel_cli.platform.layout import Endpoints, Layout
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS

STRATEGY = "bench"
SYMBOLS = tuple(f"BENCH{number}" for number in range(60))
"""Many, since a symbol with an open trade takes no second one. Each has a real bar of AAPL."""

MAIN_RATE = 10
"""What the summary is about; on a machine that does not hold it, the greatest rate below that it holds."""

_PLAN = {0.5: 12.0, 5: 8.0, MAIN_RATE: 10.0, 17.5: 6.0, 25: 5.0, 50: 4.0, 100: 4.0}
_QUICK_PLAN = {0.5: 4.0, 5: 3.0, MAIN_RATE: 3.0}
"""Entries a second, and for how many seconds. Each entry is followed by its exit, so twice as many orders."""

_TAIL_RATE = 5
"""The rate whose p99 is the measure for the sustained one: the lowest with enough entries for a p99."""

_WARM_UP_COUNT = 40
_FLOOR_COUNT, _QUICK_FLOOR_COUNT = 200, 50
_FLOOR_S = 2.0
"""How long a floor may take; at least as many rounds as a quick run has."""
_PACED_COUNT = 40
_REST_TIMEOUT_S = 20.0
_STREAMS = (
    subjects.INTENTS,
    subjects.BEADS,
    subjects.INBOX,
    subjects.journal_stream(0),
    f"KV_{subjects.SPENT_BUCKET}",
)
_FLOOR_STREAM, _FLOOR_BUCKET = "BENCH", "bench"

_SUMMARY = (
    "kernel_service_inputs_per_s",
    "recovery_snapshot_s",
    "recovery_full_s",
    "persistence_rows_per_s",
    "persistence_over_floor",
)
"""On one server, beside both."""

Figures = dict[str, Any]


def measure(*, quick: bool) -> Figures:
    """On one always-sync NATS server and on three: some seven minutes; quick, some two."""
    quiet_libraries()
    stored = persistence.measure(quick=quick)
    figures = {f"r{servers}": _measure_on(servers, stored, quick=quick) for servers in (1, 3)}
    results = {name: each.pop("result") for name, each in figures.items()}
    return {
        **figures,
        **{name: figures["r1"][name] for name in _SUMMARY},
        "simulated_steps_per_s": _simulated_steps_per_s(quick=quick),
        "floor_is": f"{len(ENTRY_FLOOR)} durable publishes, then 1 create",
        "result": result_hash(results.values()),
    }


def _measure_on(servers: int, stored: Figures, *, quick: bool) -> Figures:
    """``stored``: what was measured of persistence, which speaks to PostgreSQL alone."""
    tell(f"path, {servers} NATS server{'s' if servers > 1 else ''}: the platform starts")
    with running.temporary_folder("path") as folder, running.running_platform(folder, servers=servers) as platform:
        figures = uvloop.run(_measure(*platform, quick=quick))
    rates: Figures = figures["rates"]
    held = [rate for rate in _PLAN if rates.get(str(rate), {}).get("held")]
    assert held, f"not even the lowest rate was held: {rates}"
    main_rate = max(rate for rate in held if rate <= MAIN_RATE)
    main = rates[str(main_rate)]
    tell(f"path, {servers}: the kernel service, and its recovery")
    return {
        "servers": servers,
        "orders_per_s": 2 * main_rate,
        **main["intent_to_venue"],
        **{name: main[name] for name in ("p50_over_floor", "p99_over_floor", "p50_over_paced", "p99_over_paced")},
        "hops": main["hops"],
        "sustained_orders_per_s": 2 * _sustained(rates, held),
        "greatest_orders_per_s_held": 2 * max(held),
        **uvloop.run(service.measure(quick=quick, servers=servers)),
        **{name: stored[name] for name in ("persistence_rows_per_s", "persistence_over_floor")},
        **figures,
    }


def _sustained(rates: Figures, held: list[float]) -> float:
    """The greatest rate before p99 has doubled."""
    p99_ms_max = 2 * rates[str(_TAIL_RATE)]["intent_to_venue"]["p99_ms"] if _TAIL_RATE in held else 0.0
    sustained = held[0]
    for rate in held[1:]:
        if rates[str(rate)]["intent_to_venue"]["p99_ms"] > p99_ms_max:
            break
        sustained = rate
    return sustained


def _simulated_steps_per_s(*, quick: bool) -> float:
    """All cores in one process in the simulated world, as ``kestrel simulate`` runs them; on one core."""
    tell("path: the simulated world")
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "1" if quick else "4", "--jobs", "1", "--go-on"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    found = re.search(r"([\d.]+) steps/s\s*$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the simulation told no speed: {(done.stderr or done.stdout)[-500:]}")
    return rounded(float(found.group(1)))


async def _measure(layout: Layout, endpoints: Endpoints, *, quick: bool) -> Figures:
    desk = Desk(layout, endpoints)
    rates: Figures = {}
    async with connected_bus(layout) as bus:
        try:
            load = Load(layout, endpoints, bus, desk)
            await load.prepare()
            example = (await load.run(_WARM_UP_COUNT, 10)).entries["bench-1"]
            floor = Floor(bus, {name: example.bodies[name] for name in ENTRY_FLOOR})
            await floor.prepare()
            floor_count = _QUICK_FLOOR_COUNT if quick else _FLOOR_COUNT
            for rate, seconds in (_QUICK_PLAN if quick else _PLAN).items():
                tell(f"path: {2 * rate:g} orders a second, for {seconds:g} s, between two floors")
                floor.forget()
                await floor.measure(floor_count)
                await floor.measure_paced(min(_PACED_COUNT, int(rate * _FLOOR_S) + 5), rate)
                found = running.processes(layout)
                cpu_before = running.cpu_seconds(found)
                start = await load.positions()
                try:
                    trails = await load.drive(int(rate * seconds), rate, start)
                except AssertionError as error:
                    rates[str(rate)] = {"held": 0, "why": str(error)}
                    tell(f"path: {2 * rate:g} orders a second are not held")
                    break
                cpu = {name: used - cpu_before[name] for name, used in running.cpu_seconds(found).items()}
                await load.learn(trails, start)
                await floor.measure(floor_count)
                rates[str(rate)] = {"held": 1, **_told(trails, floor, cpu)}
            result = await load.result()
        finally:
            await desk.close()
    return {"rates": rates, "result": result}


def _told(trails: Trails, floor: Floor, cpu: dict[str, float]) -> Figures:
    entries, exits = list(trails.entries.values()), list(trails.exits.values())
    to_venue = between(entries, "begun", "venue")
    assert len(to_venue) == len(entries), f"{len(entries) - len(to_venue)} of {len(entries)} never came to the venue"
    return {
        "intent_to_venue": milliseconds(to_venue),
        "floor": milliseconds(floor.whole_ns),
        **_over(to_venue, floor.whole_ns),
        "floor_paced": milliseconds(floor.paced_ns),
        **_over(to_venue, floor.paced_ns, "paced"),
        "hops": _hops_beside_floor(entries, floor),
        "intent_to_row": milliseconds(between(entries, "begun", "row")),
        "exit_to_venue": milliseconds(between(exits, "begun", "venue")),
        "exit_hops": hops(exits, EXIT_HOPS),
        "cpu_ms_per_round_trip": {name: rounded(used * 1000 / len(entries), 3) for name, used in cpu.items()},
    }


def _over(times_ns: list[int], floor_ns: list[int], name: str = "floor") -> dict[str, float]:
    return {
        f"p50_over_{name}": ratio(percentile(times_ns, 0.5), percentile(floor_ns, 0.5)),
        f"p99_over_{name}": ratio(percentile(times_ns, 0.99), percentile(floor_ns, 0.99)),
    }


def _hops_beside_floor(entries: list[Trail], floor: Floor) -> dict[str, dict[str, float]]:
    """Each hop that ends with something stored beside the storing alone."""
    told = hops(entries, ENTRY_HOPS)
    for name, first, last in ENTRY_HOPS:
        if name in told and last in floor.steps_ns:
            told[name] |= _over(between(entries, first, last), floor.steps_ns[last])
    return told


@dataclass(slots=True)
class Floor:
    """The least that must be stored, by the same client, on the same server. ``bodies`` by milestone.

    ``whole_ns`` is one round after the other, as fast as they go; ``paced_ns`` one as often as an entry comes, so that
    the server and its client have slept in between, as they have when an entry comes.
    """

    bus: Bus
    bodies: dict[str, bytes]
    number: int = 0
    whole_ns: list[int] = field(default_factory=list)
    paced_ns: list[int] = field(default_factory=list)
    steps_ns: dict[str, list[int]] = field(default_factory=dict)

    async def prepare(self) -> None:
        """A stream and a bucket of our own, set up as the platform's are."""
        replicas = (await self.bus.api(f"STREAM.INFO.{subjects.INBOX}"))["config"]["num_replicas"]
        for definition in (
            StreamDefinition(_FLOOR_STREAM, ("bench.>",), "bench", replicas, 256 << 20),
            StreamDefinition(
                f"KV_{_FLOOR_BUCKET}",
                (f"$KV.{_FLOOR_BUCKET}.>",),
                "bench",
                replicas,
                64 << 20,
                messages_per_subject_max=1,
            ),
        ):
            await self.bus.api(f"STREAM.CREATE.{definition.name}", definition.config())

    def forget(self) -> None:
        self.whole_ns, self.paced_ns, self.steps_ns = [], [], {}

    async def measure(self, count: int) -> None:
        """So many rounds, or as many as there is time for."""
        until_s = time.monotonic() + _FLOOR_S
        for number in range(count):
            if number >= _QUICK_FLOOR_COUNT and time.monotonic() > until_s:
                return
            self.whole_ns.append(await self._round(self.steps_ns))

    async def measure_paced(self, count: int, rate: float) -> None:
        for _ in range(count):
            lasted_ns = await self._round({})
            self.paced_ns.append(lasted_ns)
            await asyncio.sleep(max(0.0, min(1.0, 1 / rate) - lasted_ns / 1e9))

    async def _round(self, steps_ns: dict[str, list[int]]) -> int:
        """Nanoseconds of one; those of its steps are added to ``steps_ns``."""
        self.number += 1
        began_ns = at_ns = time.perf_counter_ns()
        for name, body in self.bodies.items():
            await self.bus.publish(Publish(f"bench.{name}", body, f"floor-{self.number}-{name}", ""))
            at_ns = _note(steps_ns, name, at_ns)
        await self.bus.bucket(_FLOOR_BUCKET).create(f"spent-{self.number}", b"JOURNAL_0:1:0")
        return _note(steps_ns, "spent", at_ns) - began_ns


def _note(steps_ns: dict[str, list[int]], name: str, began_ns: int) -> int:
    now_ns = time.perf_counter_ns()
    steps_ns.setdefault(name, []).append(now_ns - began_ns)
    return now_ns


class Load:
    """Intents at a rate, each trade left as soon as it is filled."""

    def __init__(self, layout: Layout, endpoints: Endpoints, bus: Bus, desk: Desk) -> None:
        self._bus = bus
        self._desk = desk
        self._dsn = servers.database_url(layout, endpoints)
        self._numbers = itertools.count(1)
        (self._bar,) = (bar for bar in prices.last_days(prices.bundled_bars(), 1) if bar.symbol == "AAPL")

    async def prepare(self) -> None:
        """Prices at the venue, and a mandate, so that no person is waited for."""
        for symbol in SYMBOLS:
            bar = replace(self._bar, symbol=symbol).message()
            await self._desk.market.PublishBar(paper_pb2.PublishBarRequest(bar=bar))
        mandate = authority_pb2.Mandate(
            mandate_id="bench",
            strategy=STRATEGY,
            account=ACCOUNT,
            max_order_notional=Number(1_000_000, 0).message(),
            environment=common_pb2.ENVIRONMENT_PAPER,
            expires_at_ns=time.time_ns() + 60 * MINUTE_NS,
            reason="benchmarks",
        )
        request = governance_pb2.GrantMandateRequest(request_id="bench", mandate=mandate)
        await self._desk.stub("governance", "risk").GrantMandate(request, timeout=10)
        await self._at_rest()

    async def run(self, count: int, rate: float) -> Trails:
        """So many entries, and what became of them."""
        start = await self.positions()
        trails = await self.drive(count, rate, start)
        await self.learn(trails, start)
        return trails

    async def positions(self) -> dict[str, int]:
        """By stream, the sequence of its next message."""
        return {stream: (await self._bus.stream_state(stream)).last_sequence + 1 for stream in _STREAMS}

    async def drive(self, count: int, rate: float, start: Mapping[str, int]) -> Trails:
        """Open loop: an intent goes out when it is due, whatever became of those before it."""
        trails = Trails()
        over = asyncio.Event()
        leaving = asyncio.create_task(self._leave(trails, start[subjects.journal_stream(0)], count, over))
        sending: list[asyncio.Task[Any]] = []
        try:
            began_s = time.monotonic()
            for place in range(count):
                await asyncio.sleep(max(0.0, began_s + place / rate - time.monotonic()))
                effect = self._intent(f"bench-{next(self._numbers)}")
                trails.begin_entry(effect.message_id, time.time_ns())
                sending.append(asyncio.create_task(self._bus.publish(effect)))
            await asyncio.gather(*sending)
            async with asyncio.timeout(_REST_TIMEOUT_S):
                await over.wait()
            await self._at_rest()
        except TimeoutError:
            why = await self._refusals(start)
            message = f"at {rate} a second not every trade was over within {_REST_TIMEOUT_S:.0f} s: {why}"
            raise AssertionError(message) from None
        finally:
            for task in (leaving, *sending):
                task.cancel()
            await asyncio.gather(leaving, *sending, return_exceptions=True)
        return trails

    async def learn(self, trails: Trails, start: Mapping[str, int]) -> None:
        """Read back when each was where. The servers use the processor for that, too."""
        await learn_everything(trails, self._bus, start, await self._desk.ledger(), self._dsn)

    async def result(self) -> str:
        """A hash over what was traded. Raises AssertionError when an order came twice or was not filled."""
        ledger = await self._desk.ledger()
        assert all(each.request_count == 1 for each in ledger.arrivals), "an order came to the venue twice"
        assert all(each.status == "FILLED" for each in ledger.orders), "an order was not filled"
        traded = Counter((each.symbol, each.side, Number.of(each.order_qty).units) for each in ledger.orders)
        return result_hash(f"{key}: {count}" for key, count in sorted(traded.items()))

    async def _refusals(self, start: Mapping[str, int]) -> str:
        """What governance and the kernel said no to, counted."""
        found: Counter[str] = Counter()
        async for message in self._bus.read(subjects.BEADS, start_sequence=start[subjects.BEADS]):
            decision = audit_pb2.Bead.FromString(message.data).decision
            if decision.intent_id and decision.verdict != authority_pb2.VERDICT_APPROVED:
                found[f"{authority_pb2.Verdict.Name(decision.verdict)} {decision.reason}"] += 1
        journal = subjects.journal_stream(0)
        async for message in self._bus.read(journal, start_sequence=start[journal]):
            outcome = journal_pb2.JournalEntry.FromString(message.data).outcome
            if outcome.code and not outcome.accepted:
                found[f"kernel {outcome.code} {outcome.refusal.message}"] += 1
        slots = await self._desk.open_slots()
        return f"refusals {dict(found)}, {len(slots)} trades open"

    def _intent(self, intent_id: str) -> Publish:
        number = int(intent_id.rpartition("-")[2])
        symbol = SYMBOLS[number % len(SYMBOLS)]
        last, now_ns = self._bar.close.at(4), time.time_ns()
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account=ACCOUNT,
            venue=VENUE,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=prices.instrument(symbol),
            side=common_pb2.SIDE_BUY,
            order_qty=Number(1 + number // len(SYMBOLS) % 20, 0).message(),  # no duplicates within a second
            order_type=common_pb2.ORDER_TYPE_MARKET,
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            stop_price=Number(last.units * 95 // 100 // 100 * 100, 4).message(),
            reference_price=last.message(),
            leverage=1,
            strategy=STRATEGY,
            attempt=1,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=now_ns),
            proposer=common_pb2.Actor(id=f"policy/{STRATEGY}", kind="strategy", origin="bench"),
            created_at_ns=now_ns,
            expires_at_ns=now_ns + 300 * SECOND_NS,
        )
        return effects.publish(subjects.intent(ACCOUNT), intent, intent_id)

    async def _leave(self, trails: Trails, start_sequence: int, count: int, over: asyncio.Event) -> None:
        """Follow the journal: a filled entry is left, and so many filled exits are the end."""
        exited: set[str] = set()
        loop = PullLoop(self._bus, subjects.journal_stream(0), start_sequence=start_sequence, ack="none")
        try:
            async for batch in loop.batches():
                for message in batch:
                    for fill in journal_pb2.JournalEntry.FromString(message.data).fills:
                        if fill.is_exit:
                            exited.add(fill.trade_id)
                        elif fill.trade_id in trails.entries and fill.trade_id not in trails.exits:
                            trails.begin_exit(fill.trade_id, time.time_ns())
                            await self._bus.publish(_exit(fill.trade_id))
                if len(exited) >= count:
                    over.set()
        finally:
            await loop.stop()

    async def _at_rest(self) -> None:
        """Every input journaled and every stream in the database."""
        async with asyncio.timeout(_REST_TIMEOUT_S):
            while not await self._is_stored():  # noqa: ASYNC110 - other processes get there, and cannot wake us
                await asyncio.sleep(0.2)

    async def _is_stored(self) -> bool:
        if not await self._desk.has_journaled_all(self._bus) or await self._desk.open_slots():
            return False
        stored = await collect.stream_positions(self._dsn)
        for stream, position in stored.items():
            if (await self._bus.stream_state(stream)).last_sequence > position:
                return False
        return True


def _exit(trade_id: str) -> Publish:
    request = intent_pb2.ExitRequest(request_id=f"exit-{trade_id}", account=ACCOUNT, trade_id=trade_id, reason="bench")
    return effects.publish(subjects.inbox(0, ACCOUNT, "exit"), inbox_pb2.InboxMessage(exit=request), request.request_id)
