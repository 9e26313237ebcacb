"""Between Python and the library's bytes: what is packed, what is read back, and who owns it."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kestrel_libkernel import (
    Code,
    Config,
    Correction,
    Enter,
    Fact,
    FeeStatus,
    Fill,
    Flatten,
    Foreign,
    Instrument,
    InvalidInput,
    Kernel,
    LedgerCause,
    Liquidity,
    OrderReport,
    OrderType,
    Result,
    Side,
    Stage,
    Tick,
    TimeInForce,
    bindings,
    conviction_of,
    conviction_to_leverage,
    inputs,
    layout,
    outputs,
)
from kestrel_libkernel._ffi import ffi, lib
from kestrel_libkernel.model import InputKind, Requirement
from kestrel_libkernel.records import Record

UNIT = 10**8
KINDS = [kind for kind in vars(inputs).values() if isinstance(kind, type) and issubclass(kind, inputs.Input)]
KINDS.remove(inputs.Input)
RECORDS = [kind for kind in vars(outputs).values() if isinstance(kind, type) and issubclass(kind, Record)]
RECORDS.remove(Record)
SAMPLES: dict[str, Any] = {
    "str": "x", "int": 3, "int | None": 4, "bool": True, "Side": Side.SELL, "OrderType": OrderType.LIMIT,
    "Fact": Fact.ACKNOWLEDGED,
    "TimeInForce": TimeInForce.GTC, "Liquidity": Liquidity.MAKER, "Sequence[int]": (10, 20),
    "Instrument": Instrument("FET-USDT", 4, 1, 5, 6, 7, 8, "USDT"),
}  # fmt: skip


def sample(kind: Any) -> Any:
    """An input of this kind with every attribute stated."""
    return kind(**{field.name: SAMPLES[field.type] for field in dataclasses.fields(kind)})


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lk_input_t", "lk_outcome_t", "lk_event_t", "lk_slot_view_t", "lk_account_view_t"])
def test_layout_has_every_field_where_the_compiler_put_it(name: str) -> None:
    for field, place in layout.places(name).items():
        assert place.offset == ffi.offsetof(name, field)
        only = layout.Layout.of(name, [field]).format
        assert only.size == ffi.sizeof(name)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_attribute_of_a_record_can_be_read_and_shown(kind: Any) -> None:
    value = kind(bytes(kind._layout.format.size))
    assert repr(value).startswith(f"{kind.__name__}(")
    with pytest.raises(AttributeError):
        value.trade_id = "x"


def test_abi_of_another_library_is_refused_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = SimpleNamespace(ffi=ffi, lib=SimpleNamespace(lk_abi_version=lambda: 999))
    monkeypatch.setitem(sys.modules, "kestrel_libkernel._ffi", stranger)  # type: ignore[arg-type]
    spec = importlib.util.spec_from_file_location("stranger_bindings", bindings.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match="ABI 999"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_input_has_one_class() -> None:
    kinds = {ffi.from_buffer("lk_input_t *", sample(kind).packed).kind for kind in KINDS}
    assert kinds == {int(kind) for kind in InputKind if kind}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_input_states_the_fields_that_the_header_says_its_kind_reads(kind: Any) -> None:
    names = [bindings.field_name(field) for field in range(lib.LK_FIELD_COUNT)]
    number = ffi.from_buffer("lk_input_t *", sample(kind).packed).kind
    reads = {name for field, name in enumerate(names) if bindings.input_reads(number, field) != Requirement.NONE}
    stated = {*kind._layout.names} - {"kind"}
    assert reads & layout.places("lk_input_t").keys() == (stated if "event_id" in reads else stated - {"event_id"})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_input_gives_back_what_it_was_made_of(kind: Any) -> None:
    value = sample(kind)
    for field in dataclasses.fields(kind):
        assert getattr(value, field.name) == SAMPLES[field.type], field.name
    assert dataclasses.replace(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(dataclasses.replace(value)) == hash(value)
    assert dataclasses.replace(value, now_ns=99) != value
    assert kind.__name__ in repr(value)
    with pytest.raises(AttributeError):
        value.now_ns = 7


def test_what_is_not_stated_is_not_stated() -> None:
    value = Fill(now_ns=1, execution_id="e", side=Side.BUY, qty=1, qty_scale=0, price=None, price_scale=0)
    assert (value.price, value.fee, value.event_id) == (None, None, "")
    assert Fill(now_ns=1, execution_id="e", side=Side.BUY, qty=1, qty_scale=0, price=0, price_scale=0) != value
    raw = ffi.from_buffer("lk_input_t *", value.packed)
    assert raw.flags & (lib.LK_HAS_PRICE | lib.LK_HAS_FEE) == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"execution_id": "x" * 65}, "execution_id"), ({"execution_id": None}, "execution_id"),
        ({"symbol": "X" * 33}, "symbol"), ({"client_order_id": "é"}, "ASCII"), ({"qty": 2**63}, "FILL"),
        ({"qty": 0.5}, "FILL"), ({"qty_scale": 256}, "FILL"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_expressed_is_refused_when_it_is_made(fields: dict[str, Any], named: str) -> None:
    whole = {"now_ns": 1, "execution_id": "e", "side": Side.BUY, "qty": 1, "qty_scale": 0, "price": 1, "price_scale": 0}
    with pytest.raises(InvalidInput, match=named):
        Fill(**{**whole, **fields})


def test_too_many_exit_legs_are_refused_when_the_input_is_made_K19() -> None:
    with pytest.raises(InvalidInput, match="exit_leg_bps"):
        dataclasses.replace(sample(Enter), exit_leg_bps=(1,) * 9)


# --- answers ---------------------------------------------------------------------------------------------------------


def entries(count: int) -> list[Any]:
    return [
        Enter(
            now_ns=place + 1, sequence=place + 1, event_id=f"event-{place}", trade_id=f"trade-{place}",
            client_order_id=f"entry-{place}", instrument=Instrument(f"S{place}", 4, 0), side=Side.BUY, qty=10,
            order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
        )
        for place in range(count)
    ]  # fmt: skip


def test_answer_and_view_own_their_bytes(desk: Any) -> None:
    kept = desk.enter(qty=10)
    before, slot, account = repr(kept), desk.slot(), desk.account
    desk.fill("entry", "e1", Side.BUY, 10, 1000)
    desk.kernel.close()
    assert repr(kept) == before
    assert (slot.qty, slot.stage, account.event_sequence) == (0, Stage.ENTRY_REQUESTED, 1)
    assert kept.outcome.accepted is kept.accepted is True
    assert kept.outcome.code is kept.code is Code.OK
    assert (kept.event_count, len(kept.commands), len(kept.transitions)) == (2, 1, 1)


def test_results_are_equal_when_all_of_them_is() -> None:
    one, other = Kernel(Config("A", seed_capital=UNIT)), Kernel(Config("A", seed_capital=UNIT))
    first, second = entries(2)
    assert one.apply(first) == other.apply(first)
    assert one.apply(second) != other.apply(first)
    assert one.account() != other.account()
    assert one.apply(second) != "a result"


def test_batch_is_a_sequence_of_what_one_by_one_would_have_answered_K21() -> None:
    config = Config("A", slot_count=4, seed_capital=UNIT)
    values = entries(200)
    with Kernel(config) as single, Kernel(config) as batched:
        expected = [single.apply(value) for value in values]
        batch = batched.apply_batch(values)
        assert list(batch) == expected == batch
        assert (len(batch), batch[0], batch[199], batch[-1]) == (200, expected[0], expected[199], expected[199])
        assert batch[3:150:50] == expected[3:150:50]
        assert batch.accepted == [result.accepted for result in expected]
        assert batch.codes == [result.code for result in expected]
        assert batch.digests == []
        assert batch != "a batch"
        for place in (200, -201):
            with pytest.raises(IndexError):
                batch[place]


def test_batch_brings_the_digest_after_each_input_when_asked_K21() -> None:
    config = Config("A", slot_count=4, seed_capital=UNIT)
    values = entries(150)
    with Kernel(config) as single, Kernel(config) as batched:
        digests = []
        for value in values:
            single.apply(value)
            digests.append(single.digest())
        assert batched.apply_batch(values, digests=True).digests == digests


def test_empty_batch_is_empty(desk: Any) -> None:
    batch = desk.kernel.apply_batch([])
    assert (len(batch), list(batch), batch.codes, batch.digests) == (0, [], [], [])


def test_batch_on_a_closed_kernel_says_so(desk: Any) -> None:
    desk.kernel.close()
    for call in (lambda: desk.kernel.apply_batch(entries(1)), lambda: desk.kernel.apply(entries(1)[0])):
        with pytest.raises(InvalidInput, match="closed"):
            call()


def test_two_hundred_and_fifty_six_slots_are_flattened_by_one_input_K02() -> None:
    config = Config("A", slot_count=256, seed_capital=10**9 * UNIT)
    with Kernel(config) as kernel:
        batch = kernel.apply_batch(entries(256))
        assert all(batch.accepted)
        assert [result.changed_slots for result in batch] == [(place,) for place in range(256)]
        for place in range(256):
            fill = Fill(
                now_ns=1000, event_id=f"fill-{place}", execution_id=f"e-{place}", client_order_id=f"entry-{place}",
                side=Side.BUY, qty=10, qty_scale=0, price=100, price_scale=4,
            )  # fmt: skip
            assert kernel.apply(fill).accepted
        result = kernel.apply(Flatten(now_ns=1001, event_id="flatten", client_order_id_root="out"))
        assert result.changed_slots == tuple(range(256))
        assert len(result.commands) == 256
        assert (result.commands[7].client_order_id, result.commands[255].client_order_id) == ("out-07", "out-255")
        slot_bytes, total_bytes = kernel.memory()
        assert 0 < slot_bytes <= 4096
        assert 256 * slot_bytes <= total_bytes


# --- what the library computes for Python ----------------------------------------------------------------------------


def test_conviction_and_venue_leverage_come_from_the_library_K05() -> None:
    assert [conviction_to_leverage(conviction, 10) for conviction in (0, UNIT // 2, 9 * UNIT, 99 * UNIT)] == [
        1,
        1,
        10,
        10,
    ]
    assert conviction_to_leverage(UNIT, 0) == 0
    assert conviction_of(15, 10) == 3 * UNIT // 2
    with pytest.raises(InvalidInput):
        conviction_of(15, 0)


def test_open_trade_shows_its_conviction_and_a_flat_one_none_K05(desk: Any) -> None:
    desk.enter(qty=10)
    assert desk.slot().conviction is None
    desk.fill("entry", "e1", Side.BUY, 10, 10_000, fee=0)
    assert desk.slot().conviction == 10 * UNIT * UNIT // desk.account.capital


def test_settled_fees_calibrate_the_published_rate_K17(make_desk: Any) -> None:
    desk = make_desk(Config("A", taker_fee_rate=50_000, seed_capital=1_000_000 * UNIT))
    assert desk.account.taker_fee.status is FeeStatus.UNCALIBRATED
    assert desk.account.maker_fee.status is FeeStatus.NONE
    desk.enter(qty=1000)
    desk.fill("entry", "e1", Side.BUY, 1000, 10_000, fee=UNIT // 2, liquidity=Liquidity.TAKER)
    taker = desk.account.taker_fee
    assert (taker.rate, taker.ratio, taker.deviation) == (50_000, UNIT, 0)
    assert (taker.sample_count, taker.refused_count, taker.status) == (1, 0, FeeStatus.OK)


def test_correction_may_state_the_liquidity_K17(desk: Any) -> None:
    desk.enter(qty=10)
    desk.fill("entry", "e1", Side.BUY, 10, 1000)
    corrected = desk.do(
        Correction, execution_id="e1", qty=9, qty_scale=0, price=1000, price_scale=4, liquidity=Liquidity.MAKER
    )
    assert corrected.accepted
    assert desk.slot().qty == 9


def test_foreign_activity_is_a_cause_and_no_position_X11_K14(desk: Any) -> None:
    result = desk.do(Foreign, symbol="FET-USDT", amount=-5 * UNIT, fee=UNIT)
    assert [anomaly.code for anomaly in result.anomalies] == [Code.FOREIGN_ACTIVITY]
    assert (desk.account.foreign, desk.account.foreign_count, desk.account.open_slot_count) == (-6 * UNIT, 1, 0)
    assert desk.account.ledger_cause is LedgerCause.NONE


def test_refusal_and_anomaly_speak_in_words(desk: Any) -> None:
    result = desk.do(OrderReport, fact=Fact.ACKNOWLEDGED, client_order_id="nobody")
    assert isinstance(result, Result)
    assert result.outcome.rule == bindings.code_text(Code.UNRESOLVED_SLOT)
    desk.kernel.apply(Tick(now_ns=9))
    late = desk.kernel.apply(Tick(now_ns=8)).outcome
    assert (late.code, late.field, late.value) == (Code.TIME_REVERSED, "now_ns", 8)
