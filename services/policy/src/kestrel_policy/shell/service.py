"""The policy's loops: bars in, decisions out; journal, decisions and intents folded as they come."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

from kestrel.admin.v1 import policy_pb2_grpc
from kestrel.common.v1 import common_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.identity import Role
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.service import ServiceContext
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, OutcomeUnknown, Unavailable
from kestrel_domain.identifiers import partition_of
from kestrel_policy.config import PolicySettings
from kestrel_policy.core.policy import Decision, Moment, PolicyState, decide_bar, decide_manual
from kestrel_policy.shell import recovery

CATCH_UP_S = 2.0

log = telemetry.logger()


async def build(context: ServiceContext[PolicySettings]) -> None:
    """Recover, then serve: what ``run_service`` calls once the bus is there."""
    from kestrel_policy.shell.grpc_service import PolicyServicer

    service = PolicyService(context)
    await service.recover()
    service.start()
    roles = {"SubmitSignal": Role.OPERATOR, "ListSignals": Role.VIEWER}
    context.admin.add(policy_pb2_grpc.add_PolicyServiceServicer_to_server, PolicyServicer(service), roles)


class PolicyService:
    """The state, and who may change it: one task at a time decides and publishes."""

    def __init__(self, context: ServiceContext[PolicySettings]) -> None:
        self._context = context
        self._settings = context.settings
        self.state = PolicyState(context.settings.plans())
        self._deciding = asyncio.Lock()
        self._owed: deque[Publish] = deque()
        self._positions = recovery.Positions()
        # Set, and replaced, whenever facts were learned.
        self._learned = asyncio.Event()

    async def recover(self) -> None:
        self._positions = await recovery.recover(self._context.bus, self.state, self._settings.partitions)
        bars = sum(len(history.bars) for history in self.state.histories.values())
        log.info("policy.recovered", bar_count=bars, signal_count=len(self.state.signals))

    def start(self) -> None:
        """Hand the loops to the supervisor."""
        supervisor = self._context.supervisor
        supervisor.add("facts.intents", partial(self._fold, subjects.INTENTS, "intent.{}"), restart=True)
        supervisor.add("facts.decisions", partial(self._fold, subjects.BEADS, "bead.decision.{}"), restart=True)
        for stream in recovery.journal_streams(self.state, self._settings.partitions):
            pattern = f"journal.{stream.removeprefix('JOURNAL_')}.{{}}"
            supervisor.add(f"facts.{stream.lower()}", partial(self._fold, stream, pattern), restart=True)
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
            ordered=True,  # a lost delivery ends this task; its next run goes on from the position
        )
        try:
            async for messages in loop.batches():
                for message in messages:
                    self._learn(stream, message)
                    self._positions.next_sequences[stream] = message.sequence + 1
                self._learned.set()
                self._learned = asyncio.Event()
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
        """Decide bar after bar. The position is not an acknowledgement but the last bar whose signal is stored."""
        venues = sorted({plan.venue for plan in self.state.plans})
        loop = PullLoop(
            self._context.bus,
            subjects.MARKET,
            subjects=[f"market.{venue}.*" for venue in venues],
            start_sequence=self._positions.next_sequences[subjects.MARKET],
            ack="none",
            ordered=True,  # a lost delivery ends this task; its next run goes on from the position
        )
        try:
            async for messages in loop.batches():
                for message in messages:
                    await self._take_bar(message)
                    self._positions.next_sequences[subjects.MARKET] = message.sequence + 1
        finally:
            await loop.stop()

    async def _take_bar(self, message: StoredMessage) -> None:
        """Decide one bar and publish what follows; what is no bar is parked, and nothing waits for it."""
        try:
            bar = recovery.parsed_bar(message)
        except InvalidRequest as error:
            if message.sequence not in self._positions.parked:
                await self._context.parking.park(message, error)
            return
        async with self._deciding:
            for plan in self.state.plans_of(bar.instrument.symbol):
                is_current = await self._catch_up(plan.account)
                with telemetry.span("policy.decide") as span:
                    span.set("trading.instrument.id", bar.instrument.symbol)
                    span.set("trading.account.id", plan.account)
                    moment = self._moment(span.traceparent, message.time_ns, is_current)
                    await self._publish(decide_bar(self.state, plan, bar, moment))

    async def submit(
        self,
        request_id: str,
        account: str,
        signal: signal_pb2.Signal,
        caller: common_pb2.Actor,
        *,
        bracket: bool = False,
    ) -> Decision:
        """A signal by hand. Once decided it is published, also when the caller has gone away meanwhile."""
        return await asyncio.shield(
            asyncio.ensure_future(self._submit(request_id, account, signal, caller, bracket=bracket))
        )

    async def _submit(
        self, request_id: str, account: str, signal: signal_pb2.Signal, caller: common_pb2.Actor, *, bracket: bool
    ) -> Decision:
        async with self._deciding:
            is_current = account not in self.state.books or await self._catch_up(account)
            with telemetry.span("policy.submit") as span:
                span.set("trading.account.id", account)
                moment = self._moment(span.traceparent, time.time_ns(), is_current)
                decision = decide_manual(self.state, request_id, account, signal, caller, moment, bracket=bracket)
                await self._publish(decision)
                return decision

    async def _publish(self, decision: Decision) -> None:
        """Perform a decision's effects, in their order, after whatever an earlier failure left unperformed.

        The state has changed already as if they had happened, so they are owed until they are stored.
        """
        self._owed.extend(decision.effects)
        while self._owed:
            await self._context.bus.publish_until_stored(self._owed[0])
            self._owed.popleft()
        if not decision.effects:
            return
        action = signal_pb2.SignalAction.Name(decision.signal.action).removeprefix("SIGNAL_ACTION_").lower()
        telemetry.count(f"signals.{action}", 1)
        if decision.intent_id:
            telemetry.count("intents.proposed", 1)
            log.info(
                "intent.proposed",
                intent_id=decision.intent_id,
                symbol=decision.signal.symbol,
                strategy=decision.signal.strategy,
                reason=decision.reason,
            )

    async def _catch_up(self, account: str) -> bool:
        """Late fills first: wait, within bounds, until the book holds what the journal holds now."""
        partitions = self._settings.partitions
        partition = partition_of(account, partitions)
        stream, subject = subjects.journal_stream(partition), subjects.journal(partition, account)
        book = self.state.books[account]
        try:
            async with asyncio.timeout(CATCH_UP_S):
                last = await self._context.bus.last_message(stream, subject)
                while last is not None and book.journal_sequence < last.sequence:
                    learned = self._learned
                    await learned.wait()
        except (TimeoutError, Unavailable, OutcomeUnknown) as error:
            log.warning("journal.behind", account=account, at=book.journal_sequence, error=str(error))
            return False
        return True

    def _moment(self, traceparent: str, stored_at_ns: int, is_current: bool) -> Moment:
        return Moment(
            now_ns=time.time_ns(),
            stored_at_ns=stored_at_ns,
            origin=self._settings.instance,
            traceparent=traceparent or telemetry.new_traceparent(),
            partitions=self._settings.partitions,
            is_current=is_current,
        )
