"""One account's kernel, as people use it.

    with Kernel(Config(account="PAPER-1", slot_count=8)) as kernel:
        result = kernel.apply(Enter(now_ns=..., event_id=..., ...))
        if result.outcome.accepted: ...
        kernel.slot(0), kernel.account(), kernel.digest(), kernel.save()

Numbers are integers throughout; see ``model`` for the values and ``lk/lk.h`` for the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from kestrel_libkernel import bindings
from kestrel_libkernel.bindings import BATCH_MAX, INDEX_BYTES, InvalidInput
from kestrel_libkernel.inputs import Input, Prepared, config_bytes, id_bytes
from kestrel_libkernel.model import Config, EventKind
from kestrel_libkernel.outputs import ACCEPTED_AT, CODE_AT, CODES, AccountView, Batch, Result, SlotView
from kestrel_libkernel.wire import Aftermath, Writer

_apply = bindings.apply
_new = tuple.__new__


class Kernel:
    """Owns one ``lk_kernel_t``. Not for use by several threads at once."""

    def __init__(self, config: Config) -> None:
        """Takes all the memory it will ever use. Raises ``InvalidInput`` for a configuration out of range."""
        self.config = config
        self._kernel = handle = bindings.create(config_bytes(config))
        self._room, self._answer = handle.room, handle.answer.data

    def close(self) -> None:
        """Free it; a second time does nothing."""
        self._kernel.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def apply(self, value: Input | Prepared) -> Result:
        """Apply one input. A refusal is a result."""
        try:
            size = _apply(self._room, value.packed)
        except AttributeError:
            raise InvalidInput(f"not a kernel input: {value!r}") from None
        if size < 0:
            bindings.refuse(self._kernel, size)
        raw = self._answer[:size]
        return _new(Result, (raw[ACCEPTED_AT] == 1, CODES[raw[CODE_AT]], raw))  # result_of, without the call

    def aftermath(
        self, events: Mapping[EventKind, Writer], slot: Writer, account: Writer, digest_number: int
    ) -> Aftermath:
        """Who writes what each ``apply`` left behind: events by the writer of their kind, then the slots that changed,
        the account, and the digest as a field of this number."""
        return Aftermath(self._kernel, events, slot, account, digest_number)

    def apply_batch(self, values: Sequence[Input], *, digests: bool = False) -> Batch:
        """Apply inputs in order; the same as one by one, with fewer crossings. ``digests``: of each state after."""
        crossings: list[tuple[bytes, bytes, bytes]] = []
        taken = 0
        while taken < len(values):
            packed = b"".join([value.packed for value in values[taken : taken + BATCH_MAX]])
            crossings.append(bindings.apply_batch(self._kernel, packed, digests=digests))
            taken += len(crossings[-1][1]) // INDEX_BYTES
        return Batch(crossings)

    def slot(self, slot_index: int) -> SlotView:
        """The trade in a slot, or the last one that was. ``InvalidInput`` when there is no such slot."""
        return SlotView(bindings.slot(self._kernel, slot_index))

    def slots(self) -> list[SlotView]:
        return [self.slot(index) for index in range(self.config.slot_count)]

    def account(self) -> AccountView:
        return AccountView(bindings.account(self._kernel))

    def find_trade(self, trade_id: str) -> int | None:
        """The slot with this trade."""
        return bindings.find_trade(self._kernel, id_bytes(trade_id, "trade_id"))

    def find_order(self, order_id: str) -> int | None:
        """The slot with an order of this client or venue order id."""
        return bindings.find_order(self._kernel, id_bytes(order_id, "order_id"))

    def next_deadline_ns(self) -> int | None:
        """When the kernel wants a tick; None: not before something else happens."""
        return bindings.next_deadline_ns(self._kernel)

    def digest(self) -> bytes:
        """32 bytes over the whole state."""
        return bindings.digest(self._kernel)

    def save(self) -> bytes:
        """The whole state."""
        return bindings.save(self._kernel)

    def restore(self, data: bytes) -> None:
        """Replace the state by a saved one of the same configuration. ``RestoreRefused`` changes nothing."""
        bindings.restore(self._kernel, data)

    def memory(self) -> tuple[int, int]:
        """Bytes that the kernel holds for each slot, and in all; they never change."""
        return bindings.memory(self._kernel)
