"""The reference alone, without the library, replays every golden story: outcomes, events, views and digests (K22)."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from tests.reference.digest import restore, save
from tests.reference.inputs import Config, Event, Input, Outcome, slot_words
from tests.reference.kernel import Kernel
from tests.reference.words import (
    CapitalSource,
    Code,
    CommandKind,
    EventKind,
    Fact,
    FeeStatus,
    InputKind,
    LedgerCause,
    LedgerStatus,
    Life,
    Lifecycle,
    Liquidity,
    OrderType,
    PnlSource,
    Severity,
    Side,
    Stage,
    TimeInForce,
)
from tests.reference.words import Field as InputField

GOLDEN = Path(__file__).resolve().parents[2] / "libkernel" / "tests" / "golden"
ENUMS: dict[str, type[IntEnum]] = {
    "capital_source": CapitalSource,
    "code": Code,
    "command": CommandKind,
    "field": InputField,
    "from_lifecycle": Lifecycle,
    "from_stage": Stage,
    "ledger_cause": LedgerCause,
    "ledger_status": LedgerStatus,
    "life": Life,
    "lifecycle": Lifecycle,
    "liquidity": Liquidity,
    "order_fact": Fact,
    "order_type": OrderType,
    "pnl_source": PnlSource,
    "severity": Severity,
    "side": Side,
    "stage": Stage,
    "status": FeeStatus,
    "time_in_force": TimeInForce,
    "to_lifecycle": Lifecycle,
    "to_stage": Stage,
}
INPUT_FLAG_NAMES = ["QTY", "PRICE", "STOP", "TARGET", "REFERENCE", "FEE", "AMOUNT", "AVAILABLE"]
INPUT_FLAGS = [*(f"HAS_{name}" for name in INPUT_FLAG_NAMES), "BRACKET"]
EVENT_FLAGS = ["IS_EXIT", "ROUTED_BY_STAGE", "HAS_PRICE", "FEE_PREDICTED", "BUSTED"]
FREEZE_FLAGS = ["OPERATOR", "LEDGER"]
STORIES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_the_reference_replays_the_golden_story_to_the_unit_and_the_digest_K22(path: Path) -> None:
    story = json.loads(path.read_text())
    config = Config(**_values(story["config"], kind=None, flags=[]))
    kernel = Kernel(config)
    for number, step in enumerate(story["steps"], 1):
        if "restart" in step:
            kernel.state = restore(save(kernel.state), config)
        else:
            _require_answer(kernel, step, f"step {number}")
        _require_views(kernel, step, f"step {number}")
        if "digest" in step:
            assert kernel.digest().hex() == step["digest"], f"step {number}"


def test_there_are_golden_stories_to_replay_K22() -> None:
    assert len(STORIES) >= 30


def _require_answer(kernel: Kernel, step: dict[str, Any], where: str) -> None:
    answer = kernel.apply(Input(**_values(step["input"], kind=InputKind, flags=INPUT_FLAGS)))
    expected = Outcome(**_values(step["outcome"], kind=None, flags=[]))
    expected.event_count = answer.outcome.event_count
    assert answer.outcome == expected, where
    events = [Event(**_values(event, kind=EventKind, flags=EVENT_FLAGS)) for event in step.get("events", [])]
    assert answer.events == events, where


def _require_views(kernel: Kernel, step: dict[str, Any], where: str) -> None:
    """Only the fields that the story names."""
    for index, expected in step.get("slots", {}).items():
        _require_fields(kernel.slot(int(index)), expected, f"{where}, slot {index}")
    if "account" in step:
        _require_fields(kernel.account(), step["account"], f"{where}, account")


def _require_fields(view: object, expected: dict[str, Any], where: str) -> None:
    assert expected.keys() <= {field.name for field in fields(view)}, where  # type: ignore[arg-type]
    for name, value in expected.items():
        actual = getattr(view, name)
        if isinstance(value, dict):
            _require_fields(actual, value, f"{where}.{name}")
        else:
            assert actual == _value(name, value, kind=None, flags=[]), f"{where}.{name}"


def _values(stated: dict[str, Any], *, kind: type[IntEnum] | None, flags: list[str]) -> dict[str, Any]:
    return {name: _value(name, value, kind=kind, flags=flags) for name, value in stated.items()}


def _value(name: str, value: Any, *, kind: type[IntEnum] | None, flags: list[str]) -> Any:
    """As the file writes it, as a plain value of the reference."""
    enum = kind if name == "kind" else ENUMS.get(name)
    if enum is not None:
        return enum[value]
    if name == "freeze_flags":
        return _bits(value, FREEZE_FLAGS)
    if name == "flags":
        return _bits(value, flags)
    if name == "changed_slots":
        return slot_words(set(value))
    if name == "exit_leg_bps":
        return (*value, *(0,) * (8 - len(value)))
    return value.encode() if isinstance(value, str) else value


def _bits(names: list[str], words: list[str]) -> int:
    return sum(1 << words.index(name) for name in names)
