"""What may be a bar, and what may follow it."""

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import DAY_NS
from kestrel_simulators.matching import Bar, Instrument

STOCK = Instrument("AAPL", 1, "USD", 4, 0, 100, 1, 1)


def message(**changes: object) -> venue_pb2.Bar:
    prices = {"open": 100, "high": 110, "low": 90, "close": 105} | changes
    bar = venue_pb2.Bar(start_ns=DAY_NS, interval_ns=DAY_NS)
    for name, value in prices.items():
        if name in ("start_ns", "interval_ns"):
            setattr(bar, name, value)
        elif value is not None:
            getattr(bar, name).CopyFrom(common_pb2.Decimal(units=value, scale=0))
    return bar


def test_a_sound_bar_is_read_exactly() -> None:
    bar = Bar.of(STOCK, message())
    assert (bar.open_units, bar.high_units, bar.low_units, bar.close_units) == (1000000, 1100000, 900000, 1050000)
    assert bar.day == 1


@pytest.mark.parametrize(
    "changes,field",
    [
        ({"open": None}, "bar.open"),
        ({"close": 0}, "bar.close"),
        ({"low": -1}, "bar.low"),
        ({"high": 104}, "bar.high"),
        ({"low": 101}, "bar.low"),
        ({"interval_ns": 0}, "bar.interval_ns"),
        ({"volume": -1}, "bar.volume"),
    ],
)
def test_an_unsound_bar_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Bar.of(STOCK, message(**changes))
    assert caught.value.field == field


def test_a_price_with_a_decimal_too_many_is_refused() -> None:
    bar = message()
    bar.close.CopyFrom(common_pb2.Decimal(units=10000001, scale=5))
    with pytest.raises(InvalidRequest, match=r"bar\.close.*at most 4 decimals"):
        Bar.of(STOCK, bar)
