"""The parts of the connector that need no socket: numbers, times, contracts, commands, pacing, wallets, bars."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_domain.errors import InvalidRequest, RemoteProtocolError
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.core.submission import Presence
from kestrel_venue_gateway.ibkr.core import commands, contracts, errors, exact, executions, recovery
from kestrel_venue_gateway.ibkr.core.balance import Wallet
from kestrel_venue_gateway.ibkr.core.bars import BarMaker
from kestrel_venue_gateway.ibkr.core.contracts import ContractSeen, Wanted
from kestrel_venue_gateway.ibkr.core.frames import FrameWatch
from kestrel_venue_gateway.ibkr.core.heard import ExecutionSeen, PositionSeen
from kestrel_venue_gateway.ibkr.core.orders import Life, Order
from kestrel_venue_gateway.ibkr.core.pacing import Pacer, Urgency
from kestrel_venue_gateway.ibkr.core.recovery import Answered

BUY, SELL = common_pb2.SIDE_BUY, common_pb2.SIDE_SELL
HOUR_NS = 3600 * SECOND_NS


# --- numbers and times --------------------------------------------------------------------------------------------


@given(st.integers(-(10**14), 10**14), st.integers(0, 8))
def test_any_price_of_fifteen_digits_comes_through_the_libraries_floats_exactly(units: int, scale: int) -> None:
    number = Number(units, scale)
    assert exact.exact(float(str(number)), "price") == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, "abc", "1,5"])
def test_what_is_no_number_of_ours_is_refused(value: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        exact.exact(value, "price")


@pytest.mark.parametrize("value", [1.7976931348623157e308, 2147483647, ""])
def test_unset_is_not_a_number(value: Any) -> None:
    assert exact.exact_or_none(value, "commission") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20260105 09:30:00 US/Eastern", 1767623400),
        ("20260105 09:30:00 UTC", 1767605400),
        ("20260105-09:30:00", 1767605400),
        ("20260105  09:30:00", 1767605400),
        ("20260105 09:30:00 Mars/Olympus", None),
        ("20260105", None),
        ("20261399 99:99:99 UTC", None),
        ("", None),
    ],
)
def test_time_of_an_execution_is_read_by_us_and_never_loses_one(text: str, seconds: int | None) -> None:
    assert exact.time_ns(text) == (None if seconds is None else seconds * SECOND_NS)


@given(st.text(max_size=40))
def test_no_text_of_a_time_raises(text: str) -> None:
    exact.time_ns(text)


@pytest.mark.parametrize(
    ("execution_id", "parts"),
    [
        ("0000e0d5.00000002.01.01", ("0000e0d5.00000002.01", 1)),
        ("0000e0d5.00000002.01.12", ("0000e0d5.00000002.01", 12)),
        ("plain", ("plain", 1)),
        (".5", (".5", 1)),
        ("", ("", 1)),
    ],
)
def test_execution_id_is_a_stem_and_a_revision(execution_id: str, parts: tuple[str, int]) -> None:
    assert executions.split(execution_id) == parts
    assert execution_id in list(executions.other_revisions(execution_id))


# --- codes --------------------------------------------------------------------------------------------------------


def test_only_known_codes_end_an_order() -> None:
    ends = {
        code for code in range(20_000) if errors.meaning(code) in (errors.Meaning.REJECTED, errors.Meaning.CANCELED)
    }
    assert ends <= set(errors._MEANING)
    assert {399, 404, 10349, 103, 104, 105, 161, 10147, 10148}.isdisjoint(ends)
    assert {201, 202, 203, 110, 321, 460} <= ends


# --- contracts ----------------------------------------------------------------------------------------------------


def share(**changes: Any) -> ContractSeen:
    values: dict[str, Any] = {
        "con_id": 265598, "symbol": "AAPL", "sec_type": "STK", "exchange": "SMART", "primary_exchange": "NASDAQ",
        "currency": "USD", "local_symbol": "AAPL", "trading_class": "NMS", "tick": Number(1, 2),
        "size_increment": Number(1, 4), "multiplier": Number(1, 0),
    }  # fmt: skip
    return ContractSeen(**{**values, **changes})


def test_share_becomes_a_version_of_an_instrument_that_follows_from_its_content() -> None:
    instrument = contracts.listing(share()).instrument
    assert (instrument.symbol, instrument.currency, instrument.multiplier) == ("AAPL", "USD", 1)
    assert Number(instrument.tick_units, instrument.price_scale) == Number(1, 2)
    assert Number(instrument.lot_units, instrument.qty_scale) == Number(1, 0)  # fractions are refused by this way
    assert contracts.listing(share(con_id=1)).instrument.version == instrument.version
    assert contracts.listing(share(tick=Number(5, 3))).instrument.version != instrument.version


def test_symbols_of_share_classes_go_both_ways() -> None:
    assert Wanted.parse("BRK-B").venue_symbol == "BRK B"
    assert contracts.symbol_of("BRK B", "STK", "BRK B") == "BRK-B"
    assert contracts.symbol_of("AAPL", "OPT", "AAPL  261218C00200000") == "AAPL--261218C00200000"
    assert Wanted.parse("SAP:IBIS:EUR") == Wanted("SAP", "IBIS", "EUR")


@pytest.mark.parametrize("text", ["", "aapl", "AAPL:SMART", "AAPL::USD", "A:B:C:D"])
def test_symbol_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Wanted.parse(text)


@pytest.mark.parametrize("broken", [{"tick": Number(0, 0)}, {"multiplier": Number(0, 0)}, {"multiplier": Number(5, 1)}])
def test_contract_that_no_instrument_describes_is_refused(broken: dict[str, Number]) -> None:
    with pytest.raises(RemoteProtocolError):
        contracts.listing(share(**broken))


@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=40))
def test_any_symbol_becomes_one_that_may_stand_in_a_subject(symbol: str, sec_type: str, local: str) -> None:
    from kestrel_domain.identifiers import checked_symbol

    checked_symbol("symbol", contracts.symbol_of(symbol, sec_type, local))


def test_hours_are_moments_in_the_contracts_own_zone() -> None:
    text = "20260105:0930-20260105:1600;20260106:CLOSED;nonsense"
    listing = contracts.listing(share(trading_hours=text, time_zone="US/Eastern"))
    opens_ns = 1767623400 * SECOND_NS
    assert listing.is_open(opens_ns) is True
    assert listing.is_open(opens_ns - 1) is False
    assert contracts.listing(share(trading_hours=text, time_zone="Mars")).is_open(opens_ns) is None


@pytest.mark.parametrize(
    ("changes", "qty", "price"),
    [
        ({"currency": "EUR"}, "10", "1.00"),
        ({"multiplier": 100}, "10", "1.00"),
        ({}, "0.5", "1.00"),
        ({}, "0", "1.00"),
        ({}, "10", "1.005"),
    ],
)
def test_command_that_does_not_fit_the_contract_is_not_sent(changes: dict[str, Any], qty: str, price: str) -> None:
    instrument = common_pb2.Instrument(**{"symbol": "AAPL", "currency": "USD", "multiplier": 1, **changes})
    with pytest.raises(InvalidRequest):
        contracts.check_command(contracts.listing(share()), instrument, Number.parse(qty), Number.parse(price))


# --- commands -----------------------------------------------------------------------------------------------------


def command(**changes: Any) -> journal_pb2.VenueCommand:
    values: dict[str, Any] = {
        "account": "DU1234567",
        "client_order_id": "ks1",
        "side": BUY,
        "order_qty": Number(10, 0).message(),
        "order_type": common_pb2.ORDER_TYPE_LIMIT,
        "price": Number.parse("101.50").message(),
        "time_in_force": common_pb2.TIME_IN_FORCE_DAY,
    }
    return journal_pb2.VenueCommand(**{**values, **changes})


@pytest.mark.parametrize(
    ("order_type", "expected"),
    [
        (common_pb2.ORDER_TYPE_MARKET, ("MKT", "", "")),
        (common_pb2.ORDER_TYPE_LIMIT, ("LMT", "101.50", "")),
        (common_pb2.ORDER_TYPE_STOP, ("STP", "", "101.50")),
    ],
)
def test_order_types_carry_the_price_where_the_venue_reads_it(order_type: Any, expected: tuple[str, str, str]) -> None:
    fields = commands.order_fields(command(order_type=order_type))
    assert (fields.order_type, fields.limit_price, fields.stop_price) == expected
    assert (fields.account, fields.order_ref, fields.time_in_force) == ("DU1234567", "ks1", "DAY")
    assert (fields.action, fields.total_quantity) == ("BUY", "10")


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": common_pb2.ORDER_TYPE_STOP_LIMIT},
        {"order_type": common_pb2.ORDER_TYPE_UNSPECIFIED},
        {"order_type": common_pb2.ORDER_TYPE_LIMIT, "price": None},
        {"side": common_pb2.SIDE_UNSPECIFIED},
        {"time_in_force": common_pb2.TIME_IN_FORCE_UNSPECIFIED},
        {"time_in_force": common_pb2.TIME_IN_FORCE_GTD},
        {"account": ""},
        {"client_order_id": "ks\n1"},
        {"client_order_id": "ks\x001"},
    ],
)
def test_command_that_the_venue_cannot_be_told_is_refused_before_it_is_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        commands.order_fields(command(**changes))


# --- pacing -------------------------------------------------------------------------------------------------------


def test_cancels_go_before_exits_before_entries_before_questions() -> None:
    pacer = Pacer(40)
    tickets = {urgency: pacer.ask(urgency) for urgency in reversed(Urgency)}
    assert pacer.take(0) == [tickets[urgency] for urgency in Urgency]


def test_cancel_finds_a_place_when_questions_fill_the_second() -> None:
    pacer = Pacer(8)
    for _ in range(50):
        pacer.ask(Urgency.QUERY)
    assert len(pacer.take(0)) == 6
    cancels = [pacer.ask(Urgency.CANCEL), pacer.ask(Urgency.EXIT)]
    assert pacer.take(1) == cancels
    assert pacer.take(2) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3 * 10**8)), max_size=200), st.integers(1, 50))
def test_no_second_ever_sees_more_messages_than_allowed_and_nobody_waits_for_ever(
    rows: list[tuple[int, int]], limit: int
) -> None:
    pacer, now_ns, sent_at_ns = Pacer(limit), 0, []
    for urgency, pause_ns in rows:
        now_ns += pause_ns
        pacer.ask(Urgency(urgency))
        sent_at_ns += [now_ns] * len(pacer.take(now_ns))
    while (next_ns := pacer.next_at_ns(now_ns)) is not None:
        assert next_ns >= now_ns
        now_ns = next_ns
        sent_at_ns += [now_ns] * len(pacer.take(now_ns))
    assert len(sent_at_ns) == len(rows)
    for index in range(limit, len(sent_at_ns)):
        assert sent_at_ns[index] - sent_at_ns[index - limit] > SECOND_NS


def test_who_gives_up_leaves_the_line() -> None:
    pacer = Pacer(1)
    first, second, third = (pacer.ask(Urgency.EXIT) for _ in range(3))
    pacer.drop(second)
    assert pacer.take(0) == [first]
    assert pacer.take(2 * SECOND_NS) == [third]


# --- frames -------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 7))
def test_frames_of_any_cut_are_followed(payloads: list[bytes], step: int) -> None:
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    watch = FrameWatch(50)
    wrong = [watch.feed(stream[place : place + step]) for place in range(0, len(stream), step)]
    assert not any(wrong)
    assert watch.frame_count == len(payloads)


@pytest.mark.parametrize("length", [51, 2**32 - 1, 0])
def test_frame_that_nobody_would_send_is_noticed_by_its_length_alone(length: int) -> None:
    assert FrameWatch(50).feed(length.to_bytes(4, "big"))


# --- verdicts -----------------------------------------------------------------------------------------------------


def verdict(order: Order | None, answered: Answered | None, now_ns: int = 20 * SECOND_NS) -> Presence:
    return recovery.verdict(
        order, answered, asked_at_ns=5, first_asked_at_ns=5, grace_ns=10 * SECOND_NS, now_ns=now_ns
    ).presence


def test_silence_is_unknown_and_never_absent() -> None:
    assert verdict(None, None) is Presence.UNKNOWN
    assert verdict(None, Answered(10, is_complete=False)) is Presence.UNKNOWN
    assert verdict(None, Answered(4, is_complete=True)) is Presence.UNKNOWN
    assert verdict(Order("ks1", sent_at_ns=1), None) is Presence.UNKNOWN


def test_absence_takes_every_answer_and_the_grace_time() -> None:
    assert verdict(None, Answered(10, is_complete=True), now_ns=SECOND_NS) is Presence.UNKNOWN
    assert verdict(None, Answered(10, is_complete=True)) is Presence.ABSENT
    assert verdict(Order("ks1", sent_at_ns=1), Answered(10, is_complete=True)) is Presence.ABSENT


@pytest.mark.parametrize(
    ("changes", "presence"),
    [
        ({"life": Life.WORKING}, Presence.FOUND),
        ({"life": Life.CANCELED}, Presence.FOUND),
        ({"life": Life.REJECTED}, Presence.REJECTED),
        ({"lots": {"e": Number(1, 0)}}, Presence.FOUND),
        ({"refusal": errors.refusal_of(103, "duplicate")}, Presence.REJECTED),
        ({"refusal": errors.refusal_of(77777, "who knows")}, Presence.UNKNOWN),
    ],
)
def test_what_was_heard_decides(changes: dict[str, Any], presence: Presence) -> None:
    assert verdict(Order("ks1", **changes), Answered(10, is_complete=True)) is presence


# --- the wallet ---------------------------------------------------------------------------------------------------


def position(qty: str, average_cost: str = "0", con_id: int = 1, currency: str = "USD") -> PositionSeen:
    return PositionSeen("DU1", con_id, "AAPL", currency, Number(1, 0), Number.parse(qty), Number.parse(average_cost))


def execution(
    execution_id: str, side: common_pb2.Side.ValueType, qty: str, price: str, at_ns: int = 1
) -> ExecutionSeen:
    return ExecutionSeen(
        execution_id, 1, 71, 9, "ks1", "DU1", "AAPL", "STK", side, Number.parse(qty), Number.parse(price), at_ns, 0, 1
    )


def wallet_text(wallet: Wallet, now_ns: int = HOUR_NS) -> str | None:
    balance = wallet.balance(now_ns=now_ns)
    return f"{Number.of(balance.wallet).decimal().normalize():f}" if balance is not None else None


def test_wallet_moves_by_fees_and_profit_and_not_by_notional_K13() -> None:
    wallet = Wallet("DU1")
    wallet.begin([], [], now_ns=0)
    wallet.learn_value("TotalCashValue", "10000", "USD")
    assert wallet_text(wallet) == "10000"

    wallet.learn_execution(execution("a", BUY, "10", "100"), now_ns=HOUR_NS)
    wallet.learn_position(position("10", "100.1"))
    wallet.learn_fee("a", Number(1, 0))
    wallet.learn_value("TotalCashValue", "8999", "USD")
    assert wallet_text(wallet) == "9999"
    assert wallet.average_price(1) == Number(100, 0)

    wallet.learn_execution(execution("b", SELL, "10", "110"), now_ns=HOUR_NS)
    wallet.learn_position(position("0"))
    wallet.learn_fee("b", Number(1, 0))
    wallet.learn_value("TotalCashValue", "10098", "USD")
    assert wallet_text(wallet) == "10098"


def test_cash_of_before_a_trade_is_held_back_and_an_unexplained_figure_is_told_once_it_stood_K14() -> None:
    wallet = Wallet("DU1")
    wallet.begin([], [], now_ns=0)
    wallet.learn_value("TotalCashValue", "10000", "USD")
    wallet_text(wallet)
    wallet.learn_execution(execution("a", BUY, "10", "100"), now_ns=HOUR_NS)
    wallet.learn_position(position("10", "100.1"))
    assert wallet_text(wallet, HOUR_NS) is None  # it would look like a gain of the notional
    wallet.learn_value("TotalCashValue", "9500", "USD")
    assert wallet_text(wallet, HOUR_NS + SECOND_NS) is None
    assert wallet_text(wallet, HOUR_NS + 20 * SECOND_NS) is None  # nobody was asked
    wallet.begin([position("10", "100.1")], [], now_ns=HOUR_NS + 21 * SECOND_NS)
    assert wallet_text(wallet, HOUR_NS + 22 * SECOND_NS) == "10500"


def test_position_of_before_costs_what_the_venue_says_and_one_of_today_what_was_paid() -> None:
    older, today = Wallet("DU1"), Wallet("DU1")
    older.begin([position("10", "100.1")], [], now_ns=0)
    today.begin([position("10", "100.1")], [execution("a", BUY, "10", "100")], now_ns=0)
    for wallet in (older, today):
        wallet.learn_value("TotalCashValue", "8999", "USD")
    assert wallet_text(older) == "10000"
    assert wallet_text(today) == "9999"
    assert older.average_price(1) is None


def test_short_position_and_one_through_zero_keep_the_wallet() -> None:
    wallet = Wallet("DU1")
    rows = [execution("a", SELL, "10", "100"), execution("b", BUY, "15", "90"), execution("c", SELL, "2", "95")]
    wallet.begin([position("3", "90")], rows, now_ns=0)
    # Sold 10 at 100, bought 15 at 90, sold 2 at 95: cash -160, profit 100 + 10, three shares at 90.
    wallet.learn_value("TotalCashValue", "9840", "USD")
    assert wallet_text(wallet) == "10110"


def test_position_in_another_currency_stays_out() -> None:
    wallet = Wallet("DU1")
    wallet.begin([position("10", "100", currency="EUR")], [], now_ns=0)
    wallet.learn_value("TotalCashValue", "9000", "USD")
    assert wallet_text(wallet) == "9000"


def test_no_balance_without_cash_and_none_twice() -> None:
    wallet = Wallet("DU1")
    wallet.begin([], [], now_ns=0)
    assert wallet.balance(now_ns=HOUR_NS) is None
    wallet.learn_value("TotalCashValue", "n/a", "USD")
    wallet.learn_value("TotalCashValue", "1", "BASE")
    assert wallet.balance(now_ns=HOUR_NS) is None
    wallet.learn_value("TotalCashValue", "5", "USD")
    assert wallet.balance(now_ns=HOUR_NS) is not None
    assert wallet.balance(now_ns=HOUR_NS) is None


_TRADES = st.lists(st.tuples(st.booleans(), st.integers(1, 20), st.integers(50, 150)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(_TRADES)
def test_wallet_is_what_profit_and_fees_make_of_it_whatever_was_traded(trades: list[tuple[bool, int, int]]) -> None:
    """Closed to flat, the wallet is the cash; and on the way it never moved by an open notional."""
    wallet, cash, net = Wallet("DU1"), 10_000_000, 0
    wallet.begin([], [], now_ns=0)
    wallet.learn_value("TotalCashValue", str(cash), "USD")
    wallet_text(wallet)
    rows = [*trades]
    total = sum(qty if is_buy else -qty for is_buy, qty, _ in trades)
    if total:
        rows.append((total < 0, abs(total), 100))
    figures = [Number(cash, 0)]
    for count, (is_buy, qty, price) in enumerate(rows):
        net += qty if is_buy else -qty
        cash -= (qty if is_buy else -qty) * price + 1
        wallet.learn_execution(execution(f"e{count}", BUY if is_buy else SELL, str(qty), str(price)), now_ns=HOUR_NS)
        wallet.learn_fee(f"e{count}", Number(1, 0))
        wallet.learn_position(position(str(net), "1"))
        wallet.learn_value("TotalCashValue", str(cash), "USD")
        balance = wallet.balance(now_ns=HOUR_NS)  # none where profit and fee make the wallet of before
        figures.append(Number.of(balance.wallet) if balance is not None else figures[-1])
    assert figures[-1] == Number(cash, 0)
    assert all(abs(figure - Number(10_000_000, 0)) <= Number(20 * 12 * 100 * 13, 0) for figure in figures)


# --- bars ---------------------------------------------------------------------------------------------------------


def test_prices_of_one_interval_become_one_bar_and_an_interval_without_prices_none() -> None:
    maker = BarMaker("ibkr", common_pb2.Instrument(symbol="AAPL"), 5 * SECOND_NS, place=3)
    maker.learn_volume(Number(1000, 0))
    for second, price in ((0, "10"), (1, "12"), (2, "9"), (3, "11"), (3, "0")):
        assert maker.learn_price(Number.parse(price), now_ns=100 * SECOND_NS + second * SECOND_NS) == []
    maker.learn_volume(Number(1250, 0))
    assert maker.take(now_ns=104 * SECOND_NS) == []
    (bar,) = maker.take(now_ns=117 * SECOND_NS)
    prices = [str(Number.of(value)) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    assert prices == ["10", "12", "9", "11", "250"]
    assert bar.start_ns == 100 * SECOND_NS
    assert maker.take(now_ns=500 * SECOND_NS) == []


def test_two_gateways_give_the_same_bar_the_same_number_and_later_ones_higher_numbers() -> None:
    numbers = []
    for start_s in (100, 105, 2000):
        pair = [BarMaker("ibkr", common_pb2.Instrument(symbol="AAPL"), 5 * SECOND_NS, place=3) for _ in range(2)]
        for offset, maker in enumerate(pair):
            maker.learn_price(Number(10, 0), now_ns=start_s * SECOND_NS + offset)
        bars = [maker.take(now_ns=(start_s + 5) * SECOND_NS)[0].venue_sequence for maker in pair]
        assert bars[0] == bars[1]
        numbers.append(bars[0])
    assert numbers == sorted(set(numbers))
