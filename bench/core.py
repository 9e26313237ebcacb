"""The kernel service's core on whole trades: parse, apply, journal entry with views and digest; and the same replayed.

Worse is: fewer inputs a second, more bytes, or another hash.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from bench import lifecycles
from bench.figures import median, percentile, result_hash, rounded
from bench.stopwatch import Stopwatch
from kestrel_kernel.core import replay
from kestrel_kernel.core.partition import Partition, Step, decode_snapshot, encode_snapshot

START_NS = 1_780_000_000 * 10**9
_SNAPSHOT_ROUNDS, _SNAPSHOT_INPUTS = 20, 500

Figures = dict[str, Any]


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
        assert step.is_plain, f"input {sequence}: {step.entry.outcome}"
        steps.append(step)
    partition.close()
    return steps


def measure(*, trade_count: int, repeats: int) -> Figures:
    inputs = lifecycles.trades(trade_count)
    steps = journaled(inputs)
    apply_s, replay_s, single_ns = [], [], []
    for _ in range(repeats):
        single_ns += _apply_each(inputs)
        with Stopwatch() as stopwatch:
            journaled(inputs)
        apply_s.append(len(inputs) / (stopwatch.cpu_ns / 1e9))
        folded = Partition(lifecycles.PARTITION, 1)
        with Stopwatch() as stopwatch:
            for step in steps:
                replay.fold(folded, step.journal_sequence, step.data)
        replay_s.append(len(steps) / (stopwatch.cpu_ns / 1e9))
        assert folded.journal_hash == hashlib.sha256(steps[-1].data).digest(), "the replay ended elsewhere"
        folded.close()
    return {
        "service_core_inputs_per_s": rounded(median(apply_s)),
        "service_core_input_p50_us": rounded(percentile(single_ns, 0.5) / 1e3),
        "service_core_input_p99_us": rounded(percentile(single_ns, 0.99) / 1e3),
        "service_replay_inputs_per_s": rounded(median(replay_s)),
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
    for sequence, each in enumerate(inputs[:_SNAPSHOT_INPUTS], start=1):
        partition.apply(each.subject, sequence, START_NS + sequence, each.data)
    saving, restoring = [], []
    data = b""
    for _ in range(_SNAPSHOT_ROUNDS):
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
