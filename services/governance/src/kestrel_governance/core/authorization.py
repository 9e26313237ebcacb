"""From a decision to a permission: token, exit warrant, AuthorizedIntent, and the beads that say so.

All of it follows from the intent's stored bytes, the decision and the signing key, and signing is deterministic. So
whoever finds the decision after a crash makes the same permission, under the same ids, to the byte.
"""

from __future__ import annotations

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.identifiers import derived_id, partition_of, token_id, warrant_id
from kestrel_domain.tokens import TOKEN_LIFETIME_NS, SigningKey, sign_token, sign_warrant


def decision_id(intent_id: str, attempt: int) -> str:
    """One attempt of one intent is decided once: every final verdict has this id, and the first stored one stands."""
    return derived_id("decision", intent_id, attempt)


def token_expires_at_ns(decision: authority_pb2.Decision, intent: intent_pb2.Intent) -> int:
    """Five minutes after the decision (T03), and never later than the intent itself."""
    return min(decision.decided_at_ns + TOKEN_LIFETIME_NS, intent.expires_at_ns)


def entry(
    stored: bytes,
    intent: intent_pb2.Intent,
    decision: authority_pb2.Decision,
    key: SigningKey,
    *,
    partitions: int,
    traceparent: str,
) -> Publish:
    """The AuthorizedIntent for the entry door. Decided twice, it arrives once: its id is intent id and attempt."""
    expires_at_ns = token_expires_at_ns(decision, intent)
    authorized = intent_pb2.AuthorizedIntent(
        intent=stored,
        token=sign_token(key, _token_claims(intent, decision, expires_at_ns)),
        exit_warrant=sign_warrant(key, _warrant_claims(intent, decision)),
        decision_id=decision.decision_id,
        expires_at_ns=expires_at_ns,
    )
    return effects.publish(
        subjects.inbox(partition_of(intent.account, partitions), intent.account, "entry"),
        inbox_pb2.InboxMessage(entry=authorized),
        entry_message_id(intent.intent_id, intent.attempt),
        traceparent=traceparent,
    )


def entry_message_id(intent_id: str, attempt: int) -> str:
    return f"{intent_id}-{attempt}"


def decision_bead(
    decision: authority_pb2.Decision, account: str, actor: common_pb2.Actor, *, traceparent: str
) -> Publish:
    """The decision as a bead. Waiting for a person is a bead of its own, since it is not the last word."""
    pending = decision.verdict == authority_pb2.VERDICT_PENDING
    bead = audit_pb2.Bead(
        bead_id=derived_id("pending", decision.intent_id, decision.attempt) if pending else decision.decision_id,
        account=account,
        created_at_ns=decision.decided_at_ns,
        actor=actor,
        decision=decision,
    )
    return effects.bead(bead, traceparent=traceparent)


def token_bead(
    kind: authority_pb2.TokenEventKind.ValueType,
    intent: intent_pb2.Intent,
    decision: authority_pb2.Decision,
    actor: common_pb2.Actor,
    *,
    now_ns: int,
    traceparent: str,
    reason: common_pb2.Refusal | None = None,
) -> Publish:
    """One step in the token's life (T04)."""
    token = token_id(intent.intent_id, intent.attempt)
    event = authority_pb2.TokenEvent(
        token_id=token,
        intent_id=intent.intent_id,
        kind=kind,
        reason=reason,
        evidence_sha256=decision.evidence_sha256,
        expires_at_ns=token_expires_at_ns(decision, intent),
    )
    bead = audit_pb2.Bead(
        bead_id=derived_id("token-event", token, authority_pb2.TokenEventKind.Name(kind)),
        account=intent.account,
        created_at_ns=now_ns,
        actor=actor,
        token=event,
    )
    return effects.bead(bead, traceparent=traceparent)


def _token_claims(
    intent: intent_pb2.Intent, decision: authority_pb2.Decision, expires_at_ns: int
) -> authority_pb2.TokenClaims:
    return authority_pb2.TokenClaims(
        token_id=token_id(intent.intent_id, intent.attempt),
        intent_id=intent.intent_id,
        attempt=intent.attempt,
        intent_sha256=decision.intent_sha256,
        evidence_sha256=decision.evidence_sha256,
        anchor=intent.anchor,
        account=intent.account,
        venue=intent.venue,
        environment=intent.environment,
        approver="" if decision.mandate_id else decision.decided_by.id,
        mandate_id=decision.mandate_id,
        issued_at_ns=decision.decided_at_ns,
        expires_at_ns=expires_at_ns,
    )


def _warrant_claims(intent: intent_pb2.Intent, decision: authority_pb2.Decision) -> authority_pb2.WarrantClaims:
    buying = intent.side == common_pb2.SIDE_BUY
    return authority_pb2.WarrantClaims(
        warrant_id=warrant_id(intent.intent_id),
        trade_id=intent.intent_id,
        account=intent.account,
        venue=intent.venue,
        symbol=intent.instrument.symbol,
        side=common_pb2.SIDE_SELL if buying else common_pb2.SIDE_BUY,
        order_qty=intent.order_qty,
        environment=intent.environment,
        issued_at_ns=decision.decided_at_ns,
    )
