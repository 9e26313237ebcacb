"""Memory of the kernel service's core over a million closed orders: nothing may grow with what is over.

Orders come in blocks: two of a whole trade, filled, and eight that the venue refused. Worse is: more memory at the end
than after the first tenth, a greater snapshot, or another hash.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import psutil

from bench import core, lifecycles
from bench.figures import result_hash, rounded
from bench.progress import tell
from kestrel_kernel.core.partition import Partition, encode_snapshot

_ORDERS, _QUICK_ORDERS = 1_000_000, 10_000
_ORDERS_PER_BLOCK, _REFUSED_PER_BLOCK = 10, 8
_LOOKS = 10
_SECONDS_MAX = 1_800.0
_TELL_EVERY_S = 10.0

Figures = dict[str, Any]


def measure(*, quick: bool) -> Figures:
    """Some eight minutes, and never more than half an hour: on a slow machine there are fewer orders. Quick, some
    seconds.
    """
    order_count = _QUICK_ORDERS if quick else _ORDERS
    partition, _ = core.new_partition()
    resident, saved = [], []
    sequence = done = 0
    began_s = told_s = time.perf_counter()
    while done < order_count and time.perf_counter() - began_s < _SECONDS_MAX:
        sequence = _apply_block(partition, done // _ORDERS_PER_BLOCK, sequence)
        done += _ORDERS_PER_BLOCK
        if done % (order_count // _LOOKS) == 0:
            resident.append(_resident_mib())
            saved.append(len(encode_snapshot(partition.save())))
        if time.perf_counter() - told_s > _TELL_EVERY_S:
            told_s = time.perf_counter()
            tell(f"memory: {done:,} orders, {_resident_mib():,} MiB")
    if done % (order_count // _LOOKS):  # time is up
        resident.append(_resident_mib())
        saved.append(len(encode_snapshot(partition.save())))
    digest = partition.digest(lifecycles.ACCOUNT)
    partition.close()
    return {
        "orders": done,
        "inputs": sequence,
        "resident_mib_after_each_tenth": resident,
        "growth_mib_after_the_first_tenth": rounded(resident[-1] - resident[0]),
        "snapshot_bytes_after_the_first_tenth": saved[0],
        "snapshot_bytes_at_the_end": saved[-1],
        "result": result_hash([digest]),
    }


def _resident_mib() -> float:
    gc.collect()
    return rounded(psutil.Process().memory_info().rss / 2**20)


def _apply_block(partition: Partition, number: int, sequence: int) -> int:
    """Where INBOX then stands."""
    inputs = lifecycles.trade(number, sequence + 1)
    for place in range(_REFUSED_PER_BLOCK):
        inputs += lifecycles.rejected(number * _REFUSED_PER_BLOCK + place)
    for each in inputs:
        sequence += 1
        now_ns = core.START_NS + sequence * 1_000_000
        step = partition.apply(each.subject, sequence, now_ns, each.data, "", recorded_at_ns=now_ns)
        assert step.entry.outcome.accepted, f"input {sequence}: {step.entry.outcome}"
    return sequence
