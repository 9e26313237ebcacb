"""A journal of two accounts, made by the kernel's own code, with no server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.journal_file import Record
from kestrel_cli.journal.export import Exporter
from kestrel_cli.journal.records import Recorder, header
from kestrel_domain.identifiers import entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_kernel.config import AccountSettings
from kestrel_kernel.core.partition import Partition

START_NS = 1_780_000_000_000_000_000
ACCOUNTS = ("PAPER-1", "PAPER-2")
INSTRUMENT = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
)


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


@dataclass
class Journal:
    """Stored entries, in order: what the stream would hold."""

    partition: Partition = field(default_factory=lambda: Partition(0, 1))
    stored: list[bytes] = field(default_factory=list)
    input_sequence: int = 0

    def epoch(self) -> None:
        configurations = [
            AccountSettings(
                account=name, venue="paper", max_slots=2, seed_wallet="1000000.00", taker_fee_rate="0.0005"
            ).configuration("paper")
            for name in ACCOUNTS
        ]
        epoch = self.partition.epoch + 1
        self.stored.append(self.partition.start_epoch(epoch, "test", configurations, recorded_at_ns=START_NS).data)

    def put(self, message: inbox_pb2.InboxMessage | bytes, account: str = ACCOUNTS[0], door: str = "") -> None:
        self.input_sequence += 2
        data = message if isinstance(message, bytes) else message.SerializeToString()
        body = door or (message.WhichOneof("body") if isinstance(message, inbox_pb2.InboxMessage) else "")
        subject = f"inbox.0.{account}.{body}"
        at_ns = START_NS + self.input_sequence * 1_000_000
        self.stored.append(self.partition.apply(subject, self.input_sequence, at_ns, data, recorded_at_ns=at_ns).data)

    def enter(self, trade_id: str, account: str = ACCOUNTS[0]) -> None:
        intent = intent_pb2.Intent(
            intent_id=trade_id, account=account, venue="paper", environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=INSTRUMENT, side=common_pb2.SIDE_BUY, order_qty=decimal("100"),
            order_type=common_pb2.ORDER_TYPE_MARKET, time_in_force=common_pb2.TIME_IN_FORCE_DAY, leverage=1,
            strategy="momentum", attempt=1,
        )  # fmt: skip
        authorized = intent_pb2.AuthorizedIntent(
            intent=intent.SerializeToString(), token="v4.public.token", exit_warrant="v4.public.warrant",
            decision_id="d-1", expires_at_ns=START_NS * 2,
        )  # fmt: skip
        self.put(inbox_pb2.InboxMessage(entry=authorized), account)

    def fill(self, trade_id: str, qty: str, price: str, account: str = ACCOUNTS[0]) -> None:
        fill = venue_pb2.Fill(
            execution_id=f"{trade_id}-{self.input_sequence}",
            client_order_id=entry_client_order_id(token_id(trade_id, 1)),
            symbol="AAPL",
            side=common_pb2.SIDE_BUY,
            last_qty=decimal(qty),
            last_price=decimal(price),
        )
        report = venue_pb2.VenueReport(report_id=f"r-{self.input_sequence}", account=account, venue="paper", fill=fill)
        self.put(inbox_pb2.InboxMessage(venue=report), account)

    def tick(self, account: str = ACCOUNTS[0]) -> None:
        self.put(inbox_pb2.InboxMessage(tick=inbox_pb2.Tick(account=account)), account)

    def records(self, account: str = "") -> Iterator[Record]:
        recorder = Recorder(account)
        for sequence, data in enumerate(self.stored, 1):
            yield from recorder.records(sequence, data)

    def export(self, path: Path, *, first: int = 1, account: str = "", has_entries: bool = True) -> Path:
        made = header(0, account=account, has_entries=has_entries, was_verified=True)
        with path.open("wb") as file:
            exporter = Exporter(file, made, first)
            for record in self.records(account):
                exporter.take(record)
            exporter.finish()
            exporter.replayer.close()
        return path


@pytest.fixture
def journal() -> Journal:
    """Ten entries: an epoch, a trade of each account, a parked message, a refusal, a tick, a second epoch, a fill."""
    made = Journal()
    made.epoch()
    made.enter("trade-1")
    made.enter("trade-2", ACCOUNTS[1])
    made.fill("trade-1", "40", "150.30")
    made.put(b"not a message", door="venue")
    made.enter("trade-1")
    made.fill("trade-2", "100", "150.10", ACCOUNTS[1])
    made.tick()
    made.epoch()
    made.fill("trade-1", "60", "150.40")
    return made
