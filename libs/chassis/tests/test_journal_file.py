"""The journal file: what is written is read, and what was cut or changed is refused where it breaks."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import replace
from pathlib import Path

import pytest

from kestrel_chassis.journal_file import (
    AccountRecord,
    EntryRecord,
    Header,
    JournalFileDamaged,
    JournalFileReader,
    JournalFileWriter,
    Record,
    RecordKind,
    StateRecord,
    writing,
)

HEADER = Header(2, 5, 24, 40, 3, "JOURNAL_3", exported_at_ns=7, libkernel_version="0.1.0", was_verified=True)


def hash_of(sequence: int) -> bytes:
    return hashlib.sha256(bytes([sequence])).digest()


def entry(kind: RecordKind, sequence: int, **fields: object) -> EntryRecord:
    before = bytes(32) if sequence == 1 else hash_of(sequence - 1)
    made = EntryRecord(kind, sequence, hash_of(sequence), before, account="A-1", stored=b"stored bytes")
    return replace(made, **fields)  # type: ignore[arg-type]


def some_records() -> list[Record]:
    return [
        entry(RecordKind.EPOCH, 1, account="_", epoch=4),
        AccountRecord(1, b"c" * 24),
        entry(
            RecordKind.INPUT,
            2,
            input_sequence=9,
            input_time_ns=-1,
            digest=b"d" * 32,
            code=5,
            accepted=True,
            input=b"i" * 40,
        ),
        entry(RecordKind.PARKED, 3, input_sequence=12),
        EntryRecord(RecordKind.OMITTED, 4, hash_of(4), hash_of(3), 13),
    ]


def written(header: Header = HEADER, records: list[Record] | None = None) -> bytes:
    file = io.BytesIO()
    writer = JournalFileWriter(file, header)
    for record in some_records() if records is None else records:
        writer.write(record)
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> tuple[Header, list[Record]]:
    reader = JournalFileReader(io.BytesIO(data), "test.kj")
    return reader.header, list(reader)


def record_starts(data: bytes) -> list[int]:
    starts, at = [], 16
    while at < len(data):
        starts.append(at)
        at += 40 + int.from_bytes(data[at + 4 : at + 8], "little")
    return starts


def sealed(data: bytes) -> bytes:
    """The same with its checks made anew, as somebody who forges a file would."""
    out, check, at = data[:16], hashlib.blake2b(data[:16], digest_size=32).digest(), 16
    while at + 40 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 40 + size > len(data):
            return out + data[at:]
        body = data[at : at + 8 + size]
        check = hashlib.blake2b(check + body, digest_size=32).digest()
        out, at = out + body + check, at + 40 + size
    return out + data[at:]


def test_what_is_written_is_read_again_K21() -> None:
    assert read(written()) == (HEADER, some_records())


def test_without_stored_entries_they_are_left_out_of_every_record() -> None:
    header, records = read(written(replace(HEADER, has_entries=False)))
    assert not header.has_entries
    assert [each.stored for each in records if isinstance(each, EntryRecord)] == [b""] * 4


def test_a_file_may_begin_in_mid_journal_with_the_states_before() -> None:
    header = replace(HEADER, first_sequence=8, previous_hash=hash_of(7))
    records: list[Record] = [
        AccountRecord(1, b"c" * 24),
        StateRecord(7, b"d" * 32, "A-1", b"saved"),
        entry(RecordKind.PARKED, 8),
    ]
    assert read(written(header, records)) == (header, records)


def test_an_entry_that_does_not_follow_is_never_written() -> None:
    with pytest.raises(AssertionError, match="follow"):
        written(records=[entry(RecordKind.PARKED, 2)])


def test_every_cut_is_refused_K21() -> None:
    whole = written()
    for size in range(len(whole)):
        with pytest.raises(JournalFileDamaged):
            read(whole[:size])
    with pytest.raises(JournalFileDamaged, match="must end with its trailer"):
        read(whole + b"\0")


def test_every_changed_byte_is_refused_K21() -> None:
    whole = written()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        with pytest.raises(JournalFileDamaged):
            read(bytes(changed))


@pytest.mark.parametrize(
    ("record", "place"),
    [(0, "header"), (1, "entry 1 "), (2, "entry 2 "), (3, "entry 2 "), (4, "entry 3 "), (6, "trailer, after entry 4")],
)
def test_the_error_names_file_and_entry_K21(record: int, place: str) -> None:
    data = bytearray(written())
    data[record_starts(bytes(data))[record] + 20] ^= 1
    with pytest.raises(JournalFileDamaged) as refused:
        read(bytes(data))
    assert str(refused.value).startswith(f"test.kj: {place}")
    assert refused.value.field == "check"


def test_forged_bytes_are_read_or_refused_and_nothing_else_K21() -> None:
    whole, chance = written(), random.Random(5)
    outcomes = set()
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            read(sealed(bytes(changed)))
            outcomes.add("read")
        except JournalFileDamaged:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_size_that_nobody_has_is_refused_before_it_is_believed_K21() -> None:
    data = bytearray(written())
    data[20:24] = b"\xff\xff\xff\xff"
    with pytest.raises(JournalFileDamaged, match="64 MiB"):
        read(bytes(data))


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(JournalFileDamaged, match="must begin with KJOURNAL"):
        read(b"PK\x03\x04" * 100)
    with pytest.raises(JournalFileDamaged, match="format version 2"):
        read(b"KJOURNAL\x02\0\0\0" + written()[12:])


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "journal.kj"

    def interrupted() -> None:
        with writing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with writing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "journal.kj"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError), writing(path):
        pass
    with writing(path, replace=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.kj"

    def outrun() -> None:
        with writing(path) as file:
            file.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        outrun()
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]
