"""The kernel as operators use it. Reads are of the committed state; writes go through the inbox, like everybody's."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf.message import Message

from kestrel.admin.v1 import kernel_pb2, kernel_pb2_grpc
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel_chassis.admin import caller
from kestrel_chassis.bus import Bus
from kestrel_chassis.identity import Role
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, Refused, Unavailable
from kestrel_domain.identifiers import checked_id, derived_id, partition_of
from kestrel_domain.numbers import Number
from kestrel_kernel.shell.served import ServedPartition

Context = grpc.aio.ServicerContext[Message, Message]

ROLES = {
    "ListAccounts": Role.VIEWER,
    "ListSlots": Role.VIEWER,
    "RequestExit": Role.OPERATOR,
    "CancelOrder": Role.OPERATOR,
}

_RESTING_STAGES = (
    state_pb2.SLOT_STAGE_UNSPECIFIED,
    state_pb2.SLOT_STAGE_IDLE,
    state_pb2.SLOT_STAGE_POSITION_CLOSED,
    state_pb2.SLOT_STAGE_ORDER_REJECTED,
    state_pb2.SLOT_STAGE_TERMINAL_WRITTEN,
)


class KernelAdmin(kernel_pb2_grpc.KernelServiceServicer):
    """Implements ``kestrel.admin.v1.KernelService``."""

    def __init__(self, bus: Bus, served: Sequence[ServedPartition]) -> None:
        self._bus = bus
        self._served = served

    async def ListAccounts(  # noqa: N802
        self, request: kernel_pb2.ListAccountsRequest, context: Context
    ) -> kernel_pb2.ListAccountsResponse:
        return kernel_pb2.ListAccountsResponse(
            accounts=[owned.accounts[name] for owned in _owned(self._served) for name in sorted(owned.accounts)],
            partitions=[partition.state() for partition in self._served],
        )

    async def ListSlots(  # noqa: N802
        self, request: kernel_pb2.ListSlotsRequest, context: Context
    ) -> kernel_pb2.ListSlotsResponse:
        asked = [self._partition_of(request.account)] if request.account else self._served
        owned = _owned(asked)
        if not owned:
            raise _nobody_home(asked)  # an empty list would say that no position is open
        response = kernel_pb2.ListSlotsResponse(partitions=[partition.state() for partition in asked])
        for partition in owned:
            for account in sorted(partition.slots):
                if request.account in ("", account):
                    slots = partition.slots[account]
                    shown = [slots[index] for index in sorted(slots) if request.all or not _rests(slots[index])]
                    response.accounts.add(account=account, slots=shown)
        return response

    async def RequestExit(  # noqa: N802
        self, request: kernel_pb2.RequestExitRequest, context: Context
    ) -> kernel_pb2.RequestExitResponse:
        checked_id("request_id", request.request_id)
        checked_id("trade_id", request.trade_id)
        partition = self._partition_of(request.account)
        self._require_trade(partition, request.account, request.trade_id)
        exit_request = intent_pb2.ExitRequest(
            request_id=request.request_id,
            account=request.account,
            trade_id=request.trade_id,
            order_type=common_pb2.ORDER_TYPE_MARKET,
            reason=_reason(request.reason),
            requested_by=caller(context),
        )
        if request.HasField("order_qty"):
            if Number.of(request.order_qty) <= Number.zero():
                raise InvalidRequest.of("order_qty", Number.of(request.order_qty), "more than 0, or unset: all of it")
            exit_request.order_qty.CopyFrom(request.order_qty)
        sequence = await self._ask(
            "exit", request.account, request.request_id, inbox_pb2.InboxMessage(exit=exit_request)
        )
        return kernel_pb2.RequestExitResponse(inbox_sequence=sequence)

    async def CancelOrder(  # noqa: N802
        self, request: kernel_pb2.CancelOrderRequest, context: Context
    ) -> kernel_pb2.CancelOrderResponse:
        checked_id("request_id", request.request_id)
        checked_id("client_order_id", request.client_order_id)
        self._partition_of(request.account)
        control = inbox_pb2.Control(
            request_id=request.request_id,
            account=request.account,
            action=inbox_pb2.CONTROL_ACTION_CANCEL_ORDER,
            client_order_id=request.client_order_id,
            reason=_reason(request.reason),
            requested_by=caller(context),
        )
        sequence = await self._ask(
            "control", request.account, request.request_id, inbox_pb2.InboxMessage(control=control)
        )
        return kernel_pb2.CancelOrderResponse(inbox_sequence=sequence)

    def _partition_of(self, account: str) -> ServedPartition:
        """The partition of an account we know, or one that another instance owns."""
        checked_id("account", account)
        partition = self._served[partition_of(account, len(self._served))]
        if partition.owned and account not in partition.accounts:
            known = ", ".join(sorted(name for each in self._served for name in each.accounts))
            raise InvalidRequest.of("account", account, f"one of {known}", reason="UNKNOWN_ACCOUNT")
        return partition

    def _require_trade(self, partition: ServedPartition, account: str, trade_id: str) -> None:
        """A person who mistypes an id should hear it at once. Where we do not own the state, the kernel will say."""
        slots = partition.slots.get(account, {})
        if partition.owned and all(slot.trade_id != trade_id for slot in slots.values()):
            raise Refused(
                f"account {account} has no trade {trade_id}: see `kestrel positions`",
                reason="UNKNOWN_TRADE",
                field="trade_id",
                value=trade_id,
                rule="a trade in one of the account's slots",
            )

    async def _ask(self, door: str, account: str, request_id: str, message: inbox_pb2.InboxMessage) -> int:
        """Put a request into the inbox. The same request id again is the same request."""
        subject = subjects.inbox(partition_of(account, len(self._served)), account, door)
        message_id = derived_id(f"{door}-request", account, request_id)
        ack = await self._bus.publish(effects.publish(subject, message, message_id))
        return ack.sequence


def _owned(partitions: Sequence[ServedPartition]) -> list[ServedPartition]:
    return [partition for partition in partitions if partition.owned]


def _nobody_home(asked: Sequence[ServedPartition]) -> Unavailable:
    """Why there is nothing to show. One that halted comes first: nobody need wait for it to come back."""
    for partition in asked:
        if partition.halted:
            stopped = f"partition {partition.partition} stopped, and a person has to look: {partition.halted}"
            return Unavailable(stopped, reason="PARTITION_HALTED")
    return Unavailable(
        "this kernel stands by, or is still being recovered from its journal; ask again", reason="STANDBY"
    )


def _rests(slot: state_pb2.SlotSnapshot) -> bool:
    return slot.stage in _RESTING_STAGES


def _reason(text: str) -> str:
    if len(text) > 256:
        raise InvalidRequest.of("reason", text, "at most 256 characters")
    return text
