"""The state as bytes, as the manual lays it out: its digest, and the saved form.

digest   BLAKE2b-256 of (config digest, ledger, one digest per slot); a slot that was never used counts as 32 bytes 0
chains   in the ledger: every event id as it is accepted, every execution as it is booked and as it is changed
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, TypeVar

from tests.reference.inputs import Config
from tests.reference.layout import Layout
from tests.reference.state import STOP, TARGET, Book, Calibration, Chain, Execution, Ledger, Order, Slot, State
from tests.reference.words import (
    CHAIN_FACTORS,
    ID_BYTES,
    SAVE_MAGIC,
    SAVE_VERSION,
    SLOT_EXITS_MAX,
    Life,
)

DIGEST_BYTES = 32
CONFIG = Layout(
    "abi_version:I slot_count:I window_count:I leverage_max:I amount_scale:I -:4x"
    " maker_fee_rate:q taker_fee_rate:q ack_timeout_ns:q funding_interval_ns:q seed_capital:q ledger_tolerance:q"
    " ledger_error_tolerance:q settlement_tolerance:q account:64s currency:16s"
)
ORDER = Layout(
    "client_order_id:64s venue_order_id:64s order_qty:q cum_qty:q priced_qty:q cum_notional:q price:q"
    " submitted_at_ns:q life:B is_done:B in_doubt:B is_stalled:B cancel_pending:B side:B order_type:B"
    " time_in_force:B has_price:B is_leg:B -:6x"
)
TERMS = Layout(
    "trade_id:64s strategy:64s symbol:32s currency:16s tick_units:q lot_units:q multiplier:q stop_price:q"
    " target_price:q reference_price:q requested_at_ns:q expires_at_ns:q trade_sequence:Q leverage:I"
    " instrument_version:I"
)
BOOK = Layout(
    "entry_qty:q exit_qty:q entry_unpriced_qty:q entry_notional:q exit_notional:q open_cost:q skipped_cost:q"
    " venue_realized:q skipped_count:q skipped_qty:q surplus_unpriced_qty:q fees:q predicted_fees:q"
)
PROGRESS = Layout(
    "mark:q opened_at_ns:q closed_at_ns:q close_sequence:Q active_leg_index:I exit_count:I exit_leg_bps:8H"
    " price_scale:B qty_scale:B has_stop_price:B has_target_price:B has_reference_price:B is_adopted:B"
    " is_overfilled:B has_anomaly:B pnl_source:B is_bracket:B is_bare:B -:5x"
)
PART_SIZE = TERMS.size + BOOK.size + PROGRESS.size + (1 + SLOT_EXITS_MAX) * ORDER.size
"""A slot is its terms, book, progress, entry and exits, in this order; its two protective orders come last."""
EXECUTION = Layout(
    "execution_id:64s number:Q trade_sequence:Q qty:q price:q notional:q skipped_cost:q realized:q fee:q"
    " venue_realized:q slot_index:I ordinal:I is_exit:B has_price:B is_skipped:B is_settled:B is_busted:B"
    " fee_is_predicted:B side:B liquidity:B"
)
CALIBRATION = ["settled_sum", "published_sum", "ratio", "sample_count", "refused_count", "is_last_refused"]
LEDGER = Layout(
    "event_chain.a:Q event_chain.b:Q execution_chain.a:Q execution_chain.b:Q"
    " event_sequence:Q now_ns:q trade_count:Q close_count:Q event_count:Q execution_count:Q anchored_count:Q"
    " unseen_count:Q awaited_count:Q venue_sequence:Q routed_by_stage_count:Q anomaly_count:Q wallet:q available:q"
    " bridge:q bridge_predicted:q bridge_skipped:q realized:q fees:q predicted_fees:q funding:q foreign:q"
    " foreign_count:Q ledger_delta:q next_funding_ns:q "
    + " ".join(f"{rate}.{name}:q" for rate in ("maker", "taker") for name in CALIBRATION)
    + " has_anchor:B is_bridged:B ledger_status:B ledger_cause:B freeze_flags:B has_awaited:B is_funding_due:B"
    " has_foreign:B"
)


def blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def digest(state: State) -> bytes:
    slots = b"".join(_slot_digest(slot) for slot in state.slots)
    return blake2b(blake2b(CONFIG.pack(state.config)) + LEDGER.pack(state.ledger) + slots)


def _slot_digest(slot: Slot) -> bytes:
    if slot.trade_sequence == 0:
        return bytes(DIGEST_BYTES)
    return blake2b(part_bytes(slot) + (protective_bytes(slot) if slot.is_bracket else b""))


def protective_bytes(slot: Slot) -> bytes:
    return b"".join(ORDER.pack(slot.protectives.get(ordinal, Order())) for ordinal in (STOP, TARGET))


def part_bytes(slot: Slot) -> bytes:
    """Up to the exit orders in use; exit order n lies at place (n - 1) % SLOT_EXITS_MAX."""
    exits = sorted(slot.exits.items(), key=lambda item: (item[0] - 1) % SLOT_EXITS_MAX)
    orders = b"".join(ORDER.pack(order) for order in [slot.entry, *(order for _, order in exits)])
    return TERMS.pack(slot) + BOOK.pack(slot.book) + PROGRESS.pack(slot) + orders


# --- chains ----------------------------------------------------------------------------------------------------------

_LOW = 2**64 - 1


def take_in(chain: Chain, record: bytes) -> Chain:
    """Two words of the record at a time, an odd last one completed by 0."""
    words = struct.unpack(f"<{len(record) // 8}Q", record)
    if len(words) % 2:
        words = (*words, 0)
    a, b = chain
    for x, y in zip(words[::2], words[1::2], strict=True):
        p, q = (a ^ x) * CHAIN_FACTORS[0], (b ^ y) * CHAIN_FACTORS[1]
        a, b = (p & _LOW) ^ (q >> 64), (q & _LOW) ^ (p >> 64)
    return Chain(a, b)


def chain_event(state: State, event_id: bytes) -> None:
    state.ledger.event_chain = take_in(state.ledger.event_chain, event_id.ljust(ID_BYTES, b"\0"))


def chain_execution(state: State, execution: Execution) -> None:
    state.ledger.execution_chain = take_in(state.ledger.execution_chain, EXECUTION.pack(execution))


# --- save, restore ---------------------------------------------------------------------------------------------------

_T = TypeVar("_T")
_HEADER = struct.Struct("<QIIQQQ")


def save(state: State) -> bytes:
    """Header, configuration, ledger, slots, both windows as they lie in their rings, and BLAKE2b-256 of all that."""
    slots = b"".join(part_bytes(slot).ljust(PART_SIZE, b"\0") + protective_bytes(slot) for slot in state.slots)
    events = [event_id.ljust(ID_BYTES, b"\0") for event_id in state.events]
    executions = [EXECUTION.pack(execution) for execution in state.executions.values()]
    rings = _ring(events, state.ledger.event_count) + _ring(executions, state.ledger.execution_count)
    body = CONFIG.pack(state.config) + LEDGER.pack(state.ledger) + slots + rings
    size = _HEADER.size + len(body) + DIGEST_BYTES
    header = _HEADER.pack(SAVE_MAGIC, SAVE_VERSION, len(state.slots), size, len(events), len(executions))
    return header + body + blake2b(header + body)


def _ring(records: list[bytes], count: int) -> bytes:
    """Record n, counted from 0 over all time, lies at n % window_count."""
    start = len(records) - count % len(records) if records else 0
    return b"".join(records[start:] + records[:start])


def restore(data: bytes, config: Config) -> State:
    """The state that was saved; the bytes are taken to be sound."""
    _, _, slot_count, _, event_count, execution_count = _HEADER.unpack_from(data)
    reader = _Reader(data, _HEADER.size + CONFIG.size)
    ledger = _ledger(reader.record(LEDGER))
    slots = [_slot(reader) for _ in range(slot_count)]
    events = [reader.take(ID_BYTES).rstrip(b"\0") for _ in range(event_count)]
    executions = [Execution(**reader.record(EXECUTION)) for _ in range(execution_count)]
    state = State(config, slots, ledger)
    state.events = dict.fromkeys(_unring(events, ledger.event_count))
    state.executions = {one.execution_id: one for one in _unring(executions, ledger.execution_count)}
    return state


def _unring(records: list[_T], count: int) -> list[_T]:
    start = count % len(records) if records else 0
    return records[start:] + records[:start]


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def record(self, layout: Layout) -> dict[str, Any]:
        return layout.unpack(self.take(layout.size))


def _ledger(values: dict[str, Any]) -> Ledger:
    parts: dict[str, Any] = {"event_chain": {}, "execution_chain": {}, "maker": {}, "taker": {}}
    for path in [path for path in values if "." in path]:
        part, name = path.split(".")
        parts[part][name] = values.pop(path)
    for part, kind in (
        ("event_chain", Chain),
        ("execution_chain", Chain),
        ("maker", Calibration),
        ("taker", Calibration),
    ):
        parts[part] = kind(**parts[part])
    return Ledger(**values, **parts)


def _slot(reader: _Reader) -> Slot:
    terms, book, progress = reader.record(TERMS), Book(**reader.record(BOOK)), reader.record(PROGRESS)
    slot = Slot(**terms, **progress, book=book, entry=Order(**reader.record(ORDER)))
    places = [Order(**reader.record(ORDER)) for _ in range(SLOT_EXITS_MAX)]
    for ordinal in range(max(1, slot.exit_count - SLOT_EXITS_MAX + 1), slot.exit_count + 1):
        slot.exits[ordinal] = places[(ordinal - 1) % SLOT_EXITS_MAX]
    protectives = {ordinal: Order(**reader.record(ORDER)) for ordinal in (STOP, TARGET)}
    slot.protectives = {ordinal: order for ordinal, order in protectives.items() if order.life != Life.NONE}
    return slot
