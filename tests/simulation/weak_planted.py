"""Bugs that only a venue shows that proves nothing: each breaks one rule of the gateway for as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from unittest.mock import patch

from kestrel.venue.v1 import venue_pb2
from kestrel_venue_gateway.core import reports, submission
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import ReadSpend, SpendResult
from tests.simulation import weak_venue

Plant = Callable[[], Iterator[None]]


@dataclass(frozen=True)
class Bug:
    """How to plant it, and what the simulation has to say about it: a bug found by accident is not found."""

    planted: Callable[[], AbstractContextManager[None]]
    complaint: str


BUGS: dict[str, Bug] = {}


def bug(complaint: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        BUGS[plant.__name__] = Bug(contextmanager(plant), complaint)
        return plant

    return register


@bug("one order, twice at the venue")
def gateway_sends_an_exit_in_doubt_again() -> Iterator[None]:
    def newest(gate: Any, commission: Any) -> Generator[Any, Any, tuple[int, SpendResult]]:
        """Whatever was begun is taken for unsent."""
        for attempt in count(1):
            key, run = submission._begun(commission.command, attempt), submission._run(gate, commission)
            mark = yield from submission._insist(ReadSpend(key, run))
            if mark in (SpendResult.WON, SpendResult.TAKEN):
                return attempt, mark
        raise AssertionError

    with patch.object(submission, "_newest_attempt", newest):
        yield


@bug("the venue has an order that was denied|denied that the venue has")
def gateway_burns_an_entry_on_an_absence_that_is_no_proof() -> Iterator[None]:
    with patch.object(weak_venue, "TRAITS", replace(weak_venue.TRAITS, fences=True)):
        yield


@bug("is told again")
def gateway_tells_what_it_told_before() -> Iterator[None]:
    with patch.object(reports, "was_told", lambda *_: False):
        yield


@bug("the venue holds|in one book only|has not found the drift|a fee of")
def gateway_books_a_correction_as_a_new_fill() -> Iterator[None]:
    original = reports.hear

    def hear(event: Any, **about: Any) -> reports.Heard:
        is_correction = isinstance(event.fact, venue_pb2.FillBust) and event.fact.HasField("corrected")
        return original(replace(event, fact=event.fact.corrected) if is_correction else event, **about)

    with patch.object(reports, "hear", hear):
        yield


@bug("the venue holds|in one book only")
def gateway_names_an_execution_as_its_correction_does() -> Iterator[None]:
    with patch.object(KnownFacts, "booked_as", lambda _, execution_id: execution_id):
        yield


@bug("in doubt, and nobody was told")
def gateway_keeps_a_doubt_to_itself() -> Iterator[None]:
    def report_doubt(command: Any, reason: Any) -> submission.Procedure:
        yield submission.Record(submission._order_report(command, venue_pb2.ORDER_FACT_IN_DOUBT))

    with patch.object(submission, "_report_doubt", report_doubt):
        yield
