"""Rows of one journal entry: the entry itself, and everything that followed from its input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.record import (
    Names,
    Record,
    Row,
    Value,
    amount,
    count,
    money,
    place_of,
    required,
    text,
    trace_id_of,
)

Place = dict[str, Value]
"""The columns that every row of an entry begins with."""

_ENVIRONMENTS = Names(common_pb2.Environment, "ENVIRONMENT")
_SIDES = Names(common_pb2.Side, "SIDE")
_ORDER_TYPES = Names(common_pb2.OrderType, "ORDER_TYPE")
_TIMES_IN_FORCE = Names(common_pb2.TimeInForce, "TIME_IN_FORCE")
_SEVERITIES = Names(common_pb2.Severity, "SEVERITY")
_ORDER_FACTS = Names(venue_pb2.OrderFact, "ORDER_FACT")
_STAGES = Names(state_pb2.SlotStage, "SLOT_STAGE")
_LIFECYCLES = Names(state_pb2.Lifecycle, "LIFECYCLE")
_CAPITAL_SOURCES = Names(state_pb2.CapitalSource, "CAPITAL_SOURCE")
_LEDGER_STATUSES = Names(state_pb2.LedgerStatus, "LEDGER_STATUS")
_LEDGER_CAUSES = Names(state_pb2.LedgerCause, "LEDGER_CAUSE")
_FEE_STATUSES = Names(state_pb2.FeeStatus, "FEE_STATUS")


def journal_rows(record: Record, entry: journal_pb2.JournalEntry) -> list[Row]:
    """The entry's row first, then orders, cancels, events, fills, settlements, transitions, anomalies and snapshots."""
    message = _input(entry)
    place = place_of(record)
    place["trace_id"] = trace_id_of(entry.traceparent) or record.trace_id
    place["account"] = required("account", entry.account)
    return [
        _entry(place, record, entry, message),
        *_commands(place, entry),
        *_order_event(place, entry, message),
        *_fills(place, entry, message),
        *_settlements(place, entry),
        *_transitions(place, entry),
        *_anomalies(place, entry),
        *_slots(place, entry),
        *_account(place, entry),
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


def _entry(
    place: Place, record: Record, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None
) -> Row:
    outcome = entry.outcome if entry.HasField("outcome") else None
    kind = "epoch_started" if entry.HasField("epoch_started") else (message.WhichOneof("body") if message else None)
    return Row(
        "journal_entries",
        {
            **place,
            "epoch": entry.epoch,
            "input_sequence": count(entry.input_sequence),
            "input_time_ns": count(entry.input_time_ns),
            "door": text(entry.door),
            "kind": kind,
            "accepted": outcome.accepted if outcome else None,
            "code": text(outcome.code) if outcome else None,
            "trade_id": text(outcome.trade_id) if outcome else None,
            "state_digest": entry.state_digest or None,
            "entry_recorded_at_ns": count(entry.recorded_at_ns),
            "previous_hash": entry.previous_hash,
            "entry_hash": hashlib.sha256(record.data).digest(),
            "body": record.data,
        },
    )


_SUBMITS = (
    journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
    journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
    journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
)


def _commands(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, command in enumerate(entry.commands):
        client_order_id = required("commands.client_order_id", command.client_order_id)
        if command.kind == journal_pb2.COMMAND_KIND_CANCEL:
            yield Row(
                "cancel_requests",
                {
                    **place,
                    "position": position,
                    "client_order_id": client_order_id,
                    "trade_id": text(command.trade_id),
                    "reason": text(command.reason),
                },
            )
        elif command.kind in _SUBMITS:
            yield _order(place, position, command)
        else:
            raise InvalidRequest.of(
                "commands.kind", command.kind, "SUBMIT_ENTRY, SUBMIT_PROTECTIVE, SUBMIT_EXIT or CANCEL"
            )


def _order(place: Place, position: int, command: journal_pb2.VenueCommand) -> Row:
    return Row(
        "orders",
        {
            **place,
            "position": position,
            "client_order_id": command.client_order_id,
            "trade_id": required("commands.trade_id", command.trade_id),
            "venue": text(command.venue),
            "environment": _ENVIRONMENTS[command.environment],
            "is_exit": command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
            "is_protective": command.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
            "venue_group": text(command.group),
            "symbol": text(command.instrument.symbol),
            "side": _SIDES[command.side],
            "order_qty": amount(command, "order_qty"),
            "order_type": _ORDER_TYPES[command.order_type],
            "price": amount(command, "price"),
            "time_in_force": _TIMES_IN_FORCE[command.time_in_force],
            "leverage": command.leverage,
            "strategy": text(command.strategy),
            "expires_at_ns": count(command.expires_at_ns),
            "reason": text(command.reason),
            "price_scale": command.instrument.price_scale,
            "qty_scale": command.instrument.qty_scale,
            "multiplier": command.instrument.multiplier,
        },
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
    place: Place, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None
) -> Iterator[Row]:
    report = _report(message)
    if report is None or report.WhichOneof("body") != "order":
        return
    order = report.order
    yield Row(
        "order_events",
        {
            **place,
            "client_order_id": order.client_order_id,
            "venue_order_id": text(order.venue_order_id),
            "symbol": text(order.symbol),
            "fact": _ORDER_FACTS[order.fact] or "UNSPECIFIED",
            "reason": text(order.reason.reason),
            "message": text(order.reason.message),
            "accepted": entry.outcome.accepted,
            **_clocks(entry, report),
        },
    )


def _fills(place: Place, entry: journal_pb2.JournalEntry, message: inbox_pb2.InboxMessage | None) -> Iterator[Row]:
    clocks = _clocks(entry, _report(message)) if entry.fills else {}
    for position, fill in enumerate(entry.fills):
        yield Row(
            "fills",
            {
                **place,
                "position": position,
                "execution_id": required("fills.execution_id", fill.execution_id),
                "client_order_id": text(fill.client_order_id),
                "venue_order_id": text(fill.venue_order_id),
                "trade_id": text(fill.trade_id),
                "symbol": required("fills.symbol", fill.symbol),
                "side": required("fills.side", _SIDES[fill.side] or ""),
                "is_exit": fill.is_exit,
                "last_qty": money(fill.last_qty),
                "last_price": amount(fill, "last_price"),
                "fee": amount(fill, "fee"),
                "realized_pnl": amount(fill, "realized_pnl"),
                "fee_is_predicted": fill.fee_is_predicted,
                "is_busted": fill.is_busted,
                "routed_by_stage": fill.routed_by_stage,
                **clocks,
            },
        )


def _settlements(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, settled in enumerate(entry.settlements):
        yield Row(
            "settlements",
            {
                **place,
                "position": position,
                "execution_id": required("settlements.execution_id", settled.execution_id),
                "client_order_id": text(settled.client_order_id),
                "trade_id": text(settled.trade_id),
                "is_exit": settled.is_exit,
                "realized_pnl": amount(settled, "realized_pnl"),
                "fee": amount(settled, "fee"),
            },
        )


def _transitions(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, move in enumerate(entry.transitions):
        yield Row(
            "transitions",
            {
                **place,
                "position": position,
                "slot_index": move.slot_index,
                "trade_id": text(move.trade_id),
                "from_stage": _STAGES[move.from_stage],
                "to_stage": _STAGES[move.to_stage],
                "from_lifecycle": _LIFECYCLES[move.from_lifecycle],
                "to_lifecycle": _LIFECYCLES[move.to_lifecycle],
                "requested_qty": amount(move, "requested_qty"),
                "filled_qty": amount(move, "filled_qty"),
            },
        )


def _anomalies(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, anomaly in enumerate(entry.anomalies):
        yield Row(
            "anomalies",
            {
                **place,
                "position": position,
                "code": required("anomalies.code", anomaly.code),
                "severity": _SEVERITIES[anomaly.severity],
                "trade_id": text(anomaly.trade_id),
                "client_order_id": text(anomaly.client_order_id),
                "execution_id": text(anomaly.execution_id),
                "message": text(anomaly.message),
            },
        )


def _slots(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    for position, slot in enumerate(entry.slots):
        yield Row(
            "slot_snapshots",
            {
                **place,
                "position": position,
                "slot_index": slot.slot_index,
                "stage": _STAGES[slot.stage],
                "lifecycle": _LIFECYCLES[slot.lifecycle],
                "trade_id": text(slot.trade_id),
                "strategy": text(slot.strategy),
                "symbol": text(slot.instrument.symbol),
                "qty": amount(slot, "qty"),
                "entry_qty": amount(slot, "entry_qty"),
                "entry_price": amount(slot, "entry_price"),
                "realized_pnl": amount(slot, "realized_pnl"),
                "unrealized_pnl": amount(slot, "unrealized_pnl"),
                "fees": amount(slot, "fees"),
                "mark": amount(slot, "mark"),
                "leverage": slot.leverage,
                "opened_at_ns": count(slot.opened_at_ns),
                "closed_at_ns": count(slot.closed_at_ns),
                "is_adopted": slot.is_adopted,
                "is_overfilled": slot.is_overfilled,
                "conviction": amount(slot, "conviction"),
                "exit_leg_bps": text(",".join(map(str, slot.exit_leg_bps))),
            },
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


def _account(place: Place, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
    if not entry.HasField("account_after"):
        return
    after = entry.account_after
    amounts: dict[str, Value] = {column: amount(after, column) for column in _ACCOUNT_AMOUNTS}
    yield Row(
        "account_snapshots",
        {
            **place,
            "event_sequence": after.event_sequence,
            "currency": text(after.currency),
            "capital_source": _CAPITAL_SOURCES[after.capital_source],
            "ledger_status": _LEDGER_STATUSES[after.ledger_status],
            "entries_frozen": after.entries_frozen,
            "freeze_reason": text(after.freeze_reason),
            "open_slot_count": after.open_slot_count,
            "max_slots": after.max_slots,
            "ledger_cause": _LEDGER_CAUSES[after.ledger_cause],
            "execution_count": after.execution_count,
            "foreign_amount": amount(after, "foreign"),
            "foreign_count": count(after.foreign_count),
            **_fees("maker_fee", after.maker_fee, present=after.HasField("maker_fee")),
            **_fees("taker_fee", after.taker_fee, present=after.HasField("taker_fee")),
            **amounts,
        },
    )


def _fees(column: str, fees: state_pb2.FeeCalibration, *, present: bool) -> dict[str, Value]:
    """The published rate, how far it holds, and what that amounts to (K17)."""
    return {
        f"{column}_rate": money(fees.rate, present=present),
        f"{column}_ratio": money(fees.ratio, present=present),
        f"{column}_status": _FEE_STATUSES[fees.status] if present else None,
    }
