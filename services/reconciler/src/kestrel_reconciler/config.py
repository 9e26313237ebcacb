"""Settings of the reconciler: section ``reconciler:`` of the configuration file."""

from __future__ import annotations

from pydantic import Field, field_validator

from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_reconciler.core.comparison import Tolerances
from kestrel_reconciler.core.reconciliation import Rules


class ReconcilerSettings(ServiceSettings):
    """Names carry their units."""

    service: str = "reconciler"
    period_seconds: float = Field(default=300.0, ge=5, le=3600)
    """A comparison at least this often, whatever happens or does not."""
    confirm_after_seconds: float = Field(default=2.0, ge=0, le=30)
    """A difference is a break when a truth taken this much later still shows it, and nothing was under way."""
    confirm_at_last_seconds: float = Field(default=20.0, ge=1, le=60)
    """A difference in every truth for this long is a break whatever else happens."""
    stale_after_seconds: float = Field(default=600.0, ge=1)
    """A truth older than this proves nothing."""
    escalate_after_seconds: float = Field(default=900.0, ge=1)
    truth_patience_seconds: float = Field(default=5.0, ge=0.1, le=30)
    """How long to wait for a truth that was asked for."""
    runs_between_beads: int = Field(default=20, ge=1)
    """A run that says nothing new is recorded once in so many."""
    balance_tolerance: str = "0.01"
    average_price_tolerance_ticks: int = Field(default=1, ge=0)

    @field_validator("balance_tolerance")
    @classmethod
    def _is_a_number(cls, value: str) -> str:
        try:
            return str(abs(Number.parse(value)))
        except InvalidRequest as error:
            raise ValueError(str(error)) from error

    def rules(self) -> Rules:
        """As the core uses them."""
        return Rules(
            service=self.service,
            confirm_after_ns=int(self.confirm_after_seconds * SECOND_NS),
            confirm_at_last_ns=int(self.confirm_at_last_seconds * SECOND_NS),
            stale_after_ns=int(self.stale_after_seconds * SECOND_NS),
            escalate_after_ns=int(self.escalate_after_seconds * SECOND_NS),
            period_ns=int(self.period_seconds * SECOND_NS),
            patience_ns=int(self.truth_patience_seconds * SECOND_NS),
            runs_between_beads=self.runs_between_beads,
            tolerances=Tolerances(Number.parse(self.balance_tolerance), self.average_price_tolerance_ticks),
        )
