"""The policy's settings: section ``policy`` of the settings file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.identifiers import checked_id, checked_symbol
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_policy.core.parameters import Momentum, Plan, Sizing


class MomentumSettings(BaseModel):
    """How trends are read. Days are bars; multiples are of the average true range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fast_days: int = Field(default=20, ge=2, le=250)
    slow_days: int = Field(default=60, ge=3, le=500)
    volatility_days: int = Field(default=60, ge=5, le=500)
    range_days: int = Field(default=14, ge=1, le=250)
    entry_score: float = Field(default=0.5, ge=0)
    exit_score: float = 0.0
    full_score: float = Field(default=2.0, gt=0)
    long_only: bool = False
    stop_range_multiple: str = "3.0"
    target_range_multiple: str = "6.0"
    holding_days_max: int = Field(default=60, ge=0)

    @field_validator("stop_range_multiple", "target_range_multiple")
    @classmethod
    def _multiple(cls, value: str) -> str:
        if Number.parse(value, scale=3).units < 0:
            raise ValueError("0 or more")
        return value

    @model_validator(mode="after")
    def _sound(self) -> MomentumSettings:
        if self.fast_days >= self.slow_days:
            raise ValueError("fast_days must be below slow_days")
        if self.exit_score >= self.entry_score:
            raise ValueError("exit_score must be below entry_score")
        if Number.parse(self.stop_range_multiple, scale=3).units == 0:
            raise ValueError("stop_range_multiple must be above 0: every trade has a stop")
        return self

    def parameters(self) -> Momentum:
        return Momentum(
            fast_days=self.fast_days,
            slow_days=self.slow_days,
            volatility_days=self.volatility_days,
            range_days=self.range_days,
            entry_score=self.entry_score,
            exit_score=self.exit_score,
            full_score=self.full_score,
            long_only=self.long_only,
            stop_range_permille=Number.parse(self.stop_range_multiple, scale=3).units,
            target_range_permille=Number.parse(self.target_range_multiple, scale=3).units,
            holding_days_max=self.holding_days_max,
        )


class SizingSettings(BaseModel):
    """How much to take, in hundredths of a percent of the account's capital."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    risk_per_trade_bps: int = Field(default=50, ge=1, le=1000)
    position_bps_max: int = Field(default=1500, ge=1, le=100_000)
    gross_exposure_bps_max: int = Field(default=10_000, ge=1, le=100_000)

    def parameters(self) -> Sizing:
        return Sizing(self.risk_per_trade_bps, self.position_bps_max, self.gross_exposure_bps_max)


class PolicySettings(ServiceSettings):
    """One strategy on some accounts of one venue."""

    service: str = "policy"
    venue: str = "paper"
    accounts: list[str] = Field(default_factory=lambda: ["PAPER-1"], min_length=1)
    strategy: str = "momentum"
    manual_strategies: list[str] = Field(default_factory=lambda: ["manual"])
    # Empty: every symbol the venue sends bars of.
    symbols: list[str] = Field(default_factory=list)
    leverage: int = Field(default=1, ge=1, le=125)
    # Place stop and target at the venue, together with the entry; a stop that is held here dies with this process.
    bracket: bool = False
    momentum: MomentumSettings = MomentumSettings()
    sizing: SizingSettings = SizingSettings()
    intent_lifetime_s: int = Field(default=240, ge=1, le=86_400)
    manual_intent_lifetime_s: int = Field(default=900, ge=1, le=86_400)
    refusal_pause_days: int = Field(default=5, ge=0, le=365)
    """For how long, in the market's days, what was refused is not proposed again. Signals by hand do not wait."""
    bar_age_s_max: int = Field(default=60, ge=1, le=86_400)

    @model_validator(mode="after")
    def _named(self) -> PolicySettings:
        for account in self.accounts:
            checked_id("accounts", account)
        for name in (self.venue, self.strategy, *self.manual_strategies):
            checked_id("strategy", name)
        for symbol in self.symbols:
            checked_symbol("symbols", symbol)
        if self.strategy in self.manual_strategies:
            raise ValueError(
                "manual_strategies must not contain strategy: a mandate for it would cover signals by hand"
            )
        return self

    def plans(self) -> tuple[Plan, ...]:
        return tuple(
            Plan(
                account=account,
                venue=self.venue,
                environment=self.environment_value,
                strategy=self.strategy,
                symbols=frozenset(self.symbols),
                manual_strategies=frozenset(self.manual_strategies),
                momentum=self.momentum.parameters(),
                sizing=self.sizing.parameters(),
                leverage=self.leverage,
                bracket=self.bracket,
                intent_lifetime_ns=self.intent_lifetime_s * SECOND_NS,
                manual_intent_lifetime_ns=self.manual_intent_lifetime_s * SECOND_NS,
                refusal_pause_days=self.refusal_pause_days,
                bar_age_ns_max=self.bar_age_s_max * SECOND_NS,
            )
            for account in dict.fromkeys(self.accounts)
        )
