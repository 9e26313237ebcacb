"""What governance knows, and how it learned it: a fold over INTENTS, BEADS, INBOX and JOURNAL.

Nothing here decides anything. Each ``learn_*`` may see the same fact any number of times, and facts may come from a
stream at a restart or from our own hand a moment before they are stored: both end in the same state.

    waiting ----> decided APPROVED ----> entry stored ----> token issued ----> used | rejected | expired
       `--------> decided DENIED | PASSED | EXPIRED
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import entry_client_order_id, token_id
from kestrel_domain.tokens import intent_sha256
from kestrel_governance.core import evidence, money, structure
from kestrel_governance.core.books import AccountBook, slot_is_open
from kestrel_governance.core.mandates import MandateRecord
from kestrel_governance.core.money import Exact
from kestrel_governance.core.risk import Recent, Reservation

Key = tuple[str, int]
"""Intent id and attempt."""

_FINISHED_KEPT = 20_000
"""How many finished intents are remembered with their answers; what is older is still in the streams."""

_REPEATED = "DUPLICATE_EVENT"
"""The kernel's answer to an entry that it has already."""

_TOKEN_ENDS = (
    authority_pb2.TOKEN_EVENT_KIND_USED,
    authority_pb2.TOKEN_EVENT_KIND_EXPIRED,
    authority_pb2.TOKEN_EVENT_KIND_REJECTED,
)


@dataclass(slots=True)
class IntentRecord:
    """One attempt of one intent, and how far it got."""

    stored: bytes
    intent: intent_pb2.Intent
    received_at_ns: int
    traceparent: str = ""
    is_pending: bool = False
    # The verdict of each check, by the evidence's hash, as people may have seen it.
    shown: dict[bytes, dict[str, int]] = field(default_factory=dict)
    decision: authority_pb2.Decision | None = None
    notional: Exact = money.ZERO
    entry_stored: bool = False
    token_issued: bool = False
    token_end: int = 0
    slot_seen: bool = False
    is_over: bool = False

    @property
    def key(self) -> Key:
        return self.intent.intent_id, self.intent.attempt

    @property
    def client_order_id(self) -> str:
        """The entry order of this attempt; a slot that shows another one shows another attempt."""
        return entry_client_order_id(token_id(*self.key))

    @property
    def sha256(self) -> bytes:
        return intent_sha256(self.stored)

    def remember_shown(self, evidence_sha256: bytes, checks: Iterable[authority_pb2.RiskCheck]) -> None:
        """An approver may come back with this hash."""
        self.shown[evidence_sha256] = {check.reason: check.verdict for check in checks}

    @property
    def approved(self) -> authority_pb2.Decision | None:
        """The decision, when it is a permission."""
        decision = self.decision
        return decision if decision is not None and decision.verdict == authority_pb2.VERDICT_APPROVED else None

    @property
    def reserves_capital(self) -> bool:
        """Authorized, and neither shown by a slot yet nor known to have come to nothing."""
        return self.approved is not None and not self.slot_seen and self._may_still_trade

    @property
    def is_finished(self) -> bool:
        if self.decision is None:
            return False
        return self.approved is None or (bool(self.token_end) and not self._may_still_trade)

    @property
    def _may_still_trade(self) -> bool:
        """Once the entry is stored only the journal says what came of it.

        Our clock may find the token expired while its order is on the way and we have not read so far.
        """
        ended_unused = self.token_end in (
            authority_pb2.TOKEN_EVENT_KIND_EXPIRED,
            authority_pb2.TOKEN_EVENT_KIND_REJECTED,
        )
        return not self.is_over and (self.entry_stored or self.slot_seen or not ended_unused)


@dataclass(slots=True)
class State:
    """All of it. ``records`` are the intents that still matter; ``finished`` their predecessors' answers."""

    records: dict[Key, IntentRecord] = field(default_factory=dict)
    finished: OrderedDict[Key, tuple[bytes, authority_pb2.Decision]] = field(default_factory=OrderedDict)
    decided: dict[Key, authority_pb2.Decision] = field(default_factory=dict)
    mandates: dict[str, MandateRecord] = field(default_factory=dict)
    books: dict[str, AccountBook] = field(default_factory=dict)
    market: dict[tuple[str, str], venue_pb2.Bar] = field(default_factory=dict)
    recent: deque[Recent] = field(default_factory=deque)
    newest_authorized: dict[str, int] = field(default_factory=dict)
    """By intent, its newest attempt that was authorized; kept as long as that attempt's answer."""
    kill_beads: set[str] = field(default_factory=set)
    controls: set[str] = field(default_factory=set)
    killed_alerts: set[str] = field(default_factory=set)
    _tokens: dict[str, Key] = field(default_factory=dict)

    # -- intents ----------------------------------------------------------------------------------------------------

    def learn_intent(self, stored: bytes, *, received_at_ns: int, traceparent: str = "") -> IntentRecord | None:
        """Remember an intent. None: it is known already. Raises ``InvalidRequest`` for what has to be parked."""
        intent = structure.parse(stored)
        key = intent.intent_id, intent.attempt
        known = self._known_sha256(key)
        if known is not None and known != intent_sha256(stored):
            name, rule = f"{key[0]}-{key[1]}", "one id, one content: these bytes differ"
            raise InvalidRequest.of("intent_id", name, rule, reason="INTENT_REUSED")
        if key in self.records or key in self.finished:
            return None
        record = IntentRecord(stored, intent, received_at_ns, traceparent)
        self.records[key] = record
        self._tokens[token_id(*key)] = key
        if (decision := self.decided.pop(key, None)) is not None:
            self.learn_decision(decision, count_use=False)
        return record

    def pending(self) -> Iterator[IntentRecord]:
        """What waits for a person, oldest first."""
        waiting = [record for record in self.records.values() if record.is_pending and record.decision is None]
        yield from sorted(waiting, key=lambda record: (record.received_at_ns, record.key))

    def undecided(self) -> list[IntentRecord]:
        """Received, and nothing was said about them yet."""
        return [record for record in self.records.values() if record.decision is None and not record.is_pending]

    def decision_of(self, intent_id: str) -> authority_pb2.Decision | None:
        """The final decision on the newest attempt of this intent."""
        live = {key: record.decision for key, record in self.records.items() if record.decision is not None}
        known = live | {key: decision for key, (_, decision) in self.finished.items()}
        keys = [key for key in known if key[0] == intent_id]
        return known[max(keys)] if keys else None

    # -- beads ------------------------------------------------------------------------------------------------------

    def learn_bead(self, bead: audit_pb2.Bead) -> None:
        body = bead.WhichOneof("body")
        if body == "decision":
            self.learn_decision(bead.decision)
        elif body == "token":
            self.learn_token_event(bead.token)
        elif body == "mandate":
            self.learn_mandate(bead.mandate)
        elif body == "kill":
            self.kill_beads.add(bead.bead_id)

    def learn_decision(self, decision: authority_pb2.Decision, *, count_use: bool = True) -> None:
        """The first final decision on a key stands; a later one is the same fact told again."""
        key = decision.intent_id, decision.attempt
        record = self.records.get(key)
        if decision.verdict == authority_pb2.VERDICT_PENDING:
            if record is not None and record.decision is None and not record.is_pending:
                record.is_pending = True
                record.remember_shown(decision.evidence_sha256, decision.checks)
                self._remember_recent(record, decision.decided_at_ns, authorized=False)
            return
        if key in self.finished or key in self.decided or (record is not None and record.decision is not None):
            return
        if decision.verdict == authority_pb2.VERDICT_APPROVED:
            self.newest_authorized[key[0]] = max(key[1], self.newest_authorized.get(key[0], 0))
        if count_use and decision.verdict == authority_pb2.VERDICT_APPROVED and decision.mandate_id:
            use = self._mandate_record(decision.mandate_id)
            use.order_count += 1
            use.total_notional += money.of(decision.notional)
        if record is None:
            self.decided[key] = decision  # its intent has not been read yet, or is no longer kept
            return
        record.decision, record.is_pending = decision, False
        record.notional = money.of(decision.notional)
        if record.approved is not None:
            self._remember_recent(record, decision.decided_at_ns, authorized=True)
        self._retire(record)

    def learn_token_event(self, event: authority_pb2.TokenEvent) -> None:
        """What became of a token; one that belongs to no intent we keep is of no further use."""
        record = self.records.get(self._tokens.get(event.token_id, ("", 0)))
        if record is None:
            return
        # A token that was used, refused or expired was issued, even if the bead about that is still missing.
        if event.kind == authority_pb2.TOKEN_EVENT_KIND_ISSUED:
            record.token_issued = True
        elif event.kind in _TOKEN_ENDS and record.token_end != authority_pb2.TOKEN_EVENT_KIND_USED:
            record.token_end = event.kind
        self._retire(record)

    def learn_mandate(self, mandate: authority_pb2.Mandate) -> None:
        """A grant, or the same with its revocation; a revocation is never taken back."""
        record = self._mandate_record(mandate.mandate_id)
        if not record.mandate.revoked_at_ns:
            record.mandate = mandate

    # -- inbox and journal ------------------------------------------------------------------------------------------

    def learn_inbox(self, message: inbox_pb2.InboxMessage) -> None:
        """Something of ours is stored at a door."""
        body = message.WhichOneof("body")
        if body == "control":
            self.controls.add(message.control.request_id)
        elif body == "entry" and (record := self._record_of(message.entry)) is not None:
            record.entry_stored = True

    def learn_journal_entry(self, entry: journal_pb2.JournalEntry) -> None:
        """What the kernel made of an input."""
        book = self.books.setdefault(entry.account, AccountBook())
        book.learn(entry)
        if entry.door in ("entry", "control"):
            self._learn_input(entry)
        for slot in entry.slots:
            # A slot still names its trade when it is done, so both the start and the end of it are seen here.
            for record in self._records_of_trade(slot.trade_id):
                if record.entry_stored and not record.is_over and slot.entry.client_order_id == record.client_order_id:
                    record.slot_seen = True
                    record.is_over = not slot_is_open(slot)
                    self._retire(record)

    def _learn_input(self, entry: journal_pb2.JournalEntry) -> None:
        message = inbox_pb2.InboxMessage()
        try:
            message.ParseFromString(entry.input)
        except DecodeError:
            return  # the kernel refused and parked it; nothing of ours
        self.learn_inbox(message)
        # A repeat says nothing about the first one, which may be a trade by now.
        refused = not entry.outcome.accepted and entry.outcome.code != _REPEATED
        if message.WhichOneof("body") == "entry" and refused:
            record = self._record_of(message.entry)
            if record is not None:
                record.is_over = True
                self._retire(record)

    def learn_bar(self, bar: venue_pb2.Bar) -> None:
        """The newest bar of an instrument: a second opinion on prices, and the venue's own word on the instrument."""
        self.market[bar.venue, bar.instrument.symbol] = bar

    # -- views ------------------------------------------------------------------------------------------------------

    def reservations(self, account: str, *, apart_from: Key = ("", 0)) -> list[Reservation]:
        """Capital of authorized intents that no slot shows yet, at the notional they were authorized for."""
        return [
            Reservation(
                record.intent.intent_id, record.intent.instrument.symbol, record.notional, record.intent.leverage
            )
            for record in self.records.values()
            if record.reserves_capital and record.intent.account == account and record.key != apart_from
        ]

    def notional_of_entry(self, account: str) -> dict[str, Exact]:
        """What each entry was counted at when it was authorized, by trade."""
        return {
            record.intent.intent_id: record.notional
            for record in self.records.values()
            if record.approved is not None and record.intent.account == account
        }

    def forget_recent(self, before_ns: int) -> None:
        """Drop what no window looks back to any more."""
        while self.recent and self.recent[0].at_ns < before_ns:
            self.recent.popleft()

    # -- parts ------------------------------------------------------------------------------------------------------

    def _known_sha256(self, key: Key) -> bytes | None:
        if (record := self.records.get(key)) is not None:
            return record.sha256
        if key in self.finished:
            return self.finished[key][0]
        decision = self.decided.get(key)
        return decision.intent_sha256 if decision is not None and decision.intent_sha256 else None

    def _mandate_record(self, mandate_id: str) -> MandateRecord:
        return self.mandates.setdefault(mandate_id, MandateRecord(authority_pb2.Mandate()))

    def _record_of(self, authorized: intent_pb2.AuthorizedIntent) -> IntentRecord | None:
        try:
            intent = structure.parse(authorized.intent)
        except InvalidRequest:
            return None
        return self.records.get((intent.intent_id, intent.attempt))

    def _records_of_trade(self, trade_id: str) -> list[IntentRecord]:
        return [record for key, record in list(self.records.items()) if key[0] == trade_id] if trade_id else []

    def _remember_recent(self, record: IntentRecord, at_ns: int, *, authorized: bool) -> None:
        intent = record.intent
        one = Recent(
            intent.intent_id,
            intent.attempt,
            intent.account,
            intent.instrument.symbol,
            intent.side,
            evidence.quantity(intent),
            at_ns,
            authorized,
        )
        self.recent.append(one)

    def _retire(self, record: IntentRecord) -> None:
        if not record.is_finished or record.decision is None or self.records.pop(record.key, None) is None:
            return
        self._tokens.pop(token_id(*record.key), None)
        self.finished[record.key] = record.sha256, record.decision
        while len(self.finished) > _FINISHED_KEPT:
            (intent_id, attempt), _ = self.finished.popitem(last=False)
            if self.newest_authorized.get(intent_id) == attempt:
                del self.newest_authorized[intent_id]
