"""Links that break and come back, prices that stand still, fees that are missing: by a clock of the test's own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.ibkr.core.bars import BarMaker
from kestrel_venue_gateway.ibkr.core.heard import ErrorSeen, ExecutionSeen
from kestrel_venue_gateway.ibkr.core.recovery import Answered, FeeQuestions
from kestrel_venue_gateway.ibkr.data import MarketData
from kestrel_venue_gateway.ibkr.session import Connection
from kestrel_venue_gateway.ibkr.venue import IbkrVenue

LIBRARY: Any = os.environ.get("KESTREL_TEST_IBKR_LIBRARY", "ib_insync")
TEN = Number(10, 0)


@pytest.fixture
async def venue() -> AsyncIterator[IbkrVenue]:
    """A connector with a connection that is open and has asked for everything, and no socket under it."""
    settings = VenueGatewaySettings(venue="ibkr", accounts=["DU1"], ibkr_library=LIBRARY)
    made = IbkrVenue(settings, "DU1")
    made._connection = Connection(made._endpoint(), made)
    made._answered = Answered(time.time_ns(), is_complete=True)
    yield made
    await made.close()


def say(venue: IbkrVenue, code: int) -> None:
    assert venue._connection is not None
    venue._connection.on_message(ErrorSeen(-1, code, "as the gateway words it"))


# --- the gateway's own link --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1100, 2110])
@pytest.mark.parametrize("restored", [1101, 1102])
async def test_gateway_without_its_servers_takes_no_entries_until_everything_was_asked_again(
    venue: IbkrVenue, lost: int, restored: int
) -> None:
    assert venue.state.no_entry is None
    say(venue, lost)
    degraded = venue.state.degraded
    assert degraded is not None
    assert degraded.reason == f"IBKR_{lost}"
    say(venue, restored)
    degraded = venue.state.degraded
    assert degraded is not None
    assert degraded.reason == "IBKR_NOT_RECONCILED"
    assert venue._must_ask.is_set()
    venue._answered = Answered(time.time_ns(), is_complete=True)
    assert venue.state.no_entry is None


@pytest.mark.parametrize("lost", [1100, 2110])
async def test_what_arrives_while_the_gateway_has_no_servers_counts(venue: IbkrVenue, lost: int) -> None:
    say(venue, lost)
    assert venue._connection is not None
    venue._connection.on_message(
        ExecutionSeen("e.01", 1, 71, 900, "ks1", "DU1", "AAPL", "STK", common_pb2.SIDE_BUY, TEN, TEN, None)
    )
    event = venue._outbox.get_nowait()
    assert event is not None
    assert event.key == "e.01"


@pytest.mark.parametrize("code", [2103, 2105, 2157, 2104, 2106, 2107, 2108, 2119, 2158])
async def test_farms_of_data_that_break_or_rest_are_no_outage_of_orders(venue: IbkrVenue, code: int) -> None:
    say(venue, code)
    assert venue.state.no_entry is None


# --- answers -----------------------------------------------------------------------------------------------------


async def test_an_answer_of_which_a_part_cannot_be_read_is_none_though_its_end_is_heard(venue: IbkrVenue) -> None:
    """Position and end marker come in one go, before anybody else has a turn."""
    connection = venue._connection
    assert connection is not None
    asking = asyncio.create_task(connection._ask("positions", lambda: None))
    await asyncio.sleep(0)
    assert ("positions", 0) in connection._waiting
    connection.on_unreadable("a position of half a word")
    connection.on_end("positions", 0)
    with pytest.raises(RemoteProtocolError):
        await asking


# --- prices ------------------------------------------------------------------------------------------------------


async def test_subscriptions_that_a_cut_took_along_are_made_anew_1101(venue: IbkrVenue) -> None:
    data = MarketData("ibkr", venue._endpoint(), ["AAPL"], lambda _: None, bar_interval_s=5)
    connection = data._connection = Connection(venue._endpoint(), data)
    connection.on_message(ErrorSeen(-1, 1101, "restored, data lost"))
    assert isinstance(connection.ended.result(), Unavailable)  # bars() raises, and the next one subscribes
    data.close()


def test_prices_that_stand_still_make_no_bars_and_the_first_after_them_begins_one() -> None:
    """A price of before would look like one of now: the strategy decides on nothing, until there is something."""
    maker = BarMaker("ibkr", common_pb2.Instrument(symbol="AAPL"), 5 * SECOND_NS, place=0)
    assert maker.learn_price(Number(100, 0), now_ns=SECOND_NS) == []
    (before,) = maker.take(now_ns=5 * SECOND_NS)
    assert [bar for second in range(6, 600) for bar in maker.take(now_ns=second * SECOND_NS)] == []
    assert maker.learn_price(Number(90, 0), now_ns=601 * SECOND_NS) == []
    (after,) = maker.take(now_ns=605 * SECOND_NS)
    assert (before.start_ns, after.start_ns) == (0, 600 * SECOND_NS)
    assert Number.of(after.open) == Number(90, 0)


# --- fees --------------------------------------------------------------------------------------------------------


def asked_at(seconds: int, *, missing_until: int) -> list[int]:
    """When executions are asked for again, in seconds, each question being answered at once."""
    questions, asked, answered_s = FeeQuestions(), list[int](), 0
    for now_s in range(1, seconds):
        is_missing = now_s < missing_until
        if questions.is_due(is_missing=is_missing, asked_at_ns=answered_s * SECOND_NS, now_ns=now_s * SECOND_NS):
            asked.append(now_s)
            answered_s = now_s
    return asked


def test_missing_fees_are_asked_for_after_5_10_20_seconds_and_so_on_up_to_every_audit() -> None:
    pauses = [later - before for before, later in pairwise([0, *asked_at(2000, missing_until=2000)])]
    assert pauses == [6, 11, 21, 41, 81, 161, 301, 301, 301, 301, 301]  # looked at once a second


def test_fees_that_came_are_not_asked_for_and_the_next_that_is_missing_begins_with_5_seconds() -> None:
    assert asked_at(100, missing_until=10) == [6]
    questions = FeeQuestions()
    assert questions.is_due(is_missing=True, asked_at_ns=0, now_ns=6 * SECOND_NS)
    assert not questions.is_due(is_missing=False, asked_at_ns=0, now_ns=7 * SECOND_NS)
    assert questions.is_due(is_missing=True, asked_at_ns=0, now_ns=8 * SECOND_NS)


async def test_missing_fee_makes_the_connector_ask_and_none_does_not(venue: IbkrVenue) -> None:
    venue._answered = Answered(time.time_ns() - 6 * SECOND_NS, is_complete=True)
    venue._mind_missing_fees()
    assert not venue._must_ask.is_set()
    venue.hear_order(
        ExecutionSeen("e.01", 1, 71, 900, "ks1", "DU1", "AAPL", "STK", common_pb2.SIDE_BUY, TEN, TEN, None)
    )
    venue._mind_missing_fees()
    assert venue._must_ask.is_set()
