"""Rows of one journal entry: the entry itself, and everything that followed from its input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.record import Record, Row, Value, count, money, name, required, row, text, trace_id_of


def journal_rows(record: Record, entry: journal_pb2.JournalEntry) -> list[Row]:
    """The entry's row first, then orders, cancels, events, fills, settlements, transitions, anomalies and snapshots."""
    message = _input(entry)
    return [
        _entry(record, entry, message),
        *_commands(record, entry),
        *_order_event(record, entry, message),
        *_fills(record, entry, message),
        *_settlements(record, entry),
        *_transitions(record, entry),
        *_anomalies(record, entry),
        *_slots(record, entry),
        *_account(record, entry),
    ]


def _input(entry: journal_pb2.JournalEntry) -> inbox_pb2.InboxMessage | None:
    """The input as the kernel took it; None for an epoch entry, or when it was unreadable (and so refused)."""
    if not entry.input:
        return None
    message = inbox_pb2.InboxMessage()
    try:
        message.ParseFromString(entry.input)
    except DecodeError:
        return None
    return message


def _row(table: str, record: Record, entry: journal_pb2.JournalEntry, **values: Value) -> Row:
    return row(table, record, trace_id=trace_id_of(entry.traceparent) or record.trace_id, **values)


def _entry(record: Record, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None) -> Row:
    outcome = entry.outcome if entry.HasField("outcome") else None
    kind = "epoch_started" if entry.HasField("epoch_started") else (message.WhichOneof("body") if message else None)
    return _row(
        "journal_entries",
        record,
        entry,
        account=required("account", entry.account),
        epoch=entry.epoch,
        input_sequence=count(entry.input_sequence),
        input_time_ns=count(entry.input_time_ns),
        door=text(entry.door),
        kind=kind,
        accepted=outcome.accepted if outcome else None,
        code=text(outcome.code) if outcome else None,
        trade_id=text(outcome.trade_id) if outcome else None,
        state_digest=entry.state_digest or None,
        entry_recorded_at_ns=count(entry.recorded_at_ns),
        previous_hash=entry.previous_hash,
        entry_hash=hashlib.sha256(record.data).digest(),
        body=record.data,
    )


_SUBMITS = (
    journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
    journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
    journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
)


def _commands(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, command in enumerate(entry.commands):
        client_order_id = required("commands.client_order_id", command.client_order_id)
        if command.kind == journal_pb2.COMMAND_KIND_CANCEL:
            yield _row(
                "cancel_requests",
                record,
                entry,
                position=position,
                client_order_id=client_order_id,
                trade_id=text(command.trade_id),
                account=entry.account,
                reason=text(command.reason),
            )
        elif command.kind in _SUBMITS:
            yield _order(record, entry, position, command)
        else:
            raise InvalidRequest.of(
                "commands.kind", command.kind, "SUBMIT_ENTRY, SUBMIT_PROTECTIVE, SUBMIT_EXIT or CANCEL"
            )


def _order(record: Record, entry: journal_pb2.JournalEntry, position: int, command: journal_pb2.VenueCommand) -> Row:
    return _row(
        "orders",
        record,
        entry,
        position=position,
        client_order_id=command.client_order_id,
        trade_id=required("commands.trade_id", command.trade_id),
        account=entry.account,
        venue=text(command.venue),
        environment=name(common_pb2.Environment, command.environment, "ENVIRONMENT"),
        is_exit=command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
        is_protective=command.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
        venue_group=text(command.group),
        symbol=text(command.instrument.symbol),
        side=name(common_pb2.Side, command.side, "SIDE"),
        order_qty=money(command.order_qty, present=command.HasField("order_qty")),
        order_type=name(common_pb2.OrderType, command.order_type, "ORDER_TYPE"),
        price=money(command.price, present=command.HasField("price")),
        time_in_force=name(common_pb2.TimeInForce, command.time_in_force, "TIME_IN_FORCE"),
        leverage=command.leverage,
        strategy=text(command.strategy),
        expires_at_ns=count(command.expires_at_ns),
        reason=text(command.reason),
        price_scale=command.instrument.price_scale,
        qty_scale=command.instrument.qty_scale,
        multiplier=command.instrument.multiplier,
    )


def _clocks(entry: journal_pb2.JournalEntry, report: venue_pb2.VenueReport | None) -> dict[str, Value]:
    """The venue said, we received, the inbox stored: three clocks, kept apart."""
    return {
        "venue_time_ns": count(report.venue_time_ns) if report else None,
        "received_at_ns": count(report.received_at_ns) if report else None,
        "inbox_sequence": count(entry.input_sequence),
        "inbox_time_ns": count(entry.input_time_ns),
    }


def _report(message: inbox_pb2.InboxMessage | None) -> venue_pb2.VenueReport | None:
    return message.venue if message is not None and message.WhichOneof("body") == "venue" else None


def _order_event(
    record: Record, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None
) -> Iterator[Row]:
    report = _report(message)
    if report is None or report.WhichOneof("body") != "order":
        return
    order = report.order
    yield _row(
        "order_events",
        record,
        entry,
        account=entry.account,
        client_order_id=order.client_order_id,
        venue_order_id=text(order.venue_order_id),
        symbol=text(order.symbol),
        fact=name(venue_pb2.OrderFact, order.fact, "ORDER_FACT") or "UNSPECIFIED",
        reason=text(order.reason.reason),
        message=text(order.reason.message),
        accepted=entry.outcome.accepted,
        **_clocks(entry, report),
    )


def _fills(record: Record, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None) -> Iterator[Row]:
    clocks = _clocks(entry, _report(message))
    for position, fill in enumerate(entry.fills):
        yield _row(
            "fills",
            record,
            entry,
            position=position,
            account=entry.account,
            execution_id=required("fills.execution_id", fill.execution_id),
            client_order_id=text(fill.client_order_id),
            venue_order_id=text(fill.venue_order_id),
            trade_id=text(fill.trade_id),
            symbol=required("fills.symbol", fill.symbol),
            side=required("fills.side", name(common_pb2.Side, fill.side, "SIDE") or ""),
            is_exit=fill.is_exit,
            last_qty=money(fill.last_qty),
            last_price=money(fill.last_price, present=fill.HasField("last_price")),
            fee=money(fill.fee, present=fill.HasField("fee")),
            realized_pnl=money(fill.realized_pnl, present=fill.HasField("realized_pnl")),
            fee_is_predicted=fill.fee_is_predicted,
            is_busted=fill.is_busted,
            routed_by_stage=fill.routed_by_stage,
            **clocks,
        )


def _settlements(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, settled in enumerate(entry.settlements):
        yield _row(
            "settlements",
            record,
            entry,
            position=position,
            account=entry.account,
            execution_id=required("settlements.execution_id", settled.execution_id),
            client_order_id=text(settled.client_order_id),
            trade_id=text(settled.trade_id),
            is_exit=settled.is_exit,
            realized_pnl=money(settled.realized_pnl, present=settled.HasField("realized_pnl")),
            fee=money(settled.fee, present=settled.HasField("fee")),
        )


def _transitions(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, move in enumerate(entry.transitions):
        yield _row(
            "transitions",
            record,
            entry,
            position=position,
            account=entry.account,
            slot_index=move.slot_index,
            trade_id=text(move.trade_id),
            from_stage=name(state_pb2.SlotStage, move.from_stage, "SLOT_STAGE"),
            to_stage=name(state_pb2.SlotStage, move.to_stage, "SLOT_STAGE"),
            from_lifecycle=name(state_pb2.Lifecycle, move.from_lifecycle, "LIFECYCLE"),
            to_lifecycle=name(state_pb2.Lifecycle, move.to_lifecycle, "LIFECYCLE"),
            requested_qty=money(move.requested_qty, present=move.HasField("requested_qty")),
            filled_qty=money(move.filled_qty, present=move.HasField("filled_qty")),
        )


def _anomalies(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, anomaly in enumerate(entry.anomalies):
        yield _row(
            "anomalies",
            record,
            entry,
            position=position,
            account=entry.account,
            code=required("anomalies.code", anomaly.code),
            severity=name(common_pb2.Severity, anomaly.severity, "SEVERITY"),
            trade_id=text(anomaly.trade_id),
            client_order_id=text(anomaly.client_order_id),
            execution_id=text(anomaly.execution_id),
            message=text(anomaly.message),
        )


def _slots(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, slot in enumerate(entry.slots):
        yield _row(
            "slot_snapshots",
            record,
            entry,
            position=position,
            account=entry.account,
            slot_index=slot.slot_index,
            stage=name(state_pb2.SlotStage, slot.stage, "SLOT_STAGE"),
            lifecycle=name(state_pb2.Lifecycle, slot.lifecycle, "LIFECYCLE"),
            trade_id=text(slot.trade_id),
            strategy=text(slot.strategy),
            symbol=text(slot.instrument.symbol),
            qty=money(slot.qty, present=slot.HasField("qty")),
            entry_qty=money(slot.entry_qty, present=slot.HasField("entry_qty")),
            entry_price=money(slot.entry_price, present=slot.HasField("entry_price")),
            realized_pnl=money(slot.realized_pnl, present=slot.HasField("realized_pnl")),
            unrealized_pnl=money(slot.unrealized_pnl, present=slot.HasField("unrealized_pnl")),
            fees=money(slot.fees, present=slot.HasField("fees")),
            mark=money(slot.mark, present=slot.HasField("mark")),
            leverage=slot.leverage,
            opened_at_ns=count(slot.opened_at_ns),
            closed_at_ns=count(slot.closed_at_ns),
            is_adopted=slot.is_adopted,
            is_overfilled=slot.is_overfilled,
            conviction=money(slot.conviction, present=slot.HasField("conviction")),
            exit_leg_bps=text(",".join(map(str, slot.exit_leg_bps))),
        )


_ACCOUNT_AMOUNTS = (
    "capital",
    "equity",
    "realized_pnl",
    "unrealized_pnl",
    "fees",
    "funding",
    "wallet",
    "available",
    "ledger_delta",
    "gross_exposure",
    "working_exposure",
    "predicted_fees",
)


def _account(record: Record, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    if not entry.HasField("account_after"):
        return
    after = entry.account_after
    amounts: dict[str, Value] = {
        column: money(getattr(after, column), present=after.HasField(column))  # type: ignore[arg-type]
        for column in _ACCOUNT_AMOUNTS
    }
    yield _row(
        "account_snapshots",
        record,
        entry,
        account=entry.account,
        event_sequence=after.event_sequence,
        currency=text(after.currency),
        capital_source=name(state_pb2.CapitalSource, after.capital_source, "CAPITAL_SOURCE"),
        ledger_status=name(state_pb2.LedgerStatus, after.ledger_status, "LEDGER_STATUS"),
        entries_frozen=after.entries_frozen,
        freeze_reason=text(after.freeze_reason),
        open_slot_count=after.open_slot_count,
        max_slots=after.max_slots,
        ledger_cause=name(state_pb2.LedgerCause, after.ledger_cause, "LEDGER_CAUSE"),
        execution_count=after.execution_count,
        foreign_amount=money(after.foreign, present=after.HasField("foreign")),
        foreign_count=count(after.foreign_count),
        **_fees("maker_fee", after.maker_fee, present=after.HasField("maker_fee")),
        **_fees("taker_fee", after.taker_fee, present=after.HasField("taker_fee")),
        **amounts,
    )


def _fees(column: str, fees: state_pb2.FeeCalibration, *, present: bool) -> dict[str, Value]:
    """The published rate, how far it holds, and what that amounts to (K17)."""
    return {
        f"{column}_rate": money(fees.rate, present=present),
        f"{column}_ratio": money(fees.ratio, present=present),
        f"{column}_status": name(state_pb2.FeeStatus, fees.status, "FEE_STATUS") if present else None,
    }
