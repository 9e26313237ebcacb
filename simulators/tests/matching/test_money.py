"""Roundings, and who pays for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Instrument
from kestrel_simulators.matching.money import divided_half_even, divided_up

FINE = Instrument("FET-USDT", 1, "USDT", price_scale=6, qty_scale=5, tick_units=1, lot_units=1, multiplier=1)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_division_rounds_up_and_to_even_exactly(numerator: int, divisor: int) -> None:
    up = divided_up(numerator, divisor)
    assert (up - 1) * divisor < numerator <= up * divisor
    even = divided_half_even(numerator, divisor)
    assert 2 * abs(even * divisor - numerator) <= divisor
    if 2 * abs(even * divisor - numerator) == divisor:
        assert even % 2 == 0


def test_a_notional_finer_than_the_amount_scale_is_rounded_against_whoever_pays() -> None:
    assert FINE.notional_down(1, 999) == 0  # 0.000001 x 0.00999
    assert FINE.notional_up(1, 999) == 1


@pytest.mark.parametrize(
    "field,value",
    [
        ("symbol", "aapl"),
        ("price_scale", -1),
        ("price_scale", 11),
        ("qty_scale", 11),
        ("tick_units", 0),
        ("lot_units", -5),
        ("multiplier", 0),
        ("currency", ""),
    ],
)
def test_a_bad_instrument_is_refused_by_field(field: str, value: object) -> None:
    message = common_pb2.Instrument(
        symbol="AAPL", currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
    )
    setattr(message, field, value)
    with pytest.raises(InvalidRequest, match=field) as caught:
        Instrument.of(message)
    assert caught.value.field == f"instrument.{field}"


def test_prices_and_quantities_off_the_grid_are_refused() -> None:
    stock = Instrument("AAPL", 1, "USD", 4, 0, 100, 10, 1)
    assert stock.order_price_units(Number.parse("12.34"), "price") == 123400
    assert stock.order_qty_units(Number.parse("30"), "order_qty") == 30
    for text in ("12.345", "0", "-1", "12.34567"):
        with pytest.raises(InvalidRequest, match="price"):
            stock.order_price_units(Number.parse(text), "price")
    for text in ("15", "0", "-10", "10.5"):
        with pytest.raises(InvalidRequest, match="order_qty"):
            stock.order_qty_units(Number.parse(text), "order_qty")
