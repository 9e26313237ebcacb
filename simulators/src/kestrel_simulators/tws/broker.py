"""The simulated broker: requests, control records and time in, replies out. Pure; a log of its inputs is its memory.

    connect, disconnect     a client id comes and goes
    handle                  one request of a connected client
    control                 one record of the admin door
    advance                 what is due by itself, at ``next_deadline_ns``

Each takes the time, which never goes back, and returns what is to be said and to whom. The same calls give the same
replies. The broker decides what is said; how it travels (sockets, versions, pacing, client ids in use) is the server's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS, SECOND_NS
from kestrel_simulators.matching import Bar, Chance, Costs, Instrument, MatchingEngine, Mode
from kestrel_simulators.tws import accounts, requests, views
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.audience import EVERYONE, Addressed, Audience, Connection, with_statuses_reversed
from kestrel_simulators.tws.contracts import Listing, Listings
from kestrel_simulators.tws.crier import Crier, commission_report
from kestrel_simulators.tws.desk import Desk
from kestrel_simulators.tws.faults import SOCKET_FAULTS, Fault, Faults, request_name
from kestrel_simulators.tws.hours import Hours
from kestrel_simulators.tws.money import Commission, amount
from kestrel_simulators.tws.orders import LiveOrder, Stage
from kestrel_simulators.tws.replies import (
    AccountDownloadEnd,
    AccountSummary,
    AccountSummaryEnd,
    AccountTime,
    AccountUpdateMulti,
    AccountUpdateMultiEnd,
    AccountValue,
    CompletedOrderEnd,
    ContractDetailsEnd,
    CurrentTime,
    Error,
    ExecDetailsEnd,
    HistoricalData,
    ManagedAccounts,
    MarketDataType,
    MarketRule,
    NextValidId,
    OpenOrderEnd,
    OrderStatus,
    Pnl,
    PnlSingle,
    PositionEnd,
    Reply,
    SymbolSamples,
    TickReqParams,
    TickSnapshotEnd,
)

__all__ = ["EVERYONE", "Addressed", "Broker"]

SUMMARIES_MAX = 2
_FARMS = (
    Error(-1, 2104, "Market data farm connection is OK:usfarm"),
    Error(-1, 2106, "HMDS data farm connection is OK:ushmds"),
    Error(-1, 2158, "Sec-def data farm connection is OK:secdefnj"),
)
_LOST = (tws_pb2.CONNECTIVITY_LOST, tws_pb2.CONNECTIVITY_SERVER_BROKEN)
_RESTORED = (tws_pb2.CONNECTIVITY_RESTORED, tws_pb2.CONNECTIVITY_RESTORED_DATA_LOST)
_CONNECTIVITY = {
    tws_pb2.CONNECTIVITY_LOST: (1100, "Connectivity between IBKR and Trader Workstation has been lost."),
    tws_pb2.CONNECTIVITY_RESTORED_DATA_LOST: (1101, "Connectivity has been restored - data lost."),
    tws_pb2.CONNECTIVITY_RESTORED: (1102, "Connectivity has been restored - data maintained."),
    tws_pb2.CONNECTIVITY_SERVER_BROKEN: (2110, "Connectivity between the gateway and its server is broken."),
    tws_pb2.CONNECTIVITY_MARKET_DATA_BROKEN: (2103, "Market data farm connection is broken:usfarm"),
    tws_pb2.CONNECTIVITY_MARKET_DATA_OK: (2104, "Market data farm connection is OK:usfarm"),
    tws_pb2.CONNECTIVITY_HISTORY_BROKEN: (2105, "HMDS data farm connection is broken:ushmds"),
    tws_pb2.CONNECTIVITY_HISTORY_OK: (2106, "HMDS data farm connection is OK:ushmds"),
    tws_pb2.CONNECTIVITY_HISTORY_IDLE: (2107, "HMDS data farm connection is inactive but should be available."),
    tws_pb2.CONNECTIVITY_MARKET_DATA_IDLE: (2108, "Market data farm connection is inactive but should be available."),
}
_MODES = {1: Mode.INSTANT, 2: Mode.REALISTIC, 3: Mode.ADVERSARIAL}


class Broker:
    """All clients, accounts, contracts and orders of the simulated broker."""

    def __init__(self) -> None:
        self.engine = MatchingEngine(costs=Costs(0, 0, 0))
        self.audience = Audience()
        self.faults = Faults()
        self.listings = Listings()
        self.desk = Desk(self.engine, Crier(self.audience, self.faults), self.listings, self._money_changed)
        self.control_answer: Message = tws_pb2.OpenAccountResponse()
        """What the last control record is answered with."""
        self._bars: dict[str, list[venue_pb2.Bar]] = {}
        self._volumes: dict[str, Number] = {}
        self._day_start_units: dict[str, int] = {}
        self._now_ns = 0
        self._handlers: dict[type[requests.Request], Callable[[int, Any], None]] = {
            requests.ReqIds: self._req_ids,
            requests.ReqManagedAccounts: self._req_managed_accounts,
            requests.ReqCurrentTime: self._req_current_time,
            requests.ReqAccountUpdates: self._req_account_updates,
            requests.ReqAccountUpdatesMulti: self._req_account_updates_multi,
            requests.CancelAccountUpdatesMulti: self._cancel_account_updates_multi,
            requests.ReqAccountSummary: self._req_account_summary,
            requests.CancelAccountSummary: self._cancel_account_summary,
            requests.ReqPositions: self._req_positions,
            requests.CancelPositions: self._cancel_positions,
            requests.ReqOpenOrders: self._req_open_orders,
            requests.ReqAllOpenOrders: self._req_all_open_orders,
            requests.ReqAutoOpenOrders: self._req_auto_open_orders,
            requests.ReqCompletedOrders: self._req_completed_orders,
            requests.ReqExecutions: self._req_executions,
            requests.PlaceOrder: self.desk.place,
            requests.CancelOrder: lambda client_id, request: self.desk.cancel(client_id, request.order_id),
            requests.ReqGlobalCancel: lambda client_id, request: self.desk.cancel_all(),
            requests.ReqContractDetails: self._req_contract_details,
            requests.ReqMatchingSymbols: self._req_matching_symbols,
            requests.ReqMarketRule: self._req_market_rule,
            requests.ReqMktData: self._req_mkt_data,
            requests.CancelMktData: self._cancel_mkt_data,
            requests.ReqMarketDataType: self._req_market_data_type,
            requests.ReqHistoricalData: self._req_historical_data,
            requests.ReqPnl: self._req_pnl,
            requests.CancelPnl: self._cancel_pnl,
            requests.ReqPnlSingle: self._req_pnl_single,
            requests.CancelPnlSingle: self._cancel_pnl_single,
        }
        self._controls: dict[type[Message], Callable[[Any], Message | None]] = {
            tws_pb2.OpenAccountRequest: self._open_account,
            tws_pb2.PublishBarRequest: self._publish_bar,
            tws_pb2.PublishQuoteRequest: self._publish_quote,
            tws_pb2.SetModeRequest: self._set_mode,
            tws_pb2.SetMarketHoursRequest: self._set_market_hours,
            tws_pb2.SetFaultRequest: self._set_fault,
            tws_pb2.ClearFaultsRequest: self._clear_faults,
            tws_pb2.InduceDriftRequest: self._induce_drift,
            tws_pb2.PlaceManualOrderRequest: self._place_manual_order,
            tws_pb2.CancelOrderByHandRequest: self._cancel_order_by_hand,
            tws_pb2.BustExecutionRequest: self._bust_execution,
            tws_pb2.CorrectExecutionRequest: self._correct_execution,
            tws_pb2.SetConnectivityRequest: self._set_connectivity,
            tws_pb2.ResetDayRequest: self._reset_day,
        }

    # ── The five ways in ───────────────────────────────────────────────────────────────────────────────

    def connect(self, client_id: int, *, now_ns: int) -> list[Addressed]:
        """A client has started its session; the answer makes it ready. Its id must not be connected already."""
        self._move_time(now_ns)
        if client_id in self.audience.connections:
            raise Refused(f"client id {client_id} is in use", reason="CLIENT_ID_IN_USE", field="client_id")
        self.audience.connections[client_id] = Connection(client_id)
        if self.faults.take(Fault.NEXT_ID_ROLLBACK):
            self.desk.roll_back_ids(client_id)
        self.audience.local(client_id, ManagedAccounts(",".join(self.desk.ledgers)))
        self.audience.local(client_id, NextValidId(self.desk.next_order_id(client_id)))
        for farm in _FARMS:
            self.audience.local(client_id, farm)
        if self.audience.is_link_down:
            self.audience.local(client_id, Error(-1, *_CONNECTIVITY[tws_pb2.CONNECTIVITY_LOST]))
        return self._finish()

    def disconnect(self, client_id: int, *, now_ns: int) -> list[Addressed]:
        """A client is gone, with its subscriptions. Its orders keep working. Nothing happens if it was not there."""
        self._move_time(now_ns)
        self.audience.leave(client_id)
        return self._finish()

    def restart(self, *, now_ns: int) -> list[Addressed]:
        """The process began again: nobody is connected, and what was on its way is lost."""
        self._move_time(now_ns)
        self.audience.leave_all()
        return self._finish()

    def handle(self, client_id: int, request: requests.Request, *, now_ns: int) -> list[Addressed]:
        """One request of a connected client. Requests this broker does not know are ignored."""
        self._move_time(now_ns)
        handler = self._handlers.get(type(request))
        if handler is not None and client_id in self.audience.connections:
            handler(client_id, request)
        return self._finish()

    def control(self, record: Message, *, now_ns: int) -> list[Addressed]:
        """One record of the admin door; ``control_answer`` is its answer. Raises, and changes nothing, if refused."""
        handler = self._controls.get(type(record))
        if handler is None:
            raise InvalidRequest.of("record", type(record).__name__, "a record that is the broker's")
        self._move_time(now_ns)
        answer = handler(record)
        self.control_answer = answer if answer is not None else _ANSWERS[type(record)]()
        return self._finish()

    def advance(self, now_ns: int) -> list[Addressed]:
        """Let everything happen that is due by now."""
        self._move_time(now_ns)
        return self._finish()

    def next_deadline_ns(self) -> int | None:
        """When ``advance`` has something to do, if nothing else happens."""
        deadlines = (self.engine.next_deadline_ns(), self.audience.next_due_ns(), self.desk.next_opening_ns())
        return min((each for each in deadlines if each is not None), default=None)

    def _move_time(self, now_ns: int) -> None:
        """What is due happens before anything else does."""
        assert now_ns >= self._now_ns, "time never goes back"
        self._now_ns = now_ns
        self.desk.move_time(now_ns)
        self.engine.advance(now_ns)
        self.desk.open_markets()
        self.audience.release_due(now_ns)

    def _finish(self) -> list[Addressed]:
        self.desk.send_activated()
        addressed = self.audience.take()
        statuses = {(each.client_id, each.reply) for each in addressed if isinstance(each.reply, OrderStatus)}
        if len(statuses) > 1 and self.faults.take(Fault.REORDER_STATUS):
            return with_statuses_reversed(addressed)
        return addressed

    def _end(self, client_id: int, request: requests.Request, marker: Reply) -> None:
        if not self.faults.take(Fault.NO_END_MARKER, request=request_name(request)):
            self.audience.answer(client_id, marker)

    # ── The session ────────────────────────────────────────────────────────────────────────────────────

    def _connection(self, client_id: int) -> Connection:
        return self.audience.connections[client_id]

    def _req_ids(self, client_id: int, request: requests.ReqIds) -> None:
        self.audience.local(client_id, NextValidId(self.desk.next_order_id(client_id)))

    def _req_managed_accounts(self, client_id: int, request: requests.ReqManagedAccounts) -> None:
        self.audience.local(client_id, ManagedAccounts(",".join(self.desk.ledgers)))

    def _req_current_time(self, client_id: int, request: requests.ReqCurrentTime) -> None:
        self.audience.local(client_id, CurrentTime(self._now_ns // SECOND_NS))

    # ── Accounts ───────────────────────────────────────────────────────────────────────────────────────

    def _account(self, name: str) -> str | None:
        """The account a request means; an empty name is the only one there is."""
        if name in self.desk.ledgers:
            return name
        return next(iter(self.desk.ledgers)) if not name and len(self.desk.ledgers) == 1 else None

    def _values(self, account: str, *, with_constants: bool) -> list[tuple[str, str, str]]:
        ledger = self.desk.ledgers[account]
        said = accounts.values(ledger, self.desk.worth(account))
        return accounts.constants(ledger) + said if with_constants else said

    def _req_account_updates(self, client_id: int, request: requests.ReqAccountUpdates) -> None:
        connection = self._connection(client_id)
        account = self._account(request.account)
        if not request.subscribe or account is None:
            connection.account_updates = ""
            if account is None:
                self._invalid(client_id, -1, "invalid account code")
            return
        connection.account_updates = account
        for key, value, currency in self._values(account, with_constants=True):
            self.audience.answer(client_id, AccountValue(key, value, currency, account))
        for symbol, holding in self.desk.ledgers[account].holdings.items():
            if holding.qty_units:
                self.audience.answer(client_id, self._portfolio_value(account, symbol))
        self.audience.answer(client_id, AccountTime(f"{wall.eastern(self._now_ns):%H:%M}"))
        self._end(client_id, request, AccountDownloadEnd(account))

    def _req_account_updates_multi(self, client_id: int, request: requests.ReqAccountUpdatesMulti) -> None:
        account = self._account(request.account)
        if account is None:
            self._invalid(client_id, request.req_id, "invalid account code")
            return
        self._connection(client_id).multi_updates[request.req_id] = account
        for key, value, currency in self._values(account, with_constants=True):
            multi = AccountUpdateMulti(request.req_id, account, request.model_code, key, value, currency)
            self.audience.answer(client_id, multi)
        self._end(client_id, request, AccountUpdateMultiEnd(request.req_id))

    def _cancel_account_updates_multi(self, client_id: int, request: requests.CancelAccountUpdatesMulti) -> None:
        self._connection(client_id).multi_updates.pop(request.req_id, None)

    def _req_account_summary(self, client_id: int, request: requests.ReqAccountSummary) -> None:
        summaries = self._connection(client_id).summaries
        if len(summaries) >= SUMMARIES_MAX and request.req_id not in summaries:
            text = "Error processing request: maximum number of account summary requests exceeded"
            self.audience.local(client_id, Error(request.req_id, 322, text))
            return
        summaries[request.req_id] = request.tag_names
        self._tell_summary(client_id, request.req_id, request.tag_names, self.audience.answer)
        self._end(client_id, request, AccountSummaryEnd(request.req_id))

    def _tell_summary(
        self, client_id: int, req_id: int, tags: tuple[str, ...], tell: Callable[[int, Reply], None]
    ) -> None:
        for account, ledger in self.desk.ledgers.items():
            for tag, value, currency in accounts.summary(ledger, self.desk.worth(account), tags):
                tell(client_id, AccountSummary(req_id, account, tag, value, currency))

    def _cancel_account_summary(self, client_id: int, request: requests.CancelAccountSummary) -> None:
        self._connection(client_id).summaries.pop(request.req_id, None)

    def _req_positions(self, client_id: int, request: requests.ReqPositions) -> None:
        self._connection(client_id).wants_positions = True
        for account, ledger in self.desk.ledgers.items():
            for symbol, holding in ledger.holdings.items():
                if holding.qty_units:
                    self.audience.answer(client_id, self._position(account, symbol))
        self._end(client_id, request, PositionEnd())

    def _cancel_positions(self, client_id: int, request: requests.CancelPositions) -> None:
        self._connection(client_id).wants_positions = False

    def _position(self, account: str, symbol: str) -> Reply:
        reply = views.position(self.desk.ledgers[account], self.listings.by_symbol[symbol])
        if self.faults.take(Fault.WRONG_POSITION):
            return replace(reply, position=reply.position + self._lot(symbol))
        return reply

    def _portfolio_value(self, account: str, symbol: str) -> Reply:
        market = self.engine.market(symbol)
        reply = views.portfolio_value(self.desk.ledgers[account], self.listings.by_symbol[symbol], market.last_units)
        if self.faults.take(Fault.WRONG_POSITION):
            return replace(reply, position=reply.position + self._lot(symbol))
        return reply

    def _lot(self, symbol: str) -> Number:
        instrument = self.listings.by_symbol[symbol].instrument
        return Number(instrument.lot_units, instrument.qty_scale)

    def _req_pnl(self, client_id: int, request: requests.ReqPnl) -> None:
        account = self._account(request.account)
        if account is None:
            self._invalid(client_id, request.req_id, "invalid account code")
            return
        self._connection(client_id).pnl[request.req_id] = account
        self.audience.answer(client_id, self._pnl(request.req_id, account))

    def _pnl(self, req_id: int, account: str) -> Pnl:
        worth = self.desk.worth(account)
        daily = worth.equity - self._day_start_units[account]
        return Pnl(req_id, amount(daily), amount(worth.unrealized), amount(worth.realized))

    def _cancel_pnl(self, client_id: int, request: requests.CancelPnl) -> None:
        self._connection(client_id).pnl.pop(request.req_id, None)

    def _req_pnl_single(self, client_id: int, request: requests.ReqPnlSingle) -> None:
        account, listing = self._account(request.account), self.listings.by_con_id(request.con_id)
        if account is None or listing is None:
            self._invalid(client_id, request.req_id, "invalid account code or contract")
            return
        self._connection(client_id).pnl_single[request.req_id] = (account, request.con_id)
        self.audience.answer(client_id, self._pnl_single(request.req_id, account, listing))

    def _pnl_single(self, req_id: int, account: str, listing: Listing) -> PnlSingle:
        last_units = self.engine.market(listing.instrument.symbol).last_units
        return views.pnl_single(req_id, self.desk.ledgers[account], listing, last_units)

    def _cancel_pnl_single(self, client_id: int, request: requests.CancelPnlSingle) -> None:
        self._connection(client_id).pnl_single.pop(request.req_id, None)

    def _invalid(self, client_id: int, req_id: int, what: str) -> None:
        self.audience.local(client_id, Error(req_id, 321, f"Error validating request: {what}."))

    def _money_changed(self, account: str, symbol: str) -> None:
        """After a fill or a drift: whoever subscribed hears of it."""
        for connection in self.audience.connections.values():
            client_id = connection.client_id
            if connection.wants_positions:
                self.audience.news(client_id, self._position(account, symbol))
            if connection.account_updates == account:
                self.audience.news(client_id, self._portfolio_value(account, symbol))
                for key, value, currency in self._values(account, with_constants=False):
                    self.audience.news(client_id, AccountValue(key, value, currency, account))
            for req_id, subscribed in connection.multi_updates.items():
                if subscribed == account:
                    for key, value, currency in self._values(account, with_constants=False):
                        multi = AccountUpdateMulti(req_id, account, "", key, value, currency)
                        self.audience.news(client_id, multi)
            for req_id, tags in connection.summaries.items():
                self._tell_summary(client_id, req_id, tags, self.audience.news)
            self._tell_pnl(connection)

    def _tell_pnl(self, connection: Connection) -> None:
        for req_id, account in connection.pnl.items():
            self.audience.news(connection.client_id, self._pnl(req_id, account))
        for req_id, (account, con_id) in connection.pnl_single.items():
            listing = self.listings.by_con_id(con_id)
            assert listing is not None
            self.audience.news(connection.client_id, self._pnl_single(req_id, account, listing))

    # ── Orders and executions, asked for ───────────────────────────────────────────────────────────────

    def _req_open_orders(self, client_id: int, request: requests.ReqOpenOrders) -> None:
        sees_manual = self._connection(client_id).sees_manual_orders
        self._tell_open_orders(
            client_id, lambda order: order.client_id == client_id and (not order.is_manual or sees_manual)
        )
        self._end(client_id, request, OpenOrderEnd())

    def _req_all_open_orders(self, client_id: int, request: requests.ReqAllOpenOrders) -> None:
        self._tell_open_orders(client_id, lambda order: True)
        self._end(client_id, request, OpenOrderEnd())

    def _tell_open_orders(self, client_id: int, is_wanted: Callable[[LiveOrder], bool]) -> None:
        for order in self.desk.live.values():
            if order.stage is not Stage.HELD and is_wanted(order):
                self.audience.answer(client_id, order.open_order(client_id))
                self.audience.answer(client_id, order.order_status(client_id))

    def _req_auto_open_orders(self, client_id: int, request: requests.ReqAutoOpenOrders) -> None:
        if client_id == 0:
            self._connection(client_id).sees_manual_orders = request.auto_bind
            self._tell_open_orders(client_id, lambda order: order.is_manual and request.auto_bind)
        else:
            self._invalid(client_id, -1, "only the client with id 0 can bind orders")

    def _req_completed_orders(self, client_id: int, request: requests.ReqCompletedOrders) -> None:
        for order in self.desk.completed:
            if not (request.api_only and order.is_manual):
                self.audience.answer(client_id, order.completed_order())
        self._end(client_id, request, CompletedOrderEnd())

    def _req_executions(self, client_id: int, request: requests.ReqExecutions) -> None:
        """Those since midnight that the filter lets through, every revision; commission reports after the end."""
        try:
            from_ns = wall.filter_time_ns(request.time)
        except InvalidRequest as error:
            self._invalid(client_id, request.req_id, str(error))
            return
        wanted = views.executions(self.desk.executions, request, from_ns, wall.day(self._now_ns))
        for execution in wanted:
            zone = wall.UNKNOWN_ZONE if self.faults.take(Fault.UNKNOWN_TIME_ZONE) else wall.ZONE
            self.audience.answer(client_id, execution.details(request.req_id, client_id, zone))
        self._end(client_id, request, ExecDetailsEnd(request.req_id))
        for execution in wanted:
            is_known = execution.time_ns + self.desk.commission_delay_ns <= self._now_ns
            if is_known and not execution.is_commission_withheld:
                self.audience.answer(client_id, commission_report(execution))

    # ── Contracts and prices ───────────────────────────────────────────────────────────────────────────

    def _req_contract_details(self, client_id: int, request: requests.ReqContractDetails) -> None:
        listing = self.listings.find(request.contract)
        if listing is None:
            self._unknown_contract(client_id, request.req_id)
            return
        self.audience.answer(client_id, listing.details(request.req_id, self._now_ns))
        self._end(client_id, request, ContractDetailsEnd(request.req_id))

    def _unknown_contract(self, client_id: int, req_id: int) -> None:
        self.audience.answer(client_id, Error(req_id, 200, "No security definition has been found for the request"))

    def _req_matching_symbols(self, client_id: int, request: requests.ReqMatchingSymbols) -> None:
        samples = tuple(views.symbol_sample(listing) for listing in self.listings.matching(request.pattern))
        self.audience.answer(client_id, SymbolSamples(request.req_id, samples))

    def _req_market_rule(self, client_id: int, request: requests.ReqMarketRule) -> None:
        listing = self.listings.by_con_id(request.market_rule_id)
        if listing is None:
            self._invalid(client_id, -1, "no such market rule")
            return
        tick = listing.price(listing.instrument.tick_units)
        self.audience.answer(client_id, MarketRule(request.market_rule_id, ((Number(0, 1), tick),)))

    def _req_mkt_data(self, client_id: int, request: requests.ReqMktData) -> None:
        connection, listing = self._connection(client_id), self.listings.find(request.contract)
        if listing is None:
            self._unknown_contract(client_id, request.req_id)
            return
        if request.req_id in connection.ticks:
            self.audience.local(client_id, Error(request.req_id, 102, "Duplicate ticker ID."))
            return
        tick = listing.price(listing.instrument.tick_units)
        self.audience.answer(client_id, TickReqParams(request.req_id, tick))
        self.audience.answer(client_id, MarketDataType(request.req_id, connection.market_data_type))
        for reply in self._ticks(request.req_id, listing):
            self.audience.answer(client_id, reply)
        if request.snapshot or request.regulatory_snapshot:
            self._end(client_id, request, TickSnapshotEnd(request.req_id))
        else:
            connection.ticks[request.req_id] = listing

    def _ticks(self, req_id: int, listing: Listing) -> list[Reply]:
        symbol = listing.instrument.symbol
        bars = self._bars.get(symbol)
        volume = self._volumes.get(symbol, Number(0, 0))
        return views.ticks(req_id, listing, self.engine.market(symbol), bars[-1] if bars else None, volume)

    def _cancel_mkt_data(self, client_id: int, request: requests.CancelMktData) -> None:
        if self._connection(client_id).ticks.pop(request.req_id, None) is None:
            self.audience.local(client_id, Error(request.req_id, 300, "Can't find EId with tickerId"))

    def _req_market_data_type(self, client_id: int, request: requests.ReqMarketDataType) -> None:
        self._connection(client_id).market_data_type = request.market_data_type

    def _req_historical_data(self, client_id: int, request: requests.ReqHistoricalData) -> None:
        listing = self.listings.find(request.contract)
        if listing is None:
            self._unknown_contract(client_id, request.req_id)
            return
        bars = views.historical_bars(self._bars.get(listing.instrument.symbol, []), request)
        if not bars:
            text = "Historical Market Data Service error message:HMDS query returned no data"
            self.audience.answer(client_id, Error(request.req_id, 162, text))
            return
        self.audience.answer(client_id, HistoricalData(request.req_id, bars[0].date, bars[-1].date, bars))

    def _prices_moved(
        self, listing: Listing, best_for_sellers: int, best_for_buyers: int, path: Sequence[int] = ()
    ) -> None:
        """The market was as high and as low as this, along a path of trades, and is where the engine's market says."""
        self.desk.follow_prices(listing, best_for_sellers, best_for_buyers)
        is_stale = self.faults.take(Fault.STALE_PRICES) is not None
        for connection in self.audience.connections.values():
            for req_id, subscribed in connection.ticks.items():
                if subscribed is listing and not is_stale:
                    for reply in [*views.trades(req_id, listing, path), *self._ticks(req_id, listing)]:
                        self.audience.news(connection.client_id, reply)
            self._tell_pnl(connection)

    # ── The admin door ─────────────────────────────────────────────────────────────────────────────────

    def _open_account(self, record: tws_pb2.OpenAccountRequest) -> None:
        if not record.HasField("wallet"):
            raise InvalidRequest.of("wallet", "", "is required")
        self.desk.open_account(record.account, Number.of(record.wallet), record.currency)
        self._day_start_units.setdefault(record.account, self.desk.ledgers[record.account].start_units)

    def _publish_bar(self, record: tws_pb2.PublishBarRequest) -> None:
        message = record.bar
        instrument = Instrument.of(message.instrument, "bar.instrument")
        bar = Bar.of(instrument, message)
        bars = self._bars.get(instrument.symbol, [])
        if any(views.is_same_bar(known, message) for known in reversed(bars[-64:])):
            return
        self.engine.on_bar(instrument, bar, now_ns=self._now_ns)
        listing = self.listings.add(instrument)
        self._bars.setdefault(instrument.symbol, []).append(venue_pb2.Bar.FromString(message.SerializeToString()))
        self._volumes[instrument.symbol] = self._volumes.get(instrument.symbol, Number(0, 0)) + Number.of(
            message.volume
        )
        path = [bar.open_units, bar.high_units, bar.low_units]
        self._prices_moved(listing, bar.high_units, bar.low_units, path)

    def _publish_quote(self, record: tws_pb2.PublishQuoteRequest) -> None:
        instrument = Instrument.of(record.instrument)
        bid = instrument.price_units(Number.of(record.bid), "bid")
        ask = instrument.price_units(Number.of(record.ask), "ask")
        self.engine.on_quote(instrument, bid, ask, now_ns=self._now_ns)
        self._prices_moved(self.listings.add(instrument), bid, ask)

    def _set_mode(self, record: tws_pb2.SetModeRequest) -> None:
        mode = _MODES.get(record.mode)
        if mode is None:
            raise InvalidRequest.of("mode", record.mode, "INSTANT, REALISTIC or ADVERSARIAL")
        chance = Chance(mode, record.seed, record.delay_scale_permille)
        costs = self.engine.costs
        if record.HasField("slippage_ppm_max"):
            costs = Costs(0, 0, record.slippage_ppm_max)
        commission = Commission.of(record.commission) if record.HasField("commission") else self.desk.commission
        self.engine.set_manners(chance, costs, now_ns=self._now_ns)
        self.desk.commission = commission
        if record.HasField("commission_delay_ms"):
            self.desk.crier.commission_delay_ns = record.commission_delay_ms * MILLISECOND_NS

    def _set_market_hours(self, record: tws_pb2.SetMarketHoursRequest) -> None:
        hours = Hours.of(record.hours)
        if record.symbol:
            self.engine.market(record.symbol)
            self.listings.by_symbol[record.symbol].hours = hours
        else:
            self.listings.default_hours = hours
            for listing in self.listings.by_symbol.values():
                listing.hours = hours
        self.desk.open_markets()

    def _set_fault(self, record: tws_pb2.SetFaultRequest) -> None:
        if Fault.of(record.fault) in SOCKET_FAULTS:
            raise InvalidRequest.of("fault", Fault.of(record.fault).name, "a fault in what is said, not in how")
        self.faults.arm(record)

    def _clear_faults(self, record: tws_pb2.ClearFaultsRequest) -> None:
        self.faults.clear(record.fault)

    def _induce_drift(self, record: tws_pb2.InduceDriftRequest) -> None:
        self.desk.drift(record.account, record.symbol, Number.of(record.qty))

    def _place_manual_order(self, record: tws_pb2.PlaceManualOrderRequest) -> tws_pb2.PlaceManualOrderResponse:
        order = self.desk.place_by_hand(record.client_id, views.manual_order(record))
        return tws_pb2.PlaceManualOrderResponse(perm_id=order.perm_id)

    def _cancel_order_by_hand(self, record: tws_pb2.CancelOrderByHandRequest) -> None:
        self.desk.cancel_by_hand(record.perm_id, record.reason)

    def _bust_execution(self, record: tws_pb2.BustExecutionRequest) -> None:
        self.desk.revise(record.execution_id, Number(0, 0), None)

    def _correct_execution(self, record: tws_pb2.CorrectExecutionRequest) -> None:
        qty = Number.of(record.qty) if record.HasField("qty") else None
        price = Number.of(record.price) if record.HasField("price") else None
        self.desk.revise(record.execution_id, qty, price)

    def _set_connectivity(self, record: tws_pb2.SetConnectivityRequest) -> None:
        said = _CONNECTIVITY.get(record.connectivity)
        if said is None:
            raise InvalidRequest.of("connectivity", record.connectivity, "one of the contract")
        for client_id in self.audience.connections:
            self.audience.local(client_id, Error(-1, *said))
        if record.connectivity in _LOST:
            self.audience.is_link_down = True
        elif record.connectivity in _RESTORED:
            if record.connectivity == tws_pb2.CONNECTIVITY_RESTORED_DATA_LOST:
                for connection in self.audience.connections.values():
                    connection.ticks.clear()
            self.audience.restore_link()

    def _reset_day(self, record: tws_pb2.ResetDayRequest) -> None:
        """Everybody is disconnected first: what ends in the night is found by asking."""
        self.audience.leave_all()
        self.desk.reset_day()
        if record.roll_back_ids:
            self.desk.roll_back_ids()
        for account in self.desk.ledgers:
            self._day_start_units[account] = self.desk.worth(account).equity

    # ── Reading it ─────────────────────────────────────────────────────────────────────────────────────

    def ledger(self, record: tws_pb2.GetLedgerRequest) -> tws_pb2.GetLedgerResponse:
        """Everything that ever happened to one account. Raises when it is not open."""
        return views.ledger(self.desk, record.account)

    def list_faults(self) -> list[tws_pb2.ArmedFault]:
        return [armed.message() for armed in self.faults]


_ANSWERS: dict[type[Message], type[Message]] = {
    tws_pb2.OpenAccountRequest: tws_pb2.OpenAccountResponse,
    tws_pb2.PublishBarRequest: tws_pb2.PublishBarResponse,
    tws_pb2.PublishQuoteRequest: tws_pb2.PublishQuoteResponse,
    tws_pb2.SetModeRequest: tws_pb2.SetModeResponse,
    tws_pb2.SetMarketHoursRequest: tws_pb2.SetMarketHoursResponse,
    tws_pb2.SetFaultRequest: tws_pb2.SetFaultResponse,
    tws_pb2.ClearFaultsRequest: tws_pb2.ClearFaultsResponse,
    tws_pb2.InduceDriftRequest: tws_pb2.InduceDriftResponse,
    tws_pb2.CancelOrderByHandRequest: tws_pb2.CancelOrderByHandResponse,
    tws_pb2.BustExecutionRequest: tws_pb2.BustExecutionResponse,
    tws_pb2.CorrectExecutionRequest: tws_pb2.CorrectExecutionResponse,
    tws_pb2.SetConnectivityRequest: tws_pb2.SetConnectivityResponse,
    tws_pb2.ResetDayRequest: tws_pb2.ResetDayResponse,
}
