"""Reads the journal of a partition without a gap.

A consumer may lose what it delivered into a connection that was just breaking. A command must not be overtaken or lost
that way. The deliveries are numbered, so a loss shows at the next one, at the next heartbeat or with the reconnect, and
a new consumer begins behind our position: nothing has to be acknowledged. The journal is contiguous as well; a gap is
filled by reading before anything behind it is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.messages import ConsumerLost, DeliveryGap, StoredMessage
from kestrel_domain.errors import Unavailable

_BATCH = 128
_PAUSE_S = 0.2


async def read_to_end(bus: Bus, stream: str, after_sequence: int) -> AsyncGenerator[StoredMessage, None]:
    """Everything after a sequence that is there now. Raises ``Unavailable`` when a message is missing in between."""
    last = (await bus.stream_state(stream)).last_sequence
    async for message in _read_contiguous(bus, stream, after_sequence, last):
        yield message


async def follow(bus: Bus, stream: str, after_sequence: int) -> AsyncGenerator[StoredMessage, None]:
    """Everything after a sequence, each once, in order, for ever."""
    while True:
        loop = PullLoop(
            bus,
            stream,
            subjects=None,
            start_sequence=after_sequence + 1,
            ack="none",
            batch=_BATCH,
            ordered=True,
        )
        try:
            await _start(loop)
            async for batch in loop.batches():
                for message in batch:
                    async for missed in _read_contiguous(bus, stream, after_sequence, message.sequence - 1):
                        telemetry.count("journal.gaps_filled")
                        yield missed
                        after_sequence = missed.sequence
                    if message.sequence > after_sequence:
                        yield message
                        after_sequence = message.sequence
            return  # stopped: the service is going down
        except (ConsumerLost, DeliveryGap):
            # A restarted server has forgotten our consumer, or a delivery was lost on the way. The position is ours.
            telemetry.count("journal.consumers_remade")
        finally:
            await loop.stop()


async def _start(loop: PullLoop) -> None:
    """Make the consumer, for as long as nobody can: an election is no reason to end a session. Its lease may be."""
    while True:
        try:
            await loop.start()
            return
        except (ConsumerLost, DeliveryGap):
            raise
        except Unavailable as error:
            telemetry.count("journal.consumer_waits")
            telemetry.logger().warning("journal.not_followed", stream=loop.stream, error=str(error))
            await asyncio.sleep(_PAUSE_S)


async def _read_contiguous(
    bus: Bus, stream: str, after_sequence: int, last: int
) -> AsyncGenerator[StoredMessage, None]:
    if last <= after_sequence:
        return
    async for message in bus.read(stream, start_sequence=after_sequence + 1, stop_sequence=last):
        if message.sequence != after_sequence + 1:
            break
        yield message
        after_sequence = message.sequence
    if after_sequence != last:
        raise Unavailable(
            f"{stream}: read up to {after_sequence} of {last}", reason="JOURNAL_GAP", field="sequence", value=last
        )
