"""Execution ids: a stem that names the trade, and a last part that counts how often it was restated.

``0000e0d5.00000002.01.02`` restates ``0000e0d5.00000002.01.01``. The libraries add both up; here the highest counts.
"""

from __future__ import annotations

from collections.abc import Iterator

_REVISIONS_LOOKED_UP = 12


def split(execution_id: str) -> tuple[str, int]:
    """Stem and revision. An id that does not end in a number is a stem of its own, never restated."""
    stem, dot, last = execution_id.rpartition(".")
    if not dot or not stem or not (last.isascii() and last.isdigit()) or len(last) > 6:
        return execution_id, 1
    return stem, int(last)


def other_revisions(execution_id: str) -> Iterator[str]:
    """The ids that this execution may have had or may have got, first to last, its own among them."""
    stem, revision = split(execution_id)
    if stem == execution_id:
        yield execution_id
        return
    width = len(execution_id) - len(stem) - 1
    for number in range(min(revision, 1), revision + _REVISIONS_LOOKED_UP):
        yield f"{stem}.{number:0{width}d}"
