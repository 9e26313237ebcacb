"""The pull loop against a real server: order, redelivery, a deleted consumer, a restarted server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from kestrel_chassis import pull as pull_module
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, ConsumerLost, DeliveryGap, StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.pull import Pull
from kestrel_domain.effects import Publish
from kestrel_domain.errors import Refused
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from kestrel_testkit.servers import NatsServer

pytestmark = pytest.mark.integration


async def publish(bus: Bus, count: int, start: int = 0) -> None:
    await bus.publish_all([Publish("inbox.0.PAPER-1.venue", b"%d" % n, f"id-{n}") for n in range(start, start + count)])


async def take(loop: PullLoop, count: int) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    async for batch in loop.batches():
        found += batch
        if len(found) >= count:
            break
    return found


async def test_messages_come_in_stream_order_in_bounded_batches(bus: Bus) -> None:
    await publish(bus, 1000)
    loop = PullLoop(bus, "INBOX", durable="reader", ack="all", batch=64)
    found: list[StoredMessage] = []
    async for batch in loop.batches():
        assert 1 <= len(batch) <= 64
        found += batch
        await loop.ack_all(batch[-1])
        if len(found) == 1000:
            await loop.stop()

    assert [message.sequence for message in found] == list(range(1, 1001))
    assert loop.lag == 0


async def test_messages_published_while_waiting_arrive(bus: Bus) -> None:
    loop = PullLoop(bus, "INBOX", durable="reader")
    waiting = asyncio.create_task(take(loop, 3))
    await publish(bus, 3)
    assert [message.sequence for message in await waiting] == [1, 2, 3]
    await loop.stop()


async def test_only_the_wanted_subjects_from_the_wanted_sequence(bus: Bus) -> None:
    await publish(bus, 5)
    await bus.publish(Publish("inbox.0.OTHER.exit", b"", "other"))
    await bus.publish(Publish("inbox.0.PAPER-1.exit", b"", "exit"))
    loop = PullLoop(bus, "INBOX", subjects=["inbox.0.PAPER-1.venue", "inbox.0.*.exit"], start_sequence=4, ack="none")
    assert [message.sequence for message in await take(loop, 4)] == [4, 5, 6, 7]
    await loop.stop()


async def test_a_message_that_is_not_acknowledged_comes_again_with_its_count(bus: Bus) -> None:
    await publish(bus, 2)
    loop = PullLoop(bus, "INBOX", durable="reader", ack="explicit", ack_wait_s=0.5)
    found = await take(loop, 2)
    await loop.ack(found[0])

    async def first_is_done() -> bool:
        return bool((await bus.api("CONSUMER.INFO.INBOX.reader"))["ack_floor"]["stream_seq"] == 1)

    await eventually(first_is_done, "the acknowledgement has arrived")
    while found[-1].sequence != 2 or found[-1].delivery_count < 2:
        found += await take(loop, 1)
    await loop.ack(found[-1])
    await loop.stop()

    # More than two each only where this process was held up for longer than the acknowledgement wait.
    counts = {number: [each.delivery_count for each in found if each.sequence == number] for number in (1, 2)}
    assert counts == {number: list(range(1, len(of_one) + 1)) for number, of_one in counts.items()}
    assert telemetry.figures()["messages.redelivered"] == len(found) - 2


async def test_a_message_that_is_put_back_comes_after_its_pause_and_an_ended_one_never(bus: Bus) -> None:
    await publish(bus, 2)
    loop = PullLoop(bus, "INBOX", durable="reader")
    first = await take(loop, 2)
    await loop.term(first[0])
    await loop.in_progress(first[1])
    await loop.nak(first[1], 0.1)
    again = await take(loop, 1)
    assert [(message.sequence, message.delivery_count) for message in again] == [(2, 2)]
    await loop.stop()


async def test_a_stopped_reader_leaves_its_place_to_the_next(bus: Bus) -> None:
    await publish(bus, 10)
    first = PullLoop(bus, "INBOX", durable="reader", batch=4)
    batch = await take(first, 4)
    for message in batch:
        await first.ack(message)
    await first.stop()
    assert await take(first, 1) == []

    async def four_are_done() -> bool:
        return bool((await bus.api("CONSUMER.INFO.INBOX.reader"))["ack_floor"]["stream_seq"] == 4)

    await eventually(four_are_done, "the first reader's acknowledgements have arrived")
    second = PullLoop(bus, "INBOX", durable="reader", batch=4, ack_wait_s=30.0)
    await publish(bus, 1, start=10)
    left: set[int] = set()
    while 11 not in left:
        left |= {message.sequence for message in await take(second, 1)}
    assert left <= set(range(5, 12)), "what was done does not come again"
    await second.stop()


async def test_a_deleted_consumer_is_an_alarm_and_not_a_spin(bus: Bus) -> None:
    loop = PullLoop(bus, "INBOX", durable="reader")
    waiting = asyncio.create_task(take(loop, 1))
    await eventually(lambda: bool(bus.pulls), "the loop pulls")

    async def pulling() -> bool:
        return bool((await bus.api("CONSUMER.INFO.INBOX.reader"))["num_waiting"])

    await eventually(pulling, "the request stands")
    await bus.api("CONSUMER.DELETE.INBOX.reader")

    with pytest.raises(ConsumerLost):
        await waiting
    assert telemetry.figures()["consumers.lost"] == 1
    with pytest.raises(ConsumerLost):  # and it stays so: nothing is made again behind anybody's back
        await take(loop, 1)
    assert not (await bus.api("CONSUMER.NAMES.INBOX")).get("consumers")


async def test_a_consumer_deleted_while_the_server_was_away_is_noticed(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    loop = PullLoop(bus, "INBOX", ack="none", inactive_threshold_s=60)
    await loop.start()
    waiting = asyncio.create_task(take(loop, 1))
    own_nats_server.process.kill()
    own_nats_server.process.start()  # a memory consumer does not outlive its server
    with pytest.raises(ConsumerLost):
        await waiting
    await bus.close()


async def test_a_durable_reader_outlives_a_restart_of_the_server(own_nats_server: NatsServer, tmp_path: Path) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    loop = PullLoop(bus, "INBOX", durable="reader", ack="all", ack_wait_s=1.0)
    await publish(bus, 5)
    first = await take(loop, 5)
    await loop.ack_all(first[-1])

    own_nats_server.process.kill()
    own_nats_server.process.start()
    await bus.publish_until_stored(Publish("inbox.0.PAPER-1.venue", b"new", "new"))
    seen: list[int] = []
    async for batch in loop.batches():
        seen += [message.sequence for message in batch]
        await loop.ack_all(batch[-1])
        if 6 in seen:
            await loop.stop()
    assert sorted(set(seen) | set(range(1, 6))) == [1, 2, 3, 4, 5, 6]
    await bus.close()


async def test_a_consumer_that_exists_with_other_settings_is_refused(bus: Bus) -> None:
    loop = PullLoop(bus, "INBOX", durable="reader", ack_wait_s=30)
    await loop.start()
    await loop.stop()
    with pytest.raises(Refused, match="ack_wait") as refused:
        await PullLoop(bus, "INBOX", durable="reader", ack_wait_s=60).start()
    assert refused.value.reason == "CONSUMER_DRIFT"
    assert (await bus.api("CONSUMER.INFO.INBOX.reader"))["config"]["ack_wait"] == 30 * 10**9, "and stays as it was"


async def test_the_newest_of_each_subject(bus: Bus) -> None:
    await publish(bus, 3)
    await bus.publish(Publish("inbox.0.OTHER.exit", b"", "other"))
    loop = PullLoop(bus, "INBOX", ack="none", last_per_subject=True)
    assert [message.sequence for message in await take(loop, 2)] == [3, 4]
    await loop.stop()


async def test_on_three_servers_the_loop_goes_on_when_its_leader_leaves(cluster_bus: Bus) -> None:
    await publish(cluster_bus, 3)
    loop = PullLoop(cluster_bus, "INBOX", durable="reader", ack="all")
    first = await take(loop, 3)
    await loop.ack_all(first[-1])
    await cluster_bus.api("CONSUMER.LEADER.STEPDOWN.INBOX.reader")
    await cluster_bus.api("STREAM.LEADER.STEPDOWN.INBOX")
    await cluster_bus.publish_until_stored(Publish("inbox.0.PAPER-1.venue", b"", "after"))
    seen: list[int] = []
    async for batch in loop.batches():
        seen += [message.sequence for message in batch]
        if 4 in seen:
            await loop.stop()
    assert seen[-1] == 4


# ---------------------------------------------------------------------- order


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lose deliveries of these stream sequences, each once, as a connection that breaks does."""
    received = Pull._received

    def arrange(*sequences: int) -> None:
        left = set(sequences)

        async def leaky(pull: Pull, message: Msg) -> None:
            tokens = message.reply.split(".")
            if len(tokens) == 9 and int(tokens[5]) in left:
                left.discard(int(tokens[5]))
                return
            await received(pull, message)

        monkeypatch.setattr(Pull, "_received", leaky)

    return arrange


async def test_an_ordered_loop_ends_before_what_follows_a_lost_delivery(bus: Bus, lose: Callable[..., None]) -> None:
    await publish(bus, 20)
    lose(8)
    loop = PullLoop(bus, "INBOX", durable="reader", ack="all", start_sequence=1, ordered=True)
    assert [message.sequence for message in await take(loop, 7)] == [1, 2, 3, 4, 5, 6, 7]
    for _ in range(2):  # and it stays so
        with pytest.raises(DeliveryGap):
            await take(loop, 1)
    assert telemetry.figures()["deliveries.gaps"] == 1
    assert not bus.pulls


async def test_an_ordered_loop_notices_that_the_newest_delivery_was_lost(
    bus: Bus, lose: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.2)
    await publish(bus, 3)
    lose(3)
    loop = PullLoop(bus, "INBOX", ack="none", start_sequence=1, ordered=True)
    with pytest.raises(DeliveryGap):
        await take(loop, 3)


async def test_an_ordered_loop_that_has_nothing_to_do_is_no_gap(any_bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.1)
    heartbeats: list[str] = []
    learn = Pull._learn_heartbeat

    def counting(pull: Pull, message: Msg) -> None:
        heartbeats.append((message.headers or {})["Nats-Last-Consumer"])
        learn(pull, message)

    monkeypatch.setattr(Pull, "_learn_heartbeat", counting)
    loop = PullLoop(any_bus, "INBOX", durable="reader", ack="all", ordered=True)
    waiting = asyncio.create_task(take(loop, 4))
    await eventually(lambda: len(heartbeats) >= 3, "heartbeats come before anything else")
    await publish(any_bus, 3)
    await eventually(lambda: heartbeats[-3:] == ["3", "3", "3"], "and after it")
    assert not waiting.done()
    await publish(any_bus, 1, start=3)
    assert [message.sequence for message in await waiting] == [1, 2, 3, 4]
    await loop.stop()


async def test_an_ordered_loop_does_not_go_on_where_another_reader_left_something(bus: Bus) -> None:
    await publish(bus, 3)
    first = PullLoop(bus, "INBOX", durable="reader", ack="all")
    found = await take(first, 3)
    await first.ack_all(found[1])
    await first.stop()
    with pytest.raises(DeliveryGap, match="not acknowledged"):
        await take(PullLoop(bus, "INBOX", durable="reader", ack="all", ordered=True), 1)


async def test_a_replay_reads_again_what_was_lost_on_the_way(
    bus: Bus, lose: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_module, "HEARTBEAT_S", 0.2)
    await publish(bus, 50)
    lose(1, 20, 50)
    assert [message.sequence async for message in bus.read("INBOX")] == list(range(1, 51))
