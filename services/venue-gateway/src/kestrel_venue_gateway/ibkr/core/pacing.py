"""Whose message goes next, and when: cancels before exits before entries before questions, under the venue's limit.

The venue cuts off who sends more than 50 messages in a second, and the libraries' own throttle is a queue in which a
cancel waits behind every question. So messages ask here first, and the libraries' queue stays empty.
"""

from __future__ import annotations

import heapq
from collections import deque
from enum import IntEnum

from kestrel_domain.timestamps import SECOND_NS


class Urgency(IntEnum):
    """Lower goes first."""

    CANCEL = 0
    EXIT = 1
    ENTRY = 2
    QUERY = 3


_KEPT_FREE = 4
"""Of every ``_KEPT_FREE`` messages of the limit, one is kept for what takes risk away."""


class Pacer:
    """A queue of tickets. ``take`` gives those that may be sent at a moment; nothing here waits or reads a clock."""

    def __init__(self, messages_per_s_max: int) -> None:
        self._limit = messages_per_s_max
        self._limit_of_others = max(1, messages_per_s_max - messages_per_s_max // _KEPT_FREE)
        self._sent_at_ns: deque[int] = deque()
        self._queue: list[tuple[int, int]] = []
        self._dropped: set[int] = set()
        self._next = 0

    def ask(self, urgency: Urgency) -> int:
        """Stand in line; the number of the ticket."""
        self._next += 1
        heapq.heappush(self._queue, (urgency, self._next))
        return self._next

    def drop(self, ticket: int) -> None:
        """Leave the line."""
        if any(waiting == ticket for _, waiting in self._queue):
            self._dropped.add(ticket)

    def take(self, now_ns: int) -> list[int]:
        """Tickets that may be sent now, in this order. They count as sent."""
        self._let_go(now_ns)
        taken = []
        while self._queue and len(self._sent_at_ns) < self._limit_for(self._queue[0][0]):
            _, ticket = heapq.heappop(self._queue)
            if ticket in self._dropped:
                self._dropped.discard(ticket)
                continue
            self._sent_at_ns.append(now_ns)
            taken.append(ticket)
        return taken

    def next_at_ns(self, now_ns: int) -> int | None:
        """When to ``take`` again; ``None`` when nobody waits."""
        self._let_go(now_ns)
        if not self._queue:
            return None
        over = len(self._sent_at_ns) - self._limit_for(self._queue[0][0])
        return now_ns if over < 0 else self._sent_at_ns[over] + SECOND_NS + 1

    def slow_down(self, now_ns: int) -> None:
        """The venue says that it was too much: a second of silence."""
        self._sent_at_ns = deque([now_ns] * self._limit)

    def _limit_for(self, urgency: int) -> int:
        return self._limit if urgency <= Urgency.EXIT else self._limit_of_others

    def _let_go(self, now_ns: int) -> None:
        while self._sent_at_ns and now_ns - self._sent_at_ns[0] > SECOND_NS:
            self._sent_at_ns.popleft()
