"""Exact integers of any length, and one check: does it fit 64 bits?"""

from __future__ import annotations

from tests.reference.words import INT64_MAX, INT64_MIN


class DoesNotFit(ArithmeticError):
    """A figure would not fit 64 bits: the input is refused as OVERFLOW."""


def fits(value: int) -> int:
    """The value itself, if it can be stored."""
    if INT64_MIN <= value <= INT64_MAX:
        return value
    raise DoesNotFit


def clamp(value: int) -> int:
    """A sum for people to look at: it decides nothing."""
    return max(INT64_MIN, min(INT64_MAX, value))


def divide_down(dividend: int, divisor: int) -> int:
    """Towards minus infinity."""
    return dividend // divisor


def divide_up(dividend: int, divisor: int) -> int:
    """Towards plus infinity."""
    return -(-dividend // divisor)


def divide_half_even(dividend: int, divisor: int) -> int:
    """To the nearest; a tie to the even one."""
    quotient, rest = divmod(dividend, divisor)
    is_up = 2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1)
    return quotient + is_up


def rescale(units: int, from_scale: int, to_scale: int, *, up: bool = False) -> tuple[int, bool]:
    """Units of one scale as units of another, and whether nothing was lost to the rounding."""
    if from_scale <= to_scale:
        return fits(units * 10 ** (to_scale - from_scale)), True
    divisor = 10 ** (from_scale - to_scale)
    return (divide_up if up else divide_down)(units, divisor), units % divisor == 0
