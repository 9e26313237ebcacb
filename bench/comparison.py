"""The kernel's figures side by side: ratios of one run, a table for people, a picture. Pure but for showing them.

``python -m bench.comparison var/bench/kernel.json`` prints the table of docs/benchmarks.md.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table

from bench import report
from bench.figures import ratio, rounded
from bench.peers import trades

Figures = dict[str, Any]
LIKE_FOR_LIKE = "nautilus_netting_calculated_ns"
"""Order machine, position and account ledger, netted per instrument as venues do: what our kernel does."""
_INPUTS_PER_TRADE = 10
_TABLE_WIDTH = 158
_OURS = ("c_single", "c_batch", "py_single", "py_batch")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, in words."""

    key: str
    words: str
    group: str


ROWS = (
    Row("floor_ns", "floor: input read, answer written", "C"),
    Row("c_batch_ns", "C, batches of 256", "C"),
    Row("c_single_ns", "C, single", "C"),
    Row("c_batch_digest_ns", "C, batches, a digest a batch", "C"),
    Row("c_single_digest_ns", "C, single, a digest an input", "C"),
    Row("py_batch_ns", "Python, prepared batches", "Python"),
    Row("py_single_ns", "Python, single, prepared", "Python"),
    Row("py_batch_results_ns", "Python, batches, each answer read", "Python"),
    Row("py_batch_built_ns", "Python, batches, inputs built", "Python"),
    Row("py_single_built_ns", "Python, single, input built", "Python"),
    Row("python_minimal_ns", "plain Python, the least", "plain"),
    Row("python_reference_ns", "plain Python, the kernel's step", "plain"),
    Row("vnpy_ns", "vnpy OmsEngine", "peer"),
    Row("nautilus_hedging_reported_ns", "Nautilus, hedging, venue's account", "peer"),
    Row("nautilus_netting_reported_ns", "Nautilus, netting, venue's account", "peer"),
    Row("nautilus_hedging_calculated_ns", "Nautilus, hedging, calculated account", "peer"),
    Row("nautilus_netting_calculated_ns", "Nautilus, netting, calculated account", "peer"),
)


def summary(figures: Mapping[str, Any]) -> Figures:
    """The like-for-like row under its short name, and who is how many times slower than whom."""
    named = {"nautilus_ns": figures[LIKE_FOR_LIKE]} if LIKE_FOR_LIKE in figures else {}
    return {**named, "ratios": _ratios({**figures, **named})}


def summary_of_least(spread: Mapping[str, Sequence[float]]) -> Figures:
    """The same ratios between everyone's least round: what a busy machine distorts least."""
    return {"ratios_of_least": summary({key: least for key, (least, _) in spread.items()})["ratios"]}


def _ratios(figures: Mapping[str, Any]) -> Figures:
    """Who against whom, where both were measured. Above 1: so many times faster than the first one."""
    found = {
        f"{slow}_over_{fast}": ratio(figures[f"{slow}_ns"], figures[f"{fast}_ns"])
        for slow in ("nautilus", "vnpy", "python_reference", "python_minimal")
        for fast in _OURS
        if f"{slow}_ns" in figures and f"{fast}_ns" in figures
    }
    if "nautilus_ns" in figures:
        found["nautilus_over_python_reference"] = ratio(figures["nautilus_ns"], figures["python_reference_ns"])
    return found | _per_trade(figures)


def _per_trade(figures: Mapping[str, Any]) -> Figures:
    """By whole trades: a trade is eight events to a peer, and ten inputs to us, since requests are inputs too."""
    return {
        f"{peer}_over_{ours}_per_trade": ratio(
            figures[f"{peer}_ns"] * trades.EVENTS_PER_TRADE, figures[f"{ours}_ns"] * _INPUTS_PER_TRADE
        )
        for peer in ("nautilus", "vnpy")
        for ours in ("c_single", "py_single", "py_batch")
        if f"{peer}_ns" in figures and f"{ours}_ns" in figures
    }


def show(figures: Figures, path: Path) -> None:
    """Everything on the terminal, what can be compared side by side; the picture beside the file."""
    console = Console()
    console = Console(width=max(console.width, _TABLE_WIDTH))
    compared = {
        "spread",
        "ratios",
        "ratios_of_least",
        "absent",
        "books_per_trade",
        "result",
        *(row.key for row in ROWS),
    }
    report.show("kernel", {name: value for name, value in figures.items() if name not in compared}, path)
    console.print(_table(figures))
    for name, reason in figures["absent"].items():
        console.print(f"{name} is absent: {reason}")
    for name, books in figures["books_per_trade"].items():
        console.print(f"{name} booked what we did, a trade: " + ", ".join(f"{key} {books[key]:,}" for key in books))
    picture = path.with_suffix(".svg")
    picture.write_text(drawn(figures))
    console.print(f"picture: {picture}")


def _table(figures: Mapping[str, Any]) -> Table:
    table = Table(
        "figure", "", title="kernel, side by side: ns of processor time an input or event", title_justify="left"
    )
    for heading in ("ns", "least", "greatest", "× floor", "plain Python ÷ it", "Nautilus ÷ it"):
        table.add_column(heading, justify="right")
    for row in _measured(figures):
        value = figures[row.key]
        least, greatest = figures["spread"][row.key]
        table.add_row(
            row.key, row.words, *(_short(number) for number in (value, least, greatest)),
            _over(value, figures.get("floor_ns")),
            _over(figures["python_reference_ns"], value), _over(figures.get("nautilus_ns"), value),
        )  # fmt: skip
    return table


def _measured(figures: Mapping[str, Any]) -> list[Row]:
    return [row for row in ROWS if row.key in figures]


def _over(value: float | None, floor: float | None) -> str:
    return "–" if not value or not floor else _short(value / floor)


def _short(value: float) -> str:
    return f"{rounded(value, 3):,.10g}"


def markdown(figures: Mapping[str, Any]) -> str:
    """The table for docs/benchmarks.md."""
    lines = [
        "| key | what | ns | least–greatest | × floor | plain Python ÷ it | Nautilus ÷ it |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in _measured(figures):
        value, (least, greatest) = figures[row.key], figures["spread"][row.key]
        cells = (
            f"`{row.key}`", row.words, _short(value), f"{_short(least)}–{_short(greatest)}",
            _over(value, figures.get("floor_ns")),
            _over(figures["python_reference_ns"], value), _over(figures.get("nautilus_ns"), value),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the picture -----------------------------------------------------------------------------------------------------

_WIDTH, _LEFT, _RIGHT, _TOP, _STEP = 980, 310, 90, 74, 28
_COLORS = {"C": "#15803d", "Python": "#0369a1", "plain": "#64748b", "peer": "#b45309"}
_GROUPS = {"C": "libkernel in C", "Python": "libkernel from Python", "plain": "plain Python", "peer": "peers"}


def drawn(figures: Mapping[str, Any]) -> str:
    """Bars on a logarithmic scale, as SVG; shorter is faster."""
    rows = _measured(figures)
    low = 10 ** math.floor(math.log10(min(figures[row.key] for row in rows)))
    high = 10 ** math.ceil(math.log10(max(figures[row.key] for row in rows)))
    height = _TOP + _STEP * len(rows) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-size="13" role="img"'
        ' font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif"'
        ' aria-label="Nanoseconds for one order event, on a logarithmic scale">',
        f'  <rect width="{_WIDTH}" height="{height}" rx="14" fill="#f8fafc"/>',
        '  <text x="24" y="34" font-size="16" font-weight="700" fill="#0f172a">'
        "One order event: nanoseconds of processor time, logarithmic; shorter is faster</text>",
        *_legend(),
        *_grid(low, high, height),
    ]
    for place, row in enumerate(rows):
        lines += _bar(row, figures[row.key], _TOP + _STEP * place, low, high)
    return "\n".join([*lines, "</svg>", ""])


def _x(value: float, low: float, high: float) -> float:
    share = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _legend() -> list[str]:
    return [
        f'  <rect x="{24 + 170 * place}" y="46" width="12" height="12" rx="3" fill="{_COLORS[group]}"/>'
        f'<text x="{42 + 170 * place}" y="57" fill="#334155">{words}</text>'
        for place, (group, words) in enumerate(_GROUPS.items())
    ]


def _grid(low: float, high: float, height: int) -> list[str]:
    lines = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        x, label = _x(10**power, low, high), f"{10**power:,} ns" if power < 3 else f"{10 ** (power - 3):,} µs"
        lines.append(f'  <path d="M{x} {_TOP - 4}V{height - 32}" stroke="#cbd5e1"/>')
        lines.append(f'  <text x="{x}" y="{height - 14}" text-anchor="middle" fill="#64748b">{label}</text>')
    return lines


def _bar(row: Row, value: float, y: int, low: float, high: float) -> list[str]:
    end = _x(value, low, high)
    told = f"{_short(value)} ns" if value < 1e3 else f"{_short(value / 1e3)} µs"
    return [
        f'  <text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end" fill="#0f172a">{escape(row.words)}</text>',
        f'  <rect x="{_LEFT}" y="{y}" width="{max(end - _LEFT, 2):.1f}" height="20" rx="4"'
        f' fill="{_COLORS[row.group]}"/>',
        f'  <text x="{end + 8:.1f}" y="{y + 15}" font-weight="600" fill="#0f172a">{told}</text>',
    ]


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
