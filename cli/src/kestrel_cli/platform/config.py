"""The one configuration file of a platform on one machine, written by `kestrel up` and read by every service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kestrel_cli.platform import servers
from kestrel_cli.platform.layout import HOST, SERVICES, Endpoints, Layout, write_whole
from kestrel_cli.platform.venues import CURRENCY, OUR_PAPER_VENUE, PAPER_ACCOUNT, VenueChoice

ACCOUNT = PAPER_ACCOUNT
VENUE = OUR_PAPER_VENUE.name
PRICE_SCALE = 4
MAX_SLOTS = 8

_PREFACE = """\
# Written by `kestrel up`; changes are overwritten at the next start. Passwords inside: keep it to yourself.
# `common` holds for every service; a service's own section goes before it.
"""


@dataclass(frozen=True, slots=True)
class VenueManners:
    """How well a simulated venue behaves (T15), and its seed."""

    mode: str = "realistic"
    seed: int = 1
    delay_scale_permille: int = 1000


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """What one platform is told apart from where it lives. ``overrides``: by section, then by key."""

    manners: VenueManners = VenueManners()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    venue: VenueChoice = OUR_PAPER_VENUE


def write_config(layout: Layout, endpoints: Endpoints, options: PlatformOptions) -> None:
    config = configuration(layout, endpoints, options.venue)
    for section, values in options.overrides.items():
        config.setdefault(section, {}).update(values)
    write_whole(layout.config, _PREFACE + yaml.safe_dump(config, sort_keys=False))


def configuration(
    layout: Layout, endpoints: Endpoints, venue: VenueChoice = OUR_PAPER_VENUE
) -> dict[str, dict[str, Any]]:
    """The sections, as plain values. What is not said here is each service's own default."""
    account = {"account": venue.account, "venue": venue.name, "currency": CURRENCY}
    own: dict[str, dict[str, Any]] = {
        "kernel": {
            "accounts": [
                {
                    **account,
                    **venue.kernel_settings(),
                    "max_slots": MAX_SLOTS,
                    "leverage_cap": 5,
                }
            ]
        },
        "governance": {"accounts": [account]},
        "venue-gateway": venue.gateway_settings(endpoints),
        "persistence": {"dsn": servers.database_url(layout, endpoints)},
        "policy": {"venue": venue.name, "accounts": [venue.account]},
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


def environment_of(layout: Layout) -> str:
    """``paper`` or ``live``, as the services of this directory were told; empty when that cannot be read.

    A service's own section may say otherwise than the common one: then both are named, since neither is certain.
    """
    try:
        config = yaml.safe_load(layout.config.read_text())
        common = config["common"]["environment"]
        said = {str(config.get(name, {}).get("environment", common)) for name in SERVICES}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return ""
    return "/".join(sorted(said))
