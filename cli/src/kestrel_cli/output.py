"""How things are shown: exact numbers, colored sides and results, local times with ages, JSON for machines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS

ID_SHOWN = 10
COMPLAINT, NEXT_STEP = "✗ ", "  → "
"""What begins a sentence about what went wrong, and the one about what to do."""

_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIDE_COLORS = {common_pb2.SIDE_BUY: "green", common_pb2.SIDE_SELL: "red"}
_WORD_COLORS = {
    "PASS": "green", "WARN": "yellow", "BLOCK": "red", "INDETERMINATE": "red", "FAIL": "bold red", "SKIP": "dim",
    "INFO": "cyan", "WARNING": "yellow", "CRITICAL": "bold red",
    "APPROVED": "green", "DENIED": "red", "PASSED": "yellow", "EXPIRED": "yellow", "PENDING": "cyan",
    "ACTIVE": "green", "USED_UP": "yellow", "REVOKED": "red", "NOT_YET": "cyan",
    "MATCHED": "green", "SUSPECTED": "yellow", "BROKEN": "red",
    "OK": "green", "ERROR": "red",
    "OPEN": "cyan", "FILLED": "green", "CANCELED": "yellow", "REJECTED": "red", "PENDING_NEW": "cyan",
    "STALLED": "bold red", "MANAGED": "green", "CLOSED": "dim",
    "ENTER": "green", "EXIT": "magenta", "HOLD": "dim",
    "ready": "green", "waiting": "dim", "starting": "cyan", "not ready": "yellow", "restarting": "yellow",
    "stopping": "yellow", "stopped": "dim", "failed": "red",
}  # fmt: skip


def console(*, stderr: bool = False) -> Console:
    """Wide enough for a table when nobody's terminal says how wide it is (pipes, tests, logs)."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output; messages become objects, exact numbers become text."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """The value as JSON has it: decimals and 64-bit integers as text, enumerations by name, bytes as hex."""
    if isinstance(value, common_pb2.Decimal):
        return str(Number.of(value))
    if isinstance(value, Message):
        return {field.name: _plain_field(value, field) for field in value.DESCRIPTOR.fields}
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _plain_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        return {str(key): str(item) if isinstance(item, int) else plain(item) for key, item in value.items()}
    if field.is_repeated:
        return [_plain_single(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain_single(value, field)


def _plain_single(value: Any, field: Any) -> Any:
    if field.enum_type is not None:
        return enum_name(field.enum_type, value)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return str(value)
    return plain(value)


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return bool(field.is_repeated and kind is not None and kind.GetOptions().map_entry)


def enum_name(enum: Any, value: int) -> str:
    """``SIDE_BUY`` of ``Side`` as ``BUY``; an unset one as ``-``, a number we do not know as itself."""
    descriptor = getattr(enum, "DESCRIPTOR", enum)
    found = descriptor.values_by_number.get(value)
    if found is None:
        return str(value)
    prefix = "".join("_" + c if c.isupper() and i else c for i, c in enumerate(descriptor.name)).upper() + "_"
    name = str(found.name).removeprefix(prefix)
    return "-" if name == "UNSPECIFIED" else name


def number(message: Message, field: str, *, signed: bool = False, scale: int | None = None) -> str:
    """A decimal field for a table: grouped, or ``-`` when unset; a signed one green above zero and red below."""
    if not message.HasField(field):
        return "[dim]-[/]"
    value = Number.of(getattr(message, field))
    text = grouped(value if scale is None else value.rounded(min(scale, 18)))
    if not signed or not value:
        return text
    return f"[green]+{text}[/]" if value.units > 0 else f"[red]{text}[/]"


def grouped(value: Number) -> str:
    """``-1,234.50``."""
    whole, dot, fraction = str(abs(value)).partition(".")
    return ("-" if value.units < 0 else "") + f"{int(whole):,}" + dot + fraction


def side(value: int) -> str:
    return colored(enum_name(common_pb2.Side, value), _SIDE_COLORS.get(value))  # type: ignore[call-overload]


def word(text: str) -> str:
    """A state's name in the color people expect of it."""
    return colored(text, _WORD_COLORS.get(text))


def colored(text: str, color: str | None) -> str:
    return f"[{color}]{escape(text)}[/]" if color else escape(text)


def moment(time_ns: int, *, now_ns: int | None = None) -> str:
    """Local time and age: ``14:03:22 (3 min ago)``; the date too when it was not today."""
    if not time_ns:
        return "[dim]-[/]"
    at = datetime.fromtimestamp(time_ns / SECOND_NS).astimezone()
    now_ns = time.time_ns() if now_ns is None else now_ns
    today = datetime.fromtimestamp(now_ns / SECOND_NS).astimezone().date()
    text = f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{text} [dim]({age(now_ns - time_ns)})[/]"


def clock(time_ns: int) -> str:
    """Local time of day to the millisecond."""
    at = datetime.fromtimestamp(time_ns / SECOND_NS).astimezone()
    return f"{at:%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}"


def age(elapsed_ns: int) -> str:
    """``3 min ago``, ``in 4 min``."""
    text = duration(abs(elapsed_ns))
    return f"{text} ago" if elapsed_ns >= 0 else f"in {text}"


def duration(elapsed_ns: int) -> str:
    """The largest unit that fits: ``850 µs``, ``12.3 ms``, ``3 min``."""
    if elapsed_ns < 1_000_000:
        return f"{elapsed_ns / 1e3:.0f} µs"
    if elapsed_ns < SECOND_NS:
        return f"{elapsed_ns / 1e6:.1f} ms"
    seconds = elapsed_ns / SECOND_NS
    for size, unit in _AGES:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size or size > 1 else f"{seconds:.1f} s"
    return "0 s"


def short_id(text: str) -> str:
    """The beginning of an id: enough to tell it apart and, commands take beginnings, to copy."""
    return escape(text if len(text) <= ID_SHOWN + 2 else text[:ID_SHOWN] + "…")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> Table:
    """A table with a title; the named columns are aligned right."""
    made = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold dim", box=None, pad_edge=False
    )
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", no_wrap=column not in ("note", "message")
        )
    for row in rows:
        made.add_row(*row)
    return made


def show(items: Sequence[Any], shown: Table, *, empty: str) -> None:
    """Print a table, or one sentence when there is nothing in it."""
    console().print(shown if items else f"[dim]{escape(empty)}[/]")
