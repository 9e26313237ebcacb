"""Each schedule that broke others holds here; the README says for each which scenario it is, or why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation import weak_planted
from tests.simulation.planted import BUGS
from tests.simulation.reached import MUST_REACH, RARE, WEAK
from tests.simulation.scenarios import IN_TWO_PARTITIONS, SCENARIOS
from tests.simulation.stage import Stage
from tests.simulation.world import LAYOUTS

README = Path(__file__).with_name("README.md")
PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "reliability.md"
CASES, INVARIANTS = 25, 12


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
    assert (named - BUGS.keys()) | also == SCENARIOS.keys()


def test_every_counter_that_the_table_of_faults_names_has_to_be_reached() -> None:
    faults = README.read_text().partition("\n## Faults\n")[2].partition("\n## ")[0]
    named = {name for line in faults.splitlines() if line.startswith("| ") for name in re.findall(r"`([^`]+)`", line)}
    assert len(named) > 60
    assert named - {*MUST_REACH, *RARE, *WEAK} == set()


def test_every_planted_bug_that_the_page_on_reliability_names_is_planted() -> None:
    invariants = re.findall(r"^\| (\d+) \| .+ \| (`\w+`[^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in invariants] == list(range(1, INVARIANTS + 1))
    named = {name for _, bugs in invariants for name in re.findall(r"`(\w+)`", bugs)}
    assert named - {*BUGS, *weak_planted.BUGS} == set()
