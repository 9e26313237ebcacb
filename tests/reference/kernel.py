"""The reference kernel: one account, one input at a time."""

from __future__ import annotations

from collections.abc import Callable

from tests.reference import fills, ledger, orders, requests
from tests.reference.digest import chain_event, digest
from tests.reference.inputs import Answer, Config, Input, Outcome, is_id, slot_words
from tests.reference.state import Slot, State, copied
from tests.reference.step import Refused, Step
from tests.reference.views import AccountView, SlotView, account_view, slot_view
from tests.reference.words import FLAGS_ALL, NO_SLOT, REQUESTS, SEVERITY, WITHOUT_EVENT_ID, Code, Field, InputKind

RULES: dict[int, Callable[[Step], None]] = {
    InputKind.ENTER: requests.enter,
    InputKind.EXIT: requests.exit_trade,
    InputKind.CANCEL: requests.cancel,
    InputKind.MARK_PRICE: orders.mark_price,
    InputKind.TICK: orders.tick,
    InputKind.ORDER: orders.report,
    InputKind.FILL: fills.fill,
    InputKind.BUST: fills.bust,
    InputKind.CORRECTION: fills.correction,
    InputKind.SETTLEMENT: fills.settlement,
    InputKind.BALANCE: ledger.balance,
    InputKind.FUNDING: ledger.funding,
    InputKind.FLATTEN: requests.flatten,
    InputKind.CANCEL_WORKING_ENTRIES: requests.cancel_working_entries,
    InputKind.FREEZE: requests.freeze,
    InputKind.UNFREEZE: requests.unfreeze,
    InputKind.ADOPT: requests.adopt,
    InputKind.FOREIGN: ledger.foreign,
}


class Kernel:
    """Slots and the account's ledger. A rule raises ``Refused`` before it has changed anything, or runs to its end."""

    rules = RULES

    def __init__(self, config: Config) -> None:
        self.state = State(config, [Slot() for _ in range(config.slot_count)])

    def apply(self, value: Input) -> Answer:
        step = Step(self.state, value)
        before = self.state.ledger
        try:
            self._check_common(value)
            self.state.ledger = copied(before)
            ledger.pass_time(self.state, value.now_ns)
            self.rules[value.kind](step)
        except Refused as refusal:
            self.state.ledger = before  # a refused input is no clock either
            return Answer(self._refusal(refusal))
        self._remember(value)
        outcome = Outcome(
            accepted=1,
            severity=SEVERITY[Code.OK],
            account_changed=1,
            code=Code.OK,
            slot_index=step.slot_index,
            changed_slots=slot_words(step.changed_slots),
            event_count=len(step.events),
            trade_id=step.trade_id,
        )
        return Answer(outcome, step.events)

    def slot(self, slot_index: int) -> SlotView:
        return slot_view(self.state, slot_index)

    def account(self) -> AccountView:
        return account_view(self.state)

    def digest(self) -> bytes:
        return digest(self.state)

    def _check_common(self, value: Input) -> None:
        """What is asked of every input, before its own rules."""
        malformed = Code.INVALID_INTENT if value.kind in REQUESTS else Code.INVALID_EVENT
        has_id = value.kind not in WITHOUT_EVENT_ID
        if has_id and not is_id(value.event_id):
            raise Refused(malformed, Field.EVENT_ID)
        if value.flags & ~FLAGS_ALL:
            raise Refused(malformed, Field.FLAGS, value.flags)
        if has_id and value.event_id in self.state.events:
            raise Refused(Code.DUPLICATE_EVENT, Field.EVENT_ID)
        if value.now_ns < self.state.ledger.now_ns:
            raise Refused(Code.TIME_REVERSED, Field.NOW_NS, value.now_ns)

    def _refusal(self, refusal: Refused) -> Outcome:
        trade_id = b"" if refusal.slot_index == NO_SLOT else self.state.slots[refusal.slot_index].trade_id
        return Outcome(
            severity=SEVERITY[refusal.code],
            code=refusal.code,
            field=refusal.field,
            value=refusal.value,
            slot_index=refusal.slot_index,
            trade_id=trade_id,
        )

    def _remember(self, value: Input) -> None:
        """The newest window_count event ids are kept."""
        state = self.state
        state.ledger.now_ns, state.ledger.event_sequence = value.now_ns, value.sequence
        if value.kind in WITHOUT_EVENT_ID:
            return
        state.events[value.event_id] = None
        state.ledger.event_count += 1
        chain_event(state, value.event_id)
        if len(state.events) > state.config.window_count:
            del state.events[next(iter(state.events))]
