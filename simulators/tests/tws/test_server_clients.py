"""Both unmodified libraries connect to the simulator and trade. The scenarios are in ``client_script_scenario.py``."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.integration

LIBRARIES = [pytest.param(name, marks=pytest.mark.xdist_group(f"tws-{name}")) for name in ("ib_insync", "ib_async")]


@pytest.fixture(scope="module", params=LIBRARIES)
def traded(request: Any, make_simulator: Any) -> tuple[dict[str, str], Any]:
    """One run of all scenarios: what was wrong with each, and the simulator afterwards."""
    simulator = make_simulator().start("--mode", "instant")
    return simulator.run(request.param), simulator


@pytest.mark.parametrize(
    "name",
    [
        "accounts", "client_id_in_use", "contract_details", "prices", "history", "market_order", "limit_order",
        "stop_orders", "bracket", "what_if", "rejection", "open_and_completed_orders", "executions",
        "profit_and_loss", "global_cancel", "two_clients", "order_by_hand", "fill_while_away", "lost_link",
        "dropped_connection", "byte_by_byte",
    ],
)  # fmt: skip
def test_an_unmodified_library_finds_what_it_expects_of_a_gateway(traded: Any, name: str) -> None:
    found, _ = traded
    assert found[name] == "", found[name]


def test_the_simulator_has_nothing_to_complain_about_a_library_but_a_client_id_taken_twice(traded: Any) -> None:
    _, simulator = traded
    complaints = [line for line in simulator.errors().splitlines() if "reason=in_use" not in line]
    assert complaints == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_orders_fills_and_positions_outlive_a_killed_simulator_T15(make_simulator: Any, library: str) -> None:
    simulator = make_simulator().start("--mode", "instant")
    assert simulator.run(library, "before_restart") == {"before_restart": ""}
    assert simulator.kill() == -9
    simulator.start()
    assert simulator.run(library, "after_restart") == {"after_restart": ""}
    assert simulator.stop() == 0
