"""The risk configuration (C01): one frozen value, refused as a whole when any part of it makes no sense."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number


@dataclass(frozen=True, slots=True)
class AccountRule:
    """An account intents may name: where it trades and in what currency."""

    account: str
    venue: str
    currency: str
    # The venue holds a trade's stop and target together with its entry, as one bracket.
    brackets: bool = True


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Every limit an entry is held to. Ratios are of equity unless their name says otherwise."""

    environment: common_pb2.Environment.ValueType
    accounts: Mapping[str, AccountRule]
    order_qty_min: Number
    order_qty_max: Number
    order_notional_max: Number
    order_notional_ratio_max: Number
    total_exposure_ratio_max: Number
    leverage_max: Number
    venue_leverage_max: int
    symbol_exposure_ratio_max: Number
    open_position_count_max: int
    duplicate_window_ns: int
    order_rate_count_max: int
    order_rate_window_ns: int
    stop_required: bool
    stop_distance_ratio_max: Number
    risk_per_trade_ratio_max: Number
    buying_power_buffer_ratio: Number
    price_collar_ratio_max: Number
    reference_deviation_ratio_max: Number
    warn_ratio: Number
    anchor_age_ns_max: int
    stale_kill_ns: int
    clock_skew_ns_max: int
    intent_lifetime_ns_max: int

    def __post_init__(self) -> None:
        one, zero = Number(1, 0), Number(0, 0)
        for name in _POSITIVE:
            _check(
                getattr(self, name) > (zero if isinstance(getattr(self, name), Number) else 0), self, name, "above 0"
            )
        for name in _NOT_NEGATIVE:
            _check(getattr(self, name) >= 0, self, name, "0 or more")
        for name in _SHARES:
            _check(getattr(self, name) <= one, self, name, "at most 1")
        _check(zero <= self.buying_power_buffer_ratio < one, self, "buying_power_buffer_ratio", "0 or more, below 1")
        _check(bool(self.accounts), self, "accounts", "at least one account")
        _check(self.order_qty_min <= self.order_qty_max, self, "order_qty_min", "at most order_qty_max")
        total = self.total_exposure_ratio_max
        _check(self.risk_per_trade_ratio_max <= total, self, "risk_per_trade_ratio_max", "at most total exposure")
        _check(self.order_notional_ratio_max <= total, self, "order_notional_ratio_max", "at most total exposure")
        _check(self.symbol_exposure_ratio_max <= total, self, "symbol_exposure_ratio_max", "at most total exposure")
        _check(total <= self.leverage_max, self, "total_exposure_ratio_max", "at most leverage_max")
        live = self.environment == common_pb2.ENVIRONMENT_LIVE
        _check(self.environment != common_pb2.ENVIRONMENT_UNSPECIFIED, self, "environment", "paper or live")
        _check(self.stop_required or not live, self, "stop_required", "must be true where real money moves")

    @property
    def sha256(self) -> bytes:
        """Identity of the configuration: part of all evidence, so a changed limit asks for a fresh look."""
        text = "\n".join(f"{field.name}={_text(getattr(self, field.name))}" for field in fields(self))
        return hashlib.sha256(text.encode()).digest()


_POSITIVE = (
    "order_qty_min",
    "order_notional_max",
    "order_notional_ratio_max",
    "total_exposure_ratio_max",
    "leverage_max",
    "venue_leverage_max",
    "symbol_exposure_ratio_max",
    "open_position_count_max",
    "order_rate_count_max",
    "order_rate_window_ns",
    "stop_distance_ratio_max",
    "risk_per_trade_ratio_max",
    "price_collar_ratio_max",
    "reference_deviation_ratio_max",
    "warn_ratio",
    "anchor_age_ns_max",
    "stale_kill_ns",
    "intent_lifetime_ns_max",
)
_NOT_NEGATIVE = ("duplicate_window_ns", "clock_skew_ns_max")
_SHARES = (
    "stop_distance_ratio_max",
    "risk_per_trade_ratio_max",
    "price_collar_ratio_max",
    "reference_deviation_ratio_max",
    "warn_ratio",
)


def _check(holds: bool, limits: RiskLimits, name: str, rule: str) -> None:
    if not holds:
        raise InvalidRequest.of(f"risk.{name}", _text(getattr(limits, name)), rule, reason="INVALID_RISK_CONFIGURATION")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(_rule_text(value[key]) for key in sorted(value))
    return str(value)


def _rule_text(rule: AccountRule) -> str:
    text = f"{rule.account}:{rule.venue}:{rule.currency}"
    return text if rule.brackets else f"{text}:without-brackets"
