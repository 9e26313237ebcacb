"""Read from the objects what the manual promises: no floating point, no writable globals, next to nothing of libc.

python tools/purity.py OBJECT...    objects of src/*.c, compiled with -mgeneral-regs-only -fno-pic

Compiled so, an object has no floating-point register to use: arithmetic on a double would be a call of the compiler's
software routines (__adddf3 ...), which are not among the symbols allowed here; and tables of names lie among constants.
Only create may take memory: that nothing else does, at run time, is what tests/test_allocation.c watches.
"""

from __future__ import annotations

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
WRITABLE = "bBdDcCgGsS"
"""nm's letters for data that can be written to."""


def symbols_of(path: str) -> list[tuple[str, str]]:
    """Each symbol of an object: nm's letter, and the name."""
    listing = subprocess.run(["nm", "--format=posix", path], check=True, capture_output=True, text=True).stdout
    return [(line.split()[1], line.split()[0]) for line in listing.splitlines()]


def complaints_of(paths: list[str]) -> list[str]:
    symbols = {path: symbols_of(path) for path in paths}
    own = {name for listed in symbols.values() for letter, name in listed if letter in "TR"}
    complaints = []
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
