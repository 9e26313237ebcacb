"""The market of one instrument: its last prices and the rules for what may come next."""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_simulators.matching.money import Instrument


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, in units of the instrument's price scale."""

    open_units: int
    high_units: int
    low_units: int
    close_units: int
    start_ns: int
    interval_ns: int

    @classmethod
    def of(cls, instrument: Instrument, message: venue_pb2.Bar) -> Bar:
        """From the wire, or ``InvalidRequest`` naming what is wrong with it."""
        prices = {}
        for name in ("open", "high", "low", "close"):
            if not message.HasField(name):
                raise InvalidRequest.of(f"bar.{name}", "", "is required")
            prices[name] = instrument.price_units(Number.of(getattr(message, name)), f"bar.{name}")
        if prices["high"] < max(prices.values()):
            raise InvalidRequest.of("bar.high", Number.of(message.high), "not below open, low and close")
        if prices["low"] > min(prices.values()):
            raise InvalidRequest.of("bar.low", Number.of(message.low), "not above open, high and close")
        if message.interval_ns <= 0:
            raise InvalidRequest.of("bar.interval_ns", message.interval_ns, "1 or more")
        if message.volume.units < 0:
            raise InvalidRequest.of("bar.volume", Number.of(message.volume), "0 or more")
        return cls(
            prices["open"], prices["high"], prices["low"], prices["close"], message.start_ns, message.interval_ns
        )

    @property
    def day(self) -> int:
        return self.start_ns // DAY_NS


@dataclass(slots=True)
class Market:
    """The last known prices. ``price_sequence`` counts the moves: one bar or one quote is one move."""

    instrument: Instrument
    last_units: int
    bid_units: int = 0
    ask_units: int = 0
    price_sequence: int = 0
    start_ns: int = -1
    day: int = 0

    def check_instrument(self, instrument: Instrument) -> None:
        if instrument != self.instrument:
            raise InvalidRequest.of(
                "instrument",
                instrument,
                f"the definition this venue has: {self.instrument}",
                reason="INSTRUMENT_CHANGED",
            )

    def check_next(self, instrument: Instrument, bar: Bar) -> None:
        """A bar follows the one before it and means the same instrument."""
        self.check_instrument(instrument)
        if bar.start_ns <= self.start_ns:
            rule = f"after {self.start_ns}, the start of the last bar of {instrument.symbol}"
            raise InvalidRequest.of("bar.start_ns", bar.start_ns, rule, reason="BAR_OUT_OF_ORDER")

    def begin(self, bar: Bar) -> None:
        self.price_sequence += 1
        self._trade(bar.open_units)

    def finish(self, bar: Bar) -> None:
        self._trade(bar.close_units)
        self.start_ns = bar.start_ns
        self.day = bar.day

    def quote(self, bid_units: int, ask_units: int) -> None:
        self.price_sequence += 1
        self.bid_units, self.ask_units, self.last_units = bid_units, ask_units, (bid_units + ask_units) // 2

    def price_for(self, is_buy: bool) -> int:
        """What an order that takes liquidity pays or gets now, before slippage."""
        return self.ask_units if is_buy else self.bid_units

    def _trade(self, price_units: int) -> None:
        self.bid_units = self.ask_units = self.last_units = price_units
