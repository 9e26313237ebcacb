"""The report: the four counts on top, a page that is whole in itself."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

from kestrel_cli.demo.collect import DatabaseReading, JournalReading, Moment
from kestrel_cli.demo.counts import Book, Comparison
from kestrel_cli.demo.figures import latency
from kestrel_cli.demo.report import Result, by_market_day, write_report
from kestrel_cli.demo.stage import Story

DAY_1, DAY_2 = date(2012, 1, 3), date(2012, 1, 4)


def _result() -> Result:
    moments = [Moment(10, Decimal("1000000"), Decimal(0)), Moment(30, Decimal("1000100.50"), Decimal("5000"))]
    story = Story(published=[(5, DAY_1), (20, DAY_2)], refused=["<b>x</b>: no"], flat=True)
    story.approved_by_hand, story.passed, story.expired = ["i-1", "i-2"], ["i-3"], ["i-4"]
    database = DatabaseReading(
        Book(), {"tokens": {"ISSUED": 3, "USED": 2}, "parked": {"BAD": 1}}, {"intents": 3}, {"orders": 2}, {}, [], []
    )
    database.trades.append({"trade_id": "t", "symbol": "AAPL", "lifecycle": "CLOSED", "realized_pnl": Decimal("1.5")})
    return Result(
        comparison=Comparison(),
        chain_verified=True,
        chains=[{"name": "beads", "verified": True, "problem": ""}],
        story=story,
        journal=JournalReading(Book(), moments, 2, "ab"),
        database=database,
        latencies=[latency("inbox → journal", [1_000_000, 3_000_000]), latency("never gone", [])],
        venue_orders=2,
        venue_fills=3,
        repeated_requests=0,
        last_run="MATCHED",
        options={"mode": "realistic", "seed": 7, "delay_scale_permille": 150},
        elapsed_s=61.23,
        at_rest=True,
    )


def test_the_report_has_the_four_counts_and_the_verdict_at_its_top_level(tmp_path: Path) -> None:
    json_path, html_path = write_report(_result(), tmp_path / "demo")
    document = json.loads(json_path.read_text())
    for name in ("orders_lost", "orders_doubled", "fills_lost", "fills_doubled"):
        assert document[name] == 0
    assert document["chain_verified"] is True
    assert document["tokens"] == {"issued": 3, "used": 2, "expired": 0, "refused": 0}
    assert document["messages_parked"] == 1
    people = document["people"]
    assert (people["approved_by_hand"], people["passed"], people["expired"]) == (["i-1", "i-2"], ["i-3"], ["i-4"])
    assert document["latency_ms"]["inbox → journal"]["p50_ms"] == 1.0
    assert document["account"]["result"] == "100.50"
    page = html_path.read_text()
    assert page.count("<svg") == 2
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "<script" not in page


def test_a_run_with_a_loss_or_an_unverified_chain_or_unrest_is_not_good() -> None:
    assert _result().good
    for change in ("chain_verified", "at_rest"):
        result = _result()
        setattr(result, change, False)
        assert not result.good
    result = _result()
    result.comparison.fills_lost = 1
    assert not result.good


def test_the_account_by_market_day_is_its_last_state_before_the_next_days_bars() -> None:
    result = _result()
    assert by_market_day(result.journal.moments, result.story.published) == [
        (DAY_1, Decimal("1000000"), Decimal(0)),
        (DAY_2, Decimal("1000100.50"), Decimal("5000")),
    ]
    assert by_market_day([], result.story.published) == []
