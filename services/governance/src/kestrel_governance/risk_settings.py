"""The `risk` section of governance's settings: text and integers in, one checked ``RiskLimits`` out (C01).

On paper every value has a default that suits a laptop. Where real money moves nothing is assumed: each value has to
be stated. Numbers are written as text ("0.05") or as integers; a float is refused, since it is not what was typed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS, SECOND_NS
from kestrel_governance.core.limits import AccountRule, RiskLimits


def _exact(value: object) -> str:
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError(f'{value!r}: write the number in quotes, such as "{value}"')
    Number.parse(str(value))
    return str(value).strip()


Exact = Annotated[str, BeforeValidator(_exact)]
"""A decimal number as text, kept exactly as written."""


class AccountSettings(BaseModel):
    """An account that intents may name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: str
    venue: str
    currency: str
    brackets: bool = True  # false where the venue cannot hold a stop and a target together with their entry


class RiskSettings(BaseModel):
    """Every limit. Ratios are shares of the account's equity unless the comment says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order_qty_min: Exact = "1"
    order_qty_max: Exact = "1000000"
    order_notional_max: Exact = "200000"  # in the account's currency
    order_notional_ratio_max: Exact = "0.20"
    total_exposure_ratio_max: Exact = "0.90"
    leverage_max: Exact = "2"
    venue_leverage_max: int = 3
    symbol_exposure_ratio_max: Exact = "0.25"
    open_position_count_max: int = 10
    duplicate_window_ms: int = 1000
    order_rate_count_max: int = 20  # entries of one account in the window
    order_rate_window_ms: int = 1000
    stop_required: bool = True
    stop_distance_ratio_max: Exact = "0.25"  # of the reference price
    risk_per_trade_ratio_max: Exact = "0.02"
    buying_power_buffer_ratio: Exact = "0.02"  # of what is available
    price_collar_ratio_max: Exact = "0.05"  # of the reference price
    reference_deviation_ratio_max: Exact = "0.20"  # of the market's last price
    warn_ratio: Exact = "0.8"  # of each limit
    anchor_age_s_max: int = 900
    stale_kill_s: int = 300
    clock_skew_ms_max: int = 5000
    intent_lifetime_s_max: int = 86_400

    def limits(
        self,
        environment: common_pb2.Environment.ValueType,
        accounts: list[AccountSettings] | tuple[AccountSettings, ...],
    ) -> RiskLimits:
        """Checked as a whole. Raises ``InvalidRequest`` that names the key, the value and the rule."""
        unstated = sorted(set(type(self).model_fields) - self.model_fields_set)
        if environment == common_pb2.ENVIRONMENT_LIVE and unstated:
            rule = "every limit has to be stated where real money moves"
            raise InvalidRequest.of("risk", ", ".join(unstated), rule, reason="INVALID_RISK_CONFIGURATION")
        return RiskLimits(
            environment=environment,
            accounts=_rules(accounts),
            order_qty_min=Number.parse(self.order_qty_min),
            order_qty_max=Number.parse(self.order_qty_max),
            order_notional_max=Number.parse(self.order_notional_max),
            order_notional_ratio_max=Number.parse(self.order_notional_ratio_max),
            total_exposure_ratio_max=Number.parse(self.total_exposure_ratio_max),
            leverage_max=Number.parse(self.leverage_max),
            venue_leverage_max=self.venue_leverage_max,
            symbol_exposure_ratio_max=Number.parse(self.symbol_exposure_ratio_max),
            open_position_count_max=self.open_position_count_max,
            duplicate_window_ns=self.duplicate_window_ms * MILLISECOND_NS,
            order_rate_count_max=self.order_rate_count_max,
            order_rate_window_ns=self.order_rate_window_ms * MILLISECOND_NS,
            stop_required=self.stop_required,
            stop_distance_ratio_max=Number.parse(self.stop_distance_ratio_max),
            risk_per_trade_ratio_max=Number.parse(self.risk_per_trade_ratio_max),
            buying_power_buffer_ratio=Number.parse(self.buying_power_buffer_ratio),
            price_collar_ratio_max=Number.parse(self.price_collar_ratio_max),
            reference_deviation_ratio_max=Number.parse(self.reference_deviation_ratio_max),
            warn_ratio=Number.parse(self.warn_ratio),
            anchor_age_ns_max=self.anchor_age_s_max * SECOND_NS,
            stale_kill_ns=self.stale_kill_s * SECOND_NS,
            clock_skew_ns_max=self.clock_skew_ms_max * MILLISECOND_NS,
            intent_lifetime_ns_max=self.intent_lifetime_s_max * SECOND_NS,
        )


LAPTOP_ACCOUNTS = (AccountSettings(account="PAPER-1", venue="paper", currency="USD"),)


def _rules(accounts: list[AccountSettings] | tuple[AccountSettings, ...]) -> dict[str, AccountRule]:
    rules: dict[str, AccountRule] = {}
    for one in accounts:
        checked_id("accounts.account", one.account)
        checked_id("accounts.venue", one.venue)
        if one.account in rules:
            raise InvalidRequest.of("accounts.account", one.account, "each account once")
        rules[one.account] = AccountRule(one.account, one.venue, one.currency, one.brackets)
    return rules
