"""Tasks run, are started again, and end in order."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from kestrel_chassis import supervision
from kestrel_chassis.supervision import Supervisor
from kestrel_domain.errors import InvariantBroken


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_RESTART_MIN_S", 0.001)


async def forever() -> None:
    await asyncio.Event().wait()


async def bounded(supervisor: Supervisor) -> int:
    async with asyncio.timeout(30):
        return await supervisor.run()


async def test_a_task_that_fails_is_started_again_and_told() -> None:
    supervisor, runs, told = Supervisor(), [], []

    async def fails_twice() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("no")
        supervisor.stop()

    def tell(name: str, error: Exception) -> None:
        told.append((name, str(error)))

    supervisor.on_restart = tell
    supervisor.add("worker", fails_twice, restart=True)
    assert await bounded(supervisor) == 0
    assert len(runs) == 3
    assert told == [("worker", "no"), ("worker", "no")]


async def test_a_task_is_started_again_although_its_failure_cannot_be_told() -> None:
    supervisor, runs = Supervisor(), []

    async def fails_once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("no")
        supervisor.stop()

    def cannot_tell(name: str, error: Exception) -> None:
        raise UnicodeError("no text")

    supervisor.on_restart = cannot_tell
    supervisor.add("worker", fails_once, restart=True)
    assert await bounded(supervisor) == 0
    assert len(runs) == 2


async def test_a_task_that_fails_again_and_again_is_unsteady_until_it_has_run_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its service answers and does nothing: a silent stop, if nobody said so."""
    monkeypatch.setattr(supervision, "STEADY_AFTER_S", 0.2)
    supervisor, said, runs = Supervisor(idle_grace_s=0.05), [], []

    async def works_at_last() -> None:
        runs.append(1)
        if len(runs) <= supervision.UNSTEADY_FAILURES + 1:
            raise ValueError(f"no {len(runs)}")
        await asyncio.Event().wait()

    def steady(name: str) -> None:
        said.append((name, "steady"))
        supervisor.stop()

    supervisor.on_unsteady = lambda name, error: said.append((name, str(error)))
    supervisor.on_steady = steady
    supervisor.add("worker", works_at_last, restart=True)
    assert await bounded(supervisor) == 0
    assert said == [("worker", "no 3"), ("worker", "no 4"), ("worker", "steady")]


async def test_a_failure_now_and_then_makes_no_task_unsteady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "STEADY_AFTER_S", 0.0)
    supervisor, runs = Supervisor(), []

    async def fails_now_and_then() -> None:
        runs.append(1)
        if len(runs) == 2 * supervision.UNSTEADY_FAILURES:
            supervisor.stop()
            return
        for _ in range(3):  # it has run for long enough
            await asyncio.sleep(0)
        raise ValueError("no")

    supervisor.on_unsteady = lambda name, error: pytest.fail("it came back each time")
    supervisor.add("worker", fails_now_and_then, restart=True)
    assert await bounded(supervisor) == 0


async def test_a_task_that_may_not_fail_ends_the_service_with_1() -> None:
    supervisor = Supervisor()

    async def fails() -> None:
        raise ValueError("no")

    supervisor.add("worker", fails, restart=False)
    assert await bounded(supervisor) == 1


async def test_a_broken_invariant_is_never_started_again() -> None:
    supervisor, runs = Supervisor(), []

    async def breaks() -> None:
        runs.append(1)
        raise InvariantBroken("never")

    supervisor.add("worker", breaks, restart=True)
    assert await bounded(supervisor) == 3
    assert runs == [1]


async def test_the_end_calls_hooks_in_order_and_cancels_who_only_waits() -> None:
    supervisor, order = Supervisor(idle_grace_s=0.05), []
    supervisor.add("waits", forever, restart=True)
    supervisor.add("background", forever, restart=True, background=True)

    async def hook(name: str) -> None:
        order.append(name)
        if name == "second":
            raise ValueError("a hook that fails stops nothing")

    for name in ("first", "second", "third"):
        supervisor.on_stop(lambda name=name: hook(name))  # type: ignore[misc]
    supervisor.stop()
    assert await bounded(supervisor) == 0
    assert order == ["first", "second", "third"]


async def test_work_in_hand_is_finished_at_sigterm() -> None:
    supervisor, done = Supervisor(idle_grace_s=0.05), asyncio.Event()
    in_hand = True
    supervisor.busy = lambda: in_hand

    async def works() -> None:
        nonlocal in_hand
        await supervisor.stopping.wait()
        await asyncio.sleep(0.3)  # longer than the time for the idle
        done.set()
        in_hand = False

    supervisor.add("works", works, restart=False)
    supervisor.take_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await bounded(supervisor) == 0
    assert done.is_set()


async def test_a_second_signal_ends_everything_at_once() -> None:
    supervisor = Supervisor(grace_s=60, idle_grace_s=60)
    supervisor.add("waits", forever, restart=True)
    running = asyncio.create_task(supervisor.run())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await supervisor.stopping.wait()
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(30):
        assert await running == 1
