"""From nothing to knowing: the state is a fold of streams, so starting is reading them.

Each stream is read up to its present end; where the reading ended is where the loops go on, without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import StoredMessage
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken
from kestrel_domain.identifiers import partition_of
from kestrel_policy.core.history import Bar, checked_bar
from kestrel_policy.core.policy import PolicyState

BEADS_READ_MAX = 200_000
BARS_READ_MAX = 100_000

log = telemetry.logger()


@dataclass(slots=True)
class Positions:
    """Where the loops go on: by stream, the first sequence they have to read. MARKET's is that of the last decided bar:
    its signal is stored, and perhaps not yet everything that follows from it.
    """

    next_sequences: dict[str, int] = field(default_factory=dict)
    # Sequences in MARKET of what is in the parking lane already.
    parked: set[int] = field(default_factory=set)


async def recover(bus: Bus, state: PolicyState, partitions: int) -> Positions:
    """Fold INTENTS, BEADS, the JOURNALs, waiting exits of INBOX, and recent MARKET bars into a fresh state."""
    positions = Positions()
    for stream in (subjects.INTENTS, subjects.BEADS, *journal_streams(state, partitions)):
        positions.next_sequences[stream] = (await bus.stream_state(stream)).last_sequence + 1
    for account in state.books:
        await _read_intents(bus, state, account, positions)
        await _read_beads(bus, state, account, positions)
        await _read_journal(bus, state, account, partitions, positions)
        await _read_waiting_exits(bus, state, account, partitions)
    await _read_market(bus, state, positions)
    await _read_parked(bus, positions)
    return positions


def journal_streams(state: PolicyState, partitions: int) -> list[str]:
    """The journals our accounts are in."""
    return sorted({subjects.journal_stream(partition_of(account, partitions)) for account in state.books})


async def _read_intents(bus: Bus, state: PolicyState, account: str, positions: Positions) -> None:
    stop = positions.next_sequences[subjects.INTENTS] - 1
    async for message in bus.read(subjects.INTENTS, subject=subjects.intent(account), stop_sequence=stop):
        learn_intent(state, account, message.data)


async def _read_beads(bus: Bus, state: PolicyState, account: str, positions: Positions) -> None:
    stop = positions.next_sequences[subjects.BEADS] - 1
    start = max(1, stop - BEADS_READ_MAX)
    for kind in ("signal", "decision"):
        subject = subjects.bead(kind, account)
        async for message in bus.read(subjects.BEADS, start_sequence=start, subject=subject, stop_sequence=stop):
            learn_bead(state, account, message.data)


async def _read_journal(bus: Bus, state: PolicyState, account: str, partitions: int, positions: Positions) -> None:
    partition = partition_of(account, partitions)
    stream = subjects.journal_stream(partition)
    stop = positions.next_sequences[stream] - 1
    async for message in bus.read(stream, subject=subjects.journal(partition, account), stop_sequence=stop):
        learn_entry(state, account, message.data, message.sequence)


async def _read_waiting_exits(bus: Bus, state: PolicyState, account: str, partitions: int) -> None:
    """Exits that are in the inbox and not in the journal yet must not be asked for again."""
    book = state.books[account]
    subject = subjects.inbox(partition_of(account, partitions), account, "exit")
    async for message in bus.read(subjects.INBOX, start_sequence=book.input_sequence + 1, subject=subject):
        try:
            request = inbox_pb2.InboxMessage.FromString(message.data).exit
        except DecodeError:
            continue  # The kernel parks it; no exit comes of it.
        book.learn_exit_sent(request.trade_id, request.request_id)


async def _read_market(bus: Bus, state: PolicyState, positions: Positions) -> None:
    """Recent bars, for the histories. Bars are decided in MARKET's order, so the last decided one is the position."""
    last = (await bus.stream_state(subjects.MARKET)).last_sequence
    start = positions.next_sequences[subjects.MARKET] = max(1, last - BARS_READ_MAX)
    for venue in sorted({plan.venue for plan in state.plans}):
        async for message in bus.read(subjects.MARKET, start_sequence=start, subject=f"market.{venue}.*"):
            try:
                bar = parsed_bar(message)
            except InvalidRequest:
                continue  # In the parking lane, or about to be.
            state.learn_bar(bar)
            if state.is_decided(bar):
                known = positions.next_sequences[subjects.MARKET]
                positions.next_sequences[subjects.MARKET] = max(known, message.sequence)


async def _read_parked(bus: Bus, positions: Positions) -> None:
    async for message in bus.read(subjects.PARKED, subject=subjects.parked("policy")):
        parked = audit_pb2.ParkedMessage.FromString(message.data)
        if parked.stream == subjects.MARKET:
            positions.parked.add(parked.sequence)


def parsed_bar(message: StoredMessage) -> Bar:
    """The bar in a message of MARKET, or ``InvalidRequest``."""
    try:
        bar = checked_bar(venue_pb2.Bar.FromString(message.data))
    except DecodeError as error:
        size = f"{len(message.data)} bytes"
        raise InvalidRequest.of("body", size, "a kestrel.venue.v1.Bar", reason="UNPARSABLE") from error
    if message.subject.rsplit(".", 1)[1] != bar.instrument.symbol:
        rule = f"the symbol of subject {message.subject}"
        raise InvalidRequest.of("bar.instrument.symbol", bar.instrument.symbol, rule)
    return bar


def learn_intent(state: PolicyState, account: str, data: bytes) -> None:
    try:
        state.books[account].learn_intent(intent_pb2.Intent.FromString(data))
    except (DecodeError, InvalidRequest) as error:
        log.warning("intent.skipped", account=account, error=str(error))  # Governance parks it.


def learn_bead(state: PolicyState, account: str, data: bytes) -> None:
    try:
        bead = audit_pb2.Bead.FromString(data)
    except DecodeError as error:
        log.warning("bead.skipped", account=account, error=str(error))  # Persistence parks it.
        return
    if bead.HasField("signal"):
        state.learn_signal(bead.signal, bead.actor)
    elif bead.HasField("decision"):
        state.books[account].learn_decision(bead.decision)


def learn_entry(state: PolicyState, account: str, data: bytes, sequence: int) -> None:
    """Raises ``InvariantBroken``: a journal that cannot be read is nothing to go on from."""
    try:
        entry = journal_pb2.JournalEntry.FromString(data)
    except DecodeError as error:
        raise InvariantBroken(f"entry {sequence} of account {account}'s journal cannot be read") from error
    state.books[account].learn_entry(entry, sequence)
