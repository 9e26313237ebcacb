"""Builders of inbox messages for an account like the laptop's, and a partition to apply them to.

Makes ``kernel_views_twin`` importable by the tests of this service.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import entry_client_order_id, exit_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_kernel.config import AccountSettings
from kestrel_kernel.core.partition import Partition, Step

sys.path.insert(0, str(Path(__file__).parent))

ACCOUNT, VENUE = "PAPER-1", "paper"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECOND_NS = 1_000_000_000
START_NS = 1_780_000_000 * SECOND_NS


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


def instrument(symbol: str = "AAPL") -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
    )


class Messages:
    """Inbox messages, each with ids of its own."""

    account = ACCOUNT
    trace = TRACE

    def intent(self, intent_id: str = "trade-1", **changes: object) -> intent_pb2.Intent:
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account=ACCOUNT,
            venue=VENUE,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=instrument(),
            side=common_pb2.SIDE_BUY,
            order_qty=decimal("100"),
            order_type=common_pb2.ORDER_TYPE_MARKET,
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            stop_price=decimal("140.00"),
            target_price=decimal("170.00"),
            reference_price=decimal("150.25"),
            leverage=1,
            strategy="momentum",
            attempt=1,
        )
        for name, value in changes.items():
            if hasattr(value, "CopyFrom"):
                getattr(intent, name).CopyFrom(value)
            elif isinstance(value, list):
                getattr(intent, name).extend(value)
            else:
                setattr(intent, name, value)
        return intent

    def entry(
        self, intent: intent_pb2.Intent | None = None, *, expires_at_ns: int = START_NS + 300 * SECOND_NS
    ) -> inbox_pb2.InboxMessage:
        intent = intent or self.intent()
        authorized = intent_pb2.AuthorizedIntent(
            intent=intent.SerializeToString(),
            token="v4.public.token-of-" + intent.intent_id,
            exit_warrant="v4.public.warrant-of-" + intent.intent_id,
            decision_id="decision-1",
            expires_at_ns=expires_at_ns,
        )
        return inbox_pb2.InboxMessage(entry=authorized)

    def exit(self, trade_id: str = "trade-1", request_id: str = "exit-1", qty: str = "") -> inbox_pb2.InboxMessage:
        request = intent_pb2.ExitRequest(request_id=request_id, account=ACCOUNT, trade_id=trade_id, reason="target")
        if qty:
            request.order_qty.CopyFrom(decimal(qty))
        return inbox_pb2.InboxMessage(exit=request)

    def control(
        self, action: inbox_pb2.ControlAction.ValueType, request_id: str, **fields: str
    ) -> inbox_pb2.InboxMessage:
        control = inbox_pb2.Control(request_id=request_id, account=ACCOUNT, action=action, **fields)
        return inbox_pb2.InboxMessage(control=control)

    def tick(self) -> inbox_pb2.InboxMessage:
        return inbox_pb2.InboxMessage(tick=inbox_pb2.Tick(account=ACCOUNT))

    def report(self, report_id: str, **body: object) -> inbox_pb2.InboxMessage:
        report = venue_pb2.VenueReport(report_id=report_id, account=ACCOUNT, venue=VENUE, **body)  # type: ignore[arg-type]
        return inbox_pb2.InboxMessage(venue=report)

    def order(
        self, report_id: str, fact: venue_pb2.OrderFact.ValueType, client_order_id: str, venue_order_id: str = ""
    ) -> inbox_pb2.InboxMessage:
        order = venue_pb2.OrderReport(
            fact=fact, client_order_id=client_order_id, venue_order_id=venue_order_id, symbol="AAPL"
        )
        if fact == venue_pb2.ORDER_FACT_REJECTED:
            order.reason.CopyFrom(common_pb2.Refusal(reason="NO_MARGIN", message="not enough margin"))
        return self.report(report_id, order=order)

    def fill(
        self,
        execution_id: str,
        client_order_id: str,
        side: common_pb2.Side.ValueType,
        qty: str,
        price: str,
        fee: str = "",
    ) -> inbox_pb2.InboxMessage:
        fill = venue_pb2.Fill(
            execution_id=execution_id,
            client_order_id=client_order_id,
            symbol="AAPL",
            side=side,
            last_qty=decimal(qty),
            fee_currency="USD",
            liquidity=venue_pb2.LIQUIDITY_TAKER,
        )
        if price:
            fill.last_price.CopyFrom(decimal(price))
        if fee:
            fill.fee.CopyFrom(decimal(fee))
        return self.report("fill-" + execution_id, fill=fill)

    def balance(self, report_id: str, wallet: str) -> inbox_pb2.InboxMessage:
        return self.report(
            report_id, balance=venue_pb2.Balance(wallet=decimal(wallet), available=decimal(wallet), currency="USD")
        )

    def mark(self, report_id: str, price: str, symbol: str = "AAPL") -> inbox_pb2.InboxMessage:
        return self.report(report_id, mark=venue_pb2.Mark(symbol=symbol, price=decimal(price)))

    @staticmethod
    def entry_order_id(intent_id: str = "trade-1", attempt: int = 1) -> str:
        return entry_client_order_id(token_id(intent_id, attempt))

    @staticmethod
    def exit_order_id(trade_id: str, input_sequence: int) -> str:
        return exit_client_order_id(trade_id, input_sequence)


@dataclass
class Desk:
    """A partition with a clock and a counter of its own: what INBOX would be."""

    partition: Partition
    sequence: int = 0
    now_ns: int = START_NS
    steps: list[Step] = field(default_factory=list)

    def put(
        self,
        message: inbox_pb2.InboxMessage | bytes,
        *,
        door: str = "",
        account: str = ACCOUNT,
        after_ns: int = 1_000_000,
    ) -> journal_pb2.JournalEntry:
        """Apply one message, as if it had been stored a moment later."""
        if isinstance(message, bytes):
            data, body = message, door
        else:
            data, body = message.SerializeToString(), door or message.WhichOneof("body") or ""
        self.sequence += 3  # other partitions' messages lie in between
        self.now_ns += after_ns
        subject = f"inbox.{self.partition.partition}.{account}.{body}"
        step = self.partition.apply(subject, self.sequence, self.now_ns, data, TRACE, recorded_at_ns=self.now_ns + 5)
        self.steps.append(step)
        assert step.data == step.entry.SerializeToString(deterministic=True), "written otherwise than protobuf would"
        return step.entry


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
def configuration() -> state_pb2.AccountConfiguration:
    settings = AccountSettings(
        account=ACCOUNT,
        venue=VENUE,
        max_slots=2,
        seed_wallet="1000000.00",
        taker_fee_rate="0.0005",
        leverage_cap=3,
    )
    return settings.configuration("paper")


@pytest.fixture
def desk(configuration: state_pb2.AccountConfiguration) -> Desk:
    partition = Partition(0, 1)
    desk = Desk(partition)
    desk.steps.append(partition.start_epoch(1, "test", [configuration], recorded_at_ns=START_NS))
    return desk
