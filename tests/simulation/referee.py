"""What must always hold, checked at the moment it could break.

The referee sees every message when it is stored, every read of the kill flags, every mark and every send. It knows
nothing of the services' memory: it folds the streams by itself, with the kernel's own replay for the journal, and
holds what is stored against the venue. Whatever it needs, it keeps up to date; it never reads a stream again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects, tokens
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX, entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.core.replay import fold
from kestrel_persistence.core import chain
from kestrel_simulators.matching.books import Account
from kestrel_testkit.world import Message, SimulatedBus
from tests.simulation.database import Database, record_of

PARTITION = 0
JOURNAL = subjects.journal_stream(PARTITION)
SKEW_NS_MAX = 400 * MILLISECOND_NS
"""How far the clock of a simulated node may be off, either way."""

OVER = (
    state_pb2.SLOT_STAGE_IDLE,
    state_pb2.SLOT_STAGE_POSITION_CLOSED,
    state_pb2.SLOT_STAGE_ORDER_REJECTED,
    state_pb2.SLOT_STAGE_TERMINAL_WRITTEN,
)
WORKING = (state_pb2.ORDER_LIFE_PENDING_NEW, state_pb2.ORDER_LIFE_OPEN)

# Breaks that nothing explains but a book that is wrong. An order that is not at the venue yet, or a stranger's, are
# differences that a faulty world really has.
_BREAKS_OF_BOOKS = (
    "POSITION_QUANTITY_MISMATCH",
    "POSITION_MISSING_AT_BROKER",
    "BROKER_POSITION_OUTSIDE_LEDGER_SCOPE",
    "POSITION_MISSING_IN_MACHINE",
    "LEDGER_MISMATCH",
    "FILLED_QUANTITY_MISMATCH",
    "BALANCE_MISMATCH",
)


class Violation(AssertionError):
    """An invariant did not hold. ``about`` names the order, trade or intent, if it is about one."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


@dataclass(frozen=True, slots=True)
class FlagsLookedAt:
    """One read of the kill flags for one command."""

    place: int
    flags: authority_pb2.KillFlags
    reachable: bool
    reader_now_ns: int


@dataclass
class Referee:
    """The invariants of one world, and what it takes to check them."""

    bus: SimulatedBus
    venue_account: Account
    key: tokens.VerifyingKey
    exposure_max: Number
    slots: dict[str, state_pb2.SlotSnapshot] = field(default_factory=dict)
    commands: dict[str, journal_pb2.VenueCommand] = field(default_factory=dict)
    input_sequence: int = 0
    fills: dict[str, journal_pb2.BookedFill] = field(default_factory=dict)
    drift_symbol: str = ""
    drift_seen: bool = False
    alerts_due: dict[str, int] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    partition: Partition = field(default_factory=lambda: Partition(PARTITION, 1))

    def __post_init__(self) -> None:
        self._place = 0
        self._spent_at: dict[tuple[str, int], int] = {}
        self._looked_at: dict[tuple[str, int], FlagsLookedAt] = {}
        self._flags_history: list[tuple[int, authority_pb2.KillFlags]] = [(0, authority_pb2.KillFlags())]
        self._sent: Counter[str] = Counter()
        self._denied: set[str] = set()
        self._report_of_execution: dict[str, str] = {}
        self._watermark = 0
        self._taken_back: set[str] = set()
        self._intents: dict[tuple[str, int], intent_pb2.Intent] = {}
        self._decisions: dict[tuple[str, int], authority_pb2.Decision] = {}
        self._authorized: dict[tuple[str, int], intent_pb2.AuthorizedIntent] = {}
        self._refused: set[tuple[str, int]] = set()

    # --- what is stored ----------------------------------------------------------------------------------------------

    def on_stored(self, message: Message) -> None:
        """Every message, once, at the moment it is stored."""
        kind = message.subject.split(".")
        if kind[0] == "journal":
            self._on_entry(message)
        elif kind[0] == "alert":
            self.alerts_due.pop(message.message_id, None)
        elif kind[0] == "intent":
            intent = intent_pb2.Intent.FromString(message.data)
            self._intents[intent.intent_id, intent.attempt] = intent
        elif kind[0] == "inbox" and kind[-1] == "venue":
            self._on_report(inbox_pb2.InboxMessage.FromString(message.data).venue)
        elif kind[0] == "inbox" and kind[-1] == "entry":
            self._on_authorization(inbox_pb2.InboxMessage.FromString(message.data).entry, message.time_ns)
        elif kind[:2] == ["bead", "decision"]:
            self._on_decision(audit_pb2.Bead.FromString(message.data).decision)
        elif kind[:2] == ["bead", "drift"]:
            self._on_break(audit_pb2.Bead.FromString(message.data))

    def _on_entry(self, message: Message) -> None:
        """The chain is whole, a replay comes to the same, and each input has one entry, in the order of the inbox."""
        epoch = self.partition.epoch
        entry = fold(self.partition, message.sequence, message.data)
        for alert in alerts.of_entry(entry, message.sequence):
            self.alerts_due[alert.message_id] = message.sequence
        if entry.HasField("epoch_started"):
            require(entry.epoch > epoch, f"epoch {entry.epoch} follows epoch {epoch}")
            return
        require(entry.epoch == epoch, f"an entry of epoch {entry.epoch} in epoch {epoch}")
        due = self.input_sequence + 1
        require(entry.input_sequence == due, f"journaled input {entry.input_sequence}, and {due} was next")
        stored = self.bus.streams[subjects.INBOX].messages[due - 1]
        require(entry.input in (stored.data, b""), f"input {due} was journaled with other bytes than were stored")
        require(entry.input_time_ns == stored.time_ns, f"input {due} was journaled with another time than its own")
        self.input_sequence = due
        for index, command in enumerate(entry.commands):
            self.commands[f"{JOURNAL}:{message.sequence}:{index}"] = command
        for slot in entry.slots:
            if slot.trade_id:
                self.slots[slot.trade_id] = slot
        if entry.door == "entry" and not entry.outcome.accepted:
            self._refused.update(_attempt_asked_for(stored.data))
        for command in entry.commands:
            if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
                self._check_exit_size(command)
        self._book(entry)
        self.compare_positions()

    def _book(self, entry: journal_pb2.JournalEntry) -> None:
        """A fill is booked once; what was taken back stays so; a correction does both in one entry."""
        taken_back = {fill.execution_id for fill in entry.fills if fill.is_busted}
        for execution_id in taken_back:
            require(self.fills.pop(execution_id, None) is not None, f"{execution_id} was taken back, and never booked")
        for fill in entry.fills:
            if fill.is_busted:
                continue
            require(fill.execution_id not in self._taken_back, "a fill came back", fill.client_order_id)
            require(fill.execution_id not in self.fills, "a fill was booked twice", fill.client_order_id)
            self.fills[fill.execution_id] = fill
        gone = taken_back - self.fills.keys()
        self._taken_back |= gone
        self.counters["fill taken back"] += len(gone)
        self.counters["correction booked"] += len(taken_back - gone)

    def _check_exit_size(self, command: journal_pb2.VenueCommand) -> None:
        open_qty, order_qty = abs(Number.of(self.slots[command.trade_id].qty)), Number.of(command.order_qty)
        require(order_qty <= open_qty, f"an exit of {order_qty}, and {open_qty} is open", command.client_order_id)

    def compare_positions(self) -> None:
        """Slots, fills and the venue agree by symbol, whenever nothing is under way between them."""
        if self.input_sequence < self.bus.last_sequence(subjects.INBOX):
            return
        if self._watermark < self.venue_account.last_sequence:
            return
        ours, booked = Counter[str](), Counter[str]()
        for slot in self.slots.values():
            ours[slot.instrument.symbol] += slot.qty.units
        for fill in self.fills.values():
            booked[fill.symbol] += fill.last_qty.units * (1 if fill.side == common_pb2.SIDE_BUY else -1)
        for symbol in (booked.keys() | ours.keys()) - {self.drift_symbol}:
            held = self.venue_account.positions.get(symbol)
            at_venue = held.qty_units if held is not None else 0
            figures = f"{symbol}: the venue holds {at_venue}, the slots {ours[symbol]}, the fills {booked[symbol]}"
            require(at_venue == ours[symbol] == booked[symbol], figures, self._last_trade_in(symbol))
        self.counters["books compared"] += 1

    def _last_trade_in(self, symbol: str) -> str:
        return next((name for name, slot in reversed(self.slots.items()) if slot.instrument.symbol == symbol), "")

    def _on_report(self, report: venue_pb2.VenueReport) -> None:
        if report.WhichOneof("body") == "fill":
            fill = report.fill
            first = self._report_of_execution.setdefault(fill.execution_id, report.report_id)
            require(first == report.report_id, "one fill was reported under two ids", fill.client_order_id)
        elif report.WhichOneof("body") == "order" and report.order.fact == venue_pb2.ORDER_FACT_DENIED:
            self._on_denial(report.order)
        # A watermark says: all that the venue said up to here is stored.
        for event in self.venue_account.events[self._watermark : report.venue_watermark]:
            fact = event.fact
            if isinstance(fact, venue_pb2.Fill) and fact.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
                stored = fact.execution_id in self._report_of_execution
                require(stored, "the watermark passed a fill that is not stored", fact.client_order_id)
        self._watermark = max(self._watermark, report.venue_watermark)

    def _on_denial(self, order: venue_pb2.OrderReport) -> None:
        """Denied means that the venue never had it and never will; and no kill flag ever stops an exit."""
        self._denied.add(order.client_order_id)
        at_venue = order.client_order_id in self.venue_account.orders
        require(not at_venue, "an order was denied that the venue has", order.client_order_id)
        is_exit = any(
            command.client_order_id == order.client_order_id and command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
            for command in self.commands.values()
        )
        stopped = is_exit and order.reason.reason.startswith("KILL")
        require(not stopped, "a kill flag stopped an exit", order.client_order_id)

    # --- authority ---------------------------------------------------------------------------------------------------

    def on_flags_stored(self, flags: authority_pb2.KillFlags, now_ns: int) -> None:
        copy = authority_pb2.KillFlags()
        copy.CopyFrom(flags)
        self._flags_history.append((now_ns, copy))

    def _on_decision(self, decision: authority_pb2.Decision) -> None:
        key = decision.intent_id, decision.attempt
        if decision.verdict == authority_pb2.VERDICT_PENDING:
            return
        first = self._decisions.setdefault(key, decision)
        require(first.verdict == decision.verdict, "one attempt was decided twice, differently", key[0])
        if decision.verdict != authority_pb2.VERDICT_APPROVED:
            return
        intent = self._intents[key]
        itself = intent.proposer.kind == "operator" and intent.proposer.id == decision.decided_by.id
        require(not itself, f"{intent.proposer.id} approved what {intent.proposer.id} proposed", key[0])
        for flags in self._flags_for_certain(decision.decided_at_ns):
            blocked = any(_covers(flag, intent, decision.decided_at_ns) for flag in flags.flags)
            require(not blocked, "approved while a kill flag was up", key[0])

    def _flags_for_certain(self, at_ns: int) -> Iterator[authority_pb2.KillFlags]:
        """The flags as they were, unless they changed so close by that the decider's clock may explain it."""
        before = [flags for time_ns, flags in self._flags_history if time_ns < at_ns - SKEW_NS_MAX]
        near = [1 for time_ns, _ in self._flags_history if abs(time_ns - at_ns) <= SKEW_NS_MAX]
        if before and not near:
            yield before[-1]

    def _on_authorization(self, entry: intent_pb2.AuthorizedIntent, now_ns: int) -> None:
        """A permission follows from a stored approval, has its attempt's one token, and fits under the limit."""
        intent = intent_pb2.Intent.FromString(entry.intent)
        key = intent.intent_id, intent.attempt
        decision = self._decisions.get(key)
        approved = decision is not None and decision.verdict == authority_pb2.VERDICT_APPROVED
        require(approved, "authorized without a stored approval", key[0])
        claims = tokens.read_token(self.key, entry.token, stored_intent=entry.intent)
        require(claims.token_id == token_id(*key), "a token under another id than its attempt's", key[0])
        first = self._authorized.setdefault(key, entry)
        require(first == entry, "one attempt was authorized with two contents", key[0])
        exposure = self.exposure(now_ns)
        limit = self.exposure_max
        require(exposure <= limit, f"authorized up to {exposure}, and the limit is {limit}", key[0])
        self.counters["exposure checked"] += 1

    def exposure(self, now_ns: int) -> Number:
        """Held, working, or authorized and on its way, each at the price it was decided on."""
        # The newest by when it was authorized: people may answer an older attempt last.
        newest = {trade_id: attempt for trade_id, attempt in self._authorized}  # noqa: C416 - dict() would copy the dict
        return sum((self._exposure_of(*key, now_ns) for key in newest.items()), start=Number.zero())

    def _exposure_of(self, trade_id: str, attempt: int, now_ns: int) -> Number:
        intent = self._intents[trade_id, attempt]
        slot = self.slots.get(trade_id)
        order = entry_client_order_id(token_id(trade_id, attempt))
        if self._authorized[trade_id, attempt].expires_at_ns <= now_ns and not self._sent[order]:
            return Number.zero()  # nobody may send it any more
        quantity = Number.of(intent.order_qty)
        if slot is not None and slot.entry.client_order_id == order:
            quantity = abs(Number.of(slot.qty))
            if slot.entry.life in WORKING or slot.entry.in_doubt:
                quantity += max(Number.of(slot.entry.order_qty) - Number.of(slot.entry.cum_qty), Number.zero())
        elif (trade_id, attempt) in self._refused:
            return Number.zero()
        price = Number.of(intent.reference_price)
        return Number(quantity.units * price.units, quantity.scale + price.scale)

    # --- the gateway's acts ------------------------------------------------------------------------------------------

    def on_flags_read(self, identity: str, session: int, *, reachable: bool, reader_now_ns: int) -> None:
        self._place += 1
        self._looked_at[identity, session] = FlagsLookedAt(
            self._place, self._flags_history[-1][1], reachable, reader_now_ns
        )

    def on_spent(self, identity: str, session: int) -> None:
        self._place += 1
        self._spent_at[identity, session] = self._place

    def on_send(self, command: journal_pb2.VenueCommand, identity: str, session: int) -> None:
        """No submission without its own spent token, or its own warrant."""
        journaled = self.commands.get(identity)
        order = command.client_order_id
        require(journaled == command, "sent what the journal does not command", order)
        self._sent[order] += 1
        if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
            claims = tokens.read_warrant(self.key, command.exit_warrant)
            require(claims.trade_id == command.trade_id, "sent with another trade's warrant", order)
            self._check_mark(order, identity, order)
            self.counters["exit sent"] += 1
            return
        intent = intent_pb2.Intent.FromString(command.intent)
        tokens.read_token(self.key, command.token, stored_intent=command.intent)
        key = token_id(intent.intent_id, intent.attempt)
        require(order == entry_client_order_id(key), "not the order id of its token", order)
        self._check_mark(key, identity, order)
        self._check_flags(command, intent, identity, session)
        require(self._sent[order] == 1, "an entry was sent twice", order)
        self.counters["entry sent"] += 1

    def _check_mark(self, key: str, identity: str, order: str) -> None:
        found = self.bus.get(subjects.SPENT_BUCKET, key)
        require(found is not None, "sent before it was marked as spent", order)
        require(found is not None and found[0] == identity.encode(), "sent on another command's mark", order)

    def _check_flags(
        self, command: journal_pb2.VenueCommand, intent: intent_pb2.Intent, identity: str, session: int
    ) -> None:
        """The last look at the flags was after spending, it saw them, and none of them was up."""
        order, look = command.client_order_id, self._looked_at.get((identity, session))
        require(look is not None, "sent without a look at the kill flags", order)
        assert look is not None
        require(
            look.place > self._spent_at.get((identity, session), look.place),
            "no look at the kill flags between spending and sending",
            order,
        )
        require(look.reachable, "sent although the kill flags could not be read", order)
        blocked = any(_covers(flag, intent, look.reader_now_ns) for flag in look.flags.flags)
        require(not blocked, "sent although a kill flag was up when the gateway looked", order)
        require(command.expires_at_ns > look.reader_now_ns, "sent after it had expired", order)

    def on_venue_has(self, client_order_id: str) -> None:
        """The venue took an order, now or late."""
        if client_order_id in self.venue_account.orders:
            denied = client_order_id in self._denied
            require(not denied, "the venue has an order that was denied", client_order_id)

    # --- the reconciler ----------------------------------------------------------------------------------------------

    def _on_break(self, bead: audit_pb2.Bead) -> None:
        found = bead.drift
        if found.reason not in _BREAKS_OF_BOOKS:
            return
        expected = bool(self.drift_symbol) and found.symbol == self.drift_symbol
        require(expected, f"a break that nobody induced: {found.reason} {found.symbol}: {found.message}")
        self.drift_seen = True
        self.counters["drift found"] += 1

    # --- at rest -----------------------------------------------------------------------------------------------------

    def check_database(self, database: Database) -> None:
        """Each message was read once, and the rows say what the journal says."""
        rows = Counter[str](row.table for row in database.rows.values())
        for stream, position in database.positions.items():
            require(position.sequence == self.bus.last_sequence(stream), f"{stream} is stored up to {position}")
        unusable = Counter(row.values["stream"] for row in database.rows.values() if row.table == "unusable_messages")
        for table, stream in (("journal_entries", JOURNAL), ("inbox_messages", subjects.INBOX)):
            count = rows[table] + unusable[stream]
            require(count == self.bus.last_sequence(stream), f"{count} rows in {table} and of what cannot be used")
        head = database.position(subjects.BEADS).head
        require(head.length == self.bus.last_sequence(subjects.BEADS), f"the chain of beads has {head.length} links")
        require(head == self._bead_head(), "the chain of beads is not that of the stored bytes")
        ordered = {row.values["client_order_id"] for row in database.rows.values() if row.table == "orders"}
        submits = (one for one in self.commands.values() if one.kind != journal_pb2.COMMAND_KIND_CANCEL)
        require(ordered == {one.client_order_id for one in submits}, "the orders' rows are not the journal's commands")
        booked = Counter[object]()
        for row in database.rows.values():
            if row.table == "fills":
                booked[row.values["execution_id"]] += -1 if row.values["is_busted"] else 1
        require(+booked == Counter(self.fills.keys()), "the fills' rows are not the fills that were booked")
        self.counters["database compared"] += 1

    def _bead_head(self) -> chain.Head:
        head = chain.Head()
        for message in self.bus.read(subjects.BEADS):
            head = chain.bead_link(head, record_of(message)).head
        return head

    def open_slots(self) -> list[state_pb2.SlotSnapshot]:
        return [slot for slot in self.slots.values() if slot.stage not in OVER]

    def unheard(self) -> bool:
        """The venue said something about us that no stored report has passed; a stranger's orders make no report."""
        facts = [event.fact for event in self.venue_account.events[self._watermark :]]
        return any(
            isinstance(fact, venue_pb2.Balance) or fact.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)
            for fact in facts
        )

    def orders_of(self, trade_id: str) -> set[str]:
        return {one.client_order_id for one in self.commands.values() if one.trade_id == trade_id}

    def sent_count(self, client_order_id: str) -> int:
        return self._sent[client_order_id]

    def taken_back_at_venue(self) -> set[str]:
        facts: list[object] = [event.fact for event in self.venue_account.events]
        busts = (fact for fact in facts if isinstance(fact, venue_pb2.FillBust))
        return {bust.execution_id for bust in busts if not bust.HasField("corrected")}

    def related(self, about: str) -> set[str]:
        """The trade and all its orders, given any of them."""
        trades = {one.trade_id for one in self.commands.values() if one.client_order_id == about} or {about}
        return trades.union(*map(self.orders_of, trades)) - {""}

    def check_books(self, account: str) -> None:
        """At rest: the venue has what was commanded, every fill is booked, nothing is held, the money agrees."""
        commanded = {command.client_order_id for command in self.commands.values()}
        ours = {name for name in self.venue_account.orders if name.startswith(CLIENT_ORDER_ID_PREFIX)}
        for name in sorted(ours - commanded):
            require(False, "the venue has an order that the journal does not command", name)
        taken_back = self.taken_back_at_venue()
        at_venue = {
            fill.execution_id: fill.client_order_id
            for fill in self.venue_account.fills
            if fill.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX) and fill.execution_id not in taken_back
        }
        for execution_id in sorted(at_venue.keys() ^ self.fills.keys()):
            require(False, f"fill {execution_id} is in one book only", at_venue.get(execution_id, ""))
        positions = self.venue_account.positions.items()
        held = {name: position.qty_units for name, position in positions if position.qty_units}
        require(not held, f"the venue holds {held} and every trade is over")
        snapshot = self.partition.account(account)
        ours_wallet, wallet = Number.of(snapshot.wallet), Number(self.venue_account.wallet_units, 8)
        require(ours_wallet == wallet, f"wallet: kernel {ours_wallet}, venue {wallet}")
        off = Number.of(snapshot.ledger_delta)
        is_wrong = snapshot.ledger_status == state_pb2.LEDGER_STATUS_ERROR
        require(not is_wrong, f"the kernel's ledger is off by {off}")
        self.counters["orders"] += len(ours)
        self.counters["fills"] += len(self.fills)


def require(holds: bool, message: str, about: str = "") -> None:
    if not holds:
        raise Violation(f"{about}: {message}" if about else message, about)


def _attempt_asked_for(stored: bytes) -> Iterator[tuple[str, int]]:
    """The attempt an entry was for. The outcome of a refusal may name another trade: the one that was in the way."""
    try:
        intent = intent_pb2.Intent.FromString(inbox_pb2.InboxMessage.FromString(stored).entry.intent)
    except DecodeError:
        return  # garbage asks for nothing
    yield intent.intent_id, intent.attempt


def _covers(flag: authority_pb2.KillFlag, intent: intent_pb2.Intent, now_ns: int) -> bool:
    """Written again here, from the contract: the services' own reading of a flag is what is under test."""
    if flag.expires_at_ns and flag.expires_at_ns <= now_ns:
        return False
    return {
        authority_pb2.KILL_SCOPE_GLOBAL: True,
        authority_pb2.KILL_SCOPE_VENUE: flag.target == intent.venue,
        authority_pb2.KILL_SCOPE_ACCOUNT: flag.target == intent.account,
        authority_pb2.KILL_SCOPE_STRATEGY: flag.target == intent.strategy,
        authority_pb2.KILL_SCOPE_SYMBOL: flag.target == intent.instrument.symbol,
    }[flag.scope]
