"""The fault matrix of docs/venues/ibkr.md: what the page shows is what a whole run came to."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance import matrix

PAGE = Path(__file__).parents[2] / "docs" / "venues" / "ibkr.md"


def test_page_has_a_row_for_every_fault_and_a_cell_for_every_step() -> None:
    table = PAGE.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    rows = {line.split("|")[1].strip(" `"): line for line in table.splitlines() if line.startswith("| `")}
    assert sorted(rows) == sorted(matrix.FAULTS)
    for row in rows.values():
        assert row.count("|") == len(matrix.STEPS) + 2, row


def test_page_shows_nothing_lost_nothing_doubled_and_nothing_left_out() -> None:
    table = PAGE.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    assert "lost or doubled: 0." in table
    assert "FAILED" not in table
    assert "not run" not in table


def test_cells_where_both_libraries_came_to_the_same_are_written_once() -> None:
    same = {library: {fault: dict.fromkeys(matrix.STEPS, "filled") for fault in matrix.FAULTS} for library in "ab"}
    assert "a: filled" not in matrix.page(same)
    same["b"][matrix.FAULTS[0]]["entry"] = "FAILED: it was lost\nand more"
    page = matrix.page(same)
    assert "a: filled; b: FAILED: it was lost" in page
    assert "lost or doubled: 1." in page
