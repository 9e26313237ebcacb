"""Numbers and times as the protocol and the libraries carry them, made exact or refused.

Both libraries read the protocol's texts into floats before anybody can see them. The shortest text that makes the same
float is the text that was sent, for up to 15 significant digits, which is more than prices and quantities have; so
nothing is computed with a float, and nothing is rounded on the way in.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from kestrel_domain import timestamps
from kestrel_domain.errors import InvalidRequest, RemoteProtocolError
from kestrel_domain.numbers import SCALE_MAX, Number

_UNSET_FLOAT = 1.7976931348623157e308
_UNSET_INT = 2**31 - 1
_SCALE_OF_RATIOS = 10
_TIME = re.compile(r"(\d{8})[ -]+(\d{2}:\d{2}:\d{2})(?: +(\S.*))?\Z", re.ASCII)


def exact(value: float | int | str, field: str) -> Number:
    """A number that must be there. Raises ``RemoteProtocolError`` for what is none, or does not fit."""
    number = exact_or_none(value, field)
    if number is None:
        raise RemoteProtocolError(f"{field} is not set", reason="FIELD_UNUSABLE", field=field, value=value)
    return number


def exact_or_none(value: float | int | str, field: str) -> Number | None:
    """A number, or ``None`` where the protocol says that there is none."""
    if value in ("", _UNSET_FLOAT) or (type(value) is int and value == _UNSET_INT):
        return None
    try:
        text = format(Decimal(value if isinstance(value, str) else repr(value)), "f")
        return _trimmed(Number.parse(text, field=field))
    except (ArithmeticError, ValueError, InvalidRequest) as error:
        raise RemoteProtocolError(
            f"{field} {str(value)[:40]!r} is no number of ours", reason="FIELD_UNUSABLE", field=field, value=value
        ) from error


def approximate(value: float, field: str) -> Number:
    """A ratio that the venue computed, such as an average: ten decimals. Never a price that something traded at."""
    if not math.isfinite(value) or value == _UNSET_FLOAT:
        raise RemoteProtocolError(f"{field} is not set", reason="FIELD_UNUSABLE", field=field, value=value)
    return exact(format(Decimal(repr(value)).quantize(Decimal(1).scaleb(-_SCALE_OF_RATIOS)), "f"), field)


def time_ns(text: str, *, fallback_zone: str = "UTC") -> int | None:
    """The moment that an execution's text names; ``None`` when nobody can tell, as with a zone that nobody knows.

    ``20240102 10:00:00 US/Eastern`` names its zone. ``20240102-15:00:00`` is UTC by the vendor's documentation, and the
    old form without a zone is the gateway's local time. A moment is for people: no decision hangs on it.
    """
    match = _TIME.match(text.strip())
    if match is None:
        return None
    day, clock, zone = match.groups()
    try:
        moment = datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S")  # noqa: DTZ007  (the zone follows)
        named = "UTC" if "-" in text and not zone else zone or fallback_zone
        return timestamps.from_datetime(moment.replace(tzinfo=UTC if named == "UTC" else ZoneInfo(named)))
    except (ValueError, OSError, KeyError):
        return None


def _trimmed(number: Number) -> Number:
    """Without zeros at the end: ``5.0`` is ``5``, so equal numbers look equal wherever they are shown."""
    units, scale = number.units, number.scale
    while scale and units % 10 == 0:
        units, scale = units // 10, scale - 1
    return Number(units, min(scale, SCALE_MAX))
