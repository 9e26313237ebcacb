"""What `make chaos` says about its own measurements, and the order of its blows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import page
from tests.chaos.driver import BLOWS_PER_ROUND_MAX, Case, Driver, blows_per_round, next_round
from tests.chaos.servers import can_mount, why_no_mount
from tests.chaos.table import TABLE
from tests.chaos.three_nodes import NODE_ON_SMALL_DISK, NODES

ROWS = {row.number: row for row in TABLE}


def report(number: int, outcome: str = "passed", **figures: object) -> dict[str, Any]:
    names = [test.rpartition("::")[2] for test in ROWS[number].tests]
    outcomes = {name: [outcome] for name in names} if outcome else {}
    return chaos._row_report(ROWS[number], outcomes, {names[0]: [figures]} if figures else {})


def test_a_row_shows_what_was_measured_and_a_loss_is_not_good() -> None:
    clean = report(2, lost=0, doubled=0, chain_intact=True, healthy_again_s=4.321)
    assert page.row_cells(clean)[3:8] == ("as expected", "0", "0", "intact", "4.3 s")
    assert chaos.row_is_good(clean)
    for damage in ({"lost": 1}, {"doubled": 1}, {"chain_intact": False}):
        assert not chaos.row_is_good(report(2, **damage))


def test_a_row_whose_tests_assert_that_nothing_is_lost_shows_a_nothing_only_when_they_passed() -> None:
    assert page.row_cells(report(7))[4:7] == ("0", "0", "intact")
    failed = report(7, "failed")
    assert page.row_cells(failed)[3:7] == ("failed", "–", "–", "–")
    assert not chaos.row_is_good(failed)


def test_damage_that_was_planted_is_noticed_and_what_cannot_run_here_is_said_and_no_failure() -> None:
    assert page.row_cells(report(24, detected=True))[6] == "noticed"
    not_run = report(17, "")
    assert not_run["outcome"] == "not possible here"
    assert chaos.row_is_good(not_run)


def test_the_page_takes_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, source = tmp_path / "page.md", tmp_path / "chaos.json"
    target.write_text(
        f"{page.BEGIN}\n{page.END}\nwords\n{page.MEASURED_BEGIN}\nearlier figures\n{page.MEASURED_END}\nmore\n"
    )
    blow = {"victim": "nats", "blow": "freeze", "lost": 0, "doubled": 0, "chain_intact": True, "orders": 5}
    whole = {"seed": 7, "minutes": 12.0, "day": "2026-01-02", "commit": "abc", "cpu_count": 2, "load_average": 1.5}
    blows = [blow | {"healthy_after_s": 1.0, "findings": []}]
    source.write_text(json.dumps(whole | {"rows": [report(row.number) for row in TABLE], "driver": blows}))
    monkeypatch.setattr(page, "PAGE", target)
    page.write(source)
    text = target.read_text()
    assert page.is_current()
    assert "earlier figures" not in text
    assert "SEED=7 MINUTES=12" in text
    assert text.count("| as expected |") == 31
    assert "| freeze | nats |  | 5 | 0 | 0 | intact | 1.0 s |" in text


def cases(seed: int) -> list[Case]:
    class Nodes:
        platform = None
        small_disk = object()

    return Driver(Nodes(), seed, lambda progress, result: None).cases()  # type: ignore[arg-type]  # nothing is broken here


def test_every_kind_of_blow_comes_once_before_any_comes_again_and_the_seed_decides_the_order() -> None:
    kinds = [blow for _, blow in cases(7)]
    assert len(set(kinds[: len(set(kinds))])) == len(set(kinds))
    assert cases(7) == cases(7) != cases(8)
    assert len(set(cases(7))) == len(cases(7))
    assert {victim for victim, blow in cases(7) if blow == "cut off"} == set(NODES)
    assert (NODE_ON_SMALL_DISK, "full disk") in cases(7)


def test_several_blows_come_in_one_round_only_where_the_time_would_not_suffice() -> None:
    assert blows_per_round(44, left_s=1200, spent_s=0, round_count=0) == 1
    assert blows_per_round(43, left_s=1180, spent_s=20, round_count=1) == 1
    assert blows_per_round(40, left_s=1000, spent_s=200, round_count=4) == 2
    assert blows_per_round(40, left_s=1, spent_s=1199, round_count=20) == BLOWS_PER_ROUND_MAX


def test_blows_of_one_round_have_different_victims_and_the_servers_get_one_at_most() -> None:
    waiting = cases(7)
    while waiting:
        together = next_round(waiting, 3)
        waiting = [case for case in waiting if case not in together]
        victims = [victim for victim, _ in together]
        assert len(set(victims)) == len(victims)
        assert sum(victim in NODES or blow == "permission revoked" for victim, blow in together) <= 1
    assert next_round([("nats", "freeze"), ("nats-1", "cut off"), ("kernel", "freeze")], 2) == [
        ("nats", "freeze"),
        ("kernel", "freeze"),
    ]


def test_a_machine_without_a_mount_namespace_says_why() -> None:
    assert can_mount() == (not why_no_mount())
