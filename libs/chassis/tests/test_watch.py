"""Streams that go away and servers that stay behind are noticed without any advisory, and told once."""

from __future__ import annotations

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.status import ServiceStatus
from kestrel_chassis.streams import Sight
from kestrel_chassis.watch import REPLICA_BEHIND, STREAM_DELETED, StreamWatch
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError
from kestrel_testkit.fixtures import eventually
from kestrel_testkit.servers import NatsCluster

pytestmark = pytest.mark.integration


def a_status() -> ServiceStatus:
    return ServiceStatus(ServiceSettings(service="kernel"))


async def stored(bus: Bus) -> list[audit_pb2.Alert]:
    return [audit_pb2.Alert.FromString(message.data) async for message in bus.read("ALERTS")]


async def told(bus: Bus) -> list[tuple[str, str]]:
    found = await stored(bus)
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
    monkeypatch.undo()
    await streams.provision(bus)
    await watch.look(status)
    assert await told(bus) == [(STREAM_DELETED, "ALERTS")]


async def test_no_answer_is_no_deletion(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kestrel_chassis.watch._LOOK_TIMEOUT_S", 0.3)
    status, watch = a_status(), StreamWatch(bus, "kernel", await streams.compare(bus))
    await bus.close()
    await watch.look(status)
    assert status.ready


async def test_a_server_that_stays_behind_is_told_once_an_hour_by_all_services_together(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await streams.compare(bus)
    behind: set[str] = set()
    clock_s = 1_000_000.0

    async def seen(bus: Bus, name: str, *, timeout_s: float = 5.0) -> Sight:
        return Sight(made[name], frozenset(behind))

    monkeypatch.setattr(streams, "sight", seen)
    services = [
        (StreamWatch(bus, name, made, monotonic_s=lambda: clock_s, time_s=lambda: clock_s), a_status())
        for name in ("kernel", "policy")
    ]

    async def look_for(seconds: int) -> list[tuple[str, str]]:
        nonlocal clock_s
        for _ in range(seconds // 10):
            for watch, status in services:
                await watch.look(status)
                assert status.ready, "two of three are enough to go on with"
            clock_s += 10
        return [(alert.reason, alert.subject_id) for alert in await stored(bus)]

    behind.add("nats-1")
    assert await look_for(50) == []
    behind.clear()
    assert await look_for(20) == [], "it was restarted, and is current again"
    behind.add("nats-1")
    assert await look_for(60) == []
    assert await look_for(60) == [(REPLICA_BEHIND, "nats-1")]
    assert len(await look_for(3600)) == 2


async def test_a_server_that_is_away_is_behind_and_comes_back(nats_cluster: NatsCluster, cluster_bus: Bus) -> None:
    async def behind_count() -> int | None:
        """None while nobody can say."""
        try:
            found = await streams.sight(cluster_bus, "JOURNAL_0")
        except KestrelError:  # an election
            return None
        return None if found is None else len(found.behind)

    async def none_behind() -> bool:
        return await behind_count() == 0

    async def one_behind() -> bool:
        return await behind_count() == 1

    await eventually(none_behind, "all are current", timeout_s=60)
    replicas = (await cluster_bus.api("STREAM.INFO.JOURNAL_0"))["cluster"]["replicas"]
    follower = nats_cluster.servers[int(replicas[0]["name"].removeprefix("node"))]
    follower.process.suspend()
    try:
        await cluster_bus.publish_until_stored(Publish("journal.0.PAPER-1", b"", "one"))
        await eventually(one_behind, "the one that is frozen is behind", timeout_s=60)
    finally:
        follower.process.resume()
    await eventually(none_behind, "it has caught up", timeout_s=60)
