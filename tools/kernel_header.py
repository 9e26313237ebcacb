"""Reads libkernel's headers: the lists (X macros), the constants and the structs, with their comments.

What is documented and what golden files name comes from the text that the compiler reads, so nothing is kept twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBKERNEL = ROOT / "libkernel"
PUBLIC = LIBKERNEL / "include" / "lk" / "lk.h"
INTERNAL = LIBKERNEL / "src" / "internal.h"
STATE = LIBKERNEL / "src" / "state.c"

_LIST = re.compile(r"#define (LK_\w+)\(X\)((?:[^\n]*\\\n)*[^\n]*)\n")
_ENTRY = re.compile(r'X\(\s*(\w+)\s*((?:,\s*(?:"[^"]*"|[^,()"]+))*)\)\s*(?:/\*(.*?)\*/)?', re.DOTALL)
_ARGUMENT = re.compile(r',\s*(?:"([^"]*)"|([^,()"]+))')
_CONSTANT = re.compile(r"^#define (LK_\w+) +([^\n/]*[^\s/])\s*(?:/\*(.*?)\*/)?$", re.MULTILINE)
_STRUCT = re.compile(r"(?:/\*((?:(?!\*/).)*)\*/\s*)?typedef struct \{\n(.*?)\n\} (\w+);", re.DOTALL)
_FIELD = re.compile(r"(\w+) (\w+)(?:\[([^\]]+)\])?;\s*(?:/\*(.*?)\*/)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: its name, its further arguments, and the comment beside it."""

    name: str
    arguments: tuple[str, ...]
    comment: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct; ``count`` is the array's size as written, or empty."""

    name: str
    type: str
    count: str
    comment: str


@dataclass(frozen=True, slots=True)
class Struct:
    name: str
    comment: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    name: str
    value: str
    comment: str


def plain(comment: str | None) -> str:
    """A C comment as one line of text."""
    lines = (line.strip().lstrip("*").strip() for line in (comment or "").replace("\\\n", "\n").splitlines())
    return " ".join(line for line in lines if line)


@cache
def text_of(path: Path) -> str:
    return path.read_text()


def _entries(body: str) -> Iterator[Entry]:
    for name, rest, comment in _ENTRY.findall(body.replace("\\\n", "\n")):
        arguments = tuple(quoted or bare.strip() for quoted, bare in _ARGUMENT.findall(rest))
        yield Entry(name, arguments, plain(comment))


@cache
def lists() -> dict[str, tuple[Entry, ...]]:
    """Every ``LK_..S(X)`` list of the public header, in order; the place of an entry is its value."""
    return {name: tuple(_entries(body)) for name, body in _LIST.findall(text_of(PUBLIC))}


def names(list_name: str) -> tuple[str, ...]:
    return tuple(entry.name for entry in lists()[list_name])


@cache
def constants(path: Path = PUBLIC) -> dict[str, Constant]:
    found = (Constant(name, value, plain(comment)) for name, value, comment in _CONSTANT.findall(text_of(path)))
    return {constant.name: constant for constant in found}


def number(constant: Constant) -> int:
    """A constant that is written as a number."""
    return int(constant.value.strip("()").rstrip("uUlL"), 0)


def bits(prefix: str) -> dict[str, int]:
    """Flags, by name without the prefix."""
    found = constants()
    return {
        name.removeprefix(prefix): number(constant)
        for name, constant in found.items()
        if name.startswith(prefix) and re.fullmatch(r"0x[0-9a-fA-F]+u?", constant.value)
    }


@cache
def structs(path: Path) -> dict[str, Struct]:
    """Every plain struct of a header, one field to a line."""
    found = {}
    for comment, body, name in _STRUCT.findall(text_of(path)):
        fields = tuple(Field(field, kind, count, plain(said)) for kind, field, count, said in _FIELD.findall(body))
        found[name] = Struct(name, comment, fields)
    return found
