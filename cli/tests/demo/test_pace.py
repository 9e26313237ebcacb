"""How fast market days go by, so that a demo ends in time and every day is seen."""

from __future__ import annotations

import time

import pytest

from kestrel_cli.demo.run import BAR_DAYS_MAX, DAY_PACE_S, TRADING_WITHIN_S, WARM_UP_DAY_S, pace_of
from kestrel_cli.demo.scenario import Pace
from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.venues import VenueKind
from kestrel_domain.timestamps import SECOND_NS


@pytest.mark.parametrize("day_count", [1, 31, 70, 140, 2_000])
def test_a_venue_that_tells_days_lets_any_number_of_them_go_by_within_the_time(day_count: int) -> None:
    pace = pace_of(VenueKind.PAPER, day_count)
    assert pace.warm_up_day_s == WARM_UP_DAY_S
    assert pace.day_s <= DAY_PACE_S
    assert pace.day_s * max(day_count - 31, 0) <= TRADING_WITHIN_S + 1e-6
    assert pace.bar_interval_s == 0.0


@pytest.mark.parametrize("day_count", [1, 70, 140, BAR_DAYS_MAX])
def test_a_venue_that_tells_prices_gets_days_that_are_longer_than_a_bar(day_count: int) -> None:
    pace = pace_of(VenueKind.TWS_SIM, day_count)
    assert 0.1 <= pace.bar_interval_s < pace.day_s == pace.warm_up_day_s
    assert pace.day_s * day_count <= 75.0


def test_more_days_than_fit_are_refused_before_anything_starts() -> None:
    with pytest.raises(CommandFailed, match="do not fit"):
        pace_of(VenueKind.TWS_SIM, BAR_DAYS_MAX + 1)


def test_a_strategy_has_decided_as_of_the_bars_own_day_or_of_the_clock() -> None:
    assert Pace(0.02, 0.28).decided_as_of_ns(17) == 17
    before = time.time_ns()
    asked = Pace(0.28, 0.28, 0.25).decided_as_of_ns(17)
    assert before - SECOND_NS // 4 <= asked <= time.time_ns() - SECOND_NS // 4
