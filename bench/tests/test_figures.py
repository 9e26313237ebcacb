"""Percentiles, ratios and hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import median, milliseconds, percentile, ratio, result_hash, rounded

values = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200)


@given(values, st.floats(0, 1))
def test_a_percentile_is_a_measured_value_with_the_right_share_at_or_below_it(
    measured: list[int], share: float
) -> None:
    found = percentile(measured, share)
    assert found in measured
    assert sum(value <= found for value in measured) >= share * len(measured)
    assert sum(value < found for value in measured) <= share * len(measured)


def test_percentiles_of_a_hundred_values_are_themselves() -> None:
    hundred = list(range(1, 101))
    assert [percentile(hundred, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7], 0.0) == percentile([7], 0.99) == median([7]) == 7


@pytest.mark.parametrize("share", [-0.1, 1.1, 50])
def test_a_percentile_is_asked_for_as_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1, 2], share)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_a_ratio_says_how_many_times_the_floor() -> None:
    assert ratio(30, 12) == 2.5
    assert ratio(1, 3) == 0.3333


@pytest.mark.parametrize("floor", [0, -1])
def test_a_floor_that_was_not_measured_has_no_ratio(floor: int) -> None:
    with pytest.raises(ValueError, match="floor"):
        ratio(1, floor)


def test_figures_keep_four_significant_digits() -> None:
    assert [rounded(value) for value in (0, 123_456.0, 1.23456, 0.000123456)] == [0, 123_500.0, 1.235, 0.0001235]


def test_times_are_told_in_milliseconds_with_their_count() -> None:
    told = milliseconds([1_000_000, 2_000_000, 4_000_000])
    assert told == {"count": 3, "p50_ms": 2.0, "p90_ms": 4.0, "p99_ms": 4.0, "p999_ms": 4.0, "max_ms": 4.0}


def test_another_result_has_another_hash_and_the_cut_between_parts_counts() -> None:
    assert result_hash(["a", b"b"]) == result_hash([b"a", "b"])
    assert len({result_hash(parts) for parts in (["ab"], ["a", "b"], ["b", "a"], [], [""])}) == 5
