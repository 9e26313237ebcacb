"""Time as UTC nanoseconds since the epoch. Nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kestrel_domain.errors import InvalidRequest

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_text(time_ns: int) -> str:
    """RFC 3339 with nine decimals and a Z: ``2026-05-20T20:37:54.580370000Z``."""
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def from_datetime(moment: datetime) -> int:
    """Exact to the microsecond; a moment without a zone is refused, because it could mean several."""
    if moment.tzinfo is None:
        raise InvalidRequest.of("time", moment, "needs a time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
