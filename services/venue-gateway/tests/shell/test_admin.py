"""What operators see of a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kestrel.admin.v1 import venue_gateway_pb2
from kestrel.common.v1 import common_pb2
from kestrel_venue_gateway.core.traits import VenueState
from kestrel_venue_gateway.shell.admin import VenueGatewayServicer
from kestrel_venue_gateway.shell.submissions import Figures

CUT = common_pb2.Refusal(reason="IBKR_CUT_OFF", message="TWS has lost its servers")


async def shown(state: VenueState) -> venue_gateway_pb2.VenueSession:
    session: Any = SimpleNamespace(
        venue=SimpleNamespace(name="ibkr", state=state),
        account="DU1",
        connected=True,
        connected_at_ns=7,
        figures=Figures(),
        report_count=0,
    )
    servicer, context = VenueGatewayServicer("paper", [session]), Any
    response = await servicer.ListSessions(venue_gateway_pb2.ListSessionsRequest(), context)  # type: ignore[arg-type]
    return response.sessions[0]


@pytest.mark.parametrize("state", [VenueState(degraded=CUT), VenueState(cut_off=CUT)])
async def test_session_that_takes_no_entries_says_why_though_it_is_connected(state: VenueState) -> None:
    session = await shown(state)
    assert session.connected
    assert session.degraded == CUT


async def test_session_that_takes_entries_gives_no_reason() -> None:
    assert not (await shown(VenueState())).HasField("degraded")
