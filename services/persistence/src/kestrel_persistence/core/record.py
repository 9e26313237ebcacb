"""What persistence reads and what it writes: a stored message, and rows for named tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import SCALE_MAX, Number

M = TypeVar("M", bound=Message)
Value = str | int | bool | float | bytes | Decimal | None


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


def row(table: str, record: Record, **values: Value) -> Row:
    """A row with its place: stream, sequence, time and trace (the record's own, unless stated)."""
    values["stream"] = record.stream
    values["sequence"] = record.sequence
    values["time_ns"] = record.time_ns
    if "trace_id" not in values:
        values["trace_id"] = record.trace_id
    return Row(table, values)


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


def money(message: common_pb2.Decimal, *, present: bool = True) -> Decimal | None:
    """Exact, with the scale it came with. Raises InvalidRequest when the scale is out of range."""
    if not present:
        return None
    scale = message.scale
    if not 0 <= scale <= SCALE_MAX:
        Number.of(message)  # says what is wrong with it
    return Decimal(message.units).scaleb(-scale)


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
