"""The table of failure modes in docs/concepts/reliability.md: `python -m tests.chaos.page` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.table import LONG_TESTS, TABLE, Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "reliability.md"
BEGIN, END = "<!-- table: begin (python -m tests.chaos.page) -->", "<!-- table: end -->"


def is_current() -> bool:
    text = PAGE.read_text()
    return text == _with_table(text)


def write() -> None:
    PAGE.write_text(_with_table(PAGE.read_text()))


def _with_table(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table()}\n{END}{after}"


def _table() -> str:
    lines = ["| # | what breaks | how it is broken | what has to come of it | shown by |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(_line(row) for row in TABLE)]) + "\n"


def _line(row: Row) -> str:
    expected = f"{row.expected}. *{row.remark}.*" if row.remark else row.expected
    return f"| {row.number} | {row.name} | {row.injected} | {expected} | {', '.join(_link(t) for t in row.tests)} |"


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[`{name}`](../../{file}){' (`make chaos` only)' if name in LONG_TESTS else ''}"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(0 if is_current() else "docs/concepts/reliability.md is stale: run `python -m tests.chaos.page`")
    write()
