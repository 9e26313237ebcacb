"""Contracts of the venue as versions of our instruments, and the hours they trade in.

Shares are what is traded here. The venue writes ``BRK B`` where our symbols, which also name subjects, write ``BRK-B``.

An instrument's version follows from its content: the same tick, lot, scales, multiplier and currency are the same
version in every process, and a change of one of them is another version.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from kestrel.common.v1 import common_pb2
from kestrel_domain import identifiers, timestamps
from kestrel_domain.errors import InvalidRequest, RemoteProtocolError
from kestrel_domain.numbers import Number

_NOT_IN_SYMBOLS = re.compile(r"[^A-Z0-9_-]")
_PRICE_SCALE_MIN = 4
"""Shares trade between ticks, too: at midpoints and by price improvement, down to a hundredth of a cent."""
_SESSION = re.compile(r"(\d{8}):(\d{4})-(\d{8}):(\d{4})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A contract as settings or a command name it."""

    symbol: str
    exchange: str = "SMART"
    currency: str = "USD"

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """``SYMBOL`` or ``SYMBOL:EXCHANGE:CURRENCY``."""
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(parts):
            raise InvalidRequest.of("ibkr_symbols", text, "SYMBOL or SYMBOL:EXCHANGE:CURRENCY")
        symbol = identifiers.checked_symbol("ibkr_symbols", parts[0])
        return cls(symbol, *parts[1:])

    @property
    def venue_symbol(self) -> str:
        return self.symbol.replace("-", " ")


@dataclass(frozen=True, slots=True)
class ContractSeen:
    """contractDetails, as far as we use it."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    tick: Number
    size_increment: Number | None
    multiplier: Number
    time_zone: str = ""
    trading_hours: str = ""
    liquid_hours: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A contract that was qualified: the venue's identity of it, our instrument, and its hours."""

    contract: ContractSeen
    instrument: common_pb2.Instrument
    trading_hours: tuple[tuple[int, int], ...]

    def is_open(self, now_ns: int) -> bool | None:
        """Whether it trades now; ``None`` when the venue's hours do not say."""
        if not self.trading_hours:
            return None
        return any(begin <= now_ns < end for begin, end in self.trading_hours)


def symbol_of(symbol: str, sec_type: str, local_symbol: str) -> str:
    """Our symbol for a contract of the venue. What is no share is named by its local symbol, which is unique."""
    text = symbol if sec_type in ("STK", "") or not local_symbol else local_symbol
    return _NOT_IN_SYMBOLS.sub("-", text.upper()).strip("-_")[:32] or "UNNAMED"


def listing(seen: ContractSeen) -> Listing:
    """Raises ``RemoteProtocolError`` for a contract that no instrument of ours can describe."""
    if seen.tick.units <= 0 or seen.multiplier.units <= 0 or seen.multiplier.scale:
        raise RemoteProtocolError(
            f"contract {seen.con_id} has tick {seen.tick} and multiplier {seen.multiplier}", reason="CONTRACT_UNUSABLE"
        )
    lot = _lot(seen)
    instrument = common_pb2.Instrument(
        symbol=symbol_of(seen.symbol, seen.sec_type, seen.local_symbol),
        currency=seen.currency,
        price_scale=max(_PRICE_SCALE_MIN, seen.tick.scale),
        qty_scale=lot.scale,
        tick_units=seen.tick.at(max(_PRICE_SCALE_MIN, seen.tick.scale)).units,
        lot_units=lot.units,
        multiplier=seen.multiplier.units,
    )
    instrument.version = zlib.crc32(instrument.SerializeToString(deterministic=True)) or 1
    return Listing(seen, instrument, sessions(seen.trading_hours, seen.time_zone))


def check_command(
    listed: Listing, instrument: common_pb2.Instrument, order_qty: Number, *prices: Number | None
) -> None:
    """What was decided on must be what the venue trades. Raises ``InvalidRequest``."""
    ours = listed.instrument
    if instrument.currency and instrument.currency != ours.currency:
        raise InvalidRequest.of("instrument.currency", instrument.currency, f"{ours.currency}, as the venue trades it")
    if instrument.multiplier and instrument.multiplier != ours.multiplier:
        raise InvalidRequest.of("instrument.multiplier", instrument.multiplier, f"{ours.multiplier} at the venue")
    lot, tick = Number(ours.lot_units, ours.qty_scale), Number(ours.tick_units, ours.price_scale)
    if order_qty.units <= 0 or not _is_multiple(order_qty, lot):
        raise InvalidRequest.of("order_qty", order_qty, f"a multiple of the venue's lot {lot}")
    for price in prices:
        if price is not None and not _is_multiple(price, tick):
            raise InvalidRequest.of("price", price, f"a multiple of the venue's tick {tick}")


def sessions(text: str, zone: str) -> tuple[tuple[int, int], ...]:
    """``20260105:0930-20260105:1600;20260106:CLOSED`` as moments. What cannot be read says nothing."""
    try:
        there = UTC if zone in ("", "UTC") else ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return ()
    found = []
    for part in text.split(";"):
        match = _SESSION.match(part.strip())
        if match is None:
            continue
        first_day, first_time, last_day, last_time = match.groups()
        try:
            begin = datetime.strptime(first_day + first_time, "%Y%m%d%H%M").replace(tzinfo=there)
            end = datetime.strptime(last_day + last_time, "%Y%m%d%H%M").replace(tzinfo=there)
        except ValueError:
            continue
        found.append((timestamps.from_datetime(begin), timestamps.from_datetime(end)))
    return tuple(found)


def _lot(seen: ContractSeen) -> Number:
    """Whole shares: the venue names fractions for many shares, and refuses them by this way (10243)."""
    increment = seen.size_increment
    if increment is None or increment.units <= 0 or (seen.sec_type == "STK" and increment < Number(1, 0)):
        return Number(1, 0)
    return increment


def _is_multiple(value: Number, step: Number) -> bool:
    scale = max(value.scale, step.scale)
    return value.at(scale).units % step.at(scale).units == 0
