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
        ("ibkr_library", "ibapi"),
        ("ibkr_port", 0),
        ("ibkr_client_id", 0),
        ("ibkr_messages_per_s_max", 51),
        ("fee_wait_s", 0),
    ],
)
def test_wrong_setting_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse(VenueGatewaySettings, {"venue-gateway": {key: value}}, {})
    assert f"venue-gateway.{key}" in str(refused.value)


def test_interactive_brokers_is_spoken_to_at_its_usual_address_for_paper() -> None:
    settings = parse(VenueGatewaySettings, {"venue-gateway": {"venue": "ibkr", "accounts": ["DU1234567"]}}, {})
    assert (settings.ibkr_host, settings.ibkr_port) == ("127.0.0.1", 4002)
    assert settings.ibkr_client_id != settings.ibkr_data_client_id
    assert (settings.ibkr_library, settings.live_confirmation) == ("ib_insync", "")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"accounts": ["DU1", "DU2"]}, "accounts"),
        ({"ibkr_client_id": 5, "ibkr_data_client_id": 5}, "ibkr_data_client_id"),
    ],
)
def test_two_sessions_under_one_client_id_are_refused(section: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsInvalid, match=key):
        parse(VenueGatewaySettings, {"venue-gateway": {"venue": "ibkr", **section}}, {})
    parse(VenueGatewaySettings, {"venue-gateway": section}, {})


def test_missing_key_of_governance_is_refused_by_its_file(tmp_path: Path) -> None:
    settings = parse(VenueGatewaySettings, {"venue-gateway": {"secrets_dir": str(tmp_path)}}, {})
    with pytest.raises(InvalidRequest, match=r"token-public\.pem"):
        read_token_key(settings)
