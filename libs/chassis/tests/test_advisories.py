"""What the server says about itself reaches people."""

from __future__ import annotations

import json

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import advisories
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_domain.effects import Publish
from kestrel_testkit.fixtures import eventually


def test_an_advisory_becomes_an_alert_with_an_id_of_its_own() -> None:
    data = json.dumps({"id": "abc", "stream": "INBOX", "consumer": "kernel-0", "stream_seq": 7}).encode()
    subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.INBOX.kernel-0"
    effect = advisories.alert_of("kernel", subject, data)
    assert effect is not None
    alert = audit_pb2.Alert.FromString(effect.body)
    assert (alert.reason, alert.subject_id, alert.severity) == (
        "MESSAGE_GIVEN_UP",
        "INBOX:7",
        common_pb2.SEVERITY_CRITICAL,
    )
    again = advisories.alert_of("kernel", subject, data)
    assert again is not None
    assert effect.message_id == again.message_id


def test_other_advisories_are_nobodys_business_and_bad_ones_are_told_all_the_same() -> None:
    assert advisories.alert_of("kernel", "$JS.EVENT.ADVISORY.CONSUMER.CREATED.X.y", b"{}") is None
    assert advisories.alert_of("kernel", "$JS.EVENT.ADVISORY.STREAM.DELETED.X", b"\xff") is not None


@pytest.mark.integration
async def test_a_message_that_is_given_up_and_a_deleted_stream_raise_alerts(bus: Bus) -> None:
    await advisories.listen(bus, "kernel")
    await bus.client.flush()
    await bus.publish(Publish("inbox.0.A.exit", b"", "m1"))
    loop = PullLoop(bus, "INBOX", durable="reader", ack_wait_s=0.2, max_deliver=1)
    async for _ in loop.batches():
        break
    await bus.api("STREAM.DELETE.MARKET")

    async def told() -> set[str]:
        return {audit_pb2.Alert.FromString(m.data).reason async for m in bus.read("ALERTS")}

    async def both() -> bool:
        return {"MESSAGE_GIVEN_UP", "STREAM_DELETED"} <= await told()

    await eventually(both, "both alerts are stored")
    await loop.stop()
