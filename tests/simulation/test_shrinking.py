"""A failure is made smaller, stays the same failure, and can be repeated."""

from __future__ import annotations

import re

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.shrinking import failure_of, shrunk

STEPS = 1_200


@pytest.mark.xdist_group("simulation")
@pytest.mark.parametrize("name", ["gateway_spends_after_sending", "kernel_sizes_exits_above_what_is_open"])
def test_a_failing_run_shrinks_to_fewer_steps_and_faults_with_the_same_complaint(name: str) -> None:
    with BUGS[name].planted():
        first = next(found for seed in range(3, 40) if (found := failure_of(seed, STEPS)) is not None)
        smallest = shrunk(first, seconds=20)
        again = failure_of(smallest.seed, smallest.steps, smallest.without)
    assert smallest.complaint == first.complaint
    assert smallest.steps < first.steps
    assert len(smallest.faults) <= len(first.faults)
    assert again == smallest
    assert re.search(BUGS[name].complaint, smallest.text)
    assert smallest.command in smallest.text


@pytest.mark.xdist_group("simulation")
def test_a_run_without_a_kind_of_fault_never_meets_it() -> None:
    assert failure_of(3, 300, frozenset({"gateway killed", "cancel lost"})) is None
