"""The venue's market data: bars into the MARKET stream, and marks for what is open."""

from __future__ import annotations

from collections.abc import Sequence

from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, RemoteProtocolError, Unavailable
from kestrel_venue_gateway.shell.pacing import Pauses, aclosing, in_batches
from kestrel_venue_gateway.shell.session import AccountSession
from kestrel_venue_gateway.shell.venue import Venue

_BAR_BATCH = 256


class MarketFeed:
    """One venue's bars. Several gateways may carry the same bars: a bar's id follows from its number at the venue."""

    def __init__(self, bus: Bus, venue: Venue, sessions: Sequence[AccountSession], pauses: Pauses) -> None:
        self._bus = bus
        self._venue = venue
        self._sessions = sessions
        self._pauses = pauses

    async def run(self) -> None:
        """For ever, through every break of the connection."""
        while True:
            try:
                await self._follow()
            except (Unavailable, RemoteProtocolError) as error:
                telemetry.count("market.reconnects")
                telemetry.logger().warning("market.disconnected", venue=self._venue.name, error=str(error))
            await self._pauses.wait()

    async def _follow(self) -> None:
        after_sequence = await self._last_stored()
        async with aclosing(in_batches(self._venue.bars(after_sequence), _BAR_BATCH)) as batches:
            async for bars in batches:
                self._pauses.reset()
                await self._store(bars)
                newest = {bar.instrument.symbol: bar for bar in bars}
                for session in self._sessions:
                    await session.mark(list(newest.values()))

    async def _last_stored(self) -> int:
        newest = await self._bus.last_message(subjects.MARKET, f"market.{self._venue.name}.>")
        return venue_pb2.Bar.FromString(newest.data).venue_sequence if newest is not None else 0

    async def _store(self, bars: list[venue_pb2.Bar]) -> None:
        publishes = []
        for bar in bars:
            try:
                subject = subjects.market(self._venue.name, bar.instrument.symbol)
            except InvalidRequest as error:
                telemetry.count("bars.refused")
                telemetry.logger().error("bar.refused", venue=self._venue.name, error=str(error))
                continue
            publishes.append(effects.publish(subject, bar, f"bar-{self._venue.name}-{bar.venue_sequence}"))
        if publishes:
            await self._bus.publish_all_until_stored(publishes)
        telemetry.count("bars.published", len(publishes))
