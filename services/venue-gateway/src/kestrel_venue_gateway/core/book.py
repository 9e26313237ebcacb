"""What the journal says about one account: a fold over its entries, in their order.

The gateway keeps no state of its own. Which commands are still to be carried out, how much of a warrant is used
up, which symbols are open, which trace an order belongs to and where the venue's event stream was left: each
follows from the journal, so the gateway may die anywhere and start from it.

A command is settled once the journal holds an answer about its order: acknowledged, rejected, denied, ended or filled.
IN_DOUBT and SUBMITTING settle nothing. A later cancel of the same order takes the place of one without an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import subjects
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.submission import Commission

_ENDS = frozenset(
    {
        venue_pb2.ORDER_FACT_REJECTED,
        venue_pb2.ORDER_FACT_DENIED,
        venue_pb2.ORDER_FACT_CANCELED,
        venue_pb2.ORDER_FACT_EXPIRED,
    }
)
_PROVES_NOTHING = frozenset({venue_pb2.ORDER_FACT_SUBMITTING, venue_pb2.ORDER_FACT_CANCEL_REJECTED})
_OVER = frozenset(
    {
        state_pb2.SLOT_STAGE_IDLE,
        state_pb2.SLOT_STAGE_POSITION_CLOSED,
        state_pb2.SLOT_STAGE_ORDER_REJECTED,
        state_pb2.SLOT_STAGE_TERMINAL_WRITTEN,
    }
)
_FINISHED_TRADES_KEPT = 1024
"""Late facts about a finished trade still find their trace; beyond this many, the oldest are forgotten."""


@dataclass(slots=True)
class Order:
    """One order of ours, as far as the gateway has to know it."""

    trade_id: str
    is_exit: bool
    order_qty: Number
    traceparent: str
    fills: dict[str, Number] = field(default_factory=dict)
    # Nothing of it can fill any more, as far as is known; a late fill counts all the same.
    ended: bool = False
    # It may be at the venue, and people were told so.
    in_doubt: bool = False
    # The entry that it protects, by client order id; empty: it protects none.
    entry_id: str = ""

    @property
    def cum_qty(self) -> Number:
        return sum(self.fills.values(), start=Number.zero())

    @property
    def committed_qty(self) -> Number:
        """What it filled, or may still fill. A protective order keeps no exit out: the venue takes it back for one."""
        return self.cum_qty if self.ended or self.entry_id else max(self.order_qty, self.cum_qty)

    @property
    def at_work(self) -> bool:
        return not self.ended


@dataclass(slots=True)
class AccountBook:
    """The fold. ``apply`` the account's entries in journal order, each once."""

    account: str
    venue: str
    partition: int
    journal_sequence: int = 0
    # The journal holds the account's reports up to here in INBOX.
    inbox_sequence: int = 0
    venue_watermark: int = 0
    symbols_ordered: set[str] = field(default_factory=set)
    known: KnownFacts = field(default_factory=KnownFacts)
    _orders: dict[str, Order] = field(default_factory=dict)
    _orders_of_trade: dict[str, list[str]] = field(default_factory=dict)
    _open_symbol_of_trade: dict[str, str] = field(default_factory=dict)
    _finished: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _unsettled: dict[str, Commission] = field(default_factory=dict)

    def apply(self, sequence: int, entry: journal_pb2.JournalEntry) -> list[Commission]:
        """Learn one entry; the commands in it that are for this account and venue. Older sequences are ignored."""
        if sequence <= self.journal_sequence:
            return []
        self.journal_sequence = sequence
        if entry.account != self.account:
            return []
        self.inbox_sequence = max(self.inbox_sequence, entry.input_sequence)
        if entry.door == "venue":
            self._learn_report(inbox_pb2.InboxMessage.FromString(entry.input).venue)
        for fill in entry.fills:
            self._learn_fill(fill)
        for slot in entry.slots:
            self._learn_slot(slot)
        commissions: list[Commission] = []
        for index, command in enumerate(entry.commands):
            if command.venue == self.venue:
                commissions.append(self._commission(sequence, index, command, entry, commissions))
        return self._with_protection(commissions)

    def pass_over(self, sequence: int) -> None:
        """An entry of another account of the partition: nothing to learn but that it was there."""
        self.journal_sequence = max(self.journal_sequence, sequence)

    def is_settled(self, identity: str) -> bool:
        """The journal holds an answer to this command, or a later one in its place, or the command is not there yet."""
        return identity not in self._unsettled

    @property
    def unsettled(self) -> list[Commission]:
        """Commands without an answer in the journal, oldest first: what a new session has to take up."""
        return list(self._unsettled.values())

    @property
    def open_symbols(self) -> set[str]:
        return set(self._open_symbol_of_trade.values())

    def traceparent(self, client_order_id: str) -> str:
        """The trace of the order that a report is about; empty when the order is not ours or long forgotten."""
        order = self._orders.get(client_order_id)
        return order.traceparent if order is not None else ""

    def _commission(
        self,
        sequence: int,
        index: int,
        command: journal_pb2.VenueCommand,
        entry: journal_pb2.JournalEntry,
        before: list[Commission],
    ) -> Commission:
        is_cancel = command.kind == journal_pb2.COMMAND_KIND_CANCEL
        order = self._orders.get(command.client_order_id)
        by_person = order is not None and (_is_asked_for_by_name(command, entry) or self._was_given_up(order.entry_id))
        commission = Commission(
            command=self._in_own_group(command),
            identity=f"{subjects.journal_stream(self.partition)}:{sequence}:{index}",
            traceparent=entry.traceparent or self.traceparent(command.client_order_id),
            committed_qty=self._committed_qty(command.trade_id),
            repeats_an_id=not is_cancel and order is not None,
            # Who cancels before there is a doubt has not looked into it.
            by_person=is_cancel and order is not None and order.in_doubt and by_person,
            of_exit=is_cancel and order is not None and order.is_exit and not order.entry_id,
            entry_id=order.entry_id if is_cancel and order is not None else _entry_of(command, before),
        )
        if not is_cancel and not commission.repeats_an_id:
            self._open_order(commission)
        if is_cancel:
            commission = self._in_place_of_earlier(commission)
        if not is_cancel or order is None or order.at_work:
            self._unsettled[commission.identity] = commission
        return commission

    def _in_place_of_earlier(self, cancel: Commission) -> Commission:
        """An order has one cancel under way, the newest: an earlier one without an answer ends at its next pause.

        The newest still goes to the venue, as a person may repeat what seemed to have no effect. It finds what the
        earlier one marked, and that a person has looked into the doubt stays true.
        """
        for identity in self._identities_of(cancel.command.client_order_id, cancels=True):
            earlier = self._unsettled.pop(identity)
            by_person = cancel.by_person or earlier.by_person
            cancel = replace(cancel, by_person=by_person, marks_as=earlier.marks_as or earlier.identity)
        return cancel

    def _with_protection(self, commissions: list[Commission]) -> list[Commission]:
        """Each entry with the orders that go out with it."""
        linked = []
        for commission in commissions:
            if commission.command.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
                entry_id = commission.command.client_order_id
                protective = tuple(each for each in commissions if each.entry_id == entry_id)
                commission = replace(commission, protective=protective)
                self._unsettled[commission.identity] = commission
            linked.append(commission)
        return linked

    def _in_own_group(self, command: journal_pb2.VenueCommand) -> journal_pb2.VenueCommand:
        """An exit joins no group but its own trade's: in another's it would take the protection of that one away."""
        is_exit = command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
        if not is_exit or not command.group or command.group in self._orders_of_trade.get(command.trade_id, ()):
            return command
        alone = journal_pb2.VenueCommand()
        alone.CopyFrom(command)
        alone.group = ""
        return alone

    def _was_given_up(self, client_order_id: str) -> bool:
        """A person has given an order up: then what would have protected it is given up as well."""
        known = self.known.order(client_order_id) if client_order_id else None
        return known is not None and known.was_given_up

    def _open_order(self, commission: Commission) -> None:
        command = commission.command
        self._orders[command.client_order_id] = Order(
            trade_id=command.trade_id,
            is_exit=command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
            order_qty=Number.of(command.order_qty),
            traceparent=commission.traceparent,
            entry_id=commission.entry_id,
        )
        self._orders_of_trade.setdefault(command.trade_id, []).append(command.client_order_id)
        self.known.learn_command(command.client_order_id, Number.of(command.order_qty))
        self.symbols_ordered.add(command.instrument.symbol)

    def _committed_qty(self, trade_id: str) -> Number:
        """By exits of the trade's latest attempt: a warrant is one attempt's, and what an older one left is over."""
        total = Number.zero()
        for client_order_id in reversed(self._orders_of_trade.get(trade_id, [])):
            order = self._orders[client_order_id]
            if not order.is_exit:
                break
            total = total + order.committed_qty
        return total

    # --- learning ----------------------------------------------------------------------------------------------

    def _learn_report(self, report: venue_pb2.VenueReport) -> None:
        if report.venue != self.venue:
            return
        self.known.learn(report)
        self.venue_watermark = max(self.venue_watermark, report.venue_watermark)
        client_order_id = reports.client_order_id_of(report)
        if report.WhichOneof("body") == "order":
            self._learn_fact(client_order_id, report.order.fact)
        elif report.WhichOneof("body") == "fill":
            self._settle_submission(client_order_id)

    def _learn_fact(self, client_order_id: str, fact: venue_pb2.OrderFact.ValueType) -> None:
        order = self._orders.get(client_order_id)
        if order is not None:
            order.ended = order.ended or fact in _ENDS
            order.in_doubt = fact == venue_pb2.ORDER_FACT_IN_DOUBT or (order.in_doubt and fact in _PROVES_NOTHING)
        if fact in _ENDS or fact == venue_pb2.ORDER_FACT_ACKNOWLEDGED:
            self._settle_submission(client_order_id)
        if fact in _ENDS or fact == venue_pb2.ORDER_FACT_CANCEL_REJECTED:
            self._settle_cancels(client_order_id)

    def _learn_fill(self, fill: journal_pb2.BookedFill) -> None:
        """Count a fill, or take a busted one back: what it gave out of the warrant is there to be used again."""
        order = self._orders.get(fill.client_order_id)
        if order is None:
            return
        if fill.is_busted:
            order.fills.pop(fill.execution_id, None)
            return
        order.in_doubt = False
        order.fills[fill.execution_id] = Number.of(fill.last_qty)
        self._settle_submission(fill.client_order_id)
        if order.cum_qty >= order.order_qty:
            order.ended = True
            self._settle_cancels(fill.client_order_id)

    def _learn_slot(self, slot: state_pb2.SlotSnapshot) -> None:
        if not slot.trade_id:
            return
        if slot.qty.units:
            self._open_symbol_of_trade[slot.trade_id] = slot.instrument.symbol
            return
        self._open_symbol_of_trade.pop(slot.trade_id, None)
        if slot.stage in _OVER:
            self._finish_trade(slot.trade_id)

    def _finish_trade(self, trade_id: str) -> None:
        self._finished[trade_id] = None
        self._finished.move_to_end(trade_id)
        if len(self._finished) > _FINISHED_TRADES_KEPT:
            oldest, _ = self._finished.popitem(last=False)
            for client_order_id in self._orders_of_trade.pop(oldest, ()):
                self._orders.pop(client_order_id, None)

    def _settle_submission(self, client_order_id: str) -> None:
        self._settle(client_order_id, cancels=False)

    def _settle_cancels(self, client_order_id: str) -> None:
        self._settle(client_order_id, cancels=True)

    def _settle(self, client_order_id: str, *, cancels: bool) -> None:
        for identity in self._identities_of(client_order_id, cancels=cancels):
            del self._unsettled[identity]

    def _identities_of(self, client_order_id: str, *, cancels: bool) -> list[str]:
        """The commands about an order that are not settled."""
        return [
            identity
            for identity, commission in self._unsettled.items()
            if commission.command.client_order_id == client_order_id
            and (commission.command.kind == journal_pb2.COMMAND_KIND_CANCEL) == cancels
        ]


def _entry_of(command: journal_pb2.VenueCommand, before: list[Commission]) -> str:
    """The entry that a protective order goes out with: of the same trade, before it in the same journal entry."""
    if command.kind != journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE:
        return ""
    for commission in reversed(before):
        earlier = commission.command
        if earlier.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY and earlier.trade_id == command.trade_id:
            return earlier.client_order_id
    return ""


def _is_asked_for_by_name(command: journal_pb2.VenueCommand, entry: journal_pb2.JournalEntry) -> bool:
    """An operator asked for the cancel of this very order, rather than of everything."""
    if entry.door != "control":
        return False
    control = inbox_pb2.InboxMessage.FromString(entry.input).control
    return (
        control.action == inbox_pb2.CONTROL_ACTION_CANCEL_ORDER
        and control.requested_by.kind == "operator"
        and control.client_order_id == command.client_order_id
    )
