"""Lines and totals out of the record."""

from __future__ import annotations

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_cli.demo.events import Totals, read_alert, read_bead, read_entry
from kestrel_cli.demo.screen import plain


def test_an_entry_with_an_exit_and_its_fill_is_told_and_counted() -> None:
    totals = Totals()
    entry = journal_pb2.JournalEntry(
        commands=[
            journal_pb2.VenueCommand(
                kind=journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
                client_order_id="ks1",
                side=common_pb2.SIDE_SELL,
                order_qty=common_pb2.Decimal(units=5),
                instrument=common_pb2.Instrument(symbol="AAPL"),
            )
        ],
        fills=[
            journal_pb2.BookedFill(
                symbol="AAPL",
                side=common_pb2.SIDE_SELL,
                is_exit=True,
                last_qty=common_pb2.Decimal(units=5),
                last_price=common_pb2.Decimal(units=4000, scale=2),
                realized_pnl=common_pb2.Decimal(units=-125, scale=2),
            )
        ],
        account_after=state_pb2.AccountSnapshot(equity=common_pb2.Decimal(units=99, scale=0), open_slot_count=1),
    )
    lines = [plain(line.text) for line in read_entry(entry, 1, totals)]
    assert lines == ["exit SELL 5 AAPL ks1", "SELL 5 AAPL @ 40.00 pnl -1.25"]
    assert totals.counts == {"exits": 1, "fills": 1}
    assert totals.open_slots == 1


def test_a_hold_is_counted_and_not_told_X01() -> None:
    totals = Totals()
    bead = audit_pb2.Bead(signal=signal_pb2.Signal(action=signal_pb2.SIGNAL_ACTION_HOLD))
    assert read_bead(bead, 1, totals) == []
    assert totals.counts["signals HOLD"] == 1


def test_every_kind_of_bead_can_be_read() -> None:
    totals = Totals()
    for kind in audit_pb2.Bead.DESCRIPTOR.oneofs_by_name["body"].fields:
        bead = audit_pb2.Bead()
        getattr(bead, kind.name).SetInParent()
        for line in read_bead(bead, 1, totals):
            assert plain(line.text)
    assert totals.counts["beads"] == len(audit_pb2.Bead.DESCRIPTOR.oneofs_by_name["body"].fields)


def test_markup_in_a_message_is_text_and_nothing_else() -> None:
    alert = audit_pb2.Alert(reason="X", message="[bold]not markup[/]", severity=common_pb2.SEVERITY_CRITICAL)
    (line,) = read_alert(alert, 1, Totals())
    assert "[bold]not markup[/]" in plain(line.text)


def test_the_newest_decision_on_an_intent_and_the_last_day_judged_are_kept_for_those_who_wait() -> None:
    totals = Totals()
    for verdict in (authority_pb2.VERDICT_PENDING, authority_pb2.VERDICT_PASSED):
        read_bead(audit_pb2.Bead(decision=authority_pb2.Decision(intent_id="i", verdict=verdict)), 1, totals)
    assert totals.decisions["i"].verdict == authority_pb2.VERDICT_PASSED
    hold = signal_pb2.Signal(strategy="momentum", symbol="IBM", action=signal_pb2.SIGNAL_ACTION_HOLD, market_time_ns=5)
    assert read_bead(audit_pb2.Bead(signal=hold), 1, totals) == []
    assert totals.decided_until_ns == {"momentum IBM": 5}
