"""What open orders, completed orders and executions together say of one order in doubt.

    what was heard                                          verdict
    it is at work, filled, in part or whole, or canceled    FOUND: what became of it comes as facts
    it was refused and never worked                         REJECTED
    nothing, and a question of ours failed or is open       UNKNOWN: no answer is never "empty"
    nothing, all answered, within the grace time            UNKNOWN: it may be on its way
    nothing, all answered, afterwards                       ABSENT, which at this venue proves nothing
    nothing, all answered, and "duplicate order id"         REJECTED: the venue refused that very message

Nothing here leads to sending it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.common.v1 import common_pb2
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.core.submission import AskResult, Presence
from kestrel_venue_gateway.ibkr.core import errors
from kestrel_venue_gateway.ibkr.core.orders import Life, Order

_DUPLICATE = f"IBKR_{errors.DUPLICATE_ORDER_ID}"


@dataclass(frozen=True, slots=True)
class Answered:
    """How the last round of questions went. ``begun_at_ns`` is when its first question left."""

    begun_at_ns: int
    is_complete: bool


@dataclass(slots=True)
class FeeQuestions:
    """When to ask for executions again because fees are missing.

    A fee is told to the connection of its moment, which may be gone, and to who asks for executions: 5, 10, 20 ...
    seconds after the last answer, up to the audit's pause, in which everything is asked for anyway.
    """

    first_pause_ns: int = 5 * SECOND_NS
    pause_ns_max: int = 300 * SECOND_NS
    _pause_ns: int = 0

    def is_due(self, *, is_missing: bool, asked_at_ns: int, now_ns: int) -> bool:
        """Whether to ask now, everything having been asked last at ``asked_at_ns``."""
        if not is_missing:
            self._pause_ns = 0
            return False
        pause_ns = self._pause_ns or self.first_pause_ns
        if now_ns - asked_at_ns <= pause_ns:
            return False
        self._pause_ns = min(self.pause_ns_max, 2 * pause_ns)
        return True


def verdict(
    order: Order | None,
    answered: Answered | None,
    *,
    asked_at_ns: int,
    first_asked_at_ns: int,
    grace_ns: int,
    now_ns: int,
) -> AskResult:
    """The answer to "what became of it?", asked now, and for the first time at ``first_asked_at_ns``.

    Only a round of questions that began after this one was asked says that an order is nowhere.
    """
    if order is not None:
        known = evidence(order)
        if known is not None:
            return known
    if answered is None or not answered.is_complete or answered.begun_at_ns < asked_at_ns:
        return _unknown("the venue has not answered for its open orders, completed orders and executions")
    refusal = order.refusal if order is not None else None
    if refusal is not None and refusal.reason == _DUPLICATE:
        return AskResult(Presence.REJECTED, reason=refusal)
    if refusal is not None:
        return AskResult(Presence.UNKNOWN, reason=refusal)
    if now_ns - first_asked_at_ns < grace_ns:
        return _unknown("nothing is known of the order yet, and it may be on its way")
    message = "the order is in none of the venue's lists; with this venue that is no proof that it never was"
    return AskResult(
        Presence.ABSENT,
        reason=common_pb2.Refusal(reason="IBKR_NOWHERE", field="client_order_id", message=message),
    )


def evidence(order: Order) -> AskResult | None:
    """What was heard of an order, if it decides anything."""
    if order.life is Life.REJECTED and not order.lots:
        return AskResult(Presence.REJECTED, order.venue_order_id, order.refusal)
    if order.life is not Life.SENT or order.lots or order.is_ending:
        return AskResult(Presence.FOUND, order.venue_order_id)
    return None


def _unknown(message: str) -> AskResult:
    return AskResult(Presence.UNKNOWN, reason=common_pb2.Refusal(reason="IBKR_UNANSWERED", message=message))
