"""The gateway's settings: section ``venue-gateway`` of the configuration file."""

from __future__ import annotations

from pydantic import Field, field_validator

from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.identifiers import checked_id


class VenueGatewaySettings(ServiceSettings):
    """One gateway process serves one venue, and one login (account) or several at it."""

    service: str = "venue-gateway"

    venue: str = "paper"
    accounts: list[str] = Field(default_factory=lambda: ["PAPER-1"], min_length=1)

    # Where the paper venue listens.
    paper_address: str = "127.0.0.1:7810"

    # The oldest state an entry may have been decided on, at the moment of use (T06), and how far clocks may differ.
    anchor_age_s_max: float = Field(default=900.0, gt=0)
    clock_skew_s_max: float = Field(default=5.0, ge=0)

    # How long one request to the venue, and one read of the kill flags, may take.
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    flags_timeout_s: float = Field(default=2.0, gt=0, le=30)

    # Truth is published this often, and this long after the venue's last event.
    truth_interval_s: float = Field(default=30.0, gt=0)
    truth_quiet_s: float = Field(default=0.25, gt=0)

    # Between two attempts at something that failed: the first pause and the longest; each is drawn with jitter.
    pause_s_min: float = Field(default=0.2, gt=0)
    pause_s_max: float = Field(default=30.0, gt=0)

    @field_validator("accounts")
    @classmethod
    def _accounts_are_ids(cls, accounts: list[str]) -> list[str]:
        return [checked_id("accounts", account) for account in accounts]

    @field_validator("venue")
    @classmethod
    def _venue_is_known(cls, venue: str) -> str:
        if venue != "paper":
            raise ValueError("this gateway speaks to the venue 'paper'")
        return venue
