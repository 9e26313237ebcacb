"""What a venue can prove. A procedure relies on a proof only where the venue gives it; see ADR 0019."""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.common.v1 import common_pb2


@dataclass(frozen=True, slots=True)
class Traits:
    """What the venue does of its own accord, and nobody can do for it."""

    # Its events carry numbers of its own, later is greater, and all after a number can be had again. Otherwise the
    # connector counts, and a fact is known by its ``VenueEvent.key``.
    numbers_events: bool
    # It can be told to refuse an id for ever, so "absent" can be a proof. Otherwise absence proves nothing.
    fences: bool
    # What is sent twice under one id is one order. Otherwise it is two.
    takes_an_id_once: bool
    # It holds a stop and a target together with their entry, and what one of them fills it takes from the other.
    brackets: bool = True


STRONG = Traits(numbers_events=True, fences=True, takes_an_id_once=True)
"""A venue that was built for machines: the paper venue."""

WEAK = Traits(numbers_events=False, fences=False, takes_an_id_once=False)
"""A venue that was built for people: Interactive Brokers."""


@dataclass(frozen=True, slots=True)
class VenueState:
    """What a session knows of its venue at one moment; each is ``None`` while nothing is known to be wrong."""

    # Why no entry should be sent: the venue is cut off behind its door, or what we know of it is not reconciled yet.
    degraded: common_pb2.Refusal | None = None
    # Why nothing at all can be sent: there is no connection.
    cut_off: common_pb2.Refusal | None = None

    @property
    def no_entry(self) -> common_pb2.Refusal | None:
        return self.cut_off or self.degraded
