"""Rows of the table about readers: lost acknowledgements, duplicates, slow handlers, storms, deleted consumers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.snapshots import SnapshotStore
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError, Unavailable
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from tests.chaos import services
from tests.chaos.conftest import Measure
from tests.chaos.servers import BreakableServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(240)]


def intent(number: int) -> Publish:
    return Publish("intent.PAPER-1", b"%d" % number, f"m-{number}")


async def test_nats_08_acknowledgements_lost_in_a_broker_crash_cause_redelivery_and_no_second_effect(
    server: BreakableServer, tmp_path: Path, measure: Measure
) -> None:
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    await bus.publish_all([intent(number) for number in range(1, 101)])
    effects: dict[int, bytes] = {}
    deliveries: Counter[int] = Counter()

    async def handle(loop: PullLoop, until_count: int) -> None:
        async with asyncio.timeout(60):
            async for batch in loop.batches():
                for message in batch:
                    deliveries[message.sequence] += 1
                    effects.setdefault(message.sequence, message.data)
                    await loop.ack(message)
                if len(effects) >= until_count:
                    return

    loop = PullLoop(bus, "INTENTS", durable="reader")
    await handle(loop, 100)
    await bus.client.flush()
    server.process.kill()
    began_s = time.monotonic()
    server.process.start()
    await loop.stop()
    await bus.publish_until_stored(intent(101))
    await handle(PullLoop(bus, "INTENTS", durable="reader"), 101)
    again_s = time.monotonic() - began_s
    assert effects == {number: b"%d" % number for number in range(1, 102)}
    measure(
        acknowledged=100,
        delivered_again=sum(deliveries.values()) - 101,
        lost=0,
        doubled=0,
        healthy_again_s=round(again_s, 2),
    )
    await bus.close()


async def test_nats_09_duplicate_inside_the_window_is_flagged_and_outside_it_the_readers_key_catches_it(
    bus: Bus,
) -> None:
    window_s = 1.0
    config = {"name": "BRIEF", "subjects": ["brief"], "duplicate_window": int(window_s * 1e9)}
    await bus.api("STREAM.CREATE.BRIEF", config)
    answers: list[tuple[Publish, bool]] = []

    async def published_twice_inside_the_window() -> bool:
        once = Publish("brief", b"effect", f"id-{len(answers)}")
        began_s = time.monotonic()
        await bus.publish(once)
        answers.append((once, (await bus.publish(once)).duplicate))
        return time.monotonic() - began_s < window_s

    await eventually(published_twice_inside_the_window, "the machine is quick enough for the window")
    once, was_duplicate = answers[-1]
    assert was_duplicate

    async def stored_again() -> bool:
        return not (await bus.publish(once)).duplicate

    await eventually(stored_again, "the window is over")
    bodies = [message.data async for message in bus.read("BRIEF") if message.message_id == once.message_id]
    assert bodies == [b"effect", b"effect"], "two messages, one effect: the reader's key is permanent"


async def test_nats_14_slow_handler_sees_everything_once_and_its_lag(bus: Bus, measure: Measure) -> None:
    await bus.publish_all([intent(number) for number in range(1, 61)])
    seen: list[int] = []
    lags: list[int] = []
    async with asyncio.timeout(60):
        async for batch in (loop := PullLoop(bus, "INTENTS", durable="slow", batch=5, ack_wait_s=60.0)).batches():
            assert len(batch) <= 5, "never more than was asked for"
            lags.append(int(telemetry.figures()["consumer.lag.INTENTS"]))
            await asyncio.sleep(0.02)  # the slow handler itself
            for message in batch:
                seen.append(message.sequence)
                await loop.ack(message)
            if len(seen) >= 60:
                break
    await loop.stop()
    assert seen == list(range(1, 61))
    assert lags[0] >= 50
    assert lags[-1] == 0
    measure(lost=0, doubled=0, lag_max=max(lags))


async def test_nats_15_message_that_is_always_put_back_comes_at_a_bounded_rate(bus: Bus, measure: Measure) -> None:
    await bus.publish(intent(1))
    loop = PullLoop(bus, "INTENTS", durable="storm")
    began_s = time.monotonic()
    async for batch in loop.batches():
        await loop.nak(batch[0], 0.0)  # the worst a handler can ask for
        if batch[0].delivery_count >= 8:
            break
    await loop.stop()
    took_s = time.monotonic() - began_s
    assert took_s >= 7 * 0.05, "a pause of nothing is never sent"
    measure(deliveries=8, per_s=round(8 / took_s, 1))


async def test_nats_15_handling_longer_than_the_wait_is_redelivered_and_told(bus: Bus) -> None:
    await bus.publish(intent(1))
    loop = PullLoop(bus, "INTENTS", durable="late", ack_wait_s=0.15)
    counts: list[int] = []
    async for batch in loop.batches():
        counts += [message.delivery_count for message in batch]
        if len(counts) >= 12:
            await loop.ack(batch[0])
            break
    await loop.stop()
    assert counts == list(range(1, len(counts) + 1))
    assert telemetry.figures()["messages.redelivered.often"] >= 1


@pytest.mark.parametrize("hears", ["$JS.EVENT.ADVISORY.", "nothing"])
async def test_nats_19_kernel_whose_inbox_is_deleted_is_not_ready_says_so_and_makes_nothing_anew(
    server: BreakableServer, secrets: Path, tmp_path: Path, hears: str
) -> None:
    """The server may lose its own advisory, so the kernel has to say it even when it hears nothing."""
    server.configure(deaf("$JS.EVENT.ADVISORY.>" if hears == "nothing" else "nothing"))
    server.reload()
    bus = await connect(server.url, tmp_path, nats_user="admin", nats_password="word")
    await provision_afresh(bus)
    login = {"nats_user": "kestrel", "nats_password": "word"}
    kernel = services.kernel(tmp_path, server.url, secrets, common=login)
    kernel.start()
    try:
        await kernel.until_ready()
        await bus.api("STREAM.DELETE.INBOX")
        deleted_s, said_before = time.monotonic(), kernel.said().count("\n")
        await kernel.until_not_ready()
        times_ready = kernel.said().count("service.ready")
        with pytest.raises(KestrelError):
            await bus.stream_state("INBOX")
        with pytest.raises(Unavailable):
            await (await bus.send(Publish("inbox.0.PAPER-1.entry", b"", "one"), timeout=60))

        async def alerts() -> list[str]:
            found = [audit_pb2.Alert.FromString(message.data).reason async for message in bus.read("ALERTS")]
            return [reason for reason in found if reason == "STREAM_DELETED"]

        async def alarmed() -> bool:
            return bool(await alerts())

        await eventually(alarmed, "there is an alert", timeout_s=60)
        assert await alerts() == ["STREAM_DELETED"], "one, by whichever way it was noticed"
        assert kernel.said().count("service.ready") == times_ready, "it stays not ready, however often it tries"
        lines = kernel.said().count("\n") - said_before
        assert lines < 400 + 20 * (time.monotonic() - deleted_s), "it tries again, and does not spin"
    finally:
        kernel.end()
        await bus.close()


def deaf(subject: str) -> str:
    """A login that may not listen to a subject, and one that may do everything."""
    permissions = f'permissions {{ subscribe: {{ deny: ["{subject}"] }} }}'
    return (
        'authorization {\n  users: [\n    { user: "admin", password: "word" }\n'
        f'    {{ user: "kestrel", password: "word", {permissions} }}\n  ]\n}}\n'
    )


async def test_nats_19_kernel_whose_consumer_is_deleted_goes_on_from_its_own_position(
    server: BreakableServer, secrets: Path, tmp_path: Path, measure: Measure
) -> None:
    bus = await connect(server.url, tmp_path)
    await provision_afresh(bus)
    kernel = services.kernel(tmp_path, server.url, secrets)
    kernel.start()
    try:
        await kernel.until_ready()
        consumers: list[str] = []

        async def reads() -> bool:  # whoever is ready may have yet to make its consumer
            consumers[:] = (await bus.api("CONSUMER.NAMES.INBOX")).get("consumers") or []
            return bool(consumers)

        await eventually(reads, "the kernel reads INBOX", timeout_s=60)
        await bus.publish(Publish("inbox.0.PAPER-1.venue", b"\xff", "garbage-1"))
        began_s = time.monotonic()
        for consumer in consumers:
            await bus.api(f"CONSUMER.DELETE.INBOX.{consumer}")
        await bus.publish(Publish("inbox.0.PAPER-1.venue", b"\xff", "garbage-2"))

        async def parked() -> bool:
            return (await bus.stream_state("PARKED")).messages == 2

        await eventually(parked, "both inputs were handled, once each", timeout_s=60)
        await kernel.until_ready()
        measure(lost=0, doubled=0, healthy_again_s=round(time.monotonic() - began_s, 2))
    finally:
        kernel.end()
        await bus.close()


async def test_nats_30_servers_newer_form_of_acknowledgements_is_understood_everywhere(tmp_path: Path) -> None:
    server = BreakableServer(tmp_path / "nats")
    server.configure(change=lambda text: text.replace("js_ack_fc_v2: false", "js_ack_fc_v2: true"))
    server.process.start()
    bus = await connect(server.url, tmp_path)
    try:
        await provision_afresh(bus)
        await bus.publish_all([intent(number) for number in range(1, 51)])
        loop = PullLoop(bus, "INTENTS", durable="reader")
        replies: list[str] = []
        async for batch in loop.batches():
            for message in batch:
                replies.append(message.reply)
                await loop.ack(message)
            if len(replies) == 50:
                break
        await loop.stop()
        assert {len(reply.split(".")) for reply in replies} == {11}, "this server does speak the newer form"

        async def acknowledged() -> bool:
            info = await bus.api("CONSUMER.INFO.INTENTS.reader")
            return bool(info["ack_floor"]["stream_seq"] == 50)

        await eventually(acknowledged, "the acknowledgements arrive")
        assert [message.sequence async for message in bus.read("INTENTS")] == list(range(1, 51))
        await bus.bucket("flags").create("kill", b"1")
        assert await bus.bucket("flags").keys() == ["kill"]
        store = SnapshotStore(bus)
        await store.save("partition-0", b"state" * 100_000)
        assert await store.load("partition-0") == b"state" * 100_000
    finally:
        await bus.close()
        server.process.kill()
