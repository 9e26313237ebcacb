"""Our own facts about orders: whatever the venue says, in whatever order, how often ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.ibkr.core import errors
from kestrel_venue_gateway.ibkr.core.heard import (
    CommissionSeen,
    CompletedSeen,
    ErrorSeen,
    ExecutionSeen,
    OrderMessage,
    OrderSeen,
    StatusSeen,
)
from kestrel_venue_gateway.ibkr.core.orders import Learned, Life, OrderFacts

ACCOUNT, CLIENT = "DU1234567", 71
OURS = "ks" + "a" * 26
BUY = common_pb2.SIDE_BUY


def number(text: str) -> Number:
    return Number.parse(text)


def seen(status: str = "Submitted", *, ref: str = OURS, perm: int = 900, order_id: int = 5, **more: Any) -> OrderSeen:
    values: dict[str, Any] = {"client_id": CLIENT, "account": ACCOUNT, "symbol": "AAPL", "side": BUY} | more
    return OrderSeen(order_id=order_id, perm_id=perm, order_ref=ref, order_qty=number("10"), status=status, **values)


def status(text: str, filled: str = "0", *, perm: int = 900, order_id: int = 5, why_held: str = "") -> StatusSeen:
    return StatusSeen(order_id, CLIENT, perm, text, number(filled), why_held)


def execution(
    execution_id: str = "e.01.01", qty: str = "10", price: str = "100.25", *, ref: str = OURS, **more: Any
) -> ExecutionSeen:
    values: dict[str, Any] = {"order_id": 5, "client_id": CLIENT, "perm_id": 900, "account": ACCOUNT} | more
    return ExecutionSeen(
        execution_id=execution_id,
        order_ref=ref,
        symbol="AAPL",
        sec_type=values.pop("sec_type", "STK"),
        side=BUY,
        qty=number(qty),
        price=number(price),
        time_ns=1,
        **values,
    )


def completed(text: str, filled: str = "0", explanation: str = "", *, ref: str = OURS) -> CompletedSeen:
    return CompletedSeen(900, ref, ACCOUNT, "AAPL", BUY, number("10"), text, number(filled), explanation)


def fee(execution_id: str, amount: str | None = "1.00") -> CommissionSeen:
    return CommissionSeen(execution_id, number(amount) if amount is not None else None, "USD")


class Ear:
    """Hears messages as a session does, and keeps what was told of them."""

    def __init__(self, known: KnownFacts | None = None, *, sent: bool = True) -> None:
        self.known = known or KnownFacts()
        self.facts = OrderFacts(ACCOUNT, CLIENT, self.known)
        self.learned: list[Learned] = []
        if sent:
            self.facts.sent(OURS, "AAPL", number("10"), 5, now_ns=1)

    def hear(self, *messages: OrderMessage) -> Ear:
        for message in messages:
            self.learned.append(self.facts.apply(message, now_ns=2))
        return self

    def ask_all(self) -> Ear:
        self.learned.append(self.facts.all_asked(now_ns=3))
        return self

    @property
    def told(self) -> list[Any]:
        return [told.fact for learned in self.learned for told in learned.told]

    @property
    def order_facts(self) -> list[str]:
        reports_ = [fact for fact in self.told if isinstance(fact, venue_pb2.OrderReport)]
        return [venue_pb2.OrderFact.Name(report.fact).removeprefix("ORDER_FACT_") for report in reports_]

    @property
    def fills(self) -> list[venue_pb2.Fill]:
        return [fact for fact in self.told if isinstance(fact, venue_pb2.Fill)]

    @property
    def busts(self) -> list[venue_pb2.FillBust]:
        return [fact for fact in self.told if isinstance(fact, venue_pb2.FillBust)]

    @property
    def fees(self) -> list[tuple[str, str]]:
        settled = [fact for fact in self.told if isinstance(fact, venue_pb2.Settlement)]
        return [(fact.execution_id, str(Number.of(fact.fee))) for fact in settled]

    @property
    def alarms(self) -> list[str]:
        return [alarm.reason for learned in self.learned for alarm in learned.alarms]

    def remember(self) -> Ear:
        """What a new process knows after this one died: all that was told was stored."""
        known = KnownFacts()
        for learned in self.learned:
            for told in learned.told:
                event = VenueEvent(1, told.time_ns, told.fact, told.key)
                heard = reports.hear(event, account=ACCOUNT, venue="ibkr", our_symbols=("AAPL",))
                if heard.report is not None:
                    heard.report.received_at_ns = 5
                    known.learn(heard.report)
        return Ear(known, sent=False)

    def booked(self) -> dict[str, tuple[str, str]]:
        """What a kernel would hold: by the id it booked first, quantity and price."""
        books: dict[str, tuple[str, str]] = {}
        for fact in self.told:
            if isinstance(fact, venue_pb2.Fill):
                assert fact.execution_id not in books, "booked twice"
                books[fact.execution_id] = (str(Number.of(fact.last_qty)), str(Number.of(fact.last_price)))
            elif isinstance(fact, venue_pb2.FillBust):
                assert fact.execution_id in books, "taken back without being there"
                del books[fact.execution_id]
                if fact.HasField("corrected"):
                    values = Number.of(fact.corrected.last_qty), Number.of(fact.corrected.last_price)
                    books[fact.execution_id] = (str(values[0]), str(values[1]))
        return books


# --- the usual ways -----------------------------------------------------------------------------------------------


def test_limit_order_is_acknowledged_once_filled_by_its_executions_and_settled_by_its_commissions() -> None:
    ear = Ear().hear(
        seen("PreSubmitted"),
        status("Submitted"),
        execution("e.01.01", "4"),
        seen("Submitted"),
        status("Submitted", "4"),
        fee("e.01.01"),
        execution("e.02.01", "6"),
        status("Filled", "10"),
        status("Filled", "10"),
        fee("e.02.01", "0.35"),
    )
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert [str(Number.of(fill.last_qty)) for fill in ear.fills] == ["4", "6"]
    assert ear.fees == [("e.01.01", "1.00"), ("e.02.01", "0.35")]
    order = ear.facts.order(OURS)
    assert order is not None
    assert order.is_filled
    assert order.venue_order_id == "900"
    assert ear.alarms == []


def test_market_order_without_any_status_is_acknowledged_and_filled_by_executions_alone() -> None:
    ear = Ear().hear(execution())
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert len(ear.fills) == 1
    assert ear.facts.order(OURS).has_ended  # type: ignore[union-attr]


def test_filled_in_a_status_books_nothing_and_leads_to_a_question() -> None:
    ear = Ear().hear(status("Filled", "10"))
    assert ear.fills == []
    assert ear.learned[-1].must_ask
    assert not ear.facts.order(OURS).is_filled  # type: ignore[union-attr]
    assert ear.ask_all().alarms == ["EXECUTIONS_MISSING"]


@pytest.mark.parametrize(
    "messages",
    [
        (ErrorSeen(5, 201, "no margin"), seen("Inactive"), status("Inactive"), completed("Cancelled")),
        (seen("Inactive"), ErrorSeen(5, 201, "no margin"), status("Cancelled")),
        (ErrorSeen(5, 201, "no margin"), ErrorSeen(5, 201, "no margin"), status("Cancelled"), status("Submitted")),
    ],
)
def test_rejection_is_told_once_in_the_venues_words_T10_IBKR_REJECTION(messages: tuple[OrderMessage, ...]) -> None:
    ear = Ear().hear(*messages)
    assert ear.order_facts == ["REJECTED"]
    assert ear.told[0].reason.reason == "IBKR_201"
    assert ear.told[0].reason.message == "no margin"


@pytest.mark.parametrize("code", [399, 404, 2109, 2137, 10349, 165])
def test_warnings_that_libraries_take_for_an_end_end_nothing(code: int) -> None:
    ear = Ear().hear(seen(), ErrorSeen(5, code, "held until the market opens"), status("Submitted"))
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert ear.facts.order(OURS).life is Life.WORKING  # type: ignore[union-attr]


def test_code_that_nobody_knows_asks_and_ends_nothing() -> None:
    ear = Ear().hear(seen(), ErrorSeen(5, 77777, "?"))
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert ear.learned[-1].must_ask
    assert ear.alarms == ["VENUE_CODE_UNKNOWN"]


def test_rejection_of_an_order_that_was_at_work_ends_nothing() -> None:
    ear = Ear().hear(seen(), ErrorSeen(5, 201, "about something else"))
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert ear.learned[-1].must_ask


@pytest.mark.parametrize(
    "messages",
    [
        (status("PendingCancel"), ErrorSeen(5, 202, ""), status("Cancelled")),
        (status("Cancelled"), ErrorSeen(5, 202, "")),
        (ErrorSeen(5, 202, "by the venue"), seen("Cancelled"), status("Cancelled"), status("Submitted")),
        (completed("Cancelled"),),
    ],
)
def test_cancellation_is_told_once_whichever_message_comes_first(messages: tuple[OrderMessage, ...]) -> None:
    assert Ear().hear(seen(), *messages).order_facts == ["ACKNOWLEDGED", "CANCELED"]


@pytest.mark.parametrize("code", [135, 136, 161, 10147, 10148])
def test_refused_cancel_says_nothing_about_the_order(code: int) -> None:
    ear = Ear().hear(seen(), ErrorSeen(5, code, "state: Filled"))
    order = ear.facts.order(OURS)
    assert order is not None
    assert ear.order_facts == ["ACKNOWLEDGED"]
    assert order.cancel_refusal is not None
    assert ear.learned[-1].must_ask


def test_end_waits_for_the_executions_that_the_venue_counts_in_it() -> None:
    ear = Ear().hear(seen(), status("Cancelled", "4"))
    assert ear.order_facts == ["ACKNOWLEDGED"]
    ear.hear(execution("e.01.01", "4"))
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]
    assert isinstance(ear.told[1], venue_pb2.Fill)


def test_execution_after_canceled_is_booked_and_the_end_stays() -> None:
    ear = Ear().hear(seen(), status("Cancelled"), execution("e.01.01", "3"), status("Submitted", "3"))
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]
    assert len(ear.fills) == 1
    assert ear.facts.order(OURS).life is Life.CANCELED  # type: ignore[union-attr]


def test_status_of_before_takes_nothing_back() -> None:
    ear = Ear().hear(seen(), execution(), status("Filled", "10"), status("Submitted", "2"), seen("Submitted"))
    order = ear.facts.order(OURS)
    assert order is not None
    assert order.is_filled
    assert order.claimed_qty == number("10")
    assert ear.order_facts == ["ACKNOWLEDGED"]


def test_order_that_is_held_for_shares_lives() -> None:
    ear = Ear().hear(seen("Inactive"), status("Inactive", why_held="locate"))
    assert ear.order_facts == ["ACKNOWLEDGED"]


# --- corrections and fees -----------------------------------------------------------------------------------------


def test_correction_replaces_and_adds_nothing() -> None:
    ear = Ear().hear(execution("e.01.01", "6"), execution("e.01.02", "4", "99.5"))
    assert ear.booked() == {"e.01.01": ("4", "99.5")}
    assert ear.busts[0].corrected.execution_id == "e.01.02"
    assert ear.facts.order(OURS).cum_qty == number("4")  # type: ignore[union-attr]
    assert ear.alarms == []  # the kernel, which books it, tells people: FILL_CORRECTED


def test_second_correction_restates_what_the_kernel_booked_first() -> None:
    ear = Ear().hear(execution("e.01.01", "6"), execution("e.01.02", "4"), execution("e.01.03", "5"))
    assert ear.booked() == {"e.01.01": ("5", "100.25")}


def test_bust_is_a_revision_without_quantity() -> None:
    ear = Ear().hear(execution("e.01.01", "6"), execution("e.01.02", "0"), execution("e.01.01", "6"))
    assert ear.booked() == {}
    assert len(ear.busts) == 1


def test_commission_that_is_not_known_yet_is_not_a_fee() -> None:
    ear = Ear().hear(execution(), fee("e.01.01", None), fee("e.01.01", "1.25"), fee("e.01.01", "1.25"))
    assert ear.fees == [("e.01.01", "1.25")]


def test_placeholder_of_zero_is_replaced_by_the_true_commission() -> None:
    assert Ear().hear(execution(), fee("e.01.01", "0"), fee("e.01.01", "1.25")).fees[-1] == ("e.01.01", "1.25")


def test_commission_before_its_execution_waits_for_it() -> None:
    ear = Ear().hear(fee("e.01.01"), execution())
    assert [type(fact).__name__ for fact in ear.told[1:]] == ["Fill", "Settlement"] or ear.fees == [("e.01.01", "1.00")]


def test_commission_of_a_corrected_execution_is_told_under_the_id_that_was_booked() -> None:
    ear = Ear().hear(execution("e.01.01", "6"), fee("e.01.01"), execution("e.01.02", "4"), fee("e.01.02", "0.80"))
    assert ear.fees == [("e.01.01", "1.00"), ("e.01.01", "0.80")]


def test_executions_without_a_commission_are_named() -> None:
    assert Ear().hear(execution()).facts.fees_awaited() == ["e.01.01"]
    assert Ear().hear(execution(), fee("e.01.01")).facts.fees_awaited() == []


# --- identity -----------------------------------------------------------------------------------------------------


def test_same_order_id_after_a_roll_back_is_another_order() -> None:
    ear = Ear()
    ear.hear(seen(perm=900), execution("e.01.01", "10"))
    other = "ks" + "b" * 26
    ear.facts.sent(other, "AAPL", number("10"), 5, now_ns=9)
    ear.hear(status("Cancelled", perm=900), status("Submitted", perm=901))
    assert ear.facts.order(other).life is Life.WORKING  # type: ignore[union-attr]
    assert ear.facts.order(OURS).is_filled  # type: ignore[union-attr]


def test_second_order_of_the_venue_under_one_reference_raises_an_alarm() -> None:
    assert "ORDER_MULTIPLIED" in Ear().hear(seen(perm=900), seen(perm=901)).alarms


@pytest.mark.parametrize("ref", ["", "by-hand"])
def test_somebody_elses_execution_is_told_as_theirs_and_never_under_an_empty_name_X11(ref: str) -> None:
    ear = Ear().hear(
        seen(ref=ref, perm=1, order_id=-3, client_id=0), execution(ref=ref, perm_id=1, order_id=-3, client_id=0)
    )
    assert [fill.client_order_id for fill in ear.fills] == [ref or "ibkr-1"]
    assert ear.order_facts == []
    event = VenueEvent(1, 1, ear.fills[0])
    heard = reports.hear(event, account=ACCOUNT, venue="ibkr", our_symbols=("AAPL",))
    assert heard.attribution is reports.Attribution.FOREIGN


def test_what_somebody_else_paid_is_not_told_X11() -> None:
    assert Ear().hear(execution(ref="theirs", perm_id=1), fee("e.01.01")).fees == []


def test_orders_of_other_accounts_of_the_login_are_not_heard() -> None:
    assert Ear().hear(seen(account="DU7"), execution(account="DU7")).told == []


def test_combinations_own_row_is_not_counted() -> None:
    assert Ear().hear(execution(sec_type="BAG")).told == []


def test_order_with_our_prefix_that_no_journal_knows_raises_an_alarm_once_ORDER_WITHOUT_TOKEN() -> None:
    ear = Ear(sent=False).hear(seen())
    assert ear.alarms == []
    assert ear.ask_all().alarms == ["ORDER_WITHOUT_TOKEN"]
    assert ear.ask_all().alarms == ["ORDER_WITHOUT_TOKEN"]


def test_order_that_only_the_venue_told_of_was_commanded_by_nobody_ORDER_WITHOUT_TOKEN() -> None:
    """Its fill is stored, as of ours, before everything was asked: that is no proof of a command."""
    stored = Ear(sent=False).hear(execution()).remember()
    assert stored.hear(execution()).ask_all().alarms == ["ORDER_WITHOUT_TOKEN"]


def test_of_very_many_orders_that_nobody_commanded_one_alarm_says_how_many_ORDER_WITHOUT_TOKEN() -> None:
    ear = Ear(sent=False)
    for count in range(300):
        ear.hear(seen(ref=f"{OURS}{count}", perm=1000 + count, order_id=count))
    told = ear.ask_all().learned[-1].alarms
    assert len(told) == 21
    assert told[-1].message.startswith("and 280 orders more")


# --- memory -------------------------------------------------------------------------------------------------------


def test_new_process_that_hears_everything_again_tells_nothing_again() -> None:
    messages = [
        seen(), execution("e.01.01", "4"), fee("e.01.01"), execution("e.02.01", "3"), execution("e.02.02", "2"),
        fee("e.02.02", "0.5"), execution("e.03.01", "4"), execution("e.03.02", "0"), status("Cancelled", "6"),
    ]  # fmt: skip
    first = Ear().hear(*messages)
    again = first.remember().hear(*messages)
    assert again.told == []
    assert again.facts.order(OURS).cum_qty == number("6")  # type: ignore[union-attr]


def test_new_process_that_hears_only_the_correction_restates_what_was_booked() -> None:
    again = Ear().hear(execution("e.01.01", "6")).remember().hear(execution("e.01.02", "4"))
    assert [bust.execution_id for bust in again.busts] == ["e.01.01"]
    assert again.fills == []


def test_new_process_tells_a_fee_that_the_old_one_did_not() -> None:
    again = Ear().hear(execution(), fee("e.01.01")).remember().hear(execution(), fee("e.01.01"), fee("e.01.01", "2"))
    assert again.fees == [("e.01.01", "2")]


def test_closed_orders_are_forgotten_beyond_a_bound() -> None:
    ear = Ear(sent=False)
    for count in range(4300):
        ref = f"ks{count:026d}"
        ear.facts.sent(ref, "AAPL", number("10"), count + 1, now_ns=1)
        ear.facts.apply(seen(ref=ref, perm=count + 1, order_id=count + 1), now_ns=1)
        row = execution(f"x{count}.01", ref=ref, perm_id=count + 1, order_id=count + 1)
        ear.facts.apply(row, now_ns=1)
        ear.facts.apply(fee(row.execution_id), now_ns=1)
    assert ear.facts.order_count <= 4096
    assert len(ear.facts._by_order_id) <= 4096
    assert len(ear.facts._lots) <= 4096


# --- anything -----------------------------------------------------------------------------------------------------

_REFS = st.sampled_from([OURS, "ks" + "b" * 26, "", "theirs"])
_STATE_TEXTS = "PendingSubmit ApiPending PreSubmitted Submitted PendingCancel Cancelled ApiCancelled Filled Inactive"
_STATES = st.sampled_from([*_STATE_TEXTS.split(), "ValidationError", "", "Nonsense"])
_QTY = st.integers(0, 12).map(lambda units: Number(units, 0))
_PERM = st.sampled_from([0, 900, 901, 1])
_ORDER_ID = st.sampled_from([-2, 0, 5, 6])
_CLIENT = st.sampled_from([0, CLIENT, 9])
_EXECUTION_ID = st.builds(lambda stem, revision: f"e.{stem:02d}.{revision:02d}", st.integers(1, 3), st.integers(1, 3))
_ANY = st.one_of(
    st.builds(
        OrderSeen, order_id=_ORDER_ID, client_id=_CLIENT, perm_id=_PERM, order_ref=_REFS, account=st.just(ACCOUNT),
        symbol=st.just("AAPL"), side=st.just(BUY), order_qty=_QTY, status=_STATES, is_preview=st.booleans(),
    ),
    st.builds(StatusSeen, _ORDER_ID, _CLIENT, _PERM, _STATES, _QTY, st.sampled_from(["", "locate"])),
    st.builds(
        ExecutionSeen, execution_id=_EXECUTION_ID, order_id=_ORDER_ID, client_id=_CLIENT, perm_id=_PERM,
        order_ref=_REFS, account=st.just(ACCOUNT), symbol=st.just("AAPL"), sec_type=st.just("STK"), side=st.just(BUY),
        qty=_QTY, price=_QTY, time_ns=st.sampled_from([None, 1]),
    ),
    st.builds(CommissionSeen, _EXECUTION_ID, st.one_of(st.none(), _QTY), st.just("USD")),
    st.builds(
        CompletedSeen, _PERM, _REFS, st.just(ACCOUNT), st.just("AAPL"), st.just(BUY), _QTY, _STATES, _QTY,
        st.sampled_from(["", "Rejected by system"]),
    ),
    st.builds(ErrorSeen, _ORDER_ID, st.sampled_from([*errors._MEANING, 2109, 77777]), st.just("text")),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(_ANY, max_size=40))
def test_whatever_is_heard_nothing_raises_nothing_is_booked_twice_and_no_end_is_told_twice(
    messages: list[OrderMessage],
) -> None:
    ear = Ear()
    claimed = number("0")
    for message in messages:
        ear.hear(message)
        order = ear.facts.order(OURS)
        if order is not None:
            assert order.claimed_qty >= claimed
            claimed = order.claimed_qty
    ear.ask_all()
    ear.booked()
    for ref in (OURS, "ks" + "b" * 26):
        told = [fact for fact in ear.told if isinstance(fact, venue_pb2.OrderReport) and fact.client_order_id == ref]
        assert len({fact.fact for fact in told}) == len(told)
        assert len([fact for fact in told if fact.fact != venue_pb2.ORDER_FACT_ACKNOWLEDGED]) <= 1
    again = ear.remember()
    again.hear(*messages)
    assert not [fact for fact in again.told if isinstance(fact, venue_pb2.Fill) and _was_booked(ear, fact)]


def _was_booked(ear: Ear, fill: venue_pb2.Fill) -> bool:
    return fill.execution_id in {earlier.execution_id for earlier in ear.fills}


_REVISIONS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=8,
    unique_by=lambda row: row[:2],
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(_REVISIONS, st.data())
def test_executions_in_any_order_and_countgive_the_same_books(
    rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    messages = [execution(f"e.{stem:02d}.{revision:02d}", str(qty)) for stem, revision, qty in rows]
    shuffled = data.draw(st.permutations(messages * 2))
    first, second = Ear().hear(*messages), Ear().hear(*shuffled)
    # By stem: under which id it was booked first depends on what came first, what counts does not.
    by_stem = [
        sorted((execution_id[:4], values) for execution_id, values in ear.booked().items()) for ear in (first, second)
    ]
    assert by_stem[0] == by_stem[1]
    totals = [ear.facts.order(OURS).cum_qty for ear in (first, second)]  # type: ignore[union-attr]
    assert totals[0] == totals[1]


# --- orders that the venue makes smaller -----------------------------------------------------------------------------


def test_order_that_the_venue_made_smaller_and_filled_is_canceled_for_the_rest_T01() -> None:
    ear = Ear()
    ear.hear(seen("PreSubmitted"), replace(seen("Submitted"), order_qty=number("4")))
    ear.hear(execution("00.01.01", "4"), replace(seen("Filled"), order_qty=number("4")), status("Filled", "4"))
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]
    assert [str(Number.of(fill.last_qty)) for fill in ear.fills] == ["4"]
    ear.hear(status("Filled", "4")).ask_all()
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]


def test_order_that_the_venue_made_smaller_is_told_as_such_also_behind_a_restart_T01() -> None:
    known = KnownFacts()
    known.learn_command(OURS, number("10"))
    ear = Ear(known, sent=False)
    ear.hear(replace(completed("Filled", "4"), order_qty=number("4")), execution("00.01.01", "4")).ask_all()
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]


def test_order_that_the_venue_calls_filled_before_its_executions_waits_for_them_T01() -> None:
    ear = Ear()
    ear.hear(seen("Submitted"), replace(seen("Filled"), order_qty=number("4")))
    assert ear.order_facts == ["ACKNOWLEDGED"]
    ear.hear(execution("00.01.01", "4"))
    assert ear.order_facts == ["ACKNOWLEDGED", "CANCELED"]
