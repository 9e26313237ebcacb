"""The service on a real bus: bars become signals and intents, once, also when it is killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml

from kestrel.admin.v1 import policy_pb2, policy_pb2_grpc
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.admin import channel
from kestrel_chassis.bus import Bus
from kestrel_domain import effects, subjects
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import free_port

pytestmark = pytest.mark.integration


class PolicyProcess:
    """One policy process at a time, on the test's bus."""

    def __init__(self, nats_url: str, folder: Path, secrets: Path) -> None:
        self.port = free_port()
        self.secrets = secrets
        self.log = (folder / "policy.log").open("ab")
        self.config = folder / "policy.yaml"
        common = {
            "nats_url": nats_url,
            "secrets_dir": str(secrets),
            "data_dir": str(folder / "data"),
            "journal_max_bytes": 64 << 20,
        }
        section = {
            "admin_port": self.port,
            "momentum": {"fast_days": 5, "slow_days": 15, "volatility_days": 15, "range_days": 5},
        }
        self.config.write_text(yaml.safe_dump({"common": common, "policy": section}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "kestrel_policy", "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    @contextlib.asynccontextmanager
    async def client(self, operator: str = "trader") -> AsyncIterator[policy_pb2_grpc.PolicyServiceAsyncStub]:
        credential = (self.secrets / "operators" / f"{operator}.credential").read_text()
        async with channel(f"localhost:{self.port}", self.secrets / "ca.pem", credential) as connection:
            yield policy_pb2_grpc.PolicyServiceStub(connection)  # type: ignore[misc]


@pytest.fixture
def policy(nats_server: Any, tmp_path: Path, secrets: Path) -> Iterator[PolicyProcess]:
    found = PolicyProcess(nats_server.url, tmp_path, secrets)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.kill()
    found.log.close()


async def stored(bus: Bus, stream: str, subject: str, kind: Any) -> list[Any]:
    return [kind.FromString(message.data) async for message in bus.read(stream, subject=subject)]


async def signals(bus: Bus) -> list[signal_pb2.Signal]:
    return [bead.signal for bead in await stored(bus, subjects.BEADS, "bead.signal.PAPER-1", audit_pb2.Bead)]


async def intents(bus: Bus) -> list[intent_pb2.Intent]:
    return await stored(bus, subjects.INTENTS, "intent.PAPER-1", intent_pb2.Intent)


async def _exits(bus: Bus) -> list[inbox_pb2.InboxMessage]:
    return await stored(bus, subjects.INBOX, "inbox.0.PAPER-1.exit", inbox_pb2.InboxMessage)


async def show(bus: Bus, bars: list[venue_pb2.Bar]) -> None:
    await bus.publish_all(
        [
            effects.publish(
                subjects.market("paper", bar.instrument.symbol), bar, f"bar-{bar.instrument.symbol}-{bar.start_ns}"
            )
            for bar in bars
        ]
    )


class KernelStandIn:
    """Journals what the small world's kernel says, so that the policy sees entries of the right form."""

    def __init__(self, bus: Bus, world: Any) -> None:
        self.bus, self.world, self.written = bus, world, 0

    async def write(self) -> None:
        for entry in self.world.journal[self.written :]:
            self.written += 1
            await self.bus.publish(effects.publish("journal.0.PAPER-1", entry, f"j-{self.written}"))

    async def enter(self, intent: intent_pb2.Intent) -> None:
        self.world.enter(intent)
        await self.write()


async def test_bars_become_signals_and_an_intent_and_an_exit_X01(
    bus: Bus, policy: PolicyProcess, make_world: Any, bars: Any
) -> None:
    kernel = KernelStandIn(bus, make_world())
    await kernel.write()
    policy.start()
    rising = [bars.one(day, 100 * 1.01**day * (1.004 if day % 2 else 1.0)) for day in range(1, 17)]
    await show(bus, rising)
    await eventually(lambda: _holds(bus, 16), "every bar has its signal")
    await eventually(lambda: intents(bus), "the signals have become an intent")
    (intent,) = await intents(bus)
    assert intent.side == common_pb2.SIDE_BUY
    assert [s.market_time_ns for s in await signals(bus)] == [bar.start_ns for bar in rising]
    stored_intent = await bus.last_message(subjects.INTENTS)
    stored_signal = await bus.last_message(subjects.BEADS)
    assert stored_intent is not None
    assert stored_signal is not None
    assert stored_intent.traceparent[3:35] == stored_signal.traceparent[3:35] != "", "one trace"
    await kernel.enter(intent)
    await show(bus, [bars.one(17, 50)])
    await eventually(lambda: _holds(bus, 17), "the bar has its signal")
    await eventually(lambda: _exits(bus), "the fall has become an exit")
    exits = await _exits(bus)
    assert [(message.exit.trade_id, message.exit.reason) for message in exits] == [(intent.intent_id, "STOP")]
    assert policy.stop() == 0


async def _holds(bus: Bus, count: int) -> bool:
    return len(await signals(bus)) >= count


async def test_a_policy_killed_in_mid_run_decides_every_bar_once(
    bus: Bus, policy: PolicyProcess, make_world: Any, bars: Any
) -> None:
    kernel = KernelStandIn(bus, make_world(max_slots=50))
    await kernel.write()
    shown = [bar for symbol in ("AAPL", "IBM", "MSFT") for bar in bars.wandering(60, symbol=symbol)]
    shown.sort(key=lambda bar: bar.start_ns)
    for first in range(0, len(shown), 45):
        policy.start()
        await show(bus, shown[first : first + 45])
        await eventually(lambda first=first: _holds(bus, first + 20), "the policy is in mid-run", timeout_s=60)  # type: ignore[misc]
        policy.kill()
    policy.start()
    await eventually(lambda: _holds(bus, len(shown)), "every bar has its signal", timeout_s=60)
    found = Counter((signal.symbol, signal.market_time_ns) for signal in await signals(bus))
    assert set(found.values()) == {1}
    assert len(found) == len(shown)
    entered = {s.signal_id for s in await signals(bus) if s.action == signal_pb2.SIGNAL_ACTION_ENTER}
    proposed = [intent.signal.signal_id for intent in await intents(bus)]
    assert proposed
    assert len(set(proposed)) == len(proposed)
    assert set(proposed) == entered


async def test_a_malformed_bar_is_parked_and_nothing_behind_it_waits_P11(
    bus: Bus, policy: PolicyProcess, bars: Any
) -> None:
    wrong_subject = bars.one(1, 100, symbol="IBM")
    broken = bars.one(2, 100)
    broken.high.units = 1
    await bus.publish(effects.Publish("market.paper.AAPL", b"\xff\xff", "garbage"))
    await bus.publish(effects.publish("market.paper.AAPL", wrong_subject, "wrong-subject"))
    await bus.publish(effects.publish("market.paper.AAPL", broken, "broken"))
    await show(bus, [bars.one(3, 100)])
    policy.start()
    await eventually(lambda: _holds(bus, 1), "the good bar is decided")
    parked = await stored(bus, subjects.PARKED, "parked.policy", audit_pb2.ParkedMessage)
    assert [message.reason.field for message in parked] == ["body", "bar.instrument.symbol", "bar.high"]
    assert all(message.reason.rule for message in parked)


async def test_a_signal_by_hand_waits_as_an_intent_and_is_listed(
    bus: Bus, policy: PolicyProcess, make_world: Any, bars: Any
) -> None:
    kernel = KernelStandIn(bus, make_world())
    await kernel.write()
    await show(bus, [bars.one(day, 100 + day % 2) for day in range(1, 17)])
    policy.start()
    await eventually(lambda: _holds(bus, 16), "every bar has its signal")
    await _ready(policy)
    wanted = signal_pb2.Signal(
        symbol="AAPL", action=signal_pb2.SIGNAL_ACTION_ENTER, side=common_pb2.SIDE_BUY, confidence=0.8, reason="a hunch"
    )
    request = policy_pb2.SubmitSignalRequest(request_id="r1", account="PAPER-1", signal=wanted)
    async with policy.client() as client:
        answer = await client.SubmitSignal(request)
        assert answer.intent_id
        assert await client.SubmitSignal(request) == answer
        (intent,) = await intents(bus)
        assert (intent.intent_id, intent.strategy) == (answer.intent_id, "manual")
        assert (intent.proposer.id, intent.proposer.kind) == ("trader", "operator")
        listed = await client.ListSignals(policy_pb2.ListSignalsRequest(limit=2))
        assert [signal.strategy for signal in listed.signals] == ["manual", "momentum"]
        last = (await stored(bus, subjects.BEADS, "bead.signal.PAPER-1", audit_pb2.Bead))[-1]
        assert last.actor == intent.proposer
        # Governance says no: the next signal by hand may be proposed.
        refused = audit_pb2.Bead(
            bead_id="d1",
            account="PAPER-1",
            decision=authority_pb2.Decision(intent_id=intent.intent_id, verdict=authority_pb2.VERDICT_PASSED),
        )
        second = policy_pb2.SubmitSignalRequest(request_id="r2", account="PAPER-1", signal=wanted)
        assert "an intent is waiting" in (await client.SubmitSignal(second)).reason
        await bus.publish(effects.bead(refused))

        async def proposed_again() -> bool:
            proposed_again.count += 1  # type: ignore[attr-defined]
            request = policy_pb2.SubmitSignalRequest(
                request_id=f"again-{proposed_again.count}",  # type: ignore[attr-defined]
                account="PAPER-1",
                signal=wanted,
            )
            return bool((await client.SubmitSignal(request)).intent_id)

        proposed_again.count = 0  # type: ignore[attr-defined]
        await eventually(proposed_again, "the refusal was learned")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.SubmitSignal(policy_pb2.SubmitSignalRequest(request_id="r3", account="PAPER-1"))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.ListSignals(policy_pb2.ListSignalsRequest(limit=10**6))
        assert "limit" in str(caught.value.details())
    assert policy.process is not None
    assert psutil.Process(policy.process.pid).memory_info().rss < 150 * 1024 * 1024


async def _ready(policy: PolicyProcess) -> None:
    async def answers() -> bool:
        async with policy.client() as client:
            try:
                await client.ListSignals(policy_pb2.ListSignalsRequest(limit=1), timeout=10)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
                return False
            return True

    await eventually(answers, "the admin port answers", timeout_s=60)
