"""What was measured, as the page shows it."""

from typing import Any

from bench import tables

TIMES = {"count": 5, "p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0, "max_ms": 3.0}
HELD = {
    "held": 1,
    "intent_to_venue": TIMES,
    "floor": TIMES,
    "floor_paced": TIMES,
    "p50_over_floor": 4.0,
    "p99_over_floor": 2.5,
    "p50_over_paced": 3.0,
    "cpu_ms_per_round_trip": {"nats": 20.0, "kernel": 10.0},
}


def measured(**more: Any) -> dict[str, Any]:
    hops = {"token spent": {**TIMES, "p50_over_floor": 6.0}}
    return {"rates": {"0.5": HELD, "100": {"held": 0, "why": "too much"}}, "hops": hops, "p50_ms": 1.0, **more}


def test_each_rate_each_key_and_each_hop_has_a_line() -> None:
    lines = list(tables.tables({"r1": measured(), "r3": measured(p50_ms=4321.0), "simulated_steps_per_s": 20_000.0}))
    assert "| 1 | 5 | 1 | 2 | 3 | 1 | 2 | 4 | 2.5 | 1 | 3 | 30 |" in lines
    assert sum(line.startswith("| 200 | not held") for line in lines) == 2
    assert "| `p50_ms` | 1 | 4,321 |  |" in lines
    assert "| token spent | 1 | 2 | 6 | 1 | 2 | 6 |" in lines
    assert lines[-1] == "`simulated_steps_per_s`: 20,000"
