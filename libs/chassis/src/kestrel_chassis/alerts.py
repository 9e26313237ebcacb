"""Alerts from a shell: somebody should know."""

from __future__ import annotations

import time

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_domain import effects
from kestrel_domain.identifiers import derived_id

WARNING = common_pb2.SEVERITY_WARNING
CRITICAL = common_pb2.SEVERITY_CRITICAL


def alert(
    service: str,
    reason: str,
    message: str,
    *,
    cause: tuple[str | int, ...],
    severity: common_pb2.Severity.ValueType = WARNING,
    account: str = "",
    subject_id: str = "",
    details: tuple[common_pb2.Refusal, ...] = (),
    of_all_services: bool = False,
) -> effects.Publish:
    """One alert, ready to publish. Its id follows from service, reason and ``cause``: said twice, it is one.

    ``of_all_services``: whichever service says it, it is the same alert; the id does not follow from the service.
    """
    telemetry.count("alerts.raised")
    telemetry.logger().warning("alert.raised", reason=reason, message=message, subject_id=subject_id)
    return effects.alert(
        audit_pb2.Alert(
            alert_id=derived_id("alert", "" if of_all_services else service, reason, *cause),
            severity=severity,
            service=service,
            reason=reason,
            account=account,
            message=message,
            raised_at_ns=time.time_ns(),
            subject_id=subject_id,
            details=details,
        ),
        traceparent=telemetry.current_traceparent(),
    )
