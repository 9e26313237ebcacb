"""``kestrel simulate``: the simulated world behind a command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kestrel_cli.app import app

ROOT = Path(__file__).parents[3]


def test_a_seed_runs_and_tells_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["simulate", "--seed", "3", "--steps", "200"])
    assert result.exit_code == 0, result.output
    assert "1 seeds from 3, 200 steps with faults each: 0 failed" in result.output


def test_without_the_source_the_command_says_where_to_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["simulate"])
    assert result.exit_code == 2
    assert "there is no tests/simulation here" in result.output
