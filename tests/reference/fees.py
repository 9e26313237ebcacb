"""Fees: predicted at once, settled by the venue, and how far the published rates hold; and conviction as leverage."""

from __future__ import annotations

from dataclasses import replace

from tests.reference.inputs import Config
from tests.reference.numbers import divide_half_even, divide_up, fits
from tests.reference.state import Calibration, Execution, Ledger
from tests.reference.words import (
    BASIS_POINTS,
    CONVICTION_MAX,
    CONVICTION_MIN,
    CONVICTION_SCALE,
    FEE_DEVIATION_BPS,
    FEE_GUARD_BPS,
    INT64_MAX,
    RATE_SCALE,
    RATIO_SCALE,
    FeeStatus,
    Liquidity,
)


def published_rate(config: Config, liquidity: int) -> int:
    """A liquidity that nobody stated is charged as TAKER."""
    return config.maker_fee_rate if liquidity == Liquidity.MAKER else config.taker_fee_rate


def published(config: Config, liquidity: int, notional: int) -> int:
    """A cost is rounded up, so a rebate shrinks."""
    return fits(divide_up(notional * published_rate(config, liquidity), 10**RATE_SCALE))


def predicted(config: Config, ledger: Ledger, liquidity: int, notional: int) -> int:
    """The published fee, as calibrated."""
    fee, calibration = published(config, liquidity, notional), ledger.calibration(liquidity)
    return fits(divide_up(fee * calibration.ratio, 10**RATIO_SCALE)) if calibration.sample_count else fee


def learn(config: Config, ledger: Ledger, execution: Execution) -> bool:
    """Take a fee that the venue has just settled as a sample. False: refused, it is too far off the published one."""
    if execution.liquidity == Liquidity.NONE:
        return True
    expected = published(config, execution.liquidity, execution.notional)
    if expected == 0:
        return True
    calibration = ledger.calibration(execution.liquidity)
    if abs(execution.fee - expected) * BASIS_POINTS > abs(expected) * FEE_GUARD_BPS:
        calibration = replace(calibration, refused_count=calibration.refused_count + 1, is_last_refused=1)
    else:
        calibration = _with_sample(calibration, abs(execution.fee), abs(expected))
    if execution.liquidity == Liquidity.MAKER:
        ledger.maker = calibration
    else:
        ledger.taker = calibration
    return not calibration.is_last_refused


def _with_sample(calibration: Calibration, settled: int, expected: int) -> Calibration:
    """When a sum would not fit, both are halved, so that older samples fade."""
    settled_sum, published_sum = calibration.settled_sum + settled, calibration.published_sum + expected
    if max(settled_sum, published_sum) > INT64_MAX:
        settled_sum, published_sum = settled_sum // 2, published_sum // 2
    return replace(
        calibration,
        settled_sum=settled_sum,
        published_sum=published_sum,
        ratio=divide_half_even(settled_sum * 10**RATIO_SCALE, published_sum),
        sample_count=calibration.sample_count + 1,
        is_last_refused=0,
    )


def status(calibration: Calibration, rate: int, ratio: int) -> FeeStatus:
    one = 10**RATIO_SCALE
    if rate == 0:
        return FeeStatus.NONE
    if calibration.is_last_refused or abs(ratio - one) * BASIS_POINTS > one * FEE_DEVIATION_BPS:
        return FeeStatus.DEVIATING
    return FeeStatus.OK if calibration.sample_count else FeeStatus.UNCALIBRATED


def conviction_of(notional: int, capital: int) -> int | None:
    """Notional over capital; None without capital, or if it would not fit."""
    if capital <= 0:
        return None
    conviction = divide_half_even(notional * 10**CONVICTION_SCALE, capital)
    return conviction if conviction <= INT64_MAX else None


def conviction_to_leverage(conviction: int, leverage_max: int) -> int:
    """Linear from the convictions' range to 1..leverage_max, half to even, clamped outside; 0: there is no leverage."""
    within = max(CONVICTION_MIN, min(CONVICTION_MAX, conviction)) - CONVICTION_MIN
    width = CONVICTION_MAX - CONVICTION_MIN
    return divide_half_even(width + within * (leverage_max - 1), width) if leverage_max else 0
