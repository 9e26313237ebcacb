"""The command, and the file it writes."""

import json
from pathlib import Path

import pytest

from bench import kernel, lifecycles
from bench.__main__ import main

KEYS = {
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
    assert main(["--quick", "--area", "kernel", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "kernel.json").read_text())
    assert written["area"] == "kernel"
    assert written["quick"] is True
    assert all(written[key] > 0 for key in KEYS)
    assert {"measured_at", "commit", "hardware", "versions"} <= written["about"].keys()
    assert all(len(digest) == 64 for name, digest in written["result"].items() if name != "c")
    assert [path.name for path in tmp_path.iterdir()] == ["kernel.json"]
    assert "python_reference_ns" in capsys.readouterr().out


def test_an_unknown_area_is_refused_with_the_list_of_areas(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--area", "kernl"])
    assert caught.value.code == 2
    assert "persistence" in capsys.readouterr().err


def test_the_measured_trades_end_flat_and_each_input_is_accepted() -> None:
    steps = kernel.journaled(lifecycles.trades(3))
    assert len(steps) == 1 + 3 * lifecycles.INPUTS_PER_TRADE
    after = steps[-1].entry.account_after
    assert (after.open_slot_count, after.realized_pnl.units) == (0, 300 * 10**8)
