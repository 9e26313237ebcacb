"""Whatever a peer writes, the decoder's path ends in a message or in a reason, and never in an exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.ibkr.core import heard
from kestrel_venue_gateway.ibkr.core.contracts import ContractSeen
from kestrel_venue_gateway.ibkr.core.orders import OrderFacts
from kestrel_venue_gateway.ibkr.library import Link

from .conftest import ACCOUNT, LIBRARY

U = "1.7976931348623157E308"
_OPEN_ORDER = (
    "5|4|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|5.0|LMT|190.0|0.0|DAY||DU1234567|O|0|ks2|7|1900000001|0|0|0"
    "||||||||||||||-1|0|||||||0|0|0||3|0|0||0|0||0|None||0||||?|0|0||0|0||||||0|0|0|||||0||IB|0|0||0|0|Submitted"
    f"|{U}|{U}|{U}|{U}|{U}|{U}|{U}|{U}|{U}||||||0|0|0|None|{U}|{U}|{U}|{U}|{U}|{U}|0|||||0|0|0|0|||0|||||"
)
_SPOKEN = {
    "openOrder": _OPEN_ORDER,
    "orderStatus": "3|4|Submitted|0.0|5.0|0.0|1900000001|0|0.0|7||0.0",
    "execDetails": (
        "11|-1|3|265598|AAPL|STK||0.0|||NASDAQ|USD|AAPL|NMS|0000e0d5.00000002.01.01|20261121 02:53:50 Mars/Olympus"
        "|DU1234567|NASDAQ|BOT|6.0|200.55|1900000000|7|0|10.0|200.53|ks1||||2"
    ),
    "commissionReport": f"59|1|0000e0d5.00000002.01.01|1.0|USD|{U}|{U}|",
    "position": "61|3|DU1234567|265598|AAPL|STK||0.0|||NASDAQ|USD|AAPL|NMS|10|150.25",
    "error": "4|2|10|201|Order rejected - reason:INSUFFICIENT FUNDS|",
    "openOrderEnd": "53|1",
    "execDetailsEnd": "55|1|9",
    "updateAccountValue": "6|2|TotalCashValue|1000.0|USD|DU1234567",
}


class Ears:
    """Hears as a session does."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.unreadable: list[str] = []
        self.facts = OrderFacts(ACCOUNT, 7, KnownFacts())

    def on_bytes(self, data: bytes) -> None: ...

    def on_message(self, message: heard.OrderMessage) -> None:
        self.messages.append(message)
        self.facts.apply(message, now_ns=1)

    def on_position(self, position: heard.PositionSeen) -> None:
        self.messages.append(position)

    def on_account_value(self, value: heard.AccountValueSeen) -> None:
        self.messages.append(value)

    def on_contract(self, request_id: int, contract: ContractSeen) -> None: ...

    def on_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None: ...

    def on_end(self, question: str, request_id: int) -> None:
        self.messages.append((question, request_id))

    def on_unreadable(self, reason: str) -> None:
        self.unreadable.append(reason)

    def on_broken(self, reason: str) -> None: ...


class Wire:
    """A decoder with our tap behind it, as it is after the handshake."""

    def __init__(self) -> None:
        self.ears = Ears()
        self._link = Link(LIBRARY, self.ears, 7)  # type: ignore[arg-type]
        self._decoder = self._link._client.decoder
        self._decoder.serverVersion = 176

    def hear(self, *fields: str) -> Wire:
        self._decoder.interpret(list(fields))
        return self


@pytest.mark.parametrize("name", _SPOKEN)
async def test_what_a_gateway_says_is_heard_exactly(name: str) -> None:
    ears = Wire().hear(*_SPOKEN[name].split("|")).ears
    assert ears.unreadable == []
    assert len(ears.messages) == 1


async def test_execution_in_a_time_zone_that_nobody_knows_is_heard_without_its_time() -> None:
    (execution,) = Wire().hear(*_SPOKEN["execDetails"].split("|")).ears.messages
    assert execution.time_ns is None
    assert (execution.qty, execution.price) == (Number(6, 0), Number(20055, 2))


@pytest.mark.parametrize(
    "fields",
    [["11", "-1", "3"], ["9999", "1"], [], ["x"], ["3", "4", "Filled", "nan", "0", "0", "1", "0", "0", "7", ""]],
)
async def test_what_cannot_be_read_is_said_with_its_reason(fields: list[str]) -> None:
    ears = Wire().hear(*fields).ears
    assert len(ears.unreadable) == 1
    assert ears.messages == []


_FIELD = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "1", "nan", "inf", "1e400", U, "2147483647", "BUY", "Filled", "ks1", "\ufffd", "x" * 99]
    ),
    st.text(max_size=8),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*_SPOKEN]), st.integers(0, 140), _FIELD, st.integers(0, 3)), max_size=8))
async def test_no_spoiled_message_raises(spoils: list[tuple[str, int, str, int]]) -> None:
    """A field replaced, left out, or put in, anywhere in any message: a message, or a reason."""
    wire = Wire()
    for name, place, field, way in spoils:
        fields = _SPOKEN[name].split("|")
        place = 1 + place % len(fields)
        if way == 0:
            fields[place - 1 : place] = [field]
        elif way == 1:
            del fields[place - 1]
        elif way == 2:
            fields.insert(place, field)
        else:
            fields = fields[:place]
        before = len(wire.ears.messages) + len(wire.ears.unreadable)
        wire.hear(*fields)
        is_other = fields[:1] != _SPOKEN[name].split("|")[:1]
        assert is_other or len(wire.ears.messages) + len(wire.ears.unreadable) > before
