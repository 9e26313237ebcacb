"""New York's clock and market hours, against the zone data of the machine, and contract listings."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import SECOND_NS, from_datetime
from kestrel_simulators.matching import Instrument
from kestrel_simulators.tws import hours
from kestrel_simulators.tws.contracts import Listings
from kestrel_simulators.tws.hours import Hours
from kestrel_simulators.tws.terms import Contract

NEW_YORK = ZoneInfo("America/New_York")


def at(*parts: int) -> int:
    return from_datetime(datetime(*parts, tzinfo=NEW_YORK))  # type: ignore[arg-type, misc]


@settings(deadline=None)
@given(st.integers(from_datetime(datetime(2008, 1, 1, tzinfo=UTC)), from_datetime(datetime(2037, 1, 1, tzinfo=UTC))))
def test_the_clock_shows_what_clocks_in_new_york_show(time_ns: int) -> None:
    seconds = time_ns // SECOND_NS
    shown = datetime.fromtimestamp(seconds, NEW_YORK)
    assert hours.text(time_ns) == f"{shown:%Y%m%d %H:%M:%S} US/Eastern"


@settings(deadline=None)
@given(st.integers(from_datetime(datetime(2008, 1, 1, tzinfo=UTC)), from_datetime(datetime(2037, 1, 1, tzinfo=UTC))))
def test_the_market_opens_on_weekdays_at_half_past_nine(time_ns: int) -> None:
    opens_ns = hours.opens_at_ns(Hours.REGULAR, time_ns)
    assert opens_ns is not None
    local = datetime.fromtimestamp(opens_ns // SECOND_NS, NEW_YORK)
    assert local.weekday() < 5
    if opens_ns == time_ns:
        assert (9, 30) <= (local.hour, local.minute) < (16, 0)
    else:
        assert (local.hour, local.minute, local.second) == (9, 30, 0)
        assert 0 < opens_ns - time_ns <= 66 * 3600 * SECOND_NS


def test_a_market_is_always_open_or_closed_until_told_otherwise() -> None:
    now_ns = at(2026, 11, 21, 3, 0)
    assert hours.opens_at_ns(Hours.ALWAYS, now_ns) == now_ns
    assert hours.opens_at_ns(Hours.CLOSED, now_ns) is None


def test_the_schedule_names_each_day() -> None:
    friday = at(2026, 11, 20, 12, 0)
    assert hours.schedule(Hours.REGULAR, friday).split(";")[:3] == [
        "20261120:0930-20261120:1600", "20261121:CLOSED", "20261122:CLOSED",
    ]  # fmt: skip
    assert hours.schedule(Hours.ALWAYS, friday).startswith("20261120:0000-20261120:2359;")
    assert set(hours.schedule(Hours.CLOSED, friday).split(";")) >= {"20261120:CLOSED", "20261125:CLOSED"}


def test_a_filter_names_utc_with_a_dash_and_new_york_without() -> None:
    assert hours.filter_time_ns("") == 0
    assert hours.filter_time_ns("20261121-15:00:00") == at(2026, 11, 21, 10, 0)
    assert hours.filter_time_ns("20261121 10:00:00") == at(2026, 11, 21, 10, 0)
    assert hours.filter_time_ns("20260721 10:00:00 US/Eastern") == at(2026, 7, 21, 10, 0)
    for bad in ("yesterday", "20261341-15:00:00"):
        with pytest.raises(InvalidRequest):
            hours.filter_time_ns(bad)


def test_hours_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Hours.of(0)


# ── Listings ─────────────────────────────────────────────────────────────────────────────────────────────


def listings(count: int = 1) -> Listings:
    every = Listings()
    for number in range(count):
        every.add(Instrument(f"S{number}", 1, "USD", 2, 0, 1, 1, 1 if number else 50))
    return every


def test_each_symbol_has_a_contract_id_of_its_own_and_keeps_it() -> None:
    every = listings(500)
    ids = {symbol: listing.con_id for symbol, listing in every.by_symbol.items()}
    assert len(set(ids.values())) == 500
    assert all(0 < con_id < 2**31 for con_id in ids.values())
    assert {symbol: listing.con_id for symbol, listing in listings(500).by_symbol.items()} == ids


def test_a_contract_id_that_is_taken_is_not_given_twice() -> None:
    every = Listings()
    taken = every.add(Instrument("A", 1, "USD", 2, 0, 1, 1, 1))
    wanted = Listings().add(Instrument("B", 1, "USD", 2, 0, 1, 1, 1)).con_id
    taken.con_id = wanted
    assert every.add(Instrument("B", 1, "USD", 2, 0, 1, 1, 1)).con_id == wanted + 1


@pytest.mark.parametrize(
    ("contract", "is_found"),
    [
        (Contract(symbol="S0"), True),
        (Contract(symbol="S0", sec_type="STK", exchange="SMART", currency="USD", primary_exchange="NASDAQ"), True),
        (Contract(local_symbol="S0", sec_type="STK"), True),
        (Contract(symbol="S0", sec_type="OPT"), False),
        (Contract(symbol="S0", exchange="LSE"), False),
        (Contract(symbol="S0", currency="EUR"), False),
        (Contract(symbol="S0", primary_exchange="NYSE"), False),
        (Contract(symbol="S0", local_symbol="S1"), False),
        (Contract(con_id=4711), False),
        (Contract(symbol="S0", con_id=4711), False),
        (Contract(), False),
    ],
)
def test_a_client_means_a_listing_when_nothing_it_says_contradicts(contract: Contract, is_found: bool) -> None:
    found = listings(2).find(contract)
    assert (found is not None) == is_found


def test_a_multiplier_other_than_one_is_part_of_the_contract() -> None:
    every = listings(2)
    assert (every.by_symbol["S0"].contract().multiplier, every.by_symbol["S1"].contract().multiplier) == ("50", "")
    assert [each.instrument.symbol for each in every.matching("s")] == ["S0", "S1"]
