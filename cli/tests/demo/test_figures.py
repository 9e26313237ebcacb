"""Percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kestrel_cli.demo.figures import latency, percentile


def test_percentiles_are_values_that_happened() -> None:
    values = list(range(1, 101))
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7], 99) == 7
    assert percentile([], 50) == 0


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_latencies_are_ordered(times_ns: list[int]) -> None:
    found = latency("hop", times_ns)
    assert found.p50_ms <= found.p99_ms <= found.max_ms
    assert found.count == len(times_ns)
