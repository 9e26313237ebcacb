"""The file and the table."""

import json
from pathlib import Path

import pytest

from bench import report
from bench.figures import milliseconds


def test_figures_are_told_one_by_one_and_percentiles_together() -> None:
    times = milliseconds([1_000_000])
    assert list(report.flattened({"a": 1, "b": {"c": "x", "d": {"e": 2.5}}, "hop": times})) == [
        ("a", 1),
        ("b.c", "x"),
        ("b.d.e", 2.5),
        ("hop", times),
    ]


def test_a_file_is_replaced_whole_and_keeps_where_it_was_measured(tmp_path: Path) -> None:
    report.write("area", {"figure": 1}, {"commit": "c"}, tmp_path / "new")
    path = report.write("area", {"figure": 2}, {"commit": "c"}, tmp_path / "new")
    assert json.loads(path.read_text()) == {"area": "area", "figure": 2, "about": {"commit": "c"}}
    assert list(path.parent.iterdir()) == [path]


def test_the_tables_show_plain_figures_and_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.show("area", {"rows": 1234, "hop": milliseconds([2_000_000])}, tmp_path / "area.json")
    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "p99" in shown


def test_the_surroundings_name_hardware_commit_and_versions() -> None:
    about = report.surroundings()
    assert about["hardware"]["cores"] >= 1
    assert about["versions"]["nats-server"]
    assert about["versions"]["postgres"]
