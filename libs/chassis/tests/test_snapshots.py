"""Snapshots: whole or not there."""

from __future__ import annotations

import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.snapshots import CHUNK_BYTES, SnapshotStore
from kestrel_domain.effects import Publish

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
async def test_what_is_saved_is_loaded(bus: Bus, size: int) -> None:
    store = SnapshotStore(bus)
    data = bytes(index % 251 for index in range(size))
    await store.save("kernel/0", data)
    assert await store.load("kernel/0") == data
    assert await store.load("kernel/1") is None


async def test_the_newest_replaces_the_one_before_and_frees_its_room(bus: Bus) -> None:
    store = SnapshotStore(bus)
    await store.save("kernel/0", b"x" * 400_000)
    await store.save("kernel/0", b"y" * 10)
    assert await store.load("kernel/0") == b"y" * 10
    assert (await bus.stream_state("OBJ_snapshots")).messages == 2


async def test_a_damaged_snapshot_is_none(bus: Bus) -> None:
    store = SnapshotStore(bus)
    await store.save("kernel/0", b"x" * 10)
    (chunk,) = [m.subject async for m in bus.read("OBJ_snapshots", subject="$O.snapshots.C.>")]
    await bus.publish(Publish(chunk, b"more", "more"))
    assert await store.load("kernel/0") is None


async def test_the_usual_client_can_read_it(bus: Bus) -> None:
    await SnapshotStore(bus).save("kernel/0", b"x" * 300_000)
    store = await bus.client.jetstream().object_store("snapshots")
    assert (await store.get("kernel/0")).data == b"x" * 300_000
