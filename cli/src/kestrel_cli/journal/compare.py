"""Two journals side by side: the first entry in which they differ, and both sides of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from kestrel_chassis.journal_file import EntryRecord, RecordKind
from kestrel_cli.journal.replay import Step, input_fields, kind_of
from kestrel_domain.numbers import Number
from kestrel_libkernel import Kernel
from kestrel_libkernel.bindings import code_name

_AVERAGE_PRICE_EXTRA_SCALE = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One fact, as each side has it."""

    name: str
    a: str
    b: str

    @property
    def is_same(self) -> bool:
        return self.a == self.b


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first entry that is not the same on both sides."""

    sequence: int
    rows: list[Row]

    @property
    def fields(self) -> list[str]:
        return [row.name for row in self.rows if not row.is_same]


def difference(a: Step, b: Step) -> Divergence | None:
    """None when both steps are the same entry, with the same input, answer and state."""
    if _identity(a) == _identity(b):
        return None
    return Divergence(a.entry.sequence, list(side_by_side(a, b)))


def _identity(step: Step) -> tuple[object, ...]:
    entry, result = step.entry, step.result
    answer = (result.accepted, result.code) if result else ()
    comparable = (entry.kind, entry.sequence, entry.hash, entry.previous_hash, entry.input_sequence, entry.input)
    return (*comparable, entry.digest, entry.code, entry.accepted, step.digest, answer)


def side_by_side(a: Step, b: Step) -> Iterator[Row]:
    """Every fact of the entry, its input, its answer and the views after it, that either side has."""
    for section in (_entry_facts, _input_facts, _answer_facts, _view_facts):
        facts_a, facts_b = section(a), section(b)
        for name in dict.fromkeys(chain(facts_a, facts_b)):
            yield Row(name, facts_a.get(name, "-"), facts_b.get(name, "-"))


def _entry_facts(step: Step) -> dict[str, str]:
    entry = step.entry
    return {
        "what": kind_of(entry),
        "account": entry.account,
        "input sequence": str(entry.input_sequence),
        "input time": str(entry.input_time_ns),
        "entry hash": entry.hash.hex(),
        "previous hash": entry.previous_hash.hex(),
    }


def _input_facts(step: Step) -> dict[str, str]:
    if step.entry.kind is not RecordKind.INPUT:
        return {}
    return {f"input.{name}": value for name, value in input_fields(step.entry.input).items()}


def _answer_facts(step: Step) -> dict[str, str]:
    entry: EntryRecord = step.entry
    if entry.kind is not RecordKind.INPUT:
        return {}
    facts = {"journaled outcome": code_name(entry.code), "journaled digest": entry.digest.hex()}
    if step.result is None:
        return facts
    outcome = step.result.outcome
    facts |= {"outcome": outcome.code.name, "digest": step.digest.hex(), "trade": outcome.trade_id}
    if not outcome.accepted:
        facts["refused because"] = f"{outcome.field}: {outcome.rule}"
    for place, each in enumerate(step.result.transitions):
        facts[f"transition {place}"] = f"slot {each.slot_index} {each.from_stage.name} → {each.to_stage.name}"
    for place, anomaly in enumerate(step.result.anomalies):
        facts[f"anomaly {place}"] = anomaly.code.name
    return facts


def _view_facts(step: Step) -> dict[str, str]:
    if step.kernel is None:
        return {}
    return {**account_facts(step.kernel), **slot_facts(step.kernel)}


def account_facts(kernel: Kernel) -> dict[str, str]:
    """The account's figures."""
    view = kernel.account()
    names = ("capital", "equity", "realized_pnl", "unrealized_pnl", "fees", "funding", "wallet", "gross_exposure")
    return {name.replace("_", " "): str(Number(getattr(view, name), view.amount_scale)) for name in names}


def slot_facts(kernel: Kernel) -> dict[str, str]:
    """Each slot that was ever used."""
    facts: dict[str, str] = {}
    amount_scale = kernel.config.amount_scale
    for slot in kernel.slots():
        if not slot.trade_sequence:
            continue
        instrument = slot.instrument
        begin = f"slot {slot.slot_index}"
        facts[f"{begin} trade"] = f"{slot.trade_id} {instrument.symbol}"
        facts[f"{begin} stage"] = f"{slot.stage.name} {slot.lifecycle.name}"
        facts[f"{begin} position"] = str(Number(slot.qty, instrument.qty_scale))
        if slot.entry_price is not None:
            scale = instrument.price_scale + _AVERAGE_PRICE_EXTRA_SCALE
            facts[f"{begin} entry price"] = str(Number(slot.entry_price, scale))
        facts[f"{begin} realized pnl"] = str(Number(slot.realized_pnl, amount_scale))
        facts[f"{begin} fees"] = str(Number(slot.fees, amount_scale))
    return facts


def position_after(step: Step) -> str:
    """The position of the trade an input was about, in words: ``10 AAPL``."""
    if step.result is None or step.kernel is None or step.result.outcome.slot_index is None:
        return ""
    slot = step.kernel.slot(step.result.outcome.slot_index)
    return f"{Number(slot.qty, slot.instrument.qty_scale)} {slot.instrument.symbol}"
