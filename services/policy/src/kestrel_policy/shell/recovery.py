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
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken
from kestrel_domain.identifiers import partition_of
from kestrel_policy.core.history import BARS_MAX, Bar, checked_bar
from kestrel_policy.core.policy import PolicyState

BEADS_READ_MAX = 200_000
SYMBOLS_GUESS = 50

log = telemetry.logger()


@dataclass(slots=True)
class Positions:
    """The first sequence of each stream that was not read."""

    next_sequences: dict[str, int] = field(default_factory=dict)


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
    await _read_market(bus, state)
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


async def _read_market(bus: Bus, state: PolicyState) -> None:
    last = (await bus.stream_state(subjects.MARKET)).last_sequence
    start = max(1, last - BARS_MAX * SYMBOLS_GUESS)
    for venue in sorted({plan.venue for plan in state.plans}):
        async for message in bus.read(subjects.MARKET, start_sequence=start, subject=f"market.{venue}.*"):
            try:
                state.learn_bar(parsed_bar(message.data))
            except InvalidRequest:
                continue  # Parked when it was delivered, or about to be.


def parsed_bar(data: bytes) -> Bar:
    """A bar, or ``InvalidRequest``."""
    try:
        return checked_bar(venue_pb2.Bar.FromString(data))
    except DecodeError as error:
        raise InvalidRequest.of("body", f"{len(data)} bytes", "a kestrel.venue.v1.Bar", reason="UNPARSABLE") from error


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
        state.learn_signal(bead.signal)
    elif bead.HasField("decision"):
        state.books[account].learn_decision(bead.decision)


def learn_entry(state: PolicyState, account: str, data: bytes, sequence: int) -> None:
    """Raises ``InvariantBroken``: a journal that cannot be read is nothing to go on from."""
    try:
        entry = journal_pb2.JournalEntry.FromString(data)
    except DecodeError as error:
        raise InvariantBroken(f"entry {sequence} of account {account}'s journal cannot be read") from error
    state.books[account].learn_entry(entry, sequence)
