"""What the broker's books look like to those who ask: positions, ticks, history, executions, the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from kestrel.common.v1 import common_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MINUTE_NS, SECOND_NS, to_text
from kestrel_simulators.matching import Market
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.contracts import EXCHANGE, PRIMARY_EXCHANGE, SEC_TYPE, Listing
from kestrel_simulators.tws.desk import Desk
from kestrel_simulators.tws.money import Holding, Ledger, amount
from kestrel_simulators.tws.orders import Execution, LiveOrder
from kestrel_simulators.tws.replies import (
    HistoricalBar,
    PnlSingle,
    PortfolioValue,
    Position,
    Reply,
    SymbolSample,
    TickPrice,
    TickSize,
    TickString,
)
from kestrel_simulators.tws.requests import PlaceOrder, ReqExecutions, ReqHistoricalData
from kestrel_simulators.tws.terms import Contract, Order

BID, ASK, LAST, HIGH, LOW, VOLUME, CLOSE, OPEN, LAST_TIME = 1, 2, 4, 6, 7, 8, 9, 14, 45
_TICK_SIZE = Number(100, 0)
_SECONDS = {"sec": 1, "secs": 1, "min": 60, "mins": 60, "hour": 3600, "hours": 3600, "day": 86_400, "days": 86_400}

# ── Positions ──────────────────────────────────────────────────────────────────────────────────────────


def _holding(ledger: Ledger, listing: Listing) -> Holding:
    return ledger.holdings.get(listing.instrument.symbol) or Holding(listing.instrument)


def position(ledger: Ledger, listing: Listing) -> Position:
    holding = _holding(ledger, listing)
    return Position(ledger.name, listing.contract(PRIMARY_EXCHANGE), holding.qty, holding.average_cost)


def portfolio_value(ledger: Ledger, listing: Listing, last_units: int) -> PortfolioValue:
    holding = _holding(ledger, listing)
    return PortfolioValue(
        contract=listing.contract(),
        position=holding.qty,
        market_price=listing.price(last_units),
        market_value=amount(holding.market_value_units(last_units)),
        average_cost=holding.average_cost,
        unrealized_pnl=amount(holding.unrealized_units(last_units)),
        realized_pnl=amount(holding.realized_units),
        account=ledger.name,
    )


def pnl_single(req_id: int, ledger: Ledger, listing: Listing, last_units: int) -> PnlSingle:
    holding = _holding(ledger, listing)
    unrealized = holding.unrealized_units(last_units)
    return PnlSingle(
        req_id=req_id,
        position=holding.qty,
        daily=amount(holding.realized_units + unrealized),
        unrealized=amount(unrealized),
        realized=amount(holding.realized_units),
        value=amount(holding.market_value_units(last_units)),
    )


# ── Prices ─────────────────────────────────────────────────────────────────────────────────────────────


def ticks(req_id: int, listing: Listing, market: Market, bar: venue_pb2.Bar | None, volume: Number) -> list[Reply]:
    """The prices there are now; with bars published, the last bar's too, and all their volume."""
    prices = [(BID, market.bid_units), (ASK, market.ask_units), (LAST, market.last_units)]
    said: list[Reply] = [TickPrice(req_id, kind, listing.price(units), _TICK_SIZE) for kind, units in prices]
    if bar is not None:
        of_bar = [(HIGH, bar.high), (LOW, bar.low), (OPEN, bar.open), (CLOSE, bar.close)]
        said += [TickPrice(req_id, kind, Number.of(price)) for kind, price in of_bar]
        said.append(TickSize(req_id, VOLUME, volume))
        said.append(TickString(req_id, LAST_TIME, str((bar.start_ns + bar.interval_ns) // SECOND_NS)))
    return said


def trades(req_id: int, listing: Listing, path: Iterable[int]) -> list[Reply]:
    """The prices on the way to where the market is now: who makes bars of ticks gets the bars that were published."""
    return [TickPrice(req_id, LAST, listing.price(units), _TICK_SIZE) for units in path]


def is_same_bar(known: venue_pb2.Bar, bar: venue_pb2.Bar) -> bool:
    """Whether a bar was published before. Other prices for the same bar are refused: bars are final."""
    if (known.start_ns, known.interval_ns) != (bar.start_ns, bar.interval_ns):
        return False
    for name in ("open", "high", "low", "close", "volume"):
        if Number.of(getattr(known, name)) != Number.of(getattr(bar, name)):
            rule = f"the bar of {to_text(known.start_ns)} was published with {Number.of(getattr(known, name))}"
            raise InvalidRequest.of(f"bar.{name}", Number.of(getattr(bar, name)), rule, reason="BAR_CHANGED")
    return True


def historical_bars(bars: Iterable[venue_pb2.Bar], request: ReqHistoricalData) -> tuple[HistoricalBar, ...]:
    """The published bars of the size asked for. None of another size is made up."""
    interval_ns = _interval_ns(request.bar_size)
    return tuple(_historical_bar(bar, request.format_date) for bar in bars if bar.interval_ns == interval_ns)


def _interval_ns(bar_size: str) -> int:
    count, _, unit = bar_size.partition(" ")
    return int(count) * _SECONDS[unit] * SECOND_NS if count.isdigit() and unit in _SECONDS else 0


def _historical_bar(bar: venue_pb2.Bar, format_date: int) -> HistoricalBar:
    open_, high, low, close = (Number.of(price) for price in (bar.open, bar.high, bar.low, bar.close))
    return HistoricalBar(_bar_date(bar, format_date), open_, high, low, close, Number.of(bar.volume), average=close)


def _bar_date(bar: venue_pb2.Bar, format_date: int) -> str:
    """A daily bar is named by its day in the market's own calendar; others by time, or by seconds if asked so."""
    if bar.interval_ns >= DAY_NS:
        return to_text(bar.start_ns)[:10].replace("-", "")
    return str(bar.start_ns // SECOND_NS) if format_date == 2 else wall.text(bar.start_ns // MINUTE_NS * MINUTE_NS)


def symbol_sample(listing: Listing) -> SymbolSample:
    instrument = listing.instrument
    return SymbolSample(listing.con_id, instrument.symbol, SEC_TYPE, PRIMARY_EXCHANGE, instrument.currency)


# ── Orders and executions ──────────────────────────────────────────────────────────────────────────────


def executions(every: Iterable[Execution], request: ReqExecutions, from_ns: int, day: int) -> list[Execution]:
    """Of this day, those a filter lets through; empty fields and client id 0 let everything through."""
    return [each for each in every if wall.day(each.time_ns) == day and _is_wanted(each, request, from_ns)]


def _is_wanted(execution: Execution, request: ReqExecutions, from_ns: int) -> bool:
    order = execution.order
    side = "BUY" if order.is_buy else "SELL"
    return (
        execution.time_ns >= from_ns
        and request.client_id in (0, order.client_id)
        and request.account in ("", order.account)
        and request.symbol in ("", order.instrument.symbol)
        and request.sec_type in ("", SEC_TYPE)
        and request.exchange in ("", EXCHANGE, PRIMARY_EXCHANGE)
        and request.side.upper() in ("", side, "BOT" if order.is_buy else "SLD")
    )


def manual_order(record: tws_pb2.PlaceManualOrderRequest) -> PlaceOrder:
    """An order of somebody else, as a client would have sent it."""
    if record.client_id < 0:
        raise InvalidRequest.of("client_id", record.client_id, "0 or more")
    terms = Order(
        action=common_pb2.Side.Name(record.side).removeprefix("SIDE_"),
        total_quantity=Number.of(record.order_qty),
        order_type=record.order_type,
        lmt_price=Number.of(record.price) if record.HasField("price") else None,
        aux_price=Number.of(record.stop_price) if record.HasField("stop_price") else None,
        account=record.account,
        order_ref=record.order_ref,
    )
    return PlaceOrder(0, Contract(symbol=record.symbol, sec_type=SEC_TYPE), terms)


# ── The ledger ─────────────────────────────────────────────────────────────────────────────────────────


def ledger(desk: Desk, account: str) -> tws_pb2.GetLedgerResponse:
    books = desk.ledgers.get(account)
    if books is None:
        raise Refused(f"account {account!r} is not open", reason="ACCOUNT_UNKNOWN", field="account", value=account)
    return tws_pb2.GetLedgerResponse(
        orders=[_ledger_order(order) for order in desk.orders.values() if order.account == account],
        executions=[_ledger_execution(each) for each in desk.executions if each.order.account == account],
        positions=[_ledger_position(holding) for holding in books.holdings.values()],
        cash=amount(books.cash_units).message(),
        arrivals=[
            tws_pb2.Arrival(order_ref=ref, order_count=count)
            for (name, ref), count in desk.arrivals.items()
            if name == account
        ],
    )


def _side(order: LiveOrder) -> common_pb2.Side.ValueType:
    return common_pb2.SIDE_BUY if order.is_buy else common_pb2.SIDE_SELL


def _ledger_order(order: LiveOrder) -> tws_pb2.LedgerOrder:
    message = tws_pb2.LedgerOrder(
        perm_id=order.perm_id,
        client_id=order.client_id,
        order_id=order.order_id,
        order_ref=order.terms.order_ref,
        symbol=order.instrument.symbol,
        side=_side(order),
        order_type=order.terms.order_type,
        order_qty=order.listing.qty(order.qty_units).message(),
        cum_qty=order.listing.qty(order.filled_units).message(),
        status=order.status,
    )
    if order.limit_price is not None:
        message.price.CopyFrom(order.limit_price.message())
    if order.stop_price is not None:
        message.stop_price.CopyFrom(order.stop_price.message())
    return message


def _ledger_execution(execution: Execution) -> tws_pb2.LedgerExecution:
    order = execution.order
    return tws_pb2.LedgerExecution(
        execution_id=execution.execution_id,
        perm_id=order.perm_id,
        order_ref=order.terms.order_ref,
        symbol=order.instrument.symbol,
        side=_side(order),
        qty=order.listing.qty(execution.qty_units).message(),
        price=order.listing.price(execution.price_units).message(),
        commission=amount(execution.commission_units).message(),
        time_ns=execution.time_ns,
        is_current=execution.is_current,
    )


def _ledger_position(holding: Holding) -> tws_pb2.LedgerPosition:
    return tws_pb2.LedgerPosition(
        symbol=holding.instrument.symbol,
        qty=holding.qty.message(),
        average_cost=holding.average_cost.message(),
        realized_pnl=amount(holding.realized_units).message(),
        commission=amount(holding.commission_units).message(),
    )
