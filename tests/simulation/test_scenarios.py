"""Each schedule that broke others holds here; the README says for each which scenario it is, or why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.scenarios import IN_TWO_PARTITIONS, SCENARIOS
from tests.simulation.stage import Stage
from tests.simulation.world import LAYOUTS

README = Path(__file__).with_name("README.md")
CASES = 25


@pytest.mark.xdist_group("simulation")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_schedule_that_broke_others_holds(name: str, seed: int) -> None:
    stage = Stage(seed, LAYOUTS[2] if name in IN_TWO_PARTITIONS else LAYOUTS[0])
    try:
        SCENARIOS[name](stage)
    finally:
        stage.close()


def test_every_case_is_in_the_table_with_a_scenario_or_a_reason() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", README.read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, CASES + 1))
    named = set(re.findall(r"`(\w+)`", " ".join(answer for _, _, answer in rows)))
    also = set(re.findall(r"^- `(\w+)`", README.read_text(), re.MULTILINE))
    assert named | also == SCENARIOS.keys()
