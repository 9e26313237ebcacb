"""The gateway's settings: section ``venue-gateway`` of the configuration file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from kestrel_chassis.settings import ServiceSettings
from kestrel_domain import live_gate
from kestrel_domain.identifiers import checked_id


class VenueGatewaySettings(ServiceSettings):
    """One gateway process serves one venue, and one login (account) or several at it."""

    service: str = "venue-gateway"

    venue: Literal["paper", "ibkr"] = "paper"
    accounts: list[str] = Field(default_factory=lambda: ["PAPER-1"], min_length=1)

    # Where the paper venue listens.
    paper_address: str = "127.0.0.1:7810"

    # Where TWS or IB Gateway listens. The data client has a connection of its own, so that no cancel queues behind
    # prices; both ids belong to this gateway alone, and the same ones for ever: only who placed an order may cancel it.
    ibkr_host: str = "127.0.0.1"
    ibkr_port: int = Field(default=4002, ge=1, le=65535)
    ibkr_client_id: int = Field(default=71, ge=1, le=2**31 - 1)
    ibkr_data_client_id: int = Field(default=72, ge=1, le=2**31 - 1)
    ibkr_library: Literal["ib_insync", "ib_async"] = "ib_insync"

    # How long connecting may take; how often the connection is asked for a sign of life.
    ibkr_connect_timeout_s: float = Field(default=10.0, gt=0, le=60)
    ibkr_heartbeat_s: float = Field(default=5.0, gt=0, le=60)

    # All messages of both connections together; the venue cuts off who sends more than 50.
    ibkr_messages_per_s_max: int = Field(default=40, ge=1, le=50)

    # How long an id has to be nowhere to be found before that is worth telling. It is a proof of nothing.
    ibkr_absence_grace_s: float = Field(default=10.0, gt=0, le=60)

    # What to look up at the start and to take bars of, as SYMBOL, or SYMBOL:EXCHANGE:CURRENCY.
    ibkr_symbols: list[str] = Field(default_factory=list)

    # How long a bar is that is made of their prices. Its times are the clock's: a day is one of UTC.
    ibkr_bar_interval_s: float = Field(default=5.0, ge=0.1, le=86_400)

    # A live account is refused unless this names it, letter by letter.
    live_confirmation: str = ""

    # The oldest state an entry may have been decided on, at the moment of use (T06), and how far clocks may differ.
    anchor_age_s_max: float = Field(default=900.0, gt=0)
    clock_skew_s_max: float = Field(default=5.0, ge=0)

    # How long one request to the venue, and one read of the kill flags, may take.
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    flags_timeout_s: float = Field(default=2.0, gt=0, le=30)

    # Truth is published this often, and this long after the venue's last event.
    truth_interval_s: float = Field(default=30.0, gt=0)
    truth_quiet_s: float = Field(default=0.25, gt=0)

    # How long a fill may wait for the venue's word on what it cost before somebody is told.
    fee_wait_s: float = Field(default=60.0, gt=0)

    # Between two attempts at something that failed: the first pause and the longest; each is drawn with jitter.
    pause_s_min: float = Field(default=0.2, gt=0)
    pause_s_max: float = Field(default=30.0, gt=0)

    @field_validator("accounts")
    @classmethod
    def _accounts_are_ids(cls, accounts: list[str]) -> list[str]:
        return [checked_id("accounts", account) for account in accounts]

    @model_validator(mode="after")
    def _login_at_interactive_brokers_is_undivided(self) -> Self:
        """Client ids are the connection's, so two accounts in one process would throw each other out."""
        if self.venue != "ibkr":
            return self
        if len(self.accounts) > 1:
            raise ValueError(
                "accounts: a gateway to Interactive Brokers serves one account, with client ids of its own"
            )
        if self.ibkr_client_id == self.ibkr_data_client_id:
            raise ValueError("ibkr_data_client_id: the connection for data has a client id of its own")
        return self

    @model_validator(mode="after")
    def _real_money_is_meant(self) -> Self:
        """A live gateway does not even start without the exact phrase (C10); each connection asks the whole gate."""
        if self.environment != "live":
            return self
        if self.venue == "paper":
            raise ValueError("environment: the paper venue moves no real money, so it is never 'live'")
        for account in self.accounts:
            if not live_gate.is_confirmed(self.live_confirmation, account):
                raise ValueError(f"live_confirmation: exactly: {live_gate.CONFIRMATION.format(account=account)}")
        return self
