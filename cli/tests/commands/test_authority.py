"""What an approver sees, and periods."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kestrel.admin.v1 import governance_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_cli.commands.authority import evidence, parse_period
from kestrel_domain.errors import InvalidRequest


def test_evidence_shows_setup_stop_target_and_every_check_T05() -> None:
    pending = governance_pb2.PendingIntent(
        intent=intent_pb2.Intent(
            intent_id="intent-1",
            account="PAPER-1",
            venue="paper",
            instrument=common_pb2.Instrument(symbol="AAPL"),
            side=common_pb2.SIDE_BUY,
            order_qty=common_pb2.Decimal(units=120),
            stop_price=common_pb2.Decimal(units=4201000, scale=4),
            signal=signal_pb2.Signal(
                confidence=0.7, factors=[signal_pb2.SignalFactor(name="trend", value=0.71, note="20-day return")]
            ),
        ),
        evidence_sha256=b"\xab" * 32,
        checks=[
            authority_pb2.RiskCheck(reason="ORDER_NOTIONAL", verdict=authority_pb2.CHECK_VERDICT_PASS, limit="200000"),
            authority_pb2.RiskCheck(
                reason="PRICE_COLLAR", verdict=authority_pb2.CHECK_VERDICT_BLOCK, message="[too] far"
            ),
        ],
    )
    screen = Console(file=io.StringIO(), width=160)
    screen.print(evidence(pending))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    for expected in ("BUY 120 AAPL", "420.1000", "trend", "+0.710", "ORDER_NOTIONAL", "BLOCK", "[too] far", "abababab"):
        assert expected in text


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28_800), ("5d", 432_000)])
def test_periods(text: str, seconds: int) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "0h", "-1h", "1.5h", "8 h", "٨h"])
def test_a_period_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_period(text)
