"""The back doors of simulated venues: publish a bar, move a position, read the venue's own ledger.

Both simulators have the same three calls, each in its own contract. A real venue has no back door.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel.tws.v1 import tws_pb2, tws_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.layout import PAPER_VENUE, TWS_SIM_CONTROL
from kestrel_cli.platform.venues import VenueChoice, VenueKind


@dataclass(frozen=True, slots=True)
class BackDoor:
    """One simulator's. ``port`` is the name of its port; ``stub`` makes its calls on a channel, blocking or not."""

    port: str
    stub: Callable[[Any], Any]
    contract: Any

    def publish(self, bar: venue_pb2.Bar) -> Any:
        """The request of ``PublishBar``."""
        return self.contract.PublishBarRequest(bar=bar)

    def move(self, account: str, symbol: str, qty: int) -> Any:
        """The request of ``InduceDrift``."""
        return self.contract.InduceDriftRequest(account=account, symbol=symbol, qty=common_pb2.Decimal(units=qty))

    def ledger(self, account: str) -> Any:
        """The request of ``GetLedger``."""
        return self.contract.GetLedgerRequest(account=account)


PAPER = BackDoor(PAPER_VENUE, paper_pb2_grpc.PaperVenueControlServiceStub, paper_pb2)
TWS = BackDoor(TWS_SIM_CONTROL, tws_pb2_grpc.TwsSimulatorControlServiceStub, tws_pb2)


def back_door(choice: VenueChoice) -> BackDoor:
    """Raises CommandFailed at a real venue."""
    if choice.kind is VenueKind.IBKR:
        raise CommandFailed(
            f"{choice.told}: prices come from the broker, and nothing can be published there",
            next_step="take prices with --symbol at `kestrel up`, or try things out with --venue tws-sim",
        )
    return PAPER if choice.kind is VenueKind.PAPER else TWS
