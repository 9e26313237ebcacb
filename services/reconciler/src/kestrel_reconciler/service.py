"""Wires the reconciler together: one active instance at a time, chosen by the lease ``reconciler``."""

from __future__ import annotations

import asyncio
import time

from kestrel.admin.v1 import reconciler_pb2_grpc
from kestrel_chassis import telemetry
from kestrel_chassis.identity import Role
from kestrel_chassis.lease import Lease
from kestrel_chassis.service import ServiceContext
from kestrel_domain.errors import Unavailable
from kestrel_reconciler.config import ReconcilerSettings
from kestrel_reconciler.shell.api import ReconcilerApi
from kestrel_reconciler.shell.watch import Watch

LEASE = "reconciler"
ROLES = {
    "ListBreaks": Role.VIEWER,
    "ListRuns": Role.VIEWER,
    "RunNow": Role.OPERATOR,
    "Resolve": Role.RISK_OFFICER,
}


class Shift:
    """Waits for the lease, works while it is held, and starts over: nothing is carried from one shift to the next."""

    def __init__(self, context: ServiceContext[ReconcilerSettings]) -> None:
        self._context = context
        self._watch: Watch | None = None
        self._lease: Lease | None = None
        self._stopping = asyncio.Event()

    def active(self) -> Watch:
        """Raises Unavailable while this instance is not the active one, or is still reading the past."""
        if self._watch is None or self._lease is None or not self._lease.held:
            raise Unavailable("this instance is not the active reconciler", reason="NOT_ACTIVE")
        return self._watch

    async def run(self) -> None:
        while not self._stopping.is_set():
            self._stand_by()
            lease = Lease(self._context.bus, LEASE, self._context.settings.instance)
            await lease.acquire()
            try:
                await self._work(lease)
            finally:
                self._stand_by()  # before what takes time, and before a pause, if it was a failure
                await lease.release()

    def _stand_by(self) -> None:
        self._watch = self._lease = None
        self._context.status.block("lease", "stands by until it holds the lease")

    async def stop(self) -> None:
        """End the shift and give the lease back, so that the next instance need not wait for it to expire."""
        self._stopping.set()

    async def _work(self, lease: Lease) -> None:
        settings = self._context.settings
        watch = Watch(self._context.bus, self._context.parking, settings.rules(), settings.partitions, time.time_ns)
        working = asyncio.create_task(self._fold_and_run(watch, lease), name="watch")
        lost = asyncio.create_task(lease.lost.wait(), name="lease lost")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        try:
            await asyncio.wait({working, lost, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            elif lost.done():
                telemetry.logger().warning("shift.ended", reason="the lease was lost")
        finally:
            for task in (working, lost, stopping):
                task.cancel()
            await asyncio.gather(working, lost, stopping, return_exceptions=True)

    async def _fold_and_run(self, watch: Watch, lease: Lease) -> None:
        self._context.status.block("lease", "reads the past")
        await watch.fold()
        self._watch, self._lease = watch, lease
        self._context.status.unblock("lease")
        await watch.run()


async def build(context: ServiceContext[ReconcilerSettings]) -> None:
    """Called once by the chassis, with the bus connected and the streams compared."""
    shift = Shift(context)
    context.supervisor.add("shift", shift.run, restart=True)
    context.supervisor.on_stop(shift.stop)
    context.admin.add(
        reconciler_pb2_grpc.add_ReconcilerServiceServicer_to_server,
        ReconcilerApi(shift.active, context.requests),
        ROLES,
    )
