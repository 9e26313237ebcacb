"""The venue's core: a log of its requests is its whole memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel_domain.errors import InvalidRequest, InvariantBroken, Refused
from kestrel_simulators.paper.venue import REQUESTS, Kind, NotFound, PaperVenue

SECOND_NS = 1_000_000_000


def opened(*accounts: str) -> PaperVenue:
    venue = PaperVenue()
    for account in accounts or ("PAPER-1",):
        wallet = common_pb2.Decimal(units=100_000_000, scale=2)
        venue.apply(Kind.OPEN_ACCOUNT, paper_pb2.OpenAccountRequest(account=account, wallet=wallet, currency="USD"), 1)
    return venue


def publish(venue: PaperVenue, bar: Any, now_ns: int = 1) -> int:
    sequence: int = venue.apply(Kind.PUBLISH_BAR, paper_pb2.PublishBarRequest(bar=bar), now_ns).sequence
    return sequence


def test_the_same_bar_again_has_the_same_sequence_and_a_changed_one_is_refused(words: Any) -> None:
    venue = opened()
    assert [
        publish(venue, words.bar(1, 100)),
        publish(venue, words.bar(2, 101)),
        publish(venue, words.bar(1, 100)),
    ] == [
        1,
        2,
        1,
    ]
    with pytest.raises(InvalidRequest, match="bars are final"):
        publish(venue, words.bar(1, 99))
    with pytest.raises(InvalidRequest, match="after"):
        publish(venue, words.bar(0, 99))
    assert len(venue.bars) == 2


def test_an_order_is_answered_as_it_is_and_unknown_ones_are_proof_only_with_a_fence(words: Any) -> None:
    venue = opened()
    publish(venue, words.bar(1, 100))
    order = venue.apply(Kind.PLACE_ORDER, words.order("a"), 2).order
    assert (order.status, order.cum_qty.units) == ("FILLED", 10)
    assert venue.get_order(paper_pb2.GetOrderRequest(account="PAPER-1", client_order_id="a")).order == order
    unknown = paper_pb2.GetOrderRequest(account="PAPER-1", client_order_id="b", fence=True)
    assert venue.needs_fence(unknown)
    venue.apply(Kind.FENCE_ORDER, unknown, 3)
    assert not venue.needs_fence(unknown)
    with pytest.raises(NotFound):
        venue.get_order(unknown)
    assert venue.apply(Kind.PLACE_ORDER, words.order("b"), 4).order.reason.reason == "FENCED"
    with pytest.raises(NotFound):
        venue.get_order(unknown)


def test_an_unknown_account_is_never_a_not_found(words: Any) -> None:
    """NOT_FOUND is proof that an order never was; a mistyped account must not give it."""
    venue = opened()
    with pytest.raises(Refused) as caught:
        venue.get_order(paper_pb2.GetOrderRequest(account="PAPER-2", client_order_id="a", fence=True))
    assert caught.value.reason == "ACCOUNT_UNKNOWN"
    assert not isinstance(caught.value, NotFound)


def test_a_stop_order_takes_its_trigger_from_the_price_when_there_is_no_stop_price(words: Any) -> None:
    venue = opened()
    publish(venue, words.bar(1, 100))
    request = words.order("a", side="SELL")
    request.order_type = common_pb2.ORDER_TYPE_STOP
    request.price.CopyFrom(common_pb2.Decimal(units=95, scale=0))
    order = venue.apply(Kind.PLACE_ORDER, request, 2).order
    assert (order.status, order.stop_price.units, order.HasField("price")) == ("WORKING", 95, False)


def test_the_portfolio_holds_positions_working_orders_and_the_last_event(words: Any) -> None:
    venue = opened()
    publish(venue, words.bar(1, 100))
    venue.apply(Kind.PLACE_ORDER, words.order("a", 4), 2)
    venue.apply(Kind.PLACE_ORDER, words.order("b", 1, side="SELL"), 3)
    limit = words.order("c")
    limit.order_type = common_pb2.ORDER_TYPE_LIMIT
    limit.price.CopyFrom(common_pb2.Decimal(units=50, scale=0))
    venue.apply(Kind.PLACE_ORDER, limit, 4)
    portfolio = venue.get_portfolio(paper_pb2.GetPortfolioRequest(account="PAPER-1"), 9)
    assert [(p.symbol, p.qty.units, p.average_price.units) for p in portfolio.positions] == [
        ("AAPL", 3, 10_000_000_000)
    ]
    assert [order.client_order_id for order in portfolio.open_orders] == ["c"]
    assert portfolio.event_sequence == venue.engine.account("PAPER-1").last_sequence
    assert portfolio.as_of_ns == 9


def test_the_ledger_counts_every_request(words: Any) -> None:
    venue = opened()
    publish(venue, words.bar(1, 100))
    for _ in range(3):
        venue.apply(Kind.PLACE_ORDER, words.order("a"), 2)
    ledger = venue.get_ledger(paper_pb2.GetLedgerRequest(account="PAPER-1"))
    assert [(a.client_order_id, a.request_count) for a in ledger.arrivals] == [("a", 3)]
    assert (len(ledger.orders), len(ledger.fills)) == (1, 1)


def test_a_record_that_cannot_be_applied_is_a_broken_log() -> None:
    with pytest.raises(InvariantBroken, match="cannot be applied"):
        PaperVenue().replay(99, b"", 1)
    with pytest.raises(InvariantBroken, match="cannot be applied"):
        PaperVenue().replay(Kind.PLACE_ORDER, b"", 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_replaying_the_log_gives_the_same_venue_to_the_byte_T15(words_seed: int) -> None:
    chance = random.Random(words_seed)
    venue, log = PaperVenue(), []

    def change(kind: Kind, request: Any, now_ns: int) -> None:
        try:
            venue.apply(kind, request, now_ns)
        except Refused:
            return
        log.append((kind, request.SerializeToString() if request is not None else b"", now_ns))

    mode = paper_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_ADVERSARIAL, seed=7, delay_scale_permille=100)
    mode.costs.taker_fee_ppm = 123
    change(Kind.SET_MODE, mode, 0)
    wallet = common_pb2.Decimal(units=100_000_000, scale=2)
    change(Kind.OPEN_ACCOUNT, paper_pb2.OpenAccountRequest(account="PAPER-1", wallet=wallet, currency="USD"), 0)
    now_ns = 0
    for step in range(80):
        now_ns += chance.randrange(SECOND_NS)
        change(Kind.ADVANCE, None, now_ns)
        change(*_random_request(chance, step), now_ns)
    twin = PaperVenue()
    for kind, body, time_ns in log:
        twin.replay(kind, body, time_ns)
    request = paper_pb2.GetLedgerRequest(account="PAPER-1")
    assert twin.get_ledger(request) == venue.get_ledger(request)
    assert twin.engine.accounts["PAPER-1"].events == venue.engine.accounts["PAPER-1"].events
    assert twin.engine.next_deadline_ns() == venue.engine.next_deadline_ns()
    assert twin.bars == venue.bars
    assert twin.engine == venue.engine


def _random_request(chance: random.Random, step: int) -> tuple[Kind, Any]:
    bar_price = common_pb2.Decimal(units=chance.randrange(90, 110), scale=0)
    what = chance.random()
    if what < 0.3:
        bar = paper_pb2.PublishBarRequest()
        bar.bar.instrument.CopyFrom(
            common_pb2.Instrument(
                symbol="AAPL", currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
            )
        )
        for name in ("open", "high", "low", "close"):
            getattr(bar.bar, name).CopyFrom(bar_price)
        bar.bar.start_ns, bar.bar.interval_ns = step * 86_400 * SECOND_NS, 86_400 * SECOND_NS
        return Kind.PUBLISH_BAR, bar
    if what < 0.8:
        order = paper_pb2.PlaceOrderRequest(
            account="PAPER-1",
            client_order_id=f"o{step - chance.randrange(2)}",
            symbol="AAPL",
            side=chance.choice([common_pb2.SIDE_BUY, common_pb2.SIDE_SELL]),
            order_qty=common_pb2.Decimal(units=chance.randrange(1, 99)),
            order_type=chance.choice([common_pb2.ORDER_TYPE_MARKET, common_pb2.ORDER_TYPE_LIMIT]),
            price=bar_price,
            time_in_force=chance.choice([1, 2, 3, 4]),
        )
        return Kind.PLACE_ORDER, order
    key = f"o{chance.randrange(step + 1)}"
    if what < 0.95:
        return Kind.CANCEL_ORDER, paper_pb2.CancelOrderRequest(account="PAPER-1", client_order_id=key)
    drift = common_pb2.Decimal(units=chance.randrange(1, 9))
    return Kind.INDUCE_DRIFT, paper_pb2.InduceDriftRequest(account="PAPER-1", symbol="AAPL", qty=drift)


def test_every_kind_of_record_has_a_request() -> None:
    assert set(REQUESTS) == set(Kind)
