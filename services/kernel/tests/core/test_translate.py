"""Contract messages to libkernel's inputs: exact, and every refusal names field, value and rule."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import INT64_MAX, Number
from kestrel_kernel.core import scaling, translate

STAMP = translate.Stamp(now_ns=1_000, input_sequence=42, journal_sequence=7)


def translated(message: inbox_pb2.InboxMessage, configuration: state_pb2.AccountConfiguration) -> Any:
    return translate.translate(message, message.WhichOneof("body") or "", configuration, STAMP).value


def refusal(message: inbox_pb2.InboxMessage, configuration: state_pb2.AccountConfiguration) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        translated(message, configuration)
    return caught.value


def test_an_entry_is_rescaled_exactly_to_its_instrument(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    intent = messages.intent(order_type=common_pb2.ORDER_TYPE_LIMIT, price=Number.parse("150.2").message())
    value = translated(messages.entry(intent), configuration)
    assert isinstance(value, lk.Enter)
    assert (value.qty, value.price, value.stop_price, value.reference_price) == (100, 1_502_000, 1_400_000, 1_502_500)
    assert (value.side, value.order_type, value.time_in_force) == (lk.Side.BUY, lk.OrderType.LIMIT, lk.TimeInForce.DAY)
    assert value.instrument == lk.Instrument("AAPL", 4, 0, 100, 1, 1, 1, "USD")
    assert (value.now_ns, value.sequence) == (1_000, 7)
    assert value.trade_id == "trade-1"


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("intent_id", "no spaces please", "intent.intent_id"),
        ("intent_id", "", "intent.intent_id"),
        ("account", "OTHER", "intent.account"),
        ("venue", "ibkr", "intent.venue"),
        ("environment", common_pb2.ENVIRONMENT_LIVE, "intent.environment"),
        ("side", common_pb2.SIDE_UNSPECIFIED, "intent.side"),
        ("side", 77, "intent.side"),
        ("order_type", 0, "intent.order_type"),
        ("time_in_force", 0, "intent.time_in_force"),
        ("attempt", 0, "intent.attempt"),
        ("strategy", "x" * 65, "intent.strategy"),
        ("order_qty", Number.parse("1.5").message(), "intent.order_qty"),
        ("order_qty", common_pb2.Decimal(units=1, scale=-1), "intent.order_qty.scale"),
        ("price", Number.parse("1.23456").message(), "intent.price"),
        ("price", common_pb2.Decimal(units=INT64_MAX, scale=0), "intent.price"),
    ],
)
def test_a_malformed_intent_is_refused_by_field_value_and_rule_K20(
    messages: Any, configuration: state_pb2.AccountConfiguration, field: str, value: object, named: str
) -> None:
    error = refusal(messages.entry(messages.intent(**{field: value})), configuration)
    assert error.field == named
    assert error.rule


def test_a_number_too_large_for_its_scale_is_an_overflow(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    intent = messages.intent(price=common_pb2.Decimal(units=INT64_MAX, scale=0))
    assert refusal(messages.entry(intent), configuration).reason == "OVERFLOW"


@pytest.mark.parametrize("field", ["token", "exit_warrant", "expires_at_ns"])
def test_nothing_is_entered_without_permission_a_way_out_and_an_end(
    messages: Any, configuration: state_pb2.AccountConfiguration, field: str
) -> None:
    message = messages.entry()
    message.entry.ClearField(field)
    assert refusal(message, configuration).field == f"entry.{field}"


def test_an_intent_without_a_quantity_is_refused(messages: Any, configuration: state_pb2.AccountConfiguration) -> None:
    intent = messages.intent()
    intent.ClearField("order_qty")
    error = refusal(messages.entry(intent), configuration)
    assert (error.field, error.rule) == ("intent.order_qty", "is required")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"symbol": "aapl"}, "intent.instrument.symbol"),
        ({"currency": "EUR"}, "intent.instrument.currency"),
        ({"price_scale": 12}, "intent.instrument.price_scale"),
        ({"qty_scale": -1}, "intent.instrument.qty_scale"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(
    messages: Any, configuration: state_pb2.AccountConfiguration, change: dict[str, Any], named: str
) -> None:
    intent = messages.intent()
    for name, value in change.items():
        setattr(intent.instrument, name, value)
    assert refusal(messages.entry(intent), configuration).field == named


def test_a_fill_keeps_its_own_scale_and_a_missing_price_stays_missing_K08(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    value = translated(messages.fill("E-1", "order", common_pb2.SIDE_SELL, "10", "150.123456", "0.5"), configuration)
    assert (value.price, value.price_scale, value.qty, value.fee) == (150_123_456, 6, 10, 50_000_000)
    value = translated(messages.fill("E-1", "order", common_pb2.SIDE_SELL, "10", ""), configuration)
    assert (value.price, value.fee) == (None, None)


def test_a_fee_finer_than_we_keep_is_rounded_against_us(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    paid = messages.fill("E-1", "order", common_pb2.SIDE_BUY, "1", "10", "0.0000000001")
    rebate = messages.fill("E-1", "order", common_pb2.SIDE_BUY, "1", "10", "-0.0000000019")
    assert translated(paid, configuration).fee == 1
    assert translated(rebate, configuration).fee == 0


@pytest.mark.parametrize("fact", [value for value in venue_pb2.OrderFact.values() if value])
def test_every_order_fact_has_its_libkernel_twin(
    messages: Any, configuration: state_pb2.AccountConfiguration, fact: venue_pb2.OrderFact.ValueType
) -> None:
    value = translated(messages.order("r-1", fact, "order-1"), configuration)
    assert "ORDER_FACT_" + value.fact.name == venue_pb2.OrderFact.Name(fact)


def test_a_report_that_traded_is_never_taken_from_outside(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    message = messages.order("r-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, "order-1")
    message.venue.order.fact = 9  # type: ignore[assignment]
    assert refusal(message, configuration).field == "order.fact"


@pytest.mark.parametrize("action", [value for value in inbox_pb2.ControlAction.values() if value])
def test_every_control_action_is_understood(
    messages: Any, configuration: state_pb2.AccountConfiguration, action: inbox_pb2.ControlAction.ValueType
) -> None:
    message = messages.control(action, "c-1", client_order_id="order-1")
    assert translated(message, configuration).event_id


def test_flatten_makes_ids_short_enough_for_a_slot_suffix(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    value = translated(messages.control(inbox_pb2.CONTROL_ACTION_FLATTEN, "c-1"), configuration)
    assert len(value.client_order_id_root) <= 60
    assert value.client_order_id_root.startswith("ks")


def test_a_correction_and_a_bust_are_told_apart(messages: Any, configuration: state_pb2.AccountConfiguration) -> None:
    bust = venue_pb2.FillBust(execution_id="E-1", client_order_id="order-1")
    assert isinstance(translated(messages.report("b-1", bust=bust), configuration), lk.Bust)
    bust.corrected.last_qty.CopyFrom(Number.parse("5").message())
    bust.corrected.last_price.CopyFrom(Number.parse("1.5").message())
    bust.corrected.liquidity = venue_pb2.LIQUIDITY_MAKER
    value = translated(messages.report("b-2", bust=bust), configuration)
    assert isinstance(value, lk.Correction)
    assert (value.qty, value.price, value.price_scale, value.liquidity) == (5, 15, 1, lk.Liquidity.MAKER)


def test_foreign_activity_is_told_with_what_is_known_of_it_X11(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    value = translated(messages.report("f-1", foreign=venue_pb2.ForeignActivity(symbol="AAPL")), configuration)
    assert value == lk.Foreign(now_ns=STAMP.now_ns, sequence=STAMP.journal_sequence, event_id="f-1", symbol="AAPL")
    foreign = venue_pb2.ForeignActivity(
        amount=Number.parse("-1.5").message(), fee=Number.parse("0.000000001").message()
    )
    value = translated(messages.report("f-2", foreign=foreign), configuration)
    assert (value.symbol, value.amount, value.fee) == ("", -150_000_000, 1)


def test_exit_legs_reach_the_kernel_as_approved_K19(
    messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    value = translated(messages.entry(messages.intent(exit_leg_bps=[2500, 5000])), configuration)
    assert value.exit_leg_bps == (2500, 5000)
    for legs in ([0], [10_001], [1] * 9):
        found = refusal(messages.entry(messages.intent(exit_leg_bps=legs)), configuration)
        assert found.field == "intent.exit_leg_bps"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"balance": venue_pb2.Balance(currency="USD")}, "balance.wallet"),
        ({"balance": venue_pb2.Balance(wallet=Number(1, 0).message(), currency="EUR")}, "balance.currency"),
        ({"balance": venue_pb2.Balance(wallet=Number(1, 0).message(), venue_sequence=-1)}, "balance.venue_sequence"),
        ({"settlement": venue_pb2.Settlement(execution_id="E-1")}, "settlement.realized_pnl"),
        ({"mark": venue_pb2.Mark(symbol="AAPL")}, "mark.price"),
        ({"mark": venue_pb2.Mark(symbol="a b", price=Number(1, 0).message())}, "mark.symbol"),
        ({"funding": venue_pb2.Funding(symbol="AAPL")}, "funding.amount"),
        ({"foreign": venue_pb2.ForeignActivity(symbol="a b")}, "foreign.symbol"),
        ({"foreign": venue_pb2.ForeignActivity(amount=Number(1, 9).message())}, "foreign.amount"),
        ({"fill": venue_pb2.Fill(execution_id="E-1", side=common_pb2.SIDE_BUY)}, "fill.last_qty"),
        ({"order": venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_CANCELED)}, "order.client_order_id"),
        ({}, "venue.body"),
    ],
)
def test_a_malformed_report_names_its_field(
    messages: Any, configuration: state_pb2.AccountConfiguration, body: dict[str, Any], named: str
) -> None:
    assert refusal(messages.report("r-1", **body), configuration).field == named


@pytest.mark.parametrize("report_id", ["", "a b", "x" * 65, "é"])
def test_a_report_needs_an_id_of_its_own(
    messages: Any, configuration: state_pb2.AccountConfiguration, report_id: str
) -> None:
    assert refusal(messages.mark(report_id, "1"), configuration).field == "venue.report_id"


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 22), st.integers(0, 8))
def test_rescaling_is_exact_or_an_error(units: int, scale: int, target: int) -> None:
    value = common_pb2.Decimal(units=units, scale=scale)
    try:
        result = scaling.units_at("field", value, target)
    except InvalidRequest:
        return
    assert Number(result, target) == Number(units, scale)


@given(st.binary(max_size=200))
def test_no_bytes_can_do_more_than_be_refused_P11(data: bytes) -> None:
    configuration = state_pb2.AccountConfiguration(account="A", venue="v", currency="USD")
    with contextlib.suppress(InvalidRequest):
        translate.trade_id_of(data)
        message = translate.parse(data)
        translate.translate(message, message.WhichOneof("body") or "", configuration, STAMP)
