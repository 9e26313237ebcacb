"""Streams, subjects and buckets: the table of the architecture page, as code.

``_`` stands for "no account" where a subject needs one. Each message asks for its subject, and subjects are as many as
accounts, doors and symbols, so they are remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.identifiers import checked_id, checked_symbol

P = ParamSpec("P")

INTENTS, INBOX, TRUTH, BEADS, ALERTS, PARKED, MARKET = (
    "INTENTS",
    "INBOX",
    "TRUTH",
    "BEADS",
    "ALERTS",
    "PARKED",
    "MARKET",
)
SPENT_BUCKET, FLAGS_BUCKET, MANDATES_BUCKET, LEASES_BUCKET = "spent", "flags", "mandates", "leases"
SNAPSHOTS_BUCKET = "snapshots"
KILL_FLAGS_KEY = "kill"
"""The one key of the flags bucket: all raised flags in one ``KillFlags`` value, so one read sees one state."""

NO_ACCOUNT = "_"
DOORS = ("entry", "exit", "venue", "tick", "control", "adopt")


def _remembered(subject: Callable[P, str]) -> Callable[P, str]:
    """A refusal is not kept."""
    return lru_cache(maxsize=4096)(subject)  # type: ignore[return-value]  # what it takes is hashable


@_remembered
def journal_stream(partition: int) -> str:
    return f"JOURNAL_{partition}"


@_remembered
def intent(account: str) -> str:
    return f"intent.{checked_id('account', account)}"


@_remembered
def inbox(partition: int, account: str, door: str) -> str:
    if door not in DOORS:
        raise InvalidRequest.of("door", door, "one of " + ", ".join(DOORS))
    return f"inbox.{partition}.{checked_id('account', account)}.{door}"


@_remembered
def journal(partition: int, account: str) -> str:
    return f"journal.{partition}.{checked_id('account', account)}"


@_remembered
def truth(venue: str, account: str) -> str:
    return f"truth.{checked_id('venue', venue)}.{checked_id('account', account)}"


def truth_request(venue: str, account: str) -> str:
    """Core NATS, no stream: asks the gateway to publish truth now. The payload is the request id."""
    return f"ask.truth.{checked_id('venue', venue)}.{checked_id('account', account)}"


@_remembered
def bead(kind: str, account: str) -> str:
    return f"bead.{checked_id('kind', kind)}.{checked_id('account', account or NO_ACCOUNT)}"


@_remembered
def alert(severity: common_pb2.Severity.ValueType, service: str) -> str:
    name = common_pb2.Severity.Name(severity).removeprefix("SEVERITY_").lower()
    return f"alert.{name}.{checked_id('service', service)}"


def parked(service: str) -> str:
    return f"parked.{checked_id('service', service)}"


@_remembered
def market(venue: str, symbol: str) -> str:
    return f"market.{checked_id('venue', venue)}.{checked_symbol('symbol', symbol)}"


def inbox_parts(subject: str) -> tuple[int, str, str]:
    """``(partition, account, door)`` of an inbox subject."""
    parts = subject.split(".")
    if len(parts) != 4 or parts[0] != "inbox" or not parts[1].isdigit() or parts[3] not in DOORS:
        raise InvalidRequest.of("subject", subject, "inbox.<partition>.<account>.<door>")
    return int(parts[1]), parts[2], parts[3]
