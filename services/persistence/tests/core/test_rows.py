"""Every kind of message becomes the rows it should, exactly, or is refused by name."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import persistence_samples as samples
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.chain import Head, bead_link
from kestrel_persistence.core.plan import plan, tables_of_stream
from kestrel_persistence.core.record import Record, Row, decimal_text, trace_id_of
from kestrel_persistence.core.rows import raw_rows, rows_of


def _rows(record: Record) -> dict[str, list[dict[str, object]]]:
    link = bead_link(Head(), record) if record.stream == "BEADS" else None
    found: dict[str, list[dict[str, object]]] = {}
    for row in rows_of(record, link):
        found.setdefault(row.table, []).append(dict(row.values))
    return found


@pytest.mark.parametrize("record", samples.all_records(), ids=lambda r: f"{r.stream}-{r.subject}")
def test_every_row_says_where_it_came_from_and_which_trace_it_belongs_to_P04(record: Record) -> None:
    link = bead_link(Head(), record) if record.stream == "BEADS" else None
    rows = rows_of(record, link)
    assert rows
    for row in rows:
        assert row.table in tables_of_stream(record.stream)
        place = {key: row.values[key] for key in ("stream", "sequence", "time_ns", "trace_id")}
        assert place == {
            "stream": record.stream,
            "sequence": record.sequence,
            "time_ns": record.time_ns,
            "trace_id": samples.TRACE_ID,
        }


@pytest.mark.parametrize("record", samples.all_records(), ids=lambda r: f"{r.stream}-{r.subject}")
def test_no_row_holds_a_float_but_a_signals_confidence(record: Record) -> None:
    for table, rows in _rows(record).items():
        floats = {column for row in rows for column, value in row.items() if isinstance(value, float)}
        assert floats <= ({"confidence"} if table == "signals" else set())


def test_an_intent_keeps_its_stored_bytes_their_hash_and_its_exact_quantity() -> None:
    record = samples.record("INTENTS", "intent.PAPER-1", samples.intent())
    row = _rows(record)["intents"][0]
    assert row["body"] == record.data
    assert row["body_sha256"] == hashlib.sha256(record.data).digest()
    assert (row["order_qty"], row["side"], row["price"]) == ("100", "BUY", None)
    assert str(row["reference_price"]) == "100.0000"
    assert (row["signal_id"], row["signal_created_at_ns"]) == ("signal-1", samples.T0)


def test_an_authorized_intent_in_the_inbox_is_found_by_its_trade() -> None:
    row = _rows(samples.record("INBOX", "inbox.0.PAPER-1.entry", samples.authorized()))["inbox_messages"][0]
    assert (row["kind"], row["door"], row["trade_id"], row["partition"]) == ("entry", "entry", "intent-1", 0)


def test_an_authorized_intent_with_unreadable_inner_bytes_is_stored_without_a_key() -> None:
    message = samples.authorized()
    message.entry.intent = b"\xff\xff"
    assert _rows(samples.record("INBOX", "inbox.0.A.entry", message))["inbox_messages"][0]["trade_id"] is None


def test_a_fill_report_in_the_inbox_keeps_the_venues_clock_and_ours_apart() -> None:
    row = _rows(samples.record("INBOX", "inbox.0.PAPER-1.venue", samples.fill_report()))["inbox_messages"][0]
    assert (row["kind"], row["execution_id"]) == ("fill", "execution-1")
    assert (row["venue_time_ns"], row["received_at_ns"]) == (samples.T0 + 30, samples.T0 + 31)


def test_one_journal_entry_gives_a_row_for_each_thing_that_followed_from_its_input() -> None:
    rows = _rows(samples.record("JOURNAL_0", "journal.0.PAPER-1", samples.full_entry()))
    counts = {table: len(found) for table, found in rows.items()}
    assert counts == {
        "journal_entries": 1,
        "orders": 1,
        "cancel_requests": 1,
        "fills": 1,
        "settlements": 1,
        "transitions": 1,
        "anomalies": 1,
        "slot_snapshots": 1,
        "account_snapshots": 1,
    }
    assert (rows["orders"][0]["position"], rows["cancel_requests"][0]["position"]) == (0, 1)


def test_a_booked_fill_keeps_exact_money_and_all_four_clocks() -> None:
    record = samples.record("JOURNAL_0", "journal.0.PAPER-1", samples.full_entry())
    row = _rows(record)["fills"][0]
    assert [str(row[name]) for name in ("last_qty", "last_price", "fee", "realized_pnl")] == [
        "40",
        "100.0100",
        "1.25",
        "-1.25",
    ]
    clocks = [row[name] for name in ("venue_time_ns", "received_at_ns", "inbox_time_ns", "time_ns")]
    assert clocks == [samples.T0 + 30, samples.T0 + 31, samples.T0 + 2, samples.T0]


def test_an_order_fact_is_a_row_with_its_reason() -> None:
    message = samples.order_report(venue_pb2.ORDER_FACT_REJECTED)
    message.venue.order.reason.reason = "NO_MARGIN"
    rows = _rows(samples.record("JOURNAL_0", "journal.0.PAPER-1", samples.entry(message)))
    event = rows["order_events"][0]
    assert (event["fact"], event["reason"], event["accepted"]) == ("REJECTED", "NO_MARGIN", True)


def test_an_epoch_entry_has_no_input_and_no_outcome() -> None:
    entry = journal_pb2.JournalEntry(account="_", epoch=3, epoch_started=journal_pb2.EpochStarted(epoch=3))
    row = _rows(samples.record("JOURNAL_0", "journal.0._", entry))["journal_entries"][0]
    assert (row["kind"], row["accepted"], row["input_sequence"]) == ("epoch_started", None, None)


def test_a_truth_keeps_its_positions_and_orders_as_rows_of_their_own() -> None:
    rows = _rows(samples.record("TRUTH", "truth.paper.PAPER-1", samples.truth()))
    assert (rows["truths"][0]["completeness"], rows["truths"][0]["wallet"]) == ("SNAPSHOT", "999998.75")
    assert rows["truth_positions"][0]["qty"] == "40"
    assert rows["truth_orders"][0]["cum_qty"] == "40"


@pytest.mark.parametrize("index", range(len(samples.all_beads())))
def test_each_kind_of_bead_has_its_chain_link_and_its_own_table(index: int) -> None:
    bead = samples.all_beads()[index]
    kind = bead.WhichOneof("body")
    rows = _rows(samples.record("BEADS", f"bead.{kind}.PAPER-1", bead))
    assert (rows["beads"][0]["kind"], rows["beads"][0]["chain_sequence"]) == (kind, 1)
    assert len(rows) > 1 or kind == "checkpoint"


@pytest.mark.parametrize(
    "stream, subject, data",
    [
        ("INTENTS", "intent.A", b"\xff\xff"),
        ("INTENTS", "intent.A", b""),
        ("INBOX", "inbox.0.A.venue", b""),
        ("INBOX", "inbox.A.venue", b""),
        ("INBOX", "inbox.x.A.venue", samples.fill_report().SerializeToString()),
        ("JOURNAL_0", "journal.0.A", b"\x00\x01"),
        ("TRUTH", "truth.A", b""),
        ("BEADS", "bead.token.A", b""),
        ("ALERTS", "alert.critical.x", b"\x08"),
        ("PARKED", "parked.x", b""),
        ("MARKET", "market.paper", b""),
    ],
)
def test_what_is_no_message_is_refused_and_still_recorded_byte_for_byte_P11(
    stream: str, subject: str, data: bytes
) -> None:
    planned = plan([samples.record(stream, subject, data, 7)], Head(), {})
    assert [record.sequence for record, _ in planned.unusable] == [7]
    tables = {row.table: row for row in planned.rows}
    assert tables["unusable_messages"].values["body"] == data
    assert ("journal_entries" in tables) == (stream == "JOURNAL_0")
    assert ("beads" in tables) == (stream == "BEADS")


def test_a_command_of_no_known_kind_is_refused_by_name() -> None:
    command = samples.command()
    command.kind = journal_pb2.COMMAND_KIND_UNSPECIFIED
    with pytest.raises(InvalidRequest, match=r"commands.kind"):
        rows_of(samples.record("JOURNAL_0", "journal.0.A", samples.entry(commands=[command])))


def test_a_number_with_an_impossible_scale_is_refused_not_rounded() -> None:
    intent = samples.intent()
    intent.order_qty.scale = 99
    with pytest.raises(InvalidRequest, match="scale"):
        rows_of(samples.record("INTENTS", "intent.A", intent))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 18))
def test_a_number_keeps_every_digit_and_its_scale(units: int, scale: int) -> None:
    assert decimal_text(units, scale) == f"{Decimal(units).scaleb(-scale):f}"


def test_an_enum_of_a_newer_contract_is_kept_by_its_number() -> None:
    entry = samples.full_entry()
    entry.transitions[0].to_stage = 77  # type: ignore[assignment]
    row = _rows(samples.record("JOURNAL_0", "journal.0.PAPER-1", entry))["transitions"][0]
    assert row["to_stage"] == "UNKNOWN_77"


def test_a_message_behind_an_unusable_one_is_stored_all_the_same_P11() -> None:
    records = [
        samples.record("INTENTS", "intent.A", b"\xff", 1),
        samples.record("INTENTS", "intent.A", samples.intent("second"), 2),
    ]
    planned = plan(records, Head(), {})
    assert [row.values["sequence"] for row in planned.rows if row.table == "intents"] == [2]


def test_what_the_database_refused_is_recorded_raw_and_keeps_its_link_in_the_chain() -> None:
    records = [
        samples.record("BEADS", "bead.run.PAPER-1", samples.bead(f"b{n}", run=samples.run()), n) for n in (1, 2, 3)
    ]
    refusal = InvalidRequest("no", reason="DATABASE_REFUSED")
    whole, holed = plan(records, Head(), {}), plan(records, Head(), {2: refusal})
    assert holed.head == whole.head == Head(3, whole.head.entry_hash)
    assert [record.sequence for record, _ in holed.unusable] == [2]


@given(st.binary(max_size=200))
def test_no_bytes_can_make_the_planning_fail(data: bytes) -> None:
    for stream in ("INTENTS", "INBOX", "JOURNAL_0", "TRUTH", "BEADS", "ALERTS", "PARKED", "MARKET"):
        subject = {
            "INTENTS": "intent.A",
            "INBOX": "inbox.0.A.venue",
            "TRUTH": "truth.paper.A",
            "MARKET": "market.paper.AAPL",
        }.get(stream, "x.y")
        planned = plan([samples.record(stream, subject, data)], Head(), {})
        assert planned.rows


def test_raw_rows_show_a_nul_character_instead_of_sending_it() -> None:
    rows: list[Row] = raw_rows(samples.record("ALERTS", "alert.x.y", b"z"), InvalidRequest("bad \x00 text"))
    assert rows[0].values["message"] == "bad \\x00 text"


@pytest.mark.parametrize("text", ["", "00-abc-def-01", "00-" + "g" * 32 + "-x-01", "nonsense"])
def test_a_malformed_traceparent_is_no_trace(text: str) -> None:
    assert trace_id_of(text) is None
