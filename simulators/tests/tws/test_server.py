"""The server on a real socket, spoken to byte by byte: what no library does, and what every test of one relies on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc
from kestrel_domain.errors import InvalidRequest, Unavailable
from kestrel_domain.numbers import Number
from kestrel_simulators.tws import wire
from kestrel_simulators.tws.admin import start_admin
from kestrel_simulators.tws.server import CLIENTS_MAX, TwsProcess, start_server

pytestmark = pytest.mark.integration

DEADLINE_S = 60.0
HOST = "127.0.0.1"
ACCOUNT = "DU1234567"
STOCK = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=2, qty_scale=0, tick_units=1, lot_units=1, multiplier=1
)
PLACE_ORDER = (
    "3|{id}|0|AAPL|STK||0.0|||SMART||USD|||||BUY|5|{type}|{price}||DAY||DU1234567|O|0|{ref}|1|0|0|0|0|0|0|0||0.0||||||||0"
    "||-1|0|||0|||0|0||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||0|0|0|0|||0||"
)


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


class Server:
    """One simulator in this process, with its admin door."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.process = TwsProcess(folder, **more)
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[Client] = []

    async def open(self) -> None:
        process = self.process
        self._tasks = [asyncio.create_task(run()) for run in (process.run_log, process.run_clock, process.run_watch)]
        self._server, self.port = await start_server(process, HOST, 0)
        self._admin, self.admin_port = await start_admin(process, HOST, 0)
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{self.admin_port}")
        self.control = tws_pb2_grpc.TwsSimulatorControlServiceStub(self._channel)
        await self.control.SetMode(
            tws_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_INSTANT, delay_scale_permille=1000)
        )
        wallet = decimal("1000000.00")
        await self.control.OpenAccount(tws_pb2.OpenAccountRequest(account=ACCOUNT, wallet=wallet, currency="USD"))
        await self.quote("99.99", "100.01")

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        await self._channel.close()
        self._server.close()
        await self._admin.stop(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.process.close()
        assert not self.process.failed.is_set()

    async def quote(self, bid: str, ask: str) -> None:
        await self.control.PublishQuote(
            tws_pb2.PublishQuoteRequest(instrument=STOCK, bid=decimal(bid), ask=decimal(ask))
        )

    async def fault(self, name: str, count: int = 1, **more: Any) -> None:
        number = tws_pb2.Fault.Value(f"FAULT_{name}")
        await self.control.SetFault(tws_pb2.SetFaultRequest(fault=number, count=count, **more))

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(HOST, self.port))
        self._clients.append(client)
        return client

    async def ready(self, client_id: int = 7) -> Client:
        """A client that has started its session."""
        client = await self.client()
        client.send_bytes(wire.MAGIC + wire.frame(b"v157..176"))
        assert (await client.read())[0] == "176"
        client.send("71", "2", str(client_id), "")
        await client.read_until("9")
        return client


class Client:
    """A client that says anything, and reads frames as texts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, *texts: str) -> None:
        self.send_bytes(wire.frame(wire.join(texts)))

    def place(self, order_id: int, kind: str = "LMT", price: str = "95.0") -> None:
        texts = PLACE_ORDER.format(id=order_id, type=kind, price=price if kind == "LMT" else "", ref=f"K{order_id}")
        self.send(*texts.split("|"))

    async def read(self) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            return wire.split(await self.reader.readexactly(length))

    async def read_until(self, *begin: str) -> list[str]:
        """The first message that begins so."""
        while (texts := await self.read())[: len(begin)] != list(begin):
            pass
        return texts

    async def read_to_the_end(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    async def is_alive(self) -> bool:
        """Whether the server answers."""
        self.send("49", "1")
        return (await self.read_until("49"))[0] == "49"

    def close(self) -> None:
        self.writer.transport.abort()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path / "tws")
    await made.open()
    yield made
    await made.close()


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)


# The handshake and client ids


async def test_a_handshake_is_two_fields_then_accounts_and_the_next_valid_id(server: Server) -> None:
    client = await server.client()
    client.send_bytes(wire.MAGIC + wire.frame(b"v157..178"))
    version, moment = await client.read()
    assert version == "176"
    assert moment.endswith(" UTC")
    client.send("71", "2", "7", "")
    assert sorted([await client.read(), await client.read()]) == [["15", "1", ACCOUNT], ["9", "1", "1"]]
    assert [(await client.read())[3] for _ in range(3)] == ["2104", "2106", "2158"]


async def test_an_older_client_is_answered_in_its_own_version(server: Server) -> None:
    client = await server.client()
    client.send_bytes(wire.MAGIC + wire.frame(b"v100..160"))
    assert (await client.read())[0] == "160"
    client.send("71", "2", "7", "")
    await client.read_until("9")
    error = await client.read()
    assert len(error) == 5  # no advanced reject before 166


async def test_a_client_that_only_speaks_newer_versions_is_told_and_closed(server: Server) -> None:
    client = await server.client()
    client.send_bytes(wire.MAGIC + wire.frame(b"v200..210"))
    assert (await client.read())[2:4] == ["-1", "320"]
    assert await client.read_to_the_end() == b""


async def test_every_byte_may_come_alone(server: Server) -> None:
    client = await server.client()
    stream = wire.MAGIC + wire.frame(b"v157..176") + wire.frame(wire.join(["71", "2", "7", ""]))
    for byte in stream + wire.frame(wire.join(["49", "1"])):
        client.send_bytes(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert await client.read_until("49")


async def test_a_client_id_in_use_is_326_and_free_again_when_its_owner_has_left(server: Server) -> None:
    first = await server.ready(7)
    second = await server.client()
    second.send_bytes(wire.MAGIC + wire.frame(b"v157..176"))
    await second.read()
    second.send("71", "2", "7", "")
    assert (await second.read())[:4] == ["4", "2", "-1", "326"]
    assert await second.read_to_the_end() == b""
    assert await first.is_alive()
    first.writer.write_eof()
    assert await first.read_to_the_end() == b""
    await eventually(lambda: 7 not in server.process.connections)
    assert await (await server.ready(7)).is_alive()


async def test_no_more_clients_than_a_gateway_takes(server: Server) -> None:
    for client_id in range(CLIENTS_MAX):
        await server.ready(client_id)
    last = await server.client()
    last.send_bytes(wire.MAGIC + wire.frame(b"v157..176"))
    await last.read()
    last.send("71", "2", "99", "")
    assert await last.read_to_the_end() == b""


# Requests


async def test_unknown_messages_are_ignored(server: Server) -> None:
    client = await server.ready()
    client.send("4711", "1", "whatever")
    client.send("24", "1")
    assert await client.is_alive()


async def test_a_request_with_a_field_too_many_is_refused_loudly_and_the_session_goes_on(server: Server) -> None:
    client = await server.ready()
    client.send("61", "1", "extra")
    error = await client.read_until("4", "2", "-1", "320")
    assert "fields too many" in error[4]
    client.send(*PLACE_ORDER.format(id=3, type="LMT", price="NaN", ref="K3").split("|"))
    error = await client.read_until("4", "2", "3", "320")
    assert "lmt_price" in error[4]
    assert server.process.unread_count == 2
    assert await client.is_alive()
    ledger = await server.control.GetLedger(tws_pb2.GetLedgerRequest(account=ACCOUNT))
    assert not ledger.orders


async def test_a_frame_that_is_too_long_ends_one_connection_and_no_other(server: Server) -> None:
    good, bad = await server.ready(1), await server.ready(2)
    bad.send_bytes(b"\x00\xff\xff\xff")
    assert (await bad.read_until("4", "2", "-1", "320"))[4]
    assert await bad.read_to_the_end() == b""
    assert await good.is_alive()


async def test_noise_on_the_port_leaves_the_server_unharmed(server: Server) -> None:
    good = await server.ready(1)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, os.urandom(2000), wire.MAGIC, b""):
        client = await server.client()
        client.send_bytes(noise)
        client.writer.write_eof()
        await client.read_to_the_end()
    assert await good.is_alive()


async def test_a_client_that_is_too_fast_is_told_100_and_cut_off_when_it_goes_on(tmp_path: Path) -> None:
    server = Server(tmp_path / "tws", messages_per_s=50)
    await server.open()
    client = await server.ready()
    codes: list[str] = []

    async def listen() -> None:
        while True:
            texts = await client.read()
            if texts[0] == "4":
                codes.append(texts[3])

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(DEADLINE_S):
        while not listening.done():
            for _ in range(100):
                client.send("49", "1")
            await asyncio.sleep(0.1)
    assert isinstance(listening.exception(), (asyncio.IncompleteReadError, ConnectionError))
    assert "100" in codes
    await eventually(lambda: 7 not in server.process.connections)
    await server.close()


async def test_what_was_said_survives_the_process(tmp_path: Path) -> None:
    server = Server(tmp_path / "tws")
    await server.open()
    client = await server.ready()
    client.place(3)
    status = await client.read_until("3", "3")
    await server.close()
    again = Server(tmp_path / "tws")
    await again.open()
    client = await again.ready()
    client.send("5", "1")
    assert (await client.read_until("3", "3"))[6] == status[6]  # the permanent id
    client.send("8", "1", "1")
    assert await client.read_until("9") == ["9", "1", "4"]
    await again.close()


# Faults of the socket


async def test_a_half_dead_gateway_accepts_and_never_answers(server: Server) -> None:
    await server.fault("HALF_DEAD")
    deaf = await server.client()
    deaf.send_bytes(wire.MAGIC + wire.frame(b"v157..176"))
    assert await (await server.ready()).is_alive()
    deaf.writer.write_eof()
    assert await deaf.read_to_the_end() == b""


async def test_a_client_id_can_seem_to_be_in_use(server: Server) -> None:
    await server.fault("CLIENT_ID_IN_USE")
    client = await server.client()
    client.send_bytes(wire.MAGIC + wire.frame(b"v157..176") + wire.frame(wire.join(["71", "2", "7", ""])))
    await client.read()
    assert (await client.read())[3] == "326"
    assert await (await server.ready()).is_alive()


async def test_a_request_can_fall_into_a_dropped_connection(server: Server) -> None:
    await server.fault("DROP_ON_REQUEST", request="PLACE_ORDER", order_type="LMT")
    client = await server.ready()
    client.send("61", "1")
    await client.read_until("62")
    client.place(3)
    assert await client.read_to_the_end() == b""
    ledger = await server.control.GetLedger(tws_pb2.GetLedgerRequest(account=ACCOUNT))
    assert not ledger.orders


async def test_a_modification_is_not_the_order_it_changes(server: Server) -> None:
    await server.fault("DROP_ON_REQUEST", request="MODIFY_ORDER")
    client = await server.ready()
    client.place(3)
    await client.read_until("3", "3", "Submitted")
    client.place(3, price="96.0")
    assert await client.read_to_the_end() == b""


async def test_a_connection_drops_after_a_fill_and_its_id_is_free(server: Server) -> None:
    await server.fault("DROP_AFTER_FILL")
    client = await server.ready()
    client.place(3, "MKT")
    execution = await client.read_until("11", "-1", "3")
    await client.read_to_the_end()
    again = await server.ready()
    again.send("7", "3", "5", "0", "", "", "", "", "", "")
    assert (await again.read_until("11", "5", "3"))[14] == execution[14]


async def test_replies_wait_for_their_time_and_keep_their_order(server: Server) -> None:
    await server.fault("DELAY_REPLIES", delay_ms=300, request="REQ_POSITIONS")
    client = await server.ready()
    client.send("61", "1")
    client.send("49", "1")
    order = []
    while "49" not in order:
        order.append((await client.read())[0])
    assert order.index("62") < order.index("49")


async def test_replies_can_come_byte_by_byte(server: Server) -> None:
    client = await server.ready()
    await server.fault("BYTE_WISE", request="REQ_CURRENT_TIME")
    client.send("49", "1")
    client.send("61", "1")
    await client.read_until("49")
    assert await client.read_until("62")


@pytest.mark.parametrize("name", ["MALFORMED_FRAME", "UNKNOWN_MESSAGE"])
async def test_a_bad_message_among_good_ones_can_be_skipped(server: Server, name: str) -> None:
    client = await server.ready()
    await server.fault(name, request="REQ_CURRENT_TIME")
    client.send("49", "1")
    assert await client.is_alive()


async def test_half_a_frame_and_then_the_end(server: Server) -> None:
    client = await server.ready()
    await server.fault("TRUNCATED_FRAME", request="REQ_POSITIONS")
    client.send("61", "1")
    data = await client.read_to_the_end()
    reader = wire.FrameReader()
    assert b"62\x001\x00" not in reader.receive(data)
    whole = wire.frame(b"62\x001\x00")
    assert data.endswith(whole[: len(whole) // 2])


async def test_a_frame_of_two_gigabytes_is_announced(server: Server) -> None:
    client = await server.ready()
    await client.read_until("4", "2", "-1", "2158")
    await server.fault("OVERSIZED_FRAME", request="REQ_POSITIONS")
    client.send("61", "1")
    async with asyncio.timeout(DEADLINE_S):
        assert await client.reader.readexactly(4) == b"\x7f\xff\xff\xff"


# The admin door


async def test_faults_are_listed_counted_and_cleared_whoever_they_belong_to(server: Server) -> None:
    await server.fault("REJECT_201")
    await server.fault("BYTE_WISE", count=3)
    client = await server.ready()
    listed = await server.control.ListFaults(tws_pb2.ListFaultsRequest())
    assert {fault.setting.fault: fault.happened_count for fault in listed.faults} == {
        tws_pb2.FAULT_REJECT_201: 0,
        tws_pb2.FAULT_BYTE_WISE: 1,
    }
    await server.control.ClearFaults(tws_pb2.ClearFaultsRequest(fault=tws_pb2.FAULT_BYTE_WISE))
    assert len((await server.control.ListFaults(tws_pb2.ListFaultsRequest())).faults) == 1
    await server.control.ClearFaults(tws_pb2.ClearFaultsRequest())
    assert not (await server.control.ListFaults(tws_pb2.ListFaultsRequest())).faults
    assert await client.is_alive()


async def test_connections_are_dropped_one_or_all_in_order_or_with_a_reset(server: Server) -> None:
    one, two = await server.ready(1), await server.ready(2)
    dropped = await server.control.DropConnections(tws_pb2.DropConnectionsRequest(client_id=1))
    assert dropped.connection_count == 1
    await one.read_to_the_end()
    assert await two.is_alive()
    await server.control.DropConnections(tws_pb2.DropConnectionsRequest(abruptly=True))
    with pytest.raises(ConnectionResetError):
        await two.read_to_the_end()
    assert not server.process.connections
    assert await (await server.ready(2)).is_alive()


async def test_the_nightly_reset_drops_everybody(server: Server) -> None:
    clients = [await server.ready(1), await server.ready(2)]
    await server.control.ResetDay(tws_pb2.ResetDayRequest())
    for client in clients:
        await client.read_to_the_end()
    assert await (await server.ready(1)).is_alive()


async def test_a_refused_record_names_its_field_and_leaves_no_trace(server: Server) -> None:
    count = server.process.record_count
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.control.SetFault(tws_pb2.SetFaultRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    metadata = dict(caught.value.trailing_metadata() or ())
    assert common_pb2.Refusal.FromString(metadata["kestrel-refusal-bin"]).field == "fault"
    with pytest.raises(grpc.aio.AioRpcError):
        await server.control.GetLedger(tws_pb2.GetLedgerRequest(account="NOBODY"))
    assert server.process.record_count == count


CALLS: list[tuple[str, Callable[[], Any], grpc.StatusCode]] = [
    ("PublishBar", tws_pb2.PublishBarRequest, grpc.StatusCode.INVALID_ARGUMENT),
    ("SetMode", tws_pb2.SetModeRequest, grpc.StatusCode.INVALID_ARGUMENT),
    ("SetMarketHours", tws_pb2.SetMarketHoursRequest, grpc.StatusCode.INVALID_ARGUMENT),
    ("SetConnectivity", tws_pb2.SetConnectivityRequest, grpc.StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize("name, request_type, code", CALLS, ids=[name for name, _, _ in CALLS])
async def test_what_says_nothing_is_refused(
    server: Server, name: str, request_type: Callable[[], Any], code: grpc.StatusCode
) -> None:
    call: Callable[[Any], Awaitable[Any]] = getattr(server.control, name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(request_type())
    assert caught.value.code() is code


# Starting


async def test_a_port_that_is_taken_is_named(server: Server) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} .* --port"):
            await start_server(server.process, HOST, port)
        with pytest.raises(Unavailable, match=f"port {port} .* --admin-port"):
            await start_admin(server.process, HOST, port)


async def test_an_address_of_another_machine_is_named(server: Server) -> None:
    with pytest.raises(InvalidRequest, match="an address of this machine"):
        await start_server(server.process, "192.0.2.1", 0)


async def test_a_folder_belongs_to_one_process(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="another running simulator"):
        TwsProcess(tmp_path / "tws")
