"""The submission procedure: from a journaled command to the one report that settles it.

Each procedure is a generator. It yields an effect, the driver performs it and sends the result back; so the service
and the simulated world run the same steps, and a test may let the process die between any two of them.

    entry   checks | spend the token -> checks again | SUBMITTING stored -> send -> USED bead -> answer stored
    exit    warrant -> mark as begun -> SUBMITTING stored -> send -> answer stored
    bracket an entry with what protects it: one token, SUBMITTING stored for each, sent in one go, answers stored, the
            entry's first; each protective order's own command comes behind it, and asks about what was left open
    cancel  send -> refusal stored, if it is one

What stands beside a bar goes side by side (``Together``), since each would be done whatever the other comes to: the
token is spent even if the first checks refuse (below), and SUBMITTING says only that this gateway is about to send.
What counts is what nothing may overtake: the second look at the flags begins after the spend has been acknowledged,
and nothing is sent before that look and SUBMITTING are both there.

What always holds:

* **The report that settles a command is its last effect.** Beads and alerts go before it, so a command that the journal
  shows as settled left nothing undone, and one that it does not show is run again from the start.
* **Whoever runs it again finds the mark.** `spent/<key>` holds the command's own identity. Our own: we died between
  the mark and the settlement, and the order may be at the venue, so the venue is asked by client order id. Somebody
  else's: a replay, refused.
* **A refusal never hides an order.** Checks may fail on the second run although the first run sent the order (time
  passed, a flag was raised, a key was rotated), so before a refusal is published the token is closed by the same mark:
  found ours, the first run's fate is the truth; made now, a frozen first run will find it when it wakes.
* **An entry is sent at most once.** After doubt it is asked about with a fence (the id can never be accepted later),
  and what is provably absent is burned, not sent again. A protective order is sent with its entry, once, and never
  alone. An exit is asked about until certain and sent again under the same id, which the venue takes once.

Not every venue fences, or takes an id once (``Gate.traits``, ADR 0019). Where it does not:

* **Absence proves nothing.** An order in doubt is asked about until the venue speaks of it, by identity; it is never
  burned and never sent again. The kernel calls it STALLED, and a person decides: whoever cancels it by its id has
  looked at the venue, and if the venue then answers everything that it can be asked and still does not know the
  order, it counts as canceled. A cancel of something that cannot be found is no refusal either, and is repeated.
* **An exit is sent again only when it certainly never left.** Each attempt is marked before it begins and after it is
  known not to have left, so that a later process can tell the two apart, and so that a cancel can close the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import derived_id
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core import admission, reports
from kestrel_venue_gateway.core.admission import EntryPapers, FlagsRead, Gate, refusal
from kestrel_venue_gateway.core.known import ORDER_GIVEN_UP, KnownOrder
from kestrel_venue_gateway.core.traits import VenueState

# --- effects and what they come back with -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadKillFlags:
    """Read the flags from their leader, now. Result: ``FlagsRead``; never an exception."""


@dataclass(frozen=True, slots=True)
class ReadVenueState:
    """What the session knows to be wrong with the venue. Result: ``VenueState``."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What was told about an order of ours so far. Result: ``KnownOrder | None``."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class Spend:
    """Create ``key`` with ``identity`` unless it exists. Result: ``SpendResult``."""

    key: str
    identity: str


@dataclass(frozen=True, slots=True)
class ReadSpend:
    """Read ``key`` without creating it. Result: ``SpendResult``; WON means that it does not exist."""

    key: str
    identity: str


class SpendResult(Enum):
    """Whose mark it is."""

    WON = "won"  # nobody's before; ours from now on
    OURS = "ours"  # this very command's, from before a crash
    EARLIER = "earlier"  # this very command's, by an earlier run of it, where the identity tells runs apart
    TAKEN = "taken"  # another command's
    UNKNOWN = "unknown"  # the store did not answer


RUN_SEPARATOR = "#"


def whose_mark(stored: str, identity: str) -> SpendResult:
    """A mark that is there, seen by ``identity``: a command's, with or without the run of it."""
    if stored == identity:
        return SpendResult.OURS
    is_same_command = stored.partition(RUN_SEPARATOR)[0] == identity.partition(RUN_SEPARATOR)[0]
    return SpendResult.EARLIER if is_same_command else SpendResult.TAKEN


@dataclass(frozen=True, slots=True)
class Record:
    """Store a report in INBOX; comes back when it is durable. The driver stamps when it was received."""

    report: venue_pb2.VenueReport


@dataclass(frozen=True, slots=True)
class Audit:
    """Store a bead; comes back when it is durable. The driver stamps when it was created."""

    bead: audit_pb2.Bead


@dataclass(frozen=True, slots=True)
class RaiseAlert:
    """Store an alert. The driver stamps when it was raised."""

    alert: audit_pb2.Alert


@dataclass(frozen=True, slots=True)
class Send:
    """Send an order to the venue, once. Result: ``SendResult``."""

    command: journal_pb2.VenueCommand


@dataclass(frozen=True, slots=True)
class SendBracket:
    """Send an entry and the orders that protect it in one go, once. Result: a ``SendResult`` for each, in order."""

    commands: tuple[journal_pb2.VenueCommand, ...]


class Outcome(Enum):
    """What became of a request to a venue."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"  # certainly: it never left
    UNKNOWN = "unknown"  # it may have arrived


@dataclass(frozen=True, slots=True)
class SendResult:
    outcome: Outcome
    venue_order_id: str = ""
    reason: common_pb2.Refusal | None = None
    venue_time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the venue for an order by our id. With ``fence``, "absent" also means "and it never will be"."""

    client_order_id: str
    fence: bool


class Presence(Enum):
    """What the venue knows of an id."""

    FOUND = "found"  # it took the order
    REJECTED = "rejected"  # it saw the order and refused it
    ABSENT = "absent"
    UNKNOWN = "unknown"  # no answer


@dataclass(frozen=True, slots=True)
class AskResult:
    presence: Presence
    venue_order_id: str = ""
    reason: common_pb2.Refusal | None = None
    venue_time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the venue to cancel. Result: ``SendResult``; REJECTED: unknown there, or at its end already."""

    command: journal_pb2.VenueCommand


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass before the next question; longer each time. From here on other commands need not wait for us.

    Result: true when the journal shows the command as settled meanwhile, so that nothing is left to find out.
    """

    round: int


@dataclass(frozen=True, slots=True)
class Together:
    """Effects of which none waits for another. Result: theirs, in this order, once all of them are there.

    A process that dies meanwhile may have done any of them and left out the others.
    """

    effects: tuple[Effect, ...]


Effect = (
    ReadKillFlags
    | ReadVenueState
    | Recall
    | Spend
    | ReadSpend
    | Record
    | Audit
    | RaiseAlert
    | Send
    | SendBracket
    | Ask
    | Cancel
    | Wait
    | Together
)
# The result's type depends on the effect, which a generator's one type parameter cannot say; each use names it.
Procedure = Generator[Effect, Any, None]


_NOTHING = Number(0, 0)


@dataclass(frozen=True, slots=True)
class Commission:
    """One command as the journal gives it, with what the journal's history says about it."""

    command: journal_pb2.VenueCommand
    # <stream>:<sequence>:<index>: which command this is, for ever.
    identity: str
    traceparent: str = ""
    # Exits: what earlier exit orders of the trade filled or may still fill.
    committed_qty: Number = _NOTHING
    # Another command, earlier in the journal, named its order the same: a report would speak about that one's.
    repeats_an_id: bool = False
    # Cancels: an operator named this very order while it was in doubt; and: the order is an exit.
    by_person: bool = False
    of_exit: bool = False
    # Entries: the orders that go out with it, under its token. Protective orders, and cancels of them: the id of the
    # entry that they go with.
    protective: tuple[Commission, ...] = ()
    entry_id: str = ""
    # Cancels: the first of those in whose place this one is. What one of them marked, all of them did; empty: this one.
    marks_as: str = ""


def procedure(gate: Gate, commission: Commission) -> Procedure:
    """The steps for one command."""
    match commission.command.kind:
        case journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
            return submit_entry(gate, commission)
        case journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE:
            return resolve_protective(gate, commission)
        case journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
            return submit_exit(gate, commission)
        case journal_pb2.COMMAND_KIND_CANCEL:
            return cancel_order(gate, commission)
    return _deny(commission, _unknown_kind(commission.command))


def one_by_one(steps: Procedure, order: Callable[[int], Iterable[int]] = range) -> Procedure:
    """The same procedure for a driver that does one thing at a time; that is one of the ways ``Together`` may go.

    ``order``: for a number of effects, their places as they are to come.
    """
    result: Any = None
    while True:
        try:
            effect = steps.send(result)
        except StopIteration:
            return
        if not isinstance(effect, Together):
            result = yield effect
            continue
        results: dict[int, Any] = {}
        for place in order(len(effect.effects)):
            results[place] = yield effect.effects[place]
        result = tuple(results[place] for place in sorted(results))


# --- entries ---------------------------------------------------------------------------------------------------


def submit_entry(gate: Gate, commission: Commission) -> Procedure:
    """An entry: with a token, once, or not at all."""
    command = commission.command
    papers = admission.read_papers(gate, command)
    if papers is None:
        yield from _deny(commission, admission.unreadable_intent())
        return
    flags: FlagsRead
    mark: SpendResult
    flags, mark = yield Together((ReadKillFlags(), Spend(papers.token_id, commission.identity)))
    no = admission.check_entry(gate, command, papers, flags, [each.command for each in commission.protective])
    if no is None:
        no = yield from _venue_not_ready()
    if mark is SpendResult.UNKNOWN:
        yield from _refuse_entry(gate, commission, papers, no or _store_unreachable(papers))
    elif mark is not SpendResult.WON:
        yield from _follow_mark(gate, commission, papers, mark)
    elif no is not None:
        yield from _deny(commission, no, papers=papers)
    else:
        yield from _send_entry(gate, commission, papers)


def _send_entry(gate: Gate, commission: Commission, papers: EntryPapers) -> Procedure:
    """The token is spent, and nobody else will ever send this entry."""
    command = commission.command
    whole = (command, *(each.command for each in commission.protective))
    submitting = (Record(_order_report(each, venue_pb2.ORDER_FACT_SUBMITTING)) for each in whole)
    flags: FlagsRead
    flags, *_ = yield Together((ReadKillFlags(), *submitting))
    no = admission.check_still_wanted(gate, command, flags)
    if no is None:
        no = yield from _venue_not_ready()
    if no is not None:
        yield from _deny(commission, no, papers=papers)
        return
    sent, others = yield from _send_whole(commission)
    match sent.outcome:
        case Outcome.ACCEPTED | Outcome.REJECTED:
            yield Audit(_token_bead(commission, papers, authority_pb2.TOKEN_EVENT_KIND_USED, sent.reason))
            yield from _report_answer(command, sent)
            for each, answer in others:
                yield from _report_answer(each.command, answer)
        case Outcome.NOT_SENT:
            yield from _deny(commission, _burned(sent.reason), papers=papers, burned=True)
        case Outcome.UNKNOWN:
            yield from _resolve_entry(gate, commission, papers)


_Answers = list[tuple[Commission, SendResult]]


def _send_whole(commission: Commission) -> Generator[Effect, Any, tuple[SendResult, _Answers]]:
    """The entry, with what protects it: what became of it, and what the venue said about the others."""
    command, protective = commission.command, commission.protective
    if not protective:
        alone: SendResult = yield Send(command)
        return alone, []
    sent: tuple[SendResult, ...] = yield SendBracket((command, *(each.command for each in protective)))
    others = zip(protective, sent[1:], strict=True)
    return sent[0], [each for each in others if each[1].outcome in (Outcome.ACCEPTED, Outcome.REJECTED)]


def _resolve_entry(gate: Gate, commission: Commission, papers: EntryPapers) -> Procedure:
    """It may be at the venue. Ask until the venue says; never send again."""
    bead = _token_bead(commission, papers, authority_pb2.TOKEN_EVENT_KIND_USED)
    if not gate.traits.fences:
        # The doubt may outlive us, and whatever resolves it knows nothing of tokens.
        yield Audit(bead)
    found = yield from _ask_until_certain(commission.command, fence=gate.traits.fences)
    if found is None:
        yield Audit(bead)
    elif found.presence is Presence.ABSENT:
        yield from _deny(commission, _burned(found.reason), papers=papers, burned=True)
    else:
        yield Audit(_token_bead(commission, papers, authority_pb2.TOKEN_EVENT_KIND_USED, found.reason))
        yield from _report_found(commission.command, found)


def _venue_not_ready() -> Generator[Effect, Any, common_pb2.Refusal | None]:
    """Why no entry should go to the venue now."""
    state: VenueState = yield ReadVenueState()
    reason = state.no_entry
    if reason is None:
        return None
    message = f"the venue cannot be trusted with an entry now: {reason.message}"
    return refusal("VENUE_DEGRADED", "venue", reason.reason, "connected, and reconciled since", message)


def _refuse_entry(gate: Gate, commission: Commission, papers: EntryPapers, no: common_pb2.Refusal) -> Procedure:
    """Do not send, and see to it that nobody else will: the token is closed before the slot is freed.

    If an earlier run of this command came as far as spending, that run's fate is the truth; and a run that was frozen
    before its spend and wakes up finds the mark.
    """
    mark = yield from _insist(Spend(papers.token_id, commission.identity))
    if mark is SpendResult.WON:
        yield from _deny(commission, no, papers=papers)
    else:
        yield from _follow_mark(gate, commission, papers, mark)


def _follow_mark(gate: Gate, commission: Commission, papers: EntryPapers, mark: SpendResult) -> Procedure:
    """The token was spent before: by this very command, or by another one, which makes this a replay."""
    if mark is SpendResult.OURS:
        yield from _resolve_entry(gate, commission, papers)
        return
    no = refusal("TOKEN_REPLAY", "token_id", papers.token_id, "spent once", "the token was spent by another command")
    yield RaiseAlert(_alert(commission.command, no.reason, no, commission.identity))
    yield from _deny(commission, no, papers=papers)


# --- protective orders -----------------------------------------------------------------------------------------


def resolve_protective(gate: Gate, commission: Commission) -> Procedure:
    """It went out with its entry, or never will: what the entry's run left open is asked about, by identity.

    Whoever comes to this has the entry's run behind it: that one has ended, or waits and sends nothing any more.
    """
    command = commission.command
    if not commission.entry_id:
        yield from _deny(commission, _without_entry(command))
        return
    known: KnownOrder | None = yield Recall(command.client_order_id)
    if known is not None and known.is_answered:
        return
    entry: KnownOrder | None = yield Recall(commission.entry_id)
    if entry is not None and entry.knows(venue_pb2.ORDER_FACT_DENIED):
        yield from _deny(commission, _left_behind(command, "its entry was denied"))
        return
    found: AskResult = yield Ask(command.client_order_id, fence=gate.traits.fences)
    is_nowhere = found.presence is Presence.ABSENT
    if is_nowhere and (gate.traits.fences or (entry is not None and entry.was_refused)):
        yield from _deny(commission, _left_behind(command, "the venue does not have it, and never will"))
        return
    if is_nowhere and entry is not None and entry.is_at_venue:
        yield from _tell_protection_lost(commission)
    resolved = yield from _resolved(command, found, fence=gate.traits.fences)
    if resolved is None:
        return
    if resolved.presence is Presence.ABSENT:
        yield from _deny(commission, _left_behind(command, "the venue does not have it, and never will"))
    else:
        yield from _report_found(command, resolved)


def _tell_protection_lost(commission: Commission) -> Procedure:
    """The entry is at the venue and this order is not: a person decides, for no proof will come, and nothing is resent.

    Where absence is a proof, the order is denied, and the kernel, which journals that, tells of it.
    """
    command = commission.command
    message = f"the entry {commission.entry_id} is at the venue, and nothing is known of {command.client_order_id}"
    no = refusal("PROTECTION_LOST", "client_order_id", command.client_order_id, "placed with its entry", message)
    yield RaiseAlert(_alert(command, no.reason, no, commission.identity))


def _without_entry(command: journal_pb2.VenueCommand) -> common_pb2.Refusal:
    message = "a protective order goes out with its entry and never alone"
    return refusal("COMMAND_INVALID", "kind", command.kind, "behind its SUBMIT_ENTRY", message)


def _left_behind(command: journal_pb2.VenueCommand, why: str) -> common_pb2.Refusal:
    message = f"the protective order is not at the venue, and is not sent without its entry: {why}"
    return refusal("PROTECTION_NOT_SENT", "client_order_id", command.client_order_id, "placed with its entry", message)


# --- exits -----------------------------------------------------------------------------------------------------


def submit_exit(gate: Gate, commission: Commission) -> Procedure:
    """An exit: by warrant, and until it is certain. Kill flags are never looked at."""
    command = commission.command
    no = admission.check_exit(gate, command, commission.committed_qty)
    if not gate.traits.takes_an_id_once and not commission.repeats_an_id:
        yield from _submit_exit_by_attempts(gate, commission, no)
        return
    if no is None:
        # A store that does not answer delays an exit and never drops it.
        mark = yield from _insist(Spend(command.client_order_id, commission.identity))
    else:
        mark = yield from _insist(ReadSpend(command.client_order_id, commission.identity))
    if mark is not SpendResult.OURS and (no is not None or mark is SpendResult.TAKEN):
        yield from _refuse_exit(commission, no or _exit_replay(command))
        return
    # Also on a second run: the first may have died before it came to this.
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_SUBMITTING))
    yield from _resolve_exit(command, ask_first=mark is SpendResult.OURS)


def _refuse_exit(commission: Commission, no: common_pb2.Refusal) -> Procedure:
    """Somebody wants out and cannot: that is looked at now."""
    yield RaiseAlert(_alert(commission.command, "EXIT_REFUSED", no, commission.identity))
    yield from _deny(commission, no)


def _resolve_exit(command: journal_pb2.VenueCommand, *, ask_first: bool) -> Procedure:
    """Send, ask, send again under the same id, until the venue has said yes or no."""
    ask, round_count, send_count = ask_first, 0, 0
    while True:
        if ask:
            # No fence: a fence would close the way out for good. The venue takes one id once, so a late first
            # request and a second one are still one order.
            found: AskResult = yield Ask(command.client_order_id, fence=False)
            if found.presence in (Presence.FOUND, Presence.REJECTED):
                yield from _report_found(command, found)
                return
            pause, reason = found.presence is Presence.UNKNOWN, found.reason
            ask = pause
        else:
            sent: SendResult = yield Send(command)
            if sent.outcome in (Outcome.ACCEPTED, Outcome.REJECTED):
                yield from _report_answer(command, sent)
                return
            send_count += 1
            pause, reason = sent.outcome is Outcome.NOT_SENT or send_count > 1, sent.reason
            ask = True
        if pause:
            if round_count == 0:
                yield from _report_doubt(command, reason)
            if (yield Wait(round_count)):
                return
            round_count += 1


# --- exits, where the venue takes an id as often as it is sent ----------------------------------------------------


def _submit_exit_by_attempts(gate: Gate, commission: Commission, no: common_pb2.Refusal | None) -> Procedure:
    """Attempt after attempt while the last one certainly never left; then ask until the venue speaks of the order.

    connection -> mark as begun -> SUBMITTING stored -> send -> answer stored
                       ^                                 |`---> lost: in doubt, asked about, never sent again
                       `------ wait <- mark as unsent <--'
    """
    command = commission.command
    attempt, mark = yield from _newest_attempt(gate, commission)
    if mark is SpendResult.WON and no is not None:
        yield from _refuse_exit(commission, no)
        return
    while mark is SpendResult.WON:
        if (yield from _wait_for_connection(commission)):
            return
        mark = yield from _insist(Spend(_begun(command, attempt), _run(gate, commission)))
        if mark in (SpendResult.WON, SpendResult.OURS):
            yield Record(_order_report(command, venue_pb2.ORDER_FACT_SUBMITTING))
            sent: SendResult = yield Send(command)
            if sent.outcome in (Outcome.ACCEPTED, Outcome.REJECTED):
                yield from _report_answer(command, sent)
                return
            if sent.outcome is Outcome.NOT_SENT and (yield from _wait_after_unsent(gate, commission, attempt, sent)):
                return
        attempt, mark = yield from _newest_attempt(gate, commission)
    if mark is SpendResult.TAKEN:
        yield from _report_canceled_unsent(commission)
        return
    found = yield from _ask_until_certain(command)
    if found is not None:
        yield from _report_found(command, found)


def _newest_attempt(gate: Gate, commission: Commission) -> Generator[Effect, Any, tuple[int, SpendResult]]:
    """The first attempt that is not marked as unsent. WON: nobody began it; TAKEN: a cancel closed it."""
    for attempt in count(1):
        mark = yield from _insist(ReadSpend(_begun(commission.command, attempt), _run(gate, commission)))
        if mark in (SpendResult.WON, SpendResult.TAKEN):
            return attempt, mark
        unsent = yield from _insist(ReadSpend(_unsent(commission.command, attempt), _run(gate, commission)))
        if unsent is SpendResult.WON:
            return attempt, mark
    raise AssertionError("attempts have no end")


def _wait_for_connection(commission: Commission) -> Generator[Effect, Any, bool]:
    """Nothing is marked while nothing could leave: whoever comes after us begins where we did. True: settled."""
    for round_count in count():
        state: VenueState = yield ReadVenueState()
        if state.cut_off is None:
            return False
        if round_count == 0:
            yield from _tell_exit_waits(commission, state.cut_off)
        if (yield Wait(round_count)):
            return True
    raise AssertionError("waits have no end")


def _wait_after_unsent(
    gate: Gate, commission: Commission, attempt: int, sent: SendResult
) -> Generator[Effect, Any, bool]:
    """It certainly never left, and whoever comes after us shall know that too. True: settled."""
    yield from _insist(Spend(_unsent(commission.command, attempt), _run(gate, commission)))
    yield from _tell_exit_waits(commission, sent.reason)
    return bool((yield Wait(attempt - 1)))


def _tell_exit_waits(commission: Commission, reason: common_pb2.Refusal | None) -> Procedure:
    command = commission.command
    why = f": {reason.message}" if reason is not None and reason.message else ""
    message = f"an exit cannot be sent; it goes out as soon as it can{why}"
    no = refusal("EXIT_NOT_SENT", "client_order_id", command.client_order_id, "sent at once", message)
    yield RaiseAlert(_alert(command, no.reason, no, commission.identity))


def _close_exit(gate: Gate, commission: Commission) -> Generator[Effect, Any, bool]:
    """Take the mark that an exit's next attempt would need. False: an attempt was begun that may have left."""
    for attempt in count(1):
        mark = yield from _insist(Spend(_begun(commission.command, attempt), _run(gate, commission)))
        if mark is not SpendResult.TAKEN:
            return True
        unsent = yield from _insist(ReadSpend(_unsent(commission.command, attempt), _run(gate, commission)))
        if unsent is SpendResult.WON:
            return False
    raise AssertionError("attempts have no end")


def _report_canceled_unsent(commission: Commission) -> Procedure:
    """A cancel was faster than the exit. Both say so, under one report id."""
    command = commission.command
    no = refusal("CANCELED_UNSENT", "client_order_id", command.client_order_id, "", "canceled before it was ever sent")
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_CANCELED, reason=no))


def _run(gate: Gate, commission: Commission) -> str:
    """Marks of attempts tell this run of a command from an earlier one."""
    return f"{commission.marks_as or commission.identity}{RUN_SEPARATOR}{gate.run}"


def _begun(command: journal_pb2.VenueCommand, attempt: int) -> str:
    return f"{command.client_order_id}.{attempt}"


def _unsent(command: journal_pb2.VenueCommand, attempt: int) -> str:
    return f"{command.client_order_id}.{attempt}.unsent"


# --- cancels ---------------------------------------------------------------------------------------------------


def cancel_order(gate: Gate, commission: Commission) -> Procedure:
    """A cancel only takes risk away: no token, no warrant, and repeated until the venue answered."""
    no = admission.check_addressee(gate, commission.command)
    if no is not None:
        yield from _reject_cancel(commission, no)
        return
    for round_count in count():
        if commission.entry_id and (yield from _is_moot(commission)):
            return
        if gate.traits.fences:
            is_over, silence = yield from _cancel(commission)
        else:
            is_over, silence = yield from _cancel_unproven(gate, commission)
        if is_over:
            return
        if round_count == 0:
            unconfirmed = _cancel_unconfirmed(commission.command, silence)
            yield RaiseAlert(_alert(commission.command, unconfirmed.reason, unconfirmed, commission.identity))
        if (yield Wait(round_count)):
            return


def _is_moot(commission: Commission) -> Generator[Effect, Any, bool]:
    """A protective order has ended, as it does by its entry and by its group: nothing is left to take back."""
    known: KnownOrder | None = yield Recall(commission.command.client_order_id)
    return known is not None and known.is_over


_CancelRound = Generator[Effect, Any, tuple[bool, common_pb2.Refusal | None]]
"""One round of asking to cancel: whether that is the end of it, and if not, why."""


def _cancel(commission: Commission) -> _CancelRound:
    """Where a "no" is an answer."""
    answer: SendResult = yield Cancel(commission.command)
    if answer.outcome is Outcome.REJECTED and commission.entry_id:
        return False, answer.reason  # nobody gave it up: what becomes of it is being asked
    if answer.outcome is Outcome.REJECTED:
        yield from _reject_cancel(commission, answer.reason)
    # Accepted: the event stream brings CANCELED, or the fills that were faster.
    return answer.outcome in (Outcome.ACCEPTED, Outcome.REJECTED), answer.reason


def _cancel_unproven(gate: Gate, commission: Commission) -> _CancelRound:
    """Where "not found" proves nothing: it may still arrive, and then it has to be canceled."""
    command = commission.command
    if commission.of_exit and (yield from _close_exit(gate, commission)):
        yield from _report_canceled_unsent(commission)
        return True, None
    answer: SendResult = yield Cancel(command)
    if answer.outcome is not Outcome.REJECTED:
        return answer.outcome is Outcome.ACCEPTED, answer.reason
    found: AskResult = yield Ask(command.client_order_id, fence=False)
    if found.presence in (Presence.FOUND, Presence.REJECTED):
        # It is there: it may have arrived between the two questions, so the first "no" is asked for again.
        return (yield from _cancel(commission))
    if found.presence is Presence.ABSENT and commission.by_person and (yield from _give_up(command)):
        return True, None
    return False, _nowhere(found.reason)


def _give_up(command: journal_pb2.VenueCommand) -> Generator[Effect, Any, bool]:
    """A person canceled what is in doubt, and the venue, asked for everything, does not know it.

    In doubt also means that nobody will send it: a doubt is told of only when that is so.
    """
    known: KnownOrder | None = yield Recall(command.client_order_id)
    if known is None or not (known.is_in_doubt and known.knows(venue_pb2.ORDER_FACT_IN_DOUBT)):
        return False
    message = "a person canceled it while it was in doubt, and the venue does not know it"
    no = refusal(ORDER_GIVEN_UP, "client_order_id", command.client_order_id, "known to the venue", message)
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_CANCELED, reason=no))
    return True


def _reject_cancel(commission: Commission, no: common_pb2.Refusal | None) -> Procedure:
    command = commission.command
    no = no or refusal("CANCEL_REJECTED", "client_order_id", command.client_order_id, "", "")
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_CANCEL_REJECTED, reason=no, cause=commission.identity))


# --- doubt -----------------------------------------------------------------------------------------------------


def _ask_until_certain(
    command: journal_pb2.VenueCommand, *, fence: bool = False
) -> Generator[Effect, Any, AskResult | None]:
    """Ask for an order that may be there until the venue speaks of it. ``None``: the journal has settled it meanwhile.

    Only where a fence makes absence a proof is ABSENT an answer.
    """
    found: AskResult = yield Ask(command.client_order_id, fence=fence)
    return (yield from _resolved(command, found, fence=fence))


def _resolved(
    command: journal_pb2.VenueCommand, found: AskResult, *, fence: bool
) -> Generator[Effect, Any, AskResult | None]:
    """From the first answer on. As ``_ask_until_certain``."""
    for round_count in count():
        if found.presence in (Presence.FOUND, Presence.REJECTED):
            return found
        is_absent = found.presence is Presence.ABSENT
        if is_absent and fence:
            return found
        if round_count == 0:
            yield from _report_doubt(command, _nowhere(found.reason) if is_absent else found.reason)
        if (yield Wait(round_count)):
            return None
        found = yield Ask(command.client_order_id, fence=fence)
    raise AssertionError("doubt has no end but an answer")


def _nowhere(reason: common_pb2.Refusal | None) -> common_pb2.Refusal:
    why = f": {reason.message}" if reason is not None and reason.message else ""
    message = f"the venue does not know the order, which proves nothing there{why}"
    return refusal("ORDER_NOWHERE", "client_order_id", "", "spoken of by the venue", message)


# --- endings ---------------------------------------------------------------------------------------------------


def _deny(
    commission: Commission, no: common_pb2.Refusal, *, papers: EntryPapers | None = None, burned: bool = False
) -> Procedure:
    """It never existed at the venue: bead, then the report that frees the slot."""
    if papers is not None:
        kind = authority_pb2.TOKEN_EVENT_KIND_USED if burned else _refused_kind(no)
        yield Audit(_token_bead(commission, papers, kind, no))
    if commission.repeats_an_id:
        return  # the id belongs to an earlier order, which may be alive: a DENIED would be a lie about that one
    yield Record(_order_report(commission.command, venue_pb2.ORDER_FACT_DENIED, reason=no, cause=commission.identity))


def _report_answer(command: journal_pb2.VenueCommand, sent: SendResult) -> Procedure:
    """A rejection is told as it is and not tried again; the kernel, which journals it, alerts (T10)."""
    is_rejected = sent.outcome is Outcome.REJECTED
    fact = venue_pb2.ORDER_FACT_REJECTED if is_rejected else venue_pb2.ORDER_FACT_ACKNOWLEDGED
    yield Record(_order_report(command, fact, sent))


def _report_found(command: journal_pb2.VenueCommand, found: AskResult) -> Procedure:
    """The venue knows it. What became of it since, fills and all, comes by its event stream."""
    outcome = Outcome.REJECTED if found.presence is Presence.REJECTED else Outcome.ACCEPTED
    yield from _report_answer(command, SendResult(outcome, found.venue_order_id, found.reason, found.venue_time_ns))


def _report_doubt(command: journal_pb2.VenueCommand, reason: common_pb2.Refusal | None) -> Procedure:
    """The kernel, which journals the doubt and times it, alerts, in our words for the cause."""
    no = refusal(
        "ORDER_IN_DOUBT",
        "client_order_id",
        command.client_order_id,
        "answered by the venue",
        reason.message if reason is not None else "the venue's answer was lost",
    )
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_IN_DOUBT, reason=no))


def _insist(question: Spend | ReadSpend) -> Generator[Effect, Any, SpendResult]:
    """Ask the store of marks until it answers."""
    round_count = 0
    while True:
        mark: SpendResult = yield question
        if mark is not SpendResult.UNKNOWN:
            return mark
        yield Wait(round_count)
        round_count += 1


# --- messages --------------------------------------------------------------------------------------------------


def _order_report(
    command: journal_pb2.VenueCommand,
    fact: venue_pb2.OrderFact.ValueType,
    sent: SendResult | None = None,
    *,
    reason: common_pb2.Refusal | None = None,
    cause: str = "",
) -> venue_pb2.VenueReport:
    reason = sent.reason if sent is not None else reason
    order = venue_pb2.OrderReport(
        fact=fact,
        client_order_id=command.client_order_id,
        venue_order_id=sent.venue_order_id if sent is not None else command.venue_order_id,
        symbol=command.instrument.symbol,
        reason=reason,
    )
    venue_time_ns = sent.venue_time_ns if sent is not None else 0
    return reports.order_report(command.account, command.venue, order, cause=cause, venue_time_ns=venue_time_ns)


def _token_bead(
    commission: Commission,
    papers: EntryPapers,
    kind: authority_pb2.TokenEventKind.ValueType,
    reason: common_pb2.Refusal | None = None,
) -> audit_pb2.Bead:
    name = authority_pb2.TokenEventKind.Name(kind)
    event = authority_pb2.TokenEvent(
        token_id=papers.token_id,
        intent_id=papers.intent.intent_id,
        kind=kind,
        reason=reason,
        client_order_id=commission.command.client_order_id,
    )
    if papers.claims is not None:
        event.evidence_sha256 = papers.claims.evidence_sha256
        event.expires_at_ns = papers.claims.expires_at_ns
    return audit_pb2.Bead(
        bead_id=derived_id("token-event", papers.token_id, name, commission.identity),
        account=commission.command.account,
        actor=common_pb2.Actor(id=reports.SERVICE, kind="service"),
        token=event,
    )


def _refused_kind(no: common_pb2.Refusal) -> authority_pb2.TokenEventKind.ValueType:
    expired = no.reason in ("TOKEN_EXPIRED", "COMMAND_EXPIRED")
    return authority_pb2.TOKEN_EVENT_KIND_EXPIRED if expired else authority_pb2.TOKEN_EVENT_KIND_REJECTED


def _alert(command: journal_pb2.VenueCommand, reason: str, no: common_pb2.Refusal, cause: str) -> audit_pb2.Alert:
    """What the gateway raises about its own commands is looked at now: all of it is CRITICAL."""
    return audit_pb2.Alert(
        alert_id=derived_id("alert", reason, command.venue, command.account, command.client_order_id, cause),
        severity=common_pb2.SEVERITY_CRITICAL,
        service=reports.SERVICE,
        reason=reason,
        account=command.account,
        message=no.message,
        subject_id=command.client_order_id,
        details=[no],
    )


def _burned(reason: common_pb2.Refusal | None) -> common_pb2.Refusal:
    why = f": {reason.message}" if reason is not None and reason.message else ""
    return refusal(
        "TOKEN_BURNED",
        "token",
        reason.reason if reason is not None else "",
        "sent while it could be",
        f"the token is burned and the order never reached the venue{why}",
    )


def _store_unreachable(papers: EntryPapers) -> common_pb2.Refusal:
    message = "the store of spent tokens did not answer, so the entry is not sent"
    return refusal("SPEND_UNKNOWN", "token_id", papers.token_id, "marked as spent before sending", message)


def _cancel_unconfirmed(command: journal_pb2.VenueCommand, reason: common_pb2.Refusal | None) -> common_pb2.Refusal:
    why = f": {reason.message}" if reason is not None and reason.message else ""
    message = f"the venue has not confirmed a cancel; it is asked again{why}"
    return refusal("CANCEL_UNCONFIRMED", "client_order_id", command.client_order_id, "answered by the venue", message)


def _exit_replay(command: journal_pb2.VenueCommand) -> common_pb2.Refusal:
    rule, message = "sent by one command", "another command sent this exit"
    return refusal("EXIT_REPLAY", "client_order_id", command.client_order_id, rule, message)


def _unknown_kind(command: journal_pb2.VenueCommand) -> common_pb2.Refusal:
    return refusal(
        "COMMAND_INVALID",
        "kind",
        command.kind,
        "SUBMIT_ENTRY, SUBMIT_PROTECTIVE, SUBMIT_EXIT or CANCEL",
        "the gateway does not know this kind of command",
    )
