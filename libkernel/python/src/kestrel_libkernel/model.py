"""The lists of the library, and the values that shape a kernel: its configuration, and instruments.

The meaning of each field is in ``lk/lk.h``, the manual; names here are the same. Enum values equal those of the
contracts (``kestrel.kernel.v1``, ``kestrel.common.v1``, ``kestrel.venue.v1``), but for ``Life``, which is finer than
``OrderLife``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag, auto


def _from_zero(name: str, start: int, count: int, last_values: list[int]) -> int:
    return count


class _Listed(IntEnum):
    """Members count from 0, in the order of the header's lists."""

    _generate_next_value_ = staticmethod(_from_zero)


class InputKind(_Listed):
    NONE = auto()
    ENTER = auto()
    EXIT = auto()
    CANCEL = auto()
    MARK_PRICE = auto()
    TICK = auto()
    ORDER = auto()
    FILL = auto()
    BUST = auto()
    CORRECTION = auto()
    SETTLEMENT = auto()
    BALANCE = auto()
    FUNDING = auto()
    FLATTEN = auto()
    CANCEL_WORKING_ENTRIES = auto()
    FREEZE = auto()
    UNFREEZE = auto()
    ADOPT = auto()
    FOREIGN = auto()


class Fact(_Listed):
    """What was learned about an order."""

    NONE = auto()
    SUBMITTING = auto()
    ACKNOWLEDGED = auto()
    REJECTED = auto()
    DENIED = auto()
    CANCELED = auto()
    EXPIRED = auto()
    CANCEL_REJECTED = auto()
    IN_DOUBT = auto()
    TRADED = auto()


class Life(_Listed):
    """Where an order is in its life. REQUESTED and SENT are the contract's PENDING_NEW, ACKED and WORKING its OPEN,
    DENIED its REJECTED; FILLED is ``OrderView.is_filled``."""

    NONE = auto()
    REQUESTED = auto()
    SENT = auto()
    ACKED = auto()
    WORKING = auto()
    CANCELED = auto()
    REJECTED = auto()
    DENIED = auto()
    EXPIRED = auto()


class Stage(_Listed):
    NONE = auto()
    IDLE = auto()
    ENTRY_REQUESTED = auto()
    ENTRY_SENT = auto()
    ENTRY_ACKED = auto()
    ENTRY_WORKING = auto()
    PARTIAL_FILL = auto()
    POSITION_OPEN = auto()
    EXIT_REQUESTED = auto()
    EXIT_SENT = auto()
    EXIT_ACKED = auto()
    EXIT_WORKING = auto()
    POSITION_PARTIALLY_CLOSED = auto()
    POSITION_CLOSED = auto()
    ORDER_REJECTED = auto()
    EXIT_REJECTED = auto()
    TERMINAL_WRITTEN = auto()


class Lifecycle(_Listed):
    NONE = auto()
    PROPOSED = auto()
    APPROVED = auto()
    SUBMITTED = auto()
    FILLED = auto()
    MANAGED = auto()
    CLOSED = auto()
    CANCELED = auto()
    REJECTED = auto()
    EXPIRED = auto()
    STALLED = auto()


class Severity(_Listed):
    NONE = auto()
    INFO = auto()
    WARNING = auto()
    CRITICAL = auto()


class Side(_Listed):
    NONE = auto()
    BUY = auto()
    SELL = auto()


class OrderType(_Listed):
    NONE = auto()
    MARKET = auto()
    LIMIT = auto()
    STOP = auto()
    STOP_LIMIT = auto()


class TimeInForce(_Listed):
    NONE = auto()
    DAY = auto()
    GTC = auto()
    IOC = auto()
    FOK = auto()
    GTD = auto()


class Liquidity(_Listed):
    NONE = auto()
    MAKER = auto()
    TAKER = auto()


class EventKind(_Listed):
    NONE = auto()
    COMMAND = auto()
    TRANSITION = auto()
    FILL_BOOKED = auto()
    ANOMALY = auto()
    SETTLED = auto()


class CommandKind(_Listed):
    NONE = auto()
    SUBMIT_ENTRY = auto()
    SUBMIT_EXIT = auto()
    CANCEL = auto()
    SUBMIT_PROTECTIVE = auto()


class PnlSource(_Listed):
    NONE = auto()
    KERNEL_ESTIMATE = auto()
    EXCHANGE = auto()


class CapitalSource(_Listed):
    NONE = auto()
    SEED = auto()
    E_ANCHORED = auto()
    K_BRIDGED = auto()


class LedgerStatus(_Listed):
    NONE = auto()
    OK = auto()
    WARNING = auto()
    ERROR = auto()


class LedgerCause(_Listed):
    NONE = auto()
    FEE = auto()
    FUNDING = auto()
    FOREIGN_ACTIVITY = auto()
    UNSETTLED_FILLS = auto()
    UNEXPLAINED = auto()


class FeeStatus(_Listed):
    """How far a published fee rate holds."""

    NONE = auto()
    UNCALIBRATED = auto()
    OK = auto()
    DEVIATING = auto()


class Requirement(_Listed):
    """What a kind of input makes of a field."""

    NONE = auto()
    REQUIRED = auto()
    OPTIONAL = auto()
    STATED = auto()


class Code(_Listed):
    """Diagnostic codes. What each means: ``bindings.code_text``."""

    OK = auto()
    DUPLICATE_EVENT = auto()
    INVALID_INTENT = auto()
    INVALID_EVENT = auto()
    UNRESOLVED_SLOT = auto()
    NO_OPEN_POSITION = auto()
    SLOT_BUSY = auto()
    ILLEGAL_TRANSITION = auto()
    ENTRY_FROZEN = auto()
    OVERFLOW = auto()
    EXIT_PENDING = auto()
    ENTRY_EXPIRED = auto()
    NO_WORKING_ORDER = auto()
    UNKNOWN_EXECUTION = auto()
    BALANCE_WITHOUT_WALLET = auto()
    BALANCE_STALE = auto()
    TIME_REVERSED = auto()
    ROUTED_BY_STAGE = auto()
    LATE_FILL = auto()
    OVERFILL = auto()
    FILL_WITHOUT_PRICE = auto()
    ENTRY_BASIS_MISSING = auto()
    PRICE_ROUNDED = auto()
    SIDE_MISMATCH = auto()
    EXIT_SIZE_REPAIRED = auto()
    EXIT_PRICE_REPAIRED = auto()
    EXIT_EXCEEDS_POSITION = auto()
    ORDER_STALLED = auto()
    ORDER_IN_DOUBT = auto()
    FILL_BUSTED = auto()
    FILL_CORRECTED = auto()
    SETTLEMENT_DIFFERS = auto()
    LEDGER_WARNING = auto()
    LEDGER_ERROR = auto()
    LEDGER_RESTORED = auto()
    VENUE_REJECTED = auto()
    GATEWAY_DENIED = auto()
    SYMBOL_BUSY = auto()
    NO_CAPITAL = auto()
    ORPHAN_POSITION = auto()
    FEE_SAMPLE_REFUSED = auto()
    FOREIGN_ACTIVITY = auto()
    FOREIGN_IN_SYMBOL = auto()
    PROTECTION_LOST = auto()
    PROTECTION_LEFT = auto()


class Freeze(IntFlag):
    """Why no entry is accepted; both may be set."""

    OPERATOR = 1
    LEDGER = 2


@dataclass(frozen=True, slots=True)
class Config:
    """All that shapes a kernel's answers beside its inputs."""

    account: str
    currency: str = "USD"
    slot_count: int = 8
    window_count: int = 1024
    leverage_max: int = 1
    amount_scale: int = 8
    maker_fee_rate: int = 0
    """Units of 10^-8 of notional."""
    taker_fee_rate: int = 0
    ack_timeout_ns: int = 60_000_000_000
    funding_interval_ns: int = 0
    """0: the account pays no funding."""
    seed_capital: int = 0
    ledger_tolerance: int = 1_000_000
    """0.01 at the default amount scale; so are the other two 1.00 and 0.01."""
    ledger_error_tolerance: int = 100_000_000
    settlement_tolerance: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Instrument:
    """One version of an instrument. ``price_scale + qty_scale`` may not exceed the account's ``amount_scale``."""

    symbol: str
    price_scale: int
    qty_scale: int
    tick_units: int = 1
    lot_units: int = 1
    multiplier: int = 1
    version: int = 1
    currency: str = ""
