"""The broker's clock on the wall: New York time, days, market hours. Pure: times come in as nanoseconds.

The rule of New York's clock is written out here (since 2007: from the second Sunday of March to the first of
November, at two in the morning), so that a simulator says the same times on a machine without zone data.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import SECOND_NS, from_datetime

ZONE = "US/Eastern"
UNKNOWN_ZONE = "Mars/Olympus_Mons"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPENS, _CLOSES = timedelta(hours=9, minutes=30), timedelta(hours=16)
_SATURDAY = 5
_SCHEDULE_DAYS = 6


class Hours(Enum):
    """When a symbol trades."""

    ALWAYS = tws_pb2.MARKET_HOURS_ALWAYS
    REGULAR = tws_pb2.MARKET_HOURS_REGULAR
    CLOSED = tws_pb2.MARKET_HOURS_CLOSED

    @classmethod
    def of(cls, number: int) -> Hours:
        try:
            return cls(number)
        except ValueError:
            raise InvalidRequest.of("hours", number, "ALWAYS, REGULAR or CLOSED") from None


def eastern(time_ns: int) -> datetime:
    """What a clock in New York shows. It carries UTC as its zone, so that days can be added without surprises."""
    moment = _EPOCH + timedelta(seconds=time_ns // SECOND_NS)
    return moment - timedelta(hours=_behind_hours(moment))


def _behind_hours(moment: datetime) -> int:
    """Hours behind UTC at a moment of UTC."""
    begins = _sunday(moment.year, 3, 2) + timedelta(hours=7)
    ends = _sunday(moment.year, 11, 1) + timedelta(hours=6)
    return 4 if begins <= moment < ends else 5


@lru_cache(maxsize=64)  # the same four days in every time that is told
def _sunday(year: int, month: int, number: int) -> datetime:
    first = datetime(year, month, 1, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (number - 1))


def _to_ns(shown: datetime) -> int:
    """The moment at which a clock in New York shows this; of the hour that happens twice, the first."""
    moment = shown + timedelta(hours=4)
    return from_datetime(moment if _behind_hours(moment) == 4 else shown + timedelta(hours=5))


def text(time_ns: int, zone: str = ZONE) -> str:
    """``20261121 02:53:50 US/Eastern``."""
    return f"{eastern(time_ns):%Y%m%d %H:%M:%S} {zone}"


def day(time_ns: int) -> int:
    """The number of the day in New York."""
    return eastern(time_ns).toordinal()


def filter_time_ns(given: str) -> int:
    """``yyyymmdd-hh:mm:ss`` (UTC) or ``yyyymmdd hh:mm:ss`` (New York) of an execution filter; 0 when empty."""
    if not given:
        return 0
    try:
        if "-" in given:
            return from_datetime(datetime.strptime(given, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC))
        shown = " ".join(given.split()[:2])
        return _to_ns(datetime.strptime(shown, "%Y%m%d %H:%M:%S").replace(tzinfo=UTC))
    except ValueError:
        raise InvalidRequest.of("time", given, "yyyymmdd-hh:mm:ss") from None


def opens_at_ns(hours: Hours, now_ns: int) -> int | None:
    """When an order can be sent to the market: now, later, or not known (None)."""
    if hours is Hours.ALWAYS:
        return now_ns
    if hours is Hours.CLOSED:
        return None
    shown = eastern(now_ns)
    midnight = shown.replace(hour=0, minute=0, second=0)
    if shown.weekday() < _SATURDAY and midnight + _OPENS <= shown < midnight + _CLOSES:
        return now_ns
    while midnight.weekday() >= _SATURDAY or midnight + _OPENS <= shown:
        midnight += timedelta(days=1)
    return _to_ns(midnight + _OPENS)


def schedule(hours: Hours, now_ns: int) -> str:
    """Trading hours as contract details write them, for today and the days after it."""
    today = eastern(now_ns).replace(hour=0, minute=0, second=0)
    return ";".join(_day_hours(hours, today + timedelta(days=number)) for number in range(_SCHEDULE_DAYS))


def _day_hours(hours: Hours, midnight: datetime) -> str:
    date = f"{midnight:%Y%m%d}"
    if hours is Hours.ALWAYS:
        return f"{date}:0000-{date}:2359"
    if hours is Hours.CLOSED or midnight.weekday() >= _SATURDAY:
        return f"{date}:CLOSED"
    return f"{date}:0930-{date}:1600"
