"""Run the simulated world: ``python -m tests.simulation --seed 7 --seeds 20 --steps 3000``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.world import Violation, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, counting up")
    parser.add_argument("--steps", type=int, default=3000, help="steps with faults, before everything has to rest")
    parser.add_argument("--trace", action="store_true", help="print what happened, step by step")
    options = parser.parse_args()
    counters: Counter[str] = Counter()
    begun_s = time.perf_counter()
    for seed in range(options.seed, options.seed + options.seeds):
        world = World(seed)
        try:
            world.run(options.steps)
        except Exception as error:
            print(*world.trace[-60:], sep="\n")
            print(f"\nseed {seed}: {type(error).__name__}: {error}")
            print(f"replay: python -m tests.simulation --seed {seed} --steps {options.steps} --trace")
            if not isinstance(error, Violation):
                raise
            return 1
        if options.trace:
            print(*world.trace, sep="\n")
        counters += world.counters
    seconds = time.perf_counter() - begun_s
    width = max(map(len, counters))
    for name, count in sorted(counters.items()):
        print(f"  {name:<{width}}  {count:>8}")
    print(f"{options.seeds} seeds from {options.seed}, {options.steps} steps each: no violation, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
