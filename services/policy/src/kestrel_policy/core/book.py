"""What the policy knows of one account: open trades, wishes that wait, exits that are on their way.

Folded from INTENTS (what was proposed), decision beads (what was refused) and the JOURNAL (everything else), in
that order at the start; after that in any order, because each fact names what it is about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.authority.v1 import authority_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_domain.tokens import TOKEN_LIFETIME_NS
from kestrel_policy.core.sizing import notional

_ENDED_STAGES = frozenset(
    {
        state_pb2.SLOT_STAGE_UNSPECIFIED,
        state_pb2.SLOT_STAGE_IDLE,
        state_pb2.SLOT_STAGE_POSITION_CLOSED,
        state_pb2.SLOT_STAGE_ORDER_REJECTED,
        state_pb2.SLOT_STAGE_TERMINAL_WRITTEN,
    }
)
_ENDED_LIFECYCLES = frozenset(
    {
        state_pb2.LIFECYCLE_CLOSED,
        state_pb2.LIFECYCLE_CANCELED,
        state_pb2.LIFECYCLE_REJECTED,
        state_pb2.LIFECYCLE_EXPIRED,
    }
)
LIVE_ORDERS = frozenset({state_pb2.ORDER_LIFE_PENDING_NEW, state_pb2.ORDER_LIFE_OPEN})
_DEAD_VERDICTS = frozenset({authority_pb2.VERDICT_DENIED, authority_pb2.VERDICT_PASSED, authority_pb2.VERDICT_EXPIRED})


@dataclass(frozen=True, slots=True)
class Proposal:
    """An intent that may still become a trade."""

    symbol: str
    strategy: str
    market_time_ns: int
    dead_after_ns: int
    notional: Number


@dataclass(frozen=True, slots=True)
class Origin:
    """What the slot does not say about its trade."""

    market_time_ns: int
    traceparent: str


@dataclass(slots=True)
class Book:
    """One account's part of the world."""

    account: str
    snapshot: state_pb2.AccountSnapshot | None = None
    slots: dict[int, state_pb2.SlotSnapshot] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    # Every intent id ever seen: proposing one of them again would be doing it twice.
    intent_ids: set[str] = field(default_factory=set)
    # By strategy and symbol: the market's time of the last intent that was refused.
    refusals: dict[tuple[str, str], int] = field(default_factory=dict)
    # By trade: the exit request that the journal has not shown yet.
    exits_sent: dict[str, str] = field(default_factory=dict)
    journal_sequence: int = 0
    input_sequence: int = 0

    # ── Learning ───────────────────────────────────────────────────────────────────────────────────────

    def learn_intent(self, intent: intent_pb2.Intent) -> None:
        """Something was proposed, by us or by somebody else. What is known of already changes nothing."""
        if intent.intent_id in self.intent_ids:
            return
        self.intent_ids.add(intent.intent_id)
        self.proposals[intent.intent_id] = Proposal(
            symbol=intent.instrument.symbol,
            strategy=intent.strategy,
            market_time_ns=intent.signal.market_time_ns,
            # Approved at the last moment, its token lives on for a while.
            dead_after_ns=intent.expires_at_ns + TOKEN_LIFETIME_NS,
            notional=notional(intent.instrument, Number.of(intent.reference_price), Number.of(intent.order_qty)),
        )

    def learn_decision(self, decision: authority_pb2.Decision) -> None:
        """Governance, or a person, said no: the intent waits no longer."""
        if decision.verdict in _DEAD_VERDICTS:
            self.intent_ids.add(decision.intent_id)
            proposal = self.proposals.pop(decision.intent_id, None)
            if proposal is not None:
                self.refusals[proposal.strategy, proposal.symbol] = proposal.market_time_ns

    def learn_exit_sent(self, trade_id: str, request_id: str) -> None:
        """An exit is in the inbox, and the journal will show what became of it."""
        self.exits_sent[trade_id] = request_id

    def learn_entry(self, entry: journal_pb2.JournalEntry, sequence: int) -> None:
        """One journal entry; one that was learned already changes nothing."""
        if sequence <= self.journal_sequence:
            return
        if entry.door in ("entry", "exit"):
            self._learn_input(entry)
        for slot in entry.slots:
            self.slots[slot.slot_index] = slot
        if entry.HasField("account_after"):
            self.snapshot = entry.account_after
        self.journal_sequence = sequence
        self.input_sequence = max(self.input_sequence, entry.input_sequence)
        self._forget_ended()

    def _learn_input(self, entry: journal_pb2.JournalEntry) -> None:
        try:
            message = inbox_pb2.InboxMessage.FromString(entry.input)
        except DecodeError:
            # The kernel could not read it either, and refused it: nothing follows from it.
            return
        if message.HasField("entry"):
            intent = _intent_of(message.entry)
            self.intent_ids.add(intent.intent_id)
            self.proposals.pop(intent.intent_id, None)
            if entry.outcome.accepted:
                self.origins[intent.intent_id] = Origin(intent.signal.market_time_ns, entry.traceparent)
        elif message.HasField("exit"):
            request = message.exit
            if self.exits_sent.get(request.trade_id) == request.request_id:
                del self.exits_sent[request.trade_id]

    def _forget_ended(self) -> None:
        live = {slot.trade_id for slot in self.slots.values() if is_open(slot)}
        for trade_id in self.origins.keys() - live:
            del self.origins[trade_id]
        for trade_id in self.exits_sent.keys() - live:
            del self.exits_sent[trade_id]

    # ── Asking ─────────────────────────────────────────────────────────────────────────────────────────

    def open_trades(self) -> Iterator[state_pb2.SlotSnapshot]:
        """Slots that hold a trade: from its entry's journaling until it is flat or its entry has ended."""
        return (slot for slot in self.slots.values() if is_open(slot))

    def trade_on(self, symbol: str) -> state_pb2.SlotSnapshot | None:
        return next((slot for slot in self.open_trades() if slot.instrument.symbol == symbol), None)

    def waiting(self, now_ns: int) -> dict[str, Proposal]:
        """Intents that may still become trades."""
        return {key: proposal for key, proposal in self.proposals.items() if proposal.dead_after_ns > now_ns}

    def is_pausing(self, strategy: str, symbol: str, market_time_ns: int, pause_days: int) -> bool:
        """The last intent was refused, and its pause is not over."""
        refused_ns = self.refusals.get((strategy, symbol))
        return refused_ns is not None and market_time_ns - refused_ns <= pause_days * DAY_NS

    def is_leaving(self, slot: state_pb2.SlotSnapshot) -> bool:
        """An exit of this trade is on its way; only when it is dead may another be asked for."""
        return slot.trade_id in self.exits_sent or slot.exit.life in LIVE_ORDERS or slot.exit.in_doubt

    def capital(self) -> Number | None:
        """What sizes are a part of; None while nothing is known, which blocks entries."""
        if self.snapshot is None:
            return None
        for name in ("capital", "wallet"):
            if self.snapshot.HasField(name):
                return Number.of(getattr(self.snapshot, name))
        return None

    def exposure(self, now_ns: int) -> Number:
        """What is open, working or proposed, as notional."""
        total = Number.zero()
        if self.snapshot is not None:
            total = Number.of(self.snapshot.gross_exposure) + Number.of(self.snapshot.working_exposure)
        for proposal in self.waiting(now_ns).values():
            total += proposal.notional
        return total

    def state_hash(self, symbol: str, market_time_ns: int) -> str:
        """Names the state a decision was taken on: the journal's reach, the account, and the bar."""
        digest = hashlib.sha256(f"{self.account}\0{self.journal_sequence}\0{symbol}\0{market_time_ns}".encode())
        if self.snapshot is not None:
            digest.update(self.snapshot.SerializeToString(deterministic=True))
        return digest.hexdigest()


def is_open(slot: state_pb2.SlotSnapshot) -> bool:
    """A position is open whatever else is said; without one, the trade is over once stage or lifecycle say so, and
    nothing that protected it works at the venue any more.
    """
    has_ended = slot.stage in _ENDED_STAGES or slot.lifecycle in _ENDED_LIFECYCLES
    is_protected = slot.stop.life in LIVE_ORDERS or slot.target.life in LIVE_ORDERS
    return bool(slot.trade_id) and (slot.qty.units != 0 or not has_ended or is_protected)


def _intent_of(entry: intent_pb2.AuthorizedIntent) -> intent_pb2.Intent:
    try:
        return intent_pb2.Intent.FromString(entry.intent)
    except DecodeError:
        # The kernel refused it for the same reason; there is no trade to remember.
        return intent_pb2.Intent()
