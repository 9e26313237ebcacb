"""What goes into a kernel and what comes out, as plain frozen values.

The meaning of each field is in ``lk/lk.h``, the manual; names here are the same. Numbers are integer units: prices
and quantities at the scales the input states, amounts at the account's ``amount_scale``. ``None`` means: not stated.
Enum values equal those of the contracts (``kestrel.kernel.v1``, ``kestrel.common.v1``, ``kestrel.venue.v1``), but for
``Life``, which is finer than ``OrderLife``.
"""

from __future__ import annotations

from collections.abc import Sequence
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


# --- inputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What all inputs carry: the kernel's time, the input's sequence, and its idempotency key."""

    now_ns: int
    sequence: int = 0
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter(Input):
    """Open a trade. Prices at the instrument's ``price_scale``, quantity at its ``qty_scale``."""

    trade_id: str
    client_order_id: str
    instrument: Instrument
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: int
    price: int | None = None
    stop_price: int | None = None
    target_price: int | None = None
    reference_price: int | None = None
    leverage: int = 1
    expires_at_ns: int = 0
    strategy: str = ""
    exit_leg_bps: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit(Input):
    """Leave a trade. ``qty`` None: the next leg, or all that is left; ``client_order_id``: of the order to be sent."""

    trade_id: str
    client_order_id: str
    qty: int | None = None
    qty_scale: int = 0
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    price: int | None = None
    price_scale: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Input):
    """Cancel one order of ours."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice(Input):
    """Value open positions of a symbol."""

    symbol: str
    price: int
    price_scale: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Input):
    """Time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport(Input):
    """Something that was learned about an order, but a fill."""

    fact: Fact
    client_order_id: str = ""
    venue_order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Input):
    """One execution. ``price`` None: the venue gave none; ``fee`` None: the venue has not said."""

    execution_id: str
    side: Side
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    client_order_id: str = ""
    venue_order_id: str = ""
    symbol: str = ""
    fee: int | None = None
    liquidity: Liquidity = Liquidity.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Bust(Input):
    """The venue takes an execution back."""

    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(Input):
    """The venue restates an execution."""

    execution_id: str
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    fee: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement(Input):
    """The venue's own figures for an execution."""

    execution_id: str
    realized_pnl: int | None = None
    fee: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance(Input):
    """The account as the venue states it. ``execution_watermark`` 0: all executions before this frame are in it."""

    wallet: int
    available: int | None = None
    venue_sequence: int = 0
    execution_watermark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding(Input):
    """A funding payment: positive is received."""

    amount: int
    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Input):
    """Leave everything, or what matches. The exit of slot 7 is sent as ``<client_order_id_root>-07``."""

    client_order_id_root: str
    strategy: str = ""
    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelWorkingEntries(Input):
    """Cancel entries still at work, all or what matches."""

    strategy: str = ""
    symbol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeEntries(Input):
    """No new entries until unfrozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfreezeEntries(Input):
    """Lifts an operator's freeze, never the ledger's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(Input):
    """Take a position that the venue holds into a slot. ``qty`` is signed: negative is short."""

    trade_id: str
    instrument: Instrument
    qty: int
    price: int
    leverage: int = 1
    strategy: str = ""


# --- outputs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to an input. A refusal names the field and, for numbers, the value; ``rule`` is a sentence."""

    accepted: bool
    code: Code
    severity: Severity
    field: str
    value: int
    rule: str
    slot_index: int | None
    trade_id: str


@dataclass(frozen=True, slots=True)
class Command:
    """What the kernel wants the gateway to do. Prices and quantities at the scales it states."""

    kind: CommandKind
    slot_index: int
    trade_id: str
    client_order_id: str
    venue_order_id: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    leverage: int
    qty: int
    open_qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    expires_at_ns: int


@dataclass(frozen=True, slots=True)
class Transition:
    """A slot moved. When only the lifecycle did, both stages are the same."""

    slot_index: int
    trade_id: str
    from_stage: Stage
    to_stage: Stage
    from_lifecycle: Lifecycle
    to_lifecycle: Lifecycle
    requested_qty: int
    filled_qty: int
    qty_scale: int


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill as booked; with ``is_busted``, the same figures taken back."""

    slot_index: int
    execution_id: str
    client_order_id: str
    venue_order_id: str
    trade_id: str
    side: Side
    is_exit: bool
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    fee: int
    fee_is_predicted: bool
    realized_pnl: int
    routed_by_stage: bool
    is_busted: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement added to a trade."""

    slot_index: int | None
    execution_id: str
    client_order_id: str
    trade_id: str
    is_exit: bool
    realized_pnl: int
    fee: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that should not have happened, or a thing worth a record."""

    code: Code
    severity: Severity
    slot_index: int | None
    trade_id: str
    client_order_id: str
    execution_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one input and everything that followed, in order within each kind."""

    outcome: Outcome
    commands: tuple[Command, ...]
    transitions: tuple[Transition, ...]
    fills: tuple[BookedFill, ...]
    settlements: tuple[Settled, ...]
    anomalies: tuple[Anomaly, ...]
    changed_slots: tuple[int, ...]
    account_changed: bool


@dataclass(frozen=True, slots=True)
class OrderView:
    """One order. ``average_price`` is at the price scale plus four."""

    life: Life
    is_filled: bool
    in_doubt: bool
    cancel_pending: bool
    is_stalled: bool
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    order_qty: int
    cum_qty: int
    price: int | None
    average_price: int | None
    submitted_at_ns: int
    client_order_id: str
    venue_order_id: str


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot: the trade in it, or the last one that was. ``entry_price`` is at the price scale plus four."""

    slot_index: int
    stage: Stage
    lifecycle: Lifecycle
    is_free: bool
    is_adopted: bool
    trade_id: str
    trade_sequence: int
    strategy: str
    instrument: Instrument
    entry: OrderView | None
    exit: OrderView | None
    qty: int
    entry_qty: int
    exit_qty: int
    entry_price: int | None
    realized_pnl: int
    unrealized_pnl: int
    fees: int
    predicted_fees: int
    mark: int | None
    stop_price: int | None
    target_price: int | None
    reference_price: int | None
    leverage: int
    active_leg_index: int
    exit_leg_bps: tuple[int, ...]
    exit_order_count: int
    pnl_source: PnlSource
    realized_skipped_no_price: bool
    entry_basis_missing: bool
    is_overfilled: bool
    has_anomaly: bool
    requested_at_ns: int
    opened_at_ns: int
    closed_at_ns: int
    expires_at_ns: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """The account, whole. Amounts at ``amount_scale``."""

    account: str
    currency: str
    amount_scale: int
    event_sequence: int
    now_ns: int
    next_deadline_ns: int | None
    slot_count: int
    open_slot_count: int
    capital: int
    capital_source: CapitalSource
    equity: int
    realized_pnl: int
    unrealized_pnl: int
    fees: int
    predicted_fees: int
    funding: int
    wallet: int
    available: int
    ledger_status: LedgerStatus
    ledger_cause: LedgerCause
    ledger_delta: int
    freeze: Freeze
    gross_exposure: int
    working_exposure: int
    trade_count: int
    execution_count: int
    fills_routed_by_stage_count: int
    anomaly_count: int

    @property
    def entries_frozen(self) -> bool:
        return bool(self.freeze)
