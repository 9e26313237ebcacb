"""Kill flags in their bucket: read from the leader at every check, changed by compare and set only."""

from __future__ import annotations

import time
from collections.abc import Callable

from kestrel.authority.v1 import authority_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bucket, KeyExists, WrongSequence
from kestrel_domain.errors import OutcomeUnknown, Refused, Unavailable
from kestrel_domain.subjects import KILL_FLAGS_KEY
from kestrel_governance.core import kill

_ATTEMPTS = 20
_READ_TIMEOUT_S = 2.0


class FlagStore:
    """The one value that says what is killed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self) -> authority_pb2.KillFlags | None:
        """None when the bucket does not answer, which counts as killed; unparsable flags are one global flag."""
        try:
            found = await self._bucket.get(KILL_FLAGS_KEY, timeout=_READ_TIMEOUT_S)
        except (Unavailable, OutcomeUnknown, Refused) as error:
            telemetry.count("flags.unreadable")
            telemetry.logger().error("flags.unreadable", reason=error.reason, error=str(error))
            return None
        stored = kill.parse(found[0] if found else None)
        return stored if stored is not None else kill.unreadable(time.time_ns())

    async def change(
        self, change: Callable[[authority_pb2.KillFlags], authority_pb2.KillFlags]
    ) -> authority_pb2.KillFlags:
        """Apply a pure change to whatever is stored, once; what is stored then.

        The change may run several times, each time on what another writer left. Raises what the change raises,
        ``Unavailable`` (not stored) or ``OutcomeUnknown``; for a raise both are answered by raising again.
        """
        for _ in range(_ATTEMPTS):
            found = await self._bucket.get(KILL_FLAGS_KEY)
            stored = kill.parse(found[0] if found else None)
            # Unreadable flags count as killed, so what replaces them begins with a global flag: two people lower it.
            changed = change(stored if stored is not None else kill.unreadable(time.time_ns()))
            if stored is not None and changed == stored and found is not None:
                return stored
            try:
                if found is None:
                    await self._bucket.create(KILL_FLAGS_KEY, changed.SerializeToString(deterministic=True))
                else:
                    await self._bucket.update(KILL_FLAGS_KEY, changed.SerializeToString(deterministic=True), found[1])
                return changed
            except (WrongSequence, KeyExists):
                continue  # somebody else was quicker: look at what they left
        raise Unavailable("the kill flags kept changing under us; ask again", reason="CONTENDED")
