"""What cores ask their shells to do. A core returns these; a shell, or the simulation, performs them."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_domain import subjects


@dataclass(frozen=True, slots=True)
class Publish:
    """Store one message in a stream. ``message_id`` follows from the cause: publishing twice stores once."""

    subject: str
    body: bytes
    message_id: str
    traceparent: str = ""


def publish(subject: str, message: Message, message_id: str, *, traceparent: str = "") -> Publish:
    return Publish(subject, message.SerializeToString(), message_id, traceparent)


def bead(bead: audit_pb2.Bead, *, traceparent: str = "") -> Publish:
    """A bead's subject names its kind, and its own id is its message id."""
    kind = bead.WhichOneof("body") or "unknown"
    return publish(subjects.bead(kind, bead.account), bead, bead.bead_id, traceparent=traceparent)


def alert(alert: audit_pb2.Alert, *, traceparent: str = "") -> Publish:
    severity = alert.severity or common_pb2.SEVERITY_WARNING
    return publish(subjects.alert(severity, alert.service), alert, alert.alert_id, traceparent=traceparent)
