"""The shell of the simulated gateway: sockets, the clock and the log around the pure broker.

Nothing is said to a client before the log holds what it came from. An input is applied at once and its replies wait in
the outbox; when the disk has it, they go to the connections they were meant for, in the order of the inputs.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from google.protobuf.message import Message

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import MILLISECOND_NS, SECOND_NS
from kestrel_simulators.log import RECORD_BYTES_MAX, DurableLog, Record
from kestrel_simulators.rpc import port_in_use
from kestrel_simulators.tws import memory, replies, requests
from kestrel_simulators.tws.audience import EVERYONE
from kestrel_simulators.tws.broker import Addressed, Broker
from kestrel_simulators.tws.delivery import BY_ITSELF, Cause, Delivery, Outgoing, Plan
from kestrel_simulators.tws.faults import SOCKET_FAULTS, Fault, Faults, request_name
from kestrel_simulators.tws.memory import Kind
from kestrel_simulators.tws.replies import Reply
from kestrel_simulators.tws.session import Asked, Broken, Event, Greeted, Pace, Session, Stalls, Unreadable, Verdict
from kestrel_simulators.tws.wire import SERVER_VERSION, frame, join

LOG_NAME = "tws.log"
MESSAGES_PER_S = 50
CLIENTS_MAX = 32
START_TIMEOUT_S = 30.0
HEARTBEAT_NS = 20 * MILLISECOND_NS

log = logging.getLogger("kestrel.tws")


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one input made the broker say to one connection, and up to where the log must be durable before."""

    position: int
    connection: ClientConnection
    said: list[Reply]
    cause: Cause


class TwsProcess:
    """The broker, its log and its clock: what the sockets and the admin door share."""

    def __init__(self, data_dir: Path, *, messages_per_s: int = MESSAGES_PER_S) -> None:
        """Opens the log and replays it. Raises when the log is in use or corrupted."""
        self.broker = Broker()
        self.faults = Faults()
        self.delivery = Delivery(self.faults, self._order_type_of)
        self.stalls = Stalls()
        self.messages_per_s = messages_per_s
        self.connections: dict[int, ClientConnection] = {}
        self.unread_count = 0
        self.failed = asyncio.Event()
        self._log = DurableLog(data_dir / LOG_NAME, self._on_durable)
        self._outbox: deque[_Batch] = deque()
        self._durable = 0
        self._rescheduled = asyncio.Event()
        self._now_ns = 0
        self._watched_ns = 0
        self.record_count = memory.replay(self.broker, self._remembered())
        if self.record_count:
            self._apply(memory.restarted(self.now_ns()), BY_ITSELF)
        self._follow_manners()

    def _remembered(self) -> list[Record]:
        records = list(self._log.replay())
        self._now_ns = records[-1].time_ns if records else 0
        return records

    def now_ns(self) -> int:
        """The time, never going back, also not over a restart."""
        self._now_ns = max(self._now_ns, time.time_ns())
        return self._now_ns

    # ── Inputs ─────────────────────────────────────────────────────────────────────────────────────────

    async def control(self, message: Message) -> Message:
        """A record of the admin door, once it is durable. A refused one leaves no trace."""
        if message.ByteSize() > RECORD_BYTES_MAX:
            raise InvalidRequest.of("record", f"{message.ByteSize()} bytes", f"at most {RECORD_BYTES_MAX} bytes")
        position = self._apply(memory.controlled(message, self._moment()), BY_ITSELF)
        answer = self.broker.control_answer
        self._follow_manners()
        await self._log.durable(position)
        return answer

    def _follow_manners(self) -> None:
        self.delivery.delay_scale_permille = self.broker.engine.chance.delay_scale_permille

    async def settled(self, answer: Message) -> Message:
        """An answer read from memory, once everything it may have seen is durable."""
        await self._log.durable(self._log.position)
        return answer

    def set_fault(self, setting: tws_pb2.SetFaultRequest) -> bool:
        """Arm a fault if it is of the socket; otherwise it is the broker's."""
        if Fault.of(setting.fault) not in SOCKET_FAULTS:
            return False
        self.faults.arm(setting)
        return True

    def join(self, connection: ClientConnection, client_id: int) -> None:
        """A client has started; its id is free."""
        now_ns = self._moment()
        self.connections[client_id] = connection
        self._apply(memory.connected(client_id, now_ns), Cause(request_name(requests.StartApi(client_id))))

    def leave(self, connection: ClientConnection) -> None:
        """A client is gone, and its id is free again. Nothing happens if it never started."""
        client_id = connection.client_id
        if client_id is None or self.connections.get(client_id) is not connection:
            return
        del self.connections[client_id]
        self._apply(memory.disconnected(client_id, self._moment()), BY_ITSELF)

    def ask(self, connection: ClientConnection, asked: Asked, cause: Cause) -> None:
        """A request of a client that has started."""
        assert connection.client_id is not None
        now_ns = self._moment()
        addressed = self.broker.handle(connection.client_id, asked.request, now_ns=now_ns)
        if memory.needs_record(asked.request):
            record = memory.requested(connection.client_id, asked.payload, now_ns, connection.server_version)
            self._remember(record, addressed, cause)
        else:
            self._say(addressed, cause)

    def cause_of(self, client_id: int, request: requests.Request) -> Cause:
        """How faults call a request; an order that changes a known one is a modification."""
        if not isinstance(request, requests.PlaceOrder):
            return Cause(request_name(request))
        is_known = self.broker.desk.order_of(client_id, request.order_id) is not None
        return Cause("MODIFY_ORDER" if is_known else request_name(request), request.order.order_type)

    def _moment(self) -> int:
        """Now, at which an input is applied. What is due by then happens before it, and is a record of its own: an
        input that leaves no record must not be what makes it happen."""
        now_ns = self.now_ns()
        record = memory.due(self.broker, now_ns)
        if record is not None:
            self._apply(record, BY_ITSELF)
        return now_ns

    def _apply(self, record: Record, cause: Cause) -> int:
        return self._remember(record, memory.apply(self.broker, record), cause)

    def _remember(self, record: Record, addressed: list[Addressed], cause: Cause) -> int:
        """Write down what was applied, and say what came of it as soon as that is durable."""
        position = self._log.append(record, self._log.position + 1)
        self.record_count += 1
        self._say(addressed, cause)
        if record.kind == Kind.RESET_DAY:
            self.drop(list(self.connections), abruptly=False)
        self._rescheduled.set()
        return position

    def _order_type_of(self, perm_id: int) -> str:
        order = self.broker.desk.orders.get(perm_id)
        return order.terms.order_type if order is not None else ""

    # ── What is said ───────────────────────────────────────────────────────────────────────────────────

    def _say(self, addressed: list[Addressed], cause: Cause) -> None:
        """Into the outbox, for the connections as they are now: a later one of the same client id is another."""
        by_client: dict[int, list[Reply]] = {}
        for each in addressed:
            clients = list(self.connections) if each.client_id == EVERYONE else [each.client_id]
            for client_id in clients:
                by_client.setdefault(client_id, []).append(each.reply)
        for client_id, said in by_client.items():
            if (connection := self.connections.get(client_id)) is not None:
                self._outbox.append(_Batch(self._log.position, connection, said, cause))
        self._send_durable()

    def _on_durable(self, mark: object) -> None:
        assert isinstance(mark, int)
        self._durable = mark
        self._send_durable()

    def _send_durable(self) -> None:
        while self._outbox and self._outbox[0].position <= self._durable:
            batch = self._outbox.popleft()
            batch.connection.say(batch.said, batch.cause)

    def drop(self, client_ids: list[int], *, abruptly: bool) -> int:
        """End the connections of some clients; returns how many there were."""
        dropped = [
            connection for client_id in client_ids if (connection := self.connections.get(client_id)) is not None
        ]
        for connection in dropped:
            connection.drop(abruptly=abruptly)
        return len(dropped)

    # ── Running ────────────────────────────────────────────────────────────────────────────────────────

    async def run_log(self) -> None:
        """Writes the log for ever; when the disk fails, so does the simulator."""
        try:
            await self._log.run()
        except Exception:
            self.failed.set()
            raise

    async def run_clock(self) -> None:
        """Wakes up when something is due, and only then."""
        while True:
            self._rescheduled.clear()
            now_ns = self._moment()
            due_ns = self.broker.next_deadline_ns()
            wait_s = None if due_ns is None else max(0, due_ns - now_ns) / SECOND_NS
            try:
                async with asyncio.timeout(wait_s):  # wait_for may lose a cancellation
                    await self._rescheduled.wait()
            except TimeoutError:
                continue

    async def run_watch(self) -> None:
        """Notices when this process itself was kept from looking, so that no client is blamed for it."""
        while True:
            begun_ns = time.monotonic_ns()
            self._watched_ns = begun_ns
            await asyncio.sleep(HEARTBEAT_NS / SECOND_NS)
            ended_ns = time.monotonic_ns()
            self.stalls.add(ended_ns, ended_ns - begun_ns - HEARTBEAT_NS)

    def stalled_ns(self, begin_ns: int) -> int:
        """The time since a moment in which nothing was read, the stall that is just ending included."""
        now_ns = time.monotonic_ns()
        current_ns = now_ns - self._watched_ns - HEARTBEAT_NS if self._watched_ns else 0
        return self.stalls.within(begin_ns) + max(0, current_ns)

    async def close(self) -> None:
        """After everything else has ended: nobody is left, and the log is whole."""
        for connection in list(self.connections.values()):
            connection.drop(abruptly=False)
        await self._log.close()


class ClientConnection(asyncio.Protocol):
    """One socket of one client."""

    def __init__(self, process: TwsProcess) -> None:
        self._process = process
        self._session = Session()
        self._pace = Pace(process.messages_per_s, process.stalled_ns)
        self.client_id: int | None = None
        self._is_deaf = False

    @property
    def server_version(self) -> int:
        return self._session.server_version or SERVER_VERSION

    # ── The socket ─────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outgoing = Outgoing(self._transport)
        self._is_deaf = self._process.faults.take(Fault.HALF_DEAD) is not None
        self._start_timer = asyncio.get_running_loop().call_later(START_TIMEOUT_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            for event in self._session.receive(data):
                if self._is_deaf or self._transport.is_closing():
                    return
                self._on_event(event)
        except Exception:
            log.exception("tws.broken client_id=%s", self.client_id)
            self._process.failed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._start_timer.cancel()
        self._outgoing.stop()
        self._process.leave(self)

    def _give_up(self) -> None:
        if self.client_id is None and not self._is_deaf:
            log.warning("tws.connection_closed reason=never_started")
            self._transport.close()

    # ── What the client says ───────────────────────────────────────────────────────────────────────────

    def _on_event(self, event: Event) -> None:
        match event:
            case Greeted(server_version):
                moment = f"{datetime.now(UTC):%Y%m%d %H:%M:%S} UTC"
                self._outgoing.put(Plan([frame(join([str(server_version), moment]))]))
            case Asked(requests.StartApi(client_id)) if self.client_id is None:
                self._start(client_id)
            case Broken(error):
                log.warning("tws.connection_broken client_id=%s: %s", self.client_id, error)
                self._end_with(replies.Error(-1, 320, f"Error reading request: {error}"))
            case Unreadable(error, req_id):
                self._process.unread_count += 1
                log.warning("tws.request_refused client_id=%s req_id=%s: %s", self.client_id, req_id, error)
                self._tell(replies.Error(req_id, 320, f"Error reading request: {error}"))
            case Asked():
                self._on_request(event)

    def _start(self, client_id: int) -> None:
        process = self._process
        is_taken = client_id in process.connections or process.faults.take(Fault.CLIENT_ID_IN_USE) is not None
        if is_taken:
            log.warning("tws.client_refused client_id=%s reason=in_use", client_id)
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            self._end_with(replies.Error(-1, 326, text))
        elif len(process.connections) >= CLIENTS_MAX:
            log.warning("tws.client_refused client_id=%s reason=too_many", client_id)
            self._transport.close()
        else:
            self._start_timer.cancel()
            self.client_id = client_id
            process.join(self, client_id)

    def _on_request(self, asked: Asked) -> None:
        verdict = self._pace.admit(time.monotonic_ns())
        if verdict is not Verdict.ADMITTED:
            self._too_fast(verdict)
            return
        assert self.client_id is not None
        if isinstance(asked.request, requests.UnknownRequest):
            log.info("tws.request_unknown client_id=%s id=%s", self.client_id, asked.request.message_id)
            return
        cause = self._process.cause_of(self.client_id, asked.request)
        fault = self._process.faults.take(Fault.DROP_ON_REQUEST, order_type=cause.order_type, request=cause.request)
        if fault is not None:
            self.drop(abruptly=False)
        else:
            self._process.ask(self, asked, cause)

    def _too_fast(self, verdict: Verdict) -> None:
        limit = self._process.messages_per_s
        log.warning("tws.client_too_fast client_id=%s verdict=%s", self.client_id, verdict.name)
        error = replies.Error(-1, 100, f"Max rate of messages per second has been exceeded: max={limit}")
        if verdict is Verdict.END:
            self._end_with(error)
        else:
            self._tell(error)

    # ── What the client is told ────────────────────────────────────────────────────────────────────────

    def say(self, said: list[Reply], cause: Cause) -> None:
        """Replies of the broker, as the faults of the socket let them through."""
        if not self._transport.is_closing():
            self._outgoing.put(self._process.delivery.plan(said, cause, self.server_version))

    def _tell(self, reply: Reply) -> None:
        """From the gateway itself, which no fault touches."""
        self._outgoing.put(Plan([frame(replies.encode(reply, self.server_version))]))

    def _end_with(self, reply: Reply) -> None:
        self._is_deaf = True
        self._outgoing.put(Plan([frame(replies.encode(reply, self.server_version))], ends=True))

    def drop(self, *, abruptly: bool) -> None:
        """The end of the connection, and with it of everything that still waits; with a reset if ``abruptly``."""
        self._outgoing.stop()
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()
        self._process.leave(self)


async def start_server(process: TwsProcess, host: str, port: int) -> tuple[asyncio.Server, int]:
    """Listen for clients; returns the server and the port it got. Raises ``Unavailable`` when the port is taken."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: ClientConnection(process), host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise InvalidRequest.of("host", host, f"an address of this machine ({error.strerror})") from error
        raise port_in_use(host, port, "port") from error
    return server, server.sockets[0].getsockname()[1]
