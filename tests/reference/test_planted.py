"""A test of the tests: every planted bug is found, and soon."""

from __future__ import annotations

import pytest

from tests.reference.differential import run_seed, shrink
from tests.reference.planted import PLANTS
from tests.reference.words import InputKind

SEED_COUNT_MAX = 60
"""Sequences within which each bug must be found: 30,000 inputs, some seconds of work. Most need one or two."""


def first_difference(name: str) -> tuple[int, str]:
    """How many sequences it took to find the bug, and what was seen; or 0."""
    with PLANTS[name]():
        for seed in range(1, SEED_COUNT_MAX + 1):
            sequence = run_seed(seed)
            if sequence.difference:
                return seed, sequence.difference
    return 0, ""


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_bug_is_found(name: str) -> None:
    seed_count, difference = first_difference(name)

    assert seed_count, f"{name}: not seen in {SEED_COUNT_MAX} sequences"
    assert difference


def test_a_difference_shrinks_to_the_inputs_that_show_it() -> None:
    with PLANTS["a_freeze_blocks_exits_too"]():
        sequence = next(one for one in map(run_seed, range(1, SEED_COUNT_MAX)) if one.difference)
        acts = shrink(sequence)

    kinds = [act.value.kind for act in acts if act.value is not None]
    assert kinds == [InputKind.FREEZE, InputKind.EXIT]
