"""A gateway that is told to trade real money starts only when somebody said so, letter by letter."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel_chassis.settings import SettingsInvalid, parse
from kestrel_domain.live_gate import CONFIRMATION
from kestrel_venue_gateway.config import VenueGatewaySettings

ACCOUNT = "U1234567"
PHRASE = CONFIRMATION.format(account=ACCOUNT)


def _settings(**changes: Any) -> VenueGatewaySettings:
    section = {"venue": "ibkr", "accounts": [ACCOUNT], "environment": "live", "live_confirmation": PHRASE, **changes}
    return parse(VenueGatewaySettings, {"venue-gateway": section}, {})


@pytest.mark.parametrize("phrase", ["", "yes", "true", PHRASE.lower(), PHRASE + ".", CONFIRMATION.format(account="U7")])
def test_a_live_gateway_does_not_start_on_anything_but_the_phrase_C10(phrase: str) -> None:
    with pytest.raises(SettingsInvalid, match="live_confirmation: exactly: I trade real money on account U1234567"):
        _settings(live_confirmation=phrase)


@pytest.mark.parametrize("phrase", [True, 1, [PHRASE]])
def test_what_is_no_text_is_no_phrase_C10(phrase: Any) -> None:
    with pytest.raises(SettingsInvalid):
        _settings(live_confirmation=phrase)


def test_the_phrase_lets_a_live_gateway_start_and_a_paper_one_needs_none_C10() -> None:
    assert _settings().environment == "live"
    assert _settings(environment="paper", live_confirmation="yes", accounts=["DU1"]).environment == "paper"


def test_the_paper_venue_is_never_live_C10() -> None:
    with pytest.raises(SettingsInvalid, match="moves no real money"):
        _settings(venue="paper", accounts=["PAPER-1"], live_confirmation=CONFIRMATION.format(account="PAPER-1"))
