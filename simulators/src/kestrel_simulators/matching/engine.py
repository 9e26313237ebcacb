"""The matching engine: orders and prices in, facts out. Pure: no clock, no chance of its own, no I/O.

Callers pass the time of every call, never going back, and call ``advance`` when ``next_deadline_ns`` is due.
The same calls in the same order give the same facts, to the unit: a log of calls is a complete memory.

    place ──refused──────────────────────────────► REJECTED
      │
      ▼           a price it accepts; not held, not delayed
    WORKING ─────────────────────────────────────► FILLED
      │  cancel, IOC/FOK rest, nothing to reduce
      ├──────────────────────────────────────────► CANCELED
      └── DAY order, its day is over ────────────► EXPIRED

An order with a parent sleeps inside WORKING until the parent has ended. It then may fill what the parent did, and ends
with it where that was nothing. A fill of one order of a group takes as much of the others before anything else happens,
so no two of them trade for one position; of whom nothing is left is canceled.

A bar is walked pessimistically: its open, then all stops it touches, then all limits it touches, then its close.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import checked_id, derived_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_simulators.matching.books import Account, Life, NewOrder, Order, Position
from kestrel_simulators.matching.chance import PPM, Chance, Fate, draw
from kestrel_simulators.matching.market import Bar, Market
from kestrel_simulators.matching.money import AMOUNT_SCALE, Instrument, divided_up

_LIMITED = (common_pb2.ORDER_TYPE_LIMIT, common_pb2.ORDER_TYPE_STOP_LIMIT)
_STOPPED = (common_pb2.ORDER_TYPE_STOP, common_pb2.ORDER_TYPE_STOP_LIMIT)
_ORDER_TYPES = (common_pb2.ORDER_TYPE_MARKET, common_pb2.ORDER_TYPE_LIMIT, *_STOPPED)
_TIMES_IN_FORCE = (
    common_pb2.TIME_IN_FORCE_DAY,
    common_pb2.TIME_IN_FORCE_GTC,
    common_pb2.TIME_IN_FORCE_IOC,
    common_pb2.TIME_IN_FORCE_FOK,
)
_IMMEDIATE = (common_pb2.TIME_IN_FORCE_IOC, common_pb2.TIME_IN_FORCE_FOK)


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs, in millionths of the notional. The slippage of an order is a drawn part of the most."""

    taker_fee_ppm: int = 500
    maker_fee_ppm: int = 200
    slippage_ppm_max: int = 200

    def __post_init__(self) -> None:
        for name in ("taker_fee_ppm", "maker_fee_ppm", "slippage_ppm_max"):
            if not 0 <= getattr(self, name) <= 100_000:
                raise InvalidRequest.of(name, getattr(self, name), "0 to 100000 millionths")


@dataclass(slots=True)
class MatchingEngine:
    """All accounts and all markets of one venue."""

    chance: Chance = field(default_factory=Chance)
    costs: Costs = field(default_factory=Costs)
    accounts: dict[str, Account] = field(default_factory=dict)
    markets: dict[str, Market] = field(default_factory=dict)
    now_ns: int = 0
    # Due time, account and client order id of what happens by itself.
    _deadlines: list[tuple[int, str, str]] = field(default_factory=list)
    # Orders by symbol, as they arrived; ended ones are dropped when the next price passes by.
    _books: dict[str, list[tuple[Account, Order]]] = field(default_factory=dict)
    # Children that woke up in the middle of something else, and are matched when that is done.
    _woken: list[tuple[Account, Order]] = field(default_factory=list)

    # ── What people ask of it ──────────────────────────────────────────────────────────────────────────

    def open_account(self, name: str, wallet: Number, currency: str, *, now_ns: int) -> Account:
        """Open an account with money in it. The same call again changes nothing; another wallet is refused."""
        checked_id("account", name)
        units = wallet.at(AMOUNT_SCALE, field="wallet").units
        if units < 0:
            raise InvalidRequest.of("wallet", wallet, "0 or more")
        if not currency.isalnum() or not currency.isupper():
            raise InvalidRequest.of("currency", currency, "an upper-case currency code, such as USD")
        account = self.accounts.get(name)
        if account is not None:
            if (account.start_wallet_units, account.currency) != (units, currency):
                opened = f"{Number(account.start_wallet_units, AMOUNT_SCALE)} {account.currency}"
                raise Refused(
                    f"account {name} is open already, with {opened}", reason="ACCOUNT_EXISTS", field="account"
                )
            return account
        self._move_time(now_ns)
        account = self.accounts[name] = Account(name, currency, units, units)
        account.say(now_ns, account.balance(1))
        return account

    def account(self, name: str) -> Account:
        """An open account, or ``Refused``: an account that is not there is a setting gone wrong, not an empty one."""
        account = self.accounts.get(name)
        if account is None:
            rule = "an account opened at this venue"
            raise Refused(
                f"account {name!r} is not open", reason="ACCOUNT_UNKNOWN", field="account", value=name, rule=rule
            )
        return account

    def check_order(self, request: NewOrder) -> None:
        """Raises for what could never be an order: the part of the refusals that leaves no trace at the venue."""
        self.account(request.account)
        checked_id("client_order_id", request.client_order_id)
        if request.side not in (common_pb2.SIDE_BUY, common_pb2.SIDE_SELL):
            raise InvalidRequest.of("side", request.side, "SIDE_BUY or SIDE_SELL")
        if request.order_type not in _ORDER_TYPES:
            raise InvalidRequest.of("order_type", request.order_type, "MARKET, LIMIT, STOP or STOP_LIMIT")
        if request.time_in_force not in _TIMES_IN_FORCE:
            raise InvalidRequest.of("time_in_force", request.time_in_force, "DAY, GTC, IOC or FOK")
        if request.order_type in _LIMITED and request.price is None:
            raise InvalidRequest.of("price", "", "is required for LIMIT and STOP_LIMIT")
        if request.order_type in _STOPPED and request.stop_price is None:
            raise InvalidRequest.of("stop_price", "", "is required for STOP and STOP_LIMIT")
        if request.order_type in _STOPPED and request.time_in_force in _IMMEDIATE:
            raise InvalidRequest.of("time_in_force", request.time_in_force, "DAY or GTC for STOP and STOP_LIMIT")

    def place(self, request: NewOrder, *, now_ns: int) -> Order:
        """Take an order. The same client order id again is counted, and answered with the order as it is."""
        self.check_order(request)
        account = self.account(request.account)
        self._move_time(now_ns)
        key = request.client_order_id
        account.arrivals[key] = account.arrivals.get(key, 0) + 1
        known = account.orders.get(key)
        if known is not None:
            return known
        fortune = draw(self.chance, request.lot_key or key)
        order = Order(request, "p" + derived_id("paper-order", account.name, key), now_ns, fortune)
        if key in account.fenced:
            return _refused(order, _fenced_refusal(key))
        account.orders[key] = order
        refusal = self._admit(account, order)
        if refusal is not None:
            _refused(order, refusal)
            account.say(now_ns, _report(order, venue_pb2.ORDER_FACT_REJECTED, refusal))
            return order
        account.say(now_ns, _report(order, venue_pb2.ORDER_FACT_ACKNOWLEDGED))
        self._begin(account, order)
        self._match_woken()
        return order

    def place_bracket(self, requests: Sequence[NewOrder], *, now_ns: int) -> list[Order]:
        """Take a parent and its children, all of them or none: an id that was closed for ever closes the bracket."""
        parent, *children = requests
        for request in requests:
            self.check_order(request)
        for child in children:
            if (child.account, child.parent_id) != (parent.account, parent.client_order_id):
                raise InvalidRequest.of("parent_id", child.parent_id, f"{parent.client_order_id}, placed before it")
        account = self.account(parent.account)
        if parent.client_order_id not in account.orders:
            for request in requests:
                if request.client_order_id in account.fenced:
                    no = _fenced_refusal(request.client_order_id)
                    raise Refused(no.message, reason=no.reason, field=no.field, value=no.value, rule=no.rule)
        return [self.place(request, now_ns=now_ns) for request in requests]

    def cancel(self, account_name: str, client_order_id: str, *, now_ns: int) -> Order | None:
        """Cancel what is left of an order; None when there is no such order. A second cancel changes nothing."""
        account = self.account(account_name)
        order = account.orders.get(client_order_id)
        if order is None:
            return None
        self._move_time(now_ns)
        if order.life is Life.WORKING:
            self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED)
            self._match_woken()
        elif order.life is not Life.CANCELED and not order.cancel_refused:
            order.cancel_refused = True
            account.say(now_ns, _report(order, venue_pb2.ORDER_FACT_CANCEL_REJECTED, _too_late(order)))
        return order

    def amend(
        self,
        account_name: str,
        client_order_id: str,
        *,
        order_qty: Number,
        price: Number | None = None,
        stop_price: Number | None = None,
        now_ns: int,
    ) -> Order:
        """Change a working order: a quantity above what was filled, and prices, at which it may trade at once.

        Raises, and changes nothing, for an order that is not working and for numbers its instrument does not allow.
        """
        account = self.account(account_name)
        order = self._working_order(account, client_order_id)
        instrument = self.market(order.request.symbol).instrument
        qty_units = instrument.order_qty_units(order_qty, "order_qty")
        if qty_units <= order.cum_qty_units:
            filled = Number(order.cum_qty_units, order.qty_scale)
            raise InvalidRequest.of("order_qty", order_qty, f"more than {filled}, which is filled already")
        price_units = stop_units = None
        if order.request.order_type in _LIMITED:
            price_units = instrument.order_price_units(_given("price", price), "price")
        if order.request.order_type in _STOPPED:
            stop_units = instrument.order_price_units(_given("stop_price", stop_price), "stop_price")
        self._move_time(now_ns)
        is_moved = (price_units, stop_units) != (order.price_units, order.stop_units)
        order.request = replace(order.request, order_qty=order_qty, price=price, stop_price=stop_price)
        order.order_qty_units = qty_units
        order.price_units, order.stop_units = price_units, stop_units
        if is_moved:
            self._match_now(account, order, self.market(order.request.symbol))
            self._match_woken()
        return order

    def execute(self, account_name: str, client_order_id: str, qty: Number, *, now_ns: int) -> Order:
        """Fill a part of a working order now, whatever the prices say: at its limit, else at the market's price."""
        account = self.account(account_name)
        order = self._working_order(account, client_order_id)
        market = self.market(order.request.symbol)
        qty_units = market.instrument.order_qty_units(qty, "qty")
        if qty_units > order.leaves_units:
            raise InvalidRequest.of("qty", qty, f"at most {Number(order.leaves_units, order.qty_scale)}, what is open")
        self._move_time(now_ns)
        price_units = market.price_for(order.is_buy) if order.price_units is None else order.price_units
        self._fill(account, order, market.instrument, qty_units, price_units, resting=order.price_units is not None)
        self._match_woken()
        return order

    @staticmethod
    def _working_order(account: Account, client_order_id: str) -> Order:
        order = account.orders.get(client_order_id)
        if order is None or order.life is not Life.WORKING:
            life = order.life.value if order else "unknown"
            raise Refused(f"order {client_order_id} is {life}", reason="ORDER_ENDED", field="client_order_id")
        return order

    def fence(self, account_name: str, client_order_id: str, *, now_ns: int) -> None:
        """Write an unknown id down as refused for ever, so that a late order under it cannot succeed any more."""
        account = self.account(account_name)
        checked_id("client_order_id", client_order_id)
        assert client_order_id not in account.orders
        self._move_time(now_ns)
        account.fenced.add(client_order_id)

    def drift(self, account_name: str, symbol: str, qty: Number, *, now_ns: int) -> Position:
        """Move a position behind everybody's back, at the last price, without an event and without money moving."""
        account = self.account(account_name)
        market = self.market(symbol)
        units = qty.at(market.instrument.qty_scale, field="qty").units
        if units == 0:
            raise InvalidRequest.of("qty", qty, "must not be zero")
        self._move_time(now_ns)
        position = account.positions.setdefault(symbol, Position())
        position.book(market.instrument, units, market.last_units)
        return position

    def set_manners(self, chance: Chance, costs: Costs, *, now_ns: int) -> None:
        """Other chances for orders placed, and other costs for fills made, from now on."""
        self._move_time(now_ns)
        self.chance, self.costs = chance, costs

    # ── Prices and time ────────────────────────────────────────────────────────────────────────────────

    def market(self, symbol: str) -> Market:
        market = self.markets.get(symbol)
        if market is None:
            rule = "a symbol that has had a price"
            raise Refused(
                f"symbol {symbol!r} has no price yet", reason="SYMBOL_UNKNOWN", field="symbol", value=symbol, rule=rule
            )
        return market

    def on_bar(self, instrument: Instrument, bar: Bar, *, now_ns: int) -> None:
        """The market of one instrument moved through a bar. Raises when the bar contradicts an earlier one."""
        market = self.markets.get(instrument.symbol)
        if market is not None:
            market.check_next(instrument, bar)
        self._move_time(now_ns)
        if market is None:
            market = self.markets[instrument.symbol] = Market(instrument, bar.open_units)
        if not self._books.get(instrument.symbol):  # nobody waits for a price
            market.begin(bar)
            market.finish(bar)
            self._match_woken()
            return
        self._expire_days_before(market, bar)
        market.begin(bar)
        self._match_all_at(market, bar.open_units)
        self._trigger_stops(market, bar)
        self._touch_limits(market, bar)
        self._trigger_stops(market, bar)  # of children that the bar's own fills woke up
        market.finish(bar)
        self._match_all_at(market, bar.close_units)
        self._expire_days_within(market, bar)
        self._match_woken()

    def on_quote(self, instrument: Instrument, bid_units: int, ask_units: int, *, now_ns: int) -> None:
        """The best prices of one instrument changed."""
        if not 0 < bid_units <= ask_units:
            raise InvalidRequest.of("bid", bid_units, "positive, and not above the ask")
        market = self.markets.get(instrument.symbol)
        if market is not None:
            market.check_instrument(instrument)
        self._move_time(now_ns)
        if market is None:
            market = self.markets[instrument.symbol] = Market(instrument, bid_units)
        market.quote(bid_units, ask_units)
        for account, order in self._working(market.instrument.symbol):
            self._wake(order, market.price_for(order.is_buy))
            self._match_at(account, order, market, market.price_for(order.is_buy))
        self._match_woken()

    def next_deadline_ns(self) -> int | None:
        """When ``advance`` has something to do, if nothing else happens."""
        while self._deadlines:
            due_ns, account_name, key = self._deadlines[0]
            if self.accounts[account_name].orders[key].life is Life.WORKING:
                return due_ns
            heapq.heappop(self._deadlines)
        return None

    def advance(self, now_ns: int) -> None:
        """Let everything happen that is due by now: delayed orders wake up, rests of partial fills are filled."""
        self._move_time(now_ns)
        while (due_ns := self.next_deadline_ns()) is not None and due_ns <= now_ns:
            _, account_name, key = heapq.heappop(self._deadlines)
            account = self.accounts[account_name]
            order = account.orders[key]
            order.active_at_ns = min(order.active_at_ns, now_ns)
            order.held_at_price = -1
            market = self.markets[order.request.symbol]
            self._match_now(account, order, market)
            self._match_woken()

    # ── Admission ──────────────────────────────────────────────────────────────────────────────────────

    def _admit(self, account: Account, order: Order) -> common_pb2.Refusal | None:
        """Check an order against its instrument and the account; a refusal is a normal, recorded outcome."""
        try:
            market = self.market(order.request.symbol)
            instrument = market.instrument
            if instrument.currency != account.currency:
                raise InvalidRequest.of("symbol", instrument.symbol, f"traded in the account's {account.currency}")
            order.qty_scale = instrument.qty_scale
            order.order_qty_units = instrument.order_qty_units(order.request.order_qty, "order_qty")
            if order.request.order_type in _LIMITED and order.request.price is not None:
                order.price_units = instrument.order_price_units(order.request.price, "price")
            if order.request.order_type in _STOPPED and order.request.stop_price is not None:
                order.stop_units = instrument.order_price_units(order.request.stop_price, "stop_price")
        except (InvalidRequest, Refused) as error:
            return error.refusal()
        if order.request.parent_id:
            refusal = _parent_refusal(order, account.orders.get(order.request.parent_id))
            if refusal is not None:
                return refusal
        elif order.request.reduce_only and self._reducible_units(account, order) == 0:
            return _nothing_to_reduce(order)
        if order.fortune.fate is Fate.REJECT:
            return common_pb2.Refusal(reason="VENUE_REJECTED", message="the venue did not want this order")
        return None

    def _begin(self, account: Account, order: Order) -> None:
        """The order is working; match it now, or when its delay is over."""
        market = self.markets[order.request.symbol]
        order.day = market.day
        self._books.setdefault(order.request.symbol, []).append((account, order))
        if order.request.group:
            account.groups.setdefault(order.request.group, []).append(_key(order))
        if order.request.parent_id and self._sleeps(account, order):
            return
        if not self._delay(account, order):
            self._match_now(account, order, market)

    def _sleeps(self, account: Account, order: Order) -> bool:
        """A child of a parent that may still fill sleeps; of one that has ended, it may fill as much."""
        parent = account.orders[order.request.parent_id]
        if parent.life is Life.WORKING:
            order.asleep = True
            account.children.setdefault(order.request.parent_id, []).append(_key(order))
        else:
            order.cap_units = parent.cum_qty_units
        return order.asleep

    def _delay(self, account: Account, order: Order) -> bool:
        """Whether its fate is to be matched later, by a deadline of its own."""
        if order.fortune.fate is not Fate.DELAY:
            return False
        order.active_at_ns = self.now_ns + order.fortune.delay_ns
        self._schedule(account, order, order.active_at_ns)
        return True

    def _match_now(self, account: Account, order: Order, market: Market) -> None:
        price_units = market.price_for(order.is_buy)
        self._wake(order, price_units)
        self._match_at(account, order, market, price_units)
        if order.life is Life.WORKING and order.request.time_in_force in _IMMEDIATE and not self._is_delayed(order):
            self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _not_immediate(order))

    def _match_woken(self) -> None:
        """Children that woke up meanwhile."""
        while self._woken:
            account, order = self._woken.pop(0)
            if order.life is Life.WORKING:
                self._match_now(account, order, self.markets[order.request.symbol])

    def _is_delayed(self, order: Order) -> bool:
        return order.active_at_ns > self.now_ns

    # ── Matching ───────────────────────────────────────────────────────────────────────────────────────

    def _working(self, symbol: str) -> Iterator[tuple[Account, Order]]:
        """Working orders of a symbol, in order of arrival."""
        book = self._books[symbol] = [entry for entry in self._books.get(symbol, []) if entry[1].life is Life.WORKING]
        for account, order in book:
            if order.life is Life.WORKING:
                yield account, order

    def _match_all_at(self, market: Market, price_units: int) -> None:
        """One price: stops it touches wake up, and whatever accepts it is filled at it."""
        for account, order in self._working(market.instrument.symbol):
            self._wake(order, price_units)
            self._match_at(account, order, market, price_units)

    def _trigger_stops(self, market: Market, bar: Bar) -> None:
        """Stops inside the bar's range, before any limit: of a stop and a target in one bar, the stop is true."""
        for account, order in self._working(market.instrument.symbol):
            if (
                order.stop_units is None
                or order.triggered
                or order.asleep
                or not bar.low_units <= order.stop_units <= bar.high_units
            ):
                continue
            order.triggered = True
            self._match_at(account, order, market, order.stop_units)
            # Its limit may lie on the side the bar came from: only a later price can say that it was reached.
            order.held_at_price = market.price_sequence

    def _touch_limits(self, market: Market, bar: Bar) -> None:
        """Resting limits inside the bar's range, filled at their own price."""
        # Not those that wake up by it: of their stop and their target in one bar, the stop is true as well.
        awake = [each for each in self._working(market.instrument.symbol) if _is_awake(each[1])]
        for account, order in awake:
            if order.price_units is None:
                continue
            reached = bar.low_units <= order.price_units if order.is_buy else bar.high_units >= order.price_units
            if reached:
                self._match_at(account, order, market, order.price_units, resting=True)

    @staticmethod
    def _wake(order: Order, price_units: int) -> None:
        """A stop whose trigger the price has reached becomes an order like any other."""
        if order.stop_units is not None and not order.triggered and not order.asleep:
            order.triggered = price_units >= order.stop_units if order.is_buy else price_units <= order.stop_units

    def _match_at(
        self, account: Account, order: Order, market: Market, price_units: int, *, resting: bool = False
    ) -> None:
        """Fill what a price lets be filled of one order: all of it, or the first part of a partial fill."""
        if order.life is not Life.WORKING or not _is_awake(order) or self._is_delayed(order):
            return
        if order.held_at_price == market.price_sequence or not _accepts(order, price_units):
            return
        if not resting:
            price_units = _slipped(order, market, price_units, self.costs.slippage_ppm_max)
        qty_units = order.room_units
        if order.request.reduce_only:
            qty_units = min(qty_units, self._reducible_units(account, order))
            if qty_units == 0:
                self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _nothing_to_reduce(order))
                return
        part_units = _part_units(order, market.instrument, qty_units)
        if part_units < order.leaves_units and order.request.time_in_force == common_pb2.TIME_IN_FORCE_FOK:
            self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _not_immediate(order))
            return
        self._fill(account, order, market.instrument, part_units, price_units, resting=resting)
        if order.leaves_units and part_units < qty_units:
            order.held_at_price = market.price_sequence
            self._schedule(account, order, self.now_ns + order.fortune.delay_ns)
        elif order.leaves_units and not order.room_units:
            self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _no_room(order))
        elif order.leaves_units and order.request.reduce_only:
            self._end(account, order, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _nothing_to_reduce(order))

    def _fill(
        self,
        account: Account,
        order: Order,
        instrument: Instrument,
        qty_units: int,
        price_units: int,
        *,
        resting: bool,
    ) -> None:
        """One execution: the fill is said first, then the balance that contains it."""
        assert 0 < qty_units <= order.leaves_units
        fee_ppm = self.costs.maker_fee_ppm if resting else self.costs.taker_fee_ppm
        fee_units = divided_up(instrument.notional_up(price_units, qty_units) * fee_ppm, PPM)
        position = account.positions.setdefault(instrument.symbol, Position())
        realized_units = position.book(instrument, qty_units if order.is_buy else -qty_units, price_units)
        order.cum_qty_units += qty_units
        order.fill_count += 1
        if not order.leaves_units:
            order.life = Life.FILLED
        account.realized_units += realized_units
        account.fee_units += fee_units
        account.wallet_units += realized_units - fee_units
        account.say(
            self.now_ns,
            venue_pb2.Fill(
                execution_id="x" + derived_id("paper-fill", account.name, _key(order), order.fill_count),
                client_order_id=_key(order),
                venue_order_id=order.venue_order_id,
                symbol=instrument.symbol,
                side=order.request.side,
                last_qty=common_pb2.Decimal(units=qty_units, scale=instrument.qty_scale),
                last_price=common_pb2.Decimal(units=price_units, scale=instrument.price_scale),
                fee=common_pb2.Decimal(units=fee_units, scale=AMOUNT_SCALE),
                fee_currency=account.currency,
                liquidity=venue_pb2.LIQUIDITY_MAKER if resting else venue_pb2.LIQUIDITY_TAKER,
            ),
        )
        account.say(self.now_ns, account.balance(account.last_sequence + 1))
        self._reduce_group(account, order, qty_units)
        if order.life is Life.FILLED:
            self._wake_children(account, order)

    def _reduce_group(self, account: Account, order: Order, qty_units: int) -> None:
        """What one of a group has traded, the others need not."""
        for key in account.groups.get(order.request.group, ()):
            other = account.orders[key]
            if other is order or other.life is not Life.WORKING:
                continue
            other.taken_units += qty_units
            if not other.room_units:
                self._end(account, other, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _taken_by_group(order))

    def _wake_children(self, account: Account, parent: Order) -> None:
        """The parent has ended: its children are as large as what it filled, or end with it."""
        for key in account.children.pop(_key(parent), ()):
            child = account.orders[key]
            if child.life is not Life.WORKING:
                continue
            if not parent.cum_qty_units:
                self._end(account, child, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _parent_ended(parent))
                continue
            child.asleep, child.cap_units = False, parent.cum_qty_units
            if not child.room_units:
                self._end(account, child, Life.CANCELED, venue_pb2.ORDER_FACT_CANCELED, _no_room(child))
            elif not self._delay(account, child):
                self._woken.append((account, child))

    @staticmethod
    def _reducible_units(account: Account, order: Order) -> int:
        """How much of the position an order on its side can take away."""
        position = account.positions.get(order.request.symbol)
        held = position.qty_units if position is not None else 0
        return max(0, -held if order.is_buy else held)

    def _end(
        self,
        account: Account,
        order: Order,
        life: Life,
        fact: venue_pb2.OrderFact.ValueType,
        reason: common_pb2.Refusal | None = None,
    ) -> None:
        order.life = life
        order.reason = reason
        account.say(self.now_ns, _report(order, fact, reason))
        self._wake_children(account, order)

    # ── Days and deadlines ─────────────────────────────────────────────────────────────────────────────

    def _expire_days_before(self, market: Market, bar: Bar) -> None:
        """An intraday bar of another day: yesterday's orders are over before it."""
        if bar.interval_ns < DAY_NS:
            self._expire_days(market, bar)

    def _expire_days_within(self, market: Market, bar: Bar) -> None:
        """A daily bar is the whole day that the orders placed before it were meant for."""
        if bar.interval_ns >= DAY_NS:
            self._expire_days(market, bar)

    def _expire_days(self, market: Market, bar: Bar) -> None:
        for account, order in self._working(market.instrument.symbol):
            if order.request.time_in_force == common_pb2.TIME_IN_FORCE_DAY and bar.day > order.day:
                self._end(account, order, Life.EXPIRED, venue_pb2.ORDER_FACT_EXPIRED)

    def _schedule(self, account: Account, order: Order, due_ns: int) -> None:
        heapq.heappush(self._deadlines, (due_ns, account.name, _key(order)))

    def _move_time(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time never goes back"
        self.now_ns = now_ns


def _given(field: str, price: Number | None) -> Number:
    if price is None:
        raise InvalidRequest.of(field, "", "is required for an order of this type")
    return price


def _key(order: Order) -> str:
    return order.request.client_order_id


def _is_awake(order: Order) -> bool:
    """It has no trigger that the price has to reach, and no parent that has to end."""
    return not order.asleep and (order.stop_units is None or order.triggered)


def _accepts(order: Order, price_units: int) -> bool:
    """Whether an order's limit lets it trade at a price."""
    if order.price_units is None:
        return True
    return price_units <= order.price_units if order.is_buy else price_units >= order.price_units


def _slipped(order: Order, market: Market, price_units: int, slippage_ppm_max: int) -> int:
    """A taker's price: worse by its drawn slippage, rounded to a tick against it, never beyond its limit."""
    tick = market.instrument.tick_units
    slip_units = divided_up(price_units * slippage_ppm_max * order.fortune.slippage_ppm, PPM * PPM)
    if order.is_buy:
        slipped = divided_up(price_units + slip_units, tick) * tick
        return slipped if order.price_units is None else min(slipped, order.price_units)
    slipped = max((price_units - slip_units) // tick, 1) * tick
    return slipped if order.price_units is None else max(slipped, order.price_units)


def _part_units(order: Order, instrument: Instrument, qty_units: int) -> int:
    """How much is filled now: all of it, but for the first fill of an order whose fate is PARTIAL."""
    if order.fortune.fate is not Fate.PARTIAL or order.fill_count:
        return qty_units
    part = qty_units * order.fortune.part_ppm // PPM // instrument.lot_units * instrument.lot_units
    return max(part, min(instrument.lot_units, qty_units))


def _report(
    order: Order, fact: venue_pb2.OrderFact.ValueType, reason: common_pb2.Refusal | None = None
) -> venue_pb2.OrderReport:
    return venue_pb2.OrderReport(
        fact=fact,
        client_order_id=_key(order),
        venue_order_id=order.venue_order_id,
        symbol=order.request.symbol,
        reason=reason,
    )


def _refused(order: Order, refusal: common_pb2.Refusal) -> Order:
    order.life = Life.REJECTED
    order.reason = refusal
    return order


def _fenced_refusal(client_order_id: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="FENCED",
        field="client_order_id",
        value=client_order_id,
        rule="an id that was not asked for with a fence before",
        message="this id was asked for when it was unknown, and was closed for ever",
    )


def _nothing_to_reduce(order: Order) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="NOTHING_TO_REDUCE",
        field="reduce_only",
        value=order.request.symbol,
        rule="a reduce-only order needs an open position on the other side",
        message=f"there is no {order.request.symbol} position left that this order could reduce",
    )


def _parent_refusal(order: Order, parent: Order | None) -> common_pb2.Refusal | None:
    """A child is taken while its parent can still fill, or has."""
    if parent is None:
        message = f"there is no order {order.request.parent_id} that this one could protect"
        return common_pb2.Refusal(
            reason="PARENT_UNKNOWN", field="parent_id", value=order.request.parent_id, message=message
        )
    is_other = parent.request.symbol != order.request.symbol or parent.is_buy == order.is_buy
    if is_other:
        message = "a child trades its parent's symbol, on the other side"
        return common_pb2.Refusal(reason="PARENT_MISMATCH", field="parent_id", value=_key(parent), message=message)
    return None if parent.life is Life.WORKING or parent.cum_qty_units else _parent_ended(parent)


def _parent_ended(parent: Order) -> common_pb2.Refusal:
    message = f"the order that this one protects is {parent.life.value} and never traded"
    return common_pb2.Refusal(reason="PARENT_ENDED", field="parent_id", value=_key(parent), message=message)


def _no_room(order: Order) -> common_pb2.Refusal:
    message = "what its parent filled and its group left for it is done"
    return common_pb2.Refusal(reason="NOTHING_LEFT", field="order_qty", value=_key(order), message=message)


def _taken_by_group(order: Order) -> common_pb2.Refusal:
    message = f"{_key(order)} of the same group has traded it"
    return common_pb2.Refusal(reason="GROUP_FILLED", field="group", value=order.request.group, message=message)


def _not_immediate(order: Order) -> common_pb2.Refusal:
    name = common_pb2.TimeInForce.Name(order.request.time_in_force).removeprefix("TIME_IN_FORCE_")
    return common_pb2.Refusal(reason="NOT_FILLED_AT_ONCE", message=f"{name}: what was not filled at once is canceled")


def _too_late(order: Order) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="ORDER_ENDED",
        field="client_order_id",
        value=_key(order),
        rule="a working order",
        message=f"the order is {order.life.value} already",
    )
