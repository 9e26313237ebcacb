"""Who is connected, what each wants to hear, and what is on its way to them.

Three kinds of messages travel differently while the gateway has lost its broker (1100):
``local`` ones, of the gateway itself, still arrive; ``news`` of orders and money is kept until the link is back;
``answers`` to questions are lost, which is why a time-out never means "nothing".
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from kestrel_simulators.tws.contracts import Listing
from kestrel_simulators.tws.replies import OpenOrder, OrderStatus, Reply

EVERYONE = -1


@dataclass(frozen=True, slots=True)
class Addressed:
    """A reply and who it is for; -1: every connected client."""

    client_id: int
    reply: Reply


@dataclass(slots=True)
class Connection:
    """One connected client and its subscriptions; keys are request ids."""

    client_id: int
    wants_positions: bool = False
    sees_manual_orders: bool = False
    account_updates: str = ""
    multi_updates: dict[int, str] = field(default_factory=dict)
    summaries: dict[int, tuple[str, ...]] = field(default_factory=dict)
    pnl: dict[int, str] = field(default_factory=dict)
    pnl_single: dict[int, tuple[str, int]] = field(default_factory=dict)
    ticks: dict[int, Listing] = field(default_factory=dict)
    market_data_type: int = 1


@dataclass(slots=True)
class Audience:
    """The connections, and the messages of this moment and of later ones."""

    connections: dict[int, Connection] = field(default_factory=dict)
    is_link_down: bool = False
    _out: list[Addressed] = field(default_factory=list)
    _withheld: list[Addressed] = field(default_factory=list)
    _later: list[tuple[int, int, int, Reply]] = field(default_factory=list)
    _later_count: int = 0

    def local(self, client_id: int, reply: Reply) -> None:
        """From the gateway itself."""
        if client_id == EVERYONE or client_id in self.connections:
            self._out.append(Addressed(client_id, reply))

    def answer(self, client_id: int, reply: Reply) -> None:
        """To a question; lost while the link is down."""
        if not self.is_link_down:
            self.local(client_id, reply)

    def news(self, client_id: int, reply: Reply, *, due_ns: int | None = None) -> None:
        """What happened: now, or at a later moment if the client is still there; kept while the link is down."""
        if client_id not in self.connections:
            return
        if due_ns is not None:
            self._later_count += 1
            heapq.heappush(self._later, (due_ns, self._later_count, client_id, reply))
        elif self.is_link_down:
            self._withheld.append(Addressed(client_id, reply))
        else:
            self._out.append(Addressed(client_id, reply))

    def next_due_ns(self) -> int | None:
        return self._later[0][0] if self._later else None

    def release_due(self, now_ns: int) -> None:
        """Say what was to be said by now."""
        while self._later and self._later[0][0] <= now_ns:
            _, _, client_id, reply = heapq.heappop(self._later)
            self.news(client_id, reply)

    def restore_link(self) -> None:
        """Everything kept back goes out, in its order."""
        self.is_link_down = False
        withheld, self._withheld = self._withheld, []
        for addressed in withheld:
            self.news(addressed.client_id, addressed.reply)

    def leave(self, client_id: int) -> None:
        """A client is gone, and everything meant for this connection with it."""
        self.connections.pop(client_id, None)
        self._withheld = [each for each in self._withheld if each.client_id != client_id]
        self._later = [each for each in self._later if each[2] != client_id]
        heapq.heapify(self._later)

    def leave_all(self) -> None:
        for client_id in list(self.connections):
            self.leave(client_id)

    def take(self) -> list[Addressed]:
        """What is to be sent now."""
        out, self._out = self._out, []
        return out


def is_status(reply: Reply) -> bool:
    return isinstance(reply, OpenOrder | OrderStatus)


def with_statuses_reversed(addressed: list[Addressed]) -> list[Addressed]:
    """The same messages, those about the status of orders in the opposite order among themselves."""
    places = [place for place, each in enumerate(addressed) if is_status(each.reply)]
    turned = list(addressed)
    for place, source in zip(places, reversed(places), strict=True):
        turned[place] = addressed[source]
    return turned
