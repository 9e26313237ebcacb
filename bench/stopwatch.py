"""Time of a block of code. Pure standard library: peers use it too."""

from __future__ import annotations

import gc
import time


class Stopwatch:
    """Processor and wall-clock time of a block, without the garbage collector."""

    cpu_ns = wall_ns = 0

    def __enter__(self) -> Stopwatch:
        gc.collect()
        gc.disable()
        self._wall_ns = time.perf_counter_ns()
        self._cpu_ns = time.process_time_ns()
        return self

    def __exit__(self, *details: object) -> None:
        self.cpu_ns = time.process_time_ns() - self._cpu_ns
        self.wall_ns = time.perf_counter_ns() - self._wall_ns
        gc.enable()

    def per(self, count: int) -> dict[str, float]:
        return {"ns": self.cpu_ns / count, "wall_ns": self.wall_ns / count}
