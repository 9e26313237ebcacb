"""From libkernel's outputs and views to contract messages. Enum values of both are the same, but for order lives."""

from __future__ import annotations

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_kernel.core.scaling import decimal, money

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


def account_snapshot(view: lk.AccountView, configuration: state_pb2.AccountConfiguration) -> state_pb2.AccountSnapshot:
    """One account, whole (K15)."""
    snapshot = state_pb2.AccountSnapshot(
        account=configuration.account,
        event_sequence=view.event_sequence,
        currency=configuration.currency,
        capital_source=int(view.capital_source),  # type: ignore[arg-type]
        equity=money(view.equity),
        realized_pnl=money(view.realized_pnl),
        unrealized_pnl=money(view.unrealized_pnl),
        fees=money(view.fees),
        funding=money(view.funding),
        ledger_status=int(view.ledger_status),  # type: ignore[arg-type]
        ledger_delta=money(view.ledger_delta),
        ledger_cause=int(view.ledger_cause),  # type: ignore[arg-type]
        entries_frozen=view.entries_frozen,
        freeze_reason=", ".join(flag.name or "" for flag in lk.Freeze if flag in view.freeze),
        open_slot_count=view.open_slot_count,
        max_slots=view.slot_count,
        gross_exposure=money(view.gross_exposure),
        working_exposure=money(view.working_exposure),
        predicted_fees=money(view.predicted_fees),
        execution_count=view.execution_count,
        capital=money(view.capital),
    )
    if view.wallet:
        snapshot.wallet.CopyFrom(money(view.wallet))
        snapshot.available.CopyFrom(money(view.available))
    return snapshot


def slot_snapshot(view: lk.SlotView) -> state_pb2.SlotSnapshot:
    """One slot, whole: the trade in it, or the last one that was."""
    instrument = view.instrument
    snapshot = state_pb2.SlotSnapshot(
        slot_index=view.slot_index,
        stage=int(view.stage),  # type: ignore[arg-type]
        lifecycle=int(view.lifecycle),  # type: ignore[arg-type]
        trade_id=view.trade_id,
        strategy=view.strategy,
        qty=decimal(view.qty, instrument.qty_scale),
        entry_qty=decimal(view.entry_qty, instrument.qty_scale),
        realized_pnl=money(view.realized_pnl),
        unrealized_pnl=money(view.unrealized_pnl),
        fees=money(view.fees),
        leverage=view.leverage,
        active_leg_index=view.active_leg_index,
        pnl_source=int(view.pnl_source),  # type: ignore[arg-type]
        realized_skipped_no_price=view.realized_skipped_no_price,
        entry_basis_missing=view.entry_basis_missing,
        opened_at_ns=view.opened_at_ns,
        closed_at_ns=view.closed_at_ns,
        is_adopted=view.is_adopted,
        is_overfilled=view.is_overfilled,
    )
    if instrument.symbol:
        snapshot.instrument.CopyFrom(instrument_message(instrument))
    for name in ("mark", "stop_price", "target_price", "reference_price"):
        units = getattr(view, name)
        if units is not None:
            getattr(snapshot, name).CopyFrom(decimal(units, instrument.price_scale))
    if view.entry_price is not None:
        snapshot.entry_price.CopyFrom(decimal(view.entry_price, instrument.price_scale + AVERAGE_PRICE_EXTRA_SCALE))
    if view.entry is not None:
        snapshot.entry.CopyFrom(_order_view(view.entry, instrument))
    if view.exit is not None:
        snapshot.exit.CopyFrom(_order_view(view.exit, instrument))
    return snapshot


def instrument_message(instrument: lk.Instrument) -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=instrument.symbol,
        version=instrument.version,
        currency=instrument.currency,
        price_scale=instrument.price_scale,
        qty_scale=instrument.qty_scale,
        tick_units=instrument.tick_units,
        lot_units=instrument.lot_units,
        multiplier=instrument.multiplier,
    )


def outcome(value: lk.Outcome) -> journal_pb2.Outcome:
    """The kernel's answer (K01)."""
    message = journal_pb2.Outcome(
        accepted=value.accepted,
        code=value.code.name,
        severity=int(value.severity),  # type: ignore[arg-type]
        slot_index=value.slot_index or 0,
        trade_id=value.trade_id,
    )
    if not value.accepted:
        field = "" if value.field == "none" else value.field
        message.refusal.CopyFrom(
            common_pb2.Refusal(
                reason=value.code.name,
                field=field,
                value=str(value.value) if field else "",
                rule=value.rule,
                message=f"{field}: {value.rule}" if field else value.rule,
            )
        )
    return message


def transition(value: lk.Transition) -> journal_pb2.Transition:
    return journal_pb2.Transition(
        slot_index=value.slot_index,
        trade_id=value.trade_id,
        from_stage=int(value.from_stage),  # type: ignore[arg-type]
        to_stage=int(value.to_stage),  # type: ignore[arg-type]
        from_lifecycle=int(value.from_lifecycle),  # type: ignore[arg-type]
        to_lifecycle=int(value.to_lifecycle),  # type: ignore[arg-type]
        requested_qty=decimal(value.requested_qty, value.qty_scale),
        filled_qty=decimal(value.filled_qty, value.qty_scale),
    )


def booked_fill(value: lk.BookedFill, symbol: str) -> journal_pb2.BookedFill:
    message = journal_pb2.BookedFill(
        execution_id=value.execution_id,
        client_order_id=value.client_order_id,
        venue_order_id=value.venue_order_id,
        trade_id=value.trade_id,
        symbol=symbol,
        side=int(value.side),  # type: ignore[arg-type]
        is_exit=value.is_exit,
        last_qty=decimal(value.qty, value.qty_scale),
        fee=money(value.fee),
        realized_pnl=money(value.realized_pnl),
        routed_by_stage=value.routed_by_stage,
        fee_is_predicted=value.fee_is_predicted,
        is_busted=value.is_busted,
    )
    if value.price is not None:
        message.last_price.CopyFrom(decimal(value.price, value.price_scale))
    return message


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
        code=value.code.name,
        severity=int(value.severity),  # type: ignore[arg-type]
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
        kind=int(value.kind),  # type: ignore[arg-type]
        client_order_id=value.client_order_id,
        venue_order_id=value.venue_order_id,
        trade_id=value.trade_id,
        account=configuration.account,
        venue=configuration.venue,
        environment=configuration.environment,
        instrument=instrument_message(slot.instrument),
        side=int(value.side),  # type: ignore[arg-type]
        order_qty=decimal(value.qty, value.qty_scale),
        order_type=int(value.order_type),  # type: ignore[arg-type]
        time_in_force=int(value.time_in_force),  # type: ignore[arg-type]
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


def _order_view(order: lk.OrderView, instrument: lk.Instrument) -> state_pb2.OrderView:
    message = state_pb2.OrderView(
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        life=state_pb2.ORDER_LIFE_FILLED if order.is_filled else _ORDER_LIVES[order.life],
        in_doubt=order.in_doubt,
        cancel_pending=order.cancel_pending,
        side=int(order.side),  # type: ignore[arg-type]
        order_type=int(order.order_type),  # type: ignore[arg-type]
        order_qty=decimal(order.order_qty, instrument.qty_scale),
        cum_qty=decimal(order.cum_qty, instrument.qty_scale),
        submitted_at_ns=order.submitted_at_ns,
    )
    if order.price is not None:
        message.price.CopyFrom(decimal(order.price, instrument.price_scale))
    if order.average_price is not None:
        scale = instrument.price_scale + AVERAGE_PRICE_EXTRA_SCALE
        message.average_price.CopyFrom(decimal(order.average_price, scale))
    return message
