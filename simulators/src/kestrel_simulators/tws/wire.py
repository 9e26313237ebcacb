"""Frames and field texts of the TWS socket protocol: bytes in, texts out, and the other way round.

A frame is a length (four bytes, big-endian, of what follows) and a payload. A payload is a row of fields, each ended
by one NUL byte, the last one too; field 0 is the number of the message. Numbers travel as the texts that Python and
Java print, so they are read as decimals and never as floats. What is absent is an empty field, the largest double
(``UNSET_DOUBLE``) or the largest int (``UNSET_INTEGER``); here it is ``None``.

Nothing in this file owns a socket. Whatever a peer sends is read, or it is a ``WireError``: no other exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kestrel_domain.errors import InvalidRequest, RemoteProtocolError
from kestrel_domain.numbers import SCALE_MAX, Number

SERVER_VERSION = 176
SERVER_VERSION_MIN = 157

MAGIC = b"API\0"
LENGTH_BYTES = 4
FRAME_BYTES_MAX = 1 << 18
"""Far above the largest order with all its legs; a longer frame is no request but a broken or hostile peer."""

UNSET_DOUBLE = "1.7976931348623157E308"
UNSET_INTEGER = 2**31 - 1
INFINITE = "Infinite"

NUMBER_MAX = 10**9
"""No price, quantity or amount that a client may name is larger; so whatever is computed from them fits 64 bits."""

_INTEGER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,330}(\.\d{0,330})?([eE][+-]?\d{1,3})?\Z", re.ASCII)
_UNSET_FROM = Decimal("1e300")


class WireError(RemoteProtocolError):
    """The peer sent what the protocol does not know."""

    @classmethod
    def of(cls, field: str, value: object, rule: str) -> WireError:
        """The usual form: ``totalQuantity 'ten': a decimal number``."""
        return cls(f"{field} {str(value)[:120]!r}: {rule}", field=field, value=value, rule=rule)


# Frames


def frame(payload: bytes) -> bytes:
    """A payload as it travels."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class FrameReader:
    """Cuts a stream of bytes into payloads, however the network has cut it."""

    def __init__(self, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._data = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """The payloads that are complete now. Raises ``WireError`` for a frame that is too long."""
        self._data += data
        payloads = []
        while (payload := self._next()) is not None:
            payloads.append(payload)
        return payloads

    def _next(self) -> bytes | None:
        if len(self._data) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._data[:LENGTH_BYTES], "big")
        if length > self._frame_bytes_max:
            raise WireError.of("frame length", length, f"at most {self._frame_bytes_max} bytes")
        end = LENGTH_BYTES + length
        if len(self._data) < end:
            return None
        payload = bytes(self._data[LENGTH_BYTES:end])
        del self._data[:end]
        return payload


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a client: the versions it speaks."""

    version_min: int
    version_max: int
    options: str = ""


_HELLO = re.compile(r"v(\d{1,4})(?:\.\.(\d{1,4}))?(?: (.*))?\Z", re.ASCII | re.DOTALL)


def parse_hello(payload: bytes) -> Hello:
    """``v157..176``, or one version alone; this frame has no NUL."""
    match = _HELLO.match(_decoded(payload))
    if match is None:
        raise WireError.of("hello", _decoded(payload), "v<lowest>..<highest version>")
    version_min = int(match.group(1))
    return Hello(version_min, int(match.group(2) or version_min), match.group(3) or "")


def agreed_version(hello: Hello) -> int:
    """The version both sides speak. The libraries believe any number, so it must never be above their own."""
    version = min(SERVER_VERSION, hello.version_max)
    if version < max(SERVER_VERSION_MIN, hello.version_min):
        spoken = f"{SERVER_VERSION_MIN} to {SERVER_VERSION}"
        raise WireError.of("client versions", f"{hello.version_min}..{hello.version_max}", f"this server: {spoken}")
    return version


# Payloads


def split(payload: bytes) -> list[str]:
    """The fields of a payload."""
    text = _decoded(payload)
    if not text.endswith("\0"):
        raise WireError.of("payload", text[-40:], "each field ends with a NUL byte")
    return text[:-1].split("\0")


def join(fields: Iterable[str]) -> bytes:
    """The payload of fields. A NUL inside one would shift all that follow, so it is refused."""
    texts = list(fields)
    for text in texts:
        if "\0" in text:
            raise InvalidRequest.of("field", text, "no NUL byte inside")
    return "".join(text + "\0" for text in texts).encode()


def _decoded(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise WireError.of("payload", payload[:40], "UTF-8") from error


# Field texts, read


def read_text(text: str, field: str) -> str:
    return text


def read_integer(text: str, field: str) -> int:
    if not _INTEGER.match(text):
        raise WireError.of(field, text, "a whole number")
    return int(text)


def read_optional_integer(text: str, field: str) -> int | None:
    if not text:
        return None
    value = read_integer(text, field)
    return None if value == UNSET_INTEGER else value


def read_flag(text: str, field: str) -> bool:
    if text not in ("0", "1"):
        raise WireError.of(field, text, "0 or 1")
    return text == "1"


def read_number(text: str, field: str) -> Number:
    value = read_optional_number(text, field)
    if value is None:
        raise WireError.of(field, text, "a decimal number")
    return value


def read_optional_number(text: str, field: str) -> Number | None:
    """Exactly what was written, also ``1e-05``; empty and the largest double are absence."""
    if not text:
        return None
    if not _NUMBER.match(text):
        raise WireError.of(field, text, "a decimal number")
    value = Decimal(text)
    if value >= _UNSET_FROM:
        return None
    if abs(value) > NUMBER_MAX:
        raise WireError.of(field, text, f"at most {NUMBER_MAX}")
    return _exact(value, text, field)


def _exact(value: Decimal, text: str, field: str) -> Number:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # the pattern knows no infinity
    units = int("".join(map(str, digits)))
    if units == 0:
        return Number(0, min(SCALE_MAX, max(0, -exponent)))
    while exponent < -SCALE_MAX and units % 10 == 0:
        units, exponent = units // 10, exponent + 1
    if exponent < -SCALE_MAX:
        raise WireError.of(field, text, f"at most {SCALE_MAX} decimals")
    units *= 10 ** max(0, exponent)
    try:
        return Number(-units if sign else units, max(0, -exponent))
    except InvalidRequest as error:
        raise WireError.of(field, text, "fewer digits, within 64 bits") from error


READERS: dict[str, Callable[[str, str], Any]] = {
    "str": read_text,
    "int": read_integer,
    "int | None": read_optional_integer,
    "bool": read_flag,
    "Number": read_number,
    "Number | None": read_optional_number,
}
"""How the text of a field is read, by the annotation of the dataclass field it becomes."""


class FieldReader:
    """Takes the fields of one message in order, and knows where it is when something is wrong."""

    def __init__(self, fields: list[str]) -> None:
        self._fields = fields
        self._index = 0

    def text(self, field: str) -> str:
        if self._index >= len(self._fields):
            raise WireError.of(field, f"field {self._index}", f"the message ends after {len(self._fields)} fields")
        self._index += 1
        return self._fields[self._index - 1]

    def read(self, field: str, kind: str) -> Any:
        """One field of a kind named in ``READERS``."""
        return READERS[kind](self.text(field), field)

    def integer(self, field: str) -> int:
        return read_integer(self.text(field), field)

    def flag(self, field: str) -> bool:
        return read_flag(self.text(field), field)

    def count(self, field: str) -> int:
        """How many groups follow. Each needs a field at least, so more than are left is refused before any loop."""
        value = self.integer(field)
        left = len(self._fields) - self._index
        if not 0 <= value <= left:
            raise WireError.of(field, value, f"0 to {left}, the fields that are left")
        return value

    def take(self, count: int, field: str) -> tuple[str, ...]:
        return tuple(self.text(field) for _ in range(count))

    def rest(self) -> tuple[str, ...]:
        return self.take(len(self._fields) - self._index, "rest")

    def finish(self) -> None:
        """Nothing may follow: a field too many means that both sides disagree about all of them."""
        if self._index != len(self._fields):
            left = len(self._fields) - self._index
            raise WireError.of("message", self._fields[self._index], f"{left} fields too many, from {self._index} on")


# Field texts, written


def text_of(value: object, unset: str = "") -> str:
    """The text of a value; ``unset`` stands for ``None``."""
    if isinstance(value, str):
        return value
    if value is None:
        return unset
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, Number)):
        return str(value)
    raise InvalidRequest.of("field", value, "text, a whole number, a Number, a bool or None")
