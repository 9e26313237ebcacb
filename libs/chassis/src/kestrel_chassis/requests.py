"""A command carries a ``request_id``; the same id again gets the first answer, and does nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast

from google.protobuf.message import Message

from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError, Refused
from kestrel_domain.identifiers import checked_id

_CAPACITY = 4096


class _Identified(Protocol):
    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802


Answer = TypeVar("Answer", bound=Message)


class AnsweredRequests:
    """First answers by caller, method and request id; the oldest are forgotten beyond ``capacity``.

    Refusals are answers too. A failure that may be tried again (unavailable, in doubt) is not kept. The memory ends
    with the process: what lies behind a command has to be idempotent by ids that follow from the request id.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[tuple[str, str, str], tuple[bytes, asyncio.Future[Message]]] = OrderedDict()

    async def once(
        self, caller_id: str, method: str, request: _Identified, handle: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The answer of ``handle``, called once per id; a second caller waits for the first.

        Raises what ``handle`` raised, and ``InvalidRequest`` for a bad id or one that was used for something else.
        """
        key = (caller_id, method, checked_id("request_id", request.request_id))
        content = request.SerializeToString(deterministic=True)
        known = self._answers.get(key)
        if known is not None:
            if known[0] != content:
                raise InvalidRequest.of(
                    "request_id", request.request_id, "was used for another request", reason="REQUEST_ID_REUSED"
                )
            return cast(Answer, await asyncio.shield(known[1]))
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[key] = (content, future)
        self._forget_oldest()
        try:
            answer = await handle()
        except BaseException as error:
            if not isinstance(error, (Refused, InvalidRequest)):
                self._answers.pop(key, None)
            shown = error if isinstance(error, KestrelError) else InvariantBroken(f"{method}: the first call failed")
            future.set_exception(shown)
            future.exception()
            raise
        future.set_result(answer)
        return answer

    def _forget_oldest(self) -> None:
        while len(self._answers) > self._capacity:
            for key, (_, future) in self._answers.items():
                if future.done():
                    del self._answers[key]
                    break
            else:
                return
