"""One partition: what an input becomes in the journal."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, InvariantBroken
from kestrel_domain.numbers import Number
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, decode_snapshot, encode_snapshot, reason_to_park

BUY, SELL = common_pb2.SIDE_BUY, common_pb2.SIDE_SELL
SECOND_NS = 1_000_000_000


def number(message: common_pb2.Decimal) -> Number:
    return Number.of(message)


def opened(desk: Any, messages: Any, qty: str = "100", price: str = "150.30") -> str:
    """Enter and fill trade-1; its entry's client order id."""
    order_id: str = messages.entry_order_id()
    desk.put(messages.entry())
    desk.put(messages.order("sub-1", venue_pb2.ORDER_FACT_SUBMITTING, order_id))
    desk.put(messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, order_id, "V-1"))
    desk.put(messages.fill("E-1", order_id, BUY, qty, price, "7.515"))
    return order_id


def test_an_entry_becomes_one_command_with_token_stored_bytes_and_absolute_expiry(desk: Any, messages: Any) -> None:
    message = messages.entry()
    entry = desk.put(message)
    assert entry.outcome.accepted
    assert entry.outcome.code == "OK"
    (command,) = entry.commands
    assert command.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY
    assert command.client_order_id == messages.entry_order_id()
    assert command.trade_id == "trade-1"
    assert (command.account, command.venue, command.strategy) == ("PAPER-1", "paper", "momentum")
    assert command.environment == common_pb2.ENVIRONMENT_PAPER
    assert command.instrument == messages.intent().instrument
    assert command.side == BUY
    assert number(command.order_qty) == Number(100, 0)
    assert command.token == message.entry.token
    assert command.intent == message.entry.intent
    assert command.expires_at_ns == message.entry.expires_at_ns
    assert command.exit_warrant == ""
    assert [each.to_stage for each in entry.transitions][-1] == state_pb2.SLOT_STAGE_ENTRY_REQUESTED
    assert entry.traceparent == messages.trace


def test_a_trade_goes_from_entry_to_flat_and_every_figure_is_in_the_journal_K03_K23(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    exit_entry = desk.put(messages.exit())
    (command,) = exit_entry.commands
    assert command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
    assert command.client_order_id == messages.exit_order_id("trade-1", desk.sequence)
    assert command.exit_warrant == "v4.public.warrant-of-trade-1"
    assert number(command.open_qty) == Number(100, 0)
    assert command.side == SELL
    assert command.expires_at_ns == 0
    assert command.token == ""
    assert command.reason == "target"
    desk.put(messages.order("ack-2", venue_pb2.ORDER_FACT_ACKNOWLEDGED, command.client_order_id, "V-2"))
    last = desk.put(messages.fill("E-2", command.client_order_id, SELL, "100", "151.80", "7.59"))
    (fill,) = last.fills
    assert fill.is_exit
    assert number(fill.realized_pnl) == Number(150, 0)
    assert number(last.account_after.realized_pnl) == Number(150, 0)
    assert number(last.account_after.fees) == Number(15105, 3)
    assert any(each.to_lifecycle == state_pb2.LIFECYCLE_CLOSED for each in last.transitions)
    assert last.account_after.open_slot_count == 0


def test_every_entry_of_a_trade_carries_the_trace_of_its_beginning(desk: Any, messages: Any) -> None:
    order_id = messages.entry_order_id()
    desk.put(messages.entry())
    sequence = desk.sequence + 3
    other = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01"
    report = messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, order_id, "V-1").SerializeToString()
    step = desk.partition.apply("inbox.0.PAPER-1.venue", sequence, desk.now_ns, report, other)
    assert step.entry.traceparent == messages.trace


def test_a_bracket_becomes_three_commands_of_one_group_under_the_entry_s_token_T01(desk: Any, messages: Any) -> None:
    order_id = messages.entry_order_id()
    entry = desk.put(messages.entry(messages.intent(bracket=True)))
    submitted, stop, target = entry.commands
    assert submitted.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY
    assert stop.kind == target.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE
    assert [each.client_order_id for each in entry.commands] == [order_id, order_id + "-S", order_id + "-T"]
    assert {each.group for each in entry.commands} == {order_id}
    assert [(each.token, each.intent, each.exit_warrant) for each in (stop, target)] == [("", b"", "")] * 2
    assert (stop.order_type, number(stop.price)) == (common_pb2.ORDER_TYPE_STOP, Number(140, 0))
    assert (target.order_type, number(target.price)) == (common_pb2.ORDER_TYPE_LIMIT, Number(170, 0))
    assert {(each.side, each.time_in_force) for each in (stop, target)} == {(SELL, common_pb2.TIME_IN_FORCE_GTC)}
    assert {each.expires_at_ns for each in (stop, target)} == {0}


def test_an_exit_of_a_bracket_joins_its_group_and_carries_the_warrant_T01(desk: Any, messages: Any) -> None:
    order_id = messages.entry_order_id()
    desk.put(messages.entry(messages.intent(bracket=True)))
    desk.put(messages.fill("E-1", order_id, BUY, "100", "150.30", "7.515"))
    left, stop, target = desk.put(messages.exit(qty="30")).commands
    assert left.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
    assert number(left.order_qty) == number(left.open_qty) == Number(100, 0)
    assert (left.group, left.exit_warrant) == (order_id, "v4.public.warrant-of-trade-1")
    assert [each.client_order_id for each in (stop, target)] == [order_id + "-S", order_id + "-T"]
    assert {each.kind for each in (stop, target)} == {journal_pb2.COMMAND_KIND_CANCEL}
    assert {each.group for each in (stop, target)} == {""}


def test_orders_of_a_trade_that_is_no_bracket_have_no_group_T01(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    assert {each.group for each in desk.put(messages.exit()).commands} == {""}


def test_a_bracket_that_could_never_be_right_is_refused_with_its_field_T01_K20(desk: Any, messages: Any) -> None:
    wrong = messages.intent(bracket=True, stop_price=Number(171, 0).message())
    entry = desk.put(messages.entry(wrong))
    assert (entry.outcome.code, entry.outcome.refusal.field) == ("INVALID_INTENT", "target_price")
    assert not entry.commands


def test_a_stop_s_fill_is_an_exit_fill_and_the_target_is_taken_back_T01(desk: Any, messages: Any) -> None:
    order_id = messages.entry_order_id()
    desk.put(messages.entry(messages.intent(bracket=True)))
    desk.put(messages.fill("E-1", order_id, BUY, "100", "150.30", "7.515"))
    entry = desk.put(messages.fill("E-2", order_id + "-S", SELL, "100", "139.90", "7"))
    (fill,) = entry.fills
    assert fill.is_exit
    assert number(fill.realized_pnl) == Number(-1040, 0)
    (command,) = entry.commands
    assert (command.kind, command.client_order_id) == (journal_pb2.COMMAND_KIND_CANCEL, order_id + "-T")
    assert entry.slots[0].stage == state_pb2.SLOT_STAGE_POSITION_CLOSED
    last = desk.put(messages.order("c-1", venue_pb2.ORDER_FACT_CANCELED, order_id + "-T"))
    assert last.slots[0].stage == state_pb2.SLOT_STAGE_TERMINAL_WRITTEN


def test_an_entry_past_its_expiry_is_refused_and_sends_nothing(desk: Any, messages: Any) -> None:
    entry = desk.put(messages.entry(expires_at_ns=desk.now_ns - 1))
    assert not entry.outcome.accepted
    assert entry.outcome.code == "ENTRY_EXPIRED"
    assert not entry.commands
    assert reason_to_park(entry) is None


def test_the_same_event_again_changes_nothing_and_says_so_K10(desk: Any, messages: Any) -> None:
    order_id = opened(desk, messages)
    before = desk.partition.digest("PAPER-1")
    again = desk.put(messages.fill("E-1", order_id, BUY, "100", "150.30", "7.515"))
    assert again.outcome.code == "DUPLICATE_EVENT"
    assert desk.partition.digest("PAPER-1") == before == again.state_digest
    repeated_entry = desk.put(messages.entry())
    assert repeated_entry.outcome.code == "DUPLICATE_EVENT"
    assert not repeated_entry.commands


def test_a_fill_that_matches_no_order_mutates_nothing_and_is_parked_K11(desk: Any, messages: Any) -> None:
    before = desk.partition.digest("PAPER-1")
    entry = desk.put(messages.fill("E-9", "somebody-else", BUY, "5", "10.00"))
    assert entry.outcome.code == "UNRESOLVED_SLOT"
    assert entry.outcome.severity == common_pb2.SEVERITY_WARNING
    assert entry.state_digest == before
    error = reason_to_park(entry)
    assert error is not None
    assert error.reason == "UNRESOLVED_SLOT"


def test_a_mark_for_a_symbol_without_a_position_is_no_reason_to_park(desk: Any, messages: Any) -> None:
    assert reason_to_park(desk.put(messages.mark("m-1", "10.00", "ZZZ"))) is None


@pytest.mark.parametrize(
    ("subject", "data", "field"),
    [
        ("inbox.0.PAPER-1.entry", b"\xff\xff\xff", "message"),
        ("inbox.0.PAPER-1.entry", b"", "body"),
        ("inbox.0.PAPER-1.nowhere", b"", "subject"),
        ("inbox.0.PAPER-1", b"", "subject"),
        ("inbox.0.NOBODY.tick", b"", "account"),
        ("inbox.1.PAPER-1.tick", b"", "subject"),
        ("inbox.0.PAPER-1.tick", b"x" * 300_000, "message"),
    ],
)
def test_garbage_is_parked_with_its_reason_and_nothing_behind_it_waits_P11(
    desk: Any, messages: Any, subject: str, data: bytes, field: str
) -> None:
    before = desk.partition.digest("PAPER-1")
    desk.sequence += 1
    step = desk.partition.apply(subject, desk.sequence, desk.now_ns, data, "not a traceparent")
    assert step.entry.outcome.code == "PARKED"
    assert not step.entry.outcome.accepted
    assert step.entry.outcome.refusal.field == field
    assert step.entry.outcome.refusal.rule
    error = reason_to_park(step.entry)
    assert error is not None
    assert error.field == field
    assert desk.partition.digest("PAPER-1") == before
    assert desk.partition.inbox_sequence == desk.sequence
    assert len(step.data) < 262_144 + 4_096
    assert step.publish().subject.startswith("journal.0.")
    assert desk.put(messages.entry()).outcome.accepted


def test_a_message_at_the_wrong_door_is_parked_P11(desk: Any, messages: Any) -> None:
    entry = desk.put(messages.entry(), door="exit")
    assert entry.outcome.code == "PARKED"
    assert entry.outcome.refusal.reason == "WRONG_DOOR"
    assert entry.outcome.trade_id == "trade-1"


def test_a_bad_order_in_an_entry_names_the_field_the_value_and_the_rule_K20(desk: Any, messages: Any) -> None:
    entry = desk.put(messages.entry(messages.intent(leverage=9)))
    assert not entry.outcome.accepted
    assert entry.outcome.code == "INVALID_INTENT"
    assert entry.outcome.refusal.field == "leverage"
    assert entry.outcome.refusal.value == "9"


def test_an_exit_is_never_suppressed_by_a_malformed_size_K19_K20(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    request = messages.exit()
    request.exit.order_qty.CopyFrom(common_pb2.Decimal(units=-5, scale=99))
    request.exit.order_type = common_pb2.ORDER_TYPE_LIMIT
    entry = desk.put(request)
    assert entry.outcome.accepted
    assert number(entry.commands[0].order_qty) == Number(100, 0)
    assert entry.commands[0].order_type == common_pb2.ORDER_TYPE_MARKET
    assert "EXIT_PRICE_REPAIRED" in [each.code for each in entry.anomalies]


def test_flatten_leaves_every_trade_by_its_own_warrant(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    second = messages.intent("trade-2")
    second.instrument.symbol = "MSFT"
    desk.put(messages.entry(second))
    desk.put(messages.fill("E-2", messages.entry_order_id("trade-2"), BUY, "50", "150.00"))
    entry = desk.put(messages.control(inbox_pb2.CONTROL_ACTION_FLATTEN, "kill-1", reason="kill"))
    exits = [each for each in entry.commands if each.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT]
    assert {each.trade_id: each.exit_warrant for each in exits} == {
        "trade-1": "v4.public.warrant-of-trade-1",
        "trade-2": "v4.public.warrant-of-trade-2",
    }
    assert len({each.client_order_id for each in exits}) == 2


def test_frozen_entries_are_refused_and_exits_pass(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    desk.put(messages.control(inbox_pb2.CONTROL_ACTION_FREEZE_ENTRIES, "freeze-1"))
    assert desk.put(messages.entry(messages.intent("trade-2"))).outcome.code == "ENTRY_FROZEN"
    assert desk.put(messages.exit()).outcome.accepted
    desk.put(messages.control(inbox_pb2.CONTROL_ACTION_UNFREEZE_ENTRIES, "unfreeze-1"))
    third = messages.intent("trade-3")
    third.instrument.symbol = "MSFT"
    assert desk.put(messages.entry(third)).outcome.accepted


def test_an_unanswered_entry_stalls_after_sixty_seconds_and_alerts_INV_POSITION_SUBMITTED_TTL_1_T09(
    desk: Any, messages: Any
) -> None:
    order_id = messages.entry_order_id()
    desk.put(messages.entry())
    desk.put(messages.order("sub-1", venue_pb2.ORDER_FACT_SUBMITTING, order_id))
    deadline, account = desk.partition.next_deadline_ns()
    assert (deadline, account) == (desk.now_ns + 60 * SECOND_NS, "PAPER-1")
    entry = desk.put(messages.tick(), after_ns=60 * SECOND_NS)
    assert entry.transitions[-1].to_lifecycle == state_pb2.LIFECYCLE_STALLED
    assert not entry.commands
    reasons = [each.subject for each in alerts.of_entry(entry, desk.partition.journal_sequence)]
    assert "alert.critical.kernel" in reasons
    late = desk.put(messages.fill("E-1", order_id, BUY, "100", "150.00"))
    assert late.transitions[-1].to_lifecycle in (state_pb2.LIFECYCLE_FILLED, state_pb2.LIFECYCLE_MANAGED)


def test_a_rejection_is_final_and_alerts_with_the_venues_reason_T10(desk: Any, messages: Any) -> None:
    desk.put(messages.entry())
    desk.put(messages.order("sub-1", venue_pb2.ORDER_FACT_SUBMITTING, messages.entry_order_id()))
    entry = desk.put(messages.order("rej-1", venue_pb2.ORDER_FACT_REJECTED, messages.entry_order_id()))
    assert state_pb2.LIFECYCLE_REJECTED in [each.to_lifecycle for each in entry.transitions]
    assert not entry.commands
    published = alerts.of_entry(entry, desk.partition.journal_sequence)
    assert published
    assert any(b"NO_MARGIN" in each.body for each in published)


def test_alerts_of_an_entry_are_the_same_however_often_they_are_made(desk: Any, messages: Any) -> None:
    desk.put(messages.entry())
    desk.put(messages.order("sub-1", venue_pb2.ORDER_FACT_SUBMITTING, messages.entry_order_id()))
    desk.put(messages.tick(), after_ns=61 * SECOND_NS)
    for step in desk.steps:
        assert alerts.of_entry(step.entry, step.journal_sequence) == alerts.of_entry(step.entry, step.journal_sequence)


def test_a_price_less_exit_fill_books_zero_and_flags_K08(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    exit_id = desk.put(messages.exit()).commands[0].client_order_id
    entry = desk.put(messages.fill("E-2", exit_id, SELL, "40", ""))
    assert number(entry.fills[0].realized_pnl) == Number(0, 0)
    assert not entry.fills[0].HasField("last_price")
    assert entry.slots[0].realized_skipped_no_price
    settled = venue_pb2.Settlement(
        execution_id="E-2", client_order_id=exit_id, symbol="AAPL", realized_pnl=Number.parse("12.5").message()
    )
    repaired = desk.put(messages.report("set-1", settlement=settled))
    assert number(repaired.settlements[0].realized_pnl) == Number(125, 1)
    assert not repaired.slots[0].realized_skipped_no_price


def test_a_busted_fill_is_booked_back_and_flagged(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    exit_id = desk.put(messages.exit()).commands[0].client_order_id
    booked = desk.put(messages.fill("E-2", exit_id, SELL, "40", "151.30", "1.5")).fills[0]
    bust = venue_pb2.FillBust(execution_id="E-2", client_order_id=exit_id)
    entry = desk.put(messages.report("bust-1", bust=bust))
    (back,) = entry.fills
    assert back.is_busted
    assert number(back.last_qty) == number(booked.last_qty)
    assert number(back.realized_pnl) == -number(booked.realized_pnl) == Number(-40, 0)
    assert number(entry.slots[0].qty) == Number(100, 0)
    assert entry.anomalies[0].code == "FILL_BUSTED"
    assert alerts.of_entry(entry, desk.partition.journal_sequence)


def test_a_fee_in_another_currency_does_not_lose_the_fill(desk: Any, messages: Any) -> None:
    order_id = messages.entry_order_id()
    desk.put(messages.entry())
    message = messages.fill("E-1", order_id, BUY, "100", "150.30", "7.5")
    message.venue.fill.fee_currency = "BNB"
    entry = desk.put(message)
    assert entry.outcome.accepted
    assert number(entry.slots[0].qty) == Number(100, 0)
    assert "FEE_CURRENCY" in [each.code for each in entry.anomalies]
    assert entry.fills[0].fee_is_predicted


def test_a_balance_anchors_capital_K13(desk: Any, messages: Any) -> None:
    assert desk.partition.account("PAPER-1").capital_source == state_pb2.CAPITAL_SOURCE_SEED
    entry = desk.put(messages.balance("b-1", "1000000.00"))
    assert entry.account_after.capital_source == state_pb2.CAPITAL_SOURCE_E_ANCHORED
    assert number(entry.account_after.wallet) == Number(1_000_000, 0)


def test_adoption_takes_the_venues_position_with_a_way_out_X12(desk: Any, messages: Any) -> None:
    adoption = inbox_pb2.Adoption(
        adoption_id="adopted-1",
        account="PAPER-1",
        venue="paper",
        instrument=messages.intent().instrument,
        qty=Number.parse("-30").message(),
        average_price=Number.parse("150.00").message(),
        approved_by=common_pb2.Actor(id="risk", kind="operator"),
        exit_warrant="warrant-adopted",
        strategy="momentum",
    )
    entry = desk.put(inbox_pb2.InboxMessage(adopt=adoption))
    assert entry.outcome.accepted
    assert number(entry.slots[0].qty) == Number(-30, 0)
    command = desk.put(messages.exit("adopted-1")).commands[0]
    assert (command.side, command.exit_warrant) == (BUY, "warrant-adopted")
    assert desk.put(messages.control(inbox_pb2.CONTROL_ACTION_FLATTEN, "f-1")).outcome.code != "PARKED"


def test_time_never_goes_back(desk: Any, messages: Any) -> None:
    """The stamps of another server, elected meanwhile, may lie before those of the last one."""
    desk.put(messages.entry())
    before_ns = desk.partition._accounts["PAPER-1"].now_ns
    entry = desk.put(
        messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, messages.entry_order_id()), after_ns=-9_000_000
    )
    assert entry.outcome.accepted
    assert entry.input_time_ns < before_ns == desk.partition._accounts["PAPER-1"].now_ns


def test_the_chain_holds_over_every_entry(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    desk.put(b"\xff", door="venue")
    previous = b""
    for position, step in enumerate(desk.steps, start=1):
        assert step.journal_sequence == position
        assert step.entry.previous_hash == previous
        previous = hashlib.sha256(step.data).digest()
    assert desk.partition.journal_hash == previous


def test_an_input_of_the_past_is_a_broken_invariant(desk: Any, messages: Any) -> None:
    desk.put(messages.entry())
    with pytest.raises(InvariantBroken):
        desk.partition.apply("inbox.0.PAPER-1.tick", desk.sequence, desk.now_ns, b"")


def test_an_account_keeps_the_figures_it_began_with(desk: Any, configuration: state_pb2.AccountConfiguration) -> None:
    changed = state_pb2.AccountConfiguration()
    changed.CopyFrom(configuration)
    changed.max_slots = 7
    with pytest.raises(InvalidRequest) as caught:
        desk.partition.start_epoch(2, "test", [changed])
    assert caught.value.field == "accounts.PAPER-1.max_slots"
    assert desk.partition.epoch == 1


def test_an_epoch_that_is_not_newer_is_a_broken_invariant(desk: Any) -> None:
    with pytest.raises(InvariantBroken):
        desk.partition.start_epoch(1, "late", [])


def test_a_restored_partition_goes_on_as_if_nothing_had_happened_K21(desk: Any, messages: Any) -> None:
    opened(desk, messages)
    data = encode_snapshot(desk.partition.save())
    restored = Partition.restored(decode_snapshot(data), 1)
    message = messages.exit().SerializeToString()
    arguments = ("inbox.0.PAPER-1.exit", desk.sequence + 1, desk.now_ns + 1, message, "")
    assert restored.apply(*arguments).data == desk.partition.apply(*arguments).data


def test_only_trades_that_a_slot_still_shows_are_remembered(desk: Any, messages: Any) -> None:
    for number in range(1, 6):
        trade_id = f"trade-{number}"
        desk.put(messages.entry(messages.intent(trade_id)))
        desk.put(messages.order(f"r-{number}", venue_pb2.ORDER_FACT_REJECTED, messages.entry_order_id(trade_id)))
    shown = {slot.trade_id for slot in desk.partition.slots("PAPER-1")}
    saved = {trade.trade_id for trade in desk.partition.save().accounts[0].trades}
    assert saved == shown == {"trade-4", "trade-5"}


@pytest.mark.parametrize("position", [0, 31, 32, 200, -1])
def test_a_damaged_snapshot_is_refused_K21(desk: Any, messages: Any, position: int) -> None:
    opened(desk, messages)
    data = bytearray(encode_snapshot(desk.partition.save()))
    data[position] ^= 0x01
    with pytest.raises(InvalidRequest):
        decode_snapshot(bytes(data))


def test_a_snapshot_whose_kernel_was_tampered_with_is_refused_K21(desk: Any) -> None:
    snapshot = desk.partition.save()
    snapshot.accounts[0].libkernel = snapshot.accounts[0].libkernel[:-1] + b"\x00"
    with pytest.raises(InvalidRequest):
        Partition.restored(snapshot, 1)


def test_an_unreadable_intent_is_parked_with_the_field_P11(desk: Any) -> None:
    authorized = intent_pb2.AuthorizedIntent(intent=b"\xff\xff", token="t", exit_warrant="w", expires_at_ns=1)
    entry = desk.put(inbox_pb2.InboxMessage(entry=authorized))
    assert entry.outcome.code == "PARKED"
    assert entry.outcome.refusal.field == "entry.intent"
