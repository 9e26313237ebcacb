"""How fast the kernel is: ``measure()`` for ``make bench``, ``python -m kestrel_libkernel.bench`` for people.

Whole trades (enter, sent, acknowledged, two fills, exit, sent, acknowledged, two fills), without digests. The C figures
are taken by ``libkernel/bench/bench.c``, compiled on the spot; the Python figures here, each with ``accepted`` and
``code`` of every answer read:

    py_single_ns         one input, already made, applied by ``Kernel.apply``
    py_single_built_ns   the same, and made from Python values first
    py_batch_ns          inputs already made, by ``Kernel.apply_batch``, 128 at a time, read from its columns
    py_batch_results_ns  the same, read from a ``Result`` of each
    py_batch_built_ns    as ``py_batch_ns``, and made from Python values first

Worse is more nanoseconds, or another ``result``: it is a hash of the end state.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kestrel_libkernel.inputs import Enter, Exit, Fill, Input, OrderReport
from kestrel_libkernel.kernel import Kernel
from kestrel_libkernel.model import Code, Config, Fact, Instrument, OrderType, Side, TimeInForce

TRADE_COUNT = 500
REPEATS = 5
BATCH = 128
"""Inputs at a time, their answers read before the next: to keep thousands of answers is to measure fresh memory."""
INSTRUMENT = Instrument("AAPL", price_scale=4, qty_scale=0, tick_units=100)
CONFIG = Config("BENCH", slot_count=8, taker_fee_rate=50_000, seed_capital=10**14)


def trade_inputs(trade: int, first: int) -> list[Input]:
    """One trade's ten inputs; ``first`` numbers them."""
    entry, leaving = f"entry-{trade}", f"exit-{trade}"

    def head(place: int) -> dict[str, Any]:
        return {"now_ns": first + place, "sequence": first + place, "event_id": f"event-{first + place}"}

    def fill(place: int, order: str, side: Side, price: int) -> Fill:
        return Fill(
            **head(place), client_order_id=order, execution_id=f"execution-{first + place}", side=side, qty=50,
            qty_scale=0, price=price, price_scale=4,
        )  # fmt: skip

    return [
        Enter(
            **head(0), trade_id=f"trade-{trade}", client_order_id=entry, instrument=INSTRUMENT, side=Side.BUY,
            order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY, qty=100,
        ),
        OrderReport(**head(1), client_order_id=entry, fact=Fact.SUBMITTING),
        OrderReport(**head(2), client_order_id=entry, fact=Fact.ACKNOWLEDGED),
        fill(3, entry, Side.BUY, 1_900_000),
        fill(4, entry, Side.BUY, 1_900_100),
        Exit(**head(5), trade_id=f"trade-{trade}", client_order_id=leaving),
        OrderReport(**head(6), client_order_id=leaving, fact=Fact.SUBMITTING),
        OrderReport(**head(7), client_order_id=leaving, fact=Fact.ACKNOWLEDGED),
        fill(8, leaving, Side.SELL, 1_910_000),
        fill(9, leaving, Side.SELL, 1_910_100),
    ]  # fmt: skip


def median_ns(run: Callable[[Kernel], None], count: int) -> tuple[float, str]:
    """Nanoseconds of processor time per input, the median of the repeats, and the end state's digest."""
    times, digest = [], b""
    for _ in range(REPEATS):
        with Kernel(CONFIG) as kernel:
            gc.collect()
            gc.disable()
            start_ns = time.process_time_ns()
            run(kernel)
            times.append((time.process_time_ns() - start_ns) / count)
            gc.enable()
            digest = kernel.digest()
    return statistics.median(times), digest.hex()


def measure_python() -> dict[str, Any]:
    inputs = made()
    runs: dict[str, Callable[[Kernel], None]] = {
        "py_single_ns": lambda kernel: _single(kernel, inputs),
        "py_single_built_ns": lambda kernel: _single(kernel, _trades()),
        "py_batch_ns": lambda kernel: _batch(kernel, inputs),
        "py_batch_results_ns": lambda kernel: _batch_results(kernel, inputs),
        "py_batch_built_ns": lambda kernel: _batch(kernel, made()),
    }
    figures: dict[str, Any] = {}
    results = set()
    for name, run in runs.items():
        time_ns, result = median_ns(run, len(inputs))
        figures[name] = round(time_ns, 1)
        results.add(result)
    (figures["py_result"],) = results  # the same inputs must end in the same state
    return figures


def made() -> list[Input]:
    return list(_trades())


def _trades() -> Iterator[Input]:
    for trade in range(TRADE_COUNT):
        yield from trade_inputs(trade, trade * 10 + 1)


def _single(kernel: Kernel, inputs: Iterable[Input]) -> None:
    apply, ok = kernel.apply, Code.OK
    for value in inputs:
        result = apply(value)
        if not result.accepted or result.code is not ok:
            raise AssertionError(result)


def _batch(kernel: Kernel, inputs: Sequence[Input]) -> None:
    ok = Code.OK
    for first in range(0, len(inputs), BATCH):
        batch = kernel.apply_batch(inputs[first : first + BATCH])
        for accepted, code in zip(batch.accepted, batch.codes, strict=True):
            if not accepted or code is not ok:
                raise AssertionError("an input was refused")


def _batch_results(kernel: Kernel, inputs: Sequence[Input]) -> None:
    ok = Code.OK
    for first in range(0, len(inputs), BATCH):
        for result in kernel.apply_batch(inputs[first : first + BATCH]):
            if not result.accepted or result.code is not ok:
                raise AssertionError(result)


def measure_c(library: Path) -> dict[str, Any]:
    """``make bench`` of the library's folder; nothing without its sources or a compiler."""
    make = shutil.which("make")
    if make is None or not (library / "bench" / "bench.c").exists():
        return {}
    done = subprocess.run(
        [make, "--silent", "-C", str(library), "bench"], check=True, capture_output=True, text=True, timeout=300
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout)
    figures["c_result"] = figures.pop("result")
    return figures


def measure(library: Path | None = None) -> dict[str, Any]:
    """All figures: c_single_ns, c_batch_ns, py_single_ns, py_batch_ns, state_bytes_per_slot and a few more.

    ``library`` is the repository's ``libkernel`` folder; by default the one below the current folder.
    """
    with Kernel(CONFIG) as kernel:
        slot_bytes, total_bytes = kernel.memory()
    figures = {"state_bytes_per_slot": slot_bytes, "state_bytes_total": total_bytes}
    return {**measure_c(library or Path.cwd() / "libkernel"), **measure_python(), **figures}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
