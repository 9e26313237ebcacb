"""Compare the library with the reference: ``python -m tests.reference --inputs 1000000 --seed 7 --jobs 2``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tests.reference import reach
from tests.reference.acts import Act, tell_act
from tests.reference.differential import SEQUENCE_LENGTH, Sequence, run_seed, trace


def main() -> int:
    options = _options()
    reached, input_count, begun_s = Counter[str](), 0, time.perf_counter()
    for sequence in _sequences(options):
        reached += sequence.reached
        input_count += len(sequence.acts)
        if sequence.difference:
            print(trace(sequence), flush=True)
            return 1
    seconds = time.perf_counter() - begun_s
    width = max(map(len, reached))
    for name, count in sorted(reached.items()):
        print(f"  {name:<{width}}  {count:>9}")
    print(f"{input_count} inputs from seed {options.seed} on, {seconds:.0f} s: no difference")
    return _tell_lost_ways(reached) if input_count >= reach.RUN_LENGTH_MIN else 0


def _tell_lost_ways(reached: Counter[str]) -> int:
    missing, unforeseen = reach.missing(reached), reach.unforeseen(reached)
    if missing:
        print("never reached:", *missing, sep="\n  ")
    if unforeseen:
        print("reached, but in no table of reach.py:", *unforeseen, sep="\n  ")
    return 1 if missing or unforeseen else 0


def _sequences(options: argparse.Namespace) -> Iterator[Sequence]:
    seeds = range(options.seed, options.seed + -(-options.inputs // SEQUENCE_LENGTH))
    if options.trace or options.jobs == 1:
        for seed in seeds:
            yield run_seed(seed, tell=_print_act if options.trace else None)
        return
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = [(seed, pool.submit(run_seed, seed)) for seed in seeds]
        for seed, result in waiting:
            try:
                yield result.result()
            except BrokenProcessPool:
                print(
                    f"the library stopped its process, at seed {seed} or soon after; --trace shows each input before it"
                )
                raise


def _print_act(act: Act) -> None:
    print(tell_act(act), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, at least")
    parser.add_argument("--seed", type=int, default=1, help=f"the first; each is good for {SEQUENCE_LENGTH}")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--trace", action="store_true", help="print every input before it is applied; one process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
