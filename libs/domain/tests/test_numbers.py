"""Exact numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import INT64_MAX, INT64_MIN, Number, require

small = st.builds(Number, st.integers(-(10**12), 10**12), st.integers(0, 6))


@pytest.mark.parametrize(
    ("text", "scale", "units"),
    [("12.5", 4, 125000), ("-0.05", 2, -5), ("+7", 0, 7), ("1.500", 1, 15), (" 3.25 ", 2, 325), ("0", 18, 0)],
)
def test_text_is_read_exactly(text: str, scale: int, units: int) -> None:
    assert Number.parse(text, scale=scale) == Number(units, scale)


@pytest.mark.parametrize("text", ["", ".", "1e5", "NaN", "inf", "1,000", "0x1", "--1", "1.", "٣", "1" * 20])
def test_text_that_is_no_plain_decimal_is_refused_with_its_field_and_value_K20(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Number.parse(text, field="order_qty")
    assert (caught.value.field, caught.value.value) == ("order_qty", text)


def test_a_decimal_too_many_is_an_error_and_never_a_rounding() -> None:
    with pytest.raises(InvalidRequest, match="at most 2 decimals"):
        Number.parse("1.005", scale=2)


@pytest.mark.parametrize("units", [1.0, True, "1", None])
def test_a_number_is_born_of_integers_only(units: object) -> None:
    with pytest.raises(InvalidRequest):
        Number(units, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: Number(INT64_MAX, 0) + Number(1, 0), lambda: Number(INT64_MIN - 1, 0)])
def test_what_does_not_fit_is_an_error_and_nothing_wraps(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidRequest) as caught:
        make()
    assert caught.value.reason == "OVERFLOW"


def test_another_scale_is_the_same_value_or_an_error() -> None:
    assert str(Number.parse("1.25").at(4)) == "1.2500"
    with pytest.raises(InvalidRequest):
        Number.parse("1.25").at(1)


@pytest.mark.parametrize(
    ("text", "rounded"), [("0.125", "0.12"), ("0.135", "0.14"), ("-0.125", "-0.12"), ("2", "2.00")]
)
def test_rounding_is_half_to_even(text: str, rounded: str) -> None:
    assert str(Number.parse(text).rounded(2)) == rounded


@given(small, small)
def test_arithmetic_agrees_with_decimals(a: Number, b: Number) -> None:
    assert (a + b).decimal() == a.decimal() + b.decimal()
    assert (a - b).decimal() == a.decimal() - b.decimal()
    assert (a < b) == (a.decimal() < b.decimal())
    assert (a == b) == (a.decimal() == b.decimal())
    assert a != b or hash(a) == hash(b)


@given(small)
def test_text_and_wire_bring_a_number_back(number: Number) -> None:
    assert Number.parse(str(number)) == number
    assert Number.of(number.message()) == number
    assert Decimal(str(number)) == number.decimal()


def test_a_required_field_that_is_not_set_is_named() -> None:
    with pytest.raises(InvalidRequest, match="order_qty"):
        require(None, False, "order_qty")
