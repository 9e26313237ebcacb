"""One login at one venue: the lease, the account's book, and the tasks that move commands out and facts in.

    acquire lease, folding the journal meanwhile -> fold the rest -> find where the venue's stream was left
        -> take up unsettled commands -> [ follow journal | follow venue events | publish truth ]
        until the lease is lost or the service stops

Whatever breaks, the session begins again from the lease: its whole state follows from the journal. Who stands by keeps
its fold at the journal's end, so that it takes over at once, however long the journal is.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.lease import Lease
from kestrel_chassis.messages import StoredMessage
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError, RemoteProtocolError, Unavailable
from kestrel_domain.identifiers import derived_id, partition_of
from kestrel_domain.timestamps import SECOND_NS
from kestrel_domain.tokens import VerifyingKey
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.admission import Gate
from kestrel_venue_gateway.core.book import AccountBook
from kestrel_venue_gateway.core.reports import Alarm, Attribution, VenueEvent
from kestrel_venue_gateway.core.submission import Commission
from kestrel_venue_gateway.core.truth import broker_truth, failed_truth
from kestrel_venue_gateway.shell import journal
from kestrel_venue_gateway.shell.ledger import Ledger
from kestrel_venue_gateway.shell.pacing import Pauses, aclosing, in_batches
from kestrel_venue_gateway.shell.submissions import Figures, Submissions
from kestrel_venue_gateway.shell.venue import Venue

_EVENT_BATCH = 256
_CATCH_UP_TIMEOUT_S = 3.0
_SETTLE_TIMEOUT_S = 3.0
_STEADY_S = 60.0
_STANDBY_AFTER_S = 2.0
_READ_AHEAD_EVERY_S = 1.0


class ParkingLane(Protocol):
    """The chassis' lane for messages that cannot be used."""

    async def park(self, message: StoredMessage, error: KestrelError) -> None: ...


class AccountSession:
    """Runs one login, for ever."""

    def __init__(
        self,
        settings: VenueGatewaySettings,
        bus: Bus,
        venue: Venue,
        key: VerifyingKey,
        parking: ParkingLane,
        account: str,
    ) -> None:
        self.account = account
        self.venue = venue
        self.connected = False
        self.connected_at_ns = 0
        self.active = False
        self.standing_by = False
        self.figures = Figures()
        self.on_change: Callable[[], None] = lambda: None
        self._settings = settings
        self._bus = bus
        self._parking = parking
        self._partition = partition_of(account, settings.partitions)
        self._stream = subjects.journal_stream(self._partition)
        self._lease: Lease | None = None
        self._gate = Gate(
            account=account,
            venue=venue.name,
            environment=settings.environment_value,
            key=key,
            anchor_age_ns_max=int(settings.anchor_age_s_max * SECOND_NS),
            clock_skew_ns_max=int(settings.clock_skew_s_max * SECOND_NS),
            traits=venue.traits,
        )
        self._ledger = Ledger(bus, account, venue.name, self._partition, settings.flags_timeout_s)
        self._book = self._new_book()
        self._submissions = self._new_submissions()
        self._truth_requests: list[str] = []
        self._truth_wanted = asyncio.Event()
        self._quiet_at_s: float | None = None
        self._stopping = False

    # --- for the admin service and the market feed -------------------------------------------------------------

    @property
    def report_count(self) -> int:
        return self._ledger.report_count

    async def mark(self, bars: Sequence[venue_pb2.Bar]) -> None:
        """Value open positions at new prices. Only the session that holds the login speaks for the account."""
        if not self.active:
            return
        open_symbols = self._book.open_symbols
        for bar in bars:
            if bar.instrument.symbol in open_symbols:
                await self._ledger.record(reports.mark_report(self.account, bar))

    def ask_for_truth(self, request_id: str) -> None:
        """Publish truth now, as the answer to a request. Who stands by leaves it to the one who holds the login."""
        if self.active:
            self._truth_requests.append(request_id)
            self._truth_wanted.set()

    # --- the life of a session ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold the login and serve it; after any failure, from the start again with growing pauses."""
        pauses = self._pauses()
        while not self._stopping:
            begun_at_s = time.monotonic()
            lease = Lease(self._bus, f"gateway-{self.venue.name}-{self.account}", self._settings.instance)
            self._lease = lease
            try:
                await self._acquire(lease)
                await self._serve(lease)
            except (KestrelError, TimeoutError, OSError, BaseExceptionGroup) as error:
                self._report_break(error)
            finally:
                self._set_active(False)
                self._note_connected(False)
                await lease.release()
            if time.monotonic() - begun_at_s > _STEADY_S:
                pauses.reset()
            await pauses.wait()

    async def _acquire(self, lease: Lease) -> None:
        """Wait for the login. Who waits longer than a moment stands by for somebody else, and that is ready too."""
        self._book = self._new_book()
        acquiring = asyncio.create_task(lease.acquire())
        reading = asyncio.create_task(self._read_ahead())
        try:
            await asyncio.wait({acquiring}, timeout=_STANDBY_AFTER_S)
            self._set_standing_by(not acquiring.done())
            await acquiring
        finally:
            acquiring.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._set_standing_by(False)

    async def _read_ahead(self) -> None:
        """Fold what others wrote, until canceled. At what makes no sense it gives up: that has to be parked, which is
        for who holds the login, who then reads from the beginning.
        """
        while True:
            try:
                async with aclosing(self._unread()) as messages:
                    async for message in messages:
                        self._fold(message)
            except (DecodeError, InvalidRequest):
                telemetry.count("sessions.reading_ahead_given_up")
                self._book = self._new_book()
                return
            except KestrelError as error:
                telemetry.logger().warning("session.reads_not_ahead", account=self.account, error=str(error))
            await asyncio.sleep(_READ_AHEAD_EVERY_S)

    async def stop(self) -> None:
        """Let what is under way finish, within a bound; what is left is taken up by the next session."""
        self._stopping = True
        await self._submissions.settle(_SETTLE_TIMEOUT_S)

    async def _serve(self, lease: Lease) -> None:
        await self._fold_history()
        self._submissions = self._new_submissions()
        telemetry.logger().info(
            "session.opened",
            account=self.account,
            venue=self.venue.name,
            journal_sequence=self._book.journal_sequence,
            venue_watermark=self._ledger.watermark,
            unsettled_count=len(self._book.unsettled),
        )
        self._set_active(True)
        async with asyncio.TaskGroup() as group:
            for commission in self._book.unsettled:
                self._submissions.begin(commission, group)
            group.create_task(self._follow_journal(group))
            group.create_task(self._follow_events())
            group.create_task(self._publish_truths())
            group.create_task(self._watch_fees())
            group.create_task(_watch(lease))

    async def _fold_history(self) -> None:
        """Book and cursor, from what is stored: the journal, and what INBOX holds that the kernel has not read yet."""
        async with aclosing(self._unread()) as messages:
            async for message in messages:
                await self._learn(message)
        await self._learn_inbox()
        newest = await self._bus.last_message(subjects.INBOX, self._ledger.inbox_subject)
        stored = 0
        if newest is not None:
            stored = inbox_pb2.InboxMessage.FromString(newest.data).venue.venue_watermark
        self._ledger.watermark = max(self._book.venue_watermark, stored)
        self._ledger.on_stored = self._book.known.learn_ahead

    async def _learn_inbox(self) -> None:
        """Reports that are stored and not journaled yet: where the venue does not number, a report is all we have."""
        start = self._book.inbox_sequence + 1
        async for message in self._bus.read(subjects.INBOX, start_sequence=start, subject=self._ledger.inbox_subject):
            try:
                self._book.known.learn_ahead(inbox_pb2.InboxMessage.FromString(message.data).venue)
            except DecodeError:
                telemetry.count("reports.unreadable")

    def _unread(self) -> AsyncGenerator[StoredMessage, None]:
        return journal.read_to_end(self._bus, self._stream, self._book.journal_sequence)

    # --- commands out ------------------------------------------------------------------------------------------

    async def _follow_journal(self, group: asyncio.TaskGroup) -> None:
        async with aclosing(journal.follow(self._bus, self._stream, self._book.journal_sequence)) as messages:
            async for message in messages:
                for commission in await self._learn(message):
                    self._submissions.begin(commission, group)

    async def _learn(self, message: StoredMessage) -> list[Commission]:
        """Fold one journal message. One that makes no sense is parked, and those behind it do not wait."""
        try:
            return self._fold(message)
        except (DecodeError, InvalidRequest) as error:
            self._book.pass_over(message.sequence)
            unreadable = error if isinstance(error, KestrelError) else InvalidRequest.of("entry", error, "JournalEntry")
            await self._parking.park(message, unreadable)
            return []

    def _fold(self, message: StoredMessage) -> list[Commission]:
        """Raises ``DecodeError`` or ``InvalidRequest`` if it makes no sense."""
        if message.subject != subjects.journal(self._partition, self.account):
            self._book.pass_over(message.sequence)
            return []
        entry = journal_pb2.JournalEntry.FromString(message.data)
        entry.traceparent = entry.traceparent or message.traceparent
        return self._book.apply(message.sequence, entry)

    # --- facts in ----------------------------------------------------------------------------------------------

    async def _follow_events(self) -> None:
        """The venue's event stream, from where it was left, through every break of the connection."""
        pauses = self._pauses()
        while True:
            # Whether the venue is there is told by its answer; a stream of events may be silent for hours.
            self._want_truth_in(0)
            try:
                async with aclosing(
                    in_batches(self.venue.events(self._ledger.watermark, self._book.known), _EVENT_BATCH)
                ) as batches:
                    async for batch in batches:
                        self._note_connected(True)
                        pauses.reset()
                        await self._store_events(batch)
            except Unavailable as error:
                telemetry.logger().warning("venue.disconnected", account=self.account, error=str(error))
            except RemoteProtocolError as error:
                telemetry.logger().error("venue.broke_protocol", account=self.account, error=str(error))
                await self._ledger.alert(self._protocol_alert(error))
            self._note_connected(False)
            telemetry.count("venue.reconnects")
            await pauses.wait()

    async def _store_events(self, events: list[VenueEvent]) -> None:
        received_at_ns = time.time_ns()
        for_kernel: list[tuple[venue_pb2.VenueReport, str]] = []
        known = None if self.venue.traits.numbers_events else self._book.known
        for event in events:
            heard = reports.hear(
                event,
                account=self.account,
                venue=self.venue.name,
                our_symbols=self._book.symbols_ordered,
                known=known,
            )
            if heard.attribution is not Attribution.OURS:
                telemetry.count(f"events.{heard.attribution.value}")
            if heard.dropped:
                telemetry.count(f"events.dropped.{heard.dropped}")
            if heard.malformed is not None and not isinstance(event.fact, Alarm):
                event_id = event.key or f"event-{event.sequence}"
                await self._ledger.park(event.fact.SerializeToString(), event_id, heard.malformed)
            if heard.report is not None:
                heard.report.received_at_ns = received_at_ns
                # Before it is stored, as the next event may be about it; if it cannot be, the session begins anew.
                self._book.known.learn_ahead(heard.report)
                for_kernel.append((heard.report, self._trace(heard.report)))
            if heard.alert is not None:
                await self._ledger.alert_once(heard.alert)
        await self._ledger.record_events(for_kernel, events[-1].sequence)
        self._want_truth_in(self._settings.truth_quiet_s)

    def _trace(self, report: venue_pb2.VenueReport) -> str:
        """The order's trace goes on with what the venue says about it."""
        traceparent = self._book.traceparent(reports.client_order_id_of(report))
        if not traceparent:
            return ""
        attributes: dict[str, Any] = {
            "trading.account.id": self.account,
            "trading.venue.id": self.venue.name,
            "trading.order.client_id": reports.client_order_id_of(report),
            "trading.report.id": report.report_id,
            "trading.report.kind": report.WhichOneof("body") or "",
        }
        with telemetry.span("venue.report", traceparent=traceparent, **attributes) as span:
            return span.traceparent

    async def _watch_fees(self) -> None:
        """Tell once of each execution whose fee the venue does not state in time."""
        wait_s = self._settings.fee_wait_s
        while True:
            await asyncio.sleep(wait_s / 4)
            overdue = reports.fees_overdue(self._book.known, now_ns=time.time_ns(), wait_ns=int(wait_s * SECOND_NS))
            for execution in overdue:
                alert = reports.fee_alert(execution, account=self.account, venue=self.venue.name)
                await self._ledger.alert_once(alert)

    # --- truth -------------------------------------------------------------------------------------------------

    async def _publish_truths(self) -> None:
        """On request, when the venue has gone quiet after events, and every so often."""
        loop = asyncio.get_running_loop()
        periodic_at_s = loop.time()
        while True:
            due_at_s = periodic_at_s if self._quiet_at_s is None else min(periodic_at_s, self._quiet_at_s)
            if not self._truth_requests and due_at_s > loop.time():
                try:
                    async with asyncio.timeout_at(due_at_s):
                        await self._truth_wanted.wait()
                except TimeoutError:
                    pass
                self._truth_wanted.clear()
                continue
            requests, self._truth_requests = self._truth_requests or [""], []
            self._quiet_at_s = None
            periodic_at_s = loop.time() + self._settings.truth_interval_s
            for request_id in requests:
                await self._publish_truth(request_id)

    def _want_truth_in(self, delay_s: float) -> None:
        self._quiet_at_s = asyncio.get_running_loop().time() + delay_s
        self._truth_wanted.set()

    async def _publish_truth(self, request_id: str) -> None:
        truth = await self._ask_truth(request_id)
        message_id = derived_id("truth", truth.venue, truth.account, truth.as_of_ns, request_id)
        effect = effects.publish(subjects.truth(truth.venue, truth.account), truth, message_id)
        try:
            await self._bus.publish(effect)
        except KestrelError as error:
            # A truth that could not be stored is old by now; the next one will be newer.
            telemetry.count("truths.lost")
            telemetry.logger().warning("truth.lost", account=self.account, error=str(error))
            return
        telemetry.count("truths.published")

    async def _ask_truth(self, request_id: str) -> venue_pb2.BrokerTruth:
        try:
            portfolio = await self.venue.portfolio()
        except (Unavailable, RemoteProtocolError) as error:
            return failed_truth(
                self.venue.name,
                self.account,
                error.refusal(),
                now_ns=time.time_ns(),
                stored_sequence=self._ledger.watermark,
                request_id=request_id,
            )
        self._note_connected(True)
        await self._catch_up(portfolio.event_sequence)
        return broker_truth(
            self.venue.name,
            self.account,
            portfolio,
            stored_sequence=self._ledger.watermark,
            request_id=request_id,
            degraded=self.venue.state.no_entry,
        )

    async def _catch_up(self, event_sequence: int) -> None:
        """Wait, within a bound, until the facts inside a portfolio are all in INBOX."""
        try:
            async with asyncio.timeout(_CATCH_UP_TIMEOUT_S):
                while self._ledger.watermark < event_sequence:
                    await self._ledger.watermark_moved.wait()
        except TimeoutError:
            telemetry.count("truths.ahead_of_reports")

    # --- small things ------------------------------------------------------------------------------------------

    def _new_book(self) -> AccountBook:
        return AccountBook(self.account, self.venue.name, self._partition)

    def _new_submissions(self) -> Submissions:
        gate = replace(self._gate, run=uuid.uuid4().hex)
        return Submissions(gate, self._ledger, self.venue, self._pauses(), self._holds_login, self.figures, self._book)

    def _holds_login(self) -> bool:
        return self._lease is not None and self._lease.held

    def _report_break(self, error: BaseException) -> None:
        """Say why the session broke. What is not one of the expected errors is not survived here."""
        leaves = _leaves(error)
        for leaf in leaves:
            if isinstance(leaf, InvariantBroken) or not isinstance(leaf, KestrelError | TimeoutError | OSError):
                raise leaf
        reasons = sorted({getattr(leaf, "reason", type(leaf).__name__) for leaf in leaves})
        telemetry.count("sessions.broken")
        telemetry.logger().error("session.broken", account=self.account, venue=self.venue.name, reasons=reasons)

    def _set_standing_by(self, standing_by: bool) -> None:
        self.standing_by = standing_by
        figure = f"session.standing_by.{self.venue.name}.{self.account}"
        if standing_by:
            telemetry.gauge(figure, 1)
        else:
            telemetry.forget(figure)
        self.on_change()

    def _set_active(self, active: bool) -> None:
        self.active = active
        self.on_change()

    def _pauses(self) -> Pauses:
        return Pauses(self._settings.pause_s_min, self._settings.pause_s_max)

    def _note_connected(self, connected: bool) -> None:
        if connected and not self.connected:
            self.connected_at_ns = time.time_ns()
        self.connected = connected
        self.on_change()
        telemetry.gauge(f"session.connected.{self.venue.name}.{self.account}", int(connected))

    def _protocol_alert(self, error: RemoteProtocolError) -> audit_pb2.Alert:
        return audit_pb2.Alert(
            alert_id=derived_id("alert", error.reason, self.venue.name, self.account, self._ledger.watermark),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=reports.SERVICE,
            reason="VENUE_PROTOCOL",
            account=self.account,
            message=f"{self.venue.name} contradicts itself or us: {error}",
            subject_id=self.venue.name,
            details=[error.refusal()],
        )


async def _watch(lease: Lease) -> None:
    await lease.lost.wait()
    raise Unavailable("the lease of this login is lost", reason="LEASE_LOST")


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors inside a group, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
