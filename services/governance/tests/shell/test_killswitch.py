"""The kill switch and the flags' bucket, on a real bus and on one that fails."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel_chassis.bus import WrongSequence
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, OutcomeUnknown, Unavailable
from kestrel_governance.core import kill
from kestrel_governance.shell.flags import FlagStore
from kestrel_governance.shell.killswitch import KillSwitch

Desk = Any
GLOBAL, SYMBOL = authority_pb2.KILL_SCOPE_GLOBAL, authority_pb2.KILL_SCOPE_SYMBOL


class Bucket:
    """One key in memory; ``obstacles`` are raised one by one before anything works."""

    def __init__(self, value: bytes | None = None, obstacles: tuple[Exception, ...] = ()) -> None:
        self.value, self.revision, self.obstacles = value, 1, list(obstacles)

    async def get(self, key: str, **_: Any) -> tuple[bytes, int] | None:
        return None if self.value is None else (self.value, self.revision)

    async def create(self, key: str, value: bytes) -> int:
        return await self.update(key, value, self.revision)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        if self.obstacles:
            raise self.obstacles.pop(0)
        self.value, self.revision = value, self.revision + 1
        return self.revision

    def flags(self) -> list[Any]:
        return list(authority_pb2.KillFlags.FromString(self.value or b"").flags)


class DeafBus:
    """Stores nothing under some subjects."""

    def __init__(self, deaf_to: str) -> None:
        self.deaf_to, self.stored = deaf_to, list[str]()

    async def publish(self, effect: Any) -> None:
        if effect.subject.startswith(self.deaf_to):
            raise Unavailable("full")
        self.stored.append(effect.subject)


async def test_a_bead_that_cannot_be_stored_does_not_hold_up_what_stops_trading(desk: Desk) -> None:
    bucket, bus = Bucket(), DeafBus("bead.")
    switch = KillSwitch(bus, FlagStore(bucket), desk.limits.accounts, 1)  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown, match="the flag is raised"):
        await switch.kill(desk.flag(GLOBAL, "", authority_pb2.KILL_LEVEL_FLATTEN))
    assert [flag.scope for flag in bucket.flags()] == [GLOBAL]
    assert bus.stored == ["alert.critical.governance", "inbox.0.PAPER-1.control", "inbox.0.PAPER-1.control"]


async def test_a_flag_survives_other_writers_and_lost_answers(desk: Desk) -> None:
    bucket, bus = Bucket(obstacles=(WrongSequence("moved"), OutcomeUnknown("?"), Unavailable("down"))), DeafBus("none")
    switch = KillSwitch(bus, FlagStore(bucket), desk.limits.accounts, 1)  # type: ignore[arg-type]
    assert len((await switch.kill(desk.flag(SYMBOL, "AAPL"))).flags) == 1
    assert len(bucket.flags()) == 1


async def test_a_flag_that_cannot_be_raised_is_an_error_and_nothing_follows(desk: Desk) -> None:
    bucket, bus = Bucket(obstacles=(Unavailable("down"),) * 9), DeafBus("none")
    switch = KillSwitch(bus, FlagStore(bucket), desk.limits.accounts, 1)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await switch.kill(desk.flag(SYMBOL, "AAPL"))
    assert bus.stored == []


async def test_a_flag_that_names_nothing_is_refused_before_anything_is_written(desk: Desk) -> None:
    bucket = Bucket()
    switch = KillSwitch(DeafBus("none"), FlagStore(bucket), desk.limits.accounts, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        await switch.kill(desk.flag(SYMBOL, "aapl"))
    assert bucket.value is None


async def test_flags_nobody_can_read_kill_everything_and_what_replaces_them_still_does(desk: Desk) -> None:
    bucket = Bucket(b"\xff\xff\xff")
    store = FlagStore(bucket)  # type: ignore[arg-type]
    read = await store.read()
    assert read is not None
    assert kill.covering(read, desk.intent(), desk.now_ns)
    await store.change(lambda flags: kill.raised(flags, desk.flag(SYMBOL, "MSFT"), desk.now_ns))
    assert [flag.scope for flag in bucket.flags()] == [GLOBAL, SYMBOL]


@pytest.mark.integration
async def test_two_writers_of_flags_lose_nothing_on_a_real_bus(desk: Desk, bus: Any) -> None:
    import asyncio

    store = FlagStore(bus.bucket(subjects.FLAGS_BUCKET))
    symbols = [f"S{number}" for number in range(8)]

    async def raise_one(symbol: str) -> None:
        await store.change(lambda flags: kill.raised(flags, desk.flag(SYMBOL, symbol), desk.now_ns))

    await asyncio.gather(*map(raise_one, symbols))
    flags = await store.read()
    assert flags is not None
    assert sorted(flag.target for flag in flags.flags) == symbols
