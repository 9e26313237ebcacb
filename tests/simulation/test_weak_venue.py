"""Seeds of the world whose venue proves nothing, and the bugs that only such a venue shows."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.simulation.reached import MUST_REACH, RARE, WEAK, missing
from tests.simulation.shrinking import failure_of
from tests.simulation.weak_planted import BUGS
from tests.simulation.weak_venue import WeakWorld, world_of
from tests.simulation.world import World

SEEDS = range(4, 124, 4)
STEPS = 1_000
BUG_SEEDS = range(6, 66)
BUG_STEPS = 2_500
SEEN: dict[int, Counter[str]] = {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.xdist_group("weak-venue")
def test_a_world_whose_venue_proves_nothing_breaks_no_invariant_and_comes_to_rest_T09(seed: int) -> None:
    world = world_of(seed)
    try:
        world.run(STEPS)
    except Exception as error:
        pytest.fail(world.failure(error, STEPS))
    SEEN[seed] = world.counters


@pytest.mark.xdist_group("weak-venue")
def test_what_makes_the_venue_weak_was_really_met() -> None:
    total: Counter[str] = sum((SEEN.get(seed) or _run(seed) for seed in SEEDS), Counter())
    never = [name for name in WEAK if not total[name]]
    assert not never, f"never reached: {never}"


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


def test_the_seed_chooses_the_venue_also_when_a_run_is_made_smaller() -> None:
    assert [isinstance(world_of(seed), WeakWorld) for seed in range(1, 9)] == [False, False, False, True] * 2
    assert type(world_of(5)) is World
    assert world_of(8, frozenset({"gateway killed"})).without == {"gateway killed"}
    with BUGS["gateway_keeps_a_doubt_to_itself"].planted():
        found = next(found for seed in range(4, 400, 4) if (found := failure_of(seed, BUG_STEPS)) is not None)
    assert "nobody was told" in found.complaint


def test_a_long_search_fails_when_weak_worlds_met_too_little() -> None:
    met = Counter(dict.fromkeys((*MUST_REACH, *RARE, *WEAK), 1))
    assert missing(met, met, 1_000_000) == []
    assert missing(met, met - Counter({"connection breaks": 1}), 1_000_000) == [
        "connection breaks, at a venue that proves nothing"
    ]
    assert missing(Counter(), Counter(), 999_999) == []


def _complaint(seed: int) -> str:
    try:
        WeakWorld(seed).run(BUG_STEPS)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def _run(seed: int) -> Counter[str]:
    world = world_of(seed)
    world.run(STEPS)
    return world.counters
