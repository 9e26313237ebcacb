"""Pauses between attempts, and streams taken in batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


class Pauses:
    """Doubling pauses with jitter, so that many who lost the same peer do not come back at the same moment."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._round = 0

    async def wait(self) -> None:
        await asyncio.sleep(self.length_s(self._round))
        self._round += 1

    def reset(self) -> None:
        self._round = 0

    def length_s(self, round_count: int) -> float:
        """The pause of one round: between half of the doubled length and all of it."""
        longest_s = min(self._longest_s, self._first_s * 2.0 ** min(round_count, 32))
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311  (pacing, not secrecy)


async def in_batches(source: AsyncGenerator[T, None], limit: int) -> AsyncGenerator[list[T], None]:
    """What has arrived meanwhile, in order, at most ``limit`` at a time. Ends as the source does, errors included."""
    queue: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue(limit)

    async def read() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await queue.put((item, None))
        except Exception as error:
            await queue.put((None, error))
        else:
            await queue.put((None, StopAsyncIteration()))

    reader = asyncio.create_task(read())
    try:
        end: BaseException | None = None
        while end is None:
            item, end = await queue.get()
            batch = [item] if end is None else []
            while end is None and not queue.empty() and len(batch) < limit:
                item, end = queue.get_nowait()
                if end is None:
                    batch.append(item)
            if batch:
                yield batch  # type: ignore[misc]  # items of the source; None only ever comes with an end
        if not isinstance(end, StopAsyncIteration):
            raise end
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


__all__ = ["Pauses", "aclosing", "in_batches"]
