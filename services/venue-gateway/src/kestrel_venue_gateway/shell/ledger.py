"""Everything one session writes to NATS or reads from it for a decision: reports, beads, alerts, marks, kill flags."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import KeyExists
from kestrel_domain import effects, subjects
from kestrel_domain.errors import KestrelError
from kestrel_domain.identifiers import derived_id
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.admission import FlagsRead
from kestrel_venue_gateway.core.submission import SpendResult, whose_mark


@dataclass(slots=True)
class Ledger:
    """One account's side of the bus. ``watermark``: the venue's events up to here are in INBOX, or are not ours."""

    bus: Bus
    account: str
    venue: str
    partition: int
    flags_timeout_s: float
    watermark: int = 0
    report_count: int = 0
    alerts_raised: set[str] | None = None
    watermark_moved: asyncio.Event = field(default_factory=asyncio.Event)
    # Told of each report once it is stored.
    on_stored: Callable[[venue_pb2.VenueReport], None] = lambda report: None

    @property
    def inbox_subject(self) -> str:
        return subjects.inbox(self.partition, self.account, "venue")

    async def record(self, report: venue_pb2.VenueReport, traceparent: str = "") -> None:
        """Store one report; comes back when it is durable, however long that takes."""
        await self.bus.publish_until_stored(self._effect(report, traceparent, self.watermark))
        self._note_stored([report])

    async def record_events(self, heard: list[tuple[venue_pb2.VenueReport, str]], sequence: int) -> None:
        """Store reports of venue events, then say in the last of them that everything up to ``sequence`` is stored."""
        if heard:
            *others, (last, traceparent) = heard
            if others:
                publishes = [self._effect(report, trace, self.watermark) for report, trace in others]
                await self.bus.publish_all_until_stored(publishes)
            await self.bus.publish_until_stored(self._effect(last, traceparent, sequence))
            self._note_stored([report for report, _ in heard])
        self.watermark = max(self.watermark, sequence)
        moved, self.watermark_moved = self.watermark_moved, asyncio.Event()
        moved.set()

    async def audit(self, bead: audit_pb2.Bead, traceparent: str = "") -> None:
        bead.created_at_ns = bead.created_at_ns or time.time_ns()
        await self.bus.publish_until_stored(effects.bead(bead, traceparent=traceparent))

    async def alert(self, alert: audit_pb2.Alert, traceparent: str = "") -> None:
        alert.raised_at_ns = alert.raised_at_ns or time.time_ns()
        telemetry.count("alerts.raised", 1)
        await self.bus.publish_until_stored(effects.alert(alert, traceparent=traceparent))

    async def alert_once(self, alert: audit_pb2.Alert) -> None:
        """Store an alert about something that may be found again and again, unless it was raised before, by anybody.

        What was raised is read when the first is to be raised: most sessions raise none.
        """
        if self.alerts_raised is None:
            self.alerts_raised = await self._read_alerts()
        if alert.alert_id in self.alerts_raised:
            return
        await self.alert(alert)
        self.alerts_raised.add(alert.alert_id)

    async def _read_alerts(self) -> set[str]:
        """The ids of this service's alerts that the stream has. Unreadable: none, as twice is better than never."""
        raised: set[str] = set()
        try:
            async for message in self.bus.read(subjects.ALERTS, subject=f"alert.*.{reports.SERVICE}"):
                raised.add(audit_pb2.Alert.FromString(message.data).alert_id)
        except (KestrelError, DecodeError) as error:
            telemetry.logger().warning("alerts.unreadable", account=self.account, error=str(error))
        return raised

    async def park(self, body: bytes, subject_id: str, reason: common_pb2.Refusal) -> None:
        """Keep what the venue said and nobody can use, and say so."""
        parked_id = derived_id("parked", self.venue, self.account, subject_id)
        message = audit_pb2.ParkedMessage(
            parked_id=parked_id,
            service=reports.SERVICE,
            subject=f"{self.venue}.{self.account}.{subject_id}",
            body=body,
            reason=reason,
            parked_at_ns=time.time_ns(),
        )
        telemetry.count("messages.parked", 1)
        await self.bus.publish_until_stored(effects.publish(subjects.parked(reports.SERVICE), message, parked_id))
        await self.alert(
            audit_pb2.Alert(
                alert_id=derived_id("alert", "VENUE_EVENT_PARKED", parked_id),
                severity=common_pb2.SEVERITY_CRITICAL,
                service=reports.SERVICE,
                reason="VENUE_EVENT_PARKED",
                account=self.account,
                message=f"{self.venue} said something that cannot be booked: {reason.message}",
                subject_id=parked_id,
                details=[reason],
            )
        )

    # --- reads for decisions -----------------------------------------------------------------------------------

    async def read_flags(self) -> FlagsRead:
        """The kill flags, from their leader, now. Any trouble is "not reachable", and that blocks entries."""
        try:
            async with asyncio.timeout(self.flags_timeout_s):
                found = await self.bus.bucket(subjects.FLAGS_BUCKET).get(subjects.KILL_FLAGS_KEY)
        except (KestrelError, TimeoutError) as error:
            telemetry.logger().warning("flags.unreadable", account=self.account, error=str(error))
            return FlagsRead(False, b"", time.time_ns())
        return FlagsRead(True, found[0] if found is not None else b"", time.time_ns())

    async def spend(self, key: str, identity: str) -> SpendResult:
        """Create the mark; one winner on any number of gateways."""
        bucket = self.bus.bucket(subjects.SPENT_BUCKET)
        try:
            await bucket.create(key, identity.encode())
        except KeyExists:
            return await self.read_spend(key, identity)
        except (KestrelError, TimeoutError) as error:
            telemetry.logger().warning("spend.unknown", account=self.account, key=key, error=str(error))
            return SpendResult.UNKNOWN
        return SpendResult.WON

    async def read_spend(self, key: str, identity: str) -> SpendResult:
        """Whose mark it is; WON when there is none."""
        try:
            found = await self.bus.bucket(subjects.SPENT_BUCKET).get(key)
        except (KestrelError, TimeoutError) as error:
            telemetry.logger().warning("spend.unreadable", account=self.account, key=key, error=str(error))
            return SpendResult.UNKNOWN
        if found is None:
            return SpendResult.WON
        return whose_mark(found[0].decode(errors="replace"), identity)

    # --- how ---------------------------------------------------------------------------------------------------

    def _effect(self, report: venue_pb2.VenueReport, traceparent: str, watermark: int) -> effects.Publish:
        report.received_at_ns = report.received_at_ns or time.time_ns()
        report.venue_watermark = watermark
        message = inbox_pb2.InboxMessage(venue=report)
        return effects.publish(self.inbox_subject, message, report.report_id, traceparent=traceparent)

    def _note_stored(self, stored: Sequence[venue_pb2.VenueReport]) -> None:
        self.report_count += len(stored)
        telemetry.count("reports.published", len(stored))
        for report in stored:
            self.on_stored(report)
