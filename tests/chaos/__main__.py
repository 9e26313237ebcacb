"""`make chaos`: every row of the table, then the seeded driver on a platform with three NATS servers.

    python -m tests.chaos [--seed 7] [--minutes 20] [--only rows|driver] [--out var/chaos]

The rows take about eight minutes on a quiet machine, the driver as long as it is given. Leaves with 1 when anything was
lost, doubled, broken or failed; `chaos.json` has every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kestrel_cli.platform import buses
from tests.chaos import page
from tests.chaos.conftest import FIGURES_VARIABLE, LONG_VARIABLE
from tests.chaos.driver import CaseResult, Driver
from tests.chaos.servers import can_mount, why_no_mount
from tests.chaos.table import LONG_TESTS, TABLE, Row
from tests.chaos.three_nodes import ThreeNodes

ROOT = Path(__file__).resolve().parents[2]
_ROWS_TIMEOUT_S = 3600

Results = dict[str, list[str]]


def main() -> int:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    screen = Console(width=160)
    report: dict[str, Any] = _circumstances(arguments)
    good = True
    if arguments.only != "driver":
        rows = run_rows(arguments.out)
        report["rows"] = rows
        screen.print(_rows_table(rows))
        good = all(row_is_good(row) for row in rows)
        if not can_mount():
            screen.print(f"row 17, a full disk, is not possible here: {why_no_mount()}", markup=False)
    if arguments.only != "rows":
        results, not_reached = run_driver(arguments.seed, arguments.minutes, arguments.blow, screen)
        report["driver"] = [asdict(result) for result in results]
        report["driver_not_reached"] = [f"{blow} of {victim}" for victim, blow in not_reached]
        screen.print(_driver_table(report["driver"]))
        if not_reached:
            screen.print(f"time did not suffice for: {', '.join(report['driver_not_reached'])}", markup=False)
        good = good and all(result.clean for result in results)
    (arguments.out / "chaos.json").write_text(json.dumps(report, indent=2) + "\n")
    screen.print(f"[{'green' if good else 'red'}]{'nothing lost, nothing doubled' if good else 'look above'}[/]")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break the platform and count.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the driver may begin new cases")
    parser.add_argument("--only", choices=("rows", "driver"))
    parser.add_argument("--blow", default="", help="of the driver's blows only those whose names hold this")
    parser.add_argument("--out", type=Path, default=Path("var/chaos"))
    return parser.parse_args()


def _circumstances(arguments: argparse.Namespace) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "day": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "cpu_count": os.cpu_count(),
        "load_average": round(os.getloadavg()[2], 1),
    }


# --- rows ----------------------------------------------------------------------------------------------------------


def run_rows(out: Path) -> list[dict[str, Any]]:
    """Run every test of the table, the long ones too; what became of each row, with what was measured."""
    junit, figures = out / "rows.xml", out / "figures.jsonl"
    figures.unlink(missing_ok=True)
    tests = sorted({test for row in TABLE for test in row.tests})
    environment = {**os.environ, LONG_VARIABLE: "1", FIGURES_VARIABLE: str(figures.resolve())}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", *tests]
    subprocess.run(command, cwd=ROOT, env=environment, timeout=_ROWS_TIMEOUT_S, check=False)
    outcomes, measured = _outcomes(junit), _measured(figures)
    return [_row_report(row, outcomes, measured) for row in TABLE]


def _outcomes(junit: Path) -> Results:
    """By the bare name of each test: how each of its runs ended."""
    found: Results = defaultdict(list)
    for case in ElementTree.parse(junit).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        found[case.attrib["name"].partition("[")[0]].append("failed" if failed else "passed")
    return found


def _measured(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else []:
        note = json.loads(line)
        found[note["test"].rpartition("::")[2].partition("[")[0]].append(note["figures"])
    return found


def _row_report(row: Row, outcomes: Results, measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    names = [test.rpartition("::")[2] for test in row.tests]
    runs = [outcome for name in names for outcome in outcomes.get(name, [])]
    figures = [each for name in names for each in measured.get(name, [])]
    passed = bool(runs) and all(outcome == "passed" for outcome in runs)
    return {
        "number": row.number,
        "name": row.name,
        "tests": list(row.tests),
        "runs": len(runs),
        "only_in_make_chaos": [name for name in names if name in LONG_TESTS],
        "not_run_here": [name for name in names if name not in outcomes],
        "passed": passed,
        "outcome": "as expected" if passed else "failed" if runs else "not possible here",
        **{each: _counted(figures, each, passed and each in row.asserted) for each in ("lost", "doubled")},
        "chain": _chain(figures, passed and "chain" in row.asserted),
        "healthy_again_s": _worst(figures, "healthy_again_s"),
        "longest_silence_s": _worst(figures, "longest_silence_s"),
        "figures": figures,
    }


def _counted(figures: list[dict[str, Any]], name: str, is_asserted: bool) -> int | None:
    """What was measured, or nothing where that is asserted; None where there is nothing to count."""
    found = _worst(figures, name)
    return 0 if found is None and is_asserted else found


def _chain(figures: list[dict[str, Any]], is_asserted: bool) -> str:
    """Damage that was planted has to be noticed; everything else has to be intact."""
    if any(each.get("detected") for each in figures):
        return "noticed"
    found = [each["chain_intact"] for each in figures if "chain_intact" in each]
    return "broken" if not all(found) else "intact" if found or is_asserted else ""


def _worst(figures: list[dict[str, Any]], name: str) -> Any:
    found = [each[name] for each in figures if name in each]
    return max(found) if found else None


def row_is_good(row: dict[str, Any]) -> bool:
    return not (row["lost"] or row["doubled"] or row["chain"] == "broken") and row["outcome"] != "failed"


def _rows_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="The failure modes of NATS")
    for heading in page.ROW_HEADINGS:
        table.add_column(heading)
    for row in rows:
        color = "red" if not row_is_good(row) else "green" if row["passed"] else "yellow"
        table.add_row(*page.row_cells(row), style=color)
    return table


# --- driver --------------------------------------------------------------------------------------------------------


def run_driver(seed: int, minutes: float, only: str, screen: Console) -> tuple[list[CaseResult], list[tuple[str, str]]]:
    """A platform of its own, broken until the time is over; what came of it, and what was not reached."""
    buses.quiet_libraries()
    # Not below the repository: as root, PostgreSQL runs as another user, to whom a home may be closed.
    folder = Path(tempfile.mkdtemp(prefix="kestrel-chaos-"))
    nodes = ThreeNodes(folder)
    results: list[CaseResult] = []

    def tell(progress: str, result: CaseResult) -> None:
        said = "clean" if result.clean else "; ".join(result.findings)[:400]
        beside = f", beside {', '.join(result.beside)}" if result.beside else ""
        screen.print(
            f"{progress}: {result.blow} of {result.victim}{beside}: {said}, healthy after {result.healthy_after_s} s",
            markup=False,
        )

    try:
        nodes.wait_ready()
        driver = Driver(nodes, seed, tell)
        results, not_reached = asyncio.run(driver.run(minutes, only))
    finally:
        nodes.stop()
        if results and all(result.clean for result in results):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            screen.print(f"kept for looking at: {folder}", markup=False)
    if not can_mount():
        screen.print(f"no full disk among the blows: {why_no_mount()}", markup=False)
    return results, not_reached


def _driver_table(results: list[dict[str, Any]]) -> Table:
    table = Table(title="The running platform: three NATS servers, PostgreSQL, every service, orders going in")
    for heading in page.BLOW_HEADINGS:
        table.add_column(heading)
    for result in results:
        table.add_row(*page.blow_cells(result), style="red" if result["findings"] else "green")
    return table


if __name__ == "__main__":
    sys.exit(main())
