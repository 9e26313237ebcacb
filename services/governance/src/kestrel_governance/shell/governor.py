"""Takes the lease, serves a tenure, and begins again when it ends. Of several instances one is active, others wait."""

from __future__ import annotations

import asyncio
import contextlib

from kestrel_chassis import telemetry
from kestrel_chassis.lease import Lease
from kestrel_chassis.service import ServiceContext
from kestrel_domain.errors import InvariantBroken, KestrelError
from kestrel_domain.tokens import SigningKey
from kestrel_governance.config import Settings
from kestrel_governance.core.authority import Authority
from kestrel_governance.core.beads import SERVICE
from kestrel_governance.shell.performer import Superseded
from kestrel_governance.shell.tenure import Tenure, TenureOver

_PAUSE_MIN_S, _PAUSE_MAX_S = 0.2, 5.0


class Governor:
    """``tenure`` is the active one, or None while this instance waits or folds."""

    def __init__(self, context: ServiceContext[Settings], key: SigningKey) -> None:
        self.tenure: Tenure | None = None
        self._context = context
        self._bus = context.bus
        self._settings = context.settings
        self._key = key
        context.status.block("lease", "stands by: another instance is active, or the streams are being read")
        self._pause_s = _PAUSE_MIN_S

    async def run(self) -> None:
        """Tenure after tenure, until the service stops. A broken invariant is not survived."""
        stopping = self._context.supervisor.stopping
        while not stopping.is_set():
            try:
                await self._serve()
            except* (TenureOver, Superseded, KestrelError) as group:
                _let_pass(group)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s):
                    await stopping.wait()
            self._pause_s = min(_PAUSE_MAX_S, self._pause_s * 2)

    async def _serve(self) -> None:
        lease = Lease(self._bus, SERVICE, self._settings.instance)
        await lease.acquire()
        authority = Authority(
            self._settings.limits(),
            self._key,
            partitions=self._settings.partitions,
            instance=self._settings.instance,
        )
        tenure = Tenure(
            self._bus,
            authority,
            self._context.parking,
            partitions=self._settings.partitions,
            is_held=lambda: lease.held,
        )

        def connection_changed(connected: bool) -> None:
            if not connected:
                tenure.connection_broke.set()

        self._bus.on_connection.append(connection_changed)
        try:
            positions = await tenure.begin()
            self.tenure = tenure
            self._context.status.unblock("lease")
            self._pause_s = _PAUSE_MIN_S
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(tenure.run(positions))
                tasks.create_task(_until_lost(lease))
        finally:
            self.tenure = None
            telemetry.forget("intents.pending")
            self._context.status.block("lease", "stands by until it holds the lease again")
            self._bus.on_connection.remove(connection_changed)
            await lease.release()


async def _until_lost(lease: Lease) -> None:
    await lease.lost.wait()
    raise TenureOver("the lease was lost")


def _let_pass(group: BaseExceptionGroup[Exception]) -> None:
    """Log what ended the tenure; raise on if it was an invariant of ours."""
    for error in _leaves(group):
        if isinstance(error, InvariantBroken):
            raise error
        telemetry.count("tenures.ended")
        telemetry.logger().warning("tenure.ended", error=str(error), kind=type(error).__name__)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
