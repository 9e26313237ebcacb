"""The pipelined publisher: one reply inbox, one future per message, one sweeper for deadlines.

nats-py's own asynchronous publish never completes when the server refuses a message, and its synchronous one costs a
task and a timer each. This one keeps a table of tokens instead.

Invariant: every future ends, by an acknowledgement, a refusal, a lost connection or its deadline.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from kestrel_chassis.messages import PubAck, error_of
from kestrel_domain.errors import InvalidRequest, OutcomeUnknown, Unavailable

_SWEEP_INTERVAL_S = 0.1


@dataclass(slots=True)
class _Pending:
    future: asyncio.Future[PubAck]
    subject: str
    deadline_s: float


class Publisher:
    """Sends to streams and matches the answers. Used by ``Bus`` alone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._pending: dict[str, _Pending] = {}
        self._next_token = 0
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    async def send(
        self, subject: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> asyncio.Future[PubAck]:
        """Hand one message to the connection; messages go out in the order of the calls.

        Raises ``Unavailable`` if nothing was handed over. The future gives the acknowledgement, or raises what
        ``messages.error_of`` says, ``Unavailable`` (no stream answers) or ``OutcomeUnknown``.
        """
        loop = asyncio.get_running_loop()
        self._next_token += 1
        token = str(self._next_token)
        future: asyncio.Future[PubAck] = loop.create_future()
        self._pending[token] = _Pending(future, subject, time.monotonic() + timeout_s)
        try:
            await self._client.publish(subject, body, reply=f"{self._inbox}.{token}", headers=headers)
        except BaseException as error:
            del self._pending[token]
            raise _not_sent(subject, error) from error
        if self._sweep is None:
            self._sweep = loop.call_later(_SWEEP_INTERVAL_S, self._sweep_deadlines)
        return future

    def connection_lost(self) -> None:
        """Nothing that was under way can be answered any more."""
        pending, self._pending = self._pending, {}
        for item in pending.values():
            _fail(item, OutcomeUnknown(f"{item.subject}: the connection broke before the answer"))

    def close(self) -> None:
        self.connection_lost()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    async def _answered(self, message: Msg) -> None:
        item = self._pending.pop(message.subject.rpartition(".")[2], None)
        if item is None or item.future.done():
            return
        answer = _read_answer(item.subject, message.data, message.headers)
        if isinstance(answer, PubAck):
            item.future.set_result(answer)
        else:
            _fail(item, answer)

    def _sweep_deadlines(self) -> None:
        now_s = time.monotonic()
        late = [token for token, item in self._pending.items() if item.deadline_s <= now_s]
        for token in late:
            item = self._pending.pop(token)
            _fail(item, OutcomeUnknown(f"{item.subject}: no answer in time; it may be stored"))
        self._sweep = (
            asyncio.get_running_loop().call_later(_SWEEP_INTERVAL_S, self._sweep_deadlines) if self._pending else None
        )


def _read_answer(subject: str, data: bytes, headers: dict[str, str] | None) -> PubAck | Exception:
    if not data:
        status = (headers or {}).get("Status", "")
        return Unavailable(f"{subject}: no stream takes it now (status {status})", reason="NO_RESPONDERS")
    try:
        answer = json.loads(data)
        if "error" in answer:
            error = answer["error"]
            return error_of(
                int(error.get("code", 0)), int(error.get("err_code", 0)), error.get("description", ""), where=subject
            )
        return PubAck(answer["stream"], int(answer["seq"]), bool(answer.get("duplicate", False)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return OutcomeUnknown(f"{subject}: the answer cannot be read ({error!r})", reason="BAD_ANSWER")


def _fail(item: _Pending, error: Exception) -> None:
    if not item.future.done():
        item.future.set_exception(error)
        item.future.exception()  # seen: a caller that was canceled must not leave a warning behind


def _not_sent(subject: str, error: BaseException) -> BaseException:
    if isinstance(error, nats.errors.MaxPayloadError):
        return InvalidRequest.of("body", subject, "larger than the server's max_payload", reason="TOO_LARGE")
    if isinstance(error, nats.errors.Error):
        return Unavailable(f"{subject}: not connected ({type(error).__name__})", reason="DISCONNECTED")
    return error
