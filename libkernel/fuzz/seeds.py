"""Write the seed corpus: the golden replays as the bytes that decode.h reads.

python libkernel/fuzz/seeds.py            write fuzz/corpus/
python libkernel/fuzz/seeds.py --check    fail when what is committed is not what would be written

Identifiers become numbers of decode.h's alphabets in the order of their first use; a figure that the form cannot hold
is cut. A seed need not mean what the golden means: it has to lead a fuzzer to where interesting states begin.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / "include" / "lk" / "lk.h"
GOLDENS = HERE.parent / "tests" / "golden"
CORPUS = HERE / "corpus"
RECORD = struct.Struct("<12BIIi")
STEPS_NS = (0, 1, 1000, 1_000_000, 1_000_000_000, 30_000_000_000, 60_000_000_000, 61_000_000_000)
SCALES = ((4, 0), (4, 0), (4, 0), (4, 0), (2, 0), (6, 1), (0, 4), (4, 2))
LEGS: tuple[list[int], ...] = ([], [5000, 10000], [3333, 5000, 10000], [100] * 7 + [10000])
FLAGS = {"QTY": 1, "PRICE": 2, "STOP": 4, "TARGET": 8, "REFERENCE": 16, "FEE": 32, "AMOUNT": 64, "AVAILABLE": 128}
NEAR = 1
"""The bit of a BALANCE's salt that makes its amount a distance from our capital."""
CHANGES = (struct.pack("<HHBB", at, 640, how, 3) for how in range(5) for at in (40, 420, 900, 1300, 2000, 2600))


def names_of(header: str, macro: str) -> dict[str, int]:
    """The members of one list of lk.h, with their values."""
    match = re.search(rf"#define {macro}\(X\)((?:.*\\\n)*.*)", header)
    if match is None:
        raise SystemExit(f"{HEADER.name} has no list {macro}")
    return {name: value for value, name in enumerate(re.findall(r"\bX\((\w+)", match[1]))}


class Encoder:
    """The numbers that one golden's identifiers have been given so far."""

    def __init__(self, lists: dict[str, dict[str, int]]) -> None:
        self._lists = lists
        self._numbers: dict[tuple[str, str], int] = {}
        self._events: dict[str, int] = {}
        self._count = 0
        self._now_ns = 0

    def _number(self, alphabet: str, text: str) -> int:
        used = sum(1 for name, _ in self._numbers if name == alphabet)
        return self._numbers.setdefault((alphabet, text), used)

    def _order(self, text: str) -> int:
        if not text:
            return 0x80
        root, dash, slot = text.rpartition("-")
        if self._is_protective(text):
            return self._number("order", root) % 32 | (0x20 if slot == "T" else 0)
        if dash and ("order", root) in self._numbers and slot in ("00", "01", "02"):
            return self._number("order", root) % 32 | (int(slot) + 1) << 5
        return self._number("order", text) % 32

    def _is_protective(self, text: str) -> bool:
        root, _, letter = text.rpartition("-")
        return ("order", root) in self._numbers and letter in ("S", "T")

    def _repeated(self, event_id: str) -> int:
        """How many inputs ago this event id was used; 0: never."""
        return self._count - self._events.setdefault(event_id, self._count) if event_id else 0

    def record(self, given: dict[str, Any]) -> bytes:
        kind = self._lists["LK_INPUT_KINDS"][given["kind"]]
        symbol, strategy = given.get("symbol", ""), given.get("strategy", "")
        trade = self._number("trade", given["trade_id"]) % 8 if given.get("trade_id") else 0
        trade |= self._number("symbol", symbol) % 4 << 3 if symbol else 0
        trade |= (self._number("strategy", strategy) % 3 + 1) << 5 if strategy else 0
        venue = self._number("venue", given["venue_order_id"]) % 15 + 1 if given.get("venue_order_id") else 0
        is_sell = given.get("side") == "SELL" or (given["kind"] == "ADOPT" and given.get("qty", 0) < 0)
        venue |= 0x10 if is_sell else 0
        venue |= self._lists["LK_LIQUIDITIES"][given.get("liquidity", "NONE")] << 5
        venue |= 0x80 if self._is_protective(given.get("client_order_id", "")) else 0
        execution = self._number("execution", given["execution_id"]) % 64 if given.get("execution_id") else 0
        back = self._repeated(given.get("event_id", ""))
        legs = given.get("exit_leg_bps", [])
        leg_kind = next((i for i, known in enumerate(LEGS) if legs == known), 1)
        terms = self._lists["LK_ORDER_TYPES"][given.get("order_type", "NONE")]
        terms |= self._lists["LK_TIMES_IN_FORCE"][given.get("time_in_force", "NONE")] << 3 | leg_kind << 6
        fact = self._lists["LK_ORDER_FACTS"][given.get("order_fact", "NONE")]
        fact |= max(given.get("leverage", 1) - 1, 0) % 3 << 4
        flags = sum(FLAGS.get(name.removeprefix("HAS_"), 0) for name in given.get("flags", []))
        is_bracket = "BRACKET" in given.get("flags", [])
        flags |= FLAGS["AVAILABLE"] if is_bracket else 0
        step = self._time(given) | self._scales(given) << 5
        distance = abs(given.get("target_price", 0) - given.get("price", given.get("target_price", 0)))
        salt = (
            back - 1
            if back
            else distance
            if is_bracket
            else NEAR
            if given["kind"] == "BALANCE"
            else max(given.get("fee", 0), 0) // 1000
        )
        amount = 0 if given["kind"] == "BALANCE" else given.get("amount", 0)
        self._count += 1
        return RECORD.pack(
            kind,
            trade,
            self._order(given.get("client_order_id", "")),
            venue,
            execution | (0xC0 if back else 0),
            terms,
            fact,
            flags,
            step,
            0,
            salt % 256,
            0,
            abs(given.get("qty", 0)) % 2**32,
            abs(given.get("price", 0)) % 2**32,
            max(-(2**31), min(2**31 - 1, amount)),
        )

    def _time(self, given: dict[str, Any]) -> int:
        """The step of decode.h that is nearest to how much time has passed."""
        passed = given.get("now_ns", 0) - self._now_ns if self._now_ns else 1
        self._now_ns = given.get("now_ns", self._now_ns)
        return min(range(len(STEPS_NS)), key=lambda i: abs(STEPS_NS[i] - passed))

    @staticmethod
    def _scales(given: dict[str, Any]) -> int:
        pair = (given.get("price_scale", 4), given.get("qty_scale", 0))
        return SCALES.index(pair) if pair in SCALES else 0


def records_of(golden: dict[str, Any], lists: dict[str, dict[str, int]]) -> bytes:
    encoder = Encoder(lists)
    restart = RECORD.pack(255, *[0] * 14)
    return b"".join(encoder.record(step["input"]) if "input" in step else restart for step in golden["steps"])


def config_byte(golden: dict[str, Any]) -> int:
    slots = min(int(golden["config"].get("slot_count", 1)), 4) - 1
    return slots | 1 << 2 | 1 << 4 | (0x80 if golden["config"].get("funding_interval_ns") else 0)


def corpus() -> dict[Path, bytes]:
    """Every seed, by its path below corpus/."""
    header = HEADER.read_text()
    macros = ("INPUT_KINDS", "ORDER_FACTS", "ORDER_TYPES", "TIMES_IN_FORCE", "LIQUIDITIES")
    lists = {f"LK_{name}": names_of(header, f"LK_{name}") for name in macros}
    changes = list(CHANGES)
    seeds: dict[Path, bytes] = {}
    for index, path in enumerate(sorted(GOLDENS.glob("*.json"))):
        golden = json.loads(path.read_text())
        records = records_of(golden, lists)
        head = bytes([config_byte(golden)])
        seeds[Path("inputs") / path.stem] = head + records
        change = changes[index % len(changes)]
        seeds[Path("restore") / path.stem] = head + bytes([2, 1]) + change + records + records
    return seeds


def main() -> int:
    seeds = corpus()
    present = {path.relative_to(CORPUS) for path in CORPUS.rglob("*") if path.is_file()}
    if "--check" in sys.argv[1:]:
        fresh = all((CORPUS / name).is_file() and (CORPUS / name).read_bytes() == data for name, data in seeds.items())
        if fresh:
            return 0
        sys.stderr.write("fuzz/corpus is not what the goldens make: run libkernel/fuzz/seeds.py\n")
        return 1
    for name, data in seeds.items():
        (CORPUS / name).parent.mkdir(parents=True, exist_ok=True)
        (CORPUS / name).write_bytes(data)
    for name in present - set(seeds):
        if not name.name.startswith("found-"):
            (CORPUS / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
