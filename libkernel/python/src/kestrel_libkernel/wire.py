"""Records as protobuf messages, written by C from a table: which field of a struct becomes which field of a message.

    writer = Writer("lk_event_t", 11, [text("trade_id", 2), decimal("qty", 7, scale="qty_scale")])
    entry.MergeFromString(writer.write(raw_event))

The order of a table is the order on the wire. A field is named as the struct names it; ``entry.life`` is one of a
struct inside. What each kind of field means says ``wire.h``. Nothing here knows a message: the numbers come from
whoever has the contracts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from kestrel_libkernel._ffi import ffi, lib
from kestrel_libkernel.bindings import Handle
from kestrel_libkernel.layout import Place, places
from kestrel_libkernel.model import EventKind

EVENT_IN_SLOT = "lkpy_event_in_slot_t"
"""The record that events are written from: ``event`` and ``slot``."""

_ROOM = 4096
"""Bytes of one message: twice what a slot with all of its orders takes when every number is huge."""
_EVENT_ROOM = 1024
"""Bytes of one event's message: twice what five ids and six numbers take."""


class _Kind(IntEnum):
    """As in ``wire.h``."""

    NUMBER = 1
    TEXT = 2
    DECIMAL = 3
    MESSAGE = 4
    LIST = 5
    CONSTANT = 6
    WORD = 7
    PLACE = 8
    NAMES = 9


class _Test(IntEnum):
    """As in ``wire.h``."""

    ALWAYS = 0
    IF = 1
    UNLESS = 2


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, and what it comes from."""

    kind: _Kind
    number: int
    name: str = ""
    value: int = 0
    words: bytes = b""
    scale: str = ""
    scale_more: int = 0
    inside: tuple[Field, ...] = ()
    test: _Test = _Test.ALWAYS
    test_name: str = ""
    test_mask: int = 0xFF

    def when(self, name: str, *, mask: int = 0xFF) -> Field:
        """Only if this field of the record, seen through the mask, is not 0."""
        return replace(self, test=_Test.IF, test_name=name, test_mask=mask)

    def unless(self, name: str) -> Field:
        """Only if this field of the record is 0."""
        return replace(self, test=_Test.UNLESS, test_name=name)


def number(name: str, number: int) -> Field:
    """A whole number, a truth or a member of a list; left out when it is 0."""
    return Field(_Kind.NUMBER, number, name)


def text(name: str, number: int) -> Field:
    """A text; left out when it is empty."""
    return Field(_Kind.TEXT, number, name)


def decimal(name: str, number: int, *, scale: str = "", more: int = 0) -> Field:
    """Units and a scale: that of the record, if one is named, and ``more``. Also when it is 0."""
    return Field(_Kind.DECIMAL, number, name, scale=scale, scale_more=more)


def numbers(name: str, number: int) -> Field:
    """A row of 16-bit numbers, without those that are 0."""
    return Field(_Kind.LIST, number, name)


def constant(value: int, number: int) -> Field:
    """A number that only a condition decides about."""
    return Field(_Kind.CONSTANT, number, value=value)


def word(name: str, number: int, words: Sequence[int]) -> Field:
    """The number that stands at this place of a list; left out when it is 0."""
    return Field(_Kind.WORD, number, name, words=bytes(words))


def place(name: str, number: int) -> Field:
    """The place of a slot; left out when it is 0, or none."""
    return Field(_Kind.PLACE, number, name)


def names(name: str, number: int, bits: Sequence[str]) -> Field:
    """The names of the bits that are set, lowest first, with commas between; left out when none is."""
    padded = [*bits, *[""] * (8 - len(bits))]
    return Field(_Kind.NAMES, number, name, words=b"".join(bytes([len(each)]) + each.encode() for each in padded))


def message(number: int, inside: Iterable[Field]) -> Field:
    """A message of its own, which holds no further one but decimals."""
    return Field(_Kind.MESSAGE, number, inside=tuple(inside))


class Writer:
    """Writes records of one struct as field ``number`` of a message; 0: as a message of its own.

    Not for use by several threads at once.
    """

    __slots__ = ("_fields", "_out", "_words", "_writer")

    def __init__(self, struct_name: str, number: int, fields: Iterable[Field]) -> None:
        """``KeyError``: the struct has no such field."""
        flat = list(itertools.chain.from_iterable((field, *field.inside) for field in fields))
        words = b"".join(field.words for field in flat)
        begins = itertools.accumulate((len(field.words) for field in flat), initial=0)
        rows = [_row(struct_name, field, begin) for field, begin in zip(flat, begins, strict=False)]
        self._fields = ffi.new("uint32_t[]", list(itertools.chain.from_iterable(rows)))
        self._words = ffi.new("char[]", words)
        out = ffi.new("char[]", _ROOM)
        self._out = ffi.buffer(out)
        self._writer = ffi.new("lkpy_writer_t *", [self._fields, len(rows), self._words, out, _ROOM, number])
        # What a struct of cffi points at, somebody else has to keep.
        self._fields = (self._fields, out)

    @property
    def pointer(self) -> Any:
        """The ``lkpy_writer_t``; it lives as long as this does."""
        return self._writer

    def write(self, raw: bytes, more: bytes = b"") -> bytes:
        """The record as it goes on the wire, ``more`` fields behind its own. ``ValueError``: there is no room."""
        size = lib.lkpy_write(self._writer, raw, more, len(more))
        if size < 0:
            raise ValueError(f"a message of more than {_ROOM} bytes")
        written: bytes = self._out[:size]
        return written


class Aftermath:
    """Writes what an input left behind: its events, by the writer of their kind, and the state after it.

    An event is written beside its slot, as ``EVENT_IN_SLOT``, so that a message can be made of both. Kinds without a
    writer are left to somebody else.
    """

    __slots__ = ("_aftermath", "_kept", "_out")

    def __init__(
        self, handle: Handle, events: Mapping[EventKind, Writer], slot: Writer, account: Writer, digest_number: int
    ) -> None:
        slot_count = handle.event_capacity // lib.LK_EVENTS_PER_SLOT
        out_bytes = _ROOM * (slot_count + 1) + _EVENT_ROOM * handle.event_capacity
        out = ffi.new("char[]", out_bytes)
        self._out = ffi.buffer(out)
        kinds = [events[kind].pointer if kind in events else ffi.NULL for kind in EventKind]
        self._kept = (out, handle.room, *events.values(), slot, account)
        self._aftermath = ffi.new(
            "lkpy_aftermath_t *",
            [handle.room, kinds, slot.pointer, account.pointer, out, out_bytes, 0, digest_number],
        )

    def write(self) -> tuple[bytes, bytes]:
        """Of the input that was applied last: the events, kind by kind; and the slots that changed, the account and
        the digest. ``ValueError``: there is no room."""
        aftermath = self._aftermath
        size = lib.lkpy_write_aftermath(aftermath)
        if size < 0:
            raise ValueError(f"an input left more than {len(self._out)} bytes behind")
        begin = aftermath.state
        return self._out[:begin], self._out[begin:size]


def _row(struct_name: str, field: Field, words_begin: int) -> tuple[int, ...]:
    """One ``lkpy_field_t``."""
    nowhere = Place(0, "", 0)
    place = _place(struct_name, field.name) if field.name else nowhere
    scale = _place(struct_name, field.scale) if field.scale else nowhere
    test = _place(struct_name, field.test_name) if field.test_name else nowhere
    value = field.value
    if field.kind is _Kind.MESSAGE:
        value = len(field.inside)
    elif field.words:
        value = words_begin
    return (
        field.kind, field.number, place.offset, place.size, value, scale.offset, field.scale_more, scale.size,
        field.test, test.offset, test.size, field.test_mask,
    )  # fmt: skip


def _place(struct_name: str, name: str) -> Place:
    outer, _, inner = name.partition(".")
    place = places(struct_name)[outer]
    if not inner:
        return place
    inside = _place(dict(ffi.typeof(struct_name).fields)[outer].type.cname, inner)
    return replace(inside, offset=place.offset + inside.offset)
