"""From libkernel's outputs and views to contract messages. Enum values of both are the same, but for order lives.

Slots, accounts, transitions and fills are written by C, from tables: to make them field by field in Python took more
than half of an input's time. What comes rarely, or is no record of libkernel's, is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from google.protobuf.message import Message

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_kernel.core.scaling import AMOUNT_SCALE, RATE_SCALE, money
from kestrel_libkernel import wire
from kestrel_libkernel.bindings import OUTCOME_BYTES
from kestrel_libkernel.model import EventKind
from kestrel_libkernel.outputs import (
    EVENT_BUSTED,
    EVENT_FEE_PREDICTED,
    EVENT_HAS_PRICE,
    EVENT_IS_EXIT,
    EVENT_ROUTED_BY_STAGE,
)
from kestrel_libkernel.wire import Field, Writer

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
_SCALES = ("qty_scale", "price_scale")
_CODE_NAMES = tuple(code.name for code in lk.Code)


# --- tables: which field of a record becomes which field of a message ------------------------------------------------


class _Table:
    """The fields of one message, by the names that it and the record have; ``inside`` is a record inside the record,
    ``scales`` the one that has the scales of prices and quantities."""

    def __init__(self, kind: type[Message], inside: str = "", *, scales: str = "") -> None:
        self._numbers = {field.name: field.number for field in kind.DESCRIPTOR.fields}
        self._inside = f"{inside}." if inside else ""
        self._qty_scale, self._price_scale = (f"{scales}.{name}" if scales else name for name in _SCALES)

    def number(self, name: str, record: str = "") -> Field:
        return wire.number(self._of(record or name), self._numbers[name])

    def place(self, name: str) -> Field:
        return wire.place(self._of(name), self._numbers[name])

    def text(self, name: str, record: str = "") -> Field:
        return wire.text(self._of(record or name), self._numbers[name])

    def money(self, name: str) -> Field:
        return wire.decimal(self._of(name), self._numbers[name], more=AMOUNT_SCALE)

    def rate(self, name: str, scale: int) -> Field:
        return wire.decimal(self._of(name), self._numbers[name], more=scale)

    def qty(self, name: str, record: str = "") -> Field:
        return wire.decimal(self._of(record or name), self._numbers[name], scale=self._qty_scale)

    def price(self, name: str, *, more: int = 0) -> Field:
        """A price, or nothing."""
        field = wire.decimal(self._of(name), self._numbers[name], scale=self._price_scale, more=more)
        return field.when(self._of(f"has_{name}"))

    def price_if(self, name: str, record: str, flag: int) -> Field:
        """A price that a bit of the record's flags says is stated."""
        field = wire.decimal(self._of(record), self._numbers[name], scale=self._price_scale)
        return field.when(self._of("flags"), mask=flag)

    def numbers(self, name: str) -> Field:
        return wire.numbers(self._of(name), self._numbers[name])

    def names(self, name: str, record: str, bits: Sequence[str]) -> Field:
        return wire.names(self._of(record), self._numbers[name], bits)

    def truth(self, name: str, record: str, *, mask: int = 0xFF) -> Field:
        return wire.constant(1, self._numbers[name]).when(self._of(record), mask=mask)

    def life(self) -> Sequence[Field]:
        """FILLED is a view of ours: nothing is left of the order."""
        words = [_ORDER_LIVES[life] for life in lk.Life]
        number = self._numbers["life"]
        return (
            wire.word(self._of("life"), number, words).unless(self._of("is_filled")),
            wire.constant(state_pb2.ORDER_LIFE_FILLED, number).when(self._of("is_filled")),
        )

    def message(self, name: str, fields: Sequence[Field]) -> Field:
        return wire.message(self._numbers[name], fields)

    def _of(self, name: str) -> str:
        return self._inside + name


def _order(inside: str) -> list[Field]:
    of = _Table(state_pb2.OrderView, inside)
    return [
        of.text("client_order_id"),
        of.text("venue_order_id"),
        *of.life(),
        *(of.number(name) for name in ("in_doubt", "cancel_pending", "side", "order_type")),
        *(of.qty(name) for name in ("order_qty", "cum_qty")),
        of.price("price"),
        of.price("average_price", more=AVERAGE_PRICE_EXTRA_SCALE),
        of.number("submitted_at_ns"),
    ]


def _instrument(inside: str = "") -> list[Field]:
    of = _Table(common_pb2.Instrument, inside)
    return [
        of.text("symbol"),
        of.number("version", "instrument_version"),
        of.text("currency"),
        *(of.number(name) for name in ("price_scale", "qty_scale", "tick_units", "lot_units", "multiplier")),
    ]


def _slot() -> list[Field]:
    of = _Table(state_pb2.SlotSnapshot)
    return [
        *(of.number(name) for name in ("slot_index", "stage", "lifecycle")),
        of.text("trade_id"),
        of.text("strategy"),
        of.message("instrument", _instrument()).when("symbol"),
        of.message("entry", _order("entry")).when("entry.life"),
        of.message("exit", _order("exit")).when("exit.life"),
        *(of.qty(name) for name in ("qty", "entry_qty")),
        of.price("entry_price", more=AVERAGE_PRICE_EXTRA_SCALE),
        *(of.money(name) for name in ("realized_pnl", "unrealized_pnl", "fees")),
        of.price("mark"),
        *(of.number(name) for name in (
            "leverage", "active_leg_index", "pnl_source", "realized_skipped_no_price", "entry_basis_missing",
        )),
        of.price("stop_price"),
        of.price("target_price"),
        *(of.number(name) for name in ("opened_at_ns", "closed_at_ns", "is_adopted", "is_overfilled")),
        of.price("reference_price"),
        of.rate("conviction", lk.CONVICTION_SCALE).when("has_conviction"),
        of.numbers("exit_leg_bps"),
        of.message("stop", _order("stop")).when("stop.life"),
        of.message("target", _order("target")).when("target.life"),
        of.number("is_bracket"),
    ]  # fmt: skip


def _fee(inside: str) -> list[Field]:
    of = _Table(state_pb2.FeeCalibration, inside)
    return [
        of.rate("rate", RATE_SCALE),
        *(of.rate(name, lk.RATIO_SCALE) for name in ("ratio", "deviation")),
        *(of.number(name) for name in ("sample_count", "refused_count", "status")),
    ]


def _account() -> list[Field]:
    """Wallet and available: nothing before the first balance, because the venue has not said."""
    of = _Table(state_pb2.AccountSnapshot)
    return [
        of.text("account"),
        of.number("event_sequence"),
        of.text("currency"),
        of.money("capital"),
        of.number("capital_source"),
        *(of.money(name) for name in ("equity", "realized_pnl", "unrealized_pnl", "fees", "funding")),
        *(of.money(name).when("wallet") for name in ("wallet", "available")),
        of.number("ledger_status"),
        of.money("ledger_delta"),
        of.truth("entries_frozen", "freeze_flags"),
        of.names("freeze_reason", "freeze_flags", [flag.name or "" for flag in lk.Freeze]),
        of.number("open_slot_count"),
        of.number("max_slots", "slot_count"),
        *(of.money(name) for name in ("gross_exposure", "working_exposure")),
        of.number("ledger_cause"),
        of.money("predicted_fees"),
        of.number("execution_count"),
        of.money("foreign"),
        of.number("foreign_count"),
        of.message("maker_fee", _fee("maker_fee")),
        of.message("taker_fee", _fee("taker_fee")),
    ]


def _transition() -> list[Field]:
    of = _Table(journal_pb2.Transition, "event", scales="event")
    return [
        of.number("slot_index"),
        of.text("trade_id"),
        *(of.number(name) for name in ("from_stage", "to_stage", "from_lifecycle", "to_lifecycle")),
        of.qty("requested_qty", "qty"),
        of.qty("filled_qty"),
    ]


def _fill() -> list[Field]:
    of, of_slot = _Table(journal_pb2.BookedFill, "event", scales="event"), _Table(journal_pb2.BookedFill, "slot")
    return [
        *(of.text(name) for name in ("execution_id", "client_order_id", "venue_order_id", "trade_id")),
        of_slot.text("symbol"),
        of.number("side"),
        of.truth("is_exit", "flags", mask=EVENT_IS_EXIT),
        of.qty("last_qty", "qty"),
        of.price_if("last_price", "price", EVENT_HAS_PRICE),
        of.money("fee"),
        of.money("realized_pnl"),
        of.truth("routed_by_stage", "flags", mask=EVENT_ROUTED_BY_STAGE),
        of.truth("fee_is_predicted", "flags", mask=EVENT_FEE_PREDICTED),
        of.truth("is_busted", "flags", mask=EVENT_BUSTED),
    ]


def _command(kind: lk.CommandKind) -> list[Field]:
    """But for what libkernel does not know: account and venue, token, intent and warrant, and the reason."""
    of = _Table(journal_pb2.VenueCommand, "event", scales="event")
    of_slot = _Table(journal_pb2.VenueCommand, "slot")
    fields = [
        of.number("kind", "command"),
        *(of.text(name) for name in ("client_order_id", "venue_order_id", "trade_id")),
        of.message("instrument", _instrument("slot")),
        of.number("side"),
        of.qty("order_qty", "qty"),
        of.number("order_type"),
        of.price_if("price", "price", EVENT_HAS_PRICE),
        *(of.number(name) for name in ("time_in_force", "leverage")),
        of_slot.text("strategy"),
    ]
    if kind == lk.CommandKind.SUBMIT_EXIT:
        fields.append(of.qty("open_qty"))
    if kind == lk.CommandKind.SUBMIT_ENTRY:
        fields.append(of.number("expires_at_ns"))
    if kind != lk.CommandKind.CANCEL:
        fields.append(of_slot.text("group", "entry.client_order_id").when("slot.is_bracket"))
    return fields


def _outcome() -> list[Field]:
    """But for the code, which is a name there."""
    of = _Table(journal_pb2.Outcome)
    return [of.number("accepted"), of.number("severity"), of.place("slot_index"), of.text("trade_id")]


_ENTRY_FIELDS = journal_pb2.JournalEntry.DESCRIPTOR.fields_by_name
_write_outcome = Writer("lk_outcome_t", 0, _outcome()).write
_write_slot = Writer("lk_slot_view_t", _ENTRY_FIELDS["slots"].number, _slot())
_write_account = Writer("lk_account_view_t", _ENTRY_FIELDS["account_after"].number, _account())
_write_events = {
    EventKind.TRANSITION: Writer(wire.EVENT_IN_SLOT, _ENTRY_FIELDS["transitions"].number, _transition()),
    EventKind.FILL_BOOKED: Writer(wire.EVENT_IN_SLOT, _ENTRY_FIELDS["fills"].number, _fill()),
}
_write_command = {kind: Writer(wire.EVENT_IN_SLOT, 0, _command(kind)).write for kind in lk.CommandKind}


def aftermath(kernel: lk.Kernel) -> wire.Aftermath:
    """Writes what each input of this kernel leaves behind, as fields of a journal entry and in their order there: first
    ``transitions`` and ``fills``; then ``slots``, ``account_after`` and ``state_digest``."""
    return kernel.aftermath(_write_events, _write_slot, _write_account, _ENTRY_FIELDS["state_digest"].number)


_CODES = tuple(journal_pb2.Outcome(code=name).SerializeToString() for name in _CODE_NAMES)


def account_snapshot(view: lk.AccountView) -> state_pb2.AccountSnapshot:
    """One account's snapshot, as a message."""
    return journal_pb2.JournalEntry.FromString(_write_account.write(view.raw)).account_after


def slot_snapshot(view: lk.SlotView) -> state_pb2.SlotSnapshot:
    """One slot's snapshot, as a message."""
    return journal_pb2.JournalEntry.FromString(_write_slot.write(view.raw)).slots[0]


# --- what a journal entry says of one input --------------------------------------------------------------------------


def outcome(result: lk.Result) -> bytes:
    """The kernel's answer (K01), as ``outcome`` of a journal entry."""
    return _as_field(_outcome_bytes(result))


@lru_cache(maxsize=1024)
def _as_field(outcome: bytes) -> bytes:
    """A trade's answers are mostly alike."""
    entry = journal_pb2.JournalEntry(outcome=journal_pb2.Outcome.FromString(outcome))
    return entry.SerializeToString(deterministic=True)


def is_outcome(result: lk.Result, journaled: journal_pb2.Outcome) -> bool:
    """Whether this answer is the one in the journal. A trade's answers are mostly alike, so bytes tell it sooner."""
    written = _outcome_bytes(result)
    if _in_order(written) == journaled.SerializeToString(deterministic=True):
        return True
    return journal_pb2.Outcome.FromString(written) == journaled


def _outcome_bytes(result: lk.Result) -> bytes:
    raw = result.raw[:OUTCOME_BYTES]
    return _write_outcome(raw, _CODES[result.code] if result.accepted else _refusal(result))


@lru_cache(maxsize=1024)
def _in_order(outcome: bytes) -> bytes:
    """The same with its fields in their order."""
    return journal_pb2.Outcome.FromString(outcome).SerializeToString(deterministic=True)


def _refusal(result: lk.Result) -> bytes:
    """Why not, as further fields of an outcome."""
    code, refused = _CODE_NAMES[result.code], result.outcome
    field, rule = refused.field, refused.rule
    refusal = common_pb2.Refusal(
        reason=code,
        field=field,
        value=str(refused.value) if field else "",
        rule=rule,
        message=f"{field}: {rule}" if field else rule,
    )
    return journal_pb2.Outcome(code=code, refusal=refusal).SerializeToString()


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


def command(value: lk.Command, slot: lk.SlotView, more: journal_pb2.VenueCommand) -> journal_pb2.VenueCommand:
    """What the gateway is to do; ``more``: what libkernel does not know of it."""
    written = _write_command[value.kind](value.raw + slot.raw)
    return journal_pb2.VenueCommand.FromString(written + more.SerializeToString())
