"""The bus: one connection to NATS, streams, buckets and plain requests.

What it promises, whatever the client library does underneath:
- nothing is kept for later while the connection is down (a late order is worse than none);
- a publish ends as stored, certainly not stored, or unknown, and says which;
- the same message id is stored once, and a duplicate is reported as such.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from kestrel_chassis import telemetry
from kestrel_chassis.bucket import Bucket
from kestrel_chassis.messages import (
    EXPECTED_LAST_SEQUENCE_HEADER,
    MESSAGE_ID_HEADER,
    TRACEPARENT_HEADER,
    ConsumerLost,
    DeliveryGap,
    KeyExists,
    LimitReached,
    PubAck,
    StoredMessage,
    StreamState,
    WrongSequence,
    error_of,
    parse_headers,
    parse_time_ns,
)
from kestrel_chassis.publisher import Publisher
from kestrel_domain.effects import Publish
from kestrel_domain.errors import KestrelError, OutcomeUnknown, Refused, Unavailable

if TYPE_CHECKING:
    from kestrel_chassis.settings import ServiceSettings

__all__ = [
    "Bucket",
    "Bus",
    "ConsumerLost",
    "DeliveryGap",
    "KeyExists",
    "LimitReached",
    "OutcomeUnknown",
    "PubAck",
    "StoredMessage",
    "StreamState",
    "Unavailable",
    "WrongSequence",
]

PIPELINE_WINDOW = 256
"""How many publishes of one call may be unanswered at once."""

_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 1.0
_CONNECT_ATTEMPT_S = 10.0
"""How long the library may try before it is begun anew: after a failed TLS handshake it waits for ever."""
_CLOSE_TIMEOUT_S = 5.0
_SAME_ERROR_S = 10.0
_READ_LOSSES_MAX = 5
_BEHIND_PAUSE_S = 0.2
"""A server that is behind catches up within milliseconds, or is not given the next consumer."""
_TURNS_TO_WRITE = 3
"""Of the event loop: a task that was just made sends, the library's own writes, the socket takes it."""
_BATCH_ID_HEADER, _BATCH_SEQUENCE_HEADER, _BATCH_COMMIT_HEADER = (
    "Nats-Batch-Id",
    "Nats-Batch-Sequence",
    "Nats-Batch-Commit",
)
_NO_MESSAGE = "JETSTREAM_10037"


class _Stoppable(Protocol):
    async def stop(self) -> None: ...

    def reconnected(self) -> None: ...


class Bus:
    """One service's connection."""

    def __init__(self, client: Client, settings: ServiceSettings) -> None:
        self.client = client
        self.settings = settings
        self.pulls: set[_Stoppable] = set()
        self.batches_in_hand = 0
        """Batches that pull loops have given out and that are not handled yet."""
        self.on_connection: list[Callable[[bool], None]] = []
        self._publisher = Publisher(client)
        self._closing = False
        self._on_lost: Callable[[], None] = lambda: None
        self._error_text = ""
        self._error_logged_s = 0.0

    # ------------------------------------------------------------------ connection

    @classmethod
    async def connect(cls, settings: ServiceSettings) -> Bus:
        """Connect, trying for as long as it takes; cancel to give up. The connection then heals by itself, but for one
        case: `when_lost`.
        """
        client = Client()
        bus = cls(client, settings)
        wait_s = _BACKOFF_MIN_S
        while True:
            try:
                async with asyncio.timeout(_CONNECT_ATTEMPT_S):
                    await bus._connect_once()
                return bus
            except (OSError, TimeoutError, nats.errors.Error) as error:
                telemetry.count("bus.connect_failures")
                telemetry.logger().warning("bus.connect_failed", url=settings.safe_nats_url, error=repr(error))
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                        await client.close()
                client = Client()
                bus = cls(client, settings)
                await asyncio.sleep(_with_jitter(wait_s))
                wait_s = min(2.0, wait_s * 2)

    async def _connect_once(self) -> None:
        settings = self.settings
        await self.client.connect(
            servers=[url.strip() for url in settings.nats_url.split(",")],
            name=f"{settings.service}@{settings.instance}",
            inbox_prefix=f"_INBOX_{settings.service.replace('-', '_')}",
            pending_size=0,
            flusher_queue_size=0,  # without an end: who waits for room in it forgets that he was canceled
            connect_timeout=2,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a fraction is accepted
            ping_interval=3,
            max_outstanding_pings=2,
            drain_timeout=int(_CLOSE_TIMEOUT_S),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            lame_duck_mode_cb=self._on_lame_duck,
            user=settings.nats_user or None,
            password=settings.nats_password or None,
        )
        await self._publisher.start()
        self._tell(True)

    def when_lost(self, tell: Callable[[], None]) -> None:
        """``tell`` is called once the server has put this connection out for good, or now if it has already.

        A server that no longer knows the login (it was changed, and the configuration loaded anew) says so and closes;
        the library then does not try again. Nothing would ever come or go here any more.
        """
        self._on_lost = tell
        if self.client.is_closed and not self._closing:
            tell()

    async def close(self) -> None:
        """Stop pulls, let publishes under way end, drain, close. Bounded by some seconds; may be called twice."""
        if self._closing:
            return
        self._closing = True
        await self.stop_pulls()
        deadline_s = time.monotonic() + _CLOSE_TIMEOUT_S
        while self._publisher.pending_count and self.connected and time.monotonic() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a few turns, once in a life
        self._publisher.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError, OSError):
            with contextlib.suppress(Exception):
                await self.client.close()

    async def stop_pulls(self) -> None:
        """Every pull loop ends after the batch in hand."""
        for pull in list(self.pulls):
            await pull.stop()

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    async def check(self, timeout: float = 3.0) -> None:  # noqa: ASYNC109
        """One JetStream round trip. Raises ``Unavailable``."""
        await self.api("INFO", timeout=timeout)

    # ------------------------------------------------------------------ publishing

    async def publish(
        self,
        effect: Publish,
        *,
        expected_last_sequence: int | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> PubAck:
        """Store one message. While no stream answers it tries again, within ``timeout`` seconds, under the same id.

        Raises ``Unavailable`` (certainly not stored), ``OutcomeUnknown`` (sent and not answered: may be stored),
        ``WrongSequence``, ``LimitReached``.
        """
        return await self.publish_raw(
            effect.subject, effect.body, _headers(effect, expected_last_sequence), timeout_s=timeout
        )

    async def publish_all(self, effects: Sequence[Publish], *, timeout: float = 5.0) -> list[PubAck]:  # noqa: ASYNC109
        """Store several, pipelined, sent in order. When all have ended, raises the first failure if there was one."""
        acks: list[PubAck] = []
        for start in range(0, len(effects), PIPELINE_WINDOW):
            futures: list[asyncio.Future[PubAck]] = []
            error: BaseException | None = None
            for effect in effects[start : start + PIPELINE_WINDOW]:
                try:
                    futures.append(await self.send(effect, timeout=timeout))
                except KestrelError as failure:
                    error = failure
                    break
            results = await asyncio.gather(*futures, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    telemetry.count("publishes.failed")
                    raise result
                acks.append(result)
            if error is not None:
                raise error
            telemetry.count("publishes.stored", len(results))
        return acks

    async def publish_until_stored(self, effect: Publish) -> PubAck:
        """Repeat under the same id until it is stored. For ids that follow from their cause; cancel to give up."""
        return (await self.publish_all_until_stored([effect]))[0]

    async def publish_all_until_stored(self, effects: Sequence[Publish]) -> list[PubAck]:
        """The same for several, pipelined, in order. What was stored before a failure is reported as duplicate."""
        wait_s = _BACKOFF_MIN_S
        while True:
            try:
                return await self.publish_all(effects)
            except (Unavailable, OutcomeUnknown) as error:
                telemetry.count("publishes.repeated")
                telemetry.logger().warning(
                    "publish.repeated", subject=effects[0].subject, reason=error.reason, error=str(error)
                )
            await asyncio.sleep(_with_jitter(wait_s))
            wait_s = min(_BACKOFF_MAX_S, wait_s * 2)

    async def send(
        self,
        effect: Publish,
        *,
        expected_last_sequence: int | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> asyncio.Future[PubAck]:
        """The pipelined form: sent when this returns, stored when the future says so. One attempt."""
        return await self._publisher.send(
            effect.subject, effect.body, _headers(effect, expected_last_sequence), timeout
        )

    async def written(self) -> None:
        """A moment later what was just sent is on its way: for who has something to do until the answer comes.

        Nothing depends on it but speed: whoever computes at once holds up the task that writes.
        """
        for _ in range(_TURNS_TO_WRITE):
            await asyncio.sleep(0)

    async def publish_atomic(
        self,
        effects: Sequence[Publish],
        *,
        expected_last_sequence: int,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> PubAck:
        """Store all of them directly after a sequence, or none (at most 1000, one stream, which allows it).

        One attempt; the acknowledgement is the last message's. Raises as ``publish`` does; a batch that lost a part on
        the way, or was committed before, is ``Refused`` with reason JETSTREAM_10176 or JETSTREAM_10201.
        """
        batch_id = secrets.token_hex(16)
        *before, last = [
            (
                effect.subject,
                effect.body,
                _headers(effect, expected_last_sequence if number == 1 else None, batch_id, number),
            )
            for number, effect in enumerate(effects, start=1)
        ]
        for subject, body, headers in before:
            try:
                await self.client.publish(subject, body, headers=headers)
            except nats.errors.Error as error:
                raise Unavailable(f"{subject}: not connected ({type(error).__name__})") from error
        subject, body, headers = last
        return await (await self._publisher.send(subject, body, headers | {_BATCH_COMMIT_HEADER: "1"}, timeout))

    async def publish_raw(self, subject: str, body: bytes, headers: dict[str, str], *, timeout_s: float) -> PubAck:
        """``publish`` with headers of one's own."""
        deadline_s = time.monotonic() + timeout_s
        wait_s = _BACKOFF_MIN_S
        while True:
            try:
                ack = await (
                    await self._publisher.send(subject, body, headers, max(0.05, deadline_s - time.monotonic()))
                )
                telemetry.count("publishes.stored")
                return ack
            except LimitReached:
                telemetry.count("publishes.failed")
                raise
            except Unavailable:
                if time.monotonic() + wait_s >= deadline_s:
                    telemetry.count("publishes.failed")
                    raise
            await asyncio.sleep(_with_jitter(wait_s))
            wait_s = min(_BACKOFF_MAX_S, wait_s * 2)

    async def settle(self, message: StoredMessage, verdict: bytes) -> None:
        """Send an acknowledgement of some kind. Lost ones are counted: the message then comes again."""
        if not message.reply:
            return
        try:
            await self.client.publish(message.reply, verdict)
        except nats.errors.Error:
            telemetry.count("acks.lost")

    # ------------------------------------------------------------------ reading

    async def last_message(
        self,
        stream: str,
        subject: str | None = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> StoredMessage | None:
        """The newest message, of a subject (wildcards allowed) or of the whole stream; None if there is none."""
        return await self._read_one(stream, {"last_by_subj": subject or ">"}, timeout)

    async def get_message(
        self,
        stream: str,
        sequence: int,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> StoredMessage | None:
        """The message at a sequence, read from the leader; None if there is none."""
        return await self._read_one(stream, {"seq": sequence}, timeout)

    async def read(
        self, stream: str, *, start_sequence: int = 1, subject: str | None = None, stop_sequence: int | None = None
    ) -> AsyncIterator[StoredMessage]:
        """Replay in order, fast, from ``start_sequence`` to the last message there is now (or ``stop_sequence``).

        If the server loses the consumer of the replay, or a delivery is lost on the way, it goes on with another. So it
        does when the replay ended early: of several servers, one that is a little behind may hold the consumer, and
        what it does not have yet is no end. Raises ``Unavailable`` when that happens again and again.
        """
        last = (await self.stream_state(stream)).last_sequence
        last = last if stop_sequence is None else min(last, stop_sequence)
        position, losses_left = start_sequence, _READ_LOSSES_MAX
        while position <= last:
            try:
                async for message in self._read_with_one_consumer(stream, position, last, subject):
                    yield message
                    position, losses_left = message.sequence + 1, _READ_LOSSES_MAX
                if position > last or not await self._is_more(stream, position, last, subject):
                    return
                losses_left -= 1
                if not losses_left:
                    raise Unavailable(
                        f"the replay of {stream} ends before {position}, and there is more", reason="STREAM_BEHIND"
                    )
                await asyncio.sleep(_BEHIND_PAUSE_S)
            except (ConsumerLost, DeliveryGap):
                losses_left -= 1
                if not losses_left:
                    raise

    async def _is_more(self, stream: str, start_sequence: int, last_sequence: int, subject: str | None) -> bool:
        """What the stream's leader says, who has everything that was acknowledged."""
        following = await self._read_one(stream, {"seq": start_sequence, "next_by_subj": subject or ">"}, 5.0)
        return following is not None and following.sequence <= last_sequence

    async def _read_with_one_consumer(
        self, stream: str, start_sequence: int, last_sequence: int, subject: str | None
    ) -> AsyncIterator[StoredMessage]:
        from kestrel_chassis.consume import PullLoop

        loop = PullLoop(
            self,
            stream,
            subjects=[subject] if subject else None,
            start_sequence=start_sequence,
            ack="none",
            batch=1024,
            ordered=True,
        )
        try:
            await loop.start()
            if loop.lag == 0:
                return
            async for batch in loop.batches():
                for message in batch:
                    if message.sequence <= last_sequence:
                        yield message
                    if message.sequence >= last_sequence or message.pending == 0:
                        return
        finally:
            await loop.stop()

    async def stream_state(self, stream: str) -> StreamState:
        state = (await self.api(f"STREAM.INFO.{stream}"))["state"]
        return StreamState(int(state["first_seq"]), int(state["last_seq"]), int(state["messages"]))

    def bucket(self, name: str) -> Bucket:
        return Bucket(self, name)

    async def api(
        self,
        call: str,
        request: dict[str, Any] | None = None,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """One request to JetStream's API (``STREAM.INFO.INBOX``), tried again while no leader answers.

        Raises ``Unavailable`` or what ``messages.error_of`` says; an unanswered *read* did not happen, so it is
        ``Unavailable`` too.
        """
        payload = json.dumps(request).encode() if request else b""
        deadline_s = time.monotonic() + timeout
        wait_s = _BACKOFF_MIN_S
        while True:
            try:
                data = await self._request(f"$JS.API.{call}", payload, max(0.05, deadline_s - time.monotonic()))
                answer: dict[str, Any] = json.loads(data)
                if "error" not in answer:
                    return answer
                error = answer["error"]
                raise error_of(
                    int(error.get("code", 0)), int(error.get("err_code", 0)), error.get("description", ""), where=call
                )
            except (nats.errors.Error, TimeoutError, ValueError) as failure:
                if isinstance(failure, nats.errors.TimeoutError) or time.monotonic() + wait_s >= deadline_s:
                    raise Unavailable(f"{call}: no answer ({type(failure).__name__})", reason="NO_ANSWER") from failure
            except LimitReached:
                raise
            except Unavailable:
                if time.monotonic() + wait_s >= deadline_s:
                    raise
            await asyncio.sleep(_with_jitter(wait_s))
            wait_s = min(_BACKOFF_MAX_S, wait_s * 2)

    async def _read_one(self, stream: str, query: dict[str, Any], timeout_s: float) -> StoredMessage | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", query, timeout=timeout_s)
        except Refused as error:
            if error.reason == _NO_MESSAGE:
                return None
            raise
        message = answer["message"]
        return StoredMessage(
            stream=stream,
            subject=message["subject"],
            sequence=int(message["seq"]),
            time_ns=parse_time_ns(message["time"]),
            data=base64.b64decode(message.get("data", "")),
            headers=parse_headers(base64.b64decode(message["hdrs"])) if message.get("hdrs") else {},
        )

    # ------------------------------------------------------------------ plain NATS

    async def request_core(self, subject: str, data: bytes, *, timeout: float = 5.0) -> bytes:  # noqa: ASYNC109
        """Ask whoever listens. Raises ``Unavailable`` (nobody), ``OutcomeUnknown`` (no answer in time)."""
        try:
            return await self._request(subject, data, timeout)
        except nats.errors.TimeoutError as error:
            raise OutcomeUnknown(f"{subject}: no answer within {timeout} s") from error
        except nats.errors.Error as error:
            raise Unavailable(f"{subject}: nobody listens ({type(error).__name__})") from error

    async def _request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """Ask, within a bound. Raises what the library raises.

        The bound is ours: the library's own is ``asyncio.wait_for``, and before Python 3.12 that forgets a cancellation
        which comes together with the answer. Who was told to end would then go on, and whoever waits for it for ever.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return bytes((await self.client.request(subject, data, timeout=None)).data)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise nats.errors.TimeoutError from error

    async def publish_core(self, subject: str, data: bytes) -> None:
        """Say it to whoever listens now. Raises ``Unavailable``."""
        try:
            await self.client.publish(subject, data)
        except nats.errors.Error as error:
            raise Unavailable(f"{subject}: not connected ({type(error).__name__})") from error

    async def subscribe_core(
        self, subject: str, callback: Callable[[str, bytes], Awaitable[bytes | None]], *, queue: str = ""
    ) -> None:
        """Listen; what the callback returns is the answer to a request. Its errors are logged and counted."""

        async def handle(message: Msg) -> None:
            try:
                answer = await callback(message.subject, message.data)
                if answer is not None and message.reply:
                    await self.client.publish(message.reply, answer)
            except Exception as error:
                telemetry.count("core.failures")
                telemetry.logger().error("core.failed", subject=message.subject, error=repr(error))

        await self.client.subscribe(subject, queue=queue, cb=handle)

    # ------------------------------------------------------------------ callbacks

    async def _on_error(self, error: Exception) -> None:
        telemetry.count("bus.errors")
        text, now_s = repr(error), time.monotonic()
        if text == self._error_text and now_s - self._error_logged_s < _SAME_ERROR_S:
            return  # four reconnect attempts a second fail in the same way
        self._error_text, self._error_logged_s = text, now_s
        telemetry.logger().error("bus.failed", error=text)

    async def _on_disconnected(self) -> None:
        # What the library still has in its own buffer would be sent after the reconnect: an order from the past.
        self.client._pending.clear()
        self.client._pending_data_size = 0
        self._publisher.connection_lost()
        if not self._closing:
            telemetry.count("bus.disconnects")
            telemetry.logger().warning("bus.disconnected")
        self._tell(False)

    async def _on_reconnected(self) -> None:
        telemetry.count("bus.reconnects")
        telemetry.logger().info("bus.reconnected")
        for pull in list(self.pulls):
            pull.reconnected()
        self._tell(True)

    async def _on_closed(self) -> None:
        if not self._closing:
            telemetry.count("bus.closed")
            telemetry.logger().error("bus.closed")
            self._on_lost()
        self._tell(False)

    async def _on_lame_duck(self) -> None:
        telemetry.logger().warning("bus.server_leaving")

    def _tell(self, connected: bool) -> None:
        for listener in self.on_connection:
            listener(connected)


def _headers(
    effect: Publish, expected_last_sequence: int | None, batch_id: str = "", batch_sequence: int = 0
) -> dict[str, str]:
    assert effect.message_id, f"{effect.subject}: a stored message needs an id"
    headers = {MESSAGE_ID_HEADER: effect.message_id}
    traceparent = effect.traceparent or telemetry.current_traceparent()
    if traceparent:
        headers[TRACEPARENT_HEADER] = traceparent
    if expected_last_sequence is not None:
        headers[EXPECTED_LAST_SEQUENCE_HEADER] = str(expected_last_sequence)
    if batch_id:
        headers |= {_BATCH_ID_HEADER: batch_id, _BATCH_SEQUENCE_HEADER: str(batch_sequence)}
    return headers


def _with_jitter(wait_s: float) -> float:
    return wait_s * (0.5 + random.random())  # noqa: S311  # spreads load, guards nothing
