"""The one configuration file of a platform on one machine, written by `kestrel up` and read by every service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import HOST, PAPER_VENUE, SERVICES, Endpoints, Layout, write_whole

ACCOUNT = "PAPER-1"
VENUE = "paper"
CURRENCY = "USD"
WALLET = "1000000.00"
PRICE_SCALE = 4
MAX_SLOTS = 8
_TAKER_FEE_RATE, _MAKER_FEE_RATE = "0.0005", "0.0002"
"""What the paper venue charges, so that the kernel predicts it: 5 and 2 basis points."""

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


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """What one platform is told apart from where it lives. ``overrides``: by section, then by key."""

    manners: VenueManners = VenueManners()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_config(layout: Layout, endpoints: Endpoints, options: PlatformOptions) -> None:
    config = configuration(layout, endpoints)
    for section, values in options.overrides.items():
        config.setdefault(section, {}).update(values)
    write_whole(layout.config, _PREFACE + yaml.safe_dump(config, sort_keys=False))


def configuration(layout: Layout, endpoints: Endpoints) -> dict[str, dict[str, Any]]:
    """The sections, as plain values. What is not said here is each service's own default."""
    account = {"account": ACCOUNT, "venue": VENUE, "currency": CURRENCY}
    own: dict[str, dict[str, Any]] = {
        "kernel": {
            "accounts": [
                {
                    **account,
                    "max_slots": MAX_SLOTS,
                    "seed_wallet": WALLET,
                    "taker_fee_rate": _TAKER_FEE_RATE,
                    "maker_fee_rate": _MAKER_FEE_RATE,
                    "leverage_cap": 5,
                }
            ]
        },
        "governance": {"accounts": [account]},
        "venue-gateway": {
            "venue": VENUE,
            "accounts": [ACCOUNT],
            "paper_address": endpoints.address(PAPER_VENUE),
        },
        "persistence": {"dsn": servers.database_url(layout, endpoints)},
        "policy": {"venue": VENUE, "accounts": [ACCOUNT]},
    }
    common = {
        "environment": "paper",
        "nats_url": endpoints.nats_url,
        "nats_user": servers.NATS_USER,
        "nats_password": servers.password(layout, "nats"),
        "replicas": 1,
        "partitions": 1,
        "admin_host": HOST,
        "secrets_dir": str(layout.secrets),
        "data_dir": str(layout.services),
    }
    return {
        "common": common,
        **{name: {"admin_port": endpoints.ports[name], **own.get(name, {})} for name in SERVICES},
    }
