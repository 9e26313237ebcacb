"""The risk configuration: refused at start when any part of it makes no sense (C01)."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_chassis.settings import SettingsInvalid, parse
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_governance.config import Settings
from kestrel_governance.risk_settings import LAPTOP_ACCOUNTS, RiskSettings


def settings(risk: dict[str, Any], **section: Any) -> Settings:
    return parse(Settings, {"governance": {"risk": risk, **section}}, {})


def test_the_defaults_are_sound_on_paper_C01() -> None:
    limits = settings({}).limits()
    assert limits.order_notional_max == Number.parse("200000")
    assert list(limits.accounts) == ["PAPER-1"]


@pytest.mark.parametrize(
    ("risk", "key", "rule"),
    [
        ({"order_qty_min": "0"}, "risk.order_qty_min", "above 0"),
        ({"order_qty_min": "10", "order_qty_max": "5"}, "risk.order_qty_min", "at most order_qty_max"),
        ({"order_notional_max": "-1"}, "risk.order_notional_max", "above 0"),
        ({"order_notional_max": 0.5}, "risk.order_notional_max", "in quotes"),
        ({"order_notional_max": True}, "risk.order_notional_max", "in quotes"),
        ({"order_notional_max": "1e5"}, "risk.order_notional_max", "plain decimal"),
        ({"order_notional_ratio_max": "0.95"}, "risk.order_notional_ratio_max", "at most total exposure"),
        ({"symbol_exposure_ratio_max": "0.95"}, "risk.symbol_exposure_ratio_max", "at most total exposure"),
        ({"risk_per_trade_ratio_max": "0.95"}, "risk.risk_per_trade_ratio_max", "at most total exposure"),
        ({"total_exposure_ratio_max": "2.5"}, "risk.total_exposure_ratio_max", "at most leverage_max"),
        ({"price_collar_ratio_max": "1.5"}, "risk.price_collar_ratio_max", "at most 1"),
        ({"warn_ratio": "0"}, "risk.warn_ratio", "above 0"),
        ({"buying_power_buffer_ratio": "1"}, "risk.buying_power_buffer_ratio", "below 1"),
        ({"open_position_count_max": 0}, "risk.open_position_count_max", "above 0"),
        ({"duplicate_window_ms": -1}, "risk.duplicate_window_ns", "0 or more"),
        ({"anchor_age_s_max": 0}, "risk.anchor_age_ns_max", "above 0"),
        ({"max_yolo": "1"}, "governance.risk.max_yolo", "not a setting"),
    ],
)
def test_a_malformed_limit_is_refused_with_key_and_rule_C01(risk: dict[str, Any], key: str, rule: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        settings(risk)
    assert key in str(caught.value)
    assert rule in str(caught.value)


def test_accounts_are_named_once_and_at_least_one_is() -> None:
    one = {"account": "A", "venue": "paper", "currency": "USD"}
    with pytest.raises(SettingsInvalid, match="each account once"):
        settings({}, accounts=[one, one])
    with pytest.raises(SettingsInvalid, match="at least one account"):
        settings({}, accounts=[])


def test_where_real_money_moves_every_limit_has_to_be_stated_and_stops_are_mandatory_C02() -> None:
    with pytest.raises(SettingsInvalid, match="every limit has to be stated"):
        settings({"order_qty_min": "1"}, environment="live")
    stated = RiskSettings().model_dump()
    assert settings(stated, environment="live").limits().environment == common_pb2.ENVIRONMENT_LIVE
    with pytest.raises(SettingsInvalid, match="stop_required"):
        settings(stated | {"stop_required": False}, environment="live")
    assert not settings({"stop_required": False}).limits().stop_required


def test_another_limit_is_another_configuration() -> None:
    first, second = settings({}).limits(), settings({"order_qty_max": "999"}).limits()
    assert first.sha256 == settings({}).limits().sha256
    assert first.sha256 != second.sha256


def test_without_an_environment_nothing_is_configured() -> None:
    with pytest.raises(InvalidRequest, match="paper or live"):
        RiskSettings().limits(common_pb2.ENVIRONMENT_UNSPECIFIED, LAPTOP_ACCOUNTS)
