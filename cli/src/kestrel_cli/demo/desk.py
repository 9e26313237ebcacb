"""The people of the demo: each acts with a credential of his own, through the same calls a human uses."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc

from kestrel.admin.v1 import governance_pb2, kernel_pb2, persistence_pb2, policy_pb2, reconciler_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_cli.back_doors import back_door
from kestrel_cli.clients import read_credential, refusal_of, stub_class
from kestrel_cli.commands.lookup import request_id
from kestrel_cli.platform.layout import Endpoints, Layout
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice
from kestrel_domain import subjects

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

CALL_TIMEOUT_S = 10.0
_VENUE_TIMEOUT_S = 60.0
_OWNER_WITHIN_S, _POLL_S = 15.0, 0.2
TRADER, RISK, ADMIN = "trader", "risk", "admin"


class Desk:
    """gRPC stubs by service and operator, made when first used. ``market`` is the simulated venue's back door."""

    def __init__(self, layout: Layout, endpoints: Endpoints, venue: VenueChoice = OUR_PAPER_VENUE) -> None:
        self.account = venue.account
        self._layout = layout
        self._endpoints = endpoints
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._door = back_door(venue)
        self._venue = grpc.aio.insecure_channel(endpoints.address(self._door.port))
        self.market = self._door.stub(self._venue)

    def stub(self, service: str, operator: str = TRADER) -> Any:
        key = (service, operator)
        if key not in self._channels:
            from kestrel_chassis import admin

            credential = read_credential(self._layout, operator)
            self._channels[key] = admin.channel(
                self._endpoints.address(service), self._layout.secrets / "ca.pem", credential
            )
        return stub_class(service)(self._channels[key])

    async def close(self) -> None:
        await asyncio.gather(*(c.close(grace=None) for c in (*self._channels.values(), self._venue)))

    async def pending(self) -> list[governance_pb2.PendingIntent]:
        answer = await self.stub("governance").ListPending(governance_pb2.ListPendingRequest(), timeout=CALL_TIMEOUT_S)
        return list(answer.pending)

    async def approve(self, intent_id: str, evidence: bytes, operator: str, reason: str) -> Any:
        answer = await self.stub("governance", operator).Approve(
            governance_pb2.ApproveRequest(
                request_id=request_id(), intent_id=intent_id, evidence_sha256=evidence, reason=reason
            ),
            timeout=CALL_TIMEOUT_S,
        )
        return answer.decision

    async def pass_on(self, intent_id: str, operator: str, reason: str) -> Any:
        answer = await self.stub("governance", operator).Pass(
            governance_pb2.PassRequest(request_id=request_id(), intent_id=intent_id, reason=reason),
            timeout=CALL_TIMEOUT_S,
        )
        return answer.decision

    async def submit_signal(
        self, signal: Any, operator: str = TRADER, *, request: str = ""
    ) -> policy_pb2.SubmitSignalResponse:
        """Ids of what follows come of the person and the request; without one, it is a new one."""
        answer: policy_pb2.SubmitSignalResponse = await self.stub("policy", operator).SubmitSignal(
            policy_pb2.SubmitSignalRequest(request_id=request or request_id(), account=self.account, signal=signal),
            timeout=CALL_TIMEOUT_S,
        )
        return answer

    async def open_slots(self) -> list[Any]:
        """As the partition's owner has them; waits for a new owner, within bounds, where the old one has gone."""
        request = kernel_pb2.ListSlotsRequest(account=self.account, all=False)
        deadline = time.monotonic() + _OWNER_WITHIN_S
        while True:
            try:
                answer = await self.stub("kernel").ListSlots(request, timeout=CALL_TIMEOUT_S)
                return [slot for each in answer.accounts for slot in each.slots]
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL_S)

    async def exit(self, trade_id: str, reason: str, operator: str = TRADER) -> None:
        await self.stub("kernel", operator).RequestExit(
            kernel_pb2.RequestExitRequest(
                request_id=request_id(), account=self.account, trade_id=trade_id, reason=reason
            ),
            timeout=CALL_TIMEOUT_S,
        )

    async def cancel(self, client_order_id: str, reason: str, operator: str = TRADER) -> None:
        await self.stub("kernel", operator).CancelOrder(
            kernel_pb2.CancelOrderRequest(
                request_id=request_id(), account=self.account, client_order_id=client_order_id, reason=reason
            ),
            timeout=CALL_TIMEOUT_S,
        )

    async def has_journaled_all(self, bus: Bus) -> bool:
        """Whether every input that the bus holds is in the journal, and the journal in an owner's state.

        Asked of both: the lag the kernel tells is as new as the last input it read. Ask this before what is open: an
        entry that was unread then may be journaled by now.
        """
        answer = await self.stub("kernel").ListAccounts(kernel_pb2.ListAccountsRequest(), timeout=CALL_TIMEOUT_S)
        for each in answer.partitions:
            last = await bus.last_message(subjects.INBOX, f"inbox.{each.partition}.>")
            if not each.owned or (last is not None and last.sequence > each.inbox_sequence):
                return False
        return True

    async def open_breaks(self) -> list[Any]:
        answer = await self.stub("reconciler").ListBreaks(
            reconciler_pb2.ListBreaksRequest(account=self.account), timeout=CALL_TIMEOUT_S
        )
        return [each for each in answer.breaks if not each.HasField("resolution")]

    async def compare_now(self) -> Any:
        answer = await self.stub("reconciler").RunNow(
            reconciler_pb2.RunNowRequest(request_id=request_id(), account=self.account), timeout=CALL_TIMEOUT_S
        )
        return answer.run

    async def publish(self, bar: venue_pb2.Bar, *, wait_for_venue: bool = False) -> None:
        """The market moves; with ``wait_for_venue``, as soon as the venue listens."""
        timeout_s = _VENUE_TIMEOUT_S if wait_for_venue else CALL_TIMEOUT_S
        await self.market.PublishBar(self._door.publish(bar), timeout=timeout_s, wait_for_ready=wait_for_venue)

    async def move(self, symbol: str, qty: int) -> None:
        """The venue's back office moves a position, and tells nobody."""
        await self.market.InduceDrift(self._door.move(self.account, symbol, qty), timeout=CALL_TIMEOUT_S)

    async def ledger(self) -> Any:
        """Everything the venue ever saw, in its own contract; ``collect.read_venue`` reads it."""
        return await self.market.GetLedger(self._door.ledger(self.account), timeout=CALL_TIMEOUT_S)

    async def verify(self) -> persistence_pb2.VerifyAuditResponse:
        answer: persistence_pb2.VerifyAuditResponse = await self.stub("persistence").VerifyAudit(
            persistence_pb2.VerifyAuditRequest(), timeout=6 * CALL_TIMEOUT_S
        )
        return answer


def said(error: grpc.aio.AioRpcError) -> str:
    """Why a call was refused: the reason's name and its sentence."""
    refusal = refusal_of(error)
    return f"{refusal.reason}: {refusal.message}" if refusal is not None else f"{error.code().name}: {error.details()}"
