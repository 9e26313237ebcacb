"""What C reads of the venue's reports is what ``translate`` makes of them, or it reads nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_kernel.core import plain, translate

patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STAMP = translate.Stamp(now_ns=1_000, input_sequence=42, journal_sequence=7)
CONFIGURATION = state_pb2.AccountConfiguration(account="PAPER-1", venue="paper", currency="USD")
READER = plain.reader(CONFIGURATION)


def read(data: bytes) -> lk.Prepared | None:
    return READER.read(data, now_ns=STAMP.now_ns, sequence=STAMP.journal_sequence)


def slowly(data: bytes) -> translate.Translated | None:
    """None: refused."""
    try:
        return translate.translate(translate.parse(data), plain.DOOR, CONFIGURATION, STAMP)
    except InvalidRequest:
        return None


def check(data: bytes) -> bool:
    """Whether it was read; then the slow way has nothing to add."""
    value = read(data)
    if value is not None:
        assert slowly(data) == translate.Translated(value)
    return value is not None


def test_reports_as_they_mostly_are_are_read(messages: Any) -> None:
    buy, order_id = common_pb2.SIDE_BUY, messages.entry_order_id()
    full = messages.fill("E-3", order_id, buy, "1.500", "150.2500", "0.75")
    full.venue.venue_time_ns = full.venue.received_at_ns = full.venue.venue_watermark = 2**62
    full.venue.fill.venue_order_id = "V-1"
    for message in (
        full,
        messages.fill("E-1", order_id, buy, "100", "150.25"),
        messages.fill("E-2", order_id, buy, "100", ""),
        messages.fill("E-4", order_id, buy, "100", "-0.01", "-0.00000001"),
        messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, order_id, "V-1"),
        messages.order("sent-1", venue_pb2.ORDER_FACT_SUBMITTING, order_id),
        messages.mark("m-1", "151.00"),
    ):
        assert check(message.SerializeToString()), message


def test_what_is_to_be_remarked_refused_or_explained_is_left_to_translate(messages: Any) -> None:
    buy = common_pb2.SIDE_BUY
    foreign_fee, of_another, without_id = (messages.fill("E-1", "o", buy, "1", "1", "0.1") for _ in range(3))
    foreign_fee.venue.fill.fee_currency = "EUR"
    of_another.venue.account = "PAPER-2"
    without_id.venue.fill.execution_id = ""
    tiny_fee = messages.fill("E-1", "o", buy, "1", "1", "0.000000001")
    for message in (
        foreign_fee,
        of_another,
        without_id,
        tiny_fee,
        messages.order("r-1", venue_pb2.ORDER_FACT_REJECTED, "o"),
        messages.order("r-1", 9, "o"),
        messages.order("r-1", venue_pb2.ORDER_FACT_CANCELED, "", "V-1"),
        messages.mark("m-1", "1", "aapl"),
        messages.mark("m-1", "1", "-APL"),
        messages.mark("m 1", "1"),
        messages.balance("b-1", "1"),
        messages.exit(),
    ):
        assert read(message.SerializeToString()) is None, message


@pytest.mark.parametrize("times", [2, 3])
def test_a_field_that_comes_twice_is_left_to_translate(messages: Any, times: int) -> None:
    data = messages.mark("m-1", "151.00").SerializeToString()
    assert read(data * times) is None


TEXTS = st.sampled_from(["", "x", "t" * 64, "t" * 65, "with blank", "é", "AAPL", "PAPER-1", "paper", "USD"])
DECIMALS = st.none() | st.builds(
    common_pb2.Decimal,
    units=st.sampled_from([0, 1, -1, 10, 12300, -500, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1),
    scale=st.integers(-1, 19),
)


def _some(strategy: st.SearchStrategy[Any], usual: Any) -> st.SearchStrategy[Any]:
    """Mostly the usual value, so that not every message has something wrong."""
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), strategy)


FILLS = st.builds(
    venue_pb2.Fill,
    execution_id=_some(TEXTS, "E-1"),
    client_order_id=_some(TEXTS, "o-1"),
    venue_order_id=_some(TEXTS, "V-1"),
    symbol=_some(TEXTS, "AAPL"),
    side=_some(st.integers(-1, 300), 1),
    last_qty=DECIMALS,
    last_price=DECIMALS,
    fee=DECIMALS,
    fee_currency=_some(TEXTS, "USD"),
    liquidity=_some(st.integers(-1, 5), 2),
)
ORDERS = st.builds(
    venue_pb2.OrderReport,
    fact=_some(st.integers(-1, 12), 2),
    client_order_id=_some(TEXTS, "o-1"),
    venue_order_id=_some(TEXTS, "V-1"),
    symbol=_some(TEXTS, "AAPL"),
)
MARKS = st.builds(venue_pb2.Mark, symbol=_some(TEXTS, "AAPL"), price=DECIMALS)


@patiently
@given(
    st.one_of(
        st.fixed_dictionaries({"fill": FILLS}),
        st.fixed_dictionaries({"order": ORDERS}),
        st.fixed_dictionaries({"mark": MARKS}),
    ),
    _some(TEXTS, "r-1"),
    _some(TEXTS, "PAPER-1"),
    _some(TEXTS, "paper"),
    st.integers(-(2**63), 2**63 - 1),
)
def test_what_is_read_is_what_the_slow_way_makes_of_it_P11(
    body: dict[str, Any], report_id: str, account: str, venue: str, time_ns: int
) -> None:
    report = venue_pb2.VenueReport(report_id=report_id, account=account, venue=venue, venue_time_ns=time_ns, **body)
    check(inbox_pb2.InboxMessage(venue=report).SerializeToString())


@patiently
@given(st.data())
def test_damaged_bytes_are_read_as_the_slow_way_reads_them_or_not_at_all_P11(data: Any) -> None:
    fill = venue_pb2.Fill(
        execution_id="E-1",
        side=common_pb2.SIDE_BUY,
        symbol="AAPL",
        last_qty=common_pb2.Decimal(units=100, scale=1),
        fee_currency="USD",
    )
    report = venue_pb2.VenueReport(report_id="r", account="PAPER-1", venue="paper", received_at_ns=300, fill=fill)
    damaged = bytearray(inbox_pb2.InboxMessage(venue=report).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["change", "insert", "cut", "drop"])):
            case "change":
                damaged[at] = data.draw(st.integers(0, 255))
            case "insert":
                damaged.insert(at, data.draw(st.integers(0, 255)))
            case "drop" if len(damaged) > 1:
                del damaged[at]
            case "cut" if at:
                del damaged[at:]
    check(bytes(damaged))


@patiently
@given(st.binary(max_size=200))
def test_no_bytes_can_do_harm_P11(data: bytes) -> None:
    check(data)
