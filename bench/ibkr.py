"""The connector for Interactive Brokers against the TWS simulator, beside the client library alone.

Both send the same far limit order over a connection of their own to the same process, and wait for the first word
about it; then it is canceled. Worse is: more milliseconds, fewer orders a second, a longer recovery, more bytes for an
order that is over.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.figures import milliseconds, ratio, rounded
from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import Outcome
from kestrel_venue_gateway.ibkr.core.heard import CommissionSeen, ExecutionSeen, OrderSeen, StatusSeen
from kestrel_venue_gateway.ibkr.core.orders import OrderFacts
from tests.acceptance.places import TwsPlace
from tests.acceptance.run import be_quiet
from tests.acceptance.stand import BUY, Stand

Figures = dict[str, Any]

_FAR = "1.00"
_PAUSE_S = 0.06
"""Between two orders when each is timed alone: four messages each, so neither side's throttle is ever met."""

_ACCOUNT, _CLIENT_ID = "DU1234567", 71


def measure(*, quick: bool) -> Figures:
    """Against a simulator of its own: some three minutes; quick, some 20 s."""
    be_quiet()
    with tempfile.TemporaryDirectory(prefix="kestrel-bench-ibkr-") as folder:
        figures = asyncio.run(_measure(Path(folder), quick=quick))
    return {**figures, "memory": _memory(2_000 if quick else 100_000)}


async def _measure(folder: Path, *, quick: bool) -> Figures:
    place = TwsPlace(folder / "tws")
    await place.open()
    try:
        stand = await place.stand()
        await stand.open()
        figures = {
            "round_trip": await _round_trips(place, stand, 20 if quick else 200),
            "sustained_orders_per_s": await _sustained(stand, 40 if quick else 400),
        }
        await stand.close()
        figures["recovery"] = await _recovery(place, *((20, 200) if quick else (1_000, 10_000)))
    finally:
        await place.close()
    return figures


# --- round trips ---------------------------------------------------------------------------------------------------


async def _round_trips(place: TwsPlace, stand: Stand, count: int) -> Figures:
    """The connector and the library in turns, so that both meet the same machine."""
    alone = _LibraryAlone(place.port, stand.symbol)
    await alone.open()
    ours_ns, theirs_ns = [], []
    for _ in range(count):
        theirs_ns.append(await _timed(alone.order))
        await alone.cancel()
        await asyncio.sleep(_PAUSE_S)
        order = stand.order(BUY, 10, limit=_FAR)
        ours_ns.append(await _timed(lambda order=order: _accepted(stand, order)))  # type: ignore[misc]
        await stand.cancel(order)
        await asyncio.sleep(_PAUSE_S)
    alone.close()
    ours, theirs = milliseconds(ours_ns), milliseconds(theirs_ns)
    return {
        "connector": ours,
        "ib_insync_alone": theirs,
        "p50_over_library": ratio(ours["p50_ms"], theirs["p50_ms"]),
        "p99_over_library": ratio(ours["p99_ms"], theirs["p99_ms"]),
    }


async def _timed(work: Callable[[], Awaitable[None]]) -> int:
    began_ns = time.perf_counter_ns()
    await work()
    return time.perf_counter_ns() - began_ns


async def _accepted(stand: Stand, order: Any) -> None:
    result = await stand.send(order)
    assert result.outcome is Outcome.ACCEPTED, result


class _LibraryAlone:
    """``IB`` as its own documentation uses it: place, and wait until the status is a working one."""

    def __init__(self, port: int, symbol: str) -> None:
        self._port, self._symbol = port, symbol

    async def open(self) -> None:
        asyncio.set_event_loop(asyncio.get_running_loop())
        self._module = importlib.import_module("ib_insync")
        self._ib = self._module.IB()
        await self._ib.connectAsync("127.0.0.1", self._port, clientId=99, timeout=30, account=_ACCOUNT)
        contract = self._module.Stock(self._symbol, "SMART", "USD")
        (self._contract,) = await self._ib.qualifyContractsAsync(contract)

    async def order(self) -> None:
        order = self._module.LimitOrder("BUY", 10, float(_FAR), tif="DAY", account=_ACCOUNT)
        self._trade = self._ib.placeOrder(self._contract, order)
        while self._trade.orderStatus.status not in ("Submitted", "PreSubmitted"):
            await self._trade.statusEvent

    async def cancel(self) -> None:
        self._ib.cancelOrder(self._trade.order)
        while self._trade.orderStatus.status != "Cancelled":
            await self._trade.statusEvent

    def close(self) -> None:
        self._ib.disconnect()


async def _sustained(stand: Stand, count: int) -> float:
    """All at once, through our own throttle, which stays below the venue's limit."""
    orders = [stand.order(BUY, 10, limit=_FAR) for _ in range(count)]
    began_s = time.perf_counter()
    pending = [asyncio.create_task(_until_accepted(stand, order)) for order in orders]
    await asyncio.gather(*pending)
    lasted_s = time.perf_counter() - began_s
    return rounded(count / lasted_s)


async def _until_accepted(stand: Stand, order: Any) -> None:
    """An order that had to wait too long for its turn certainly did not leave, and may be tried again."""
    while True:
        result = await stand.venue.send(order)
        if result.outcome is Outcome.ACCEPTED:
            return
        assert result.outcome is Outcome.NOT_SENT, result


# --- recovery --------------------------------------------------------------------------------------------------------


async def _recovery(place: TwsPlace, open_count: int, execution_count: int) -> Figures:
    """A gateway that knows nothing finds so many open orders and executions of today; then one that knows them all."""
    stand = await place.stand()
    await place.fill_books(stand.symbol, open_count=open_count, execution_count=execution_count)
    first_s = await _reconciled_s(stand, open_count, execution_count)
    await stand.close()
    second_s = await _reconciled_s(stand, open_count, execution_count)
    await stand.close()
    told = len(stand.of_kind(venue_pb2.Fill))
    assert told == execution_count, f"{told} executions were told, not {execution_count}"
    return {
        "open_orders": open_count,
        "executions": execution_count,
        "knowing_nothing_s": rounded(first_s),
        "knowing_all_s": rounded(second_s),
    }


async def _reconciled_s(stand: Stand, open_count: int, execution_count: int) -> float:
    began_s = time.perf_counter()
    await stand.open()
    await stand.until(lambda: stand.venue.state.no_entry is None, "everything was asked for")
    await stand.until(lambda: len(stand.of_kind(venue_pb2.Fill)) >= execution_count, "every execution is told")
    portfolio = await stand.portfolio()
    assert len(portfolio.open_orders or ()) >= open_count
    return time.perf_counter() - began_s


# --- memory ---------------------------------------------------------------


def _memory(order_count: int) -> Figures:
    """Bytes that stay behind for an order that is over: in the connector, and in what the gateway knows."""
    gc.collect()
    tracemalloc.start()
    facts = OrderFacts(_ACCOUNT, _CLIENT_ID, KnownFacts())
    half = 0
    for number in range(1, order_count + 1):
        _live(facts, number)
        if number == order_count // 2:
            gc.collect()
            half = tracemalloc.get_traced_memory()[0]
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "orders": order_count,
        "connector_bytes": whole,
        "connector_bytes_per_closed_order": rounded((whole - half) / (order_count - order_count // 2)),
        "orders_kept": facts.order_count,
    }


def _live(facts: OrderFacts, number: int) -> None:
    """One order's whole life, as the venue tells it."""
    reference, quantity, now_ns = f"ksbench{number}", Number(10, 0), number
    order_id, perm_id = number, 1_900_000_000 + number
    facts.sent(reference, "AAPL", quantity, order_id, now_ns=now_ns)
    execution_id = f"0000e0d5.{number:08x}.01.01"
    messages = (
        OrderSeen(
            order_id, _CLIENT_ID, perm_id, reference, _ACCOUNT, "AAPL", common_pb2.SIDE_BUY, quantity,
            "Submitted",
        ),
        ExecutionSeen(
            execution_id, order_id, _CLIENT_ID, perm_id, reference, _ACCOUNT, "AAPL", "STK", common_pb2.SIDE_BUY,
            quantity, Number(1_000_000, 4), now_ns, con_id=265598, currency="USD",
        ),
        StatusSeen(order_id, _CLIENT_ID, perm_id, "Filled", quantity),
        CommissionSeen(execution_id, Number(100, 2), "USD"),
    )  # fmt: skip
    for message in messages:
        facts.apply(message, now_ns=now_ns)
