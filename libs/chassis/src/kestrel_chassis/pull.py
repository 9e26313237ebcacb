"""A continuous pull: a standing request that is refilled before it runs dry.

nats-py offers only ``fetch``, which swallows the statuses that matter and spins when its consumer is gone. This loop
reads all of them:

    100 idle heartbeat      the request stands
    404, 408                it is used up or too old: ask again
    409 consumer deleted    the end: ``ConsumerLost``
    409 other, 423          it was dropped (leader changed, limits): ask again after a pause
    503                     nobody answers: pause, growing to seconds, and look whether the consumer still exists

Invariants: at most ``batch`` messages are asked for or waiting here; nothing is asked faster than the pauses allow;
silence longer than two heartbeats is treated as a lost request. With an ``order``, nothing at or behind a gap is given
out: what came before it is, then ``DeliveryGap``. A reconnect is a gap, because what was on its way then is not known.

Who is in no hurry lingers: the standing request is for one message only, and what follows it within ``linger_s`` stays
at the server and is then taken at once. Otherwise every message wakes every one of its readers, while those whom an
order waits for want the processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from kestrel_chassis.messages import ConsumerLost, DeliveryGap, StoredMessage, delivered
from kestrel_chassis.order import DeliveryOrder
from kestrel_domain.errors import Unavailable

EXPIRES_S = 30.0
HEARTBEAT_S = 10.0
_PAUSE_MIN_S = 0.1
_PAUSE_MAX_S = 5.0
_GATHER_TIMEOUT_S = 1.0
_WHAT_IS_THERE = {"no_wait": True}


class Pull:
    """One subscription and its standing requests on one consumer."""

    def __init__(
        self,
        client: Client,
        stream: str,
        consumer: str,
        *,
        batch: int,
        consumer_exists: Callable[[], Awaitable[bool]],
        order: DeliveryOrder | None = None,
        linger_s: float = 0.0,
    ) -> None:
        self._client = client
        self._stream = stream
        self._consumer = consumer
        self._batch = batch
        self._consumer_exists = consumer_exists
        self._order = order
        self._linger_s = linger_s
        self._is_behind = False
        self._gap: DeliveryGap | None = None
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._buffer: deque[StoredMessage] = deque()
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._requests: dict[str, float] = {}  # token of a request -> when the server has surely dropped it
        self._asked = 0
        self._next_request = 0
        self._pause_s = 0.0
        self._suspect = False
        self._lost = False
        self._stopping = False
        self._heard_s = time.monotonic()
        self.pending = 0

    async def start(self) -> None:
        self._subscription = await self._client.subscribe(
            f"{self._inbox}.*", cb=self._received, pending_msgs_limit=4 * self._batch + 64
        )

    async def next(self) -> list[StoredMessage]:
        """What has arrived, at least one message, in order; an empty list once stopped.

        Raises ``ConsumerLost`` when the consumer is gone, ``DeliveryGap`` when the order asked for is lost.
        """
        while not self._buffer:
            if self._stopping:
                return []
            if self._gap is not None:
                raise self._gap
            if self._lost:
                raise ConsumerLost(
                    f"consumer {self._consumer!r} of {self._stream} was deleted", field="consumer", value=self._consumer
                )
            await self._pause()
            await self._refill()
            await self._wait()
        if self._linger_s:
            await self._gather()
            if self._stopping:
                return []
        taken = min(len(self._buffer), self._batch)
        messages = [self._buffer.popleft() for _ in range(taken)]
        self.pending = messages[-1].pending
        await self._refill()
        return messages

    async def stop(self) -> None:
        """No more messages; ``next`` returns at once. What was delivered and not taken comes again to somebody."""
        self._stopping = True
        self._buffer.clear()
        self._stopped.set()
        self._wake.set()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._client.is_closed:
            with contextlib.suppress(nats.errors.Error):  # the connection is gone, and the subscription with it
                await subscription.unsubscribe()

    def reconnected(self) -> None:
        """The server forgot our requests."""
        if self._order is not None:
            self._lose_order(self._order.gap("the connection broke, and perhaps something with it"))
        self._forget_requests()
        self._wake.set()

    async def _pause(self) -> None:
        """Sit out a pause, and after it look whether there is still something to ask."""
        if self._pause_s == 0 and not self._suspect:
            return
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        if self._suspect and self._client.is_connected:
            try:
                self._lost = not await self._consumer_exists()
                self._suspect = False
            except Unavailable:
                self._grow_pause()

    async def _gather(self) -> None:
        """Let messages come in behind the first one, then take all there are. Who is behind does not linger."""
        if not self._is_behind:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_s):
                    await self._stopped.wait()
        self._is_behind = False
        if self._ended or self._asked or not await self._ask(self._batch - len(self._buffer), _WHAT_IS_THERE):
            return
        try:
            async with asyncio.timeout(_GATHER_TIMEOUT_S):
                while self._asked and not self._ended:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            self._forget_requests()  # it was lost; the standing request brings what is left
        self._is_behind = len(self._buffer) >= self._batch

    async def _refill(self) -> None:
        if self._linger_s:
            room, least = int(not self._asked and not self._buffer), 1
        else:
            room, least = self._batch - self._asked - len(self._buffer), max(1, self._batch // 2)
        if self._ended or room < least:
            return
        await self._ask(room, {"expires": int(EXPIRES_S * 1e9), "idle_heartbeat": int(HEARTBEAT_S * 1e9)})

    async def _ask(self, count: int, terms: Mapping[str, object]) -> bool:
        """Send a request; false if it cannot be sent now."""
        if not self._client.is_connected or count < 1:
            return False
        self._next_request += 1
        token = str(self._next_request)
        try:
            await self._client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                json.dumps({"batch": count, **terms}).encode(),
                reply=f"{self._inbox}.{token}",
            )
        except nats.errors.Error:
            self._grow_pause()
            return False
        now_s = time.monotonic()
        self._requests = {known: end_s for known, end_s in self._requests.items() if end_s > now_s}
        self._requests[token] = now_s + EXPIRES_S + HEARTBEAT_S
        self._asked += count
        self._heard_s = now_s
        return True

    async def _wait(self) -> None:
        if self._buffer or self._ended:
            return
        self._wake.clear()
        if not self._requests:
            silence_left_s = max(self._pause_s, 1.0)
        else:
            silence_left_s = self._heard_s + 2.2 * HEARTBEAT_S - time.monotonic()
        try:
            async with asyncio.timeout(max(silence_left_s, 0.05)):
                await self._wake.wait()
        except TimeoutError:
            if self._requests:
                self._forget_requests()
                self._suspect = True

    async def _received(self, message: Msg) -> None:
        self._heard_s = time.monotonic()
        status = (message.headers or {}).get("Status")
        if status is not None and not message.data and not message.reply.startswith("$JS.ACK"):
            self._learn_status(message, status)
            return
        self._pause_s = 0.0
        self._asked = max(0, self._asked - 1)
        if not self._asked:
            self._requests.clear()  # a request that was served to the end says nothing
        found = delivered(message.subject, message.reply, message.data, message.headers)
        if self._is_in_order(found) and not self._stopping:
            self._buffer.append(found)
            self._wake.set()

    def _is_in_order(self, message: StoredMessage) -> bool:
        if self._order is None:
            return True
        if self._gap is None:
            try:
                self._order.learn(message)
            except DeliveryGap as gap:
                self._lose_order(gap)
        return self._gap is None

    def _lose_order(self, gap: DeliveryGap) -> None:
        self._gap = self._gap or gap
        self._wake.set()

    @property
    def _ended(self) -> bool:
        return self._stopping or self._lost or self._gap is not None

    def _learn_status(self, message: Msg, status: str) -> None:
        if status == "100":
            self._learn_heartbeat(message)
            return
        token = message.subject.rpartition(".")[2]
        if token not in self._requests:
            return
        description = (message.headers or {}).get("Description", "").lower()
        del self._requests[token]
        unused = (message.headers or {}).get("Nats-Pending-Messages", "")
        self._asked = max(0, self._asked - (int(unused) if unused.isdigit() else self._asked))
        if not self._requests:
            self._asked = 0
        if status == "409" and "consumer deleted" in description:
            self._lost = True
        elif status not in ("404", "408"):
            self._suspect = status == "503" or self._suspect
            self._grow_pause()
        self._wake.set()

    def _learn_heartbeat(self, message: Msg) -> None:
        """A heartbeat names the last delivery: so a loss is noticed although nothing newer comes."""
        last = (message.headers or {}).get("Nats-Last-Consumer", "")
        if self._order is None or self._gap is not None or not last.isdigit():
            return
        try:
            self._order.learn_last(int(last))
        except DeliveryGap as gap:
            self._lose_order(gap)

    def _grow_pause(self) -> None:
        self._pause_s = min(_PAUSE_MAX_S, max(_PAUSE_MIN_S, self._pause_s * 2))

    def _forget_requests(self) -> None:
        self._requests.clear()
        self._asked = 0
