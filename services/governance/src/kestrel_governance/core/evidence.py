"""What an approver decides on, and its hash (T05).

The hash covers the intent's stored bytes, its notional, its risk at the stop, the risk configuration and the verdict
of every check. It leaves out figures that move by the second (ages, equity to the cent): an approval must not lapse
because a mark moved, and must lapse when any check's verdict did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel_domain.numbers import Number
from kestrel_governance.core import money
from kestrel_governance.core.money import Exact


def quantity(intent: intent_pb2.Intent) -> Exact:
    return money.of(intent.order_qty)


def worst_price(intent: intent_pb2.Intent, collar_ratio: Number) -> Exact:
    """The price the order is counted at, against us: its limit, or the reference plus the whole collar.

    A limit to sell may fill above itself, so it counts at the reference when that is higher.
    """
    reference = money.of(intent.reference_price)
    if intent.order_type == common_pb2.ORDER_TYPE_MARKET:
        return reference * (1 + money.exact(collar_ratio))
    limit = money.of(intent.price)
    return limit if intent.side == common_pb2.SIDE_BUY else max(limit, reference)


def notional(intent: intent_pb2.Intent, collar_ratio: Number) -> Exact:
    """Quantity × worst price × multiplier, in the instrument's currency."""
    return quantity(intent) * worst_price(intent, collar_ratio) * intent.instrument.multiplier


def risk_at_stop(intent: intent_pb2.Intent) -> Exact | None:
    """What the trade loses from its limit (or reference) price to its stop; None without a stop."""
    if not intent.HasField("stop_price"):
        return None
    entry = intent.price if intent.order_type == common_pb2.ORDER_TYPE_LIMIT else intent.reference_price
    distance = money.of(entry) - money.of(intent.stop_price)
    signed = distance if intent.side == common_pb2.SIDE_BUY else -distance
    return signed * quantity(intent) * intent.instrument.multiplier


@dataclass(frozen=True, slots=True)
class Amounts:
    """What an order is counted at and what it risks, as they are stored."""

    notional: Number
    risk_at_stop: Number | None


def amounts(intent: intent_pb2.Intent, collar_ratio: Number) -> Amounts:
    """Raises ``InvalidRequest`` where one of them does not fit the wire."""
    counted, lost = notional(intent, collar_ratio), risk_at_stop(intent)
    return Amounts(money.amount(counted), None if lost is None else money.amount(lost))


def sha256(
    stored_intent_sha256: bytes,
    checks: Sequence[authority_pb2.RiskCheck],
    *,
    notional: Number,
    risk_at_stop: Number | None,
    limits_sha256: bytes,
) -> bytes:
    """The hash an approval carries. Length-prefixed, so that no two bundles share a text."""
    parts = [stored_intent_sha256, limits_sha256, money.text(notional).encode()]
    parts.append(money.text(risk_at_stop).encode() if risk_at_stop is not None else b"none")
    parts += [f"{check.reason}={check.verdict}".encode() for check in checks]
    sized = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return hashlib.sha256(b"kestrel/evidence/v1" + sized).digest()
