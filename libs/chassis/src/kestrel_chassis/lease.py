"""A lease says who should own something; the journal's expected sequences decide who can.

The key lives in a bucket whose values expire by themselves. The epoch is the key's revision at acquisition: it only
grows, also when the key expired in between. The holder stops by his own monotonic clock at half the time to live,
counted from when he *sent* the last successful renewal, so he has stopped before anybody else can start.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import KeyExists, WrongSequence
from kestrel_chassis.streams import LEASE_TTL_S
from kestrel_domain import subjects
from kestrel_domain.errors import KestrelError, OutcomeUnknown, Unavailable

_LOOK_AGAIN_S = 1.0
_REQUEST_TIMEOUT_S = 1.5
_RETRY_S = 0.3


class Lease:
    """One lease, by name (``kernel.0``). ``lost`` is set when it has ended for any reason but ``release``."""

    def __init__(self, bus: Bus, name: str, instance: str, ttl_s: float = LEASE_TTL_S) -> None:
        self._bucket = bus.bucket(subjects.LEASES_BUCKET)
        self.name = name
        self._value = json.dumps({"owner": instance, "nonce": secrets.token_hex(8)}).encode()
        self._ttl_s = ttl_s
        self._revision = 0
        self._deadline_s = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self.epoch = 0
        """Grows with every acquisition by anybody; 0 before the first."""
        self.lost = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether this process may still act as the owner, by its own clock."""
        return self._revision > 0 and time.monotonic() < self._deadline_s

    async def acquire(self) -> int:
        """Wait for the lease; the epoch. Cancel to give up."""
        assert self._renewal is None, "a lease is acquired once"
        while True:
            sent_s = time.monotonic()
            revision = await self._try_create()
            if revision:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._revision = self.epoch = revision
        self._deadline_s = sent_s + self._ttl_s / 2
        self._renewal = asyncio.create_task(self._renew(), name=f"lease {self.name}")
        telemetry.logger().info("lease.acquired", lease=self.name, epoch=self.epoch)
        return self.epoch

    async def release(self) -> None:
        """Give it back, so that the next owner need not wait; also after ``lost``, once this one has stopped acting.

        Never raises: what cannot be given back expires.
        """
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._deadline_s = 0.0
        held_once, self._revision = self._revision > 0, 0
        if not held_once:
            return
        try:
            # The revision it had is no proof that the key is ours: in a bucket made anew, another's may have the same.
            revision = await self._own_revision(_REQUEST_TIMEOUT_S)
            if not revision:
                telemetry.logger().warning("lease.left_to_expire", lease=self.name, error="no answer, or another's")
                return
            await self._bucket.delete(self.name, revision, timeout=_REQUEST_TIMEOUT_S)
            telemetry.logger().info("lease.released", lease=self.name, epoch=self.epoch)
        except KestrelError as error:
            telemetry.logger().warning("lease.left_to_expire", lease=self.name, error=str(error))

    async def holder(self) -> str:
        """Who has it now, for people; empty if nobody. Not for decisions."""
        found = await self._bucket.get(self.name)
        return str(json.loads(found[0]).get("owner", "")) if found else ""

    async def _try_create(self) -> int:
        try:
            return await self._bucket.create(self.name, self._value, timeout=_REQUEST_TIMEOUT_S)
        except KeyExists:
            return 0
        except (OutcomeUnknown, Unavailable) as error:
            telemetry.logger().warning("lease.unavailable", lease=self.name, error=str(error))
            return await self._own_revision()

    async def _renew(self) -> None:
        wait_s = self._ttl_s / 3
        while True:
            await asyncio.sleep(max(0.0, min(wait_s, self._deadline_s - time.monotonic())))
            if not self.held:
                break
            wait_s = self._ttl_s / 3 if await self._renew_once() else _RETRY_S
            if self._revision == 0:
                break
        telemetry.count("leases.lost")
        telemetry.logger().error("lease.lost", lease=self.name, epoch=self.epoch)
        self._deadline_s = 0.0
        self.lost.set()

    async def _renew_once(self) -> bool:
        sent_s = time.monotonic()
        try:
            left_s = max(0.05, min(_REQUEST_TIMEOUT_S, self._deadline_s - sent_s))
            revision = await self._bucket.update(self.name, self._value, self._revision, timeout=left_s)
        except WrongSequence:
            revision = await self._own_revision()
            if not revision:
                self._revision = 0
                return False
        except (OutcomeUnknown, Unavailable):
            revision = await self._own_revision()
            if revision <= self._revision:
                return False
        self._revision = revision
        self._deadline_s = sent_s + self._ttl_s / 2
        return True

    async def _own_revision(self, timeout_s: float = 0.5) -> int:
        """The revision of the key if the value in it is ours, else 0."""
        try:
            found = await self._bucket.get(self.name, timeout=timeout_s)
        except KestrelError:
            return 0
        return found[1] if found is not None and found[0] == self._value else 0
