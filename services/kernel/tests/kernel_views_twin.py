"""What C writes from tables, said slowly and obviously: views of libkernel as messages, attribute by attribute."""

from __future__ import annotations

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_kernel.core import views
from kestrel_kernel.core.scaling import decimal, money


def account(view: lk.AccountView) -> state_pb2.AccountSnapshot:
    amounts = (
        "capital", "equity", "realized_pnl", "unrealized_pnl", "fees", "funding", "ledger_delta", "gross_exposure",
        "working_exposure", "predicted_fees", "foreign",
    )  # fmt: skip
    message = state_pb2.AccountSnapshot(
        account=view.account,
        event_sequence=view.event_sequence,
        currency=view.currency,
        capital_source=view.capital_source,
        ledger_status=view.ledger_status,
        ledger_cause=view.ledger_cause,
        entries_frozen=view.entries_frozen,
        freeze_reason=", ".join(flag.name or "" for flag in lk.Freeze if flag in view.freeze),
        open_slot_count=view.open_slot_count,
        max_slots=view.slot_count,
        execution_count=view.execution_count,
        foreign_count=view.foreign_count,
        maker_fee=_fee(view.maker_fee),
        taker_fee=_fee(view.taker_fee),
        **{name: money(getattr(view, name)) for name in amounts},
    )
    if view.wallet:
        message.wallet.CopyFrom(money(view.wallet))
        message.available.CopyFrom(money(view.available))
    return message


def slot(view: lk.SlotView) -> state_pb2.SlotSnapshot:
    same = (
        "slot_index", "stage", "lifecycle", "trade_id", "strategy", "leverage", "active_leg_index", "pnl_source",
        "realized_skipped_no_price", "entry_basis_missing", "opened_at_ns", "closed_at_ns", "is_adopted",
        "is_overfilled", "exit_leg_bps", "is_bracket",
    )  # fmt: skip
    message = state_pb2.SlotSnapshot(
        **{name: getattr(view, name) for name in same},
        **{name: decimal(getattr(view, name), view.qty_scale) for name in ("qty", "entry_qty")},
        **{name: money(getattr(view, name)) for name in ("realized_pnl", "unrealized_pnl", "fees")},
    )
    if view.symbol:
        message.instrument.CopyFrom(_instrument(view))
    for name, order in (("entry", view.entry), ("exit", view.exit), ("stop", view.stop), ("target", view.target)):
        if order is not None:
            getattr(message, name).CopyFrom(_order(order, view))
    for name in ("mark", "stop_price", "target_price", "reference_price"):
        _price(getattr(message, name), getattr(view, name), view.price_scale)
    _price(message.entry_price, view.entry_price, view.price_scale + views.AVERAGE_PRICE_EXTRA_SCALE)
    _price(message.conviction, view.conviction, lk.CONVICTION_SCALE)
    return message


def _instrument(slot: lk.SlotView) -> common_pb2.Instrument:
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


def command(value: lk.Command, slot: lk.SlotView, more: journal_pb2.VenueCommand) -> journal_pb2.VenueCommand:
    message = journal_pb2.VenueCommand(
        kind=value.kind,
        client_order_id=value.client_order_id,
        venue_order_id=value.venue_order_id,
        trade_id=value.trade_id,
        instrument=_instrument(slot),
        side=value.side,
        order_qty=decimal(value.qty, value.qty_scale),
        order_type=value.order_type,
        time_in_force=value.time_in_force,
        leverage=value.leverage,
        strategy=slot.strategy,
    )
    message.MergeFrom(more)
    _price(message.price, value.price, value.price_scale)
    if value.kind == lk.CommandKind.SUBMIT_EXIT:
        message.open_qty.CopyFrom(decimal(value.open_qty, value.qty_scale))
    if value.kind == lk.CommandKind.SUBMIT_ENTRY:
        message.expires_at_ns = value.expires_at_ns
    if slot.is_bracket and value.kind != lk.CommandKind.CANCEL:
        message.group = slot.entry.client_order_id if slot.entry else ""
    return message


def outcome(value: lk.Outcome) -> journal_pb2.Outcome:
    message = journal_pb2.Outcome(
        accepted=value.accepted,
        code=value.code.name,
        severity=value.severity,
        slot_index=value.slot_index or 0,
        trade_id=value.trade_id,
    )
    if not value.accepted:
        message.refusal.reason = value.code.name
        message.refusal.field = value.field
        message.refusal.value = str(value.value) if value.field else ""
        message.refusal.rule = value.rule
        message.refusal.message = f"{value.field}: {value.rule}" if value.field else value.rule
    return message


def transition(value: lk.Transition) -> journal_pb2.Transition:
    same = ("slot_index", "trade_id", "from_stage", "to_stage", "from_lifecycle", "to_lifecycle")
    return journal_pb2.Transition(
        **{name: getattr(value, name) for name in same},
        **{name: decimal(getattr(value, name), value.qty_scale) for name in ("requested_qty", "filled_qty")},
    )


def fill(value: lk.BookedFill, symbol: str) -> journal_pb2.BookedFill:
    same = (
        "execution_id", "client_order_id", "venue_order_id", "trade_id", "side", "is_exit", "routed_by_stage",
        "fee_is_predicted", "is_busted",
    )  # fmt: skip
    message = journal_pb2.BookedFill(
        symbol=symbol,
        last_qty=decimal(value.qty, value.qty_scale),
        fee=money(value.fee),
        realized_pnl=money(value.realized_pnl),
        **{name: getattr(value, name) for name in same},
    )
    _price(message.last_price, value.price, value.price_scale)
    return message


def _order(view: lk.OrderView, of: lk.SlotView) -> state_pb2.OrderView:
    same = (
        "client_order_id", "venue_order_id", "in_doubt", "cancel_pending", "side", "order_type", "submitted_at_ns",
    )  # fmt: skip
    message = state_pb2.OrderView(
        life=state_pb2.ORDER_LIFE_FILLED if view.is_filled else views._ORDER_LIVES[view.life],
        **{name: getattr(view, name) for name in same},
        **{name: decimal(getattr(view, name), of.qty_scale) for name in ("order_qty", "cum_qty")},
    )
    _price(message.price, view.price, of.price_scale)
    _price(message.average_price, view.average_price, of.price_scale + views.AVERAGE_PRICE_EXTRA_SCALE)
    return message


def _fee(view: lk.FeeView) -> state_pb2.FeeCalibration:
    return state_pb2.FeeCalibration(
        rate=decimal(view.rate, 8),
        ratio=decimal(view.ratio, lk.RATIO_SCALE),
        deviation=decimal(view.deviation, lk.RATIO_SCALE),
        sample_count=view.sample_count,
        refused_count=view.refused_count,
        status=view.status,
    )


def _price(target: common_pb2.Decimal, units: int | None, scale: int) -> None:
    if units is not None:
        target.CopyFrom(decimal(units, scale))
