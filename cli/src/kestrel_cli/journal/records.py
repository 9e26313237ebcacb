"""From stored journal entries to the records of a journal file.

An entry holds the message that came in; a record holds what libkernel was given. In between is the kernel service's own
translation, called here again. Only the account's time is kept, which an input is stamped with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from google.protobuf.message import DecodeError

import kestrel_libkernel as lk
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel_chassis.journal import entry_hash
from kestrel_chassis.journal_file import NO_HASH, AccountRecord, EntryRecord, Header, Record, RecordKind
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken
from kestrel_kernel.core import scaling, translate
from kestrel_kernel.core.partition import PARKED
from kestrel_libkernel._ffi import lib
from kestrel_libkernel.bindings import INPUT_BYTES
from kestrel_libkernel.inputs import config_bytes

SAVE_VERSION: int = lib.LK_SAVE_VERSION
CONFIG_BYTES = len(config_bytes(lk.Config(account="_")))


def header(
    partition: int,
    *,
    first_sequence: int = 1,
    previous_hash: bytes = NO_HASH,
    account: str = "",
    has_entries: bool = True,
    was_verified: bool = False,
) -> Header:
    """The header of a file that this build of libkernel writes now."""
    return Header(
        abi_version=lk.ABI_VERSION,
        save_version=SAVE_VERSION,
        config_bytes=CONFIG_BYTES,
        input_bytes=INPUT_BYTES,
        partition=partition,
        stream=subjects.journal_stream(partition),
        first_sequence=first_sequence,
        previous_hash=previous_hash,
        exported_at_ns=time.time_ns(),
        account=account,
        libkernel_version=lk.VERSION,
        has_entries=has_entries,
        was_verified=was_verified,
    )


class Recorder:
    """The entries of one partition as records, in order from the first. ``account``: only this one's; empty: all."""

    def __init__(self, account: str = "") -> None:
        self._account = account
        self._configurations: dict[str, state_pb2.AccountConfiguration] = {}
        self._now_ns: dict[str, int] = {}

    @property
    def accounts(self) -> list[AccountRecord]:
        """What the entries so far have set up."""
        return [_account(0, configuration) for _, configuration in sorted(self._configurations.items())]

    def records(self, sequence: int, data: bytes) -> Iterator[Record]:
        """Of one entry. ``InvariantBroken`` when its bytes are no entry, or its input is none any more."""
        try:
            entry = journal_pb2.JournalEntry.FromString(data)
        except DecodeError as error:
            raise InvariantBroken(f"entry {sequence}: cannot be parsed", reason="JOURNAL_DAMAGED") from error
        if entry.HasField("epoch_started"):
            yield _entry(RecordKind.EPOCH, sequence, entry, data, epoch=entry.epoch)
            yield from self._set_up(sequence, entry.epoch_started)
        elif self._account and entry.account not in (self._account, subjects.NO_ACCOUNT):
            previous_hash = entry.previous_hash or NO_HASH
            yield EntryRecord(RecordKind.OMITTED, sequence, entry_hash(data), previous_hash, entry.input_sequence)
        elif entry.outcome.code == PARKED:
            yield _entry(RecordKind.PARKED, sequence, entry, data)
        else:
            yield self._input(sequence, entry, data)

    def _set_up(self, sequence: int, epoch: journal_pb2.EpochStarted) -> Iterator[AccountRecord]:
        for configuration in epoch.accounts:
            if not self._account or configuration.account == self._account:
                self._configurations[configuration.account] = configuration
                yield _account(sequence, configuration)

    def _input(self, sequence: int, entry: journal_pb2.JournalEntry, data: bytes) -> EntryRecord:
        if entry.account not in self._configurations:
            raise InvariantBroken(f"entry {sequence}: account {entry.account} was never set up")
        now_ns = max(entry.input_time_ns, self._now_ns.get(entry.account, 0))
        packed = translated(sequence, entry, self._configurations[entry.account], now_ns)
        if entry.outcome.accepted:
            self._now_ns[entry.account] = now_ns
        try:
            code = lk.Code[entry.outcome.code]
        except KeyError as error:
            raise InvariantBroken(f"entry {sequence}: outcome {entry.outcome.code} is none of libkernel's") from error
        return _entry(
            RecordKind.INPUT,
            sequence,
            entry,
            data,
            digest=entry.state_digest.ljust(len(NO_HASH), b"\0"),
            code=int(code),
            accepted=entry.outcome.accepted,
            input_=packed,
        )


def translated(
    sequence: int, entry: journal_pb2.JournalEntry, configuration: state_pb2.AccountConfiguration, now_ns: int
) -> bytes:
    """The ``lk_input_t`` that an entry's message comes to. ``InvariantBroken``: none, by the rules of today."""
    stamp = translate.Stamp(now_ns, entry.input_sequence, sequence)
    try:
        message = translate.parse(entry.input)
        return translate.translate(message, entry.door, configuration, stamp).value.packed
    except (InvalidRequest, lk.InvalidInput) as error:
        raise InvariantBroken(f"entry {sequence}: its input cannot be translated: {error}") from error


def _account(sequence: int, configuration: state_pb2.AccountConfiguration) -> AccountRecord:
    return AccountRecord(sequence, config_bytes(scaling.kernel_config(configuration)))


def _entry(
    kind: RecordKind,
    sequence: int,
    entry: journal_pb2.JournalEntry,
    data: bytes,
    *,
    epoch: int = 0,
    digest: bytes = NO_HASH,
    code: int = 0,
    accepted: bool = False,
    input_: bytes = b"",
) -> EntryRecord:
    return EntryRecord(
        kind=kind,
        sequence=sequence,
        hash=entry_hash(data),
        previous_hash=entry.previous_hash or NO_HASH,
        input_sequence=entry.input_sequence,
        input_time_ns=entry.input_time_ns,
        account=entry.account,
        epoch=epoch,
        digest=digest,
        code=code,
        accepted=accepted,
        input=input_,
        stored=data,
    )
