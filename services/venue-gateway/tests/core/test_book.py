"""The account's book: what follows from the journal, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.book import AccountBook

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


class Journal:
    """Writes entries as the kernel does, into a book."""

    def __init__(self) -> None:
        self.book = AccountBook("PAPER-1", "paper", 0)
        self.sequence = 0

    def write(self, account: str = "PAPER-1", **fields: Any) -> Any:
        self.sequence += 1
        entry = journal_pb2.JournalEntry(account=account, **fields)
        return self.book.apply(self.sequence, entry)

    def command(self, *commands: journal_pb2.VenueCommand) -> Any:
        return self.write(door="exit", commands=commands, traceparent=TRACE)

    def report(self, client_order_id: str, fact: Any, watermark: int = 0, venue: str = "paper") -> None:
        order = venue_pb2.OrderReport(fact=fact, client_order_id=client_order_id)
        report = venue_pb2.VenueReport(venue=venue, account="PAPER-1", order=order, venue_watermark=watermark)
        self.write(door="venue", input=inbox_pb2.InboxMessage(venue=report).SerializeToString())

    def fill(self, client_order_id: str, quantity: str, *, execution_id: str = "", is_busted: bool = False) -> None:
        qty = Number.parse(quantity).message()
        report = venue_pb2.VenueReport(
            venue="paper", fill=venue_pb2.Fill(client_order_id=client_order_id, last_qty=qty)
        )
        booked = journal_pb2.BookedFill(
            client_order_id=client_order_id,
            execution_id=execution_id or f"x{self.sequence}",
            last_qty=qty,
            is_busted=is_busted,
        )
        self.write(door="venue", input=inbox_pb2.InboxMessage(venue=report).SerializeToString(), fills=[booked])

    def control(self, control: inbox_pb2.Control, command: journal_pb2.VenueCommand) -> Any:
        message = inbox_pb2.InboxMessage(control=control)
        (found,) = self.write(door="control", input=message.SerializeToString(), commands=[command])
        return found

    def slot(self, trade_id: str, quantity: str, stage: Any = state_pb2.SLOT_STAGE_POSITION_OPEN) -> None:
        instrument = common_pb2.Instrument(symbol="AAPL")
        qty = Number.parse(quantity).message()
        self.write(slots=[state_pb2.SlotSnapshot(trade_id=trade_id, qty=qty, stage=stage, instrument=instrument)])


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_command_is_known_by_stream_sequence_and_place_and_carries_its_trace(desk: Any, journal: Journal) -> None:
    journal.write()
    first, second = journal.command(desk.cancel("ks1"), desk.entry())
    assert (first.identity, second.identity) == ("JOURNAL_0:2:0", "JOURNAL_0:2:1")
    assert second.traceparent == TRACE
    assert journal.book.traceparent(desk.entry().client_order_id) == TRACE


def test_commands_of_another_venue_are_somebody_elses(desk: Any, journal: Journal) -> None:
    command = desk.entry()
    command.venue = "other"
    assert journal.command(command) == []


def test_redelivered_entry_is_ignored(desk: Any, journal: Journal) -> None:
    assert len(journal.command(desk.entry())) == 1
    assert journal.book.apply(1, journal_pb2.JournalEntry(account="PAPER-1", commands=[desk.entry()])) == []


@pytest.mark.parametrize(
    ("fact", "settles"),
    [
        (venue_pb2.ORDER_FACT_SUBMITTING, False),
        (venue_pb2.ORDER_FACT_IN_DOUBT, False),
        (venue_pb2.ORDER_FACT_CANCEL_REJECTED, False),
        (venue_pb2.ORDER_FACT_ACKNOWLEDGED, True),
        (venue_pb2.ORDER_FACT_REJECTED, True),
        (venue_pb2.ORDER_FACT_DENIED, True),
        (venue_pb2.ORDER_FACT_CANCELED, True),
        (venue_pb2.ORDER_FACT_EXPIRED, True),
    ],
)
def test_submission_is_settled_by_an_answer_and_by_nothing_less(
    desk: Any, journal: Journal, fact: Any, settles: bool
) -> None:
    command = desk.entry()
    journal.command(command)
    journal.report(command.client_order_id, fact)
    assert (journal.book.unsettled == []) == settles


def test_fill_that_outran_its_acknowledgement_settles_the_submission(desk: Any, journal: Journal) -> None:
    command = desk.entry()
    journal.command(command)
    journal.fill(command.client_order_id, "1")
    assert journal.book.unsettled == []


def test_cancel_is_settled_by_the_orders_end_its_last_fill_or_a_refusal(desk: Any, journal: Journal) -> None:
    for number, end in enumerate(("canceled", "filled", "refused")):
        command = desk.entry(desk.intent(f"intent-{number}"))
        journal.command(command)
        journal.report(command.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
        journal.command(desk.cancel(command.client_order_id, f"intent-{number}"))
        assert len(journal.book.unsettled) == 1
        if end == "canceled":
            journal.report(command.client_order_id, venue_pb2.ORDER_FACT_CANCELED)
        elif end == "filled":
            journal.fill(command.client_order_id, "10")
        else:
            journal.report(command.client_order_id, venue_pb2.ORDER_FACT_CANCEL_REJECTED)
        assert journal.book.unsettled == []


def by_name(client_order_id: str) -> inbox_pb2.Control:
    return inbox_pb2.Control(
        action=inbox_pb2.CONTROL_ACTION_CANCEL_ORDER,
        client_order_id=client_order_id,
        requested_by=common_pb2.Actor(id="ada", kind="operator"),
    )


def test_repeated_cancels_of_one_order_are_one_and_the_newest_goes_out(desk: Any, journal: Journal) -> None:
    entry = desk.entry()
    (order,) = journal.command(entry)
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_IN_DOUBT)
    cancel = desk.cancel(entry.client_order_id)
    given = [journal.control(by_name(entry.client_order_id), cancel) for _ in range(40)]
    assert [one.identity for one in given] == [f"JOURNAL_0:{number}:0" for number in range(3, 43)]
    assert journal.book.unsettled == [order, given[-1]]
    assert [journal.book.is_settled(one.identity) for one in given] == [True] * 39 + [False]
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_CANCELED)
    assert journal.book.unsettled == []


def test_cancel_in_place_of_a_persons_is_a_persons_too_and_knows_whose_marks_are_its_own(
    desk: Any, journal: Journal
) -> None:
    journal.command(desk.exit())
    order_id = desk.exit().client_order_id
    journal.report(order_id, venue_pb2.ORDER_FACT_IN_DOUBT)
    first = journal.control(by_name(order_id), desk.cancel(order_id))
    (second,) = journal.command(desk.cancel(order_id))
    (third,) = journal.command(desk.cancel(order_id))
    assert (first.by_person, first.marks_as) == (True, "")
    assert [(one.by_person, one.of_exit, one.marks_as) for one in (second, third)] == [(True, True, first.identity)] * 2


def test_cancels_of_different_orders_do_not_take_each_others_place(desk: Any, journal: Journal) -> None:
    orders = [desk.entry(desk.intent(f"intent-{number}")).client_order_id for number in range(2)]
    for number in range(2):
        journal.command(desk.entry(desk.intent(f"intent-{number}")))
    journal.command(*(desk.cancel(order_id) for order_id in orders))
    assert len(journal.book.unsettled) == 4


def test_cancel_after_a_refused_one_is_a_cancel_of_its_own(desk: Any, journal: Journal) -> None:
    entry = desk.entry()
    journal.command(entry)
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_IN_DOUBT)
    journal.control(by_name(entry.client_order_id), desk.cancel(entry.client_order_id))
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_CANCEL_REJECTED)
    (again,) = journal.command(desk.cancel(entry.client_order_id))
    assert (again.by_person, again.marks_as) == (False, "")


def test_cancel_does_not_settle_the_submission_it_is_about(desk: Any, journal: Journal) -> None:
    command = desk.entry()
    journal.command(command, desk.cancel(command.client_order_id))
    assert len(journal.book.unsettled) == 2


def test_exits_at_work_count_whole_and_ended_ones_count_what_they_filled(desk: Any, journal: Journal) -> None:
    def committed(quantity: str, sequence: int) -> tuple[str, str]:
        command = desk.exit(quantity=quantity, input_sequence=sequence)
        (commission,) = journal.command(command)
        return str(commission.committed_qty), command.client_order_id

    nothing, first = committed("4", 1)
    whole, second = committed("3", 2)
    journal.fill(first, "1")
    journal.report(first, venue_pb2.ORDER_FACT_CANCELED)
    part_and_whole, _ = committed("2", 3)
    journal.report(second, venue_pb2.ORDER_FACT_REJECTED)
    part, _ = committed("1", 4)
    assert (nothing, whole, part_and_whole, part) == ("0", "4", "4", "3")


def test_busted_exit_gives_its_part_of_the_warrant_back(desk: Any, journal: Journal) -> None:
    first = desk.exit(quantity="10", input_sequence=1)
    journal.command(first)
    journal.fill(first.client_order_id, "10", execution_id="x")
    (commission,) = journal.command(desk.exit(quantity="1", input_sequence=2))
    assert str(commission.committed_qty) == "10"
    journal.fill(first.client_order_id, "10", execution_id="x", is_busted=True)
    journal.report(desk.exit(input_sequence=2).client_order_id, venue_pb2.ORDER_FACT_DENIED)
    (commission,) = journal.command(desk.exit(quantity="10", input_sequence=3))
    assert str(commission.committed_qty) == "0"


def test_corrected_fill_counts_once(desk: Any, journal: Journal) -> None:
    first = desk.exit(quantity="10", input_sequence=1)
    journal.command(first)
    for quantity in ("6", "4"):
        journal.fill(first.client_order_id, quantity, execution_id="x")
    journal.report(first.client_order_id, venue_pb2.ORDER_FACT_CANCELED)
    (commission,) = journal.command(desk.exit(quantity="1", input_sequence=2))
    assert str(commission.committed_qty) == "4"


def test_late_fill_of_an_ended_exit_counts(desk: Any, journal: Journal) -> None:
    first = desk.exit(quantity="10", input_sequence=1)
    journal.command(first)
    journal.report(first.client_order_id, venue_pb2.ORDER_FACT_CANCELED)
    journal.fill(first.client_order_id, "3")
    (commission,) = journal.command(desk.exit(quantity="1", input_sequence=2))
    assert str(commission.committed_qty) == "3"


def test_exits_of_an_earlier_attempt_use_nothing_of_the_next_ones_warrant(desk: Any, journal: Journal) -> None:
    earlier = desk.exit(quantity="4", input_sequence=1)
    first, second = desk.intent(), desk.intent()
    second.attempt = first.attempt + 1
    journal.command(desk.entry(first), earlier)
    journal.fill(earlier.client_order_id, "4")
    journal.command(desk.entry(second))
    (commission,) = journal.command(desk.exit(quantity="10", input_sequence=2))
    assert str(commission.committed_qty) == "0"


def test_entries_and_other_trades_use_nothing_of_a_warrant(desk: Any, journal: Journal) -> None:
    journal.command(desk.entry(), desk.exit(trade_id="intent-2"))
    (commission,) = journal.command(desk.exit())
    assert str(commission.committed_qty) == "0"


def test_command_that_repeats_an_order_id_is_marked(desk: Any, journal: Journal) -> None:
    (first,) = journal.command(desk.entry())
    (second,) = journal.command(desk.entry())
    assert (first.repeats_an_id, second.repeats_an_id) == (False, True)


def test_open_symbols_follow_the_slots(journal: Journal) -> None:
    journal.slot("intent-1", "10")
    assert journal.book.open_symbols == {"AAPL"}
    journal.slot("intent-1", "0", state_pb2.SLOT_STAGE_POSITION_CLOSED)
    assert journal.book.open_symbols == set()


def test_place_in_the_venues_stream_is_the_highest_that_was_journaled_for_this_venue(journal: Journal) -> None:
    journal.report("ks1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, watermark=7)
    journal.report("ks2", venue_pb2.ORDER_FACT_ACKNOWLEDGED, watermark=5)
    journal.report("ks3", venue_pb2.ORDER_FACT_ACKNOWLEDGED, watermark=99, venue="other")
    assert journal.book.venue_watermark == 7


def test_finished_trades_are_forgotten_in_the_end_and_symbols_are_not(
    desk: Any, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kestrel_venue_gateway.core.book._FINISHED_TRADES_KEPT", 1)
    ids = []
    for number in range(3):
        command = desk.entry(desk.intent(f"intent-{number}"))
        ids.append(command.client_order_id)
        journal.command(command)
        journal.report(command.client_order_id, venue_pb2.ORDER_FACT_REJECTED)
        journal.slot(f"intent-{number}", "0", state_pb2.SLOT_STAGE_TERMINAL_WRITTEN)
    assert [bool(journal.book.traceparent(order_id)) for order_id in ids] == [False, False, True]
    assert journal.book.symbols_ordered == {"AAPL"}


def test_two_folds_of_one_journal_agree(desk: Any) -> None:
    books = []
    for _ in range(2):
        journal = Journal()
        journal.command(desk.exit(quantity="4"))
        journal.fill(desk.exit().client_order_id, "1")
        journal.report("ks1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, watermark=3)
        books.append(journal.book)
    assert books[0] == books[1]


@pytest.mark.parametrize(
    ("kind", "action", "named", "by_person"),
    [
        ("operator", inbox_pb2.CONTROL_ACTION_CANCEL_ORDER, True, True),
        ("operator", inbox_pb2.CONTROL_ACTION_CANCEL_ORDER, False, False),
        ("service", inbox_pb2.CONTROL_ACTION_CANCEL_ORDER, True, False),
        ("operator", inbox_pb2.CONTROL_ACTION_CANCEL_WORKING_ENTRIES, True, False),
    ],
)
def test_cancel_is_a_persons_only_when_an_operator_named_the_order(
    desk: Any, journal: Journal, kind: str, action: Any, named: bool, by_person: bool
) -> None:
    entry = desk.entry()
    journal.command(entry)
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_IN_DOUBT)
    control = inbox_pb2.Control(
        action=action,
        client_order_id=entry.client_order_id if named else "ks-other",
        requested_by=common_pb2.Actor(id="ada", kind=kind),
    )
    assert journal.control(control, desk.cancel(entry.client_order_id)).by_person == by_person


@pytest.mark.parametrize(
    ("facts", "by_person"),
    [
        ([], False),
        ([venue_pb2.ORDER_FACT_SUBMITTING], False),
        ([venue_pb2.ORDER_FACT_IN_DOUBT], True),
        ([venue_pb2.ORDER_FACT_IN_DOUBT, venue_pb2.ORDER_FACT_CANCEL_REJECTED], True),
        ([venue_pb2.ORDER_FACT_IN_DOUBT, venue_pb2.ORDER_FACT_ACKNOWLEDGED], False),
    ],
)
def test_cancel_is_a_persons_only_when_there_was_a_doubt_to_look_into(
    desk: Any, journal: Journal, facts: list[Any], by_person: bool
) -> None:
    entry = desk.entry()
    journal.command(entry)
    for fact in facts:
        journal.report(entry.client_order_id, fact)
    control = inbox_pb2.Control(
        action=inbox_pb2.CONTROL_ACTION_CANCEL_ORDER,
        client_order_id=entry.client_order_id,
        requested_by=common_pb2.Actor(id="ada", kind="operator"),
    )
    assert journal.control(control, desk.cancel(entry.client_order_id)).by_person == by_person


def test_cancel_of_an_exit_says_so_and_an_order_is_no_cancel(desk: Any, journal: Journal) -> None:
    (leave,) = journal.command(desk.exit())
    (cancel,) = journal.command(desk.cancel(desk.exit().client_order_id))
    assert (leave.of_exit, leave.by_person) == (False, False)
    assert (cancel.of_exit, cancel.by_person) == (True, False)


def test_book_says_what_is_settled_and_knows_what_was_told(desk: Any, journal: Journal) -> None:
    entry = desk.entry()
    (commission,) = journal.command(entry)
    assert not journal.book.is_settled(commission.identity)
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_SUBMITTING)
    assert journal.book.known.orders_in_doubt() == [entry.client_order_id]
    journal.report(entry.client_order_id, venue_pb2.ORDER_FACT_ACKNOWLEDGED)
    assert journal.book.is_settled(commission.identity)
    assert journal.book.known.orders_in_doubt() == []


def test_book_says_how_far_the_journal_has_read_the_inbox(journal: Journal) -> None:
    journal.write(input_sequence=7)
    journal.write(account="PAPER-2", input_sequence=9)
    assert journal.book.inbox_sequence == 7
