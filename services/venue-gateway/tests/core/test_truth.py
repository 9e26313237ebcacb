"""Truth says how much of itself there is, and never claims facts that were not stored first."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.truth import Portfolio, broker_truth, failed_truth

POSITION = venue_pb2.TruthPosition(symbol="AAPL", qty=Number.parse("10").message())
BALANCE = venue_pb2.Balance(wallet=Number.parse("5").message(), currency="USD")


def test_truth_whose_facts_are_all_stored_is_a_snapshot() -> None:
    truth = broker_truth(
        "paper", "PAPER-1", Portfolio(9, 7, [POSITION], [], BALANCE), stored_sequence=8, request_id="r"
    )
    assert truth.completeness == venue_pb2.COMPLETENESS_SNAPSHOT
    assert (truth.execution_watermark, truth.as_of_ns, truth.request_id) == (7, 9, "r")
    assert (list(truth.positions), truth.balance) == ([POSITION], BALANCE)
    assert not truth.HasField("error")


def test_truth_ahead_of_what_was_stored_is_partial_and_its_watermark_is_what_was_stored() -> None:
    truth = broker_truth("paper", "PAPER-1", Portfolio(9, 7, [], [], BALANCE), stored_sequence=6)
    assert truth.completeness == venue_pb2.COMPLETENESS_PARTIAL
    assert truth.execution_watermark == 6
    assert truth.error.reason == "TRUTH_AHEAD_OF_REPORTS"


def test_truth_with_an_unanswered_part_is_partial_and_names_it() -> None:
    truth = broker_truth("paper", "PAPER-1", Portfolio(9, 7, None, [], None), stored_sequence=7)
    assert truth.completeness == venue_pb2.COMPLETENESS_PARTIAL
    assert truth.error.value == "positions, balance"


def test_failed_query_is_no_empty_answer() -> None:
    error = common_pb2.Refusal(reason="UNAVAILABLE")
    truth = failed_truth("paper", "PAPER-1", error, now_ns=9, stored_sequence=4, request_id="r")
    assert truth.completeness == venue_pb2.COMPLETENESS_FAILED
    assert (truth.error, truth.execution_watermark, truth.request_id) == (error, 4, "r")


def test_truth_of_a_degraded_venue_is_partial_and_says_why() -> None:
    degraded = common_pb2.Refusal(reason="IBKR_1100")
    truth = broker_truth("ibkr", "DU1", Portfolio(9, 7, [], [], BALANCE), stored_sequence=7, degraded=degraded)
    assert (truth.completeness, truth.error) == (venue_pb2.COMPLETENESS_PARTIAL, degraded)
