"""Bars from ticks: the venue tells prices as they change, the platform decides on bars.

A bar covers ``[start, start + interval)`` of the clock. One in which nothing was told is not told either: a price of
before would look like one of now. Its number is its place in time and the symbol's place in the list, so that two
gateways that carry the same prices give the same bar the same number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number

_SYMBOLS_MAX = 10_000

LAST_PRICES = frozenset({4, 68})
"""Tick types of the last trade's price, real and delayed."""
VOLUMES = frozenset({8, 74})


@dataclass(slots=True)
class BarMaker:
    """The bars of one instrument."""

    venue: str
    instrument: common_pb2.Instrument
    interval_ns: int
    place: int
    _start_ns: int = 0
    _prices: list[Number] = field(default_factory=list)
    _volume: Number | None = None
    _volume_before: Number | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.place < _SYMBOLS_MAX:
            raise ValueError(f"at most {_SYMBOLS_MAX} symbols")

    def learn_price(self, price: Number, *, now_ns: int) -> list[venue_pb2.Bar]:
        """A trade's price; the bar that it ended, if it did. A price of zero or less is none (K08)."""
        ended = self.take(now_ns=now_ns)
        if price.units > 0:
            if not self._prices:
                self._start_ns = now_ns - now_ns % self.interval_ns
            # Open, high, low and close are all that is kept, however many prices there were.
            kept = self._prices
            self._prices = [kept[0], max(kept[1], price), min(kept[2], price), price] if kept else [price] * 4
        return ended

    def learn_volume(self, volume: Number) -> None:
        """The day's volume so far."""
        if self._volume_before is None or volume < self._volume_before:
            self._volume_before = volume
        self._volume = volume

    def take(self, *, now_ns: int) -> list[venue_pb2.Bar]:
        """The bar whose time is over, if prices were told in it."""
        if not self._prices or now_ns < self._start_ns + self.interval_ns:
            return []
        opened, high, low, close = self._prices
        volume = Number(0, 0)
        if self._volume is not None and self._volume_before is not None:
            volume = self._volume - self._volume_before
            self._volume_before = self._volume
        bar = venue_pb2.Bar(
            venue=self.venue,
            instrument=self.instrument,
            open=opened.message(),
            high=high.message(),
            low=low.message(),
            close=close.message(),
            volume=volume.message(),
            start_ns=self._start_ns,
            interval_ns=self.interval_ns,
            received_at_ns=now_ns,
            venue_sequence=self._start_ns // self.interval_ns * _SYMBOLS_MAX + self.place,
        )
        self._prices = []
        return [bar]
