"""Which TWS is looked at, and what is made of what the checklist says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kestrel_cli.app import app
from kestrel_cli.commands import venue
from kestrel_cli.errors import USAGE, CommandFailed
from kestrel_cli.platform.layout import Endpoints, Layout, ports_from
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice, VenueKind


def _layout(tmp_path: Path, choice: VenueChoice) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    Endpoints(ports_from(9000)).save(layout.endpoints)
    choice.save(layout)
    return layout


def test_without_a_platform_the_usual_gateway_for_paper_is_looked_at(tmp_path: Path) -> None:
    found = venue._choice(tmp_path, host="", port=0, account="", library="")
    assert (found.host, found.port, found.account, found.library) == ("127.0.0.1", 4002, "", "ib_insync")
    _layout(tmp_path, OUR_PAPER_VENUE)
    assert venue._choice(tmp_path, host="", port=0, account="", library="") == found


def test_the_venue_of_the_platform_is_looked_at_with_its_own_library(tmp_path: Path) -> None:
    choice = VenueChoice(VenueKind.IBKR, "DU7", "ib_async", ("AAPL",), "10.0.0.5", 7497)
    layout = _layout(tmp_path, choice)
    found = venue._choice(tmp_path, host="", port=0, account="", library="")
    assert (found.host, found.port, found.account, found.library) == ("10.0.0.5", 7497, "DU7", "ib_async")
    VenueChoice(VenueKind.TWS_SIM, "DU8").save(layout)
    found = venue._choice(tmp_path, host="", port=0, account="", library="")
    assert (found.host, found.port, found.account) == ("127.0.0.1", 9011, "DU8")


def test_what_is_said_counts_and_another_place_is_another_login(tmp_path: Path) -> None:
    _layout(tmp_path, VenueChoice(VenueKind.IBKR, "DU7", host="10.0.0.5", port=7497))
    found = venue._choice(tmp_path, host="", port=4001, account="", library="ib_async")
    assert (found.host, found.port, found.account, found.library) == ("127.0.0.1", 4001, "", "ib_async")
    assert venue._choice(tmp_path, host="", port=0, account="DU9", library="").account == "DU9"


def test_lines_are_read_as_they_come_and_a_check_that_breaks_is_no_pass() -> None:
    told = 'import sys; print(\'{"name": "a"}\'); sys.exit(1)'
    assert list(venue._lines([sys.executable, "-c", told])) == [{"name": "a"}]
    for broken in ("raise SystemExit('no such option')", "", "import sys; print('{\"a\": 1}'); sys.exit(2)"):
        with pytest.raises(CommandFailed, match="the check itself broke"):
            list(venue._lines([sys.executable, "-c", broken]))


def test_a_trade_is_asked_for_and_never_made_on_the_quiet(tmp_path: Path) -> None:
    arguments = ["venue", "check", "ibkr", "--trade", "--data-dir", str(tmp_path)]
    asked = CliRunner().invoke(app, arguments, input="n\n")
    assert asked.exit_code == 1
    assert "Buy one share of AAPL" in asked.output
    quiet = CliRunner().invoke(app, [*arguments, "--json"])
    assert quiet.exit_code == USAGE
    assert "--yes" in quiet.output
