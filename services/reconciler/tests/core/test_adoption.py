"""Which positions of the venue would be taken over first, when there are fewer slots than positions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_reconciler.core.adoption import divide


def position(symbol: str, qty: int, price: str = "") -> venue_pb2.TruthPosition:
    held = venue_pb2.TruthPosition(symbol=symbol, qty=Number(qty, 0).message())
    if price:
        held.average_price.CopyFrom(Number.parse(price).message())
    return held


HELD = [position("SMALL", 1000, "0.50"), position("SHORT", -100, "90.00"), position("LONG", 10, "100.00")]


def test_the_largest_by_notional_is_taken_whatever_its_side_and_the_rest_are_orphans_X13() -> None:
    assert divide(HELD, 2).adoptable == ("SHORT", "LONG")
    assert divide(HELD, 2).orphans == ("SMALL",)


def test_without_a_free_slot_all_are_orphans_and_with_enough_none_X13() -> None:
    assert divide(HELD, 0).orphans == divide(HELD, -1).orphans == ("SHORT", "LONG", "SMALL")
    assert divide(HELD, 3).orphans == ()


def test_a_position_without_a_cost_is_an_orphan_even_beside_a_free_slot_X13() -> None:
    division = divide([position("NOCOST", 10**9), *HELD], 8)
    assert (division.adoptable, division.orphans) == (("SHORT", "LONG", "SMALL"), ("NOCOST",))


def test_equal_notionals_are_told_apart_by_symbol_and_a_flat_one_is_no_position_X13() -> None:
    held = [position("B", 1, "10"), position("A", 10, "1.00"), position("FLAT", 0, "5")]
    assert divide(held, 1).adoptable == ("A",)
    assert divide(held, 1).orphans == ("B",)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 99)), max_size=9), st.integers(0, 9), st.randoms())
def test_nothing_is_lost_and_the_order_of_the_answer_is_not_the_order_of_the_question_X13(
    held: list[tuple[int, int]], free: int, chance: object
) -> None:
    positions = [position(f"S{place}", qty, str(price)) for place, (qty, price) in enumerate(held)]
    shuffled = list(positions)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    division = divide(positions, free)
    assert division == divide(shuffled, free)
    assert len(division.adoptable) <= free
    assert sorted(division.adoptable + division.orphans) == sorted(each.symbol for each in positions if each.qty.units)
