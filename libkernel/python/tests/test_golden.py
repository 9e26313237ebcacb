"""K22: recorded stories, with the figures that must come out to the unit and the digest after every input."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_goldens", ROOT / "tools" / "kernel_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = _tool()
PATHS = goldens.paths()
NAMES = [path.stem for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_golden_replay_comes_out_to_the_unit_and_the_digest_K22(path: Path) -> None:
    replay = goldens.Replay(goldens.load(path))
    assert replay.run() == []


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_golden_figures_are_derived_by_hand_and_the_derivation_holds_K22(path: Path) -> None:
    assert goldens.wrong_arithmetic(goldens.load(path)) == []


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_golden_file_tells_its_story_and_is_laid_out_as_the_tool_writes_it(path: Path) -> None:
    case = goldens.load(path)
    assert all(case[part] for part in ("title", "requirements", "story", "old_behavior"))
    assert goldens.laid_out(case) == path.read_text()


def _case(name: str) -> dict[str, Any]:
    return dict(json.loads((goldens.GOLDEN / f"{name}.json").read_text()))


def _booked(name: str) -> list[tuple[int, int]]:
    """Realized pnl and fee of every fill of a golden file."""
    events = [event for step in _case(name)["steps"] for event in step.get("events", [])]
    return [(each.get("realized_pnl", 0), each.get("fee", 0)) for each in events if each["kind"] == "FILL_BOOKED"]


def test_leverage_one_and_three_book_the_same_figures_K04_K22() -> None:
    assert _booked("fet_clean_exit") == _booked("fet_leverage_three")


def test_wrong_figure_that_comes_out_is_reported_K22() -> None:
    """A test of the test: the venue's figure, declared to be the old defect's, must not pass."""
    case = _case("fet_clean_exit")
    case["never"] = [{"figure": "realized_pnl", "units": 24273120000}]
    assert any("the wrong figure" in problem for problem in goldens.Replay(case).run())


def test_figure_digest_event_or_view_that_differs_is_reported_K22() -> None:
    case = _case("fet_clean_exit")
    case["steps"][1]["events"][0]["fee"] += 1
    case["steps"][2]["slots"]["0"]["qty"] += 1
    case["steps"][3]["digest"] = "00"
    del case["steps"][4]["events"][0]
    problems = "\n".join(goldens.Replay(case).run())
    for part in (
        "step 2: event 0 (FILL_BOOKED).fee",
        "step 3: slot 0.qty",
        "step 4: expected digest",
        "step 5: expect",
    ):
        assert part in problems


def test_arithmetic_that_does_not_hold_is_reported_K22() -> None:
    case = _case("fet_clean_exit")
    case["by_hand"][0]["because"] = "26,007 x (0.1878 - 0.1866) = 31.2085"
    assert len(goldens.wrong_arithmetic(case)) == 2


def test_protective_bound_as_a_price_would_have_booked_the_old_loss_K22() -> None:
    """Without leverage the bound alone would book -1,071.4884, a third of the incident's -3,214.4652. Neither can
    arise, because a bound never reaches the kernel as a price (K08); the kernel cannot tell one from a true price."""
    case = _case("fet_poisoned_leg")
    poisoned = next(step for step in case["steps"] if step.get("input", {}).get("execution_id") == "E3")
    machine = goldens.Machine(case["config"])
    for step in case["steps"][: case["steps"].index(poisoned)]:
        machine.apply(step["input"])
    machine.apply({**poisoned["input"], "flags": ["HAS_PRICE"], "price": 2290})
    assert machine.slot(0)["realized_pnl"] == -107148840000
    assert 3 * machine.slot(0)["realized_pnl"] == -321446520000
