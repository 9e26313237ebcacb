"""What became of each order, and when: read back from the streams, the venue's ledger and the database.

Stored times are the NATS server's, the others are of the clock of the same machine, so they may be subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from bench.figures import milliseconds
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_domain import subjects
from kestrel_domain.identifiers import entry_client_order_id, token_id

ENTRY_HOPS: tuple[tuple[str, str, str], ...] = (
    ("intent stored", "begun", "intent"),
    ("decision stored as a bead", "intent", "decision"),
    ("authorized, in INBOX", "decision", "authorized"),
    ("order journaled", "authorized", "journaled"),
    ("token spent", "journaled", "spent"),
    ("SUBMITTING stored in INBOX", "spent", "submitting"),
    ("venue received it", "submitting", "venue"),
    ("answer stored in INBOX", "venue", "answer"),
    ("fill stored in INBOX", "venue", "fill"),
    ("fill journaled", "fill", "fill_journaled"),
    ("row in the database", "fill_journaled", "row"),
)
EXIT_HOPS: tuple[tuple[str, str, str], ...] = (
    ("request stored in INBOX", "begun", "request"),
    ("exit journaled", "request", "journaled"),
    ("marked as sent", "journaled", "spent"),
    ("SUBMITTING stored in INBOX", "spent", "submitting"),
    ("venue received it", "submitting", "venue"),
)
ENTRY_FLOOR = ("intent", "decision", "authorized", "journaled", "submitting")
"""The durable publishes between an intent and the venue, one after the other; beside them one create (the spend)."""

_FACTS = {venue_pb2.ORDER_FACT_SUBMITTING: "submitting", venue_pb2.ORDER_FACT_ACKNOWLEDGED: "answer"}


@dataclass(slots=True)
class Trail:
    """One order. ``times_ns`` by milestone; ``bodies``: the stored bytes behind some of them."""

    times_ns: dict[str, int] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def note(self, milestone: str, time_ns: int, body: bytes = b"") -> None:
        """The first time counts."""
        if milestone not in self.times_ns:
            self.times_ns[milestone] = time_ns
            self.bodies[milestone] = body


@dataclass(slots=True)
class Trails:
    """Entries by intent id, exits by trade id; one id both times, since a trade is named after its intent."""

    entries: dict[str, Trail] = field(default_factory=dict)
    exits: dict[str, Trail] = field(default_factory=dict)
    _by_order: dict[str, Trail] = field(default_factory=dict)
    _by_inbox: dict[int, tuple[Trail, str]] = field(default_factory=dict)

    def begin_entry(self, intent_id: str, time_ns: int) -> None:
        trail = self.entries[intent_id] = Trail({"begun": time_ns})
        token = token_id(intent_id, 1)
        self._by_order[entry_client_order_id(token)] = trail
        self._by_order[token] = trail

    def begin_exit(self, trade_id: str, time_ns: int) -> None:
        self.exits.setdefault(trade_id, Trail({"begun": time_ns}))

    # --- learning, in this order -------------------------------------------------------------------------------------

    def learn_intent(self, message: StoredMessage) -> None:
        intent = intent_pb2.Intent.FromString(message.data)
        if (trail := self.entries.get(intent.intent_id)) is not None:
            trail.note("intent", message.time_ns, message.data)

    def learn_bead(self, message: StoredMessage) -> None:
        bead = audit_pb2.Bead.FromString(message.data)
        if bead.decision.verdict == authority_pb2.VERDICT_APPROVED and bead.decision.intent_id in self.entries:
            self.entries[bead.decision.intent_id].note("decision", message.time_ns, message.data)

    def learn_inbox(self, message: StoredMessage) -> None:
        parsed = inbox_pb2.InboxMessage.FromString(message.data)
        match parsed.WhichOneof("body"):
            case "entry":
                intent = intent_pb2.Intent.FromString(parsed.entry.intent)
                self._note_input(self.entries.get(intent.intent_id), "authorized", "journaled", message)
            case "exit":
                self._note_input(self.exits.get(parsed.exit.trade_id), "request", "journaled", message)

    def learn_journal(self, message: StoredMessage) -> None:
        entry = journal_pb2.JournalEntry.FromString(message.data)
        trail, milestone = self._by_inbox.get(entry.input_sequence, (None, ""))
        if trail is not None:
            trail.note(milestone, message.time_ns, message.data)
        for command in entry.commands:
            if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT and command.trade_id in self.exits:
                self._by_order[command.client_order_id] = self.exits[command.trade_id]

    def learn_reports(self, message: StoredMessage) -> None:
        """INBOX once more, now that the journal has told which orders the exits are."""
        report = inbox_pb2.InboxMessage.FromString(message.data).venue
        if report.HasField("order") and report.order.fact in _FACTS:
            trail = self._by_order.get(report.order.client_order_id)
            if trail is not None:
                trail.note(_FACTS[report.order.fact], message.time_ns, message.data)
        if report.HasField("fill"):
            self._note_input(self._by_order.get(report.fill.client_order_id), "fill", "fill_journaled", message)

    def learn_spent(self, message: StoredMessage) -> None:
        trail = self._by_order.get(message.subject.rpartition(".")[2])
        if trail is not None:
            trail.note("spent", message.time_ns, message.data)

    def learn_ledger(self, ledger: paper_pb2.GetLedgerResponse) -> None:
        for order in ledger.orders:
            if (trail := self._by_order.get(order.client_order_id)) is not None:
                trail.note("venue", order.received_at_ns)

    def learn_row(self, client_order_id: str, recorded_ns: int) -> None:
        if (trail := self._by_order.get(client_order_id)) is not None:
            trail.note("row", recorded_ns)

    def _note_input(self, trail: Trail | None, milestone: str, then: str, message: StoredMessage) -> None:
        if trail is not None and milestone not in trail.times_ns:
            trail.note(milestone, message.time_ns, message.data)
            self._by_inbox[message.sequence] = trail, then


async def learn_everything(
    trails: Trails, bus: Bus, start: Mapping[str, int], ledger: paper_pb2.GetLedgerResponse, dsn: str
) -> None:
    """Read all of it. ``start``: by stream, the first sequence that matters."""
    journal, spent = subjects.journal_stream(0), f"KV_{subjects.SPENT_BUCKET}"
    for stream, learn in (
        (subjects.INTENTS, trails.learn_intent),
        (subjects.BEADS, trails.learn_bead),
        (subjects.INBOX, trails.learn_inbox),
        (journal, trails.learn_journal),
        (subjects.INBOX, trails.learn_reports),
        (journal, trails.learn_journal),
        (spent, trails.learn_spent),
    ):
        async for message in bus.read(stream, start_sequence=start[stream]):
            learn(message)
    trails.learn_ledger(ledger)
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT client_order_id, (extract(epoch FROM recorded_at) * 1000000000)::bigint"
            " FROM fills WHERE stream = $1 AND sequence >= $2 ORDER BY sequence",
            journal,
            start[journal],
        )
        for row in rows:
            trails.learn_row(row[0], row[1])
    finally:
        await connection.close()


def between(trails: Iterable[Trail], first: str, last: str) -> list[int]:
    """Nanoseconds from one milestone to another, of those orders that reached both."""
    return [
        trail.times_ns[last] - trail.times_ns[first]
        for trail in trails
        if first in trail.times_ns and last in trail.times_ns
    ]


def hops(trails: Sequence[Trail], names: Sequence[tuple[str, str, str]]) -> dict[str, dict[str, float]]:
    """Percentiles of each hop."""
    found = {name: between(trails, first, last) for name, first, last in names}
    return {name: milliseconds(times) for name, times in found.items() if times}
