"""Builds the binding together with the library: the C sources lie beside this folder, in ../src."""

import os
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent

SOURCES = ["src/kestrel_libkernel/_ffi.c"] + sorted(
    os.path.relpath(source, HERE) for source in (LIBRARY / "src").glob("*.c")
)
HEADERS = sorted(
    os.path.relpath(header, HERE)
    for header in [*(LIBRARY / "src").glob("*.h"), *(LIBRARY / "include" / "lk").glob("*.h")]
)

setup(
    ext_modules=[
        Extension(
            "kestrel_libkernel._ffi",
            sources=SOURCES,
            depends=HEADERS,
            include_dirs=[os.path.relpath(LIBRARY / "include", HERE)],
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
        )
    ]
)
