"""What a policy may be told. Checked where it is read (``config``); the core takes it as given."""

from __future__ import annotations

from dataclasses import dataclass, field

from kestrel.common.v1 import common_pb2


@dataclass(frozen=True, slots=True)
class Momentum:
    """How trends are read. Days are bars; thresholds are in standard deviations of the return over the same days."""

    fast_days: int = 20
    slow_days: int = 60
    volatility_days: int = 60
    range_days: int = 14
    entry_score: float = 0.5
    exit_score: float = 0.0
    # The score at which confidence is complete.
    full_score: float = 2.0
    long_only: bool = False
    stop_range_permille: int = 3000
    # 0: no target.
    target_range_permille: int = 6000
    # Calendar days; 0: no limit.
    holding_days_max: int = 60

    @property
    def warm_up_bars(self) -> int:
        """How many bars a reading needs."""
        return max(self.fast_days, self.slow_days, self.volatility_days, self.range_days) + 1


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much to take. Fractions of the account's capital, in hundredths of a percent."""

    risk_per_trade_bps: int = 50
    position_bps_max: int = 1500
    gross_exposure_bps_max: int = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One strategy on one account."""

    account: str = "PAPER-1"
    venue: str = "paper"
    environment: common_pb2.Environment.ValueType = common_pb2.ENVIRONMENT_PAPER
    strategy: str = "momentum"
    # Empty: every symbol the venue sends bars of.
    symbols: frozenset[str] = frozenset()
    # Signals by hand come under these names; such trades are watched over too, but for reversals.
    manual_strategies: frozenset[str] = frozenset({"manual"})
    momentum: Momentum = field(default_factory=Momentum)
    sizing: Sizing = field(default_factory=Sizing)
    leverage: int = 1
    # Stop and target are placed at the venue together with the entry. Else this strategy watches them, while it lives.
    bracket: bool = False
    intent_lifetime_ns: int = 240 * 1_000_000_000
    manual_intent_lifetime_ns: int = 900 * 1_000_000_000
    # Calendar days of the market for which a refused intent is not repeated; 0: the next bar may.
    refusal_pause_days: int = 5
    # A bar that reached us later than this opens nothing: its price is gone. It may still close.
    bar_age_ns_max: int = 60 * 1_000_000_000

    def trades(self, symbol: str) -> bool:
        return not self.symbols or symbol in self.symbols

    def watches(self, strategy: str) -> bool:
        return strategy == self.strategy or strategy in self.manual_strategies
