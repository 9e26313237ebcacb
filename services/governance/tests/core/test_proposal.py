"""An intent typed by a person: filled in, then checked like any other."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_governance.core import proposal
from kestrel_governance.core.books import AccountBook

Desk = Any


def propose(desk: Desk, intent: intent_pb2.Intent, *, known: bool = True) -> intent_pb2.Intent:
    book = AccountBook() if known else None
    publish = proposal.completed(
        intent, actor=desk.ada, book=book, limits=desk.limits, now_ns=desk.now_ns, traceparent="t"
    )
    made = intent_pb2.Intent.FromString(publish.body)
    assert (publish.subject, publish.traceparent) == ("intent.PAPER-1", "t")
    assert publish.message_id == f"{made.intent_id}-{made.attempt}"
    return made


def bare(desk: Desk) -> intent_pb2.Intent:
    intent: intent_pb2.Intent = desk.intent("")
    for name in (
        "attempt",
        "strategy",
        "leverage",
        "environment",
        "venue",
        "anchor",
        "reference_price",
        "expires_at_ns",
    ):
        intent.ClearField(name)  # type: ignore[arg-type]
    intent.instrument.currency = ""
    return intent


def test_what_is_left_out_is_filled_in_from_what_is_known(desk: Desk) -> None:
    made = propose(desk, bare(desk))
    assert made.intent_id
    assert (made.attempt, made.strategy, made.leverage, made.venue) == (1, "manual", 1, "paper")
    assert (made.environment, made.instrument.currency) == (common_pb2.ENVIRONMENT_PAPER, "USD")
    assert made.reference_price == made.price
    assert made.anchor.as_of_ns == made.created_at_ns == desk.now_ns
    assert made.expires_at_ns == desk.now_ns + 15 * MINUTE_NS


def test_the_proposer_is_the_caller_whatever_the_request_says_P09(desk: Desk) -> None:
    assert propose(desk, desk.intent()).proposer == desk.ada


def test_what_is_said_is_kept(desk: Desk) -> None:
    made = propose(desk, desk.intent("mine", strategy="desk", leverage=2))
    assert (made.intent_id, made.strategy, made.leverage) == ("mine", "desk", 2)


def test_without_a_known_state_there_is_no_anchor_and_no_proposal(desk: Desk) -> None:
    with pytest.raises(InvalidRequest) as caught:
        propose(desk, bare(desk), known=False)
    assert caught.value.field == "anchor.hash"


def test_everything_wrong_is_said_at_once(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match=r"(?s)side.*order_qty") as caught:
        propose(desk, desk.intent(side=0, order_qty=None))
    assert caught.value.field == "side"
