"""libkernel's golden stories as exported files: the auditor's program comes to each outcome and digest in them."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kestrel_libkernel as lk
from kestrel_chassis.journal_file import (
    NO_HASH,
    AccountRecord,
    EntryRecord,
    JournalFileReader,
    JournalFileWriter,
    Record,
    RecordKind,
)
from kestrel_cli.journal.records import header
from kestrel_cli.journal.replay import Replayer
from kestrel_libkernel._ffi import lib
from kestrel_libkernel.inputs import config_bytes
from kestrel_libkernel.layout import Layout, places
from kestrel_libkernel.model import InputKind
from kestrel_testkit.auditor import LIBKERNEL, Auditor

CASES = sorted((LIBKERNEL / "tests" / "golden").glob("*.json"))
_LISTS: dict[str, Any] = {
    "kind": InputKind,
    "order_fact": lk.Fact,
    "side": lk.Side,
    "order_type": lk.OrderType,
    "time_in_force": lk.TimeInForce,
    "liquidity": lk.Liquidity,
}


def packed_input(fields: dict[str, Any]) -> bytes:
    """The ``lk_input_t`` that a story writes by names."""
    values = {name: _value(name, value) for name, value in fields.items()}
    layout = Layout.of("lk_input_t", values)
    return layout.format.pack(*(values[name] for name in layout.names))


def _value(name: str, value: Any) -> Any:
    if name in _LISTS:
        return int(_LISTS[name][value])
    if name == "flags":
        return functools.reduce(operator.or_, (getattr(lib, f"LK_{each}") for each in value), 0)
    if name == "exit_leg_bps":
        return b"".join(each.to_bytes(2, "little") for each in value).ljust(places("lk_input_t")[name].size, b"\0")
    return value.encode() if isinstance(value, str) else value


def story_records(story: dict[str, Any]) -> Iterator[Record]:
    """One entry for each input, and nothing stored: a story has no journal. Its digests are those of the file."""
    config = lk.Config(**story["config"])
    yield AccountRecord(0, config_bytes(config))
    previous = NO_HASH
    for place, step in enumerate([each for each in story["steps"] if "input" in each], 1):
        packed = packed_input(step["input"])
        outcome = step.get("outcome", {})
        entry_hash = hashlib.sha256(previous + packed).digest()
        yield EntryRecord(
            kind=RecordKind.INPUT,
            sequence=place,
            hash=entry_hash,
            previous_hash=previous,
            input_sequence=place,
            input_time_ns=step["input"]["now_ns"],
            account=config.account,
            digest=bytes.fromhex(step["digest"]),
            code=int(lk.Code[outcome.get("code", "OK")]),
            accepted=bool(outcome.get("accepted", 0)),
            input=packed,
        )
        previous = entry_hash


def as_file(case: Path, folder: Path) -> Path:
    path = folder / f"{case.stem}.kj"
    with path.open("wb") as file:
        writer = JournalFileWriter(file, header(0, has_entries=False))
        for record in story_records(json.loads(case.read_text())):
            writer.write(record)
        writer.finish()
    return path


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_a_golden_story_replays_from_a_file_K22(case: Path, tmp_path: Path) -> None:
    with as_file(case, tmp_path).open("rb") as file:
        reader = JournalFileReader(file)
        replayer = Replayer(reader.header)
        steps = [step for record in reader if (step := replayer.take(record))]
    assert [(step.entry.sequence, str(each)) for step in steps for each in step.differences] == []


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("auditor")
def test_the_auditors_program_comes_to_every_digest_of_the_golden_stories_K22(auditor: Auditor, tmp_path: Path) -> None:
    assert len(CASES) >= 5
    for case in CASES:
        verdict = auditor.check(as_file(case, tmp_path), "--json", "--state")
        assert verdict.code == 0, f"{case.stem}: {verdict.errors}"
        steps = [each for each in json.loads(case.read_text())["steps"] if "input" in each]
        digests = [row["digest"] for row in verdict.rows if row["record"] == "INPUT"]
        assert digests == [each["digest"] for each in steps], case.stem
