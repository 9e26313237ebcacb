"""Run the simulated world: ``kestrel simulate --seed 7 --seeds 20 --steps 3000 --jobs 2``."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.reached import missing
from tests.simulation.referee import Violation
from tests.simulation.shrinking import failure_of, shrunk
from tests.simulation.weak_venue import is_weak, world_of


@dataclass(frozen=True)
class Outcome:
    """What became of one seed."""

    seed: int
    step_count: int
    counters: Counter[str]
    failure: str = ""
    trace: list[str] = field(default_factory=list)


def run_seed(seed: int, steps: int, without: frozenset[str] = frozenset(), wants_trace: bool = False) -> Outcome:
    """One world; a failure comes back as text that says how to see it again, as small as it can be made."""
    world = world_of(seed, without)
    failure = ""
    try:
        world.run(steps)
    except Exception as error:
        failure = world.failure(error, steps) if wants_trace else _shrunk(seed, steps, without)
        if not isinstance(error, Violation):
            failure += "\n\n" + traceback.format_exc()
    trace = [str(line) for line in world.trace] if wants_trace else []
    outcome = Outcome(seed, world.step_count, world.counters, failure, trace)
    vars(world).clear()  # what knew it lets it go: what is left for the collector is little
    gc.collect()
    return outcome


def _shrunk(seed: int, steps: int, without: frozenset[str]) -> str:
    first = failure_of(seed, steps, without)
    assert first is not None, f"seed {seed} failed once and not again: something in it is not decided by the seed"
    smallest = shrunk(first)
    at_first = f"at first: {first.command}, failed at step {first.step_count} with {len(first.faults)} kinds of faults"
    return f"{smallest.text}\n{at_first}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when a seed failed. ``arguments``: those of the command line, unless stated."""
    options = _options(arguments)
    totals = {False: Counter[str](), True: Counter[str]()}
    step_count, failed, begun_s = 0, 0, time.perf_counter()
    for count, outcome in enumerate(_outcomes(options), start=1):
        totals[is_weak(outcome.seed)] += outcome.counters
        step_count += outcome.step_count
        _show_progress(count, options.seeds, step_count / (time.perf_counter() - begun_s))
        if outcome.trace:
            print(*outcome.trace, sep="\n")
        if outcome.failure:
            failed += 1
            print(outcome.failure, flush=True)
            if not options.go_on:
                return 1
    seconds = time.perf_counter() - begun_s
    total, weak = totals[False] + totals[True], totals[True]
    _print_counters(total, weak)
    print(f"{options.seeds} seeds from {options.seed}, {options.steps} steps with faults each: {failed} failed")
    print(f"{step_count} steps in {seconds:.1f} s: {step_count / seconds:.0f} steps/s")
    never = missing(total, weak, options.seeds * options.steps) if not options.without else []
    if never:
        print(f"never reached: {', '.join(never)}")
    return 1 if failed or never else 0


def _print_counters(total: Counter[str], weak: Counter[str]) -> None:
    """How often each thing was met, and how often of that where the venue proves nothing."""
    width = max(map(len, total))
    print(f"  {'':<{width}}  {'met':>9}  {'weak venue':>10}")
    for name, count in sorted(total.items()):
        print(f"  {name:<{width}}  {count:>9}  {weak[name]:>10}")


def _show_progress(count: int, seeds: int, steps_per_s: float) -> None:
    """For a person who waits; nothing into a file or a pipe."""
    if sys.stderr.isatty() and seeds > 1:
        print(
            f"\r{count} of {seeds} seeds, {steps_per_s:,.0f} steps/s ",
            end="\n" if count == seeds else "",
            file=sys.stderr,
        )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kestrel simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, counting up")
    parser.add_argument("--steps", type=int, default=3000, help="steps with faults, before everything has to rest")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes share the seeds")
    parser.add_argument("--without", default="", help="kinds of faults to leave out, by name, with commas between")
    parser.add_argument("--trace", action="store_true", help="print what happened, step by step")
    parser.add_argument("--go-on", action="store_true", help="run the other seeds after one failed")
    return parser.parse_args(arguments)


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    gc.freeze()  # what is loaded by now stays: looking for garbage after each world looks at that world only
    seeds = range(options.seed, options.seed + options.seeds)
    without = frozenset(filter(None, options.without.split(",")))
    run = partial(run_seed, steps=options.steps, without=without, wants_trace=options.trace)
    if options.jobs == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        waiting = [pool.apply_async(run, (seed,)) for seed in seeds]
        for result in waiting:
            yield result.get()


if __name__ == "__main__":
    sys.exit(main())
