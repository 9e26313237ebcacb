"""Who hears and sees what: other clients, orders typed in by hand, reconnects, outages of the broker's own link."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_simulators.tws import replies, requests
from kestrel_simulators.tws.faults import Fault
from simulators.tests.tws.broker.floor import ACCOUNT, APPLE, order

EXECUTIONS = requests.ReqExecutions(9, 0, "", "", "", "", "", "")
LIMIT = order("BUY", "10", "LMT", limit="95.00")


def by_hand(floor: Any, kind: str = "LMT", client_id: int = 0, **more: Any) -> int:
    """Somebody else's order to buy 5 at 90.00."""
    record = tws_pb2.PlaceManualOrderRequest(
        account=ACCOUNT, symbol="AAPL", side=1, order_qty=Number(5, 0).message(), order_type=kind,
        price=Number.parse("90.00").message(), client_id=client_id, **more,
    )  # fmt: skip
    floor.control(record)
    return int(floor.broker.control_answer.perm_id)


def test_connecting_answers_with_accounts_next_id_and_the_state_of_the_farms(floor: Any) -> None:
    assert floor.connect(8) == ["ManagedAccounts", "NextValidId", "error -1 2104", "error -1 2106", "error -1 2158"]
    assert floor.replies(replies.ManagedAccounts, 8)[0].accounts == ACCOUNT
    assert floor.replies(replies.NextValidId, 8)[0].order_id == 1


def test_a_client_id_that_is_connected_is_refused(floor: Any) -> None:
    with pytest.raises(Refused, match="in use"):
        floor.connect()


def test_the_next_id_is_above_every_id_that_this_client_used(floor: Any) -> None:
    floor.place(41, LIMIT)
    floor.ask(requests.ReqIds(1))
    assert floor.replies(replies.NextValidId)[0].order_id == 42


def test_a_client_hears_of_its_own_orders_only_and_sees_all_when_it_asks_for_all(floor: Any) -> None:
    floor.connect(8)
    floor.place(3, LIMIT)
    assert floor.lines(8) == []
    floor.place(3, LIMIT, client_id=8)
    assert floor.lines(7) == []
    floor.price("94.00")
    assert [each.client_id for each in floor.replies(replies.ExecDetails, 7)] == [7]
    assert [each.client_id for each in floor.replies(replies.ExecDetails, 8)] == [8]
    floor.place(4, order("BUY", "10", "LMT", limit="90.00"))
    assert floor.ask(requests.ReqOpenOrders(), 8) == ["OpenOrderEnd"]
    assert floor.ask(requests.ReqAllOpenOrders(), 8) == ["open 4 Submitted", "status 4 Submitted 0/10", "OpenOrderEnd"]


def test_only_the_client_that_placed_an_order_can_cancel_it(floor: Any) -> None:
    floor.connect(8)
    floor.place(3, LIMIT)
    assert floor.cancel(3, client_id=8) == ["error 3 10147"]
    assert floor.lines(7) == []
    assert floor.ledger().orders[0].status == "Submitted"


def test_everybody_may_ask_for_all_executions_and_filter_them(floor: Any) -> None:
    floor.connect(8)
    floor.place(3, order("BUY", "10"))
    floor.now_ns += 3_600_000_000_000
    floor.place(3, order("SELL", "4"), client_id=8)
    both = ["exec 3 BOT 10@100.00", "exec 3 SLD 4@100.00"]
    assert floor.ask(EXECUTIONS, 8)[:2] == both
    for filtered, expected in (
        (requests.ReqExecutions(9, 7, "", "", "", "", "", ""), both[:1]),
        (requests.ReqExecutions(9, 0, ACCOUNT, "", "AAPL", "STK", "SMART", "SELL"), both[1:]),
        (requests.ReqExecutions(9, 0, "", "", "MSFT", "", "", ""), []),
        (requests.ReqExecutions(9, 0, "", "20261123-15:30:00", "", "", "", ""), both[1:]),
    ):
        assert [text for text in floor.ask(filtered) if text.startswith("exec")] == expected
    assert floor.ask(requests.ReqExecutions(9, 0, "", "yesterday", "", "", "", "")) == ["error 9 321"]


def test_executions_of_yesterday_are_forgotten_at_midnight_in_new_york(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    floor.now_ns += 14 * 3_600_000_000_000
    assert floor.ask(EXECUTIONS) == ["ExecDetailsEnd"]


def test_commission_reports_of_a_replay_come_after_its_end(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    assert floor.ask(EXECUTIONS) == ["exec 3 BOT 10@100.00", "ExecDetailsEnd", "fee 1.00"]


def test_what_happens_while_a_client_is_away_is_found_by_asking_T10(floor: Any) -> None:
    floor.place(3, LIMIT)
    floor.disconnect()
    floor.price("94.00")
    assert floor.last == []
    assert floor.connect()[0] == "ManagedAccounts"
    assert floor.ask(requests.ReqOpenOrders()) == ["OpenOrderEnd"]
    assert floor.ask(requests.ReqCompletedOrders(True)) == ["completed k3 Filled 10", "CompletedOrderEnd"]
    assert floor.ask(EXECUTIONS) == ["exec 3 BOT 10@94.00", "ExecDetailsEnd", "fee 1.00"]
    assert floor.ask(requests.ReqPositions()) == ["position 10 at 94.1000", "PositionEnd"]


def test_subscriptions_end_with_the_connection(floor: Any) -> None:
    floor.ask(requests.ReqPositions())
    floor.disconnect()
    floor.connect()
    assert "position 10 at 100.1000" not in floor.place(3, order("BUY", "10"))


# ── Other people's orders ────────────────────────────────────────────────────────────────────────────────


def test_an_order_typed_in_by_hand_is_seen_by_who_asks_for_all_without_an_order_id_X11(floor: Any) -> None:
    perm_id = by_hand(floor)
    assert floor.last == []
    assert floor.ask(requests.ReqOpenOrders()) == ["OpenOrderEnd"]
    assert floor.ask(requests.ReqAllOpenOrders()) == ["open 0 Submitted", "status 0 Submitted 0/5", "OpenOrderEnd"]
    seen = floor.replies(replies.OpenOrder)[0]
    assert (seen.perm_id, seen.client_id, seen.order.order_ref) == (perm_id, 0, "")
    assert floor.ask(requests.ReqAutoOpenOrders(True)) == ["error -1 321"]


def test_client_0_binds_manual_orders_and_may_cancel_them(floor: Any) -> None:
    by_hand(floor)
    floor.connect(0)
    assert floor.ask(requests.ReqOpenOrders(), 0) == ["OpenOrderEnd"]
    assert floor.ask(requests.ReqAutoOpenOrders(True), 0) == ["open -1 Submitted", "status -1 Submitted 0/5"]
    assert floor.ask(requests.ReqOpenOrders(), 0)[0] == "open -1 Submitted"
    assert floor.cancel(-1, client_id=0)[0] == "status -1 PendingCancel 0/5"


def test_a_manual_order_that_is_filled_moves_the_position_and_is_in_the_executions(floor: Any) -> None:
    floor.ask(requests.ReqPositions())
    by_hand(floor, "MKT")
    assert floor.lines() == ["position 5 at 100.2000"]
    assert floor.ask(EXECUTIONS)[0] == "exec 0 BOT 5@100.00"
    assert floor.ask(requests.ReqCompletedOrders(False))[0] == "completed  Filled 5"
    assert floor.ask(requests.ReqCompletedOrders(True)) == ["CompletedOrderEnd"]


def test_an_order_of_another_client_may_be_sent_by_the_admin_door(floor: Any) -> None:
    floor.connect(8)
    by_hand(floor, client_id=8, order_ref="theirs")
    assert floor.lines(8) == ["open 1 Submitted", "status 1 Submitted 0/5"]
    floor.ask(requests.ReqIds(1), 8)
    assert floor.replies(replies.NextValidId, 8)[0].order_id == 2
    with pytest.raises(InvalidRequest):
        by_hand(floor, client_id=-3)
    with pytest.raises(InvalidRequest):
        by_hand(floor, "MOC")


def test_the_broker_itself_may_cancel_an_order(floor: Any) -> None:
    floor.place(3, LIMIT)
    floor.control(tws_pb2.CancelOrderByHandRequest(perm_id=1_900_000_001, reason="MARKET CLOSED"))
    assert sorted(floor.lines()) == ["error 3 202", "status 3 Cancelled 0/10"]
    assert "MARKET CLOSED" in floor.replies(replies.Error)[0].text
    with pytest.raises(Refused):
        floor.control(tws_pb2.CancelOrderByHandRequest(perm_id=1_900_000_001))


# ── The broker's own link ────────────────────────────────────────────────────────────────────────────────


def link(floor: Any, state: int) -> list[str]:
    said: list[str] = floor.control(tws_pb2.SetConnectivityRequest(connectivity=state))
    return said


def test_while_the_link_is_down_orders_work_nothing_is_reported_and_questions_are_lost(floor: Any) -> None:
    floor.place(3, LIMIT)
    assert link(floor, tws_pb2.CONNECTIVITY_LOST) == ["error -1 1100"]
    assert floor.price("94.00") == []
    assert floor.ask(requests.ReqAllOpenOrders()) == []
    assert floor.ask(EXECUTIONS) == []
    assert floor.ask(requests.ReqCurrentTime()) == ["CurrentTime"]
    assert floor.place(4, order("SELL", "10")) == []
    assert floor.ledger().positions[0].qty.units == 0
    said = link(floor, tws_pb2.CONNECTIVITY_RESTORED)
    assert said[:4] == ["error -1 1102", "exec 3 BOT 10@94.00", "open 3 Filled", "status 3 Filled 10/10"]
    assert "exec 4 SLD 10@94.00" in said


def test_who_connects_while_the_link_is_down_is_told_and_gets_nothing_of_before(floor: Any) -> None:
    floor.place(3, LIMIT)
    link(floor, tws_pb2.CONNECTIVITY_LOST)
    floor.price("94.00")
    floor.disconnect()
    assert floor.connect()[-1] == "error -1 1100"
    assert link(floor, tws_pb2.CONNECTIVITY_RESTORED) == ["error -1 1102"]


def test_with_1101_subscriptions_to_prices_are_gone_and_with_1102_they_are_kept(floor: Any) -> None:
    floor.ask(requests.ReqMktData(1, APPLE))
    link(floor, tws_pb2.CONNECTIVITY_LOST)
    link(floor, tws_pb2.CONNECTIVITY_RESTORED)
    assert "TickPrice" in floor.price("101.00")
    link(floor, tws_pb2.CONNECTIVITY_SERVER_BROKEN)
    assert link(floor, tws_pb2.CONNECTIVITY_RESTORED_DATA_LOST) == ["error -1 1101"]
    assert floor.price("102.00") == []


@pytest.mark.parametrize("code", [2103, 2104, 2105, 2106, 2107, 2108])
def test_the_state_of_a_farm_is_said_and_changes_nothing(floor: Any, code: int) -> None:
    states = {2103: 5, 2104: 6, 2105: 7, 2106: 8, 2107: 9, 2108: 10}
    assert link(floor, states[code]) == [f"error -1 {code}"]
    assert floor.place(3, LIMIT)[0] == "open 3 Submitted"
    with pytest.raises(InvalidRequest):
        link(floor, 0)


# ── Contracts, prices, accounts ──────────────────────────────────────────────────────────────────────────


def test_contract_details_say_what_was_published(floor: Any) -> None:
    assert floor.ask(requests.ReqContractDetails(8, APPLE, False, "", "")) == ["ContractDetails", "ContractDetailsEnd"]
    details = floor.replies(replies.ContractDetails)[0]
    assert (str(details.min_tick), str(details.min_size), details.time_zone_id) == ("0.01", "1", "US/Eastern")
    assert details.contract.con_id > 0
    by_id = requests.ReqContractDetails(8, type(APPLE)(con_id=details.contract.con_id), False, "", "")
    assert floor.ask(by_id)[0] == "ContractDetails"
    unknown = requests.ReqContractDetails(8, type(APPLE)(symbol="NOPE", sec_type="STK"), False, "", "")
    assert floor.ask(unknown) == ["error 8 200"]


def test_ticks_come_at_once_and_with_each_price_until_canceled(floor: Any) -> None:
    said = floor.ask(requests.ReqMktData(1, APPLE))
    assert said[:2] == ["TickReqParams", "MarketDataType"]
    prices = {each.tick_type: str(each.price) for each in floor.replies(replies.TickPrice)}
    assert prices == {1: "100.00", 2: "100.00", 4: "100.00"}
    assert floor.ask(requests.ReqMktData(1, APPLE)) == ["error 1 102"]
    floor.bar("101.00", "103.00", "99.00", "102.00")
    prices = {each.tick_type: str(each.price) for each in floor.replies(replies.TickPrice)}
    assert prices == {1: "102.00", 2: "102.00", 4: "102.00", 6: "103.00", 7: "99.00", 9: "102.00", 14: "101.00"}
    trades = [str(each.price) for each in floor.replies(replies.TickPrice) if each.tick_type == 4]
    assert trades == ["101.00", "103.00", "99.00", "102.00"]
    assert floor.ask(requests.CancelMktData(1)) == []
    assert floor.price("104.00") == []
    assert floor.ask(requests.CancelMktData(1)) == ["error 1 300"]


def test_a_snapshot_ends_and_is_no_subscription(floor: Any) -> None:
    assert floor.ask(requests.ReqMktData(1, APPLE, snapshot=True))[-1] == "TickSnapshotEnd"
    assert floor.price("104.00") == []


def test_history_is_what_was_published_and_162_when_there_is_none(floor: Any) -> None:
    def history(bar_size: str) -> requests.ReqHistoricalData:
        return requests.ReqHistoricalData(5, APPLE, False, "", bar_size, "1 M", True, "TRADES", 1)

    assert floor.ask(history("1 day")) == ["error 5 162"]
    floor.bar("101.00", "103.00", "99.00", "102.00")
    assert floor.ask(history("1 day")) == ["HistoricalData"]
    bar = floor.replies(replies.HistoricalData)[0].bars[0]
    assert [str(price) for price in (bar.open, bar.high, bar.low, bar.close)] == ["101.00", "103.00", "99.00", "102.00"]
    assert floor.ask(history("5 mins")) == ["error 5 162"]
    assert floor.ask(history("often")) == ["error 5 162"]


def test_a_bar_published_twice_changes_nothing_and_one_that_changed_is_refused(floor: Any) -> None:
    floor.bar("101.00", "103.00", "99.00", "102.00")
    bar = floor.calls[-1][1][0]
    sequence = floor.broker.engine.market("AAPL").price_sequence
    floor.control(bar)
    assert floor.broker.engine.market("AAPL").price_sequence == sequence
    bar.bar.high.units += 1
    with pytest.raises(InvalidRequest):
        floor.control(bar)


def test_a_summary_says_the_tags_asked_for_and_only_two_may_be_subscribed(floor: Any) -> None:
    floor.ask(requests.ReqAccountSummary(1, "All", "NetLiquidation,TotalCashValue,Cushion"))
    values = {each.tag: each.value for each in floor.replies(replies.AccountSummary)}
    assert values == {"NetLiquidation": "1000000.00", "TotalCashValue": "1000000.00", "Cushion": "1.00"}
    floor.ask(requests.ReqAccountSummary(2, "All", "$LEDGER:ALL"))
    assert "CashBalance" in {each.tag for each in floor.replies(replies.AccountSummary)}
    assert floor.ask(requests.ReqAccountSummary(3, "All", "NetLiquidation")) == ["error 3 322"]
    floor.ask(requests.CancelAccountSummary(2))
    assert floor.ask(requests.ReqAccountSummary(3, "All", "NetLiquidation"))[-1] == "AccountSummaryEnd"


def test_profit_and_loss_are_pushed_with_fills_and_prices(floor: Any) -> None:
    floor.place(3, order("BUY", "10"))
    floor.ask(requests.ReqPnl(1, ACCOUNT, ""))
    con_id = floor.broker.listings.by_symbol["AAPL"].con_id
    floor.ask(requests.ReqPnlSingle(2, ACCOUNT, "", con_id))
    floor.price("101.00")
    pnl = floor.replies(replies.Pnl)[0]
    assert (str(pnl.daily), str(pnl.unrealized), str(pnl.realized)) == ("9.00", "9.00", "0.00")
    single = floor.replies(replies.PnlSingle)[0]
    assert (str(single.position), str(single.value)) == ("10", "1010.00")
    floor.ask(requests.CancelPnl(1))
    floor.ask(requests.CancelPnlSingle(2))
    assert floor.price("102.00") == []


def test_every_subscription_to_the_account_hears_of_a_fill(floor: Any) -> None:
    floor.ask(requests.ReqAccountUpdatesMulti(4, ACCOUNT, "", False))
    floor.ask(requests.ReqAccountSummary(5, "All", "TotalCashValue"))
    floor.place(3, order("BUY", "10"))
    multi = {each.key: each.value for each in floor.replies(replies.AccountUpdateMulti)}
    assert multi["TotalCashValue"] == "998999.00"
    assert [each.value for each in floor.replies(replies.AccountSummary)] == ["998999.00"]
    floor.ask(requests.ReqAccountUpdates(True, ""))
    assert floor.lines() == ["portfolio 10", "AccountTime", "AccountDownloadEnd"]
    floor.fault(Fault.WRONG_POSITION, count=1)
    assert floor.ask(requests.ReqAccountUpdates(True, ACCOUNT))[0] == "portfolio 11"


def test_prices_and_history_of_what_is_not_listed_are_200(floor: Any) -> None:
    unknown = type(APPLE)(symbol="NOPE", sec_type="STK")
    assert floor.ask(requests.ReqMktData(1, unknown)) == ["error 1 200"]
    history = requests.ReqHistoricalData(5, unknown, False, "", "1 day", "1 M", True, "TRADES", 1)
    assert floor.ask(history) == ["error 5 200"]


@pytest.mark.parametrize(("format_date", "date"), [(1, "20261122 19:05:00 US/Eastern"), (2, "1795392300")])
def test_intraday_bars_are_named_by_time_or_by_seconds(floor: Any, format_date: int, date: str) -> None:
    floor.bar("101.00", "103.00", "99.00", "102.00", interval_ns=300 * 1_000_000_000)
    floor.ask(requests.ReqHistoricalData(5, APPLE, False, "", "5 mins", "1 D", True, "TRADES", format_date))
    assert [bar.date for bar in floor.replies(replies.HistoricalData)[0].bars] == [date]


def test_an_account_needs_a_wallet(floor: Any) -> None:
    with pytest.raises(InvalidRequest):
        floor.control(tws_pb2.OpenAccountRequest(account="DU2", currency="USD"))


def test_requests_about_accounts_that_are_not_there_are_321(floor: Any) -> None:
    for request in (
        requests.ReqAccountUpdates(True, "U1"),
        requests.ReqAccountUpdatesMulti(4, "U1", "", False),
        requests.ReqPnl(5, "U1", ""),
        requests.ReqPnlSingle(6, ACCOUNT, "", 1),
        requests.ReqMarketRule(1),
    ):
        assert floor.ask(request)[0].endswith(" 321")


def test_requests_of_no_consequence_are_answered_or_ignored(floor: Any) -> None:
    rule = floor.broker.listings.by_symbol["AAPL"].con_id
    assert floor.ask(requests.ReqManagedAccounts()) == ["ManagedAccounts"]
    assert floor.ask(requests.ReqMatchingSymbols(1, "aa")) == ["SymbolSamples"]
    assert floor.ask(requests.ReqMarketRule(rule)) == ["MarketRule"]
    assert floor.ask(requests.ReqMarketDataType(3)) == []
    assert floor.ask(requests.UnknownRequest(4711)) == []
    assert floor.ask(requests.ReqAccountUpdates(False, ACCOUNT)) == []
    assert floor.ask(requests.CancelPositions()) == []
    assert floor.ask(requests.CancelAccountUpdatesMulti(4)) == []
