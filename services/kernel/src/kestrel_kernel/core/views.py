"""From libkernel's outputs and views to contract messages. Enum values of both are the same, but for order lives.

Snapshots follow their views: a ``Mirror`` keeps one message for an account or a slot and sets only what an input has
changed. Whoever stores a message takes a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_kernel.core.scaling import AMOUNT_SCALE, RATE_SCALE, decimal, money

AVERAGE_PRICE_EXTRA_SCALE = 4
"""Averages are shown at the price scale plus this."""

_ORDER_LIVES = {
    lk.Life.NONE: state_pb2.ORDER_LIFE_UNSPECIFIED,
    lk.Life.REQUESTED: state_pb2.ORDER_LIFE_PENDING_NEW,
    lk.Life.SENT: state_pb2.ORDER_LIFE_PENDING_NEW,
    lk.Life.ACKED: state_pb2.ORDER_LIFE_OPEN,
    lk.Life.WORKING: state_pb2.ORDER_LIFE_OPEN,
    lk.Life.CANCELED: state_pb2.ORDER_LIFE_CANCELED,
    lk.Life.REJECTED: state_pb2.ORDER_LIFE_REJECTED,
    lk.Life.DENIED: state_pb2.ORDER_LIFE_REJECTED,
    lk.Life.EXPIRED: state_pb2.ORDER_LIFE_EXPIRED,
}


class AccountMirror:
    """One account's snapshot, whole (K15), kept equal to its view."""

    __slots__ = ("_followed", "_maker_fee", "_taker_fee", "message")

    def __init__(self, configuration: state_pb2.AccountConfiguration) -> None:
        self.message = state_pb2.AccountSnapshot(account=configuration.account, currency=configuration.currency)
        self._followed, self._maker_fee, self._taker_fee = _Followed(_ACCOUNT), _Followed(_FEE), _Followed(_FEE)

    def follow(self, view: lk.AccountView) -> state_pb2.AccountSnapshot:
        message = self.message
        self._followed.update(message, view, _NO_SCALES)
        self._maker_fee.update(message.maker_fee, view.maker_fee, _NO_SCALES)
        self._taker_fee.update(message.taker_fee, view.taker_fee, _NO_SCALES)
        return message


class SlotMirror:
    """One slot's snapshot, whole, kept equal to its view: the trade in it, or the last one that was."""

    __slots__ = ("_entry", "_exit", "_followed", "_scales", "_trade", "message")

    def __init__(self) -> None:
        self._trade = -1

    def follow(self, view: lk.SlotView) -> state_pb2.SlotSnapshot:
        if self._trade != view.trade_sequence:
            self._begin(view)
        message, scales = self.message, self._scales
        self._followed.update(message, view, scales)
        entry, leaving = view.entry, view.exit
        if entry is not None:
            self._entry.update(message.entry, entry, scales)
        if leaving is not None:
            self._exit.update(message.exit, leaving, scales)
        return message

    def _begin(self, view: lk.SlotView) -> None:
        """Another trade: nothing of the last one's snapshot may stay."""
        self._trade = view.trade_sequence
        self._scales = (view.price_scale, view.qty_scale)
        self.message = state_pb2.SlotSnapshot(
            slot_index=view.slot_index, trade_id=view.trade_id, exit_leg_bps=view.exit_leg_bps
        )
        if view.symbol:
            self.message.instrument.CopyFrom(instrument_message(view))
        self._followed, self._entry, self._exit = _Followed(_SLOT), _Followed(_ORDER), _Followed(_ORDER)


_CODE_NAMES = tuple(code.name for code in lk.Code)


def account_snapshot(view: lk.AccountView, configuration: state_pb2.AccountConfiguration) -> state_pb2.AccountSnapshot:
    """One account's snapshot, made anew."""
    return AccountMirror(configuration).follow(view)


def slot_snapshot(view: lk.SlotView) -> state_pb2.SlotSnapshot:
    """One slot's snapshot, made anew."""
    return SlotMirror().follow(view)


# --- what a mirror follows -------------------------------------------------------------------------------------------

_Scales = tuple[int, int]
"""Of prices and of quantities."""
_NO_SCALES = (0, 0)
_Setter = Callable[[Any, Any, Any, _Scales], None]
"""Message, view, the field's number as it lies in the view, scales."""


class _Followed:
    """What a mirror has set so far, so that it sets only what has changed since: of some 40 fields an input moves five,
    and to set one costs as much as to look at all of them."""

    __slots__ = ("_raw", "_seen", "_setters")

    def __init__(self, setters: tuple[_Setter | None, ...]) -> None:
        self._setters = setters
        self._seen: tuple[Any, ...] = (_NEVER,) * len(setters)
        self._raw = b""

    def update(self, message: Any, view: Any, scales: _Scales) -> None:
        if view.raw == self._raw:
            return
        values = view.values
        for setter, before, now in zip(self._setters, self._seen, values, strict=True):
            if before != now and setter is not None:
                setter(message, view, now, scales)
        self._seen, self._raw = values, view.raw


_NEVER = object()


def _setters(kind: type[lk.Record], by_field: Mapping[str, _Setter]) -> tuple[_Setter | None, ...]:
    """For each field of a view, who writes it into the message. A price's ``has_`` field belongs to the price."""
    return tuple(by_field.get(field.removeprefix("has_")) for field in kind.fields())


def _same(name: str, to: str = "") -> _Setter:
    """A number, a truth or a member of a list: all are numbers in the view."""
    target = to or name
    return lambda message, view, value, scales: setattr(message, target, value)


def _text(name: str) -> _Setter:
    return lambda message, view, value, scales: setattr(message, name, getattr(view, name))


def _money(name: str) -> _Setter:
    return lambda message, view, value, scales: _set(getattr(message, name), value, AMOUNT_SCALE)


def _qty(name: str) -> _Setter:
    return lambda message, view, value, scales: _set(getattr(message, name), value, scales[1])


def _price(name: str, *, extra_scale: int = 0) -> _Setter:
    """A price, or nothing."""

    def setter(message: Any, view: Any, value: int, scales: _Scales) -> None:
        units = getattr(view, name)
        if units is None:
            message.ClearField(name)
        else:
            _set(getattr(message, name), units, scales[0] + extra_scale)

    return setter


def _at(name: str, scale: int) -> _Setter:
    return lambda message, view, value, scales: _set(getattr(message, name), value, scale)


def _set(target: common_pb2.Decimal, units: int, scale: int) -> None:
    target.units = units
    target.scale = scale


def _wallet(message: state_pb2.AccountSnapshot, view: lk.AccountView, value: int, scales: _Scales) -> None:
    """Nothing before the first balance: the venue has not said."""
    if view.wallet:
        _set(message.wallet, view.wallet, AMOUNT_SCALE)
        _set(message.available, view.available, AMOUNT_SCALE)


def _conviction(message: state_pb2.SlotSnapshot, view: lk.SlotView, value: int, scales: _Scales) -> None:
    conviction = view.conviction
    if conviction is None:
        message.ClearField("conviction")
    else:
        _set(message.conviction, conviction, lk.CONVICTION_SCALE)


def _freeze(message: state_pb2.AccountSnapshot, view: lk.AccountView, value: int, scales: _Scales) -> None:
    message.entries_frozen = view.entries_frozen
    message.freeze_reason = ", ".join(flag.name or "" for flag in lk.Freeze if flag in view.freeze)


def _life(message: state_pb2.OrderView, view: lk.OrderView, value: int, scales: _Scales) -> None:
    message.life = state_pb2.ORDER_LIFE_FILLED if view.is_filled else _ORDER_LIVES[view.life]


_ACCOUNT = _setters(
    lk.AccountView,
    {
        **{name: _same(name) for name in (
            "event_sequence", "capital_source", "ledger_status", "ledger_cause", "open_slot_count", "execution_count",
            "foreign_count",
        )},
        "slot_count": _same("slot_count", "max_slots"),
        "freeze_flags": _freeze,
        "wallet": _wallet,
        "available": _wallet,
        **{name: _money(name) for name in (
            "equity", "realized_pnl", "unrealized_pnl", "fees", "funding", "ledger_delta", "gross_exposure",
            "working_exposure", "predicted_fees", "capital", "foreign",
        )},
    },
)  # fmt: skip
_FEE = _setters(
    lk.FeeView,
    {
        "rate": _at("rate", RATE_SCALE),
        **{name: _at(name, lk.RATIO_SCALE) for name in ("ratio", "deviation")},
        **{name: _same(name) for name in ("sample_count", "refused_count", "status")},
    },
)
_SLOT = _setters(
    lk.SlotView,
    {
        **{name: _same(name) for name in (
            "stage", "lifecycle", "leverage", "active_leg_index", "pnl_source",
            "realized_skipped_no_price", "entry_basis_missing", "opened_at_ns", "closed_at_ns", "is_adopted",
            "is_overfilled",
        )},
        "strategy": _text("strategy"),
        **{name: _qty(name) for name in ("qty", "entry_qty")},
        **{name: _money(name) for name in ("realized_pnl", "unrealized_pnl", "fees")},
        **{name: _price(name) for name in ("mark", "stop_price", "target_price", "reference_price")},
        "entry_price": _price("entry_price", extra_scale=AVERAGE_PRICE_EXTRA_SCALE),
        "conviction": _conviction,
    },
)  # fmt: skip
_ORDER = _setters(
    lk.OrderView,
    {
        **{name: _same(name) for name in (
            "in_doubt", "cancel_pending", "side", "order_type", "submitted_at_ns",
        )},
        **{name: _text(name) for name in ("client_order_id", "venue_order_id")},
        "life": _life,
        "is_filled": _life,
        **{name: _qty(name) for name in ("order_qty", "cum_qty")},
        "price": _price("price"),
        "average_price": _price("average_price", extra_scale=AVERAGE_PRICE_EXTRA_SCALE),
    },
)  # fmt: skip


# --- what a journal entry says of one input --------------------------------------------------------------------------


def instrument_message(slot: lk.SlotView) -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=slot.symbol,
        version=slot.instrument_version,
        currency=slot.currency,
        price_scale=slot.price_scale,
        qty_scale=slot.qty_scale,
        tick_units=slot.tick_units,
        lot_units=slot.lot_units,
        multiplier=slot.multiplier,
    )


def write_outcome(message: journal_pb2.Outcome, value: lk.Outcome) -> None:
    """The kernel's answer (K01)."""
    code = _CODE_NAMES[value.code]
    message.accepted = value.accepted
    message.code = code
    message.severity = value.severity  # type: ignore[assignment]
    message.slot_index = value.slot_index or 0
    message.trade_id = value.trade_id
    if not value.accepted:
        field, rule = value.field, value.rule
        message.refusal.CopyFrom(
            common_pb2.Refusal(
                reason=code,
                field=field,
                value=str(value.value) if field else "",
                rule=rule,
                message=f"{field}: {rule}" if field else rule,
            )
        )


def write_transition(message: journal_pb2.Transition, value: lk.Transition) -> None:
    message.slot_index = value.slot_index
    message.trade_id = value.trade_id
    message.from_stage = value.from_stage  # type: ignore[assignment]
    message.to_stage = value.to_stage  # type: ignore[assignment]
    message.from_lifecycle = value.from_lifecycle  # type: ignore[assignment]
    message.to_lifecycle = value.to_lifecycle  # type: ignore[assignment]
    scale = value.qty_scale
    _set(message.requested_qty, value.requested_qty, scale)
    _set(message.filled_qty, value.filled_qty, scale)


def write_fill(message: journal_pb2.BookedFill, value: lk.BookedFill, symbol: str) -> None:
    message.execution_id = value.execution_id
    message.client_order_id = value.client_order_id
    message.venue_order_id = value.venue_order_id
    message.trade_id = value.trade_id
    message.symbol = symbol
    message.side = value.side  # type: ignore[assignment]
    message.is_exit = value.is_exit
    message.routed_by_stage = value.routed_by_stage
    message.fee_is_predicted = value.fee_is_predicted
    message.is_busted = value.is_busted
    _set(message.last_qty, value.qty, value.qty_scale)
    _set(message.fee, value.fee, AMOUNT_SCALE)
    _set(message.realized_pnl, value.realized_pnl, AMOUNT_SCALE)
    price = value.price
    if price is not None:
        _set(message.last_price, price, value.price_scale)


def settled_fill(value: lk.Settled) -> journal_pb2.SettledFill:
    return journal_pb2.SettledFill(
        execution_id=value.execution_id,
        client_order_id=value.client_order_id,
        trade_id=value.trade_id,
        is_exit=value.is_exit,
        realized_pnl=money(value.realized_pnl),
        fee=money(value.fee),
    )


def anomaly(value: lk.Anomaly) -> journal_pb2.Anomaly:
    return journal_pb2.Anomaly(
        code=_CODE_NAMES[value.code],
        severity=value.severity,  # type: ignore[arg-type]
        trade_id=value.trade_id,
        client_order_id=value.client_order_id,
        execution_id=value.execution_id,
        message=value.text,
    )


def command(
    value: lk.Command, slot: lk.SlotView, configuration: state_pb2.AccountConfiguration, reason: str
) -> journal_pb2.VenueCommand:
    """What the gateway is to do, but for token, intent and warrant, which the partition adds."""
    message = journal_pb2.VenueCommand(
        kind=value.kind,  # type: ignore[arg-type]
        client_order_id=value.client_order_id,
        venue_order_id=value.venue_order_id,
        trade_id=value.trade_id,
        account=configuration.account,
        venue=configuration.venue,
        environment=configuration.environment,
        instrument=instrument_message(slot),
        side=value.side,  # type: ignore[arg-type]
        order_qty=decimal(value.qty, value.qty_scale),
        order_type=value.order_type,  # type: ignore[arg-type]
        time_in_force=value.time_in_force,  # type: ignore[arg-type]
        leverage=value.leverage,
        reason=reason,
        strategy=slot.strategy,
    )
    if value.price is not None:
        message.price.CopyFrom(decimal(value.price, value.price_scale))
    if value.kind == lk.CommandKind.SUBMIT_EXIT:
        message.open_qty.CopyFrom(decimal(value.open_qty, value.qty_scale))
    if value.kind == lk.CommandKind.SUBMIT_ENTRY:
        message.expires_at_ns = value.expires_at_ns
    return message
