"""A running platform for tests: started by the `kestrel` command, driven as people drive it, killed by process id."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc

from kestrel.admin.v1 import governance_pb2, persistence_pb2, status_pb2, status_pb2_grpc
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel_chassis import admin
from kestrel_chassis.bus import Bus
from kestrel_cli.clients import read_credential
from kestrel_cli.demo import collect, counts, prices
from kestrel_cli.demo.desk import Desk
from kestrel_cli.platform import servers
from kestrel_cli.platform.buses import connected_bus
from kestrel_cli.platform.layout import SERVICES, Endpoints, Layout
from kestrel_domain import effects, subjects
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS

ACCOUNT, STRATEGY = "PAPER-1", "crash-test"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
_BUSY = {
    state_pb2.SLOT_STAGE_ENTRY_REQUESTED,
    state_pb2.SLOT_STAGE_ENTRY_SENT,
    state_pb2.SLOT_STAGE_EXIT_REQUESTED,
    state_pb2.SLOT_STAGE_EXIT_SENT,
}
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)


@dataclass(slots=True)
class RunningPlatform:
    """One platform below one folder."""

    layout: Layout
    endpoints: Endpoints
    mandate_expires_at_ns: int = field(default_factory=lambda: time.time_ns() + 60 * MINUTE_NS)

    @classmethod
    def start(cls, folder: Path, *arguments: str) -> RunningPlatform:
        run_kestrel("up", "--detach", "--data-dir", str(folder), *arguments)
        endpoints = Endpoints.load(folder / "endpoints.json")
        assert endpoints is not None
        return cls(Layout(folder), endpoints)

    def stop(self) -> None:
        run_kestrel("down", "--data-dir", str(self.layout.root))

    def command(self, *arguments: str) -> Any:
        """What a `kestrel` command says, as JSON."""
        return json.loads(run_kestrel(*arguments, "--json", "--data-dir", str(self.layout.root)))

    def pid_of(self, process: str) -> int:
        return int(json.loads(self.layout.children.read_text())[process]["pid"])

    def kill(self, process: str) -> int:
        """`kill -9`, by process id; the id that died."""
        pid = self.pid_of(process)
        os.kill(pid, signal.SIGKILL)
        return pid

    def bus(self) -> AbstractAsyncContextManager[Bus]:
        return connected_bus(self.layout)

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        desk = Desk(self.layout, self.endpoints)
        try:
            yield desk
        finally:
            await desk.close()

    # --- acting as people do -------------------------------------------------------------------------------------

    async def publish_bars(self, desk: Desk, day: int) -> None:
        """One day of real prices for every symbol."""
        days = sorted({bar.day for bar in _bars()})
        for bar in _bars():
            if bar.day == days[day % len(days)]:
                request = paper_pb2.PublishBarRequest(bar=bar.message())
                await patiently(functools.partial(desk.market.PublishBar, request))

    async def grant_mandate(self, desk: Desk) -> None:
        """The same grant every time: asking again changes nothing."""
        mandate = authority_pb2.Mandate(
            mandate_id="crash-test",
            strategy=STRATEGY,
            account=ACCOUNT,
            max_order_notional=Number(100_000, 0).message(),
            environment=common_pb2.ENVIRONMENT_PAPER,
            expires_at_ns=self.mandate_expires_at_ns,
            reason="tests",
        )
        request = governance_pb2.GrantMandateRequest(request_id="grant-crash-test", mandate=mandate)
        await patiently(lambda: desk.stub("governance", "risk").GrantMandate(request, timeout=5))

    async def propose(self, bus: Bus, intent_id: str, symbol: str) -> None:
        """A strategy's intent, stored in INTENTS however long that takes; the same id again stores nothing new."""
        last = self.last_price(symbol)
        now_ns = time.time_ns()
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account=ACCOUNT,
            venue="paper",
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=prices.instrument(symbol),
            side=common_pb2.SIDE_BUY,
            order_qty=Number(10, 0).message(),
            order_type=common_pb2.ORDER_TYPE_MARKET,
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            stop_price=Number(last.units * 95 // 100 // 100 * 100, 4).message(),
            reference_price=last.message(),
            leverage=1,
            strategy=STRATEGY,
            attempt=1,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=now_ns),
            proposer=common_pb2.Actor(id=f"policy/{STRATEGY}", kind="strategy", origin="test"),
            created_at_ns=now_ns,
            expires_at_ns=now_ns + 10 * MINUTE_NS,
        )
        await bus.publish_until_stored(effects.publish(subjects.intent(ACCOUNT), intent, intent_id))

    def last_price(self, symbol: str) -> Number:
        return next(bar for bar in _bars() if bar.symbol == symbol).close.at(4)

    async def until_decided(self, bus: Bus, desk: Desk, intent_ids: Collection[str], within_s: float = 90.0) -> None:
        """Governance has said yes or no to each of these intents, and the kernel has what it said yes to.

        Before that, that no trade is open says nothing: one may be on its way.
        """

        async def decided() -> bool:
            verdicts: dict[str, authority_pb2.Verdict.ValueType] = {}
            with_token: set[str] = set()
            async for message in bus.read(subjects.BEADS, subject=f"bead.*.{ACCOUNT}"):
                bead = audit_pb2.Bead.FromString(message.data)
                if bead.HasField("decision"):
                    verdicts[bead.decision.intent_id] = bead.decision.verdict
                if bead.HasField("token"):
                    with_token.add(bead.token.intent_id)
            waiting = {pending.intent.intent_id for pending in await desk.pending()}
            permitted = {each for each in intent_ids if verdicts.get(each) == authority_pb2.VERDICT_APPROVED}
            if set(intent_ids) - verdicts.keys() - waiting or permitted - with_token:
                return False
            return await desk.has_journaled_all(bus)

        await until(decided, within_s, "governance to decide every intent", pause_s=0.3)

    async def leave_everything(self, desk: Desk, within_s: float = 90.0) -> None:
        """Ask for exits until no trade is open."""

        async def flat() -> bool:
            slots = await desk.open_slots()
            for slot in slots:
                if slot.qty.units and slot.stage not in _BUSY:
                    await desk.exit(slot.trade_id, "test is over")
            return not slots

        await until(flat, within_s, "every trade to be over", pause_s=0.3)

    # --- what came of it -----------------------------------------------------------------------------------------

    async def is_ready(self, service: str) -> bool:
        credential = read_credential(self.layout, "trader")
        channel = admin.channel(self.endpoints.address(service), self.layout.secrets / "ca.pem", credential)
        try:
            status = await status_pb2_grpc.StatusServiceStub(channel).GetStatus(
                status_pb2.GetStatusRequest(), timeout=10
            )
        except grpc.aio.AioRpcError:
            return False
        finally:
            await channel.close(None)
        return bool(status.ready)

    async def until_ready(self, within_s: float = 90.0) -> None:
        async def ready() -> bool:
            return all([await self.is_ready(service) for service in SERVICES])

        await until(ready, within_s, "all services to be ready")

    async def until_stored(self, within_s: float = 90.0) -> None:
        """Every stream is in the database, and every input in the journal."""
        dsn = servers.database_url(self.layout, self.endpoints)
        async with self.bus() as bus, self.desk() as desk:

            async def stored() -> bool:
                if not await desk.has_journaled_all(bus):
                    return False
                positions = await collect.stream_positions(dsn)
                states = [(await bus.stream_state(stream)).last_sequence for stream in positions]
                return all(last <= position for last, position in zip(states, positions.values(), strict=True))

            await until(stored, within_s, "the database to have every stream")

    async def compare_books(self) -> tuple[counts.Comparison, counts.Book]:
        """The venue's ledger, the journal and the database, and the venue's own book."""
        found: tuple[counts.Comparison, counts.Book] = await patiently(self._compare_books)
        return found

    async def _compare_books(self) -> tuple[counts.Comparison, counts.Book]:
        async with self.bus() as bus, self.desk() as desk:
            venue = collect.read_venue(await desk.ledger())
            journal = await collect.read_journal(bus, 1, ACCOUNT)
            database = await collect.read_database(servers.database_url(self.layout, self.endpoints), ACCOUNT)
            return counts.compare(venue, journal.book, database.book), venue

    async def audit(self) -> persistence_pb2.VerifyAuditResponse:
        async with self.desk() as desk:
            answer: persistence_pb2.VerifyAuditResponse = await patiently(desk.verify)
        return answer


@functools.cache
def _bars() -> tuple[prices.DailyBar, ...]:
    """Read once: unpacking them takes half a second, in which nothing else of the test runs."""
    return tuple(bar for bar in prices.last_days(prices.bundled_bars(), 60) if bar.symbol in SYMBOLS)


def run_kestrel(*arguments: str, expect: int = 0) -> str:
    """Run the command as a user would; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "kestrel_cli", *arguments], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == expect, f"kestrel {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def until(holds: Callable[[], Awaitable[bool]], within_s: float, what: str, *, pause_s: float = 0.1) -> None:
    """Wait, within a bound, for something; being unreachable counts as "not yet"."""
    deadline = time.monotonic() + within_s
    last = ""
    while time.monotonic() < deadline:
        try:
            if await holds():
                return
        except (
            grpc.aio.AioRpcError,
            Unavailable,
            OutcomeUnknown,
            asyncpg.PostgresError,
            OSError,
            TimeoutError,
        ) as error:
            last = str(error)
        await asyncio.sleep(pause_s)
    raise AssertionError(f"waited {within_s:.0f} s in vain for {what}; last error: {last or 'none'}")


async def patiently(call: Callable[[], Awaitable[Any]], within_s: float = 90.0) -> Any:
    """Repeat an idempotent call while nobody answers."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await call()
        except (Unavailable, OutcomeUnknown):
            if time.monotonic() > deadline:
                raise
        except grpc.aio.AioRpcError as error:
            if error.code() not in _UNANSWERED or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)
