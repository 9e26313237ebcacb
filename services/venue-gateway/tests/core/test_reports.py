"""What a venue says becomes at most one report, under an id that follows from the fact."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.known import ORDER_GIVEN_UP, KnownFacts
from kestrel_venue_gateway.core.reports import Attribution, Heard, VenueEvent

OURS = "ks" + "a" * 26


def fill(**changes: Any) -> venue_pb2.Fill:
    values: dict[str, Any] = {
        "execution_id": "x1",
        "client_order_id": OURS,
        "symbol": "AAPL",
        "side": common_pb2.SIDE_BUY,
        "last_qty": Number.parse("10").message(),
        "last_price": Number.parse("101.5000").message(),
    }
    return venue_pb2.Fill(**{**values, **changes})


def hear(fact: reports.Fact, sequence: int = 5, symbols: tuple[str, ...] = ("AAPL",)) -> Heard:
    event = VenueEvent(sequence, 1_000, fact)
    return reports.hear(event, account="PAPER-1", venue="paper", our_symbols=symbols)


def test_fill_keeps_its_true_price_and_the_venues_time_K08() -> None:
    report = hear(fill()).report
    assert report is not None
    assert Number.of(report.fill.last_price) == Number.parse("101.5")
    assert report.venue_time_ns == 1_000


@pytest.mark.parametrize("price", [None, Number.zero(4).message()])
def test_fill_without_a_price_reaches_the_kernel_without_one_K08(price: common_pb2.Decimal | None) -> None:
    report = hear(fill(last_price=price)).report
    assert report is not None
    assert not report.fill.HasField("last_price")


def test_fill_at_a_negative_price_keeps_it() -> None:
    report = hear(fill(last_price=Number.parse("-37.63").message())).report
    assert report is not None
    assert Number.of(report.fill.last_price) == Number.parse("-37.63")


def test_same_execution_heard_twice_has_one_id() -> None:
    first, again = hear(fill(), 5).report, hear(fill(), 9).report
    assert first is not None
    assert again is not None
    assert first.report_id == again.report_id


def test_other_execution_account_or_venue_has_another_id() -> None:
    event = VenueEvent(5, 1_000, fill())
    ids = {
        reports.hear(event, account=account, venue=venue, our_symbols=()).report.report_id  # type: ignore[union-attr]
        for account in ("PAPER-1", "PAPER-2")
        for venue in ("paper", "other")
    }
    assert len(ids | {hear(fill(execution_id="x2")).report.report_id}) == 5  # type: ignore[union-attr]


def test_fill_without_an_execution_id_is_known_by_its_place_in_the_venues_stream() -> None:
    first, second = hear(fill(execution_id=""), 5).report, hear(fill(execution_id=""), 6).report
    assert first is not None
    assert second is not None
    assert first.report_id != second.report_id


@pytest.mark.parametrize(
    "fact",
    [
        venue_pb2.ORDER_FACT_ACKNOWLEDGED,
        venue_pb2.ORDER_FACT_REJECTED,
        venue_pb2.ORDER_FACT_CANCELED,
        venue_pb2.ORDER_FACT_EXPIRED,
    ],
)
def test_answer_and_event_about_one_order_have_one_id(fact: Any) -> None:
    order = venue_pb2.OrderReport(fact=fact, client_order_id=OURS, symbol="AAPL")
    heard = hear(order).report
    assert heard is not None
    assert heard.report_id == reports.order_report("PAPER-1", "paper", order, cause="JOURNAL_0:3:0").report_id


def test_each_refused_cancel_is_a_fact_of_its_own() -> None:
    order = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_CANCEL_REJECTED, client_order_id=OURS)
    assert hear(order, 5).report.report_id != hear(order, 6).report.report_id  # type: ignore[union-attr]


def test_a_rejection_is_reported_and_the_alert_left_to_the_kernel_T10() -> None:
    order = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_REJECTED, client_order_id=OURS, symbol="AAPL")
    heard = hear(order)
    assert heard.report is not None
    assert heard.report.order.fact == venue_pb2.ORDER_FACT_REJECTED
    assert heard.alert is None


def test_balance_without_a_wallet_is_dropped_K16() -> None:
    assert hear(venue_pb2.Balance(currency="USD")).dropped == "balance_without_wallet"
    heard = hear(venue_pb2.Balance(wallet=Number.zero(8).message(), currency="USD"))
    assert (heard.report, heard.dropped) == (None, "balance_without_wallet")


def test_balance_with_a_wallet_is_reported() -> None:
    report = hear(venue_pb2.Balance(wallet=Number.parse("1000000.00").message(), currency="USD")).report
    assert report is not None
    assert Number.of(report.balance.wallet) == Number.parse("1000000")


def test_fill_of_somebody_else_is_counted_and_alerted_and_told_as_foreign_never_as_a_fill_X11_K14() -> None:
    heard = hear(fill(client_order_id="web-123"))
    assert (heard.dropped, heard.attribution) == ("", Attribution.FOREIGN)
    assert heard.report is not None
    foreign = heard.report.foreign
    assert heard.report.WhichOneof("body") == "foreign"
    assert (foreign.symbol, foreign.client_order_id) == ("AAPL", "web-123")
    assert not foreign.HasField("amount"), "what it did to the wallet, the venue has not said"
    assert heard.alert is not None
    assert (heard.alert.reason, heard.alert.subject_id) == ("FOREIGN_ACTIVITY", "web-123")


def test_foreign_symbol_that_cannot_be_one_is_left_out_and_the_activity_told_all_the_same_X11() -> None:
    stranger = fill(client_order_id="web-123")
    stranger.symbol = "no symbol"
    report = hear(stranger).report
    assert report is not None
    assert (report.WhichOneof("body"), report.foreign.symbol) == ("foreign", "")


def test_order_of_somebody_else_that_has_not_traded_moves_nothing_and_is_kept_from_the_kernel_X11() -> None:
    order = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_ACKNOWLEDGED, client_order_id="web-123", symbol="AAPL")
    heard = hear(order)
    assert (heard.report, heard.dropped, heard.attribution) == (None, "foreign", Attribution.FOREIGN)


@pytest.mark.parametrize(
    ("symbols", "attribution"), [(("AAPL",), Attribution.OURS), (("MSFT",), Attribution.UNATTRIBUTABLE)]
)
def test_fill_without_a_client_id_goes_by_the_symbols_we_ordered_and_is_processed_either_way_X11(
    symbols: tuple[str, ...], attribution: Attribution
) -> None:
    heard = hear(fill(client_order_id=""), symbols=symbols)
    assert heard.attribution is attribution
    assert heard.report is not None


@pytest.mark.parametrize(
    ("fact", "field"),
    [
        (fill(last_qty=Number.zero().message()), "fill.last_qty"),
        (fill(last_qty=Number.parse("-1").message()), "fill.last_qty"),
        (fill(last_qty=common_pb2.Decimal(units=1, scale=40)), "scale"),
        (fill(side=common_pb2.SIDE_UNSPECIFIED), "fill.side"),
        (venue_pb2.OrderReport(client_order_id=OURS), "order.fact"),
        (venue_pb2.OrderReport(fact=77, client_order_id=OURS), "order.fact"),  # type: ignore[arg-type]
        (venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_CANCELED, symbol="AAPL"), "order.client_order_id"),
    ],
)
def test_event_that_makes_no_sense_is_refused_by_field_for_parking_P11(fact: reports.Fact, field: str) -> None:
    heard = hear(fact)
    assert heard.report is None
    assert heard.malformed is not None
    assert heard.malformed.field == field


def test_bust_settlement_and_funding_are_reported() -> None:
    bust = venue_pb2.FillBust(execution_id="x1", client_order_id=OURS, corrected=fill(last_price=None))
    settlement = venue_pb2.Settlement(execution_id="x1", client_order_id=OURS, symbol="AAPL")
    funding = venue_pb2.Funding(symbol="AAPL", amount=Number.parse("-1.25").message())
    kinds = [hear(fact).report.WhichOneof("body") for fact in (bust, settlement, funding)]  # type: ignore[union-attr]
    assert kinds == ["bust", "settlement", "funding"]


def test_mark_is_the_close_of_a_bar_and_one_per_bar() -> None:
    bar = venue_pb2.Bar(
        venue="paper",
        instrument=common_pb2.Instrument(symbol="AAPL"),
        close=Number.parse("99.5").message(),
        venue_sequence=3,
        start_ns=10,
        interval_ns=5,
    )
    report = reports.mark_report("PAPER-1", bar)
    assert (report.mark.symbol, Number.of(report.mark.price), report.venue_time_ns) == (
        "AAPL",
        Number.parse("99.5"),
        15,
    )
    assert report.report_id == reports.mark_report("PAPER-1", bar).report_id


KINDS = (
    venue_pb2.OrderReport,
    venue_pb2.Fill,
    venue_pb2.FillBust,
    venue_pb2.Settlement,
    venue_pb2.Balance,
    venue_pb2.Funding,
)


@given(st.sampled_from(KINDS), st.binary(max_size=80))
def test_nothing_a_venue_may_send_breaks_the_gateway(kind: Any, data: bytes) -> None:
    try:
        fact = kind.FromString(data)
    except DecodeError:
        return
    heard = hear(fact)
    assert (heard.report is None) == bool(heard.dropped)
    if heard.report is not None:
        assert 0 < len(heard.report.report_id) <= 64


# --- venues that do not number their events ----------------------------------------------------------------------


def hear_unnumbered(fact: reports.Fact, known: KnownFacts, key: str = "a key") -> Heard:
    event = VenueEvent(5, 1_000, fact, key)
    return reports.hear(event, account="DU1", venue="ibkr", our_symbols=("AAPL",), known=known)


def learn(known: KnownFacts, heard: Heard) -> None:
    assert heard.report is not None
    known.learn(heard.report)


def test_event_without_a_number_is_known_by_its_key() -> None:
    balance = venue_pb2.Balance(wallet=Number.parse("10").message())
    ids = [hear_unnumbered(balance, KnownFacts(), key).report for key in ("monday", "monday", "tuesday")]
    assert [report.report_id for report in ids if report] == [
        ids[0].report_id,  # type: ignore[union-attr]
        ids[0].report_id,  # type: ignore[union-attr]
        ids[2].report_id,  # type: ignore[union-attr]
    ]
    assert len({report.report_id for report in ids if report}) == 2


def test_event_without_a_number_and_without_a_key_is_malformed() -> None:
    heard = hear_unnumbered(fill(), KnownFacts(), key="")
    assert heard.report is None
    assert heard.malformed is not None
    assert heard.malformed.field == "key"


def order_fact(fact: venue_pb2.OrderFact.ValueType, **named: Any) -> venue_pb2.OrderReport:
    return venue_pb2.OrderReport(fact=fact, client_order_id=OURS, symbol="AAPL", **named)


def bust(execution_id: str, corrected: venue_pb2.Fill | None = None) -> venue_pb2.FillBust:
    return venue_pb2.FillBust(execution_id=execution_id, client_order_id=OURS, corrected=corrected)


def settlement(execution_id: str, fee: str = "1.00") -> venue_pb2.Settlement:
    return venue_pb2.Settlement(
        execution_id=execution_id, client_order_id=OURS, symbol="AAPL", fee=Number.parse(fee).message()
    )


@pytest.mark.parametrize(
    "facts",
    [
        [fill(execution_id="x.01")],
        [fill(execution_id="x.01"), settlement("x.01")],
        [fill(execution_id="x.01"), bust("x.01", fill(execution_id="x.02")), settlement("x.02")],
        [fill(execution_id="x.01"), bust("x.01", fill(execution_id="x.02")), bust("x.02", fill(execution_id="x.03"))],
        [fill(execution_id="x.01"), bust("x.01")],
        [order_fact(venue_pb2.ORDER_FACT_ACKNOWLEDGED), order_fact(venue_pb2.ORDER_FACT_CANCELED)],
        [order_fact(venue_pb2.ORDER_FACT_REJECTED)],
        [fill(execution_id="z.01", client_order_id="web-7")],
    ],
)
def test_what_was_told_is_never_told_again_however_often_the_venue_repeats_it(facts: list[reports.Fact]) -> None:
    known = KnownFacts()
    for fact in facts:
        learn(known, hear_unnumbered(fact, known))
    for fact in facts * 2:
        heard = hear_unnumbered(fact, known, key="another key")
        assert (heard.report, heard.dropped, heard.alert) == (None, "told_before", None)


def test_later_word_about_a_correction_goes_by_the_id_that_the_kernel_booked() -> None:
    known = KnownFacts()
    for fact in (fill(execution_id="x.01"), bust("x.01", fill(execution_id="x.02"))):
        learn(known, hear_unnumbered(fact, known))
    fee, again = hear_unnumbered(settlement("x.02"), known), hear_unnumbered(bust("x.02"), known)
    assert fee.report is not None
    assert again.report is not None
    assert fee.report.settlement.execution_id == "x.01"
    assert again.report.bust.execution_id == "x.01"


def test_fee_that_the_venue_restates_is_news() -> None:
    known = KnownFacts()
    for fact in (fill(execution_id="x.01"), settlement("x.01", "1.00")):
        learn(known, hear_unnumbered(fact, known))
    assert hear_unnumbered(settlement("x.01", "1.25"), known).report is not None


def test_acknowledgement_after_the_end_is_an_old_one_unless_we_said_that_it_never_was() -> None:
    late, never = KnownFacts(), KnownFacts()
    learn(late, hear_unnumbered(order_fact(venue_pb2.ORDER_FACT_CANCELED), late))
    assert hear_unnumbered(order_fact(venue_pb2.ORDER_FACT_ACKNOWLEDGED), late).dropped == "told_before"
    never.learn(reports.order_report("DU1", "ibkr", order_fact(venue_pb2.ORDER_FACT_DENIED)))
    assert hear_unnumbered(order_fact(venue_pb2.ORDER_FACT_ACKNOWLEDGED), never).report is not None


def test_order_that_was_given_up_and_is_there_after_all_is_told_to_people_ORDER_CAME_BACK() -> None:
    known = KnownFacts()
    canceled = order_fact(venue_pb2.ORDER_FACT_CANCELED, reason=common_pb2.Refusal(reason=ORDER_GIVEN_UP))
    known.learn(reports.order_report("DU1", "ibkr", canceled))
    acknowledged = hear_unnumbered(order_fact(venue_pb2.ORDER_FACT_ACKNOWLEDGED), known)
    filled = hear_unnumbered(fill(execution_id="x.01"), known)
    assert acknowledged.report is None
    assert filled.report is not None, "a fill is real, whatever we believed"
    for heard in (acknowledged, filled):
        assert heard.alert is not None
        assert (heard.alert.reason, heard.alert.severity) == ("ORDER_CAME_BACK", common_pb2.SEVERITY_CRITICAL)


def test_fee_that_does_not_come_is_told_after_its_time() -> None:
    known = KnownFacts()
    heard = hear_unnumbered(fill(execution_id="x.01"), known)
    assert heard.report is not None
    heard.report.received_at_ns = 1_000
    known.learn(heard.report)
    assert reports.fees_overdue(known, now_ns=1_999, wait_ns=1_000) == []
    (overdue,) = reports.fees_overdue(known, now_ns=2_000, wait_ns=1_000)
    alert = reports.fee_alert(overdue, account="DU1", venue="ibkr")
    assert (alert.reason, alert.subject_id) == ("FEE_OVERDUE", OURS)
    learn(known, hear_unnumbered(settlement("x.01"), known))
    assert reports.fees_overdue(known, now_ns=9_000, wait_ns=1_000) == []
