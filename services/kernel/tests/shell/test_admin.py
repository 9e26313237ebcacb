"""The admin service: who may do what, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.admin.v1 import kernel_pb2, kernel_pb2_grpc
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_chassis.admin import AdminServer, channel
from kestrel_chassis.bus import Bus
from kestrel_chassis.rpc_errors import error_from_rpc
from kestrel_domain import subjects
from kestrel_domain.errors import Unavailable
from kestrel_kernel.shell.admin import ROLES, KernelAdmin

pytestmark = pytest.mark.integration


@pytest.fixture
async def kernel(start_kernel: Any, inbox: Any, gateway: Any, messages: Any, until: Any) -> Any:
    """A kernel with one open position, trade-1."""
    running = start_kernel()
    await inbox.put(messages.entry(expires_at_ns=2**62))

    async def opened() -> bool:
        await gateway.answer()
        return any(slot.qty.units == 100 for slot in running.served.slots.get("PAPER-1", {}).values())

    await until(opened, "the position is open")
    return running


@pytest.fixture
async def connect(
    kernel: Any, bus: Bus, secrets: Path
) -> AsyncIterator[Callable[[str], kernel_pb2_grpc.KernelServiceAsyncStub]]:
    """Connect as an operator, by name."""
    server = AdminServer(kernel.settings, kernel.status)
    server.add(kernel_pb2_grpc.add_KernelServiceServicer_to_server, KernelAdmin(bus, [kernel.served]), ROLES)
    port = await server.start()
    channels: list[grpc.aio.Channel] = []

    def open_channel(operator: str) -> kernel_pb2_grpc.KernelServiceAsyncStub:
        credential = (secrets / "operators" / f"{operator}.credential").read_text() if operator else ""
        found = channel(f"localhost:{port}", secrets / "ca.pem", credential)
        channels.append(found)
        return kernel_pb2_grpc.KernelServiceStub(found)

    yield open_channel
    for each in channels:
        await each.close()
    await server.stop(grace=0.1)


async def test_an_operator_sees_accounts_slots_and_where_the_journal_stands(connect: Any, kernel: Any) -> None:
    stub = connect("trader")
    accounts = await stub.ListAccounts(kernel_pb2.ListAccountsRequest())
    assert [each.account for each in accounts.accounts] == ["PAPER-1"]
    assert accounts.partitions[0].owned
    assert accounts.partitions[0].journal_sequence == kernel.served.journal_sequence
    slots = await stub.ListSlots(kernel_pb2.ListSlotsRequest())
    assert [slot.trade_id for slot in slots.accounts[0].slots] == ["trade-1"]
    everything = await stub.ListSlots(kernel_pb2.ListSlotsRequest(account="PAPER-1", all=True))
    assert len(everything.accounts[0].slots) == 8


async def test_an_exit_goes_through_the_inbox_with_the_callers_name_and_only_once(
    connect: Any, kernel: Any, bus: Bus, gateway: Any, until: Any
) -> None:
    stub = connect("trader")
    request = kernel_pb2.RequestExitRequest(request_id="r-1", account="PAPER-1", trade_id="trade-1", reason="enough")
    first = await stub.RequestExit(request)
    again = await stub.RequestExit(request)
    assert first.inbox_sequence == again.inbox_sequence
    stored = await bus.get_message(subjects.INBOX, first.inbox_sequence)
    assert stored is not None
    message = inbox_pb2.InboxMessage.FromString(stored.data)
    assert stored.subject == "inbox.0.PAPER-1.exit"
    assert (message.exit.requested_by.id, message.exit.requested_by.kind) == ("trader", "operator")

    async def flat() -> bool:
        await gateway.answer()
        return bool(kernel.served.accounts["PAPER-1"].execution_count == 4)

    await until(flat, "the trade is flat")


async def test_a_cancel_goes_to_the_control_door(connect: Any, bus: Bus, messages: Any) -> None:
    request = kernel_pb2.CancelOrderRequest(
        request_id="r-2", account="PAPER-1", client_order_id=messages.entry_order_id(), reason="stalled"
    )
    answer = await connect("trader").CancelOrder(request)
    stored = await bus.get_message(subjects.INBOX, answer.inbox_sequence)
    assert stored is not None
    control = inbox_pb2.InboxMessage.FromString(stored.data).control
    assert stored.subject == "inbox.0.PAPER-1.control"
    assert control.action == inbox_pb2.CONTROL_ACTION_CANCEL_ORDER
    assert control.requested_by.id == "trader"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"account": "NOBODY"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"account": "a.b"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"request_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"trade_id": "trade-9"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"order_qty": common_pb2.Decimal(units=0)}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"reason": "x" * 300}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_bad_request_is_refused_before_it_reaches_the_inbox(
    connect: Any, bus: Bus, changes: dict[str, Any], code: grpc.StatusCode
) -> None:
    before = (await bus.stream_state(subjects.INBOX)).last_sequence
    request = {"request_id": "r-3", "account": "PAPER-1", "trade_id": "trade-1", **changes}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect("trader").RequestExit(kernel_pb2.RequestExitRequest(**request))
    assert caught.value.code() == code
    assert (await bus.stream_state(subjects.INBOX)).last_sequence == before


async def test_a_stranger_is_refused(connect: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect("").ListAccounts(kernel_pb2.ListAccountsRequest())
    assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def test_whoever_owns_nothing_of_it_does_not_say_that_no_position_is_open(connect: Any, kernel: Any) -> None:
    """After a crash the next instance is up before the old lease has run out: an empty answer would be a wrong book."""
    stub = connect("trader")
    kernel.served.drop()
    for account in ("", "PAPER-1"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListSlots(kernel_pb2.ListSlotsRequest(account=account))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error_from_rpc(caught.value).reason == "STANDBY"
    accounts = await stub.ListAccounts(kernel_pb2.ListAccountsRequest())
    assert list(accounts.partitions) == [kernel_pb2.PartitionState(partition=0)]


async def test_whoever_stands_by_is_ready_and_says_so_when_asked_for_positions(
    connect: Any, kernel: Any, start_kernel: Any, bus: Bus, until: Any
) -> None:
    stub = connect("trader")
    answer = await stub.ListSlots(kernel_pb2.ListSlotsRequest())
    assert [each.owned for each in answer.partitions] == [True]
    second = start_kernel(instance="second")

    async def stands_by() -> bool:
        return bool(second.status.ready)

    await until(stands_by, "the second stands by")
    context: Any = None
    with pytest.raises(Unavailable, match="stands by"):
        await KernelAdmin(bus, [second.served]).ListSlots(kernel_pb2.ListSlotsRequest(), context)


async def test_a_new_owner_says_from_its_first_moment_how_far_behind_it_is(
    start_kernel: Any, inbox: Any, messages: Any
) -> None:
    for number in range(40):
        await inbox.put(messages.mark(f"m-{number}", "150.25"))
    served = start_kernel(batch_size=1).served
    told: list[tuple[int, int]] = []
    async with asyncio.timeout(60):
        while served.inbox_sequence < 40 or served.lag:
            if served.owned:
                told.append((40 - served.inbox_sequence, served.lag))
            await asyncio.sleep(0)
    assert told[0] == (40, 40)
    assert all(lag >= missing for missing, lag in told)
