"""Which journal entries a person should know about.

Alerts are a function of the stored entry and its sequence, so publishing them again after a crash names the same
alerts, and nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel_domain import effects
from kestrel_domain.identifiers import derived_id

SERVICE = "kernel"

ORPHAN_POSITION = "ORPHAN_POSITION"
"""A refusal, so no anomaly tells it; but the position exists, and nobody here looks after it."""

IN_DOUBT = "ORDER_IN_DOUBT"

_ADVICE = {
    "ORDER_STALLED": ". It keeps its slot and its capital until a person cancels it or the venue answers (T09)",
    "VENUE_REJECTED": ". It is not sent again (T10)",
    "PROTECTION_LOST": ". Nothing is done by itself: a person leaves the trade, or watches it (T01)",
    "PROTECTION_LEFT": ". It could open a position of its own: a person cancels it, here or at the venue (T01)",
}


def of_entry(entry: journal_pb2.JournalEntry, journal_sequence: int) -> list[effects.Publish]:
    """Every alert that follows from one journaled entry, in a stable order."""
    alerts = []
    for index, alert in enumerate(_alerts(entry)):
        alert.alert_id = derived_id("alert", SERVICE, *_identity(entry, alert, journal_sequence, index))
        alert.service = SERVICE
        alert.account = "" if entry.HasField("epoch_started") else entry.account
        alert.raised_at_ns = entry.recorded_at_ns
        alerts.append(effects.alert(alert, traceparent=entry.traceparent))
    return alerts


def _identity(
    entry: journal_pb2.JournalEntry, alert: audit_pb2.Alert, journal_sequence: int, index: int
) -> tuple[str | int, ...]:
    """Its place in the journal; but a doubt is one thing, however often a gateway that begins anew reports it."""
    if alert.reason == IN_DOUBT:
        return IN_DOUBT, entry.account, alert.subject_id
    return entry.partition, journal_sequence, index


def _alerts(entry: journal_pb2.JournalEntry) -> Iterator[audit_pb2.Alert]:
    if entry.HasField("epoch_started"):
        yield _epoch_started(entry)
    if entry.outcome.code == ORPHAN_POSITION:
        yield _orphan(entry)
    for anomaly in entry.anomalies:
        if anomaly.severity >= common_pb2.SEVERITY_WARNING:
            yield _anomaly(entry, anomaly)


def _epoch_started(entry: journal_pb2.JournalEntry) -> audit_pb2.Alert:
    return audit_pb2.Alert(
        severity=common_pb2.SEVERITY_INFO,
        reason="EPOCH_STARTED",
        message=f"{entry.epoch_started.owner} now writes partition {entry.partition}, epoch {entry.epoch}",
        subject_id=f"journal-{entry.partition}-epoch-{entry.epoch}",
    )


def _orphan(entry: journal_pb2.JournalEntry) -> audit_pb2.Alert:
    adoption = inbox_pb2.InboxMessage.FromString(entry.input).adopt
    return audit_pb2.Alert(
        severity=common_pb2.SEVERITY_CRITICAL,
        reason=ORPHAN_POSITION,
        message=f"no slot is free for the venue's position in {adoption.instrument.symbol}; nothing here trades it. "
        "A person leaves it at the venue, or frees a slot and approves the adoption again (X13)",
        subject_id=adoption.adoption_id,
    )


def _anomaly(entry: journal_pb2.JournalEntry, anomaly: journal_pb2.Anomaly) -> audit_pb2.Alert:
    reasons = _reasons_given(entry)
    cause = reasons[0].message if reasons and anomaly.code == IN_DOUBT else ""
    return audit_pb2.Alert(
        severity=anomaly.severity,
        reason=anomaly.code,
        message=". ".join(part for part in (_sentence(anomaly), cause) if part),
        subject_id=anomaly.execution_id or anomaly.client_order_id or anomaly.trade_id,
        details=reasons,
    )


def _sentence(anomaly: journal_pb2.Anomaly) -> str:
    about = [
        f"{name} {value}"
        for name, value in (
            ("trade", anomaly.trade_id),
            ("order", anomaly.client_order_id),
            ("execution", anomaly.execution_id),
        )
        if value
    ]
    what = anomaly.message or anomaly.code.replace("_", " ").lower()
    advice = _ADVICE.get(anomaly.code, "")
    return ": ".join(part for part in (", ".join(about), what) if part) + advice


def _reasons_given(entry: journal_pb2.JournalEntry) -> list[common_pb2.Refusal]:
    """What the venue, or the gateway, gave as its reason for an order's fate."""
    report = inbox_pb2.InboxMessage.FromString(entry.input).venue.order
    return [report.reason] if report.HasField("reason") else []
