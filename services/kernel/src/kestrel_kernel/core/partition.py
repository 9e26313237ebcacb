"""One partition: the accounts it owns, and the journal that is their only truth.

    inbox message --> Partition.apply --> Step (the journal entry, as message and as the bytes to store)

The state is a fold of the journal: the same messages in the same order give the same entries, byte for byte, in any
process. Nothing here reads a clock; ``now`` is the time the input was stored, and it never goes back.

Always true: the entry made last is number ``journal_sequence`` and hashes to ``journal_hash``; its input, and every
one before it, is at or below ``inbox_sequence``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import kestrel_libkernel as lk
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError
from kestrel_domain.identifiers import checked_id, partition_of
from kestrel_kernel.core import plain, scaling, translate, views
from kestrel_libkernel import reading, wire

PARKED = "PARKED"
"""Outcome code of an input that could not be parsed or placed. It is recorded, so that the position moves past it."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")

_FACTS_THAT_MUST_LAND = ("order", "fill", "bust", "settlement", "balance", "funding", "foreign")


@dataclass(slots=True)
class Step:
    """One journal entry: its place, the exact bytes to store, and what has to be known of them before."""

    journal_sequence: int
    effect: effects.Publish
    account: str
    changed_slots: tuple[int, ...] = ()
    is_plain: bool = False
    """An input that was accepted, and nothing about it that a person should know."""
    _entry: journal_pb2.JournalEntry | None = None

    @property
    def data(self) -> bytes:
        return self.effect.body

    @property
    def entry(self) -> journal_pb2.JournalEntry:
        """The content of the bytes, parsed when somebody asks for it."""
        if self._entry is None:
            self._entry = journal_pb2.JournalEntry.FromString(self.data)
        return self._entry

    def publish(self) -> effects.Publish:
        """How it is stored. The id follows from the cause: an input has one entry, an epoch has one beginning."""
        return self.effect


class _Given(NamedTuple):
    """An input as it came, and when its entry was written."""

    sequence: int
    time_ns: int
    data: bytes
    traceparent: str
    recorded_at_ns: int


@dataclass(slots=True)
class _Account:
    configuration: state_pb2.AccountConfiguration
    kernel: lk.Kernel
    trades: dict[str, translate.Trade]
    reader: reading.Reader
    aftermath: wire.Aftermath
    now_ns: int = 0
    """The kernel's time: it never goes back."""
    _view: lk.AccountView | None = None

    @classmethod
    def of(
        cls, configuration: state_pb2.AccountConfiguration, kernel: lk.Kernel, trades: dict[str, translate.Trade]
    ) -> _Account:
        view = kernel.account()
        reader, aftermath = plain.reader(configuration), views.aftermath(kernel)
        return cls(configuration, kernel, trades, reader, aftermath, view.now_ns, view)

    @property
    def view(self) -> lk.AccountView:
        """After the last input; looked at once."""
        if self._view is None:
            self._view = self.kernel.account()
        return self._view

    def apply(self, value: lk.Input | lk.Prepared) -> lk.Result:
        """Raises ``InvalidRequest`` for what libkernel cannot express."""
        try:
            result = self.kernel.apply(value)
        except lk.InvalidInput as error:
            raise InvalidRequest(str(error), field="message", rule="must be expressible in libkernel") from error
        self._view = None
        return result


class Partition:
    """The state of one partition. Not for use by several threads at once."""

    def __init__(self, partition: int, partition_count: int) -> None:
        self.partition = partition
        self.partition_count = partition_count
        self.epoch = 0
        self.journal_sequence = 0
        self.journal_hash = b""
        self.inbox_sequence = 0
        self._accounts: dict[str, _Account] = {}
        self._places: dict[str, tuple[str, str]] = {}

    def close(self) -> None:
        """Free the kernels' memory."""
        for account in self._accounts.values():
            account.kernel.close()
        self._accounts.clear()

    # --- what happens ------------------------------------------------------------------------------------------------

    def start_epoch(
        self,
        epoch: int,
        owner: str,
        configurations: Iterable[state_pb2.AccountConfiguration],
        *,
        recorded_at_ns: int = 0,
    ) -> Step:
        """A new owner begins to write.

        The entry carries how every account is set up: those in the settings, and those that only the journal still
        knows. Raises ``InvalidRequest`` when the settings change an account that the journal has already, and
        ``InvariantBroken`` when the journal has seen this epoch or a later one.
        """
        if epoch <= self.epoch:
            raise InvariantBroken(
                f"partition {self.partition}: epoch {epoch} begins after epoch {self.epoch}", reason="EPOCH_REVERSED"
            )
        known = {name: account.configuration for name, account in self._accounts.items()}
        for configuration in configurations:
            _same_configuration(known.get(configuration.account), configuration)
            known[configuration.account] = configuration
        entry = journal_pb2.JournalEntry(
            partition=self.partition,
            account=subjects.NO_ACCOUNT,
            epoch=epoch,
            epoch_started=journal_pb2.EpochStarted(
                epoch=epoch,
                owner=owner,
                libkernel_version=lk.VERSION,
                abi_version=lk.ABI_VERSION,
                accounts=[known[name] for name in sorted(known)],
            ),
            recorded_at_ns=recorded_at_ns,
        )
        self.begin_epoch(entry)
        entry.previous_hash = self.journal_hash
        return self._journaled(entry.SerializeToString(deterministic=True), f"e-{self.partition}-{epoch}")

    def begin_epoch(self, entry: journal_pb2.JournalEntry) -> None:
        """Take over what an ``EpochStarted`` entry says: the epoch, and accounts that are new."""
        self.epoch = entry.epoch
        for configuration in entry.epoch_started.accounts:
            if configuration.account not in self._accounts:
                if partition_of(configuration.account, self.partition_count) != self.partition:
                    raise InvariantBroken(
                        f"account {configuration.account} belongs to another partition than {self.partition} "
                        f"of {self.partition_count}: the number of partitions may not change",
                        reason="PARTITION_COUNT_CHANGED",
                    )
                kernel = lk.Kernel(scaling.kernel_config(configuration))
                self._accounts[configuration.account] = _Account.of(configuration, kernel, {})

    def apply(
        self, subject: str, sequence: int, time_ns: int, data: bytes, traceparent: str = "", *, recorded_at_ns: int = 0
    ) -> Step:
        """Apply one inbox message and journal it, whatever it is.

        ``sequence`` and ``time_ns`` are the message's place and time in INBOX; ``recorded_at_ns`` only stamps the
        entry. A message that cannot be parsed or placed changes no account; its entry's outcome is ``PARKED``.
        """
        if sequence <= self.inbox_sequence:
            raise _repeated(sequence, self.inbox_sequence)
        given = _Given(sequence, time_ns, data, traceparent if _TRACEPARENT.match(traceparent) else "", recorded_at_ns)
        account_name, door = subjects.NO_ACCOUNT, ""
        try:
            account_name, door = self._placed(subject)
            step = self._applied(self._accounts[account_name], account_name, door, given)
        except InvalidRequest as error:
            step = self._parked(account_name, door, given, error)
        self.inbox_sequence = sequence
        return step

    def apply_again(self, entry: journal_pb2.JournalEntry) -> str:
        """Replay of an applied input: the state moves on, and nothing is written down.

        Which field of the entry is not what the kernel computes today; empty: outcome, commands and digest are.
        """
        sequence = entry.input_sequence
        if sequence <= self.inbox_sequence:
            raise _repeated(sequence, self.inbox_sequence)
        self.inbox_sequence = sequence
        account = self._accounts.get(entry.account)
        if account is None:
            return "outcome"
        try:
            given = _Given(sequence, entry.input_time_ns, entry.input, entry.traceparent, entry.recorded_at_ns)
            translated, result = self._taken(account, entry.door, given)
        except InvalidRequest:
            return "outcome"
        if not views.is_outcome(result, entry.outcome):
            return "outcome"
        commands = result.commands
        if commands or entry.commands:
            slots = _Slots(account.kernel)
            if [self._command(account, translated, command, slots) for command in commands] != entry.commands:
                return "commands"
        return "" if account.kernel.digest() == entry.state_digest else "state_digest"

    def skip(self, entry: journal_pb2.JournalEntry) -> None:
        """Replay of a parked input: nothing happened then, so nothing happens now, whatever the rules say today."""
        self.inbox_sequence = entry.input_sequence

    def confirm(self, data: bytes) -> None:
        """The entry after the last one is stored as these bytes."""
        self.journal_sequence += 1
        self.journal_hash = hashlib.sha256(data).digest()

    # --- what is so --------------------------------------------------------------------------------------------------

    def next_deadline_ns(self) -> tuple[int, str] | None:
        """When, and for which account, a tick is wanted first."""
        found = None
        for name, account in self._accounts.items():
            due_ns = account.view.next_deadline_ns
            if due_ns is not None and (found is None or (due_ns, name) < found):
                found = due_ns, name
        return found

    def account_names(self) -> list[str]:
        return sorted(self._accounts)

    def account(self, name: str) -> state_pb2.AccountSnapshot:
        return views.account_snapshot(self._accounts[name].view)

    def slots(self, name: str) -> list[state_pb2.SlotSnapshot]:
        return [views.slot_snapshot(slot) for slot in self._accounts[name].kernel.slots()]

    def digest(self, name: str) -> bytes:
        return self._accounts[name].kernel.digest()

    # --- save and restore --------------------------------------------------------------------------------------------

    def save(self, *, saved_at_ns: int = 0) -> state_pb2.PartitionSnapshot:
        """The whole state. It belongs to one journal sequence and hash, and is worth nothing without them."""
        return state_pb2.PartitionSnapshot(
            partition=self.partition,
            journal_sequence=self.journal_sequence,
            journal_hash=self.journal_hash,
            inbox_sequence=self.inbox_sequence,
            epoch=self.epoch,
            accounts=[_saved_account(self._accounts[name]) for name in self.account_names()],
            saved_at_ns=saved_at_ns,
        )

    @classmethod
    def restored(cls, snapshot: state_pb2.PartitionSnapshot, partition_count: int) -> Partition:
        """The partition as it was saved. Raises ``InvalidRequest`` when anything in the snapshot does not hold."""
        partition = cls(snapshot.partition, partition_count)
        partition.epoch = snapshot.epoch
        partition.journal_sequence = snapshot.journal_sequence
        partition.journal_hash = snapshot.journal_hash
        partition.inbox_sequence = snapshot.inbox_sequence
        for saved in snapshot.accounts:
            partition._accounts[saved.account] = _restored_account(saved)
        return partition

    # --- inside ------------------------------------------------------------------------------------------------------

    def _placed(self, subject: str) -> tuple[str, str]:
        place = self._places.get(subject)
        if place is not None:
            return place
        partition, account, door = subjects.inbox_parts(subject)
        checked_id("account", account)
        if partition != self.partition:
            raise InvalidRequest.of("subject", subject, f"this is partition {self.partition}", reason="WRONG_PARTITION")
        if account not in self._accounts:
            raise InvalidRequest.of("account", account, "not an account of this kernel", reason="UNKNOWN_ACCOUNT")
        self._places[subject] = account, door  # as many as our accounts have doors
        return account, door

    def _applied(self, account: _Account, name: str, door: str, given: _Given) -> Step:
        """Let the kernel apply it, and write down the answer and everything that followed."""
        translated, result = self._taken(account, door, given)
        slots = _Slots(account.kernel)
        commands = [self._command(account, translated, command, slots) for command in result.commands]
        anomalies = [views.anomaly(each) for each in result.anomalies]
        if translated.notes and result.accepted:
            anomalies += translated.notes
        settlements = [views.settled_fill(each) for each in result.settlements]
        happened, state = account.aftermath.write()
        trade = account.trades.get(result.trade_id)
        traceparent = trade.traceparent if trade is not None and trade.traceparent else given.traceparent
        parts = (  # in the order of their numbers, as protobuf would write them
            self._beginning(name, door, given),
            views.outcome(result),
            _fields(commands=commands) if commands else b"",
            happened,
            _fields(anomalies=anomalies) if anomalies else b"",
            state,
            self._end(given, traceparent),
            _fields(settlements=settlements) if settlements else b"",
        )
        return self._journaled(
            b"".join(parts),
            f"j-{self.partition}-{given.sequence}",
            name,
            traceparent,
            result.changed_slots,
            is_plain=result.accepted and not anomalies,
        )

    def _beginning(self, account: str, door: str, given: _Given) -> bytes:
        """An entry's fields before the outcome."""
        return _fields(
            partition=self.partition,
            account=account,
            epoch=self.epoch,
            input_sequence=given.sequence,
            input_time_ns=given.time_ns,
            door=door,
            input=given.data,
        )

    def _end(self, given: _Given, traceparent: str) -> bytes:
        """An entry's fields behind the state."""
        return _fields(previous_hash=self.journal_hash, recorded_at_ns=given.recorded_at_ns, traceparent=traceparent)

    def _taken(self, account: _Account, door: str, given: _Given) -> tuple[translate.Translated, lk.Result]:
        """The kernel has applied it, and the trade it opened is remembered."""
        now_ns = max(given.time_ns, account.now_ns)
        stamp = translate.Stamp(now_ns, given.sequence, self.journal_sequence + 1)
        translated = _translated(account, door, given.data, stamp)
        result = account.apply(translated.value)
        if result.accepted:
            account.now_ns = now_ns
            if translated.trade is not None:
                trade = translated.trade
                account.trades[trade.trade_id] = translate.Trade(
                    trade.trade_id, trade.exit_warrant, trade.intent, given.traceparent
                )
                _forget_replaced(account, result.transitions)
        return translated, result

    def _command(
        self, account: _Account, translated: translate.Translated, command: lk.Command, slots: _Slots
    ) -> journal_pb2.VenueCommand:
        configuration, trade = account.configuration, account.trades.get(command.trade_id)
        more = journal_pb2.VenueCommand(
            account=configuration.account,
            venue=configuration.venue,
            environment=configuration.environment,
            reason=translated.reason[:256],
        )
        if command.kind == lk.CommandKind.SUBMIT_ENTRY:
            more.token = translated.token
            more.intent = trade.intent if trade else b""
        if command.kind == lk.CommandKind.SUBMIT_EXIT:
            more.exit_warrant = trade.exit_warrant if trade else ""
        return views.command(command, slots[command.slot_index], more)

    def _parked(self, account: str, door: str, given: _Given, error: InvalidRequest) -> Step:
        """The entry of an input that changed nothing; one that is too large is left out of it."""
        if len(given.data) > translate.INPUT_BYTES_MAX:
            given = given._replace(data=b"")
        trade_id = translate.trade_id_of(given.data) if account != subjects.NO_ACCOUNT else ""
        outcome = journal_pb2.Outcome(
            accepted=False,
            code=PARKED,
            severity=common_pb2.SEVERITY_WARNING,
            refusal=error.refusal(),
            trade_id=trade_id,
        )
        parts = (
            self._beginning(account, door, given),
            _fields(outcome=outcome),
            self._end(given, given.traceparent),
        )
        return self._journaled(b"".join(parts), f"j-{self.partition}-{given.sequence}", account, given.traceparent)

    def _journaled(
        self,
        data: bytes,
        message_id: str,
        account: str = subjects.NO_ACCOUNT,
        traceparent: str = "",
        changed_slots: tuple[int, ...] = (),
        *,
        is_plain: bool = False,
    ) -> Step:
        self.confirm(data)
        publish = effects.Publish(subjects.journal(self.partition, account), data, message_id, traceparent)
        return Step(self.journal_sequence, publish, account, changed_slots, is_plain)


def _translated(account: _Account, door: str, data: bytes, stamp: translate.Stamp) -> translate.Translated:
    if door == plain.DOOR:
        value = account.reader.read(data, now_ns=stamp.now_ns, sequence=stamp.journal_sequence)
        if value is not None:
            return translate.Translated(value)
    return translate.translate(translate.parse(data), door, account.configuration, stamp)


def _fields(**values: Any) -> bytes:
    """Some fields of a journal entry, as it has them."""
    return journal_pb2.JournalEntry(**values).SerializeToString(deterministic=True)


def reason_to_park(entry: journal_pb2.JournalEntry) -> KestrelError | None:
    """Why an entry's input also belongs into the parking lane: it could not be parsed, placed or applied (P11).

    A request that a rule refuses is a normal outcome and is not parked. A fact from the venue that found no place is.
    """
    outcome = entry.outcome
    if entry.HasField("epoch_started") or outcome.accepted:
        return None
    lost_fact = (
        entry.door == "venue"
        and outcome.code in ("INVALID_EVENT", "OVERFLOW", "UNRESOLVED_SLOT", "UNKNOWN_EXECUTION")
        and inbox_pb2.InboxMessage.FromString(entry.input).venue.WhichOneof("body") in _FACTS_THAT_MUST_LAND
    )
    if outcome.code != PARKED and not lost_fact:
        return None
    refusal = outcome.refusal
    return InvalidRequest(
        refusal.message, reason=refusal.reason, field=refusal.field, value=refusal.value, rule=refusal.rule
    )


class _Slots:
    """Views of slots after an input, each asked for once."""

    def __init__(self, kernel: lk.Kernel) -> None:
        self._kernel = kernel
        self._views: dict[int, lk.SlotView] = {}

    def __getitem__(self, index: int) -> lk.SlotView:
        if index not in self._views:
            self._views[index] = self._kernel.slot(index)
        return self._views[index]


def _forget_replaced(account: _Account, transitions: Iterable[lk.Transition]) -> None:
    """A slot that was taken again no longer shows its old trade, so nothing can ask for that trade's warrant."""
    for transition in transitions:
        replaced = transition.to_stage == lk.Stage.IDLE and transition.trade_id
        if replaced and account.kernel.find_trade(transition.trade_id) is None:
            account.trades.pop(transition.trade_id, None)


def _repeated(sequence: int, inbox_sequence: int) -> InvariantBroken:
    return InvariantBroken(
        f"input {sequence} was applied before: the journal stands at {inbox_sequence}", reason="INPUT_REPEATED"
    )


def _same_configuration(
    journaled: state_pb2.AccountConfiguration | None, configured: state_pb2.AccountConfiguration
) -> None:
    if journaled is None:
        scaling.kernel_config(configured)
        return
    for field in configured.DESCRIPTOR.fields:
        before, after = getattr(journaled, field.name), getattr(configured, field.name)
        if before != after:
            raise InvalidRequest.of(
                f"accounts.{configured.account}.{field.name}",
                str(after).replace("\n", " ").strip(),
                f"the journal was written with {str(before).replace(chr(10), ' ').strip()!r}; "
                "an account keeps what it began with",
                reason="CONFIGURATION_CHANGED",
            )


def _saved_account(account: _Account) -> state_pb2.SavedAccount:
    return state_pb2.SavedAccount(
        account=account.configuration.account,
        libkernel=account.kernel.save(),
        state_digest=account.kernel.digest(),
        trades=[
            state_pb2.SavedTrade(
                trade_id=trade.trade_id,
                exit_warrant=trade.exit_warrant,
                intent=trade.intent,
                traceparent=trade.traceparent,
            )
            for trade in account.trades.values()
        ],
        configuration=account.configuration,
    )


def _restored_account(saved: state_pb2.SavedAccount) -> _Account:
    try:
        kernel = lk.Kernel(scaling.kernel_config(saved.configuration))
        kernel.restore(saved.libkernel)
    except (lk.InvalidInput, lk.RestoreRefused) as error:
        raise InvalidRequest.of("snapshot", saved.account, str(error), reason="SNAPSHOT_DAMAGED") from error
    if kernel.digest() != saved.state_digest:
        raise InvalidRequest.of("snapshot", saved.account, "its digest is not its state's", reason="SNAPSHOT_DAMAGED")
    trades = {
        trade.trade_id: translate.Trade(trade.trade_id, trade.exit_warrant, trade.intent, trade.traceparent)
        for trade in saved.trades
    }
    return _Account.of(saved.configuration, kernel, trades)


def encode_snapshot(snapshot: state_pb2.PartitionSnapshot) -> bytes:
    """A snapshot as bytes, with a checksum over all of it in front."""
    data = snapshot.SerializeToString(deterministic=True)
    return hashlib.sha256(data).digest() + data


def decode_snapshot(data: bytes) -> state_pb2.PartitionSnapshot:
    """Raises ``InvalidRequest`` when the bytes are not what was saved."""
    checksum, content = data[:32], data[32:]
    if hashlib.sha256(content).digest() != checksum:
        raise InvalidRequest.of("snapshot", f"{len(data)} bytes", "its checksum must agree", reason="SNAPSHOT_DAMAGED")
    return state_pb2.PartitionSnapshot.FromString(content)


def newest(snapshots: Sequence[state_pb2.PartitionSnapshot]) -> list[state_pb2.PartitionSnapshot]:
    """Newest first."""
    return sorted(snapshots, key=lambda each: each.journal_sequence, reverse=True)
