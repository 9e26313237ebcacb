"""Golden replays of libkernel: recorded stories with the figures that must come out, and the digest after each input.

    python tools/kernel_goldens.py            # replay all; say what differs; exit code 1 if anything does
    python tools/kernel_goldens.py --digests  # write the digests anew, and nothing else

Figures are written by people, and derived by hand in the file; only digests are written by this tool, since a new form
of the state changes all of them and none of the figures. The format is in libkernel/tests/golden/README.md.

Fields are set and read by their names in ``lk/lk.h``, through the compiled binding: no list of fields is kept here.
"""

from __future__ import annotations

import ast
import json
import operator
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kestrel_libkernel import _ffi
from tools import kernel_header

GOLDEN = kernel_header.LIBKERNEL / "tests" / "golden"
WIDTH = 118
NO_SLOT = 0xFFFFFFFF

ffi, lib = _ffi.ffi, _ffi.lib
Case = dict[str, Any]
Values = dict[str, Any]

# --- names ------------------------------------------------------------------------------------------------------------

LISTS = {
    "order_fact": "LK_ORDER_FACTS", "side": "LK_SIDES", "order_type": "LK_ORDER_TYPES",
    "time_in_force": "LK_TIMES_IN_FORCE", "liquidity": "LK_LIQUIDITIES", "severity": "LK_SEVERITIES",
    "code": "LK_CODES", "field": "LK_FIELDS", "command": "LK_COMMANDS", "life": "LK_LIVES",
    "stage": "LK_STAGES", "from_stage": "LK_STAGES", "to_stage": "LK_STAGES",
    "lifecycle": "LK_LIFECYCLES", "from_lifecycle": "LK_LIFECYCLES", "to_lifecycle": "LK_LIFECYCLES",
    "pnl_source": "LK_PNL_SOURCES", "capital_source": "LK_CAPITAL_SOURCES", "ledger_status": "LK_LEDGER_STATUSES",
    "ledger_cause": "LK_LEDGER_CAUSES",
}  # fmt: skip
"""Fields that hold a value of a list, and which, if not a list of the struct's own."""

OWN_LISTS = {
    ("lk_input_t", "kind"): "LK_INPUT_KINDS", ("lk_event_t", "kind"): "LK_EVENT_KINDS",
    ("lk_fee_view_t", "status"): "LK_FEE_STATUSES",
}  # fmt: skip
FLAGS = {"lk_input_t": "LK_HAS_", "lk_event_t": "LK_EVENT_"}
NOT_COMPARED = frozenset({"reserved", "reserved_2", "event_first", "event_count"})
"""Places in the caller's buffer, and padding: no part of the answer."""


def _list_of(struct: str, field: str) -> tuple[str, ...] | None:
    name = OWN_LISTS.get((struct, field)) or LISTS.get(field)
    return kernel_header.names(name) if name else None


def _bits_of(struct: str, field: str) -> dict[str, int] | None:
    if field == "freeze_flags":
        return kernel_header.bits("LK_FREEZE_")
    if field != "flags":
        return None
    lead = "HAS_" if struct == "lk_input_t" else ""
    bits = {lead + name: bit for name, bit in kernel_header.bits(FLAGS[struct]).items()}
    return bits | ({"BRACKET": int(lib.LK_BRACKET)} if lead else {})


# --- structs by name --------------------------------------------------------------------------------------------------


def fill(target: Any, struct: str, values: Values) -> None:
    """Set fields of a zeroed struct. Lists and flags by name, amounts as integers, texts as text."""
    for name, value in values.items():
        members, bits = _list_of(struct, name), _bits_of(struct, name)
        if bits is not None:
            value = sum(bits[each] for each in value)
        elif members is not None:
            value = members.index(value)
        place = getattr(target, name)
        if isinstance(value, str):
            place.text = value.encode("ascii")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                place[index] = each
        elif isinstance(place, int):
            setattr(target, name, value)
        else:
            place.units = value


def _slots_of(words: Any) -> list[int]:
    parts = [words] if isinstance(words, int) else list(words)
    return [64 * at + bit for at, word in enumerate(parts) for bit in range(64) if word >> bit & 1]


def _plain(struct: str, name: str, value: Any) -> Any:
    members, bits = _list_of(struct, name), _bits_of(struct, name)
    if name == "changed_slots":
        return _slots_of(value)
    if bits is not None:
        return [each for each, bit in bits.items() if value & bit]
    if members is not None:
        return members[value]
    if isinstance(value, int):
        return None if name == "slot_index" and value == NO_SLOT else value
    kind = ffi.typeof(value)
    if kind.kind == "array":
        return list(value)
    fields = [field for field, _ in kind.fields]
    if fields == ["text"]:
        return bytes(ffi.buffer(value.text)).rstrip(b"\0").decode("ascii")
    return value.units if fields == ["units"] else read(value, kind.cname)


def read(source: Any, struct: str) -> Values:
    """All fields of a struct, as ``fill`` takes them."""
    fields = [name for name, _ in ffi.typeof(struct).fields if name not in NOT_COMPARED]
    return {name: _plain(struct, name, getattr(source, name)) for name in fields}


def _is_nothing(value: Any) -> bool:
    return value in (0, "", "NONE", None) or value == []


def stated(values: Values) -> Values:
    """Without the fields that are 0 (NONE, a code OK) or empty; a slot index is left out when there is no slot."""
    return {
        name: value
        for name, value in values.items()
        if (value is not None if name == "slot_index" else not _is_nothing(value) and (name, value) != ("code", "OK"))
    }


# --- replay -----------------------------------------------------------------------------------------------------------


class Machine:
    """One kernel, driven by what a golden file says."""

    def __init__(self, config: Values) -> None:
        self._config = ffi.new("lk_config_t *")
        fill(self._config, "lk_config_t", {"abi_version": lib.lk_abi_version(), **config})
        self._outcome = ffi.new("lk_outcome_t *")
        self._capacity = 6 * max(64, config["slot_count"])
        self._events = ffi.new("lk_event_t[]", self._capacity)
        self.slot_count = config["slot_count"]
        self._kernel = self._create()

    def _create(self) -> Any:
        out = ffi.new("lk_kernel_t **")
        _require_ok(lib.lk_kernel_create(self._config, out))
        return ffi.gc(out[0], lib.lk_kernel_destroy)

    def apply(self, values: Values) -> tuple[Values, list[Values]]:
        """The outcome and the events of one input."""
        one = ffi.new("lk_input_t *")
        fill(one, "lk_input_t", values)
        _require_ok(lib.lk_kernel_apply(self._kernel, one, self._outcome, self._events, self._capacity))
        count = self._outcome.event_count
        outcome = stated(read(self._outcome, "lk_outcome_t"))
        return outcome, [stated(read(self._events[index], "lk_event_t")) for index in range(count)]

    def restart(self) -> None:
        """Save, forget everything, restore."""
        size = ffi.new("size_t *")
        _require_ok(lib.lk_kernel_save_size(self._kernel, size))
        data = ffi.new("uint8_t[]", size[0])
        _require_ok(lib.lk_kernel_save(self._kernel, data, size[0], size))
        ffi.release(self._kernel)
        self._kernel = self._create()
        _require_ok(lib.lk_kernel_restore(self._kernel, data, size[0]))

    def slot(self, index: int) -> Values:
        view = ffi.new("lk_slot_view_t *")
        _require_ok(lib.lk_kernel_slot(self._kernel, index, view))
        return read(view, "lk_slot_view_t")

    def account(self) -> Values:
        view = ffi.new("lk_account_view_t *")
        _require_ok(lib.lk_kernel_account(self._kernel, view))
        return read(view, "lk_account_view_t")

    def digest(self) -> str:
        out = ffi.new("uint8_t[32]")
        _require_ok(lib.lk_kernel_digest(self._kernel, out))
        return bytes(ffi.buffer(out)).hex()


def _require_ok(status: int) -> None:
    if status != 0:
        raise ValueError(ffi.string(lib.lk_status_name(status)).decode())


def _compared(where: str, expected: Values, actual: Values) -> Iterator[str]:
    """Only what is expected is looked at; a field of a view that is 0, NONE or empty may be written so or be null."""
    for name, value in expected.items():
        if name not in actual:
            yield f"{where}.{name}: there is no such field"
        elif isinstance(value, dict):
            yield from _compared(f"{where}.{name}", value, actual[name])
        elif actual[name] != value and not (_is_nothing(value) and _is_nothing(actual[name])):
            yield f"{where}.{name}: expected {value!r}, came {actual[name]!r}"


def _answered(where: str, expected: Values, actual: Values) -> Iterator[str]:
    """All of an outcome or an event is looked at."""
    for name in [*expected, *(name for name in actual if name not in expected)]:
        if expected.get(name) != actual.get(name):
            yield f"{where}.{name}: expected {expected.get(name)!r}, came {actual.get(name)!r}"


def _figures(values: Any) -> Iterator[tuple[str, Any]]:
    """Every (field, value), however deep."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _figures(value)
        else:
            yield name, value


class Replay:
    """One golden file, step by step; ``problems`` says where the library and the file differ."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.machine = Machine(case["config"])
        self.problems: list[str] = []
        self.digests: list[str] = [self.machine.digest()]
        self._never = {(each["figure"], each["units"]) for each in case.get("never", [])}

    def run(self) -> list[str]:
        for number, step in enumerate(self.case["steps"], 1):
            self._step(f"step {number}", step)
        return self.problems

    def _step(self, where: str, step: Values) -> None:
        events: list[Values] = []
        outcome: Values = {}
        if "restart" in step:
            self.machine.restart()
        else:
            outcome, events = self.machine.apply(step["input"])
            self._check_answer(where, step, outcome, events)
        slots = [self.machine.slot(index) for index in range(self.machine.slot_count)]
        account = self.machine.account()
        for index, expected in step.get("slots", {}).items():
            self.problems += _compared(f"{where}: slot {index}", expected, slots[int(index)])
        self.problems += _compared(f"{where}: account", step.get("account", {}), account)
        for seen in (outcome, *events, *slots, account):
            self.problems += [f"{where}: the wrong figure {pair}" for pair in _figures(seen) if self._is_never(pair)]
        self._check_digest(where, step, outcome)

    def _is_never(self, pair: tuple[str, Any]) -> bool:
        return isinstance(pair[1], int) and pair in self._never

    def _check_answer(self, where: str, step: Values, outcome: Values, events: list[Values]) -> None:
        expected = step.get("events", [])
        self.problems += _answered(f"{where}: outcome", step["outcome"], outcome)
        if len(expected) != len(events):
            kinds = [event["kind"] for event in events]
            self.problems.append(f"{where}: expected {len(expected)} events, came {kinds}")
        for index, (one, other) in enumerate(zip(expected, events, strict=False)):
            self.problems += _answered(f"{where}: event {index} ({one['kind']})", one, other)

    def _check_digest(self, where: str, step: Values, outcome: Values) -> None:
        before, now = self.digests[-1], self.machine.digest()
        if ("restart" in step or not outcome.get("accepted")) and now != before:
            self.problems.append(f"{where}: the digest changed, and nothing may have")
        if step["digest"] != now:
            self.problems.append(f"{where}: expected digest {step['digest']}, came {now}")
        self.digests.append(now)


# --- arithmetic by hand -----------------------------------------------------------------------------------------------

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv
}  # fmt: skip
_ROUNDINGS: dict[str, Callable[[Fraction], int]] = {"up": ceil, "down": floor, "even": round}


def _value(node: ast.expr, scale: int) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, scale)
    if isinstance(node, ast.BinOp):
        return Fraction(_OPERATORS[type(node.op)](_value(node.left, scale), _value(node.right, scale)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        unit = Fraction(10) ** scale
        return _ROUNDINGS[node.func.id](_value(node.args[0], scale) * unit) / unit
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")


def evaluate(text: str, scale: int) -> Fraction:
    """``202,276 x (0.1878 - 0.1866)``, exactly; ``up``, ``down`` and ``even`` round to ``scale`` decimals."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text).replace(" x ", " * ").replace("−", "-")
    decimals = re.sub(r"\b\d+(?:\.\d+)?\b", lambda found: f"'{found[0]}'", plain)
    return _value(ast.parse(decimals.strip(), mode="eval").body, scale)


def wrong_arithmetic(case: Case) -> list[str]:
    """Each derivation in the file, worked out again; and that its figure is one that the file expects."""
    problems = []
    expected = {pair for step in case["steps"] for pair in _expected_figures(step)}
    for each in [*case.get("by_hand", []), *case.get("never", [])]:
        left, _, right = each["because"].rpartition("=")
        result = evaluate(right, each["scale"])
        if evaluate(left, each["scale"]) != result:
            problems.append(f"{each['because']}: it is {float(evaluate(left, each['scale']))}")
        if result * 10 ** each["scale"] != each["units"]:
            problems.append(f"{each['because']}: {each['units']} units are something else")
    for each in case.get("by_hand", []):
        if (each["figure"], each["units"]) not in expected:
            problems.append(f"{each['figure']} = {each['units']} is derived, but nowhere expected")
    return problems


def _expected_figures(step: Values) -> Iterator[tuple[str, Any]]:
    parts = [step.get("outcome", {}), *step.get("events", []), *step.get("slots", {}).values(), step.get("account", {})]
    for part in parts:
        yield from ((name, value) for name, value in _figures(part) if isinstance(value, int))


# --- files ------------------------------------------------------------------------------------------------------------


def paths() -> list[Path]:
    return sorted(GOLDEN.glob("*.json"))


def load(path: Path) -> Case:
    case: Case = json.loads(path.read_text())
    return case


def _laid_out(value: Any, indent: int, lead: int = 0) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or indent + lead + len(line) <= WIDTH:
        return line
    pad = " " * (indent + 1)
    if isinstance(value, list):
        parts = [pad + _laid_out(each, indent + 1) for each in value]
        return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"
    if all(_is_short(each) for each in value.values()):
        return _flowed(value, indent)
    parts = [f"{pad}{json.dumps(key)}: " + _laid_out(each, indent + 1, len(key) + 4) for key, each in value.items()]
    return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) or (
        len(value) <= 8 and all(isinstance(each, int | str) for each in value)
    )


def _flowed(value: Values, indent: int) -> str:
    """A flat object over as many lines as it needs."""
    lines, line = [], "{"
    for index, (key, each) in enumerate(value.items()):
        part = f"{json.dumps(key)}: {json.dumps(each, ensure_ascii=False)}" + ("," if index + 1 < len(value) else "}")
        if len(line) > 1 and indent + len(line) + 1 + len(part) > WIDTH:
            lines.append(line)
            line = " " * (indent + 1)
        line += part if line.endswith(("{", " ")) else " " + part
    return "\n".join([*lines, line])


def laid_out(case: Case) -> str:
    """The one form in which golden files are written: an object to a line where it fits."""
    return _laid_out(case, 0) + "\n"


def write_digests() -> None:
    for path in paths():
        case = load(path)
        replay = Replay(case)
        replay.run()
        for step, digest in zip(case["steps"], replay.digests[1:], strict=True):
            step["digest"] = digest
        path.write_text(laid_out(case))


def check(path: Path) -> list[str]:
    case = load(path)
    found = [*wrong_arithmetic(case), *Replay(case).run()]
    if laid_out(case) != path.read_text():
        found.append("not laid out as this tool writes it")
    return [f"{path.stem}: {problem}" for problem in found]


def main() -> int:
    if "--digests" in sys.argv[1:]:
        write_digests()
    problems = [problem for path in paths() for problem in check(path)]
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
