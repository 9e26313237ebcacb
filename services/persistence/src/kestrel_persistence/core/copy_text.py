"""Rows in PostgreSQL's text format of COPY: a line a row, tabs between, ``\\N`` for NULL.

The lines are made here and sent as they are, because a driver that encodes value by value takes several times as long.
The database reads them by the same rules as any text, so a number keeps every digit and its scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from kestrel_persistence.core.record import Value

_TEXTS_MAX = 8192
_special = re.compile(r"[\\\t\n\r]").search
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class _Texts(dict[str, str]):
    """Texts as COPY takes them. Remembered, because a message's ids and names stand in each of its rows."""

    def __missing__(self, value: str) -> str:
        if len(self) >= _TEXTS_MAX:
            self.clear()
        self[value] = escaped = value.translate(_ESCAPED) if _special(value) else value
        return escaped


_texts = _Texts()
_OTHERS: dict[type, Callable[[Any], str]] = {
    int: str,
    bool: lambda value: "t" if value else "f",
    float: repr,
    bytes: lambda value: "\\\\x" + value.hex(),
}
"""By type: these, texts and None may be in a row, and nothing else."""


def lines(rows: Iterable[Iterable[Value]]) -> bytes:
    """Each row's values in the order of the columns. Raises ValueError for a text that is no Unicode."""
    return "".join(map(_line, rows)).encode()


def _line(values: Iterable[Value]) -> str:
    texts, others = _texts, _OTHERS
    cells = [
        texts[value] if type(value) is str else "\\N" if value is None else others[type(value)](value)
        for value in values
    ]
    return "\t".join(cells) + "\n"
