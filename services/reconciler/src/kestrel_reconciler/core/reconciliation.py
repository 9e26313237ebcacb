"""One account's reconciliation: suspicion, break, escalation, resolution.

    a difference is seen --> SUSPECTED --still there on a later truth--> BREAK (bead, alert) --a person--> resolved
                                 `--gone, or changed--> forgotten          `--15 min--> escalated (alert)

A message under way looks like a difference, so one sighting proves nothing. A second, on a truth taken
``confirm_after`` later, does, if the difference is the same and nothing was under way: the journal had reached all
that the inbox held when the truth arrived, and nothing about the symbol had changed since the truth was taken. On a
busy account that may never hold, so a difference seen in every truth for ``confirm_at_last`` is a break whatever its
figures.

It reads, and says what it sees. Its effects are beads, alerts and questions: it has none with which to correct a book
(INV-RECONCILE-READONLY-1). A break that goes away by itself stays open until a person says how it ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import derived_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_reconciler.core.books import Books
from kestrel_reconciler.core.comparison import Comparison, Finding, Key, Tolerances, compare
from kestrel_reconciler.core.schedule import Schedule

STALE_BROKER_TRUTH = "STALE_BROKER_TRUTH"
NO_BROKER_TRUTH = "NO_BROKER_TRUTH"
BROKER_TRUTH_FAILED = "BROKER_TRUTH_FAILED"
BROKER_TRUTH_PARTIAL = "BROKER_TRUTH_PARTIAL"
RUNS_KEPT = 200
NOTES_LENGTH_MAX = 2_000


@dataclass(frozen=True, slots=True)
class AskTruth:
    """Ask the gateway to publish what the broker says now. The only thing here that is no bead and no alert."""

    venue: str
    account: str
    request_id: str


Effect = effects.Publish | AskTruth


@dataclass(frozen=True, slots=True)
class Rules:
    """The reconciler's settings, as the core uses them."""

    service: str = "reconciler"
    confirm_after_ns: int = 2 * SECOND_NS
    confirm_at_last_ns: int = 20 * SECOND_NS
    stale_after_ns: int = 10 * MINUTE_NS
    escalate_after_ns: int = 15 * MINUTE_NS
    period_ns: int = 5 * MINUTE_NS
    patience_ns: int = 5 * SECOND_NS
    runs_between_beads: int = 20
    tolerances: Tolerances = field(default_factory=lambda: Tolerances(Number(1, 2)))


@dataclass(frozen=True, slots=True)
class Truth:
    """The broker's book as last heard, and what the inbox held when it arrived."""

    body: venue_pb2.BrokerTruth
    sequence: int
    inbox_sequence: int
    """The last inbox message about the account's venue at that time; the truth's facts are all before it."""


@dataclass(slots=True)
class Suspicion:
    """A difference that was seen and is not proven."""

    finding: Finding
    first_as_of_ns: int
    same_since_as_of_ns: int


@dataclass(slots=True)
class Reconciliation:
    """One account's state. Everything but suspicions is folded from streams, and so survives any crash."""

    account: str
    rules: Rules
    books: Books = field(init=False)
    schedule: Schedule = field(init=False)
    truth: Truth | None = None
    suspicions: dict[Key, Suspicion] = field(default_factory=dict)
    open_breaks: dict[Key, reconcile_pb2.Break] = field(default_factory=dict)
    resolved_breaks: dict[str, reconcile_pb2.Break] = field(default_factory=dict)
    acknowledged: dict[Key, tuple[str, str]] = field(default_factory=dict)
    """Differences a person said to live with: reported no more while both sides stay as they were."""
    runs: deque[reconcile_pb2.Run] = field(default_factory=lambda: deque(maxlen=RUNS_KEPT))
    alerted: set[str] = field(default_factory=set)
    traceparent: str = ""
    """Of the order whose fill, reject or cancel asked for the next run: its trace ends with that run (P04)."""
    _runs_since_bead: int = 0
    _blind_since_ns: int = 0
    _told_blind: bool = False

    def __post_init__(self) -> None:
        self.books = Books(self.account)
        self.schedule = Schedule(self.rules.period_ns, self.rules.patience_ns)

    # --- what happens ---------------------------------------------------------------------------------------------

    def take_entry(self, sequence: int, entry: journal_pb2.JournalEntry, now_ns: int) -> None:
        """The journal grew. A fill, reject, cancel or anomaly wants a run."""
        if self.books.take(sequence, entry):
            self.traceparent = entry.traceparent
            self.schedule.want(reconcile_pb2.RUN_TRIGGER_EVENT, now_ns)

    def take_truth(self, truth: Truth) -> None:
        """The broker spoke. An older word than the last is ignored."""
        if self.truth is None or truth.sequence > self.truth.sequence:
            self.truth = truth
            self.schedule.answered()

    def want_run(self, now_ns: int) -> None:
        """A person asked."""
        self.schedule.want(reconcile_pb2.RUN_TRIGGER_ON_DEMAND, now_ns)

    def tick(self, now_ns: int) -> list[Effect]:
        """Time passed: ask, compare, escalate, each when it is due."""
        self.schedule.tick(now_ns)
        out: list[Effect] = []
        trigger = self.schedule.take_run(now_ns)
        if trigger:
            out += self._run(trigger, now_ns)
            self.traceparent = ""
        if self.schedule.take_question(now_ns) and self.venue:
            out.append(AskTruth(self.venue, self.account, derived_id("truth-request", self.account, now_ns)))
        out += self._escalate(now_ns)
        return out

    def next_deadline_ns(self) -> int:
        times = [self.schedule.next_deadline_ns()]
        times += [
            found.opened_at_ns + self.rules.escalate_after_ns
            for found in self.open_breaks.values()
            if not found.escalated_at_ns
        ]
        return min(times)

    def resolve(
        self,
        break_id: str,
        kind: reconcile_pb2.ResolutionKind.ValueType,
        notes: str,
        actor: common_pb2.Actor,
        now_ns: int,
    ) -> tuple[reconcile_pb2.Break, list[Effect]]:
        """A person says how a break ended. The same words again return the first answer; others are refused.

        Raises InvalidRequest for a missing kind, empty notes or an unknown break, Refused for a resolved one.
        """
        if kind not in reconcile_pb2.ResolutionKind.values() or not kind:
            raise InvalidRequest.of("kind", kind, "MACHINE_CORRECTED, BROKER_CORRECTED or ACKNOWLEDGED")
        if not notes.strip() or len(notes) > NOTES_LENGTH_MAX:
            raise InvalidRequest.of(
                "notes", notes, f"1 to {NOTES_LENGTH_MAX} characters: what was found, what was done"
            )
        if actor.kind != "operator" or not actor.id:
            raise Refused("only a person resolves a break", reason="NOT_A_PERSON", field="actor", value=actor.id)
        if break_id in self.resolved_breaks:
            return self._resolved_again(self.resolved_breaks[break_id], kind, notes, actor)
        found = next((one for one in self.open_breaks.values() if one.break_id == break_id), None)
        if found is None:
            raise InvalidRequest.of("break_id", break_id, "must name a break of the account", reason="NOT_FOUND")
        resolved = reconcile_pb2.Break()
        resolved.CopyFrom(found)
        resolved.resolution.kind = kind
        resolved.resolution.notes = notes
        resolved.resolution.resolved_by.CopyFrom(actor)
        resolved.resolution.resolved_at_ns = now_ns
        self.take_resolution(resolved)
        self.schedule.want(reconcile_pb2.RUN_TRIGGER_EVENT, now_ns)
        bead = self._bead(derived_id("resolution", break_id), now_ns, actor)
        bead.resolution.CopyFrom(resolved)
        return resolved, [effects.bead(bead)]

    # --- what is folded at the start ------------------------------------------------------------------------------

    def take_drift(self, found: reconcile_pb2.Break) -> None:
        """A break as a bead recorded it: opened, or escalated."""
        if found.break_id not in self.resolved_breaks:
            self.open_breaks[key_of(found)] = found

    def take_resolution(self, found: reconcile_pb2.Break) -> None:
        """A break as its resolution recorded it."""
        key = key_of(found)
        current = self.open_breaks.get(key)
        if current is not None and current.break_id == found.break_id:
            del self.open_breaks[key]
        self.resolved_breaks[found.break_id] = found
        self.suspicions.pop(key, None)
        if found.resolution.kind == reconcile_pb2.RESOLUTION_KIND_ACKNOWLEDGED:
            self.acknowledged[key] = (found.machine_state, found.broker_state)
        else:
            self.acknowledged.pop(key, None)

    def take_run(self, run: reconcile_pb2.Run) -> None:
        """A run as a bead recorded it."""
        self.runs.append(run)

    def missing_alerts(self, raised: Iterable[str]) -> list[Effect]:
        """Alerts that a crash kept from being raised: of open breaks, but for those whose ids are given."""
        self.alerted.update(raised)
        return [effect for found in self.breaks(everything=False) for effect in self._alert_of(found)]

    # --- what is asked --------------------------------------------------------------------------------------------

    @property
    def venue(self) -> str:
        return self.truth.body.venue if self.truth else self.books.venue

    def breaks(self, *, everything: bool) -> list[reconcile_pb2.Break]:
        """In a stable order: severity, account, symbol, age."""
        found = list(self.open_breaks.values())
        if everything:
            found += self.resolved_breaks.values()
        return sorted(found, key=break_order)

    # --- the run --------------------------------------------------------------------------------------------------

    def _run(self, trigger: reconcile_pb2.RunTrigger.ValueType, now_ns: int) -> list[Effect]:
        trusted, reasons = self._trusted(now_ns)
        comparison = compare(self.books, trusted, self.rules.tolerances)
        findings = [one for one in comparison.findings if not self._is_acknowledged(one)]
        run_id = derived_id("run", self.account, self.books.journal_sequence, now_ns)
        opened = self._judge(findings, trusted, run_id, now_ns)
        run = self._report(trigger, trusted, comparison, findings, reasons, run_id, now_ns)
        out = self._run_bead(run, trigger, now_ns)
        for found in opened:
            bead = self._bead(derived_id("drift", found.break_id), now_ns)
            bead.drift.CopyFrom(found)
            out += [effects.bead(bead, traceparent=self.traceparent), *self._alert_of(found)]
        out += self._blindness(reasons, now_ns)
        if self.suspicions:
            not_before = now_ns + self.rules.confirm_after_ns
            self.schedule.want(reconcile_pb2.RUN_TRIGGER_EVENT, now_ns, not_before_ns=not_before)
        return out

    def _trusted(self, now_ns: int) -> tuple[venue_pb2.BrokerTruth | None, list[str]]:
        """The broker's book, or why there is none: what could not be asked is not empty, it is unknown."""
        if self.truth is None:
            return None, [NO_BROKER_TRUTH]
        body = self.truth.body
        if body.completeness == venue_pb2.COMPLETENESS_PARTIAL:
            return None, [STALE_BROKER_TRUTH, BROKER_TRUTH_PARTIAL]
        if body.completeness != venue_pb2.COMPLETENESS_SNAPSHOT:
            return None, [STALE_BROKER_TRUTH, BROKER_TRUTH_FAILED]
        if now_ns - body.as_of_ns > self.rules.stale_after_ns:
            return None, [STALE_BROKER_TRUTH]
        return body, []

    def _judge(
        self, findings: list[Finding], trusted: venue_pb2.BrokerTruth | None, run_id: str, now_ns: int
    ) -> list[reconcile_pb2.Break]:
        """Suspicions that are proven now, as breaks. Without a truth, suspicions neither grow nor go away."""
        seen = {finding.key for finding in findings}
        if trusted is not None:
            self.suspicions = {key: one for key, one in self.suspicions.items() if key in seen}
        opened = []
        for finding in findings:
            if finding.key in self.open_breaks:
                self.suspicions.pop(finding.key, None)
            elif not finding.needs_broker or (trusted is not None and self._is_proven(finding, trusted)):
                self.suspicions.pop(finding.key, None)
                self.open_breaks[finding.key] = found = self._break(finding, run_id, now_ns)
                opened.append(found)
        return opened

    def _is_proven(self, finding: Finding, trusted: venue_pb2.BrokerTruth) -> bool:
        before = self.suspicions.get(finding.key)
        as_of_ns = trusted.as_of_ns
        if before is None:
            self.suspicions[finding.key] = Suspicion(finding, as_of_ns, as_of_ns)
            return False
        if before.finding.delta != finding.delta:
            before.same_since_as_of_ns = as_of_ns
        before.finding = finding
        if as_of_ns - before.first_as_of_ns >= self.rules.confirm_at_last_ns:
            return True
        is_same = as_of_ns - before.same_since_as_of_ns >= self.rules.confirm_after_ns
        return is_same and self._is_quiet(finding, trusted)

    def _is_quiet(self, finding: Finding, trusted: venue_pb2.BrokerTruth) -> bool:
        """Nothing was under way between the two books when this truth was taken."""
        assert self.truth is not None
        caught_up = self.books.input_sequence >= self.truth.inbox_sequence
        changes = self.books.last_change_ns
        symbol = finding.key.symbol
        last_change_ns = changes.get(symbol, 0) if symbol else max(changes.values(), default=0)
        return caught_up and last_change_ns <= trusted.as_of_ns

    def _break(self, finding: Finding, run_id: str, now_ns: int) -> reconcile_pb2.Break:
        key = finding.key
        return reconcile_pb2.Break(
            break_id=derived_id("break", self.account, key.kind, key.symbol, key.client_order_id, run_id),
            account=self.account,
            venue=self.venue,
            kind=key.kind,
            severity=finding.severity,
            symbol=key.symbol,
            client_order_id=key.client_order_id,
            machine_state=finding.machine_state,
            broker_state=finding.broker_state,
            reason=finding.reason,
            message=finding.message,
            opened_at_ns=now_ns,
            opened_by_run_id=run_id,
        )

    def _is_acknowledged(self, finding: Finding) -> bool:
        return self.acknowledged.get(finding.key) == (finding.machine_state, finding.broker_state)

    def _report(
        self,
        trigger: reconcile_pb2.RunTrigger.ValueType,
        trusted: venue_pb2.BrokerTruth | None,
        comparison: Comparison,
        findings: list[Finding],
        reasons: list[str],
        run_id: str,
        now_ns: int,
    ) -> reconcile_pb2.Run:
        broken = [one for one in findings if one.key in self.open_breaks]
        suspected_count = len(findings) - len(broken)
        if broken:
            verdict = reconcile_pb2.RUN_VERDICT_BROKEN
        elif trusted is None:
            verdict = reconcile_pb2.RUN_VERDICT_INDETERMINATE
        elif suspected_count:
            verdict = reconcile_pb2.RUN_VERDICT_SUSPECTED
        else:
            verdict = reconcile_pb2.RUN_VERDICT_MATCHED
        severity = max((one.severity for one in broken), default=common_pb2.SEVERITY_INFO)
        if trusted is None:
            severity = max(severity, common_pb2.SEVERITY_WARNING)
        return reconcile_pb2.Run(
            run_id=run_id,
            account=self.account,
            venue=self.venue,
            trigger=trigger,
            verdict=verdict,
            severity=severity,
            order_count=comparison.order_count,
            position_count=comparison.position_count,
            matched_count=comparison.matched_count,
            unmatched_count=len(broken),
            suspected_count=suspected_count,
            snapshot_at_ns=self.truth.body.as_of_ns if self.truth else 0,
            started_at_ns=now_ns,
            journal_sequence=self.books.journal_sequence,
            reasons=list(dict.fromkeys([*reasons, *(one.reason for one in findings)])),
            break_ids=[self.open_breaks[one.key].break_id for one in broken],
        )

    def _run_bead(
        self, run: reconcile_pb2.Run, trigger: reconcile_pb2.RunTrigger.ValueType, now_ns: int
    ) -> list[Effect]:
        """Every run is kept in memory; a bead is written when it says something new, when a person asked for it, and
        every ``runs_between_beads``, so that the record shows that we looked without drowning in it."""
        self._runs_since_bead += 1
        last = self.runs[-1] if self.runs else None
        self.runs.append(run)
        is_news = last is None or _summary(last) != _summary(run)
        is_due = self._runs_since_bead >= self.rules.runs_between_beads
        if not (is_news or is_due or trigger == reconcile_pb2.RUN_TRIGGER_ON_DEMAND):
            return []
        self._runs_since_bead = 0
        bead = self._bead(derived_id("run-bead", run.run_id), now_ns)
        bead.run.CopyFrom(run)
        return [effects.bead(bead, traceparent=self.traceparent)]

    # --- alerts ---------------------------------------------------------------------------------------------------

    def _alert_of(self, found: reconcile_pb2.Break) -> list[Effect]:
        kind = reconcile_pb2.BreakKind.Name(found.kind).removeprefix("BREAK_KIND_")
        out = self._alert(
            derived_id("alert-drift", found.break_id),
            found.severity,
            f"DRIFT_{kind}",
            f"{self.account}: {found.message}",
            found.break_id,
            found.opened_at_ns,
        )
        if found.escalated_at_ns:
            out += self._alert(
                derived_id("alert-escalated", found.break_id),
                common_pb2.SEVERITY_CRITICAL,
                "BREAK_UNRESOLVED",
                f"{self.account}: unresolved for {self.rules.escalate_after_ns // MINUTE_NS} min: {found.message}",
                found.break_id,
                found.escalated_at_ns,
            )
        return out

    def _escalate(self, now_ns: int) -> list[Effect]:
        """Once for each break: an alert, and a bead that says when."""
        out: list[Effect] = []
        for key, found in self.open_breaks.items():
            if found.escalated_at_ns or now_ns < found.opened_at_ns + self.rules.escalate_after_ns:
                continue
            escalated = reconcile_pb2.Break()
            escalated.CopyFrom(found)
            escalated.escalated_at_ns = now_ns
            self.open_breaks[key] = escalated
            bead = self._bead(derived_id("drift-escalated", found.break_id), now_ns)
            bead.drift.CopyFrom(escalated)
            out += [effects.bead(bead), *self._alert_of(escalated)]
        return out

    def _blindness(self, reasons: list[str], now_ns: int) -> list[Effect]:
        """Not being able to see: ask again soon; when it lasts it is worth one alert, until we see again."""
        if not reasons:
            self._blind_since_ns, self._told_blind = 0, False
            return []
        self._blind_since_ns = self._blind_since_ns or now_ns
        again_ns = now_ns + self.rules.confirm_at_last_ns // 2
        self.schedule.want(reconcile_pb2.RUN_TRIGGER_PERIODIC, now_ns, not_before_ns=again_ns)
        if self._told_blind or now_ns - self._blind_since_ns < self.rules.confirm_at_last_ns:
            return []
        self._told_blind = True
        alert_id = derived_id("blind", self.account, self._blind_since_ns)
        error = self.truth.body.error.message if self.truth else ""
        message = (
            f"{self.account}: the broker's truth cannot be used ({', '.join(reasons)}); nothing is proven. {error}"
        )
        return self._alert(
            alert_id, common_pb2.SEVERITY_WARNING, STALE_BROKER_TRUTH, message.strip(), self.account, now_ns
        )

    def _alert(
        self,
        alert_id: str,
        severity: common_pb2.Severity.ValueType,
        reason: str,
        message: str,
        subject_id: str,
        now_ns: int,
    ) -> list[Effect]:
        if alert_id in self.alerted:
            return []
        self.alerted.add(alert_id)
        alert = audit_pb2.Alert(
            alert_id=alert_id,
            severity=severity,
            service=self.rules.service,
            reason=reason,
            account=self.account,
            message=message,
            raised_at_ns=now_ns,
            subject_id=subject_id,
        )
        return [effects.alert(alert)]

    def _bead(self, bead_id: str, now_ns: int, actor: common_pb2.Actor | None = None) -> audit_pb2.Bead:
        ourselves = common_pb2.Actor(id=self.rules.service, kind="service")
        return audit_pb2.Bead(bead_id=bead_id, account=self.account, created_at_ns=now_ns, actor=actor or ourselves)

    def _resolved_again(
        self,
        found: reconcile_pb2.Break,
        kind: reconcile_pb2.ResolutionKind.ValueType,
        notes: str,
        actor: common_pb2.Actor,
    ) -> tuple[reconcile_pb2.Break, list[Effect]]:
        first = found.resolution
        if (first.kind, first.notes, first.resolved_by.id) == (kind, notes, actor.id):
            return found, []
        raise Refused(
            f"break {found.break_id} was resolved by {first.resolved_by.id}: {first.notes}",
            reason="ALREADY_RESOLVED",
            field="break_id",
            value=found.break_id,
            rule="a break is resolved once",
        )


def key_of(found: reconcile_pb2.Break) -> Key:
    return Key(found.kind, found.symbol, found.client_order_id)


def break_order(found: reconcile_pb2.Break) -> tuple[int, str, str, int, str]:
    """Severity first, the worst on top; then account, symbol and age."""
    return (-found.severity, found.account, found.symbol, found.opened_at_ns, found.break_id)


def _summary(run: reconcile_pb2.Run) -> tuple[object, ...]:
    """What makes a run news."""
    counts = (run.order_count, run.position_count, run.matched_count, run.unmatched_count, run.suspected_count)
    return (run.verdict, counts, tuple(run.reasons), tuple(run.break_ids))
