"""The parking lane: where a message goes that cannot be parsed, placed or applied, so that those behind it can pass."""

from __future__ import annotations

import time

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import alerts, telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_domain import effects, subjects
from kestrel_domain.errors import KestrelError
from kestrel_domain.identifiers import derived_id

BODY_BYTES_MAX = 900_000
"""Longer bodies stay in their stream alone: the copy would not fit into one message."""


class ParkingLane:
    """The lane of one service."""

    def __init__(self, bus: Bus, service: str) -> None:
        self._bus = bus
        self._service = service

    async def park(self, message: StoredMessage, error: KestrelError) -> None:
        """Store a copy with the reason and raise an alert; returns when both are stored. Twice is once.

        The caller acknowledges the message afterwards.
        """
        parked = parked_message(self._service, message, error, now_ns=time.time_ns())
        telemetry.count("messages.parked")
        warning = alerts.alert(
            self._service,
            "MESSAGE_PARKED",
            f"{message.stream} {message.sequence} ({message.subject}): {error}",
            cause=(message.stream, message.sequence),
            subject_id=f"{message.stream}:{message.sequence}",
            details=(error.refusal(),),
        )
        lane = effects.publish(
            subjects.parked(self._service), parked, parked.parked_id, traceparent=message.traceparent
        )
        await self._bus.publish_all_until_stored([lane, warning])


def parked_message(
    service: str, message: StoredMessage, error: KestrelError, *, now_ns: int
) -> audit_pb2.ParkedMessage:
    """Everything needed to put the message back, under an id that follows from where it came from."""
    reason: common_pb2.Refusal = error.refusal()
    body = message.data
    if len(body) > BODY_BYTES_MAX:
        body = b""
        reason.message += f" (the body, {len(message.data)} bytes, is only in {message.stream})"
    return audit_pb2.ParkedMessage(
        parked_id=derived_id("parked", service, message.stream, message.sequence),
        service=service,
        stream=message.stream,
        sequence=message.sequence,
        subject=message.subject,
        body=body,
        headers=[audit_pb2.Header(name=name, value=value) for name, value in sorted(message.headers.items())],
        reason=reason,
        parked_at_ns=now_ns,
        delivery_count=message.delivery_count,
    )
