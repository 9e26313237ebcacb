"""A floor to trade on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from simulators.tests.tws.broker.floor import ACCOUNT, Floor, decimal


@pytest.fixture
def make_floor() -> Callable[..., Floor]:
    def make(*, commission_delay_ms: int = 0, mode: int = paper_pb2.MATCHING_MODE_INSTANT, seed: int = 7) -> Floor:
        floor = Floor()
        floor.control(tws_pb2.OpenAccountRequest(account=ACCOUNT, wallet=decimal("1000000.00"), currency="USD"))
        floor.control(
            tws_pb2.SetModeRequest(
                mode=mode, seed=seed, delay_scale_permille=1000, commission_delay_ms=commission_delay_ms
            )
        )
        floor.price("100.00")
        floor.connect()
        return floor

    return make


@pytest.fixture
def floor(make_floor: Callable[..., Floor]) -> Floor:
    """An instant broker, one stock at 100.00, client 7 connected; commission reports come at once."""
    return make_floor()
