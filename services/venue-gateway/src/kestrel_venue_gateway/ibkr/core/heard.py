"""What the venue said, message by message, in our own words: exact numbers, no library types, no guesses."""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number

SIDES = {
    "BUY": common_pb2.SIDE_BUY,
    "BOT": common_pb2.SIDE_BUY,
    "SELL": common_pb2.SIDE_SELL,
    "SSHORT": common_pb2.SIDE_SELL,
    "SLD": common_pb2.SIDE_SELL,
}


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """An order as the venue has it: openOrder. ``order_id`` is 0 or less for orders that were typed in by hand."""

    order_id: int
    client_id: int
    perm_id: int
    order_ref: str
    account: str
    symbol: str
    side: common_pb2.Side.ValueType
    order_qty: Number
    status: str
    is_preview: bool = False
    warning: str = ""


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """orderStatus. It names no reference, and may be late, doubled, or of before."""

    order_id: int
    client_id: int
    perm_id: int
    status: str
    filled: Number
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionSeen:
    """execDetails, live or asked for. ``time_ns`` is ``None`` when its text names no moment."""

    execution_id: str
    order_id: int
    client_id: int
    perm_id: int
    order_ref: str
    account: str
    symbol: str
    sec_type: str
    side: common_pb2.Side.ValueType
    qty: Number
    price: Number
    time_ns: int | None
    liquidity: int = 0
    con_id: int = 0
    currency: str = ""


@dataclass(frozen=True, slots=True)
class CommissionSeen:
    """commissionReport. ``fee`` is ``None`` while the venue does not know it: it writes -1, or nothing."""

    execution_id: str
    fee: Number | None
    currency: str


@dataclass(frozen=True, slots=True)
class CompletedSeen:
    """completedOrder: an order that is over. The venue tells neither its order id nor who sent it."""

    perm_id: int
    order_ref: str
    account: str
    symbol: str
    side: common_pb2.Side.ValueType
    order_qty: Number
    status: str
    filled: Number
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class ErrorSeen:
    """error: about a request or an order (``request_id``), or about the connection (-1)."""

    request_id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class PositionSeen:
    """position. ``average_cost`` contains commissions, and the multiplier: per contract."""

    account: str
    con_id: int
    symbol: str
    currency: str
    multiplier: Number
    qty: Number
    average_cost: Number


@dataclass(frozen=True, slots=True)
class AccountValueSeen:
    """updateAccountValue: a text under a key, per currency."""

    account: str
    key: str
    value: str
    currency: str


OrderMessage = OrderSeen | StatusSeen | ExecutionSeen | CommissionSeen | CompletedSeen | ErrorSeen
