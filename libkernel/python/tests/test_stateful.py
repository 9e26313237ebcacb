"""Any sequence of inputs, against a plain Python twin of the position and the account."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kestrel_libkernel import (
    Code,
    Config,
    Enter,
    Exit,
    Fact,
    Fill,
    Instrument,
    Kernel,
    OrderReport,
    OrderType,
    Side,
    Stage,
    TimeInForce,
    bindings,
)

INSTRUMENTS = [Instrument(symbol, price_scale=4, qty_scale=0) for symbol in ("FET-USDT", "ADA-USDT")]
AMOUNT = 10_000  # one unit of price x one unit of quantity, at amount_scale 8
SLOTS = 2
ENDED = {Stage.IDLE, Stage.TERMINAL_WRITTEN}


class Trading(RuleBasedStateMachine):
    """Enter, report, fill and leave in any order; every fill has a price, so the books must be exact."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config("TWIN", slot_count=SLOTS, seed_capital=10**14)
        self.kernel = Kernel(self.config)
        self.step = 0
        self.orders: dict[str, tuple[str, Side]] = {}
        self.filled: dict[str, list[tuple[Side, int, int]]] = {}
        self.stages = [Stage.IDLE] * SLOTS

    def teardown(self) -> None:
        self.kernel.close()

    def apply(self, kind: Any, **fields: Any) -> Any:
        self.step += 1
        before = self.kernel.digest()
        result = self.kernel.apply(
            kind(now_ns=self.step, sequence=self.step, event_id=f"event-{self.step}", **fields)
        )  # fmt: skip
        assert (self.kernel.digest() == before) is not result.outcome.accepted
        for move in result.transitions:
            assert self.stages[move.slot_index] == move.from_stage
            stayed = move.from_stage == move.to_stage
            assert stayed or bindings.stage_may_follow(move.from_stage, move.to_stage)
            self.stages[move.slot_index] = move.to_stage
        return result

    @rule(side=st.sampled_from([Side.BUY, Side.SELL]), qty=st.integers(1, 100), instrument=st.sampled_from(INSTRUMENTS))
    def enter(self, side: Side, qty: int, instrument: Instrument) -> None:
        trade, order = f"trade-{self.step}", f"entry-{self.step}"
        busy = [slot.instrument.symbol for slot in self.kernel.slots() if self.stages[slot.slot_index] not in ENDED]
        expected = Code.SYMBOL_BUSY if instrument.symbol in busy else Code.OK
        result = self.apply(
            Enter, trade_id=trade, client_order_id=order, instrument=instrument, side=side,
            order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY, qty=qty, leverage=1,
        )  # fmt: skip
        assert result.outcome.code is (Code.SLOT_BUSY if len(busy) == SLOTS else expected)
        if result.outcome.accepted:
            self.orders[order], self.filled[trade] = (trade, side), []

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), fact=st.sampled_from([f for f in Fact if f not in (Fact.NONE, Fact.TRADED)]))
    def report(self, data: st.DataObject, fact: Fact) -> None:
        order = data.draw(st.sampled_from(sorted(self.orders)))
        self.apply(OrderReport, client_order_id=order, fact=fact)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), qty=st.integers(1, 60), price=st.integers(1, 3000))
    def fill(self, data: st.DataObject, qty: int, price: int) -> None:
        order = data.draw(st.sampled_from(sorted(self.orders)))
        trade, side = self.orders[order]
        result = self.apply(
            Fill, client_order_id=order, execution_id=f"x-{self.step}", side=side, qty=qty, qty_scale=0, price=price,
            price_scale=4, fee=1,
        )  # fmt: skip
        if result.outcome.accepted:
            self.filled[trade].append((side, qty, price))
        else:
            assert result.outcome.code is Code.UNRESOLVED_SLOT  # its slot has another trade by now

    @precondition(lambda self: self.filled)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        trade, order = data.draw(st.sampled_from(sorted(self.filled))), f"exit-{self.step}"
        result = self.apply(Exit, trade_id=trade, client_order_id=order)
        for command in result.commands:
            if command.client_order_id == order:
                assert 0 < command.qty <= command.open_qty
                self.orders[order] = (trade, command.side)

    @rule()
    def restart(self) -> None:
        saved, digest = self.kernel.save(), self.kernel.digest()
        self.kernel.close()
        self.kernel = Kernel(self.config)
        self.kernel.restore(saved)
        assert self.kernel.digest() == digest

    @invariant()
    def position_is_the_sum_of_its_fills(self) -> None:
        for slot in self.kernel.slots():
            fills = self.filled.get(slot.trade_id, [])
            assert slot.qty == sum(qty if side is Side.BUY else -qty for side, qty, _ in fills)

    @invariant()
    def flat_trade_has_realized_proceeds_less_cost(self) -> None:
        for slot in self.kernel.slots():
            fills = self.filled.get(slot.trade_id, [])
            if slot.qty == 0 and fills:
                cash = sum(-qty * price if side is Side.BUY else qty * price for side, qty, price in fills)
                assert slot.realized_pnl == cash * AMOUNT

    @invariant()
    def account_is_the_sum_of_what_it_booked(self) -> None:
        account = self.kernel.account()
        assert account.fees == sum(map(len, self.filled.values())) == account.execution_count
        assert account.capital == self.config.seed_capital + account.realized_pnl - account.fees
        assert account.open_slot_count == sum(stage not in ENDED for stage in self.stages)

    @invariant()
    def slot_views_say_what_transitions_told(self) -> None:
        for slot in self.kernel.slots():
            assert slot.stage == self.stages[slot.slot_index]
            assert slot.is_free == (slot.stage in ENDED)


TestTrading = Trading.TestCase
TestTrading.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
