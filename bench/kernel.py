"""The kernel: one input in C, through Python, and in the service's core; beside plain Python on the same trades.

Worse is: more nanoseconds, more bytes, fewer inputs a second, or another hash.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kestrel_libkernel as lk
from bench import lifecycles
from bench.figures import median, percentile, ratio, result_hash, rounded
from bench.reference import ACKNOWLEDGE, SUBMITTING, Reference
from kestrel_kernel.core import replay
from kestrel_kernel.core.partition import Partition, Step, decode_snapshot, encode_snapshot
from kestrel_libkernel import bench as library_bench

START_NS = 1_780_000_000 * 10**9
_SLOT_COUNTS = (1, 16, 64)
"""libkernel takes at most 64."""
_SAVE_ROUNDS = 200
_CALLS_PER_TRADE = 10

Figures = dict[str, Any]


def measure(*, quick: bool) -> Figures:
    """All of it, some 15 s; quick, some 5 s."""
    library = library_bench.measure(Path(__file__).parent.parent / "libkernel")
    reference_ns, reference_result = _reference(repeats=3 if quick else 9)
    service = _service_core(trade_count=100 if quick else 1_000, repeats=1 if quick else 5)
    figures: Figures = {
        **{name: value for name, value in library.items() if not name.endswith("result")},
        "python_reference_ns": rounded(reference_ns),
        "ratios_to_python_reference": {
            name.removesuffix("_ns"): ratio(reference_ns, library[name])
            for name in ("c_single_ns", "c_batch_ns", "py_single_ns", "py_packed_ns", "py_batch_ns")
            if name in library
        },
        **service,
        "save_and_restore": {f"slots_{count}": _save_and_restore(count) for count in _SLOT_COUNTS},
    }
    if "c_single_with_digest_ns" in figures:
        figures["c_single_digest_ns"] = figures.pop("c_single_with_digest_ns")
    figures["result"] = {
        "c": library.get("c_result", "not measured: no compiler or no sources"),
        "python": library["py_result"],
        "reference": reference_result,
        "service": figures.pop("service_result"),
    }
    return figures


# --- plain Python ----------------------------------------------------------------------------------------------------


def _reference(repeats: int) -> tuple[float, str]:
    """Nanoseconds of processor time per input, and a hash of where it ended; both must agree with libkernel's books."""
    count = library_bench.TRADE_COUNT
    times = []
    account = Reference()
    for _ in range(repeats):
        account = Reference()
        calls = [call for number in range(count) for call in _reference_trade(account, number)]
        accepted = 0
        with _Stopwatch() as stopwatch:
            for function, arguments in calls:
                accepted += function(*arguments)
        assert accepted == len(calls), "the reference refused an input"
        times.append(stopwatch.cpu_ns / len(calls))
    with lk.Kernel(library_bench.CONFIG) as kernel:
        for number in range(count):
            for value in library_bench.trade_inputs(number, number * _CALLS_PER_TRADE + 1):
                kernel.apply(value)
        view = kernel.account()
    assert (account.realized, account.fees) == (view.realized_pnl, view.fees), "the reference has other books"
    return median(times), result_hash([str(account.realized), str(account.fees), str(len(account.executions))])


def _reference_trade(account: Reference, number: int) -> list[tuple[Callable[..., bool], tuple[Any, ...]]]:
    first = number * _CALLS_PER_TRADE + 1
    trade, entry, leaving = f"trade-{number}", f"entry-{number}", f"exit-{number}"
    event = [f"event-{first + place}" for place in range(_CALLS_PER_TRADE)]
    execution = [f"execution-{first + place}" for place in range(_CALLS_PER_TRADE)]
    return [
        (account.enter, (event[0], trade, entry, 1, 100)),
        (account.order, (event[1], entry, SUBMITTING)),
        (account.order, (event[2], entry, ACKNOWLEDGE)),
        (account.fill, (event[3], entry, execution[3], 50, 1_900_000)),
        (account.fill, (event[4], entry, execution[4], 50, 1_900_100)),
        (account.exit, (event[5], trade, leaving)),
        (account.order, (event[6], leaving, SUBMITTING)),
        (account.order, (event[7], leaving, ACKNOWLEDGE)),
        (account.fill, (event[8], leaving, execution[8], 50, 1_910_000)),
        (account.fill, (event[9], leaving, execution[9], 50, 1_910_100)),
    ]


# --- the service's core ----------------------------------------------------------------------------------------------


def new_partition() -> tuple[Partition, Step]:
    """A partition with the laptop's account, and the entry that began it."""
    partition = Partition(lifecycles.PARTITION, 1)
    return partition, partition.start_epoch(1, "bench", [lifecycles.configuration()], recorded_at_ns=START_NS)


def journaled(inputs: list[lifecycles.Input]) -> list[Step]:
    """The journal of these inputs. Raises AssertionError when one is refused: the trades then are not what we say."""
    partition, first = new_partition()
    steps = [first]
    for sequence, each in enumerate(inputs, start=1):
        now_ns = START_NS + sequence * 1_000_000
        step = partition.apply(each.subject, sequence, now_ns, each.data, lifecycles.TRACEPARENT, recorded_at_ns=now_ns)
        assert step.entry.outcome.accepted, f"input {sequence}: {step.entry.outcome}"
        steps.append(step)
    partition.close()
    return steps


def _service_core(trade_count: int, repeats: int) -> Figures:
    inputs = lifecycles.trades(trade_count)
    steps = journaled(inputs)
    apply_s, replay_s, single_ns = [], [], []
    for _ in range(repeats):
        single_ns += _apply_each(inputs)
        with _Stopwatch() as stopwatch:
            journaled(inputs)
        apply_s.append(len(inputs) / (stopwatch.cpu_ns / 1e9))
        folded = Partition(lifecycles.PARTITION, 1)
        with _Stopwatch() as stopwatch:
            for step in steps:
                replay.fold(folded, step.journal_sequence, step.data)
        replay_s.append(len(steps) / (stopwatch.cpu_ns / 1e9))
        assert folded.journal_hash == hashlib.sha256(steps[-1].data).digest(), "the replay ended elsewhere"
        folded.close()
    return {
        "service_core_inputs_per_s": rounded(median(apply_s)),
        "service_core_input_p50_us": rounded(percentile(single_ns, 0.5) / 1e3),
        "service_core_input_p99_us": rounded(percentile(single_ns, 0.99) / 1e3),
        "replay_inputs_per_s": rounded(median(replay_s)),
        "journal_entry_bytes_mean": round(sum(len(step.data) for step in steps) / len(steps)),
        "partition_snapshot": _partition_snapshot(inputs),
        "service_result": result_hash(step.data for step in steps),
    }


def _apply_each(inputs: list[lifecycles.Input]) -> list[int]:
    """The wall-clock time of each input."""
    partition, _ = new_partition()
    times = []
    for sequence, each in enumerate(inputs, start=1):
        began_ns = time.perf_counter_ns()
        partition.apply(each.subject, sequence, START_NS + sequence, each.data, lifecycles.TRACEPARENT)
        times.append(time.perf_counter_ns() - began_ns)
    partition.close()
    return times


def _partition_snapshot(inputs: list[lifecycles.Input]) -> Figures:
    partition, _ = new_partition()
    for sequence, each in enumerate(inputs[:500], start=1):
        partition.apply(each.subject, sequence, START_NS + sequence, each.data)
    saving, restoring = [], []
    data = b""
    for _ in range(_SAVE_ROUNDS // 10):
        began_ns = time.perf_counter_ns()
        data = encode_snapshot(partition.save())
        saved_ns = time.perf_counter_ns()
        restored = Partition.restored(decode_snapshot(data), 1)
        restoring.append(time.perf_counter_ns() - saved_ns)
        saving.append(saved_ns - began_ns)
        assert encode_snapshot(restored.save()) == data, "restored is not what was saved"
        restored.close()
    partition.close()
    return {
        "bytes": len(data),
        "save_us": rounded(median(saving) / 1e3),
        "restore_us": rounded(median(restoring) / 1e3),
    }


def _save_and_restore(slot_count: int) -> Figures:
    """One account's kernel with every slot holding an open position."""
    config = replace(library_bench.CONFIG, slot_count=slot_count)
    saving, restoring = [], []
    with lk.Kernel(config) as kernel, lk.Kernel(config) as other:
        for number in range(slot_count):
            enter, *others = library_bench.trade_inputs(number, number * _CALLS_PER_TRADE + 1)[:5]
            assert isinstance(enter, lk.Enter)
            instrument = replace(library_bench.INSTRUMENT, symbol=f"SYMBOL{number}")  # one open trade a symbol
            for value in (replace(enter, instrument=instrument), *others):
                assert kernel.apply(value).outcome.accepted, "an input was refused"
        data = b""
        for _ in range(_SAVE_ROUNDS):
            began_ns = time.perf_counter_ns()
            data = kernel.save()
            saved_ns = time.perf_counter_ns()
            other.restore(data)
            restoring.append(time.perf_counter_ns() - saved_ns)
            saving.append(saved_ns - began_ns)
        assert other.digest() == kernel.digest(), "restored is not what was saved"
    return {
        "bytes": len(data),
        "save_us": rounded(median(saving) / 1e3),
        "restore_us": rounded(median(restoring) / 1e3),
    }


class _Stopwatch:
    """Processor time of a block, without the garbage collector."""

    cpu_ns = 0

    def __enter__(self) -> _Stopwatch:
        gc.collect()
        gc.disable()
        self._began_ns = time.process_time_ns()
        return self

    def __exit__(self, *details: object) -> None:
        self.cpu_ns = time.process_time_ns() - self._began_ns
        gc.enable()
