"""How a service starts, runs and ends; the same for all of them.

Start: settings, telemetry, bus, compare streams, admin port, then ``build`` adds what the service does, then ready.
End: readiness off, pulls stop, what is in hand is finished, hooks, admin port, bus drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

from google.protobuf.internal import api_implementation

from kestrel_chassis import advisories, alerts, streams, telemetry
from kestrel_chassis import settings as settings_module
from kestrel_chassis.admin import AdminServer
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import Unavailable
from kestrel_chassis.parking import ParkingLane
from kestrel_chassis.requests import AnsweredRequests
from kestrel_chassis.settings import ServiceSettings, Settings
from kestrel_chassis.status import ServiceStatus
from kestrel_chassis.supervision import Supervisor
from kestrel_chassis.watch import StreamWatch
from kestrel_domain.errors import KestrelError

_CHECK_INTERVAL_S = 10.0
_CLOSER_TIMEOUT_S = 5.0
_SWITCH_INTERVAL_S = 0.0005
"""How long the thread that writes spans may keep the interpreter from an event loop that has something to do. Python's
own 5 ms are as long as an order's whole way to the venue should be."""
EXIT_REFUSED = 4
"""The service refused to start: wrong streams, missing secrets, a port in use."""
EXIT_PUT_OUT = 5
"""The bus no longer takes this login. Started again, the service reads its password anew and waits to be let in."""


@dataclass
class ServiceContext(Generic[Settings]):
    """What ``build`` gets to stand on."""

    settings: Settings
    bus: Bus
    admin: AdminServer
    supervisor: Supervisor
    parking: ParkingLane
    status: ServiceStatus
    requests: AnsweredRequests
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called, last added first, after all tasks have ended and before the bus closes: give leases back, close pools."""

    async def close(self) -> None:
        for closer in reversed(self.closers):
            try:
                async with asyncio.timeout(_CLOSER_TIMEOUT_S):
                    await closer()
            except Exception as error:
                telemetry.logger().error("closer.failed", error=repr(error))


Build = Callable[[ServiceContext[Settings]], Awaitable[None]]


def main(settings_cls: type[Settings], build: Build[Settings], argv: Sequence[str] | None = None) -> None:
    """For ``__main__``: never returns."""
    import uvloop

    if api_implementation.Type() != "upb":
        print("protobuf runs without its C library: 36 times slower; refused", file=sys.stderr)
        sys.exit(EXIT_REFUSED)
    settings = settings_module.load(settings_cls, argv)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    sys.exit(uvloop.run(run_service(settings, build)))


async def run_service(settings: Settings, build: Build[Settings]) -> int:
    """Run until told to stop; the exit code."""
    telemetry.configure(settings)
    supervisor = Supervisor()
    supervisor.take_signals()
    opened = contextlib.AsyncExitStack()
    try:
        if await _start_unless_stopped(settings, build, supervisor, opened):
            gc.collect()
            gc.freeze()
        return await supervisor.run()
    except KestrelError as error:
        telemetry.logger().critical(
            "service.refused_to_start", reason=error.reason, field=error.field, error=str(error)
        )
        supervisor.stop(EXIT_REFUSED)
        return await supervisor.run()
    finally:
        await opened.aclose()
        telemetry.logger().info("service.stopped", exit_code=supervisor.exit_code)
        telemetry.shutdown()


async def _start_unless_stopped(
    settings: Settings, build: Build[Settings], supervisor: Supervisor, opened: contextlib.AsyncExitStack
) -> bool:
    """Start, which may wait for the bus for as long as it takes; False if a signal came first."""
    starting = asyncio.create_task(_start(settings, build, supervisor, opened))
    stopping = asyncio.create_task(supervisor.stopping.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


async def _start(
    settings: Settings, build: Build[Settings], supervisor: Supervisor, opened: contextlib.AsyncExitStack
) -> None:
    telemetry.logger().info("service.starting", environment=settings.environment, nats=settings.safe_nats_url)
    status = ServiceStatus(settings)
    status.block("starting", "is starting")
    bus = await Bus.connect(settings)
    opened.push_async_callback(bus.close)
    bus.when_lost(lambda: supervisor.stop(EXIT_PUT_OUT))
    watch = StreamWatch(bus, settings.service, await _compare_streams(bus))
    admin = AdminServer(settings, status)
    context = ServiceContext(
        settings, bus, admin, supervisor, ParkingLane(bus, settings.service), status, AnsweredRequests()
    )
    opened.push_async_callback(context.close)
    _connect_parts(context)
    await build(context)
    await admin.start()
    opened.push_async_callback(admin.stop)
    await advisories.listen(bus, settings.service, watch)
    supervisor.add("bus check", lambda: _check_bus(bus, status, watch), restart=True, background=True)
    status.unblock("starting")


async def _compare_streams(bus: Bus) -> dict[str, str]:
    """Wait for a leader, then hold the streams against this version's definitions; when each was made.

    Raises ``StreamsDiffer``.
    """
    while True:
        try:
            return await streams.compare(bus)
        except Unavailable as error:
            telemetry.logger().warning("streams.unavailable", error=str(error))
        await asyncio.sleep(1.0)


def _connect_parts(context: ServiceContext[Settings]) -> None:
    bus, status, supervisor = context.bus, context.status, context.supervisor

    def connection_changed(connected: bool) -> None:
        if connected:
            status.unblock("connection")
        else:
            status.block("connection", "is not connected to the bus")

    async def unready() -> None:
        status.block("stopping", "is stopping")

    bus.on_connection.append(connection_changed)
    supervisor.on_stop(unready)
    supervisor.on_stop(bus.stop_pulls)
    supervisor.busy = lambda: bus.batches_in_hand > 0
    supervisor.on_restart = partial(tell_restart, context.settings, bus, supervisor)
    supervisor.on_unsteady = lambda task, error: status.block(f"task {task}", f"{task} fails again and again: {error}")
    supervisor.on_steady = lambda task: status.unblock(f"task {task}")
    context.admin.on_broken = lambda _: supervisor.stop(exit_code=3)


def tell_restart(settings: ServiceSettings, bus: Bus, supervisor: Supervisor, task: str, error: Exception) -> None:
    """An alert, for as long as it takes: what makes a task fail is often that the bus is away."""
    effect = alerts.alert(
        settings.service,
        "TASK_RESTARTED",
        f"{task} failed and is started again: {error}",
        cause=(settings.instance, task, int(time.time() // 60)),
        subject_id=task,
    )

    async def publish() -> None:
        with contextlib.suppress(KestrelError):  # refused: it is in the log, and no reason to end the service
            await bus.publish_until_stored(effect)

    supervisor.add(f"alert of {task}", publish, restart=False, background=True)


async def _check_bus(bus: Bus, status: ServiceStatus, watch: StreamWatch) -> None:
    """Being connected is not enough: a stream that is frozen answers nothing, and one that was deleted is gone."""
    while True:
        await asyncio.sleep(_CHECK_INTERVAL_S)
        try:
            await bus.check()
            status.unblock("jetstream")
        except KestrelError as error:
            status.block("jetstream", f"gets no answer from JetStream: {error}")
            continue
        await watch.look(status)
