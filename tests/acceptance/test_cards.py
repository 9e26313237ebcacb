"""Every card at every place: the paper venue, and the TWS simulator with either library.

Each place is opened once and runs its cards one after another; each card is a test of its own. ib_async lives in an
environment of its own, so its place runs in a process of that environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.acceptance.card import all_cards
from tests.acceptance.places import PaperPlace, TwsPlace
from tests.acceptance.run import LEFT_OUT, PASSED, Result

_ROOT = Path(__file__).parents[2]
_PYTHONS = {"ib_async": _ROOT / ".venv-ib-async/bin/python"}
_OFFERS = {"paper": PaperPlace.offers, "ib_insync": TwsPlace.offers, "ib_async": TwsPlace.offers}
_RUN_WITHIN_S = 1100
"""A whole run takes about two minutes; the first card of a place waits for it."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def _cases() -> list[object]:
    return [
        pytest.param(place, card.card_id, id=f"{place}-{card.card_id}", marks=pytest.mark.xdist_group(f"cards-{place}"))
        for place, offers in _OFFERS.items()
        for card in all_cards()
        if not card.missing(offers)
    ]


@cache
def _output(place: str) -> tuple[str, str]:
    """What a whole run has written; kept also when it came to nothing, or every card would try it again."""
    venue = ["--venue", "paper"] if place == "paper" else ["--venue", "tws", "--library", place]
    python = _PYTHONS.get(place, Path(sys.executable))
    assert python.exists(), f"{python} is missing: make .venv-ib-async/.ready"
    command = [str(python), "-m", "tests.acceptance", *venue, "--json"]
    try:
        run = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_RUN_WITHIN_S)
    except subprocess.TimeoutExpired:
        return "", f"not done within {_RUN_WITHIN_S} s"
    return run.stdout, run.stderr


def _results(place: str) -> dict[str, Result]:
    stdout, stderr = _output(place)
    assert stdout.startswith("["), f"no results: {stdout[-2000:]} {stderr[-4000:]}"
    results = [Result(**found) for found in json.loads(stdout)]
    return {result.card_id: result for result in results}


@pytest.mark.parametrize(("place", "card_id"), _cases())
def test_card(place: str, card_id: str) -> None:
    result = _results(place)[card_id]
    assert result.outcome == PASSED, f"{card_id} {result.title}: {result.reason}"


def test_interactive_brokers_has_at_least_forty_cards() -> None:
    assert sum(not card.missing(TwsPlace.offers) for card in all_cards()) >= 40


def test_card_that_cannot_run_somewhere_says_what_is_lacking() -> None:
    reasons = [card.missing(PaperPlace.offers) for card in all_cards()]
    assert any(reason.startswith("not here: ") for reason in reasons)
    assert LEFT_OUT != PASSED


def test_every_card_says_what_is_given_what_is_done_and_what_is_expected() -> None:
    for card in all_cards():
        assert card.precondition, card.card_id
        assert card.action, card.card_id
        assert card.expected, card.card_id
