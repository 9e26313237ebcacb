"""A card: one thing a venue has to do, said in words and as steps that can be run against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.acceptance.stand import Need, Stand

Steps = Callable[[Stand], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Card:
    """``precondition``, ``action`` and ``expected`` are for people; ``steps`` does it and asserts."""

    card_id: str
    title: str
    precondition: str
    action: str
    expected: str
    needs: frozenset[Need]
    steps: Steps

    def missing(self, offered: frozenset[Need]) -> str:
        """Why it is left out at a place; empty when it can run there."""
        lacking = sorted(need.value for need in self.needs - offered)
        return "; ".join(f"not here: {what}" for what in lacking)


_CARDS: dict[str, Card] = {}


def card(
    card_id: str, title: str, *, given: str, when: str, then: str, needs: tuple[Need, ...] = ()
) -> Callable[[Steps], Steps]:
    """Register a card. The id is for ever: reports of years refer to it."""

    def register(steps: Steps) -> Steps:
        assert card_id not in _CARDS, f"two cards {card_id}"
        _CARDS[card_id] = Card(card_id, title, given, when, then, frozenset(needs), steps)
        return steps

    return register


def all_cards() -> list[Card]:
    """Every card, by id."""
    from tests.acceptance import cards  # noqa: F401  (registers them)

    return [_CARDS[key] for key in sorted(_CARDS)]
