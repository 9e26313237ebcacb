"""Exact arithmetic: held against the standard library's fractions, which are slow and obvious."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import INT64_MAX, INT64_MIN, Number
from kestrel_governance.core import money
from kestrel_governance.core.money import Exact

integers = st.integers(INT64_MIN, INT64_MAX) | st.integers(-3, 3)
ratios = st.tuples(integers, st.integers(0, 18).map(lambda scale: 10**scale) | st.integers(1, 1000))
CALCULATIONS = [operator.add, operator.sub, operator.mul, operator.truediv]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def same(exact: Exact, fraction: Fraction) -> bool:
    return exact.denominator > 0 and Fraction(exact.numerator, exact.denominator) == fraction


@pytest.mark.parametrize("calculate", CALCULATIONS)
@given(first=ratios, second=ratios, whole=integers)
def test_every_calculation_comes_to_what_fractions_come_to(
    calculate: Callable[[Any, Any], Any], first: tuple[int, int], second: tuple[int, int], whole: int
) -> None:
    if calculate is operator.truediv and not (second[0] and whole):
        return
    assert same(calculate(Exact(*first), Exact(*second)), calculate(Fraction(*first), Fraction(*second)))
    assert same(calculate(Exact(*first), whole), calculate(Fraction(*first), whole))
    if calculate is not operator.truediv:
        assert same(calculate(whole, Exact(*first)), calculate(whole, Fraction(*first)))


@pytest.mark.parametrize("compare", COMPARISONS)
@given(first=ratios, second=ratios, whole=integers)
def test_every_comparison_says_what_fractions_say(
    compare: Callable[[Any, Any], bool], first: tuple[int, int], second: tuple[int, int], whole: int
) -> None:
    assert compare(Exact(*first), Exact(*second)) == compare(Fraction(*first), Fraction(*second))
    assert compare(Exact(*first), whole) == compare(Fraction(*first), whole)
    assert compare(whole, Exact(*first)) == compare(whole, Fraction(*first))


@given(ratio=ratios, factor=st.integers(1, 1000))
def test_equal_values_have_one_hash_however_they_are_written(ratio: tuple[int, int], factor: int) -> None:
    numerator, denominator = ratio
    assert hash(Exact(numerator * factor, denominator * factor)) == hash(Exact(numerator, denominator))
    assert hash(Exact(numerator * factor, factor)) == hash(numerator)


@given(ratio=ratios)
def test_sign_and_truth_are_those_of_the_value(ratio: tuple[int, int]) -> None:
    exact, fraction = Exact(*ratio), Fraction(*ratio)
    assert same(-exact, -fraction)
    assert same(abs(exact), abs(fraction))
    assert bool(exact) == bool(fraction)


@pytest.mark.parametrize("zero", [0, Exact(0), Exact(0, 100)])
def test_division_by_zero_is_an_error(zero: Exact | int) -> None:
    with pytest.raises(ZeroDivisionError):
        Exact(1) / zero


def test_a_sum_of_amounts_stays_as_fine_as_the_finest_of_them() -> None:
    total = sum((Exact(1, 10 ** (place % 9)) for place in range(900)), money.ZERO)
    assert total.denominator == 10**8


def test_an_amount_is_rounded_up_to_eight_decimals() -> None:
    assert money.amount(Exact(1, 3)) == Number.parse("0.33333334")
    assert money.amount(Exact(-1, 3)) == Number.parse("-0.33333333")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Exact(1, 3), "0.33333333"),
        (Exact(-2, 3), "-0.66666667"),
        (Exact(-1, 10**9), "0"),
        (Exact(12_500, 100), "125"),
        (Number(12_500, 3), "12.5"),
        (7, "7"),
        ("none", "none"),
    ],
)
def test_people_read_at_most_eight_decimals_and_no_trailing_zeros(value: object, text: str) -> None:
    assert money.text(value) == text


def test_a_scale_that_no_number_has_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        money.of(common_pb2.Decimal(units=1, scale=19))
    with pytest.raises(InvalidRequest, match="price"):
        money.read(common_pb2.Decimal(units=1, scale=-1), "price")
