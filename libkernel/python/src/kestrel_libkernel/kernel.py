"""One account's kernel, as people use it.

    with Kernel(Config(account="PAPER-1", slot_count=8)) as kernel:
        result = kernel.apply(Enter(now_ns=..., event_id=..., ...))
        if result.outcome.accepted: ...
        kernel.slot(0), kernel.account(), kernel.digest(), kernel.save()

Numbers are integers throughout; see ``model`` for the values and ``lk/lk.h`` for the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from kestrel_libkernel import bindings, codec
from kestrel_libkernel.model import AccountView, Config, Input, Result, SlotView


class Kernel:
    """Owns one ``lk_kernel_t``. Not for use by several threads at once."""

    def __init__(self, config: Config) -> None:
        """Takes all the memory it will ever use. Raises ``InvalidInput`` for a configuration out of range."""
        self.config = config
        self._kernel = bindings.create(codec.pack_config(config))

    def close(self) -> None:
        """Free it; a second time does nothing."""
        self._kernel.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def apply(self, value: Input) -> Result:
        """Apply one input. A refusal is a result; ``InvalidInput`` means it could not be expressed (an id too long)."""
        bindings.apply(self._kernel, codec.pack_input(value))
        return codec.result(self._kernel.outcomes, 0, self._kernel.events)

    def apply_batch(self, values: Sequence[Input]) -> list[Result]:
        """Apply inputs in order; the same as one by one, with fewer crossings."""
        results: list[Result] = []
        packed = b"".join(map(codec.pack_input, values))
        taken = 0
        while taken < len(values):
            count = bindings.apply_batch(self._kernel, packed, taken, len(values) - taken)
            results += [codec.result(self._kernel.outcomes, i, self._kernel.events) for i in range(count)]
            taken += count
        return results

    def slot(self, slot_index: int) -> SlotView:
        """The trade in a slot, or the last one that was. ``InvalidInput`` when there is no such slot."""
        return codec.slot_view(bindings.slot(self._kernel, slot_index))

    def slots(self) -> list[SlotView]:
        return [self.slot(index) for index in range(self.config.slot_count)]

    def account(self) -> AccountView:
        return codec.account_view(bindings.account(self._kernel))

    def find_trade(self, trade_id: str) -> int | None:
        """The slot with this trade."""
        return bindings.find_trade(self._kernel, codec.padded(trade_id, "trade_id"))

    def find_order(self, order_id: str) -> int | None:
        """The slot with an order of this client or venue order id."""
        return bindings.find_order(self._kernel, codec.padded(order_id, "order_id"))

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
