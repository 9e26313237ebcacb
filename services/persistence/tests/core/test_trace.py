"""Hops in time order."""

from kestrel_persistence.core.trace import Hop, in_order


def test_hops_are_in_time_order_with_the_time_since_the_one_before() -> None:
    found = in_order([Hop(2, "c", "z", 30), Hop(0, "a", "x", 10), Hop(1, "b", "y", 10)])
    assert [(hop.event, elapsed) for hop, elapsed in found] == [("x", 0), ("y", 0), ("z", 20)]


def test_a_hop_that_is_found_twice_is_shown_once() -> None:
    assert len(in_order([Hop(0, "a", "x", 1), Hop(0, "a", "x", 1)])) == 1


def test_no_hops_are_no_way() -> None:
    assert in_order([]) == []
