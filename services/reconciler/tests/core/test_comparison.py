"""Every way in which three books can differ has its name, its severity and its place."""

from __future__ import annotations

from fractions import Fraction

import pytest
import reconciler_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_reconciler.core import comparison as c
from kestrel_reconciler.core.books import Books, Holding

TOLERANCES = c.Tolerances(Number(1, 2))


def books(*entries: journal_pb2.JournalEntry) -> Books:
    found = Books(samples.ACCOUNT)
    for sequence, entry in enumerate(entries, start=1):
        found.take(sequence, entry)
    return found


def findings(found: Books, truth: venue_pb2.BrokerTruth | None) -> list[tuple[str, str, str, str]]:
    result = c.compare(found, truth, TOLERANCES)
    return [(one.reason, one.key.symbol, one.machine_state, one.broker_state) for one in result.findings]


def test_three_equal_books_have_no_findings_R01() -> None:
    result = c.compare(books(samples.bought(100)), samples.truth({"AAPL": 100}), TOLERANCES)
    assert (result.findings, result.position_count, result.matched_count) == ((), 1, 1)


def test_a_position_of_another_size_is_a_critical_size_break() -> None:
    result = c.compare(books(samples.bought(100)), samples.truth({"AAPL": 70}), TOLERANCES)
    (finding,) = result.findings
    assert finding.key.kind == reconcile_pb2.BREAK_KIND_POSITION_SIZE
    assert finding.severity == common_pb2.SEVERITY_CRITICAL
    assert (finding.machine_state, finding.broker_state, finding.delta) == ("BUY 100 AAPL", "BUY 70 AAPL", "-30")


@pytest.mark.parametrize("qty", [100, -100])
def test_a_position_that_only_we_have_is_a_critical_count_break(qty: int) -> None:
    side = "BUY" if qty > 0 else "SELL"
    assert findings(books(samples.bought(qty)), samples.truth()) == [
        (c.POSITION_MISSING_AT_BROKER, "AAPL", f"{side} 100 AAPL", "none")
    ]


def test_a_position_that_only_the_broker_has_is_outside_the_ledgers_scope() -> None:
    assert findings(books(), samples.truth({"IBM": -5})) == [
        (c.POSITION_OUTSIDE_LEDGER_SCOPE, "IBM", "none", "SELL 5 IBM")
    ]


def test_a_strangers_position_says_whether_a_slot_could_take_it_or_it_is_an_orphan_X13() -> None:
    entry = samples.entry(capital=1)
    entry.account_after.max_slots = 3
    entry.account_after.open_slot_count = 2
    result = c.compare(books(entry), samples.truth({"IBM": -5, "MSFT": 70}, price=10_000), TOLERANCES)
    said = {finding.key.symbol: finding.message for finding in result.findings}
    assert said["MSFT"].endswith("a free slot could take it over, if a person approves")
    assert said["IBM"].endswith("an orphan: no slot is left for it, and nothing here trades it")
    assert {finding.reason for finding in result.findings} == {c.POSITION_OUTSIDE_LEDGER_SCOPE}


def test_a_position_that_is_long_here_and_short_there_is_a_size_break() -> None:
    assert findings(books(samples.bought(100)), samples.truth({"AAPL": -100}))[0][0] == c.POSITION_QUANTITY_MISMATCH


def test_an_order_that_works_in_one_book_only_is_found_from_both_sides() -> None:
    working = samples.entry(slots=[samples.slot(entry=samples.order_view(state_pb2.ORDER_LIFE_OPEN))])
    assert findings(books(working), samples.truth())[0][0] == c.ORDER_MISSING_AT_BROKER
    assert findings(books(), samples.truth(orders=[samples.truth_order()]))[0][0] == c.ORDER_MISSING_IN_MACHINE


def test_what_protects_a_trade_at_the_broker_is_ours_also_when_it_was_made_smaller_there_T01() -> None:
    held = samples.bought(100)
    held.slots[0].stop.CopyFrom(samples.order_view(state_pb2.ORDER_LIFE_OPEN, client_order_id=f"{samples.ORDER}-S"))
    smaller = samples.truth_order(client_order_id=f"{samples.ORDER}-S", order_qty=40)
    assert findings(books(held), samples.truth({"AAPL": 100}, orders=[smaller])) == []
    assert findings(books(held), samples.truth({"AAPL": 100}))[0][0] == c.ORDER_MISSING_AT_BROKER


def test_an_order_of_somebody_else_on_a_shared_account_is_only_a_warning() -> None:
    result = c.compare(books(), samples.truth(orders=[samples.truth_order(client_order_id="their-1")]), TOLERANCES)
    assert [(one.reason, one.severity) for one in result.findings] == [(c.EXTERNAL_ORDER, common_pb2.SEVERITY_WARNING)]


def test_an_order_that_is_filled_to_different_degrees_is_a_partial_fill_break() -> None:
    working = samples.entry(slots=[samples.slot(entry=samples.order_view(state_pb2.ORDER_LIFE_OPEN, cum_qty=30))])
    result = c.compare(books(working), samples.truth(orders=[samples.truth_order(cum_qty=50)]), TOLERANCES)
    (finding,) = result.findings
    assert finding.key.kind == reconcile_pb2.BREAK_KIND_PARTIAL_FILL
    assert (finding.machine_state, finding.broker_state) == ("filled 30 of 100", "filled 50 of 100")


@pytest.mark.parametrize(
    "life",
    [
        state_pb2.ORDER_LIFE_FILLED,
        state_pb2.ORDER_LIFE_CANCELED,
        state_pb2.ORDER_LIFE_REJECTED,
        state_pb2.ORDER_LIFE_EXPIRED,
    ],
)
def test_an_order_that_is_over_is_not_expected_at_the_broker(life: state_pb2.OrderLife.ValueType) -> None:
    assert findings(books(samples.entry(slots=[samples.slot(entry=samples.order_view(life))])), samples.truth()) == []


def test_an_order_in_doubt_says_so() -> None:
    view = samples.order_view(state_pb2.ORDER_LIFE_PENDING_NEW, in_doubt=True)
    found = findings(books(samples.entry(slots=[samples.slot(entry=view)])), samples.truth())
    assert found[0][2].startswith("in doubt")


@pytest.mark.parametrize("wallet, differs", [(100_000_00, False), (100_000_01, False), (100_000_02, True)])
def test_the_balance_may_differ_by_the_tolerance_and_no_more(wallet: int, differs: bool) -> None:
    found = findings(books(samples.entry(capital=100_000_00)), samples.truth(wallet=wallet))
    assert [one[0] for one in found] == ([c.BALANCE_MISMATCH] if differs else [])


def test_a_capital_that_is_only_seeded_is_not_held_against_the_wallet_K13() -> None:
    entry = samples.entry(capital=100)
    entry.account_after.capital_source = state_pb2.CAPITAL_SOURCE_SEED
    assert findings(books(entry), samples.truth(wallet=999)) == []


def test_a_fill_the_venue_took_back_leaves_the_ledger() -> None:
    busted = samples.fill(40)
    busted.is_busted = True
    found = books(samples.bought(100), samples.entry(slots=[samples.slot("AAPL", 60)], fills=[busted]))
    assert findings(found, samples.truth({"AAPL": 60}, price=5)) == []


def test_a_truth_without_a_balance_says_nothing_about_it() -> None:
    assert findings(books(samples.entry(capital=100_000_00)), samples.truth()) == []


def test_the_ledger_is_summed_by_itself_and_a_kernel_that_differs_from_its_fills_is_found() -> None:
    wrong = samples.entry(slots=[samples.slot("AAPL", 90)], fills=[samples.fill(100)])
    assert findings(books(wrong), samples.truth({"AAPL": 90})) == [
        (c.LEDGER_MISMATCH, "AAPL", "BUY 90 AAPL", "ledger: BUY 100 AAPL")
    ]


def test_the_ledger_is_compared_even_without_a_truth() -> None:
    wrong = samples.entry(slots=[samples.slot("AAPL", 90)], fills=[samples.fill(100)])
    assert [one[0] for one in findings(books(wrong), None)] == [c.LEDGER_MISMATCH]


def test_without_a_truth_a_position_is_not_said_to_be_missing() -> None:
    assert findings(books(samples.bought(100)), None) == []


def test_an_adopted_position_belongs_to_the_ledgers_scope() -> None:
    message = inbox_pb2.InboxMessage(
        adopt=inbox_pb2.Adoption(instrument=samples.instrument("IBM"), qty=samples.number(7), account=samples.ACCOUNT)
    )
    adopted = samples.entry(slots=[samples.slot("IBM", 7)])
    adopted.input = message.SerializeToString()
    assert findings(books(adopted), samples.truth({"IBM": 7})) == []


@pytest.mark.parametrize("price, differs", [(1_000_000, False), (1_000_100, False), (1_000_101, True)])
def test_an_average_cost_may_differ_by_a_tick_and_no_more_R04(price: int, differs: bool) -> None:
    found = findings(books(samples.bought(100)), samples.truth({"AAPL": 100}, price=price))
    assert [one[0] for one in found] == ([c.AVERAGE_COST_MISMATCH] if differs else [])


def test_an_average_cost_is_not_compared_where_a_fill_had_no_price_K08() -> None:
    entry = samples.entry(slots=[samples.slot("AAPL", 100)], fills=[samples.fill(100, price=None)])
    assert findings(books(entry), samples.truth({"AAPL": 100}, price=5)) == []


def test_findings_come_in_the_stable_order_of_R04() -> None:
    entry = samples.entry(
        slots=[samples.slot("MSFT", 10), samples.slot("AAPL", 10, index=1), samples.slot("FB", 10, index=2)],
        fills=[samples.fill(10, "MSFT"), samples.fill(10, "AAPL"), samples.fill(10, "FB")],
        capital=1,
    )
    truth = samples.truth({"MSFT": 9, "AAPL": 8, "FB": 10, "AA": 1}, wallet=99, price=1, orders=[samples.truth_order()])
    result = c.compare(books(entry), truth, TOLERANCES)
    assert [(one.reason, one.key.symbol) for one in result.findings] == [
        (c.POSITION_QUANTITY_MISMATCH, "AAPL"),
        (c.POSITION_QUANTITY_MISMATCH, "MSFT"),
        (c.AVERAGE_COST_MISMATCH, "FB"),
        (c.POSITION_OUTSIDE_LEDGER_SCOPE, "AA"),
        (c.ORDER_MISSING_IN_MACHINE, "AAPL"),
        (c.BALANCE_MISMATCH, ""),
    ]


def test_every_reason_has_a_severity_and_a_place() -> None:
    assert set(c.SEVERITIES) == set(c._ORDER)


def test_an_entry_that_was_folded_before_changes_nothing() -> None:
    found = books(samples.bought(100))
    assert found.take(1, samples.bought(100)) is False
    assert found.ledger_positions() == {"AAPL": Number(100, 0)}


def test_a_holding_keeps_its_average_when_reduced_and_starts_anew_across_zero() -> None:
    holding = Holding()
    for qty, price in ((100, 10), (100, 20), (-50, 99)):
        holding.book(Number(qty, 0), Number(price, 0))
    assert holding.average_price == Fraction(15)
    holding.book(Number(-200, 0), Number(7, 0))
    assert (holding.qty, holding.average_price) == (Number(-50, 0), Fraction(7))
    holding.book(Number(50, 0), None)
    assert (holding.qty, holding.average_price) == (Number(0, 0), None)


@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 99)), max_size=40))
def test_a_holding_is_the_sum_of_its_fills_and_its_average_lies_between_their_prices(
    fills: list[tuple[int, int]],
) -> None:
    holding = Holding()
    for qty, price in fills:
        holding.book(Number(qty, 0), Number(price, 0))
    assert holding.qty == Number(sum(qty for qty, _ in fills), 0)
    if holding.qty:
        assert holding.average_price is not None
        assert min(p for _, p in fills) <= holding.average_price <= max(p for _, p in fills)
