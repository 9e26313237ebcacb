"""What the journal says an account holds, as governance needs it: exposure, capital, open trades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_governance.core import money
from kestrel_governance.core.money import Exact

_WORKING_LIVES = (state_pb2.ORDER_LIFE_PENDING_NEW, state_pb2.ORDER_LIFE_OPEN)
_ENTRY_STAGES = (
    state_pb2.SLOT_STAGE_ENTRY_REQUESTED,
    state_pb2.SLOT_STAGE_ENTRY_SENT,
    state_pb2.SLOT_STAGE_ENTRY_ACKED,
    state_pb2.SLOT_STAGE_ENTRY_WORKING,
    state_pb2.SLOT_STAGE_PARTIAL_FILL,
)


class NotComputable(Exception):
    """A figure a check needs is missing. The check becomes INDETERMINATE, which blocks entries."""


@dataclass(slots=True)
class AccountBook:
    """The newest account snapshot and the newest snapshot of each slot."""

    account: state_pb2.AccountSnapshot | None = None
    slots: dict[int, state_pb2.SlotSnapshot] = field(default_factory=dict)
    state_digest: bytes = b""
    as_of_ns: int = 0

    def learn(self, entry: journal_pb2.JournalEntry) -> None:
        if entry.HasField("account_after"):
            self.account = entry.account_after
        for slot in entry.slots:
            self.slots[slot.slot_index] = slot
        self.state_digest = entry.state_digest or self.state_digest
        self.as_of_ns = max(self.as_of_ns, entry.input_time_ns)

    def open_slots(self) -> list[state_pb2.SlotSnapshot]:
        return [slot for _, slot in sorted(self.slots.items()) if slot_is_open(slot)]

    def slot_of(self, trade_id: str) -> state_pb2.SlotSnapshot | None:
        return next((slot for slot in self.slots.values() if slot.trade_id == trade_id), None)

    def equity(self) -> Exact:
        """The account's equity; derived from wallet and unrealized profit when it is not stated (C03)."""
        if self.account is None:
            raise NotComputable("no snapshot of the account has been journaled yet")
        if self.account.HasField("equity"):
            return money.of(self.account.equity)
        if self.account.HasField("wallet") and self.account.HasField("unrealized_pnl"):
            return money.of(self.account.wallet) + money.of(self.account.unrealized_pnl)
        raise NotComputable("the account snapshot has neither equity nor wallet")

    def available(self) -> Exact:
        if self.account is None or not self.account.HasField("available"):
            raise NotComputable("the account snapshot does not say what is available")
        return money.of(self.account.available)


def slot_is_open(slot: state_pb2.SlotSnapshot) -> bool:
    """It holds a position, or its entry may still become one, or what protected it still works at the venue."""
    return bool(slot.qty.units) or entry_is_working(slot) or protection_is_working(slot)


def entry_is_working(slot: state_pb2.SlotSnapshot) -> bool:
    """Whatever says that the entry may still fill counts: its life, its doubt, or the slot's stage."""
    return slot.entry.in_doubt or slot.entry.life in _WORKING_LIVES or slot.stage in _ENTRY_STAGES


def protection_is_working(slot: state_pb2.SlotSnapshot) -> bool:
    """It adds nothing to a position; of a trade that is over, it keeps the symbol until it is taken back."""
    stop, target = slot.stop, slot.target
    return stop.life in _WORKING_LIVES or stop.in_doubt or target.life in _WORKING_LIVES or target.in_doubt


def slot_exposure(slot: state_pb2.SlotSnapshot, notional_of_entry: Mapping[str, Exact]) -> Exact:
    """|quantity| at its mark (or entry price, or reference), and what the working entry may still add."""
    return _held(slot) + working_exposure(slot, notional_of_entry)


def working_exposure(slot: state_pb2.SlotSnapshot, notional_of_entry: Mapping[str, Exact]) -> Exact:
    if not entry_is_working(slot):
        return money.ZERO
    order_qty, cum_qty = money.of(slot.entry.order_qty), money.of(slot.entry.cum_qty)
    leaves = max(order_qty - cum_qty, money.ZERO)
    if not leaves:
        return money.ZERO
    reserved = notional_of_entry.get(slot.trade_id)
    if reserved is not None and order_qty:
        return reserved * leaves / order_qty
    return leaves * _price(slot, "entry") * slot.instrument.multiplier


def _held(slot: state_pb2.SlotSnapshot) -> Exact:
    quantity = abs(money.of(slot.qty))
    return quantity * _price(slot, "position") * slot.instrument.multiplier if quantity else money.ZERO


def _price(slot: state_pb2.SlotSnapshot, of: str) -> Exact:
    if of == "entry" and slot.entry.HasField("price"):
        return money.of(slot.entry.price)
    for name in ("mark", "entry_price", "reference_price"):
        if slot.HasField(name):
            return money.of(getattr(slot, name))
    raise NotComputable(f"no price is known for {slot.instrument.symbol} in slot {slot.slot_index}")
