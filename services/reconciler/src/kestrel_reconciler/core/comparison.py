"""Compares three books of one account and says what differs. Pure, and complete: it reports all it finds.

Findings come in a stable order (R04): position quantities, average cost, positions outside the ledger's scope, then
filled quantities, orders, balance; within each by symbol, then by order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX
from kestrel_domain.numbers import Number
from kestrel_reconciler.core import adoption
from kestrel_reconciler.core.books import Books, WorkingOrder

NONE = "none"

POSITION_QUANTITY_MISMATCH = "POSITION_QUANTITY_MISMATCH"
POSITION_MISSING_AT_BROKER = "POSITION_MISSING_AT_BROKER"
POSITION_OUTSIDE_LEDGER_SCOPE = "BROKER_POSITION_OUTSIDE_LEDGER_SCOPE"
POSITION_MISSING_IN_MACHINE = "POSITION_MISSING_IN_MACHINE"
LEDGER_MISMATCH = "LEDGER_MISMATCH"
AVERAGE_COST_MISMATCH = "AVERAGE_COST_MISMATCH"
FILLED_QUANTITY_MISMATCH = "FILLED_QUANTITY_MISMATCH"
ORDER_MISSING_AT_BROKER = "ORDER_MISSING_AT_BROKER"
ORDER_MISSING_IN_MACHINE = "ORDER_MISSING_IN_MACHINE"
EXTERNAL_ORDER = "EXTERNAL_ORDER"
BALANCE_MISMATCH = "BALANCE_MISMATCH"

SEVERITIES: Mapping[str, common_pb2.Severity.ValueType] = {
    POSITION_QUANTITY_MISMATCH: common_pb2.SEVERITY_CRITICAL,
    POSITION_MISSING_AT_BROKER: common_pb2.SEVERITY_CRITICAL,
    POSITION_MISSING_IN_MACHINE: common_pb2.SEVERITY_CRITICAL,
    POSITION_OUTSIDE_LEDGER_SCOPE: common_pb2.SEVERITY_CRITICAL,
    LEDGER_MISMATCH: common_pb2.SEVERITY_CRITICAL,
    AVERAGE_COST_MISMATCH: common_pb2.SEVERITY_WARNING,
    FILLED_QUANTITY_MISMATCH: common_pb2.SEVERITY_CRITICAL,
    ORDER_MISSING_AT_BROKER: common_pb2.SEVERITY_WARNING,
    ORDER_MISSING_IN_MACHINE: common_pb2.SEVERITY_CRITICAL,
    EXTERNAL_ORDER: common_pb2.SEVERITY_WARNING,
    BALANCE_MISMATCH: common_pb2.SEVERITY_WARNING,
}
"""How much a person should care. An order of ours that works at the broker and is unknown here can still fill."""

_ORDER = (
    POSITION_QUANTITY_MISMATCH,
    POSITION_MISSING_AT_BROKER,
    POSITION_MISSING_IN_MACHINE,
    LEDGER_MISMATCH,
    AVERAGE_COST_MISMATCH,
    POSITION_OUTSIDE_LEDGER_SCOPE,
    FILLED_QUANTITY_MISMATCH,
    ORDER_MISSING_IN_MACHINE,
    ORDER_MISSING_AT_BROKER,
    EXTERNAL_ORDER,
    BALANCE_MISMATCH,
)


@dataclass(frozen=True, slots=True)
class Key:
    """What a difference is about: the same place again is the same difference, whatever its figures."""

    kind: reconcile_pb2.BreakKind.ValueType
    symbol: str = ""
    client_order_id: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: both sides as text, and how far they are apart."""

    key: Key
    reason: str
    machine_state: str
    broker_state: str
    message: str
    delta: str = ""
    """What must stay the same for two sightings to be one difference: a message under way changes it."""

    @property
    def severity(self) -> common_pb2.Severity.ValueType:
        return SEVERITIES[self.reason]

    @property
    def needs_broker(self) -> bool:
        """Ledger against machine are both of one journal entry: there nothing can be under way."""
        return self.key.kind != reconcile_pb2.BREAK_KIND_LEDGER


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Differences no larger than these are none."""

    balance: Number
    average_price_ticks: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """All findings, in their stable order, and what was compared."""

    findings: tuple[Finding, ...]
    position_count: int
    order_count: int
    matched_count: int


def compare(books: Books, truth: venue_pb2.BrokerTruth | None, tolerances: Tolerances) -> Comparison:
    """Compare. Without a truth that can be trusted, only the two books of our own are compared."""
    findings = list(_ledger(books))
    positions = set(books.positions()) | set(books.ledger_positions())
    orders = set(books.working_orders())
    if truth is not None:
        held = _held(truth)
        positions |= set(held)
        orders |= {_order_key(order) for order in truth.open_orders}
        findings += _positions(books, held, _advice(books, truth))
        findings += _average_cost(books, truth, tolerances)
        findings += _orders(books, truth)
        findings += _balance(books, truth, tolerances)
    findings.sort(key=lambda one: (_ORDER.index(one.reason), one.key.symbol, one.key.client_order_id))
    unmatched_positions = {one.key.symbol for one in findings if one.key.symbol and not one.key.client_order_id}
    unmatched_orders = {one.key.client_order_id for one in findings if one.key.client_order_id}
    matched = len(positions - unmatched_positions) + len(orders - unmatched_orders)
    return Comparison(tuple(findings), len(positions), len(orders), matched)


def position_text(qty: Number | None, symbol: str) -> str:
    """``BUY 100 AAPL``, or ``none``."""
    return f"{'BUY' if qty > Number.zero() else 'SELL'} {abs(qty)} {symbol}" if qty else NONE


def _held(truth: venue_pb2.BrokerTruth) -> dict[str, Number]:
    found: dict[str, Number] = {}
    for position in truth.positions:
        found[position.symbol] = found.get(position.symbol, Number.zero()) + Number.of(position.qty)
    return {symbol: qty for symbol, qty in found.items() if qty}


def _ledger(books: Books) -> Iterator[Finding]:
    machine, ledger = books.positions(), books.ledger_positions()
    for symbol in sorted(set(machine) | set(ledger)):
        ours, sums = machine.get(symbol), ledger.get(symbol)
        if (ours or Number.zero()) != (sums or Number.zero()):
            yield Finding(
                Key(reconcile_pb2.BREAK_KIND_LEDGER, symbol),
                LEDGER_MISMATCH,
                position_text(ours, symbol),
                f"ledger: {position_text(sums, symbol)}",
                f"the kernel holds {position_text(ours, symbol)}, its fills add up to {position_text(sums, symbol)}",
            )


def _advice(books: Books, truth: venue_pb2.BrokerTruth) -> dict[str, str]:
    """For each position that is nobody's: whether a slot could take it, when a person approves that (X13)."""
    free_slot_count = books.free_slot_count()
    if free_slot_count is None:
        return {}
    known = books.positions().keys() | books.ledger_positions().keys()
    division = adoption.divide((each for each in truth.positions if each.symbol not in known), free_slot_count)
    return {
        **dict.fromkeys(division.adoptable, "; a free slot could take it over, if a person approves"),
        **dict.fromkeys(division.orphans, "; an orphan: no slot is left for it, and nothing here trades it"),
    }


def _positions(books: Books, held: Mapping[str, Number], advice: Mapping[str, str]) -> Iterator[Finding]:
    machine, ledger = books.positions(), books.ledger_positions()
    for symbol in sorted(set(machine) | set(held)):
        ours, theirs = machine.get(symbol), held.get(symbol)
        if (ours or Number.zero()) == (theirs or Number.zero()):
            continue
        kind = reconcile_pb2.BREAK_KIND_POSITION_COUNT
        if ours and theirs:
            kind, reason = reconcile_pb2.BREAK_KIND_POSITION_SIZE, POSITION_QUANTITY_MISMATCH
        elif ours:
            reason = POSITION_MISSING_AT_BROKER
        else:
            reason = POSITION_MISSING_IN_MACHINE if symbol in ledger else POSITION_OUTSIDE_LEDGER_SCOPE
        here, there = position_text(ours, symbol), position_text(theirs, symbol)
        delta = (theirs or Number.zero()) - (ours or Number.zero())
        message = f"the broker holds {there}, the machine {here}{advice.get(symbol, '')}"
        yield Finding(Key(kind, symbol), reason, here, there, message, str(delta))


def _average_cost(books: Books, truth: venue_pb2.BrokerTruth, tolerances: Tolerances) -> Iterator[Finding]:
    """Compared only where quantities agree and every fill had a price: otherwise nothing could be concluded."""
    for position in truth.positions:
        holding = books.ledger.get(position.symbol)
        if holding is None or not position.HasField("average_price") or holding.qty != Number.of(position.qty):
            continue
        ours = holding.average_price
        theirs = Fraction(position.average_price.units, 10**position.average_price.scale)
        margin = books.tick_price(position.symbol) * tolerances.average_price_ticks
        if ours is None or abs(ours - theirs) <= margin:
            continue
        scale = position.average_price.scale
        here, there = f"{_rounded(ours, scale)} average", f"{Number.of(position.average_price)} average"
        message = f"{position.symbol}: our fills cost {here}, the broker says {there}"
        key = Key(reconcile_pb2.BREAK_KIND_PNL, position.symbol)
        yield Finding(key, AVERAGE_COST_MISMATCH, here, there, message, f"{here} {there}")


def _orders(books: Books, truth: venue_pb2.BrokerTruth) -> Iterator[Finding]:
    ours = books.working_orders()
    theirs = {_order_key(order): order for order in truth.open_orders}
    for order_id in sorted(set(ours) | set(theirs)):
        mine, broker = ours.get(order_id), theirs.get(order_id)
        if mine is not None and broker is not None:
            yield from _filled(mine, broker)
        elif mine is not None:
            state = "in doubt" if mine.in_doubt else "open" if mine.acknowledged else "sent"
            here = f"{state}: {_order_text(mine.side, mine.order_qty, mine.cum_qty, mine.symbol)}"
            message = f"order {order_id} works here ({here}) and not at the broker"
            key = Key(reconcile_pb2.BREAK_KIND_ORDER_STATUS, mine.symbol, order_id)
            yield Finding(key, ORDER_MISSING_AT_BROKER, here, NONE, message)
        elif broker is not None:
            is_ours = broker.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)
            reason = ORDER_MISSING_IN_MACHINE if is_ours else EXTERNAL_ORDER
            quantities = Number.of(broker.order_qty), Number.of(broker.cum_qty)
            there = f"open: {_order_text(broker.side, *quantities, broker.symbol)}"
            whose = "ours by its id" if is_ours else "not ours by its id"
            message = f"order {order_id} ({whose}) works at the broker ({there}) and not here"
            key = Key(reconcile_pb2.BREAK_KIND_ORDER_STATUS, broker.symbol, order_id)
            yield Finding(key, reason, NONE, there, message)


def _filled(mine: WorkingOrder, broker: venue_pb2.TruthOrder) -> Iterator[Finding]:
    theirs = Number.of(broker.cum_qty)
    if mine.cum_qty != theirs:
        here, there = f"filled {mine.cum_qty} of {mine.order_qty}", f"filled {theirs} of {Number.of(broker.order_qty)}"
        message = f"order {mine.client_order_id}: {here} here, {there} at the broker"
        key = Key(reconcile_pb2.BREAK_KIND_PARTIAL_FILL, mine.symbol, mine.client_order_id)
        yield Finding(key, FILLED_QUANTITY_MISMATCH, here, there, message, str(theirs - mine.cum_qty))


def _balance(books: Books, truth: venue_pb2.BrokerTruth, tolerances: Tolerances) -> Iterator[Finding]:
    """The wallet against the capital the kernel expects: the last anchor and what it booked since."""
    account = books.snapshot
    if account is None or not account.HasField("capital") or not truth.balance.HasField("wallet"):
        return
    if account.capital_source == state_pb2.CAPITAL_SOURCE_SEED:
        return  # a figure from the settings, until the venue's first balance: nothing to hold against it
    ours, theirs = Number.of(account.capital), Number.of(truth.balance.wallet)
    if abs(theirs - ours) > tolerances.balance:
        here, there = f"{ours} {account.currency}", f"{theirs} {truth.balance.currency}"
        message = f"the broker's wallet is {there}, the machine expects {here}"
        key = Key(reconcile_pb2.BREAK_KIND_PNL)
        yield Finding(key, BALANCE_MISMATCH, here, there, message, str(theirs - ours))


def _order_key(order: venue_pb2.TruthOrder) -> str:
    return order.client_order_id or f"venue:{order.venue_order_id}"


def _order_text(side: common_pb2.Side.ValueType, order_qty: Number, cum_qty: Number, symbol: str) -> str:
    name = common_pb2.Side.Name(side).removeprefix("SIDE_")
    return f"{name} {order_qty} {symbol}, {cum_qty} filled"


def _rounded(value: Fraction, scale: int) -> Number:
    return Number(round(value * 10**scale), scale)
