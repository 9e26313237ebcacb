"""`kestrel journal`: export, replay and compare, over a journal that a fake server holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis.journal_file import EntryRecord, JournalFileReader, JournalFileWriter
from kestrel_chassis.messages import StoredMessage, StreamState
from kestrel_cli.app import app
from kestrel_cli.journal import sources
from kestrel_domain.errors import Refused
from kestrel_libkernel.layout import places


@dataclass
class FakeBus:
    """As much of a server as reading a journal needs."""

    stored: list[bytes]
    interrupt_at: int = 0

    async def stream_state(self, stream: str) -> StreamState:
        if stream != "JOURNAL_0":
            raise Refused("stream not found")
        return StreamState(1, len(self.stored), len(self.stored))

    async def read(self, stream: str, *, start_sequence: int = 1) -> AsyncIterator[StoredMessage]:
        for sequence, data in enumerate(self.stored[start_sequence - 1 :], start_sequence):
            if sequence == self.interrupt_at:
                raise KeyboardInterrupt
            yield StoredMessage(stream, "journal.0.PAPER-1", sequence, 0, data)


@pytest.fixture
def bus(journal: Any, monkeypatch: pytest.MonkeyPatch) -> FakeBus:
    fake = FakeBus(journal.stored)

    @contextlib.asynccontextmanager
    async def connected(layout: object) -> AsyncIterator[FakeBus]:
        yield fake

    monkeypatch.setattr(sources, "connected", connected)
    return fake


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["journal", *map(str, arguments)])


def answer(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def words(done: Result) -> str:
    """What was said, with its lines joined."""
    return " ".join(done.output.split())


@pytest.fixture
def exported(bus: FakeBus, tmp_path: Path) -> Path:
    path = tmp_path / "journal.kj"
    assert run("export", path).exit_code == 0
    return path


def forged(source: Path, target: Path) -> Path:
    """The same file with another price in entry 4's input, and its checks made anew."""
    at = places("lk_input_t")["price"].offset
    with source.open("rb") as file, target.open("wb") as out:
        reader = JournalFileReader(file)
        writer = JournalFileWriter(out, reader.header)
        for record in reader:
            if isinstance(record, EntryRecord) and record.sequence == 4:
                data = bytearray(record.input)
                data[at] ^= 1
                record = replace(record, input=bytes(data))
            writer.write(record)
        writer.finish()
    return target


# --- export ----------------------------------------------------------------------------------------------------------


def test_export_writes_the_whole_journal_and_says_what_it_proved_K21(bus: FakeBus, tmp_path: Path) -> None:
    path = tmp_path / "journal.kj"
    said = words(run("export", path))
    assert "entries 1 to 10, 7 inputs, 2 accounts" in said
    assert "chain, digests and outcomes verified" in said
    with path.open("rb") as file:
        assert JournalFileReader(file).header.was_verified


def test_export_says_the_same_as_json(bus: FakeBus, tmp_path: Path) -> None:
    summary = answer("export", tmp_path / "journal.kj")
    assert summary["entries"] == 10
    assert summary["verified"] is True
    assert summary["bytes"] == (tmp_path / "journal.kj").stat().st_size


def test_export_takes_a_range_and_an_account(bus: FakeBus, tmp_path: Path) -> None:
    path = tmp_path / "part.kj"
    summary = answer("export", path, "--from", 4, "--until", 8, "--account", "PAPER-2", "--hashes-only")
    assert (summary["first_sequence"], summary["last_sequence"], summary["accounts"]) == (4, 8, 1)
    with path.open("rb") as file:
        reader = JournalFileReader(file)
        kinds = [each.kind.name for each in reader if isinstance(each, EntryRecord)]
    assert kinds == ["OMITTED", "OMITTED", "OMITTED", "INPUT", "OMITTED"]
    assert reader.header.account == "PAPER-2"
    assert not reader.header.has_entries


def test_export_replaces_no_file_unless_forced(bus: FakeBus, exported: Path) -> None:
    before = exported.read_bytes()
    refused = run("export", exported)
    assert refused.exit_code == 2
    assert "--force" in words(refused)
    assert exported.read_bytes() == before
    assert run("export", exported, "--force", "--until", 3).exit_code == 0
    assert len(exported.read_bytes()) < len(before)


def test_export_leaves_nothing_when_the_journal_does_not_replay_K21(bus: FakeBus, tmp_path: Path) -> None:
    entry = journal_pb2.JournalEntry.FromString(bus.stored[-1])
    entry.state_digest = bytes(32)
    bus.stored[-1] = entry.SerializeToString(deterministic=True)
    refused = run("export", tmp_path / "journal.kj")
    assert refused.exit_code == 1
    assert "entry 10: digest 0000" in words(refused)
    assert "nothing was written" in words(refused)
    assert list(tmp_path.iterdir()) == []
    assert run("export", tmp_path / "journal.kj", "--unverified").exit_code == 0
    with (tmp_path / "journal.kj").open("rb") as file:
        assert not JournalFileReader(file).header.was_verified


def test_export_refuses_a_broken_chain_C16(bus: FakeBus, tmp_path: Path) -> None:
    bus.stored[4] = bus.stored[4][:-1] + bytes([bus.stored[4][-1] ^ 1])
    refused = run("export", tmp_path / "journal.kj")
    assert refused.exit_code == 1
    assert "JOURNAL_0: entry" in words(refused)


def test_an_interrupted_export_leaves_nothing(bus: FakeBus, tmp_path: Path) -> None:
    bus.interrupt_at = 7
    stopped = run("export", tmp_path / "journal.kj")
    assert stopped.exit_code == 130
    assert "interrupted; nothing was written" in words(stopped)
    assert list(tmp_path.iterdir()) == []


def test_export_names_a_range_or_partition_that_is_not_there(bus: FakeBus, tmp_path: Path) -> None:
    for arguments, said in (
        (("--from", 11), "ends at entry 10, before entry 11"),
        (("--from", 5, "--until", 4), "entry 4 is before entry 5"),
        (("--partition", 3), "no journal of partition 3"),
    ):
        refused = run("export", tmp_path / "journal.kj", *arguments)
        assert refused.exit_code == 2
        assert said in words(refused)


def test_export_says_when_no_platform_runs(tmp_path: Path) -> None:
    refused = run("export", tmp_path / "journal.kj", "--data-dir", tmp_path / "nowhere")
    assert refused.exit_code == 3
    assert "kestrel up" in words(refused)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_replay_shows_what_happened_and_that_it_matches_K21(exported: Path) -> None:
    done = run("replay", exported)
    assert done.exit_code == 0, done.output
    said = words(done)
    assert "7 inputs replayed: everything matches" in said
    assert "every hash computed here" in said
    assert "100 AAPL" in said


def test_replay_of_the_live_journal_is_the_replay_of_its_file_K21(bus: FakeBus, exported: Path) -> None:
    live, file = answer("replay"), answer("replay", exported)
    assert live["entries"] == file["entries"]
    assert live["accounts"] == file["accounts"]
    assert live["summary"]["last_hash"] == file["summary"]["last_hash"]


def test_replay_stops_where_it_is_told_and_shows_the_last_entries(exported: Path) -> None:
    shown = answer("replay", exported, "--until", 4, "-n", 2)
    assert [each["sequence"] for each in shown["entries"]] == [3, 4]
    assert shown["summary"]["last_sequence"] == 4
    shown = answer("replay", exported, "--account", "PAPER-2")
    assert [each["sequence"] for each in shown["entries"]] == [3, 7]


def test_replay_names_the_first_entry_that_differs_K21(exported: Path, tmp_path: Path) -> None:
    done = run("replay", forged(exported, tmp_path / "forged.kj"))
    assert done.exit_code == 1
    assert "entry 4: input.price" in words(done)
    assert "--until 4" in words(done)


def test_replay_refuses_a_damaged_file_and_names_the_entry_K21(exported: Path) -> None:
    data = bytearray(exported.read_bytes())
    data[len(data) // 2] ^= 1
    exported.write_bytes(data)
    refused = run("replay", exported)
    assert refused.exit_code == 2
    assert "entry" in words(refused)
    assert "they were changed" in words(refused)


def test_replay_of_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    refused = run("replay", tmp_path / "none.kj")
    assert refused.exit_code == 2
    assert "cannot be read" in words(refused)


# --- diff ------------------------------------------------------------------------------------------------------------


def test_diff_of_a_file_and_its_journal_finds_nothing(bus: FakeBus, exported: Path) -> None:
    done = run("diff", exported)
    assert done.exit_code == 0, done.output
    assert "10 entries from 1 on are the same" in words(done)


def test_diff_says_that_the_journal_goes_on(bus: FakeBus, exported: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter.kj"
    assert run("export", shorter, "--until", 6).exit_code == 0
    found = answer("diff", shorter)
    assert (found["compared"], found["goes_on"]) == (6, "JOURNAL_0")
    late = tmp_path / "late.kj"
    assert run("export", late, "--from", 7).exit_code == 0
    assert answer("diff", late, exported)["compared"] == 4
    apart = run("diff", shorter, late)
    assert apart.exit_code == 2
    assert "no entry in common" in words(apart)


def test_diff_shows_both_sides_of_the_first_difference_K21(exported: Path, tmp_path: Path) -> None:
    other = forged(exported, tmp_path / "forged.kj")
    done = run("diff", exported, other)
    assert done.exit_code == 1
    said = words(done)
    assert "Entry 4, the first that differs" in said
    assert "input.price 1503 1502" in said
    assert "entry 4 differs: input.price, digest" in said
    found = run("diff", exported, other, "--json")
    rows = {row["field"]: row for row in json.loads(found.stdout)["rows"]}
    assert rows["slot 0 position"]["a"] == rows["slot 0 position"]["b"] == "40"
    assert rows["capital"]["a"] != rows["capital"]["b"]


def test_diff_compares_only_files_of_the_same_accounts(bus: FakeBus, exported: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.kj"
    assert run("export", one, "--account", "PAPER-1").exit_code == 0
    refused = run("diff", exported, one)
    assert refused.exit_code == 2
    assert "same partition and accounts" in words(refused)
    assert answer("diff", one)["compared"] == 10


async def test_reading_a_file_hears_an_interruption(journal: Any, tmp_path: Path) -> None:
    """A file is read without ever waiting, and a task is canceled only while it waits."""
    heard = asyncio.Event()
    with sources.opened(journal.export(tmp_path / "journal.kj")) as source:
        asyncio.get_running_loop().call_soon(heard.set)
        await anext(source.records)
    assert heard.is_set()
