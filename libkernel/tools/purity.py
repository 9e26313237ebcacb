"""Read from the objects what the manual promises: no floating point, no writable globals, next to nothing of libc.

python tools/purity.py OBJECT...    objects of src/*.c, compiled with -fno-pic: tables of names lie among constants

Arithmetic on a float shows in the disassembly: as an instruction that adds, multiplies, compares or converts floats,
or as a call of the compiler's software routines (__adddf3 ...), which are not among the symbols allowed here. Moves and
bit operations in wide registers are no arithmetic: identifiers are copied and compared with them. Only create may take
memory: that nothing else does, at run time, is what tests/test_allocation.c watches.
"""

from __future__ import annotations

import re
import subprocess
import sys

ALLOWED = {
    "memcpy": "copies of plain structs",
    "memset": "zeroed padding, so that what is hashed is defined",
    "memcmp": "whole identifiers are compared, not hashes",
    "memmove": "the same as memcpy, where the compiler cannot tell",
    "calloc": "lk_kernel_create",
    "free": "lk_kernel_destroy",
    "abort": "a broken promise of ours stops the process",
    "fprintf": "its last words",
    "stderr": "where they go",
    "__fprintf_chk": "fprintf, where the compiler hardens it",
    **dict.fromkeys(("__divti3", "__modti3", "__divmodti4", "__udivti3", "__umodti3"), "128-bit integers, divided"),
    "__stack_chk_fail": "the compiler's own guard of the stack",
}
"""What src/ may use that is not its own, and what for."""
FLOATING = re.compile(
    r"""v?(add|sub|mul|div|sqrt|min|max|rcp|rsqrt|round|dp|hadd|hsub|addsub|u?comi|cmp[a-z]*)(ss|sd|ps|pd)\s.*%[xyz]mm
      | v?cvt\w+
      | v?fn?m(add|sub)\w+                                           # fused, of vectors
      | f(i?ld|i?st|i?add|i?sub|i?mul|i?div|u?com|i?com|sqrt|abs|chs|xch|rnd|scale|prem)\w*  # of the x87
      | (f(add|sub|n?mul|div|sqrt|cmp|ccmp|cvt|madd|msub|min|max|rint|abs|neg)|[su]cvtf)\w*  # of AArch64
    """,
    re.VERBOSE,
)
"""Instructions that compute with floats, as objdump writes them."""
WRITABLE = "bBdDcCgGsS"
"""nm's letters for data that can be written to."""


def symbols_of(path: str) -> list[tuple[str, str]]:
    """Each symbol of an object: nm's letter, and the name."""
    listing = subprocess.run(["nm", "--format=posix", path], check=True, capture_output=True, text=True).stdout
    return [(line.split()[1], line.split()[0]) for line in listing.splitlines()]


def floats_of(path: str) -> list[str]:
    """The functions of an object that compute with floats, each with the instruction."""
    listing = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    found, function = [], ""
    for line in listing.splitlines():
        if line.endswith(">:"):
            function = line.split("<")[1].removesuffix(">:")
        _, tab, instruction = line.partition(":\t")
        if tab and FLOATING.match(instruction):
            found.append(f"{function} computes with floats: {' '.join(instruction.split())}")
    return found


def complaints_of(paths: list[str]) -> list[str]:
    symbols = {path: symbols_of(path) for path in paths}
    own = {name for listed in symbols.values() for letter, name in listed if letter in "TR"}
    complaints = [f"{path}: {found}" for path in paths for found in floats_of(path)]
    for path, listed in symbols.items():
        for letter, name in listed:
            if letter in WRITABLE:
                complaints.append(f"{path}: {name} is a global that can be written to")
            elif letter == "U" and name not in own and name not in ALLOWED:
                complaints.append(f"{path}: {name} is not among what libkernel may use")
    return complaints


def main() -> int:
    paths = sys.argv[1:]
    if not paths:
        sys.exit("no objects given")
    complaints = complaints_of(paths)
    sys.stderr.writelines(f"{complaint}\n" for complaint in complaints)
    if not complaints:
        sys.stdout.write(
            f"ok {len(paths)} objects: no floating point, no writable global, no symbol that is not allowed\n"
        )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
