"""What both libraries really send is read back as it was meant; what nobody sends is refused, and never worse."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kestrel_domain.numbers import Number
from kestrel_simulators.tws import requests, wire
from kestrel_simulators.tws.requests import Request, parse
from kestrel_simulators.tws.terms import (
    CONDITION_FIELD_COUNT,
    PEG_BENCH,
    PEG_BEST,
    PEG_MID,
    ComboLeg,
    Condition,
    Contract,
    DeltaNeutralContract,
    Order,
    TagValue,
)
from kestrel_simulators.tws.wire import WireError

OLDER_VERSIONS = [157, 158, 159, 160, 162, 163, 164, 166, 169, 170, 173]
WITH_LIBRARY = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an order of 130 fields takes minutes to shrink
    max_examples=30,
    deadline=None,
)

AAPL = {"$": "Contract", "conId": 265598, "symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
AAPL_READ = Contract(265598, "AAPL", "STK", exchange="SMART", currency="USD")

# The frame of a plain limit order as both libraries send it; "|" stands for NUL.
PLACE_ORDER = (
    "3|4|265598|AAPL|STK||0.0|||SMART||USD|||||BUY|5|LMT|190.0|||||O|0|K2|1|0|0|0|0|0|0|0||0.0||||||||0||-1|0|||0|||0|0"
    "||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||0|0|0|0|||0|||"
)


def payload(texts: str) -> bytes:
    return texts.replace("|", "\0").encode()


def read_one(library: Any, method: str, *args: Any, version: int = 176) -> Request:
    (sent,) = library.sends(method, *args, version=version)
    return parse(sent, version)


def test_a_plain_order_is_115_fields_and_reads_as_what_was_asked(library: Any) -> None:
    order = {"$": "LimitOrder", "action": "BUY", "totalQuantity": 5, "lmtPrice": 190.0, "orderRef": "K2"}
    (sent,) = library.sends("placeOrder", 4, AAPL, order)
    assert sent == payload(PLACE_ORDER)
    assert len(wire.split(sent)) == 115
    expected = Order("BUY", Number(5, 0), "LMT", Number(190, 0), order_ref="K2")
    assert parse(sent) == requests.PlaceOrder(4, AAPL_READ, expected)


@pytest.mark.parametrize(
    "method, args, expected",
    [
        ("startApi", [], requests.StartApi(-1, "")),
        ("reqIds", [1], requests.ReqIds(1)),
        ("reqManagedAccts", [], requests.ReqManagedAccounts()),
        ("reqAccountUpdates", [True, "DU1"], requests.ReqAccountUpdates(True, "DU1")),
        ("reqAccountUpdatesMulti", [3, "DU1", "", False], requests.ReqAccountUpdatesMulti(3, "DU1", "", False)),
        ("cancelAccountUpdatesMulti", [3], requests.CancelAccountUpdatesMulti(3)),
        ("reqAccountSummary", [3, "All", "Cushion"], requests.ReqAccountSummary(3, "All", "Cushion")),
        ("cancelAccountSummary", [3], requests.CancelAccountSummary(3)),
        ("reqPositions", [], requests.ReqPositions()),
        ("cancelPositions", [], requests.CancelPositions()),
        ("reqOpenOrders", [], requests.ReqOpenOrders()),
        ("reqAllOpenOrders", [], requests.ReqAllOpenOrders()),
        ("reqAutoOpenOrders", [True], requests.ReqAutoOpenOrders(True)),
        ("reqCompletedOrders", [False], requests.ReqCompletedOrders(False)),
        (
            "reqExecutions",
            [3, {"$": "ExecutionFilter", "clientId": 7, "time": "20261121-10:00:00"}],
            requests.ReqExecutions(3, 7, "", "20261121-10:00:00", "", "", "", ""),
        ),
        ("cancelOrder", [4, ""], requests.CancelOrder(4)),
        ("reqGlobalCancel", [], requests.ReqGlobalCancel()),
        ("reqContractDetails", [3, AAPL], requests.ReqContractDetails(3, AAPL_READ, False, "", "")),
        ("reqMktData", [3, AAPL, "233", True, False, []], requests.ReqMktData(3, AAPL_READ, (), None, "233", True)),
        ("cancelMktData", [3], requests.CancelMktData(3)),
        ("reqMarketDataType", [3], requests.ReqMarketDataType(3)),
        ("reqCurrentTime", [], requests.ReqCurrentTime()),
        ("reqPnL", [3, "DU1", ""], requests.ReqPnl(3, "DU1", "")),
        ("cancelPnL", [3], requests.CancelPnl(3)),
        ("reqPnLSingle", [3, "DU1", "", 265598], requests.ReqPnlSingle(3, "DU1", "", 265598)),
        ("cancelPnLSingle", [3], requests.CancelPnlSingle(3)),
        ("reqMatchingSymbols", [3, "AAP"], requests.ReqMatchingSymbols(3, "AAP")),
        ("reqMarketRule", [26], requests.ReqMarketRule(26)),
        ("cancelHistoricalData", [3], requests.CancelHistoricalData(3)),
        ("setServerLogLevel", [5], requests.SetServerLogLevel(5)),
        (
            "reqHistoricalData",
            [3, AAPL, "", "1 D", "1 min", "TRADES", True, 1, False, []],
            requests.ReqHistoricalData(3, AAPL_READ, False, "", "1 min", "1 D", True, "TRADES", 1),
        ),
    ],
)  # fmt: skip
def test_each_request_of_both_libraries_is_read_to_its_last_field(
    library: Any, method: str, args: list[Any], expected: Request
) -> None:
    assert read_one(library, method, *args) == expected


def test_messages_of_no_concern_are_kept_as_unknown(library: Any) -> None:
    assert read_one(library, "reqScannerParameters") == requests.UnknownRequest(24, ("1",))
    assert read_one(library, "reqUserInfo", 9) == requests.UnknownRequest(104, ("9",))


@pytest.mark.parametrize("version", OLDER_VERSIONS)
def test_older_versions_send_fewer_fields_and_mean_the_same(library: Any, version: int) -> None:
    order = {"$": "LimitOrder", "action": "SELL", "totalQuantity": 5, "lmtPrice": 190.0, "orderRef": "K2"}
    expected = Order("SELL", Number(5, 0), "LMT", Number(190, 0), order_ref="K2")
    assert read_one(library, "placeOrder", 4, AAPL, order, version=version) == requests.PlaceOrder(
        4, AAPL_READ, expected
    )
    assert read_one(library, "cancelOrder", 4, version=version) == requests.CancelOrder(4)
    details = read_one(library, "reqContractDetails", 3, AAPL, version=version)
    assert details == requests.ReqContractDetails(3, AAPL_READ, False, "", "")


def test_the_placeholders_of_a_reloaded_order_shift_its_fields_and_mean_nothing(library: Any) -> None:
    order = {"$": "Order", "action": "BUY", "totalQuantity": 5.0, "orderType": "LMT", "lmtPrice": 191.0}
    order |= {"deltaNeutralOrderType": "None", "adjustedOrderType": "None", "deltaNeutralOpenClose": "?"}
    (sent,) = library.sends("placeOrder", 4, AAPL | {"right": "?"}, order)
    assert len(wire.split(sent)) == 123
    expected = Order("BUY", Number(5, 0), "LMT", Number(191, 0), delta_neutral_open_close="?")
    assert parse(sent) == requests.PlaceOrder(4, AAPL_READ, expected)


def test_market_data_of_combinations_carries_their_legs(library: Any) -> None:
    leg = {"$": "ComboLeg", "conId": 1, "ratio": 2, "action": "BUY", "exchange": "SMART"}
    bag = {"$": "Contract", "symbol": "X", "secType": "BAG", "comboLegs": [leg], "exchange": "SMART"}
    bag["deltaNeutralContract"] = {"$": "DeltaNeutralContract", "conId": 5, "delta": 0.5, "price": 10.0}
    read = read_one(library, "reqMktData", 3, bag, "", False, True, [])
    assert isinstance(read, requests.ReqMktData)
    assert read.combo_legs == (ComboLeg(1, 2, "BUY", "SMART"),)
    assert read.delta_neutral_contract == DeltaNeutralContract(5, Number(5, 1), Number(10, 0))
    assert (read.snapshot, read.regulatory_snapshot) == (False, True)
    history = read_one(library, "reqHistoricalData", 3, bag, "", "1 D", "1 min", "MIDPOINT", False, 2, True, [])
    assert isinstance(history, requests.ReqHistoricalData)
    assert (history.combo_legs, history.keep_up_to_date) == (read.combo_legs, True)


# Any order, through the library's own client and back


LIBRARY_NAMES = {
    "rule80a": "rule80A",
    "last_trade_date": "lastTradeDateOrContractMonth",
    "price": "price",
}
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=8)
NUMBERS = st.builds(Number, st.integers(-(10**9), 10**9), st.integers(0, 4))
INTS = st.integers(-(2**31) + 1, 2**31 - 2)
BY_KIND = {
    "str": TEXTS,
    "int": INTS,
    "int | None": st.none() | INTS,
    "bool": st.booleans(),
    "Number": NUMBERS,
    "Number | None": st.none() | NUMBERS,
}
ORDER_TYPES = TEXTS.filter(lambda text: text != "None")
"""Where an order may name the type of another one, libraries write "None" for none."""
TAGS = st.lists(st.builds(TagValue, TEXTS, TEXTS), max_size=3).map(tuple)


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return LIBRARY_NAMES.get(name, head + "".join(part.capitalize() for part in tail))


def values_of(kind: type[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = {field.name: BY_KIND[str(field.type)] for field in dataclasses.fields(kind) if str(field.type) in BY_KIND}
    return st.builds(kind, **(known | more))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[Condition, ...]:
    samples = {
        1: ("a", "1", "190.5", "265598", "SMART", "0"),
        3: ("o", "0", "20261121 10:00:00 UTC"),
        4: ("a", "1", "30"),
        5: ("a", "STK", "SMART", "AAPL"),
        6: ("o", "1", "5000", "265598", "SMART"),
        7: ("a", "0", "2.5", "265598", "SMART"),
    }
    kinds = draw(st.lists(st.sampled_from(sorted(CONDITION_FIELD_COUNT)), max_size=3))
    return tuple(Condition((str(kind), *samples[kind])) for kind in kinds)


CONTRACTS = values_of(
    Contract,
    sec_type=st.sampled_from(["STK", "BAG", "OPT"]),
    exchange=st.sampled_from(["SMART", "IBKRATS"]),
    strike=NUMBERS,
)
ORDERS = values_of(
    Order,
    order_type=st.sampled_from(["MKT", "LMT", "STP LMT", PEG_BENCH[0], PEG_BEST[0], PEG_MID[0]]),
    combo_legs=st.lists(values_of(ComboLeg), max_size=2).map(tuple),
    order_combo_leg_prices=st.lists(st.none() | NUMBERS, max_size=2).map(tuple),
    smart_combo_routing_params=TAGS,
    algo_params=TAGS,
    delta_neutral_contract=st.none() | values_of(DeltaNeutralContract, delta=NUMBERS, price=NUMBERS),
    conditions=conditions(),
    total_quantity=NUMBERS,
    discretionary_amt=NUMBERS,
    delta_neutral_order_type=ORDER_TYPES,
    adjusted_order_type=ORDER_TYPES,
    pegged_change_amount=NUMBERS,
    reference_change_amount=NUMBERS,
    order_misc_options=st.just(""),
    soft_dollar_tier_display_name=st.just(""),
    volatility=st.none(),  # ib_async takes it off orders that are not of volatility
)


def only_what_travels(contract: Contract, order: Order) -> Order:
    """The order without what its own terms keep off the wire."""
    off: list[str] = []
    if contract.sec_type != "BAG":
        off += ["combo_legs", "order_combo_leg_prices", "smart_combo_routing_params"]
    if not order.delta_neutral_order_type:
        off += [
            field.name
            for field in dataclasses.fields(Order)
            if field.name.startswith("delta_neutral_")
            and field.name not in ("delta_neutral_order_type", "delta_neutral_aux_price", "delta_neutral_contract")
        ]
    if order.scale_price_increment is None or order.scale_price_increment.units <= 0:
        off += [
            "scale_price_adjust_value", "scale_price_adjust_interval", "scale_profit_offset", "scale_auto_reset",
            "scale_init_position", "scale_init_fill_qty", "scale_random_percent",
        ]  # fmt: skip
    if not order.hedge_type:
        off += ["hedge_param"]
    if not order.algo_strategy:
        off += ["algo_params"]
    if order.order_type not in PEG_BENCH:
        off += ["reference_contract_id", "is_pegged_change_amount_decrease", "pegged_change_amount"]
        off += ["reference_change_amount", "reference_exchange_id"]
    if not order.conditions:
        off += ["conditions_ignore_rth", "conditions_cancel_order"]
    if contract.exchange != "IBKRATS":
        off += ["min_trade_qty"]
    if order.order_type not in PEG_BEST:
        off += ["min_compete_size", "compete_against_best_offset", "compete_up_to_mid"]
    elif order.compete_up_to_mid:
        off += ["compete_against_best_offset"]
    if not (order.order_type in PEG_MID or (order.order_type in PEG_BEST and order.compete_up_to_mid)):
        off += ["mid_offset_at_whole", "mid_offset_at_half"]
    defaults = Order()
    return dataclasses.replace(order, **{name: getattr(defaults, name) for name in off})


def as_library_value(value: Any) -> Any:
    if isinstance(value, Number):
        return float(str(value))
    if isinstance(value, TagValue):
        return {"$": "TagValue", "tag": value.tag, "value": value.value}
    if isinstance(value, tuple):
        return [as_library_value(item) for item in value]
    if isinstance(value, (ComboLeg, DeltaNeutralContract)):
        return {"$": type(value).__name__} | {
            camel(field.name): as_library_value(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return value


CONDITION_CLASSES = {
    1: ("PriceCondition", ["conjunction", "isMore", "price", "conId", "exch", "triggerMethod"]),
    3: ("TimeCondition", ["conjunction", "isMore", "time"]),
    4: ("MarginCondition", ["conjunction", "isMore", "percent"]),
    5: ("ExecutionCondition", ["conjunction", "secType", "exch", "symbol"]),
    6: ("VolumeCondition", ["conjunction", "isMore", "volume", "conId", "exch"]),
    7: ("PercentChangeCondition", ["conjunction", "isMore", "changePercent", "conId", "exch"]),
}


def as_library_condition(condition: Condition) -> dict[str, Any]:
    name, members = CONDITION_CLASSES[condition.kind]
    return {"$": name} | dict(zip(members, condition.fields[1:], strict=True))


def as_library_order(order: Order) -> dict[str, Any]:
    values = {field.name: getattr(order, field.name) for field in dataclasses.fields(order)}
    for name in ("combo_legs", "delta_neutral_contract", "order_misc_options", "soft_dollar_tier_display_name"):
        del values[name]
    tier = {"name": values.pop("soft_dollar_tier_name"), "val": values.pop("soft_dollar_tier_value")}
    prices = [
        {"$": "OrderComboLeg"} | ({} if price is None else {"price": as_library_value(price)})
        for price in values.pop("order_combo_leg_prices")
    ]
    kinds = [as_library_condition(condition) for condition in values.pop("conditions")]
    if values.pop("compete_up_to_mid"):
        values["compete_against_best_offset"] = float("inf")
    if values["display_size"] is None:
        values["display_size"] = wire.UNSET_INTEGER  # elsewhere the library's own default is absence
    written = {camel(name): as_library_value(value) for name, value in values.items() if value is not None}
    return {
        "$": "Order",
        "softDollarTier": {"$": "SoftDollarTier"} | tier,
        "orderComboLegs": prices,
        "conditions": kinds,
    } | written


@WITH_LIBRARY
@given(order_id=INTS, contract=CONTRACTS, order=ORDERS)
def test_any_order_is_read_as_either_library_meant_it(
    library: Any, order_id: int, contract: Contract, order: Order
) -> None:
    order = only_what_travels(contract, order)
    written = {"$": "Contract", "comboLegs": as_library_value(order.combo_legs)}
    written |= {
        camel(name): as_library_value(value) for name, value in dataclasses.asdict(contract).items() if name != "strike"
    }
    written["strike"] = as_library_value(contract.strike)
    if order.delta_neutral_contract is not None:
        written["deltaNeutralContract"] = as_library_value(order.delta_neutral_contract)
    (sent,) = library.sends("placeOrder", order_id, written, as_library_order(order))
    read = parse(sent)
    assert isinstance(read, requests.PlaceOrder)
    if contract.right == "?":
        contract = dataclasses.replace(contract, right="")
    assert read == requests.PlaceOrder(order_id, contract, order)


# What nobody sends


def test_trailing_garbage_is_refused_and_so_is_a_missing_field() -> None:
    good = payload(PLACE_ORDER)
    with pytest.raises(WireError, match="1 fields too many"):
        parse(good + b"x\0")
    with pytest.raises(WireError, match="ends after"):
        parse(good[:-1])
    with pytest.raises(WireError, match="1 fields too many"):
        parse(payload("61|1||"))


@pytest.mark.parametrize("field, text", [(1, "1.5"), (17, "many"), (19, "NaN"), (27, "True"), (90, "9"), (90, "-1")])
def test_a_field_that_makes_no_sense_is_refused_by_name(field: int, text: str) -> None:
    texts = wire.split(payload(PLACE_ORDER))
    texts[field] = text
    with pytest.raises(WireError):
        parse(wire.join(texts))


def test_a_condition_of_no_known_kind_is_refused() -> None:
    texts = wire.split(payload(PLACE_ORDER))
    texts[90:91] = ["1", "2", "a"]
    with pytest.raises(WireError, match="condition type"):
        parse(wire.join(texts))


def test_the_tags_of_an_account_summary_are_a_list() -> None:
    read = parse(payload("62|1|3|All|NetLiquidation, Cushion,|"))
    assert isinstance(read, requests.ReqAccountSummary)
    assert read.tag_names == ("NetLiquidation", "Cushion")


@given(st.binary(max_size=200))
def test_no_bytes_can_do_more_than_be_refused(data: bytes) -> None:
    _read_or_refuse(data)


@given(
    st.sampled_from(sorted(requests.BY_MESSAGE_ID)),
    st.lists(st.sampled_from(["0", "1", "2", "", "BAG", "-1", "x", "5.0", "1e9", "None", "PEG BEST"]), max_size=140),
)
def test_no_fields_can_do_more_than_be_refused(message_id: int, texts: list[str]) -> None:
    _read_or_refuse(wire.join([str(message_id), *texts]))


@given(st.data())
def test_a_damaged_order_is_read_or_refused(data: st.DataObject) -> None:
    texts = wire.split(payload(PLACE_ORDER))
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(texts) - 1))
        texts[index] = data.draw(
            st.sampled_from(["", "1", "-1", "7", "None", "BAG", "PEG BENCH", "Infinite", "9" * 30, "1e400", "\u0663"])
        )
    _read_or_refuse(wire.join(texts))


def _read_or_refuse(data: bytes) -> None:
    read: Request | None = None
    with contextlib.suppress(WireError):
        read = parse(data)
    assert read is None or isinstance(read, Request)
