"""Between plain Python values and the library's structs, as bytes. One format per struct of ``lk/lk.h``, same order."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

from kestrel_libkernel import bindings
from kestrel_libkernel.bindings import (
    ABI_VERSION,
    EVENT_BYTES,
    NEVER_NS,
    NO_SLOT,
    OUTCOME_BYTES,
    InvalidInput,
)
from kestrel_libkernel.model import (
    AccountView,
    Adopt,
    Anomaly,
    Balance,
    BookedFill,
    Bust,
    Cancel,
    CancelWorkingEntries,
    CapitalSource,
    Code,
    Command,
    CommandKind,
    Config,
    Correction,
    Enter,
    Exit,
    Fill,
    Flatten,
    Freeze,
    FreezeEntries,
    Funding,
    Input,
    InputKind,
    Instrument,
    LedgerCause,
    LedgerStatus,
    Life,
    Lifecycle,
    MarkPrice,
    OrderReport,
    OrderType,
    OrderView,
    Outcome,
    PnlSource,
    Result,
    Settled,
    Settlement,
    Severity,
    Side,
    SlotView,
    Stage,
    Tick,
    TimeInForce,
    Transition,
    UnfreezeEntries,
)

ID_BYTES, SYMBOL_BYTES, CURRENCY_BYTES, EXIT_LEGS_MAX = 64, 32, 16, 8

CONFIG = struct.Struct("<6I7q64s16s")
INPUT = struct.Struct("<8B2IqQ5q3qq2Q3qII8H64s64s64s64s64s64s32s16s")
OUTCOME = struct.Struct("<4B3IqQ2I64s")
EVENT = struct.Struct("<13B3x3I4x7q64s64s64s64s")
ORDER_VIEW = struct.Struct("<10B6x5q64s64s")
SLOT_VIEW = struct.Struct("<I16B4II3q3qq4q4q4qQ8H64s64s32s16s")
ACCOUNT_VIEW = struct.Struct("<Q2q3I4B12q4Q64s16s")

HAS_QTY, HAS_PRICE, HAS_STOP, HAS_TARGET, HAS_REFERENCE, HAS_FEE, HAS_AMOUNT, HAS_AVAILABLE = (1 << i for i in range(8))
IS_EXIT, ROUTED_BY_STAGE, EVENT_HAS_PRICE, FEE_PREDICTED, BUSTED = (1 << i for i in range(5))

_NO_LEGS = (0,) * EXIT_LEGS_MAX
_NO_INSTRUMENT = Instrument("", 0, 0, 0, 0, 0, 0)


# --- in --------------------------------------------------------------------------------------------------------------


def text(value: str, field: str, size: int = ID_BYTES) -> bytes:
    """ASCII, which a format pads with NUL. Longer than ``size`` or not ASCII: ``InvalidInput``, nothing is cut."""
    if value == "":
        return b""
    try:
        data = value.encode("ascii")
    except (UnicodeEncodeError, AttributeError):
        raise InvalidInput(f"{field} {value!r}: ASCII text only") from None
    if len(data) > size:
        raise InvalidInput(f"{field} {value!r}: at most {size} characters")
    return data


def padded(value: str, field: str) -> bytes:
    """An id as an ``lk_id_t``."""
    return text(value, field).ljust(ID_BYTES, b"\0")


def pack_config(config: Config) -> bytes:
    try:
        return CONFIG.pack(
            ABI_VERSION, config.slot_count, config.window_count, config.leverage_max, config.amount_scale, 0,
            config.maker_fee_rate, config.taker_fee_rate, config.ack_timeout_ns, config.seed_capital,
            config.ledger_tolerance, config.ledger_error_tolerance, config.settlement_tolerance,
            text(config.account, "account"), text(config.currency, "currency", CURRENCY_BYTES),
        )  # fmt: skip
    except struct.error as error:
        raise InvalidInput(f"configuration: {error}") from None


def _pack(
    value: Input,
    kind: InputKind,
    *,
    fact: int = 0,
    side: int = 0,
    order_type: int = 0,
    time_in_force: int = 0,
    liquidity: int = 0,
    price_scale: int = 0,
    qty_scale: int = 0,
    leverage: int = 0,
    qty: int | None = None,
    price: int | None = None,
    stop_price: int | None = None,
    target_price: int | None = None,
    reference_price: int | None = None,
    amount: int | None = None,
    available: int | None = None,
    fee: int | None = None,
    expires_at_ns: int = 0,
    venue_sequence: int = 0,
    execution_watermark: int = 0,
    instrument: Instrument = _NO_INSTRUMENT,
    legs: tuple[int, ...] = _NO_LEGS,
    trade_id: str = "",
    client_order_id: str = "",
    venue_order_id: str = "",
    execution_id: str = "",
    strategy: str = "",
    symbol: str = "",
) -> bytes:
    flags = (
        (qty is not None)
        | (price is not None) << 1
        | (stop_price is not None) << 2
        | (target_price is not None) << 3
        | (reference_price is not None) << 4
        | (fee is not None) << 5
        | (amount is not None) << 6
        | (available is not None) << 7
    )
    try:
        return INPUT.pack(
            kind, fact, side, order_type, time_in_force, liquidity, price_scale, qty_scale,
            flags, leverage, value.now_ns, value.sequence,
            qty or 0, price or 0, stop_price or 0, target_price or 0, reference_price or 0,
            amount or 0, available or 0, fee or 0, expires_at_ns, venue_sequence, execution_watermark,
            instrument.tick_units, instrument.lot_units, instrument.multiplier, instrument.version, 0, *legs,
            text(value.event_id, "event_id"), text(trade_id, "trade_id"), text(client_order_id, "client_order_id"),
            text(venue_order_id, "venue_order_id"), text(execution_id, "execution_id"), text(strategy, "strategy"),
            text(symbol or instrument.symbol, "symbol", SYMBOL_BYTES),
            text(instrument.currency, "currency", CURRENCY_BYTES),
        )  # fmt: skip
    except struct.error as error:
        raise InvalidInput(f"{kind.name}: {error}") from None


@singledispatch
def pack_input(value: Input) -> bytes:
    """The input as the bytes of an ``lk_input_t``. ``InvalidInput``: it cannot be expressed."""
    raise InvalidInput(f"not a kernel input: {value!r}")


@pack_input.register
def _(value: Enter) -> bytes:
    legs = tuple(value.exit_leg_bps)
    if len(legs) > EXIT_LEGS_MAX:
        raise InvalidInput(f"exit_leg_bps: at most {EXIT_LEGS_MAX}")
    return _pack(
        value, InputKind.ENTER,
        side=value.side, order_type=value.order_type, time_in_force=value.time_in_force,
        price_scale=value.instrument.price_scale, qty_scale=value.instrument.qty_scale, leverage=value.leverage,
        qty=value.qty, price=value.price, stop_price=value.stop_price, target_price=value.target_price,
        reference_price=value.reference_price, expires_at_ns=value.expires_at_ns, instrument=value.instrument,
        legs=legs + (0,) * (EXIT_LEGS_MAX - len(legs)), trade_id=value.trade_id,
        client_order_id=value.client_order_id, strategy=value.strategy,
    )  # fmt: skip


@pack_input.register
def _(value: Exit) -> bytes:
    return _pack(
        value, InputKind.EXIT,
        order_type=value.order_type, time_in_force=value.time_in_force, price_scale=value.price_scale,
        qty_scale=value.qty_scale, qty=value.qty, price=value.price, trade_id=value.trade_id,
        client_order_id=value.client_order_id,
    )  # fmt: skip


@pack_input.register
def _(value: Cancel) -> bytes:
    return _pack(value, InputKind.CANCEL, client_order_id=value.client_order_id)


@pack_input.register
def _(value: MarkPrice) -> bytes:
    return _pack(
        value, InputKind.MARK_PRICE, price=value.price, price_scale=value.price_scale, symbol=value.symbol
    )  # fmt: skip


@pack_input.register
def _(value: Tick) -> bytes:
    return _pack(value, InputKind.TICK)


@pack_input.register
def _(value: OrderReport) -> bytes:
    return _pack(
        value, InputKind.ORDER,
        fact=value.fact, client_order_id=value.client_order_id, venue_order_id=value.venue_order_id,
    )  # fmt: skip


@pack_input.register
def _(value: Fill) -> bytes:
    return _pack(
        value, InputKind.FILL,
        side=value.side, liquidity=value.liquidity, price_scale=value.price_scale, qty_scale=value.qty_scale,
        qty=value.qty, price=value.price, fee=value.fee, client_order_id=value.client_order_id,
        venue_order_id=value.venue_order_id, execution_id=value.execution_id, symbol=value.symbol,
    )  # fmt: skip


@pack_input.register
def _(value: Bust) -> bytes:
    return _pack(value, InputKind.BUST, execution_id=value.execution_id)


@pack_input.register
def _(value: Correction) -> bytes:
    return _pack(
        value, InputKind.CORRECTION,
        price_scale=value.price_scale, qty_scale=value.qty_scale, qty=value.qty, price=value.price, fee=value.fee,
        execution_id=value.execution_id,
    )  # fmt: skip


@pack_input.register
def _(value: Settlement) -> bytes:
    return _pack(
        value, InputKind.SETTLEMENT, amount=value.realized_pnl, fee=value.fee, execution_id=value.execution_id
    )  # fmt: skip


@pack_input.register
def _(value: Balance) -> bytes:
    return _pack(
        value, InputKind.BALANCE,
        amount=value.wallet, available=value.available, venue_sequence=value.venue_sequence,
        execution_watermark=value.execution_watermark,
    )  # fmt: skip


@pack_input.register
def _(value: Funding) -> bytes:
    return _pack(value, InputKind.FUNDING, amount=value.amount, symbol=value.symbol)


@pack_input.register
def _(value: Flatten) -> bytes:
    return _pack(
        value, InputKind.FLATTEN,
        client_order_id=value.client_order_id_root, strategy=value.strategy, symbol=value.symbol,
    )  # fmt: skip


@pack_input.register
def _(value: CancelWorkingEntries) -> bytes:
    return _pack(value, InputKind.CANCEL_WORKING_ENTRIES, strategy=value.strategy, symbol=value.symbol)


@pack_input.register
def _(value: FreezeEntries) -> bytes:
    return _pack(value, InputKind.FREEZE)


@pack_input.register
def _(value: UnfreezeEntries) -> bytes:
    return _pack(value, InputKind.UNFREEZE)


@pack_input.register
def _(value: Adopt) -> bytes:
    return _pack(
        value, InputKind.ADOPT,
        price_scale=value.instrument.price_scale, qty_scale=value.instrument.qty_scale, leverage=value.leverage,
        qty=value.qty, price=value.price, instrument=value.instrument, trade_id=value.trade_id, strategy=value.strategy,
    )  # fmt: skip


# --- out -------------------------------------------------------------------------------------------------------------


# Members by value, and texts by code: looked up for every event.
_COMMAND_KIND = tuple(CommandKind)
_SIDE = tuple(Side)
_ORDER_TYPE = tuple(OrderType)
_TIME_IN_FORCE = tuple(TimeInForce)
_STAGE = tuple(Stage)
_LIFECYCLE = tuple(Lifecycle)
_CODE = tuple(Code)
_SEVERITY = tuple(Severity)
_LIFE = tuple(Life)
_PNL_SOURCE = tuple(PnlSource)
_CAPITAL_SOURCE = tuple(CapitalSource)
_LEDGER_STATUS = tuple(LedgerStatus)
_LEDGER_CAUSE = tuple(LedgerCause)
_RULES = tuple(bindings.code_text(code) for code in Code)


def _str(data: bytes) -> str:
    return data.rstrip(b"\0").decode("ascii")


def _slot_index(value: int) -> int | None:
    return None if value == NO_SLOT else value


def _bits(word: int) -> tuple[int, ...]:
    places = []
    while word:
        lowest = word & -word
        places.append(lowest.bit_length() - 1)
        word ^= lowest
    return tuple(places)


class _RawEvent(NamedTuple):
    """One event's fields, in the order of ``lk_event_t``."""

    kind: int
    command: int
    severity: int
    flags: int
    from_stage: int
    to_stage: int
    from_lifecycle: int
    to_lifecycle: int
    side: int
    order_type: int
    time_in_force: int
    price_scale: int
    qty_scale: int
    code: int
    slot_index: int
    leverage: int
    qty: int
    filled_qty: int
    open_qty: int
    price: int
    fee: int
    realized_pnl: int
    expires_at_ns: int
    trade_id: bytes
    client_order_id: bytes
    venue_order_id: bytes
    execution_id: bytes

    @property
    def stated_price(self) -> int | None:
        return self.price if self.flags & EVENT_HAS_PRICE else None


def _command(raw: _RawEvent) -> Command:
    return Command(
        kind=_COMMAND_KIND[raw.command], slot_index=raw.slot_index, trade_id=_str(raw.trade_id),
        client_order_id=_str(raw.client_order_id), venue_order_id=_str(raw.venue_order_id), side=_SIDE[raw.side],
        order_type=_ORDER_TYPE[raw.order_type], time_in_force=_TIME_IN_FORCE[raw.time_in_force], leverage=raw.leverage,
        qty=raw.qty, open_qty=raw.open_qty, qty_scale=raw.qty_scale, price=raw.stated_price,
        price_scale=raw.price_scale, expires_at_ns=raw.expires_at_ns,
    )  # fmt: skip


def _transition(raw: _RawEvent) -> Transition:
    return Transition(
        slot_index=raw.slot_index, trade_id=_str(raw.trade_id), from_stage=_STAGE[raw.from_stage],
        to_stage=_STAGE[raw.to_stage], from_lifecycle=_LIFECYCLE[raw.from_lifecycle],
        to_lifecycle=_LIFECYCLE[raw.to_lifecycle], requested_qty=raw.qty, filled_qty=raw.filled_qty,
        qty_scale=raw.qty_scale,
    )  # fmt: skip


def _booked_fill(raw: _RawEvent) -> BookedFill:
    return BookedFill(
        slot_index=raw.slot_index, execution_id=_str(raw.execution_id), client_order_id=_str(raw.client_order_id),
        venue_order_id=_str(raw.venue_order_id), trade_id=_str(raw.trade_id), side=_SIDE[raw.side],
        is_exit=bool(raw.flags & IS_EXIT), qty=raw.qty, qty_scale=raw.qty_scale, price=raw.stated_price,
        price_scale=raw.price_scale, fee=raw.fee, fee_is_predicted=bool(raw.flags & FEE_PREDICTED),
        realized_pnl=raw.realized_pnl, routed_by_stage=bool(raw.flags & ROUTED_BY_STAGE),
        is_busted=bool(raw.flags & BUSTED),
    )  # fmt: skip


def _settled(raw: _RawEvent) -> Settled:
    return Settled(
        slot_index=_slot_index(raw.slot_index), execution_id=_str(raw.execution_id),
        client_order_id=_str(raw.client_order_id), trade_id=_str(raw.trade_id), is_exit=bool(raw.flags & IS_EXIT),
        realized_pnl=raw.realized_pnl, fee=raw.fee,
    )  # fmt: skip


def _anomaly(raw: _RawEvent) -> Anomaly:
    return Anomaly(
        code=_CODE[raw.code], severity=_SEVERITY[raw.severity], slot_index=_slot_index(raw.slot_index),
        trade_id=_str(raw.trade_id), client_order_id=_str(raw.client_order_id), execution_id=_str(raw.execution_id),
        text=_RULES[raw.code],
    )  # fmt: skip


_DECODERS: tuple[Callable[[_RawEvent], Any] | None, ...] = (
    None, _command, _transition, _booked_fill, _anomaly, _settled,
)  # fmt: skip
"""By kind of event."""


def result(outcomes: memoryview, index: int, events: memoryview) -> Result:
    """The answer at ``index`` of the outcomes, with its events."""
    (
        accepted, severity, account_changed, _, code, field, slot_index, value, changed_slots, first, count, trade_id,
    ) = OUTCOME.unpack_from(outcomes, index * OUTCOME_BYTES)  # fmt: skip
    commands: list[Command] = []
    transitions: list[Transition] = []
    fills: list[BookedFill] = []
    anomalies: list[Anomaly] = []
    settlements: list[Settled] = []
    by_kind: tuple[list[Any], ...] = ([], commands, transitions, fills, anomalies, settlements)
    for place in range(first, first + count):
        raw = _RawEvent._make(EVENT.unpack_from(events, place * EVENT_BYTES))
        decode = _DECODERS[raw.kind]
        assert decode is not None
        by_kind[raw.kind].append(decode(raw))
    return Result(
        outcome=Outcome(
            accepted=bool(accepted), code=_CODE[code], severity=_SEVERITY[severity],
            field=bindings.field_name(field) if field else "", value=value, rule=_RULES[code],
            slot_index=_slot_index(slot_index), trade_id=_str(trade_id),
        ),
        commands=tuple(commands),
        transitions=tuple(transitions),
        fills=tuple(fills),
        settlements=tuple(settlements),
        anomalies=tuple(anomalies),
        changed_slots=_bits(changed_slots),
        account_changed=bool(account_changed),
    )  # fmt: skip


def _order_view(buffer: memoryview, offset: int) -> OrderView | None:
    (
        life, is_filled, in_doubt, cancel_pending, side, order_type, time_in_force, has_price, has_average, is_stalled,
        order_qty, cum_qty, price, average_price, submitted_at_ns, client_order_id, venue_order_id,
    ) = ORDER_VIEW.unpack_from(buffer, offset)  # fmt: skip
    if life == Life.NONE:
        return None
    return OrderView(
        life=_LIFE[life], is_filled=bool(is_filled), in_doubt=bool(in_doubt), cancel_pending=bool(cancel_pending),
        is_stalled=bool(is_stalled), side=_SIDE[side], order_type=_ORDER_TYPE[order_type],
        time_in_force=_TIME_IN_FORCE[time_in_force], order_qty=order_qty, cum_qty=cum_qty,
        price=price if has_price else None, average_price=average_price if has_average else None,
        submitted_at_ns=submitted_at_ns, client_order_id=_str(client_order_id), venue_order_id=_str(venue_order_id),
    )  # fmt: skip


def slot_view(buffer: memoryview) -> SlotView:
    """From the bytes of an ``lk_slot_view_t``."""
    (
        slot_index, stage, lifecycle, is_free, is_adopted, pnl_source, skipped, basis_missing, has_entry_price,
        has_mark, has_stop, has_target, has_reference, price_scale, qty_scale, is_overfilled, has_anomaly, leverage,
        version, active_leg_index, exit_order_count, _, tick_units, lot_units, multiplier, qty, entry_qty, exit_qty,
        entry_price,
        realized_pnl, unrealized_pnl, fees, predicted_fees, mark, stop_price, target_price, reference_price,
        requested_at_ns, opened_at_ns, closed_at_ns, expires_at_ns, trade_sequence, *rest,
    ) = SLOT_VIEW.unpack_from(buffer, 0)  # fmt: skip
    legs, (trade_id, strategy, symbol, currency) = rest[:EXIT_LEGS_MAX], rest[EXIT_LEGS_MAX:]
    return SlotView(
        slot_index=slot_index, stage=_STAGE[stage], lifecycle=_LIFECYCLE[lifecycle], is_free=bool(is_free),
        is_adopted=bool(is_adopted), trade_id=_str(trade_id), trade_sequence=trade_sequence, strategy=_str(strategy),
        instrument=Instrument(
            _str(symbol), price_scale, qty_scale, tick_units, lot_units, multiplier, version, _str(currency)
        ),
        entry=_order_view(buffer, SLOT_VIEW.size), exit=_order_view(buffer, SLOT_VIEW.size + ORDER_VIEW.size),
        qty=qty, entry_qty=entry_qty, exit_qty=exit_qty, entry_price=entry_price if has_entry_price else None,
        realized_pnl=realized_pnl, unrealized_pnl=unrealized_pnl, fees=fees, predicted_fees=predicted_fees,
        mark=mark if has_mark else None, stop_price=stop_price if has_stop else None,
        target_price=target_price if has_target else None, reference_price=reference_price if has_reference else None,
        leverage=leverage, active_leg_index=active_leg_index, exit_leg_bps=tuple(leg for leg in legs if leg),
        exit_order_count=exit_order_count, pnl_source=_PNL_SOURCE[pnl_source], realized_skipped_no_price=bool(skipped),
        entry_basis_missing=bool(basis_missing), is_overfilled=bool(is_overfilled), has_anomaly=bool(has_anomaly),
        requested_at_ns=requested_at_ns, opened_at_ns=opened_at_ns, closed_at_ns=closed_at_ns,
        expires_at_ns=expires_at_ns,
    )  # fmt: skip


def account_view(buffer: memoryview) -> AccountView:
    """From the bytes of an ``lk_account_view_t``."""
    (
        event_sequence, now_ns, next_deadline_ns, slot_count, open_slot_count, amount_scale, capital_source,
        ledger_status, ledger_cause, freeze_flags, capital, equity, realized_pnl, unrealized_pnl, fees, predicted_fees,
        funding, wallet, available, ledger_delta, gross_exposure, working_exposure, trade_count, execution_count,
        routed_count, anomaly_count, account, currency,
    ) = ACCOUNT_VIEW.unpack_from(buffer, 0)  # fmt: skip
    return AccountView(
        account=_str(account), currency=_str(currency), amount_scale=amount_scale, event_sequence=event_sequence,
        now_ns=now_ns, next_deadline_ns=None if next_deadline_ns == NEVER_NS else next_deadline_ns,
        slot_count=slot_count, open_slot_count=open_slot_count, capital=capital,
        capital_source=_CAPITAL_SOURCE[capital_source], equity=equity, realized_pnl=realized_pnl,
        unrealized_pnl=unrealized_pnl, fees=fees, predicted_fees=predicted_fees, funding=funding, wallet=wallet,
        available=available, ledger_status=_LEDGER_STATUS[ledger_status], ledger_cause=_LEDGER_CAUSE[ledger_cause],
        ledger_delta=ledger_delta, freeze=Freeze(freeze_flags), gross_exposure=gross_exposure,
        working_exposure=working_exposure, trade_count=trade_count, execution_count=execution_count,
        fills_routed_by_stage_count=routed_count, anomaly_count=anomaly_count,
    )  # fmt: skip
