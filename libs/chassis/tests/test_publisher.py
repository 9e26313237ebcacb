"""Every future ends: answered, refused, cut off or late."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import pytest

from kestrel_chassis import publisher as publisher_module
from kestrel_chassis.messages import LimitReached, WrongSequence
from kestrel_chassis.publisher import Publisher
from kestrel_domain.errors import InvalidRequest, OutcomeUnknown, Unavailable


@dataclass
class FakeMessage:
    subject: str
    data: bytes
    headers: dict[str, str] | None = None


@dataclass
class FakeClient:
    error: Exception | None = None
    replies: list[str] = field(default_factory=list)
    answer: Callable[[Any], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX.p"

    async def subscribe(self, subject: str, cb: Callable[[Any], Awaitable[None]]) -> None:
        self.answer = cb

    async def publish(self, subject: str, body: bytes, reply: str, headers: dict[str, str]) -> None:
        if self.error is not None:
            raise self.error
        self.replies.append(reply)


class World:
    def __init__(self) -> None:
        self.client = FakeClient()
        self.publisher = Publisher(self.client)  # type: ignore[arg-type]

    async def send(self, timeout_s: float = 5.0) -> Any:
        if self.client.answer is None:
            await self.publisher.start()
        return await self.publisher.send("intent.A", b"x", {}, timeout_s)

    async def answer(self, content: object, *, to: int = -1, status: str = "") -> None:
        assert self.client.answer is not None
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        await self.client.answer(FakeMessage(self.client.replies[to], data, {"Status": status} if status else None))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(publisher_module, "_SWEEP_INTERVAL_S", 0.01)
    return World()


async def test_answers_find_their_message_in_any_order(world: World) -> None:
    first, second = await world.send(), await world.send()
    await world.answer({"stream": "INTENTS", "seq": 2, "duplicate": True}, to=1)
    await world.answer({"stream": "INTENTS", "seq": 1}, to=0)
    assert ((await first).sequence, (await first).duplicate) == (1, False)
    assert ((await second).sequence, (await second).duplicate) == (2, True)
    assert world.publisher.pending_count == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 400, "err_code": 10071, "description": "wrong last sequence: 5"}, WrongSequence),
        ({"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}, LimitReached),
    ],
)
async def test_a_refusal_of_the_server_is_raised(world: World, error: dict[str, Any], kind: type[Exception]) -> None:
    sent = await world.send()
    await world.answer({"error": error})
    with pytest.raises(kind):
        await sent


async def test_no_responders_means_not_stored(world: World) -> None:
    sent = await world.send()
    await world.answer(b"", status="503")
    with pytest.raises(Unavailable):
        await sent


@pytest.mark.parametrize("content", [b"nonsense", b"[]", b"{}", b'{"error": 1}'])
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(world: World, content: bytes) -> None:
    sent = await world.send()
    await world.answer(content)
    with pytest.raises(OutcomeUnknown):
        await sent


async def test_a_late_answer_is_an_unknown_outcome_and_then_nothing(world: World) -> None:
    late, patient = await world.send(0.02), await world.send(60)
    with pytest.raises(OutcomeUnknown):
        await late
    await world.answer({"stream": "INTENTS", "seq": 1}, to=0)
    await world.answer({"stream": "INTENTS", "seq": 2}, to=1)
    assert (await patient).sequence == 2
    world.publisher.close()


async def test_a_broken_connection_ends_everything_as_unknown(world: World) -> None:
    sent = [await world.send() for _ in range(3)]
    world.publisher.connection_lost()
    for future in sent:
        with pytest.raises(OutcomeUnknown):
            await future
    world.publisher.close()


async def test_a_canceled_future_takes_no_answer(world: World) -> None:
    sent = await world.send()
    sent.cancel()
    await world.answer({"stream": "INTENTS", "seq": 1})
    assert sent.cancelled()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (nats.errors.OutboundBufferLimitError(), Unavailable),
        (nats.errors.ConnectionClosedError(), Unavailable),
        (nats.errors.MaxPayloadError(), InvalidRequest),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
async def test_what_was_not_handed_over_was_not_stored(world: World, error: Exception, kind: type[Exception]) -> None:
    world.client.error = error
    with pytest.raises(kind):
        await world.send()
    assert world.publisher.pending_count == 0
