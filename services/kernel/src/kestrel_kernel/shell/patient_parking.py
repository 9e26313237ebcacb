"""The parking lane, without waiting for it for ever: what cannot be parked now is parked later, or not at all.

Nothing is lost by that: the journal entry of a parked input carries the reason, and the bytes up to 256 KiB.
"""

from __future__ import annotations

import asyncio

from kestrel_chassis import telemetry
from kestrel_chassis.messages import StoredMessage
from kestrel_chassis.parking import ParkingLane
from kestrel_domain.errors import KestrelError

log = telemetry.logger()

PARKING_WAIT_S = 5.0
"""How long an input waits for the lane before the ones behind it go on."""

LATE_COUNT_MAX = 1_000
"""How many may still be on their way behind our back."""


class PatientParking:
    """One lane for all partitions of the service."""

    def __init__(self, lane: ParkingLane) -> None:
        self._lane = lane
        self._late: set[asyncio.Task[None]] = set()

    async def park(self, message: StoredMessage, error: KestrelError) -> None:
        """Returns when it is parked, or when the lane has had its time. Never raises."""
        if len(self._late) >= LATE_COUNT_MAX:
            telemetry.count("messages.not_parked")
            return
        parking = asyncio.create_task(self._park(message, error))
        # While the lane is known to be slow, nobody else waits for it.
        done, _ = await asyncio.wait({parking}, timeout=0 if self._late else PARKING_WAIT_S)
        if not done:
            self._late.add(parking)
            parking.add_done_callback(self._late.discard)
            telemetry.count("messages.parked_late")
            log.error("parking.slow", stream=message.stream, sequence=message.sequence)

    def close(self) -> None:
        """Give up what is still on its way."""
        for parking in self._late:
            parking.cancel()

    async def _park(self, message: StoredMessage, error: KestrelError) -> None:
        try:
            await self._lane.park(message, error)
        except KestrelError as failure:
            telemetry.count("messages.not_parked")
            log.error("parking.failed", stream=message.stream, sequence=message.sequence, message=str(failure))
