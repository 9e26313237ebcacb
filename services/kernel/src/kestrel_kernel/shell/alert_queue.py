"""Alerts on their way out. They never hold up the trading path: they wait here, in order, until the bus has them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain import effects

QUEUE_COUNT_MAX = 10_000
"""Beyond it the oldest goes. Nothing is lost for good: each alert follows from a journal entry."""


class AlertQueue:
    """One queue for all partitions."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queue: deque[effects.Publish] = deque()
        self._filled = asyncio.Event()

    def put(self, alerts: Iterable[effects.Publish]) -> None:
        for alert in alerts:
            if len(self._queue) >= QUEUE_COUNT_MAX:
                self._queue.popleft()
                telemetry.count("alerts.dropped")
            self._queue.append(alert)
            self._filled.set()

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await self._bus.publish_until_stored(self._queue[0])
                self._queue.popleft()
                telemetry.count("alerts.published")
