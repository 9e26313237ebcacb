"""The demonstration, as a newcomer starts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: that one is closed to the system user PostgreSQL runs as when tests run as root.
    path = Path(tempfile.mkdtemp(prefix="kestrel-demo-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_demo_ends_with_zeros_and_a_verified_chain_P08(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kestrel_cli", "demo", "--days", "70", "--out", str(folder)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    report = json.loads((folder / "report.json").read_text())
    assert (report["options"]["venue"], report["options"]["library"]) == ("tws-sim", "ib_insync")
    counts = {name: report[name] for name in ("orders_lost", "orders_doubled", "fills_lost", "fills_doubled")}
    assert not any(counts.values()), counts
    assert report["chain_verified"] is True
    assert report["fills"]["venue"] == report["fills"]["journal"] == report["fills"]["database"] > 0
    assert report["tokens"]["used"] > 0
    assert report["exits_by_warrant"] > 0
    assert report["reconciliation"]["breaks"], "the induced drift was found"
    assert report["people"]["approved_by_hand"], "somebody approved by hand"
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 2, "equity and exposure, and latency by hop, are drawn"
