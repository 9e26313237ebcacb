"""What persistence reads and what it writes: a stored message, and rows for named tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import SCALE_MAX, Number

M = TypeVar("M", bound=Message)
Value = str | int | bool | float | bytes | None
"""What a column takes. A NUMERIC one takes the number as text: exact, with the scale it came with."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message as a stream stored it."""

    stream: str
    subject: str
    sequence: int
    time_ns: int
    data: bytes
    traceparent: str = ""

    @property
    def trace_id(self) -> str | None:
        return trace_id_of(self.traceparent)


class Row(NamedTuple):
    """One row: its table and its values by column. A column that is not named is NULL."""

    table: str
    values: dict[str, Value]


def place_of(record: Record) -> dict[str, Value]:
    """The columns that every row of a message begins with: stream, sequence, time and trace."""
    return {
        "stream": record.stream,
        "sequence": record.sequence,
        "time_ns": record.time_ns,
        "trace_id": record.trace_id,
    }


def row(table: str, record: Record, **values: Value) -> Row:
    """A row with its place: stream, sequence, time and trace."""
    return Row(table, {**place_of(record), **values})


@lru_cache(maxsize=4096)  # each of a message's rows asks for the same one
def trace_id_of(traceparent: str) -> str | None:
    """The trace id of a W3C ``traceparent``, or None when there is none or it is malformed."""
    parts = traceparent.split("-")
    if len(parts) != 4 or len(parts[1]) != 32 or not set(parts[1]) <= set("0123456789abcdef"):
        return None
    return parts[1]


def text(value: str) -> str | None:
    """Absence is NULL: an empty protobuf string was not set."""
    return value or None


def count(value: int) -> int | None:
    """A time or a number whose zero means "not set"."""
    return value or None


def money(message: common_pb2.Decimal, *, present: bool = True) -> str | None:
    """Exact, with the scale it came with. Raises InvalidRequest when the scale is out of range."""
    return decimal_text(message.units, message.scale) if present else None


def amount(message: Message, field: str) -> str | None:
    """The number in a field, as ``money``; None when it is not set."""
    number = getattr(message, field)
    units, scale = number.units, number.scale
    if not units and not scale and not message.HasField(field):  # asked last: it costs as much as the reading
        return None
    return decimal_text(units, scale)


@lru_cache(maxsize=16384)  # of an account's twenty amounts an input moves three
def decimal_text(units: int, scale: int) -> str:
    """``units / 10**scale`` with ``scale`` decimals. Raises InvalidRequest when the scale is out of range."""
    if not 0 <= scale <= SCALE_MAX:
        Number(units, scale)  # says what is wrong with it
    if not scale:
        return str(units)
    digits = f"{abs(units):0{scale + 1}}"
    return f"{'-' if units < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


class Names(dict[int, str | None]):
    """Of an enum's values, as ``name`` gives them, by their numbers."""

    def __init__(self, enum: Any, prefix: str) -> None:
        super().__init__((value, name(enum, value, prefix)) for value in enum.values())

    def __missing__(self, value: int) -> str:
        return f"UNKNOWN_{value}"


@lru_cache(maxsize=1024)  # few names, asked for in every row
def name(enum: object, value: int, prefix: str) -> str | None:
    """``SIDE_BUY`` becomes ``BUY``, UNSPECIFIED is NULL. A number of a newer contract is kept as ``UNKNOWN_7``."""
    try:
        label: str = enum.Name(value)  # type: ignore[attr-defined]
    except ValueError:
        return f"UNKNOWN_{value}"
    label = label.removeprefix(prefix + "_")
    return None if label == "UNSPECIFIED" else label


def subject_parts(record: Record, shape: str) -> list[str]:
    """The tokens of a subject, checked against a shape such as ``intent.<account>``."""
    parts = record.subject.split(".")
    wanted = shape.split(".")
    same = len(parts) == len(wanted) and all(
        part if slot.startswith("<") else part == slot for part, slot in zip(parts, wanted, strict=True)
    )
    if not same:
        raise InvalidRequest.of("subject", record.subject, shape)
    return parts


def tables_of(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by table, in the order in which the tables first appear."""
    tables: dict[str, list[Row]] = {}
    for one in rows:
        tables.setdefault(one.table, []).append(one)
    return tables


def parsed(record: Record, kind: type[M]) -> M:
    """Read the stored bytes as a contract message. Raises InvalidRequest when they are none."""
    message = kind()
    try:
        message.ParseFromString(record.data)
    except DecodeError as error:
        size = f"{len(record.data)} bytes"
        rule = f"must be a {kind.DESCRIPTOR.full_name}"
        raise InvalidRequest.of("body", size, rule, reason="UNREADABLE") from error
    return message


def required(field_name: str, value: str) -> str:
    """A text that identifies the row, so that it may not be empty."""
    if not value:
        raise InvalidRequest.of(field_name, value, "is required")
    return value
