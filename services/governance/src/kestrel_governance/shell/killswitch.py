"""The kill switch. It stands on the bus alone: no lease, no fold, no lock, so nothing that is stuck can hold it up.

Any instance raises a flag, also one that stands by. The flag comes first; then its bead, its alert and what its level
asks of the kernel. If one of those cannot be stored the others still go out, the caller is told, and the next tenure
completes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from kestrel.authority.v1 import authority_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain.errors import KestrelError, OutcomeUnknown, Unavailable
from kestrel_governance.core import kill
from kestrel_governance.core.limits import AccountRule
from kestrel_governance.shell.flags import FlagStore

_ATTEMPTS = 3


class KillSwitch:
    """One person stops new exposure."""

    def __init__(self, bus: Bus, flags: FlagStore, accounts: Mapping[str, AccountRule], partitions: int) -> None:
        self._bus = bus
        self._flags = flags
        self._accounts = accounts
        self._partitions = partitions

    async def kill(self, flag: authority_pb2.KillFlag) -> authority_pb2.KillFlags:
        """All flags as raised now. Raises ``InvalidRequest``, or what kept the flag or a consequence from storage."""
        kill.checked(flag)
        flags = await self._raise(flag)
        telemetry.logger().warning("kill.raised", flag=kill.name(flag), level=flag.level, by=flag.set_by.id)
        failures: list[KestrelError] = []
        for effect in kill.consequences(flag, self._accounts, self._partitions):
            try:
                await self._bus.publish(effect)
            except KestrelError as error:
                failures.append(error)
        if failures:
            raise OutcomeUnknown(
                f"the flag is raised and entries are stopped; not all that follows is stored yet: {failures[0]}",
                reason="KILL_INCOMPLETE",
            ) from failures[0]
        return flags

    async def _raise(self, flag: authority_pb2.KillFlag) -> authority_pb2.KillFlags:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._flags.change(lambda flags: kill.raised(flags, flag, time.time_ns()))
            except (Unavailable, OutcomeUnknown) as error:
                telemetry.logger().warning("flag.raise_repeated", reason=error.reason, error=str(error))
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")
