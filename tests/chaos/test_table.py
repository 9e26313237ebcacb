"""The table names all failure modes and only tests that exist, and people read the same table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import page
from tests.chaos.table import TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_31_rows_in_order_and_each_names_a_test() -> None:
    assert [row.number for row in TABLE] == list(range(1, 32))
    assert [row.number for row in TABLE if not row.tests] == []


@pytest.mark.timeout(300)
def test_every_test_that_the_table_names_is_collected() -> None:
    named = {test for row in TABLE for test in row.tests}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "COLUMNS": "400"},
    )
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert named - collected == set(), done.stdout[-2000:]


def test_every_chaos_test_stands_in_the_table() -> None:
    named = {test.rpartition("::")[2] for row in TABLE for test in row.tests}
    written = {
        line.partition("def ")[2].partition("(")[0]
        for path in Path(__file__).parent.glob("test_*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("async def test_nats_", "def test_nats_"))
    }
    assert written - named == set()


def test_the_page_on_reliability_shows_the_table_as_it_is() -> None:
    assert page.is_current(), "run `python -m tests.chaos.page`"
