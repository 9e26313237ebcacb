"""Statistics of the report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one hop took, over all times it was gone."""

    hop: str
    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def latency(hop: str, times_ns: Sequence[int]) -> Latency:
    """Percentiles in milliseconds; all zero when the hop was never gone."""
    return Latency(
        hop,
        len(times_ns),
        percentile(times_ns, 50) / 1e6,
        percentile(times_ns, 99) / 1e6,
        max(times_ns, default=0) / 1e6,
    )


def percentile(values: Sequence[int], percent: int) -> int:
    """Nearest rank: the smallest value that at least so many percent do not exceed; 0 of nothing."""
    if not values:
        return 0
    ordered = sorted(values)
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
