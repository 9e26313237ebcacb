"""Both unmodified libraries connect to the simulator and trade. The scenarios are in ``client_script_scenario.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from kestrel.tws.v1 import tws_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIBRARIES = [pytest.param(name, marks=pytest.mark.xdist_group(f"tws-{name}")) for name in ("ib_insync", "ib_async")]


@dataclass(frozen=True)
class Traded:
    """One run of all scenarios: what was wrong with each, and what the simulator says of it, killed in between."""

    found: dict[str, str]
    complaints: list[str]
    ledger: Any
    ledger_after_kill: Any


@pytest.fixture(scope="module", params=LIBRARIES)
def traded(request: Any, make_simulator: Any) -> Traded:
    simulator = make_simulator().start("--mode", "instant")
    found = simulator.run(request.param)
    ledger_request = tws_pb2.GetLedgerRequest(account="DU1234567")
    ledger = simulator.control.GetLedger(ledger_request)
    complaints = simulator.errors().splitlines()
    simulator.kill()
    ledger_after_kill = simulator.start().control.GetLedger(ledger_request)
    simulator.stop()
    return Traded(found, complaints, ledger, ledger_after_kill)


@pytest.mark.parametrize(
    "name",
    [
        "accounts", "client_id_in_use", "contract_details", "prices", "history", "market_order", "limit_order",
        "stop_orders", "bracket", "what_if", "rejection", "open_and_completed_orders", "executions",
        "profit_and_loss", "global_cancel", "two_clients", "order_by_hand", "fill_while_away", "lost_link",
        "dropped_connection", "byte_by_byte",
    ],
)  # fmt: skip
def test_an_unmodified_library_finds_what_it_expects_of_a_gateway(traded: Traded, name: str) -> None:
    assert traded.found[name] == "", traded.found[name]


def test_the_simulator_has_nothing_to_complain_about_a_library_but_a_client_id_taken_twice(traded: Traded) -> None:
    assert [line for line in traded.complaints if "reason=in_use" not in line] == []


def test_a_killed_simulator_replays_everything_that_a_library_did_to_it_T15(traded: Traded) -> None:
    assert len(traded.ledger.orders) > 20
    assert len(traded.ledger.executions) > 10
    assert traded.ledger_after_kill == traded.ledger


@pytest.mark.parametrize("library", LIBRARIES)
def test_orders_fills_and_positions_outlive_a_killed_simulator_T15(make_simulator: Any, library: str) -> None:
    simulator = make_simulator().start("--mode", "instant")
    assert simulator.run(library, "before_restart") == {"before_restart": ""}
    assert simulator.kill() == -9
    simulator.start()
    assert simulator.run(library, "after_restart") == {"after_restart": ""}
    assert simulator.stop() == 0
