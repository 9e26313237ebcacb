"""One order's way, hop by hop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hop:
    """Where the order was seen. ``rank`` orders what carries the same time: cause before effect."""

    rank: int
    service: str
    event: str
    at_ns: int
    detail: str = ""
    stream: str = ""
    sequence: int = 0


def in_order(hops: Iterable[Hop]) -> list[tuple[Hop, int]]:
    """Hops in time order, each with the nanoseconds since the one before; the first has 0. No hop comes twice."""
    ordered = sorted(set(hops), key=lambda hop: (hop.at_ns, hop.rank, hop.sequence, hop.event))
    return [(hop, hop.at_ns - ordered[max(index - 1, 0)].at_ns) for index, hop in enumerate(ordered)]
