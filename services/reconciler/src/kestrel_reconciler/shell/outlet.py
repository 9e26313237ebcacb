"""The only way out of the reconciler: beads, alerts, and questions to the gateway. Anything else is a broken invariant.

INV-RECONCILE-READONLY-1: the reconciler corrects nothing. Its core has no effect with which to write to an inbox, its
shell has no other way out than this one, and its user on the bus has no permission for more.
"""

from __future__ import annotations

from collections.abc import Sequence

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken
from kestrel_reconciler.core.reconciliation import AskTruth, Effect

ALLOWED = ("bead.drift.", "bead.resolution.", "bead.run.", "alert.")


class Outlet:
    """Performs effects, in order."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def perform(self, effects: Sequence[Effect]) -> None:
        """Returns when everything is stored; a question is only sent. Raises InvariantBroken for any other effect."""
        stored: list[Publish] = []
        for effect in effects:
            if isinstance(effect, AskTruth):
                await self._bus.publish_core(
                    subjects.truth_request(effect.venue, effect.account), effect.request_id.encode()
                )
                telemetry.count("truths.asked", 1)
            else:
                stored.append(checked(effect))
        if stored:
            await self._bus.publish_all_until_stored(stored)


def checked(effect: Publish) -> Publish:
    """The effect, if the reconciler may have it."""
    if not effect.subject.startswith(ALLOWED):
        raise InvariantBroken(
            f"the reconciler tried to write to {effect.subject}: it reads, and says what it sees",
            reason="RECONCILE_READONLY",
            field="subject",
            value=effect.subject,
            rule="one of " + ", ".join(ALLOWED),
        )
    return effect
