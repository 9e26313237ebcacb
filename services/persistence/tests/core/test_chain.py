"""The chains, their Merkle roots and their checkpoints: anything that is changed is seen, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import persistence_samples as samples
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.chain import GENESIS, Head, bead_link, journal_link
from kestrel_persistence.core.checkpoint import Checkpoint, is_genuine, signed
from kestrel_persistence.core.merkle import Frontier, leaf_hash, node_hash
from kestrel_persistence.core.record import Record
from kestrel_persistence.core.verification import ChainVerification, StoredEntry, Verdict

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _beads(count: int) -> list[Record]:
    return [
        samples.record("BEADS", "bead.run.PAPER-1", samples.bead(f"bead-{n}", run=samples.run()), n, samples.T0 + n)
        for n in range(1, count + 1)
    ]


def _journal(count: int) -> list[Record]:
    records: list[Record] = []
    for sequence in range(1, count + 1):
        previous = records[-1].data if records else b""
        entry = samples.entry(samples.fill_report(), previous=previous, input_sequence=sequence)
        records.append(samples.record("JOURNAL_0", "journal.0.PAPER-1", entry, sequence))
    return records


def _stored(records: list[Record]) -> list[StoredEntry]:
    """As the database would hold them."""
    head, found = Head(), []
    for record in records:
        if record.stream == "BEADS":
            link = bead_link(head, record)
            found.append(StoredEntry(record, link.entry_hash, link.previous_hash, link.sequence))
        else:
            link, _ = journal_link(head, record)
            found.append(StoredEntry(replace(record, subject=""), link.entry_hash))
        head = link.head
    return found


def _checkpoint(stored: list[StoredEntry], length: int) -> Checkpoint:
    frontier = Frontier()
    for one in stored[:length]:
        frontier.append(one.entry_hash)
    stream = stored[0].record.stream
    return signed(Checkpoint(stream, length, stored[length - 1].entry_hash, frontier.root(), samples.T0), KEY)


def _verify(stored: list[StoredEntry], streamed: list[Record], checkpoints: list[Checkpoint] | None = None) -> Verdict:
    verification = ChainVerification(
        (stored[0].record if stored else streamed[0]).stream, checkpoints or [], KEY.public_key()
    )
    by_stored = {one.record.sequence: one for one in stored}
    by_streamed = {one.sequence: one for one in streamed}
    for sequence in sorted(by_stored.keys() | by_streamed.keys()):
        verification.take(by_stored.get(sequence), by_streamed.get(sequence))
    return verification.verdict()


@pytest.mark.parametrize("make", [_beads, _journal])
def test_an_untouched_chain_is_verified_with_its_checkpoints(make: Callable[[int], list[Record]]) -> None:
    records = make(9)
    stored = _stored(records)
    verdict = _verify(stored, records, [_checkpoint(stored, 4), _checkpoint(stored, 9)])
    assert verdict.verified, verdict
    assert verdict.database == verdict.stream
    assert verdict.database.length == 9


@pytest.mark.parametrize("make", [_beads, _journal])
def test_a_changed_row_is_found_where_it_is_C16(make: Callable[[int], list[Record]]) -> None:
    records = make(6)
    stored = _stored(records)
    body = stored[3].record.data + b"\x10\x01"
    stored[3] = replace(stored[3], record=replace(stored[3].record, data=body))
    assert _verify(stored, records).first_bad_sequence == 4


@pytest.mark.parametrize("make", [_beads, _journal])
def test_a_missing_row_is_found_where_it_is_C16(make: Callable[[int], list[Record]]) -> None:
    records = make(6)
    stored = _stored(records)
    del stored[2]
    assert _verify(stored, records).first_bad_sequence in (3, 4)


@pytest.mark.parametrize("make", [_beads, _journal])
def test_two_swapped_rows_are_found_where_the_first_is_C16(make: Callable[[int], list[Record]]) -> None:
    records = make(6)
    stored = _stored(records)
    one, two = stored[2].record, stored[4].record
    stored[2] = replace(stored[2], record=replace(one, data=two.data))
    stored[4] = replace(stored[4], record=replace(two, data=one.data))
    assert _verify(stored, records).first_bad_sequence == 3


def test_a_changed_stream_is_found_and_named_C16() -> None:
    records = _beads(5)
    stored = _stored(records)
    changed = [replace(one, data=one.data + b"x") if one.sequence == 2 else one for one in records]
    verdict = _verify(stored, changed)
    assert (verdict.first_bad_sequence, verdict.problem) == (2, "database and stream hold different bytes")


def test_a_message_that_only_one_of_the_two_holds_is_found() -> None:
    records = _beads(4)
    stored = _stored(records)
    assert _verify(stored[:3], records).problem == "missing in the database"
    assert _verify(stored, records[:3]).problem == "missing in the stream"


def test_history_rewritten_and_chained_again_everywhere_is_betrayed_by_an_old_checkpoint() -> None:
    records = _beads(6)
    checkpoint = _checkpoint(_stored(records), 5)
    records[1] = replace(records[1], data=samples.bead("forged", run=samples.run()).SerializeToString())
    verdict = _verify(_stored(records), records, [checkpoint])
    assert "history was rewritten" in verdict.problem
    assert verdict.first_bad_sequence == 5


def test_a_tail_that_was_cut_off_everywhere_is_betrayed_by_a_checkpoint() -> None:
    records = _beads(6)
    checkpoint = _checkpoint(_stored(records), 6)
    verdict = _verify(_stored(records)[:4], records[:4], [checkpoint])
    assert "was cut" in verdict.problem


def test_a_checkpoint_signed_by_another_key_is_refused() -> None:
    stored = _stored(_beads(3))
    forged = signed(replace(_checkpoint(stored, 3), signature=b""), Ed25519PrivateKey.generate())
    assert "not signed by our key" in _verify(stored, _beads(3), [forged]).problem


@given(st.integers(0, 5), st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_of_a_stored_bead_can_change_unseen(which: int, where: int, bit: int) -> None:
    records = _beads(6)
    stored = _stored(records)
    data = bytearray(stored[which].record.data)
    data[where % len(data)] ^= 1 << bit
    stored[which] = replace(stored[which], record=replace(stored[which].record, data=bytes(data)))
    verdict = _verify(stored, [one.record for one in stored])
    assert verdict.first_bad_sequence == which + 1


def test_the_first_bead_follows_thirty_two_zero_bytes() -> None:
    assert bead_link(Head(), _beads(1)[0]).previous_hash == GENESIS


def test_fields_of_an_entry_cannot_pose_as_one_another() -> None:
    record = samples.record("BEADS", "bead.run.A", b"x")
    moved = replace(record, subject="bead.run.", data=b"Ax")
    assert bead_link(Head(), record).entry_hash != bead_link(Head(), moved).entry_hash


def test_a_journal_entry_that_does_not_name_the_one_before_it_is_a_broken_chain() -> None:
    first, second = _journal(2)
    head = journal_link(Head(), first)[0].head
    assert journal_link(head, second)[1] == ""
    assert "previous hash" in journal_link(Head(1, hashlib.sha256(b"?").digest()), second)[1]
    assert "no journal entry" in journal_link(head, replace(second, data=b"\xff"))[1]


RFC_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
RFC_ROOTS = ["e3b0c442", "6e340b9c", "fac54203", "aeb6bcfe", "d37ee418", "4e3bbb1f", "76e67dad", "ddb89be4", "5dc9da79"]


def test_merkle_roots_are_those_of_rfc_9162s_reference_leaves() -> None:
    frontier, roots = Frontier(), [Frontier().root().hex()[:8]]
    for leaf in RFC_LEAVES:
        frontier.append(bytes.fromhex(leaf))
        roots.append(frontier.root().hex()[:8])
    assert roots == RFC_ROOTS


def _slow_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(_slow_root(leaves[:k]), _slow_root(leaves[k:]))


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_growing_root_is_the_slow_and_obvious_one(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert frontier.root() == _slow_root(leaves)


def test_a_checkpoint_survives_its_line_in_the_file_and_nothing_of_it_can_be_changed() -> None:
    checkpoint = _checkpoint(_stored(_beads(3)), 3)
    read = Checkpoint.of_line(checkpoint.line())
    assert read == checkpoint
    assert is_genuine(read, KEY.public_key())
    for changed in (replace(read, length=4), replace(read, root=bytes(32)), replace(read, chain="JOURNAL_0")):
        assert not is_genuine(changed, KEY.public_key())


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"chain": 1}', "not json"])
def test_a_damaged_line_of_the_checkpoint_file_is_refused(line: str) -> None:
    with pytest.raises(InvalidRequest, match="checkpoint"):
        Checkpoint.of_line(line)
