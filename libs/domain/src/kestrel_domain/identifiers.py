"""Identifiers: who may be called what, and how each id follows from its cause.

No id here comes from a clock or a counter in memory: the same cause gives the same id, so doing a thing twice
names it once.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from kestrel_domain.errors import InvalidRequest

ID_LENGTH_MAX = 64
CLIENT_ORDER_ID_PREFIX = "ks"
"""Begins every client order id of ours: how we know our orders on an account that others use too (X11)."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
"""RFC 4648, lower case, ten bits at a time: several ids are made for each order, and the library's way is slow."""
_SHIFTS = range(120, -1, -10)
"""Where each two characters of an id begin: 128 bits and two of padding are 13 times ten bits."""

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,31}\Z", re.ASCII)


def checked_id(field: str, value: str) -> str:
    """An id that may stand in a subject, a key and a file name: 1 to 64 of ``[A-Za-z0-9_-]``."""
    if not _ID.match(value):
        raise InvalidRequest.of(field, value, "1 to 64 characters of A-Z a-z 0-9 _ -")
    return value


def checked_symbol(field: str, value: str) -> str:
    """A venue symbol: upper case, 1 to 32 of ``[A-Z0-9_-]``."""
    if not _SYMBOL.match(value):
        raise InvalidRequest.of(field, value, "1 to 32 characters of A-Z 0-9 _ -, upper case")
    return value


def derived_id(kind: str, *parts: str | int | bytes) -> str:
    """26 characters of base 32 (128 bits of SHA-256) over a kind and length-prefixed parts."""
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    padded = int.from_bytes(digest.digest()[:16], "big") << 2
    return "".join([_BASE32_PAIRS[padded >> shift & 1023] for shift in _SHIFTS])


@lru_cache(maxsize=4096)  # asked for at each step of a trade's life
def token_id(intent_id: str, attempt: int) -> str:
    """One attempt of one intent has one token, however often it is decided (T03)."""
    return derived_id("token", intent_id, attempt)


def warrant_id(trade_id: str) -> str:
    """One trade has one exit warrant."""
    return derived_id("warrant", trade_id)


@lru_cache(maxsize=4096)  # asked for at each step of a trade's life
def entry_client_order_id(token: str) -> str:
    """Our identity of an entry order: prefix and hash of the token's id. 28 characters."""
    return CLIENT_ORDER_ID_PREFIX + derived_id("entry", token)


def exit_client_order_id(trade_id: str, input_sequence: int) -> str:
    """Our identity of an exit order: it follows from the trade and the inbox sequence that asked for it."""
    return CLIENT_ORDER_ID_PREFIX + derived_id("exit", trade_id, input_sequence)


def partition_of(account: str, partition_count: int) -> int:
    """The partition an account belongs to. Stable for ever: the count is chosen once."""
    return int.from_bytes(hashlib.sha256(account.encode()).digest()[:8], "big") % partition_count
