"""What the server says about itself reaches people."""

from __future__ import annotations

import json

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import advisories, streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.watch import StreamWatch
from kestrel_domain.effects import Publish
from kestrel_testkit.fixtures import eventually

DELETED = "$JS.EVENT.ADVISORY.STREAM.DELETED."


def watch(bus: Bus | None = None, **created: str) -> StreamWatch:
    return StreamWatch(bus, "kernel", created)  # type: ignore[arg-type]  # only what looks needs a bus


def test_an_advisory_becomes_an_alert_with_an_id_of_its_own() -> None:
    data = json.dumps({"id": "abc", "stream": "INBOX", "consumer": "kernel-0", "stream_seq": 7}).encode()
    subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.INBOX.kernel-0"
    effect = advisories.alert_of("kernel", subject, data, watch())
    assert effect is not None
    alert = audit_pb2.Alert.FromString(effect.body)
    assert (alert.reason, alert.subject_id, alert.severity) == (
        "MESSAGE_GIVEN_UP",
        "INBOX:7",
        common_pb2.SEVERITY_CRITICAL,
    )
    again = advisories.alert_of("kernel", subject, data, watch())
    assert again is not None
    assert effect.message_id == again.message_id


def test_other_advisories_are_nobodys_business_and_bad_ones_are_told_all_the_same() -> None:
    assert advisories.alert_of("kernel", "$JS.EVENT.ADVISORY.CONSUMER.CREATED.X.y", b"{}", watch()) is None
    assert advisories.alert_of("kernel", f"{DELETED}X", b"\xff", watch()) is not None


def test_a_deletion_is_one_alert_whichever_service_hears_of_it_and_another_for_another_stream_of_the_name() -> None:
    def told_by(service: str, created: str, advisory: str) -> str:
        data = json.dumps({"id": advisory, "stream": "INBOX"}).encode()
        found = StreamWatch(None, service, {"INBOX": created})  # type: ignore[arg-type]
        effect = advisories.alert_of(service, f"{DELETED}INBOX", data, found)
        assert effect is not None
        return effect.message_id

    assert told_by("kernel", "monday", "1") == told_by("policy", "monday", "2")
    assert told_by("kernel", "monday", "1") != told_by("kernel", "tuesday", "1")


def test_deletions_of_a_stream_that_is_none_of_ours_are_told_each_by_its_advisory() -> None:
    ids = set()
    for advisory in ("1", "2"):
        effect = advisories.alert_of(
            "kernel", f"{DELETED}X", json.dumps({"id": advisory, "stream": "X"}).encode(), watch(INBOX="monday")
        )
        assert effect is not None
        ids.add(effect.message_id)
    assert len(ids) == 2


@pytest.mark.integration
async def test_a_message_that_is_given_up_and_a_changed_stream_raise_alerts(bus: Bus) -> None:
    await advisories.listen(bus, "kernel", watch(bus, **await streams.compare(bus)))
    await bus.client.flush()
    await bus.publish(Publish("inbox.0.A.exit", b"", "m1"))
    loop = PullLoop(bus, "INBOX", durable="reader", ack_wait_s=0.2, max_deliver=1)
    async for _ in loop.batches():
        break
    config = (await bus.api("STREAM.INFO.MARKET"))["config"]
    await bus.api("STREAM.UPDATE.MARKET", config | {"max_bytes": 1 << 24})

    async def told() -> set[str]:
        return {audit_pb2.Alert.FromString(m.data).reason async for m in bus.read("ALERTS")}

    async def both() -> bool:
        return {"MESSAGE_GIVEN_UP", "STREAM_CHANGED"} <= await told()

    await eventually(both, "both alerts are stored", timeout_s=60)
    await loop.stop()
