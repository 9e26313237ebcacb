"""What the gateway needs of a venue. One implementation per venue, each in a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, SendResult
from kestrel_venue_gateway.core.traits import Traits, VenueState
from kestrel_venue_gateway.core.truth import Portfolio


class Venue(Protocol):
    """One login at one venue, for one account.

    Requests never raise for what a venue or a network may do: their results say how certain they are. Every request
    has a bound in time. Connections are made when they are first needed, and ``bars`` uses one of its own, so that
    nothing that is said about orders queues behind prices.
    """

    @property
    def name(self) -> str:
        """The venue's name in subjects and commands."""

    @property
    def traits(self) -> Traits:
        """What the venue can prove. The same for as long as the object lives."""

    @property
    def state(self) -> VenueState:
        """What is known to be wrong with the venue right now; asked directly before each order.

        ``degraded`` stops entries. Exits and cancels stop only at ``cut_off``, and wait for it to end; otherwise they
        are tried, and go as far as the connection lets them.
        """

    async def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        """Send an order once. NOT_SENT only when it certainly never left; every other silence is UNKNOWN."""

    async def send_bracket(self, commands: Sequence[journal_pb2.VenueCommand]) -> Sequence[SendResult]:
        """Send an entry and the orders that protect it in one go, once; a result for each, in order.

        Never asked without ``traits.brackets``. NOT_SENT for the entry: nothing of it left.
        """

    async def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        """Ask to cancel. REJECTED: the venue does not know the order."""

    async def ask(self, client_order_id: str, *, fence: bool) -> AskResult:
        """What became of an id. ABSENT with ``fence`` is a proof: it never was, and it never will be."""

    async def portfolio(self) -> Portfolio:
        """Positions, working orders and balance at one moment. Raises ``Unavailable``.

        ``event_sequence`` is the number of the last event that the figures contain. Who counts for the venue answers
        with the number of the last event that was heard before the question was asked, and has yielded all of them.
        """

    def events(self, after_sequence: int, known: KnownFacts) -> AsyncGenerator[VenueEvent, None]:
        """Everything the venue says about the account after a sequence, for ever, in order.

        Without ``traits.numbers_events`` the connector asks the venue for everything it still tells, after each
        reconnect too, and yields what ``known`` does not know and it has not yielded before. It counts on from
        ``after_sequence``, and each event has a key. ``known`` goes on learning from what is stored.

        Raises ``Unavailable`` when the connection ends, ``RemoteProtocolError`` when the venue's memory and ours are
        not of the same venue.
        """

    def bars(self, after_sequence: int) -> AsyncGenerator[venue_pb2.Bar, None]:
        """Bars after a sequence, for ever, each with its ``venue_sequence``. Raises as ``events`` does."""

    async def close(self) -> None:
        """Let go of the connection."""
