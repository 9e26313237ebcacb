"""The kernel service's settings: the ``kernel`` section of the file, over ``common``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_chassis.journal import BATCH_ENTRIES_MAX
from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.identifiers import checked_id, partition_of
from kestrel_domain.numbers import Number
from kestrel_kernel.core.scaling import AMOUNT_SCALE, RATE_SCALE


class AccountSettings(BaseModel):
    """One account this kernel keeps the books of. Amounts are text, so that no float comes near them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: str
    venue: str
    currency: str = Field(default="USD", pattern=r"^[A-Z0-9]{3,12}$")
    max_slots: int = Field(default=1, ge=1, le=256)
    seed_wallet: str = ""
    maker_fee_rate: str = "0"
    taker_fee_rate: str = "0"
    ledger_warning_tolerance: str = "0.01"
    ledger_error_tolerance: str = "1.00"
    settlement_tolerance: str = "0.01"
    leverage_cap: int = Field(default=1, ge=1, le=125)
    submitted_ttl_s: int = Field(default=60, ge=1, le=86_400)
    funding_interval_s: int = Field(default=0, ge=0, le=7 * 86_400)
    """Funding is paid at the multiples of this since the epoch, as perpetuals do every 28,800 s; 0: never."""

    @field_validator("account", "venue")
    @classmethod
    def _identifies(cls, value: str) -> str:
        return checked_id("account or venue", value)

    @field_validator("maker_fee_rate", "taker_fee_rate")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if abs(Number.parse(value, scale=RATE_SCALE, field="fee rate")) > Number(1, 1):
            raise ValueError("a fee rate is a fraction of notional, within -0.1 and 0.1; 0.0005 is 5 basis points")
        return value

    @field_validator("seed_wallet", "ledger_warning_tolerance", "ledger_error_tolerance", "settlement_tolerance")
    @classmethod
    def _is_an_amount(cls, value: str) -> str:
        if value and Number.parse(value, scale=AMOUNT_SCALE, field="amount") < Number.zero():
            raise ValueError("an amount here is zero or more")
        return value

    @model_validator(mode="after")
    def _warns_before_it_errs(self) -> AccountSettings:
        if Number.parse(self.ledger_warning_tolerance) > Number.parse(self.ledger_error_tolerance):
            raise ValueError("ledger_warning_tolerance must not exceed ledger_error_tolerance")
        return self

    def configuration(self, environment: Literal["paper", "live"]) -> state_pb2.AccountConfiguration:
        """The same as the contract message that travels in the journal."""
        configuration = state_pb2.AccountConfiguration(
            account=self.account,
            venue=self.venue,
            currency=self.currency,
            environment=common_pb2.ENVIRONMENT_LIVE if environment == "live" else common_pb2.ENVIRONMENT_PAPER,
            max_slots=self.max_slots,
            maker_fee_rate=Number.parse(self.maker_fee_rate, scale=RATE_SCALE).message(),
            taker_fee_rate=Number.parse(self.taker_fee_rate, scale=RATE_SCALE).message(),
            ledger_warning_tolerance=Number.parse(self.ledger_warning_tolerance, scale=AMOUNT_SCALE).message(),
            ledger_error_tolerance=Number.parse(self.ledger_error_tolerance, scale=AMOUNT_SCALE).message(),
            settlement_tolerance=Number.parse(self.settlement_tolerance, scale=AMOUNT_SCALE).message(),
            leverage_cap=self.leverage_cap,
            submitted_ttl_ns=self.submitted_ttl_s * 1_000_000_000,
            funding_interval_ns=self.funding_interval_s * 1_000_000_000,
        )
        if self.seed_wallet:
            configuration.seed_wallet.CopyFrom(Number.parse(self.seed_wallet, scale=AMOUNT_SCALE).message())
        return configuration


def _default_accounts() -> tuple[AccountSettings, ...]:
    """The laptop's one paper account."""
    return (AccountSettings(account="PAPER-1", venue="paper", max_slots=8, seed_wallet="1000000.00", leverage_cap=5),)


class KernelSettings(ServiceSettings):
    """Everything the kernel service can be told from outside."""

    service: str = "kernel"
    accounts: tuple[AccountSettings, ...] = Field(default_factory=_default_accounts)
    snapshot_every_entries: int = Field(2_000, ge=1)
    batch_size: int = Field(default=BATCH_ENTRIES_MAX, ge=1, le=BATCH_ENTRIES_MAX)

    @field_validator("accounts")
    @classmethod
    def _names_each_account_once(cls, value: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
        names = [account.account for account in value]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"accounts named more than once: {', '.join(repeated)}")
        return value

    def configurations(self, partition: int) -> list[state_pb2.AccountConfiguration]:
        """The accounts that belong to one partition, by name."""
        return [
            account.configuration(self.environment)
            for account in sorted(self.accounts, key=lambda each: each.account)
            if partition_of(account.account, self.partitions) == partition
        ]
