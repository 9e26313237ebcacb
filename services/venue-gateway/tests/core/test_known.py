"""What was told is known, once, whatever is repeated; what is old is forgotten, and a doubt never is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS
from kestrel_venue_gateway.core.known import KEPT_NS, ORDER_GIVEN_UP, KnownFacts

OURS = "ks" + "a" * 26
ACKNOWLEDGED, SUBMITTING, IN_DOUBT, CANCELED = (
    venue_pb2.ORDER_FACT_ACKNOWLEDGED,
    venue_pb2.ORDER_FACT_SUBMITTING,
    venue_pb2.ORDER_FACT_IN_DOUBT,
    venue_pb2.ORDER_FACT_CANCELED,
)
ONE_DOLLAR = Number.parse("1.00").message()


def report(report_id: str, at_ns: int = 1, **body: Any) -> venue_pb2.VenueReport:
    return venue_pb2.VenueReport(report_id=report_id, account="DU1", venue="ibkr", received_at_ns=at_ns, **body)


def order(fact: Any, client_order_id: str = OURS, **named: Any) -> dict[str, Any]:
    return {"order": venue_pb2.OrderReport(fact=fact, client_order_id=client_order_id, **named)}


def fill(execution_id: str, **named: Any) -> venue_pb2.Fill:
    return venue_pb2.Fill(execution_id=execution_id, client_order_id=OURS, **named)


def correction(of: str, by: str, **named: Any) -> dict[str, Any]:
    return {"bust": venue_pb2.FillBust(execution_id=of, client_order_id=OURS, corrected=fill(by, **named))}


def known_from(*bodies: dict[str, Any]) -> KnownFacts:
    known = KnownFacts()
    for number, body in enumerate(bodies):
        known.learn(report(f"r{number}", **body))
    return known


def test_nothing_is_known_at_first() -> None:
    known = KnownFacts()
    assert not known.knows_execution("x.01")
    assert not known.knows_order_fact(OURS, ACKNOWLEDGED)
    assert (known.orders_in_doubt(), known.executions_without_fee(), known.balance) == ([], [], None)
    assert (known.client_order_id_of("77"), known.booked_as("x.01")) == ("", "x.01")


def test_order_is_in_doubt_from_its_sending_until_the_venue_has_said_anything_of_it_T09() -> None:
    known = known_from(order(SUBMITTING))
    assert known.orders_in_doubt() == [OURS]
    known.learn(report("doubt", **order(IN_DOUBT)))
    assert known.orders_in_doubt() == [OURS]
    known.learn(report("answer", **order(ACKNOWLEDGED, venue_order_id="77")))
    assert known.orders_in_doubt() == []
    assert known.knows_order_fact(OURS, ACKNOWLEDGED)
    assert known.client_order_id_of("77") == OURS


def test_fill_ends_a_doubt_and_names_the_order() -> None:
    known = known_from(order(IN_DOUBT), {"fill": fill("x.01", venue_order_id="78")})
    assert known.orders_in_doubt() == []
    assert known.knows_execution("x.01")
    assert known.client_order_id_of("78") == OURS


def test_correction_and_its_own_correction_are_booked_under_the_first_id() -> None:
    known = known_from({"fill": fill("x.01")}, correction("x.01", "x.02"), correction("x.01", "x.03"))
    assert [known.booked_as(f"x.0{number}") for number in (1, 2, 3)] == ["x.01"] * 3
    assert all(known.knows_execution(f"x.0{number}") for number in (1, 2, 3))
    assert [execution.now_called for execution in known.executions_without_fee()] == ["x.03"]


def test_what_a_gateway_that_was_frozen_tells_late_takes_nothing_back_T11() -> None:
    told = [{"fill": fill("x.01", fee=ONE_DOLLAR)}, correction("x.01", "x.02"), correction("x.01", "x.03")]
    late = known_from(*told, told[1], told[0])
    assert [execution.now_called for execution in late.executions_without_fee()] == ["x.03"]
    busted = {"bust": venue_pb2.FillBust(execution_id="x.01", client_order_id=OURS)}
    execution = known_from(*told, busted, *told).execution("x.01")
    assert execution is not None
    assert (execution.is_busted, execution.now_called) == (True, "x.03")


def test_fee_is_awaited_until_it_is_stated_and_again_after_a_correction() -> None:
    known = known_from({"fill": fill("x.01")})
    assert not known.knows_fee("x.01")
    known.learn(report("fee", settlement=venue_pb2.Settlement(execution_id="x.01", fee=ONE_DOLLAR)))
    assert known.knows_fee("x.01")
    known.learn(report("correction", **correction("x.01", "x.02")))
    assert not known.knows_fee("x.02")
    known.learn(report("fee again", settlement=venue_pb2.Settlement(execution_id="x.01", fee=ONE_DOLLAR)))
    assert known.knows_fee("x.02")
    assert known.executions_without_fee() == []


def test_no_fee_is_awaited_for_what_was_taken_back_came_with_it_or_is_somebody_elses() -> None:
    known = known_from(
        {"fill": fill("x.01")},
        {"bust": venue_pb2.FillBust(execution_id="x.01", client_order_id=OURS)},
        {"fill": fill("y.01", fee=ONE_DOLLAR)},
        {"foreign": venue_pb2.ForeignActivity(execution_id="z.01", client_order_id="web-7")},
    )
    assert known.executions_without_fee() == []
    assert known.knows_execution("z.01")


def test_order_that_a_person_gave_up_is_remembered_as_that() -> None:
    given_up = common_pb2.Refusal(reason=ORDER_GIVEN_UP)
    known = known_from(order(IN_DOUBT), order(CANCELED, reason=given_up))
    found = known.order(OURS)
    assert found is not None
    assert (found.was_given_up, found.has_ended, found.is_in_doubt) == (True, True, False)
    plain = known_from(order(CANCELED)).order(OURS)
    assert plain is not None
    assert not plain.was_given_up


def test_what_is_learned_ahead_of_the_journal_is_not_learned_again_from_it() -> None:
    known = KnownFacts()
    told = [
        report("r1", fill=fill("x.01", fee=ONE_DOLLAR)),
        report("r2", **correction("x.01", "x.02")),
    ]
    for each in told:
        known.learn_ahead(each)
        known.learn_ahead(each)
    for each in told:
        known.learn(each)
        assert not known.knows_fee("x.02"), "the older word must not win over the newer one"
    assert known == known_from({"fill": fill("x.01", fee=ONE_DOLLAR)}, correction("x.01", "x.02"))


def test_balance_is_the_one_that_was_told_last() -> None:
    first, last = (venue_pb2.Balance(wallet=Number.parse(text).message()) for text in ("10", "9"))
    assert known_from({"balance": first}, {"balance": last}).balance == last


def test_what_is_older_than_any_venue_repeats_is_forgotten_and_a_doubt_is_not() -> None:
    known = known_from(
        {"fill": fill("x.01", venue_order_id="77")}, order(ACKNOWLEDGED, "ks-old"), order(IN_DOUBT, "ks-doubt")
    )
    known.learn(report("later", KEPT_NS - DAY_NS, fill=fill("y.01")))
    assert known.knows_execution("x.01")
    known.learn(report("much later", KEPT_NS + DAY_NS, **order(ACKNOWLEDGED, "ks-new")))
    assert not known.knows_execution("x.01")
    assert not known.knows_order_fact("ks-old", ACKNOWLEDGED)
    assert known.knows_execution("y.01")
    assert known.orders_in_doubt() == ["ks-doubt"]
    assert known.client_order_id_of("77") == OURS, "a later fill of the same order keeps its name"


def test_order_that_rests_for_weeks_is_not_forgotten_and_one_that_ended_is() -> None:
    known = KnownFacts()
    for name in ("ks-rests", "ks-ended"):
        known.learn(report(f"{name} begins", 1, **order(SUBMITTING, name)))
        known.learn(report(f"{name} works", 1, **order(ACKNOWLEDGED, name)))
    known.learn(report("over", 1, **order(CANCELED, "ks-ended")))
    known.learn(report("weeks later", 3 * KEPT_NS, **order(ACKNOWLEDGED, "ks-new")))
    resting = known.order("ks-rests")
    assert resting is not None
    assert resting.was_commanded
    assert known.order("ks-ended") is None


@given(st.lists(st.sampled_from(range(8)), max_size=12), st.integers(0, 12))
def test_learning_a_part_ahead_comes_to_the_same_as_the_journal_alone(numbers: list[int], ahead_count: int) -> None:
    bodies: list[dict[str, Any]] = [
        order(SUBMITTING),
        order(IN_DOUBT),
        order(ACKNOWLEDGED, venue_order_id="77"),
        {"fill": fill("x.01")},
        {"settlement": venue_pb2.Settlement(execution_id="x.01", fee=ONE_DOLLAR)},
        correction("x.01", "x.02"),
        {"bust": venue_pb2.FillBust(execution_id="x.01")},
        {"balance": venue_pb2.Balance(wallet=ONE_DOLLAR)},
    ]
    told = [report(f"r{place}", place, **bodies[number]) for place, number in enumerate(numbers)]
    alone, ahead = KnownFacts(), KnownFacts()
    for each in told:
        alone.learn(each)
    for each in told[:ahead_count]:
        ahead.learn_ahead(each)
    for each in told[:ahead_count]:
        ahead.learn(each)
    for each in told[ahead_count:]:
        ahead.learn(each)
    assert alone == ahead
