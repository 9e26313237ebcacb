"""What a long enough run of random inputs must have come by. A run that did not has lost its way, and fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.reference.inputs import Answer, Input
from tests.reference.machines import is_busy, stage_of
from tests.reference.state import STOP, TARGET, Slot, State
from tests.reference.words import (
    FREEZE_LEDGER,
    FREEZE_OPERATOR,
    INT64_MAX,
    SLOT_EXITS_MAX,
    Code,
    CommandKind,
    EventKind,
    InputKind,
    LedgerCause,
    LedgerStatus,
    Lifecycle,
    Stage,
)

RUN_LENGTH_MIN = 100_000
"""Inputs after which all of it must have been reached."""

_FACT = "OK DUPLICATE_EVENT INVALID_EVENT TIME_REVERSED"
_REQUEST = "OK DUPLICATE_EVENT INVALID_INTENT TIME_REVERSED"
CODES_OF_KIND = {
    "ENTER": f"{_REQUEST} SLOT_BUSY SYMBOL_BUSY ENTRY_FROZEN ENTRY_EXPIRED NO_CAPITAL OVERFLOW",
    "EXIT": f"{_REQUEST} UNRESOLVED_SLOT NO_OPEN_POSITION EXIT_PENDING",
    "CANCEL": f"{_REQUEST} UNRESOLVED_SLOT NO_WORKING_ORDER",
    "MARK_PRICE": "OK INVALID_EVENT TIME_REVERSED OVERFLOW",
    "TICK": "OK INVALID_EVENT TIME_REVERSED",
    "ORDER": f"{_FACT} UNRESOLVED_SLOT ILLEGAL_TRANSITION",
    "FILL": f"{_FACT} UNRESOLVED_SLOT OVERFLOW",
    "BUST": f"{_FACT} UNRESOLVED_SLOT UNKNOWN_EXECUTION OVERFLOW",
    "CORRECTION": f"{_FACT} UNRESOLVED_SLOT UNKNOWN_EXECUTION OVERFLOW",
    "SETTLEMENT": f"{_FACT} UNKNOWN_EXECUTION OVERFLOW",
    "BALANCE": f"{_FACT} BALANCE_WITHOUT_WALLET BALANCE_STALE OVERFLOW",
    "FUNDING": f"{_FACT} OVERFLOW",
    "FLATTEN": _REQUEST,
    "CANCEL_WORKING_ENTRIES": _REQUEST,
    "FREEZE": _REQUEST,
    "UNFREEZE": _REQUEST,
    "ADOPT": f"{_REQUEST} SLOT_BUSY SYMBOL_BUSY ORPHAN_POSITION OVERFLOW",
    "FOREIGN": f"{_FACT} OVERFLOW",
}
"""Every answer that a kind of input can get."""

ANOMALIES = [
    "ROUTED_BY_STAGE",
    "LATE_FILL",
    "OVERFILL",
    "FILL_WITHOUT_PRICE",
    "ENTRY_BASIS_MISSING",
    "PRICE_ROUNDED",
    "SIDE_MISMATCH",
    "EXIT_SIZE_REPAIRED",
    "EXIT_PRICE_REPAIRED",
    "EXIT_EXCEEDS_POSITION",
    "ORDER_STALLED",
    "ORDER_IN_DOUBT",
    "FILL_BUSTED",
    "FILL_CORRECTED",
    "SETTLEMENT_DIFFERS",
    "LEDGER_WARNING",
    "LEDGER_ERROR",
    "LEDGER_RESTORED",
    "VENUE_REJECTED",
    "GATEWAY_DENIED",
    "FEE_SAMPLE_REFUSED",
    "FOREIGN_ACTIVITY",
    "FOREIGN_IN_SYMBOL",
    "PROTECTION_LOST",
    "PROTECTION_LEFT",
]
LEDGER = [
    "NONE NONE",
    "OK NONE",
    "OK FEE",
    "WARNING FUNDING",
    "WARNING FOREIGN_ACTIVITY",
    "WARNING UNSETTLED_FILLS",
    "WARNING UNEXPLAINED",
    "ERROR UNEXPLAINED",
]
STATES: dict[str, Callable[[State], bool]] = {
    "event window wrapped": lambda state: state.ledger.event_count > state.config.window_count,
    "execution window wrapped": lambda state: state.ledger.execution_count > state.config.window_count,
    "a slot has forgotten exit orders": lambda state: any(slot.exit_count > SLOT_EXITS_MAX for slot in state.slots),
    "a second exit leg is next": lambda state: any(slot.active_leg_index > 0 for slot in state.slots),
    "a fourth exit leg is next": lambda state: any(slot.active_leg_index >= 3 for slot in state.slots),
    "more was closed than was open": lambda state: any(slot.book.open_qty < 0 for slot in state.slots),
    "a fill waits for the venue's figure": lambda state: any(slot.book.skipped_count > 0 for slot in state.slots),
    "the venue's figure repaired a trade": lambda state: any(slot.book.venue_realized != 0 for slot in state.slots),
    "an adopted trade is being left": lambda state: any(slot.is_adopted and slot.exit_count for slot in state.slots),
    "an entry's basis is missing": lambda state: any(slot.book.entry_unpriced_qty > 0 for slot in state.slots),
    "a short trade is open": lambda state: any(slot.direction < 0 < slot.book.open_qty for slot in state.slots),
    "two open trades share a symbol": lambda state: _share_a_symbol([slot for slot in state.slots if is_busy(slot)]),
    "a slot of the second word is used": lambda state: any(slot.trade_sequence for slot in state.slots[64:]),
    "a slot was taken again": lambda state: state.ledger.trade_count > state.config.slot_count,
    "a bracket's stop has filled": lambda state: any(_has_filled(slot, STOP) for slot in state.slots),
    "a bracket's target has filled": lambda state: any(_has_filled(slot, TARGET) for slot in state.slots),
    "both protective orders have filled": lambda state: any(
        _has_filled(slot, STOP) and _has_filled(slot, TARGET) for slot in state.slots
    ),
    "a bracket is being left": lambda state: any(slot.protectives and slot.live_exit for slot in state.slots),
    "a bracket lost its stop": lambda state: any(slot.is_bare for slot in state.slots),
    "a protective order is left of a closed trade": lambda state: _is_at(state, Stage.POSITION_CLOSED),
    "a protective order is left of a refused entry": lambda state: _is_at(state, Stage.ORDER_REJECTED),
    "an order is in doubt": lambda state: any(order.in_doubt for slot in state.slots for _, order in slot.orders()),
    "the wallet holds executions we await": lambda state: state.ledger.awaited_count > 0,
    "both freezes": lambda state: state.ledger.freeze_flags == FREEZE_OPERATOR | FREEZE_LEDGER,
    "both rates are calibrated": lambda state: state.ledger.maker.sample_count > 0 < state.ledger.taker.sample_count,
    "the last fee sample was refused": lambda state: state.ledger.taker.is_last_refused != 0,
    "funding is due": lambda state: state.ledger.is_funding_due != 0,
    "foreign activity without an amount": lambda state: state.ledger.has_foreign != 0,
    "the end of time": lambda state: state.ledger.now_ns == INT64_MAX,
    "a figure beyond 2^62": lambda state: max(map(abs, (state.ledger.realized, state.ledger.bridge))) > 2**62,
}
"""Corners of the state, looked for at each restart and at the end of a sequence."""


def _has_filled(slot: Slot, ordinal: int) -> bool:
    return ordinal in slot.protectives and slot.protectives[ordinal].cum_qty > 0


def _is_at(state: State, stage: Stage) -> bool:
    return any(stage_of(slot) == stage for slot in state.slots)


def _share_a_symbol(slots: list[Slot]) -> bool:
    return len({slot.symbol for slot in slots}) < len(slots)


def corners(state: State) -> list[str]:
    return [f"state {name}" for name, holds in STATES.items() if holds(state)]


NOT_OF_THE_KERNEL = {Lifecycle.PROPOSED, Lifecycle.APPROVED, Lifecycle.EXPIRED}
"""Lifecycles that governance gives a trade, before the kernel knows of it."""

REQUIRED = (
    [f"{kind} {code}" for kind, codes in CODES_OF_KIND.items() for code in codes.split()]
    + [f"anomaly {code}" for code in ANOMALIES]
    + [f"stage {stage.name}" for stage in Stage if stage != Stage.NONE]
    + [f"lifecycle {lifecycle.name}" for lifecycle in Lifecycle if lifecycle not in NOT_OF_THE_KERNEL]
    + [f"command {command.name}" for command in CommandKind if command != CommandKind.NONE]
    + [f"ledger {judgment}" for judgment in LEDGER]
    + ["event FILL_BOOKED", "event SETTLED", "restart"]
    + [f"state {name}" for name in STATES]
)


def count(reached: Counter[str], value: Input, answer: Answer, state: State) -> None:
    """Count what one input came by."""
    reached[f"{InputKind(value.kind).name} {Code(answer.outcome.code).name}"] += 1
    for event in answer.events:
        if event.kind == EventKind.ANOMALY:
            reached[f"anomaly {Code(event.code).name}"] += 1
        elif event.kind == EventKind.TRANSITION:
            reached[f"stage {Stage(event.to_stage).name}"] += 1
            reached[f"lifecycle {Lifecycle(event.to_lifecycle).name}"] += 1
        elif event.kind == EventKind.COMMAND:
            reached[f"command {CommandKind(event.command).name}"] += 1
        else:
            reached[f"event {EventKind(event.kind).name}"] += 1
    if value.kind == InputKind.BALANCE and answer.outcome.accepted:
        status, cause = LedgerStatus(state.ledger.ledger_status).name, LedgerCause(state.ledger.ledger_cause).name
        reached[f"ledger {status} {cause}"] += 1


def missing(reached: Counter[str]) -> list[str]:
    """What should have been reached and was not."""
    return [name for name in REQUIRED if not reached[name]]


def unforeseen(reached: Counter[str]) -> list[str]:
    """Answers that no table above has."""
    foreseen = set(REQUIRED)
    return [name for name in reached if name not in foreseen]


def codes_without_use() -> set[str]:
    """Codes of the manual that nothing here expects; there should be none."""
    used = {code for codes in CODES_OF_KIND.values() for code in codes.split()} | set(ANOMALIES)
    return {code.name for code in Code} - used
