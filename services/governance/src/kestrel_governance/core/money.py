"""Exact arithmetic for limits: ratios of integers inside, amounts rounded against us when they become numbers."""

from __future__ import annotations

from functools import lru_cache
from math import gcd

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import SCALE_MAX, Number

AMOUNT_SCALE = 8
"""Amounts of money are kept at this scale, as in libkernel."""

_POWERS = [10**scale for scale in range(SCALE_MAX + 1)]


class Exact:
    """``numerator / denominator``, the denominator above 0, and no step rounds.

    A fraction that is not brought to lowest terms: a decision needs some forty figures for a moment, most of them
    over powers of ten, and finding common divisors was half of the time that a decision took.
    """

    __slots__ = ("denominator", "numerator")

    def __init__(self, numerator: int, denominator: int = 1) -> None:
        self.numerator = numerator
        self.denominator = denominator

    def __add__(self, other: Exact | int) -> Exact:
        if type(other) is int:
            return Exact(self.numerator + other * self.denominator, self.denominator)
        mine, theirs = self.denominator, other.denominator
        if mine == theirs:
            return Exact(self.numerator + other.numerator, mine)
        if mine % theirs == 0:  # as with most decimals: the finer one is taken, and a long sum stays as fine as that
            return Exact(self.numerator + other.numerator * (mine // theirs), mine)
        if theirs % mine == 0:
            return Exact(self.numerator * (theirs // mine) + other.numerator, theirs)
        return Exact(self.numerator * theirs + other.numerator * mine, mine * theirs)

    __radd__ = __add__

    def __neg__(self) -> Exact:
        return Exact(-self.numerator, self.denominator)

    def __abs__(self) -> Exact:
        return Exact(abs(self.numerator), self.denominator)

    def __sub__(self, other: Exact | int) -> Exact:
        return self + -other

    def __rsub__(self, other: int) -> Exact:
        return -self + other

    def __mul__(self, other: Exact | int) -> Exact:
        if type(other) is int:
            return Exact(self.numerator * other, self.denominator)
        return Exact(self.numerator * other.numerator, self.denominator * other.denominator)

    __rmul__ = __mul__

    def __truediv__(self, other: Exact | int) -> Exact:
        """Raises ``ZeroDivisionError``."""
        over, under = (other, 1) if type(other) is int else (other.numerator, other.denominator)
        if over == 0:
            raise ZeroDivisionError(f"{self} / 0")
        sign = 1 if over > 0 else -1
        return Exact(self.numerator * under * sign, self.denominator * over * sign)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Exact):
            return self.numerator * other.denominator == other.numerator * self.denominator
        return self.numerator == other * self.denominator if isinstance(other, int) else NotImplemented

    def __lt__(self, other: Exact | int) -> bool:
        if type(other) is int:
            return self.numerator < other * self.denominator
        return self.numerator * other.denominator < other.numerator * self.denominator

    def __le__(self, other: Exact | int) -> bool:
        return not self > other

    def __gt__(self, other: Exact | int) -> bool:
        if type(other) is int:
            return self.numerator > other * self.denominator
        return self.numerator * other.denominator > other.numerator * self.denominator

    def __ge__(self, other: Exact | int) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return self.numerator != 0

    def __hash__(self) -> int:
        divisor = gcd(self.numerator, self.denominator)
        lowest = self.numerator // divisor, self.denominator // divisor
        return hash(lowest[0] if lowest[1] == 1 else lowest)

    def __repr__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


ZERO = Exact(0)


def exact(number: Number) -> Exact:
    return Exact(number.units, _POWERS[number.scale])


def of(message: common_pb2.Decimal) -> Exact:
    """From the wire. Raises ``InvalidRequest`` for a scale that no number has."""
    scale = message.scale
    if not 0 <= scale <= SCALE_MAX:
        Number.of(message)  # says what is wrong with it
    return Exact(message.units, _POWERS[scale])


def read(message: common_pb2.Decimal, field: str) -> Number:
    """A number from the wire; a scale no number has is an error that names the field."""
    try:
        return Number.of(message)
    except InvalidRequest as error:
        raise InvalidRequest.of(field, f"{message.units} at scale {message.scale}", error.rule) from error


def amount(value: Exact) -> Number:
    """Rounded up: an amount that reserves capital is never smaller than what it stands for."""
    return Number(-(-value.numerator * _POWERS[AMOUNT_SCALE] // value.denominator), AMOUNT_SCALE)


def text(value: object) -> str:
    """For people. Numbers with at most eight decimals and no trailing zeros; all else as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, Exact):
        return _text(value.numerator, value.denominator)
    if isinstance(value, Number):
        return _text(value.units, _POWERS[value.scale])
    return str(value)


@lru_cache(maxsize=4096)  # the same limits and prices are shown again and again
def _text(numerator: int, denominator: int) -> str:
    units, remainder = divmod(abs(numerator) * _POWERS[AMOUNT_SCALE], denominator)
    if 2 * remainder > denominator or (2 * remainder == denominator and units % 2):
        units += 1
    digits = f"{units:0{AMOUNT_SCALE + 1}d}"
    shown = f"{digits[:-AMOUNT_SCALE]}.{digits[-AMOUNT_SCALE:]}".rstrip("0").rstrip(".")
    return f"-{shown}" if numerator < 0 and units else shown
