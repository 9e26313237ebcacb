"""The tables of ``docs/benchmarks.md`` about the path, from the file that was measured.

python -m bench.tables var/bench/path.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.trail import ENTRY_HOPS

_SUMMARY: tuple[tuple[str, str], ...] = (
    ("orders_per_s", ""),
    ("p50_ms", ""),
    ("p99_ms", ""),
    ("p50_over_floor", "1.5"),
    ("p99_over_floor", "2"),
    ("p50_over_paced", ""),
    ("p99_over_paced", ""),
    ("sustained_orders_per_s", ""),
    ("greatest_orders_per_s_held", ""),
    ("kernel_service_inputs_per_s", "10,000"),
    ("bare_consumption_per_s", ""),
    ("bare_consumption_and_journal_per_s", ""),
    ("recovery_entries", ""),
    ("recovery_full_s", ""),
    ("recovery_full_s_per_million_entries", "30"),
    ("recovery_snapshot_s", "2"),
    ("recovery_entries_behind_snapshot", ""),
    ("kernel_service_mib_at_a_quarter", ""),
    ("kernel_service_mib_at_the_end", ""),
    ("persistence_rows_per_s", "20,000"),
    ("persistence_over_floor", "0.8"),
)
Figures = dict[str, Any]


def tables(figures: Figures) -> Iterator[str]:
    """Line by line."""
    for name, title in (("r1", "On one server:"), ("r3", "On three servers:")):
        yield from (title, "", *_rates(figures[name]["rates"]), "")
    yield from (*_summary(figures["r1"], figures["r3"]), "")
    yield from (*_hops(figures["r1"]["hops"], figures["r3"]["hops"]), "")
    yield f"`simulated_steps_per_s`: {_shown(figures['simulated_steps_per_s'])}"


def _rates(rates: Figures) -> Iterator[str]:
    yield (
        "| orders/s | n | intent → venue p50 ms | p99 ms | p99.9 ms | floor p50 ms | p99 ms | p50 / floor | p99 / floor"
        " | paced floor p50 ms | p50 / it | processor ms a round trip |"
    )
    yield "|--:|" + "--:|" * 11
    for rate, found in rates.items():
        orders = _shown(2 * float(rate))
        if not found["held"]:
            yield f"| {orders} | not held |" + " |" * 10
            continue
        whole, floor, paced = found["intent_to_venue"], found["floor"], found["floor_paced"]
        cells = (
            whole["count"], whole["p50_ms"], whole["p99_ms"], whole["p999_ms"], floor["p50_ms"], floor["p99_ms"],
            found["p50_over_floor"], found["p99_over_floor"], paced["p50_ms"], found["p50_over_paced"],
            sum(found["cpu_ms_per_round_trip"].values()),
        )  # fmt: skip
        yield _line(orders, *map(_shown, cells))


def _summary(one: Figures, three: Figures) -> Iterator[str]:
    yield from ("| key | `r1` | `r3` | aim |", "|---|--:|--:|--:|")
    for name, aim in _SUMMARY:
        if name in one or name in three:
            yield _line(f"`{name}`", _shown(one.get(name)), _shown(three.get(name)), aim)


def _hops(one: Figures, three: Figures) -> Iterator[str]:
    yield "| hop | one server: p50 ms | p99 ms | p50 / its floor | three: p50 ms | p99 ms | p50 / its floor |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, _, _ in ENTRY_HOPS:
        cells = [
            _shown(hops.get(name, {}).get(key))
            for hops in (one, three)
            for key in ("p50_ms", "p99_ms", "p50_over_floor")
        ]
        yield _line(name, *cells)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main(arguments: Sequence[str]) -> int:
    (path,) = arguments
    print(*tables(json.loads(Path(path).read_text())), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
