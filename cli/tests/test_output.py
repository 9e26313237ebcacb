"""What people read, and what machines read."""

from __future__ import annotations

import pytest

from kestrel.admin.v1 import status_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_cli import output
from kestrel_domain.numbers import Number


def test_json_keeps_every_digit_as_text() -> None:
    intent = intent_pb2.Intent(
        intent_id="i1",
        side=common_pb2.SIDE_BUY,
        order_qty=common_pb2.Decimal(units=9_007_199_254_740_993, scale=0),
        created_at_ns=1_700_000_000_000_000_001,
    )
    plain = output.plain(intent)
    assert plain["order_qty"] == "9007199254740993"
    assert plain["created_at_ns"] == "1700000000000000001"
    assert plain["side"] == "BUY"
    assert plain["price"] is None
    assert plain["order_type"] == "-"


def test_json_of_a_map_and_of_bytes() -> None:
    answer = status_pb2.GetStatusResponse(service="kernel", figures={"lag": 3}, reasons=["a"])
    assert output.plain(answer)["figures"] == {"lag": "3"}
    assert output.plain(answer)["reasons"] == ["a"]
    assert output.plain(b"\x01\xff") == "01ff"


@pytest.mark.parametrize(
    ("number", "text"), [(Number(123456789, 2), "1,234,567.89"), (Number(-5, 0), "-5"), (Number(-1, 1), "-0.1")]
)
def test_numbers_are_grouped(number: Number, text: str) -> None:
    assert output.grouped(number) == text


def test_an_unset_number_is_a_dash_and_a_signed_one_has_its_color() -> None:
    slot = state_pb2.SlotSnapshot(realized_pnl=common_pb2.Decimal(units=-150, scale=2))
    assert "-" in output.number(slot, "mark")
    assert output.number(slot, "realized_pnl", signed=True) == "[red]-1.50[/]"


@pytest.mark.parametrize(
    ("elapsed_ns", "text"),
    [
        (850_000, "850 µs"),
        (12_300_000, "12.3 ms"),
        (3_400_000_000, "3.4 s"),
        (42_000_000_000, "42 s"),
        (190_000_000_000, "3 min"),
        (7_300_000_000_000, "2 h"),
    ],
)
def test_durations_have_one_unit(elapsed_ns: int, text: str) -> None:
    assert output.duration(elapsed_ns) == text


def test_an_enumeration_number_we_do_not_know_is_shown_as_it_is() -> None:
    assert output.enum_name(common_pb2.Side, 99) == "99"
    assert output.enum_name(state_pb2.SlotStage, state_pb2.SLOT_STAGE_POSITION_OPEN) == "POSITION_OPEN"


def test_a_short_id_is_a_beginning_that_commands_take() -> None:
    assert output.short_id("abcdefghijklmnop") == "abcdefghij…"
    assert output.short_id("abc") == "abc"
