"""How much to trade: what may be lost when the stop is hit, within caps. Exact, and rounded down to the lot."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number
from kestrel_policy.core.parameters import Sizing

_BPS = 10_000


@dataclass(frozen=True, slots=True)
class Size:
    """A quantity (0: no entry) and the sentence that explains it."""

    qty: Number
    reason: str


def size(
    sizing: Sizing,
    instrument: common_pb2.Instrument,
    *,
    capital: Number,
    exposure: Number,
    price: Number,
    stop: Number,
) -> Size:
    """The quantity whose loss at the stop is the risk per trade, capped by position and by gross exposure.

    ``exposure`` is what is open, working or proposed already, as notional in the account's currency.
    """
    price_each = _exact(price) * instrument.multiplier
    risk_each = abs(_exact(price) - _exact(stop)) * instrument.multiplier
    if risk_each == 0 or price_each <= 0 or capital.units <= 0:
        return Size(Number.zero(instrument.qty_scale), "no capital, or no distance to the stop")
    limits = {
        "risk per trade": _share(capital, sizing.risk_per_trade_bps) / risk_each,
        "position limit": _share(capital, sizing.position_bps_max) / price_each,
        "exposure limit": (_share(capital, sizing.gross_exposure_bps_max) - _exact(exposure)) / price_each,
    }
    name, least = min(limits.items(), key=lambda item: item[1])
    lot = Fraction(instrument.lot_units, 10**instrument.qty_scale)
    lots = max(0, least // lot)
    qty = Number(int(lots) * instrument.lot_units, instrument.qty_scale)
    return Size(qty, f"{qty} by the {name}")


def notional(instrument: common_pb2.Instrument, price: Number, qty: Number) -> Number:
    """Price x quantity x multiplier."""
    return price * qty * instrument.multiplier


def _share(capital: Number, bps: int) -> Fraction:
    return _exact(capital) * bps / _BPS


def _exact(number: Number) -> Fraction:
    return Fraction(number.units, 10**number.scale)
