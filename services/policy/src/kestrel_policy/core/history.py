"""Bars as the policy remembers them: per symbol, in the market's order, without gaps in knowledge of the past.

A decision for a bar sees that bar and those before it, whatever else is in memory: ``until`` is the only way to
read, so there is no looking ahead, also not when old bars are decided after a restart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_symbol
from kestrel_domain.numbers import Number

BARS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices in units of the instrument's price scale."""

    instrument: common_pb2.Instrument
    start_ns: int
    open_units: int
    high_units: int
    low_units: int
    close_units: int

    @property
    def close(self) -> Number:
        return Number(self.close_units, self.instrument.price_scale)


def checked_bar(message: venue_pb2.Bar) -> Bar:
    """A bar from the wire, or ``InvalidRequest`` naming the field, its value and the rule."""
    instrument = message.instrument
    checked_symbol("bar.instrument.symbol", instrument.symbol)
    for name in ("tick_units", "lot_units", "multiplier"):
        if getattr(instrument, name) <= 0:
            raise InvalidRequest.of(f"bar.instrument.{name}", getattr(instrument, name), "1 or more")
    prices = {name: _price(message, name) for name in ("open", "high", "low", "close")}
    if prices["high"] < max(prices.values()) or prices["low"] > min(prices.values()):
        raise InvalidRequest.of("bar.high", prices["high"], "low <= open, close <= high")
    if message.start_ns < 0:
        raise InvalidRequest.of("bar.start_ns", message.start_ns, "0 or more")
    return Bar(instrument, message.start_ns, prices["open"], prices["high"], prices["low"], prices["close"])


def _price(message: venue_pb2.Bar, name: str) -> int:
    if not message.HasField(name):  # type: ignore[arg-type]
        raise InvalidRequest.of(f"bar.{name}", "", "is required")
    number = Number.of(getattr(message, name))
    if number.units <= 0:
        raise InvalidRequest.of(f"bar.{name}", number, "must be positive")
    return number.at(message.instrument.price_scale, field=f"bar.{name}").units


@dataclass(slots=True)
class History:
    """One symbol's bars, oldest first."""

    bars: list[Bar] = field(default_factory=list)

    def add(self, bar: Bar) -> None:
        """Take a bar in its place; the same bar again changes nothing, and the first one stays."""
        at = bisect_left(self.bars, bar.start_ns, key=lambda known: known.start_ns)
        if at < len(self.bars) and self.bars[at].start_ns == bar.start_ns:
            return
        self.bars.insert(at, bar)
        del self.bars[:-BARS_MAX]

    def until(self, start_ns: int, count: int) -> list[Bar]:
        """The last ``count`` bars up to and including the one that starts then."""
        end = bisect_right(self.bars, start_ns, key=lambda known: known.start_ns)
        return self.bars[max(0, end - count) : end]
