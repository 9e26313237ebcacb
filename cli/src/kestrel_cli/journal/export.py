"""Writes a journal's records into a file, verified on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from kestrel_chassis.journal_file import (
    AccountRecord,
    EntryRecord,
    Header,
    JournalFileWriter,
    Record,
    StateRecord,
    Totals,
)
from kestrel_cli.journal.replay import Replayer, config_of
from kestrel_domain.errors import InvariantBroken


class Exporter:
    """Takes a journal's records from its first entry on, and writes those from ``first_sequence`` on.

    A file that begins later carries the accounts and their states before that, so that it can be replayed alone. With
    ``header.was_verified`` the first difference between the journal and its replay is an ``InvariantBroken``.
    """

    def __init__(self, file: BinaryIO, header: Header, first_sequence: int = 1) -> None:
        self._file = file
        self._header = header
        self._first_sequence = first_sequence
        self._accounts: dict[str, AccountRecord] = {}
        self._writer = JournalFileWriter(file, header) if first_sequence == 1 else None
        self.replayer = Replayer(header, is_translated=True)

    def take(self, record: Record) -> None:
        if self._writer is None and isinstance(record, EntryRecord) and record.sequence == self._first_sequence:
            self._writer = self._begin()
        step = self.replayer.take(record)
        if step is not None and step.differences and self._header.was_verified:
            raise InvariantBroken(f"entry {step.entry.sequence}: {step.differences[0]}", reason="REPLAY_DIFFERS")
        if isinstance(record, AccountRecord):
            self._accounts[config_of(record.config).account] = record
        if self._writer is not None:
            self._writer.write(record)

    def finish(self) -> Totals:
        """The file is whole. ``InvariantBroken`` when the journal ended before the first entry to be written."""
        if self._writer is None:
            raise InvariantBroken(f"the journal ends before entry {self._first_sequence}")
        return self._writer.finish()

    def _begin(self) -> JournalFileWriter:
        """A file in mid-journal: the accounts as they are set up, and their states."""
        before = self._first_sequence - 1
        header = replace(
            self._header, first_sequence=self._first_sequence, previous_hash=self.replayer.counts.last_hash
        )
        writer = JournalFileWriter(self._file, header)
        for _, account in sorted(self._accounts.items()):
            writer.write(account)
        for name, kernel, _, digest in self.replayer.accounts():
            writer.write(StateRecord(before, digest, name, kernel.save()))
        return writer
