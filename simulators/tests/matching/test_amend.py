"""What brokers with more manners need of the engine: amending, executing at will, and hearing it all at once."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Chance, Event, Fate, Life, Mode, NewOrder, draw


def dollars(number: int) -> Number:
    return Number(number * 10_000, 4)


def amend(desk: Any, key: str, qty: int, **more: Any) -> Any:
    desk.now_s += 1
    return desk.engine.amend("A", key, order_qty=Number(qty, 0), now_ns=desk.now_ns, **more)


def test_an_amended_order_trades_at_its_new_price(desk: Any) -> None:
    order = desk.order("BUY", 10, "LIMIT", limit=90, tif="GTC", key="k")
    amend(desk, "k", 12, price=dollars(95))
    desk.flat_bar(96)
    assert order.cum_qty_units == 0
    amend(desk, "k", 12, price=dollars(97))
    assert (order.life, order.cum_qty_units) == (Life.FILLED, 12)
    assert desk.facts("k") == ["ACKNOWLEDGED", "12@96.0000"]


def test_another_quantity_alone_does_not_make_an_order_trade(desk: Any) -> None:
    order = desk.order("SELL", 10, "STOP", stop=90, tif="GTC", key="k")
    amend(desk, "k", 5, stop_price=dollars(90))
    desk.flat_bar(89)
    assert (order.life, order.cum_qty_units, desk.position) == (Life.FILLED, 5, -5)


def test_a_stop_that_is_moved_to_where_the_price_is_wakes_up(desk: Any) -> None:
    order = desk.order("SELL", 10, "STOP", stop=90, key="k")
    amend(desk, "k", 10, stop_price=dollars(101))
    assert order.life is Life.FILLED


@pytest.mark.parametrize(
    ("qty", "more"),
    [
        (10, {}),
        (10, {"price": Number(900_001, 4)}),
        (10, {"price": dollars(-1)}),
        (0, {"price": dollars(90)}),
    ],
)
def test_an_amendment_that_cannot_be_is_refused_and_changes_nothing(desk: Any, qty: int, more: Any) -> None:
    order = desk.order("BUY", 10, "LIMIT", limit=90, key="k")
    request = order.request
    with pytest.raises(InvalidRequest):
        amend(desk, "k", qty, **more)
    assert (order.request, order.price_units, order.order_qty_units) == (request, 900_000, 10)


def test_less_than_what_is_filled_cannot_be_asked_for(make_desk: Any) -> None:
    desk = make_desk(Mode.REALISTIC)
    desk.flat_bar(100)
    key = next(key for key in (f"k{n}" for n in range(10_000)) if draw(desk.engine.chance, key).fate is Fate.PARTIAL)
    order = desk.order("BUY", 100, "LIMIT", limit=100, key=key)
    with pytest.raises(InvalidRequest, match="filled already"):
        amend(desk, key, order.cum_qty_units, price=dollars(100))


def test_orders_that_ended_or_never_were_cannot_be_amended_or_executed(desk: Any) -> None:
    desk.order("BUY", 10, key="k")
    for key in ("k", "none"):
        with pytest.raises(Refused):
            amend(desk, key, 20)
        with pytest.raises(Refused):
            desk.engine.execute("A", key, Number(1, 0), now_ns=desk.now_ns)


def test_an_execution_at_will_is_at_the_limit_or_at_the_market(desk: Any) -> None:
    resting = desk.order("BUY", 10, "LIMIT", limit=90, key="limit")
    desk.order("SELL", 10, "STOP", stop=80, key="stop")
    desk.engine.execute("A", "limit", Number(4, 0), now_ns=desk.now_ns)
    desk.engine.execute("A", "stop", Number(10, 0), now_ns=desk.now_ns)
    assert desk.facts("limit") == ["ACKNOWLEDGED", "4@90.0000"]
    assert desk.facts("stop") == ["ACKNOWLEDGED", "10@100.0000"]
    with pytest.raises(InvalidRequest, match="at most 6"):
        desk.engine.execute("A", "limit", Number(7, 0), now_ns=desk.now_ns)
    assert resting.leaves_units == 6


def test_a_listener_hears_each_event_in_the_middle_of_matching_and_may_cancel_the_next_order(desk: Any) -> None:
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event.fact, venue_pb2.Fill) and event.fact.client_order_id == "stop":
            desk.engine.cancel("A", "target", now_ns=desk.now_ns)

    desk.account.listener = listen
    desk.order("BUY", 10)
    desk.order("SELL", 10, "STOP", stop=90, key="stop")
    target = desk.order("SELL", 10, "LIMIT", limit=110, key="target")
    desk.bar(100, 120, 80, 100)
    assert target.life is Life.CANCELED
    assert desk.position == 0
    assert [event.sequence for event in heard] == list(range(2, desk.account.last_sequence + 1))


def test_a_fortune_can_be_drawn_from_another_name_than_the_orders_T15(make_desk: Any) -> None:
    desk = make_desk(Mode.ADVERSARIAL)
    desk.flat_bar(100)
    asked = desk.order("BUY", 10, key="plain").request
    request = NewOrder(**{name: getattr(asked, name) for name in NewOrder.__slots__} | {
        "client_order_id": "other", "lot_key": "drawn",
    })  # fmt: skip
    order = desk.engine.place(request, now_ns=desk.now_ns)
    assert order.fortune == draw(Chance(Mode.ADVERSARIAL, 7), "drawn")
