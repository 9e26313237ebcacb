"""Risk checks: each at its limit and beyond, with reason, value, limit and runbook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_domain.numbers import Number
from kestrel_governance.core import reasons, risk
from kestrel_governance.core.books import AccountBook
from kestrel_governance.core.money import Exact

Desk = Any
PASS, WARN, BLOCK, INDETERMINATE = risk.PASS, risk.WARN, risk.BLOCK, risk.INDETERMINATE


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


def book(desk: Desk, *slots: state_pb2.SlotSnapshot, **changes: str) -> AccountBook:
    made = AccountBook()
    made.learn(desk.healthy_entry(**changes))
    for index, slot in enumerate(slots):
        slot.slot_index = index
        made.slots[index] = slot
    return made


def slot(desk: Desk, symbol: str = "MSFT", qty: str = "-100", mark: str = "100") -> state_pb2.SlotSnapshot:
    instrument = desk.intent().instrument
    instrument.symbol = symbol
    return state_pb2.SlotSnapshot(trade_id="t", instrument=instrument, qty=decimal(qty), mark=decimal(mark), leverage=1)


def checked(desk: Desk, intent: Any = None, **facts: Any) -> dict[str, authority_pb2.RiskCheck]:
    base = risk.Facts(now_ns=desk.now_ns, flags=desk.flags, book=facts.pop("book", book(desk)), market=desk.bar())
    checks = risk.evaluate(intent or desk.intent(), replace(base, **facts), desk.limits)
    return {check.reason: check for check in checks}


def test_a_healthy_account_passes_every_check_and_all_are_reported(desk: Desk) -> None:
    checks = checked(desk)
    assert [name for name, check in checks.items() if check.verdict != PASS] == []
    assert len(checks) == 20


def test_kill_flags_that_are_read_meanwhile_count_as_those_that_were_there_before_T07(desk: Desk) -> None:
    symbol, other = authority_pb2.KILL_SCOPE_SYMBOL, desk.intent().instrument.symbol
    covering = authority_pb2.KillFlags(flags=[desk.flag(symbol, other)])
    elsewhere = authority_pb2.KillFlags(flags=[desk.flag(symbol, "MSFT")])
    for intent in (desk.intent(), desk.intent(order_qty=decimal("1000000")), desk.intent(stop_price=None)):
        facts = risk.Facts(now_ns=desk.now_ns, flags=None, book=book(desk), market=desk.bar())
        before = risk.evaluate(intent, facts, desk.limits)
        for flags in (None, authority_pb2.KillFlags(), elsewhere, covering):
            checks = risk.with_flags(before, intent, flags, desk.limits, desk.now_ns)
            assert checks == risk.evaluate(intent, replace(facts, flags=flags), desk.limits)
            assert (checks[0].verdict == PASS) is (flags is not None and flags is not covering)


def test_every_check_names_a_runbook_of_the_reasons_table_C18(desk: Desk) -> None:
    for name, check in checked(desk).items():
        assert check.runbook == reasons.of(name).runbook == f"docs/operations/{name.lower()}.md"
        assert check.message


def test_without_any_journal_nothing_that_needs_the_account_passes_C02(desk: Desk) -> None:
    checks = checked(desk, book=None)
    unknown = {name for name, check in checks.items() if check.verdict == INDETERMINATE}
    assert unknown >= {
        "ACCOUNT_FROZEN",
        "CAPITAL_UNKNOWN",
        "ORDER_NOTIONAL",
        "OPEN_POSITIONS",
        "SYMBOL_BUSY",
        "RISK_PER_TRADE",
        "BUYING_POWER",
        "TOTAL_EXPOSURE",
        "LEVERAGE",
        "SYMBOL_EXPOSURE",
    }
    assert risk.blocks(list(checks.values()))


@pytest.mark.parametrize(("newest", "verdict"), [(0, PASS), (1, PASS), (2, PASS), (3, BLOCK)])
def test_an_attempt_is_not_wanted_after_a_later_one_was_authorized(desk: Desk, newest: int, verdict: int) -> None:
    check = checked(desk, desk.intent(attempt=2), newest_authorized_attempt=newest)["ATTEMPT_SUPERSEDED"]
    assert check.verdict == verdict


@pytest.mark.parametrize(("quantity", "verdict"), [("100", PASS), ("160", WARN), ("200", WARN), ("201", BLOCK)])
def test_order_notional_warns_from_four_fifths_and_blocks_above_the_limit(
    desk: Desk, quantity: str, verdict: int
) -> None:
    desk.with_limits(order_notional_max=Number.parse("20000"))
    check = checked(desk, desk.intent(order_qty=decimal(quantity)))["ORDER_NOTIONAL"]
    assert check.verdict == verdict
    assert check.limit == "20000"


def test_order_notional_is_also_a_share_of_equity(desk: Desk) -> None:
    check = checked(desk, book=book(desk, equity="40000"))["ORDER_NOTIONAL"]
    assert (check.verdict, check.value, check.limit) == (BLOCK, "10000", "8000")


def test_a_market_order_counts_at_its_reference_plus_the_whole_collar(desk: Desk) -> None:
    intent = desk.intent(order_type=common_pb2.ORDER_TYPE_MARKET, price=None)
    assert checked(desk, intent)["ORDER_NOTIONAL"].value == "10500"


def test_a_limit_to_sell_counts_at_the_higher_reference(desk: Desk) -> None:
    intent = desk.intent(side=common_pb2.SIDE_SELL, price=decimal("99"), stop_price=decimal("105"))
    assert checked(desk, intent)["ORDER_NOTIONAL"].value == "10000"


@pytest.mark.parametrize(
    ("quantity", "reason", "verdict"),
    [("9", "MIN_SIZE", BLOCK), ("10", "MIN_SIZE", PASS), ("50", "MAX_SIZE", WARN), ("51", "MAX_SIZE", BLOCK)],
)
def test_sizes_have_a_least_and_a_most(desk: Desk, quantity: str, reason: str, verdict: int) -> None:
    desk.with_limits(order_qty_min=Number(10, 0), order_qty_max=Number(50, 0))
    assert checked(desk, desk.intent(order_qty=decimal(quantity)))[reason].verdict == verdict


@pytest.mark.parametrize(
    ("price", "verdict"), [("100", PASS), ("104", WARN), ("105", WARN), ("105.01", BLOCK), ("94.99", BLOCK)]
)
def test_a_limit_price_stays_within_the_collar_on_both_sides(desk: Desk, price: str, verdict: int) -> None:
    assert checked(desk, desk.intent(price=decimal(price)))["PRICE_COLLAR"].verdict == verdict


@pytest.mark.parametrize(
    ("close", "verdict"),
    [("100", PASS), ("86", WARN), ("83.34", WARN), ("83.33", BLOCK), ("125", WARN), ("126", BLOCK)],
)
def test_the_reference_price_is_held_against_the_market(desk: Desk, close: str, verdict: int) -> None:
    assert checked(desk, market=desk.bar(close))["REFERENCE_PRICE"].verdict == verdict


def test_a_reference_in_the_wrong_unit_cannot_make_an_order_look_small(desk: Desk) -> None:
    small = {name: decimal("1.00") for name in ("price", "reference_price")} | {"stop_price": decimal("0.95")}
    check = checked(desk, desk.intent(**small))["REFERENCE_PRICE"]
    assert (check.verdict, check.value) == (BLOCK, "0.99")


def test_an_instrument_that_is_not_the_venues_blocks(desk: Desk) -> None:
    assert checked(desk, desk.intent(instrument__multiplier=100))["REFERENCE_PRICE"].verdict == BLOCK


def test_without_a_market_price_paper_warns_and_live_cannot_tell(desk: Desk) -> None:
    assert checked(desk, market=None)["REFERENCE_PRICE"].verdict == WARN
    desk.with_limits(environment=common_pb2.ENVIRONMENT_LIVE)
    assert checked(desk, market=None)["REFERENCE_PRICE"].verdict == INDETERMINATE


def test_positions_and_working_entries_and_reservations_all_count_as_exposure_C02(desk: Desk) -> None:
    working = slot(desk, "MSFT", qty="40")
    working.trade_id = "t-1"
    working.entry.life = state_pb2.ORDER_LIFE_OPEN
    working.entry.order_qty.CopyFrom(decimal("100"))
    working.entry.cum_qty.CopyFrom(decimal("40"))
    working.entry.price.CopyFrom(decimal("110"))
    reserved = risk.Reservation("i-9", "GOOG", Exact(5000), 1)
    checks = checked(desk, book=book(desk, working, slot(desk, "IBM", qty="-30")), reservations=(reserved,))
    # 40 x 100 held, 60 x 110 working, 30 x 100 short counted as itself (C03), 5000 reserved, 10000 asked
    assert checks["TOTAL_EXPOSURE"].value == "28600"
    assert checks["LEVERAGE"].value == "0.0286"
    assert checks["SYMBOL_EXPOSURE"].value == "10000"
    assert checks["OPEN_POSITIONS"].value == "4"
    assert checks["BUYING_POWER"].value == "21600"


@pytest.mark.parametrize(("symbol", "verdict"), [("AAPL", BLOCK), ("MSFT", PASS)])
def test_a_symbol_takes_one_trade_at_a_time_open_or_reserved(desk: Desk, symbol: str, verdict: int) -> None:
    """The venue nets what an account holds of a symbol; a trade in another symbol is nobody's business."""
    held = checked(desk, book=book(desk, slot(desk, symbol)))["SYMBOL_BUSY"]
    assert (held.verdict, held.value) == (verdict, "t" if verdict == BLOCK else "none")
    working = slot(desk, symbol, qty="0")
    working.entry.life = state_pb2.ORDER_LIFE_OPEN
    assert checked(desk, book=book(desk, working))["SYMBOL_BUSY"].verdict == verdict
    reserved = checked(desk, reservations=(risk.Reservation("i-9", symbol, Exact(5000), 1),))["SYMBOL_BUSY"]
    assert (reserved.verdict, reserved.value) == (verdict, "i-9" if verdict == BLOCK else "none")


def test_a_trade_that_is_over_leaves_its_symbol_free(desk: Desk) -> None:
    over = slot(desk, "AAPL", qty="0")
    over.entry.life = state_pb2.ORDER_LIFE_CANCELED
    assert checked(desk, book=book(desk, over))["SYMBOL_BUSY"].verdict == PASS


def test_a_working_entry_counts_at_what_it_was_authorized_for(desk: Desk) -> None:
    working = slot(desk, "MSFT", qty="0")
    working.trade_id = "t-1"
    working.entry.in_doubt = True
    working.entry.order_qty.CopyFrom(decimal("100"))
    checks = checked(desk, book=book(desk, working), notional_of_entry={"t-1": Exact(10500)})
    assert checks["TOTAL_EXPOSURE"].value == "20500"


def test_a_position_without_any_price_makes_exposure_indeterminate(desk: Desk) -> None:
    unpriced = slot(desk)
    unpriced.ClearField("mark")
    checks = checked(desk, book=book(desk, unpriced))
    assert checks["TOTAL_EXPOSURE"].verdict == INDETERMINATE
    assert "no price is known for MSFT" in checks["TOTAL_EXPOSURE"].message


@pytest.mark.parametrize(
    ("reason", "equity", "verdict"),
    [
        ("TOTAL_EXPOSURE", "22223", WARN),
        ("TOTAL_EXPOSURE", "22222", BLOCK),
        ("LEVERAGE", "10000", WARN),
        ("LEVERAGE", "9999", BLOCK),
        ("SYMBOL_EXPOSURE", "80000", WARN),
        ("SYMBOL_EXPOSURE", "79999", BLOCK),
    ],
)
def test_ratios_to_equity_block_above_their_limit(desk: Desk, reason: str, equity: str, verdict: int) -> None:
    held = book(desk, slot(desk, "AAPL", qty="100"), equity=equity)
    assert checked(desk, book=held)[reason].verdict == verdict


def test_equity_is_derived_from_wallet_and_profit_when_it_is_not_stated_C03(desk: Desk) -> None:
    known = book(desk)
    assert known.account is not None
    known.account.ClearField("equity")
    known.account.wallet.CopyFrom(decimal("500000"))
    known.account.unrealized_pnl.CopyFrom(decimal("-100000"))
    assert checked(desk, book=known)["CAPITAL_UNKNOWN"].value == "400000"


@pytest.mark.parametrize(("equity", "verdict"), [("0", BLOCK), ("-5", BLOCK), ("1", PASS)])
def test_capital_has_to_be_positive_X10(desk: Desk, equity: str, verdict: int) -> None:
    checks = checked(desk, book=book(desk, equity=equity))
    assert checks["CAPITAL_UNKNOWN"].verdict == verdict
    assert verdict == PASS or checks["TOTAL_EXPOSURE"].verdict == INDETERMINATE


def test_seed_capital_is_a_warning_until_the_venue_confirms_it(desk: Desk) -> None:
    seeded = book(desk)
    assert seeded.account is not None
    seeded.account.capital_source = state_pb2.CAPITAL_SOURCE_SEED
    assert checked(desk, book=seeded)["CAPITAL_UNKNOWN"].verdict == WARN


def test_a_frozen_account_blocks_entries_with_the_kernels_reason_X10(desk: Desk) -> None:
    frozen = book(desk)
    assert frozen.account is not None
    frozen.account.entries_frozen, frozen.account.freeze_reason = True, "ledger error"
    check = checked(desk, book=frozen)["ACCOUNT_FROZEN"]
    assert (check.verdict, check.message) == (BLOCK, "entries are frozen: ledger error")


@pytest.mark.parametrize(("slots", "verdict"), [(2, PASS), (4, WARN), (5, BLOCK)])
def test_open_positions_are_bounded_also_by_the_kernels_slots(desk: Desk, slots: int, verdict: int) -> None:
    held = book(desk, *(slot(desk) for _ in range(slots)))
    assert held.account is not None
    held.account.max_slots = 5
    check = checked(desk, book=held)["OPEN_POSITIONS"]
    assert (check.verdict, check.limit) == (verdict, "5")


def recent(desk: Desk, other_id: str, ago_ns: int, **changes: Any) -> risk.Recent:
    base = risk.Recent(
        other_id, 1, "PAPER-1", "AAPL", common_pb2.SIDE_BUY, Exact(100), desk.now_ns - ago_ns, authorized=True
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("ago_ns", "changes", "verdict"),
    [
        (999_999_999, {}, BLOCK),
        (1_000_000_000, {}, PASS),
        (1, {"order_qty": Exact(101)}, PASS),
        (1, {"side": common_pb2.SIDE_SELL}, PASS),
        (1, {"symbol": "MSFT"}, PASS),
        (1, {"account": "OTHER"}, PASS),
        (1, {"intent_id": "i-1"}, PASS),
    ],
)
def test_the_same_order_within_the_window_is_a_duplicate(
    desk: Desk, ago_ns: int, changes: dict[str, Any], verdict: int
) -> None:
    one = recent(desk, "i-0", ago_ns, **changes)
    assert checked(desk, recent=(one,))["DUPLICATE"].verdict == verdict


@pytest.mark.parametrize(("count", "verdict"), [(14, PASS), (15, WARN), (19, WARN), (20, BLOCK)])
def test_entries_authorized_in_the_window_are_bounded_C02(desk: Desk, count: int, verdict: int) -> None:
    many = tuple(recent(desk, f"x-{number}", 1, symbol="IBM") for number in range(count))
    waiting = tuple(recent(desk, f"y-{number}", 1, symbol="IBM", authorized=False) for number in range(50))
    assert checked(desk, recent=many + waiting)["RATE_ORDER"].verdict == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"stop_price": decimal("95")}, PASS),
        ({"stop_price": None}, BLOCK),
        ({"stop_price": decimal("100")}, BLOCK),
        ({"stop_price": decimal("101")}, BLOCK),
        ({"stop_price": decimal("74.99")}, BLOCK),
        ({"side": common_pb2.SIDE_SELL, "stop_price": decimal("105")}, PASS),
        ({"side": common_pb2.SIDE_SELL, "stop_price": decimal("95")}, BLOCK),
    ],
)
def test_a_stop_is_required_on_the_losing_side_and_near_enough_C02(
    desk: Desk, changes: dict[str, Any], verdict: int
) -> None:
    assert checked(desk, desk.intent(**changes))["STOP_REQUIRED"].verdict == verdict


def test_without_a_stop_the_risk_of_the_trade_is_indeterminate_unless_stops_are_optional(desk: Desk) -> None:
    naked = desk.intent(stop_price=None)
    assert checked(desk, naked)["RISK_PER_TRADE"].verdict == INDETERMINATE
    desk.with_limits(stop_required=False)
    checks = checked(desk, naked)
    assert (checks["RISK_PER_TRADE"].verdict, checks["STOP_REQUIRED"].verdict) == (PASS, PASS)


@pytest.mark.parametrize(("equity", "verdict"), [("31251", PASS), ("31250", WARN), ("25000", WARN), ("24999", BLOCK)])
def test_the_loss_at_the_stop_is_bounded_by_equity_C02(desk: Desk, equity: str, verdict: int) -> None:
    check = checked(desk, book=book(desk, equity=equity))["RISK_PER_TRADE"]
    assert (check.verdict, check.value) == (verdict, "500")


def test_buying_power_counts_margin_not_notional_and_keeps_a_buffer(desk: Desk) -> None:
    check = checked(desk, desk.intent(leverage=2), book=book(desk, available="5000"))["BUYING_POWER"]
    assert (check.verdict, check.value, check.limit) == (BLOCK, "5000", "4900")


def test_buying_power_is_indeterminate_when_nothing_says_what_is_available(desk: Desk) -> None:
    silent = book(desk)
    assert silent.account is not None
    silent.account.ClearField("available")
    assert checked(desk, book=silent)["BUYING_POWER"].verdict == INDETERMINATE


def test_figures_too_large_for_the_wire_never_pass(desk: Desk) -> None:
    huge = desk.intent(order_qty=decimal("9000000000000000000"), instrument__multiplier=10**9)
    checks = checked(desk, huge)
    assert checks["ORDER_NOTIONAL"].verdict == BLOCK
    assert checks["BUYING_POWER"].verdict == BLOCK


KILLS = [
    (authority_pb2.KILL_SCOPE_GLOBAL, "", True),
    (authority_pb2.KILL_SCOPE_VENUE, "paper", True),
    (authority_pb2.KILL_SCOPE_VENUE, "other", False),
    (authority_pb2.KILL_SCOPE_ACCOUNT, "PAPER-1", True),
    (authority_pb2.KILL_SCOPE_STRATEGY, "momentum", True),
    (authority_pb2.KILL_SCOPE_STRATEGY, "other", False),
    (authority_pb2.KILL_SCOPE_SYMBOL, "AAPL", True),
    (authority_pb2.KILL_SCOPE_SYMBOL, "MSFT", False),
    (99, "whatever", True),
]


@pytest.mark.parametrize(("scope", "target", "blocked"), KILLS)
def test_a_kill_flag_covers_its_scope_and_an_unknown_scope_covers_all_INV_KILL_BLOCKS_ENTRY_1(
    desk: Desk, scope: Any, target: str, blocked: bool
) -> None:
    desk.flags.flags.add(scope=scope, target=target, level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES)
    assert (checked(desk)["KILL_ACTIVE"].verdict == BLOCK) is blocked


def test_a_lapsed_temporary_flag_covers_nothing(desk: Desk) -> None:
    desk.flags.flags.add(scope=authority_pb2.KILL_SCOPE_GLOBAL, level=1, expires_at_ns=desk.now_ns)
    assert checked(desk)["KILL_ACTIVE"].verdict == PASS
    desk.flags.flags[0].expires_at_ns = desk.now_ns + 1
    assert checked(desk)["KILL_ACTIVE"].verdict == BLOCK
