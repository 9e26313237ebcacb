"""Generate the cffi binding's C from the public header.

python build_ffi.py            write src/kestrel_libkernel/_ffi.c
python build_ffi.py --check    fail when what is committed is not what would be generated

The declarations are read from ``lk/lk.h`` itself, and from ``crossing.h`` beside the output; they are compiled against
both (cffi API mode): a wrong one fails to build.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / "include" / "lk" / "lk.h"
CROSSING = HERE / "src" / "kestrel_libkernel" / "crossing.h"
OUTPUT = HERE / "src" / "kestrel_libkernel" / "_ffi.c"
CONSTANT = re.compile(r"^#define (LK_\w+) +(\S.*?) *$", re.MULTILINE)
"""With a value; macros that take arguments are none."""


def declarations(header: str, crossing: str) -> str:
    """What cffi shall know: constants, structs and functions, with array sizes as numbers and enums left open."""
    text, helpers = (_code_only(source) for source in (header, crossing))
    constants = {name: value for name, value in CONSTANT.findall(text) if not name.startswith("LK_API")}
    enums = re.findall(r"typedef enum \{ .*? (LK_\w+_COUNT) \} (lk_\w+);", text)
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "typedef enum")))
    body = re.sub(r"\bLK_API(_VOID)?\b", "", body).replace('extern "C" {', "")
    body = re.sub(r"\n}\s*\Z", "\n", body)
    body += "\n".join(re.findall(r"^typedef struct \{.*?\n\} \w+;", helpers, re.DOTALL | re.MULTILINE))
    heads = re.findall(r"^static (.*?\))\s*\{", helpers, re.DOTALL | re.MULTILINE)
    body += "".join(f"\n{head.strip()};" for head in heads if "lkpy_wire_t" not in head)  # a wire stays inside of C
    for name, value in constants.items():
        body = re.sub(rf"\[{name}\]", f"[{value.rstrip('u')}]", body)
    opened = [f"typedef enum {{ {count}, ... }} {name};" for count, name in enums]
    named = [f"#define {name} ..." for name in constants]
    return "\n".join([*named, *opened, re.sub(r"\n\s*\n+", "\n", body).strip(), ""])


def _code_only(source: str) -> str:
    return re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL).replace("\\\n", " ")


def generate(target: Path) -> None:
    ffi = cffi.FFI()
    ffi.cdef(declarations(HEADER.read_text(), CROSSING.read_text()))
    ffi.set_source("kestrel_libkernel._ffi", '#include "crossing.h"\n')
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
