"""The command's own connection to a platform's NATS server: to make the streams, and to read them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kestrel_cli.platform.layout import Layout

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

_CONNECT_TIMEOUT_S = 10.0


@asynccontextmanager
async def connected_bus(layout: Layout) -> AsyncIterator[Bus]:
    """A connection by the platform's own configuration file."""
    from kestrel_chassis import settings
    from kestrel_chassis.bus import Bus

    class CommandSettings(settings.ServiceSettings):
        """Only the common section counts."""

        service: str = "cli"

    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        bus = await Bus.connect(settings.parse(CommandSettings, settings.read_file(layout.config), {}))
    try:
        yield bus
    finally:
        await bus.close()


async def provision_streams(layout: Layout) -> None:
    """Make the streams and buckets, or see that they are as the code says."""
    from kestrel_chassis import streams

    async with connected_bus(layout) as bus:
        await streams.provision(bus)


def quiet_libraries() -> None:
    """Log lines of the libraries would break tables and pictures; what matters is raised or shown by us."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("nats").setLevel(logging.CRITICAL)
