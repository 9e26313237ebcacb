"""What operators may read: the state as committed, never ahead of the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kestrel.admin.v1 import kernel_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_kernel.core.partition import Partition, Step

_WHOLE_ACCOUNT = -1
"""Beside the places of its slots."""


def _nobody() -> bool:
    """Whether the lease is held, where there is none."""
    return False


@dataclass(slots=True)
class ServedPartition:
    """One partition's committed state. Snapshots in it are replaced whole, never edited."""

    partition: int
    is_held: Callable[[], bool] = _nobody
    """Asked for every answer: the lease may have run out while this process stood still."""
    halted: str = ""
    """Why nobody serves it before a person has looked; empty: nothing of the kind."""
    epoch: int = 0
    journal_sequence: int = 0
    inbox_sequence: int = 0
    lag: int = 0
    accounts: dict[str, state_pb2.AccountSnapshot] = field(default_factory=dict)
    slots: dict[str, dict[int, state_pb2.SlotSnapshot]] = field(default_factory=dict)

    @property
    def owned(self) -> bool:
        return self.is_held()

    def take_over(self, partition: Partition, lag: int, is_held: Callable[[], bool]) -> None:
        """Show a whole partition, as replayed, and how many inputs it may still be behind, while the lease is held."""
        self.is_held = is_held
        self.lag = lag
        self._show_position(partition)
        self.accounts = {name: partition.account(name) for name in partition.account_names()}
        self.slots = {name: {slot.slot_index: slot for slot in partition.slots(name)} for name in self.accounts}

    def commit(self, partition: Partition, steps: Sequence[Step]) -> None:
        """Show what a group of journaled entries changed: of an account and a slot, what the last of them says."""
        self._show_position(partition)
        shown: set[tuple[str, int]] = set()
        for step in reversed(steps):
            account = step.account
            wanted = [index for index in step.changed_slots if (account, index) not in shown]
            if not wanted and (account, _WHOLE_ACCOUNT) in shown:
                continue
            entry = step.entry
            if entry.HasField("account_after") and (account, _WHOLE_ACCOUNT) not in shown:
                self.accounts[account] = entry.account_after
                shown.add((account, _WHOLE_ACCOUNT))
            for slot in entry.slots:
                if slot.slot_index in wanted:
                    self.slots.setdefault(account, {})[slot.slot_index] = slot
                    shown.add((account, slot.slot_index))

    def drop(self) -> None:
        """No longer the owner: nothing here may be trusted."""
        self.is_held = _nobody
        self.accounts, self.slots = {}, {}

    def state(self) -> kernel_pb2.PartitionState:
        """Where it stands; of one that is another's, nothing but that: what we knew of it is of the past."""
        if not self.owned:
            return kernel_pb2.PartitionState(partition=self.partition)
        return kernel_pb2.PartitionState(
            partition=self.partition,
            epoch=self.epoch,
            journal_sequence=self.journal_sequence,
            inbox_sequence=self.inbox_sequence,
            lag=self.lag,
            owned=True,
        )

    def _show_position(self, partition: Partition) -> None:
        self.epoch = partition.epoch
        self.journal_sequence = partition.journal_sequence
        self.inbox_sequence = partition.inbox_sequence
