"""How a simulator's process ends: by a signal, or loudly."""

from __future__ import annotations

import asyncio


async def until_stopped(what: str, stop: asyncio.Event, failed: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Waits for a signal; an error of the log, the clock or a handler ends the process instead of hiding."""
    waits: list[asyncio.Task[bool]] = [asyncio.create_task(stop.wait()), asyncio.create_task(failed.wait())]
    try:
        done, _ = await asyncio.wait([*waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    for task in tasks:
        if task in done:
            task.result()
    if failed.is_set():
        raise RuntimeError(f"{what} broke; its log is whole, and a restart goes on from it")
