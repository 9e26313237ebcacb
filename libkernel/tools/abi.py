"""The ABI of lk.h, compared with the last release's: whoever changes it must raise LK_ABI_VERSION.

python tools/abi.py --build build/abi             compare with abi/baseline.json
python tools/abi.py --build build/abi --rebase    make the present header the release that is compared with

The preprocessed header is parsed (pycparser, which cffi brings); sizes, offsets, enum values and constants are then
asked of the compiler, by a small generated program. Compared are structs (size; each field: offset, size, type), enums,
LK_ constants, and functions (result, parameters). A new function, enum value or constant at the end is a change as
well: an older library does not have it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from pycparser import c_ast, c_generator, c_parser  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "include" / "lk" / "lk.h"
BASELINE = ROOT / "abi" / "baseline.json"
VERSION = "LK_ABI_VERSION"
PRELUDE = """
typedef signed char int8_t; typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef int int32_t;
typedef unsigned int uint32_t; typedef long long int64_t; typedef unsigned long long uint64_t;
typedef unsigned long size_t;
"""
NOT_VALUES = {"LK_API", "LK_API_VOID", "LK_LK_H", "LK_X"}
"""Macros without a value of their own; lists and macros with parameters are left out by their form."""


def preprocessed(compiler: str) -> str:
    """The header without comments, attributes and system headers."""
    text = HEADER.read_text().replace("#include <stddef.h>", "").replace("#include <stdint.h>", "")
    command = [
        compiler,
        "-E",
        "-P",
        "-xc",
        "-D__attribute__(x)=",
        "-D_Static_assert(a,b)=",
        "-DLK_STATIC_SIZE(a,b)=",
        "-",
    ]
    done = subprocess.run(command, input=PRELUDE + text, capture_output=True, text=True, check=True)
    return re.sub(r"^\s*;\s*$", "", done.stdout, flags=re.MULTILINE)


def constants() -> list[str]:
    """The names of all constants that the header defines."""
    names = re.findall(r"^#define (LK_\w+) +[^\s\\]", HEADER.read_text(), re.MULTILINE)
    return sorted(set(names) - NOT_VALUES)


class Reader:
    """What the parsed header declares."""

    def __init__(self) -> None:
        self._text = c_generator.CGenerator()
        self.structs: dict[str, dict[str, str]] = {}
        self.enums: dict[str, list[str]] = {}
        self.functions: dict[str, str] = {}

    def read(self, tree: Any) -> None:
        for node in tree.ext:
            if isinstance(node, c_ast.Typedef):
                self._read_type(node)
            elif isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
                self.functions[node.name] = self._text.visit(node)

    def _read_type(self, node: Any) -> None:
        inner = node.type.type if isinstance(node.type, c_ast.TypeDecl) else None
        if isinstance(inner, c_ast.Struct) and inner.decls:
            self.structs[node.name] = {field.name: self._type(field.type, field.name) for field in inner.decls}
        if isinstance(inner, c_ast.Enum) and inner.values is not None:
            self.enums[node.name] = [item.name for item in inner.values.enumerators]

    def _type(self, node: Any, name: str) -> str:
        return re.sub(rf"\b{name}\b", "", str(self._text.visit(node))).strip().replace(" [", "[")


def asking_program(reader: Reader) -> str:
    """A C program that prints every number of the ABI, one `key value` a line."""
    lines = ["#include <stdio.h>", '#include "lk/lk.h"', '#define SAY(k, v) printf("%s %lld\\n", k, (long long)(v))']
    lines.append("int main(void) {")
    for struct, fields in reader.structs.items():
        lines.append(f'SAY("{struct}", sizeof({struct}));')
        for field in fields:
            lines.append(f'SAY("{struct}.{field}", offsetof({struct}, {field}));')
            lines.append(f'SAY("{struct}.{field}.size", sizeof((({struct} *)0)->{field}));')
    lines += [f'SAY("{name}", {name});' for names in reader.enums.values() for name in names]
    lines += [f'SAY("{name}", {name});' for name in constants()]
    return "\n".join([*lines, "return 0; }", ""])


def ask(reader: Reader, compiler: str, folder: Path) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    source, program = folder / "ask.c", folder / "ask"
    source.write_text(asking_program(reader))
    subprocess.run([compiler, "-std=c11", "-w", f"-I{ROOT / 'include'}", "-o", program, source], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    return {key: int(value) for key, value in (line.split() for line in printed.splitlines())}


def abi_of(compiler: str, folder: Path) -> dict[str, Any]:
    """The whole ABI as plain data."""
    reader = Reader()
    reader.read(c_parser.CParser().parse(preprocessed(compiler), str(HEADER)))
    number = ask(reader, compiler, folder)
    structs = {
        struct: {
            "size": number[struct],
            "fields": {
                field: {"type": kind, "offset": number[f"{struct}.{field}"], "size": number[f"{struct}.{field}.size"]}
                for field, kind in fields.items()
            },
        }
        for struct, fields in reader.structs.items()
    }
    return {
        "abi_version": number[VERSION],
        "constants": {name: number[name] for name in constants() if name != VERSION},
        "enums": {enum: {name: number[name] for name in names} for enum, names in reader.enums.items()},
        "structs": structs,
        "functions": dict(sorted(reader.functions.items())),
    }


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Each difference on a line, as a person would say it."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [f"{path}{key}: gone" for key in old if key not in new]
        found += [f"{path}{key}: new" for key in new if key not in old]
        return found + [line for key in old if key in new for line in differences(old[key], new[key], f"{path}{key}.")]
    return [] if old == new else [f"{path.rstrip('.')}: was {old}, is {new}"]


def compare(present: dict[str, Any]) -> int:
    """The process's exit status; says what differs."""
    if not BASELINE.exists():
        sys.stderr.write("no abi/baseline.json: make one with --rebase\n")
        return 1
    released = json.loads(BASELINE.read_text())
    found = differences({**released, "abi_version": 0}, {**present, "abi_version": 0})
    is_raised = present["abi_version"] > released["abi_version"]
    if not found and not is_raised:
        sys.stdout.write(f"ok the ABI is that of the last release, version {released['abi_version']}\n")
        return 0
    out = sys.stdout if is_raised else sys.stderr
    out.writelines(f"{line}\n" for line in found)
    if is_raised:
        sys.stdout.write(
            f"ok version {present['abi_version']} differs from the released {released['abi_version']}, as it says\n"
        )
        return 0
    sys.stderr.write(f"the ABI has changed since the release: raise {VERSION} ({present['abi_version']}) in lk.h\n")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--rebase", action="store_true")
    options = parser.parse_args()
    present = abi_of(options.cc, options.build)
    if not options.rebase:
        return compare(present)
    BASELINE.parent.mkdir(exist_ok=True)
    BASELINE.write_text(json.dumps(present, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
