"""Readings of trends."""

import math
from typing import Any

import pytest

from kestrel_policy.core.momentum import average_true_range, read
from kestrel_policy.core.parameters import Momentum


def seen(bars: Any, closes: list[float]) -> Any:
    return [bars.checked(bars.one(day, close)) for day, close in enumerate(closes, 1)]


def test_there_is_no_reading_before_the_warm_up_and_none_without_movement(bars: Any) -> None:
    wandered = [bars.checked(bar) for bar in bars.wandering(80)]
    parameters = Momentum()
    assert parameters.warm_up_bars == 61
    assert read(wandered[:60], parameters) is None
    assert read(wandered[:61], parameters) is not None
    assert read(seen(bars, [100.0] * 70), parameters) is None


def test_scores_are_returns_in_standard_deviations(bars: Any) -> None:
    closes = [100 * math.exp(0.01 * day + (0.005 if day % 2 else -0.005)) for day in range(62)]
    reading = read(seen(bars, closes), Momentum())
    assert reading is not None
    volatility = reading.daily_volatility
    assert volatility == pytest.approx(0.01, rel=0.02)  # alternating 0.0 and 0.02
    assert reading.fast_score == pytest.approx(0.20 / (volatility * math.sqrt(20)), rel=0.01)
    assert reading.slow_score == pytest.approx(0.60 / (volatility * math.sqrt(60)), rel=0.01)
    assert reading.agrees
    assert reading.confidence == 1.0


def test_confidence_is_between_nothing_and_one(bars: Any) -> None:
    wandered = [bars.checked(bar) for bar in bars.wandering(400)]
    readings = [read(wandered[: end + 1], Momentum()) for end in range(100, 400)]
    confidences = [reading.confidence for reading in readings if reading]
    assert min(confidences) >= 0.0
    assert max(confidences) <= 1.0
    assert len({round(confidence, 2) for confidence in confidences}) > 20


def test_the_true_range_counts_gaps_exactly(bars: Any) -> None:
    first = bars.checked(bars.one(1, 100, high=101, low=99))
    gap_up = bars.checked(bars.one(2, 110, high=111, low=109))
    gap_down = bars.checked(bars.one(3, 90, high=91, low=89))
    assert average_true_range([first, gap_up], 14) == 110_000  # 111 - 100
    assert average_true_range([first, gap_up, gap_down], 2) == (110_000 + 210_000) // 2
    assert average_true_range([first, gap_up, gap_down], 1) == 210_000
