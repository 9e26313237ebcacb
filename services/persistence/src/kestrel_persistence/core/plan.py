"""What one transaction will store: the rows of a batch of messages, and where the chain then stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, KestrelError
from kestrel_persistence.core.chain import Head, Link, bead_link
from kestrel_persistence.core.record import Record, Row
from kestrel_persistence.core.rows import is_journal, raw_rows, rows_of


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to insert, the chain's new head, and the messages that could not be used, each with the reason."""

    rows: list[Row]
    head: Head
    unusable: list[tuple[Record, KestrelError]] = field(default_factory=list)


def plan(records: Sequence[Record], head: Head, refused: Mapping[int, KestrelError]) -> Plan:
    """Plan a batch. ``refused`` names, by sequence, what the database has refused before: it is recorded raw."""
    result = Plan([], head)
    for record in records:
        link, head = _link(record, head)
        try:
            if record.sequence in refused:
                raise refused[record.sequence]
            result.rows.extend(rows_of(record, link))
        except (InvalidRequest, ValueError) as error:
            reason = error if isinstance(error, KestrelError) else InvalidRequest(str(error), reason="UNREADABLE")
            result.rows.extend(raw_rows(record, reason, link))
            result.unusable.append((record, reason))
    return Plan(result.rows, head, result.unusable)


def _link(record: Record, head: Head) -> tuple[Link | None, Head]:
    """The bead chain grows by a link; the journal carries its own chain and only counts."""
    if record.stream == subjects.BEADS:
        link = bead_link(head, record)
        return link, link.head
    if is_journal(record.stream):
        return None, Head(head.length + 1, head.entry_hash)
    return None, head


_JOURNAL_TABLES = (
    "journal_entries",
    "orders",
    "cancel_requests",
    "order_events",
    "fills",
    "settlements",
    "transitions",
    "anomalies",
    "slot_snapshots",
    "account_snapshots",
)
_TABLES: dict[str, tuple[str, ...]] = {
    subjects.INTENTS: ("intents",),
    subjects.INBOX: ("inbox_messages",),
    subjects.TRUTH: ("truths", "truth_positions", "truth_orders"),
    subjects.BEADS: (
        "beads",
        "decisions",
        "risk_checks",
        "token_events",
        "mandates",
        "kill_events",
        "breaks",
        "recon_runs",
        "signals",
        "operator_actions",
    ),
    subjects.ALERTS: ("alerts",),
    subjects.PARKED: ("parked_messages",),
    subjects.MARKET: ("bars",),
}


def tables_of_stream(stream: str) -> tuple[str, ...]:
    """The tables that rows of a stream go to, but for ``unusable_messages``, which takes from all."""
    return _JOURNAL_TABLES if is_journal(stream) else _TABLES[stream]


def streams(partitions: int) -> tuple[str, ...]:
    """Every stream that is stored."""
    return (*_TABLES, *(subjects.journal_stream(partition) for partition in range(partitions)))
