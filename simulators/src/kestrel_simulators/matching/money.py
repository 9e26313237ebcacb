"""Exact arithmetic of prices, quantities and money, in integer units.

Amounts have scale ``AMOUNT_SCALE``. A rounding always says which way, and goes against the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_symbol
from kestrel_domain.numbers import Number

AMOUNT_SCALE = 8
PRICE_SCALE_MAX = QTY_SCALE_MAX = 10
AVERAGE_PRICE_EXTRA_SCALE = 4


def divided_up(numerator: int, divisor: int) -> int:
    """Towards plus infinity."""
    return -(-numerator // divisor)


def divided_half_even(numerator: int, divisor: int) -> int:
    quotient, remainder = divmod(numerator, divisor)
    if 2 * remainder > divisor or (2 * remainder == divisor and quotient % 2):
        quotient += 1
    return quotient


@dataclass(frozen=True, slots=True)
class Instrument:
    """One version of what is traded: its scales, steps, multiplier and the currency of its prices."""

    symbol: str
    version: int
    currency: str
    price_scale: int
    qty_scale: int
    tick_units: int
    lot_units: int
    multiplier: int

    @classmethod
    def of(cls, message: common_pb2.Instrument, field: str = "instrument") -> Instrument:
        """From the wire, or ``InvalidRequest`` naming what is wrong with it."""
        return _instrument(message.SerializeToString(), field)

    @classmethod
    def _of(cls, message: common_pb2.Instrument, field: str) -> Instrument:
        checked_symbol(f"{field}.symbol", message.symbol)
        for name, highest in (("price_scale", PRICE_SCALE_MAX), ("qty_scale", QTY_SCALE_MAX)):
            if not 0 <= getattr(message, name) <= highest:
                raise InvalidRequest.of(f"{field}.{name}", getattr(message, name), f"0 to {highest}")
        for name in ("tick_units", "lot_units", "multiplier"):
            if getattr(message, name) <= 0:
                raise InvalidRequest.of(f"{field}.{name}", getattr(message, name), "1 or more")
        if not message.currency:
            raise InvalidRequest.of(f"{field}.currency", message.currency, "is required")
        return cls(
            message.symbol, message.version, message.currency, message.price_scale, message.qty_scale,
            message.tick_units, message.lot_units, message.multiplier,
        )  # fmt: skip

    def notional_down(self, price_units: int, qty_units: int) -> int:
        """Price x quantity x multiplier in amount units, rounded down: what a seller receives."""
        return self._product(price_units, qty_units) // self._divisor

    def notional_up(self, price_units: int, qty_units: int) -> int:
        """The same, rounded up: what a buyer pays."""
        return divided_up(self._product(price_units, qty_units), self._divisor)

    def average_price(self, basis_units: int, qty_units: int) -> Number:
        """Basis / quantity, rounded half to even at the price scale plus four."""
        scale = self.price_scale + AVERAGE_PRICE_EXTRA_SCALE
        numerator = basis_units * 10 ** (scale + self.qty_scale)
        return Number(divided_half_even(numerator, qty_units * self.multiplier * 10**AMOUNT_SCALE), scale)

    def price_units(self, number: Number, field: str) -> int:
        """A positive price in units of the price scale."""
        units = number.at(self.price_scale, field=field).units
        if units <= 0:
            raise InvalidRequest.of(field, number, "must be positive")
        return units

    def order_price_units(self, number: Number, field: str) -> int:
        """A price an order may name: positive, and a whole number of ticks."""
        units = self.price_units(number, field)
        if units % self.tick_units:
            rule = f"a whole number of ticks of {Number(self.tick_units, self.price_scale)}"
            raise InvalidRequest.of(field, number, rule, reason="PRICE_TICK")
        return units

    def order_qty_units(self, number: Number, field: str) -> int:
        """A quantity an order may name: positive, and a whole number of lots."""
        units = number.at(self.qty_scale, field=field).units
        if units <= 0:
            raise InvalidRequest.of(field, number, "must be positive")
        if units % self.lot_units:
            rule = f"a whole number of lots of {Number(self.lot_units, self.qty_scale)}"
            raise InvalidRequest.of(field, number, rule, reason="QTY_LOT")
        return units

    def _product(self, price_units: int, qty_units: int) -> int:
        return int(price_units * qty_units * self.multiplier * 10**AMOUNT_SCALE)

    @property
    def _divisor(self) -> int:
        return int(10 ** (self.price_scale + self.qty_scale))


@lru_cache(maxsize=1024)  # each bar names one, and few are different
def _instrument(data: bytes, field: str) -> Instrument:
    return Instrument._of(common_pb2.Instrument.FromString(data), field)
