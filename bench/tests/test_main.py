"""The command, and the file it writes."""

import json
from pathlib import Path

import pytest

from bench import core, kernel, lifecycles, twins
from bench.__main__ import main

KEYS = {
    "c_single_ns",
    "c_batch_ns",
    "c_batch_digest_ns",
    "py_single_ns",
    "py_batch_ns",
    "python_reference_ns",
    "service_core_inputs_per_s",
    "replay_inputs_per_s",
    "state_bytes_per_slot",
}


def test_a_quick_run_of_the_kernel_writes_a_well_formed_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--area", "kernel", "--without-peers", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "kernel.json").read_text())
    assert written["area"] == "kernel"
    assert written["quick"] is True
    assert all(written[key] > 0 for key in KEYS)
    assert {"measured_at", "commit", "hardware", "versions"} <= written["about"].keys()
    assert all(len(digest) == 64 for digest in written["result"].values())
    assert written["result"]["kernel"] == written["result"]["reference"]
    assert {path.name for path in tmp_path.iterdir()} == {"kernel.json", "kernel.svg"}
    assert written["absent"].keys() == {"nautilus_ns", "vnpy_ns"}
    assert written["absent"].keys().isdisjoint(written)
    assert "python_reference_ns" in capsys.readouterr().out


def test_the_reference_and_the_kernel_end_in_the_same_books_and_tell_the_same_events() -> None:
    assert twins.reference_story(30) == twins.kernel_story(30)


def test_an_unknown_area_is_refused_with_the_list_of_areas(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--area", "kernl"])
    assert caught.value.code == 2
    assert "persistence" in capsys.readouterr().err


def test_the_measured_trades_end_flat_and_each_input_is_accepted() -> None:
    steps = core.journaled(lifecycles.trades(3))
    assert len(steps) == 1 + 3 * lifecycles.INPUTS_PER_TRADE
    after = steps[-1].entry.account_after
    assert (after.open_slot_count, after.realized_pnl.units) == (0, 300 * 10**8)


def test_rounds_are_merged_by_median_and_must_end_in_the_same_state() -> None:
    rounds = [{"c_ns": ns, "by_kind": {"fill": 2 * ns}, "bytes": 10, "result": "same"} for ns in (3.0, 1.0, 2.0)]
    assert kernel._merged(rounds) == {"c_ns": 2.0, "by_kind": {"fill": 4.0}, "bytes": 10, "result": "same"}
    with pytest.raises(AssertionError, match="different states"):
        kernel._merged([*rounds, {**rounds[0], "result": "another"}])
