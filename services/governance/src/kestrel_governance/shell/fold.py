"""State at the start of a tenure: everything that was stored, read once, in an order in which causes come first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError, Message

from kestrel.audit.v1 import audit_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus, StoredMessage
from kestrel_chassis.consume import PullLoop
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest
from kestrel_governance.core.authority import Authority
from kestrel_governance.core.beads import SERVICE

_BEAD_KINDS = ("mandate", "decision", "token", "kill")
_DOORS = ("entry", "control")


@dataclass(slots=True)
class Positions:
    """Where live reading goes on: the sequence after the last one folded, by stream."""

    next_sequence: dict[str, int] = field(default_factory=dict)


async def fold(bus: Bus, authority: Authority, parking: ParkingLane, partitions: int) -> Positions:
    """Learn everything that is stored. Decides nothing and publishes nothing but what has to be parked."""
    positions = Positions()
    parked = await _parked_before(bus)
    async for message in _all(bus, positions, subjects.INTENTS):
        try:
            learn_intent(authority, message)
        except InvalidRequest as error:
            if message.sequence not in parked:
                await parking.park(message, error)
    for kind in _BEAD_KINDS:
        async for message in _all(bus, positions, subjects.BEADS, f"bead.{kind}.*"):
            learn_bead(authority, message)
    for door in _DOORS:
        async for message in _all(bus, positions, subjects.INBOX, f"inbox.*.*.{door}"):
            inbox_message = inbox_pb2.InboxMessage()
            if _parse(inbox_message, message):
                authority.state.learn_inbox(inbox_message)
    for partition in range(partitions):
        async for message in _all(bus, positions, subjects.journal_stream(partition)):
            learn_journal_entry(authority, message)
    positions.next_sequence[subjects.MARKET] = await fold_market(bus, authority)
    return positions


async def fold_market(bus: Bus, authority: Authority) -> int:
    """Learn the newest bar of each instrument; the sequence at which live reading goes on.

    That is behind what was learned, not behind what the stream's leader has: the server asked may be a little behind.
    """
    next_sequence = 1
    loop = PullLoop(bus, subjects.MARKET, ack="none", last_per_subject=True, ordered=True)
    try:
        await loop.start()
        if loop.lag:
            async for batch in loop.batches():
                for message in batch:
                    learn_bar(authority, message)
                next_sequence = batch[-1].sequence + 1
                if batch[-1].pending == 0:
                    break
    finally:
        await loop.stop()
    return next_sequence


def learn_bar(authority: Authority, message: StoredMessage) -> None:
    bar = venue_pb2.Bar()
    if _parse(bar, message):
        authority.on_bar(bar)


def learn_intent(authority: Authority, message: StoredMessage) -> None:
    """Remember one intent. Raises ``InvalidRequest`` for what has to be parked."""
    authority.learn_intent(
        message.data,
        account=account_of(message.subject),
        received_at_ns=message.time_ns,
        traceparent=message.traceparent,
    )


def learn_bead(authority: Authority, message: StoredMessage) -> None:
    bead = audit_pb2.Bead()
    if _parse(bead, message):
        with _counting_what_makes_no_sense(message):
            authority.on_bead(bead)


def learn_journal_entry(authority: Authority, message: StoredMessage) -> None:
    entry = journal_pb2.JournalEntry()
    if _parse(entry, message):
        with _counting_what_makes_no_sense(message):
            authority.on_journal_entry(entry)


def account_of(subject: str) -> str:
    """The account in ``intent.<account>``."""
    return subject.partition(".")[2]


async def _all(bus: Bus, positions: Positions, stream: str, subject: str | None = None) -> AsyncIterator[StoredMessage]:
    """Everything stored now; a stream read several times is read up to where it stood the first time."""
    if stream not in positions.next_sequence:
        positions.next_sequence[stream] = (await bus.stream_state(stream)).last_sequence + 1
    stop_sequence = positions.next_sequence[stream] - 1
    async for message in bus.read(stream, subject=subject, stop_sequence=stop_sequence):
        yield message


async def _parked_before(bus: Bus) -> set[int]:
    """Sequences in INTENTS that an earlier tenure parked: parking them again would only repeat the alarm."""
    sequences = set()
    async for message in bus.read(subjects.PARKED, subject=subjects.parked(SERVICE)):
        parked = audit_pb2.ParkedMessage()
        if _parse(parked, message) and parked.stream == subjects.INTENTS:
            sequences.add(parked.sequence)
    return sequences


def _parse(into: Message, message: StoredMessage) -> bool:
    """False, counted and logged, for bytes that are not what the stream holds; their owner parks them."""
    try:
        into.ParseFromString(message.data)
        return True
    except DecodeError as error:
        _count(message, error)
        return False


@contextmanager
def _counting_what_makes_no_sense(message: StoredMessage) -> Iterator[None]:
    """A number no number can be, in a message that parses: it must not stop the fold, now or at every restart."""
    try:
        yield
    except InvalidRequest as error:
        _count(message, error)


def _count(message: StoredMessage, error: Exception) -> None:
    telemetry.count("messages.unreadable")
    telemetry.logger().error("message.unreadable", stream=message.stream, sequence=message.sequence, error=str(error))
