"""Pauses grow within bounds; batches keep order, content and the error at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from kestrel_domain.errors import Unavailable
from kestrel_venue_gateway.shell.pacing import Pauses, in_batches


async def numbers(count: int, error: Exception | None = None) -> AsyncGenerator[int, None]:
    for number in range(count):
        if number == 3:
            await asyncio.sleep(0)
        yield number
    if error is not None:
        raise error


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    pauses = Pauses(0.2, 30.0)
    for round_count in range(64):
        longest_s = min(30.0, 0.2 * 2**round_count)
        assert longest_s / 2 <= pauses.length_s(round_count) <= longest_s


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_batches_hold_everything_in_order_and_never_more_than_the_limit(limit: int) -> None:
    batches = [batch async for batch in in_batches(numbers(10), limit)]
    assert [number for batch in batches for number in batch] == list(range(10))
    assert all(0 < len(batch) <= limit for batch in batches)


async def test_error_of_the_source_comes_after_everything_before_it() -> None:
    seen: list[int] = []

    async def read() -> None:
        async for batch in in_batches(numbers(5, Unavailable("gone")), 2):
            seen.extend(batch)

    with pytest.raises(Unavailable):
        await read()
    assert seen == list(range(5))


async def test_leaving_early_closes_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    batches = in_batches(endless(), 2)
    async for _ in batches:
        break
    await batches.aclose()
    assert closed.is_set()
