"""The venue's reports as they mostly are, read by C in one go: orders, fills and marks without anything to remark.

``translate`` says what an input has to be, and is the only one who refuses or repairs. What is read here it would have
translated into the same input, without a reason and without a note; a test holds both against each other. All else is
left to it: any field that is missing, unknown, wrong or odd.
"""

from __future__ import annotations

from google.protobuf.message import Message

import kestrel_libkernel as lk
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import SCALE_MAX
from kestrel_kernel.core.scaling import AMOUNT_SCALE
from kestrel_libkernel import reading
from kestrel_libkernel.reading import Reader, Row, Table

DOOR = "venue"
"""Nothing else is read here."""

_TEXT_MAX, _SYMBOL_MAX = 64, 32


def reader(configuration: state_pb2.AccountConfiguration) -> Reader:
    """Reads the inbox messages of one account's door ``venue``."""
    return Reader([_fills(configuration), _orders(configuration), _marks(configuration)])


def _orders(configuration: state_pb2.AccountConfiguration) -> Table:
    """Without a reason: that would be the reason of what follows, too."""
    of = _numbers(venue_pb2.OrderReport)
    rows = [
        reading.member("order_fact", of["fact"], lk.Fact.SUBMITTING, lk.Fact.IN_DOUBT),
        reading.text("client_order_id", of["client_order_id"], letters_max=_TEXT_MAX),
        reading.text("venue_order_id", of["venue_order_id"], letters_max=_TEXT_MAX).optional(),
        reading.unused_text(of["symbol"], letters_max=_TEXT_MAX).optional(),
    ]
    return Table(lk.OrderReport(now_ns=0, fact=lk.Fact.NONE), _report("order", rows, configuration))


def _fills(configuration: state_pb2.AccountConfiguration) -> Table:
    of = _numbers(venue_pb2.Fill)
    rows = [
        reading.text("execution_id", of["execution_id"], letters_max=_TEXT_MAX),
        *(
            reading.text(name, of[name], letters_max=_TEXT_MAX).optional()
            for name in ("client_order_id", "venue_order_id")
        ),
        reading.symbol("symbol", of["symbol"], letters_max=_SYMBOL_MAX).optional(),
        reading.member("side", of["side"], lk.Side.BUY, lk.Side.SELL),
        reading.shortest("qty", of["last_qty"], scale_max=SCALE_MAX),
        reading.shortest("price", of["last_price"], scale_max=SCALE_MAX).optional(),
        reading.amount("fee", of["fee"], scale=AMOUNT_SCALE).optional(),
        reading.same(configuration.currency, of["fee_currency"]).optional(),
        reading.member("liquidity", of["liquidity"], lk.Liquidity.NONE, max(lk.Liquidity)).optional(),
    ]
    blank = lk.Fill(now_ns=0, execution_id="", side=lk.Side.NONE, qty=0, qty_scale=0, price=None, price_scale=0)
    return Table(blank, _report("fill", rows, configuration))


def _marks(configuration: state_pb2.AccountConfiguration) -> Table:
    """Marks have no identity: the last one counts."""
    of = _numbers(venue_pb2.Mark)
    rows = [
        reading.symbol("symbol", of["symbol"], letters_max=_SYMBOL_MAX),
        reading.shortest("price", of["price"], scale_max=SCALE_MAX),
    ]
    blank = lk.MarkPrice(now_ns=0, symbol="", price=0, price_scale=0)
    return Table(blank, _report("mark", rows, configuration, has_event_id=False))


def _report(
    body: str, inside: list[Row], configuration: state_pb2.AccountConfiguration, *, has_event_id: bool = True
) -> list[Row]:
    """An inbox message that is a venue's report with this body."""
    of = _numbers(venue_pb2.VenueReport)
    report_id = of["report_id"]
    rows = [
        reading.text("event_id", report_id, letters_max=_TEXT_MAX)
        if has_event_id
        else reading.unused_text(report_id, letters_max=_TEXT_MAX),
        reading.same(configuration.account, of["account"]),
        reading.same(configuration.venue, of["venue"]),
        *(reading.nothing(of[name]) for name in ("venue_time_ns", "received_at_ns", "venue_watermark")),
        reading.message(of[body], inside),
    ]
    return [reading.message(_numbers(inbox_pb2.InboxMessage)[DOOR], rows)]


def _numbers(kind: type[Message]) -> dict[str, int]:
    return {field.name: field.number for field in kind.DESCRIPTOR.fields}
