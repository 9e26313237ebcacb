"""The policy's loops: bars in, decisions out; journal, decisions and intents folded as they come."""

from __future__ import annotations

import asyncio
import time

from kestrel.admin.v1 import policy_pb2_grpc
from kestrel.common.v1 import common_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.identity import Role
from kestrel_chassis.service import ServiceContext
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest
from kestrel_policy.config import PolicySettings
from kestrel_policy.core.history import Bar
from kestrel_policy.core.policy import Decision, Moment, PolicyState, decide_bar, decide_manual
from kestrel_policy.shell import recovery

DURABLE = "policy"

log = telemetry.logger()


async def build(context: ServiceContext) -> None:
    """Recover, then serve: what ``run_service`` calls once the bus is there."""
    from kestrel_policy.shell.grpc_service import PolicyServicer

    settings = context.settings
    assert isinstance(settings, PolicySettings)
    service = PolicyService(context, settings)
    await service.recover()
    service.start()
    roles = {"SubmitSignal": Role.OPERATOR, "ListSignals": Role.VIEWER}
    context.admin.add(policy_pb2_grpc.add_PolicyServiceServicer_to_server, PolicyServicer(service), roles)


class PolicyService:
    """The state, and who may change it: one task at a time decides and publishes."""

    def __init__(self, context: ServiceContext, settings: PolicySettings) -> None:
        self._context = context
        self._settings = settings
        self.state = PolicyState(settings.plans())
        self._deciding = asyncio.Lock()
        self._positions = recovery.Positions()

    async def recover(self) -> None:
        self._positions = await recovery.recover(self._context.bus, self.state, self._settings.partitions)
        bars = sum(len(history.bars) for history in self.state.histories.values())
        log.info("policy.recovered", bar_count=bars, signal_count=len(self.state.signals))

    def start(self) -> None:
        """Hand the loops to the supervisor."""
        supervisor = self._context.supervisor
        supervisor.add("facts.intents", lambda: self._fold(subjects.INTENTS, "intent.{}"), restart=True)
        supervisor.add("facts.decisions", lambda: self._fold(subjects.BEADS, "bead.decision.{}"), restart=True)
        for stream in recovery.journal_streams(self.state, self._settings.partitions):
            partition = stream.removeprefix("JOURNAL_")
            supervisor.add(
                f"facts.{stream.lower()}",
                lambda stream=stream, partition=partition: self._fold(stream, f"journal.{partition}.{{}}"),
                restart=True,
            )
        supervisor.add("bars", self._follow_bars, restart=True)

    # ── Facts ──────────────────────────────────────────────────────────────────────────────────────────

    async def _fold(self, stream: str, pattern: str) -> None:
        """Learn everything a stream says about our accounts, from where the recovery ended."""
        loop = PullLoop(
            self._context.bus,
            stream,
            subjects=[pattern.format(account) for account in self.state.books],
            start_sequence=self._positions.next_sequences[stream],
            ack="none",
        )
        try:
            async for messages in loop.batches():
                for message in messages:
                    self._learn(stream, message)
                    self._positions.next_sequences[stream] = message.sequence + 1
        finally:
            await loop.stop()

    def _learn(self, stream: str, message: StoredMessage) -> None:
        account = message.subject.rsplit(".", 1)[1]
        if stream == subjects.INTENTS:
            recovery.learn_intent(self.state, account, message.data)
        elif stream == subjects.BEADS:
            recovery.learn_bead(self.state, account, message.data)
        else:
            recovery.learn_entry(self.state, account, message.data, message.sequence)

    # ── Bars ───────────────────────────────────────────────────────────────────────────────────────────

    async def _follow_bars(self) -> None:
        venues = sorted({plan.venue for plan in self.state.plans})
        loop = PullLoop(
            self._context.bus,
            subjects.MARKET,
            durable=DURABLE,
            subjects=[f"market.{venue}.*" for venue in venues],
            ack="explicit",
        )
        try:
            async for messages in loop.batches():
                for message in messages:
                    await self._take_bar(message)
                    await loop.ack(message)
        finally:
            await loop.stop()

    async def _take_bar(self, message: StoredMessage) -> None:
        """Decide one bar and publish what follows; what is no bar is parked, and nothing waits for it."""
        try:
            bar = recovery.parsed_bar(message.data)
            _check_subject(message.subject, bar)
        except InvalidRequest as error:
            await self._context.parking.park(message, error)
            return
        async with self._deciding:
            with telemetry.span("policy.decide", **{"trading.instrument.id": bar.instrument.symbol}) as span:
                moment = self._moment(span.traceparent or telemetry.new_traceparent(), message.time_ns)
                for decision in decide_bar(self.state, bar, moment):
                    await self._publish(decision)

    async def submit(
        self, request_id: str, account: str, signal: signal_pb2.Signal, caller: common_pb2.Actor
    ) -> Decision:
        """A signal by hand. Once decided it is published, also when the caller has gone away meanwhile."""
        return await asyncio.shield(asyncio.ensure_future(self._submit(request_id, account, signal, caller)))

    async def _submit(
        self, request_id: str, account: str, signal: signal_pb2.Signal, caller: common_pb2.Actor
    ) -> Decision:
        async with self._deciding:
            with telemetry.span("policy.submit", **{"trading.account.id": account}) as span:
                moment = self._moment(span.traceparent or telemetry.new_traceparent(), time.time_ns())
                decision = decide_manual(self.state, request_id, account, signal, caller, moment)
                await self._publish(decision)
                return decision

    async def _publish(self, decision: Decision) -> None:
        for effect in decision.effects:
            await self._context.bus.publish_until_stored(effect)
        action = signal_pb2.SignalAction.Name(decision.signal.action).removeprefix("SIGNAL_ACTION_").lower()
        if decision.effects:
            telemetry.count(f"signals.{action}", 1)
        if decision.intent_id:
            log.info(
                "intent.proposed",
                intent_id=decision.intent_id,
                symbol=decision.signal.symbol,
                strategy=decision.signal.strategy,
                reason=decision.reason,
            )

    def _moment(self, traceparent: str, stored_at_ns: int) -> Moment:
        return Moment(
            now_ns=time.time_ns(),
            stored_at_ns=stored_at_ns,
            origin=self._settings.instance,
            traceparent=traceparent,
            partitions=self._settings.partitions,
        )


def _check_subject(subject: str, bar: Bar) -> None:
    if not subject.endswith(f".{bar.instrument.symbol}"):
        raise InvalidRequest.of("bar.instrument.symbol", bar.instrument.symbol, f"the symbol of subject {subject}")
