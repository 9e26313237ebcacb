"""A failing run made smaller: fewer steps, and fewer kinds of fault, as long as the complaint is the same.

A world with a fault left out draws the same numbers and only does not act on some of them, so every smaller run is as
repeatable as the first one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.weak_venue import world_of

SECONDS_MAX = 60.0
_NAMES = re.compile(r"\bks[a-z2-7]{26}\b|\bx?[a-z2-7]{26}\b|\b[0-9a-f]{16,}\b|intent-[\d-]+|\d+")


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed: what it takes to repeat it, what it said, and how it is told."""

    seed: int
    steps: int
    without: frozenset[str]
    complaint: str
    step_count: int
    faults: tuple[str, ...]
    text: str

    @property
    def command(self) -> str:
        left_out = f' --without "{",".join(sorted(self.without))}"' if self.without else ""
        return f"kestrel simulate --seed {self.seed} --steps {self.steps}{left_out}"


def failure_of(seed: int, steps: int, without: frozenset[str] = frozenset()) -> Failure | None:
    """Run it; None when it holds."""
    world = world_of(seed, without)
    try:
        world.run(steps)
    except Exception as error:
        complaint = f"{type(error).__name__}: {_NAMES.sub('#', str(error))}"
        met = tuple(name for name, _ in world.faults_met.most_common())
        return Failure(seed, steps, without, complaint, world.step_count, met, world.failure(error, steps))
    return None


def shrunk(failure: Failure, *, seconds: float = SECONDS_MAX) -> Failure:
    """The smallest run found in that time which fails with the same complaint."""
    deadline_s = time.monotonic() + seconds
    smallest, is_smaller = failure, True
    while is_smaller:
        is_smaller = False
        for steps, without in _smaller(smallest):
            if time.monotonic() > deadline_s:
                return smallest
            found = failure_of(failure.seed, steps, without)
            if found is not None and found.complaint == failure.complaint:
                smallest, is_smaller = found, True
                break
    return smallest


def _smaller(failure: Failure) -> Iterator[tuple[int, frozenset[str]]]:
    """Runs to try next, the largest saving first."""
    if failure.step_count < failure.steps:
        yield failure.step_count, failure.without  # it failed before the faults stopped: the rest was never run
    for share in (2, 4, 8):
        if failure.steps // share:
            yield failure.steps - failure.steps // share, failure.without
    for fault in failure.faults:
        yield failure.steps, failure.without | {fault}
