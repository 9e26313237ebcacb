"""Whole trades as messages: what INBOX holds when orders go well, and nothing else. Pure.

One trade is ten inputs: entry, being sent, acknowledged, two fills; exit, being sent, acknowledged, two fills.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects
from kestrel_domain.identifiers import entry_client_order_id, exit_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_kernel.config import AccountSettings

ACCOUNT, VENUE, PARTITION = "PAPER-1", "paper", 0
INPUTS_PER_TRADE = 10
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EXPIRES_AT_NS = 4_000_000_000 * 10**9
"""Far away: nothing here is about expiry."""


@dataclass(frozen=True, slots=True)
class Input:
    """One INBOX message."""

    subject: str
    data: bytes
    message_id: str


def configuration() -> state_pb2.AccountConfiguration:
    """The laptop's account."""
    settings = AccountSettings(
        account=ACCOUNT,
        venue=VENUE,
        max_slots=8,
        seed_wallet="1000000.00",
        taker_fee_rate="0.0005",
        maker_fee_rate="0.0002",
        leverage_cap=5,
    )
    return settings.configuration("paper")


def instrument(symbol: str = "AAPL") -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
    )


def trades(count: int, *, first: int = 0) -> list[Input]:
    """So many trades, one after the other, for an INBOX that was empty: an exit's order id follows from its place.

    ``first``: how many there were before these.
    """
    return [each for number in range(first, first + count) for each in trade(number, number * INPUTS_PER_TRADE + 1)]


def rejected(number: int) -> list[Input]:
    """An order that the venue refused: the entry, and its end."""
    trade_id = f"refused-{number}"
    order_id = entry_client_order_id(token_id(trade_id, 1))
    entry = (f"{trade_id}-1", inbox_pb2.InboxMessage(entry=_authorized(trade_id)))
    return list(map(_input, (entry, _order(number, order_id, venue_pb2.ORDER_FACT_REJECTED))))


def trade(number: int, first_sequence: int) -> list[Input]:
    """One trade whose first input stands there in INBOX."""
    trade_id = f"trade-{number}"
    entry_id = entry_client_order_id(token_id(trade_id, 1))
    exit_id = exit_client_order_id(trade_id, first_sequence + 5)
    buy, sell = common_pb2.SIDE_BUY, common_pb2.SIDE_SELL
    request = intent_pb2.ExitRequest(request_id=f"exit-{number}", account=ACCOUNT, trade_id=trade_id, reason="target")
    messages = [
        (f"{trade_id}-1", inbox_pb2.InboxMessage(entry=_authorized(trade_id))),
        _order(number, entry_id, venue_pb2.ORDER_FACT_SUBMITTING),
        _order(number, entry_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED),
        _fill(f"{number}-1", entry_id, buy, 1_900_000),
        _fill(f"{number}-2", entry_id, buy, 1_900_100),
        (request.request_id, inbox_pb2.InboxMessage(exit=request)),
        _order(number, exit_id, venue_pb2.ORDER_FACT_SUBMITTING),
        _order(number, exit_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED),
        _fill(f"{number}-3", exit_id, sell, 1_910_000),
        _fill(f"{number}-4", exit_id, sell, 1_910_100),
    ]
    return list(map(_input, messages))


def _input(named: tuple[str, inbox_pb2.InboxMessage]) -> Input:
    message_id, message = named
    subject = subjects.inbox(PARTITION, ACCOUNT, message.WhichOneof("body") or "")
    return Input(subject, message.SerializeToString(), message_id)


def _authorized(trade_id: str) -> intent_pb2.AuthorizedIntent:
    intent = intent_pb2.Intent(
        intent_id=trade_id,
        account=ACCOUNT,
        venue=VENUE,
        environment=common_pb2.ENVIRONMENT_PAPER,
        instrument=instrument(),
        side=common_pb2.SIDE_BUY,
        order_qty=Number(100, 0).message(),
        order_type=common_pb2.ORDER_TYPE_MARKET,
        time_in_force=common_pb2.TIME_IN_FORCE_DAY,
        stop_price=Number(1_800_000, 4).message(),
        target_price=Number(2_000_000, 4).message(),
        reference_price=Number(1_900_000, 4).message(),
        leverage=1,
        strategy="momentum",
        attempt=1,
    )
    return intent_pb2.AuthorizedIntent(
        intent=intent.SerializeToString(),
        token="v4.public." + "t" * 600,  # as long as real ones
        exit_warrant="v4.public." + "w" * 400,
        decision_id=f"decision-{trade_id}",
        expires_at_ns=EXPIRES_AT_NS,
    )


def _order(number: int, order_id: str, fact: venue_pb2.OrderFact.ValueType) -> tuple[str, inbox_pb2.InboxMessage]:
    order = venue_pb2.OrderReport(fact=fact, client_order_id=order_id, symbol="AAPL")
    if fact == venue_pb2.ORDER_FACT_ACKNOWLEDGED:
        order.venue_order_id = f"V-{order_id}"
    return _report(f"order-{order_id}-{fact}", order=order)


def _fill(
    execution_id: str, order_id: str, side: common_pb2.Side.ValueType, price_units: int
) -> tuple[str, inbox_pb2.InboxMessage]:
    fill = venue_pb2.Fill(
        execution_id=execution_id,
        client_order_id=order_id,
        symbol="AAPL",
        side=side,
        last_qty=Number(50, 0).message(),
        last_price=Number(price_units, 4).message(),
        fee_currency="USD",
        liquidity=venue_pb2.LIQUIDITY_TAKER,
    )
    return _report(f"fill-{execution_id}", fill=fill)


def _report(report_id: str, **body: venue_pb2.OrderReport | venue_pb2.Fill) -> tuple[str, inbox_pb2.InboxMessage]:
    report = venue_pb2.VenueReport(report_id=report_id, account=ACCOUNT, venue=VENUE, **body)  # type: ignore[arg-type]
    return report_id, inbox_pb2.InboxMessage(venue=report)
