"""The Python package: what goes in, what comes out, and the kernel's rules as Python sees them."""

from __future__ import annotations

import dataclasses
import random
from itertools import permutations
from typing import Any

import pytest

from kestrel_libkernel import (
    Balance,
    Cancel,
    CapitalSource,
    Code,
    CommandKind,
    Config,
    Enter,
    Fact,
    Fill,
    Flatten,
    Freeze,
    FreezeEntries,
    Instrument,
    InvalidInput,
    Kernel,
    LedgerStatus,
    Life,
    Lifecycle,
    MarkPrice,
    OrderType,
    RestoreRefused,
    Severity,
    Side,
    Stage,
    Tick,
    TimeInForce,
    bindings,
    model,
)
from kestrel_libkernel._ffi import ffi

FET = Instrument("FET-USDT", price_scale=4, qty_scale=0, currency="USDT")
UNIT = 10**8
NAMES = [
    (model.InputKind, bindings.input_name),
    (model.Fact, bindings.fact_name),
    (model.Life, bindings.life_name),
    (model.Stage, bindings.stage_name),
    (model.Lifecycle, bindings.lifecycle_name),
    (model.Code, bindings.code_name),
    (model.LedgerStatus, bindings.ledger_status_name),
    (model.LedgerCause, bindings.ledger_cause_name),
    (model.FeeStatus, bindings.fee_status_name),
    (model.Requirement, bindings.requirement_name),
]


@pytest.mark.parametrize(("kind", "name_of"), NAMES, ids=[kind.__name__ for kind, _ in NAMES])
def test_enum_is_the_library_s_list(kind: Any, name_of: Any) -> None:
    assert [member.name for member in kind] == [name_of(member.value) for member in kind]
    assert name_of(len(kind)) == "?"


def test_input_fields_arrive_where_the_header_has_them() -> None:
    value = Enter(
        now_ns=1, sequence=2, event_id="ev", trade_id="tr", client_order_id="co", instrument=FET, side=Side.SELL,
        order_type=OrderType.LIMIT, time_in_force=TimeInForce.IOC, qty=3, price=4, stop_price=5, target_price=6,
        reference_price=7, leverage=8, expires_at_ns=9, strategy="st", exit_leg_bps=(10, 11),
    )  # fmt: skip
    raw = ffi.from_buffer("lk_input_t *", value.packed)
    assert (raw.kind, raw.side, raw.order_type, raw.time_in_force, raw.price_scale, raw.qty_scale) == (1, 2, 2, 3, 4, 0)
    assert (raw.now_ns, raw.sequence, raw.qty.units, raw.price.units, raw.stop_price.units) == (1, 2, 3, 4, 5)
    assert (raw.target_price.units, raw.reference_price.units, raw.leverage, raw.expires_at_ns) == (6, 7, 8, 9)
    assert (raw.flags, raw.multiplier, raw.instrument_version, list(raw.exit_leg_bps)[:3]) == (0x1F, 1, 1, [10, 11, 0])
    texts = (raw.event_id, raw.trade_id, raw.client_order_id, raw.strategy, raw.symbol, raw.currency)
    assert [ffi.string(item.text) for item in texts] == [b"ev", b"tr", b"co", b"st", b"FET-USDT", b"USDT"]


def test_what_cannot_be_expressed_is_an_error_and_nothing_is_cut(desk: Any) -> None:
    digest = desk.kernel.digest()
    with pytest.raises(InvalidInput, match="trade_id"):
        desk.enter(trade="x" * 65)
    with pytest.raises(InvalidInput, match="ASCII"):
        desk.enter(trade="é")
    with pytest.raises(InvalidInput, match="ENTER"):
        desk.enter(qty=2**63)
    with pytest.raises(InvalidInput, match="ENTER"):
        desk.enter(qty=1.5)
    with pytest.raises(InvalidInput, match="not a kernel input"):
        desk.kernel.apply("enter")
    with pytest.raises(InvalidInput):
        desk.slot(99)
    assert desk.kernel.digest() == digest
    assert desk.enter(trade="x" * 64).outcome.accepted
    assert desk.slot().trade_id == "x" * 64


def test_configuration_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="INVALID_CONFIG"):
        Kernel(Config("A", slot_count=0))
    with pytest.raises(InvalidInput, match="account"):
        Kernel(Config("A" * 65))


def test_closed_kernel_says_so() -> None:
    kernel = Kernel(Config("A"))
    kernel.close()
    kernel.close()
    with pytest.raises(InvalidInput, match="closed"):
        kernel.digest()


def test_refusal_names_field_value_and_rule_K01_K20(desk: Any) -> None:
    outcome = desk.enter(qty=-3).outcome
    assert (outcome.accepted, outcome.code, outcome.severity) == (False, Code.INVALID_INTENT, Severity.WARNING)
    assert (outcome.field, outcome.value, outcome.slot_index) == ("qty", -3, None)
    assert outcome.rule


def test_whole_trade_as_the_journal_sees_it(desk: Any) -> None:
    entered = desk.enter(qty=10, strategy="momentum", reference_price=1000)
    assert entered.outcome.slot_index == 0
    assert [command.kind for command in entered.commands] == [CommandKind.SUBMIT_ENTRY]
    assert entered.changed_slots == (0,)
    assert desk.account.working_exposure == 10 * 1000 * 10_000
    desk.report("entry", Fact.SUBMITTING)
    filled = desk.fill("entry", "e1", Side.BUY, 10, 1000, fee=7, venue_order_id="v1")
    assert (filled.fills[0].fee, filled.fills[0].fee_is_predicted, filled.fills[0].is_exit) == (7, False, False)
    assert filled.transitions[0].to_stage is Stage.POSITION_OPEN
    desk.do(MarkPrice, symbol="FET-USDT", price=11, price_scale=2)
    assert desk.slot().unrealized_pnl == 10 * 100 * 10_000
    assert desk.kernel.find_order("v1") == desk.kernel.find_trade("trade") == 0
    assert desk.kernel.find_order("stranger") is None
    left = desk.leave()
    assert (left.commands[0].kind, left.commands[0].side) == (CommandKind.SUBMIT_EXIT, Side.SELL)
    assert (left.commands[0].qty, left.commands[0].open_qty, left.commands[0].price) == (10, 10, None)
    closed = desk.fill("exit", "x1", Side.SELL, 10, 1100, fee=8)
    assert [move.to_stage for move in closed.transitions] == [Stage.POSITION_CLOSED, Stage.TERMINAL_WRITTEN]
    assert closed.transitions[-1].to_lifecycle is Lifecycle.CLOSED
    slot = desk.slot()
    assert (slot.trade_id, slot.strategy, slot.is_free, slot.fees) == ("trade", "momentum", True, 15)
    assert slot.realized_pnl == 10 * 100 * 10_000
    assert (slot.entry.life, slot.entry.is_filled, slot.entry.venue_order_id) == (Life.ACKED, True, "v1")
    account = desk.account
    assert account.capital == 1_000_000 * UNIT + slot.realized_pnl - 15
    assert (account.open_slot_count, account.event_sequence) == (0, desk.step)
    assert account.capital_source is CapitalSource.SEED


def test_fills_in_any_order_end_in_the_same_books_K06_K07(make_desk: Any) -> None:
    fills = [
        ("entry", "e1", Side.BUY, 30, 1000), ("entry", "e2", Side.BUY, 70, 1017), ("exit", "x1", Side.SELL, 21, 1011),
        ("exit", "x2", Side.SELL, 29, 1029),
    ]  # fmt: skip
    ends = set()
    for order in permutations(fills):
        desk = make_desk()
        desk.enter(qty=150)
        desk.fill("entry", "e0", Side.BUY, 50, 1000)
        desk.leave()
        desk.report("entry", Fact.CANCELED)
        for fill in order:
            assert desk.fill(*fill).outcome.accepted
        desk.leave(order="exit-2")
        assert desk.slot().qty == 100
        desk.fill("exit-2", "x3", Side.SELL, 100, 1013)
        ends.add((desk.slot().realized_pnl, desk.slot().entry_price, desk.account.capital, desk.slot().stage))
        desk.kernel.close()
    assert len(ends) == 1
    assert ends.pop()[0] == (21 * 1011 + 29 * 1029 + 100 * 1013 - 80 * 1000 - 70 * 1017) * 10_000


def test_duplicate_changes_nothing_and_says_so_K10(desk: Any) -> None:
    desk.enter()
    first = desk.make(Fill, client_order_id="entry", execution_id="e1", side=Side.BUY, qty=4, qty_scale=0, price=1000,
                      price_scale=4)  # fmt: skip
    assert desk.kernel.apply(first).outcome.accepted
    digest = desk.kernel.digest()
    again = desk.kernel.apply(first)
    assert (again.outcome.code, again.outcome.severity) == (Code.DUPLICATE_EVENT, Severity.INFO)
    renamed = desk.kernel.apply(dataclasses.replace(first, event_id="told-otherwise"))
    assert (renamed.outcome.code, renamed.outcome.field) == (Code.DUPLICATE_EVENT, "execution_id")
    assert desk.kernel.digest() == digest


def test_stranger_mutates_nothing_K11(desk: Any) -> None:
    desk.enter()
    digest = desk.kernel.digest()
    result = desk.fill("stranger", "e1", Side.BUY, 4, 1000, symbol="FET-USDT")
    assert (result.outcome.code, result.outcome.severity) == (Code.UNRESOLVED_SLOT, Severity.WARNING)
    assert (result.changed_slots, result.account_changed, desk.kernel.digest()) == ((), False, digest)


def test_late_fill_after_cancel_and_overfill_are_folded_and_flagged_K03(desk: Any) -> None:
    desk.enter(qty=10)
    desk.do(Cancel, client_order_id="entry")
    assert desk.slot().entry.cancel_pending
    desk.report("entry", Fact.CANCELED)
    assert desk.slot().lifecycle is Lifecycle.CANCELED
    late = desk.fill("entry", "e1", Side.BUY, 12, 1000)
    assert {anomaly.code for anomaly in late.anomalies} == {Code.LATE_FILL, Code.OVERFILL}
    slot = desk.slot()
    assert (slot.qty, slot.is_overfilled, slot.has_anomaly, slot.entry.life) == (12, True, True, Life.CANCELED)


def test_price_less_entry_has_no_basis_and_no_mark_stands_in_K08(desk: Any) -> None:
    desk.enter()
    desk.do(MarkPrice, symbol="FET-USDT", price=1000, price_scale=4)
    desk.fill("entry", "e1", Side.BUY, 10, None)
    slot = desk.slot()
    assert (slot.entry_basis_missing, slot.entry_price, slot.unrealized_pnl) == (True, None, 0)
    desk.leave()
    result = desk.fill("exit", "x1", Side.SELL, 10, 1100)
    assert result.fills[0].realized_pnl == 0
    assert desk.slot().realized_skipped_no_price


def test_finer_fill_price_is_rounded_against_us_and_flagged(desk: Any) -> None:
    desk.enter(qty=10)
    result = desk.fill("entry", "e1", Side.BUY, 10, 100001, price_scale=6)
    assert result.fills[0].price == 1001
    assert [anomaly.code for anomaly in result.anomalies] == [Code.PRICE_ROUNDED]


def test_exit_before_any_fill_cancels_the_entry_K19(desk: Any) -> None:
    desk.enter()
    result = desk.leave()
    assert [(command.kind, command.client_order_id) for command in result.commands] == [(CommandKind.CANCEL, "entry")]
    assert desk.leave(order="exit-2").outcome.code is Code.NO_OPEN_POSITION


def test_exit_limit_that_is_malformed_goes_to_market_K20(desk: Any) -> None:
    desk.enter(qty=10)
    desk.fill("entry", "e1", Side.BUY, 10, 1000)
    result = desk.leave(order_type=OrderType.LIMIT, price=-5, price_scale=4)
    assert (result.commands[0].order_type, result.commands[0].price) == (OrderType.MARKET, None)
    assert [anomaly.code for anomaly in result.anomalies] == [Code.EXIT_PRICE_REPAIRED]


def test_flatten_and_freeze(desk: Any) -> None:
    desk.enter(qty=10)
    desk.fill("entry", "e1", Side.BUY, 10, 1000)
    result = desk.do(Flatten, client_order_id_root="out", symbol="OTHER")
    assert result.commands == ()
    result = desk.do(Flatten, client_order_id_root="out", symbol="FET-USDT")
    assert [command.client_order_id for command in result.commands] == ["out-00"]
    desk.do(FreezeEntries)
    assert (desk.account.freeze, desk.account.entries_frozen) == (Freeze.OPERATOR, True)
    assert desk.enter("t2", "o2").outcome.code is Code.ENTRY_FROZEN


def test_ledger_error_freezes_entries_never_exits_and_lifts_K14(make_desk: Any) -> None:
    desk = make_desk(Config("A", slot_count=2, taker_fee_rate=50_000, ledger_error_tolerance=UNIT))
    desk.do(Balance, wallet=1_000_000 * UNIT, available=1_000_000 * UNIT)
    desk.enter(qty=1000)
    filled = desk.fill("entry", "e1", Side.BUY, 1000, 10_000)
    assert (filled.fills[0].fee, filled.fills[0].fee_is_predicted) == (UNIT // 2, True)
    desk.do(Balance, wallet=1_000_000 * UNIT - UNIT // 2)
    assert (desk.account.ledger_status, desk.account.ledger_delta) == (LedgerStatus.OK, 0)
    desk.do(Balance, wallet=900_000 * UNIT)
    assert (desk.account.ledger_status, desk.account.freeze) == (LedgerStatus.ERROR, Freeze.LEDGER)
    assert desk.enter("t2", "o2").outcome.code is Code.ENTRY_FROZEN
    assert desk.leave().outcome.accepted
    desk.do(Balance, wallet=900_000 * UNIT)
    assert (desk.account.ledger_status, desk.account.entries_frozen) == (LedgerStatus.OK, False)
    assert desk.do(Balance, wallet=0).outcome.code is Code.BALANCE_WITHOUT_WALLET


def test_tick_at_the_deadline_stalls_an_unanswered_entry_T09(desk: Any) -> None:
    desk.enter()
    assert desk.kernel.next_deadline_ns() is None
    desk.report("entry", Fact.SUBMITTING)
    deadline_ns = desk.kernel.next_deadline_ns()
    assert deadline_ns == desk.step + 60_000_000_000
    result = desk.do(Tick, now_ns=deadline_ns)
    assert [anomaly.code for anomaly in result.anomalies] == [Code.ORDER_STALLED]
    assert result.transitions[0].from_stage is result.transitions[0].to_stage
    assert desk.slot().lifecycle is Lifecycle.STALLED


def random_trades(desk: Any, seed: int) -> list[Any]:
    """Inputs of a few trades, shuffled, with repeats."""
    chance = random.Random(seed)
    inputs = []
    for trade in range(12):
        side = chance.choice((Side.BUY, Side.SELL))
        inputs.append(desk.make(Enter, trade_id=f"t{trade}", client_order_id=f"o{trade}", instrument=FET, side=side,
                                qty=chance.randint(1, 50), order_type=OrderType.MARKET,
                                time_in_force=TimeInForce.DAY))  # fmt: skip
        inputs += [
            desk.make(Fill, client_order_id=f"o{trade}", execution_id=f"x{trade}-{part}", side=side, qty_scale=0,
                      qty=chance.randint(1, 20), price=chance.randint(900, 1100), price_scale=4)
            for part in range(3)
        ]  # fmt: skip
    for _ in range(10):
        inputs.append(chance.choice(inputs))
    chance.shuffle(inputs)
    return [dataclasses.replace(value, now_ns=place) for place, value in enumerate(inputs)]


@pytest.mark.parametrize("seed", range(5))
def test_same_inputs_give_the_same_digest_one_by_one_in_batches_and_across_restarts_K21(
    make_desk: Any, seed: int
) -> None:
    single, batch, restarted = make_desk(), make_desk(), make_desk()
    inputs = random_trades(make_desk(), seed)
    results = [single.kernel.apply(value) for value in inputs]
    assert batch.kernel.apply_batch(inputs) == results
    for value, expected in zip(inputs, results, strict=True):
        assert restarted.kernel.apply(value) == expected
        restarted.restart()
    assert single.kernel.digest() == batch.kernel.digest() == restarted.kernel.digest()
    assert any(not result.outcome.accepted for result in results)


def test_batch_larger_than_one_crossing_is_applied_whole(make_desk: Any) -> None:
    desk = make_desk()
    ticks = [Tick(now_ns=now_ns, sequence=now_ns) for now_ns in range(1, 1001)]
    assert len(desk.kernel.apply_batch(ticks)) == 1000
    assert desk.account.event_sequence == 1000


def test_damaged_state_is_refused_and_changes_nothing_K21(desk: Any, make_desk: Any) -> None:
    desk.enter()
    saved, digest = desk.kernel.save(), desk.kernel.digest()
    for damaged, reason in (
        (saved[:-1], "INVALID_SIZE"),
        (saved[:8] + b"\xff" + saved[9:], "INVALID_VERSION"),
        (saved[:400] + bytes([saved[400] ^ 1]) + saved[401:], "INVALID_CHECKSUM"),
        (b"", "INVALID_SIZE"),
    ):
        with pytest.raises(RestoreRefused) as refused:
            desk.kernel.restore(damaged)
        assert refused.value.reason == reason
        assert desk.kernel.digest() == digest
    other = make_desk(Config("OTHER", slot_count=4))
    with pytest.raises(RestoreRefused, match="INVALID_STATE"):
        other.kernel.restore(saved)
