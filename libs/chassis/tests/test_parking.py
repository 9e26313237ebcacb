"""The parking lane keeps everything, once, and tells somebody."""

from __future__ import annotations

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.parking import BODY_BYTES_MAX, ParkingLane, parked_message
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest

ERROR = InvalidRequest.of("quantity", "-1", "above 0")
MESSAGE = StoredMessage("INBOX", "inbox.0.A.exit", 7, 1, b"body", {"b": "2", "a": "1"}, delivery_count=3)


def test_a_parked_message_has_all_that_is_needed_to_put_it_back() -> None:
    parked = parked_message("kernel", MESSAGE, ERROR, now_ns=5)
    assert (parked.stream, parked.sequence, parked.subject, parked.body) == ("INBOX", 7, "inbox.0.A.exit", b"body")
    assert [(header.name, header.value) for header in parked.headers] == [("a", "1"), ("b", "2")]
    assert (parked.reason.field, parked.reason.value, parked.reason.rule) == ("quantity", "-1", "above 0")
    assert (parked.delivery_count, parked.parked_at_ns) == (3, 5)
    assert parked.parked_id == parked_message("kernel", MESSAGE, ERROR, now_ns=6).parked_id


def test_a_body_that_does_not_fit_stays_in_its_stream() -> None:
    large = StoredMessage("INBOX", "inbox.0.A.exit", 7, 1, b"x" * (BODY_BYTES_MAX + 1))
    parked = parked_message("kernel", large, ERROR, now_ns=5)
    assert parked.body == b""
    assert "is only in INBOX" in parked.reason.message


@pytest.mark.integration
async def test_parking_twice_is_parking_once_and_raises_one_alert(bus: Bus) -> None:
    await bus.publish(Publish("inbox.0.A.exit", b"nonsense", "m1"))
    message = await bus.get_message("INBOX", 1)
    assert message is not None
    lane = ParkingLane(bus, "kernel")
    await lane.park(message, ERROR)
    await lane.park(message, ERROR)

    (parked,) = [m async for m in bus.read("PARKED")]
    (alert,) = [m async for m in bus.read("ALERTS")]
    assert parked.subject == "parked.kernel"
    assert audit_pb2.ParkedMessage.FromString(parked.data).body == b"nonsense"
    told = audit_pb2.Alert.FromString(alert.data)
    assert (told.reason, told.subject_id, alert.subject) == ("MESSAGE_PARKED", "INBOX:1", "alert.warning.kernel")
