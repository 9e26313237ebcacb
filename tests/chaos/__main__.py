"""`make chaos`: every row of the table, then the seeded driver on a platform with three NATS servers.

    python -m tests.chaos [--seed 7] [--minutes 20] [--only rows|driver] [--out var/chaos]

The rows take about eight minutes, the driver as long as it is given. Leaves with 1 when anything was lost, doubled,
broken or failed; `chaos.json` has every figure.
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
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kestrel_cli.platform import buses
from tests.chaos import three_nodes
from tests.chaos.conftest import FIGURES_VARIABLE, LONG_VARIABLE
from tests.chaos.driver import CaseResult, Driver
from tests.chaos.table import LONG_TESTS, TABLE, Row

ROOT = Path(__file__).resolve().parents[2]
_ROWS_TIMEOUT_S = 1800

Results = dict[str, list[str]]


def main() -> int:
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    screen = Console(width=160)
    report: dict[str, Any] = {"seed": arguments.seed}
    good = True
    if arguments.only != "driver":
        rows = run_rows(arguments.out)
        report["rows"] = rows
        screen.print(_rows_table(rows))
        good = all(row["passed"] for row in rows)
    if arguments.only != "rows":
        results = run_driver(arguments.seed, arguments.minutes, screen)
        report["driver"] = [asdict(result) for result in results]
        screen.print(_driver_table(results))
        good = good and all(result.clean for result in results)
    (arguments.out / "chaos.json").write_text(json.dumps(report, indent=2) + "\n")
    screen.print(f"[{'green' if good else 'red'}]{'nothing lost, nothing doubled' if good else 'look above'}[/]")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break the platform and count.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the driver may begin new cases")
    parser.add_argument("--only", choices=("rows", "driver"))
    parser.add_argument("--out", type=Path, default=Path("var/chaos"))
    return parser.parse_args()


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
    return {
        "number": row.number,
        "name": row.name,
        "tests": list(row.tests),
        "runs": len(runs),
        "only_in_make_chaos": [name for name in names if name in LONG_TESTS],
        "not_run_here": [name for name in names if name not in outcomes],
        "passed": bool(runs) and all(outcome == "passed" for outcome in runs),
        "lost": _worst(figures, "lost"),
        "doubled": _worst(figures, "doubled"),
        "chain_intact": all(each.get("chain_intact", True) for each in figures),
        "healthy_again_s": _worst(figures, "healthy_again_s"),
        "longest_silence_s": _worst(figures, "longest_silence_s"),
        "figures": figures,
    }


def _worst(figures: list[dict[str, Any]], name: str) -> Any:
    found = [each[name] for each in figures if name in each]
    return max(found) if found else None


def _rows_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="The failure modes of NATS")
    for heading in (
        "#",
        "what breaks",
        "tests run",
        "long ones",
        "outcome",
        "lost",
        "doubled",
        "chain",
        "healthy again",
        "silence",
    ):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            str(row["number"]),
            row["name"],
            str(row["runs"]),
            str(len(row["only_in_make_chaos"]) or ""),
            "[green]as expected[/]" if row["passed"] else "[red]failed[/]" if row["runs"] else "not possible here",
            *(_shown(row[name]) for name in ("lost", "doubled")),
            "intact" if row["chain_intact"] else "[red]broken[/]",
            *(_shown(row[name], " s") for name in ("healthy_again_s", "longest_silence_s")),
        )
    return table


def _shown(value: Any, unit: str = "") -> str:
    return "asserted" if value is None and not unit else "" if value is None else f"{value}{unit}"


# --- driver --------------------------------------------------------------------------------------------------------


def run_driver(seed: int, minutes: float, screen: Console) -> list[CaseResult]:
    """A platform of its own, broken until the time is over."""
    buses.quiet_libraries()
    # Not below the repository: as root, PostgreSQL runs as another user, to whom a home may be closed.
    folder = Path(tempfile.mkdtemp(prefix="kestrel-chaos-"))
    platform, process = three_nodes.start(folder)
    results: list[CaseResult] = []

    def tell(result: CaseResult) -> None:
        said = "clean" if result.clean else "; ".join(result.findings)[:400]
        screen.print(
            f"{result.blow} of {result.victim}: {said}, healthy after {result.healthy_after_s} s", markup=False
        )

    try:
        results = asyncio.run(Driver(platform, seed, tell).run(minutes))
    finally:
        three_nodes.stop(process)
        if results and all(result.clean for result in results):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            screen.print(f"kept for looking at: {folder}", markup=False)
    return results


def _driver_table(results: list[CaseResult]) -> Table:
    table = Table(title="The running platform: three NATS servers, PostgreSQL, every service, orders going in")
    for heading in ("victim", "blow", "orders so far", "lost", "doubled", "chain", "healthy after"):
        table.add_column(heading)
    for result in results:
        table.add_row(
            result.victim,
            result.blow,
            str(result.orders),
            str(result.lost),
            str(result.doubled),
            "intact" if result.chain_intact else "[red]broken[/]",
            f"{result.healthy_after_s} s" if not result.findings else f"[red]{result.findings[0][:60]}[/]",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
