"""The owner of one partition, for as long as it is the owner.

    wait for the lease -> recover from the journal -> append EpochStarted -> consume
          ^                                                                    |
          `------- lease lost, or somebody else wrote: drop everything <-------'

A broken invariant halts this partition for good, loudly; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.journal import OwnershipLost
from kestrel_chassis.lease import Lease
from kestrel_chassis.status import ServiceStatus
from kestrel_domain import effects
from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError
from kestrel_domain.identifiers import derived_id
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell.recovery import recover
from kestrel_kernel.shell.tenure import LeaseLost, OwnerParts, Tenure

log = telemetry.logger()

_AGAIN_AFTER_S = 0.5
_STANDBY_AFTER_S = 2.0


class PartitionOwner:
    """Owns one partition whenever it can get the lease. ``run`` ends when the service stops."""

    def __init__(self, parts: OwnerParts, status: ServiceStatus, stopping: asyncio.Event) -> None:
        self._parts = parts
        self._partition = parts.served.partition
        self._status = status
        self._stopping = stopping
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
            snapshots = await self._parts.snapshots.load()
            partition, pending = await recover(
                self._parts.bus, self._partition, self._parts.settings.partitions, snapshots
            )
            while lease.epoch <= partition.epoch:
                # The lease bucket was made anew and counts from the beginning; each turn of the lease counts one up.
                await lease.release()
                lease = self._new_lease()
                await lease.acquire()
            try:
                await self._own(partition, lease, pending)
            finally:
                partition.close()
        finally:
            self._disown()
            with self._work_in_hand():
                await lease.release()

    def _disown(self) -> None:
        """Whoever lost it, or failed in it, is not ready: a partition that nobody can serve must not look served."""
        self._parts.served.drop()
        telemetry.forget(f"partition.{self._partition}.epoch", f"partition.{self._partition}.lag")
        self._status.block(self._name, f"partition {self._partition} waits for its lease")

    @contextlib.contextmanager
    def _work_in_hand(self) -> Iterator[None]:
        """What a stop waits for: without a snapshot and a free lease, whoever comes next is away for longer."""
        self._parts.bus.batches_in_hand += 1
        try:
            yield
        finally:
            self._parts.bus.batches_in_hand -= 1

    async def _acquire(self, lease: Lease) -> None:
        """Wait for the lease. Whoever waits longer than a moment stands by, and that is ready too."""
        standing_by = f"partition.{self._partition}.standing_by"
        acquiring = asyncio.create_task(lease.acquire())
        try:
            await asyncio.wait({acquiring}, timeout=_STANDBY_AFTER_S)
            if not acquiring.done():
                telemetry.gauge(standing_by, 1)
                self._status.unblock(self._name)
            await acquiring
        finally:
            acquiring.cancel()
            telemetry.forget(standing_by)
        self._status.block(self._name, f"partition {self._partition} is being recovered from its journal")

    @property
    def _name(self) -> str:
        return f"partition-{self._partition}"

    def _new_lease(self) -> Lease:
        return Lease(self._parts.bus, f"kernel.{self._partition}", self._parts.settings.instance)

    async def _own(self, partition: Partition, lease: Lease, pending: Sequence[effects.Publish]) -> None:
        tenure = Tenure(self._parts, partition, lease)
        await tenure.begin()
        self._status.unblock(self._name)
        self._parts.alerts.put(pending)
        work = {asyncio.create_task(job) for job in (tenure.consume(), tenure.tick(), tenure.watch_lease())}
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._disown()  # before what takes time: somebody else may own it by now
            with self._work_in_hand():
                await tenure.end()

    async def _halt(self, error: KestrelError) -> None:
        """Stop this partition until a person has looked."""
        log.critical("partition.halted", partition=self._partition, reason=error.reason, message=str(error))
        self._parts.served.halted = str(error)
        telemetry.gauge(f"partition.{self._partition}.halted", 1)
        self._status.block(self._name, f"partition {self._partition} stopped: {error}")
        alert = audit_pb2.Alert(
            alert_id=derived_id("alert", "kernel-halted", self._partition, error.reason, str(error)),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=alerts.SERVICE,
            reason="PARTITION_HALTED",
            message=f"partition {self._partition} stopped: {error}",
            raised_at_ns=self._parts.clock_ns(),
            subject_id=f"partition-{self._partition}",
            details=[error.refusal()],
        )
        self._parts.alerts.put([effects.alert(alert)])
        await self._stopping.wait()
