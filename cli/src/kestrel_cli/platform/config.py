"""The one configuration file of a platform on one machine, written by `kestrel up` and read by every service."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import HOST, SERVICES, Endpoints, Layout, write_whole

ACCOUNT = "PAPER-1"
VENUE = "paper"
CURRENCY = "USD"
WALLET = "1000000.00"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
PRICE_SCALE = 4

_PREFACE = """\
# Written by `kestrel up`; changes are overwritten at the next start. Passwords inside: keep it to yourself.
# `common` holds for every service; a service's own section goes before it.
"""


@dataclass(frozen=True, slots=True)
class VenueManners:
    """How well the paper venue behaves (T15), and its seed."""

    mode: str = "realistic"
    seed: int = 1
    delay_scale_permille: int = 1000


def write_config(layout: Layout, endpoints: Endpoints, manners: VenueManners) -> None:
    write_whole(layout.config, _PREFACE + yaml.safe_dump(configuration(layout, endpoints, manners), sort_keys=False))


def configuration(layout: Layout, endpoints: Endpoints, manners: VenueManners) -> dict[str, dict[str, object]]:
    """The sections, as plain values."""
    config: dict[str, dict[str, object]] = {
        "common": {
            "environment": "paper",
            "nats_url": endpoints.nats_url,
            "nats_user": servers.NATS_USER,
            "nats_password": servers.password(layout, "nats"),
            "replicas": 1,
            "partitions": 1,
            "admin_host": HOST,
            "secrets_dir": str(layout.secrets),
            "data_dir": str(layout.services),
        },
        **{name: {"admin_port": endpoints.ports[name]} for name in SERVICES},
    }
    config["persistence"]["database_url"] = servers.database_url(layout, endpoints)
    return config
