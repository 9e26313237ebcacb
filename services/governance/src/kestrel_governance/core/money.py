"""Exact arithmetic for limits: rationals inside, amounts rounded against us where they become numbers again."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number

AMOUNT_SCALE = 8
"""Amounts of money are kept at this scale, as in libkernel."""


def exact(number: Number) -> Fraction:
    return _ratio(number.units, number.scale)


@lru_cache(maxsize=4096)  # the same limits and prices come by again and again, and reducing a fraction takes long
def _ratio(units: int, scale: int) -> Fraction:
    return Fraction(units, 10**scale)


def read(message: common_pb2.Decimal, field: str) -> Number:
    """A number from the wire; a scale no number has is an error that names the field."""
    try:
        return Number.of(message)
    except InvalidRequest as error:
        raise InvalidRequest.of(field, f"{message.units} at scale {message.scale}", error.rule) from error


def amount(value: Fraction) -> Number:
    """Rounded up: an amount that reserves capital is never smaller than what it stands for."""
    scaled = value * 10**AMOUNT_SCALE
    return Number(-(-scaled.numerator // scaled.denominator), AMOUNT_SCALE)


def text(value: Fraction | Number | int | str) -> str:
    """For people: at most eight decimals, no trailing zeros."""
    if isinstance(value, str | int):
        return str(value)
    numerator, denominator = _parts(value)
    units, remainder = divmod(abs(numerator) * 10**AMOUNT_SCALE, denominator)
    if 2 * remainder > denominator or (2 * remainder == denominator and units % 2):
        units += 1
    digits = f"{units:0{AMOUNT_SCALE + 1}d}"
    shown = f"{digits[:-AMOUNT_SCALE]}.{digits[-AMOUNT_SCALE:]}".rstrip("0").rstrip(".")
    return f"-{shown}" if numerator < 0 and units else shown


def _parts(value: Fraction | Number) -> tuple[int, int]:
    return (value.units, 10**value.scale) if isinstance(value, Number) else (value.numerator, value.denominator)
