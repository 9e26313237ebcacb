"""The configuration file that `kestrel up` writes is one that every service accepts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from kestrel_chassis import settings
from kestrel_cli.platform.config import PlatformOptions, write_config
from kestrel_cli.platform.layout import Endpoints, Layout, ports_from
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice, VenueKind

SETTINGS = (
    ("kernel", "kestrel_kernel.config", "KernelSettings"),
    ("governance", "kestrel_governance.config", "Settings"),
    ("venue-gateway", "kestrel_venue_gateway.config", "VenueGatewaySettings"),
    ("reconciler", "kestrel_reconciler.config", "ReconcilerSettings"),
    ("persistence", "kestrel_persistence.config", "PersistenceSettings"),
    ("policy", "kestrel_policy.config", "PolicySettings"),
)


VENUES = (
    OUR_PAPER_VENUE,
    VenueChoice(VenueKind.TWS_SIM, "DU1234567", library="ib_async", symbols=("AAPL", "IBM:SMART:USD")),
    VenueChoice(VenueKind.IBKR, "DU1234567", host="10.0.0.5", port=7497),
)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.kind)
@pytest.mark.parametrize(("name", "module", "cls"), SETTINGS)
def test_each_service_accepts_its_section(tmp_path: Path, name: str, module: str, cls: str, venue: VenueChoice) -> None:
    layout = Layout(tmp_path)
    layout.create()
    options = PlatformOptions(overrides={"policy": {"leverage": 2}}, venue=venue)
    write_config(layout, Endpoints(ports_from(9000)), options)
    assert layout.config.stat().st_mode & 0o077 == 0
    parsed = settings.parse(getattr(import_module(module), cls), settings.read_file(layout.config), {})
    assert parsed.service == name
    assert parsed.admin_port == ports_from(9000)[name]
    assert parsed.nats_password
    if name == "policy":
        assert parsed.leverage == 2
