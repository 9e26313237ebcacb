"""The order desk: how orders live here, and what follows from each step. Pure, on the matching engine.

What is said about one order: an acknowledgement (openOrder, orderStatus); per fill execDetails, openOrder,
orderStatus and both again, the commission report after its own delay, position, portfolio; at its end PendingCancel,
Cancelled and 202, or 201 and Inactive. The desk decides what is true; its crier says it, and may say it badly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_simulators import matching
from kestrel_simulators.matching import Instrument, Life, MatchingEngine
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.accounts import Worth, margin_units
from kestrel_simulators.tws.contracts import EXCHANGE, Listing, Listings
from kestrel_simulators.tws.crier import CANCEL, MODIFY, NEW, Crier
from kestrel_simulators.tws.faults import Armed, Fault
from kestrel_simulators.tws.hours import Hours
from kestrel_simulators.tws.money import Booking, Commission, Holding, Ledger, amount
from kestrel_simulators.tws.orders import (
    OCA_CANCEL,
    TRAIL,
    Execution,
    LiveOrder,
    Problem,
    Stage,
    filled_in,
    problem_of,
)
from kestrel_simulators.tws.replies import OrderState
from kestrel_simulators.tws.requests import PlaceOrder
from kestrel_simulators.tws.terms import Order

PERM_ID_FIRST = 1_900_000_001
MANUAL_CLIENT_ID = 0
BY_TRADER = "Cancelled by Trader"


@dataclass(slots=True)
class Desk:
    """All orders, executions and accounts of the broker."""

    engine: MatchingEngine
    crier: Crier
    listings: Listings
    on_money: Callable[[str, str], None]
    """Called after a fill with account and symbol: positions and account values have changed."""
    commission: Commission = field(default_factory=Commission)
    now_ns: int = 0
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    orders: dict[int, LiveOrder] = field(default_factory=dict)
    live: dict[int, LiveOrder] = field(default_factory=dict)
    completed: list[LiveOrder] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    arrivals: dict[tuple[str, str], int] = field(default_factory=dict)
    highest_ids: dict[int, int] = field(default_factory=dict)
    _by_id: dict[tuple[int, int], LiveOrder] = field(default_factory=dict)
    _bookings: dict[tuple[str, str], list[Execution | Booking]] = field(default_factory=dict)
    _groups: dict[tuple[str, str], list[LiveOrder]] = field(default_factory=dict)
    # Groups of which an order is filled: nothing joins them any more.
    _finished_groups: set[tuple[str, str] | None] = field(default_factory=set)
    _stems: dict[str, Execution] = field(default_factory=dict)
    _outside_hours: dict[int, LiveOrder] = field(default_factory=dict)
    _to_market: deque[LiveOrder] = field(default_factory=deque)
    _manual_count: int = 0
    # While set, executions are booked and collected here instead of being told.
    _untold: list[Execution] | None = None

    def move_time(self, now_ns: int) -> None:
        self.now_ns = self.crier.now_ns = now_ns

    @property
    def commission_delay_ns(self) -> int:
        return self.crier.commission_delay_ns

    # ── Accounts and prices ────────────────────────────────────────────────────────────────────────────

    def open_account(self, name: str, wallet: Number, currency: str) -> None:
        account = self.engine.open_account(name, wallet, currency, now_ns=self.now_ns)
        if name not in self.ledgers:
            self.ledgers[name] = Ledger(name, currency, account.start_wallet_units)
            account.listener = lambda event: self._hear(account, event)

    def prices(self) -> dict[str, int]:
        return {symbol: market.last_units for symbol, market in self.engine.markets.items()}

    def worth(self, account: str) -> Worth:
        return Worth.of(self.ledgers[account], self.prices())

    def follow_prices(self, listing: Listing, best_for_sellers: int, best_for_buyers: int) -> None:
        """After a move of the market: trailing stops follow, and stops that woke up are told."""
        for order in [each for each in self.live.values() if each.listing is listing]:
            if order.stage is Stage.WORKING and order.terms.order_type == TRAIL:
                self._trail(order, best_for_buyers if order.is_buy else best_for_sellers)
            self.crier.tell_change(order)

    def _trail(self, order: LiveOrder, price_units: int) -> None:
        assert order.engine_order is not None
        if not order.engine_order.triggered and order.trail(price_units):
            self._amend(order)

    # ── Asking for something ───────────────────────────────────────────────────────────────────────────

    def next_order_id(self, client_id: int) -> int:
        return self.highest_ids.get(client_id, 0) + 1

    def order_of(self, client_id: int, order_id: int) -> LiveOrder | None:
        return self._by_id.get((client_id, order_id))

    def place(self, client_id: int, request: PlaceOrder) -> None:
        """A new order, a change of a live one, or a question what it would do."""
        known = self.order_of(client_id, request.order_id)
        if request.order.what_if:
            self._answer_what_if(client_id, request)
        elif known is not None and not known.is_ended:
            self._modify(known, request)
        elif known is not None and _is_late_modification(known, request.order):
            self.crier.complain(client_id, request.order_id, Problem(104, "Cannot modify a filled order."))
        else:
            self._place_new(client_id, request)

    def _place_new(self, client_id: int, request: PlaceOrder) -> None:
        terms = request.order
        arrival = (terms.account or self._only_account() or "", terms.order_ref)
        self.arrivals[arrival] = self.arrivals.get(arrival, 0) + 1
        if self.crier.faults.take(Fault.VANISHED_ORDER, order_type=terms.order_type, request=NEW):
            return
        if request.order_id <= self.highest_ids.get(client_id, 0):
            self.crier.complain(client_id, request.order_id, Problem(103, "Duplicate order id"))
            return
        self.highest_ids[client_id] = request.order_id
        listing, problem = self._checked(request)
        if listing is None or problem is not None:
            self.crier.complain(client_id, request.order_id, problem or _NO_CONTRACT)
            return
        parent = self.order_of(client_id, terms.parent_id) if terms.parent_id else None
        if terms.parent_id and parent is None:
            self.crier.complain(client_id, request.order_id, _no_parent(terms.parent_id))
            return
        order = self._enter(client_id, request, listing, parent)
        if terms.transmit:
            self._transmit_family(order)

    def _enter(
        self,
        client_id: int,
        request: PlaceOrder,
        listing: Listing,
        parent: LiveOrder | None,
        *,
        is_manual: bool = False,
    ) -> LiveOrder:
        """Write a new order into the books; nobody is told."""
        terms = filled_in(request.order, request.order.account or self._only_account() or "")
        order = LiveOrder(
            perm_id=PERM_ID_FIRST + len(self.orders),
            client_id=client_id,
            order_id=request.order_id,
            listing=listing,
            contract=listing.contract(request.contract.exchange or EXCHANGE),
            terms=terms,
            received_at_ns=self.now_ns,
            is_manual=is_manual,
            parent=parent,
        )
        self.orders[order.perm_id] = self.live[order.perm_id] = order
        self._by_id[client_id, request.order_id] = order
        if parent is not None:
            parent.children.append(order)
        order.group = _group_of(order)
        if order.group is not None:
            self._groups.setdefault(order.group, []).append(order)
        return order

    def place_by_hand(self, client_id: int, request: PlaceOrder) -> LiveOrder:
        """An order of somebody else on the account: typed in (client 0), or of another client."""
        is_manual = client_id == MANUAL_CLIENT_ID
        if is_manual:
            self._manual_count += 1
            request = replace(request, order_id=-self._manual_count)
        else:
            request = replace(request, order_id=self.next_order_id(client_id))
            self.highest_ids[client_id] = request.order_id
        listing, problem = self._checked(request)
        if listing is None or problem is not None:
            problem = problem or _NO_CONTRACT
            raise InvalidRequest.of("order", problem.code, problem.text)
        order = self._enter(client_id, request, listing, None, is_manual=is_manual)
        self._transmit_family(order)
        return order

    def cancel(self, client_id: int, order_id: int) -> None:
        """A client's request to cancel one of its orders; or of client 0, one typed in by hand."""
        order = self.order_of(client_id, order_id)
        if order is None:
            text = f"OrderId {order_id} that needs to be cancelled is not found."
            self.crier.complain(client_id, order_id, Problem(10147, text))
        elif order.stage is Stage.INACTIVE:
            text = "Cancel attempted when order is not in a cancellable state. Order permId = "
            self.crier.complain(client_id, order_id, Problem(161, f"{text}{order.perm_id}"))
        elif order.is_ended:
            self.crier.complain(client_id, order_id, _not_cancelable(order_id, order))
        else:
            self._cancel_with_ceremony(order, "")

    def cancel_all(self) -> None:
        """Everything that works in all accounts, those typed in by hand too."""
        for order in list(self.live.values()):
            if not order.is_ended and order.stage is not Stage.HELD:
                self._cancel_with_ceremony(order, "")

    def cancel_by_hand(self, perm_id: int, reason: str) -> None:
        order = self.orders.get(perm_id)
        if order is None or order.is_ended:
            raise Refused(f"order {perm_id} is not working", reason="ORDER_ENDED", field="perm_id", value=perm_id)
        self._cancel_now(order, reason)

    # ── Checking ───────────────────────────────────────────────────────────────────────────────────────

    def _checked(self, request: PlaceOrder) -> tuple[Listing | None, Problem | None]:
        terms = request.order
        account = terms.account or self._only_account()
        if account not in self.ledgers:
            if terms.account:
                return None, Problem(321, "Error validating request: invalid account code.")
            return None, Problem(435, "You must specify an account.")
        listing = self.listings.find(request.contract)
        return listing, problem_of(terms, listing) if listing is not None else _NO_CONTRACT

    def _only_account(self) -> str | None:
        return next(iter(self.ledgers)) if len(self.ledgers) == 1 else None

    def _lacks_funds(self, order: LiveOrder) -> bool:
        """Whether the order, if filled, would bind more than the account has; one that reduces never does."""
        before, after, equity = self._margins(order)
        return after > before and after > equity

    def _margins(self, order: LiveOrder) -> tuple[int, int, int]:
        """Margin of the account now and once the order is filled, and its equity. Amount units."""
        worth = self.worth(order.account)
        symbol = order.instrument.symbol
        price = self.engine.market(symbol).price_for(order.is_buy)
        limit = order.limit_price
        if limit is not None:
            price = max(price, limit.at(order.instrument.price_scale).units)
        holding = self.ledgers[order.account].holdings.get(symbol, Holding(order.instrument))
        signed = order.qty_units if order.is_buy else -order.qty_units
        change = margin_units(holding, holding.qty_units + signed, price)
        change -= margin_units(holding, holding.qty_units, self.engine.market(symbol).last_units)
        return worth.margin, worth.margin + change, worth.equity

    def _answer_what_if(self, client_id: int, request: PlaceOrder) -> None:
        """Only an openOrder with what it would bind and cost; no order comes of it."""
        listing, problem = self._checked(request)
        if listing is None or problem is not None:
            self.crier.complain(client_id, request.order_id, problem or _NO_CONTRACT)
            return
        terms = filled_in(request.order, request.order.account or self._only_account() or "")
        order = LiveOrder(
            0, client_id, request.order_id, listing, listing.contract(), terms, self.now_ns, stage=Stage.WAITING
        )
        before, after, equity = self._margins(order)
        price = self.engine.market(listing.instrument.symbol).price_for(order.is_buy)
        notional = listing.instrument.notional_up(price, order.qty_units)
        commission = self.commission.of_order(listing.instrument, order.qty_units, notional)
        state = OrderState(
            status=order.status,
            init_margin_before=amount(before),
            maint_margin_before=amount(before),
            equity_with_loan_before=amount(equity),
            init_margin_change=amount(after - before),
            maint_margin_change=amount(after - before),
            equity_with_loan_change=amount(-commission),
            init_margin_after=amount(after),
            maint_margin_after=amount(after),
            equity_with_loan_after=amount(equity - commission),
            commission=amount(commission),
            commission_currency=listing.instrument.currency,
        )
        answer = order.open_order(client_id, state=state)
        self.crier.audience.answer(client_id, replace(answer, order=replace(answer.order, what_if=True)))

    # ── Transmitting ───────────────────────────────────────────────────────────────────────────────────

    def _transmit_family(self, order: LiveOrder) -> None:
        """A transmitted order takes its parent and all that was held with it along."""
        root = order.parent or order
        for member in [root, *root.children]:
            if member.stage is Stage.HELD:
                self._transmit(member)

    def _transmit(self, order: LiveOrder) -> None:
        terms = order.terms
        order.is_status_withheld = self.crier.take(Fault.NO_ORDER_STATUS, order, NEW) is not None
        if self.crier.take(Fault.REJECT_201, order, NEW):
            self._reject(order, "REJECTED BY FAULT")
        elif order.parent is not None and order.parent.stage in (Stage.CANCELED, Stage.INACTIVE):
            self._reject(order, "PARENT ORDER IS BEING CANCELLED")
        elif order.group in self._finished_groups:
            self._reject(order, "OCA GROUP IS ALREADY FILLED")
        elif order.parent is None and self._lacks_funds(order):  # a child only closes what its parent opens
            self._reject(order, "INSUFFICIENT FUNDS")
        elif order.parent is not None and order.parent.stage is not Stage.FILLED:
            order.stage, order.why_held = Stage.WAITING, "child"
            self.crier.acknowledge(order)
        else:
            self._send_to_market(order)
        if not order.is_ended or order.stage is Stage.FILLED:
            self._warn(order, terms)

    def _warn(self, order: LiveOrder, terms: Order) -> None:
        """Warnings that change nothing, and that some libraries take for an end."""
        if self.crier.take(Fault.TIF_10349, order, NEW):
            self.crier.tell_error(order, 10349, f"Order TIF was set to {terms.tif} based on order preset.")
        if self.crier.take(Fault.WARNING_399, order, NEW):
            self.crier.tell_error(
                order, 399, f"Order Message:\n{_described(order)}\nWarning: a message of no consequence."
            )

    def _send_to_market(self, order: LiveOrder) -> None:
        """To the matching engine; or, while its market is closed, to those that wait."""
        opens_at_ns = wall.opens_at_ns(order.listing.hours, self.now_ns)
        order.why_held = ""
        if opens_at_ns != self.now_ns:
            order.stage = Stage.WAITING
            self._outside_hours[order.perm_id] = order
            self.crier.acknowledge(order)
            when = wall.text(opens_at_ns) if opens_at_ns is not None else "its market opens"
            text = f"Warning: your order will not be placed at the exchange until {when}"
            self.crier.tell_error(order, 399, f"Order Message:\n{_described(order)}\n{text}")
            return
        if order.terms.order_type == TRAIL:
            self._begin_trail(order)
        order.stage = Stage.WORKING
        self.engine.place(order.engine_request(), now_ns=self.now_ns)
        self.crier.tell_change(order)

    def _begin_trail(self, order: LiveOrder) -> None:
        given = order.terms.trail_stop_price
        if given is not None:
            order.trail_stop_units = given.at(order.instrument.price_scale).units
        order.trail(self.engine.market(order.instrument.symbol).price_for(order.is_buy))

    def open_markets(self) -> None:
        """Send what waited for its market to open."""
        if not self._outside_hours:
            return
        is_open = {hours: wall.opens_at_ns(hours, self.now_ns) == self.now_ns for hours in Hours}
        for order in list(self._outside_hours.values()):
            if order.is_ended or is_open[order.listing.hours]:
                del self._outside_hours[order.perm_id]
            if not order.is_ended and is_open[order.listing.hours]:
                self._send_to_market(order)

    def next_opening_ns(self) -> int | None:
        kinds = {order.listing.hours for order in self._outside_hours.values()}
        times = [wall.opens_at_ns(hours, self.now_ns) for hours in kinds]
        return min((time for time in times if time is not None), default=None)

    def send_activated(self) -> None:
        """Children whose parent was filled in this moment."""
        while self._to_market:
            order = self._to_market.popleft()
            if order.stage is Stage.WAITING:
                self._send_to_market(order)

    # ── Changing ───────────────────────────────────────────────────────────────────────────────────────

    def _modify(self, order: LiveOrder, request: PlaceOrder) -> None:
        problem = self._modification_problem(order, request)
        if problem is None and self.crier.take(Fault.REJECT_201, order, MODIFY):
            problem = Problem(201, "Order rejected - reason:REJECTED BY FAULT")
        if problem is not None:
            self.crier.complain(order.client_id, request.order_id, problem)
            return
        terms = filled_in(request.order, order.account)
        if order.stage is Stage.WORKING and self.crier.take(Fault.SECOND_PERM_ID, order, MODIFY):
            second = self._enter(order.client_id, replace(request, order=terms), order.listing, None)
            self._transmit_family(second)
            return
        was_held, before = order.stage is Stage.HELD, order.terms
        order.terms = terms
        if was_held:
            if terms.transmit:
                self._transmit_family(order)
            return
        self.crier.tell_status(order)
        if order.stage is Stage.WORKING:
            if terms.order_type == TRAIL and _trails_differently(terms, before):
                order.trail_stop_units = None
                self._begin_trail(order)
            self._amend(order)

    def _amend(self, order: LiveOrder) -> None:
        assert order.terms.total_quantity is not None
        self.engine.amend(
            order.account,
            order.key,
            order_qty=order.terms.total_quantity,
            price=order.limit_price,
            stop_price=order.stop_price,
            now_ns=self.now_ns,
        )

    def _modification_problem(self, order: LiveOrder, request: PlaceOrder) -> Problem | None:
        listing, problem = self._checked(request)
        terms = request.order
        is_other = listing is not order.listing or terms.action != order.terms.action
        if problem is not None:
            return problem
        if is_other or (terms.account or order.account) != order.account:
            return Problem(105, "Order being modified does not match original order.")
        if terms.order_type != order.terms.order_type:
            return Problem(329, "Order modify failed. Cannot change to the new order type.")
        if terms.parent_id and (order.parent is None or order.parent.is_ended):
            return _no_parent(terms.parent_id)
        qty = terms.total_quantity
        if qty is not None and qty <= order.listing.qty(order.qty_units - order.remaining_units):
            return Problem(201, "Order rejected - reason:THE QUANTITY IS NOT MORE THAN WHAT IS FILLED")
        return None

    # ── Canceling ──────────────────────────────────────────────────────────────────────────────────────

    def _cancel_with_ceremony(self, order: LiveOrder, reason: str) -> None:
        """As a client's request is answered: PendingCancel, then the end; a fill may come between or after."""
        order.is_cancel_pending = True
        self.crier.tell_status_alone(order)
        if order.stage is Stage.WORKING and self.crier.take(Fault.PARTIAL_THEN_CANCEL_RACE, order, CANCEL):
            self._execute_part(order)
        late = self.crier.take(Fault.EXECUTION_AFTER_CANCELED, order, CANCEL) if order.stage is Stage.WORKING else None
        if late is not None:
            self._cancel_before_execution(order, reason, late)
        elif order.stage is Stage.FILLED:
            self.crier.tell_error(order, *_code_and_text(_not_cancelable(order.order_id, order)))
        else:
            self._cancel_now(order, reason)

    def _execute_part(self, order: LiveOrder) -> None:
        """Half of what is open, at least a lot."""
        lot = order.instrument.lot_units
        units = max(order.remaining_units // 2 // lot * lot, lot)
        self.engine.execute(order.account, order.key, order.listing.qty(units), now_ns=self.now_ns)

    def _cancel_before_execution(self, order: LiveOrder, reason: str, late: Armed) -> None:
        """Cancelled is said, and then an execution that was made before."""
        canceled = replace(order.order_status(order.client_id), status="Cancelled")
        self._untold = []
        self._execute_part(order)
        self.crier.tell(order, lambda viewer: canceled)
        self.crier.tell_error(order, 202, f"Order Canceled - reason:{reason}")
        untold, self._untold = self._untold, None
        if not order.is_ended:
            order.done_text = reason
            order.said_status = "Cancelled"
            self.engine.cancel(order.account, order.key, now_ns=self.now_ns)
        for execution in untold:
            self._tell_fill(execution, late.delay_ms * MILLISECOND_NS)

    def _cancel_now(self, order: LiveOrder, reason: str) -> None:
        order.done_text = reason
        if order.stage is Stage.WORKING:
            self.engine.cancel(order.account, order.key, now_ns=self.now_ns)
        else:
            self._end_canceled(order)

    def _end_canceled(self, order: LiveOrder) -> None:
        """Cancelled and 202, in an order that differs from order to order."""
        reason, was_said = order.done_text, order.said_status == "Cancelled"
        self._finish(order, Stage.CANCELED, reason or BY_TRADER)
        if not was_said:
            confirmation = f"Order Canceled - reason:{reason}"
            if order.perm_id % 2 == 0:
                self.crier.tell_status_alone(order)
                self.crier.tell_error(order, 202, confirmation)
            else:
                self.crier.tell_error(order, 202, confirmation)
                self.crier.tell_status_alone(order)
        self._release_children(order)

    def _release_children(self, parent: LiveOrder) -> None:
        """What was filled of a canceled parent stays protected; children of one that never traded end with it."""
        for child in parent.children:
            if child.is_ended or child.stage is Stage.WORKING:
                continue
            filled = parent.filled_units
            if not filled or child.stage is Stage.HELD:
                self._cancel_now(child, "PARENT ORDER WAS CANCELLED")
                continue
            if child.qty_units > filled:
                child.terms = replace(child.terms, total_quantity=child.listing.qty(filled))
            self._to_market.append(child)

    def _reject(self, order: LiveOrder, reason: str) -> None:
        """201, then Inactive twice."""
        self._finish(order, Stage.INACTIVE, f"Rejected: {reason}")
        self.crier.tell_error(order, 201, f"Order rejected - reason:{reason}")
        self.crier.tell_status(order)
        self._release_children(order)

    def _finish(self, order: LiveOrder, stage: Stage, text: str) -> None:
        assert not order.is_ended, "an order ends once"
        order.stage, order.done_at_ns, order.done_text = stage, self.now_ns, text
        self.live.pop(order.perm_id, None)
        self.completed.append(order)
        members = self._groups.get(order.group) if order.group is not None else None
        if members is not None and order.group is not None:
            members.remove(order)
            if not members:
                del self._groups[order.group]

    # ── What the engine says, in the middle of matching ────────────────────────────────────────────────

    def _hear(self, account: matching.Account, event: matching.Event) -> None:
        fact = event.fact
        if isinstance(fact, venue_pb2.Balance):
            return
        order = self.orders[int(fact.client_order_id)]
        order.engine_order = account.orders[order.key]
        if isinstance(fact, venue_pb2.Fill):
            self._executed(order, fact)
        elif fact.fact == venue_pb2.ORDER_FACT_ACKNOWLEDGED:
            self.crier.acknowledge(order)
        elif fact.fact == venue_pb2.ORDER_FACT_REJECTED:
            self._reject(order, fact.reason.message)
        elif fact.fact == venue_pb2.ORDER_FACT_EXPIRED:
            order.done_text = "Expired"
            self._end_canceled(order)
        elif fact.fact == venue_pb2.ORDER_FACT_CANCELED:
            order.done_text = order.done_text or fact.reason.message
            self._end_canceled(order)

    def _executed(self, order: LiveOrder, fill: venue_pb2.Fill) -> None:
        """Book an execution, tell it, and let it have its consequences for the group and the children."""
        execution = self._book(order, fill)
        assert order.engine_order is not None
        if order.engine_order.life is Life.FILLED:
            self._finish(order, Stage.FILLED, f"Filled Size: {order.listing.qty(order.filled_units)}")
        if self._untold is not None:
            self._untold.append(execution)
        else:
            self._tell_fill(execution, 0)
        self._spread_over_group(order, execution.qty_units)
        if order.stage is Stage.FILLED:
            if order.group is not None:
                self._finished_groups.add(order.group)
            self._to_market.extend(child for child in order.children if child.stage is Stage.WAITING)

    def _tell_fill(self, execution: Execution, delay_ns: int, *, with_status: bool = True) -> None:
        """The fill to who may hear of it, and then the money to who subscribed to it."""
        self.crier.tell_fill(execution, delay_ns, with_status=with_status)
        self.on_money(execution.order.account, execution.order.instrument.symbol)

    def _book(self, order: LiveOrder, fill: venue_pb2.Fill) -> Execution:
        qty_units, price_units = fill.last_qty.units, fill.last_price.units
        commission = self._commission_of(order, qty_units, price_units)
        order.execution_count += 1
        execution = Execution(
            stem=f"{wall.day(self.now_ns):08x}.{len(self._stems) + 1:08x}.01",
            revision=1,
            order=order,
            qty_units=qty_units,
            price_units=price_units,
            time_ns=self.now_ns,
            is_maker=fill.liquidity == venue_pb2.LIQUIDITY_MAKER,
            commission_units=commission,
            realized_units=None,
            cum_qty_units=0,
            average_price=Number(0, 1),
        )
        order.executions.append(execution)
        execution.cum_qty_units, execution.average_price = order.filled_units, order.average_price
        order.commission_units += commission
        execution.realized_units = self._holding(order.account, order.instrument).book(execution.booking)
        self._bookings.setdefault((order.account, order.instrument.symbol), []).append(execution)
        self.executions.append(execution)
        self._stems[execution.stem] = execution
        return execution

    def _commission_of(self, order: LiveOrder, qty_units: int, price_units: int) -> int:
        """What this execution adds to what its order has cost."""
        notional = order.instrument.notional_up(price_units, qty_units)
        for each in order.executions:
            if each.is_current:
                notional += order.instrument.notional_up(each.price_units, each.qty_units)
        total = self.commission.of_order(order.instrument, order.filled_units + qty_units, notional)
        return max(0, total - order.commission_units)

    def _holding(self, account: str, instrument: Instrument) -> Holding:
        return self.ledgers[account].holdings.setdefault(instrument.symbol, Holding(instrument))

    def _spread_over_group(self, order: LiveOrder, qty_units: int) -> None:
        """One cancels all, or reduces all by the same part."""
        left = order.remaining_units
        for other in list(self._groups.get(order.group, [])) if order.group is not None else []:
            if other is order or other.is_ended:  # a child of one that was canceled just now
                continue
            lot = other.instrument.lot_units
            kept = other.remaining_units * left // (left + qty_units) // lot * lot
            if order.terms.oca_type == OCA_CANCEL or kept == 0:
                self._cancel_now(other, "OCA GROUP")
            else:
                filled = other.qty_units - other.remaining_units
                other.terms = replace(other.terms, total_quantity=other.listing.qty(filled + kept))
                if other.stage is Stage.WORKING:
                    self._amend(other)
                if other.stage is not Stage.HELD:
                    self.crier.tell_status(other)

    # ── Corrections ────────────────────────────────────────────────────────────────────────────────────

    def revise(self, execution_id: str, qty: Number | None, price: Number | None) -> None:
        """The same execution with another quantity (0: busted) or price, under the next revision."""
        stem, _, _ = execution_id.rpartition(".")
        old = self._stems.get(stem)
        if old is None:
            raise Refused(f"no execution {execution_id}", reason="EXECUTION_UNKNOWN", field="execution_id")
        order, instrument = old.order, old.order.instrument
        qty_units = old.qty_units if qty is None else qty.at(instrument.qty_scale, field="qty").units
        # What a working order has not executed may still be: a correction leaves room for it.
        room_units = order.qty_units - order.filled_units - (0 if order.is_ended else order.remaining_units)
        if not 0 <= qty_units <= old.qty_units + max(0, room_units):
            raise InvalidRequest.of("qty", qty, "0, or at most what the order leaves room for")
        price_units = old.price_units if price is None else instrument.price_units(price, "price")
        new = replace(old, revision=old.revision + 1, qty_units=qty_units, price_units=price_units)
        if qty_units == 0:
            order.commission_units -= new.commission_units
            new.commission_units = 0
        old.is_current = False
        order.executions.append(new)
        new.cum_qty_units, new.average_price = order.filled_units, order.average_price
        self._stems[stem] = new
        self.executions.append(new)
        self._fold_again(order.account, instrument, old, new)
        self._tell_fill(new, 0, with_status=False)

    def _fold_again(self, account: str, instrument: Instrument, old: Execution, new: Execution) -> None:
        bookings = self._bookings[account, instrument.symbol]
        bookings[next(place for place, each in enumerate(bookings) if each is old)] = new
        holding = Holding(instrument)
        for each in bookings:
            realized = holding.book(each.booking if isinstance(each, Execution) else each)
            if each is new:
                new.realized_units = realized
        self.ledgers[account].holdings[instrument.symbol] = holding

    def drift(self, account: str, symbol: str, qty: Number) -> None:
        """A position changes behind everybody's back, and no money with it."""
        if account not in self.ledgers:
            raise Refused(f"account {account!r} is not open", reason="ACCOUNT_UNKNOWN", field="account", value=account)
        market = self.engine.market(symbol)
        units = qty.at(market.instrument.qty_scale, field="qty").units
        if units == 0:
            raise InvalidRequest.of("qty", qty, "must not be zero")
        booking = Booking(units, market.last_units, is_paid=False)
        self._holding(account, market.instrument).book(booking)
        self._bookings.setdefault((account, symbol), []).append(booking)
        self.on_money(account, symbol)

    # ── Days ───────────────────────────────────────────────────────────────────────────────────────────

    def reset_day(self) -> None:
        """Orders for the day end with it; what is done and what was never transmitted is forgotten by the gateway."""
        for order in list(self.live.values()):
            if order.is_ended:  # with its parent
                continue
            if order.stage is Stage.HELD:
                self._finish(order, Stage.CANCELED, "Never transmitted")
            elif order.terms.tif == "DAY":
                self._cancel_now(order, "Expired")
        self.send_activated()
        self.completed.clear()

    def roll_back_ids(self, client_id: int | None = None) -> None:
        """The next valid id starts again; ids of orders that ended are forgotten, so they can be used again."""
        self._by_id = {
            key: order
            for key, order in self._by_id.items()
            if not order.is_ended or (client_id is not None and key[0] != client_id)
        }
        for each in [client_id] if client_id is not None else list(self.highest_ids):
            self.highest_ids.pop(each, None)


_NO_CONTRACT = Problem(200, "No security definition has been found for the request")


def _no_parent(parent_id: int) -> Problem:
    return Problem(135, f"Can't find order with id ={parent_id}")


def _not_cancelable(order_id: int, order: LiveOrder) -> Problem:
    text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
    return Problem(10148, text)


def _code_and_text(problem: Problem) -> tuple[int, str]:
    return problem.code, problem.text


def _is_late_modification(order: LiveOrder, terms: Order) -> bool:
    """A message for an order that is filled by now, of the same order; anything else is a number used twice."""
    return (
        order.stage is Stage.FILLED
        and (order.terms.order_ref, order.terms.action) == (terms.order_ref, terms.action)
        and order.terms.order_type == terms.order_type
    )


def _trails_differently(terms: Order, before: Order) -> bool:
    """A stop that has followed the price stays where it is, unless how it follows is what was changed."""
    asked, had = ((each.aux_price, each.trailing_percent) for each in (terms, before))
    return asked != had


def _group_of(order: LiveOrder) -> tuple[str, str] | None:
    """Its group by name, or the one that the children of one parent are without being asked."""
    if order.terms.oca_group:
        return order.account, order.terms.oca_group
    if order.parent is not None:
        return order.account, f"parent {order.parent.perm_id}"
    return None


def _described(order: LiveOrder) -> str:
    return f"{order.terms.action} {order.terms.total_quantity} {order.instrument.symbol} {order.terms.order_type}"
