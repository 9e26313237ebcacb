"""The simulation finds bugs that are there: each is planted, and some seed has to fail because of it."""

from __future__ import annotations

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.world import World

SEEDS = range(1, 13)
STEPS = 1_200


@pytest.mark.xdist_group("simulation")
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_planted_bug_is_found(name: str) -> None:
    with BUGS[name]():
        for seed in SEEDS:
            try:
                World(seed).run(STEPS)
            except Exception:
                return
    pytest.fail(f"{len(SEEDS)} seeds of {STEPS} steps did not notice: {name}")
