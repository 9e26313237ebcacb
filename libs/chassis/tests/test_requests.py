"""The same request id gets the first answer, and does nothing."""

from __future__ import annotations

import asyncio

import pytest

from kestrel.admin.v1 import governance_pb2
from kestrel_chassis.requests import AnsweredRequests
from kestrel_domain.errors import InvalidRequest, Refused, Unavailable


def kill(request_id: str = "r1", reason: str = "x") -> governance_pb2.KillRequest:
    return governance_pb2.KillRequest(request_id=request_id, reason=reason)


class Handler:
    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self.error = error
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> governance_pb2.KillResponse:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return governance_pb2.KillResponse()


async def test_the_second_call_gets_the_first_answer() -> None:
    requests, handler = AnsweredRequests(), Handler()
    first = await requests.once("ada", "Kill", kill(), handler)
    assert await requests.once("ada", "Kill", kill(), handler) is first
    assert handler.calls == 1


async def test_two_at_once_are_one() -> None:
    requests, handler = AnsweredRequests(), Handler()
    handler.gate.clear()
    both = asyncio.gather(*(requests.once("ada", "Kill", kill(), handler) for _ in range(2)))
    await asyncio.sleep(0)
    handler.gate.set()
    assert len(await both) == 2
    assert handler.calls == 1


async def test_other_people_and_other_methods_have_ids_of_their_own() -> None:
    requests, handler = AnsweredRequests(), Handler()
    for caller, method in [("ada", "Kill"), ("bob", "Kill"), ("ada", "Rearm")]:
        await requests.once(caller, method, kill(), handler)
    assert handler.calls == 3


async def test_an_id_used_for_something_else_is_refused() -> None:
    requests, handler = AnsweredRequests(), Handler()
    await requests.once("ada", "Kill", kill(), handler)
    with pytest.raises(InvalidRequest) as refused:
        await requests.once("ada", "Kill", kill(reason="other"), handler)
    assert refused.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(InvalidRequest):
        await requests.once("ada", "Kill", kill(request_id=""), handler)


async def test_a_refusal_is_an_answer_and_a_failure_is_not() -> None:
    requests, refusing, failing = AnsweredRequests(), Handler(Refused("no")), Handler(Unavailable("not now"))
    for _ in range(2):
        with pytest.raises(Refused):
            await requests.once("ada", "Kill", kill(), refusing)
        with pytest.raises(Unavailable):
            await requests.once("ada", "Rearm", kill(), failing)
    assert (refusing.calls, failing.calls) == (1, 2)


async def test_only_so_many_answers_are_kept() -> None:
    requests, handler = AnsweredRequests(capacity=2), Handler()
    for name in ("r1", "r2", "r3", "r1"):
        await requests.once("ada", "Kill", kill(name), handler)
    assert handler.calls == 4
    await requests.once("ada", "Kill", kill("r3"), handler)
    assert handler.calls == 4
