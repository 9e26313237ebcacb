"""Settings of persistence: section ``persistence:`` of the configuration file."""

from __future__ import annotations

from pydantic import Field

from kestrel_chassis.settings import ServiceSettings


class PersistenceSettings(ServiceSettings):
    """Names carry their units."""

    service: str = "persistence"
    dsn: str = "postgresql://postgres@127.0.0.1:7832/kestrel"
    """The database. It belongs to one set of streams: never point two platforms to one database."""
    batch_messages: int = Field(default=500, ge=1, le=10_000)
    """Most messages in one transaction."""
    batch_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Most bytes read ahead while catching up."""
    database_connections: int = Field(default=4, ge=2, le=64)
    database_alert_seconds: float = Field(default=10.0, ge=0, le=60)
    """An alert is raised when the database has been away for so long."""
    database_probe_seconds: float = Field(default=10.0, gt=0)
    """How often to ask whether the database lets others in; one that shuts down does not, and is let go."""
    checkpoint_seconds: float = Field(default=10.0, gt=0)
    """A checkpoint is signed this long after the first change since the one before ..."""
    checkpoint_batches: int = Field(default=1_000, ge=1)
    """... or after so many stored batches, whichever comes first."""
