"""Mandates: a person's standing approval with limits. Under one, governance authorizes without asking again.

A mandate covers what a strategy proposes, never what an operator typed: that waits for a second person.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, checked_symbol
from kestrel_governance.core import money
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.core.money import Exact

_NEARLY_USED = Exact(4, 5)


@dataclass(slots=True)
class MandateRecord:
    """A mandate and what was used of it. What was authorized stays used, whatever became of the order."""

    mandate: authority_pb2.Mandate
    order_count: int = 0
    total_notional: Exact = money.ZERO

    def state(self, now_ns: int) -> str:
        """ACTIVE, or the first reason why it is not."""
        mandate = self.mandate
        if mandate.revoked_at_ns:
            return "REVOKED"
        if now_ns >= mandate.expires_at_ns:
            return "EXPIRED"
        if now_ns < mandate.not_before_ns:
            return "NOT_YET"
        if mandate.max_order_count and self.order_count >= mandate.max_order_count:
            return "USED_UP"
        total = _limit(mandate, "max_total_notional")
        if total is not None and self.total_notional >= total:
            return "USED_UP"
        return "ACTIVE"

    def objection(self, intent: intent_pb2.Intent, notional: Exact, now_ns: int) -> str:
        """Why it does not cover this intent; empty when it does."""
        mandate, symbol = self.mandate, intent.instrument.symbol
        total = _limit(mandate, "max_total_notional")
        most = _limit(mandate, "max_order_notional")
        if (state := self.state(now_ns)) != "ACTIVE":
            return f"it is {state.lower().replace('_', ' ')}"
        if mandate.environment != intent.environment:
            return "it is for another environment"
        if mandate.symbols and symbol not in mandate.symbols:
            return f"it does not name {symbol}"
        if most is None or notional > most:
            return f"notional {money.text(notional)} is above its {money.text(most or 0)} for one order"
        if total is not None and self.total_notional + notional > total:
            return f"notional {money.text(notional)} is above what is left of its total {money.text(total)}"
        return ""

    def nearly_used(self) -> bool:
        """Four fifths of its count or of its total are gone."""
        count, total = self.mandate.max_order_count, _limit(self.mandate, "max_total_notional")
        by_count = bool(count) and self.order_count >= _NEARLY_USED * count
        return by_count or (total is not None and self.total_notional >= _NEARLY_USED * total)


def covering(
    mandates: dict[str, MandateRecord], intent: intent_pb2.Intent, notional: Exact, now_ns: int
) -> tuple[MandateRecord | None, str]:
    """The covering mandate that ends first, or None and a sentence that says why there is none."""
    if intent.proposer.kind == "operator":
        return None, "proposed by a person: a second person decides"
    meant = [
        record
        for record in mandates.values()
        if (record.mandate.strategy, record.mandate.account) == (intent.strategy, intent.account)
    ]
    meant.sort(key=lambda record: (record.mandate.expires_at_ns, record.mandate.mandate_id))
    objections = []
    for record in meant:
        objection = record.objection(intent, notional, now_ns)
        if not objection:
            return record, ""
        objections.append(f"mandate {record.mandate.mandate_id}: {objection}")
    return None, "; ".join(objections[:3]) or f"strategy {intent.strategy} has no mandate on {intent.account}"


def checked(mandate: authority_pb2.Mandate, limits: RiskLimits, now_ns: int) -> authority_pb2.Mandate:
    """Raises ``InvalidRequest`` for a mandate that could never be used, or has no bound where it needs one."""
    checked_id("mandate.mandate_id", mandate.mandate_id)
    checked_id("mandate.strategy", mandate.strategy)
    if mandate.account not in limits.accounts:
        raise InvalidRequest.of("mandate.account", mandate.account, "one of " + ", ".join(sorted(limits.accounts)))
    for symbol in mandate.symbols:
        checked_symbol("mandate.symbols", symbol)
    if len(set(mandate.symbols)) != len(mandate.symbols):
        raise InvalidRequest.of("mandate.symbols", ",".join(mandate.symbols), "each symbol once")
    if mandate.environment != limits.environment:
        name = common_pb2.Environment.Name(limits.environment)
        raise InvalidRequest.of("mandate.environment", mandate.environment, f"{name}, the platform's own")
    _positive(mandate, "max_order_notional", required=True)
    _positive(mandate, "max_total_notional", required=False)
    if mandate.expires_at_ns <= max(now_ns, mandate.not_before_ns):
        raise InvalidRequest.of("mandate.expires_at_ns", mandate.expires_at_ns, "after now and after not_before_ns")
    return mandate


def _positive(mandate: authority_pb2.Mandate, name: str, *, required: bool) -> None:
    field = f"mandate.{name}"
    if not mandate.HasField(name):  # type: ignore[arg-type]  # the stubs want literals
        if required:
            raise InvalidRequest.of(field, "", "is required: a mandate without it has no bound")
        return
    number = money.read(getattr(mandate, name), field)
    if number.units <= 0:
        raise InvalidRequest.of(field, number, "above 0")


def _limit(mandate: authority_pb2.Mandate, name: str) -> Exact | None:
    if not mandate.HasField(name):  # type: ignore[arg-type]
        return None
    return money.of(getattr(mandate, name))
