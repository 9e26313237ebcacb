"""Beads and alerts of governance. Their ids follow from what they are about: said twice, they are one."""

from __future__ import annotations

from collections.abc import Iterable

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.identifiers import derived_id
from kestrel_governance.core import reasons

SERVICE = "governance"


def alert(
    reason: str,
    message: str,
    subject_id: str,
    account: str,
    now_ns: int,
    *,
    cause: str = "",
    severity: common_pb2.Severity.ValueType | None = None,
    details: Iterable[common_pb2.Refusal] = (),
) -> Publish:
    """Somebody should know; as severe as the reason's table says unless the case is worse.

    One reason about one subject is one alert; ``cause`` tells apart several of them.
    """
    identity = (reason, subject_id, cause) if cause else (reason, subject_id)
    return effects.alert(
        audit_pb2.Alert(
            alert_id=derived_id("governance-alert", *identity),
            severity=severity or reasons.of(reason).severity,
            service=SERVICE,
            reason=reason,
            account=account,
            message=message,
            raised_at_ns=now_ns,
            subject_id=subject_id,
            details=details,
        )
    )


def mandate(granted: authority_pb2.Mandate, step: str, actor: common_pb2.Actor, now_ns: int) -> Publish:
    """A mandate as granted, or as revoked."""
    return effects.bead(
        audit_pb2.Bead(
            bead_id=derived_id("mandate", step, granted.mandate_id),
            account=granted.account,
            created_at_ns=now_ns,
            actor=actor,
            mandate=granted,
        )
    )


def operator_action(
    action: str,
    target: str,
    reason: str,
    refusal: common_pb2.Refusal | None,
    actor: common_pb2.Actor,
    request: str,
    now_ns: int,
) -> Publish:
    """What a person asked for, whether it was granted or not (P09)."""
    return effects.bead(
        audit_pb2.Bead(
            bead_id=derived_id("operator", actor.id, action, target, request),
            account=subjects.NO_ACCOUNT,
            created_at_ns=now_ns,
            actor=actor,
            operator=audit_pb2.OperatorAction(
                action=action, target=target, reason=reason, granted=refusal is None, refusal=refusal
            ),
        )
    )
