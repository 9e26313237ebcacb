"""Journals as records: the same to the kernel service, to the binding, and to the auditor's C program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis.journal_file import EntryRecord, JournalFileReader, Record, RecordKind, StateRecord
from kestrel_cli.journal.compare import Divergence, difference
from kestrel_cli.journal.records import header
from kestrel_cli.journal.replay import Replayer, Step, input_fields, kind_of
from kestrel_domain.errors import InvariantBroken
from kestrel_testkit.auditor import Auditor


def write_unverified(path: Path, records: Iterator[Record]) -> Path:
    from kestrel_chassis.journal_file import JournalFileWriter

    with path.open("wb") as file:
        writer = JournalFileWriter(file, header(0))
        for record in records:
            writer.write(record)
        writer.finish()
    return path


def stepping(records: Iterator[Record]) -> Iterator[Step]:
    replayer = Replayer(header(0))
    for record in records:
        step = replayer.take(record)
        if step is not None:
            yield step


def replayed(records: Iterator[Record]) -> list[Step]:
    return list(stepping(records))


def read(path: Path) -> tuple[JournalFileReader, list[Record]]:
    with path.open("rb") as file:
        reader = JournalFileReader(file)
        return reader, list(reader)


def changed(records: Iterator[Record], sequence: int, change: Callable[[EntryRecord], EntryRecord]) -> Iterator[Record]:
    for record in records:
        yield change(record) if isinstance(record, EntryRecord) and record.sequence == sequence else record


def with_price_up(entry: EntryRecord) -> EntryRecord:
    """The same fill at another price, in the input only."""
    from kestrel_libkernel.layout import places

    at = places("lk_input_t")["price"].offset
    data = bytearray(entry.input)
    data[at] ^= 1
    return replace(entry, input=bytes(data))


def test_what_the_kernel_journaled_replays_without_a_difference_K21(journal: Any) -> None:
    steps = replayed(journal.records())
    assert [str(each) for step in steps for each in step.differences] == []
    assert [kind_of(step.entry) for step in steps] == [
        "epoch", "ENTER", "ENTER", "FILL", "parked", "ENTER", "FILL", "TICK", "epoch", "FILL",
    ]  # fmt: skip
    assert [step.result.accepted for step in steps if step.result] == [True, True, True, False, True, True, True]


def test_the_state_that_a_replay_ends_in_is_the_partitions_own_K21(journal: Any) -> None:
    steps = replayed(journal.records())
    for account in ("PAPER-1", "PAPER-2"):
        last = [step for step in steps if step.entry.account == account][-1]
        assert last.digest == journal.partition.digest(account)


def test_a_changed_input_is_told_by_digest_and_by_translation_K21(journal: Any) -> None:
    steps = replayed(changed(journal.records(), 4, with_price_up))
    first = next(step for step in steps if step.differences)
    assert first.entry.sequence == 4
    assert {each.field for each in first.differences} == {"input.price", "digest", "slots", "account after"}


def test_a_refused_input_that_was_changed_is_told_by_its_translation_K21(journal: Any) -> None:
    """Its digest tells nothing: a refusal changes nothing, whatever was refused."""
    steps = replayed(changed(journal.records(), 6, with_price_up))
    assert [(step.entry.sequence, [d.field for d in step.differences]) for step in steps if step.differences] == [
        (6, ["input.price"])
    ]


@pytest.mark.parametrize(
    ("sequence", "change", "field"),
    [
        (2, {"hash": hashlib.sha256(b"x").digest()}, "entry hash"),
        (3, {"previous_hash": bytes(32)}, "previous hash"),
        (4, {"input_sequence": 1}, "input sequence"),
        (4, {"input_time_ns": 1}, "input time"),
        (4, {"digest": bytes(32)}, "digest"),
        (4, {"code": 3}, "code"),
        (6, {"accepted": True}, "accepted"),
        (9, {"epoch": 9}, "epoch"),
    ],
)
def test_each_field_of_an_entry_is_held_against_its_stored_bytes_K21(
    journal: Any, sequence: int, change: dict[str, Any], field: str
) -> None:
    steps = replayed(changed(journal.records(), sequence, lambda entry: replace(entry, **change)))
    first = next(step for step in steps if step.differences)
    assert first.entry.sequence == sequence
    assert field in {each.field for each in first.differences}


def test_stored_bytes_that_were_rewritten_break_the_chain_behind_them_C16(journal: Any) -> None:
    def rewritten(entry: EntryRecord) -> EntryRecord:
        stored = journal_pb2.JournalEntry.FromString(entry.stored)
        stored.recorded_at_ns += 1
        data = stored.SerializeToString(deterministic=True)
        return replace(entry, stored=data, hash=hashlib.sha256(data).digest())

    steps = replayed(changed(journal.records(), 4, rewritten))
    assert [step.entry.sequence for step in steps if step.differences] == [5]


def test_an_input_that_means_nothing_any_more_stops_the_recorder(journal: Any) -> None:
    entry = journal_pb2.JournalEntry.FromString(journal.stored[3])
    entry.door = "exit"
    journal.stored[3] = entry.SerializeToString()
    with pytest.raises(InvariantBroken, match="entry 4: its input cannot be translated"):
        list(journal.records())
    journal.stored[3] = b"\xff"
    with pytest.raises(InvariantBroken, match="entry 4: cannot be parsed"):
        list(journal.records())


def test_an_export_refuses_a_journal_that_does_not_replay_K21(journal: Any, tmp_path: Path) -> None:
    entry = journal_pb2.JournalEntry.FromString(journal.stored[3])
    entry.state_digest = bytes(32)
    journal.stored[3] = entry.SerializeToString(deterministic=True)
    with pytest.raises(InvariantBroken, match="entry 4: digest"):
        journal.export(tmp_path / "journal.kj")


# --- files, and the auditor's program --------------------------------------------------------------------------------


def test_a_file_holds_every_record_of_the_journal(journal: Any, tmp_path: Path) -> None:
    reader, records = read(journal.export(tmp_path / "journal.kj"))
    assert records == list(journal.records())
    assert reader.header.was_verified
    assert (reader.totals.entry_count, reader.totals.input_count, reader.totals.account_count) == (10, 7, 2)


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
def test_the_auditors_program_comes_to_the_same_digests_K21(journal: Any, auditor: Auditor, tmp_path: Path) -> None:
    verdict = auditor.check(journal.export(tmp_path / "journal.kj"), "--json")
    assert verdict.code == 0, verdict.errors
    rows = {row["sequence"]: row for row in verdict.rows if row["record"] == "INPUT"}
    expected = {step.entry.sequence: step for step in replayed(journal.records()) if step.result}
    assert {at: row["digest"] for at, row in rows.items()} == {at: s.digest.hex() for at, s in expected.items()}
    assert {at: row["code"] for at, row in rows.items()} == {at: s.result.code.name for at, s in expected.items()}  # type: ignore[union-attr]
    assert verdict.rows[-1]["hashed_here"] == 10


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
def test_a_file_that_begins_later_replays_to_the_same_digests_K21(
    journal: Any, auditor: Auditor, tmp_path: Path
) -> None:
    path = journal.export(tmp_path / "late.kj", first=6)
    reader, records = read(path)
    assert [type(each) for each in records[:4]].count(StateRecord) == 2
    replayer = Replayer(reader.header)
    steps = [step for record in records if (step := replayer.take(record))]
    assert [step.entry.sequence for step in steps] == [6, 7, 8, 9, 10]
    assert not [each for step in steps for each in step.differences]
    verdict = auditor.check(path, "--json", "--state")
    assert verdict.code == 0, verdict.errors
    states = {row["account"]: row["digest"] for row in verdict.rows if row["record"] == "STATE"}
    assert states == {name: journal.partition.digest(name).hex() for name in ("PAPER-1", "PAPER-2")}


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
@pytest.mark.parametrize("has_entries", [True, False])
def test_one_accounts_file_omits_the_others_and_says_so(
    journal: Any, auditor: Auditor, tmp_path: Path, has_entries: bool
) -> None:
    path = journal.export(tmp_path / "one.kj", account="PAPER-2", has_entries=has_entries)
    _, records = read(path)
    omitted = [each for each in records if isinstance(each, EntryRecord) and each.kind is RecordKind.OMITTED]
    assert [each.sequence for each in omitted] == [2, 4, 5, 6, 8, 10]
    assert b"PAPER-1" not in path.read_bytes() or has_entries, "only an epoch's stored entry names other accounts"
    verdict = auditor.check(path)
    assert verdict.code == 0, verdict.errors
    assert "6 omitted" in verdict.out
    assert "as the exporter verified them" in verdict.out


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
def test_both_tools_name_the_entry_where_a_byte_was_changed_K21(journal: Any, auditor: Auditor, tmp_path: Path) -> None:
    path = journal.export(tmp_path / "journal.kj")
    with path.open("rb") as file:
        reader = JournalFileReader(file)
        for record in reader:
            if isinstance(record, EntryRecord) and record.sequence == 6:
                break
    data = bytearray(path.read_bytes())
    data[reader.offset + 400] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="entry 7 "):
        read(path)
    verdict = auditor.check(path)
    assert verdict.code == 2
    assert f"lk-replay: {path}: entry 7 (INPUT at byte {reader.offset}): check " in verdict.errors


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
def test_both_tools_name_the_entry_whose_input_is_not_what_was_applied_K21(
    journal: Any, auditor: Auditor, tmp_path: Path
) -> None:
    """The file's own checks are right: whoever made it meant to deceive."""
    path = write_unverified(tmp_path / "forged.kj", changed(journal.records(), 4, with_price_up))
    _, records = read(path)
    assert next(s.entry.sequence for s in replayed(iter(records)) if s.differences) == 4
    verdict = auditor.check(path)
    assert verdict.code == 1
    assert verdict.errors.startswith(f"lk-replay: {path}: entry 4: digest ")
    assert "entries DIFFER, the first is 4" in verdict.out


# --- comparing -------------------------------------------------------------------------------------------------------


def test_two_readings_of_one_journal_do_not_differ(journal: Any) -> None:
    pairs = zip(stepping(journal.records()), stepping(journal.records()), strict=True)
    assert [difference(a, b) for a, b in pairs] == [None] * 10


def test_the_first_difference_shows_both_sides_of_entry_answer_and_views(journal: Any) -> None:
    other = stepping(changed(journal.records(), 4, with_price_up))
    found = [difference(a, b) for a, b in zip(stepping(journal.records()), other, strict=True)]
    first = next(each for each in found if each is not None)
    assert isinstance(first, Divergence)
    assert first.sequence == 4
    rows = {row.name: row for row in first.rows}
    assert (rows["input.price"].a, rows["input.price"].b) == ("1503", "1502")
    assert rows["journaled digest"].is_same
    assert not rows["digest"].is_same
    assert not rows["capital"].is_same
    assert rows["slot 0 position"].a == "40"
    assert "input.price" in first.fields


def test_input_fields_read_as_people_write_them(journal: Any) -> None:
    entry = next(e for e in journal.records() if isinstance(e, EntryRecord) and e.kind is RecordKind.INPUT)
    fields = input_fields(entry.input)
    assert (fields["kind"], fields["side"], fields["symbol"], fields["qty"]) == ("ENTER", "BUY", "AAPL", "100")
    assert "venue_order_id" not in fields
