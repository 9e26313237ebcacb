"""Prices: a connection of their own, ticks in, bars out. No order ever waits behind what is asked for here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_domain.errors import RemoteProtocolError
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr.core import heard
from kestrel_venue_gateway.ibkr.core.bars import LAST_PRICES, VOLUMES, BarMaker
from kestrel_venue_gateway.ibkr.core.contracts import Wanted
from kestrel_venue_gateway.ibkr.core.pacing import Urgency
from kestrel_venue_gateway.ibkr.session import Connection, Endpoint

_ASK_AGAIN_S = 5.0
_LOOK_S_MAX = 0.5


class MarketData:
    """The bars of the symbols in the settings."""

    def __init__(
        self,
        venue: str,
        endpoint: Endpoint,
        symbols: Sequence[str],
        check: Callable[[Connection], None],
        *,
        bar_interval_s: float,
    ) -> None:
        self._venue = venue
        self._interval_s = bar_interval_s
        self._endpoint = endpoint
        self._wanted = sorted({Wanted.parse(text) for text in symbols}, key=lambda wanted: wanted.symbol)
        self._check = check
        self._makers: dict[int, BarMaker] = {}
        self._bars: asyncio.Queue[venue_pb2.Bar] = asyncio.Queue()
        self._connection: Connection | None = None

    async def bars(self, after_sequence: int) -> AsyncGenerator[venue_pb2.Bar, None]:
        """For ever; raises as the connection ends. Without symbols there is nothing to connect for."""
        if not self._wanted:
            await asyncio.Event().wait()
        self._bars, self._makers = asyncio.Queue(), {}
        connection = self._connection = Connection(self._endpoint, self)
        try:
            await connection.open()
            self._check(connection)
            connection.start(connection.keep_alive(), "keep_alive")
            connection.start(self._subscribe(connection), "subscribe")
            while True:
                for bar in await self._ended_bars(connection):
                    if bar.venue_sequence > after_sequence:
                        yield bar
        finally:
            connection.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    # --- what the connection hears -----------------------------------------------------------------------------

    def hear_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        maker = self._makers.get(request_id)
        if maker is None:
            return
        if tick_type in VOLUMES and size is not None:
            maker.learn_volume(size)
        if tick_type in LAST_PRICES and price is not None:
            for bar in maker.learn_price(price, now_ns=time.time_ns()):
                self._bars.put_nowait(bar)

    def hear_order(self, message: heard.OrderMessage) -> None:
        """Orders have a connection of their own; errors about prices are worth a line."""
        if isinstance(message, heard.ErrorSeen) and message.request_id in self._makers:
            telemetry.count("ibkr.data_errors")
            telemetry.logger().warning("ibkr.data_error", code=message.code, text=message.text[:200])

    def hear_position(self, position: heard.PositionSeen) -> None:
        """Not asked for here."""

    def hear_account_value(self, value: heard.AccountValueSeen) -> None:
        """Not asked for here."""

    def hear_restored(self) -> None:
        """The gateway may have lost our subscriptions (1101): a new connection makes them anew."""
        if self._connection is not None:
            self._connection.on_broken("the gateway was cut off from its servers, and subscriptions with it")

    # --- how ---------------------------------------------------------------------------------------------------

    async def _subscribe(self, connection: Connection) -> None:
        """Ask for the prices of every symbol, again and again for those that are not known yet."""
        missing = list(enumerate(self._wanted))
        while missing:
            missing = [each for each in missing if not await self._subscribe_one(connection, *each)]
            if missing:
                await asyncio.sleep(_ASK_AGAIN_S)

    async def _subscribe_one(self, connection: Connection, place: int, wanted: Wanted) -> bool:
        """One symbol that cannot be found keeps no other from its prices."""
        try:
            listing = await connection.list_contract(wanted)
        except RemoteProtocolError as error:
            telemetry.count("ibkr.symbols_unknown")
            telemetry.logger().error("ibkr.symbol_unknown", symbol=wanted.symbol, error=str(error))
            return False
        request_id = connection.next_order_id()
        interval_ns = int(self._interval_s * SECOND_NS)
        self._makers[request_id] = BarMaker(self._venue, listing.instrument, interval_ns, place)
        async with connection.permit(Urgency.QUERY):
            connection.link.request_ticks(request_id, listing.contract)
        return True

    async def _ended_bars(self, connection: Connection) -> list[venue_pb2.Bar]:
        """Bars whose time is over, once there are any."""
        while True:
            bars = []
            while not self._bars.empty():
                bars.append(self._bars.get_nowait())
            for maker in self._makers.values():
                bars.extend(maker.take(now_ns=time.time_ns()))
            if bars:
                return bars
            await asyncio.wait({connection.ended}, timeout=min(_LOOK_S_MAX, self._interval_s / 10))
            if connection.ended.done():
                raise connection.ended.result()
