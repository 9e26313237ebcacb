"""Peers: pinned, asked in a process of their own, believed only when their books are ours."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import kernel
from bench.peers import processes, trades
from bench.peers.processes import Peer, Unavailable

LOCK = Path(processes.__file__).with_name("requirements.lock")
STUB = "bench.tests.stub_peer"


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(Path(sys.executable), STUB) as started:
        yield started


def test_the_lock_pins_every_package_by_hash_and_names_no_download_address() -> None:
    text = LOCK.read_text()
    pinned = re.findall(r"^\S+==\S+.*(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+$", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^\S", text, re.MULTILINE))
    assert {"nautilus-trader==1.221.0", "vnpy==4.5.0"} <= {line.split()[0] for line in pinned}
    assert "://" not in text


def test_a_trade_earns_a_hundred_and_its_fees_need_no_rounding() -> None:
    assert trades.REALIZED_PER_TRADE == 100 * 10**8
    assert trades.decimal(trades.FEES_PER_TRADE, trades.AMOUNT_SCALE) == "19.05050000"
    assert trades.decimal(trades.ENTRY_PRICES[1], trades.PRICE_SCALE) == "190.0100"


def test_without_make_the_peers_are_unavailable_and_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="there is no make"):
        processes.install()


@pytest.mark.integration
def test_a_peer_says_its_version_and_answers_each_round_whatever_it_prints(peer: Peer) -> None:
    assert peer.versions == {"stub": "1.0"}
    assert [peer.round("right", count)["orders"] for count in (1, 3)] == [2, 6]


@pytest.mark.integration
def test_a_peer_with_our_books_is_a_figure_and_one_with_others_is_refused(peer: Peer) -> None:
    books = {"orders": 2, "realized_pnl": trades.REALIZED_PER_TRADE}
    assert kernel._peer(peer, "right", 5, "stub_ns") == {"stub_ns": 7.0, "books": books}
    with pytest.raises(AssertionError, match="realized_pnl is 0"):
        kernel._peer(peer, "wrong", 5, "stub_ns")


@pytest.mark.integration
def test_a_peer_that_ends_is_unavailable_with_its_last_words(peer: Peer) -> None:
    with pytest.raises(Unavailable, match="out of 5 tricks"):
        peer.round("ends", 5)
    with pytest.raises(Unavailable, match="ended"):
        peer.round("right", 5)


@pytest.mark.integration
def test_a_peer_that_cannot_be_imported_is_unavailable_with_the_reason() -> None:
    with (
        Peer(Path(sys.executable), "bench.tests.no_such_peer") as missing,
        pytest.raises(Unavailable, match="No module"),
    ):
        assert missing.versions
