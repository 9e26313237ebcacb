"""Orders that protect another one, and groups in which a fill of one takes as much of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Fate, Life, Mode, Order, draw
from kestrel_simulators.matching.chance import Chance


def bracket(desk: Any, *, limit: float | None = None, qty: int = 10, key: str = "e") -> tuple[Order, Order, Order]:
    """A bought entry with a stop at 95 and a target at 110."""
    kind = {"kind": "LIMIT", "limit": limit} if limit is not None else {}
    entry = desk.order("BUY", qty, key=key, tif="GTC", **kind)
    own = {"tif": "GTC", "parent": key, "group": key, "reduce_only": True}
    stop = desk.order("SELL", qty, "STOP", stop=95, key=f"{key}-S", **own)
    target = desk.order("SELL", qty, "LIMIT", limit=110, key=f"{key}-T", **own)
    return entry, stop, target


def test_the_orders_of_a_bracket_sleep_until_their_entry_has_filled_T01(desk: Any) -> None:
    _, stop, target = bracket(desk, limit=98)
    desk.bar(100, 112, 99, 100)
    assert (stop.asleep, target.asleep, desk.position) == (True, True, 0)
    desk.flat_bar(98)
    assert (stop.asleep, target.asleep, desk.position) == (False, False, 10)
    desk.bar(105, 111, 105, 106)
    assert desk.facts("e-T") == ["ACKNOWLEDGED", "10@110.0000"]
    assert desk.facts("e-S") == ["ACKNOWLEDGED", "CANCELED"]
    assert desk.position == 0


def test_of_the_stop_and_the_target_in_one_bar_the_stop_is_true_also_in_the_bar_of_the_entry_T01(desk: Any) -> None:
    bracket(desk, limit=98)
    desk.bar(100, 115, 90, 100)
    assert desk.facts("e") == ["ACKNOWLEDGED", "10@98.0000"]
    assert desk.facts("e-S") == ["ACKNOWLEDGED", "10@95.0000"]
    assert desk.facts("e-T") == ["ACKNOWLEDGED", "CANCELED"]
    assert desk.position == 0


def test_the_orders_of_a_bracket_end_with_an_entry_that_never_traded_T01(desk: Any) -> None:
    bracket(desk, limit=98)
    desk.engine.cancel("A", "e", now_ns=desk.now_ns)
    assert [desk.facts(key)[-1] for key in ("e", "e-S", "e-T")] == ["CANCELED"] * 3
    late = desk.order("SELL", 10, "STOP", stop=95, tif="GTC", parent="e")
    assert (late.life, late.reason.reason) == (Life.REJECTED, "PARENT_ENDED")


def test_of_a_partly_filled_entry_the_bracket_protects_what_was_filled_T01(desk: Any) -> None:
    bracket(desk, limit=98)
    desk.engine.execute("A", "e", Number(4, 0), now_ns=desk.now_ns)
    desk.flat_bar(99)
    assert desk.engine.account("A").orders["e-S"].asleep
    desk.engine.cancel("A", "e", now_ns=desk.now_ns)
    desk.flat_bar(94)
    assert desk.facts("e-S") == ["ACKNOWLEDGED", "4@94.0000", "CANCELED"]
    assert desk.facts("e-T") == ["ACKNOWLEDGED", "CANCELED"]
    assert desk.position == 0


def test_an_exit_of_the_group_takes_from_the_orders_of_the_bracket_what_it_fills_T01(desk: Any) -> None:
    bracket(desk)
    assert desk.position == 10
    desk.order("SELL", 10, "LIMIT", limit=105, key="x", tif="GTC", group="e", reduce_only=True)
    desk.engine.execute("A", "x", Number(4, 0), now_ns=desk.now_ns)
    assert desk.position == 6
    desk.engine.cancel("A", "x", now_ns=desk.now_ns)
    desk.flat_bar(90)
    assert desk.facts("e-S") == ["ACKNOWLEDGED", "6@90.0000", "CANCELED"]
    assert (desk.facts("e-T")[-1], desk.position) == ("CANCELED", 0)


def test_a_target_that_fills_in_parts_leaves_the_rest_its_stop_T01(desk: Any) -> None:
    bracket(desk)
    desk.engine.execute("A", "e-T", Number(7, 0), now_ns=desk.now_ns)
    assert desk.engine.account("A").orders["e-S"].life is Life.WORKING
    desk.flat_bar(94)
    assert desk.facts("e-S") == ["ACKNOWLEDGED", "3@94.0000", "CANCELED"]
    assert (desk.facts("e-T")[-1], desk.position) == ("CANCELED", 0)


def test_an_order_protects_only_an_order_that_is_there_on_the_other_side_of_the_same_symbol_T01(desk: Any) -> None:
    unknown = desk.order("SELL", 10, "STOP", stop=95, tif="GTC", parent="nobody")
    assert (unknown.life, unknown.reason.reason) == (Life.REJECTED, "PARENT_UNKNOWN")
    desk.order("BUY", 10, key="e", tif="GTC")
    same_side = desk.order("BUY", 10, "STOP", stop=105, tif="GTC", parent="e")
    assert (same_side.life, same_side.reason.reason) == (Life.REJECTED, "PARENT_MISMATCH")


def test_a_bracket_is_taken_whole_or_not_at_all_T01(desk: Any) -> None:
    entry, stop, _ = (order.request for order in bracket(desk, limit=98, key="known"))
    entry, stop = (
        replace(entry, client_order_id="new"),
        replace(stop, client_order_id="new-S", parent_id="new", group="new"),
    )
    with pytest.raises(InvalidRequest, match="parent_id"):
        desk.engine.place_bracket([entry, replace(stop, parent_id="known")], now_ns=desk.now_ns)
    desk.engine.fence("A", "new-S", now_ns=desk.now_ns)
    with pytest.raises(Refused, match="closed for ever"):
        desk.engine.place_bracket([entry, stop], now_ns=desk.now_ns)
    assert "new" not in desk.engine.account("A").orders


def test_a_fenced_entry_takes_its_orders_with_it_and_the_same_bracket_again_is_the_same_T01(desk: Any) -> None:
    requests = [order.request for order in bracket(desk, limit=98, key="known")]
    again = desk.engine.place_bracket(requests, now_ns=desk.now_ns)
    assert [order.life for order in again] == [Life.WORKING] * 3
    assert desk.engine.account("A").arrivals["known"] == 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    prices=st.lists(st.integers(88, 116), min_size=4, max_size=14),
    exit_at=st.integers(0, 13),
    limit=st.sampled_from([None, 97, 100, 103]),
    mode=st.sampled_from([Mode.REALISTIC, Mode.ADVERSARIAL]),
)
def test_no_order_of_a_bracket_ever_turns_the_position_T01(
    make_desk: Any, seed: int, prices: list[int], exit_at: int, limit: int | None, mode: Mode
) -> None:
    desk = make_desk(mode, seed=seed)
    desk.flat_bar(100)
    bracket(desk, limit=limit)
    for place, price in enumerate(prices):
        if place == exit_at and desk.position:
            desk.order("SELL", desk.position, key="x", tif="GTC", group="e", reduce_only=True)
        desk.bar(price, price + 4, price - 4, price)
        desk.wait(7)
        assert desk.position >= 0
    orders = desk.account.orders
    left = sum(orders[key].cum_qty_units for key in ("e-S", "e-T", "x") if key in orders)
    assert left + desk.position == orders["e"].cum_qty_units
    if orders["e"].life is not Life.WORKING and not desk.position:
        assert all(orders[key].life is not Life.WORKING for key in ("e-S", "e-T"))


def test_an_order_of_a_bracket_that_the_venue_does_not_want_leaves_the_others_T01(make_desk: Any) -> None:
    desk = make_desk(Mode.ADVERSARIAL)
    desk.flat_bar(100)
    chance = desk.engine.chance
    fates = {"e": Fate.FILL, "e-S": Fate.REJECT, "e-T": Fate.FILL}
    seed = next(
        seed
        for seed in range(100_000)
        if all(draw(Chance(chance.mode, seed), key).fate is fate for key, fate in fates.items())
    )
    desk = make_desk(Mode.ADVERSARIAL, seed=seed)
    desk.flat_bar(100)
    entry, stop, target = bracket(desk)
    assert (entry.life, stop.life, target.life) == (Life.FILLED, Life.REJECTED, Life.WORKING)
