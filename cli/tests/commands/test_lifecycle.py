"""What `kestrel status` says of the gateway's sessions."""

from __future__ import annotations

import pytest

from kestrel.admin.v1 import venue_gateway_pb2
from kestrel.common.v1 import common_pb2
from kestrel_cli.commands import lifecycle

WHY = common_pb2.Refusal(reason="IBKR_NOT_RECONCILED", message="what happened while nobody listened is asked")


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (venue_gateway_pb2.VenueSession(account="DU1", connected=True), "DU1 [green]connected[/]"),
        (venue_gateway_pb2.VenueSession(account="DU1", degraded=WHY), "DU1 [red]not connected[/]"),
        (
            venue_gateway_pb2.VenueSession(account="DU1", connected=True, degraded=WHY),
            f"DU1 [yellow]connected, takes no entries: {WHY.message}[/]",
        ),
    ],
)
def test_venue_line_says_whether_a_session_takes_entries(
    session: venue_gateway_pb2.VenueSession, expected: str
) -> None:
    assert expected in lifecycle._venue_line(None, [session])
