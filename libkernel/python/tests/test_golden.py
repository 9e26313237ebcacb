"""K22: recorded sequences, with the figures that must come out to the unit."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kestrel_libkernel import Instrument, Settlement, Side

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
CASES = sorted(GOLDEN.glob("*.json"))


def units(text: str | None, scale: int) -> int | None:
    return None if text is None else int(Decimal(text).scaleb(scale))


class Replay:
    """One file, step by step."""

    def __init__(self, desk: Any, case: dict[str, Any]) -> None:
        self.desk, self.case = desk, case
        self.instrument = Instrument(**case["instrument"])
        self.executions = 0
        self.seen: set[int] = set()

    def run(self) -> None:
        for step in self.case["steps"]:
            result = getattr(self, step["do"])(step)
            if result is not None:
                assert result.outcome.accepted, result.outcome
                self.seen.update(fill.realized_pnl for fill in result.fills)
            self.check(step.get("expect", {}))
            self.seen.add(self.desk.slot().realized_pnl)
            if "books" in step:
                assert [fill.realized_pnl for fill in result.fills] == [units(step["books"], 8)]
        self.check(self.case["expect"])
        for figure in self.case.get("never", []):
            assert units(figure, 8) not in self.seen

    def enter(self, step: dict[str, Any]) -> Any:
        self.side = Side[step["side"]]
        return self.desk.enter(side=self.side, qty=step["qty"], leverage=step["leverage"], instrument=self.instrument)

    def exit(self, step: dict[str, Any]) -> Any:
        return self.desk.leave()

    def fill(self, step: dict[str, Any]) -> Any:
        self.executions += 1
        side = self.side if step["order"] == "entry" else Side(3 - self.side)
        price = units(step["price"], self.instrument.price_scale)
        return self.desk.fill(step["order"], f"execution-{self.executions}", side, step["qty"], price)

    def settle(self, step: dict[str, Any]) -> Any:
        amount = units(step["realized_pnl"], 8)
        return self.desk.do(Settlement, execution_id=f"execution-{self.executions}", realized_pnl=amount)

    def restart(self, step: dict[str, Any]) -> None:
        self.desk.restart()

    def check(self, expected: dict[str, Any]) -> None:
        slot = self.desk.slot()
        for name, value in expected.items():
            actual = getattr(slot, name)
            if name == "realized_pnl":
                assert actual == units(value, 8)
                assert self.desk.account.realized_pnl == actual
            elif name == "entry_price":
                assert actual == units(value, self.instrument.price_scale + 4)
            else:
                assert getattr(actual, "name", actual) == value, name


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_golden_replay_comes_out_to_the_unit_K22(path: Path, desk: Any) -> None:
    Replay(desk, json.loads(path.read_text())).run()


def test_leverage_one_and_three_realize_the_same_K04_K22(make_desk: Any) -> None:
    results = []
    for name in ("fet_clean_exit", "fet_leverage_three"):
        desk = make_desk()
        Replay(desk, json.loads((GOLDEN / f"{name}.json").read_text())).run()
        results.append((desk.slot().realized_pnl, desk.account.capital, desk.account.equity))
    assert results[0] == results[1]


def test_protective_bound_as_a_price_would_have_booked_the_old_loss_K22(desk: Any) -> None:
    """Without leverage the bound alone would book -1,071.4884, a third of the incident's -3,214.4652: both are wrong,
    and neither can arise, because a bound never reaches the kernel as a price (K08)."""
    desk.enter(side=Side.SELL, qty=202276, leverage=3)
    desk.fill("entry", "e1", Side.SELL, 202276, 1878)
    desk.leave()
    desk.fill("exit", "x1", Side.BUY, 26007, 2290)
    assert desk.slot().realized_pnl == units("-1071.4884", 8)
    assert 3 * desk.slot().realized_pnl == units("-3214.4652", 8)
