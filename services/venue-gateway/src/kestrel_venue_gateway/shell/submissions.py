"""Carries out commissions: performs the effects of the submission procedure against NATS and the venue.

Commands of one trade go one after the other, in journal order; trades go side by side. A command in doubt lets those
behind it pass: whatever wants out of a trade does not wait for the entry's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_domain.errors import Unavailable
from kestrel_venue_gateway.core import submission
from kestrel_venue_gateway.core.admission import Gate
from kestrel_venue_gateway.core.book import AccountBook
from kestrel_venue_gateway.core.submission import (
    Ask,
    Audit,
    Cancel,
    Commission,
    Effect,
    RaiseAlert,
    ReadKillFlags,
    ReadSpend,
    ReadVenueState,
    Recall,
    Record,
    Send,
    SendBracket,
    Spend,
    Together,
    Wait,
)
from kestrel_venue_gateway.shell.ledger import Ledger
from kestrel_venue_gateway.shell.pacing import Pauses
from kestrel_venue_gateway.shell.venue import Venue


@dataclass(slots=True)
class Figures:
    """What a gateway did for one account since it began."""

    orders_sent: int = 0
    orders_refused: int = 0
    orders_in_doubt: int = 0


class Submissions:
    """The commands of one account that are being carried out."""

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        venue: Venue,
        pauses: Pauses,
        may_send: Callable[[], bool],
        figures: Figures,
        book: AccountBook,
    ) -> None:
        """``may_send`` is asked immediately before anything goes to the venue: is the login still ours?"""
        self._gate = gate
        self._ledger = ledger
        self._venue = venue
        self._pauses = pauses
        self._may_send = may_send
        self._book = book
        self._lanes: dict[str, asyncio.Event] = {}
        self.figures = figures

    def begin(self, commission: Commission, group: asyncio.TaskGroup) -> None:
        """Start carrying out a command, behind the earlier ones of its trade."""
        trade_id = commission.command.trade_id
        ahead, released = self._lanes.get(trade_id), asyncio.Event()
        self._lanes[trade_id] = released
        task = group.create_task(self._carry_out(commission, ahead, released), name=commission.identity)
        task.add_done_callback(lambda _: self._leave_lane(trade_id, released))

    async def settle(self, timeout_s: float) -> None:
        """Wait, within a bound, until nothing that can be finished now is under way."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(released.wait() for released in self._lanes.values()))
        except TimeoutError:
            telemetry.logger().info("submissions.left", account=self._gate.account, count=len(self._lanes))

    async def _carry_out(self, commission: Commission, ahead: asyncio.Event | None, released: asyncio.Event) -> None:
        if ahead is not None:
            await ahead.wait()
        command = commission.command
        kind = journal_pb2.CommandKind.Name(command.kind).removeprefix("COMMAND_KIND_").lower()
        attributes: dict[str, Any] = {
            "trading.order.client_id": command.client_order_id,
            "trading.order.command": kind,
            "trading.account.id": command.account,
            "trading.venue.id": command.venue,
            "trading.journal.command": commission.identity,
        }
        with telemetry.span("order.submit", traceparent=commission.traceparent, **attributes) as span:
            await self._drive(commission, span.traceparent, released)

    async def _drive(self, commission: Commission, traceparent: str, released: asyncio.Event) -> None:
        steps, result = submission.procedure(self._gate, commission), None
        doubtful = False
        try:
            while True:
                effect = steps.send(result)
                if isinstance(effect, Wait):
                    released.set()
                    self._count_doubt(0 if doubtful else 1)
                    doubtful = True
                result = await self._perform(effect, commission, traceparent)
        except StopIteration:
            pass
        finally:
            self._count_doubt(-1 if doubtful else 0)

    async def _perform(self, effect: Effect, commission: Commission, traceparent: str) -> Any:
        match effect:
            case ReadKillFlags():
                return await self._ledger.read_flags()
            case ReadVenueState():
                return self._venue.state
            case Recall(client_order_id):
                return self._book.known.order(client_order_id)
            case Spend(key, identity):
                return await self._ledger.spend(key, identity)
            case ReadSpend(key, identity):
                return await self._ledger.read_spend(key, identity)
            case Record(report):
                self._note(report)
                await self._ledger.record(report, traceparent)
            case Audit(bead):
                await self._ledger.audit(bead, traceparent)
            case RaiseAlert(alert):
                await self._ledger.alert(alert, traceparent)
            case Send(command):
                self._check_login()
                return await self._send(command)
            case SendBracket(commands):
                self._check_login()
                return await self._send_bracket(commands)
            case Cancel(command):
                self._check_login()
                return await self._venue.cancel(command)
            case Ask(client_order_id, fence):
                self._check_login()
                return await self._venue.ask(client_order_id, fence=fence)
            case Together(several):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._perform(each, commission, traceparent)) for each in several]
                return tuple(task.result() for task in tasks)
            case Wait(round_count):
                await asyncio.sleep(self._pauses.length_s(round_count))
                return self._book.is_settled(commission.identity)
        return None

    async def _send(self, command: journal_pb2.VenueCommand) -> submission.SendResult:
        answer = await self._venue.send(command)
        self._note_sent(command, answer)
        return answer

    async def _send_bracket(self, commands: Sequence[journal_pb2.VenueCommand]) -> tuple[submission.SendResult, ...]:
        answers = await self._venue.send_bracket(commands)
        for command, answer in zip(commands, answers, strict=True):
            self._note_sent(command, answer)
        return tuple(answers)

    def _note_sent(self, command: journal_pb2.VenueCommand, answer: submission.SendResult) -> None:
        self.figures.orders_sent += 1
        telemetry.count("orders.sent", 1)
        telemetry.logger().info(
            "order.sent",
            client_order_id=command.client_order_id,
            trade_id=command.trade_id,
            symbol=command.instrument.symbol,
            outcome=answer.outcome.value,
        )

    def _note(self, report: venue_pb2.VenueReport) -> None:
        if report.order.fact == venue_pb2.ORDER_FACT_DENIED:
            self.figures.orders_refused += 1
            telemetry.count("orders.refused", 1)
            telemetry.logger().info(
                "order.denied", client_order_id=report.order.client_order_id, reason=report.order.reason.reason
            )

    def _count_doubt(self, by: int) -> None:
        self.figures.orders_in_doubt += by
        telemetry.gauge(f"orders.in_doubt.{self._gate.account}", self.figures.orders_in_doubt)

    def _check_login(self) -> None:
        if not self._may_send():
            raise Unavailable("the lease of this login is lost: somebody else may be sending", reason="LEASE_LOST")

    def _leave_lane(self, trade_id: str, released: asyncio.Event) -> None:
        released.set()
        if self._lanes.get(trade_id) is released:
            del self._lanes[trade_id]
