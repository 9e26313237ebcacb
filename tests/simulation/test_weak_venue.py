"""Seeds of the world whose venue proves nothing, and the bugs that only such a venue shows."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.simulation.weak_planted import BUGS
from tests.simulation.weak_venue import WeakWorld, world_of
from tests.simulation.world import World

SEEDS = range(1, 9)
STEPS = 1_000
BUG_SEEDS = range(6, 36)
BUG_STEPS = 900
SEEN: dict[int, Counter[str]] = {}

MUST_REACH = (
    "absent, which proves nothing",
    "answer lost on the way back",
    "connection breaks",
    "doubt told",
    "entry sent",
    "event told_before",
    "exit sent",
    "fills",
    "gateway killed",
    "send arrives late",
    "send lost on the way",
    "venue repeats everything",
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.xdist_group("weak-venue")
def test_a_world_whose_venue_proves_nothing_breaks_no_invariant_and_comes_to_rest_T09(seed: int) -> None:
    world = WeakWorld(seed)
    try:
        world.run(STEPS)
    except Exception as error:
        pytest.fail(world.failure(error, STEPS))
    SEEN[seed] = world.counters


@pytest.mark.xdist_group("weak-venue")
def test_what_makes_the_venue_weak_was_really_met() -> None:
    total: Counter[str] = sum((SEEN.get(seed) or _run(seed) for seed in SEEDS), Counter())
    missing = [name for name in MUST_REACH if not total[name]]
    assert not missing, f"never reached: {missing}"


@pytest.mark.xdist_group("weak-venue")
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_bug_planted_at_a_weak_venue_is_found(name: str) -> None:
    complaints = []
    with BUGS[name].planted():
        for seed in BUG_SEEDS:
            complaints.append(_complaint(seed))
            if re.search(BUGS[name].complaint, complaints[-1]):
                return
    pytest.fail(f"{len(BUG_SEEDS)} seeds of {BUG_STEPS} steps did not notice {name}: {set(complaints)}")


def test_the_seed_chooses_the_venue() -> None:
    assert isinstance(world_of(3), WeakWorld)
    assert type(world_of(4)) is World


def _complaint(seed: int) -> str:
    try:
        WeakWorld(seed).run(BUG_STEPS)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def _run(seed: int) -> Counter[str]:
    world = WeakWorld(seed)
    world.run(STEPS)
    return world.counters
