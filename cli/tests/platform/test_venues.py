"""Which venue a platform trades at: checked before anything starts, kept with the data, told to the services."""

from __future__ import annotations

import dataclasses
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kestrel_cli.app import app
from kestrel_cli.back_doors import PAPER, TWS, back_door
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_cli.platform import running
from kestrel_cli.platform.config import PlatformOptions, configuration, environment_of, write_config
from kestrel_cli.platform.layout import HOST, Endpoints, Layout, ports_from
from kestrel_cli.platform.supervisor import simulator_command
from kestrel_cli.platform.table import money_banner
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice, VenueKind, chosen

TWS_SIM = VenueChoice(VenueKind.TWS_SIM, "DU1234567", symbols=("AAPL",))
IBKR = VenueChoice(VenueKind.IBKR, "DU7654321", symbols=("AAPL", "IBM:SMART:USD"), host="10.0.0.5", port=7497)


def _layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    return layout


def test_nothing_said_is_our_own_paper_venue(tmp_path: Path) -> None:
    assert chosen(_layout(tmp_path), kind=None) == OUR_PAPER_VENUE


def test_the_choice_of_last_time_is_taken_up_again(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    IBKR.save(layout)
    assert VenueChoice.load(layout) == IBKR
    assert chosen(layout, kind=None) == IBKR
    assert chosen(layout, kind=None, port=4002) == dataclasses.replace(IBKR, port=4002)
    assert chosen(layout, kind=VenueKind.IBKR, symbols=["MSFT"]).symbols == ("MSFT",)


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (IBKR, {"kind": VenueKind.PAPER}),
        (IBKR, {"kind": VenueKind.IBKR, "account": "DU1"}),
        (TWS_SIM, {"kind": VenueKind.IBKR, "account": "DU7654321"}),
        (OUR_PAPER_VENUE, {"kind": VenueKind.TWS_SIM}),
        (OUR_PAPER_VENUE, {"kind": VenueKind.PAPER, "account": "PAPER-2"}),
    ],
)
def test_a_directory_that_belongs_to_one_account_is_not_given_to_another(
    tmp_path: Path, before: VenueChoice, asked: dict[str, Any]
) -> None:
    layout = _layout(tmp_path)
    before.save(layout)
    with pytest.raises(CommandFailed, match=f"belongs to account {before.account} at venue {before.name}") as caught:
        chosen(layout, **asked)
    assert "--data-dir" in caught.value.next_step


@pytest.mark.parametrize("choice", [OUR_PAPER_VENUE, TWS_SIM, IBKR])
def test_whose_a_directory_is_is_known_from_its_configuration_when_the_choice_is_lost(
    tmp_path: Path, choice: VenueChoice
) -> None:
    layout = _layout(tmp_path)
    write_config(layout, Endpoints(ports_from(9000)), PlatformOptions(venue=choice))
    if choice.kind is VenueKind.TWS_SIM:
        layout.tws_sim.mkdir()
    assert chosen(layout, kind=None) == choice
    other = VenueKind.PAPER if choice.kind is not VenueKind.PAPER else VenueKind.TWS_SIM
    with pytest.raises(CommandFailed, match=f"belongs to account {choice.account}"):
        chosen(layout, kind=other)


@pytest.mark.parametrize("text", ["common: {}\n", "[]", "venue-gateway: {venue: ibkr, accounts: []}", "a: {"])
def test_a_directory_that_does_not_say_whose_it_is_is_not_started(tmp_path: Path, text: str) -> None:
    layout = _layout(tmp_path)
    layout.config.write_text(text)
    with pytest.raises(CommandFailed, match="does not say which account"):
        chosen(layout, kind=None)


@pytest.mark.parametrize("account", ["U1234567", "F1234567", "du1234567", "DX1", "PAPER-1"])
@pytest.mark.parametrize("kind", [VenueKind.IBKR, VenueKind.TWS_SIM])
def test_an_account_that_is_not_certainly_paper_is_refused_before_anything_starts_C10(
    tmp_path: Path, kind: VenueKind, account: str
) -> None:
    with pytest.raises(CommandFailed, match="ACCOUNT_ENVIRONMENT") as caught:
        chosen(_layout(tmp_path), kind=kind, account=account)
    assert "DU or DF" in caught.value.next_step


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": VenueKind.IBKR}, "which account"),
        ({"kind": VenueKind.PAPER, "port": 4002}, "--host and --port"),
        ({"kind": VenueKind.TWS_SIM, "host": "elsewhere"}, "--host and --port"),
        ({"kind": VenueKind.TWS_SIM, "library": "ibapi"}, "no library 'ibapi'"),
        ({"kind": VenueKind.TWS_SIM, "symbols": ["a b"]}, "upper case"),
        ({"kind": VenueKind.PAPER, "account": "a b"}, "characters of"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandFailed, match=said) as caught:
        chosen(_layout(tmp_path), **asked)
    assert caught.value.code == USAGE
    assert caught.value.next_step


def test_the_second_library_runs_in_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = dataclasses.replace(TWS_SIM, library="ib_async")
    monkeypatch.setenv("KESTREL_IB_ASYNC_PYTHON", str(tmp_path / "none"))
    with pytest.raises(CommandFailed, match="an environment of its own"):
        chosen(_layout(tmp_path), kind=VenueKind.TWS_SIM, library="ib_async")
    (tmp_path / "python").touch()
    monkeypatch.setenv("KESTREL_IB_ASYNC_PYTHON", str(tmp_path / "python"))
    assert second.gateway_interpreter() == str(tmp_path / "python")
    assert TWS_SIM.gateway_interpreter() == OUR_PAPER_VENUE.gateway_interpreter() == sys.executable


def test_services_are_told_one_account_one_venue_and_where_it_is(tmp_path: Path) -> None:
    layout, endpoints = _layout(tmp_path), Endpoints(ports_from(9000))
    for choice, host, port in ((TWS_SIM, HOST, 9011), (IBKR, "10.0.0.5", 7497)):
        config = configuration(layout, endpoints, choice)
        gateway = config["venue-gateway"]
        assert (gateway["venue"], gateway["ibkr_host"], gateway["ibkr_port"]) == ("ibkr", host, port)
        assert gateway["ibkr_symbols"] == list(choice.symbols)
        (account,) = config["kernel"]["accounts"]
        said = [account["account"], config["governance"]["accounts"][0]["account"], *config["policy"]["accounts"]]
        assert {*said, *gateway["accounts"]} == {choice.account}
        assert {account["venue"], config["governance"]["accounts"][0]["venue"], config["policy"]["venue"]} == {"ibkr"}
        assert "taker_fee_rate" not in account, "no rate predicts a fee by share"
    assert "seed_wallet" not in configuration(layout, endpoints, IBKR)["kernel"]["accounts"][0]


def test_a_simulated_venue_is_started_with_its_own_options(tmp_path: Path) -> None:
    layout, endpoints = _layout(tmp_path), Endpoints(ports_from(9000))
    command = simulator_command(layout, endpoints, PlatformOptions(venue=TWS_SIM))
    assert command[2] == "kestrel_simulators.tws"
    said = dict(zip(command[3::2], command[4::2], strict=True))
    assert (said["--port"], said["--admin-port"]) == ("9011", "9012")
    assert said["--account"] == "DU1234567=1000000.00:USD"
    command = simulator_command(layout, endpoints, PlatformOptions())
    assert command[2] == "kestrel_simulators.paper"
    assert command[command.index("--port") + 1] == "9010"


@pytest.mark.parametrize("choice", [OUR_PAPER_VENUE, TWS_SIM, IBKR, dataclasses.replace(IBKR, symbols=())])
def test_a_platform_of_its_own_session_is_told_the_same_choice(
    tmp_path: Path, choice: VenueChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[PlatformOptions] = []
    monkeypatch.setattr(running, "run_in_foreground", lambda layout, options, *rest, json: heard.append(options))
    result = CliRunner().invoke(app, ["up", "--data-dir", str(tmp_path), *running.venue_arguments(choice)])
    assert result.exit_code == 0, result.output
    (options,) = heard
    wanted = choice if choice.kind is VenueKind.IBKR else dataclasses.replace(choice, host=HOST, port=4002)
    assert options.venue == wanted


def test_a_tws_that_does_not_listen_is_told_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        with pytest.raises(CommandFailed, match=f"nothing answers at {HOST}:{port}") as caught:
            running.require_venue(dataclasses.replace(IBKR, host=HOST, port=port))
        assert "docs/venues/ibkr.md" in caught.value.next_step
        taken.listen()
        running.require_venue(dataclasses.replace(IBKR, host=HOST, port=port))
    running.require_venue(TWS_SIM)


def test_simulated_venues_have_back_doors_and_a_real_one_has_none() -> None:
    assert back_door(OUR_PAPER_VENUE) is PAPER
    assert back_door(TWS_SIM) is TWS
    with pytest.raises(CommandFailed, match="prices come from the broker"):
        back_door(IBKR)
    for door in (PAPER, TWS):
        request = door.move("DU1", "AAPL", -37)
        assert (request.account, request.symbol, request.qty.units) == ("DU1", "AAPL", -37)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"PAPER"}, " PAPER [/] no real money moves"),
        ({"LIVE"}, " LIVE [/] real money moves"),
        ({"PAPER", "LIVE"}, " LIVE [/] real money moves"),
        (set(), " UNKNOWN [/] not certain"),
        ({""}, " UNKNOWN [/] not certain"),
        ({"PAPER", "DRILL"}, " DRILL / PAPER [/] not certain"),
    ],
)
def test_the_banner_says_paper_only_when_it_is_certain_C10(said: set[str], shown: str) -> None:
    assert shown in money_banner(said)


def test_the_environment_is_what_the_services_were_told_C10(tmp_path: Path) -> None:
    layout, endpoints = _layout(tmp_path), Endpoints(ports_from(9000))
    assert environment_of(layout) == ""
    write_config(layout, endpoints, PlatformOptions())
    assert environment_of(layout) == "paper"
    write_config(layout, endpoints, PlatformOptions(overrides={"common": {"environment": "live"}}))
    assert environment_of(layout) == "live"
    write_config(layout, endpoints, PlatformOptions(overrides={"venue-gateway": {"environment": "live"}}))
    assert environment_of(layout) == "live/paper"
    layout.config.write_text("[]")
    assert environment_of(layout) == ""
