"""Builds the binding together with the library: the C sources lie beside this folder, in ../src."""

import os
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent


def beside(pattern: str) -> list[str]:
    """Files of the library, relative to this folder."""
    return sorted(os.path.relpath(path, HERE) for path in LIBRARY.glob(pattern))


def across_files() -> list[str]:
    """gcc links across files, which takes a twentieth off a call; another compiler may lack its linker's plugin."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    done = subprocess.run([*compiler.split(), "--version"], capture_output=True, text=True, check=False)
    return ["-flto"] if "Free Software Foundation" in done.stdout else []


setup(
    # A header that changed is no reason for setuptools to compile a file again, so it would mix two layouts.
    options={"build_ext": {"force": "yes"}},
    ext_modules=[
        Extension(
            "kestrel_libkernel._ffi",
            sources=["src/kestrel_libkernel/_ffi.c", *beside("src/*.c")],
            depends=["src/kestrel_libkernel/crossing.h", *beside("src/*.h"), *beside("include/lk/*.h")],
            include_dirs=["src/kestrel_libkernel", os.path.relpath(LIBRARY / "include", HERE)],
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden", *across_files()],
            extra_link_args=["-O3", *across_files()],
        )
    ],
)
