"""A small account: journal entries as the kernel writes them, truths as the gateway publishes them."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.timestamps import SECOND_NS
from kestrel_reconciler.core.reconciliation import AskTruth, Effect, Reconciliation, Rules, Truth

ACCOUNT = "PAPER-1"
VENUE = "paper"
ORDER = "ksaaaaaaaaaaaaaaaaaaaaaaaaaa"
T0 = 1_780_000_000 * SECOND_NS
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def number(units: int, scale: int = 0) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=scale)


def instrument(symbol: str) -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
    )


def order_view(
    life: state_pb2.OrderLife.ValueType,
    order_qty: int = 100,
    cum_qty: int = 0,
    client_order_id: str = ORDER,
    *,
    in_doubt: bool = False,
) -> state_pb2.OrderView:
    return state_pb2.OrderView(
        client_order_id=client_order_id,
        life=life,
        side=common_pb2.SIDE_BUY,
        order_qty=number(order_qty),
        cum_qty=number(cum_qty),
        in_doubt=in_doubt,
    )


def slot(
    symbol: str = "AAPL", qty: int = 0, entry: state_pb2.OrderView | None = None, index: int = 0
) -> state_pb2.SlotSnapshot:
    return state_pb2.SlotSnapshot(
        slot_index=index, trade_id="trade-1", instrument=instrument(symbol), qty=number(qty), entry=entry
    )


def fill(
    qty: int, symbol: str = "AAPL", price: int | None = 1_000_000, execution_id: str = "e1"
) -> journal_pb2.BookedFill:
    return journal_pb2.BookedFill(
        execution_id=execution_id,
        client_order_id=ORDER,
        symbol=symbol,
        side=common_pb2.SIDE_BUY if qty > 0 else common_pb2.SIDE_SELL,
        last_qty=number(abs(qty)),
        last_price=None if price is None else number(price, 4),
    )


def entry(
    *,
    input_sequence: int = 1,
    time_ns: int = T0,
    report: venue_pb2.VenueReport | None = None,
    capital: int | None = None,
    **parts: object,
) -> journal_pb2.JournalEntry:
    message = inbox_pb2.InboxMessage(venue=report or venue_pb2.VenueReport(venue=VENUE, account=ACCOUNT))
    after = None
    if capital is not None:
        after = state_pb2.AccountSnapshot(account=ACCOUNT, currency="USD", capital=number(capital, 2))
    return journal_pb2.JournalEntry(
        account=ACCOUNT,
        input_sequence=input_sequence,
        input_time_ns=time_ns,
        input=message.SerializeToString(),
        outcome=journal_pb2.Outcome(accepted=True, code="OK"),
        account_after=after,
        traceparent=TRACEPARENT,
        **parts,  # type: ignore[arg-type]
    )


def bought(qty: int = 100, symbol: str = "AAPL", **more: object) -> journal_pb2.JournalEntry:
    """A trade that was entered: one fill, and the slot that holds it."""
    return entry(slots=[slot(symbol, qty)], fills=[fill(qty, symbol)], **more)  # type: ignore[arg-type]


def truth(
    positions: dict[str, int] | None = None,
    *,
    as_of_ns: int = T0,
    orders: list[venue_pb2.TruthOrder] | None = None,
    wallet: int | None = None,
    price: int | None = None,
    completeness: venue_pb2.Completeness.ValueType = venue_pb2.COMPLETENESS_SNAPSHOT,
) -> venue_pb2.BrokerTruth:
    return venue_pb2.BrokerTruth(
        venue=VENUE,
        account=ACCOUNT,
        completeness=completeness,
        as_of_ns=as_of_ns,
        positions=[
            venue_pb2.TruthPosition(
                symbol=symbol, qty=number(qty), average_price=None if price is None else number(price, 4)
            )
            for symbol, qty in (positions or {}).items()
        ],
        open_orders=orders or [],
        balance=None if wallet is None else venue_pb2.Balance(wallet=number(wallet, 2), currency="USD"),
    )


def truth_order(
    cum_qty: int = 0, client_order_id: str = ORDER, symbol: str = "AAPL", order_qty: int = 100
) -> venue_pb2.TruthOrder:
    return venue_pb2.TruthOrder(
        client_order_id=client_order_id,
        venue_order_id="v1",
        symbol=symbol,
        side=common_pb2.SIDE_BUY,
        order_qty=number(order_qty),
        cum_qty=number(cum_qty),
    )


class World:
    """One account and a gateway that answers every question at once, with what ``answer`` says."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.account = Reconciliation(ACCOUNT, rules or Rules())
        self.now_ns = T0
        self.answer: venue_pb2.BrokerTruth | None = truth()
        self.inbox_sequence = 0
        self.effects: list[Effect] = []
        self.questions: list[int] = []
        self._journal_sequence = 0
        self._truth_sequence = 0

    def journal(self, one: journal_pb2.JournalEntry) -> None:
        self._journal_sequence += 1
        self.account.take_entry(self._journal_sequence, one, self.now_ns)

    def publish(self, body: venue_pb2.BrokerTruth | None = None) -> None:
        """The gateway publishes what it has, as of now."""
        found = venue_pb2.BrokerTruth()
        found.CopyFrom(body or self.answer or truth())
        if found.completeness == venue_pb2.COMPLETENESS_SNAPSHOT:
            found.as_of_ns = self.now_ns
        self._truth_sequence += 1
        self.account.take_truth(Truth(found, self._truth_sequence, self.inbox_sequence))

    def tick(self) -> list[Effect]:
        out = self.account.tick(self.now_ns)
        self.effects += out
        if any(isinstance(one, AskTruth) for one in out):
            self.questions.append(self.now_ns)
            if self.answer is not None:
                self.publish()
                out += self.tick()
        return out

    def run_until(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline."""
        end_ns = T0 + int(seconds * SECOND_NS)
        self.tick()
        while self.now_ns < end_ns:
            self.now_ns = min(max(self.account.next_deadline_ns(), self.now_ns + 1_000_000), end_ns)
            self.tick()
