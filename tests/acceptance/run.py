"""Runs cards at a place, one after another, and says what came of each."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from tests.acceptance.card import Card
from tests.acceptance.places import Place
from tests.acceptance.stand import Stand

CARD_TIMEOUT_S = 120.0
PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one card. ``reason``: why it failed or was left out."""

    card_id: str
    title: str
    outcome: str
    reason: str
    took_s: float


async def run_cards(place: Place, cards: Sequence[Card], tell: Callable[[Result], None]) -> list[Result]:
    """Open the place, run what can run there, close it. A card that fails does not stop those behind it."""
    results = []
    await place.open()
    try:
        for card in cards:
            results.append(await _run_card(place, card))
            tell(results[-1])
    finally:
        await place.close()
    return results


async def _run_card(place: Place, card: Card) -> Result:
    missing = card.missing(place.offers)
    if missing:
        return Result(card.card_id, card.title, LEFT_OUT, missing, 0.0)
    began_s = time.monotonic()
    reason = ""
    try:
        async with asyncio.timeout(CARD_TIMEOUT_S):
            await _run_steps(await place.stand(), card)
    except TimeoutError:
        reason = f"not done within {CARD_TIMEOUT_S:.0f} s"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    return Result(card.card_id, card.title, FAILED if reason else PASSED, reason, time.monotonic() - began_s)


async def _run_steps(stand: Stand, card: Card) -> None:
    """The card begins at rest: a fault that met the first round of questions would not meet what the card sends."""
    try:
        await stand.open()
        await stand.until_reconciled()
        await card.steps(stand)
        await stand.adds_up()
        await stand.met_its_faults()
    finally:
        await stand.close()


def be_quiet() -> None:
    """Libraries and connector log what cards provoke; the results are what is to be read."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
