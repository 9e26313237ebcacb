"""What the server says about itself and nobody else would notice: given-up messages, deleted or changed streams."""

from __future__ import annotations

import json
from typing import Any

from kestrel_chassis import alerts, telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.watch import STREAM_DELETED, StreamWatch
from kestrel_domain.effects import Publish

_PREFIX = "$JS.EVENT.ADVISORY."
ADVISORIES = {
    "CONSUMER.MAX_DELIVERIES": ("MESSAGE_GIVEN_UP", alerts.CRITICAL, "delivered too often and given up"),
    "CONSUMER.MSG_TERMINATED": ("MESSAGE_TERMINATED", alerts.WARNING, "ended by its reader without being handled"),
    "STREAM.DELETED": (STREAM_DELETED, alerts.CRITICAL, "was deleted"),
    "STREAM.UPDATED": ("STREAM_CHANGED", alerts.CRITICAL, "was changed by somebody"),
}
_QUEUE = "advisories"


async def listen(bus: Bus, service: str, watch: StreamWatch) -> None:
    """Turn advisories into alerts. All services listen in one queue group, so each advisory is told once.

    The server may lose one. About a deleted stream nobody has to rely on it: ``watch`` looks for itself.
    """

    async def told(subject: str, data: bytes) -> None:
        effect = alert_of(service, subject, data, watch)
        if effect is not None:
            await bus.publish_until_stored(effect)

    for kind in ADVISORIES:
        await bus.subscribe_core(f"{_PREFIX}{kind}.>", told, queue=_QUEUE)


def alert_of(service: str, subject: str, data: bytes, watch: StreamWatch) -> Publish | None:
    """The alert for one advisory; None for those that are not for people."""
    kind = ".".join(subject.removeprefix(_PREFIX).split(".")[:2])
    if kind not in ADVISORIES:
        return None
    reason, severity, what = ADVISORIES[kind]
    advisory = _parsed(data)
    stream, consumer = str(advisory.get("stream", "")), str(advisory.get("consumer", ""))
    sequence = advisory.get("stream_seq", 0)
    telemetry.count("advisories.received")
    if reason == STREAM_DELETED and watch.watches(stream):
        return watch.deleted(stream)
    where = f"{stream} {sequence} for consumer {consumer}" if consumer else f"stream {stream}"
    return alerts.alert(
        service,
        reason,
        f"{where} {what}",
        severity=severity,
        cause=(str(advisory.get("id") or subject),),
        subject_id=f"{stream}:{sequence}" if sequence else stream,
    )


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        advisory = json.loads(data)
    except ValueError:
        return {}
    return advisory if isinstance(advisory, dict) else {}
