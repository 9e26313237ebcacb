"""What must always hold, checked at the moment it could break.

The referee sees every message when it is stored, every read of the kill flags, every mark and every send. It knows
nothing of the services' memory: it folds the streams by itself, with the kernel's own replay for the journal, and
holds what is stored against the venue. Whatever it needs, it keeps up to date; it never reads a stream again.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects, tokens
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX, entry_client_order_id, partition_of, token_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, decode_snapshot
from kestrel_kernel.core.replay import fold
from kestrel_persistence.core import chain
from kestrel_simulators.matching.books import Account, Life
from kestrel_testkit.world import Message, SimulatedBus
from tests.simulation.database import Database, record_of

PARTITION = 0
JOURNAL = subjects.journal_stream(PARTITION)
"""Where the first account is; a second one may be elsewhere."""

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


Entry = tuple[int, int]
"""Partition, and the sequence of an entry in its journal."""


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
class Books:
    """One account: what the venue says of it, and what the journal made of that."""

    account: str
    partition: int
    venue: Account
    slots: dict[str, state_pb2.SlotSnapshot] = field(default_factory=dict)
    fills: dict[str, journal_pb2.BookedFill] = field(default_factory=dict)
    watermark: int = 0
    taken_back: set[str] = field(default_factory=set)
    drift_symbol: str = ""
    drift_seen: bool = False
    # By symbol: what the slots hold together, and what the fills come to.
    held: Counter[str] = field(default_factory=Counter)
    booked: Counter[str] = field(default_factory=Counter)
    # By execution: its fee as booked, with what a settlement added.
    fees: dict[str, Number] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    """Of ``slots``, the trades that are over: a slot is never changed, only taken anew."""

    def take_slot(self, slot: state_pb2.SlotSnapshot) -> None:
        before = self.slots.get(slot.trade_id)
        self.held[slot.instrument.symbol] += slot.qty.units - (before.qty.units if before is not None else 0)
        self.slots[slot.trade_id] = slot
        if is_over(slot):
            self.over.add(slot.trade_id)
        else:
            self.over.discard(slot.trade_id)

    def open_slots(self) -> list[state_pb2.SlotSnapshot]:
        """Trades that are not over."""
        return [slot for trade_id, slot in self.slots.items() if trade_id not in self.over]

    def book(self, fill: journal_pb2.BookedFill) -> None:
        self.booked[fill.symbol] += _signed_units(fill)
        self.fills[fill.execution_id] = fill
        self.fees[fill.execution_id] = Number.of(fill.fee)

    def take_back(self, execution_id: str) -> bool:
        """False: it was never booked."""
        fill = self.fills.pop(execution_id, None)
        if fill is None:
            return False
        self.booked[fill.symbol] -= _signed_units(fill)
        return True

    def unheard(self) -> bool:
        """The venue said something about us that no stored report has passed; a stranger's orders make no report."""
        facts = [event.fact for event in self.venue.events[self.watermark :]]
        return any(
            isinstance(fact, venue_pb2.Balance) or fact.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)
            for fact in facts
        )

    def taken_back_at_venue(self) -> set[str]:
        facts: list[object] = [event.fact for event in self.venue.events]
        busts = (fact for fact in facts if isinstance(fact, venue_pb2.FillBust))
        return {bust.execution_id for bust in busts if not bust.HasField("corrected")}

    def last_trade_in(self, symbol: str) -> str:
        return next((name for name, slot in reversed(self.slots.items()) if slot.instrument.symbol == symbol), "")


@dataclass
class Referee:
    """The invariants of one world, and what it takes to check them."""

    bus: SimulatedBus
    venue_accounts: Mapping[str, Account]
    key: tokens.VerifyingKey
    exposure_max: Number
    partition_count: int = 1
    commands: dict[str, journal_pb2.VenueCommand] = field(default_factory=dict)
    alerts_due: dict[str, int] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.books = {
            name: Books(name, partition_of(name, self.partition_count), account)
            for name, account in self.venue_accounts.items()
        }
        self.partitions = [Partition(number, self.partition_count) for number in range(self.partition_count)]
        self._inputs_due: list[deque[int]] = [deque() for _ in self.partitions]
        # By trade: each time a bust made it larger, the entry that says so and what was open before.
        self._grown: dict[str, list[tuple[Entry, Number]]] = {}
        self._orders_of_trade: defaultdict[str, set[str]] = defaultdict(set)
        self._known_entries: dict[int, int] = {}
        self._decided_on: dict[tuple[str, int], dict[int, int]] = {}
        self._newest: dict[str, int] = {}
        self._exits: set[str] = set()
        self._protective: dict[str, journal_pb2.VenueCommand] = {}
        self._signals: dict[str, signal_pb2.Signal] = {}
        self._place = 0
        self._spent_at: dict[tuple[str, int], int] = {}
        self._looked_at: dict[tuple[str, int], FlagsLookedAt] = {}
        self._flags_history: list[tuple[int, authority_pb2.KillFlags]] = [(0, authority_pb2.KillFlags())]
        self._sent: Counter[str] = Counter()
        self._denied: set[str] = set()
        self._report_of_execution: dict[str, str] = {}
        self._settled: set[str] = set()
        self._intents: dict[tuple[str, int], intent_pb2.Intent] = {}
        self._decisions: dict[tuple[str, int], authority_pb2.Decision] = {}
        self._authorized: dict[tuple[str, int], intent_pb2.AuthorizedIntent] = {}
        self._refused: set[tuple[str, int]] = set()
        self._genuine: set[tuple[str, bytes]] = set()

    # --- what is stored ----------------------------------------------------------------------------------------------

    def on_stored(self, message: Message) -> None:
        """Every message, once, at the moment it is stored."""
        kind = message.subject.split(".")
        if kind[0] == "inbox":
            self._inputs_due[int(kind[1])].append(message.sequence)
        if kind[0] == "journal":
            self._on_entry(message)
        elif kind[0] == "alert":
            self.alerts_due.pop(message.message_id, None)
        elif kind[0] == "intent":
            self._on_intent(intent_pb2.Intent.FromString(message.data))
        elif kind[0] == "inbox" and kind[-1] == "venue":
            self._on_report(inbox_pb2.InboxMessage.FromString(message.data).venue)
        elif kind[0] == "inbox" and kind[-1] == "entry":
            self._on_authorization(inbox_pb2.InboxMessage.FromString(message.data).entry, message.time_ns)
        elif kind[:2] == ["bead", "decision"]:
            self._on_decision(audit_pb2.Bead.FromString(message.data).decision)
        elif kind[:2] == ["bead", "drift"]:
            self._on_break(audit_pb2.Bead.FromString(message.data))
        elif kind[:2] == ["bead", "signal"]:
            self._on_signal(audit_pb2.Bead.FromString(message.data).signal)

    def _on_entry(self, message: Message) -> None:
        """The chain is whole, a replay comes to the same, and each input has one entry, in the order of the inbox."""
        number = int(message.subject.split(".")[1])
        partition, inputs_due = self.partitions[number], self._inputs_due[number]
        epoch = partition.epoch
        entry = fold(partition, message.sequence, message.data)
        for alert in alerts.of_entry(entry, message.sequence):
            self.alerts_due[alert.message_id] = message.sequence
        if entry.HasField("epoch_started"):
            require(entry.epoch > epoch, f"epoch {entry.epoch} follows epoch {epoch}")
            return
        require(entry.epoch == epoch, f"an entry of epoch {entry.epoch} in epoch {epoch}")
        due = inputs_due.popleft() if inputs_due else 0
        require(entry.input_sequence == due, f"journaled input {entry.input_sequence}, and {due} was next")
        stored = self.bus.streams[subjects.INBOX].messages[due - 1]
        require(entry.input in (stored.data, b""), f"input {due} was journaled with other bytes than were stored")
        require(entry.input_time_ns == stored.time_ns, f"input {due} was journaled with another time than its own")
        self.counters["input came again"] += entry.outcome.code == "DUPLICATE_EVENT"
        for index, command in enumerate(entry.commands):
            self.commands[f"{message.stream}:{message.sequence}:{index}"] = command
            self._orders_of_trade[command.trade_id].add(command.client_order_id)
        if entry.account not in self.books:
            return  # it names no account, and nothing follows from it
        books = self.books[entry.account]
        for slot in entry.slots:
            if slot.trade_id:
                self._take_slot(books, slot, entry, (number, message.sequence))
        if entry.door == "entry" and not entry.outcome.accepted:
            self._refused.update(_attempt_asked_for(stored.data))
        for command in entry.commands:
            require(command.account == entry.account, "a command for another account", command.client_order_id)
            if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE:
                self._protective[command.client_order_id] = command
            if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
                self._exits.add(command.client_order_id)
                self._check_exit_size(books, command)
        self._book(books, entry)
        self._compare(books)

    def _take_slot(
        self, books: Books, slot: state_pb2.SlotSnapshot, entry: journal_pb2.JournalEntry, place: Entry
    ) -> None:
        if any(fill.is_busted for fill in entry.fills):
            before = books.slots.get(slot.trade_id)
            open_qty = abs(Number.of(before.qty)) if before is not None else Number.zero()
            if abs(Number.of(slot.qty)) > open_qty:
                self._grown.setdefault(slot.trade_id, []).append((place, open_qty))
        books.take_slot(slot)

    def _book(self, books: Books, entry: journal_pb2.JournalEntry) -> None:
        """A fill is booked once; what was taken back stays so; a correction does both in one entry."""
        taken_back = {fill.execution_id for fill in entry.fills if fill.is_busted}
        for execution_id in taken_back:
            require(books.take_back(execution_id), f"{execution_id} was taken back, and never booked")
        for fill in entry.fills:
            if fill.is_busted:
                continue
            require(fill.execution_id not in books.taken_back, "a fill came back", fill.client_order_id)
            require(fill.execution_id not in books.fills, "a fill was booked twice", fill.client_order_id)
            books.book(fill)
            self._check_protective_fill(books, fill)
        for settled in entry.settlements:
            require(settled.execution_id in books.fills, "a settlement of no fill", settled.client_order_id)
            books.fees[settled.execution_id] += Number.of(settled.fee)
            self.counters["settlement booked"] += 1
        gone = taken_back - books.fills.keys()
        books.taken_back |= gone
        self.counters["fill taken back"] += len(gone)
        self.counters["correction booked"] += len(taken_back - gone)

    def _check_protective_fill(self, books: Books, fill: journal_pb2.BookedFill) -> None:
        """No order that protects a position ever turns it round: what was taken back later excepted."""
        order = self._protective.get(fill.client_order_id)
        if order is None:
            return
        ours = self.orders_of(order.trade_id)
        if books.taken_back_at_venue() or self._grown.get(order.trade_id):
            return
        sign = 1 if order.side == common_pb2.SIDE_SELL else -1
        left = sign * sum(_signed_units(one) for one in books.fills.values() if one.client_order_id in ours)
        require(left >= 0, f"a protective order turned its trade's position to {left}", fill.client_order_id)
        self.counters["protective fill"] += 1

    def _check_exit_size(self, books: Books, command: journal_pb2.VenueCommand) -> None:
        open_qty, order_qty = abs(Number.of(books.slots[command.trade_id].qty)), Number.of(command.order_qty)
        require(order_qty <= open_qty, f"an exit of {order_qty}, and {open_qty} is open", command.client_order_id)

    def _compare(self, books: Books) -> None:
        """Slots, fills and the venue agree by symbol, whenever nothing is under way between them."""
        if self._inputs_due[books.partition] or books.watermark < books.venue.last_sequence:
            return
        for symbol in (books.booked.keys() | books.held.keys()) - {books.drift_symbol}:
            position = books.venue.positions.get(symbol)
            at_venue = position.qty_units if position is not None else 0
            if not at_venue == books.held[symbol] == books.booked[symbol]:
                figures = (
                    f"the venue holds {at_venue}, the slots {books.held[symbol]}, the fills {books.booked[symbol]}"
                )
                require(False, f"{symbol}: {figures}", books.last_trade_in(symbol))
        self.counters["books compared"] += 1

    def _on_report(self, report: venue_pb2.VenueReport) -> None:
        if report.WhichOneof("body") == "fill":
            fill = report.fill
            first = self._report_of_execution.setdefault(fill.execution_id, report.report_id)
            require(first == report.report_id, "one fill was reported under two ids", fill.client_order_id)
        elif report.WhichOneof("body") == "order" and report.order.fact == venue_pb2.ORDER_FACT_DENIED:
            self._on_denial(report.order)
        elif report.WhichOneof("body") == "settlement":
            self._settled.add(report.settlement.execution_id)
        # A watermark says: all that the venue said up to here is stored.
        books = self.books[report.account]
        for event in books.venue.events[books.watermark : report.venue_watermark]:
            fact: object = event.fact
            if isinstance(fact, venue_pb2.Fill) and fact.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
                is_stored = fact.execution_id in self._report_of_execution
                require(is_stored, "the watermark passed a fill that is not stored", fact.client_order_id)
            elif isinstance(fact, venue_pb2.Settlement):
                is_stored = fact.execution_id in self._settled
                require(is_stored, "the watermark passed a settlement that is not stored", fact.client_order_id)
        books.watermark = max(books.watermark, report.venue_watermark)

    def _on_denial(self, order: venue_pb2.OrderReport) -> None:
        """Denied means that the venue never had it and never will; and no kill flag ever stops an exit."""
        self._denied.add(order.client_order_id)
        at_venue = any(order.client_order_id in books.venue.orders for books in self.books.values())
        require(not at_venue, "an order was denied that the venue has", order.client_order_id)
        stopped = order.client_order_id in self._exits and order.reason.reason.startswith("KILL")
        require(not stopped, "a kill flag stopped an exit", order.client_order_id)

    def on_snapshot(self, data: bytes) -> None:
        """What is saved is the state after an entry that the journal has."""
        snapshot = decode_snapshot(data)
        stored = self.bus.stored(subjects.journal_stream(snapshot.partition))
        at = snapshot.journal_sequence
        require(at <= len(stored), f"a snapshot stands at entry {at} and the journal ends at {len(stored)}")
        is_of_journal = at == 0 or hashlib.sha256(stored[at - 1].data).digest() == snapshot.journal_hash
        require(is_of_journal, f"a snapshot at entry {at} belongs to another journal")
        self.counters["snapshot checked"] += 1

    # --- what strategies want ----------------------------------------------------------------------------------------

    def _on_signal(self, signal: signal_pb2.Signal) -> None:
        """A bar is judged once for an account, whoever died in between."""
        first = self._signals.setdefault(signal.signal_id, signal)
        require(first == signal, f"signal {signal.signal_id} was given twice, differently")
        self.counters[f"signal {signal_pb2.SignalAction.Name(signal.action).removeprefix('SIGNAL_ACTION_')}"] += 1

    def _on_intent(self, intent: intent_pb2.Intent) -> None:
        """One attempt has one content; and what a strategy wants follows from a signal that is stored."""
        first = self._intents.setdefault((intent.intent_id, intent.attempt), intent)
        require(first == intent, "one attempt was proposed with two contents", intent.intent_id)
        if intent.HasField("signal"):
            signal = self._signals.get(intent.signal.signal_id)
            is_known = signal == intent.signal and signal.action == signal_pb2.SIGNAL_ACTION_ENTER
            require(is_known, "proposed without a stored signal to enter", intent.intent_id)
            self.counters["intent of the policy"] += 1

    # --- authority ---------------------------------------------------------------------------------------------------

    def on_flags_stored(self, flags: authority_pb2.KillFlags, now_ns: int) -> None:
        copy = authority_pb2.KillFlags()
        copy.CopyFrom(flags)
        self._flags_history.append((now_ns, copy))

    def on_governance_reads(self, partition: int, sequence: int) -> None:
        """How far governance has read a journal: it decides on what it knows."""
        self._known_entries[partition] = sequence

    def _on_decision(self, decision: authority_pb2.Decision) -> None:
        key = decision.intent_id, decision.attempt
        if decision.verdict == authority_pb2.VERDICT_PENDING:
            return
        first = self._decisions.setdefault(key, decision)
        self._decided_on.setdefault(key, dict(self._known_entries))
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
        self._genuine.add((entry.token, entry.intent))
        require(claims.token_id == token_id(*key), "a token under another id than its attempt's", key[0])
        first = self._authorized.setdefault(key, entry)
        require(first == entry, "one attempt was authorized with two contents", key[0])
        newest = self._newest.setdefault(*key)
        require(newest <= key[1], f"attempt {key[1]} was authorized after attempt {newest}", key[0])
        self._newest[key[0]] = key[1]
        exposure = self._exposure(intent.account, now_ns, self._decided_on[key])
        limit = self.exposure_max
        require(exposure <= limit, f"authorized up to {exposure}, and the limit is {limit}", key[0])
        self.counters["exposure checked"] += 1

    def _exposure(self, account: str, now_ns: int, known: Mapping[int, int]) -> Number:
        """Held, working, or authorized and on its way, each at the price it was decided on.

        A bust brings back what was left. Nobody can decide on that before he has read of it, so what grew by a bust
        counts once the entry that says so is one of those ``known``.
        """
        return sum(
            (
                self._exposure_of(trade_id, attempt, now_ns, known)
                for trade_id, attempt in self._newest.items()
                if self._intents[trade_id, attempt].account == account
            ),
            start=Number.zero(),
        )

    def _exposure_of(self, trade_id: str, attempt: int, now_ns: int, known: Mapping[int, int]) -> Number:
        intent = self._intents[trade_id, attempt]
        slot = self.books[intent.account].slots.get(trade_id)
        order = entry_client_order_id(token_id(trade_id, attempt))
        if self._authorized[trade_id, attempt].expires_at_ns <= now_ns and not self._sent[order]:
            return Number.zero()  # nobody may send it any more
        quantity = Number.of(intent.order_qty)
        if slot is not None and slot.entry.client_order_id == order:
            quantity = self._open_as_known(slot, known)
            if slot.entry.life in WORKING or slot.entry.in_doubt:
                quantity += max(Number.of(slot.entry.order_qty) - Number.of(slot.entry.cum_qty), Number.zero())
        elif (trade_id, attempt) in self._refused:
            return Number.zero()
        price = Number.of(intent.reference_price)
        return Number(quantity.units * price.units, quantity.scale + price.scale)

    def _open_as_known(self, slot: state_pb2.SlotSnapshot, known: Mapping[int, int]) -> Number:
        for (partition, sequence), before in self._grown.get(slot.trade_id, ()):
            if sequence > known.get(partition, 0):
                self.counters["decided before a bust was known"] += 1
                return min(before, abs(Number.of(slot.qty)))
        return abs(Number.of(slot.qty))

    # --- the gateway's acts ------------------------------------------------------------------------------------------

    def on_flags_read(self, identity: str, session: int, *, reachable: bool, reader_now_ns: int) -> None:
        self._place += 1
        flags = self._flags_history[-1][1]
        seen_before = self._looked_at.get((identity, session))
        if seen_before is not None and flags.flags and not seen_before.flags.flags:
            self.counters["killed between two looks at the flags"] += 1
        self._looked_at[identity, session] = FlagsLookedAt(self._place, flags, reachable, reader_now_ns)

    def on_spent(self, identity: str, session: int) -> None:
        self._place += 1
        self._spent_at[identity, session] = self._place

    def on_send(
        self,
        command: journal_pb2.VenueCommand,
        identity: str,
        session: int,
        protective: Sequence[journal_pb2.VenueCommand] = (),
    ) -> None:
        """No submission without its own spent token, or its own warrant."""
        journaled = self.commands.get(identity)
        order = command.client_order_id
        require(journaled == command, "sent what the journal does not command", order)
        self._sent[order] += 1
        require(
            command.kind != journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
            "a protective order was sent without its entry",
            order,
        )
        if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
            claims = tokens.read_warrant(self.key, command.exit_warrant)
            require(claims.trade_id == command.trade_id, "sent with another trade's warrant", order)
            self._check_mark(order, identity, order)
            self.counters["exit sent"] += 1
            return
        intent = intent_pb2.Intent.FromString(command.intent)
        if (command.token, command.intent) not in self._genuine:  # these very bytes were held against the key before
            tokens.read_token(self.key, command.token, stored_intent=command.intent)
        key = token_id(intent.intent_id, intent.attempt)
        require(order == entry_client_order_id(key), "not the order id of its token", order)
        self._check_mark(key, identity, order)
        self._check_flags(command, intent, identity, session)
        require(self._sent[order] == 1, "an entry was sent twice", order)
        self._check_protection(intent, command, identity, protective)
        self.counters["entry sent"] += 1

    def _check_protection(
        self,
        intent: intent_pb2.Intent,
        entry: journal_pb2.VenueCommand,
        identity: str,
        protective: Sequence[journal_pb2.VenueCommand],
    ) -> None:
        """With a bracket's entry goes each order that was approved with it, and nothing else; each of them once."""
        order = entry.client_order_id
        prices = [intent.stop_price, intent.target_price] if intent.HasField("target_price") else [intent.stop_price]
        sent = [Number.of(each.price) for each in protective]
        approved = list(map(Number.of, prices)) if intent.bracket else []
        require(sent == approved, f"sent with protection at {sent}, and approved was {approved}", order)
        place = identity.rpartition(":")[0]
        for number, each in enumerate(protective, 1):
            index = int(identity.rpartition(":")[2]) + number
            require(
                self.commands.get(f"{place}:{index}") == each, "protected by what the journal does not command", order
            )
            is_whole = (each.side, Number.of(each.order_qty)) == (_other(entry.side), Number.of(entry.order_qty))
            require(is_whole, "protected on the wrong side, or in part", order)
            self._sent[each.client_order_id] += 1
            require(self._sent[each.client_order_id] == 1, "a protective order was sent twice", order)
        self.counters["bracket sent"] += bool(protective)

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
        if client_order_id in self._denied:
            at_venue = any(client_order_id in books.venue.orders for books in self.books.values())
            require(not at_venue, "the venue has an order that was denied", client_order_id)

    # --- the reconciler ----------------------------------------------------------------------------------------------

    def _on_break(self, bead: audit_pb2.Bead) -> None:
        found = bead.drift
        if found.reason not in _BREAKS_OF_BOOKS:
            return
        books = self.books[bead.account]
        expected = bool(books.drift_symbol) and found.symbol == books.drift_symbol
        require(expected, f"a break that nobody induced: {found.reason} {found.symbol}: {found.message}")
        books.drift_seen = True
        self.counters["drift found"] += 1

    # --- at rest -----------------------------------------------------------------------------------------------------

    def check_database(self, database: Database) -> None:
        """Each message was read once, and the rows say what the journal says."""
        rows = Counter[str](row.table for row in database.rows.values())
        for stream, position in database.positions.items():
            require(position.sequence == self.bus.last_sequence(stream), f"{stream} is stored up to {position}")
        unusable = Counter(row.values["stream"] for row in database.rows.values() if row.table == "unusable_messages")
        journaled = sum(self.bus.last_sequence(subjects.journal_stream(one.partition)) for one in self.partitions)
        unusable_entries = sum(count for stream, count in unusable.items() if str(stream).startswith("JOURNAL_"))
        for table, count, stored in (
            ("journal_entries", rows["journal_entries"] + unusable_entries, journaled),
            (
                "inbox_messages",
                rows["inbox_messages"] + unusable[subjects.INBOX],
                self.bus.last_sequence(subjects.INBOX),
            ),
        ):
            require(count == stored, f"{count} rows in {table} and of what cannot be used, for {stored} messages")
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
        require(+booked == Counter(self.fills().keys()), "the fills' rows are not the fills that were booked")
        self.counters["database compared"] += 1

    def _bead_head(self) -> chain.Head:
        head = chain.Head()
        for message in self.bus.read(subjects.BEADS):
            head = chain.bead_link(head, record_of(message)).head
        return head

    def slots(self) -> dict[str, state_pb2.SlotSnapshot]:
        """All trades of all accounts."""
        return {name: slot for books in self.books.values() for name, slot in books.slots.items()}

    def fills(self) -> dict[str, journal_pb2.BookedFill]:
        return {name: fill for books in self.books.values() for name, fill in books.fills.items()}

    def open_slots(self, account: str = "") -> list[state_pb2.SlotSnapshot]:
        """Trades that are not over, of one account or of all."""
        if account:
            return self.books[account].open_slots()
        return [slot for books in self.books.values() for slot in books.open_slots()]

    def unjournaled(self) -> int:
        """How many inputs no journal has."""
        return sum(map(len, self._inputs_due))

    def unheard(self) -> bool:
        return any(books.unheard() for books in self.books.values())

    def orders_of(self, trade_id: str) -> set[str]:
        return self._orders_of_trade.get(trade_id, set())

    def sent_count(self, client_order_id: str) -> int:
        return self._sent[client_order_id]

    def related(self, about: str) -> set[str]:
        """The trade and all its orders, given any of them."""
        trades = {one.trade_id for one in self.commands.values() if one.client_order_id == about} or {about}
        return trades.union(*map(self.orders_of, trades)) - {""}

    def check_books(self) -> None:
        """At rest, of every account: the venue has what was commanded, every fill is booked, the money agrees."""
        for books in self.books.values():
            self._check_orders(books)
            self._check_protection_is_over(books)
            self._check_fills(books)
            self._check_money(books)

    def _check_orders(self, books: Books) -> None:
        commanded = {one.client_order_id for one in self.commands.values() if one.account == books.account}
        ours = {name for name in books.venue.orders if name.startswith(CLIENT_ORDER_ID_PREFIX)}
        for name in sorted(ours - commanded):
            require(False, "the venue has an order that the journal does not command", name)
        self.counters["orders"] += len(ours)

    def _check_protection_is_over(self, books: Books) -> None:
        """No stop outlives its trade, in the kernel's book or at the venue."""
        for slot in books.slots.values():
            for order in (slot.stop, slot.target):
                name = order.client_order_id
                require(order.life not in WORKING, "a protective order outlived its trade", name)
                at_venue = books.venue.orders.get(name)
                is_at_work = at_venue is not None and at_venue.life is Life.WORKING
                require(not is_at_work, "a protective order works at the venue, and its trade is over", name)

    def _check_fills(self, books: Books) -> None:
        taken_back = books.taken_back_at_venue()
        at_venue = {
            fill.execution_id: fill
            for fill in books.venue.fills
            if fill.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX) and fill.execution_id not in taken_back
        }
        for execution_id in sorted(at_venue.keys() ^ books.fills.keys()):
            order = at_venue[execution_id].client_order_id if execution_id in at_venue else ""
            require(False, f"fill {execution_id} is in one book only", order)
        for execution_id, fill in at_venue.items():
            charged, booked = Number.of(fill.fee), books.fees[execution_id]
            require(booked == charged, f"a fee of {charged} was booked as {booked}", fill.client_order_id)
        held = {name: position.qty_units for name, position in books.venue.positions.items() if position.qty_units}
        require(not held, f"the venue holds {held} and every trade is over")
        self.counters["fills"] += len(books.fills)

    def _check_money(self, books: Books) -> None:
        snapshot = self.partitions[books.partition].account(books.account)
        ours, wallet = Number.of(snapshot.wallet), Number(books.venue.wallet_units, 8)
        require(ours == wallet, f"wallet of {books.account}: kernel {ours}, venue {wallet}")
        is_wrong = snapshot.ledger_status == state_pb2.LEDGER_STATUS_ERROR
        require(not is_wrong, f"the kernel's ledger of {books.account} is off by {Number.of(snapshot.ledger_delta)}")


def is_over(slot: state_pb2.SlotSnapshot) -> bool:
    """Nothing of the trade is left: no position, no order that could make one, none that protected it."""
    return slot.stage in OVER and slot.stop.life not in WORKING and slot.target.life not in WORKING


def require(holds: bool, message: str, about: str = "") -> None:
    if not holds:
        raise Violation(f"{about}: {message}" if about else message, about)


def _other(side: common_pb2.Side.ValueType) -> common_pb2.Side.ValueType:
    return common_pb2.SIDE_SELL if side == common_pb2.SIDE_BUY else common_pb2.SIDE_BUY


def _signed_units(fill: journal_pb2.BookedFill) -> int:
    return fill.last_qty.units if fill.side == common_pb2.SIDE_BUY else -fill.last_qty.units


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
