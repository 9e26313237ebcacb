"""The active instance: folds the streams, follows them, and lets the core's clock tick when it is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StoredMessage
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, KestrelError, Unavailable
from kestrel_domain.identifiers import checked_id, partition_of
from kestrel_reconciler.core.reconciliation import Reconciliation, Rules, Truth, break_order
from kestrel_reconciler.shell.follow import Follow
from kestrel_reconciler.shell.outlet import Outlet

NEVER_REACHED = 2**62
"""An inbox sequence that no journal reaches: what the inbox held is not known, so nothing counts as quiet."""
IDLE_SECONDS_MAX = 30.0


class Watch:
    """All accounts, while this instance holds the lease. Ends with the lease; a new one is made for the next."""

    def __init__(
        self, bus: Bus, parking: ParkingLane, rules: Rules, partitions: int, clock_ns: Callable[[], int]
    ) -> None:
        self.accounts: dict[str, Reconciliation] = {}
        self._bus = bus
        self._parking = parking
        self._rules = rules
        self._partitions = partitions
        self._clock_ns = clock_ns
        self._outlet = Outlet(bus)
        self._wake = asyncio.Event()
        self._waiting: dict[str, list[asyncio.Future[reconcile_pb2.Run]]] = {}
        self._follows = [
            Follow(bus, subjects.journal_stream(partition), self._take_entry) for partition in range(partitions)
        ]
        self._follows.append(Follow(bus, subjects.TRUTH, self._take_truth))

    # --- life -----------------------------------------------------------------------------------------------------

    async def fold(self) -> None:
        """The past: our own beads, the alerts that were raised, every journal, the last truths."""
        with telemetry.replaying():
            await self._fold_beads()
            for follow in self._follows:
                await follow.fold()
        raised = await self._alerts_raised()
        for account in self.accounts.values():
            await self._outlet.perform(account.missing_alerts(raised))

    async def run(self) -> None:
        """The present, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for follow in self._follows:
                    group.create_task(follow.run(), name=f"follow {follow.stream}")
                group.create_task(self._tick(), name="tick")
        finally:
            telemetry.forget("breaks.open")
            for follow in self._follows:
                with contextlib.suppress(KestrelError):
                    await follow.stop()

    async def _tick(self) -> None:
        while True:
            self._wake.clear()
            for account in list(self.accounts.values()):
                await self._tick_account(account)
            telemetry.gauge("breaks.open", sum(len(one.open_breaks) for one in self.accounts.values()))
            next_ns = min((one.next_deadline_ns() for one in self.accounts.values()), default=0)
            seconds = (next_ns - self._clock_ns()) / 1e9 if next_ns else IDLE_SECONDS_MAX
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    min(max(seconds, 0.01), IDLE_SECONDS_MAX)
                ):  # wait_for may lose a cancellation
                    await self._wake.wait()

    async def _tick_account(self, account: Reconciliation) -> None:
        before = account.runs[-1].run_id if account.runs else ""
        traceparent = account.traceparent
        effects = account.tick(self._clock_ns())
        run = account.runs[-1] if account.runs and account.runs[-1].run_id != before else None
        if run is None:
            await self._outlet.perform(effects)
            return
        verdict = reconcile_pb2.RunVerdict.Name(run.verdict).removeprefix("RUN_VERDICT_")
        telemetry.count(f"runs.{verdict.lower()}", 1)
        with telemetry.span("account.reconcile", traceparent) as span:
            span.set("trading.account.id", account.account)
            span.set("trading.run.verdict", verdict)
            await self._outlet.perform(effects)
        telemetry.logger().info(
            "account.reconciled", account=account.account, verdict=verdict, run_id=run.run_id, reasons=list(run.reasons)
        )
        self._answer(account.account, run)

    # --- what the streams bring -----------------------------------------------------------------------------------

    async def _take_entry(self, message: StoredMessage) -> None:
        try:
            entry = journal_pb2.JournalEntry.FromString(message.data)
        except DecodeError as error:
            await self._park(message, error)
            return
        try:
            if entry.account == subjects.NO_ACCOUNT:
                self._take_general_entry(entry)
            else:
                self._account(entry.account).take_entry(message.sequence, entry, self._clock_ns())
        except InvalidRequest as error:  # no account, or a number that is none
            await self._park(message, error)
        self._wake.set()

    def _take_general_entry(self, entry: journal_pb2.JournalEntry) -> None:
        """A new epoch names the partition's accounts; a parked input concerns none, and still was dealt with."""
        for configuration in entry.epoch_started.accounts:
            books = self._account(configuration.account).books
            books.venue = books.venue or configuration.venue
        for name, account in self.accounts.items():
            if partition_of(name, self._partitions) == entry.partition:
                account.books.input_sequence = max(account.books.input_sequence, entry.input_sequence)

    async def _take_truth(self, message: StoredMessage) -> None:
        try:
            truth = _checked_truth(message)
        except (DecodeError, InvalidRequest) as error:
            await self._park(message, error)
            return
        account = self._account(truth.account)
        account.take_truth(Truth(truth, message.sequence, await self._inbox_sequence(truth.account)))
        self._wake.set()

    async def _inbox_sequence(self, account: str) -> int:
        """What the inbox holds of the venue's facts about the account, now that the truth has arrived."""
        subject = subjects.inbox(partition_of(account, self._partitions), account, "venue")
        try:
            last = await self._bus.last_message(subjects.INBOX, subject, timeout=1.0)
        except KestrelError:
            return NEVER_REACHED
        return last.sequence if last else 0

    async def _park(self, message: StoredMessage, error: Exception) -> None:
        """What cannot be read leaves our books behind the truth; the parking lane's alert says so."""
        reason = error if isinstance(error, KestrelError) else InvalidRequest(str(error), reason="UNREADABLE")
        await self._parking.park(message, reason)

    async def _fold_beads(self) -> None:
        for kind in ("drift", "resolution", "run"):
            async for message in self._bus.read(subjects.BEADS, subject=f"bead.{kind}.*"):
                try:
                    bead = audit_pb2.Bead.FromString(message.data)
                except DecodeError as error:
                    await self._park(message, error)
                    continue
                self._fold_bead(bead)

    def _fold_bead(self, bead: audit_pb2.Bead) -> None:
        account = self._account(bead.account)
        if bead.WhichOneof("body") == "drift":
            account.take_drift(bead.drift)
        elif bead.WhichOneof("body") == "resolution":
            account.take_resolution(bead.resolution)
        elif bead.WhichOneof("body") == "run":
            account.take_run(bead.run)

    async def _alerts_raised(self) -> set[str]:
        raised = set()
        subject = f"alert.*.{self._rules.service}"
        async for message in self._bus.read(subjects.ALERTS, subject=subject):
            with contextlib.suppress(DecodeError):
                raised.add(audit_pb2.Alert.FromString(message.data).alert_id)
        return raised

    def _account(self, name: str) -> Reconciliation:
        if name not in self.accounts:
            checked_id("account", name)
            self.accounts[name] = Reconciliation(name, self._rules)
        return self.accounts[name]

    # --- what people ask ------------------------------------------------------------------------------------------

    def breaks(self, account: str, *, everything: bool) -> list[reconcile_pb2.Break]:
        """Of one account or all. Raises InvalidRequest for one that nobody here has heard of: that is not "none"."""
        found = [one for state in self._asked(account) for one in state.breaks(everything=everything)]
        return sorted(found, key=break_order)

    def runs(self, account: str, limit: int) -> list[reconcile_pb2.Run]:
        """Newest first, as with ``breaks``."""
        found = [run for state in self._asked(account) for run in state.runs]
        return sorted(found, key=lambda run: (-run.started_at_ns, run.run_id))[:limit]

    async def run_now(self, account: str) -> reconcile_pb2.Run:
        """Ask the broker and compare; waits as long as the limits on runs and the gateway's answer need, bounded."""
        state = self._named(account)
        waiting: asyncio.Future[reconcile_pb2.Run] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(state.account, []).append(waiting)
        state.want_run(self._clock_ns())
        self._wake.set()
        patience = (self._rules.patience_ns + 2 * state.schedule.spacing_ns) / 1e9 + 2.0
        try:
            async with asyncio.timeout(patience):
                return await waiting
        except TimeoutError:
            raise Unavailable(f"no run took place within {patience:.0f} s", reason="RUN_TIMED_OUT") from None

    async def resolve(
        self, break_id: str, kind: reconcile_pb2.ResolutionKind.ValueType, notes: str, actor: common_pb2.Actor
    ) -> reconcile_pb2.Break:
        """Record how a person ended a break; answered when the bead is stored."""
        for state in self.accounts.values():
            if any(one.break_id == break_id for one in state.breaks(everything=True)):
                resolved, effects = state.resolve(break_id, kind, notes, actor, self._clock_ns())
                await self._outlet.perform(effects)
                self._wake.set()
                return resolved
        raise InvalidRequest.of(
            "break_id", break_id, "must name a break; see `kestrel recon breaks`", reason="NOT_FOUND"
        )

    def _asked(self, account: str) -> list[Reconciliation]:
        return [self._named(account)] if account else list(self.accounts.values())

    def _named(self, account: str) -> Reconciliation:
        if not account and len(self.accounts) == 1:
            return next(iter(self.accounts.values()))
        if account not in self.accounts:
            known = ", ".join(sorted(self.accounts)) or "none yet"
            raise InvalidRequest.of("account", account, f"one of: {known}", reason="NOT_FOUND")
        return self.accounts[account]

    def _answer(self, account: str, run: reconcile_pb2.Run) -> None:
        if run.trigger == reconcile_pb2.RUN_TRIGGER_ON_DEMAND:
            for waiting in self._waiting.pop(account, []):
                if not waiting.done():
                    waiting.set_result(run)


def _checked_truth(message: StoredMessage) -> venue_pb2.BrokerTruth:
    truth = venue_pb2.BrokerTruth.FromString(message.data)
    if not truth.venue or not truth.account or message.subject != subjects.truth(truth.venue, truth.account):
        raise InvalidRequest.of("subject", message.subject, "must name the venue and account of the truth in it")
    if truth.completeness == venue_pb2.COMPLETENESS_UNSPECIFIED:
        raise InvalidRequest.of("completeness", truth.completeness, "SNAPSHOT, PARTIAL or FAILED")
    return truth
