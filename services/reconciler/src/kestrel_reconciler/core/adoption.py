"""More positions at the venue than free slots (X13): which of them could be taken over, and which are orphans. Pure.

Nothing here adopts anything: a person approves each adoption. It says which ones are worth approving first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_reconciler.core.books import exact


@dataclass(frozen=True, slots=True)
class Division:
    """Symbols, each list by notional, the largest first; equals by symbol."""

    adoptable: tuple[str, ...]
    orphans: tuple[str, ...]


def divide(positions: Iterable[venue_pb2.TruthPosition], free_slot_count: int) -> Division:
    """The largest by notional go into the free slots, the others are orphans.

    A position without an average price is an orphan: nothing could be carried at its cost.
    """
    ranked = sorted((position for position in positions if position.qty.units), key=_largest_first)
    priced = [position.symbol for position in ranked if position.average_price.units > 0]
    unpriced = [position.symbol for position in ranked if position.average_price.units <= 0]
    taken = max(0, free_slot_count)
    return Division(tuple(priced[:taken]), tuple(priced[taken:] + unpriced))


def _largest_first(position: venue_pb2.TruthPosition) -> tuple[Fraction, str]:
    notional = abs(exact(Number.of(position.qty)) * exact(Number.of(position.average_price)))
    return -notional, position.symbol
