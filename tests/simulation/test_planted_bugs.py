"""The simulation finds bugs that are there: each is planted, and some seed has to fail because of it."""

from __future__ import annotations

import re

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.world import World

SEEDS = range(3, 123)
STEPS = 1_200


@pytest.mark.xdist_group("simulation")
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_is_found(name: str) -> None:
    complaints = []
    with BUGS[name].planted():
        for seed in SEEDS:
            complaints.append(_complaint(seed))
            if re.search(BUGS[name].complaint, complaints[-1]):
                return
    pytest.fail(f"{len(SEEDS)} seeds of {STEPS} steps did not notice {name}: {set(complaints)}")


def _complaint(seed: int) -> str:
    try:
        World(seed).run(STEPS)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
