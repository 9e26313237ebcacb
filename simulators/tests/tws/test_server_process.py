"""``kestrel-sim-tws`` as people start it."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.common.v1 import common_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Mode
from kestrel_simulators.tws.__main__ import main
from kestrel_simulators.tws.server import TwsProcess

pytestmark = pytest.mark.integration


def ledger(simulator: Any, account: str) -> Any:
    return simulator.control.GetLedger(tws_pb2.GetLedgerRequest(account=account))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_in_order_also_while_a_client_is_there(make_simulator: Any, number: int) -> None:
    simulator = make_simulator().start()
    with socket.create_connection(("127.0.0.1", simulator.port)) as client:
        client.sendall(b"API\0\0\0\0\x09v157..176")
        assert client.recv(4)
        assert simulator.stop(number) == 0
    assert simulator.errors() == ""


def test_options_are_remembered_and_accounts_opened_once(make_simulator: Any) -> None:
    simulator = make_simulator()
    simulator.start(
        "--mode", "adversarial", "--seed", "11", "--delay-scale", "0.05", "--commission-per-unit", "0.01",
        "--commission-delay-ms", "5", "--account", "DU1=50000.00:EUR", "--account", "DU2=1:USD",
    )  # fmt: skip
    assert Number.of(ledger(simulator, "DU1").cash) == Number.parse("50000")
    assert simulator.stop() == 0
    simulator.start("--account", "DU1=70000.00:EUR")
    assert Number.of(ledger(simulator, "DU1").cash) == Number.parse("50000")
    assert simulator.stop() == 0
    process = TwsProcess(simulator.folder)
    chance = process.broker.engine.chance
    assert (chance.mode, chance.seed, chance.delay_scale_permille) == (Mode.ADVERSARIAL, 11, 50)
    assert process.broker.desk.commission.per_unit_units == 1_000_000
    assert list(process.broker.desk.ledgers) == ["DU1", "DU2"]


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--mode", "rude"], "one of instant, realistic, adversarial"),
        (["--account", "DU1"], "NAME=WALLET:CURRENCY"),
        (["--account", "DU1=x:USD"], "plain decimal number"),
        (["--delay-scale", "fast"], "plain decimal number"),
        (["--delay-scale=-1"], "0 to 1000000"),
        (["--slippage-bps", "99999"], "millionths"),
        (["--commission-per-unit=-1"], "0 or more"),
        (["--host", "192.0.2.1"], "an address of this machine"),
    ],
)
def test_an_option_that_cannot_be_is_a_sentence_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert main(["--data", str(tmp_path / "tws"), "--port", "0", "--admin-port", "0", *options]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--port", "70000"], ["--seed", "x"], ["--messages-per-s=-5"], ["--nonsense"], []])
def test_an_option_of_no_sense_is_refused_before_anything_is_made(tmp_path: Path, options: list[str]) -> None:
    data = ["--data", str(tmp_path / "tws")] if options else []
    with pytest.raises(SystemExit) as caught:
        main([*data, *options])
    assert caught.value.code == 2
    assert not (tmp_path / "tws").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--data", str(tmp_path / "file" / "tws"), "--port", "0", "--admin-port", "0"]) == 2
    assert "a folder that can be written" in capsys.readouterr().err


def test_a_folder_in_use_a_port_in_use_and_a_damaged_log_are_told_apart(
    make_simulator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = make_simulator().start()
    assert main(["--data", str(simulator.folder), "--port", "0", "--admin-port", "0"]) == 2
    assert "another running simulator" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "tws"), "--port", str(simulator.port), "--admin-port", "0"]) == 2
    assert "--port" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "tws"), "--port", "0", "--admin-port", str(simulator.port)]) == 2
    assert "--admin-port" in capsys.readouterr().err
    simulator.control.OpenAccount(
        tws_pb2.OpenAccountRequest(account="DU9", wallet=common_pb2.Decimal(units=1), currency="USD")
    )
    simulator.kill()
    log = simulator.folder / "tws.log"
    damaged = bytearray(log.read_bytes())
    damaged[20] ^= 1
    log.write_bytes(damaged)
    assert main(["--data", str(simulator.folder), "--port", "0", "--admin-port", "0"]) == 2
    assert "corrupted" in capsys.readouterr().err


def accounts_opened_until_the_end(simulator: Any) -> int:
    with contextlib.suppress(grpc.RpcError):
        for number in range(1000):
            wallet = common_pb2.Decimal(units=1)
            simulator.control.OpenAccount(
                tws_pb2.OpenAccountRequest(account=f"DU{number}", wallet=wallet, currency="USD")
            )
    return number


def test_a_full_disk_ends_the_process_and_nobody_was_answered(make_simulator: Any) -> None:
    """The log may not grow any more; what could not be written was not said."""
    simulator = make_simulator()
    code = (
        "import resource, sys\n"
        "from kestrel_simulators.tws.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    simulator.start(python=["-c", code])
    answered = accounts_opened_until_the_end(simulator)
    assert 0 < answered < 1000
    assert simulator.process.wait(simulator.DEADLINE_S) != 0
    assert "cannot be written" in simulator.errors()
    process = TwsProcess(simulator.folder)
    assert len(process.broker.desk.ledgers) >= answered


def test_help_says_where_it_listens_and_what_it_remembers() -> None:
    command = [sys.executable, "-m", "kestrel_simulators.tws", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for word in ("4002", "7811", "tws.log", "--messages-per-s", "adversarial"):
        assert word in told


README = Path(__file__).parents[2] / "README.md"


def test_the_readme_names_every_fault() -> None:
    text = README.read_text()
    names = [name.removeprefix("FAULT_") for name, _ in tws_pb2.Fault.items() if name != "FAULT_UNSPECIFIED"]
    assert [name for name in names if name not in text] == []


def test_what_the_readme_shows_works_as_it_is_written(make_simulator: Any) -> None:
    simulator = make_simulator().start("--mode", "instant")
    _, price, trade = README.read_text().split("```python\n")
    for block in (price, trade):
        code = block.split("```")[0].replace("4002", str(simulator.port)).replace("7811", str(simulator.admin_port))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "190.01"
