"""Bars in memory, and bars at the door."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import DAY_NS
from kestrel_policy.core.history import BARS_MAX, Bar, History


@given(st.lists(st.integers(0, 40)), st.integers(0, 40), st.integers(1, 10))
def test_a_reader_never_sees_a_bar_of_the_future_X01(days: list[int], today: int, count: int) -> None:
    history = History()
    for number, day in enumerate(days):
        history.add(Bar(None, day * DAY_NS, number, number, number, number))  # type: ignore[arg-type]
    seen = [bar.start_ns // DAY_NS for bar in history.until(today * DAY_NS, count)]
    assert seen == [day for day in sorted(set(days)) if day <= today][-count:]
    firsts = {bar.start_ns // DAY_NS: bar.close_units for bar in history.bars}
    assert firsts == {day: days.index(day) for day in set(days)}, "the first bar of a day stays"


def test_memory_is_bounded() -> None:
    history = History()
    for day in range(BARS_MAX + 10):
        history.add(Bar(None, day, 1, 1, 1, 1))  # type: ignore[arg-type]
    assert len(history.bars) == BARS_MAX
    assert history.bars[0].start_ns == 10


@pytest.mark.parametrize(
    "field,change",
    [
        ("bar.close", lambda bar: bar.ClearField("close")),
        ("bar.open", lambda bar: setattr(bar.open, "units", 0)),
        ("bar.high", lambda bar: setattr(bar.high, "units", 1)),
        ("bar.instrument.symbol", lambda bar: setattr(bar.instrument, "symbol", "aapl")),
        ("bar.instrument.lot_units", lambda bar: setattr(bar.instrument, "lot_units", 0)),
        ("bar.start_ns", lambda bar: setattr(bar, "start_ns", -1)),
        ("scale", lambda bar: setattr(bar.close, "scale", 99)),
    ],
)
def test_a_bad_bar_is_refused_by_field(bars: Any, field: str, change: Any) -> None:
    message = bars.one(1, 100)
    change(message)
    with pytest.raises(InvalidRequest) as caught:
        bars.checked(message)
    assert caught.value.field == field
    assert caught.value.rule
