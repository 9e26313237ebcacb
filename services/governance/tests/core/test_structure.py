"""Structural checks: each refusal names the field, the value and the rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_governance.core import structure

Desk = Any


def decimal(units: int, scale: int = 0) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=scale)


LIMIT, MARKET, STOP = common_pb2.ORDER_TYPE_LIMIT, common_pb2.ORDER_TYPE_MARKET, common_pb2.ORDER_TYPE_STOP
FUTURE_NS = 2_000_000_000 * 1_000_000_000

CASES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"account": "NOPE"}, "account", "NOPE", "one of PAPER-1"),
    ({"venue": "binance"}, "venue", "binance", "paper"),
    ({"environment": common_pb2.ENVIRONMENT_LIVE}, "environment", "ENVIRONMENT_LIVE", "platform's own"),
    ({"environment": 0}, "environment", "ENVIRONMENT_UNSPECIFIED", "platform's own"),
    ({"instrument__symbol": "aapl"}, "instrument.symbol", "aapl", "upper case"),
    ({"instrument__currency": "EUR"}, "instrument.currency", "EUR", "USD"),
    ({"instrument__price_scale": 19}, "instrument.price_scale", "19", "0 to 18"),
    ({"instrument__qty_scale": -1}, "instrument.qty_scale", "-1", "0 to 18"),
    ({"instrument__tick_units": 0}, "instrument.tick_units", "0", "above 0"),
    ({"instrument__lot_units": -5}, "instrument.lot_units", "-5", "above 0"),
    ({"instrument__multiplier": 0}, "instrument.multiplier", "0", "above 0"),
    ({"side": 0}, "side", "SIDE_UNSPECIFIED", "BUY or SELL"),
    ({"side": 7}, "side", "7", "BUY or SELL"),
    ({"order_qty": None}, "order_qty", "", "is required"),
    ({"order_qty": decimal(0)}, "order_qty", "0", "above 0"),
    ({"order_qty": decimal(-100)}, "order_qty", "-100", "above 0"),
    ({"order_qty": decimal(15, 1)}, "order_qty", "1.5", "at most 0 decimals"),
    ({"order_qty": decimal(150), "instrument__lot_units": 100}, "order_qty", "150", "a multiple of the lot, 100"),
    ({"order_qty": decimal(1, 77)}, "order_qty", "1 at scale 77", "0 to 18"),
    ({"order_qty": decimal(2**62), "instrument__qty_scale": 2}, "order_qty", str(2**62), "64-bit"),
    ({"order_type": STOP}, "order_type", "ORDER_TYPE_STOP", "MARKET or LIMIT"),
    ({"order_type": 0}, "order_type", "ORDER_TYPE_UNSPECIFIED", "MARKET or LIMIT"),
    ({"time_in_force": common_pb2.TIME_IN_FORCE_GTD}, "time_in_force", "TIME_IN_FORCE_GTD", "DAY, GTC, IOC or FOK"),
    ({"leverage": 0}, "leverage", "0", "1 to 3"),
    ({"leverage": 4}, "leverage", "4", "1 to 3"),
    ({"price": None}, "price", "", "set for a limit order"),
    ({"order_type": MARKET}, "price", "100", "only for one"),
    ({"price": decimal(100005, 3)}, "price", "100.005", "a multiple of the tick, 0.0100"),
    ({"price": decimal(10000001, 5)}, "price", "100.00001", "at most 4 decimals"),
    ({"price": decimal(0)}, "price", "0", "above 0"),
    ({"stop_price": decimal(-95)}, "stop_price", "-95", "above 0"),
    ({"target_price": decimal(110001, 3)}, "target_price", "110.001", "a multiple of the tick"),
    ({"reference_price": None}, "reference_price", "", "is required"),
    ({"strategy": ""}, "strategy", "", "is required"),
    ({"strategy": "a b"}, "strategy", "a b", "A-Z a-z 0-9"),
    ({"proposer__id": ""}, "proposer.id", "", "is required"),
    ({"proposer__kind": "ghost"}, "proposer.kind", "ghost", "operator, service, strategy"),
    ({"anchor": None}, "anchor.hash", "", "is required"),
    ({"anchor__as_of_ns": 0}, "anchor.as_of_ns", "0", "a time that has been"),
    ({"anchor__as_of_ns": FUTURE_NS}, "anchor.as_of_ns", str(FUTURE_NS), "a time that has been"),
    ({"created_at_ns": FUTURE_NS, "expires_at_ns": FUTURE_NS + 1}, "created_at_ns", str(FUTURE_NS), "has been"),
    ({"expires_at_ns": 1}, "expires_at_ns", "1", "after created_at_ns"),
    ({"expires_at_ns": FUTURE_NS}, "expires_at_ns", str(FUTURE_NS), "at most"),
]


@pytest.mark.parametrize(("changes", "field", "value", "rule"), CASES)
def test_a_malformed_field_is_named_with_its_value_and_rule(
    desk: Desk, changes: dict[str, Any], field: str, value: str, rule: str
) -> None:
    intent = desk.intent(**changes)
    found = {finding.field: finding for finding in structure.findings(intent, desk.limits, now_ns=desk.now_ns)}
    assert field in found
    assert found[field].value == value
    assert rule in found[field].rule


def test_a_sound_intent_has_no_findings(desk: Desk) -> None:
    assert structure.findings(desk.intent(), desk.limits, now_ns=desk.now_ns) == []


def test_a_sound_market_order_has_no_findings(desk: Desk) -> None:
    intent = desk.intent(order_type=MARKET, price=None)
    assert structure.findings(intent, desk.limits, now_ns=desk.now_ns) == []


def test_an_empty_intent_is_refused_in_every_field_and_crashes_nothing(desk: Desk) -> None:
    from kestrel.intent.v1 import intent_pb2

    found = structure.findings(intent_pb2.Intent(), desk.limits, now_ns=desk.now_ns)
    assert {finding.field for finding in found} >= {
        "account",
        "environment",
        "side",
        "order_qty",
        "order_type",
        "anchor.hash",
    }


@pytest.mark.parametrize("legs", [[0], [10_001], [5000, 0, 5000], [1] * 9])
def test_exit_legs_that_the_kernel_could_not_keep_are_refused_by_name_K19(desk: Desk, legs: list[int]) -> None:
    intent = desk.intent()
    intent.exit_leg_bps.extend(legs)
    (finding,) = structure.findings(intent, desk.limits, now_ns=desk.now_ns)
    assert (finding.field, finding.value) == ("exit_leg_bps", str(legs))
    assert "at most 8 legs" in finding.rule


@pytest.mark.parametrize("legs", [[], [2500, 5000], [10_000] * 8])
def test_exit_legs_are_approved_with_the_intent_K19(desk: Desk, legs: list[int]) -> None:
    intent = desk.intent()
    intent.exit_leg_bps.extend(legs)
    assert not list(structure.findings(intent, desk.limits, now_ns=desk.now_ns))


@pytest.mark.parametrize(
    ("changes", "field", "value", "rule"),
    [
        ({"stop_price": None}, "stop_price", "", "is required for a bracket"),
        ({"stop_price": decimal(100)}, "stop_price", "100", "below price"),
        ({"target_price": decimal(99)}, "target_price", "99", "above price"),
        ({"side": common_pb2.SIDE_SELL, "stop_price": decimal(95)}, "stop_price", "95", "above price"),
        (
            {"order_type": MARKET, "price": None, "stop_price": decimal(101)},
            "stop_price",
            "101",
            "below reference_price",
        ),
    ],
)
def test_a_bracket_that_a_venue_could_not_hold_is_refused_by_field_value_and_rule_T01(
    desk: Desk, changes: dict[str, Any], field: str, value: str, rule: str
) -> None:
    sound = {"bracket": True, "stop_price": decimal(95), "target_price": decimal(110)}
    found = structure.findings(desk.intent(**{**sound, **changes}), desk.limits, now_ns=desk.now_ns)
    assert [(each.field, each.value) for each in found if rule in each.rule] == [(field, value)]


def test_a_bracket_leaves_in_no_legs_T01(desk: Desk) -> None:
    intent = desk.intent(bracket=True)
    intent.exit_leg_bps.extend([5000, 5000])
    assert [each.field for each in structure.findings(intent, desk.limits, now_ns=desk.now_ns)] == ["exit_leg_bps"]


def test_a_sound_bracket_is_approved_with_its_target_and_without_one_T01(desk: Desk) -> None:
    for target in (decimal(110), None):
        intent = desk.intent(bracket=True, stop_price=decimal(95), target_price=target)
        assert structure.findings(intent, desk.limits, now_ns=desk.now_ns) == []


def test_a_bracket_is_refused_where_the_venue_cannot_hold_one_T01(desk: Desk) -> None:
    rule = replace(desk.limits.accounts["PAPER-1"], brackets=False)
    limits = replace(desk.limits, accounts={"PAPER-1": rule})
    intent = desk.intent(bracket=True, stop_price=decimal(95))
    assert [each.field for each in structure.findings(intent, limits, now_ns=desk.now_ns)] == ["bracket"]
    assert limits.sha256 != desk.limits.sha256
