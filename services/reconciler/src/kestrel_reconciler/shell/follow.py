"""Reads one stream in order, from a sequence on, without ever leaving out a message that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_domain.errors import Unavailable

Handle = Callable[[StoredMessage], Awaitable[None]]
PAUSE_S = 0.5
LINGER_S = 0.05
"""No order waits for the reconciler: it leaves the processor to those for whom one does, and reads in groups."""


class Follow:
    """One stream. ``fold`` brings the past, ``run`` the present; both call ``handle`` once for each message, in order.

    The consumer is our own and keeps no position: when a delivery is missing, or the connection broke and perhaps
    something with it, the stream is read again from where we are. What is on its way then is not sent twice by itself.
    """

    def __init__(self, bus: Bus, stream: str, handle: Handle) -> None:
        self.stream = stream
        self.sequence = 0
        self._bus = bus
        self._handle = handle
        self._loop: PullLoop | None = None
        self._stopping = False

    async def fold(self) -> None:
        """Everything the stream holds now."""
        while True:
            try:
                last = (await self._bus.stream_state(self.stream)).last_sequence
                async for message in self._bus.read(self.stream, start_sequence=self.sequence + 1):
                    await self._take(message)
                self.sequence = max(self.sequence, last)
                return
            except Unavailable as error:
                telemetry.logger().warning("stream.read_again", stream=self.stream, error=str(error))
                await asyncio.sleep(PAUSE_S)

    async def run(self) -> None:
        """Until ``stop``."""
        while not self._stopping:
            self._loop = PullLoop(
                self._bus,
                self.stream,
                start_sequence=self.sequence + 1,
                ack="none",
                batch=256,
                ordered=True,
                linger_s=LINGER_S,
            )
            try:
                async for messages in self._loop.batches():
                    for message in messages:
                        await self._take(message)
            except Unavailable as error:  # a lost consumer and a missing delivery among them
                telemetry.logger().warning("stream.followed_again", stream=self.stream, error=str(error))
                await asyncio.sleep(PAUSE_S)
            finally:
                await self._loop.stop()

    async def stop(self) -> None:
        self._stopping = True
        if self._loop is not None:
            await self._loop.stop()

    async def _take(self, message: StoredMessage) -> None:
        if message.sequence <= self.sequence:
            return
        if message.sequence > self.sequence + 1:
            await self._fill(message.sequence)
        await self._handle(message)
        self.sequence = message.sequence

    async def _fill(self, stop_sequence: int) -> None:
        """What lies before a message and was not delivered: read one by one; what the stream dropped is not there."""
        edge = await self._bus.get_message(self.stream, stop_sequence - 1)
        if edge is None:
            return  # dropped by age or number, as streams of truths are
        for sequence in range(self.sequence + 1, stop_sequence):
            missed = await self._bus.get_message(self.stream, sequence)
            if missed is not None:
                await self._handle(missed)
                self.sequence = sequence
