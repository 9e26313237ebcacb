"""libkernel's lists and the contracts' enums are the same lists."""

from __future__ import annotations

from typing import Any

import pytest

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_kernel.core import views

PAIRS = [
    (lk.Stage, state_pb2.SlotStage, "SLOT_STAGE_"),
    (lk.Lifecycle, state_pb2.Lifecycle, "LIFECYCLE_"),
    (lk.PnlSource, state_pb2.PnlSource, "PNL_SOURCE_"),
    (lk.CapitalSource, state_pb2.CapitalSource, "CAPITAL_SOURCE_"),
    (lk.LedgerStatus, state_pb2.LedgerStatus, "LEDGER_STATUS_"),
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
