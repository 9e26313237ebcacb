"""What an instance says that holds no lease, or none any more: never what could be read as nothing waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kestrel.admin.v1 import governance_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.parking import ParkingLane
from kestrel_chassis.requests import AnsweredRequests
from kestrel_chassis.status import ServiceStatus
from kestrel_domain.errors import InvalidRequest, Unavailable
from kestrel_governance.config import Settings
from kestrel_governance.core.beads import SERVICE
from kestrel_governance.shell.admin import GovernanceServicer
from kestrel_governance.shell.governor import Governor
from kestrel_governance.shell.tenure import Tenure
from kestrel_testkit.fixtures import eventually

pytestmark = pytest.mark.integration

CONTEXT: Any = None


class Lease:
    """Held until somebody says otherwise."""

    def __init__(self) -> None:
        self.held = True


@pytest.fixture
def lease() -> Lease:
    return Lease()


@pytest.fixture
def servicer(bus: Bus, desk: Any, lease: Lease) -> GovernanceServicer:
    parking = ParkingLane(bus, SERVICE)
    tenure = Tenure(bus, desk.authority(), parking, partitions=1, is_held=lambda: lease.held)
    return GovernanceServicer(bus, desk.limits, lambda: tenure, AnsweredRequests())


async def test_whoever_lost_the_lease_lists_neither_what_waits_nor_mandates(
    servicer: GovernanceServicer, lease: Lease
) -> None:
    """A process that stood still wakes up with yesterday's mandates, and answers before it hears of the lease."""
    assert not (await servicer.ListMandates(governance_pb2.ListMandatesRequest(), CONTEXT)).mandates
    lease.held = False
    with pytest.raises(Unavailable, match="no longer holds the lease"):
        await servicer.ListMandates(governance_pb2.ListMandatesRequest(), CONTEXT)
    with pytest.raises(Unavailable, match="no longer holds the lease"):
        await servicer.ListPending(governance_pb2.ListPendingRequest(), CONTEXT)


async def test_an_account_nobody_has_heard_of_is_no_account_for_which_nothing_waits(
    servicer: GovernanceServicer,
) -> None:
    known = await servicer.ListPending(governance_pb2.ListPendingRequest(account="PAPER-1"), CONTEXT)
    assert not known.pending
    with pytest.raises(InvalidRequest, match="one of PAPER-1"):
        await servicer.ListPending(governance_pb2.ListPendingRequest(account="PAPER-l"), CONTEXT)


async def test_how_many_wait_is_in_the_figures_of_whoever_is_active_and_of_nobody_else(
    bus: Bus, desk: Any, secrets: Path
) -> None:
    settings = Settings(nats_url=bus.settings.nats_url, secrets_dir=secrets)
    supervisor = SimpleNamespace(stopping=asyncio.Event())
    context: Any = SimpleNamespace(
        bus=bus,
        settings=settings,
        status=ServiceStatus(settings),
        supervisor=supervisor,
        parking=ParkingLane(bus, SERVICE),
    )
    running = asyncio.create_task(Governor(context, desk.key).run())
    await eventually(lambda: telemetry.figures().get("intents.pending") == 0, "it is active", timeout_s=60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "intents.pending" not in telemetry.figures()
