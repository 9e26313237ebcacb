"""What the venue's messages say about the orders of one account: our own state, decided by our own rules.

               openOrder, orderStatus: at work; an execution          202, Cancelled
    SENT ------------------------------------------------> WORKING ---------------------> CANCELED
      |                                                       |                              |
      `---- 201 and its like, before it was at work --> REJECTED                             |
            an execution is applied wherever the order stands, also after its end <----------'

What always holds, whatever arrives, doubled, late or in another order:

* Filled quantity comes from executions only, each counted once by the stem of its id, and the highest revision counts.
  "Filled" in a status is a claim that makes us ask for executions; it books nothing.
* An end is told once, and not before the executions that the venue counts in it were asked for.
* A code that is not in the table of codes leads to questions, never to an end (``errors``).
* Identity: our reference, then the venue's permanent id, then (client id, order id) where no reference contradicts it.
  The venue issues order ids anew after some restarts, so the last counts only for what was sent or confirmed under it.
* An order without our prefix is somebody else's. Its executions are told as such, and nothing else of it is.

``known`` is what is stored already: what it has is not told again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import Alarm, Fact
from kestrel_venue_gateway.ibkr.core import errors, executions
from kestrel_venue_gateway.ibkr.core.heard import (
    CommissionSeen,
    CompletedSeen,
    ErrorSeen,
    ExecutionSeen,
    OrderMessage,
    OrderSeen,
    StatusSeen,
)

_AT_WORK = frozenset({"PreSubmitted", "Submitted", "PendingCancel"})
_CANCELED = frozenset({"Cancelled", "ApiCancelled"})
_SAYS_NOTHING = frozenset({"", "PendingSubmit", "ApiPending", "Inactive", "ValidationError", "ApiUpdate"})
"""Held by the gateway, or not at work for a reason that other messages name: neither taken nor refused."""
_CLOSED_ORDERS_KEPT = 4096
_EARLY_FEES_KEPT = 4096
_WITHOUT_TOKEN_TOLD = 20
"""By name. Hundreds are an account with another journal, and one alert says so better than hundreds."""
_NONE = Number(0, 0)
_WARNING = common_pb2.SEVERITY_WARNING
_LIQUIDITY = {1: venue_pb2.LIQUIDITY_MAKER, 2: venue_pb2.LIQUIDITY_TAKER}


class Life(Enum):
    """How far the venue has said an order came. Whether it is filled follows from its executions."""

    SENT = "sent"
    WORKING = "working"
    CANCELED = "canceled"
    REJECTED = "rejected"


@dataclass(slots=True)
class Lot:
    """One execution, whatever its revision."""

    client_order_id: str
    # The id under which it was told as a fill; empty while nothing of it was.
    told_id: str
    revision: int
    qty: Number
    symbol: str
    fee: Number | None = None
    # The revision that counts was heard itself, so ``qty`` is its quantity.
    is_heard: bool = False


@dataclass(slots=True)
class Order:
    """One order under our reference."""

    client_order_id: str
    symbol: str = ""
    order_qty: Number = _NONE  # as we asked; while nobody has said, nothing
    # As the venue has it now. It makes smaller what protects a smaller fill, and what its group has traded.
    venue_qty: Number = _NONE
    # The venue calls it filled, which of a smaller order is true before all of ours is.
    called_filled: bool = False
    order_id: int = 0  # 0: not known under any
    client_id: int = 0
    perm_ids: list[int] = field(default_factory=list)
    life: Life = Life.SENT
    is_ending: bool = False
    # The most that the venue has claimed to be filled. Never decreases.
    claimed_qty: Number = _NONE
    lots: dict[str, Number] = field(default_factory=dict)
    # What spoke against it, or against the cancel of it, last.
    refusal: common_pb2.Refusal | None = None
    cancel_refusal: common_pb2.Refusal | None = None
    cancel_pending: bool = False
    sent_at_ns: int = 0
    # Anything at all was heard that names it.
    is_seen: bool = False
    told: set[int] = field(default_factory=set)

    @property
    def cum_qty(self) -> Number:
        return sum(self.lots.values(), start=_NONE)

    @property
    def is_filled(self) -> bool:
        return bool(self.order_qty) and self.cum_qty >= self.order_qty

    @property
    def is_filled_smaller(self) -> bool:
        """All that the venue left of it is filled, and there will be no more."""
        return self.called_filled and bool(self.venue_qty) and self.venue_qty <= self.cum_qty < self.order_qty

    @property
    def is_at_work(self) -> bool:
        """As far as anybody has said."""
        return self.life is Life.WORKING and not self.has_ended and not self.is_ending

    @property
    def has_ended(self) -> bool:
        return self.is_filled or self.life in (Life.CANCELED, Life.REJECTED)

    @property
    def venue_order_id(self) -> str:
        return str(self.perm_ids[0]) if self.perm_ids else ""


@dataclass(frozen=True, slots=True)
class Told:
    """A fact for the kernel, with what makes it this fact."""

    key: str
    time_ns: int
    fact: Fact


@dataclass(slots=True)
class Learned:
    """What followed from a message."""

    told: list[Told] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    # Orders about which something is different now: who waits for them looks again.
    touched: set[str] = field(default_factory=set)
    # The message cannot be understood without asking for orders and executions.
    must_ask: bool = False


class OrderFacts:
    """The fold over what was heard. Raises nothing, whatever is heard."""

    def __init__(self, account: str, client_id: int, known: KnownFacts) -> None:
        self.account = account
        self.client_id = client_id
        self.known = known
        self.order_id_highest = 0
        self._orders: dict[str, Order] = {}
        self._by_perm_id: dict[int, str] = {}
        self._by_order_id: dict[tuple[int, int], str] = {}
        self._lots: dict[str, Lot] = {}
        self._lots_of: dict[str, list[str]] = {}
        self._early_fees: OrderedDict[str, CommissionSeen] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._unjournaled: dict[str, bool] = {}

    # --- questions ---------------------------------------------------------------------------------------------

    def order(self, client_order_id: str) -> Order | None:
        return self._orders.get(client_order_id)

    @property
    def order_count(self) -> int:
        """How many orders are remembered, closed ones included."""
        return len(self._orders)

    def fees_awaited(self) -> list[str]:
        """Executions of ours that were told and whose fee the venue has not said."""
        return [
            lot.told_id
            for lot in self._lots.values()
            if lot.told_id
            and lot.fee is None
            and lot.qty
            and lot.client_order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX)
        ]

    # --- learning ----------------------------------------------------------------------------------------------

    def sent(self, client_order_id: str, symbol: str, order_qty: Number, order_id: int, *, now_ns: int) -> Order:
        """We are about to send it, under this order id. To be called before the first byte leaves."""
        order = self._orders.setdefault(client_order_id, Order(client_order_id))
        order.symbol, order.order_qty, order.sent_at_ns = symbol, order_qty, now_ns
        self._name(order, self.client_id, order_id)
        return order

    def not_sent(self, client_order_id: str) -> None:
        """It certainly never left after all."""
        order = self._orders.get(client_order_id)
        if order is not None and not order.is_seen:
            self._forget(client_order_id)

    def take_over(self, before: OrderFacts) -> None:
        """Begin where an earlier fold ended: with what was sent and never heard of, and with no order id again."""
        self.order_id_highest = max(self.order_id_highest, before.order_id_highest)
        for order in before._orders.values():
            if order.sent_at_ns and not order.is_seen:
                # Without its order id: the gateway may have issued that to another order by now.
                self._orders[order.client_order_id] = Order(
                    order.client_order_id,
                    order.symbol,
                    order.order_qty,
                    sent_at_ns=order.sent_at_ns,
                    refusal=order.refusal,
                )

    def apply(self, heard: OrderMessage, *, now_ns: int) -> Learned:
        """Learn one message."""
        learned = Learned()
        match heard:
            case OrderSeen():
                self._learn_order(heard, learned, now_ns)
            case StatusSeen():
                self._learn_status(heard, learned, now_ns)
            case ExecutionSeen():
                self._learn_execution(heard, learned, now_ns)
            case CommissionSeen():
                self._learn_commission(heard, learned, now_ns)
            case CompletedSeen():
                self._learn_completed(heard, learned, now_ns)
            case ErrorSeen():
                self._learn_error(heard, learned, now_ns)
        self._close_what_is_over(learned.touched)
        return learned

    def all_asked(self, *, now_ns: int) -> Learned:
        """The venue has told all its open and completed orders and executions. What is missing now stays missing.

        An end that waited for executions is told, and what waits for a person is named.
        """
        learned = Learned()
        for order in list(self._orders.values()):
            if order.claimed_qty > order.cum_qty and not self._is_settled_before(order):
                learned.alarms.append(_missing_executions(order))
                order.claimed_qty = order.cum_qty
            if order.is_ending:
                self._tell_end(order, learned, now_ns, all_asked=True)
            self._end_smaller(order, learned, now_ns)
        learned.alarms.extend(self._without_token())
        self._close_what_is_over(learned.touched)
        return learned

    # --- messages ----------------------------------------------------------------------------------------------

    def _learn_order(self, heard: OrderSeen, learned: Learned, now_ns: int) -> None:
        if heard.is_preview or heard.account not in ("", self.account):
            return
        if heard.client_id == self.client_id:
            self.order_id_highest = max(self.order_id_highest, heard.order_id)
        order = self._find(heard.order_ref, heard.perm_id)
        if order is None:
            return
        self._describe(order, heard.symbol, heard.order_qty)
        self._name(order, heard.client_id, heard.order_id)
        self._meet(order, heard.perm_id, learned)
        self._learn_state(order, heard.status, learned, now_ns)

    def _learn_status(self, heard: StatusSeen, learned: Learned, now_ns: int) -> None:
        order = self._find("", heard.perm_id) or self._find_by_order_id(heard.client_id, heard.order_id, heard.perm_id)
        if order is None:
            return
        self._meet(order, heard.perm_id, learned)
        order.claimed_qty = max(order.claimed_qty, heard.filled)
        if heard.why_held and heard.status in _SAYS_NOTHING:
            self._acknowledge(order, learned, now_ns)  # held until shares are located, for example: it lives
        self._learn_state(order, heard.status, learned, now_ns)

    def _learn_completed(self, heard: CompletedSeen, learned: Learned, now_ns: int) -> None:
        if heard.account not in ("", self.account):
            return
        order = self._find(heard.order_ref, heard.perm_id)
        if order is None:
            return
        self._describe(order, heard.symbol, heard.order_qty)
        self._meet(order, heard.perm_id, learned)
        order.claimed_qty = max(order.claimed_qty, heard.filled)
        says_refused = heard.status == "Inactive" or "reject" in heard.explanation.lower()
        if heard.status in _CANCELED or heard.status == "Inactive":
            if says_refused and order.refusal is None:
                order.refusal = _completed_refusal(heard)
            self._end(order, learned, now_ns)
        else:
            self._learn_state(order, heard.status, learned, now_ns)

    def _learn_error(self, heard: ErrorSeen, learned: Learned, now_ns: int) -> None:
        order = self._find_by_order_id(self.client_id, heard.request_id, 0) if heard.request_id > 0 else None
        if order is None:
            return
        learned.touched.add(order.client_order_id)
        refusal = errors.refusal_of(heard.code, heard.text)
        match errors.meaning(heard.code):
            case errors.Meaning.NOTE:
                pass
            case errors.Meaning.REJECTED if order.life is Life.SENT and not order.lots:
                order.is_seen, order.refusal = True, refusal
                self._end(order, learned, now_ns)
            case errors.Meaning.CANCELED:
                order.is_seen = True
                self._end(order, learned, now_ns)
            case errors.Meaning.CANCEL_REFUSED:
                order.cancel_refusal = refusal
                learned.must_ask = True
            case _:
                order.refusal = order.refusal or refusal
                learned.must_ask = True
                if not errors.is_known(heard.code):
                    learned.alarms.append(_unknown_code(order, heard))

    def _learn_execution(self, heard: ExecutionSeen, learned: Learned, now_ns: int) -> None:
        if heard.account not in ("", self.account) or heard.sec_type == "BAG":
            return  # a combination's own row: its legs are told one by one
        if heard.client_id == self.client_id:
            self.order_id_highest = max(self.order_id_highest, heard.order_id)
        order = self._find(heard.order_ref, heard.perm_id)
        if order is not None:
            self._describe(order, heard.symbol, _NONE)
            self._meet(order, heard.perm_id, learned)
        self._count(order, heard, learned, now_ns)
        if order is not None:
            self._note_order(order)
            if order.is_ending:
                self._tell_end(order, learned, now_ns)
            self._end_smaller(order, learned, now_ns)

    def _learn_commission(self, heard: CommissionSeen, learned: Learned, now_ns: int) -> None:
        if heard.fee is None:
            return
        stem, revision = executions.split(heard.execution_id)
        lot = self._lots.get(stem)
        if lot is None or revision > lot.revision:
            self._early_fees[heard.execution_id] = heard
            while len(self._early_fees) > _EARLY_FEES_KEPT:
                self._early_fees.popitem(last=False)
        elif revision == lot.revision:
            self._settle(lot, heard, learned, now_ns)

    # --- states ------------------------------------------------------------------------------------------------

    def _learn_state(self, order: Order, status: str, learned: Learned, now_ns: int) -> None:
        learned.touched.add(order.client_order_id)
        self._note_order(order)
        if status in _AT_WORK:
            order.cancel_pending = order.cancel_pending or status == "PendingCancel"
            self._acknowledge(order, learned, now_ns)
        elif status in _CANCELED:
            self._end(order, learned, now_ns)
        elif status == "Filled":
            self._acknowledge(order, learned, now_ns)
            order.called_filled = True
            self._end_smaller(order, learned, now_ns)
            learned.must_ask = learned.must_ask or not order.has_ended
        elif status not in _SAYS_NOTHING:
            learned.must_ask = True
            message = f"{order.client_order_id}: the venue says {status[:40]!r}, which no rule knows"
            alarm = Alarm("VENUE_STATUS_UNKNOWN", message, order.client_order_id, status[:40], _WARNING)
            learned.alarms.append(alarm)

    def _acknowledge(self, order: Order, learned: Learned, now_ns: int) -> None:
        learned.touched.add(order.client_order_id)
        if order.life is Life.SENT:
            order.life = Life.WORKING
            self._tell(order, venue_pb2.ORDER_FACT_ACKNOWLEDGED, learned, now_ns)
        elif order.life is Life.REJECTED and not order.lots:
            message = f"{order.client_order_id} was refused by the venue and is at work there"
            learned.alarms.append(Alarm("VENUE_CONTRADICTS_ITSELF", message, order.client_order_id))

    def _end(self, order: Order, learned: Learned, now_ns: int) -> None:
        """Nothing more of it will fill, the venue says. A refusal, if it never worked and one was given."""
        learned.touched.add(order.client_order_id)
        if order.is_filled or order.life in (Life.CANCELED, Life.REJECTED):
            return
        order.is_ending = True
        self._tell_end(order, learned, now_ns)

    def _end_smaller(self, order: Order, learned: Learned, now_ns: int) -> None:
        """Of what we asked for, the venue has filled what it left of it: the rest is canceled, which it never says."""
        if order.is_filled_smaller:
            self._end(order, learned, now_ns)

    def _tell_end(self, order: Order, learned: Learned, now_ns: int, *, all_asked: bool = False) -> None:
        learned.touched.add(order.client_order_id)
        if order.is_filled:
            order.is_ending = False
            return
        if order.claimed_qty > order.cum_qty and not all_asked:
            learned.must_ask = True  # the end is told behind the executions it counts
            return
        order.is_ending = False
        never_worked = order.life is Life.SENT and not order.lots and not order.claimed_qty
        if never_worked and order.refusal is not None:
            order.life = Life.REJECTED
            self._tell(order, venue_pb2.ORDER_FACT_REJECTED, learned, now_ns, order.refusal)
        else:
            order.life = Life.CANCELED
            self._tell(order, venue_pb2.ORDER_FACT_CANCELED, learned, now_ns)

    def _tell(
        self,
        order: Order,
        fact: venue_pb2.OrderFact.ValueType,
        learned: Learned,
        now_ns: int,
        reason: common_pb2.Refusal | None = None,
    ) -> None:
        if fact in order.told or self.known.knows_order_fact(order.client_order_id, fact):
            return
        order.told.add(fact)
        report = venue_pb2.OrderReport(
            fact=fact,
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.symbol,
            reason=reason,
        )
        key = f"order:{order.client_order_id}:{venue_pb2.OrderFact.Name(fact)}"
        learned.told.append(Told(key, now_ns, report))

    # --- executions --------------------------------------------------------------------------------------------

    def _count(self, order: Order | None, heard: ExecutionSeen, learned: Learned, now_ns: int) -> None:
        """One revision of one execution: new, higher than what counts so far, or of before."""
        stem, revision = executions.split(heard.execution_id)
        lot = self._lots.get(stem) or self._recall(order, heard)
        is_new = stem not in self._lots
        if is_new:
            self._lots[stem] = lot
            self._lots_of.setdefault(lot.client_order_id, []).append(stem)
            if order is None:
                self._closed[lot.client_order_id] = None  # somebody else's: kept as long as what is over
        if revision > lot.revision:
            self._restate(lot, revision, heard, learned, now_ns)
        elif revision == lot.revision and not lot.is_heard:
            lot.qty, lot.is_heard = heard.qty, True
        if order is not None and revision == lot.revision:
            order.lots[stem] = lot.qty
            learned.touched.add(order.client_order_id)
            if lot.qty:
                self._acknowledge(order, learned, now_ns)
        early = self._early_fees.pop(heard.execution_id, None)
        if early is not None and revision == lot.revision:
            self._settle(lot, early, learned, now_ns)

    def _recall(self, order: Order | None, heard: ExecutionSeen) -> Lot:
        """What is stored of an execution that this fold has not heard of yet; else an empty beginning."""
        client_order_id = order.client_order_id if order is not None else _foreign_id(heard)
        lot = Lot(client_order_id, "", -1, _NONE, heard.symbol)
        for execution_id in executions.other_revisions(heard.execution_id):
            known = self.known.execution(execution_id)
            if known is None:
                continue
            _, revision = executions.split(known.now_called)
            if known.is_busted:
                # A bust is told of the first id and has none of its own: it is the revision behind what is known.
                lot.told_id, lot.revision, lot.fee = "", max(lot.revision, revision + 1), None
            else:
                lot.told_id, lot.revision = known.booked_as, max(lot.revision, revision)
                lot.fee = Number.of(known.fee) if known.fee is not None else None
        return lot

    def _restate(self, lot: Lot, revision: int, heard: ExecutionSeen, learned: Learned, now_ns: int) -> None:
        lot.revision, lot.qty, lot.fee, lot.is_heard = revision, heard.qty, None, True
        time_ns = heard.time_ns or now_ns
        fill = self._fill(lot, heard)
        if not lot.told_id:
            if heard.qty.units > 0:
                lot.told_id = heard.execution_id
                learned.told.append(Told(heard.execution_id, time_ns, fill))
            return
        bust = venue_pb2.FillBust(execution_id=lot.told_id, client_order_id=lot.client_order_id)
        if heard.qty.units > 0:
            bust.corrected.CopyFrom(fill)
        learned.told.append(Told(f"restated:{heard.execution_id}", time_ns, bust))
        if heard.qty.units <= 0:
            lot.told_id = ""

    def _fill(self, lot: Lot, heard: ExecutionSeen) -> venue_pb2.Fill:
        return venue_pb2.Fill(
            execution_id=heard.execution_id,
            client_order_id=lot.client_order_id,
            venue_order_id=str(heard.perm_id) if heard.perm_id else "",
            symbol=heard.symbol,
            side=heard.side,
            last_qty=heard.qty.message(),
            last_price=heard.price.message(),
            liquidity=_LIQUIDITY.get(heard.liquidity, venue_pb2.LIQUIDITY_UNSPECIFIED),
        )

    def _settle(self, lot: Lot, heard: CommissionSeen, learned: Learned, now_ns: int) -> None:
        """The venue's fee for an execution that was told. Another figure later replaces it."""
        fee = heard.fee
        if fee is None or not lot.told_id or lot.fee == fee:
            return
        lot.fee = fee
        if not lot.client_order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX):
            return  # what others pay is none of our business: that they traded was told
        settlement = venue_pb2.Settlement(
            execution_id=lot.told_id, client_order_id=lot.client_order_id, symbol=lot.symbol, fee=fee.message()
        )
        learned.told.append(Told(f"fee:{heard.execution_id}:{fee}", now_ns, settlement))
        if lot.client_order_id in self._orders:
            learned.touched.add(lot.client_order_id)

    # --- identity ----------------------------------------------------------------------------------------------

    def _find(self, order_ref: str, perm_id: int) -> Order | None:
        """Our order under a reference, or under a permanent id; ``None`` when it is somebody else's, or nobody's."""
        if order_ref:
            if not order_ref.startswith(identifiers.CLIENT_ORDER_ID_PREFIX):
                return None
            return self._orders.setdefault(order_ref, Order(order_ref))
        if not perm_id:
            return None
        client_order_id = self._by_perm_id.get(perm_id) or self.known.client_order_id_of(str(perm_id))
        if not client_order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX):
            return None
        return self._orders.setdefault(client_order_id, Order(client_order_id))

    def _find_by_order_id(self, client_id: int, order_id: int, perm_id: int) -> Order | None:
        """The order that was sent, or confirmed with its reference, under these; unless a permanent id contradicts."""
        order = self._orders.get(self._by_order_id.get((client_id, order_id), ""))
        if order is None or (perm_id and order.perm_ids and perm_id not in order.perm_ids):
            return None
        return order

    def _name(self, order: Order, client_id: int, order_id: int) -> None:
        if order_id > 0:
            order.client_id, order.order_id = client_id, order_id
            self._by_order_id[client_id, order_id] = order.client_order_id
            if client_id == self.client_id:
                self.order_id_highest = max(self.order_id_highest, order_id)

    def _meet(self, order: Order, perm_id: int, learned: Learned) -> None:
        if not perm_id or perm_id in order.perm_ids:
            return
        order.perm_ids.append(perm_id)
        self._by_perm_id[perm_id] = order.client_order_id
        if len(order.perm_ids) > 1:
            message = f"{order.client_order_id} stands for more than one order of the venue: {order.perm_ids}"
            learned.alarms.append(Alarm("ORDER_MULTIPLIED", message, order.client_order_id, str(len(order.perm_ids))))

    def _describe(self, order: Order, symbol: str, order_qty: Number) -> None:
        order.is_seen = True
        order.symbol = order.symbol or symbol
        known = self.known.order(order.client_order_id)
        ours = known.order_qty if known is not None else None
        order.order_qty = order.order_qty or ours or order_qty
        order.venue_qty = order_qty or order.venue_qty

    def _note_order(self, order: Order) -> None:
        """Somebody says our prefix, and no journal has the order: looked at once everything was asked."""
        order.is_seen = True
        if not order.sent_at_ns and not self._was_commanded(order.client_order_id):
            self._unjournaled.setdefault(order.client_order_id, False)

    def _was_commanded(self, client_order_id: str) -> bool:
        known = self.known.order(client_order_id)
        return known is not None and known.was_commanded

    def _without_token(self) -> Iterable[Alarm]:
        """Orders under our prefix that nobody here commanded, each told once; of very many, how many there are."""
        found = []
        for client_order_id, alarmed in list(self._unjournaled.items()):
            if self._was_commanded(client_order_id):
                del self._unjournaled[client_order_id]
            elif not alarmed:
                self._unjournaled[client_order_id] = True
                found.append(client_order_id)
        told, others = found[:_WITHOUT_TOKEN_TOLD], found[_WITHOUT_TOKEN_TOLD:]
        yield from map(_without_token, told)
        if others:
            message = (
                f"and {len(others)} orders more, from {others[0]} to {others[-1]}, that no journal of ours commanded"
            )
            yield Alarm("ORDER_WITHOUT_TOKEN", message, others[0], "and more")

    def _is_settled_before(self, order: Order) -> bool:
        """What the venue claims is filled was told in earlier days: executions before midnight are not had again."""
        known = self.known.order(order.client_order_id)
        return known is not None and known.has_traded and not order.sent_at_ns

    # --- forgetting --------------------------------------------------------------------------------------------

    def _close_what_is_over(self, touched: Iterable[str]) -> None:
        """Closed orders are kept for late words about them; beyond a bound, the oldest are forgotten."""
        for client_order_id in touched:
            order = self._orders.get(client_order_id)
            if order is not None and order.has_ended and not order.is_ending:
                self._closed[client_order_id] = None
        while len(self._closed) > _CLOSED_ORDERS_KEPT:
            oldest, _ = self._closed.popitem(last=False)
            self._forget(oldest)

    def _forget(self, client_order_id: str) -> None:
        order = self._orders.pop(client_order_id, None)
        self._closed.pop(client_order_id, None)
        self._unjournaled.pop(client_order_id, None)
        for stem in self._lots_of.pop(client_order_id, ()):
            self._lots.pop(stem, None)
        if order is None:
            return
        for perm_id in order.perm_ids:
            self._by_perm_id.pop(perm_id, None)
        if self._by_order_id.get((order.client_id, order.order_id)) == client_order_id:
            del self._by_order_id[order.client_id, order.order_id]


def _foreign_id(heard: ExecutionSeen) -> str:
    """What to call an order of somebody else: never empty, never ours."""
    return heard.order_ref or f"ibkr-{heard.perm_id or heard.execution_id}"


def _completed_refusal(heard: CompletedSeen) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="IBKR_REJECTED", field="order", value=heard.status, message=heard.explanation[:500] or heard.status
    )


def _missing_executions(order: Order) -> Alarm:
    message = (
        f"{order.client_order_id}: the venue claims {order.claimed_qty} filled and tells executions of {order.cum_qty}"
    )
    return Alarm("EXECUTIONS_MISSING", message, order.client_order_id, str(order.claimed_qty))


def _without_token(client_order_id: str) -> Alarm:
    message = f"the venue has an order {client_order_id} that no journal of ours commanded"
    return Alarm("ORDER_WITHOUT_TOKEN", message, client_order_id)


def _unknown_code(order: Order, heard: ErrorSeen) -> Alarm:
    message = f"{order.client_order_id}: code {heard.code} is in no table: {heard.text[:200]}"
    return Alarm("VENUE_CODE_UNKNOWN", message, order.client_order_id, str(heard.code), _WARNING)
