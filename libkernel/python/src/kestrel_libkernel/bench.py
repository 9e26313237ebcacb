"""How fast the kernel is: ``measure()`` for ``make bench``, ``python -m kestrel_libkernel.bench`` for people.

Whole trades (enter, sent, acknowledged, two fills, exit, sent, acknowledged, two fills), without digests. The C figures
are taken by ``libkernel/bench/bench.c``, compiled on the spot; the Python figures here: one input applied from
dataclass to dataclass (``py_single_ns``), packed bytes applied, the answer unread (``py_packed_ns``), and batches
of packed inputs (``py_batch_ns``). Worse is more nanoseconds, or another ``result``: it is a hash of the end state.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kestrel_libkernel import bindings, codec
from kestrel_libkernel.kernel import Kernel
from kestrel_libkernel.model import (
    Config,
    Enter,
    Exit,
    Fact,
    Fill,
    Input,
    Instrument,
    OrderReport,
    OrderType,
    Side,
    TimeInForce,
)

TRADE_COUNT = 500
REPEATS = 5
INSTRUMENT = Instrument("AAPL", price_scale=4, qty_scale=0, tick_units=100)
CONFIG = Config("BENCH", slot_count=8, taker_fee_rate=50_000)


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
    inputs = [value for trade in range(TRADE_COUNT) for value in trade_inputs(trade, trade * 10 + 1)]
    packed = [codec.pack_input(value) for value in inputs]
    whole = b"".join(packed)

    def single(kernel: Kernel) -> None:
        for value in inputs:
            kernel.apply(value)

    def one_packed(kernel: Kernel) -> None:
        handle, apply = kernel._kernel, bindings.apply
        for data in packed:
            apply(handle, data)

    def batch(kernel: Kernel) -> None:
        taken = 0
        while taken < len(inputs):
            taken += bindings.apply_batch(kernel._kernel, whole, taken, len(inputs) - taken)

    single_ns, result = median_ns(single, len(inputs))
    packed_ns, packed_result = median_ns(one_packed, len(inputs))
    batch_ns, batch_result = median_ns(batch, len(inputs))
    assert result == packed_result == batch_result, "the same inputs must end in the same state"
    return {
        "py_single_ns": round(single_ns, 1),
        "py_packed_ns": round(packed_ns, 1),
        "py_batch_ns": round(batch_ns, 1),
        "py_result": result,
    }


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
        slot_bytes, total_bytes = bindings.memory(kernel._kernel)
    figures = {"state_bytes_per_slot": slot_bytes, "state_bytes_total": total_bytes}
    return {**measure_c(library or Path.cwd() / "libkernel"), **measure_python(), **figures}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
