"""The owner of one partition, for as long as it is the owner.

    wait for the lease -> recover from the journal -> append EpochStarted -> consume
          ^                                                                    |
          `------- lease lost, or somebody else wrote: drop everything <-------'

A group of messages is applied in memory, appended to the journal, and only then served, acknowledged and talked about.
While the append fails or its outcome is unknown, nothing else happens. A broken invariant halts this partition for
good, loudly; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.journal import JournalWriter, OwnershipLost
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.parking import ParkingLane
from kestrel_chassis.status import ServiceStatus
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError, Unavailable
from kestrel_domain.identifiers import derived_id
from kestrel_kernel.config import KernelSettings
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, Step, reason_to_park
from kestrel_kernel.shell.alert_queue import AlertQueue
from kestrel_kernel.shell.recovery import recover
from kestrel_kernel.shell.served import ServedPartition
from kestrel_kernel.shell.snapshots import PartitionSnapshots

log = telemetry.logger()

CONSUMER_INACTIVE_S = 300.0
"""How long the server keeps an epoch's consumer without its reader."""

PARKING_WAIT_S = 5.0
"""How long an input waits for the parking lane before the ones behind it go on."""

_AGAIN_AFTER_S = 0.5
_STANDBY_AFTER_S = 2.0
_TICK_PAUSE_S = 0.25
_TICK_WAIT_S_MAX = 60.0


class LeaseLost(Unavailable):
    """The lease ran out, or could not be renewed: this process may no longer write."""

    reason = "LEASE_LOST"


class PartitionOwner:
    """Owns one partition whenever it can get the lease. ``run`` ends when the service stops."""

    def __init__(
        self,
        settings: KernelSettings,
        bus: Bus,
        parking: ParkingLane,
        snapshots: PartitionSnapshots,
        alert_queue: AlertQueue,
        served: ServedPartition,
        status: ServiceStatus,
        stopping: asyncio.Event,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._parking = parking
        self._snapshots = snapshots
        self._alerts = alert_queue
        self._served = served
        self._partition = served.partition
        self._status = status
        self._stopping = stopping
        self._clock_ns = clock_ns
        self._still_parking: set[asyncio.Task[None]] = set()
        status.block(self._name, f"partition {self._partition} waits for its lease")

    async def run(self) -> None:
        """One tenure after the other. After a broken invariant: none any more, until a person has looked."""
        while not self._stopping.is_set():
            try:
                await self._tenure()
            except (OwnershipLost, LeaseLost) as error:
                log.warning("partition.lost", partition=self._partition, reason=error.reason, message=str(error))
            except (InvariantBroken, InvalidRequest) as error:
                await self._halt(error)
            except KestrelError as error:
                log.error("partition.interrupted", partition=self._partition, reason=error.reason, message=str(error))
            if not self._stopping.is_set():
                await asyncio.sleep(_AGAIN_AFTER_S)

    async def _tenure(self) -> None:
        lease = self._new_lease()
        await self._acquire(lease)
        try:
            partition, pending = await recover(
                self._bus, self._partition, self._settings.partitions, await self._snapshots.load()
            )
            while lease.epoch <= partition.epoch:
                # The lease bucket was made anew and counts from the beginning; each turn of the lease counts one up.
                await lease.release()
                lease = self._new_lease()
                await lease.acquire()
            try:
                await self._own(partition, lease, pending)
            finally:
                self._served.drop()
                partition.close()
        finally:
            self._status.unblock(self._name)
            await lease.release()

    async def _acquire(self, lease: Lease) -> None:
        """Wait for the lease. Whoever waits longer than a moment stands by, and that is ready too."""
        acquiring = asyncio.create_task(lease.acquire())
        try:
            await asyncio.wait({acquiring}, timeout=_STANDBY_AFTER_S)
            if not acquiring.done():
                self._status.unblock(self._name)
            await acquiring
        finally:
            acquiring.cancel()
        self._status.block(self._name, f"partition {self._partition} is being recovered from its journal")

    @property
    def _name(self) -> str:
        return f"partition-{self._partition}"

    def _new_lease(self) -> Lease:
        return Lease(self._bus, f"kernel.{self._partition}", self._settings.instance)

    async def _own(self, partition: Partition, lease: Lease, pending: Sequence[effects.Publish]) -> None:
        tenure = _Tenure(self, partition, lease)
        await tenure.begin()
        self._status.unblock(self._name)
        self._alerts.put(pending)
        work = {asyncio.create_task(job) for job in (tenure.consume(), tenure.tick(), tenure.watch_lease())}
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await tenure.end()

    async def _halt(self, error: KestrelError) -> None:
        """Stop this partition until a person has looked."""
        log.critical("partition.halted", partition=self._partition, reason=error.reason, message=str(error))
        telemetry.gauge(f"partition.{self._partition}.halted", 1)
        self._status.block(self._name, f"partition {self._partition} stopped: {error}")
        alert = audit_pb2.Alert(
            alert_id=derived_id("alert", "kernel-halted", self._partition, error.reason, str(error)),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=alerts.SERVICE,
            reason="PARTITION_HALTED",
            message=f"partition {self._partition} stopped: {error}",
            raised_at_ns=self._clock_ns(),
            subject_id=f"partition-{self._partition}",
            details=[error.refusal()],
        )
        self._alerts.put([effects.alert(alert)])
        await self._stopping.wait()


class _Tenure:
    """One epoch of one partition."""

    def __init__(self, owner: PartitionOwner, partition: Partition, lease: Lease) -> None:
        self._owner = owner
        self._settings = owner._settings
        self._bus = owner._bus
        self._served = owner._served
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
        inbox = await self._bus.stream_state(subjects.INBOX)
        if partition.inbox_sequence > inbox.last_sequence:
            raise InvariantBroken(
                f"partition {partition.partition}: the journal has input {partition.inbox_sequence} and INBOX ends at "
                f"{inbox.last_sequence}: INBOX was replaced, and its new messages would be taken for old ones",
                reason="INBOX_REPLACED",
            )
        if partition.journal_sequence and inbox.first_sequence > partition.inbox_sequence + 1:
            self._tell_gap(inbox.first_sequence)
        step = partition.start_epoch(
            self._lease.epoch,
            self._settings.instance,
            self._settings.configurations(partition.partition),
            recorded_at_ns=self._owner._clock_ns(),
        )
        await self._append([step])
        self._served.take_over(partition)
        self._owner._alerts.put(alerts.of_entry(step.entry, step.journal_sequence))
        telemetry.gauge(f"partition.{partition.partition}.epoch", partition.epoch)
        log.info(
            "epoch.started",
            partition=partition.partition,
            epoch=partition.epoch,
            journal_sequence=partition.journal_sequence,
            inbox_sequence=partition.inbox_sequence,
        )

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
            raised_at_ns=self._owner._clock_ns(),
            subject_id=f"partition-{partition.partition}",
        )
        log.critical("inbox.gap", partition=partition.partition, first_sequence=first_sequence)
        self._owner._alerts.put([effects.alert(alert)])

    async def consume(self) -> None:
        """Take the inbox from where the journal stands, group by group."""
        number = self._partition.partition
        self._pull = PullLoop(
            self._bus,
            subjects.INBOX,
            durable=f"kernel-{number}-{self._partition.epoch}",
            subjects=[f"inbox.{number}.>"],
            start_sequence=self._partition.inbox_sequence + 1,
            ack="all",
            batch=self._settings.batch_size,
            inactive_threshold_s=CONSUMER_INACTIVE_S,
        )
        async for batch in self._pull.batches():
            await self._take(batch)
            await self._pull.ack_all(batch[-1])
            self._served.lag = self._pull.lag
            telemetry.gauge(f"partition.{number}.lag", self._pull.lag)
            if self._entries_since_snapshot >= self._settings.snapshot_every_entries:
                await self._save()

    async def tick(self) -> None:
        """Say that time has passed, once a deadline is due; silent while there is none."""
        while True:
            self._moved.clear()
            deadline = self._partition.next_deadline_ns()
            wait_s = _TICK_WAIT_S_MAX
            if deadline is not None:
                wait_s = min(wait_s, max(0.0, (deadline[0] - self._owner._clock_ns()) / 1e9))
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), wait_s)
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
            await self._pull.stop()
        if self._is_sound and self._lease.held and self._entries_since_snapshot > 0:
            await self._save()

    async def _take(self, batch: Sequence[StoredMessage]) -> None:
        """Apply, journal, then show. Messages that the journal has already are passed over."""
        self._is_sound = False
        steps: list[Step] = []
        for message in batch:
            if message.sequence <= self._partition.inbox_sequence:
                telemetry.count("inputs.repeated")
                continue
            step = self._partition.apply(
                message.subject,
                message.sequence,
                message.time_ns,
                message.data,
                message.traceparent,
                recorded_at_ns=self._owner._clock_ns(),
            )
            steps.append(step)
            error = reason_to_park(step.entry)
            if error is not None:
                await self._park(message, error)
        if steps:
            await self._append(steps)
            self._show(steps)
        self._is_sound = True

    async def _park(self, message: StoredMessage, error: KestrelError) -> None:
        """Before the journal has it: a crash in between parks it twice under one id, never not at all.

        A lane that takes nothing (full, or gone) holds up nothing: the attempt goes on behind our back, and the
        journal's entry carries the reason and the bytes in any case.
        """
        parking = asyncio.create_task(self._owner._parking.park(message, error))
        done, _ = await asyncio.wait({parking}, timeout=PARKING_WAIT_S)
        if done:
            parking.result()
            return
        log.error("parking.slow", partition=self._partition.partition, input_sequence=message.sequence)
        telemetry.count("messages.parking_slow")
        self._owner._still_parking.add(parking)
        parking.add_done_callback(self._owner._still_parking.discard)

    async def _append(self, steps: Sequence[Step]) -> None:
        if not self._lease.held:
            raise LeaseLost(f"partition {self._partition.partition}: the lease is overdue", field="lease")
        await self._writer.append([step.publish() for step in steps])
        self._entries_since_snapshot += len(steps)

    def _show(self, steps: Sequence[Step]) -> None:
        """The journal has them: serve, count, alert, trace."""
        self._served.commit(self._partition, steps)
        telemetry.count("inputs.journaled", len(steps))
        for step in steps:
            self._owner._alerts.put(alerts.of_entry(step.entry, step.journal_sequence))
            _log_step(step)
        self._moved.set()

    async def _save(self) -> None:
        self._entries_since_snapshot = 0
        try:
            await self._owner._snapshots.save(self._partition, saved_at_ns=self._owner._clock_ns())
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
