"""Streams that go away are noticed without any advisory, and told once."""

from __future__ import annotations

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.status import ServiceStatus
from kestrel_chassis.watch import STREAM_DELETED, StreamWatch

pytestmark = pytest.mark.integration


def a_status() -> ServiceStatus:
    return ServiceStatus(ServiceSettings(service="kernel"))


async def told(bus: Bus) -> list[tuple[str, str]]:
    found = [audit_pb2.Alert.FromString(message.data) async for message in bus.read("ALERTS")]
    assert all(alert.severity == common_pb2.SEVERITY_CRITICAL for alert in found)
    return [(alert.reason, alert.subject_id) for alert in found]


async def test_streams_that_are_all_there_are_nothing_to_tell(bus: Bus) -> None:
    status, watch = a_status(), StreamWatch(bus, "kernel", await streams.compare(bus))
    await watch.look(status)
    assert status.ready
    assert await told(bus) == []


async def test_a_deleted_stream_is_one_alert_of_all_services_and_none_is_ready_until_it_is_back(bus: Bus) -> None:
    made = await streams.compare(bus)
    services = [(StreamWatch(bus, name, made), a_status()) for name in ("kernel", "policy")]
    await bus.api("STREAM.DELETE.INBOX")
    for watch, status in services * 3:
        await watch.look(status)
        assert status.reasons == ["finds no stream INBOX: somebody deleted it"]
    assert await told(bus) == [(STREAM_DELETED, "INBOX")]
    await streams.provision(bus)
    for watch, status in services:
        await watch.look(status)
        assert status.ready
    assert len(await told(bus)) == 1


async def test_a_stream_that_was_made_anew_between_two_looks_is_told_and_its_next_deletion_again(bus: Bus) -> None:
    status, watch = a_status(), StreamWatch(bus, "kernel", await streams.compare(bus))
    for count in (1, 2):
        await bus.api("STREAM.DELETE.MARKET")
        await streams.provision(bus)
        await watch.look(status)
        assert await told(bus) == [(STREAM_DELETED, "MARKET")] * count
        assert status.ready


async def test_an_alert_waits_for_the_stream_of_alerts_when_that_is_the_one_that_went(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kestrel_chassis.watch._TELL_TIMEOUT_S", 0.3)
    status, watch = a_status(), StreamWatch(bus, "kernel", await streams.compare(bus))
    await bus.api("STREAM.DELETE.ALERTS")
    await watch.look(status)
    assert not status.ready
    await streams.provision(bus)
    await watch.look(status)
    assert await told(bus) == [(STREAM_DELETED, "ALERTS")]


async def test_no_answer_is_no_deletion(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kestrel_chassis.watch._LOOK_TIMEOUT_S", 0.3)
    status, watch = a_status(), StreamWatch(bus, "kernel", await streams.compare(bus))
    await bus.close()
    await watch.look(status)
    assert status.ready
