"""A paper venue as a process: started, asked, killed, started again."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2, paper_pb2_grpc
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.timestamps import DAY_NS

DEADLINE_S = 60.0
STOCK = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
)


def daily_bar(day: int, dollars: float) -> venue_pb2.Bar:
    units = round(dollars * 10_000)
    price = common_pb2.Decimal(units=units, scale=4)
    return venue_pb2.Bar(
        venue="paper", instrument=STOCK, open=price, high=price, low=price, close=price,
        volume=common_pb2.Decimal(units=1000), start_ns=day * DAY_NS, interval_ns=DAY_NS,
    )  # fmt: skip


def market_order(key: str, qty: int = 10, *, side: str = "BUY", account: str = "PAPER-1") -> Any:
    return paper_pb2.PlaceOrderRequest(
        account=account,
        client_order_id=key,
        symbol="AAPL",
        side=common_pb2.Side.Value(f"SIDE_{side}"),
        order_qty=common_pb2.Decimal(units=qty),
        order_type=common_pb2.ORDER_TYPE_MARKET,
        time_in_force=common_pb2.TIME_IN_FORCE_GTC,
    )


class VenueUnderTest:
    """One folder, and at most one process on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.channel: grpc.Channel | None = None

    def start(self, *options: str) -> VenueUnderTest:
        command = [
            sys.executable,
            "-m",
            "kestrel_simulators.paper",
            "--data",
            str(self.folder),
            "--port",
            "0",
            *options,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.port = self._read_port()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.venue = paper_pb2_grpc.PaperVenueServiceStub(self.channel)
        self.control = paper_pb2_grpc.PaperVenueControlServiceStub(self.channel)
        return self

    def _read_port(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r":(\d+)$", line.strip())
        if match is None:
            self.process.wait(DEADLINE_S)
            raise AssertionError(f"no address in {line!r}; {self.process.stderr.read()}")  # type: ignore[union-attr]
        return int(match.group(1))

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.channel is not None:
            self.channel.close()
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self.process = None
        return code

    def events(self, after: int = 0, *, account: str = "PAPER-1") -> list[paper_pb2.StreamEventsResponse]:
        """Everything said so far after a sequence."""
        last = self.venue.GetPortfolio(paper_pb2.GetPortfolioRequest(account=account)).event_sequence
        if last <= after:
            return []
        request = paper_pb2.StreamEventsRequest(account=account, after_sequence=after)
        stream = self.venue.StreamEvents(request, timeout=DEADLINE_S)
        collected = []
        for event in stream:
            collected.append(event)
            if event.sequence >= last:
                break
        stream.cancel()
        return collected

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the venue did not get there in time"
            threading.Event().wait(0.02)


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[VenueUnderTest]:
    under_test = VenueUnderTest(tmp_path / "paper")
    yield under_test
    if under_test.process is not None:
        with contextlib.suppress(ProcessLookupError):
            under_test.kill()


@pytest.fixture
def words() -> Any:
    """``daily_bar`` and ``market_order``, for tests that build requests."""

    class Words:
        bar = staticmethod(daily_bar)
        order = staticmethod(market_order)
        stock = STOCK

    return Words
