"""One connection to a gateway, from the first byte to the last: handshake, questions, sign of life, and its end.

A connection is made new for each attempt and never repaired: whatever is not understood, not answered or not in order
ends it with a reason, and the next one asks for everything again.

* Every wait has an end. Questions without a number (open orders, completed orders, positions, time) go one at a time
  each, and one that stays unanswered ends the connection: its late answer would be taken for that of the next question.
* A question is unanswered when nothing about orders or the account arrives for a while: long answers take their time.
* The gateway may be there and its servers not (1100, 2110): then nothing is sent, and everything that arrives counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_domain.errors import KestrelError, RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr.core import contracts, errors, heard
from kestrel_venue_gateway.ibkr.core.contracts import ContractSeen, Listing, Wanted
from kestrel_venue_gateway.ibkr.core.frames import FrameWatch
from kestrel_venue_gateway.ibkr.core.pacing import Pacer, Urgency
from kestrel_venue_gateway.ibkr.library import LibraryName, Link

_SIGNS_MISSED_MAX = 4
_PACING_ERRORS_MAX = 3
_ANSWER_TIMEOUTS_MAX = 12
"""A long answer may take this many time-outs in all; other messages between its parts do not keep it alive for ever."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, as whom, and how patiently."""

    host: str
    port: int
    client_id: int
    library: LibraryName
    connect_timeout_s: float
    request_timeout_s: float
    heartbeat_s: float
    messages_per_s_max: int


class Audience(Protocol):
    """Who is told what a connection hears. Called in order, never re-entered."""

    def hear_order(self, message: heard.OrderMessage) -> None:
        """Something about an order."""

    def hear_position(self, position: heard.PositionSeen) -> None:
        """A position, asked for or changed."""

    def hear_account_value(self, value: heard.AccountValueSeen) -> None:
        """A figure of the account."""

    def hear_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        """A price or a size of the market."""

    def hear_restored(self) -> None:
        """The gateway has its servers again: what happened meanwhile has to be asked for."""


class Connection:
    """One connection. ``open`` it, use it, ``close`` it; ``ended`` tells why it is over."""

    def __init__(self, endpoint: Endpoint, audience: Audience) -> None:
        self._endpoint = endpoint
        self._audience = audience
        self._pacer = Pacer(endpoint.messages_per_s_max)
        self._permits: dict[int, asyncio.Event] = {}
        self._pacing: asyncio.TimerHandle | None = None
        self._locks: dict[str, asyncio.Lock] = {}
        self._collected: dict[str, list[Any]] = {}
        self._waiting: dict[tuple[str, int], asyncio.Future[None]] = {}
        self._contracts: dict[int, list[ContractSeen]] = {}
        self._refused: dict[int, common_pb2.Refusal] = {}
        self._listings: dict[Wanted, Listing] = {}
        self._frames = FrameWatch()
        self._last_word_ns = time.monotonic_ns()
        self._pacing_error_count = 0
        self._signs_missed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended: asyncio.Future[KestrelError] = asyncio.get_running_loop().create_future()
        # Ids of orders and requests have to lie above this: the gateway may issue old ones anew.
        self.id_floor = 0
        # Why the gateway cannot reach its servers, while it says so; and why it does not answer in time.
        self.cut: common_pb2.Refusal | None = None
        self.silent: common_pb2.Refusal | None = None
        self._link = Link(endpoint.library, self, endpoint.client_id)

    # --- its life ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, or raise ``Unavailable`` with what went wrong. A connection that failed is closed."""
        endpoint = self._endpoint
        opening = asyncio.create_task(self._link.open(endpoint.host, endpoint.port, endpoint.connect_timeout_s))
        try:
            # The library gives the time to the connection and to the handshake, one after the other.
            async with asyncio.timeout(2 * endpoint.connect_timeout_s + 1):
                await _first_of(opening, self.ended)
            if self.ended.done():
                raise self.ended.result()
            await opening
        except (OSError, TimeoutError) as error:
            self.close()
            what = str(error) or f"no handshake within {endpoint.connect_timeout_s:g} s"
            raise Unavailable(f"{endpoint.host}:{endpoint.port}: {what}", reason="IBKR_UNREACHABLE") from error
        except BaseException:
            self.close()
            raise
        finally:
            # Not waited for: the library may take its time over it, and the link is closed or open by now.
            opening.cancel()
            opening.add_done_callback(_let_go)
        telemetry.logger().info(
            "ibkr.connected",
            client_id=endpoint.client_id,
            accounts=self._link.accounts,
            server_version=self._link.server_version,
            library=endpoint.library,
        )

    def close(self) -> None:
        """Let go. Who waits for an answer learns that there is none."""
        self._end(Unavailable("the connection was closed", reason="VENUE_DISCONNECTED"))
        self._link.close()
        if self._pacing is not None:
            self._pacing.cancel()
        for task in self._tasks:
            task.cancel()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something for as long as the connection lives. Its failure ends the connection."""
        task = asyncio.create_task(work, name=f"ibkr.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._note_task)

    @property
    def is_open(self) -> bool:
        return not self.ended.done()

    @property
    def accounts(self) -> list[str]:
        return self._link.accounts

    # --- questions ---------------------------------------------------------------------------------------------
    # Each raises ``Unavailable`` when the venue does not answer: that is "unknown", never "nothing there".

    async def ask_open_orders(self) -> list[heard.OrderSeen | heard.StatusSeen]:
        """What the venue says of its working orders, message by message, all clients and people among them."""
        orders: list[heard.OrderSeen | heard.StatusSeen] = []
        await self._ask("open_orders", self._link.request_open_orders, into=orders)
        return orders

    async def ask_completed_orders(self) -> None:
        await self._ask("completed_orders", self._link.request_completed_orders)

    async def ask_positions(self) -> list[heard.PositionSeen]:
        positions: list[heard.PositionSeen] = []
        await self._ask("positions", self._link.request_positions, into=positions)
        return positions

    async def ask_account(self, account: str) -> None:
        await self._ask("account", lambda: self._link.request_account(account))

    async def ask_executions(self, account: str) -> None:
        request_id = self._link.next_id(self.id_floor)
        await self._ask("executions", lambda: self._link.request_executions(request_id, account), request_id)

    async def list_contract(self, wanted: Wanted) -> Listing:
        """The one contract that fits. Raises ``RemoteProtocolError`` for none or several; ``Unavailable``."""
        known = self._listings.get(wanted)
        if known is not None:
            return known
        request_id = self._link.next_id(self.id_floor)
        self._contracts[request_id] = []
        try:
            await self._ask("contract", lambda: self._link.request_contract(request_id, wanted), request_id)
        finally:
            found = self._contracts.pop(request_id)
            refused = self._refused.pop(request_id, None)
        if len(found) != 1:
            why = refused.message if refused is not None else f"{len(found)} contracts"
            raise RemoteProtocolError(
                f"{wanted.symbol} at {wanted.exchange} in {wanted.currency}: {why}",
                reason="CONTRACT_NOT_FOUND" if not found else "CONTRACT_AMBIGUOUS",
                field="symbol",
                value=wanted.symbol,
            )
        listing = contracts.listing(found[0])
        self._listings[wanted] = listing
        return listing

    # --- orders ------------------------------------------------------------------------------------------------

    def next_order_id(self, above: int = 0) -> int:
        return self._link.next_id(max(self.id_floor, above))

    @property
    def link(self) -> Link:
        """For what is written without waiting for an answer here."""
        return self._link

    @contextlib.asynccontextmanager
    async def permit(self, urgency: Urgency) -> AsyncIterator[None]:
        """Wait for a place among the messages. Whoever gives up, by time or otherwise, gives the place back.

        Raises what ended the connection, if that comes first: nothing can be written any more.
        """
        ticket, event = self._pacer.ask(urgency), asyncio.Event()
        self._permits[ticket] = event
        try:
            if self.is_open:
                self._hand_out_permits()
                await event.wait()
            if not self.is_open:
                raise self.ended.result()
            yield
        finally:
            if self._permits.pop(ticket, None) is not None:
                self._pacer.drop(ticket)

    async def keep_alive(self) -> None:
        """Ask for the time again and again: a cable that breaks says nothing."""
        endpoint = self._endpoint
        while True:
            await asyncio.sleep(endpoint.heartbeat_s)
            try:
                async with asyncio.timeout(endpoint.heartbeat_s):
                    async with self.permit(Urgency.EXIT):
                        answered = self._expect("time", 0)
                        self._link.request_time()
                    await asyncio.shield(answered)
                self._signs_missed, self.silent = 0, None
            except TimeoutError:
                self._miss_a_sign()
            except ConnectionError:
                self.on_broken("it was gone when a sign of life was asked for")

    # --- what the link hears -----------------------------------------------------------------------------------

    def on_bytes(self, data: bytes) -> None:
        wrong = self._frames.feed(data)
        if wrong:
            self.on_unreadable(wrong)

    def on_message(self, message: heard.OrderMessage) -> None:
        self._last_word_ns = time.monotonic_ns()
        if isinstance(message, heard.ErrorSeen):
            self._hear_error(message)
        elif isinstance(message, heard.OrderSeen | heard.StatusSeen) and "open_orders" in self._collected:
            self._collected["open_orders"].append(message)
        self._audience.hear_order(message)

    def on_position(self, position: heard.PositionSeen) -> None:
        self._last_word_ns = time.monotonic_ns()
        if "positions" in self._collected:
            self._collected["positions"].append(position)
        self._audience.hear_position(position)

    def on_account_value(self, value: heard.AccountValueSeen) -> None:
        self._last_word_ns = time.monotonic_ns()
        self._audience.hear_account_value(value)

    def on_contract(self, request_id: int, contract: ContractSeen) -> None:
        if request_id in self._contracts:
            self._contracts[request_id].append(contract)

    def on_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        self._audience.hear_tick(request_id, tick_type, price, size)

    def on_end(self, question: str, request_id: int) -> None:
        waiting = self._waiting.pop((question, request_id), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def on_unreadable(self, reason: str) -> None:
        """The peer broke its own rules: nothing more is believed of this connection."""
        telemetry.count("ibkr.unreadable")
        self._end(RemoteProtocolError(f"a message that cannot be read: {reason}", reason="IBKR_UNREADABLE"))

    def on_broken(self, reason: str) -> None:
        self._end(Unavailable(f"the gateway is gone: {reason}", reason="VENUE_DISCONNECTED"))

    # --- how ---------------------------------------------------------------------------------------------------

    def _hear_error(self, error: heard.ErrorSeen) -> None:
        if error.request_id > 0:
            contracts_wanted = self._contracts.get(error.request_id)
            if contracts_wanted is not None:
                self._refused[error.request_id] = errors.refusal_of(error.code, error.text)
                self.on_end("contract", error.request_id)
            elif ("executions", error.request_id) in self._waiting:
                self.on_broken(f"executions were refused: {error.code} {error.text}")
            return
        match errors.link(error.code):
            case errors.Link.CUT:
                self.cut = errors.refusal_of(error.code, error.text)
            case errors.Link.RESTORED:
                self.cut = None
                self._audience.hear_restored()
            case errors.Link.BREAK:
                reason = "CLIENT_ID_IN_USE" if error.code == errors.CLIENT_ID_IN_USE else f"IBKR_{error.code}"
                self._end(Unavailable(error.text or "the gateway ends the connection", reason=reason))
            case errors.Link.PACING:
                self._slow_down(error)
            case errors.Link.DATA_BROKEN | errors.Link.DATA_OK | errors.Link.NOTE:
                pass
        telemetry.logger().info("ibkr.notice", code=error.code, text=error.text[:200])

    def _slow_down(self, error: heard.ErrorSeen) -> None:
        telemetry.count("ibkr.pacing_errors")
        self._pacer.slow_down(time.monotonic_ns())
        self._pacing_error_count += 1
        if self._pacing_error_count >= _PACING_ERRORS_MAX:
            self.on_broken(f"too many messages, it says: {error.text}")

    async def _ask(
        self, question: str, request: Callable[[], None], request_id: int = 0, *, into: list[Any] | None = None
    ) -> None:
        """One question and its answer, to the end. ``into`` collects what the answer consists of."""
        lock = self._locks.setdefault(question, asyncio.Lock())
        async with lock:
            if not self.is_open:
                raise self.ended.result()
            try:
                async with self.permit(Urgency.QUERY):
                    answered = self._expect(question, request_id)
                    if into is not None:
                        self._collected[question] = into
                    request()
                await self._answer(question, request_id, answered)
            except ConnectionError as error:
                raise Unavailable(f"{question}: {error}", reason="VENUE_DISCONNECTED") from error
            finally:
                self._collected.pop(question, None)

    def _expect(self, question: str, request_id: int) -> asyncio.Future[None]:
        waiting = self._waiting.get((question, request_id))
        if waiting is None or waiting.done():
            waiting = self._waiting[question, request_id] = asyncio.get_running_loop().create_future()
        return waiting

    async def _answer(self, question: str, request_id: int, answered: asyncio.Future[None]) -> None:
        """Wait until the venue has answered, or has been silent for too long."""
        timeout_s = self._endpoint.request_timeout_s
        asked_ns = time.monotonic_ns()
        while not answered.done():
            now_ns = time.monotonic_ns()
            quiet_s = (now_ns - max(asked_ns, self._last_word_ns)) / SECOND_NS
            if quiet_s >= timeout_s or now_ns - asked_ns > _ANSWER_TIMEOUTS_MAX * timeout_s * SECOND_NS:
                self._waiting.pop((question, request_id), None)
                error = Unavailable(f"{question}: no answer within {timeout_s:g} s", reason="IBKR_UNANSWERED")
                if not request_id:
                    self._end(error)
                raise error
            await _first_of(answered, self.ended, timeout_s=timeout_s - quiet_s)
            if not self.is_open:  # also with the end marker there: a part of the answer may be what nobody could read
                raise self.ended.result()

    def _miss_a_sign(self) -> None:
        self._signs_missed += 1
        message = f"the gateway has not answered {self._signs_missed} questions for the time"
        self.silent = common_pb2.Refusal(reason="IBKR_SILENT", message=message)
        if self._signs_missed >= _SIGNS_MISSED_MAX:
            self.on_broken(message)

    def _hand_out_permits(self) -> None:
        """Let those go whose turn it is, and come back when the next one's is."""
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None
        now_ns = time.monotonic_ns()
        for ticket in self._pacer.take(now_ns):
            event = self._permits.pop(ticket, None)
            if event is not None:
                event.set()
        next_ns = self._pacer.next_at_ns(now_ns)
        if next_ns is not None:
            delay_s = max(0.001, (next_ns - now_ns) / SECOND_NS)
            self._pacing = asyncio.get_running_loop().call_later(delay_s, self._hand_out_permits)

    def _note_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        if isinstance(error, KestrelError):
            self._end(error)
        else:
            telemetry.logger().error("ibkr.task_failed", task=task.get_name(), error=repr(error))
            self._end(Unavailable(f"{task.get_name()} failed: {error!r}", reason="IBKR_INTERNAL"))

    def _end(self, error: KestrelError) -> None:
        """The first reason counts. Whoever waits for an answer sees it."""
        if self.ended.done():
            return
        self.ended.set_result(error)
        for event in self._permits.values():
            event.set()


def _let_go(task: asyncio.Task[None]) -> None:
    """Whatever it ended with is nobody's business any more."""
    if not task.cancelled():
        task.exception()


async def _first_of(*waited_for: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    await asyncio.wait(waited_for, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
