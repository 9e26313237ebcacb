"""libkernel's lists and the contracts' enums are the same lists."""

from __future__ import annotations

from typing import Any

import kernel_views_twin as twins
import pytest

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_kernel.core import translate, views

BUY = common_pb2.SIDE_BUY

PAIRS = [
    (lk.Stage, state_pb2.SlotStage, "SLOT_STAGE_"),
    (lk.Lifecycle, state_pb2.Lifecycle, "LIFECYCLE_"),
    (lk.PnlSource, state_pb2.PnlSource, "PNL_SOURCE_"),
    (lk.CapitalSource, state_pb2.CapitalSource, "CAPITAL_SOURCE_"),
    (lk.LedgerStatus, state_pb2.LedgerStatus, "LEDGER_STATUS_"),
    (lk.FeeStatus, state_pb2.FeeStatus, "FEE_STATUS_"),
    (lk.LedgerCause, state_pb2.LedgerCause, "LEDGER_CAUSE_"),
    (lk.Side, common_pb2.Side, "SIDE_"),
    (lk.OrderType, common_pb2.OrderType, "ORDER_TYPE_"),
    (lk.TimeInForce, common_pb2.TimeInForce, "TIME_IN_FORCE_"),
    (lk.Severity, common_pb2.Severity, "SEVERITY_"),
    (lk.Liquidity, venue_pb2.Liquidity, "LIQUIDITY_"),
    (lk.CommandKind, journal_pb2.CommandKind, "COMMAND_KIND_"),
]


@pytest.mark.parametrize(("listed", "enum", "prefix"), PAIRS)
def test_values_mean_the_same_on_both_sides(listed: Any, enum: Any, prefix: str) -> None:
    ours = {int(member): prefix + ("UNSPECIFIED" if member == 0 else member.name) for member in listed}
    assert ours == {number: name for name, number in enum.items()}


def test_every_order_life_has_a_word_for_people() -> None:
    assert set(views._ORDER_LIVES) == set(lk.Life)


def test_a_slot_that_was_never_used_is_idle_and_shows_no_instrument(desk: Any) -> None:
    slot = desk.partition.slots("PAPER-1")[0]
    assert slot.stage == state_pb2.SLOT_STAGE_IDLE
    assert not slot.HasField("instrument")
    assert not slot.HasField("entry")


def test_an_account_without_a_balance_states_no_wallet(desk: Any) -> None:
    account = desk.partition.account("PAPER-1")
    assert not account.HasField("wallet")
    assert account.capital.units == 1_000_000 * 10**8


def test_what_c_writes_is_what_a_slow_twin_says_field_by_field_K15(desk: Any, messages: Any) -> None:
    kernel = desk.partition._accounts["PAPER-1"].kernel
    inputs = [
        messages.entry(),
        messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, messages.entry_order_id(), "V-1"),
        messages.fill("E-1", messages.entry_order_id(), BUY, "40", "150.25"),
        messages.fill("E-2", messages.entry_order_id(), BUY, "60", "150.25", "0.75"),
        messages.mark("m-1", "151.00"),
        messages.balance("b-1", "999990.50"),
        messages.exit("trade-1"),
        messages.entry(messages.intent("trade-2", exit_leg_bps=[2500, 5000])),
        messages.report("bust-1", bust=venue_pb2.FillBust(execution_id="E-2")),
        messages.control(inbox_pb2.CONTROL_ACTION_FREEZE_ENTRIES, "c-1"),
        messages.entry(messages.intent("trade-3")),
    ]
    fills = transitions = 0
    for message in inputs:
        entry = desk.put(message)
        for slot in entry.slots:
            assert slot == twins.slot(kernel.slot(slot.slot_index))
        assert entry.account_after == twins.account(kernel.account()) == desk.partition.account("PAPER-1")
        fills += len(entry.fills)
        transitions += len(entry.transitions)
    assert fills == 3
    assert transitions > 3
    assert entry.account_after.freeze_reason == "OPERATOR"
    assert entry.outcome.refusal.reason == entry.outcome.code


def test_an_answer_a_transition_and_a_fill_are_written_as_a_slow_twin_says_them(desk: Any, messages: Any) -> None:
    kernel = desk.partition._accounts["PAPER-1"].kernel
    stamp = translate.Stamp(desk.now_ns, 1, 2)
    configuration = desk.partition._accounts["PAPER-1"].configuration
    writer = views.aftermath(kernel)
    seen: set[str] = set()
    for message in (
        messages.entry(),
        messages.fill("E-1", messages.entry_order_id(), BUY, "100", "150.25"),
        messages.fill("E-2", "nobody", BUY, "1", "", "0.75"),
        messages.report("bust-1", bust=venue_pb2.FillBust(execution_id="E-1")),
        messages.exit("trade-1"),
        messages.tick(),
    ):
        door = message.WhichOneof("body")
        result = kernel.apply(translate.translate(message, door, configuration, stamp).value)
        assert journal_pb2.JournalEntry.FromString(views.outcome(result)).outcome == twins.outcome(result.outcome)
        written = journal_pb2.JournalEntry.FromString(writer.write()[0])
        assert list(written.transitions) == [twins.transition(each) for each in result.transitions]
        assert list(written.fills) == [twins.fill(each, "AAPL") for each in result.fills]
        seen.update(type(event).__name__ for event in result.events)
    assert {"Transition", "BookedFill"} <= seen


def test_every_kind_of_command_is_written_as_a_slow_twin_says_it_T01(desk: Any, messages: Any) -> None:
    kernel, order_id = desk.partition._accounts["PAPER-1"].kernel, messages.entry_order_id()
    configuration = desk.partition._accounts["PAPER-1"].configuration
    more = journal_pb2.VenueCommand(account="PAPER-1", token="t" * 5_000, intent=b"i", reason="because")
    seen: set[lk.CommandKind] = set()
    other, other_id = messages.intent("trade-2"), messages.entry_order_id("trade-2")
    other.instrument.symbol, other.order_type = "MSFT", common_pb2.ORDER_TYPE_LIMIT
    other.price.CopyFrom(Number.parse("149.50").message())
    messages_in_order = (
        messages.entry(messages.intent(bracket=True)),
        messages.fill("E-1", order_id, BUY, "100", "150.25"),
        messages.exit("trade-1"),
        messages.entry(other),
        messages.fill("E-2", other_id, BUY, "100", "149.50"),
        messages.exit("trade-2", "exit-2"),
    )
    messages_in_order[4].venue.fill.symbol = "MSFT"
    for number, message in enumerate(messages_in_order):
        stamp = translate.Stamp(desk.now_ns + number, number + 1, number + 2)
        result = kernel.apply(translate.translate(message, message.WhichOneof("body"), configuration, stamp).value)
        assert result.accepted, result
        for each in result.commands:
            slot = kernel.slot(each.slot_index)
            assert views.command(each, slot, more) == twins.command(each, slot, more)
            seen.add(each.kind)
    assert seen == set(lk.CommandKind) - {lk.CommandKind.NONE}


def test_both_orders_of_a_bracket_are_written_as_a_slow_twin_says_them_T01_K15(desk: Any, messages: Any) -> None:
    kernel, order_id = desk.partition._accounts["PAPER-1"].kernel, messages.entry_order_id()
    for message in (
        messages.entry(messages.intent(bracket=True)),
        messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, order_id + "-S", "V-2"),
        messages.fill("E-1", order_id, BUY, "100", "150.25"),
        messages.fill("E-2", order_id + "-T", common_pb2.SIDE_SELL, "40", "170.00"),
    ):
        entry = desk.put(message)
        assert entry.slots[0] == twins.slot(kernel.slot(entry.slots[0].slot_index))
    slot = entry.slots[0]
    assert slot.is_bracket
    assert (slot.stop.client_order_id, slot.stop.life) == (order_id + "-S", state_pb2.ORDER_LIFE_OPEN)
    assert (slot.stop.order_type, Number.of(slot.stop.price)) == (common_pb2.ORDER_TYPE_STOP, Number(140, 0))
    assert Number.of(slot.target.cum_qty) == Number(40, 0)
    assert Number.of(slot.target.average_price) == Number(170, 0)


def test_an_account_shows_how_its_fee_rates_hold_K17(desk: Any, messages: Any) -> None:
    desk.put(messages.entry())
    fill = messages.fill("E-1", messages.entry_order_id(), BUY, "100", "150.00")
    published = desk.partition._accounts["PAPER-1"].kernel.account().taker_fee.rate * 15_000
    fill.venue.fill.fee.CopyFrom(Number(published, 8).message())
    fill.venue.fill.liquidity = venue_pb2.LIQUIDITY_TAKER
    account = desk.put(fill).account_after
    assert (account.taker_fee.sample_count, account.taker_fee.refused_count) == (1, 0)
    assert account.taker_fee.status == state_pb2.FEE_STATUS_OK
    assert Number.of(account.taker_fee.ratio) == Number(1, 0)
    assert Number.of(account.taker_fee.deviation) == Number.zero()


def test_foreign_activity_is_counted_and_added_up_X11(desk: Any, messages: Any) -> None:
    foreign = venue_pb2.ForeignActivity(symbol="AAPL", amount=Number(-5, 0).message(), fee=Number(1, 0).message())
    entry = desk.put(messages.report("f-1", foreign=foreign))
    assert (entry.account_after.foreign_count, Number.of(entry.account_after.foreign)) == (1, Number(-6, 0))
    assert [anomaly.code for anomaly in entry.anomalies] == ["FOREIGN_ACTIVITY"]


def test_a_slot_shows_its_conviction_and_its_legs_K05_K19(desk: Any, messages: Any) -> None:
    entry = desk.put(messages.entry(messages.intent(exit_leg_bps=[2500, 5000])))
    assert list(entry.slots[0].exit_leg_bps) == [2500, 5000]
    assert not entry.slots[0].HasField("conviction")
    entry = desk.put(messages.fill("E-1", messages.entry_order_id(), BUY, "100", "150.00"))
    capital = Number.of(entry.account_after.capital).decimal()
    expected = 15_000 / capital
    assert abs(Number.of(entry.slots[0].conviction).decimal() - expected) < Number(1, 8).decimal()
