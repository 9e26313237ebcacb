"""One message becomes rows.

``rows_of`` reads a message and returns everything the database shall hold of it. It raises ``InvalidRequest`` when
the bytes are no such message; then ``raw_rows`` records them as they are. Either way the message has a row, and in a
chain it has its link: a link is made of stored bytes only, so an unreadable message has one too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_persistence.core.bead_rows import bead_rows
from kestrel_persistence.core.chain import Link
from kestrel_persistence.core.journal_rows import journal_rows
from kestrel_persistence.core.record import (
    Record,
    Row,
    Value,
    amount,
    count,
    name,
    parsed,
    required,
    row,
    subject_parts,
    text,
)

JOURNAL_PREFIX = "JOURNAL_"


def is_journal(stream: str) -> bool:
    return stream.startswith(JOURNAL_PREFIX)


def rows_of(record: Record, link: Link | None = None) -> list[Row]:
    """All rows of one message; ``link`` is its place in the bead chain, and is given for BEADS only.

    Raises InvalidRequest when the message cannot be read: the caller parks it and records ``raw_rows``.
    """
    if is_journal(record.stream):
        return journal_rows(record, parsed(record, journal_pb2.JournalEntry))
    if record.stream == subjects.BEADS:
        assert link is not None
        bead = parsed(record, audit_pb2.Bead)
        return [_bead_row(record, link, bead), *bead_rows(record, bead)]
    reader = _READERS.get(record.stream)
    if reader is None:
        raise InvalidRequest.of("stream", record.stream, "no table is known for it")
    return reader(record)


def raw_rows(record: Record, error: KestrelError, link: Link | None = None) -> list[Row]:
    """What is recorded of a message that cannot be used: its bytes, the reason, and its link in a chain."""
    unusable = row(
        "unusable_messages",
        record,
        subject=printable(record.subject),
        reason=error.reason,
        message=printable(str(error))[:2000],
        body=record.data,
    )
    if is_journal(record.stream):
        return [row("journal_entries", record, entry_hash=_sha256(record.data), body=record.data), unusable]
    if record.stream == subjects.BEADS:
        assert link is not None
        return [_bead_row(record, link, None), unusable]
    return [unusable]


def printable(value: str) -> str:
    """Text that every database takes: the NUL character is shown, not sent."""
    return value.replace("\x00", "\\x00")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _bead_row(record: Record, link: Link, bead: audit_pb2.Bead | None) -> Row:
    chain: dict[str, Value] = {
        "chain_sequence": link.sequence,
        "previous_hash": link.previous_hash,
        "chain_hash": link.entry_hash,
        "subject": record.subject,
        "body": record.data,
    }
    if bead is None:
        return row("beads", record, **chain | {"subject": printable(record.subject)})
    return row(
        "beads",
        record,
        bead_id=required("bead_id", bead.bead_id),
        kind=required("body", bead.WhichOneof("body") or ""),
        account=text(bead.account),
        actor=text(bead.actor.id),
        actor_kind=text(bead.actor.kind),
        created_at_ns=count(bead.created_at_ns),
        **chain,
    )


def _intent(record: Record) -> list[Row]:
    intent = parsed(record, intent_pb2.Intent)
    signal = intent.signal if intent.HasField("signal") else None
    return [
        row(
            "intents",
            record,
            intent_id=required("intent_id", intent.intent_id),
            account=required("account", intent.account),
            venue=text(intent.venue),
            environment=name(common_pb2.Environment, intent.environment, "ENVIRONMENT"),
            symbol=text(intent.instrument.symbol),
            instrument_version=intent.instrument.version,
            side=name(common_pb2.Side, intent.side, "SIDE"),
            order_qty=amount(intent, "order_qty"),
            order_type=name(common_pb2.OrderType, intent.order_type, "ORDER_TYPE"),
            price=amount(intent, "price"),
            time_in_force=name(common_pb2.TimeInForce, intent.time_in_force, "TIME_IN_FORCE"),
            stop_price=amount(intent, "stop_price"),
            target_price=amount(intent, "target_price"),
            reference_price=amount(intent, "reference_price"),
            bracket=intent.bracket,
            leverage=intent.leverage,
            strategy=text(intent.strategy),
            signal_id=text(signal.signal_id) if signal else None,
            signal_created_at_ns=count(signal.created_at_ns) if signal else None,
            attempt=intent.attempt,
            anchor_as_of_ns=count(intent.anchor.as_of_ns),
            proposer=text(intent.proposer.id),
            created_at_ns=count(intent.created_at_ns),
            expires_at_ns=count(intent.expires_at_ns),
            body_sha256=_sha256(record.data),
            body=record.data,
        )
    ]


def _inbox(record: Record) -> list[Row]:
    _, partition, account, door = subject_parts(record, "inbox.<partition>.<account>.<door>")
    if not partition.isdigit():
        raise InvalidRequest.of("subject", record.subject, "inbox.<partition>.<account>.<door>")
    message = parsed(record, inbox_pb2.InboxMessage)
    body = message.WhichOneof("body")
    if body is None:
        raise InvalidRequest.of("body", "", "is required")
    found: dict[str, Value] = {"kind": body}
    if body == "entry":
        found |= {"trade_id": _intent_id(message.entry.intent)}
    elif body == "exit":
        found |= {"trade_id": text(message.exit.trade_id), "received_at_ns": count(message.exit.requested_at_ns)}
    elif body == "control":
        found |= {"client_order_id": text(message.control.client_order_id)}
    elif body == "venue":
        found = _venue_columns(message.venue)
    return [
        row("inbox_messages", record, partition=int(partition), account=account, door=door, body=record.data, **found)
    ]


def _intent_id(stored_intent: bytes) -> str | None:
    """None for bytes that are no Intent: the kernel refuses those, and here they only lack a key."""
    try:
        return text(intent_pb2.Intent.FromString(stored_intent).intent_id)
    except DecodeError:
        return None


def _venue_columns(report: venue_pb2.VenueReport) -> dict[str, Value]:
    body = report.WhichOneof("body") or ""
    fact = getattr(report, body) if body else None
    return {
        "kind": required("venue.body", body),
        "client_order_id": text(getattr(fact, "client_order_id", "")),
        "execution_id": text(getattr(fact, "execution_id", "")),
        "report_id": text(report.report_id),
        "order_fact": name(venue_pb2.OrderFact, report.order.fact, "ORDER_FACT") if body == "order" else None,
        "venue_time_ns": count(report.venue_time_ns),
        "received_at_ns": count(report.received_at_ns),
    }


def _truth(record: Record) -> list[Row]:
    _, venue, account = subject_parts(record, "truth.<venue>.<account>")
    truth = parsed(record, venue_pb2.BrokerTruth)
    balance = truth.balance
    rows = [
        row(
            "truths",
            record,
            venue=venue,
            account=account,
            completeness=name(venue_pb2.Completeness, truth.completeness, "COMPLETENESS"),
            as_of_ns=count(truth.as_of_ns),
            execution_watermark=truth.execution_watermark,
            wallet=amount(balance, "wallet"),
            available=amount(balance, "available"),
            currency=text(balance.currency),
            position_count=len(truth.positions),
            order_count=len(truth.open_orders),
            error=text(truth.error.message or truth.error.reason),
            request_id=text(truth.request_id),
            body=record.data,
        )
    ]
    rows += [
        row(
            "truth_positions",
            record,
            position=index,
            venue=venue,
            account=account,
            symbol=required("positions.symbol", position.symbol),
            qty=amount(position, "qty"),
            average_price=amount(position, "average_price"),
        )
        for index, position in enumerate(truth.positions)
    ]
    rows += [
        row(
            "truth_orders",
            record,
            position=index,
            venue=venue,
            account=account,
            client_order_id=text(order.client_order_id),
            venue_order_id=text(order.venue_order_id),
            symbol=text(order.symbol),
            side=name(common_pb2.Side, order.side, "SIDE"),
            order_qty=amount(order, "order_qty"),
            cum_qty=amount(order, "cum_qty"),
        )
        for index, order in enumerate(truth.open_orders)
    ]
    return rows


def _alert(record: Record) -> list[Row]:
    alert = parsed(record, audit_pb2.Alert)
    return [
        row(
            "alerts",
            record,
            alert_id=required("alert_id", alert.alert_id),
            severity=name(common_pb2.Severity, alert.severity, "SEVERITY"),
            service=text(alert.service),
            reason=text(alert.reason),
            account=text(alert.account),
            message=text(alert.message),
            raised_at_ns=count(alert.raised_at_ns),
            subject_id=text(alert.subject_id),
            body=record.data,
        )
    ]


def _parked(record: Record) -> list[Row]:
    parked = parsed(record, audit_pb2.ParkedMessage)
    return [
        row(
            "parked_messages",
            record,
            parked_id=required("parked_id", parked.parked_id),
            service=text(parked.service),
            parked_stream=text(parked.stream),
            parked_sequence=parked.sequence,
            parked_subject=text(parked.subject),
            reason=text(parked.reason.reason),
            field=text(parked.reason.field),
            rule=text(parked.reason.rule),
            message=text(parked.reason.message),
            parked_at_ns=count(parked.parked_at_ns),
            delivery_count=parked.delivery_count,
            body=record.data,
        )
    ]


def _bar(record: Record) -> list[Row]:
    _, venue, symbol = subject_parts(record, "market.<venue>.<symbol>")
    bar = parsed(record, venue_pb2.Bar)
    return [
        row(
            "bars",
            record,
            venue=venue,
            symbol=symbol,
            start_ns=bar.start_ns,
            interval_ns=bar.interval_ns,
            open_price=amount(bar, "open"),
            high_price=amount(bar, "high"),
            low_price=amount(bar, "low"),
            close_price=amount(bar, "close"),
            traded_qty=amount(bar, "volume"),
            received_at_ns=count(bar.received_at_ns),
        )
    ]


_READERS: dict[str, Callable[[Record], list[Row]]] = {
    subjects.INTENTS: _intent,
    subjects.INBOX: _inbox,
    subjects.TRUTH: _truth,
    subjects.ALERTS: _alert,
    subjects.PARKED: _parked,
    subjects.MARKET: _bar,
}
