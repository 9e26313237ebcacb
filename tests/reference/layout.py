"""Structs of the manual as bytes: little endian, in declared order, no padding but what is named."""

from __future__ import annotations

import struct
from operator import attrgetter
from typing import Any


class Layout:
    """Which fields lie where. One word per field, ``name:format``; ``-:4x`` is padding, ``name:8H`` an array."""

    def __init__(self, words: str) -> None:
        pairs = [word.split(":") for word in words.split()]
        self.names = [name for name, _ in pairs if name != "-"]
        self._struct = struct.Struct("<" + "".join(form for _, form in pairs))
        self._get = attrgetter(*self.names)
        formats = [form for name, form in pairs if name != "-"]
        self._array = next((i for i, form in enumerate(formats) if form[:-1].isdigit() and form[-1] in "BHIQ"), None)
        self._array_count = int(formats[self._array][:-1]) if self._array is not None else 0
        self.size = self._struct.size

    def pack(self, record: Any) -> bytes:
        values = self._get(record)
        if self._array is not None:
            values = values[: self._array] + tuple(values[self._array]) + values[self._array + 1 :]
        return self._struct.pack(*values)

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Fields by name; texts without their padding."""
        values: list[Any] = list(self._struct.unpack(data))
        if self._array is not None:
            end = self._array + self._array_count
            values[self._array : end] = [tuple(values[self._array : end])]
        values = [value.rstrip(b"\0") if isinstance(value, bytes) else value for value in values]
        return dict(zip(self.names, values, strict=True))
