"""Settings: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_chassis.settings import SettingsInvalid, parse
from kestrel_policy.config import PolicySettings
from kestrel_policy.core.parameters import Momentum, Plan, Sizing


def test_the_defaults_are_the_laptops() -> None:
    (plan,) = parse(PolicySettings, {}, {}).plans()
    assert plan == Plan()
    assert (plan.momentum, plan.sizing) == (Momentum(), Sizing())


def test_every_account_gets_a_plan_of_the_settings() -> None:
    section = {
        "accounts": ["A", "B", "A"],
        "symbols": ["AAPL"],
        "environment": "live",
        "momentum": {"long_only": True, "stop_range_multiple": "2.5"},
        "intent_lifetime_s": 60,
    }
    plans = parse(PolicySettings, {"policy": section}, {}).plans()
    assert [plan.account for plan in plans] == ["A", "B"]
    assert plans[0].environment == common_pb2.ENVIRONMENT_LIVE
    assert plans[0].momentum.stop_range_permille == 2500
    assert plans[0].momentum.long_only
    assert plans[0].intent_lifetime_ns == 60_000_000_000
    assert plans[0].trades("AAPL")
    assert not plans[0].trades("IBM")


@pytest.mark.parametrize(
    "section,word",
    [
        ({"momentum": {"fast_days": 60}}, "fast_days"),
        ({"momentum": {"exit_score": 1.0}}, "exit_score"),
        ({"momentum": {"stop_range_multiple": "0"}}, "stop_range_multiple"),
        ({"momentum": {"stop_range_multiple": "much"}}, "stop_range_multiple"),
        ({"momentum": {"target_range_multiple": "-1"}}, "target_range_multiple"),
        ({"momentum": {"speed": 1}}, "speed"),
        ({"sizing": {"risk_per_trade_bps": 0}}, "risk_per_trade_bps"),
        ({"accounts": []}, "accounts"),
        ({"accounts": ["a b"]}, "accounts"),
        ({"symbols": ["aapl"]}, "symbols"),
        ({"strategy": "manual"}, "manual_strategies"),
        ({"leverage": 0}, "leverage"),
    ],
)
def test_a_bad_setting_is_refused_by_key(section: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsInvalid, match=word):
        parse(PolicySettings, {"policy": section}, {})
