"""Ready is: nothing blocks."""

from __future__ import annotations

from kestrel_chassis import telemetry
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.status import ServiceStatus


def test_it_is_ready_when_the_last_blocker_is_gone_and_says_so_once() -> None:
    status, told = ServiceStatus(ServiceSettings(service="kernel", environment="live")), list[bool]()
    status.listeners.append(told.append)
    status.block("lease", "waits for the lease")
    status.block("bus", "is not connected")
    status.block("bus", "is still not connected")
    assert status.reasons == ["waits for the lease", "is still not connected"]
    status.unblock("lease")
    assert not status.ready
    status.unblock("bus")
    status.unblock("bus")
    assert status.ready
    assert told == [False, True]


def test_the_answer_has_figures_memory_and_environment() -> None:
    telemetry.count("orders.sent", 3)
    answer = ServiceStatus(ServiceSettings(service="kernel", instance="one", environment="live")).answer()
    assert (answer.service, answer.instance, answer.environment) == ("kernel", "one", "live")
    assert answer.figures["orders.sent"] == 3
    assert answer.resident_bytes > 1 << 20
    assert answer.started_at_ns > 0
