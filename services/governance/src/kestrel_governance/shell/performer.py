"""Performs effects in their order: each is stored before the next one begins.

The next one is made meanwhile: a permission is signed while the decision it stands on is being stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain.effects import Publish
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Effect
from kestrel_governance.core.kill import RaiseFlag
from kestrel_governance.shell.flags import FlagStore

_PAUSE_S = 0.2


class Superseded(Exception):
    """Another instance decided the same intent first, and differently. Its word stands; ours is folded away."""


class Performer:
    """One by one, each until it is stored. Cancel it and the next fold completes the rest."""

    def __init__(self, bus: Bus, flags: FlagStore) -> None:
        self._bus = bus
        self._flags = flags

    async def perform(self, effects: Iterable[Effect]) -> None:
        """Raises ``Superseded`` when a decision of ours was not the first."""
        ahead = iter(effects)
        effect = next(ahead, None)
        while effect is not None:
            storing = asyncio.create_task(self._perform_one(effect))
            try:
                await self._bus.written()
                effect = next(ahead, None)
                await storing
            finally:
                storing.cancel()  # nothing, unless we were canceled or the next one could not be made

    async def _perform_one(self, effect: Effect) -> None:
        if isinstance(effect, RaiseFlag):
            await self._raise_flag(effect)
        else:
            await self._store(effect)

    async def _store(self, effect: Publish) -> None:
        ack = await self._bus.publish_until_stored(effect)
        telemetry.count(f"published.{effect.subject.split('.')[0]}")
        if not ack.duplicate or not effect.subject.startswith("bead.decision."):
            return
        stored = await self._bus.get_message(ack.stream, ack.sequence)
        if stored is not None and stored.data != effect.body:
            raise Superseded(f"decision {effect.message_id} is stored already, with other content")

    async def _raise_flag(self, effect: RaiseFlag) -> None:
        """Until it is raised: what follows in the list relies on it."""
        while True:
            try:
                await self._flags.change(lambda flags: kill.raised(flags, effect.flag, time.time_ns()))
                return
            except (Unavailable, OutcomeUnknown) as error:
                telemetry.logger().warning("flag.raise_repeated", reason=error.reason, error=str(error))
                await asyncio.sleep(_PAUSE_S)
