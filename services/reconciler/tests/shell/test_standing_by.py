"""What an instance says that is not the active one, or knows nothing yet: never what could be read as no break."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
import reconciler_samples as samples

from kestrel.audit.v1 import audit_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.parking import ParkingLane
from kestrel_chassis.status import ServiceStatus
from kestrel_domain import effects
from kestrel_domain.errors import InvalidRequest, Refused, Unavailable
from kestrel_domain.timestamps import SECOND_NS
from kestrel_reconciler.config import ReconcilerSettings
from kestrel_reconciler.core.reconciliation import Rules
from kestrel_reconciler.service import Shift
from kestrel_reconciler.shell.watch import Watch
from kestrel_testkit.fixtures import eventually

pytestmark = pytest.mark.integration


def watch_on(bus: Bus) -> Watch:
    """One that waits an hour for its first answer: nothing is compared in the meantime."""
    rules = Rules(patience_ns=3_600 * SECOND_NS)
    return Watch(bus, ParkingLane(bus, "reconciler"), rules, 1, time.time_ns)


async def test_a_shift_that_failed_is_not_ready_while_it_waits_to_be_started_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor pauses up to half a minute between two attempts."""
    settings = ReconcilerSettings(nats_url=bus.settings.nats_url, secrets_dir=bus.settings.secrets_dir)
    status = ServiceStatus(settings)
    context: Any = SimpleNamespace(bus=bus, status=status, settings=settings, parking=ParkingLane(bus, "reconciler"))
    shift, was_ready = Shift(context), asyncio.Event()

    async def fail(_: Watch) -> None:
        if status.ready:
            was_ready.set()
        raise Refused("the server took the permission away", reason="PERMISSION")

    monkeypatch.setattr(Watch, "run", fail)
    with pytest.raises(Refused):
        await shift.run()
    assert was_ready.is_set(), "it was active when it failed"
    assert not status.ready
    with pytest.raises(Unavailable):
        shift.active()


async def test_open_breaks_are_in_the_figures_before_the_first_run_and_gone_with_the_shift(bus: Bus) -> None:
    now_ns = time.time_ns()
    found = reconcile_pb2.Break(
        break_id="b-1", account=samples.ACCOUNT, kind=reconcile_pb2.BREAK_KIND_POSITION_SIZE, opened_at_ns=now_ns
    )
    bead = audit_pb2.Bead(bead_id="d-1", account=samples.ACCOUNT, created_at_ns=now_ns, drift=found)
    await bus.publish_until_stored(effects.bead(bead))
    watch = watch_on(bus)
    await watch.fold()
    running = asyncio.create_task(watch.run())

    async def told() -> bool:
        return telemetry.figures().get("breaks.open") == 1

    await eventually(told, "the open break is counted", timeout_s=60)
    assert not watch.runs("", 10), "nothing was compared yet"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "breaks.open" not in telemetry.figures()


async def test_an_account_nobody_has_heard_of_is_no_account_without_breaks(bus: Bus) -> None:
    watch = watch_on(bus)
    for ask in (lambda: watch.breaks("PAPER-2", everything=True), lambda: watch.runs("PAPER-2", 10)):
        with pytest.raises(InvalidRequest, match="none yet"):
            ask()
    assert watch.breaks("", everything=True) == []
