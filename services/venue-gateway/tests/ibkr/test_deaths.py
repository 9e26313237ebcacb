"""Kill the broker's gateway and ours at every step of an order's life: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import Outcome

from .conftest import BRISK, Admin, Books, TwsProcess, connector_settings, eventually, number

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIMIT: dict[str, Any] = {"order_type": common_pb2.ORDER_TYPE_LIMIT, "price": number("90")}
STEPS = ("before anything", "while it is sent", "while it rests", "while it is canceled", "while it fills", "behind it")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[TwsProcess, Admin, Books]]:
    tws = TwsProcess(tmp_path)
    admin = Admin(tws)
    await admin.bar("100")
    books = Books(connector_settings(tws, **BRISK))
    yield tws, admin, books
    await books.close()
    await admin.close()
    tws.close()


@pytest.mark.parametrize(
    ("who", "steps"),
    [("ours", STEPS), ("the broker's", ("while it is sent", "while it is canceled", "while it fills"))],
)
async def test_death_of_a_gateway_at_any_step_loses_and_doubles_nothing(
    world: tuple[TwsProcess, Admin, Books], who: str, steps: tuple[str, ...]
) -> None:
    tws, admin, books = world

    async def strike() -> None:
        if who == "ours":
            await books.die()
            return
        count = books.connections
        tws.kill()
        await eventually(lambda: books.connections > count, "the connection is lost")
        tws.restart()

    for number_, step in enumerate(steps):
        canceled, filled = f"ks{number_}a", f"ks{number_}b"
        await books.ready()
        if step == "before anything":
            await strike()
        if step == "while it is sent":
            sending = asyncio.create_task(books.send(canceled, **LIMIT))
            await asyncio.sleep(0)
            await strike()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        canceled = await books.settle(admin, canceled, **LIMIT)
        if step == "while it rests":
            await strike()
        if step == "while it is canceled":
            command = books.command(canceled, kind=3)
            canceling = asyncio.create_task(books.venue.cancel(command))
            await asyncio.sleep(0)
            await strike()
            canceling.cancel()
            await asyncio.gather(canceling, return_exceptions=True)
        assert (await books.cancel(canceled)).outcome is Outcome.ACCEPTED
        await eventually(lambda ref=canceled: "CANCELED" in books.facts(ref), f"{canceled} is canceled")
        filled = await books.settle(admin, filled, **LIMIT)
        filling = asyncio.create_task(admin.bar("89"))
        if step == "while it fills":
            await strike()
        await asyncio.gather(filling, return_exceptions=True)
        await admin.bar("89")
        await eventually(lambda ref=filled: books.cum_qty(ref) == Number(10, 0), f"{filled} is filled")
        await admin.bar("100")
        if step == "behind it":
            await strike()
        await books.ready()
        await books.assert_nothing_lost_nothing_doubled(admin)
    await eventually(lambda: set(books.fees()) == set(books.booked), "every fee is told")


async def test_many_orders_survive_blows_in_a_row(world: tuple[TwsProcess, Admin, Books]) -> None:
    """Orders side by side while connections break: each is at the broker once or not at all, and books agree."""
    _, admin, books = world
    await books.ready()

    async def trade(place: int) -> None:
        ref = await books.settle(admin, f"ks{place}m", **(LIMIT if place % 3 else {}))
        if place % 3:
            await books.cancel(ref)

    trading = [asyncio.create_task(trade(place)) for place in range(24)]
    for blow in range(3):
        await asyncio.wait(trading, timeout=0.3)
        await admin.drop(abruptly=bool(blow % 2))
    await asyncio.gather(*trading)
    await books.ready()
    await books.assert_nothing_lost_nothing_doubled(admin)
    await eventually(lambda: set(books.fees()) == set(books.booked), "every fee is told")
