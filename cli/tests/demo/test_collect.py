"""What the three books are read from."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_cli.demo.collect import denied_by, orders_of, read_venue, repeated_requests
from kestrel_cli.demo.counts import FillRow
from kestrel_domain.numbers import Number


def test_orders_are_the_submits_of_an_entry_and_not_its_cancels() -> None:
    def command(kind: journal_pb2.CommandKind.ValueType, name: str) -> journal_pb2.VenueCommand:
        return journal_pb2.VenueCommand(
            kind=kind, client_order_id=name, trade_id="t", order_qty=common_pb2.Decimal(units=5)
        )

    entry = journal_pb2.JournalEntry(
        commands=[
            command(journal_pb2.COMMAND_KIND_SUBMIT_ENTRY, "ks-in"),
            command(journal_pb2.COMMAND_KIND_CANCEL, "ks-cancel"),
            command(journal_pb2.COMMAND_KIND_SUBMIT_EXIT, "ks-out"),
        ]
    )
    assert [(o.client_order_id, o.is_exit) for o in orders_of(entry)] == [("ks-in", False), ("ks-out", True)]


def test_a_denial_is_read_from_the_input_that_reported_it() -> None:
    def entry(fact: venue_pb2.OrderFact.ValueType, door: str = "venue") -> journal_pb2.JournalEntry:
        report = venue_pb2.VenueReport(order=venue_pb2.OrderReport(fact=fact, client_order_id="ks1"))
        return journal_pb2.JournalEntry(door=door, input=inbox_pb2.InboxMessage(venue=report).SerializeToString())

    assert denied_by(entry(venue_pb2.ORDER_FACT_DENIED)) == {"ks1"}
    assert denied_by(entry(venue_pb2.ORDER_FACT_REJECTED)) == set()
    assert denied_by(entry(venue_pb2.ORDER_FACT_DENIED, door="entry")) == set()
    assert denied_by(journal_pb2.JournalEntry(door="venue", input=b"\xff\xff")) == set()


def test_the_venues_ledger_is_taken_as_it_is_doubles_included() -> None:
    order = paper_pb2.PaperOrder(client_order_id="ks1", order_qty=common_pb2.Decimal(units=5))
    fill = venue_pb2.Fill(execution_id="x", client_order_id="ks1", last_qty=common_pb2.Decimal(units=50, scale=1))
    book = read_venue(paper_pb2.GetLedgerResponse(orders=[order, order], fills=[fill]))
    assert len(book.orders) == 2
    assert book.fills[0].last_qty == Number(5, 0)


def test_a_brokers_ledger_is_read_by_order_reference_and_its_executions_by_their_last_revision() -> None:
    order = tws_pb2.LedgerOrder(perm_id=7, order_ref="ks1", order_qty=common_pb2.Decimal(units=5))

    def execution(name: str, qty: int, *, current: bool) -> tws_pb2.LedgerExecution:
        return tws_pb2.LedgerExecution(
            execution_id=name, order_ref="ks1", qty=common_pb2.Decimal(units=qty), is_current=current
        )

    executions = [
        execution("a.01.01", 5, current=False),
        execution("a.01.02", 3, current=True),
        execution("b.01.02", 0, current=True),
    ]
    book = read_venue(tws_pb2.GetLedgerResponse(orders=[order, order], executions=executions))
    assert [each.client_order_id for each in book.orders] == ["ks1", "ks1"], "doubles are not hidden"
    assert book.fills == (FillRow("a.01.02", "ks1", Number(3, 0)),), "a busted one counts no more"


def test_requests_beyond_the_first_of_an_id_are_repeated_at_both_venues() -> None:
    paper = [paper_pb2.Arrival(client_order_id=name, request_count=count) for name, count in (("a", 3), ("b", 1))]
    broker = [tws_pb2.Arrival(order_ref=name, order_count=count) for name, count in (("a", 3), ("b", 1))]
    assert repeated_requests(paper_pb2.GetLedgerResponse(arrivals=paper)) == 2
    assert repeated_requests(tws_pb2.GetLedgerResponse(arrivals=broker)) == 2
