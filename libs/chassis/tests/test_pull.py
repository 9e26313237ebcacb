"""The standing request: every status, without a server, and its renewal, with one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import pytest

from kestrel_chassis import pull as pull_module
from kestrel_chassis.bus import Bus, ConsumerLost
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.messages import DeliveryGap
from kestrel_chassis.order import DeliveryOrder
from kestrel_chassis.pull import Pull
from kestrel_domain.effects import Publish
from kestrel_domain.errors import Unavailable
from kestrel_testkit.fixtures import eventually


@dataclass
class FakeMessage:
    subject: str
    reply: str = ""
    data: bytes = b""
    headers: dict[str, str] | None = None


@dataclass
class FakeClient:
    """Keeps what is asked, and delivers what the test says."""

    is_connected: bool = True
    is_closed: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    deliver: Callable[[Any], Awaitable[None]] | None = None
    refuses: bool = False
    refused_count: int = 0

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def subscribe(self, subject: str, *, cb: Callable[[Any], Awaitable[None]], pending_msgs_limit: int) -> Any:
        self.deliver = cb
        return self

    async def unsubscribe(self) -> None:
        raise nats.errors.ConnectionClosedError

    async def publish(self, subject: str, payload: bytes, reply: str) -> None:
        if self.refuses:
            self.refused_count += 1
            raise nats.errors.OutboundBufferLimitError
        self.asked.append((reply, json.loads(payload)))

    async def message(self, sequence: int) -> None:
        assert self.deliver is not None
        await self.deliver(FakeMessage("inbox.0.A.exit", f"$JS.ACK.INBOX.c.1.{sequence}.{sequence}.1.0", b"x"))

    async def heartbeat(self, last: int) -> None:
        assert self.deliver is not None
        headers = {"Status": "100", "Description": "Idle Heartbeat", "Nats-Last-Consumer": str(last)}
        await self.deliver(FakeMessage(self.asked[-1][0], headers=headers))

    async def status(self, code: str, description: str = "", *, request: int = -1, unused: str = "") -> None:
        assert self.deliver is not None
        headers = {"Status": code, "Description": description}
        if unused:
            headers["Nats-Pending-Messages"] = unused
        await self.deliver(FakeMessage(self.asked[request][0], headers=headers))


class World:
    """A pull on a fake client."""

    def __init__(self, batch: int = 4, *, ordered: bool = False, linger_s: float = 0.0) -> None:
        self.client = FakeClient()
        self.exists: bool | Exception = True
        self.looks = 0
        info = {"config": {}, "delivered": {"consumer_seq": 0, "stream_seq": 0}}
        self.pull = Pull(
            self.client,  # type: ignore[arg-type]
            "INBOX",
            "c",
            batch=batch,
            consumer_exists=self._exists,
            order=DeliveryOrder("INBOX", "c", info, 1) if ordered else None,
            linger_s=linger_s,
        )

    async def _exists(self) -> bool:
        self.looks += 1
        if isinstance(self.exists, Exception):
            raise self.exists
        return self.exists

    async def waiting(self) -> asyncio.Task[Any]:
        await self.pull.start()
        task = asyncio.create_task(self.pull.next())
        await eventually(lambda: bool(self.client.asked), "something is asked for")
        return task


@pytest.fixture
def ordered_world() -> World:
    return World(ordered=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(pull_module, "_PAUSE_MIN_S", 0.01)
    monkeypatch.setattr(pull_module, "_PAUSE_MAX_S", 0.02)
    return World()


async def test_it_asks_for_a_batch_and_refills_at_half(world: World) -> None:
    task = await world.waiting()
    for sequence in (1, 2):
        await world.client.message(sequence)
    assert [message.sequence for message in await task] == [1, 2]
    assert [request["batch"] for _, request in world.client.asked] == [4, 2]


async def test_it_never_asks_for_more_than_fits(world: World) -> None:
    task = await world.waiting()
    for sequence in range(1, 5):
        await world.client.message(sequence)
    await task
    await world.client.message(5)
    assert [message.sequence for message in await world.pull.next()] == [5]
    assert sum(request["batch"] for _, request in world.client.asked) == 4 + 4


@pytest.mark.parametrize("code", ["404", "408"])
async def test_a_request_that_ended_is_renewed_at_once(world: World, code: str) -> None:
    task = await world.waiting()
    await world.client.status(code, unused="4")
    await eventually(lambda: len(world.client.asked) == 2, "it is asked again")
    assert world.looks == 0
    task.cancel()


@pytest.mark.parametrize(("code", "words"), [("409", "Leadership Change"), ("423", "Nats-Wrong-Pin-Id")])
async def test_a_request_that_was_dropped_is_renewed_after_a_pause(world: World, code: str, words: str) -> None:
    task = await world.waiting()
    await world.client.status(code, words)
    await eventually(lambda: len(world.client.asked) == 2, "it is asked again")
    await world.client.message(1)
    assert len(await task) == 1
    assert world.pull._pause_s == 0


async def test_a_heartbeat_changes_nothing(world: World) -> None:
    task = await world.waiting()
    await world.client.status("100", "Idle Heartbeat")
    await world.client.message(1)
    await task
    assert len(world.client.asked) == 1


async def test_a_deleted_consumer_is_lost(world: World) -> None:
    task = await world.waiting()
    await world.client.status("409", "Consumer Deleted")
    with pytest.raises(ConsumerLost):
        await task


async def test_when_nobody_answers_it_pauses_and_looks_whether_the_consumer_is_there(world: World) -> None:
    task = await world.waiting()
    await world.client.status("503")
    await eventually(lambda: world.looks == 1 and len(world.client.asked) == 2, "it looked, and asked again")
    world.exists = False
    await world.client.status("503")
    with pytest.raises(ConsumerLost):
        await task


async def test_while_it_cannot_look_it_goes_on_pausing(world: World) -> None:
    task = await world.waiting()
    world.exists = Unavailable("not now")
    await world.client.status("503")
    await eventually(lambda: world.looks >= 1, "it tried to look")
    world.exists = True
    world.pull.reconnected()
    await world.client.message(1)
    assert len(await task) == 1


async def test_silence_is_a_lost_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.02)
    task = await world.waiting()
    await eventually(lambda: len(world.client.asked) >= 3 and world.looks >= 2, "it is asked again, after a look")
    task.cancel()


async def test_a_late_status_of_an_old_request_is_nothing(world: World) -> None:
    task = await world.waiting()
    world.pull.reconnected()
    await eventually(lambda: len(world.client.asked) == 2, "it is asked again after a reconnect")
    await world.client.status("409", "Consumer Deleted", request=0)
    await world.client.message(1)
    assert len(await task) == 1


async def test_it_waits_while_the_connection_is_down(world: World) -> None:
    world.client.refuses = True
    await world.pull.start()
    task = asyncio.create_task(world.pull.next())
    await eventually(lambda: world.client.refused_count > 0, "it tries to ask")
    world.client.refuses = False
    world.pull.reconnected()
    await eventually(lambda: len(world.client.asked) == 1, "it is asked once the connection is back")
    task.cancel()


async def test_a_stopped_pull_gives_nothing_more(world: World) -> None:
    task = await world.waiting()
    await world.pull.stop()
    await world.client.message(1)
    assert await task == []
    await world.pull.stop()


async def test_what_came_before_a_gap_is_given_out_and_nothing_behind_it(ordered_world: World) -> None:
    task = await ordered_world.waiting()
    for sequence in (1, 2, 4, 5, 3):
        await ordered_world.client.message(sequence)
    assert [message.sequence for message in await task] == [1, 2]
    for _ in range(2):
        with pytest.raises(DeliveryGap):
            await ordered_world.pull.next()
    assert len(ordered_world.client.asked) == 1


async def test_without_order_asked_for_a_gap_is_nothing(world: World) -> None:
    task = await world.waiting()
    await world.client.heartbeat(7)
    for sequence in (1, 3):
        await world.client.message(sequence)
    assert [message.sequence for message in await task] == [1, 3]


async def test_a_lost_delivery_is_noticed_by_the_next_heartbeat(ordered_world: World) -> None:
    task = await ordered_world.waiting()
    await ordered_world.client.message(1)
    await task
    await ordered_world.client.heartbeat(1)
    waiting = asyncio.create_task(ordered_world.pull.next())
    await ordered_world.client.heartbeat(2)
    with pytest.raises(DeliveryGap, match="delivery 2 was the last"):
        await waiting


async def test_a_reconnect_is_a_gap_behind_what_has_arrived(ordered_world: World) -> None:
    task = await ordered_world.waiting()
    await ordered_world.client.message(1)
    ordered_world.pull.reconnected()
    await ordered_world.client.message(2)
    assert [message.sequence for message in await task] == [1]
    with pytest.raises(DeliveryGap, match="connection broke"):
        await ordered_world.pull.next()


@pytest.fixture
def patient_world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(pull_module, "_GATHER_TIMEOUT_S", 60.0)  # only who wants it sees a request as lost
    return World(linger_s=0.001)


async def test_who_lingers_asks_for_one_message_and_then_for_all_that_are_there(patient_world: World) -> None:
    client, task = patient_world.client, await patient_world.waiting()
    await client.message(1)
    await eventually(lambda: len(client.asked) == 2, "it asks for what is there")
    await client.message(2)
    await client.message(3)
    await client.status("404", "No Messages")
    assert [message.sequence for message in await task] == [1, 2, 3]
    assert [(request["batch"], request.get("no_wait", False)) for _, request in client.asked] == [
        (1, False),
        (3, True),
        (1, False),
    ]


async def test_who_lingers_and_is_behind_takes_full_batches_without_a_pause(patient_world: World) -> None:
    client, task = patient_world.client, await patient_world.waiting()
    await client.message(1)
    await eventually(lambda: len(client.asked) == 2, "it asks for what is there")
    for sequence in (2, 3, 4):
        await client.message(sequence)
    assert len(await task) == 4
    patient_world.pull._linger_s = 60.0
    reading = asyncio.create_task(patient_world.pull.next())
    await client.message(5)
    await eventually(lambda: len(client.asked) == 4, "it asks again, although a pause would be long")
    await client.status("404", "No Messages")
    assert [message.sequence for message in await reading] == [5]


async def test_who_lingers_gives_out_what_it_has_when_the_request_for_more_is_lost(
    patient_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "_GATHER_TIMEOUT_S", 0.01)
    client, task = patient_world.client, await patient_world.waiting()
    await client.message(1)
    assert [message.sequence for message in await task] == [1]
    assert [request["batch"] for _, request in client.asked] == [1, 3, 1]
    reading = asyncio.create_task(patient_world.pull.next())
    await client.message(2)
    assert [message.sequence for message in await reading] == [2]


async def test_who_lingers_is_stopped_at_once(patient_world: World) -> None:
    patient_world.pull._linger_s = 60.0
    task = await patient_world.waiting()
    await patient_world.client.message(1)
    await asyncio.sleep(0)
    await patient_world.pull.stop()
    assert await task == []


async def test_who_lingers_hears_of_a_reconnect_and_of_a_consumer_that_is_gone(patient_world: World) -> None:
    client, task = patient_world.client, await patient_world.waiting()
    await client.message(1)
    await eventually(lambda: len(client.asked) == 2, "it asks for what is there")
    patient_world.pull.reconnected()
    assert [message.sequence for message in await task] == [1]
    reading = asyncio.create_task(patient_world.pull.next())
    await client.message(2)
    await eventually(lambda: len(client.asked) == 4, "it asks for what is there")
    await client.status("409", "Consumer Deleted")
    assert [message.sequence for message in await reading] == [2]
    with pytest.raises(ConsumerLost):
        await patient_world.pull.next()


@pytest.mark.integration
async def test_who_lingers_reads_everything_once_in_order_and_in_fewer_batches(any_bus: Bus) -> None:
    async def put(numbers: range) -> None:
        for number in numbers:
            await any_bus.publish(Publish("inbox.0.A.exit", b"%d" % number, f"id-{number}"))

    loop = PullLoop(any_bus, "INBOX", ack="none", start_sequence=1, batch=16, ordered=True, linger_s=0.05)
    await put(range(20))  # what is there already it takes in batches on the slowest machine
    await loop.start()
    taken: list[list[int]] = []

    async def read() -> None:
        async for batch in loop.batches():
            taken.append([message.sequence for message in batch])

    reading = asyncio.create_task(read())
    await put(range(20, 40))
    await eventually(lambda: sum(map(len, taken)) == 40, "everything was read")
    assert [sequence for batch in taken for sequence in batch] == list(range(1, 41))
    assert len(taken) < 40
    await loop.stop()
    await reading


@pytest.mark.integration
async def test_an_idle_reader_outlives_the_end_of_its_requests(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_module, "EXPIRES_S", 0.3)
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.1)
    loop = PullLoop(bus, "INBOX", durable="reader", ack="none", batch=8)
    await loop.start()
    assert loop._pull is not None
    pull = loop._pull
    reading = asyncio.create_task(pull.next())
    await eventually(lambda: pull._next_request >= 4, "several requests have ended unused")
    assert len(pull._requests) <= 2
    await bus.publish_all([Publish("inbox.0.A.exit", b"%d" % number, f"id-{number}") for number in range(100)])
    found = [message.sequence for message in await reading]
    while len(found) < 100:
        found += [message.sequence for message in await pull.next()]
    assert found == list(range(1, 101))
    assert pull._asked <= 8
    await loop.stop()
