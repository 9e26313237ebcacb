"""Builds the binding together with the library: the C sources lie beside this folder, in ../src."""

import os
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent


def beside(pattern: str) -> list[str]:
    """Files of the library, relative to this folder."""
    return sorted(os.path.relpath(path, HERE) for path in LIBRARY.glob(pattern))


setup(
    # A header that changed is no reason for setuptools to compile a file again, so it would mix two layouts.
    options={"build_ext": {"force": True}},
    ext_modules=[
        Extension(
            "kestrel_libkernel._ffi",
            sources=["src/kestrel_libkernel/_ffi.c", *beside("src/*.c")],
            depends=["src/kestrel_libkernel/crossing.h", *beside("src/*.h"), *beside("include/lk/*.h")],
            include_dirs=["src/kestrel_libkernel", os.path.relpath(LIBRARY / "include", HERE)],
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
        )
    ],
)
