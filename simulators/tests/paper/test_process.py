"""The venue as a process: killed anywhere, it remembers what it said."""

from __future__ import annotations

import contextlib
import random
import resource
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import grpc
import psutil
import pytest

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel_simulators.paper.server import REFUSAL_METADATA_KEY

pytestmark = pytest.mark.integration


def refusal_of(error: grpc.RpcError) -> common_pb2.Refusal:
    metadata = dict(error.trailing_metadata())
    return common_pb2.Refusal.FromString(metadata[REFUSAL_METADATA_KEY])


def assert_whole(paper: Any) -> list[paper_pb2.StreamEventsResponse]:
    """Sequences without a gap, executions without a double, fills that add up to orders and positions."""
    events = paper.events()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    fills = [event.fill for event in events if event.HasField("fill")]
    assert len({fill.execution_id for fill in fills}) == len(fills)
    ledger = paper.venue_ledger()
    filled = Counter()
    for fill in fills:
        filled[fill.client_order_id] += fill.last_qty.units
    assert {order.client_order_id: order.cum_qty.units for order in ledger.orders if order.cum_qty.units} == filled
    return events


@pytest.fixture
def paper(paper: Any) -> Any:
    paper.venue_ledger = lambda: paper.control.GetLedger(paper_pb2.GetLedgerRequest(account="PAPER-1"))
    return paper


def test_a_killed_venue_has_lost_and_doubled_nothing_it_answered_T15(paper: Any, words: Any) -> None:
    """The server is killed in mid-run, again and again; the client sends everything unanswered again, same ids."""
    chance = random.Random(7)
    pending = [f"o{number}" for number in range(150)]
    answered: dict[str, paper_pb2.PaperOrder] = {}
    seen: list[paper_pb2.StreamEventsResponse] = []
    for life in range(5):
        paper.start("--mode", "adversarial", "--seed", "11", "--delay-scale", "0.01")
        paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(life + 1, 100 + life)))
        for client_order_id, order in answered.items():
            known = paper.venue.GetOrder(
                paper_pb2.GetOrderRequest(account="PAPER-1", client_order_id=client_order_id)
            ).order
            assert known.venue_order_id == order.venue_order_id
            assert known.cum_qty.units >= order.cum_qty.units
        assert paper.events()[: len(seen)] == seen
        killer = threading.Timer(chance.uniform(0.01, 0.15), paper.process.kill)
        killer.start()
        with contextlib.suppress(grpc.RpcError):
            for key in list(pending):
                answered[key] = paper.venue.PlaceOrder(words.order(key, 100)).order
                pending.remove(key)
                if chance.random() < 0.1:
                    seen = paper.events()
        killer.join()
        paper.kill()
    paper.start()
    for key in pending:
        answered[key] = paper.venue.PlaceOrder(words.order(key, 100)).order
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(9, 100)))
    paper.until(lambda: not paper.venue.GetPortfolio(paper_pb2.GetPortfolioRequest(account="PAPER-1")).open_orders)
    events = assert_whole(paper)
    assert events[: len(seen)] == seen
    ledger = paper.venue_ledger()
    assert sorted(order.client_order_id for order in ledger.orders) == sorted(answered)
    position = sum(fill.last_qty.units for fill in ledger.fills)
    portfolio = paper.venue.GetPortfolio(paper_pb2.GetPortfolioRequest(account="PAPER-1"))
    assert [held.qty.units for held in portfolio.positions] == [position]
    fees = sum(fill.fee.units for fill in ledger.fills)
    assert portfolio.balance.wallet.units == 100_000_000_000_000 - fees


def test_a_killed_client_finds_its_orders_by_asking(paper: Any, words: Any) -> None:
    paper.start("--mode", "instant")
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    code = (
        "import sys, grpc, os, signal\n"
        "from kestrel.paper.v1 import paper_pb2 as p, paper_pb2_grpc as g\n"
        "stub = g.PaperVenueServiceStub(grpc.insecure_channel(sys.argv[1]))\n"
        "stub.PlaceOrder(p.PlaceOrderRequest.FromString(bytes.fromhex(sys.argv[2])))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [f"127.0.0.1:{paper.port}", words.order("mine").SerializeToString().hex()]
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False, timeout=60).returncode == -9
    order = paper.venue.GetOrder(paper_pb2.GetOrderRequest(account="PAPER-1", client_order_id="mine", fence=True)).order
    assert order.status == "FILLED"
    with pytest.raises(grpc.RpcError) as caught:
        paper.venue.GetOrder(paper_pb2.GetOrderRequest(account="PAPER-1", client_order_id="other", fence=True))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    paper.kill()
    paper.start()
    refused = paper.venue.PlaceOrder(words.order("other")).order
    assert (refused.status, refused.reason.reason) == ("REJECTED", "FENCED")


def test_delayed_orders_are_filled_after_a_restart_when_their_time_came_meanwhile_T15(paper: Any, words: Any) -> None:
    paper.start("--mode", "adversarial", "--seed", "3", "--delay-scale", "0.02")
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    assert any(_is_left_open(paper, words.order(f"o{number}", 100)) for number in range(300))
    paper.kill()
    paper.start()
    paper.until(lambda: not _open_orders(paper))
    assert_whole(paper)


def _is_left_open(paper: Any, order: paper_pb2.PlaceOrderRequest) -> bool:
    """Looked at behind each order: by the last one a slow machine has seen the delayed ones filled."""
    paper.venue.PlaceOrder(order)
    return bool(_open_orders(paper))


def _open_orders(paper: Any) -> list[paper_pb2.PaperOrder]:
    return list(paper.venue.GetPortfolio(paper_pb2.GetPortfolioRequest(account="PAPER-1")).open_orders)


def test_streams_go_on_from_any_sequence_and_say_what_happens_next(paper: Any, words: Any) -> None:
    paper.start("--mode", "instant")
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    paper.venue.PlaceOrder(words.order("a"))
    everything = paper.events()
    assert [len(paper.events(after)) for after in range(len(everything) + 1)] == list(range(len(everything), -1, -1))
    events = paper.venue.StreamEvents(
        paper_pb2.StreamEventsRequest(account="PAPER-1", after_sequence=len(everything)), timeout=30
    )
    bars = paper.venue.StreamBars(paper_pb2.StreamBarsRequest(after_sequence=0), timeout=30)
    assert next(bars).sequence == 1
    paper.venue.PlaceOrder(words.order("b"))
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(2, 101)))
    assert next(events).order.client_order_id == "b"
    assert next(bars).bar.start_ns == words.bar(2, 101).start_ns
    events.cancel()
    bars.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        next(paper.venue.StreamEvents(paper_pb2.StreamEventsRequest(account="PAPER-1", after_sequence=999), timeout=30))
    assert refusal_of(caught.value).reason == "SEQUENCE_UNKNOWN"


def test_errors_name_the_field_the_value_and_the_rule(paper: Any, words: Any) -> None:
    paper.start("--mode", "instant")
    bad_bar = words.bar(1, 100)
    bad_bar.high.units = 1
    cases = [
        (paper.venue.PlaceOrder, words.order("a b"), grpc.StatusCode.INVALID_ARGUMENT, "client_order_id"),
        (paper.venue.PlaceOrder, words.order("a", account="B"), grpc.StatusCode.FAILED_PRECONDITION, "account"),
        (
            paper.control.PublishBar,
            paper_pb2.PublishBarRequest(bar=bad_bar),
            grpc.StatusCode.INVALID_ARGUMENT,
            "bar.high",
        ),
        (paper.control.SetMode, paper_pb2.SetModeRequest(), grpc.StatusCode.INVALID_ARGUMENT, "mode"),
        (
            paper.control.OpenAccount,
            paper_pb2.OpenAccountRequest(account="B"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "wallet",
        ),
    ]
    for call, request, code, field in cases:
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() == code
        refusal = refusal_of(caught.value)
        assert refusal.field == field
        assert refusal.rule
        assert refusal.message == caught.value.details()


def test_a_stop_is_clean_small_and_quiet(paper: Any, words: Any) -> None:
    paper.start()
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    stream = paper.venue.StreamEvents(paper_pb2.StreamEventsRequest(account="PAPER-1"), timeout=30)
    next(stream)
    process = psutil.Process(paper.process.pid)
    assert process.memory_info().rss < 100 * 1024 * 1024
    assert paper.stop() == 0


def test_a_disk_that_fails_ends_the_venue_and_takes_nothing_back(paper: Any, words: Any) -> None:
    paper.start("--mode", "instant")
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    resource.prlimit(paper.process.pid, resource.RLIMIT_FSIZE, (1500, 1500))
    answered: list[paper_pb2.PaperOrder] = []

    def place_for_ever() -> None:
        while True:
            answered.append(paper.venue.PlaceOrder(words.order(f"o{len(answered)}"), timeout=30).order)

    with pytest.raises(grpc.RpcError):
        place_for_ever()
    assert paper.process.wait(60) != 0
    assert "cannot be written" in paper.process.stderr.read()
    assert answered
    paper.start()
    ledger = paper.venue_ledger()
    assert [order.client_order_id for order in ledger.orders] == [order.client_order_id for order in answered]
    assert paper.venue.PlaceOrder(words.order("after")).order.status == "FILLED"


def test_a_second_venue_on_the_same_folder_is_refused_in_words(paper: Any) -> None:
    paper.start()
    command = [sys.executable, "-m", "kestrel_simulators.paper", "--data", str(paper.folder), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert "another running simulator" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    "options,word",
    [
        (["--mode", "kind"], "mode"),
        (["--delay-scale", "fast"], "delay-scale"),
        (["--account", "A=5"], "account"),
        (["--taker-fee-bps", "0.001"], "taker-fee-bps"),
    ],
)
def test_a_bad_option_is_refused_in_words(tmp_path: Any, options: list[str], word: str) -> None:
    command = [sys.executable, "-m", "kestrel_simulators.paper", "--data", str(tmp_path / "p"), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, word in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_options_that_were_not_given_keep_what_the_log_says(paper: Any, words: Any) -> None:
    paper.start("--mode", "instant", "--taker-fee-bps", "1.50")
    paper.stop()
    paper.start()
    paper.control.PublishBar(paper_pb2.PublishBarRequest(bar=words.bar(1, 100)))
    statuses = {paper.venue.PlaceOrder(words.order(f"o{number}")).order.status for number in range(40)}
    assert statuses == {"FILLED"}
    assert {fill.fee.units for fill in paper.venue_ledger().fills} == {15_000_000}  # 1.5 bps of 1000.00
