"""What the venue says is so, with how much of it we got: a failed query is never an empty answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2


@dataclass(frozen=True, slots=True)
class Portfolio:
    """One moment at the venue. ``event_sequence`` is the last of its events that the figures contain.

    A part the venue did not answer is ``None``, and then the whole is partial.
    """

    as_of_ns: int
    event_sequence: int
    positions: Sequence[venue_pb2.TruthPosition] | None
    open_orders: Sequence[venue_pb2.TruthOrder] | None
    balance: venue_pb2.Balance | None


def broker_truth(
    venue: str,
    account: str,
    portfolio: Portfolio,
    *,
    stored_sequence: int,
    request_id: str = "",
    degraded: common_pb2.Refusal | None = None,
) -> venue_pb2.BrokerTruth:
    """Truth from an answer. ``stored_sequence``: the venue's events up to here are in INBOX.

    The watermark never claims more than was stored. Figures that run ahead of it are PARTIAL: a reader who compared
    them with what the kernel can know by now would see differences that are none.
    """
    missing = [
        name
        for name, part in (
            ("positions", portfolio.positions),
            ("open_orders", portfolio.open_orders),
            ("balance", portfolio.balance),
        )
        if part is None
    ]
    ahead = portfolio.event_sequence > stored_sequence
    is_partial = bool(missing) or ahead or degraded is not None
    truth = venue_pb2.BrokerTruth(
        venue=venue,
        account=account,
        completeness=venue_pb2.COMPLETENESS_PARTIAL if is_partial else venue_pb2.COMPLETENESS_SNAPSHOT,
        as_of_ns=portfolio.as_of_ns,
        execution_watermark=min(portfolio.event_sequence, stored_sequence),
        positions=portfolio.positions or (),
        open_orders=portfolio.open_orders or (),
        request_id=request_id,
    )
    if portfolio.balance is not None:
        truth.balance.CopyFrom(portfolio.balance)
    if missing:
        truth.error.CopyFrom(_refusal("TRUTH_INCOMPLETE", ", ".join(missing), "every part answered"))
    elif degraded is not None:
        truth.error.CopyFrom(degraded)
    elif ahead:
        truth.error.CopyFrom(
            _refusal("TRUTH_AHEAD_OF_REPORTS", str(portfolio.event_sequence), f"at most {stored_sequence}")
        )
    return truth


def failed_truth(
    venue: str, account: str, error: common_pb2.Refusal, *, now_ns: int, stored_sequence: int, request_id: str = ""
) -> venue_pb2.BrokerTruth:
    """The venue did not answer: known to be unknown."""
    return venue_pb2.BrokerTruth(
        venue=venue,
        account=account,
        completeness=venue_pb2.COMPLETENESS_FAILED,
        as_of_ns=now_ns,
        execution_watermark=stored_sequence,
        error=error,
        request_id=request_id,
    )


def _refusal(reason: str, value: str, rule: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason=reason, field="portfolio", value=value, rule=rule, message=f"the venue's answer has {value}"
    )
