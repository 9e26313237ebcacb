"""The submission procedure: from a journaled command to the one report that settles it.

Each procedure is a generator. It yields an effect, the driver performs it and sends the result back; so the service
and the simulated world run the same steps, and a test may let the process die between any two of them.

    entry   checks -> spend the token -> flags again -> SUBMITTING stored -> send -> USED bead -> answer stored
    exit    warrant -> mark as begun -> SUBMITTING stored -> send -> answer stored
    cancel  send -> refusal stored, if it is one

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
  and what is provably absent is burned, not sent again. An exit is asked about until certain and sent again under
  the same id, which the venue takes once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
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

# --- effects and what they come back with -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadKillFlags:
    """Read the flags from their leader, now. Result: ``FlagsRead``; never an exception."""


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
    TAKEN = "taken"  # another command's
    UNKNOWN = "unknown"  # the store did not answer


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
    """Let time pass before the next question; longer each time. From here on other commands need not wait for us."""

    round: int


Effect = ReadKillFlags | Spend | ReadSpend | Record | Audit | RaiseAlert | Send | Ask | Cancel | Wait
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


def procedure(gate: Gate, commission: Commission) -> Procedure:
    """The steps for one command."""
    match commission.command.kind:
        case journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
            return submit_entry(gate, commission)
        case journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
            return submit_exit(gate, commission)
        case journal_pb2.COMMAND_KIND_CANCEL:
            return cancel_order(gate, commission)
    return _deny(commission, _unknown_kind(commission.command))


# --- entries ---------------------------------------------------------------------------------------------------


def submit_entry(gate: Gate, commission: Commission) -> Procedure:
    """An entry: with a token, once, or not at all."""
    command = commission.command
    papers = admission.read_papers(gate, command)
    flags: FlagsRead = yield ReadKillFlags()
    no = admission.check_entry(gate, command, papers, flags)
    if papers is None or no is not None:
        yield from _refuse_entry(commission, papers, no or _unknown_kind(command))
        return
    mark: SpendResult = yield Spend(papers.token_id, commission.identity)
    if mark is SpendResult.WON:
        yield from _send_entry(gate, commission, papers)
    elif mark is SpendResult.UNKNOWN:
        yield from _refuse_entry(commission, papers, _store_unreachable(papers))
    else:
        yield from _follow_mark(commission, papers, mark)


def _send_entry(gate: Gate, commission: Commission, papers: EntryPapers) -> Procedure:
    """The token is spent, and nobody else will ever send this entry."""
    command = commission.command
    flags: FlagsRead = yield ReadKillFlags()
    no = admission.check_still_wanted(gate, command, flags)
    if no is not None:
        yield from _deny(commission, no, papers=papers)
        return
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_SUBMITTING))
    sent: SendResult = yield Send(command)
    match sent.outcome:
        case Outcome.ACCEPTED | Outcome.REJECTED:
            yield Audit(_token_bead(commission, papers, authority_pb2.TOKEN_EVENT_KIND_USED, sent.reason))
            yield from _report_answer(command, sent)
        case Outcome.NOT_SENT:
            yield from _deny(commission, _burned(sent.reason), papers=papers, burned=True)
        case Outcome.UNKNOWN:
            yield from _resolve_entry(commission, papers)


def _resolve_entry(commission: Commission, papers: EntryPapers) -> Procedure:
    """It may be at the venue. Ask, with a fence, until the venue says; never send again."""
    command = commission.command
    round_count = 0
    while True:
        found: AskResult = yield Ask(command.client_order_id, fence=True)
        if found.presence is not Presence.UNKNOWN:
            break
        if round_count == 0:
            yield from _report_doubt(command, found.reason)
        yield Wait(round_count)
        round_count += 1
    if found.presence is Presence.ABSENT:
        yield from _deny(commission, _burned(found.reason), papers=papers, burned=True)
        return
    yield Audit(_token_bead(commission, papers, authority_pb2.TOKEN_EVENT_KIND_USED, found.reason))
    yield from _report_found(command, found)


def _refuse_entry(commission: Commission, papers: EntryPapers | None, no: common_pb2.Refusal) -> Procedure:
    """Do not send, and see to it that nobody else will: the token is closed before the slot is freed.

    If an earlier run of this command came as far as spending, that run's fate is the truth; and a run that was frozen
    before its spend and wakes up finds the mark.
    """
    mark = SpendResult.WON
    if papers is not None:
        mark = yield from _insist(Spend(papers.token_id, commission.identity))
    if papers is None or mark is SpendResult.WON:
        yield from _deny(commission, no, papers=papers)
    else:
        yield from _follow_mark(commission, papers, mark)


def _follow_mark(commission: Commission, papers: EntryPapers, mark: SpendResult) -> Procedure:
    """The token was spent before: by this very command, or by another one, which makes this a replay."""
    if mark is SpendResult.OURS:
        yield from _resolve_entry(commission, papers)
        return
    no = refusal("TOKEN_REPLAY", "token_id", papers.token_id, "spent once", "the token was spent by another command")
    yield RaiseAlert(_alert(commission.command, no.reason, no, commission.identity))
    yield from _deny(commission, no, papers=papers)


# --- exits -----------------------------------------------------------------------------------------------------


def submit_exit(gate: Gate, commission: Commission) -> Procedure:
    """An exit: by warrant, and until it is certain. Kill flags are never looked at."""
    command = commission.command
    no = admission.check_exit(gate, command, commission.committed_qty)
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
            yield Wait(round_count)
            round_count += 1


# --- cancels ---------------------------------------------------------------------------------------------------


def cancel_order(gate: Gate, commission: Commission) -> Procedure:
    """A cancel only takes risk away: no token, no warrant, and repeated until the venue answered."""
    command = commission.command
    no = admission.check_addressee(gate, command)
    round_count = 0
    while no is None:
        answer: SendResult = yield Cancel(command)
        if answer.outcome is Outcome.ACCEPTED:
            return  # the event stream brings CANCELED, or the fills that were faster
        if answer.outcome is Outcome.REJECTED:
            no = answer.reason or refusal("CANCEL_REJECTED", "client_order_id", command.client_order_id, "", "")
            break
        if round_count == 0:
            silence = _cancel_unconfirmed(command, answer.reason)
            yield RaiseAlert(_alert(command, silence.reason, silence, commission.identity))
        yield Wait(round_count)
        round_count += 1
    yield Record(_order_report(command, venue_pb2.ORDER_FACT_CANCEL_REJECTED, reason=no, cause=commission.identity))


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
    no = refusal(
        "ORDER_IN_DOUBT",
        "client_order_id",
        command.client_order_id,
        "answered by the venue",
        reason.message if reason is not None else "the venue's answer was lost",
    )
    yield RaiseAlert(_alert(command, no.reason, no, ""))
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
        "SUBMIT_ENTRY, SUBMIT_EXIT or CANCEL",
        "the gateway does not know this kind of command",
    )
