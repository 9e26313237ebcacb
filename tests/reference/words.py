"""The words of the manual: its lists, in their order, and its bounds."""

from __future__ import annotations

from enum import IntEnum

ABI_VERSION = 3
ID_BYTES, SYMBOL_BYTES, CURRENCY_BYTES = 64, 32, 16
SLOTS_MAX = 256
SLOT_WORDS = 4
EXIT_LEGS_MAX = 8
SLOT_EXITS_MAX = 4
SCALE_MAX = 18
RATE_SCALE = RATIO_SCALE = CONVICTION_SCALE = FINEST_SCALE = 8
CONVICTION_MIN, CONVICTION_MAX = 50_000_000, 900_000_000
FEE_GUARD_BPS, FEE_DEVIATION_BPS = 1500, 500
AVERAGE_PRICE_EXTRA_SCALE = 4
FLATTEN_ROOT_LENGTH_MAX = 60
BRACKET_ENTRY_LENGTH_MAX = 62
BASIS_POINTS = 10_000
NO_SLOT = NO_ORDER = 2**32 - 1
CHAIN_START = (0x243F6A8885A308D3, 0x13198A2E03707344)
CHAIN_FACTORS = (0x9E3779B97F4A7C15, 0xE7037ED1A0B428DB)
SAVE_MAGIC, SAVE_VERSION = 0x6C656E72656B6C6B, 3
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
NEVER_NS = INT64_MAX

HAS_QTY, HAS_PRICE, HAS_STOP, HAS_TARGET, HAS_REFERENCE, HAS_FEE, HAS_AMOUNT, HAS_AVAILABLE = (1 << i for i in range(8))
BRACKET = 1 << 8
FLAGS_ALL = 0x1FF
IS_EXIT, ROUTED_BY_STAGE, EVENT_HAS_PRICE, FEE_PREDICTED, BUSTED = (1 << i for i in range(5))
FREEZE_OPERATOR, FREEZE_LEDGER = 1, 2

InputKind = IntEnum(
    "InputKind",
    "NONE ENTER EXIT CANCEL MARK_PRICE TICK ORDER FILL BUST CORRECTION SETTLEMENT BALANCE FUNDING FLATTEN"
    " CANCEL_WORKING_ENTRIES FREEZE UNFREEZE ADOPT FOREIGN",
    start=0,
)
Fact = IntEnum(
    "Fact",
    "NONE SUBMITTING ACKNOWLEDGED REJECTED DENIED CANCELED EXPIRED CANCEL_REJECTED IN_DOUBT TRADED",
    start=0,
)
Life = IntEnum("Life", "NONE REQUESTED SENT ACKED WORKING CANCELED REJECTED DENIED EXPIRED", start=0)
Stage = IntEnum(
    "Stage",
    "NONE IDLE ENTRY_REQUESTED ENTRY_SENT ENTRY_ACKED ENTRY_WORKING PARTIAL_FILL POSITION_OPEN EXIT_REQUESTED"
    " EXIT_SENT EXIT_ACKED EXIT_WORKING POSITION_PARTIALLY_CLOSED POSITION_CLOSED ORDER_REJECTED EXIT_REJECTED"
    " TERMINAL_WRITTEN",
    start=0,
)
Lifecycle = IntEnum(
    "Lifecycle",
    "NONE PROPOSED APPROVED SUBMITTED FILLED MANAGED CLOSED CANCELED REJECTED EXPIRED STALLED",
    start=0,
)
Severity = IntEnum("Severity", "NONE INFO WARNING CRITICAL", start=0)
Side = IntEnum("Side", "NONE BUY SELL", start=0)
OrderType = IntEnum("OrderType", "NONE MARKET LIMIT STOP STOP_LIMIT", start=0)
TimeInForce = IntEnum("TimeInForce", "NONE DAY GTC IOC FOK GTD", start=0)
Liquidity = IntEnum("Liquidity", "NONE MAKER TAKER", start=0)
EventKind = IntEnum("EventKind", "NONE COMMAND TRANSITION FILL_BOOKED ANOMALY SETTLED", start=0)
CommandKind = IntEnum("CommandKind", "NONE SUBMIT_ENTRY SUBMIT_EXIT CANCEL SUBMIT_PROTECTIVE", start=0)
PnlSource = IntEnum("PnlSource", "NONE KERNEL_ESTIMATE EXCHANGE", start=0)
CapitalSource = IntEnum("CapitalSource", "NONE SEED E_ANCHORED K_BRIDGED", start=0)
LedgerStatus = IntEnum("LedgerStatus", "NONE OK WARNING ERROR", start=0)
FeeStatus = IntEnum("FeeStatus", "NONE UNCALIBRATED OK DEVIATING", start=0)
LedgerCause = IntEnum("LedgerCause", "NONE FEE FUNDING FOREIGN_ACTIVITY UNSETTLED_FILLS UNEXPLAINED", start=0)
Code = IntEnum(
    "Code",
    "OK DUPLICATE_EVENT INVALID_INTENT INVALID_EVENT UNRESOLVED_SLOT NO_OPEN_POSITION SLOT_BUSY ILLEGAL_TRANSITION"
    " ENTRY_FROZEN OVERFLOW EXIT_PENDING ENTRY_EXPIRED NO_WORKING_ORDER UNKNOWN_EXECUTION BALANCE_WITHOUT_WALLET"
    " BALANCE_STALE TIME_REVERSED ROUTED_BY_STAGE LATE_FILL OVERFILL FILL_WITHOUT_PRICE ENTRY_BASIS_MISSING"
    " PRICE_ROUNDED SIDE_MISMATCH EXIT_SIZE_REPAIRED EXIT_PRICE_REPAIRED EXIT_EXCEEDS_POSITION ORDER_STALLED"
    " ORDER_IN_DOUBT FILL_BUSTED FILL_CORRECTED SETTLEMENT_DIFFERS LEDGER_WARNING LEDGER_ERROR LEDGER_RESTORED"
    " VENUE_REJECTED GATEWAY_DENIED SYMBOL_BUSY NO_CAPITAL ORPHAN_POSITION"
    " FEE_SAMPLE_REFUSED FOREIGN_ACTIVITY FOREIGN_IN_SYMBOL PROTECTION_LOST PROTECTION_LEFT",
    start=0,
)
Field = IntEnum(
    "Field",
    "NONE EVENT_ID TRADE_ID CLIENT_ORDER_ID VENUE_ORDER_ID EXECUTION_ID SYMBOL STRATEGY CURRENCY SIDE ORDER_TYPE"
    " TIME_IN_FORCE ORDER_FACT LIQUIDITY PRICE_SCALE QTY_SCALE FLAGS LEVERAGE QTY PRICE STOP_PRICE TARGET_PRICE"
    " REFERENCE_PRICE AMOUNT AVAILABLE FEE EXPIRES_AT_NS NOW_NS TICK_UNITS LOT_UNITS MULTIPLIER EXIT_LEG_BPS"
    " EXECUTION_WATERMARK VENUE_SEQUENCE SEQUENCE INSTRUMENT_VERSION",
    start=0,
)

INFO_CODES = {
    Code.OK,
    Code.DUPLICATE_EVENT,
    Code.EXIT_PENDING,
    Code.NO_WORKING_ORDER,
    Code.BALANCE_WITHOUT_WALLET,
    Code.BALANCE_STALE,
    Code.ROUTED_BY_STAGE,
    Code.PRICE_ROUNDED,
    Code.EXIT_SIZE_REPAIRED,
    Code.LEDGER_RESTORED,
    Code.FOREIGN_ACTIVITY,
}
CRITICAL_CODES = {
    Code.OVERFILL,
    Code.SIDE_MISMATCH,
    Code.ORDER_STALLED,
    Code.ORDER_IN_DOUBT,
    Code.FILL_BUSTED,
    Code.FILL_CORRECTED,
    Code.LEDGER_ERROR,
    Code.ORPHAN_POSITION,
    Code.PROTECTION_LOST,
    Code.PROTECTION_LEFT,
}
SEVERITY = {
    code: Severity.INFO if code in INFO_CODES else Severity.CRITICAL if code in CRITICAL_CODES else Severity.WARNING
    for code in Code
}

REQUESTS = {
    InputKind.ENTER,
    InputKind.EXIT,
    InputKind.CANCEL,
    InputKind.FLATTEN,
    InputKind.CANCEL_WORKING_ENTRIES,
    InputKind.FREEZE,
    InputKind.UNFREEZE,
    InputKind.ADOPT,
}
"""What people and policies ask for; malformed, it is an INVALID_INTENT. All else is a fact: INVALID_EVENT."""

WITHOUT_EVENT_ID = {InputKind.TICK, InputKind.MARK_PRICE}

READS = {
    InputKind.ENTER: (
        "trade_id client_order_id strategy symbol currency instrument_version price_scale qty_scale "
        "tick_units lot_units multiplier side order_type time_in_force qty price stop_price target_price "
        "reference_price leverage expires_at_ns exit_leg_bps"
    ),
    InputKind.EXIT: "trade_id client_order_id order_type time_in_force qty qty_scale price price_scale",
    InputKind.CANCEL: "client_order_id",
    InputKind.MARK_PRICE: "symbol price price_scale",
    InputKind.TICK: "",
    InputKind.ORDER: "order_fact client_order_id venue_order_id",
    InputKind.FILL: (
        "execution_id client_order_id venue_order_id symbol side liquidity qty qty_scale price price_scale fee"
    ),
    InputKind.BUST: "execution_id",
    InputKind.CORRECTION: "execution_id liquidity qty qty_scale price price_scale fee",
    InputKind.SETTLEMENT: "execution_id amount fee",
    InputKind.BALANCE: "amount available venue_sequence execution_watermark",
    InputKind.FUNDING: "amount symbol",
    InputKind.FLATTEN: "client_order_id strategy symbol",
    InputKind.CANCEL_WORKING_ENTRIES: "strategy symbol",
    InputKind.FREEZE: "",
    InputKind.UNFREEZE: "",
    InputKind.ADOPT: (
        "trade_id strategy symbol currency instrument_version price_scale qty_scale tick_units lot_units "
        "multiplier qty price leverage"
    ),
    InputKind.FOREIGN: "symbol amount fee",
}
"""The fields that a kind reads, beside flags, now_ns, sequence and (but TICK and MARK_PRICE) event_id."""
