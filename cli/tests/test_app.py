"""The command as people meet it: help everywhere, errors that say what to do next, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kestrel_cli.app import app
from kestrel_cli.errors import NOT_RUNNING, USAGE

runner = CliRunner()

COMMANDS = (
    ["up"], ["down"], ["status"], ["demo"], ["inbox"], ["approve"], ["pass"], ["mandate"], ["mandate", "grant"],
    ["mandate", "list"], ["mandate", "revoke"], ["kill"], ["rearm"], ["orders"], ["positions"], ["account"], ["exit"],
    ["cancel"], ["recon"], ["recon", "runs"], ["recon", "breaks"], ["recon", "now"], ["recon", "resolve"], ["beads"],
    ["audit"], ["audit", "verify"], ["signal"], ["signal", "list"], ["signal", "submit"], ["trace"], ["alerts"],
    ["parked"], ["bench"], ["feed"], ["simulate"],
    ["journal"], ["journal", "export"], ["journal", "replay"], ["journal", "diff"], ["venue"], ["venue", "check"],
)  # fmt: skip

NEEDS_A_PLATFORM = (
    ["status"], ["inbox"], ["approve", "abc"], ["pass", "abc"], ["mandate", "list"], ["mandate", "revoke", "abc"],
    ["mandate", "grant", "--strategy", "momentum", "--max-order", "1", "--reason", "x"], ["kill", "--reason", "x"],
    ["rearm", "--reason", "x"], ["orders"], ["positions"], ["account"], ["exit", "abc", "--reason", "x"],
    ["cancel", "abc", "--reason", "x"], ["recon", "runs"], ["recon", "breaks"], ["recon", "now"],
    ["recon", "resolve", "abc", "--how", "acknowledged", "--notes", "x"], ["beads"], ["audit", "verify"],
    ["signal", "list"], ["signal", "submit", "buy", "AAPL", "--reason", "x"], ["trace", "abc"], ["alerts"], ["parked"],
    ["feed"], ["journal", "export", "new.kj"], ["journal", "replay"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_P08(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    if command not in (["mandate"], ["recon"], ["audit"], ["signal"], ["journal"], ["venue"]):
        assert "Example" in result.output


@pytest.mark.parametrize("command", NEEDS_A_PLATFORM, ids=" ".join)
def test_a_command_without_a_platform_says_how_to_start_one_P08(command: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*command, "--data-dir", str(tmp_path)])
    assert result.exit_code == NOT_RUNNING
    assert "kestrel up" in result.output


def test_down_without_a_platform_has_nothing_to_do(tmp_path: Path) -> None:
    result = runner.invoke(app, ["down", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert "nothing to stop" in " ".join(result.output.split())


def test_version_is_told() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("kestrel ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kill", "--scope", "symbol", "--reason", "x"], "say which symbol"),
        (["kill", "--target", "AAPL", "--reason", "x"], "a global flag has no target"),
        (["mandate", "grant", "--strategy", "m", "--max-order", "1e5", "--reason", "x"], "a plain decimal number"),
        (
            ["mandate", "grant", "--strategy", "m", "--max-order", "1", "--for", "soon", "--reason", "x"],
            "a whole number and s, m, h or d",
        ),
        (["signal", "submit", "buy", "A.B", "--reason", "x"], "upper case"),
    ],
)
def test_a_bad_argument_is_refused_with_field_value_and_rule(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = runner.invoke(app, [*arguments, "--data-dir", str(tmp_path)])
    assert result.exit_code == USAGE
    assert said in result.output


def test_the_demo_refuses_a_bad_file_before_it_starts_anything(tmp_path: Path) -> None:
    data = tmp_path / "bars.csv"
    data.write_text("date,symbol,open,high,low,close,volume\n2012-01-03,AAPL,1,x,1,1,5\n")
    result = runner.invoke(app, ["demo", "--data", str(data), "--out", str(tmp_path / "out")])
    assert result.exit_code == USAGE
    assert "row 2, column high, value 'x'" in result.output
    assert not (tmp_path / "out").exists()


def test_a_stale_endpoints_file_is_no_running_platform(tmp_path: Path) -> None:
    ports = dict.fromkeys(
        (
            "kernel", "governance", "venue-gateway", "reconciler", "persistence", "policy", "paper", "nats",
            "nats-monitoring", "postgres",
        ),
        1,
    )  # fmt: skip
    (tmp_path / "endpoints.json").write_text(json.dumps({"ports": ports}))
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "started_s": 0}))
    result = runner.invoke(app, ["inbox", "--data-dir", str(tmp_path)])
    assert result.exit_code == NOT_RUNNING
