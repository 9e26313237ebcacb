"""An intent that a person types: what he left out is filled in from what is known, then it is checked as any is."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import derived_id
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_governance.core import authorization, structure
from kestrel_governance.core.books import AccountBook
from kestrel_governance.core.limits import RiskLimits

LIFETIME_NS = 15 * MINUTE_NS
"""How long a proposal waits for an approver unless it says otherwise."""

STRATEGY = "manual"
"""The strategy of what a person proposes without naming one."""


def completed(
    asked: intent_pb2.Intent,
    *,
    actor: common_pb2.Actor,
    book: AccountBook | None,
    limits: RiskLimits,
    now_ns: int,
    traceparent: str,
) -> Publish:
    """The intent for the INTENTS stream, proposed by ``actor``. Raises ``InvalidRequest`` naming all that is wrong."""
    intent = intent_pb2.Intent()
    intent.CopyFrom(asked)
    intent.proposer.CopyFrom(actor)
    intent.intent_id = intent.intent_id or derived_id("proposal", actor.id, now_ns)
    intent.attempt = intent.attempt or 1
    intent.strategy = intent.strategy or STRATEGY
    intent.leverage = intent.leverage or 1
    intent.environment = intent.environment or limits.environment
    rule = limits.accounts.get(intent.account)
    if rule is not None:
        intent.venue = intent.venue or rule.venue
        intent.instrument.currency = intent.instrument.currency or rule.currency
    intent.created_at_ns = now_ns
    intent.expires_at_ns = intent.expires_at_ns or now_ns + LIFETIME_NS
    if not intent.HasField("anchor") and book is not None:
        # A person decides on what the desk shows, and that is the account's state as journaled until now.
        digest = book.state_digest.hex() or derived_id("state", intent.account, book.as_of_ns)
        intent.anchor.CopyFrom(common_pb2.StateAnchor(hash=digest, as_of_ns=now_ns))
    if not intent.HasField("reference_price") and intent.HasField("price"):
        intent.reference_price.CopyFrom(intent.price)
    _check(intent, limits, now_ns)
    return effects.publish(
        subjects.intent(intent.account),
        intent,
        authorization.entry_message_id(intent.intent_id, intent.attempt),
        traceparent=traceparent,
    )


def _check(intent: intent_pb2.Intent, limits: RiskLimits, now_ns: int) -> None:
    structure.parse(intent.SerializeToString())
    found = structure.findings(intent, limits, now_ns=now_ns)
    if found:
        sentence = "; ".join(str(finding) for finding in found)
        first = found[0]
        raise InvalidRequest(sentence, reason="INVALID_INTENT", field=first.field, value=first.value, rule=first.rule)
