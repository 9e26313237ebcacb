"""What the library answers, as records over its own bytes: owned by the record, and read when somebody asks.

    @record("lk_order_view_t")
    class OrderView(Record):
        life: Life                  the field of that name, as a member of the list
        price: int | None           None while the field ``has_price`` is 0
        client_order_id: str

A class states names and types; where a field lies and how wide it is, cffi knows. The first read of a number unpacks
all that the class names at once (some 0.5 us), later ones look into a tuple. Measured against a frozen dataclass for
each answer and event, as this package once had them: 1 us instead of 16 us for an answer with one event of which only
``accepted`` and ``code`` are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, IntFlag
from types import NoneType
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

from kestrel_libkernel._ffi import lib
from kestrel_libkernel.layout import Layout, Place, places

_Decorated = TypeVar("_Decorated", bound="type[Record]")
_Read = Callable[[Any], Any]

_NOTHING = {"I": lib.LK_NO_SLOT, "q": lib.LK_NEVER_NS}
"""Where a number may be missing and no ``has_`` field says so, one value means none: of slots, and of deadlines."""


class Record:
    """Bytes with names. Equal when the bytes are; nothing changes them."""

    __slots__ = ("_unpacked", "raw")

    _layout: ClassVar[Layout]

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._unpacked: tuple[Any, ...] | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        """The fields named in ``fields``, as they lie in the bytes. For those who compare two states of a thing."""
        return self._unpacked or self._values()

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """The fields that the class reads, in the order of ``values``."""
        return cls._layout.names

    def _values(self) -> tuple[Any, ...]:
        self._unpacked = values = self._layout.format.unpack_from(self.raw)
        return values

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        shown = (
            f"{name}={getattr(self, name)!r}" for name, value in vars(type(self)).items() if isinstance(value, property)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def record(
    struct_name: str,
    *,
    renamed: Mapping[str, str] | None = None,
    flags: Mapping[str, int] | None = None,
    optional: Mapping[str, int] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[_Decorated], _Decorated]:
    """Give the annotated names of a class their fields.

    ``renamed``: attributes whose field has another name; ``flags``: attributes that are a bit of ``flags``;
    ``optional``: attributes that are None unless that bit of ``flags`` is set; ``words``: numbers shown as a word of a
    list. An attribute that the class defines itself stays as it is.
    """
    renamed, flags, optional, words = renamed or {}, flags or {}, optional or {}, words or {}

    def decorate(cls: _Decorated) -> _Decorated:
        kinds = {name: kind for name, kind in get_type_hints(cls).items() if not name.startswith("_")}
        described = {name: kind for name, kind in kinds.items() if not hasattr(cls, name)}
        fields = places(struct_name)
        wanted = {renamed.get(name, name) for name in described if name not in flags}
        guards = {f"has_{name}" for name in wanted} & fields.keys()
        if flags or optional:
            wanted.add("flags")
        cls._layout = Layout.of(struct_name, wanted | guards)
        index = {name: place for place, name in enumerate(cls._layout.names)}
        for name, kind in described.items():
            field = renamed.get(name, name)
            if name in flags:
                read = _bit(index["flags"], flags[name])
            elif name in words:
                read = _word(words[name], index[field])
            elif name in optional:
                read = _when(_bit(index["flags"], optional[name]), _number(index[field]))
            elif NoneType in get_args(kind) and f"has_{field}" in index:
                read = _when(_truth(index[f"has_{field}"]), _number(index[field]))
            else:
                read = _reader(kind, index[field], fields[field])
            setattr(cls, name, property(read))
        return cls

    return decorate


def _reader(kind: Any, place: int, field: Place) -> _Read:
    if field.is_text:
        return _text(place)
    if kind is bool:
        return _truth(place)
    if isinstance(kind, type) and issubclass(kind, IntFlag):
        return lambda self: kind((self._unpacked or self._values())[place])
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        members = tuple(kind)
        return lambda self: members[(self._unpacked or self._values())[place]]
    if kind == int | None:
        return _unless(_NOTHING[field.letters], place)
    return _number(place)


def _number(place: int) -> _Read:
    return lambda self: (self._unpacked or self._values())[place]


def _word(words: Sequence[str], place: int) -> _Read:
    return lambda self: words[(self._unpacked or self._values())[place]]


def _truth(place: int) -> _Read:
    return lambda self: (self._unpacked or self._values())[place] != 0


def _bit(place: int, mask: int) -> _Read:
    return lambda self: (self._unpacked or self._values())[place] & mask != 0


def _text(place: int) -> _Read:
    return lambda self: (self._unpacked or self._values())[place].rstrip(b"\0").decode("ascii")


def _when(stated: _Read, read: _Read) -> _Read:
    return lambda self: read(self) if stated(self) else None


def _unless(nothing: int, place: int) -> _Read:
    def read(self: Any) -> int | None:
        value: int = (self._unpacked or self._values())[place]
        return None if value == nothing else value

    return read


def nested(struct_name: str, field: str) -> Callable[[bytes], bytes]:
    """Cuts a record inside a record out of the bytes of the outer one."""
    place = places(struct_name)[field]
    cut = slice(place.offset, place.offset + place.size)
    return lambda raw: raw[cut]
