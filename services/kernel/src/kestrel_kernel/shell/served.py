"""What operators may read: the state as committed, never ahead of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kestrel.admin.v1 import kernel_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_kernel.core.partition import Partition, Step


@dataclass(slots=True)
class ServedPartition:
    """One partition's committed state. Snapshots in it are replaced whole, never edited."""

    partition: int
    owned: bool = False
    epoch: int = 0
    journal_sequence: int = 0
    inbox_sequence: int = 0
    lag: int = 0
    accounts: dict[str, state_pb2.AccountSnapshot] = field(default_factory=dict)
    slots: dict[str, dict[int, state_pb2.SlotSnapshot]] = field(default_factory=dict)

    def take_over(self, partition: Partition) -> None:
        """Show a whole partition, as replayed."""
        self.owned = True
        self._show_position(partition)
        self.accounts = {name: partition.account(name) for name in partition.account_names()}
        self.slots = {name: {slot.slot_index: slot for slot in partition.slots(name)} for name in self.accounts}

    def commit(self, partition: Partition, steps: Sequence[Step]) -> None:
        """Show what a group of journaled entries changed."""
        self._show_position(partition)
        for step in steps:
            entry = step.entry
            if entry.HasField("account_after"):
                self.accounts[entry.account] = entry.account_after
            for slot in entry.slots:
                self.slots.setdefault(entry.account, {})[slot.slot_index] = slot

    def drop(self) -> None:
        """No longer the owner: nothing here may be trusted."""
        self.owned = False
        self.accounts, self.slots = {}, {}

    def state(self) -> kernel_pb2.PartitionState:
        return kernel_pb2.PartitionState(
            partition=self.partition,
            epoch=self.epoch,
            journal_sequence=self.journal_sequence,
            inbox_sequence=self.inbox_sequence,
            lag=self.lag,
            owned=self.owned,
        )

    def _show_position(self, partition: Partition) -> None:
        self.epoch = partition.epoch
        self.journal_sequence = partition.journal_sequence
        self.inbox_sequence = partition.inbox_sequence
