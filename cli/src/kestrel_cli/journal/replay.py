"""Applies the records of a journal again, and compares with what was journaled.

It checks what ``lk-replay`` checks (see ``libkernel/replay/replay.h``), under the same names, and two things more,
which need the service's own code: that the stored message translates to the recorded input, and that what followed
(outcome, transitions, the account, the slots) is what the entry says. A difference is noted on its step, and the replay
goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from google.protobuf.message import DecodeError

import kestrel_libkernel as lk
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_chassis.journal_file import (
    NO_HASH,
    AccountRecord,
    EntryRecord,
    Header,
    JournalFileDamaged,
    Record,
    RecordKind,
    StateRecord,
)
from kestrel_cli.journal import records
from kestrel_domain.errors import InvariantBroken
from kestrel_kernel.core import views
from kestrel_kernel.core.partition import PARKED
from kestrel_libkernel.bindings import INPUT_BYTES, code_name
from kestrel_libkernel.inputs import config_bytes
from kestrel_libkernel.layout import Layout, places
from kestrel_libkernel.model import InputKind

_STORED_RULE = "must be what the stored entry says"
_CONFIG = Layout.of("lk_config_t", [each.name for each in dataclasses.fields(lk.Config)])


@dataclass(frozen=True, slots=True)
class Difference:
    """A field whose value is not what the rule asks for."""

    field: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field} {self.value}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Step:
    """One entry, what the kernel made of it, and what does not agree. ``kernel`` is the account's, after it."""

    entry: EntryRecord
    kernel: lk.Kernel | None = None
    result: lk.Result | None = None
    digest: bytes = b""
    differences: list[Difference] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """What a replay came to."""

    entries: int = 0
    inputs: int = 0
    epochs: int = 0
    parked: int = 0
    omitted: int = 0
    hashed: int = 0
    differing: int = 0
    first_difference: int | None = None
    last_sequence: int = 0
    last_hash: bytes = NO_HASH


class PackedInput(lk.Input):
    """An input as it lies in a file: its bytes, and nothing checked. The library refuses what it cannot take."""

    __slots__ = ()

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "packed", packed)


@dataclass(slots=True)
class _Account:
    config: bytes
    kernel: lk.Kernel
    digest: bytes = b""
    sequence: int = 0
    configuration: state_pb2.AccountConfiguration | None = None


class Replayer:
    """Takes records in order, as ``header`` announces them. Call ``close`` at the end.

    ``is_translated``: the inputs were translated from the stored messages a moment ago, so that it need not be checked.
    """

    def __init__(self, header: Header, *, is_translated: bool = False) -> None:
        _require_same_build(header)
        self._is_translated = is_translated
        self._header = header
        self._previous_hash = header.previous_hash
        self._accounts: dict[str, _Account] = {}
        self._configurations: dict[str, state_pb2.AccountConfiguration] = {}
        self.counts = Counts(last_sequence=header.first_sequence - 1, last_hash=header.previous_hash)

    def close(self) -> None:
        for account in self._accounts.values():
            account.kernel.close()
        self._accounts.clear()

    def take(self, record: Record) -> Step | None:
        """Apply one record; the step, if it is an entry. ``JournalFileDamaged``: nothing can be made of it."""
        if isinstance(record, AccountRecord):
            self._set_up(record)
            return None
        if isinstance(record, StateRecord):
            self._restore(record)
            return None
        return self._entry(record)

    def accounts(self) -> Iterator[tuple[str, lk.Kernel, int, bytes]]:
        """Name, kernel, sequence of the last entry applied, and digest after it, of each account."""
        for name, account in sorted(self._accounts.items()):
            yield name, account.kernel, account.sequence, account.digest or account.kernel.digest()

    # --- accounts ----------------------------------------------------------------------------------------------------

    def _set_up(self, record: AccountRecord) -> None:
        config = config_of(record.config)
        known = self._accounts.get(config.account)
        if known is None:
            try:
                self._accounts[config.account] = known = _Account(record.config, lk.Kernel(config))
            except lk.InvalidInput as error:
                raise _damaged(record.sequence, "configuration", error, "must be one that libkernel accepts") from error
        if known.config != record.config:
            rule = "an account must keep what it began with"
            raise _damaged(record.sequence, "configuration", config.account, rule)
        known.configuration = self._configurations.get(config.account)

    def _restore(self, record: StateRecord) -> None:
        account = self._accounts.get(record.account)
        if account is None:
            raise _damaged(record.sequence, "account", record.account, "must be one that was set up")
        try:
            account.kernel.restore(record.saved)
        except lk.RestoreRefused as error:
            raise _damaged(record.sequence, "state", error.reason, "must be one that this kernel saved") from error
        account.digest, account.sequence = account.kernel.digest(), record.sequence
        if account.digest != record.digest:
            raise _damaged(record.sequence, "digest", record.digest.hex(), "must be that of the saved state")

    # --- entries -----------------------------------------------------------------------------------------------------

    def _entry(self, entry: EntryRecord) -> Step:
        differences = list(_unequal("previous hash", entry.previous_hash, self._previous_hash, _IS_BEFORE))
        stored = None
        if entry.stored:
            self.counts.hashed += 1
            stored, found = self._stored(entry)
            differences += found
        step = Step(entry, differences=differences)
        if entry.kind is RecordKind.INPUT:
            step = self._applied(entry, stored, differences)
        self._previous_hash = entry.hash
        self._count(step)
        return step

    def _stored(self, entry: EntryRecord) -> tuple[journal_pb2.JournalEntry | None, list[Difference]]:
        computed = hashlib.sha256(entry.stored).digest()
        found = list(_unequal("entry hash", entry.hash, computed, "must be the SHA-256 of the stored entry"))
        try:
            stored = journal_pb2.JournalEntry.FromString(entry.stored)
        except DecodeError:
            return None, [*found, Difference("stored entry", str(len(entry.stored)), "must be a protobuf message")]
        for each in stored.epoch_started.accounts:
            self._configurations[each.account] = each
        return stored, [*found, *_unlike_stored(entry, stored, self._header.partition)]

    def _applied(
        self, entry: EntryRecord, stored: journal_pb2.JournalEntry | None, differences: list[Difference]
    ) -> Step:
        account = self._accounts.get(entry.account)
        if account is None:
            raise _damaged(entry.sequence, "account", entry.account, "must be one that was set up")
        now_ns = max(entry.input_time_ns, account.kernel.account().now_ns)
        if stored is not None:
            differences += _unlike_stamp(entry, now_ns)
        if stored is not None and account.configuration is not None and not self._is_translated:
            differences += _unlike_translation(entry, stored, account.configuration, now_ns)
        try:
            result = account.kernel.apply(PackedInput(entry.input))
        except lk.InvalidInput as error:
            raise _damaged(entry.sequence, "input", error, "must be one that libkernel takes") from error
        account.digest, account.sequence = account.kernel.digest(), entry.sequence
        differences += _unequal("accepted", entry.accepted, result.accepted, _IS_ANSWER)
        differences += _unequal("code", _code(entry.code), result.code.name, _IS_ANSWER)
        differences += _unequal("digest", entry.digest, account.digest, "must be what the kernel comes to")
        if stored is not None:
            differences += _unlike_answer(stored, result, account)
        return Step(entry, account.kernel, result, account.digest, differences)

    def _count(self, step: Step) -> None:
        counts, entry = self.counts, step.entry
        counts.entries += 1
        counts.inputs += entry.kind is RecordKind.INPUT
        counts.epochs += entry.kind is RecordKind.EPOCH
        counts.parked += entry.kind is RecordKind.PARKED
        counts.omitted += entry.kind is RecordKind.OMITTED
        counts.last_sequence, counts.last_hash = entry.sequence, entry.hash
        if step.differences:
            counts.differing += 1
            counts.first_difference = counts.first_difference or entry.sequence


# --- comparisons -----------------------------------------------------------------------------------------------------

_IS_BEFORE = "must be the hash of the entry before"
_IS_ANSWER = "must be what the kernel answers"


def _unequal(name: str, stated: object, computed: object, rule: str) -> Iterator[Difference]:
    if stated != computed:
        yield Difference(name, stated.hex() if isinstance(stated, bytes) else str(stated), rule)


def _unlike_stored(entry: EntryRecord, stored: journal_pb2.JournalEntry, partition: int) -> Iterator[Difference]:
    is_epoch = entry.kind is RecordKind.EPOCH
    yield from _unequal("previous hash", entry.previous_hash, stored.previous_hash or NO_HASH, _STORED_RULE)
    yield from _unequal("partition", partition, stored.partition, _STORED_RULE)
    yield from _unequal("input sequence", entry.input_sequence, stored.input_sequence, _STORED_RULE)
    yield from _unequal("input time", entry.input_time_ns, stored.input_time_ns, _STORED_RULE)
    yield from _unequal("account", entry.account, stored.account, _STORED_RULE)
    yield from _unequal("record", is_epoch, stored.HasField("epoch_started"), _STORED_RULE)
    if is_epoch:
        yield from _unequal("epoch", entry.epoch, stored.epoch, _STORED_RULE)
        return
    code = PARKED if entry.kind is RecordKind.PARKED else _code(entry.code)
    yield from _unequal("code", code, stored.outcome.code, _STORED_RULE)
    if entry.kind is RecordKind.INPUT:
        yield from _unequal("accepted", entry.accepted, stored.outcome.accepted, _STORED_RULE)
        yield from _unequal("digest", entry.digest, stored.state_digest, _STORED_RULE)


_STAMP = Layout.of("lk_input_t", ["now_ns", "sequence"])


def _unlike_stamp(entry: EntryRecord, now_ns: int) -> Iterator[Difference]:
    stamp = dict(zip(_STAMP.names, _STAMP.format.unpack(entry.input), strict=True))
    yield from _unequal("input.sequence", stamp["sequence"], entry.sequence, "must be that of its entry")
    rule = "must be when the input was stored, or the account's time if that is later"
    yield from _unequal("input.now_ns", stamp["now_ns"], now_ns, rule)


def _unlike_translation(
    entry: EntryRecord,
    stored: journal_pb2.JournalEntry,
    configuration: state_pb2.AccountConfiguration,
    now_ns: int,
) -> Iterator[Difference]:
    """The kernel service would give libkernel the same input for the stored message."""
    try:
        packed = records.translated(entry.sequence, stored, configuration, now_ns)
    except InvariantBroken as error:
        yield Difference("input", str(error), "must come from the translation of the stored message")
        return
    if packed == entry.input:
        return
    for name, (stated, expected) in unequal_fields(entry.input, packed).items():
        yield Difference(f"input.{name}", stated, f"must be {expected}, to which the stored message translates")


def _unlike_answer(stored: journal_pb2.JournalEntry, result: lk.Result, account: _Account) -> Iterator[Difference]:
    """What followed is what the entry says."""
    kernel = account.kernel
    yield from _unequal("trade", stored.outcome.trade_id, result.outcome.trade_id, _IS_ANSWER)
    yield from _unequal(
        "commands",
        [(each.kind, each.client_order_id, each.order_qty.units) for each in stored.commands],
        [(int(each.kind), each.client_order_id, each.qty) for each in result.commands],
        _IS_ANSWER,
    )
    yield from _unequal(
        "transitions",
        [(each.slot_index, each.from_stage, each.to_stage, each.to_lifecycle) for each in stored.transitions],
        [
            (each.slot_index, int(each.from_stage), int(each.to_stage), int(each.to_lifecycle))
            for each in result.transitions
        ],
        _IS_ANSWER,
    )
    if [views.slot_snapshot(kernel.slot(index)) for index in result.changed_slots] != list(stored.slots):
        yield Difference("slots", ", ".join(str(each.slot_index) for each in stored.slots), _IS_ANSWER)
    if views.account_snapshot(kernel.account()) != stored.account_after:
        yield Difference("account after", stored.account, _IS_ANSWER)


# --- bytes ------------------------------------------------------------------------------------------------------------


def _require_same_build(header: Header) -> None:
    for name, stated, ours in (
        ("ABI version", header.abi_version, lk.ABI_VERSION),
        ("save version", header.save_version, records.SAVE_VERSION),
        ("config size", header.config_bytes, records.CONFIG_BYTES),
        ("input size", header.input_bytes, INPUT_BYTES),
    ):
        if stated != ours:
            raise JournalFileDamaged.of(name, stated, f"must be that of this build, {ours}: take the release it names")


def config_of(data: bytes) -> lk.Config:
    """From the bytes of an ``lk_config_t``. ``JournalFileDamaged`` when they are not one of this build's."""
    values: dict[str, Any] = dict(zip(_CONFIG.names, _CONFIG.format.unpack(data), strict=True))
    try:
        for name in ("account", "currency"):
            values[name] = values[name].rstrip(b"\0").decode("ascii")
        config = lk.Config(**values)
        if config_bytes(config) == data:
            return config
    except (UnicodeDecodeError, lk.InvalidInput):
        pass
    raise JournalFileDamaged.of("configuration", data.hex()[:64], "must be an lk_config_t of this build")


_PLACES = places("lk_input_t")
_INPUT = Layout.of("lk_input_t", _PLACES)
_NAMED: dict[str, type[IntEnum]] = {
    "kind": InputKind,
    "order_fact": lk.Fact,
    "side": lk.Side,
    "order_type": lk.OrderType,
    "time_in_force": lk.TimeInForce,
    "liquidity": lk.Liquidity,
}


def input_fields(data: bytes) -> dict[str, str]:
    """The fields of an ``lk_input_t`` that are not 0 or empty, as people read them."""
    values = zip(_INPUT.names, _INPUT.format.unpack(data), strict=True)
    return {name: _shown(name, value) for name, value in values if value and value != bytes(_PLACES[name].size)}


def _shown(name: str, value: int | bytes) -> str:
    if isinstance(value, bytes):
        if _PLACES[name].is_text:
            return value.rstrip(b"\0").decode("ascii", "replace")
        return value.hex()
    listed = _NAMED.get(name)
    return listed(value).name if listed and value in listed.__members__.values() else str(value)


def unequal_fields(a: bytes, b: bytes) -> dict[str, tuple[str, str]]:
    """The fields in which two ``lk_input_t`` differ."""
    fields_a, fields_b = input_fields(a), input_fields(b)
    names = [name for name in _INPUT.names if fields_a.get(name) != fields_b.get(name)]
    return {name: (fields_a.get(name, "-"), fields_b.get(name, "-")) for name in names}


def kind_of(entry: EntryRecord) -> str:
    """What came in: ``FILL``; or that nothing was applied: ``epoch``, ``parked``, ``omitted``."""
    if entry.kind is not RecordKind.INPUT:
        return entry.kind.name.lower()
    return input_fields(entry.input).get("kind", "NONE")


def _code(code: int) -> str:
    return code_name(code)


def _damaged(sequence: int, name: str, value: object, rule: str) -> JournalFileDamaged:
    return JournalFileDamaged(f"entry {sequence}: {name} {str(value)[:80]}: {rule}", field=name, value=value, rule=rule)
