"""What goes in and what comes out: plain values with the names of the manual. Ids are bytes, without their padding."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.reference.words import ABI_VERSION, EXIT_LEGS_MAX, NO_SLOT, SLOT_WORDS

SOUND_TEXT = re.compile(rb"[!-~]*")


@dataclass(slots=True)
class Config:
    """All that shapes a kernel's answers beside its inputs."""

    abi_version: int = ABI_VERSION
    slot_count: int = 1
    window_count: int = 16
    leverage_max: int = 10
    amount_scale: int = 8
    maker_fee_rate: int = 0
    taker_fee_rate: int = 0
    ack_timeout_ns: int = 60_000_000_000
    funding_interval_ns: int = 0
    seed_capital: int = 0
    ledger_tolerance: int = 0
    ledger_error_tolerance: int = 0
    settlement_tolerance: int = 0
    account: bytes = b"account"
    currency: bytes = b"USD"


@dataclass(slots=True)
class Input:
    """One input, flat: each kind reads the fields it names and ignores the others."""

    kind: int
    order_fact: int = 0
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    liquidity: int = 0
    price_scale: int = 0
    qty_scale: int = 0
    flags: int = 0
    leverage: int = 0
    now_ns: int = 0
    sequence: int = 0
    qty: int = 0
    price: int = 0
    stop_price: int = 0
    target_price: int = 0
    reference_price: int = 0
    amount: int = 0
    available: int = 0
    fee: int = 0
    expires_at_ns: int = 0
    venue_sequence: int = 0
    execution_watermark: int = 0
    tick_units: int = 0
    lot_units: int = 0
    multiplier: int = 0
    instrument_version: int = 0
    exit_leg_bps: tuple[int, ...] = (0,) * EXIT_LEGS_MAX
    event_id: bytes = b""
    trade_id: bytes = b""
    client_order_id: bytes = b""
    venue_order_id: bytes = b""
    execution_id: bytes = b""
    strategy: bytes = b""
    symbol: bytes = b""
    currency: bytes = b""

    def states(self, flag: int) -> bool:
        return self.flags & flag != 0


@dataclass(slots=True)
class Outcome:
    """The answer to an input."""

    accepted: int = 0
    severity: int = 0
    account_changed: int = 0
    code: int = 0
    field: int = 0
    slot_index: int = NO_SLOT
    value: int = 0
    changed_slots: tuple[int, ...] = (0,) * SLOT_WORDS
    event_first: int = 0
    event_count: int = 0
    trade_id: bytes = b""


@dataclass(slots=True)
class Event:
    """One thing that followed from an input. What a kind does not name is 0."""

    kind: int
    command: int = 0
    severity: int = 0
    flags: int = 0
    from_stage: int = 0
    to_stage: int = 0
    from_lifecycle: int = 0
    to_lifecycle: int = 0
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    price_scale: int = 0
    qty_scale: int = 0
    code: int = 0
    slot_index: int = NO_SLOT
    leverage: int = 0
    qty: int = 0
    filled_qty: int = 0
    open_qty: int = 0
    price: int = 0
    fee: int = 0
    realized_pnl: int = 0
    expires_at_ns: int = 0
    trade_id: bytes = b""
    client_order_id: bytes = b""
    venue_order_id: bytes = b""
    execution_id: bytes = b""


@dataclass(slots=True)
class Answer:
    """An outcome with the events that followed."""

    outcome: Outcome
    events: list[Event] = field(default_factory=list)


def slot_words(slot_indexes: set[int]) -> tuple[int, ...]:
    """A set of slots: bit i % 64 of word i // 64 is slot i."""
    words = [0] * SLOT_WORDS
    for slot_index in slot_indexes:
        words[slot_index // 64] |= 1 << slot_index % 64
    return tuple(words)


def is_empty(text: bytes) -> bool:
    """None stated: the first character is the padding."""
    return text[:1] in (b"", b"\0")


def is_sound(text: bytes) -> bool:
    """Printable characters without blanks, and nothing after the padding; an empty one is sound."""
    return SOUND_TEXT.fullmatch(text) is not None


def is_id(text: bytes) -> bool:
    return text != b"" and is_sound(text)
