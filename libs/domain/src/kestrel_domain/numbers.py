"""Exact numbers: an integer count of units at a decimal scale.

``Number(123450, 4)`` is 12.3450. A number can only be born exact: from integers, from text with no decimal too
many, or from the wire. Floats are refused everywhere. Two numbers are equal when their values are, whatever
their scales. Results that do not fit 64 bits are an error: nothing saturates, nothing wraps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
SCALE_MAX = 18

_TEXT = re.compile(r"([+-]?)(\d{1,19})(?:\.(\d{1,18}))?\Z", re.ASCII)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """``units / 10**scale``; ``scale`` from 0 to 18, ``units`` within a signed 64-bit integer."""

    units: int
    scale: int

    def __post_init__(self) -> None:
        if type(self.units) is not int or type(self.scale) is not int:
            raise InvalidRequest.of("number", (self.units, self.scale), "integers only, never a float or a bool")
        if not 0 <= self.scale <= SCALE_MAX:
            raise InvalidRequest.of("scale", self.scale, f"0 to {SCALE_MAX}")
        if not INT64_MIN <= self.units <= INT64_MAX:
            raise InvalidRequest.of("units", self.units, "must fit a signed 64-bit integer", reason="OVERFLOW")

    @classmethod
    def parse(cls, text: str, *, scale: int | None = None, field: str = "number") -> Number:
        """Read text exactly. More decimals than ``scale`` is an error, never a rounding; no ``scale``: as written."""
        match = _TEXT.match(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise InvalidRequest.of(field, text, "a plain decimal number, such as 12.50")
        sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
        if scale is None:
            scale = len(fraction)
        kept, lost = fraction[:scale], fraction[scale:]
        if lost.strip("0"):
            raise InvalidRequest.of(field, text, f"at most {scale} decimals")
        units = int(whole + kept.ljust(scale, "0"))
        return cls(-units if sign == "-" else units, scale)

    @classmethod
    def of(cls, message: common_pb2.Decimal) -> Number:
        """From the wire."""
        return cls(message.units, message.scale)

    @classmethod
    def zero(cls, scale: int = 0) -> Number:
        return cls(0, scale)

    def message(self) -> common_pb2.Decimal:
        """For the wire."""
        return common_pb2.Decimal(units=self.units, scale=self.scale)

    def at(self, scale: int, *, field: str = "number") -> Number:
        """The same value at another scale, or an error when that would need rounding."""
        if scale >= self.scale:
            return Number(self.units * 10 ** (scale - self.scale), scale)
        units, lost = divmod(self.units, 10 ** (self.scale - scale))
        if lost:
            raise InvalidRequest.of(field, self, f"at most {scale} decimals")
        return Number(units, scale)

    def rounded(self, scale: int) -> Number:
        """Rounded half to even to ``scale`` decimals; for display and statistics, never for a ledger."""
        if scale >= self.scale:
            return self.at(scale)
        divisor = 10 ** (self.scale - scale)
        quotient, remainder = divmod(self.units, divisor)
        if 2 * remainder > divisor or (2 * remainder == divisor and quotient % 2):
            quotient += 1
        return Number(quotient, scale)

    def decimal(self) -> Decimal:
        """For reports."""
        return Decimal(self.units).scaleb(-self.scale)

    def __str__(self) -> str:
        digits = str(abs(self.units)).rjust(self.scale + 1, "0")
        text = f"{digits[: -self.scale]}.{digits[-self.scale :]}" if self.scale else digits
        return f"-{text}" if self.units < 0 else text

    def __bool__(self) -> bool:
        return self.units != 0

    def __neg__(self) -> Number:
        return Number(-self.units, self.scale)

    def __abs__(self) -> Number:
        return Number(abs(self.units), self.scale)

    def __add__(self, other: Number) -> Number:
        scale = max(self.scale, other.scale)
        return Number(self._units_at(scale) + other._units_at(scale), scale)

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __mul__(self, other: Number | int) -> Number:
        if isinstance(other, Number):
            return Number(self.units * other.units, self.scale + other.scale)
        return Number(self.units * other, self.scale)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number):
            return NotImplemented
        scale = max(self.scale, other.scale)
        return self._units_at(scale) == other._units_at(scale)

    def __lt__(self, other: Number) -> bool:
        scale = max(self.scale, other.scale)
        return self._units_at(scale) < other._units_at(scale)

    def __hash__(self) -> int:
        units, scale = self.units, self.scale
        while scale and units % 10 == 0:
            units, scale = units // 10, scale - 1
        return hash((units, scale))

    def _units_at(self, scale: int) -> int:
        return self.units * int(10 ** (scale - self.scale))


def require(message: common_pb2.Decimal | None, present: bool, field: str) -> Number:
    """The number in a message field that must be set."""
    if not present or message is None:
        raise InvalidRequest.of(field, "", "is required")
    return Number.of(message)
