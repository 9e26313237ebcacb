"""``python -m kestrel_chassis.provision --config kestrel.yaml``: make the streams, once, before any service starts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from kestrel_chassis import settings as settings_module
from kestrel_chassis import streams, telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.errors import KestrelError

CONNECT_TIMEOUT_S = 30


class ProvisionSettings(ServiceSettings):
    """Only the common section counts: every service has to agree on the streams."""

    service: str = "provision"


async def run(settings: ServiceSettings) -> int:
    """Provision and say what was made. 0 if all is as wanted, 1 if not."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            bus = await Bus.connect(settings)
    except TimeoutError:
        print(f"provision: no NATS server at {settings.safe_nats_url}", file=sys.stderr)
        return 1
    try:
        made = await streams.provision(bus)
    except KestrelError as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    finally:
        await bus.close()
    print(f"provision: made {', '.join(made)}" if made else "provision: everything was there")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    settings = settings_module.load(ProvisionSettings, argv)
    telemetry.configure(settings, spans=False)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
