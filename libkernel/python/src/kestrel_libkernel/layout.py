"""Where the fields of the library's structs lie, as cffi found them when it was compiled against ``lk/lk.h``.

Nothing here is kept by hand: ``Layout.of("lk_slot_view_t", [...])`` is one ``struct.Struct`` over the named fields,
with padding for the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Any

from kestrel_libkernel._ffi import ffi

_LETTERS = {
    "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q", "int32_t": "i", "int64_t": "q",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """One field: where it begins, how ``struct`` reads it, and how many bytes it has."""

    offset: int
    letters: str
    size: int
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Some fields of one struct: read and written at once, in the order of ``names``."""

    names: tuple[str, ...]
    format: Struct

    @classmethod
    def of(cls, struct_name: str, names: Iterable[str]) -> Layout:
        """The layout of these fields. ``KeyError``: the struct has no such field."""
        fields = places(struct_name)
        ordered = sorted(set(names), key=lambda name: fields[name].offset)
        letters, end = "=", 0
        for name in ordered:
            place = fields[name]
            letters += f"{place.offset - end}x{place.letters}"
            end = place.offset + place.size
        return cls(tuple(ordered), Struct(f"{letters}{ffi.sizeof(struct_name) - end}x"))


@cache
def places(struct_name: str) -> dict[str, Place]:
    """Every field that is a number, a text, or a row of numbers, by name. A row and a nested record are bytes."""
    return {name: _place(field.offset, field.type) for name, field in ffi.typeof(struct_name).fields}


def _place(offset: int, kind: Any) -> Place:
    if kind.kind == "struct" and len(kind.fields) == 1:
        (_, only) = kind.fields[0]  # a number or a text with a meaning of its own: lk_price_t, lk_id_t
        return _place(offset + only.offset, only.type)
    size = ffi.sizeof(kind)
    if kind.kind == "primitive":
        return Place(offset, _LETTERS[kind.cname], size)
    return Place(offset, f"{size}s", size, is_text=kind.kind == "array" and kind.item.cname == "char")
