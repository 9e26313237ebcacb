"""Seeds of the simulated world: no invariant breaks, everything comes to rest, and every fault really happened."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.world import World

SEEDS = range(1, 17)
STEPS = 1_500
SEEN: dict[int, Counter[str]] = {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.xdist_group("simulation")
def test_a_seeded_world_breaks_no_invariant_and_comes_to_rest_K07_K21_T03_T11(seed: int) -> None:
    world = World(seed)
    try:
        world.run(STEPS)
    except Exception as error:
        pytest.fail(world.failure(error, STEPS))
    SEEN[seed] = world.counters


@pytest.mark.xdist_group("simulation")
def test_every_fault_was_really_reached() -> None:
    """A simulation that never met its faults proves nothing."""
    total: Counter[str] = sum((SEEN.get(seed) or _run(seed) for seed in SEEDS), Counter())
    missing = [name for name in MUST_REACH if not total[name]]
    assert not missing, f"never reached: {missing}"


@pytest.mark.xdist_group("simulation")
def test_the_same_seed_is_the_same_history() -> None:
    first, second = World(5), World(5)
    first.run(300)
    second.run(300)
    assert first.trace == second.trace


def _run(seed: int) -> Counter[str]:
    world = World(seed)
    world.run(STEPS)
    return world.counters


MUST_REACH = [
    "acknowledgement lost",
    "answer lost on the way back",
    "answer of the database lost",
    "approval refused: FOUR_EYES",
    "approval refused: KILL_ACTIVE",
    "books compared",
    "cancel lost",
    "comes to rest while killed",
    "database compared",
    "de-duplication forgets",
    "drift found",
    "duplicate suppressed",
    "entry sent",
    "epochs count anew",
    "exit sent",
    "exposure checked",
    "fill busted",
    "fill corrected",
    "fill taken back",
    "fills",
    "flags unreachable",
    "foreign order heard",
    "further attempt",
    "garbage in the inbox",
    "gateway frozen",
    "gateway killed",
    "governance killed",
    "kernel frozen",
    "kernel killed",
    "kernel lease lost",
    "killed",
    "late fill",
    "order canceled",
    "order found after doubt",
    "order provably absent",
    "people re-arm",
    "persistence killed",
    "person answers",
    "person passes",
    "reconciler killed",
    "restored from a snapshot",
    "send arrives late",
    "send lost on the way",
    "send never left",
    "snapshot torn",
    "spend unknown",
    "stale gateway runs",
    "stale kernel runs",
    "stale owner refused",
    "stale persistence runs",
    "time jumps",
    "token spent by another command",
    "torn snapshot found",
    "truth failed",
    "venue does not answer",
    "venue silent",
    "correction booked",
]
