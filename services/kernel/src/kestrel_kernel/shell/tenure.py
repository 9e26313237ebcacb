"""One epoch of one partition: this process is the writer, until it is not.

A group of messages is applied in memory, appended to the journal, and only then served, acknowledged and talked about.
While the append fails or its outcome is unknown, nothing else happens.

The position in the inbox is the newest input of the journal, so an input that is passed over once is passed over for
ever. The reading is therefore strictly ordered: when a delivery is missing (``DeliveryGap``) or the consumer is gone, a
new consumer begins behind the newest input, in the same epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StreamState
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.consumers import delete_consumer
from kestrel_chassis.journal import JournalWriter
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import StoredMessage
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvariantBroken, KestrelError, Unavailable
from kestrel_domain.identifiers import derived_id
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, Step, reason_to_park
from kestrel_kernel.shell.alert_queue import AlertQueue
from kestrel_kernel.shell.patient_parking import PatientParking
from kestrel_kernel.shell.served import ServedPartition
from kestrel_kernel.shell.snapshots import PartitionSnapshots

log = telemetry.logger()

CONSUMER_INACTIVE_S = 300.0
"""How long the server keeps an epoch's consumer without its reader."""
READ_AGAIN_PAUSE_S = 0.2

_SHORT_INBOX_WAIT_S = 3.0
_TICK_PAUSE_S = 0.25
_TICK_WAIT_S_MAX = 60.0


class LeaseLost(Unavailable):
    """The lease ran out, or could not be renewed: this process may no longer write."""

    reason = "LEASE_LOST"


@dataclass(frozen=True, slots=True)
class OwnerParts:
    """What the owner of one partition stands on."""

    settings: KernelSettings
    bus: Bus
    parking: PatientParking
    snapshots: PartitionSnapshots
    alerts: AlertQueue
    served: ServedPartition
    clock_ns: Callable[[], int] = time.time_ns


class Tenure:
    """``begin``, then ``consume``, ``tick`` and ``watch_lease`` side by side, then ``end``."""

    def __init__(self, parts: OwnerParts, partition: Partition, lease: Lease) -> None:
        self._parts = parts
        self._bus = parts.bus
        self._partition = partition
        self._lease = lease
        self._writer = JournalWriter(self._bus, partition.partition, partition.journal_sequence, partition.journal_hash)
        self._pull: PullLoop | None = None
        self._moved = asyncio.Event()
        self._entries_since_snapshot = 0
        self._is_sound = True
        """False while memory may be ahead of the journal: such a state is neither served nor saved."""

    async def begin(self) -> None:
        """Become the writer: from this entry on no older owner's write can succeed."""
        partition = self._partition
        inbox = await self._checked_inbox()
        if partition.journal_sequence and inbox.first_sequence > partition.inbox_sequence + 1:
            self._tell_gap(inbox.first_sequence)
        step = partition.start_epoch(
            self._lease.epoch,
            self._parts.settings.instance,
            self._parts.settings.configurations(partition.partition),
            recorded_at_ns=self._parts.clock_ns(),
        )
        await self._append([step])
        # Of another partition's inputs some may be counted, until the consumer has said how many are ours.
        lag = max(0, inbox.last_sequence - partition.inbox_sequence)
        self._parts.served.take_over(partition, lag, is_held=lambda: self._lease.held)
        self._parts.alerts.put(alerts.of_entry(step.entry, step.journal_sequence))
        telemetry.gauge(f"partition.{partition.partition}.epoch", partition.epoch)
        log.info(
            "epoch.started",
            partition=partition.partition,
            epoch=partition.epoch,
            journal_sequence=partition.journal_sequence,
            inbox_sequence=partition.inbox_sequence,
        )

    async def _checked_inbox(self) -> StreamState:
        """Raises ``InvariantBroken`` (INBOX_REPLACED) when INBOX ends before our position."""
        partition = self._partition
        deadline_s = time.monotonic() + _SHORT_INBOX_WAIT_S
        while True:
            inbox = await self._bus.stream_state(subjects.INBOX)
            if partition.inbox_sequence <= inbox.last_sequence:
                return inbox
            if time.monotonic() >= deadline_s:  # a leader that was just elected may still be catching up
                raise InvariantBroken(
                    f"partition {partition.partition}: the journal has input {partition.inbox_sequence} and INBOX ends "
                    f"at {inbox.last_sequence}: INBOX was replaced, and its new messages would be taken for old ones",
                    reason="INBOX_REPLACED",
                )
            await asyncio.sleep(READ_AGAIN_PAUSE_S)

    def _tell_gap(self, first_sequence: int) -> None:
        """Inputs left INBOX by age before this partition had read so far. Trading goes on: exits must."""
        partition = self._partition
        alert = audit_pb2.Alert(
            alert_id=derived_id("alert", "kernel-gap", partition.partition, partition.inbox_sequence, first_sequence),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=alerts.SERVICE,
            reason="INBOX_GAP",
            message=f"partition {partition.partition}: the journal has inputs up to {partition.inbox_sequence} and "
            f"INBOX begins at {first_sequence}: what lies between was never applied, unless it was another partition's",
            raised_at_ns=self._parts.clock_ns(),
            subject_id=f"partition-{partition.partition}",
        )
        log.critical("inbox.gap", partition=partition.partition, first_sequence=first_sequence)
        self._parts.alerts.put([effects.alert(alert)])

    async def consume(self) -> None:
        """Take the inbox from where the journal stands, group by group, until the pull is stopped."""
        for attempt in itertools.count(1):
            pull = self._pull = self._new_pull(attempt)
            try:
                await self._consume_from(pull)
                return
            except Unavailable as error:
                if not self._is_sound or isinstance(error, LeaseLost):
                    raise  # not the reading failed, but the writing
                self._tell_read_again(pull, error)
            await self._forget(pull)
            await asyncio.sleep(READ_AGAIN_PAUSE_S)
            await self._checked_again()

    def _new_pull(self, attempt: int) -> PullLoop:
        """A consumer that nobody has read from: its deliveries begin behind the newest input of the journal."""
        partition = self._partition
        return PullLoop(
            self._bus,
            subjects.INBOX,
            durable=f"kernel-{partition.partition}-{partition.epoch}-{attempt}",
            subjects=[f"inbox.{partition.partition}.>"],
            start_sequence=partition.inbox_sequence + 1,
            ack="all",
            batch=self._parts.settings.batch_size,
            inactive_threshold_s=CONSUMER_INACTIVE_S,
            ordered=True,
        )

    async def _consume_from(self, pull: PullLoop) -> None:
        await pull.start()
        self._show_lag(pull)
        async for batch in pull.batches():
            await self._take(batch)
            await pull.ack_all(batch[-1])
            self._show_lag(pull)
            if self._entries_since_snapshot >= self._parts.settings.snapshot_every_entries:
                await self._save()

    def _show_lag(self, pull: PullLoop) -> None:
        self._parts.served.lag = pull.lag
        telemetry.gauge(f"partition.{self._partition.partition}.lag", pull.lag)

    def _tell_read_again(self, pull: PullLoop, error: Unavailable) -> None:
        telemetry.count("inbox.read_again")
        log.warning(
            "inbox.read_again",
            partition=self._partition.partition,
            consumer=pull.consumer,
            inbox_sequence=self._partition.inbox_sequence,
            reason=error.reason,
            message=str(error),
        )

    async def _forget(self, pull: PullLoop) -> None:
        """Stop reading and delete the consumer; if that fails, the server drops it in some minutes."""
        await pull.stop()
        if not self._bus.connected:
            return
        with contextlib.suppress(KestrelError):
            await delete_consumer(self._bus, subjects.INBOX, pull.consumer)

    async def _checked_again(self) -> None:
        """Look at INBOX again, for as long as that takes: whoever waits with us ends this when the lease is lost."""
        while True:
            try:
                await self._checked_inbox()
                return
            except Unavailable:
                await asyncio.sleep(READ_AGAIN_PAUSE_S)

    async def tick(self) -> None:
        """Say that time has passed, once a deadline is due; silent while there is none."""
        while True:
            self._moved.clear()
            deadline = self._partition.next_deadline_ns()
            wait_s = _TICK_WAIT_S_MAX
            if deadline is not None:
                wait_s = min(wait_s, max(0.0, (deadline[0] - self._parts.clock_ns()) / 1e9))
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):  # wait_for may lose a cancellation
                        await self._moved.wait()
                continue
            assert deadline is not None
            await self._publish_tick(*deadline)
            await asyncio.sleep(_TICK_PAUSE_S)

    async def watch_lease(self) -> None:
        await self._lease.lost.wait()
        raise LeaseLost(f"partition {self._partition.partition}: the lease was lost", field="lease")

    async def end(self) -> None:
        """Leave a snapshot behind if the state is good and still ours, and stop reading."""
        if self._pull is not None:
            await self._forget(self._pull)
        if self._is_sound and self._lease.held and self._entries_since_snapshot > 0:
            await self._save()

    async def _take(self, batch: Sequence[StoredMessage]) -> None:
        """Apply, journal, then show. Raises ``InvariantBroken`` at a message that is not behind all before it."""
        self._is_sound = False
        steps: list[Step] = []
        for message in batch:
            self._check_order(message)
            step = self._partition.apply(
                message.subject,
                message.sequence,
                message.time_ns,
                message.data,
                message.traceparent,
                recorded_at_ns=self._parts.clock_ns(),
            )
            steps.append(step)
            error = None if step.is_plain else reason_to_park(step.entry)
            if error is not None:
                # Before the journal has it: a crash in between parks it twice under one id, never not at all.
                await self._parts.parking.park(message, error)
        if steps:
            await self._append(steps)
            self._show(steps)
        self._is_sound = True

    def _check_order(self, message: StoredMessage) -> None:
        """The consumer begins behind our position, and its order is proven: nothing older can come."""
        if message.sequence <= self._partition.inbox_sequence:
            raise InvariantBroken(
                f"partition {self._partition.partition}: input {message.sequence} came after input "
                f"{self._partition.inbox_sequence}",
                reason="INPUT_OUT_OF_ORDER",
                field="sequence",
                value=message.sequence,
            )

    async def _append(self, steps: Sequence[Step]) -> None:
        if not self._lease.held:
            raise LeaseLost(f"partition {self._partition.partition}: the lease is overdue", field="lease")
        await self._writer.append([step.publish() for step in steps])
        self._entries_since_snapshot += len(steps)

    def _show(self, steps: Sequence[Step]) -> None:
        """The journal has them: serve, count, alert, trace."""
        self._parts.served.commit(self._partition, steps)
        telemetry.count("inputs.journaled", len(steps))
        for step in steps:
            if not step.is_plain:
                self._parts.alerts.put(alerts.of_entry(step.entry, step.journal_sequence))
            if not step.is_plain or step.effect.traceparent:
                _log_step(step)
        self._moved.set()

    async def _save(self) -> None:
        self._entries_since_snapshot = 0
        try:
            await self._parts.snapshots.save(self._partition, saved_at_ns=self._parts.clock_ns())
            telemetry.count("snapshots.saved")
        except KestrelError as error:  # a snapshot only saves time: the journal is the truth
            log.warning("snapshot.failed", partition=self._partition.partition, reason=error.reason, message=str(error))

    async def _publish_tick(self, deadline_ns: int, account: str) -> None:
        """The id follows from the deadline and the position, so one state asks for one tick, however often it does."""
        number = self._partition.partition
        message = inbox_pb2.InboxMessage(tick=inbox_pb2.Tick(account=account, deadline_ns=deadline_ns))
        tick = effects.publish(
            subjects.inbox(number, account, "tick"),
            message,
            derived_id("tick", number, account, deadline_ns, self._partition.inbox_sequence),
        )
        try:
            await self._bus.publish(tick)
            telemetry.count("ticks.published")
        except KestrelError as error:
            log.warning("tick.failed", partition=number, reason=error.reason, message=str(error))


def _log_step(step: Step) -> None:
    entry = step.entry
    if not entry.outcome.accepted:
        telemetry.count("inputs.refused")
        log.info(
            "input.refused",
            journal_sequence=step.journal_sequence,
            input_sequence=entry.input_sequence,
            account=entry.account,
            door=entry.door,
            reason=entry.outcome.code,
            message=entry.outcome.refusal.message,
        )
    if not entry.traceparent:
        return
    attributes: dict[str, Any] = {
        "trading.account.id": entry.account,
        "trading.journal.sequence": step.journal_sequence,
        "kestrel.inbox.sequence": entry.input_sequence,
        "kestrel.door": entry.door,
        "kestrel.outcome": entry.outcome.code,
    }
    if entry.outcome.trade_id:
        attributes["trading.trade.id"] = entry.outcome.trade_id
    if entry.commands:
        attributes["trading.order.client_id"] = entry.commands[0].client_order_id
    with telemetry.span("journal.append", traceparent=entry.traceparent, **attributes):
        pass
