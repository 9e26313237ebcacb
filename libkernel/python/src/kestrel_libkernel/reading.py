"""Protobuf messages as inputs, read by C from a table: which field of a message goes into which of ``lk_input_t``.

    reader = Reader([Table(lk.MarkPrice(now_ns=0, symbol="", price=0, price_scale=0), [
        message(3, [symbol("symbol", 1), shortest("price", 2)]),
    ])])
    reader.read(data, now_ns=..., sequence=...)      an input, or None

It is for messages that are as they mostly are. Whatever a table does not expect, exactly, makes the answer None: then
somebody slower has to look. What each kind of row means says ``read.h``. Nothing here knows a message: the numbers come
from whoever has the contracts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from kestrel_libkernel._ffi import ffi, lib
from kestrel_libkernel.bindings import INPUT_BYTES
from kestrel_libkernel.inputs import Input, Prepared
from kestrel_libkernel.layout import Place, places

_ROWS_MAX = 64
"""As in ``read.h``."""


class _Kind(IntEnum):
    """As in ``read.h``."""

    MESSAGE = 1
    TEXT = 2
    SYMBOL = 3
    SAME = 4
    NUMBER = 5
    SHORTEST = 6
    AMOUNT = 7
    NOTHING = 8
    UNUSED = 9


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a message. It must be there, unless it is ``optional``."""

    kind: _Kind
    number: int
    name: str = ""
    letters_max: int = 0
    words: bytes = b""
    least: int = 0
    most: int = 0
    flag: int = 0
    is_required: bool = True
    inside: tuple[Row, ...] = ()

    def optional(self) -> Row:
        return replace(self, is_required=False)


def message(number: int, inside: Iterable[Row]) -> Row:
    """A message inside, with these fields and no other."""
    return Row(_Kind.MESSAGE, number, inside=tuple(inside))


def text(name: str, number: int, *, letters_max: int) -> Row:
    """Printable letters without blanks."""
    return Row(_Kind.TEXT, number, name, letters_max)


def unused_text(number: int, *, letters_max: int) -> Row:
    """The same, for a text that the library has no use for."""
    return Row(_Kind.UNUSED, number, letters_max=letters_max)


def symbol(name: str, number: int, *, letters_max: int) -> Row:
    """Upper case letters, digits, and - or _ behind the first."""
    return Row(_Kind.SYMBOL, number, name, letters_max)


def same(value: str, number: int) -> Row:
    """This text and no other. An empty one is not written at all."""
    return Row(_Kind.SAME, number, words=value.encode(), is_required=bool(value))


def member(name: str, number: int, least: int, most: int) -> Row:
    """A number in this range."""
    return Row(_Kind.NUMBER, number, name, least=least, most=most)


def shortest(name: str, number: int, *, scale_max: int) -> Row:
    """Units and scale without trailing zeros; the scale goes into ``<name>_scale``."""
    return Row(_Kind.SHORTEST, number, name, most=scale_max, flag=_flag(name))


def amount(name: str, number: int, *, scale: int) -> Row:
    """Units, at this scale or a smaller one, as units at this scale."""
    return Row(_Kind.AMOUNT, number, name, most=scale, flag=_flag(name))


def nothing(number: int) -> Row:
    """A number that the library has no use for, and that need not be there."""
    return Row(_Kind.NOTHING, number, is_required=False)


def _flag(name: str) -> int:
    """The one that says that a number is stated, where there is one."""
    flag: int = getattr(lib, f"LK_HAS_{name.upper()}", 0)
    return flag


@dataclass(frozen=True, slots=True)
class Table:
    """One shape of message, and the input that it becomes, as it is before anything was read into it."""

    blank: Input
    rows: Sequence[Row]


class Reader:
    """Reads messages of some shapes. Not for use by several threads at once."""

    __slots__ = ("_count", "_input", "_kept", "_out", "_readers")

    def __init__(self, tables: Sequence[Table]) -> None:
        """``KeyError``: an input has no such field. ``ValueError``: a table has too many rows."""
        made = [_memory(table) for table in tables]
        words = ffi.new("uint64_t[]", -(-INPUT_BYTES // 8))
        self._kept = (made, words)  # what a struct of cffi points at, somebody has to keep
        self._readers = ffi.new("lkpy_reader_t[]", [reader for reader, _ in made])
        self._count = len(tables)
        self._input = ffi.cast("char *", words)
        self._out = ffi.buffer(words)

    def read(self, data: bytes, *, now_ns: int, sequence: int) -> Prepared | None:
        """The input that the message is; None: nobody here can say. ``OverflowError``: a number has no 64 bits."""
        if lib.lkpy_read(self._readers, self._count, data, len(data), now_ns, sequence, self._input) < 0:
            return None
        return Prepared(self._out[:INPUT_BYTES])


def _memory(table: Table) -> tuple[list[Any], tuple[Any, ...]]:
    """One ``lkpy_reader_t``, and what it points at."""
    flat = list(_flat(table.rows))
    if len(flat) > _ROWS_MAX:
        raise ValueError(f"a table of {len(flat)} rows; at most {_ROWS_MAX}")
    begins = itertools.accumulate((len(row.words) for row in flat), initial=0)
    numbers = [_row(row, begin) for row, begin in zip(flat, begins, strict=False)]
    rows = ffi.new("uint32_t[]", list(itertools.chain.from_iterable(numbers)))
    words = ffi.new("char[]", b"".join(row.words for row in flat))
    blank = ffi.new("char[]", table.blank.packed)
    required = sum(1 << place for place, row in enumerate(flat) if row.is_required)
    return [rows, len(flat), required, words, blank], (rows, words, blank)


def _flat(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        yield row
        yield from _flat(row.inside)


def _row(row: Row, words_begin: int) -> tuple[int, ...]:
    """One ``lkpy_row_t``."""
    fields, nowhere = places("lk_input_t"), Place(0, "", 0)
    place = fields[row.name] if row.name else nowhere
    scale = fields[f"{row.name}_scale"] if row.kind is _Kind.SHORTEST else nowhere
    at, letters = place.offset, row.letters_max
    if row.kind is _Kind.SAME:
        at, letters = words_begin, len(row.words)
    if row.name and letters > place.size:
        raise ValueError(f"{row.name} holds {place.size} letters, not {letters}")
    inside = sum(1 for _ in _flat(row.inside))
    return row.kind, row.number, at, letters, row.least, row.most, scale.offset, row.flag, inside
