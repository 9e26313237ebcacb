"""A kernel whose inputs are numbered for the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kestrel_libkernel import (
    AccountView,
    Config,
    Enter,
    Exit,
    Fact,
    Fill,
    Input,
    Instrument,
    Kernel,
    OrderReport,
    OrderType,
    Result,
    Side,
    SlotView,
    TimeInForce,
)

FET = Instrument("FET-USDT", price_scale=4, qty_scale=0, currency="USDT")
UNIT = 10**8


class Desk:
    """Applies inputs; each gets the next time, sequence and event id unless it states them."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config("TEST-1", slot_count=4, leverage_max=3, seed_capital=1_000_000 * UNIT)
        self.kernel = Kernel(self.config)
        self.step = 0

    def make(self, kind: type[Input], **fields: Any) -> Input:
        self.step += 1
        return kind(**{"now_ns": self.step, "sequence": self.step, "event_id": f"event-{self.step}", **fields})

    def do(self, kind: type[Input], **fields: Any) -> Result:
        return self.kernel.apply(self.make(kind, **fields))

    def enter(
        self, trade: str = "trade", order: str = "entry", side: Side = Side.BUY, qty: int = 10, **more: Any
    ) -> Result:
        fields: dict[str, Any] = {
            "instrument": FET, "order_type": OrderType.MARKET, "time_in_force": TimeInForce.DAY, **more
        }  # fmt: skip
        return self.do(Enter, trade_id=trade, client_order_id=order, side=side, qty=qty, **fields)

    def leave(self, trade: str = "trade", order: str = "exit", **more: Any) -> Result:
        return self.do(Exit, trade_id=trade, client_order_id=order, **more)

    def fill(self, order: str, execution: str, side: Side, qty: int, price: int | None, **more: Any) -> Result:
        fields = {"qty_scale": 0, "price_scale": 4, **more}
        return self.do(Fill, client_order_id=order, execution_id=execution, side=side, qty=qty, price=price, **fields)

    def report(self, order: str, fact: Fact) -> Result:
        return self.do(OrderReport, client_order_id=order, fact=fact)

    def restart(self) -> None:
        """Save, forget everything, restore."""
        saved, digest = self.kernel.save(), self.kernel.digest()
        self.kernel.close()
        self.kernel = Kernel(self.config)
        self.kernel.restore(saved)
        assert self.kernel.digest() == digest

    def slot(self, index: int = 0) -> SlotView:
        return self.kernel.slot(index)

    @property
    def account(self) -> AccountView:
        return self.kernel.account()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.kernel.close()


@pytest.fixture
def make_desk() -> type[Desk]:
    return Desk
