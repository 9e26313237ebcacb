"""How replies travel to one client: frames, and the faults that are of the socket and not of what is said.

``Delivery.plan`` is pure: replies in, bytes out, and what happens to the connection. ``Outgoing`` holds the bytes until
their time has come, in their order, and writes them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kestrel_simulators.tws import replies
from kestrel_simulators.tws.faults import Armed, Fault, Faults
from kestrel_simulators.tws.replies import Reply, encode
from kestrel_simulators.tws.wire import SERVER_VERSION, frame, join, split

DELAY_MS = (10_000, 30_000)
UNKNOWN_MESSAGE_ID = 9999
ANNOUNCED_BYTES = 2**31 - 1
UNSENT_BYTES_MAX = 64 << 20

_ORDERS = frozenset({"PLACE_ORDER", "MODIFY_ORDER"})
_FRAME_FAULTS = (Fault.MALFORMED_FRAME, Fault.OVERSIZED_FRAME, Fault.TRUNCATED_FRAME, Fault.UNKNOWN_MESSAGE)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is said: the request it answers, or nothing when it happened by itself."""

    request: str = ""
    order_type: str = ""


BY_ITSELF = Cause()


@dataclass(slots=True)
class Plan:
    """What goes onto the socket, when, and whether the connection ends after it."""

    chunks: list[bytes] = field(default_factory=list)
    delay_ms: int = 0
    is_byte_wise: bool = False
    ends: bool = False


class Delivery:
    """Turns replies into what one socket will see of them."""

    def __init__(self, faults: Faults, order_type_of: Callable[[int], str]) -> None:
        """``order_type_of`` tells the type of an order from its permanent id; empty when it is unknown."""
        self._faults = faults
        self._order_type_of = order_type_of
        self._chance = random.Random(7)  # noqa: S311 (delays, and the same ones in every run)
        self.delay_scale_permille = 1000

    def plan(self, said: list[Reply], cause: Cause, server_version: int = SERVER_VERSION) -> Plan:
        """What the faults that are armed make of the replies to one cause."""
        plan = Plan()
        if (delay := self._take(Fault.DELAY_REPLIES, cause)) is not None:
            plan.delay_ms = self._delay_ms(delay)
        plan.is_byte_wise = self._take(Fault.BYTE_WISE, cause) is not None
        for reply in said:
            typed = Cause(cause.request, self._type_of(reply) or cause.order_type)
            self._add(plan, encode(reply, server_version), typed)
            plan.ends = plan.ends or self._drops_after(reply, typed)
            if plan.ends:
                break
        return plan

    def _take(self, fault: Fault, cause: Cause) -> Armed | None:
        return self._faults.take(fault, order_type=cause.order_type, request=cause.request)

    def _delay_ms(self, armed: Armed) -> int:
        return armed.delay_ms or self._chance.randint(*DELAY_MS) * self.delay_scale_permille // 1000

    def _type_of(self, reply: Reply) -> str:
        if isinstance(reply, replies.OpenOrder):
            return reply.order.order_type
        if isinstance(reply, (replies.OrderStatus, replies.ExecDetails)):
            return self._order_type_of(reply.perm_id)
        return ""

    def _add(self, plan: Plan, payload: bytes, cause: Cause) -> None:
        fault = next((fault for fault in _FRAME_FAULTS if self._take(fault, cause) is not None), None)
        if fault is Fault.UNKNOWN_MESSAGE:
            plan.chunks.append(frame(join([str(UNKNOWN_MESSAGE_ID), "1", "nobody knows this"])))
        elif fault is Fault.MALFORMED_FRAME:
            payload = _malformed(payload)
        elif fault is Fault.OVERSIZED_FRAME:
            plan.chunks.append(ANNOUNCED_BYTES.to_bytes(4, "big"))
        whole = frame(payload)
        plan.ends = fault is Fault.TRUNCATED_FRAME
        plan.chunks.append(whole[: len(whole) // 2] if plan.ends else whole)

    def _drops_after(self, reply: Reply, cause: Cause) -> bool:
        """An answer to a question is no acknowledgement, and an execution that was asked for is no fill."""
        if isinstance(reply, (replies.OpenOrder, replies.OrderStatus)) and cause.request in _ORDERS:
            return self._take(Fault.DROP_AFTER_ACK, cause) is not None
        if isinstance(reply, replies.ExecDetails) and reply.req_id < 0:
            return self._take(Fault.DROP_AFTER_FILL, cause) is not None
        return False


def _malformed(payload: bytes) -> bytes:
    """The same message with its second half of fields gone and a word where a number was."""
    texts = split(payload)
    return join([texts[0], "garbage", *texts[2 : max(2, len(texts) // 2)]])


class Outgoing:
    """The bytes on their way to one client."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, memoryview | None, bool]] = deque()
        self._pumping: asyncio.TimerHandle | asyncio.Handle | None = None

    def put(self, plan: Plan) -> None:
        """Behind everything that waits already: what is delayed delays what follows."""
        due = self._loop.time() + plan.delay_ms / 1000
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.extend((due, memoryview(chunk), plan.is_byte_wise) for chunk in plan.chunks)
        if plan.ends:
            self._waiting.append((due, None, False))
        if self._pumping is None:
            self._pump()

    def stop(self) -> None:
        """Nothing more is written."""
        self._waiting.clear()
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None

    def _pump(self) -> None:
        self._pumping = None
        while self._waiting and not self._transport.is_closing():
            due, chunk, is_byte_wise = self._waiting[0]
            if due > self._loop.time():
                self._pumping = self._loop.call_at(due, self._pump)
                return
            if chunk is None:
                self._transport.close()  # after what was written
                break
            self._waiting.popleft()
            self._transport.write(chunk[:1] if is_byte_wise else chunk)
            if is_byte_wise and len(chunk) > 1:
                self._waiting.appendleft((due, chunk[1:], True))
                self._pumping = self._loop.call_soon(self._pump)
                return
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()  # a client that does not read
        if self._transport.is_closing():
            self._waiting.clear()
