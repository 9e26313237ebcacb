"""A trading floor around the pure broker: short words for what tests do all day, and short lines for what is said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message

from kestrel.common.v1 import common_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MILLISECOND_NS, SECOND_NS
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.broker import Addressed, Broker
from kestrel_simulators.tws.faults import Fault
from kestrel_simulators.tws.terms import Contract, Order

ACCOUNT = "DU1234567"
CLIENT = 7
START_NS = 1_795_446_000 * SECOND_NS  # a Monday, ten in the morning in New York
STOCK = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=2, qty_scale=0, tick_units=1, lot_units=1, multiplier=1
)
APPLE = Contract(symbol="AAPL", sec_type="STK", exchange="SMART", currency="USD")


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


def order(action: str, qty: str, kind: str = "MKT", **more: Any) -> Order:
    """``limit``, ``stop`` and ``trail`` are texts; everything else is named as the protocol does."""
    for name, field_name in (("limit", "lmt_price"), ("stop", "aux_price"), ("trail", "aux_price")):
        if name in more:
            more[field_name] = Number.parse(more.pop(name))
    return Order(action=action, total_quantity=Number.parse(qty), order_type=kind, **more)


def line(reply: replies.Reply) -> str:
    """One reply as a short line; account values are too many to be shown."""
    match reply:
        case replies.OpenOrder():
            return f"open {reply.order_id} {reply.state.status}"
        case replies.OrderStatus():
            total = reply.filled + reply.remaining
            return f"status {reply.order_id} {reply.status} {reply.filled}/{total}"
        case replies.ExecDetails():
            return f"exec {reply.order_id} {reply.side} {reply.shares}@{reply.price}"
        case replies.CommissionReport():
            realized = f" realized {reply.realized_pnl}" if reply.realized_pnl is not None else ""
            return f"fee {reply.commission}{realized}"
        case replies.Position():
            return f"position {reply.position} at {reply.average_cost.rounded(4)}"
        case replies.PortfolioValue():
            return f"portfolio {reply.position}"
        case replies.Error():
            return f"error {reply.req_id} {reply.code}"
        case replies.CompletedOrder():
            return f"completed {reply.order.order_ref} {reply.status} {reply.filled_quantity}"
    return type(reply).__name__


@dataclass
class Floor:
    """One broker, every call made to it, its clock, and what it said last."""

    broker: Broker = field(default_factory=Broker)
    now_ns: int = START_NS
    calls: list[tuple[str, tuple[Any, ...], int]] = field(default_factory=list)
    every: list[list[Addressed]] = field(default_factory=list)
    last: list[Addressed] = field(default_factory=list)
    bar_count: int = 0

    def call(self, name: str, *args: Any) -> list[Addressed]:
        """One call of the broker, after what was due; as a server makes them."""
        deadline_ns = self.broker.next_deadline_ns()
        due = self._call("advance", (), self.now_ns) if deadline_ns is not None and deadline_ns <= self.now_ns else []
        self.last = due + self._call(name, args, self.now_ns)
        return self.last

    def _call(self, name: str, args: tuple[Any, ...], now_ns: int) -> list[Addressed]:
        said: list[Addressed] = getattr(self.broker, name)(*args, now_ns=now_ns)
        self.calls.append((name, args, now_ns))
        self.every.append(said)
        return said

    def replayed(self) -> Floor:
        """Another broker to which the same calls were made."""
        twin = Floor(now_ns=self.now_ns)
        for call in self.calls:
            twin._call(*call)
        return twin

    # ── Clients ────────────────────────────────────────────────────────────────────────────────────────

    def connect(self, client_id: int = CLIENT) -> list[str]:
        self.call("connect", client_id)
        return self.lines(client_id)

    def disconnect(self, client_id: int = CLIENT) -> None:
        self.call("disconnect", client_id)

    def ask(self, request: requests.Request, client_id: int = CLIENT) -> list[str]:
        self.call("handle", client_id, request)
        return self.lines(client_id)

    def place(self, order_id: int, terms: Order, client_id: int = CLIENT, contract: Contract = APPLE) -> list[str]:
        if not terms.order_ref:
            terms = replace(terms, order_ref=f"k{order_id}")
        return self.ask(requests.PlaceOrder(order_id, contract, terms), client_id)

    def cancel(self, order_id: int, client_id: int = CLIENT) -> list[str]:
        return self.ask(requests.CancelOrder(order_id), client_id)

    # ── The admin door ─────────────────────────────────────────────────────────────────────────────────

    def control(self, message: Message) -> list[str]:
        self.call("control", message)
        return self.lines()

    def fault(self, fault: Fault, **more: Any) -> None:
        self.control(tws_pb2.SetFaultRequest(fault=fault.value, **more))

    def bar(self, open_: str, high: str, low: str, close: str, interval_ns: int = DAY_NS) -> list[str]:
        """The next day's bar, a second later."""
        self.bar_count += 1
        self.now_ns += SECOND_NS
        prices = {"open": decimal(open_), "high": decimal(high), "low": decimal(low), "close": decimal(close)}
        bar = venue_pb2.Bar(
            instrument=STOCK, start_ns=START_NS // DAY_NS * DAY_NS + self.bar_count * interval_ns,
            interval_ns=interval_ns, **prices,
        )  # fmt: skip
        return self.control(tws_pb2.PublishBarRequest(bar=bar))

    def price(self, price: str) -> list[str]:
        """A quote without a spread."""
        self.now_ns += SECOND_NS
        return self.control(tws_pb2.PublishQuoteRequest(instrument=STOCK, bid=decimal(price), ask=decimal(price)))

    def wait(self, ms: int) -> list[str]:
        self.now_ns += ms * MILLISECOND_NS
        deadline_ns = self.broker.next_deadline_ns()
        is_due = deadline_ns is not None and deadline_ns <= self.now_ns
        self.last = self._call("advance", (), self.now_ns) if is_due else []
        return self.lines()

    def ledger(self) -> tws_pb2.GetLedgerResponse:
        return self.broker.ledger(tws_pb2.GetLedgerRequest(account=ACCOUNT))

    def lines(self, client_id: int = CLIENT) -> list[str]:
        """What the last step said to one client."""
        mine = [each.reply for each in self.last if each.client_id == client_id]
        return [line(reply) for reply in mine if not isinstance(reply, replies.AccountValue)]

    def replies(self, kind: type[Any], client_id: int = CLIENT) -> list[Any]:
        return [each.reply for each in self.last if isinstance(each.reply, kind) and each.client_id == client_id]

    @property
    def cash(self) -> str:
        return str(Number.of(self.ledger().cash))
