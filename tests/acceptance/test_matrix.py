"""The fault matrix of docs/venues/ibkr.md: what the page shows is what a whole run came to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import matrix
from tests.acceptance.places import TwsPlace

PAGE = Path(__file__).parents[2] / "docs" / "venues" / "ibkr.md"


def _rows() -> dict[str, list[str]]:
    """The cells of the page, by fault."""
    table = PAGE.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return {fault.strip(" `"): [cell.strip() for cell in cells] for fault, *cells in lines}


def test_page_has_a_row_for_every_fault_and_a_cell_for_every_step() -> None:
    rows = _rows()
    assert sorted(rows) == sorted(matrix.FAULTS)
    for fault, cells in rows.items():
        assert len(cells) == len(matrix.STEPS), fault
        assert all(cells), fault


def test_page_shows_nothing_lost_nothing_doubled_and_nothing_left_out() -> None:
    table = PAGE.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    assert "lost or doubled: 0." in table
    assert "FAILED" not in table
    assert "not run" not in table


def test_page_has_a_dash_only_where_there_is_nothing_that_a_fault_could_happen_to() -> None:
    for fault, cells in _rows().items():
        for step, cell in zip(matrix.STEPS, cells, strict=True):
            assert (cell == matrix.NOTHING_TO_MEET) == (not matrix.can_happen(fault, step)), f"{fault}, {step}"


def test_every_fault_happens_at_some_step_but_the_one_of_changed_orders() -> None:
    nowhere = {fault for fault in matrix.FAULTS if not any(matrix.can_happen(fault, step) for step in matrix.STEPS)}
    assert nowhere == {"SECOND_PERM_ID"}


def test_cells_where_both_libraries_came_to_the_same_are_written_once() -> None:
    same = {library: {fault: dict.fromkeys(matrix.STEPS, "filled") for fault in matrix.FAULTS} for library in "ab"}
    assert "a: filled" not in matrix.page(same)
    same["b"][matrix.FAULTS[0]]["entry"] = "FAILED: it was lost\nand more"
    page = matrix.page(same)
    assert "a: filled; b: FAILED: it was lost" in page
    assert "lost or doubled: 1." in page


def test_cells_that_had_nothing_to_meet_are_not_counted() -> None:
    row = dict.fromkeys(matrix.STEPS, "filled") | {"cancel": matrix.NOTHING_TO_MEET}
    page = matrix.page({"a": dict.fromkeys(matrix.FAULTS, row)})
    assert page.startswith(f"{len(matrix.FAULTS) * (len(matrix.STEPS) - 1)} cells on a;")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["filled", "working", "working"], "filled, protected"),
        (["filled", "in doubt, found, working", "working"], "in doubt, found, filled, protected"),
        (["not sent", "not sent", "not sent"], "all three not sent"),
        (["filled", "in doubt: a person", "working"], "entry filled; stop in doubt: a person; target working"),
        (["rejected", "canceled", "canceled"], "entry rejected; stop canceled; target canceled"),
    ],
)
def test_bracket_says_what_came_of_each_of_its_three_orders(words: list[str], word: str) -> None:
    assert matrix.bracket_word(words) == word


@pytest.mark.integration
async def test_cell_fails_where_its_fault_never_happened(tmp_path: Path) -> None:
    place = TwsPlace(tmp_path / "tws")
    await place.open()
    try:
        assert await matrix.cell(place, "DROP_AFTER_ACK", "entry") == "filled"
        word = await matrix.cell(place, "SECOND_PERM_ID", "entry")
    finally:
        await place.close()
    assert word.startswith("FAILED")
    assert "never happened: ['FAULT_SECOND_PERM_ID']" in word
