"""Money and positions as this broker counts them, exactly.

The broker's average cost contains commissions and the multiplier, which is why nobody may take it for a price. A
position is a fold over what happened to it, in order: correcting or busting one execution folds them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import AMOUNT_SCALE, Instrument
from kestrel_simulators.matching.chance import PPM
from kestrel_simulators.matching.money import divided_half_even, divided_up

AVERAGE_COST_SCALE = 8


@dataclass(frozen=True, slots=True)
class Commission:
    """By quantity; per order at least a minimum, at most a part of the notional. Amount units at ``AMOUNT_SCALE``."""

    per_unit_units: int = 500_000
    minimum_units: int = 100_000_000
    notional_ppm_max: int = 10_000

    @classmethod
    def of(cls, message: tws_pb2.Commission) -> Commission:
        per_unit = Number.of(message.per_unit).at(AMOUNT_SCALE, field="commission.per_unit").units
        minimum = Number.of(message.minimum).at(AMOUNT_SCALE, field="commission.minimum").units
        for name, value in (("per_unit", per_unit), ("minimum", minimum)):
            if value < 0:
                raise InvalidRequest.of(f"commission.{name}", value, "0 or more")
        if message.notional_ppm_max > PPM:
            raise InvalidRequest.of("commission.notional_ppm_max", message.notional_ppm_max, f"at most {PPM}")
        return cls(per_unit, minimum, message.notional_ppm_max)

    def of_order(self, instrument: Instrument, qty_units: int, notional_units: int) -> int:
        """What an order has cost once so much of it is executed."""
        by_quantity = divided_up(qty_units * self.per_unit_units, 10**instrument.qty_scale)
        return min(max(by_quantity, self.minimum_units), divided_up(notional_units * self.notional_ppm_max, PPM))


@dataclass(frozen=True, slots=True)
class Booking:
    """What changes a position: one execution, or a drift that nobody paid for."""

    signed_qty_units: int
    price_units: int
    commission_units: int = 0
    is_paid: bool = True


@dataclass(slots=True)
class Holding:
    """A position in one instrument. ``cost_units`` is what the open quantity cost, commissions inside, never negative
    for a long; for a short it is what it brought, less commissions."""

    instrument: Instrument
    qty_units: int = 0
    cost_units: int = 0
    realized_units: int = 0
    cash_units: int = 0
    commission_units: int = 0

    @classmethod
    def fold(cls, instrument: Instrument, bookings: Iterable[Booking]) -> Holding:
        holding = cls(instrument)
        for booking in bookings:
            holding.book(booking)
        return holding

    def book(self, booking: Booking) -> int | None:
        """Book one execution; returns what it realized, commission deducted, or None when it closed nothing."""
        qty = booking.signed_qty_units
        if qty == 0:
            return None
        commission = booking.commission_units
        self._pay(booking)
        closing = min(abs(qty), abs(self.qty_units)) if qty * self.qty_units < 0 else 0
        closing_commission = divided_up(commission * closing, abs(qty))
        realized = self._close(booking.price_units, closing, closing_commission) if closing else None
        opening = abs(qty) - closing
        if opening:
            notional = self._notional(booking.price_units, opening, is_buy=qty > 0)
            rest = commission - closing_commission
            self.cost_units += notional + rest if qty > 0 else notional - rest
            self.qty_units += opening if qty > 0 else -opening
        return realized

    def _pay(self, booking: Booking) -> None:
        qty = booking.signed_qty_units
        if booking.is_paid:
            notional = self._notional(booking.price_units, abs(qty), is_buy=qty > 0)
            self.cash_units -= notional if qty > 0 else -notional
            self.cash_units -= booking.commission_units
            self.commission_units += booking.commission_units

    def _close(self, price_units: int, qty_units: int, commission_units: int) -> int:
        held, is_long = abs(self.qty_units), self.qty_units > 0
        released = divided_up(self.cost_units * qty_units, held) if is_long else self.cost_units * qty_units // held
        notional = self._notional(price_units, qty_units, is_buy=not is_long)
        realized = (notional - released if is_long else released - notional) - commission_units
        self.cost_units -= released
        self.qty_units += -qty_units if is_long else qty_units
        self.realized_units += realized
        return realized

    def _notional(self, price_units: int, qty_units: int, *, is_buy: bool) -> int:
        notional = self.instrument.notional_up if is_buy else self.instrument.notional_down
        return notional(price_units, qty_units)

    # ── Views ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def qty(self) -> Number:
        return Number(self.qty_units, self.instrument.qty_scale)

    @property
    def average_cost(self) -> Number:
        """Per unit, with commissions and the multiplier; 0 when flat."""
        if self.qty_units == 0:
            return Number(0, AVERAGE_COST_SCALE)
        numerator = self.cost_units * 10**self.instrument.qty_scale
        return Number(divided_half_even(numerator, abs(self.qty_units)), AVERAGE_COST_SCALE)

    def market_value_units(self, price_units: int) -> int:
        value = self.instrument.notional_down(price_units, abs(self.qty_units))
        return value if self.qty_units >= 0 else -value

    def unrealized_units(self, price_units: int) -> int:
        value = self.market_value_units(price_units)
        return value - self.cost_units if self.qty_units >= 0 else self.cost_units + value


@dataclass(slots=True)
class Ledger:
    """The money of one account: what it began with, and one holding for each symbol it ever traded."""

    name: str
    currency: str
    start_units: int
    holdings: dict[str, Holding] = field(default_factory=dict)

    @property
    def cash_units(self) -> int:
        return self.start_units + sum(holding.cash_units for holding in self.holdings.values())

    @property
    def realized_units(self) -> int:
        return sum(holding.realized_units for holding in self.holdings.values())


def amount(units: int, scale: int = AMOUNT_SCALE) -> Number:
    """An amount with as many decimals as it needs, two at least: how account values are written."""
    while scale > 2 and units % 10 == 0:
        units, scale = units // 10, scale - 1
    return Number(units, scale)
