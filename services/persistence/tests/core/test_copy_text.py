"""What COPY is sent can be read back as what it was made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_persistence.core import copy_text
from kestrel_persistence.core.record import Value

_UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def _read(cell: str) -> str | None:
    """A cell, by the rules in PostgreSQL's manual."""
    if cell == "\\N":
        return None
    plain, rest = "", cell
    while rest:
        taken = 2 if rest[0] == "\\" else 1
        plain += _UNESCAPED.get(rest[:taken], rest[:taken])
        rest = rest[taken:]
    return plain


@given(st.lists(st.lists(st.none() | st.text(), min_size=3, max_size=3)))
def test_any_texts_come_back_and_none_is_taken_for_null(rows: list[list[str | None]]) -> None:
    lines = copy_text.lines(rows).decode().split("\n")
    assert lines.pop() == ""
    assert [[_read(cell) for cell in line.split("\t")] for line in lines] == rows


@pytest.mark.parametrize(
    "value, cell",
    [
        (0, "0"),
        (-(2**63), "-9223372036854775808"),
        (True, "t"),
        (False, "f"),
        (0.1, "0.1"),
        (b"", "\\\\x"),
        (b"\x00\xff\t", "\\\\x00ff09"),
        ("100.0100", "100.0100"),
        ("\\N", "\\\\N"),
        ("\\.", "\\\\."),
    ],
)
def test_each_kind_of_value_has_its_cell(value: Value, cell: str) -> None:
    assert copy_text.lines([[value]]).decode() == cell + "\n"


def test_a_text_that_is_no_unicode_is_an_error_and_not_a_row() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        copy_text.lines([["\ud800"]])


def test_more_texts_than_are_remembered_come_out_as_they_are() -> None:
    texts = [f"text {number}\t" for number in range(20_000)]
    assert copy_text.lines([texts]).decode().count("\\t") == len(texts)
