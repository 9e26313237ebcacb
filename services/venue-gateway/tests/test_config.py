"""Settings are refused by key, value and rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kestrel_chassis.settings import SettingsInvalid, parse
from kestrel_domain.errors import InvalidRequest
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.service import read_token_key


def test_laptop_needs_no_settings() -> None:
    settings = parse(VenueGatewaySettings, {}, {})
    assert (settings.venue, settings.accounts, settings.paper_address) == ("paper", ["PAPER-1"], "127.0.0.1:7810")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("venue", "nyse"),
        ("accounts", []),
        ("accounts", ["PAPER 1"]),
        ("anchor_age_s_max", 0),
        ("request_timeout_s", -1),
        ("truth_interval_s", "often"),
        ("paper_adress", "127.0.0.1:1"),
    ],
)
def test_wrong_setting_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse(VenueGatewaySettings, {"venue-gateway": {key: value}}, {})
    assert f"venue-gateway.{key}" in str(refused.value)


def test_missing_key_of_governance_is_refused_by_its_file(tmp_path: Path) -> None:
    settings = parse(VenueGatewaySettings, {"venue-gateway": {"secrets_dir": str(tmp_path)}}, {})
    with pytest.raises(InvalidRequest, match=r"token-public\.pem"):
        read_token_key(settings)
