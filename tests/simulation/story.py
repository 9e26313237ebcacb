"""A run's trace, and the lines of it that tell the story of one order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.numbers import Number

LAST_LINES = 40
_NODES_NEWS = ("starts", "is killed", "freezes", "faults stop")


class Line(NamedTuple):
    """Something happened. A published message is kept as it is, and read only if the line is printed."""

    step: int
    seconds: float
    text: str
    about: str = ""
    message: Publish | None = None

    def __str__(self) -> str:
        what = f"{self.message.subject} {self.text} {describe(self.message)}" if self.message else self.text
        return f"{self.step:6} {self.seconds:9.3f}s  {self.about and self.about + ' '}{what}"

    def mentions(self, names: Collection[str]) -> bool:
        if self.about in names:
            return True
        return self.message is not None and any(name.encode() in self.message.body for name in names)

    @property
    def is_node_news(self) -> bool:
        return self.text.endswith(_NODES_NEWS)


def story(trace: Iterable[Line], names: Collection[str]) -> list[str]:
    """The lines that mention one of the names, with the starts and deaths of nodes in between; else the last lines."""
    lines = list(trace)
    told = [place for place, line in enumerate(lines) if names and line.mentions(names)]
    if not told:
        return [str(line) for line in lines[-LAST_LINES:]]
    between = range(told[0], told[-1] + 1)
    news = {place for place in between if lines[place].is_node_news}
    chosen = [lines[place] for place in sorted({*told, *news})]
    return [f"about {', '.join(sorted(names))}", *map(str, chosen)]


def describe(message: Publish) -> str:
    """One message in a few words."""
    first, last = message.subject.partition(".")[0], message.subject.rpartition(".")[2]
    try:
        match first:
            case "journal":
                return ", ".join(_entry(journal_pb2.JournalEntry.FromString(message.body)))
            case "inbox":
                return _input(inbox_pb2.InboxMessage.FromString(message.body), last)
            case "intent":
                return _intent(intent_pb2.Intent.FromString(message.body))
            case "bead":
                return _bead(audit_pb2.Bead.FromString(message.body))
            case "alert":
                alert = audit_pb2.Alert.FromString(message.body)
                return f"{alert.reason} {alert.subject_id}: {alert.message[:80]}"
    except DecodeError:
        return "unreadable"
    return message.message_id


def _entry(entry: journal_pb2.JournalEntry) -> Iterator[str]:
    if entry.HasField("epoch_started"):
        yield f"epoch {entry.epoch} begins"
        return
    yield f"input {entry.input_sequence} {entry.door} {entry.outcome.code}"
    for command in entry.commands:
        kind = journal_pb2.CommandKind.Name(command.kind).removeprefix("COMMAND_KIND_")
        yield f"{kind} {Number.of(command.order_qty)} {command.client_order_id}"
    for fill in entry.fills:
        yield f"fill {fill.execution_id} {Number.of(fill.last_qty)} {fill.client_order_id}"
    for slot in entry.slots:
        stage = state_pb2.SlotStage.Name(slot.stage).removeprefix("SLOT_STAGE_")
        yield f"{slot.trade_id} {stage} holds {Number.of(slot.qty)}"


def _input(message: inbox_pb2.InboxMessage, door: str) -> str:
    match message.WhichOneof("body"):
        case "venue":
            return _report(message.venue)
        case "entry":
            return "authorized " + _intent(intent_pb2.Intent.FromString(message.entry.intent))
        case "exit":
            return f"exit of {message.exit.trade_id}"
        case "control":
            action = inbox_pb2.ControlAction.Name(message.control.action).removeprefix("CONTROL_ACTION_")
            return f"{action} {message.control.client_order_id}"
    return door


def _report(report: venue_pb2.VenueReport) -> str:
    text: str = report.WhichOneof("body") or ""
    if report.HasField("order"):
        fact = venue_pb2.OrderFact.Name(report.order.fact).removeprefix("ORDER_FACT_")
        text = f"{fact} {report.order.client_order_id} {report.order.reason.reason}"
    elif report.HasField("fill"):
        text = f"fill {report.fill.execution_id} {Number.of(report.fill.last_qty)} {report.fill.client_order_id}"
    return f"{text} (watermark {report.venue_watermark})"


def _intent(intent: intent_pb2.Intent) -> str:
    side = common_pb2.Side.Name(intent.side).removeprefix("SIDE_")
    price = f" at {Number.of(intent.price)}" if intent.HasField("price") else ""
    return f"{intent.intent_id} attempt {intent.attempt}: {side} {Number.of(intent.order_qty)}{price}"


def _bead(bead: audit_pb2.Bead) -> str:
    match bead.WhichOneof("body"):
        case "decision":
            verdict = authority_pb2.Verdict.Name(bead.decision.verdict).removeprefix("VERDICT_")
            return f"{bead.decision.intent_id} {verdict} {bead.decision.reason}"
        case "token":
            kind = authority_pb2.TokenEventKind.Name(bead.token.kind).removeprefix("TOKEN_EVENT_KIND_")
            return f"token of {bead.token.intent_id} {kind} {bead.token.reason.reason}"
        case "drift":
            return f"{bead.drift.reason} {bead.drift.symbol} {bead.drift.message}"
    return bead.bead_id
