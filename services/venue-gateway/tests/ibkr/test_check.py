"""The checklist, against the simulated TWS: what is well passes, what is not fails alone and says why."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr import check
from kestrel_venue_gateway.ibkr.check import Examination, Line, Options, ServerClock, Verdict

LIBRARY: Any = os.environ.get("KESTREL_TEST_IBKR_LIBRARY", "ib_insync")
PASS, FAIL, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.SKIP


async def _lines(tws: Any, **changes: Any) -> dict[str, Line]:
    values: dict[str, Any] = {"port": tws.port, "library": LIBRARY, "timeout_s": 30.0, "account": "DU1234567"}
    return {line.name: line async for line in Examination(Options(**{**values, **changes})).run()}


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Accepts connections and never answers, as a gateway that is half dead."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


# --- the server's clock --------------------------------------------------------------------------------------------


def _frame(*fields: str) -> bytes:
    body = b"".join(field.encode() + b"\0" for field in fields)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_the_time_is_read_out_of_the_stream_however_it_is_cut(piece: int) -> None:
    stream = _frame("176", "20261121 02:34:10 UTC") + _frame("49", "1", "1795000000") + _frame("4", "2", "-1", "2104")
    clock = ServerClock()
    for position in range(0, len(stream), piece):
        clock.feed(stream[position : position + piece], 7)
    assert (clock.time_s, clock.heard_at_ns) == (1795000000, 7)


@pytest.mark.parametrize("fields", [("49",), ("49", "1"), ("49", "1", "soon"), ("4", "9", "1795000000")])
def test_what_is_no_time_is_not_taken_for_one(fields: tuple[str, ...]) -> None:
    clock = ServerClock()
    clock.feed(_frame(*fields) + _frame("x" * 200), 7)
    assert clock.time_s is None


# --- the checklist -------------------------------------------------------------------------------------------------


@pytest.mark.integration
async def test_a_gateway_that_is_well_passes_every_question_and_nothing_is_traded(tws: Any, admin: Any) -> None:
    lines = await _lines(tws)
    assert {line.verdict for line in lines.values()} == {PASS, SKIP}
    assert [line.name for line in lines.values() if line.verdict is SKIP] == ["buy and sell one share"]
    assert "PAPER" in lines["account, paper or live"].said
    assert lines["server version"].said == "176"
    assert not (await admin.ledger()).orders


@pytest.mark.integration
async def test_one_share_is_bought_and_sold_and_leaves_nothing_T01(tws: Any, admin: Any) -> None:
    before = await admin.ledger()
    lines = await _lines(tws, trade=True)
    after = await admin.ledger()
    assert lines["buy and sell one share"].verdict is PASS, lines["buy and sell one share"].said
    traded = after.orders[len(before.orders) :]
    assert [(order.order_qty.units, order.status) for order in traded] == [(1, "Filled"), (1, "Filled")]
    assert not any(order.order_ref.startswith("ks") for order in traded), "a gateway must not take them for its own"
    assert not [position for position in after.positions if position.qty.units]


@pytest.mark.integration
async def test_an_account_of_real_money_fails_and_is_never_traded_on_C10(tws: Any, admin: Any) -> None:
    before = len((await admin.ledger()).orders)
    lines = await _lines(tws, account="U1234567", trade=True, timeout_s=3.0)
    refused = lines["account, paper or live"]
    assert (refused.verdict, "ACCOUNT_ENVIRONMENT" in refused.said) == (FAIL, True)
    assert lines["buy and sell one share"].verdict is FAIL
    assert "refused" in lines["buy and sell one share"].said
    assert len((await admin.ledger()).orders) == before


@pytest.mark.integration
async def test_a_list_that_never_ends_fails_alone_and_the_next_question_is_asked(tws: Any, admin: Any) -> None:
    await admin.fault("NO_END_MARKER", count=0, request="REQ_OPEN_ORDERS")
    await admin.fault("NO_END_MARKER", count=0, request="REQ_ALL_OPEN_ORDERS")
    lines = await _lines(tws, timeout_s=8.0)
    assert lines["open orders"].verdict is FAIL
    assert "no answer" in lines["open orders"].said
    assert lines["completed orders"].verdict is PASS
    assert lines["executions"].verdict is PASS


@pytest.mark.integration
async def test_a_rejected_order_says_the_brokers_reason_and_no_second_one_is_sent(tws: Any, admin: Any) -> None:
    before = len((await admin.ledger()).orders)
    await admin.fault("REJECT_201", count=1)
    lines = await _lines(tws, trade=True)
    assert lines["buy and sell one share"].verdict is FAIL
    assert "201" in lines["buy and sell one share"].said
    assert len((await admin.ledger()).orders) - before <= 1


@pytest.mark.integration
async def test_an_unknown_symbol_fails_its_own_lines_only(tws: Any, admin: Any) -> None:
    lines = await _lines(tws, symbol="NOSUCH", trade=True)
    assert lines["contract of NOSUCH"].verdict is FAIL
    assert lines["market data of NOSUCH"].verdict is SKIP
    assert lines["buy and sell one share"].verdict is SKIP
    assert lines["pacing"].verdict is PASS


@pytest.mark.integration
async def test_a_port_where_nobody_listens_and_one_that_never_answers_say_what_to_look_at(silent_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed_port = taken.getsockname()[1]
        for port in (closed_port, silent_port):
            options = Options(port=port, library=LIBRARY, timeout_s=1.0)
            first, *others = [line async for line in Examination(options).run()]
            assert (first.name, first.verdict) == ("handshake", FAIL)
            assert "API enabled" in first.said
            assert {line.verdict for line in others} == {SKIP}


async def test_a_clock_that_differs_fails_and_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    examination = Examination(Options())

    class Open:
        is_open = True

    async def connected() -> Any:
        return Open()

    monkeypatch.setattr(examination, "_connected", connected)
    now_ns = time.time_ns()
    for offset_s, verdict in ((0, PASS), (-30, FAIL), (30, FAIL)):
        examination._clock.time_s = now_ns // SECOND_NS + offset_s
        examination._clock.heard_at_ns = now_ns
        found, said = await examination._current_time()
        assert found is verdict, said
    assert check.CLOCK_SKEW_NS_MAX == 5 * SECOND_NS
