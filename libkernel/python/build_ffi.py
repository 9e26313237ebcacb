"""Generate the cffi binding's C from the public header.

python build_ffi.py            write src/kestrel_libkernel/_ffi.c
python build_ffi.py --check    fail when what is committed is not what would be generated

The declarations are read from ``lk/lk.h`` itself, and compiled against it (cffi API mode): a wrong one fails to build.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / "include" / "lk" / "lk.h"
OUTPUT = HERE / "src" / "kestrel_libkernel" / "_ffi.c"
EXPORTED = ("LK_ABI_VERSION", "LK_SAVE_VERSION", "LK_SLOTS_MAX", "LK_WINDOW_DEFAULT", "LK_EVENTS_MAX")
CONSTANT = re.compile(r"#define (LK_\w+) (\(?[0-9][^/\n]*?)\s*(?:/\*.*)?$", re.MULTILINE)


def declarations(header: str) -> str:
    """What cffi shall know: structs and functions, with array sizes as numbers and enums left open."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL).replace("\\\n", " ")
    sizes = {name: value.rstrip("u") for name, value in CONSTANT.findall(header) if value.rstrip("u").isdigit()}
    enums = re.findall(r"typedef enum \{ .*? (LK_\w+_COUNT) \} (lk_\w+);", text)
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "typedef enum")))
    body = re.sub(r"\bLK_API(_VOID)?\b", "", body).replace('extern "C" {', "")
    body = re.sub(r"\n}\s*\Z", "\n", body)
    for name, value in sizes.items():
        body = re.sub(rf"\[{name}\]", f"[{value}]", body)
    opened = [f"typedef enum {{ {count}, ... }} {name};" for count, name in enums]
    constants = [f"#define {name} ..." for name in EXPORTED]
    return "\n".join([*constants, *opened, re.sub(r"\n\s*\n+", "\n", body).strip(), ""])


def generate(target: Path) -> None:
    ffi = cffi.FFI()
    ffi.cdef(declarations(HEADER.read_text()))
    ffi.set_source("kestrel_libkernel._ffi", '#include "lk/lk.h"\n')
    ffi.emit_c_code(str(target))


def main() -> int:
    if "--check" not in sys.argv[1:]:
        generate(OUTPUT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "_ffi.c"
        generate(fresh)
        if OUTPUT.exists() and fresh.read_bytes() == OUTPUT.read_bytes():
            return 0
    sys.stderr.write(f"{OUTPUT.name} is not what build_ffi.py makes of lk.h: run libkernel/python/build_ffi.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
