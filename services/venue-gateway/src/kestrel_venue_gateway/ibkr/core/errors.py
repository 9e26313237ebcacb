"""What each error code of the venue means for an order, a request or the connection: one table, no cleverness.

The libraries take every code that they do not know for the end of an order. The rule here is the opposite one: a code
that is not in the table leads to questions, never to an end.
"""

from __future__ import annotations

from enum import Enum

from kestrel.common.v1 import common_pb2


class Meaning(Enum):
    """What a code that names one of our orders says about it."""

    NOTE = "note"  # the order lives as before
    REJECTED = "rejected"  # the order was refused, unless it was at work before: then something about it was
    CANCELED = "canceled"  # the rest of it is over
    CANCEL_REFUSED = "cancel_refused"  # our cancel did nothing; whether the order lives is to be asked
    ASK = "ask"  # whatever it means: ask


class Link(Enum):
    """What a code without an order says about the way to the venue."""

    NOTE = "note"
    CUT = "cut"  # the gateway has lost its servers: orders work on, and nobody tells
    RESTORED = "restored"  # and has them again: everything is asked anew
    BREAK = "break"  # this connection is over
    PACING = "pacing"  # we sent too much
    DATA_BROKEN = "data_broken"  # prices are old; orders are not touched
    DATA_OK = "data_ok"


_MEANING: dict[int, Meaning] = {
    **dict.fromkeys((106, 107, 109, 110, 111, 113, 116, 117, 133, 163), Meaning.REJECTED),
    **dict.fromkeys((200, 201, 203, 321, 355, 382, 383, 387, 388), Meaning.REJECTED),
    **dict.fromkeys((411, 434, 435, 436, 460, 463), Meaning.REJECTED),
    **dict.fromkeys((10243, 10268, 10269, 10270, 10289, 10293, 10311), Meaning.REJECTED),
    202: Meaning.CANCELED,
    **dict.fromkeys((135, 136, 161, 10147, 10148), Meaning.CANCEL_REFUSED),
    # What concerns a modification, or held orders, or presets: the order lives. Nothing of ours modifies an order.
    **dict.fromkeys((104, 105, 134, 165, 329, 399, 404, 492, 10167, 10349), Meaning.NOTE),
    # A duplicate order id: the id may belong to an order that lives.
    103: Meaning.ASK,
}
_LINK: dict[int, Link] = {
    1100: Link.CUT,
    2110: Link.CUT,
    1101: Link.RESTORED,
    1102: Link.RESTORED,
    326: Link.BREAK,
    503: Link.BREAK,
    506: Link.BREAK,
    1300: Link.BREAK,
    100: Link.PACING,
    2103: Link.DATA_BROKEN,
    2105: Link.DATA_BROKEN,
    2157: Link.DATA_BROKEN,
    10182: Link.DATA_BROKEN,
    10197: Link.DATA_BROKEN,
    2104: Link.DATA_OK,
    2106: Link.DATA_OK,
    2158: Link.DATA_OK,
}
_WARNINGS = range(2100, 2200)

DUPLICATE_ORDER_ID = 103
CLIENT_ID_IN_USE = 326
CANNOT_CANCEL_IN_THIS_STATE = 10148


def meaning(code: int) -> Meaning:
    """For an error that names one of our orders."""
    if code in _WARNINGS:
        return Meaning.NOTE
    return _MEANING.get(code, Meaning.ASK)


def is_known(code: int) -> bool:
    """Whether anybody has thought about this code."""
    return code in _MEANING or code in _LINK or code in _WARNINGS


def link(code: int) -> Link:
    """For an error that names nothing."""
    return _LINK.get(code, Link.NOTE)


def refusal_of(code: int, text: str) -> common_pb2.Refusal:
    """The venue's own words, under a reason that programs can tell apart."""
    return common_pb2.Refusal(reason=f"IBKR_{code}", field="order", value=str(code), rule="", message=text[:500])
