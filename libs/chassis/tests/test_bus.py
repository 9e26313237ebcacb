"""The publisher's outcomes and the reads, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from kestrel_chassis import bus as bus_module
from kestrel_chassis.bus import Bus, KeyExists, LimitReached, WrongSequence
from kestrel_chassis.messages import PubAck, StoredMessage
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, OutcomeUnknown, Unavailable
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from kestrel_testkit.servers import NatsServer

pytestmark = pytest.mark.integration

TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def intent(name: str, body: bytes = b"body") -> Publish:
    return Publish("intent.PAPER-1", body, name, TRACEPARENT)


# ---------------------------------------------------------------------- publishing


async def test_a_stored_message_comes_back_with_its_id_trace_and_time(bus: Bus) -> None:
    ack = await bus.publish(intent("one"))
    stored = await bus.get_message("INTENTS", ack.sequence)

    assert (ack.stream, ack.sequence, ack.duplicate) == ("INTENTS", 1, False)
    assert stored is not None
    assert (stored.message_id, stored.traceparent, stored.data) == ("one", TRACEPARENT, b"body")
    assert stored.time_ns > 1_700_000_000 * 10**9


async def test_the_same_id_again_is_stored_once_and_reported_as_duplicate(bus: Bus) -> None:
    first, second = await bus.publish(intent("one")), await bus.publish(intent("one"))

    assert second.duplicate
    assert second.sequence == first.sequence
    assert (await bus.stream_state("INTENTS")).messages == 1


async def test_a_wrong_expected_sequence_is_refused_and_stores_nothing(bus: Bus) -> None:
    await bus.publish(intent("one"))
    with pytest.raises(WrongSequence):
        await bus.publish(intent("two"), expected_last_sequence=7)
    assert (await bus.publish(intent("two"), expected_last_sequence=1)).sequence == 2


async def test_a_subject_without_a_stream_is_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable):
        await (await bus.send(Publish("nowhere.at.all", b"", "one"), timeout=60))
    with pytest.raises((Unavailable, OutcomeUnknown)):  # of the last attempt, which time may have cut short
        await bus.publish(Publish("nowhere.at.all", b"", "one"), timeout=0.3)


async def test_a_message_above_the_servers_limit_is_invalid(bus: Bus) -> None:
    with pytest.raises(InvalidRequest):
        await bus.publish(intent("one", b"x" * 1_100_000))


async def test_a_full_stream_is_a_limit_and_not_a_missing_leader(bus: Bus) -> None:
    full = {"name": "FULL", "subjects": ["full.>"], "max_msgs": 1, "discard": "new", "storage": "memory"}
    await bus.api("STREAM.CREATE.FULL", full)
    await bus.publish(Publish("full.a", b"", "one"))
    with pytest.raises(LimitReached):
        await bus.publish(Publish("full.a", b"", "two"))


async def test_many_messages_are_stored_in_the_order_given(bus: Bus) -> None:
    acks = await bus.publish_all([intent(f"id-{index}", b"%d" % index) for index in range(700)])

    assert [ack.sequence for ack in acks] == list(range(1, 701))
    assert [message.data async for message in bus.read("INTENTS")] == [b"%d" % index for index in range(700)]


async def test_the_first_failure_of_many_is_raised_after_all_have_ended(bus: Bus) -> None:
    with pytest.raises(Unavailable):
        await bus.publish_all([intent("one"), Publish("nowhere.at.all", b"", "two"), intent("three")], timeout=60)
    assert (await bus.stream_state("INTENTS")).messages == 2


async def test_while_the_server_is_down_nothing_is_stored_and_nothing_is_stored_later(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    own_nats_server.process.kill()
    await eventually(lambda: not bus.connected, "the client notices")

    with pytest.raises(Unavailable):
        await bus.publish(intent("late"), timeout=0.3)

    own_nats_server.process.start()
    await eventually(lambda: bus.connected, "the client is back")
    assert (await bus.publish(intent("new"))).sequence == 1
    assert (await bus.stream_state("INTENTS")).messages == 1
    await bus.close()


async def test_a_frozen_server_leaves_the_outcome_unknown_and_asking_again_with_the_id_settles_it(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    own_nats_server.process.suspend()

    with pytest.raises(OutcomeUnknown):
        await bus.publish(intent("one"), timeout=0.4)

    own_nats_server.process.resume()
    ack = await bus.publish_until_stored(intent("one"))
    assert ack.sequence == 1
    assert (await bus.stream_state("INTENTS")).messages == 1
    await bus.close()


async def test_publish_until_stored_outlives_a_restart_of_the_server(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    own_nats_server.process.kill()
    waiting = asyncio.create_task(bus.publish_all_until_stored([intent("one"), intent("two")]))
    own_nats_server.process.start()

    assert [ack.sequence for ack in await waiting] == [1, 2]
    await bus.close()


async def test_a_publish_that_is_repeated_waits_longer_each_time_up_to_a_second(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a stream has no leader nobody asks ten thousand times a second."""
    waits_s: list[float] = []
    publish_all = bus.publish_all

    def noted(wait_s: float) -> float:
        waits_s.append(wait_s)
        return 0.0

    async def refused(effects: Sequence[Publish], **_: Any) -> list[PubAck]:
        if len(waits_s) < 8:
            raise Unavailable("no leader", reason="NO_LEADER")
        return await publish_all(effects)

    monkeypatch.setattr(bus_module, "_with_jitter", noted)
    monkeypatch.setattr(bus, "publish_all", refused)
    assert (await bus.publish_until_stored(intent("one"))).sequence == 1
    assert waits_s[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


async def test_what_the_library_still_holds_is_thrown_away_when_the_connection_breaks(bus: Bus) -> None:
    bus.client._pending.append(b"PUB intent.A 0\r\n\r\n")
    bus.client._pending_data_size = 18
    sent = await bus.send(intent("one"))
    await bus._on_disconnected()
    assert bus.client.pending_data_size == 0
    with pytest.raises(OutcomeUnknown):
        await sent


async def test_what_was_just_sent_is_not_held_up_by_who_computes_after_written(bus: Bus) -> None:
    publishing = asyncio.create_task(bus.publish(intent("one")))
    sent_before = bus.client.stats["out_msgs"]
    await bus.written()

    assert bus.client.stats["out_msgs"] == sent_before + 1
    assert not bus.client._pending, "the library holds nothing back"
    assert (await publishing).sequence == 1


async def test_a_canceled_publish_leaves_nothing_behind(bus: Bus) -> None:
    publishing = asyncio.create_task(bus.publish(intent("one")))
    await asyncio.sleep(0)
    assert bus._publisher.pending_count == 1, "it waits for its answer"
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    await eventually(lambda: bus._publisher.pending_count == 0, "no future is left")


async def test_an_atomic_batch_is_stored_whole_or_not_at_all(any_bus: Bus) -> None:
    batch = [Publish("journal.0.A", b"%d" % number, f"id-{number}") for number in range(5)]
    with pytest.raises(WrongSequence):
        await any_bus.publish_atomic(batch, expected_last_sequence=3)
    assert (await any_bus.stream_state("JOURNAL_0")).messages == 0
    assert (await any_bus.publish_atomic(batch, expected_last_sequence=0)).sequence == 5
    assert [message.data async for message in any_bus.read("JOURNAL_0")] == [effect.body for effect in batch]


async def test_two_closes_are_one(bus: Bus) -> None:
    await bus.close()
    await bus.close()
    assert not bus.connected


# ---------------------------------------------------------------------- reading


async def test_read_ends_at_the_last_message_there_was_and_honors_its_bounds(bus: Bus) -> None:
    await bus.publish_all([intent(f"id-{index}") for index in range(20)])
    await bus.publish(Publish("intent.OTHER", b"", "other"))

    assert [message.sequence async for message in bus.read("INTENTS", start_sequence=18)] == [18, 19, 20, 21]
    assert [m.sequence async for m in bus.read("INTENTS", start_sequence=3, stop_sequence=5)] == [3, 4, 5]
    assert [m.sequence async for m in bus.read("INTENTS", subject="intent.OTHER")] == [21]
    assert [m.sequence async for m in bus.read("INTENTS", subject="intent.PAPER-1", start_sequence=20)] == [20]
    assert [m.sequence async for m in bus.read("INTENTS", subject="intent.NOBODY")] == []
    assert [m.sequence async for m in bus.read("INTENTS", start_sequence=99)] == []
    assert [m.sequence async for m in bus.read("INBOX")] == []


class BehindServer:
    """A replay as a server makes it that does not have everything yet: it says that nothing is left, and ends."""

    def __init__(self, bus: Bus, *ends: int) -> None:
        self._whole = bus._read_with_one_consumer
        self._ends = list(ends)
        self.replay_count = 0

    async def read(self, *where: Any) -> AsyncIterator[StoredMessage]:
        self.replay_count += 1
        end = self._ends.pop(0) if self._ends else 10**9
        async for message in self._whole(*where):
            if message.sequence > end:
                return
            yield message


@pytest.mark.parametrize("subject", [None, "intent.PAPER-1", "intent.*"])
async def test_a_replay_that_a_server_behind_ended_early_goes_on_to_the_end(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, subject: str | None
) -> None:
    for number in range(1, 11):
        await bus.publish(intent(f"number-{number}"))
    behind = BehindServer(bus, 7, 0)
    monkeypatch.setattr(bus, "_read_with_one_consumer", behind.read)
    read = [message.sequence async for message in bus.read("INTENTS", subject=subject)]
    assert read == list(range(1, 11))
    assert behind.replay_count == 3


async def test_a_replay_of_what_is_not_there_ends_at_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    await bus.publish(intent("one"))
    counted = BehindServer(bus)
    monkeypatch.setattr(bus, "_read_with_one_consumer", counted.read)
    assert [message async for message in bus.read("INTENTS", subject="intent.NOBODY")] == []
    assert counted.replay_count == 1


async def test_a_replay_whose_server_stays_behind_is_unavailable_and_never_short(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await bus.publish(intent(f"number-{number}"))
    monkeypatch.setattr(bus, "_read_with_one_consumer", BehindServer(bus, *[2] * 20).read)
    with pytest.raises(Unavailable, match="there is more"):
        assert [message async for message in bus.read("INTENTS")]


async def test_read_leaves_no_consumer_behind(bus: Bus) -> None:
    await bus.publish(intent("one"))
    async for _ in bus.read("INTENTS"):
        break
    assert [message.sequence async for message in bus.read("INTENTS")] == [1]

    async def gone() -> bool:
        return not (await bus.api("CONSUMER.NAMES.INTENTS")).get("consumers")

    await eventually(gone, "the consumers of the replay are gone")


async def test_a_replay_goes_on_over_a_restart_of_the_server(own_nats_server: NatsServer, tmp_path: Path) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    await bus.publish_all([intent(f"id-{index}", b"x" * 1000) for index in range(3000)])
    seen = []
    async for message in bus.read("INTENTS"):
        seen.append(message.sequence)
        if len(seen) == 100:
            own_nats_server.process.kill()
            own_nats_server.process.start()
    assert seen == list(range(1, 3001))
    await bus.close()


async def test_last_message_is_of_a_subject_or_of_the_stream(bus: Bus) -> None:
    await bus.publish(intent("one"))
    await bus.publish(Publish("intent.OTHER", b"other", "two"))
    of_subject, of_stream = await bus.last_message("INTENTS", "intent.PAPER-1"), await bus.last_message("INTENTS")

    assert of_subject is not None
    assert of_subject.message_id == "one"
    assert of_stream is not None
    assert of_stream.message_id == "two"
    assert await bus.last_message("INTENTS", "intent.NOBODY") is None
    assert await bus.get_message("INTENTS", 99) is None


async def test_core_requests_are_answered_or_say_that_nobody_listens(bus: Bus) -> None:
    heard = []

    async def answer(subject: str, data: bytes) -> bytes:
        heard.append((subject, data))
        return b"answer"

    await bus.subscribe_core("ask.truth.>", answer)
    assert await bus.request_core("ask.truth.paper.PAPER-1", b"r1") == b"answer"
    await bus.publish_core("ask.truth.paper.PAPER-1", b"r2")
    await eventually(lambda: len(heard) == 2, "both are heard")
    with pytest.raises(Unavailable):
        await bus.request_core("ask.nobody", b"")


# ---------------------------------------------------------------------- buckets


async def test_of_sixteen_who_create_one_key_exactly_one_wins(any_bus: Bus) -> None:
    bus = any_bus
    bucket = bus.bucket("spent")
    results = await asyncio.gather(
        *(bucket.create("token", b"%d" % index) for index in range(16)), return_exceptions=True
    )
    winners = [index for index, result in enumerate(results) if isinstance(result, int)]

    assert len(winners) == 1
    assert all(isinstance(result, (int, KeyExists)) for result in results)
    found = await bucket.get("token")
    assert found is not None
    assert found[0] == b"%d" % winners[0]


async def test_a_bucket_updates_only_over_the_revision_that_was_read(bus: Bus) -> None:
    bucket = bus.bucket("flags")
    first = await bucket.create("kill", b"1")
    second = await bucket.update("kill", b"2", first)
    with pytest.raises(WrongSequence):
        await bucket.update("kill", b"3", first)
    assert await bucket.get("kill") == (b"2", second)


async def test_a_deleted_key_is_gone_and_can_be_created_again(bus: Bus) -> None:
    bucket = bus.bucket("mandates")
    revision = await bucket.create("m1", b"1")
    await bucket.put("m2", b"2")
    with pytest.raises(WrongSequence):
        await bucket.delete("m1", revision + 5)
    await bucket.delete("m1", revision)

    assert await bucket.get("m1") is None
    assert await bucket.keys() == ["m2"]
    assert await bucket.create("m1", b"again") > revision
    assert await bucket.keys() == ["m1", "m2"]


async def test_a_bucket_that_cannot_be_reached_is_unavailable(own_nats_server: NatsServer, tmp_path: Path) -> None:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    own_nats_server.process.kill()
    await eventually(lambda: not bus.connected, "the client notices")
    with pytest.raises(Unavailable):
        await bus.bucket("flags").get("kill", timeout=0.3)
    with pytest.raises(Unavailable):
        await bus.bucket("spent").create("token", b"", timeout=0.3)
    await bus.close()


async def test_who_is_canceled_while_the_answer_comes_in_ends_and_does_not_go_on(bus: Bus) -> None:
    """Otherwise who was told to end goes on, and whoever waits for that, as a task group does, waits for ever."""
    asking = asyncio.create_task(bus.api("INFO"))
    answers: dict[str, asyncio.Future[Any]] = bus.client._resp_map
    while not answers:  # noqa: ASYNC110  # a few turns
        await asyncio.sleep(0)
    for answer in answers.values():
        answer.set_result(Msg(bus.client, data=b"{}"))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
