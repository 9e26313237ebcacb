"""The engine: each mode, each order type, each time in force, and the books to the unit."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_simulators.matching import Bar, Chance, Costs, Fate, Instrument, Life, MatchingEngine, Mode, NewOrder, draw

STOCK = Instrument("AAPL", 1, "USD", 4, 0, 100, 1, 1)


def key_with(fate: Fate, mode: Mode = Mode.REALISTIC, seed: int = 7) -> str:
    """An order id that this fate falls to."""
    return next(key for key in (f"k{n}" for n in range(10_000)) if draw(Chance(mode, seed), key).fate is fate)


# ── Modes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_instant_fills_every_market_order_at_once_at_the_last_price_T15(desk: Any) -> None:
    assert desk.order("BUY", 10, key="a").life is Life.FILLED
    assert desk.facts("a") == ["ACKNOWLEDGED", "10@100.0000"]
    assert desk.position == 10


@pytest.mark.parametrize(
    "mode,filled,partial,rejected,delayed", [(Mode.REALISTIC, 900, 50, 30, 20), (Mode.ADVERSARIAL, 700, 150, 100, 50)]
)
def test_the_engine_does_what_the_mode_says_T15(
    make_desk: Any, mode: Mode, filled: int, partial: int, rejected: int, delayed: int
) -> None:
    desk = make_desk(mode)
    desk.flat_bar(100)
    outcomes: Counter[str] = Counter()
    for number in range(1000):
        key = f"o{number}"
        order = desk.order("BUY" if number % 2 else "SELL", 100, key=key)
        said = desk.facts(key)
        outcomes["reject" if said[0] == "REJECTED" else "delay" if len(said) == 1 else order.life.value] += 1
    assert abs(outcomes["FILLED"] - filled) <= 50
    assert abs(outcomes["WORKING"] - partial) <= 40
    assert abs(outcomes["reject"] - rejected) <= 35
    assert abs(outcomes["delay"] - delayed) <= 25


def test_a_partial_fill_leaves_a_rest_that_the_next_price_fills_T15(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.PARTIAL)
    order = desk.order("BUY", 100, key=key)
    first = order.cum_qty_units
    assert 0 < first < 100
    assert order.life is Life.WORKING
    desk.flat_bar(101)
    assert order.life is Life.FILLED
    assert desk.facts(key) == ["ACKNOWLEDGED", f"{first}@100.0000", f"{100 - first}@101.0000"]


def test_the_rest_of_a_partial_fill_does_not_wait_longer_than_its_delay_T15(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    order = desk.order("BUY", 100, key=key_with(Fate.PARTIAL))
    due_ns = desk.engine.next_deadline_ns()
    assert due_ns == desk.now_ns + order.fortune.delay_ns
    desk.engine.advance(due_ns - 1)
    assert order.life is Life.WORKING
    desk.engine.advance(due_ns)
    assert order.life is Life.FILLED
    assert desk.engine.next_deadline_ns() is None


def test_a_single_lot_cannot_be_filled_in_part(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    assert desk.order("BUY", 1, key=key_with(Fate.PARTIAL)).life is Life.FILLED


def test_a_delayed_order_is_acknowledged_and_filled_when_its_time_comes_at_the_price_of_then_T15(
    make_desk: Any,
) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.DELAY)
    order = desk.order("BUY", 10, tif="GTC", key=key)
    due_ns = desk.engine.next_deadline_ns()
    desk.flat_bar(105)
    assert desk.facts(key) == ["ACKNOWLEDGED"]
    desk.engine.advance(due_ns)
    assert order.life is Life.FILLED
    assert desk.facts(key) == ["ACKNOWLEDGED", "10@105.0000"]


def test_a_canceled_order_has_no_deadline_left(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.DELAY)
    desk.order("BUY", 10, key=key)
    desk.engine.cancel("A", key, now_ns=desk.now_ns)
    assert desk.engine.next_deadline_ns() is None
    desk.wait(60)
    assert desk.facts(key) == ["ACKNOWLEDGED", "CANCELED"]


def test_a_rejected_order_says_so_and_moves_nothing_T15(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.REJECT)
    order = desk.order("BUY", 10, key=key)
    assert (order.life, order.reason.reason) == (Life.REJECTED, "VENUE_REJECTED")
    assert desk.facts(key) == ["REJECTED"]
    assert (desk.position, desk.wallet) == (0, "1000000.00000000")


def test_the_fate_of_an_order_does_not_depend_on_what_arrived_before_it_T15(make_desk: Any) -> None:
    keys = [f"o{number}" for number in range(200)]
    said = []
    for order_of_arrival in (keys, list(reversed(keys))):
        desk = make_desk(Mode.ADVERSARIAL)
        desk.flat_bar(100)
        for key in order_of_arrival:
            desk.order("BUY", 100, key=key)
        desk.wait(60)
        said.append({key: desk.facts(key) for key in keys})
    assert said[0] == said[1]


# ── Identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_client_order_id_again_does_nothing_but_count(desk: Any) -> None:
    first = desk.order("BUY", 10, key="a")
    events = len(desk.account.events)
    assert desk.order("SELL", 99, key="a") is first
    assert len(desk.account.events) == events
    assert desk.account.arrivals == {"a": 2}


def test_a_fenced_id_can_never_become_an_order(desk: Any) -> None:
    desk.engine.fence("A", "ghost", now_ns=desk.now_ns)
    events = len(desk.account.events)
    order = desk.order("BUY", 10, key="ghost")
    assert (order.life, order.reason.reason) == (Life.REJECTED, "FENCED")
    assert "ghost" not in desk.account.orders
    assert len(desk.account.events) == events
    assert desk.account.arrivals == {"ghost": 1}


def test_execution_ids_follow_from_account_order_and_count(make_desk: Any) -> None:
    ids = []
    for _ in range(2):
        desk = make_desk(Mode.REALISTIC)
        desk.flat_bar(100)
        for number in range(50):
            desk.order("BUY", 100, key=f"o{number}")
        desk.flat_bar(101)
        ids.append([fill.execution_id for fill in desk.account.fills])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])


# ── Order types ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_limit_rests_until_a_bar_touches_it_and_is_filled_at_its_own_price_as_maker(make_desk: Any) -> None:
    desk = make_desk(costs=Costs(taker_fee_ppm=500, maker_fee_ppm=200, slippage_ppm_max=0))
    desk.flat_bar(100)
    desk.order("BUY", 10, "LIMIT", "GTC", limit=95, key="a")
    desk.bar(100, 101, 96, 99)
    assert desk.facts("a") == ["ACKNOWLEDGED"]
    desk.bar(99, 100, 95, 97)
    assert desk.facts("a") == ["ACKNOWLEDGED", "10@95.0000"]
    assert desk.account.fills[0].liquidity == venue_pb2.LIQUIDITY_MAKER
    assert str(Number.of(desk.account.fills[0].fee)) == "0.19000000"


def test_a_limit_that_the_open_jumps_over_is_filled_at_the_open(desk: Any) -> None:
    desk.order("BUY", 10, "LIMIT", "GTC", limit=95, key="a")
    desk.bar(90, 92, 89, 91)
    assert desk.facts("a")[-1] == "10@90.0000"


def test_a_stop_wakes_where_it_is_touched_and_at_the_open_when_jumped_over(desk: Any) -> None:
    desk.order("BUY", 30)
    desk.order("SELL", 10, "STOP", "GTC", stop=95, key="touched")
    desk.order("SELL", 10, "STOP", "GTC", stop=80, key="jumped")
    desk.bar(100, 101, 94, 99)
    assert desk.facts("touched")[-1] == "10@95.0000"
    desk.bar(75, 76, 74, 75)
    assert desk.facts("jumped")[-1] == "10@75.0000"


def test_of_a_stop_and_a_target_in_one_bar_the_stop_is_true(desk: Any) -> None:
    desk.order("BUY", 10)
    desk.order("SELL", 10, "LIMIT", "GTC", limit=110, key="target", reduce_only=True)
    desk.order("SELL", 10, "STOP", "GTC", stop=90, key="stop", reduce_only=True)
    desk.bar(100, 111, 89, 100)
    assert desk.facts("stop")[-1] == "10@90.0000"
    assert desk.facts("target") == ["ACKNOWLEDGED", "CANCELED"]
    assert desk.position == 0


def test_a_stop_limit_wakes_and_then_keeps_its_limit(desk: Any) -> None:
    order = desk.order("SELL", 10, "STOP_LIMIT", "GTC", stop=95, limit=94, key="a")
    desk.bar(90, 92, 88, 91)  # jumps over both: awake, and not filled below its limit
    assert (order.triggered, order.life) == (True, Life.WORKING)
    desk.bar(93, 96, 93, 95)
    assert desk.facts("a")[-1] == "10@94.0000"


def test_a_stop_limit_is_not_filled_at_a_limit_behind_the_bar(desk: Any) -> None:
    """It wakes at 95 on the way down; that the bar came from 100 must not fill its limit of 98."""
    order = desk.order("SELL", 10, "STOP_LIMIT", "GTC", stop=95, limit=98, key="a")
    desk.bar(100, 100, 94, 94)
    assert order.life is Life.WORKING
    desk.bar(97, 98, 96, 97)
    assert desk.facts("a")[-1] == "10@98.0000"


def test_quotes_fill_a_buyer_at_the_ask_and_a_seller_at_the_bid(desk: Any) -> None:
    desk.engine.on_quote(STOCK, 990000, 1010000, now_ns=desk.now_ns)
    desk.order("BUY", 10, key="b")
    desk.order("SELL", 10, key="s")
    assert desk.facts("b")[-1] == "10@101.0000"
    assert desk.facts("s")[-1] == "10@99.0000"
    desk.order("SELL", 10, "LIMIT", "GTC", limit=100, key="l")
    desk.engine.on_quote(STOCK, 1000000, 1010000, now_ns=desk.now_ns)
    assert desk.facts("l")[-1] == "10@100.0000"
    with pytest.raises(InvalidRequest, match="bid"):
        desk.engine.on_quote(STOCK, 2, 1, now_ns=desk.now_ns)


# ── Time in force ────────────────────────────────────────────────────────────────────────────────────────


def test_ioc_fills_what_it_can_and_cancels_the_rest(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.PARTIAL)
    order = desk.order("BUY", 100, tif="IOC", key=key)
    assert order.life is Life.CANCELED
    assert desk.facts(key) == ["ACKNOWLEDGED", f"{order.cum_qty_units}@100.0000", "CANCELED"]
    assert order.reason.reason == "NOT_FILLED_AT_ONCE"


def test_fok_is_filled_whole_or_not_at_all(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = key_with(Fate.PARTIAL)
    desk.order("BUY", 100, tif="FOK", key=key)
    assert desk.facts(key) == ["ACKNOWLEDGED", "CANCELED"]
    desk.order("BUY", 100, "LIMIT", "FOK", limit=90, key=key_with(Fate.FILL))
    assert desk.facts(key_with(Fate.FILL)) == ["ACKNOWLEDGED", "CANCELED"]


def test_a_day_order_lives_through_the_next_daily_bar_and_expires_with_it(desk: Any) -> None:
    desk.order("BUY", 10, "LIMIT", "DAY", limit=50, key="a")
    desk.flat_bar(100)
    assert desk.facts("a") == ["ACKNOWLEDGED", "EXPIRED"]


def test_a_day_order_on_intraday_bars_expires_before_the_next_day(make_desk: Any) -> None:
    desk = make_desk()
    desk.bar(100, 100, 100, 100, interval_ns=60_000_000_000)
    desk.order("BUY", 10, "LIMIT", "DAY", limit=99, key="a")
    desk.bar(98, 98, 98, 98, interval_ns=60_000_000_000)  # a minute of the next day
    assert desk.facts("a") == ["ACKNOWLEDGED", "EXPIRED"]


def test_gtc_stays(desk: Any) -> None:
    desk.order("BUY", 10, "LIMIT", "GTC", limit=50, key="a")
    for _ in range(5):
        desk.flat_bar(100)
    assert desk.facts("a") == ["ACKNOWLEDGED"]


# ── Cancels ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_ends_a_working_order_once(desk: Any) -> None:
    desk.order("BUY", 10, "LIMIT", "GTC", limit=50, key="a")
    for _ in range(2):
        desk.engine.cancel("A", "a", now_ns=desk.now_ns)
    assert desk.facts("a") == ["ACKNOWLEDGED", "CANCELED"]


def test_a_cancel_that_comes_too_late_is_rejected_once_and_an_unknown_one_is_nothing(desk: Any) -> None:
    desk.order("BUY", 10, key="a")
    for _ in range(2):
        desk.engine.cancel("A", "a", now_ns=desk.now_ns)
    assert desk.facts("a") == ["ACKNOWLEDGED", "10@100.0000", "CANCEL_REJECTED"]
    assert desk.engine.cancel("A", "nobody", now_ns=desk.now_ns) is None


# ── Reduce-only ──────────────────────────────────────────────────────────────────────────────────────────


def test_reduce_only_without_a_position_is_rejected(desk: Any) -> None:
    assert desk.order("SELL", 10, reduce_only=True).reason.reason == "NOTHING_TO_REDUCE"
    desk.order("BUY", 10)
    assert desk.order("BUY", 10, reduce_only=True).reason.reason == "NOTHING_TO_REDUCE"


def test_reduce_only_never_turns_a_position_around(desk: Any) -> None:
    desk.order("BUY", 10)
    desk.order("SELL", 25, key="a", reduce_only=True)
    assert desk.facts("a") == ["ACKNOWLEDGED", "10@100.0000", "CANCELED"]
    assert desk.position == 0


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_instrument_does_not_allow_is_rejected_and_recorded(desk: Any) -> None:
    assert desk.order("BUY", 10, symbol="NOPE").reason.reason == "SYMBOL_UNKNOWN"
    assert desk.order("BUY", 10, "LIMIT", limit=99.995).reason.reason == "PRICE_TICK"
    assert desk.order("BUY", 0).reason.field == "order_qty"
    assert desk.order("BUY", -5).reason.field == "order_qty"
    assert len(desk.account.orders) == 4


@pytest.mark.parametrize(
    "changes,field",
    [
        ({"client_order_id": "a b"}, "client_order_id"),
        ({"client_order_id": ""}, "client_order_id"),
        ({"side": common_pb2.SIDE_UNSPECIFIED}, "side"),
        ({"order_type": common_pb2.ORDER_TYPE_UNSPECIFIED}, "order_type"),
        ({"time_in_force": common_pb2.TIME_IN_FORCE_GTD}, "time_in_force"),
        ({"order_type": common_pb2.ORDER_TYPE_LIMIT}, "price"),
        ({"order_type": common_pb2.ORDER_TYPE_STOP}, "stop_price"),
        (
            {
                "order_type": common_pb2.ORDER_TYPE_STOP,
                "stop_price": Number(1, 0),
                "time_in_force": common_pb2.TIME_IN_FORCE_IOC,
            },
            "time_in_force",
        ),
    ],
)
def test_what_could_never_be_an_order_leaves_no_trace(desk: Any, changes: dict[str, Any], field: str) -> None:
    base = {
        "account": "A",
        "client_order_id": "a",
        "symbol": "AAPL",
        "side": common_pb2.SIDE_BUY,
        "order_qty": Number(1, 0),
        "order_type": common_pb2.ORDER_TYPE_MARKET,
        "time_in_force": common_pb2.TIME_IN_FORCE_DAY,
    }
    with pytest.raises(InvalidRequest) as caught:
        desk.engine.place(NewOrder(**(base | changes)), now_ns=desk.now_ns)
    assert caught.value.field == field
    assert not desk.account.orders
    assert not desk.account.arrivals


def test_an_unknown_account_is_an_error_and_never_an_empty_answer(desk: Any) -> None:
    with pytest.raises(Refused, match="not open"):
        desk.engine.account("B")


def test_opening_an_account_again_changes_nothing_and_with_other_money_is_refused(desk: Any) -> None:
    desk.order("BUY", 10)
    events = len(desk.account.events)
    desk.engine.open_account("A", Number.parse("1000000"), "USD", now_ns=desk.now_ns)
    assert len(desk.account.events) == events
    with pytest.raises(Refused, match="open already"):
        desk.engine.open_account("A", Number.parse("5"), "USD", now_ns=desk.now_ns)
    with pytest.raises(InvalidRequest, match="wallet"):
        desk.engine.open_account("B", Number.parse("-1"), "USD", now_ns=desk.now_ns)
    with pytest.raises(InvalidRequest, match="currency"):
        desk.engine.open_account("B", Number.parse("1"), "usd", now_ns=desk.now_ns)


def test_a_bar_out_of_order_or_of_another_instrument_is_refused(desk: Any) -> None:
    bar = Bar(1, 1, 1, 1, start_ns=0, interval_ns=DAY_NS)
    with pytest.raises(InvalidRequest, match=r"bar\.start_ns"):
        desk.engine.on_bar(STOCK, bar, now_ns=desk.now_ns)
    with pytest.raises(InvalidRequest, match="instrument"):
        desk.engine.on_bar(
            Instrument("AAPL", 2, "USD", 2, 0, 1, 1, 1), Bar(1, 1, 1, 1, 9 * DAY_NS, DAY_NS), now_ns=desk.now_ns
        )


def test_an_order_in_a_currency_the_account_does_not_have_is_rejected(desk: Any) -> None:
    euro = Instrument("SAP", 1, "EUR", 4, 0, 100, 1, 1)
    desk.engine.on_bar(euro, Bar(1000000, 1000000, 1000000, 1000000, 0, DAY_NS), now_ns=desk.now_ns)
    assert desk.order("BUY", 10, symbol="SAP").reason.field == "symbol"


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────


def test_wallet_arithmetic_to_the_unit(make_desk: Any) -> None:
    desk = make_desk(costs=Costs(taker_fee_ppm=500, maker_fee_ppm=200, slippage_ppm_max=0))
    desk.flat_bar(100.01)
    desk.order("BUY", 3)  # 300.03, fee 0.150015
    desk.flat_bar(100.02)
    desk.order("BUY", 4)  # 400.08, fee 0.20004
    assert desk.wallet == "999999.64994500"
    desk.flat_bar(101.00)
    desk.order("SELL", 5)  # 505.00 - 700.11 x 5/7 (rounded up at 8 decimals), fee 0.2525
    # released basis 500.07857143 -> realized 4.92142857
    assert desk.wallet == "1000004.31887357"
    desk.flat_bar(99.00)
    desk.order("SELL", 6)  # closes 2, opens 4 short: 198.00 - 200.03142857, fee 0.297
    assert desk.position == -4
    assert desk.wallet == "1000001.99044500"
    # Whole trades lose nothing to the roundings between: 505 + 198 - 700.11 = 2.89, fees 0.899555.
    assert desk.wallet == str(Number.parse("1000002.89") - Number.parse("0.89955500"))


def test_a_fee_is_rounded_against_the_account(make_desk: Any) -> None:
    fine = Instrument("X", 1, "USD", price_scale=4, qty_scale=4, tick_units=1, lot_units=1, multiplier=1)
    desk = make_desk(costs=Costs(taker_fee_ppm=333, maker_fee_ppm=0, slippage_ppm_max=0), instrument=fine)
    desk.flat_bar(0.0101)
    desk.order("BUY", 1)  # notional 0.00000101, fee 0.000000000336 -> 0.00000001
    assert Number.of(desk.account.fills[0].fee).units == 1


def test_slippage_makes_a_takers_price_worse_by_whole_ticks_and_never_beyond_its_limit(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC, costs=Costs(0, 0, slippage_ppm_max=10_000))
    desk.flat_bar(100)
    keys = [f"s{n}" for n in range(200) if draw(Chance(Mode.REALISTIC, 7), f"s{n}").fate is Fate.FILL]
    prices = set()
    for number, key in enumerate(keys):
        desk.order("BUY" if number % 2 else "SELL", 10, key=key)
        price = Number.of(desk.account.fills[-1].last_price).units
        prices.add(price)
        assert price % 100 == 0
        assert (1000000 <= price <= 1010000) if number % 2 else (990000 <= price <= 1000000)
    assert len(prices) > 20
    desk.order("BUY", 10, "LIMIT", "GTC", limit=100, key=key_with(Fate.FILL))
    assert desk.facts(key_with(Fate.FILL))[-1] == "10@100.0000"


def test_every_fill_is_followed_by_the_balance_that_contains_it(desk: Any) -> None:
    desk.order("BUY", 10)
    desk.order("SELL", 10)
    kinds = [type(event.fact).__name__ for event in desk.account.events]
    assert kinds == ["Balance", "OrderReport", "Fill", "Balance", "OrderReport", "Fill", "Balance"]
    balances = [event.fact for event in desk.account.events if isinstance(event.fact, venue_pb2.Balance)]
    assert [balance.execution_watermark for balance in balances] == [0, 1, 2]
    assert [balance.venue_sequence for balance in balances] == [1, 4, 7]
    assert [str(Number.of(balance.available)) for balance in balances] == [
        "1000000.00000000",
        "999000.00000000",
        "1000000.00000000",
    ]


def test_drift_moves_the_position_and_says_nothing(desk: Any) -> None:
    desk.order("BUY", 10)
    events = len(desk.account.events)
    position = desk.engine.drift("A", "AAPL", Number.parse("-3"), now_ns=desk.now_ns)
    assert (position.qty_units, len(desk.account.events), desk.wallet) == (7, events, "1000000.00000000")
    with pytest.raises(Refused, match="no price"):
        desk.engine.drift("A", "NOPE", Number.parse("1"), now_ns=desk.now_ns)
    with pytest.raises(InvalidRequest, match="qty"):
        desk.engine.drift("A", "AAPL", Number.parse("0"), now_ns=desk.now_ns)


# ── Any sequence ─────────────────────────────────────────────────────────────────────────────────────────


def random_run(seed: int, steps: int, mode: Mode) -> MatchingEngine:
    """Orders of all kinds, cancels, bars and waits, as a seed has it."""
    chance = random.Random(seed)
    engine = MatchingEngine(Chance(mode, seed), Costs(500, 200, 300))
    engine.open_account("A", Number.parse("100000.00"), "USD", now_ns=0)
    now_ns, day, price = 0, 0, 1_000_000
    types = [common_pb2.OrderType.Value(f"ORDER_TYPE_{n}") for n in ("MARKET", "LIMIT", "STOP", "STOP_LIMIT")]
    times = [common_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{n}") for n in ("DAY", "GTC", "IOC", "FOK")]
    for step in range(steps):
        now_ns += chance.randrange(8_000_000_000)
        engine.advance(now_ns)
        what = chance.random()
        if what < 0.35 or not engine.markets:
            day += 1
            points = sorted(max(100, price + 100 * chance.randrange(-800, 801)) for _ in range(4))
            open_, close = chance.sample(points[1:3], 2)
            engine.on_bar(STOCK, Bar(open_, points[3], points[0], close, day * DAY_NS, DAY_NS), now_ns=now_ns)
            price = close
        elif what < 0.9:
            kind, tif = chance.choice(types), chance.choice(times)
            if kind in types[2:]:
                tif = chance.choice(times[:2])
            near = Number(max(100, price // 100 * 100 + 100 * chance.randrange(-300, 301)), 4)
            engine.place(
                NewOrder(
                    "A",
                    f"o{step - chance.choice([0, 0, 0, 1])}",
                    "AAPL",
                    chance.choice([common_pb2.SIDE_BUY, common_pb2.SIDE_SELL]),
                    Number(chance.randrange(1, 50), 0),
                    kind,
                    tif,
                    price=near if kind in (types[1], types[3]) else None,
                    stop_price=near if kind in types[2:] else None,
                    reduce_only=chance.random() < 0.3,
                ),
                now_ns=now_ns,
            )
        else:
            engine.cancel("A", f"o{chance.randrange(step + 1)}", now_ns=now_ns)
    return engine


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(Mode))
def test_position_is_the_sum_of_fills_and_wallet_is_start_plus_realized_minus_fees_T15(seed: int, mode: Mode) -> None:
    account = random_run(seed, 150, mode).accounts["A"]
    signed = sum(fill.last_qty.units * (1 if fill.side == common_pb2.SIDE_BUY else -1) for fill in account.fills)
    position = account.positions.get("AAPL")
    assert (position.qty_units if position else 0) == signed
    fees = sum(fill.fee.units for fill in account.fills)
    assert account.fee_units == fees
    assert account.wallet_units == account.start_wallet_units + account.realized_units - fees
    # Cash and cost add up: what was paid and received is what was realized and what is still open.
    cash = sum(
        fill.last_qty.units * fill.last_price.units * 10**4 * (-1 if fill.side == common_pb2.SIDE_BUY else 1)
        for fill in account.fills
    )
    basis = position.basis_units if position else 0
    assert cash == account.realized_units - (basis if signed >= 0 else -basis)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(Mode))
def test_orders_and_events_agree_and_sequences_have_no_gap_T15(seed: int, mode: Mode) -> None:
    engine = random_run(seed, 150, mode)
    account = engine.accounts["A"]
    assert [event.sequence for event in account.events] == list(range(1, len(account.events) + 1))
    filled: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for event in account.events:
        if isinstance(event.fact, venue_pb2.Fill):
            assert ended[event.fact.client_order_id] == 0
            filled[event.fact.client_order_id] += event.fact.last_qty.units
        elif isinstance(event.fact, venue_pb2.OrderReport) and event.fact.fact in (
            venue_pb2.ORDER_FACT_CANCELED,
            venue_pb2.ORDER_FACT_EXPIRED,
            venue_pb2.ORDER_FACT_REJECTED,
        ):
            ended[event.fact.client_order_id] += 1
    for key, order in account.orders.items():
        assert order.cum_qty_units == filled[key] <= max(order.order_qty_units, 0)
        assert (order.life is Life.FILLED) == (order.order_qty_units > 0 and order.leaves_units == 0)
        assert ended[key] == (order.life in (Life.CANCELED, Life.EXPIRED, Life.REJECTED))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(Mode))
def test_the_same_calls_give_the_same_facts_T15(seed: int, mode: Mode) -> None:
    first, second = random_run(seed, 120, mode), random_run(seed, 120, mode)
    assert first.accounts["A"].events == second.accounts["A"].events
