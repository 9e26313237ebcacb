"""Every input of the partition is journaled once, in order, whatever is lost between the server and the kernel.

Two partitions share the inbox, so the partition's sequences have gaps of their own, in which a lost input would hide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from kestrel_chassis import pull as pull_module
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.pull import Pull
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_kernel.config import KernelSettings
from kestrel_testkit.fixtures import connect, provision_afresh
from kestrel_testkit.servers import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

OTHER_PARTITION = "inbox.1.PAPER-4.venue"
KILL_COUNT = 4
CUT_COUNT = 15


@pytest.fixture
async def bus(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Bus]:
    """The kernel's connection, to a server of this test's own."""
    found = await connect(own_nats_server.url, tmp_path, partitions=2)
    await provision_afresh(found)
    yield found
    await found.close()


@pytest.fixture
def settings(settings: KernelSettings, own_nats_server: NatsServer) -> KernelSettings:
    return settings.model_copy(update={"nats_url": own_nats_server.url, "partitions": 2})


@dataclass
class Feed:
    """Puts inputs of two partitions into the inbox, over a connection of its own, until told to end."""

    bus: Bus
    messages: Any
    sequences: list[int] = field(default_factory=list)
    """Of our partition's inputs, as the server acknowledged them."""
    count: int = 0

    async def put(self, count: int) -> None:
        inputs = []
        for number in range(self.count, self.count + count):
            data = self.messages.mark(f"m-{number}", f"{150 + number % 9}.25").SerializeToString()
            inputs.append(Publish("inbox.0.PAPER-1.venue", data, f"input-{number}"))
            if number % 3 == 0:
                inputs.append(Publish(OTHER_PARTITION, b"not ours", f"other-{number}"))
        self.count += count
        stored = await self.bus.publish_all_until_stored(inputs)
        self.sequences += [
            ack.sequence for ack, each in zip(stored, inputs, strict=True) if each.subject != OTHER_PARTITION
        ]

    async def run(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await self.put(40)


@pytest.fixture
async def feed(own_nats_server: NatsServer, bus: Bus, messages: Any, tmp_path: Path) -> AsyncIterator[Feed]:
    own = await connect(own_nats_server.url, tmp_path)
    yield Feed(own, messages)
    await own.close()


async def complete(kernel: Any, journal: Any, feed: Feed, until: Callable[..., Awaitable[None]]) -> None:
    """The journal ends where the inbox does, and has every input of the partition once, in order."""
    newest = feed.sequences[-1]

    async def taken() -> bool:
        return kernel.served.owned and kernel.served.inbox_sequence >= newest

    await until(taken, "the newest input was taken")
    stored = [each.sequence async for each in feed.bus.read(subjects.INBOX, subject="inbox.0.>")]
    assert feed.sequences == [sequence for sequence in stored if sequence in set(feed.sequences)]
    journaled = await journal.inputs()
    assert journaled == stored[: len(journaled)]
    assert len(journaled) >= stored.index(newest) + 1
    await journal.replayed()


async def test_inputs_lost_on_the_way_are_journaled_once_and_in_order_within_the_epoch(
    start_kernel: Any, feed: Feed, journal: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, count = Pull._received, 0
    lost = []

    async def leaky(pull: Pull, message: Msg) -> None:
        """Every 97th input does not reach its pull."""
        nonlocal count
        if message.subject.startswith("inbox.0."):
            count += 1
            if count % 97 == 0:
                lost.append(message.reply)
                return
        await received(pull, message)

    monkeypatch.setattr(Pull, "_received", leaky)
    kernel = start_kernel()
    for _ in range(15):
        await feed.put(40)
    await complete(kernel, journal, feed, until)
    assert len(lost) >= 5
    assert telemetry.figures()["inbox.read_again"] >= 5
    assert 1 <= len(await journal.epochs()) <= 1 + telemetry.figures().get("leases.lost", 0)
    assert len((await feed.bus.api("CONSUMER.NAMES.INBOX"))["consumers"]) == 1


async def test_the_newest_input_is_noticed_although_nothing_follows_it(
    start_kernel: Any, feed: Feed, journal: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.3)
    received, is_leaky = Pull._received, True

    async def leaky(pull: Pull, message: Msg) -> None:
        nonlocal is_leaky
        if is_leaky and message.subject.startswith("inbox.0."):
            is_leaky = False
            return
        await received(pull, message)

    monkeypatch.setattr(Pull, "_received", leaky)
    kernel = start_kernel()
    await feed.put(1)
    await complete(kernel, journal, feed, until)
    assert not is_leaky
    assert telemetry.figures().get("messages.redelivered", 0) == 0  # it was read again long before the server sent it


async def test_connections_cut_while_inputs_are_on_the_way_lose_none_of_them(
    start_kernel: Any, bus: Bus, feed: Feed, journal: Any, until: Any
) -> None:
    kernel = start_kernel(batch_size=64)
    ended = asyncio.Event()
    feeding = asyncio.create_task(feed.run(ended))
    for _ in range(CUT_COUNT):
        position, reconnects = kernel.served.inbox_sequence, telemetry.figures().get("bus.reconnects", 0)

        async def moved(position: int = position) -> bool:
            return bool(kernel.served.inbox_sequence > position + 60)

        await until(moved, "inputs are being taken")
        bus.client._transport._io_writer.transport.abort()

        async def reconnected(reconnects: int = reconnects) -> bool:
            return bool(telemetry.figures().get("bus.reconnects", 0) > reconnects)

        await until(reconnected, "the connection is back")
    ended.set()
    await feeding
    await complete(kernel, journal, feed, until)
    figures = telemetry.figures()  # a cut that lasts longer than a lease costs the epoch instead
    assert figures.get("inbox.read_again", 0) + figures.get("leases.lost", 0) >= CUT_COUNT // 2


async def test_a_server_killed_again_and_again_while_inputs_are_taken_loses_none_of_them(
    start_kernel: Any, own_nats_server: NatsServer, feed: Feed, journal: Any, until: Any
) -> None:
    kernel = start_kernel(batch_size=64)
    ended = asyncio.Event()
    feeding = asyncio.create_task(feed.run(ended))
    for _ in range(KILL_COUNT):
        position = kernel.served.inbox_sequence

        async def moved(position: int = position) -> bool:
            return bool(kernel.served.inbox_sequence > position + 100)

        await until(moved, "inputs are being taken")
        own_nats_server.process.kill()
        own_nats_server.process.launch()
        await asyncio.to_thread(own_nats_server.process.wait_ready)
    ended.set()
    await feeding
    await complete(kernel, journal, feed, until)
    figures = telemetry.figures()  # a server that is away for longer than a lease costs the epoch instead
    assert figures.get("inbox.read_again", 0) + figures.get("leases.lost", 0) >= 1
