"""Governance's settings: those of every service, the accounts, and the one risk configuration (C01)."""

from __future__ import annotations

from pydantic import model_validator

from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.errors import InvalidRequest
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.risk_settings import LAPTOP_ACCOUNTS, AccountSettings, RiskSettings


class Settings(ServiceSettings):
    """Section `governance`. A configuration that makes no sense is refused before anything starts."""

    service: str = "governance"
    accounts: tuple[AccountSettings, ...] = LAPTOP_ACCOUNTS
    risk: RiskSettings = RiskSettings()

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Settings:
        try:
            self.limits()
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        return self

    def limits(self) -> RiskLimits:
        """The checked limits."""
        return self.risk.limits(self.environment_value, self.accounts)
