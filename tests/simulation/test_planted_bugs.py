"""The simulation finds bugs that are there: each is planted, and some seed has to fail because of it."""

from __future__ import annotations

import re
import time

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.world import World

SEEDS = range(3, 123)
SHORT, LONG = 1_200, 3_000
"""Most bugs show in a third of the worlds, early; what needs a rare meeting of two things needs worlds that last."""

BUDGET_S = 60.0
"""Of one processor: a bug that takes longer to be found counts as not found. Most take less than a second."""

WORLDS = (*((seed, SHORT) for seed in SEEDS[:40]), *((seed, LONG) for seed in SEEDS))


@pytest.mark.timeout(600)  # the budget is of the processor, which others may use as well
@pytest.mark.xdist_group("simulation")
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_is_found(name: str) -> None:
    complaints: list[str] = []
    begun_s = time.process_time()
    with BUGS[name].planted():
        for seed, steps in WORLDS:
            if time.process_time() - begun_s > BUDGET_S:
                break
            complaints.append(_complaint(seed, steps))
            if re.search(BUGS[name].complaint, complaints[-1]):
                return
    pytest.fail(f"{len(complaints)} worlds did not notice {name}: {set(complaints)}")


def _complaint(seed: int, steps: int) -> str:
    try:
        World(seed).run(steps)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
