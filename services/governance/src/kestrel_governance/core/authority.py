"""Governance as a value: intents, journal entries, people's requests and the time go in; effects come out.

The order of the effects is the order in which they have to be stored: the decision, then the permission, then the
bead about its token. Each has an id that follows from its cause, so that performing a list again changes nothing, and
`recover` finds from what was stored whatever a crash left undone.

A refusal of a person's request is a result (`Answer.refusal`), not an exception; exceptions are for input that could
never be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kestrel.admin.v1 import governance_pb2
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, derived_id
from kestrel_domain.timestamps import SECOND_NS
from kestrel_domain.tokens import SigningKey
from kestrel_governance.core import authorization, beads, evidence, kill, mandates, money, reasons, risk, structure
from kestrel_governance.core.kill import RaiseFlag as RaiseFlag
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.core.state import IntentRecord, State

SERVICE = beads.SERVICE

TOKEN_EXPIRY_GRACE_NS = 5 * SECOND_NS
"""How long after its expiry a token may still turn out to have been used: the gateway's bead has to travel."""

_FOR_GOOD = ("STATE_CONFLICT", "ATTEMPT_SUPERSEDED")
"""What no waiting cures: an anchor only gets older, and a later attempt stays authorized."""

Effect = Publish | RaiseFlag


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a person's request. The effects are to be performed whether it was granted or refused."""

    effects: tuple[Effect, ...] = ()
    refusal: common_pb2.Refusal | None = None
    decision: authority_pb2.Decision | None = None
    mandate: authority_pb2.Mandate | None = None


@dataclass(frozen=True, slots=True)
class Weighed:
    """An intent as it stands without a look at the kill flags: what is malformed, or else every check."""

    now_ns: int
    findings: tuple[InvalidRequest, ...] = ()
    checks: tuple[authority_pb2.RiskCheck, ...] = ()


class Authority:
    """All accounts of one platform. Owns no connection and no clock."""

    def __init__(self, limits: RiskLimits, key: SigningKey, *, partitions: int, instance: str = SERVICE) -> None:
        self.limits = limits
        self._limits_sha256 = limits.sha256
        self.state = State()
        self._key = key
        self._partitions = partitions
        self._self = common_pb2.Actor(id=SERVICE, kind="service", origin=instance)

    # -- what happens -----------------------------------------------------------------------------------------------

    def on_intent(
        self,
        stored: bytes,
        *,
        account: str,
        received_at_ns: int,
        now_ns: int,
        flags: authority_pb2.KillFlags | None,
        traceparent: str = "",
    ) -> list[Effect]:
        """Decide one intent, or leave it waiting for a person. ``account`` is the one in its subject.

        Raises ``InvalidRequest`` for bytes that no decision could name: they are parked.
        """
        record = self.learn_intent(stored, account=account, received_at_ns=received_at_ns, traceparent=traceparent)
        return list(self.decide(record, self.weigh(record, now_ns=now_ns), flags)) if record is not None else []

    def weigh(self, record: IntentRecord, *, now_ns: int) -> Weighed:
        """Everything about an intent but the kill flags, which may be read meanwhile. Decide on it before anything else
        is learned."""
        found = structure.findings(record.intent, self.limits, now_ns=now_ns)
        if found or now_ns >= record.intent.expires_at_ns:
            return Weighed(now_ns, tuple(found))
        return Weighed(now_ns, checks=tuple(self._checks(record, now_ns, None)))

    def decide(self, record: IntentRecord, weighed: Weighed, flags: authority_pb2.KillFlags | None) -> Iterator[Effect]:
        """What follows from an intent that has no decision yet, each effect made when it is asked for: a permission can
        be signed while the decision it stands on is being stored. Whoever does not ask for all of them folds again."""
        if record.decision is None:
            yield from self._decide(record, weighed, flags)

    def learn_intent(
        self, stored: bytes, *, account: str, received_at_ns: int, traceparent: str = ""
    ) -> IntentRecord | None:
        """Remember without deciding, as at a restart. None: known already."""
        intent = structure.parse(stored)
        if intent.account != account:
            raise InvalidRequest.of("account", intent.account, f"{account}, as its subject says")
        return self.state.learn_intent(stored, received_at_ns=received_at_ns, traceparent=traceparent)

    def on_journal_entry(self, entry: journal_pb2.JournalEntry) -> list[Effect]:
        """Learn what the kernel did. Nothing follows from it at once."""
        self.state.learn_journal_entry(entry)
        return []

    def on_bead(self, bead: audit_pb2.Bead) -> list[Effect]:
        """Learn from a bead, our own or the gateway's. Nothing follows from it at once."""
        self.state.learn_bead(bead)
        return []

    def on_bar(self, bar: venue_pb2.Bar) -> list[Effect]:
        """Learn what the market says. Nothing follows from it at once."""
        self.state.learn_bar(bar)
        return []

    def recover(self, *, now_ns: int, flags: authority_pb2.KillFlags | None) -> list[Effect]:
        """After a fold: complete what was decided, say what was not said, decide what was not decided."""
        done: list[Effect] = []
        for flag in flags.flags if flags is not None else ():
            if kill.is_active(flag, now_ns):
                done += self._kill_effects(flag)
        for record in list(self.state.records.values()):
            done += self._complete(record, now_ns)
        for record in self.state.undecided():
            decided = list(self._decide(record, self.weigh(record, now_ns=now_ns), flags))
            for effect in decided:
                if isinstance(effect, RaiseFlag) and flags is not None:
                    flags = kill.raised(flags, effect.flag, now_ns)  # it stops those behind it in this list, too
            done += decided
        return done

    def tick(self, *, now_ns: int) -> list[Effect]:
        """What the passing of time decides: intents nobody answered, tokens nobody used."""
        done: list[Effect] = []
        for record in list(self.state.records.values()):
            if record.is_pending and now_ns >= record.intent.expires_at_ns:
                done += self._expire(record, now_ns)
            elif (deadline := self._token_deadline_ns(record)) is not None and now_ns >= deadline:
                done += self._expire_token(record, now_ns)
        return done

    def next_deadline_ns(self) -> int | None:
        """When to tick again; None: nothing is waiting."""
        pending = [record.intent.expires_at_ns for record in self.state.pending()]
        tokens = [self._token_deadline_ns(record) for record in self.state.records.values()]
        return min([*pending, *(deadline for deadline in tokens if deadline is not None)], default=None)

    # -- what people ask --------------------------------------------------------------------------------------------

    def pending(
        self, account: str, *, now_ns: int, flags: authority_pb2.KillFlags | None
    ) -> list[governance_pb2.PendingIntent]:
        """What waits, oldest first, each with its evidence as of now (T05)."""
        return [
            self._evidence_of(record, now_ns, flags)
            for record in self.state.pending()
            if not account or record.intent.account == account
        ]

    def approve(
        self,
        intent_id: str,
        *,
        evidence_sha256: bytes,
        reason: str,
        actor: common_pb2.Actor,
        request_id: str,
        now_ns: int,
        flags: authority_pb2.KillFlags | None,
    ) -> Answer:
        """A person says yes to what was shown. Everything is checked again; what changed refuses."""
        first = self._first_answer(intent_id, actor, authority_pb2.VERDICT_APPROVED)
        if first is not None:
            return first
        record = self._pending_record(intent_id)
        if record is None:
            missing = _refusal("NOT_PENDING", "intent_id", intent_id, "an intent that waits for a person")
            return self._refused("APPROVE", intent_id, missing, actor, request_id, reason, now_ns)
        done, refusal, checks = self._approval_objection(record, evidence_sha256, actor, now_ns, flags)
        if refusal is not None:
            answer = self._refused("APPROVE", intent_id, refusal, actor, request_id, reason, now_ns)
            return Answer((*done, *answer.effects), refusal, record.decision)
        decision = self._decision(record, authority_pb2.VERDICT_APPROVED, checks, now_ns, reason, actor=actor)
        return Answer(tuple(self._grant(record, decision, now_ns)), decision=decision)

    def pass_(self, intent_id: str, *, reason: str, actor: common_pb2.Actor, request_id: str, now_ns: int) -> Answer:
        """A person says no."""
        first = self._first_answer(intent_id, actor, authority_pb2.VERDICT_PASSED)
        if first is not None:
            return first
        record = self._pending_record(intent_id)
        if record is None:
            refusal = _refusal("NOT_PENDING", "intent_id", intent_id, "an intent that waits for a person")
            return self._refused("PASS", intent_id, refusal, actor, request_id, reason, now_ns)
        decision = self._decision(record, authority_pb2.VERDICT_PASSED, [], now_ns, reason, actor=actor)
        return Answer(tuple(self._record_decision(record, decision, actor)), decision=decision)

    def grant_mandate(
        self, asked: authority_pb2.Mandate, *, actor: common_pb2.Actor, request_id: str, now_ns: int
    ) -> Answer:
        """A standing approval. Granting the same request again returns the first. Raises ``InvalidRequest``."""
        mandate = authority_pb2.Mandate()
        mandate.CopyFrom(asked)
        mandate.mandate_id = mandate.mandate_id or derived_id("mandate", actor.id, request_id)
        known = self.state.mandates.get(mandate.mandate_id)
        if known is not None and known.mandate.mandate_id:
            if known.mandate.granted_by.id == actor.id and _same_terms(known.mandate, mandate):
                return Answer(mandate=known.mandate)
            raise InvalidRequest.of("mandate.mandate_id", mandate.mandate_id, "a new id: this one has other terms")
        mandate.ClearField("revoked_by")
        mandate.revoked_at_ns = 0
        mandate.granted_by.CopyFrom(actor)
        mandate.granted_at_ns = now_ns
        mandate.not_before_ns = mandate.not_before_ns or now_ns
        mandates.checked(mandate, self.limits, now_ns)
        self.state.learn_mandate(mandate)
        return Answer((beads.mandate(mandate, "granted", actor, now_ns),), mandate=mandate)

    def revoke_mandate(
        self, mandate_id: str, *, reason: str, actor: common_pb2.Actor, request_id: str, now_ns: int
    ) -> Answer:
        """From now on it covers nothing. Revoking twice returns the first revocation."""
        record = self.state.mandates.get(mandate_id)
        if record is None or not record.mandate.mandate_id:
            refusal = _refusal("MANDATE_UNKNOWN", "mandate_id", mandate_id, "a mandate that was granted")
            return self._refused("REVOKE_MANDATE", mandate_id, refusal, actor, request_id, reason, now_ns)
        if record.mandate.revoked_at_ns:
            return Answer(mandate=record.mandate)
        mandate = authority_pb2.Mandate()
        mandate.CopyFrom(record.mandate)
        mandate.revoked_by.CopyFrom(actor)
        mandate.revoked_at_ns = now_ns
        mandate.reason = reason or mandate.reason
        self.state.learn_mandate(mandate)
        return Answer((beads.mandate(mandate, "revoked", actor, now_ns),), mandate=mandate)

    def mandate_uses(self, *, all_of_them: bool, now_ns: int) -> list[governance_pb2.MandateUse]:
        """Mandates with what was used of them; without ``all_of_them`` those that can still be used."""
        uses = [
            governance_pb2.MandateUse(
                mandate=record.mandate,
                order_count=record.order_count,
                total_notional=money.amount(record.total_notional).message(),
                state=record.state(now_ns),
            )
            for record in self.state.mandates.values()
            if record.mandate.mandate_id
        ]
        return [use for use in uses if all_of_them or use.state in ("ACTIVE", "NOT_YET")]

    def kill(
        self,
        scope: authority_pb2.KillScope.ValueType,
        target: str,
        level: authority_pb2.KillLevel.ValueType,
        *,
        reason: str,
        actor: common_pb2.Actor,
        now_ns: int,
    ) -> Answer:
        """One person stops new exposure: the flag first, then what its level asks of the kernel."""
        flag = kill.Flag(scope=scope, target=target, level=level, reason=reason, set_by=actor, set_at_ns=now_ns)
        kill.checked(flag)
        return Answer((RaiseFlag(flag), *self._kill_effects(flag)))

    def rearm_intention(
        self, scope: authority_pb2.KillScope.ValueType, target: str, reason: str, actor: common_pb2.Actor, now_ns: int
    ) -> Publish:
        """Written before a flag is touched: re-arming adds risk, so the record comes first."""
        name = f"{authority_pb2.KillScope.Name(scope)} {target}".strip()
        return beads.operator_action("REARM", name, reason, None, actor, str(now_ns), now_ns)

    def rearm_effects(self, flags: Iterable[authority_pb2.KillFlag]) -> list[Effect]:
        """The beads and alerts after two people lowered flags, or one of them proposed to."""
        done: list[Effect] = []
        for flag in flags:
            actor = flag.rearmed_by if flag.rearmed_at_ns else flag.rearm_proposed_by
            done.append(kill.bead(flag, actor))
            if flag.rearmed_at_ns:
                message = f"kill flag {kill.name(flag)} lowered by {flag.rearm_proposed_by.id} and {actor.id}"
                done.append(beads.alert("KILL_LOWERED", message, kill.bead_id(flag), "", flag.rearmed_at_ns))
        return done

    def refuse(
        self, action: str, target: str, refusal: common_pb2.Refusal, *, actor: common_pb2.Actor, now_ns: int
    ) -> Publish:
        """A request that was refused outside the core, for the record (P09)."""
        return beads.operator_action(action, target, "", refusal, actor, str(now_ns), now_ns)

    # -- deciding ---------------------------------------------------------------------------------------------------

    def _decide(
        self, record: IntentRecord, weighed: Weighed, flags: authority_pb2.KillFlags | None
    ) -> Iterator[Effect]:
        """The one place where an intent gets its first decision."""
        now_ns = weighed.now_ns
        if weighed.findings:
            yield from self._deny(record, [risk.invalid(finding) for finding in weighed.findings], now_ns)
            return
        if now_ns >= record.intent.expires_at_ns:
            yield from self._expire(record, now_ns)
            return
        checks = risk.with_flags(weighed.checks, record.intent, flags, self.limits, now_ns)
        if risk.blocks(checks):
            yield from (*self._stale_kill(record, checks, now_ns), *self._deny(record, checks, now_ns, flags))
            return
        notional = evidence.notional(record.intent, self.limits.price_collar_ratio_max)
        mandate, objection = mandates.covering(self.state.mandates, record.intent, notional, now_ns)
        if mandate is None:
            decision = self._decision(record, authority_pb2.VERDICT_PENDING, checks, now_ns, objection)
            yield from self._record_decision(record, decision, self._self)
            return
        mandate_id = mandate.mandate.mandate_id
        reason = f"covered by mandate {mandate_id}, granted by {mandate.mandate.granted_by.id}"
        approved = self._decision(record, authority_pb2.VERDICT_APPROVED, checks, now_ns, reason, mandate_id=mandate_id)
        yield from self._grant(record, approved, now_ns)
        if mandate.nearly_used():
            message = f"mandate {mandate_id}: {mandate.order_count} orders, {money.text(mandate.total_notional)} in all"
            yield beads.alert("MANDATE_NEARLY_USED", message, mandate_id, record.intent.account, now_ns)

    def _checks(
        self, record: IntentRecord, now_ns: int, flags: authority_pb2.KillFlags | None
    ) -> list[authority_pb2.RiskCheck]:
        account = record.intent.account
        self.state.forget_recent(now_ns - max(self.limits.duplicate_window_ns, self.limits.order_rate_window_ns))
        facts = risk.Facts(
            now_ns=now_ns,
            flags=flags,
            book=self.state.books.get(account),
            reservations=self.state.reservations(account, apart_from=record.key),
            recent=tuple(self.state.recent),
            notional_of_entry=self.state.notional_of_entry(account),
            market=self.state.market.get((record.intent.venue, record.intent.instrument.symbol)),
            newest_authorized_attempt=self.state.newest_authorized.get(record.key[0], 0),
        )
        return risk.evaluate(record.intent, facts, self.limits)

    def _approval_objection(
        self,
        record: IntentRecord,
        evidence_sha256: bytes,
        actor: common_pb2.Actor,
        now_ns: int,
        flags: authority_pb2.KillFlags | None,
    ) -> tuple[list[Effect], common_pb2.Refusal | None, list[authority_pb2.RiskCheck]]:
        """Why this person's yes does not count, and what follows from that; and every check, as it is now."""
        proposer = record.intent.proposer
        if proposer.kind == "operator" and proposer.id == actor.id:
            return [], _refusal("FOUR_EYES", "actor", actor.id, "an approver who did not propose it"), []
        if now_ns >= record.intent.expires_at_ns:
            rule = "a decision before it expires"
            return self._expire(record, now_ns), _refusal("INTENT_EXPIRED", "intent_id", record.key[0], rule), []
        checks = self._checks(record, now_ns, flags)
        blocking = risk.blocks(checks)
        for_good = next((check for check in blocking if check.reason in _FOR_GOOD), None)
        if for_good is not None:  # it will never be approved, so it stops waiting
            done = [*self._stale_kill(record, checks, now_ns), *self._deny(record, checks, now_ns, flags)]
            return done, _refusal_of(for_good), checks
        if blocking:
            return [], _refusal_of(blocking[0]), checks
        if evidence_sha256 != self._evidence_sha256(record, checks, self._amounts(record)):
            return [], _other_evidence(record, evidence_sha256, checks), checks
        return [], None, checks

    def _grant(self, record: IntentRecord, decision: authority_pb2.Decision, now_ns: int) -> Iterator[Effect]:
        """Decision, then permission, then the bead about its token."""
        actor = self._self if decision.mandate_id else decision.decided_by
        yield from self._record_decision(record, decision, actor)
        yield from self._complete(record, now_ns)

    def _complete(self, record: IntentRecord, now_ns: int) -> Iterator[Effect]:
        """What an approved intent still lacks. After a crash this is where it goes on."""
        decision = record.approved
        if decision is None:
            return
        if not record.entry_stored:
            if now_ns >= authorization.token_expires_at_ns(decision, record.intent):
                yield from () if record.token_end else self._expire_token(record, now_ns)
                return
            record.entry_stored = True
            yield authorization.entry(
                record.stored,
                record.intent,
                decision,
                self._key,
                partitions=self._partitions,
                traceparent=record.traceparent,
            )
        if not record.token_issued:
            record.token_issued = True
            yield self._token_bead(authority_pb2.TOKEN_EVENT_KIND_ISSUED, record, decision, now_ns)

    def _deny(
        self,
        record: IntentRecord,
        checks: list[authority_pb2.RiskCheck],
        now_ns: int,
        flags: authority_pb2.KillFlags | None = None,
    ) -> list[Effect]:
        blocking = risk.blocks(checks)
        reason = ", ".join(dict.fromkeys(check.reason for check in blocking))
        decision = self._decision(record, authority_pb2.VERDICT_DENIED, checks, now_ns, reason)
        stored = self._record_decision(record, decision, self._self)
        if flags is not None and (raised := kill.covering(flags, record.intent, now_ns)):
            return [*stored, *self._killed_alert(record, raised[0], now_ns)]
        worst = max(blocking, key=lambda check: reasons.of(check.reason).severity)
        alert = beads.alert(
            worst.reason,
            f"intent {record.key[0]} of {record.intent.strategy or 'nobody'} denied: {reason}: {worst.message}",
            decision.decision_id,
            record.intent.account,
            now_ns,
            severity=_severity(blocking),
            details=[_refusal_of(check) for check in blocking],
        )
        return [*stored, alert]

    def _killed_alert(self, record: IntentRecord, flag: authority_pb2.KillFlag, now_ns: int) -> list[Effect]:
        """The flag does what it was raised for. Said once per flag and strategy; who raised it rang the bell (T17)."""
        strategy, raise_id = record.intent.strategy or "nobody", kill.raise_id(flag)
        message = f"intents of {strategy} are denied: kill flag {kill.name(flag)}: {flag.reason} ({flag.set_by.id})"
        alert = beads.alert("KILL_ACTIVE", message, raise_id, record.intent.account, now_ns, cause=strategy)
        if alert.message_id in self.state.killed_alerts:
            return []
        self.state.killed_alerts.add(alert.message_id)
        return [alert]

    def _expire(self, record: IntentRecord, now_ns: int) -> list[Effect]:
        decision = self._decision(record, authority_pb2.VERDICT_EXPIRED, [], now_ns, "INTENT_EXPIRED")
        return self._record_decision(record, decision, self._self)

    def _expire_token(self, record: IntentRecord, now_ns: int) -> list[Effect]:
        decision = record.approved
        assert decision is not None, "only an approved intent has a token"
        refusal = _refusal("TOKEN_EXPIRED", "token", record.key[0], "used within five minutes of the decision")
        bead = self._token_bead(authority_pb2.TOKEN_EVENT_KIND_EXPIRED, record, decision, now_ns, refusal)
        message = f"the token of intent {record.key[0]} expired unused"
        alert = beads.alert("TOKEN_EXPIRED", message, decision.decision_id, record.intent.account, now_ns)
        self.state.learn_bead(_parsed(bead))
        return [bead, alert]

    def _stale_kill(self, record: IntentRecord, checks: list[authority_pb2.RiskCheck], now_ns: int) -> list[Effect]:
        """A decision on stale state stops its strategy for a while (INV-STALE-KILL-1)."""
        if not any(check.reason == "STATE_CONFLICT" for check in checks):
            return []
        flag = authority_pb2.KillFlag(
            scope=authority_pb2.KILL_SCOPE_STRATEGY,
            target=record.intent.strategy,
            level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
            reason=f"STATE_CONFLICT: intent {record.key[0]} was decided on stale state",
            set_by=self._self,
            set_at_ns=now_ns,
            expires_at_ns=now_ns + self.limits.stale_kill_ns,
        )
        return [RaiseFlag(flag), *self._kill_effects(flag)]

    # -- parts ------------------------------------------------------------------------------------------------------

    def _decision(
        self,
        record: IntentRecord,
        verdict: authority_pb2.Verdict.ValueType,
        checks: list[authority_pb2.RiskCheck],
        now_ns: int,
        reason: str,
        *,
        actor: common_pb2.Actor | None = None,
        mandate_id: str = "",
    ) -> authority_pb2.Decision:
        intent = record.intent
        decision = authority_pb2.Decision(
            decision_id=authorization.decision_id(*record.key),
            intent_id=intent.intent_id,
            attempt=intent.attempt,
            verdict=verdict,
            checks=checks,
            decided_by=actor or self._self,
            mandate_id=mandate_id,
            reason=reason,
            intent_sha256=record.sha256,
            decided_at_ns=now_ns,
            strategy=intent.strategy,
            symbol=intent.instrument.symbol,
        )
        counted = self._counted(record, checks, now_ns)
        if counted is not None:
            decision.notional.CopyFrom(counted.notional.message())
            if checks:
                decision.evidence_sha256 = self._evidence_sha256(record, checks, counted)
        return decision

    def _counted(
        self, record: IntentRecord, checks: list[authority_pb2.RiskCheck], now_ns: int
    ) -> evidence.Amounts | None:
        """Well formed, and its notional fits the wire: a denial of anything else is recorded without one."""
        if checks and checks[0].reason == risk.INVALID_INTENT:
            return None
        if not checks and structure.findings(record.intent, self.limits, now_ns=now_ns):  # risk looks at nothing else
            return None
        try:
            return self._amounts(record)
        except InvalidRequest:
            return None

    def _amounts(self, record: IntentRecord) -> evidence.Amounts:
        return evidence.amounts(record.intent, self.limits.price_collar_ratio_max)

    def _evidence_sha256(
        self, record: IntentRecord, checks: list[authority_pb2.RiskCheck], amounts: evidence.Amounts
    ) -> bytes:
        return evidence.sha256(
            record.sha256,
            checks,
            notional=amounts.notional,
            risk_at_stop=amounts.risk_at_stop,
            limits_sha256=self._limits_sha256,
        )

    def _evidence_of(
        self, record: IntentRecord, now_ns: int, flags: authority_pb2.KillFlags | None
    ) -> governance_pb2.PendingIntent:
        checks, amounts = self._checks(record, now_ns, flags), self._amounts(record)
        evidence_sha256 = self._evidence_sha256(record, checks, amounts)
        record.remember_shown(evidence_sha256, checks)
        return governance_pb2.PendingIntent(
            intent=record.intent,
            intent_sha256=record.sha256,
            evidence_sha256=evidence_sha256,
            checks=checks,
            notional=amounts.notional.message(),
            risk_at_stop=None if amounts.risk_at_stop is None else amounts.risk_at_stop.message(),
            anchor_age_ns=now_ns - record.intent.anchor.as_of_ns,
            received_at_ns=record.received_at_ns,
        )

    def _record_decision(
        self, record: IntentRecord, decision: authority_pb2.Decision, actor: common_pb2.Actor
    ) -> list[Effect]:
        """Learn it at once, and have it stored."""
        self.state.learn_decision(decision)
        return [authorization.decision_bead(decision, record.intent.account, actor, traceparent=record.traceparent)]

    def _pending_record(self, intent_id: str) -> IntentRecord | None:
        attempts = [record for record in self.state.pending() if record.key[0] == intent_id]
        return max(attempts, key=lambda record: record.key, default=None)

    def _first_answer(
        self, intent_id: str, actor: common_pb2.Actor, verdict: authority_pb2.Verdict.ValueType
    ) -> Answer | None:
        """The same person asking for the same again gets the first answer."""
        checked_id("intent_id", intent_id)
        decision = self.state.decision_of(intent_id)
        if decision is None or self._pending_record(intent_id) is not None:
            return None
        same = decision.verdict == verdict and decision.decided_by.id == actor.id and not decision.mandate_id
        return Answer(decision=decision) if same else None

    def _refused(
        self,
        action: str,
        target: str,
        refusal: common_pb2.Refusal,
        actor: common_pb2.Actor,
        request_id: str,
        reason: str,
        now_ns: int,
    ) -> Answer:
        bead = beads.operator_action(action, target, reason, refusal, actor, request_id or str(now_ns), now_ns)
        return Answer((bead,), refusal)

    def _token_deadline_ns(self, record: IntentRecord) -> int | None:
        decision = record.approved
        if decision is None or record.token_end:
            return None
        return authorization.token_expires_at_ns(decision, record.intent) + TOKEN_EXPIRY_GRACE_NS

    def _token_bead(
        self,
        kind: authority_pb2.TokenEventKind.ValueType,
        record: IntentRecord,
        decision: authority_pb2.Decision,
        now_ns: int,
        refusal: common_pb2.Refusal | None = None,
    ) -> Publish:
        return authorization.token_bead(
            kind,
            record.intent,
            decision,
            self._self,
            now_ns=now_ns,
            traceparent=record.traceparent,
            reason=refusal,
        )

    def _kill_effects(self, flag: authority_pb2.KillFlag) -> list[Effect]:
        """What follows from a raised flag, less what is stored already."""
        known = self.state.kill_beads | self.state.controls
        done = [
            effect
            for effect in kill.consequences(flag, self.limits.accounts, self._partitions)
            if effect.message_id not in known
        ]
        self.state.kill_beads.update(effect.message_id for effect in done if effect.subject.startswith("bead."))
        self.state.controls.update(effect.message_id for effect in done if effect.subject.startswith("inbox."))
        return list(done)


def _severity(blocking: Iterable[authority_pb2.RiskCheck]) -> common_pb2.Severity.ValueType:
    """CRITICAL when a critical check blocks, or one could not be computed: that is a fault, not a limit."""
    for check in blocking:
        unknown = check.verdict == authority_pb2.CHECK_VERDICT_INDETERMINATE
        if unknown or reasons.of(check.reason).severity == common_pb2.SEVERITY_CRITICAL:
            return common_pb2.SEVERITY_CRITICAL
    return common_pb2.SEVERITY_WARNING


def _refusal(reason: str, field: str, value: str, rule: str) -> common_pb2.Refusal:
    message = f"{reasons.of(reason).meaning} {reasons.of(reason).what_to_do}"
    return common_pb2.Refusal(reason=reason, field=field, value=value, rule=rule, message=message)


def _refusal_of(check: authority_pb2.RiskCheck) -> common_pb2.Refusal:
    rule = f"at most {check.limit}" if check.limit else reasons.of(check.reason).meaning
    return common_pb2.Refusal(
        reason=check.reason, field=check.reason.lower(), value=check.value, rule=rule, message=check.message
    )


def _other_evidence(
    record: IntentRecord, evidence_sha256: bytes, checks: list[authority_pb2.RiskCheck]
) -> common_pb2.Refusal:
    """EVIDENCE_CHANGED, with what did, when the hash was shown once; else it is the hash of something else."""
    before, value = record.shown.get(evidence_sha256, {}), evidence_sha256.hex()
    name = authority_pb2.CheckVerdict.Name
    changed = [
        f"{check.reason} was {_short(name(before[check.reason]))} and is {_short(name(check.verdict))}"  # type: ignore[arg-type]
        for check in checks
        if before.get(check.reason, check.verdict) != check.verdict
    ]
    if changed:
        rule = "each check's verdict as it was shown: " + ", ".join(changed)
        return _refusal("EVIDENCE_CHANGED", "evidence_sha256", value, rule)
    return _refusal("EVIDENCE_MISMATCH", "evidence_sha256", value, "the hash of the evidence as it is shown now")


def _short(verdict: str) -> str:
    return verdict.removeprefix("CHECK_VERDICT_")


def _same_terms(known: authority_pb2.Mandate, asked: authority_pb2.Mandate) -> bool:
    names = ("strategy", "account", "symbols", "max_order_notional", "max_total_notional", "max_order_count")
    return all(getattr(known, name) == getattr(asked, name) for name in (*names, "expires_at_ns"))


def _parsed(publish: Publish) -> audit_pb2.Bead:
    return audit_pb2.Bead.FromString(publish.body)
