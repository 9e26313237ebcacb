"""How the demo comes to its end."""

from __future__ import annotations

from typing import Any

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_cli.demo.events import Totals
from kestrel_cli.demo.scenario import Pace, Scenario
from kestrel_cli.demo.screen import Screen
from kestrel_cli.demo.stage import Stage


class LateKernel:
    """Its newest input is an entry. It reads it when it has been asked once, whatever was asked."""

    account = "PAPER-1"

    def __init__(self) -> None:
        self.questions = 0
        self.exits: list[str] = []

    async def open_slots(self) -> list[Any]:
        self.questions += 1
        if self.questions == 1 or self.exits:
            return []
        entered = state_pb2.SlotSnapshot(trade_id="t-1", qty=common_pb2.Decimal(units=5))
        entered.instrument.symbol = "IBM"
        return [entered]

    async def has_journaled_all(self, bus: Any) -> bool:
        self.questions += 1
        return self.questions > 1

    async def exit(self, trade_id: str, reason: str) -> None:
        self.exits.append(trade_id)


async def test_a_trade_whose_entry_is_read_between_two_questions_is_left_before_the_demo_is_over() -> None:
    desk: Any = LateKernel()
    bus: Any = None
    stage = Stage(desk, Screen(Totals(), quiet=True), seed=7)
    await Scenario(stage, bus, [], 0, Pace(0.0, 0.0))._close_everything()
    assert desk.exits == ["t-1"]
    assert stage.story.flat
    assert stage.story.problems == []
