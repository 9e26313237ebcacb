"""Percentiles, ratios and hashes of results. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was really measured. ``share`` is within 0 and 1.

    Raises ``ValueError`` when there are no values, or the share is out of range.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    if not 0 <= share <= 1:
        raise ValueError(f"share {share}: must be within 0 and 1")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)


def ratio(value: float, floor: float) -> float:
    """How many times the floor. Raises ``ValueError`` for a floor that is not above zero: it was not measured."""
    if floor <= 0:
        raise ValueError(f"floor {floor}: must be above zero")
    return rounded(value / floor)


def rounded(value: float, digits: int = 4) -> float:
    """To significant digits: more of them would only be noise."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def milliseconds(values_ns: Sequence[int]) -> dict[str, float]:
    """Count, p50, p90, p99, p99.9 and the greatest of times in nanoseconds, as milliseconds."""
    return {
        "count": len(values_ns),
        "p50_ms": rounded(percentile(values_ns, 0.50) / 1e6),
        "p90_ms": rounded(percentile(values_ns, 0.90) / 1e6),
        "p99_ms": rounded(percentile(values_ns, 0.99) / 1e6),
        "p999_ms": rounded(percentile(values_ns, 0.999) / 1e6),
        "max_ms": rounded(max(values_ns) / 1e6),
    }


def result_hash(parts: Iterable[bytes | str]) -> str:
    """A hash over what was computed, part by part: who changes the answer changes the hash."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
