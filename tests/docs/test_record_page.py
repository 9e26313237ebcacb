"""The programs in the page about the record do what it says: they verify with no code of ours but the contracts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kestrel.kernel.v1 import journal_pb2
from kestrel_chassis.journal import entry_hash
from kestrel_persistence.core.checkpoint import Checkpoint, signed

ROOT = Path(__file__).resolve().parents[2]


def _program(containing: str) -> str:
    page = (ROOT / "docs" / "concepts" / "record.md").read_text()
    blocks: list[str] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return found


def _run(program: str, **given: Any) -> None:
    exec(compile(program, "record.md", "exec"), given)


def _journal() -> list[bytes]:
    stored: list[bytes] = []
    for epoch in range(1, 4):
        entry = journal_pb2.JournalEntry(epoch=epoch, previous_hash=entry_hash(stored[-1]) if stored else b"")
        stored.append(entry.SerializeToString())
    return stored


def test_the_pages_program_walks_a_journal_and_stops_at_a_changed_one_C16() -> None:
    program, journal = _program("messages"), _journal()
    _run(program, messages=journal)
    changed = journal_pb2.JournalEntry.FromString(journal[1])
    changed.epoch = 99
    with pytest.raises(AssertionError):
        _run(program, messages=[journal[0], changed.SerializeToString(), journal[2]])
    with pytest.raises(AssertionError):
        _run(program, messages=[journal[0], journal[2]])


def test_the_pages_program_verifies_a_checkpoint_and_refuses_a_changed_one_C16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "checkpoint-public.pem").write_bytes(pem)
    line = signed(Checkpoint("BEADS", 7, bytes(range(32)), bytes(32), 1_700_000_000_000_000_000), key).line()
    _run(_program("checkpoint-public"), line=line)
    with pytest.raises(InvalidSignature):
        _run(_program("checkpoint-public"), line=line.replace('"length":7', '"length":6'))
