"""Alerts follow from journal entries."""

from __future__ import annotations

from typing import Any

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_kernel.core import alerts

CRITICAL = common_pb2.SEVERITY_CRITICAL


def alert(published: Any) -> audit_pb2.Alert:
    return audit_pb2.Alert.FromString(published.body)


def test_a_new_epoch_is_told_for_the_record(desk: Any) -> None:
    (published,) = alerts.of_entry(desk.steps[0].entry, 1)
    assert published.subject == "alert.info.kernel"
    assert alert(published).reason == "EPOCH_STARTED"
    assert published.message_id == alert(published).alert_id


def test_only_what_a_person_should_look_at_becomes_an_alert() -> None:
    anomalies = [
        journal_pb2.Anomaly(code=code, severity=severity, trade_id="trade-1")
        for code, severity in (
            ("ROUTED_BY_STAGE", common_pb2.SEVERITY_INFO),
            ("LATE_FILL", common_pb2.SEVERITY_WARNING),
            ("LEDGER_ERROR", common_pb2.SEVERITY_CRITICAL),
        )
    ]
    entry = journal_pb2.JournalEntry(partition=3, account="PAPER-1", anomalies=anomalies, recorded_at_ns=9)
    found = [alert(each) for each in alerts.of_entry(entry, 17)]
    assert [each.reason for each in found] == ["LATE_FILL", "LEDGER_ERROR"]
    assert [each.severity for each in found] == [common_pb2.SEVERITY_WARNING, common_pb2.SEVERITY_CRITICAL]
    assert {each.account for each in found} == {"PAPER-1"}
    assert len({each.alert_id for each in found}) == 2


def test_the_id_of_an_alert_follows_from_its_place_in_the_journal() -> None:
    anomaly = journal_pb2.Anomaly(code="OVERFILL", severity=common_pb2.SEVERITY_CRITICAL)
    entry = journal_pb2.JournalEntry(partition=0, account="A", anomalies=[anomaly])
    ids = [alert(alerts.of_entry(entry, sequence)[0]).alert_id for sequence in (5, 5, 6)]
    assert ids[0] == ids[1] != ids[2]


def test_a_doubt_is_one_alert_however_often_it_is_reported_and_says_why_T09() -> None:
    reason = common_pb2.Refusal(reason="ORDER_IN_DOUBT", message="no word about the order within 5 s")
    report = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_IN_DOUBT, client_order_id="ks1", reason=reason)
    message = inbox_pb2.InboxMessage(venue=venue_pb2.VenueReport(order=report))
    anomaly = journal_pb2.Anomaly(
        code="ORDER_IN_DOUBT", severity=CRITICAL, client_order_id="ks1", message="the answer was lost"
    )
    entry = journal_pb2.JournalEntry(account="DU1", input=message.SerializeToString(), anomalies=[anomaly])
    first, again = ([alert(each) for each in alerts.of_entry(entry, sequence)] for sequence in (7, 90))
    assert [each.message for each in first] == ["order ks1: the answer was lost. no word about the order within 5 s"]
    assert [each.alert_id for each in first] == [each.alert_id for each in again]


def test_a_position_without_a_slot_is_told_at_once_X13(desk: Any, messages: Any) -> None:
    for number in range(desk.partition.account("PAPER-1").max_slots):
        intent = messages.intent(f"trade-{number}")
        intent.instrument.symbol = f"SYMBOL{number}"
        assert desk.put(messages.entry(intent)).outcome.accepted
    adoption = inbox_pb2.Adoption(
        adoption_id="adopted-1",
        account="PAPER-1",
        venue="paper",
        instrument=messages.intent().instrument,
        qty=Number(30, 0).message(),
        average_price=Number(150, 0).message(),
        approved_by=common_pb2.Actor(id="risk", kind="operator"),
        exit_warrant="warrant-adopted",
    )
    entry = desk.put(inbox_pb2.InboxMessage(adopt=adoption))
    assert (entry.outcome.accepted, entry.outcome.code, list(entry.commands)) == (False, "ORPHAN_POSITION", [])
    found = alert(*alerts.of_entry(entry, 9))
    assert (found.reason, found.severity, found.subject_id) == ("ORPHAN_POSITION", CRITICAL, "adopted-1")
    assert "AAPL" in found.message
