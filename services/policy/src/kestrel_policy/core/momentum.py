"""Reading a trend: two momentums scaled by volatility.

Statistics, so floats are allowed; the range that stops are made of is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kestrel.signal.v1 import signal_pb2
from kestrel_policy.core.history import Bar
from kestrel_policy.core.parameters import Momentum


@dataclass(frozen=True, slots=True)
class Reading:
    """What the bars say. A score is a return in standard deviations: above 0 is up."""

    fast_score: float
    slow_score: float
    daily_volatility: float
    range_units: int
    """Average true range, in price units, rounded up."""
    confidence: float

    @property
    def score(self) -> float:
        return (self.fast_score + self.slow_score) / 2

    @property
    def agrees(self) -> bool:
        """Both horizons point the same way."""
        return self.fast_score * self.slow_score > 0

    def factors(self, parameters: Momentum) -> list[signal_pb2.SignalFactor]:
        fast, slow = parameters.fast_days, parameters.slow_days
        return [
            signal_pb2.SignalFactor(
                name="momentum_fast", value=self.fast_score, note=f"{fast}-day return / volatility"
            ),
            signal_pb2.SignalFactor(
                name="momentum_slow", value=self.slow_score, note=f"{slow}-day return / volatility"
            ),
            signal_pb2.SignalFactor(name="volatility_daily", value=self.daily_volatility, note="of daily log returns"),
        ]


def read(bars: Sequence[Bar], parameters: Momentum) -> Reading | None:
    """The reading of the last bar; None while there are too few bars or the price never moved."""
    if len(bars) < parameters.warm_up_bars:
        return None
    closes = [bar.close_units for bar in bars]
    returns = [math.log(after / before) for before, after in pairwise(closes[-parameters.volatility_days - 1 :])]
    volatility = _deviation(returns)
    if volatility == 0.0:
        return None
    fast = _score(closes, parameters.fast_days, volatility)
    slow = _score(closes, parameters.slow_days, volatility)
    return Reading(
        fast_score=fast,
        slow_score=slow,
        daily_volatility=volatility,
        range_units=average_true_range(bars, parameters.range_days),
        confidence=min(1.0, abs(fast + slow) / 2 / parameters.full_score),
    )


def average_true_range(bars: Sequence[Bar], days: int) -> int:
    """Mean of the true ranges of the last ``days`` bars, in price units, rounded up."""
    ranges = [
        max(bar.high_units, before.close_units) - min(bar.low_units, before.close_units)
        for before, bar in pairwise(bars[-days - 1 :])
    ]
    return -(-sum(ranges) // len(ranges))


def _score(closes: Sequence[int], days: int, volatility: float) -> float:
    return math.log(closes[-1] / closes[-1 - days]) / (volatility * math.sqrt(days))


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
