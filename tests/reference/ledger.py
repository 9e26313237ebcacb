"""The account: our own ledger (K), the venue's wallet (E), and the comparison of the two.

    capital = wallet at the last anchor + bridge

where the bridge is what we booked and that wallet does not hold yet: realized - fees + funding + foreign.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.inputs import Input, is_sound
from tests.reference.machines import is_busy
from tests.reference.numbers import DoesNotFit, fits
from tests.reference.state import Ledger, State, copied
from tests.reference.step import Refused, Step
from tests.reference.words import (
    FREEZE_LEDGER,
    HAS_AMOUNT,
    HAS_AVAILABLE,
    HAS_FEE,
    NEVER_NS,
    Code,
    Field,
    LedgerCause,
    LedgerStatus,
)


def book(ledger: Ledger, realized: int, fee: int, *, bridges: bool) -> None:
    ledger.realized = fits(ledger.realized + realized)
    ledger.fees = fits(ledger.fees + fee)
    if bridges and (realized or fee):
        ledger.is_bridged = 1
        ledger.bridge = fits(fits(ledger.bridge + realized) - fee)


def predict(ledger: Ledger, fee_change: int, bridge_change: int, *, bridges: bool) -> None:
    """Fees that the venue has not stated; the bridge's count as absolute amounts."""
    ledger.predicted_fees = fits(ledger.predicted_fees + fee_change)
    if bridges:
        ledger.bridge_predicted = fits(ledger.bridge_predicted + bridge_change)


def takes(ledger: Ledger, number: int) -> bool:
    """Whether this new execution bridges: not when the wallet is taken to hold it already."""
    if ledger.awaited_count == 0:
        return True
    ledger.awaited_count -= 1
    ledger.has_awaited = 1
    ledger.anchored_count = number
    return False


def funding(step: Step) -> None:
    """A line of its own."""
    ledger, amount = step.state.ledger, step.input.amount
    if amount == 0:
        raise Refused(Code.INVALID_EVENT, Field.AMOUNT, amount)
    if not is_sound(step.input.symbol):
        raise Refused(Code.INVALID_EVENT, Field.SYMBOL)
    try:
        total, bridge = fits(ledger.funding + amount), fits(ledger.bridge + amount)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.AMOUNT, amount) from None

    ledger.funding, ledger.bridge, ledger.is_bridged, ledger.is_funding_due = total, bridge, 1, 0


def pass_time(state: State, now_ns: int) -> None:
    """Before anything else of an input: did a funding time pass while a position was open?"""
    ledger, interval_ns = state.ledger, state.config.funding_interval_ns
    if now_ns < ledger.next_funding_ns or ledger.next_funding_ns == NEVER_NS:
        return
    if interval_ns and any(slot.book.open_qty != 0 for slot in state.slots):
        ledger.is_funding_due = 1
    ledger.next_funding_ns = min(NEVER_NS, (now_ns // interval_ns + 1) * interval_ns) if interval_ns else NEVER_NS


def foreign(step: Step) -> None:
    """Someone else's activity: what is stated of it is bridged exactly, the rest is named at the next comparison."""
    state, report = step.state, step.input
    ledger = state.ledger
    has_amount, has_fee = report.states(HAS_AMOUNT), report.states(HAS_FEE)
    amount, fee = report.amount if has_amount else 0, report.fee if has_fee else 0
    if not is_sound(report.symbol):
        raise Refused(Code.INVALID_EVENT, Field.SYMBOL)
    try:
        effect = fits(amount - fee)
        total, bridge = fits(ledger.foreign + effect), fits(ledger.bridge + effect)
    except DoesNotFit:
        stated = (Field.AMOUNT, amount) if has_amount else (Field.FEE, fee)
        raise Refused(Code.OVERFLOW, *stated) from None

    ledger.foreign, ledger.bridge = total, bridge
    ledger.foreign_count += 1
    ledger.is_bridged |= effect != 0
    ledger.has_foreign |= not has_amount
    step.flag(Code.FOREIGN_ACTIVITY)
    for slot_index, slot in enumerate(state.slots):
        if report.symbol and slot.symbol == report.symbol and is_busy(slot):
            with step.watching(slot_index):
                step.flag(Code.FOREIGN_IN_SYMBOL, slot_index)


# --- balance ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Rest:
    """What we booked of executions that the frame's wallet does not hold yet."""

    bridge: int = 0
    predicted: int = 0
    skipped_count: int = 0


def balance(step: Step) -> None:
    """Compare first, then anchor."""
    state, frame = step.state, step.input
    ledger = copied(state.ledger)
    _require_wallet(frame)
    if frame.venue_sequence != 0 and frame.venue_sequence <= ledger.venue_sequence:
        raise Refused(Code.BALANCE_STALE, Field.VENUE_SEQUENCE, _signed(frame.venue_sequence))
    watermark, has_unseen = _included_count(ledger, frame.execution_watermark)
    is_beyond_window = ledger.execution_count - watermark > state.config.window_count
    if is_beyond_window or (ledger.has_anchor and watermark < ledger.anchored_count):
        raise Refused(Code.BALANCE_STALE, Field.EXECUTION_WATERMARK, watermark)
    try:
        rest = _rest_after(state, watermark)
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.AMOUNT, 0) from None
    try:
        delta = fits(frame.amount - (ledger.wallet + ledger.bridge - rest.bridge))
    except DoesNotFit:
        raise Refused(Code.OVERFLOW, Field.AMOUNT, frame.amount) from None

    is_compared = bool(ledger.has_anchor)
    ledger.ledger_delta = delta if is_compared else 0
    if is_compared:
        ledger.ledger_status, ledger.ledger_cause = _judge(state, ledger, rest, has_unseen=has_unseen)
    _anchor(ledger, frame, watermark, rest)
    state.ledger = ledger
    if is_compared:
        _tell_status(step)


def _require_wallet(frame: Input) -> None:
    if frame.amount <= 0:
        raise Refused(Code.BALANCE_WITHOUT_WALLET, Field.AMOUNT, frame.amount)


def _signed(value: int) -> int:
    """An outcome's value is signed."""
    return value - 2**64 if value >= 2**63 else value


def _included_count(ledger: Ledger, watermark: int) -> tuple[int, bool]:
    """How many of our executions the frame's wallet holds, and whether it holds some that we were not told of.

    A wallet that knows of more than we do holds some that are late, or not ours: the next ones are taken to be those,
    and until that is settled a difference is no error.
    """
    count = ledger.execution_count
    unseen_count = max(0, watermark - count)
    has_unseen = bool(ledger.has_awaited)
    ledger.has_awaited = 0
    if watermark == 0:
        return count, has_unseen
    change = unseen_count - ledger.unseen_count
    ledger.unseen_count = unseen_count
    if change != 0 and ledger.has_anchor:  # what was before the first anchor is no riddle
        has_unseen = True
        ledger.awaited_count = ledger.awaited_count + change if change > 0 else 0
    return min(watermark, count), has_unseen


def _rest_after(state: State, watermark: int) -> Rest:
    rest = Rest()
    for number in range(watermark + 1, state.ledger.execution_count + 1):
        execution = state.execution_by_number(number)
        was_repaired = execution.can_be_repaired and execution.is_settled
        effect = execution.realized - execution.fee + (execution.venue_realized if was_repaired else 0)
        rest.bridge = fits(rest.bridge + fits(effect))
        rest.predicted = fits(rest.predicted + abs(execution.predicted_fee))
        rest.skipped_count += execution.waits_for_figure
    return rest


def _judge(state: State, ledger: Ledger, rest: Rest, *, has_unseen: bool) -> tuple[LedgerStatus, LedgerCause]:
    """Why does the wallet differ from what we expected?"""
    config, delta = state.config, abs(ledger.ledger_delta)
    predicted = ledger.bridge_predicted - rest.predicted
    if delta <= config.ledger_tolerance:
        return LedgerStatus.OK, LedgerCause.NONE
    if delta <= predicted + config.ledger_tolerance:
        return LedgerStatus.OK, LedgerCause.FEE
    if ledger.is_funding_due:
        return LedgerStatus.WARNING, LedgerCause.FUNDING
    if ledger.has_foreign:
        return LedgerStatus.WARNING, LedgerCause.FOREIGN_ACTIVITY
    if has_unseen or ledger.bridge_skipped > rest.skipped_count:
        return LedgerStatus.WARNING, LedgerCause.UNSETTLED_FILLS
    is_error = delta > config.ledger_error_tolerance
    return LedgerStatus.ERROR if is_error else LedgerStatus.WARNING, LedgerCause.UNEXPLAINED


def _anchor(ledger: Ledger, frame: Input, watermark: int, rest: Rest) -> None:
    """The wallet as the venue states it becomes what capital stands on."""
    ledger.wallet = frame.amount
    if frame.states(HAS_AVAILABLE):
        ledger.available = frame.available
    ledger.bridge = rest.bridge
    ledger.bridge_predicted = rest.predicted
    ledger.bridge_skipped = rest.skipped_count
    ledger.is_bridged = int(rest.bridge != 0)
    ledger.anchored_count = watermark
    ledger.has_anchor = 1
    ledger.is_funding_due = ledger.has_foreign = 0
    ledger.venue_sequence = frame.venue_sequence or ledger.venue_sequence


def _tell_status(step: Step) -> None:
    """ERROR freezes entries, never exits; OK lifts that freeze by itself."""
    ledger = step.state.ledger
    if ledger.ledger_status == LedgerStatus.ERROR:
        ledger.freeze_flags |= FREEZE_LEDGER
        step.flag(Code.LEDGER_ERROR)
    elif ledger.ledger_status == LedgerStatus.WARNING:
        step.flag(Code.LEDGER_WARNING)
    elif ledger.freeze_flags & FREEZE_LEDGER:
        ledger.freeze_flags &= ~FREEZE_LEDGER
        step.flag(Code.LEDGER_RESTORED)
