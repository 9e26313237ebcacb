"""The tables of docs/concepts/reliability.md.

python -m tests.chaos.page                                    # the failure modes, from the table in code
python -m tests.chaos.page --measured var/chaos/chaos.json    # and what a whole run of `make chaos` measured
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.chaos.table import LONG_TESTS, TABLE, Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "reliability.md"
BEGIN, END = "<!-- table: begin (python -m tests.chaos.page) -->", "<!-- table: end -->"
MEASURED_BEGIN = "<!-- measured: begin (python -m tests.chaos.page --measured var/chaos/chaos.json) -->"
MEASURED_END = "<!-- measured: end -->"
ROW_HEADINGS = ("#", "what breaks", "tests run", "outcome", "lost", "doubled", "chain", "healthy again", "silence")
BLOW_HEADINGS = ("blow", "victim", "beside", "orders so far", "lost", "doubled", "chain", "healthy after")


def is_current() -> bool:
    text = PAGE.read_text()
    return text == _with_table(text)


def write(measured: Path | None) -> None:
    text = _with_table(PAGE.read_text())
    if measured is not None:
        text = _between(text, MEASURED_BEGIN, MEASURED_END, _measured(json.loads(measured.read_text())))
    PAGE.write_text(text)


def row_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One failure mode as it was measured; a dash where there is nothing to count."""
    return (
        str(row["number"]),
        row["name"],
        str(row["runs"]),
        row["outcome"],
        *("–" if row[name] is None else str(row[name]) for name in ("lost", "doubled")),
        row["chain"] or "–",
        *("" if row[name] is None else f"{row[name]:.1f} s" for name in ("healthy_again_s", "longest_silence_s")),
    )


def blow_cells(result: dict[str, Any]) -> tuple[str, ...]:
    """One blow of the driver."""
    return (
        result["blow"],
        result["victim"],
        ", ".join(result.get("beside", [])),
        str(result["orders"]),
        str(result["lost"]),
        str(result["doubled"]),
        "intact" if result["chain_intact"] else "broken",
        f"{result['healthy_after_s']} s" if not result["findings"] else " ".join(result["findings"][0].split())[:80],
    )


def _with_table(text: str) -> str:
    header = ("#", "what breaks", "how it is broken", "what has to come of it", "shown by")
    return _between(text, BEGIN, END, _table(header, [_line(row) for row in TABLE]))


def _line(row: Row) -> tuple[str, ...]:
    expected = f"{row.expected}. *{row.remark}.*" if row.remark else row.expected
    return str(row.number), row.name, row.injected, expected, ", ".join(_link(test) for test in row.tests)


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[`{name}`](../../{file}){' (`make chaos` only)' if name in LONG_TESTS else ''}"


def _measured(report: dict[str, Any]) -> str:
    rows, blows = report["rows"], report["driver"]
    return (
        f"Measured on {report['day']} by `make chaos SEED={report['seed']} MINUTES={report['minutes']:g}`, commit "
        f"{report['commit']}, on {report['cpu_count']} processors with a load of {report['load_average']} beside it. "
        'A dash: nothing to count; "noticed": the damage was planted.\n\n'
        + _table(ROW_HEADINGS, [row_cells(row) for row in rows])
        + "\nThe driver's blows, in the order of the seed. Healthy: every service is ready, and every order sent "
        "meanwhile is journaled and in the database.\n\n" + _table(BLOW_HEADINGS, [blow_cells(blow) for blow in blows])
    )


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return (
        "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("| --- |", "|---|").replace(" --- |", "---|")
    )


def _between(text: str, begin: str, end: str, table: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.page", description="Write the tables of a page.")
    parser.add_argument("--check", action="store_true", help="only say whether the table of failure modes is current")
    parser.add_argument("--measured", type=Path, help="the chaos.json of a whole run")
    arguments = parser.parse_args()
    if arguments.check and not is_current():
        print("docs/concepts/reliability.md is stale: run `python -m tests.chaos.page`", file=sys.stderr)
        return 1
    if not arguments.check:
        write(arguments.measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
