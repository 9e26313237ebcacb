"""What the server says is heard by both libraries as it was meant, at every server version they know."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kestrel_domain.numbers import Number
from kestrel_simulators.tws import replies, wire
from kestrel_simulators.tws.replies import OrderState, Reply, encode
from kestrel_simulators.tws.terms import ComboLeg, Condition, Contract, DeltaNeutralContract, Order, TagValue
from kestrel_simulators.tws.wire import UNSET_DOUBLE, UNSET_INTEGER

VERSIONS = [157, 158, 159, 160, 162, 163, 164, 166, 169, 170, 173, 176]
LARGEST_DOUBLE = 1.7976931348623157e308
WITH_LIBRARY = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an order of 130 fields takes minutes to shrink
    max_examples=30,
    deadline=None,
)


def number(text: str) -> Number:
    return Number.parse(text)


SMART = Contract(265598, "AAPL", "STK", exchange="SMART", currency="USD", local_symbol="AAPL", trading_class="NMS")
NASDAQ = dataclasses.replace(SMART, exchange="NASDAQ", primary_exchange="NASDAQ")
ORDER = Order(
    "BUY",
    number("5.0"),
    "LMT",
    number("190.0"),
    tif="DAY",
    account="DU1234567",
    order_ref="K2",
    oca_type=3,
    display_size=None,
    discretionary_amt=Number(0, 0),
)
EXECUTION = replies.ExecDetails(
    -1, 3, NASDAQ, "0000e0d5.00000002.01.01", "20261121 02:53:50 UTC", "DU1234567", "NASDAQ", "BOT", number("6.0"),
    number("200.55"), 1900000000, 7, 0, number("10.0"), number("200.53"), "K1", last_liquidity=2,
)  # fmt: skip
COMPLETED = dataclasses.replace(ORDER, total_quantity=number("10.0"), order_type="MKT", lmt_price=None, order_ref="K1")

# Frames of which it is known that both libraries decode them: "|" stands for NUL, "U" for the largest double.
KNOWN_FRAMES = [
    (
        replies.OpenOrder(4, SMART, ORDER, OrderState("Submitted"), 7, 1900000001),
        "5|4|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|5.0|LMT|190.0|0.0|DAY||DU1234567|O|0|K2|7|1900000001|0|0|0|||||"
        "|||||||||-1|0|||||||0|0|0||3|0|0||0|0||0|None||0||||?|0|0||0|0||||||0|0|0|||||0||IB|0|0||0|0|Submitted|U|U|U|U|U"
        "|U|U|U|U||||||0|0|0|None|U|U|U|U|U|U|0|||||0|0|0|0|||0||||||",
    ),
    (
        replies.OrderStatus(
            4, "Submitted", number("0.0"), number("5.0"), number("0.0"), 1900000001, 0, number("0.0"), 7
        ),
        "3|4|Submitted|0.0|5.0|0.0|1900000001|0|0.0|7||0.0|",
    ),
    (
        EXECUTION,
        "11|-1|3|265598|AAPL|STK||0.0|||NASDAQ|USD|AAPL|NMS|0000e0d5.00000002.01.01|20261121 02:53:50 UTC|DU1234567|"
        "NASDAQ|BOT|6.0|200.55|1900000000|7|0|10.0|200.53|K1||||2|",
    ),
    (
        replies.CommissionReport("0000e0d5.00000002.01.01", number("1.0"), "USD"),
        "59|1|0000e0d5.00000002.01.01|1.0|USD|U|U||",
    ),
    (
        replies.CompletedOrder(
            SMART, COMPLETED, "Filled", 1900000000, number("10.0"), "20261121 02:53:50 UTC", "Filled Size: 10.0"
        ),
        "101|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|10.0|MKT|0.0|0.0|DAY||DU1234567|O|0|K1|1900000000|0|0|0|||||||||"
        "||||-1|||||||0|0||3|0||0|None||0|0|0||0|0||||0|0|0||||||IB|0|0||0|Filled|0|0|0|U|U||0|0||10.0||0||0|0|0|"
        "20261121 02:53:50 UTC|Filled Size: 10.0||||||",
    ),
    (
        replies.Position("DU1234567", NASDAQ, number("10"), number("150.25")),
        "61|3|DU1234567|265598|AAPL|STK||0.0|||NASDAQ|USD|AAPL|NMS|10|150.25|",
    ),
    (
        replies.Error(10, 201, "Order rejected - reason:INSUFFICIENT FUNDS"),
        "4|2|10|201|Order rejected - reason:INSUFFICIENT FUNDS||",
    ),
    (replies.NextValidId(1), "9|1|1|"),
    (replies.ManagedAccounts("DU1234567"), "15|1|DU1234567|"),
    (replies.PositionEnd(), "62|1|"),
    (replies.CompletedOrderEnd(), "102|"),
    (replies.OpenOrderEnd(), "53|1|"),
    (replies.ExecDetailsEnd(3), "55|1|3|"),
]


@pytest.mark.parametrize("reply, texts", KNOWN_FRAMES, ids=[type(reply).__name__ for reply, _ in KNOWN_FRAMES])
def test_known_frames_are_written_byte_for_byte(reply: Reply, texts: str) -> None:
    written = encode(reply).decode().replace(UNSET_DOUBLE, "U").replace("\0", "|")
    assert written == texts


CALLS: list[tuple[Reply, list[Any]]] = [
    (replies.NextValidId(12), ["nextValidId", [12]]),
    (replies.ManagedAccounts("DU1,DU2"), ["managedAccounts", ["DU1,DU2"]]),
    (replies.CurrentTime(1795228430), ["currentTime", [1795228430]]),
    (replies.Error(-1, 2104, "all is\nwell"), ["error", [-1, 2104, "all is\nwell", ""]]),
    (replies.Error(4, 201, "no", "{}"), ["error", [4, 201, "no", "{}"]]),
    (
        replies.AccountValue("NetLiquidation", "1000000.00", "USD", "DU1"),
        ["updateAccountValue", ["NetLiquidation", "1000000.00", "USD", "DU1"]],
    ),
    (replies.AccountTime("10:15"), ["updateAccountTime", ["10:15"]]),
    (replies.AccountDownloadEnd("DU1"), ["accountDownloadEnd", ["DU1"]]),
    (
        replies.AccountUpdateMulti(3, "DU1", "", "Cushion", "1", ""),
        ["accountUpdateMulti", [3, "DU1", "", "Cushion", "1", ""]],
    ),
    (replies.AccountUpdateMultiEnd(3), ["accountUpdateMultiEnd", [3]]),
    (replies.AccountSummary(3, "DU1", "Cushion", "1", ""), ["accountSummary", [3, "DU1", "Cushion", "1", ""]]),
    (replies.AccountSummaryEnd(3), ["accountSummaryEnd", [3]]),
    (replies.PositionEnd(), ["positionEnd", []]),
    (replies.Pnl(3, number("1.5"), None, number("-2")), ["pnl", [3, 1.5, LARGEST_DOUBLE, -2.0]]),
    (
        replies.PnlSingle(3, number("10"), None, number("1"), None, number("1900.5")),
        ["pnlSingle", [3, 10.0, LARGEST_DOUBLE, 1.0, LARGEST_DOUBLE, 1900.5]],
    ),
    (replies.OpenOrderEnd(), ["openOrderEnd", []]),
    (replies.CompletedOrderEnd(), ["completedOrdersEnd", []]),
    (replies.ExecDetailsEnd(3), ["execDetailsEnd", [3]]),
    (replies.ContractDetailsEnd(3), ["contractDetailsEnd", [3]]),
    (
        replies.OrderStatus(
            4, "Filled", number("5"), number("0"), number("190.01"), 19, 3, number("190.02"), 7, "child"
        ),
        ["orderStatus", [4, "Filled", 5.0, 0.0, 190.01, 19, 3, 190.02, 7, "child", 0.0]],
    ),
    (replies.TickPrice(3, 1, number("190.01"), number("200")), ["priceSizeTick", [3, 1, 190.01, 200.0]]),
    (replies.TickPrice(3, 4, number("190.01")), ["priceSizeTick", [3, 4, 190.01, 0.0]]),
    (replies.TickSize(3, 8, number("12000")), ["tickSize", [3, 8, 12000.0]]),
    (replies.TickGeneric(3, 49, number("0")), ["tickGeneric", [3, 49, 0.0]]),
    (replies.TickString(3, 45, "1795228430"), ["tickString", [3, 45, "1795228430"]]),
    (replies.TickReqParams(3, number("0.01"), "9c0001", 3), ["tickReqParams", [3, 0.01, "9c0001", 3]]),
    (replies.MarketDataType(3, 2), ["marketDataType", [3, 2]]),
    (replies.TickSnapshotEnd(3), ["tickSnapshotEnd", [3]]),
    (
        replies.MarketRule(26, ((number("0"), number("0.0001")), (number("1"), number("0.01")))),
        ["marketRule", [26, [{"lowEdge": 0.0, "increment": 0.0001}, {"lowEdge": 1.0, "increment": 0.01}]]],
    ),
]


@pytest.mark.parametrize("reply, call", CALLS, ids=[type(reply).__name__ for reply, _ in CALLS])
def test_short_replies_are_heard_as_they_were_meant(library: Any, reply: Reply, call: list[Any]) -> None:
    assert library.hears(encode(reply)) == ([call], [])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_reply_is_heard_without_complaint_at_every_version(library: Any, version: int) -> None:
    everything = [reply for reply, _ in KNOWN_FRAMES] + [reply for reply, _ in CALLS]
    everything += [DETAILS, PORTFOLIO, SAMPLES, HISTORY]
    calls, complaints = library.hears(*(encode(reply, version) for reply in everything), version=version)
    assert complaints == []
    assert len([name for name, _ in calls if name != "historicalDataEnd"]) == len(everything)


PORTFOLIO = replies.PortfolioValue(
    NASDAQ, number("-10"), number("190.5"), number("-1905"), number("191.25"), number("7.5"), number("0"), "DU1"
)
DETAILS = replies.ContractDetails(
    5, dataclasses.replace(NASDAQ, multiplier="1"), "NMS", number("0.01"), "LMT,MKT,STP", "SMART,NASDAQ", 1, 0,
    "APPLE INC", "", "Technology", "Computers", "Hardware", "US/Eastern", "20261123:0400-20261123:2000",
    "20261123:0930-20261123:1600", sec_ids=(TagValue("ISIN", "US0378331005"),), market_rule_ids="26",
    stock_type="COMMON", min_size=number("1"), size_increment=number("1"), suggested_size_increment=number("100"),
)  # fmt: skip
SAMPLES = replies.SymbolSamples(
    6,
    (
        replies.SymbolSample(265598, "AAPL", "STK", "NASDAQ", "USD", ("OPT", "WAR"), "APPLE INC"),
        replies.SymbolSample(1, "AAPX", "STK", "ARCA", "USD"),
    ),
)
HISTORY = replies.HistoricalData(
    7, "20261120  00:00:00", "20261121  00:00:00",
    (replies.HistoricalBar("20261120", *map(number, ("1", "3", "0.5", "2", "1000", "1.5")), bar_count=7),),
)  # fmt: skip


def test_a_portfolio_value_names_the_primary_exchange(library: Any) -> None:
    ((name, (contract, *values)),), complaints = library.hears(encode(PORTFOLIO))
    assert (name, complaints) == ("updatePortfolio", [])
    assert (contract["primaryExchange"], contract["exchange"]) == ("NASDAQ", "")
    assert values == [-10.0, 190.5, -1905.0, 191.25, 7.5, 0.0, "DU1"]


def test_contract_details_tell_tick_hours_and_sizes(library: Any) -> None:
    ((name, (req_id, details)),), complaints = library.hears(encode(DETAILS))
    assert (name, req_id, complaints) == ("contractDetails", 5, [])
    heard = {
        key: details[key] for key in ("minTick", "longName", "timeZoneId", "liquidHours", "marketRuleIds", "stockType")
    }
    assert heard == {
        "minTick": 0.01,
        "longName": "APPLE INC",
        "timeZoneId": "US/Eastern",
        "liquidHours": "20261123:0930-20261123:1600",
        "marketRuleIds": "26",
        "stockType": "COMMON",
    }
    assert [details[key] for key in ("minSize", "sizeIncrement", "suggestedSizeIncrement")] == [1.0, 1.0, 100.0]
    assert details["secIdList"] == [{"tag": "ISIN", "value": "US0378331005"}]
    contract = details["contract"]
    assert [contract[key] for key in ("conId", "symbol", "secType", "exchange", "primaryExchange", "currency")] == [
        265598, "AAPL", "STK", "NASDAQ", "NASDAQ", "USD",
    ]  # fmt: skip


def test_symbols_and_bars_are_heard_one_by_one(library: Any) -> None:
    calls, complaints = library.hears(encode(SAMPLES), encode(HISTORY))
    assert complaints == []
    (_, (_, samples)), (_, (_, bar)), (end, _) = calls
    assert [sample["contract"]["symbol"] for sample in samples] == ["AAPL", "AAPX"]
    assert samples[0]["derivativeSecTypes"] == ["OPT", "WAR"]
    assert samples[0]["contract"]["description"] == "APPLE INC"
    assert [bar[key] for key in ("date", "open", "high", "low", "close", "volume", "average", "barCount")] == [
        "20261120", 1.0, 3.0, 0.5, 2.0, 1000.0, 1.5, 7,
    ]  # fmt: skip
    assert end == "historicalDataEnd"


def test_an_execution_is_heard_with_the_time_of_its_zone(library: Any) -> None:
    new_york = dataclasses.replace(EXECUTION, req_id=9, time="20260102 10:00:00 US/Eastern")
    calls, complaints = library.hears(encode(EXECUTION), encode(new_york))
    assert complaints == []
    (_, (live, contract, execution)), (_, (asked, _, eastern)) = calls
    assert (live, asked) == (-1, 9)
    assert contract["exchange"] == "NASDAQ"
    assert (execution["execId"], execution["shares"], execution["price"], execution["cumQty"]) == (
        "0000e0d5.00000002.01.01", 6.0, 200.55, 10.0,
    )  # fmt: skip
    assert (execution["permId"], execution["clientId"], execution["orderRef"], execution["side"]) == (
        1900000000, 7, "K1", "BOT",
    )  # fmt: skip
    assert execution["time"].startswith("2026-11-21 02:53:50")
    assert eastern["time"].startswith("2026-01-02 15:00:00")


def test_an_execution_in_a_zone_that_nobody_knows_is_lost_at_the_client(library: Any) -> None:
    """This is what the fault of the same name is for: the library only writes it to its log."""
    calls, complaints = library.hears(encode(dataclasses.replace(EXECUTION, time="20260102 10:00:00 Mars/Olympus")))
    assert calls == []
    assert complaints


def test_commissions_of_what_opens_a_position_have_no_profit(library: Any) -> None:
    opening = replies.CommissionReport("a.01.01", number("1.25"), "USD")
    closing = replies.CommissionReport("b.01.01", number("1"), "USD", number("-3.5"))
    calls, complaints = library.hears(encode(opening), encode(closing))
    assert complaints == []
    heard = [(call[1][0]["execId"], call[1][0]["commission"], call[1][0]["realizedPNL"]) for call in calls]
    assert heard == [("a.01.01", 1.25, LARGEST_DOUBLE), ("b.01.01", 1.0, -3.5)]


# Any order


TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
NUMBERS = st.builds(Number, st.integers(-(10**9), 10**9), st.integers(0, 4))
INTS = st.integers(1, 2**31 - 2)
BY_KIND = {
    "str": TEXTS | st.just(""),
    "int": INTS,
    "int | None": st.none() | INTS,
    "bool": st.booleans(),
    "Number": NUMBERS,
    "Number | None": st.none() | NUMBERS,
}
TAGS = st.lists(st.builds(TagValue, TEXTS, TEXTS), max_size=2).map(tuple)


def values_of(kind: type[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = {field.name: BY_KIND[str(field.type)] for field in dataclasses.fields(kind) if str(field.type) in BY_KIND}
    return st.builds(kind, **(known | more))


ORDERS = values_of(
    Order,
    order_type=st.sampled_from(["MKT", "LMT", "TRAIL", "PEG BENCH"]),
    combo_legs=st.lists(values_of(ComboLeg), max_size=2).map(tuple),
    order_combo_leg_prices=st.lists(NUMBERS, max_size=2).map(tuple),
    smart_combo_routing_params=TAGS,
    algo_params=TAGS,
    scale_price_increment=st.none() | NUMBERS.filter(bool),  # the libraries hear 0 as absence
    delta_neutral_contract=st.none() | values_of(DeltaNeutralContract),
    conditions=st.lists(
        st.sampled_from(
            [
                Condition(("1", "a", "1", "190.5", "265598", "SMART", "0")),
                Condition(("3", "o", "0", "20261121 10:00:00 UTC")),
                Condition(("7", "a", "0", "2.5", "265598", "SMART")),
            ]
        ),
        max_size=2,
    ).map(tuple),
)
STATES = values_of(OrderState, status=st.sampled_from(["Submitted", "PreSubmitted", "Filled", "Inactive"]))
CONTRACTS = values_of(Contract, strike=NUMBERS)

# The fields of an order that openOrder and completedOrder do not say, or that only follow when another one is set.
_UNSAID = {
    "transmit", "override_percentage_constraints", "scale_table", "active_start_time", "active_stop_time", "algo_id",
    "order_misc_options", "ext_operator", "mifid2_decision_maker", "mifid2_decision_algo", "mifid2_execution_trader",
    "mifid2_execution_algo", "advanced_error_override", "manual_order_time", "compete_up_to_mid", "conditions",
    "combo_legs", "order_combo_leg_prices", "smart_combo_routing_params", "algo_params", "delta_neutral_contract",
    "soft_dollar_tier_name", "soft_dollar_tier_value", "soft_dollar_tier_display_name",
}  # fmt: skip
_UNSAID_WHEN_COMPLETED = _UNSAID | {
    "auction_strategy", "block_order", "e_trade_only", "firm_quote_only", "nbbo_price_cap", "parent_id", "what_if",
    "opt_out_smart_routing", "adjusted_order_type", "trigger_price", "adjusted_stop_price", "adjusted_stop_limit_price",
    "adjusted_trailing_amount", "adjustable_trailing_unit", "discretionary_up_to_limit_price", "use_price_mgmt_algo",
    "duration", "post_to_ats", "delta_neutral_settling_firm", "delta_neutral_clearing_account",
    "delta_neutral_clearing_intent", "delta_neutral_open_close",
}  # fmt: skip
_FOLLOWS: dict[str, Any] = {
    "scale_price_increment": [
        "scale_price_adjust_value", "scale_price_adjust_interval", "scale_profit_offset", "scale_auto_reset",
        "scale_init_position", "scale_init_fill_qty", "scale_random_percent",
    ],
    "hedge_type": ["hedge_param"],
    "conditions": ["conditions_ignore_rth", "conditions_cancel_order"],
}  # fmt: skip
_PEGGED = [
    "reference_contract_id", "is_pegged_change_amount_decrease", "pegged_change_amount", "reference_change_amount",
    "reference_exchange_id",
]  # fmt: skip
_GATEWAYS_SAY = {
    "delta_neutral_order_type": "None",
    "delta_neutral_open_close": "?",
    "adjusted_order_type": "None",
    "clearing_intent": "IB",
    "volatility_type": 0,
    "reference_price_type": 0,
    "lmt_price": 0.0,
    "aux_price": 0.0,
}


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return {"rule80a": "rule80A"}.get(name, head + "".join(part.capitalize() for part in tail))


def as_heard(name: str, kind: str, value: Any) -> Any:
    if value in (None, "") and name in _GATEWAYS_SAY:
        return _GATEWAYS_SAY[name]
    if value is None:
        return UNSET_INTEGER if kind.startswith("int") else LARGEST_DOUBLE
    return float(str(value)) if isinstance(value, Number) else value


# Where a field is absent and the library's own default is not "unset".
_DEFAULTS = {"display_size": 0, "total_quantity": 0.0, "discretionary_amt": 0.0, "pegged_change_amount": 0.0}
_DEFAULTS |= {"reference_change_amount": 0.0}


def said(order: Order, unsaid: set[str]) -> dict[str, Any]:
    off = set(unsaid)
    if order.scale_price_increment is None or order.scale_price_increment.units <= 0:
        off |= set(_FOLLOWS["scale_price_increment"])
    for name in ("hedge_type", "conditions"):
        if not getattr(order, name):
            off |= set(_FOLLOWS[name])
    if order.order_type != "PEG BENCH":
        off |= set(_PEGGED)
    heard = {}
    for field in dataclasses.fields(order):
        if field.name in off:
            continue
        value = getattr(order, field.name)
        absent_default = _DEFAULTS.get(field.name) if value is None else None
        heard[camel(field.name)] = (
            absent_default if absent_default is not None else as_heard(field.name, str(field.type), value)
        )
    if order.compete_up_to_mid:
        heard["competeAgainstBestOffset"] = float("inf")
    return heard


def check_contract(heard: dict[str, Any], contract: Contract, order: Order) -> None:
    assert heard["conId"] == contract.con_id
    assert heard["right"] == (contract.right or "?")
    assert heard["strike"] == float(str(contract.strike))
    assert [leg["conId"] for leg in heard["comboLegs"]] == [leg.con_id for leg in order.combo_legs]
    assert (heard["deltaNeutralContract"] is None) == (order.delta_neutral_contract is None)


def check_lists(heard: dict[str, Any], order: Order) -> None:
    assert [leg["price"] for leg in heard["orderComboLegs"]] == [float(str(p)) for p in order.order_combo_leg_prices]
    params = order.algo_params if order.algo_strategy else ()
    assert [pair["tag"] for pair in heard["algoParams"] or []] == [pair.tag for pair in params]
    assert len(heard["conditions"]) == len(order.conditions)


@WITH_LIBRARY
@given(contract=CONTRACTS, order=ORDERS, state=STATES, order_id=INTS, client_id=INTS, perm_id=INTS)
def test_any_open_order_is_heard_as_it_was_meant(
    library: Any, contract: Contract, order: Order, state: OrderState, order_id: int, client_id: int, perm_id: int
) -> None:
    reply = replies.OpenOrder(order_id, contract, order, state, client_id, perm_id)
    calls, complaints = library.hears(encode(reply))
    assert complaints == []
    ((name, (heard_id, heard_contract, heard_order, heard_state)),) = calls
    assert (name, heard_id) == ("openOrder", order_id)
    assert (heard_order["clientId"], heard_order["permId"]) == (client_id, perm_id)
    expected = said(order, _UNSAID)
    assert {key: heard_order[key] for key in expected} == expected
    check_contract(heard_contract, contract, order)
    check_lists(heard_order, order)
    assert heard_order["softDollarTier"]["name"] == order.soft_dollar_tier_name
    assert heard_state["status"] == state.status
    assert heard_state["initMarginAfter"] == wire.text_of(state.init_margin_after, UNSET_DOUBLE)
    assert heard_state["commission"] == as_heard("commission", "Number | None", state.commission)


@WITH_LIBRARY
@given(contract=CONTRACTS, order=ORDERS, perm_id=INTS, filled=NUMBERS)
def test_any_completed_order_is_heard_as_it_was_meant(
    library: Any, contract: Contract, order: Order, perm_id: int, filled: Number
) -> None:
    reply = replies.CompletedOrder(
        contract, order, "Cancelled", perm_id, filled, "20261121 02:53:50 UTC", "by trader", 5
    )
    calls, complaints = library.hears(encode(reply))
    assert complaints == []
    ((name, (heard_contract, heard_order, heard_state)),) = calls
    assert name == "completedOrder"
    assert (heard_order["orderId"], heard_order["clientId"], heard_order["permId"]) == (0, 0, perm_id)
    assert (heard_order["filledQuantity"], heard_order["parentPermId"]) == (float(str(filled)), 5)
    expected = said(order, _UNSAID_WHEN_COMPLETED)
    assert {key: heard_order[key] for key in expected} == expected
    check_contract(heard_contract, contract, order)
    check_lists(heard_order, order)
    assert (heard_state["status"], heard_state["completedStatus"]) == ("Cancelled", "by trader")


def test_an_order_survives_the_way_to_the_client_and_back(library: Any) -> None:
    """What was reloaded and is sent again as a modification means what the broker said."""
    from kestrel_simulators.tws.requests import PlaceOrder, parse

    reply = replies.OpenOrder(4, SMART, ORDER, OrderState("Submitted"), 7, 1900000001)
    ((_, (_, contract, order, _)),), _ = library.hears(encode(reply))
    order = {"$": "Order"} | {
        name: value for name, value in order.items() if isinstance(value, (int, float, str)) and value is not None
    }
    contract = {"$": "Contract"} | {
        name: value for name, value in contract.items() if isinstance(value, (int, float, str)) and value != ""
    }
    (sent,) = library.sends("placeOrder", 4, contract, order)
    read = parse(sent)
    assert isinstance(read, PlaceOrder)
    assert (read.contract, read.order.order_ref, read.order.total_quantity) == (SMART, "K2", number("5"))
    assert (read.order.delta_neutral_order_type, read.order.adjusted_order_type) == ("", "")
